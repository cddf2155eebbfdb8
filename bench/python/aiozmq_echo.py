"""aiozmq.rpc over ZeroMQ: a DEALER and a ROUTER, with MessagePack."""

import asyncio
import sys

import aiozmq.rpc

from harness import Order, measure


class Echoes(aiozmq.rpc.AttrHandler):
    """The service."""

    @aiozmq.rpc.method
    def echo(self, body):
        return body


async def serve():
    """Binds to a free port, prints the endpoint, and echoes."""
    server = await aiozmq.rpc.serve_rpc(Echoes(), bind="tcp://127.0.0.1:*")
    print(next(iter(server.transport.bindings())), flush=True)
    await server.wait_closed()


async def call(address, order):
    """Connects, and makes the measurement of an order."""
    client = await aiozmq.rpc.connect_rpc(connect=address)
    await measure(order, client.call.echo, b"\x07" * order.body)
    client.close()


def main():
    role, _subject, place, *rest = sys.argv[1:]
    if role == "--serve":
        asyncio.run(serve())
    else:
        asyncio.run(call(place, Order.read(rest)))


if __name__ == "__main__":
    main()
