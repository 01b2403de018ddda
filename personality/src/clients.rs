//! Clients and clerks of a zone with the strict profile.
//!
//! A process whose users are not the zone's root is a *client*: a second filter takes from it what the
//! zone's allows a guest to do with names, users and other processes; it has mailboxes of its own, and
//! sees the commons without being able to change them. Such calls it forwards to the monitor, which has a
//! *clerk* make them: a process of ours that takes on the client's place (users, working directory, root)
//! for one call at a time. What users may do is decided there, out of the client's reach.

use crate::layout::{FD_COPIES, NR_DOORBELL};
use picozone_syscalls::bpf::{ALLOW, ERRNO, Insn, JEQ, JGE, LOAD, RETURN, data};
use picozone_syscalls::forward::DATA_MAX;
use picozone_syscalls::nr;

/// Second argument of the doorbell of a client, which its filter makes it say.
pub const CLIENT: u32 = 1;

/// Ways of [`Request::Enter`](crate::mailbox::Request::Enter): the third argument of the doorbell; there is no mailbox
/// yet.
pub mod enter {
    /// A process becomes a client.
    pub const BECOME: u64 = 0;
    /// A client was born: args = .., zone pid, token.
    pub const BORN: u64 = 1;
    /// The same, in its parent's memory.
    pub const BORN_WITHIN: u64 = 2;
    /// A client has executed a program.
    pub const EXECUTED: u64 = 3;
    /// A thread of a client was born.
    pub const THREAD: u64 = 4;
}

/// Set in the value of [`Request::Forward`](crate::mailbox::Request::Forward) where the descriptor comes by
/// [`FD_NAMES`](crate::layout::FD_NAMES); lower bits: `O_CLOEXEC`.
pub const BY_SOCKET: u64 = 1 << 40;

/// Set there where the descriptor is a terminal's, which may become the caller's controlling one.
pub const TERMINAL: u64 = 1 << 41;

/// In the place of where something lies: the caller named an address that is none.
pub const NOWHERE: u64 = u64::MAX;

/// A call for a clerk.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Job {
    /// Number of the call.
    pub nr: u32,
    /// Zone pid of the client.
    pub zone_pid: u32,
    /// Its pid on the host.
    pub host_pid: u32,
    /// Its umask.
    pub umask: u32,
    /// 1 if the first descriptor is its working directory.
    pub has_cwd: u32,
    /// For which arguments the descriptors behind that are, one bit each.
    pub descriptors: u32,
    /// Which arguments are places in `data`, one bit each.
    pub places: u32,
    /// How many bytes of `data` are used.
    pub length: u32,
    /// The arguments.
    pub args: [u64; 6],
    /// What they point at.
    pub data: [u8; DATA_MAX],
}

/// What became of it; the data of the job follow, with what the call has filled in.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Done {
    /// The result word.
    pub value: i64,
    /// 0: it is that. 1: a descriptor was handed over; 2: one that exec closes.
    pub gives: u64,
}

/// Bytes of a job in front of its data.
pub const JOB_HEAD: usize = core::mem::offset_of!(Job, data);

/// What a client may not do though the zone's filter lets a guest: what changes files by name, looks at
/// them by more than a descriptor of its own, or reaches other processes.
const CLOSED: [u32; 17] = [
    nr::kill,
    nr::ptrace,
    nr::rt_sigqueueinfo,
    nr::tkill,
    nr::mkdirat,
    nr::mknodat,
    nr::unlinkat,
    nr::linkat,
    nr::symlinkat,
    nr::rt_tgsigqueueinfo,
    nr::process_vm_readv,
    nr::process_vm_writev,
    nr::kcmp,
    nr::renameat2,
    nr::pidfd_send_signal,
    nr::pidfd_getfd,
    nr::name_to_handle_at,
];
/// What it may do with a descriptor only, by the empty path.
const EMPTY_ONLY: [u32; 4] = [nr::newfstatat, nr::readlinkat, nr::statx, nr::faccessat2];
/// What it may ask of itself only, by 0.
const SELF_ONLY: [u32; 3] = [nr::migrate_pages, nr::get_robust_list, nr::move_pages];
/// `F_SETOWN_EX`, and `F_SETOWN` which no form admits either.
const OWNERS: [u32; 2] = [15, 8];

/// Longest second filter.
pub const FILTER_MAX: usize = 104;

