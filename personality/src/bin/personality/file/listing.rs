//! Directory listings.

use crate::arch::{syscall1, syscall2, syscall3};
use crate::dispatch::checked;
use crate::memory::PathRoom;
use crate::monitor::tables;
use crate::thread::me;
use crate::{Result, memory, path};
use linux_raw_sys::general::*;

const DT_LNK: u8 = 10;

/// getdents64(2): placeholders are what they stand for.
pub fn getdents64(fd: u64, to: u64, size: u64) -> Result<u64> {
    let (got, is_served) = list(fd, to, size)?;
    if is_served && starts_afresh(to, got) && path::bring_up_to_date(me(), fd) {
        let start = checked(unsafe { syscall3(__NR_lseek, fd, 0, 0) });
        return start.and_then(|_| list(fd, to, size)).map(|(got, _)| got);
    }
    Ok(got)
}

/// Whether records begin with the directory itself, which is the first of all.
#[cold]
fn starts_afresh(to: u64, got: u64) -> bool {
    let mut at = 0;
    while at < got {
        let record = to + at;
        let word = |at| memory::read::<u32>(record + at);
        let (Ok(length), Ok(name)) = (word(16), word(19)) else {
            return false;
        };
        if name & 0xffff == u32::from(b'.') {
            return true;
        }
        at += u64::from(length & 0xffff).max(1);
    }
    false
}

/// The same, with whether these are entries of a directory of the monitor's.
fn list(fd: u64, to: u64, size: u64) -> Result<(u64, bool)> {
    const DT_SOCK: u8 = 12;
    let got = checked(unsafe { syscall3(__NR_getdents64, fd, to, size) })?;
    let mut device = None;
    let mut is_served = false;
    let mut listed = path::has_layers().then(|| path::Listed::new(fd));
    let mut at = 0;
    while at < got {
        let record = to + at;
        let length = u64::from(memory::read::<u32>(record + 16)? & 0xffff);
        let kind = memory::read::<u8>(record + 18)?;
        if kind == DT_SOCK
            && let Some(kind) = kind_of(fd, record + 19)
        {
            memory::write(record + 18, &kind)?;
        }
        if let Some(listed) = &mut listed {
            show(listed, record, kind)?;
        }
        if kind == DT_LNK {
            let ino = memory::read::<u64>(record)?;
            if let Some((shown, own_ino)) = placeholder(fd, ino, &mut device) {
                memory::write(record + 18, &shown)?;
                memory::write(record, &own_ino)?;
                is_served |= ino == own_ino;
            }
        }
        if length == 0 {
            break;
        }
        at += length;
    }
    if is_served {
        // The kernel has just written these bytes; a guest that takes them away meanwhile ends.
        let records = unsafe { core::slice::from_raw_parts_mut(to as *mut u8, got as usize) };
        picozone_personality::listing::sort(records);
    }
    Ok((got, is_served))
}

/// Shows an entry of a copy-on-write layer as what it stands for.
#[cold]
#[inline(never)]
fn show(listed: &mut path::Listed, record: u64, kind: u8) -> Result<()> {
    let (ino, name) = (memory::read::<u64>(record)?, record + 19);
    if kind == DT_LNK {
        if let Some((ino, kind)) = listed.stand_in(ino, name) {
            memory::write(record + 18, &kind)?;
            memory::write(record, &ino)?;
        }
    } else if let Some(ino) = listed.origin(ino, name) {
        memory::write(record, &ino)?;
    }
    Ok(())
}

/// getdents(2): the records of getdents64(2), which have the same lengths; the type of an entry stands
/// in the last byte, and the name begins where it stood.
pub fn getdents(fd: u64, to: u64, size: u64) -> Result<u64> {
    const NAME: usize = 18;
    /// A record with the longest name.
    const RECORD_MAX: usize = 280;
    let got = getdents64(fd, to, size)?;
    let mut at = 0;
    while at < got {
        let record = to + at;
        let length = memory::read::<u32>(record + 16)? as usize & 0xffff;
        let mut bytes = [0u8; RECORD_MAX];
        // What the kernel has just written holds a header and a name, unless the guest changed it.
        let Some(used) = bytes.get_mut(..length).filter(|used| used.len() > NAME + 1) else {
            break;
        };
        memory::read_bytes(record, used)?;
        used[NAME..].rotate_left(1);
        memory::write_bytes(record, used)?;
        at += length as u64;
    }
    Ok(got)
}

/// The type of a device, whose place a socket keeps.
#[cold]
fn kind_of(directory: u64, name: u64) -> Option<u8> {
    let mut room = PathRoom::new();
    let name = room.read(name).ok()?;
    let flags = path::PATH_FLAGS | u64::from(O_NOFOLLOW);
    let fd = path::open_anywhere(me(), directory, name, flags, 0, &mut None).ok()?;
    let st = super::stat_of(fd);
    unsafe { syscall1(__NR_close, fd) };
    Some((st.ok()?.st_mode >> 12) as u8)
}

/// How a listing shows a link that is a placeholder: type and inode. `device` remembers the
/// directory's.
fn placeholder(fd: u64, ino: u64, device: &mut Option<u64>) -> Option<(u8, u64)> {
    const DT_DIR: u8 = 4;
    const DT_REG: u8 = 8;
    let mounts = path::mount_rows().iter();
    let mount = mounts
        .filter(|row| row.placeholder_ino == ino && ino != 0)
        .map(|row| {
            let kind = if row.is_file == 0 { DT_DIR } else { DT_REG };
            // An entry without a number is none.
            let number = match row.root_ino {
                0 => u64::from(row.order),
                number => number,
            };
            (row.placeholder_dev, (kind, number))
        });
    let kinds = tables().placeholders.iter();
    let kind = kinds
        .filter(|held| held.ino == ino && ino != 0)
        .map(|held| (held.dev, (held.shown as u8, ino)));
    mount.chain(kind).find_map(|(dev, shown)| {
        let here = *device.get_or_insert_with(|| {
            let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
            unsafe { syscall2(__NR_fstat, fd, &raw mut st as u64) };
            st.st_dev
        });
        (here == dev).then_some(shown)
    })
}
