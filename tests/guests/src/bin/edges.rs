//! Edges of calls that other guests do not look at: old and rare forms, and what /proc tells of them.

use picozone_guests::children::pipe;
use picozone_guests::{CWD, call, child, from, libc_result, out, sections, see, text, work};
use std::ffi::CString;
use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::thread::JoinHandleExt;

fn main() {
    sections(&[
        ("old_listing", old_listing),
        ("made_directories", made_directories),
        ("owners", owners),
        ("only_names", only_names),
        ("told", told),
        ("memory_files", memory_files),
        ("tasks", tasks),
        ("name_spaces", name_spaces),
        ("space", space),
        ("execs", execs),
        ("quiet", quiet),
        ("obsolete", obsolete),
        ("copies", copies),
        ("times_of_packets", times_of_packets),
    ]);
}

fn number(file: &impl AsRawFd) -> u64 {
    u64::try_from(file.as_raw_fd()).expect("a descriptor")
}

fn own() -> u64 {
    u64::from(std::process::id())
}

/// getdents(2): names and types as getdents64(2) tells them.
fn old_listing() {
    fs::create_dir_all("listed/directory").expect("made");
    fs::write("listed/file", "").expect("made");
    fs::write(format!("listed/{}", "x".repeat(255)), "").expect("made");
    symlink("nowhere", "listed/link").expect("made");
    let directory = fs::File::open("listed").expect("there");
    let mut names = Vec::new();
    loop {
        let mut room = [0_u8; 600];
        let got = call(
            libc::SYS_getdents,
            &[number(&directory), out(&mut room), 600],
        )
        .expect("listed");
        let mut left = &room[..usize::try_from(got).expect("short")];
        if left.is_empty() {
            break;
        }
        while let Some(length) = left.get(16..18) {
            let length = usize::from(u16::from_ne_bytes([length[0], length[1]]));
            let (record, rest) = left.split_at(length);
            let name = record[18..].split(|&byte| byte == 0).next();
            let name = String::from_utf8_lossy(name.expect("a name")).into_owned();
            names.push((name, record[length - 1]));
            left = rest;
        }
    }
    names.sort();
    see("entries", names);
    let listed = |fd: u64, size: u64| {
        let mut room = [0_u8; 64];
        call(libc::SYS_getdents, &[fd, out(&mut room), size])
    };
    let again = fs::File::open("listed").expect("there");
    see("no room", listed(number(&again), 8));
    let file = fs::File::open("listed/file").expect("there");
    see("a file", listed(number(&file), 64));
    see("not open", listed(999, 64));
}

/// `O_CREAT` where a directory is, also where a directory gives its group to what is made.
fn made_directories() {
    fs::create_dir_all("made/within").expect("made");
    let give = fs::Permissions::from_mode(0o2755);
    fs::set_permissions("made", give).expect("its own");
    for path in [
        c"made",
        c"made/",
        c"made/new/",
        c"made/none/new/",
        c".",
        c"/",
    ] {
        for flags in [libc::O_RDONLY, libc::O_RDONLY | libc::O_TRUNC, libc::O_RDWR] {
            let flags = u64::try_from(flags | libc::O_CREAT).expect("positive");
            see(
                path.to_str().expect("text"),
                call(libc::SYS_open, &[text(path), flags, 0o640]).map(drop),
            );
        }
    }
    let left = fs::read_dir("made").expect("there").count();
    see("left", left);
}

/// FIOSETOWN and its kin, which name processes.
fn owners() {
    let pair = std::os::unix::net::UnixStream::pair().expect("a pair");
    let socket = number(&pair.0);
    let told = |command: u64| {
        let mut owner = -1_i32;
        let result = call(libc::SYS_ioctl, &[socket, command, out(&mut owner)]);
        (result, owner)
    };
    const SET: [u64; 2] = [0x8901, 0x8902];
    const GET: [u64; 2] = [0x8903, 0x8904];
    see("nobody", GET.map(told));
    let own = i32::try_from(own()).expect("small");
    for (name, owner) in [("itself", own), ("no such", 0x3f_ffff), ("nobody", 0)] {
        for command in SET {
            see(
                name,
                call(libc::SYS_ioctl, &[socket, command, from(&owner)]),
            );
            see(
                name,
                GET.map(told).map(|(result, got)| (result, got == owner)),
            );
        }
    }
    see("bad address", call(libc::SYS_ioctl, &[socket, SET[0], 8]));
    let file = fs::File::open(".").expect("there");
    let file = [number(&file), GET[0], from(&own)];
    see("no socket", call(libc::SYS_ioctl, &file));
}

