//! What happened, as a recorded trace tells it from its first event to its last.

use super::calls::{Calls, Event};
use super::entry::Start;
use super::file::{Fault, Reader};
use std::collections::VecDeque;
use std::io::Read;

/// The events of a trace, and behind them what is wrong with it. A fault comes last, behind all that
/// stands before it.
pub struct Events<R> {
    reader: Reader<R>,
    calls: Calls,
    next: VecDeque<Event>,
    fault: Option<Fault>,
    is_over: bool,
}

impl<R: Read> Events<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// It is no trace of this version, or ends before it tells anything.
    pub fn new(from: R) -> Result<Self, Fault> {
        Ok(Self {
            reader: Reader::new(from)?,
            calls: Calls::default(),
            next: VecDeque::new(),
            fault: None,
            is_over: false,
        })
    }

    /// What it is a trace of.
    pub fn start(&self) -> &Start {
        self.reader.start()
    }

    /// Whether the next event has yet to be read.
    pub fn is_at_end_of_block(&self) -> bool {
        self.next.is_empty() && self.reader.is_at_end_of_block()
    }

    /// How many calls were recorded and not written; none if the trace did not end in good order.
    pub fn skipped(&self) -> Option<u64> {
        self.calls.skipped()
    }
}

impl<R: Read> Iterator for Events<R> {
    type Item = Result<Event, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next.is_empty() && !self.is_over {
            match self.reader.next_entry() {
                Ok(Some(entry)) => self.next.extend(self.calls.take(entry)),
                end => {
                    self.is_over = true;
                    self.fault = end.err();
                    self.next.extend(self.calls.left());
                }
            }
        }
        let event = self.next.pop_front().map(Ok);
        event.or_else(|| self.fault.take().map(Err))
    }
}
