//! Rules by which calls of a zone's guests fail: where they are kept, and for how long.
//!
//! A rule is in force as long as the connection that brought it. Guests obey it by themselves
//! (`picozone_personality::injection`), and count what they did in memory that is theirs to write.

use super::zone::Zone;
use crate::control::{Injected, Reply, Request};
use crate::trace::injection::Injection;
use crate::zone::channel::Channel;
use picozone_personality::injection::{RULES_MAX, Rule};
use picozone_personality::trace::watch;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Which places of the tables hold a rule.
#[derive(Default)]
pub struct Injecting {
    taken: Mutex<[bool; RULES_MAX]>,
}

impl Injecting {
    fn lock(&self) -> MutexGuard<'_, [bool; RULES_MAX]> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves a connection that has brought rules.
pub fn inject(zone: &Zone, channel: &Channel, texts: &[String]) {
    let refuse = |message: String| {
        let _ = channel.send(&Reply::Error { message }, &[]);
    };
    let rules: Result<Vec<Injection>, _> = texts.iter().map(|text| text.parse()).collect();
    let rules = match rules {
        Ok(rules) => rules,
        Err(mistake) => return refuse(format!("this is no rule: {mistake}")),
    };
    let Some(places) = put(zone, &rules) else {
        return refuse(format!(
            "{} rules do not fit: a zone has at most {RULES_MAX} in force; end what has brought the others",
            rules.len()
        ));
    };
    if channel.send(&Reply::Ok, &[]).is_ok() {
        // Whatever comes then, or nothing: it is the end.
        let _ = channel.receive::<Request>();
    }
    let rules = take(zone, &places);
    let _ = channel.send(&Reply::Injected { rules }, &[]);
}

/// Puts rules in force. Gives their places.
fn put(zone: &Zone, rules: &[Injection]) -> Option<Vec<usize>> {
    let mut taken = zone.injecting.lock();
    let free = (0..RULES_MAX).filter(|&place| !taken[place]);
    let places: Vec<usize> = free.take(rules.len()).collect();
    if places.len() < rules.len() {
        return None;
    }
    let tables = zone.shared.tables();
    let counts = &zone.shared.commons().injected;
    for (&place, injection) in places.iter().zip(rules) {
        taken[place] = true;
        counts[place].met.store(0, Relaxed);
        counts[place].done.store(0, Relaxed);
        tables.injections[place].set(&injection.rule);
    }
    tables.watched_calls.fetch_or(watch::INJECTED, Release);
    Some(places)
}

/// Takes them back. Gives what became of them.
fn take(zone: &Zone, places: &[usize]) -> Vec<Injected> {
    let mut taken = zone.injecting.lock();
    let tables = zone.shared.tables();
    let counts = &zone.shared.commons().injected;
    let of = places.iter().map(|&place| {
        taken[place] = false;
        tables.injections[place].set(&Rule::NONE);
        Injected {
            met: counts[place].met.load(Relaxed),
            done: counts[place].done.load(Relaxed),
        }
    });
    let of = of.collect();
    if !taken.contains(&true) {
        tables.watched_calls.fetch_and(!watch::INJECTED, Release);
    }
    of
}
