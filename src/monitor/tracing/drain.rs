//! Reads the rings into which guests record their calls.
//!
//! All that stands there is hostile input: it is copied once, in pieces no longer than a ring, and its
//! lengths are judged in the copy; how far a ring was read is remembered here and only told to the guest.
//! Who made a call is the guest's own word. A guest that garbles what it tells spoils the trace of its
//! own zone.

use super::clock::{Clock, Rate};
use crate::ids::{HostPid, ZonePid};
use crate::monitor::guests;
use crate::monitor::zone::Zone;
use crate::stacks::{Registers, Stacks};
use crate::trace::stack::Stack;
use crate::trace::{Call, Entry, Part};
use crate::tree::Kind;
use picozone_fsmap::Mounts;
use picozone_personality::layout::FD_MOUNT0;
use picozone_personality::trace::{
    self, BY_TEXT, REGISTERS, RING_SIZE, RINGS, Record, Ring, WARM, kind, parts, records,
};
use picozone_syscalls::Memory;
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::fence;
use std::time::{Duration, Instant};

/// Most bytes that are read before what they say is passed on.
const PASS_MAX: usize = 16 << 20;
/// Passes by which all rings are read, however full they are.
pub const PASSES: usize = RINGS * RING_SIZE / PASS_MAX + 1;
/// Most threads whose names are remembered.
const NAMES_MAX: usize = 4096;
/// How many rings have their memory when a trace begins: 2 MiB.
const PREPARED: usize = 8;
/// For how long a name is the thread's: it may give itself another one.
const NAME_LASTS: Duration = Duration::from_secs(1);
/// Between two looks for rings whose threads are gone.
const SWEEP: Duration = Duration::from_secs(1);

/// What is known of a ring.
#[derive(Clone, Copy, Default)]
struct Seen {
    read: u64,
    dropped: u64,
    /// When the last call ended that it told: calls of a thread come in their order.
    last: u64,
}

/// Reads all rings of a zone.
pub struct Drain {
    clock: Clock,
    seen: Vec<Seen>,
    lost: u64,
    /// Names of threads, and when they were learned.
    names: HashMap<u32, (String, Instant)>,
    /// What was told and may come after what another thread is still to tell.
    held: Vec<(u64, Entry)>,
    swept: Instant,
    stacks: Stacks,
    /// The ring to begin with.
    first: usize,
}

/// What a pass has brought.
pub struct Pass {
    /// In the order in which calls ended.
    pub entries: Vec<Entry>,
    /// Whether there may be more right now.
    pub has_more: bool,
}

impl Drain {
    /// Begins with what is recorded from now on.
    #[must_use]
    pub fn new(zone: &Zone) -> Self {
        let rings = &zone.shared.commons().trace;
        let seen = rings.rings.iter().map(|ring| {
            let read = written(ring);
            ring.read.store(read, Release);
            Seen {
                read,
                dropped: ring.dropped.load(Relaxed),
                last: 0,
            }
        });
        Self {
            clock: Clock::start(),
            seen: seen.collect(),
            lost: rings.lost.load(Relaxed),
            names: HashMap::new(),
            held: Vec::new(),
            swept: Instant::now(),
            stacks: Stacks::default(),
            first: 0,
        }
    }

    /// For what was recorded before, dated by a clock that was started then.
    pub fn of_the_past(clock: Clock) -> Self {
        Self {
            clock,
            seen: Vec::new(),
            lost: 0,
            names: HashMap::new(),
            held: Vec::new(),
            swept: Instant::now(),
            stacks: Stacks::default(),
            first: 0,
        }
    }

