//! A zone's `/dev`: the harmless devices, the zone's terminals, and links to `/proc`.
//!
//! The same types as [`crate::monitor::procfs`]. Only what is listed here exists: never `mem`,
//! `kmem`, `kvm` or any other device that reaches the host.

use super::owners::Owner;
use super::procfs::{Attr, Entry, Errno, Kind, Node, StatLine, Stated, View, inode_of, number};
use crate::ids::HostPid;
use picozone_fsmap::Last;
use std::path::{Path, PathBuf};

/// Devices that are the host's own, with the same name.
const DEVICES: [&str; 5] = ["full", "null", "random", "urandom", "zero"];

/// Links, with their texts.
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
];

/// Group of terminals (`tty` in every distribution's `/etc/group`).
const TTY_GROUP: u32 = 5;

/// What a terminal of this number and user is at first: as distributions mount devpts (`gid=5,mode=620`).
#[must_use]
pub fn new_terminal(uid: u32, rdev: u64) -> Owner {
    Owner {
        uid,
        gid: TTY_GROUP,
        mode: libc::S_IFCHR | 0o620,
        rdev,
    }
}

enum What {
    Top,
    Pts,
    Device(&'static str),
    /// The controlling terminal of whoever asks.
    Tty,
    Ptmx,
    /// Where programs send their messages for syslog(3), once there is a daemon.
    Log,
    Pty(u32),
    Link(&'static str),
}

/// What `path` (relative to `/dev`) is, ready to be opened, listed or read as a link.
///
/// # Errors
/// ENOENT for all that the zone has not; ENOTDIR; ENXIO for `tty` without a controlling terminal
/// that is one of the zone's.
pub fn lookup(view: &dyn View, caller: HostPid, path: &[u8], last: Last) -> Result<Node, Errno> {
    let (what, rest) = find(view, path)?;
    if let Some(path) = elsewhere(&what, rest, path, last) {
        return Ok(Node::Elsewhere(path));
    }
    Ok(match what {
        What::Top => Node::Dir {
            path: Vec::new(),
            entries: top_entries(view),
        },
        What::Pts => Node::Dir {
            path: b"pts".to_vec(),
            entries: pts_entries(view),
        },
        What::Device(name) => Node::Device(Path::new("/dev").join(name)),
        What::Tty => Node::Device(pty_path(controlling(view, caller)?)),
        What::Ptmx => Node::Ptmx,
        What::Log => Node::Socket,
        What::Pty(number) => Node::Device(pty_path(number)),
        What::Link(text) => Node::Link(text.into()),
    })
}

/// The attributes of `path` (relative to `/dev`).
///
/// # Errors
/// ENOENT for all that the zone has not; ENOTDIR.
pub fn stat(view: &dyn View, path: &[u8], last: Last) -> Result<Stated, Errno> {
    let (what, rest) = find(view, path)?;
    if let Some(path) = elsewhere(&what, rest, path, last) {
        return Ok(Stated::Elsewhere(path));
    }
    let (mode, rdev) = match &what {
        What::Top | What::Pts => (libc::S_IFDIR | 0o755, 0),
        What::Device(name) => (
            libc::S_IFCHR | 0o666,
            device_number(&Path::new("/dev").join(name))?,
        ),
        // TTYAUX_MAJOR: the devices of the name, whatever stands behind it.
        What::Tty => (libc::S_IFCHR | 0o666, libc::makedev(5, 0)),
        What::Ptmx => (libc::S_IFCHR | 0o666, libc::makedev(5, 2)),
        What::Log => (libc::S_IFSOCK | 0o666, 0),
        What::Pty(number) => (view.pty(*number).mode, device_number(&pty_path(*number))?),
        What::Link(_) => (libc::S_IFLNK | 0o777, 0),
    };
    let (uid, gid) = match &what {
        What::Pty(number) => {
            let owner = view.pty(*number);
            (owner.uid, owner.gid)
        }
        What::Tty | What::Ptmx => (0, TTY_GROUP),
        _ => (0, 0),
    };
    let size = if let What::Link(text) = &what {
        text.len() as u64
    } else {
        0
    };
    let names: Vec<_> = names(path).collect();
    let ino = inode_of("dev", &names.join(&b'/'));
    Ok(Stated::Attr(Attr {
        mode,
        uid,
        gid,
        nlink: 1,
        size,
        ino,
        rdev,
    }))
}

fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
}

/// What the path names, and what is left of it behind a link.
fn find<'a>(view: &dyn View, path: &'a [u8]) -> Result<(What, Vec<&'a [u8]>), Errno> {
    let must_be_dir = path.ends_with(b"/") || path.ends_with(b"/.");
    let mut names = names(path);
    let Some(first) = names.next() else {
        return Ok((What::Top, Vec::new()));
    };
    let rest: Vec<_> = names.collect();
    if let Some((_, text)) = LINKS.iter().find(|(name, _)| name.as_bytes() == first) {
        return Ok((What::Link(text), rest));
    }
    let (what, left) = match (first, rest.as_slice()) {
        (b"tty", left) => (What::Tty, left),
        (b"ptmx", left) => (What::Ptmx, left),
        (b"log", left) if view.has_log() => (What::Log, left),
        (b"pts", []) => return Ok((What::Pts, Vec::new())),
        (b"pts", [b"ptmx", left @ ..]) => (What::Ptmx, left),
        (b"pts", [name, left @ ..]) => {
            let number = number(name).filter(|number| view.ptys().contains(number));
            (What::Pty(number.ok_or(libc::ENOENT)?), left)
        }
        (name, left) => {
            let device = DEVICES.iter().find(|device| device.as_bytes() == name);
            (What::Device(device.ok_or(libc::ENOENT)?), left)
        }
    };
    if left.is_empty() && !must_be_dir {
        Ok((what, Vec::new()))
    } else {
        Err(libc::ENOTDIR)
    }
}

