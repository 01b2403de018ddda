"""TCP and UDP in a zone: `inet.py serve`, `inet.py ask ZONE OWN` with the last numbers of addresses.

The server answers with what it sees; the client says what differs from what should be.
"""

import select
import socket
import sys

V4, V6, TCP, UDP = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM


def bound(family, kind, address, v6_only=False):
    made = socket.socket(family, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if v6_only:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind(address)
    if kind == TCP:
        made.listen(9)
    return made


def serve():
    sockets = [
        bound(V4, TCP, ("0.0.0.0", 80)),
        bound(V6, TCP, ("::", 80), v6_only=True),
        bound(V4, TCP, ("127.0.0.1", 6379)),
        bound(V4, UDP, ("0.0.0.0", 53)),
        bound(V6, UDP, ("::", 54)),
    ]
    try:
        bound(V4, TCP, ("127.0.0.1", 80))
        print("127.0.0.1:80 beside 0.0.0.0:80")
    except OSError:
        pass
    print("ready", flush=True)
    while True:
        for ready in select.select(sockets, [], [])[0]:
            if ready.type == UDP:
                _, peer = ready.recvfrom(99)
                ready.sendto(repr(peer[:2]).encode(), peer)
            else:
                connection, peer = ready.accept()
                seen = (peer[:2], connection.getpeername()[:2], connection.getsockname()[:2])
                connection.sendall(repr(seen).encode())
                connection.close()


def expect(what, is_so, *seen):
    if not is_so:
        print(what, *seen)


def ask_tcp(family, address, own):
    client = socket.socket(family)
    client.settimeout(5)
    client.connect(address)
    peer, again, local = eval(client.recv(999))
    me = client.getsockname()[:2]
    what = ("tcp", address)
    expect(what, peer == again == me == (own, me[1]), peer, again, me)
    expect(what, local == client.getpeername()[:2] == address, local, client.getpeername())


def ask_udp(family, address, own):
    for is_connected in (False, True):
        client = socket.socket(family, UDP)
        client.settimeout(5)
        if is_connected:
            client.connect(address)
            client.send(b"?")
        else:
            client.sendto(b"?", address)
        seen, source = client.recvfrom(999)
        me = client.getsockname()[:2]
        expect(("udp", address), source[:2] == address, source)
        shown = own if is_connected else {V4: "0.0.0.0", V6: "::"}[family]
        expect(("udp", address), eval(seen) == (own, me[1]) and me == (shown, me[1]), seen, me)


def ask(zone, own):
    v4, v6 = f"10.111.{zone}", "fd6f::%x" % int.from_bytes(bytes(map(int, zone.split("."))), "big")
    own4, own6 = f"10.111.{own}", "fd6f::%x" % int.from_bytes(bytes(map(int, own.split("."))), "big")
    ask_tcp(V4, (v4, 80), own4)
    ask_tcp(V6, (v6, 80), own6)
    ask_udp(V4, (v4, 53), own4)
    ask_udp(V6, (v6, 54), own6)
    if zone == own:
        ask_tcp(V4, ("127.0.0.1", 80), "127.0.0.1")
        ask_tcp(V6, ("::1", 80), "::1")
        ask_tcp(V4, ("127.0.0.1", 6379), "127.0.0.1")
        ask_udp(V4, ("127.0.0.1", 53), "127.0.0.1")
        ask_udp(V6, ("::1", 54), "::1")
    try:
        socket.create_connection((v4, 6379), 5)
        print("the loopback is reached by the zone's address")
    except ConnectionRefusedError:
        pass
    print("asked", flush=True)


if sys.argv[1] == "serve":
    serve()
else:
    ask(*sys.argv[2:])
