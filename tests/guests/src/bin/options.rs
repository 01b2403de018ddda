//! Options of sockets: what each kind of socket takes, and what it then tells.

use picozone_guests::{Result, call, close, from, out, sections, see, signed};

fn main() {
    sections(&[
        ("words", words),
        ("devices", devices),
        ("filters", filters),
        ("ends", ends),
        ("six", six),
        ("netlink", netlink),
    ]);
}

const SOL_SOCKET: u64 = 1;

/// One of each family and type that a zone has.
fn sockets() -> impl Iterator<Item = ((i32, i32), u64)> {
    let families = [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX];
    let kinds = [libc::SOCK_DGRAM, libc::SOCK_STREAM];
    let all = families.map(|family| kinds.map(|kind| (family, kind)));
    all.into_iter().flatten().map(|(family, kind)| {
        let fd = call(libc::SYS_socket, &[signed(family), signed(kind), 0]);
        ((family, kind), fd.expect("a socket"))
    })
}

fn set(fd: u64, name: u64, value: &[u8]) -> Result<u64> {
    let (at, length) = (value.as_ptr() as u64, value.len() as u64);
    call(libc::SYS_setsockopt, &[fd, SOL_SOCKET, name, at, length])
}

/// What is told, in its length.
fn get(fd: u64, name: u64, room: u32) -> Result<Vec<u8>> {
    let (mut value, mut length) = ([0xaa_u8; 64], room);
    let args = [fd, SOL_SOCKET, name, out(&mut value), out(&mut length)];
    call(libc::SYS_getsockopt, &args)?;
    Ok(value[..length as usize].to_vec())
}

fn words() {
    // SO_DEBUG, _REUSEADDR, _TYPE, _ERROR, _DONTROUTE, _BROADCAST, _KEEPALIVE, _OOBINLINE, _PRIORITY,
    // _REUSEPORT, _PASSCRED, _RCVLOWAT, _TIMESTAMP, _ACCEPTCONN, _PASSSEC, _TIMESTAMPNS, _MARK,
    // _PROTOCOL, _DOMAIN, _RXQ_OVFL, _WIFI_STATUS, _PEEK_OFF, _NOFCS, _SELECT_ERR_QUEUE,
    // _INCOMING_CPU, _ZEROCOPY, _PREFER_BUSY_POLL, _BUF_LOCK, _RCVMARK, _RCVPRIORITY; one that is none.
    for name in [
        1, 2, 3, 4, 5, 6, 9, 10, 12, 15, 16, 18, 29, 30, 34, 35, 36, 38, 39, 40, 41, 42, 43, 45,
        49, 60, 69, 72, 75, 82, 999,
    ] {
        for (socket, fd) in sockets() {
            let before = get(fd, name, 4);
            let one = set(fd, name, &1_i32.to_ne_bytes());
            let after = get(fd, name, 4);
            let zero = set(fd, name, &[0; 4]);
            see("word", (name, socket, before, one, after));
            see("cleared", (zero, get(fd, name, 4), set(fd, name, &[1])));
            close(fd);
        }
    }
    for (socket, fd) in sockets() {
        // SO_BPF_EXTENSIONS tells; SO_TXTIME takes a clock and flags.
        let clock = [0_u8; 8];
        see("others", (socket, get(fd, 48, 4), get(fd, 61, 8)));
        see("time", (set(fd, 61, &clock[..4]), set(fd, 48, &clock)));
        close(fd);
    }
}

/// What they are bound to: `SO_BINDTODEVICE`, `SO_BINDTOIFINDEX`.
fn devices() {
    const NAME: u64 = 25;
    const INDEX: u64 = 62;
    for (socket, fd) in sockets().filter(|((family, _), _)| *family != libc::AF_UNIX) {
        see(
            "none",
            (
                socket,
                get(fd, NAME, 16),
                get(fd, NAME, 4),
                get(fd, INDEX, 4),
            ),
        );
        see("set", set(fd, NAME, b"lo\0"));
        see(
            "bound",
            (get(fd, NAME, 16), get(fd, NAME, 15), get(fd, INDEX, 4)),
        );
        see(
            "no such",
            (
                set(fd, NAME, b"nowhere9"),
                set(fd, INDEX, &999_i32.to_ne_bytes()),
            ),
        );
        see("negative", set(fd, INDEX, &(-1_i32).to_ne_bytes()));
        see("cleared", (set(fd, NAME, b"\0"), get(fd, NAME, 16)));
        see(
            "by number",
            (set(fd, INDEX, &1_i32.to_ne_bytes()), get(fd, NAME, 64)),
        );
        see(
            "without",
            (
                set(fd, INDEX, &[0; 4]),
                get(fd, INDEX, 4),
                set(fd, INDEX, &[0; 2]),
            ),
        );
        see(
            "empty",
            (set(fd, NAME, b"lo"), set(fd, NAME, b""), get(fd, NAME, 16)),
        );
        close(fd);
    }
}

