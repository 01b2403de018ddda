//! `/proc/net`: the zone's sockets, and the little of the network that a zone sees.

use super::sockets;
use super::system::read;
use super::{Entry, Errno, HostFile, Kind, Node, Protocol, View};
use picozone_personality::net::mask;

/// One file.
pub(super) struct NetRow {
    name: &'static str,
    source: Source,
}

enum Source {
    /// The host's file as it is: counters only.
    Host,
    /// The first lines of the host's file: the table has no rows in a zone.
    Header(usize),
    /// Made for the zone.
    Made(fn(&dyn View) -> Result<Vec<u8>, Errno>),
}

/// Sorted by name.
static ROWS: &[NetRow] = &[
    NetRow {
        name: "arp",
        source: Source::Header(1),
    },
    NetRow {
        name: "dev",
        source: Source::Made(dev),
    },
    NetRow {
        name: "icmp",
        source: Source::Header(1),
    },
    NetRow {
        name: "icmp6",
        source: Source::Header(1),
    },
    NetRow {
        name: "if_inet6",
        source: Source::Made(if_inet6),
    },
    NetRow {
        name: "igmp",
        source: Source::Made(igmp),
    },
    NetRow {
        name: "igmp6",
        source: Source::Made(igmp6),
    },
    NetRow {
        name: "ipv6_route",
        source: Source::Made(ipv6_route),
    },
    NetRow {
        name: "netlink",
        source: Source::Header(1),
    },
    NetRow {
        name: "netstat",
        source: Source::Host,
    },
    NetRow {
        name: "packet",
        source: Source::Header(1),
    },
    NetRow {
        name: "raw",
        source: Source::Header(1),
    },
    NetRow {
        name: "raw6",
        source: Source::Header(1),
    },
    NetRow {
        name: "route",
        source: Source::Made(route),
    },
    NetRow {
        name: "snmp",
        source: Source::Host,
    },
    NetRow {
        name: "snmp6",
        source: Source::Host,
    },
    NetRow {
        name: "sockstat",
        source: Source::Made(sockets::sockstat),
    },
    NetRow {
        name: "sockstat6",
        source: Source::Made(sockets::sockstat6),
    },
    NetRow {
        name: "tcp",
        source: Source::Made(|view| sockets::table(view, Protocol::Tcp, false)),
    },
    NetRow {
        name: "tcp6",
        source: Source::Made(|view| sockets::table(view, Protocol::Tcp, true)),
    },
    NetRow {
        name: "udp",
        source: Source::Made(|view| sockets::table(view, Protocol::Udp, false)),
    },
    NetRow {
        name: "udp6",
        source: Source::Made(|view| sockets::table(view, Protocol::Udp, true)),
    },
    NetRow {
        name: "udplite",
        source: Source::Header(1),
    },
    NetRow {
        name: "udplite6",
        source: Source::Header(1),
    },
    NetRow {
        name: "unix",
        source: Source::Made(sockets::unix),
    },
];

/// The row of a file.
pub(super) fn find(name: &[u8]) -> Option<&'static NetRow> {
    ROWS.iter().find(|row| row.name.as_bytes() == name)
}

/// What the directory holds.
pub(super) fn entries() -> Vec<Entry> {
    ROWS.iter()
        .map(|row| Entry::new(row.name, Kind::File))
        .collect()
}

/// The file itself.
///
/// # Errors
/// What the kernel says of the host's file.
pub(super) fn open(view: &dyn View, row: &NetRow) -> Result<Node, Errno> {
    let path = format!("/proc/net/{}", row.name);
    match row.source {
        Source::Host => Ok(Node::Host(HostFile::global(path.into()))),
        Source::Header(lines) => Ok(Node::Bytes(header(&path, lines))),
        Source::Made(make) => make(view).map(Node::Bytes),
    }
}

/// The first lines of a host's file; nothing where the host has none.
pub(super) fn header(path: &str, lines: usize) -> Vec<u8> {
    let host = read(path).unwrap_or_default();
    host.split_inclusive(|&byte| byte == b'\n')
        .take(lines)
        .flatten()
        .copied()
        .collect()
}

