//! Waiting until an operation has been done.

use super::*;
use crate::arch::{self, RESTART};
use crate::dispatch::RESTART_ERRNO;
use crate::signal;
use picozone_personality::mailbox::WAIT;

const FUTEX_WAIT_BITSET: u64 = 9;

/// The time on `CLOCK_MONOTONIC` that lies a `struct timespec` from now.
pub(super) fn deadline(timeout: [i64; 2]) -> [i64; 2] {
    let mut now = [0i64; 2];
    unsafe { syscall2(__NR_clock_gettime, 1, now.as_mut_ptr() as u64) };
    let nanoseconds = now[1] + timeout[1];
    let seconds = now[0].saturating_add(timeout[0]);
    if nanoseconds < 1_000_000_000 {
        [seconds, nanoseconds]
    } else {
        [seconds.saturating_add(1), nanoseconds - 1_000_000_000]
    }
}

/// The result of an operation that was asked for, which may have to be waited for. EINTR; EAGAIN
/// at the deadline.
pub(super) fn finish(thread: &mut Thread, asked: u64, deadline: Option<[i64; 2]>) -> Result<u64> {
    if asked != WAIT {
        return Ok(asked);
    }
    let word = &raw mut thread.mailbox().wait;
    let until = deadline.as_ref().map_or(0, |at| at.as_ptr() as u64);
    let (mut errno, mut is_again) = (Errno::EINTR, false);
    while unsafe { word.read_volatile() } == 0 {
        // Not a private futex: another process wakes it.
        let args = [word as u64, FUTEX_WAIT_BITSET, 0, until];
        let [a, b, c, d] = args;
        let all = u64::from(u32::MAX);
        let mask = thread.mask() & !signal::HELD;
        let result = arch::wait(__NR_futex, [a, b, c, d, 0, all], mask);
        match checked(result) {
            Err(Errno::ETIMEDOUT) => {
                errno = Errno::EAGAIN;
                break;
            }
            Err(Errno::EINTR) => break,
            _ if result == RESTART => {
                // Without a signal it was a tracer: see ptrace/leave.rs.
                is_again = thread.pending.is_none();
                break;
            }
            _ => {}
        }
    }
    match thread.ask(Request::EndWait, &[u64::from(errno.raw())]) {
        Err(Errno::EINTR) if is_again => Err(RESTART_ERRNO),
        result => result,
    }
}
