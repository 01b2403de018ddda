//! Tables of single translations, and round trips: what one end of a connection shows must be what
//! the other end asked for.

extern crate std;

mod properties;

use super::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::string::{String, ToString};
use std::vec::Vec;

/// Zone 1: 10.111.0.2, 127.111.0.2 and so on.
const NET: ZoneNet = ZoneNet::new(1);

fn bytes(text: &str) -> Vec<u8> {
    match text.parse().expect("an address") {
        SocketAddr::V4(v4) => Address::v4(v4.ip().octets(), v4.port())
            .compact(Form::V4)
            .as_bytes()
            .to_vec(),
        SocketAddr::V6(v6) => {
            let ip = v6.ip().octets();
            Address::v6(ip, v6.port())
                .compact(Form::V6)
                .as_bytes()
                .to_vec()
        }
    }
}

fn text(bytes: &[u8]) -> String {
    let (address, form) = Address::parse(bytes).expect("an address");
    let ip = match (address.ip, form) {
        (Ip::V4(ip), Form::V4) => IpAddr::V4(Ipv4Addr::from(ip)),
        (Ip::V4(ip), Form::V6) => IpAddr::V6(Ipv4Addr::from(ip).to_ipv6_mapped()),
        (Ip::V6(ip), _) => IpAddr::V6(Ipv6Addr::from(ip)),
    };
    SocketAddr::new(ip, address.port).to_string()
}

fn rows(entries: &[PortEntry]) -> Vec<PortRow> {
    let rows = entries.iter().map(|entry| {
        let row = PortRow::default();
        row.write(Some(entry));
        row
    });
    rows.collect()
}

fn ports(rows: &[PortRow]) -> Ports<'_> {
    Ports::new(rows, u32::try_from(rows.len()).expect("a short table"))
}

/// What an IPv6 wildcard takes.
#[derive(Clone, Copy, PartialEq)]
enum Stack {
    Dual,
    V6Only,
}

/// The row that the monitor writes for a bind of zone 1, at its natural address.
fn bound(zone: &str, stack: Stack, host_port: u16) -> PortEntry {
    let (address, _) = Address::parse(&bytes(zone)).expect("an address");
    let (covers, zone_addr, own) = match address.ip {
        Ip::V4([0, 0, 0, 0]) => (Covers::ANY_V4, [0; 4], Own::Public),
        Ip::V4(ip @ [127, ..]) => (Covers::LOOPBACK_V4, ip, Own::Loop4),
        Ip::V4(_) => (Covers::PUBLIC_V4, [0; 4], Own::Public),
        Ip::V6(ip) if ip != [0; 16] && ip == NET.zone_v6() => {
            (Covers::PUBLIC_V6, [0; 4], Own::StandIn)
        }
        Ip::V6(ip) if ip != [0; 16] => (Covers::LOOPBACK_V6, [0; 4], Own::Loop6),
        Ip::V6(_) if stack == Stack::V6Only => (Covers::ANY_V6, [0; 4], Own::StandIn),
        Ip::V6(_) => (Covers::ANY_DUAL, [0; 4], Own::Public),
    };
    PortEntry {
        proto: Proto::Tcp,
        covers,
        zone_addr,
        zone_port: address.port,
        host_addr: NET.host(own),
        host_port,
    }
}

/// The table of most tests: apache on a substitute, PostgreSQL on the loopback, something published.
fn table() -> Vec<PortRow> {
    rows(&[
        bound("[::]:80", Stack::Dual, 20080),
        bound("127.0.0.1:5432", Stack::Dual, 5432),
        bound("127.0.0.53:53", Stack::Dual, 20053),
        bound("[::1]:6379", Stack::Dual, 6379),
        bound("[::]:22", Stack::V6Only, 20022),
        bound("0.0.0.0:22", Stack::Dual, 20022),
        PortEntry {
            host_addr: [0; 4],
            ..bound("0.0.0.0:443", Stack::Dual, 8443)
        },
        PortEntry {
            host_addr: [127, 0, 0, 1],
            ..bound("0.0.0.0:81", Stack::Dual, 8081)
        },
        PortEntry {
            proto: Proto::Tcp,
            covers: Covers::REMOTE,
            zone_addr: [10, 111, 0, 3],
            zone_port: 80,
            host_addr: [127, 111, 0, 3],
            host_port: 20080,
        },
    ])
}

fn connect(family: u16, zone: &str) -> Result<(String, Option<u8>, bool), u16> {
    let rows = table();
    connect_target(&NET, ports(&rows), Proto::Tcp, family, &bytes(zone))
        .map(|target| (text(&target.bytes), target.source, target.needs_monitor))
}

