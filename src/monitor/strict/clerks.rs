//! Clerks: who makes the calls of clients. There are as many as there were calls at one time, each with a
//! thread here that hands it one job after the other.

use super::super::descriptors::{own_path, pair};
use super::super::notify::{Call, Listener};
use super::super::procfs::View;
use super::super::requests::handed;
use super::super::rights::User;
use super::super::zone::Zone;
use super::jobs::{ANSWER_MAX, Answered, Wanted, path_of};
use super::lock;
use crossbeam::channel::{Receiver, Sender, unbounded};
use hashbrown::HashMap;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, MsgFlags, SockType, recv, sendmsg};
use nix::unistd::Pid;
use picozone_personality::clients::{BY_SOCKET, TERMINAL};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel};
use std::sync::{Arc, Mutex};

/// How many calls are made at one time; more wait.
const MOST: usize = 64;
/// How long a clerk may take to say that it runs.
const START_MS: u16 = 10_000;
/// How often is looked whether a client still waits.
const LOOK_MS: u16 = 50;

/// All clerks of a zone.
pub struct Clerks {
    jobs: (Sender<Call>, Receiver<Call>),
    /// Threads that wait for a job, less the jobs that wait.
    idle: Mutex<usize>,
    count: AtomicUsize,
    /// The thread for which each works, by the clerk's host pid.
    clients: Mutex<HashMap<u32, u32>>,
}

/// One clerk.
struct Clerk {
    socket: OwnedFd,
    tid: u32,
}

impl Clerks {
    pub fn new() -> Clerks {
        Clerks {
            jobs: unbounded(),
            idle: Mutex::new(0),
            count: AtomicUsize::new(0),
            clients: Mutex::default(),
        }
    }

    /// The thread that a clerk works for.
    pub fn client_of(&self, tid: u32) -> Option<u32> {
        lock(&self.clients).get(&tid).copied()
    }

    /// Has a call made.
    pub fn defer(&self, zone: &Arc<Zone>, listener: &Arc<Listener>, call: Call) {
        let has_idle = {
            let mut idle = lock(&self.idle);
            let has = *idle > 0;
            *idle -= usize::from(has);
            has
        };
        if !has_idle && self.count.fetch_add(1, AcqRel) < MOST {
            let (zone, listener) = (Arc::clone(zone), Arc::clone(listener));
            std::thread::spawn(move || attend(&zone, &listener));
        }
        // The receiver lives as long.
        let _ = self.jobs.0.send(call);
    }
}

/// Has one clerk make calls until the zone ends.
fn attend(zone: &Zone, listener: &Listener) {
    let clerks = &zone.strict.clerks;
    let mut clerk = None;
    while let Ok(call) = clerks.jobs.1.recv() {
        let result = serve(zone, listener, call, &mut clerk);
        listener.answer(call, result);
        *lock(&clerks.idle) += 1;
    }
}

