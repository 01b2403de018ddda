//! Who follows the calls of a zone's guests.
//!
//! While anybody does, a word of the tables has guests record their calls, and a thread of its own
//! reads what they record ([`drain`]) and passes it to everybody in blocks of
//! [`crate::trace::file`]. Each follower has a thread that writes: who reads slowly, or not at all, makes
//! nobody else wait, and misses what there was no room for, which is counted. But where a follower wants
//! every call (`--lossless`), the reader waits for it, and guests for the reader.

mod chosen;
mod clock;
mod drain;
mod flight;

use super::shared::Shared;
use super::zone::Zone;
use crate::control::{Reply, Request, Trace, Traced};
use crate::trace::filter::Bounds;
use crate::trace::{Entry, Start, file};
use crate::zone::channel::Channel;
use clock::Clock;
use crossbeam::channel::{Receiver, SendTimeoutError, Sender, TrySendError, bounded};
use drain::Drain;
use picozone_personality::trace::{flags, watch};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Blocks that wait to be written.
const QUEUE: usize = 64;
/// How much is put into a block before the next one is begun.
const BLOCK: usize = file::BLOCK_MAX / 4;
/// Longest time between two looks.
const PERIOD: Duration = Duration::from_millis(20);
/// How long the end of the zone waits for followers to write what they have.
const PATIENCE: Duration = Duration::from_secs(2);

/// Those who follow.
#[derive(Default)]
pub struct Tracing {
    /// Since when all calls are kept, if they are.
    flight: Option<Clock>,
    followers: Mutex<Followers>,
    changed: Condvar,
}

#[derive(Default)]
struct Followers {
    all: Vec<Follower>,
    /// Number of the next one.
    next: u64,
    /// When the thread that reads began, in nanoseconds since 1970; none if there is none.
    started: Option<u64>,
    /// Threads that write.
    writers: usize,
    /// The zone ends: nobody is to come any more.
    is_over: bool,
}

struct Follower {
    number: u64,
    queue: Sender<Piece>,
    /// It is to get what was called until now, and no more.
    is_leaving: bool,
    /// It is to miss nothing.
    is_lossless: bool,
    /// It is to know whence calls are made.
    has_stacks: bool,
    /// What it wants; durations in ticks of the processor's clock.
    bounds: Bounds,
    counts: Traced,
}

/// What a thread that writes is given.
enum Piece {
    Block(Arc<[u8]>),
    /// There is no more.
    End(Traced),
}

impl Tracing {
    /// Has calls be kept from now on, whether or not anybody follows.
    pub fn fly(&mut self, shared: &Shared) {
        self.flight = Some(Clock::start());
        let watch = &shared.tables().watched_calls;
        watch.fetch_or(watch::FLIGHT, Release);
    }

    fn lock(&self) -> MutexGuard<'_, Followers> {
        self.followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether that is so.
    fn is_flying(&self) -> bool {
        self.flight.is_some()
    }

    /// The end of the zone: all get what was called.
    pub fn end(&self, shared: &Shared) {
        let mut followers = self.lock();
        followers.is_over = true;
        for follower in &mut followers.all {
            follower.is_leaving = true;
        }
        shared.ring_bell();
        let are_writing = |followers: &mut Followers| followers.writers != 0;
        drop(
            self.changed
                .wait_timeout_while(followers, PATIENCE, are_writing),
        );
    }

    /// Waits for a slow follower that is to miss nothing, but not when the zone ends. Whether it has
    /// taken the piece, or is gone.
    fn send_in_time(&self, queue: &Sender<Piece>, mut piece: Piece) -> bool {
        loop {
            match queue.send_timeout(piece, PERIOD) {
                Ok(()) | Err(SendTimeoutError::Disconnected(_)) => return true,
                Err(SendTimeoutError::Timeout(_)) if self.lock().is_over => return false,
                Err(SendTimeoutError::Timeout(same)) => piece = same,
            }
        }
    }

