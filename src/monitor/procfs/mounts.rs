//! The mount table: `mounts`, `mountinfo`, `mountstats`.

use super::{Mount, Subject, View};
use std::fmt::Write;

/// The mounts that a process reaches from its root directory, by their paths from there.
fn reachable(view: &dyn View, subject: &Subject, mut mounts: Vec<Mount>) -> Vec<(usize, Mount)> {
    let root = view.root(subject.process);
    for mount in &mut mounts {
        mount.path = match mount.path.strip_prefix(&root[..]) {
            Some(b"") => b"/".to_vec(),
            Some(path) if path.first() == Some(&b'/') => path.to_vec(),
            _ => Vec::new(),
        };
    }
    let all = mounts.into_iter().enumerate();
    all.filter(|(_, mount)| !mount.path.is_empty()).collect()
}

/// `/proc/PID/mounts` (fstab(5)).
pub(super) fn mounts(view: &dyn View, subject: &Subject) -> Vec<u8> {
    let mut out = Vec::new();
    for (_, mount) in reachable(view, subject, view.mounts()) {
        let rest = format!(" {} {} 0 0\n", mount.fstype, mount.options);
        out.extend(
            [
                &escape(mount.source.as_bytes())[..],
                b" ",
                &escape(&mount.path),
                rest.as_bytes(),
            ]
            .concat(),
        );
    }
    out
}

/// `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).
pub(super) fn mountinfo(view: &dyn View, subject: &Subject) -> Vec<u8> {
    let mounts = view.mounts();
    let mut out = Vec::new();
    for (at, mount) in reachable(view, subject, mounts.clone()) {
        let (major, minor) = (libc::major(mount.device), libc::minor(mount.device));
        let head = format!("{} {} {major}:{minor} ", mount.id, parent(&mounts, at));
        // Options of the file system are ro and rw only: the others are the mount's.
        let of_fs = mount.options.split(',').next().unwrap_or("rw");
        let mut tail = String::new();
        let _ = write!(tail, " {} - {} ", mount.options, mount.fstype);
        out.extend_from_slice(head.as_bytes());
        out.extend(escape(&mount.root));
        out.push(b' ');
        out.extend(escape(&mount.path));
        out.extend_from_slice(tail.as_bytes());
        out.extend(escape(mount.source.as_bytes()));
        out.extend_from_slice(format!(" {of_fs}\n").as_bytes());
    }
    out
}

/// `/proc/PID/mountstats` (proc_pid_mountstats(5)).
pub(super) fn mountstats(view: &dyn View, subject: &Subject) -> Vec<u8> {
    let mut out = Vec::new();
    for (_, mount) in reachable(view, subject, view.mounts()) {
        let fstype = format!(" with fstype {}\n", mount.fstype);
        out.extend_from_slice(b"device ");
        out.extend(escape(mount.source.as_bytes()));
        out.extend_from_slice(b" mounted on ");
        out.extend(escape(&mount.path));
        out.extend_from_slice(fstype.as_bytes());
    }
    out
}

/// The id of the mount that holds a mount point: the last of those mounted before whose path is the
/// longest, at the same place too.
fn parent(mounts: &[Mount], of: usize) -> usize {
    let path = &mounts[of].path;
    let is_above = |other: &Mount| {
        other.path == b"/"
            || path
                .strip_prefix(&other.path[..])
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    };
    let above = mounts[..of].iter().enumerate();
    // The root's parent is what no mount has, as in a root that was pivoted to.
    above
        .filter(|(_, other)| is_above(other))
        .max_by_key(|&(at, other)| (other.path.len(), at))
        .map_or(1, |(_, other)| other.id)
}

/// Blanks and backslashes as octal (getmntent(3)).
fn escape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => out.extend(format!("\\{byte:03o}").bytes()),
            byte => out.push(byte),
        }
    }
    out
}
