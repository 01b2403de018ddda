//! Properties over arbitrary tables and bytes.

use super::*;
use proptest::prelude::*;

/// Binds that do not clash with one another, each at its natural address with some host port.
fn arbitrary_table() -> impl Strategy<Value = Vec<PortEntry>> {
    let bind = (0usize..9, 1u16..6, 1u16..6, any::<bool>());
    prop::collection::vec(bind, 0..8).prop_map(|binds| {
        let mut entries: Vec<PortEntry> = Vec::new();
        for (kind, zone_port, host_port, is_published) in binds {
            let (ip, stack) = [
                ("0.0.0.0", Stack::Dual),
                ("127.0.0.1", Stack::Dual),
                ("127.0.0.9", Stack::Dual),
                ("10.111.0.2", Stack::Dual),
                ("[::]", Stack::Dual),
                ("[::]", Stack::V6Only),
                ("[::1]", Stack::Dual),
                ("[fd6f::2]", Stack::Dual),
                ("[::ffff:127.0.0.1]", Stack::Dual),
            ][kind];
            let mut entry = bound(&std::format!("{ip}:{zone_port}"), stack, host_port);
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
        let accepted = show(server, Role::Local { peer: Some(client), is_chosen: false }).expect("translated");
        // A listener on one address of 127.0.0.0/8 shows that one.
        if !asked.contains("127.0.0.9") && !accepted.contains("127.0.0.9") {
            let is_receiver = entries.iter().any(|entry| entry.zone_port == port && (entry.host_addr == host || entry.host_addr == [0; 4]) && entry.host_port == address.port);
            if served && is_receiver {
                prop_assert_eq!(&asked, &std::format!("{}:{port}", canonical(ip)));
            }
            prop_assert_eq!(&asked, &accepted);
        }
        let from = show(client, Role::Peer { local: Some(server) });
        let own = show(client, Role::Local { peer: Some(server), is_chosen: false });
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
                let _ = to_zone(&NET, ports, proto, &data, Role::Local { peer: Some(&data), is_chosen: false });
                let _ = to_zone(&NET, ports, proto, &data, Role::Peer { local: None });
                let _ = peer_needs_local(&NET, ports, proto, &data);
            }
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
