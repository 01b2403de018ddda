//! A directory that every user can read, with the programs under test.

use super::Role;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// The directory; it goes with the last test that uses it.
pub struct Place {
    dir: tempfile::TempDir,
    works: AtomicUsize,
    /// What has been made in it once for all tests.
    made: Mutex<Vec<&'static str>>,
}

impl Place {
    /// The place that the running tests share.
    pub fn get() -> Arc<Self> {
        static SHARED: Mutex<Weak<Place>> = Mutex::new(Weak::new());
        let mut shared = SHARED
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(place) = shared.upgrade() {
            return place;
        }
        let place = Arc::new(Self::new());
        *shared = Arc::downgrade(&place);
        place
    }

    fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("picozone-test.")
            .tempdir()
            .expect("a directory");
        open_to_all(dir.path());
        // Where cargo has built it, other users need not be able to look.
        let zone = dir.path().join("zone");
        fs::copy(env!("CARGO_BIN_EXE_zone"), &zone).expect("the binary can be copied");
        open_to_all(&zone);
        Self {
            dir,
            works: AtomicUsize::new(0),
            made: Mutex::default(),
        }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The binary under test.
    pub fn zone(&self) -> PathBuf {
        self.dir().join("zone")
    }

    /// What the homes of one user have in common: copies of programs.
    pub fn cache(&self, role: Role) -> PathBuf {
        let account = role.account();
        let dir = self
            .dir()
            .join(format!("cache-{}", account.map_or(0, |(uid, _)| uid)));
        // Another test may have made it.
        if fs::create_dir(&dir).is_ok()
            && let Some((uid, gid)) = account
        {
            chown(&dir, Some(uid), Some(gid)).expect("we are root");
        }
        dir
    }

    /// Makes something that all tests share, unless one of them has; the others wait.
    pub fn once(&self, what: &'static str, make: impl FnOnce()) {
        let mut made = self
            .made
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if !made.contains(&what) {
            make();
            made.push(what);
        }
    }

    /// An empty directory of one's own; a zone may make one of the same name in its own tree.
    pub fn work(&self) -> PathBuf {
        let number = self.works.fetch_add(1, Ordering::Relaxed);
        let work = self.dir().join(format!("work-{number}"));
        fs::create_dir(&work).expect("a directory");
        work
    }
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}
