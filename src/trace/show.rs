//! A call in words: by the decoder, with what was recorded as the memory that it looks into.

use super::entry::{Call, Part};
use crate::ids::ZonePid;
use picozone_personality::trace::flags;
use picozone_syscalls::{
    Errno, Kind, Memory, Own, decode, decode_argument, errno_of, nr, row, write_socket_address,
};
use std::fmt::{self, Write};

/// The recorded memory of a call.
struct Recorded<'a> {
    call: &'a Call,
    /// Whether what things are on the host is told too.
    is_both: bool,
    /// What a descriptor stands for; whether the call has made it.
    names: &'a dyn Fn(i32, bool) -> Option<String>,
}

/// What a part holds from an address on.
fn from(part: &Part, address: u64) -> Option<&[u8]> {
    let Part::Memory { address: at, bytes } = part else {
        return None;
    };
    let before = usize::try_from(address.checked_sub(*at)?).ok()?;
    bytes.get(before..).filter(|rest| !rest.is_empty())
}

impl Memory for Recorded<'_> {
    fn read(&self, address: u64, to: &mut [u8]) -> usize {
        let mut parts = self.call.parts.iter();
        copied(parts.find_map(|part| from(part, address)), to)
    }

    fn read_after(&self, address: u64, to: &mut [u8]) -> usize {
        let mut parts = self.call.parts.iter().rev();
        copied(parts.find_map(|part| from(part, address)), to)
    }

    fn host(&self, of: Own, out: &mut impl Write) -> fmt::Result {
        match on_host(self.call, of).filter(|_| self.is_both) {
            Some(text) => write!(out, " -> {text}"),
            None => Ok(()),
        }
    }

    fn descriptor(&self, fd: i32, is_new: bool, out: &mut impl Write) -> fmt::Result {
        match (self.names)(fd, is_new) {
            Some(name) => write!(out, "<{name}>"),
            None => Ok(()),
        }
    }
}

fn copied(found: Option<&[u8]>, to: &mut [u8]) -> usize {
    let bytes = found.unwrap_or(&[]);
    let length = bytes.len().min(to.len());
    if let (Some(to), Some(bytes)) = (to.get_mut(..length), bytes.get(..length)) {
        to.copy_from_slice(bytes);
    }
    length
}

/// Nothing is known of descriptors.
fn no_name(_fd: i32, _is_new: bool) -> Option<String> {
    None
}

/// What something of the zone's is on the host, where that was recorded and is another.
fn on_host(call: &Call, of: Own) -> Option<String> {
    match of {
        Own::Path(at) => {
            let host = call.parts.iter().rev().find_map(|part| match part {
                Part::HostPath { of, path } if *of == at => Some(path),
                _ => None,
            })?;
            // What is mounted at the place that it has on the host.
            let is_same = text_at(call, at) == Some(host.as_slice());
            (!is_same).then(|| visible(host))
        }
        Own::Pid(pid) => call.parts.iter().find_map(|part| match part {
            Part::HostPid { zone, host } if *zone == ZonePid(pid) && host.0 != pid => {
                Some(host.to_string())
            }
            _ => None,
        }),
        Own::Address => {
            let host = call.parts.iter().rev().find_map(|part| match part {
                Part::HostAddress(bytes) => Some(bytes),
                _ => None,
            })?;
            // What a unix socket is called on the host says nothing to anybody.
            let is_inet = matches!(host.first_chunk(), Some([2 | 10, 0]));
            let text = address(host);
            (is_inet && guests_address(call).as_deref() != Some(&text)).then_some(text)
        }
    }
}

fn address(bytes: &[u8]) -> String {
    let mut text = String::new();
    // A write to a String cannot fail.
    let _ = write_socket_address(bytes, &mut text);
    text
}

/// The socket address as the guest has it.
fn guests_address(call: &Call) -> Option<String> {
    let args = row(call.nr)?.args.iter();
    let mut words = args.zip(call.args);
    let (_, at) = words.find(|(arg, _)| matches!(arg.kind, Kind::SockAddr | Kind::SockAddrOut))?;
    call.parts.iter().find_map(|part| match part {
        Part::Memory { address: of, bytes } if *of == at => Some(address(bytes)),
        _ => None,
    })
}

