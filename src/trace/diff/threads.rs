//! The threads of two traces, and which of the one stands for which of the other.
//!
//! Numbers differ from run to run; who made whom does not. Threads that nobody in the trace has made
//! are paired by their program's name and their order, and so are the children of each pair.

use crate::ids::{HostPid, ZonePid};
use crate::trace::calls::Event;
use crate::trace::{Call, Part};
use picozone_syscalls::nr;
use std::collections::HashMap;

/// Which thread: its numbers in the zone and on the host, so that a number that is used again is
/// another thread's.
pub(super) type Key = (ZonePid, HostPid);

/// A thread.
#[derive(Debug)]
pub(super) struct Thread {
    pub(super) key: Key,
    /// Whether it leads its process.
    leads: bool,
    /// What it was last called.
    pub(super) comm: String,
    /// Whom it has made, in their order.
    children: Vec<Key>,
    /// What it is called in both traces.
    pub(super) label: String,
}

/// All threads of a trace, in the order in which they were first heard of.
#[derive(Default)]
pub(super) struct Threads {
    pub(super) all: Vec<Thread>,
    by_key: HashMap<Key, usize>,
    by_number: HashMap<ZonePid, usize>,
    by_host: HashMap<HostPid, usize>,
}

impl Threads {
    /// Learns from an event.
    pub(super) fn take(&mut self, event: &Event) {
        let (Event::Call { call, .. } | Event::Began { call, .. }) = event else {
            return;
        };
        let key = (call.tid, call.host_tid);
        let number = *self.by_key.entry(key).or_insert_with(|| {
            self.all.push(Thread {
                key,
                leads: call.tid == call.pid,
                comm: String::new(),
                children: Vec::new(),
                label: String::new(),
            });
            self.all.len() - 1
        });
        self.by_number.insert(call.tid, number);
        self.by_host.insert(call.host_tid, number);
        let Some(thread) = self.all.get_mut(number) else {
            return;
        };
        thread.comm.clone_from(&call.comm);
        if let Event::Call {
            has_ended: true, ..
        } = event
        {
            thread.children.extend(made(call));
        }
    }

    /// Which one it is.
    pub(super) fn find(&self, call: &Call) -> Option<usize> {
        self.by_key.get(&(call.tid, call.host_tid)).copied()
    }

    /// What a process or thread of the trace is called in both. set_tid_address(2) gives the host's number.
    pub(super) fn label(&self, number: u32) -> Option<String> {
        let of_zone = self.by_number.get(&ZonePid(number));
        let of_either = of_zone.or_else(|| self.by_host.get(&HostPid(number)));
        let thread = self.all.get(*of_either?)?;
        Some(format!("<{}>", thread.label))
    }

    fn children(&self, of: usize) -> Vec<usize> {
        let children = self.all.get(of).map_or(&[][..], |thread| &thread.children);
        let known = children.iter().filter_map(|key| self.by_key.get(key));
        known.copied().collect()
    }

    fn roots(&self) -> Vec<usize> {
        let made = self.all.iter().flat_map(|thread| &thread.children);
        let made: std::collections::HashSet<&Key> = made.collect();
        let all = self.all.iter().enumerate();
        let roots = all.filter(|(_, thread)| !made.contains(&thread.key));
        roots.map(|(number, _)| number).collect()
    }

    fn comm(&self, number: usize) -> &str {
        self.all.get(number).map_or("", |thread| &thread.comm)
    }

    fn set_label(&mut self, number: usize, label: &str) {
        if let Some(thread) = self.all.get_mut(number) {
            label.clone_into(&mut thread.label);
        }
    }
}

/// Whom a call has made.
fn made(call: &Call) -> Option<Key> {
    let makes = matches!(call.nr, nr::clone | nr::clone3 | nr::fork | nr::vfork);
    let number = u32::try_from(call.result).ok();
    let number = ZonePid(number.filter(|number| makes && *number != 0)?);
    call.parts.iter().find_map(|part| match part {
        Part::HostPid { zone, host } if *zone == number => Some((number, *host)),
        _ => None,
    })
}

