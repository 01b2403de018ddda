//! `zone diff`.

use super::print;
use crate::error::Result;
use crate::home::Home;
use crate::monitor::layers::diff::{self, Kind};
use crate::zone::{Name, Zone};
use serde::Serialize;
use std::os::unix::ffi::OsStrExt;

/// Show what a zone has changed in its copy-on-write mounts
///
/// One line for each path: A for one that is new, C for one that has been changed, D for one that is
/// gone. Of a directory that is gone, what was in it is not listed; where another one is in its place,
/// what that does not have is.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of the zone
    #[arg(value_parser = super::name)]
    name: Name,
    /// Show JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    change: Kind,
    path: String,
}

impl Args {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        let zone = Zone::open(home, &self.name, "look into")?;
        let changes = diff::changes(&zone.config()?, zone.dir())?;
        if self.json {
            let rows = changes.iter().map(|change| Row {
                change: change.kind,
                path: change.path.to_string_lossy().into_owned(),
            });
            print::json(&rows.collect::<Vec<_>>());
            return Ok(0);
        }
        let mut text = Vec::new();
        for change in changes {
            text.extend([change.kind.letter(), b' ']);
            text.extend(change.path.as_os_str().as_bytes());
            text.push(b'\n');
        }
        print::bytes(&text);
        Ok(0)
    }
}
