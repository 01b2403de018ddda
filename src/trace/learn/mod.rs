//! The least configuration that a program was seen to need: directories of the host, ports, users, and
//! how much of what is limited.
//!
//! Of directories only those are known that calls name from the root: what the program reaches from
//! descriptors and the working directory has no host's side in a trace. So a proposal is where to begin,
//! and says so.

mod limits;
mod paths;

use super::calls::Event;
use super::entry::{Call, Part};
use super::output::Output;
use super::unsupported::is_refused;
use super::{show, value};
use crate::ids::ZonePid;
use picozone_syscalls::{Kind, nr, row};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

/// First port that the kernel chooses by itself.
const EPHEMERAL: u16 = 32768;
/// First id of the host that a proposed map uses.
const HOST_IDS: u32 = 100_000;

/// Learns from a trace.
pub struct Learn<'a> {
    paths: paths::Paths,
    /// Whether the host has something at a path.
    is_on_host: &'a dyn Fn(&Path) -> bool,
    /// Ports that were bound, by process and descriptor, until it is known what for.
    bound: HashMap<(ZonePid, u64), u16>,
    tcp: BTreeSet<u16>,
    udp: BTreeSet<u16>,
    users: BTreeSet<u32>,
    groups: BTreeSet<u32>,
    alive: BTreeSet<ZonePid>,
    most_alive: usize,
    threads: BTreeSet<ZonePid>,
    needed: limits::Needed,
    /// Calls that zones do not offer.
    refused: BTreeMap<&'static str, u64>,
    is_whole: bool,
}

impl<'a> Learn<'a> {
    /// Knows nothing yet. `is_on_host` tells whether the host has something at a path.
    #[must_use]
    pub fn new(is_on_host: &'a dyn Fn(&Path) -> bool) -> Self {
        Self {
            paths: paths::Paths::default(),
            is_on_host,
            bound: HashMap::new(),
            tcp: BTreeSet::new(),
            udp: BTreeSet::new(),
            users: BTreeSet::from([0]),
            groups: BTreeSet::from([0]),
            alive: BTreeSet::new(),
            most_alive: 0,
            threads: BTreeSet::new(),
            needed: limits::Needed::default(),
            refused: BTreeMap::new(),
            is_whole: true,
        }
    }
}

impl Output for Learn<'_> {
    fn event(&mut self, event: &Event, _to: &mut dyn Write) -> io::Result<()> {
        match event {
            Event::Call {
                call,
                has_ended: true,
            } => self.call(call),
            Event::Call { .. } | Event::Began { .. } => {}
            Event::Dropped { .. } | Event::Garbled { .. } => self.is_whole = false,
        }
        Ok(())
    }

    fn end(&mut self, skipped: Option<u64>, to: &mut dyn Write) -> io::Result<()> {
        self.is_whole &= skipped == Some(0);
        // What was bound and never listened is a socket of datagrams.
        self.udp.extend(self.bound.values());
        write!(to, "{}", self.text())
    }
}

