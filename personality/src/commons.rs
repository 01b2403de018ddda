//! Shared memory that every guest of a zone may write: process ids and counters.
//!
//! It is zone-private and holds no authority: forging an entry confuses the forger's own zone and
//! nothing else, since the kernel (Landlock's signal scope, the filter) bounds what a host id can be
//! used for. The monitor verifies an entry in `/proc` before it acts on one.
//!
//! Reuse of numbers: a zone pid is handed out in ascending order up to [`ZONE_PID_LIMIT`], then from
//! [`ZONE_PID_RESTART`] again, skipping entries whose process, group or session still exists.
//! An entry stays after its process was reaped, flagged dead, so that the number of a group whose
//! leader is gone still translates. Nobody flags a process that the kernel reaps by itself (`SIGCHLD`
//! is ignored), nor one whose parent is killed as it reaps: that it is gone shows when its number is
//! to be handed out again. An entry only stands for its host id as long as `by_host` agrees.

use crate::capabilities::Capabilities;
use crate::injection::RULES_MAX;
use crate::limits;
use crate::mailbox::Handover;
use crate::makers::Makers;
use crate::names::Missed;
use crate::running::{Names, Program};
use crate::scheduling;
use crate::trace::Rings;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64};

/// First number that is never handed out.
pub const ZONE_PID_LIMIT: u32 = 32768;
/// Where numbering goes on after the limit.
pub const ZONE_PID_RESTART: u32 = 300;
/// How many supplementary groups a process entry holds.
pub const FEW_GROUPS: usize = 32;
/// How many supplementary groups a process can have (the kernel's `NGROUPS_MAX`).
pub const GROUPS_MAX: usize = 65536;
/// How many processes can have more than [`FEW_GROUPS`] at one time.
pub const LISTS_MAX: usize = 8192;
/// How many system call numbers have a counter.
pub const CALLS_MAX: usize = 512;

/// How many processes can execute a program without the monitor at one time.
pub const HANDOVERS_MAX: usize = 64;

/// State bits of a process entry.
pub mod state {
    /// The number is not in use.
    pub const FREE: u32 = 0;
    /// A process has it.
    pub const LIVE: u32 = 1;
    /// Its process was reaped; groups and sessions may still carry the number.
    pub const DEAD: u32 = 2;
    /// It was handed out, for a process that is not there yet.
    pub const CLAIMED: u32 = 3;
}

/// In [`Process::secure`]: `PR_SET_NO_NEW_PRIVS`.
pub const NO_NEW_PRIVS: u32 = 1 << 31;

/// One process of the zone, indexed by its zone pid.
#[repr(C)]
pub struct Process {
    /// Host pid; 0 if the number was never used.
    pub host: AtomicU32,
    /// One of [`state`].
    pub state: AtomicU32,
    /// Real, effective, saved and file-system user of the leader, in the zone's numbers.
    pub uid: [AtomicU32; 4],
    /// The same for groups.
    pub gid: [AtomicU32; 4],
    /// How many supplementary groups there are.
    pub group_count: AtomicU32,
    /// The groups, in ascending order. Where there are more than these, all are in
    /// [`Commons::many_groups`].
    pub groups: [AtomicU32; FEW_GROUPS],
    /// Number of that list, plus 1; 0: none.
    pub list: AtomicU32,
    /// [`Capabilities`](crate::capabilities::Capabilities) of the leader: permitted, effective,
    /// inheritable, bounding, ambient.
    pub capabilities: [AtomicU64; 5],
    /// The same: `PR_SET_SECUREBITS`, and [`NO_NEW_PRIVS`].
    pub secure: AtomicU32,
    /// The same: seccomp filters of its own.
    pub filters: AtomicU32,
    /// Which of `limits` were ever set: one bit each.
    pub limited: AtomicU32,
    /// The number of its root directory in [`Tables::roots`](crate::tables::Tables::roots); 0 is the
    /// zone's own.
    pub root: AtomicU32,
    /// What it executes.
    pub program: Program,
    /// 1 if all its memory is shown as locked, though the host does not lock it.
    pub is_locked: AtomicU32,
    /// Keyring of its session; 0 if it has none yet. A fork inherits it, as it does `request_ring`.
    pub session_ring: AtomicU32,
    /// Keyring of the process, likewise. A fork and an exec begin without one.
    pub process_ring: AtomicU32,
    /// Where requested keys go (`KEY_REQKEY_DEFL_*`).
    pub request_ring: AtomicU32,
    /// Not 0 if one of its threads has a keyring: a number for the time until it executes a program.
    pub key_life: AtomicU32,
    /// 1 if it is not dumpable (`PR_SET_DUMPABLE`): others without `CAP_SYS_PTRACE` do not look into it.
    pub is_closed: AtomicU32,
    /// Numbers of descriptors by which it has reads come to the personality: see its `signalfd.rs`.
    pub signal_fds: AtomicU64,
    /// Hard limits that the process was told it has, plus 1 (so 0 for infinity); 0 where it is shown
    /// the kernel's. See [`limits`](crate::limits).
    pub limits: [AtomicU64; crate::limits::COUNT],
}

