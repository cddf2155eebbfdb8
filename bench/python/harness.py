"""The measuring side of a subject in Python: the same arguments and figures as those of the programs in Rust.

    python SCRIPT --serve SUBJECT BROKER answer 0 0
    python SCRIPT --call SUBJECT ADDRESS KIND BODY NUMBER RATE WARM_UP_MS DURATION_MS SERVER
"""

import asyncio
import json
import os
import resource
import time
from dataclasses import dataclass

SHARES = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999, 1.0]
IN_FLIGHT_MAX = 50_000


@dataclass
class Order:
    """A trial and its time, in seconds."""

    kind: str
    body: int
    number: int
    rate: int
    warm_up: float
    duration: float
    server: int

    @classmethod
    def read(cls, arguments):
        kind, body, number, rate, warm_up, duration, server = arguments
        return cls(kind, int(body), int(number), int(rate), int(warm_up) / 1e3, int(duration) / 1e3, int(server))


def cpu_time(process):
    """Returns the processor time of a process in seconds, summed over its threads."""
    total = 0
    for thread in os.listdir(f"/proc/{process}/task"):
        try:
            with open(f"/proc/{process}/task/{thread}/schedstat") as times:
                total += int(times.read().split()[0])
        except OSError:
            continue
    return total / 1e9


class Window:
    """The measurement after the warm-up: counts calls, and their processor time on both sides."""

    def __init__(self, order):
        self.order = order
        self.begin = time.perf_counter() + order.warm_up
        self.end = self.begin + order.duration
        self.calls = 0
        self.latencies = []
        self.before = None

    def is_over(self, now):
        """Reads the processor time when the warm-up ends. Returns true at the end of the measurement."""
        if self.before is None and now >= self.begin:
            self.begin = now
            self.before = self._cpu()
        return now >= self.end

    def add(self, started, now):
        """Counts a call that ended now."""
        if self.before is not None and now < self.end:
            self.calls += 1
            self.latencies.append(now - started)

    def figures(self):
        """Returns the figures; called once, right after the measurement."""
        took = time.perf_counter() - self.begin
        client, server = (after - before for after, before in zip(self._cpu(), self.before))
        if self.calls == 0:
            raise SystemExit(f"nothing ended within {took:.1f} s: set --seconds higher")
        each = 1e6 / self.calls
        values = {
            "per_second": self.calls / took,
            "cpu_us": (client + server) * each,
            "client_cpu_us": client * each,
            "server_cpu_us": server * each,
        }
        return values

    def _cpu(self):
        return cpu_time(os.getpid()), cpu_time(self.order.server)


def quantile(ascending, share):
    """Returns the latency in microseconds that this share of the calls did not exceed."""
    at = min(len(ascending) - 1, max(0, int(share * len(ascending) + 0.5) - 1))
    return ascending[at] * 1e6


def print_figures(values, latencies=()):
    """Prints the figures as the last line of this process."""
    ascending = sorted(latencies)
    if ascending:
        for name, share in (("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999)):
            values[name] = quantile(ascending, share)
    points = [[share, quantile(ascending, share)] for share in SHARES if ascending]
    values["client_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"values": values, "latency_us": points}), flush=True)


async def measure(order, echo, body):
    """Makes the measurement of an order with calls of an async function, and prints its figures."""

    async def checked():
        if await echo(body) != body:
            raise SystemExit("the reply is not the body of the call")

    if order.kind == "first":
        await checked()
        print_figures({})
    elif order.kind == "calls":
        await _closed_loop(order, checked)
    elif order.kind in ("open", "rate"):
        await _open_loop(order, checked)
    else:
        raise SystemExit(f"no trial in Python: {order.kind}")


async def _closed_loop(order, call):
    window = Window(order)

    async def repeat():
        started = time.perf_counter()
        while not window.is_over(started):
            await call()
            now = time.perf_counter()
            window.add(started, now)
            started = now

    tasks = [asyncio.create_task(repeat()) for _ in range(order.number)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    values = window.figures()
    await asyncio.gather(*tasks)
    print_figures(values, window.latencies)


async def _open_loop(order, call):
    window, delays, tasks, missed = Window(order), [], set(), 0
    start, number = time.perf_counter(), 0

    async def one(due):
        delays.append(time.perf_counter() - due)
        await call()
        now = time.perf_counter()
        if due >= window.begin:
            window.calls += 1
            window.latencies.append(now - due)

    while True:
        due = start + number / order.rate
        now = time.perf_counter()
        if window.is_over(now) or due >= window.end:
            break
        if due > now:
            await asyncio.sleep(due - now)
            continue
        number += 1
        if len(tasks) >= IN_FLIGHT_MAX:
            missed += 1
            continue
        task = asyncio.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        if number % 64 == 0:
            await asyncio.sleep(0)
    values = window.figures()
    values["missed"] = missed / (missed + window.calls)
    await asyncio.gather(*tasks)
    values["schedule_p99_us"] = quantile(sorted(delays), 0.99)
    print_figures(values, window.latencies)
