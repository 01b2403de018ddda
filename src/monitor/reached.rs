//! Files that guests' descriptors name, found by few calls of the kernel.
//!
//! What a request is about is found through `/proc`, and where it lies by the text of a link there: each a
//! walk that takes longer than most changes of attributes. So the directories that these walks lead
//! through are held, and the file of the last change is kept for a moment: archivers give each file that
//! they make its times, its owner and its mode, one after the other.
//!
//! A kept file is found again by the thread that it was found for, by the same descriptor, if that thread says
//! that it still is the same file ([`file_word`](picozone_personality::mailbox::file_word)). Who lies
//! there changes what it might have changed a moment ago: whether the zone may change a file was looked
//! at when it was found, holds for [`KEPT`], and no longer than the mounts are as they were.

use super::descriptors::{self, CWD};
use super::threads;
use super::zone::Zone;
use crate::error::{Doing, Result};
use crate::ids::HostPid;
use nix::errno::Errno;
use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a file is kept, in milliseconds. Whoever removes it meanwhile has its room a moment later.
const KEPT: u64 = 50;
/// Room for a path of `/proc` that ends with a descriptor.
const NAME_ROOM: usize = 64;
const OWN: &str = "/proc/self/fd";
/// The kernel tells no longer text of a link in `/proc`.
const TEXT_ROOM: usize = 4096;

/// What is held.
pub struct Reached {
    /// `/proc/self/fd`.
    own: OwnedFd,
    state: Mutex<State>,
    is_more: Condvar,
    /// How often the mounts have changed.
    mounts: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The last thread that a file was found for, and its directory of descriptors, if it was not the
    /// first.
    thread: Option<(HostPid, Option<OwnedFd>)>,
    kept: Option<Kept>,
    /// Whether somebody looks after what is kept.
    is_attended: bool,
}

/// Which file a request says that it is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    thread: HostPid,
    fd: i32,
    /// 0: it does not say.
    word: u64,
    /// How often the mounts had changed before the file was looked for.
    mounts: u64,
}

/// A file that the zone may change.
pub struct Kept {
    key: Key,
    /// When that was found, in milliseconds.
    since: u64,
    /// `O_PATH`.
    pub file: OwnedFd,
}

impl Reached {
    /// Holds nothing of guests yet.
    ///
    /// # Errors
    /// `/proc` cannot be opened.
    pub fn open() -> Result<Reached> {
        Ok(Reached {
            own: File::open(OWN).doing("open", OWN)?.into(),
            state: Mutex::default(),
            is_more: Condvar::new(),
            mounts: AtomicU64::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`descriptors::open_path`].
    ///
    /// # Errors
    /// EBADF.
    pub fn open_path(&self, thread: HostPid, fd: i32) -> std::result::Result<OwnedFd, i32> {
        if fd == CWD {
            return descriptors::open_path(thread, fd);
        }
        let known = self.lock().thread.take_if(|(known, _)| *known == thread);
        let is_first = known.is_none();
        let mut directory = known.and_then(|(_, directory)| directory);
        let beneath = |held: &OwnedFd| open_at(held.as_raw_fd(), format_args!("{fd}"), 0);
        // Where the number has been given to another thread, the one that was held is of no use.
        let mut found = directory.as_ref().map_or(Err(libc::EBADF), beneath);
        if found.is_err() && is_first {
            found = open_at(libc::AT_FDCWD, format_args!("/proc/{thread}/fd/{fd}"), 0);
        } else if found.is_err() {
            let path = format_args!("/proc/{thread}/fd");
            directory = open_at(libc::AT_FDCWD, path, libc::O_DIRECTORY).ok();
            found = directory.as_ref().map_or(Err(libc::EBADF), beneath);
        }
        self.lock().thread = Some((thread, directory));
        found.map_err(|_| libc::EBADF)
    }

    /// The host path behind an own descriptor, in `room`.
    ///
    /// # Errors
    /// ENAMETOOLONG: the kernel does not tell it.
    pub fn path_of<'r>(
        &self,
        file: &OwnedFd,
        room: &'r mut TextRoom,
    ) -> std::result::Result<&'r [u8], i32> {
        let mut name = [0; NAME_ROOM];
        let name = put(&mut name, format_args!("{}", file.as_raw_fd()))?;
        let to = room.as_mut_ptr().cast();
        // SAFETY: a string of ours, and room for as much as is said.
        let length =
            unsafe { libc::readlinkat(self.own.as_raw_fd(), name.as_ptr(), to, TEXT_ROOM) };
        let length = usize::try_from(length).map_err(|_| Errno::last_raw())?;
        // SAFETY: the kernel has filled so much.
        Ok(unsafe { std::slice::from_raw_parts(to.cast(), length) })
    }

    /// By which a file is found again.
    #[must_use]
    pub fn key(&self, thread: HostPid, fd: u64, word: u64) -> Key {
        Key {
            thread,
            // What is none is no file's, and never kept.
            fd: i32::try_from(fd.cast_signed()).unwrap_or(CWD),
            word,
            mounts: self.mounts.load(Acquire),
        }
    }

    /// The file that was found by this key a moment ago, if that is kept. Whatever was kept is not any more.
    #[must_use]
    pub fn take(&self, key: Key) -> Option<Kept> {
        let kept = self.lock().kept.take()?;
        (kept.key == key && !kept.is_old()).then_some(kept)
    }

    /// A file that was found now.
    #[must_use]
    pub fn found(key: Key, file: OwnedFd) -> Kept {
        let since = now();
        Kept { key, since, file }
    }

