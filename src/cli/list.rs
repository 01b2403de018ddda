//! `zone list`.

use super::print;
use crate::error::Result;
use crate::home::Home;
use crate::zone::{State, Zone, address, registry};
use serde::Serialize;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// List zones with their states and addresses
///
/// States: configured and incomplete (no complete files: `zone create` completes them), installed,
/// ready (its monitor starts), running, shutting-down, down (its monitor was killed).
#[derive(clap::Args)]
pub(super) struct Args {
    /// Show JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    name: String,
    state: State,
    number: Option<u16>,
    address: Option<Ipv4Addr>,
    host_address: Option<Ipv4Addr>,
    hostname: Option<String>,
    root: Option<PathBuf>,
    monitor_pid: Option<i32>,
    init_pid: Option<i32>,
    processes: Option<usize>,
    booted_at: Option<u64>,
    /// Why the configuration cannot be used, where it cannot.
    error: Option<String>,
}

fn look(zone: &Zone) -> Result<Row> {
    let found = zone.observe()?;
    let (config, error) = match zone.config() {
        Ok(config) => (Some(config), None),
        // An incomplete zone has none; that is what its state says.
        Err(_) if !found.state.has_files() => (None, None),
        Err(error) => (None, Some(error)),
    };
    if let Some(error) = &error {
        super::complain(error);
    }
    let number = config.as_ref().map(|config| config.number);
    let status = found.status.as_ref();
    Ok(Row {
        name: zone.name().to_string(),
        state: found.state,
        number,
        address: number.map(address::zone_v4),
        host_address: number.map(address::host_v4),
        hostname: config.as_ref().map(|config| config.hostname.clone()),
        root: config.as_ref().map(|config| config.root_dir(zone.dir())),
        monitor_pid: found.monitor.map(nix::unistd::Pid::as_raw),
        init_pid: status.map(|status| status.init_pid),
        processes: status.map(|status| status.processes),
        booted_at: status.map(|status| status.booted_at),
        error: error.map(|error| error.to_string()),
    })
}

impl Args {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        let mut rows = Vec::new();
        for zone in registry::all(home)? {
            match look(&zone) {
                Ok(row) => rows.push(row),
                // Deleted by another command since it was listed.
                Err(_) if !zone.dir().exists() => {}
                Err(error) => return Err(error),
            }
        }
        if self.json {
            print::json(&rows);
            return Ok(0);
        }
        let show = |value: &Option<Ipv4Addr>| {
            value.map_or_else(|| "-".to_owned(), |value| value.to_string())
        };
        let titles = [
            "NAME",
            "STATE",
            "ADDRESS",
            "ON THE HOST",
            "PROCESSES",
            "HOST NAME",
        ]
        .map(str::to_owned);
        let lines = rows.iter().map(|row| {
            [
                row.name.clone(),
                row.state.to_string(),
                show(&row.address),
                show(&row.host_address),
                row.processes
                    .map_or_else(|| "-".to_owned(), |count| count.to_string()),
                row.hostname.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        });
        print::table(&std::iter::once(titles).chain(lines).collect::<Vec<_>>());
        Ok(0)
    }
}
