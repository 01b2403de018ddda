//! Which calls guests record: those that any of the followers may want.

use crate::monitor::shared::Shared;
use crate::trace::filter::Bounds;
use picozone_personality::trace::watch;
use std::sync::atomic::Ordering::{Relaxed, Release};

/// Tells guests. Of these bounds the shortest duration is one in ticks.
pub(super) fn set<'b>(shared: &Shared, mut all: impl Iterator<Item = &'b Bounds>) {
    let first = all.next().cloned();
    let bounds = first.map(|first| all.fold(first, Bounds::or));
    let watch = &shared.tables().watched_calls;
    let Some(bounds) = bounds.filter(|bounds| *bounds != Bounds::default()) else {
        watch.fetch_and(!watch::CHOSEN, Release);
        return;
    };
    let wanted = &shared.tables().wanted;
    for (word, calls) in wanted.calls.iter().zip(bounds.calls) {
        word.store(calls, Relaxed);
    }
    for (ids, range) in [(&wanted.pids, &bounds.pids), (&wanted.tids, &bounds.tids)] {
        ids[0].store(*range.start(), Relaxed);
        ids[1].store(*range.end(), Relaxed);
    }
    wanted.results[0].store(*bounds.results.start(), Relaxed);
    wanted.results[1].store(*bounds.results.end(), Relaxed);
    wanted.shortest.store(bounds.shortest, Relaxed);
    watch.fetch_or(watch::CHOSEN, Release);
}
