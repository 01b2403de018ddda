//! Names that calls were about, by the time that those took.

use super::Counts;
use crate::trace::show;
use std::collections::HashMap;
use std::fmt::{Result, Write};

/// How many are shown.
const SHOWN: usize = 10;
/// Most names that are kept apart; those that come later are counted together.
const NAMES_MAX: usize = 100_000;

/// Counts by name.
#[derive(Default)]
pub(super) struct Top {
    by_name: HashMap<String, Counts>,
    others: Counts,
}

impl Top {
    /// Counts a call about a name.
    pub(super) fn take(&mut self, name: &str, duration: u64, has_failed: bool) {
        let is_full = self.by_name.len() >= NAMES_MAX;
        let counts = match self.by_name.get_mut(name) {
            Some(counts) => counts,
            None if is_full => &mut self.others,
            None => self.by_name.entry(name.to_owned()).or_default(),
        };
        counts.add(duration, has_failed);
    }

    /// Shows the first of them.
    pub(super) fn show(&self, title: &str, to: &mut String) -> Result {
        if self.by_name.is_empty() {
            return Ok(());
        }
        writeln!(to, "\n{title}:")?;
        writeln!(to, "    seconds     calls    errors  name")?;
        let mut all: Vec<_> = self.by_name.iter().collect();
        all.sort_by_key(|(name, counts)| (std::cmp::Reverse(counts.time), *name));
        for (name, counts) in all.iter().take(SHOWN) {
            row(counts, name, to)?;
        }
        let mut rest = self.others;
        for (_, counts) in all.iter().skip(SHOWN) {
            rest.join(counts);
        }
        let more = all.len().saturating_sub(SHOWN);
        match (more, self.others.calls) {
            (0, 0) => Ok(()),
            (more, 0) => row(&rest, &format!("{more} others"), to),
            (more, _) => row(&rest, &format!("more than {more} others"), to),
        }
    }
}

fn row(counts: &Counts, name: &str, to: &mut String) -> Result {
    let errors = super::or_nothing(counts.errors);
    writeln!(
        to,
        "{:>11} {:9} {errors:>9}  {name}",
        show::seconds(counts.time),
        counts.calls,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_longest_comes_first() {
        let mut top = Top::default();
        let mut text = String::new();
        top.show("files", &mut text).expect("written");
        assert_eq!(text, "");
        for i in 0..12 {
            for _ in 0..=i {
                top.take(&format!("/f{i:02}"), 1_000_000, i == 11);
            }
        }
        top.show("files", &mut text).expect("written");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "files:");
        assert_eq!(lines[3], "   0.012000        12        12  /f11");
        assert_eq!(lines[4], "   0.011000        11            /f10");
        assert_eq!(lines[13], "   0.003000         3            2 others");
        assert_eq!(lines.len(), 14);
    }
}
