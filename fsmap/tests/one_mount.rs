//! The resolver over one mount against the kernel's own walk, `openat2(RESOLVE_IN_ROOT)`.
#![expect(clippy::unwrap_used, reason = "a test's own set-up fails loudly")]

mod common;

use common::kernel_unsafe::{identity, open_in_root};
use common::random::{build, make, wild};
use common::{Kernel, path_of};
use picozone_fsmap::{Bounds, Error, Last, MountRow, Mounts, PathBuf, Resolved, resolve};
use proptest::prelude::*;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

struct Zone {
    _dir: tempfile::TempDir,
    rows: [MountRow; 1],
}

impl Zone {
    fn new(fill: impl FnOnce(&Path)) -> Zone {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("root");
        fs::create_dir(&root).unwrap();
        // Whoever gets out finds these.
        fs::write(root.with_file_name("a"), "outside").unwrap();
        fs::create_dir(root.with_file_name("b")).unwrap();
        fill(&root);
        let rows = [MountRow::new(b"/", root.as_os_str().as_bytes()).unwrap()];
        Zone { _dir: dir, rows }
    }

    /// Compares with the kernel: what is found or the errno, the canonical path, and what a creating
    /// open would make.
    fn compare(&self, path: &[u8], last: Last) {
        let mut kernel = Kernel::new(&self.rows);
        let mut at = PathBuf::new();
        let ours = resolve(
            &Mounts(&self.rows),
            &mut kernel,
            &Bounds::default(),
            &mut at,
            path,
            last,
        );
        assert_eq!(kernel.opened, kernel.closed);
        let nofollow = if last == Last::NoFollow {
            libc::O_NOFOLLOW
        } else {
            0
        };
        let c_path = CString::new(path).unwrap();
        let theirs = open_in_root(&kernel.tops[0], &c_path, libc::O_PATH | nofollow);
        let context = format!("{} {last:?}", path.escape_ascii());
        match (&ours, &theirs) {
            (Ok(found), Ok(node)) => {
                assert!(found.exists, "{context}");
                let ours = kernel.open(0, &rel(&at, found), libc::O_PATH | libc::O_NOFOLLOW);
                let ours = ours.unwrap_or_else(|error| panic!("{context}: {error:?}"));
                assert_eq!(identity(&ours), identity(node), "{context}");
                let is_dir = identity(node).2 & libc::S_IFMT == libc::S_IFDIR;
                assert!(is_dir || !found.must_be_dir, "{context}");
                let mut zone = PathBuf::new();
                assert!(Mounts(&self.rows).to_zone(&path_of(node).unwrap(), &mut zone));
                assert_eq!(zone, at, "{context}");
            }
            (Ok(found), Err(error)) => {
                assert_eq!((found.exists, *error), (false, Error::ENOENT), "{context}");
                self.compare_creation(&kernel, &c_path, &at, found, last);
            }
            // A loop that grows with each turn: the buffer is full before the links are counted.
            (Err(Error::ENAMETOOLONG), Err(Error::ELOOP)) => {}
            (Err(ours), Err(theirs)) => assert_eq!(ours, theirs, "{context}"),
            (Err(error), Ok(_)) => panic!("{context}: {error:?}, but the kernel finds it"),
        }
    }

    /// What is missing is missing at the place where O_CREAT makes it.
    fn compare_creation(
        &self,
        kernel: &Kernel<'_>,
        path: &CString,
        at: &PathBuf,
        found: &Resolved,
        last: Last,
    ) {
        let exclusive = if last == Last::NoFollow {
            libc::O_EXCL
        } else {
            0
        };
        let flags = libc::O_CREAT | libc::O_WRONLY | exclusive;
        match open_in_root(&kernel.tops[0], path, flags) {
            Ok(made) => {
                let rel = rel(at, found);
                let ours = kernel.open(0, &rel, libc::O_PATH | libc::O_NOFOLLOW);
                let ours = ours.unwrap_or_else(|error| {
                    panic!("{path:?} is made elsewhere than {at:?}: {error:?}")
                });
                assert_eq!(identity(&ours), identity(&made), "{path:?}");
                assert!(!found.must_be_dir, "{path:?}");
                let host = path_of(&made).unwrap();
                fs::remove_file(std::ffi::OsStr::from_bytes(&host)).unwrap();
            }
            // A name of 256 bytes and the like never come here: they failed before.
            Err(error) => assert_eq!(
                (i32::from(error.0), found.must_be_dir),
                (libc::EISDIR, true),
                "{path:?}"
            ),
        }
    }

    fn compare_all(&self, path: &str) {
        for last in [Last::Follow, Last::NoFollow] {
            self.compare(path.as_bytes(), last);
            self.compare(format!("{path}/").as_bytes(), last);
        }
    }
}

fn rel(at: &PathBuf, found: &Resolved) -> PathBuf {
    let rest = &at.as_bytes()[found.rel..];
    PathBuf::from_bytes(if rest.is_empty() { b"." } else { rest }).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn walks_as_the_kernel_does(makes in prop::collection::vec(make(), 1..40), paths in prop::collection::vec(wild(), 40)) {
        let zone = Zone::new(|root| drop(build(root, &makes)));
        for path in &paths {
            zone.compare_all(path);
        }
    }
}

