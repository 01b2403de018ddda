//! `zone trace` and `zone run --trace`: what guests call is recorded and shown as it was.

use crate::harness::{self, Home, LIMIT, Running, Zone, eventually, in_each_role, program, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

in_each_role!(
    calls_come_in_their_order_with_their_results,
    native_calls_are_recorded_where_they_are_asked_for,
    both_sides_are_shown,
    a_running_program_is_followed_and_left,
    what_nobody_wants_is_not_recorded,
    lines_are_those_of_strace,
    what_finds_no_room_is_counted,
    nothing_is_lost_where_programs_wait,
    a_wait_for_room_ends_with_the_monitor,
    the_last_calls_are_kept_at_any_time,
    a_guest_that_forges_records_harms_nobody,
    a_trace_ends_with_its_zone,
    what_a_killed_monitor_has_written_can_be_read,
    a_file_that_is_no_trace_is_refused,
    damage_is_told,
);

/// The lines that `zone trace read FILE --format json` and these words show.
pub fn read(home: &Home, file: &Path, words: &[&str]) -> Vec<Value> {
    let file = file.to_str().expect("text");
    let mut all = vec!["trace", "read", file, "--format", "json"];
    all.extend(words);
    let text = home.zone(&all).ok();
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
    text.lines().map(line).collect()
}

/// All calls of a trace.
pub fn calls_of_trace(home: &Home, file: &Path) -> Vec<Value> {
    let mut lines = read(home, file, &[]);
    lines.retain(|line| line["type"] == "call");
    lines
}

/// Those of them that are calls of programs of this name.
fn calls_of(lines: &[Value], comm: &str) -> Vec<Value> {
    let of = |line: &&Value| line["type"] == "call" && line["comm"] == comm;
    lines.iter().filter(of).cloned().collect()
}

fn text_of(call: &Value) -> &str {
    call["text"].as_str().expect("each call has a text")
}

/// A zone with the guest in its `/w`.
fn boot<'a>(home: &'a Home, name: &str) -> Zone<'a> {
    with_guest(home.boot(name))
}

