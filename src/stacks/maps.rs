//! What a process has mapped to execute, as `/proc/PID/maps` tells.

use super::elf::Image;
use crate::ids::HostPid;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A piece of a file that can be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    start: u64,
    end: u64,
    /// Where in the file it begins.
    offset: u64,
    pub(super) inode: u64,
    pub(super) path: Arc<[u8]>,
    /// Where its file is found: in the process' own tree, if it has another one.
    pub(super) file: Arc<Path>,
}

/// For how long it is believed: a process may map something else in a known place, or be another one.
const LASTS: Duration = Duration::from_secs(1);
/// For how long an address is believed to be mapped nowhere: many a stack ends in one, call for call.
const NOWHERE_LASTS: Duration = Duration::from_millis(20);
/// Most of such addresses.
const NOWHERE_MAX: usize = 256;
/// Most addresses of which is known what they lead to.
const SITES_MAX: usize = 4096;

/// All of a process, by address.
pub(super) struct Maps {
    all: Vec<(Mapping, Opened)>,
    /// Where stubs of rewritten calls lead back to, by the addresses in them.
    sites: HashMap<u64, Option<u64>>,
    /// What was looked for, and when, and is mapped nowhere.
    nowhere: HashMap<u64, Instant>,
    read: Instant,
}

/// The file of a mapping, once it was looked at; none if it cannot be read.
type Opened = Option<Option<Arc<Image>>>;

impl Maps {
    /// Of a process; none if it is gone.
    pub(super) fn of(pid: HostPid) -> Option<Self> {
        let text = fs::read(format!("/proc/{pid}/maps")).ok()?;
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let root = match fs::read_link(&root) {
            Ok(target) if target.as_os_str() != "/" => root,
            _ => PathBuf::from("/"),
        };
        Some(Self::parse(&text, &root))
    }

    fn parse(text: &[u8], root: &Path) -> Self {
        let lines = text.split(|&byte| byte == b'\n');
        let mappings = lines.filter_map(|line| Mapping::parse(line, root));
        Self {
            all: mappings.map(|mapping| (mapping, None)).collect(),
            sites: HashMap::new(),
            nowhere: HashMap::new(),
            read: Instant::now(),
        }
    }

    pub(super) fn is_old(&self) -> bool {
        self.read.elapsed() >= LASTS
    }

    /// Whether an address was looked for just now, and is nowhere.
    pub(super) fn is_nowhere(&self, address: u64) -> bool {
        let at = self.nowhere.get(&address);
        at.is_some_and(|at| at.elapsed() < NOWHERE_LASTS)
    }

    /// Notes which addresses are nowhere: that one, if it is not here, and what was known of before.
    pub(super) fn note_nowhere(&mut self, address: u64, before: Option<Self>) {
        self.nowhere = before.map(|before| before.nowhere).unwrap_or_default();
        if self.nowhere.len() >= NOWHERE_MAX {
            self.nowhere.clear();
        }
        if self.find(address).is_none() {
            self.nowhere.insert(address, Instant::now());
        }
    }

    /// The mapping that has an address, and its file as far as that was looked at.
    pub(super) fn find(&mut self, address: u64) -> Option<(&Mapping, &mut Opened)> {
        let behind = self
            .all
            .partition_point(|(mapping, _)| mapping.end <= address);
        let (mapping, opened) = self.all.get_mut(behind)?;
        (mapping.start <= address).then_some((&*mapping, opened))
    }

    /// Where a stub leads back to that has this address, if that was asked before.
    pub(super) fn site(&self, address: u64) -> Option<Option<u64>> {
        self.sites.get(&address).copied()
    }

    pub(super) fn remember_site(&mut self, address: u64, site: Option<u64>) {
        if self.sites.len() >= SITES_MAX {
            self.sites.clear();
        }
        self.sites.insert(address, site);
    }
}

impl Mapping {
    /// `START-END r-xp OFFSET DEV INODE    PATH`; none of what is no file's, or not to be executed.
    fn parse(line: &[u8], root: &Path) -> Option<Self> {
        let slash = line.iter().position(|&byte| byte == b'/')?;
        let (front, path) = line.split_at(slash);
        let front = std::str::from_utf8(front).ok()?;
        let mut words = front.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        let (start, end) = (hex(start)?, hex(end)?);
        let is_executable = words.next()?.contains('x');
        let offset = hex(words.next()?)?;
        let inode = words.nth(1)?.parse().ok()?;
        let below = Path::new(OsStr::from_bytes(path));
        let file = root.join(below.strip_prefix("/").unwrap_or(below));
        is_executable.then(|| Self {
            start,
            end,
            offset,
            inode,
            path: path.into(),
            file: file.into(),
        })
    }

    /// Where in the file an address is.
    pub(super) fn place(&self, address: u64) -> Option<u64> {
        address.checked_sub(self.start)?.checked_add(self.offset)
    }

    /// An address in the file's own terms: those that its headers say, else the place in the file.
    pub(super) fn own_address(&self, address: u64, image: Option<&Image>) -> Option<u64> {
        let place = self.place(address)?;
        match image {
            Some(image) => image.address_of(place),
            None => Some(place),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_are_executed_count() {
        let text = b"5500-5600 r--p 00000000 fe:00 12   /usr/bin/a b\n\
            5600-5700 r-xp 00000100 fe:00 12   /usr/bin/a b\n\
            7000-7100 r-xp 00000000 00:00 0    [vdso]\n\
            7200-7300 rwxp 00000000 00:00 0 \n\
            garbage\n8000-zz r-xp 0 0 0 /x\n";
        let mut maps = Maps::parse(text, Path::new("/proc/7/root"));
        assert_eq!(maps.all.len(), 1);
        let (found, _) = maps.find(0x5610).expect("it is there");
        assert_eq!(&*found.path, b"/usr/bin/a b");
        assert_eq!(&*found.file, Path::new("/proc/7/root/usr/bin/a b"));
        assert_eq!(found.own_address(0x5610, None), Some(0x110));
        assert_eq!(found.inode, 12);
        assert!(maps.find(0x55ff).is_none() && maps.find(0x5700).is_none());
    }
}
