"""Internet sockets at the edges of what is bound: families, names of what never was, ports in use.

Prints what it sees; natively and in a zone that is the same.
"""

import ctypes
import errno
import itertools
import random
import socket
import struct

libc = ctypes.CDLL(None, use_errno=True)
V4, V6 = socket.AF_INET, socket.AF_INET6
TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
LOOPBACKS = {V4: "127.0.0.1", V6: "::1"}


def see(what, *values):
    print(what, *values, flush=True)


def tried(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno, error)


def disconnect(one):
    nobody = struct.pack("H14x", socket.AF_UNSPEC)
    if libc.connect(one.fileno(), nobody, len(nobody)) != 0:
        return errno.errorcode[ctypes.get_errno()]
    return None


def is_bound(one):
    address, port = one.getsockname()[:2]
    return address, port != 0


def kinds():
    """What is bound to an address goes to addresses of its kind."""
    for kind in [TCP, UDP]:
        for own, other in [("::1", "::ffff:127.0.0.1"), ("::ffff:127.0.0.1", "::1")]:
            one = socket.socket(V6, kind)
            one.bind((own, 0))
            see("connect", kind, own, tried(one.connect, (other, 1337)))
            if kind == UDP:
                see("sendto", own, tried(one.sendto, b"x", (other, 1337)))
                see("its own", own, tried(one.sendto, b"x", (own, 1337)))
    one = socket.socket(V6, UDP)
    one.bind(("::", 0))
    see("any", tried(one.sendto, b"x", ("::1", 1337)), tried(one.sendto, b"x", ("::ffff:127.0.0.1", 1337)))


def names():
    """What was never bound shows no address, whatever it sent or was connected to."""
    for family, loopback in LOOPBACKS.items():
        one = socket.socket(family, UDP)
        see("fresh", one.getsockname()[:2])
        one.sendto(b"x", (loopback, 1337))
        see("sent", is_bound(one))
        one = socket.socket(family, UDP)
        one.connect((loopback, 1337))
        see("connected", is_bound(one))
        see("disconnected", disconnect(one), one.getsockname()[:2], tried(one.getpeername))
        one.connect((loopback, 1337))
        see("connected", is_bound(one))
        one = socket.socket(family, UDP)
        one.bind((loopback, 0))
        port = one.getsockname()[1]
        one.connect((loopback, 1337))
        see("bound", disconnect(one), one.getsockname()[0])
        one = socket.socket(family, TCP)
        see("refused", tried(one.connect, (loopback, 1)), one.getsockname()[0])


def again():
    """A listener that was shut down listens anew, and is reached."""
    for family, any in [(V4, "0.0.0.0"), (V4, "127.0.0.1"), (V6, "::"), (V6, "::1")]:
        one = socket.socket(family, TCP)
        one.bind((any, 0))
        one.listen(5)
        one.shutdown(socket.SHUT_RD)
        see("again", any, tried(one.listen, 5))
        port = one.getsockname()[1]
        client = socket.create_connection((LOOPBACKS[family], port), 30)
        peer, address = one.accept()
        see("reached", client.getpeername()[0], client.getpeername()[1] == port, address[0])


def used():
    """The port of who connected is in use, for its address and for all."""
    for kind in [TCP, UDP]:
        for family, loopback in LOOPBACKS.items():
            one = socket.socket(family, kind)
            one.bind((loopback, 0))
            if kind == TCP:
                one.listen()
            client = socket.socket(family, kind)
            client.connect(one.getsockname())
            place = client.getsockname()
            see("same", kind, tried(socket.socket(family, kind).bind, place))
            any = ("0.0.0.0" if family == V4 else "::",) + place[1:]
            see("all", kind, tried(socket.socket(family, kind).bind, any))
            reuse = socket.socket(family, kind)
            reuse.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            see("reuse", kind, tried(reuse.bind, place), tried(reuse.bind, any))
            if kind == TCP:
                peer, _ = one.accept()
                client.close()
                peer.close()
                see("waiting", tried(socket.socket(family, kind).bind, place))
                reuse = socket.socket(family, kind)
                reuse.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                see("reused", tried(reuse.bind, place))


def reborn():
    """An accepted connection that is cut can be bound and listen."""
    listener = socket.create_server(("0.0.0.0", 0))
    client = socket.create_connection(("127.0.0.1", listener.getsockname()[1]))
    peer, _ = listener.accept()
    see("bound", tried(peer.bind, ("0.0.0.0", 0)))
    see("cut", disconnect(peer), tried(peer.bind, ("0.0.0.0", 0)), tried(peer.listen))
    other = socket.create_connection(("127.0.0.1", peer.getsockname()[1]), 30)
    see("reached", peer.accept()[1] == other.getsockname())
    see("twice", tried(peer.bind, ("0.0.0.0", 0)))