/// Where a link leads that is passed or followed.
fn elsewhere(what: &What, rest: Vec<&[u8]>, path: &[u8], last: Last) -> Option<Vec<u8>> {
    let What::Link(text) = what else { return None };
    let must_be_dir = path.ends_with(b"/") || path.ends_with(b"/.");
    if rest.is_empty() && last == Last::NoFollow && !must_be_dir {
        return None;
    }
    let mut target = vec![text.as_bytes()];
    target.extend(rest);
    if must_be_dir {
        target.push(b"");
    }
    Some(target.join(&b'/'))
}

fn top_entries(view: &dyn View) -> Vec<Entry> {
    let devices = DEVICES
        .iter()
        .chain(&["ptmx", "tty"])
        .map(|name| Entry::new(name, Kind::Device));
    let links = LINKS.iter().map(|(name, _)| Entry::new(name, Kind::Link));
    let others = [Entry::new("pts", Kind::Dir), Entry::new("shm", Kind::Mount)];
    let log = view.has_log().then(|| Entry::new("log", Kind::Socket));
    devices.chain(links).chain(others).chain(log).collect()
}

fn pts_entries(view: &dyn View) -> Vec<Entry> {
    let mut numbers = view.ptys();
    numbers.sort_unstable();
    let terminals = numbers
        .iter()
        .map(|number| Entry::new(&number.to_string(), Kind::Device));
    terminals
        .chain([Entry::new("ptmx", Kind::Device)])
        .collect()
}

fn pty_path(number: u32) -> PathBuf {
    format!("/dev/pts/{number}").into()
}

fn device_number(path: &Path) -> Result<u64, Errno> {
    match nix::sys::stat::stat(path) {
        Ok(attributes) => Ok(attributes.st_rdev),
        Err(errno) => Err(errno as Errno),
    }
}

/// The controlling terminal of a thread, if it is one of the zone's.
fn controlling(view: &dyn View, caller: HostPid) -> Result<u32, Errno> {
    let line = std::fs::read(format!("/proc/{caller}/stat")).map_err(|_| libc::ENXIO)?;
    let number = StatLine::parse(&line)
        .and_then(|line| line.pty())
        .ok_or(libc::ENXIO)?;
    if view.ptys().contains(&number) {
        Ok(number)
    } else {
        Err(libc::ENXIO)
    }
}
