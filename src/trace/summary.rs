//! What a trace comes to: how often each call was made, how it failed, what it cost, and what it was
//! about.

mod latency;
mod top;

use super::calls::Event;
use super::entry::Call;
use super::output::Output;
use super::{show, text};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;

/// How many of the slowest calls are shown.
const SLOWEST: usize = 10;

/// Counts of calls.
#[derive(Default)]
pub struct Summary {
    by_nr: BTreeMap<u32, Counts>,
    errors: BTreeMap<(u32, String), u64>,
    latency: latency::Latency,
    files: top::Top,
    peers: top::Top,
    /// Longest first.
    slowest: Vec<Call>,
    dropped: u64,
    garbled: u64,
    open: u64,
}

#[derive(Default, Clone, Copy)]
struct Counts {
    calls: u64,
    errors: u64,
    time: u64,
    longest: u64,
}

impl Counts {
    fn add(&mut self, duration: u64, has_failed: bool) {
        self.join(&Self {
            calls: 1,
            errors: has_failed.into(),
            time: duration,
            longest: duration,
        });
    }

    fn join(&mut self, other: &Self) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.time = self.time.saturating_add(other.time);
        self.longest = self.longest.max(other.longest);
    }
}

impl Summary {
    /// Counts an event.
    pub fn take(&mut self, event: &Event) {
        match event {
            Event::Call {
                call,
                has_ended: true,
            } => self.call(call),
            Event::Call { .. } => self.open += 1,
            Event::Began { .. } => {}
            Event::Dropped { count, .. } => self.dropped = self.dropped.saturating_add(*count),
            Event::Garbled { .. } => self.garbled += 1,
        }
    }

    fn call(&mut self, call: &Call) {
        let errno = show::errno(call, true);
        let (duration, has_failed) = (call.duration, errno.is_some());
        let counts = self.by_nr.entry(call.nr).or_default();
        counts.add(duration, has_failed);
        self.latency.take(duration);
        for path in show::paths(call) {
            self.files.take(&show::visible(path), duration, has_failed);
        }
        if let Some(peer) = show::peer(call, true) {
            self.peers.take(&peer, duration, has_failed);
        }
        if let Some(errno) = errno {
            let name = errno
                .name()
                .map_or_else(|| errno.raw().to_string(), str::to_owned);
            *self.errors.entry((call.nr, name)).or_default() += 1;
        }
        let is_slow = self
            .slowest
            .last()
            .is_none_or(|least| call.duration > least.duration);
        if is_slow || self.slowest.len() < SLOWEST {
            let behind = |other: &Call| other.duration >= call.duration;
            let at = self.slowest.partition_point(behind);
            self.slowest.insert(at, call.clone());
            self.slowest.truncate(SLOWEST);
        }
    }

    /// What is to be shown.
    #[must_use]
    pub fn text(&self) -> String {
        let mut rows: Vec<_> = self.by_nr.iter().collect();
        rows.sort_by_key(|(nr, counts)| (std::cmp::Reverse(counts.time), **nr));
        let all = |of: fn(&Counts) -> u64| {
            let values = self.by_nr.values().map(of);
            values.fold(0, u64::saturating_add)
        };
        let (calls, errors, time) = (all(|c| c.calls), all(|c| c.errors), all(|c| c.time));
        let mut text = String::new();
        // A write to a String cannot fail.
        let mut put = |line: std::fmt::Arguments<'_>| {
            let _ = writeln!(text, "{line}");
        };
        put(format_args!(
            "% time     seconds  usecs/call  longest us     calls    errors  call"
        ));
        let mut row = |share: f64, counts: &Counts, name: &str| {
            let errors = or_nothing(counts.errors);
            put(format_args!(
                "{share:6.2} {:>11} {:11} {:11} {:9} {errors:>9}  {name}",
                show::seconds(counts.time),
                counts.time / counts.calls.max(1) / 1000,
                counts.longest / 1000,
                counts.calls,
            ));
        };
        for (nr, counts) in rows {
            row(share(counts.time, time), counts, &show::name(*nr));
        }
        let total = Counts {
            calls,
            errors,
            time,
            longest: self.by_nr.values().map(|c| c.longest).max().unwrap_or(0),
        };
        row(share(time, time), &total, "total");
        if !self.errors.is_empty() {
            put(format_args!("\nerrors:"));
            let mut errors: Vec<_> = self.errors.iter().collect();
            errors.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            for ((nr, errno), count) in errors {
                put(format_args!("{count:9}  {} {errno}", show::name(*nr)));
            }
        }
        let _ = self.latency.show(&mut text);
        let _ = self.files.show("files", &mut text);
        let _ = self.peers.show("peers", &mut text);
        let mut put = |line: std::fmt::Arguments<'_>| {
            let _ = writeln!(text, "{line}");
        };
        if !self.slowest.is_empty() {
            put(format_args!("\nslowest:"));
            for call in &self.slowest {
                let event = Event::Call {
                    call: call.clone(),
                    has_ended: true,
                };
                put(format_args!("{}", text::line(&event, true)));
            }
        }
        for (count, what) in [
            (self.open, "calls had not ended"),
            (self.dropped, "calls were not recorded"),
            (self.garbled, "times a thread told what is no record"),
        ] {
            if count != 0 {
                put(format_args!("\n{count} {what}"));
            }
        }
        text
    }
}

impl Output for Summary {
    fn event(&mut self, event: &Event, _to: &mut dyn io::Write) -> io::Result<()> {
        self.take(event);
        Ok(())
    }

    fn end(&mut self, _skipped: Option<u64>, to: &mut dyn io::Write) -> io::Result<()> {
        writeln!(to, "{}", self.text().trim_end())
    }
}

fn or_nothing(count: u64) -> String {
    match count {
        0 => String::new(),
        count => count.to_string(),
    }
}

/// In percent.
fn share(part: u64, all: u64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share of two digits needs no more"
    )]
    let share = 100.0 * part as f64 / all.max(1) as f64;
    share
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::HostPid;
    use crate::trace::entry::tests::sample;
    use picozone_syscalls::nr;

    #[test]
    fn calls_are_counted_and_the_slowest_shown() {
        let mut summary = Summary::default();
        for i in 0..100 {
            let call = Call {
                nr: if i % 2 == 0 { nr::openat } else { nr::getpid },
                result: if i % 4 == 0 { -2 } else { 3 },
                duration: i * 1_000_000,
                ..sample()
            };
            summary.take(&Event::Call {
                call,
                has_ended: true,
            });
        }
        let host_tid = HostPid(1);
        summary.take(&Event::Dropped { host_tid, count: 7 });
        let text = summary.text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].ends_with("50            getpid"), "{text}");
        assert!(lines[2].ends_with("50        25  openat"), "{text}");
        assert_eq!(
            lines[3],
            "100.00    4.950000       49500       99000       100        25  total"
        );
        assert_eq!(lines[6], "       25  openat ENOENT");
        let at = |title: &str| lines.iter().position(|line| *line == title).expect(title);
        assert!(
            lines[at("latency:") + 1].ends_with("<    256 ns  #"),
            "{text}"
        );
        assert_eq!(
            lines[at("files:") + 2],
            "   2.450000        50        25  /etc/passwd"
        );
        let slowest = at("slowest:");
        assert!(lines[slowest + 1].ends_with("<0.099000>"), "{text}");
        assert!(lines[slowest + 10].ends_with("<0.090000>"), "{text}");
        assert_eq!(lines[slowest + 12], "7 calls were not recorded");
    }
}