/// Pairs the threads of two traces and names them. What only one has comes with what it is missing in.
pub(super) fn pair(good: &mut Threads, bad: &mut Threads) -> Vec<(Option<usize>, Option<usize>)> {
    let mut pairs = Vec::new();
    let mut seen = (vec![false; good.all.len()], vec![false; bad.all.len()]);
    let mut left = vec![(String::new(), good.roots(), bad.roots())];
    while let Some((parent, mut of_good, mut of_bad)) = left.pop() {
        // Nobody is made twice, whatever a trace says.
        of_good.retain(|i| !std::mem::replace(&mut seen.0[*i], true));
        of_bad.retain(|i| !std::mem::replace(&mut seen.1[*i], true));
        let mut next = Vec::new();
        for (a, b) in siblings(good, bad, &of_good, &of_bad) {
            let name = a.map_or_else(
                || b.map(|b| name(bad, b)).unwrap_or_default(),
                |a| name(good, a),
            );
            let count = pairs_of(&next, &name);
            let nth = if count == 0 {
                String::new()
            } else {
                format!("#{}", count + 1)
            };
            let between = if parent.is_empty() { "" } else { " > " };
            let label = format!("{parent}{between}{name}{nth}");
            if let Some(a) = a {
                good.set_label(a, &label);
            }
            if let Some(b) = b {
                bad.set_label(b, &label);
            }
            pairs.push((a, b));
            let children = |threads: &Threads, of: Option<usize>| {
                of.map_or(Vec::new(), |number| threads.children(number))
            };
            next.push((name, label, children(good, a), children(bad, b)));
        }
        let next = next.into_iter().rev();
        left.extend(next.map(|(_, label, a, b)| (label, a, b)));
    }
    pairs
}

fn name(threads: &Threads, number: usize) -> String {
    let thread = threads.all.get(number);
    let leads = thread.is_none_or(|thread| thread.leads);
    let mark = if leads { "" } else { "/" };
    format!("{mark}{}", threads.comm(number))
}

fn pairs_of<T, U, V>(all: &[(String, T, U, V)], name: &str) -> usize {
    all.iter().filter(|(known, ..)| known == name).count()
}

/// Those of the same name in their order; then those that are left.
fn siblings(
    good: &Threads,
    bad: &Threads,
    of_good: &[usize],
    of_bad: &[usize],
) -> Vec<(Option<usize>, Option<usize>)> {
    let mut free = of_bad.to_vec();
    let mut pairs: Vec<(Option<usize>, Option<usize>)> = of_good
        .iter()
        .map(|&a| {
            let wanted = name(good, a);
            let at = free.iter().position(|&b| name(bad, b) == wanted);
            (Some(a), at.map(|at| free.remove(at)))
        })
        .collect();
    for (_, b) in pairs.iter_mut().filter(|(_, b)| b.is_none()) {
        if !free.is_empty() {
            *b = Some(free.remove(0));
        }
    }
    pairs.extend(free.into_iter().map(|b| (None, Some(b))));
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::entry::tests::sample;

    fn call(number: u32, comm: &str, made: Option<u32>) -> Event {
        let call = Call {
            nr: nr::fork,
            pid: ZonePid(number),
            tid: ZonePid(number),
            host_tid: HostPid(1000 + number),
            comm: comm.into(),
            result: made.map_or(-11, i64::from),
            parts: made
                .map(|number| Part::HostPid {
                    zone: ZonePid(number),
                    host: HostPid(1000 + number),
                })
                .into_iter()
                .collect(),
            ..sample()
        };
        Event::Call {
            call,
            has_ended: true,
        }
    }

    fn threads(events: &[Event]) -> Threads {
        let mut threads = Threads::default();
        for event in events {
            threads.take(event);
        }
        threads
    }

    #[test]
    fn those_that_were_made_alike_are_paired() {
        let mut good = threads(&[
            call(7, "make", Some(8)),
            call(8, "cc", None),
            call(7, "make", Some(9)),
            call(9, "cc", None),
            call(7, "make", Some(10)),
            call(10, "ld", None),
        ]);
        // Another one was made between, which others were heard of before.
        let mut bad = threads(&[
            call(21, "cc", None),
            call(20, "make", Some(21)),
            call(20, "make", Some(22)),
            call(22, "rm", None),
            call(20, "make", Some(23)),
            call(20, "make", Some(24)),
            call(24, "ld", None),
            call(23, "cc", None),
        ]);
        let pairs = pair(&mut good, &mut bad);
        let label = |threads: &Threads, of: Option<usize>| {
            of.map_or(String::new(), |i| threads.all[i].label.clone())
        };
        let labels: Vec<_> = pairs
            .iter()
            .map(|(a, b)| (label(&good, *a), label(&bad, *b)))
            .collect();
        let both = |label: &str| (label.to_owned(), label.to_owned());
        assert_eq!(
            labels,
            [
                both("make"),
                both("make > cc"),
                both("make > cc#2"),
                both("make > ld"),
                (String::new(), "make > rm".to_owned()),
            ]
        );
        assert_eq!(good.label(9), Some("<make > cc#2>".into()));
        assert_eq!(bad.label(23), Some("<make > cc#2>".into()));
        assert_eq!(bad.label(99), None);
    }
}
