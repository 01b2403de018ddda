//! landlock(7) for guests: the kernel's own, in what holds in a zone.
//!
//! A layer only takes rights away, and only from who puts it on and its children. What the monitor
//! serves (programs to be executed, `/proc`, `/dev`, addresses of sockets) it opens as itself, so
//! the rules do not reach there. Hence the version of Linux 6.2 is shown, which promises nothing on
//! ports, devices' commands and scopes.

use crate::arch::{syscall2, syscall3};
use crate::dispatch::checked;
use crate::file::{Power, has};
use crate::thread::Thread;
use crate::{Errno, Result, filters, memory};
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::{__NR_landlock_create_ruleset, __NR_landlock_restrict_self};
use picozone_personality::mailbox::IS_RESTRICTED;

/// The version that guests see.
const VERSION: u64 = 3;
/// The rights of that version: execute up to truncate.
const RIGHTS: u64 = 0x7fff;
/// `LANDLOCK_CREATE_RULESET_VERSION`.
const ASK_VERSION: u64 = 1;
const PAGE: u64 = 4096;

/// landlock_create_ruleset(2).
///
/// # Errors
/// EOPNOTSUPP to a client of a strict zone: its files are opened for it, where its rules would not reach.
pub fn create_ruleset(thread: &Thread, attr: u64, size: u64, flags: u64) -> Result<u64> {
    if thread.process().is_client {
        return Err(Errno::EOPNOTSUPP);
    }
    if flags as u32 != 0 {
        let answer = checked(unsafe { syscall3(__NR_landlock_create_ruleset, attr, size, flags) })?;
        return Ok(match flags {
            ASK_VERSION => answer.min(VERSION),
            _ => answer,
        });
    }
    if size < 8 {
        return Err(Errno::EINVAL);
    }
    if size > PAGE {
        return Err(Errno::E2BIG);
    }
    let rights = memory::read::<u64>(attr)?;
    // What a newer program has beyond what we know must be zero (copy_struct_from_user()).
    for at in 8..size {
        if memory::read::<u8>(attr.wrapping_add(at))? != 0 {
            return Err(Errno::E2BIG);
        }
    }
    if rights & !RIGHTS != 0 {
        return Err(Errno::EINVAL);
    }
    let own = &raw const rights as u64;
    checked(unsafe { syscall3(__NR_landlock_create_ruleset, own, 8, 0) })
}

/// landlock_restrict_self(2): as in the zone, where most do without `no_new_privs`.
#[inline(never)]
pub fn restrict_self(thread: &Thread, ruleset: u64, flags: u64) -> Result<u64> {
    if filters::no_new_privs(thread) == 0 && !has(thread, Power::Administer) {
        return Err(Errno::EPERM);
    }
    if flags as u32 != 0 {
        return Err(Errno::EINVAL);
    }
    let done = checked(unsafe { syscall2(__NR_landlock_restrict_self, ruleset, 0) })?;
    thread.process().kept.fetch_or(IS_RESTRICTED, Relaxed);
    Ok(done)
}
