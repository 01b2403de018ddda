//! Tables of single translations, and round trips: what one end of a connection shows must be what
//! the other end asked for.

extern crate std;

use super::*;
use proptest::prelude::*;
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

/// A row for a bind of zone 1, at its natural address.
fn bound(family: u16, zone: &str, stack: Stack, host_port: u16) -> PortEntry {
    let plan = bind_plan(&NET, family, &bytes(zone), stack).expect("an address of the zone");
    plan.entry(Proto::Tcp, plan.zone_port, NET.host(plan.host), host_port)
}

/// The table of most tests: apache on a substitute, PostgreSQL on the loopback, something published.
fn table() -> Vec<PortRow> {
    rows(&[
        bound(AF_INET6, "[::]:80", Stack::Dual, 20080),
        bound(AF_INET, "127.0.0.1:5432", Stack::Dual, 5432),
        bound(AF_INET, "127.0.0.53:53", Stack::Dual, 20053),
        bound(AF_INET6, "[::1]:6379", Stack::Dual, 6379),
        bound(AF_INET6, "[::]:22", Stack::V6Only, 20022),
        bound(AF_INET, "0.0.0.0:22", Stack::Dual, 20022),
        PortEntry {
            host_addr: [0; 4],
            ..bound(AF_INET, "0.0.0.0:443", Stack::Dual, 8443)
        },
        PortEntry {
            host_addr: [127, 0, 0, 1],
            ..bound(AF_INET, "0.0.0.0:81", Stack::Dual, 8081)
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

#[test]
fn binds() {
    let plan = |family, zone: &str, stack| {
        bind_plan(&NET, family, &bytes(zone), stack)
            .map(|plan| (plan.covers, plan.host, plan.zone_port))
    };
    let dual = Stack::Dual;
    for (family, zone, stack, covers, host) in [
        (AF_INET, "0.0.0.0:80", dual, Covers::ANY_V4, Own::Public),
        (
            AF_INET,
            "10.111.0.2:80",
            dual,
            Covers::PUBLIC_V4,
            Own::Public,
        ),
        (
            AF_INET,
            "127.0.0.1:80",
            dual,
            Covers::LOOPBACK_V4,
            Own::Loop4,
        ),
        (
            AF_INET,
            "127.1.2.3:80",
            dual,
            Covers::LOOPBACK_V4,
            Own::Loop4,
        ),
        (AF_INET6, "[::]:80", dual, Covers::ANY_DUAL, Own::Public),
        (
            AF_INET6,
            "[::]:80",
            Stack::V6Only,
            Covers::ANY_V6,
            Own::StandIn,
        ),
        (AF_INET6, "[::1]:80", dual, Covers::LOOPBACK_V6, Own::Loop6),
        (
            AF_INET6,
            "[fd6f::2]:80",
            dual,
            Covers::PUBLIC_V6,
            Own::StandIn,
        ),
        (
            AF_INET6,
            "[::ffff:127.0.0.1]:80",
            dual,
            Covers::LOOPBACK_V4,
            Own::Loop4,
        ),
        (
            AF_INET6,
            "[::ffff:0.0.0.0]:80",
            dual,
            Covers::ANY_V4,
            Own::Public,
        ),
    ] {
        assert_eq!(plan(family, zone, stack), Ok((covers, host, 80)), "{zone}");
    }
    for (family, zone) in [
        (AF_INET, "10.111.0.1:80"),
        (AF_INET, "10.111.0.3:80"),
        (AF_INET, "192.168.0.1:80"),
        (AF_INET, "224.0.0.251:5353"),
        (AF_INET6, "[fd6f::1]:80"),
        (AF_INET6, "[fe80::1]:80"),
    ] {
        assert_eq!(plan(family, zone, dual), Err(EADDRNOTAVAIL), "{zone}");
    }
    assert_eq!(plan(AF_INET, "[::]:80", dual), Err(EAFNOSUPPORT));
    assert_eq!(
        plan(AF_INET6, "[::ffff:127.0.0.1]:80", Stack::V6Only),
        Err(EINVAL)
    );
    assert_eq!(
        plan(AF_INET6, "127.0.0.1:80", dual),
        Err(EINVAL),
        "too short for AF_INET6"
    );
    let unspecified = |ip: &str| {
        let mut bytes = bytes(ip);
        bytes[0] = 0;
        bind_plan(&NET, AF_INET, &bytes, dual).map(|plan| plan.covers)
    };
    assert_eq!(unspecified("0.0.0.0:80"), Ok(Covers::ANY_V4));
    assert_eq!(unspecified("127.0.0.1:80"), Err(EAFNOSUPPORT));
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
        },
    )
    .map(|zone| text(zone.as_bytes()))
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
    let one = bound(AF_INET, "127.0.0.1:1", Stack::Dual, 1);
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

/// Binds that do not clash with one another, each at its natural address with some host port.
fn arbitrary_table() -> impl Strategy<Value = Vec<PortEntry>> {
    let bind = (0usize..9, 1u16..6, 1u16..6, any::<bool>());
    prop::collection::vec(bind, 0..8).prop_map(|binds| {
        let mut entries: Vec<PortEntry> = Vec::new();
        for (kind, zone_port, host_port, is_published) in binds {
            let (family, ip, stack) = [
                (AF_INET, "0.0.0.0", Stack::Dual),
                (AF_INET, "127.0.0.1", Stack::Dual),
                (AF_INET, "127.0.0.9", Stack::Dual),
                (AF_INET, "10.111.0.2", Stack::Dual),
                (AF_INET6, "[::]", Stack::Dual),
                (AF_INET6, "[::]", Stack::V6Only),
                (AF_INET6, "[::1]", Stack::Dual),
                (AF_INET6, "[fd6f::2]", Stack::Dual),
                (AF_INET6, "[::ffff:127.0.0.1]", Stack::Dual),
            ][kind];
            let mut entry = bound(family, &std::format!("{ip}:{zone_port}"), stack, host_port);
            if is_published && entry.covers.is_any() {
                entry.host_addr = [[0; 4], [127, 0, 0, 1]][usize::from(host_port % 2)];
            }
            let clashes = entries.iter().any(|other| {
                let same_zone = other.zone_port == entry.zone_port
                    && other.covers.meets(entry.covers)
                    && !(other.covers == entry.covers && other.zone_addr != entry.zone_addr);
                let same_host = other.host_port == entry.host_port
                    && (other.host_addr == entry.host_addr
                        || other.host_addr == [0; 4]
                        || entry.host_addr == [0; 4]);
                same_zone || same_host
            });
            if !clashes {
                entries.push(entry);
            }
        }
        entries
    })
}

const OWN_V4: [&str; 5] = [
    "127.0.0.1",
    "127.0.0.9",
    "127.111.0.3",
    "0.0.0.0",
    "10.111.0.2",
];
const OWN_V6: [&str; 5] = [
    "[::1]",
    "[::]",
    "[fd6f::2]",
    "[::ffff:127.0.0.1]",
    "[::ffff:10.111.0.2]",
];

/// How an address that was asked for shows afterwards.
fn canonical(ip: &str) -> &str {
    match ip {
        "127.0.0.9" | "127.111.0.3" | "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        other => other,
    }
}

proptest! {
    #[test]
    fn both_ends_of_a_connection_agree(
        entries in arbitrary_table(),
        which in 0usize..5,
        is_v6 in any::<bool>(),
        port in 1u16..6,
    ) {
        let rows = rows(&entries);
        let ports = ports(&rows);
        let (family, ip) = if is_v6 { (AF_INET6, OWN_V6[which]) } else { (AF_INET, OWN_V4[which]) };
        let Ok(target) = connect_target(&NET, ports, Proto::Tcp, family, &bytes(&std::format!("{ip}:{port}"))) else {
            return Ok(());
        };
        // The destination is the zone's, or a place where one of its ports is published.
        let (address, form) = Address::parse(&target.bytes).expect("an address");
        let Ip::V4(host) = address.ip else { panic!("a v4-mapped address") };
        let is_rows = entries.iter().any(|entry| entry.host_addr == host && entry.host_port == address.port);
        prop_assert!(NET.own(host).is_some() || is_rows);

        let mut client = NET.sources()[usize::from(target.source.expect("own addresses have a source"))];
        client[2..4].copy_from_slice(&40000u16.to_be_bytes());
        let client = &client[..];
        let server = &target.bytes[..];
        let show = |host: &[u8], role| to_zone(&NET, ports, Proto::Tcp, host, role).map(|zone| text(zone.as_bytes()));
        let asked = show(server, Role::Peer { local: Some(client) }).expect("translated");
        let served = entries.iter().any(|entry| entry.host_addr == host || entry.host_addr == [0; 4]);
        let accepted = show(server, Role::Local { peer: Some(client) }).expect("translated");
        // A listener on one address of 127.0.0.0/8 shows that one.
        if !asked.contains("127.0.0.9") && !accepted.contains("127.0.0.9") {
            let is_receiver = entries.iter().any(|entry| entry.zone_port == port && (entry.host_addr == host || entry.host_addr == [0; 4]) && entry.host_port == address.port);
            if served && is_receiver {
                prop_assert_eq!(&asked, &std::format!("{}:{port}", canonical(ip)));
            }
            prop_assert_eq!(&asked, &accepted);
        }
        let from = show(client, Role::Peer { local: Some(server) });
        let own = show(client, Role::Local { peer: Some(server) });
        prop_assert_eq!(from, own);
        prop_assert_eq!(form == Form::V6, is_v6);
        if !peer_needs_local(&NET, ports, Proto::Tcp, client) {
            let alone = show(client, Role::Peer { local: None });
            prop_assert_eq!(alone, show(client, Role::Peer { local: Some(server) }));
        }
    }

    #[test]
    fn nobody_else_is_the_loopback(
        entries in arbitrary_table(),
        host in any::<[u8; 4]>(),
        is_local in any::<bool>(),
        is_v6 in any::<bool>(),
        port in any::<u16>(),
        own in 0usize..4,
    ) {
        let rows = rows(&entries);
        let host = if is_local { [127, host[1], host[2], host[3]] } else { host };
        prop_assume!(!matches!(NET.own(host), Some(Own::Loop4 | Own::Loop6)));
        let form = if is_v6 { Form::V6 } else { Form::V4 };
        // A connection of the zone itself has a loopback source; any other end is a public one.
        let own = [Own::Public, Own::StandIn, Own::Public, Own::StandIn][own];
        let local = Address::v4(NET.host(own), 80).padded(form);
        let host = Address::v4(host, port).padded(form);
        if let Some(zone) = to_zone(&NET, ports(&rows), Proto::Tcp, &host, Role::Peer { local: Some(&local) }) {
            let zone = text(zone.as_bytes());
            let is_loopback = ["127.", "[::ffff:127.", "[::1]"].iter().any(|start| zone.starts_with(start));
            prop_assert!(!is_loopback, "{}", zone);
        } else {
            prop_assert!(!is_local);
        }
    }

    #[test]
    fn any_bytes_are_survived(data in prop::collection::vec(any::<u8>(), 0..130), family in 0u8..12, entries in arbitrary_table()) {
        let rows = rows(&entries);
        let ports = ports(&rows);
        let mut data = data;
        if data.len() >= 2 {
            data[..2].copy_from_slice(&u16::from(family).to_ne_bytes());
        }
        for socket_family in [AF_INET, AF_INET6] {
            for proto in [Proto::Tcp, Proto::Udp, Proto::Other] {
                let _ = connect_target(&NET, ports, proto, socket_family, &data);
                let _ = send_target(&NET, ports, proto, socket_family, &data);
                let _ = to_zone(&NET, ports, proto, &data, Role::Local { peer: Some(&data) });
                let _ = to_zone(&NET, ports, proto, &data, Role::Peer { local: None });
                let _ = peer_needs_local(&NET, ports, proto, &data);
            }
            let _ = bind_plan(&NET, socket_family, &data, Stack::V6Only);
        }
    }

    #[test]
    fn structures_round_trip(v4 in any::<[u8; 4]>(), v6 in any::<[u8; 16]>(), port in any::<u16>()) {
        for (address, form) in [
            (Address::v4(v4, port), Form::V4),
            (Address::v4(v4, port), Form::V6),
            (Address::v6(v6, port), Form::V6),
        ] {
            let written = address.compact(form);
            prop_assert_eq!(written.as_bytes().len(), if form == Form::V4 { 16 } else { 28 });
            if !v6.starts_with(&[0; 10]) {
                prop_assert_eq!(Address::parse(written.as_bytes()), Some((address, form)));
                prop_assert_eq!(Address::parse(&address.padded(form)), Some((address, form)));
            }
        }
    }
}
