//! A trace shown: one that was recorded, or one that comes through a pipe.

use crate::error::{Doing, Error, Result};
use crate::stacks::Symbols;
use crate::terminal::tell;
use crate::trace::descriptors::Descriptors;
use crate::trace::events::Events;
use crate::trace::file::Fault;
use crate::trace::filter::{Bounds, Chosen, Filter};
use crate::trace::html::Html;
use crate::trace::kept::Kept;
use crate::trace::learn::Learn;
use crate::trace::output::{Json, Output, Strace};
use crate::trace::perfetto::Perfetto;
use crate::trace::summary::Summary;
use crate::trace::unsupported::Unsupported;
use clap::ValueEnum;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

/// What is shown, and how.
#[derive(clap::Args)]
pub(super) struct Shown {
    /// Show only calls that meet a condition; of several, any
    #[arg(short = 'e', long = "filter", id = "filter", value_name = "FILTER", value_parser = filter)]
    pub(super) filters: Vec<Filter>,
    /// How to show them
    #[arg(long, value_enum, default_value_t = Format::Strace)]
    format: Format,
    /// Show the time of the day (UTC) at which a call began
    #[arg(short, long)]
    time: bool,
    /// Show what descriptors stand for, of programs that were started with --level all: 3</etc/passwd>
    #[arg(short = 'y', long)]
    descriptors: bool,
    /// Only list the calls that zones do not offer: which, how often, why they are refused, and by whom
    /// they were made
    #[arg(long, conflicts_with_all = ["format", "time", "descriptors"])]
    unsupported: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One line a call, as strace(1) does
    Strace,
    /// One JSON document a line; docs/TRACE.md has the schema
    Json,
    /// A timeline for ui.perfetto.dev or Chrome's about:tracing, as one JSON document
    Perfetto,
    /// One page of HTML with a timeline to zoom, search and filter
    Html,
    /// Counts, errors, times, files, peers and the slowest calls, at the end
    Summary,
    /// As it is recorded, with those calls only
    Trace,
}

pub(super) fn filter(text: &str) -> Result<Filter, String> {
    text.parse()
        .map_err(|mistake: crate::trace::filter::Mistake| mistake.to_string())
}

/// Shows a trace that was recorded.
pub(super) fn read(file: &Path, shown: &Shown) -> Result<u8> {
    let from = File::open(file).doing("read", file.display())?;
    told(file, shown.show(BufReader::new(from)))
}

/// Shows what configuration a trace says to be needed.
pub(super) fn learn(file: &Path) -> Result<u8> {
    let from = File::open(file).doing("read", file.display())?;
    let is_on_host = |path: &Path| path.exists();
    let mut output = Learn::new(&is_on_host);
    let to = io::stdout().lock();
    told(file, show(BufReader::new(from), None, &mut output, to))
}

/// Tells what of a trace was not shown.
fn told(file: &Path, shown: Result<Option<u64>, Failure>) -> Result<u8> {
    match shown {
        Ok(None) => tell(&format!(
            "zone: {} ends early: what wrote it was ended, or still writes",
            file.display()
        )),
        Ok(Some(0)) => {}
        Ok(Some(skipped)) => tell(&format!(
            "zone: {skipped} calls are not there: they could not be written in time"
        )),
        Err(failure) => failure.told("read", file.display())?,
    }
    Ok(0)
}

/// Why no more is shown.
pub(super) enum Failure {
    Trace(Fault),
    Output(io::Error),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Trace(fault)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Failure {
    pub(super) fn told(
        self,
        operation: &'static str,
        object: impl std::fmt::Display,
    ) -> Result<()> {
        match self {
            // Whoever reads what we show has seen enough.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Self::Output(error) | Self::Trace(Fault::Io(error)) => {
                Err(error).doing(operation, object)
            }
            Self::Trace(fault @ (Fault::NoTrace | Fault::Version(_))) => Err(Error::refused(
                operation,
                object,
                fault,
                "`zone trace NAME -o FILE`, `zone trace --pid PID -o FILE` and `zone run --trace=FILE` record one",
            )),
            Self::Trace(fault) => Err(Error::refused(
                operation,
                object,
                fault,
                "what stands before that was shown",
            )),
        }
    }
}

impl Shown {
    /// Leaves out calls of which that does not hold.
    pub(super) fn narrow(&mut self, to: Filter) {
        let both = match self.filter() {
            Some(filter) => to.and(filter),
            None => to,
        };
        self.filters = vec![both];
    }

    /// All filters in one.
    pub(super) fn filter(&self) -> Option<Filter> {
        self.filters.iter().cloned().reduce(Filter::or)
    }

    fn output(&self) -> Box<dyn Output> {
        if self.unsupported {
            return Box::<Unsupported>::default();
        }
        match self.format {
            Format::Strace => Box::new(Strace {
                has_time: self.time,
                descriptors: self.descriptors.then(Descriptors::default),
            }),
            Format::Json => Box::new(Json),
            Format::Perfetto => Box::<Perfetto>::default(),
            Format::Html => Box::<Html>::default(),
            Format::Summary => Box::<Summary>::default(),
            Format::Trace => Box::<Kept>::default(),
        }
    }

    /// What of a zone's calls has to be recorded for that.
    pub(super) fn bounds(&self) -> Bounds {
        // What descriptors stand for, and what processes execute, is told by other calls.
        if self.descriptors || self.unsupported {
            return Bounds::default();
        }
        self.filter()
            .map_or_else(Bounds::default, |filter| filter.bounds())
    }

    /// Shows a trace to its end. Gives how many calls it says were skipped, if it ended in good order.
    pub(super) fn show(&self, from: impl Read) -> Result<Option<u64>, Failure> {
        self.show_to(io::stdout().lock(), from)
    }

    /// The same, to where somebody else than a user may read it.
    pub(super) fn show_to(&self, to: impl Write, from: impl Read) -> Result<Option<u64>, Failure> {
        show(from, self.filter().as_ref(), self.output().as_mut(), to)
    }

    /// Keeps what would be shown in the form of traces.
    pub(super) fn keep(&self, from: impl Read, to: File) -> Result<Option<u64>, Failure> {
        show(from, self.filter().as_ref(), &mut Kept::default(), to)
    }
}

fn show(
    from: impl Read,
    filter: Option<&Filter>,
    output: &mut dyn Output,
    to: impl Write,
) -> Result<Option<u64>, Failure> {
    let mut events = Events::new(from)?;
    let mut to = BufWriter::new(to);
    let mut chosen = Chosen::new(filter, &events.start().zone);
    output.start(events.start(), &mut to)?;
    let mut symbols = Symbols::default();
    let fault = loop {
        if events.is_at_end_of_block() {
            output.flush(&mut to)?;
            to.flush()?;
        }
        let mut event = match events.next() {
            Some(Ok(event)) => event,
            Some(Err(fault)) => break Some(fault),
            None => break None,
        };
        output.learn(&event);
        if chosen.leaves_out(&event) {
            continue;
        }
        symbols.name(&mut event);
        output.event(&event, &mut to)?;
    };
    output.end(events.skipped(), &mut to)?;
    to.flush()?;
    match fault {
        Some(fault) => Err(Failure::Trace(fault)),
        None => Ok(events.skipped()),
    }
}
