//! Births: of a zone, and of a program in a running one.

use crate::Result;
use crate::limited::output;
use crate::measure::{Goal, Measure, Unit, ZONE};
use crate::report::Report;
use crate::side::Side;
use std::process::Command;
use std::time::Instant;

fn nanoseconds(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    output(command)?;
    Ok(start.elapsed().as_secs_f64() * 1e9)
}

/// How long it takes from a command to the end of /bin/true on each side, and until a zone is booted.
pub(crate) fn run(only: &str, rounds: usize, sides: &[Side<'_>], report: &mut Report) {
    let name = "a command's start and end";
    if name.contains(only) {
        let mut measure = Measure::new(name, Unit::Nanoseconds, Goal::Ratio(3.0));
        for round in 0..=rounds * 5 {
            for side in sides {
                let one = || nanoseconds(&mut side.command(&["/bin/true"]));
                if round == 0 {
                    measure.prepare(side.name(), || one().map(drop));
                } else {
                    measure.take(side.name(), one);
                }
            }
        }
        report.add(measure);
    }
    // Until the command returns, which is after init's first instruction.
    let name = "zone boot";
    let mut zones = sides.iter().filter_map(Side::zone);
    if name.contains(only)
        && let Some(zone) = zones.next()
    {
        let mut measure = Measure::new(name, Unit::Nanoseconds, Goal::Milliseconds(15.0));
        measure.prepare(ZONE, || zone.ask(&["create", "born"]).map(drop));
        for _ in 0..rounds {
            measure.take(ZONE, || nanoseconds(zone.tool().args(["boot", "born"])));
            measure.prepare(ZONE, || zone.ask(&["halt", "born"]).map(drop));
        }
        let _ = zone.ask(&["delete", "born"]);
        report.add(measure);
    }
}
