//! Extended attributes, watches, and who gets a descriptor's signals.

use picozone_guests::{CWD, Result, call, child, name, out, sections, see, signed, text};
use std::ffi::{CStr, CString};

fn main() {
    sections(&[
        ("extended", extended),
        ("extended_by_users", extended_by_users),
        ("special", special),
        ("nodes", nodes),
        ("watches", watches),
        ("owners", owners),
        ("numbers", numbers),
        ("terminals", terminals),
    ]);
}

const NOWHERE: u64 = 8;

fn open(path: &str, flags: i32, mode: u64) -> Result<u64> {
    let path = name(path);
    call(libc::SYS_openat, &[CWD, text(&path), signed(flags), mode])
}

fn make(path: &str, mode: u64) -> u64 {
    open(path, libc::O_CREAT | libc::O_RDWR, mode).expect("made")
}

fn set(path: &CStr, attribute: &CStr, value: &[u8], flags: u64) -> Result<u64> {
    let (value, size) = (value.as_ptr() as u64, value.len() as u64);
    let all = [text(path), text(attribute), value, size, flags];
    call(libc::SYS_lsetxattr, &all)
}

fn get(path: &CStr, attribute: &CStr) -> Result<Vec<u8>> {
    let mut buffer = vec![0u8; 256];
    let to = buffer.as_mut_ptr() as u64;
    let length = call(libc::SYS_lgetxattr, &[text(path), text(attribute), to, 256])?;
    buffer.truncate(usize::try_from(length).expect("it fits"));
    Ok(buffer)
}

fn list(path: &CStr) -> Result<Vec<String>> {
    let mut buffer = vec![0u8; 1024];
    let to = buffer.as_mut_ptr() as u64;
    let length = call(libc::SYS_llistxattr, &[text(path), to, 1024])?;
    let names = buffer[..usize::try_from(length).expect("it fits")].split(|&byte| byte == 0);
    let mut names: Vec<String> = names
        .filter(|name| !name.is_empty() && !name.starts_with(b"security.selinux"))
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    names.sort();
    Ok(names)
}

fn extended() {
    let fd = make("file", 0o644);
    call(libc::SYS_mkdirat, &[CWD, text(c"dir"), 0o755]).expect("made");
    call(libc::SYS_symlinkat, &[text(c"file"), CWD, text(c"link")]).expect("made");
    call(
        libc::SYS_mknodat,
        &[CWD, text(c"fifo"), u64::from(libc::S_IFIFO) | 0o644, 0],
    )
    .expect("made");
    for path in [c"file", c"dir", c"link", c"fifo", c"none"] {
        see("path", path);
        for flags in [0, 1, 2, 3, 4] {
            see("set", set(path, c"user.a", b"value", flags));
        }
        see("get", get(path, c"user.a"));
        see("none", get(path, c"user.none"));
        see("list", list(path));
        see("other kind", set(path, c"other.a", b"value", 0));
        see("no kind", get(path, c"a"));
    }
    for attribute in [c"trusted.a", c"security.test"] {
        see("set", set(c"file", attribute, b"kept", 0));
        see("get", get(c"file", attribute));
    }
    see("list", list(c"file"));
    let long = CString::new([b"user.".as_slice(), &[b'x'; 251]].concat()).expect("no NUL");
    see("long name", set(c"file", &long, b"v", 0));
    see(
        "longest name",
        set(c"file", &name(&"user.".repeat(51)), b"v", 0),
    );
    see("empty name", set(c"file", c"", b"v", 0));
    see("too long", set(c"file", c"user.b", &vec![1; 65537], 0));
    see("empty", set(c"file", c"user.b", b"", 0));
    see("is", get(c"file", c"user.b"));
    let (file, attribute) = (text(c"file"), text(c"user.a"));
    let mut small = [0u8; 8];
    let to = small.as_mut_ptr() as u64;
    see("length", call(libc::SYS_getxattr, &[file, attribute, 0, 0]));
    see("short", call(libc::SYS_getxattr, &[file, attribute, to, 4]));
    see("exact", call(libc::SYS_getxattr, &[file, attribute, to, 5]));
    see("short list", call(libc::SYS_listxattr, &[file, to, 4]));
    see(
        "nowhere",
        call(libc::SYS_getxattr, &[file, attribute, NOWHERE, 5]),
    );
    see(
        "from nowhere",
        call(libc::SYS_setxattr, &[file, attribute, NOWHERE, 5, 0]),
    );
    see("no name", call(libc::SYS_getxattr, &[file, NOWHERE, to, 5]));
    see(
        "no path",
        call(libc::SYS_getxattr, &[NOWHERE, attribute, to, 5]),
    );
    see(
        "through",
        call(libc::SYS_getxattr, &[text(c"link"), attribute, to, 5]),
    );
    see(
        "by descriptor",
        call(libc::SYS_fgetxattr, &[fd, attribute, to, 5]),
    );
    let pointed = open("file", libc::O_PATH, 0).expect("it is there");
    see(
        "by path descriptor",
        call(libc::SYS_fgetxattr, &[pointed, attribute, to, 5]),
    );
    see(
        "closed",
        call(libc::SYS_fgetxattr, &[999, attribute, to, 5]),
    );
    see("remove", call(libc::SYS_fremovexattr, &[fd, attribute]));
    see("again", call(libc::SYS_removexattr, &[file, attribute]));
    see(
        "of a link",
        call(libc::SYS_lremovexattr, &[text(c"link"), attribute]),
    );
    see(
        "trusted",
        call(libc::SYS_removexattr, &[file, text(c"trusted.a")]),
    );
    see("left", list(c"file"));
}

