//! Calls on other processes, by callers of every kind.

use crate::lot::Lot;
use crate::people::{HEADER, Person};
use picozone_guests::children::{Child, Pipe, pipe};
use picozone_guests::{NOWHERE, Result, call, child, close, from, name, out, signals, text};

const TARGETS: usize = 3;
/// What lies at the same address in all processes.
static MARK: u64 = 0x6d61_726b;
const SIGNALS: [u64; 8] = [0, 0, 10, 18, 64, 65, 12, u64::MAX];

/// A process that waits, and does what is told it of in the end.
struct Target {
    process: Child,
    hold: Pipe,
}

impl Target {
    fn start(person: &Person) -> Self {
        let (hold, ready) = (pipe().expect("a pipe"), pipe().expect("a pipe"));
        let process = child(|| {
            signals::mask(libc::SIG_SETMASK, &signals::all()).expect("valid");
            person.become_it();
            ready.tell();
            hold.hear();
            let nice = call(libc::SYS_getpriority, &[0, 0]);
            let policy = call(libc::SYS_sched_getscheduler, &[0]);
            let io = call(libc::SYS_ioprio_get, &[1, 0]);
            println!("  .. {:?} {nice:?} {policy:?} {io:?}", signals::pending());
            0
        });
        ready.hear();
        Self { process, hold }
    }

    fn pid(&self) -> u64 {
        u64::try_from(self.process.0).expect("a pid")
    }
}

/// Makes some calls on three processes, and tells what they have come to.
pub(crate) fn round(seed: u64, lot: &mut Lot) {
    let people: Vec<_> = (0..TARGETS).map(|_| Person::draw(lot)).collect();
    for person in &people {
        println!("{seed} {person:?}");
    }
    let targets: Vec<_> = people.iter().map(Target::start).collect();
    for nth in 0..6 {
        let at = lot.below(TARGETS);
        let (caller, mut lot) = (Person::draw(lot), Lot::new(lot.next()));
        let pid = targets[at].pid();
        let ended = child(|| {
            caller.become_it();
            let (what, told) = one(&mut lot, pid, &caller);
            println!("{seed}.{nth} {caller:?} on {at}: {what} = {told}");
            0
        });
        ended.wait().expect("it ends");
    }
    for target in targets {
        target.hold.tell();
        target.process.wait().expect("it ends");
    }
}

fn plain(result: &Result<u64>) -> String {
    format!("{result:?}")
}

/// Whether it was done, where the number is another one on each side.
fn done(result: &Result<u64>) -> String {
    format!("{:?}", result.map(drop))
}

/// Makes a call on a process: what it was, and what it gave.
fn one(lot: &mut Lot, pid: u64, caller: &Person) -> (String, String) {
    match lot.below(4) {
        0 => signal(lot, pid),
        1 => schedule(lot, pid, caller),
        2 => look(lot, pid),
        _ => file(lot, pid),
    }
}

fn signal(lot: &mut Lot, pid: u64) -> (String, String) {
    let signal = lot.pick(&SIGNALS);
    // `siginfo_t` by its first three words: signal, errno, code.
    let code = lot.pick(&[-1, -1, 0, 1, -6, 128]);
    let mut info = [0i32; 32];
    info[0] = if lot.chance(80) {
        i32::try_from(signal).unwrap_or(-1)
    } else {
        5
    };
    info[2] = code;
    let told =
        |what: &str, result: Result<u64>| (format!("{what}({signal:#x}, {code})"), plain(&result));
    match lot.below(7) {
        0 => told("kill", call(libc::SYS_kill, &[pid, signal])),
        1 => told("tkill", call(libc::SYS_tkill, &[pid, signal])),
        2 => told("tgkill", call(libc::SYS_tgkill, &[pid, pid, signal])),
        3 => told(
            "sigqueue",
            call(libc::SYS_rt_sigqueueinfo, &[pid, signal, from(&info)]),
        ),
        4 => {
            let words = [pid, pid, signal, from(&info)];
            told("tgsigqueue", call(libc::SYS_rt_tgsigqueueinfo, &words))
        }
        way => {
            let fd = call(libc::SYS_pidfd_open, &[pid, 0]).expect("it runs");
            let result = if way == 5 {
                let info = if lot.chance(50) { from(&info) } else { 0 };
                call(libc::SYS_pidfd_send_signal, &[fd, signal, info, 0])
            } else {
                call(libc::SYS_pidfd_getfd, &[fd, 0, 0]).map(|got| {
                    close(got);
                    0
                })
            };
            told(
                if way == 5 {
                    "pidfd_send_signal"
                } else {
                    "pidfd_getfd"
                },
                result,
            )
        }
    }
}