    /// All that the rings still hold of what ended since then, in the order in which calls ended, and
    /// the time of that look. Nothing is taken from them.
    pub fn past(&mut self, zone: &Zone, last: Duration) -> Vec<Entry> {
        let rate = self.clock.rate();
        let since = rate.before_now(last);
        let rings = &zone.shared.commons().trace;
        let end = usize::try_from(rings.end.load(Acquire)).unwrap_or(RINGS);
        let mut found = Vec::new();
        for (number, ring) in rings.rings.iter().enumerate().take(end) {
            let oldest = ring.oldest.load(Acquire) & !7;
            let length = usize::try_from(written(ring).wrapping_sub(oldest)).unwrap_or(usize::MAX);
            if length > RING_SIZE {
                let host_tid = HostPid(ring.owner.load(Relaxed));
                found.push((rate.now(), Entry::Garbled { host_tid }));
                continue;
            }
            let bytes = zone.shared.read_ring(number, oldest, length);
            fence(Acquire);
            // What was written over meanwhile.
            let gone = (ring.oldest.load(Relaxed) & !7).wrapping_sub(oldest);
            let gone = usize::try_from(gone).unwrap_or(usize::MAX);
            let whole = bytes.get(gone..).unwrap_or(&[]);
            let told = || records(whole).map_while(Result::ok);
            told().for_each(|record| self.learn(&record));
            let mut latest = 0;
            for record in told() {
                let head = record.head;
                let ended = if head.end == 0 { head.begin } else { head.end };
                latest = ended.clamp(latest, rate.now().max(latest));
                // Its name is learned in any case.
                let call = self.call(zone, &record, &rate);
                if latest >= since {
                    found.push((latest, Entry::Call(call)));
                }
            }
        }
        found.sort_by_key(|(end, _)| *end);
        found.into_iter().map(|(_, entry)| entry).collect()
    }

