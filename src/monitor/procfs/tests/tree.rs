//! The tree as a whole, the files that belong to no process, and the skeleton on disk.

use super::*;
use crate::monitor::procfs::skeleton::{PLACEHOLDER, Skeleton};
use crate::monitor::procfs::{Entry, Kind};
use nix::errno::Errno as Os;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use std::os::fd::AsFd;
use std::sync::Arc;

/// Visits everything that is listed.
fn visit(view: &dyn View, path: &str, seen: &mut usize) {
    let Ok(Node::Dir { entries, .. }) = lookup(view, caller(), path.as_bytes(), Last::Follow)
    else {
        panic!("{path} is a directory");
    };
    let mut names: Vec<_> = entries.iter().map(|entry| &entry.name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), entries.len(), "no name twice in {path}");
    for Entry { name, kind } in entries {
        let name = String::from_utf8(name).expect("text");
        let below = if path.is_empty() {
            name
        } else {
            format!("{path}/{name}")
        };
        *seen += 1;
        let attributes = match stat(view, caller(), below.as_bytes(), Last::NoFollow) {
            Ok(Stated::Attr(attributes)) => attributes,
            // Other tests open descriptors and end threads meanwhile.
            Err(libc::ENOENT | libc::ESRCH) if below.contains("fd") || below.contains("task") => {
                continue;
            }
            other => panic!("{below}: {other:?}"),
        };
        let expected = match kind {
            Kind::Dir | Kind::Mount => libc::S_IFDIR,
            Kind::File => libc::S_IFREG,
            Kind::Link => libc::S_IFLNK,
            Kind::Device => libc::S_IFCHR,
            Kind::Socket => libc::S_IFSOCK,
        };
        assert_eq!(attributes.mode & libc::S_IFMT, expected, "{below}");
        let node = lookup(view, caller(), below.as_bytes(), Last::NoFollow);
        match (kind, node) {
            (_, Err(libc::ENOENT | libc::ESRCH))
                if below.contains("fd") || below.contains("task") => {}
            (Kind::Dir, Ok(Node::Dir { .. })) if below.starts_with("1/task/") && *seen > 3000 => {}
            (Kind::Dir, Ok(Node::Dir { .. })) => visit(view, &below, seen),
            (Kind::File, Ok(Node::Bytes(_) | Node::Setting(..) | Node::Host(_)))
            | (Kind::Link, Ok(Node::Link(_))) => {}
            (kind, other) => panic!("{below}, {kind:?}: {other:?}"),
        }
    }
}

#[test]
fn everything_that_is_listed_is_there() {
    let view = Fake::default();
    let guest = Guest::start();
    view.add(7, guest.pid());
    let mut seen = 0;
    visit(&view, "7", &mut seen);
    visit(&view, "sys", &mut seen);
    assert!(seen > 200, "{seen}");
    for name in names(&view, "") {
        assert!(
            stat(&view, caller(), name.as_bytes(), Last::NoFollow).is_ok(),
            "{name}"
        );
    }
}

#[test]
fn inode_numbers_last_and_differ() {
    let view = Fake::default();
    let ino = |path| attr(&view, path).unwrap().ino;
    assert_eq!(ino("1/stat"), ino("1//./stat"));
    assert_eq!(ino("self/stat"), ino("1/stat"));
    assert_ne!(ino("1/stat"), ino("1/status"));
    assert_ne!(ino(""), ino("sys"));
    assert_eq!(attr(&view, "").unwrap().mode, libc::S_IFDIR | 0o555);
}

#[test]
fn system_files() {
    let view = Fake::default();
    assert_eq!(text(&view, "sys/kernel/hostname"), "web1\n");
    assert_eq!(text(&view, "sys/kernel/pid_max"), "32768\n");
    assert_eq!(
        text(&view, "sys/net/ipv4/ip_unprivileged_port_start"),
        "0\n"
    );
    for name in [
        "meminfo",
        "cpuinfo",
        "version",
        "stat",
        "uptime",
        "loadavg",
        "sys/kernel/ostype",
    ] {
        assert!(matches!(open(&view, name), Ok(Node::Host(_))), "{name}");
        assert!(!read(&view, name).unwrap().is_empty(), "{name}");
    }
    assert!(text(&view, "filesystems").contains("nodev\tproc\n"));
    assert!(!text(&view, "filesystems").contains("fuse"));
    assert!(text(&view, "swaps").starts_with("Filename"));
    assert_eq!(text(&view, "swaps").lines().count(), 1);
    let id = text(&view, "sys/kernel/random/boot_id");
    assert_eq!(
        id.trim().split('-').map(str::len).collect::<Vec<_>>(),
        [8, 4, 4, 4, 12],
        "{id}"
    );
    assert_eq!(id, text(&view, "sys/kernel/random/boot_id"));
    assert_ne!(
        id,
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap()
    );
    let Ok(Node::Host(file)) = open(&view, "sys/vm/swappiness") else {
        panic!("it is passed")
    };
    assert_eq!(
        file.open(OFlag::O_WRONLY).err(),
        Some(libc::EACCES),
        "the setting is the host's"
    );
}

