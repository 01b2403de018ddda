use super::*;
use crate::trace::entry::tests::sample;
use proptest::prelude::*;

fn holds(text: &str, call: &Call) -> bool {
    let filter: Filter = text.parse().unwrap_or_else(|mistake| panic!("{mistake}"));
    filter.holds(call, true)
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
        Just("10ms"), Just(">")
    ], 0..12)) {
        let text = words.join(" ");
        if let Ok(filter) = text.parse::<Filter>() {
            let _ = filter.holds(&sample(), true);
        }
    }
}
