"""Calls a method of a polywire service: client.py tcp://127.0.0.1:5555 calculator add '[2, 3]'"""
import itertools
import json
import sys

import zmq

from native import BODY, CONTENT_TYPE, FAULT_CODE, FAULT_MESSAGE, METHOD, REFUSAL, REQUEST, SERVICE, decode, encode

NUMBERS = itertools.count(1)


def call(socket, service, method, arguments, ms=5000):
    """Waits for the result. A late reply to an earlier call is passed over."""
    number = next(NUMBERS)
    fields = [(SERVICE, service.encode()), (METHOD, method.encode()), (CONTENT_TYPE, b"application/json"),
              (BODY, json.dumps(arguments).encode())]
    socket.send(encode(REQUEST, fields, number, ms))
    while socket.poll(ms):
        kind, answered, _, fields, body = decode(socket.recv_multipart())
        if answered != number:
            continue
        if kind == REFUSAL:
            raise LookupError(f"no server serves {service}")
        if FAULT_CODE in fields:
            raise RuntimeError(fields.get(FAULT_MESSAGE, b"").decode())
        return json.loads(body)
    raise TimeoutError(f"{service}.{method} was not answered in {ms} ms")


if __name__ == "__main__":
    endpoint, service, method, arguments = sys.argv[1:]
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.linger = 0
    socket.connect(endpoint)
    print(json.dumps(call(socket, service, method, json.loads(arguments))))
