//! How often what is measured is measured again.

use std::time::{Duration, Instant};

/// How many times more than the least a row is measured, at most.
const TIMES: usize = 5;

/// Turns of a row, in each of which every side is measured once.
#[derive(Clone, Copy)]
pub(crate) struct Rounds {
    /// So many in any case.
    pub(crate) least: usize,
    /// For so long a row goes on beyond these: the median of what takes no time should not be one of few.
    pub(crate) span: Duration,
}

impl Rounds {
    /// The turns of one row, from now on.
    pub(crate) fn turns(self) -> impl Iterator<Item = usize> {
        let start = Instant::now();
        (0..self.least * TIMES)
            .take_while(move |turn| *turn < self.least || start.elapsed() < self.span)
    }
}

#[cfg(test)]
mod tests {
    use super::Rounds;
    use std::time::Duration;

    #[test]
    fn what_takes_no_time_has_more_turns() {
        let turns = |seconds| {
            let span = Duration::from_secs(seconds);
            Rounds { least: 3, span }.turns().count()
        };
        assert_eq!((turns(0), turns(3600)), (3, 15));
    }
}
