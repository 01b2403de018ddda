//! Whether a zone really runs.
//!
//! The monitor holds a lock on `run/alive.lock` from its first moment to its last, so that no
//! file can claim what is not so: `kill -9` of the monitor takes the lock away. `run/monitor.pid`
//! stays behind then, and tells an accident from a zone that was halted.

use super::record_lock;
use crate::error::{Doing, Error, Result};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const LOCK: &str = "alive.lock";
const PID: &str = "monitor.pid";
const HALTING: &str = "halting";

/// The monitor's sign of life; lasts until it is dropped or the process ends, however it ends.
///
/// A forked child does not inherit it. The process must open `run/alive.lock` in no other way:
/// closing any descriptor of that file gives the lock up.
#[derive(Debug)]
pub struct Alive {
    run_dir: PathBuf,
    _file: File,
}

impl Alive {
    /// Called by the monitor, in its own process, before anything else of it can be seen.
    ///
    /// # Errors
    /// Another monitor serves the zone, or the files cannot be written.
    pub fn take(run_dir: &Path) -> Result<Self> {
        let path = run_dir.join(LOCK);
        let file = record_lock::open(&path).doing("open", path.display())?;
        if !record_lock::try_lock(&file).doing("lock", path.display())? {
            return Err(Error::refused(
                "start a monitor on",
                run_dir.display(),
                "another one serves the zone",
                "halt the zone first",
            ));
        }
        let pid = run_dir.join(PID);
        fs::write(&pid, format!("{}\n", std::process::id())).doing("write", pid.display())?;
        Ok(Self {
            run_dir: run_dir.to_owned(),
            _file: file,
        })
    }

    /// Tells everybody that the zone is on its way down; its processes are being ended.
    pub fn mark_halting(&self) {
        // Only the shown state depends on it.
        let _ = fs::write(self.run_dir.join(HALTING), "");
    }

    /// Called by the monitor at its end: the zone was halted and nothing of it runs any more.
    pub fn end(self) {
        clear(&self.run_dir);
    }
}

/// The monitor of the zone if it lives, as the kernel knows it. Never to be asked by the monitor
/// itself, which would give its own lock up.
///
/// # Errors
/// The lock file is there and cannot be asked.
pub fn monitor(run_dir: &Path) -> io::Result<Option<Pid>> {
    match fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(run_dir.join(LOCK))
    {
        Ok(file) => record_lock::holder(&file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a living monitor has begun to end the zone.
#[must_use]
pub fn is_halting(run_dir: &Path) -> bool {
    run_dir.join(HALTING).exists()
}

/// Whether a monitor that is gone did not end as it should.
#[must_use]
pub fn is_left_over(run_dir: &Path) -> bool {
    run_dir.join(PID).exists()
}

/// Removes what says that a zone ran; only for a zone whose monitor is gone.
pub fn clear(run_dir: &Path) {
    for name in ["control.sock", HALTING, PID] {
        // What is not there need not go.
        let _ = fs::remove_file(run_dir.join(name));
    }
}

/// Makes `run/` anew for a boot, with the empty directories that it always has: `proc`, `dev`, `sys` and
/// `shm` (the zone's `/dev/shm`, mode 1777).
///
/// # Errors
/// The file system refuses.
pub fn fresh(zone_dir: &Path) -> Result<PathBuf> {
    let run_dir = zone_dir.join("run");
    crate::tree::remove(&run_dir)?;
    for dir in ["", "proc", "dev", "sys", "shm"] {
        let dir = run_dir.join(dir);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .doing("make the directory", dir.display())?;
    }
    crate::tree::set_mode(&run_dir.join("shm"), 0o1777)?;
    Ok(run_dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal, kill};
    use std::io::Read;
    use std::process::{Command, Stdio};

    /// Run by the test below in a process of its own: holds the lock until it is killed.
    #[test]
    fn holder() {
        let Some(dir) = std::env::var_os("PICOZONE_TEST_ALIVE") else {
            return;
        };
        let alive = Alive::take(Path::new(&dir)).expect("the lock");
        println!("held");
        std::io::stdin()
            .read_to_end(&mut Vec::new())
            .expect("the pipe");
        alive.end();
    }

    #[test]
    fn a_killed_monitor_is_not_alive() {
        let temporary = tempfile::tempdir().expect("a directory");
        let run_dir = fresh(temporary.path()).expect("made");
        assert_eq!(monitor(&run_dir).expect("asked"), None);
        assert!(!is_left_over(&run_dir));
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "zone::liveness::tests::holder", "--nocapture"])
            .env("PICOZONE_TEST_ALIVE", &run_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut output = child.stdout.take().expect("piped");
        let mut text = String::new();
        while !text.contains("held") {
            let mut byte = [0];
            output.read_exact(&mut byte).expect("it speaks");
            text.push(char::from(byte[0]));
        }
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        assert_eq!(monitor(&run_dir).expect("asked"), Some(pid));
        assert!(Alive::take(&run_dir).is_err());
        kill(pid, Signal::SIGKILL).expect("killed");
        child.wait().expect("reaped");
        assert_eq!(monitor(&run_dir).expect("asked"), None);
        assert!(is_left_over(&run_dir));
        clear(&run_dir);
        assert!(!is_left_over(&run_dir));
    }
}
