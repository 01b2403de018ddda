//! What a file tells by its path and what it tells when it is open: programs that compare the two take a
//! difference for a file that was replaced.

use picozone_guests::children::{pipe, wait};
use picozone_guests::{CWD, Errno, at, call, child, close, name, out, sections, see, text};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};

fn main() {
    sections(&[
        ("of_proc", of_proc),
        ("outlived", outlived),
        ("rewound", rewound),
        ("rewound_as_another", rewound_as_another),
        ("rewound_in_races", rewound_in_races),
        ("links", links),
        ("mounts", mounts),
        ("locks", locks),
        ("slashes", slashes),
        ("watches", watches),
        ("memory", memory),
        ("terminals", terminals),
        ("sockets", sockets),
        ("only_named", only_named),
    ]);
}

fn number(file: &impl AsRawFd) -> u64 {
    u64::try_from(file.as_raw_fd()).expect("a descriptor")
}

/// Files of `/proc`: such that the monitor makes, and such that are the kernel's.
const OF_PROC: [&str; 26] = [
    "cpuinfo",
    "filesystems",
    "loadavg",
    "meminfo",
    "mounts",
    "net/dev",
    "net/tcp",
    "stat",
    "sys/kernel/hostname",
    "sys/kernel/pid_max",
    "uptime",
    "version",
    "self/cmdline",
    "self/comm",
    "self/environ",
    "self/fdinfo/1",
    "self/limits",
    "self/maps",
    "self/mountinfo",
    "self/oom_score_adj",
    "self/pagemap",
    "self/smaps",
    "self/stat",
    "self/status",
    "self/task/../status",
    "thread-self/stat",
];

fn of_proc() {
    let link = |file: &File| {
        let name = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("open");
        let name = name.to_str().expect("text").to_owned();
        // The kernel forgets names of `/proc/net`.
        let name = name.strip_suffix(" (deleted)").unwrap_or(&name);
        name.replace(&std::process::id().to_string(), "OWN")
    };
    for name in OF_PROC {
        let path = format!("/proc/{name}");
        let file = File::open(&path).expect("to be read");
        let (named, open) = (
            fs::metadata(&path).expect("there"),
            file.metadata().expect("open"),
        );
        let sides = [&named, &open].map(|data| (data.dev(), data.ino()));
        see(name, (sides[0] == sides[1], link(&file)));
        for data in [named, open] {
            let kind = (data.mode(), data.nlink(), data.file_type().is_fifo());
            let size = (data.size(), data.blocks(), data.blksize());
            see("attributes", (kind, data.uid(), data.gid(), size));
        }
    }
    for name in ["mounts", "net", "self", "thread-self"] {
        let data = fs::symlink_metadata(format!("/proc/{name}")).expect("there");
        see(name, (data.mode(), data.size()));
    }
    for name in ["self/fd", "self/fdinfo"] {
        let path = format!("/proc/{name}");
        let data = fs::metadata(&path).expect("there");
        see(name, data.mode());
        let next = number(&File::open("/dev/null").expect("there")).to_string();
        let entries = fs::read_dir(&path).expect("to be listed");
        let mut names = entries.map(|entry| entry.expect("an entry").file_name());
        see(
            "lists itself",
            names.any(|name| name.to_str() == Some(&next)),
        );
    }
}

/// A file of a process that is gone since it was opened.
fn outlived() {
    let [gone, waits] = [pipe().expect("a pipe"), pipe().expect("a pipe")];
    let process = child(|| {
        gone.tell();
        waits.hear();
        0
    });
    gone.hear();
    let path = format!("/proc/{}/stat", process.0);
    let named = fs::metadata(&path).expect("there");
    let file = File::open(&path).expect("to be read");
    waits.tell();
    see("ended", process.wait());
    see("by path", fs::metadata(&path).is_ok());
    let open = file.metadata().expect("open");
    let sides = [named, open].map(|data| (data.dev(), data.ino(), data.mode(), data.size()));
    see("open", sides[0] == sides[1]);
}