    fn leave(&self, shared: &Shared, number: u64) {
        let mut followers = self.lock();
        for follower in &mut followers.all {
            follower.is_leaving |= follower.number == number;
        }
        shared.ring_bell();
    }
}

impl Followers {
    /// Tells guests what is wanted by all who follow.
    fn set(&self, shared: &Shared) {
        self.set_wanted(shared);
        chosen::set(shared, self.all.iter().map(|one| &one.bounds));
    }

    /// Has guests wait for room if anybody is to miss nothing, and record their stacks if anybody wants
    /// them.
    fn set_wanted(&self, shared: &Shared) {
        let set = |bit: u32, is_wanted: bool| {
            let watch = &shared.tables().watched_calls;
            if is_wanted {
                watch.fetch_or(bit, Release);
            } else {
                watch.fetch_and(!bit, Release);
            }
        };
        set(watch::LOSSLESS, self.all.iter().any(|one| one.is_lossless));
        set(watch::STACKS, self.all.iter().any(|one| one.has_stacks));
    }
}

/// Serves a connection that has asked for a trace.
pub fn follow(zone: &Arc<Zone>, channel: &Channel, how: Trace, fds: Vec<OwnedFd>) {
    let refuse = |message: &str| {
        let message = message.to_owned();
        let _ = channel.send(&Reply::Error { message }, &[]);
    };
    let Ok([to]) = <[OwnedFd; 1]>::try_from(fds) else {
        return refuse("the request carries no descriptor to write to");
    };
    if let Some(last) = how.last_ms.map(Duration::from_millis) {
        return flight::show(zone, channel, to, last);
    }
    let bounds = Bounds {
        shortest: clock::ticks_within(how.bounds.shortest),
        ..how.bounds
    };
    let (queue, pieces) = bounded(QUEUE);
    let (number, time) = {
        let mut followers = zone.tracing.lock();
        if followers.is_over {
            return refuse("the zone is about to end");
        }
        let time = match followers.started {
            Some(time) => time,
            None => {
                drain::prepare(zone);
                let drain = Drain::new(zone);
                let time = drain.started();
                followers.started = Some(time);
                let watch = &zone.shared.tables().watched_calls;
                watch.fetch_or(watch::RECORDED, Release);
                let zone = Arc::clone(zone);
                std::thread::spawn(move || read(&zone, drain));
                time
            }
        };
        let number = followers.next;
        followers.next += 1;
        followers.writers += 1;
        followers.all.push(Follower {
            number,
            queue,
            is_leaving: false,
            is_lossless: how.is_lossless,
            has_stacks: how.has_stacks,
            bounds,
            counts: Traced::default(),
        });
        followers.set(&zone.shared);
        (number, time)
    };
    let start = Start {
        zone: zone.name.clone(),
        time,
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let written = write(File::from(to), &start, &pieces);
            // What is still being sent to it is for nobody.
            drop(pieces);
            zone.tracing.leave(&zone.shared, number);
            let reply = match written {
                Ok(traced) => Reply::Traced(traced),
                Err(error) => Reply::Error {
                    message: format!("the trace cannot be written: {error}"),
                },
            };
            let _ = channel.send(&reply, &[]);
            channel.close();
            let mut followers = zone.tracing.lock();
            followers.writers -= 1;
            zone.tracing.changed.notify_all();
        });
        if channel.send(&Reply::Ok, &[]).is_ok() {
            // Whatever comes then, or nothing: it is the end.
            let _ = channel.receive::<Request>();
        }
        zone.tracing.leave(&zone.shared, number);
    });
}

