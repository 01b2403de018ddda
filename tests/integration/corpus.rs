//! Real programs under strace on the host, and traced in a zone or on the host: the same calls in the same order by each
//! process, with the same arguments wherever both know what those are.

use crate::harness::{self, Home, LIMIT, Zone, in_each_role, program, run};
use crate::recorded::{calls_of_trace, without_host};
use picozone_syscalls::{Class, Outcome, ROWS, Row};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

in_each_role!(
    programs_are_told_as_strace_does,
    programs_of_the_host_are_told_as_strace_does,
);

/// Programs, by their paths, and their arguments.
const PROGRAMS: &[(&str, &str)] = &[
    ("/usr/bin/cat", "own /etc/none"),
    ("/usr/bin/ls", "-n . /usr/lib/none"),
    (
        "/bin/dash",
        "-c 'echo a >f; cat f | wc -c; (cd / && exec rm -f none); kill -0 $$; rm f'",
    ),
    ("/usr/bin/find", ". -newer own"),
    (
        "/usr/bin/perl",
        "-e 'mkdir q($d); rename q($d), q(e); rmdir q(e); chmod 0600, q(none)'",
    ),
    (
        "/usr/bin/python3",
        "-I -S -c 'import socket; socket.socket().connect_ex((\"127.0.0.1\", 1))'",
    ),
];

fn programs_are_told_as_strace_does(home: &Home) {
    if harness::are_all_traced("programs as strace tells them") {
        return;
    }
    let zone = home.boot("z");
    compare_all(home, |work, path, arguments| {
        // Both run in a directory of the same name.
        zone.sh(&format!("mkdir -p {}", work.display()));
        in_zone(&zone, work, path, arguments)
    });
}

fn programs_of_the_host_are_told_as_strace_does(home: &Home) {
    compare_all(home, |work, path, arguments| {
        on_host(home, work, path, arguments)
    });
}

/// How often a program is run anew if the host changes while it is compared.
const ATTEMPTS: u32 = 5;

/// Compares what strace tells of all programs with what we do.
fn compare_all(home: &Home, ours: impl Fn(&Path, &str, &str) -> Processes) {
    let Some(strace) = program("programs as strace tells them", "strace") else {
        return;
    };
    let work = home.place().work();
    if let Some((uid, gid)) = home.role().account() {
        chown(&work, Some(uid), Some(gid)).expect("we are root");
    }
    let (mut known, mut all) = (0, 0);
    'programs: for (path, arguments) in PROGRAMS {
        if !Path::new(path).exists() {
            harness::skip(&format!("{path} as strace tells it"), "it is not there");
            continue;
        }
        let Some(mut theirs) = natively(home, &strace, &work, path, arguments) else {
            harness::skip(
                "programs as strace tells them",
                "the host lets nobody trace",
            );
            return;
        };
        for _ in 0..ATTEMPTS {
            let ours = ours(&work, path, arguments);
            let difference = match compare_processes(&ours, &theirs) {
                Ok((same, of)) => {
                    (known, all) = (known + same, all + of);
                    continue 'programs;
                }
                Err(difference) => difference,
            };
            // The host may have changed meanwhile: then strace tells something else now, too.
            let again = natively(home, &strace, &work, path, arguments).expect("it could before");
            let is_changed = compare_processes(&again, &theirs).is_err();
            assert!(is_changed, "{path}: {difference}: {ours:#?} {theirs:#?}");
            theirs = again;
        }
        panic!("{path}: the host has changed in each of {ATTEMPTS} attempts");
    }
    // Of how many arguments both know what they are.
    assert!(known * 10 >= all * 8, "{known} of {all}");
}

/// What starts a program: descriptors and the environment are the same everywhere.
fn script(path: &str, arguments: &str) -> String {
    let start = "umask 22; echo text >own; exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-";
    format!("{start}; exec {path} {arguments}")
}

const ENVIRONMENT: [&str; 4] = ["-i", "PATH=/usr/bin:/bin", "HOME=/nowhere", "LC_ALL=C"];

/// A call as text: its name, its arguments, and its errno if it has failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    name: String,
    arguments: Vec<String>,
    end: String,
}

/// The calls of each process, from the exec of the program on.
type Processes = Vec<Vec<Told>>;