/// What a file of `/proc` says from its beginning on, when it is sought there; of some an errno.
fn from_start(file: &File) -> Result<String, Errno> {
    see("at", call(libc::SYS_lseek, &[number(file), 0, 0]));
    let mut content = vec![0; 1 << 16];
    let room = [number(file), content.as_mut_ptr() as u64, 1 << 16];
    let length = call(libc::SYS_read, &room)?;
    content.truncate(usize::try_from(length).expect("a length"));
    Ok(String::from_utf8_lossy(&content).into_owned())
}

/// The state in a line of `stat`.
fn state(line: &str) -> Option<char> {
    line.rsplit_once(") ")?.1.chars().next()
}

/// Files of `/proc` that are read again from their beginning tell what is so by then.
fn rewound() {
    let waits = pipe().expect("a pipe");
    let process = child(|| {
        // SAFETY: it stops the process.
        unsafe { libc::raise(libc::SIGSTOP) };
        waits.hear();
        0
    });
    see(
        "stopped",
        wait(process.0, libc::WUNTRACED).map(|(_, end)| end),
    );
    let files = ["stat", "status", "task/../stat"].map(|name| {
        let path = format!("/proc/{}/{name}", process.0);
        File::open(path).expect("to be read")
    });
    let see_state = |when: &str, file: &File| {
        let line = from_start(file);
        see(when, line.map(|line| state(&line)));
    };
    see_state("state", &files[0]);
    see("sent", process.signal(libc::SIGCONT));
    see(
        "goes on",
        wait(process.0, libc::WCONTINUED).map(|(_, end)| end),
    );
    waits.tell();
    let left = u64::from((libc::WEXITED | libc::WNOWAIT).unsigned_abs());
    let number_of = u64::from(process.0.unsigned_abs());
    see("ended", call(libc::SYS_waitid, &[1, number_of, 0, left]));
    see_state("state", &files[0]);
    see_state("by another name", &files[2]);
    let status = from_start(&files[1]).expect("there");
    see(
        "status",
        status.lines().find(|line| line.starts_with("State:")),
    );
    see("reaped", process.wait());
    for file in &files {
        see("gone", from_start(file).map(|line| line.len()));
    }
    // What is not sought goes on where it was.
    let own = File::open("/proc/self/status").expect("to be read");
    let name = |status: &str| status.lines().next().map(str::to_owned);
    see("name", from_start(&own).map(|status| name(&status)));
    let twin = own.try_clone().expect("a descriptor");
    let named = |name: &std::ffi::CStr| call(libc::SYS_prctl, &[15, name.as_ptr() as u64]);
    see("renamed", named(c"other"));
    see(
        "at its end",
        (&own).read(&mut [0; 16]).map_err(|error| error.kind()),
    );
    see("name", from_start(&own).map(|status| name(&status)));
    see(
        "name of the twin",
        from_start(&twin).map(|status| name(&status)),
    );
    // The descriptor is as it was.
    for flags in [0, libc::O_CLOEXEC, libc::O_NONBLOCK] {
        let fd = at(
            libc::SYS_openat,
            "/proc/loadavg",
            &[u64::from(flags.unsigned_abs()), 0],
        );
        let fd = fd.expect("to be read");
        see("at", call(libc::SYS_lseek, &[fd, 0, 0]));
        let getters = [libc::F_GETFD, libc::F_GETFL]
            .map(|of| call(libc::SYS_fcntl, &[fd, u64::from(of.unsigned_abs())]));
        see("flags", getters);
        let path = fs::read_link(format!("/proc/self/fd/{fd}"));
        see("path", path.expect("open"));
        close(fd);
    }
    // Everything else is sought as ever.
    let file = File::create("sought").expect("made");
    (&file).write_all(b"text").expect("written");
    let ends = pipe().expect("a pipe");
    for fd in [number(&file), number(&ends.read), 999, u64::MAX] {
        for [offset, whence] in [[0, 0], [0, 1 << 32], [1 << 32, 0], [0, 1], [2, 0], [0, 5]] {
            see("sought", call(libc::SYS_lseek, &[fd, offset, whence]));
        }
    }
}

