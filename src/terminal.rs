//! One program of a zone, seen from the user's terminal.
//!
//! The user's own terminal never gets into a zone (a program there could type commands into it).
//! Those of descriptors 0, 1 and 2 that are terminals become the near end of a pty pair, whose far
//! end is relayed here; the others are passed as they are. With the user's terminal in raw mode
//! Ctrl-C, Ctrl-Z and Ctrl-D travel as bytes and mean in the zone what they mean anywhere.

use crate::control::{Exec, Reply, Request};
use crate::error::{Doing, Error, Result};
use crate::zone::Zone;
use crate::zone::channel::Channel;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, read, write};
use std::collections::VecDeque;
use std::io::{self, IsTerminal, stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

#[path = "terminal_unsafe.rs"]
mod window;

/// What becomes of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It ended with this status.
    Exited(u8),
    /// A signal ended it.
    Killed(i32),
    /// It could not be executed, with the errno.
    NotStarted(i32),
}

impl Ended {
    /// The exit status by which a shell would tell it.
    pub(crate) fn status(self) -> u8 {
        match self {
            Self::Exited(status) => status,
            Self::Killed(signal) => u8::try_from(signal.saturating_add(128)).unwrap_or(u8::MAX),
            Self::NotStarted(libc::ENOENT | libc::ENOTDIR) => 127,
            Self::NotStarted(_) => 126,
        }
    }
}

/// Signals that are passed on to the program instead of ending us.
const FORWARDED: [Signal; 6] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Keeps signals from ending us, from now on: they wait until a program is there to get them, and
/// what has been begun is cleaned up.
pub(crate) struct Signals {
    descriptor: SignalFd,
}

impl Signals {
    pub(crate) fn hold() -> Result<Self> {
        let mut set: SigSet = FORWARDED.into_iter().collect();
        set.add(Signal::SIGWINCH);
        set.add(Signal::SIGCONT);
        set.thread_block().doing("block", "signals")?;
        let descriptor = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .doing("open", "a descriptor of signals")?;
        Ok(Self { descriptor })
    }

    /// A signal that would end us, if one has come.
    pub(crate) fn waiting(&self) -> Option<Signal> {
        std::iter::from_fn(|| self.next()).find(ends_us)
    }

    /// Waits until something can be read from a descriptor, or for a signal that would end us.
    pub(crate) fn wait(&self, descriptor: BorrowedFd<'_>) -> io::Result<Option<Signal>> {
        loop {
            let mut wanted = [
                PollFd::new(descriptor, PollFlags::POLLIN),
                PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut wanted, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => drop(other?),
            }
            let [is_ready, has_signal] = wanted.map(|fd| fd.any() == Some(true));
            if has_signal && let Some(signal) = self.waiting() {
                return Ok(Some(signal));
            }
            if is_ready {
                return Ok(None);
            }
        }
    }

    fn next(&self) -> Option<Signal> {
        let found = self.descriptor.read_signal().ok()??;
        Signal::try_from(i32::try_from(found.ssi_signo).ok()?).ok()
    }
}

/// Whether a signal is the user's wish that we end.
fn ends_us(signal: &Signal) -> bool {
    matches!(
        signal,
        Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP | Signal::SIGQUIT
    )
}

/// The mode of the user's terminal before it became raw, for whoever ends the program.
static COOKED: Mutex<Option<Termios>> = Mutex::new(None);

/// The user's terminal in raw mode, until this is dropped.
struct Raw;

impl Raw {
    fn enter(cooked: &Termios) -> Self {
        if let Ok(mut saved) = COOKED.lock() {
            *saved = Some(cooked.clone());
        }
        let raw = Self;
        raw.again(cooked);
        raw
    }

