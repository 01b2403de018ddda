//! What users may do to files and directories: search on the way, owners, modes, set-id bits, times.
//!
//! Paths are relative: the directories above are the test's own affair.

use picozone_guests::{CWD, Result, at, call, child, close, name, sections, see, signed, text};
use std::ffi::CStr;

fn main() {
    sections(&[
        ("search", search),
        ("created", created),
        ("set_group", set_group),
        ("changes", changes),
        ("sticky", sticky),
        ("real_users", real_users),
        ("written", written),
        ("given_up", given_up),
        ("given_away", given_away),
        ("bound", bound),
        ("pipes", pipes),
        ("from_within", from_within),
        ("from_descriptors", from_descriptors),
    ]);
}

const USER: u64 = 1234;
const OTHER: u64 = 4321;
const GROUP: u64 = 77;
const KEEP: u64 = u32::MAX as u64;

fn open(path: &str, flags: i32, mode: u64) -> Result<u64> {
    at(libc::SYS_openat, path, &[signed(flags), mode])
}

/// Whether it opens.
fn opens(path: &str, flags: i32) -> Result<()> {
    open(path, flags, 0o644).map(close)
}

fn make(path: &str, mode: u64) {
    let fd = open(path, libc::O_CREAT | libc::O_RDWR | libc::O_EXCL, mode).expect("made");
    close(fd);
}

fn mkdir(path: &str, mode: u64) -> Result<u64> {
    at(libc::SYS_mkdirat, path, &[mode])
}

fn chmod(path: &str, mode: u64) -> Result<u64> {
    at(libc::SYS_fchmodat, path, &[mode])
}

fn chown(path: &str, uid: u64, gid: u64) -> Result<u64> {
    at(libc::SYS_fchownat, path, &[uid, gid, 0])
}

/// Mode, owner and group.
fn stat(path: &str) -> Result<(String, u32, u32)> {
    // SAFETY: all zero is a valid `struct stat`.
    let mut found = unsafe { std::mem::zeroed::<libc::stat>() };
    let nofollow = signed(libc::AT_SYMLINK_NOFOLLOW);
    at(
        libc::SYS_newfstatat,
        path,
        &[&raw mut found as u64, nofollow],
    )?;
    Ok((format!("{:o}", found.st_mode), found.st_uid, found.st_gid))
}

fn rename(from: &str, to: &str) -> Result<u64> {
    let (from, to) = (name(from), name(to));
    call(libc::SYS_renameat2, &[CWD, text(&from), CWD, text(&to), 0])
}

fn link(from: &str, to: &str) -> Result<u64> {
    let (from, to) = (name(from), name(to));
    call(libc::SYS_linkat, &[CWD, text(&from), CWD, text(&to), 0])
}

fn symlink(to: &str, path: &str) -> Result<u64> {
    let (to, path) = (name(to), name(path));
    call(libc::SYS_symlinkat, &[text(&to), CWD, text(&path)])
}

/// Runs as a user with these groups, and waits.
fn as_user(uid: u64, gid: u64, groups: &[u32], act: impl FnOnce()) {
    child(|| {
        let count = groups.len() as u64;
        call(libc::SYS_setgroups, &[count, groups.as_ptr() as u64]).expect("root may");
        call(libc::SYS_setresgid, &[gid, gid, gid]).expect("root may");
        call(libc::SYS_setresuid, &[uid, uid, uid]).expect("root may");
        act();
        0
    })
    .wait()
    .expect("it ends");
}

fn root_umask(mask: u64) {
    call(libc::SYS_umask, &[mask]).expect("it never fails");
}

