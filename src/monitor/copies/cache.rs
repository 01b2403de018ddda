//! The home's store of copies: made by a thread of its own, bounded, for all zones of the user.
//!
//! Only files that no zone of the user can write are copied: a zone could make another one execute
//! what it wrote, long after the file is as it was.
//!
//! Zones have links of what they use, so the number of a copy's links tells whether any zone does.
//! What none does goes when it is old, or when all copies together are too large, the longest unused
//! first.

use super::{Role, write};
use crate::config::{Access, Config};
use crate::rewrite;
use picozone_personality::layout::JUMP_ENTRY;
use picozone_personality::plans::FileId;
use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Where the copies are in the home.
pub const DIRECTORY: &str = "cache/rewritten";
/// How large all copies that no zone uses may be beside those in use, in bytes.
pub const ROOM: u64 = 512 << 20;
/// How long a copy is kept that no zone uses.
const UNUSED_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long an unfinished copy is kept whose maker may have died.
const UNFINISHED_MAX: Duration = Duration::from_secs(60 * 60);
/// Programs come before the making of copies.
const NICE: i32 = 10;

/// A copy to be made.
struct Job {
    file: File,
    id: FileId,
    role: Role,
    name: String,
}

/// What is said of a copy that is not there yet.
#[derive(Default)]
struct Ordered {
    /// Being made, or waiting for that.
    waiting: Vec<String>,
    /// Could not be made.
    failed: Vec<String>,
}

/// The store, and the thread that fills it.
pub(super) struct Cache {
    home: PathBuf,
    dir: Arc<Path>,
    ordered: Arc<Mutex<Ordered>>,
    /// The thread begins with the first job: a monitor that is not ready yet must have none.
    jobs: Mutex<Option<Sender<Job>>>,
}

