//! Handles of files (name_to_handle_at(2)), and where their files were found.
//!
//! The kernel opens files by handle for the host's root only. So a guest that opens one is told the
//! path, which it goes by its own rights.

use super::files;
use super::zone::Zone;
use crate::ids::HostPid;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// How many handles are remembered; older ones are stale.
const HANDLES_MAX: usize = 4096;

#[derive(Default)]
struct Known {
    paths: HashMap<Vec<u8>, Vec<u8>>,
    /// The oldest first.
    order: VecDeque<Vec<u8>>,
}

/// The handles that guests were told.
#[derive(Default)]
pub struct Handles(Mutex<Known>);

impl Handles {
    /// Remembers a handle of what a guest's descriptor names.
    ///
    /// # Errors
    /// EOPNOTSUPP for what has no path in the zone.
    pub fn remember(
        &self,
        zone: &Zone,
        caller: HostPid,
        fd: u64,
        handle: Vec<u8>,
    ) -> Result<i64, i32> {
        let path = files::path_of(zone, caller, fd).map_err(|_| libc::EOPNOTSUPP)?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.paths.insert(handle.clone(), path).is_none() {
            known.order.push_back(handle);
        }
        if known.order.len() > HANDLES_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.paths.remove(&oldest);
        }
        Ok(0)
    }

    /// The zone path of a handle's file when it was last told.
    ///
    /// # Errors
    /// ESTALE.
    pub fn find(&self, handle: &[u8]) -> Result<Vec<u8>, i32> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.paths.get(handle).cloned().ok_or(libc::ESTALE)
    }
}
