//! A guest that tries to leave its zone, with machine code of its own choice.
//!
//! [`picozone_guests::attempts`] says how.
//!
//! `hostile HOST_PID HOST_SOCKET`: a process and a listening unix socket of the host, by the host's
//! names; there is a datagram socket `HOST_SOCKET.datagrams`, too.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "everything here is meant to do harm; the kernel is to keep it from doing so"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "registers are words"
)]

#[path = "hostile/datagrams.rs"]
mod datagrams;
#[path = "hostile/detached.rs"]
mod detached;
#[path = "hostile/filters.rs"]
mod filters;
#[path = "hostile/makers.rs"]
mod makers;
#[path = "hostile/names.rs"]
mod names;

use picozone_guests::attempts::{
    DOORBELL, MAILBOXES, VICTIM, asked, attempt, both, inside, ptr, raw,
};
use picozone_personality::commons::{Commons, state};
use picozone_personality::layout::{self, FD_HAND, THREAD_BIAS};
use picozone_personality::mailbox::{MAILBOX_STRIDE, Mailbox, Request, key, make, xattr as of};
use picozone_personality::tables::{HOW_INVALID, HOWS_MAX, How, Tables, VERSION};
use std::arch::asm;
use std::ffi::CString;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering::Relaxed;

const IMAGE: u64 = layout::PERSONALITY_BASE;
const TABLES: u64 = layout::TABLES_BASE;
const COMMONS: u64 = layout::COMMONS_BASE;
const FD_PERSONALITY: u64 = layout::FD_PERSONALITY as u64;
const FD_TABLES: u64 = layout::FD_TABLES as u64;
const FDS: std::ops::Range<u64> =
    layout::FD_BASE as u64..(layout::FD_BASE + layout::FD_COUNT) as u64;
/// Where the approved ways to open lie.
const HOWS: std::ops::Range<u64> = {
    let start = TABLES + std::mem::offset_of!(Tables, hows) as u64;
    start..start + HOWS_MAX as u64 * SLOT
};
const SLOT: u64 = size_of::<How>() as u64;
const PAGE: u64 = 4096;
/// From any place in a zone out of its root, if anything led there.
const UP: &str = "../../../../../../../..";

/// Shows that calls from both places can succeed at all, or all else here says nothing.
fn controls() {
    let own = inside(libc::SYS_getpid, [0; 6]);
    let controls = [
        ("raw", raw(libc::SYS_sched_yield, [0; 6])),
        ("inside", inside(libc::SYS_sched_yield, [0; 6])),
        (
            "own process",
            inside(libc::SYS_kill, [own as u64, 0, 0, 0, 0, 0]),
        ),
        ("doorbell", inside(DOORBELL, [0; 6])),
        (
            "tables",
            i64::from(unsafe { &*(TABLES as *const Tables) }.version == VERSION) - 1,
        ),
    ];
    if inside(libc::SYS_fsync, [9999, 0, 0, 0, 0, 0]) != -i64::from(libc::EBADF) {
        println!("BROKEN control errno");
    }
    for (name, result) in controls {
        if result < 0 {
            println!("BROKEN control {name}: {result}");
        }
    }
}

fn foreign_calls() {
    attempt("int 0x80", || {
        let result: i64;
        unsafe { asm!("int 0x80", inlateout("rax") 20i64 => result) };
        result
    });
    attempt("userfaultfd over the kernel's accesses", || {
        inside(libc::SYS_userfaultfd, [0; 6])
    });
    both("x32", 0x4000_0000 | libc::SYS_getpid, [0; 6]);
    let zeroes = [0u64; 64];
    let z = ptr(&zeroes);
    let user = libc::CLONE_NEWUSER as u64;
    // As it is, and nothing added to it: harmless if it were done.
    let mut now = [0u64; 2];
    raw(
        libc::SYS_clock_gettime,
        [0, std::ptr::from_mut(&mut now) as u64, 0, 0, 0, 0],
    );
    // The personality itself tells those who ask for what is so already that it is.
    attempt("set the clock", || {
        inside(libc::SYS_clock_settime, [0, ptr(&now), 0, 0, 0, 0])
    });
    let mut offset = [0u64; 26];
    offset[0] = 0x100;
    let rows: [(&str, i64, [u64; 6]); 21] = [
        (
            "io_uring_setup",
            libc::SYS_io_uring_setup,
            [1, z, 0, 0, 0, 0],
        ),
        ("bpf", libc::SYS_bpf, [0, z, 64, 0, 0, 0]),
        (
            "unshare a user name space",
            libc::SYS_unshare,
            [user, 0, 0, 0, 0, 0],
        ),
        (
            "unshare all there is",
            libc::SYS_unshare,
            [u64::MAX, 0, 0, 0, 0, 0],
        ),
        (
            "unshare with a high word",
            libc::SYS_unshare,
            [user | 1 << 32, 0, 0, 0, 0, 0],
        ),
        (
            "set the time of day",
            libc::SYS_settimeofday,
            [ptr(&now), 0, 0, 0, 0, 0],
        ),
        (
            "shift the clock",
            libc::SYS_adjtimex,
            [ptr(&offset), 0, 0, 0, 0, 0],
        ),
        (
            "shift a clock",
            libc::SYS_clock_adjtime,
            [0, ptr(&offset), 0, 0, 0, 0],
        ),
        (
            "clone into one",
            libc::SYS_clone,
            [user | 17, 0, 0, 0, 0, 0],
        ),
        (
            "a filter by ptrace",
            libc::SYS_ptrace,
            [0x420c, 0, 0, 0, 0, 0],
        ),
        (
            "arch_prctl by ptrace",
            libc::SYS_ptrace,
            [30, 0, 0, 0, 0, 0],
        ),
        (
            "a listener of its own",
            libc::SYS_seccomp,
            [1, 8, z, 0, 0, 0],
        ),
        ("a seccomp filter", libc::SYS_prctl, [22, 2, z, 0, 0, 0]),
        (
            "perf_event_open",
            libc::SYS_perf_event_open,
            [z, 0, u64::MAX, u64::MAX, 0, 0],
        ),
        (
            "open_by_handle_at",
            libc::SYS_open_by_handle_at,
            [3, z, 0, 0, 0, 0],
        ),
        ("modify_ldt", libc::SYS_modify_ldt, [0, z, 64, 0, 0, 0]),
        (
            "fanotify_init",
            libc::SYS_fanotify_init,
            [0x200, 0, 0, 0, 0, 0],
        ),
        ("TIOCSTI", libc::SYS_ioctl, [0, 0x5412, ptr(b"x"), 0, 0, 0]),
        ("TIOCLINUX", libc::SYS_ioctl, [0, 0x541c, z, 0, 0, 0]),
        ("an unknown number", 5000, [0; 6]),
        ("map_shadow_stack", 453, [0, PAGE, 0, 0, 0, 0]),
    ];
    for (name, nr, args) in rows {
        both(name, nr, args);
    }
}

fn reserved_descriptors() {
    for fd in [
        FDS.start,
        FD_TABLES,
        u64::from(layout::FD_HAND),
        u64::from(layout::FD_MOUNT0),
        FDS.end - 1,
    ] {
        both(&format!("close {fd}"), libc::SYS_close, [fd, 0, 0, 0, 0, 0]);
        both(&format!("dup {fd}"), libc::SYS_dup, [fd, 0, 0, 0, 0, 0]);
        both(
            &format!("dup2 onto {fd}"),
            libc::SYS_dup2,
            [0, fd, 0, 0, 0, 0],
        );
        both(
            &format!("dup3 onto {fd}"),
            libc::SYS_dup3,
            [0, fd, libc::O_CLOEXEC as u64, 0, 0, 0],
        );
        let cloexec = libc::FD_CLOEXEC as u64;
        both(
            &format!("F_SETFD {fd}"),
            libc::SYS_fcntl,
            [fd, 2, cloexec, 0, 0, 0],
        );
        both(
            &format!("F_DUPFD {fd}"),
            libc::SYS_fcntl,
            [fd, 0, 0, 0, 0, 0],
        );
        both(
            &format!("FIOCLEX {fd}"),
            libc::SYS_ioctl,
            [fd, 0x5451, 0, 0, 0, 0],
        );
        both(
            &format!("FIONBIO {fd}"),
            libc::SYS_ioctl,
            [fd, 0x5421, ptr(&1u64), 0, 0, 0],
        );
        both(
            &format!("shutdown {fd}"),
            libc::SYS_shutdown,
            [fd, 2, 0, 0, 0, 0],
        );
    }
    attempt("close_range over them, inside", || {
        inside(libc::SYS_close_range, [1000, 2000, 0, 0, 0, 0])
    });
    attempt("close_range over them, then exec", || {
        raw(libc::SYS_close_range, [3, u64::from(u32::MAX), 0, 0, 0, 0]);
        runs() - 1
    });
}

