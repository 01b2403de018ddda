//! Of several things that are wrong with a call, which is told first; and what is told of descriptors that
//! are no files.

use picozone_guests::{
    CWD, NOWHERE, Result, at, call, close, from, name, out, sections, see, signed, text,
};
use std::fs;
use std::os::unix::fs::symlink;

fn main() {
    sections(&[
        ("paths", paths),
        ("processes", processes),
        ("tracing", tracing),
        ("sockets", sockets),
        ("things", things),
        ("served", served),
        ("own", own),
        ("sets", sets),
    ]);
}

/// Paths that lead nowhere or are too long, and one that is right.
fn wrong_paths() -> Vec<(&'static str, std::ffi::CString)> {
    fs::write("file", "nothing").expect("a file");
    let _ = symlink("loop", "loop");
    let mut all = vec![
        ("too long", name(&"a".repeat(4096))),
        ("long", name(&"a".repeat(256))),
    ];
    all.extend(["", "missing/x", "file/x", "loop", "/", "file"].map(|path| (path, name(path))));
    all
}

fn paths() {
    let mut places: Vec<(&str, u64)> = vec![("nowhere", NOWHERE), ("null", 0)];
    let paths = wrong_paths();
    places.extend(paths.iter().map(|(which, path)| (*which, text(path))));
    const DIRECTORY_MADE: u64 = (libc::O_CREAT | libc::O_DIRECTORY) as u64;
    const NAMELESS_READ: u64 = libc::O_TMPFILE as u64;
    const NEW: u64 = (libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW) as u64;
    for (which, path) in places {
        let open = |flags| call(libc::SYS_openat, &[CWD, path, flags, 0o600]);
        see("open", (which, open(DIRECTORY_MADE), open(NAMELESS_READ)));
        if which == "/" {
            see("new", open(NEW));
        }
        see("unlink", (which, call(libc::SYS_unlinkat, &[CWD, path, 1])));
        for kind in [0o040_000, 0o120_000, 0o170_000] {
            see(
                "make",
                (which, kind, call(libc::SYS_mknodat, &[CWD, path, kind, 0])),
            );
        }
        let late = [[1_u64, 1_000_000_000], [1, 0]];
        if which != "/" {
            let set = [CWD, path, from(&late), 0];
            see("times", (which, call(libc::SYS_utimensat, &set)));
        }
    }
    let fd = at(libc::SYS_openat, "file", &[0]).expect("a file");
    let empty = name("");
    let mut room = [0_u8; 8];
    let link = call(libc::SYS_readlinkat, &[fd, text(&empty), out(&mut room), 8]);
    see("no link", link);
    let program = name("/proc/self/exe");
    let nofollow = libc::O_NOFOLLOW as u64;
    see(
        "program",
        call(libc::SYS_openat, &[CWD, text(&program), nofollow]),
    );
    let device = name("/dev/null");
    let direct = libc::O_DIRECT as u64;
    see(
        "direct",
        call(libc::SYS_openat, &[CWD, text(&device), direct]),
    );
}

fn processes() {
    const NOBODY: u64 = 0x7fff_fff0;
    let mut room = [0_u64; 32];
    let pids = [NOBODY, signed(-1), signed(-99_999), signed(i32::MIN)];
    let mut info = [0_i32; 32];
    for pid in pids {
        for code in [0, -1, -6] {
            info[2] = code;
            let sent = call(libc::SYS_rt_sigqueueinfo, &[pid, 0, from(&info)]);
            see("queue", (pid, code, sent));
        }
        see("wait", (pid, call(libc::SYS_wait4, &[pid, 0, 0x100, 0])));
        for size in [0, 4, 9] {
            let args = [pid, size, out(&mut room)];
            see(
                "processors",
                (pid, size, call(libc::SYS_sched_getaffinity, &args)),
            );
        }
        let args = [pid, out(&mut room), 48, 1];
        see("attributes", (pid, call(libc::SYS_sched_getattr, &args)));
        let moved = call(libc::SYS_move_pages, &[pid, 0, 0, 0, 0, 99]);
        see("pages", (pid, moved));
        let here = [[out(&mut room), 8_u64]];
        for (mine, theirs) in [(0, 0), (0, 1), (1, 0), (1, 1025), (1025, 1)] {
            let args = [pid, from(&here), mine, from(&here), theirs, 0];
            let read = call(libc::SYS_process_vm_readv, &args);
            see("memory", (pid, mine, theirs, read));
        }
    }
    for flags in [0x2000_0000_u64 | 0x200 | 0x2_0000, 0x1000_0000 | 0x200] {
        see(
            "clone",
            (flags, call(libc::SYS_clone, &[flags, 0, 0, 0, 0])),
        );
    }
    let limits = |nr: i64, args: &[u64]| call(nr, args);
    see("limit nowhere", limits(libc::SYS_setrlimit, &[99, NOWHERE]));
    see(
        "no limit",
        limits(libc::SYS_setrlimit, &[99, from(&[0_u64, 0])]),
    );
    see("no limit told", limits(libc::SYS_getrlimit, &[99, NOWHERE]));
    see("both", limits(libc::SYS_prlimit64, &[0, 99, NOWHERE, 0]));
    let sizes = call(libc::SYS_seccomp, &[3, 0, out(&mut room)]);
    see("notices", (sizes, room[0] & 0xffff_ffff_ffff));
    see(
        "notices with flags",
        call(libc::SYS_seccomp, &[3, 1, out(&mut room)]),
    );
}