    /// When it began, in nanoseconds since 1970.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.clock.started()
    }

    /// Reads what is new. Unless it is the last pass, calls that ended while it reads are kept for the
    /// next one, so that those of other threads that ended before them come first.
    pub fn pass(&mut self, zone: &Zone, is_last: bool) -> Pass {
        let rate = self.clock.rate();
        let mut found = std::mem::take(&mut self.held);
        let mut left = PASS_MAX;
        let mut has_more = false;
        let rings = &zone.shared.commons().trace;
        let end = usize::try_from(rings.end.load(Acquire)).unwrap_or(RINGS);
        let end = end.min(RINGS);
        let start = self.first.min(end);
        for number in (start..end).chain(0..start) {
            let Some(ring) = rings.rings.get(number) else {
                continue;
            };
            let owner = ring.owner.load(Relaxed);
            if owner == 0 {
                continue;
            }
            if left < RING_SIZE {
                has_more = true;
                self.first = number;
                break;
            }
            left -= self.read_ring(zone, number, ring, &rate, &mut found);
        }
        self.count_lost(zone, rate.now(), &mut found);
        found.sort_by_key(|(end, _)| *end);
        let ripe = if is_last {
            found.len()
        } else {
            found.partition_point(|(end, _)| *end < rate.now())
        };
        self.held = found.split_off(ripe);
        if self.swept.elapsed() >= SWEEP {
            self.sweep(zone);
            self.swept = Instant::now();
        }
        Pass {
            entries: found.into_iter().map(|(_, entry)| entry).collect(),
            has_more,
        }
    }

    /// Reads one ring. How many bytes that were.
    fn read_ring(
        &mut self,
        zone: &Zone,
        number: usize,
        ring: &Ring,
        rate: &Rate,
        found: &mut Vec<(u64, Entry)>,
    ) -> usize {
        let Some(mut seen) = self.seen.get(number).copied() else {
            return 0;
        };
        let host_tid = HostPid(ring.owner.load(Relaxed));
        let written = written(ring);
        let new = written.wrapping_sub(seen.read);
        let length = usize::try_from(new).ok().filter(|&new| new <= RING_SIZE);
        let bytes = match length {
            Some(0) => Vec::new(),
            Some(length) => zone.shared.read_ring(number, seen.read, length),
            None => Vec::new(),
        };
        seen.read = written;
        ring.read.store(written, Release);
        zone.shared.tell_room(number);
        let mut is_garbled = length.is_none();
        for record in records(&bytes) {
            let Ok(record) = record else {
                is_garbled = true;
                break;
            };
            let head = record.head;
            let ended = if head.end == 0 { head.begin } else { head.end };
            // What has no date, or one to come, was now.
            let ended = if ended == 0 { rate.now() } else { ended };
            seen.last = ended.clamp(seen.last, rate.now().max(seen.last));
            found.push((seen.last, Entry::Call(self.call(zone, &record, rate))));
        }
        if is_garbled {
            found.push((rate.now(), Entry::Garbled { host_tid }));
        }
        let dropped = ring.dropped.load(Relaxed);
        let count = dropped.wrapping_sub(seen.dropped);
        if count != 0 {
            found.push((rate.now(), Entry::Dropped { host_tid, count }));
        }
        seen.dropped = dropped;
        if let Some(known) = self.seen.get_mut(number) {
            *known = seen;
        }
        bytes.len()
    }

    fn count_lost(&mut self, zone: &Zone, now: u64, found: &mut Vec<(u64, Entry)>) {
        let lost = zone.shared.commons().trace.lost.load(Relaxed);
        let count = lost.wrapping_sub(self.lost);
        self.lost = lost;
        if count != 0 {
            let host_tid = HostPid(0);
            found.push((now, Entry::Dropped { host_tid, count }));
        }
    }

    fn call(&mut self, zone: &Zone, record: &Record<'_>, rate: &Rate) -> Call {
        let head = record.head;
        let (time, duration) = rate.translate(head.begin, head.end);
        let pid = ZonePid(head.zone_pid);
        let parts = parts(record.rest).flat_map(|part| {
            let told = match part.head.kind {
                kind::STACK => stack(&mut self.stacks, zone, pid, part.bytes).map(Part::Stack),
                _ => part_of(zone, &part),
            };
            let is_by_text = (part.head.kind, part.head.extra) == (kind::MEMORY, BY_TEXT);
            let host = is_by_text.then(|| host_path_by_text(zone, &part));
            told.into_iter().chain(host.flatten())
        });
        let parts = parts.collect();
        Call {
            nr: head.nr,
            flags: head.flags,
            pid: ZonePid(head.zone_pid),
            tid: ZonePid(head.zone_tid),
            host_tid: HostPid(head.host_tid),
            comm: self.name(zone, record),
            time,
            duration,
            args: head.args,
            result: head.result,
            parts,
        }
    }

    /// Notes the name of a thread that was told later than what is about to be read.
    fn learn(&mut self, record: &Record<'_>) {
        if let Some(told) = parts(record.rest).find(|part| part.head.kind == kind::NAME)
            && self.names.len() < NAMES_MAX
        {
            let name = || {
                (
                    String::from_utf8_lossy(told.bytes).into_owned(),
                    Instant::now(),
                )
            };
            self.names.entry(record.head.host_tid).or_insert_with(name);
        }
    }

    /// The thread's name: as it says itself where it begins to tell, then as the kernel does.
    fn name(&mut self, zone: &Zone, record: &Record<'_>) -> String {
        let tid = HostPid(record.head.host_tid);
        let told = parts(record.rest).find(|part| part.head.kind == kind::NAME);
        let known = self.names.get(&tid.0);
        let name = match (told, known) {
            (Some(told), _) => String::from_utf8_lossy(told.bytes).into_owned(),
            (None, Some((name, at))) if at.elapsed() < NAME_LASTS => return name.clone(),
            (None, known) => {
                // Of a thread that is not the zone's nothing is told.
                let is_ours = guests::is_in_zone(zone.init_pid(), tid);
                let read = is_ours.then(|| std::fs::read(format!("/proc/{tid}/comm")).ok());
                match (read.flatten(), known) {
                    (Some(bytes), _) => {
                        String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned()
                    }
                    (None, Some((name, _))) => name.clone(),
                    (None, None) => String::new(),
                }
            }
        };
        if self.names.len() >= NAMES_MAX {
            self.names.clear();
        }
        self.names.insert(tid.0, (name.clone(), Instant::now()));
        name
    }

    /// Takes the rings of threads that are gone, and gives their memory back.
    fn sweep(&mut self, zone: &Zone) {
        let rings = &zone.shared.commons().trace.rings;
        for (number, (ring, seen)) in rings.iter().zip(&self.seen).enumerate() {
            let owner = ring.owner.load(Relaxed);
            let is_tid = owner != 0 && owner < i32::MAX.cast_unsigned();
            if is_tid && guests::is_gone(HostPid(owner)) {
                // What it has told last is read first.
                if written(ring) == seen.read {
                    if number >= WARM && !zone.tracing.is_flying() {
                        zone.shared.forget_ring(number);
                    }
                    let _ = ring.owner.compare_exchange(owner, 0, Release, Relaxed);
                    self.names.remove(&owner);
                }
            } else if owner >= i32::MAX.cast_unsigned() {
                // No thread has that number.
                let _ = ring.owner.compare_exchange(owner, 0, Release, Relaxed);
            }
        }
    }
}

/// How many bytes a ring's thread says that it has written: a multiple of eight.
fn written(ring: &Ring) -> u64 {
    ring.written.load(Acquire) & !7
}

