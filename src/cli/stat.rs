//! `zone stat`.

use super::print;
use crate::control::{Reply, Request};
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

impl Args {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        let zone = Zone::open(home, &self.name, "look into")?;
        let stat = match zone.ask("look into", &Request::Stat)? {
            Reply::Stat(stat) => stat,
            other => return Err(super::ports::unexpected(&zone, &other)),
        };
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
