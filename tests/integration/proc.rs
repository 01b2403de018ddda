//! `/proc` and `/dev` in zones: the same program natively and in a zone, and what neither zone nor
//! host may see of each other.

use crate::harness::{self, Home, LIMIT, Role, in_each_role, run, start};
use std::process::Command;

in_each_role!(the_tools_show_the_zone_and_nothing_else);

#[test]
fn proc_and_dev_are_as_natively() {
    // Natively, only root can become another user.
    Role::Root.run("proc_and_dev_are_as_natively", |home| {
        let Some(python) = harness::program("proc", "python3") else {
            return;
        };
        let zone = home.boot("p");
        let guest = harness::script("proc.py");
        std::fs::copy(&guest, zone.root().join("tmp/proc.py")).expect("copied");
        let native = run(home.host(&python).arg(guest), LIMIT).ok();
        let seen = zone.sh("exec python3 /tmp/proc.py");
        assert_eq!(seen.replace("/tmp/", ""), native.replace("/tmp/", ""));
    });
}

fn the_tools_show_the_zone_and_nothing_else(home: &Home) {
    if harness::program("proc", "top").is_none() {
        return;
    }
    let zone = home.boot("p");
    let stranger = start(Command::new("sleep").arg("1000"));
    let listed = zone.sh("sleep 2000 & ps -eo pid,ppid,vsz,args; kill $!");
    let rows: Vec<Vec<&str>> = listed
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect())
        .collect();
    let processes: Vec<u32> = rows
        .iter()
        .map(|row| row[0].parse().expect("a number"))
        .collect();
    assert!(processes.is_sorted(), "{listed}");
    assert_eq!(rows[0][..2], ["1", "0"], "init comes first");
    assert_eq!(rows.len(), 4, "init, sh, sleep, ps: {listed}");
    assert!(!listed.contains("sleep 1000"), "{listed}");
    for row in &rows {
        let kilobytes: u64 = row[2].parse().expect("a size");
        assert!(
            kilobytes < 1 << 20,
            "reserved ranges do not count: {listed}"
        );
    }
    let host = stranger.id();
    let seen = zone.sh(&format!(
        "ls -d /proc/{host} /proc/{} 2>/dev/null; top -b -n1 | head -3; free; uptime; \
         pgrep -a sleep; true",
        host + (1 << 22)
    ));
    assert!(!seen.contains("/proc/"), "{seen}");
    assert!(!seen.contains("sleep 1000"), "{seen}");
    assert!(seen.contains("Tasks:") && seen.contains("Mem:") && seen.contains("load average"));
}
