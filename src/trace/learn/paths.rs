//! Which directories of the host are needed, and whether they are written.

use crate::trace::{Call, Part, show};
use picozone_syscalls::{Kind, nr, row};
use std::collections::BTreeMap;
use std::path::Path;

/// What every zone has, whatever its configuration.
const GIVEN: [&str; 14] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/dev", "/sys",
    "/tmp", "/run", "/etc", "/var/tmp",
];
/// Most names that are listed.
const LISTED: usize = 20;
/// Most paths that are kept; a trace that names more has its first ones.
const PATHS_MAX: usize = 100_000;

/// What was done with paths.
#[derive(Default)]
pub(super) struct Paths {
    /// Where paths of the zone lie on the host outside the zone's own tree, and whether they were written.
    mounted: BTreeMap<(String, String), bool>,
    /// Whether paths of the zone's own were written.
    own: BTreeMap<String, bool>,
    missing: BTreeMap<String, u64>,
}

/// What is proposed.
pub(super) struct Proposal {
    pub(super) binds: Vec<Bind>,
    pub(super) written: Vec<String>,
    pub(super) missing: Vec<String>,
}

/// A directory of the host, and where the zone has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bind {
    pub(super) host: String,
    pub(super) zone: String,
    pub(super) is_written: bool,
    /// The zone has it not yet.
    pub(super) is_missing: bool,
}

impl Paths {
    /// Learns from a call.
    pub(super) fn take(&mut self, call: &Call, errno: Option<&str>) {
        for (address, path) in show::placed_paths(call) {
            let Some(path) = clean(path) else { continue };
            let is_refused = matches!(errno, Some("EROFS" | "EACCES"));
            if errno == Some("ENOENT") {
                if self.missing.len() < PATHS_MAX {
                    *self.missing.entry(path).or_default() += 1;
                }
                continue;
            }
            if errno.is_some() && !is_refused {
                continue;
            }
            let is_written = writes(call);
            let host = call.parts.iter().find_map(|part| match part {
                Part::HostPath { of, path } if *of == address => std::str::from_utf8(path).ok(),
                _ => None,
            });
            if self.mounted.len() + self.own.len() >= PATHS_MAX {
                continue;
            }
            match host.and_then(|host| clean(host.as_bytes())) {
                Some(host) => {
                    *self.mounted.entry((host, path)).or_default() |= is_written;
                }
                // Its tree's name stands in front, with a colon.
                None if host.is_some() && !is_refused => {
                    *self.own.entry(path).or_default() |= is_written;
                }
                None => {}
            }
        }
    }

    /// What is needed for that.
    pub(super) fn proposal(&self, is_on_host: &dyn Fn(&Path) -> bool) -> Proposal {
        // By mount: what both sides have in common below it goes.
        let mut mounts: BTreeMap<(String, String), (Vec<String>, bool)> = BTreeMap::new();
        for ((host, zone), is_written) in &self.mounted {
            if is_given(zone) {
                continue;
            }
            let (host, zone, below) = split(host, zone);
            let (all, is_any_written) = mounts.entry((host, zone)).or_default();
            all.push(below);
            *is_any_written |= is_written;
        }
        let mut binds: Vec<Bind> = Vec::new();
        for ((host, zone), (all, is_written)) in mounts {
            let common = common(&all);
            binds.push(Bind {
                host: join(&host, &common),
                zone: join(&zone, &common),
                is_written,
                is_missing: false,
            });
        }
        for path in self.missing.keys().filter(|path| !is_given(path)) {
            // The highest directory that the zone has not and the host has.
            let first = Path::new(path)
                .ancestors()
                .filter(|ancestor| ancestor.components().count() > 2)
                .last()
                .filter(|ancestor| is_on_host(ancestor));
            let first = first.and_then(Path::to_str);
            if let Some(first) = first.filter(|_| is_on_host(Path::new(path)))
                && !binds.iter().any(|bind| bind.zone == first)
            {
                binds.push(Bind {
                    host: first.to_owned(),
                    zone: first.to_owned(),
                    is_written: false,
                    is_missing: true,
                });
            }
        }
        let written = self.own.iter().filter(|(_, is_written)| **is_written);
        let mut written: Vec<String> = written
            .map(|(path, _)| parent(path).to_owned())
            .filter(|path| !path.starts_with("/tmp") && !path.starts_with("/dev"))
            .collect();
        written.dedup();
        written.truncate(LISTED);
        let mut missing: Vec<_> = self.missing.iter().collect();
        missing.sort_by_key(|(path, count)| (std::cmp::Reverse(**count), *path));
        let missing = missing
            .into_iter()
            .filter(|(path, _)| !path.starts_with("/usr"));
        Proposal {
            binds,
            written,
            missing: missing.take(LISTED).map(|(path, _)| path.clone()).collect(),
        }
    }
}

