use super::*;
use crate::ids::ZonePid;
use crate::trace::Part;
use crate::trace::entry::tests::{entry, sample};
use picozone_syscalls::nr;
use proptest::prelude::*;

fn holds(text: &str, call: &Call) -> bool {
    let filter: Filter = text.parse().unwrap_or_else(|mistake| panic!("{mistake}"));
    filter.holds(call, true)
}

impl Filter {
    fn holds(&self, call: &Call, has_ended: bool) -> bool {
        let event = Event::Call {
            call: call.clone(),
            has_ended,
        };
        !Chosen::new(Some(self), "web1").leaves_out(&event)
    }
}

impl Bounds {
    /// As guests do.
    fn have(&self, call: &Call) -> bool {
        let word = self.calls.get(call.nr as usize / 64);
        word.is_none_or(|word| word >> (call.nr % 64) & 1 != 0)
            && self.pids.contains(&call.pid.0)
            && self.tids.contains(&call.tid.0)
            && self.results.contains(&call.result)
            && call.duration >= self.shortest
    }
}

#[test]
fn conditions() {
    let call = sample();
    for text in [
        "call = openat",
        "call ~ open*",
        "call == 'openat'",
        "path ~ \"/etc/**\" and not failed",
        "path = \"/etc/passwd\"",
        "path = /etc/passwd",
        "path ~ /etc/*",
        "comm = apache2 and pid = 7 and tid = 7",
        "result = 3",
        "result > -1",
        "latency >= 2500ns and latency < 3us",
        "%file and %desc",
        "not %net",
        "failed or (call = openat and not (pid = 8 or pid = 9))",
        "call = close or call = openat and pid = 7",
        "path !~ \"/usr/**\"",
        "path has asswd and path has /",
        "zone = web1 and zone ~ web* and not zone = web2",
        "fd = 3 and fd < 4 and fd != 4",
        "arg = /etc/passwd and arg has passw and arg ~ */passwd",
        "arg = O_CLOEXEC and arg.flags ~ *O_CLOEXEC",
        "arg.pathname = /etc/passwd and not arg.flags has passwd",
        "arg has web1:etc",
        "text ~ \"openat(*\" and text has passwd",
        "not (address ~ * or port > 0 or fd ~ *)",
        "not errno = ENOENT",
    ] {
        assert!(holds(text, &call), "{text}");
    }
    let failed = Call {
        result: -2,
        ..sample()
    };
    for text in ["failed", "errno = ENOENT", "errno = 2", "errno != EACCES"] {
        assert!(holds(text, &failed) && !holds(text, &call), "{text}");
    }
    // Of what has not ended no end is known.
    let filter: Filter = "failed or latency > 0ns or result < 0"
        .parse()
        .expect("a filter");
    assert!(!filter.holds(&failed, false));
    // As of what is stronger: not, and, or.
    assert!(holds("not pid = 8 and pid = 7", &call));
    assert!(!holds("(call = openat or pid = 7) and pid = 8", &call));
}

#[test]
fn sockets_are_known_by_both_sides() {
    let inet = |a: u8, port: u8| {
        let mut bytes = vec![2, 0, 0, port, a, 111, 0, 2];
        bytes.resize(16, 0);
        bytes
    };
    let call = Call {
        nr: nr::bind,
        args: [3, 0x100, 16, 0, 0, 0],
        parts: vec![
            Part::Memory {
                address: 0x100,
                bytes: inet(10, 80),
            },
            Part::HostAddress(inet(127, 200)),
        ],
        ..sample()
    };
    for text in [
        "port = 80 and port = 200 and port != 81 and port < 81 and fd = 3",
        "address = 10.111.0.2 and address = 127.0.0.0/8 and address ~ 127.*",
        "address = \"10.111.0.2\" and address != 10.111.0.3",
        "address ~ \"10.*.2\" and not address ~ 10.1",
    ] {
        assert!(holds(text, &call), "{text}");
    }
    for text in [
        "port = 81",
        "address = 11.0.0.0/8",
        "address = ::1",
        "address = /run/x",
    ] {
        assert!(!holds(text, &call), "{text}");
    }
    let unix = Call {
        parts: vec![Part::Memory {
            address: 0x100,
            bytes: b"\x01\0/run/x/socket\0".to_vec(),
        }],
        ..call
    };
    assert!(holds(
        "address = /run/x/socket and address ~ /run/* and not port >= 0",
        &unix
    ));
}

