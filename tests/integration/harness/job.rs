//! A program to run, natively or in a zone, for a bounded time.

use super::base::Base;
use super::mode::Mode;
use super::zone::Zone;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, geteuid, setsid};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a job may take where it says nothing else; the machine may be loaded.
const LIMIT: Duration = Duration::from_secs(40);
/// How long output may stay open after a program has ended, held by what it left behind.
const DRAIN: Duration = Duration::from_secs(5);

/// A program with all that it gets.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    user: Option<String>,
    dir: Option<PathBuf>,
    input: Vec<u8>,
    limit: Duration,
    pub(super) needs: Vec<String>,
    /// Whether [`same!`] compares files; names below this pattern of find(1) are left out.
    pub(super) files: Option<String>,
}

/// What a program did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    /// Its exit status; 128 + N if signal N ended it.
    pub(crate) status: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// A guest of `tests/guests`.
pub(crate) fn guest(name: &str) -> Job {
    Job::new([Base::get().guest(name)])
}

/// A script of sh(1).
pub(crate) fn sh(script: &str) -> Job {
    Job::new(["sh", "-c", script])
}

impl Job {
    /// A program by its argument vector; names are looked up in `PATH`.
    pub(crate) fn new<S: AsRef<OsStr>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv
                .into_iter()
                .map(|word| word.as_ref().to_owned())
                .collect(),
            env: Vec::new(),
            user: None,
            dir: None,
            input: Vec::new(),
            limit: LIMIT,
            needs: Vec::new(),
            files: None,
        }
    }

    /// One more argument.
    pub(crate) fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.argv.push(word.as_ref().to_owned());
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The user to run as, by name or number; root if missing.
    pub(crate) fn user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// The directory to start in; it must exist.
    pub(crate) fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// What the program reads; nothing if missing.
    pub(crate) fn input(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.input = bytes.as_ref().to_vec();
        self
    }

    /// How long it may take.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// A program that must be on the machine, else [`same!`] skips the job.
    pub(crate) fn needs(mut self, program: &str) -> Self {
        self.needs.push(program.to_owned());
        self
    }

    /// [`same!`] compares the files that the job made too.
    pub(crate) fn files(self) -> Self {
        self.files_but("")
    }

    /// As [`Job::files`] without those below names of this pattern.
    pub(crate) fn files_but(mut self, pattern: &str) -> Self {
        self.files = Some(pattern.to_owned());
        self
    }

    /// A job that works hard: ten times the limit.
    pub(crate) fn slow(self) -> Self {
        let limit = self.limit * 10;
        self.limit(limit)
    }

    /// Runs it in `zone`; panics if it does not end in time.
    pub(crate) fn within(&self, zone: &Zone) -> Output {
        in_time(self, self.try_within(zone))
    }

    /// Runs it in `zone`; the error is what it wrote until its time was over.
    pub(crate) fn try_within(&self, zone: &Zone) -> Result<Output, Output> {
        let mut words: Vec<OsString> = ["login", "NAME"].map(OsString::from).to_vec();
        let mut add = |option: &str, value: &OsStr| {
            words.push(option.into());
            words.push(value.to_owned());
        };
        if let Some(user) = &self.user {
            add("-u", user.as_ref());
        }
        if let Some(dir) = &self.dir {
            add("-w", dir.as_ref());
        }
        for (name, value) in &self.env {
            let mut text = name.clone();
            text.push("=");
            text.push(value);
            add("-e", &text);
        }
        words.push("--".into());
        words.extend(self.argv.iter().cloned());
        let mut job = zone.cli_job(words).limit(self.limit);
        job.input.clone_from(&self.input);
        job.try_as_cli(zone.mode())
    }

    /// Runs it natively, as we are, in the environment of a zone's root.
    pub(crate) fn natively(&self) -> Output {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).env_clear();
        command.envs(standard_environment());
        in_time(self, self.finish(command))
    }

    /// Runs it on the host as the user of `mode`; panics if it does not end in time.
    pub(crate) fn as_cli(&self, mode: Mode) -> Output {
        in_time(self, self.try_as_cli(mode))
    }

    /// As [`Job::as_cli`]; the error is what it wrote until its time was over.
    pub(crate) fn try_as_cli(&self, mode: Mode) -> Result<Output, Output> {
        let mut command = mode.command(&self.argv);
        command.envs(standard_environment());
        self.finish(command)
    }

    /// As [`Job::try_as_cli`] with no more than the user of `mode`, for cleaning up.
    pub(super) fn try_owned_by(&self, mode: Mode) -> Result<Output, Output> {
        let mode = match mode {
            Mode::Confined => Mode::User,
            other => other,
        };
        if mode == Mode::Root && !geteuid().is_root() {
            return Ok(Output {
                status: 0,
                stdout: Vec::new(),
                stderr: Vec::new(),
            });
        }
        self.try_as_cli(mode)
    }

    fn finish(&self, mut command: Command) -> Result<Output, Output> {
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.dir.as_deref().unwrap_or(Path::new("/")));
        command
            .stdin(if self.input.is_empty() {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // SAFETY: setsid(2) is async-signal-safe and touches no memory.
        unsafe { command.pre_exec(|| Ok(setsid().map(drop)?)) };
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("start {:?}: {error}", self.argv));
        self.attend(child)
    }

    fn attend(&self, mut child: Child) -> Result<Output, Output> {
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid is an i32"));
        let stdout = Collected::from(child.stdout.take().expect("piped"));
        let stderr = Collected::from(child.stderr.take().expect("piped"));
        if let Some(mut stdin) = child.stdin.take() {
            let input = self.input.clone();
            // The program may end without reading.
            std::thread::spawn(move || stdin.write_all(&input));
        }
        let (sender, ended) = channel();
        std::thread::spawn(move || {
            // Leaves the zombie, so that the pid stays its own until we have waited for it.
            let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            let _ = sender.send(());
        });
        let in_time = ended.recv_timeout(self.limit).is_ok();
        if !in_time {
            // The child leads a session and group of its own.
            let _ = kill(Pid::from_raw(-pid.as_raw()), Signal::SIGKILL);
            let _ = kill(pid, Signal::SIGKILL);
        }
        let status = child.wait().expect("our child");
        let drain = if in_time { DRAIN } else { DRAIN / 20 };
        let output = Output {
            status: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: stdout.take(drain),
            stderr: stderr.take(drain),
        };
        if in_time { Ok(output) } else { Err(output) }
    }
}

