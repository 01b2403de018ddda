//! `zone trace diff`.

use super::read::filter;
use crate::cli::{complain, print};
use crate::error::{Error, Result};
use crate::terminal::tell;
use crate::trace::diff::{self, Options};
use crate::trace::file::Fault;
use crate::trace::filter::Filter;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// The traces could not be compared, as diff(1) says it.
const TROUBLE: u8 = 2;

/// Compare two recorded traces: where they first differ, and in what
///
/// Threads are paired by who made them and by name, and the calls of each pair compared. What differs
/// from run to run counts as the same: pids, addresses, times, ports that the kernel chooses, and
/// names that programs make up for temporary files. Shown are the first difference with the calls
/// around it (- is of the first trace, + of the second), the threads that differ, and the calls that one
/// of them made more often.
///
/// The exit status is 0 if they are the same, 1 if they differ, 2 if that could not be found out.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The trace of what went well
    good: PathBuf,
    /// The trace of what did not
    bad: PathBuf,
    /// Compare only calls that meet a condition; of several, any
    #[arg(short = 'e', long = "filter", value_name = "FILTER", value_parser = filter)]
    filters: Vec<Filter>,
    /// How many equal calls to show around a difference
    #[arg(long, value_name = "CALLS", default_value_t = 5)]
    context: usize,
    /// Show all differences, not only the first
    #[arg(long)]
    all: bool,
}

impl Args {
    pub(super) fn run(self) -> u8 {
        self.compare().unwrap_or_else(|error| {
            complain(&error);
            TROUBLE
        })
    }

    fn compare(self) -> Result<u8> {
        let source = |file: PathBuf| {
            move || {
                let file: Box<dyn Read> = Box::new(BufReader::new(File::open(&file)?));
                io::Result::Ok(file)
            }
        };
        let options = Options {
            filter: self.filters.into_iter().reduce(Filter::or),
            context: self.context,
            has_all: self.all,
        };
        let (good, bad) = (source(self.good.clone()), source(self.bad.clone()));
        let difference = diff::compare(&good, &bad, &options).map_err(|unread| {
            let file = if unread.is_bad { &self.bad } else { &self.good };
            told(file, unread.fault)
        })?;
        print::text(&difference.text);
        for (doubt, file) in difference.doubts.iter().zip([&self.good, &self.bad]) {
            if let Some(doubt) = doubt {
                tell(&format!("zone: {}: {doubt}", file.display()));
            }
        }
        Ok(u8::from(!difference.is_same))
    }
}

/// Why a trace cannot be read.
fn told(file: &Path, fault: Fault) -> Error {
    match fault {
        Fault::Io(source) => Error::System {
            operation: "read",
            object: file.display().to_string(),
            source,
        },
        fault => Error::refused(
            "read",
            file.display(),
            fault,
            "`zone trace NAME -o FILE` and `zone run --trace=FILE` record a trace",
        ),
    }
}
