//! Settings of a zone: the files of `/proc/sys` whose values are the zone's own.
//!
//! Who opens one for writing gets a file in memory, empty at first. Whenever anything is asked of the
//! monitor, what was written meanwhile is taken over, so that it holds by the time that anybody can
//! tell. write(2) itself is between the guest and the kernel: it does not fail for what is no value,
//! which changes nothing and is logged. All other settings are the host's, and cannot be opened for
//! writing. None survives the zone's run, as natively.
//!
//! Neighbours: [`super::procfs`] lists the files, [`super::served`] opens them. One lock, under which
//! those of IPC and keys are taken.

use super::descriptors::own_path;
use super::files::errno;
use super::procfs::{View, content_name};
use super::zone::Zone;
use super::{ipc, keys, requests};
use nix::fcntl::OFlag;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};
use picozone_personality::commons::ZONE_PID_LIMIT;
use picozone_personality::tables::Protected;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::{Mutex, PoisonError};

/// Files that are open for writing at one time.
const OPEN_MAX: usize = 64;
/// Longest value that is looked at, in bytes.
const VALUE_MAX: usize = 256;
/// `struct inotify_event`, without a name.
const EVENT_SIZE: usize = 16;

struct Row {
    /// Its path, relative to `/proc`.
    path: &'static str,
    show: fn(&Zone, &str) -> String,
    /// `None` if it is no value.
    set: fn(&Zone, &str, &str) -> Option<()>,
}

const fn of_ipc(path: &'static str) -> Row {
    Row {
        path,
        show: ipc::limit,
        set: |zone, name, value| ipc::set_limit(zone, name, &numbers(value)?),
    }
}

const fn of_keys(path: &'static str) -> Row {
    Row {
        path,
        show: |zone, name| keys::limit(zone, name).to_string(),
        set: |zone, name, value| keys::set_limit(zone, name, one(value)?),
    }
}

/// Asks the kernel to put memory in order. It is the host's, which does that when it has to.
const fn hint(path: &'static str) -> Row {
    Row {
        path,
        show: |_, _| String::new(),
        set: |_, _, value| one(value).map(drop),
    }
}

/// One of those that protect what is in directories that everybody writes; `MAX` as the kernel has it.
const fn of_files<const MAX: u32>(path: &'static str) -> Row {
    Row {
        path,
        show: |zone, name| {
            protection(zone, name)
                .map_or(0, |word| word.load(Relaxed))
                .to_string()
        },
        set: |zone, name, value| {
            let value = u32::try_from(one(value)?)
                .ok()
                .filter(|value| *value <= MAX)?;
            protection(zone, name)?.store(value, Release);
            Some(())
        },
    }
}

/// What protects, by the names of its settings.
pub fn protections(protected: &Protected) -> [(&'static str, &AtomicU32); 4] {
    [
        ("protected_fifos", &protected.fifos),
        ("protected_hardlinks", &protected.hardlinks),
        ("protected_regular", &protected.regular),
        ("protected_symlinks", &protected.symlinks),
    ]
}

fn protection(zone: &Zone, name: &str) -> Option<&'static AtomicU32> {
    let all = protections(&zone.shared.tables().protected);
    all.into_iter().find(|row| row.0 == name).map(|row| row.1)
}

static ROWS: &[Row] = &[
    of_ipc("sys/fs/mqueue/queues_max"),
    of_files::<2>("sys/fs/protected_fifos"),
    of_files::<1>("sys/fs/protected_hardlinks"),
    of_files::<2>("sys/fs/protected_regular"),
    of_files::<1>("sys/fs/protected_symlinks"),
    Row {
        path: "sys/kernel/domainname",
        show: |zone, _| text(zone.domainname()),
        set: |zone, _, value| set_name(zone, 1, value),
    },
    Row {
        path: "sys/kernel/hostname",
        show: |zone, _| text(zone.hostname()),
        set: |zone, _, value| set_name(zone, 0, value),
    },
    of_keys("sys/kernel/keys/maxbytes"),
    of_keys("sys/kernel/keys/maxkeys"),
    of_keys("sys/kernel/keys/persistent_keyring_expiry"),
    of_keys("sys/kernel/keys/root_maxbytes"),
    of_keys("sys/kernel/keys/root_maxkeys"),
    of_ipc("sys/kernel/msg_next_id"),
    of_ipc("sys/kernel/msgmax"),
    of_ipc("sys/kernel/msgmnb"),
    of_ipc("sys/kernel/msgmni"),
    Row {
        path: "sys/kernel/ns_last_pid",
        show: |zone, _| (next_pid(zone).load(Relaxed).max(1) - 1).to_string(),
        set: |zone, _, value| {
            let last = u32::try_from(one(value)?).ok()?;
            (last < ZONE_PID_LIMIT - 1).then(|| next_pid(zone).store(last + 1, Relaxed))
        },
    },
    of_ipc("sys/kernel/sem"),
    of_ipc("sys/kernel/sem_next_id"),
    of_ipc("sys/kernel/shm_next_id"),
    of_ipc("sys/kernel/shmall"),
    of_ipc("sys/kernel/shmmax"),
    of_ipc("sys/kernel/shmmni"),
    hint("sys/vm/compact_memory"),
    hint("sys/vm/drop_caches"),
];

/// Of a name that is too long, the kernel takes as much as it has room for.
fn set_name(zone: &Zone, which: u64, value: &str) -> Option<()> {
    let name = value.as_bytes();
    let name = name.get(..64).unwrap_or(name);
    requests::set_name(zone, which, name).ok().map(drop)
}

