//! All zones of a home, and the numbers of their addresses.

use super::{Name, Zone, address, claim};
use crate::error::{Doing, Error, Result};
use crate::home::Home;
use std::collections::BTreeSet;

/// Every zone of the home, by name.
///
/// # Errors
/// The directory cannot be read.
pub fn all(home: &Home) -> Result<Vec<Zone>> {
    let mut zones = Vec::new();
    let dir = home.zones();
    for entry in std::fs::read_dir(&dir).doing("read", dir.display())? {
        let entry = entry.doing("read", dir.display())?;
        // What has no zone's name is not ours, and no command could name it.
        let name = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<Name>().ok());
        if let Some(name) = name
            && entry.path().is_dir()
        {
            zones.push(Zone {
                name,
                dir: entry.path(),
            });
        }
    }
    zones.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(zones)
}

/// The smallest number that no other zone of the home has and nobody on this host has claimed.
/// The caller holds the home's lock until the number is in the zone's configuration.
///
/// # Errors
/// All numbers are taken, or the kernel gives no socket.
pub fn free_number(home: &Home, for_zone: &Name) -> Result<u16> {
    let mut taken = BTreeSet::new();
    for zone in all(home)? {
        if zone.name() != for_zone
            && let Ok(config) = zone.config()
        {
            taken.insert(config.number);
        }
    }
    for number in 1..=address::NUMBER_MAX {
        if !taken.contains(&number)
            && claim::is_free(number).doing("claim", address::host_v4(number))?
        {
            return Ok(number);
        }
    }
    Err(Error::refused(
        "find an address for",
        format_args!("zone {for_zone}"),
        "every address of 10.111.0.0/16 is taken",
        "delete zones that are not needed any more",
    ))
}