fn with_guest(zone: Zone<'_>) -> Zone<'_> {
    harness::copy_program(&harness::guest("recorded"), &zone.root().join("recorded"));
    zone.sh("mkdir /w");
    zone
}

/// A trace of a zone into a file, which has begun.
fn trace(zone: &Zone, file: &Path) -> Running {
    trace_with(zone, file, &[])
}

fn trace_with(zone: &Zone, file: &Path, words: &[&str]) -> Running {
    let file = file.to_str().expect("text");
    let words = [&["trace", zone.name(), "-o", file], words].concat();
    let running = zone.home().start(&words);
    if file != "/dev/null" {
        eventually("the trace begins", || {
            (fs::metadata(file).ok()?.len() > 12).then_some(())
        });
    }
    running
}

/// Ends it as a user does; gives what is said of it.
pub fn end(running: Running) -> String {
    let pid = Pid::from_raw(running.id().cast_signed());
    kill(pid, Signal::SIGINT).expect("it runs");
    let output = running.wait(LIMIT);
    assert_eq!(output.status, 0, "{output:?}");
    output.stderr
}

/// What the guest's calls came to, by itself.
fn said(output: &str) -> Vec<(String, i64)> {
    let of = |line: &str| {
        let (name, result) = line.split_once(' ').expect("name and result");
        (name.to_owned(), result.parse().expect("a number"))
    };
    output.lines().map(of).collect()
}

/// The calls of `recorded calls`, its first and last one included.
fn between(calls: Vec<Value>) -> Vec<Value> {
    let at = |name: &str| {
        let is = |call: &Value| text_of(call).starts_with(&format!("access(\"{name}\""));
        calls.iter().position(is).expect("it made that call")
    };
    calls[at("begin")..=at("end")].to_vec()
}

fn calls_come_in_their_order_with_their_results(home: &Home) {
    let zone = boot(home, "z");
    let file = home.dir().join("out.zt");
    let option = format!("--trace={}", file.display());
    let words = ["run", "z", &option, "-w", "/w", "--", "/recorded", "calls"];
    let said = said(&home.zone(&words).ok());
    assert_eq!(said.len(), 23);
    let lines = read(home, &file, &[]);
    assert_eq!(
        (&lines[0]["type"], &lines[0]["version"], &lines[0]["zone"]),
        (&"trace".into(), &1.into(), &"z".into())
    );
    let last = lines.last().expect("an end");
    assert_eq!(
        (&last["type"], &last["whole"]),
        (&"end".into(), &true.into())
    );
    let calls = between(calls_of(&lines, "recorded"));
    let recorded: Vec<(String, i64)> = calls
        .iter()
        .map(|call| {
            let result = call["result"].as_i64().expect("it ended");
            (call["call"].as_str().expect("a name").to_owned(), result)
        })
        .collect();
    assert_eq!(recorded, said);
    // All were made by one thread, one after the other.
    let pids: Vec<&Value> = calls.iter().map(|call| &call["pid"]).collect();
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
    let times: Vec<u64> = calls
        .iter()
        .map(|call| call["time_ns"].as_u64().expect("a time"))
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    // A zone that is not traced any more gives the memory back, and goes on.
    assert_eq!(zone.sh("echo well"), "well\n");
    let summary = ["trace", "read", file.to_str().expect("text")];
    let summary = home.zone(&[&summary[..], &["--format", "summary"]].concat());
    assert!(summary.ok().contains("access ENOENT"));
}

fn native_calls_are_recorded_where_they_are_asked_for(home: &Home) {
    boot(home, "z");
    let file = home.dir().join("out.zt");
    let option = format!("--trace={}", file.display());
    let of = |level: &str| {
        let words = ["run", "z", &option, "--level", level, "-w", "/w"];
        let words = [&words[..], &["--", "/recorded", "natives"]].concat();
        let said = said(&home.zone(&words).ok());
        let lines = read(home, &file, &[]);
        let calls = between(calls_of(&lines, "recorded"));
        let recorded = calls.iter().map(|call| {
            let name = call["call"].as_str().expect("a name").to_owned();
            (name, call["result"].as_i64().expect("it ended"))
        });
        (said, recorded.collect::<Vec<_>>(), lines)
    };
    let (said, recorded, lines) = of("all");
    assert_eq!(said.len(), 25);
    assert_eq!(recorded, said);
    let last = calls_of(&lines, "recorded").pop().expect("a call");
    assert_eq!(text_of(&last), "exit_group(0) = ?");
    // What was written is shown.
    let texts = lines.iter().filter_map(|line| line["text"].as_str());
    let texts: Vec<&str> = texts.collect();
    assert!(texts.contains(&"write(4, \"text\\0\", 5) = 5"), "{texts:?}");
    // Without, only those that zones translate, and the close of a reserved descriptor. A munmap may come
    // by a rewritten call site.
    let (_, recorded, _) = of("translated");
    let names = recorded.iter().map(|(name, _)| name.as_str());
    let names: Vec<&str> = names.filter(|name| *name != "munmap").collect();
    assert_eq!(names, ["access", "close", "getpid", "access"]);
    let refused = home.zone(&["trace", "z", "--level", "all"]).fails(125);
    assert!(refused.contains("zone login z --level all"), "{refused}");
}

fn both_sides_are_shown(home: &Home) {
    let zone = boot(home, "z");
    let file = home.dir().join("out.zt");
    let running = trace(&zone, &file);
    zone.sh("cat /etc/passwd >/dev/null; sleep 1000 & kill $!; cd /w; mkdir /w/a; mv /w/a /w/b");
    let python = program("addresses of both sides", "python3").is_some();
    if python {
        let script = "import socket; socket.socket().bind(('0.0.0.0', 8000))";
        zone.run(&["python3", "-c", script]).ok();
    }
    end(running);
    let lines = read(home, &file, &["-e", "not failed"]);
    let texts: Vec<&str> = lines
        .iter()
        .filter(|line| line["type"] == "call")
        .map(text_of)
        .collect();
    let has = |start: &str, part: &str| {
        let is = |text: &&str| text.starts_with(start) && text.contains(part);
        assert!(texts.iter().any(is), "{start}..{part}: {texts:#?}");
    };
    has(
        "openat(AT_FDCWD, \"/etc/passwd\"",
        " -> z:etc/passwd, O_RDONLY",
    );
    has("mkdir(\"/w/a\" -> z:w/a, 0777)", " = 0");
    has("rename", "\"/w/a\" -> z:w/a");
    has("rename", "\"/w/b\" -> z:w/b");
    has("kill(", ", SIGTERM) = 0");
    has(
        "execve(\"/usr/bin/cat\", [\"cat\", \"/etc/passwd\"], ",
        " = 0",
    );
    if python {
        has("bind(", ", 0.0.0.0:8000 -> 127.");
    }
    // The number on the host is the one that the host shows.
    let kill = lines.iter().find(|line| line["call"] == "kill");
    let kill = &kill.expect("it was made")["args"][0];
    let host: u32 = kill["host"].as_str().expect("both").parse().expect("a pid");
    assert!(u64::from(host) != kill["word"].as_u64().expect("a word"));
    let forks = lines.iter().filter_map(|line| line["text"].as_str());
    let made = format!(" = {} -> {host}", kill["text"].as_str().expect("a text"));
    assert!(
        forks.into_iter().any(|text| text.ends_with(&made)),
        "{made}"
    );
}

/// A program that looks for what it is told, in `/etc`: its pid, and what tells it, and waits for that.
fn listener(zone: &Zone) -> (String, impl Fn(&str)) {
    let script =
        "echo $$ >/w/pid; while read name; do test -e /etc/$name; echo $name >>/w/said; done";
    let command = format!("mkfifo /w/go; sh -c '{script}' <>/w/go >/dev/null 2>&1 &");
    zone.sh(&command);
    let work = zone.root().join("w");
    let pid = eventually("the program has a pid", || {
        let pid = fs::read_to_string(work.join("pid")).ok()?;
        pid.strip_suffix('\n').map(str::to_owned)
    });
    let tell = move |name: &str| {
        eventually("the program listens", || {
            let go = fs::OpenOptions::new().write(true).open(work.join("go"));
            go.ok()?.write_all(format!("{name}\n").as_bytes()).ok()
        });
        eventually("the program has heard", || {
            let said = fs::read_to_string(work.join("said")).ok()?;
            said.lines().any(|line| line == name).then_some(())
        });
    };
    (pid, tell)
}

/// A program that ran before, between two traces, and after.
fn a_running_program_is_followed_and_left(home: &Home) {
    let zone = boot(home, "z");
    let (_, tell) = listener(&zone);
    tell("zero");
    let mut found = Vec::new();
    for (during, after) in [("one", "two"), ("three", "four")] {
        let file = home.dir().join(during);
        let running = trace(&zone, &file);
        tell(during);
        end(running);
        tell(after);
        let lines = read(home, &file, &["-e", "path ~ \"/etc/*\""]);
        let paths = lines.iter().filter_map(|line| line["text"].as_str());
        let asked = paths.filter(|text| {
            ["zero", "one", "two", "three", "four"]
                .iter()
                .any(|name| text.contains(&format!("\"/etc/{name}\"")))
        });
        found.push(asked.map(str::to_owned).collect::<Vec<_>>());
    }
    let [first, second] = &found[..] else {
        panic!("two traces")
    };
    assert!(!first.is_empty() && first.iter().all(|text| text.contains("/etc/one")));
    assert!(!second.is_empty() && second.iter().all(|text| text.contains("/etc/three")));
}

/// How many calls were recorded, as it is said at the end.
fn count_of(said: &str) -> u64 {
    let (before, _) = said.split_once(" calls were recorded").expect("a count");
    let digits = before.rsplit(' ').next().expect("a word");
    digits.parse().expect("a number")
}

fn what_nobody_wants_is_not_recorded(home: &Home) {
    let zone = boot(home, "z");
    let file = home.dir().join("out.zt");
    // What is there says that a trace has begun.
    let begin = |words: &[&str]| {
        let _ = fs::remove_file(&file);
        trace_with(&zone, &file, words)
    };
    let mut found = Vec::new();
    for filter in [
        "call = mkdir",
        "path ~ none and errno = ENOENT",
        "latency > 1000s",
        "text has \"(\"",
    ] {
        let running = begin(&["-e", filter]);
        zone.run(&[
            "sh",
            "-c",
            "cd /w; mkdir a; test -e none; /recorded calls; rmdir a",
        ]);
        let count = count_of(&end(running));
        let calls = calls_of_trace(home, &file);
        let names = calls
            .iter()
            .map(|call| call["call"].as_str().expect("a name").to_owned());
        found.push((names.collect::<Vec<_>>(), count));
        zone.sh("rm -rf /w/* 2>/dev/null");
    }
    let [
        (mkdirs, of_mkdirs),
        (failed, of_failed),
        (slow, of_slow),
        (_, all),
    ] = &found[..]
    else {
        panic!("four traces")
    };
    assert!(!mkdirs.is_empty() && mkdirs.iter().all(|name| name == "mkdir"));
    assert!(
        !failed.is_empty() && !failed.contains(&"mkdir".into()),
        "{failed:?}"
    );
    assert!(slow.is_empty(), "{slow:?}");
    // Beside those, execs were recorded, and what fails so with other paths.
    for (count, of) in [(mkdirs, of_mkdirs), (slow, of_slow)] {
        assert!(*of < count.len() as u64 + 12, "{of} {count:?}");
    }
    assert!(of_failed * 2 < *all, "{of_failed} {all}");
    // Of a process, and of its first thread, all is recorded, of others nothing.
    let (pid, tell) = listener(&zone);
    for (option, name) in [("--pid", "one"), ("--tid", "two")] {
        let running = begin(&[option, &pid]);
        zone.run(&["test", "-e", "/etc/none"]);
        tell(name);
        assert!(count_of(&end(running)) > 0);
        let calls = calls_of_trace(home, &file);
        assert!(
            calls
                .iter()
                .all(|call| call["pid"].as_u64() == pid.parse().ok()),
            "{calls:?}"
        );
        let texts = calls.iter().map(text_of);
        assert_eq!(
            texts
                .filter(|text| text.contains(&format!("/etc/{name}")))
                .count(),
            1
        );
    }
    let running = begin(&["--pid", "4000000"]);
    tell("three");
    assert_eq!(count_of(&end(running)), 0);
}

/// Whatever became of a recorded file, what it tells is shown and what is wrong is said: as the fuzz target
/// does, of a real one.
fn damage_is_told(home: &Home) {
    boot(home, "z");
    let file = home.dir().join("out.zt");
    let option = format!("--trace={}", file.display());
    for guest in ["calls", "natives"] {
        let words = ["run", "z", &option, "--level", "all", "-w", "/w"];
        home.zone(&[&words[..], &["--", "/recorded", guest]].concat())
            .ok();
        let whole = fs::read(&file).expect("it was recorded");
        assert!(shown_in_all_ways(&whole));
        for seed in 0..30 {
            let mut random = Random(seed);
            let mut damaged = whole.clone();
            match seed % 3 {
                0 => damaged.truncate(random.below(whole.len())),
                1 => random.change(&mut damaged),
                _ => damaged = with_right_sums(&whole, |content| random.change(content)),
            }
            shown_in_all_ways(&damaged);
        }
    }
}

/// Numbers that look like chance, and are the same every time (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        let mut x = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0 = x;
        usize::try_from(x >> 16).expect("64 bits") % end.max(1)
    }

    fn change(&mut self, bytes: &mut [u8]) {
        for _ in 0..=self.below(8) {
            let at = self.below(bytes.len());
            if let Some(byte) = bytes.get_mut(at) {
                *byte = u8::try_from(self.below(256)).expect("a byte");
            }
        }
    }
}