/// What a tracer's personality keeps of a tracee, so that its stops in the personality stay unseen.
#[repr(C)]
pub struct Tracee {
    /// The request by which the tracer last let it go on.
    pub mode: AtomicU32,
    /// `PTRACE_O_*`.
    pub options: AtomicU32,
    /// The guest's call under way.
    pub call: AtomicU32,
    /// See the personality's `ptrace/stops.rs`.
    pub flags: AtomicU32,
    /// What is still to be shown of an exec.
    pub exec: AtomicU32,
    /// The status that is shown for the stop in which it is; 0 if that was not judged yet.
    pub shown: AtomicU32,
    /// What the stop is shown as, where it is really another one.
    pub shown_as: AtomicU32,
    /// `PTRACE_GETEVENTMSG` of a stop that is over.
    pub message: AtomicU32,
}

/// In [`Commons::by_host`]: that of a clerk at work for the process of this number.
pub const CLERK: u32 = 1 << 31;

impl Commons {
    /// The entry of a number that stands for a process, group or session, and its host id.
    #[must_use]
    pub fn entry(&self, zone: u32) -> Option<(&Process, u32)> {
        let process = self.processes.get(zone as usize).filter(|_| zone != 0)?;
        let host = process.host.load(Relaxed);
        let back = self.by_host.get(host as usize)?.load(Acquire);
        (back == zone).then_some((process, host))
    }

    /// The next number that nobody has; `None` if there is none. `is_gone` says of one that was handed out
    /// before whether neither a process nor a group has it any more. What was claimed by somebody who was
    /// killed before he made a process of it is taken last.
    pub fn free_number(&self, is_gone: impl Fn(u32) -> bool) -> Option<(u32, &Process)> {
        for step in 0..2 * ZONE_PID_LIMIT {
            let mut number = self.next_pid.fetch_add(1, AcqRel);
            if number >= ZONE_PID_LIMIT {
                let next = &self.next_pid;
                let _ = next.compare_exchange(number + 1, ZONE_PID_RESTART, AcqRel, Relaxed);
                number = ZONE_PID_RESTART;
            }
            let takes_claimed = step >= ZONE_PID_LIMIT;
            if let Some(process) = self.claim(number, takes_claimed, &is_gone) {
                return Some((number, process));
            }
        }
        None
    }

    /// A number for a child, unless somebody has it.
    pub fn claim(
        &self,
        number: u32,
        takes_claimed: bool,
        is_gone: impl Fn(u32) -> bool,
    ) -> Option<&Process> {
        let process = self
            .processes
            .get(number as usize)
            .filter(|_| number != 0)?;
        let before = process.state.load(Acquire);
        let is_free = match before {
            state::FREE => true,
            state::CLAIMED => takes_claimed,
            _ => is_gone(number),
        };
        let claim = || {
            let state = &process.state;
            state.compare_exchange(before, state::CLAIMED, AcqRel, Relaxed)
        };
        (is_free && claim().is_ok()).then(|| {
            self.pid_end.fetch_max(number + 1, Release);
            process
        })
    }

    /// Gives back a number of which no process was made.
    pub fn give_back(&self, number: u32) {
        if let Some(process) = self.processes.get(number as usize) {
            let state = &process.state;
            let _ = state.compare_exchange(state::CLAIMED, state::FREE, AcqRel, Relaxed);
        }
    }

    /// Whether fewer than so many processes beside init have a number; 0: there may be any number of them.
    /// `is_gone` as of [`Commons::free_number`]. They are counted only where there may be too many by what was
    /// born since the last count. Where guests write what is counted, this holds for those that mean well.
    pub fn has_room(&self, most: u32, is_gone: impl Fn(u32) -> bool) -> bool {
        if most == 0 {
            return true;
        }
        let born = self.born.fetch_add(1, AcqRel);
        if self.counted.load(Acquire).saturating_add(born) < most {
            return true;
        }
        let is_there = |number: &u32| {
            let process = self.processes.get(*number as usize);
            process.is_some_and(|process| process.state.load(Acquire) != state::FREE)
                && !is_gone(*number)
        };
        let count = self.numbers().skip(1).filter(is_there).count();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.counted.store(count, Release);
        self.born.store(1, Release);
        count < most
    }

