//! What the host offers, which promises hold on it, and what to do about the others.
//!
//! Each check tries the thing itself where that is possible: a version number tells nothing about
//! a container's filter or a kernel built without an option.

use crate::error::{Error, Result};
use crate::monitor::copies::{self, cache};
use crate::zone::address;
use nix::sys::resource::{Resource, getrlimit};
use picozone_personality::layout::{FD_BASE, FD_COUNT};
use serde::Serialize;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::Path;

#[path = "doctor_unsafe.rs"]
mod probe;

/// Oldest kernel on which everything is there: Landlock's scopes and `mseal`.
const KERNEL_MIN: (u32, u32) = (6, 12);
/// Landlock with scopes for signals and abstract sockets.
const LANDLOCK_MIN: i64 = 6;
/// Descriptors beyond those that guests may use are reserved for the personality.
const NOFILE_MIN: u64 = (FD_BASE + FD_COUNT) as u64;

/// How much a check matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// No zone boots without it.
    Needed,
    /// Zones run without it, with the loss that the check names.
    Wanted,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// What it gives to zones.
    pub promise: &'static str,
    /// How much it matters.
    pub weight: Weight,
    /// Whether the promise holds.
    pub holds: bool,
    /// What was found.
    pub found: String,
    /// What to do where it does not hold; else empty.
    pub remedy: String,
}

/// A row without its verdict.
struct Row {
    name: &'static str,
    promise: &'static str,
    weight: Weight,
    remedy: &'static str,
}

impl Row {
    fn judged(self, holds: bool, found: impl ToString) -> Check {
        let remedy = if holds {
            String::new()
        } else {
            self.remedy.to_owned()
        };
        Check {
            name: self.name,
            promise: self.promise,
            weight: self.weight,
            holds,
            found: found.to_string(),
            remedy,
        }
    }

    fn tried<T>(self, tried: io::Result<T>, show: impl Fn(T) -> String) -> Check {
        match tried {
            Ok(value) => self.judged(true, show(value)),
            Err(error) => self.judged(false, error),
        }
    }
}

/// Looks at the host; `home` is the directory of the user's zones.
#[must_use]
pub fn examine(home: &Path) -> Vec<Check> {
    vec![
        kernel(),
        Row {
            name: "seccomp",
            promise: "calls of guests are trapped, and the doorbell reaches the monitor",
            weight: Weight::Needed,
            remedy: "use a kernel with CONFIG_SECCOMP_FILTER; in a container, one whose own filter has no listener",
        }
        .tried(probe::seccomp_listener(), |()| "filter, trap and user notification work".to_owned()),
        landlock(),
        Row {
            name: "memfd",
            promise: "guests execute the sealed personality and nothing else",
            weight: Weight::Needed,
            remedy: "set vm.memfd_noexec to 0 or 1 (`sysctl vm.memfd_noexec=1`, as root)",
        }
        .tried(probe::executable_memfd(), |()| "executable memory files are allowed".to_owned()),
        Row {
            name: "mseal",
            promise: "no guest can remap the personality",
            weight: Weight::Needed,
            remedy: "use Linux 6.10 or newer; in a container, one whose filter lets mseal (462) through",
        }
        .tried(probe::mseal(), |()| "available".to_owned()),
        descriptors(),
        loopback(),
        Row {
            name: "terminals",
            promise: "zone login and zone run give programs a terminal of their own",
            weight: Weight::Wanted,
            remedy: "mount devpts on /dev/pts and make /dev/ptmx accessible",
        }
        .tried(nix::pty::openpty(None, None).map_err(io::Error::from), |_| "available".to_owned()),
        low_ports(),
        files(home),
        rewriting(home),
    ]
}

/// What rewritten programs enter the personality with, and what their copies take.
fn rewriting(home: &Path) -> Check {
    let usage = cache::usage(home);
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let found = format!(
        "{} copies of {} MiB, {} MiB of them unused ({} MiB at most)",
        usage.count,
        mib(usage.bytes),
        mib(usage.unused_bytes),
        mib(cache::ROOM),
    );
    Row {
        name: "rewriting",
        promise: "calls of rewritten programs enter the personality by a jump",
        weight: Weight::Wanted,
        remedy: "use a processor with FSGSBASE and Linux 5.9 or newer, without nofsgsbase",
    }
    .judged(copies::is_possible(), found)
}

fn kernel() -> Check {
    let row = Row {
        name: "kernel",
        promise: "the wall around a zone is complete",
        weight: Weight::Needed,
        remedy: "boot Linux 6.12 or newer (Debian 13, or bookworm-backports on Debian 12)",
    };
    let release =
        nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    match release {
        Ok(release) => row.judged(
            version(&release).is_some_and(|version| version >= KERNEL_MIN),
            format_args!("Linux {release}"),
        ),
        Err(errno) => row.judged(false, errno),
    }
}