/// A trace whose blocks hold something else, and sums that say so.
fn with_right_sums(whole: &[u8], mut change: impl FnMut(&mut [u8])) -> Vec<u8> {
    let (front, mut rest) = whole.split_at(12);
    let mut all = front.to_vec();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).expect("64 bits");
        let mut content = behind[4..4 + length].to_vec();
        change(&mut content);
        all.extend(picozone::trace::file::block(&content));
        rest = &behind[4 + length..];
    }
    all
}

/// Shows a trace in all ways. Whether nothing was wrong with it.
fn shown_in_all_ways(bytes: &[u8]) -> bool {
    use picozone::trace::{events::Events, output};
    let mut was_whole = true;
    for mut output in output::all(&|_| true) {
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
                    was_whole = false;
                }
            }
        }
        output.end(events.skipped(), &mut to).expect("written");
    }
    was_whole
}

/// A line of ours without what things are on the host.
pub fn without_host(text: &str) -> String {
    let mut pieces = text.split(" -> ");
    let mut line = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        line += &piece[piece.find([',', ')']).unwrap_or(piece.len())..];
    }
    line
}

/// The same program under strace on the host.
fn lines_are_those_of_strace(home: &Home) {
    let Some(strace) = program("the text of strace", "strace") else {
        return;
    };
    boot(home, "z");
    let file = home.dir().join("out.zt");
    let option = format!("--trace={}", file.display());
    let words = ["run", "z", &option, "-w", "/w", "--", "/recorded", "calls"];
    home.zone(&words).ok();
    let lines = read(home, &file, &[]);
    // What is known of the host stands on our side only.
    let ours: Vec<String> = between(calls_of(&lines, "recorded"))
        .iter()
        .map(|call| without_host(text_of(call)))
        .collect();
    let work = home.dir().join("natively");
    run(home.host(Path::new("/bin/mkdir")).arg(&work), LIMIT).ok();
    let mut command = home.host(&strace);
    command
        .args(["-a", "1", "-o", "said"])
        .arg(harness::guest("recorded"))
        .arg("calls")
        .current_dir(&work);
    let output = run(&mut command, LIMIT);
    if output.status != 0 && output.stdout.is_empty() {
        harness::skip("the text of strace", "the host lets nobody trace");
        return;
    }
    let text = fs::read_to_string(work.join("said")).expect("strace has written it");
    let theirs: Vec<&str> = text.lines().collect();
    let at = |start: &str| {
        let mut lines = theirs.iter();
        lines.position(|line| line.starts_with(start)).expect(start)
    };
    let theirs = &theirs[at("access(\"begin\"")..=at("access(\"end\"")];
    assert_eq!(ours, theirs);
}

