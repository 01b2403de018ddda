//! A guest that turns to harm what is let through to the kernel as it is: secret memory, policies of
//! memory, attributes of security modules, rare prctl(2) and ioctl(2), clocks of threads.
//!
//! `hostile_forms HOST_PID`: a process of the host, by the host's number.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "everything here is meant to do harm; the kernel is to keep it from doing so"
)]
#![expect(clippy::cast_sign_loss, reason = "registers are words")]

use picozone_guests::attempts::{MAILBOXES, VICTIM, asked, attempt, both, inside, ptr, raw};
use picozone_personality::layout;
use picozone_personality::mailbox::Request;
use std::sync::atomic::Ordering::Relaxed;

const IMAGE: u64 = layout::PERSONALITY_BASE;
const TABLES: u64 = layout::TABLES_BASE;
const COMMONS: u64 = layout::COMMONS_BASE;
const FDS: std::ops::Range<u64> =
    layout::FD_BASE as u64..(layout::FD_BASE + layout::FD_COUNT) as u64;
const PAGE: u64 = 4096;
/// What is ours, and where it begins.
const OURS: [(&str, u64); 2] = [("the personality", IMAGE), ("the tables", TABLES)];

fn main() {
    let host_pid: u64 = std::env::args()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .expect("usage: hostile_forms HOST_PID");
    VICTIM.store(u32::try_from(host_pid).expect("a pid"), Relaxed);
    secret_memory();
    terminals();
    policies();
    attributes();
    calls_of_prctl(host_pid);
    calls_of_ioctl();
    clocks(host_pid);
    open_files(host_pid);
    println!("still runs");
}

/// Memory that not even the kernel looks into, in place of what is ours.
fn secret_memory() {
    let secret = raw(libc::SYS_memfd_secret, [0; 6]);
    // Where the machine offers none, all attempts are refused.
    let fd = secret as u64;
    raw(libc::SYS_ftruncate, [fd, PAGE, 0, 0, 0, 0]);
    let (write, execute) = (3, 7);
    for (name, at) in OURS {
        for flags in [libc::MAP_SHARED, libc::MAP_PRIVATE] {
            for protection in [write, execute] {
                let fixed = (flags | libc::MAP_FIXED) as u64;
                let args = [at, PAGE, protection, fixed, fd, 0];
                both(&format!("secret memory over {name}"), libc::SYS_mmap, args);
            }
        }
        let own = raw(libc::SYS_mmap, [0, PAGE, write, 1, fd, 0]) as u64;
        let args = [own, PAGE, PAGE, 3, at, 0];
        both(&format!("moved over {name}"), libc::SYS_mremap, args);
    }
    both(
        "code in place of the commons",
        libc::SYS_mmap,
        [COMMONS, PAGE, execute, 0x11, fd, 0],
    );
    // A process may replace the last of them itself.
    for to in FDS.start..u64::from(layout::FD_PARENTS) {
        let args = [fd, to, 0, 0, 0, 0];
        both(
            "secret memory as a reserved descriptor",
            libc::SYS_dup3,
            args,
        );
    }
    both(
        "a program of it",
        libc::SYS_execveat,
        [fd, ptr(b"\0"), 0, 0, 0x1000, 0],
    );
}

/// The kernel opens the other end of a terminal without a path that anybody judges.
fn terminals() {
    let master = unsafe { libc::open(c"/dev/ptmx".as_ptr(), libc::O_RDWR | libc::O_NOCTTY) } as u64;
    attempt("the other end of a terminal", || {
        inside(libc::SYS_ioctl, [master, 0x5441, 2, 0, 0, 0])
    });
}

/// Policies of memory split mappings, and what is asked of sealed ones must not.
fn policies() {
    let nodes = 1_u64;
    for (name, at) in OURS {
        let args = [at, PAGE, 2, ptr(&nodes), 8, 0];
        both(&format!("a policy for {name}"), libc::SYS_mbind, args);
        let args = [at, PAGE, 0, 0, 0, 0];
        let home = libc::SYS_set_mempolicy_home_node;
        both(&format!("a home for {name}"), home, args);
    }
    let all = [0, !(PAGE - 1), 0, 0, 0, 0];
    both("a home for all", libc::SYS_set_mempolicy_home_node, all);
}