/// 0 if a program can still be executed.
fn runs() -> i64 {
    let done = std::process::Command::new("/bin/true").status();
    i64::from(!done.is_ok_and(|status| status.success()))
}

fn memory() {
    for (name, at) in [
        ("image", IMAGE),
        ("tables", TABLES),
        ("commons", COMMONS),
        ("mailboxes", MAILBOXES),
    ] {
        let fixed = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as u64;
        both(
            &format!("munmap of {name}"),
            libc::SYS_munmap,
            [at, PAGE, 0, 0, 0, 0],
        );
        both(
            &format!("mprotect of {name}"),
            libc::SYS_mprotect,
            [at, PAGE, 7, 0, 0, 0],
        );
        both(
            &format!("pkey_mprotect of {name}"),
            libc::SYS_pkey_mprotect,
            [at, PAGE, 7, u64::MAX, 0, 0],
        );
        both(
            &format!("mmap over {name}"),
            libc::SYS_mmap,
            [at, PAGE, 3, fixed, u64::MAX, 0],
        );
        both(
            &format!("mremap of {name}"),
            libc::SYS_mremap,
            [at, PAGE, 2 * PAGE, 1, 0, 0],
        );
        both(
            &format!("MADV_DONTFORK of {name}"),
            libc::SYS_madvise,
            [at, PAGE, 10, 0, 0, 0],
        );
        both(
            &format!("MADV_REMOVE of {name}"),
            libc::SYS_madvise,
            [at, PAGE, 9, 0, 0, 0],
        );
        both(
            &format!("remap_file_pages of {name}"),
            libc::SYS_remap_file_pages,
            [at, PAGE, 0, 1, 0, 0],
        );
        both(
            &format!("shmat at {name}"),
            libc::SYS_shmat,
            [0, at, 0o40000, 0, 0, 0],
        );
    }
    let own = vec![0u8; 3 * PAGE as usize];
    let page = (own.as_ptr() as u64 + PAGE) & !(PAGE - 1);
    both(
        "mremap onto the tables",
        libc::SYS_mremap,
        [page, PAGE, PAGE, 3, TABLES, 0],
    );
    let shared = libc::MAP_SHARED as u64;
    both(
        "tables to write",
        libc::SYS_mmap,
        [0, PAGE, 3, shared, FD_TABLES, 0],
    );
    for (from, length) in [
        (0x6000_0000_0000, 0x700_0000_0000),
        (0x6100_0000_0000, 0x500_0000_0000 + PAGE),
        (0x2000_0000_0000, 0x4600_0000_0000 + PAGE),
        (PAGE, IMAGE),
    ] {
        let name = format!("from {from:x} into the personality");
        let fixed = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as u64;
        both(
            &format!("mmap {name}"),
            libc::SYS_mmap,
            [from, length, 3, fixed | 0x4000, u64::MAX, 0],
        );
        both(
            &format!("munmap {name}"),
            libc::SYS_munmap,
            [from, length, 0, 0, 0, 0],
        );
        both(
            &format!("mprotect {name}"),
            libc::SYS_mprotect,
            [from, length, 7, 0, 0, 0],
        );
        both(
            &format!("MADV_DONTNEED {name}"),
            libc::SYS_madvise,
            [from, length, 4, 0, 0, 0],
        );
    }
    both(
        "a mapping without end",
        libc::SYS_mmap,
        [0, 0x7000_0000_0000, 0, 0x4022, u64::MAX, 0],
    );
    attempt("a write to the tables", || {
        unsafe { (TABLES as *mut u64).write_volatile(0) };
        0
    });
    attempt("/proc/self/mem at the tables", || {
        let path = c"/proc/self/mem";
        let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDWR) };
        if fd < 0 {
            return -1;
        }
        let word = 0u64;
        unsafe { libc::pwrite(fd, (&raw const word).cast(), 8, TABLES as i64) as i64 }
    });
    attempt("RLIMIT_AS raised", || {
        let limit = [u64::MAX; 2];
        inside(libc::SYS_prlimit64, [0, 9, ptr(&limit), 0, 0, 0])
    });
    attempt("RLIMIT_AS raised, as the personality shows it", || {
        let limit = [u64::MAX; 2];
        raw(libc::SYS_prlimit64, [0, 9, ptr(&limit), 0, 0, 0]);
        let mut real = [0u64; 2];
        inside(
            libc::SYS_prlimit64,
            [0, 9, 0, real.as_mut_ptr() as u64, 0, 0],
        );
        let real = std::hint::black_box(real);
        i64::from(real[1] > layout::ADDRESS_SPACE) - 1
    });
}

fn hows() -> impl Iterator<Item = u64> {
    HOWS.step_by(SLOT as usize)
}

fn resolve_of(how: u64) -> u64 {
    unsafe { &*(how as *const How) }.resolve.load(Relaxed)
}

/// A file that was found a moment ago is not taken for a shared one, whatever is said of that.
fn words(shared: u64) {
    const WORD: u64 = 7;
    let own = std::fs::File::create("/own").expect("made");
    let own = std::os::fd::AsRawFd::as_raw_fd(&own) as u64;
    let seen = || {
        let data = std::fs::metadata("/victim/file").expect("there");
        (data.mode(), data.uid(), data.modified().expect("told"))
    };
    for (name, request, args) in [
        ("mode", Request::Chmod, [0o777, 0, 0, 0]),
        ("owner", Request::Chown, [33, 33, 0, 0]),
        ("times", Request::Utimens, [1, 0, 1, 0]),
    ] {
        let [a, b, c, d] = args;
        let ask = |fd: u64| asked(request, &[fd, a, b, c, d, 0, WORD], b"\0");
        attempt(&format!("{name} of a shared file, asked for again"), || {
            ask(shared);
            ask(shared)
        });
        attempt(
            &format!("{name} of a shared file, by another's word"),
            || {
                if ask(own) < 0 {
                    return 0;
                }
                ask(shared)
            },
        );
        attempt(
            &format!("{name} of a shared file in another's place"),
            || {
                let before = seen();
                if ask(own) < 0 {
                    return 0;
                }
                unsafe { libc::dup2(shared as i32, own as i32) };
                ask(own);
                if seen() == before { -1 } else { 0 }
            },
        );
    }
}

