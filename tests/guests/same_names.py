"""Takes one of everything that has a name, says "ready", waits until /srv/go is written to, and looks whether
all of it is as it was left. Run at the same time in two zones, neither may notice the other.
"""

import ctypes
import fcntl
import os
import socket
import sys

libc = ctypes.CDLL(None, use_errno=True)
own = sys.argv[1].encode()
assert len(own) == 8


def call(function, *args):
    result = function(*args)
    assert result != -1, (function.__name__, os.strerror(ctypes.get_errno()))
    return result


KEY = 0x5A5A
CREATE = 0o1000 | 0o2000 | 0o600
kept = []

# Ports.
for family, kind, address in [
    (socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", 22)),
    (socket.AF_INET6, socket.SOCK_STREAM, ("::", 22)),
    (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 8080)),
    (socket.AF_INET6, socket.SOCK_STREAM, ("::1", 8080)),
    (socket.AF_INET, socket.SOCK_DGRAM, ("0.0.0.0", 53)),
    (socket.AF_INET6, socket.SOCK_DGRAM, ("::1", 53)),
]:
    one = socket.socket(family, kind)
    if kind == socket.SOCK_STREAM:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.bind(address)
    if kind == socket.SOCK_STREAM:
        one.listen()
    kept.append((one, address))
servers = list(kept)

# Names of unix sockets.
for name in ["\0same", "\0" + "same" * 25, "/run/same.socket"]:
    one = socket.socket(socket.AF_UNIX)
    one.bind(name)
    one.listen()
    kept.append((one, name))
datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
datagrams.bind("\0same.datagrams")

# Files: a pid file, a lock, a FIFO.
with open("/run/same.pid", "x") as file:
    print(os.getpid(), file=file)
os.makedirs("/run/lock", exist_ok=True)
locks = [open(f"/run/lock/same.{number}", "x") for number in range(2)]
fcntl.flock(locks[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
fcntl.lockf(locks[1], fcntl.LOCK_EX | fcntl.LOCK_NB)
os.mkfifo("/tmp/same.fifo")
fifo = os.open("/tmp/same.fifo", os.O_RDWR | os.O_NONBLOCK)
os.write(fifo, own)

# System V and POSIX objects.
libc.shmat.restype = ctypes.c_void_p
shm = call(libc.shmget, KEY, 4096, CREATE)
memory = libc.shmat(shm, None, 0)
ctypes.memmove(memory, own, 8)
sem = call(libc.semget, KEY, 1, CREATE)
call(libc.semctl, sem, 0, 16, own[0])
msg = call(libc.msgget, KEY, CREATE)
call(libc.msgsnd, msg, (1).to_bytes(8, "little") + own, 8, 0)
with open("/dev/shm/same", "xb") as file:
    file.write(own)
# struct mq_attr: one message of 8 bytes.
room = (ctypes.c_long * 8)(0, 1, 8)
mq = call(libc.mq_open, b"/same", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NONBLOCK, 0o600, room)
call(libc.mq_send, mq, own, 8, 0)

# What the zone as a whole has.
socket.sethostname(own.decode())
print("ready", flush=True)
with open("/srv/go") as go:
    go.readline()

for one, address in servers:
    if one.type == socket.SOCK_STREAM:
        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])
        with socket.create_connection((here, address[1])) as client:
            with one.accept()[0] as peer:
                peer.sendall(own)
                assert client.recv(100) == own
    else:
        here = {"0.0.0.0": "127.0.0.1"}.get(address[0], address[0])
        with socket.socket(one.family, socket.SOCK_DGRAM) as client:
            client.sendto(own, (here, address[1]))
            assert one.recv(100) == own
    one.setblocking(False)
    try:
        one.accept() if one.type == socket.SOCK_STREAM else one.recv(1)
        raise AssertionError(address)
    except BlockingIOError:
        pass
for one, name in kept[len(servers) :]:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(name)
        one.accept()[0].sendall(own)
        assert client.recv(100) == own
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
    client.sendto(own, "\0same.datagrams")
    assert datagrams.recv(100) == own
with open("/run/same.pid") as file:
    assert int(file.read()) == os.getpid()
assert os.read(fifo, 100) == own
assert ctypes.string_at(memory, 8) == own
assert call(libc.semctl, sem, 0, 12, 0) == own[0]
buffer = ctypes.create_string_buffer(16)
assert call(libc.msgrcv, msg, buffer, 8, 0, 0o4000) == 8 and buffer.raw[8:] == own
with open("/dev/shm/same", "rb") as file:
    assert file.read() == own
buffer = ctypes.create_string_buffer(8)
assert call(libc.mq_receive, mq, buffer, 8, None) == 8 and buffer.raw[:8] == own
assert socket.gethostname() == own.decode()

# Nothing of the other's is to be seen.
with open("/proc/net/tcp") as file:
    listening = [line.split()[1] for line in file if line.split()[3] == "0A"]
assert sorted(listening) == ["00000000:0016", "0100007F:1F90"], listening
with open("/proc/net/unix") as file:
    names = [line.split()[7] for line in file if len(line.split()) > 7]
assert sorted(names) == sorted(set(names)), names
for line in os.popen("ps -eo args"):
    assert "same_names.py" not in line or own.decode() in line, line
for kind in ["shm", "sem", "msg"]:
    with open(f"/proc/sysvipc/{kind}") as file:
        assert len(file.readlines()) == 2, kind
print("undisturbed")
