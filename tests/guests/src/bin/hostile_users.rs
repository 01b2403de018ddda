//! A guest of one user that tries to reach what another keeps to itself, with machine code of its own
//! choice. It runs in a zone of the strict profile.
//!
//! `hostile_users ZONE_PID`: a process of the zone's root. [`picozone_guests::attempts`] says how attempts
//! are made and told. What they aim at besides: `/root/secret`, which only root may read, and `/root` itself.
#![expect(
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "everything here is meant to do harm; kernel and monitor are to keep it from doing so"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "registers are words"
)]

use picozone_guests::attempts::{self, DOORBELL, VICTIM, attempt, inside, ptr, raw};
use picozone_personality::clients::{CLIENT, enter};
use picozone_personality::commons::Commons;
use picozone_personality::layout::{
    COMMONS_BASE, FD_BOXES, FD_COMMONS, FD_MOUNT0, FD_PARENTS, MAILBOXES_OFFSET, TABLES_BASE,
};
use picozone_personality::mailbox::{Mailbox, Request};
use picozone_personality::tables::{HOW_INVALID, Tables};
use std::ffi::CStr;
use std::mem::offset_of;
use std::sync::atomic::Ordering::Relaxed;

const SECRET: &CStr = c"root/secret";
const EPERM: i64 = -(libc::EPERM as i64);

fn main() {
    let victim = std::env::args().nth(1).and_then(|word| word.parse().ok());
    let victim: u32 = victim.expect("usage: hostile_users ZONE_PID");
    let host = commons().processes[victim as usize].host.load(Relaxed);
    VICTIM.store(host, Relaxed);
    controls();
    names();
    memory();
    processes(u64::from(host), u64::from(victim));
    requests(u64::from(host));
    garbage();
    println!("still runs");
}

fn commons() -> &'static Commons {
    unsafe { &*(COMMONS_BASE as *const Commons) }
}

fn tables() -> &'static Tables {
    unsafe { &*(TABLES_BASE as *const Tables) }
}

/// Shows that calls from both places can succeed at all.
fn controls() {
    for (name, result) in [
        ("raw", raw(libc::SYS_sched_yield, [0; 6])),
        ("inside", inside(libc::SYS_sched_yield, [0; 6])),
        ("doorbell", ring(Request::Ping, [0; 3])),
        (
            "own file",
            raw(
                libc::SYS_access,
                [c"/etc/passwd".as_ptr() as u64, 4, 0, 0, 0, 0],
            ),
        ),
    ] {
        if result < 0 {
            println!("BROKEN control {name}: {result}");
        }
    }
}

/// Rings as a client must.
fn ring(request: Request, words: [u64; 3]) -> i64 {
    let [a, b, c] = words;
    inside(DOORBELL, [request as u64, u64::from(CLIENT), a, b, c, 0])
}

/// Asks the monitor with this mailbox.
fn asked(request: Request, args: &[u64], text: &[u8]) -> i64 {
    attempts::asked_as(CLIENT.into(), request, args, text)
}

/// The mounts' directories, which a guest has as reserved descriptors.
fn mounts() -> impl Iterator<Item = u64> {
    (FD_MOUNT0..FD_PARENTS).map(u64::from)
}

/// One attempt for each mount: the first that succeeds counts.
fn at_each_mount(name: &str, call: impl Fn(u64) -> i64) {
    attempt(name, || {
        mounts()
            .map(&call)
            .find(|&result| result >= 0)
            .unwrap_or(EPERM)
    });
}

