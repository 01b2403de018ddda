//! `zone config`.

use super::print;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::zone::lifecycle::Outcome;
use crate::zone::{Name, Zone, configure};

/// Show or change the configuration of a zone
///
/// Changes hold from the next boot on. Keys are those of zone.toml, with a dot between a table and
/// its key: hostname, rewrite, users.map, ... An empty value takes a key away.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of the zone
    #[arg(value_parser = super::name)]
    name: Name,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Show all that is configured, as zone.toml has it (where nothing else is asked for, too)
    Show,
    /// Show the value of one key
    Get {
        /// As hostname or users.map
        key: String,
    },
    /// Give keys other values
    Set {
        /// As hostname=www or users.map=0:100000:65536
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = change)]
        changes: Vec<(String, String)>,
    },
}

fn change(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a change is KEY=VALUE, as hostname=www".to_owned()),
    }
}

impl Args {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        let zone = Zone::open(home, &self.name, "configure")?;
        match self.action.unwrap_or(Action::Show) {
            Action::Show => print::text(&zone.config()?.to_toml()),
            Action::Get { key } => {
                let value = zone.config()?.value(&key).ok_or_else(|| {
                    Error::refused(
                        "show",
                        format_args!("{key} of zone {}", self.name),
                        "it is not set",
                        format_args!("`zone config {} show` has what is", self.name),
                    )
                })?;
                print::text(&format!("{value}\n"));
            }
            Action::Set { changes } => {
                let (outcome, is_up) = configure::set(home, &self.name, &changes)?;
                let said = match (outcome, is_up) {
                    (Outcome::AlreadySo, _) => "is so already",
                    (Outcome::Done(()), true) => {
                        "is configured; it runs with the old values until its next boot"
                    }
                    (Outcome::Done(()), false) => "is configured",
                };
                print::text(&format!("zone {} {said}\n", self.name));
            }
        }
        Ok(0)
    }
}
