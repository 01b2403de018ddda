//! Options of sockets that the zone's root has set beyond what the host gives: recorded, so that they are
//! told; for the kernel they are not there.

use picozone_personality::mailbox::{RECORDED_MAX, recorded};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

/// How many are recorded; with one more, all that were so far read as the kernel's.
const OPTIONS_MAX: usize = 4096;

/// Values by socket and option.
#[derive(Default)]
pub(super) struct Options(Mutex<HashMap<(u64, u64), Vec<u8>>>);

impl Options {
    /// See `Request::Recorded`; what is kept then.
    pub(super) fn serve(
        &self,
        socket: &OwnedFd,
        option: u64,
        operation: u64,
        value: &[u8],
    ) -> Result<Vec<u8>, i32> {
        let inode = nix::sys::stat::fstat(socket)
            .map_err(|_| libc::EBADF)?
            .st_ino;
        let key = (inode, option);
        let mut options = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match operation {
            recorded::TELL => {}
            recorded::KEEP if value.len() <= RECORDED_MAX => {
                if options.len() >= OPTIONS_MAX {
                    options.clear();
                }
                options.insert(key, value.to_vec());
            }
            recorded::FORGET => drop(options.remove(&key)),
            _ => return Err(libc::EINVAL),
        }
        Ok(options.get(&key).cloned().unwrap_or_default())
    }
}
