//! A directory that every user can read, with the programs under test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

/// The directory; it goes with the last test that uses it.
pub struct Place {
    dir: tempfile::TempDir,
    guests: OnceLock<PathBuf>,
    works: AtomicUsize,
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
            guests: OnceLock::new(),
            works: AtomicUsize::new(0),
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

    /// An empty directory of one's own; a zone may make one of the same name in its own tree.
    pub fn work(&self) -> PathBuf {
        let number = self.works.fetch_add(1, Ordering::Relaxed);
        let work = self.dir().join(format!("work-{number}"));
        fs::create_dir(&work).expect("a directory");
        work
    }

    /// The directory of the guest programs, which are built first.
    pub fn guests(&self) -> &Path {
        self.guests.get_or_init(|| {
            let built = build_guests();
            let guests = self.dir().join("guests");
            fs::create_dir(&guests).expect("a directory");
            open_to_all(&guests);
            for name in GUESTS {
                fs::copy(built.join(name), guests.join(name)).expect("the guest can be copied");
            }
            guests
        })
    }
}

/// The programs of the package `picozone-guests`.
const GUESTS: &[&str] = &[];

/// Builds the guests next to the binary under test, and says where they are.
fn build_guests() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let directory = Path::new(env!("CARGO_BIN_EXE_zone"))
                .parent()
                .expect("it lies in a directory");
            let target = directory
                .parent()
                .expect("cargo makes one for each profile");
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--quiet", "--locked", "--offline", "--bins"]);
            cargo.args(["--package", "picozone-guests", "--target-dir"]);
            cargo.arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
            if directory.ends_with("release") {
                cargo.arg("--release");
            }
            let status = cargo.status().expect("cargo can be started");
            assert!(status.success(), "the guests do not build");
            directory.to_owned()
        })
        .clone()
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}
