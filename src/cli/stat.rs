//! `zone stat`.

use super::print;
use crate::control::{Reply, Request, Stat};
use crate::error::Result;
use crate::home::Home;
use crate::zone::{Name, Zone};

/// Show counters of a running zone: requests to its monitor, calls entered and refused
#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of the zone
    #[arg(value_parser = super::name)]
    name: Name,
    /// Show JSON
    #[arg(long)]
    json: bool,
}

/// Asks the monitor for its counters.
pub(super) fn ask(zone: &Zone) -> Result<Stat> {
    match zone.ask("look into", &Request::Stat)? {
        Reply::Stat(stat) => Ok(stat),
        other => Err(super::ports::unexpected(zone, &other)),
    }
}

impl Args {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        let stat = ask(&Zone::open(home, &self.name, "look into")?)?;
        if self.json {
            print::json(&stat);
            return Ok(0);
        }
        let titles = ["COUNTER", "NAME", "COUNT"].map(str::to_owned);
        let groups = [
            ("request", &stat.requests),
            ("entered", &stat.entered),
            ("refused", &stat.refused),
        ];
        let lines = groups.iter().flat_map(|(group, counts)| {
            counts
                .iter()
                .map(|(name, count)| [(*group).to_owned(), name.clone(), count.to_string()])
        });
        print::table(&std::iter::once(titles).chain(lines).collect::<Vec<_>>());
        Ok(0)
    }
}
