//! `/proc/net`.

use super::*;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;

/// What a zone shows for sockets on the host's loopback: its own address, or IPv6 for one of them.
fn shifted(local: SocketAddr, peer: SocketAddr) -> Option<(SocketAddr, SocketAddr)> {
    match local {
        SocketAddr::V4(v4) if *v4.ip() == Ipv4Addr::new(127, 112, 0, 2) => Some((
            ("fd6f::2".parse::<std::net::IpAddr>().ok()?, 80).into(),
            peer,
        )),
        SocketAddr::V4(v4) if *v4.ip() == Ipv4Addr::new(127, 111, 0, 2) => {
            Some(((Ipv4Addr::new(10, 111, 0, 2), 80).into(), peer))
        }
        _ => None,
    }
}

fn rows(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .skip(1)
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

#[test]
fn sockets_of_the_zone_are_listed_in_its_terms() {
    let mut view = Fake {
        translate_socket: shifted,
        ..Fake::default()
    };
    view.users.insert(
        1,
        Credentials {
            uid: [33; 4],
            gid: [33; 4],
            ..Credentials::default()
        },
    );
    let _v4 = TcpListener::bind("127.111.0.2:0").unwrap();
    let _v6 = TcpListener::bind("127.112.0.2:0").unwrap();
    let _hidden = TcpListener::bind("127.0.0.1:0").unwrap();
    let _udp = UdpSocket::bind("127.111.0.2:0").unwrap();
    let tcp = text(&view, "net/tcp");
    let own = rows(&tcp);
    assert_eq!(own.len(), 1, "{tcp}");
    assert_eq!(own[0][..4], ["0:", "02006F0A:0050", "00000000:0000", "0A"]);
    assert_eq!(own[0][7], "33");
    let host = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let inode = &own[0][9];
    let original = host
        .lines()
        .find(|line| line.split_whitespace().nth(9) == Some(inode))
        .unwrap();
    let shown = tcp.lines().nth(1).unwrap();
    assert_eq!(shown.len(), original.len(), "{shown:?} {original:?}");
    assert_eq!(
        shown.split_whitespace().count(),
        original.split_whitespace().count()
    );
    let tcp6 = rows(&text(&view, "net/tcp6"));
    assert_eq!(tcp6.len(), 1);
    assert_eq!(tcp6[0][1], "00006FFD000000000000000002000000:0050");
    assert_eq!(tcp6[0][2], "00000000000000000000000000000000:0000");
    assert_eq!(rows(&text(&view, "net/udp")).len(), 1);
    assert!(text(&view, "net/sockstat").contains("\nTCP: inuse 1 "));
    assert!(text(&view, "net/sockstat6").contains("TCP6: inuse 1\n"));

    view.remove(1);
    view.add(1, Guest::start().pid());
    assert_eq!(
        read(&view, "self/net/tcp"),
        Err(libc::ENOENT),
        "the caller is not the zone's any more"
    );
}

#[test]
fn sockets_of_others_are_not_listed() {
    let view = Fake::default();
    view.remove(1);
    let guest = Guest::start();
    view.add(7, guest.pid());
    let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for name in ["tcp", "tcp6", "udp", "udp6", "unix"] {
        assert_eq!(
            text(&view, &format!("7/net/{name}")).lines().count(),
            1,
            "{name}"
        );
    }
}

#[test]
fn unix_sockets_are_listed_by_the_zones_names() {
    let mut view = Fake::default();
    let dir = tempfile::tempdir().unwrap();
    view.shared
        .push((dir.path().to_str().unwrap().to_owned(), "/run"));
    let _socket = UnixListener::bind(dir.path().join("with blank.sock")).unwrap();
    let outside = tempfile::tempdir().unwrap();
    let _outside = UnixListener::bind(outside.path().join("sock")).unwrap();
    let shown = text(&view, "net/unix");
    assert!(shown.contains(" /run/with blank.sock\n"), "{shown}");
    assert!(!shown.contains(outside.path().to_str().unwrap()), "{shown}");
    for row in rows(&shown) {
        assert_eq!(
            row[0], "0000000000000000:",
            "the kernel's addresses stay the host's secret"
        );
        assert!(row.len() >= 7);
    }
}

#[test]
fn the_network_is_that_of_the_zone() {
    let view = Fake::default();
    let dev = text(&view, "net/dev");
    assert_eq!(dev.lines().count(), 4, "{dev}");
    assert!(dev.lines().nth(2).unwrap().trim_start().starts_with("lo:"));
    assert!(dev.lines().nth(3).unwrap().starts_with("  eth0: 0 0 "));
    assert!(
        text(&view, "net/if_inet6")
            .contains("fd6f0000000000000000000000000002 02 70 00 80     eth0\n")
    );
    assert!(
        text(&view, "net/igmp")
            .ends_with("2\teth0      :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n")
    );
    assert!(
        text(&view, "net/igmp6").starts_with(
            "1    lo              ff020000000000000000000000000001     1 0000000C 0\n"
        )
    );
    let route = text(&view, "net/route");
    let [_, default, near] = route.lines().collect::<Vec<_>>()[..] else {
        panic!("three lines: {route}");
    };
    assert!(default.starts_with("eth0\t00000000\t01006F0A\t0003\t"));
    assert!(near.contains("\t00006F0A\t00000000\t0001\t0\t0\t0\t0000FFFF\t"));
    for name in names(&view, "net") {
        assert!(read(&view, &format!("net/{name}")).is_ok(), "{name}");
    }
}
