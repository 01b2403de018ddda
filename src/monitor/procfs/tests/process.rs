//! Files of processes and threads.

use super::*;
use crate::monitor::procfs::StatLine;
use nix::fcntl::OFlag;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use picozone_personality::capabilities::Capabilities;
use picozone_personality::layout::THREAD_BIAS;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::channel;

fn host(pid: u32, name: &str) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/{name}")).expect("the host has it")
}

fn fields(line: &[u8]) -> Vec<String> {
    let line = String::from_utf8_lossy(line).into_owned();
    let (head, tail) = line.rsplit_once(')').expect("a name");
    let (pid, name) = head.split_once(" (").expect("a name");
    [pid, name]
        .into_iter()
        .chain(tail.split_whitespace())
        .map(str::to_owned)
        .collect()
}

#[test]
fn stat_is_the_hosts_with_the_zones_numbers() {
    let view = Fake::default();
    let guest = Guest::start();
    view.add(7, guest.pid());
    let (zone, host) = (
        fields(&read(&view, "7/stat").unwrap()),
        fields(&host(guest.pid(), "stat")),
    );
    assert_eq!(zone.len(), host.len());
    for (at, (zone, host)) in zone.iter().zip(&host).enumerate() {
        match at + 1 {
            1 => assert_eq!(zone, "7"),
            4 => assert_eq!(zone, "1", "its parent is init"),
            // The group and session belong to who runs the tests, or to the test process itself.
            5 | 6 => assert!(zone == "0" || zone == "1", "{zone}"),
            7 => assert_eq!(zone, "0", "the terminal is not the zone's"),
            8 => assert_eq!(zone, "-1"),
            // Times and faults may have moved on; those of a waiting process rarely do, but may.
            10..=17 | 22.. | 3 => {}
            number => assert_eq!(zone, host, "field {number}"),
        }
    }
    assert_eq!(zone[21], host[21], "start time");
    assert_eq!(zone[1], "cat");
}

#[test]
fn status_has_the_zones_numbers_and_users() {
    let mut view = Fake::default();
    let users = Credentials {
        uid: [33, 33, 33, 33],
        gid: [34, 34, 34, 34],
        groups: vec![4, 24],
        capabilities: Capabilities {
            ambient: 0x400,
            no_new_privs: 1,
            ..Capabilities::NONE
        },
    };
    view.users.insert(7, users);
    let guest = Guest::start();
    view.add(7, guest.pid());
    let zone = text(&view, "7/status");
    let host = String::from_utf8(host(guest.pid(), "status")).unwrap();
    let keys = |text: &str| {
        text.lines()
            .map(|line| line.split(':').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&zone), keys(&host));
    for line in [
        "Name:\tcat\n",
        "Tgid:\t7\n",
        "Pid:\t7\n",
        "PPid:\t1\n",
        "TracerPid:\t0\n",
        "NSpid:\t7\n",
        "Uid:\t33\t33\t33\t33\n",
        "Gid:\t34\t34\t34\t34\n",
        "Groups:\t4 24 \n",
        "CapEff:\t0000000000000000\n",
        "CapBnd:\t000001fffeffffff\n",
        "CapAmb:\t0000000000000400\n",
        "NoNewPrivs:\t1\n",
        "Seccomp:\t0\n",
        "Threads:\t1\n",
    ] {
        assert!(zone.contains(line), "{line:?} in {zone}");
    }
    assert!(text(&view, "1/status").contains("CapEff:\t000001fffeffffff\n"));
    assert!(
        text(&view, "1/status").contains("PPid:\t0\n"),
        "init's parent is outside"
    );
}

#[test]
fn passed_files_are_the_hosts() {
    let view = Fake::default();
    let guest = Guest::start();
    view.add(7, guest.pid());
    for name in [
        "cmdline",
        "comm",
        "environ",
        "limits",
        "statm",
        "oom_score_adj",
        "io",
        "personality",
    ] {
        assert_eq!(
            read(&view, &format!("7/{name}")),
            Ok(host(guest.pid(), name)),
            "{name}"
        );
    }
    assert_eq!(text(&view, "7/cgroup"), "0::/\n");
    assert_eq!(text(&view, "7/cmdline"), "cat\0-\0");
    assert!(text(&view, "7/sched").starts_with("cat (7, #threads: 1)\n"));
}

