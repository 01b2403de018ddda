//! Calls that belong to the host's administrator, and that no zone has. What is wrong with the arguments
//! is told as the kernel tells its root, and what there is nothing of in a zone (quotas, swap) is so
//! without a refusal; only what is right and would change the host is refused.

use crate::arch::{syscall1, syscall2, syscall4};
use crate::dispatch::{checked, refuse};
use crate::file::{Power, has, is_reserved, stat_of};
use crate::thread::Thread;
use crate::{Errno, Result, memory, path};
use linux_raw_sys::general::*;

const AT_CWD: u64 = AT_FDCWD as u64;
const PAGE: u64 = 4096;

fn must_have(thread: &Thread, power: Power) -> Result<()> {
    if has(thread, power) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// Opens a path of the guest, and runs `f` on the descriptor.
fn with_open<T>(
    thread: &mut Thread,
    pathname: u64,
    flags: u32,
    f: impl FnOnce(u64) -> Result<T>,
) -> Result<T> {
    let fd = path::open(thread, AT_CWD, pathname, u64::from(flags | O_CLOEXEC), 0)?;
    let result = f(fd);
    unsafe { syscall1(__NR_close, fd) };
    result
}

fn kind_of(fd: u64) -> Result<u32> {
    Ok(stat_of(fd)?.st_mode & S_IFMT)
}

/// acct(2).
#[inline(never)]
pub fn account(thread: &mut Thread, nr: u32, pathname: u64) -> Result<u64> {
    must_have(thread, Power::Account)?;
    if pathname == 0 {
        return Ok(0);
    }
    let flags = O_WRONLY | O_APPEND | O_NONBLOCK;
    match with_open(thread, pathname, flags, kind_of)? {
        S_IFREG => refuse(nr),
        _ => Err(Errno::EACCES),
    }
}

/// swapon(2), swapoff(2): nothing of the zone's is swapped to.
#[inline(never)]
pub fn swap(thread: &mut Thread, nr: u32, pathname: u64, flags: u64) -> Result<u64> {
    const FLAGS: u32 = 0x7_ffff;
    const MAGIC_AT: u64 = PAGE - 10;
    let turns_on = nr == __NR_swapon;
    if turns_on && flags as u32 & !FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    must_have(thread, Power::Administer)?;
    let mut magic = [0u8; 10];
    with_open(thread, pathname, O_RDWR | O_NONBLOCK, |fd| {
        let (to, size) = (magic.as_mut_ptr() as u64, magic.len() as u64);
        if turns_on && kind_of(fd)? == S_IFREG {
            unsafe { syscall4(__NR_pread64, fd, to, size, MAGIC_AT) };
        }
        Ok(())
    })?;
    match &magic {
        b"SWAPSPACE2" | b"SWAP-SPACE" => refuse(nr),
        _ => Err(Errno::EINVAL),
    }
}

/// reboot(2). What the keys Ctrl, Alt and Delete do may be said: a zone has no keyboard.
#[inline(never)]
pub fn reboot(thread: &Thread, nr: u32, [magic, magic2, command, text]: [u64; 4]) -> Result<u64> {
    const MAGIC: u32 = 0xfee1_dead;
    const MAGICS2: [u32; 4] = [672_274_793, 85_072_278, 369_367_448, 537_993_216];
    const KEYS_ON: u32 = 0x89ab_cdef;
    const KEYS_OFF: u32 = 0;
    const RESTART2: u32 = 0xa1b2_c3d4;
    /// Restart, halt, power off, start another kernel, sleep.
    const OTHERS: [u32; 5] = [
        0x0123_4567,
        0xcdef_0123,
        0x4321_fedc,
        0x4558_4543,
        0xd000_fce2,
    ];
    must_have(thread, Power::Boot)?;
    if magic as u32 != MAGIC || !MAGICS2.contains(&(magic2 as u32)) {
        return Err(Errno::EINVAL);
    }
    match command as u32 {
        KEYS_ON | KEYS_OFF => Ok(0),
        RESTART2 => memory::read::<u8>(text).and_then(|_| refuse(nr)),
        other if OTHERS.contains(&other) => refuse(nr),
        _ => Err(Errno::EINVAL),
    }
}

/// pivot_root(2).
#[inline(never)]
pub fn pivot_root(thread: &mut Thread, nr: u32, new: u64, old: u64) -> Result<u64> {
    must_have(thread, Power::Administer)?;
    let root = path::row_at(b"/").map(core::ptr::from_ref);
    let mut is_on_root = false;
    for pathname in [new, old] {
        with_open(thread, pathname, O_PATH | O_DIRECTORY, |_| Ok(()))?;
        let row = path::mount_of(thread, AT_CWD, pathname, false)?;
        is_on_root |= row.map(core::ptr::from_ref) == root;
    }
    if is_on_root {
        return Err(Errno::EBUSY);
    }
    refuse(nr)
}

/// Kinds of quotas (`MAXQUOTAS`).
const QUOTA_KINDS: u32 = 3;
const Q_SYNC: u32 = 0x80_0001;

/// quotactl(2): no block device of a zone has a file system, and no file system quotas.
#[inline(never)]
pub fn quota(thread: &mut Thread, command: u64, special: u64) -> Result<u64> {
    let (command, kind) = (command as u32 >> 8, command as u32 & 0xff);
    if kind >= QUOTA_KINDS {
        return Err(Errno::EINVAL);
    }
    if special == 0 {
        return if command == Q_SYNC {
            Ok(0)
        } else {
            Err(Errno::ENODEV)
        };
    }
    match with_open(thread, special, O_PATH, kind_of)? {
        S_IFBLK => Err(Errno::ENODEV),
        _ => Err(Errno::ENOTBLK),
    }
}

/// quotactl_fd(2).
#[inline(never)]
pub fn quota_of(thread: &Thread, fd: u64, command: u64) -> Result<u64> {
    const Q_QUOTAOFF: u32 = 0x80_0003;
    const Q_SETINFO: u32 = 0x80_0006;
    const Q_SETQUOTA: u32 = 0x80_0008;
    const Q_GETNEXTQUOTA: u32 = 0x80_0009;
    const EXT4: u64 = 0xef53;
    const XFS: u64 = 0x5846_5342;
    if is_reserved(fd) {
        return Err(Errno::EBADF);
    }
    // struct statfs begins with the kind of file system.
    let mut system = [0u64; 15];
    checked(unsafe { syscall2(__NR_fstatfs, fd, system.as_mut_ptr() as u64) })?;
    let (command, kind) = (command as u32 >> 8, command as u32 & 0xff);
    if kind >= QUOTA_KINDS {
        return Err(Errno::EINVAL);
    }
    if !matches!(system[0], EXT4 | XFS) {
        return Err(Errno::ENOSYS);
    }
    match command {
        Q_SYNC => Ok(0),
        Q_QUOTAOFF | Q_SETINFO | Q_SETQUOTA if !has(thread, Power::Administer) => Err(Errno::EPERM),
        Q_QUOTAOFF..=Q_GETNEXTQUOTA => Err(Errno::ESRCH),
        _ => Err(Errno::EINVAL),
    }
}

/// EFAULT if any byte of the guest's cannot be read.
fn must_be_readable(from: u64, size: u64) -> Result<()> {
    for at in (0..size).step_by(8) {
        memory::read::<u8>(from + at)?;
    }
    if size != 0 {
        memory::read::<u8>(from + size - 1)?;
    }
    Ok(())
}

/// bpf(2).
#[inline(never)]
pub fn bpf(nr: u32, command: u64, attributes: u64, size: u64) -> Result<u64> {
    /// Commands that Linux 6.18 knows.
    const COMMANDS: u32 = 38;
    let size = u64::from(size as u32);
    if size > PAGE {
        return Err(Errno::E2BIG);
    }
    must_be_readable(attributes, size)?;
    if command as u32 >= COMMANDS {
        return Err(Errno::EINVAL);
    }
    refuse(nr)
}

/// perf_event_open(2).
#[inline(never)]
pub fn perf_event(nr: u32, attributes: u64, flags: u64) -> Result<u64> {
    const FLAGS: u64 = 0xf;
    /// `PERF_ATTR_SIZE_VER0`, which no size stands for too.
    const FIRST: u32 = 64;
    if flags & !FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    let size = match memory::read::<[u32; 2]>(attributes)? {
        [_, 0] => FIRST,
        [_, size] => size,
    };
    if !(FIRST..=PAGE as u32).contains(&size) {
        return Err(Errno::E2BIG);
    }
    must_be_readable(attributes, u64::from(size))?;
    refuse(nr)
}

/// lsm_set_self_attr(2): no security module of a zone has attributes.
#[inline(never)]
pub fn set_self_attribute(from: u64, size: u64, flags: u64) -> Result<u64> {
    /// `struct lsm_ctx`: id, flags, length of all, length of what is behind it.
    const HEAD: u64 = 32;
    let size = u64::from(size as u32);
    if flags as u32 != 0 || size < HEAD {
        return Err(Errno::EINVAL);
    }
    if size > PAGE {
        return Err(Errno::E2BIG);
    }
    must_be_readable(from, size)?;
    let [_, _, length, context] = memory::read::<[u64; 4]>(from)?;
    if size < length || context.checked_add(HEAD).is_none_or(|all| length < all) {
        return Err(Errno::EINVAL);
    }
    Err(Errno::EOPNOTSUPP)
}
