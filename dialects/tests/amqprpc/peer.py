"""A server and a client of amqprpc, for the tests of the dialect.

The packages py-amqprpc and go-amqprpc are on no registry. This program stands in for them: it does on the wire what
they were seen to do, each in its own way.

    peer.py serve URL SERVICE FORMAT LANGUAGE    prints "ready" and serves
    peer.py call URL FORMAT LANGUAGE             makes the calls of standard input, each a line of JSON

FORMAT is json or msgpack, LANGUAGE python or go. If the broker denies the queues of amqprpc, the program prints
"refused: REASON".

An order is {"service", "method", "arguments"}: one call for each argument, all of them in flight at once. The answer
is a list in the order of the arguments, with {"result"}, {"error"}, or {"wrong"} for a reply that ends a client.
"""

import json
import os
import struct
import sys
import time
import uuid

import msgpack
import pika

DENIED = "the broker denies queues that are neither durable nor exclusive"


class Format:
    def __init__(self, name, language):
        self.name, self.language = name, language

    def encode(self, value):
        if self.name == "json":
            separators = (",", ":") if self.language == "go" else None
            return json.dumps(value, separators=separators, ensure_ascii=self.language != "go").encode()
        return go_pack(value) if self.language == "go" else msgpack.packb(value)

    def decode(self, body):
        return json.loads(body) if self.name == "json" else msgpack.unpackb(body)

    def filler(self):
        """The body of an error reply, which is read by no client."""
        return self.encode({} if self.language == "go" else None)


def go_pack(value):
    """Packs as Go does: each integer has eight bytes."""
    packer = msgpack.Packer()
    if isinstance(value, bool):
        return packer.pack(value)
    if isinstance(value, int):
        return b"\xd3" + struct.pack(">q", value)
    if isinstance(value, list):
        return packer.pack_array_header(len(value)) + b"".join(go_pack(element) for element in value)
    if isinstance(value, dict):
        entries = [packer.pack(key) + go_pack(element) for key, element in value.items()]
        return packer.pack_map_header(len(entries)) + b"".join(entries)
    return packer.pack(value)


def connect(url):
    return pika.BlockingConnection(pika.URLParameters(url))


class Peer:
    """The object that both servers register, with capitals for clients of Go."""

    def __init__(self, language):
        self.language = language

    def Add(self, argument):
        return argument["A"] + argument["B"]

    def Echo(self, argument):
        return argument

    def Fail(self, argument):
        raise ValueError("boom", 42)

    def Sell(self, argument):
        raise ValueError("out of stock: only %d left, gr\u00fc\u00dfe" % argument)

    def Whoami(self, argument):
        return self.language


class ServerOfPython:
    def __init__(self):
        peer = Peer("python")
        names = [name for name in dir(peer) if not name.startswith("_") and callable(getattr(peer, name))]
        self.functions = {"Peer." + name: getattr(peer, name) for name in names}
        self.functions["double"] = lambda argument: 2 * argument

    def answer(self, formats, name, body):
        if name not in self.functions:
            return None, "unknown function %s" % name
        # Read outside the try: a body that cannot be read has no reply.
        argument = formats.decode(body)
        try:
            return self.functions[name](argument), None
        except Exception as error:
            return None, str(error)


class ServerOfGo:
    def __init__(self):
        self.peer = Peer("go")

    def answer(self, formats, name, body):
        service, dot, method = name.partition(".")
        if not dot:
            return None, "rpc: service/method request ill-formed: " + name
        if service != "Peer":
            return None, "rpc: can't find service " + name
        function = getattr(self.peer, method, None)
        if function is None or not method[:1].isupper():
            return None, "rpc: can't find method " + name
        try:
            argument = formats.decode(body)
        except ValueError:
            return None, "unexpected end of JSON input"
        if method == "Add" and not isinstance(argument, dict):
            return None, "json: cannot unmarshal array into Go value of type main.Args"
        try:
            return function(argument), None
        except Exception as error:
            return None, " ".join(str(part) for part in error.args)


def serve(url, service, name, language):
    formats, server = Format(name, language), ServerOfGo() if language == "go" else ServerOfPython()

    def on_request(channel, _method, properties, body):
        if not properties.correlation_id:
            if language == "go":
                os._exit(1)
            return
        try:
            result, error = server.answer(formats, properties.reply_to, body)
        except ValueError as unreadable:
            print("unreadable:", unreadable, file=sys.stderr)
            return
        echoed = pika.BasicProperties(
            correlation_id=properties.correlation_id,
            message_id=properties.message_id,
            reply_to=properties.reply_to,
            headers=None if error is None else {"error": error},
        )
        body = formats.encode(result) if error is None else formats.filler()
        channel.basic_publish("", properties.correlation_id, body, echoed)

    channel = connect(url).channel()
    channel.queue_declare(service)
    channel.basic_consume(service, on_request, auto_ack=True)
    print("ready", flush=True)
    channel.start_consuming()


class Client:
    def __init__(self, url, formats):
        self.formats = formats
        self.connection = connect(url)
        self.channel = self.connection.channel()
        if formats.language == "go":
            declared = self.channel.queue_declare("", auto_delete=True)
            self.queue, self.next = declared.method.queue, 0
        else:
            self.queue, self.next = "aioamqp.gen-" + str(uuid.uuid4()), 1
            self.channel.queue_declare(self.queue)
        # As long as the client lives: the queue of Go ends with its consumer.
        self.channel.basic_consume(self.queue, self.on_reply, auto_ack=True)

    def call(self, service, method, arguments):
        if self.formats.language == "go":
            declared = self.channel.queue_declare(service)
            if declared.method.consumer_count == 0:
                return [{"error": "no consumers in queue"}]
        first = self.next
        self.next += len(arguments)
        for number, argument in enumerate(arguments, first):
            properties = pika.BasicProperties(reply_to=method, correlation_id=self.queue, message_id=str(number))
            self.channel.basic_publish("", service, self.formats.encode(argument), properties)
        self.method, self.answers = method, {}
        deadline = time.monotonic() + 30
        while len(self.answers) < len(arguments) and time.monotonic() < deadline:
            self.connection.process_data_events(time_limit=1)
        missing = {"wrong": "no reply"}
        return [self.answers.get(str(number), missing) for number in range(first, self.next)]

    def on_reply(self, _channel, _delivery, properties, body):
        self.answers[properties.message_id] = self.read(self.method, properties, body)

    def read(self, method, properties, body):
        expected = (method, self.queue, None)
        if (properties.reply_to, properties.correlation_id, properties.content_type) != expected:
            return {"wrong": "the properties of the request are not repeated: %r" % properties}
        headers = properties.headers or {}
        if "error" in headers:
            error = headers["error"]
            return {"error": error} if isinstance(error, str) else {"wrong": "the error is no text: %r" % error}
        try:
            return {"result": self.formats.decode(body)}
        except ValueError as error:
            return {"wrong": "the body cannot be read: %s" % error}


def call(url, name, language):
    client = Client(url, Format(name, language))
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(client.call(order["service"], order["method"], order["arguments"])), flush=True)


if __name__ == "__main__":
    try:
        {"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:])
    except pika.exceptions.AMQPError as refusal:
        if "transient_nonexcl_queues" not in repr(refusal):
            raise
        print("refused: " + DENIED, flush=True)
