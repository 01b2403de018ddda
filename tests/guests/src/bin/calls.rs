//! Calls that few programs make, each with the arguments that it must refuse.

use picozone_guests::signals::{mask, only};
use picozone_guests::{call, child, from, libc_result, out, sections, see, signed, text};
use std::ffi::CStr;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc;

fn main() {
    sections(&[
        ("messages", messages),
        ("clocks", clocks),
        ("timers", timers),
        ("own", own),
        ("old", old),
        ("memory", memory),
        ("landlock", landlock),
    ]);
}

/// An id that no process has.
const NOBODY: u64 = 0x3f_ffff;
const PAGE: u64 = 4096;

fn pid() -> u64 {
    call(libc::SYS_getpid, &[]).expect("always")
}

/// recvmmsg(2) with a time-out.
fn messages() {
    let mut pair = [0; 2];
    // SAFETY: `pair` has room for the two descriptors.
    let made =
        unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0, pair.as_mut_ptr()) };
    libc_result(made).expect("a pair");
    let [a, b] = pair.map(|fd| u64::try_from(fd).expect("a descriptor"));
    let mut byte = 0_u8;
    let part = [out(&mut byte), 1];
    // struct mmsghdr: name, length of the name, parts, count, control, its length, flags, length.
    let message = [0, 0, from(&part), 1, 0, 0, 0, 0];
    let mut messages = [message; 3];
    let mut receive = |time: u64| {
        let call = call(libc::SYS_recvmmsg, &[b, out(&mut messages), 3, 0, time]);
        (call, messages.map(|message| message[7]))
    };
    for (name, time) in [
        ("negative", [-1_i64, 0]),
        ("too many nanoseconds", [0, 1_000_000_000]),
    ] {
        see(name, receive(from(&time)).0);
    }
    see("bad address", receive(8).0);
    let send = || call(libc::SYS_write, &[a, from(&byte), 1]).expect("sent");
    send();
    // The time is looked at after a message.
    let mut time = [0_i64; 2];
    see("no time", receive(out(&mut time)));
    for _ in 0..3 {
        send();
    }
    let mut time = [1000_i64, 5];
    see("time enough", receive(out(&mut time)));
    see("left", (990..=1000).contains(&time[0]));
}

/// The clock of a process: its inverted id above three bits (clock_getcpuclockid(3)).
fn clocks() {
    let clock = |pid: u64| (!pid << 3 | 2) & u64::from(u32::MAX);
    for (name, pid) in [("own", pid()), ("own by 0", 0), ("nobody's", NOBODY)] {
        let mut time = [0_u64; 2];
        let told = call(libc::SYS_clock_gettime, &[clock(pid), out(&mut time)]);
        see(name, (told, time != [0, 0]));
        see(name, call(libc::SYS_clock_getres, &[clock(pid), 0]));
    }
    let mut clock = 0;
    // SAFETY: takes nothing.
    let thread = unsafe { libc::pthread_self() };
    // SAFETY: the thread is the caller, and `clock` has room.
    let got = unsafe { libc::pthread_getcpuclockid(thread, &raw mut clock) };
    let mut time = [0_u64; 2];
    let told = call(libc::SYS_clock_gettime, &[signed(clock), out(&mut time)]);
    see("a thread's", (got, told, time != [0, 0]));
    see(
        "no clock",
        call(libc::SYS_clock_gettime, &[99, out(&mut time)]),
    );
    let (told, end) = (mpsc::channel(), mpsc::channel::<()>());
    let other = std::thread::spawn(move || {
        let tid = call(libc::SYS_gettid, &[]).expect("always");
        told.0.send(tid).expect("somebody listens");
        let _ = end.1.recv();
    });
    let tid = told.1.recv().expect("it has begun");
    for (name, id) in [("leader's", pid()), ("other's", tid), ("nobody's", NOBODY)] {
        for kind in 4..8 {
            let clock = (!id << 3 | kind) & u64::from(u32::MAX);
            let mut time = [0_u64; 2];
            let read = call(libc::SYS_clock_gettime, &[clock, out(&mut time)]);
            let step = call(libc::SYS_clock_getres, &[clock, 0]);
            // Every clock is past its beginning.
            let sleep = call(libc::SYS_clock_nanosleep, &[clock, 1, from(&[0_u64; 2]), 0]);
            let event = [0_u64, 1 << 32, 0, 0, 0, 0, 0, 0];
            let mut timer = 0_u64;
            let made = call(
                libc::SYS_timer_create,
                &[clock, from(&event), out(&mut timer)],
            );
            see(name, (kind, read, step, sleep, made));
        }
    }
    drop(end.0);
    other.join().expect("it ends");
}

