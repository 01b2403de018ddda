//! Extended attributes.

use crate::monitor::commons;
use crate::{Errno, Result};
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;

/// The extended attributes: none yet, as on a file system without them.
pub fn xattr(nr: u32) -> Result<u64> {
    if let Some(counter) = commons().refused.get(nr as usize) {
        counter.fetch_add(1, Relaxed);
    }
    match nr {
        __NR_listxattr | __NR_llistxattr | __NR_flistxattr => Ok(0),
        _ => Err(Errno::EOPNOTSUPP),
    }
}
