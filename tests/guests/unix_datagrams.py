"""Datagram sockets of AF_UNIX: names of senders, connections of bound sockets, what rides along.

Prints what it sees; natively and in a zone that is the same.
"""

import array
import errno
import os
import select
import socket
import struct

PASSCRED, CREDENTIALS = 16, 2


def datagram(name=None):
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.settimeout(30)
    if name is not None:
        made.bind(name)
    return made


def see(what, *values):
    print(what, *values, flush=True)


def tried(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno, error)


def nothing_left(*sockets):
    ready = select.select(sockets, [], [], 0)[0]
    see("left", len(ready))


def names():
    for one, two in [("one", "two"), ("\0names one", "\0names two"), ("one'", "\0names three")]:
        a, b = datagram(one), datagram(two)
        see("sent", a.sendto(b"hello", two))
        see("received", *b.recvfrom(100))
        data, address = b"", one
        see("answered", b.sendto(b"yes", address))
        see("received", *a.recvfrom(100))
        see("own", a.getsockname(), b.getsockname(), a.type)
        see("peer", tried(a.getpeername), tried(b.getpeername))
        # Who has no name.
        see("sent", datagram().sendto(b"from nobody", two))
        see("received", *b.recvfrom(100))
        see("empty", a.sendto(b"", two), *b.recvfrom(100))
        nothing_left(a, b)
    auto = datagram("")
    one = datagram("\0names four")
    auto.sendto(b"auto", "\0names four")
    data, address = one.recvfrom(100)
    see("auto", data, address == auto.getsockname(), len(address))
    one.sendto(b"back", address)
    see("auto received", *auto.recvfrom(100))


def connections():
    a, b, c = datagram("ca"), datagram("cb"), datagram("\0conn c")
    see("connect", tried(a.connect, "cb"), a.getpeername())
    see("send", a.send(b"to b"), *b.recvfrom(100))
    see("connect", tried(b.connect, "ca"), b.getpeername())
    see("send", b.send(b"to a"), *a.recvfrom(100))
    see("again", tried(a.connect, "\0conn c"), a.getpeername())
    see("send", a.send(b"to c"), *c.recvfrom(100))
    see("write", os.write(a.fileno(), b"by write"))
    select.select([c], [], [])
    see("read", os.read(c.fileno(), 100))
    # Without a name of its own.
    d = datagram()
    see("connect", tried(d.connect, "\0conn c"), d.getpeername(), d.getsockname())
    see("send", d.send(b"from d"), *c.recvfrom(100))
    see("sendto", tried(datagram().send, b"x"))
    for round in range(200):
        a.send(b"%d" % round)
        assert c.recv(100) == b"%d" % round
    nothing_left(a, b, c, d)


def refusals():
    a = datagram("ra")
    see("none", tried(a.sendto, b"x", "no-such"), tried(a.connect, "no-such"))
    see("none", tried(a.sendto, b"x", "\0no such"))
    gone = datagram("gone")
    gone.close()
    see("gone", tried(a.sendto, b"x", "gone"))
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stream.bind("stream")
    stream.listen()
    see("stream", tried(a.sendto, b"x", "stream"), tried(datagram().connect, "stream"))
    see("taken", tried(datagram, "ra"), tried(a.bind, "other"))
    a.setblocking(False)
    see("listen", tried(a.listen), tried(a.accept))


def messages():
    a, b = datagram("ma"), datagram("mb")
    see("parts", a.sendmsg([b"ab", b"", b"cde"], [], 0, "mb"))
    see("peek", b.recvmsg(100, 0, socket.MSG_PEEK))
    see("whole", b.recvmsg(100))
    a.sendto(b"0123456789", "mb")
    data, control, flags, address = b.recvmsg(4)
    see("cut", data, control, flags & socket.MSG_TRUNC != 0, address)
    a.sendto(b"0123456789", "mb")
    see("cut", *b.recvfrom(3))
    long = os.urandom(4000)
    a.sendto(long, "mb")
    see("long", b.recv(100000) == long)
    # It is there as soon as it was sent, and a queue has an end.
    b.setblocking(False)
    see("at once", a.sendto(b"now", "mb"), b.recv(100), tried(b.recv, 100))
    a.setblocking(False)
    for sent in range(100000):
        if tried(a.sendto, b"x" * 1000, "mb") == "EAGAIN":
            break
    received = 0
    while tried(b.recv, 1000) == b"x" * 1000:
        received += 1
    see("full", 0 < sent == received)
    nothing_left(a, b)


def credentials():
    a, b, c = datagram("pa"), datagram("pb"), datagram()
    b.setsockopt(socket.SOL_SOCKET, PASSCRED, 1)
    a.connect("pb")
    c.connect("pb")
    ways = [lambda: a.send(b"1"), lambda: c.send(b"2"), lambda: a.sendto(b"3", "pb")]
    own = struct.pack("3i", os.getpid(), os.getuid(), os.getgid())
    ways.append(
        lambda: a.sendmsg([b"4"], [(socket.SOL_SOCKET, CREDENTIALS, own)], 0, "pb")
    )
    for way in ways:
        way()
        data, control, flags, address = b.recvmsg(100, socket.CMSG_SPACE(12))
        see("with", data, len(control), flags & socket.MSG_CTRUNC, address)
        for level, kind, value in control:
            pid, uid, gid = struct.unpack("3i", value)
            see("who", level, kind, pid == os.getpid(), uid == os.getuid(), gid == os.getgid())
    child = os.fork()
    if child == 0:
        c.send(b"child")
        os._exit(0)
    data, control, flags, address = b.recvmsg(100, socket.CMSG_SPACE(12))
    see("child", data, struct.unpack("3i", control[0][2])[0] == child)
    os.waitpid(child, 0)


