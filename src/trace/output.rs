//! The ways to show a trace, from its first event to its last.

use super::calls::Event;
use super::descriptors::Descriptors;
use super::entry::{Call, Start};
use super::html::Html;
use super::learn::Learn;
use super::perfetto::Perfetto;
use super::summary::Summary;
use super::unsupported::Unsupported;
use super::{json, show, text};
use std::io::{self, Write};
use std::path::Path;

/// A way to show a trace.
pub trait Output {
    /// What stands in front.
    ///
    /// # Errors
    /// Those of `to`.
    fn start(&mut self, _start: &Start, _to: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// Learns of an event, whether or not it is to be shown next.
    fn learn(&mut self, _event: &Event) {}

    /// An event.
    ///
    /// # Errors
    /// Those of `to`.
    fn event(&mut self, event: &Event, to: &mut dyn Write) -> io::Result<()>;

    /// Puts out what it still holds back of these events, before it waits for more.
    ///
    /// # Errors
    /// Those of `to`.
    fn flush(&mut self, _to: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// What stands behind. `skipped` calls were recorded and not written; none is known where the trace
    /// did not end in good order.
    ///
    /// # Errors
    /// Those of `to`.
    fn end(&mut self, _skipped: Option<u64>, _to: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// Each of them, for those who try what bytes do to all; `is_on_host` is asked as by [`Learn`].
pub fn all(is_on_host: &dyn Fn(&Path) -> bool) -> [Box<dyn Output + '_>; 7] {
    [
        Box::new(Strace {
            has_time: true,
            descriptors: Some(Descriptors::default()),
        }),
        Box::new(Json),
        Box::<Perfetto>::default(),
        Box::<Html>::default(),
        Box::<Summary>::default(),
        Box::<Unsupported>::default(),
        Box::new(Learn::new(is_on_host)),
    ]
}

/// One line a call, as strace(1) does.
pub struct Strace {
    /// Whether the time of the day stands in front.
    pub has_time: bool,
    /// What descriptors stand for, where that is shown.
    pub descriptors: Option<Descriptors>,
}

impl Output for Strace {
    fn learn(&mut self, event: &Event) {
        if let Some(descriptors) = &mut self.descriptors {
            descriptors.take(event);
        }
    }

    fn event(&mut self, event: &Event, to: &mut dyn Write) -> io::Result<()> {
        match &self.descriptors {
            None => writeln!(to, "{}", text::line(event, self.has_time))?,
            Some(descriptors) => {
                let text = |call: &Call, has_ended: bool| {
                    let names = |fd, is_new| descriptors.name_in(call, fd, is_new);
                    show::call_with(call, has_ended, &names)
                };
                writeln!(to, "{}", text::line_with(event, self.has_time, &text))?;
            }
        }
        if let Event::Call { call, .. } = event
            && let Some(stack) = call.stack()
        {
            for line in stack.lines() {
                writeln!(to, " > {line}")?;
            }
        }
        Ok(())
    }
}

/// One JSON document a line.
pub struct Json;

impl Output for Json {
    fn start(&mut self, start: &Start, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "{}", json::start(start))
    }

    fn event(&mut self, event: &Event, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "{}", json::line(event))
    }

    fn end(&mut self, skipped: Option<u64>, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "{}", json::end(skipped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::entry::tests::entry;
    use crate::trace::events::Events;
    use crate::trace::file::{block, front};
    use crate::trace::{Entry, Part};
    use proptest::prelude::*;

    /// Shows what bytes tell in all ways. Whether that was a trace.
    fn show(bytes: &[u8]) -> bool {
        let mut was_one = true;
        for mut output in all(&|_| true) {
            let Ok(mut events) = Events::new(bytes) else {
                return false;
            };
            let mut to = Vec::new();
            output.start(events.start(), &mut to).expect("written");
            for event in events.by_ref() {
                match event {
                    Ok(event) => {
                        output.learn(&event);
                        output.event(&event, &mut to).expect("written");
                    }
                    Err(fault) => {
                        assert!(fault.to_string().contains("block at byte"), "{fault}");
                        was_one = false;
                    }
                }
            }
            output.end(events.skipped(), &mut to).expect("written");
            assert!(std::str::from_utf8(&to).is_ok());
        }
        was_one
    }

    /// Calls that exist, whose arguments point at what was recorded.
    fn plausible(mut entry: Entry) -> Entry {
        if let Entry::Call(call) = &mut entry {
            call.nr %= 470;
            call.result %= 200;
            let mut places: Vec<u64> = Vec::new();
            for part in &call.parts {
                match part {
                    Part::Memory { address, .. } => places.push(*address),
                    Part::HostPath { of, .. } => places.push(*of),
                    Part::HostAddress(_) | Part::HostPid { .. } | Part::Stack(_) => {}
                }
            }
            for (arg, place) in call.args.iter_mut().zip(places) {
                *arg = place;
            }
        }
        entry
    }

    fn trace(entries: &[Entry]) -> Vec<u8> {
        let mut bytes = front(&Start::default());
        let mut content = Vec::new();
        for entry in entries {
            entry.put(&mut content);
        }
        bytes.extend(block(&content));
        bytes
    }

    proptest! {
        #[test]
        fn whatever_a_guest_tells_is_shown(entries in proptest::collection::vec(entry(), 0..20)) {
            prop_assert!(show(&trace(&entries)));
            let plausible: Vec<Entry> = entries.into_iter().map(plausible).collect();
            prop_assert!(show(&trace(&plausible)));
        }

        /// Of a block with a right sum everything may be wrong; of others that is found.
        #[test]
        fn damage_is_shown_or_told(
            entries in proptest::collection::vec(entry(), 1..8),
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..5),
        ) {
            let whole = trace(&entries);
            let start = front(&Start::default()).len() + 8;
            let mut content = whole[start..].to_vec();
            for (at, byte) in &changes {
                let at = at.index(content.len());
                content[at] = *byte;
            }
            let mut sound = whole[..start - 8].to_vec();
            sound.extend(block(&content));
            show(&sound);
            let mut damaged = whole[..start].to_vec();
            damaged.extend(&content);
            prop_assert_eq!(show(&damaged), damaged == whole);
        }
    }
}
