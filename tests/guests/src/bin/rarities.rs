//! Calls that few programs make: clocks of others, parts that threads share, process descriptors that
//! tell of their process, locked memory.

use picozone_guests::children::pipe;
use picozone_guests::{NOWHERE, Result, call, child, from, out, sections, see, signed, text};
use std::fs;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU64};

fn main() {
    sections(&[
        ("shared", shared),
        ("clocks", clocks),
        ("setting", setting),
        ("told", told),
        ("locked", locked),
        ("born", born),
        ("pages", pages),
        ("by_root", by_root),
        ("spaces", spaces),
        ("log", log),
        ("dispatch", dispatch),
        ("base", base),
        ("scanned", scanned),
        ("polled", polled),
        ("cleared", cleared),
        ("immutable", immutable),
    ]);
}

/// unshare(2) of what is no name space.
fn shared() {
    const ALL: u64 = 0x0005_0f00;
    for flags in [0, 0x200, 0x400, 0x600, 0x4_0000, ALL] {
        let done = child(|| i32::from(call(libc::SYS_unshare, &[flags]).is_err()));
        see("alone", (flags, done.wait()));
    }
    for flags in [u64::MAX, 1, 0x2000, 1 << 32 | 0x200, 0x1000] {
        see("no such", (flags, call(libc::SYS_unshare, &[flags])));
    }
    // Descriptors and working directory of a thread of its own.
    let apart = std::thread::spawn(|| {
        let split = call(libc::SYS_unshare, &[0x600]);
        let gone = call(libc::SYS_close, &[0]);
        let moved = std::env::set_current_dir("/");
        let here = std::env::current_dir().map(|path| path == *"/");
        (split, gone, moved.is_ok(), here.ok())
    });
    see("apart", apart.join().ok());
    see("still there", call(libc::SYS_fcntl, &[0, 1]));
    let here = std::env::current_dir().map(|path| path == *picozone_guests::work());
    see("still here", here.ok());
    let not_alone = std::thread::spawn(|| {
        [0x1_0000_u64, 0x800, 0x100].map(|flag| call(libc::SYS_unshare, &[flag]))
    });
    see("not alone", not_alone.join().ok());
}

/// The clock of a process, of the kind `CPUCLOCK_SCHED`.
fn clock_of(pid: i32) -> u64 {
    signed(!pid << 3 | 2)
}

/// Clocks of other processes.
fn clocks() {
    let held = pipe().expect("a pipe");
    let other = child(|| {
        held.hear();
        0
    });
    let mut time = [u64::MAX; 2];
    for kind in 0..4 {
        let clock = clock_of(other.0) & !3 | kind;
        let read = call(libc::SYS_clock_gettime, &[clock, out(&mut time)]);
        see("read", (kind, read, time[0] < 60));
        let step = call(libc::SYS_clock_getres, &[clock, out(&mut time)]);
        see("step", (kind, step, time[0]));
    }
    let clock = clock_of(other.0);
    see("nowhere", call(libc::SYS_clock_gettime, &[clock, NOWHERE]));
    see("step nowhere", call(libc::SYS_clock_getres, &[clock, 0]));
    let parents = clock_of(std::os::unix::process::parent_id().cast_signed());
    see(
        "a parent's",
        call(libc::SYS_clock_gettime, &[parents, out(&mut time)]),
    );
    see(
        "set",
        call(libc::SYS_clock_settime, &[clock, from(&[0_u64, 0])]),
    );
    held.tell();
    see("end", other.wait());
    see(
        "gone",
        call(libc::SYS_clock_gettime, &[clock, out(&mut time)]),
    );
    let nobodys = clock_of(0x01ff_ffff);
    let read = call(libc::SYS_clock_gettime, &[nobodys, out(&mut time)]);
    see("nobody's", read);
}