/// The second filter of a client: `empty` is the address of the empty path. Gives its length.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "halves of a word")]
pub fn filter(empty: u64) -> ([Insn; FILTER_MAX], usize) {
    const EPERM: u32 = 1;
    let mut steps = [Insn::new(RETURN, 0, 0, ERRNO | EPERM); FILTER_MAX];
    let mut count = 0;
    let mut put = |insn: Insn| {
        if let Some(place) = steps.get_mut(count) {
            *place = insn;
        }
        count += 1;
    };
    let refused = Insn::new(RETURN, 0, 0, ERRNO | EPERM);
    let allowed = Insn::new(RETURN, 0, 0, ALLOW);
    let argument = |index: u32| data::ARGS + 8 * index;
    put(Insn::new(LOAD, 0, 0, data::NUMBER));
    // The doorbell says whose it is; that it rings is the zone's filter's to say.
    put(Insn::new(JEQ, 0, 4, NR_DOORBELL));
    put(Insn::new(LOAD, 0, 0, argument(1)));
    put(Insn::new(JEQ, 0, 1, CLIENT));
    put(allowed);
    put(refused);
    // Copies of programs, which everybody may read.
    put(Insn::new(JEQ, 0, 4, nr::openat2));
    put(Insn::new(LOAD, 0, 0, argument(0)));
    put(Insn::new(JEQ, 0, 1, FD_COPIES));
    put(allowed);
    put(refused);
    put(Insn::new(JEQ, 0, 5, nr::fcntl));
    put(Insn::new(LOAD, 0, 0, argument(1)));
    put(Insn::new(JEQ, 2, 0, OWNERS[0]));
    put(Insn::new(JEQ, 1, 0, OWNERS[1]));
    put(allowed);
    put(refused);
    for number in EMPTY_ONLY {
        put(Insn::new(JEQ, 0, 6, number));
        put(Insn::new(LOAD, 0, 0, argument(1) + 4));
        put(Insn::new(JEQ, 0, 3, (empty >> 32) as u32));
        put(Insn::new(LOAD, 0, 0, argument(1)));
        put(Insn::new(JEQ, 0, 1, empty as u32));
        put(allowed);
        put(refused);
    }
    // Whether a thread is there, and nothing more.
    put(Insn::new(JEQ, 0, 4, nr::tgkill));
    put(Insn::new(LOAD, 0, 0, argument(2)));
    put(Insn::new(JEQ, 0, 1, 0));
    put(allowed);
    put(refused);
    for number in SELF_ONLY {
        put(Insn::new(JEQ, 0, 4, number));
        put(Insn::new(LOAD, 0, 0, argument(0)));
        put(Insn::new(JEQ, 0, 1, 0));
        put(allowed);
        put(refused);
    }
    // Most calls have passed by now: numbers below the first of what is closed, or above the last.
    put(Insn::new(JGE, 1, 0, CLOSED[0]));
    put(allowed);
    for number in CLOSED {
        put(Insn::new(JEQ, 0, 1, number));
        put(refused);
    }
    put(allowed);
    (steps, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use picozone_syscalls::ROWS;

    const EMPTY: u64 = 0x6601_0000_0240;

    /// Whether the filter lets a call through, as the kernel's classic BPF would run it.
    #[expect(clippy::cast_possible_truncation, reason = "halves of words")]
    fn passes(nr: u32, args: [u64; 6]) -> bool {
        let (steps, count) = filter(EMPTY);
        assert!(count <= FILTER_MAX);
        let (mut at, mut word) = (0, 0);
        loop {
            let step = steps[at];
            at += 1;
            let holds = match step.code {
                RETURN => return step.k == ALLOW,
                LOAD if step.k == data::NUMBER => {
                    word = nr;
                    continue;
                }
                LOAD => {
                    let offset = step.k - data::ARGS;
                    let arg = args[offset as usize / 8];
                    word = (arg >> (8 * (offset % 8))) as u32;
                    continue;
                }
                JEQ => word == step.k,
                JGE => word >= step.k,
                other => panic!("operation {other:#x}"),
            };
            at += usize::from(if holds { step.jt } else { step.jf });
        }
    }

    #[test]
    fn what_is_closed_is_closed_and_nothing_else() {
        let special = |nr: u32| {
            EMPTY_ONLY.contains(&nr)
                || SELF_ONLY.contains(&nr)
                || [nr::openat2, nr::tgkill].contains(&nr)
        };
        for row in ROWS {
            let is_open = !CLOSED.contains(&row.nr) && !special(row.nr);
            assert_eq!(passes(row.nr, [1; 6]), is_open, "{}", row.name);
        }
    }

    #[test]
    fn forms_are_looked_at() {
        for nr in EMPTY_ONLY {
            assert!(passes(nr, [3, EMPTY, 0, 0, 0, 0]));
            assert!(!passes(nr, [3, EMPTY + 1, 0, 0, 0, 0]));
            assert!(!passes(nr, [3, EMPTY & 0xffff_ffff, 0, 0, 0, 0]));
        }
        for nr in SELF_ONLY {
            assert!(passes(nr, [0; 6]));
            assert!(!passes(nr, [77, 0, 0, 0, 0, 0]));
        }
        assert!(passes(nr::openat2, [u64::from(FD_COPIES), 0, 0, 24, 0, 0]));
        assert!(!passes(
            nr::openat2,
            [u64::from(FD_COPIES) + 4, 0, 0, 24, 0, 0]
        ));
        assert!(passes(nr::fcntl, [3, 4, 0, 0, 0, 0]));
        for command in OWNERS {
            assert!(!passes(nr::fcntl, [3, u64::from(command), 0, 0, 0, 0]));
        }
        assert!(passes(nr::tgkill, [7, 7, 0, 0, 0, 0]));
        assert!(!passes(nr::tgkill, [7, 7, 9, 0, 0, 0]));
        assert!(passes(NR_DOORBELL, [0, 1, 0, 0, 0, 0]));
        assert!(!passes(NR_DOORBELL, [0, 0, 0, 0, 0, 0]));
    }
}