/// A guest that is about to ask for its pid again and again.
struct Flood {
    guest: Running,
    work: PathBuf,
}

fn flood(zone: &Zone, count: u64) -> Flood {
    let script = format!("cd /w; exec /recorded flood {count}");
    let guest = harness::start(&mut zone.command(&["sh", "-c", &script]));
    let flood = Flood {
        guest,
        work: zone.root().join("w"),
    };
    flood.has_said("ready");
    flood
}

impl Flood {
    fn has_said(&self, what: &str) {
        eventually(what, || {
            let said = fs::read_to_string(self.work.join("said")).ok()?;
            said.lines().any(|line| line == what).then_some(())
        });
    }

    fn go(&self) {
        let go = fs::OpenOptions::new()
            .write(true)
            .open(self.work.join("go"));
        go.expect("it is there")
            .write_all(b"go\n")
            .expect("written");
    }
}

/// While nobody reads the rings they overflow: all calls are recorded, or counted as not.
fn what_finds_no_room_is_counted(home: &Home) {
    const CALLS: u64 = 20_000;
    let zone = boot(home, "z");
    let file = home.dir().join("out.zt");
    let running = trace(&zone, &file);
    let flood = flood(&zone, CALLS);
    let monitor = Pid::from_raw(zone.monitor());
    kill(monitor, Signal::SIGSTOP).expect("it runs");
    flood.go();
    flood.has_said("done");
    kill(monitor, Signal::SIGCONT).expect("it runs");
    flood.guest.wait(LIMIT).ok();
    let said = end(running);
    let lines = read(home, &file, &[]);
    let pids = lines
        .iter()
        .filter(|line| line["call"] == "getpid" && line["comm"] == "recorded");
    let recorded = pids.count() as u64;
    let dropped = lines.iter().filter(|line| line["type"] == "dropped");
    let dropped: u64 = dropped.filter_map(|line| line["count"].as_u64()).sum();
    assert!(dropped > 0 && recorded > 1000, "{recorded} {dropped}");
    // The guest may have asked for its pid before.
    let all = recorded + dropped;
    assert!((CALLS..CALLS + 200).contains(&all), "{recorded} {dropped}");
    assert!(said.contains(&format!(", {dropped} were not")), "{said}");
}