fn files() {
    let how = [0u64; 3];
    let path = c"/etc/passwd".as_ptr() as u64;
    let cwd = libc::AT_FDCWD as u64;
    let own = ptr(&how);
    attempt("openat2 with a how of our own", || {
        inside(libc::SYS_openat2, [cwd, path, own, 24, 0, 0])
    });
    let slot = hows().find(|&at| resolve_of(at) == HOW_INVALID);
    let slot = slot.expect("not every slot is used");
    for (name, at) in [("an empty slot", slot), ("an unaligned one", slot + 8)] {
        attempt(&format!("openat2 with {name}"), || {
            inside(libc::SYS_openat2, [cwd, path, at, 24, 0, 0])
        });
    }
    for (name, nr, args) in [
        ("open", libc::SYS_open, [path, 0, 0, 0, 0, 0]),
        ("openat", libc::SYS_openat, [cwd, path, 0, 0, 0, 0]),
        ("stat", libc::SYS_stat, [path, own, 0, 0, 0, 0]),
        ("chdir", libc::SYS_chdir, [path, 0, 0, 0, 0, 0]),
        ("chmod", libc::SYS_chmod, [path, 0o777, 0, 0, 0, 0]),
        ("truncate", libc::SYS_truncate, [path, 0, 0, 0, 0, 0]),
        ("access", libc::SYS_access, [path, 0, 0, 0, 0, 0]),
        ("execve", libc::SYS_execve, [path, 0, 0, 0, 0, 0]),
        ("utimensat", libc::SYS_utimensat, [cwd, path, 0, 0, 0, 0]),
        ("chown", libc::SYS_chown, [path, 0, 0, 0, 0, 0]),
        ("setxattr", libc::SYS_setxattr, [path, path, path, 1, 0, 0]),
    ] {
        attempt(&format!("{name} of the host, inside"), || inside(nr, args));
    }
    let empty = c"".as_ptr() as u64;
    let flags = libc::AT_EMPTY_PATH as u64;
    let argv = [0u64; 2];
    let argv = ptr(&argv);
    for (name, args) in [
        (
            "another empty string",
            [FD_PERSONALITY, empty, argv, argv, flags, 0],
        ),
        (
            "other flags",
            [FD_PERSONALITY, empty, argv, argv, flags | 0x100, 0],
        ),
        ("another descriptor", [0, empty, argv, argv, flags, 0]),
    ] {
        attempt(&format!("execveat with {name}, inside"), || {
            inside(libc::SYS_execveat, args)
        });
    }
    // A file of the host, shared read-only, that the host's user may own.
    let Ok(victim) = CString::new("/victim/file") else {
        return;
    };
    let fd = unsafe { libc::open(victim.as_ptr(), libc::O_RDONLY) } as u64;
    for operation in [of::SET, of::REMOVE] {
        attempt(
            &format!("attribute {operation} of a shared file, by the doorbell"),
            || asked(Request::Xattr, &[fd, operation, 5, 0], b"user.x\0"),
        );
    }
    for name in [
        &b"user.picozone.trusted.a\0"[..],
        b"system.posix_acl_access\0",
        b"security\0",
    ] {
        attempt("an attribute that no zone has, by the doorbell", || {
            let own = unsafe { libc::open(c"/hostile".as_ptr(), libc::O_RDONLY) } as u64;
            asked(Request::Xattr, &[own, of::SET, 5, 0], name)
        });
    }
    let directory = unsafe { libc::open(c"/victim".as_ptr(), libc::O_PATH) } as u64;
    let own = unsafe { libc::open(c"/".as_ptr(), libc::O_PATH) } as u64;
    let not_opened = u64::from(make::NOT_OPENED) << 32;
    for (name, kind) in [
        ("a directory", 0o040_755),
        ("a FIFO", 0o010_644),
        ("a device", 0o020_644),
        ("a link", 0o120_777),
    ] {
        attempt(&format!("{name} in a shared one, by the doorbell"), || {
            asked(
                Request::Make,
                &[directory, kind, 0, 0, not_opened, 0, 0x103],
                b"made\0",
            )
        });
        attempt(&format!("{name} in a file, by the doorbell"), || {
            asked(Request::Make, &[fd, kind, 0, 0, not_opened], b"made\0")
        });
    }
    attempt("a file in a shared directory, by the doorbell", || {
        asked(
            Request::Make,
            &[directory, 0o100_644, 0, 0, 2 << 32],
            b"made\0",
        )
    });
    for name in [&b"../made\0"[..], b"tmp/made\0", b"..\0", b".\0", b"\0"] {
        attempt("what is no name of a directory, by the doorbell", || {
            asked(Request::Make, &[own, 0o040_755, 0, 0, not_opened], name)
        });
    }
    for place in [FD_PERSONALITY, FD_PERSONALITY + 1, u64::MAX >> 1] {
        attempt("a file in a reserved descriptor's place", || {
            let args = [own, 0o100_644, 0, 0, 2 << 32, place + 1];
            asked(Request::Make, &args, b"reserved\0")
        });
    }
    words(fd);
    attempt("set-id bits of a shared file, by the doorbell", || {
        asked(Request::KeepSetIds, &[fd], b"\0")
    });
    attempt("the length of a shared file, by the doorbell", || {
        asked(Request::Truncate, &[fd, 0], b"\0")
    });
    for flags in [0x10, 0x40] {
        attempt("flags of a shared file, by the doorbell", || {
            asked(Request::Mark, &[fd, flags, flags], b"\0")
        });
    }
    for (command, name) in [(0x4008_6602, "flags"), (0x401c_5820, "attributes")] {
        let value = [0x40u32, 0, 0, 0, 0, 0, 0];
        let name = format!("{name} of a shared file");
        both(&name, libc::SYS_ioctl, [fd, command, ptr(&value), 0, 0, 0]);
    }
    attempt("a lease on a shared file", || {
        i64::from(unsafe { libc::fcntl(fd as i32, libc::F_SETLEASE, libc::F_RDLCK) })
    });
    attempt(
        "a watch of what is no file of the zone, by the doorbell",
        || asked(Request::Watch, &[1, 0, 2], b"\0"),
    );
    for (name, nr, args) in [
        ("fchmod", libc::SYS_fchmod, [fd, 0o777, 0, 0, 0, 0]),
        ("fchown", libc::SYS_fchown, [fd, 1, 1, 0, 0, 0]),
        ("futimens", libc::SYS_utimensat, [fd, 0, 0, 0, 0, 0]),
        (
            "fsetxattr",
            libc::SYS_fsetxattr,
            [fd, c"user.x".as_ptr() as u64, path, 1, 0, 0],
        ),
        (
            "FS_IOC_SETFLAGS",
            libc::SYS_ioctl,
            [fd, 0x4008_6602, own, 0, 0, 0],
        ),
        ("F_SETLEASE", libc::SYS_fcntl, [fd, 1024, 0, 0, 0, 0]),
        ("F_SET_RW_HINT", libc::SYS_fcntl, [fd, 1036, own, 0, 0, 0]),
        ("ftruncate", libc::SYS_ftruncate, [fd, 0, 0, 0, 0, 0]),
        ("fallocate", libc::SYS_fallocate, [fd, 0, 0, 99, 0, 0]),
    ] {
        attempt(&format!("{name} of a shared file, inside"), || {
            inside(nr, args)
        });
    }
    let to_write = unsafe { libc::open(victim.as_ptr(), libc::O_WRONLY) };
    attempt("a shared file to write", || i64::from(to_write));
}

