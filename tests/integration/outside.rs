//! `zone trace --pid` and `zone trace -- PROGRAM`: programs of the host that are in no zone.

use crate::harness::{self, Home, LIMIT, Running, eventually, in_each_role, skip};
use crate::recorded::{calls_of_trace, end, read};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

in_each_role!(
    a_process_is_followed_and_left,
    a_killed_tracer_leaves_it_running,
    a_stopped_process_stays_stopped,
    a_program_is_started_and_followed,
    no_directory_for_zones_is_needed,
    what_cannot_be_traced_is_told,
    a_process_of_a_zone_is_traced_there,
);

/// Whether this role may trace what it starts.
pub fn can_start(home: &Home, what: &str) -> bool {
    let output = home.zone(&["trace", "--", "true"]);
    if output.status != 0 {
        assert!(output.stderr.contains("cannot trace"), "{output:?}");
        skip(what, "the host lets nobody trace");
    }
    output.status == 0
}

/// The same of its other processes.
fn can_trace(home: &Home, what: &str) -> bool {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let is_root = home.role().account().is_none() && harness::am_root();
    if !is_root && !matches!(scope.trim(), "" | "0") {
        skip(what, "the host lets only ancestors trace");
        return false;
    }
    can_start(home, what)
}

/// The guest `attended`, as a process of the host.
struct Attended {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    rounds: usize,
}