    /// Keeps a file for the next request, if one by its key could be made.
    pub fn keep(&self, kept: Kept) {
        if kept.key.word == 0 || kept.key.fd == CWD {
            return;
        }
        let mut state = self.lock();
        let before = state.kept.replace(kept);
        if !state.is_attended {
            state.is_attended = true;
            self.is_more.notify_one();
        }
        drop(state);
        drop(before);
    }

    /// Whether the zone may change a file may be another question now.
    pub fn note_mounts(&self) {
        self.mounts.fetch_add(1, Release);
    }

    fn attend(&self) {
        loop {
            let state = self.lock();
            drop(self.is_more.wait_while(state, |state| !state.is_attended));
            std::thread::sleep(Duration::from_millis(KEPT));
            let mut state = self.lock();
            let old = state.kept.take_if(|kept| kept.is_old());
            state.is_attended = state.kept.is_some();
            drop(state);
            drop(old);
        }
    }
}

impl Kept {
    fn is_old(&self) -> bool {
        now().saturating_sub(self.since) >= KEPT
    }
}

/// Starts the thread that lets go of what is not asked for again.
///
/// # Errors
/// As of pthread_create(3).
pub fn begin(zone: &Arc<Zone>) -> Result<()> {
    let zone = Arc::clone(zone);
    threads::begin("reached", move || zone.reached.attend()).doing("start", "a thread")
}

/// Room for the text of a link.
pub type TextRoom = [MaybeUninit<u8>; TEXT_ROOM];

/// That room, empty.
#[must_use]
pub const fn text_room() -> TextRoom {
    [MaybeUninit::uninit(); TEXT_ROOM]
}

/// A text with its NUL.
fn put<'r>(
    room: &'r mut [u8; NAME_ROOM],
    text: std::fmt::Arguments<'_>,
) -> std::result::Result<&'r CStr, i32> {
    // The last byte stays.
    let mut rest = &mut room[..NAME_ROOM - 1];
    rest.write_fmt(text).map_err(|_| libc::ENAMETOOLONG)?;
    CStr::from_bytes_until_nul(room).map_err(|_| libc::ENAMETOOLONG)
}

/// Opens a path by `O_PATH`.
fn open_at(
    at: i32,
    path: std::fmt::Arguments<'_>,
    flags: i32,
) -> std::result::Result<OwnedFd, i32> {
    let mut room = [0; NAME_ROOM];
    let path = put(&mut room, path)?;
    // SAFETY: a string of ours.
    let fd = unsafe { libc::openat(at, path.as_ptr(), flags | libc::O_PATH | libc::O_CLOEXEC) };
    let fd = Errno::result(fd).map_err(|errno| errno as i32)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Milliseconds of a clock that is read without a call, by ticks.
fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    let [seconds, nanoseconds] = [time.tv_sec, time.tv_nsec].map(i64::cast_unsigned);
    seconds * 1000 + nanoseconds / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> HostPid {
        HostPid(std::process::id())
    }

    fn path(reached: &Reached, file: &OwnedFd) -> Vec<u8> {
        let mut room = text_room();
        reached.path_of(file, &mut room).expect("a path").to_vec()
    }

    #[test]
    fn descriptors_are_found_by_whatever_is_held() {
        let reached = Reached::open().expect("/proc");
        let dev = OwnedFd::from(File::open("/dev").expect("opened"));
        // The long way, then by a directory made for it, then by that.
        for _ in 0..3 {
            let file = reached.open_path(own(), dev.as_raw_fd()).expect("open");
            assert_eq!(path(&reached, &file), b"/dev");
        }
        let closed = dev.as_raw_fd();
        drop(dev);
        let again = reached.open_path(own(), closed);
        assert!(again.is_err() || path(&reached, &again.expect("open")) != b"/dev");
        let cwd = reached.open_path(own(), CWD).expect("open");
        let expected = std::env::current_dir().expect("there is one");
        assert_eq!(
            path(&reached, &cwd),
            expected.as_os_str().as_encoded_bytes()
        );
    }

    #[test]
    fn the_directory_of_a_dead_thread_is_let_go() {
        let reached = Reached::open().expect("/proc");
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep");
        let dead = HostPid(child.id());
        for _ in 0..2 {
            reached.open_path(dead, 0).expect("open");
        }
        child.kill().expect("killed");
        child.wait().expect("reaped");
        assert_eq!(reached.open_path(dead, 0).map(drop), Err(libc::EBADF));
    }

    #[test]
    fn a_file_is_kept_for_its_key_only_and_once() {
        let reached = Reached::open().expect("/proc");
        let file = || OwnedFd::from(File::open("/dev/null").expect("opened"));
        let key = reached.key(own(), 3, 7);
        let others = [
            reached.key(HostPid(1), 3, 7),
            reached.key(own(), 4, 7),
            reached.key(own(), 3, 8),
        ];
        for other in others {
            reached.keep(Reached::found(key, file()));
            assert!(reached.take(other).is_none());
            assert!(reached.take(key).is_none(), "it was let go");
        }
        reached.keep(Reached::found(key, file()));
        assert!(reached.take(key).is_some());
        let unnamed = reached.key(own(), 3, 0);
        reached.keep(Reached::found(unnamed, file()));
        assert!(reached.take(unnamed).is_none());
        reached.keep(Reached::found(key, file()));
        reached.note_mounts();
        assert!(reached.take(reached.key(own(), 3, 7)).is_none());
        let old = Kept {
            since: now().saturating_sub(KEPT),
            ..Reached::found(key, file())
        };
        reached.keep(old);
        assert!(reached.take(key).is_none());
    }
}
