"""Pushes a job, and reads an event: jobs_and_events.py PULLER QUEUE JOB PUBLISHER CHANNEL TOPIC"""
import json
import sys

import zmq

from native import BODY, CONTENT_TYPE, JOB, SERVICE, decode, encode


def push(socket, queue, job):
    fields = [(SERVICE, queue.encode()), (CONTENT_TYPE, b"application/json"), (BODY, json.dumps(job).encode())]
    socket.send(encode(JOB, fields))


def events(socket, channel, prefix=""):
    """Topic and content of what is published on a channel under topics that begin so."""
    socket.subscribe(f"{channel}\0{prefix}".encode())
    while True:
        first, *frames = socket.recv_multipart()
        yield first.partition(b"\0")[2].decode(), json.loads(decode(frames)[4])


if __name__ == "__main__":
    puller, queue, job, publisher, channel, topic = sys.argv[1:]
    pushing, subscribing = (zmq.Context.instance().socket(kind) for kind in (zmq.PUSH, zmq.SUB))
    pushing.connect(puller)
    push(pushing, queue, json.loads(job))
    subscribing.connect(publisher)
    print("subscribing", flush=True)
    for heard, content in events(subscribing, channel, topic):
        print(heard, json.dumps(content), flush=True)
        break