fn others(pid: u64, socket: &str) {
    // That the process lives on is looked at outside.
    attempt("SIGKILL by a descriptor's owner", || {
        let pair = [0u32; 2];
        raw(libc::SYS_socketpair, [1, 1, 0, ptr(&pair), 0, 0]);
        let [ours, other] = unsafe { (&raw const pair).read_volatile() }.map(u64::from);
        inside(libc::SYS_fcntl, [ours, 10, 9, 0, 0, 0]);
        inside(libc::SYS_fcntl, [ours, 8, pid, 0, 0, 0]);
        let owner = [1u32, pid as u32];
        inside(libc::SYS_fcntl, [ours, 15, ptr(&owner), 0, 0, 0]);
        inside(libc::SYS_fcntl, [ours, 4, libc::O_ASYNC as u64, 0, 0, 0]);
        inside(libc::SYS_write, [other, ptr(&owner), 1, 0, 0, 0]);
        -1
    });
    let word = [0u64; 16];
    let w = ptr(&word);
    let vector = [w, 8];
    let own = ptr(&vector);
    for (name, nr, args) in [
        ("kill", libc::SYS_kill, [pid, 0, 0, 0, 0, 0]),
        ("PTRACE_ATTACH", libc::SYS_ptrace, [16, pid, 0, 0, 0, 0]),
        ("PTRACE_SEIZE", libc::SYS_ptrace, [0x4206, pid, 0, 0, 0, 0]),
        ("PTRACE_PEEKDATA", libc::SYS_ptrace, [2, pid, w, w, 0, 0]),
        ("PTRACE_KILL", libc::SYS_ptrace, [8, pid, 0, 0, 0, 0]),
        ("tgkill", libc::SYS_tgkill, [pid, pid, 0, 0, 0, 0]),
        ("tkill", libc::SYS_tkill, [pid, 0, 0, 0, 0, 0]),
        ("prlimit", libc::SYS_prlimit64, [pid, 7, 0, w, 0, 0]),
        ("setpriority", libc::SYS_setpriority, [0, pid, 19, 0, 0, 0]),
        ("getpriority", libc::SYS_getpriority, [0, pid, 0, 0, 0, 0]),
        (
            "sched_setaffinity",
            libc::SYS_sched_setaffinity,
            [pid, 8, ptr(&1u64), 0, 0, 0],
        ),
        (
            "sched_getaffinity",
            libc::SYS_sched_getaffinity,
            [pid, 8, w, 0, 0, 0],
        ),
        (
            "ioprio_set",
            libc::SYS_ioprio_set,
            [1, pid, 0x6000, 0, 0, 0],
        ),
        (
            "process_vm_readv",
            libc::SYS_process_vm_readv,
            [pid, own, 1, own, 1, 0],
        ),
        (
            "process_vm_writev",
            libc::SYS_process_vm_writev,
            [pid, own, 1, own, 1, 0],
        ),
        ("move_pages", libc::SYS_move_pages, [pid, 1, own, 0, w, 0]),
        ("pidfd_open", libc::SYS_pidfd_open, [pid, 0, 0, 0, 0, 0]),
        (
            "pidfd_open of a thread",
            libc::SYS_pidfd_open,
            [pid, libc::O_EXCL as u64, 0, 0, 0, 0],
        ),
        ("ioprio_get", libc::SYS_ioprio_get, [1, pid, 0, 0, 0, 0]),
        ("getpgid", libc::SYS_getpgid, [pid, 0, 0, 0, 0, 0]),
        ("getsid", libc::SYS_getsid, [pid, 0, 0, 0, 0, 0]),
        (
            "migrate_pages",
            libc::SYS_migrate_pages,
            [pid, 1, w, w, 0, 0],
        ),
        (
            "get_robust_list",
            libc::SYS_get_robust_list,
            [pid, w, w + 8, 0, 0, 0],
        ),
        ("kcmp", libc::SYS_kcmp, [pid, pid, 0, 0, 0, 0]),
        ("move_pages", libc::SYS_move_pages, [pid, 0, 0, 0, 0, 0]),
        (
            "clock_gettime",
            libc::SYS_clock_gettime,
            [clock_of(pid), w, 0, 0, 0, 0],
        ),
        (
            "clock_getres",
            libc::SYS_clock_getres,
            [clock_of(pid), w, 0, 0, 0, 0],
        ),
        (
            "timer_create",
            libc::SYS_timer_create,
            [clock_of(pid), 0, w, 0, 0, 0],
        ),
    ] {
        both(&format!("{name} of a host process"), nr, args);
    }
    for (name, nr, args) in [
        ("setpriority", libc::SYS_setpriority, [2, 0, 19, 0, 0, 0]),
        ("getpriority", libc::SYS_getpriority, [2, 0, 0, 0, 0, 0]),
        ("ioprio_set", libc::SYS_ioprio_set, [3, 0, 0x6000, 0, 0, 0]),
    ] {
        attempt(&format!("{name} of all processes of the user"), || {
            inside(nr, args)
        });
    }
    for fd in [FD_PERSONALITY, FD_TABLES, FDS.end - 1] {
        let pidfd = raw(
            libc::SYS_pidfd_open,
            [u64::from(std::process::id()), 0, 0, 0, 0, 0],
        );
        both(
            &format!("pidfd_getfd of {fd}"),
            libc::SYS_pidfd_getfd,
            [pidfd as u64, fd, 0, 0, 0, 0],
        );
    }
    forged(pid);
    told_of_events(pid);
    for (name, domain, kind) in [
        ("packet", 17, 3),
        ("vsock", 40, 1),
        ("alg", 38, 5),
        ("raw IP", 2, 3),
        ("raw IPv6", 10, 3),
    ] {
        attempt(&format!("a {name} socket, raw"), || {
            raw(libc::SYS_socket, [domain, kind, 0, 0, 0, 0])
        });
        attempt(&format!("a {name} socket, inside"), || {
            inside(libc::SYS_socket, [domain, kind, 0, 0, 0, 0])
        });
    }
    // The host's interfaces, its events, and who is connected to whom.
    for protocol in [0, 4, 9, 15, 16] {
        attempt(&format!("netlink protocol {protocol}, inside"), || {
            inside(libc::SYS_socket, [16, 3, protocol, 0, 0, 0])
        });
        attempt(
            &format!("netlink protocol {protocol} of the kernel"),
            || {
                let fd = raw(libc::SYS_socket, [16, 3, protocol, 0, 0, 0]) as u64;
                let (mut domain, mut length) = (0u32, 4u32);
                let (to, room) = (&raw mut domain as u64, &raw mut length as u64);
                let asked = inside(libc::SYS_getsockopt, [fd, 1, 39, to, room, 0]);
                if asked == 0 && domain == libc::AF_NETLINK as u32 {
                    0
                } else {
                    -1
                }
            },
        );
    }
    attempt("a host socket from what stands for netlink", || {
        let fd = raw(libc::SYS_socket, [16, 3, 0, 0, 0, 0]) as u64;
        let mut name = [0u8; 128];
        name[0] = 1;
        name[2..2 + socket.len()].copy_from_slice(socket.as_bytes());
        let at = name.as_ptr() as u64;
        let length = 3 + socket.len() as u64;
        raw(libc::SYS_connect, [fd, at, length, 0, 0, 0])
            .max(inside(libc::SYS_connect, [fd, at, length, 0, 0, 0]))
    });
    let mut address = [0u8; 128];
    address[0] = 1;
    address[2..2 + socket.len()].copy_from_slice(socket.as_bytes());
    let at = address.as_ptr() as u64;
    let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0) } as u64;
    for length in [110, 128, 2 + socket.len() as u64 + 1] {
        both(
            &format!("a host socket by {length} bytes"),
            libc::SYS_connect,
            [fd, at, length, 0, 0, 0],
        );
        attempt(&format!("sendto it by {length} bytes"), || {
            inside(libc::SYS_sendto, [fd, at, 1, 0, at, length])
        });
    }
}

