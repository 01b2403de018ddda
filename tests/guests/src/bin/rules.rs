//! Rules of files that are easily missed: what a change of owner leaves behind, who may move a
//! directory or link another's file, what has no name, and what those who watch are told.

use picozone_guests::{CWD, Result, at, call, child, close, name, sections, see, signed, text};
use std::ffi::CStr;

fn main() {
    if let Some(mode) = std::env::args().nth(1) {
        match mode.as_str() {
            "wait" => return wait_for_input(),
            "name" => return tell_name(),
            _ => {}
        }
    }
    sections(&[
        ("renewed", renewed),
        ("moved", moved),
        ("linked", linked),
        ("nameless", nameless),
        ("truncated", truncated),
        ("through_descriptors", through_descriptors),
        ("temporary", temporary),
        ("busy", busy),
        ("program_name", program_name),
        ("marks", marks),
        ("deep", deep),
        ("file_attributes", file_attributes),
        ("capabilities_go", capabilities_go),
        ("wrong_links", wrong_links),
    ]);
}

const USER: u64 = 1234;
const OTHER: u64 = 4321;
const KEEP: u64 = u32::MAX as u64;

fn open(path: &str, flags: i32) -> Result<u64> {
    at(libc::SYS_openat, path, &[signed(flags), 0o644])
}

fn make(path: &str, mode: u64) {
    let flags = libc::O_CREAT | libc::O_RDWR | libc::O_EXCL;
    close(at(libc::SYS_openat, path, &[signed(flags), mode]).expect("made"));
    chmod(path, mode).expect("own");
}

fn mkdir(path: &str, mode: u64) {
    at(libc::SYS_mkdirat, path, &[mode]).expect("made");
    chmod(path, mode).expect("own");
}

fn chmod(path: &str, mode: u64) -> Result<u64> {
    at(libc::SYS_fchmodat, path, &[mode])
}

fn chown(path: &str, uid: u64, gid: u64) -> Result<u64> {
    let nofollow = signed(libc::AT_SYMLINK_NOFOLLOW);
    at(libc::SYS_fchownat, path, &[uid, gid, nofollow])
}

fn stat_at(dirfd: u64, path: &CStr, flags: i32) -> Result<libc::stat> {
    // SAFETY: all zero is a valid `struct stat`.
    let mut found = unsafe { std::mem::zeroed::<libc::stat>() };
    let to = &raw mut found as u64;
    call(
        libc::SYS_newfstatat,
        &[dirfd, text(path), to, signed(flags)],
    )
    .map(|_| found)
}

fn stat(path: &str) -> libc::stat {
    stat_at(CWD, &name(path), libc::AT_SYMLINK_NOFOLLOW).expect("it is there")
}

/// Mode, owner and group of what a descriptor names.
fn told(fd: u64) -> Result<(String, u32, u32)> {
    let found = stat_at(fd, c"", libc::AT_EMPTY_PATH)?;
    Ok((format!("{:o}", found.st_mode), found.st_uid, found.st_gid))
}

fn rename(from: &str, to: &str, flags: u64) -> Result<u64> {
    let (from, to) = (name(from), name(to));
    call(
        libc::SYS_renameat2,
        &[CWD, text(&from), CWD, text(&to), flags],
    )
}

fn link(from: &str, to: &str) -> Result<u64> {
    let (from, to) = (name(from), name(to));
    call(libc::SYS_linkat, &[CWD, text(&from), CWD, text(&to), 0])
}

/// Runs as a user, and waits.
fn as_user(uid: u64, act: impl FnOnce()) {
    child(|| {
        call(libc::SYS_setgroups, &[0, 0]).expect("root may");
        call(libc::SYS_setresgid, &[uid, uid, uid]).expect("root may");
        call(libc::SYS_setresuid, &[uid, uid, uid]).expect("root may");
        act();
        0
    })
    .wait()
    .expect("it ends");
}

/// The events of a watch: their masks.
struct Watch(u64);

impl Watch {
    fn of(path: &str) -> Watch {
        let nonblocking = signed(libc::IN_NONBLOCK);
        let fd = call(libc::SYS_inotify_init1, &[nonblocking]).expect("made");
        let all = u64::from(libc::IN_ALL_EVENTS | libc::IN_DONT_FOLLOW);
        call(libc::SYS_inotify_add_watch, &[fd, text(&name(path)), all]).expect("it is there");
        Watch(fd)
    }

