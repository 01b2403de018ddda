//! What a trace holds, and how that is laid out in bytes.
//!
//! Numbers are little-endian, of the width of their type; bytes and texts follow their length in 32
//! bits, lists their count; an entry begins with one byte that says which it is. Whatever the bytes
//! are, taking them apart ends and allocates no more than they are long.

use super::stack::Stack;
use crate::ids::{HostPid, ZonePid};

/// What the trace is of; the first block's content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Start {
    /// Name of the zone; empty: of programs that are in none, whose own terms are the host's.
    pub zone: String,
    /// When it began, in nanoseconds since 1970.
    pub time: u64,
}

/// One thing that a trace tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A call, or one of the two pieces that it was recorded in.
    Call(Call),
    /// Calls that were made and not recorded: the thread's ring was full.
    Dropped {
        /// The thread; 0: threads that had no ring.
        host_tid: HostPid,
        /// How many.
        count: u64,
    },
    /// A thread has written what is no record: what it has told since the last one is lost.
    Garbled {
        /// The thread, as its ring says.
        host_tid: HostPid,
    },
    /// The trace ended in good order. Calls that were recorded and could not be written in time,
    /// since whoever read was too slow.
    End {
        /// How many.
        skipped: u64,
    },
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its number.
    pub nr: u32,
    /// [`picozone_personality::trace::flags`].
    pub flags: u32,
    /// The process, in the zone.
    pub pid: ZonePid,
    /// The thread, in the zone.
    pub tid: ZonePid,
    /// The thread, on the host.
    pub host_tid: HostPid,
    /// The thread's name.
    pub comm: String,
    /// When it began, in nanoseconds since 1970.
    pub time: u64,
    /// How long it took, in nanoseconds.
    pub duration: u64,
    /// The arguments, in the zone's terms.
    pub args: [u64; 6],
    /// The result word.
    pub result: i64,
    /// What arguments point at, and how the host has them.
    pub parts: Vec<Part>,
}

/// Something about a call's arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// What lay in the guest's memory.
    Memory {
        /// Where.
        address: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Where a path leads on the host.
    HostPath {
        /// Where the guest has the path.
        of: u64,
        /// The path; of the zone's own files the zone's name, a colon, and what follows its root.
        path: Vec<u8>,
    },
    /// The socket address as the host has it.
    HostAddress(Vec<u8>),
    /// A process, thread or group.
    HostPid {
        /// What the zone calls it.
        zone: ZonePid,
        /// What the host calls it.
        host: HostPid,
    },
    /// Whence the call was made.
    Stack(Stack),
}

/// Bytes that are no entry of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

impl Start {
    /// Name of the zone, if it is of one.
    #[must_use]
    pub fn zone_name(&self) -> Option<&str> {
        Some(self.zone.as_str()).filter(|name| !name.is_empty())
    }

    /// Appends it.
    pub fn put(&self, to: &mut Vec<u8>) {
        put_bytes(to, self.zone.as_bytes());
        to.extend(self.time.to_le_bytes());
    }

    /// Takes it from the front.
    ///
    /// # Errors
    /// It is none.
    pub fn take(from: &mut &[u8]) -> Result<Self, Unknown> {
        Ok(Self {
            zone: take_text(from)?,
            time: take_u64(from)?,
        })
    }
}

impl Entry {
    /// Appends it.
    pub fn put(&self, to: &mut Vec<u8>) {
        match self {
            Self::Call(call) => {
                to.push(1);
                call.put(to);
            }
            Self::Dropped { host_tid, count } => {
                to.push(2);
                to.extend(host_tid.0.to_le_bytes());
                to.extend(count.to_le_bytes());
            }
            Self::Garbled { host_tid } => {
                to.push(3);
                to.extend(host_tid.0.to_le_bytes());
            }
            Self::End { skipped } => {
                to.push(4);
                to.extend(skipped.to_le_bytes());
            }
        }
    }

