//! Zones: names, addresses, states, and the way from one state to the next.
//!
//! Key types are [`Zone`], a named directory with configuration and tree, and [`state::State`].
//! [`lifecycle`] holds what the commands do; `tree` makes the files and `engine` runs the zone.
//! Deliberately absent is any record of what runs: [`liveness`] asks the kernel.
//!
//! Lock order: the lock of a zone before the lock of the home.

pub mod address;
pub mod atomic;
pub mod channel;
pub mod check;
pub mod claim;
pub mod configure;
pub mod export;
pub mod lifecycle;
pub mod liveness;
pub mod lock;
pub mod name;
mod record_lock;
pub mod registry;
pub mod runner;
mod setup;
pub mod state;

pub use name::Name;
pub use state::{Lasting, Observed, State};

use crate::config::Config;
use crate::control::{Reply, Request};
use crate::error::{Doing, Error, Result};
use crate::home::Home;
use channel::Channel;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a command waits for an answer of the monitor.
const PATIENCE: Duration = Duration::from_secs(30);

/// A zone that has a directory.
#[derive(Debug, Clone)]
pub struct Zone {
    name: Name,
    dir: PathBuf,
}

impl Zone {
    /// Finds a zone by its name; `operation` is the verb of the error message.
    ///
    /// # Errors
    /// [`Error::UnknownZone`].
    pub fn open(home: &Home, name: &Name, operation: &'static str) -> Result<Self> {
        let zone = Self {
            name: name.clone(),
            dir: home.zones().join(name),
        };
        if zone.dir.is_dir() {
            return Ok(zone);
        }
        Err(Error::UnknownZone {
            operation,
            name: name.to_string(),
            home: home.dir().to_owned(),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// `zones/NAME`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `zones/NAME/run`, which belongs to the monitor while the zone runs.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// `zones/NAME/zone.toml`.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.dir.join("zone.toml")
    }

    /// Reads its configuration.
    ///
    /// # Errors
    /// See [`Config::load`].
    pub fn config(&self) -> Result<Config> {
        Config::load(&self.config_path())
    }

    /// Connects to its monitor; `operation` is the verb of the error message.
    ///
    /// # Errors
    /// [`Error::NotRunning`], or the monitor cannot be reached.
    pub fn connect(&self, operation: &'static str) -> Result<Channel> {
        match Channel::connect(&self.run_dir(), PATIENCE) {
            Ok(channel) => Ok(channel),
            Err(error) => {
                let state = self.observe()?.state;
                if state == State::Running {
                    return Err(error)
                        .doing("reach the monitor of", format_args!("zone {}", self.name));
                }
                Err(Error::NotRunning {
                    operation,
                    name: self.name.to_string(),
                    state,
                })
            }
        }
    }

    /// Asks the monitor one thing; an error that it answers is returned as such.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Monitor`], or the monitor cannot be reached.
    pub fn ask(&self, operation: &'static str, request: &Request) -> Result<Reply> {
        self.ask_by(&self.connect(operation)?, operation, request, &[])
    }

    /// The same over a connection that is to stay, with descriptors.
    ///
    /// # Errors
    /// [`Error::Monitor`], or the monitor ends or cannot be reached.
    pub fn ask_by(
        &self,
        channel: &Channel,
        operation: &'static str,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Reply> {
        let object = format!("zone {}", self.name);
        channel
            .send(request, descriptors)
            .doing("ask the monitor of", &object)?;
        match channel
            .receive::<Reply>()
            .doing("ask the monitor of", &object)?
        {
            Some((Reply::Error { message }, _)) => Err(Error::Monitor(message)),
            Some((reply, _)) => Ok(reply),
            None => Err(self.ended(operation)),
        }
    }

    /// The error of a zone that ended in the middle of a request.
    #[must_use]
    pub fn ended(&self, operation: &'static str) -> Error {
        Error::refused(
            operation,
            format_args!("zone {}", self.name),
            "the zone's monitor ended",
            format_args!(
                "its last words are in {}; boot it again with `zone boot {}`",
                self.dir.join("run/log").display(),
                self.name
            ),
        )
    }

    /// A zone in some directory.
    #[cfg(test)]
    pub(crate) fn for_test(dir: &Path) -> Self {
        Self {
            name: "test".parse().expect("a name"),
            dir: dir.to_owned(),
        }
    }
}
