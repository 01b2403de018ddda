//! The processor's clock, by which guests date their records, in terms of the system's.
//!
//! Both count evenly; how fast the one runs by the other shows the better the longer both were
//! watched.

use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// As long as both were not watched for that long, what is told would be wrong by too much.
const SHORTEST: Duration = Duration::from_millis(10);

/// Since when both are watched.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    ticks: u64,
    monotonic: Instant,
    /// Nanoseconds since 1970 then.
    wall: u64,
}

/// How to translate, as far as is known now.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    ticks: u64,
    wall: u64,
    nanoseconds_per_tick: f64,
    now: u64,
}

/// The processor's clock now.
#[must_use]
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has it; who may not read it would not get here.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Ticks that surely pass within so many nanoseconds. Looks at both clocks for a while.
#[must_use]
pub fn ticks_within(nanoseconds: u64) -> u64 {
    if nanoseconds == 0 {
        return 0;
    }
    let rate = Clock::start().rate();
    // Who is interrupted while it looks takes the clock for faster than it is, by far less than that.
    rate.now() - rate.before_now(Duration::from_nanos(nanoseconds / 2))
}

impl Clock {
    /// Begins to watch.
    #[must_use]
    pub fn start() -> Self {
        let since_1970 = clock_gettime(ClockId::CLOCK_REALTIME).map_or(Duration::ZERO, Into::into);
        Self {
            ticks: ticks(),
            monotonic: Instant::now(),
            wall: u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// Nanoseconds since 1970 when it was started.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.wall
    }

    /// How to translate what was told until now. Waits until that is known well enough.
    #[must_use]
    pub fn rate(&self) -> Rate {
        if let Some(rest) = SHORTEST.checked_sub(self.monotonic.elapsed()) {
            std::thread::sleep(rest);
        }
        let now = ticks();
        let elapsed = self.monotonic.elapsed();
        #[expect(
            clippy::cast_precision_loss,
            reason = "53 bits are a hundred days of nanoseconds"
        )]
        let rate = elapsed.as_nanos() as f64 / now.wrapping_sub(self.ticks).max(1) as f64;
        Rate {
            ticks: self.ticks,
            wall: self.wall,
            nanoseconds_per_tick: rate,
            now,
        }
    }
}

impl Rate {
    /// The time of the rate itself.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The time so long before the rate's own.
    #[must_use]
    pub fn before_now(&self, duration: Duration) -> u64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it lies far below 2^53, and the cast keeps to what there is"
        )]
        let ticks = (duration.as_nanos() as f64 / self.nanoseconds_per_tick) as u64;
        self.now.saturating_sub(ticks)
    }

    fn nanoseconds(&self, ticks: u64) -> u64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "53 bits are a hundred days of nanoseconds, and the cast keeps to what there is"
        )]
        let nanoseconds = (ticks as f64 * self.nanoseconds_per_tick) as u64;
        nanoseconds
    }

    /// Start in nanoseconds since 1970 and duration of what a guest has dated, which may be anything: it
    /// lies between the start of the trace and now.
    #[must_use]
    pub fn translate(&self, begin: u64, end: u64) -> (u64, u64) {
        let begin = begin.clamp(self.ticks, self.now);
        let end = end.clamp(begin, self.now);
        let since = self.nanoseconds(begin - self.ticks);
        (
            self.wall.saturating_add(since),
            self.nanoseconds(end - begin),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_the_systems_and_never_out_of_the_trace() {
        let clock = Clock::start();
        let began = ticks();
        std::thread::sleep(Duration::from_millis(5));
        let ended = ticks();
        let rate = clock.rate();
        let (time, duration) = rate.translate(began, ended);
        assert!(time >= clock.started() && time < clock.started() + 1_000_000_000);
        assert!(duration >= 4_900_000, "{duration}");
        for (begin, end) in [(0, 0), (u64::MAX, 0), (0, u64::MAX), (ended, began)] {
            let (time, duration) = rate.translate(begin, end);
            assert!(time >= clock.started());
            assert!(time + duration <= clock.started() + 60_000_000_000);
        }
        assert_eq!(rate.translate(ended, began).1, 0);
    }
}
