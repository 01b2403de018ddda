//! What nix leaves of ptrace(2): stops as values, signals that it has no names for, and the call that a
//! thread stopped at.

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::unistd::Pid;

/// `PTRACE_EVENT_STOP`.
const EVENT_STOP: i32 = 128;

/// How a thread that has stopped goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resume {
    /// Until something happens that is followed.
    Freely,
    /// The same, or until it enters or leaves a call.
    ToCall,
    /// It stays stopped as any process does that a signal has stopped, until SIGCONT.
    Stopped,
    /// As if it had never been traced.
    Untraced,
}

/// Why a traced thread has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It enters or leaves a call (`PTRACE_O_TRACESYSGOOD`).
    Call,
    /// One of `PTRACE_EVENT_*`.
    Event(i32),
    /// It was asked to stop, or has just been made.
    Trap,
    /// A signal has stopped its process.
    Group,
    /// It is about to get this signal.
    Signal(i32),
    /// It is no more. The status is that of wait(2).
    Ended(i32),
}

impl Stop {
    /// Of a seized thread, by the status that waitpid(2) gives.
    fn of(status: i32) -> Self {
        if !libc::WIFSTOPPED(status) {
            return Self::Ended(status);
        }
        match (libc::WSTOPSIG(status), status >> 16) {
            (signal, 0) if signal == libc::SIGTRAP | 0x80 => Self::Call,
            (signal, 0) => Self::Signal(signal),
            (libc::SIGTRAP, EVENT_STOP) => Self::Trap,
            (_, EVENT_STOP) => Self::Group,
            (_, event) => Self::Event(event),
        }
    }
}

/// Waits for the next stop of any thread.
///
/// # Errors
/// ECHILD: nobody is traced, and there is no child.
pub(crate) fn wait() -> nix::Result<(Pid, Stop)> {
    loop {
        if let Some(stop) = next(0)? {
            return Ok(stop);
        }
    }
}

/// The next stop that has come already.
///
/// # Errors
/// ECHILD: nobody is traced, and there is no child.
pub(crate) fn poll() -> nix::Result<Option<(Pid, Stop)>> {
    next(libc::WNOHANG)
}

fn next(options: i32) -> nix::Result<Option<(Pid, Stop)>> {
    loop {
        let mut status = 0;
        // SAFETY: `status` lives until the call returns.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | options) };
        match Errno::result(pid) {
            Ok(0) => return Ok(None),
            Ok(pid) => return Ok(Some((Pid::from_raw(pid), Stop::of(status)))),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Lets a stopped thread go on, with a signal or 0. One that is gone needs no word: that it has ended is
/// told by its last stop.
pub(crate) fn go_on(pid: Pid, how: Resume, signal: i32) {
    let request = match how {
        Resume::Freely => libc::PTRACE_CONT,
        Resume::ToCall => libc::PTRACE_SYSCALL,
        Resume::Stopped => libc::PTRACE_LISTEN,
        Resume::Untraced => libc::PTRACE_DETACH,
    };
    // SAFETY: none of them takes an address of ours.
    unsafe { libc::ptrace(request, pid.as_raw(), 0, signal) };
}

/// Where a thread is that has stopped for [`Stop::Call`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// What it does there.
    pub(crate) what: What,
    /// `AUDIT_ARCH_*`: whose numbers its calls have.
    pub(crate) arch: u32,
    /// Its instruction pointer, behind the instruction of the call.
    pub(crate) ip: u64,
    /// Its stack pointer.
    pub(crate) sp: u64,
}

/// What a thread does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// It makes this one.
    Enters { nr: u64, args: [u64; 6] },
    /// It has made it, with this result word.
    Leaves { result: i64 },
    /// Nothing.
    Neither,
}

/// Asks for that.
///
/// # Errors
/// Those of ptrace(2).
pub(crate) fn place(pid: Pid) -> nix::Result<Place> {
    let info = ptrace::syscall_info(pid)?;
    let what = match info.op {
        libc::PTRACE_SYSCALL_INFO_ENTRY => {
            // SAFETY: `op` says that this is what the kernel has written.
            let entry = unsafe { info.u.entry };
            What::Enters {
                nr: entry.nr,
                args: entry.args,
            }
        }
        libc::PTRACE_SYSCALL_INFO_EXIT => {
            // SAFETY: as above.
            let exit = unsafe { info.u.exit };
            What::Leaves { result: exit.sval }
        }
        _ => What::Neither,
    };
    Ok(Place {
        what,
        arch: info.arch,
        ip: info.instruction_pointer,
        sp: info.stack_pointer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_say_why_a_thread_has_stopped() {
        let stopped = |signal: i32, event: i32| Stop::of(event << 16 | signal << 8 | 0x7f);
        assert_eq!(stopped(libc::SIGTRAP | 0x80, 0), Stop::Call);
        assert_eq!(stopped(libc::SIGTRAP, 0), Stop::Signal(libc::SIGTRAP));
        // A realtime signal, which nix does not name.
        assert_eq!(stopped(33, 0), Stop::Signal(33));
        let group = stopped(libc::SIGTSTP, EVENT_STOP);
        assert_eq!(group, Stop::Group);
        let trap = stopped(libc::SIGTRAP, EVENT_STOP);
        assert_eq!(trap, Stop::Trap);
        let exec = stopped(libc::SIGTRAP, libc::PTRACE_EVENT_EXEC);
        assert_eq!(exec, Stop::Event(libc::PTRACE_EVENT_EXEC));
        assert_eq!(Stop::of(3 << 8), Stop::Ended(3 << 8));
        assert_eq!(Stop::of(libc::SIGKILL), Stop::Ended(libc::SIGKILL));
    }
}