fn next_pid(zone: &Zone) -> &std::sync::atomic::AtomicU32 {
    &zone.shared.commons().next_pid
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn numbers(value: &str) -> Option<Vec<i128>> {
    let words = value.split_ascii_whitespace();
    words.map(|word| word.parse().ok()).collect()
}

fn one(value: &str) -> Option<u64> {
    match numbers(value)?.as_slice() {
        [number] => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn find(path: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.path == path)
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The value of a setting, as its file shows it.
#[must_use]
pub fn show(zone: &Zone, path: &str) -> Vec<u8> {
    let value = find(path).map(|row| (row.show)(zone, name(path)));
    format!("{}\n", value.unwrap_or_default()).into_bytes()
}

/// The settings that are being written.
#[derive(Default)]
pub struct Settings(Mutex<State>);

#[derive(Default)]
struct State {
    open: Vec<Open>,
    /// Tells when one is closed.
    watcher: Option<File>,
}

/// A file that a guest may write.
struct Open {
    row: &'static Row,
    file: File,
    watch: i32,
    seen: Vec<u8>,
}

/// Opens a setting for writing; only the zone's root may ask for it.
///
/// # Errors
/// ENFILE if there are too many; what the kernel says.
pub fn open(zone: &Zone, path: &str, flags: OFlag) -> Result<OwnedFd, i32> {
    let row = find(path).ok_or(libc::EACCES)?;
    // What was not written could not be told from what was.
    if flags & OFlag::O_ACCMODE != OFlag::O_WRONLY {
        return Err(libc::EACCES);
    }
    let memory = content_name(format!("/proc/{path}").as_bytes(), None);
    let memory = memfd_create(memory.as_c_str(), MFdFlags::MFD_CLOEXEC).map_err(number)?;
    fchmod(&memory, Mode::from_bits_retain(0o644)).map_err(number)?;
    let place = own_path(&memory);
    let file = File::open(&place).map_err(errno)?;
    let mut state = zone
        .settings
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if state.open.len() >= OPEN_MAX {
        return Err(libc::ENFILE);
    }
    let watch = state.watch(&place)?;
    let kept = flags & (OFlag::O_APPEND | OFlag::O_NONBLOCK);
    let opened = OpenOptions::new()
        .write(true)
        .custom_flags(kept.bits())
        .open(&place)
        .map_err(errno)?;
    state.open.push(Open {
        row,
        file,
        watch,
        seen: Vec::new(),
    });
    state.count(zone);
    Ok(opened.into())
}

fn number(errno: nix::errno::Errno) -> i32 {
    errno as i32
}

/// Takes over what was written.
pub fn settle(zone: &Zone) {
    if zone.shared.tables().settings_open.load(Relaxed) == 0 {
        return;
    }
    let mut state = zone
        .settings
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    // Nothing is written any more to what was closed before it is read.
    let closed = state.closed();
    state.open.retain_mut(|open| {
        open.take(zone);
        !closed.contains(&open.watch)
    });
    state.count(zone);
}

impl State {
    fn count(&self, zone: &Zone) {
        let count = u32::try_from(self.open.len()).unwrap_or(u32::MAX);
        zone.shared.tables().settings_open.store(count, Release);
    }

    fn watch(&mut self, place: &std::path::Path) -> Result<i32, i32> {
        if self.watcher.is_none() {
            // SAFETY: takes flags only.
            let made = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
            if made < 0 {
                return Err(errno(std::io::Error::last_os_error()));
            }
            // SAFETY: just made, and nobody else's.
            let made = unsafe { OwnedFd::from_raw_fd(made) };
            self.watcher = Some(made.into());
        }
        let watcher = self.watcher.as_ref().ok_or(libc::EMFILE)?;
        let place = std::ffi::CString::new(place.as_os_str().as_bytes());
        let place = place.map_err(|_| libc::EINVAL)?;
        let watcher = watcher.as_raw_fd();
        // SAFETY: the path is ours.
        let watch =
            unsafe { libc::inotify_add_watch(watcher, place.as_ptr(), libc::IN_CLOSE_WRITE) };
        if watch < 0 {
            Err(errno(std::io::Error::last_os_error()))
        } else {
            Ok(watch)
        }
    }

    /// The watches of what was closed since the last look.
    fn closed(&mut self) -> Vec<i32> {
        let mut closed = Vec::new();
        let mut room = [0; 64 * EVENT_SIZE];
        while let Some(watcher) = &mut self.watcher
            && let Ok(length @ 1..) = watcher.read(&mut room)
        {
            let events = room.get(..length).unwrap_or_default();
            for event in events.as_chunks::<EVENT_SIZE>().0 {
                let [watch, mask, ..] = event.as_chunks::<4>().0 else {
                    continue;
                };
                if u32::from_ne_bytes(*mask) & libc::IN_CLOSE_WRITE != 0 {
                    closed.push(i32::from_ne_bytes(*watch));
                }
            }
        }
        closed
    }
}

impl Open {
    fn take(&mut self, zone: &Zone) {
        let mut room = [0; VALUE_MAX];
        let length = self.file.read_at(&mut room, 0).unwrap_or(0);
        let written = room.get(..length).unwrap_or_default();
        if written == self.seen {
            return;
        }
        self.seen = written.to_vec();
        let end = written.iter().position(|byte| b"\n\0".contains(byte));
        let value = std::str::from_utf8(&written[..end.unwrap_or(length)]);
        let taken = value
            .ok()
            .and_then(|value| (self.row.set)(zone, name(self.row.path), value));
        if taken.is_none() {
            tracing::warn!(
                "{} is no value of {}",
                written.escape_ascii(),
                self.row.path
            );
        }
    }
}
