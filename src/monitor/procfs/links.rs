//! Magic links: descriptors, working directories, name spaces.

use super::{Errno, Object, Subject, View};
use crate::ids::HostPid;
use nix::fcntl::{OFlag, readlink};
pub(super) use picozone_personality::namespaces::NAMESPACES;
use picozone_personality::tables::NO_MOUNT;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

/// What a link shows for a file of the host that the zone cannot name: as the kernel says of what
/// lies outside a root directory (getcwd(2)), without the host's path.
pub const UNREACHABLE: &[u8] = b"(unreachable)";

/// What the names of memory files with content of a zone path begin with; see [`content_name`].
const CONTENT: &str = "zone:";

/// Devices of the host that every zone sees under the same name.
const DEVICES: [&[u8]; 7] = [
    b"/dev/null",
    b"/dev/zero",
    b"/dev/full",
    b"/dev/random",
    b"/dev/urandom",
    b"/dev/tty",
    b"/dev/ptmx",
];

/// A name for the memfd that holds the content of a zone path (such as `/proc/self/stat`), and tells of
/// which process or thread: the guest's link to it then shows that path.
#[must_use]
pub fn content_name(zone_path: &[u8], of: Option<HostPid>) -> CString {
    let of = of.map(|host| host.to_string()).unwrap_or_default();
    let mut name = [CONTENT.as_bytes(), of.as_bytes(), zone_path].concat();
    // memfd_create(2).
    name.truncate(NAME_MAX);
    CString::new(name).unwrap_or_default()
}

/// Longest name of a memfd.
const NAME_MAX: usize = 249;

/// Zone path, and process or thread on the host, of a memfd that has such a name, by the text of a link to
/// it. None of a path that was too long for a name.
#[must_use]
pub fn content_of(link: &[u8]) -> Option<(&[u8], Option<HostPid>)> {
    let name = link.strip_prefix(b"/memfd:")?.strip_suffix(GONE)?;
    let (of, path) = split_content(name)?;
    let of = match of {
        b"" => None,
        of => Some(HostPid(super::subject::number(of)?)),
    };
    (name.len() < NAME_MAX).then_some((path, of))
}

/// What the kernel puts behind the path of a file that has no name.
const GONE: &[u8] = b" (deleted)";

/// Number and path in such a name.
fn split_content(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = name.strip_prefix(CONTENT.as_bytes())?;
    Some(rest.split_at(rest.iter().position(|byte| !byte.is_ascii_digit())?))
}

/// Whether a memfd's name is of that kind.
#[must_use]
pub fn is_content_name(name: &[u8]) -> bool {
    name.starts_with(CONTENT.as_bytes())
}

/// The text of a host's link in the zone's terms.
pub(super) fn translate(view: &dyn View, text: Vec<u8>) -> Result<Vec<u8>, Errno> {
    Ok(to_zone_text(view, &text).unwrap_or_else(|| UNREACHABLE.to_vec()))
}

/// The same; `None` if the zone cannot name it.
#[must_use]
pub fn to_zone_text(view: &dyn View, text: &[u8]) -> Option<Vec<u8>> {
    // A pipe, a socket, a name space, an anonymous object.
    if text.first() != Some(&b'/') {
        let kind = text.split(|&byte| byte == b':').next();
        let name = NAMESPACES.iter().find(|name| Some(name.as_bytes()) == kind);
        return Some(name.map_or_else(|| text.to_vec(), |name| namespace(view, name)));
    }
    if let Some(name) = text.strip_prefix(b"/memfd:") {
        if name.starts_with(b"SYSV") {
            return Some([b"/", name].concat());
        }
        let path = name.strip_suffix(GONE).and_then(split_content);
        return Some(path.map_or(text, |(_, path)| path).to_vec());
    }
    // Shared anonymous memory, System V memory, rings: names that lie in no directory.
    let is_memory = [&b"/dev/zero (deleted)"[..], b"/[aio] (deleted)"].contains(&text)
        || text.starts_with(b"/SYSV")
        || text.starts_with(b"/anon_hugepage");
    if is_memory || DEVICES.contains(&text) {
        return Some(text.to_vec());
    }
    if let Some(number) = text.strip_prefix(b"/dev/pts/") {
        let number = super::subject::number(number)?;
        return view.ptys().contains(&number).then(|| text.to_vec());
    }
    if let Some(path) = view.to_zone_path(text) {
        return Some(path);
    }
    // A file of the host's /proc that was handed over.
    let rest = text.strip_prefix(b"/proc/")?;
    let (first, beneath) = match rest.iter().position(|&byte| byte == b'/') {
        Some(at) => rest.split_at(at),
        None => (rest, &b""[..]),
    };
    match super::subject::number(first) {
        None => super::system::find(rest).map(|_| text.to_vec()),
        Some(host) => {
            let process = view.to_zone(HostPid(host))?;
            Some([format!("/proc/{process}").as_bytes(), beneath].concat())
        }
    }
}

/// The text of a name space link. The number differs between zones, and between boots.
pub(super) fn namespace(view: &dyn View, name: &str) -> Vec<u8> {
    let kind = name.strip_suffix("_for_children").unwrap_or(name);
    format!("{kind}:[{}]", namespace_inode(view, name)).into_bytes()
}

