//! Name spaces: a zone has one of each kind, which are what the zone is.

use crate::arch::syscall1;
use crate::dispatch::checked;
use crate::thread::Thread;
use crate::{Errno, Result};
use linux_raw_sys::general::*;

/// What the filter lets through: parts of the caller that it shares with other threads.
const SHARED: u64 =
    (CLONE_FILES | CLONE_FS | CLONE_SYSVSEM | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM) as u64;
const SPACES: u64 = (CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET
    | CLONE_NEWTIME) as u64;

/// unshare(2) of name spaces: EPERM, as to who lacks `CAP_SYS_ADMIN`. EINVAL for what is none. What
/// is the thread's own from now on, other threads' directories at hand are not.
pub fn unshare(thread: &Thread, flags: u64) -> Result<u64> {
    if flags & !SHARED == 0 {
        thread.process().parents.turn_off();
        return checked(unsafe { syscall1(__NR_unshare, flags) });
    }
    Err(if flags & !(SHARED | SPACES) == 0 {
        Errno::EPERM
    } else {
        Errno::EINVAL
    })
}