/// A chain of `count` links that ends at a directory.
fn chain(root: &Path, count: usize) {
    fs::create_dir(root.join("end")).unwrap();
    symlink("end", root.join("l1")).unwrap();
    for number in 2..=count {
        symlink(format!("l{}", number - 1), root.join(format!("l{number}"))).unwrap();
    }
}

#[test]
fn forty_links_pass_and_one_more_does_not() {
    let zone = Zone::new(|root| chain(root, 42));
    for number in 38..=42 {
        zone.compare_all(&format!("/l{number}"));
        zone.compare_all(&format!("l{number}/../l1"));
    }
    let mut at = PathBuf::new();
    let found = resolve(
        &Mounts(&zone.rows),
        &mut Kernel::new(&zone.rows),
        &Bounds::default(),
        &mut at,
        b"l41",
        Last::Follow,
    );
    assert_eq!(found, Err(Error::ELOOP));
}

#[test]
fn loops_end() {
    let zone = Zone::new(|root| {
        symlink("self", root.join("self")).unwrap();
        symlink("there", root.join("back")).unwrap();
        symlink("/back", root.join("there")).unwrap();
        symlink("../up/./x", root.join("up")).unwrap();
        symlink("more/more", root.join("more")).unwrap();
    });
    for path in [
        "self",
        "/self/x",
        "back",
        "there/..",
        "up",
        "more",
        "more/more/more",
    ] {
        zone.compare_all(path);
    }
}

#[test]
fn long_names_and_paths() {
    let zone = Zone::new(|root| {
        fs::write(root.join("file"), "").unwrap();
        fs::create_dir(root.join("dir")).unwrap();
        symlink("x".repeat(256), root.join("long")).unwrap();
        symlink(format!("dir/{}", "./".repeat(2000)), root.join("dots")).unwrap();
        symlink("y".repeat(4095), root.join("longest")).unwrap();
    });
    let name = "n".repeat(256);
    for path in [
        name.clone(),
        format!("dir/{name}"),
        // A file is no directory, whatever name follows.
        format!("file/{name}"),
        format!("gone/{name}"),
        "long".into(),
        "longest".into(),
        "dots".into(),
        "dots/dots".into(),
        // The kernel's own limit, just met and just missed.
        "./".repeat(2047),
        format!("{}x", "./".repeat(2047)),
        "./".repeat(2048),
        "/".repeat(4095),
        "/".repeat(4096),
    ] {
        for last in [Last::Follow, Last::NoFollow] {
            zone.compare(path.as_bytes(), last);
        }
    }
}

#[test]
fn odd_paths() {
    let zone = Zone::new(|root| {
        fs::create_dir_all(root.join("d/e")).unwrap();
        fs::write(root.join("f"), "").unwrap();
        symlink("/f/", root.join("slashed")).unwrap();
        symlink("d/", root.join("to_dir")).unwrap();
        symlink("d/.", root.join("to_dot")).unwrap();
        symlink("..", root.join("d/parent")).unwrap();
        symlink("../../../../f", root.join("d/e/far")).unwrap();
        symlink("/", root.join("root")).unwrap();
        symlink("/..", root.join("above")).unwrap();
        symlink("to_dir", root.join("twice")).unwrap();
        symlink("gone", root.join("dangling")).unwrap();
        symlink("gone/", root.join("dangling_dir")).unwrap();
        symlink("d/gone", root.join("dangling_below")).unwrap();
    });
    for path in [
        "",
        "/",
        "//",
        ".",
        "..",
        "/..",
        "../..",
        "/./",
        "f",
        "f/.",
        "f/..",
        "f/../d",
        "slashed",
        "to_dir",
        "to_dot",
        "twice",
        "twice/e",
        "to_dir/../f",
        "d/parent",
        "d/parent/f",
        "d/e/far",
        "root",
        "root/root/root/d",
        "above",
        "above/a",
        "../a",
        "../b",
        "dangling",
        "dangling_dir",
        "dangling_below",
        "dangling/x",
        "dangling/..",
        "gone",
        "gone/.",
        "gone/..",
        "gone/x",
        "d/.",
        "d/..",
        "d//e",
        "//d///e",
        "d/e/../../..//d",
        "root/../d/./e/..",
    ] {
        if path.is_empty() {
            zone.compare(b"", Last::Follow);
        } else {
            zone.compare_all(path);
        }
    }
}

#[test]
fn directories_that_may_not_be_searched() {
    let zone = Zone::new(|root| {
        fs::create_dir_all(root.join("d/e")).unwrap();
        symlink("d/e", root.join("l")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(root.join("d"), mode).unwrap();
    });
    // For root the kernel finds it, for others it is EACCES: the same on both sides.
    for path in ["d", "d/e", "d/gone", "l", "d/..", "d/."] {
        for last in [Last::Follow, Last::NoFollow] {
            zone.compare(path.as_bytes(), last);
        }
    }
}