    fn events(&self) -> Vec<String> {
        let mut buffer = [0u8; 4096];
        let to = buffer.as_mut_ptr() as u64;
        let got = call(libc::SYS_read, &[self.0, to, 4096]).unwrap_or(0);
        let mut rest = &buffer[..usize::try_from(got).expect("it fits")];
        let mut events = Vec::new();
        while let [_, _, _, _, a, b, c, d, _, _, _, _, e, f, g, h, ..] = *rest {
            events.push(format!("{:x}", u32::from_ne_bytes([a, b, c, d])));
            let name = u32::from_ne_bytes([e, f, g, h]) as usize;
            rest = &rest[16 + name..];
        }
        events
    }
}

/// Whether a call renews the ctime of what it is about.
fn renews(path: &str, act: impl FnOnce() -> Result<u64>) -> (Result<u64>, bool) {
    let time = |found: &libc::stat| (found.st_ctime, found.st_ctime_nsec);
    let before = time(&stat(path));
    let now = || {
        make("now", 0o600);
        let now = time(&stat("now"));
        at(libc::SYS_unlinkat, "now", &[0]).expect("made");
        now
    };
    // The clock of files has a grain.
    while now() == before {
        std::thread::yield_now();
    }
    let result = act();
    (result, time(&stat(path)) != before)
}

fn renewed() {
    make("file", 0o644);
    mkdir("dir", 0o755);
    at(
        libc::SYS_mknodat,
        "fifo",
        &[u64::from(libc::S_IFIFO) | 0o644, 0],
    )
    .expect("made");
    at(
        libc::SYS_mknodat,
        "null",
        &[u64::from(libc::S_IFCHR) | 0o644, 0x103],
    )
    .expect("made");
    call(libc::SYS_symlinkat, &[text(c"file"), CWD, text(c"link")]).expect("made");
    for path in ["file", "dir", "fifo", "null", "link"] {
        see("path", path);
        let watch = Watch::of(path);
        for (uid, gid) in [
            (USER, USER),
            (USER, KEEP),
            (KEEP, OTHER),
            (KEEP, KEEP),
            (0, 0),
        ] {
            see("owner", renews(path, || chown(path, uid, gid)));
            see("events", watch.events());
        }
        if path != "link" {
            see("mode", renews(path, || chmod(path, 0o4755)));
            see("same mode", renews(path, || chmod(path, 0o4755)));
            see("owner", renews(path, || chown(path, USER, KEEP)));
            see("events", watch.events());
            see("is", format!("{:o}", stat(path).st_mode));
        }
    }
}

fn moved() {
    mkdir("one", 0o777);
    mkdir("two", 0o777);
    mkdir("shut", 0o755);
    for (mode, of) in [(0o755, 0), (0o755, USER), (0o555, USER), (0o777, 0)] {
        mkdir("one/dir", mode);
        chown("one/dir", of, of).expect("root may");
        see("dir", (format!("{mode:o}"), of));
        as_user(USER, || {
            see("within", rename("one/dir", "one/other", 0));
            see("back", rename("one/other", "one/dir", 0));
            see("away", rename("one/dir", "two/dir", 0));
            see("back", rename("two/dir", "one/dir", 0));
            see("shut", rename("one/dir", "shut/dir", 0));
        });
        make("two/file", 0o644);
        as_user(USER, || {
            let exchange = u64::from(libc::RENAME_EXCHANGE);
            see("exchange", rename("one/dir", "two/file", exchange));
            see("exchange", rename("two/file", "one/dir", exchange));
        });
        for (dir, flag) in [("one", 0), ("two", 0), ("one", 0x200), ("two", 0x200)] {
            for entry in ["dir", "file"] {
                let _ = at(libc::SYS_unlinkat, &format!("{dir}/{entry}"), &[flag]);
            }
        }
    }
    make("shut/file", 0o666);
    make("one/file", 0o666);
    link("one/file", "one/same").expect("root may");
    link("shut/file", "shut/same").expect("root may");
    as_user(USER, || {
        see("none", rename("one/none", "shut/none", 0));
        see("into", rename("one/file", "shut/new", 0));
        see("over", rename("one/file", "shut/file", 0));
        see("out", rename("shut/file", "one/new", 0));
        see(
            "no replace",
            rename("shut/file", "one/file", u64::from(libc::RENAME_NOREPLACE)),
        );
        see("same file", rename("shut/file", "shut/same", 0));
        see("dots", rename("shut/.", "one/new", 0));
    });
    mkdir("sticky", 0o1777);
    for entry in ["sticky/theirs", "sticky/own", "one/own"] {
        make(entry, 0o666);
    }
    chown("sticky/own", USER, USER).expect("root may");
    chown("one/own", USER, USER).expect("root may");
    as_user(USER, || {
        see("theirs", rename("sticky/theirs", "one/theirs", 0));
        see("over theirs", rename("one/own", "sticky/theirs", 0));
        see("own", rename("sticky/own", "one/own", 0));
        see("in", rename("one/own", "sticky/own", 0));
        see("gone", at(libc::SYS_unlinkat, "sticky/theirs", &[0]));
    });
}