    /// Takes one from the front.
    ///
    /// # Errors
    /// It is none.
    pub fn take(from: &mut &[u8]) -> Result<Self, Unknown> {
        Ok(match take_array::<1>(from)? {
            [1] => Self::Call(Call::take(from)?),
            [2] => Self::Dropped {
                host_tid: HostPid(take_u32(from)?),
                count: take_u64(from)?,
            },
            [3] => Self::Garbled {
                host_tid: HostPid(take_u32(from)?),
            },
            [4] => Self::End {
                skipped: take_u64(from)?,
            },
            _ => return Err(Unknown),
        })
    }
}

impl Call {
    /// Whence it was made, if that was recorded.
    #[must_use]
    pub fn stack(&self) -> Option<&Stack> {
        self.parts.iter().find_map(|part| match part {
            Part::Stack(stack) => Some(stack),
            _ => None,
        })
    }

    fn put(&self, to: &mut Vec<u8>) {
        for half in [self.nr, self.flags, self.pid.0, self.tid.0, self.host_tid.0] {
            to.extend(half.to_le_bytes());
        }
        put_bytes(to, self.comm.as_bytes());
        for word in [self.time, self.duration].iter().chain(&self.args) {
            to.extend(word.to_le_bytes());
        }
        to.extend(self.result.to_le_bytes());
        put_length(to, self.parts.len());
        for part in &self.parts {
            part.put(to);
        }
    }

    fn take(from: &mut &[u8]) -> Result<Self, Unknown> {
        let [nr, flags, pid, tid, host_tid] = [(); 5].map(|()| take_u32(from));
        let comm = take_text(from)?;
        let (time, duration) = (take_u64(from)?, take_u64(from)?);
        let mut args = [0; 6];
        for arg in &mut args {
            *arg = take_u64(from)?;
        }
        let result = take_u64(from)?.cast_signed();
        let count = take_u32(from)?;
        let mut parts = Vec::new();
        for _ in 0..count {
            parts.push(Part::take(from)?);
        }
        Ok(Self {
            nr: nr?,
            flags: flags?,
            pid: ZonePid(pid?),
            tid: ZonePid(tid?),
            host_tid: HostPid(host_tid?),
            comm,
            time,
            duration,
            args,
            result,
            parts,
        })
    }
}

impl Part {
    fn put(&self, to: &mut Vec<u8>) {
        match self {
            Self::Memory { address, bytes } => {
                to.push(1);
                to.extend(address.to_le_bytes());
                put_bytes(to, bytes);
            }
            Self::HostPath { of, path } => {
                to.push(2);
                to.extend(of.to_le_bytes());
                put_bytes(to, path);
            }
            Self::HostAddress(bytes) => {
                to.push(3);
                put_bytes(to, bytes);
            }
            Self::HostPid { zone, host } => {
                to.push(4);
                to.extend(zone.0.to_le_bytes());
                to.extend(host.0.to_le_bytes());
            }
            Self::Stack(stack) => {
                to.push(5);
                stack.put(to);
            }
        }
    }

    fn take(from: &mut &[u8]) -> Result<Self, Unknown> {
        Ok(match take_array::<1>(from)? {
            [1] => Self::Memory {
                address: take_u64(from)?,
                bytes: take_bytes(from)?,
            },
            [2] => Self::HostPath {
                of: take_u64(from)?,
                path: take_bytes(from)?,
            },
            [3] => Self::HostAddress(take_bytes(from)?),
            [4] => Self::HostPid {
                zone: ZonePid(take_u32(from)?),
                host: HostPid(take_u32(from)?),
            },
            [5] => Self::Stack(Stack::take(from)?),
            _ => return Err(Unknown),
        })
    }
}

pub(super) fn put_length(to: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("no record is that long");
    to.extend(length.to_le_bytes());
}

pub(super) fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put_length(to, bytes.len());
    to.extend(bytes);
}

fn take_array<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], Unknown> {
    let (first, rest) = from.split_first_chunk().ok_or(Unknown)?;
    *from = rest;
    Ok(*first)
}

pub(super) fn take_u32(from: &mut &[u8]) -> Result<u32, Unknown> {
    take_array(from).map(u32::from_le_bytes)
}

