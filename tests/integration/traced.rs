//! Zones whose calls are delivered by a tracer: the same is observed, and nobody gets by.
//!
//! `PICOZONE_TEST_TRAP=ptrace` runs all other tests in such zones.

use crate::guests::compare;
use crate::harness::{self, Home, Zone, confined, eventually, in_each_role, skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;

in_each_role!(
    guests_observe_the_same,
    attempts_are_refused,
    nobody_else_traces,
    the_tracer_is_killed,
);

confined!(it_does_not_boot);

/// A running zone; none where the host forbids to trace.
fn boot<'a>(home: &'a Home, what: &str) -> Option<Zone<'a>> {
    let zone = home.create_with("z", &["--trap", "ptrace"]);
    let output = home.zone(&["boot", "z"]);
    if output.status == 125 && output.stderr.contains("cannot trace") {
        skip(what, "the host lets nobody trace");
        return None;
    }
    output.ok();
    Some(zone)
}

fn guests_observe_the_same(home: &Home) {
    let Some(zone) = boot(home, "guests of a tracer") else {
        return;
    };
    let signals = [
        "masks",
        "sigsys",
        "interrupted",
        "restarted",
        "escapes",
        "stacks",
        "faults",
        "inherited",
    ];
    compare(&zone, "signals", &signals);
    let threads = [
        "signals",
        "cancel",
        "vfork",
        "spawn",
        "exec_in_thread",
        "many",
    ];
    compare(&zone, "threads", &threads);
    let processes = ["waits", "waitid", "groups", "group_signals", "orphans"];
    compare(&zone, "processes", &processes);
}

fn attempts_are_refused(home: &Home) {
    let Some(zone) = boot(home, "attempts against a tracer") else {
        return;
    };
    harness::copy_program(&harness::guest("hostile"), &zone.root().join("hostile"));
    let pid = std::process::id().to_string();
    let output = zone.run(&["/hostile", &pid, "/nowhere"]);
    crate::escape::assert_all_refused(&output);
    assert!(
        output
            .stdout
            .contains("a call of a child that is not traced")
    );
    assert_eq!(zone.sh("echo well"), "well\n");
}

fn nobody_else_traces(home: &Home) {
    let Some(zone) = boot(home, "tracing beside the tracer") else {
        return;
    };
    assert_eq!(
        zone.sh("grep TracerPid /proc/self/status"),
        "TracerPid:\t0\n"
    );
    if harness::program("strace where calls are traced", "strace").is_some() {
        assert_ne!(zone.run(&["strace", "/bin/true"]).status, 0);
    }
}

fn the_tracer_is_killed(home: &Home) {
    let Some(zone) = boot(home, "a killed tracer") else {
        return;
    };
    zone.sh("setsid sleep 100000 >/dev/null 2>&1 </dev/null &");
    let monitor = zone.monitor();
    let children = fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children"));
    let children = children.expect("it runs");
    let mut pids = children.split_whitespace().map(str::to_owned);
    let tracer = pids.find(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name == "zone tracer\n"
    });
    let tracer = tracer.expect("it runs").parse().expect("a pid");
    kill(Pid::from_raw(tracer), Signal::SIGKILL).expect("it lives");
    eventually("the zone is gone", || {
        ["installed", "down"]
            .contains(&home.state("z").as_str())
            .then_some(())
    });
    home.zone(&["boot", "z"]).ok();
    assert_eq!(zone.sh("pgrep -c sleep || true"), "0\n");
}

fn it_does_not_boot(home: &Home) {
    home.create_with("z", &["--trap", "ptrace"]);
    let stderr = home.zone(&["boot", "z"]).fails(125);
    assert!(stderr.contains("cannot trace the zone"), "{stderr}");
    assert!(stderr.contains("zone.toml"), "{stderr}");
    assert_ne!(home.state("z"), "running");
}
