//! A trace as it is written: entries in blocks, one of which is put together at a time.

use crate::trace::file;
use crate::trace::{Entry, Start};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How much is put into a block before it is written.
const BLOCK: usize = file::BLOCK_MAX / 4;
/// Longest time that an entry waits for its block while others come.
const PERIOD: Duration = Duration::from_millis(20);

/// Writes a trace.
pub(super) struct Blocks<W> {
    to: W,
    content: Vec<u8>,
    written: Instant,
}

impl<W: Write> Blocks<W> {
    pub(super) fn begin(mut to: W, start: &Start) -> io::Result<Self> {
        to.write_all(&file::front(start))?;
        Ok(Self {
            to,
            content: Vec::new(),
            written: Instant::now(),
        })
    }

    /// Adds an entry.
    pub(super) fn put(&mut self, entry: &Entry) -> io::Result<()> {
        entry.put(&mut self.content);
        if self.content.len() >= BLOCK || self.written.elapsed() >= PERIOD {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what is there.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.written = Instant::now();
        if self.content.is_empty() {
            return Ok(());
        }
        let block = file::block(&self.content);
        self.content.clear();
        self.to.write_all(&block)
    }

    /// Writes that it ended in good order.
    pub(super) fn end(mut self) -> io::Result<()> {
        self.put(&Entry::End { skipped: 0 })?;
        self.flush()
    }
}