impl Cache {
    pub(super) fn new(home: &Path) -> Cache {
        Cache {
            home: home.to_owned(),
            dir: home.join(DIRECTORY).into(),
            ordered: Arc::default(),
            jobs: Mutex::default(),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Has a copy made. `false`: that was tried before, and cannot be done.
    pub(super) fn order(&self, file: &File, id: &FileId, role: Role, name: &str) -> bool {
        let mut ordered = lock(&self.ordered);
        let is_in = |names: &[String]| names.iter().any(|other| other == name);
        if is_in(&ordered.failed) {
            return false;
        }
        let Ok(file) = file.try_clone() else {
            return false;
        };
        if !is_in(&ordered.waiting) {
            let job = Job {
                file,
                id: *id,
                role,
                name: name.to_owned(),
            };
            ordered.waiting.push(name.to_owned());
            drop(ordered);
            let mut jobs = lock(&self.jobs);
            // The thread ends with the monitor only.
            let _ = jobs.get_or_insert_with(|| self.begin()).send(job);
        }
        true
    }

    /// Makes a copy at once. What fails is as if it had not been tried.
    pub(super) fn make(&self, file: &File, id: &FileId, role: Role, name: &str) {
        if let Ok(file) = file.try_clone() {
            let job = Job {
                file,
                id: *id,
                role,
                name: name.to_owned(),
            };
            let _ = make(&job, &self.home, &self.dir, &self.dir.join(name));
            // The monitor is to be no larger for it afterwards.
            #[cfg(target_env = "gnu")]
            // SAFETY: gives memory back that nobody uses.
            unsafe {
                libc::malloc_trim(0)
            };
        }
    }

    fn begin(&self) -> Sender<Job> {
        let (sender, jobs) = mpsc::channel::<Job>();
        let (home, dir, ordered) = (self.home.clone(), self.dir.clone(), self.ordered.clone());
        std::thread::spawn(move || {
            // SAFETY: takes numbers only; 0 is this thread.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
            for job in jobs {
                trim(&dir, ROOM, SystemTime::now());
                let kept = dir.join(&job.name);
                let made = kept.exists() || make(&job, &home, &dir, &kept).is_ok();
                let mut ordered = lock(&ordered);
                ordered.waiting.retain(|name| *name != job.name);
                if !made {
                    ordered.failed.push(job.name);
                }
            }
        });
        sender
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the copy under another name first: what has its own name is whole, and never replaced.
fn make(job: &Job, home: &Path, dir: &Path, kept: &Path) -> std::io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let host = fs::read_link(format!("/proc/self/fd/{}", job.file.as_raw_fd()))?;
    if may_zones_write(home, &host) {
        return Err(ErrorKind::PermissionDenied.into());
    }
    let mut bytes = Vec::new();
    let mut reader = &job.file;
    reader.seek(SeekFrom::Start(0))?;
    reader.read_to_end(&mut bytes)?;
    let data = nix::sys::stat::fstat(&job.file)?;
    if crate::monitor::plans::id_of(&data) != job.id {
        return Err(ErrorKind::ResourceBusy.into());
    }
    let found = rewrite::analyse(&bytes, JUMP_ENTRY, |nr| job.role.wants(nr));
    let count = COUNT.fetch_add(1, Relaxed);
    let unfinished = dir.join(format!("{}.{count}", std::process::id()));
    let done = write(&unfinished, &bytes, found.as_ref());
    let done = done.and_then(|()| match fs::hard_link(&unfinished, kept) {
        // Another zone's monitor was quicker.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    let _ = fs::remove_file(&unfinished);
    done
}

/// Whether any zone of the home may change a file, by its configuration.
fn may_zones_write(home: &Path, host: &Path) -> bool {
    let zones = home.join("zones");
    let is_below = |dir: &Path| host.starts_with(dir.canonicalize().as_deref().unwrap_or(dir));
    let may_zone = |zone: &Path| {
        let path = zone.join("zone.toml");
        // Without one it has not been booted yet; with a bad one it may be running by another.
        path.exists()
            && Config::load(&path).map_or(true, |config| {
                let mut binds = config.binds.iter();
                config.root.is_some_and(|root| is_below(&root))
                    || binds.any(|bind| bind.access == Access::ReadWrite && is_below(&bind.host))
            })
    };
    is_below(&zones)
        || fs::read_dir(zones).is_ok_and(|zones| {
            let mut zones = zones.flatten();
            zones.any(|zone| may_zone(&zone.path()))
        })
}

/// A copy that no zone uses.
struct Unused {
    path: PathBuf,
    size: u64,
    since: SystemTime,
}

/// What a home has of copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many there are.
    pub count: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of those that no zone uses.
    pub unused_bytes: u64,
}

fn entries(dir: &Path) -> impl Iterator<Item = (PathBuf, Metadata)> + use<> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
}

/// Counts the copies of a home.
#[must_use]
pub fn usage(home: &Path) -> Usage {
    let mut usage = Usage::default();
    for (_, data) in entries(&home.join(DIRECTORY)) {
        usage.count += 1;
        usage.bytes += data.size();
        if data.nlink() == 1 {
            usage.unused_bytes += data.size();
        }
    }
    usage
}

/// Removes what is not used any more.
fn trim(dir: &Path, room: u64, now: SystemTime) {
    // Linking and unlinking change it: the last zone that used the copy.
    let changed = |data: &Metadata| {
        let seconds = u64::try_from(data.ctime()).unwrap_or(0);
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    };
    let unused = entries(dir).filter(|(_, data)| data.nlink() == 1);
    let mut unused: Vec<Unused> = unused
        .map(|(path, data)| Unused {
            path,
            size: data.size(),
            since: changed(&data),
        })
        .collect();
    unused.sort_by_key(|copy| std::cmp::Reverse(copy.since));
    let mut sum = 0;
    for copy in unused {
        sum += copy.size;
        let age = now.duration_since(copy.since).unwrap_or_default();
        let name = copy.path.file_name().unwrap_or_default();
        let is_unfinished = !name.as_encoded_bytes().contains(&b'-');
        let age_max = if is_unfinished {
            UNFINISHED_MAX
        } else {
            UNUSED_MAX
        };
        if age > age_max || (sum > room && !is_unfinished) {
            // A zone that has just come to use it has a link of its own.
            let _ = fs::remove_file(copy.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = entries(dir)
            .filter(|(_, data)| data.is_file())
            .map(|(path, _)| path.file_name().expect("a name").to_string_lossy().into())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_no_zone_uses_is_bounded() {
        let home = tempfile::tempdir().expect("a directory");
        let dir = home.path().join(DIRECTORY);
        let zone = home.path().join("zone");
        for dir in [&dir, &zone] {
            fs::create_dir_all(dir).expect("a directory");
        }
        for name in ["1p-a", "1p-b", "77.1"] {
            fs::write(dir.join(name), [0; 100]).expect("a file");
        }
        fs::write(dir.join("1p-used"), [0; 1000]).expect("a file");
        fs::hard_link(dir.join("1p-used"), zone.join("1p-used")).expect("a link");
        let now = SystemTime::now();
        let hours = |count| now + Duration::from_hours(count);
        trim(&dir, 300, now);
        assert_eq!(names(&dir), ["1p-a", "1p-b", "1p-used", "77.1"]);
        let usage = usage(home.path());
        assert_eq!(
            (usage.count, usage.bytes, usage.unused_bytes),
            (4, 1300, 300)
        );
        trim(&dir, 300, hours(2));
        assert_eq!(names(&dir), ["1p-a", "1p-b", "1p-used"]);
        trim(&dir, 100, hours(2));
        assert_eq!(names(&dir).len(), 2);
        trim(&dir, 300, hours(31 * 24));
        assert_eq!(names(&dir), ["1p-used"]);
    }

    #[test]
    fn what_a_zone_may_write_has_no_copy() {
        let home = tempfile::tempdir().expect("a directory");
        let home = home.path().canonicalize().expect("it is there");
        let zone = home.join("zones/web");
        fs::create_dir_all(&zone).expect("a directory");
        let judge = || {
            [
                "/srv/rw/x",
                "/srv/ro/x",
                "/srv/rwx",
                "/usr/bin/env",
                "/tree/usr/bin/env",
            ]
            .map(|path| may_zones_write(&home, Path::new(path)))
        };
        assert_eq!(judge(), [false; 5]);
        assert!(may_zones_write(&home, &zone.join("root/bin/env")));
        let binds = "number = 2\nhostname = \"web\"\nroot = \"/tree\"\n\
                     [[bind]]\nhost = \"/srv/rw\"\nzone = \"/a\"\naccess = \"read-write\"\n\
                     [[bind]]\nhost = \"/srv/ro\"\nzone = \"/b\"\n";
        fs::write(zone.join("zone.toml"), binds).expect("a file");
        assert_eq!(judge(), [true, false, false, false, true]);
        fs::write(zone.join("zone.toml"), "number = what").expect("a file");
        assert_eq!(judge(), [true; 5]);
    }
}