fn natively(
    home: &Home,
    strace: &Path,
    work: &Path,
    path: &str,
    arguments: &str,
) -> Option<Processes> {
    let said = home.dir().join("said");
    run(home.host(Path::new("/bin/rm")).arg("-rf").arg(&said), LIMIT).ok();
    run(home.host(Path::new("/bin/mkdir")).arg(&said), LIMIT).ok();
    let mut command = home.host(strace);
    command.args([
        "-ff",
        "-q",
        "-a",
        "1",
        "-s",
        "32",
        "-e",
        "signal=none",
        "-o",
    ]);
    command.arg(said.join("of")).arg("env").args(ENVIRONMENT);
    command.args(["sh", "-c", &script(path, arguments)]);
    let output = run(command.current_dir(work), LIMIT);
    let files = fs::read_dir(&said).expect("a directory");
    let mut texts = BTreeMap::new();
    for file in files {
        let path = file.expect("an entry").path();
        let pid = path.extension().and_then(|pid| pid.to_str()?.parse().ok());
        let text = fs::read_to_string(&path).expect("strace has written it");
        texts.insert(pid.unwrap_or(0), text);
    }
    if texts.values().all(|text| text.trim().is_empty()) {
        assert_ne!(output.status, 0, "{output:?}");
        return None;
    }
    let calls = |text: &String| text.lines().filter_map(told).collect();
    Some(from_start(texts.values().map(calls).collect(), path))
}

fn in_zone(zone: &Zone, work: &Path, path: &str, arguments: &str) -> Processes {
    let file = zone.home().dir().join("out.zt");
    let option = format!("--trace={}", file.display());
    let work = work.to_str().expect("text");
    let mut words = vec!["run", zone.name(), &option, "-w", work, "--", "env"];
    words.extend(ENVIRONMENT);
    let script = script(path, arguments);
    words.extend(["sh", "-c", &script]);
    zone.home().zone(&words);
    processes_of(zone.home(), &file, path)
}

fn on_host(home: &Home, work: &Path, path: &str, arguments: &str) -> Processes {
    let file = home.dir().join("out.zt");
    let mut command = home.command(&["trace", "-o"]);
    command.arg(&file).args(["--", "env"]).args(ENVIRONMENT);
    command.args(["sh", "-c", &script(path, arguments)]);
    run(command.current_dir(work), LIMIT);
    processes_of(home, &file, path)
}

/// The calls of a recorded trace.
fn processes_of(home: &Home, file: &Path, path: &str) -> Processes {
    let mut processes: BTreeMap<u64, Vec<Told>> = BTreeMap::new();
    for call in calls_of_trace(home, file) {
        let pid = call["pid"].as_u64().expect("a number");
        let text = call["text"].as_str().expect("a text");
        processes
            .entry(pid)
            .or_default()
            .extend(told(&without_host(text)));
    }
    from_start(processes.into_values().collect(), path)
}

/// Without what came before the program was executed. Sorted by what they executed: which of two children
/// got the lower number nobody has decided.
fn from_start(mut processes: Processes, path: &str) -> Processes {
    let is_start = |call: &Told| {
        call.name == "execve"
            && call
                .arguments
                .first()
                .is_some_and(|of| *of == format!("\"{path}\""))
    };
    let mut each = processes.iter_mut();
    let first = each.find(|calls| calls.iter().any(is_start));
    let first = first.expect("the program was executed");
    let at = first.iter().position(is_start).unwrap_or(0);
    first.drain(..at);
    processes.sort_by_cached_key(|calls| {
        let execs = calls.iter().filter(|call| call.name == "execve");
        execs.map(|call| call.arguments.clone()).collect::<Vec<_>>()
    });
    processes
}

fn row(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

/// A line; none of calls that zones do not always translate.
fn told(line: &str) -> Option<Told> {
    let (name, rest) = line.split_once('(')?;
    let row = row(name)?;
    // That a handler has returned is the personality's own affair.
    if !matches!(row.class, Class::Emulated(_)) || name == "rt_sigreturn" {
        return None;
    }
    // A wait into which a signal has come begins again: when it comes is nobody's choice.
    let is_ended = rest.contains(" = ? ERESTART") || rest.contains(" = -1 EINTR");
    if name == "wait4" && is_ended {
        return None;
    }
    let (arguments, end) = rest.rsplit_once(") = ")?;
    let is_number = matches!(row.result, Outcome::Fd | Outcome::Zero | Outcome::Size);
    let end = match end.split_once(' ') {
        Some(("-1", errno)) => errno.split(' ').next().unwrap_or_default(),
        _ if is_number && name != "getcwd" => end,
        _ => "",
    };
    Some(Told {
        name: name.into(),
        arguments: split(arguments),
        end: end.into(),
    })
}

/// Arguments, apart: a comma within quotes or brackets parts nothing.
fn split(text: &str) -> Vec<String> {
    let (mut all, mut depth, mut is_quoted, mut is_escaped) =
        (vec![String::new()], 0, false, false);
    for c in text.chars() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            '[' | '{' | '(' if !is_quoted => depth += 1,
            ']' | '}' | ')' if !is_quoted => depth -= 1,
            ',' if !is_quoted && depth == 0 => {
                all.push(String::new());
                continue;
            }
            ' ' if all.last().is_some_and(String::is_empty) => continue,
            _ => {}
        }
        all.last_mut().expect("there is one").push(c);
    }
    all
}

