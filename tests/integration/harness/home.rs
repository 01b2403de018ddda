//! A `PICOZONE_HOME` of a test, and its zones.

use super::{LIMIT, Output, PATH, Place, Role, Running, process_unsafe, run, start};
use serde_json::Value;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// A directory of zones; they are halted and deleted with it, also after a panic.
pub struct Home {
    role: Role,
    place: Arc<Place>,
    dir: tempfile::TempDir,
}

impl Home {
    /// A new one, which belongs to the user of the role.
    pub fn new(role: Role, place: Arc<Place>) -> Self {
        Self::new_in(&std::env::temp_dir(), role, place)
    }

    /// Another one of the same role, in this directory of the host.
    pub fn another_in(&self, directory: &Path) -> Self {
        Self::new_in(directory, self.role, Arc::clone(&self.place))
    }

    fn new_in(directory: &Path, role: Role, place: Arc<Place>) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("picozone-home.")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(directory)
            .expect("a directory");
        if let Some((uid, gid)) = role.account() {
            std::os::unix::fs::chown(dir.path(), Some(uid), Some(gid)).expect("we are root");
        }
        // Each file is analysed once for all tests.
        std::os::unix::fs::symlink(place.cache(role), dir.path().join("cache"))
            .expect("the home is empty");
        Self { role, place, dir }
    }

    /// As whom it is used.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The programs under test.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The command line `zone ARGUMENTS...`, not yet started.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = self.host(&self.place.zone());
        command.args(arguments);
        command
    }

    /// A program of the host in the role.
    pub fn host(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir("/");
        command.env("PICOZONE_HOME", self.dir()).env("PATH", PATH);
        command.env("HOME", self.dir()).env("LANG", "C.UTF-8");
        process_unsafe::take_role(&mut command, self.role, self.role.account());
        command
    }

    /// Runs `zone ARGUMENTS...`.
    #[track_caller]
    pub fn zone<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Output {
        run(&mut self.command(arguments), LIMIT)
    }

    /// Starts `zone ARGUMENTS...`.
    #[track_caller]
    pub fn start<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Running {
        start(&mut self.command(arguments))
    }

    /// What `zone ARGUMENTS...` says in JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.zone(arguments).ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// The row of a zone in `zone list --json`.
    #[track_caller]
    pub fn listed(&self, name: &str) -> Option<Value> {
        let rows = self.json(&["list", "--json"]);
        let rows = rows.as_array().expect("an array").iter();
        rows.into_iter().find(|row| row["name"] == name).cloned()
    }

    /// The state of a zone as `zone list` has it.
    #[track_caller]
    pub fn state(&self, name: &str) -> String {
        let row = self.listed(name).expect("the zone is listed");
        row["state"].as_str().expect("a string").to_owned()
    }

    /// A new zone that is not booted.
    #[track_caller]
    pub fn create(&self, name: &str) -> Zone<'_> {
        self.create_with(name, &[])
    }

    /// A new zone that is not booted, with options of `zone create`.
    #[track_caller]
    pub fn create_with(&self, name: &str, options: &[&str]) -> Zone<'_> {
        // All tests also hold in zones of other kinds: PICOZONE_TEST_REWRITE=off,
        // PICOZONE_TEST_TRAP=ptrace.
        let mut all = vec!["create".to_owned(), name.to_owned()];
        for (option, variable) in [
            ("--rewrite", "PICOZONE_TEST_REWRITE"),
            ("--trap", "PICOZONE_TEST_TRAP"),
            ("--profile", "PICOZONE_TEST_PROFILE"),
        ] {
            // There are no strict zones whose calls a tracer delivers.
            let clashes = match option {
                "--trap" => options.contains(&"strict"),
                "--profile" => options.contains(&"ptrace"),
                _ => false,
            };
            if let Ok(value) = std::env::var(variable)
                && !options.contains(&option)
                && !clashes
            {
                all.extend([option.to_owned(), value]);
            }
        }
        all.extend(options.iter().map(|&option| option.to_owned()));
        self.zone(&all).ok();
        Zone {
            home: self,
            name: name.to_owned(),
        }
    }

    /// A zone that was created, booted now.
    #[track_caller]
    pub fn started(&self, name: &str) -> Zone<'_> {
        self.zone(&["boot", name]).ok();
        Zone {
            home: self,
            name: name.to_owned(),
        }
    }

    /// A new zone that runs.
    #[track_caller]
    pub fn boot(&self, name: &str) -> Zone<'_> {
        let zone = self.create(name);
        self.zone(&["boot", name]).ok();
        zone
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let Ok(zones) = std::fs::read_dir(self.dir().join("zones")) else {
            return;
        };
        for zone in zones.flatten() {
            if std::thread::panicking() {
                let log = std::fs::read_to_string(zone.path().join("run/log"));
                println!(
                    "the log of {:?}: {}",
                    zone.file_name(),
                    log.unwrap_or_default()
                );
            }
            let deleted = self
                .command(&["delete", "--force"])
                .arg(zone.file_name())
                .output();
            // A panic here would hide the test's own.
            match deleted {
                Ok(output) if output.status.success() => {}
                other => {
                    let line = format!("cannot delete {:?}: {other:?}\n", zone.path());
                    let _ = std::io::stderr().write_all(line.as_bytes());
                }
            }
        }
    }
}

/// A zone of a home.
pub struct Zone<'a> {
    home: &'a Home,
    name: String,
}

impl Zone<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its home.
    pub fn home(&self) -> &Home {
        self.home
    }

    /// Its root directory on the host.
    pub fn root(&self) -> PathBuf {
        self.home.dir().join("zones").join(&self.name).join("root")
    }

    /// The command line that runs a program in it, not yet started.
    pub fn command<S: AsRef<OsStr>>(&self, program: &[S]) -> Command {
        let mut command = self.home.command(&["login", &self.name, "--"]);
        command.args(program);
        command
    }

    /// Runs a program in it.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, program: &[S]) -> Output {
        run(&mut self.command(program), LIMIT)
    }

    /// Runs a script of sh in it that succeeds, and gives its standard output.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.run(&["sh", "-c", script]).ok()
    }

    /// The host's number of its monitor's process.
    #[track_caller]
    pub fn monitor(&self) -> i32 {
        let row = self.home.listed(&self.name).expect("the zone is listed");
        let pid = row["monitor_pid"].as_i64().expect("it runs");
        i32::try_from(pid).expect("a pid")
    }

    /// Its address in the terms of zones.
    #[track_caller]
    pub fn address(&self) -> String {
        let row = self.home.listed(&self.name).expect("the zone is listed");
        row["address"].as_str().expect("a string").to_owned()
    }

    /// Where the host reaches one of its ports over TCP, as `ADDRESS:PORT`.
    #[track_caller]
    pub fn reached_at(&self, port: u16) -> String {
        let rows = self.home.json(&["ports", &self.name, "--json"]);
        let mut rows = rows.as_array().expect("an array").iter();
        let row = rows
            .find(|row| row["zone_port"] == port && row["protocol"] == "tcp")
            .unwrap_or_else(|| panic!("port {port} is not listed"));
        format!(
            "{}:{}",
            row["host_address"].as_str().expect("a string"),
            row["host_port"]
        )
    }
}