/// Makes the memory of the first rings present: guests map what is there, sixteen pages at a time, and
/// would fault for each page that is not.
pub fn prepare(zone: &Zone) {
    for number in 0..PREPARED {
        zone.shared.prepare_ring(number);
    }
}

/// Gives all memory of the rings back. Nobody is to record any more.
pub fn release(zone: &Zone) {
    for (number, ring) in zone.shared.commons().trace.rings.iter().enumerate() {
        if ring.owner.swap(0, Release) != 0 || number < WARM {
            zone.shared.forget_ring(number);
        }
    }
}

/// A part in the terms of the host's user; nothing of those that say nothing.
fn part_of(zone: &Zone, part: &trace::Part<'_>) -> Option<Part> {
    let head = part.head;
    let bytes = part.bytes.to_vec();
    Some(match head.kind {
        kind::MEMORY => Part::Memory {
            address: head.value,
            bytes,
        },
        kind::HOST_PATH => Part::HostPath {
            of: head.value,
            path: host_path(zone, head.extra, &bytes)?,
        },
        kind::HOST_ADDRESS => Part::HostAddress(bytes),
        kind::HOST_PID => Part::HostPid {
            zone: ZonePid(head.extra),
            host: HostPid(u32::try_from(head.value).ok()?),
        },
        _ => return None,
    })
}

/// The stack of a thread of a process, of its registers and bytes of its memory.
fn stack(stacks: &mut Stacks, zone: &Zone, pid: ZonePid, bytes: &[u8]) -> Option<Stack> {
    // Whatever process a guest names, it is one of its zone. The thread may have ended.
    let process = guests::to_host(&zone.shared, zone.init_pid(), pid)?;
    let (front, rest) = bytes.split_at_checked(8 * REGISTERS)?;
    let mut registers = [0; REGISTERS];
    for (register, word) in registers.iter_mut().zip(front.as_chunks().0) {
        *register = u64::from_ne_bytes(*word);
    }
    let registers = Registers::from(registers);
    let memory = Window {
        start: registers.stack_pointer(),
        bytes: rest,
    };
    let mut stack = stacks.of(process, registers, &memory);
    for module in &mut stack.modules {
        if let Some(original) = zone.copies.original(&module.path) {
            module.path = original.path;
        }
    }
    Some(stack)
}

/// A piece of a guest's memory.
struct Window<'a> {
    start: u64,
    bytes: &'a [u8],
}

impl Memory for Window<'_> {
    fn read(&self, address: u64, to: &mut [u8]) -> usize {
        let before = usize::try_from(address.wrapping_sub(self.start)).unwrap_or(usize::MAX);
        let rest = self.bytes.get(before..).unwrap_or(&[]);
        let length = rest.len().min(to.len());
        if let (Some(to), Some(from)) = (to.get_mut(..length), rest.get(..length)) {
            to.copy_from_slice(from);
        }
        length
    }
}

/// Where a path leads that is part of a record, by the zone's mounts as they are now. The monitor's
/// own files lie nowhere, and what was mounted later is told by its descriptor.
fn host_path_by_text(zone: &Zone, part: &trace::Part<'_>) -> Option<Part> {
    let text = part.bytes.split(|&byte| byte == 0).next()?;
    let (number, rest) = Mounts(zone.rows()).find(text);
    let row = zone.rows().get(number)?;
    if row.is_monitor() || row.is_added() {
        return None;
    }
    let mut path = row.sub().to_vec();
    if !path.is_empty() && !rest.is_empty() {
        path.push(b'/');
    }
    path.extend(rest);
    let path = host_path(zone, u32::try_from(row.fd).ok()?, &path)?;
    Some(Part::HostPath {
        of: part.head.value,
        path,
    })
}

/// Where a path beneath a mount's descriptor leads.
fn host_path(zone: &Zone, fd: u32, rest: &[u8]) -> Option<Vec<u8>> {
    let number = usize::try_from(fd.checked_sub(FD_MOUNT0)?).ok()?;
    let mount = zone.mounts.get(number)?;
    let is_own = mount.spec.kind == Kind::Tree && number + 1 == zone.mounts.len();
    let mut path = if is_own {
        format!("{}:", zone.name).into_bytes()
    } else {
        let mut path = mount.spec.host_path.as_os_str().as_bytes().to_vec();
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        path
    };
    path.extend(rest);
    Some(path)
}
