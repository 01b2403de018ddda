//! Calls that zones do not offer are told to the monitor, which keeps the report of `zone doctor`.

use crate::thread::{Thread, me};
use crate::{Errno, Result};
use picozone_personality::mailbox::Request;

/// The call being served is one of them, if it fails.
pub fn mark() {
    me().is_refused.set(true);
}

/// Fails with an errno, as a call of those.
pub fn unsupported<T>(errno: Errno) -> Result<T> {
    mark();
    Err(errno)
}

/// Tells the monitor.
#[inline(never)]
pub fn report(thread: &Thread, nr: u32, a: [u64; 6]) {
    let [first, second, third, fourth, fifth, sixth] = a;
    let nr = u64::from(nr);
    // A report is nothing that a call may fail for.
    let _ = thread.ask(
        Request::Refused,
        &[nr, first, second, third, fourth, fifth, sixth],
    );
}