/// The host's System V objects are one name space: nothing of it is a guest's.
fn ipc() {
    for (name, nr, args) in [
        ("shmget", libc::SYS_shmget, [0, PAGE, 0o1600, 0, 0, 0]),
        ("shmat", libc::SYS_shmat, [0, 0, 0, 0, 0, 0]),
        ("shmdt", libc::SYS_shmdt, [0, 0, 0, 0, 0, 0]),
        (
            "shmctl",
            libc::SYS_shmctl,
            [0, 0, 3, ptr(&[0u64; 16]), 0, 0],
        ),
        ("semget", libc::SYS_semget, [0, 1, 0o1600, 0, 0, 0]),
        ("semop", libc::SYS_semop, [0, ptr(&[0u64]), 1, 0, 0, 0]),
        (
            "semtimedop",
            libc::SYS_semtimedop,
            [0, ptr(&[0u64]), 1, 0, 0, 0],
        ),
        (
            "semctl",
            libc::SYS_semctl,
            [0, 0, 3, ptr(&[0u64; 16]), 0, 0],
        ),
        ("msgget", libc::SYS_msgget, [0, 0o1600, 0, 0, 0, 0]),
        ("msgsnd", libc::SYS_msgsnd, [0, ptr(&[1u64]), 0, 0, 0, 0]),
        (
            "msgrcv",
            libc::SYS_msgrcv,
            [0, ptr(&[0u64; 9]), 8, 0, 0o4000, 0],
        ),
        (
            "msgctl",
            libc::SYS_msgctl,
            [0, 3, ptr(&[0u64; 16]), 0, 0, 0],
        ),
    ] {
        attempt(&format!("{name} of the host, inside"), || inside(nr, args));
    }
    for (name, nr, args) in [
        (
            "mq_open",
            libc::SYS_mq_open,
            [c"q".as_ptr() as u64, 0o102, 0o600, 0, 0, 0],
        ),
        (
            "mq_unlink",
            libc::SYS_mq_unlink,
            [c"q".as_ptr() as u64, 0, 0, 0, 0, 0],
        ),
    ] {
        attempt(&format!("{name} of the host, inside"), || inside(nr, args));
    }
    // The kernel serves asynchronous I/O: it is to do no more by it than by read and write.
    for (name, fd) in [
        ("the personality", FD_PERSONALITY),
        ("the tables", FD_TABLES),
    ] {
        attempt(&format!("a write to {name} by io_submit"), || {
            let mut context = 0u64;
            let at = std::ptr::from_mut(&mut context) as u64;
            raw(libc::SYS_io_setup, [1, at, 0, 0, 0, 0]);
            let word = 0u64;
            // `struct iocb`: IOCB_CMD_PWRITE, descriptor, buffer, bytes.
            let block = [0, 0, 1 | fd << 32, ptr(&word), 8, 0, 0, 0];
            let blocks = [ptr(&block)];
            if raw(libc::SYS_io_submit, [context, 1, ptr(&blocks), 0, 0, 0]) < 1 {
                return -1;
            }
            let mut event = [0i64; 4];
            let at = std::ptr::from_mut(&mut event) as u64;
            raw(libc::SYS_io_getevents, [context, 1, 1, at, 0, 0]);
            event[2]
        });
    }
    attempt("messages without end", || {
        let text = [1u64; 1025];
        for _ in 0..32000 {
            let queue = raw(libc::SYS_msgget, [0, 0o600, 0, 0, 0, 0]) as u64;
            let send = [queue, ptr(&text), 8192, 0o4000, 0, 0];
            let is_full = [(); 2].map(|()| raw(libc::SYS_msgsnd, send));
            if is_full.contains(&-i64::from(libc::ENOMEM)) {
                return -1;
            }
        }
        0
    });
    attempt("a segment made larger", || {
        let id = raw(libc::SYS_shmget, [0, PAGE, 0o600, 0, 0, 0]);
        let at = raw(libc::SYS_shmat, [id as u64, 0, 0, 0, 0, 0]) as u64;
        raw(libc::SYS_shmctl, [id as u64, 0, 0, 0, 0, 0]);
        let longer = raw(libc::SYS_mremap, [at, PAGE, 2 * PAGE, 1, 0, 0]) as u64;
        // Beyond the end of the file there is no memory.
        unsafe { ((longer + PAGE) as *mut u8).write_volatile(1) };
        0
    });
}

/// The clock of a process: its inverted id above three bits.
fn clock_of(pid: u64) -> u64 {
    u64::from((!(pid as u32)) << 3 | 2)
}

/// Layers of Landlock of the guest's own, with a rule that would give all there is.
fn landlock() {
    const CREATE: i64 = 444;
    const ADD: i64 = 445;
    const RESTRICT: i64 = 446;
    let all = 0x7fff_u64;
    let rules = || inside(CREATE, [ptr(&all), 8, 0, 0, 0, 0]);
    for reserved in [FD_PERSONALITY, FD_TABLES] {
        both(
            &format!("descriptor {reserved} as rules"),
            RESTRICT,
            [reserved, 0, 0, 0, 0, 0],
        );
    }
    both("flags of landlock", RESTRICT, [0, 1, 0, 0, 0, 0]);
    attempt("a right by a rule on the host's tree", || {
        let own = rules() as u64;
        for mount in u64::from(layout::FD_MOUNT0)..FDS.end {
            let beneath = [all, mount];
            inside(ADD, [own, 1, ptr(&beneath), 0, 0, 0]);
        }
        inside(RESTRICT, [own, 0, 0, 0, 0, 0]);
        let victim = c"/victim/file".as_ptr();
        i64::from(unsafe { libc::open(victim, libc::O_WRONLY) })
    });
    attempt("layers without end", || {
        let own = rules() as u64;
        let layer = || inside(RESTRICT, [own, 0, 0, 0, 0, 0]);
        (0..100)
            .map(|_| layer())
            .find(|&result| result < 0)
            .unwrap_or(0)
    });
    println!(
        "{}",
        if runs() == 0 {
            "refused layers of others"
        } else {
            "BROKEN"
        }
    );
}

/// Faults that the guest serves itself, where the tables lie; advice that tells of other zones.
fn faults() {
    let served = || {
        let fd = inside(libc::SYS_userfaultfd, [1, 0, 0, 0, 0, 0]) as u64;
        let api = [0xaa_u64, 0, 0];
        inside(libc::SYS_ioctl, [fd, 0xc018_aa3f, ptr(&api), 0, 0, 0]);
        fd
    };
    for (name, mode) in [("missing", 1), ("write-protected", 2), ("minor", 4)] {
        attempt(&format!("{name} pages of the tables served"), || {
            let range = [TABLES, PAGE, mode, 0];
            inside(
                libc::SYS_ioctl,
                [served(), 0xc020_aa00, ptr(&range), 0, 0, 0],
            )
        });
    }
    attempt("a page put into the tables", || {
        let page = [0_u64; 512];
        let copy = [TABLES, ptr(&page), PAGE, 0, 0];
        inside(
            libc::SYS_ioctl,
            [served(), 0xc028_aa03, ptr(&copy), 0, 0, 0],
        )
    });
    let own = vec![0_u8; 3 * PAGE as usize];
    let page = (own.as_ptr() as u64 + PAGE) & !(PAGE - 1);
    for (name, advice) in [("MADV_MERGEABLE", 12), ("MADV_HWPOISON", 100)] {
        both(name, libc::SYS_madvise, [page, PAGE, advice, 0, 0, 0]);
    }
    attempt("ustat of any device, inside", || {
        inside(libc::SYS_ustat, [1, page, 0, 0, 0, 0])
    });
}

/// A descriptor whose events are told to a process of the host by SIGKILL. The test sees that it
/// lives on.
fn told_of_events(pid: u64) {
    let mut ends = [0i32; 2];
    unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, ends.as_mut_ptr()) };
    let [one, other] = ends.map(|end| end as u64);
    for kind in [0u64, 1, 2] {
        let owner = kind | pid << 32;
        inside(libc::SYS_fcntl, [one, 15, ptr(&owner), 0, 0, 0]);
        raw(libc::SYS_fcntl, [one, 10, libc::SIGKILL as u64, 0, 0, 0]);
        raw(
            libc::SYS_fcntl,
            [one, 4, (libc::O_ASYNC | libc::O_NONBLOCK) as u64, 0, 0, 0],
        );
        raw(libc::SYS_write, [other, ptr(b"x"), 1, 0, 0, 0]);
        raw(libc::SYS_read, [one, ptr(&owner), 1, 0, 0, 0]);
    }
    both(
        "F_SETOWN of a host process",
        libc::SYS_fcntl,
        [one, 8, pid, 0, 0, 0],
    );
    println!("refused events that kill a host process");
}