/// The same in bytes, which a filter's address and length are.
fn attach(fd: u64, name: u64, program: &[libc::sock_filter]) -> Result<u64> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("a short one"),
        filter: program.as_ptr().cast_mut(),
    };
    let length = size_of_val(&program) as u64;
    let args = [fd, SOL_SOCKET, name, from(&program), length];
    call(libc::SYS_setsockopt, &args)
}

/// One instruction of classic BPF.
const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Takes everything.
const ALL: [libc::sock_filter; 1] = [instruction(6, 0, 0, 0xffff)];

/// Filters of what datagram sockets receive. Those of TCP newer kernels keep to root.
fn filters() {
    const ATTACH: u64 = 26;
    const DETACH: u64 = 27;
    const LOCK: u64 = 44;
    const REUSEPORT: u64 = 51;
    const DETACH_REUSEPORT: u64 = 68;
    let one = 1_i32.to_ne_bytes();
    for (socket, fd) in sockets().filter(|((_, kind), _)| *kind == libc::SOCK_DGRAM) {
        let detached = set(fd, DETACH, &one);
        see("none", (socket, get(fd, ATTACH, 8), detached));
        see("empty", attach(fd, ATTACH, &[]));
        see(
            "no such",
            attach(fd, ATTACH, &[instruction(0xffff, 0, 0, 0)]),
        );
        see("attached", (attach(fd, ATTACH, &ALL), get(fd, ATTACH, 8)));
        see("detached", (set(fd, DETACH, &one), get(fd, ATTACH, 8)));
        let chosen = attach(fd, REUSEPORT, &ALL);
        see("chooses", (chosen, set(fd, DETACH_REUSEPORT, &one)));
        see("locked", (set(fd, LOCK, &one), get(fd, LOCK, 4)));
        see("then", (attach(fd, ATTACH, &ALL), set(fd, LOCK, &[0; 4])));
        close(fd);
    }
    // Of four messages those that begin with an x are lost. In a datagram the header comes first.
    let lost = |at| {
        [
            instruction(0x30, 0, 0, at),
            instruction(0x15, 0, 1, b'x'.into()),
            instruction(6, 0, 0, 0),
            ALL[0],
        ]
    };
    use std::os::fd::AsRawFd;
    let receiver = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let fd = u64::try_from(receiver.as_raw_fd()).expect("a descriptor");
    see("drops", attach(fd, ATTACH, &lost(8)));
    let to = receiver.local_addr().expect("it has one");
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    for text in ["xa", "ya", "xb", "yb"] {
        sender.send_to(text.as_bytes(), to).expect("sent");
    }
    let mut room = [0; 8];
    for _ in 0..2 {
        let length = receiver.recv(&mut room).expect("received");
        see("received", String::from_utf8_lossy(&room[..length]));
    }
    let (own, other) = std::os::unix::net::UnixDatagram::pair().expect("a pair");
    let fd = u64::try_from(own.as_raw_fd()).expect("a descriptor");
    see("drops", attach(fd, ATTACH, &lost(0)));
    see("refused", other.send(b"xa").map_err(|error| error.kind()));
    see("sent", other.send(b"ya").map_err(|error| error.kind()));
    let length = own.recv(&mut room).expect("received");
    see("received", String::from_utf8_lossy(&room[..length]));
}

