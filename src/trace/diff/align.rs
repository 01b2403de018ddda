//! Where two lists differ: E. W. Myers, "An O(ND) difference algorithm and its variations" (1986).

use std::ops::Range;

/// Most differences that are looked for; of lists that differ more, all behind what they share at the
/// start counts as one difference. Bounds time and memory.
const MOST: usize = 2000;

/// Where two lists differ: a part of the first, and what stands for it in the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hunk {
    /// In the first list.
    pub(super) good: Range<usize>,
    /// In the second.
    pub(super) bad: Range<usize>,
}

/// All differences, in their order.
pub(super) fn hunks(good: &[u32], bad: &[u32]) -> Vec<Hunk> {
    let same = |(a, b): &(&u32, &u32)| a == b;
    let before = good.iter().zip(bad).take_while(same).count();
    let (a, b) = (&good[before..], &bad[before..]);
    let after = a.iter().rev().zip(b.iter().rev()).take_while(same).count();
    let (a, b) = (&a[..a.len() - after], &b[..b.len() - after]);
    if a.is_empty() && b.is_empty() {
        return Vec::new();
    }
    let Some(ways) = ways(a, b) else {
        return vec![Hunk {
            good: before..before + a.len(),
            bad: before..before + b.len(),
        }];
    };
    let mut hunks: Vec<Hunk> = Vec::new();
    for (x, y, is_of_bad) in steps(&ways, a.len(), b.len()) {
        let (x, y) = (before + x, before + y);
        let step = if is_of_bad {
            (x..x, y..y + 1)
        } else {
            (x..x + 1, y..y)
        };
        match hunks.last_mut() {
            Some(last) if last.good.end == x && last.bad.end == y => {
                (last.good.end, last.bad.end) = (step.0.end, step.1.end);
            }
            _ => hunks.push(Hunk {
                good: step.0,
                bad: step.1,
            }),
        }
    }
    hunks
}

/// How far each diagonal is reached by 0, 1, 2... differences; the last ones reach the end. A diagonal
/// `k` (first less second) of `d` differences stands at `k + d`.
fn ways(a: &[u32], b: &[u32]) -> Option<Vec<Vec<usize>>> {
    let mut all: Vec<Vec<usize>> = Vec::new();
    for d in 0..=(a.len() + b.len()).min(MOST) {
        let mut now = vec![0; 2 * d + 1];
        for at in (0..=2 * d).step_by(2) {
            let mut x = match all.last() {
                None => 0,
                Some(last) => start(last, d, at).0,
            };
            // A place beyond the end of a list is none.
            let Some(mut y) = (x + d).checked_sub(at) else {
                continue;
            };
            while x < a.len() && y < b.len() && a[x] == b[y] {
                (x, y) = (x + 1, y + 1);
            }
            now[at] = x;
            if x >= a.len() && y >= b.len() {
                all.push(now);
                return Some(all);
            }
        }
        all.push(now);
    }
    None
}

/// Where the `d`th difference leads on a diagonal, and whether it is one of the second list.
fn start(last: &[usize], d: usize, at: usize) -> (usize, bool) {
    // Diagonal `at - d` is reached from `at - d - 1` (by one more of the first list) and `at - d + 1`;
    // in the last round these stood one place lower.
    let from_lower = at.checked_sub(2).and_then(|i| last.get(i)).map(|x| x + 1);
    let from_upper = last.get(at).copied();
    debug_assert!(d > 0, "without a difference nothing is left");
    match (from_lower, from_upper) {
        (Some(lower), Some(upper)) if lower > upper => (lower, false),
        (_, Some(upper)) => (upper, true),
        (Some(lower), None) => (lower, false),
        (None, None) => (0, true),
    }
}

/// The differences of the way that was found, each with its place in both lists, and whether the second
/// list has it.
fn steps(ways: &[Vec<usize>], x: usize, y: usize) -> Vec<(usize, usize, bool)> {
    let (mut x, mut y) = (x, y);
    let mut steps = Vec::new();
    for d in (1..ways.len()).rev() {
        let at = x + d - y;
        let (to, is_of_bad) = start(&ways[d - 1], d, at);
        // Back along what is the same, then over the difference.
        y = to + d - at;
        x = to;
        if is_of_bad {
            y -= 1;
        } else {
            x -= 1;
        }
        steps.push((x, y, is_of_bad));
    }
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn differences_are_found() {
        let hunk = |good, bad| Hunk { good, bad };
        assert_eq!(hunks(&[1, 2, 3], &[1, 2, 3]), []);
        assert_eq!(hunks(&[1, 2, 3], &[1, 3]), [hunk(1..2, 1..1)]);
        assert_eq!(hunks(&[1, 3], &[1, 2, 3]), [hunk(1..1, 1..2)]);
        assert_eq!(hunks(&[1, 2, 3], &[1, 4, 3]), [hunk(1..2, 1..2)]);
        assert_eq!(hunks(&[], &[1]), [hunk(0..0, 0..1)]);
        assert_eq!(
            hunks(&[0, 1, 2, 3, 4, 5, 6], &[0, 2, 3, 4, 7, 8, 6]),
            [hunk(1..2, 1..1), hunk(5..6, 4..6)]
        );
    }

    #[test]
    fn lists_that_differ_too_much_have_one_difference() {
        let good: Vec<u32> = (0..5000).collect();
        let mut bad: Vec<u32> = (10_000..15_000).collect();
        bad[0] = 0;
        let whole = Hunk {
            good: 1..5000,
            bad: 1..5000,
        };
        assert_eq!(hunks(&good, &bad), [whole]);
    }

    /// Length of the longest list that both have in them.
    fn common(a: &[u32], b: &[u32]) -> usize {
        let mut row = vec![0; b.len() + 1];
        for x in a {
            let mut before = 0;
            for (i, y) in b.iter().enumerate() {
                let longest = if x == y {
                    before + 1
                } else {
                    row[i].max(row[i + 1])
                };
                before = std::mem::replace(&mut row[i + 1], longest);
            }
        }
        row[b.len()]
    }

    proptest! {
        #[test]
        fn what_is_between_is_the_same_and_as_much_as_can_be(
            a in proptest::collection::vec(0..4u32, 0..30),
            b in proptest::collection::vec(0..4u32, 0..30),
        ) {
            let found = hunks(&a, &b);
            let (mut x, mut y, mut same) = (0, 0, 0);
            for hunk in found.iter().chain([&Hunk {
                good: a.len()..a.len(),
                bad: b.len()..b.len(),
            }]) {
                prop_assert_eq!(&a[x..hunk.good.start], &b[y..hunk.bad.start]);
                same += hunk.good.start - x;
                (x, y) = (hunk.good.end, hunk.bad.end);
            }
            prop_assert_eq!(same, common(&a, &b));
        }
    }
}