/// A process of the host entered into the zone's table, which guests write: the monitor must not
/// take it for one of the zone.
fn forged(pid: u64) {
    const NUMBER: u32 = 32_000;
    let commons = unsafe { &*(COMMONS as *const Commons) };
    let entry = &commons.processes[NUMBER as usize];
    entry.host.store(pid as u32, Relaxed);
    entry.state.store(state::LIVE, Relaxed);
    commons.by_host[pid as usize].store(NUMBER, Relaxed);
    let number = u64::from(NUMBER);
    let thread = pid + u64::from(THREAD_BIAS);
    for (name, nr, args) in [
        ("getpgid", libc::SYS_getpgid, [number, 0, 0, 0]),
        ("pidfd_open", libc::SYS_pidfd_open, [number, 0, 0, 0]),
        ("pidfd_open", libc::SYS_pidfd_open, [thread, 0x80, 0, 0]),
        ("getpriority", libc::SYS_getpriority, [0, number, 0, 0]),
        ("setpriority", libc::SYS_setpriority, [0, number, 19, 0]),
        ("setpriority", libc::SYS_setpriority, [0, thread, 19, 0]),
        ("ioprio_set", libc::SYS_ioprio_set, [1, number, 0x6000, 0]),
        ("prlimit64", libc::SYS_prlimit64, [number, 7, 0, 0]),
        ("prlimit64", libc::SYS_prlimit64, [number, 7, 1, 0]),
        (
            "sched_getscheduler",
            libc::SYS_sched_getscheduler,
            [thread, 0, 0, 0],
        ),
        (
            "sched_setscheduler",
            libc::SYS_sched_setscheduler,
            [number, 5, 0, 0],
        ),
        (
            "sched_setaffinity",
            libc::SYS_sched_setaffinity,
            [number, 8, 0, 0],
        ),
        ("sched_setattr", libc::SYS_sched_setattr, [number, 48, 0, 0]),
    ] {
        attempt(
            &format!("{name} of a forged entry, by the doorbell"),
            || {
                let tid = inside(libc::SYS_gettid, [0; 6]) as u64;
                let mailbox = MAILBOXES + tid * MAILBOX_STRIDE;
                let words = [nr as u64, args[0], args[1], args[2], args[3]];
                for (index, word) in words.into_iter().enumerate() {
                    let at = mailbox + 8 * index as u64;
                    unsafe { (at as *mut u64).write_volatile(word) };
                }
                let request = u64::from(Request::Process as u32);
                inside(DOORBELL, [request, 0, 0, 0, 0, 0])
            },
        );
    }
    entry.state.store(state::FREE, Relaxed);
    entry.host.store(0, Relaxed);
    commons.by_host[pid as usize].store(0, Relaxed);
}

/// What the zone sees of the host's `/sys` is only to be read, and nothing beside it.
fn system() {
    for (name, path, flags) in [
        (
            "a setting of a processor",
            c"cpu/cpu0/uevent",
            libc::O_WRONLY,
        ),
        ("what lies beside", c"../../kernel/notes", libc::O_RDONLY),
        (
            "what lies beside",
            c"cpu/../../../kernel",
            libc::O_DIRECTORY,
        ),
    ] {
        for beneath in [8, 0] {
            let how = [u64::from(flags.cast_unsigned()), 0, beneath];
            let size = size_of_val(&how) as u64;
            let path = path.as_ptr() as u64;
            let open = |mount| inside(libc::SYS_openat2, [mount, path, ptr(&how), size, 0, 0]);
            attempt(&format!("{name} of the host's, inside"), || {
                let mounts = u64::from(layout::FD_MOUNT0)..FDS.end;
                mounts.map(open).max().unwrap_or(-1)
            });
        }
    }
}

/// Root directories: the call itself is never the kernel's, and whichever a process claims to have,
/// its paths lead to no file of the host.
fn roots(socket: &str) {
    attempt("mount, inside", || {
        let tmpfs = ptr(b"tmpfs\0");
        inside(libc::SYS_mount, [tmpfs, ptr(b"/tmp\0"), tmpfs, 0, 0, 0])
    });
    attempt("umount, inside", || {
        inside(libc::SYS_umount2, [ptr(b"/tmp\0"), 2, 0, 0, 0, 0])
    });
    attempt("chroot, inside", || {
        inside(libc::SYS_chroot, [ptr(b"/usr\0"), 0, 0, 0, 0, 0])
    });
    let commons = unsafe { &*(COMMONS as *const Commons) };
    let own = raw(libc::SYS_getpid, [0; 6]) as usize;
    let forge = |number: u32| {
        commons.processes[own].root.store(number, Relaxed);
        commons.chroots.store(1, Relaxed);
    };
    for above in ["", "/..", "/../../../../../../../.."] {
        let path = format!("{above}{socket}");
        attempt(&format!("{path} from forged root directories"), || {
            for number in (0..300).chain([u32::MAX, u32::MAX / 1024]) {
                forge(number);
                if std::os::unix::net::UnixStream::connect(&path).is_ok() {
                    return 0;
                }
            }
            -1
        });
    }
    forge(0);
}

/// Where a zone may mount nothing; `host` is a directory of the host's.
fn no_places(host: &str) -> Vec<String> {
    vec![
        format!("/{UP}{host}"),
        "/usr/share".into(),
        "/victim/x".into(),
        "/".into(),
        String::new(),
        "caught".into(),
        "/caught/".into(),
    ]
}

/// Mounts of a guest's own, asked for at the monitor itself: wherever they are, and whatever is put in
/// their way meanwhile, nothing of the host is reached or changed by them. `socket` lies in a directory
/// of the host.
fn mounts(socket: &str) {
    const STORE: u64 = 1032;
    let host = socket
        .rsplit_once('/')
        .map_or("/", |(directory, _)| directory);
    let ask = |target: &str, texts: &str, flags: u64| {
        let tid = inside(libc::SYS_gettid, [0; 6]) as u64;
        let b = MAILBOXES + tid * MAILBOX_STRIDE + std::mem::offset_of!(Mailbox, b) as u64;
        for (at, byte) in texts.bytes().chain([0]).enumerate() {
            unsafe { ((b + at as u64) as *mut u8).write_volatile(byte) };
        }
        asked(Request::Mount, &[flags], format!("{target}\0").as_bytes())
    };
    let _ = std::fs::create_dir_all("/caught/in");
    for source in [
        host.to_owned(),
        format!("/{UP}{host}"),
        format!("/usr/{UP}{host}"),
        UP.to_owned(),
    ] {
        attempt(&format!("a bind of {source}"), || {
            let result = ask("/caught", &format!("{source}\0\0"), libc::MS_BIND);
            let is_seen = std::path::Path::new("/caught/zones").exists()
                || std::fs::metadata(format!(
                    "/caught/{}",
                    socket.rsplit('/').next().unwrap_or("")
                ))
                .is_ok();
            if result >= 0 {
                raw(libc::SYS_umount2, [ptr(b"/caught\0"), 2, 0, 0, 0, 0]);
            }
            if is_seen { 0 } else { -1 }
        });
    }
    for target in no_places(host) {
        attempt(&format!("a mount at {target}"), || {
            ask(&target, "x\0tmpfs\0", 0)
        });
    }
    // By links of the monitor's: descriptors that only the personality has, and what is nobody's.
    let own = layout::FD_MOUNT0..FDS.end as u32;
    let mut sources: Vec<String> = own.map(|fd| format!("/proc/self/fd/{fd}")).collect();
    for other in [
        "/proc/1/root/../..",
        "/dev/mem",
        "/dev/kmem",
        "/dev/vda",
        "/dev/kvm",
        "/proc/kcore",
    ] {
        sources.push(other.into());
    }
    let _ = std::fs::write("/caught/file", "");
    for source in sources {
        for target in ["/caught/in", "/caught/file"] {
            attempt(&format!("a bind of {source} at {target}"), || {
                ask(target, &format!("{source}\0\0"), libc::MS_BIND)
            });
        }
    }
    attempt("the tables, by memory with another name", || {
        ask("/caught/file", "/proc/self/mem\0\0", libc::MS_BIND);
        let fd = raw(libc::SYS_open, [ptr(b"/caught/file\0"), 2, 0, 0, 0, 0]);
        raw(libc::SYS_umount2, [ptr(b"/caught/file\0"), 2, 0, 0, 0, 0]);
        if fd < 0 {
            return -1;
        }
        raw(libc::SYS_pwrite64, [fd as u64, ptr(b"x"), 1, TABLES, 0, 0])
    });
    // A link in the place of what the monitor makes and opens: its target keeps its mode.
    attempt("a mode by a link in the store", || {
        let child = unsafe { libc::fork() };
        if child == 0 {
            for _ in 0..20_000 {
                for number in 0..40u8 {
                    let name = [b'0' + number / 10, b'0' + number % 10];
                    let name = if number < 10 { &name[1..] } else { &name[..] };
                    let text = [name, b".fs\0"].concat();
                    inside(
                        libc::SYS_unlinkat,
                        [STORE, text.as_ptr() as u64, 0x200, 0, 0, 0],
                    );
                    inside(
                        libc::SYS_symlinkat,
                        [ptr(b"/victim/file\0"), STORE, text.as_ptr() as u64, 0, 0, 0],
                    );
                }
            }
            unsafe { libc::_exit(0) };
        }
        for _ in 0..30 {
            ask("/caught/in", "x\0tmpfs\0mode=777", 0);
            asked(Request::Umount, &[2], b"/caught/in\0");
        }
        unsafe { libc::kill(child, libc::SIGKILL) };
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        -1
    });
    // What is only to be looked at stays so under another name.
    attempt("a writable bind of what is read-only", || {
        if ask("/caught", "/victim\0\0", libc::MS_BIND) < 0 {
            return -1;
        }
        let change = libc::MS_BIND | libc::MS_REMOUNT;
        ask("/caught", "\0\0", change);
        let file = b"/caught/file\0";
        let opened = raw(libc::SYS_open, [ptr(file), 1, 0, 0, 0, 0]);
        let modes = raw(libc::SYS_chmod, [ptr(file), 0o666, 0, 0, 0, 0]);
        raw(libc::SYS_umount2, [ptr(b"/caught\0"), 2, 0, 0, 0, 0]);
        opened.max(modes)
    });
}

