//! Starts a program whose first call that is told is the exec.
//!
//! The child waits in a read of a pipe until we have seized it and it stops at its calls; so neither of
//! both needs a signal that the program might see.

use super::attach::{cannot_trace, options};
use crate::error::{Doing, Error, Result};
use crate::ids::HostPid;
use crate::ptrace::{Resume, Stop, go_on, wait};
use nix::fcntl::OFlag;
use nix::sys::ptrace;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{AccessFlags, ForkResult, access, execv, fork, pipe2, read};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Starts it, with this mask of signals. It is stopped no more, and about to execute.
pub(super) fn program(command: &[OsString], mask: SigSet) -> Result<HostPid> {
    let Some(name) = command.first() else {
        return Err(Error::refused("start", "a program", "it has no name", ""));
    };
    let path = find(name)?;
    let text = |word: &OsStr| CString::new(word.as_bytes()).map_err(std::io::Error::from);
    let file = text(path.as_os_str()).doing("execute", path.display())?;
    let words: std::io::Result<Vec<CString>> = command.iter().map(|word| text(word)).collect();
    let words = words.doing("execute", path.display())?;
    let (go, gone) = pipe2(OFlag::O_CLOEXEC).doing("make", "a pipe")?;
    // SAFETY: no other thread of ours runs yet that could hold a lock, and the child allocates nothing.
    match unsafe { fork() }.doing("fork", "a program to trace")? {
        ForkResult::Child => execute(&file, &words, mask, (go, gone)),
        ForkResult::Parent { child } => {
            drop(go);
            let pid = HostPid(child.as_raw().unsigned_abs());
            let seized = ptrace::seize(child, options()).and_then(|()| ptrace::interrupt(child));
            // It sees the end of the pipe in any case, and ends if it is not traced then.
            seized.map_err(|errno| cannot_trace(pid, errno))?;
            loop {
                match wait().doing("wait for", "a program to trace")? {
                    (pid, Stop::Trap) if pid == child => break,
                    (pid, Stop::Signal(signal)) => go_on(pid, Resume::Freely, signal),
                    (pid, Stop::Ended(_)) if pid == child => {
                        return Err(Error::refused(
                            "start",
                            path.display(),
                            "it was killed",
                            "try again",
                        ));
                    }
                    // A child of whoever we were before we executed.
                    _ => {}
                }
            }
            go_on(child, Resume::ToCall, 0);
            nix::unistd::write(&gone, b"!").doing("start", path.display())?;
            Ok(pid)
        }
    }
}

/// In the child.
fn execute(file: &CString, words: &[CString], mask: SigSet, (go, gone): (OwnedFd, OwnedFd)) -> ! {
    drop(gone);
    let mut word = [0];
    if read(&go, &mut word) == Ok(1) {
        // SAFETY: a program expects the usual answer to SIGPIPE, which we ignore.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None);
        let _ = execv(file, words);
    }
    // SAFETY: ends the process without running what its parent registered.
    unsafe { libc::_exit(127) }
}

/// Where a program is, as a shell finds it.
fn find(name: &OsStr) -> Result<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Ok(name.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let is_program = |path: &PathBuf| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    let mut places = std::env::split_paths(&path).map(|dir| match dir.as_os_str().is_empty() {
        true => Path::new(".").join(name),
        false => dir.join(name),
    });
    places.find(is_program).ok_or_else(|| {
        Error::refused(
            "start",
            name.to_string_lossy(),
            "no directory of PATH has such a program",
            "give its path",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_as_by_a_shell() {
        assert!(
            find(OsStr::new("sh"))
                .expect("there is one")
                .ends_with("sh")
        );
        let path = find(OsStr::new("./gone")).expect("a path is a path");
        assert_eq!(path, Path::new("./gone"));
        let error = find(OsStr::new("no such program")).expect_err("there is none");
        assert!(error.to_string().contains("PATH"), "{error}");
    }
}
