"""A client that shows replies as they are on the wire: for comparing servers byte by byte."""

import socket


class Status(bytes):
    """`+OK`: differs from the bulk string of the same bytes."""

    def __eq__(self, other):
        return isinstance(other, Status) and bytes(self) == bytes(other)

    __hash__ = bytes.__hash__

    def __repr__(self):
        return f"+{bytes(self).decode(errors='replace')}"


class Error(Status):
    """`-ERR …`."""

    def __eq__(self, other):
        return isinstance(other, Error) and bytes(self) == bytes(other)

    __hash__ = bytes.__hash__

    def __repr__(self):
        return f"-{bytes(self).decode(errors='replace')}"


class Tagged(tuple):
    """A RESP3 reply whose kind matters: ("map", …), ("set", …), ("double", …)."""


class Connection:
    """One connection; `call` sends and returns the reply."""

    def __init__(self, port, host="127.0.0.1", timeout=30):
        self.socket = socket.create_connection((host, port), timeout)
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, raw):
        self.socket.sendall(raw)

    def call(self, *arguments):
        self.send(encode(arguments))
        return self.read()

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError(f"the server closed the connection after {line!r}")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return Status(rest)
        if kind == b"-":
            return Error(rest)
        if kind == b":":
            return int(rest)
        if kind in b"$=!":
            size = int(rest)
            if size < 0:
                return None
            data = self.file.read(size + 2)[:-2]
            return data if kind == b"$" else Tagged((kind.decode(), data))
        if kind == b"*":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        if kind in b"~>":
            return Tagged((kind.decode(), [self.read() for _ in range(int(rest))]))
        if kind == b"%":
            return Tagged(("map", [(self.read(), self.read()) for _ in range(int(rest))]))
        if kind == b"_":
            return Tagged(("null",))
        if kind in b",#(":
            return Tagged((kind.decode(), rest))
        raise ConnectionError(f"no reply: {line!r}")


def encode(arguments):
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        if isinstance(argument, str):
            argument = argument.encode()
        elif not isinstance(argument, bytes):
            argument = str(argument).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(argument), argument))
    return b"".join(parts)