/// Commands of fcntl(2) on a descriptor that only names.
fn only_names() {
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(".")
        .expect("there");
    for command in [
        libc::F_GETOWN,
        libc::F_SETOWN,
        libc::F_GETLK,
        15, // F_SETOWN_EX
        16, // F_GETOWN_EX
        libc::F_GETLEASE,
    ] {
        let command = u64::try_from(command).expect("positive");
        see(
            &command.to_string(),
            call(libc::SYS_fcntl, &[number(&file), command, 0]),
        );
    }
}

/// Where clone(2) is to write the number of a process.
fn told() {
    let flags = |more: i32| u64::try_from(more | libc::SIGCHLD).expect("positive");
    let mut parents = 0_i32;
    let parent = flags(libc::CLONE_PARENT_SETTID);
    let made = call(libc::SYS_clone, &[parent, 0, out(&mut parents), 0, 0]);
    if made == Ok(0) {
        picozone_guests::children::exit(0);
    }
    let parents = std::hint::black_box(parents);
    see(
        "in the parent",
        made == Ok(u64::try_from(parents).expect("positive")),
    );
    reap();
    let mut childs = 0_i32;
    let set = flags(libc::CLONE_CHILD_SETTID);
    let made = call(libc::SYS_clone, &[set, 0, 0, out(&mut childs), 0]);
    if made == Ok(0) {
        let is_own = call(libc::SYS_getpid, &[])
            == Ok(u64::from(std::hint::black_box(childs).unsigned_abs()));
        picozone_guests::children::exit(i32::from(is_own));
    }
    see("in the child", reap());
    see("not in the parent", std::hint::black_box(childs));
    // A place that nobody can write is no reason to fail.
    let made = call(libc::SYS_clone, &[parent, 0, 8, 0, 0]);
    if made == Ok(0) {
        picozone_guests::children::exit(0);
    }
    see("nowhere", made.map(drop));
    reap();
}

fn reap() -> Option<i32> {
    let mut status = 0;
    // SAFETY: `status` has room.
    let pid = unsafe { libc::wait(&raw mut status) };
    (pid > 0).then(|| libc::WEXITSTATUS(status))
}

/// `/proc/PID/mem`.
fn memory_files() {
    let mut word = 0x1234_5678_9abc_def0_u64;
    let open = |pid: &str| {
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/{pid}/mem"))
            .expect("its own")
    };
    let at = out(&mut word);
    let memory = open("self");
    let mut bytes = [0; 8];
    see("read", memory.read_at(&mut bytes, at).map_err(errno));
    see("value", u64::from_ne_bytes(bytes) == 0x1234_5678_9abc_def0);
    see(
        "write",
        memory.write_at(&7_u64.to_ne_bytes(), at).map_err(errno),
    );
    see("written", std::hint::black_box(word));
    see("nowhere", memory.read_at(&mut bytes, 8).map_err(errno));
    // Text that nobody may write otherwise.
    let code = reap as *const () as u64;
    memory.read_exact_at(&mut bytes, code).expect("text");
    see("text", memory.write_at(&bytes, code).map_err(errno));
    let wait = pipe().expect("a pipe");
    let other = child(|| {
        wait.hear();
        0
    });
    let theirs = open(&other.0.to_string());
    see(
        "a child's",
        theirs.write_at(&9_u64.to_ne_bytes(), at).map_err(errno),
    );
    see("still ours", std::hint::black_box(word));
    theirs.read_exact_at(&mut bytes, at).expect("there");
    see("theirs", u64::from_ne_bytes(bytes));
    wait.tell();
    see("ends", other.wait());
    see("of the dead", theirs.read_at(&mut bytes, at).map_err(errno));
}

fn errno(error: std::io::Error) -> Option<i32> {
    error.raw_os_error()
}

/// Another thread's name, as libc changes and reads it: by the id that the kernel wrote at its birth.
fn by_libc(thread: libc::pthread_t) -> (i32, i32, String) {
    let mut name = [0_u8; 16];
    // SAFETY: the thread has not ended.
    let set = unsafe { libc::pthread_setname_np(thread, c"by libc".as_ptr()) };
    // SAFETY: it has not ended, and there is room for as much as is said.
    let got = unsafe { libc::pthread_getname_np(thread, name.as_mut_ptr().cast(), name.len()) };
    let name = String::from_utf8_lossy(&name);
    (set, got, name.trim_end_matches('\0').to_owned())
}

