//! Where a program is measured: outside of everything, in zones, and under the tools that zones are
//! compared with.

use crate::Result;
use crate::zone::Zone;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One of the places that a measure goes through in turns.
pub(crate) struct Side<'a> {
    name: &'static str,
    how: How<'a>,
}

enum How<'a> {
    /// Behind these words of a command line, in the host's files.
    Behind {
        words: &'static [&'static str],
        directory: tempfile::TempDir,
    },
    In(&'a Zone),
}

/// Tools that run a program on the host's own files.
const PEERS: [(&str, &[&str]); 2] = [
    (
        "bubblewrap",
        &[
            "bwrap",
            "--dev-bind",
            "/",
            "/",
            "--unshare-pid",
            "--proc",
            "/proc",
        ],
    ),
    ("proot", &["proot"]),
];

impl<'a> Side<'a> {
    /// Native, these zones, and each peer that this host has.
    pub(crate) fn all(zones: &'a [Zone]) -> Result<Vec<Side<'a>>> {
        let mut sides = vec![Side::behind("native", &[])?];
        sides.extend(zones.iter().map(|zone| Side {
            name: zone.title(),
            how: How::In(zone),
        }));
        for (name, words) in PEERS {
            if has(words[0]) {
                sides.push(Side::behind(name, words)?);
            } else {
                eprintln!("skipped: there is no {} on this host", words[0]);
            }
        }
        Ok(sides)
    }

    fn behind(name: &'static str, words: &'static [&'static str]) -> Result<Side<'a>> {
        let directory = tempfile::tempdir()?;
        Ok(Side {
            name,
            how: How::Behind { words, directory },
        })
    }

    /// As the report calls it.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The command that runs a program there.
    pub(crate) fn command(&self, argv: &[&str]) -> Command {
        match &self.how {
            How::In(zone) => zone.command(argv),
            How::Behind { words, .. } => {
                let mut all = words.iter().chain(argv);
                let mut command = Command::new(all.next().copied().unwrap_or("true"));
                command.args(all);
                command
            }
        }
    }

    /// The path there of a program of the host, put there if need be.
    pub(crate) fn put(&self, file: &Path) -> Result<PathBuf> {
        match &self.how {
            How::In(zone) => {
                zone.put(file, "bench-guest")?;
                Ok(PathBuf::from("/bench-guest"))
            }
            How::Behind { .. } => Ok(file.to_owned()),
        }
    }

    /// Runs a shell script in a directory of the side's own; what it printed.
    pub(crate) fn shell(&self, script: &str) -> Result<String> {
        let directory = match &self.how {
            How::In(_) => Path::new("/srv"),
            How::Behind { directory, .. } => directory.path(),
        };
        let script = format!("cd {} && {script}", directory.display());
        let mut command = self.command(&["sh", "-c", &script]);
        let output = command.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{} {script}: {message}", self.name).into());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Whether the host has a program of that name.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).exists())
}
