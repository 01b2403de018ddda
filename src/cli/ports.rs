//! `zone ports`.

use super::print;
use crate::config::show_protocol;
use crate::control::{Port, Reply, Request};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::zone::{Name, State, Zone, registry};
use serde::Serialize;

/// List the ports that zones have bound, and where the host reaches them
#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of a zone; all running ones if missing
    #[arg(value_parser = super::name)]
    name: Option<Name>,
    /// Show JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    zone: String,
    #[serde(flatten)]
    port: Port,
}

fn ask(zone: &Zone) -> Result<Vec<Port>> {
    match zone.ask("list the ports of", &Request::Ports)? {
        Reply::Ports { ports } => Ok(ports),
        other => Err(unexpected(zone, &other)),
    }
}

/// The error of an answer to another question.
pub(super) fn unexpected(zone: &Zone, reply: &Reply) -> Error {
    Error::refused(
        "understand the monitor of",
        format_args!("zone {}", zone.name()),
        format_args!("it answers {reply:?}"),
        "it may be of another version: halt the zone and boot it again",
    )
}

impl Args {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        let mut rows = Vec::new();
        let mut add = |zone: &Zone| -> Result<()> {
            let name = zone.name().to_string();
            rows.extend(ask(zone)?.into_iter().map(|port| Row {
                zone: name.clone(),
                port,
            }));
            Ok(())
        };
        if let Some(name) = &self.name {
            add(&Zone::open(home, name, "list the ports of")?)?;
        } else {
            for zone in registry::all(home)? {
                // A zone that ends meanwhile has no ports any more.
                if zone
                    .observe()
                    .is_ok_and(|found| found.state == State::Running)
                    && let Err(error) = add(&zone)
                    && !matches!(error, Error::NotRunning { .. })
                {
                    return Err(error);
                }
            }
        }
        if self.json {
            print::json(&rows);
            return Ok(0);
        }
        let titles = ["ZONE", "PORT", "ADDRESS", "ON THE HOST", "PUBLISHED"].map(str::to_owned);
        let lines = rows.iter().map(|Row { zone, port }| {
            let published: Vec<String> = port.published.iter().map(ToString::to_string).collect();
            [
                zone.clone(),
                format!("{}/{}", port.zone_port, show_protocol(port.protocol)),
                std::net::SocketAddr::new(port.zone_address, port.zone_port).to_string(),
                format!("{}:{}", port.host_address, port.host_port),
                published.join(" "),
            ]
        });
        print::table(&std::iter::once(titles).chain(lines).collect::<Vec<_>>());
        Ok(0)
    }
}