def descriptors():
    a, b, c = datagram("da"), datagram("db"), datagram()
    a.connect("db")
    c.connect("db")
    before = sorted(os.listdir("/proc/self/fd"))
    for sender in [a, c]:
        read, write = os.pipe()
        right = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [read]))
        sender.sendmsg([b"take"], [right])
        os.close(read)
        os.write(write, b"through")
        os.close(write)
        data, control, flags, address = b.recvmsg(100, socket.CMSG_SPACE(4))
        see("with", data, len(control), flags & socket.MSG_CTRUNC, address)
        got = array.array("i", control[0][2])[0]
        see("read", os.read(got, 100))
        os.close(got)
        # Not asked for.
        read, write = os.pipe()
        right = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [read, write]))
        sender.sendmsg([b"leave"], [right])
        os.close(read)
        os.close(write)
        data, control, flags, address = b.recvmsg(100)
        see("without", data, control, flags & socket.MSG_CTRUNC != 0)
        sender.sendmsg([b"leave"], [])
        see("plain", b.recv(100))
    see("nothing is left open", sorted(os.listdir("/proc/self/fd")) == before)


def pairs():
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    a.send(b"one")
    a.send(b"")
    a.send(b"two")
    see("pair", *b.recvfrom(100), *b.recvfrom(100), *b.recvfrom(100))
    see("names", a.getsockname(), b.getpeername(), a.type)
    right = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))
    b.sendmsg([b"take"], [right])
    data, control, flags, address = a.recvmsg(100, socket.CMSG_SPACE(4))
    see("taken", data, len(control), address)


def servers():
    """A server that answers whoever asks, and clients of other processes."""
    server = datagram("server")
    child = os.fork()
    if child == 0:
        for _ in range(3):
            data, address = server.recvfrom(100)
            server.sendto(data.upper(), address)
        os._exit(0)
    for name in ["s1", "\0s2", "s3"]:
        client = datagram(name)
        client.connect("server")
        client.send(b"question of " + name.encode())
        see("answer", *client.recvfrom(100))
    see("child", os.waitpid(child, 0)[1])


def partners():
    """Two that are connected to each other hear nobody else, and at once."""
    a, b, c = datagram("pa1"), datagram("\0partner"), datagram("pc1")
    a.connect("\0partner")
    b.connect("pa1")
    for one in [a, b]:
        one.setblocking(False)
    for size in [0, 1, 5000, 100000]:
        see("at once", a.send(b"x" * size), len(b.recv(200000)), b.send(b"y"), a.recv(10))
    see("too long", tried(a.send, b"x" * 1000000))
    see("a third", tried(c.sendto, b"x", "pa1"), tried(c.connect, "pa1"))
    see("by address", a.sendto(b"to b", "\0partner"), *b.recvfrom(10))
    see("elsewhere", tried(a.sendto, b"to c", "pc1"), *c.recvfrom(10))
    see("back", tried(c.sendto, b"no", "pa1"))
    see("empty", tried(b.recv, 10), os.write(a.fileno(), b"w"), os.read(b.fileno(), 10))
    b.shutdown(socket.SHUT_RD)
    see("deaf", tried(a.send, b"x"), tried(b.recv, 10))
    b.close()
    see("gone", tried(a.send, b"x"), tried(a.send, b"x"))


def without_names():
    """Senders that nobody can answer, one after the other connected to several."""
    a, b, sender = datagram("wa"), datagram("wb"), datagram()
    for to, name in [(a, "wa"), (b, "wb"), (a, "wa")]:
        see("connect", tried(sender.connect, name), sender.getpeername())
        see("send", sender.send(b"hello"), *to.recvfrom(100))
    see("sendto", sender.sendto(b"other", "wb"), *b.recvfrom(100))
    read, write = os.pipe()
    right = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [read]))
    datagram().sendmsg([b"take ", b"it"], [right], 0, "wa")
    data, control, flags, address = a.recvmsg(100, socket.CMSG_SPACE(4))
    os.write(write, b"through")
    see("rode along", data, address, os.read(array.array("i", control[0][2])[0], 100))
    long = os.urandom(60000)
    see("long", datagram().sendto(long, "wa"), a.recv(100000) == long)
    client = datagram("wc")
    client.connect("wa")
    see("long answer", client.send(b"?"), a.recv(10), a.sendto(long, "wc"), client.recv(100000) == long)
    parts = [bytes([at % 256]) * 3 for at in range(600)]
    see("parts", sender.sendmsg(parts), a.recv(10000) == b"".join(parts))


for part in [
    names, connections, partners, without_names, refusals, messages, credentials, descriptors, pairs, servers
]:
    see(part.__name__)
    part()
