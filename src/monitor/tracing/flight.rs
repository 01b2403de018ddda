//! The flight recorder: what a zone's programs called last, of a zone that keeps it at any time.
//!
//! Guests record into their rings over what is older; a look at it copies them and takes nothing away. A
//! ring of a thread that is gone keeps what it has told until another thread needs it.

use super::drain::Drain;
use super::{block_of, file};
use crate::control::{Reply, Traced};
use crate::monitor::zone::Zone;
use crate::trace::{Entry, Start};
use crate::zone::channel::Channel;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Serves a connection that has asked for it.
pub(super) fn show(zone: &Zone, channel: &Channel, to: OwnedFd, last: Duration) {
    let Some(clock) = zone.tracing.flight else {
        let message = format!(
            "zone {0} keeps no calls: `zone config {0} set flight=true` has it do so from its next boot on",
            zone.name
        );
        let _ = channel.send(&Reply::Error { message }, &[]);
        return;
    };
    if channel.send(&Reply::Ok, &[]).is_err() {
        return;
    }
    let start = Start {
        zone: zone.name.clone(),
        time: clock.started(),
    };
    let past = Drain::of_the_past(clock).past(zone, last);
    let reply = match write(File::from(to), &start, &past) {
        Ok(traced) => Reply::Traced(traced),
        Err(error) => Reply::Error {
            message: format!("the trace cannot be written: {error}"),
        },
    };
    let _ = channel.send(&reply, &[]);
}

fn write(mut to: File, start: &Start, past: &[Entry]) -> io::Result<Traced> {
    to.write_all(&file::front(start))?;
    let mut all = Traced::default();
    let mut rest = past.iter().peekable();
    while rest.peek().is_some() {
        let (block, counts) = block_of(&mut rest);
        to.write_all(&block)?;
        all.calls += counts.calls;
    }
    let mut content = Vec::new();
    Entry::End { skipped: 0 }.put(&mut content);
    to.write_all(&file::block(&content))?;
    Ok(all)
}
