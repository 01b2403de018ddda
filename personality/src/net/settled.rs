//! Sockets that were bound to a wildcard and are then connected: the kernel gives them the address that
//! leads to their peer. On the host such a socket lies where its wildcard does, so its row says which
//! address that is.
//!
//! | it lies at | and goes to | |
//! |---|---|---|
//! | [`Own::Public`], [`Own::StandIn`] | the zone's loopback, or its other address | its row says so from then on |
//! | the host's wildcard (a UDP socket whose port was chosen) | the zone itself, other zones, the host | it is bound anew |

use super::ports::{Covers, Kind, Ports, Proto};
use super::sockaddr::{Address, Ip};
use super::{Own, ZoneNet};

/// What the row of a socket has to say before it is connected, if that is something else than it says:
/// an address, or 0 for the wildcard. `own` is where it lies, `source` what it would be bound to if it
/// were not bound.
#[must_use]
pub fn settles(
    net: &ZoneNet,
    ports: Ports<'_>,
    proto: Proto,
    own: &[u8],
    source: &[u8],
) -> Option<Covers> {
    let (own, _) = Address::parse(own).filter(|(own, _)| own.port != 0)?;
    let (source, _) = Address::parse(source)?;
    let to = net.own(v4(source)?)?;
    let wants = match to {
        Own::Public => Covers::PUBLIC_V4,
        Own::StandIn => Covers::PUBLIC_V6,
        Own::Loop4 => Covers::LOOPBACK_V4,
        Own::Loop6 => Covers::LOOPBACK_V6,
    };
    let Some(ip) = v4(own) else {
        return (proto == Proto::Udp).then_some(wants);
    };
    let at = net
        .own(ip)
        .filter(|at| matches!(at, Own::Public | Own::StandIn))?;
    let says = ports.at(proto, ip, own.port, Kind::Own)?.covers;
    let must_say = if at == to { Covers(0) } else { wants };
    if says.is_any() {
        (at != to).then_some(wants)
    } else {
        (is_settled(at, says) && says != must_say).then_some(must_say)
    }
}

/// Whether a row at that address says something else than what is bound there.
pub(super) fn is_settled(at: Own, says: Covers) -> bool {
    match at {
        Own::Public => says.is_loopback() || says == Covers::PUBLIC_V6,
        Own::StandIn => says.is_loopback(),
        Own::Loop4 | Own::Loop6 => false,
    }
}

/// `None` if it is a wildcard.
fn v4(address: Address) -> Option<[u8; 4]> {
    match address.ip {
        Ip::V4(ip) => Some(ip).filter(|ip| *ip != [0; 4]),
        Ip::V6(_) => None,
    }
}
