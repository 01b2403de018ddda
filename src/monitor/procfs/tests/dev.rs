//! `/dev`.

use super::*;
use crate::monitor::devfs;
use nix::fcntl::OFlag;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

fn dev(view: &dyn View, path: &str) -> Result<Node, Errno> {
    devfs::lookup(view, caller(), path.as_bytes(), Last::Follow)
}

fn attr(view: &dyn View, path: &str) -> super::super::Attr {
    match devfs::stat(view, path.as_bytes(), Last::NoFollow) {
        Ok(Stated::Attr(attr)) => attr,
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn harmless_devices_are_the_hosts() {
    let view = Fake::default();
    for name in ["null", "zero", "full", "random", "urandom"] {
        let Ok(Node::Device(path)) = dev(&view, name) else {
            panic!("{name} is a device")
        };
        let host = std::fs::metadata(&path).unwrap();
        assert!(host.file_type().is_char_device());
        let attr = attr(&view, name);
        assert_eq!(
            (attr.mode, attr.rdev),
            (libc::S_IFCHR | 0o666, host.rdev()),
            "{name}"
        );
    }
    assert!(matches!(dev(&view, "ptmx"), Ok(Node::Ptmx)));
    assert!(matches!(dev(&view, "pts/ptmx"), Ok(Node::Ptmx)));
    assert_eq!(attr(&view, "tty").rdev, libc::makedev(5, 0));
    let Ok(Node::Dir { entries, .. }) = dev(&view, "") else {
        panic!("a directory")
    };
    for entry in entries {
        let name = String::from_utf8(entry.name).unwrap();
        if entry.kind != Kind::Mount {
            assert!(
                devfs::stat(&view, name.as_bytes(), Last::NoFollow).is_ok(),
                "{name}"
            );
        }
    }
}

use super::super::Kind;

#[test]
fn nothing_that_reaches_the_host_exists() {
    let view = Fake::default();
    for name in [
        "mem", "kmem", "port", "kvm", "kmsg", "core", "vda", "sda", "fuse", "loop0", "tty0",
        "console", "log", "net/tun", "pts/0", "..", "shm", "shm/x",
    ] {
        assert_eq!(errno(dev(&view, name)), libc::ENOENT, "{name}");
        assert_eq!(
            errno(devfs::stat(&view, name.as_bytes(), Last::Follow)),
            libc::ENOENT,
            "{name}"
        );
    }
    for name in ["null/", "null/x", "ptmx/x", "tty/."] {
        assert_eq!(errno(dev(&view, name)), libc::ENOTDIR, "{name}");
    }
}

#[test]
fn links_lead_to_proc() {
    let view = Fake::default();
    let elsewhere = |path: &str| match dev(&view, path) {
        Ok(Node::Elsewhere(path)) => String::from_utf8(path).unwrap(),
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(elsewhere("fd"), "/proc/self/fd");
    assert_eq!(elsewhere("fd/3/x"), "/proc/self/fd/3/x");
    assert_eq!(elsewhere("fd/"), "/proc/self/fd/");
    assert_eq!(elsewhere("stdin"), "/proc/self/fd/0");
    let Ok(Node::Link(text)) = devfs::lookup(&view, caller(), b"stderr", Last::NoFollow) else {
        panic!("a link")
    };
    assert_eq!(text, b"/proc/self/fd/2");
    assert_eq!(attr(&view, "stderr").size, 15);
}

#[test]
fn terminals_of_the_zone_only() {
    let mut view = Fake::default();
    let master = nix::pty::posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY).unwrap();
    nix::pty::grantpt(&master).unwrap();
    nix::pty::unlockpt(&master).unwrap();
    let name = nix::pty::ptsname_r(&master).unwrap();
    let number: u32 = name.strip_prefix("/dev/pts/").unwrap().parse().unwrap();
    let path = format!("pts/{number}");
    assert_eq!(errno(dev(&view, &path)), libc::ENOENT);
    let slave = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&name);
    let slave =
        slave.expect("a terminal of ours; it does not become the controlling one of a test");
    let link = |view: &Fake| {
        readlink(
            view,
            &format!("self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&slave)),
        )
    };
    assert_eq!(link(&view).unwrap(), "(unreachable)");
    view.ptys = vec![number];
    assert_eq!(link(&view).unwrap(), name);
    let Ok(Node::Device(host)) = dev(&view, &path) else {
        panic!("a device")
    };
    assert_eq!(host.to_str(), Some(name.as_str()));
    let attr = attr(&view, &path);
    assert_eq!(attr.mode, libc::S_IFCHR | 0o620);
    assert_eq!(libc::major(attr.rdev), 136);
    let Ok(Node::Dir { entries, .. }) = dev(&view, "pts") else {
        panic!("a directory")
    };
    let names: Vec<_> = entries
        .into_iter()
        .map(|entry| String::from_utf8(entry.name).unwrap())
        .collect();
    assert_eq!(names, [number.to_string(), "ptmx".to_owned()]);
    assert_eq!(errno(dev(&view, &format!("pts/0{number}"))), libc::ENOENT);
}

#[test]
fn the_controlling_terminal_must_be_the_zones() {
    // Whether or not the tests have a terminal: it is the host's.
    let view = Fake::default();
    assert_eq!(errno(dev(&view, "tty")), libc::ENXIO);
}
