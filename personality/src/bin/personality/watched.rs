//! Calls that are watched: recorded, or made to fail by rules.

use crate::arch::RESTART;
use crate::monitor::tables;
use crate::thread::Thread;
use crate::{injecting, recording};
use core::sync::atomic::Ordering::Relaxed;
use picozone_personality::trace::{flags, watch};

/// For whomever it is recorded.
const RECORDED: u32 = watch::RECORDED | watch::FLIGHT;

/// How a call is served; the result word.
pub type Serve = fn(&mut Thread, u32, &[u64; 6]) -> i64;

/// Serves a call, and does with it what whoever watches wants.
#[inline(always)]
pub fn serve(thread: &mut Thread, nr: u32, args: &[u64; 6], serve: Serve) -> i64 {
    thread.call = nr;
    match tables().watched_calls.load(Relaxed) {
        0 => serve(thread, nr, args),
        // What a client writes down nobody reads: its clerk does.
        watch if thread.process().is_client => {
            result_of(thread, nr, args, watch & !RECORDED, serve)
        }
        watch => result_of(thread, nr, args, watch, serve),
    }
}

/// Serves a call, and does with it what these bits of the tables say.
#[cold]
#[inline(never)]
fn result_of(thread: &mut Thread, nr: u32, args: &[u64; 6], watch: u32, serve: Serve) -> i64 {
    if watch & watch::INJECTED != 0 {
        return injected(thread, nr, args, watch, serve);
    }
    let is_recorded = watch & RECORDED != 0 && recording::begin(thread, nr, *args, 0);
    let result = serve(thread, nr, args);
    if is_recorded {
        recording::end(thread, result);
    }
    result
}

#[inline(never)]
fn injected(thread: &mut Thread, nr: u32, args: &[u64; 6], watch: u32, serve: Serve) -> i64 {
    let judged = injecting::judge(thread, nr, *args);
    let mark = if judged.fault.is_some() {
        flags::INJECTED
    } else {
        0
    };
    let is_recorded = watch & RECORDED != 0 && recording::begin(thread, nr, *args, mark);
    let own = thread.host_tid;
    let result = match &judged.fault {
        Some(fault) => fault.instead_of(thread, nr, *args, serve),
        None => serve(thread, nr, args),
    };
    if result == RESTART {
        injecting::remember(thread, nr, *args, judged);
    } else if let Some(fault) = &judged.fault
        && thread.host_tid == own
    {
        fault.wait_after();
    }
    if is_recorded {
        recording::end(thread, result);
    }
    // In a child that a fork has made, it was not.
    if let Some(fault) = judged.fault
        && result != RESTART
        && thread.host_tid == own
    {
        fault.signal(thread);
    }
    result
}

/// Serves a call for a client, to which whatever rules say was done already.
#[cold]
#[inline(never)]
pub fn serve_for_other(thread: &mut Thread, nr: u32, args: &[u64; 6]) -> i64 {
    thread.call = nr;
    let watch = tables().watched_calls.load(Relaxed) & !watch::INJECTED;
    result_of(thread, nr, args, watch, crate::dispatch::served)
}
