//! Programs that end: each has a time limit, no standard input, and is killed with its owner.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fmt;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What a program left.
#[derive(Clone, PartialEq, Eq)]
pub struct Output {
    /// As a shell would say it: 128 + N if signal N ended it.
    pub status: i32,
    /// Standard output, with what is no UTF-8 replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
}

impl Output {
    /// Standard output of a program that succeeded.
    ///
    /// # Panics
    /// It failed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status == 0, "it failed: {self:?}");
        self.stdout
    }

    /// Standard error of a program that failed with this status.
    ///
    /// # Panics
    /// It did not.
    #[track_caller]
    pub fn fails(self, status: i32) -> String {
        assert!(self.status == status, "not {status}: {self:?}");
        self.stderr
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "status {}\n--- standard output\n{}--- standard error\n{}---",
            self.status, self.stdout, self.stderr
        )
    }
}

/// A program that runs; it is killed when dropped.
pub struct Running {
    child: Child,
    what: String,
}

/// Starts a program without standard input, both outputs in pipes.
#[track_caller]
pub fn start(command: &mut Command) -> Running {
    let what = format!("{command:?}");
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
    Running { child, what }
}

/// Runs a program to its end, and until nobody holds its outputs any more.
///
/// # Panics
/// When that takes longer than `limit`.
#[track_caller]
pub fn run(command: &mut Command, limit: Duration) -> Output {
    start(command).wait(limit)
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end; see [`run`].
    #[track_caller]
    pub fn wait(mut self, limit: Duration) -> Output {
        let deadline = Instant::now() + limit;
        let mut pipes: [Received; 2] = [
            (
                self.child.stdout.take().map(|pipe| Box::new(pipe) as _),
                Vec::new(),
            ),
            (
                self.child.stderr.take().map(|pipe| Box::new(pipe) as _),
                Vec::new(),
            ),
        ];
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            let mut wanted: Vec<PollFd> = pipes
                .iter()
                .filter_map(|(pipe, _)| pipe.as_ref())
                .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN))
                .collect();
            if wanted.is_empty() {
                break;
            }
            let timeout = PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX);
            // An interrupted poll reads nothing and asks again.
            let count = poll(&mut wanted, timeout).unwrap_or(0);
            let is_ready: Vec<bool> = wanted.iter().map(|fd| fd.any() == Some(true)).collect();
            drop(wanted);
            if count == 0 && rest.is_zero() {
                self.expire(limit, &pipes[0].1, &pipes[1].1);
            }
            let open = pipes.iter_mut().filter(|(pipe, _)| pipe.is_some());
            for ((pipe, bytes), _) in open.zip(is_ready).filter(|(_, is_ready)| *is_ready) {
                let mut chunk = [0; 65536];
                match pipe.as_mut().map(|pipe| pipe.read(&mut chunk)) {
                    Some(Ok(0)) | None => *pipe = None,
                    Some(Ok(count)) => bytes.extend_from_slice(&chunk[..count]),
                    Some(Err(error)) => panic!("cannot read from {}: {error}", self.what),
                }
            }
        }
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                break status;
            }
            if Instant::now() >= deadline {
                self.expire(limit, &pipes[0].1, &pipes[1].1);
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        Output {
            status: shell_status(status),
            stdout: String::from_utf8_lossy(&pipes[0].1).into_owned(),
            stderr: String::from_utf8_lossy(&pipes[1].1).into_owned(),
        }
    }

    #[track_caller]
    fn expire(&mut self, limit: Duration, stdout: &[u8], stderr: &[u8]) -> ! {
        panic!(
            "not over after {limit:?}: {}\n--- standard output\n{}--- standard error\n{}---",
            self.what,
            String::from_utf8_lossy(stdout),
            String::from_utf8_lossy(stderr)
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipe until it is closed, and what came through it.
type Received = (Option<Box<dyn Pipe>>, Vec<u8>);

trait Pipe: Read + AsFd {}
impl<T: Read + AsFd> Pipe for T {}

pub(super) fn shell_status(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