/// Bytes as text that moves no cursor.
#[must_use]
pub fn visible(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The call as strace(1) shows it, with both sides of what is otherwise on the host.
#[must_use]
pub fn call(call: &Call, has_ended: bool) -> String {
    call_with(call, has_ended, &no_name)
}

/// The same, with what descriptors stand for: `names` tells it of one that the call was given, or that it
/// has made.
#[must_use]
pub fn call_with(
    call: &Call,
    has_ended: bool,
    names: &dyn Fn(i32, bool) -> Option<String>,
) -> String {
    let mut text = String::new();
    let memory = Recorded {
        call,
        is_both: true,
        names,
    };
    let result = has_ended.then_some(call.result);
    // A write to a String cannot fail.
    let _ = decode(call.nr, call.args, result, &memory, &mut text);
    if !has_ended {
        text.push_str(" = ?");
    }
    if call.flags & flags::INJECTED != 0 {
        text.push_str(" (INJECTED)");
    }
    text
}

/// An argument of a call.
pub struct Argument {
    /// Its name in the manual.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The word that the call was given.
    pub word: u64,
    /// As strace(1) shows it.
    pub text: String,
    /// What it is on the host, if that is known and another.
    pub host: Option<String>,
}

/// The arguments of a call of a known number.
#[must_use]
pub fn arguments(call: &Call, has_ended: bool) -> Vec<Argument> {
    let memory = Recorded {
        call,
        is_both: false,
        names: &no_name,
    };
    let result = has_ended.then_some(call.result);
    let args = row(call.nr).map_or(&[][..], |row| row.args);
    let shown = args.iter().enumerate().map_while(|(i, arg)| {
        let mut text = String::new();
        let has = decode_argument((call.nr, i), call.args, result, &memory, &mut text);
        let word = call.args.get(i).copied()?;
        has.unwrap_or(false).then(|| Argument {
            name: arg.name,
            kind: arg.kind,
            word,
            text,
            host: own(arg.kind, word).and_then(|own| on_host(call, own)),
        })
    });
    shown.collect()
}

fn own(kind: Kind, word: u64) -> Option<Own> {
    match kind {
        Kind::Path => Some(Own::Path(word)),
        Kind::Tgid | Kind::Tid | Kind::Pgid | Kind::PidOrPgrp | Kind::Who => {
            let low = u32::try_from(word & 0xffff_ffff).ok()?.cast_signed();
            (low != -1 && low != 0).then(|| Own::Pid(low.unsigned_abs()))
        }
        Kind::SockAddr | Kind::SockAddrOut => Some(Own::Address),
        _ => None,
    }
}

/// What was recorded from an address on.
#[must_use]
pub fn memory_at(call: &Call, at: u64) -> Option<&[u8]> {
    call.parts.iter().find_map(|part| match part {
        Part::Memory { address, bytes } if *address == at => Some(bytes.as_slice()),
        _ => None,
    })
}

/// The text at an address, without its NUL.
#[must_use]
pub fn text_at(call: &Call, at: u64) -> Option<&[u8]> {
    let bytes = memory_at(call, at)?;
    Some(bytes.strip_suffix(b"\0").unwrap_or(bytes))
}

/// The socket addresses that a call names or gives: as the guest has them, then as the host does.
pub fn addresses(call: &Call) -> impl Iterator<Item = &[u8]> {
    let args = row(call.nr).map_or(&[][..], |row| row.args);
    let of = args.iter().zip(call.args);
    let is_address = |kind: Kind| matches!(kind, Kind::SockAddr | Kind::SockAddrOut);
    let guests = of
        .filter(move |(arg, _)| is_address(arg.kind))
        .filter_map(|(_, at)| memory_at(call, at));
    let hosts = call.parts.iter().filter_map(|part| match part {
        Part::HostAddress(bytes) => Some(bytes.as_slice()),
        _ => None,
    });
    guests.chain(hosts)
}

/// The paths that a call names, as the guest has them.
pub fn paths(call: &Call) -> impl Iterator<Item = &[u8]> {
    placed_paths(call).map(|(_, path)| path)
}

/// The same, each with its address.
pub fn placed_paths(call: &Call) -> impl Iterator<Item = (u64, &[u8])> {
    let args = row(call.nr).map_or(&[][..], |row| row.args);
    let of = args.iter().zip(call.args);
    of.filter(|(arg, _)| arg.kind == Kind::Path)
        .filter_map(|(_, at)| Some((at, text_at(call, at)?)))
}

/// The address of whom a call speaks with.
#[must_use]
pub fn peer(call: &Call, has_ended: bool) -> Option<String> {
    let names_peer = matches!(
        call.nr,
        nr::connect | nr::accept | nr::accept4 | nr::sendto | nr::recvfrom | nr::getpeername
    );
    let arguments = names_peer.then(|| arguments(call, has_ended))?;
    let is_address = |arg: &&Argument| matches!(arg.kind, Kind::SockAddr | Kind::SockAddrOut);
    let text = &arguments.iter().find(is_address)?.text;
    let is_known = !text.starts_with("0x") && text != "NULL";
    is_known.then(|| text.clone())
}

/// The name of a call.
#[must_use]
pub fn name(nr: u32) -> String {
    row(nr).map_or_else(|| format!("syscall_{nr:#x}"), |row| row.name.to_owned())
}

/// The errno of a call that has failed.
#[must_use]
pub fn errno(call: &Call, has_ended: bool) -> Option<Errno> {
    errno_of(call.result).filter(|_| has_ended)
}

/// Seconds since 1970 as a time of the day in UTC.
#[must_use]
pub fn time_of_day(nanoseconds: u64) -> String {
    let (seconds, micros) = (
        nanoseconds / 1_000_000_000 % 86_400,
        nanoseconds / 1000 % 1_000_000,
    );
    format!(
        "{:02}:{:02}:{:02}.{micros:06}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// A duration in seconds, as strace(1) shows it.
#[must_use]
pub fn seconds(nanoseconds: u64) -> String {
    let micros = nanoseconds / 1000;
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::HostPid;
    use crate::trace::entry::tests::sample;

    #[test]
    fn both_sides_are_shown() {
        assert_eq!(
            call(&sample(), true),
            r#"openat(AT_FDCWD, "/etc/passwd" -> web1:etc/passwd, O_RDONLY|O_CLOEXEC) = 3"#
        );
        let kill = Call {
            nr: nr::kill,
            args: [12, 15, 0, 0, 0, 0],
            result: 0,
            parts: vec![Part::HostPid {
                zone: ZonePid(12),
                host: HostPid(48213),
            }],
            ..sample()
        };
        assert_eq!(call(&kill, true), "kill(12 -> 48213, SIGTERM) = 0");
        assert_eq!(call(&kill, false), "kill(12 -> 48213, SIGTERM) = ?");
        let inet = |a: u8, d: u8, port: u16| {
            let [high, low] = port.to_be_bytes();
            let mut bytes = vec![2, 0, high, low, a, 111, 0, d];
            bytes.resize(16, 0);
            bytes
        };
        let bind = |host: Vec<u8>| Call {
            nr: nr::bind,
            args: [3, 0x100, 16, 0, 0, 0],
            result: 0,
            parts: vec![
                Part::Memory {
                    address: 0x100,
                    bytes: inet(10, 2, 80),
                },
                Part::HostAddress(host),
            ],
            ..sample()
        };
        assert_eq!(
            call(&bind(inet(127, 2, 20080)), true),
            "bind(3, 10.111.0.2:80 -> 127.111.0.2:20080, 16) = 0"
        );
        assert_eq!(
            call(&bind(inet(10, 2, 80)), true),
            "bind(3, 10.111.0.2:80, 16) = 0"
        );
    }

    #[test]
    fn what_is_the_same_is_shown_once() {
        let mut same = sample();
        same.parts[1] = Part::HostPath {
            of: 0x7000,
            path: b"/etc/passwd".to_vec(),
        };
        assert_eq!(
            call(&same, true),
            r#"openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3"#
        );
    }

    #[test]
    fn arguments_have_their_sides_apart() {
        let shown = arguments(&sample(), true);
        let texts: Vec<_> = shown
            .iter()
            .map(|arg| (arg.name, arg.text.as_str(), arg.host.as_deref()))
            .collect();
        assert_eq!(
            texts,
            [
                ("dirfd", "AT_FDCWD", None),
                ("pathname", "\"/etc/passwd\"", Some("web1:etc/passwd")),
                ("flags", "O_RDONLY|O_CLOEXEC", None),
            ]
        );
        assert_eq!(paths(&sample()).collect::<Vec<_>>(), [b"/etc/passwd"]);
    }

    #[test]
    fn texts_move_no_cursor() {
        assert_eq!(
            visible(b"a\x1b[2J\n\xff\xc3\xa4"),
            "a\\u{1b}[2J\\n\\xff\u{e4}"
        );
        assert_eq!(
            time_of_day(1_000_000_000 * 86_399 + 5000),
            "23:59:59.000005"
        );
        assert_eq!(seconds(1_234_567_890), "1.234567");
    }
}
