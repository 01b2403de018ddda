"""Interfaces, addresses and routes as libraries and tools ask for them: `interfaces.py X.Y`, the last
numbers of the zone's address. Says what differs from what should be."""

import ctypes
import errno
import fcntl
import os
import socket
import struct
import sys

own4 = "10.111." + sys.argv[1]
own6 = "fd6f::%x" % int.from_bytes(bytes(map(int, sys.argv[1].split("."))), "big")


def expect(what, seen, wanted):
    if seen != wanted:
        print(what, "is", seen, "instead of", wanted)


def fails(what, *arguments):
    try:
        what(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "no error"


class Sockaddr(ctypes.Structure):
    _fields_ = [("family", ctypes.c_ushort), ("rest", ctypes.c_ubyte * 26)]


class Ifaddrs(ctypes.Structure):
    pass


Ifaddrs._fields_ = [
    ("next", ctypes.POINTER(Ifaddrs)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.POINTER(Sockaddr)),
    ("netmask", ctypes.POINTER(Sockaddr)),
]


def getifaddrs():
    libc, first, seen = ctypes.CDLL(None), ctypes.POINTER(Ifaddrs)(), []
    expect("getifaddrs", libc.getifaddrs(ctypes.byref(first)), 0)
    at = first
    while at:
        row = at.contents
        address = row.address.contents
        if address.family == socket.AF_INET:
            seen.append((row.name.decode(), socket.inet_ntoa(bytes(address.rest[2:6]))))
        elif address.family == socket.AF_INET6:
            seen.append((row.name.decode(), socket.inet_ntop(socket.AF_INET6, bytes(address.rest[6:22]))))
        else:
            seen.append((row.name.decode(), address.family))
        at = row.next
    return sorted(seen, key=str)


def ifreq(command, name, value=b""):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        request = struct.pack("16s24s", name.encode(), value)
        return fcntl.ioctl(asked, command, request)[16:]


def libraries():
    expect("if_nameindex", socket.if_nameindex(), [(1, "lo"), (2, "eth0")])
    expect("if_nametoindex", socket.if_nametoindex("eth0"), 2)
    expect("if_indextoname", socket.if_indextoname(1), "lo")
    wanted = [("lo", 17), ("eth0", 17), ("lo", "127.0.0.1"), ("eth0", own4), ("lo", "::1"), ("eth0", own6)]
    expect("getifaddrs", getifaddrs(), sorted(wanted, key=str))
    found = socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    expect("localhost", ("127.0.0.1", 80) in [row[4] for row in found], True)


def ethtool(name, command, data=None):
    data = data or ctypes.create_string_buffer(struct.pack("I252x", command))
    ifreq(0x8946, name, struct.pack("Q", data if isinstance(data, int) else ctypes.addressof(data)))
    return struct.unpack_from("I", data, 4)[0]


def commands():
    # As natively of lo: it is linked, segments are handed on whole, and nothing else is known of it.
    expect("ETHTOOL_GLINK", [ethtool(name, 0x0A) for name in ("lo", "eth0")], [1, 1])
    expect("ETHTOOL_GTSO", ethtool("lo", 0x1E), 1)
    for command in (0x01, 0x03, 0x4C):
        expect(("ethtool", command), fails(ethtool, "lo", command), "ENOTSUP")
    expect("ethtool of none", fails(ethtool, "eth1", 0x0A), "ENODEV")
    expect("ethtool nowhere", fails(ethtool, "lo", 0x0A, 8), "EFAULT")
    expect("SIOCGIFADDR", socket.inet_ntoa(ifreq(0x8915, "eth0")[4:8]), own4)
    expect("SIOCGIFNETMASK", socket.inet_ntoa(ifreq(0x891B, "eth0")[4:8]), "255.255.0.0")
    expect("SIOCGIFBRDADDR", socket.inet_ntoa(ifreq(0x8919, "eth0")[4:8]), "10.111.255.255")
    expect("SIOCGIFFLAGS", ifreq(0x8913, "lo")[:2], struct.pack("H", 0x49))
    expect("SIOCGIFMTU", ifreq(0x8921, "lo")[:4], struct.pack("i", 65536))
    expect("SIOCGIFHWADDR", ifreq(0x8927, "eth0")[:4], b"\1\0\2\x6f")
    expect("SIOCGIFINDEX", fails(ifreq, 0x8933, "eth1"), "ENODEV")
    expect("SIOCSIFADDR", fails(ifreq, 0x8916, "eth0"), "EPERM")
    expect("SIOCGIFADDR of a pipe", fails(fcntl.ioctl, os.pipe()[0], 0x8915, bytes(40)), "ENOTTY")


def netlink():
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    expect("kind", (made.family, made.type), (socket.AF_NETLINK, socket.SOCK_RAW))
    made.bind((0, 1))
    expect("getsockname", made.getsockname()[0], os.getpid())
    other = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    expect("another port", other.getsockname()[0] != os.getpid(), True)
    for send in (lambda data: made.sendto(data, (0, 0)), made.send, lambda data: made.sendmsg([data], [], 0, (0, 0))):
        # RTM_GETADDR, all of them.
        send(struct.pack("IHHIIB3x", 20, 22, 0x301, 9, 0, 0))
        kinds = []
        while 3 not in kinds:
            data, _, _, peer = made.recvmsg(8192)
            expect("who answers", peer, (0, 0))
            while data:
                length, kind, _, sequence, port = struct.unpack_from("IHHII", data)
                expect("sequence and port", (sequence, port), (9, os.getpid()))
                kinds.append(kind)
                data = data[(length + 3) & ~3 :]
        expect("addresses", kinds, [20] * 4 + [3])
    # RTM_NEWLINK: interface, flags and their mask. RTM_DELLINK.
    for kind, index, flags, seen in [(16, 1, 0, errno.EPERM), (16, 1, 1, 0), (17, 1, 0, errno.EOPNOTSUPP), (17, 9, 0, errno.ENODEV)]:
        made.send(struct.pack("IHHII4xIII", 32, kind, 5, 1, 0, index, flags, 1))
        data, peer = made.recvfrom(8192)
        expect(("a change", kind, index), struct.unpack_from("IHHIIi", data)[1::4], (2, -seen))
    made.setsockopt(270, 11, 1)
    expect("to somebody", fails(made.sendto, b"x" * 20, (4711, 0)), "ECONNREFUSED")
    for protocol in (9, 12, 16):
        expect(protocol, fails(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, protocol), "EPROTONOSUPPORT")
    many = [socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) for _ in range(20)]
    expect("ports", len({one.getsockname() for one in many}), 20)


def kinds():
    expect("packet", fails(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 0), "EPERM")
    expect("raw", fails(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1), "EPERM")
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    expect("device", fails(plain.setsockopt, socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth1"), "ENODEV")


libraries()
commands()
netlink()
kinds()
print("asked")