/// Writes what a follower is sent. Gives what it got.
fn write(mut to: File, start: &Start, pieces: &Receiver<Piece>) -> io::Result<Traced> {
    to.write_all(&file::front(start))?;
    loop {
        match pieces.recv() {
            Ok(Piece::Block(block)) => to.write_all(&block)?,
            Ok(Piece::End(traced)) => {
                let mut content = Vec::new();
                let skipped = traced.skipped;
                Entry::End { skipped }.put(&mut content);
                to.write_all(&file::block(&content))?;
                return Ok(traced);
            }
            Err(_) => return Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// Reads the rings as long as anybody follows.
fn read(zone: &Zone, mut drain: Drain) {
    loop {
        let bell = zone.shared.commons().trace.bell.load(Acquire);
        let leaving: Vec<u64> = {
            let followers = zone.tracing.lock();
            let leaving = followers.all.iter().filter(|one| one.is_leaving);
            leaving.map(|one| one.number).collect()
        };
        // All rings once: who leaves gets what was there, not what is being added without end.
        for _ in 0..drain::PASSES {
            let pass = drain.pass(zone, !leaving.is_empty());
            pass_on(&zone.tracing, &pass.entries);
            if !pass.has_more {
                break;
            }
        }
        let mut followers = zone.tracing.lock();
        let (gone, stay) = std::mem::take(&mut followers.all)
            .into_iter()
            .partition(|one| leaving.contains(&one.number));
        followers.all = stay;
        followers.set(&zone.shared);
        let is_over = followers.all.is_empty();
        if is_over {
            followers.started = None;
            let watch = &zone.shared.tables().watched_calls;
            watch.fetch_and(!watch::RECORDED, Release);
            // What is kept at any time is nobody's to give back.
            if !zone.tracing.is_flying() {
                drain::release(zone);
            }
        }
        drop(followers);
        dismiss(gone);
        if is_over {
            return;
        }
        zone.shared.wait_for_bell(bell, PERIOD);
    }
}

/// A block of the next entries, and what they count.
fn block_of<'e>(rest: &mut impl Iterator<Item = &'e Entry>) -> (Vec<u8>, Traced) {
    let (mut content, mut counts) = (Vec::new(), Traced::default());
    while content.len() < BLOCK
        && let Some(entry) = rest.next()
    {
        entry.put(&mut content);
        match entry {
            Entry::Call(call) if call.flags & flags::ENDED == 0 => counts.calls += 1,
            Entry::Dropped { count, .. } => {
                counts.dropped = counts.dropped.saturating_add(*count);
            }
            Entry::Call(_) | Entry::Garbled { .. } | Entry::End { .. } => {}
        }
    }
    (file::block(&content), counts)
}

/// Sends entries to all, in blocks.
fn pass_on(tracing: &Tracing, entries: &[Entry]) {
    let mut rest = entries.iter().peekable();
    while rest.peek().is_some() {
        let (block, counts) = block_of(&mut rest);
        let block: Arc<[u8]> = block.into();
        let mut slow = Vec::new();
        for follower in &mut tracing.lock().all {
            let known = &mut follower.counts;
            known.dropped = known.dropped.saturating_add(counts.dropped);
            match follower.queue.try_send(Piece::Block(Arc::clone(&block))) {
                Ok(()) => known.calls += counts.calls,
                Err(TrySendError::Full(piece)) if follower.is_lossless => {
                    slow.push((follower.number, follower.queue.clone(), piece));
                }
                Err(TrySendError::Full(_)) => known.skipped += counts.calls,
                // It has failed to write, and says so itself.
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
        for (number, queue, piece) in slow {
            let is_sent = tracing.send_in_time(&queue, piece);
            let mut followers = tracing.lock();
            let mut all = followers.all.iter_mut();
            if let Some(follower) = all.find(|one| one.number == number) {
                let known = &mut follower.counts;
                if is_sent {
                    known.calls += counts.calls;
                } else {
                    known.skipped += counts.calls;
                }
            }
        }
    }
}

/// Tells those who leave that there is no more. One that reads slowly has no room for that yet.
fn dismiss(gone: Vec<Follower>) {
    for follower in gone {
        let end = Piece::End(follower.counts);
        if let Err(TrySendError::Full(end)) = follower.queue.try_send(end) {
            std::thread::spawn(move || follower.queue.send(end));
        }
    }
}
