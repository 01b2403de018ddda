//! How two traces differ, in words.

use super::{Hunk, Options, Pair, Side};
use crate::trace::show;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::ops::Range;

/// Most calls of one side that are shown of a difference.
const SHOWN: usize = 10;
/// Most rows of a table.
const ROWS: usize = 20;

/// Places in what threads did: the thread, and the how manieth of its calls.
type Places = BTreeMap<(usize, usize), ()>;
type Texts = HashMap<(usize, usize), String>;

/// The differences that are shown.
pub(super) struct Shown {
    /// Pairs and their differences, by time.
    chosen: Vec<(usize, usize)>,
    context: usize,
    /// What is needed of each side for that.
    pub(super) wanted: [Places; 2],
}

/// Chooses what is shown.
pub(super) fn choose(pairs: &[Pair], sides: [&Side; 2], options: &Options) -> Shown {
    let all = pairs.iter().enumerate();
    let mut chosen: Vec<(usize, usize)> = all
        .flat_map(|(number, pair)| (0..pair.hunks.len()).map(move |hunk| (number, hunk)))
        .collect();
    chosen.sort_by_key(|&(pair, hunk)| since(&pairs[pair], &pairs[pair].hunks[hunk], sides));
    if !options.has_all {
        chosen.truncate(1);
    }
    let mut wanted = [Places::new(), Places::new()];
    for &(pair, hunk) in &chosen {
        let (pair, hunk) = (&pairs[pair], &pairs[pair].hunks[hunk]);
        let (before, after) = around(hunk, options.context, sides[0].of(pair.good).len());
        for (side, thread, ranges) in [
            (0, pair.good, [before, cut(&hunk.good), after]),
            (1, pair.bad, [0..0, cut(&hunk.bad), 0..0]),
        ] {
            if let Some(thread) = thread {
                let places = ranges.into_iter().flatten();
                wanted[side].extend(places.map(|at| ((thread, at), ())));
            }
        }
    }
    Shown {
        chosen,
        context: options.context,
        wanted,
    }
}

/// When the threads parted, in nanoseconds since the start of the trace that has a call there.
fn since(pair: &Pair, hunk: &Hunk, [good, bad]: [&Side; 2]) -> u64 {
    let at = |side: &Side, thread, at: usize| {
        let done = side.of(thread).get(at)?;
        Some(done.time.saturating_sub(side.start.time))
    };
    let first = at(good, pair.good, hunk.good.start).filter(|_| !hunk.good.is_empty());
    first
        .or_else(|| at(bad, pair.bad, hunk.bad.start))
        .unwrap_or(0)
}

fn cut(range: &Range<usize>) -> Range<usize> {
    range.start..range.end.min(range.start + SHOWN)
}

/// Of the first trace, what stands around a difference.
fn around(hunk: &Hunk, context: usize, length: usize) -> (Range<usize>, Range<usize>) {
    let before = hunk.good.start.saturating_sub(context)..hunk.good.start;
    let after = hunk.good.end..length.min(hunk.good.end.saturating_add(context));
    (before, after)
}

/// All of it.
pub(super) fn text(pairs: &[Pair], sides: [&Side; 2], shown: &Shown, texts: &[Texts; 2]) -> String {
    let mut text = String::new();
    for (i, &(pair, hunk)) in shown.chosen.iter().enumerate() {
        let pair = &pairs[pair];
        let title = if i == 0 {
            "first difference"
        } else {
            "difference"
        };
        difference(
            title,
            (pair, &pair.hunks[hunk]),
            sides,
            (shown.context, texts),
            &mut text,
        );
        text.push('\n');
    }
    if !shown.chosen.is_empty() {
        threads(pairs, sides, &mut text);
        counts(sides, &mut text);
    }
    text
}

