//! `zone run`.

use super::trace::record;
use super::{complain, create, inject, program};
use crate::control::Trace;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::terminal::Signals;
use crate::zone::lifecycle::{self, Outcome, Wanted};
use crate::zone::{Name, Zone};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// How long processes that the program left behind have to end.
const GRACE: Duration = Duration::from_secs(5);

/// Run one program in a zone, which is created and booted for it where necessary
///
/// What this command did it undoes: a zone that it created is deleted, a zone that it booted is
/// halted, and a zone that ran before keeps running. The exit status is that of the program.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of the zone; without one a new zone gets a name of its own
    #[arg(value_parser = super::name)]
    name: Option<Name>,
    /// Delete the zone afterwards even if it existed before
    #[arg(long)]
    rm: bool,
    /// Record the calls of the zone's programs into a file, which `zone trace read` shows
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Have programs wait where they call faster than is recorded, rather than miss calls
    #[arg(long, requires = "trace")]
    lossless: bool,
    /// Record whence each call is made, too: the functions on its thread's stack
    #[arg(short = 'k', long = "stack-trace", requires = "trace")]
    has_stacks: bool,
    #[command(flatten)]
    inject: inject::Options,
    #[command(flatten)]
    zone: create::Options,
    #[command(flatten)]
    program: program::Options,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Args {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        let name = self.name.clone().unwrap_or_else(Name::generated);
        let rm = self.rm;
        let wanted = self.zone.wanted()?;
        if rm
            && let Ok(zone) = Zone::open(home, &name, "run a program in")
            && zone.observe()?.state.is_up()
        {
            return Err(Error::refused(
                "run with --rm in",
                format_args!("zone {name}"),
                "it runs already, and deleting it would end what others run there",
                "leave --rm out, or halt the zone first",
            ));
        }
        // From here on signals reach the program, and never keep us from cleaning up.
        let signals = Signals::hold()?;
        let is_new = Zone::open(home, &name, "run a program in").is_err();
        let mut is_ours = rm;
        if is_new || wanted != Wanted::default() {
            is_ours |= lifecycle::create(home, &name, &wanted)? != Outcome::AlreadySo && is_new;
        }
        let mut is_booted = false;
        let result = lifecycle::boot(home, &name).and_then(|outcome| {
            is_booted = outcome == Outcome::Done(());
            let zone = Zone::open(home, &name, "run a program in")?;
            let how = Trace {
                is_lossless: self.lossless || self.has_stacks,
                has_stacks: self.has_stacks,
                ..Trace::default()
            };
            let recording = self.trace.as_deref().map(|file| record(&zone, file, how));
            let recording = recording.transpose()?;
            let program = self.program.with_trapped(self.inject.native());
            let injecting = self.inject.begin(&zone)?;
            let ended = zone
                .connect("run a program in")
                .and_then(|channel| program.run(&zone, channel, self.command, &signals));
            // The program's own end is what matters more.
            let injected = injecting.map_or(Ok(()), |injecting| injecting.end());
            let recorded = recording.map_or(Ok(()), |recording| recording.end());
            let ended = ended?;
            for result in [injected, recorded] {
                if let Err(error) = result {
                    complain(&error);
                }
            }
            Ok(ended)
        });
        let mut cleaned = Ok(());
        if is_booted {
            cleaned = lifecycle::halt(home, &name, GRACE).map(drop);
        }
        if is_ours {
            cleaned = cleaned.and(lifecycle::delete(home, &name, true));
        }
        match (result, cleaned) {
            (Ok(ended), Ok(())) => Ok(ended.status()),
            (Err(error), Ok(())) => Err(error),
            (Ok(ended), Err(error)) => {
                complain(&error);
                let status = ended.status();
                Ok(if status == 0 { super::FAILED } else { status })
            }
            (Err(first), Err(second)) => {
                complain(&second);
                Err(first)
            }
        }
    }
}