#[test]
fn self_is_the_caller_and_its_thread() {
    let view = Fake::default();
    assert_eq!(readlink(&view, "self"), Ok("1".to_owned()));
    let thread = caller().0 + THREAD_BIAS;
    assert_eq!(
        readlink(&view, "thread-self"),
        Ok(format!("1/task/{thread}")),
        "a test is no leader"
    );
    assert_eq!(readlink(&view, "mounts"), Ok("self/mounts".to_owned()));
    assert!(text(&view, "self/status").contains("Pid:\t1\n"));
    let status = text(&view, "thread-self/status");
    assert!(
        status.contains(&format!("Pid:\t{thread}\n")) && status.contains("Tgid:\t1\n"),
        "{status}"
    );
    assert!(text(&view, "mounts").starts_with("zone / ext4 rw,nosuid 0 0\n"));
    assert!(text(&view, "net/tcp").contains("local_address"));
    // Found by number, though not listed.
    assert!(text(&view, &format!("{thread}/stat")).starts_with(&format!("{thread} (")));
    assert!(!names(&view, "").contains(&thread.to_string()));
    view.remove(1);
    assert_eq!(errno(readlink(&view, "self")), libc::ENOENT);
}

#[test]
fn names_of_threads_may_hold_anything() {
    let view = Fake::default();
    let (told, tid) = channel();
    let (end, ended) = channel::<()>();
    let thread = std::thread::spawn(move || {
        nix::sys::prctl::set_name(c") R (1\n 2").expect("a name");
        told.send(caller()).expect("the test listens");
        let _ = ended.recv();
    });
    let host = tid.recv().expect("a thread id");
    let number = host.0 + THREAD_BIAS;
    let line = read(&view, &format!("1/task/{number}/stat")).unwrap();
    let start = format!("{number} () R (1\n 2) ");
    assert!(
        line.starts_with(start.as_bytes()),
        "{}",
        String::from_utf8_lossy(&line)
    );
    assert!(names(&view, "1/task").contains(&number.to_string()));
    assert!(names(&view, "1/task").contains(&"1".to_owned()));
    assert_eq!(
        errno(open(
            &view,
            &format!("1/task/{}", std::process::id() + THREAD_BIAS)
        )),
        libc::ENOENT
    );
    assert_eq!(
        errno(open(&view, &format!("1/task/{number}/task"))),
        libc::ENOENT
    );
    drop(end);
    thread.join().expect("it ends");
    // The kernel wakes who joins a thread a little before it takes the thread off.
    while nix::sys::stat::lstat(format!("/proc/self/task/{host}").as_str()).is_ok() {
        std::thread::yield_now();
    }
    assert_eq!(
        errno(open(&view, &format!("1/task/{number}/stat"))),
        libc::ENOENT
    );
}

#[test]
fn what_is_not_the_zones_does_not_exist() {
    let view = Fake::default();
    let stranger = Guest::start();
    for path in [
        &stranger.pid().to_string(),
        &format!("{}/stat", stranger.pid()),
        &format!("{}/stat", stranger.pid() + THREAD_BIAS),
        &format!("1/task/{}", stranger.pid()),
        &format!("1/task/{}", stranger.pid() + THREAD_BIAS),
        "kcore",
        "kmsg",
        "kallsyms",
        "sysrq-trigger",
        "1/stack",
        "1/syscall",
        "1/map_files",
        "1/clear_refs",
        "01/stat",
        "1x",
        "+1",
        "sys/kernel/core",
        "1/net/nf_conntrack",
        "4294967297",
        "1/fd/x",
        "1/ns/nothing",
        "1/nothing",
        "nothing/else",
    ] {
        assert_eq!(errno(open(&view, path)), libc::ENOENT, "{path}");
        assert_eq!(errno(attr(&view, path)), libc::ENOENT, "{path}");
    }
    for path in [
        "version/x",
        "1/stat/x",
        "1/stat/",
        "version/",
        "1/fdinfo/0/x",
        "sys/kernel/ostype/x",
    ] {
        assert_eq!(errno(open(&view, path)), libc::ENOTDIR, "{path}");
    }
    let listed = names(&view, "");
    assert!(listed.contains(&"1".to_owned()) && !listed.contains(&stranger.pid().to_string()));
}