/// Timers that tell one thread (`SIGEV_THREAD_ID`).
fn timers() {
    mask(libc::SIG_BLOCK, &only(&[libc::SIGUSR1])).expect("a mask");
    let tell = |tid: u64| {
        // struct sigevent: value, signal and notification, thread.
        let how = u64::from(libc::SIGUSR1.unsigned_abs()) | 4 << 32;
        let event = [0, how, tid, 0, 0, 0, 0, 0];
        let mut timer = 0_u64;
        let made = call(libc::SYS_timer_create, &[1, from(&event), out(&mut timer)]);
        if made.is_ok() {
            let soon = [0_u64, 0, 0, 1000];
            let set = call(libc::SYS_timer_settime, &[timer, 0, from(&soon), 0]);
            let set_of = only(&[libc::SIGUSR1]);
            // SAFETY: the set lives until the call returns.
            let told = unsafe { libc::sigwaitinfo(&raw const set_of, std::ptr::null_mut()) };
            let gone = call(libc::SYS_timer_delete, &[timer]);
            see("told", (set, told == libc::SIGUSR1, gone));
        }
        made
    };
    let tid = || call(libc::SYS_gettid, &[]).expect("always");
    see("the leader", tell(pid()));
    let tell_thread = std::thread::spawn(move || tell(tid()));
    see("a thread", tell_thread.join().expect("it ends"));
    see("nobody", tell(NOBODY));
    let mut timer = 0_u64;
    see(
        "by default",
        call(libc::SYS_timer_create, &[0, 0, out(&mut timer)]),
    );
    see(
        "bad address",
        call(libc::SYS_timer_create, &[0, 8, out(&mut timer)]),
    );
    see(
        "bad clock",
        call(libc::SYS_timer_create, &[99, 0, out(&mut timer)]),
    );
}

/// What is told or done about the caller, named by any of its ids.
fn own() {
    let (mut head, mut length) = (0_u64, 0_u64);
    for (name, id) in [("0", 0), ("own", pid()), ("nobody", NOBODY)] {
        let got = call(
            libc::SYS_get_robust_list,
            &[id, out(&mut head), out(&mut length)],
        );
        see(name, (got, length));
        see(name, call(libc::SYS_move_pages, &[id, 0, 0, 0, 0, 0]));
    }
    let score = "/proc/self/oom_score_adj";
    let failed = |result: std::io::Result<()>| result.map_err(|error| error.raw_os_error());
    for value in ["15", "1001", "x"] {
        see(value, failed(fs::write(score, value)));
        see("score", fs::read_to_string(score).ok());
    }
}

/// Calls that stand in the kernel for old programs.
fn old() {
    let mut name = [0_u8; 64];
    let kinds = call(libc::SYS_sysfs, &[3]);
    let tmpfs = call(libc::SYS_sysfs, &[1, text(c"tmpfs")]);
    see("file systems", (kinds, tmpfs));
    see("none", call(libc::SYS_sysfs, &[1, text(c"nowhere")]));
    see(
        "its name",
        call(libc::SYS_sysfs, &[2, tmpfs.unwrap_or(0), out(&mut name)]),
    );
    see("text", String::from_utf8_lossy(&name).into_owned());
    see("no option", call(libc::SYS_sysfs, &[4]));
    let device = fs::metadata("/").expect("it is there").dev();
    let mut told = [u64::MAX; 4];
    see("ustat", call(libc::SYS_ustat, &[device, out(&mut told)]));
    see("names", &told[2..]);
    see(
        "ustat nowhere",
        call(libc::SYS_ustat, &[0xfff_ffff, out(&mut told)]),
    );
    see("ustat badly", call(libc::SYS_ustat, &[device, 8]));

    let file = call(libc::SYS_memfd_create, &[text(c"pages"), 0]).expect("a file");
    call(libc::SYS_ftruncate, &[file, 2 * PAGE]).expect("room");
    let map = [0, 2 * PAGE, 3, 1, file, 0];
    let pages = call(libc::SYS_mmap, &map).expect("memory");
    call(libc::SYS_pwrite64, &[file, from(b"b"), 1, PAGE]).expect("written");
    let turn = |size, protection| {
        let turned = [pages, size, protection, 1, 0];
        call(libc::SYS_remap_file_pages, &turned)
    };
    see("remapped", turn(PAGE, 0));
    // SAFETY: mapped above.
    see("shows", unsafe { (pages as *const u8).read_volatile() });
    see("no protection here", turn(PAGE, 1));
    see("too much", turn(u64::MAX << 12, 0));
}

