//! `/proc` and `/dev` in zones: the same program natively and in a zone, and what neither zone nor
//! host may see of each other.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// One zone in a home of its own, which ends with it.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().expect("a directory"));
        home.zone(&["create", "p"]);
        home.zone(&["boot", "p"]);
        home
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zone"));
        command
            .args(arguments)
            .env("PICOZONE_HOME", self.0.path())
            .stdin(Stdio::null());
        command
    }

    fn zone(&self, arguments: &[&str]) -> String {
        said(self.command(arguments))
    }

    fn shell(&self, script: &str) -> String {
        self.zone(&["login", "p", "--", "sh", "-c", script])
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.command(&["halt", "p"]).output();
    }
}

fn guest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/proc.py")
}

fn said(mut command: Command) -> String {
    let output = command.output().expect("run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn proc_and_dev_are_as_natively() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: natively, only root can become another user");
        return;
    }
    let home = Home::new();
    let to = home.0.path().join("zones/p/root/tmp/proc.py");
    std::fs::copy(guest(), to).expect("copied");
    let mut native = Command::new("python3");
    native.arg(guest()).stdin(Stdio::null());
    assert_eq!(
        home.shell("exec python3 /tmp/proc.py").replace("/tmp/", ""),
        said(native).replace("/tmp/", "")
    );
}

#[test]
fn the_tools_show_the_zone_and_nothing_else() {
    let home = Home::new();
    let mut stranger = Command::new("sleep")
        .arg("1000")
        .spawn()
        .expect("a process of the host");
    let listed = home.shell("sleep 2000 & ps -eo pid,ppid,vsz,args; kill $!");
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
    let seen = home.shell(&format!(
        "ls -d /proc/{host} /proc/{} 2>/dev/null; top -b -n1 | head -3; free; uptime; pgrep -a sleep; true",
        host + (1 << 22)
    ));
    stranger.kill().expect("ended");
    stranger.wait().expect("ended");
    assert!(!seen.contains("/proc/"), "{seen}");
    assert!(!seen.contains("sleep 1000"), "{seen}");
    assert!(seen.contains("Tasks:") && seen.contains("Mem:") && seen.contains("load average"));
}
