//! `zone publish`.

use super::print;
use crate::config::show;
use crate::control::Publish;
use crate::error::Result;
use crate::home::Home;
use crate::zone::Name;
use crate::zone::lifecycle::{self, Outcome};

/// Make a port of a zone reachable at a port of the host
///
/// It is written into the zone's configuration; a running zone gets it at once.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of the zone
    #[arg(value_parser = super::name)]
    name: Name,
    /// As 8080:80 (on the host's 127.0.0.1), 0.0.0.0:8080:80 (on every address) or 5353:53/udp
    #[arg(value_name = "[ADDR:]HPORT:ZPORT[/tcp|udp]", value_parser = super::publication)]
    port: Publish,
    /// Take the publication back
    #[arg(long)]
    remove: bool,
}

impl Args {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        let (change, done, already) = if self.remove {
            (
                lifecycle::unpublish as fn(_, _, _) -> _,
                "is not published any more",
                "was not published",
            )
        } else {
            (
                lifecycle::publish as fn(_, _, _) -> _,
                "is published",
                "is published already",
            )
        };
        let outcome: Outcome = change(home, &self.name, &self.port)?;
        let said = if outcome == Outcome::AlreadySo {
            already
        } else {
            done
        };
        print::text(&format!(
            "zone {}: {} {said}\n",
            self.name,
            show(&self.port)
        ));
        Ok(0)
    }
}
