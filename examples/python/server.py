"""Serves `calculator` to polywire clients: server.py tcp://127.0.0.1:5555"""
import json
import sys

import zmq

from native import (BODY, CONTENT_TYPE, FAULT_CODE, FAULT_MESSAGE, METHOD, REFUSAL, REPLY, REQUEST, SERVICE, decode,
                    encode)

APPLICATION, METHOD_NOT_FOUND = b"\x01", b"\x05"


def answer(service, methods, kind, call, fields, body):
    """The frame to send back; None if nobody waits for one."""
    if kind != REQUEST or call is None:
        return None
    if fields.get(SERVICE) != service:
        return encode(REFUSAL, [], call)
    method = methods.get(fields.get(METHOD, b"").decode())
    if method is None:
        return encode(REPLY, [(FAULT_CODE, METHOD_NOT_FOUND), (FAULT_MESSAGE, b"no such method")], call)
    try:
        result = json.dumps(method(*json.loads(body))).encode()
    except Exception as error:
        return encode(REPLY, [(FAULT_CODE, APPLICATION), (FAULT_MESSAGE, str(error).encode())], call)
    return encode(REPLY, [(CONTENT_TYPE, b"application/json"), (BODY, result)], call)


def serve(socket, service, methods):
    while True:
        caller, *frames = socket.recv_multipart()
        kind, call, _, fields, body = decode(frames)
        reply = answer(service.encode(), methods, kind, call, fields, body)
        if reply is not None:
            socket.send_multipart([caller, reply])


if __name__ == "__main__":
    socket = zmq.Context.instance().socket(zmq.ROUTER)
    socket.bind(sys.argv[1])
    print(socket.last_endpoint.decode(), flush=True)
    serve(socket, "calculator", {"add": lambda a, b: a + b, "divide": lambda a, b: a / b})