/// The number in it.
pub(super) fn namespace_inode(view: &dyn View, name: &str) -> u64 {
    let kind = name.strip_suffix("_for_children").unwrap_or(name);
    let hash = super::inode_of(&view.booted_at().to_string(), kind.as_bytes());
    // In the range of the kernel's own numbers (PROC_DYNAMIC_FIRST), 32 bits wide.
    0xf000_0000 | hash & 0x0fff_ffff
}

/// Pins what a link leads to that grants no access by itself.
///
/// # Errors
/// ENOENT, EACCES: as the host's kernel says.
pub(super) fn pin(view: &dyn View, subject: &Subject, name: &str) -> Result<Object, Errno> {
    let pinned = subject.pin(name)?;
    let text = text_of(view, &pinned)?;
    Ok(Object {
        pinned,
        text,
        flags: OFlag::O_PATH,
    })
}

/// Pins what a descriptor of a guest leads to.
///
/// # Errors
/// ENOENT if there is no such descriptor.
pub(super) fn pin_descriptor(view: &dyn View, subject: &Subject, fd: u32) -> Result<Object, Errno> {
    let pinned = subject.pin(&format!("fd/{fd}"))?;
    let text = text_of(view, &pinned)?;
    let info = subject.read(&format!("fdinfo/{fd}"))?;
    let own = std::fs::read(format!("/proc/self/fdinfo/{}", pinned.as_raw_fd()))
        .map_err(|_| libc::EMFILE)?;
    let flags = flags_told(&info, &own).unwrap_or(OFlag::O_PATH);
    Ok(Object {
        pinned,
        text,
        flags,
    })
}

fn text_of(view: &dyn View, pinned: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let path = format!("/proc/self/fd/{}", pinned.as_raw_fd());
    let text = readlink(path.as_str()).map_err(|errno| errno as Errno)?;
    translate(view, text.into_vec())
}

/// The flags of a guest's descriptor, by what `/proc/PID/fdinfo` says of it and of an own one that leads where
/// it led. The guest may have put another file on the number since: then its flags say nothing about this one.
pub(in crate::monitor) fn flags_told(guests: &[u8], own: &[u8]) -> Option<OFlag> {
    let is_same = ["mnt_id:", "ino:"]
        .iter()
        .all(|key| field(guests, key) == field(own, key));
    field(guests, "flags:")
        .filter(|_| is_same)
        .and_then(|flags| i32::from_str_radix(flags, 8).ok())
        .map(OFlag::from_bits_retain)
}

/// A line of `/proc/PID/fdinfo/N`, without its key.
fn field<'a>(info: &'a [u8], key: &str) -> Option<&'a str> {
    let line = info
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(key.as_bytes()))?;
    std::str::from_utf8(line.trim_ascii()).ok()
}

/// Permission bits of the link of a descriptor: what it is open for.
///
/// # Errors
/// ENOENT if there is no such descriptor.
pub(super) fn descriptor_mode(subject: &Subject, fd: u32) -> Result<u32, Errno> {
    Ok(subject.attributes(&format!("fd/{fd}"))?.st_mode & 0o777)
}

/// Id of the mount that a descriptor's file lies in.
fn mount_of(view: &dyn View, subject: &Subject, fd: u32) -> Result<usize, Errno> {
    let text = translate(view, subject.readlink(&format!("fd/{fd}"))?)?;
    if text.starts_with(b"/memfd:") {
        return Ok(NO_MOUNT as usize);
    }
    let mounts = view.mounts();
    let above = mounts.iter().filter(|mount| {
        let rest = text.strip_prefix(mount.path.strip_suffix(b"/").unwrap_or(&mount.path));
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    });
    let deepest = above.max_by_key(|mount| mount.path.len());
    Ok(deepest.map_or(NO_MOUNT as usize, |mount| mount.id))
}

/// `/proc/PID/fdinfo/N`, with process ids in the zone's terms (proc_pid_fdinfo(5)).
///
/// # Errors
/// ENOENT if there is no such descriptor.
pub(super) fn descriptor_info(
    view: &dyn View,
    subject: &Subject,
    fd: u32,
) -> Result<Vec<u8>, Errno> {
    let info = subject.read(&format!("fdinfo/{fd}"))?;
    let mut out = Vec::with_capacity(info.len());
    for line in info.split_inclusive(|&byte| byte == b'\n') {
        let Some((key, value)) = std::str::from_utf8(line)
            .ok()
            .and_then(|line| line.split_once(':'))
        else {
            out.extend_from_slice(line);
            continue;
        };
        match key {
            "mnt_id" => {
                let id = mount_of(view, subject, fd)?;
                out.extend_from_slice(format!("{key}:\t{id}\n").as_bytes());
            }
            // A pidfd; -1 once its process was reaped.
            "Pid" | "NSpid" => {
                let value = value.trim();
                let zone = match value {
                    "-1" => "-1".to_owned(),
                    value => super::status::zone_number(view, value).to_string(),
                };
                out.extend_from_slice(format!("{key}:\t{zone}\n").as_bytes());
            }
            "lock" => {
                if let Some(lock) = super::locks::translate(view, value.trim()) {
                    out.extend_from_slice(format!("lock:\t{lock}\n").as_bytes());
                }
            }
            _ => out.extend_from_slice(line),
        }
    }
    Ok(out)
}
