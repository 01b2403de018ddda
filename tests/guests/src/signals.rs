//! Signal handlers of guests, and a timer that raises signals until one is seen.

use crate::{Errno, Result, call, libc_result};
use std::mem::{MaybeUninit, zeroed};
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering::SeqCst};
use std::time::Instant;

/// How often [`count`] ran.
pub static HITS: AtomicI32 = AtomicI32::new(0);
/// `si_pid` of the last signal that [`note`] got.
pub static SENDER: AtomicI32 = AtomicI32::new(0);
/// `si_code` of the last signal that [`note`] got.
pub static CODE: AtomicI32 = AtomicI32::new(0);
/// `si_addr` of the last fault that [`note`] got.
pub static ADDRESS: AtomicPtr<libc::c_void> = AtomicPtr::new(null_mut());

/// A plain handler that makes calls which a zone translates.
pub extern "C" fn count(_: i32) {
    let errno = Errno::last();
    HITS.fetch_add(1, SeqCst);
    let _ = call(libc::SYS_getpid, &[]);
    let _ = call(libc::SYS_getppid, &[]);
    errno.set();
}

/// A handler with information.
#[expect(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "the kernel calls it, with what it made itself"
)]
pub extern "C" fn note(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives the handler an information block.
    let info = unsafe { &*info };
    CODE.store(info.si_code, SeqCst);
    // SAFETY: which member is meant is up to who sent the signal; the tests look at the right one.
    SENDER.store(unsafe { info.si_pid() }, SeqCst);
    // SAFETY: as above.
    ADDRESS.store(unsafe { info.si_addr() }, SeqCst);
    HITS.fetch_add(1, SeqCst);
    let _ = call(libc::SYS_getpid, &[]);
}

/// What to do at a signal.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    /// `SIG_DFL`.
    Default,
    /// `SIG_IGN`.
    Ignore,
    /// A handler.
    Plain(extern "C" fn(i32)),
    /// A handler with `SA_SIGINFO`.
    Info(extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void)),
}

/// sigaction(2) with an empty mask.
///
/// # Errors
/// As of sigaction(2).
pub fn handle(signal: i32, act: Act, flags: i32) -> Result<()> {
    handle_masked(signal, act, flags, &none())
}

/// sigaction(2).
///
/// # Errors
/// As of sigaction(2).
pub fn handle_masked(signal: i32, act: Act, flags: i32, mask: &libc::sigset_t) -> Result<()> {
    // SAFETY: zeros are a valid sigaction.
    let mut action: libc::sigaction = unsafe { zeroed() };
    action.sa_flags = flags;
    action.sa_mask = *mask;
    action.sa_sigaction = match act {
        Act::Default => libc::SIG_DFL,
        Act::Ignore => libc::SIG_IGN,
        Act::Plain(handler) => handler as *const () as usize,
        Act::Info(handler) => {
            action.sa_flags |= libc::SA_SIGINFO;
            handler as *const () as usize
        }
    };
    // SAFETY: the handlers have the types that their flags promise.
    libc_result(unsafe { libc::sigaction(signal, &raw const action, null_mut()) }).map(drop)
}

/// The handler's address and flags, as sigaction(2) reads them back.
///
/// # Errors
/// As of sigaction(2).
pub fn handler_of(signal: i32) -> Result<(usize, i32)> {
    // SAFETY: zeros are a valid sigaction.
    let mut action: libc::sigaction = unsafe { zeroed() };
    // SAFETY: `action` lives until the call returns.
    libc_result(unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) })?;
    // The library's own flag is not ours to compare.
    Ok((action.sa_sigaction, action.sa_flags & !0x0400_0000))
}

/// No signals.
#[must_use]
pub fn none() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the function fills the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: filled above.
    unsafe { set.assume_init() }
}

/// All signals.
#[must_use]
pub fn all() -> libc::sigset_t {
    let mut set = none();
    // SAFETY: the function fills the set.
    unsafe { libc::sigfillset(&raw mut set) };
    set
}