fn extended_by_users() {
    call(libc::SYS_umask, &[0]).expect("it never fails");
    make("all", 0o666);
    make("read", 0o644);
    make("none", 0o600);
    for path in [c"all", c"read", c"none"] {
        set(path, c"user.a", b"roots", 0).expect("root may");
        set(path, c"trusted.a", b"roots", 0).expect("root may");
    }
    child(|| {
        call(libc::SYS_setresuid, &[1234, 1234, 1234]).expect("root may");
        for path in [c"all", c"read", c"none"] {
            see("set", set(path, c"user.b", b"theirs", 0));
            see("get", get(path, c"user.a"));
            see("trusted", get(path, c"trusted.a"));
            see("set trusted", set(path, c"trusted.b", b"theirs", 0));
            see("set security", set(path, c"security.b", b"theirs", 0));
            see("list", list(path));
        }
        0
    })
    .wait()
    .expect("it ends");
}

/// What is to be read: descriptor of the watch, mask, and name of each event.
fn events(fd: u64) -> Vec<(i32, u32, String)> {
    let mut buffer = [0u8; 4096];
    let got = call(libc::SYS_read, &[fd, buffer.as_mut_ptr() as u64, 4096]).unwrap_or(0);
    let mut rest = &buffer[..usize::try_from(got).expect("it fits")];
    let mut all = Vec::new();
    while let Some((head, more)) = rest.split_at_checked(16) {
        let word = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let (name, more) = more.split_at(usize::try_from(word(12)).expect("it fits"));
        let name = name.split(|&byte| byte == 0).next().unwrap_or(b"");
        all.push((
            word(0).cast_signed(),
            word(4),
            String::from_utf8_lossy(name).into_owned(),
        ));
        rest = more;
    }
    all
}