fn schedule(lot: &mut Lot, pid: u64, caller: &Person) -> (String, String) {
    let priority = lot.pick(&[0u32, 0, 1, 50, 100]);
    let policy = lot.pick(&[0u64, 3, 5, 1, 2, 9, u64::MAX]);
    let nice = lot.pick(&[0u64, 5, 19, 25, 10, (-5i64).cast_unsigned()]);
    let which = lot.pick(&[0u64, 0, 0, 3]);
    // Not the class of real time, which is the host's to give.
    let class = lot.pick(&[0u64, 2, 3, 4]);
    let io = class << 13 | lot.pick(&[0, 4, 9]);
    let limits = lot.pick(&[[0u64, 0], [1 << 30, 1 << 40], [2, 1], [1 << 20, u64::MAX]]);
    let resource = lot.pick(&[4u64, 1, 99, 3]);
    let mut room = [0u64; 32];
    let to = out(&mut room);
    let told = |what: String, result: Result<u64>| (what, plain(&result));
    match lot.below(12) {
        0 => told(
            format!("sched_setscheduler({policy:#x}, {priority})"),
            call(
                libc::SYS_sched_setscheduler,
                &[pid, policy, from(&priority)],
            ),
        ),
        1 => told(
            format!("sched_setparam({priority})"),
            call(libc::SYS_sched_setparam, &[pid, from(&priority)]),
        ),
        2 => told(
            "sched_getscheduler".into(),
            call(libc::SYS_sched_getscheduler, &[pid]),
        ),
        3 => told(
            "sched_getparam".into(),
            call(libc::SYS_sched_getparam, &[pid, to]),
        ),
        4 => told(
            format!("setpriority({which}, {nice:#x})"),
            call(libc::SYS_setpriority, &[which, pid, nice]),
        ),
        5 => told(
            format!("getpriority({which})"),
            call(libc::SYS_getpriority, &[which, pid]),
        ),
        6 => told(
            format!("ioprio_set({io:#x})"),
            call(libc::SYS_ioprio_set, &[1, pid, io]),
        ),
        // Not every root has `CAP_SYS_RESOURCE`.
        8 if caller.is_user() => {
            let (new, old) = (lot.pick(&[from(&limits), 0]), lot.pick(&[to, 0, NOWHERE]));
            let result = call(libc::SYS_prlimit64, &[pid, resource, new, old]);
            let what = format!("prlimit({resource}, {}, {})", new != 0, old != 0);
            told(format!("{what} {limits:x?}"), result)
        }
        7 | 8 => told("ioprio_get".into(), call(libc::SYS_ioprio_get, &[1, pid])),
        9 => {
            let mask = lot.pick(&[1u64, 0]);
            let result = call(libc::SYS_sched_setaffinity, &[pid, 8, from(&mask)]);
            told(format!("sched_setaffinity({mask})"), result)
        }
        10 => {
            // `struct sched_attr`: size, policy, flags, nice, priority.
            let nice = lot.pick(&[0, 5, -5]);
            let policy = u32::try_from(policy & 0xf).expect("small");
            let attr = [
                48u32,
                policy,
                0,
                0,
                i32::cast_unsigned(nice),
                priority,
                0,
                0,
                0,
                0,
                0,
                0,
            ];
            let result = call(libc::SYS_sched_setattr, &[pid, from(&attr), 0]);
            told(
                format!("sched_setattr({policy}, {nice}, {priority})"),
                result,
            )
        }
        _ => told(
            "sched_getattr".into(),
            call(libc::SYS_sched_getattr, &[pid, to, 48, 0]),
        ),
    }
}