    /// Notes that the process `host` has a number.
    pub fn register(&self, number: u32, host: u32) {
        let process = self.processes.get(number as usize).filter(|_| number != 0);
        if let (Some(process), Some(back)) = (process, self.by_host.get(host as usize)) {
            process.host.store(host, Relaxed);
            back.store(number, Release);
            process.state.store(state::LIVE, Release);
        }
    }

    /// Strikes out the process that stands for `host`, if `is_gone` says that this leads none any more: it is
    /// a thread's, or was. Nobody may have missed the process that had it before.
    pub fn strike_out(&self, host: u32, is_gone: impl FnOnce() -> bool) {
        let Some(back) = self.by_host.get(host as usize) else {
            return;
        };
        let number = back.load(Acquire);
        if number != 0 && is_gone() {
            // Unless another process has got the id meanwhile.
            let _ = back.compare_exchange(number, 0, AcqRel, Relaxed);
        }
    }

    /// Every number that was ever handed out.
    pub fn numbers(&self) -> core::ops::Range<u32> {
        1..self.pid_end.load(Acquire).clamp(1, ZONE_PID_LIMIT)
    }
}

/// What became of a rule by which calls fail.
#[repr(C)]
pub struct Injected {
    /// Calls for which its condition held.
    pub met: AtomicU64,
    /// Those of them that it was for.
    pub done: AtomicU64,
}

/// The whole region.
#[repr(C)]
pub struct Commons {
    /// The next zone pid to try.
    pub next_pid: AtomicU32,
    /// How many processes there were when they were last counted, and how many began to be born since.
    pub counted: AtomicU32,
    /// The latter.
    pub born: AtomicU32,
    /// Changes whenever a link is made or something is renamed: a path that was found before may be
    /// another one now, though it leads to the same file.
    pub links: AtomicU32,
    /// Changes whenever a directory may have become one that some users may not search: what was
    /// found of search permission before need not hold any more.
    pub rights: AtomicU32,
    /// No number from this one on was ever handed out: what lies behind it holds no memory yet, and is
    /// to hold none because somebody looks.
    pub pid_end: AtomicU32,
    /// Not 0 once a process of the zone has had another root directory than the zone's own.
    pub chroots: AtomicU32,
    /// Not 0 once a priority was recorded in the zone that the host refused.
    pub records_scheduling: AtomicU32,
    /// Counts births of threads from then on.
    pub births: AtomicU32,
    /// Changes whenever a directory may have got another name, or none: a path that led to one need
    /// not any more. See the personality's `path/parents.rs`.
    pub moves: AtomicU32,
    /// Not 0 once a process of the zone may have had an execution domain of its own (personality(2)).
    pub has_personas: AtomicU32,
    /// Unused.
    pub pad: [AtomicU32; 7],
    /// Names of programs that run.
    pub running: Names,
    /// Who makes files of which the ownership table is yet to be told.
    pub makers: Makers,
    /// Who uses the handover area of that number: host pid of a process; 0 if it is free.
    pub handover_owners: [AtomicU32; HANDOVERS_MAX],
    /// Calls that entered the personality by SIGSYS, by number.
    pub entered: [AtomicU64; CALLS_MAX],
    /// What an exec without the monitor hands over. Used again and again, so that a fresh program
    /// finds them in memory.
    pub handovers: [UnsafeCell<Handover>; HANDOVERS_MAX],
    /// Names that guests have missed in the tables.
    pub missed: Missed,
    /// How often there was no room to have a directory watched.
    pub crowded: AtomicU32,
    /// Processes by zone pid.
    pub processes: [Process; ZONE_PID_LIMIT as usize],
    /// Zone pid by host pid; 0 where there is none. May be stale: check `processes[z].host`.
    pub by_host: [AtomicU32; crate::layout::PID_LIMIT as usize],
    /// Tracees by host thread id.
    pub tracees: [Tracee; crate::layout::PID_LIMIT as usize],
    /// Priorities by host thread id.
    pub scheduling: [scheduling::Row; crate::layout::PID_LIMIT as usize],
    /// What is told of calls, where the zone is traced.
    pub trace: Rings,
    /// What became of the rules of the tables.
    pub injected: [Injected; RULES_MAX],
    /// Whose the lists of `many_groups` are, by zone pid; 0: nobody's.
    pub many_owners: [AtomicU32; LISTS_MAX],
    /// The groups of those that have many. Memory is used only for these.
    pub many_groups: [[AtomicU32; GROUPS_MAX]; LISTS_MAX],
}

