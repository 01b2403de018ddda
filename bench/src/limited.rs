//! Commands with a limit: whatever a peer does, the bench goes on.

use crate::Result;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// What nothing measured here takes, not even under the slowest peer on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs a command to its end, with /dev/zero as input. Its process group is killed at the limit.
///
/// # Errors
/// It cannot be started, does not end in time, or fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let child = command
        .stdin(std::fs::File::open("/dev/zero")?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let group = format!("-{}", child.id());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Output {
        status,
        stdout,
        stderr,
    } = match receiver.recv_timeout(LIMIT) {
        Ok(output) => output?,
        Err(_) => {
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
            return Err(format!("no end within {} s", LIMIT.as_secs()).into());
        }
    };
    if !status.success() {
        let said = String::from_utf8_lossy(&stderr);
        let last = said.lines().next_back().unwrap_or_default();
        return Err(format!("{status}: {last}").into());
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// The number in the last line of what a command prints.
///
/// # Errors
/// As [`output`], and there is none.
pub(crate) fn number(command: &mut Command) -> Result<f64> {
    let text = output(command)?;
    let last = text.lines().next_back().unwrap_or_default().trim();
    Ok(last
        .parse()
        .map_err(|_| format!("no number is printed: {last:?}"))?)
}
