//! The zone's pseudo terminals.
//!
//! A number under `/dev/pts` says nothing for long: once a terminal is closed, the host gives its
//! number to anybody. So each terminal is pinned by its inode, which the kernel unlinks when the
//! terminal goes, and opened by that pin, never by number.

use super::descriptors::own_path;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One terminal.
struct Terminal {
    /// `O_PATH` descriptor of its inode.
    pin: OwnedFd,
    /// The zone's user who owns it.
    uid: u32,
}

impl Terminal {
    fn lives(&self) -> bool {
        nix::sys::stat::fstat(&self.pin).is_ok_and(|found| found.st_nlink > 0)
    }
}

/// The terminals, by number. One lock, under which nothing is waited for.
#[derive(Default)]
pub struct Terminals(Mutex<HashMap<u32, Terminal>>);

impl Terminals {
    /// Those that are there now.
    fn living(&self) -> MutexGuard<'_, HashMap<u32, Terminal>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, terminal| terminal.lives());
        all
    }

    /// Records the terminal that `slave` names (a path under `/dev/pts` while its master is held, or
    /// the path of an own descriptor of it) as a user's; nothing if it is none.
    pub fn record(&self, slave: &Path, uid: u32) {
        let pin = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(slave);
        let Ok(pin) = pin.map(OwnedFd::from) else {
            return;
        };
        if let Some(number) = number_of(&pin) {
            self.living().insert(number, Terminal { pin, uid });
        }
    }

    /// The numbers of all.
    #[must_use]
    pub fn numbers(&self) -> Vec<u32> {
        self.living().keys().copied().collect()
    }

    /// The zone's user who owns a terminal.
    #[must_use]
    pub fn owner(&self, number: u32) -> Option<u32> {
        self.living().get(&number).map(|terminal| terminal.uid)
    }

    /// Gives a terminal to a user.
    pub fn give(&self, number: u32, uid: u32) {
        if let Some(terminal) = self.living().get_mut(&number) {
            terminal.uid = uid;
        }
    }

    /// An `O_PATH` descriptor of a terminal, which goes on naming this very terminal.
    #[must_use]
    pub fn pin(&self, number: u32) -> Option<OwnedFd> {
        self.living().get(&number)?.pin.try_clone().ok()
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
        terminals.record(Path::new(&name), 33);
        let [number] = terminals.numbers()[..] else {
            panic!("one terminal");
        };
        assert_eq!(name, format!("/dev/pts/{number}"));
        assert_eq!(terminals.owner(number), Some(33));
        terminals.give(number, 0);
        assert_eq!(terminals.owner(number), Some(0));
        let pin = terminals.pin(number).expect("it lives");
        drop(master);
        assert_eq!(terminals.numbers(), [0; 0]);
        assert!(terminals.pin(number).is_none());
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
            .open(own_path(&pin));
        assert!(opened.is_err(), "a pin leads to no later terminal");
    }

    #[test]
    fn what_is_no_terminal_is_not_recorded() {
        let terminals = Terminals::default();
        terminals.record(Path::new("/dev/null"), 0);
        terminals.record(Path::new("/dev/pts/no-such"), 0);
        assert_eq!(terminals.numbers(), [0; 0]);
    }
}