fn label(pair: &Pair, [good, bad]: [&Side; 2]) -> String {
    let of = |side: &Side, thread: Option<usize>| {
        let thread = side.threads.all.get(thread?)?;
        Some((thread.label.clone(), thread.key.0))
    };
    match (of(good, pair.good), of(bad, pair.bad)) {
        (Some((label, a)), Some((_, b))) => {
            format!("{} ({a} and {b})", show::visible(label.as_bytes()))
        }
        (Some((label, a)), None) => format!(
            "{} ({a}, in the first only)",
            show::visible(label.as_bytes())
        ),
        (None, Some((label, b))) => format!(
            "{} ({b}, in the second only)",
            show::visible(label.as_bytes())
        ),
        (None, None) => String::new(),
    }
}

fn difference(
    title: &str,
    (pair, hunk): (&Pair, &Hunk),
    sides: [&Side; 2],
    (context, texts): (usize, &[Texts; 2]),
    to: &mut String,
) {
    // A write to a String cannot fail.
    let mut put = |line: std::fmt::Arguments<'_>| {
        let _ = writeln!(to, "{line}");
    };
    put(format_args!(
        "{title}: {}, behind {} of its calls, {} s after the start",
        label(pair, sides),
        hunk.good.start,
        show::seconds(since(pair, hunk, sides)),
    ));
    let (before, after) = around(hunk, context, sides[0].of(pair.good).len());
    let mut lines = |mark: &str, side: usize, thread: Option<usize>, range: &Range<usize>| {
        for at in cut(range) {
            let line = thread.and_then(|thread| texts[side].get(&(thread, at)));
            put(format_args!("{mark} {}", line.map_or("", String::as_str)));
        }
        if range.len() > SHOWN {
            put(format_args!("{mark} ... {} more", range.len() - SHOWN));
        }
    };
    lines(" ", 0, pair.good, &before);
    lines("-", 0, pair.good, &hunk.good);
    lines("+", 1, pair.bad, &hunk.bad);
    lines(" ", 0, pair.good, &after);
}

fn threads(pairs: &[Pair], sides: [&Side; 2], to: &mut String) {
    let mut put = |line: std::fmt::Arguments<'_>| {
        let _ = writeln!(to, "{line}");
    };
    put(format_args!("    calls  only first  only second  thread"));
    let differ = |pair: &&Pair| !pair.hunks.is_empty();
    let sum = |pair: &Pair, of: fn(&Hunk) -> usize| pair.hunks.iter().map(of).sum::<usize>();
    for pair in pairs.iter().filter(differ).take(ROWS) {
        put(format_args!(
            "{:9} {:11} {:12}  {}",
            sides[0].of(pair.good).len(),
            sum(pair, |hunk| hunk.good.len()),
            sum(pair, |hunk| hunk.bad.len()),
            label(pair, sides),
        ));
    }
    let count = pairs.iter().filter(differ).count();
    if count > ROWS {
        put(format_args!("... {} more threads", count - ROWS));
    }
    let all = |of: fn(&Hunk) -> usize| pairs.iter().map(|pair| sum(pair, of)).sum::<usize>();
    let calls: usize = sides[0].done.iter().map(Vec::len).sum();
    put(format_args!(
        "{calls:9} {:11} {:12}  all {} threads, of which {count} differ",
        all(|hunk| hunk.good.len()),
        all(|hunk| hunk.bad.len()),
        pairs.len(),
    ));
}

/// Calls that came more often in one of them, failures first.
fn counts([good, bad]: [&Side; 2], to: &mut String) {
    let mut rows = Vec::new();
    for key in good.counts.keys().chain(bad.counts.keys()) {
        let of = |side: &Side| side.counts.get(key).copied().unwrap_or(0);
        let (a, b) = (of(good), of(bad));
        if a != b {
            rows.push((
                key.1.is_empty(),
                std::cmp::Reverse(a.abs_diff(b)),
                key,
                a,
                b,
            ));
        }
    }
    rows.sort();
    rows.dedup();
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(to, "\n    first    second  call");
    for (_, _, (nr, errno), a, b) in rows.iter().take(ROWS) {
        let end = if errno.is_empty() {
            String::new()
        } else {
            format!(" {errno}")
        };
        let _ = writeln!(to, "{a:9} {b:9}  {}{end}", show::name(*nr));
    }
    if rows.len() > ROWS {
        let _ = writeln!(to, "... {} more", rows.len() - ROWS);
    }
}