/// The other end's address as an option (`SO_PEERNAME`), which tells it in whole or in part.
fn ends() {
    use std::os::fd::AsRawFd;
    const PEER: u64 = 28;
    let number = |socket: &dyn AsRawFd| u64::try_from(socket.as_raw_fd()).expect("a descriptor");
    for (socket, fd) in sockets() {
        see("nobody", (socket, get(fd, PEER, 16)));
        close(fd);
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it has one").port();
    let client = std::net::TcpStream::connect(("127.0.0.1", port)).expect("connected");
    let (server, _) = listener.accept().expect("accepted");
    let shown = |socket: &dyn AsRawFd| {
        get(number(socket), PEER, 16).map(|name| {
            let told = [name[2], name[3]];
            (
                u16::from_be_bytes(told) == port,
                [&name[..2], &name[4..]].concat(),
            )
        })
    };
    see("listener", shown(&listener));
    see("client", shown(&client));
    see("server", shown(&server));
    for room in [0, 2, 17, 64] {
        see("in", (room, get(number(&client), PEER, room)));
    }
    drop(server);
    let mut rest = Vec::new();
    let read = std::io::Read::read_to_end(&mut &client, &mut rest);
    see("the end", read.map_err(|error| error.kind()));
    client.shutdown(std::net::Shutdown::Write).expect("shut");
    see("closed", shown(&client));
    let (own, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
    for room in [0, 2, 3] {
        see("unix", (room, get(number(&own), PEER, room)));
    }
}

/// Sockets for IPv6 alone and for both (`IPV6_V6ONLY`), from the beginning to a connection.
fn six() {
    const IPPROTO_IPV6: u64 = 41;
    const V6ONLY: u64 = 26;
    let only = |fd: u64| {
        let (mut value, mut length) = (7_u32, 4_u32);
        let args = [fd, IPPROTO_IPV6, V6ONLY, out(&mut value), out(&mut length)];
        call(libc::SYS_getsockopt, &args).map(|_| (value, length))
    };
    for (socket, fd) in sockets() {
        see("new", (socket, only(fd)));
        close(fd);
    }
    for last in [0, 1] {
        for wanted in [0_u32, 1] {
            for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
                let args = [signed(libc::AF_INET6), signed(kind), 0];
                let fd = call(libc::SYS_socket, &args).expect("a socket");
                let set = || {
                    call(
                        libc::SYS_setsockopt,
                        &[fd, IPPROTO_IPV6, V6ONLY, from(&wanted), 4],
                    )
                };
                see("set", (last, wanted, kind, set(), only(fd)));
                // struct sockaddr_in6: any port of `::` or `::1`.
                let mut address = [0_u8; 28];
                address[..2].copy_from_slice(&10_u16.to_ne_bytes());
                address[23] = last;
                let bound = call(libc::SYS_bind, &[fd, from(&address), 28]);
                see("bound", (bound, only(fd), set()));
                if kind == libc::SOCK_STREAM {
                    see("listens", (call(libc::SYS_listen, &[fd, 1]), only(fd)));
                }
                close(fd);
            }
        }
    }
    let listener = std::net::TcpListener::bind("[::1]:0").expect("a port");
    let client = std::net::TcpStream::connect(listener.local_addr().expect("it has one"));
    let client = client.expect("connected");
    let (server, _) = listener.accept().expect("accepted");
    use std::os::fd::AsRawFd;
    let ends = [client.as_raw_fd(), server.as_raw_fd()];
    see(
        "connected",
        ends.map(|end| only(u64::try_from(end).expect("a descriptor"))),
    );
}

/// Groups that a netlink socket has joined, and what it is told with.
fn netlink() {
    const SOL_NETLINK: u64 = 270;
    const LIST_MEMBERSHIPS: u64 = 9;
    const ROUTE: u64 = 0;
    let args = [signed(libc::AF_NETLINK), signed(libc::SOCK_RAW), ROUTE];
    let fd = call(libc::SYS_socket, &args).expect("a socket");
    let get = |name: u64, room: u32| {
        let (mut value, mut length) = ([0x55_u8; 16], room);
        let args = [fd, SOL_NETLINK, name, out(&mut value), out(&mut length)];
        call(libc::SYS_getsockopt, &args).map(|_| (value, length))
    };
    let set = |name: u64, value: u32, length: u64| {
        let args = [fd, SOL_NETLINK, name, from(&value), length];
        call(libc::SYS_setsockopt, &args)
    };
    see("none", get(LIST_MEMBERSHIPS, 16));
    for (name, group) in [
        (1, 1),
        (1, 5),
        (1, 33),
        (2, 5),
        (2, 6),
        (1, 0),
        (2, 0),
        (1, 1000),
    ] {
        see("group", (name, group, set(name, group, 4)));
        for room in [0, 3, 4, 7, 8, 16, u32::MAX] {
            see("groups", get(LIST_MEMBERSHIPS, room));
        }
    }
    for name in [0, 3, 4, 5, 6, 7, 10, 11, 12, 13] {
        see("before", (name, get(name, 4), get(name, 3), get(name, 16)));
        for (value, length) in [(7, 4), (0, 4), (1, 4), (1, 3), (1, 0)] {
            see("set", (set(name, value, length), get(name, 4)));
        }
    }
    close(fd);
}
