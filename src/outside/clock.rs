//! Times of one trace: they never go back, whatever becomes of the host's clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Began with a trace.
pub(super) struct Clock {
    began: u64,
    since: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        let began = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            began: nanoseconds(began.unwrap_or_default()),
            since: Instant::now(),
        }
    }

    /// When that was, in nanoseconds since 1970.
    pub(super) fn began(&self) -> u64 {
        self.began
    }

    /// Nanoseconds since 1970.
    pub(super) fn now(&self) -> u64 {
        self.began.saturating_add(nanoseconds(self.since.elapsed()))
    }
}

fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