fn names() {
    let path = SECRET.as_ptr() as u64;
    let hows = || {
        let all = tables().hows.iter();
        all.filter(|how| how.resolve.load(Relaxed) != HOW_INVALID)
    };
    for (name, lacks) in [("to read", 0), ("to name", libc::O_PATH)] {
        let fitting = || {
            hows().filter(|how| {
                let flags = how.flags.load(Relaxed) as i32;
                let barred = libc::O_DIRECTORY | libc::O_CREAT;
                flags & (libc::O_ACCMODE | libc::O_PATH) == lacks && flags & barred == 0
            })
        };
        if fitting().next().is_none() {
            println!("BROKEN control: no approved way {name}");
        }
        at_each_mount(&format!("openat2 of root's file {name}"), |fd| {
            let open = |how| inside(libc::SYS_openat2, [fd, path, ptr(how), 24, 0, 0]);
            fitting().map(open).max().unwrap_or(EPERM)
        });
    }
    let mut status = [0u64; 64];
    let to = std::ptr::from_mut(&mut status) as u64;
    let (first, follow) = (ptr(&tables().names.slots[0]), 0x100);
    // Whatever the kernel says of such a name, it was asked.
    let is_asked = |result: i64| if result == EPERM { EPERM } else { 0 };
    for (name, nr, args) in [
        (
            "newfstatat",
            libc::SYS_newfstatat,
            [0, first, to, follow, 0, 0],
        ),
        ("statx", libc::SYS_statx, [0, first, follow, 0x7ff, to, 0]),
        ("readlinkat", libc::SYS_readlinkat, [0, first, to, 64, 0, 0]),
        (
            "faccessat2",
            libc::SYS_faccessat2,
            [0, first, 4, follow, 0, 0],
        ),
    ] {
        at_each_mount(&format!("{name} by a vetted name"), |fd| {
            let [_, rest @ ..] = args;
            let [a, b, c, d, e] = rest;
            is_asked(inside(nr, [fd, a, b, c, d, e]))
        });
    }
    let made = c"root/made".as_ptr() as u64;
    at_each_mount("mkdirat in root's directory", |fd| {
        inside(libc::SYS_mkdirat, [fd, made, 0o700, 0, 0, 0])
    });
    at_each_mount("mknodat in root's directory", |fd| {
        inside(libc::SYS_mknodat, [fd, made, 0o100_600, 0, 0, 0])
    });
    at_each_mount("symlinkat in root's directory", |fd| {
        inside(libc::SYS_symlinkat, [path, fd, made, 0, 0, 0])
    });
    at_each_mount("linkat of root's file", |fd| {
        let mine = c"tmp/mine".as_ptr() as u64;
        inside(libc::SYS_linkat, [fd, path, fd, mine, 0, 0])
    });
    at_each_mount("renameat2 of root's file", |fd| {
        let mine = c"tmp/mine".as_ptr() as u64;
        inside(libc::SYS_renameat2, [fd, path, fd, mine, 0, 0])
    });
    at_each_mount("unlinkat of root's file", |fd| {
        inside(libc::SYS_unlinkat, [fd, path, 0, 0, 0, 0])
    });
    for (name, path) in [
        ("root's file", c"/root/secret"),
        ("a file over a reserved descriptor", c"/proc/self/fd/1026"),
        (
            "a mount over a reserved descriptor",
            c"/proc/self/fd/1032/root/secret",
        ),
    ] {
        for (how, flags) in [("read", libc::O_RDONLY), ("write", libc::O_RDWR)] {
            attempt(&format!("open of {name} to {how}"), || {
                raw(
                    libc::SYS_open,
                    [path.as_ptr() as u64, flags as u64, 0, 0, 0, 0],
                )
            });
        }
    }
}