/// Setting the clock, as far as it changes nothing.
fn setting() {
    let bad = [0_u64, 1 << 40];
    for clock in [0, 1, 4, 99] {
        see(
            "bad time",
            (clock, call(libc::SYS_clock_settime, &[clock, from(&bad)])),
        );
        see(
            "nowhere",
            (clock, call(libc::SYS_clock_settime, &[clock, NOWHERE])),
        );
    }
    see("of the day", call(libc::SYS_settimeofday, &[from(&bad), 0]));
    // struct timex: nothing is to be changed.
    let mut told = [0_u64; 26];
    let state = call(libc::SYS_adjtimex, &[out(&mut told)]);
    see("state", (state.is_ok(), told[1] != 0 || told[2] != 0));
    let state = call(libc::SYS_clock_adjtime, &[0, out(&mut told)]);
    see("of a clock", state.is_ok());
    see(
        "of none",
        call(libc::SYS_clock_adjtime, &[1, out(&mut told)]),
    );
    see("to nowhere", call(libc::SYS_adjtimex, &[NOWHERE]));
}

/// `PIDFD_GET_INFO`, with so much room.
fn information(fd: u64, mask: u64, size: u64) -> (Result<u64>, [u32; 16]) {
    let mut info = [0_u32; 32];
    info[0] = u32::try_from(mask).unwrap_or(0);
    let command = 3 << 30 | size << 16 | 0xff0b;
    let asked = call(libc::SYS_ioctl, &[fd, command, out(&mut info)]);
    // No control group, and no part of the answer that came later.
    info[0] &= 0xb;
    (info[2], info[3]) = (0, 0);
    (asked, *info.first_chunk().expect("it is longer"))
}

/// What the descriptor of a process tells.
fn told() {
    let filter = || fs::read_to_string("/proc/self/coredump_filter").ok();
    let before = filter().expect("it is there");
    let set = |value: &str| fs::write("/proc/self/coredump_filter", value).is_ok();
    see("dumped", (set("0x11"), filter(), set("none"), filter()));
    let inherited = child(|| i32::from(filter().as_deref() != Some("00000011\n")));
    see("by a child", inherited.wait());
    set(&format!("0x{before}"));
    let held = pipe().expect("a pipe");
    let other = child(|| {
        held.hear();
        7
    });
    let fd = call(libc::SYS_pidfd_open, &[signed(other.0), 0]).expect("a descriptor");
    let (asked, info) = information(fd, 1, 64);
    if asked == Err(picozone_guests::Errno::ENOTTY) {
        return see("told", "never");
    }
    see("told", (asked, info[0] & 3));
    let parent = std::process::id();
    let number = other.0.unsigned_abs();
    see(
        "who",
        (info[4] == number, info[5] == number, info[6] == parent),
    );
    let own = [libc::SYS_getuid, libc::SYS_getgid].map(|nr| call(nr, &[]).unwrap_or(0));
    let own = own.map(|id| u32::try_from(id).unwrap_or(0));
    let all = info[7..15].as_chunks::<2>().0;
    see("users", all.iter().all(|pair| *pair == own));
    see("larger", information(fd, 2, 80).0);
    see("smaller", information(fd, 1, 32).0.is_err());
    see("nowhere", call(libc::SYS_ioctl, &[fd, 0xc040_ff0b, 0]));
    see("not one", information(1, 1, 64).0);
    see("closed", information(900, 1, 64).0);
    held.tell();
    see("end", other.wait());
    see("gone", information(fd, 1, 64).0);
    let (asked, info) = information(fd, 8, 64);
    see("how it ended", (asked, info[0] & 8, info[15]));
}

fn locked_kilobytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmLck:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// mlockall(2) in `/proc/PID/status`.
fn locked() {
    see("at first", locked_kilobytes());
    if let Err(error) = call(libc::SYS_mlockall, &[3]) {
        return see("forbidden", error);
    }
    see("all", locked_kilobytes().is_some_and(|all| all > 0));
    let other = child(|| i32::from(locked_kilobytes() != Some(0)));
    see("a child", other.wait());
    see("unlocked", call(libc::SYS_munlockall, &[]));
    see("at last", locked_kilobytes());
}

/// clone3(2) that gives a descriptor and tells the id to parent and child.
fn born() {
    let (mut fd, mut parents, mut childs) = (u32::MAX, 0_u32, 0_u32);
    let flags = libc::CLONE_PIDFD | libc::CLONE_PARENT_SETTID | libc::CLONE_CHILD_SETTID;
    let mut arguments = [0_u64; 8];
    arguments[..5].copy_from_slice(&[
        signed(flags),
        out(&mut fd),
        out(&mut childs),
        out(&mut parents),
        17,
    ]);
    let made = call(libc::SYS_clone3, &[from(&arguments), 64]);
    if made == Ok(0) {
        // SAFETY: the kernel has written it.
        let told = unsafe { std::ptr::from_ref(&childs).read_volatile() };
        let is_right = told == std::process::id();
        picozone_guests::children::exit(i32::from(is_right));
    }
    // SAFETY: the kernel has written them.
    let told = unsafe { std::ptr::from_ref(&parents).read_volatile() };
    see("told", (made.is_ok(), made == Ok(u64::from(told)), childs));
    let mut info = [0_u32; 32];
    let ended = call(libc::SYS_waitid, &[3, u64::from(fd), out(&mut info), 4, 0]);
    see("by descriptor", (ended, info[4] == told, info[6]));
}

