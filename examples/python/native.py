"""The native wire of polywire over ZeroMQ, version 1, as docs/wire-native.md has it."""
import struct

REQUEST, REPLY, REFUSAL, JOB, EVENT = range(1, 6)
SERVICE, METHOD, CONTENT_TYPE, HEADER, FAULT_CODE, FAULT_KIND, FAULT_MESSAGE, FAULT_DETAILS = range(1, 9)
BODY = 129


def length(size):
    out = b""
    while size >= 0x80:
        out, size = out + bytes([size & 0x7F | 0x80]), size >> 7
    return out + bytes([size])


def encode(kind, fields, call=None, ms=None):
    """The one frame of a message with a small body; each field is a tag and its bytes."""
    flags = (call is not None) | (ms is not None) << 1
    head = struct.pack(">BBBBQI", 0x50, 1, kind, flags, call or 0, ms or 0)
    return head + b"".join(bytes([tag]) + length(len(value)) + value for tag, value in fields)


def decode(frames):
    """Kind, call, milliseconds left, fields by tag, and body. Of headers only the first is kept."""
    head, at, fields = frames[0], 16, {}
    magic, version, kind, flags, call, ms = struct.unpack_from(">BBBBQI", head)
    if (magic, version) != (0x50, 1):
        raise ValueError("not the native wire, or another version of it")
    while at < len(head):
        tag, at, size, shift = head[at], at + 1, 0, 0
        while True:
            byte, at = head[at], at + 1
            size, shift = size | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                break
        if tag >= 0x80 and tag != BODY:
            raise ValueError(f"a field that must be understood is not known: {tag}")
        fields.setdefault(tag, head[at:at + size])
        at += size
    body = b"".join(frames[1:]) or fields.get(BODY, b"")
    return kind, call if flags & 1 else None, ms if flags & 2 else None, fields, body
