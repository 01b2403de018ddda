//! A trace for <https://ui.perfetto.dev> and Chrome's `about:tracing`: the JSON object form of the
//! [trace event format](https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU).
//!
//! Each thread is a track, each call a complete event (`X`) on it, and what else happened an instant
//! (`i`). Times are microseconds since the trace began. Calls of a track never overlap: one that is told
//! to have begun before the thread's last one ended, by a processor's clock that is behind, begins there.

use super::calls::Event;
use super::entry::{Call, Start};
use super::output::Output;
use super::{filter, json, show, value};
use crate::ids::{HostPid, ZonePid};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::io::{self, Write};

/// A thread, in the zone's numbers.
type Thread = (ZonePid, ZonePid);

/// Shows a trace so.
#[derive(Default)]
pub struct Perfetto {
    start: Start,
    has_event: bool,
    tracks: HashMap<Thread, Track>,
    processes: HashMap<ZonePid, String>,
    /// Which thread of the zone a thread of the host is.
    on_host: HashMap<HostPid, Thread>,
    /// The latest end of a call.
    end: u64,
}

#[derive(Default)]
struct Track {
    name: Option<String>,
    /// When its last call ended.
    end: u64,
}

impl Output for Perfetto {
    fn start(&mut self, start: &Start, to: &mut dyn Write) -> io::Result<()> {
        self.start = start.clone();
        self.end = start.time;
        write!(to, "{{\"traceEvents\":[")
    }

    fn event(&mut self, event: &Event, to: &mut dyn Write) -> io::Result<()> {
        match event {
            Event::Call { call, has_ended } => {
                self.names(call, to)?;
                let track = self.tracks.entry((call.pid, call.tid)).or_default();
                let begin = call.time.max(track.end);
                let end = call.time.saturating_add(call.duration).max(begin);
                track.end = end;
                self.end = self.end.max(end);
                let mut line = self.line("X", show::name(call.nr), begin, (call.pid, call.tid));
                line.insert("dur".into(), micros(i128::from(end - begin)));
                line.insert("cat".into(), filter::classes(call.nr).join(",").into());
                line.insert("args".into(), arguments(call, *has_ended));
                self.put(line, to)
            }
            Event::Began { call, program } => {
                self.names(call, to)?;
                self.end = self.end.max(call.time);
                let name = format!("executes {}", show::visible(program));
                let mut line = self.line("i", name, call.time, (call.pid, call.tid));
                line.insert("s".into(), "t".into());
                self.put(line, to)
            }
            Event::Dropped { host_tid, count } => {
                self.lost(*host_tid, format!("{count} calls not recorded"), to)
            }
            Event::Garbled { host_tid } => self.lost(*host_tid, "no record".into(), to),
        }
    }

    fn end(&mut self, skipped: Option<u64>, to: &mut dyn Write) -> io::Result<()> {
        let about = json!({
            "zone": self.start.zone_name(),
            "time_ns": self.start.time,
            "version": json::VERSION,
            "whole": skipped.is_some(),
            "skipped": skipped,
        });
        writeln!(to, "\n],\"displayTimeUnit\":\"ns\",\"otherData\":{about}}}")
    }
}

impl Perfetto {
    /// Names process and thread, where they have no name yet, or another one.
    fn names(&mut self, call: &Call, to: &mut dyn Write) -> io::Result<()> {
        let thread = (call.pid, call.tid);
        let leads = call.pid == call.tid;
        self.on_host.insert(call.host_tid, thread);
        let known = self.processes.get(&call.pid);
        if known.is_none() || leads && known != Some(&call.comm) {
            self.processes.insert(call.pid, call.comm.clone());
            self.name("process_name", thread, &call.comm, to)?;
        }
        let track = self.tracks.entry(thread).or_default();
        if track.name.as_ref() != Some(&call.comm) {
            track.name = Some(call.comm.clone());
            self.name("thread_name", thread, &call.comm, to)?;
        }
        Ok(())
    }

    fn name(
        &mut self,
        what: &str,
        (pid, tid): Thread,
        name: &str,
        to: &mut dyn Write,
    ) -> io::Result<()> {
        let line = json!({
            "ph": "M", "name": what, "pid": pid.0, "tid": tid.0, "args": { "name": name },
        });
        self.put(line, to)
    }

    /// Something was lost of a thread, or of one that is not known.
    fn lost(&mut self, host_tid: HostPid, what: String, to: &mut dyn Write) -> io::Result<()> {
        let known = self.on_host.get(&host_tid).copied();
        let thread = known.unwrap_or((ZonePid(0), ZonePid(0)));
        let mut line = self.line("i", what, self.end, thread);
        let scope = if known.is_some() { "t" } else { "g" };
        line.insert("s".into(), scope.into());
        self.put(line, to)
    }

    fn line(&self, ph: &str, name: String, time: u64, (pid, tid): Thread) -> Map<String, Value> {
        let since = i128::from(time) - i128::from(self.start.time);
        let mut line = Map::new();
        line.insert("ph".into(), ph.into());
        line.insert("name".into(), name.into());
        line.insert("ts".into(), micros(since));
        line.insert("pid".into(), pid.0.into());
        line.insert("tid".into(), tid.0.into());
        line
    }