/// The first handover areas. They and what stands before them are what each fork and exec uses: the
/// kernel maps that by one fault (`fault_around_bytes`).
pub const NEAR_HANDOVERS: usize = 8;
const _: () =
    assert!(offset_of!(Commons, handovers) + NEAR_HANDOVERS * size_of::<Handover>() <= 0x10000);

impl Process {
    /// What a process that is born has of its parent's, but for its users and groups.
    pub fn inherit(&self, parent: &Process) {
        for (to, from) in [
            (&self.root, &parent.root),
            (&self.is_closed, &parent.is_closed),
            (&self.session_ring, &parent.session_ring),
            (&self.request_ring, &parent.request_ring),
        ] {
            to.store(from.load(Relaxed), Relaxed);
        }
        self.program.inherit(&parent.program);
        limits::inherit(self, parent);
        self.is_locked.store(0, Relaxed);
        self.signal_fds
            .store(parent.signal_fds.load(Relaxed), Relaxed);
        self.lay_keys_down();
    }

    /// What a process does not keep when it executes a program, and a child does not have of it.
    pub fn lay_keys_down(&self) {
        self.process_ring.store(0, Relaxed);
        self.key_life.store(0, Relaxed);
    }

    /// Notes the capabilities of the leader.
    pub fn store_capabilities(&self, of: &Capabilities) {
        let sets = [
            of.permitted,
            of.effective,
            of.inheritable,
            of.bounding,
            of.ambient,
        ];
        for (to, set) in self.capabilities.iter().zip(sets) {
            to.store(set, Relaxed);
        }
        let privileges = if of.no_new_privs == 0 {
            0
        } else {
            NO_NEW_PRIVS
        };
        self.secure.store(of.secure | privileges, Relaxed);
        self.filters.store(of.filters, Relaxed);
    }

    /// Reads them back.
    #[must_use]
    pub fn load_capabilities(&self) -> Capabilities {
        let [permitted, effective, inheritable, bounding, ambient] =
            self.capabilities.each_ref().map(|set| set.load(Relaxed));
        let secure = self.secure.load(Relaxed);
        Capabilities {
            permitted,
            effective,
            inheritable,
            bounding,
            ambient,
            secure: secure & !NO_NEW_PRIVS,
            no_new_privs: u32::from(secure & NO_NEW_PRIVS != 0),
            filters: self.filters.load(Relaxed),
        }
    }
}

impl Commons {
    /// The row of a thread, if any priorities are recorded.
    #[must_use]
    pub fn scheduling_of(&self, host_tid: u32) -> Option<&scheduling::Row> {
        if self.records_scheduling.load(Relaxed) == 0 {
            return None;
        }
        self.scheduling.get(host_tid as usize)
    }

    /// The number of a birth, as [`Commons::inherit_scheduling`] takes it.
    #[inline]
    pub fn birth(&self) -> u32 {
        if self.records_scheduling.load(Relaxed) == 0 {
            return 0;
        }
        // Never 0, which is no birth.
        self.births.fetch_add(1, Relaxed) & 0xff_ffff | 1 << 23
    }

    /// A thread that is born has the priorities of its maker; both say so.
    #[inline]
    pub fn inherit_scheduling(&self, child: u32, parent: u32, birth: u32) {
        if let (Some(child), Some(parent)) = (self.scheduling_of(child), self.scheduling_of(parent))
        {
            child.inherit(parent, birth);
        }
    }

    /// The supplementary groups of a process.
    #[must_use]
    pub fn groups_of(&self, zone_pid: u32) -> &[AtomicU32] {
        let number = zone_pid as usize;
        let Some(process) = self.processes.get(number) else {
            return &[];
        };
        let count = process.group_count.load(Acquire) as usize;
        let all = match self.list_of(zone_pid) {
            Some(many) if count > FEW_GROUPS => &many[..],
            _ => &process.groups[..],
        };
        &all[..count.min(all.len())]
    }

    /// Writes the supplementary groups of a process, in ascending order.
    pub fn store_groups(&self, zone_pid: u32, groups: impl ExactSizeIterator<Item = u32>) {
        let Some(process) = self.processes.get(zone_pid as usize) else {
            return;
        };
        let count = groups.len();
        let many = if count > FEW_GROUPS {
            self.claim_list(zone_pid).map(|many| &many[..])
        } else {
            None
        };
        let to = many.unwrap_or(&process.groups);
        for (to, from) in to.iter().zip(groups) {
            to.store(from, Relaxed);
        }
        let count = u32::try_from(count).unwrap_or(0);
        process.group_count.store(count, Release);
    }