fn processes(host: u64, zone: u64) {
    let signal = libc::SIGUSR1 as u64;
    let info = [signal, u64::MAX, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let info = ptr(&info);
    let (mut words, mut count) = ([0u64; 16], 8u64);
    let buffer = std::ptr::from_mut(&mut words) as u64;
    let own = [buffer, 8];
    let theirs = [TABLES_BASE, 8];
    let (own, theirs) = (ptr(&own), ptr(&theirs));
    let length = std::ptr::from_mut(&mut count) as u64;
    let owner = [1u32, host as u32];
    let limit = [1u64, 1];
    let rows: [(&str, i64, [u64; 6]); 19] = [
        ("kill", libc::SYS_kill, [host, signal, 0, 0, 0, 0]),
        (
            "kill of all",
            libc::SYS_kill,
            [u64::MAX, signal, 0, 0, 0, 0],
        ),
        ("tkill", libc::SYS_tkill, [host, signal, 0, 0, 0, 0]),
        ("tgkill", libc::SYS_tgkill, [host, host, signal, 0, 0, 0]),
        (
            "rt_sigqueueinfo",
            libc::SYS_rt_sigqueueinfo,
            [host, signal, info, 0, 0, 0],
        ),
        (
            "rt_tgsigqueueinfo",
            libc::SYS_rt_tgsigqueueinfo,
            [host, host, signal, info, 0, 0],
        ),
        ("ptrace to attach", libc::SYS_ptrace, [16, host, 0, 0, 0, 0]),
        (
            "ptrace to seize",
            libc::SYS_ptrace,
            [0x4206, host, 0, 0, 0, 0],
        ),
        (
            "process_vm_readv",
            libc::SYS_process_vm_readv,
            [host, own, 1, theirs, 1, 0],
        ),
        (
            "process_vm_writev",
            libc::SYS_process_vm_writev,
            [host, own, 1, theirs, 1, 0],
        ),
        ("kcmp", libc::SYS_kcmp, [host, host, 0, 0, 0, 0]),
        (
            "get_robust_list",
            libc::SYS_get_robust_list,
            [host, buffer, length, 0, 0, 0],
        ),
        ("move_pages", libc::SYS_move_pages, [host, 0, 0, 0, 0, 0]),
        (
            "migrate_pages",
            libc::SYS_migrate_pages,
            [host, 64, own, own, 0, 0],
        ),
        (
            "prlimit64",
            libc::SYS_prlimit64,
            [host, 7, ptr(&limit), 0, 0, 0],
        ),
        (
            "sched_setaffinity",
            libc::SYS_sched_setaffinity,
            [host, 8, ptr(&[1u64]), 0, 0, 0],
        ),
        ("setpriority", libc::SYS_setpriority, [0, host, 19, 0, 0, 0]),
        (
            "ioprio_set",
            libc::SYS_ioprio_set,
            [1, host, 3 << 13, 0, 0, 0],
        ),
        (
            "F_SETOWN_EX",
            libc::SYS_fcntl,
            [0, 15, ptr(&owner), 0, 0, 0],
        ),
    ];
    for (name, nr, args) in rows {
        attempt(&format!("{name} at root's process"), || inside(nr, args));
    }
    let mut ends = [0i32; 2];
    unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, ends.as_mut_ptr()) };
    attempt("F_SETOWN_EX of a socket to root's process", || {
        inside(libc::SYS_fcntl, [ends[0] as u64, 15, ptr(&owner), 0, 0, 0])
    });
    let process = raw(libc::SYS_pidfd_open, [zone, 0, 0, 0, 0, 0]);
    if process < 0 {
        println!("BROKEN control pidfd_open: {process}");
    }
    let process = process as u64;
    attempt("pidfd_send_signal to root's process", || {
        inside(libc::SYS_pidfd_send_signal, [process, signal, 0, 0, 0, 0])
    });
    attempt("pidfd_getfd of root's process", || {
        inside(libc::SYS_pidfd_getfd, [process, 0, 0, 0, 0, 0])
    });
    for what in [
        "mem",
        "environ",
        "fd/0",
        "maps",
        "cwd/secret",
        "root/root/secret",
        "auxv",
    ] {
        let path = format!("/proc/{zone}/{what}\0");
        attempt(&format!("/proc/PID/{what} of root's process"), || {
            raw(libc::SYS_open, [path.as_ptr() as u64, 0, 0, 0, 0, 0])
        });
    }
}

