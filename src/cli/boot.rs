//! `zone boot`.

use super::print;
use crate::error::Result;
use crate::home::Home;
use crate::zone::Name;
use crate::zone::lifecycle::{self, Outcome};

/// Boot a zone: start its monitor and its init
#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of the zone
    #[arg(value_parser = super::name)]
    name: Name,
}

impl Args {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        match lifecycle::boot(home, &self.name)? {
            Outcome::Done(()) => print::text(&format!("zone {} booted\n", self.name)),
            Outcome::AlreadySo => print::text(&format!("zone {} runs already\n", self.name)),
        }
        Ok(0)
    }
}
