//! Options of sockets: what each kind of socket takes, and what it then tells.

use picozone_guests::{Result, call, close, out, sections, see, signed};

fn main() {
    sections(&[("words", words), ("devices", devices)]);
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