/// `/proc/PID/pagemap`: which pages are present.
fn pages() {
    let map = [0, 4 * 4096, 3, 0x22, u64::MAX, 0];
    let at = call(libc::SYS_mmap, &map).expect("memory");
    // SAFETY: mapped above.
    unsafe { (at as *mut u8).write_volatile(1) };
    let shown = fs::File::open("/proc/self/pagemap").expect("it is there");
    let present = [0, 1].map(|page| {
        let mut entry = [0_u8; 8];
        let place = (at / 4096 + page) * 8;
        let read = std::os::unix::fs::FileExt::read_exact_at(&shown, &mut entry, place);
        (read.is_ok(), u64::from_ne_bytes(entry) >> 63)
    });
    see("present", present);
}

/// Name spaces by their files; natively only root enters any.
fn spaces() {
    const TYPE: u64 = 0xb703;
    const PARENT: u64 = 0xb702;
    const OWNER: u64 = 0xb704;
    let open = |name: &str| {
        let file = fs::File::open(format!("/proc/self/ns/{name}")).expect("it is there");
        (signed(std::os::fd::AsRawFd::as_raw_fd(&file)), file)
    };
    for name in ["cgroup", "ipc", "net", "pid", "user", "uts", "mnt"] {
        let (fd, _file) = open(name);
        let kind = call(libc::SYS_ioctl, &[fd, TYPE]);
        see(name, kind);
        let kind = kind.unwrap_or(0);
        see(
            "another kind",
            call(libc::SYS_setns, &[fd, kind ^ 0x0600_0000]),
        );
        see("owner", call(libc::SYS_ioctl, &[fd, OWNER, NOWHERE]));
        if name != "mnt" {
            see("entered", call(libc::SYS_setns, &[fd, 0]));
            see("by kind", call(libc::SYS_setns, &[fd, kind]));
        }
        if !["pid", "user"].contains(&name) {
            see("parent", call(libc::SYS_ioctl, &[fd, PARENT]));
        }
    }
    see("closed", call(libc::SYS_setns, &[900, 0]));
    see("a file", call(libc::SYS_setns, &[0, 0x0400_0000]));
    let link = |fd: u64| fs::read_link(format!("/proc/self/fd/{fd}")).ok();
    let (fd, _file) = open("uts");
    see("named", link(fd) == fs::read_link("/proc/self/ns/uts").ok());
    let written = fs::OpenOptions::new().write(true).open("/proc/self/ns/uts");
    see(
        "written",
        written.map(drop).map_err(|error| error.raw_os_error()),
    );
    let other = child(|| 0);
    let process = call(libc::SYS_pidfd_open, &[signed(other.0), 0]).expect("a descriptor");
    for flags in [0, u64::from(u32::MAX), 0x100] {
        see(
            "of a process",
            (flags, call(libc::SYS_setns, &[process, flags])),
        );
    }
    see("end", other.wait());
    see("ended", call(libc::SYS_setns, &[process, 0x0400_0000]));
    let own = call(libc::SYS_pidfd_open, &[u64::from(std::process::id()), 0]);
    let own = own.expect("a descriptor");
    see("its own", call(libc::SYS_setns, &[own, 0x0400_0000]));
    let done = child(|| {
        call(libc::SYS_setuid, &[4321]).expect("we are root");
        see("as a user", call(libc::SYS_setns, &[fd, 0]));
        see("unshared", call(libc::SYS_unshare, &[0x0400_0000]));
        0
    });
    see("end", done.wait());
}

