//! Syscall user dispatch (prctl(2), `PR_SET_SYSCALL_USER_DISPATCH`): a program has its own calls sent to its
//! handler of SIGSYS, while a byte of its memory says so.
//!
//! The kernel does it, before any filter looks at a call. It lets one range of instructions pass, which is the
//! personality's here; calls from the guest's own range come as SIGSYS too and are served as if a filter had
//! trapped them. Such a thread makes no calls by jumps, which the kernel does not see. Neither children nor
//! programs inherit it.

use crate::arch::{self, Context, Info, Place, syscall5};
use crate::dispatch::checked;
use crate::thread::Thread;
use crate::{Errno, Result};
use linux_raw_sys::general::__NR_prctl;
use linux_raw_sys::prctl::PR_SET_SYSCALL_USER_DISPATCH;
use picozone_personality::layout::{PERSONALITY_BASE, PERSONALITY_SIZE};

/// `SYS_USER_DISPATCH`: `si_code` of such a SIGSYS.
const CODE: i32 = 2;
const OFF: u64 = 0;
/// All but the range is dispatched.
const EXCLUSIVE: u64 = 1;
/// The range is dispatched, since Linux 6.17.
const INCLUSIVE: u64 = 2;
/// [`Thread::jumps`] of a thread that makes none, whoever traces it.
const NEVER: i64 = 1;

/// `PR_SET_SYSCALL_USER_DISPATCH`: mode, start and length of the range, address of the byte.
#[cold]
#[inline(never)]
pub fn set(thread: &mut Thread, [mode, start, length, selector]: [u64; 4]) -> Result<u64> {
    let option = u64::from(PR_SET_SYSCALL_USER_DISPATCH);
    let native = |mode, start, length| unsafe {
        checked(syscall5(__NR_prctl, option, mode, start, length, selector))
    };
    let wraps = start.wrapping_add(length) <= start;
    let but = match mode {
        OFF if [start, length, selector] == [0; 3] => {
            native(OFF, 0, 0)?;
            thread.dispatched_but = None;
            return Ok(0);
        }
        EXCLUSIVE if start == 0 || !wraps => [start, length],
        INCLUSIVE if length != 0 && !wraps && is_inclusive_known() => {
            [start.wrapping_add(length), length.wrapping_neg()]
        }
        _ => return Err(Errno::EINVAL),
    };
    native(EXCLUSIVE, PERSONALITY_BASE, PERSONALITY_SIZE)?;
    thread.dispatched_but = Some(but);
    thread.jumps = NEVER;
    Ok(0)
}

/// Whether the kernel dispatches ranges: it says that there is none at this address where it does.
fn is_inclusive_known() -> bool {
    const NOWHERE: u64 = u64::MAX;
    let option = u64::from(PR_SET_SYSCALL_USER_DISPATCH);
    let result = unsafe { syscall5(__NR_prctl, option, INCLUSIVE, PERSONALITY_BASE, 1, NOWHERE) };
    result == Errno::EFAULT.to_ret()
}

/// Whether a SIGSYS is only for us: of a call that the guest wants to be made as ever.
#[cold]
#[inline(never)]
pub fn is_exempt(thread: &Thread, info: &Info, context: &Context) -> bool {
    info.code() == CODE
        && matches!(arch::place(&context.regs), Place::Guest)
        && thread
            .dispatched_but
            .is_some_and(|[start, length]| context.regs.rip.wrapping_sub(start) < length)
}