fn look(lot: &mut Lot, pid: u64) -> (String, String) {
    let mut word = 0u64;
    let local = [out(&mut word), 8];
    let remote = [from(&MARK), 8];
    let mut room = [0u64; 4];
    let to = out(&mut room);
    match lot.below(9) {
        0 | 1 => {
            let words = [pid, from(&local), 1, from(&remote), 1, 0];
            let result = call(libc::SYS_process_vm_readv, &words);
            ("process_vm_readv".into(), format!("{result:?} {word:x}"))
        }
        2 => (
            "kcmp".into(),
            plain(&call(libc::SYS_kcmp, &[pid, pid, 1, 0, 0])),
        ),
        3 => {
            let result = call(libc::SYS_get_robust_list, &[pid, to, to + 8]);
            ("get_robust_list".into(), plain(&result))
        }
        4 => (
            "seize".into(),
            plain(&call(libc::SYS_ptrace, &[0x4206, pid, 0, 0])),
        ),
        5 => {
            let header = [HEADER[0], u32::try_from(pid).expect("a pid")];
            let mut sets = [0u32; 6];
            let result = call(libc::SYS_capget, &[from(&header), out(&mut sets)]);
            ("capget".into(), format!("{result:?} {sets:x?}"))
        }
        6 => ("getpgid".into(), done(&call(libc::SYS_getpgid, &[pid]))),
        7 => ("getsid".into(), done(&call(libc::SYS_getsid, &[pid]))),
        _ => ("setpgid".into(), done(&call(libc::SYS_setpgid, &[pid, 0]))),
    }
}

fn file(lot: &mut Lot, pid: u64) -> (String, String) {
    // Not `maps`, `environ` and their like: who may look at them by `CAP_PERFMON` depends on the kernel.
    const FILES: [(&str, i32); 17] = [
        ("mem", libc::O_RDONLY),
        ("status", libc::O_RDONLY),
        ("stat", libc::O_RDONLY),
        ("fd", libc::O_RDONLY | libc::O_DIRECTORY),
        ("fdinfo", libc::O_RDONLY | libc::O_DIRECTORY),
        ("task", libc::O_RDONLY | libc::O_DIRECTORY),
        ("limits", libc::O_RDONLY),
        ("cmdline", libc::O_RDONLY),
        ("comm", libc::O_WRONLY),
        ("oom_score_adj", libc::O_WRONLY),
        ("oom_score_adj", libc::O_RDONLY),
        ("cwd", libc::O_PATH),
        ("root", libc::O_PATH),
        ("exe", libc::O_RDONLY),
        ("fd/0", libc::O_RDONLY),
        ("ns/pid", libc::O_RDONLY),
        ("cwd/.", libc::O_RDONLY),
    ];
    let (file, flags) = lot.pick(&FILES);
    let path = name(&format!("/proc/{pid}/{file}"));
    if lot.chance(30) {
        let mut buffer = [0u8; 100];
        let result = call(libc::SYS_readlink, &[text(&path), out(&mut buffer), 100]);
        return (format!("readlink {file}"), done(&result));
    }
    let opened = call(libc::SYS_open, &[text(&path), flags.cast_unsigned().into()]);
    let opened = opened.map(close);
    // SAFETY: all zero is a valid `struct stat`.
    let mut found = unsafe { std::mem::zeroed::<libc::stat>() };
    let looked = call(libc::SYS_lstat, &[text(&path), out(&mut found)]);
    let owner = (found.st_mode, found.st_uid, found.st_gid);
    // Where the guest was started is not the same on both sides.
    let owner = if file == "cwd/." { (0, 0, 0) } else { owner };
    (
        format!("open {file}"),
        format!("{opened:?} {looked:?} {owner:?}"),
    )
}
