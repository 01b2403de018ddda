"""Control data of UDP sockets: prints what it sees. Natively and in a zone the lines are the same."""

import ctypes
import errno
import os
import socket
import struct

V4, V6, UDP = socket.AF_INET, socket.AF_INET6, socket.SOCK_DGRAM
IP_PKTINFO, IP_RECVERR, IP_RECVORIGDSTADDR = 8, 11, 20
IPV6_RECVPKTINFO, IPV6_PKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVORIGDSTADDR = 49, 50, 51, 74
MSG_ERRQUEUE = 0x2000


def fails(what, *arguments):
    try:
        what(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno, error.errno)
    return "no error"


def bound(family, address):
    made = socket.socket(family, UDP)
    made.settimeout(5)
    made.bind((address, 0))
    return made, made.getsockname()[1]


def v4(data):
    index, spec, address = struct.unpack("I4s4s", data)
    return socket.if_indextoname(index), socket.inet_ntoa(spec), socket.inet_ntoa(address)


def packet_info():
    server, port = bound(V4, "0.0.0.0")
    server.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    server.setsockopt(socket.IPPROTO_IP, IP_RECVORIGDSTADDR, 1)
    client = socket.socket(V4, UDP)
    client.settimeout(5)
    client.connect(("127.0.0.1", port))
    client.send(b"?")
    data, control, flags, peer = server.recvmsg(9, 256)
    print(data, flags, peer == client.getsockname(), peer[0])
    found = {kind: data for level, kind, data in control if level == socket.IPPROTO_IP}
    print(v4(found[IP_PKTINFO]))
    origin = found[IP_RECVORIGDSTADDR]
    print(socket.inet_ntoa(origin[4:8]), struct.unpack("!H", origin[2:4])[0] == port)
    # An answer from where the question went.
    source = struct.pack("I4s4s", 0, found[IP_PKTINFO][8:12], bytes(4))
    server.sendmsg([b"answer"], [(socket.IPPROTO_IP, IP_PKTINFO, source)], 0, peer)
    print(client.recv(9))
    alien = struct.pack("I4s4s", 0, socket.inet_aton("192.0.2.1"), bytes(4))
    print(fails(server.sendmsg, [b"x"], [(socket.IPPROTO_IP, IP_PKTINFO, alien)], 0, peer))
    # Beside other control data.
    ttl = (socket.IPPROTO_IP, socket.IP_TTL, struct.pack("i", 9))
    server.sendmsg([b"more"], [(socket.IPPROTO_IP, IP_PKTINFO, source), ttl], 0, peer)
    print(client.recv(9))


def packet_info_v6():
    server, port = bound(V6, "::")
    server.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
    for family, address in ((V4, "127.0.0.1"), (V6, "::1")):
        client = socket.socket(family, UDP)
        client.settimeout(5)
        client.connect((address, port))
        client.send(b"?")
        data, control, _, peer = server.recvmsg(9, 256)
        info = {kind: data for level, kind, data in control if level == socket.IPPROTO_IPV6}[IPV6_PKTINFO]
        print(socket.inet_ntop(V6, info[:16]), socket.if_indextoname(struct.unpack("I", info[16:])[0]))
        source = [(socket.IPPROTO_IPV6, IPV6_PKTINFO, info[:16] + bytes(4))]
        server.sendmsg([b"answer"], source, 0, peer)
        print(client.recv(9))
        alien = socket.inet_pton(V6, "2001:db8::1") + bytes(4)
        print(fails(server.sendmsg, [b"x"], [(socket.IPPROTO_IPV6, IPV6_PKTINFO, alien)], 0, peer))


def origins_v6():
    """Where a datagram was sent to, as the last of all control data and with too little room for it."""
    server, port = bound(V6, "::1")
    for option in (IPV6_RECVORIGDSTADDR, IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT):
        server.setsockopt(socket.IPPROTO_IPV6, option, 1)
    client = socket.socket(V6, UDP)
    for room in (256, 40 + 24 + 48, 40 + 24 + 44, 40 + 24 + 43, 40 + 24 + 32, 40 + 24 + 15, 40 + 24):
        client.sendto(b"?", ("::1", port))
        _, control, flags, _ = server.recvmsg(9, room)
        level, kind, origin = control[-1]
        print(room, len(control), flags, level, kind, len(origin))
        if kind == IPV6_RECVORIGDSTADDR and len(origin) == 28:
            family, at, flow, address, scope = struct.unpack("=H2sI16sI", origin)
            print(family == V6, struct.unpack("!H", at)[0] == port, flow, socket.inet_ntop(V6, address), scope)


def errors():
    gone, port = bound(V4, "127.0.0.1")
    gone.close()
    client = socket.socket(V4, UDP)
    client.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    client.settimeout(5)
    client.connect(("127.0.0.1", port))
    client.send(b"lost")
    print(fails(client.recv, 9))
    data, control, flags, peer = client.recvmsg(9, 256, MSG_ERRQUEUE)
    print(data, flags & MSG_ERRQUEUE != 0, peer == ("127.0.0.1", port))
    level, kind, report = control[0]
    print(level, kind, errno.errorcode[struct.unpack("I", report[:4])[0]], socket.inet_ntoa(report[20:24]))


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class Mmsghdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_len", ctypes.c_int),
        ("iov", ctypes.POINTER(Iovec)),
        ("iov_len", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_len", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("length", ctypes.c_uint),
    ]


class Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


def many():
    libc = ctypes.CDLL(None, use_errno=True)
    server, port = bound(V4, "127.0.0.1")
    buffers = [ctypes.create_string_buffer(9) for _ in range(3)]
    vectors = [Iovec(ctypes.addressof(buffer), 9) for buffer in buffers]
    messages = (Mmsghdr * 3)()
    for message, vector in zip(messages, vectors):
        message.iov, message.iov_len = ctypes.pointer(vector), 1

    def receive(count, flags, timeout):
        got = libc.recvmmsg(server.fileno(), messages, count, flags, timeout)
        return got if got >= 0 else errno.errorcode[ctypes.get_errno()]

    client = socket.socket(V4, UDP)
    for _ in range(3):
        client.sendto(b"datagram", ("127.0.0.1", port))
    wait = Timespec(5, 0)
    print(receive(2, 0, ctypes.byref(wait)), wait.seconds, messages[1].length)
    print(receive(3, 0, ctypes.byref(Timespec(0, 1))))
    print(receive(3, 0, ctypes.byref(Timespec(0, 1000000000))), receive(3, 0, ctypes.byref(Timespec(-1, 0))))
    print(receive(3, 0, ctypes.c_void_p(8)), receive(3, socket.MSG_DONTWAIT, None))
    name = ctypes.create_string_buffer(128)
    messages[0].name, messages[0].name_len = ctypes.addressof(name), -1
    print(receive(1, socket.MSG_DONTWAIT, None))
    destination = struct.pack("H", V4) + struct.pack("!H", port) + socket.inet_aton("127.0.0.1") + bytes(8)
    ctypes.memmove(name, destination, 16)
    for length in (-1, 2, 16, 128, 4096):
        messages[0].name_len = length
        got = libc.sendmmsg(client.fileno(), messages, 1, 0)
        print(length, got if got >= 0 else errno.errorcode[ctypes.get_errno()])
    # Not one message: what the descriptor is counts all the same.
    for fd in (-1, 0, client.fileno()):
        for got in (libc.sendmmsg(fd, None, 0, 0), libc.recvmmsg(fd, None, 0, 0, None)):
            print(got if got >= 0 else errno.errorcode[ctypes.get_errno()])


packet_info()
packet_info_v6()
origins_v6()
errors()
many()