fn search() {
    root_umask(0);
    mkdir("open", 0o755).expect("made");
    mkdir("open/shut", 0o700).expect("made");
    mkdir("open/shut/in", 0o777).expect("made");
    mkdir("open/group", 0o710).expect("made");
    chown("open/group", 0, GROUP).expect("root may");
    make("open/shut/in/file", 0o666);
    make("open/group/file", 0o666);
    make("open/file", 0o644);
    symlink("open/shut/in/file", "through").expect("made");
    symlink("open/shut", "door").expect("made");
    symlink("open", "free").expect("made");
    let paths = [
        "open/file",
        "free/file",
        "open/shut",
        "open/shut/",
        "open/shut/.",
        "open/shut/in",
        "open/shut/in/file",
        "open/shut/none",
        "open/shut/../file",
        "open/file/none",
        "open/none/none",
        "through",
        "door",
        "door/in",
        "open/group/file",
    ];
    let here = open(".", libc::O_RDONLY | libc::O_DIRECTORY, 0).expect("it is there");
    let tries = || {
        for path in paths {
            see("path", path);
            see("opens", opens(path, libc::O_RDONLY));
            see("opens path", opens(path, libc::O_PATH));
            see("makes", opens(path, libc::O_CREAT | libc::O_RDWR));
            see("stat", stat(path).map(|_| ()));
            see("access", at(libc::SYS_faccessat, path, &[0]));
            see("mkdir", mkdir(path, 0o700));
            see("unlink", at(libc::SYS_unlinkat, &format!("{path}x"), &[0]));
            see("rename", rename(path, "open/shut/in/other"));
            see("link", link(path, "open/shut/in/other"));
            see("symlink", symlink("x", path));
            let mut buffer = [0u8; 64];
            let to = buffer.as_mut_ptr() as u64;
            see("readlink", at(libc::SYS_readlinkat, path, &[to, 64]));
            let path = name(path);
            see("truncate", call(libc::SYS_truncate, &[text(&path), 0]));
            see("chdir", call(libc::SYS_chdir, &[text(&path)]).is_ok());
            call(libc::SYS_fchdir, &[here]).expect("a directory");
            let empty: [u64; 1] = [0];
            let vectors = empty.as_ptr() as u64;
            see(
                "exec",
                call(libc::SYS_execve, &[text(&path), vectors, vectors]),
            );
        }
    };
    as_user(USER, USER, &[], tries);
    as_user(USER, USER, &[77], || {
        see("by group", opens("open/group/file", libc::O_RDWR));
        see("list", opens("open/group", libc::O_RDONLY));
    });
    // What was allowed before is not any more.
    as_user(USER, USER, &[], || {
        see("before", opens("open/file", libc::O_RDONLY));
    });
    child(|| {
        see("found", opens("open/file", libc::O_RDONLY));
        call(libc::SYS_setfsuid, &[USER]).expect("it never fails");
        see("as user", opens("open/file", libc::O_RDONLY));
        call(libc::SYS_setfsuid, &[0]).expect("it never fails");
        chmod("open", 0o600).expect("root may");
        see("as root", opens("open/shut/in/file", libc::O_RDONLY));
        call(libc::SYS_setfsuid, &[USER]).expect("it never fails");
        see("not any more", opens("open/file", libc::O_RDONLY));
        call(libc::SYS_setfsuid, &[0]).expect("it never fails");
        chmod("open", 0o755).expect("root may");
        call(libc::SYS_setfsuid, &[USER]).expect("it never fails");
        see("again", opens("open/file", libc::O_RDONLY));
        0
    })
    .wait()
    .expect("it ends");
}

