"""A service and a client of nameko, for the tests of the dialect.

    peer.py serve URL SERVICE SERIALIZER    prints "ready" and serves
    peer.py call URL SERIALIZER             makes the calls of standard input, each a line of JSON

A call is {"service", "method", "args", "kwargs", "times", "context"}. The answer is a line, {"result"} or {"error",
"exc_type", "text"}, and {"results"} for a call that is made several times at once. A line {"source", "type", "data"}
dispatches an event.
"""

import json
import sys


def config(url, serializer):
    return {"AMQP_URI": url, "serializer": serializer, "ACCEPT": ["json", "msgpack"]}


def serve(url, service, serializer):
    import eventlet

    eventlet.monkey_patch()

    import os

    from nameko.containers import ServiceContainer
    from nameko.events import EventDispatcher, event_handler
    from nameko.extensions import DependencyProvider
    from nameko.rpc import RpcProxy, rpc

    class Worker(DependencyProvider):
        def get_dependency(self, worker_ctx):
            return worker_ctx

    class PeerError(Exception):
        pass

    class Peer:
        name = service
        worker = Worker()
        dispatch = EventDispatcher()
        seen = []

        @rpc
        def add(self, a, b=10):
            return a + b

        @rpc
        def echo(self, value):
            return value

        @rpc
        def fail(self):
            raise ValueError("boom", 42)

        @rpc
        def own_error(self):
            raise PeerError("caf\u00e9", {"code": 7}, [1, None])

        @rpc
        def unserializable(self):
            return object()

        @rpc
        def typed(self):
            import datetime
            import decimal
            import uuid

            return [
                datetime.datetime(2020, 1, 2, 3, 4, 5, 6),
                datetime.date(2020, 1, 2),
                datetime.time(1, 2, 3),
                decimal.Decimal("1.50"),
                uuid.UUID(int=5),
                b"\xff\x00",
            ]

        @rpc
        def type_names(self, values):
            return [type(value).__name__ for value in values]

        @rpc
        def whoami(self):
            return "nameko"

        @rpc
        def die(self):
            os._exit(1)

        @rpc
        def context(self):
            return {"data": dict(self.worker.data), "stack": self.worker.call_id_stack}

        @rpc
        def emit(self, kind, data):
            self.dispatch(kind, data)

        @rpc
        def events(self):
            return self.seen

        @event_handler(service + ".source", "made")
        def on_made(self, data):
            self.seen.append(data)

    container = ServiceContainer(Peer, config=config(url, serializer))
    container.start()
    print("ready", flush=True)
    container.wait()


def call(url, serializer):
    from nameko.standalone.events import event_dispatcher
    from nameko.standalone.rpc import ClusterRpcProxy

    settings = config(url, serializer)
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "source" in order:
            event_dispatcher(settings)(order["source"], order["type"], order["data"])
            print(json.dumps({"result": None}), flush=True)
            continue
        with ClusterRpcProxy(settings, context_data=order.get("context"), timeout=30) as cluster:
            method = getattr(cluster[order["service"]], order["method"])
            args, kwargs = order.get("args", []), order.get("kwargs", {})
            try:
                if "times" in order:
                    replies = [method.call_async(*args, **kwargs) for _ in range(order["times"])]
                    answer = {"results": [reply.result() for reply in replies]}
                else:
                    answer = {"result": method(*args, **kwargs)}
            except Exception as error:
                kind = getattr(error, "exc_type", None)
                answer = {"error": type(error).__name__, "exc_type": kind, "text": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:])