/// Locks, advice, and faults that a program serves itself.
fn memory() {
    const SIZE: u64 = 32 << 20;
    let map = [0, SIZE, 3, 0x22, u64::MAX, 0];
    let at = call(libc::SYS_mmap, &map).expect("memory");
    see(
        "more than a user may lock",
        call(libc::SYS_mlock, &[at, SIZE]),
    );
    let mut present = vec![0_u8; 8192];
    let seen = call(libc::SYS_mincore, &[at, SIZE, out(&mut present[0])]);
    see("present", (seen, present.iter().all(|page| page & 1 == 1)));
    see("unlocked", call(libc::SYS_munlock, &[at, SIZE]));
    see("all", call(libc::SYS_mlockall, &[1]));
    see("no longer", call(libc::SYS_munlockall, &[]));
    see("no flag", call(libc::SYS_mlockall, &[8]));
    call(libc::SYS_munmap, &[at + SIZE / 2, PAGE]).expect("mapped above");
    see("with a hole", call(libc::SYS_mlock2, &[at, SIZE, 0]));
    call(libc::SYS_munlock, &[at, PAGE]).expect("mapped above");
    for advice in [8, 14, 4, 21, 1212] {
        see(
            "advice",
            (advice, call(libc::SYS_madvise, &[at, PAGE, advice])),
        );
    }
    let faults = call(libc::SYS_userfaultfd, &[1]);
    see("userfaultfd", faults.is_ok());
    if let Ok(fd) = faults {
        // struct uffdio_api: version, features, ioctls; then a range, how, ioctls.
        let mut api = [0xaa_u64, 0, 0];
        let mut range = [at, PAGE, 1, 0];
        see(
            "api",
            call(libc::SYS_ioctl, &[fd, 0xc018_aa3f, out(&mut api)]),
        );
        see(
            "register",
            call(libc::SYS_ioctl, &[fd, 0xc020_aa00, out(&mut range)]),
        );
        let page = vec![7_u8; 4096];
        let mut copy = [at, from(&page[0]), PAGE, 0, 0];
        see(
            "copy",
            call(libc::SYS_ioctl, &[fd, 0xc028_aa03, out(&mut copy)]),
        );
        // SAFETY: mapped above, and filled.
        see("shows", unsafe { (at as *const u8).read_volatile() });
        see(
            "unregister",
            call(libc::SYS_ioctl, &[fd, 0x8010_aa01, out(&mut range)]),
        );
    }
}

/// landlock(7), as of Linux 6.2.
fn landlock() {
    const CREATE: i64 = 444;
    const READ: u64 = 1 << 2;
    const WRITE: u64 = 1 << 1;
    for name in ["in", "out"] {
        fs::create_dir(name).expect("a directory");
        fs::write(format!("{name}/file"), "x").expect("a file");
    }
    see("version", call(CREATE, &[0, 0, 1]).is_ok());
    see("no right", call(CREATE, &[from(&0_u64), 8, 0]));
    see("unknown right", call(CREATE, &[from(&(1_u64 << 40)), 8, 0]));
    see("too short", call(CREATE, &[from(&READ), 4, 0]));
    see("too long", call(CREATE, &[from(&READ), 8192, 0]));
    see("bad address", call(CREATE, &[8, 8, 0]));
    let open = |name: &str, is_write: bool| {
        let opened = fs::OpenOptions::new()
            .read(!is_write)
            .write(is_write)
            .open(name);
        opened.map(drop).map_err(|error| error.raw_os_error())
    };
    let end = child(|| {
        let rules = call(CREATE, &[from(&(READ | WRITE)), 8, 0]);
        see("rules", rules.is_ok());
        let directory = fs::File::open("in").expect("made above");
        let fd = u64::from(directory.as_raw_fd().unsigned_abs());
        // struct landlock_path_beneath_attr is packed: rights, descriptor.
        let beneath = [READ, fd];
        let rules = rules.unwrap_or(u64::MAX);
        see("rule", call(445, &[rules, 1, from(&beneath), 0]));
        see("no rule", call(445, &[rules, 9, from(&beneath), 0]));
        call(libc::SYS_prctl, &[38, 1, 0, 0, 0]).expect("no more rights");
        see("taken on", call(446, &[rules, 0]));
        for (name, is_write) in [("in/file", false), ("in/file", true), ("out/file", false)] {
            see(name, (is_write, open(name, is_write)));
        }
        0
    });
    see("end", end.wait());
    see("not here", open("out/file", true));
    let cut = |name: &CStr| call(libc::SYS_truncate, &[text(name), 0]);
    let end = child(|| {
        const TRUNCATE: u64 = 1 << 14;
        let rules = call(CREATE, &[from(&TRUNCATE), 8, 0]).expect("rules");
        let directory = fs::File::open("in").expect("made above");
        let beneath = [TRUNCATE, u64::from(directory.as_raw_fd().unsigned_abs())];
        see("cut there", call(445, &[rules, 1, from(&beneath), 0]));
        call(libc::SYS_prctl, &[38, 1, 0, 0, 0]).expect("no more rights");
        see("taken on", call(446, &[rules, 0]));
        see("in", cut(c"in/file"));
        see("out", cut(c"out/file"));
        let below = child(|| {
            see("out, by a child", cut(c"out/file"));
            0
        });
        see("child", below.wait());
        0
    });
    see("end", end.wait());
    see("cut here", cut(c"out/file"));
}