fn linked() {
    mkdir("all", 0o777);
    mkdir("shut", 0o755);
    for (path, mode, of) in [
        ("all/own", 0o400, USER),
        ("all/open", 0o666, 0),
        ("all/read", 0o644, 0),
        ("all/set_id", 0o4666, 0),
        ("all/set_group", 0o2676, 0),
        ("all/mandatory", 0o2666, 0),
    ] {
        make(path, mode);
        chown(path, of, of).expect("root may");
        chmod(path, mode).expect("root may");
    }
    at(
        libc::SYS_mknodat,
        "all/fifo",
        &[u64::from(libc::S_IFIFO) | 0o666, 0],
    )
    .expect("made");
    chmod("all/fifo", 0o666).expect("root may");
    as_user(USER, || {
        for path in [
            "own",
            "open",
            "read",
            "set_id",
            "set_group",
            "mandatory",
            "fifo",
            "none",
            ".",
        ] {
            let from = format!("all/{path}");
            see("from", path);
            see("to", link(&from, "all/new").map(|_| ()));
            see("there", link(&from, "all/open").map(|_| ()));
            see("shut", link(&from, "shut/new").map(|_| ()));
            let _ = at(libc::SYS_unlinkat, "all/new", &[0]);
        }
    });
}

fn nameless() {
    let mut pipe = [0i32; 2];
    call(libc::SYS_pipe2, &[pipe.as_mut_ptr() as u64, 0]).expect("made");
    let mut pair = [0i32; 2];
    let stream = libc::SOCK_STREAM.cast_unsigned().into();
    let to = pair.as_mut_ptr() as u64;
    call(libc::SYS_socketpair, &[1, stream, 0, to]).expect("made");
    let memory = call(libc::SYS_memfd_create, &[text(c"name"), 0]).expect("made");
    for (what, fd) in [
        ("pipe", signed(pipe[0])),
        ("socket", signed(pair[0])),
        ("memory", memory),
    ] {
        see("of", what);
        see("mode", call(libc::SYS_fchmod, &[fd, 0o640]));
        see("is", told(fd));
        see("owner", call(libc::SYS_fchown, &[fd, USER, OTHER]));
        see("is", told(fd));
        as_user(USER, || {
            see("own", call(libc::SYS_fchmod, &[fd, 0o600]));
            see("not given", call(libc::SYS_fchown, &[fd, OTHER, KEEP]));
        });
        as_user(OTHER, || {
            see("theirs", call(libc::SYS_fchmod, &[fd, 0o666]))
        });
        see("is", told(fd));
    }
    see("other end", told(signed(pipe[1])));
    see("other socket", told(signed(pair[1])).map(|told| told.1));
}

fn truncated() {
    make("file", 0o644);
    let (file, watch) = (name("file"), Watch::of("file"));
    let truncate = |path: &CStr, length| call(libc::SYS_truncate, &[text(path), length]);
    for length in [100, 10, 10, 0] {
        see("to", truncate(&file, length));
        see("is", stat("file").st_size);
        see("events", watch.events());
    }
    see("negative", truncate(&file, u64::MAX));
    see("dir", truncate(c".", 0));
    see("none", truncate(c"none", 0));
    see("empty", truncate(c"", 0));
    see("null", truncate(c"/dev/null", 0));
    at(
        libc::SYS_mknodat,
        "fifo",
        &[u64::from(libc::S_IFIFO) | 0o644, 0],
    )
    .expect("made");
    see("fifo", truncate(c"fifo", 0));
    chmod("file", 0o6777).expect("own");
    as_user(USER, || see("as a user", truncate(&file, 5)));
    see("mode", format!("{:o}", stat("file").st_mode));
    chmod("file", 0o600).expect("own");
    as_user(USER, || see("not theirs", truncate(&file, 6)));
    let limit = libc::rlimit {
        rlim_cur: 50,
        rlim_max: 50,
    };
    let status = child(|| {
        call(libc::SYS_prlimit64, &[0, 1, &raw const limit as u64, 0]).expect("lower");
        see("within", truncate(&file, 50));
        see("beyond", truncate(&file, 51));
        0
    })
    .wait();
    see("ended", status);
    see("is", stat("file").st_size);
}

