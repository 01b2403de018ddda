//! What it costs a program to be watched: by `zone trace`, and by strace(1).

use crate::Result;
use crate::limited::number;
use crate::measure::{Goal, Measure, NATIVE, Unit, ZONE};
use crate::report::Report;
use crate::side::{Side, has};
use crate::zone::Zone;
use std::path::Path;

/// Of the zone while its calls are recorded.
const TRACED: &str = "zone, traced";
/// Of the zone while a filter is followed that holds of none of these calls.
const CHOSEN: &str = "zone, traced -e errno=EXDEV";
/// Beside it.
const STRACE: &str = "strace -f -o /dev/null";
/// The same where its own filter in the kernel lets all other calls pass.
const SECCOMP: &str = "strace -f --seccomp-bpf -o /dev/null";
/// What that is to stop at: all that is measured.
const STOPPED: &str = "trace=getpid,stat,newfstatat,open,openat,close";

/// Operations, as many of each in a burst as a thread's ring has room for, half of which may still be
/// unread: none is to be cheaper since it is not recorded.
const OPERATIONS: [(&str, u32); 3] = [("getpid", 1_000), ("stat", 400), ("open+close", 350)];

const BURSTS: &str = "bursts";

/// Nanoseconds of an operation natively, in a zone, in the zone while it is traced with and without a
/// filter, and under strace.
pub(crate) fn run(
    only: &str,
    rounds: usize,
    zone: &Zone,
    sides: &[Side<'_>],
    guest: &Path,
    report: &mut Report,
) -> Result<()> {
    let own = |side: &&Side<'_>| side.zone().is_some_and(|of| std::ptr::eq(of, zone));
    let side = sides.iter().find(own).ok_or("the zone is no side")?;
    let inside = side.put(guest, "bench-guest")?;
    let outside = guest.display().to_string();
    for (operation, count) in OPERATIONS {
        let name = format!("{operation}, traced");
        if !name.contains(only) {
            continue;
        }
        let count = count.to_string();
        let mut measure = Measure::new(&name, Unit::Nanoseconds, Goal::None);
        let native = |words: &[&str]| {
            let mut all =
                words
                    .iter()
                    .copied()
                    .chain([outside.as_str(), operation, &count, BURSTS]);
            let mut command = std::process::Command::new(all.next().unwrap_or("true"));
            command.args(all);
            command
        };
        let in_zone = || zone.command(&[&inside, operation, &count, BURSTS]);
        for _ in 0..rounds {
            measure.take(NATIVE, || number(&mut native(&[])));
            measure.take(ZONE, || number(&mut in_zone()));
            for (title, filter) in [(TRACED, None), (CHOSEN, Some("errno = EXDEV"))] {
                measure.take(title, || {
                    let trace = zone.trace(filter)?;
                    let figure = number(&mut in_zone());
                    trace.end()?;
                    figure
                });
            }
            if has("strace") {
                let words = ["strace", "-f", "-o", "/dev/null"];
                measure.take(STRACE, || number(&mut native(&words)));
                let own = ["--seccomp-bpf", "-e", STOPPED];
                let words = [&words[..], &own].concat();
                measure.take(SECCOMP, || number(&mut native(&words)));
            }
        }
        report.add(measure);
    }
    Ok(())
}
