//! Which of several things that are wrong with a path a call names: for every call that makes, moves or
//! removes names, every kind of name in directories of every kind.

use picozone_guests::{CWD, Result, at, call, name, sections, see, signed, text};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

fn main() {
    sections(&[
        ("of_root", of_root),
        ("of_a_user", of_a_user),
        ("pairs", pairs),
    ]);
}

const USER: u64 = 1234;
const KEEP: u64 = u32::MAX as u64;

/// Directories, with their modes: all of them are root's.
const DIRECTORIES: [(&str, u32); 4] = [
    ("free", 0o777),
    ("read", 0o755),
    ("hidden", 0o700),
    ("sticky", 0o1777),
];
const NAMES: [&str; 7] = [
    "none", "file", "dir", "full", "to_file", "to_dir", "to_none",
];

/// The tree in which every call begins.
fn plant() {
    fs::create_dir("t").expect("made");
    plant_again(&["t/free", "t/read", "t/hidden", "t/sticky"]);
}

/// The directories of the tree that some paths lead to.
fn plant_again(paths: &[&str]) {
    for (directory, mode) in DIRECTORIES {
        let top = format!("t/{directory}");
        if !paths.iter().any(|path| path.starts_with(&top)) {
            continue;
        }
        let _ = fs::remove_dir_all(top);
        let of = |name: &str| format!("t/{directory}/{name}");
        fs::create_dir(of("")).expect("made");
        fs::write(of("file"), "text").expect("made");
        fs::create_dir(of("dir")).expect("made");
        fs::create_dir_all(of("full/below")).expect("made");
        for (link, target) in [("to_file", "file"), ("to_dir", "dir"), ("to_none", "no")] {
            symlink(target, of(link)).expect("made");
        }
        fs::set_permissions(of(""), fs::Permissions::from_mode(mode)).expect("set");
    }
}

/// Every name in every directory, with and without a slash behind it.
fn paths(names: &[&str]) -> Vec<String> {
    let mut all = Vec::new();
    for (directory, _) in DIRECTORIES {
        for name in names {
            all.push(format!("t/{directory}/{name}"));
            all.push(format!("t/{directory}/{name}/"));
        }
    }
    all
}

fn become_user(uid: u64) {
    call(libc::SYS_setresuid, &[KEEP, uid, 0]).expect("root may");
}

/// Makes a call on paths as a user; what it has changed is undone.
fn as_user(uid: u64, paths: &[&str], call: impl FnOnce() -> Result<u64>) -> Result<()> {
    become_user(uid);
    let result = call();
    become_user(0);
    let result = result.map(drop);
    if result.is_ok() {
        plant_again(paths);
    }
    result
}

fn opened(path: &str, flags: i32) -> Result<u64> {
    let fd = at(libc::SYS_openat, path, &[signed(flags), 0o644])?;
    call(libc::SYS_close, &[fd])
}

type Call = fn(&str) -> Result<u64>;

const CALLS: [(&str, Call); 14] = [
    ("mkdir", |path| at(libc::SYS_mkdirat, path, &[0o755])),
    ("fifo", |path| make(path, libc::S_IFIFO | 0o644, 0)),
    ("device", |path| make(path, libc::S_IFBLK | 0o644, 0x701)),
    ("no kind", |path| make(path, 0o030_644, 0)),
    ("a directory", |path| make(path, libc::S_IFDIR | 0o755, 0)),
    ("symlink", |path| {
        let path = name(path);
        call(libc::SYS_symlinkat, &[text(c"to"), CWD, text(&path)])
    }),
    ("unlink", |path| at(libc::SYS_unlinkat, path, &[0])),
    ("rmdir", |path| {
        at(libc::SYS_unlinkat, path, &[signed(libc::AT_REMOVEDIR)])
    }),
    ("creat", |path| opened(path, libc::O_CREAT | libc::O_WRONLY)),
    ("exclusive", |path| {
        opened(path, libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY)
    }),
    ("cut", |path| opened(path, libc::O_TRUNC | libc::O_WRONLY)),
    ("directory", |path| opened(path, libc::O_DIRECTORY)),
    ("chmod", |path| at(libc::SYS_fchmodat, path, &[0o700])),
    ("execve", |path| {
        let path = name(path);
        let none = [0u64; 1];
        let nothing = none.as_ptr() as u64;
        call(libc::SYS_execve, &[text(&path), nothing, nothing])
    }),
];

fn make(path: &str, mode: u32, device: u64) -> Result<u64> {
    at(libc::SYS_mknodat, path, &[u64::from(mode), device])
}

fn each(uid: u64) {
    plant();
    let mut all = paths(&NAMES);
    all.extend(["t/hidden/.", "t/read/..", "t/free/./", "t/free/../"].map(str::to_owned));
    all.push(format!("t/read/{}", "n".repeat(256)));
    all.push(format!("t/hidden/{}", "n".repeat(256)));
    for (what, call) in CALLS {
        for path in &all {
            let shown = &path[..path.len().min(32)];
            see(what, (shown, as_user(uid, &[path], || call(path))));
        }
    }
}

fn of_root() {
    each(0);
}

fn of_a_user() {
    each(USER);
}

/// rename(2) with each of its flags, and link(2).
const MOVES: [(&str, i64, u64); 4] = [
    ("rename", libc::SYS_renameat2, 0),
    ("no replacing", libc::SYS_renameat2, 1),
    ("exchange", libc::SYS_renameat2, 2),
    ("link", libc::SYS_linkat, 0),
];

/// By a user: of root the kernel itself is asked.
fn pairs() {
    plant();
    let mut all = paths(&["none", "file", "dir", "full", "to_dir"]);
    all.extend(
        [
            "t/hidden/.",
            "t/read/..",
            "t/free/dir/in",
            "t/read/dir/in",
            "t/free/full/below",
            "t/read",
        ]
        .map(str::to_owned),
    );
    for (what, nr, flags) in MOVES {
        for from in &all {
            for to in &all {
                let (one, other) = (name(from), name(to));
                let moved = || call(nr, &[CWD, text(&one), CWD, text(&other), flags]);
                see(what, (from, to, as_user(USER, &[from, to], moved)));
            }
        }
    }
}