/// A number that other threads put other files on is, in the end, what was put there last.
fn rewound_in_races() {
    let files = ["self/status", "loadavg"]
        .map(|name| File::open(format!("/proc/{name}")).expect("to be read"));
    let place = files[0].try_clone().expect("a descriptor");
    for _ in 0..20 {
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for _ in 0..20 {
                    let _ = call(libc::SYS_lseek, &[number(&place), 0, 0]);
                    let _ = (&place).read(&mut [0; 64]);
                }
            });
            for file in files.iter().cycle().take(40) {
                let _ = call(libc::SYS_dup2, &[number(file), number(&place)]);
            }
        });
        see(
            "put",
            call(libc::SYS_dup2, &[number(&files[0]), number(&place)]) == Ok(number(&place)),
        );
        let status = from_start(&place).expect("there");
        see("is", status.starts_with("Name:"));
        see(
            "closed by exec",
            call(libc::SYS_fcntl, &[number(&place), libc::F_GETFD as u64]),
        );
    }
}

/// Who may not open a file any more reads on in it, be it what it said.
fn rewound_as_another() {
    let own = File::open("/proc/self/status").expect("to be read");
    let first = File::open("/proc/self/environ").expect("to be read");
    // SAFETY: no other thread runs.
    unsafe { libc::setresuid(1234, 1234, 1234) };
    see("still read", from_start(&first).is_ok());
    let users = from_start(&own).expect("its own");
    see("users", users.lines().find(|line| line.starts_with("Uid:")));
}

