//! Calls without what differs from run to run: pids, addresses, ports that the kernel chooses, ids of
//! System V IPC, and names that were made up.

use super::names;
use crate::trace::Call;
use crate::trace::show::{self, Argument};
use picozone_syscalls::{Direction, Kind, Outcome, errno_of, row};

/// First port that the kernel chooses (`net.ipv4.ip_local_port_range`).
const EPHEMERAL: u16 = 32768;

/// A call so. `process` tells what a process or thread of the trace is called in both.
pub(super) fn call(
    call: &Call,
    has_ended: bool,
    process: &impl Fn(u32) -> Option<String>,
) -> String {
    let args = show::arguments(call, has_ended);
    let args = args.iter().map(|arg| argument(arg, process));
    let args = args.collect::<Vec<_>>().join(", ");
    let result = result(call, has_ended, process);
    format!("{}({args}) = {result}", show::name(call.nr))
}

fn argument(arg: &Argument, process: &impl Fn(u32) -> Option<String>) -> String {
    match arg.kind {
        Kind::Tgid | Kind::Tid | Kind::Pgid | Kind::PidOrPgrp | Kind::Who => {
            let [a, b, c, d, ..] = arg.word.to_le_bytes();
            number(i32::from_le_bytes([a, b, c, d]).into(), process)
        }
        Kind::IpcId => "ID".to_owned(),
        // It has the zone's name.
        Kind::UtsnameOut => "NAMES".to_owned(),
        Kind::SockAddr | Kind::SockAddrOut => address(&arg.text, process),
        Kind::Path
        | Kind::PathOut
        | Kind::Text
        | Kind::IpcName
        | Kind::Strings
        | Kind::Buf
        | Kind::BufOut => names::normal(&without_pointer(&arg.text), process),
        Kind::TimeOut => "TIME".to_owned(),
        // What a number says is what was meant.
        kind if kind.space() == picozone_syscalls::Space::None && is_number(kind) => {
            arg.text.clone()
        }
        _ => fields(&without_pointer(&arg.text), process),
    }
}

/// A structure's text in which pids are called as in both traces, and times are just that.
fn fields(text: &str, process: &impl Fn(u32) -> Option<String>) -> String {
    let mut pieces = text.split('=');
    let mut normal = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(piece.len());
        let (digits, rest) = piece.split_at(end);
        let is_pid = normal.ends_with("pid");
        let is_time = normal.ends_with("time");
        normal.push('=');
        match digits.parse() {
            Ok(pid) if is_pid => normal += &number(pid, process),
            Ok(1..) if is_time => normal += "TIME",
            _ => normal += digits,
        }
        normal += rest;
    }
    normal
}

fn is_number(kind: Kind) -> bool {
    kind.is_flags()
        || kind.direction() == Direction::In
            && matches!(
                kind,
                Kind::Flags | Kind::Command | Kind::Argument | Kind::MapOffset | Kind::Device
            )
}

fn result(call: &Call, has_ended: bool, process: &impl Fn(u32) -> Option<String>) -> String {
    if !has_ended {
        return "?".to_owned();
    }
    if let Some(errno) = errno_of(call.result) {
        return errno
            .name()
            .map_or_else(|| errno.raw().to_string(), str::to_owned);
    }
    match row(call.nr).map(|row| row.result) {
        Some(Outcome::Tgid | Outcome::Tid | Outcome::Pgid) => number(call.result, process),
        Some(Outcome::Addr) => "ADDRESS".to_owned(),
        Some(Outcome::IpcId) => "ID".to_owned(),
        Some(Outcome::Never) => "?".to_owned(),
        _ => call.result.to_string(),
    }
}

/// A process, thread or group, or the negative of one.
fn number(number: i64, process: &impl Fn(u32) -> Option<String>) -> String {
    let name = u32::try_from(number.unsigned_abs()).ok().and_then(process);
    match name {
        Some(name) if number < 0 => format!("-{name}"),
        Some(name) => name,
        None => number.to_string(),
    }
}

