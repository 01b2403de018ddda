//! Zone init: pid 1 of the zone, a process of ours with no program.
//!
//! It reaps orphans and starts programs at the monitor's request, so that all guests stand in one
//! Landlock domain behind one filter. Requests arrive on a socket that only init holds (closed by
//! exec); the answers go back by [`Request::Init`].

use crate::arch::{syscall1, syscall2, syscall3, syscall4, syscall6};
use crate::identity::Credentials;
use crate::monitor::commons;
use crate::thread::Thread;
use crate::{clerk, clients, die, exec, handover, native, pids, signal, socket};
use linux_raw_sys::general::*;
use picozone_personality::mailbox::Request;
use picozone_personality::spawn::{FD_SPAWN, SPAWN_MAX, Spawn};

const EVENT_READY: u64 = 0;
const EVENT_STARTED: u64 = 1;
const EVENT_ENDED: u64 = 2;
const PR_SET_CHILD_SUBREAPER: u64 = 36;

static mut PACKET: [u8; SPAWN_MAX] = [0; SPAWN_MAX];
static mut VECTORS: [[u64; 1024]; 2] = [[0; 1024]; 2];

extern "C" fn on_child(_signal: u32) {}

/// Never returns: the zone ends with it.
pub fn run(thread: &mut Thread) -> ! {
    let process = thread.process();
    process.zone_pid = 1;
    thread.credentials = Credentials::ROOT;
    pids::register(1, process.host_pid);
    pids::store_credentials(1, &thread.credentials);
    unsafe {
        syscall2(__NR_prctl, PR_SET_CHILD_SUBREAPER, 1);
        syscall2(__NR_prctl, 15, c"init".as_ptr() as u64);
        syscall1(__NR_setsid, 0);
        // What init starts must not hold it.
        syscall3(__NR_fcntl, u64::from(FD_SPAWN), u64::from(F_SETFD), 1);
        // Blocked but not ignored: SIGCHLD is taken by the poll below.
        let action = signal::Action {
            handler: on_child as *const () as u64,
            flags: 0x0400_0000,
            restorer: crate::arch::pz_restore as *const () as u64,
            mask: 0,
        };
        syscall4(
            __NR_rt_sigaction,
            u64::from(SIGCHLD),
            &raw const action as u64,
            0,
            8,
        );
    }
    let _ = thread.ask(Request::Init, &[EVENT_READY, 0, 0]);
    let wait_mask: u64 = !(1u64 << (SIGCHLD - 1));
    loop {
        reap(thread);
        let poll = [u64::from(FD_SPAWN) | (1 << 32)];
        let got = unsafe {
            syscall6(
                __NR_ppoll,
                [
                    poll.as_ptr() as u64,
                    1,
                    0,
                    &raw const wait_mask as u64,
                    8,
                    0,
                ],
            )
        };
        if got > 0 && !serve(thread) {
            // The monitor is gone. Should the guardian be too, nobody else ends the zone: Landlock
            // holds this signal within it.
            unsafe {
                syscall2(__NR_kill, u64::MAX, u64::from(SIGKILL));
                syscall1(__NR_exit_group, 0);
            }
        }
    }
}

fn reap(thread: &Thread) {
    loop {
        let mut status = 0i32;
        let child = unsafe {
            syscall4(
                __NR_wait4,
                u64::MAX,
                &raw mut status as u64,
                u64::from(WNOHANG),
                0,
            )
        };
        if child <= 0 {
            return;
        }
        if status & 0x7f == 0x7f {
            // Its parent is its tracer (PTRACE_TRACEME), which init is not.
            let signal = (status >> 8) as u32;
            let signal = if signal == SIGTRAP || signal > 64 {
                0
            } else {
                signal
            };
            unsafe {
                syscall4(
                    __NR_ptrace,
                    u64::from(linux_raw_sys::ptrace::PTRACE_DETACH),
                    child as u64,
                    0,
                    u64::from(signal),
                )
            };
            continue;
        }
        if clerk::is_forgotten(child as u32) {
            continue;
        }
        let zone = pids::to_zone_or_0(child as i32);
        pids::reaped(child as u32);
        let _ = thread.ask(
            Request::Init,
            &[EVENT_ENDED, u64::from(zone), status as u64],
        );
    }
}

