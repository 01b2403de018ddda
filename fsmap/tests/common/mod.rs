//! What the tests share: the kernel as [`Tree`], a tree in memory, random trees.
#![expect(dead_code, reason = "each test binary uses its part")]

pub mod kernel_unsafe;
pub mod memory;
pub mod random;

use kernel_unsafe::{open_beneath, read_link};
use picozone_fsmap::{Error, MountRow, PathBuf, Tree, kind};
use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// The promise of the resolver, asserted at every step.
pub fn assert_confined(rows: &[MountRow], mount: usize, rel: &[u8]) {
    let row = rows.get(mount).expect("the mount exists");
    assert_eq!(row.kind, kind::TREE, "the monitor's mounts are not opened");
    assert!(!row.is_alias(), "aliases are not opened");
    let is_plain = |name: &[u8]| !matches!(name, b"" | b"." | b"..");
    assert!(
        rel == b"." || rel.split(|&b| b == b'/').all(is_plain),
        "a name to be opened is {}",
        rel.escape_ascii()
    );
}

/// The kernel, confined as the personality uses it.
pub struct Kernel<'a> {
    pub rows: &'a [MountRow],
    pub tops: Vec<OwnedFd>,
    pub opened: usize,
    pub closed: usize,
}

impl<'a> Kernel<'a> {
    pub fn new(rows: &'a [MountRow]) -> Self {
        let top = |row: &MountRow| {
            let file = fs::File::open(OsStr::from_bytes(row.host())).expect("mounts can be opened");
            OwnedFd::from(file)
        };
        Kernel {
            rows,
            tops: rows.iter().map(top).collect(),
            opened: 0,
            closed: 0,
        }
    }

    pub fn open(&self, mount: usize, rel: &PathBuf, flags: i32) -> Result<OwnedFd, Error> {
        let top = self.tops.get(mount).ok_or(Error::ENOENT)?;
        open_beneath(top, rel.as_c_str(), flags)
    }
}

impl Tree for Kernel<'_> {
    type Node = OwnedFd;
    fn open_path(&mut self, mount: usize, rel: &PathBuf) -> Result<OwnedFd, Error> {
        assert_confined(self.rows, mount, rel.as_bytes());
        let node = self.open(mount, rel, libc::O_PATH | libc::O_NOFOLLOW)?;
        self.opened += 1;
        Ok(node)
    }
    fn readlink(&mut self, node: &OwnedFd, to: &mut [u8]) -> Result<usize, Error> {
        read_link(node, to)
    }
    fn is_dir(&mut self, node: &OwnedFd) -> Result<bool, Error> {
        Ok(path_of(node).is_some_and(|path| Path::new(OsStr::from_bytes(&path)).is_dir()))
    }
    fn close(&mut self, node: OwnedFd) {
        self.closed += 1;
        drop(node);
    }
    // The kernel searches a directory for `.` and `..` too, which the resolver takes by their names.
    fn search(&mut self, mount: usize, rel: &PathBuf) -> Result<(), Error> {
        assert_confined(self.rows, mount, rel.as_bytes());
        let mut dot = rel.clone();
        // A path that is as long as can be has no room for the question.
        if dot.push(b".").is_err() {
            return Ok(());
        }
        self.open(mount, &dot, libc::O_PATH).map(drop)
    }
    fn searches(&self) -> bool {
        true
    }
}

/// The host path behind a descriptor.
pub fn path_of(node: &OwnedFd) -> Option<Vec<u8>> {
    let link = format!("/proc/self/fd/{}", node.as_raw_fd());
    fs::read_link(link)
        .ok()
        .map(|path| path.into_os_string().into_vec())
}