#[test]
fn connects_of_an_ipv4_socket() {
    for (zone, host, source) in [
        ("127.0.0.1:80", "127.111.0.2:20080", Some(4)),
        ("127.8.8.8:80", "127.111.0.2:20080", Some(4)),
        ("0.0.0.0:80", "127.111.0.2:20080", Some(4)),
        ("10.111.0.2:80", "127.111.0.2:20080", Some(0)),
        ("127.0.0.1:5432", "127.113.0.2:5432", Some(4)),
        ("0.0.0.0:5432", "127.113.0.2:5432", Some(4)),
        ("127.0.0.53:53", "127.113.0.2:20053", Some(4)),
        // Bound on the loopback only, so that the zone's address refuses.
        ("10.111.0.2:5432", "127.111.0.2:5432", Some(0)),
        ("127.0.0.1:53", "127.113.0.2:53", Some(4)),
        ("127.0.0.2:5432", "127.111.0.2:5432", Some(4)),
        ("127.0.0.1:443", "127.113.0.2:8443", Some(4)),
        ("10.111.0.2:443", "127.111.0.2:8443", Some(0)),
        ("127.0.0.1:81", "127.0.0.1:8081", Some(4)),
        ("127.0.0.1:22", "127.111.0.2:20022", Some(4)),
        // The host's loopback and the zones' addresses there are no way out.
        ("127.111.0.2:80", "127.111.0.2:20080", Some(4)),
        ("127.111.0.3:5432", "127.111.0.2:5432", Some(4)),
        ("127.0.0.1:631", "127.113.0.2:631", Some(4)),
        ("10.111.0.1:631", "127.0.0.1:631", Some(0)),
        ("8.8.8.8:53", "8.8.8.8:53", None),
        ("10.112.0.2:80", "10.112.0.2:80", None),
    ] {
        assert_eq!(
            connect(AF_INET, zone),
            Ok((host.into(), source, false)),
            "{zone}"
        );
    }
    assert_eq!(
        connect(AF_INET, "10.111.0.3:80"),
        Ok(("127.111.0.3:80".into(), Some(0), true))
    );
}

#[test]
fn connects_of_an_ipv6_socket() {
    for (zone, host, source) in [
        ("[::1]:80", "[::ffff:127.111.0.2]:20080", Some(7)),
        ("[::]:80", "[::ffff:127.111.0.2]:20080", Some(7)),
        (
            "[::ffff:127.0.0.1]:80",
            "[::ffff:127.111.0.2]:20080",
            Some(5),
        ),
        ("[fd6f::2]:80", "[::ffff:127.111.0.2]:20080", Some(3)),
        ("[fd6f::2]:22", "[::ffff:127.112.0.2]:20022", Some(3)),
        ("[::1]:22", "[::ffff:127.112.0.2]:20022", Some(7)),
        (
            "[::ffff:127.0.0.1]:22",
            "[::ffff:127.111.0.2]:20022",
            Some(5),
        ),
        ("[::1]:6379", "[::ffff:127.114.0.2]:6379", Some(7)),
        ("[::1]:5432", "[::ffff:127.114.0.2]:5432", Some(7)),
        ("[fd6f::1]:631", "[::ffff:127.0.0.1]:631", Some(3)),
        ("[2001:db8::1]:80", "[2001:db8::1]:80", None),
        ("[::ffff:8.8.8.8]:80", "[::ffff:8.8.8.8]:80", None),
    ] {
        assert_eq!(
            connect(AF_INET6, zone),
            Ok((host.into(), source, false)),
            "{zone}"
        );
    }
    assert_eq!(
        connect(AF_INET6, "[fd6f::3]:80"),
        Ok(("[::ffff:127.111.0.3]:80".into(), Some(3), true))
    );
}

#[test]
fn a_refusal_never_meets_a_port_that_is_mapped_elsewhere() {
    // Zone port 20080 is unbound, but on the host that number is apache's.
    assert_eq!(
        connect(AF_INET, "10.111.0.2:20080"),
        Ok(("127.112.0.2:20080".into(), Some(0), false))
    );
    // The host's wildcard at 8443 answers on all four addresses.
    assert_eq!(connect(AF_INET, "127.0.0.1:8443"), Err(ECONNREFUSED));
}

