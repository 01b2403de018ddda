//! Our own failures, as people read them.
//!
//! Every message names the operation, the object and the remedy. What a guest is told is an errno
//! and never one of these; the death of a task is no failure at all.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

/// A failure of ours. `Display` gives one sentence; [`Error::remedy`] what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call or file operation failed.
    #[error("cannot {operation} {object}: {source}")]
    System {
        /// A verb, as in "cannot {operation} {object}".
        operation: &'static str,
        /// What it was done to.
        object: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something else is wrong, with a cause and a remedy of its own.
    #[error("cannot {operation} {object}: {cause}")]
    Refused {
        /// A verb, as in "cannot {operation} {object}".
        operation: &'static str,
        /// What it was done to.
        object: String,
        /// Why not.
        cause: String,
        /// What to do about it.
        remedy: String,
    },
    /// There is no zone of that name.
    #[error("cannot {operation} zone {name}: there is no such zone in {home}", home = home.display())]
    UnknownZone {
        /// A verb.
        operation: &'static str,
        /// The name that was asked for.
        name: String,
        /// The directory that holds the user's zones.
        home: PathBuf,
    },
    /// The operation needs a running zone.
    #[error("cannot {operation} zone {name}: it is {state}, not running")]
    NotRunning {
        /// A verb, such as "log in to".
        operation: &'static str,
        /// Name of the zone.
        name: String,
        /// Its state.
        state: crate::zone::State,
    },
    /// The operation needs a zone whose tree is complete.
    #[error("cannot {operation} zone {name}: it is {state}, its files were never completed")]
    NotInstalled {
        /// A verb.
        operation: &'static str,
        /// Name of the zone.
        name: String,
        /// Its state.
        state: crate::zone::State,
    },
    /// The host lacks something that zones need.
    #[error("cannot boot a zone on this host: {cause}")]
    Host {
        /// What is missing.
        cause: String,
        /// How to get it.
        remedy: String,
    },
    /// The zone's address is in use on this host by a zone of another home.
    #[error("cannot claim zone address number {number}: another zone of this host uses it")]
    AddressClaimed {
        /// The number of the address.
        number: u16,
    },
    /// What the monitor of a zone said; a full sentence with its remedy.
    #[error("{0}")]
    Monitor(String),
}

/// Shorthand for results of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with an explicit cause and remedy.
    pub fn refused(
        operation: &'static str,
        object: impl Display,
        cause: impl Display,
        remedy: impl Display,
    ) -> Self {
        Self::Refused {
            operation,
            object: object.to_string(),
            cause: cause.to_string(),
            remedy: remedy.to_string(),
        }
    }

    /// What the user can do about it; empty where the message already says so.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::System { source, .. } => remedy_of(source).to_owned(),
            Self::Refused { remedy, .. } | Self::Host { remedy, .. } => remedy.clone(),
            Self::UnknownZone {
                operation: "delete",
                ..
            } => "`zone list` shows the zones that exist".to_owned(),
            Self::UnknownZone { name, .. } => {
                format!(
                    "create it with `zone create {name}`; `zone list` shows the zones that exist"
                )
            }
            Self::NotRunning { name, .. } => format!("boot it with `zone boot {name}`"),
            Self::NotInstalled { name, .. } => format!(
                "run `zone create {name}` again to complete it, or `zone delete {name}` to drop it"
            ),
            Self::AddressClaimed { .. } => {
                "boot the zone again: it then takes another address".to_owned()
            }
            Self::Monitor(_) => String::new(),
        }
    }
}

/// The usual way out of an error of the kernel.
fn remedy_of(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => {
            "free some space on that file system (or raise the quota) and try again"
        }
        Some(libc::EACCES | libc::EPERM) => {
            "check the owner and the mode of it, and that you run as the user who owns the zone"
        }
        Some(libc::EROFS) => {
            "the file system is read-only: set PICOZONE_HOME to a directory that can be written"
        }
        Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files (`ulimit -n`)",
        Some(libc::ENOMEM | libc::EAGAIN) => "end some processes, or raise the user's limits",
        Some(libc::ENOENT | libc::ENOTDIR) => "check that it exists and is spelled right",
        Some(libc::EADDRINUSE) => "another program uses it: stop that one or choose another port",
        _ => "see the cause; `zone doctor` checks what the host offers",
    }
}

/// Gives a failed call its operation and object.
pub trait Doing<T> {
    /// Names what was being done, and to what.
    ///
    /// # Errors
    /// The error of `self`, as [`Error::System`].
    fn doing(self, operation: &'static str, object: impl Display) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, operation: &'static str, object: impl Display) -> Result<T> {
        self.map_err(|source| Error::System {
            operation,
            object: object.to_string(),
            source: source.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_operation_object_and_remedy() {
        let failed: std::result::Result<(), _> = Err(io::Error::from_raw_os_error(libc::ENOSPC));
        let error = failed
            .doing("write", "zones/web1/state")
            .expect_err("it failed");
        assert!(
            error
                .to_string()
                .starts_with("cannot write zones/web1/state: No space left")
        );
        assert!(error.remedy().contains("free some space"));
    }
}
