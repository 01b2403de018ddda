//! A clerk: a process of ours that makes calls for clients, one at a time, in each one's place.
//!
//! It has no program, so that nothing but this code ever runs in it; and it hears the monitor only.

use crate::arch::{syscall1, syscall2, syscall3, syscall4};
use crate::groups::Groups;
use crate::handover;
use crate::identity::Credentials;
use crate::monitor::commons;
use crate::thread::Thread;
use crate::{die, pids, signal, socket, watched};
use core::sync::atomic::Ordering::{Relaxed, Release};
use linux_raw_sys::general::*;
use picozone_personality::clients::{Done, JOB_HEAD, Job};
use picozone_personality::commons::CLERK;
use picozone_syscalls::forward::DATA_MAX;
use picozone_syscalls::{Outcome, row};

/// Where its socket stands.
const SOCKET: u64 = 0;
/// More descriptors come with no job: a working directory, and two that paths are relative to.
const MOST: usize = 4;

static mut JOB: Job = Job {
    nr: 0,
    zone_pid: 0,
    host_pid: 0,
    umask: 0,
    has_cwd: 0,
    descriptors: 0,
    places: 0,
    length: 0,
    args: [0; 6],
    data: [0; DATA_MAX],
};

/// Never returns: it ends with its socket.
#[cold]
#[inline(never)]
pub fn run(thread: &mut Thread) -> ! {
    let mut context = unsafe { core::mem::zeroed::<crate::arch::Context>() };
    // Nobody sends a clerk signals, and none is to end a call.
    context.mask = !0;
    let process = thread.process();
    thread.learn_tid();
    process.host_pid = thread.host_tid;
    thread.is_leader = true;
    handover::release(process.host_pid);
    process.parents.turn_off();
    process.is_clerk = true;
    // An address that is none ends the call, and not its clerk.
    thread.take_stack();
    signal::take_over();
    let faults = signal::HELD;
    let faults = &raw const faults as u64;
    unsafe { syscall4(__NR_rt_sigprocmask, SIG_UNBLOCK.into(), faults, 0, 8) };
    let own = thread.host_tid;
    unsafe {
        syscall3(__NR_write, SOCKET, &raw const own as u64, 4);
        syscall2(__NR_prctl, 15, c"clerk".as_ptr() as u64);
        syscall1(__NR_setsid, 0);
    }
    loop {
        thread.context = &raw mut context;
        thread.rooms = 0;
        serve(thread);
    }
}

fn serve(thread: &mut Thread) {
    let mut fds = [u64::MAX; MOST];
    let count = receive(&mut fds);
    let place = &raw mut JOB;
    let job = unsafe { &mut *place };
    let mut next = fds[..count].iter();
    if job.has_cwd != 0
        && let Some(&cwd) = next.next()
    {
        unsafe { syscall1(__NR_fchdir, cwd) };
    }
    let start = (&raw const job.data) as u64;
    let mut args = job.args;
    for (index, arg) in args.iter_mut().enumerate() {
        if job.places >> index & 1 != 0 {
            *arg += start;
        } else if job.descriptors >> index & 1 != 0 {
            *arg = next.next().copied().unwrap_or(u64::MAX);
        }
    }
    let (host, own) = (job.host_pid, thread.host_tid as usize);
    take_place(thread, job.zone_pid, host);
    if let Some(back) = commons().by_host.get(own) {
        back.store(CLERK | job.zone_pid, Release);
    }
    unsafe { syscall1(__NR_umask, u64::from(job.umask)) };
    let value = watched::serve_for_other(thread, job.nr, &args);
    let mut done = Done { value, gives: 0 };
    if value >= 0 {
        give(thread, job.nr, &mut done);
    }
    for fd in &fds[..count] {
        unsafe { syscall1(__NR_close, *fd) };
    }
    let parts = [
        [&raw const done as u64, size_of::<Done>() as u64],
        [start, u64::from(job.length)],
    ];
    let sent = unsafe { syscall3(__NR_writev, SOCKET, parts.as_ptr() as u64, 2) };
    if sent < 0 {
        die("");
    }
}

/// Hands over the descriptor that a call gives.
fn give(thread: &mut Thread, nr: u32, done: &mut Done) {
    if nr == __NR_chdir {
        // Where the client is to go.
        match crate::path::open_cwd(thread) {
            Ok(fd) => done.value = fd as i64,
            Err(errno) => {
                done.value = errno.to_ret();
                return;
            }
        }
    } else if !row(nr).is_some_and(|row| matches!(row.result, Outcome::Fd)) {
        return;
    }
    let fd = done.value as u64;
    let flags = unsafe { syscall3(__NR_fcntl, fd, u64::from(F_GETFD), 0) };
    match socket::hand_over(thread, fd) {
        Ok(_) => done.gives = 1 + u64::from(flags as u32 & FD_CLOEXEC != 0),
        Err(errno) => done.value = errno.to_ret(),
    }
    unsafe { syscall1(__NR_close, fd) };
}

/// Takes a client's place: its number, its users and its root.
fn take_place(thread: &mut Thread, zone_pid: u32, host_pid: u32) {
    let process = thread.process();
    (process.zone_pid, process.host_pid) = (zone_pid, host_pid);
    let mut groups: Groups = core::mem::replace(&mut thread.credentials.groups, Groups::NONE);
    groups.free();
    thread.credentials = Credentials {
        groups: pids::load_groups(zone_pid),
        ..pids::load_credentials(zone_pid)
    };
    process.root = pids::own(thread).root.load(Relaxed);
}

/// Whether a process that has ended was a clerk; its number then stands for nobody.
pub fn is_forgotten(host_pid: u32) -> bool {
    let back = commons().by_host.get(host_pid as usize);
    let is_clerk = back.is_some_and(|back| back.load(Relaxed) & CLERK != 0);
    if let Some(back) = back.filter(|_| is_clerk) {
        back.store(0, Release);
    }
    is_clerk
}

/// Waits for a job. How many descriptors came with it.
fn receive(fds: &mut [u64; MOST]) -> usize {
    let part = [&raw mut JOB as u64, size_of::<Job>() as u64];
    loop {
        match socket::receive(SOCKET, part, fds, 0) {
            (got, count) if got >= JOB_HEAD as i64 => return count,
            (-4, _) => {}
            _ => unsafe {
                syscall1(__NR_exit_group, 0);
            },
        }
    }
}
