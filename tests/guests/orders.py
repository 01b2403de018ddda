"""What is told of several things that are wrong with a call, and what few programs ask."""

import ctypes
import errno
import fcntl
import os
import pty
import signal
import socket
import struct
import sys
import termios

libc = ctypes.CDLL(None, use_errno=True)
LEVEL = socket.SOL_SOCKET
PEERGROUPS, PEERPIDFD, DETACH_FILTER = 59, 77, 27
TIOCGDEV, TIOCGEXCL, TIOCGPTPEER, TIOCSBRK, TIOCCBRK = 0x80045432, 0x80045440, 0x5441, 0x5427, 0x5428
EXECVEAT, OPENAT2, EMPTY_PATH = 322, 437, 0x1000


def call(name, *args):
    result = getattr(libc, name)(*args)
    return errno.errorcode[ctypes.get_errno()] if result < 0 else result


def tried(act, *args):
    try:
        return act(*args)
    except OSError as error:
        return errno.errorcode[error.errno]


def addresses():
    four = struct.pack("=HH4s8x", socket.AF_INET, 0x100, socket.inet_aton("127.0.0.1"))
    six = struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, b"", 0)
    file = os.open("file", os.O_RDWR | os.O_CREAT)
    for address, length in [(None, 16), (four, 16), (four, 200), (four, -1), (four, 1)]:
        print("connect", length, call("connect", file, address, length), call("connect", 99, address, length))
        print("sendto", length, call("sendto", file, b"x", 1, 0, address, length))
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    for name, one in [("connected", client), ("listens", server)]:
        for address in [four, six, four[:4], b"\1\0name", b"\1", b""]:
            print(name, len(address), call("connect", one.fileno(), address, len(address)))
    alone = socket.socket()
    for address in [four, six, b"\1\0name"]:
        print("sent", call("sendto", client.fileno(), b"x", 1, 0, address, len(address)))
        print("unconnected", call("sendto", alone.fileno(), b"x", 1, 0x4000, address, len(address)))


def options():
    made = [
        socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM),
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
    ]
    minus = ctypes.c_int(-1)
    for one in made:
        for level in [270, 999]:
            print("level", one.family.name, level, tried(one.getsockopt, level, 1))
        for name in [0, 23, 24]:
            room = ctypes.create_string_buffer(8)
            print("length", call("getsockopt", one.fileno(), LEVEL, name, room, ctypes.byref(minus)))
        print("short", call("setsockopt", one.fileno(), LEVEL, DETACH_FILTER, b"x", 1))
        print("nowhere", call("setsockopt", one.fileno(), LEVEL, DETACH_FILTER, None, 4))
        print("owner", struct.unpack("2I", fcntl.fcntl(one, 17, bytes(8))))
        for name in [PEERGROUPS, PEERPIDFD]:
            print("peer", tried(one.getsockopt, LEVEL, name, 4))


def peers():
    one, other = socket.socketpair()
    told = one.getsockopt(LEVEL, PEERGROUPS, 1024)
    print("groups", [*struct.unpack(f"{len(told) // 4}i", told)] == os.getgroups())
    if told:
        print("no room", tried(one.getsockopt, LEVEL, PEERGROUPS, 1))
    fd = one.getsockopt(LEVEL, PEERPIDFD)
    print("pidfd", signal.pidfd_send_signal(fd, 0), f"Pid:\t{os.getpid()}\n" in open(f"/proc/self/fdinfo/{fd}").read())
    fcntl.fcntl(one, fcntl.F_SETOWN, os.getpid())
    print("owner", struct.unpack("2I", fcntl.fcntl(one, 17, bytes(8))) == (os.getuid(), os.geteuid()))


def terminals():
    master, slave = pty.openpty()
    word = lambda fd, command: struct.unpack("I", fcntl.ioctl(fd, command, bytes(4)))[0]
    print("exclusive", word(slave, TIOCGEXCL))
    fcntl.ioctl(slave, termios.TIOCEXCL)
    print("exclusive", word(slave, TIOCGEXCL))
    fcntl.ioctl(slave, termios.TIOCNXCL)
    number = os.stat(os.ttyname(slave)).st_rdev
    print("device", word(slave, TIOCGDEV) == (os.minor(number) & 0xFF | os.major(number) << 8 | (os.minor(number) & ~0xFF) << 12))
    print("break", fcntl.ioctl(slave, TIOCSBRK, 0), fcntl.ioctl(slave, TIOCCBRK, 0))
    print("carrier", word(slave, termios.TIOCGSOFTCAR))
    other = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)
    print("peer", os.ttyname(other) == os.ttyname(slave), fcntl.fcntl(other, fcntl.F_GETFL) & 3)
    os.write(other, b"through")
    print(os.read(master, 99))
    print("no peer", tried(fcntl.ioctl, slave, TIOCGPTPEER, 2), tried(fcntl.ioctl, os.pipe()[0], TIOCGPTPEER, 2))


def beneath():
    how = struct.pack("3Q", 0, 0, 8)
    one = socket.socket()
    for fd in [os.pipe()[0], os.open("file", os.O_RDWR), one.fileno()]:
        print("openat2", call("syscall", OPENAT2, fd, b"x", how, 24))
    os.mkdir("dir")
    with open("script", "w") as script:
        script.write("#!/bin/sh\necho $0 $1; cat $0\n")
    os.chmod("script", 0o755)
    at = os.open("dir", os.O_RDONLY)
    os.dup2(at, 50)
    os.dup2(one.fileno(), 51)
    strings = lambda *all: (ctypes.c_char_p * (len(all) + 1))(*all, None)
    for path in ["fd/50/../script", "cwd/../" + os.path.basename(os.getcwd()) + "/script", "fd/../status"]:
        print(path.split("/")[0], len(open("/proc/self/" + path).read(20)))
    os.chdir("/proc/self/fd/50/..")
    print("up", os.path.exists("script"))
    os.chdir("/")
    for fd, name in [(50, b"../script"), (51, b"")]:
        child = os.fork()
        if child == 0:
            path = strings(b"PATH=/usr/bin:/bin")
            print(call("syscall", EXECVEAT, fd, name, strings(b"zero", b"one"), path, EMPTY_PATH), flush=True)
            os._exit(0)
        os.waitpid(child, 0)


sys.stdout.reconfigure(line_buffering=True)
for part in [addresses, options, peers, terminals, beneath]:
    part()
