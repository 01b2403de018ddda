//! What rtnetlink(7) answers in a zone. Pure; requests are hostile input.

use super::message::{Header, Message, NLM_F_DUMP, NLM_F_MULTI, NLMSG_DONE, each, half, word};
use picozone_personality::net::{Interface, Route, ZoneNet};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWRULE: u16 = 32;
const RTM_GETRULE: u16 = 34;
/// The highest message that is known.
const RTM_MAX: u16 = 123;
/// `sizeof(struct ifinfomsg)`.
const LINK_FIXED: usize = 16;
const IFLA_IFNAME: u16 = 3;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const PERMANENT: u8 = 0x80;
const SCOPE_LINK: u8 = 253;
const SCOPE_HOST: u8 = 254;
const TABLE_MAIN: u8 = 254;

/// The datagrams that answer one, for the socket with this `nl_pid`.
pub(super) fn to(net: &ZoneNet, port: u32, datagram: &[u8]) -> Vec<Vec<u8>> {
    each(port, datagram, |header, body, all| {
        let answer = Answer {
            net,
            port,
            header,
            body,
        };
        answer.make(all)
    })
}

/// One request.
struct Answer<'a> {
    net: &'a ZoneNet,
    port: u32,
    header: Header,
    body: &'a [u8],
}

