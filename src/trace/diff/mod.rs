//! Two traces of what should have been the same: where they first differ, and in what.
//!
//! [`threads`] pairs the threads of both, [`normal`] takes out of each call what differs from run to
//! run, [`align`] finds where the calls of a pair differ, and [`report`] tells it. A trace is read three
//! times (who there is, what was called, and the texts of what is shown), so that of a call only a few
//! bytes are kept.

mod align;
mod names;
mod normal;
mod report;
mod threads;

use super::calls::Event;
use super::events::Events;
use super::file::Fault;
use super::filter::{Chosen, Filter};
use super::{Start, show};
use align::{Hunk, hunks};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use threads::{Threads, pair};

/// What gives the bytes of a trace, from the start each time.
pub type Source<'a> = &'a dyn Fn() -> io::Result<Box<dyn Read>>;

/// What is compared, and how much is told.
pub struct Options {
    /// Only calls of which this holds.
    pub filter: Option<Filter>,
    /// So many equal calls around a difference.
    pub context: usize,
    /// All differences, not only the first.
    pub has_all: bool,
}

/// How two traces differ.
#[derive(Debug)]
pub struct Difference {
    /// Whether they do not.
    pub is_same: bool,
    /// In words.
    pub text: String,
    /// What may have been missed in the first and the second.
    pub doubts: [Option<String>; 2],
}

/// Which of two traces cannot be read, and why.
#[derive(Debug)]
pub struct Unread {
    /// Whether it is the second.
    pub is_bad: bool,
    /// What is wrong.
    pub fault: Fault,
}

/// A trace that is compared.
struct Side<'a> {
    source: Source<'a>,
    start: Start,
    threads: Threads,
    /// What each thread did.
    done: Vec<Vec<Done>>,
    /// How often each call was made, by its errno.
    counts: BTreeMap<(u32, String), u64>,
    lost: u64,
    fault: Option<String>,
}

/// Something that a thread did.
#[derive(Clone, Copy)]
struct Done {
    /// Which normal form it has.
    form: u32,
    time: u64,
}

/// Threads that stand for each other, and where they differ.
struct Pair {
    good: Option<usize>,
    bad: Option<usize>,
    hunks: Vec<Hunk>,
}

/// Compares two traces.
///
/// # Errors
/// One of them is no trace, or cannot be read.
pub fn compare(good: Source, bad: Source, options: &Options) -> Result<Difference, Unread> {
    let read = |is_bad: bool| move |fault: Fault| Unread { is_bad, fault };
    let mut good = Side::learn(good).map_err(read(false))?;
    let mut bad = Side::learn(bad).map_err(read(true))?;
    let pairs = pair(&mut good.threads, &mut bad.threads);
    let mut forms = HashMap::new();
    let filter = options.filter.as_ref();
    good.collect(filter, &mut forms).map_err(read(false))?;
    bad.collect(filter, &mut forms).map_err(read(true))?;
    let pairs: Vec<Pair> = pairs
        .into_iter()
        .map(|(a, b)| Pair {
            good: a,
            bad: b,
            hunks: hunks(&good.forms(a), &bad.forms(b)),
        })
        .collect();
    let shown = report::choose(&pairs, [&good, &bad], options);
    let texts = [
        good.texts(&shown.wanted[0], filter).map_err(read(false))?,
        bad.texts(&shown.wanted[1], filter).map_err(read(true))?,
    ];
    Ok(Difference {
        is_same: pairs.iter().all(|pair| pair.hunks.is_empty()),
        text: report::text(&pairs, [&good, &bad], &shown, &texts),
        doubts: [good.doubt(), bad.doubt()],
    })
}

impl<'a> Side<'a> {
    /// Who there is.
    fn learn(source: Source<'a>) -> Result<Self, Fault> {
        let mut side = Self {
            source,
            start: Start::default(),
            threads: Threads::default(),
            done: Vec::new(),
            counts: BTreeMap::new(),
            lost: 0,
            fault: None,
        };
        let mut events = side.events()?;
        side.start = events.start().clone();
        for event in events.by_ref() {
            match event {
                Ok(event) => {
                    side.threads.take(&event);
                    match event {
                        Event::Dropped { count, .. } => {
                            side.lost = side.lost.saturating_add(count);
                        }
                        Event::Garbled { .. } => side.lost = side.lost.saturating_add(1),
                        Event::Call { .. } | Event::Began { .. } => {}
                    }
                }
                Err(Fault::Io(error)) => return Err(Fault::Io(error)),
                Err(fault) => side.fault = Some(fault.to_string()),
            }
        }
        match events.skipped() {
            Some(skipped) => side.lost = side.lost.saturating_add(skipped),
            None => {
                let early = || "it ends early: what wrote it was ended, or still writes".to_owned();
                side.fault.get_or_insert_with(early);
            }
        }
        Ok(side)
    }

