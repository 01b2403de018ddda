//! What is made of a recorded trace: timelines, comparisons, and proposals.

use crate::harness::{Home, LIMIT, in_each_role, program, run};
use crate::recorded::read;
use serde_json::Value;
use std::collections::HashMap;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

in_each_role!(
    a_timeline_has_all_calls,
    traces_are_compared,
    refused_calls_are_listed,
    a_configuration_is_learned_that_suffices,
);

/// Records what a shell does in a zone. The file.
fn record(home: &Home, zone: &str, name: &str, script: &str) -> PathBuf {
    let file = home.dir().join(name);
    let option = format!("--trace={}", file.display());
    home.zone(&["run", zone, &option, "--", "sh", "-c", script])
        .ok();
    file
}

fn text(file: &std::path::Path) -> &str {
    file.to_str().expect("text")
}

/// Chrome's and Perfetto's form: every call is there once, and a thread's calls follow each other.
fn a_timeline_has_all_calls(home: &Home) {
    let _zone = home.boot("z");
    let script = "(ls / | cat) >/dev/null; kill -0 $$; cat /etc/passwd >/dev/null";
    let file = record(home, "z", "out.zt", script);
    let shown = home.zone(&["trace", "read", text(&file), "--format", "perfetto"]);
    let shown: Value = serde_json::from_str(&shown.ok()).expect("one JSON document");
    assert_eq!(shown["otherData"]["zone"], "z");
    assert_eq!(shown["otherData"]["whole"], true);
    let events = shown["traceEvents"].as_array().expect("a list");
    let slices: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
    let lines = read(home, &file, &[]);
    let calls = lines.iter().filter(|line| line["type"] == "call");
    let of = |texts: Vec<&Value>| {
        let texts = texts.into_iter().map(ToString::to_string);
        texts.collect::<Vec<_>>()
    };
    assert_eq!(
        of(slices.iter().map(|slice| &slice["args"]["text"]).collect()),
        of(calls.map(|call| &call["text"]).collect()),
    );
    let mut ends = HashMap::new();
    for slice in &slices {
        let number = |key: &str| slice[key].as_f64().expect("a number");
        let thread = (slice["pid"].to_string(), slice["tid"].to_string());
        let end = ends.entry(thread).or_insert(f64::MIN);
        // Microseconds, told to the nanosecond.
        assert!(number("ts") >= *end - 0.0005, "{slice} before {end}");
        *end = number("ts") + number("dur");
    }
    assert!(ends.len() >= 4, "sh, ls and two cats");
    let opened = slices.iter().find(|slice| {
        slice["args"]["args"]["pathname"] == "/etc/passwd" && slice["name"] == "openat"
    });
    let opened = opened.expect("cat has opened it");
    assert_eq!(
        opened["args"]["args"]["flags"],
        serde_json::json!(["O_RDONLY"])
    );
    assert_eq!(opened["args"]["host"]["pathname"], "z:etc/passwd");
    // The track has the name of the program that ran last.
    let name = events
        .iter()
        .rfind(|event| event["name"] == "thread_name" && event["tid"] == opened["tid"]);
    assert_eq!(name.expect("it has one")["args"]["name"], "cat");
}

/// In two zones: numbers and addresses differ, and temporary names.
fn traces_are_compared(home: &Home) {
    let (first, _second) = (home.boot("first"), home.boot("second"));
    // Numbers of processes are others there.
    first.sh("true; true");
    let script = "file=$(mktemp); cat /etc/passwd /etc/group >$file; rm $file; kill -0 $$";
    let good = record(home, "first", "good.zt", script);
    let same = record(home, "second", "same.zt", script);
    let output = home.zone(&["trace", "diff", text(&good), text(&same)]);
    assert_eq!(
        (output.status, output.stdout.as_str()),
        (0, ""),
        "{output:?}"
    );
    let script = script.replace("/etc/group", "/etc/none");
    let bad = record(home, "second", "bad.zt", &script);
    let output = home.zone(&["trace", "diff", text(&good), text(&bad), "--context", "1"]);
    assert_eq!(output.status, 1, "{output:?}");
    let said = output.stdout;
    assert!(said.contains("first difference: "), "{said}");
    assert!(said.contains("cat"), "{said}");
    // The arguments of cat are what differs first.
    assert!(
        said.contains("\n- execve(\"/usr/bin/cat\", [\"cat\", \"/etc/passwd\", \"/etc/group\"]"),
        "{said}"
    );
    assert!(said.contains("openat ENOENT"), "{said}");
    let words = ["-e", "call = openat and path ~ \"/etc/*\""];
    let output = home.zone(&[&["trace", "diff", text(&good), text(&bad)], &words[..]].concat());
    let said = output.stdout;
    assert!(
        said.contains("\n- openat(AT_FDCWD, \"/etc/group\" -> first:etc/group, O_RDONLY) = 3\n"),
        "{said}"
    );
    assert!(
        said.contains("\n+ openat(AT_FDCWD, \"/etc/none\""),
        "{said}"
    );
    let none = home.dir().join("none.zt");
    let stderr = home
        .zone(&["trace", "diff", text(&good), text(&none)])
        .fails(2);
    assert!(stderr.contains("cannot read"), "{stderr}");
}