fn created() {
    for mask in [0, 0o22, 0o77] {
        root_umask(mask);
        for mode in [
            0, 0o111, 0o400, 0o444, 0o666, 0o4755, 0o2755, 0o1777, 0o6000, 0o7777,
        ] {
            let (file, dir, node) = (
                format!("f{mask:o}.{mode:o}"),
                format!("d{mask:o}.{mode:o}"),
                format!("n{mask:o}.{mode:o}"),
            );
            make(&file, mode);
            mkdir(&dir, mode).expect("made");
            at(
                libc::SYS_mknodat,
                &node,
                &[u64::from(libc::S_IFIFO) | mode, 0],
            )
            .expect("made");
            see("file", stat(&file));
            see("directory", stat(&dir));
            see("node", stat(&node));
            see(
                "in it",
                opens(&format!("{dir}/x"), libc::O_CREAT | libc::O_RDWR),
            );
            see("again", opens(&file, libc::O_RDWR));
        }
    }
    root_umask(0);
    chmod(".", 0o777).expect("root may");
    as_user(USER, GROUP, &[], || {
        for mode in [0, 0o222, 0o444, 0o600, 0o4711] {
            let path = format!("u{mode:o}");
            see(
                "made",
                open(&path, libc::O_CREAT | libc::O_RDWR, mode).map(close),
            );
            see("is", stat(&path));
            see("reads", opens(&path, libc::O_RDONLY));
            // In a zone opening to write takes the set-id bits that natively the first write takes.
            if mode & 0o7000 == 0 {
                see("writes", opens(&path, libc::O_WRONLY));
            }
            see("exclusive", opens(&path, libc::O_CREAT | libc::O_EXCL));
            see("no time", opens("f0.444", libc::O_RDONLY | libc::O_NOATIME));
        }
        symlink("nowhere", "dangling").expect("made");
        see("link", stat("dangling"));
        see("through", opens("dangling", libc::O_CREAT | libc::O_RDWR));
        see("there", stat("nowhere"));
    });
}

fn set_group() {
    root_umask(0);
    mkdir("giver", 0o777).expect("made");
    chown("giver", USER, GROUP).expect("root may");
    chmod("giver", 0o2777).expect("root may");
    let tries = |who: &str| {
        for mode in [0o666, 0o2666, 0o2777, 0o6777] {
            let file = format!("giver/{who}.f{mode:o}");
            let dir = format!("giver/{who}.d{mode:o}");
            make(&file, mode);
            see("file", stat(&file));
            see("mkdir", mkdir(&dir, mode));
            see("directory", stat(&dir));
        }
        let link = format!("giver/{who}.l");
        see("symlink", symlink("x", &link));
        see("link", stat(&link));
    };
    tries("root");
    as_user(USER, USER, &[], || tries("owner"));
    as_user(OTHER, OTHER, &[77], || tries("member"));
    as_user(OTHER, OTHER, &[], || tries("other"));
}

fn changes() {
    root_umask(0);
    chmod(".", 0o777).expect("root may");
    make("roots", 0o666);
    make("set", 0o644);
    let times =
        |path: &str, words: [u64; 4]| at(libc::SYS_utimensat, path, &[words.as_ptr() as u64, 0]);
    const NOW: u64 = (1 << 30) - 1;
    const OMIT: u64 = (1 << 30) - 2;
    for mode in [0o6755, 0o2745, 0o6644] {
        chmod("set", mode).expect("root may");
        see("root's chown", chown("set", USER, GROUP));
        see("is", stat("set"));
        chmod("set", mode).expect("root may");
        see("nothing", chown("set", KEEP, KEEP));
        see("is", stat("set"));
    }
    as_user(USER, USER, &[77], || {
        see("chmod", chmod("roots", 0o600));
        see("chown", chown("roots", KEEP, 77));
        see("chown nothing", chown("roots", KEEP, KEEP));
        see("now", times("roots", [0, NOW, 0, NOW]));
        see("then", times("roots", [1, 0, 1, 0]));
        see("omit", times("roots", [0, OMIT, 0, OMIT]));
        see("bad", times("roots", [0, 1_000_000_000, 0, 0]));
        make("own", 0o644);
        see("group", chown("own", KEEP, GROUP));
        see("other group", chown("own", KEEP, OTHER));
        see("other owner", chown("own", OTHER, KEEP));
        see("own owner", chown("own", USER, KEEP));
        for mode in [0o6755, 0o2745, 0o2755] {
            see("chmod", chmod("own", mode));
            see("is", stat("own"));
            see("group", chown("own", KEEP, USER));
            see("is", stat("own"));
        }
    });
    chown("own", USER, OTHER).expect("root may");
    as_user(USER, USER, &[], || {
        see("no member", chmod("own", 0o2755));
        see("is", stat("own"));
    });
    chmod("roots", 0o644).expect("root may");
    as_user(USER, USER, &[], || {
        see("now", times("roots", [0, NOW, 0, NOW]));
        see("one now", times("roots", [0, NOW, 0, OMIT]));
        see("writes", opens("roots", libc::O_RDWR));
        see("cuts", opens("roots", libc::O_RDONLY | libc::O_TRUNC));
        see("appends", opens("roots", libc::O_WRONLY | libc::O_APPEND));
    });
    chmod("roots", 0o6777).expect("root may");
    as_user(OTHER, OTHER, &[], || {
        let fd = open("roots", libc::O_WRONLY, 0).expect("everybody may");
        call(libc::SYS_write, &[fd, text(c"x"), 1]).expect("open for it");
        see("written", stat("roots"));
    });
}

