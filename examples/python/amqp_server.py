"""Serves `calculator` to polywire clients over RabbitMQ: amqp_server.py amqp://guest:guest@localhost"""
import json
import sys

import pika


def answer(methods, method, body):
    """The headers and the body of the reply."""
    if method not in methods:
        return {"polywire.fault": "MethodNotFound", "polywire.fault.message": f"no such method: {method}"}, b""
    try:
        return {}, json.dumps(methods[method](*json.loads(body))).encode()
    except Exception as error:
        return {"polywire.fault": "Application", "polywire.fault.message": str(error)}, b""


def serve(connection, service, methods):
    channel = connection.channel()
    channel.confirm_delivery()
    queue = f"polywire.{service}"
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "classic"})
    channel.basic_qos(prefetch_count=16)
    print("bound", flush=True)
    for frame, request, body in channel.consume(queue):
        headers, result = answer(methods, request.type, body)
        if request.reply_to:
            reply = pika.BasicProperties(correlation_id=request.correlation_id, content_type="application/json",
                                         headers=headers, delivery_mode=2)
            channel.basic_publish("", request.reply_to, result, reply)
        # Acknowledged once the broker has the reply: a request that dies with this process is served by another.
        channel.basic_ack(frame.delivery_tag)


if __name__ == "__main__":
    connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
    serve(connection, "calculator", {"add": lambda a, b: a + b, "divide": lambda a, b: a / b})