/// Requests that ptrace(2) does not know.
fn tracing() {
    for request in [9999_u64, 0x4300] {
        let own = u64::from(std::process::id());
        see("no request", call(libc::SYS_ptrace, &[request, own, 0, 0]));
    }
}

fn sockets() {
    let file = at(libc::SYS_openat, ".", &[0]).expect("a directory");
    let path_only = at(libc::SYS_openat, ".", &[libc::O_PATH as u64]).expect("a path");
    let socket = call(libc::SYS_socket, &[1, 1, 0]).expect("a socket");
    for fd in [file, path_only, socket, 999, signed(-1)] {
        let done = [libc::SYS_recvmsg, libc::SYS_sendmsg].map(|nr| call(nr, &[fd, NOWHERE, 0]));
        see("message", (fd == socket, done));
    }
}

/// Descriptors of what has no name anywhere.
fn descriptors() -> Vec<(&'static str, u64)> {
    let mask = [0_u64];
    let all = [
        ("event", call(libc::SYS_eventfd2, &[0, 0])),
        ("poll", call(libc::SYS_epoll_create1, &[0])),
        ("timer", call(libc::SYS_timerfd_create, &[1, 0])),
        ("watch", call(libc::SYS_inotify_init1, &[0])),
        (
            "signal",
            call(libc::SYS_signalfd4, &[signed(-1), from(&mask), 8, 0]),
        ),
        ("socket", call(libc::SYS_socket, &[1, 1, 0])),
        (
            "file",
            at(libc::SYS_openat, ".", &[libc::O_TMPFILE as u64 | 2, 0o600]),
        ),
    ];
    all.map(|(which, fd)| (which, fd.expect("a descriptor")))
        .into()
}

fn things() {
    const EMPTY: u64 = 0x1000;
    let empty = name("");
    for (which, fd) in descriptors() {
        let mode = call(libc::SYS_fchmod, &[fd, 0o600]);
        let owner = call(libc::SYS_fchown, &[fd, u64::MAX, u64::MAX]);
        let times = call(libc::SYS_utimensat, &[fd, 0, 0, 0]);
        see("changes", (which, mode, owner, times));
        let named = call(libc::SYS_fchownat, &[fd, text(&empty), 0, 0, EMPTY]);
        see("named", (which, named.is_ok()));
        let mut found = [0_u64; 32];
        let args = [fd, text(&empty), EMPTY, 0x7ff, out(&mut found)];
        let told = call(libc::SYS_statx, &args);
        // STATX_ATTR_IMMUTABLE, STATX_ATTR_APPEND.
        see("marks", (which, told, found[7] & 0x30));
        const F_SETLEASE: u64 = 1024;
        see(
            "lease",
            (which, call(libc::SYS_fcntl, &[fd, F_SETLEASE, 2])),
        );
        // F_GET_RW_HINT, F_GET_FILE_RW_HINT.
        let mut hint = 99_u64;
        let hints = [1035, 1037].map(|op| call(libc::SYS_fcntl, &[fd, op, out(&mut hint)]));
        see("hint", (which, hints, hint));
        let ticks = call(libc::SYS_ioctl, &[fd, 0x4008_5400, from(&0_u64)]);
        see("ticks", (which, ticks.is_ok()));
        close(fd);
    }
}

