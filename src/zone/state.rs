//! The states of a zone.
//!
//! What lasts (`configured`, `incomplete`, `installed`) is in the file `state`; what runs
//! (`ready`, `running`, `shutting-down`, `down`) is derived at each question from what really
//! runs, and stored nowhere.

use super::channel::Channel;
use super::{Zone, liveness};
use crate::control::{Reply, Request, Status};
use crate::error::{Doing, Result};
use nix::unistd::Pid;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// How long a question about the state waits for a monitor that does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// State of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It has a configuration and no files.
    Configured,
    /// Its files are being made or removed, or that was interrupted.
    Incomplete,
    /// It can be booted.
    Installed,
    /// Its monitor lives, but its init does not run yet.
    Ready,
    /// It runs.
    Running,
    /// Its processes are being ended.
    ShuttingDown,
    /// It ran, and its monitor ended without halting it. It can be booted.
    Down,
}

impl State {
    /// The word for it, as `zone list` shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Incomplete => "incomplete",
            Self::Installed => "installed",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Down => "down",
        }
    }

    /// Whether a monitor lives.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, Self::Ready | Self::Running | Self::ShuttingDown)
    }

    /// Whether the zone's files are complete.
    #[must_use]
    pub fn has_files(self) -> bool {
        !matches!(self, Self::Configured | Self::Incomplete)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The part of the state that the disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// See [`State::Configured`].
    Configured,
    /// See [`State::Incomplete`].
    Incomplete,
    /// See [`State::Installed`].
    Installed,
}

impl From<Lasting> for State {
    fn from(lasting: Lasting) -> Self {
        match lasting {
            Lasting::Configured => Self::Configured,
            Lasting::Incomplete => Self::Incomplete,
            Lasting::Installed => Self::Installed,
        }
    }
}

/// What is found when one looks at a zone.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Its state.
    pub state: State,
    /// Its monitor, on the host.
    pub monitor: Option<Pid>,
    /// What the monitor says of it, where it answers.
    pub status: Option<Status>,
}

impl Zone {
    /// The lasting state. Anything unreadable counts as incomplete: such a zone is not booted.
    #[must_use]
    pub fn lasting(&self) -> Lasting {
        match std::fs::read_to_string(self.dir().join("state"))
            .as_deref()
            .map(str::trim_end)
        {
            Ok("configured") => Lasting::Configured,
            Ok("installed") => Lasting::Installed,
            _ => Lasting::Incomplete,
        }
    }

    /// Writes the lasting state, atomically.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_lasting(&self, lasting: Lasting) -> Result<()> {
        let text = format!("{}\n", State::from(lasting));
        super::atomic::write(&self.dir().join("state"), text.as_bytes(), 0o600)
    }

    /// Looks at what really runs.
    ///
    /// # Errors
    /// The zone's files cannot be read.
    pub fn observe(&self) -> Result<Observed> {
        let run_dir = self.run_dir();
        let alive = || liveness::monitor(&run_dir).doing("look at", run_dir.display());
        let mut monitor = alive()?;
        let mut status = None;
        let mut state = State::Ready;
        if monitor.is_some() {
            match Channel::connect(&run_dir, PATIENCE) {
                Ok(channel) => {
                    // A monitor that listens but is too busy to answer still runs the zone.
                    state = State::Running;
                    if channel.send(&Request::Status, &[]).is_ok()
                        && let Ok(Some((Reply::Status(answer), _))) = channel.receive()
                    {
                        status = Some(answer);
                    }
                }
                // Not listening yet, or not any more.
                Err(_) => monitor = alive()?,
            }
        }
        if monitor.is_none() {
            let is_left_over =
                liveness::is_left_over(&run_dir) && self.lasting() == Lasting::Installed;
            state = if is_left_over {
                State::Down
            } else {
                self.lasting().into()
            };
        } else if liveness::is_halting(&run_dir) {
            state = State::ShuttingDown;
        }
        Ok(Observed {
            state,
            monitor,
            status,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lasting_state_lasts_and_a_broken_one_is_incomplete() {
        let temporary = tempfile::tempdir().expect("a directory");
        let zone = Zone::for_test(temporary.path());
        let state = || zone.observe().expect("observed").state;
        assert_eq!(state(), State::Incomplete);
        for lasting in [Lasting::Configured, Lasting::Incomplete, Lasting::Installed] {
            zone.set_lasting(lasting).expect("written");
            assert_eq!(state(), State::from(lasting));
        }
        let run_dir = liveness::fresh(zone.dir()).expect("made");
        assert_eq!(state(), State::Installed);
        std::fs::write(run_dir.join("monitor.pid"), "1\n").expect("written");
        assert_eq!(state(), State::Down);
        std::fs::write(zone.dir().join("state"), "instal").expect("written");
        assert_eq!(state(), State::Incomplete);
    }
}