    fn again(&self, cooked: &Termios) {
        let mut mode = cooked.clone();
        cfmakeraw(&mut mode);
        // Fails where we are an orphan in the background; the relay works in any mode.
        let _ = tcsetattr(stdin(), SetArg::TCSADRAIN, &mode);
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the user's terminal its mode back; also run when we panic.
pub(crate) fn restore() {
    if let Ok(mut saved) = COOKED.try_lock()
        && let Some(mode) = saved.take()
    {
        let _ = tcsetattr(stdin(), SetArg::TCSADRAIN, &mode);
    }
}

/// Runs a program in a running zone and stays until it has ended.
///
/// `wants_terminal` gives it a terminal even where we have none.
pub(crate) fn converse(
    zone: &Zone,
    channel: Channel,
    mut exec: Exec,
    wants_terminal: bool,
    signals: &Signals,
) -> Result<Ended> {
    let ours = [
        stdin().is_terminal(),
        stdout().is_terminal(),
        stderr().is_terminal(),
    ];
    let theirs = ours.map(|is_terminal| is_terminal || wants_terminal);
    let pty = if theirs.contains(&true) {
        Some(Pty::open(ours)?)
    } else {
        None
    };
    exec.is_tty = theirs[0];
    {
        let (input, output, errors) = (stdin(), stdout(), stderr());
        let mut descriptors = [input.as_fd(), output.as_fd(), errors.as_fd()];
        for (descriptor, is_terminal) in descriptors.iter_mut().zip(theirs) {
            if let Some(pty) = &pty
                && is_terminal
            {
                *descriptor = pty.near.as_fd();
            }
        }
        channel
            .send(&Request::Exec(exec), &descriptors)
            .doing("run a program in", format_args!("zone {}", zone.name()))?;
    }
    channel
        .wait_for_ever()
        .doing("wait for", format_args!("zone {}", zone.name()))?;
    let mut relay = Relay {
        channel,
        signals,
        raw: None,
        // The near end is closed here, so that the far end ends with the zone's programs.
        pty: pty.map(|pty| Far {
            end: pty.far,
            cooked: pty.cooked,
            input: VecDeque::new(),
            is_open: true,
        }),
        ours,
        reads_input: theirs[0],
        is_started: false,
        waiting: Vec::new(),
    };
    if let Some(Far {
        cooked: Some(cooked),
        ..
    }) = &relay.pty
        && ours[0]
    {
        relay.raw = Some(Raw::enter(cooked));
    }
    relay.run(zone)
}

/// A new pty pair.
struct Pty {
    near: OwnedFd,
    far: OwnedFd,
    /// Mode of the user's terminal, where there is one.
    cooked: Option<Termios>,
}

impl Pty {
    fn open(ours: [bool; 3]) -> Result<Self> {
        let cooked = terminal_of(ours, |terminal| tcgetattr(terminal).ok());
        let size =
            terminal_of(ours, |terminal| window::window_size(terminal).ok()).unwrap_or(Winsize {
                ws_row: 24,
                ws_col: 80,
                ws_xpixel: 0,
                ws_ypixel: 0,
            });
        let OpenptyResult { master, slave } = openpty(&size, &cooked).map_err(|errno| {
            Error::refused(
                "open",
                "a terminal for the zone",
                errno,
                "mount devpts, or redirect input and output (`</dev/null | cat`)",
            )
        })?;
        if !ours[0]
            && let Ok(mut mode) = tcgetattr(&slave)
        {
            // Our terminal is not raw then and adds the carriage returns itself.
            mode.output_flags.remove(OutputFlags::OPOST);
            if ours.contains(&true) {
                let _ = tcsetattr(&slave, SetArg::TCSANOW, &mode);
            }
        }
        let set_flag = |descriptor: &OwnedFd| -> nix::Result<()> {
            fcntl(
                descriptor,
                FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
            )
            .map(drop)
        };
        set_flag(&master)
            .and_then(|()| set_flag(&slave))
            .doing("set up", "a terminal for the zone")?;
        fcntl(
            &master,
            FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK),
        )
        .doing("set up", "a terminal for the zone")?;
        Ok(Self {
            near: slave,
            far: master,
            cooked,
        })
    }
}

/// Asks the first of our descriptors that is a terminal: output before input, since it is shown there.
fn terminal_of<T>(ours: [bool; 3], ask: impl Fn(BorrowedFd<'_>) -> Option<T>) -> Option<T> {
    if ours[0] {
        ask(stdin().as_fd())
    } else if ours[1] {
        ask(stdout().as_fd())
    } else if ours[2] {
        ask(stderr().as_fd())
    } else {
        None
    }
}

/// The far end of the pty.
struct Far {
    end: OwnedFd,
    cooked: Option<Termios>,
    /// What the user typed and the pty has not taken yet.
    input: VecDeque<u8>,
    is_open: bool,
}

struct Relay<'a> {
    channel: Channel,
    signals: &'a Signals,
    pty: Option<Far>,
    raw: Option<Raw>,
    ours: [bool; 3],
    reads_input: bool,
    is_started: bool,
    /// Signals that came before there was a program to get them.
    waiting: Vec<Signal>,
}

/// Input that is read ahead of what the pty takes, in bytes.
const AHEAD: usize = 4096;
/// Ctrl-D, the end of input in a terminal's usual mode.
const END_OF_INPUT: u8 = 4;

impl Relay<'_> {
    fn run(&mut self, zone: &Zone) -> Result<Ended> {
        loop {
            let ready = self
                .wait()
                .doing("wait for", format_args!("zone {}", zone.name()))?;
            if ready.signals {
                while let Some(signal) = self.signals.next() {
                    self.signal(signal);
                }
            }
            if ready.input {
                self.take_input();
            }
            self.push_input();
            if ready.output {
                self.show_output();
            }
            if ready.control
                && let Some(ended) = self.hear(zone)?
            {
                // What the program wrote last is in the pty still.
                while self.show_output() {}
                return Ok(ended);
            }
        }
    }

