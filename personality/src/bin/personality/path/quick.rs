//! The quick way to a file's attributes: its directory is at hand, its name is vetted, and the kernel
//! is asked once, without a descriptor.
//!
//! It leads where the long way does (an open that only names, the same call on the descriptor) or is
//! not taken: links at the end that are to be followed, mount points and what the monitor serves are
//! left to the long way.

use super::parents::{At, directory, mount_of_cwd};
use super::root::root;
use super::search::may_search;
use super::walk::is_served;
use super::{AT_CWD, mount_rows, mounts};
use crate::file::is_reserved;
use crate::monitor::{commons, tables};
use crate::thread::{Thread, me};
use crate::{Result, recording};
use core::ffi::CStr;
use picozone_fsmap::MountRow;
use picozone_personality::mailbox::Request;
use picozone_personality::names::{Packed, Vetted};

/// A directory and a name in it.
pub struct Named<'p> {
    at: At,
    name: Vetted<'static>,
    /// The path before the name: if it is empty, the directory is whatever the guest says it is.
    front: &'p [u8],
}

impl Named<'_> {
    /// The directory's descriptor.
    pub fn fd(&self) -> u64 {
        self.at.fd
    }

    /// The address of the name.
    pub fn name(&self) -> u64 {
        self.name.address()
    }

    /// Whether both were the same all the time: to be asked after the kernel was asked.
    #[inline]
    pub fn is_same(&self) -> bool {
        self.name.is_same() && self.at.is_same()
    }

    /// Whether what the kernel says of the name is the last word, though it be that nothing has it: the
    /// monitor's directories hold more and other things than the kernel finds in them.
    pub fn is_kernels(&self, thread: &Thread) -> bool {
        !(self.front.is_empty() && is_served(thread, self.at.fd))
    }

    /// The mount that it lies in, where that is known without a question. No link and no mount point is on
    /// the way to a directory at hand.
    pub fn mount(&self, thread: &Thread) -> Option<&'static MountRow> {
        match self.front.first() {
            Some(b'/') => {
                let (mount, _) = mounts().find(self.front);
                mount_rows().get(mount)
            }
            None if self.at.fd as i32 == AT_CWD => mount_of_cwd(thread),
            _ => None,
        }
    }
}

/// What a path names, if the quick way leads there.
///
/// # Errors
/// EACCES: the thread may not go there.
#[inline]
pub fn named<'p>(thread: &Thread, dirfd: u64, path: &'p CStr) -> Result<Option<Named<'p>>> {
    found(thread, dirfd, path, |name| commons().missed.note(name))
}

/// The same, but that no name is vetted for it.
///
/// # Errors
/// As of [`named`].
#[cold]
#[inline(never)]
pub(super) fn named_already<'p>(
    thread: &Thread,
    dirfd: u64,
    path: &'p CStr,
) -> Result<Option<Named<'p>>> {
    found(thread, dirfd, path, |_| false)
}

#[inline]
fn found<'p>(
    thread: &Thread,
    dirfd: u64,
    path: &'p CStr,
    is_to_be_vetted: impl Fn(&Packed) -> bool,
) -> Result<Option<Named<'p>>> {
    let text = path.to_bytes();
    let start = text.iter().rposition(|&b| b == b'/').map_or(0, |i| i + 1);
    let Some(packed) = Packed::of_component(&text[start..]) else {
        return Ok(None);
    };
    let is_guests = start == 0;
    let is_cwd = dirfd as i32 == AT_CWD;
    let is_fit = match text.first() {
        Some(b'/') => root(thread).is_empty(),
        _ if is_guests => !is_reserved(dirfd),
        _ => is_cwd,
    };
    if !is_fit {
        return Ok(None);
    }
    let found = tables().names.find(&packed);
    let is_wanted = found.is_none() && is_to_be_vetted(&packed);
    let at = if is_guests {
        At::fixed(dirfd)
    } else if let Some(at) = directory(thread, &text[..start]) {
        at
    } else {
        return Ok(None);
    };
    let found = if is_wanted {
        ask_for(thread, &packed)
    } else {
        found
    };
    let Some(name) = found else {
        return Ok(None);
    };
    may_search(thread, dirfd, path)?;
    if thread.record.is_open() {
        recording::host_path_by_text(me(), path);
    }
    Ok(Some(Named {
        at,
        name,
        front: &text[..start],
    }))
}

/// Has the monitor vet what was missed.
#[cold]
#[inline(never)]
fn ask_for(thread: &Thread, name: &Packed) -> Option<Vetted<'static>> {
    thread.ask(Request::Names, &[]).ok()?;
    tables().names.find(name)
}
