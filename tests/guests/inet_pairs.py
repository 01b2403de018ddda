"""Two internet sockets at one port, and what moves bytes between sockets, pipes and files.

Prints what it sees; natively and in a zone that is the same.
"""

import ctypes
import errno
import itertools
import os
import socket

libc = ctypes.CDLL(None, use_errno=True)
V4, V6 = socket.AF_INET, socket.AF_INET6
TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
ONLY = "only ::"
ADDRESSES = ["0.0.0.0", "127.0.0.1", "127.0.0.2", "::", ONLY, "::1", "::ffff:127.0.0.1"]
OPTIONS = {"none": [], "address": [socket.SO_REUSEADDR], "port": [socket.SO_REUSEPORT]}


def made(kind, address, options):
    family = V6 if ":" in address else V4
    one = socket.socket(family, kind)
    if family == V6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address in (ONLY, "::1"))
    for option in options:
        one.setsockopt(socket.SOL_SOCKET, option, 1)
    return one


def place(address, port):
    return ("::" if address == ONLY else address, port)


def tried(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno, error)


def beside(kind, listens, one, two, first, second):
    with made(kind, one, first) as a, made(kind, two, second) as b:
        a.bind(place(one, 0))
        if listens:
            a.listen()
        result = tried(b.bind, place(two, a.getsockname()[1]))
        if result is None and listens:
            result = tried(b.listen)
        assert result in (None, "EADDRINUSE"), result
        return result


def pairs():
    """Which of two sockets may have a port beside the other."""
    ways = [("none", "none"), ("address", "address"), ("port", "port"), ("none", "address"), ("address", "port")]
    for kind, listens in [(TCP, False), (TCP, True), (UDP, False)]:
        for first, second in ways:
            for one, two in itertools.product(ADDRESSES, repeat=2):
                # What is in use by chance is so with one port.
                results = (beside(kind, listens, one, two, OPTIONS[first], OPTIONS[second]) for _ in range(3))
                result = next((result for result in results if result is None), "EADDRINUSE")
                print(kind, listens, first, second, one, two, result)


def shared():
    """Each connection reaches one of those that share a port."""
    servers = []
    port = 0
    for _ in range(3):
        one = made(TCP, "127.0.0.1", OPTIONS["port"])
        one.bind(("127.0.0.1", port))
        port = one.getsockname()[1]
        one.listen(100)
        one.setblocking(False)
        servers.append(one)
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
    count = 0
    for one in servers:
        while isinstance(tried(one.accept), tuple):
            count += 1
    print(len(clients), count)


def addresses():
    """A wildcard has all addresses, each connection one; the ends agree."""
    for own, reached in [("0.0.0.0", ["127.0.0.1"]), ("::", ["127.0.0.1", "::1"]), (ONLY, ["::1"]), ("::1", ["::1"])]:
        server = made(TCP, own, [])
        server.bind(place(own, 0))
        server.listen()
        port = server.getsockname()[1]
        for address in reached:
            client = socket.create_connection((address, port))
            peer, told = server.accept()
            agree = [
                peer.getpeername() == told,
                told[1] == client.getsockname()[1],
                peer.getsockname()[1] == client.getpeername()[1] == port,
            ]
            print(own, address, told[0], peer.getsockname()[0], client.getsockname()[0], client.getpeername()[0], agree)
        other = "::1" if own == "0.0.0.0" else "127.0.0.1"
        if own in ("0.0.0.0", ONLY, "::1"):
            print(own, other, tried(socket.create_connection, (other, port)))


class Name(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_ubyte * 64)]


