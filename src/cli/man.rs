//! `zone man`.

use super::Cli;
use crate::error::{Doing, Result};
use clap::CommandFactory;
use std::fs;
use std::path::PathBuf;

/// Write the manual pages of zone and its commands into a directory, as for `man -M`
#[derive(clap::Args)]
pub(super) struct Args {
    /// The directory; the pages come into its subdirectory man1, which is made if it is missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Args {
    pub(super) fn run(self) -> Result<u8> {
        let pages = self.directory.join("man1");
        fs::create_dir_all(&pages).doing("make the directory", pages.display())?;
        clap_mangen::generate_to(Cli::command(), &pages)
            .doing("write manual pages into", pages.display())?;
        super::print::text(&format!(
            "manual pages are in {}: man -M {} zone\n",
            pages.display(),
            self.directory.display()
        ));
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_what_its_help_says() {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let args = Args {
            directory: directory.path().to_owned(),
        };
        assert_eq!(args.run().ok(), Some(0));
        let mut count = 0;
        for command in Cli::command().get_subcommands() {
            let page = directory
                .path()
                .join(format!("man1/zone-{}.1", command.get_name()));
            let text = fs::read_to_string(&page).expect("its page");
            assert!(
                text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"),
                "{text}"
            );
            for argument in command.get_arguments().filter_map(clap::Arg::get_long) {
                let shown = format!("\\-\\-{}", argument.replace('-', "\\-"));
                assert!(text.contains(&shown), "{shown} in {}", page.display());
            }
            count += 1;
        }
        assert!(count >= 11, "{count} commands");
    }
}
