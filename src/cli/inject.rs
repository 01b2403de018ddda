//! `--inject`: rules by which calls of a zone's programs fail, as long as a command runs.

use crate::control::{Injected, Reply, Request};
use crate::error::{Doing, Result};
use crate::terminal::tell;
use crate::trace::injection::Injection;
use crate::zone::Zone;
use crate::zone::channel::Channel;
use std::collections::BTreeSet;

/// The option.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Have calls fail, wait or do less: CALLS(CONDITION):ACTION..., as
    /// 'openat(path ~ "*.conf"):error=ENOSPC:when=3'
    ///
    /// CALLS are names and classes (%file), with commas. The CONDITION may ask for path, comm, pid and
    /// tid, as filters do. Actions are error=ERRNO and retval=NUMBER (the call is not made),
    /// delay_enter=TIME and delay_exit=TIME (ns, us, ms, s), signal=SIGNAL (sent to the thread after the
    /// call), and short=BYTES (the most that is read or written). They are for each such call of the
    /// zone, or when=FIRST[..LAST][+[STEP]] chooses by their number; chance=25% leaves it to chance, the
    /// same each time for the same seed=NUMBER. Of several rules the first that is for a call has it.
    #[arg(long = "inject", value_name = "RULE", value_parser = rule)]
    rules: Vec<Injection>,
}

fn rule(text: &str) -> Result<Injection, String> {
    text.parse()
        .map_err(|mistake: crate::trace::injection::Mistake| mistake.to_string())
}

/// Rules in force.
pub(super) struct Injecting<'a> {
    zone: &'a Zone,
    channel: Channel,
    rules: Vec<Injection>,
}

impl Options {
    /// Numbers of native calls that the rules are about.
    pub(super) fn native(&self) -> Vec<u32> {
        let rows = self.rules.iter().flat_map(Injection::native);
        rows.map(|row| row.nr).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Tells of rules that programs which already run do not obey.
    pub(super) fn warn(&self, zone: &Zone) {
        let native = self.rules.iter().flat_map(Injection::native);
        let names: BTreeSet<&str> = native.map(|row| row.name).collect();
        if !names.is_empty() {
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            tell(&format!(
                "zone {}: calls that need no translation are injected only in programs that were \
                 started with --level all: {names}",
                zone.name()
            ));
        }
    }

    /// Puts the rules in force, if there are any.
    pub(super) fn begin(self, zone: &Zone) -> Result<Option<Injecting<'_>>> {
        if self.rules.is_empty() {
            return Ok(None);
        }
        let operation = "inject into";
        let channel = zone.connect(operation)?;
        let rules = self.rules.iter().map(|rule| rule.text.clone()).collect();
        match zone.ask_by(&channel, operation, &Request::Inject { rules }, &[])? {
            Reply::Ok => {}
            other => return Err(super::ports::unexpected(zone, &other)),
        }
        Ok(Some(Injecting {
            zone,
            channel,
            rules: self.rules,
        }))
    }
}

impl Injecting<'_> {
    /// Takes them back, and tells what became of them. Of a zone that has ended nothing is known.
    pub(super) fn end(self) -> Result<()> {
        let object = || format!("the monitor of zone {}", self.zone.name());
        if self.channel.send(&Request::Uninject, &[]).is_err() {
            return Ok(());
        }
        match self.channel.receive::<Reply>().doing("ask", object())? {
            Some((Reply::Injected { rules }, _)) => {
                for (rule, injected) in self.rules.iter().zip(rules) {
                    tell(&format!(
                        "zone {}: {}",
                        self.zone.name(),
                        said(rule, injected)
                    ));
                }
                Ok(())
            }
            Some((other, _)) => Err(super::ports::unexpected(self.zone, &other)),
            None => Ok(()),
        }
    }
}

fn said(rule: &Injection, injected: Injected) -> String {
    let Injected { met, done } = injected;
    format!("{done} of {met} calls were injected by {}", rule.text)
}