#[test]
fn lengths_and_families_as_the_kernel_checks_them() {
    let connect =
        |proto, family, zone: &[u8]| connect_target(&NET, Ports::new(&[], 0), proto, family, zone);
    let v4 = bytes("127.0.0.1:80");
    let v6 = bytes("[::1]:80");
    let tcp = Proto::Tcp;
    assert_eq!(connect(tcp, AF_INET, &[]), Err(EINVAL));
    assert_eq!(connect(tcp, AF_INET, &v4[..15]), Err(EINVAL));
    assert_eq!(connect(tcp, AF_INET6, &v6[..23]), Err(EINVAL));
    assert!(connect(tcp, AF_INET6, &v6[..24]).is_ok());
    assert_eq!(connect(tcp, AF_INET, &v6), Err(EAFNOSUPPORT));
    assert_eq!(connect(tcp, AF_INET6, &v4), Err(EINVAL));
    assert_eq!(
        connect(tcp, AF_INET6, &[&v4[..], &[0; 12]].concat()),
        Err(EAFNOSUPPORT)
    );
    let target = connect(Proto::Udp, AF_INET6, &v4).expect("datagram sockets take both");
    assert_eq!(
        (text(&target.bytes), target.source),
        ("127.113.0.2:80".into(), Some(5))
    );
    let unix = [
        1, 0, b'/', b't', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    assert_eq!(connect(tcp, AF_INET, &unix), Err(EAFNOSUPPORT));

    let mut unspecified = v4.clone();
    unspecified[0] = 0;
    let target = connect(tcp, AF_INET, &unspecified).expect("it dissolves the association");
    assert_eq!(target.bytes[..16], unspecified[..]);
    let target = send_target(&NET, Ports::new(&[], 0), Proto::Udp, AF_INET, &unspecified);
    assert_eq!(
        text(&target.expect("AF_INET is meant").bytes),
        "127.113.0.2:80"
    );
    assert_eq!(
        send_target(
            &NET,
            Ports::new(&[], 0),
            Proto::Udp,
            AF_INET,
            &unspecified[..2]
        ),
        Err(EINVAL)
    );
}

#[test]
fn addresses_beyond_the_host_keep_scope_and_flow() {
    let mut zone = bytes("[fe80::1]:80");
    zone[4] = 9;
    zone[24] = 7;
    let target =
        connect_target(&NET, Ports::new(&[], 0), Proto::Tcp, AF_INET6, &zone).expect("a target");
    assert_eq!(target.bytes[..28], zone[..]);
    assert!(!target.is_mapped);
}

#[test]
fn echo_sockets_have_no_ports() {
    let connect = |family, zone: &str| {
        connect_target(&NET, Ports::new(&[], 0), Proto::Other, family, &bytes(zone))
            .map(|target| text(&target.bytes))
    };
    assert_eq!(connect(AF_INET, "127.0.0.1:0"), Ok("127.113.0.2:0".into()));
    assert_eq!(connect(AF_INET, "10.111.0.2:0"), Ok("127.111.0.2:0".into()));
    assert_eq!(connect(AF_INET6, "[fd6f::2]:0"), Ok("[::1]:0".into()));
    assert_eq!(connect(AF_INET6, "[fd6f::3]:0"), Err(EADDRNOTAVAIL));
}

#[test]
fn sources_lie_where_targets_say() {
    let sources = NET.sources();
    for (own, v4, v6) in [
        (Own::Public, "127.111.0.2:0", "[::ffff:127.111.0.2]:0"),
        (Own::StandIn, "127.112.0.2:0", "[::ffff:127.112.0.2]:0"),
        (Own::Loop4, "127.113.0.2:0", "[::ffff:127.113.0.2]:0"),
        (Own::Loop6, "127.114.0.2:0", "[::ffff:127.114.0.2]:0"),
    ] {
        assert_eq!(text(&sources[usize::from(own.source(AF_INET))]), v4);
        assert_eq!(text(&sources[usize::from(own.source(AF_INET6))]), v6);
    }
}

fn local(host: &str, peer: Option<&str>) -> Option<String> {
    let rows = table();
    let peer = peer.map(bytes);
    to_zone(
        &NET,
        ports(&rows),
        Proto::Tcp,
        &bytes(host),
        Role::Local {
            peer: peer.as_deref(),
            is_chosen: false,
        },
    )
    .map(|zone| text(zone.as_bytes()))
}

#[test]
fn a_chosen_address_shows_while_it_is_connected() {
    let rows = table();
    let shown = |host: &str, peer: Option<&str>| {
        let peer = peer.map(bytes);
        let role = Role::Local {
            peer: peer.as_deref(),
            is_chosen: true,
        };
        let zone = to_zone(&NET, ports(&rows), Proto::Tcp, &bytes(host), role);
        zone.map(|zone| text(zone.as_bytes()))
    };
    for (host, any) in [
        ("127.113.0.2:40000", "0.0.0.0:40000"),
        ("127.111.0.2:0", "0.0.0.0:0"),
        ("[::ffff:127.114.0.2]:40000", "[::]:40000"),
    ] {
        assert_eq!(shown(host, None).as_deref(), Some(any));
    }
    let connected = shown("127.113.0.2:40000", Some("127.113.0.2:9"));
    assert_eq!(connected.as_deref(), Some("127.0.0.1:40000"));
}

fn peer(host: &str, local: &str) -> Option<String> {
    let rows = table();
    let local = bytes(local);
    to_zone(
        &NET,
        ports(&rows),
        Proto::Tcp,
        &bytes(host),
        Role::Peer {
            local: Some(&local),
        },
    )
    .map(|zone| text(zone.as_bytes()))
}

#[test]
fn local_ends() {
    let public = "[::ffff:127.111.0.2]:20080";
    for (host, peer, zone) in [
        (public, None, "[::]:80"),
        (
            public,
            Some("[::ffff:127.113.0.2]:40000"),
            "[::ffff:127.0.0.1]:80",
        ),
        (public, Some("[::ffff:127.114.0.2]:40000"), "[::1]:80"),
        (
            public,
            Some("[::ffff:127.111.0.3]:40000"),
            "[::ffff:10.111.0.2]:80",
        ),
        (public, Some("[::ffff:127.112.0.3]:40000"), "[fd6f::2]:80"),
        (
            public,
            Some("[::ffff:127.0.0.1]:40000"),
            "[::ffff:10.111.0.2]:80",
        ),
        ("127.113.0.2:5432", None, "127.0.0.1:5432"),
        ("127.113.0.2:20053", None, "127.0.0.53:53"),
        (
            "127.113.0.2:40000",
            Some("127.111.0.2:20080"),
            "127.0.0.1:40000",
        ),
        ("[::ffff:127.114.0.2]:6379", None, "[::1]:6379"),
        ("[::ffff:127.112.0.2]:20022", None, "[::]:22"),
        (
            "[::ffff:127.112.0.2]:20022",
            Some("[::ffff:127.0.0.1]:40000"),
            "[fd6f::2]:22",
        ),
        ("127.111.0.2:20022", None, "0.0.0.0:22"),
        // Published: at the host's wildcard, reached over the network; at 127.0.0.1.
        ("0.0.0.0:8443", None, "0.0.0.0:443"),
        (
            "192.168.1.5:8443",
            Some("192.168.1.9:40000"),
            "10.111.0.2:443",
        ),
        ("127.0.0.1:8081", None, "0.0.0.0:81"),
        ("127.0.0.1:8081", Some("127.0.0.1:40000"), "10.111.0.2:81"),
        ("127.0.0.1:8081", Some("127.113.0.2:40000"), "127.0.0.1:81"),
        // A socket that the kernel gave the host's source is still the zone's.
        (
            "127.0.0.1:40000",
            Some("127.111.0.3:80"),
            "10.111.0.2:40000",
        ),
    ] {
        assert_eq!(local(host, peer).as_deref(), Some(zone), "{host} {peer:?}");
    }
    assert_eq!(local("192.168.1.5:40000", Some("8.8.8.8:53")), None);
    assert_eq!(local("0.0.0.0:0", None), None);
    assert_eq!(local("[::]:40000", None), None);
}

#[test]
fn peers() {
    for (host, local, zone) in [
        ("127.113.0.2:40000", "127.111.0.2:20080", "127.0.0.1:40000"),
        (
            "[::ffff:127.113.0.2]:40000",
            "[::ffff:127.111.0.2]:20080",
            "[::ffff:127.0.0.1]:40000",
        ),
        (
            "[::ffff:127.114.0.2]:40000",
            "[::ffff:127.111.0.2]:20080",
            "[::1]:40000",
        ),
        ("127.111.0.2:20080", "127.113.0.2:40000", "127.0.0.1:80"),
        ("127.111.0.2:20080", "127.111.0.2:40000", "10.111.0.2:80"),
        (
            "[::ffff:127.111.0.2]:20080",
            "[::ffff:127.114.0.2]:40000",
            "[::1]:80",
        ),
        (
            "[::ffff:127.111.0.2]:20080",
            "[::ffff:127.112.0.2]:40000",
            "[fd6f::2]:80",
        ),
        ("127.111.0.3:40000", "127.111.0.2:20080", "10.111.0.3:40000"),
        ("127.111.0.3:20080", "127.111.0.2:40000", "10.111.0.3:80"),
        (
            "[::ffff:127.111.0.3]:20080",
            "[::ffff:127.112.0.2]:40000",
            "[fd6f::3]:80",
        ),
        (
            "[::ffff:127.112.0.3]:40000",
            "[::ffff:127.111.0.2]:20080",
            "[fd6f::3]:40000",
        ),
        ("127.113.0.3:40000", "127.111.0.2:20080", "10.111.0.3:40000"),
        ("127.0.0.1:40000", "127.111.0.2:20080", "10.111.0.1:40000"),
        ("127.5.6.7:40000", "127.113.0.2:5432", "10.111.0.1:40000"),
        (
            "[::ffff:127.0.0.1]:631",
            "[::ffff:127.112.0.2]:40000",
            "[fd6f::1]:631",
        ),
        (
            "[::ffff:127.0.0.1]:40000",
            "[::ffff:127.111.0.2]:20080",
            "[::ffff:10.111.0.1]:40000",
        ),
        ("127.0.0.1:8081", "127.113.0.2:40000", "127.0.0.1:81"),
        ("127.0.0.1:8081", "127.111.0.2:40000", "10.111.0.2:81"),
        ("127.113.0.2:8443", "127.113.0.2:40000", "127.0.0.1:443"),
    ] {
        assert_eq!(peer(host, local).as_deref(), Some(zone), "{host} {local}");
    }
    assert_eq!(peer("192.168.1.9:40000", "192.168.1.5:8443"), None);
    assert_eq!(peer("[2001:db8::1]:80", "[2001:db8::2]:40000"), None);
    let unix = [1, 0, b'/'];
    assert_eq!(
        to_zone(
            &NET,
            Ports::new(&[], 0),
            Proto::Tcp,
            &unix,
            Role::Peer { local: None }
        ),
        None
    );
}

#[test]
fn readers_see_whole_rows_only() {
    let row = PortRow::default();
    let one = bound("127.0.0.1:1", Stack::Dual, 1);
    let two = PortEntry {
        covers: Covers::ANY_DUAL,
        zone_addr: [2; 4],
        zone_port: 2,
        host_addr: [2; 4],
        host_port: 2,
        ..one
    };
    let is_done = core::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0..200_000 {
                row.write(match turn % 3 {
                    0 => Some(&one),
                    1 => Some(&two),
                    _ => None,
                });
            }
            is_done.store(true, core::sync::atomic::Ordering::Release);
        });
        while !is_done.load(core::sync::atomic::Ordering::Acquire) {
            if let Some(entry) = row.read() {
                assert!(entry == one || entry == two, "{entry:?}");
            }
        }
    });
}

