//! The walk from a root directory of one's own: as the kernel has it with that directory as root.
#![expect(clippy::unwrap_used, reason = "a test's own set-up fails loudly")]

mod common;

use common::Kernel;
use common::kernel_unsafe::{identity, open_in_root};
use common::random::{build, make, wild};
use picozone_fsmap::{Bounds, Error, Last, MountRow, Mounts, PathBuf, resolve};
use proptest::prelude::*;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

const ROOT: &str = "/own/root";

/// A tree whose `own/root` is filled by `fill`.
fn tree(fill: impl FnOnce(&Path)) -> (tempfile::TempDir, [MountRow; 1]) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let own = root.join(ROOT.trim_start_matches('/'));
    fs::create_dir_all(&own).unwrap();
    fill(&own);
    let rows = [MountRow::new(b"/", root.as_os_str().as_bytes()).unwrap()];
    (dir, rows)
}

fn compare(rows: &[MountRow], path: &str, last: Last) {
    let mut kernel = Kernel::new(rows);
    let mut at = PathBuf::from_bytes(ROOT.as_bytes()).unwrap();
    let root = ROOT.as_bytes();
    let bounds = Bounds {
        root,
        ..Bounds::default()
    };
    let ours = resolve(
        &Mounts(rows),
        &mut kernel,
        &bounds,
        &mut at,
        path.as_bytes(),
        last,
    );
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let own = PathBuf::from_bytes(ROOT.trim_start_matches('/').as_bytes()).unwrap();
    let top = kernel.open(0, &own, flags).unwrap();
    let nofollow = if last == Last::NoFollow {
        libc::O_NOFOLLOW
    } else {
        0
    };
    let text = CString::new(path).unwrap();
    match (ours, open_in_root(&top, &text, libc::O_PATH | nofollow)) {
        (Ok(found), Ok(node)) => {
            assert!(found.exists, "{path}");
            let rel = PathBuf::from_bytes(&at.as_bytes()[found.rel..]).unwrap();
            let here = kernel.open(0, &rel, libc::O_PATH | libc::O_NOFOLLOW);
            assert_eq!(identity(&here.unwrap()), identity(&node), "{path}");
            assert!(at.as_bytes().starts_with(root), "{path} led to {at:?}");
        }
        (Ok(found), Err(error)) => {
            assert_eq!((found.exists, error), (false, Error::ENOENT), "{path}");
        }
        (Err(Error::ENAMETOOLONG), Err(Error::ELOOP)) => {}
        (Err(ours), Err(theirs)) => assert_eq!(ours, theirs, "{path}"),
        (Err(error), Ok(_)) => panic!("{path}: {error:?}, but the kernel finds it"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn walks_as_the_kernel_does(makes in prop::collection::vec(make(), 1..40), paths in prop::collection::vec(wild(), 40)) {
        let (_dir, rows) = tree(|root| drop(build(root, &makes)));
        for path in &paths {
            for last in [Last::Follow, Last::NoFollow] {
                compare(&rows, path, last);
            }
        }
    }
}

#[test]
fn who_begins_outside_is_not_held() {
    let (_dir, rows) = tree(|root| {
        fs::write(root.join("file"), "").unwrap();
        symlink("/file", root.join("../absolute")).unwrap();
        symlink("root/../../own", root.join("../relative")).unwrap();
    });
    let walk = |from: &str, path: &str| {
        let mut at = PathBuf::from_bytes(from.as_bytes()).unwrap();
        let mut kernel = Kernel::new(&rows);
        let path = path.as_bytes();
        let bounds = Bounds {
            root: ROOT.as_bytes(),
            ..Bounds::default()
        };
        resolve(
            &Mounts(&rows),
            &mut kernel,
            &bounds,
            &mut at,
            path,
            Last::Follow,
        )?;
        Ok(String::from_utf8_lossy(at.as_bytes()).into_owned())
    };
    let found = |path: &str| Ok::<_, Error>(path.to_owned());
    assert_eq!(walk("/own", "../own"), found("/own"));
    assert_eq!(walk("/own", "absolute"), found("/own/root/file"));
    assert_eq!(walk("/own", "root/../root"), found("/own/root/root"));
    assert_eq!(walk("/own", "/.."), found("/own/root"));
}