    fn events(&self) -> Result<Events<Box<dyn Read>>, Fault> {
        Events::new((self.source)().map_err(Fault::Io)?)
    }

    /// Goes through all that is compared, with the thread that did it.
    fn each(
        &self,
        filter: Option<&Filter>,
        mut body: impl FnMut(usize, &Event),
    ) -> Result<(), Fault> {
        let mut chosen = Chosen::new(filter, &self.start.zone);
        for event in self.events()? {
            let event = match event {
                Ok(event) => event,
                Err(Fault::Io(error)) => return Err(Fault::Io(error)),
                Err(_) => break,
            };
            let is_chosen = !chosen.leaves_out(&event);
            let (call, is_meant) = match &event {
                Event::Call { call, .. } => (call, is_chosen),
                Event::Began { call, .. } => (call, filter.is_none()),
                Event::Dropped { .. } | Event::Garbled { .. } => continue,
            };
            // What was written since is not compared.
            if let Some(thread) = self.threads.find(call).filter(|_| is_meant) {
                body(thread, &event);
            }
        }
        Ok(())
    }

    /// What was done.
    fn collect(
        &mut self,
        filter: Option<&Filter>,
        forms: &mut HashMap<String, u32>,
    ) -> Result<(), Fault> {
        let mut done = vec![Vec::new(); self.threads.all.len()];
        let mut counts: BTreeMap<(u32, String), u64> = BTreeMap::new();
        self.each(filter, |thread, event| {
            let label = |number| self.threads.label(number);
            let (time, form) = match event {
                Event::Call { call, has_ended } => {
                    let errno = show::errno(call, *has_ended).and_then(|errno| errno.name());
                    let key = (call.nr, errno.unwrap_or_default().to_owned());
                    *counts.entry(key).or_default() += 1;
                    (call.time, normal::call(call, *has_ended, &label))
                }
                Event::Began { call, program } => {
                    (call.time, format!("executes {}", show::visible(program)))
                }
                Event::Dropped { .. } | Event::Garbled { .. } => return,
            };
            let next = u32::try_from(forms.len()).unwrap_or(u32::MAX);
            let form = *forms.entry(form).or_insert(next);
            if let Some(of) = done.get_mut(thread) {
                of.push(Done { form, time });
            }
        })?;
        (self.done, self.counts) = (done, counts);
        Ok(())
    }

    /// The texts of what these threads did at these places.
    fn texts(
        &self,
        wanted: &BTreeMap<(usize, usize), ()>,
        filter: Option<&Filter>,
    ) -> Result<HashMap<(usize, usize), String>, Fault> {
        let mut counts = vec![0; self.threads.all.len()];
        let mut texts = HashMap::new();
        self.each(filter, |thread, event| {
            let Some(count) = counts.get_mut(thread) else {
                return;
            };
            let place = (thread, *count);
            *count += 1;
            if wanted.contains_key(&place) {
                let text = match event {
                    Event::Call { call, has_ended } => show::call(call, *has_ended),
                    Event::Began { program, .. } => {
                        format!("+++ executes {} +++", show::visible(program))
                    }
                    Event::Dropped { .. } | Event::Garbled { .. } => return,
                };
                texts.insert(place, text);
            }
        })?;
        Ok(texts)
    }

    fn of(&self, thread: Option<usize>) -> &[Done] {
        thread
            .and_then(|thread| self.done.get(thread))
            .map_or(&[], Vec::as_slice)
    }

    fn forms(&self, thread: Option<usize>) -> Vec<u32> {
        self.of(thread).iter().map(|done| done.form).collect()
    }

    fn doubt(&self) -> Option<String> {
        let lost = (self.lost != 0).then(|| format!("{} calls of it are missing", self.lost));
        self.fault.clone().or(lost)
    }
}

#[cfg(test)]
mod tests;
