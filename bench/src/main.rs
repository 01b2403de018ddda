//! Measures zones against the same programs outside of them, in one run, in turns.
//!
//! Every measure is taken natively, in zones, and under those of the peers that the host has, one
//! after the other; ratios are to native, of the medians.
//! For times (`ns`) a ratio above 1 is what the zone costs; for rates (`/s`) one below 1 is. The raw
//! figures are kept with the result. Services listen on loopback addresses only.

#![forbid(unsafe_code)]

mod memory;
mod report;
mod services;
mod side;
mod workloads;
mod zone;

use clap::Parser;
use report::{Measure, NATIVE, Report, Unit, ZONE};
use side::Side;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use zone::{Rewrite, Zone};

/// What can go wrong, as text for the person who runs this.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Measures zones against native, and prints the ratios
#[derive(Parser)]
struct Options {
    /// The zone command to measure
    #[arg(long, default_value = "target/release/zone")]
    zone: PathBuf,
    /// Pairs of native and zone runs for each measure
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Zones with rewritten programs, without, or both (services are measured in the first)
    #[arg(long, value_enum, value_delimiter = ',', default_value = "on")]
    rewrite: Vec<Rewrite>,
    /// Only the measures whose names hold this text
    #[arg(long, default_value = "")]
    only: String,
    /// Also write figures and raw runs to this file, as JSON
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// Operations of bench-guest: name, count of one run, highest ratio that the project aims at.
const OPERATIONS: [(&str, u32, Option<f64>); 25] = [
    ("null", 300_000, Some(1.25)),
    ("read", 200_000, None),
    ("getpid", 100_000, Some(0.2)),
    ("getuid", 100_000, Some(0.2)),
    ("gettid", 100_000, Some(0.2)),
    ("uname", 100_000, Some(0.2)),
    ("open+close", 30_000, Some(1.6)),
    ("stat", 30_000, Some(1.4)),
    ("stat of a missing file", 30_000, Some(1.4)),
    ("access", 30_000, None),
    ("readlink", 30_000, None),
    ("getcwd", 30_000, None),
    ("fstat", 100_000, Some(1.3)),
    ("dup+close", 100_000, Some(1.3)),
    ("fcntl", 100_000, Some(1.3)),
    ("sigaction", 100_000, Some(1.8)),
    ("sigprocmask", 100_000, Some(1.8)),
    ("kill to self", 20_000, Some(1.5)),
    ("connect+accept+close", 3_000, Some(1.2)),
    ("thread create+join", 1_000, Some(1.2)),
    ("fork+wait", 300, Some(1.2)),
    ("fork+exec+wait", 150, Some(1.2)),
    ("chdir", 30_000, None),
    ("mkdir+rmdir", 5_000, None),
    ("create+unlink", 5_000, None),
];

fn main() -> Result<()> {
    let options = Options::parse();
    let zones = options.rewrite.iter();
    let zones: Vec<Zone> = zones
        .map(|rewrite| Zone::boot(&options.zone, *rewrite))
        .collect::<Result<_>>()?;
    let sides = Side::all(&zones)?;
    let guest = std::env::current_exe()?.with_file_name("bench-guest");
    let guests: Vec<PathBuf> = sides
        .iter()
        .map(|side| side.put(&guest))
        .collect::<Result<_>>()?;
    let mut report = Report::default();
    for (name, count, promise) in OPERATIONS {
        if !name.contains(&options.only) {
            continue;
        }
        let count = count.to_string();
        let mut measure = Measure::new(name, Unit::Nanoseconds, promise);
        for _ in 0..options.rounds {
            for (side, guest) in sides.iter().zip(&guests) {
                let guest = guest.to_str().ok_or("a path that is no text")?;
                let figure = number(&mut side.command(&[guest, name, &count]))?;
                measure.push(side.name(), figure);
            }
        }
        report.add(measure);
    }
    floor(&options, &guest, &mut report)?;
    workloads::run(&options.only, options.rounds, &sides, &mut report)?;
    if let Some(zone) = zones.first() {
        services::apache(&options.only, options.rounds, zone, &mut report)?;
        services::redis(&options.only, options.rounds, zone, &mut report)?;
    }
    // A zone that has just been booted, with nothing run in it.
    report.memory = memory::idle(&options.zone)?;
    report.print();
    if let Some(path) = &options.keep {
        std::fs::write(path, report.to_json())?;
    }
    Ok(())
}

/// What the kernel takes for any filter at all: `null` outside of zones, without one and under the
/// smallest there is. No zone can be below it.
fn floor(options: &Options, guest: &Path, report: &mut Report) -> Result<()> {
    let name = "null, smallest filter, no zone";
    if !name.contains(&options.only) {
        return Ok(());
    }
    let mut measure = Measure::new(name, Unit::Nanoseconds, None);
    for _ in 0..options.rounds {
        let mut command = Command::new(guest);
        measure.push(NATIVE, number(command.args(["null", "300000"]))?);
        measure.push(ZONE, number(command.arg("filtered"))?);
    }
    report.add(measure);
    Ok(())
}

/// Runs a command that prints one number.
fn number(command: &mut Command) -> Result<f64> {
    let zero = std::fs::File::open("/dev/zero")?;
    let output = command.stdin(zero).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.trim().parse().map_err(|_| {
        format!(
            "{command:?} printed {text:?} and ended with {}",
            output.status
        )
    })?)
}