/// Threads' directories, and names written through them.
fn tasks() {
    let before = fs::metadata("/proc/self/task").expect("there").nlink();
    let (told, number) = std::sync::mpsc::channel();
    let (end, ends) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        told.send(call(libc::SYS_gettid, &[]).expect("always"))
            .expect("received");
        let _ = ends.recv();
    });
    let tid = number.recv().expect("told");
    see(
        "one more",
        fs::metadata("/proc/self/task").expect("there").nlink() - before,
    );
    let threads = |path: &str| {
        let entries = fs::read_dir(path).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
        let mut names: Vec<_> = names.map(|name| name.expect("text")).collect();
        names.sort();
        names
    };
    let of_process = threads("/proc/self/task");
    see("same", threads(&format!("/proc/{tid}/task")) == of_process);
    let comm = format!("/proc/self/task/{tid}/comm");
    see("written", fs::write(&comm, "renamed").map_err(errno));
    see("name", fs::read_to_string(&comm).expect("there"));
    see("named by libc", by_libc(thread.as_pthread_t()));
    see("not listed", {
        let listed = threads("/proc/self/task");
        (listed.len(), listed.contains(&own().to_string()))
    });
    let wait = pipe().expect("a pipe");
    let other = child(|| {
        wait.hear();
        0
    });
    let theirs = fs::OpenOptions::new()
        .write(true)
        .open(format!("/proc/{}/comm", other.0))
        .expect("the same user's");
    see("another's", theirs.write_at(b"x", 0).map_err(errno));
    wait.tell();
    see("ends", other.wait());
    drop(end);
    thread.join().expect("ended");
    see(
        "the root of /proc",
        fs::metadata("/proc").expect("there").ino(),
    );
}

/// Name spaces: the same inode for who is in the same.
fn name_spaces() {
    for name in ["mnt", "net", "pid", "user", "uts"] {
        let path = |pid: u64| format!("/proc/{pid}/ns/{name}");
        let own = fs::metadata(path(own())).expect("there");
        see("mode", own.mode() & libc::S_IFMT == libc::S_IFREG);
        let link = fs::read_link(path(self::own())).expect("a link");
        see(
            "number",
            link.to_str() == Some(&format!("{name}:[{}]", own.ino())),
        );
        let c = CString::new(path(self::own())).expect("no NUL");
        see("access", call(libc::SYS_access, &[text(&c), 0]));
    }
    let dead = child(|| 0);
    // Not waited for: a zombie.
    let mut ended = [0_u32; 32];
    let options = u64::try_from(libc::WEXITED | libc::WNOWAIT).expect("positive");
    let pid = u64::from(dead.0.unsigned_abs());
    call(libc::SYS_waitid, &[1, pid, out(&mut ended), options, 0]).expect("a child");
    see(
        "a zombie's",
        fs::read_link(format!("/proc/{pid}/ns/net")).map_err(errno),
    );
    see("ends", dead.wait());
}

/// A soft limit of the address space leaves what it says, for execs too.
fn space() {
    let statm = fs::read_to_string("/proc/self/statm").expect("there");
    let pages: u64 = statm
        .split(' ')
        .next()
        .and_then(|size| size.parse().ok())
        .expect("a number");
    const MIB: u64 = 1 << 20;
    let limited = child(|| {
        let limit = [pages * 4096 + 64 * MIB, u64::MAX];
        see("set", call(libc::SYS_setrlimit, &[9, from(&limit)]));
        let mut shown = [0_u64; 2];
        see("get", call(libc::SYS_getrlimit, &[9, out(&mut shown)]));
        see("as set", std::hint::black_box(shown)[0] == limit[0]);
        for size in [32, 64] {
            let none = u64::MAX;
            let got = call(libc::SYS_mmap, &[0, size * MIB, 0, 0x22, none, 0]);
            see("mapping", (size, got.map(drop)));
        }
        let done = std::process::Command::new("/bin/true").status();
        see("exec", done.map(|status| status.code()).map_err(errno));
        0
    });
    see("ends", limited.wait());
}

