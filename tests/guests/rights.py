"""Who passes descriptors to whom over unix sockets in a directory that zones share.

rights.py serve DIR    listens and receives there, says "ready"; when /srv/go is written to says what has come
rights.py ask DIR      connects, sends and passes descriptors there; says how that went
"""

import array
import errno
import os
import socket
import sys

KINDS = {"stream": socket.SOCK_STREAM, "packets": socket.SOCK_SEQPACKET, "datagrams": socket.SOCK_DGRAM}
what, place = sys.argv[1:3]


def rights(fd):
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]


def attempt(do):
    try:
        do()
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]


if what == "serve":
    servers = {}
    for name, kind in KINDS.items():
        server = servers[name] = socket.socket(socket.AF_UNIX, kind)
        server.bind(f"{place}/{name}")
        if kind != socket.SOCK_DGRAM:
            server.listen()
    # One that was made elsewhere.
    server = servers["moved"] = socket.socket(socket.AF_UNIX)
    os.makedirs("/srv/made", exist_ok=True)
    server.bind("/srv/made/socket")
    server.listen()
    try:
        os.rename("/srv/made/socket", f"{place}/moved")
    except OSError:
        os.symlink("/srv/made/socket", f"{place}/moved")
    print("ready", flush=True)
    with open("/srv/go") as go:
        go.readline()
    for name, server in servers.items():
        server.setblocking(False)
        count = 0
        try:
            while True:
                peer = server if name == "datagrams" else server.accept()[0]
                count += len(socket.recv_fds(peer, 100, 4)[1])
        except BlockingIOError:
            pass
        print(name, count)
else:
    for name in [*KINDS, "moved"]:
        kind = KINDS.get(name, socket.SOCK_STREAM)
        one = socket.socket(socket.AF_UNIX, kind)
        path = f"{place}/{name}"
        told = [attempt(lambda: one.connect(path)), attempt(lambda: one.sendmsg([b"x"], rights(0)))]
        if kind == socket.SOCK_DGRAM:
            other = socket.socket(socket.AF_UNIX, kind)
            told += [attempt(lambda: other.sendto(b"x", path)), attempt(lambda: other.sendmsg([b"x"], rights(0), 0, path))]
        print(name, *told)
