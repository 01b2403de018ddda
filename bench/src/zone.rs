//! The zone that is measured: a home of its own, gone with it.

use crate::Result;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const NAME: &str = "bench";

/// A running zone.
pub(crate) struct Zone {
    program: PathBuf,
    home: tempfile::TempDir,
}

impl Zone {
    /// Creates and boots a zone by this command.
    pub(crate) fn boot(program: &Path) -> Result<Zone> {
        let zone = Zone {
            program: program.canonicalize().map_err(|error| {
                format!(
                    "{}: {error}; build it first: cargo build --release",
                    program.display()
                )
            })?,
            home: tempfile::tempdir()?,
        };
        zone.ask(&["create", NAME])?;
        zone.ask(&["boot", NAME])?;
        Ok(zone)
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