/// The directory of rewritten copies, which other zones use too: nothing in it can be changed.
fn copies() {
    const COPIES: u64 = layout::FD_COPIES as u64;
    let new = c"new".as_ptr() as u64;
    let here = libc::AT_FDCWD as u64;
    both(
        "mkdirat in copies",
        libc::SYS_mkdirat,
        [COPIES, new, 0o777, 0, 0, 0],
    );
    both(
        "mknodat in copies",
        libc::SYS_mknodat,
        [COPIES, new, 0o100_644, 0, 0, 0],
    );
    both(
        "symlinkat in copies",
        libc::SYS_symlinkat,
        [new, COPIES, new, 0, 0, 0],
    );
    let ways: Vec<u64> = hows().filter(|&at| resolve_of(at) == 0x0a).collect();
    assert!(!ways.is_empty(), "there are approved ways");
    let open = |name: u64, how: u64| inside(libc::SYS_openat2, [COPIES, name, how, 24, 0, 0]);
    for name in names_of(COPIES, &ways) {
        let at = name.as_ptr() as u64;
        for (what, nr, args) in [
            ("unlinkat", libc::SYS_unlinkat, [COPIES, at, 0, 0, 0, 0]),
            ("linkat", libc::SYS_linkat, [COPIES, at, here, new, 0, 0]),
            (
                "renameat",
                libc::SYS_renameat,
                [COPIES, at, here, new, 0, 0],
            ),
            ("fchmodat", libc::SYS_fchmodat, [COPIES, at, 0o777, 0, 0, 0]),
        ] {
            both(&format!("{what} of a copy"), nr, args);
        }
        for &how in &ways {
            let flags = unsafe { (how as *const u64).read_volatile() };
            let changes = flags & 3 != 0 || flags & (libc::O_CREAT | libc::O_TRUNC) as u64 != 0;
            if changes {
                attempt("a copy opened to write", || open(at, how));
                attempt("a file made among copies", || open(new, how));
                continue;
            }
            attempt("fchmod of a copy", || match open(at, how) {
                fd if fd < 0 => fd,
                fd => raw(libc::SYS_fchmod, [fd as u64, 0o777, 0, 0, 0, 0]),
            });
        }
    }
}

/// The names in a directory, if one of the approved ways opens it.
fn names_of(directory: u64, ways: &[u64]) -> Vec<std::ffi::CString> {
    let here = c".".as_ptr() as u64;
    let opened = ways
        .iter()
        .map(|&how| inside(libc::SYS_openat2, [directory, here, how, 24, 0, 0]));
    for fd in opened.filter(|&fd| fd >= 0) {
        let mut buffer = [0u8; 4096];
        let room = buffer.len() as u64;
        let got = inside(
            libc::SYS_getdents64,
            [fd as u64, ptr(&buffer), room, 0, 0, 0],
        );
        std::hint::black_box(&mut buffer);
        let mut rest = usize::try_from(got).map_or(&[][..], |got| &buffer[..got]);
        let mut names = Vec::new();
        while let [_, .., _] = rest {
            let length = usize::from(u16::from_ne_bytes([rest[16], rest[17]]));
            let name = std::ffi::CStr::from_bytes_until_nul(&rest[19..length]).expect("a name");
            if name.to_bytes().len() > 2 {
                names.push(name.to_owned());
            }
            rest = &rest[length..];
        }
        if !names.is_empty() {
            return names;
        }
    }
    Vec::new()
}

fn signals() {
    attempt("a blocked SIGSYS", || {
        let all = u64::MAX;
        inside(libc::SYS_rt_sigprocmask, [2, ptr(&all), 0, 8, 0, 0]);
        // The call is trapped, and the kernel ends who blocks the trap.
        let path = c"/etc/passwd".as_ptr() as u64;
        raw(libc::SYS_open, [path, 0, 0, 0, 0, 0])
    });
    attempt("a handler of SIGSYS that lets it through", || {
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = libc::SIG_IGN;
        unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) };
        raw(libc::SYS_io_uring_setup, [1, ptr(&[0u64; 32]), 0, 0, 0, 0])
    });
}

/// Turns waiting on again while the monitor connects, on more sockets than it has threads: it must
/// serve on meanwhile.
fn waiting() {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixListener, UnixStream};
    let path = "/tmp/full-backlog";
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).expect("bound");
    unsafe { libc::listen(listener.as_raw_fd(), 0) };
    let _first = UnixStream::connect(path).expect("room for one");
    let mut children = Vec::new();
    for _ in 0..4 {
        let child = unsafe { libc::fork() };
        if child != 0 {
            children.push(child);
            continue;
        }
        let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0) };
        std::thread::spawn(move || {
            loop {
                unsafe { libc::fcntl(fd, libc::F_SETFL, 0) };
                std::thread::yield_now();
            }
        });
        let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        address.sun_family = libc::AF_UNIX as u16;
        for (to, from) in address.sun_path.iter_mut().zip(path.bytes()) {
            *to = from as libc::c_char;
        }
        loop {
            let at = (&raw const address).cast();
            unsafe { libc::connect(fd, at, 110) };
        }
    }
    attempt("waiting on the monitor's time", || {
        // Long enough for thousands of attempts.
        let begun = std::time::Instant::now();
        let mut served = 0;
        while begun.elapsed().as_secs() < 2 {
            served += i64::from(runs() == 0);
        }
        if served > 3 { -1 } else { 0 }
    });
    for child in children {
        unsafe { libc::kill(child, libc::SIGKILL) };
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    }
}

