//! The layers of a zone, and what its guests ask of them.
//!
//! A copy takes as long as its file is large, so that all of it is done by threads of its own: nobody
//! waits for a copy but who asks for one.

use super::rights::as_guest;
use super::{Found, How, Layer, Record, find, open_beneath, split};
use crate::config::{Config, IdKind};
use crate::error::Result as Made;
use crate::ids::HostPid;
use crate::monitor::descriptors::{open_path, own_path};
use crate::monitor::files;
use crate::monitor::notify::{Call, Listener};
use crate::monitor::owners::Owners;
use crate::monitor::shared::Shared;
use crate::monitor::zone::Zone;
use crossbeam::channel::{Receiver, Sender, unbounded};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use picozone_fsmap::mount_id;
use picozone_personality::mailbox::raise;
use picozone_personality::origins::Key;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering::Release;
use std::sync::{Mutex, PoisonError};

/// The layers of a zone.
pub struct Layers {
    all: Vec<Layer>,
    /// Serialises writers of the table.
    writer: Mutex<()>,
    queue: (Sender<Call>, Receiver<Call>),
}

impl Layers {
    /// Opens those of a zone that is about to run, and takes over what the host has changed.
    ///
    /// # Errors
    /// A layer cannot be made or read.
    pub fn open(config: &Config, zone_dir: &Path) -> Made<Self> {
        let mut all = Vec::new();
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        let ids = [
            config.users.map(IdKind::User, uid.as_raw()),
            config.users.map(IdKind::Group, gid.as_raw()),
        ];
        for cow in config.cows() {
            let layer = Layer::open(zone_dir, cow, ids)?;
            layer.renew()?;
            all.push(layer);
        }
        Ok(Self {
            all,
            writer: Mutex::default(),
            queue: unbounded(),
        })
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Makes a directory of a layer be there, before the zone runs.
    pub fn prepare(&self, mount_point: &[u8], path: &[u8]) {
        if let Some(layer) = self.of(mount_id(mount_point)) {
            let _ = layer.directory_at(path, &|_| {});
        }
    }

    /// Fills the tables of a zone that is about to run.
    ///
    /// # Errors
    /// A journal cannot be read.
    pub fn fill(&self, shared: &Shared, owners: &Owners) -> Made<()> {
        for layer in &self.all {
            for record in layer.records()? {
                if let Some(owner) = record.owner
                    && owners.get(shared, record.id, || 0).is_none()
                {
                    // What has no room is told of in the log.
                    let _ = owners.set(shared, record.id, owner);
                }
                self.tell_origin(shared, &record);
            }
            if layer.has_linked() {
                shared.tables().linked_layers.store(1, Release);
            }
        }
        Ok(())
    }

    fn tell_origin(&self, shared: &Shared, record: &Record) {
        if record.origin.ino == 0 {
            return;
        }
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Key {
            dev: record.id.dev,
            ino: record.id.ino,
            btime: record.id.btime,
        };
        shared.tables().origins.put(key, record.origin);
    }

    fn of(&self, number: u32) -> Option<&Layer> {
        self.all.iter().find(|layer| layer.number() == number)
    }

    /// Leaves a request to the threads of [`attend`].
    pub fn defer(&self, call: Call) {
        // The receiver lives as long as this does.
        let _ = self.queue.0.send(call);
    }

    /// Makes of a stand-in what it stands for; false if there is none, or none of another name.
    fn raise(&self, zone: &Zone, directory: &OwnedFd, name: &OsStr, how: How) -> nix::Result<bool> {
        let Some(found) = find(directory, name)? else {
            return Ok(false);
        };
        let layer = self.of(found.number).ok_or(Errno::ENOENT)?;
        layer.raise(directory, name, &found, how, &|record| {
            tell(zone, layer, record);
        })
    }
}

/// Tells guests of what is about to be put into a layer.
fn tell(zone: &Zone, layer: &Layer, record: &Record) {
    if layer.has_linked() {
        zone.shared.tables().linked_layers.store(1, Release);
    }
    if let Some(owner) = record.owner {
        // The layer's journal has it, too.
        let _ = zone.owners.set(&zone.shared, record.id, owner);
    }
    zone.layers.tell_origin(&zone.shared, record);
}

/// Opens what a path beneath a mount of the zone names, where it may be a stand-in: a directory is
/// unfolded, a file that is to be written is raised.
///
/// `opened` is what the kernel gave for it; it is given back where there is no stand-in.
///
/// # Errors
/// Those of open(2).
pub fn open_end(
    zone: &Zone,
    directory: &OwnedFd,
    path: &[u8],
    flags: i32,
    mut open: impl FnMut() -> Result<OwnedFd, i32>,
) -> Result<OwnedFd, i32> {
    /// What is changed meanwhile is looked at again.
    const TRIES: usize = 16;
    let only_names = libc::O_PATH | libc::O_NOFOLLOW;
    for _ in 0..TRIES {
        let opened = open();
        let may_be_one = match &opened {
            Ok(_) => flags & only_names == only_names,
            Err(errno) => matches!(*errno, libc::EXDEV | libc::ELOOP | libc::ENOTDIR),
        };
        if zone.layers.is_empty() || !may_be_one {
            return opened;
        }
        let (front, name) = split(path);
        let to_parent = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let Ok(parent) = open_beneath(directory, front, to_parent) else {
            let (above, name) = split(front);
            let above = open_beneath(directory, above, to_parent);
            let is_file = above.is_ok_and(|above| matches!(find(&above, name), Ok(Some(_))));
            return if is_file { Err(libc::ENOTDIR) } else { opened };
        };
        let Ok(Some(found)) = find(&parent, name) else {
            return opened;
        };
        let writes = flags & libc::O_PATH == 0
            && (flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0);
        if !found.is_directory && !writes {
            return open_below(zone, &found, flags);
        }
        zone.layers
            .raise(zone, &parent, name, How::Whole)
            .map_err(|errno| errno as i32)?;
    }
    Err(libc::ENOENT)
}

fn open_below(zone: &Zone, found: &Found, flags: i32) -> Result<OwnedFd, i32> {
    let layer = zone.layers.of(found.number).ok_or(libc::ENOENT)?;
    let kept = flags & !(libc::O_CREAT | libc::O_EXCL);
    let flags = OFlag::from_bits_retain(kept);
    as_guest(|| open_beneath(&layer.pair.below, &found.path, flags)).map_err(|errno| errno as i32)
}

/// Serves what is deferred, until the zone ends.
pub fn attend(zone: &Zone, listener: &Listener) {
    while let Ok(call) = zone.layers.queue.1.recv() {
        listener.answer(call, answer(zone, listener, call));
    }
}

fn answer(zone: &Zone, listener: &Listener, call: Call) -> Result<i64, i32> {
    let args = zone.shared.read_args(call.tid);
    let caller = HostPid(call.tid);
    let how = match args[1] {
        raise::WHOLE => How::Whole,
        raise::EMPTY => How::Empty,
        raise::IF_LINKED => How::IfLinked,
        raise::DESCRIPTOR => {
            let file = open_path(caller, files::low_int(args[0]))?;
            let raised = raise_file(zone, &file)?;
            return listener.add(call, raised.as_fd(), true).map(i64::from);
        }
        _ => return Err(libc::EINVAL),
    };
    let directory = open_path(caller, files::low_int(args[0]))?;
    let host = std::fs::read_link(own_path(&directory)).map_err(files::errno)?;
    // Stand-ins may have been moved out of their layer with their directory.
    if !zone.is_writable(host.as_os_str().as_bytes()) {
        return Err(libc::EROFS);
    }
    let name = zone.shared.read_text(call.tid);
    let done = zone
        .layers
        .raise(zone, &directory, OsStr::from_bytes(&name), how);
    done.map(i64::from).map_err(|errno| errno as i32)
}

/// Raises what a descriptor of a file below names, where it lay when its directory was unfolded.
fn raise_file(zone: &Zone, file: &OwnedFd) -> Result<OwnedFd, i32> {
    let errno = |errno: Errno| errno as i32;
    let host = std::fs::read_link(own_path(file)).map_err(files::errno)?;
    let host = host.as_os_str().as_bytes();
    let lies_in = |row: &&picozone_fsmap::MountRow| {
        let rest = host.strip_prefix(row.host());
        row.is_below() && rest.is_some_and(|rest| rest.first() == Some(&b'/'))
    };
    let row = zone.rows().iter().find(lies_in).ok_or(libc::EROFS)?;
    let layer = zone.layers.of(row.flags).ok_or(libc::EROFS)?;
    let path = host.get(row.host().len() + 1..).ok_or(libc::EROFS)?;
    let (front, name) = split(path);
    let tell = |record: &Record| tell(zone, layer, record);
    let directory = layer.directory_at(front, &tell).ok_or(libc::EROFS)?;
    let below = nix::sys::stat::fstat(file).map_err(errno)?;
    if let Ok(Some(found)) = find(&directory, name) {
        if found.path != path || found.is_directory {
            return Err(libc::EROFS);
        }
        layer
            .raise(&directory, name, &found, How::Whole, &tell)
            .map_err(errno)?;
    }
    // Not by name only: seccomp(2) hands over no such descriptor.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    let raised = open_beneath(&directory, name.as_bytes(), flags).map_err(|_| libc::EROFS)?;
    // Something else may have come to be there.
    let (id, _) = crate::monitor::owners::identify(&raised)?;
    let origin = zone
        .shared
        .tables()
        .origins
        .get(id.dev, id.ino, || id.btime);
    if origin.is_none_or(|origin| (origin.dev, origin.ino) != (below.st_dev, below.st_ino)) {
        return Err(libc::EROFS);
    }
    Ok(raised)
}