/// As many calls as a thread can make, and while the monitor reads none.
fn nothing_is_lost_where_programs_wait(home: &Home) {
    const CALLS: u64 = 1_000_000;
    let zone = boot(home, "z");
    let count = CALLS.to_string();
    let words = ["run", "z", "--trace=/dev/null", "--lossless", "--"];
    let output = home.zone(&[&words[..], &["/recorded", "pids", &count]].concat());
    assert_eq!(output.status, 0, "{output:?}");
    assert!(!output.stderr.contains("not"), "{output:?}");
    let said = output.stderr.split_whitespace();
    let recorded = said.filter_map(|word| word.parse::<u64>().ok()).next();
    assert!(recorded >= Some(CALLS), "{output:?}");

    const FEWER: u64 = 20_000;
    let file = home.dir().join("out.zt");
    let running = trace_with(&zone, &file, &["--lossless"]);
    let flood = flood(&zone, FEWER);
    let monitor = Pid::from_raw(zone.monitor());
    kill(monitor, Signal::SIGSTOP).expect("it runs");
    flood.go();
    // There is no room for many more.
    flood.has_said("2000");
    kill(monitor, Signal::SIGCONT).expect("it runs");
    flood.has_said("done");
    flood.guest.wait(LIMIT).ok();
    let said = end(running);
    assert!(!said.contains("not"), "{said}");
    let lines = read(home, &file, &["-e", "call = getpid and comm = recorded"]);
    assert!(lines.iter().all(|line| line["type"] != "dropped"));
    let recorded = lines.iter().filter(|line| line["call"] == "getpid").count() as u64;
    // The guest may have asked for its pid before.
    assert!((FEWER..FEWER + 200).contains(&recorded), "{recorded}");
}