#[test]
fn locks_of_the_zone_only() {
    use nix::fcntl::{FcntlArg, fcntl};
    let view = Fake::default();
    let file = tempfile::NamedTempFile::new().unwrap();
    let lock = libc::flock {
        l_type: i16::try_from(libc::F_WRLCK).unwrap(),
        l_whence: 0,
        l_start: 5,
        l_len: 10,
        l_pid: 0,
    };
    fcntl(file.as_file(), FcntlArg::F_SETLK(&lock)).unwrap();
    let description = tempfile::NamedTempFile::new().unwrap();
    fcntl(description.as_file(), FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    let shown = text(&view, "locks");
    let is_own =
        |line: &str| line.contains(": OFDLCK ADVISORY  WRITE -1 ") && line.ends_with(" 5 14");
    assert!(shown.lines().any(is_own), "{shown}");
    let fd = std::os::fd::AsRawFd::as_raw_fd(description.as_file());
    assert!(text(&view, &format!("self/fdinfo/{fd}")).contains("OFDLCK ADVISORY  WRITE -1 "));
    assert!(
        shown
            .lines()
            .any(|line| line.contains(": POSIX  ADVISORY  WRITE 1 ") && line.ends_with(" 5 14")),
        "{shown}"
    );
    view.remove(1);
    view.add(7, Guest::start().pid());
    assert_eq!(read(&view, "locks"), Ok(Vec::new()));
}

#[test]
fn the_mount_table_names_parents_and_escapes() {
    let view = Fake::default();
    let expected = "21 1 8:1 / / rw,nosuid - ext4 zone rw\n\
                    25 21 0:20 / /proc rw,nosuid - proc zone rw\n\
                    24 21 0:21 / /dev rw,nosuid - devtmpfs zone rw\n\
                    28 24 0:22 / /dev/shm rw,nosuid - tmpfs zone rw\n\
                    35 21 8:1 / /srv/with\\040blank rw,nosuid - ext4 zone rw\n";
    assert_eq!(text(&view, "self/mountinfo"), expected);
    assert!(text(&view, "self/mounts").ends_with("zone /srv/with\\040blank ext4 rw,nosuid 0 0\n"));
    assert!(
        text(&view, "self/mountstats").starts_with("device zone mounted on / with fstype ext4\n")
    );
}

fn entries(names: &[(&str, Kind)]) -> Vec<Entry> {
    names
        .iter()
        .map(|&(name, kind)| Entry {
            name: name.into(),
            kind,
        })
        .collect()
}

fn on_disk(path: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() {
                name + "/"
            } else {
                name
            }
        })
        .collect();
    names.sort();
    names
}