#[test]
fn zombies_have_files_and_the_dead_have_none() {
    let view = Fake::default();
    let mut child = Command::new("true").spawn().expect("true starts");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).expect("it ends");
    view.add(9, child.id());
    assert!(text(&view, "9/stat").starts_with("9 (true) Z 1 "));
    assert!(text(&view, "9/status").contains("State:\tZ (zombie)\n"));
    assert_eq!(read(&view, "9/cmdline"), Ok(Vec::new()));
    assert_eq!(names(&view, "9/task"), ["9"]);
    // Every name gives some answer.
    for name in names(&view, "9") {
        let _ = lookup(
            &view,
            caller(),
            format!("9/{name}").as_bytes(),
            Last::Follow,
        );
        let _ = readlink_any(&view, &format!("9/{name}"));
        assert!(attr(&view, &format!("9/{name}")).is_ok(), "{name}");
    }
    let Ok(Node::Host(cmdline)) = open(&view, "9/cmdline") else {
        panic!("it is passed")
    };
    child.wait().expect("it is reaped");
    assert!(matches!(
        cmdline.open(OFlag::O_RDONLY),
        Err(libc::ENOENT | libc::ESRCH)
    ));
    assert_eq!(errno(open(&view, "9/stat")), libc::ENOENT);
    view.remove(9);
    assert_eq!(errno(open(&view, "9")), libc::ENOENT);
}

fn readlink_any(view: &dyn View, path: &str) -> Result<Node, Errno> {
    lookup(view, caller(), path.as_bytes(), Last::NoFollow)
}

#[test]
fn other_users_may_not_look_into_a_process() {
    let mut view = Fake::default();
    let user = |id| Credentials {
        uid: [id; 4],
        gid: [id; 4],
        ..Credentials::default()
    };
    view.users.insert(1, user(33));
    view.users.insert(7, user(33));
    view.users.insert(8, user(0));
    let guests = [Guest::start(), Guest::start()];
    view.add(7, guests[0].pid());
    view.add(8, guests[1].pid());
    for name in [
        "environ", "maps", "auxv", "io", "smaps", "fd", "fdinfo", "fd/0", "fdinfo/0", "cwd",
        "root", "exe", "ns",
    ] {
        assert!(
            lookup(
                &view,
                caller(),
                format!("7/{name}").as_bytes(),
                Last::Follow
            )
            .is_ok(),
            "{name}"
        );
        assert_eq!(
            errno(open(&view, &format!("8/{name}"))),
            libc::EACCES,
            "{name}"
        );
    }
    for name in ["exe", "cwd", "ns/net"] {
        assert_eq!(errno(readlink(&view, &format!("8/{name}"))), libc::EACCES);
        assert!(attr(&view, &format!("8/{name}")).is_ok());
    }
    assert_eq!(errno(open(&view, "8/cwd/etc/passwd")), libc::EACCES);
    assert_eq!(errno(attr(&view, "8/fd/0")), libc::EACCES);
    let line = StatLine::parse(&read(&view, "8/stat").unwrap()).unwrap();
    assert_eq!(
        (line.get(26), line.get(28), line.get(47)),
        (Some("1"), Some("0"), Some("0"))
    );
    let line = StatLine::parse(&read(&view, "7/stat").unwrap()).unwrap();
    assert_ne!(line.get(28), Some("0"));
    assert_eq!(
        (attr(&view, "7").unwrap().uid, attr(&view, "8").unwrap().uid),
        (33, 0)
    );
}

