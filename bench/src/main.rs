//! Measures zones against the same programs outside of them, in one run, in turns.
//!
//! Every measure is taken natively and in the zone alternately; the ratio is that of the medians.
//! For times (`ns`) a ratio above 1 is what the zone costs; for rates (`/s`) one below 1 is. The raw
//! figures are kept with the result. Services listen on loopback addresses only.

#![forbid(unsafe_code)]

mod memory;
mod report;
mod services;
mod zone;

use clap::Parser;
use report::{Measure, Report, Unit};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use zone::Zone;

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
    /// Only the measures whose names hold this text
    #[arg(long, default_value = "")]
    only: String,
    /// Also write figures and raw runs to this file, as JSON
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// Operations of bench-guest: name, count of one run, highest ratio that the project promises.
const OPERATIONS: [(&str, u32, Option<f64>); 7] = [
    ("null", 300_000, Some(1.25)),
    ("read", 200_000, None),
    ("getpid", 100_000, None),
    ("open+close", 30_000, None),
    ("stat", 30_000, None),
    ("fork+wait", 300, None),
    ("fork+exec+wait", 150, Some(1.4)),
];

fn main() -> Result<()> {
    let options = Options::parse();
    let zone = Zone::boot(&options.zone)?;
    let guest = std::env::current_exe()?.with_file_name("bench-guest");
    zone.put(&guest, "usr-bench-guest")?;
    let mut report = Report::default();
    for (name, count, promise) in OPERATIONS {
        if !name.contains(&options.only) {
            continue;
        }
        let count = count.to_string();
        let mut measure = Measure::new(name, Unit::Nanoseconds, promise);
        for _ in 0..options.rounds {
            measure
                .native
                .push(number(Command::new(&guest).args([name, &count]))?);
            measure.zone.push(number(&mut zone.command(&[
                "/usr-bench-guest",
                name,
                &count,
            ]))?);
        }
        report.add(measure);
    }
    floor(&options, &guest, &mut report)?;
    services::apache(&options.only, options.rounds, &zone, &mut report)?;
    services::redis(&options.only, options.rounds, &zone, &mut report)?;
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
        measure
            .native
            .push(number(command.args(["null", "300000"]))?);
        measure.zone.push(number(command.arg("filtered"))?);
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
