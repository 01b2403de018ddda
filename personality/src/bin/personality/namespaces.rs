//! Name spaces: a zone has one of each kind, which are what the zone is.

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

/// unshare(2) of name spaces: EPERM, as to who lacks `CAP_SYS_ADMIN`. EINVAL for what is none.
pub fn unshare(flags: u64) -> Result<u64> {
    Err(if flags & !(SHARED | SPACES) == 0 {
        Errno::EPERM
    } else {
        Errno::EINVAL
    })
}