/// What `/proc/self/fd` names may be a link itself.
fn through_descriptors() {
    make("file", 0o644);
    call(libc::SYS_symlinkat, &[text(c"file"), CWD, text(c"link")]).expect("made");
    for (path, flags) in [("file", 0), ("link", libc::O_NOFOLLOW), ("link", 0)] {
        let fd = open(path, libc::O_PATH | flags).expect("it is there");
        let own = format!("/proc/self/fd/{fd}");
        see("of", (path, flags));
        see("mode", chmod(&own, 0o600));
        see("owner", at(libc::SYS_fchownat, &own, &[USER, USER, 0]));
        see(
            "file",
            (stat("file").st_uid, format!("{:o}", stat("file").st_mode)),
        );
        see(
            "link",
            (stat("link").st_uid, format!("{:o}", stat("link").st_mode)),
        );
        close(fd);
        see("closed", chmod(&own, 0o600));
        chown("file", 0, 0).expect("root may");
        chown("link", 0, 0).expect("root may");
    }
    see("no descriptor", chmod("/proc/self/fd/x", 0o600));
}

fn temporary() {
    let mut room = [0u64; 15];
    let to = room.as_mut_ptr() as u64;
    for path in [c"/dev/shm", c"/dev", c"/dev/null", c"/dev/pts", c"/proc"] {
        see("by path", call(libc::SYS_statfs, &[text(path), to]));
        see("type", (path, format!("{:x}", room[0])));
        let flags = signed(libc::O_RDONLY);
        let fd = call(libc::SYS_open, &[text(path), flags]).expect("it is there");
        room = [0; 15];
        see("by descriptor", call(libc::SYS_fstatfs, &[fd, to]));
        see("type", format!("{:x}", room[0]));
        close(fd);
    }
}

/// As a program of its own: runs until its input ends.
fn wait_for_input() {
    let mut byte = [0u8; 1];
    let _ = call(libc::SYS_write, &[1, text(c"x"), 1]);
    let _ = call(libc::SYS_read, &[0, byte.as_mut_ptr() as u64, 1]);
}

/// As a program of its own: tells by which name it was executed.
fn tell_name() {
    // SAFETY: it looks at what the kernel gave.
    let at = unsafe { libc::getauxval(libc::AT_EXECFN) };
    // SAFETY: the kernel has put a string there.
    let name = unsafe { CStr::from_ptr(at as *const _) };
    see("name", name);
}

fn copy(to: &str) {
    std::fs::copy("guest", to).expect("it is there");
}

fn executed(path: &str) -> std::io::Result<std::process::ExitStatus> {
    let mut command = std::process::Command::new(path);
    command.arg("wait").stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::null()).status()
}

fn busy() {
    use std::io::Read;
    use std::process::{Command, Stdio};
    copy("program");
    mkdir("dir", 0o777);
    call(
        libc::SYS_symlinkat,
        &[text(c"../program"), CWD, text(c"dir/link")],
    )
    .expect("made");
    let ways = [
        ("read", libc::O_RDONLY),
        ("write", libc::O_WRONLY),
        ("both", libc::O_RDWR),
        ("cut", libc::O_RDONLY | libc::O_TRUNC),
        ("append", libc::O_WRONLY | libc::O_APPEND),
        ("create", libc::O_CREAT | libc::O_WRONLY),
        ("exclusive", libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY),
        ("name", libc::O_PATH),
        ("directory", libc::O_WRONLY | libc::O_DIRECTORY),
    ];
    let opens = |path: &str, flags| open(path, flags).map(close);
    let start = |path: &str| {
        let mut command = Command::new(path);
        command
            .arg("wait")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let out = child.stdout.as_mut().expect("it is a pipe");
        out.read_exact(&mut [0]).expect("it says that it runs");
        child
    };
    let mut child = start("./program");
    for (way, flags) in ways {
        if flags & libc::O_TRUNC == 0 || flags & 3 != 0 {
            see(way, opens("program", flags));
        }
    }
    let length = call(libc::SYS_truncate, &[text(c"program"), 10]);
    see("truncate", length);
    as_user(USER, || see("as a user", opens("program", libc::O_WRONLY)));
    chmod("program", 0o777).expect("own");
    as_user(USER, || see("as a user", opens("program", libc::O_WRONLY)));
    see(
        "executed again",
        executed("./program").map(|status| status.success()).ok(),
    );
    let mut again = start("dir/../program");
    see("removed", at(libc::SYS_unlinkat, "program", &[0]));
    copy("program");
    see("another file", opens("program", libc::O_WRONLY));
    drop(again.stdin.take());
    again.wait().expect("it ends");
    drop(child.stdin.take());
    // Not reaped, it has ended all the same.
    let mut third = start("./program");
    see("busy", opens("program", libc::O_WRONLY));
    drop(third.stdin.take());
    let mut rest = Vec::new();
    third
        .stdout
        .take()
        .expect("it is a pipe")
        .read_to_end(&mut rest)
        .expect("it ends");
    let ended = |id: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.contains(") Z ")
    };
    while !ended(third.id()) {
        std::thread::yield_now();
    }
    see("ended", opens("program", libc::O_WRONLY));
    third.wait().expect("it ends");
    child.wait().expect("it ends");
    for flags in [libc::O_WRONLY, libc::O_RDWR, libc::O_RDONLY] {
        let fd = open("program", flags | libc::O_CLOEXEC).expect("own");
        let result = executed("./program").map(|status| status.success());
        see("open", result.map_err(|error| error.raw_os_error()));
        close(fd);
    }
    std::fs::write("script", "#!./program wait\n").expect("written");
    chmod("script", 0o755).expect("own");
    let fd = open("script", libc::O_WRONLY | libc::O_CLOEXEC).expect("own");
    see(
        "script",
        executed("./script")
            .map_err(|error| error.raw_os_error())
            .err(),
    );
    close(fd);
    let fd = open("program", libc::O_WRONLY | libc::O_CLOEXEC).expect("own");
    see(
        "interpreter",
        executed("./script")
            .map_err(|error| error.raw_os_error())
            .err(),
    );
    close(fd);
    see(
        "in the end",
        executed("./script").map(|status| status.success()).ok(),
    );
}