#[test]
fn links_are_in_the_zones_terms() {
    let mut view = Fake::default();
    let dir = tempfile::tempdir().unwrap();
    view.shared
        .push((dir.path().to_str().unwrap().to_owned(), "/srv"));
    let file = std::fs::File::create(dir.path().join("page")).unwrap();
    let outside = std::fs::File::open("/etc/passwd").unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let (pipe, _writer) = nix::unistd::pipe().unwrap();
    let memory = |name: &std::ffi::CStr| {
        nix::sys::memfd::memfd_create(name, nix::sys::memfd::MFdFlags::MFD_CLOEXEC).unwrap()
    };
    let content = memory(&crate::monitor::procfs::content_name(
        b"/proc/1/stat",
        Some(HostPid(4_000_000)),
    ));
    let link = |fd: &dyn AsRawFd| readlink(&view, &format!("self/fd/{}", fd.as_raw_fd())).unwrap();
    assert_eq!(link(&file), "/srv/page");
    assert_eq!(link(&outside), "(unreachable)");
    assert_eq!(link(&null), "/dev/null");
    assert!(link(&pipe).starts_with("pipe:["));
    assert_eq!(link(&content), "/proc/1/stat");
    assert_eq!(link(&memory(c"mine")), "/memfd:mine (deleted)");
    assert_eq!(
        link(&std::fs::File::open("/proc/meminfo").unwrap()),
        "/proc/meminfo"
    );
    assert_eq!(
        link(&std::fs::File::open("/proc/self/comm").unwrap()),
        "/proc/1/comm"
    );
    assert_eq!(
        link(
            &std::fs::File::open("/proc/kmsg")
                .or(std::fs::File::open("/proc/kallsyms"))
                .unwrap()
        ),
        "(unreachable)"
    );
    std::fs::remove_file(dir.path().join("page")).unwrap();
    assert_eq!(link(&file), "/srv/page (deleted)");
    assert_eq!(readlink(&view, "self/root").unwrap(), "/");
    assert_eq!(readlink(&view, "self/exe").unwrap(), "/usr/bin/program");
    assert!(
        readlink(&view, "self/ns/pid_for_children")
            .unwrap()
            .starts_with("pid:[4")
    );
    assert_eq!(
        readlink(&view, "1/ns/pid").unwrap(),
        readlink(&view, "1/ns/pid_for_children").unwrap()
    );
    assert!(matches!(open(&view, "1/ns/pid"), Ok(Node::Host(file)) if !file.is_writable()));
    assert_eq!(attr(&view, "1/ns/pid").unwrap().mode, libc::S_IFLNK | 0o777);

    let on_the_way = |path: &str| match open(&view, path) {
        Ok(Node::Elsewhere(path)) => String::from_utf8(path).unwrap(),
        other => panic!("{path}: {other:?}"),
    };
    let below = std::fs::File::open(dir.path()).unwrap();
    assert_eq!(
        on_the_way(&format!("self/fd/{}/a/b", below.as_raw_fd())),
        "/srv/a/b"
    );
    assert_eq!(
        on_the_way(&format!("self/fd/{}/", below.as_raw_fd())),
        "/srv/"
    );
    assert_eq!(on_the_way("self/root/etc"), "//etc");
    assert_eq!(on_the_way("self/exe"), "/usr/bin/program");
    assert_eq!(
        errno(open(&view, &format!("self/fd/{}/x", pipe.as_raw_fd()))),
        libc::ENOTDIR
    );
    assert_eq!(
        errno(open(&view, &format!("self/fd/{}/x", outside.as_raw_fd()))),
        libc::ENOTDIR
    );
}

