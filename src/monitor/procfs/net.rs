//! `/proc/net`: the zone's sockets, and the little of the network that a zone sees.

use super::sockets;
use super::system::read;
use super::{Entry, Errno, HostFile, Kind, Node, Protocol, View};
use std::net::IpAddr;

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
        name: "ipv6_route",
        source: Source::Header(0),
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
        source: Source::Header(1),
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

/// Interfaces: a zone knows the loopback one only, whose counters are the host's.
fn dev(_: &dyn View) -> Result<Vec<u8>, Errno> {
    let host = read("/proc/net/dev")?;
    let lines = host.split_inclusive(|&byte| byte == b'\n').enumerate();
    let shown = lines.filter(|(at, line)| *at < 2 || line.trim_ascii().starts_with(b"lo:"));
    Ok(shown.flat_map(|(_, line)| line).copied().collect())
}

/// IPv6 addresses, all on the loopback interface: address, interface number, length of the prefix,
/// scope, flags, name (`net/ipv6/addrconf.c`).
fn if_inet6(view: &dyn View) -> Result<Vec<u8>, Errno> {
    let mut out = String::from("00000000000000000000000000000001 01 80 10 80       lo\n");
    for address in view.addresses() {
        if let IpAddr::V6(address) = address {
            out += &format!("{:032x} 01 80 00 80       lo\n", u128::from(address));
        }
    }
    Ok(out.into_bytes())
}
