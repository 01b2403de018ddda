//! How much a zone's files may take up, where no file system of the host sees to it (`limits.disk`).
//!
//! A thread counts them. Between two counts they can have grown by no more than the host's file system has
//! less room, so that is what is looked at all the time; they are counted anew when they might be beyond
//! the limit. Whether they are stands in the tables, and so does what they take up: guests then make no
//! file and open none to write it. What is open already may still grow.
//!
//! Deliberately absent: ways to stop a write. Where that is wanted the kernel has quotas.

use super::zone::Zone;
use crate::config::Config;
use crate::error::{Doing, Result};
use hashbrown::HashSet;
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use nix::sys::statvfs::statvfs;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How often the room of the file system is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Counting takes at most one part in so many of a processor's time, near the limit.
const SHARE_NEAR: u32 = 10;
/// The same elsewhere, where the room changes: others may have freed what the zone has taken.
const SHARE: u32 = 50;
/// How long a count holds at least, there.
const YOUNG: Duration = Duration::from_secs(2);
/// The unit of `st_blocks`.
const BLOCK: u64 = 512;

/// What is to be counted.
pub struct Quota {
    directories: Vec<PathBuf>,
    limit: u64,
}

impl Quota {
    /// That of a zone, if it has a limit that the file systems of its files do not keep.
    ///
    /// # Errors
    /// They cannot be looked at.
    pub fn of(zone_dir: &Path, config: &Config) -> Result<Option<Quota>> {
        let Some(limit) = config.limits.disk else {
            return Ok(None);
        };
        let directories: Vec<PathBuf> = [Some(zone_dir), config.root.as_deref()]
            .into_iter()
            .flatten()
            .map(Path::to_owned)
            .collect();
        // Where a project of quotas begins at a directory, this is what that may hold.
        let found = statvfs(zone_dir).doing("look at", zone_dir.display())?;
        let holds = found.blocks().saturating_mul(found.fragment_size());
        let is_kept = config.root.is_none() && holds <= limit.0;
        let limit = limit.0;
        Ok((!is_kept).then_some(Quota { directories, limit }))
    }

    /// Has guests know of the limit, before there are any.
    ///
    /// # Errors
    /// The zone's directory cannot be looked at.
    pub fn begin(&self, zone: &Zone) -> Result<()> {
        let first = self.tree();
        let data = nix::sys::stat::stat(first).doing("look at", first.display())?;
        let disk = &zone.shared.tables().disk;
        disk.dev.store(data.st_dev, Relaxed);
        self.tell(zone, self.count().unwrap_or(0));
        disk.limit.store(self.limit, Relaxed);
        Ok(())
    }

    /// Counts as long as the zone runs.
    pub fn attend(&self, zone: &Zone) {
        let mut counted = zone.shared.tables().disk.used.load(Relaxed);
        let (mut room, mut when, mut took) = (self.room(), Instant::now(), Duration::ZERO);
        loop {
            std::thread::sleep(LOOK);
            let now = self.room();
            let may_be = counted.saturating_add(room.saturating_sub(now));
            let is_near = may_be >= self.limit || counted >= self.limit;
            let least = if is_near {
                took * SHARE_NEAR
            } else {
                YOUNG.max(took * SHARE)
            };
            if now == room || when.elapsed() < least {
                continue;
            }
            let began = Instant::now();
            // Where directories are moved under the count, what can be at most.
            counted = self.count().unwrap_or(may_be);
            self.tell(zone, counted);
            (room, when, took) = (now, Instant::now(), began.elapsed());
        }
    }

    /// Where the zone's tree lies: the last.
    fn tree(&self) -> &Path {
        self.directories
            .last()
            .map_or(Path::new("/"), PathBuf::as_path)
    }

    fn tell(&self, zone: &Zone, counted: u64) {
        let disk = &zone.shared.tables().disk;
        disk.used.store(counted, Relaxed);
        disk.is_full
            .store(u32::from(counted >= self.limit), Relaxed);
    }

    /// The room that is left where the zone's files lie, in bytes.
    fn room(&self) -> u64 {
        let found = statvfs(self.tree());
        found.map_or(0, |found| {
            found.blocks_free().saturating_mul(found.fragment_size())
        })
    }

    /// What all files take up, in bytes. `None`: somebody has moved directories meanwhile.
    fn count(&self) -> Option<u64> {
        let mut linked = HashSet::new();
        let mut sum = 0u64;
        for directory in &self.directories {
            let Ok(dir) = open(directory, DIRECTORY & !OFlag::O_NOFOLLOW, Mode::empty()) else {
                continue;
            };
            sum = sum.saturating_add(below(dir, &mut linked)?);
        }
        Some(sum)
    }
}