    fn wait(&self) -> nix::Result<Ready> {
        let input = stdin();
        let mut descriptors = vec![
            PollFd::new(self.channel.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.descriptor.as_fd(), PollFlags::POLLIN),
        ];
        let mut input_at = None;
        if let Some(far) = &self.pty {
            let mut flags = PollFlags::empty();
            if far.is_open {
                flags |= PollFlags::POLLIN;
            }
            if !far.input.is_empty() {
                flags |= PollFlags::POLLOUT;
            }
            // A closed pty reports POLLHUP whatever is asked for.
            if !flags.is_empty() {
                descriptors.push(PollFd::new(far.end.as_fd(), flags));
            }
            if self.reads_input && far.input.len() < AHEAD {
                input_at = Some(descriptors.len());
                descriptors.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
            }
        }
        match poll(&mut descriptors, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        let is_ready = |at: usize| {
            descriptors
                .get(at)
                .is_some_and(|descriptor| descriptor.any().unwrap_or(true))
        };
        Ok(Ready {
            control: is_ready(0),
            signals: is_ready(1),
            output: self.pty.as_ref().is_some_and(|far| far.is_open) && is_ready(2),
            input: input_at.is_some_and(is_ready),
        })
    }

    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::SIGWINCH | Signal::SIGCONT => {
                if let Some(far) = &self.pty {
                    if let Some(size) =
                        terminal_of(self.ours, |terminal| window::window_size(terminal).ok())
                    {
                        // The kernel tells the zone's foreground group.
                        let _ = window::resize(far.end.as_fd(), &size);
                    }
                    if let (Signal::SIGCONT, Some(raw), Some(cooked)) =
                        (signal, &self.raw, &far.cooked)
                    {
                        raw.again(cooked);
                    }
                }
            }
            signal if self.is_started => {
                // A zone that is gone is noticed at the next receive.
                let _ = self.channel.send(
                    &Request::Signal {
                        signal: signal as i32,
                    },
                    &[],
                );
            }
            signal => self.waiting.push(signal),
        }
    }

    fn take_input(&mut self) {
        let Some(far) = &mut self.pty else { return };
        let mut bytes = [0; AHEAD];
        match read(stdin(), &mut bytes) {
            Ok(0) => {
                self.reads_input = false;
                if !self.ours[0] {
                    far.input.push_back(END_OF_INPUT);
                }
            }
            Ok(length) => far.input.extend(&bytes[..length]),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(_) => self.reads_input = false,
        }
    }

    fn push_input(&mut self) {
        let Some(far) = &mut self.pty else { return };
        while !far.input.is_empty() {
            let (bytes, _) = far.input.as_slices();
            match write(&far.end, bytes) {
                Ok(length) => drop(far.input.drain(..length)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                // Nobody reads any more.
                Err(_) => far.input.clear(),
            }
        }
    }

    /// Shows what the zone's programs wrote; says whether there may be more.
    fn show_output(&mut self) -> bool {
        let Some(far) = &mut self.pty else {
            return false;
        };
        let mut bytes = [0; 16384];
        let length = match read(&far.end, &mut bytes) {
            Ok(0) => 0,
            Ok(length) => length,
            Err(Errno::EINTR) => return true,
            Err(Errno::EAGAIN) => return false,
            // EIO: the last program has closed the near end.
            Err(_) => 0,
        };
        if length == 0 {
            far.is_open = false;
            return false;
        }
        // Where we have no terminal at all (a forced one), standard output it is.
        let is_output = self.ours[1] || !(self.ours[2] || self.ours[0]);
        let mut rest = &bytes[..length];
        while !rest.is_empty() {
            let written = if is_output {
                write(stdout(), rest)
            } else if self.ours[2] {
                write(stderr(), rest)
            } else {
                write(stdin(), rest)
            };
            match written {
                Ok(length) => rest = &rest[length..],
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    // Somebody else made our terminal non-blocking.
                    let output = stdout();
                    let mut one = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
                    let _ = poll(&mut one, PollTimeout::from(100u16));
                }
                // The terminal is gone; its SIGHUP goes to the program.
                Err(_) => break,
            }
        }
        true
    }

    /// Takes one message of the monitor.
    fn hear(&mut self, zone: &Zone) -> Result<Option<Ended>> {
        let object = format_args!("zone {}", zone.name());
        match self.channel.receive::<Reply>() {
            Ok(Some((Reply::Started { .. }, _))) => {
                self.is_started = true;
                for signal in std::mem::take(&mut self.waiting) {
                    self.signal(signal);
                }
                Ok(None)
            }
            Ok(Some((Reply::Exited { wait_status }, _))) => Ok(Some(ended(wait_status))),
            Ok(Some((Reply::NotStarted { errno, message }, _))) => {
                self.raw = None;
                tell(&format!("zone: {message}"));
                Ok(Some(Ended::NotStarted(errno)))
            }
            // A signal to a program that has just ended is refused: its end is on the way.
            Ok(Some((Reply::Error { .. }, _))) if self.is_started => Ok(None),
            Ok(Some((Reply::Error { message }, _))) => Err(Error::Monitor(message)),
            Ok(Some(_)) => Ok(None),
            Ok(None) => Err(zone.ended("stay in")),
            Err(error) => Err(error).doing("hear from", object),
        }
    }
}