fn watches() {
    let flags = signed(libc::IN_NONBLOCK | libc::IN_CLOEXEC);
    let fd = call(libc::SYS_inotify_init1, &[flags]).expect("made");
    let add = |path: &CStr, mask: u32| {
        call(
            libc::SYS_inotify_add_watch,
            &[fd, text(path), u64::from(mask)],
        )
    };
    call(libc::SYS_mkdirat, &[CWD, text(c"dir"), 0o755]).expect("made");
    call(libc::SYS_symlinkat, &[text(c"dir"), CWD, text(c"link")]).expect("made");
    see("directory", add(c"dir", libc::IN_ALL_EVENTS));
    see("again", add(c"dir", libc::IN_ALL_EVENTS));
    see(
        "through",
        add(c"link", libc::IN_ALL_EVENTS | libc::IN_ONLYDIR),
    );
    see(
        "link",
        add(c"link", libc::IN_ALL_EVENTS | libc::IN_DONT_FOLLOW),
    );
    see(
        "no more",
        add(c"dir", libc::IN_ALL_EVENTS | libc::IN_MASK_CREATE),
    );
    let file = make("dir/file", 0o644);
    call(libc::SYS_write, &[file, text(c"x"), 1]).expect("open for it");
    call(libc::SYS_close, &[file]).expect("open");
    see(
        "only directories",
        add(c"dir/file", libc::IN_MODIFY | libc::IN_ONLYDIR),
    );
    call(
        libc::SYS_renameat2,
        &[CWD, text(c"dir/file"), CWD, text(c"dir/other"), 0],
    )
    .expect("there");
    call(libc::SYS_unlinkat, &[CWD, text(c"dir/other"), 0]).expect("there");
    see("events", events(fd));
    see("none", add(c"none", libc::IN_ALL_EVENTS));
    see("empty", add(c"", libc::IN_ALL_EVENTS));
    see("no mask", add(c"dir", 0));
    see("bad mask", add(c"dir", 0x0010_0000));
    see(
        "both",
        add(
            c"dir",
            libc::IN_MODIFY | libc::IN_MASK_ADD | libc::IN_MASK_CREATE,
        ),
    );
    see(
        "nowhere",
        call(libc::SYS_inotify_add_watch, &[fd, NOWHERE, 2]),
    );
    see(
        "closed",
        call(libc::SYS_inotify_add_watch, &[999, text(c"dir"), 2]),
    );
    let other = make("plain", 0o600);
    see(
        "another",
        call(libc::SYS_inotify_add_watch, &[other, text(c"dir"), 2]),
    );
    see("remove", call(libc::SYS_inotify_rm_watch, &[fd, 1]));
    see("ignored", events(fd));
    see("remove again", call(libc::SYS_inotify_rm_watch, &[fd, 1]));
    child(|| {
        call(libc::SYS_fchmodat, &[CWD, text(c"plain"), 0o600]).expect("root may");
        call(libc::SYS_setresuid, &[1234, 1234, 1234]).expect("root may");
        see("unreadable", add(c"plain", libc::IN_MODIFY));
        0
    })
    .wait()
    .expect("it ends");
}

/// A file whose number another one had, which was somebody's: nothing of that is left.
fn numbers() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let mut others = Vec::new();
    for round in 0..40 {
        let (one, two) = (format!("one{round}"), format!("two{round}"));
        drop(std::fs::File::create(&one).expect("made"));
        chown(&one, Some(33), Some(44)).expect("we are root");
        let mode = std::fs::Permissions::from_mode(0o6711);
        std::fs::set_permissions(&one, mode).expect("it is ours");
        std::fs::remove_file(&one).expect("it is there");
        let file = std::fs::File::create(&two).expect("made");
        // SAFETY: zeros are a valid stat.
        let mut st: libc::stat = unsafe { std::mem::zeroed() };
        let path = name(&two);
        let to = out(&mut st);
        call(libc::SYS_lstat, &[text(&path), to]).expect("it is there");
        let (by_name, by_fd) = (
            // std asks by statx(2).
            std::fs::metadata(&two).expect("it is there"),
            file.metadata().expect("it is open"),
        );
        for found in [
            (st.st_uid, st.st_gid, st.st_mode),
            (by_name.uid(), by_name.gid(), by_name.mode()),
            (by_fd.uid(), by_fd.gid(), by_fd.mode()),
        ] {
            if found != (0, 0, 0o100_644) {
                others.push((round, found));
            }
        }
    }
    see("others", others);
}

