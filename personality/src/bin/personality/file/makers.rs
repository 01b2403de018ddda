//! Making files that the ownership table is told of: until it has them, others wait for it
//! ([`picozone_personality::makers`]).

use super::owners::{Owner, Place, Replaced, known_owner_of};
use crate::arch::{syscall2, syscall3, syscall5, syscall6};
use crate::monitor::{commons, tables};
use crate::thread::{Thread, me};
use crate::{Errno, clocks};
use core::sync::atomic::AtomicU64;
use linux_raw_sys::general::*;
use picozone_personality::mailbox::Request;
use picozone_personality::makers::{GRACE_NS, MAKERS_MAX, Maker};

/// How long to wait until it is asked whether the other is still there.
const ALIVE_NS: i64 = 20_000_000;
/// How often a place is looked at that somebody writes all the time.
const LOOKS: usize = 1000;

/// A file that is about to be made, until the table has it.
pub struct Making(Option<Maker>);

impl Making {
    /// To be said before there is anything to be seen.
    #[cold]
    #[inline(never)]
    pub fn begin(thread: &Thread) -> Making {
        let makers = &commons().makers;
        let place = thread.host_tid as usize;
        let mut maker = makers.enter(thread.host_tid);
        if maker.is_none() {
            let began = clocks::now(CLOCK_MONOTONIC);
            for _ in 0..MAKERS_MAX {
                if let Some(other) = makers.at(place) {
                    wait_for(thread, other, began, GRACE_NS);
                }
                maker = makers.enter(thread.host_tid);
                if maker.is_some() || clocks::now(CLOCK_MONOTONIC) - began >= GRACE_NS {
                    break;
                }
            }
        }
        Making(maker)
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if let Some(maker) = self.0 {
            leave(maker);
        }
    }
}

fn leave(maker: Maker) {
    let makers = &commons().makers;
    if makers.leave(maker) {
        let (word, all) = (address(makers.futex(maker)), i32::MAX as u64);
        unsafe { syscall3(__NR_futex, word, u64::from(FUTEX_WAKE), all) };
    }
}

/// A word whose low half is a futex.
fn address(word: &AtomicU64) -> u64 {
    word.as_ptr() as u64
}

/// Waits until a maker has left, `most` nanoseconds from `began` on. Who was ended, or does not leave for
/// half of the time that files are waited for, has lost its place.
fn wait_for(thread: &Thread, maker: Maker, began: i64, most: i64) {
    const FUTEX_WAIT: u64 = FUTEX_WAIT_BITSET as u64;
    let makers = &commons().makers;
    let end = began + most;
    let mut is_gone = false;
    for _ in 0..LOOKS {
        let Some((word, expected)) = makers.await_leaving(maker) else {
            return;
        };
        let next = end.min(clocks::now(CLOCK_MONOTONIC) + ALIVE_NS);
        let until = [next / 1_000_000_000, next % 1_000_000_000];
        let word = address(word);
        let args = [
            word,
            FUTEX_WAIT,
            u64::from(expected),
            until.as_ptr() as u64,
            0,
            u64::from(u32::MAX),
        ];
        if unsafe { syscall6(__NR_futex, args) } == -i64::from(Errno::ETIMEDOUT.raw()) {
            let tid = u64::from(maker.host_tid());
            is_gone = unsafe { syscall2(__NR_tkill, tid, 0) } < 0;
            if is_gone {
                // The monitor may still be at what it asked for; it serves one after the other.
                let _ = thread.ask(Request::Ping, &[]);
            }
            if is_gone || next == end {
                break;
            }
        }
    }
    if (is_gone || most >= GRACE_NS / 2)
        && let Some(heir) = makers.take_over(maker, thread.host_tid)
    {
        leave(heir);
    }
}

/// What the table says of a file that it does not have, now that somebody makes files: perhaps the one.
#[cold]
#[inline(never)]
pub(super) fn settled_owner_of(
    place: Place,
    dev: u64,
    ino: u64,
) -> Result<Option<Owner>, Replaced> {
    let thread = me();
    let mut x = unsafe { core::mem::zeroed::<statx>() };
    let (mask, to) = (
        u64::from(STATX_BTIME | STATX_INO | STATX_UID),
        &raw mut x as u64,
    );
    let got = unsafe { syscall5(__NR_statx, place.fd, place.name, place.flags, mask, to) };
    if got < 0 || x.stx_ino != ino {
        return place.not_found();
    }
    let born = clocks::nanoseconds([x.stx_btime.tv_sec, i64::from(x.stx_btime.tv_nsec)]);
    let rest = GRACE_NS - (clocks::now(CLOCK_REALTIME) - born);
    // Of what the host's other users made there is nothing to be said.
    if x.stx_uid != tables().host_uid || rest <= 0 {
        return Ok(None);
    }
    let makers = &commons().makers;
    // Two that make something must not wait for each other.
    if makers
        .all()
        .any(|maker| maker.host_tid() == thread.host_tid)
    {
        return Ok(None);
    }
    // A clock that was set back must not make it longer.
    let (began, most) = (clocks::now(CLOCK_MONOTONIC), rest.min(GRACE_NS));
    for maker in makers.all() {
        wait_for(thread, maker, began, most);
        if let Some(owner) = known_owner_of(place, dev, ino)? {
            return Ok(Some(owner));
        }
    }
    known_owner_of(place, dev, ino)
}