fn program_name() {
    copy("program");
    mkdir("place", 0o755);
    call(
        libc::SYS_symlinkat,
        &[text(c"../program"), CWD, text(c"place/link")],
    )
    .expect("made");
    for path in ["program", "./program", "place/link", "./place/.././program"] {
        see("by", path);
        let path = name(path);
        let argv = [text(c"x"), text(c"name"), 0];
        child(|| {
            let _ = call(libc::SYS_execve, &[text(&path), argv.as_ptr() as u64, 0]);
            1
        })
        .wait()
        .expect("it ends");
    }
    let dir = open("place", libc::O_PATH).expect("it is there");
    let file = open("program", libc::O_RDONLY).expect("it is there");
    let moved = call(libc::SYS_dup2, &[dir, 100]).expect("room");
    let other = call(libc::SYS_dup2, &[file, 101]).expect("room");
    let empty = signed(libc::AT_EMPTY_PATH);
    for (fd, path, flags) in [
        (moved, c"link", 0),
        (moved, c"../program", 0),
        (other, c"", empty),
    ] {
        let argv = [text(c"x"), text(c"name"), 0];
        child(|| {
            let argv = argv.as_ptr() as u64;
            let _ = call(libc::SYS_execveat, &[fd, text(path), argv, 0, flags]);
            1
        })
        .wait()
        .expect("it ends");
    }
}

const GET_FLAGS: u64 = 0x8008_6601;
const SET_FLAGS: u64 = 0x4008_6602;
const IMMUTABLE: u32 = 0x10;
const APPEND: u32 = 0x20;
const NO_DUMP: u32 = 0x40;
/// What differs from one file system to another is not shown.
const SHOWN: u32 = IMMUTABLE | APPEND | NO_DUMP | 0x80;

fn flags_of(path: &str) -> Result<u32> {
    let fd = open(path, libc::O_RDONLY | libc::O_NONBLOCK)?;
    let mut flags = 0u32;
    let result = call(libc::SYS_ioctl, &[fd, GET_FLAGS, &raw mut flags as u64]);
    close(fd);
    result.map(|_| flags & SHOWN)
}

/// Sets the flags that are shown.
fn set_flags(path: &str, flags: u32) -> Result<u64> {
    let fd = open(path, libc::O_RDONLY | libc::O_NONBLOCK)?;
    let mut now = 0u32;
    let result = call(libc::SYS_ioctl, &[fd, GET_FLAGS, &raw mut now as u64]).and_then(|_| {
        now = now & !SHOWN | flags;
        call(libc::SYS_ioctl, &[fd, SET_FLAGS, &raw const now as u64])
    });
    close(fd);
    result
}

/// `stx_attributes`, and which of them are known, of marks.
fn attributes_of(path: &str) -> Result<(u64, u64)> {
    // SAFETY: all zero is a valid `struct statx`.
    let mut found = unsafe { std::mem::zeroed::<libc::statx>() };
    let basic = libc::STATX_BASIC_STATS.into();
    at(libc::SYS_statx, path, &[0, basic, &raw mut found as u64])?;
    let shown = u64::from(IMMUTABLE | APPEND);
    Ok((
        found.stx_attributes & shown,
        found.stx_attributes_mask & shown,
    ))
}