fn owners() {
    let mut pair = [0u32; 2];
    call(libc::SYS_pipe2, &[pair.as_mut_ptr() as u64, 0]).expect("made");
    let fd = u64::from(pair[0]);
    let fcntl =
        |command: i32, argument: u64| call(libc::SYS_fcntl, &[fd, signed(command), argument]);
    let own = call(libc::SYS_getpid, &[]).expect("it never fails");
    let group = call(libc::SYS_getpgid, &[0]).expect("it never fails");
    const F_SETSIG: i32 = 10;
    const F_GETSIG: i32 = 11;
    const F_SETOWN_EX: i32 = 15;
    const F_GETOWN_EX: i32 = 16;
    let get = || {
        let mut owner = [7u32; 2];
        let got = fcntl(F_GETOWN_EX, owner.as_mut_ptr() as u64);
        let who = match u64::from(owner[1]) {
            id if id == own => "own",
            id if id == group => "group",
            0 => "nobody",
            _ => "somebody",
        };
        (got, owner[0], who)
    };
    see("first", get());
    see("set", fcntl(libc::F_SETOWN, own));
    see("is", get());
    see("is own", fcntl(libc::F_GETOWN, 0) == Ok(own));
    see("set group", fcntl(libc::F_SETOWN, group.wrapping_neg()));
    see("is", get());
    let ex = [1u32, u32::try_from(own).expect("a pid")];
    see("set", fcntl(F_SETOWN_EX, ex.as_ptr() as u64));
    see("is", get());
    let ex = [9u32, 1];
    see("bad", fcntl(F_SETOWN_EX, ex.as_ptr() as u64));
    see("nowhere", fcntl(F_SETOWN_EX, NOWHERE));
    see("none", fcntl(libc::F_SETOWN, 0));
    see("is", get());
    see("no such", fcntl(libc::F_SETOWN, 0x3fff_ffff));
    see("signal", fcntl(F_SETSIG, 34));
    see("is", fcntl(F_GETSIG, 0));
    see("bad signal", fcntl(F_SETSIG, 100));
    let file = make("locked", 0o600);
    // struct flock: type, whence, start, length, pid.
    let mut lock = [1u64, 0, 0, 4242, 0];
    see(
        "lock",
        call(libc::SYS_fcntl, &[file, 6, lock.as_ptr() as u64]),
    );
    lock[3] = 4242;
    see(
        "get",
        call(libc::SYS_fcntl, &[file, 5, lock.as_mut_ptr() as u64]),
    );
    see("nobody else's", lock[3]);
    child(|| {
        let mut lock = [1u64, 0, 0, 0, 0];
        see(
            "get",
            call(libc::SYS_fcntl, &[file, 5, lock.as_mut_ptr() as u64]),
        );
        see("the parent's", lock[3] == own);
        0
    })
    .wait()
    .expect("it ends");
}

/// What has no attributes of users may have some of root's.
fn special() {
    call(
        libc::SYS_symlinkat,
        &[text(c"nowhere"), CWD, text(c"special_link")],
    )
    .expect("made");
    for (path, kind, device) in [
        (c"special_fifo", libc::S_IFIFO, 0),
        (c"special_socket", libc::S_IFSOCK, 0),
        (c"special_device", libc::S_IFCHR, 0x103),
    ] {
        let mode = u64::from(kind) | 0o644;
        call(libc::SYS_mknodat, &[CWD, text(path), mode, device]).expect("root may");
    }
    for path in [
        c"special_link",
        c"special_fifo",
        c"special_socket",
        c"special_device",
    ] {
        see("path", path);
        for attribute in [c"user.a", c"trusted.a", c"security.test", c"other.a"] {
            see("attribute", attribute);
            see("none", get(path, attribute));
            see("replace", set(path, attribute, b"value", 2));
            see("set", set(path, attribute, b"value", 1));
            see("create", set(path, attribute, b"other", 1));
            see("again", set(path, attribute, b"longer value", 0));
            see("get", get(path, attribute));
        }
        see("list", list(path));
        let moved = CString::new([path.to_bytes(), b"_moved"].concat()).expect("no NUL");
        call(libc::SYS_renameat, &[CWD, text(path), CWD, text(&moved)]).expect("root may");
        see("moved", list(&moved));
        let remove =
            |attribute: &CStr| call(libc::SYS_lremovexattr, &[text(&moved), text(attribute)]);
        for attribute in [c"user.a", c"trusted.a", c"trusted.a", c"other.a"] {
            see("remove", remove(attribute));
        }
        see("left", list(&moved));
        child(|| {
            call(libc::SYS_setresuid, &[1234, 1234, 1234]).expect("root may");
            see("as a user", get(&moved, c"security.test"));
            see("trusted", get(&moved, c"trusted.a"));
            see("set", set(&moved, c"security.test", b"x", 0));
            0
        })
        .wait()
        .expect("it ends");
        call(libc::SYS_unlinkat, &[CWD, text(&moved), 0]).expect("root may");
    }
}

