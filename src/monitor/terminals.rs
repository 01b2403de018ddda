//! The zone's pseudo terminals.
//!
//! A number under `/dev/pts` says nothing for long: once a terminal is closed, the host gives its
//! number to anybody. So each terminal is pinned by its inode, which the kernel unlinks when the
//! terminal goes, and opened by that pin, never by number. Whose it is and its mode stand in the table of
//! owners, from its record on.

use super::descriptors::own_path;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `O_PATH` descriptors of the terminals' inodes, by number. One lock, under which nothing is waited for.
#[derive(Default)]
pub struct Terminals(Mutex<HashMap<u32, OwnedFd>>);

fn lives(pin: &OwnedFd) -> bool {
    nix::sys::stat::fstat(pin).is_ok_and(|found| found.st_nlink > 0)
}

impl Terminals {
    /// Those that are there now.
    fn living(&self) -> MutexGuard<'_, HashMap<u32, OwnedFd>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, pin| lives(pin));
        all
    }

    /// Records the terminal that `slave` names (a path under `/dev/pts` while its master is held, or
    /// the path of an own descriptor of it), and gives an `O_PATH` descriptor of it; nothing if it is none.
    pub fn record(&self, slave: &Path) -> Option<OwnedFd> {
        let pin = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(slave);
        let pin = OwnedFd::from(pin.ok()?);
        let found = pin.try_clone().ok()?;
        self.living().insert(number_of(&pin)?, pin);
        Some(found)
    }

    /// Whether an own descriptor is of one of them.
    pub fn has(&self, file: &OwnedFd) -> bool {
        let place = |file: &OwnedFd| {
            let data = nix::sys::stat::fstat(file).ok()?;
            Some((data.st_dev, data.st_ino))
        };
        let Some(number) = number_of(file) else {
            return false;
        };
        self.living()
            .get(&number)
            .is_some_and(|pin| place(pin) == place(file))
    }

    /// The numbers of all.
    #[must_use]
    pub fn numbers(&self) -> Vec<u32> {
        self.living().keys().copied().collect()
    }

    /// An `O_PATH` descriptor of a terminal, which goes on naming this very terminal.
    #[must_use]
    pub fn pin(&self, number: u32) -> Option<OwnedFd> {
        self.living().get(&number)?.try_clone().ok()
    }
}

/// The number of a pinned terminal.
fn number_of(pin: &OwnedFd) -> Option<u32> {
    let path = std::fs::read_link(own_path(pin)).ok()?;
    path.to_str()?.strip_prefix("/dev/pts/")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::OFlag;
    use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

    #[test]
    fn a_terminal_is_the_zones_until_it_is_closed() {
        let terminals = Terminals::default();
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY).expect("a terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let name = ptsname_r(&master).expect("a name");
        let found = terminals.record(Path::new(&name)).expect("a terminal");
        assert!(terminals.has(&found));
        let [number] = terminals.numbers()[..] else {
            panic!("one terminal");
        };
        assert_eq!(name, format!("/dev/pts/{number}"));
        let pin = terminals.pin(number).expect("it lives");
        drop(master);
        assert_eq!(terminals.numbers(), [0; 0]);
        assert!(terminals.pin(number).is_none() && !terminals.has(&found));
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
            .open(own_path(&pin));
        assert!(opened.is_err(), "a pin leads to no later terminal");
    }

    #[test]
    fn what_is_no_terminal_is_not_recorded() {
        let terminals = Terminals::default();
        assert!(terminals.record(Path::new("/dev/null")).is_none());
        assert!(terminals.record(Path::new("/dev/pts/no-such")).is_none());
        assert_eq!(terminals.numbers(), [0; 0]);
    }
}