/// How a directory is opened.
const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// A directory on the way to where the count is.
struct Level {
    ino: u64,
    /// What in it is still to be counted.
    left: Vec<CString>,
}

impl Level {
    fn of(dir: &OwnedFd, ino: u64) -> Level {
        let again = openat(dir, c".", DIRECTORY, Mode::empty());
        let entries = again.ok().and_then(|again| Dir::from_fd(again).ok());
        let names = entries.into_iter().flat_map(Dir::into_iter);
        let left = names
            .filter_map(|entry| Some(entry.ok()?.file_name().to_owned()))
            .filter(|name| !matches!(name.to_bytes(), b"." | b".."))
            .collect();
        Level { ino, left }
    }
}

fn blocks(data: &FileStat) -> u64 {
    u64::try_from(data.st_blocks)
        .unwrap_or(0)
        .saturating_mul(BLOCK)
}

/// What a directory and all below it on its file system take up. What has gone meanwhile, or is closed, is
/// nothing. However deep guests make it, one descriptor is held at a time: the way up is found by `..`, and
/// `None` says that it leads elsewhere than the way down came from.
fn below(dir: OwnedFd, linked: &mut HashSet<u64>) -> Option<u64> {
    let top = fstat(&dir).ok()?;
    let mut sum = blocks(&top);
    let mut way = vec![Level::of(&dir, top.st_ino)];
    let mut dir = dir;
    while let Some(level) = way.last_mut() {
        let Some(name) = level.left.pop() else {
            way.pop();
            let Some(above) = way.last() else { break };
            dir = openat(&dir, c"..", DIRECTORY, Mode::empty()).ok()?;
            let found = fstat(&dir).ok()?;
            if (found.st_dev, found.st_ino) != (top.st_dev, above.ino) {
                return None;
            }
            continue;
        };
        let Ok(data) = fstatat(&dir, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) else {
            continue;
        };
        let is_directory = data.st_mode & libc::S_IFMT == libc::S_IFDIR;
        let is_counted = !is_directory && data.st_nlink > 1 && !linked.insert(data.st_ino);
        if data.st_dev != top.st_dev || is_counted {
            continue;
        }
        sum = sum.saturating_add(blocks(&data));
        if is_directory && let Ok(inner) = openat(&dir, name.as_c_str(), DIRECTORY, Mode::empty()) {
            // Another one may have its name by now.
            let ino = fstat(&inner).ok()?.st_ino;
            way.push(Level::of(&inner, ino));
            dir = inner;
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_has_two_names_is_counted_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let quota = Quota {
            directories: vec![dir.path().to_owned()],
            limit: 0,
        };
        let empty = quota.count().expect("a count");
        fs::create_dir(dir.path().join("inner")).expect("a directory");
        fs::write(dir.path().join("inner/file"), vec![1; 1 << 20]).expect("a file");
        let once = quota.count().expect("a count");
        assert!(once >= empty + (1 << 20), "{empty} {once}");
        fs::hard_link(dir.path().join("inner/file"), dir.path().join("other")).expect("a link");
        assert!(quota.count().expect("a count") < once + (1 << 20));
    }

    /// Deeper than there are descriptors, or room for a path.
    #[test]
    fn no_depth_is_too_deep() {
        const DEPTH: usize = 3000;
        let dir = tempfile::tempdir().expect("a directory");
        let mut at = open(dir.path(), DIRECTORY, Mode::empty()).expect("opened");
        for _ in 0..DEPTH {
            nix::sys::stat::mkdirat(&at, c"d", Mode::S_IRWXU).expect("made");
            at = openat(&at, c"d", DIRECTORY, Mode::empty()).expect("opened");
        }
        let quota = Quota {
            directories: vec![dir.path().to_owned()],
            limit: 0,
        };
        let least = DEPTH as u64 * blocks(&fstat(&at).expect("a directory"));
        assert!(quota.count().expect("a count") >= least);
        // The way back, since nobody else removes it.
        for _ in 0..DEPTH {
            at = openat(&at, c"..", DIRECTORY, Mode::empty()).expect("opened");
            nix::unistd::unlinkat(&at, c"d", nix::unistd::UnlinkatFlags::RemoveDir)
                .expect("removed");
        }
    }
}
