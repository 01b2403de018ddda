//! Flags of files, among them that a file is immutable or may only grow.

use super::descriptors::{open_path, reopen};
use super::files::{Target, low_int, path_of};
use super::owners;
use super::procfs::Credentials;
use super::zone::Zone;
use crate::ids::HostPid;
use nix::errno::Errno;
use picozone_personality::capabilities::Power;
use picozone_personality::tables::{APPEND_ONLY, IMMUTABLE};
use std::fs::File;
use std::os::fd::AsRawFd;

/// `FS_IMMUTABLE_FL` and `FS_APPEND_FL`, which take a capability on the host.
const MARKS: [(u32, u32); 2] = [(0x10, IMMUTABLE), (0x20, APPEND_ONLY)];
/// What a file's owner may set on the host: secure deletion, undeletion, compression, sync, nodump,
/// noatime, nocompress, notail, dirsync, topdir (FS_IOC_SETFLAGS(2const)).
const OF_OWNER: u32 = 0x1 | 0x2 | 0x4 | 0x8 | 0x40 | 0x80 | 0x400 | 0x8000 | 0x1_0000 | 0x2_0000;

/// The flags of a file on the host.
fn flags_of(file: &File) -> Result<u32, i32> {
    let mut flags = 0u32;
    // SAFETY: whatever the command's size says, the kernel writes an int.
    let got = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) };
    Errno::result(got)
        .map(|_| flags)
        .map_err(|errno| errno as i32)
}

fn set_flags(file: &File, flags: u32) -> Result<(), i32> {
    // SAFETY: as above, it reads one.
    let set = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags) };
    Errno::result(set).map(drop).map_err(|errno| errno as i32)
}

/// Whether users may change flags of a file that has this owner and these marks (`vfs_fileattr_set` in the
/// kernel's fs/file_attr.c).
fn must_be_theirs(
    users: &Credentials,
    owner: u32,
    marks: u32,
    [flags, which]: [u32; 2],
) -> Result<(), i32> {
    let has = |power| users.capabilities.has(power);
    let is_changed = |&(flag, mark): &(u32, u32)| {
        which & flag != 0 && (flags & flag != 0) != (marks & mark != 0)
    };
    let is_theirs = owner == users.uid[3] || has(Power::Owner);
    let may_mark = has(Power::Immutable) || !MARKS.iter().any(is_changed);
    if which == 0 || is_theirs && may_mark {
        Ok(())
    } else {
        Err(libc::EPERM)
    }
}

/// Sets those flags of a file that `which` has, and tells which the host's file had: it has those that its
/// owner may set, the store the marks. `users` are the caller's where it is not to be trusted with them.
///
/// # Errors
/// As FS_IOC_SETFLAGS(2const).
pub fn set(
    zone: &Zone,
    caller: HostPid,
    fd: u64,
    [flags, which]: [u64; 2],
    users: Option<&Credentials>,
) -> Result<i64, i32> {
    let (flags, which) = (
        low_int(flags).cast_unsigned(),
        low_int(which).cast_unsigned(),
    );
    let file = match Target::find(zone, caller, fd) {
        Ok(Target::File(file)) => file,
        Ok(Target::Nameless(_) | Target::Other) => return Err(libc::ENOTTY),
        // What may not be changed, may be looked at, where the zone sees it.
        Err(libc::EROFS) if which == 0 && path_of(zone, caller, fd).is_ok() => {
            open_path(caller, low_int(fd))?
        }
        Err(errno) => return Err(errno),
    };
    let found = owners::found(zone, &file)?;
    if ![libc::S_IFREG, libc::S_IFDIR].contains(&(found.host.mode & libc::S_IFMT)) {
        return Err(libc::ENOTTY);
    }
    let old = zone.owners.marks(&zone.shared, found.id);
    if let Some(users) = users {
        must_be_theirs(users, found.owner.uid, old, [flags, which])?;
    }
    let opened = reopen(&file, libc::O_RDONLY | libc::O_NONBLOCK)?;
    let now = flags_of(&opened)?;
    let all_marks = MARKS[0].0 | MARKS[1].0;
    let wanted = (now & !which | flags & which) & !all_marks | now & all_marks;
    // Others do not go (as extents), whatever is said of them.
    let wanted = wanted | now & !OF_OWNER;
    if (wanted ^ now) & !OF_OWNER != 0 {
        return Err(libc::EOPNOTSUPP);
    }
    if which == 0 {
        return Ok(i64::from(now));
    }
    // Also where they are the same: the kernel notes the change in the ctime.
    set_flags(&opened, wanted)?;
    let marks = MARKS
        .iter()
        .fold(old, |marks, (flag, mark)| match which & flag {
            0 => marks,
            _ if flags & flag == 0 => marks & !mark,
            _ => marks | mark,
        });
    if marks != old {
        zone.owners
            .mark(&zone.shared, found.id, found.owner, marks)?;
    }
    Ok(i64::from(now))
}
