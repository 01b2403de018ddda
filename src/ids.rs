//! Process and thread ids, by the side that they belong to.
//!
//! A number of the zone and a number of the host never share a type: there is deliberately no
//! conversion between the two here, since only the monitor's tables know one.

use std::fmt;

/// A process or thread id in a zone's own numbering (its init is 1).
///
/// A thread that leads its process has the process' id; any other has its host id plus
/// `picozone_personality::layout::THREAD_BIAS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZonePid(pub u32);

/// A process or thread id of the host's kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPid(pub u32);

impl fmt::Display for ZonePid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for HostPid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