/// What security modules say of the caller, written where nobody writes; and said by the caller.
fn attributes() {
    const LSM_GET_SELF_ATTR: i64 = 459;
    const LSM_SET_SELF_ATTR: i64 = 460;
    const LSM_LIST_MODULES: i64 = 461;
    let mut size = PAGE;
    let length = std::ptr::from_mut(&mut size) as u64;
    let text = [0_u64; 8];
    for (name, at) in OURS {
        for attribute in 100..106 {
            let args = [attribute, at, length, 0, 0, 0];
            both(&format!("attributes over {name}"), LSM_GET_SELF_ATTR, args);
            let args = [attribute, length, at, 0, 0, 0];
            both(&format!("their size over {name}"), LSM_GET_SELF_ATTR, args);
        }
        both(
            &format!("modules over {name}"),
            LSM_LIST_MODULES,
            [at, length, 0, 0, 0, 0],
        );
    }
    for attribute in 100..106 {
        let args = [attribute, ptr(&text), 64, 0, 0, 0];
        both("attributes of its own", LSM_SET_SELF_ATTR, args);
    }
}

fn calls_of_prctl(host_pid: u64) {
    const PR_SET_PTRACER: u64 = 0x5961_6d61;
    const PR_GET_AUXV: u64 = 0x4155_5856;
    let file = raw(libc::SYS_open, [ptr(b"/bin/sh\0"), 0, 0, 0, 0, 0]) as u64;
    let mut rows = vec![
        ("a tracer of the host", [PR_SET_PTRACER, host_pid, 0, 0, 0]),
        ("any tracer", [PR_SET_PTRACER, u64::MAX, 0, 0, 0]),
        (
            "a tracer with a high word",
            [PR_SET_PTRACER, 1 << 32, 0, 0, 0],
        ),
        // Memory that others have too is told by how long a write takes.
        ("memory that is merged", [67, 1, 0, 0, 0]),
        // Who serves disks may use memory that is kept for that.
        ("a server of disks", [57, 1, 0, 0, 0]),
        // PR_SET_MM_EXE_FILE.
        ("another program to be told", [35, 13, file, 0, 0]),
        // PR_SET_MM: the end of the heap, where ours begins.
        ("a heap up to ours", [35, 7, IMAGE, 0, 0]),
        ("vector registers for all", [71, 1, 0, 0, 0]),
        ("no traps of its filter", [22, 0, 0, 0, 0]),
    ];
    for (name, at) in OURS {
        let _ = name;
        rows.push(("the vector over ours", [PR_GET_AUXV, at, PAGE, 0, 0]));
        // PR_GET_TSC, PR_GET_TID_ADDRESS, PR_GET_UNALIGN, PR_GET_PDEATHSIG write to an address.
        for question in [25, 40, 5, 2] {
            rows.push(("an answer over ours", [question, at, 0, 0, 0]));
        }
    }
    for (name, [op, a, b, c, d]) in rows {
        both(name, libc::SYS_prctl, [op, a, b, c, d, 0]);
    }
    // PR_SET_SYSCALL_USER_DISPATCH: whatever it lets pass comes to the filter.
    for (mode, start, length) in [(1, IMAGE, 1 << 20), (1, IMAGE, u64::MAX), (2, IMAGE, 1)] {
        attempt("an open that is not dispatched", || {
            let dispatch = |args: [u64; 3]| {
                let [mode, start, length] = args;
                inside(libc::SYS_prctl, [59, mode, start, length, 0, 0])
            };
            dispatch([mode, start, length]);
            let opened = inside(libc::SYS_open, [ptr(b"/\0"), 0, 0, 0, 0, 0]);
            dispatch([0; 3]);
            opened
        });
    }
}

fn calls_of_ioctl() {
    const TFD_IOC_SET_TICKS: u64 = 0x4008_5400;
    const FS_IOC_GETVERSION: u64 = 0x8008_7601;
    const FS_IOC_SETVERSION: u64 = 0x4008_7602;
    let ticks = 1_u64;
    let room = ptr(&ticks);
    for fd in FDS {
        for command in [TFD_IOC_SET_TICKS, FS_IOC_GETVERSION, FS_IOC_SETVERSION] {
            let args = [fd, command, room, 0, 0, 0];
            both("a command to a reserved descriptor", libc::SYS_ioctl, args);
        }
    }
    let file = raw(libc::SYS_open, [ptr(b"/\0"), 0, 0, 0, 0, 0]) as u64;
    for (name, at) in OURS {
        both(
            &format!("a version over {name}"),
            libc::SYS_ioctl,
            [file, FS_IOC_GETVERSION, at, 0, 0, 0],
        );
    }
    both(
        "a version of a directory of the host's disk",
        libc::SYS_ioctl,
        [file, FS_IOC_SETVERSION, room, 0, 0, 0],
    );
}

