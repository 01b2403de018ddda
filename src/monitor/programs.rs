//! Programs that zone init starts on request, and who waits for them.

use crate::control::Word;
use crossbeam::channel::{Receiver, Sender, unbounded};
use picozone_personality::spawn::{GROUPS_MAX, Spawn, TEXT_MAX};
use std::collections::HashMap;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

/// What becomes of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It runs under this zone pid; 0 if it could not be started.
    Started(u32),
    /// It ended with this wait status.
    Ended(i32),
}

#[derive(Default)]
struct Waiting {
    next: u64,
    by_cookie: HashMap<u64, Told>,
    by_pid: HashMap<u32, Told>,
    /// Ends that arrived before anybody knew the pid; none is kept once nobody waits for a pid, as
    /// numbers come again.
    ended: HashMap<u32, i32>,
    is_ready: bool,
}

/// The programs of a zone.
pub struct Programs {
    socket: OwnedFd,
    waiting: Mutex<Waiting>,
    ready: (Sender<()>, Receiver<()>),
}

/// Whom a program's events are told. Those of one program come in their order; none waits.
pub type Told = Box<dyn FnMut(Event) + Send>;

/// A program to start.
pub struct Program {
    /// Arguments.
    pub argv: Vec<Word>,
    /// Environment.
    pub env: Vec<Word>,
    /// Zone path of the program.
    pub path: Vec<u8>,
    /// Working directory.
    pub cwd: Word,
    /// User, group, further groups.
    pub user: (u32, u32, Vec<u32>),
    /// Which of 0, 1, 2 is the controlling terminal.
    pub tty: Option<u32>,
    /// Numbers of native calls that come to the personality for all that.
    pub trapped: Vec<u32>,
}

impl Programs {
    /// `socket` is the other end of init's.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Programs {
        Programs {
            socket,
            waiting: Mutex::default(),
            ready: unbounded(),
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits until init has said that it runs; false after ten seconds.
    #[must_use]
    pub fn wait_ready(&self) -> bool {
        self.ready
            .1
            .recv_timeout(std::time::Duration::from_secs(10))
            .is_ok()
    }

    /// Asks init to fork a clerk that hears this socket.
    ///
    /// # Errors
    /// What sending says.
    pub fn start_clerk(&self, socket: BorrowedFd<'_>) -> Result<(), i32> {
        let mut spawn = empty();
        spawn.is_clerk = 1;
        self.send(&spawn, [socket; 3])
    }

    fn send(&self, spawn: &Spawn, fds: [BorrowedFd<'_>; 3]) -> Result<(), i32> {
        // SAFETY: `Spawn` is plain data without padding that matters; the length is a part of it.
        let bytes = unsafe {
            std::slice::from_raw_parts(std::ptr::from_ref(spawn).cast::<u8>(), spawn.length())
        };
        let raw = fds.map(|fd| fd.as_raw_fd());
        let rights = [nix::sys::socket::ControlMessage::ScmRights(&raw)];
        let flags = nix::sys::socket::MsgFlags::MSG_NOSIGNAL;
        let parts = [IoSlice::new(bytes)];
        nix::sys::socket::sendmsg::<()>(self.socket.as_raw_fd(), &parts, &rights, flags, None)
            .map(drop)
            .map_err(|errno| errno as i32)
    }

    /// Asks init to start a program on these descriptors, whose events are told from now on.
    ///
    /// # Errors
    /// E2BIG, or what sending says; then nothing is told.
    pub fn start(
        &self,
        program: &Program,
        fds: [BorrowedFd<'_>; 3],
        told: Told,
    ) -> Result<(), i32> {
        let mut text = Vec::new();
        let count = |n: usize| u32::try_from(n).map_err(|_| libc::E2BIG);
        let words = program.argv.iter().chain(&program.env);
        for string in [program.cwd.as_bytes(), &program.path]
            .into_iter()
            .chain(words.map(Word::as_bytes))
        {
            text.extend(string.iter().filter(|&&byte| byte != 0));
            text.push(0);
        }
        if text.len() > TEXT_MAX || program.argv.len() > 1000 || program.env.len() > 1000 {
            return Err(libc::E2BIG);
        }
        let (uid, gid, groups) = &program.user;
        let mut spawn = empty();
        (spawn.uid, spawn.gid) = (*uid, *gid);
        for (to, from) in spawn.groups.iter_mut().zip(groups) {
            *to = *from;
        }
        for nr in &program.trapped {
            if let Some(word) = spawn
                .trapped
                .get_mut(usize::try_from(nr / 64).unwrap_or(usize::MAX))
            {
                *word |= 1 << (nr % 64);
            }
        }
        spawn.group_count = count(groups.len().min(GROUPS_MAX))?;
        spawn.is_tty = u32::from(program.tty.is_some());
        spawn.tty_fd = program.tty.unwrap_or(0);
        spawn.arg_count = count(program.argv.len())?;
        spawn.env_count = count(program.env.len())?;
        spawn.text_len = count(text.len())?;
        spawn.text[..text.len()].copy_from_slice(&text);
        let cookie = {
            let mut waiting = self.waiting();
            waiting.next += 1;
            let cookie = waiting.next;
            waiting.by_cookie.insert(cookie, told);
            cookie
        };
        spawn.cookie = cookie;
        self.send(&spawn, fds).inspect_err(|_| {
            self.waiting().by_cookie.remove(&cookie);
        })
    }

    /// Takes what init reports.
    pub fn report(&self, event: u64, subject: u64, value: u64) {
        let mut waiting = self.waiting();
        match event {
            0 if !waiting.is_ready => {
                waiting.is_ready = true;
                let _ = self.ready.0.send(());
            }
            1 => {
                let Some(mut told) = waiting.by_cookie.remove(&subject) else {
                    return;
                };
                let pid = u32::try_from(value).unwrap_or(0);
                // Before anybody else is told its end.
                told(Event::Started(pid));
                if let Some(status) = waiting.ended.remove(&pid) {
                    told(Event::Ended(status));
                } else if pid != 0 {
                    waiting.by_pid.insert(pid, told);
                }
                if waiting.by_cookie.is_empty() {
                    waiting.ended = HashMap::new();
                }
            }
            2 => {
                let pid = u32::try_from(subject).unwrap_or(0);
                let status = super::files::low_int(value);
                if let Some(mut told) = waiting.by_pid.remove(&pid) {
                    told(Event::Ended(status));
                } else if !waiting.by_cookie.is_empty() {
                    waiting.ended.insert(pid, status);
                }
            }
            _ => {}
        }
    }
}

/// On the heap from the start: by way of the stack, all its pages would be touched there too.
fn empty() -> Box<Spawn> {
    let mut spawn = Box::<Spawn>::new_uninit();
    // SAFETY: there is room for one.
    unsafe { spawn.as_mut_ptr().write_bytes(0, 1) };
    // SAFETY: all zero is a valid `Spawn`.
    unsafe { spawn.assume_init() }
}
