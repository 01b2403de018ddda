//! Measures zones against the same programs outside of them, in one run, in turns.
//!
//! Every measure is taken natively, in zones, and under those of the peers that the host has, one
//! after the other; ratios are to native, of the medians.
//! For times (`ns`) a ratio above 1 is what the zone costs; for rates (`/s`) one below 1 is. The raw
//! figures are kept with the result. Services listen on loopback addresses only.

#![forbid(unsafe_code)]

mod flight;
mod limited;
mod measure;
mod memory;
mod plot;
mod report;
mod services;
mod side;
mod start;
mod traced;
mod turns;
mod web;
mod workloads;
mod zone;

use clap::Parser;
use limited::number;
use measure::{FLOOR, Goal, Measure, Unit};
use report::Report;
use side::Side;
use std::path::{Path, PathBuf};
use std::time::Duration;
use turns::Rounds;
use zone::{Kind, Zone};

/// What can go wrong, as text for the person who runs this.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Measures zones against native, and prints the ratios
#[derive(Parser)]
struct Options {
    /// The zone command to measure
    #[arg(long, default_value = "target/release/zone")]
    zone: PathBuf,
    /// How often each side of each measure is run at least
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// For how long, in seconds, what takes less is measured again, up to five times as often
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Zones with rewritten programs, without, and by a user of one with the strict profile (services
    /// are measured in the first)
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "rewritten,sigsys,strict"
    )]
    zones: Vec<Kind>,
    /// Only the measures whose names hold this text
    #[arg(long, default_value = "")]
    only: String,
    /// Only single calls
    #[arg(long)]
    micro: bool,
    /// Only these peers of those that the host has (`none`: without any)
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Also write figures and tables to files of this name: .json, .md, .tsv, .svg
    #[arg(long)]
    keep: Option<PathBuf>,
}

impl Options {
    fn rounds(&self) -> Rounds {
        Rounds {
            least: self.rounds,
            span: Duration::from_secs(self.seconds),
        }
    }
}

/// Operations of bench-guest: name, count of one run, the ratio that the project aims at, and what of a
/// zone's walls is put around the native one for the side [`FLOOR`].
const OPERATIONS: [(&str, u32, Option<f64>, Option<&str>); 29] = [
    ("null", 300_000, Some(1.2), Some("filtered")),
    ("read", 200_000, Some(1.05), Some("filtered")),
    ("write", 200_000, Some(1.05), Some("filtered")),
    ("mmap+munmap", 100_000, Some(1.05), Some("looked-at")),
    ("epoll_wait", 200_000, Some(1.05), Some("filtered")),
    ("futex", 200_000, Some(1.05), Some("filtered")),
    ("getpid", 100_000, Some(0.2), None),
    ("getuid", 100_000, Some(0.2), None),
    ("gettid", 100_000, Some(0.2), None),
    ("uname", 100_000, Some(0.2), None),
    ("open+close", 30_000, Some(1.6), Some("walled")),
    ("stat", 30_000, Some(1.4), Some("looked-at")),
    (
        "stat of a missing file",
        30_000,
        Some(1.4),
        Some("looked-at"),
    ),
    ("access", 30_000, None, None),
    ("readlink", 30_000, None, None),
    ("getcwd", 30_000, None, None),
    ("fstat", 100_000, Some(1.3), Some("looked-at")),
    ("dup+close", 100_000, Some(1.3), Some("looked-at")),
    ("fcntl", 100_000, Some(1.3), Some("looked-at")),
    ("sigaction", 100_000, Some(1.8), Some("looked-at")),
    ("sigprocmask", 100_000, Some(1.8), Some("looked-at")),
    ("kill to self", 20_000, Some(1.5), None),
    ("connect+accept+close", 3_000, Some(1.2), None),
    ("thread create+join", 1_000, Some(1.2), None),
    ("fork+wait", 300, Some(1.2), None),
    ("fork+exec+wait", 150, Some(1.2), None),
    ("chdir", 30_000, None, None),
    ("mkdir+rmdir", 5_000, None, None),
    ("create+unlink", 5_000, None, None),
];

fn main() -> Result<()> {
    let options = Options::parse();
    let zones = options.zones.iter();
    let zones: Vec<Zone> = zones
        .map(|kind| Zone::boot(&options.zone, *kind))
        .collect::<Result<_>>()?;
    let sides = Side::all(&zones, &options.peers)?;
    let guest = std::env::current_exe()?.with_file_name("bench-guest");
    let mut report = Report::default();
    operations(&options, &guest, &sides, &mut report)?;
    let (only, rounds) = (options.only.as_str(), options.rounds());
    if let Some(zone) = zones.first() {
        traced::run(only, rounds.least, zone, &sides, &guest, &mut report)?;
    }
    if !options.micro {
        start::run(only, rounds, &sides, &mut report);
        workloads::run(only, rounds, &sides, &mut report);
        web::pgbench(only, rounds, &sides, &mut report);
        if let Some(zone) = zones.first() {
            web::run(only, rounds, zone, &mut report);
            for service in [services::apache, services::redis] {
                if let Err(error) = service(only, rounds, zone, &mut report) {
                    eprintln!("{error}");
                }
            }
        }
        if let Err(error) = flight::run(only, rounds.least, &options.zone, &mut report) {
            eprintln!("{error}");
        }
        report.memory = memory::measure(&options.zone)?;
    }
    print!("{}", report.to_markdown());
    if let Some(path) = &options.keep {
        report.keep(path)?;
    }
    if report.is_whole() {
        Ok(())
    } else {
        Err("a zone or the host itself failed, as is said above".into())
    }
}

/// Single calls, on each side in turns.
fn operations(
    options: &Options,
    guest: &Path,
    sides: &[Side<'_>],
    report: &mut Report,
) -> Result<()> {
    let wanted = OPERATIONS
        .iter()
        .filter(|(name, ..)| name.contains(&options.only));
    let guests: Vec<String> = sides
        .iter()
        .map(|side| side.put(guest, "bench-guest"))
        .collect::<Result<_>>()?;
    for (side, guest) in sides.iter().zip(&guests) {
        if let Some(zone) = side.zone() {
            zone.warm(guest)?;
        }
    }
    for (name, count, goal, walls) in wanted {
        let count = count.to_string();
        let goal = goal.map_or(Goal::None, Goal::Ratio);
        let mut measure = Measure::new(name, Unit::Nanoseconds, goal);
        for _ in options.rounds().turns() {
            for (side, guest) in sides.iter().zip(&guests) {
                // Where files are made, in the side's own directory.
                let script = format!("exec {guest} '{name}' {count} </dev/zero");
                measure.take(side.name(), || number(&mut side.script(&script)));
            }
            if let (Some(walls), Some(side), Some(guest)) = (walls, sides.first(), guests.first()) {
                let script = format!("exec {guest} '{name}' {count} {walls} </dev/zero");
                measure.take(FLOOR, || number(&mut side.script(&script)));
            }
        }
        report.add(measure);
    }
    Ok(())
}