/// Links of `/proc` and `/dev` that are opened themselves.
fn links() {
    let own = std::process::id().to_string();
    let file = File::create("named").expect("made");
    let ends = pipe().expect("a pipe");
    let of_file = format!("{own}/fd/{}", file.as_raw_fd());
    let of_pipe = format!("self/fd/{}", ends.read.as_raw_fd());
    let paths = [
        "self",
        "thread-self",
        "mounts",
        "net",
        "self/exe",
        "self/cwd",
        "self/root",
        "self/ns/uts",
        &of_file,
        &of_pipe,
        "self/fd/1023",
        "self/task/../exe",
    ];
    let path_only = u64::from((libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC).cast_unsigned());
    let plain = |link: &str| link.replace(&own, "OWN").replace(&of_pipe, "OF_PIPE");
    for (index, path) in paths.iter().enumerate() {
        let path = format!("/proc/{path}");
        let opened = at(libc::SYS_openat, &path, &[path_only]);
        see(&index.to_string(), opened.is_ok());
        let Ok(fd) = opened else {
            see("failed", opened);
            continue;
        };
        let named = fs::symlink_metadata(&path).expect("there");
        let mut found = [0u64; 18];
        see("fstat", call(libc::SYS_fstat, &[fd, out(&mut found)]));
        let is_same = (found[0], found[1]) == (named.dev(), named.ino());
        see(
            "attributes",
            (is_same, format!("{:o}", found[3] & 0xffff_ffff)),
        );
        let empty = name("");
        let flags = libc::AT_EMPTY_PATH;
        see("statx", look(fd, "", flags, libc::STATX_TYPE).result);
        let mut to = [0u8; 4096];
        let read = call(
            libc::SYS_readlinkat,
            &[fd, text(&empty), out(&mut to), 4096],
        );
        let read = read.map(|length| to[..usize::try_from(length).expect("short")].to_vec());
        let by_name = fs::read_link(&path);
        let by_name = by_name
            .ok()
            .map(|link| link.into_os_string().into_encoded_bytes());
        see(
            "target",
            (read.as_ref().ok() == by_name.as_ref(), read.is_ok()),
        );
        if !path.contains("root") && !path.contains("exe") {
            let shown = fs::read_link(format!("/proc/self/fd/{fd}")).expect("open");
            see("name", plain(shown.to_str().expect("text")));
        }
        see(
            "cut",
            call(libc::SYS_readlinkat, &[fd, text(&empty), out(&mut to), 2]),
        );
        see("read", call(libc::SYS_read, &[fd, out(&mut to), 1]));
        see(
            "beneath",
            call(libc::SYS_openat, &[fd, text(&name("x")), path_only]),
        );
        see("mode", call(libc::SYS_fchmod, &[fd, 0o777]));
        let flags = call(libc::SYS_fcntl, &[fd, libc::F_GETFL.cast_unsigned().into()]);
        see("flags", flags);
        close(fd);
        let how = [path_only, 0, libc::RESOLVE_NO_SYMLINKS];
        if path.matches('/').count() == 2 {
            let opened = at(libc::SYS_openat2, &path, &[how.as_ptr() as u64, 24]);
            see("without links", opened.is_ok());
            opened.map(close).expect("open");
        }
        let directory = path_only | u64::from(libc::O_DIRECTORY.cast_unsigned());
        see("directory", at(libc::SYS_openat, &path, &[directory]));
    }
    for path in ["/dev/fd", "/dev/stdin"] {
        let fd = at(libc::SYS_openat, path, &[path_only]).expect("open");
        close(fd);
        for kept in [0, u64::from(libc::O_CLOEXEC.cast_unsigned())] {
            let flags = path_only & !u64::from(libc::O_CLOEXEC.cast_unsigned()) | kept;
            let lowest = at(libc::SYS_openat, "/", &[path_only]).expect("open");
            close(lowest);
            let fd = at(libc::SYS_openat, path, &[flags]).expect("open");
            let on_exec = call(libc::SYS_fcntl, &[fd, libc::F_GETFD.cast_unsigned().into()]);
            see("number", (fd == lowest, on_exec));
            let above = at(libc::SYS_openat, "/", &[path_only]).expect("open");
            see("the next", above == lowest + 1);
            close(above);
            close(fd);
        }
        let fd = at(libc::SYS_openat, path, &[path_only]).expect("open");
        let mut to = [0u8; 64];
        let read = call(
            libc::SYS_readlinkat,
            &[fd, text(&name("")), out(&mut to), 64],
        );
        see(path, (read, String::from_utf8_lossy(&to)));
        close(fd);
    }
}

/// statx(2): what it was asked for, and the mount.
struct Looked {
    result: picozone_guests::Result<u64>,
    mask: u32,
    mount: u64,
    begins_mount: bool,
}

fn look(directory: u64, path: &str, flags: i32, mask: u32) -> Looked {
    // SAFETY: all zero is a valid `struct statx`.
    let mut found = unsafe { std::mem::zeroed::<libc::statx>() };
    let path = CString::new(path).expect("no NUL");
    let arguments = [
        directory,
        text(&path),
        u64::from(flags.cast_unsigned()),
        mask.into(),
        out(&mut found),
    ];
    Looked {
        result: call(libc::SYS_statx, &arguments),
        mask: found.stx_mask,
        mount: found.stx_mnt_id,
        begins_mount: found.stx_attributes & u64::from(libc::STATX_ATTR_MOUNT_ROOT.cast_unsigned())
            != 0,
    }
}