/// Major and minor number of a release such as `6.12.9-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn landlock() -> Check {
    let row = Row {
        name: "landlock",
        promise: "the kernel keeps guests within the zone's files, and signals within the zone",
        weight: Weight::Needed,
        remedy: "use Linux 6.12 or newer with CONFIG_SECURITY_LANDLOCK, and add landlock to the kernel's lsm= parameter",
    };
    match probe::landlock_abi() {
        Ok(abi) => row.judged(
            abi >= LANDLOCK_MIN,
            format_args!("ABI {abi} (needed: {LANDLOCK_MIN})"),
        ),
        Err(error) => row.judged(false, error),
    }
}

fn descriptors() -> Check {
    let row = Row {
        name: "descriptors",
        promise: "there is room for the reserved descriptors of the personality",
        weight: Weight::Needed,
        remedy: "raise the hard limit of open files (`ulimit -Hn`, /etc/security/limits.conf) to 4096 or more",
    };
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) => row.judged(
            hard > NOFILE_MIN,
            format_args!("hard limit {hard} (needed: more than {NOFILE_MIN})"),
        ),
        Err(errno) => row.judged(false, errno),
    }
}

fn loopback() -> Check {
    let row = Row {
        name: "addresses",
        promise: "each zone has an address of its own, without set-up",
        weight: Weight::Needed,
        remedy: "bring the loopback device up (`ip link set lo up`) with its usual 127.0.0.0/8",
    };
    let number = address::NUMBER_MAX;
    let addresses = [
        address::host_v4(number),
        address::host_v6_stand_in(number),
        address::host_loopback_v4(number),
        address::host_loopback_v6(number),
    ];
    for address in addresses {
        if let Err(error) = TcpListener::bind((address, 0)) {
            return row.judged(false, format_args!("{address}: {error}"));
        }
    }
    row.judged(true, "127.111.0.0/16 to 127.114.0.0/16 can be bound")
}

fn low_ports() -> Check {
    let row = Row {
        name: "low ports",
        promise: "a zone's port below 1024 has the same number on the host",
        weight: Weight::Wanted,
        remedy: "nothing needs it: within zones every port works, and `zone ports` shows the host's; for the same number run as root or set net.ipv4.ip_unprivileged_port_start=0",
    };
    if nix::unistd::geteuid().is_root() {
        return row.judged(true, "root may bind every port");
    }
    let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let start = fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok())
        .unwrap_or(1024);
    row.judged(
        start <= 1,
        format_args!("ports below {start} get another host port"),
    )
}

fn files(home: &Path) -> Check {
    let row = Row {
        name: "files",
        promise: "zones have room for their files, and can run programs of their own",
        weight: Weight::Wanted,
        remedy: "free some space there, mount it without noexec, or set PICOZONE_HOME to another file system",
    };
    match nix::sys::statvfs::statvfs(home) {
        Ok(found) => {
            let free_mib = found
                .blocks_available()
                .saturating_mul(found.fragment_size())
                >> 20;
            let flags = found.flags();
            let is_noexec = flags.contains(nix::sys::statvfs::FsFlags::ST_NOEXEC);
            let is_read_only = flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY);
            let mut text = format!("{}: {free_mib} MiB free", home.display());
            for (is_so, word) in [(is_noexec, ", noexec"), (is_read_only, ", read-only")] {
                if is_so {
                    text.push_str(word);
                }
            }
            row.judged(free_mib >= 100 && !is_noexec && !is_read_only, text)
        }
        Err(errno) => row.judged(false, format_args!("{}: {errno}", home.display())),
    }
}

/// Refuses where something needed is missing.
///
/// # Errors
/// [`Error::Host`] with the first check that fails.
pub fn require(home: &Path) -> Result<()> {
    let failed = examine(home)
        .into_iter()
        .find(|check| check.weight == Weight::Needed && !check.holds);
    match failed {
        None => Ok(()),
        Some(check) => Err(Error::Host {
            cause: format!(
                "{}: {}; without it this does not hold: {}",
                check.name, check.found, check.promise
            ),
            remedy: format!("{}; `zone doctor` shows everything", check.remedy),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_every_kind() {
        assert_eq!(version("6.12.9-amd64"), Some((6, 12)));
        assert_eq!(version("7.0-rc1"), Some((7, 0)));
        assert_eq!(version("6.6.87.2-microsoft-standard-WSL2"), Some((6, 6)));
        assert_eq!(version("strange"), None);
        assert!(version("6.9.1") < Some(KERNEL_MIN));
    }

    #[test]
    fn what_fails_has_a_remedy() {
        for check in examine(Path::new("/nonexistent")) {
            assert_eq!(check.remedy.is_empty(), check.holds, "{check:?}");
            assert!(!check.found.is_empty() && !check.promise.is_empty());
        }
    }
}