/// Everything that changes a file or a directory of that name.
fn change(path: &str) {
    let opens = |flags| open(path, flags).map(close);
    see("write", opens(libc::O_WRONLY));
    see("append", opens(libc::O_WRONLY | libc::O_APPEND));
    see("cut", opens(libc::O_RDWR | libc::O_TRUNC | libc::O_APPEND));
    see("create", opens(libc::O_CREAT | libc::O_WRONLY));
    see(
        "exclusive",
        opens(libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY),
    );
    see("read", opens(libc::O_RDONLY));
    see(
        "truncate",
        call(libc::SYS_truncate, &[text(&name(path)), 0]),
    );
    see("mode", chmod(path, 0o700));
    see("owner", chown(path, 0, 0));
    see("now", at(libc::SYS_utimensat, path, &[0, 0]));
    let times = [1u64, 0, 1, 0];
    see(
        "times",
        at(libc::SYS_utimensat, path, &[times.as_ptr() as u64, 0]),
    );
    let (attribute, value) = (text(c"user.a"), text(c"v"));
    let all = [text(&name(path)), attribute, value, 1, 0];
    see("attribute", call(libc::SYS_setxattr, &all));
    see("no attribute", call(libc::SYS_removexattr, &all[..2]));
    see("writable", at(libc::SYS_faccessat, path, &[2]));
    see("link", link(path, "marks/link"));
    let _ = at(libc::SYS_unlinkat, "marks/link", &[0]);
    see("rename", rename(path, "marks/other", 0));
    let _ = rename("marks/other", path, 0);
    see(
        "exchange",
        rename("marks/plain", path, u64::from(libc::RENAME_EXCHANGE)),
    );
    if matches!(flags_of("marks/plain"), Ok(0)) {
        see("over", rename("marks/plain", path, 0));
        make_again("marks/plain");
    }
    let inside = format!("{path}/new");
    see(
        "make",
        open(&inside, libc::O_CREAT | libc::O_WRONLY).map(close),
    );
    see(
        "directory",
        at(libc::SYS_mkdirat, &format!("{path}/dir"), &[0o755]),
    );
    see("into", rename("marks/plain", &format!("{path}/in"), 0));
    make_again("marks/plain");
    see("out", rename(&format!("{path}/old"), "marks/old", 0));
    see("take", at(libc::SYS_unlinkat, &format!("{path}/old"), &[0]));
    see("temporary", opens(libc::O_TMPFILE | libc::O_WRONLY));
    see("unlink", at(libc::SYS_unlinkat, path, &[0]));
    see("rmdir", at(libc::SYS_unlinkat, path, &[0x200]));
}

fn make_again(path: &str) {
    let flags = libc::O_CREAT | libc::O_WRONLY;
    if let Ok(fd) = open(path, flags) {
        close(fd);
    }
}

fn marks() {
    mkdir("marks", 0o777);
    make("marks/plain", 0o644);
    for flags in [IMMUTABLE, APPEND, IMMUTABLE | APPEND, NO_DUMP] {
        make("marks/file", 0o666);
        mkdir("marks/dir", 0o777);
        make("marks/dir/old", 0o666);
        for path in ["marks/file", "marks/dir"] {
            see("marked", (path, flags));
            see("set", set_flags(path, flags));
            see("flags", flags_of(path));
            see("attributes", attributes_of(path));
            change(path);
            as_user(USER, || {
                see("as a user", open(path, libc::O_WRONLY).map(close));
                see("set", set_flags(path, 0));
                see("unlink", at(libc::SYS_unlinkat, path, &[0]));
            });
            see("free", set_flags(path, 0));
            see("flags", flags_of(path));
        }
        for path in [
            "marks/dir/in",
            "marks/dir/new",
            "marks/dir/old",
            "marks/old",
            "marks/file",
        ] {
            let _ = at(libc::SYS_unlinkat, path, &[0]);
        }
        let _ = at(libc::SYS_unlinkat, "marks/dir/dir", &[0x200]);
        see("empty", at(libc::SYS_unlinkat, "marks/dir", &[0x200]).err());
    }
    make("marks/own", 0o600);
    chown("marks/own", USER, USER).expect("root may");
    chmod("marks", 0o777).expect("own");
    as_user(USER, || {
        see("no dump", set_flags("marks/own", NO_DUMP));
        see("is", flags_of("marks/own"));
        see("immutable", set_flags("marks/own", IMMUTABLE));
        see("append", set_flags("marks/own", APPEND | NO_DUMP));
        see("is", flags_of("marks/own"));
        see("theirs", set_flags("marks/plain", NO_DUMP));
    });
    let by = |path: &CStr, request: u64| {
        let fd = call(libc::SYS_openat, &[CWD, text(path), signed(libc::O_RDWR)])?;
        let mut flags = 0u32;
        let result = call(libc::SYS_ioctl, &[fd, request, &raw mut flags as u64]);
        close(fd);
        result
    };
    at(
        libc::SYS_mknodat,
        "marks/fifo",
        &[u64::from(libc::S_IFIFO) | 0o644, 0],
    )
    .expect("made");
    for path in [c"marks/fifo", c"/dev/null"] {
        see("get", by(path, GET_FLAGS));
        see("set", by(path, SET_FLAGS));
    }
    let names = open("marks/plain", libc::O_PATH).expect("it is there");
    see("names only", call(libc::SYS_ioctl, &[names, GET_FLAGS, 8]));
    see(
        "names only",
        call(libc::SYS_ioctl, &[names, SET_FLAGS, text(c"flags")]),
    );
    let file = open("marks/plain", libc::O_RDONLY).expect("it is there");
    see("nowhere", call(libc::SYS_ioctl, &[file, SET_FLAGS, 8]));
    let all = u32::MAX;
    see(
        "unknown",
        call(libc::SYS_ioctl, &[file, SET_FLAGS, &raw const all as u64]),
    );
}

