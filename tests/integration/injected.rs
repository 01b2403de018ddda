//! `--inject`: calls fail, wait and do less by rules, as long as these are in force.

use crate::guests::{SIGNALS, TOLD, compare_with_all_calls};
use crate::harness::{self, Home, Output, Zone, eventually, in_each_role};
use crate::recorded;
use std::fs;

in_each_role!(
    rules_choose_calls,
    native_calls_are_injected_where_they_are_brought,
    a_call_that_is_begun_again_is_counted_once,
    signals_and_waits_come_with_the_call,
    a_running_zone_is_injected_and_left,
    guests_observe_the_same_with_all_calls,
    attempts_are_refused_with_all_calls,
);

/// A zone with the guest and its files in `/w`.
fn boot<'a>(home: &'a Home) -> Zone<'a> {
    let zone = home.boot("z");
    harness::copy_program(&harness::guest("injected"), &zone.root().join("injected"));
    zone.sh("mkdir -p /w/d; cd /w/d; echo text >a.conf; echo 12345678 >a.text");
    zone
}

/// Runs the guest under these rules.
fn inject(home: &Home, rules: &[&str], words: &[&str]) -> Output {
    let mut all = vec!["run", "z", "-w", "/w"];
    for rule in rules {
        all.extend(["--inject", rule]);
    }
    all.extend(["--", "/injected"]);
    all.extend(words);
    home.zone(&all)
}

/// The lines that it said.
fn lines(output: &Output) -> Vec<&str> {
    assert_eq!(output.status, 0, "{output:?}");
    output.stdout.lines().collect()
}

fn rules_choose_calls(home: &Home) {
    boot(home);
    let of_conf = "openat(path ~ \"*.conf\"):error=ENOSPC:when=3";
    let output = inject(home, &[of_conf], &["opens", "4"]);
    let expected = [
        ["d/a.conf ok", "d/a.text ok"],
        ["d/a.conf ok", "d/a.text ok"],
        ["d/a.conf ENOSPC", "d/a.text ok"],
        ["d/a.conf ok", "d/a.text ok"],
    ];
    assert_eq!(lines(&output), expected.concat());
    let said = format!("1 of 4 calls were injected by {of_conf}");
    assert!(output.stderr.contains(&said), "{output:?}");

    let of = |rule: &str| {
        let output = inject(home, &[rule], &["pids", "8"]);
        let failed = lines(&output).into_iter().map(|line| line != "getppid ok");
        failed
            .map(|failed| if failed { 'x' } else { '-' })
            .collect::<String>()
    };
    // Who else calls that in the zone is not asked for.
    let guest = "getppid(comm = injected)";
    assert_eq!(of(&format!("{guest}:error=EIO")), "xxxxxxxx");
    assert_eq!(of(&format!("{guest}:error=EIO:when=3+2")), "--x-x-x-");
    assert_eq!(of(&format!("{guest}:error=EIO:when=2..4")), "-xxx----");
    assert_eq!(of(&format!("{guest}:error=EIO:when=7+")), "------xx");
    assert_eq!(of("getppid(comm = other):error=EIO"), "--------");
    let chance = format!("{guest}:error=EIO:chance=50%:seed=3");
    let first = of(&chance);
    assert_eq!(of(&chance), first);
    assert!(first.contains('x') && first.contains('-'), "{first}");
    let retval = inject(
        home,
        &["getppid(comm = injected):retval=7:when=2+"],
        &["signals"],
    );
    assert_eq!(lines(&retval)[0], "false 0");

    // Of several rules the first that is for a call has it.
    let two = [
        "getppid(comm = injected):error=EIO:when=2",
        "getppid(comm = injected):error=EPERM:when=2+",
    ];
    let output = inject(home, &two, &["pids", "4"]);
    let expected = [
        "getppid ok",
        "getppid EIO",
        "getppid EPERM",
        "getppid EPERM",
    ];
    assert_eq!(lines(&output), expected);

    for (rule, what) in [
        ("opennat:error=EIO", "there is no call opennat"),
        ("openat(failed):error=EIO", "before a call is made"),
        ("openat:short=3", "no buffer"),
    ] {
        let output = inject(home, &[rule], &["pids", "1"]);
        assert!(
            output.status == 125 && output.stderr.contains(what),
            "{output:?}"
        );
    }
    let many = vec!["getppid:error=EIO:when=100"; 17];
    let output = inject(home, &many, &["pids", "1"]);
    assert!(
        output.status == 125 && output.stderr.contains("at most 16"),
        "{output:?}"
    );
}