fn sticky() {
    root_umask(0);
    mkdir("shared", 0o1777).expect("made");
    mkdir("plain", 0o777).expect("made");
    make("shared/roots", 0o666);
    as_user(OTHER, OTHER, &[], || {
        make("shared/others", 0o666);
        mkdir("shared/dir", 0o777).expect("made");
    });
    as_user(USER, USER, &[], || {
        make("shared/own", 0o666);
        for path in ["shared/roots", "shared/others", "shared/none"] {
            see("path", path);
            see("unlink", at(libc::SYS_unlinkat, path, &[0]));
            see("away", rename(path, "plain/x"));
            see("over", rename("shared/own", path));
            see(
                "rmdir",
                at(libc::SYS_unlinkat, path, &[signed(libc::AT_REMOVEDIR)]),
            );
        }
        see(
            "rmdir",
            at(
                libc::SYS_unlinkat,
                "shared/dir",
                &[signed(libc::AT_REMOVEDIR)],
            ),
        );
        see("is", stat("shared/none"));
        see("own", at(libc::SYS_unlinkat, "shared/none", &[0]));
    });
    mkdir("owned", 0o1777).expect("made");
    chown("owned", USER, USER).expect("root may");
    make("owned/roots", 0o600);
    as_user(USER, USER, &[], || {
        see(
            "directory's owner",
            at(libc::SYS_unlinkat, "owned/roots", &[0]),
        );
    });
}

/// access(2) asks for the real users, the way there included.
fn real_users() {
    root_umask(0);
    mkdir("shut", 0o700).expect("made");
    make("shut/file", 0o666);
    make("secret", 0o600);
    make("program", 0o711);
    child(|| {
        call(libc::SYS_setresuid, &[USER, 0, 0]).expect("root may");
        for path in ["shut/file", "secret", "program"] {
            for mode in [0, 1, 2, 4] {
                see("path", (path, mode));
                see("real", at(libc::SYS_faccessat, path, &[mode]));
                let effective = signed(libc::AT_EACCESS);
                see(
                    "effective",
                    at(libc::SYS_faccessat2, path, &[mode, effective]),
                );
            }
            see("opens", opens(path, libc::O_RDWR));
        }
        see("bad mode", at(libc::SYS_faccessat, "secret", &[8]));
        let bad: &CStr = c"secret";
        see(
            "bad flags",
            call(libc::SYS_faccessat2, &[CWD, text(bad), 0, 1]),
        );
        0
    })
    .wait()
    .expect("it ends");
}

fn write(fd: u64) -> Result<u64> {
    call(libc::SYS_write, &[fd, text(c"text"), 4])
}