/// These signals.
#[must_use]
pub fn only(signals: &[i32]) -> libc::sigset_t {
    let mut set = none();
    for &signal in signals {
        // SAFETY: the set is valid.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

/// All signals but these.
#[must_use]
pub fn all_but(signals: &[i32]) -> libc::sigset_t {
    let mut set = all();
    for &signal in signals {
        // SAFETY: the set is valid.
        unsafe { libc::sigdelset(&raw mut set, signal) };
    }
    set
}

/// The numbers in a set.
#[must_use]
pub fn list(set: &libc::sigset_t) -> Vec<i32> {
    (1..=64)
        // SAFETY: the set is valid.
        .filter(|&signal| unsafe { libc::sigismember(set, signal) } == 1)
        .collect()
}

/// sigprocmask(2); returns the mask before.
///
/// # Errors
/// As of sigprocmask(2).
pub fn mask(how: i32, set: &libc::sigset_t) -> Result<libc::sigset_t> {
    let mut before = none();
    // SAFETY: both sets live until the call returns.
    libc_result(unsafe { libc::sigprocmask(how, set, &raw mut before) })?;
    Ok(before)
}

/// Signals that wait.
#[must_use]
pub fn pending() -> Vec<i32> {
    let mut set = none();
    // SAFETY: the set lives until the call returns.
    unsafe { libc::sigpending(&raw mut set) };
    list(&set)
}

/// Raises `SIGALRM` at an interval until dropped.
///
/// Repeated, so that one that arrives before a call blocks is followed by one that interrupts it.
#[derive(Debug)]
pub struct Alarms(());

impl Alarms {
    /// Starts them, every few milliseconds.
    #[must_use]
    pub fn start() -> Self {
        Self::every(3000)
    }
    /// Starts them, with that many microseconds between two, or as many more as leave the program time: where
    /// a timer's interrupt is the hypervisor's, a signal may take half of the shortest interval.
    #[must_use]
    pub fn every(interval_us: i64) -> Self {
        let interval_us = if interval_us < 1000 {
            interval_us.max(5 * cost_us())
        } else {
            interval_us
        };
        set_timer(interval_us, interval_us);
        Self(())
    }
}

/// What a timer's signal takes, from its time to the end of a handler that makes calls, in microseconds.
fn cost_us() -> i64 {
    const ROUNDS: usize = 9;
    static COST: OnceLock<i64> = OnceLock::new();
    *COST.get_or_init(|| {
        // SAFETY: zeros are a valid sigaction.
        let mut before: libc::sigaction = unsafe { zeroed() };
        // SAFETY: `before` lives until the call returns.
        unsafe { libc::sigaction(libc::SIGALRM, null_mut(), &raw mut before) };
        let hits = HITS.load(SeqCst);
        handle(libc::SIGALRM, Act::Plain(count), 0).expect("a handler");
        let before_mask = mask(libc::SIG_UNBLOCK, &only(&[libc::SIGALRM])).expect("a mask");
        let mut times = [0; ROUNDS];
        for time in &mut times {
            let (seen, start) = (HITS.load(SeqCst), Instant::now());
            set_timer(1, 0);
            while HITS.load(SeqCst) == seen {
                std::hint::spin_loop();
            }
            *time = i64::try_from(start.elapsed().as_micros()).unwrap_or(i64::MAX);
        }
        mask(libc::SIG_SETMASK, &before_mask).expect("a mask");
        HITS.store(hits, SeqCst);
        // SAFETY: it was the action.
        unsafe { libc::sigaction(libc::SIGALRM, &raw const before, null_mut()) };
        times.sort_unstable();
        times[ROUNDS / 2]
    })
}

impl Drop for Alarms {
    fn drop(&mut self) {
        set_timer(0, 0);
    }
}

/// The real timer: when it ends first, and then again, in microseconds.
fn set_timer(first: i64, interval: i64) {
    let time = |tv_usec| libc::timeval { tv_sec: 0, tv_usec };
    let timer = libc::itimerval {
        it_interval: time(interval),
        it_value: time(first),
    };
    // SAFETY: `timer` lives until the call returns.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, null_mut()) };
}