def classes():
    """What IPv6 sockets ask for and are told of traffic classes, hop limits and errors."""
    TCLASS, HOPLIMIT, HOPS = 67, 52, 16
    word = struct.Struct("i")
    one = socket.socket(V6, UDP)
    one.bind(("::1", 0))
    for name in [66, 51]:
        one.setsockopt(socket.IPPROTO_IPV6, name, 1)
    two = socket.socket(V6, UDP)
    two.setsockopt(socket.IPPROTO_IPV6, TCLASS, 0x20)
    two.setsockopt(socket.IPPROTO_IPV6, HOPS, 33)
    asked = [(socket.IPPROTO_IPV6, TCLASS, word.pack(0x40)), (socket.IPPROTO_IPV6, HOPLIMIT, word.pack(7))]
    for control in [[], asked]:
        two.sendmsg([b"x"], control, 0, one.getsockname())
        data, told, flags, peer = one.recvmsg(10, 200)
        see("told", data, sorted((level, kind, word.unpack(value)) for level, kind, value in told), flags)
    see("kept", [two.getsockopt(socket.IPPROTO_IPV6, name) for name in [TCLASS, HOPS]])
    for family, loopback, level, name in [(V4, "127.0.0.1", 0, 11), (V6, "::1", 41, 25)]:
        closed = socket.socket(family, UDP)
        closed.bind((loopback, 0))
        place = closed.getsockname()
        closed.close()
        one = socket.socket(family, UDP)
        one.settimeout(30)
        one.setsockopt(level, name, 1)
        one.connect(place)
        one.send(b"to nobody")
        see("refused", tried(one.recv, 10))
        data, told, flags, peer = one.recvmsg(100, 200, 0x2000)
        see("error", data, flags & 0x2000 != 0, peer == place, len(told))
        for level, kind, value in told:
            error = struct.unpack_from("=IBBBBII", value)
            see("by", level, kind, error[:4], struct.unpack_from("=H", value, 16)[0], len(value))


def options():
    one = socket.socket(V4, TCP)
    see("filter", tried(one.setsockopt, socket.SOL_SOCKET, 27, 0))
    see("short", tried(one.setsockopt, socket.SOL_SOCKET, socket.SO_SNDBUF, b"x"))
    see("unknown", tried(one.setsockopt, socket.IPPROTO_TCP, 13, b"no-such-way"))
    see("named", one.getsockopt(socket.IPPROTO_TCP, 13, 16).rstrip(b"\0") != b"")
    for name in [socket.SO_SNDBUF, socket.SO_RCVBUF]:
        for size in [1, 10000, 1 << 30]:
            one.setsockopt(socket.SOL_SOCKET, name, size)
            see("buffer", name, size, one.getsockopt(socket.SOL_SOCKET, name))


def restarted():
    """Connections that a server has left linger, and say nothing of who listens there next."""
    for first, second in [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1")]:
        port = 0
        for own in [first, second]:
            server = socket.socket()
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((own, port))
            server.listen()
            port = server.getsockname()[1]
            client = socket.socket()
            see("connected", own, tried(client.connect, ("127.0.0.1", port)))
            server.settimeout(30)
            served, peer = server.accept()
            see("served", own, peer == client.getsockname(), served.getsockname() == client.getpeername())
            served.close()
            see("end", client.recv(1))
            client.close()
            server.close()
            # Bound and closed without ever listening, where connections linger.
            brief = socket.socket()
            brief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            see("brief", tried(brief.bind, (own, port)))
            brief.close()


def chosen():
    """What was bound to a wildcard gets an address when it is connected: the one that leads to its peer."""
    ways = [(V4, "0.0.0.0", "127.0.0.1"), (V6, "::", "::1"), (V6, "::", "::ffff:127.0.0.1")]
    for (family, wildcard, address), kind, is_named in itertools.product(ways, [TCP, UDP], [False, True]):
        server = socket.socket(family, kind)
        server.bind((wildcard, 0))
        server.settimeout(30)
        if kind == TCP:
            server.listen()
        client = socket.socket(family, kind)
        client.settimeout(30)
        while tried(client.bind, (wildcard, random.randrange(10000, 20000) if is_named else 0)):
            assert is_named
        port = client.getsockname()[1]
        see("bound", family.name, kind.name, is_named, client.getsockname()[0])
        client.connect((address, server.getsockname()[1]))
        client.send(b"there")
        served, peer = server.accept() if kind == TCP else (server, server.recvfrom(9)[1])
        served.sendto(b"back", peer)
        see("chosen", client.getsockname()[:2] == (address, port), client.getpeername()[0], peer == client.getsockname())
        if kind == TCP:
            see("served", served.getsockname() == client.getpeername(), served.getpeername() == peer)
        see("heard", client.recv(9), *is_bound(server))
        if kind == UDP and is_named:
            see("left", disconnect(client), client.getsockname()[0], tried(client.getpeername))
            see("kept", client.getsockname()[1] == port)
            server.sendto(b"again", (address, port))
            see("heard", client.recv(9))
            client.connect((address, server.getsockname()[1]))
            see("chosen", client.getsockname()[:2] == (address, port))
    # Addresses of the loopback are many, and each has ports of its own.
    server = socket.create_server(("127.0.0.1", 0))
    first = socket.create_connection(server.getsockname())
    for late, port in [(0, 0), (1, 0), (0, first.getsockname()[1])]:
        client = socket.socket()
        client.setsockopt(socket.IPPROTO_IP, 24, late)  # IP_BIND_ADDRESS_NO_PORT
        client.bind(("127.0.0.2", port))
        client.connect(server.getsockname())
        see("of many", late, client.getsockname()[0], port in (0, client.getsockname()[1]))
    peers = [server.accept()[1] for _ in range(4)]
    see("peers", *sorted(address for address, _ in peers), peers[0] == first.getsockname())
    # Who is refused and listens then is reached as any listener.
    for family, wildcard, address in ways:
        deaf = socket.socket(family)
        deaf.bind((wildcard, 0))
        one = socket.socket(family)
        while tried(one.bind, (wildcard, random.randrange(10000, 20000))):
            pass
        see("refused", tried(one.connect, (address, deaf.getsockname()[1])), tried(one.listen), *is_bound(one))
        client = socket.create_connection((address, one.getsockname()[1]))
        see("reached", one.accept()[1] == client.getsockname())


for part in [kinds, names, again, used, reborn, classes, options, restarted, chosen]:
    see(part.__name__)
    part()