/// The mount that a file lies in, as five ways tell it.
fn mounts() {
    File::create("file").expect("made");
    fs::create_dir("directory").expect("made");
    File::create("directory/file").expect("made");
    symlink("directory/file", "link").expect("made");
    let work = picozone_guests::work().to_str().expect("text");
    let absolute = format!("{work}/directory/file");
    let basic = libc::STATX_BASIC_STATS;
    // Twice and more: a directory is kept at hand when it is looked into again.
    for round in 0..4 {
        for (path, flags) in [
            ("file", 0),
            ("link", libc::AT_SYMLINK_NOFOLLOW),
            (&absolute[..], 0),
            ("/proc/self/status", 0),
            ("/proc/self", libc::AT_SYMLINK_NOFOLLOW),
            ("/dev/null", 0),
        ] {
            let asked = look(CWD, path, flags, basic | libc::STATX_MNT_ID);
            let unasked = look(CWD, path, flags, basic);
            see("result", (round, asked.result, unasked.result));
            // At the first looks the mount need not be at hand.
            if round > 2 {
                let is_told = unasked.mask & libc::STATX_MNT_ID != 0;
                let name = path.rsplit('/').next();
                see("mount", (name, is_told, asked.mount == unasked.mount));
            }
        }
    }
    for path in [
        "/",
        "/proc",
        "/proc/",
        "/proc/self",
        "/dev",
        "/dev/null",
        "directory",
        "file",
    ] {
        let begins_mount = look(CWD, path, 0, basic).begins_mount;
        see(path, ("begins a mount", begins_mount));
        for flags in [libc::O_RDONLY, libc::O_PATH] {
            let fd = at(libc::SYS_openat, path, &[u64::from(flags.cast_unsigned())]);
            let fd = fd.expect("open");
            let told = look(fd, "", libc::AT_EMPTY_PATH, basic).begins_mount;
            see("by a descriptor", told);
            close(fd);
        }
    }
    let file = File::open("file").expect("there");
    let empty = libc::AT_EMPTY_PATH;
    let open = look(number(&file), "", empty, basic | libc::STATX_MNT_ID);
    let info = |file: &File| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()));
        let info = info.expect("open");
        let line = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
        line.expect("a mount")
            .trim()
            .parse::<u64>()
            .expect("a number")
    };
    see("open", (open.result, open.mount == info(&file)));
    let list = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let is_listed = |id: u64| {
        let front = format!("{id} ");
        list.lines().any(|line| line.starts_with(&front))
    };
    see("listed", is_listed(open.mount));
    let [reader, _writer] = {
        let mut pair = [0_i32; 2];
        call(libc::SYS_pipe, &[out(&mut pair)]).expect("a pipe");
        // SAFETY: just made, and nobody else's.
        pair.map(|fd| unsafe { File::from_raw_fd(fd) })
    };
    let open = look(number(&reader), "", empty, basic | libc::STATX_MNT_ID);
    see("a pipe", (open.result, open.mask & libc::STATX_MNT_ID != 0));
    see(
        "of no mount",
        (open.mount == info(&reader), is_listed(open.mount)),
    );
}

/// `/proc/locks`: of processes, and of open file descriptions.
fn locks() {
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open("locked")
        .expect("made");
    file.write_all(b"some bytes").expect("written");
    let again = File::open("locked").expect("there");
    let lock = |file: &File, how: i32, kind: i32, start: i64| {
        // SAFETY: all zero is a valid `struct flock`.
        let mut lock = unsafe { std::mem::zeroed::<libc::flock>() };
        lock.l_type = i16::try_from(kind).expect("small");
        (lock.l_start, lock.l_len) = (start, 3);
        call(
            libc::SYS_fcntl,
            &[number(file), u64::from(how.cast_unsigned()), out(&mut lock)],
        )
    };
    see("first", lock(&file, libc::F_OFD_SETLK, libc::F_WRLCK, 0));
    see("second", lock(&again, libc::F_OFD_SETLK, libc::F_RDLCK, 5));
    see(
        "of the process",
        lock(&file, libc::F_SETLK, libc::F_WRLCK, 20),
    );
    let data = file.metadata().expect("open");
    let place = format!(
        "{:02x}:{:02x}:{}",
        libc::major(data.dev()),
        libc::minor(data.dev()),
        data.ino()
    );
    let listed = || {
        let mut text = String::new();
        let mut list = File::open("/proc/locks").expect("there");
        list.read_to_string(&mut text).expect("text");
        let own = std::process::id().to_string();
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        let words = lines.map(|(_, lock)| lock.split_whitespace().collect::<Vec<_>>());
        let mut found: Vec<String> = words
            .filter(|words| words.contains(&&place[..]))
            .map(|words| {
                format!(
                    "{} own {} {}",
                    words[..3].join(" "),
                    words[3] == own,
                    words[5..].join(" ")
                )
            })
            .collect();
        found.sort();
        found
    };
    see("listed", listed());
    drop(again);
    see("less", listed());
}