/// The host's keys, and requests about the zone's own that are not well formed.
fn keys() {
    let (user, name) = (ptr(b"user\0"), ptr(b"n\0"));
    let session = u64::from(u32::MAX) - 2;
    for (name, nr, args) in [
        (
            "add_key",
            libc::SYS_add_key,
            [user, name, name, 1, session, 0],
        ),
        (
            "request_key",
            libc::SYS_request_key,
            [user, name, 0, 0, 0, 0],
        ),
        ("keyctl", libc::SYS_keyctl, [0, session, 0, 0, 0, 0]),
    ] {
        attempt(&format!("{name} of the host, inside"), || inside(nr, args));
    }
    let own = u64::from(std::process::id());
    attempt("a payload that never comes", || {
        let mut pipe = [0i32; 2];
        unsafe { libc::pipe(pipe.as_mut_ptr()) };
        let cookie = inside(libc::SYS_gettid, [0; 6]) as u64;
        // struct cmsghdr with one descriptor.
        let control = [20u64, 1 | 1 << 32, pipe[0] as u64];
        let part = [ptr(&cookie), 8];
        let message = [0, 0, ptr(&part), 1, ptr(&control), 24, 0];
        let hand = u64::from(FD_HAND);
        inside(libc::SYS_sendmsg, [hand, ptr(&message), 0, 0, 0, 0]);
        let args = [key::ADD, key::USER, session, 5000, cookie, 0, 0, own];
        asked(Request::Key, &args, b"n\0")
    });
    for (name, args) in [
        (
            "a process that is none",
            [key::GET_KEYRING_ID, session, 1, 0, 0, 0, 0, u64::MAX],
        ),
        (
            "a payload that was not handed over",
            [key::ADD, key::USER, session, 5000, 1, 0, 0, own],
        ),
        (
            "what lies behind a key",
            [key::READ, 1, u64::MAX, 0, 0, 0, 0, own],
        ),
        (
            "a type that is none",
            [key::ADD, 77, session, 1, 0, 0, 0, own],
        ),
        (
            "an operation that is none",
            [77 << 40, session, 1, 0, 0, 0, 0, own],
        ),
    ] {
        attempt(name, || asked(Request::Key, &args, b"n\0"));
    }
}

/// Name spaces that a guest has a descriptor of, and where its memory lies in the machine.
fn machine() {
    let spaces = unsafe { libc::open(c"/proc/self/ns/user".as_ptr(), libc::O_RDONLY) } as u64;
    attempt("setns, inside", || {
        inside(libc::SYS_setns, [spaces, 0, 0, 0, 0, 0])
    });
    attempt("the mounts of a name space", || {
        raw(
            libc::SYS_ioctl,
            [spaces, 0x8008_b70a, ptr(&[0u64; 8]), 0, 0, 0],
        )
    });
    attempt("a number in another pid name space", || {
        inside(libc::SYS_ioctl, [spaces, 0x8004_b706, 1, 0, 0, 0])
    });
    attempt("the kernel's log, inside", || {
        inside(libc::SYS_syslog, [3, ptr(&[0u8; 64]), 64, 0, 0, 0])
    });
    attempt("places in the machine's memory", || {
        let page = 1u64;
        let path = c"/proc/self/pagemap".as_ptr();
        let shown = unsafe { libc::open(path, libc::O_RDONLY) };
        let mut entry = [0u64];
        let place = (ptr(&page) / PAGE * 8) as i64;
        let read = unsafe { libc::pread(shown, entry.as_mut_ptr().cast(), 8, place) };
        // The low bits are the page's number.
        if read == 8 && entry[0] & ((1 << 55) - 1) != 0 {
            1
        } else {
            -1
        }
    });
}

/// Every request of the monitor with garbage, from a fixed seed: it must outlive them, and hand out
/// no more than it did before.
fn doorbell() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let tid = inside(libc::SYS_gettid, [0; 6]) as u64;
    let mailbox = MAILBOXES + tid * MAILBOX_STRIDE;
    for round in 0..4000 {
        for word in 0..1100u64 {
            let value = match next() % 4 {
                0 => next(),
                1 => next() % 64,
                2 => u64::MAX - next() % 64,
                _ => 0x2f2e_2e2f_2e2e_2f00 | (next() % 256),
            };
            // Texts in full only now and then: most of the time is the monitor's.
            if word < 16 || round % 50 == 0 {
                unsafe { ((mailbox + 8 * word) as *mut u64).write_volatile(value) };
            }
        }
        let request = next() % (Request::NUMBERS as u64 + 4);
        // Waiting for what never comes is no harm, but takes long: not by this.
        inside(DOORBELL, [request, next(), next(), 0, 0, 0]);
    }
    println!("refused a doorbell full of garbage");
}

fn trace(request: u64, pid: i32, addr: u64, data: u64) -> i64 {
    raw(libc::SYS_ptrace, [request, pid as u64, addr, data, 0, 0])
}

/// Makes unshare(2) of the call that a stopped tracee is about to make, and gives its result; -1 where
/// the filter trapped it (the result is then the number).
fn exchanged(pid: i32) -> i64 {
    trace(6, pid, 15 * 8, libc::SYS_unshare as u64); // orig_rax
    trace(6, pid, 14 * 8, libc::CLONE_NEWUSER as u64);
    trace(24, pid, 0, 0);
    stop(pid);
    let mut result = 0i64;
    trace(3, pid, 10 * 8, &raw mut result as u64);
    if result == libc::SYS_unshare {
        -1
    } else {
        result
    }
}

/// Makes a child and stops it as its tracer.
fn traced(options: u64, child: fn() -> i64) -> i32 {
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
        unsafe { libc::raise(libc::SIGSTOP) };
        child();
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    if trace(0x4200, pid, 0, options | 1 << 20) < 0 && options == 0 {
        println!("BROKEN control tracing");
    }
    pid
}

fn stop(pid: i32) {
    let mut status = 0;
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
}

/// Whether the host lets anybody trace.
fn may_trace() -> bool {
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let refused = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } != 0;
        unsafe { libc::_exit(refused.into()) };
    }
    let mut status = 0;
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    status == 0
}

/// What the wall keeps from a guest it keeps from the tracer of one.
fn tracing() {
    if !may_trace() {
        println!("refused all tracing, by the host");
        return;
    }
    let nothing = || raw(libc::SYS_sched_yield, [0; 6]);
    attempt("PTRACE_O_SUSPEND_SECCOMP", || {
        let pid = traced(0, nothing);
        trace(0x4200, pid, 0, 1 << 21 | 1 << 20)
    });
    attempt("poking the tables of a tracee", || {
        trace(5, traced(0, nothing), TABLES, 0)
    });
    attempt("peeking as a stranger", || trace(2, 1, TABLES, 0));
    attempt("another call at the entry of one", || {
        let pid = traced(0, nothing);
        // To the entry, another number, to the end.
        trace(24, pid, 0, 0);
        stop(pid);
        exchanged(pid)
    });
}

/// Where calls stop for the zone's tracer, a child that it does not trace gets nothing.
fn untraced() {
    attempt("a call of a child that is not traced", || {
        let flags = (libc::CLONE_UNTRACED | libc::SIGCHLD) as u64;
        let pid = inside(libc::SYS_clone, [flags, 0, 0, 0, 0, 0]);
        if pid == 0 {
            // The host's number would be the kernel's own answer.
            let is_let_through = raw(libc::SYS_getpid, [0; 6]) == inside(libc::SYS_getpid, [0; 6]);
            unsafe { libc::syscall(libc::SYS_exit_group, i32::from(is_let_through)) };
        }
        let mut status = 0;
        inside(
            libc::SYS_wait4,
            [pid as u64, &raw mut status as u64, 0, 0, 0, 0],
        );
        if status == 0 { -1 } else { 0 }
    });
}

fn main() {
    let mut args = std::env::args().skip(1);
    let pid: u64 = args.next().and_then(|pid| pid.parse().ok()).unwrap_or(1);
    VICTIM.store(pid as u32, Relaxed);
    let socket = args.next().unwrap_or_default();
    controls();
    foreign_calls();
    reserved_descriptors();
    memory();
    files();
    names::names();
    makers::makers();
    filters::filters();
    others(pid, &socket);
    datagrams::attempts(&format!("{socket}.datagrams"));
    ipc();
    keys();
    machine();
    landlock();
    faults();
    copies();
    system();
    roots(&socket);
    mounts(&socket);
    detached::attempts(&socket);
    tracing();
    untraced();
    signals();
    waiting();
    attempt("the doorbell", || {
        doorbell();
        -1
    });
    println!("{}", if runs() == 0 { "still runs" } else { "BROKEN" });
}
