//! How many calls took how long.

use std::fmt::{Result, Write};

/// Upper bound of the first class, in nanoseconds; that of each other one is twice the one before.
const FIRST: u64 = 256;
const CLASSES: usize = 32;
/// Width of the longest bar.
const BAR: u64 = 40;

/// Counts of calls by the order of their duration.
#[derive(Default)]
pub(super) struct Latency {
    counts: [u64; CLASSES],
}

impl Latency {
    /// Counts a call.
    pub(super) fn take(&mut self, duration: u64) {
        let class = (0..CLASSES - 1).find(|&class| duration < bound(class));
        if let Some(count) = self.counts.get_mut(class.unwrap_or(CLASSES - 1)) {
            *count += 1;
        }
    }

    /// Shows all classes from the first to the last that has calls.
    pub(super) fn show(&self, to: &mut String) -> Result {
        let is_used = |count: &u64| *count != 0;
        let Some(first) = self.counts.iter().position(is_used) else {
            return Ok(());
        };
        let last = self.counts.iter().rposition(is_used).unwrap_or(first);
        let most = self.counts.iter().max().copied().unwrap_or(1);
        writeln!(to, "\nlatency:")?;
        for (class, count) in self.counts.iter().enumerate().take(last + 1).skip(first) {
            let bar = u128::from(*count) * u128::from(BAR) / u128::from(most.max(1));
            let bar = "#".repeat(
                usize::try_from(bar)
                    .unwrap_or(0)
                    .max(usize::from(*count != 0)),
            );
            let (sign, at) = if class == CLASSES - 1 {
                (">=", bound(class - 1))
            } else {
                ("< ", bound(class))
            };
            writeln!(to, "{count:9}  {sign} {:>8}  {bar}", short(at))?;
        }
        Ok(())
    }
}

const fn bound(class: usize) -> u64 {
    FIRST << class
}

/// A duration in the unit that suits it.
fn short(nanoseconds: u64) -> String {
    let units = [(1_000_000_000u64, "s"), (1_000_000, "ms"), (1000, "us")];
    let unit = units.iter().find(|(size, _)| nanoseconds >= *size);
    let Some((size, name)) = unit else {
        return format!("{nanoseconds} ns");
    };
    let tenths = u128::from(nanoseconds) * 10 / u128::from(*size);
    match tenths {
        0..100 => format!("{}.{} {name}", tenths / 10, tenths % 10),
        _ => format!("{} {name}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_powers_of_two() {
        let mut latency = Latency::default();
        let mut text = String::new();
        latency.show(&mut text).expect("written");
        assert_eq!(text, "");
        for duration in [255, 256, 300, 400, 1100] {
            latency.take(duration);
        }
        latency.show(&mut text).expect("written");
        let expected = "
latency:
        1  <    256 ns  #############
        3  <    512 ns  ########################################
        0  <    1.0 us  
        1  <    2.0 us  #############
";
        assert_eq!(text, expected);
        latency.take(u64::MAX);
        text.clear();
        latency.show(&mut text).expect("written");
        assert!(
            text.lines().last().expect("lines").contains(">=    274 s"),
            "{text}"
        );
    }
}
