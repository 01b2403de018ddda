//! Whose a file is, by the ownership table or the host's ids.

use super::makers::settled_owner_of;
use super::{EMPTY_PATH, NOFOLLOW};
use crate::arch::syscall5;
use crate::monitor::{commons, tables};
use crate::path::Named;
use crate::thread::me;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use linux_raw_sys::general::*;
use picozone_personality::origins::Origin;
use picozone_personality::tables::{MODE, OWNERS_MAX, owner_slot};
use picozone_personality::written;

/// Owner, group, full mode and device as the zone sees them.
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) rdev: u64,
    /// `IMMUTABLE`, `APPEND_ONLY` and so on.
    pub(super) marks: u32,
    /// Where the table has it.
    pub(super) row: u32,
}

impl Owner {
    /// The mode of a file of this version.
    #[cold]
    #[inline(never)]
    pub(super) fn mode_at(&self, version: u64) -> u32 {
        written::mode(self.mode | self.marks, self.rdev, version) & MODE
    }
}

/// Owner and group of a file of the host that the ownership table does not have.
#[inline(never)]
pub(super) fn ids_to_zone(uid: u32, gid: u32) -> (u32, u32) {
    (tables().uids.to_zone(uid), tables().gids.to_zone(gid))
}

/// How the kernel is told of a file: by a descriptor, or by a directory and a vetted name in it.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) fd: u64,
    pub(super) name: u64,
    pub(super) flags: u64,
}

impl Place {
    pub(super) fn of_descriptor(fd: u64) -> Place {
        Place {
            fd,
            name: tables().empty.as_ptr() as u64,
            flags: EMPTY_PATH,
        }
    }

    pub(super) fn of(named: &Named) -> Place {
        Place {
            fd: named.fd(),
            name: named.name(),
            flags: NOFOLLOW,
        }
    }

    /// What is said of a file that is not found there any more.
    pub(super) fn not_found(self) -> Result<Option<Owner>, Replaced> {
        if self.flags == NOFOLLOW {
            Err(Replaced)
        } else {
            Ok(None)
        }
    }
}

/// Another file has the name by now, or may have: it is to be looked at once more, or asked by a descriptor.
/// Of a descriptor's file nothing but the last word is said.
pub(super) struct Replaced;

/// Rows of the table whose file is gone: its number was seen with another birth time, and no file is born
/// twice. They stand there until the number is somebody's again, who takes the row anew.
#[repr(C)]
pub struct Gone([AtomicU64; Gone::COUNT]);

impl Gone {
    const COUNT: usize = 32;

    fn place(&self, row: usize) -> Option<&AtomicU64> {
        self.0.get(row % Gone::COUNT)
    }

    /// What stands for a row as it was written last.
    fn word(row: usize, seq: u32) -> u64 {
        (row as u64) << 32 | u64::from(seq)
    }

    fn has(&self, row: usize, seq: u32) -> bool {
        self.place(row)
            .is_some_and(|word| word.load(Relaxed) == Gone::word(row, seq))
    }

    fn note(&self, row: usize, seq: u32) {
        if let Some(word) = self.place(row) {
            word.store(Gone::word(row, seq), Relaxed);
        }
    }
}

/// What the ownership table says about a file. The birth time tells an inode number used again.
#[inline]
pub(super) fn owner_of(place: Place, dev: u64, ino: u64) -> Result<Option<Owner>, Replaced> {
    // Before the table: see `Makers::are_there`.
    let is_last_word = !commons().makers.are_there();
    let known = if tables().may_have_owner(dev, ino) {
        known_owner_of(place, dev, ino)
    } else {
        Ok(None)
    };
    match known {
        Ok(None) if !is_last_word => settled_owner_of(place, dev, ino),
        known => known,
    }
}

#[inline(never)]
pub(super) fn known_owner_of(place: Place, dev: u64, ino: u64) -> Result<Option<Owner>, Replaced> {
    let mut at = owner_slot(dev, ino);
    for _ in 0..OWNERS_MAX {
        let Some(row) = tables().owners.get(at) else {
            break;
        };
        let seq = row.seq.load(Acquire);
        if seq == 0 {
            break;
        }
        if row.ino.load(Relaxed) == ino && row.dev.load(Relaxed) == dev {
            loop {
                let seq = row.seq.load(Acquire);
                let mode = row.mode.load(Relaxed);
                let owner = Owner {
                    uid: row.uid.load(Relaxed),
                    gid: row.gid.load(Relaxed),
                    mode: mode & MODE,
                    marks: mode & !MODE,
                    rdev: row.rdev.load(Relaxed),
                    row: at as u32,
                };
                let btime = row.btime.load(Relaxed);
                core::sync::atomic::fence(Acquire);
                if seq & 1 == 1 || row.seq.load(Relaxed) != seq {
                    core::hint::spin_loop();
                    continue;
                }
                let gone = &me().process().gone;
                if gone.has(at, seq) {
                    return Ok(None);
                }
                return match birth_time(place, ino) {
                    Some(born) if btime == born => Ok((owner.mode != 0).then_some(owner)),
                    Some(_) => {
                        gone.note(at, seq);
                        // The row's file may have had the name when that was looked at.
                        place.not_found()
                    }
                    None => place.not_found(),
                };
            }
        }
        at = (at + 1) & (OWNERS_MAX - 1);
    }
    Ok(None)
}

/// What a file of a copy-on-write layer was below, if it was something there.
#[cold]
#[inline(never)]
pub(super) fn origin_of(place: Place, dev: u64, ino: u64) -> Option<Origin> {
    tables()
        .origins
        .get(dev, ino, || birth_time(place, ino).unwrap_or(0))
}

/// The birth time of the file that a descriptor names.
pub fn birth_time_of(fd: u64, ino: u64) -> u64 {
    birth_time(Place::of_descriptor(fd), ino).unwrap_or(0)
}

/// The birth time of a file in nanoseconds; nothing if another one has its name now.
fn birth_time(place: Place, ino: u64) -> Option<u64> {
    let mut buffer = unsafe { core::mem::zeroed::<statx>() };
    let got = unsafe {
        syscall5(
            __NR_statx,
            place.fd,
            place.name,
            place.flags,
            u64::from(STATX_BTIME | STATX_INO),
            &raw mut buffer as u64,
        )
    };
    (got == 0 && buffer.stx_ino == ino).then(|| {
        (buffer.stx_btime.tv_sec as u64)
            .wrapping_mul(1_000_000_000)
            .wrapping_add(u64::from(buffer.stx_btime.tv_nsec))
    })
}