/// What is no file of a disk has no attributes, and `ls -l` asks each for some.
fn nodes() {
    let all = [
        c"security.selinux",
        c"security.capability",
        c"system.posix_acl_access",
        c"system.posix_acl_default",
        c"trusted.a",
        c"user.a",
        c"other.a",
    ];
    for path in [
        c"/proc",
        c"/proc/self",
        c"/proc/self/fd",
        c"/proc/self/fd/0",
        c"/proc/self/exe",
        c"/proc/self/cwd",
        c"/proc/self/ns/net",
        c"/proc/self/stat",
        c"/proc/mounts",
        c"/proc/uptime",
        c"/proc/none",
    ] {
        see("path", (path, list(path)));
        for attribute in all {
            let set = set(path, attribute, b"v", 0);
            see("get and set", (attribute, get(path, attribute), set));
        }
    }
    // Natively they lie on a disk of the kernel's own, which knows attributes but has none.
    for path in [
        c"/dev",
        c"/dev/fd",
        c"/dev/stdin",
        c"/dev/tty",
        c"/dev/null",
    ] {
        see("path", (path, list(path)));
        for attribute in all {
            let none = [libc::ENODATA, libc::EOPNOTSUPP];
            let got = get(path, attribute).map_err(|errno| none.contains(&(errno as i32)));
            see("none", (attribute, got));
        }
    }
}

/// A terminal has an owner and a mode as any file has, by its name and by its descriptors.
fn terminals() {
    let new = || {
        let (mut master, mut slave) = (0, 0);
        let nothing = std::ptr::null_mut();
        // SAFETY: both numbers live; the rest is not asked for.
        let made = unsafe {
            libc::openpty(
                &raw mut master,
                &raw mut slave,
                nothing,
                nothing.cast(),
                nothing.cast(),
            )
        };
        assert_eq!(made, 0, "a terminal");
        let path = std::fs::read_link(format!("/proc/self/fd/{slave}")).expect("it has a name");
        (master, slave, name(path.to_str().expect("text")))
    };
    let (_master, slave, path) = new();
    let fd = u64::from(slave.unsigned_abs());
    let show = |what: &str, result: Result<u64>| {
        let of = |number: libc::c_long, which: u64| {
            let mut data = [0u64; 18];
            call(number, &[which, out(&mut data)]).expect("it is there");
            let [low, high] = [data[3], data[4]].map(|word| word & 0xffff_ffff);
            // st_mode, st_uid, st_gid.
            (format!("{low:o}"), data[3] >> 32, high)
        };
        let (named, opened) = (of(libc::SYS_stat, text(&path)), of(libc::SYS_fstat, fd));
        see(what, (result, &named, named == opened));
    };
    // What a new one has is told by the host's mount.
    call(libc::SYS_fchown, &[fd, u64::MAX, 5]).expect("ours");
    show("chmod", call(libc::SYS_chmod, &[text(&path), 0o600]));
    show("fchmod", call(libc::SYS_fchmod, &[fd, 0o644]));
    show("chown", call(libc::SYS_chown, &[text(&path), 33, 34]));
    show("set-id bits", call(libc::SYS_chmod, &[text(&path), 0o6711]));
    show("fchown", call(libc::SYS_fchown, &[fd, u64::MAX, 35]));
    show("group", call(libc::SYS_chown, &[text(&path), 1, 5]));
    let opened = |mode: u64, who: u32| {
        call(libc::SYS_chmod, &[text(&path), mode]).expect("changed");
        let other = child(|| {
            let become_it = |number| call(number, &[u64::from(who)]).is_ok();
            let is_other = become_it(libc::SYS_setgid) && become_it(libc::SYS_setuid);
            let flags = libc::O_WRONLY | libc::O_NOCTTY;
            let opened = call(libc::SYS_openat, &[CWD, text(&path), signed(flags), 0]);
            let changed = call(libc::SYS_chmod, &[text(&path), mode]);
            see("as another", (is_other, opened.map(drop), changed.is_ok()));
            0
        });
        see("end", other.wait());
    };
    opened(0o620, 33);
    opened(0o622, 33);
    opened(0o600, 1);
    opened(0o400, 1);
    let (_master, _slave, other) = new();
    see("another terminal", other != path);
    show(
        "which is another file",
        call(libc::SYS_chmod, &[text(&other), 0o640]),
    );
}