/// syslog(2), as far as it waits for nobody and changes nothing; natively users may not.
fn log() {
    let mut room = [0_u8; 64];
    let mut ask =
        |action: u64, length: u64| call(libc::SYS_syslog, &[action, out(&mut room), length]);
    see("size", ask(10, 0).is_ok());
    see("all", ask(3, 64).is_ok());
    see("negative", ask(3, u64::MAX));
    see("levels", (ask(8, 0), ask(8, 9)));
    see("no such", (ask(11, 0), ask(u64::MAX, 0)));
    see("nowhere", call(libc::SYS_syslog, &[3, 0, 10]));
    let done = child(|| {
        call(libc::SYS_setuid, &[4321]).expect("we are root");
        see("as a user", call(libc::SYS_syslog, &[5, 0, 0]));
        0
    });
    see("end", done.wait());
}

/// What only root does natively.
fn by_root() {
    see("userfaultfd", call(libc::SYS_userfaultfd, &[0]).is_ok());
    see("no such flag", call(libc::SYS_userfaultfd, &[2]));
    let done = child(|| {
        let session = call(libc::SYS_setsid, &[]);
        see("alone", session.is_ok());
        see("hang up", call(libc::SYS_vhangup, &[]));
        0
    });
    see("end", done.wait());
    let done = child(|| {
        // struct landlock_ruleset_attr: execution.
        let rules = call(444, &[from(&1_u64), 8, 0]).expect("rules");
        see("no flags", call(446, &[rules, 1 << 20]));
        // Without any capability (version 3 of capset(2)).
        let header = [0x2008_0522_u32, 0];
        let none = [0_u32; 6];
        let dropped = call(libc::SYS_capset, &[from(&header), from(&none)]);
        see("dropped", dropped);
        see("no right", call(446, &[rules, 0]));
        see("hang up", call(libc::SYS_vhangup, &[]));
        see("no more rights", call(libc::SYS_prctl, &[38, 1, 0, 0, 0]));
        see("taken on", call(446, &[rules, 0]));
        see("no rules", call(446, &[1, 0]));
        0
    });
    see("end", done.wait());
    // The signal in the information must be the one that is sent.
    let own = fs::File::open("/proc/self").expect("it is there");
    let fd = signed(std::os::fd::AsRawFd::as_raw_fd(&own));
    let mut information = [0_u32; 32];
    information[0] = 12;
    information[2] = u32::MAX;
    let sent = call(
        libc::SYS_pidfd_send_signal,
        &[fd, 10, from(&information), 0],
    );
    see("another signal", sent);
}

/// Whether calls go to the handler of SIGSYS (`SYSCALL_DISPATCH_FILTER_ALLOW`, `_BLOCK`).
static SELECTOR: AtomicU8 = AtomicU8::new(0);
static SENT: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_dispatch(_: i32, info: *const libc::siginfo_t, context: *mut libc::ucontext_t) {
    SELECTOR.store(0, Relaxed);
    // SAFETY: what the kernel gives a handler; si_code is its third word, and si_syscall its seventh.
    let told = unsafe { info.cast::<[u32; 7]>().read() };
    let told = [told[2], told[6]];
    SENT.store(u64::from(told[0]) << 32 | u64::from(told[1]), Relaxed);
    let rax = usize::try_from(libc::REG_RAX).unwrap_or(0);
    // SAFETY: as above; the register is what the call gives.
    unsafe { (*context).uc_mcontext.gregs[rax] = 77 };
}

/// A call while such ones are dispatched, and what the handler was told of it.
fn dispatched(nr: libc::c_long) -> (Result<u64>, u64) {
    SENT.store(0, Relaxed);
    SELECTOR.store(1, Relaxed);
    let got = call(nr, &[]);
    SELECTOR.store(0, Relaxed);
    (got, SENT.load(Relaxed))
}