impl Learn<'_> {
    fn call(&mut self, call: &Call) {
        self.live(call);
        let errno = show::errno(call, true);
        self.paths.take(call, errno.and_then(|errno| errno.name()));
        if let Some(errno) = errno {
            if is_refused(call, errno) {
                *self.refused.entry(name(call.nr)).or_default() += 1;
            }
            return;
        }
        self.needed.take(call);
        for (i, arg) in show::arguments(call, true).iter().enumerate() {
            let number = || value::of(call, i, arg, true)?.as_u64();
            let id = number().and_then(|id| u32::try_from(id).ok());
            match arg.kind {
                Kind::Uid => self.users.extend(id),
                Kind::Gid => self.groups.extend(id),
                _ => {}
            }
        }
        self.port(call);
    }

    fn port(&mut self, call: &Call) {
        let [fd, ..] = call.args;
        let key = (call.pid, fd);
        match call.nr {
            nr::bind => {
                let mut texts = show::arguments(call, true).into_iter();
                let address = texts.find(|arg| arg.kind == Kind::SockAddr);
                let text = address.map(|arg| arg.text).unwrap_or_default();
                let parts = text.rsplit_once(':');
                let port = parts.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
                self.udp.extend(self.bound.remove(&key));
                if let Some((host, port @ 1..EPHEMERAL)) = port
                    // What only the zone itself reaches needs nothing.
                    && !host.starts_with("127.")
                    && host != "[::1]"
                    && !host.starts_with('"')
                {
                    self.bound.insert(key, port);
                }
            }
            nr::listen => self.tcp.extend(self.bound.remove(&key)),
            _ => {}
        }
    }

    /// Which processes there are.
    fn live(&mut self, call: &Call) {
        self.alive.insert(call.pid);
        self.threads.insert(call.tid);
        let made = call.parts.iter().find_map(|part| match part {
            Part::HostPid { zone, .. } if i64::from(zone.0) == call.result => Some(*zone),
            _ => None,
        });
        match call.nr {
            nr::fork | nr::vfork => self.alive.extend(made),
            nr::wait4 => {
                if let Some(gone) = u32::try_from(call.result).ok().filter(|pid| *pid != 0) {
                    self.alive.remove(&ZonePid(gone));
                }
            }
            _ => {}
        }
        self.most_alive = self.most_alive.max(self.alive.len());
    }

    /// The proposal: a piece of `zone.toml`.
    fn text(&self) -> String {
        let mut text = String::new();
        let mut put = |line: String| {
            // A write to a String cannot fail.
            let _ = writeln!(text, "{line}");
        };
        let proposal = self.paths.proposal(self.is_on_host);
        put("# What the traced programs were seen to need; what they need otherwise, nobody has seen.".into());
        if !self.is_whole {
            put("# Some of their calls are not in the trace.".into());
        }
        let mut options = Vec::new();
        for bind in &proposal.binds {
            let mode = if bind.is_written { ":rw" } else { "" };
            options.push(format!("--bind {}:{}{mode}", bind.host, bind.zone));
        }
        options.extend(
            self.tcp
                .iter()
                .map(|port| format!("--publish {port}:{port}")),
        );
        let udp = self.udp.iter();
        options.extend(udp.map(|port| format!("--publish {port}:{port}/udp")));
        if !options.is_empty() {
            put(format!("# zone create NAME {}", options.join(" ")));
        }
        // A limit is a number or a size: it can be written as TOML.
        let limits = toml::to_string(&self.needed.limits(self.most_alive)).unwrap_or_default();
        if !limits.is_empty() {
            let set = limits.lines().map(|limit| {
                let (name, value) = limit.split_once(" = ").unwrap_or((limit, ""));
                format!(" limits.{name}={}", value.trim_matches('"'))
            });
            put(format!("# zone config NAME set{}", set.collect::<String>()));
        }
        let ids = self.users.union(&self.groups).copied().collect();
        put(String::new());
        put("[users]  # whom they became and gave files to".into());
        put(format!("map = [{}]", ranges(&ids)));
        if !limits.is_empty() {
            put(format!(
                "\n[limits]  # twice what was seen; but for processes, of each of them\n{}",
                limits.trim_end()
            ));
        }
        for bind in &proposal.binds {
            let access = if bind.is_written {
                "read-write"
            } else {
                "read-only"
            };
            put(format!(
                "\n[[bind]]{}\nhost = {}\nzone = {}\naccess = \"{access}\"",
                if bind.is_missing {
                    "  # looked for and not found; the host has it"
                } else {
                    ""
                },
                quoted(&bind.host),
                quoted(&bind.zone),
            ));
        }
        let ports = self.tcp.iter().map(|port| (port, "tcp"));
        for (port, protocol) in ports.chain(self.udp.iter().map(|port| (port, "udp"))) {
            put(format!(
                "\n[[publish]]\nhost_address = \"127.0.0.1\"\nhost_port = {port}\nzone_port = {port}\nprotocol = \"{protocol}\""
            ));
        }
        put(String::new());
        put(format!(
            "# seen: {} processes at a time, {} threads in all, {} descriptors of files",
            self.most_alive,
            self.threads.len(),
            self.needed.descriptors,
        ));
        put(format!("# written: {}", listed(&proposal.written)));
        put(format!(
            "# looked for and not there: {}",
            listed(&proposal.missing)
        ));
        for (name, count) in &self.refused {
            put(format!("# not offered by zones: {name}, {count} times"));
        }
        text
    }
}

fn name(nr: u32) -> &'static str {
    row(nr).map_or("an unknown call", |row| row.name)
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.join(" ")
}

/// A text as TOML has it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// These ids, and no others, as ranges of a map.
fn ranges(ids: &BTreeSet<u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &id in ids {
        match ranges.last_mut() {
            Some((first, count)) if *first + *count == id => *count += 1,
            _ => ranges.push((id, 1)),
        }
    }
    let texts = ranges.iter().map(|(first, count)| {
        let host = HOST_IDS.saturating_add(*first);
        match count {
            1 => format!("\"{first}:{host}\""),
            count => format!("\"{first}:{host}:{count}\""),
        }
    });
    texts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
