//! What a zone keeps in memory.

use crate::Result;
use crate::zone::{Kind, Zone};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Memory of one or several processes, in KiB (`smaps_rollup` in proc_pid_smaps(5)).
pub(crate) struct Memory {
    pub(crate) what: &'static str,
    /// Nobody else has it.
    pub(crate) private: u64,
    /// What is shared counts in parts (Pss).
    pub(crate) proportional: u64,
}

impl Memory {
    fn of(what: &'static str, pid: u64) -> Result<Memory> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let sum = |start: &str| {
            let lines = text.lines().filter(|line| line.starts_with(start));
            lines
                .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
                .sum()
        };
        Ok(Memory {
            what,
            private: sum("Private_"),
            proportional: sum("Pss:"),
        })
    }
}

/// Ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn children(pid: u64) -> Vec<u64> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// The first of `pids` that runs sleep(1), as soon as there is one.
fn sleeper(pids: impl Fn() -> Vec<u64>) -> Result<u64> {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        let sleeps = |pid: &u64| {
            let wait = std::fs::read_to_string(format!("/proc/{pid}/wchan"));
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            comm.is_ok_and(|comm| comm == "sleep\n")
                && wait.is_ok_and(|wait| wait.contains("nanosleep"))
        };
        if let Some(pid) = pids().into_iter().find(sleeps) {
            return Ok(pid);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err("no sleep(1) is seen".into())
}

/// Of an idle zone's own processes, of a small program natively and in the zone.
pub(crate) fn measure(program: &Path) -> Result<Vec<Memory>> {
    const SLEEP: [&str; 2] = ["/bin/sleep", "1000"];
    // A zone that has just been booted, with nothing run in it.
    let zone = Zone::boot(program, Kind::Rewritten)?;
    let (monitor, init) = zone.pids()?;
    let stat = std::fs::read_to_string(format!("/proc/{monitor}/stat"))?;
    let behind = stat.rsplit(") ").next().unwrap_or_default();
    let guardian = behind.split(' ').nth(1).and_then(|pid| pid.parse().ok());
    let mut rows = vec![
        Memory::of("guardian", guardian.ok_or("no guardian")?)?,
        Memory::of("monitor", monitor)?,
        Memory::of("init", init)?,
    ];
    rows.push(Memory {
        what: "an idle zone, all three",
        private: rows.iter().map(|row| row.private).sum(),
        proportional: rows.iter().map(|row| row.proportional).sum(),
    });
    let native = Command::new(SLEEP[0]).arg(SLEEP[1]).spawn()?;
    let native = Running(native);
    let pid = u64::from(native.0.id());
    rows.push(Memory::of("sleep(1), native", sleeper(|| vec![pid])?)?);
    // As on the host, where others run: what all guests share is not one's own.
    let mut other = zone.command(&["/bin/cat"]);
    let other = other.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut other = Running(other);
    let (input, output) = (other.0.stdin.as_mut(), other.0.stdout.as_mut());
    input.ok_or("no pipe")?.write_all(b"x")?;
    output.ok_or("no pipe")?.read_exact(&mut [0])?;
    let guest = zone.command(&SLEEP).stdin(Stdio::null()).spawn()?;
    let _guest = Running(guest);
    let pid = sleeper(|| children(init))?;
    rows.push(Memory::of("sleep(1), in the zone", pid)?);
    rows.push(Memory::of("monitor, meanwhile", monitor)?);
    Ok(rows)
}
