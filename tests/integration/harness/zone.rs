//! A booted zone.

use super::base::{self, Base};
use super::job::{Job, Output};
use super::mode::Mode;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// How long a command of the harness itself may take on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A booted zone; halted and deleted when dropped.
pub(crate) struct Zone {
    mode: Mode,
    name: String,
}

/// A zone that others use at the same time, and that lasts until the end of the run.
pub(crate) struct Shared(&'static Zone);

/// The zones of each module and mode; a slot's lock is held while its zone boots.
type Slots = HashMap<(&'static str, Mode), &'static OnceLock<Zone>>;

impl Zone {
    /// A zone of the test's own.
    pub(crate) fn own(mode: Mode) -> Self {
        Self::with(mode, &[])
    }

    /// A zone of the test's own with more options for `zone create`.
    pub(crate) fn with(mode: Mode, options: &[&str]) -> Self {
        let base = Base::get();
        let zone = Self {
            mode,
            name: format!("t{}", base::next()),
        };
        let bind = format!("{0}:{0}:ro", base.bin().display());
        let mut words = vec!["create", "NAME", "--bind", &bind];
        words.extend(options);
        zone.cli(words).succeeded();
        zone.cli(["boot", "NAME"]).succeeded();
        zone
    }

    /// The zone that the tests of one module and mode share; [`Base`] deletes it in the end.
    pub(crate) fn shared(module: &'static str, mode: Mode) -> Shared {
        static SLOTS: LazyLock<Mutex<Slots>> = LazyLock::new(Mutex::default);
        let slot = {
            // A test that failed left nothing half done in here.
            let mut slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
            *slots
                .entry((module, mode))
                .or_insert_with(|| Box::leak(Box::default()))
        };
        Shared(slot.get_or_init(|| Self::own(mode)))
    }

    /// Runs a program as the zone's root, in its home directory, with nothing as input.
    ///
    /// Panics if it does not end in time.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, argv: impl IntoIterator<Item = S>) -> Output {
        Job::new(argv).within(self)
    }

    /// Runs the command line as the zone's mode; the word `NAME` stands for the zone's name.
    pub(crate) fn cli<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Output {
        self.cli_job(words).as_cli(self.mode)
    }

    /// As [`Zone::cli`], before it is run.
    pub(crate) fn cli_job<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Job {
        let base = Base::get();
        let mut argv = vec![base.zone().into_os_string()];
        argv.extend(words.into_iter().map(|word| match word.as_ref() {
            name if name == "NAME" => self.name.clone().into(),
            other => other.to_owned(),
        }));
        Job::new(argv)
            .env("PICOZONE_HOME", base.home(self.mode))
            .limit(LIMIT)
    }

    /// Who runs the command line.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// The zone's directory on the host.
    pub(crate) fn dir(&self) -> PathBuf {
        Base::get().home(self.mode).join("zones").join(&self.name)
    }

    /// The monitor's log.
    pub(crate) fn log(&self) -> String {
        let path = self.dir().join("run/log");
        std::fs::read_to_string(path).unwrap_or_default()
    }
}

impl Zone {
    /// Shows what the monitor has to say about a test that fails.
    fn explain(&self) {
        if std::thread::panicking() {
            eprintln!("log of zone {}:\n{}", self.name, self.log());
        }
    }
}

impl Drop for Zone {
    fn drop(&mut self) {
        self.explain();
        let result = self
            .cli_job(["delete", "--force", "NAME"])
            .try_as_cli(self.mode);
        if !std::thread::panicking() {
            match result {
                Ok(output) => output.succeeded(),
                Err(expired) => panic!("zone delete does not end: {expired}"),
            }
        }
    }
}

impl Deref for Shared {
    type Target = Zone;

    fn deref(&self) -> &Zone {
        self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.explain();
    }
}