/// Files that are made when they are opened.
fn served() {
    for path in [
        "/proc/self/status",
        "/proc/self/maps",
        "/proc/version",
        "/proc/uptime",
    ] {
        let fd = at(libc::SYS_openat, path, &[0]).expect("a file");
        let mut told = [0_u64; 18];
        see("stat", (path, call(libc::SYS_fstat, &[fd, out(&mut told)])));
        // Links, mode and owner, size, blocks.
        see("looks", (told[2], told[3] & 0xffff_ffff, told[6], told[8]));
        let mut system = [0_u64; 15];
        let got = call(libc::SYS_fstatfs, &[fd, out(&mut system)]);
        see("system", (got, system[0]));
        // Natively root changes the modes of all others.
        if path.starts_with("/proc/self") {
            see("mode", call(libc::SYS_fchmod, &[fd, 0o600]));
        }
        close(fd);
    }
    for path in [
        "/proc/self/projid_map",
        "/proc/self/timens_offsets",
        "/proc/execdomains",
        "/proc/sys/kernel/auto_msgmni",
        "/proc/sys/kernel/sched_rr_timeslice_ms",
        "/proc/sys/kernel/sem",
        "/proc/sys/vm/page-cluster",
    ] {
        see("holds", (path, fs::read_to_string(path).ok()));
    }
    for path in ["/proc/sys/vm/drop_caches", "/proc/sys/vm/compact_memory"] {
        see("put in order", (path, fs::write(path, "1").is_ok()));
    }
}

/// What a process may ask about itself.
fn own() {
    let prctl = |args: [u64; 5]| call(libc::SYS_prctl, &args);
    // PR_TASK_PERF_EVENTS_DISABLE and _ENABLE, PR_SET_SYSCALL_USER_DISPATCH off.
    see("events", (prctl([31, 0, 0, 0, 0]), prctl([32, 0, 0, 0, 0])));
    see(
        "dispatch",
        (prctl([59, 0, 0, 0, 0]), prctl([59, 0, 1, 0, 0])),
    );
    // PR_GET_AUXV.
    const AUXV: u64 = 0x4155_5856;
    let mut vector = [0_u64; 128];
    let told = prctl([AUXV, out(&mut vector), 1024, 0, 0]);
    see("vector", told.is_ok_and(|size| size > 128));
    let (pairs, _) = vector.as_chunks::<2>();
    let page = pairs.iter().find(|pair| pair[0] == libc::AT_PAGESZ);
    see("page size", page);
    see("vector nowhere", prctl([AUXV, NOWHERE, 1024, 0, 0]));
    see(
        "vector and more",
        prctl([AUXV, out(&mut vector), 1024, 1, 0]),
    );
    // PR_SET_PTRACER, where the kernel knows it.
    let nobody = prctl([0x5961_6d61, 0, 0, 0, 0]);
    see(
        "tracer",
        (nobody, prctl([0x5961_6d61, 0x7fff_fff0, 0, 0, 0])),
    );
}

/// Many semaphores.
fn sets() {
    const GETALL: u64 = 13;
    const SETALL: u64 = 17;
    const COUNT: usize = 9000;
    const PRIVATE: u64 = 0;
    let id = call(libc::SYS_semget, &[PRIVATE, COUNT as u64, 0o600]).expect("a set");
    let mut values: Vec<u16> = (0..COUNT)
        .map(|i| u16::try_from(i * 3).unwrap_or(7))
        .collect();
    let control = |op: u64, at: u64| -> Result<u64> { call(libc::SYS_semctl, &[id, 5, op, at]) };
    see("set", control(SETALL, values.as_ptr() as u64));
    let mut told = vec![0_u16; COUNT];
    see(
        "told",
        (control(GETALL, told.as_mut_ptr() as u64), told == values),
    );
    values[8000] = 40_000;
    values[0] = 1;
    see("too large", control(SETALL, values.as_ptr() as u64));
    see(
        "unchanged",
        (
            control(GETALL, told.as_mut_ptr() as u64),
            told[0],
            told[8000],
        ),
    );
    see(
        "nowhere",
        (control(SETALL, NOWHERE), control(GETALL, NOWHERE)),
    );
    see("removed", control(0, 0));
    see(
        "too many",
        call(libc::SYS_semget, &[PRIVATE, 32_001, 0o600]),
    );
}