/// Becomes root in all memory that it can write, and then tries what root may do.
fn memory() {
    let number = raw(libc::SYS_getpid, [0; 6]) as usize;
    let own = &commons().processes[number];
    for id in own.uid.iter().chain(&own.gid) {
        id.store(0, Relaxed);
    }
    for set in &own.capabilities {
        set.store(u64::MAX, Relaxed);
    }
    attempt("root's file as a forged root", || {
        raw(
            libc::SYS_open,
            [c"/root/secret".as_ptr() as u64, 0, 0, 0, 0, 0],
        )
    });
    attempt("setuid as a forged root", || raw(libc::SYS_setuid, [0; 6]));
    attempt("an execution as a forged root", || {
        // Whoever may not read it may not execute a program there either.
        let (path, none) = (c"/root/program".as_ptr() as u64, [0u64; 1]);
        raw(libc::SYS_execve, [path, ptr(&none), ptr(&none), 0, 0, 0])
    });
    let (shared, read_write, commons_fd) = (1, 3, u64::from(FD_COMMONS));
    for (name, at, flags) in [
        ("anywhere", 0, shared),
        ("in place", COMMONS_BASE, shared | 0x10),
        ("read-only at first", 0, shared),
    ] {
        attempt(&format!("the commons mapped {name}"), || {
            let protection = if name.contains("first") {
                1
            } else {
                read_write
            };
            let args = [at, 1 << 20, protection, flags, commons_fd, 0];
            let mapped = inside(libc::SYS_mmap, args);
            if mapped < 0 || protection == read_write {
                return mapped;
            }
            inside(
                libc::SYS_mprotect,
                [mapped as u64, 1 << 20, read_write, 0, 0, 0],
            )
        });
    }
    let byte = ptr(&0u64);
    let vector = [byte, 8];
    let rows: [(&str, i64, [u64; 6]); 7] = [
        (
            "pwrite64",
            libc::SYS_pwrite64,
            [commons_fd, byte, 8, 0, 0, 0],
        ),
        ("write", libc::SYS_write, [commons_fd, byte, 8, 0, 0, 0]),
        (
            "pwritev",
            libc::SYS_pwritev,
            [commons_fd, ptr(&vector), 1, 0, 0, 0],
        ),
        (
            "ftruncate",
            libc::SYS_ftruncate,
            [commons_fd, 0, 0, 0, 0, 0],
        ),
        (
            "fallocate",
            libc::SYS_fallocate,
            [commons_fd, 3, 0, 4096, 0, 0],
        ),
        (
            "sendfile",
            libc::SYS_sendfile,
            [commons_fd, u64::from(FD_BOXES), 0, 8, 0, 0],
        ),
        (
            "copy_file_range",
            libc::SYS_copy_file_range,
            [u64::from(FD_BOXES), 0, commons_fd, 0, 8, 0],
        ),
    ];
    for (name, nr, args) in rows {
        attempt(&format!("{name} to the commons"), || inside(nr, args));
    }
    attempt("asynchronous writing to the commons", || {
        let mut context = 0u64;
        raw(
            libc::SYS_io_setup,
            [1, std::ptr::from_mut(&mut context) as u64, 0, 0, 0, 0],
        );
        let mut block = [0u64; 8];
        block[2] = 1 << 0;
        block[2] |= commons_fd << 32;
        (block[3], block[4]) = (byte, 8);
        let blocks = [ptr(&block)];
        if inside(libc::SYS_io_submit, [context, 1, ptr(&blocks), 0, 0, 0]) < 0 {
            return EPERM;
        }
        let mut event = [0i64; 4];
        let to = std::ptr::from_mut(&mut event) as u64;
        raw(libc::SYS_io_getevents, [context, 1, 1, to, 0, 0]);
        event[2]
    });
    attempt("mailboxes of the commons through one's own", || {
        let at = MAILBOXES_OFFSET;
        let args = [0, 1 << 20, read_write, shared, commons_fd, at];
        inside(libc::SYS_mmap, args)
    });
}

