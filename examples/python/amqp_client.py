"""Calls a method of a polywire service over RabbitMQ:
amqp_client.py amqp://guest:guest@localhost calculator add '[2, 3]'"""
import json
import sys
import time
import uuid

import pika
from pika.exceptions import UnroutableError


def call(connection, service, method, arguments, ms=5000):
    """Waits for the result. A late reply to an earlier call is passed over."""
    channel = connection.channel()
    channel.confirm_delivery()  # a request that no queue takes is an error, and not lost
    replies = channel.queue_declare("", exclusive=True).method.queue
    number = str(uuid.uuid4())
    properties = pika.BasicProperties(type=method, content_type="application/json", correlation_id=number,
                                      reply_to=replies, expiration=str(ms), delivery_mode=2)
    try:
        channel.basic_publish("", f"polywire.{service}", json.dumps(arguments).encode(), properties, mandatory=True)
    except UnroutableError:
        raise LookupError(f"no server serves {service}") from None
    until = time.monotonic() + ms / 1000
    for frame, properties, body in channel.consume(replies, auto_ack=True, inactivity_timeout=0.1):
        if frame is not None and properties.correlation_id == number:
            channel.close()
            return outcome(properties, body)
        if time.monotonic() > until:
            raise TimeoutError(f"{service}.{method} was not answered in {ms} ms")


def outcome(properties, body):
    headers = properties.headers or {}
    if "polywire.fault" in headers:
        raise RuntimeError(f"{headers['polywire.fault']}: {headers.get('polywire.fault.message', '')}")
    return json.loads(body)


if __name__ == "__main__":
    url, service, method, arguments = sys.argv[1:]
    connection = pika.BlockingConnection(pika.URLParameters(url))
    print(json.dumps(call(connection, service, method, json.loads(arguments))))
    connection.close()