/// prctl(2), `PR_SET_SYSCALL_USER_DISPATCH`.
fn dispatch() {
    const SET: u64 = 59;
    let selector = SELECTOR.as_ptr() as u64;
    let set = |mode, start, length, selector| {
        call(libc::SYS_prctl, &[SET, mode, start, length, selector])
    };
    see(
        "bad",
        (
            set(0, 1, 0, 0),
            set(0, 0, 0, selector),
            set(1, 4096, 0, selector),
            set(1, 4096, u64::MAX, selector),
            set(1, 0, 0, u64::MAX),
            set(3, 0, 0, selector),
            set(0, 0, 0, 0),
        ),
    );
    // SAFETY: the handler does nothing but what a handler may.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_dispatch as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: as above.
    unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) };
    // One that zones answer, and one that the kernel does.
    const CALLS: [libc::c_long; 3] = [libc::SYS_getpid, libc::SYS_sched_yield, 500];
    see("on", set(1, 0, 0, selector));
    for nr in CALLS {
        see("sent", dispatched(nr));
    }
    let inherited = child(|| i32::from(dispatched(libc::SYS_sched_yield) != (Ok(0), 0)));
    see("in a child", inherited.wait());
    let thread = std::thread::spawn(|| call(libc::SYS_sched_yield, &[]));
    see("in a thread", thread.join().ok());
    // All of the program.
    see("but for a range", set(1, 1, 1 << 47, selector));
    let (own, sent) = dispatched(libc::SYS_getpid);
    see("not sent", (own == Ok(u64::from(std::process::id())), sent));
    for nr in [libc::SYS_sched_yield, 500] {
        see("not sent", dispatched(nr));
    }
    see("off", set(0, 0, 0, 0));
    see("not sent", dispatched(libc::SYS_sched_yield));
    let is_blocked = child(|| {
        let _ = set(1, 0, 0, selector);
        let mask = 1_u64 << (libc::SIGSYS - 1);
        let _ = call(libc::SYS_rt_sigprocmask, &[0, from(&mask), 0, 8]);
        let _ = dispatched(libc::SYS_sched_yield);
        0
    });
    see("blocked", is_blocked.wait());
}

/// The word that gs points at.
fn by_gs() -> u64 {
    let word: u64;
    // SAFETY: called where gs points at a word.
    unsafe { std::arch::asm!("mov {}, gs:[0]", out(reg) word, options(nostack, readonly)) };
    word
}

/// arch_prctl(2), `ARCH_SET_GS` and `ARCH_GET_GS`.
fn base() {
    static ROOM: [AtomicU64; 512] = [const { AtomicU64::new(4711) }; 512];
    let set = |to: u64| call(libc::SYS_arch_prctl, &[0x1001, to]);
    let now = || {
        let mut base = 1_u64;
        let got = call(libc::SYS_arch_prctl, &[0x1004, out(&mut base)]);
        (got, base == 0, base == ROOM.as_ptr() as u64)
    };
    see("at first", now());
    see(
        "bad",
        (
            set(1 << 47),
            set(u64::MAX),
            call(libc::SYS_arch_prctl, &[0x1004, NOWHERE]),
        ),
    );
    see("set", (set(ROOM.as_ptr() as u64), now(), by_gs()));
    let is_own =
        || (0..100).all(|_| call(libc::SYS_getpid, &[]) == Ok(u64::from(std::process::id())));
    see("calls", (is_own(), by_gs()));
    let inherited = std::thread::spawn(move || (now(), by_gs(), is_own()));
    see("in a thread", inherited.join().ok());
    let inherited = child(|| i32::from(now() != (Ok(0), false, true) || by_gs() != 4711));
    see("in a child", inherited.wait());
    // SAFETY: the handler does nothing; a signal leaves gs as it is.
    unsafe { libc::signal(libc::SIGUSR1, nothing as *const () as usize) };
    // SAFETY: as above.
    unsafe { libc::raise(libc::SIGUSR1) };
    see("after a signal", (now(), by_gs()));
    see("none", (set(0), now(), is_own()));
}

extern "C" fn nothing(_: i32) {}

/// ioctl(2) of `/proc/PID/pagemap` (`PAGEMAP_SCAN`): pages that were written to.
fn scanned() {
    const SCAN: u64 = 0xc060_6610;
    const PRESENT: u64 = 1 << 3;
    // SAFETY: new memory.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), 4 << 12, 3, 0x22, -1, 0) as u64 };
    // SAFETY: within it.
    unsafe { ((memory + (1 << 12)) as *mut u8).write_volatile(1) };
    let file = fs::File::open("/proc/self/pagemap").expect("there is one");
    let fd = signed(std::os::fd::AsRawFd::as_raw_fd(&file));
    let mut found = [0_u64; 9];
    let mut scan = [
        96,
        0,
        memory,
        memory + (4 << 12),
        0,
        out(&mut found),
        3,
        0,
        0,
        PRESENT,
        0,
        PRESENT,
    ];
    let count = call(libc::SYS_ioctl, &[fd, SCAN, out(&mut scan)]);
    let [start, end, what, ..] = found;
    see(
        "present",
        (
            count,
            start.wrapping_sub(memory),
            end.wrapping_sub(memory),
            what,
        ),
    );
    scan[0] = 8;
    see(
        "too small",
        call(libc::SYS_ioctl, &[fd, SCAN, out(&mut scan)]),
    );
    see("nowhere", call(libc::SYS_ioctl, &[fd, SCAN, NOWHERE]));
}