def lengths():
    """accept4(2), getsockname(2) and getpeername(2): how much is told, and flags."""
    server = socket.create_server(("127.0.0.1", 0))
    for flags in [0, socket.SOCK_NONBLOCK, socket.SOCK_CLOEXEC, socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 1]:
        for room in [0, 3, 16, 64, -1]:
            client = socket.create_connection(server.getsockname())
            name, length = Name(), ctypes.c_int(room)
            new = libc.accept4(server.fileno(), ctypes.byref(name), ctypes.byref(length), flags)
            if new < 0:
                print("accept4", flags, room, errno.errorcode[ctypes.get_errno()])
                # What was not taken is not to be there for the next one.
                server.setblocking(False)
                tried(server.accept)
                server.setblocking(True)
                continue
            got = os.get_blocking(new), os.get_inheritable(new)
            print("accept4", flags, room, got, length.value, bytes(name.bytes[:2]), bytes(name.bytes[4:8]), any(name.bytes[room:]))
            for call in [libc.getsockname, libc.getpeername]:
                name, length = Name(), ctypes.c_int(room)
                result = call(new, ctypes.byref(name), ctypes.byref(length))
                print(result, length.value, any(name.bytes[max(room, 0) :]))
                print(call(new, ctypes.c_void_p(8), ctypes.byref(ctypes.c_int(16))), errno.errorcode[ctypes.get_errno()])
                print(call(new, ctypes.byref(name), ctypes.c_void_p(8)), errno.errorcode[ctypes.get_errno()])
            os.close(new)
            client.close()
    print(tried(socket.socket().accept), tried(socket.socket().getpeername), tried(socket.socket(V4, UDP).listen))


def moved():
    """sendfile(2), splice(2), tee(2) and vmsplice(2) with sockets of each kind."""
    with open("file", "wb") as file:
        file.write(b"0123456789" * 1000)

    def tcp(family, address):
        server = socket.create_server((address, 0), family=family)
        client = socket.create_connection(server.getsockname()[:2])
        return client, server.accept()[0]

    def all_of(one, count):
        got = b""
        while len(got) < count:
            got += one.recv(count - len(got))
        return got

    for one, two in [tcp(V4, "127.0.0.1"), tcp(V6, "::1"), socket.socketpair()]:
        with open("file", "rb") as file:
            print(os.sendfile(one.fileno(), file.fileno(), 5, 100), all_of(two, 100) == (b"0123456789" * 11)[5:105])
        reads, writes = os.pipe()
        others, copies = os.pipe()
        os.write(writes, b"through a pipe")
        print(libc.tee(reads, copies, 100, 0), os.splice(reads, one.fileno(), 100), all_of(two, 14))
        print(os.splice(others, one.fileno(), 100), all_of(two, 14))
        two.sendall(b"and back")
        print(os.splice(one.fileno(), writes, 100), os.read(reads, 100))
        text = ctypes.create_string_buffer(b"from memory", 11)
        vector = (ctypes.c_void_p * 2)(ctypes.addressof(text), 11)
        print(libc.vmsplice(writes, vector, 1, 0), os.splice(reads, one.fileno(), 100), all_of(two, 11))
        one.setblocking(False)
        print(tried(os.splice, one.fileno(), writes, 100), tried(os.splice, one.fileno(), two.fileno(), 100))
        print(tried(os.sendfile, one.fileno(), two.fileno(), None, 10))


def deep():
    """Names of unix sockets are as long as their working directory lets them be."""
    for _ in range(6):
        os.mkdir("x" * 200)
        os.chdir("x" * 200)
    for kind in [TCP, UDP, socket.SOCK_SEQPACKET]:
        server = socket.socket(socket.AF_UNIX, kind)
        name = "socket" + "y" * 101
        server.bind(name)
        client = socket.socket(socket.AF_UNIX, kind)
        if kind != UDP:
            server.listen()
        client.connect(name)
        client.send(b"x")
        peer = server if kind == UDP else server.accept()[0]
        print(kind, len(name), peer.recv(9), server.getsockname() == client.getpeername() == name)
        print(tried(socket.socket(socket.AF_UNIX, kind).bind, name), tried(os.path.exists, name))
        os.unlink(name)


for part in [pairs, shared, addresses, lengths, moved, deep]:
    print(part.__name__, flush=True)
    part()
