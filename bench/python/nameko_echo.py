"""nameko over RabbitMQ, with JSON.

A lone call is made by nameko's client for programs outside of a service. Calls in flight are made by green threads of
a service, each with its next call: that is faster than the pipelined calls of the other client.
"""

import os
import sys
import time

import eventlet

eventlet.monkey_patch()

from nameko.containers import ServiceContainer  # noqa: E402
from nameko.rpc import RpcProxy, rpc  # noqa: E402
from nameko.standalone.rpc import ServiceRpcProxy  # noqa: E402
from nameko.timer import timer  # noqa: E402

from harness import Order, Window, print_figures  # noqa: E402

# Requests that the server runs at once, which is also its prefetch count. The default of 10 delays 64 calls in flight.
WORKERS = 128


class Echoes:
    """The service."""

    name = "bench"

    @rpc
    def echo(self, body):
        return body


def serve(broker):
    """Prints the URL of the broker when the service has started, and echoes."""
    container = ServiceContainer(Echoes, config={"AMQP_URI": broker, "max_workers": WORKERS})
    container.start()
    print(broker, flush=True)
    container.wait()


class Caller:
    """The service whose green threads call. The timer starts them once, after a second."""

    name = "bench_caller"
    echoes = RpcProxy("bench")
    order = None

    @timer(interval=1)
    def run(self):
        order, Caller.order = Caller.order, None
        if order is not None:
            os._exit(closed_loop(self.echoes.echo, order))


def call(broker, order):
    """Connects, and makes the measurement of an order."""
    if order.kind == "calls" and order.number > 1:
        Caller.order = order
        container = ServiceContainer(Caller, config={"AMQP_URI": broker})
        container.start()
        container.wait()
        return
    with ServiceRpcProxy("bench", {"AMQP_URI": broker}, timeout=60) as service:
        if order.kind == "first":
            checked(service.echo, "7" * order.body)
            print_figures({})
        elif order.kind == "calls":
            closed_loop(service.echo, order)
        else:
            raise SystemExit(f"no trial of nameko: {order.kind}")


def closed_loop(echo, order):
    """Keeps calls in flight, each in a green thread, and prints the figures. Returns an exit code."""
    window, body = Window(order), "7" * order.body

    def repeat():
        started = time.perf_counter()
        while not window.is_over(started):
            checked(echo, body)
            now = time.perf_counter()
            window.add(started, now)
            started = now

    if order.number == 1:
        repeat()
        print_figures(window.figures(), window.latencies)
        return 0
    threads = [eventlet.spawn(repeat) for _ in range(order.number)]
    try:
        threads[0].wait()
        values = window.figures()
        for thread in threads:
            thread.wait()
    except BaseException as error:
        print(f"a call failed: {error!r}", file=sys.stderr)
        return 1
    print_figures(values, window.latencies)
    return 0


def checked(echo, body):
    """Calls once, and compares the reply."""
    if echo(body) != body:
        raise SystemExit("the reply is not the body of the call")


def main():
    role, _subject, place, *rest = sys.argv[1:]
    if role == "--serve":
        serve(place)
    else:
        call(place, Order.read(rest))


if __name__ == "__main__":
    main()