impl Attended {
    fn start(home: &Home) -> Self {
        let program = home.dir().join("attended");
        if !program.exists() {
            harness::copy_program(&harness::guest("attended"), &program);
        }
        let mut command = home.host(&program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it can be started");
        let output = child.stdout.take().expect("a pipe");
        Self {
            input: child.stdin.take(),
            child,
            output: BufReader::new(output),
            rounds: 0,
        }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it do what it does.
    #[track_caller]
    fn round(&mut self) {
        let input = self.input.as_mut().expect("it is open");
        input.write_all(b"\n").expect("it reads");
        let mut pipes = [PollFd::new(
            self.output.get_ref().as_fd(),
            PollFlags::POLLIN,
        )];
        let limit = PollTimeout::try_from(LIMIT).expect("not too long");
        assert_eq!(poll(&mut pipes, limit), Ok(1), "it does not answer");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it answers");
        assert_eq!(line, format!("round {}: exit status: 0\n", self.rounds));
        self.rounds += 1;
    }

    /// Ends it, as nobody traces it any more.
    #[track_caller]
    fn ends_well(mut self) {
        assert_eq!(tracer_of(self.pid()), 0);
        self.round();
        drop(self.input.take());
        let status = self.child.wait().expect("it is ours");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the status of a process says behind a key; none if it is gone.
fn status(pid: u32, key: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"));
    line.map(str::to_owned)
}

fn tracer_of(pid: u32) -> u32 {
    let tracer = status(pid, "TracerPid").expect("it runs");
    tracer.parse().expect("a number")
}

/// `zone trace --pid PID -o FILE`, which has begun.
fn trace(home: &Home, pid: u32, file: &Path) -> Running {
    // One that is there from before would say that it has begun.
    let _ = fs::remove_file(file);
    let file = file.to_str().expect("text");
    let running = home.start(&["trace", "--pid", &pid.to_string(), "-o", file]);
    eventually("the trace begins", || {
        (fs::metadata(file).ok()?.len() > 12).then_some(())
    });
    running
}

fn named(call: &Value, name: &str) -> bool {
    call["call"] == name
}

/// Who asked for the files of a round: process, thread, and whose name the file has.
fn asked(calls: &[Value], round: usize) -> Vec<(u64, u64, String)> {
    let of = |call: &Value| {
        let path = call["args"].as_array()?.iter();
        let mut path = path.filter_map(|arg| arg["value"].as_str());
        let path = path.find_map(|path| path.strip_prefix("/none/"))?;
        let who = path.strip_suffix(&format!("-{round}"))?;
        Some((call["pid"].as_u64()?, call["tid"].as_u64()?, who.to_owned()))
    };
    calls.iter().filter_map(of).collect()
}

fn a_process_is_followed_and_left(home: &Home) {
    if !can_trace(home, "a process of the host") {
        return;
    }
    let mut guest = Attended::start(home);
    let pid = u64::from(guest.pid());
    guest.round();
    let file = home.dir().join("out.zt");
    let running = trace(home, guest.pid(), &file);
    guest.round();
    guest.round();
    let said = end(running);
    assert!(
        said.contains("(attended): its calls are recorded"),
        "{said}"
    );
    assert!(said.contains(" calls were recorded"), "{said}");
    // It goes on as before.
    guest.ends_well();

    let lines = read(home, &file, &[]);
    assert_eq!(lines[0]["zone"], Value::Null);
    let last = lines.last().expect("an end");
    assert_eq!(
        (&last["whole"], &last["skipped"]),
        (&true.into(), &0.into())
    );
    let calls = calls_of_trace(home, &file);
    // All of its threads, in turn, and nothing of before or behind.
    for round in [1, 2] {
        let asked = asked(&calls, round);
        let who: Vec<&str> = asked.iter().map(|(_, _, who)| who.as_str()).collect();
        assert_eq!(who, ["leader", "follower-1", "follower-2"], "{round}");
        assert!(asked.iter().all(|(process, _, _)| *process == pid));
        assert_eq!(asked[0].1, pid);
        assert!(asked[1].1 != pid && asked[2].1 != pid && asked[1].1 != asked[2].1);
    }
    assert_eq!([asked(&calls, 0), asked(&calls, 3)], [[], []]);
    // What it starts is followed, from its birth over the exec to its end.
    let execs = calls.iter().filter(|call| named(call, "execve"));
    let children: Vec<u64> = execs
        .map(|call| {
            let text = call["text"].as_str().expect("a text");
            assert!(
                text.starts_with("execve(\"/bin/true\", [\"/bin/true\"], 0x"),
                "{text}"
            );
            assert_eq!(call["result"], 0);
            call["pid"].as_u64().expect("a number")
        })
        .collect();
    assert_eq!(children.len(), 2, "{children:?}");
    for child in children {
        let made = |call: &&Value| call["result"] == child && call["pid"] == pid;
        let all: Vec<&str> = calls
            .iter()
            .filter(made)
            .filter_map(|call| call["call"].as_str())
            .collect();
        assert!(
            matches!(all[..], ["clone3" | "clone" | "vfork", "wait4" | "waitid"]),
            "{all:?}"
        );
        let ends = |call: &Value| named(call, "exit_group") && call["pid"] == child;
        assert!(calls.iter().any(ends));
    }
    // A call that it was in at the end has none.
    let open = calls.iter().filter(|call| call["ended"] == false);
    assert!(open.filter(|call| call["pid"] == pid).count() >= 1);
}

fn a_killed_tracer_leaves_it_running(home: &Home) {
    if !can_trace(home, "the death of a tracer") {
        return;
    }
    let mut guest = Attended::start(home);
    guest.round();
    let file = home.dir().join("out.zt");
    let running = trace(home, guest.pid(), &file);
    guest.round();
    kill(Pid::from_raw(running.id().cast_signed()), Signal::SIGKILL).expect("it runs");
    assert_eq!(running.wait(LIMIT).status, 137);
    guest.ends_well();
    // What it has written can be read.
    let lines = read(home, &file, &[]);
    assert_eq!(lines.last().expect("an end")["whole"], false);
}

fn a_stopped_process_stays_stopped(home: &Home) {
    if !can_trace(home, "a stopped process") {
        return;
    }
    let guest = Attended::start(home);
    let state = |letter: &str| {
        let pid = guest.pid();
        eventually("it stops, or goes on", || {
            status(pid, "State")?.starts_with(letter).then_some(())
        });
    };
    let signal = |signal| kill(Pid::from_raw(guest.pid().cast_signed()), signal).expect("it runs");
    state("S");
    signal(Signal::SIGSTOP);
    state("T");
    let file = home.dir().join("out.zt");
    let running = trace(home, guest.pid(), &file);
    end(running);
    assert_eq!(tracer_of(guest.pid()), 0);
    state("T");
    // One that is traced obeys, too.
    let running = trace(home, guest.pid(), &file);
    signal(Signal::SIGCONT);
    state("S");
    end(running);
    guest.ends_well();
}

fn a_program_is_started_and_followed(home: &Home) {
    if !can_start(home, "a program of the host") {
        return;
    }
    let script = "echo out; cat /gone 2>/dev/null; kill -CONT $$; exit 3";
    let words = [
        "trace",
        "-e",
        "errno = ENOENT and comm = cat",
        "--",
        "sh",
        "-c",
        script,
    ];
    let output = home.zone(&words);
    assert_eq!((output.status, output.stdout.as_str()), (3, "out\n"));
    // Its own output is not mixed with its calls.
    let lines: Vec<&str> = output.stderr.lines().collect();
    let is_cats = |line: &&str| line.contains(" cat] ") && line.contains(" = -1 ENOENT (");
    assert!(lines.iter().all(is_cats), "{output:?}");
    let of_file = |line: &&str| line.contains("openat(AT_FDCWD, \"/gone\", O_RDONLY)");
    assert_eq!(lines.iter().filter(|line| of_file(line)).count(), 1);

    let summary = home.zone(&["trace", "--format", "summary", "--", "cat", "/etc/hostname"]);
    assert!(summary.stderr.contains(" read\n"), "{summary:?}");
    // With what descriptors stand for: all of its calls are seen.
    let names = home.zone(&[
        "trace",
        "-y",
        "-e",
        "call = read",
        "--",
        "cat",
        "/etc/hostname",
    ]);
    assert!(
        names.stderr.contains("read(3</etc/hostname>, \""),
        "{names:?}"
    );

    let killed = home.zone(&["trace", "--", "sh", "-c", "kill -KILL $$"]);
    assert_eq!(killed.status, 137, "{killed:?}");
    let text = home.zone(&["trace", "--", "/etc/passwd"]).fails(126);
    assert!(
        text.contains("cannot execute /etc/passwd: Permission denied"),
        "{text}"
    );
    let text = home.zone(&["trace", "--", "no-such-program"]).fails(125);
    assert!(text.contains("no directory of PATH"), "{text}");
    // A wish that it end reaches it.
    let work = home.place().work();
    if let Some((uid, gid)) = home.role().account() {
        chown(&work, Some(uid), Some(gid)).expect("we are root");
    }
    let script = "sleep 1000 & trap 'kill $!; exit 7' TERM; echo >ready; wait";
    let mut command = home.command(&["trace", "-o", "/dev/null", "--", "sh", "-c", script]);
    let running = harness::start(command.current_dir(&work));
    eventually("the program waits", || {
        work.join("ready").exists().then_some(())
    });
    kill(Pid::from_raw(running.id().cast_signed()), Signal::SIGTERM).expect("it runs");
    assert_eq!(running.wait(LIMIT).status, 7);
}

fn no_directory_for_zones_is_needed(home: &Home) {
    if !can_start(home, "without a directory for zones") {
        return;
    }
    let mine = std::process::id().to_string();
    let homeless = |words: &[&str]| {
        let mut command = home.command(words);
        command.env_remove("PICOZONE_HOME");
        harness::run(command.env("HOME", "/dev/null/none"), LIMIT)
    };
    let told = homeless(&["trace", "-e", "call = exit_group", "--", "true"]);
    assert_eq!(told.status, 0, "{told:?}");
    assert!(told.stderr.contains("exit_group(0)"), "{told:?}");
    // What reads a file asks for none either.
    let none = homeless(&["trace", "read", "/dev/null/none.zt"]).fails(125);
    assert!(none.contains("/dev/null/none.zt"), "{none}");
    let gone = homeless(&["trace", "--pid", &i32::MAX.to_string()]).fails(125);
    assert!(gone.contains("there is no such process"), "{gone}");
    if home.role().account().is_some() {
        let other = homeless(&["trace", "--pid", &mine]).fails(125);
        assert!(other.contains("it belongs to another user"), "{other}");
    }
}

fn what_cannot_be_traced_is_told(home: &Home) {
    let refused = |pid: u32| home.zone(&["trace", "--pid", &pid.to_string()]).fails(125);
    let gone = refused(i32::MAX.unsigned_abs());
    assert!(
        gone.contains("there is no such process") && gone.contains("remedy: "),
        "{gone}"
    );
    let faults = home.zone(&["trace", "--inject", "read:error=EIO", "--", "true"]);
    assert!(faults.fails(125).contains("zone run --inject"));
    if !can_trace(home, "what cannot be traced") {
        return;
    }
    if home.role().account().is_some() {
        let of_root = refused(1);
        assert!(of_root.contains("it belongs to another user"), "{of_root}");
    }
    let guest = Attended::start(home);
    let running = trace(home, guest.pid(), &home.dir().join("out.zt"));
    let twice = refused(guest.pid());
    let who = format!("it is traced already, by process {} (zone)", running.id());
    assert!(twice.contains(&who), "{twice}");
    end(running);
}

fn a_process_of_a_zone_is_traced_there(home: &Home) {
    let zone = home.boot("z");
    let mut command = zone.command(&["sleep", "1000"]);
    let running = harness::start(&mut command);
    let host = eventually("it runs", || descendant(zone.monitor(), "sleep"));
    let own = zone.sh("pidof sleep || pgrep -x sleep").trim().to_owned();
    // That is refused of programs that run, once it is known whose it is.
    let words = ["trace", "--pid", &host.to_string(), "--level", "all"];
    let text = home.zone(&words).fails(125);
    let said = format!("process {host} of the host is process {own} of zone z");
    assert!(text.contains(&said), "{text}");
    drop(running);
}

/// A process of this name that descends from another one.
fn descendant(ancestor: i32, name: &str) -> Option<u32> {
    let descends = |mut pid: u32| loop {
        match status(pid, "PPid").and_then(|parent| parent.parse().ok()) {
            Some(parent) if parent == ancestor.unsigned_abs() => return true,
            Some(0) | None => return false,
            Some(parent) => pid = parent,
        }
    };
    let entries = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(|pid| status(*pid, "Name").as_deref() == Some(name) && descends(*pid))
}