/// execveat(2) of links and scripts.
fn execs() {
    symlink("/bin/true", "to_true").expect("made");
    fs::write("script", "#!/bin/sh\nexit 3\n").expect("made");
    fs::set_permissions("script", fs::Permissions::from_mode(0o755)).expect("its own");
    let run = |directory: u64, path: &CString, flags: i32| {
        let arguments = [text(path), 0];
        let flags = u64::try_from(flags).expect("positive");
        child(|| {
            let refused = call(
                libc::SYS_execveat,
                &[directory, text(path), from(&arguments), 0, flags],
            );
            see("refused", refused);
            0
        })
        .wait()
    };
    let nofollow = libc::AT_SYMLINK_NOFOLLOW;
    let absolute = work().join("to_true").into_os_string().into_encoded_bytes();
    let absolute = CString::new(absolute).expect("no NUL");
    for path in [&c"to_true".to_owned(), &absolute] {
        see("a link", run(CWD, path, 0));
        see("not followed", run(CWD, path, nofollow));
    }
    see("a file", run(CWD, &c"/bin/true".to_owned(), nofollow));
    for (name, closes) in [("closing", libc::O_CLOEXEC), ("staying", 0)] {
        let opened = |path: &std::ffi::CStr| {
            let flags = u64::try_from(closes).expect("positive");
            call(libc::SYS_open, &[text(path), flags, 0]).expect("there")
        };
        let (directory, script) = (opened(c"."), opened(c"script"));
        see(name, run(directory, &c"script".to_owned(), 0));
        see(name, run(script, &c"".to_owned(), libc::AT_EMPTY_PATH));
    }
}

/// What is made is made by one step, for who watches.
fn quiet() {
    fs::create_dir("watched").expect("made");
    let watch = call(libc::SYS_inotify_init1, &[0o4000]).expect("a descriptor");
    call(
        libc::SYS_inotify_add_watch,
        &[watch, text(c"watched"), 0xfff],
    )
    .expect("watched");
    // A watch of no event, by a flag alone.
    let other = call(libc::SYS_inotify_init1, &[0]).expect("a descriptor");
    let flag = u64::from(libc::IN_DONT_FOLLOW);
    let none = call(
        libc::SYS_inotify_add_watch,
        &[other, text(c"watched"), flag],
    );
    see("no event", none);
    call(libc::SYS_mknod, &[text(c"watched/file"), 0o100_000, 0]).expect("made");
    let mut room = [0_u8; 512];
    let got = call(libc::SYS_read, &[watch, out(&mut room), 512]);
    see("events", got);
    see(
        "mask",
        u32::from_ne_bytes([room[4], room[5], room[6], room[7]]),
    );
    let mut rest = String::new();
    let file = fs::File::open("watched/file");
    see("mode", fs::metadata("watched/file").expect("there").mode());
    see(
        "read",
        file.map(|mut file| file.read_to_string(&mut rest)).is_ok(),
    );
    libc_result(0).expect("nothing");
}

/// Calls that the kernel has no more.
fn obsolete() {
    // create_module, get_kernel_syms, query_module, nfsservctl.
    for nr in [174, 177, 178, 180] {
        see(&nr.to_string(), call(nr, &[0; 6]));
    }
}

/// Flags of process_vm_readv(2) are refused first; a message is not copied in part.
fn copies() {
    let part = [0_u64, 0];
    for pid in [0, own()] {
        let call = call(
            libc::SYS_process_vm_readv,
            &[pid, from(&part), 1, from(&part), 1, 10],
        );
        see("flags", call);
    }
    let queue = call(libc::SYS_msgget, &[0, 0o600]).expect("a queue");
    let message = [1_u64, 2];
    call(libc::SYS_msgsnd, &[queue, from(&message), 8, 0]).expect("sent");
    let copy = |size: u64, more: i32| {
        let mut room = [0_u64; 2];
        let flags = libc::MSG_COPY | libc::IPC_NOWAIT | more;
        let flags = u64::try_from(flags).expect("positive");
        call(libc::SYS_msgrcv, &[queue, out(&mut room), size, 0, flags])
    };
    see("whole", copy(8, 0));
    see("too small", copy(7, 0));
    see("cut", copy(7, libc::MSG_NOERROR));
    call(libc::SYS_msgctl, &[queue, 0, 0]).expect("its own");
}

/// SIOCGSTAMP, before and after a packet.
fn times_of_packets() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let told = || {
        let mut time = [0_i64; 2];
        let told = call(libc::SYS_ioctl, &[number(&socket), 0x8906, out(&mut time)]);
        (told, std::hint::black_box(time) != [0; 2])
    };
    see("nothing yet", told());
    let own = socket.local_addr().expect("bound");
    socket.send_to(b"x", own).expect("sent");
    socket.recv(&mut [0]).expect("received");
    see("received", told());
}