/// Set-id bits go with the first write of who may not keep them, and with nothing else.
/// Who writes by what root has opened keeps set-id bits no more than by its own.
fn given_up() {
    root_umask(0);
    for name in ["write", "cut", "nothing"] {
        for (path, mode) in [("plain", 0o6777), ("locking", 0o6767)] {
            let path = format!("{path}-{name}");
            let fd = open(&path, libc::O_CREAT | libc::O_RDWR, mode).expect("made");
            see("root writes", (write(fd), stat(&path)));
            child(|| {
                call(libc::SYS_setresgid, &[GROUP, GROUP, GROUP]).expect("root may");
                call(libc::SYS_setresuid, &[KEEP, USER, KEEP]).expect("root may");
                see("given up", stat(&path));
                match name {
                    "write" => see(name, write(fd)),
                    "cut" => see(name, call(libc::SYS_ftruncate, &[fd, 1])),
                    _ => {}
                }
                see("then", stat(&path));
                0
            })
            .wait()
            .expect("it ends");
            close(fd);
        }
    }
}

/// Who may give files away, and no more, cannot where that takes set-id bits.
fn given_away() {
    root_umask(0);
    for (path, mode) in [
        ("plain", 0o755),
        ("user", 0o4755),
        ("group", 0o2755),
        ("locks", 0o2745),
    ] {
        make(path, mode);
        see("mode", (chmod(path, mode), chown(path, USER, GROUP)));
        see("again", chmod(path, mode));
        for group in [GROUP, OTHER] {
            child(|| {
                call(libc::SYS_setresgid, &[group, group, group]).expect("root may");
                call(libc::SYS_prctl, &[libc::PR_SET_KEEPCAPS as u64, 1]).expect("root may");
                call(libc::SYS_setresuid, &[OTHER, OTHER, OTHER]).expect("root may");
                // `CAP_CHOWN`, in a header of version 3 and six words.
                let header = [0x2008_0522u32, 0];
                let sets = [1u32, 1, 0, 0, 0, 0];
                let to = [header.as_ptr() as u64, sets.as_ptr() as u64];
                call(libc::SYS_capset, &to).expect("it has it");
                see(path, (chown(path, KEEP, 5), stat(path)));
                0
            })
            .wait()
            .expect("it ends");
        }
    }
}

fn written() {
    for path in ["by_root", "by_group", "locked", "cut", "kept", "mapped"] {
        make(path, 0o644);
        see("owner", chown(path, USER, GROUP));
        see(
            "mode",
            chmod(path, if path == "locked" { 0o2644 } else { 0o6755 }),
        );
    }
    chmod("by_group", 0o6777).expect("root may");
    root_umask(0);
    mkdir("free", 0o777).expect("made");
    child(|| {
        call(libc::SYS_setresuid, &[OTHER, OTHER, OTHER]).expect("root may");
        let fd = open("by_group", libc::O_RDWR, 0).expect("all may write");
        see("open", stat("by_group"));
        see("nothing", call(libc::SYS_write, &[fd, text(c""), 0]));
        see("write", (write(fd), stat("by_group")));
        0
    })
    .wait()
    .expect("it ends");
    let fd = open("by_root", libc::O_RDWR, 0).expect("root may");
    see("root writes", (write(fd), stat("by_root")));
    child(|| {
        call(libc::SYS_setresgid, &[GROUP, GROUP, GROUP]).expect("root may");
        call(libc::SYS_setresuid, &[USER, USER, USER]).expect("root may");
        for path in ["by_root", "locked"] {
            let fd = open(path, libc::O_WRONLY, 0).expect("its owner may");
            see("open", (path, stat(path)));
            see("read only", opens(path, libc::O_RDONLY));
            see("write", (write(fd), stat(path)));
            see("again", (chmod(path, 0o6711), stat(path)));
            see("write", (write(fd), stat(path)));
        }
        see(
            "cut",
            (opens("cut", libc::O_WRONLY | libc::O_TRUNC), stat("cut")),
        );
        // The times of a file are not its content.
        let times = [1u64, 2, 3, 4];
        let set = at(libc::SYS_utimensat, "kept", &[times.as_ptr() as u64, 0]);
        see("times", (set, stat("kept")));
        see("opened", (opens("kept", libc::O_RDWR), stat("kept")));
        let set = at(libc::SYS_utimensat, "kept", &[times.as_ptr() as u64, 0]);
        see("times", (set, stat("kept")));
        see("mode", (chmod("kept", 0o6750), stat("kept")));
        let fd = open("free/new", libc::O_CREAT | libc::O_RDWR, 0o6755).expect("made");
        see("new", stat("free/new"));
        see("write", (write(fd), stat("free/new")));
        see("mode", call(libc::SYS_fchmod, &[fd, 0o6755]));
        see("set", stat("free/new"));
        see(
            "length",
            (call(libc::SYS_ftruncate, &[fd, 2]), stat("free/new")),
        );
        see("mode", call(libc::SYS_fchmod, &[fd, 0o4755]));
        let room = call(libc::SYS_fallocate, &[fd, 0, 0, 100]);
        see("room", (room, stat("free/new")));
        0
    })
    .wait()
    .expect("it ends");
    see("kept", stat("kept"));
    // SAFETY: all zero is a valid `struct statx`.
    let mut found = unsafe { std::mem::zeroed::<libc::statx>() };
    let mask = u64::from(libc::STATX_MODE);
    let to = &raw mut found as u64;
    see("asked", at(libc::SYS_statx, "kept", &[0, mask, to]));
    see("for its mode only", format!("{:o}", found.stx_mode));
}