/// Opens by links whose text ends in a slash, which make nothing.
fn slashes() {
    fs::create_dir("slashes").expect("made");
    std::env::set_current_dir("slashes").expect("there");
    File::create("file").expect("made");
    fs::create_dir("directory").expect("made");
    for (link, text) in [
        ("to nothing", "nothing/"),
        ("to a file", "file/"),
        ("to a directory", "directory/"),
        ("to a link", "to nothing"),
        ("without", "nobody"),
    ] {
        symlink(text, link).expect("made");
    }
    for path in [
        "to nothing",
        "to a file",
        "to a directory",
        "to a link",
        "without/",
        "file/",
    ] {
        for flags in [
            libc::O_RDONLY,
            libc::O_RDWR | libc::O_CREAT,
            libc::O_CREAT | libc::O_EXCL,
            libc::O_CREAT | libc::O_NOFOLLOW,
            libc::O_PATH,
            libc::O_DIRECTORY,
        ] {
            for mode in [0o644, 0o444, 0o2755] {
                let flags = u64::from(flags.cast_unsigned());
                let made = at(libc::SYS_openat, path, &[flags, mode]);
                see(path, (flags, made.map(close)));
            }
        }
    }
    let mut names: Vec<_> = fs::read_dir(".")
        .expect("there")
        .map(|entry| entry.expect("listed").file_name())
        .collect();
    names.sort();
    see("left", names);
}

/// inotify(7) of files that are none of a directory of the disk.
fn watches() {
    const ALL: u64 = 0xfff;
    const ONLY_DIRECTORIES: u64 = 0x0100_0000;
    const ONLY_NEW: u64 = 0x1000_0000;
    let watcher = call(libc::SYS_inotify_init1, &[0]).expect("a watcher");
    let add = |path: &str, mask: u64| {
        let path = name(path);
        call(libc::SYS_inotify_add_watch, &[watcher, text(&path), mask])
    };
    let mut all = Vec::new();
    for path in [
        "/proc",
        "/proc/self/status",
        "/proc/self/fd",
        "/proc/mounts",
        "/proc/sys",
        "/dev",
        "/dev/null",
        "/dev/pts",
        "/proc/nothing",
    ] {
        let (first, again) = (add(path, ALL), add(path, ALL));
        see(path, (first.is_ok(), first == again, first.err()));
        see("only directories", add(path, ALL | ONLY_DIRECTORIES).err());
        see("only new", add(path, ALL | ONLY_NEW).err());
        all.extend(first);
    }
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    see("each its own", all.len() == count);
    let gone = call(libc::SYS_inotify_rm_watch, &[watcher, all[0]]);
    see(
        "gone",
        (gone, call(libc::SYS_inotify_rm_watch, &[watcher, all[0]])),
    );
}

/// Extended attributes of files in memory.
fn memory() {
    let file = call(libc::SYS_memfd_create, &[text(c"memory"), 0]).expect("a file");
    let mut room = [0_u8; 64];
    for attribute in [c"user.one", c"user.two", c"nothing.three"] {
        let set = |flags: u64| {
            let value = text(c"value");
            call(
                libc::SYS_fsetxattr,
                &[file, text(attribute), value, 5, flags],
            )
        };
        see("set", (attribute, set(2), set(1), set(1), set(0)));
        let args = [file, text(attribute), out(&mut room), 64];
        let got = call(libc::SYS_fgetxattr, &args);
        see("got", (got, &room[..5]));
    }
    let size = call(libc::SYS_flistxattr, &[file, out(&mut room), 64]);
    see("listed", size);
    for _ in 0..2 {
        see(
            "gone",
            call(libc::SYS_fremovexattr, &[file, text(c"user.one")]),
        );
    }
}

