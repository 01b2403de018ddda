//! Where a program is measured: outside of everything, in zones, and under the tools that zones are
//! compared with.

use crate::Result;
use crate::limited::{self, output};
use crate::measure::NATIVE;
use crate::zone::Zone;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One of the places that a measure goes through in turns.
pub(crate) struct Side<'a> {
    name: &'static str,
    how: How<'a>,
}

enum How<'a> {
    /// Behind these words of a command line, in the host's files.
    Behind {
        words: &'static [&'static str],
        directory: PathBuf,
    },
    In(&'a Zone),
}

/// Tools that run a program on the host's own files: name, the words before the program's. What of
/// them a host has and lets this user use is measured.
const PEERS: [(&str, &[&str]); 6] = [
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
    ("strace", &["strace", "-f", "-o", "/dev/null"]),
    (
        "gVisor",
        &[
            "runsc",
            "--rootless",
            "--network=host",
            "do",
            "--force-overlay=false",
        ],
    ),
    ("pasta", &["pasta", "--config-net", "--"]),
    (
        "podman",
        &[
            "podman",
            "run",
            "--rm",
            "-i",
            "--network=host",
            "--volume=/tmp:/tmp",
            "--rootfs",
            "/:O",
        ],
    ),
];

impl<'a> Side<'a> {
    /// Native, these zones, and each peer of those names (all, if there is none) that this host has.
    pub(crate) fn all(zones: &'a [Zone], peers: &[String]) -> Result<Vec<Side<'a>>> {
        let first = zones.first().ok_or("no zone to measure")?;
        let mut sides = vec![Side::behind(NATIVE, &[], first)?];
        sides.extend(zones.iter().map(|zone| Side {
            name: zone.title(),
            how: How::In(zone),
        }));
        for (name, words) in PEERS {
            if !peers.is_empty() && !peers.iter().any(|peer| peer == name) {
                continue;
            }
            if !has(words[0]) {
                eprintln!("skipped: there is no {} on this host", words[0]);
                continue;
            }
            let peer = Side::behind(name, words, first)?;
            match output(&mut peer.command(&["/bin/true"])) {
                Ok(_) => sides.push(peer),
                Err(error) => eprintln!("skipped: {name} does not run here: {error}"),
            }
        }
        Ok(sides)
    }

    /// All work in one directory of the host: what a file system takes to make files depends on what
    /// else was made and removed near them.
    fn behind(name: &'static str, words: &'static [&'static str], zone: &Zone) -> Result<Side<'a>> {
        let directory = zone.root().join("srv").join(name);
        std::fs::create_dir(&directory)?;
        Ok(Side {
            name,
            how: How::Behind { words, directory },
        })
    }

    /// As the report calls it.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The zone that it is.
    pub(crate) fn zone(&self) -> Option<&'a Zone> {
        match self.how {
            How::In(zone) => Some(zone),
            How::Behind { .. } => None,
        }
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
    pub(crate) fn put(&self, file: &Path, name: &str) -> Result<String> {
        match &self.how {
            How::In(zone) => {
                std::fs::copy(file, zone.root().join(name))?;
                Ok(format!("/{name}"))
            }
            How::Behind { .. } => Ok(file.display().to_string()),
        }
    }

    /// The directory of the side's own, by its path there.
    pub(crate) fn directory(&self) -> &Path {
        match &self.how {
            How::In(_) => Path::new("/srv/zone"),
            How::Behind { directory, .. } => directory,
        }
    }

    /// The command that runs a shell script in that directory.
    pub(crate) fn script(&self, script: &str) -> Command {
        let script = format!("cd {} && {script}", self.directory().display());
        self.command(&["sh", "-c", &script])
    }

    /// Runs a shell script there; what it printed.
    pub(crate) fn shell(&self, script: &str) -> Result<String> {
        limited::output(&mut self.script(script))
    }
}

/// Whether the host has a program of that name.
pub(crate) fn has(program: &str) -> bool {
    find(program).is_some()
}

/// Where the host has a program of that name.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|dir| dir.join(program));
    found.find(|path| path.exists())
}

/// Whether this runs as the host's root.
pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}

/// The first line that each peer on this host says of its version.
pub(crate) fn versions() -> Vec<String> {
    let peers = PEERS.iter().filter(|(_, words)| has(words[0]));
    peers
        .filter_map(|(name, words)| {
            let text = output(Command::new(words[0]).arg("--version")).ok()?;
            let version = text.split_whitespace().find(|word| {
                let word = word.trim_start_matches('v');
                word.starts_with(|first: char| first.is_ascii_digit())
            });
            Some(format!(
                "{name} {}",
                version.unwrap_or("of unknown version")
            ))
        })
        .chain(std::iter::once(format!(
            "picozone {}",
            env!("CARGO_PKG_VERSION")
        )))
        .collect()
}