/// How long who waits for readiness is to poll devices (`EPIOCSPARAMS`, `EPIOCGPARAMS`).
fn polled() {
    const SET: u64 = 0x4008_8a01;
    const GET: u64 = 0x8008_8a02;
    let epoll = call(libc::SYS_epoll_create1, &[0]).expect("a descriptor");
    // Microseconds in 32 bits, packets in 16, whether to prefer that, nothing.
    let mut params = [0xff_u8; 8];
    see(
        "at first",
        (
            call(libc::SYS_ioctl, &[epoll, GET, out(&mut params)]),
            params,
        ),
    );
    let set = |params: [u8; 8]| call(libc::SYS_ioctl, &[epoll, SET, from(&params)]);
    see(
        "set",
        (
            set([9, 0, 0, 0, 8, 0, 1, 0]),
            set([0, 0, 0, 0, 0, 0, 0, 1]),
            set([0; 8]),
        ),
    );
    let get = |fd: u64| call(libc::SYS_ioctl, &[fd, GET, NOWHERE]);
    see("bad", (get(epoll), get(0), get(signed(-1))));
}

/// A program of two segments: its code, and a page that is in no file and says that it can be read only.
/// The kernel makes it writable all the same.
fn cleared() {
    const CODE: u64 = 0x40_0000;
    const DATA: u64 = 0x40_2000;
    const SIZE: u64 = 64 + 2 * 56 + CODE_BYTES.len() as u64;
    // mov dword [DATA], 1; mov eax, 60; mov edi, 7; syscall
    const CODE_BYTES: [u8; 23] = [
        0xc7, 0x04, 0x25, 0, 0x20, 0x40, 0, 1, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0xbf, 7, 0, 0, 0, 0x0f,
        5,
    ];
    let words = |words: &[u64]| {
        let bytes = words.iter().flat_map(|word| word.to_le_bytes());
        bytes.collect::<Vec<u8>>()
    };
    // Type ET_EXEC, machine EM_X86_64, version 1; sizes of the headers, two of them.
    let kind = 2 | 62 << 16 | 1 << 32;
    let sizes = [64 << 32 | 56 << 48, 2];
    let magic = [0x0001_0102_464c_457f, 0];
    let entry = CODE + SIZE - CODE_BYTES.len() as u64;
    let header = [magic[0], magic[1], kind, entry, 64, 0, sizes[0], sizes[1]];
    // PT_LOAD with PF_R | PF_X, and with PF_R.
    let code = [1 | 5 << 32, 0, CODE, CODE, SIZE, SIZE, 4096];
    let data = [1 | 4 << 32, 0, DATA, DATA, 0, 4096, 4096];
    let program = [
        words(&header),
        words(&code),
        words(&data),
        CODE_BYTES.to_vec(),
    ]
    .concat();
    fs::write("program", program).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions("program", mode).expect("ours");
    let ended = std::process::Command::new("./program").status();
    see(
        "ended",
        ended
            .map(|status| status.code())
            .map_err(|error| error.raw_os_error()),
    );
    fs::remove_file("program").expect("removed");
}

/// The directory of a process in `/proc`, and what lies in it.
fn immutable() {
    let (at, own) = (
        u64::from(libc::AT_FDCWD.cast_unsigned()),
        text(c"/proc/self"),
    );
    see("mode", call(libc::SYS_chmod, &[own, 0o555]));
    see("owner", call(libc::SYS_chown, &[own, 0, 0]));
    see("times", call(libc::SYS_utimensat, &[at, own, 0, 0]));
    for path in [c"/proc/self/fd", c"/proc/self/task", c"/proc/self/status"] {
        let mode = call(libc::SYS_chmod, &[text(path), 0o700]);
        see("mode within", (path, mode));
    }
}