/// A guest that waits for a monitor which is gone would never end, nor would its zone.
fn a_wait_for_room_ends_with_the_monitor(home: &Home) {
    let zone = boot(home, "z");
    let running = trace_with(&zone, &home.dir().join("out.zt"), &["--lossless"]);
    let flood = flood(&zone, 1_000_000);
    let monitor = Pid::from_raw(zone.monitor());
    kill(monitor, Signal::SIGSTOP).expect("it runs");
    flood.go();
    // There is no room for many more.
    flood.has_said("2000");
    kill(monitor, Signal::SIGKILL).expect("it runs");
    assert_ne!(flood.guest.wait(LIMIT).status, 0);
    assert_ne!(running.wait(LIMIT).status, 0);
    eventually("the zone is gone", || {
        ["installed", "down"]
            .contains(&home.state("z").as_str())
            .then_some(())
    });
}

/// Of a zone that nobody followed, whose programs have ended.
fn the_last_calls_are_kept_at_any_time(home: &Home) {
    home.create_with("z", &["--flight"]);
    let zone = with_guest(home.started("z"));
    let made = said(&zone.run(&["sh", "-c", "cd /w; exec /recorded calls"]).ok());
    let file = home.dir().join("out.zt");
    let name = file.to_str().expect("text");
    let last = || {
        home.zone(&["trace", "z", "--last", "1h", "-o", name]).ok();
        let lines = read(home, &file, &[]);
        assert_eq!(lines.last().expect("an end")["whole"], true);
        calls_of(&lines, "recorded")
    };
    // A look takes nothing away.
    for _ in 0..2 {
        let calls = between(last()).into_iter().map(|call| {
            let name = call["call"].as_str().expect("a name").to_owned();
            (name, call["result"].as_i64().expect("it ended"))
        });
        assert_eq!(calls.collect::<Vec<_>>(), made);
    }
    // Who follows gets what comes, as ever.
    let words = ["run", "z", "--trace=/dev/null", "--lossless", "--"];
    let words = [&words[..], &["/recorded", "pids", "20000"]].concat();
    let output = home.zone(&words);
    assert!(
        output.status == 0 && !output.stderr.contains("not"),
        "{output:?}"
    );
    // More than there is room for: the last are there, one after the other.
    zone.run(&["/recorded", "pids", "20000"]).ok();
    let calls = last();
    let process = &calls.last().expect("a call")["pid"];
    let pids = calls.iter().filter(|call| &call["pid"] == process);
    let pids = pids.filter(|call| call["call"] == "getpid").count();
    assert!((1000..20_000).contains(&pids), "{pids}");
    let shown = home.zone(&["trace", "z", "--last", "1h", "-e", "call = getpid"]);
    assert!(shown.ok().contains("recorded] getpid() = "));

    let place = zone.root().join("hostile_trace");
    harness::copy_program(&harness::guest("hostile_trace"), &place);
    assert_eq!(zone.run(&["/hostile_trace", "100000"]).ok(), "still runs\n");
    last();
    assert_eq!(zone.sh("cat /proc/uptime >/dev/null; echo well"), "well\n");
    let other = home.boot("other");
    let refused = home
        .zone(&["trace", other.name(), "--last", "10s"])
        .fails(125);
    assert!(
        refused.contains("zone config other set flight=true"),
        "{refused}"
    );
}