/// A path from the root as text that ends no line.
fn clean(path: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(path).ok()?;
    let is_plain = text.starts_with('/') && !text.contains(|c: char| c.is_control());
    let is_walked = text.split('/').any(|part| part == "." || part == "..");
    (is_plain && !is_walked).then(|| text.trim_end_matches('/').to_owned())
}

fn is_given(path: &str) -> bool {
    GIVEN.iter().any(|given| {
        path.strip_prefix(given)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Whether a call changes what its paths name.
fn writes(call: &Call) -> bool {
    const O_ACCMODE: u64 = 0o3;
    const O_CREAT_OR_TRUNC: u64 = 0o1100;
    let flags = row(call.nr).and_then(|row| {
        let mut args = row.args.iter().zip(call.args);
        args.find(|(arg, _)| arg.kind == Kind::OpenFlags)
    });
    match (call.nr, flags) {
        (nr::open | nr::openat, Some((_, flags))) => {
            flags & O_ACCMODE != 0 || flags & O_CREAT_OR_TRUNC != 0
        }
        (
            nr::creat
            | nr::mkdir
            | nr::mkdirat
            | nr::rmdir
            | nr::unlink
            | nr::unlinkat
            | nr::rename
            | nr::renameat
            | nr::renameat2
            | nr::link
            | nr::linkat
            | nr::symlink
            | nr::symlinkat
            | nr::mknod
            | nr::mknodat
            | nr::truncate
            | nr::chmod
            | nr::fchmodat
            | nr::fchmodat2
            | nr::chown
            | nr::lchown
            | nr::fchownat
            | nr::utime
            | nr::utimes
            | nr::futimesat
            | nr::utimensat
            | nr::setxattr
            | nr::lsetxattr
            | nr::removexattr
            | nr::lremovexattr,
            _,
        ) => true,
        _ => false,
    }
}

/// The host's and the zone's side of a mount, and what is below it; at least one component stays the
/// zone's.
fn split(host: &str, zone: &str) -> (String, String, String) {
    let (mut host, mut zone, start) = (host, zone, zone);
    while let (Some((above_host, last)), Some((above_zone, same))) =
        (host.rsplit_once('/'), zone.rsplit_once('/'))
        && last == same
        && !above_zone.is_empty()
        && !above_host.is_empty()
    {
        (host, zone) = (above_host, above_zone);
    }
    let below = start[zone.len()..].to_owned();
    (host.to_owned(), zone.to_owned(), below)
}

/// The directory that all of these lie in.
fn common(paths: &[String]) -> String {
    let Some(first) = paths.first() else {
        return String::new();
    };
    let mut common = parent(first);
    for path in paths {
        while !path.starts_with(&format!("{common}/")) && !common.is_empty() {
            common = parent(common);
        }
    }
    common.to_owned()
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn join(above: &str, below: &str) -> String {
    format!("{above}{below}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_where_both_sides_part() {
        let split = |host, zone| {
            let (host, zone, below) = split(host, zone);
            format!("{host} {zone} {below}")
        };
        assert_eq!(
            split("/home/me/src/a/b", "/src/a/b"),
            "/home/me/src /src /a/b"
        );
        assert_eq!(
            split("/home/me/x/b", "/data/www/b"),
            "/home/me/x /data/www /b"
        );
        assert_eq!(
            split("/opt/java/lib", "/opt/java/lib"),
            "/opt /opt /java/lib"
        );
        assert_eq!(split("/a", "/b"), "/a /b ");
    }

    #[test]
    fn the_narrowest_directory_is_taken() {
        let common = |paths: &[&str]| {
            let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
            common(&paths)
        };
        assert_eq!(common(&["/a/b/c", "/a/b/d"]), "/a/b");
        assert_eq!(common(&["/a/b/c", "/a/e"]), "/a");
        assert_eq!(common(&["/a/b/c", "/ab"]), "");
        assert_eq!(common(&["/a", ""]), "");
        assert_eq!(common(&["/a/b"]), "/a");
        assert_eq!(common(&[]), "");
    }
}