/// bind(2) or connect(2) of a new socket.
fn by_address(nr: i64, path: &str) -> Result<()> {
    let mut address = [0u8; 110];
    address[..2].copy_from_slice(&1u16.to_ne_bytes());
    address[2..2 + path.len()].copy_from_slice(path.as_bytes());
    let socket = call(libc::SYS_socket, &[1, 1, 0])?;
    let length = path.len() as u64 + 3;
    let result = call(nr, &[socket, address.as_ptr() as u64, length]);
    close(socket);
    result.map(drop)
}

/// Where users may bind sockets to names, and find them.
fn bound() {
    root_umask(0);
    mkdir("all", 0o777).expect("made");
    mkdir("read", 0o755).expect("made");
    mkdir("shut", 0o700).expect("made");
    mkdir("shut/all", 0o777).expect("made");
    for path in ["all/roots", "shut/roots"] {
        see("root", by_address(libc::SYS_bind, path));
    }
    as_user(USER, GROUP, &[], || {
        for path in [
            "all/own",
            "all/roots",
            "read/own",
            "shut/own",
            "shut/roots",
            "shut/all/own",
            "shut/none/own",
            "none/own",
            "all/roots/own",
        ] {
            see(path, by_address(libc::SYS_bind, path));
            see(path, by_address(libc::SYS_connect, path));
        }
    });
    for path in ["all/own", "read/own", "shut/own", "shut/all/own"] {
        see(path, stat(path));
    }
}

/// Who may not open a FIFO does not wait for its other end, and nobody there hears of him.
fn pipes() {
    root_umask(0);
    for (path, mode) in [("all", 0o622), ("mine", 0o600), ("none", 0)] {
        at(
            libc::SYS_mknodat,
            path,
            &[u64::from(libc::S_IFIFO | mode), 0],
        )
        .expect("made");
    }
    chown("mine", USER, GROUP).expect("root may");
    symlink("none", "to_none").expect("made");
    let waiting = child(|| {
        // It is woken by whoever opens the other end.
        i32::from(opens("none", libc::O_RDONLY).is_err())
    });
    let more = [
        0,
        libc::O_NONBLOCK,
        libc::O_CREAT,
        libc::O_TRUNC,
        libc::O_NOFOLLOW,
    ];
    let try_all = |path: &str, modes: &[i32]| {
        for &mode in modes {
            for flags in more {
                see(path, (mode, flags, opens(path, mode | flags)));
            }
        }
    };
    const ALL: &[i32] = &[libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR];
    as_user(USER, GROUP, &[], || {
        try_all("none", ALL);
        try_all("to_none", ALL);
        try_all("all", &[libc::O_RDONLY, libc::O_RDWR]);
        see("mine", opens("mine", libc::O_RDWR));
        see("mine", opens("mine", libc::O_WRONLY | libc::O_NONBLOCK));
        see("all", opens("all", libc::O_WRONLY | libc::O_NONBLOCK));
        see("named", opens("none", libc::O_PATH));
        see("a directory", opens("none", libc::O_DIRECTORY));
    });
    as_user(OTHER, GROUP, &[], || {
        try_all("mine", ALL);
    });
    see("by root", opens("none", libc::O_WRONLY));
    see("read", waiting.wait());
}

