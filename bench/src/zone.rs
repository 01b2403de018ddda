//! The zone that is measured: a home of its own, gone with it.

use crate::Result;
use crate::report::ZONE;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const NAME: &str = "bench";

/// Whether programs of the zone are rewritten.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Rewrite {
    /// Calls enter by a jump.
    On,
    /// All come by SIGSYS.
    Off,
}

/// A running zone.
pub(crate) struct Zone {
    title: &'static str,
    program: PathBuf,
    home: tempfile::TempDir,
}

impl Zone {
    /// Creates and boots a zone by this command, with rewritten programs or without.
    pub(crate) fn boot(program: &Path, rewrite: Rewrite) -> Result<Zone> {
        let (title, switch) = match rewrite {
            Rewrite::On => (ZONE, "on"),
            Rewrite::Off => ("zone by SIGSYS", "off"),
        };
        let zone = Zone {
            title,
            program: program.canonicalize().map_err(|error| {
                format!(
                    "{}: {error}; build it first: cargo build --release",
                    program.display()
                )
            })?,
            home: tempfile::tempdir()?,
        };
        zone.ask(&["create", NAME, "--rewrite", switch])?;
        zone.ask(&["boot", NAME])?;
        Ok(zone)
    }

    /// As the report calls it.
    pub(crate) fn title(&self) -> &'static str {
        self.title
    }

    /// Runs a subcommand; what it printed.
    pub(crate) fn ask(&self, args: &[&str]) -> Result<String> {
        let output = self.tool().args(args).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("zone {}: {message}", args.join(" ")).into());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn tool(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("PICOZONE_HOME", self.home.path());
        command
    }

    /// The command that runs a program in the zone.
    pub(crate) fn command(&self, argv: &[&str]) -> Command {
        let mut command = self.tool();
        command.args(["login", NAME, "--"]).args(argv);
        command
    }

    /// Runs a shell script in the zone to its end.
    pub(crate) fn shell(&self, script: &str) -> Result<String> {
        self.ask(&["login", NAME, "--", "sh", "-c", script])
    }

    /// Copies a program of the host into the zone's root directory.
    pub(crate) fn put(&self, file: &Path, name: &str) -> Result<()> {
        let root = self.home.path().join("zones").join(NAME).join("root");
        std::fs::copy(file, root.join(name))?;
        Ok(())
    }

    /// Where the host reaches a port of the zone.
    pub(crate) fn place(&self, port: u64) -> Result<String> {
        let rows: Vec<serde_json::Value> = serde_json::from_str(&self.ask(&["ports", "--json"])?)?;
        let row = rows.iter().find(|row| row["zone_port"] == port);
        let row = row.ok_or_else(|| format!("nothing listens on port {port} of the zone"))?;
        let address = row["host_address"].as_str().unwrap_or_default();
        Ok(format!("{address}:{}", row["host_port"]))
    }

    /// Host pids of monitor and init.
    pub(crate) fn pids(&self) -> Result<(u64, u64)> {
        let rows: Vec<serde_json::Value> = serde_json::from_str(&self.ask(&["list", "--json"])?)?;
        let pid = |name: &str| {
            rows.first()
                .and_then(|row| row[name].as_u64())
                .ok_or("no pid")
        };
        Ok((pid("monitor_pid")?, pid("init_pid")?))
    }
}

impl Drop for Zone {
    fn drop(&mut self) {
        for verb in ["halt", "delete"] {
            if let Err(error) = self.ask(&[verb, NAME]) {
                eprintln!("{error}");
            }
        }
    }
}