fn refused_calls_are_listed(home: &Home) {
    if program("calls that are refused", "perl").is_none() {
        return;
    }
    let _zone = home.boot("z");
    // io_uring_setup(2), and what is no call yet.
    let script = "perl -e 'syscall(425, 8, 0) for 1..3; syscall(500)'; test -e /none || true";
    let file = record(home, "z", "out.zt", script);
    let said = home
        .zone(&["trace", "read", text(&file), "--unsupported"])
        .ok();
    let lines: Vec<&str> = said.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "        3  io_uring_setup, ENOSYS, bypasses the filter; perl, /usr/bin/perl",
            "        1  call 500, ENOSYS, no call has this number yet; perl, /usr/bin/perl",
        ]
    );
    let said = home
        .zone(&["trace", "read", text(&file), "--format", "summary"])
        .ok();
    for title in ["latency:", "files:", "slowest:", "io_uring_setup ENOSYS"] {
        assert!(said.contains(title), "{title}: {said}");
    }
}

/// What a program does in a zone it can do in another one that was made as proposed.
fn a_configuration_is_learned_that_suffices(home: &Home) {
    if program("a learned configuration", "perl").is_none() {
        return;
    }
    let data = home.place().work();
    if let Some((uid, gid)) = home.role().account() {
        chown(&data, Some(uid), Some(gid)).expect("we are root");
    }
    let mut shell = home.host(Path::new("/bin/sh"));
    shell.args([
        "-c",
        "mkdir -p \"$0/app/deep\"; echo content >\"$0/app/in\"",
    ]);
    run(shell.arg(&data), LIMIT).ok();
    let bind = format!("{}:/data:rw", data.display());
    let zone = home.create_with("z", &["--bind", &bind]);
    home.zone(&["boot", "z"]).ok();
    let listens = "IO::Socket::INET->new(Listen => 1, LocalPort => 8087) or die";
    let becomes = "$< = $> = 33; exit($> != 33)";
    let script = format!(
        "cat /data/app/in >/data/app/deep/out && perl -MIO::Socket::INET -e '{listens}; {becomes}'"
    );
    let file = record(home, "z", "out.zt", &script);
    drop(zone);
    let said = home.zone(&["trace", "learn", text(&file)]).ok();
    let host = data.join("app");
    let wanted = format!(
        "# zone create NAME --bind {}:/data/app:rw --publish 8087:8087",
        host.display()
    );
    assert!(said.lines().any(|line| line == wanted), "{wanted}: {said}");
    let map = "\nmap = [\"0:100000\", \"33:100033\"]\n";
    assert!(said.contains(map), "{said}");
    // Where it publishes, others may at the same time.
    let options = wanted.split_whitespace().skip(4).take(2);
    let options = options.collect::<Vec<_>>();
    let _zone = home.create_with("learned", &options);
    // As far as it goes: who the zone's users are is another matter.
    let limits = said
        .lines()
        .find_map(|line| line.strip_prefix("# zone config NAME set "));
    let set: Vec<&str> = limits.expect("limits").split_whitespace().collect();
    assert!(
        set.iter()
            .any(|limit| limit.starts_with("limits.descriptors=")),
        "{set:?}"
    );
    home.zone(&[&["config", "learned", "set"], &set[..]].concat())
        .ok();
    let script = format!("{script} && ulimit -n");
    let said = home
        .zone(&["run", "learned", "--", "sh", "-c", &script])
        .ok();
    assert!(
        set.contains(&format!("limits.descriptors={}", said.trim()).as_str()),
        "{said}"
    );
    // What is larger than configured is not written.
    let set = home.zone(&[
        "config",
        "learned",
        "set",
        "limits.file_size=96K",
        "limits.memory=100M",
    ]);
    set.ok();
    let writes = "trap '' XFSZ; head -c 200000 /dev/zero >/srv/f; stat -c %s /srv/f";
    let said = home.zone(&["run", "learned", "--", "sh", "-c", writes]);
    assert_eq!(said.stdout, "98304\n");
    let refused = home
        .zone(&["config", "learned", "set", "limits.descriptors=1"])
        .fails(125);
    assert!(refused.contains("limits.descriptors"), "{refused}");
    // So many processes and no more; those that have ended leave room.
    home.zone(&["config", "learned", "set", "limits.processes=8"])
        .ok();
    let births = "for i in $(seq 100); do /bin/true & wait; done; echo well; \
        for i in $(seq 20); do sleep 300 & done; echo many";
    let said = home.zone(&["run", "learned", "--", "sh", "-c", births]);
    assert_eq!(said.stdout, "well\n", "{said:?}");
    assert!(said.stderr.contains("fork"), "{said:?}");
}
