//! Changes of a zone's configuration.

use super::lifecycle::{Outcome, take};
use super::{Name, Zone, runner};
use crate::config::{Config, IdKind};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::ownership::{Journal, Said, Store};
use crate::zone::state::State;
use picozone_personality::acl;

/// Gives keys of the configuration other values; they hold from the next boot on. Whether the zone
/// runs with the old ones.
///
/// # Errors
/// A key or value is refused; then nothing is changed.
pub fn set(home: &Home, name: &Name, changes: &[(String, String)]) -> Result<(Outcome, bool)> {
    let zone = Zone::open(home, name, "configure")?;
    let _lock = take(&zone, "configure")?;
    let old = zone.config()?;
    let mut config = old.clone();
    for (key, text) in changes {
        config = config.with(key, text).map_err(|cause| {
            Error::refused(
                "configure",
                format_args!("zone {name}"),
                match cause.strip_prefix(&**key) {
                    Some(_) => cause,
                    None => format!("{key}: {cause}"),
                },
                format_args!("`zone config {name} show` has the keys that are set; docs/MANUAL.md tells of all"),
            )
        })?;
    }
    let is_up = zone.observe()?.state.is_up();
    if config == old {
        return Ok((Outcome::AlreadySo, is_up));
    }
    if config.users != old.users {
        check_users(&zone, &config, is_up)?;
    }
    config.store(&zone.config_path())?;
    Ok((Outcome::Done(()), is_up))
}

/// Whether the zone's files can have the users of the configuration.
fn check_users(zone: &Zone, config: &Config, is_up: bool) -> Result<()> {
    runner::of(zone.name(), config)?;
    if is_up {
        return Err(Error::refused(
            "change the users of",
            format_args!("zone {}", zone.name()),
            "its programs run with the old ones",
            format_args!("halt it first with `zone halt {}`", zone.name()),
        ));
    }
    if zone.lasting() != super::Lasting::Installed {
        return Err(Error::NotInstalled {
            operation: "change the users of",
            name: zone.name().to_string(),
            state: State::from(zone.lasting()),
        });
    }
    let maps = [IdKind::User, IdKind::Group].map(|kind| config.users.map(kind, u32::MAX));
    let store = Store::open(zone.dir())?;
    let (_, left) = Journal::open(zone.dir(), store.last()?)?;
    let lists = store.attributes(&left)?;
    let rows = (store.rows()?.into_iter()).chain(left.iter().filter_map(Said::owner));
    let of_files = rows.map(|(_, owner)| (owner.uid, owner.gid));
    let named = lists.iter().flat_map(|change| acl::names(change.list()));
    // Zero is in every map.
    let of_lists = named.map(|(is_user, id)| if is_user { (id, 0) } else { (0, id) });
    let mut lost: Vec<(u32, u32)> = of_files
        .chain(of_lists)
        .filter(|(uid, gid)| !maps[0].has(*uid) || !maps[1].has(*gid))
        .collect();
    if let Some((uid, gid)) = lost.pop() {
        return Err(Error::refused(
            "change the users of",
            format_args!("zone {}", zone.name()),
            format_args!(
                "{} of its files belong to users whom the map has not, as {uid}:{gid}",
                lost.len() + 1
            ),
            "take them into the map, or give those files away in the zone first",
        ));
    }
    Ok(())
}
