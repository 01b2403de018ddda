//! The directory that a run of the tests works in, removed at its end.
//!
//! `bin/` holds the command line and the guests where every user reaches them, `work/` the
//! directories of native runs, and `root/`, `user/`, `confined/` the zones of each mode.
//! Who holds the lock of `lock` is alive: what a killed run left, the next one removes.

use super::job::Job;
use super::mode::Mode;
use nix::unistd::{chown, geteuid};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

const PREFIX: &str = "picozone-test-";

/// The directory of this run.
pub(crate) struct Base {
    dir: PathBuf,
    /// Locked as long as we live.
    _lock: File,
}

static BASE: OnceLock<Base> = OnceLock::new();

impl Base {
    /// The directory of this run, made when first asked for.
    pub(crate) fn get() -> &'static Self {
        BASE.get_or_init(|| {
            sweep();
            let base = Self::make();
            // SAFETY: the function has the type that atexit(3) wants, and calls no exit.
            let result = unsafe { libc::atexit(at_exit) };
            assert_eq!(result, 0, "atexit");
            base
        })
    }

    /// The command line.
    pub(crate) fn zone(&self) -> PathBuf {
        self.bin().join("zone")
    }

    /// A guest program of `tests/guests`.
    pub(crate) fn guest(&self, name: &str) -> PathBuf {
        let path = self.bin().join(name);
        assert!(path.exists(), "tests/guests has no program {name}");
        path
    }

    /// The programs; zones show the directory at the same path.
    pub(crate) fn bin(&self) -> PathBuf {
        self.dir.join("bin")
    }

    /// `PICOZONE_HOME` of a mode.
    pub(crate) fn home(&self, mode: Mode) -> PathBuf {
        self.dir.join(mode.name())
    }

    /// A path for the files of one run, not yet made.
    pub(crate) fn work(&self) -> PathBuf {
        self.dir.join("work").join(next().to_string())
    }

    fn make() -> Self {
        let parent = std::env::temp_dir();
        let (dir, lock) = loop {
            let dir = tempfile::Builder::new()
                .prefix(PREFIX)
                .permissions(Permissions::from_mode(0o755))
                .tempdir_in(&parent)
                .expect("a directory")
                .keep();
            let lock = File::create(dir.join("lock")).expect("a lock");
            lock.lock().expect("the lock");
            // Between the two lines above another run may have taken it for a dead one's.
            if dir.join("lock").exists() {
                break (dir, lock);
            }
        };
        let base = Self { dir, _lock: lock };
        for (name, mode) in [("bin", 0o755), ("work", 0o1777)] {
            let path = base.dir.join(name);
            fs::create_dir(&path).expect("a directory");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("its mode");
        }
        for mode in Mode::ALL {
            if mode == Mode::Root && !geteuid().is_root() {
                continue;
            }
            let path = base.home(mode);
            fs::create_dir(&path).expect("a directory");
            fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("its mode");
            if mode != Mode::Root && !mode.is_there("the harness") {
                continue;
            }
            let (uid, gid) = mode.ids();
            chown(&path, Some(uid), Some(gid)).expect("the mode's own");
        }
        install(&base.bin());
        base
    }
}

/// A number that is not given twice.
pub(crate) fn next() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Copies the programs to where every user may run them, the guests freshly built: cargo does
/// not build another package's programs for a test.
fn install(bin: &Path) {
    let zone = Path::new(env!("CARGO_BIN_EXE_zone"));
    let profile = zone.parent().expect("target/PROFILE/zone");
    let target = profile.parent().expect("target/PROFILE");
    let mut build = Command::new(env!("CARGO"));
    build
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--locked", "--offline", "--quiet"])
        .args(["--package", "picozone-guests", "--bins", "--target-dir"])
        .arg(target);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let output = build.output().expect("cargo can be started");
    assert!(
        output.status.success(),
        "the guests do not build: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    copy(zone, &bin.join("zone"));
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/src/bin");
    for entry in fs::read_dir(sources).expect("the guests' sources") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name");
        copy(&profile.join(name), &bin.join(name));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap_or_else(|error| panic!("copy {}: {error}", from.display()));
    fs::set_permissions(to, Permissions::from_mode(0o755)).expect("its mode");
}

extern "C" fn at_exit() {
    if let Some(base) = BASE.get() {
        remove(base.bin().join("zone").as_path(), &base.dir);
    }
}

/// Removes what killed runs of ours left.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let is_candidate = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry
                .metadata()
                .is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw());
        if !is_candidate {
            continue;
        }
        let dir = entry.path();
        let Ok(lock) = File::open(dir.join("lock")) else {
            continue;
        };
        if lock.try_lock().is_ok() {
            remove(Path::new(env!("CARGO_BIN_EXE_zone")), &dir);
        }
    }
}

/// Ends the zones that are still there, and removes the directory.
fn remove(zone: &Path, dir: &Path) {
    for mode in Mode::ALL {
        let home = dir.join(mode.name());
        let Ok(zones) = fs::read_dir(home.join("zones")) else {
            continue;
        };
        for name in zones.flatten().map(|entry| entry.file_name()) {
            if name.to_string_lossy().starts_with('t') {
                // As ourselves: root may end anybody's zones, whatever the mode was.
                let _ = Job::new([
                    zone.as_os_str(),
                    "delete".as_ref(),
                    "--force".as_ref(),
                    name.as_os_str(),
                ])
                .env("PICOZONE_HOME", &home)
                .try_owned_by(mode);
            }
        }
    }
    let _ = fs::remove_dir_all(dir);
}
