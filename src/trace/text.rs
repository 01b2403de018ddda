//! A trace as text, one line a call, as strace(1) shows it.

use super::calls::Event;
use super::entry::Call;
use super::show;
use picozone_syscalls::nr;

/// An event as a line; `has_time` puts the time of the day (UTC) in front.
#[must_use]
pub fn line(event: &Event, has_time: bool) -> String {
    let text = |call: &Call, has_ended: bool| show::call(call, has_ended);
    line_with(event, has_time, &text)
}

/// The same, with a call's text as `text` has it.
#[must_use]
pub fn line_with(event: &Event, has_time: bool, text: &dyn Fn(&Call, bool) -> String) -> String {
    match event {
        Event::Call { call, has_ended } => {
            let end = if *has_ended && !matches!(call.nr, nr::exit | nr::exit_group) {
                format!(" <{}>", show::seconds(call.duration))
            } else {
                String::new()
            };
            let text = text(call, *has_ended);
            format!("{}{text}{end}", front(call, has_time))
        }
        Event::Began { call, program } => {
            let program = show::visible(program);
            format!("{}+++ executes {program} +++", front(call, has_time))
        }
        Event::Dropped { host_tid, count } => {
            let of = match host_tid.0 {
                0 => "threads beyond the limit".to_owned(),
                tid => format!("a thread ({tid} on the host)"),
            };
            let calls = if *count == 1 { "call" } else { "calls" };
            format!("--- {count} {calls} of {of} not recorded ---")
        }
        Event::Garbled { host_tid } => {
            format!("--- what a thread ({host_tid} on the host) has told is no record ---")
        }
    }
}

fn front(call: &Call, has_time: bool) -> String {
    let time = if has_time {
        show::time_of_day(call.time) + " "
    } else {
        String::new()
    };
    let thread = if call.tid == call.pid {
        call.pid.to_string()
    } else {
        format!("{}/{}", call.pid, call.tid)
    };
    format!("{time}[{thread} {}] ", show::visible(call.comm.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{HostPid, ZonePid};
    use crate::trace::entry::tests::sample;

    #[test]
    fn lines() {
        let mut call = sample();
        let event = |call: &Call, has_ended: bool| Event::Call {
            call: call.clone(),
            has_ended,
        };
        assert_eq!(
            line(&event(&call, true), false),
            r#"[7 apache2] openat(AT_FDCWD, "/etc/passwd" -> web1:etc/passwd, O_RDONLY|O_CLOEXEC) = 3 <0.000002>"#
        );
        (call.tid, call.nr, call.result) = (ZonePid(4_194_400), nr::getpid, 7);
        assert_eq!(
            line(&event(&call, true), true),
            "00:00:01.000000 [7/4194400 apache2] getpid() = 7 <0.000002>"
        );
        let host_tid = HostPid(9);
        assert_eq!(
            line(&Event::Dropped { host_tid, count: 2 }, false),
            "--- 2 calls of a thread (9 on the host) not recorded ---"
        );
        let program = b"/usr/bin/env".to_vec();
        assert_eq!(
            line(&Event::Began { call, program }, false),
            "[7/4194400 apache2] +++ executes /usr/bin/env +++"
        );
    }
}
