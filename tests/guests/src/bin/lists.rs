//! Access control lists: what setxattr(2) takes, what chmod(2) makes of them, who may do what by them, and
//! what is made in a directory that has one.

use picozone_guests::{
    CWD, Errno, Result, at, call, child, close, name, sections, see, signed, text,
};
use std::ffi::CStr;

fn main() {
    if std::env::args().nth(1).is_some_and(|mode| mode == "done") {
        return;
    }
    sections(&[
        ("set", set),
        ("refused", refused),
        ("modes", modes),
        ("rights", rights),
        ("inherited", inherited),
        ("kept", kept),
        ("strange", strange),
        ("uses", uses),
    ]);
}

const ACCESS: &CStr = c"system.posix_acl_access";
const DEFAULT: &CStr = c"system.posix_acl_default";
const USER: u32 = 1234;
const OTHER: u32 = 4321;
const GROUP: u32 = 777;

/// An entry: tag, permissions, id.
type Entry = (u16, u16, u32);
const NONE: u32 = u32::MAX;

fn list(entries: &[Entry]) -> Vec<u8> {
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

/// user::U user:USER:rw- group::G group:GROUP:r-x mask::M other::O
fn usual(user: u16, group: u16, mask: u16, other: u16) -> Vec<u8> {
    list(&[
        (1, user, NONE),
        (2, 6, USER),
        (4, group, NONE),
        (8, 5, GROUP),
        (0x10, mask, NONE),
        (0x20, other, NONE),
    ])
}

fn put(path: &str, which: &CStr, value: &[u8]) -> Result<u64> {
    put_so(libc::SYS_setxattr, path, which, value, 0)
}

fn put_so(nr: i64, path: &str, which: &CStr, value: &[u8], flags: i32) -> Result<u64> {
    let (path, at) = (name(path), value.as_ptr() as u64);
    let size = value.len() as u64;
    call(nr, &[text(&path), text(which), at, size, signed(flags)])
}

fn get(path: &str, which: &CStr) -> Result<Vec<u8>> {
    get_so(libc::SYS_getxattr, path, which, 1000)
}

fn get_so(nr: i64, path: &str, which: &CStr, size: u64) -> Result<Vec<u8>> {
    let (path, mut value) = (name(path), vec![0u8; 1000]);
    let to = value.as_mut_ptr() as u64;
    let length = call(nr, &[text(&path), text(which), to, size])?;
    value.truncate(usize::try_from(length).expect("short"));
    Ok(value)
}

fn remove(path: &str, which: &CStr) -> Result<u64> {
    call(libc::SYS_removexattr, &[text(&name(path)), text(which)])
}

/// The names of a file's lists, sorted.
fn names(path: &str) -> Vec<String> {
    let mut value = vec![0u8; 1000];
    let to = value.as_mut_ptr() as u64;
    let length = call(libc::SYS_llistxattr, &[text(&name(path)), to, 1000]).expect("fine");
    value.truncate(usize::try_from(length).expect("short"));
    let all = String::from_utf8(value).expect("text");
    let mut all: Vec<String> = all.split_terminator('\0').map(str::to_owned).collect();
    all.retain(|name| name.starts_with("system."));
    all.sort();
    all
}

fn mode(path: &str) -> String {
    // SAFETY: all zero is a valid `struct stat`.
    let mut found = unsafe { std::mem::zeroed::<libc::stat>() };
    let to = &raw mut found as u64;
    let nofollow = signed(libc::AT_SYMLINK_NOFOLLOW);
    at(libc::SYS_newfstatat, path, &[to, nofollow]).expect("it is there");
    format!("{:o} {} {}", found.st_mode, found.st_uid, found.st_gid)
}

/// Mode and lists of a file.
fn tell(what: &str, path: &str) {
    if get_so(libc::SYS_lgetxattr, path, ACCESS, 0) == Err(Errno::EACCES) {
        return see(what, "out of sight");
    }
    see(
        what,
        (
            mode(path),
            get(path, ACCESS),
            get(path, DEFAULT),
            names(path),
        ),
    );
}

fn open(path: &str, flags: i32, mode: u64) -> Result<u64> {
    at(libc::SYS_openat, path, &[signed(flags), mode])
}

fn make(path: &str, mode: u64) {
    let flags = libc::O_CREAT | libc::O_RDWR | libc::O_EXCL;
    close(open(path, flags, mode).expect("made"));
    chmod(path, mode).expect("own");
}

fn mkdir(path: &str, mode: u64) {
    at(libc::SYS_mkdirat, path, &[mode]).expect("made");
    chmod(path, mode).expect("own");
}

fn chmod(path: &str, mode: u64) -> Result<u64> {
    at(libc::SYS_fchmodat, path, &[mode])
}

fn chown(path: &str, uid: u32, gid: u32) -> Result<u64> {
    at(libc::SYS_fchownat, path, &[uid.into(), gid.into(), 0])
}

/// Runs as a user of these groups, and waits.
fn as_user(uid: u32, gid: u32, groups: &[u32], act: impl FnOnce()) {
    child(|| {
        let list = groups.as_ptr() as u64;
        call(libc::SYS_setgroups, &[groups.len() as u64, list]).expect("root may");
        call(libc::SYS_setresgid, &[gid.into(); 3]).expect("root may");
        call(libc::SYS_setresuid, &[uid.into(); 3]).expect("root may");
        act();
        0
    })
    .wait()
    .expect("it ends");
}

fn set() {
    make("file", 0o640);
    mkdir("dir", 0o750);
    call(libc::SYS_symlinkat, &[text(c"file"), CWD, text(c"link")]).expect("made");
    at(
        libc::SYS_mknodat,
        "fifo",
        &[u64::from(libc::S_IFIFO) | 0o600, 0],
    )
    .expect("made");
    for path in ["file", "dir", "link", "fifo"] {
        tell("before", path);
    }
    see("file", put("file", ACCESS, &usual(7, 4, 6, 0)));
    tell("file", "file");
    see("by the link", get("link", ACCESS).map(|value| value.len()));
    see("dir", put("dir", ACCESS, &usual(7, 5, 7, 5)));
    see("default", put("dir", DEFAULT, &usual(7, 5, 5, 0)));
    tell("dir", "dir");
    see("fifo", put("fifo", ACCESS, &usual(6, 0, 2, 0)));
    tell("fifo", "fifo");
    see(
        "length",
        get_so(libc::SYS_getxattr, "file", ACCESS, 0).map(|_| ()),
    );
    see(
        "short",
        get_so(libc::SYS_getxattr, "file", ACCESS, 51).map(|_| ()),
    );
    for flags in [libc::XATTR_CREATE, libc::XATTR_REPLACE] {
        let set = |path| put_so(libc::SYS_setxattr, path, ACCESS, &usual(7, 7, 7, 7), flags);
        see("flags", [set("file"), set("dir")]);
    }
    tell("file", "file");
    let plain = list(&[(1, 6, NONE), (4, 4, NONE), (0x20, 1, NONE)]);
    see("plain", put("file", ACCESS, &plain));
    tell("file", "file");
    see("plain default", put("dir", DEFAULT, &plain));
    tell("dir", "dir");
    see(
        "masked",
        put(
            "file",
            ACCESS,
            &list(&[(1, 6, 5), (4, 7, 6), (0x10, 2, 7), (0x20, 0, 8)]),
        ),
    );
    tell("file", "file");
    for _ in 0..2 {
        for path in ["file", "dir", "fifo"] {
            see("remove", [remove(path, ACCESS), remove(path, DEFAULT)]);
            tell("after", path);
        }
    }
    see(
        "empty",
        [
            put("file", ACCESS, &usual(6, 6, 6, 6)),
            put("file", ACCESS, b""),
        ],
    );
    tell("file", "file");
    see(
        "none",
        [
            put("file", ACCESS, &usual(6, 6, 6, 6)),
            put("file", ACCESS, &list(&[])),
        ],
    );
    tell("file", "file");
    let fd = open("file", libc::O_RDWR, 0).expect("own");
    let value = usual(6, 4, 4, 4);
    let at = value.as_ptr() as u64;
    let args = [fd, text(ACCESS), at, value.len() as u64, 0];
    see("by descriptor", call(libc::SYS_fsetxattr, &args));
    tell("file", "file");
    close(fd);
}

fn refused() {
    make("file", 0o644);
    mkdir("dir", 0o755);
    let good = usual(7, 4, 6, 0);
    let mut old = good.clone();
    old[0] = 1;
    let wrong: [(&str, Vec<u8>); 14] = [
        ("version", old),
        ("short", good[..3].to_vec()),
        ("header", good[..4].to_vec()),
        ("half", good[..good.len() - 3].to_vec()),
        ("tag", list(&[(3, 7, NONE), (4, 7, NONE), (0x20, 7, NONE)])),
        (
            "permissions",
            list(&[(1, 8, NONE), (4, 7, NONE), (0x20, 7, NONE)]),
        ),
        ("no other", list(&[(1, 7, NONE), (4, 7, NONE)])),
        (
            "no mask",
            list(&[(1, 7, NONE), (2, 7, USER), (4, 7, NONE), (0x20, 7, NONE)]),
        ),
        (
            "order",
            list(&[(4, 7, NONE), (1, 7, NONE), (0x20, 7, NONE)]),
        ),
        (
            "twice",
            list(&[(1, 7, NONE), (4, 7, NONE), (0x20, 7, NONE), (0x20, 7, NONE)]),
        ),
        (
            "nobody",
            list(&[
                (1, 7, NONE),
                (2, 7, NONE),
                (4, 7, NONE),
                (0x10, 7, NONE),
                (0x20, 7, NONE),
            ]),
        ),
        (
            "user twice",
            list(&[
                (1, 7, 0),
                (2, 7, 5),
                (2, 6, 5),
                (4, 7, 0),
                (0x10, 7, 0),
                (0x20, 7, 0),
            ]),
        ),
        (
            "unsorted",
            list(&[
                (1, 7, 0),
                (2, 7, 6),
                (2, 6, 5),
                (4, 7, 0),
                (0x10, 7, 0),
                (0x20, 7, 0),
            ]),
        ),
        ("good", good.clone()),
    ];
    for (what, value) in &wrong {
        see(
            what,
            [put("file", ACCESS, value), put("dir", DEFAULT, value)],
        );
        tell("file", "file");
    }
    see(
        "default of a file",
        [put("file", DEFAULT, &good), put("file", DEFAULT, b"")],
    );
    see(
        "default of a file, wrong",
        put("file", DEFAULT, &wrong[8].1),
    );
    see(
        "missing",
        [put("missing", ACCESS, &good), remove("missing", ACCESS)],
    );
    see("missing, wrong", put("missing", ACCESS, b"x"));
    see("missing, get", get("missing", ACCESS));
    see(
        "flags",
        put_so(libc::SYS_setxattr, "file", ACCESS, &good, 4),
    );
    let args = [text(c"file"), text(ACCESS), 8, 20, 0];
    see("nowhere", call(libc::SYS_setxattr, &args));
    see("other name", get("file", c"system.posix_acl_other"));
    as_user(USER, USER, &[], || {
        see(
            "not mine",
            [put("file", ACCESS, &good), remove("file", ACCESS)],
        );
        see(
            "not mine, wrong",
            [put("file", ACCESS, b"x"), put("file", ACCESS, &wrong[8].1)],
        );
        see(
            "not mine, default",
            [put("file", DEFAULT, &good), remove("file", DEFAULT)],
        );
        see(
            "not my directory",
            [put("dir", DEFAULT, &good), remove("dir", DEFAULT)],
        );
        see("but seen", get("file", ACCESS).map(|value| value.len()));
    });
}

fn modes() {
    make("file", 0o644);
    put("file", ACCESS, &usual(7, 4, 6, 1)).expect("own");
    for mode in [0o600, 0o6777, 0o000, 0o070, 0o1235] {
        see("chmod", chmod("file", mode));
        tell("file", "file");
    }
    put("file", ACCESS, &usual(7, 4, 6, 1)).expect("own");
    see("changed", chown("file", USER, GROUP));
    tell("file", "file");
    chmod("file", 0o6775).expect("own");
    tell("set-id", "file");
    see("list", put("file", ACCESS, &usual(7, 5, 5, 5)));
    tell("kept", "file");
    as_user(USER, USER, &[], || {
        see("not of the group", put("file", ACCESS, &usual(7, 5, 7, 5)));
        tell("lost", "file");
    });
}

/// What a user gets of every file and directory: the permissions that access(2) gives, and opens.
fn rights() {
    let lists = [
        ("usual", usual(6, 4, 7, 1)),
        ("masked", usual(7, 7, 4, 7)),
        ("no mask", usual(7, 7, 0, 7)),
        ("other", usual(0, 0, 7, 7)),
        (
            "groups",
            list(&[
                (1, 0, NONE),
                (2, 0, OTHER),
                (4, 1, NONE),
                (8, 2, GROUP),
                (8, 4, GROUP + 1),
                (8, 6, GROUP + 2),
                (0x10, 7, NONE),
                (0x20, 7, NONE),
            ]),
        ),
    ];
    for (what, value) in &lists {
        make(what, 0o600);
        put(what, ACCESS, value).expect("own");
        let below = format!("below {what}");
        mkdir(&below, 0o700);
        make(&format!("{below}/file"), 0o666);
        put(&below, ACCESS, value).expect("own");
        for path in [*what, &below] {
            chown(path, 55, 66).expect("root may");
        }
    }
    let users: [(u32, u32, &[u32]); 9] = [
        (0, 0, &[]),
        (55, 1, &[]),
        (55, GROUP, &[GROUP, 66]),
        (USER, 1, &[]),
        (USER, 66, &[GROUP]),
        (OTHER, 66, &[]),
        (OTHER, GROUP, &[]),
        (9, 1, &[GROUP, GROUP + 1]),
        (9, 66, &[GROUP + 2]),
    ];
    for (uid, gid, groups) in users {
        as_user(uid, gid, groups, || {
            for (what, _) in &lists {
                let may = |path: &str| {
                    let ask = |want: u64| at(libc::SYS_faccessat, path, &[want]).is_ok();
                    (0..8).map(|want| u8::from(ask(want))).collect::<Vec<_>>()
                };
                let below = format!("below {what}");
                let inside = format!("{below}/file");
                see(
                    what,
                    (uid, gid, groups, may(what), may(&below), may(&inside)),
                );
                let opened = [libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR].map(|flags| {
                    let open = |path: &str| open(path, flags, 0).map(close);
                    (open(what), open(&inside))
                });
                see("opened", opened);
                let made = format!("{below}/made");
                see("made", at(libc::SYS_mkdirat, &made, &[0o700]));
                see(
                    "removed",
                    at(libc::SYS_unlinkat, &made, &[signed(libc::AT_REMOVEDIR)]),
                );
            }
        });
    }
}

fn inherited() {
    let defaults = [
        ("usual", usual(7, 5, 7, 5)),
        ("tight", usual(6, 4, 4, 0)),
        (
            "plain",
            list(&[(1, 7, NONE), (4, 2, NONE), (0x20, 3, NONE)]),
        ),
    ];
    for (what, value) in defaults {
        mkdir(what, 0o2755);
        put(what, DEFAULT, &value).expect("own");
        chown(what, 0, GROUP).expect("root may");
        for (umask, mode) in [
            (0o022, 0o666),
            (0o077, 0o777),
            (0, 0o640),
            (0o777, 0o4751),
            (0o22, 0),
        ] {
            call(libc::SYS_umask, &[umask]).expect("always");
            let path = |kind: &str| format!("{what}/{kind} {mode:o}");
            let opened = open(&path("file"), libc::O_CREAT | libc::O_WRONLY, mode);
            see("open", opened.map(close));
            tell("file", &path("file"));
            see("mkdir", at(libc::SYS_mkdirat, &path("dir"), &[mode]));
            tell("dir", &path("dir"));
            let inner = path("dir") + "/inner";
            see("mkdir", at(libc::SYS_mkdirat, &inner, &[0o755]));
            tell("inner", &inner);
            let kind = u64::from(libc::S_IFIFO);
            see(
                "mknod",
                at(libc::SYS_mknodat, &path("fifo"), &[kind | mode, 0]),
            );
            tell("fifo", &path("fifo"));
            let kind = u64::from(libc::S_IFCHR);
            see(
                "mknod",
                at(libc::SYS_mknodat, &path("node"), &[kind | mode, 0x103]),
            );
            tell("node", &path("node"));
            let link = name(&path("link"));
            see(
                "symlink",
                call(libc::SYS_symlinkat, &[text(c"file"), CWD, text(&link)]),
            );
            tell("link", &path("link"));
            nameless(what, mode, &path("nameless"));
            bound(&path("sock"));
            as_user(USER, USER, &[GROUP], || {
                let opened = open(&path("denied"), libc::O_CREAT | libc::O_WRONLY, mode);
                see("by a user", opened.map(close));
            });
        }
        call(libc::SYS_umask, &[0o022]).expect("always");
        mkdir(&format!("{what}/shared"), 0o777);
        as_user(USER, USER, &[], || {
            let path = format!("{what}/shared/own");
            see(
                "by a user",
                open(&path, libc::O_CREAT | libc::O_RDWR, 0o666).map(close),
            );
            tell("own", &path);
            see(
                "mkdir",
                at(libc::SYS_mkdirat, &(path.clone() + "d"), &[0o777]),
            );
            tell("own directory", &(path + "d"));
        });
    }
}

/// A file made without a name, and named.
fn nameless(directory: &str, mode: u64, path: &str) {
    let opened = open(directory, libc::O_TMPFILE | libc::O_RDWR, mode);
    see("nameless", opened.map(|_| ()));
    let Ok(fd) = opened else { return };
    let path = name(path);
    let own = name(&format!("/proc/self/fd/{fd}"));
    let args = [
        CWD,
        text(&own),
        CWD,
        text(&path),
        signed(libc::AT_SYMLINK_FOLLOW),
    ];
    see("named", call(libc::SYS_linkat, &args));
    close(fd);
    tell("nameless", path.to_str().expect("text"));
}

fn address(path: &str) -> libc::sockaddr_un {
    // SAFETY: all zero is a valid `struct sockaddr_un`.
    let mut address = unsafe { std::mem::zeroed::<libc::sockaddr_un>() };
    address.sun_family = libc::sa_family_t::try_from(libc::AF_UNIX).expect("small");
    for (to, from) in address.sun_path.iter_mut().zip(path.bytes()) {
        *to = from.cast_signed();
    }
    address
}

fn socket() -> u64 {
    let kind = [signed(libc::AF_UNIX), signed(libc::SOCK_STREAM), 0];
    call(libc::SYS_socket, &kind).expect("made")
}

fn bound(path: &str) {
    let (fd, address) = (socket(), address(path));
    let length = size_of_val(&address) as u64;
    see(
        "bind",
        call(libc::SYS_bind, &[fd, &raw const address as u64, length]),
    );
    close(fd);
    tell("sock", path);
}

fn rename(from: &str, to: &str) -> Result<u64> {
    let (from, to) = (name(from), name(to));
    call(libc::SYS_renameat2, &[CWD, text(&from), CWD, text(&to), 0])
}

fn kept() {
    mkdir("dir", 0o755);
    mkdir("other", 0o755);
    put("dir", DEFAULT, &usual(7, 5, 7, 5)).expect("own");
    make("dir/file", 0o644);
    put("dir/file", ACCESS, &usual(6, 4, 6, 4)).expect("own");
    see("renamed", rename("dir/file", "other/file"));
    tell("file", "other/file");
    let (from, to) = (name("other/file"), name("second"));
    see(
        "linked",
        call(libc::SYS_linkat, &[CWD, text(&from), CWD, text(&to), 0]),
    );
    chmod("second", 0o660).expect("own");
    tell("both", "other/file");
    see("moved", rename("dir", "moved"));
    tell("directory", "moved");
    close(open("moved/new", libc::O_CREAT | libc::O_WRONLY, 0o666).expect("own"));
    tell("new", "moved/new");
    at(libc::SYS_unlinkat, "second", &[0]).expect("own");
    at(libc::SYS_unlinkat, "other/file", &[0]).expect("own");
    for number in 0..20 {
        let path = format!("other/{number}");
        close(open(&path, libc::O_CREAT | libc::O_WRONLY, 0o666).expect("own"));
        see("none", (names(&path), get(&path, ACCESS)));
    }
    make("written", 0o644);
    put("written", ACCESS, &usual(6, 4, 6, 4)).expect("own");
    std::fs::write("written", "more").expect("own");
    tell("written", "written");
}

/// What is no file of a directory, and what is no file system's.
fn strange() {
    let mut ends = [0i32; 2];
    call(libc::SYS_pipe2, &[ends.as_mut_ptr() as u64, 0]).expect("made");
    let fds = [
        ("pipe", u64::try_from(ends[0]).expect("open")),
        ("socket", socket()),
        (
            "memory",
            call(libc::SYS_memfd_create, &[text(c"m"), 0]).expect("made"),
        ),
    ];
    let value = usual(7, 5, 7, 5);
    for (what, fd) in fds {
        let to = [0u8; 64].as_mut_ptr() as u64;
        see(what, call(libc::SYS_fgetxattr, &[fd, text(ACCESS), to, 64]));
        close(fd);
    }
    make("file", 0o644);
    call(libc::SYS_symlinkat, &[text(c"file"), CWD, text(c"link")]).expect("made");
    see(
        "get of a link",
        get_so(libc::SYS_lgetxattr, "link", ACCESS, 100),
    );
    see(
        "set of a link",
        put_so(libc::SYS_lsetxattr, "link", ACCESS, &value, 0),
    );
    see(
        "default of a link",
        put_so(libc::SYS_lsetxattr, "link", DEFAULT, &value, 0),
    );
    see(
        "taken from a link",
        call(libc::SYS_lremovexattr, &[text(c"link"), text(ACCESS)]),
    );
    let only = open("file", libc::O_PATH, 0).expect("own");
    see(
        "by a name only",
        call(
            libc::SYS_fsetxattr,
            &[only, text(ACCESS), value.as_ptr() as u64, 52, 0],
        ),
    );
    close(only);
}

/// Programs, sockets and directories by lists.
fn uses() {
    let program = |path: &str| {
        std::fs::copy(picozone_guests::work().join("guest"), path).expect("room");
        chmod(path, 0o700).expect("own");
        let rows = [
            (1, 7, NONE),
            (2, 5, USER),
            (2, 4, OTHER),
            (4, 0, NONE),
            (0x10, 5, NONE),
            (0x20, 0, NONE),
        ];
        put(path, ACCESS, &list(&rows)).expect("own");
    };
    program("program");
    let (fd, address) = (socket(), address("sock"));
    let length = size_of_val(&address) as u64;
    call(libc::SYS_bind, &[fd, &raw const address as u64, length]).expect("made");
    call(libc::SYS_listen, &[fd, 9]).expect("bound");
    put("sock", ACCESS, &usual(7, 0, 7, 0)).expect("own");
    tell("sock", "sock");
    for (uid, groups) in [(USER, &[][..]), (OTHER, &[]), (9, &[GROUP]), (10, &[])] {
        as_user(uid, 1, groups, || {
            let own = socket();
            let connected = call(libc::SYS_connect, &[own, &raw const address as u64, length]);
            see("connect", (uid, connected));
            let run = std::process::Command::new("./program").arg("done").status();
            see(
                "run",
                run.map_err(|error| error.raw_os_error())
                    .map(|status| status.code()),
            );
        });
    }
    close(fd);
}
