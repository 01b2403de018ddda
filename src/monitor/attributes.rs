//! Attributes as the bytes of a `struct statx`, and the one number that an ioctl tells of a terminal.

use super::owners::{identify, version_of};
use super::procfs::Attr;
use super::zone::Zone;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

/// Attributes of a node of `/proc` or `/dev`: all its times are when the zone booted.
#[must_use]
pub fn of_node(attr: &Attr, dev: u64, is_top: bool, booted: SystemTime) -> Vec<u8> {
    let mut x = empty();
    if is_top {
        x.stx_attributes = libc::STATX_ATTR_MOUNT_ROOT.cast_unsigned().into();
    }
    x.stx_mask = libc::STATX_BASIC_STATS;
    // As of every file that is silent about them.
    x.stx_attributes_mask = (libc::STATX_ATTR_AUTOMOUNT | libc::STATX_ATTR_DAX)
        .cast_unsigned()
        .into();
    x.stx_blksize = 1024;
    x.stx_mode = u16::try_from(attr.mode).unwrap_or(0);
    (x.stx_uid, x.stx_gid) = (attr.uid, attr.gid);
    x.stx_nlink = u32::try_from(attr.nlink).unwrap_or(u32::MAX);
    x.stx_size = attr.size;
    x.stx_ino = attr.ino;
    (x.stx_dev_major, x.stx_dev_minor) = (libc::major(dev), libc::minor(dev));
    (x.stx_rdev_major, x.stx_rdev_minor) = (libc::major(attr.rdev), libc::minor(attr.rdev));
    let since = booted.duration_since(UNIX_EPOCH).unwrap_or_default();
    x.stx_mtime.tv_sec = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    x.stx_mtime.tv_nsec = since.subsec_nanos();
    (x.stx_atime, x.stx_ctime) = (x.stx_mtime, x.stx_mtime);
    bytes(&x)
}

/// Attributes of an own descriptor's file, users in the zone's terms.
///
/// # Errors
/// What the kernel says.
pub fn of_file(zone: &Zone, fd: &OwnedFd) -> Result<Vec<u8>, i32> {
    let mut x = statx(fd)?;
    let (id, _) = identify(fd)?;
    let tables = zone.shared.tables();
    if let Some(owner) = zone.owners.get(&zone.shared, id, || version_of(fd)) {
        (x.stx_uid, x.stx_gid) = (owner.uid, owner.gid);
        x.stx_mode = u16::try_from(owner.mode).unwrap_or(0);
        (x.stx_rdev_major, x.stx_rdev_minor) = (libc::major(owner.rdev), libc::minor(owner.rdev));
    } else {
        x.stx_uid = tables.uids.to_zone(x.stx_uid);
        x.stx_gid = tables.gids.to_zone(x.stx_gid);
    }
    Ok(bytes(&x))
}

/// Attributes of a device of the host, with owner and mode as the zone has them.
///
/// # Errors
/// What the kernel says.
pub fn of_device(fd: &OwnedFd, attr: &Attr, is_top: bool) -> Result<Vec<u8>, i32> {
    let mut x = statx(fd)?;
    if is_top {
        x.stx_attributes |= u64::from(libc::STATX_ATTR_MOUNT_ROOT.cast_unsigned());
    }
    x.stx_mode = u16::try_from(attr.mode).unwrap_or(0);
    (x.stx_uid, x.stx_gid) = (attr.uid, attr.gid);
    (x.stx_rdev_major, x.stx_rdev_minor) = (libc::major(attr.rdev), libc::minor(attr.rdev));
    Ok(bytes(&x))
}

fn statx(fd: &OwnedFd) -> Result<libc::statx, i32> {
    let mut x = empty();
    let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    // SAFETY: the buffer is ours, the path is an empty constant.
    let result = unsafe {
        libc::statx(
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            mask,
            &raw mut x,
        )
    };
    Errno::result(result)
        .map(|_| x)
        .map_err(|errno| errno as i32)
}

/// Number of the terminal whose master this is (`TIOCGPTN`, ioctl_tty(2)).
///
/// # Errors
/// ENOTTY if it is none.
pub fn terminal_of(master: &OwnedFd) -> Result<u32, i32> {
    let mut number = 0u32;
    // SAFETY: TIOCGPTN writes one int.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number) };
    Errno::result(result).map_err(|errno| errno as i32)?;
    Ok(number)
}

fn empty() -> libc::statx {
    // SAFETY: all zero is a valid `struct statx`.
    unsafe { std::mem::zeroed() }
}

fn bytes(x: &libc::statx) -> Vec<u8> {
    let length = size_of::<libc::statx>();
    // SAFETY: plain data of the kernel without padding, all of it initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(x).cast::<u8>(), length) }.to_vec()
}
