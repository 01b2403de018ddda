//! Whether a zone's files and what is said of them agree.

use super::lifecycle::take;
use super::{Lasting, Name, Zone};
use crate::config::Access;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::ownership::check::{Report, check as check_store};

/// Checks the ownership store of a zone that does not run, and mends it if wanted.
///
/// # Errors
/// The zone runs or has no complete files, or the store is beyond repair.
pub fn check(home: &Home, name: &Name, is_repair: bool) -> Result<Report> {
    let zone = Zone::open(home, name, "check")?;
    let _lock = take(&zone, "check")?;
    if zone.observe()?.state.is_up() {
        return Err(Error::refused(
            "check",
            format_args!("zone {name}"),
            "it runs, and its monitor has the ownership store open",
            format_args!("halt it first with `zone halt {name}`"),
        ));
    }
    if zone.lasting() != Lasting::Installed {
        return Err(Error::NotInstalled {
            operation: "check",
            name: name.to_string(),
            state: zone.lasting().into(),
        });
    }
    let config = zone.config()?;
    let binds = config
        .binds
        .iter()
        .filter(|bind| bind.access == Access::ReadWrite);
    let mut trees = vec![zone.dir().to_owned()];
    trees.extend(config.root.clone());
    trees.extend(binds.map(|bind| bind.host.clone()));
    check_store(zone.dir(), &trees, is_repair)
}