fn a_guest_that_forges_records_harms_nobody(home: &Home) {
    let (cage, other) = (home.boot("cage"), boot(home, "z"));
    let place = cage.root().join("hostile_trace");
    harness::copy_program(&harness::guest("hostile_trace"), &place);
    let file = home.dir().join("out.zt");
    let nowhere = Path::new("/dev/null");
    let tracing = [
        trace(&cage, nowhere),
        trace_with(&cage, nowhere, &["-k"]),
        trace(&other, &file),
    ];
    let output = cage.run(&["/hostile_trace", "100000"]);
    assert_eq!(output.ok(), "still runs\n");
    let said = said(&other.run(&["sh", "-c", "cd /w; exec /recorded calls"]).ok());
    // Its monitor serves on, and ends what was begun.
    assert_eq!(cage.sh("cat /proc/uptime >/dev/null; echo well"), "well\n");
    for running in tracing {
        assert!(end(running).contains("calls were recorded"));
    }
    let calls = between(calls_of(&read(home, &file, &[]), "recorded"));
    let results: Vec<i64> = calls
        .iter()
        .filter_map(|call| call["result"].as_i64())
        .collect();
    assert_eq!(
        results,
        said.iter().map(|(_, result)| *result).collect::<Vec<_>>()
    );
    // And once more from the start, after all that.
    let again = trace(&cage, &home.dir().join("again.zt"));
    assert_eq!(cage.sh("test -e /etc/again; echo well"), "well\n");
    end(again);
    let lines = read(
        home,
        &home.dir().join("again.zt"),
        &["-e", "path = \"/etc/again\""],
    );
    assert!(lines.iter().any(|line| line["type"] == "call"), "{lines:?}");
}

