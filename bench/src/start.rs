//! Births: of a zone, and of a program in a running one.

use crate::Result;
use crate::limited::output;
use crate::measure::{Goal, Measure, Unit, ZONE};
use crate::report::Report;
use crate::side::Side;
use crate::turns::Rounds;
use std::process::Command;
use std::time::Instant;

fn nanoseconds(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    output(command)?;
    Ok(start.elapsed().as_secs_f64() * 1e9)
}

/// How long it takes from a command to the end of /bin/true on each side, and until a zone is booted.
pub(crate) fn run(only: &str, rounds: Rounds, sides: &[Side<'_>], report: &mut Report) {
    let name = "a command's start and end";
    if name.contains(only) {
        let mut measure = Measure::new(name, Unit::Nanoseconds, Goal::Ratio(3.0));
        let one = |side: &Side<'_>| nanoseconds(&mut side.command(&["/bin/true"]));
        for side in sides {
            measure.prepare(side.name(), || one(side).map(drop));
        }
        for _ in rounds.turns() {
            for side in sides {
                measure.take(side.name(), || one(side));
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
        for _ in rounds.turns() {
            measure.take(ZONE, || nanoseconds(zone.tool().args(["boot", "born"])));
            measure.prepare(ZONE, || zone.ask(&["halt", "born"]).map(drop));
        }
        let _ = zone.ask(&["delete", "born"]);
        report.add(measure);
    }
}