#[test]
fn what_was_bound_to_a_wildcard_shows_where_it_went() {
    let client = bound("0.0.0.0:40000", Stack::Dual, 40000);
    let settled = PortEntry {
        covers: Covers::LOOPBACK_V4,
        zone_addr: [127, 0, 0, 1],
        ..client
    };
    let own = bytes("127.111.0.2:40000");
    for (entry, to, wants) in [
        (client, Own::Loop4, Some(Covers::LOOPBACK_V4)),
        (client, Own::Public, None),
        (settled, Own::Loop4, None),
        (settled, Own::Public, Some(Covers(0))),
        // What was bound to an address keeps that.
        (
            bound("10.111.0.2:40000", Stack::Dual, 40000),
            Own::Loop4,
            None,
        ),
    ] {
        let source = NET.sources()[usize::from(to.source(AF_INET))];
        let rows = rows(&[entry]);
        assert_eq!(
            settles(&NET, ports(&rows), Proto::Tcp, &own, &source),
            wants,
            "{entry:?} to {to:?}"
        );
    }
    let rows = rows(&[settled, bound("0.0.0.0:80", Stack::Dual, 20080)]);
    let server = bytes("127.111.0.2:20080");
    for (one, other, shown) in [
        (&own, &server, "127.0.0.1:40000"),
        (&server, &own, "127.0.0.1:80"),
    ] {
        let local = Role::Local {
            peer: Some(other),
            is_chosen: false,
        };
        for role in [local, Role::Peer { local: Some(other) }] {
            let zone =
                to_zone(&NET, ports(&rows), Proto::Tcp, one, role).expect("it is the zone's");
            assert_eq!(text(zone.as_bytes()), shown, "{role:?}");
        }
    }
}
