//! Names that guests may have the kernel look up by themselves, and directories on whose way nothing
//! changes unseen.
//!
//! A directory that a guest keeps at hand is still the one that its path leads to as long as
//! `Commons::moves` is the same. Guests count their own changes there; what is read-only in the zone
//! changes on the host only, and is watched here. A change on the host is seen a moment after it.

use super::zone::Zone;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use picozone_personality::names::place_hash;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::Ordering::AcqRel;
use std::time::{Duration, Instant};

/// What becomes of a directory's name: in the directory above, and of itself.
const CHANGES: AddWatchFlags = AddWatchFlags::IN_MOVED_FROM
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR)
    .union(AddWatchFlags::IN_DONT_FOLLOW);

/// Writes into the tables what guests may use.
pub struct Names {
    /// Serialises writers of the names.
    writer: Mutex<()>,
    /// None where the user has as many listeners as it may: guests do without then.
    watches: Option<Inotify>,
    watched: Mutex<Watched>,
}

/// What is listened to.
struct Watched {
    all: HashSet<WatchDescriptor>,
    /// When the first of them was.
    since: Instant,
}

/// How long what is watched stays so, however much else is asked for: who goes through all directories
/// takes no place from others for good, and costs them no more than to ask anew from time to time.
const LEAST: Duration = Duration::from_secs(5);

impl Names {
    /// Begins to listen to the host.
    #[must_use]
    pub fn open() -> Names {
        Names {
            writer: Mutex::new(()),
            watches: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok(),
            watched: Mutex::new(Watched {
                all: HashSet::new(),
                since: Instant::now(),
            }),
        }
    }

    /// Vets what guests have missed.
    pub fn vet(&self, zone: &Zone) -> i64 {
        let _writer = self
            .writer
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let names = &zone.shared.tables().names;
        let mut count = 0;
        for name in zone.shared.commons().missed.take() {
            names.add(&name);
            count += 1;
        }
        count
    }

    /// Watches every directory on the way to one beneath a mount.
    ///
    /// # Errors
    /// EINVAL: the zone can change that mount, or the path is none of a directory without links.
    /// ENOSPC: no room for more.
    pub fn watch(&self, zone: &Zone, row: u64, rest: &[u8]) -> Result<i64, i32> {
        let row = usize::try_from(row).map_err(|_| libc::EINVAL)?;
        let tables = zone.shared.tables();
        let place = place_hash(row, rest);
        let watches = self.watches.as_ref().ok_or(libc::ENOSPC)?;
        let mut watched = self
            .watched
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if !tables.names.has_room(place) {
            if watched.since.elapsed() < LEAST {
                return Err(libc::ENOSPC);
            }
            forget(zone, watches, &mut watched);
        }
        let mut add = |directory: &Path| {
            let added = watches.add_watch(directory, CHANGES);
            watched.all.insert(added.map_err(|errno| errno as i32)?);
            Ok::<_, i32>(())
        };
        let found = zone.rows().get(row).ok_or(libc::EINVAL)?;
        let is_fit = found.is_read_only() && !found.is_monitor() && !found.is_added();
        if !is_fit {
            return Err(libc::EINVAL);
        }
        let mut at = PathBuf::from(OsStr::from_bytes(found.host()));
        let names = [found.sub(), b"/", rest].concat();
        for name in names.split(|&byte| byte == b'/') {
            match name {
                b"" | b"." => continue,
                b".." => return Err(libc::EINVAL),
                _ => {}
            }
            add(&at)?;
            at.push(OsStr::from_bytes(name));
        }
        add(&at)?;
        if tables.names.note_watched(place) {
            Ok(0)
        } else {
            Err(libc::ENOSPC)
        }
    }

    /// Tells guests of changes, as long as the zone runs.
    pub fn attend(&self, zone: &Zone) {
        let Some(watches) = &self.watches else {
            return;
        };
        loop {
            let mut polled = [PollFd::new(watches.as_fd(), PollFlags::POLLIN)];
            // A signal only makes it look again.
            let _ = poll(&mut polled, PollTimeout::NONE);
            // Nothing of an event matters but that there is one, be it that some were lost.
            if watches.read_events().is_ok() {
                zone.shared.commons().moves.fetch_add(1, AcqRel);
            }
        }
    }
}

/// Watches nothing any more. Guests forget what they have at hand before changes are overlooked.
fn forget(zone: &Zone, watches: &Inotify, watched: &mut Watched) {
    zone.shared.tables().names.forget_watched();
    zone.shared.commons().moves.fetch_add(1, AcqRel);
    for watch in watched.all.drain() {
        // What was removed on the host is gone.
        let _ = watches.rm_watch(watch);
    }
    watched.since = Instant::now();
}
