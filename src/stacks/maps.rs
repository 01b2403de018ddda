//! What a process has mapped to execute, as `/proc/PID/maps` tells.

use super::elf::Image;
use crate::ids::HostPid;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A piece of a file that can be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    start: u64,
    end: u64,
    /// Where in the file it begins.
    offset: u64,
    pub(super) inode: u64,
    pub(super) path: Vec<u8>,
}

/// For how long it is believed: a process may map something else in a known place, or be another one.
const LASTS: Duration = Duration::from_secs(1);

/// All of a process, by address.
pub(super) struct Maps {
    all: Vec<Mapping>,
    read: Instant,
}

impl Maps {
    /// Of a process; none if it is gone.
    pub(super) fn of(pid: HostPid) -> Option<Self> {
        let text = fs::read(format!("/proc/{pid}/maps")).ok()?;
        Some(Self::parse(&text))
    }

    fn parse(text: &[u8]) -> Self {
        let lines = text.split(|&byte| byte == b'\n');
        Self {
            all: lines.filter_map(Mapping::parse).collect(),
            read: Instant::now(),
        }
    }

    pub(super) fn is_old(&self) -> bool {
        self.read.elapsed() >= LASTS
    }

    pub(super) fn find(&self, address: u64) -> Option<&Mapping> {
        let behind = self.all.partition_point(|mapping| mapping.end <= address);
        self.all
            .get(behind)
            .filter(|mapping| mapping.start <= address)
    }
}

impl Mapping {
    /// `START-END r-xp OFFSET DEV INODE    PATH`; none of what is no file's, or not to be executed.
    fn parse(line: &[u8]) -> Option<Self> {
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
        is_executable.then(|| Self {
            start,
            end,
            offset,
            inode,
            path: path.to_vec(),
        })
    }

    /// Where its file is found: in the process' own tree, if it has another one.
    pub(super) fn file(&self, pid: HostPid) -> PathBuf {
        let path = PathBuf::from(OsStr::from_bytes(&self.path));
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let below = path.strip_prefix("/").unwrap_or(&path);
        match fs::read_link(&root) {
            Ok(target) if target.as_os_str() != "/" => root.join(below),
            _ => path,
        }
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
        let maps = Maps::parse(text);
        assert_eq!(maps.all.len(), 1);
        let found = maps.find(0x5610).expect("it is there");
        assert_eq!(found.path, b"/usr/bin/a b");
        assert_eq!(found.own_address(0x5610, None), Some(0x110));
        assert_eq!(found.inode, 12);
        assert_eq!(maps.find(0x55ff), None);
        assert_eq!(maps.find(0x5700), None);
    }
}
