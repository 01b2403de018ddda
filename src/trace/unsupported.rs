//! What programs called for and zones do not offer: the calls, how often, and who made them.

use super::calls::Event;
use super::entry::{Call, Part};
use super::output::Output;
use super::show;
use crate::ids::ZonePid;
use picozone_personality::trace::flags;
use picozone_syscalls::{Class, Errno, describe, nr, refusal, row};
use std::collections::HashMap;
use std::io::{self, Write};

/// Most rows; what comes later is counted by call only.
const ROWS_MAX: usize = 10_000;

/// Counts the calls that were refused since zones do not offer them.
#[derive(Default)]
pub struct Unsupported {
    /// By call and the caller's name.
    rows: HashMap<(String, String), Row>,
    /// What each process executes.
    programs: HashMap<ZonePid, String>,
}

struct Row {
    program: String,
    reason: &'static str,
    errno: String,
    count: u64,
}

impl Output for Unsupported {
    fn event(&mut self, event: &Event, _to: &mut dyn Write) -> io::Result<()> {
        match event {
            Event::Call {
                call,
                has_ended: true,
            } => self.call(call),
            Event::Began { call, program } => {
                self.programs.insert(call.pid, show::visible(program));
            }
            Event::Call { .. } | Event::Dropped { .. } | Event::Garbled { .. } => {}
        }
        Ok(())
    }

    fn end(&mut self, _skipped: Option<u64>, to: &mut dyn Write) -> io::Result<()> {
        if self.rows.is_empty() {
            return writeln!(to, "no call was refused that zones do not offer");
        }
        writeln!(to, "    count  call, errno, reason; caller and program")?;
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|(key, row)| (std::cmp::Reverse(row.count), *key));
        for ((call, caller), row) in rows {
            let Row {
                program,
                reason,
                errno,
                count,
            } = row;
            let of = if program.is_empty() { "" } else { ", " };
            writeln!(
                to,
                "{count:9}  {call}, {errno}, {reason}; {caller}{of}{program}"
            )?;
        }
        Ok(())
    }
}

impl Unsupported {
    fn call(&mut self, call: &Call) {
        let Some(errno) = show::errno(call, true) else {
            if matches!(call.nr, nr::execve | nr::execveat) {
                let path = show::paths(call).next();
                let path = path.map(show::visible).unwrap_or_default();
                self.programs.insert(call.pid, path);
            } else if matches!(call.nr, nr::clone | nr::clone3 | nr::fork | nr::vfork) {
                self.inherit(call);
            }
            return;
        };
        if !is_refused(call, errno) {
            return;
        }
        let mut what = String::new();
        // A write to a String cannot fail.
        let _ = describe(call.nr, call.args, &mut what);
        let caller = show::visible(call.comm.as_bytes());
        let mut key = (what, caller);
        if self.rows.len() >= ROWS_MAX && !self.rows.contains_key(&key) {
            key = (show::name(call.nr), "others".to_owned());
        }
        let program = self.programs.get(&call.pid);
        let row = self.rows.entry(key).or_insert_with(|| Row {
            program: program.cloned().unwrap_or_default(),
            reason: refusal(call.nr),
            errno: errno
                .name()
                .map_or_else(|| errno.raw().to_string(), str::to_owned),
            count: 0,
        });
        row.count += 1;
    }

    /// A child executes what its parent does, unless it has executed something else by the time that
    /// the parent is told of it.
    fn inherit(&mut self, call: &Call) {
        let child = call.parts.iter().find_map(|part| match part {
            Part::HostPid { zone, .. } if i64::from(zone.0) == call.result => Some(*zone),
            _ => None,
        });
        if let (Some(child), Some(program)) = (child, self.programs.get(&call.pid)) {
            let program = program.clone();
            self.programs.entry(child).or_insert(program);
        }
    }
}

/// Whether a call failed since zones do not offer it.
#[must_use]
pub fn is_refused(call: &Call, errno: Errno) -> bool {
    if call.flags & flags::REFUSED != 0 {
        return true;
    }
    match row(call.nr).map(|row| row.class) {
        Some(Class::Refused(with, _)) => with == errno,
        Some(_) => false,
        None => errno == Errno::ENOSYS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::entry::tests::sample;

    #[test]
    fn refused_calls_are_counted_by_caller() {
        let mut output = Unsupported::default();
        let mut text = Vec::new();
        let began = Event::Began {
            call: sample(),
            program: b"/usr/bin/node".to_vec(),
        };
        output.event(&began, &mut text).expect("taken");
        let io_uring = Call {
            nr: nr::io_uring_setup,
            result: -38,
            ..sample()
        };
        let unknown = Call {
            nr: 500,
            result: -38,
            comm: "sh".into(),
            pid: ZonePid(99),
            ..sample()
        };
        let fails = Call {
            result: -2,
            ..sample()
        };
        let form = Call {
            nr: nr::prctl,
            args: [35, 1, 0, 0, 0, 0],
            result: -22,
            flags: flags::REFUSED,
            ..sample()
        };
        for call in [&io_uring, &io_uring, &fails, &sample(), &unknown, &form] {
            let event = Event::Call {
                call: call.clone(),
                has_ended: true,
            };
            output.event(&event, &mut text).expect("taken");
        }
        output.end(Some(0), &mut text).expect("written");
        let text = String::from_utf8(text).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1..],
            [
                "        2  io_uring_setup, ENOSYS, bypasses the filter; apache2, /usr/bin/node",
                "        1  call 500, ENOSYS, no call has this number yet; sh",
                "        1  prctl(PR_SET_MM), EINVAL, not offered in this form; apache2, /usr/bin/node",
            ]
        );
    }
}