    fn list_of(&self, zone_pid: u32) -> Option<&[AtomicU32; GROUPS_MAX]> {
        let process = self.processes.get(zone_pid as usize)?;
        let list = process.list.load(Acquire).checked_sub(1)? as usize;
        let is_own = self.many_owners.get(list)?.load(Acquire) == zone_pid;
        self.many_groups.get(list).filter(|_| is_own)
    }

    /// The list of a process for many groups: its own, or one that nobody needs any more.
    #[must_use]
    fn claim_list(&self, zone_pid: u32) -> Option<&[AtomicU32; GROUPS_MAX]> {
        if let Some(own) = self.list_of(zone_pid) {
            return Some(own);
        }
        let first = zone_pid as usize % LISTS_MAX;
        for list in (first..LISTS_MAX).chain(0..first) {
            let owner = self.many_owners.get(list)?;
            let number = u32::try_from(list + 1).ok()?;
            let held = owner.load(Acquire);
            let is_used = self.processes.get(held as usize).is_some_and(|process| {
                process.list.load(Acquire) == number
                    && process.group_count.load(Acquire) as usize > FEW_GROUPS
            });
            let take = || owner.compare_exchange(held, zone_pid, AcqRel, Relaxed);
            if !is_used && take().is_ok() {
                let process = self.processes.get(zone_pid as usize)?;
                process.list.store(number, Release);
                // From now on it is used.
                let more = u32::try_from(FEW_GROUPS + 1).ok()?;
                process.group_count.fetch_max(more, AcqRel);
                return self.many_groups.get(list);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_counted_where_there_may_be_too_many() {
        // SAFETY: atomics are valid when zeroed.
        let commons = unsafe { Box::<Commons>::new_zeroed().assume_init() };
        commons.next_pid.store(2, Relaxed);
        commons.pid_end.store(2, Relaxed);
        let born = |is_gone: &dyn Fn(u32) -> bool| {
            if !commons.has_room(8, is_gone) {
                return false;
            }
            let (_, process) = commons.free_number(is_gone).expect("a number");
            process.state.store(state::LIVE, Relaxed);
            true
        };
        let is_none = |_| false;
        assert_eq!((0..20).filter(|_| born(&is_none)).count(), 8);
        assert!(commons.has_room(0, is_none) && commons.has_room(9, is_none));
        // Two of them have ended: as many more.
        let is_one = |number: u32| number == 3 || number == 5;
        assert_eq!((0..20).filter(|_| born(&is_one)).count(), 2);
        assert!(!born(&is_none));
    }

    #[test]
    fn a_number_is_claimed_once() {
        // SAFETY: atomics are valid when zeroed.
        let commons = unsafe { Box::<Commons>::new_zeroed().assume_init() };
        commons.next_pid.store(2, Relaxed);
        let is_none = |_| false;
        assert!(commons.claim(3, false, is_none).is_some());
        assert!(commons.claim(3, false, is_none).is_none());
        let next = || commons.free_number(is_none).expect("a number").0;
        assert_eq!([next(), next()], [2, 4]);
        commons.give_back(3);
        assert!(commons.claim(3, false, is_none).is_some());
        commons.register(3, 77);
        commons.give_back(3);
        assert!(commons.claim(3, true, is_none).is_none());
        assert!(commons.claim(3, false, |number| number == 3).is_some());
        assert!(commons.claim(0, true, is_none).is_none());
        // Who claimed all others and made nothing of them leaves none.
        for number in 2..ZONE_PID_LIMIT {
            commons.claim(number, false, is_none);
        }
        assert!(commons.free_number(is_none).is_some());
    }

    #[test]
    fn who_is_gone_stands_for_no_id() {
        // SAFETY: atomics are valid when zeroed.
        let commons = unsafe { Box::<Commons>::new_zeroed().assume_init() };
        commons.register(3, 77);
        commons.strike_out(77, || false);
        assert!(commons.entry(3).is_some());
        commons.strike_out(77, || {
            // Its id is given away in this moment.
            commons.register(4, 77);
            true
        });
        assert!(commons.entry(3).is_none() && commons.entry(4).is_some());
        commons.strike_out(77, || true);
        assert!(commons.entry(4).is_none());
        commons.strike_out(u32::MAX, || true);
    }
}