/// What a descriptor stands for, calls before have told.
#[test]
fn descriptors_are_known_by_their_names() {
    let filter: Filter = "fd ~ \"/etc/*\" and fd ~ passwd".parse().expect("a filter");
    let mut chosen = Chosen::new(Some(&filter), "web1");
    let native = Call {
        nr: nr::brk,
        ..sample()
    };
    let read = Call {
        nr: nr::read,
        args: [3, 0x9000, 1, 0, 0, 0],
        result: 1,
        ..sample()
    };
    let close = Call {
        nr: nr::close,
        ..read.clone()
    };
    let chosen: Vec<bool> = [read.clone(), native, sample(), read.clone(), close, read]
        .map(|call| {
            let has_ended = true;
            !chosen.leaves_out(&Event::Call { call, has_ended })
        })
        .into();
    assert_eq!(chosen, [false, false, true, true, true, false]);
    assert_eq!(filter.bounds(), Bounds::default());
}

#[test]
fn guests_are_asked_for_no_more_than_needed() {
    let bounds = |text: &str| text.parse::<Filter>().expect("a filter").bounds();
    let numbers = |text: &str| {
        let calls = bounds(text).calls;
        let has = |nr: &u32| calls[*nr as usize / 64] >> (nr % 64) & 1 != 0;
        (0..512).filter(has).collect::<Vec<_>>()
    };
    let exec = [nr::execve, nr::execveat];
    assert_eq!(numbers("call = getpid"), [nr::getpid, exec[0], exec[1]]);
    assert_eq!(
        numbers("not (call != getpid or failed)"),
        [nr::getpid, exec[0], exec[1]]
    );
    assert_eq!(numbers("pid = 7").len(), 512);
    let net = numbers("port = 80 or address = 10.0.0.0/8");
    assert!(net.contains(&nr::bind) && !net.contains(&nr::openat));
    assert!(numbers("path ~ x and fd = 3").contains(&nr::openat));
    assert!(!numbers("path ~ x and fd = 3").contains(&nr::close));
    let of = bounds("pid >= 7 and pid < 9 and tid = 8 and latency > 10ms and failed");
    assert_eq!((of.pids, of.tids), (7..=8, 8..=8));
    assert_eq!((of.results, of.shortest), (-4095..=-1, 10_000_001));
    let of = bounds("errno = ENOENT or errno = EACCES");
    assert_eq!(of.results, -13..=-2);
    assert!(bounds("pid = -7").pids.is_empty() && bounds("pid > 4294967295").pids.is_empty());
    assert_eq!(bounds("pid > -7").pids, 0..=u32::MAX);
    assert_eq!(bounds("not failed"), Bounds::default());
}

#[test]
fn classes_are_of_the_table() {
    let of = |class: &str| {
        let filter: Filter = format!("%{class}").parse().expect("a class");
        let calls = picozone_syscalls::ROWS.iter().filter(|row| {
            let call = Call {
                nr: row.nr,
                ..sample()
            };
            filter.holds(&call, true)
        });
        calls.map(|row| row.name).collect::<Vec<_>>()
    };
    for (class, has, has_not) in [
        ("file", "openat", "read"),
        ("file", "chdir", "bind"),
        ("net", "bind", "openat"),
        ("net", "listen", "read"),
        ("process", "execve", "openat"),
        ("process", "kill", "read"),
        ("user", "setuid", "openat"),
        ("signal", "rt_sigaction", "openat"),
        ("ipc", "semget", "openat"),
        ("desc", "read", "execve"),
    ] {
        let calls = of(class);
        assert!(calls.contains(&has), "{class} {has}");
        assert!(!calls.contains(&has_not), "{class} {has_not}");
    }
}

