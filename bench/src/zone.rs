//! The zone that is measured: a home of its own, gone with it.

use crate::Result;
use crate::limited::output;
use crate::measure::ZONE;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

const NAME: &str = "bench";

/// What is measured of zones.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Calls enter by a jump.
    Rewritten,
    /// All come by SIGSYS.
    Sigsys,
    /// The same as the first, in the strict profile, by a user that is not the zone's root.
    Strict,
    /// The same as the first, with the flight recorder.
    Flight,
}

/// A running zone.
pub(crate) struct Zone {
    title: &'static str,
    kind: Kind,
    program: PathBuf,
    home: tempfile::TempDir,
}

impl Zone {
    /// Creates and boots a zone by this command, of this kind.
    pub(crate) fn boot(program: &Path, kind: Kind) -> Result<Zone> {
        let (title, options) = match kind {
            Kind::Rewritten => (ZONE, &["--rewrite", "on"][..]),
            Kind::Sigsys => ("zone by SIGSYS", &["--rewrite", "off"][..]),
            Kind::Strict => ("strict zone, user", &["--profile", "strict"][..]),
            Kind::Flight => (
                "zone, flight recorder",
                &["--rewrite", "on", "--flight"][..],
            ),
        };
        let zone = Zone {
            title,
            kind,
            program: program.canonicalize().map_err(|error| {
                format!(
                    "{}: {error}; build it first: cargo build --release",
                    program.display()
                )
            })?,
            home: tempfile::tempdir()?,
        };
        zone.ask(&[&["create", NAME][..], options].concat())?;
        zone.ask(&["boot", NAME])?;
        zone.ask(&["login", NAME, "--", "mkdir", "-m", "777", "/srv/zone"])?;
        Ok(zone)
    }

    /// As the report calls it.
    pub(crate) fn title(&self) -> &'static str {
        self.title
    }

    /// Runs a subcommand; what it printed.
    pub(crate) fn ask(&self, args: &[&str]) -> Result<String> {
        output(self.tool().args(args))
            .map_err(|error| format!("zone {}: {error}", args.join(" ")).into())
    }

    /// Waits until programs are rewritten, which happens in the background: until a thousand calls of
    /// `guest` hardly come by SIGSYS any more.
    pub(crate) fn warm(&self, guest: &str) -> Result<()> {
        if self.kind == Kind::Sigsys {
            return Ok(());
        }
        let entered = || -> Result<u64> {
            let stat: serde_json::Value =
                serde_json::from_str(&self.ask(&["stat", NAME, "--json"])?)?;
            let rows = stat["entered"].as_array().ok_or("no counters")?;
            Ok(rows.iter().filter_map(|row| row[1].as_u64()).sum())
        };
        for _ in 0..100 {
            let before = entered()?;
            output(&mut self.command(&[guest, "getpid", "1000"]))?;
            if entered()? - before < 500 {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        Err("the zone's programs are not rewritten in time".into())
    }

    /// The command `zone`, for this home.
    pub(crate) fn tool(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("PICOZONE_HOME", self.home.path());
        command
    }

    /// The command that runs a program in the zone.
    pub(crate) fn command(&self, argv: &[&str]) -> Command {
        let mut command = self.tool();
        let user = match self.kind {
            Kind::Strict => "www-data",
            _ => "root",
        };
        command.args(["login", NAME, "-u", user, "--"]).args(argv);
        command
    }

    /// Has its calls recorded that meet a filter, into nothing.
    pub(crate) fn trace(&self, filter: Option<&str>) -> Result<Trace> {
        let mut command = self.tool();
        command.args(["trace", NAME, "-o", "/dev/null"]);
        command.args(filter.into_iter().flat_map(|filter| ["-e", filter]));
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let said = child.stderr.take().ok_or("it says nothing")?;
        let mut trace = Trace {
            child,
            said: BufReader::new(said),
        };
        // It says that it has begun.
        trace.said.read_line(&mut String::new())?;
        Ok(trace)
    }

    /// Runs a shell script in the zone to its end.
    pub(crate) fn shell(&self, script: &str) -> Result<String> {
        self.ask(&["login", NAME, "--", "sh", "-c", script])
    }

    /// The zone's root directory on the host.
    pub(crate) fn root(&self) -> PathBuf {
        self.home.path().join("zones").join(NAME).join("root")
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

/// A trace of the zone.
pub(crate) struct Trace {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Trace {
    /// Ends it; all calls must have been recorded.
    pub(crate) fn end(mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        output(Command::new("kill").args(["-INT", &pid]))?;
        let mut last = String::new();
        self.said.read_to_string(&mut last)?;
        if self.child.wait()?.success() && !last.contains("not") {
            Ok(())
        } else {
            Err(last.into())
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
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