/// What file_getattr(2) and file_setattr(2) say, where the kernel has them.
fn file_attributes() {
    const GET: i64 = 468;
    const SET: i64 = 469;
    make("attributes", 0o644);
    mkdir("dir_of_attributes", 0o755);
    call(
        libc::SYS_symlinkat,
        &[text(c"attributes"), CWD, text(c"link_of_attributes")],
    )
    .expect("made");
    let mut room = [0u64; 8];
    for path in [
        "attributes",
        "dir_of_attributes",
        "link_of_attributes",
        "none",
    ] {
        see("path", path);
        for flags in [0, u64::from(libc::AT_SYMLINK_NOFOLLOW.cast_unsigned())] {
            let to = room.as_mut_ptr() as u64;
            see("get", at(GET, path, &[to, 24, flags]));
            see("flags", room[0] & 0xf8);
        }
        for flags in [0x8, 0x10, 0x80, 0] {
            room = [flags, 0, 0, 0, 0, 0, 0, 0];
            let nofollow = libc::AT_SYMLINK_NOFOLLOW.cast_unsigned().into();
            see("set", at(SET, path, &[room.as_ptr() as u64, 24, nofollow]));
            see("flags", flags_of(path));
        }
    }
    let path = text(c"attributes");
    let to = room.as_mut_ptr() as u64;
    for (size, flags) in [(0, 0), (23, 0), (64, 0), (4097, 0), (24, 1), (24, u64::MAX)] {
        for nr in [GET, SET] {
            see("size", (nr, size, flags));
            see("is", call(nr, &[CWD, path, to, size, flags]));
        }
    }
    for nr in [GET, SET] {
        see("no place", call(nr, &[CWD, path, 8, 24, 0]));
        see("no path", call(nr, &[CWD, 8, to, 24, 0]));
        see("no directory", call(nr, &[999, path, to, 24, 0]));
        see("empty", call(nr, &[CWD, text(c""), to, 24, 0]));
    }
    room[3] = 1;
    let to = room.as_mut_ptr() as u64;
    see("more", call(SET, &[CWD, path, to, 32, 0]));
    room = [0x800, 0, 0, 0, 0, 0, 0, 0];
    let to = room.as_mut_ptr() as u64;
    see("extents", call(SET, &[CWD, path, to, 24, 0]));
}

