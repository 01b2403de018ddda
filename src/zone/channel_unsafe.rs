//! Ownership of descriptors that the kernel has just made for us.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Owns a descriptor that `recvmsg` or `accept` returned.
pub(super) fn own(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the kernel made this descriptor for the call whose result it is, and the caller
    // passes each result here once, so that nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
