//! Core dumps: `cores` says what the host's `core_pattern` must be for them to be files here.

use picozone_guests::children::exit;
use picozone_guests::{call, child, sections, see};
use std::fs;

fn main() {
    sections(&[
        ("kinds", kinds),
        ("limits", limits),
        ("threads", threads),
        ("not_dumpable", not_dumpable),
        ("elsewhere", elsewhere),
    ]);
}

fn limit(bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the limit lives until the call returns.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) };
}

/// What waits told of a child's end: the signal, and whether there was a core.
fn end(body: impl FnOnce()) -> (i32, bool) {
    let child = child(|| {
        body();
        exit(3)
    });
    let mut status = 0;
    // SAFETY: zeros are a valid block.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOWAIT;
    // SAFETY: the block lives until the call returns.
    unsafe { libc::waitid(libc::P_PID, child.0.unsigned_abs(), &raw mut info, flags) };
    // SAFETY: the status lives until the call returns.
    unsafe { libc::waitpid(child.0, &raw mut status, 0) };
    let has_core = libc::WCOREDUMP(status);
    let told = if info.si_code == 3 {
        "dumped"
    } else {
        "not dumped"
    };
    see("waitid", told);
    (libc::WTERMSIG(status), has_core)
}

/// Core files in the directory: whether each is an ELF core of a sensible size; they are removed.
fn cores() -> Vec<bool> {
    let mut found = Vec::new();
    for entry in fs::read_dir(".").expect("it is there").flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("core") {
            let bytes = fs::read(entry.path()).unwrap_or_default();
            let is_core = bytes.starts_with(b"\x7fELF") && bytes.get(16) == Some(&4);
            found.push(is_core && (20_000..100_000_000).contains(&bytes.len()));
            fs::remove_file(entry.path()).expect("it is ours");
        }
    }
    found
}

/// Signals that dump, and such that do not.
fn kinds() {
    limit(libc::RLIM_INFINITY);
    for signal in [
        libc::SIGABRT,
        libc::SIGQUIT,
        libc::SIGSEGV,
        libc::SIGTERM,
        libc::SIGKILL,
    ] {
        // SAFETY: the default action.
        let ended = end(|| unsafe {
            libc::raise(signal);
        });
        see("raised", (signal, ended, cores()));
    }
    let ended = end(|| {
        // SAFETY: it is to fault.
        unsafe { (8 as *mut u8).write_volatile(1) };
    });
    see("a fault", (ended, cores()));
}

fn limits() {
    for bytes in [0, 1, libc::RLIM_INFINITY] {
        limit(bytes);
        let ended = end(|| std::process::abort());
        see("limit", (bytes, ended, cores().len()));
    }
}

/// By a thread, and from a program that another has become.
fn threads() {
    limit(libc::RLIM_INFINITY);
    let ended = end(|| {
        let _ = std::thread::spawn(|| std::process::abort()).join();
    });
    see("a thread", (ended, cores()));
    let ended = end(|| {
        use std::os::unix::process::CommandExt;
        let _ = std::process::Command::new("/bin/sh")
            .args(["-c", "kill -QUIT $$"])
            .exec();
    });
    see("a program", (ended, cores()));
}

/// `PR_SET_DUMPABLE`.
fn not_dumpable() {
    limit(libc::RLIM_INFINITY);
    let set = |value: u64| call(libc::SYS_prctl, &[4, value, 0, 0, 0]);
    for steps in [&[0][..], &[0, 1], &[0, 7]] {
        let ended = end(|| {
            for step in steps {
                let _ = set(*step);
            }
            std::process::abort();
        });
        see("set", (steps, ended, cores().len()));
    }
    let ended = end(|| {
        set(0).expect("it can be");
        limit(5 << 20);
        let mut now = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: the limit lives until the call returns.
        unsafe { libc::getrlimit(libc::RLIMIT_CORE, &raw mut now) };
        see("limit", now.rlim_cur);
        std::process::abort();
    });
    see("limited meanwhile", (ended, cores().len()));
    let ended = end(|| {
        use std::os::unix::process::CommandExt;
        set(0).expect("it can be");
        let _ = std::process::Command::new("/bin/sh")
            .args(["-c", "kill -QUIT $$"])
            .exec();
    });
    see("a program", (ended, cores().len()));
}

/// Where the directory cannot be written, nothing is; as natively for root, it can be.
fn elsewhere() {
    limit(libc::RLIM_INFINITY);
    fs::create_dir("inner").expect("a directory");
    std::env::set_current_dir("inner").expect("it is there");
    let ended = end(|| std::process::abort());
    see("inner", (ended, cores()));
    std::env::set_current_dir("/proc").expect("it is there");
    let ended = end(|| std::process::abort());
    see("no place", ended);
}
