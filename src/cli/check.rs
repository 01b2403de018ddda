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
    /// Take away rows that are wrong, or of files that are gone, and bind those anew whose file system has
    /// another device number now
    #[arg(long)]
    repair: bool,
    /// Show JSON
    #[arg(long)]
    json: bool,
}

/// What is said of copied trees.
const COPIED: &str = "these files are copies of others, whose owners the store has; as they are they belong to \
    the zone's root\nnothing is changed; to move a zone use `zone export` where its files were, and \
    `zone create --import`\n";

impl Args {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        let report = check::check(home, &self.name, self.repair)?;
        let is_fine = match report.is_repaired {
            true => true,
            false => report.wrong == 0 && report.renumbered == 0 && !report.is_copied,
        };
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
        tell(
            report.renumbered,
            "rows are of files whose file system has another number now",
        );
        text.push_str(match (is_fine, report.is_repaired) {
            _ if report.is_copied => COPIED,
            (_, true) => "mended\n",
            (true, false) => "nothing is wrong\n",
            (false, false) => "--repair mends that\n",
        });
        print::text(&text);
        Ok(u8::from(!is_fine))
    }
}
