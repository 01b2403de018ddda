"""Credentials that a message names: root's to choose, else those that the sender has (unix(7))."""

import array
import errno
import os
import socket
import struct

UNIX = socket.AF_UNIX
KINDS = [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET]
CREDENTIALS = (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
ROOM = socket.CMSG_SPACE(12)


def claim(pid, uid, gid):
    return CREDENTIALS + (struct.pack("3i", pid, uid, gid),)


def told(control):
    return [struct.unpack("3i", value) for *kind, value in control if tuple(kind) == CREDENTIALS]


def pair(kind):
    one, two = socket.socketpair(UNIX, kind)
    two.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    return one, two


def fails(*args):
    try:
        socket.socket.sendmsg(*args)
    except OSError as error:
        return errno.errorcode[error.errno]


def sleeper():
    """A process that waits for its input to end."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    return pid, write


def others(own):
    pid, write = sleeper()
    claims = [(pid, 0, 0), (pid, 12, 34), (own, 1000, 1000), (1, 5, 0), (own, 0, 7)]
    for kind in KINDS:
        one, two = pair(kind)
        for sent in claims:
            assert one.sendmsg([b"ab", b"c"], [claim(*sent)]) == 3
            data, control, flags, _ = two.recvmsg(99, ROOM, socket.MSG_PEEK)
            assert (data, told(control), flags) == (b"abc", [sent], flags & ~socket.MSG_CTRUNC), control
            data, control, flags, _ = two.recvmsg(99, ROOM)
            assert (data, told(control)) == (b"abc", [sent])
            # Not asked for, or cut.
            one.sendmsg([b"d"], [claim(*sent)])
            assert two.recv(9) == b"d"
            one.sendmsg([b"e"], [claim(*sent)])
            data, control, flags, _ = two.recvmsg(9, socket.CMSG_LEN(4))
            assert control[0][2] == struct.pack("i", sent[0]) and flags & socket.MSG_CTRUNC
            # Whose own they are comes behind.
            one.send(b"f")
            assert told(two.recvmsg(9, ROOM)[1]) == [(own, 0, 0)]
        # Descriptors go along.
        read, other = os.pipe()
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [read, other]))
        for order in [[claim(pid, 1, 2), rights], [rights, claim(pid, 1, 2)]]:
            one.sendmsg([b"x"], order)
            data, control, flags, _ = two.recvmsg(9, ROOM + socket.CMSG_SPACE(8))
            assert told(control) == [(pid, 1, 2)] and flags & socket.MSG_CTRUNC == 0
            got = array.array("i", control[1][2])
            os.write(got[1], b"through")
            assert os.read(read, 9) == b"through"
            for fd in got:
                os.close(fd)
        os.close(read)
        os.close(other)
    os.close(write)
    os.waitpid(pid, 0)
    one, two = pair(socket.SOCK_DGRAM)
    # Who is gone, nobody may be; no such call leaves anything.
    assert fails(one, [b"x"], [claim(pid, 0, 0)]) == "ESRCH"
    assert fails(one, [b"x"], [claim(1 << 28, 0, 0)]) == "ESRCH"


def from_a_child(own):
    """Who sent is told when it is gone, and what it was when it sent."""
    for kind in KINDS:
        one, two = pair(kind)
        child = os.fork()
        if child == 0:
            one.sendmsg([b"x"], [claim(own, 8, 9)])
            os._exit(0)
        os.waitpid(child, 0)
        assert told(two.recvmsg(9, ROOM)[1]) == [(own, 8, 9)]


def by_address(own):
    box = socket.socket(UNIX, socket.SOCK_DGRAM)
    box.bind("\0box%d" % own)
    box.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    lone = socket.socket(UNIX, socket.SOCK_DGRAM)
    lone.bind("\0lone%d" % own)
    lone.sendmsg([b"x"], [claim(own, 3, 4)], 0, box.getsockname())
    data, control, _, address = box.recvmsg(9, ROOM)
    assert (data, told(control), address) == (b"x", [(own, 3, 4)], lone.getsockname())


def full(own):
    for kind in KINDS:
        one, two = pair(kind)
        one.setblocking(False)
        count = 0
        while (failed := fails(one, [b"x" * 999], [claim(own, 1, 1)])) is None:
            count += 1
        assert failed == "EAGAIN" and count > 0
        one.setblocking(True)
        child = os.fork()
        if child == 0:
            one.sendmsg([b"last"], [claim(own, 2, 2)])
            os._exit(0)
        one.close()
        seen = []
        while data := two.recvmsg(999, ROOM) if len(seen) <= count else None:
            if not data[0]:
                break
            seen.append((data[0][-4:], told(data[1])))
        assert seen[-1] == (b"last", [(own, 2, 2)]), seen[-1]
        os.waitpid(child, 0)
    one, two = pair(socket.SOCK_STREAM)
    two.close()
    assert fails(one, [b"x"], [claim(own, 1, 1)]) == "EPIPE"


def as_user(own):
    os.setresgid(11, 12, 13)
    os.setresuid(21, 22, 23)
    one, two = pair(socket.SOCK_SEQPACKET)
    for uid in (21, 22, 23):
        for gid in (11, 12, 13):
            one.sendmsg([b"x"], [claim(own, uid, gid)])
            assert told(two.recvmsg(9, ROOM)[1]) == [(own, uid, gid)]
    for sent in [(1, 21, 11), (own, 0, 11), (own, 21, 0), (own, 24, 11)]:
        assert fails(one, [b"x"], [claim(*sent)]) == "EPERM", sent
    two.setblocking(False)
    try:
        two.recv(1)
        assert False
    except BlockingIOError:
        pass


def main():
    own = os.getpid()
    before = sorted(os.listdir("/proc/self/fd"))
    for part in [others, from_a_child, by_address, full]:
        part(own)
    assert sorted(os.listdir("/proc/self/fd")) == before
    as_user(own)
    print("credentials")


main()