fn serve(
    zone: &Zone,
    listener: &Listener,
    call: Call,
    clerk: &mut Option<Clerk>,
) -> Result<i64, i32> {
    let strict = &zone.strict;
    let leader = strict.leader(call.tid).ok_or(libc::EPERM)?;
    let process = strict.process(zone, call.tid)?;
    let object = |cookie: u64| handed(zone, call.tid, cookie);
    let wanted = Wanted::read(zone, call.tid, leader, process, object)?;
    if clerk.is_none() {
        *clerk = Some(start(zone)?);
    }
    let made = clerk.as_ref().ok_or(libc::EAGAIN)?;
    lock(&strict.clerks.clients).insert(made.tid, call.tid);
    let answered = made.make(listener, call, &wanted);
    lock(&strict.clerks.clients).remove(&made.tid);
    let answered = match answered {
        Ok(answered) => answered,
        Err(errno) => {
            // It is still at work for somebody who does not wait any more, or is gone.
            let _ = kill(Pid::from_raw(made.tid.cast_signed()), Signal::SIGKILL);
            *clerk = None;
            return Err(errno);
        }
    };
    zone.shared.write_data(call.tid, &answered.data);
    if answered.value < 0 {
        return Err(i32::try_from(-answered.value).unwrap_or(libc::EIO));
    }
    if answered.gives == 0 {
        return Ok(answered.value);
    }
    let is_cloexec = answered.gives == 2;
    let given = handed(zone, made.tid, u64::from(made.tid))?;
    // The clerk has looked at the way before it went it; now it is sure which one that was.
    if let Some(path) = path_of(zone, &given) {
        let user = User::known(&zone.credentials(process));
        user.may_walk(zone, &path, &wanted.from)?;
    }
    let flags = fcntl(&given, FcntlArg::F_GETFL).map_err(|errno| errno as i32)?;
    if !OFlag::from_bits_retain(flags).contains(OFlag::O_PATH) {
        let number = listener.add(call, given.as_fd(), is_cloexec)?;
        let host = std::fs::read_link(own_path(&given)).unwrap_or_default();
        let kind = if host.starts_with("/dev/pts") {
            TERMINAL
        } else {
            0
        };
        return i64::try_from(kind | u64::from(number.unsigned_abs())).map_err(|_| libc::EIO);
    }
    // What only names a file, the kernel installs by a message only.
    let client = lock(&strict.clients).get(&leader.0).cloned();
    let names = client.ok_or(libc::EPERM)?.names;
    let raw = [given.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&raw)];
    let part = [IoSlice::new(&[0; 8])];
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<()>(names.as_raw_fd(), &part, &rights, flags, None).map_err(|errno| errno as i32)?;
    let kept = if is_cloexec { libc::O_CLOEXEC } else { 0 };
    i64::try_from(BY_SOCKET | u64::from(kept.unsigned_abs())).map_err(|_| libc::EIO)
}

/// Has zone init fork one.
fn start(zone: &Zone) -> Result<Clerk, i32> {
    let (ours, theirs) = pair(SockType::SeqPacket).map_err(|errno| errno as i32)?;
    zone.programs.start_clerk(theirs.as_fd())?;
    drop(theirs);
    let mut tid = [0; 4];
    let is_there = wait(&ours, START_MS)?
        && recv(ours.as_raw_fd(), &mut tid, MsgFlags::empty()).is_ok_and(|got| got == 4);
    let tid = u32::from_ne_bytes(tid);
    if is_there && tid != 0 {
        Ok(Clerk { socket: ours, tid })
    } else {
        Err(libc::EAGAIN)
    }
}

/// Whether something came on a socket within that time.
fn wait(socket: &OwnedFd, most: u16) -> Result<bool, i32> {
    let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    match poll(&mut polled, PollTimeout::from(most)) {
        Ok(count) => Ok(count > 0),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno as i32),
    }
}

impl Clerk {
    /// Hands it a job, and waits for what becomes of it.
    ///
    /// # Errors
    /// ECANCELED: a signal has come to the client, or it is gone; EIO: the clerk is.
    fn make(&self, listener: &Listener, call: Call, wanted: &Wanted) -> Result<Answered, i32> {
        let raw: Vec<i32> = wanted.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let rights = if raw.is_empty() { &[][..] } else { &rights };
        let parts = [IoSlice::new(wanted.bytes())];
        let flags = MsgFlags::MSG_NOSIGNAL;
        sendmsg::<()>(self.socket.as_raw_fd(), &parts, rights, flags, None)
            .map_err(|_| libc::EIO)?;
        while !wait(&self.socket, LOOK_MS)? {
            if !listener.is_waiting(call) || has_signal(call.tid, wanted.mask) {
                return Err(libc::ECANCELED);
            }
        }
        let mut bytes = vec![0; ANSWER_MAX];
        let got = recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::empty());
        let got = got.map_err(|_| libc::EIO)?;
        Answered::read(&bytes[..got]).ok_or(libc::EIO)
    }
}

/// Whether a thread has a signal to take (proc_pid_status(5)) that its guest does not block: a request, once
/// taken, is not interrupted by the kernel.
fn has_signal(tid: u32, mask: Option<u64>) -> bool {
    let Ok(status) = crate::proc_text::read(format!("/proc/{tid}/status")) else {
        return true;
    };
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| u64::from_str_radix(value.trim(), 16).ok())
            .unwrap_or(0)
    };
    let blocked = mask.unwrap_or_else(|| set("SigBlk:"));
    (set("SigPnd:") | set("ShdPnd:")) & !blocked & !set("SigIgn:") != 0
}