fn native_calls_are_injected_where_they_are_brought(home: &Home) {
    let zone = boot(home);
    let output = inject(home, &["read(comm = injected):short=3"], &["reads"]);
    assert_eq!(lines(&output), ["read 3", "read 3", "read 3"]);
    // Each second write prints a line.
    let rules = ["write(comm = injected):short=2:when=1+2", "fsync:error=EIO"];
    let output = inject(home, &rules, &["writes"]);
    let expected = ["write 2", "write 2", "write 2", "write 2", "fsync Err(EIO)"];
    assert_eq!(lines(&output), expected);
    assert!(
        output
            .stderr
            .contains("1 of 1 calls were injected by fsync")
    );
    // The rest of the zone has never seen a rule.
    assert_eq!(
        zone.sh("cd /w; /injected writes | tail -n 1"),
        "fsync Ok(0)\n"
    );
}

fn a_call_that_is_begun_again_is_counted_once(home: &Home) {
    boot(home);
    let rule = "wait4(comm = injected):error=EPERM:when=2";
    let output = inject(home, &[rule], &["waits"]);
    assert_eq!(lines(&output), ["wait4 ok", "wait4 EPERM", "wait4 ok"]);
    assert!(output.stderr.contains("1 of 3 calls"), "{output:?}");
}

fn signals_and_waits_come_with_the_call(home: &Home) {
    boot(home);
    let rule = "getppid(comm = injected):signal=USR1:when=2+";
    let output = inject(home, &[rule], &["signals"]);
    // The first call is the one by which the guest learns what is right; then it asks twice at a time.
    assert_eq!(lines(&output), ["true 2", "true 2", "true 4", "true 4"]);
    let rule = "clone(comm = injected):signal=SIGUSR1:when=2";
    let output = inject(home, &[rule], &["forks"]);
    assert_eq!(lines(&output), ["true 0 0", "true 0 1", "true 256 1"]);
    let rule = "clone(comm = injected):error=EAGAIN:when=3";
    let output = inject(home, &[rule], &["forks"]);
    assert_eq!(lines(&output), ["true 0 0", "true 0 0", "false 0 0"]);
    for delay in ["delay_enter", "delay_exit"] {
        let rule = format!("getppid(comm = injected):{delay}=200ms:when=2");
        let output = inject(home, &[&rule], &["slow"]);
        assert_eq!(lines(&output)[1], "slow ok");
    }
    // A signal that ends the program does so.
    let rule = "getppid(comm = injected):signal=TERM:when=3";
    let output = inject(home, &[rule], &["pids", "5"]);
    assert_eq!(output.status, 128 + 15);
    assert_eq!(output.stdout.lines().count(), 2);
}

fn a_running_zone_is_injected_and_left(home: &Home) {
    let zone = boot(home);
    let file = home.dir().join("out.zt");
    let name = file.to_str().expect("text");
    let rule = "openat(path ~ \"d/*.conf\"):error=EIO";
    let opens = || {
        let output = zone.sh("cd /w; /injected opens 1");
        output.lines().next().expect("a line").to_owned()
    };
    assert_eq!(opens(), "d/a.conf ok");
    let running = home.start(&[
        "trace",
        "z",
        "-o",
        name,
        "--inject",
        rule,
        "--inject",
        "read:short=1",
    ]);
    eventually("the trace begins", || {
        (fs::metadata(&file).ok()?.len() > 12).then_some(())
    });
    assert_eq!(opens(), "d/a.conf EIO");
    let said = recorded::end(running);
    assert!(
        said.contains("1 of 1 calls were injected by openat"),
        "{said}"
    );
    assert!(said.contains("started with --level all: read"), "{said}");
    assert_eq!(opens(), "d/a.conf ok");
    let text = home
        .zone(&["trace", "read", name, "-e", "path ~ *.conf"])
        .ok();
    assert!(
        text.contains("= -1 EIO (Input/output error) (INJECTED)"),
        "{text}"
    );
    let json = home.zone(&[
        "trace",
        "read",
        name,
        "--format",
        "json",
        "-e",
        "path ~ *.conf",
    ]);
    assert!(json.ok().contains("\"injected\":true"));
}

/// What comes to the personality on its way to the kernel gives what it gave without.
fn guests_observe_the_same_with_all_calls(home: &Home) {
    let zone = home.boot("z");
    compare_with_all_calls(&zone, "signals", SIGNALS);
    let threads = ["cancel", "vfork", "spawn", "exec_in_thread", "many"];
    compare_with_all_calls(&zone, "threads", &threads);
    compare_with_all_calls(&zone, "processes", &["waits", "groups", "orphans"]);
    compare_with_all_calls(&zone, "told", TOLD);
}

fn attempts_are_refused_with_all_calls(home: &Home) {
    let zone = home.boot("z");
    harness::copy_program(&harness::guest("hostile"), &zone.root().join("hostile"));
    let pid = std::process::id().to_string();
    let words = [
        "login", "z", "--level", "all", "--", "/hostile", &pid, "/nowhere",
    ];
    let output = home.zone(&words);
    crate::escape::assert_all_refused(&output);
    assert_eq!(zone.sh("echo well"), "well\n");
}
