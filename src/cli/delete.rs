//! `zone delete`.

use super::print;
use crate::error::Result;
use crate::home::Home;
use crate::zone::{Name, lifecycle};

/// Delete a zone with all its files
#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of the zone
    #[arg(value_parser = super::name)]
    name: Name,
    /// Delete it even if it runs; its processes are killed
    #[arg(long, short)]
    force: bool,
}

impl Args {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        lifecycle::delete(home, &self.name, self.force)?;
        print::text(&format!("zone {} deleted\n", self.name));
        Ok(0)
    }
}
