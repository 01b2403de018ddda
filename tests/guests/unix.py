"""Unix sockets: prints what it sees. Natively and in a zone the lines are the same."""

import os
import socket
import struct
import threading

UNIX, DATAGRAM, PACKETS = socket.AF_UNIX, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET


def listener(name, backlog=5):
    made = socket.socket(UNIX)
    made.bind(name)
    made.listen(backlog)
    return made


def fails(what, *arguments):
    try:
        what(*arguments)
    except OSError as error:
        return os.strerror(error.errno)
    return "no error"


def who(connection):
    pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid == os.getpid(), uid == os.getuid(), gid == os.getgid()


def names():
    server = listener("here")
    client = socket.socket(UNIX)
    client.connect("./here")
    accepted, peer = server.accept()
    print(server.getsockname(), accepted.getsockname(), client.getpeername(), repr(peer))
    print(who(client), who(accepted), oct(os.stat("here").st_mode))
    print(fails(socket.socket(UNIX).bind, "here"), fails(socket.socket(UNIX).bind, "no/here"))
    os.symlink("nowhere", "link")
    print(fails(socket.socket(UNIX).connect, "link"), fails(socket.socket(UNIX).connect, "none"))
    server.close()
    print(fails(socket.socket(UNIX).connect, "here"))
    server = socket.socket(UNIX)
    os.fchmod(server.fileno(), 0o765)
    server.bind("mode")
    print(oct(os.stat("mode").st_mode))
    abstract = listener("\0picozone-test")
    client = socket.socket(UNIX)
    client.connect("\0picozone-test")
    print(abstract.getsockname(), client.getpeername())
    long = "\0" + "long" * 26 + "..."
    abstract = listener(long)
    client = socket.socket(UNIX)
    client.connect(long)
    print(len(long), abstract.getsockname() == client.getpeername() == long.encode())
    print(fails(socket.socket(UNIX).bind, long), fails(socket.socket(UNIX).connect, long[:-1]))
    unnamed = socket.socket(UNIX)
    unnamed.bind("")
    print(len(unnamed.getsockname()))


def full():
    server = listener("full", 0)
    first = socket.socket(UNIX)
    first.connect("full")
    hasty = socket.socket(UNIX)
    hasty.setblocking(False)
    print(fails(hasty.connect, "full"))
    patient = socket.socket(UNIX)
    waiting = threading.Thread(target=patient.connect, args=("full",))
    waiting.start()
    server.accept()
    waiting.join()
    print("connected to", patient.getpeername())


def datagrams():
    one, two = socket.socketpair(UNIX, DATAGRAM)
    one.send(b"one")
    one.send(b"two")
    print(two.recv(9), two.recv(9), two.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == DATAGRAM)
    box = socket.socket(UNIX, DATAGRAM)
    box.bind("box")
    sender = socket.socket(UNIX, DATAGRAM)
    sender.connect("box")
    sender.send(b"connected")
    print(box.recv(99), box.getsockname())
    lone = socket.socket(UNIX, DATAGRAM)
    lone.sendto(b"by name", "box")
    print(box.recv(99))
    lone.sendmsg([b"by message"], [], 0, "box")
    print(box.recv(99))
    print(fails(lone.sendto, b"", "none"))


def nameless():
    """Who has no name is told by no address, where something is received."""
    for kind in [socket.SOCK_STREAM, PACKETS]:
        server = socket.socket(UNIX, kind)
        server.bind(f"server {kind}")
        server.listen()
        client = socket.socket(UNIX, kind)
        client.connect(server.getsockname())
        served, peer = server.accept()
        client.send(b"x")
        print(repr(peer), served.recvfrom(9))
        client.send(b"y")
        print(served.recvmsg(9), repr(served.getpeername()))
    box = socket.socket(UNIX, DATAGRAM)
    box.bind("letters")
    lone = socket.socket(UNIX, DATAGRAM)
    lone.sendto(b"by name", "letters")
    print(box.recvfrom(99))
    lone.connect("letters")
    lone.send(b"connected")
    print(box.recvmsg(99))


def control():
    one, two = socket.socketpair(UNIX, PACKETS)
    two.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    own = struct.pack("3i", os.getpid(), os.getuid(), os.getgid())
    one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, own)])
    print(two.recvmsg(9, 99)[1][0][2] == own)


def credentials(connection):
    return struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))


def child(body):
    pid = os.fork()
    if pid == 0:
        body()
        os._exit(0)
    os.waitpid(pid, 0)
    return pid, os.getuid(), os.getgid()


def gone():
    """Who the other end was is told also when it is gone before anybody asks."""
    for kind in (socket.SOCK_STREAM, PACKETS):
        for number, own in enumerate(("", "\0picozone-gone", "gone")):
            name = f"server{kind}{number}"
            server = socket.socket(UNIX, kind)
            server.bind(name)
            server.listen()

            def connect():
                client = socket.socket(UNIX, kind)
                if own:
                    client.bind(own + str(kind))
                client.connect(name)
                client.send(b"bye")

            left = child(connect)
            accepted, peer = server.accept()
            print(repr(peer), repr(accepted.getpeername()), accepted.recv(9), credentials(accepted) == left)
    ready, tell = os.pipe()

    def serve():
        server = listener("short")
        os.write(tell, b"!")
        server.accept()

    pid = os.fork()
    if pid == 0:
        serve()
        os._exit(0)
    os.read(ready, 1)
    client = socket.socket(UNIX)
    client.connect("short")
    os.waitpid(pid, 0)
    print(credentials(client) == (pid, os.getuid(), os.getgid()))


def late():
    """A socket that is connected may still be bound, once, and then has that name."""
    server = listener("first")
    for name in ("late", "\0picozone-late"):
        client = socket.socket(UNIX)
        client.connect("first")
        accepted, peer = server.accept()
        print(repr(client.getsockname()), repr(peer), repr(accepted.getpeername()))
        client.bind(name)
        print(client.getsockname(), accepted.getpeername(), fails(client.bind, "other"))
        print(fails(socket.socket(UNIX).connect, name), fails(client.listen), fails(client.connect, "first"))
        client.send(b"on")
        print(accepted.recv(9))
    # What could not be connected is bound as if nothing had been.
    client = socket.socket(UNIX)
    print(fails(client.connect, "nobody"), repr(client.getsockname()))
    client.bind("nobody")
    client.listen()
    other = socket.socket(UNIX)
    other.connect("nobody")
    print(other.getpeername())
    # Who wants to be told of senders has a name as soon as it is connected.
    client = socket.socket(UNIX)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    client.connect("first")
    print(len(client.getsockname()), server.accept()[1] == client.getsockname())


names()
full()
datagrams()
nameless()
control()
gone()
late()
