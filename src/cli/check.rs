//! `zone check`.

use super::print;
use crate::error::Result;
use crate::home::Home;
use crate::zone::{Name, check};

/// Check that a zone's files and its ownership store agree, and mend the store if told to
///
/// The zone must not run. The exit status is 1 where something is wrong that was not mended.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of the zone
    #[arg(value_parser = super::name)]
    name: Name,
    /// Take away rows that are wrong, or of files that are gone
    #[arg(long)]
    repair: bool,
    /// Show JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        let report = check::check(home, &self.name, self.repair)?;
        let is_fine = report.wrong == 0 || report.is_repaired;
        if self.json {
            print::json(&report);
            return Ok(u8::from(!is_fine));
        }
        let mut text = format!(
            "zone {}: {} files, {} with an owner, mode or device of the zone's own\n",
            self.name, report.files, report.rows
        );
        let mut tell = |count: usize, what: &str| {
            if count > 0 {
                text.push_str(&format!("{count} {what}\n"));
            }
        };
        tell(
            usize::from(report.was_torn),
            "change of the store was torn by a crash, and has been taken back",
        );
        tell(
            report.journaled,
            "changes were in the journal only, as after a crash",
        );
        tell(report.stale, "rows are of files that are gone");
        tell(report.wrong, "rows say of a file what it cannot be");
        text.push_str(match (is_fine, report.is_repaired) {
            (_, true) => "mended\n",
            (true, false) => "nothing is wrong\n",
            (false, false) => "--repair takes them away\n",
        });
        print::text(&text);
        Ok(u8::from(!is_fine))
    }
}
