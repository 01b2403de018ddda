//! Handlers of the personality that another signal finds before they have begun.

use crate::faults::descendants;
use crate::harness::{Home, are_all_traced, in_each_role};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

in_each_role!(a_handler_that_has_not_begun_keeps_what_it_blocks);

/// A guest that makes no calls, step by step: SIGSYS is about to be looked at, SIGSEGV comes before that
/// and is noted. If SIGSYS could come then, both could by turns, until no stack is left.
fn a_handler_that_has_not_begun_keeps_what_it_blocks(home: &Home) {
    if are_all_traced("signals that come to the personality") {
        return;
    }
    let zone = home.boot("z");
    let loops = "echo ready; while :; do :; done # loops";
    let mut command = zone.command(&["sh", "-c", loops]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut login = command.spawn().expect("it starts");
    let mut line = String::new();
    let output = login.stdout.take().expect("piped");
    BufReader::new(output)
        .read_line(&mut line)
        .expect("it is read");
    let is_it = |pid: &i32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.trim_end_matches('\0').ends_with(loops)
    };
    let mut guests = descendants(zone.monitor()).into_iter();
    let guest = Pid::from_raw(guests.find(is_it).expect("it runs"));
    ptrace::attach(guest).expect("it is ours");
    waitpid(guest, None).expect("it stops");
    while is_inside(place(guest)) {
        step(guest, None);
    }
    for signal in [Signal::SIGSYS, Signal::SIGSEGV] {
        kill(guest, signal).expect("it is there");
        // It stops for the signal, and at the handler.
        let stop = step(guest, None);
        assert_eq!(stop, WaitStatus::Stopped(guest, signal));
        if signal == Signal::SIGSYS {
            step(guest, Some(signal));
            assert!(is_inside(place(guest)) && blocks_sigsys(guest));
        }
    }
    let handler = place(guest);
    step(guest, Some(Signal::SIGSEGV));
    assert!(is_inside(place(guest)) && place(guest) != handler);
    let back = (0..100_000).find(|_| {
        step(guest, None);
        place(guest) == handler
    });
    assert!(back.is_some() && blocks_sigsys(guest), "{back:?}");
    kill(guest, Signal::SIGKILL).expect("it is there");
    waitpid(guest, None).expect("it ends");
    login.wait().expect("it is our child");
}

/// The next instruction, and the stack.
fn place(guest: Pid) -> (u64, u64) {
    let registers = ptrace::getregs(guest).expect("it is stopped");
    (registers.rip, registers.rsp)
}

fn is_inside((ip, _): (u64, u64)) -> bool {
    use picozone_personality::layout::{PERSONALITY_BASE, PERSONALITY_SIZE};
    (PERSONALITY_BASE..PERSONALITY_BASE + PERSONALITY_SIZE).contains(&ip)
}

fn step(guest: Pid, signal: Option<Signal>) -> WaitStatus {
    ptrace::step(guest, signal).expect("it is stopped");
    waitpid(guest, None).expect("it stops")
}

fn blocks_sigsys(guest: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{guest}/status")).expect("it is there");
    let blocked = status
        .lines()
        .find_map(|line| line.strip_prefix("SigBlk:\t"))
        .and_then(|mask| u64::from_str_radix(mask, 16).ok());
    blocked.is_some_and(|mask| mask & 1 << (Signal::SIGSYS as i32 - 1) != 0)
}