#[test]
fn objects_are_pinned_and_know_what_the_guest_holds() {
    let mut view = Fake::default();
    let dir = tempfile::tempdir().unwrap();
    view.shared
        .push((dir.path().to_str().unwrap().to_owned(), "/srv"));
    std::fs::write(dir.path().join("page"), "hello").unwrap();
    let object = |path: &str| match open(&view, path) {
        Ok(Node::Object(object)) => object,
        other => panic!("{path}: {other:?}"),
    };
    let file = std::fs::File::open(dir.path().join("page")).unwrap();
    let path = format!("self/fd/{}", file.as_raw_fd());
    let page = object(&path);
    assert_eq!(page.text, b"/srv/page");
    assert!(page.grants(OFlag::O_RDONLY));
    assert!(!page.grants(OFlag::O_RDWR) && !page.grants(OFlag::O_WRONLY));
    assert!(!page.grants(OFlag::O_RDONLY | OFlag::O_TRUNC));
    let mut content = String::new();
    std::fs::File::from(page.reopen(OFlag::O_RDONLY).unwrap())
        .read_to_string(&mut content)
        .unwrap();
    assert_eq!(content, "hello");
    let Ok(Stated::Object(stated)) = stat(&view, caller(), path.as_bytes(), Last::Follow) else {
        panic!("followed")
    };
    let attributes = nix::sys::stat::fstat(&stated.pinned).unwrap();
    assert_eq!(attributes.st_ino, file.metadata().unwrap().ino());

    let (reader, writer) = nix::unistd::pipe().unwrap();
    let pipe = object(&format!("self/fd/{}", reader.as_raw_fd()));
    drop(writer);
    // Blocks in open(2) if asked for plainly: there is no writer.
    let again = pipe.reopen(OFlag::O_RDONLY).unwrap();
    let flags = nix::fcntl::fcntl(&again, nix::fcntl::FcntlArg::F_GETFL).unwrap();
    assert!(!OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = object(&format!("self/fd/{}", socket.as_raw_fd()));
    assert_eq!(socket.reopen(OFlag::O_RDWR).err(), Some(libc::ENXIO));
    let cwd = object("self/cwd");
    assert!(!cwd.grants(OFlag::O_RDONLY));
    assert!(cwd.reopen(OFlag::O_RDONLY | OFlag::O_DIRECTORY).is_ok());
}

#[test]
fn reserved_descriptors_are_hidden() {
    let mut view = Fake::default();
    let (seen, hidden) = (
        std::fs::File::open("/dev/null").unwrap(),
        std::fs::File::open("/dev/null").unwrap(),
    );
    let number = u32::try_from(hidden.as_raw_fd()).unwrap();
    view.hidden_descriptors = number..number + 1;
    for dir in ["self/fd", "self/fdinfo"] {
        let names = names(&view, dir);
        assert!(
            names.contains(&seen.as_raw_fd().to_string()) && !names.contains(&number.to_string())
        );
        assert!(attr(&view, &format!("{dir}/{}", seen.as_raw_fd())).is_ok());
        assert_eq!(errno(attr(&view, &format!("{dir}/{number}"))), libc::ENOENT);
        assert_eq!(errno(open(&view, &format!("{dir}/{number}"))), libc::ENOENT);
        assert_eq!(
            errno(open(&view, &format!("thread-{dir}/{number}"))),
            libc::ENOENT
        );
    }
    assert_eq!(
        attr(&view, &format!("self/fd/{}", seen.as_raw_fd()))
            .unwrap()
            .mode,
        libc::S_IFLNK | 0o500
    );
    assert!(text(&view, &format!("self/fdinfo/{}", seen.as_raw_fd())).contains("flags:\t02"));
}

#[test]
fn the_personality_is_not_in_the_memory_maps() {
    let mut view = Fake::default();
    let guest = Guest::start();
    view.add(7, guest.pid());
    let host_maps = String::from_utf8(host(guest.pid(), "maps")).unwrap();
    assert_eq!(
        text(&view, "7/maps").lines().count(),
        host_maps.lines().count()
    );
    let line = host_maps
        .lines()
        .find(|line| line.contains("/libc"))
        .expect("cat uses the C library");
    let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
    let hidden = u64::from_str_radix(from, 16).unwrap()..u64::from_str_radix(to, 16).unwrap();
    view.hidden_addresses = hidden.clone();
    let maps = text(&view, "7/maps");
    let start = format!("{from}-");
    assert!(!maps.contains(&start));
    assert_eq!(maps.lines().count() + 1, host_maps.lines().count());
    let smaps = text(&view, "7/smaps");
    assert!(!smaps.contains(&start) && smaps.contains("/usr/bin/cat") && smaps.contains("Pss:"));
    let sum: u64 = kb_of(&smaps, "Rss:").iter().sum();
    assert_eq!(kb_of(&text(&view, "7/smaps_rollup"), "Rss:"), [sum]);

    let missing = hidden.end - hidden.start;
    let host_status = String::from_utf8(host(guest.pid(), "status")).unwrap();
    let size = |text: &str| kb_of(text, "VmSize:")[0];
    assert_eq!(
        size(&text(&view, "7/status")) + missing / 1024,
        size(&host_status)
    );
    let pages = |text: &str| text.split(' ').next().unwrap().parse::<u64>().unwrap();
    let host_pages = pages(&String::from_utf8(host(guest.pid(), "statm")).unwrap());
    assert_eq!(pages(&text(&view, "7/statm")) + missing / 4096, host_pages);
    let line = StatLine::parse(&read(&view, "7/stat").unwrap()).unwrap();
    assert_eq!(
        line.get(23),
        Some((host_pages * 4096 - missing).to_string().as_str())
    );
}

fn kb_of(text: &str, key: &str) -> Vec<u64> {
    let values = text
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB"));
    values.map(|kb| kb.trim().parse().unwrap()).collect()
}

#[test]
fn names_can_be_written_by_who_may_look_into_the_process() {
    let mut view = Fake::default();
    let users = Credentials {
        uid: [33; 4],
        gid: [33; 4],
        groups: Vec::new(),
        capabilities: Capabilities::default(),
    };
    view.users.insert(1, users.clone());
    view.users.insert(8, users);
    let guest = Guest::start();
    let own = Guest::start();
    view.add(7, guest.pid());
    view.add(8, own.pid());
    for (path, is_writable) in [
        ("self/comm", true),
        ("thread-self/comm", true),
        ("8/comm", true),
        ("8/mem", true),
        ("7/comm", false),
        ("8/cmdline", false),
    ] {
        let Ok(Node::Host(file)) = open(&view, path) else {
            panic!("{path} is passed")
        };
        assert_eq!(file.is_writable(), is_writable, "{path}");
        assert_eq!(
            file.open(OFlag::O_WRONLY).err(),
            (!is_writable).then_some(libc::EACCES)
        );
    }
    assert_eq!(errno(open(&view, "7/mem")), libc::EACCES);
}