#[test]
fn the_skeleton_follows_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("proc");
    let skeleton = Skeleton::open(&base).unwrap();
    let first = entries(&[
        ("1", Kind::Dir),
        ("77", Kind::Dir),
        ("stat", Kind::File),
        ("self", Kind::Link),
    ]);
    skeleton.dir(b"", &first).unwrap();
    let top = base.join(",");
    assert_eq!(on_disk(&top), ["1", "77", "self", "stat"]);
    assert_eq!(
        std::fs::read_link(top.join("stat")).unwrap().to_str(),
        Some(PLACEHOLDER)
    );
    let inner = skeleton
        .dir(b"77/fd", &entries(&[("0", Kind::Link)]))
        .unwrap();
    assert_eq!(on_disk(&base.join(",77,fd")), ["0"]);
    // A process ends, another begins; a name changes its kind.
    skeleton
        .dir(
            b"",
            &entries(&[("1", Kind::Link), ("78", Kind::Dir), ("stat", Kind::Dir)]),
        )
        .unwrap();
    assert_eq!(on_disk(&top), ["1", "78", "stat"]);
    assert_eq!(
        nix::sys::stat::fstat(&inner).unwrap().st_nlink,
        0,
        "a guest in there is in a dead directory"
    );
    let ino = |name: &str| nix::sys::stat::lstat(&top.join(name)).unwrap().st_ino;
    let shown = |name: &str| {
        let held = skeleton.placeholders().iter();
        held.filter(|held| held.ino == ino(name))
            .map(|held| u8::try_from(held.shown).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(shown("1"), [libc::DT_LNK]);
    assert_eq!(shown("stat"), [libc::DT_DIR]);
    for bad in ["", ".", "..", "a/b", "a,b"] {
        assert_eq!(
            skeleton.dir(b"", &entries(&[(bad, Kind::File)])).err(),
            Some(libc::EINVAL),
            "{bad:?}"
        );
    }
    assert_eq!(skeleton.dir(b"..", &[]).err(), Some(libc::EINVAL));
    assert_eq!(skeleton.dir(b"a,b", &[]).err(), Some(libc::EINVAL));
    // A later boot finds what an earlier one left.
    let skeleton = Skeleton::open(&base).unwrap();
    skeleton
        .dir(b"", &entries(&[("stat", Kind::File)]))
        .unwrap();
    assert_eq!(on_disk(&top), ["stat"]);
}

#[test]
fn no_name_in_the_skeleton_can_be_walked() {
    let dir = tempfile::tempdir().unwrap();
    let skeleton = Skeleton::open(dir.path()).unwrap();
    let top = skeleton
        .dir(b"", &entries(&[("stat", Kind::File), ("1", Kind::Dir)]))
        .unwrap();
    skeleton.dir(b"1", &entries(&[("fd", Kind::Dir)])).unwrap();
    let walk = |path: &str| {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH)
            .resolve(ResolveFlag::RESOLVE_BENEATH);
        openat2(top.as_fd(), path, how).err()
    };
    for name in ["stat", "stat/x", "1", "1/", "1/fd", "..", "../,1"] {
        assert_eq!(walk(name), Some(Os::EXDEV), "{name}");
    }
    assert_eq!(walk("2"), Some(Os::ENOENT), "never asked for");
}

#[test]
fn a_directory_on_disk_has_the_path_that_the_zone_knows() {
    use picozone_fsmap::{MountRow, Mounts, PathBuf, kind};
    use picozone_personality::layout::DIRECTORY_MODE;
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().canonicalize().unwrap();
    let skeleton = Skeleton::open(&base).unwrap();
    let mut row = MountRow::new(
        b"/proc",
        std::os::unix::ffi::OsStrExt::as_bytes(base.as_os_str()),
    )
    .unwrap();
    row.kind = kind::MONITOR;
    let rows = [row];
    for (path, expected) in [
        ("", "/proc"),
        ("7", "/proc/7"),
        ("7/task/9", "/proc/7/task/9"),
    ] {
        let directory = skeleton.dir(path.as_bytes(), &[]).unwrap();
        let mode = nix::sys::stat::fstat(&directory).unwrap().st_mode;
        assert_eq!(mode, DIRECTORY_MODE, "the mark");
        let host = std::fs::read_link(crate::monitor::descriptors::own_path(&directory)).unwrap();
        let host = std::os::unix::ffi::OsStrExt::as_bytes(host.as_os_str()).to_vec();
        let mut zone = PathBuf::new();
        assert!(Mounts(&rows).to_zone(&host, &mut zone));
        assert_eq!(zone.as_bytes(), expected.as_bytes());
        let within = [&host[..], b"/x"].concat();
        assert!(Mounts(&rows).to_zone(&within, &mut zone));
        assert_eq!(zone.as_bytes(), [expected.as_bytes(), b"/x"].concat());
        let deeper = [&within[..], b"/y"].concat();
        assert!(!Mounts(&rows).to_zone(&deeper, &mut zone));
    }
}

#[test]
fn the_skeleton_is_safe_for_several_threads() {
    let dir = tempfile::tempdir().unwrap();
    let skeleton = Arc::new(Skeleton::open(dir.path()).unwrap());
    let threads: Vec<_> = (0..4)
        .map(|at| {
            let skeleton = Arc::clone(&skeleton);
            std::thread::spawn(move || {
                for round in 0..50 {
                    let name = format!("{}", (at + round) % 7);
                    let kind = if round % 2 == 0 {
                        Kind::Dir
                    } else {
                        Kind::File
                    };
                    skeleton
                        .dir(b"", &entries(&[(&name, kind), ("self", Kind::Link)]))
                        .unwrap();
                    skeleton
                        .dir(name.as_bytes(), &entries(&[("fd", Kind::Dir)]))
                        .unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
}