/// Of how many arguments both tell the same, and how many there are; or where they differ.
fn compare_processes(ours: &Processes, theirs: &Processes) -> Result<(usize, usize), String> {
    let names = |calls: &[Told]| -> Vec<_> { calls.iter().map(|call| call.name.clone()).collect() };
    if ours.len() != theirs.len() {
        return Err("another number of processes".into());
    }
    let (mut known, mut all) = (0, 0);
    for (ours, theirs) in ours.iter().zip(theirs) {
        if names(ours) != names(theirs) {
            return Err("other calls".into());
        }
        for (ours, theirs) in ours.iter().zip(theirs) {
            let (same, of) = compare(ours, theirs)?;
            (known, all) = (known + same, all + of);
        }
    }
    Ok((known, all))
}

/// The same of one call; an error if both know what an argument is and tell another.
fn compare(ours: &Told, theirs: &Told) -> Result<(usize, usize), String> {
    let differ = |what: &str| Err(format!("{what}: {ours:?} {theirs:?}"));
    if ours.end != theirs.end {
        return differ("another end");
    }
    if ours.name.starts_with("clone") {
        // strace names its arguments, in another order.
        let flags = format!("flags={}", ours.arguments[0]);
        let everywhere = |told: &Told| -> Vec<_> {
            let arguments = told.arguments.iter();
            arguments.map(String::as_str).map(placeless).collect()
        };
        let is_same = theirs.arguments.contains(&flags) || everywhere(ours) == everywhere(theirs);
        return if is_same {
            Ok((1, 1))
        } else {
            differ("other flags")
        };
    }
    if ours.arguments.len() != theirs.arguments.len() {
        return differ("another number of arguments");
    }
    let mut same = 0;
    for (i, (a, b)) in ours.arguments.iter().zip(&theirs.arguments).enumerate() {
        let (a, b) = (placeless(a), placeless(b));
        // The process is another one.
        let is_pid = ours.name == "kill" && i == 0;
        // Some structures only strace tells.
        let is_structure = b.starts_with(['{', '[', '~']) || b.starts_with("0x.. /*");
        let is_ours_unknown = a == "0x.." && is_structure;
        if !(is_pid || is_ours_unknown || is_same(&a, &b)) {
            return differ(&format!("{a} {b}"));
        }
        same += usize::from(!is_pid && !is_ours_unknown);
    }
    Ok((same, ours.arguments.len()))
}

/// A text in which no address says where it is: that is nobody's choice.
fn placeless(text: &str) -> String {
    let mut pieces = text.split("0x");
    let mut result = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let is_digit = |c: &char| c.is_ascii_hexdigit();
        let digits = piece.chars().take_while(is_digit).count();
        result += "0x";
        result += if digits > 4 { ".." } else { &piece[..digits] };
        result += &piece[digits..];
    }
    result
}

/// Socket addresses strace shows as structures, and we as one writes them. The zone decides which fields of
/// statx(2) there are, how long files of `/proc` are, and what it is called; the kernel chooses ports.
fn is_same(ours: &str, theirs: &str) -> bool {
    const PROC: &str = "{st_mode=S_IFREG|0444, st_size=";
    const NAMES: &str = "{sysname=\"Linux\", nodename=";
    // How much is free changes, and the file system of a zone's path may be another one.
    const SPACE: &str = "{f_type=";
    let fields = |text: &str| {
        let rest = text
            .strip_prefix("{stx_mask=")
            .and_then(|rest| rest.split_once(", "));
        rest.map_or_else(|| text.to_owned(), |(_, rest)| rest.to_owned())
    };
    let both = |start: &str| ours.starts_with(start) && theirs.starts_with(start);
    let is_proc = both(PROC) && theirs.starts_with(&format!("{PROC}0, "));
    // Of a large directory not all is recorded.
    let is_part = ours.contains(" or more entries ") && theirs.ends_with(" entries */");
    if fields(ours) == fields(theirs) || is_proc || both(NAMES) || both(SPACE) || is_part {
        return true;
    }
    let part = |start: &str, end: &str| {
        let rest = &theirs[theirs.find(start)? + start.len()..];
        Some(&rest[..rest.find(end)?])
    };
    let inet = (part("sin_port=htons(", ")"), part("inet_addr(\"", "\")"));
    if let (Some(port), Some(address)) = inet {
        let is_chosen = |port: &str| port.parse::<u16>().is_ok_and(|port| port >= 32768);
        let (at, our_port) = ours.rsplit_once(':').unwrap_or((ours, ""));
        return at == address && (our_port == port || is_chosen(our_port) && is_chosen(port));
    }
    part("sun_path=", "}").is_some_and(|path| path == ours)
}