/// The kernel keeps clocks of threads to the caller's process.
fn clocks(host_pid: u64) {
    let mut time = [0_u64; 2];
    let to = std::ptr::from_mut(&mut time) as u64;
    for kind in 0..8 {
        // The clock behind a descriptor is none that a zone has.
        let clock = (!host_pid << 3 | kind) & u64::from(u32::MAX);
        for nr in [libc::SYS_clock_gettime, libc::SYS_clock_getres] {
            both("a clock of the host's", nr, [clock, to, 0, 0, 0, 0]);
        }
        let event = [0_u64, 1 << 32, 0, 0, 0, 0, 0, 0];
        let args = [clock, ptr(&event), to, 0, 0, 0];
        both("a timer by it", libc::SYS_timer_create, args);
        let args = [clock, 1, to, 0, 0, 0];
        both("a sleep by it", libc::SYS_clock_nanosleep, args);
    }
}

/// The monitor tells of what is open in a file of `/proc` of the zone, and of nothing else.
fn open_files(host_pid: u64) {
    for fd in FDS.chain([9999, u64::MAX, 0]) {
        attempt("attributes of what is no file of /proc", || {
            asked(Request::StatOpened, &[fd], b"")
        });
    }
    // Its name says that it is a process' that the zone has not.
    let name = format!("zone:/proc/{host_pid}/../../etc/shadow\0");
    let memory = raw(
        libc::SYS_memfd_create,
        [name.as_ptr() as u64, 0, 0, 0, 0, 0],
    ) as u64;
    renewed(host_pid);
    let told = asked(Request::StatOpened, &[memory], b"");
    // Whatever it is told, it is of no file of the host: neither size nor owner.
    let tid = inside(libc::SYS_gettid, [0; 6]) as u64;
    let mailbox = MAILBOXES + tid * picozone_personality::mailbox::MAILBOX_STRIDE;
    let answer = mailbox + std::mem::offset_of!(picozone_personality::mailbox::Mailbox, b) as u64;
    let size = unsafe { ((answer + 40) as *const u64).read_volatile() };
    let is_told = told > 0 && size != 0;
    println!(
        "{} a forged name",
        if is_told { "ESCAPED" } else { "refused" }
    );
}

/// The monitor makes anew what it has made, and nothing else, in no place of its own.
fn renewed(host_pid: u64) {
    for fd in FDS.chain([9999, u64::MAX, 0, 1]) {
        attempt("anew what is no file of /proc", || {
            asked(Request::Renew, &[fd], b"")
        });
    }
    let names = [
        "zone:/proc/1/environ".to_owned(),
        "zone:/proc/version".to_owned(),
        format!("zone:{host_pid}/proc/1/stat"),
        format!("zone:/proc/{host_pid}/stat"),
        "zone:/proc/../etc/shadow".to_owned(),
        "zone:/etc/shadow".to_owned(),
    ];
    for name in names {
        let name = format!("{name}\0");
        let flags = u64::from(libc::MFD_ALLOW_SEALING);
        let memory = raw(
            libc::SYS_memfd_create,
            [name.as_ptr() as u64, flags, 0, 0, 0, 0],
        ) as u64;
        // Everything that a guest can do to have it look like the monitor's.
        raw(libc::SYS_fchmod, [memory, 0o444, 0, 0, 0, 0]);
        inside(libc::SYS_fchmod, [memory, 0o444, 0, 0, 0, 0]);
        let add_seals = libc::F_ADD_SEALS as u64;
        raw(libc::SYS_fcntl, [memory, add_seals, 0x1f, 0, 0, 0]);
        let own = format!("/proc/self/fd/{memory}\0");
        let reader = raw(libc::SYS_open, [own.as_ptr() as u64, 0, 0, 0, 0, 0]) as u64;
        for fd in [memory, reader] {
            attempt("a file of its own by a forged name", || {
                let answer = asked(Request::Renew, &[fd], b"");
                raw(libc::SYS_lseek, [fd, 0, 0, 0, 0, 0]);
                let mut room = [0_u8; 16];
                let to = room.as_mut_ptr() as u64;
                let length = raw(libc::SYS_read, [fd, to, 16, 0, 0, 0]);
                if length > 0 { length } else { answer }
            });
        }
    }
}
