//! Children, and pipes to wait for them without sleeping.

use crate::{Errno, Result, libc_result};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;

/// A child process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child(pub i32);

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// It stopped by this signal.
    Stopped(i32),
    /// It goes on.
    Continued,
}

/// Forks a child that runs `body` and exits with what it returns.
pub fn child(body: impl FnOnce() -> i32) -> Child {
    // SAFETY: guests fork while they have one thread, or the child makes plain calls only.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", Errno::last()),
        0 => exit(body()),
        pid => Child(pid),
    }
}

/// Ends the process at once, with no clean-up that belongs to the parent.
pub fn exit(status: i32) -> ! {
    // SAFETY: _exit(2) takes a number.
    unsafe { libc::_exit(status) }
}

impl Child {
    /// waitpid(2) until it has ended.
    ///
    /// # Errors
    /// ECHILD, or EINTR by a handler without `SA_RESTART`.
    pub fn wait(self) -> Result<End> {
        wait(self.0, 0).map(|(_, end)| end)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// As of kill(2).
    pub fn signal(self, signal: i32) -> Result<()> {
        kill(self.0, signal)
    }
}

/// kill(2).
///
/// # Errors
/// As of kill(2).
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: kill(2) takes numbers.
    libc_result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// waitpid(2); the pid is 0 if `WNOHANG` finds nothing.
///
/// # Errors
/// As of waitpid(2).
pub fn wait(pid: i32, flags: i32) -> Result<(i32, End)> {
    let mut status = 0;
    // SAFETY: `status` lives until the call returns.
    let found = unsafe { libc::waitpid(pid, &raw mut status, flags) };
    libc_result(found)?;
    Ok((found, End::from(status)))
}

impl From<i32> for End {
    fn from(status: i32) -> Self {
        if libc::WIFSTOPPED(status) {
            Self::Stopped(libc::WSTOPSIG(status))
        } else if libc::WIFCONTINUED(status) {
            Self::Continued
        } else if libc::WIFSIGNALED(status) {
            Self::Killed(libc::WTERMSIG(status))
        } else {
            Self::Exited(libc::WEXITSTATUS(status))
        }
    }
}

/// A pipe: what is written at one end is read at the other.
#[derive(Debug)]
pub struct Pipe {
    /// The end to read.
    pub read: File,
    /// The end to write.
    pub write: File,
}

/// Makes a pipe.
///
/// # Errors
/// As of pipe2(2).
pub fn pipe() -> Result<Pipe> {
    let mut ends = [0; 2];
    // SAFETY: `ends` holds the two descriptors.
    libc_result(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: the descriptor is new and nobody else's.
    let read = unsafe { File::from_raw_fd(ends[0]) };
    // SAFETY: the descriptor is new and nobody else's.
    let write = unsafe { File::from_raw_fd(ends[1]) };
    Ok(Pipe { read, write })
}

impl Pipe {
    /// Lets who waits go on.
    pub fn tell(&self) {
        (&self.write).write_all(b"x").expect("the pipe is open");
    }

    /// Waits for [`Pipe::tell`]; false if nobody can tell any more.
    pub fn hear(&self) -> bool {
        loop {
            match (&self.read).read(&mut [0]) {
                Ok(count) => return count == 1,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => panic!("read a pipe: {error}"),
            }
        }
    }

    /// A pid, from a child that found one.
    pub fn send(&self, value: i32) {
        (&self.write)
            .write_all(&value.to_ne_bytes())
            .expect("the pipe is open");
    }

    /// What [`Pipe::send`] sent.
    pub fn receive(&self) -> i32 {
        let mut bytes = [0; 4];
        (&self.read).read_exact(&mut bytes).expect("a number");
        i32::from_ne_bytes(bytes)
    }
}