/// Interfaces. The loopback one's counters are the host's, the other has none.
fn dev(view: &dyn View) -> Result<Vec<u8>, Errno> {
    let host = read("/proc/net/dev")?;
    let lines = host.split_inclusive(|&byte| byte == b'\n').enumerate();
    let shown = lines.filter(|(at, line)| *at < 2 || line.trim_ascii().starts_with(b"lo:"));
    let mut out: Vec<u8> = shown.flat_map(|(_, line)| line).copied().collect();
    for interface in view
        .net()
        .interfaces()
        .iter()
        .filter(|of| !of.is_loopback())
    {
        let zeros = " 0".repeat(16);
        out.extend(format!("{:>6}:{zeros}\n", interface.name).bytes());
    }
    Ok(out)
}

/// IPv6 addresses: address, interface number, length of the prefix, scope, flags, name
/// (`net/ipv6/addrconf.c`).
fn if_inet6(view: &dyn View) -> Result<Vec<u8>, Errno> {
    let mut out = String::new();
    for interface in view.net().interfaces() {
        let scope = if interface.is_loopback() { 0x10 } else { 0 };
        out += &format!(
            "{:032x} {:02x} {:02x} {scope:02x} 80 {:>8}\n",
            u128::from_be_bytes(interface.v6),
            interface.index,
            interface.v6_prefix,
            interface.name
        );
    }
    Ok(out.into_bytes())
}

/// Multicast groups of IPv4 (`net/ipv4/igmp.c`): that of all hosts, in which each interface is.
fn igmp(view: &dyn View) -> Result<Vec<u8>, Errno> {
    let mut out = header("/proc/net/igmp", 1);
    for interface in view.net().interfaces() {
        let all_hosts = u32::from_ne_bytes([224, 0, 0, 1]);
        let text = format!(
            "{}\t{:<10}:     1      V3\n\t\t\t\t{all_hosts:08X}     1 0:00000000\t\t0\n",
            interface.index, interface.name
        );
        out.extend(text.bytes());
    }
    Ok(out)
}

/// Multicast groups of IPv6 (`net/ipv6/mcast.c`): those of all nodes, on the link and within the
/// interface.
fn igmp6(view: &dyn View) -> Result<Vec<u8>, Errno> {
    let mut out = String::new();
    for interface in view.net().interfaces() {
        for (scope, flags) in [(2, 0xc), (1, 8)] {
            out += &format!(
                "{:<4} {:<15} ff0{scope}{:028x}     1 {flags:08X} 0\n",
                interface.index, interface.name, 1
            );
        }
    }
    Ok(out.into_bytes())
}

fn name_of(view: &dyn View, index: u32) -> &'static str {
    let all = view.net().interfaces();
    let found = all.iter().find(|interface| interface.index == index);
    found.map_or("", |interface| interface.name)
}

/// IPv4 routes (`net/ipv4/fib_trie.c`): words in the machine's order of what lies in memory in network
/// order.
fn route(view: &dyn View) -> Result<Vec<u8>, Errno> {
    const RTF_UP: u32 = 1;
    const RTF_GATEWAY: u32 = 2;
    let mut out = header("/proc/net/route", 1);
    for route in view.net().routes_v4() {
        let word = |address: [u8; 4]| u32::from_ne_bytes(address);
        let flags = RTF_UP | route.gateway.map_or(0, |_| RTF_GATEWAY);
        let line = format!(
            "{}\t{:08X}\t{:08X}\t{flags:04X}\t0\t0\t0\t{:08X}\t0\t0\t0",
            name_of(view, route.interface),
            word(route.destination),
            word(route.gateway.unwrap_or_default()),
            word(mask(route.prefix).to_be_bytes()),
        );
        out.extend(format!("{line:<127}\n").bytes());
    }
    Ok(out)
}

/// IPv6 routes (`net/ipv6/route.c`).
fn ipv6_route(view: &dyn View) -> Result<Vec<u8>, Errno> {
    const RTF_UP: u32 = 1;
    const METRIC: u32 = 256;
    let mut out = String::new();
    for route in view.net().routes_v6() {
        out += &format!(
            "{:032x} {:02x} {:032x} 00 {:032x} {METRIC:08x} 00000001 00000000 {RTF_UP:08x} {:>8}\n",
            u128::from_be_bytes(route.destination),
            route.prefix,
            0,
            0,
            name_of(view, route.interface)
        );
    }
    Ok(out.into_bytes())
}