/// A directory that nobody but root reaches by its path, and the user's own in it.
fn out_of_reach(top: &str) {
    root_umask(0);
    mkdir(top, 0o700).expect("made");
    mkdir(&format!("{top}/own"), 0o755).expect("made");
    mkdir(&format!("{top}/own/shut"), 0o700).expect("made");
    make(&format!("{top}/own/roots"), 0o644);
    make(&format!("{top}/own/file"), 0o644);
    chown(&format!("{top}/own"), USER, GROUP).expect("root may");
    chown(&format!("{top}/own/file"), USER, GROUP).expect("root may");
}

/// What a user may do by such a name for that directory.
fn use_name(of: &str) {
    let path = |name: &str| format!("{of}/{name}");
    let makes = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
    see("opened", opens(&path("file"), libc::O_RDWR));
    see("root's", opens(&path("roots"), libc::O_RDONLY));
    see("not written", opens(&path("roots"), libc::O_WRONLY));
    see("made", opens(&path("new"), makes));
    see("is", stat(&path("new")));
    see("mode", chmod(&path("new"), 0o640));
    see("access", at(libc::SYS_faccessat, &path("new"), &[6]));
    see("directory", mkdir(&path("d"), 0o711));
    see("in it", mkdir(&path("d/in"), 0o700));
    see("renamed", rename(&path("new"), &path("d/other")));
    see("linked", link(&path("d/other"), &path("link")));
    see("symbolic", symlink("d/other", &path("s")));
    see("followed", opens(&path("s"), libc::O_RDONLY));
    see("missing", opens(&path("none"), libc::O_RDONLY));
    see("missing", opens(&path("none/x"), libc::O_RDONLY));
    see("no directory", opens(&path("file/x"), libc::O_RDONLY));
    see("shut", opens(&path("shut/x"), libc::O_RDONLY));
    see("slash", stat(&path("d/")));
    see("itself", stat(&path("")));
    see("itself", stat(&path(".")));
    for name in ["d/other", "link", "s", "none"] {
        see(name, at(libc::SYS_unlinkat, &path(name), &[0]));
    }
    for name in ["d/in", "d", "shut"] {
        see(name, at(libc::SYS_unlinkat, &path(name), &[0x200]));
    }
}

/// A working directory is where it is, whoever may go there by its path.
fn from_within() {
    out_of_reach("within");
    let path = name("within/own");
    child(|| {
        call(libc::SYS_chdir, &[text(&path)]).expect("root may");
        as_user(USER, GROUP, &[], || {
            use_name(".");
            use_name("/proc/self/cwd");
        });
        0
    })
    .wait()
    .expect("it ends");
}

/// And a descriptor is what it is.
fn from_descriptors() {
    out_of_reach("held");
    let held = open("held/own", libc::O_PATH, 0).expect("root may");
    let file = open("held/own/file", libc::O_RDONLY, 0).expect("root may");
    as_user(USER, GROUP, &[], || {
        use_name(&format!("/proc/self/fd/{held}"));
        let of_file = format!("/proc/self/fd/{file}/x");
        see("of a file", opens(&of_file, libc::O_RDONLY));
        see("not open", opens("/proc/self/fd/999/x", libc::O_RDONLY));
        see("no number", opens("/proc/self/fd/x/x", libc::O_RDONLY));
    });
}