/// Takes one request. False if the socket is closed.
fn serve(thread: &mut Thread) -> bool {
    let packet = &raw mut PACKET;
    let part = [packet as u64, SPAWN_MAX as u64];
    let mut received = [0; 3];
    let (got, count) = socket::receive(u64::from(FD_SPAWN), part, &mut received, 0);
    if got <= 0 {
        return got == -4;
    }
    let spawn = unsafe { &*(packet as *const Spawn) };
    let has_fds = count == received.len();
    let fds = received.map(|fd| fd as u32);
    if spawn.is_clerk != 0 {
        start_clerk(thread, fds);
        return true;
    }
    let zone = pids::allocate_any().unwrap_or(0);
    thread.birth = commons().birth();
    let child = unsafe { syscall6(__NR_clone, [u64::from(SIGCHLD), 0, 0, 0, 0, 0]) };
    if child == 0 {
        start(thread, spawn, fds, zone);
    }
    if child > 0 {
        pids::register(zone, child as u32);
    }
    if has_fds {
        for fd in fds {
            unsafe { syscall1(__NR_close, u64::from(fd)) };
        }
    }
    let _ = thread.ask(
        Request::Init,
        &[
            EVENT_STARTED,
            spawn.cookie,
            if child > 0 { u64::from(zone) } else { 0 },
        ],
    );
    true
}

/// Forks a clerk, whose socket the first descriptor is.
#[cold]
fn start_clerk(thread: &mut Thread, fds: [u32; 3]) {
    let child = unsafe { syscall6(__NR_clone, [u64::from(SIGCHLD), 0, 0, 0, 0, 0]) };
    if child == 0 {
        unsafe { syscall2(__NR_dup2, u64::from(fds[0]), 0) };
        for fd in fds.iter().filter(|&&fd| fd > 0) {
            unsafe { syscall1(__NR_close, u64::from(*fd)) };
        }
        unsafe { syscall1(__NR_close, u64::from(FD_SPAWN)) };
        clerk::run(thread);
    }
    for fd in fds {
        unsafe { syscall1(__NR_close, u64::from(fd)) };
    }
}

/// In the child: descriptors, session, credentials, working directory, program.
fn start(thread: &mut Thread, spawn: &Spawn, fds: [u32; 3], zone: u32) -> ! {
    let process = thread.process();
    thread.learn_tid();
    process.host_pid = thread.host_tid;
    process.zone_pid = zone;
    pids::register(zone, process.host_pid);
    handover::release(process.host_pid);
    let count = (spawn.group_count as usize).min(spawn.groups.len());
    thread.credentials = Credentials::of_user(spawn.uid, spawn.gid, &spawn.groups[..count]);
    pids::store_credentials(zone, &thread.credentials);
    unsafe {
        let action = signal::Action::default();
        syscall4(
            __NR_rt_sigaction,
            u64::from(SIGCHLD),
            &raw const action as u64,
            0,
            8,
        );
        for (to, fd) in fds.iter().enumerate() {
            syscall2(__NR_dup2, u64::from(*fd), to as u64);
        }
        for fd in fds.iter().filter(|&&fd| fd > 2) {
            syscall1(__NR_close, u64::from(*fd));
        }
        syscall1(__NR_setsid, 0);
        if spawn.is_tty != 0 {
            const TIOCSCTTY: u64 = 0x540e;
            syscall3(__NR_ioctl, u64::from(spawn.tty_fd), TIOCSCTTY, 0);
        }
        syscall1(__NR_umask, 0o022);
    }
    if spawn.trapped.iter().any(|&word| word != 0) && !native::trap(&spawn.trapped) {
        die("picozone: native calls cannot be brought to the personality\n");
    }
    let text = &spawn.text[..(spawn.text_len as usize).min(spawn.text.len())];
    let mut strings = text.split(|&b| b == 0);
    let cwd = strings.next().unwrap_or(b"/");
    let path = strings.next().unwrap_or(b"");
    if crate::path::chdir_bytes(thread, cwd).is_err() {
        let _ = crate::path::chdir_bytes(thread, b"/");
    }
    clients::become_one(thread);
    let vectors = &raw mut VECTORS;
    unsafe {
        let (argv, envp) = (&raw mut (*vectors)[0], &raw mut (*vectors)[1]);
        for i in 0..(spawn.arg_count as usize).min(1023) {
            (*argv)[i] = strings.next().map_or(0, |s| s.as_ptr() as u64);
        }
        for i in 0..(spawn.env_count as usize).min(1023) {
            (*envp)[i] = strings.next().map_or(0, |s| s.as_ptr() as u64);
        }
        let errno = match exec::first(thread, path, argv as u64, envp as u64, 0) {
            Ok(_) => 0,
            Err(errno) => {
                let name = errno.name().unwrap_or("unknown error");
                for part in [
                    "zone: cannot execute ".as_bytes(),
                    path,
                    b": ",
                    name.as_bytes(),
                    b"\n",
                ] {
                    syscall3(__NR_write, 2, part.as_ptr() as u64, part.len() as u64);
                }
                errno.to_ret().unsigned_abs()
            }
        };
        syscall1(__NR_exit_group, if errno == 2 { 127 } else { 126 });
    }
    die("")
}