/// Whose a terminal is, by its name and by its descriptor; what lines it takes.
fn terminals() {
    const TIOCSETD: u64 = 0x5423;
    let (mut master, mut slave) = (0, 0);
    let (name, how, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
    // SAFETY: both are places for a descriptor, the rest is absent.
    let result = unsafe { libc::openpty(&raw mut master, &raw mut slave, name, how, size) };
    assert_eq!(result, 0, "a terminal");
    let own = number(&slave);
    let path = fs::read_link(format!("/proc/self/fd/{slave}")).expect("its name");
    let path = path.to_str().expect("text");
    let show = |what: &str, result: picozone_guests::Result<u64>| {
        // SAFETY: it is open.
        let file = unsafe { File::from_raw_fd(slave) };
        let of = |found: fs::Metadata| (found.uid(), found.gid(), found.mode());
        let opened = file.metadata().map(of).expect("it is open");
        std::mem::forget(file);
        let named = fs::metadata(path).map(of).expect("it is there");
        // Of a new one the group and the mode are the host's affair.
        let is_told = !["new", "own group"].contains(&what);
        see(what, (result, opened == named, is_told.then_some(opened)));
    };
    // SAFETY: it has no arguments.
    let uid = unsafe { libc::getuid() };
    // SAFETY: it has no arguments.
    let gid = unsafe { libc::getgid() };
    let own_group = |nr, path: Option<&str>| match path {
        None => call(nr, &[own, uid.into(), gid.into()]),
        Some(path) => at(nr, path, &[uid.into(), gid.into(), 0]),
    };
    show("new", Ok(0));
    show("own group", own_group(libc::SYS_fchown, None).map(|_| 0));
    show("mode", call(libc::SYS_fchmod, &[own, 0o640]));
    show("mode by name", at(libc::SYS_fchmodat, path, &[0o606]));
    show("by name", own_group(libc::SYS_fchownat, Some(path)));
    if uid == 0 {
        show("given", call(libc::SYS_fchown, &[own, 1333, 4444]));
        show("half", call(libc::SYS_fchown, &[own, 1334, u64::MAX]));
        show(
            "other half",
            at(libc::SYS_fchownat, path, &[u64::MAX, 5, 0]),
        );
    }
    let set = |fd: u64, kind: i32| {
        call(
            libc::SYS_ioctl,
            &[fd, TIOCSETD, picozone_guests::from(&kind)],
        )
    };
    // N_TTY; such as no kernel has.
    see("lines", (set(own, 0), set(own, 29), set(own, 99)));
    see("nowhere", call(libc::SYS_ioctl, &[own, TIOCSETD, 8]));
    let ends = pipe().expect("a pipe");
    see("no terminal", set(number(&ends.read), 0));
}

/// Sockets by what a process has open, as who has no room for their paths names them (unix(7)).
fn sockets() {
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    fs::create_dir("directory").expect("made");
    let listener = UnixListener::bind("directory/socket").expect("a socket");
    fs::write("directory/file", "no socket").expect("made");
    let open = |path: &str| {
        let flags = u64::from(libc::O_PATH.cast_unsigned());
        let fd = at(libc::SYS_openat, path, &[flags]).expect("there");
        // SAFETY: just made, and nobody else's.
        unsafe { File::from_raw_fd(i32::try_from(fd).expect("a descriptor")) }
    };
    let [directory, socket, file] = ["directory", "directory/socket", "directory/file"].map(open);
    let own = std::process::id();
    let of = |file: &File| format!("/proc/self/fd/{}", file.as_raw_fd());
    let paths = [
        ("in a directory", of(&directory) + "/socket"),
        ("around it", of(&directory) + "/../directory/socket"),
        ("itself", of(&socket)),
        (
            "by the process",
            format!("/proc/{own}/fd/{}", socket.as_raw_fd()),
        ),
        ("by /dev", format!("/dev/fd/{}", socket.as_raw_fd())),
        ("no socket", of(&file)),
        ("nothing", of(&directory) + "/nothing"),
        ("beneath a file", of(&file) + "/socket"),
        ("not open", "/proc/self/fd/999".to_owned()),
    ];
    for (name, path) in &paths {
        let stream = UnixStream::connect(path);
        let peer = stream
            .as_ref()
            .map(|stream| stream.peer_addr().expect("a peer"));
        let peer = peer.map(|peer| peer.as_pathname().map(ToOwned::to_owned));
        see(name, peer.map_err(|error| error.raw_os_error()));
        let datagram = UnixDatagram::unbound().expect("a socket").connect(path);
        see(
            "of another kind",
            datagram.map_err(|error| error.raw_os_error()),
        );
    }
    drop(listener);
    let bound = UnixListener::bind(of(&directory) + "/bound");
    see(
        "bound",
        bound.map(drop).map_err(|error| error.raw_os_error()),
    );
    see(
        "is there",
        fs::symlink_metadata("directory/bound")
            .map(|data| data.mode())
            .ok(),
    );
    let bound = UnixListener::bind(of(&file) + "/bound");
    see(
        "in no directory",
        bound.map(drop).map_err(|error| error.raw_os_error()),
    );
}

/// Directories of `/proc` and `/dev` that are open to be named (`O_PATH`).
fn only_named() {
    for path in [
        "/proc",
        "/proc/self",
        "/proc/self/fd",
        "/proc/sys/kernel",
        "/dev",
        "/dev/fd",
    ] {
        for flags in [0, libc::O_DIRECTORY, libc::O_NOFOLLOW, libc::O_CLOEXEC] {
            let flags = u64::from((libc::O_PATH | flags).cast_unsigned());
            let fd = at(libc::SYS_openat, path, &[flags]).expect("there");
            let told = call(
                libc::SYS_fcntl,
                &[fd, u64::from(libc::F_GETFL.cast_unsigned())],
            );
            let on_exec = call(
                libc::SYS_fcntl,
                &[fd, u64::from(libc::F_GETFD.cast_unsigned())],
            );
            // How large files may be is libc's to say.
            let told = told.map(|told| told & !0o100_000);
            see(path, (told, on_exec));
            let mut room = [0_u64; 64];
            let read = call(libc::SYS_read, &[fd, out(&mut room), 8]);
            let list = call(libc::SYS_getdents64, &[fd, out(&mut room), 512]);
            see("is not read", (read, list));
            close(fd);
        }
    }
    let flags = u64::from((libc::O_PATH | libc::O_DIRECTORY).cast_unsigned());
    let fd = at(libc::SYS_openat, "/proc/self", &[flags]).expect("there");
    let below = |name: &str, flags: i32| {
        let name = CString::new(name).expect("no NUL");
        call(
            libc::SYS_openat,
            &[fd, text(&name), u64::from(flags.cast_unsigned())],
        )
    };
    see("below", below("status", libc::O_RDONLY).map(close));
    see("above", below("../uptime", libc::O_RDONLY).map(close));
    see("nothing", below("nothing", libc::O_RDONLY));
    let again = File::open(format!("/proc/self/fd/{fd}")).expect("a directory");
    see(
        "to be read",
        again.metadata().map(|data| data.is_dir()).ok(),
    );
    see("goes there", call(libc::SYS_fchdir, &[fd]));
    let here = std::env::current_dir().expect("a directory");
    see(
        "is there",
        here == std::path::Path::new("/proc").join(std::process::id().to_string()),
    );
}