/// A path may be as long as it may be, wherever the zone lies on the host.
fn deep() {
    let mut path = String::new();
    while 4095 - path.len() > 255 {
        path += &"d".repeat(249);
        at(libc::SYS_mkdirat, &path, &[0o755]).expect("made");
        path += "/";
    }
    path += &"f".repeat(4095 - path.len());
    see("length", path.len());
    let of = |path: &str| {
        let found = stat(path);
        (
            format!("{:o}", found.st_mode),
            found.st_uid,
            found.st_size,
            found.st_rdev,
        )
    };
    let change = |path: &str| {
        see("mode", chmod(path, 0o4711));
        see("owner", chown(path, USER, OTHER));
        let times = [1u64, 0, 2, 0];
        see(
            "times",
            at(libc::SYS_utimensat, path, &[times.as_ptr() as u64, 0]),
        );
        see("is", of(path));
        let all = [text(&name(path)), text(c"trusted.a"), text(c"v"), 1, 0];
        see("attribute", call(libc::SYS_lsetxattr, &all));
        see("gone", at(libc::SYS_unlinkat, path, &[0]));
    };
    make_again(&path);
    see("cut", call(libc::SYS_truncate, &[text(&name(&path)), 7]));
    change(&path);
    for (kind, device) in [
        (libc::S_IFIFO, 0),
        (libc::S_IFCHR, 0x103),
        (libc::S_IFBLK, 0x701),
    ] {
        see(
            "made",
            at(libc::SYS_mknodat, &path, &[u64::from(kind) | 0o600, device]),
        );
        change(&path);
    }
    let (directory, _) = path.rsplit_once('/').expect("it is deep");
    see("directory", chmod(directory, 0o2750));
    see("is", of(directory));
    make_again(&path);
    as_user(USER, || see("as a user", chmod(&path, 0o777)));
}

/// What takes a program its capabilities, and what does not.
fn capabilities_go() {
    let name_of = c"security.capability";
    // CAP_NET_RAW, permitted and effective, as setcap(8) writes it.
    let mut value = [0u8; 20];
    (value[3], value[0], value[5]) = (2, 1, 0x20);
    let given = |path: &str| {
        make(path, 0o755);
        let (path, from) = (name(path), value.as_ptr() as u64);
        let args = [text(&path), text(name_of), from, 20, 0];
        call(libc::SYS_setxattr, &args).expect("root may");
    };
    let left = |path: &str| {
        let path = name(path);
        call(libc::SYS_getxattr, &[text(&path), text(name_of), 0, 0])
    };
    let write = |path: &str, flags: i32| {
        let fd = open(path, flags).expect("own");
        let written = call(libc::SYS_write, &[fd, text(c"x"), 1]);
        close(fd);
        written
    };
    let act = |what: &str, act: &dyn Fn(&str)| {
        given(what);
        act(what);
        see(what, left(what));
    };
    act("read", &|path| {
        close(open(path, libc::O_RDONLY).expect("own"))
    });
    act("mode", &|path| see("done", chmod(path, 0o700)));
    act("owner", &|path| see("done", chown(path, USER, KEEP)));
    act("no owner", &|path| see("done", chown(path, KEEP, KEEP)));
    act("write", &|path| see("written", write(path, libc::O_WRONLY)));
    act("append", &|path| {
        see("written", write(path, libc::O_RDWR | libc::O_APPEND))
    });
    act("cut", &|path| {
        close(open(path, libc::O_WRONLY | libc::O_TRUNC).expect("own"))
    });
    act("truncate", &|path| {
        see("cut", call(libc::SYS_truncate, &[text(&name(path)), 0]))
    });
    act("linked", &|path| see("done", link(path, "another")));
    act("by a user", &|path| {
        chmod(path, 0o777).expect("own");
        as_user(USER, || see("written", write(path, libc::O_WRONLY)));
    });
    see("another", left("another"));
}

/// Of two paths that are wrong, which is told.
fn wrong_links() {
    make("file", 0o644);
    mkdir("dir", 0o755);
    mkdir("shut", 0o755);
    chown("shut", OTHER, OTHER).expect("root may");
    chmod("shut", 0o700).expect("root may");
    let symlink = |to: &CStr, path: &CStr| call(libc::SYS_symlinkat, &[text(to), CWD, text(path)]);
    symlink(c"missing", c"dangling").expect("new");
    symlink(c"loop", c"loop").expect("new");
    let sources = [
        "file",
        "file/",
        "missing",
        "missing/x",
        "file/x",
        "dir",
        "dir/",
        "dir/..",
        "dangling",
        "loop",
        "loop/x",
        "",
        "shut/x",
        "/",
        ".",
    ];
    let targets = [
        "file",
        "file/",
        "missing/x",
        "file/x",
        "dir",
        "new/",
        "new",
        "",
        "loop/x",
        "shut/x",
        "/",
        ".",
    ];
    let all = || {
        for source in sources {
            for target in targets {
                let (from, to) = (name(source), name(target));
                let link = |flags: i32| {
                    let args = [CWD, text(&from), CWD, text(&to), signed(flags)];
                    let linked = call(libc::SYS_linkat, &args);
                    if linked.is_ok() {
                        at(libc::SYS_unlinkat, target, &[0]).expect("just made");
                    }
                    linked
                };
                see(source, (target, link(0), link(libc::AT_SYMLINK_FOLLOW)));
            }
        }
    };
    all();
    chmod(".", 0o777).expect("own");
    as_user(USER, all);
}