/// Asks the monitor for what is not a client's to ask.
fn requests(host: u64) {
    for &request in Request::ALL {
        attempt(&format!("{} as one of root's", request.name()), || {
            inside(DOORBELL, [request as u64, 0, 0, 0, 0, 0])
        });
    }
    let others = [
        Request::How,
        Request::Open,
        Request::Stat,
        Request::Readlink,
        Request::Chmod,
        Request::Chown,
        Request::Utimens,
        Request::SetName,
        Request::Init,
        Request::Xattr,
        Request::Watch,
        Request::Root,
        Request::Mount,
        Request::Umount,
        Request::Lease,
        Request::Handle,
        Request::Truncate,
        Request::Running,
        Request::Mark,
        Request::Names,
        Request::Watched,
        Request::List,
        Request::Raise,
        Request::Made,
        Request::Make,
        Request::KeepSetIds,
    ];
    for request in others {
        attempt(&format!("{} for itself", request.name()), || {
            asked(request, &[0, 0, 0, 1], b"/root/secret\0")
        });
    }
    attempt("flags of root's file that is open", || {
        let fd = unsafe { libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY) } as u64;
        asked(Request::Mark, &[fd, 0x40, 0x40], b"")
    });
    attempt("that an own file is immutable", || {
        let path = c"/tmp/immutable".as_ptr();
        let flags = libc::O_RDWR | libc::O_CREAT;
        let fd = unsafe { libc::open(path, flags, 0o600) } as u64;
        let marked = asked(Request::Mark, &[fd, 0x10, 0x10], b"");
        unsafe { libc::unlink(path) };
        marked
    });
    let own = raw(libc::SYS_getpid, [0; 6]) as u64;
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    for (pid, uid, gid) in [(1, uid, gid), (own, 0, gid), (own, uid, 0)] {
        attempt(&format!("to pose as {pid}, {uid}, {gid}"), || {
            asked(
                Request::Pose,
                &[pid, host, host, uid.into(), gid.into()],
                b"",
            )
        });
    }
    for how in [enter::BECOME, enter::BORN, enter::BORN_WITHIN, 99] {
        attempt(&format!("Enter by {how}"), || {
            let number = raw(libc::SYS_getpid, [0; 6]) as u64;
            ring(Request::Enter, [how, number, 0])
        });
    }
    attempt("Exec of root's program as a forged root", || {
        let args = [libc::AT_FDCWD as u64, 0, 0, 0, u64::MAX, 0, 0, 0];
        asked(Request::Exec, &args, b"/root/program\0")
    });
    attempt("Born of somebody else's", || {
        let number = asked(Request::Birth, &[0; 8], b"");
        asked(Request::Born, &[number as u64, host], b"");
        // It is told nothing; but the number must not be the victim's now.
        let is_victims = commons().processes[number as usize].host.load(Relaxed) == host as u32;
        if is_victims { 0 } else { EPERM }
    });
    attempt("Prlimit of root's process", || {
        let victim = u64::from(commons().by_host[host as usize].load(Relaxed));
        let args = [libc::SYS_prlimit64 as u64, victim, 7, 1, 0, 0, 0, 0];
        asked(Request::Process, &args, b"")
    });
    attempt("Forward of setuid", || {
        asked(
            Request::Forward,
            &[libc::SYS_setuid as u64, 0, 0, 0, 0, 0, 0, 0],
            b"",
        )
    });
    attempt("Forward of what no clerk does", || {
        asked(
            Request::Forward,
            &[libc::SYS_reboot as u64, 0, 0, 0, 0, 0, 0, 0],
            b"",
        )
    });
    attempt("Forward of a place behind the data", || {
        let head = libc::SYS_open as u64 | 8 << 32;
        asked(Request::Forward, &[head, 9000, 0, 0, 0, 0, 0, 0], b"")
    });
    attempt("Forward of a text without an end", || {
        let head = libc::SYS_open as u64 | 4 << 32;
        asked(Request::Forward, &[head, 1, 0, 0, 0, 0, 0, 0], b"/etc")
    });
    attempt("Forward of too long a structure", || {
        let head = libc::SYS_stat as u64 | 16 << 32;
        asked(Request::Forward, &[head, 1, 9, 0, 0, 0, 0, 0], b"/etc\0")
    });
}

/// Forwards calls of any number with anything in the mailbox. The monitor and its clerks must stand it.
fn garbage() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let to = attempts::mailbox() as *mut Mailbox;
    for _ in 0..300 {
        let nr = next() % 470;
        // What waits for somebody is not for here, nor what ends this program.
        if [libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill].contains(&(nr as i64)) {
            continue;
        }
        let used = next() % 13_000;
        unsafe {
            (&raw mut (*to).args[0]).write_volatile(nr | used << 32);
            for at in 1..8 {
                let word = match next() % 3 {
                    0 => next(),
                    1 => next() % 13_000,
                    _ => next() % 8,
                };
                (&raw mut (*to).args[at]).write_volatile(word);
            }
            for at in 0..64 {
                (&raw mut (*to).a[at]).write_volatile((next() % 128) as u8);
            }
            (*to).a[offset_of!(Mailbox, b) - offset_of!(Mailbox, a) - 1] = 0;
        }
        ring(Request::Forward, [0; 3]);
    }
    attempt("root's file after all that", || {
        raw(
            libc::SYS_open,
            [c"/root/secret".as_ptr() as u64, 0, 0, 0, 0, 0],
        )
    });
}