pub(super) fn take_u64(from: &mut &[u8]) -> Result<u64, Unknown> {
    take_array(from).map(u64::from_le_bytes)
}

pub(super) fn take_bytes(from: &mut &[u8]) -> Result<Vec<u8>, Unknown> {
    let length = usize::try_from(take_u32(from)?).map_err(|_| Unknown)?;
    let (bytes, rest) = from.split_at_checked(length).ok_or(Unknown)?;
    *from = rest;
    Ok(bytes.to_vec())
}

fn take_text(from: &mut &[u8]) -> Result<String, Unknown> {
    String::from_utf8(take_bytes(from)?).map_err(|_| Unknown)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::trace::stack::{Frame, Module};
    use proptest::prelude::*;

    pub(crate) fn sample() -> Call {
        Call {
            nr: picozone_syscalls::nr::openat,
            flags: 0,
            pid: ZonePid(7),
            tid: ZonePid(7),
            host_tid: HostPid(48213),
            comm: "apache2".into(),
            time: 1_000_000_000,
            duration: 2500,
            args: [0xffff_ff9c, 0x7000, 0o2_000_000, 0, 0, 0],
            result: 3,
            parts: vec![
                Part::Memory {
                    address: 0x7000,
                    bytes: b"/etc/passwd\0".to_vec(),
                },
                Part::HostPath {
                    of: 0x7000,
                    path: b"web1:etc/passwd".to_vec(),
                },
            ],
        }
    }

    fn part() -> impl Strategy<Value = Part> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            (any::<u64>(), bytes()).prop_map(|(address, bytes)| Part::Memory { address, bytes }),
            (any::<u64>(), bytes()).prop_map(|(of, path)| Part::HostPath { of, path }),
            bytes().prop_map(Part::HostAddress),
            any::<(u32, u32)>().prop_map(|(zone, host)| Part::HostPid {
                zone: ZonePid(zone),
                host: HostPid(host)
            }),
            (bytes(), any::<[u64; 2]>()).prop_map(|(path, [address, offset])| {
                let build_id = path.clone();
                Part::Stack(Stack {
                    modules: vec![Module { path, build_id }],
                    frames: vec![Frame {
                        address,
                        module: Some(0),
                        offset,
                        symbol: None,
                    }],
                })
            }),
        ]
    }

    pub(crate) fn entry() -> impl Strategy<Value = Entry> {
        let numbers = any::<([u32; 5], u64, u64, [u64; 6], i64)>();
        let parts = proptest::collection::vec(part(), 0..4);
        let call = (numbers, ".{0,15}", parts).prop_map(|(numbers, comm, parts)| {
            let ([nr, flags, pid, tid, host], time, duration, args, result) = numbers;
            Entry::Call(Call {
                nr,
                flags,
                pid: ZonePid(pid),
                tid: ZonePid(tid),
                host_tid: HostPid(host),
                comm,
                time,
                duration,
                args,
                result,
                parts,
            })
        });
        prop_oneof![
            call,
            any::<(u32, u64)>().prop_map(|(tid, count)| Entry::Dropped {
                host_tid: HostPid(tid),
                count
            }),
            any::<u32>().prop_map(|tid| Entry::Garbled {
                host_tid: HostPid(tid)
            }),
            any::<u64>().prop_map(|skipped| Entry::End { skipped }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_put_can_be_taken(entries in proptest::collection::vec(entry(), 0..5)) {
            let mut bytes = Vec::new();
            for entry in &entries {
                entry.put(&mut bytes);
            }
            let mut rest = &bytes[..];
            let mut taken = Vec::new();
            while !rest.is_empty() {
                taken.push(Entry::take(&mut rest).expect("it was put"));
            }
            prop_assert_eq!(taken, entries);
        }

        #[test]
        fn any_bytes_are_taken_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut rest = &bytes[..];
            while !rest.is_empty() && Entry::take(&mut rest).is_ok() {}
            let _ = Start::take(&mut &bytes[..]);
        }
    }
}
