//! A zone's files and configuration for another machine, or another zone.

use super::lifecycle::take;
use super::{Lasting, Name, Zone};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::tree::{self, Packed};
use std::io::Write;

/// Packs a zone that does not run into a tarball.
///
/// # Errors
/// The zone runs, or has no complete files; or the tarball cannot be written.
pub fn export(home: &Home, name: &Name, to: impl Write) -> Result<Packed> {
    let zone = Zone::open(home, name, "export")?;
    let _lock = take(&zone, "export")?;
    if zone.observe()?.state.is_up() {
        return Err(Error::refused(
            "export",
            format_args!("zone {name}"),
            "it runs, and its files change meanwhile",
            format_args!("halt it first with `zone halt {name}`"),
        ));
    }
    if zone.lasting() != Lasting::Installed {
        return Err(Error::NotInstalled {
            operation: "export",
            name: name.to_string(),
            state: zone.lasting().into(),
        });
    }
    let config = zone.config()?;
    tree::pack(&config, zone.dir(), to)
}
