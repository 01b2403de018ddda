//! `zone doctor`.

use super::print;
use crate::doctor::{Check, Weight, examine};
use crate::error::Result;
use crate::home::Home;
use crate::zone::{Name, Zone};
use serde::Serialize;
use std::fmt::Write;

/// Check what the host offers and which promises hold; or which calls a zone was refused
#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of a running zone whose refused calls are listed
    #[arg(value_parser = super::name)]
    name: Option<Name>,
    /// Show JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Refused {
    zone: String,
    refused: Vec<Call>,
}

#[derive(Serialize)]
struct Call {
    call: String,
    count: u64,
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
    let stat = super::stat::ask(zone)?;
    let refused = stat
        .refused
        .into_iter()
        .map(|(call, count)| Call { call, count })
        .collect();
    let found = Refused {
        zone: zone.name().to_string(),
        refused,
    };
    if is_json {
        print::json(&found);
    } else if found.refused.is_empty() {
        print::text(&format!(
            "zone {}: no call was refused since its boot\n",
            found.zone
        ));
    } else {
        let titles = ["REFUSED CALL", "COUNT"].map(str::to_owned);
        let lines = found
            .refused
            .iter()
            .map(|row| [row.call.clone(), row.count.to_string()]);
        print::table(&std::iter::once(titles).chain(lines).collect::<Vec<_>>());
    }
    Ok(0)
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