/// What `poll` found.
struct Ready {
    control: bool,
    signals: bool,
    output: bool,
    input: bool,
}

/// Writes a line to standard error, which may be gone.
pub(crate) fn tell(line: &str) {
    use io::Write;
    let _ = writeln!(stderr(), "{line}");
}

/// What a status of wait(2) says.
pub(crate) fn ended(wait_status: i32) -> Ended {
    // The pid is of no interest here.
    match WaitStatus::from_raw(Pid::from_raw(1), wait_status) {
        Ok(WaitStatus::Exited(_, status)) => {
            Ended::Exited(u8::try_from(status & 0xff).unwrap_or(u8::MAX))
        }
        Ok(WaitStatus::Signaled(_, signal, _)) => Ended::Killed(signal as i32),
        // A realtime signal, which nix does not name.
        _ => Ended::Killed(wait_status & 0x7f),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_those_of_shells() {
        assert_eq!(ended(0).status(), 0);
        assert_eq!(ended(3 << 8).status(), 3);
        assert_eq!(ended(libc::SIGKILL).status(), 137);
        assert_eq!(ended(libc::SIGSEGV | 0x80).status(), 139);
        assert_eq!(ended(40).status(), 168);
        assert_eq!(Ended::NotStarted(libc::ENOENT).status(), 127);
        assert_eq!(Ended::NotStarted(libc::EACCES).status(), 126);
    }
}
