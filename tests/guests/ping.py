"""ICMP echo without privilege, where the host lets its users: prints what it sees.

ping.py [ADDRESS...]   beside the loopback addresses
"""

import errno
import select
import socket
import struct
import sys

KINDS = {socket.AF_INET: (socket.IPPROTO_ICMP, 8, 0), socket.AF_INET6: (socket.IPPROTO_ICMPV6, 128, 129)}


def ping(address, is_connected):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    protocol, request, answer = KINDS[family]
    with socket.socket(family, socket.SOCK_DGRAM, protocol) as one:
        question = struct.pack("!BBHHH", request, 0, 0, 0, 7) + b"anybody there?"
        if is_connected:
            one.connect((address, 0))
            one.send(question)
        else:
            one.sendto(question, (address, 0))
        assert select.select([one], [], [], 30)[0], "no answer"
        data, peer = one.recvfrom(100)
        kind, _, _, _, number = struct.unpack_from("!BBHHH", data)
        return kind == answer, number, data[8:], peer[0]


def tried(what, *arguments):
    try:
        return what(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]


for address in ["127.0.0.1", "::1", *sys.argv[1:]]:
    for is_connected in [False, True]:
        print(address, is_connected, tried(ping, address, is_connected))