/// One into a file, and one that is shown meanwhile.
fn a_trace_ends_with_its_zone(home: &Home) {
    let zone = boot(home, "z");
    let (file, live) = (home.dir().join("out.zt"), home.dir().join("live"));
    let recording = trace(&zone, &file);
    let script = format!("exec \"$0\" trace z --format json >{}", live.display());
    let mut shell = home.host(Path::new("/bin/sh"));
    let showing = harness::start(shell.args(["-c", &script]).arg(home.place().zone()));
    let shown = || fs::read_to_string(&live).unwrap_or_default();
    eventually("the trace is shown", || (!shown().is_empty()).then_some(()));
    zone.sh("test -e /etc/live || true");
    // What is called is shown soon, not only at the end.
    eventually("the call is shown", || {
        shown().contains("/etc/live").then_some(())
    });
    zone.sh("test -e /etc/last || true");
    home.zone(&["halt", "z"]).ok();
    for running in [recording, showing] {
        let output = running.wait(LIMIT);
        assert_eq!(output.status, 0, "{output:?}");
    }
    let lines: Vec<Value> = shown()
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line"))
        .collect();
    for lines in [read(home, &file, &[]), lines] {
        let last = lines.last().expect("an end");
        assert_eq!(
            (&last["type"], &last["whole"]),
            (&"end".into(), &true.into())
        );
        let has = |path: &str| {
            let texts = lines.iter().filter_map(|line| line["text"].as_str());
            texts.into_iter().any(|text| text.contains(path))
        };
        assert!(has("/etc/live") && has("/etc/last"));
    }
}

fn what_a_killed_monitor_has_written_can_be_read(home: &Home) {
    let zone = boot(home, "z");
    let file = home.dir().join("out.zt");
    let recording = trace(&zone, &file);
    zone.sh("test -e /etc/last || true");
    let has = |lines: &[Value]| {
        lines
            .iter()
            .any(|line| line.to_string().contains("/etc/last"))
    };
    eventually("the call is written", || {
        has(&read(home, &file, &[])).then_some(())
    });
    kill(Pid::from_raw(zone.monitor()), Signal::SIGKILL).expect("it runs");
    let stderr = recording.wait(LIMIT).fails(125);
    assert!(stderr.contains("the zone's monitor ended"), "{stderr}");
    let lines = read(home, &file, &[]);
    let last = lines.last().expect("an end");
    assert_eq!(
        (&last["type"], &last["whole"]),
        (&"end".into(), &false.into())
    );
    assert!(has(&lines));
}

fn a_file_that_is_no_trace_is_refused(home: &Home) {
    let place: PathBuf = home.dir().join("none.zt");
    let mut shell = home.host(Path::new("/bin/sh"));
    let write = |shell: &mut Command, text: &str| {
        run(
            shell
                .args(["-c", "printf %s \"$1\" >\"$2\"", "sh", text])
                .arg(&place),
            LIMIT,
        )
        .ok();
    };
    write(&mut shell, "#!/bin/sh");
    let file = place.to_str().expect("text");
    let stderr = home.zone(&["trace", "read", file]).fails(125);
    assert!(stderr.contains("it is no trace of a zone"), "{stderr}");
    let stderr = home
        .zone(&["trace", "read", file, "-e", "pid = x"])
        .fails(125);
    assert!(
        stderr.contains("a number is missing, at column 7"),
        "{stderr}"
    );
    home.create("down");
    let stderr = home.zone(&["trace", "down"]).fails(125);
    assert!(stderr.contains("it is installed, not running"), "{stderr}");
}
