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


def control():
    one, two = socket.socketpair(UNIX, PACKETS)
    two.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    own = struct.pack("3i", os.getpid(), os.getuid(), os.getgid())
    one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, own)])
    print(two.recvmsg(9, 99)[1][0][2] == own)


names()
full()
datagrams()
control()
