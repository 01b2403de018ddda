//! What the kernel says is bound: `/proc/net` (proc(5)), IPv4 and v4-mapped.

use crate::control::Protocol;
use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

/// `TCP_LISTEN`, in the column `st`.
const LISTEN: &str = "0A";

/// Every TCP listener and every bound UDP socket of the host.
///
/// A TCP socket that is bound but does not listen is in none of these files.
#[derive(Default)]
pub(super) struct Snapshot {
    places: HashSet<(Protocol, SocketAddrV4)>,
    udp_ports: HashSet<u16>,
}

impl Snapshot {
    /// Reads the kernel's lists. A file that is not there (no IPv6) counts as empty.
    pub(super) fn take() -> Self {
        let mut all = Self::default();
        for (file, protocol) in [
            ("tcp", Protocol::Tcp),
            ("tcp6", Protocol::Tcp),
            ("udp", Protocol::Udp),
            ("udp6", Protocol::Udp),
            ("udplite", Protocol::Udp),
            ("udplite6", Protocol::Udp),
        ] {
            all.add(
                protocol,
                &fs::read_to_string(format!("/proc/net/{file}")).unwrap_or_default(),
            );
        }
        all
    }

    fn add(&mut self, protocol: Protocol, text: &str) {
        for line in text.lines().skip(1) {
            let mut columns = line.split_ascii_whitespace().skip(1);
            let (Some(local), Some(state)) = (columns.next(), columns.nth(1)) else {
                continue;
            };
            if protocol == Protocol::Tcp && state != LISTEN {
                continue;
            }
            if let Some(place) = place(local) {
                self.places.insert((protocol, place));
                if protocol == Protocol::Udp {
                    self.udp_ports.insert(place.port());
                }
            }
        }
    }

    /// Whether a socket is there. A UDP socket at the host's wildcard shows another address once it
    /// is connected, so that its port alone counts.
    pub(super) fn has(&self, protocol: Protocol, place: SocketAddrV4) -> bool {
        if protocol == Protocol::Udp && place.ip().is_unspecified() {
            return self.udp_ports.contains(&place.port());
        }
        self.places.contains(&(protocol, place))
    }
}

/// Whether a socket has that very place that does not listen there, but is or was connected, since
/// `began`. What an earlier zone with the same addresses has left in `TIME_WAIT` does not count.
pub(super) fn has_client(protocol: Protocol, at: SocketAddrV4, began: Instant) -> bool {
    /// `TCP_ESTABLISHED`, which UDP has, too.
    const CONNECTED: &str = "01";
    let files = match protocol {
        Protocol::Tcp => ["tcp", "tcp6"],
        Protocol::Udp => ["udp", "udp6"],
    };
    let is_client = |state: &str| match protocol {
        Protocol::Tcp => state != LISTEN,
        Protocol::Udp => state == CONNECTED,
    };
    let is_in = |file: &str| {
        let text = fs::read_to_string(format!("/proc/net/{file}")).unwrap_or_default();
        text.lines().skip(1).any(|line| {
            let mut columns = line.split_ascii_whitespace().skip(1);
            let (local, state, timer) = (columns.next(), columns.nth(1), columns.nth(1));
            let is_of_before = || {
                timer
                    .and_then(over_for)
                    .is_some_and(|age| age > began.elapsed())
            };
            local.and_then(place) == Some(at) && state.is_some_and(is_client) && !is_of_before()
        })
    };
    // Twice, as such a list may lack what is there: see `State::sweep`.
    files.iter().chain(&files).any(|file| is_in(file))
}

/// Reads the column `tr tm->when` of a connection in `TIME_WAIT`, `03:00001770`: the longest time for
/// which it can have been so. What is left of it is in hundredths of a second
/// (`get_timewait4_sock` of net/ipv4/tcp_ipv4.c), counted in the kernel's ticks.
fn over_for(timer: &str) -> Option<Duration> {
    /// `TCP_TIMEWAIT_LEN` of net/tcp.h.
    const WHOLE: Duration = Duration::from_secs(60);
    /// A hundredth and the longest tick.
    const ROUNDED: Duration = Duration::from_millis(20);
    let left = u64::from_str_radix(timer.strip_prefix("03:")?, 16).ok()?;
    Some(WHOLE.saturating_sub(Duration::from_millis(left.saturating_mul(10))) + ROUNDED)
}

/// Reads `0200007F:0050`, or the longer form of a v4-mapped address or `::`: words in the machine's
/// order of what lies in memory in network order.
fn place(text: &str) -> Option<SocketAddrV4> {
    let (address, port) = text.split_once(':')?;
    let last = match address.len() {
        8 => address,
        32 if address.starts_with("0000000000000000FFFF0000") => address.get(24..)?,
        32 if address.bytes().all(|digit| digit == b'0') => address.get(24..)?,
        _ => return None,
    };
    let ip = Ipv4Addr::from(u32::from_str_radix(last, 16).ok()?.to_ne_bytes());
    Some(SocketAddrV4::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn both_forms_are_read() {
        let place = |text| place(text).map(|place| place.to_string());
        assert_eq!(place("02006F7F:4E70").as_deref(), Some("127.111.0.2:20080"));
        assert_eq!(
            place("0000000000000000FFFF000002006F7F:0016").as_deref(),
            Some("127.111.0.2:22")
        );
        assert_eq!(
            place("00000000000000000000000000000000:0016").as_deref(),
            Some("0.0.0.0:22")
        );
        assert_eq!(place("00000000000000000000000001000000:0016"), None);
        assert_eq!(place("nonsense"), None);
    }

    #[test]
    fn what_is_over_is_as_old_as_its_timer_says() {
        let millis = |text| over_for(text).map(|age| age.as_millis());
        assert_eq!(millis("03:00001770"), Some(20));
        assert_eq!(millis("03:000003E8"), Some(50_020));
        assert_eq!(millis("03:00000000"), Some(60_020));
        assert_eq!(millis("01:000003E8"), None);
    }

    #[test]
    fn listeners_are_found_and_bound_sockets_are_not() {
        let listener = std::net::TcpListener::bind("127.111.250.9:0").expect("bound");
        let std::net::SocketAddr::V4(at) = listener.local_addr().expect("a name") else {
            panic!("IPv4")
        };
        assert!(Snapshot::take().has(Protocol::Tcp, at));
        let ours = super::super::socket::hold(
            Protocol::Tcp,
            SocketAddrV4::new(*at.ip(), 0),
            super::super::socket::Reuse::ADDRESS,
        );
        let held = std::net::TcpListener::from(ours.expect("held"));
        let std::net::SocketAddr::V4(at) = held.local_addr().expect("a name") else {
            panic!("IPv4")
        };
        assert!(!Snapshot::take().has(Protocol::Tcp, at));
    }
}