#[test]
fn mistakes_have_their_column() {
    for (text, column, what) in [
        ("", 1, "a condition is missing"),
        ("path ~ \"/etc", 8, "the quotes are not closed"),
        ("pid = seven", 7, "a number is missing"),
        ("call = openatt", 8, "there is no call openatt"),
        ("openat", 1, "openat is a call: call = openat"),
        ("colour = red", 1, "there is no field colour"),
        ("failed and", 11, "a condition is missing"),
        ("failed call = openat", 8, "\"and\" or \"or\" is missing"),
        ("(failed", 8, "\")\" is missing"),
        ("failed)", 7, "\"and\" or \"or\" is missing"),
        ("latency > 10", 11, "a unit is missing"),
        ("pid = 7ms", 7, "this number has no unit"),
        ("%files", 1, "there is no class %files"),
        ("pid ~ 7", 5, "=, !=, <, <=, > or >= is missing"),
        ("fd >= x", 7, "a number is missing"),
        ("fd < /etc", 6, "a number is missing"),
        ("fd ~", 5, "a text is missing"),
        ("fd 3", 4, "=, !=, <, <=, > or >= is missing"),
        ("arg.colour = red", 1, "no call has an argument colour"),
        ("address < 10", 9, "=, !=, ~, !~ or has is missing"),
        ("port = http", 8, "a number is missing"),
        ("path has", 9, "a text is missing"),
        ("errno = ENOTHING", 9, "an errno is missing"),
        ("pid = 99999999999999999999", 7, "the number is too large"),
        ("failed & failed", 8, "'&' means nothing here"),
    ] {
        let mistake = text.parse::<Filter>().expect_err(text);
        assert_eq!(mistake.column + 1, column, "{text}: {mistake}");
        assert!(mistake.what.starts_with(what), "{text}: {mistake}");
    }
    let mistake = "pid = seven".parse::<Filter>().expect_err("a mistake");
    assert_eq!(
        mistake.to_string(),
        "a number is missing, at column 7\n  pid = seven\n        ^"
    );
    assert!("(".repeat(100_000).parse::<Filter>().is_err());
}

proptest! {
    #[test]
    fn any_text_is_a_filter_or_a_mistake_within_it(text in ".{0,60}") {
        if let Err(mistake) = text.parse::<Filter>() {
            prop_assert!(mistake.column <= text.chars().count());
        }
    }

    #[test]
    fn any_words_are(words in proptest::collection::vec(prop_oneof![
        Just("pid"), Just("="), Just("7"), Just("and"), Just("or"), Just("not"), Just("("), Just(")"),
        Just("failed"), Just("%file"), Just("~"), Just("\"x\""), Just("path"), Just("latency"),
        Just("10ms"), Just(">"), Just("fd"), Just("port"), Just("address"), Just("arg"), Just("has"),
        Just("127.0.0.0/8"), Just("text"), Just("zone"), Just("3")
    ], 0..12)) {
        let text = words.join(" ");
        if let Ok(filter) = text.parse::<Filter>() {
            let _ = filter.holds(&sample(), true);
        }
    }

    /// What a guest leaves out, nobody has wanted.
    #[test]
    fn bounds_are_around_all_that_is_wanted(
        conditions in proptest::collection::vec(
            (proptest::sample::select(CONDITIONS), any::<bool>(), any::<bool>()), 1..6
        ),
        mut call in entry().prop_filter_map("a call", |entry| match entry {
            crate::trace::Entry::Call(call) => Some(call),
            _ => None,
        }),
        (nr, pid, result) in (0..600_u32, 0..5_u32, -5..5_i64),
    ) {
        (call.nr, call.pid, call.tid, call.result) = (nr, ZonePid(pid), ZonePid(pid + 1), result);
        let mut text = String::new();
        for (condition, is_not, is_or) in conditions {
            let not = if is_not { "not " } else { "" };
            text = match (&text[..], is_or) {
                ("", _) => format!("{not}{condition}"),
                (before, true) => format!("{not}({before}) or {condition}"),
                (before, false) => format!("{condition} and {not}({before})"),
            };
        }
        let filter: Filter = text.parse().expect("a filter");
        if filter.holds(&call, true) {
            prop_assert!(filter.bounds().have(&call), "{}", text);
        }
    }
}

const CONDITIONS: &[&str] = &[
    "failed",
    "pid = 2",
    "pid != 2",
    "pid < 3",
    "tid >= 3",
    "tid <= -1",
    "result > 2",
    "result = -2",
    "errno = ENOENT",
    "errno != ENOENT",
    "latency > 1us",
    "latency <= 1s",
    "call ~ \"*e*\"",
    "call = openat",
    "call ~ \"syscall_*\"",
    "%file",
    "%net",
    "%process",
    "path ~ \"*\"",
    "path has a",
    "fd = 3",
    "fd >= 0",
    "port >= 0",
    "address ~ \"*\"",
    "arg ~ \"*\"",
    "arg.flags ~ \"*\"",
    "text has o",
    "comm ~ \"*\"",
    "zone = web1",
];
