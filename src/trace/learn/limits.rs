//! How much of what is limited programs were seen to need: descriptors, file sizes and memory.
//!
//! Sizes and memory are known only of programs whose native calls are recorded.

use crate::config::{Limits, Size};
use crate::ids::ZonePid;
use crate::trace::entry::Call;
use picozone_syscalls::{Outcome, nr, row};
use std::collections::{BTreeMap, HashMap};

/// Most mappings and open files that are known of all processes together.
const KNOWN_MAX: usize = 1 << 20;
/// The least that is proposed of descriptors, and of bytes of a file and of memory.
const LEAST: [u64; 3] = [1024, 1 << 20, 16 << 20];

/// The least that is proposed of processes.
const FEWEST: u32 = 64;

/// What was seen.
#[derive(Default)]
pub(super) struct Needed {
    /// One more than the highest descriptor.
    pub(super) descriptors: u64,
    file_size: u64,
    memory: u64,
    /// Where each process is in a file that it writes.
    positions: HashMap<(ZonePid, u64), u64>,
    spaces: HashMap<ZonePid, Space>,
    known: usize,
}

/// What a process has of memory that is its own.
#[derive(Default, Clone)]
struct Space {
    mappings: BTreeMap<u64, u64>,
    heap: Option<(u64, u64)>,
}

impl Space {
    fn size(&self) -> u64 {
        let heap = self
            .heap
            .map_or(0, |(start, end)| end.saturating_sub(start));
        self.mappings
            .values()
            .fold(heap, |all, size| all.saturating_add(*size))
    }
}

impl Needed {
    /// Learns of a call that has succeeded.
    pub(super) fn take(&mut self, call: &Call) {
        let [first, second, third, fourth, ..] = call.args;
        let result = call.result.unsigned_abs();
        let file = (call.pid, first & 0xffff_ffff);
        if row(call.nr).is_some_and(|row| row.result == Outcome::Fd) {
            self.descriptors = self.descriptors.max(result.saturating_add(1));
            self.positions.remove(&(call.pid, result));
        }
        match call.nr {
            nr::write | nr::writev | nr::sendfile => {
                if self.positions.len() < KNOWN_MAX {
                    let end = self.positions.entry(file).or_default();
                    *end = end.saturating_add(result);
                    self.file_size = self.file_size.max(*end);
                }
            }
            nr::lseek if self.positions.len() < KNOWN_MAX => {
                self.positions.insert(file, result);
            }
            nr::pwrite64 => self.file_size = self.file_size.max(fourth.saturating_add(result)),
            nr::truncate | nr::ftruncate => self.file_size = self.file_size.max(second),
            nr::fallocate => self.file_size = self.file_size.max(third.saturating_add(fourth)),
            nr::brk | nr::mmap | nr::munmap | nr::fork | nr::vfork | nr::clone | nr::execve => {
                self.memory_of(call);
            }
            _ => {}
        }
    }

    fn memory_of(&mut self, call: &Call) {
        const PROT_WRITE: u64 = 2;
        const MAP_PRIVATE: u64 = 2;
        let [first, second, third, fourth, ..] = call.args;
        let result = call.result.unsigned_abs();
        if self.known > KNOWN_MAX {
            return;
        }
        let space = self.spaces.entry(call.pid).or_default();
        match call.nr {
            nr::brk => {
                let (start, _) = space.heap.unwrap_or((result, result));
                space.heap = Some((start, result));
            }
            nr::mmap if third & PROT_WRITE != 0 && fourth & MAP_PRIVATE != 0 => {
                self.known += 1;
                space.mappings.insert(result, second);
            }
            nr::munmap => {
                let end = first.saturating_add(second);
                space
                    .mappings
                    .retain(|start, size| *start < first || start.saturating_add(*size) > end);
            }
            nr::execve => *space = Space::default(),
            nr::fork | nr::clone => {
                let copy = space.clone();
                let child = u32::try_from(result).ok().map(ZonePid);
                self.known += copy.mappings.len();
                if let Some(child) = child.filter(|child| *child != call.pid) {
                    self.spaces.entry(child).or_insert(copy);
                }
                return;
            }
            _ => {}
        }
        self.memory = self.memory.max(space.size());
    }

    /// Limits that have room for what was seen, and as much again; of what nothing was seen, none. So many
    /// processes were there at a time.
    pub(super) fn limits(&self, processes: usize) -> Limits {
        let [descriptors, file_size, memory] = LEAST;
        let processes = u32::try_from(processes).ok().filter(|seen| *seen != 0);
        let room = |seen: u64, least: u64| {
            let doubled = seen.saturating_mul(2).min(1 << 62).next_power_of_two();
            (seen != 0).then_some(doubled.max(least))
        };
        Limits {
            descriptors: room(self.descriptors, descriptors),
            file_size: room(self.file_size, file_size).map(Size),
            memory: room(self.memory, memory).map(Size),
            processes: processes.map(|seen| seen.saturating_mul(2).max(FEWEST)),
            ..Limits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::entry::tests::sample;

    #[test]
    fn what_was_seen_fits_twice() {
        let mut needed = Needed::default();
        let mut tell = |nr: u32, args: [u64; 6], result: i64| {
            needed.take(&Call {
                nr,
                args,
                result,
                ..sample()
            });
        };
        tell(nr::openat, [0; 6], 40);
        tell(nr::write, [40, 0, 3 << 20, 0, 0, 0], 3 << 20);
        tell(nr::write, [40, 0, 1 << 20, 0, 0, 0], 1 << 20);
        tell(nr::brk, [0; 6], 0x1000);
        tell(nr::brk, [0; 6], 0x1000 + (10 << 20));
        tell(nr::mmap, [0, 30 << 20, 3, 0x22, 0, 0], 0x10_0000_0000);
        tell(nr::munmap, [0x10_0000_0000, 30 << 20, 0, 0, 0, 0], 0);
        tell(nr::mmap, [0, 20 << 20, 3, 0x22, 0, 0], 0x10_0000_0000);
        tell(nr::mmap, [0, 1 << 40, 1, 0x22, 0, 0], 0x20_0000_0000);
        let limits = needed.limits(40);
        assert_eq!(limits.processes, Some(80));
        assert_eq!(needed.limits(2).processes, Some(FEWEST));
        assert_eq!(limits.descriptors, Some(1024));
        assert_eq!(limits.file_size, Some(Size(8 << 20)));
        assert_eq!(limits.memory, Some(Size(128 << 20)));
        assert_eq!(Needed::default().limits(0), Limits::default());
    }
}
