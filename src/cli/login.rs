//! `zone login`.

use super::program;
use crate::error::Result;
use crate::home::Home;
use crate::terminal::Signals;
use crate::zone::{Name, Zone};
use std::ffi::OsString;

/// Run a program in a running zone; without one, the user's login shell
///
/// The exit status is that of the program.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of the zone
    #[arg(value_parser = super::name)]
    name: Name,
    #[command(flatten)]
    options: program::Options,
    /// The program and its arguments
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Args {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        let zone = Zone::open(home, &self.name, "log in to")?;
        // Asked first, so that the message is about the zone and not about its users.
        let channel = zone.connect("log in to")?;
        let signals = Signals::hold()?;
        let ended = self.options.run(&zone, channel, self.command, &signals)?;
        Ok(ended.status())
    }
}
