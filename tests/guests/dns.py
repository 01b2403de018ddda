"""dns.py: answers every question of the domain name system with the address 192.0.2.77, on port 53."""

import socket

one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(("0.0.0.0", 53))
print("ready", flush=True)
while True:
    question, peer = one.recvfrom(512)
    name = question[12:]
    end = name.index(0) + 5
    is_v4 = name[end - 4 : end - 2] == b"\0\1"
    # One record, whose name is that of the question: A, IN, a minute, 4 bytes.
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, 2, 77])
    head = question[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_v4 else b"\0\0") + bytes(4)
    one.sendto(head + name[:end] + (record if is_v4 else b""), peer)
