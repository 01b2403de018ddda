//! `zone halt`.

use super::print;
use crate::error::Result;
use crate::home::Home;
use crate::zone::Name;
use crate::zone::lifecycle::{self, Outcome};
use std::time::Duration;

/// Halt a zone: end its processes and its monitor; its files stay
#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of the zone
    #[arg(value_parser = super::name)]
    name: Name,
    /// How many seconds processes have to end by themselves (SIGTERM) before they are killed
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=86_400))]
    timeout: u64,
}

impl Args {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        match lifecycle::halt(home, &self.name, Duration::from_secs(self.timeout))? {
            Outcome::Done(()) => print::text(&format!("zone {} halted\n", self.name)),
            Outcome::AlreadySo => print::text(&format!("zone {} does not run\n", self.name)),
        }
        Ok(0)
    }
}
