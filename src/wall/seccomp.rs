//! The seccomp filter: its layout, and its installation with a listener.

use crate::config::Trap;
use nix::errno::Errno;
use picozone_personality::layout::{
    FD_BASE, FD_COUNT, FD_PARENTS, FD_PERSONALITY, FD_TABLES, JUDGE_END, NR_DOORBELL,
    PERSONALITY_BASE, PERSONALITY_SIZE, TABLES_BASE,
};
use picozone_personality::messages::{Approved, COUNT};
use picozone_personality::names::{NAMES_MAX, Names, Slot};
use picozone_personality::tables::{HOWS_MAX, How, SourceAddress, TABLES_SIZE, Tables};
use picozone_syscalls::filter::{FilterLayout, Insn, OURS, TRACE, TRAP, program};
use std::mem::{offset_of, size_of};
use std::os::fd::{FromRawFd, OwnedFd};

/// Where the filter finds what it compares with.
#[must_use]
pub fn layout(trap: Trap) -> FilterLayout {
    let at = |offset: usize| TABLES_BASE + offset as u64;
    let hows = at(offset_of!(Tables, hows));
    let names = at(offset_of!(Tables, names) + offset_of!(Names, slots));
    let sources = at(offset_of!(Tables, sources));
    let messages = at(offset_of!(Tables, messages));
    FilterLayout {
        personality: PERSONALITY_BASE..PERSONALITY_BASE + PERSONALITY_SIZE,
        judge: JUDGE_END,
        hows: hows..hows + (HOWS_MAX * size_of::<How>()) as u64,
        empty: at(offset_of!(Tables, empty)),
        sources: sources..sources + (8 * size_of::<SourceAddress>()) as u64,
        messages: messages..messages + (COUNT * size_of::<Approved>()) as u64,
        tables: TABLES_BASE..TABLES_BASE + TABLES_SIZE,
        names: names..names + (NAMES_MAX * size_of::<Slot>()) as u64,
        fd_base: FD_BASE,
        fd_count: FD_COUNT,
        fd_personality: FD_PERSONALITY,
        fd_tables: FD_TABLES,
        fd_parents: FD_PARENTS,
        doorbell: NR_DOORBELL,
        trap: match trap {
            Trap::Signal => TRAP | OURS,
            Trap::Ptrace => TRACE,
        },
    }
}

/// Puts the filter on the calling thread; the descriptor is the listener.
///
/// # Errors
/// The kernel's own: EINVAL (kernel too old), EBUSY (a listener exists), EACCES (no `no_new_privs`).
pub fn install(trap: Trap) -> Result<OwnedFd, Errno> {
    let filter: Vec<Insn> = program(&layout(trap));
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| Errno::E2BIG)?,
        filter: filter.as_ptr().cast_mut().cast(),
    };
    const NEW_LISTENER: libc::c_ulong = 1 << 3;
    const WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;
    // SAFETY: `program` points at `filter`, which outlives the call; `Insn` is laid out as
    // `struct sock_filter`.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            NEW_LISTENER | WAIT_KILLABLE_RECV,
            &raw const program,
        )
    };
    let fd = Errno::result(fd)?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
