//! The tracer of a zone whose trapped calls are delivered by ptrace(2).
//!
//! The filter of such a zone stops a thread (`SECCOMP_RET_TRACE`) where in others the kernel raises
//! SIGSYS. The tracer takes the call back and sends that signal with the words that the kernel would
//! have given it, so that the call arrives at the same entry of the personality.
//!
//! It is a process of its own, with one thread, which knows nothing of the zone. The zone's boundary
//! does not depend on what it does about signals, but on that it lets no call pass: one that it
//! cannot take back ends the guest. A trapped call that nobody traces fails. Guests cannot trace (the
//! filter refuses), and end with the tracer (`PTRACE_O_EXITKILL`), as it ends with the monitor.

use crate::error::{Doing, Error, Result};
use crate::ptrace::{Resume, Stop, go_on, wait};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid, pipe};
use picozone_syscalls::filter::OURS;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};

/// `AUDIT_ARCH_X86_64`.
const ARCH: u32 = 0xc000_003e;
/// `SYS_SECCOMP`, an `si_code`.
const SYS_SECCOMP: u32 = 1;

/// Words of a siginfo_t.
const INFO_WORDS: usize = size_of::<libc::siginfo_t>() / 4;

/// Starts the tracer of a process and of all that will descend from it.
///
/// # Errors
/// The host forbids it.
pub fn start(init: Pid) -> Result<()> {
    let (reader, writer) = pipe().doing("make", "a pipe")?;
    let monitor = getpid();
    // SAFETY: this process has a single thread here but for the store's, which holds no lock that
    // the child takes.
    match unsafe { fork() }.doing("fork", "the tracer")? {
        ForkResult::Child => run(init, monitor, writer),
        ForkResult::Parent { .. } => {
            drop(writer);
            let mut answer = [0; 4];
            let errno = match File::from(reader).read_exact(&mut answer) {
                Ok(()) => i32::from_ne_bytes(answer),
                Err(_) => libc::ESRCH,
            };
            match errno {
                0 => Ok(()),
                errno => Err(Error::refused(
                    "trace",
                    "the zone",
                    std::io::Error::from_raw_os_error(errno),
                    "let calls be delivered by signals: remove `trap` from its zone.toml",
                )),
            }
        }
    }
}

/// Never returns: the tracer ends when nobody is left to be traced.
fn run(init: Pid, monitor: Pid, writer: OwnedFd) -> ! {
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // SAFETY: takes a string that ends.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"zone tracer".as_ptr()) };
    let own = writer.as_raw_fd().unsigned_abs();
    for (from, to) in [(3, own - 1), (own + 1, u32::MAX)] {
        // SAFETY: what the monitor had open is used by nobody here. An empty range is refused.
        unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) };
    }
    let options = Options::PTRACE_O_TRACESECCOMP
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_EXITKILL;
    let seized = match ptrace::seize(init, options) {
        Ok(()) if getppid() == monitor => 0,
        Ok(()) => libc::ESRCH,
        Err(errno) => errno as i32,
    };
    let told = File::from(writer).write_all(&seized.to_ne_bytes());
    if seized == 0 && told.is_ok() {
        serve();
    }
    // SAFETY: ends the process without running what the monitor registered.
    unsafe { libc::_exit(0) }
}

/// What a thread is to get next.
enum Next {
    /// The signal of a call that was taken back, right behind its instruction.
    Call { ip: u64, info: libc::siginfo_t },
    /// A signal that came before that of its call, which was given in its place.
    Signal(libc::siginfo_t),
}

fn serve() {
    let mut next = HashMap::new();
    while let Ok((pid, stop)) = wait() {
        match stop {
            Stop::Ended(_) => drop(next.remove(&pid)),
            Stop::Signal(signal) => {
                let signal = exchange(&mut next, pid, signal);
                go_on(pid, Resume::Freely, signal);
            }
            Stop::Event(libc::PTRACE_EVENT_SECCOMP) => {
                match take_back(pid) {
                    Ok(Some(call)) => drop(next.insert(pid, call)),
                    Ok(None) => {}
                    // SAFETY: takes numbers only. The thread is not let go on.
                    Err(_) => unsafe {
                        libc::kill(pid.as_raw(), libc::SIGKILL);
                    },
                }
                go_on(pid, Resume::Freely, 0);
            }
            Stop::Group => go_on(pid, Resume::Stopped, 0),
            Stop::Call | Stop::Event(_) | Stop::Trap => go_on(pid, Resume::Freely, 0),
        }
    }
}

/// Keeps a trapped call from being made; its signal is on its way. There is none where a filter of the
/// guest's own wants a tracer asked: the call fails with ENOSYS, as where nobody traces.
fn take_back(pid: Pid) -> nix::Result<Option<Next>> {
    let word = ptrace::getevent(pid)?;
    let mut registers = ptrace::getregs(pid)?;
    let (number, ip) = (registers.orig_rax, registers.rip);
    // The personality gives the result. Who keeps the signal from coming there gets none.
    registers.rax = i64::from(-libc::ENOSYS).cast_unsigned();
    registers.orig_rax = u64::MAX;
    ptrace::setregs(pid, registers)?;
    if word != i64::from(OURS) {
        return Ok(None);
    }
    let low = |word: u64| u32::try_from(word & 0xffff_ffff).unwrap_or(0);
    let mut words = [0u32; INFO_WORDS];
    words[0] = libc::SIGSYS.unsigned_abs();
    (words[1], words[2]) = (OURS, SYS_SECCOMP);
    (words[4], words[5]) = (low(ip), low(ip >> 32));
    (words[6], words[7]) = (low(number), ARCH);
    // SAFETY: of the same size, and any bits are a valid siginfo_t.
    let info = unsafe { std::mem::transmute::<[u32; INFO_WORDS], libc::siginfo_t>(words) };
    // SAFETY: takes numbers only.
    let sent = unsafe { libc::syscall(libc::SYS_tkill, pid.as_raw(), libc::SIGSYS) };
    Errno::result(sent)?;
    Ok(Some(Next::Call { ip, info }))
}

/// The signal that a thread really gets where it is about to get `signal`.
///
/// SIGSYS is to come first, since the personality would not know a call that is interrupted before
/// it began; a signal that the kernel has taken before it is exchanged for it. That of a guest which
/// waited already is lost in that of the call, as of two only one is kept.
fn exchange(next: &mut HashMap<Pid, Next>, pid: Pid, signal: i32) -> i32 {
    let is_sys = signal == Signal::SIGSYS as i32;
    let given = match next.remove(&pid) {
        Some(Next::Call { ip, info }) if ptrace::getregs(pid).is_ok_and(|now| now.rip == ip) => {
            if !is_sys && let Ok(before) = ptrace::getsiginfo(pid) {
                next.insert(pid, Next::Signal(before));
            }
            info
        }
        Some(Next::Signal(info)) if is_sys => info,
        Some(other @ Next::Signal(_)) => {
            next.insert(pid, other);
            return signal;
        }
        // Another program runs by now.
        Some(Next::Call { .. }) | None => return signal,
    };
    match ptrace::setsiginfo(pid, &given) {
        Ok(()) => given.si_signo,
        Err(_) => signal,
    }
}
