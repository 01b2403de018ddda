//! A trace of what a filter has chosen, in the form of traces.

use super::calls::Event;
use super::entry::{Call, Entry, Start};
use super::file::{BLOCK_MAX, block, front};
use super::output::Output;
use picozone_personality::trace::flags;
use std::io::{self, Write};

/// How much is put into a block before the next one is begun.
const BLOCK: usize = BLOCK_MAX / 4;

/// Writes events as they were recorded; a call that was recorded in two pieces is one.
#[derive(Default)]
pub struct Kept {
    content: Vec<u8>,
}

impl Output for Kept {
    fn start(&mut self, start: &Start, to: &mut dyn Write) -> io::Result<()> {
        to.write_all(&front(start))
    }

    fn event(&mut self, event: &Event, to: &mut dyn Write) -> io::Result<()> {
        entry(event).put(&mut self.content);
        if self.content.len() >= BLOCK {
            self.flush(to)?;
        }
        Ok(())
    }

    fn flush(&mut self, to: &mut dyn Write) -> io::Result<()> {
        if !self.content.is_empty() {
            to.write_all(&block(&self.content))?;
            self.content.clear();
        }
        Ok(())
    }

    fn end(&mut self, skipped: Option<u64>, to: &mut dyn Write) -> io::Result<()> {
        if let Some(skipped) = skipped {
            Entry::End { skipped }.put(&mut self.content);
        }
        self.flush(to)
    }
}

fn entry(event: &Event) -> Entry {
    let with = |call: &Call, set: u32| {
        let piece = flags::BEGUN | flags::ENDED | flags::EXECUTED;
        Entry::Call(Call {
            flags: call.flags & !piece | set,
            ..call.clone()
        })
    };
    match event {
        Event::Call { call, has_ended } => with(call, if *has_ended { 0 } else { flags::BEGUN }),
        Event::Began { call, .. } => with(call, flags::ENDED | flags::EXECUTED),
        Event::Dropped { host_tid, count } => Entry::Dropped {
            host_tid: *host_tid,
            count: *count,
        },
        Event::Garbled { host_tid } => Entry::Garbled {
            host_tid: *host_tid,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::entry::tests::entry;
    use crate::trace::events::Events;
    use picozone_syscalls::nr;
    use proptest::prelude::*;

    fn kept(bytes: &[u8]) -> (Vec<u8>, Vec<Event>) {
        let mut output = Kept::default();
        let mut events = Events::new(bytes).expect("a trace");
        let mut to = Vec::new();
        output.start(events.start(), &mut to).expect("written");
        let all: Vec<Event> = events.by_ref().map(|event| event.expect("whole")).collect();
        for event in &all {
            output.event(event, &mut to).expect("written");
        }
        output.end(events.skipped(), &mut to).expect("written");
        (to, all)
    }

    proptest! {
        /// What was kept tells the same, but for calls of which no end is known: these may be exits, whose end
        /// nobody waits for.
        #[test]
        fn what_is_kept_is_the_same(entries in proptest::collection::vec(entry(), 0..20)) {
            let mut bytes = front(&Start::default());
            let mut content = Vec::new();
            for entry in &entries {
                entry.put(&mut content);
            }
            bytes.extend(block(&content));
            let (once, first) = kept(&bytes);
            let (twice, second) = kept(&once);
            let texts = |events: &[Event]| {
                let mut all: Vec<String> = events
                    .iter()
                    .filter(|event| !matches!(
                        event,
                        Event::Call { has_ended: false, .. }
                    ))
                    .map(|event| crate::trace::text::line(event, true))
                    .collect();
                all.sort();
                all
            };
            let is_plain = first.iter().all(|event| match event {
                Event::Call { call, has_ended } => {
                    *has_ended || !matches!(call.nr, nr::exit | nr::exit_group)
                }
                _ => true,
            });
            if is_plain && first.iter().all(|event| matches!(event, Event::Call { has_ended: true, .. })) {
                prop_assert_eq!(texts(&first), texts(&second));
                prop_assert_eq!(once, twice);
            }
        }
    }
}
