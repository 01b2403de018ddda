//! What an idle zone keeps for itself.

use crate::Result;
use crate::zone::{Rewrite, Zone};
use std::path::Path;

/// Private memory in KiB, by process (`smaps_rollup` in proc_pid_smaps(5)).
pub(crate) fn idle(program: &Path) -> Result<Vec<(&'static str, u64)>> {
    let zone = Zone::boot(program, Rewrite::On)?;
    let (monitor, init) = zone.pids()?;
    let stat = std::fs::read_to_string(format!("/proc/{monitor}/stat"))?;
    let behind = stat.rsplit(") ").next().unwrap_or_default();
    let guardian = behind.split(' ').nth(1).and_then(|pid| pid.parse().ok());
    Ok(vec![
        ("guardian", private(guardian.ok_or("no guardian")?)?),
        ("monitor", private(monitor)?),
        ("init", private(init)?),
    ])
}

fn private(pid: u64) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let sizes = text.lines().filter(|line| line.starts_with("Private_"));
    Ok(sizes
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum())
}