/// A text in which addresses of memory stand for one another.
fn without_pointer(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("0x") {
        let (before, number) = rest.split_at(at);
        let digits = number[2..].find(|c: char| !c.is_ascii_hexdigit());
        let end = digits.map_or(number.len(), |digits| digits + 2);
        let is_word = !before.ends_with(|c: char| c.is_ascii_alphanumeric());
        normal += before;
        // The first pages hold nothing: those numbers are no addresses of anything.
        normal += if is_word && end > 2 + 4 {
            "ADDRESS"
        } else {
            &number[..end]
        };
        rest = &number[end..];
    }
    normal + rest
}

/// A socket address: of one that the zone or the kernel has chosen only that it is one.
fn address(text: &str, process: &impl Fn(u32) -> Option<String>) -> String {
    if let Some((host, port)) = text.rsplit_once(':')
        && let Ok(port) = port.parse::<u16>()
    {
        let host = if host.starts_with("10.111.") {
            "ZONE"
        } else {
            host
        };
        let port = match port {
            EPHEMERAL.. => "PORT".to_owned(),
            port => port.to_string(),
        };
        return format!("{host}:{port}");
    }
    names::normal(&without_pointer(text), process)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Part;
    use crate::trace::entry::tests::sample;
    use picozone_syscalls::nr;

    fn normal(of: &Call) -> String {
        call(of, true, &|pid| (pid == 12).then(|| "<sh>".to_owned()))
    }

    #[test]
    fn what_differs_from_run_to_run_is_gone() {
        assert_eq!(
            normal(&sample()),
            "openat(AT_FDCWD, \"/etc/passwd\", O_RDONLY|O_CLOEXEC) = 3"
        );
        let kill = |pid: i64| Call {
            nr: nr::kill,
            args: [pid.cast_unsigned(), 15, 0, 0, 0, 0],
            result: -3,
            ..sample()
        };
        assert_eq!(normal(&kill(12)), "kill(<sh>, SIGTERM) = ESRCH");
        assert_eq!(normal(&kill(-12)), "kill(-<sh>, SIGTERM) = ESRCH");
        assert_eq!(normal(&kill(1)), "kill(1, SIGTERM) = ESRCH");
        let stat = Call {
            nr: nr::fstat,
            args: [3, 0x7fff_1234, 0, 0, 0, 0],
            result: 0,
            ..sample()
        };
        assert_eq!(normal(&stat), "fstat(3, ADDRESS) = 0");
        let capget = Call {
            nr: nr::capget,
            args: [0x100, 0, 0, 0, 0, 0],
            result: 0,
            parts: vec![Part::Memory {
                address: 0x100,
                bytes: vec![0x22, 5, 8, 0x20, 12, 0, 0, 0],
            }],
            ..sample()
        };
        assert_eq!(
            normal(&capget),
            "capget({version=_LINUX_CAPABILITY_VERSION_3, pid=<sh>}, NULL) = 0"
        );
        let told = fields("{shm_lpid=12, shm_cpid=13, a_time=7, b_time=0}", &|pid| {
            (pid == 12).then(|| "<sh>".to_owned())
        });
        assert_eq!(told, "{shm_lpid=<sh>, shm_cpid=13, a_time=TIME, b_time=0}");
        let connect = |port: u16| {
            let [high, low] = port.to_be_bytes();
            let mut bytes = vec![2, 0, high, low, 10, 111, 0, 2];
            bytes.resize(16, 0);
            Call {
                nr: nr::connect,
                args: [3, 0x100, 16, 0, 0, 0],
                result: 0,
                parts: vec![Part::Memory {
                    address: 0x100,
                    bytes,
                }],
                ..sample()
            }
        };
        assert_eq!(normal(&connect(80)), "connect(3, ZONE:80, 16) = 0");
        assert_eq!(normal(&connect(45678)), "connect(3, ZONE:PORT, 16) = 0");
    }
}
