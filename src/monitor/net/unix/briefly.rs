//! Calls that must not wait, even if a guest has its way.
//!
//! connect(2) of a unix socket waits for room in a backlog unless `O_NONBLOCK` is set, which lies in
//! the open file description that a guest shares with us: it may turn it off between our setting it
//! and the call, and `SO_SNDTIMEO` likewise. So a timer of the thread interrupts whatever waits all
//! the same. It strikes again and again until it is disarmed: once might be before the wait.

use nix::errno::Errno;
use nix::sys::signal::{
    SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal, sigaction,
};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use nix::unistd::gettid;
use std::cell::RefCell;
use std::sync::OnceLock;
use std::time::Duration;

/// How long a call may wait at most.
const PATIENCE: Duration = Duration::from_millis(1);
/// The signal that interrupts. Nothing else of the monitor uses it.
const INTERRUPT: Signal = Signal::SIGALRM;

extern "C" fn nothing(_: libc::c_int) {}

/// Makes the signal interrupt calls, and nothing else, once for the process.
fn handled() -> Result<(), Errno> {
    static HANDLED: OnceLock<Result<(), Errno>> = OnceLock::new();
    *HANDLED.get_or_init(|| {
        // Without SA_RESTART.
        let handler = SigHandler::Handler(nothing);
        let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing.
        unsafe { sigaction(INTERRUPT, &action) }.map(drop)
    })
}

/// A timer that interrupts the thread that makes it.
fn timer() -> Result<Timer, Errno> {
    handled()?;
    let notify = SigevNotify::SigevThreadId {
        signal: INTERRUPT,
        thread_id: gettid().as_raw(),
        si_value: 0,
    };
    Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(notify))
}

thread_local! {
    static TIMER: RefCell<Option<Timer>> = const { RefCell::new(None) };
}

/// Makes a call that ends within [`PATIENCE`].
///
/// # Errors
/// Those of the call; `EAGAIN`: it was interrupted.
pub(super) fn briefly<T>(act: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    TIMER.with_borrow_mut(|place| {
        let timer = match place {
            Some(timer) => timer,
            None => place.insert(timer()?),
        };
        let every = TimeSpec::from_duration(PATIENCE);
        let armed = Expiration::IntervalDelayed(every, every);
        timer.set(armed, TimerSetTimeFlags::empty())?;
        let result = act();
        let never = Expiration::OneShot(TimeSpec::from_duration(Duration::ZERO));
        timer.set(never, TimerSetTimeFlags::empty())?;
        match result {
            Err(Errno::EINTR) => Err(Errno::EAGAIN),
            other => other,
        }
    })
}