/// What a thread reads from a pipe.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

impl Collected {
    fn from(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (sender, ended) = channel();
        let ours = Arc::clone(&bytes);
        std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                ours.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(&buffer[..count]);
            }
            let _ = sender.send(());
        });
        Self { bytes, ended }
    }

    /// What was read when the pipe ended, or after `limit`: a process left behind may hold it.
    fn take(self, limit: Duration) -> Vec<u8> {
        let _ = self.ended.recv_timeout(limit);
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What programs find in the environment, the same natively and in a zone.
pub(super) fn standard_environment() -> [(&'static str, &'static str); 6] {
    [
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("HOME", "/root"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("SHELL", "/bin/sh"),
        ("LANG", "C.UTF-8"),
    ]
}

fn in_time(job: &Job, result: Result<Output, Output>) -> Output {
    result.unwrap_or_else(|expired| {
        panic!("{:?} took more than {:?}: {expired}", job.argv, job.limit)
    })
}

impl Output {
    /// Standard output as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("output is text")
    }

    /// Panics unless the exit status is 0.
    pub(crate) fn succeeded(&self) {
        assert_eq!(self.status, 0, "{self}");
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "status {}\n--- stdout\n{}--- stderr\n{}---",
            self.status,
            String::from_utf8_lossy(&self.stdout),
            String::from_utf8_lossy(&self.stderr)
        )
    }
}