    fn put(&mut self, line: impl Into<Value>, to: &mut dyn Write) -> io::Result<()> {
        let before = if self.has_event { "," } else { "" };
        self.has_event = true;
        write!(to, "{before}\n{}", line.into())
    }
}

/// Nanoseconds as microseconds: exact for traces that are shorter than a hundred days.
fn micros(nanoseconds: i128) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let micros = nanoseconds as f64 / 1000.0;
    micros.into()
}

/// What a call was given and gave.
fn arguments(call: &Call, has_ended: bool) -> Value {
    let (mut given, mut on_host) = (Map::new(), Map::new());
    for (i, arg) in show::arguments(call, has_ended).iter().enumerate() {
        let data = value::of(call, i, arg, has_ended);
        let data = data.unwrap_or_else(|| arg.text.as_str().into());
        given.insert(arg.name.into(), data);
        if let Some(host) = &arg.host {
            on_host.insert(arg.name.into(), host.as_str().into());
        }
    }
    let mut all = Map::new();
    all.insert("text".into(), show::call(call, has_ended).into());
    all.insert("args".into(), given.into());
    if !on_host.is_empty() {
        all.insert("host".into(), on_host.into());
    }
    if let Some(stack) = call.stack() {
        all.insert("stack".into(), stack.lines().collect());
    }
    if has_ended {
        all.insert("result".into(), call.result.into());
    }
    if let Some(name) = show::errno(call, has_ended).and_then(|errno| errno.name()) {
        all.insert("errno".into(), name.into());
    }
    all.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Entry;
    use crate::trace::calls::Calls;
    use crate::trace::entry::tests::{entry, sample};
    use proptest::prelude::*;

    fn shown(events: &[Event], start: u64) -> Value {
        let mut output = Perfetto::default();
        let mut text = Vec::new();
        let start = Start {
            zone: "web1".into(),
            time: start,
        };
        output.start(&start, &mut text).expect("written");
        for event in events {
            output.event(event, &mut text).expect("written");
        }
        output.end(Some(0), &mut text).expect("written");
        serde_json::from_slice(&text).expect("it is JSON")
    }

    #[test]
    fn a_call_is_a_slice_of_its_thread() {
        let event = |has_ended| Event::Call {
            call: sample(),
            has_ended,
        };
        let all = shown(&[event(true), event(false)], 999_000_000);
        let expected = json!({
            "ph": "X", "name": "openat", "cat": "file,desc", "pid": 7, "tid": 7,
            "ts": 1000.0, "dur": 2.5,
            "args": {
                "text": "openat(AT_FDCWD, \"/etc/passwd\" -> web1:etc/passwd, O_RDONLY|O_CLOEXEC) = 3",
                "args": {
                    "dirfd": "AT_FDCWD", "pathname": "/etc/passwd",
                    "flags": ["O_RDONLY", "O_CLOEXEC"],
                },
                "host": { "pathname": "web1:etc/passwd" },
                "result": 3,
            },
        });
        let events = &all["traceEvents"];
        assert_eq!(events[0]["args"]["name"], "apache2");
        assert_eq!(events[1]["name"], "thread_name");
        assert_eq!(events[2], expected);
        // It is told twice, and begins where it has ended.
        assert_eq!(events[3]["ts"], 1002.5);
        assert_eq!(events[3]["args"]["result"], Value::Null);
        assert_eq!(all["otherData"]["zone"], "web1");
    }

    #[test]
    fn what_is_lost_is_an_instant_of_its_thread() {
        let event = Event::Call {
            call: sample(),
            has_ended: true,
        };
        let dropped = |tid| Event::Dropped {
            host_tid: HostPid(tid),
            count: 12,
        };
        let all = shown(&[event, dropped(48213), dropped(0)], 0);
        let events = &all["traceEvents"];
        assert_eq!(events[3]["name"], "12 calls not recorded");
        assert_eq!(
            (&events[3]["pid"], &events[3]["s"]),
            (&7.into(), &"t".into())
        );
        assert_eq!(events[4]["s"], "g");
    }

    proptest! {
        #[test]
        fn slices_of_a_track_follow_each_other(
            entries in proptest::collection::vec(entry(), 0..20), pids in 1..4u32,
        ) {
            let mut calls = Calls::default();
            let mut events = Vec::new();
            for mut entry in entries {
                if let Entry::Call(call) = &mut entry {
                    call.pid = ZonePid(call.pid.0 % pids);
                    call.tid = call.pid;
                    // Beyond that microseconds are not exact.
                    call.time %= 1 << 50;
                    call.duration %= 1 << 50;
                }
                events.extend(calls.take(entry));
            }
            events.extend(calls.left());
            let all = shown(&events, 1 << 40);
            let mut ends: HashMap<u64, f64> = HashMap::new();
            let mut slices = 0;
            for event in all["traceEvents"].as_array().expect("a list") {
                if event["ph"] != "X" {
                    continue;
                }
                slices += 1;
                let number = |key: &str| event[key].as_f64().expect("a number");
                let end = ends.entry(event["tid"].as_u64().expect("a thread")).or_insert(f64::MIN);
                prop_assert!(number("ts") >= *end - 0.001 && number("dur") >= 0.0);
                *end = number("ts") + number("dur");
            }
            let calls = events.iter().filter(|event| matches!(event, Event::Call { .. }));
            prop_assert_eq!(slices, calls.count());
        }
    }
}