impl Answer<'_> {
    /// Adds the datagrams, or fails with an errno: as rtnetlink_rcv_msg (net/core/rtnetlink.c), where
    /// nothing can be changed.
    fn make(&self, all: &mut Vec<Vec<u8>>) -> Result<(), i32> {
        const KIND_GET: u16 = 2;
        if self.header.kind > RTM_MAX {
            return Err(libc::EOPNOTSUPP);
        }
        let Some(family) = self.body.first().copied() else {
            return Ok(());
        };
        if self.header.kind & 3 != KIND_GET {
            return self.change();
        }
        if self.header.flags & NLM_F_DUMP == 0 {
            all.push(self.one()?);
            return Ok(());
        }
        let dumped = match self.header.kind {
            RTM_GETLINK => self.links(NLM_F_MULTI),
            RTM_GETADDR => self.addresses(family),
            RTM_GETROUTE => self.routes(family),
            RTM_GETRULE => self.rules(family),
            // Neighbours, queues: a zone has none.
            _ => Vec::new(),
        };
        let dumped = dumped.concat();
        if !dumped.is_empty() {
            all.push(dumped);
        }
        let mut done = self.message(NLMSG_DONE, NLM_F_MULTI);
        done.put(&[0; 4]);
        all.push(done.finish());
        Ok(())
    }

    /// A change: what would change nothing is done, all else is not for a zone.
    fn change(&self) -> Result<(), i32> {
        const IFF_UP: u32 = 1;
        match self.header.kind {
            RTM_NEWLINK => {
                let (flags, mask) = (word(self.body, 8), word(self.body, 12));
                let is_bare =
                    self.body.len() == LINK_FIXED || self.find(LINK_FIXED, IFLA_IFNAME).is_some();
                self.interface()?;
                if is_bare && mask == IFF_UP && flags & IFF_UP != 0 {
                    Ok(())
                } else {
                    Err(libc::EPERM)
                }
            }
            RTM_DELLINK => match self.interface()?.is_loopback() {
                true => Err(libc::EOPNOTSUPP),
                false => Err(libc::EPERM),
            },
            _ => Err(libc::EPERM),
        }
    }

    /// The interface that a request names by number or name.
    fn interface(&self) -> Result<Interface, i32> {
        let index = word(self.body, 4);
        let name = self.find(LINK_FIXED, IFLA_IFNAME);
        let name = name.map(|name| name.strip_suffix(&[0]).unwrap_or(name));
        if index == 0 && name.is_none() {
            return Err(libc::EINVAL);
        }
        let is_meant = |interface: &Interface| match name {
            _ if index != 0 => interface.index == index,
            name => name == Some(interface.name.as_bytes()),
        };
        let found = self.net.interfaces().into_iter().find(is_meant);
        found.ok_or(libc::ENODEV)
    }

    /// The rules that every system begins with: `struct fib_rule_hdr` and its attributes.
    fn rules(&self, family: u8) -> Vec<Vec<u8>> {
        const FRA_PRIORITY: u16 = 6;
        const FRA_TABLE: u16 = 15;
        const TO_TABLE: u8 = 1;
        let families = [AF_INET, AF_INET6].into_iter();
        let families = families.filter(|known| family == 0 || family == *known);
        let all = families.flat_map(|family| {
            // Table and priority; IPv6 has no table of defaults.
            let rules = [(255u8, 0u32), (TABLE_MAIN, 32766), (253, 32767)];
            let count = if family == AF_INET { 3 } else { 2 };
            rules
                .into_iter()
                .take(count)
                .map(move |rule| (family, rule))
        });
        all.map(|(family, (table, priority))| {
            let mut out = self.message(RTM_NEWRULE, NLM_F_MULTI);
            out.put(&[family, 0, 0, 0, table, 0, 0, TO_TABLE]);
            out.put(&[0; 4]);
            out.attribute(FRA_TABLE, &u32::from(table).to_ne_bytes());
            out.attribute(14, &u32::MAX.to_ne_bytes());
            if priority != 0 {
                out.attribute(FRA_PRIORITY, &priority.to_ne_bytes());
            }
            out.finish()
        })
        .collect()
    }

    fn message(&self, kind: u16, flags: u16) -> Message {
        Message::new(kind, flags, self.header.sequence, self.port)
    }

    /// A request for one thing.
    fn one(&self) -> Result<Vec<u8>, i32> {
        const RTA_DST: u16 = 1;
        match self.header.kind {
            RTM_GETLINK => Ok(self.link(&self.interface()?, 0)),
            RTM_GETROUTE => {
                let to = self.find(12, RTA_DST).ok_or(libc::EINVAL)?;
                match (self.body.first(), to.first_chunk::<4>()) {
                    (Some(&AF_INET), Some(to)) if to.starts_with(&[127]) => {
                        let own = Route {
                            destination: *to,
                            prefix: 32,
                            gateway: None,
                            source: Some([127, 0, 0, 1]),
                            interface: 1,
                        };
                        Ok(self.route(AF_INET, &own, 0))
                    }
                    (Some(&AF_INET), Some(to)) => {
                        let routes = self.net.routes_v4();
                        let is_near = to.starts_with(&self.net.zone_prefix);
                        let way = routes
                            .into_iter()
                            .find(|way| way.gateway.is_none() == is_near);
                        let way = way.ok_or(libc::ENETUNREACH)?;
                        let way = Route {
                            destination: *to,
                            prefix: 32,
                            source: Some(self.net.zone_v4()),
                            ..way
                        };
                        Ok(self.route(AF_INET, &way, 0))
                    }
                    _ => Err(libc::ENETUNREACH),
                }
            }
            _ => Err(libc::EOPNOTSUPP),
        }
    }

    /// The value of an attribute behind the fixed part of a request.
    fn find(&self, fixed: usize, kind: u16) -> Option<&[u8]> {
        let mut rest = self.body.get(fixed..)?;
        loop {
            let length = usize::from(half(rest, 0));
            let value = rest.get(4..length)?;
            if half(rest, 2) == kind {
                return Some(value);
            }
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
    }

    fn links(&self, flags: u16) -> Vec<Vec<u8>> {
        let all = self.net.interfaces();
        all.iter()
            .map(|interface| self.link(interface, flags))
            .collect()
    }

    /// `struct ifinfomsg` and its attributes.
    fn link(&self, of: &Interface, flags: u16) -> Vec<u8> {
        const IFF_LOWER_UP: u32 = 0x1_0000;
        const OPERSTATE_UNKNOWN: u8 = 0;
        const OPERSTATE_UP: u8 = 6;
        let mut out = self.message(RTM_NEWLINK, flags);
        out.put(&[0, 0]);
        out.put(&of.kind.to_ne_bytes());
        out.put(&of.index.to_ne_bytes());
        out.put(&(of.flags | IFF_LOWER_UP).to_ne_bytes());
        out.put(&[0; 4]);
        let state = if of.is_loopback() {
            OPERSTATE_UNKNOWN
        } else {
            OPERSTATE_UP
        };
        out.attribute(3, &[of.name.as_bytes(), &[0]].concat());
        // Length of the queue, state, mode.
        out.attribute(13, &1000u32.to_ne_bytes());
        out.attribute(16, &[state]);
        out.attribute(17, &[0]);
        out.attribute(4, &of.mtu.to_ne_bytes());
        // Group, and that there is a carrier.
        out.attribute(27, &[0; 4]);
        out.attribute(33, &[1]);
        out.attribute(6, b"noqueue\0");
        out.attribute(1, &of.hardware);
        out.attribute(2, &of.hardware_broadcast);
        // struct rtnl_link_stats: nothing is counted for a zone.
        out.attribute(7, &[0; 96]);
        out.finish()
    }

    fn addresses(&self, family: u8) -> Vec<Vec<u8>> {
        let interfaces = self.net.interfaces();
        let mut all = Vec::new();
        if family != AF_INET6 {
            all.extend(interfaces.iter().map(|of| self.address_v4(of)));
        }
        if family != AF_INET {
            all.extend(interfaces.iter().map(|of| self.address_v6(of)));
        }
        all
    }

    /// `struct ifaddrmsg`.
    fn address_header(&self, of: &Interface, family: u8, prefix: u8) -> Message {
        let mut out = self.message(RTM_NEWADDR, NLM_F_MULTI);
        let scope = if of.is_loopback() { SCOPE_HOST } else { 0 };
        out.put(&[family, prefix, PERMANENT, scope]);
        out.put(&of.index.to_ne_bytes());
        out
    }

    /// `IFA_CACHEINFO` and `IFA_FLAGS`: it stays for ever.
    fn address_end(mut out: Message) -> Vec<u8> {
        out.attribute(8, &u32::from(PERMANENT).to_ne_bytes());
        out.attribute(6, &[[0xff; 8], [0; 8]].concat());
        out.finish()
    }

    fn address_v4(&self, of: &Interface) -> Vec<u8> {
        let mut out = self.address_header(of, AF_INET, of.v4_prefix);
        out.attribute(1, &of.v4);
        out.attribute(2, &of.v4);
        if let Some(broadcast) = of.broadcast() {
            out.attribute(4, &broadcast);
        }
        out.attribute(3, &[of.name.as_bytes(), &[0]].concat());
        Self::address_end(out)
    }

    fn address_v6(&self, of: &Interface) -> Vec<u8> {
        let mut out = self.address_header(of, AF_INET6, of.v6_prefix);
        out.attribute(1, &of.v6);
        Self::address_end(out)
    }

    fn routes(&self, family: u8) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        if family != AF_INET6 {
            let routes = self.net.routes_v4();
            all.extend(
                routes
                    .iter()
                    .map(|route| self.route(AF_INET, route, NLM_F_MULTI)),
            );
        }
        if family != AF_INET {
            let routes = self.net.routes_v6();
            all.extend(
                routes
                    .iter()
                    .map(|route| self.route(AF_INET6, route, NLM_F_MULTI)),
            );
        }
        all
    }

    /// `struct rtmsg` and its attributes.
    fn route<const N: usize>(&self, family: u8, route: &Route<N>, flags: u16) -> Vec<u8> {
        const BY_KERNEL: u8 = 2;
        const BY_BOOT: u8 = 3;
        const UNICAST: u8 = 1;
        const RTM_F_CLONED: u32 = 0x200;
        let (by, scope) = match route.gateway {
            Some(_) => (BY_BOOT, 0),
            None if family == AF_INET => (BY_KERNEL, SCOPE_LINK),
            None => (BY_KERNEL, 0),
        };
        let mut out = self.message(RTM_NEWROUTE, flags);
        out.put(&[family, route.prefix, 0, 0, TABLE_MAIN, by, scope, UNICAST]);
        // One that was looked up for a destination is a copy.
        let is_copy = flags & NLM_F_MULTI == 0;
        out.put(&(u32::from(is_copy) * RTM_F_CLONED).to_ne_bytes());
        out.attribute(15, &u32::from(TABLE_MAIN).to_ne_bytes());
        if route.prefix != 0 {
            out.attribute(1, &route.destination);
        }
        if family == AF_INET6 {
            out.attribute(6, &256u32.to_ne_bytes());
        }
        if let Some(gateway) = &route.gateway {
            out.attribute(5, gateway);
        }
        if let Some(source) = &route.source {
            out.attribute(7, source);
        }
        out.attribute(4, &route.interface.to_ne_bytes());
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{HEADER, MESSAGES_MAX, NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR};
    use super::*;

    fn request(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut message = Message::new(kind, NLM_F_REQUEST | flags, 5, 0);
        message.put(body);
        message.finish()
    }

    fn kinds(answer: &[Vec<u8>]) -> Vec<u16> {
        let mut kinds = Vec::new();
        for mut rest in answer.iter().map(Vec::as_slice) {
            while rest.len() >= HEADER {
                assert_eq!((word(rest, 8), word(rest, 12)), (5, 77));
                kinds.push(half(rest, 4));
                let length = usize::try_from(word(rest, 0)).expect("short");
                rest = &rest[length.next_multiple_of(4)..];
            }
        }
        kinds
    }

    #[test]
    fn dumps_end_and_changes_are_refused() {
        let net = ZoneNet::new(3);
        let ask = |kind, flags, body: &[u8]| to(&net, 77, &request(kind, flags, body));
        let links = ask(RTM_GETLINK, NLM_F_DUMP, &[0]);
        assert_eq!(kinds(&links), [RTM_NEWLINK, RTM_NEWLINK, NLMSG_DONE]);
        let v4 = ask(RTM_GETADDR, NLM_F_DUMP, &[AF_INET]);
        assert_eq!(kinds(&v4), [RTM_NEWADDR, RTM_NEWADDR, NLMSG_DONE]);
        let all = ask(RTM_GETROUTE, NLM_F_DUMP, &[0; 12]);
        assert_eq!(kinds(&all).len(), 5);
        // RTM_GETNEIGH.
        assert_eq!(kinds(&ask(30, NLM_F_DUMP, &[0; 12])), [NLMSG_DONE]);
        let rules = ask(RTM_GETRULE, NLM_F_DUMP, &[AF_INET]);
        assert_eq!(
            kinds(&rules),
            [RTM_NEWRULE, RTM_NEWRULE, RTM_NEWRULE, NLMSG_DONE]
        );
        // Interface, flags and their mask.
        let link = |index: u32, flags: u32, mask: u32| {
            [
                [0; 4],
                index.to_ne_bytes(),
                flags.to_ne_bytes(),
                mask.to_ne_bytes(),
            ]
            .concat()
        };
        let up = ask(RTM_NEWLINK, NLM_F_ACK, &link(1, 1, 1));
        assert_eq!((kinds(&up), word(&up[0], 16)), (vec![NLMSG_ERROR], 0));
        for (kind, errno, body) in [
            (RTM_NEWLINK, libc::EPERM, link(1, 0, 1)),
            (RTM_NEWLINK, libc::ENODEV, link(7, 1, 1)),
            (RTM_DELLINK, libc::EOPNOTSUPP, link(1, 0, 0)),
            (RTM_DELLINK, libc::EPERM, link(2, 0, 0)),
            (RTM_NEWADDR, libc::EPERM, link(1, 0, 0)),
            (200, libc::EOPNOTSUPP, link(1, 0, 0)),
        ] {
            let refused = ask(kind, 0, &body);
            assert_eq!(kinds(&refused), [NLMSG_ERROR]);
            assert_eq!(word(&refused[0], 16).cast_signed(), -errno);
        }
        let one = ask(
            RTM_GETLINK,
            NLM_F_ACK,
            &[[0u8; 4], 2u32.to_ne_bytes()].concat(),
        );
        assert_eq!(kinds(&one), [RTM_NEWLINK, NLMSG_ERROR]);
        assert_eq!(word(&one[1], 16), 0);
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_answered_in_bounds(bytes: Vec<u8>, kind in 0u16..40, flags: u16) {
            let net = ZoneNet::new(3);
            let garbage = to(&net, 77, &bytes);
            proptest::prop_assert!(garbage.len() <= 2 * MESSAGES_MAX);
            to(&net, 77, &request(kind, flags, &bytes));
        }
    }
}
