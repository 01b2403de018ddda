//! `zone doctor`.

use super::print;
use crate::control::{REPORT, Refusal, Request};
use crate::doctor::{Check, Weight, examine};
use crate::error::{Doing, Error, Result};
use crate::home::Home;
use crate::zone::{Name, Zone};
use serde::Serialize;
use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;

/// Check what the host offers and which promises hold; or what a zone was refused
///
/// With NAME: each kind of call that programs of the zone made and zones do not offer, how often, by
/// whom, and why it is refused; since its boot where it runs, else of its last run.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of a zone whose refused calls are listed
    #[arg(value_parser = super::name)]
    name: Option<Name>,
    /// Show JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Refused {
    zone: String,
    refused: Vec<Refusal>,
}

impl Args {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        match &self.name {
            None => Ok(host(&examine(home.dir()), self.json)),
            Some(name) => zone(&Zone::open(home, name, "look into")?, self.json),
        }
    }
}

fn host(checks: &[Check], is_json: bool) -> u8 {
    if is_json {
        print::json(&checks);
    } else {
        print::text(&show(checks));
    }
    let fails = |check: &Check| !check.holds && check.weight == Weight::Needed;
    u8::from(checks.iter().any(fails))
}

fn show(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let verdict = match (check.holds, check.weight) {
            (true, _) => "ok",
            (false, Weight::Wanted) => "less",
            (false, Weight::Needed) => "FAIL",
        };
        // A write to a String cannot fail.
        let _ = writeln!(text, "{verdict:<5} {:<12} {}", check.name, check.found);
        let holds = if check.holds {
            "holds"
        } else {
            "does not hold"
        };
        let _ = writeln!(text, "{:18} {holds}: {}", "", check.promise);
        if !check.holds {
            let _ = writeln!(text, "{:18} remedy: {}", "", check.remedy);
        }
    }
    let fails = checks
        .iter()
        .filter(|check| !check.holds && check.weight == Weight::Needed)
        .count();
    let _ = match fails {
        0 => writeln!(
            text,
            "zones can run here; root, user namespaces and ptrace are not needed"
        ),
        count => writeln!(text, "zones cannot run here: {count} needed checks fail"),
    };
    text
}

fn zone(zone: &Zone, is_json: bool) -> Result<u8> {
    let found = Refused {
        zone: zone.name().to_string(),
        refused: report(zone)?,
    };
    if is_json {
        print::json(&found);
    } else if found.refused.is_empty() {
        print::text(&format!("zone {}: no call was refused\n", found.zone));
    } else {
        let titles = ["REFUSED CALL", "COUNT", "CALLER", "PROGRAM", "REASON"].map(str::to_owned);
        let lines = found.refused.into_iter().map(|row| {
            let count = row.count.to_string();
            [row.call, count, row.caller, row.program, row.reason]
        });
        print::table(&std::iter::once(titles).chain(lines).collect::<Vec<_>>());
    }
    Ok(0)
}

/// What a running zone has been refused, or another one was in its last run.
fn report(zone: &Zone) -> Result<Vec<Refusal>> {
    let path = zone.run_dir().join(REPORT);
    match zone.ask("look into", &Request::Report) {
        Ok(_) | Err(Error::NotRunning { .. }) => {}
        Err(error) => return Err(error),
    }
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(std::io::Error::from)
            .doing("read", path.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::refused(
            "look into",
            format_args!("zone {}", zone.name()),
            "it has never run, or its monitor was killed before it could write a report",
            format_args!("boot it with `zone boot {}`", zone.name()),
        )),
        Err(error) => Err(error).doing("read", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_show_their_remedy() {
        let check = Check {
            name: "kernel",
            promise: "the wall is complete",
            weight: Weight::Needed,
            holds: false,
            found: "Linux 5.10".to_owned(),
            remedy: "boot Linux 6.12".to_owned(),
        };
        let text = show(std::slice::from_ref(&check));
        assert!(
            text.contains("FAIL") && text.contains("remedy: boot Linux 6.12"),
            "{text}"
        );
        assert_eq!(host(&[check], true), 1);
    }
}
