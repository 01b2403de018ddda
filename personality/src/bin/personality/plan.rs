//! The plan of an exec: one that is known already, or else the monitor's.

use crate::arch::syscall1;
use crate::file::program;
use crate::monitor::{commons, tables};
use crate::path::{may_walk, open_copy, open_program, root};
use crate::thread::{self, Thread};
use crate::{Errno, Result, handover::Claim, pids, room};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering::Acquire;
use linux_raw_sys::general::*;
use picozone_personality::capabilities::FilePrivileges;
use picozone_personality::layout::{FD_BASE, FD_COUNT};
use picozone_personality::mailbox::{Handover, Image, Request};
use picozone_personality::plans::{CopyName, FileId, KnownPlan, SEGMENTS};

/// Whether the program of an exec is to be mapped as it is, since a tracer is to see its calls.
pub fn is_plain(thread: &Thread) -> bool {
    thread::has_jumps() && thread.jumps == 0
}

/// Prepares an exec of a path: the plan and the descriptors it names.
pub fn prepare(
    thread: &Thread,
    claim: &mut Claim,
    dirfd: u64,
    path: &CStr,
    flags: u64,
) -> Result<()> {
    let is_client = thread.process().is_client;
    if !path.is_empty() && !is_client {
        may_walk(thread, dirfd, path)?;
    }
    if flags == 0 && !is_client && path.to_bytes().first() == Some(&b'/') {
        // Names of known plans are the zone's.
        if root(thread).is_empty() && prepare_known(thread, claim.handover, path).is_some() {
            return Ok(());
        }
        is_there(thread, path)?;
    }
    let user = &thread.credentials;
    let groups = user.groups.as_slice();
    let mailbox = thread.mailbox();
    for (to, from) in mailbox.b.as_chunks_mut().0.iter_mut().zip(groups) {
        *to = from.to_ne_bytes();
    }
    let args = [
        dirfd,
        flags,
        u64::from(user.uid[3]),
        u64::from(user.gid[3]),
        user.capabilities.effective,
        groups.len() as u64,
        u64::from(is_plain(thread)),
    ];
    let ask = || thread.ask_about(Request::Exec, path.to_bytes(), &args);
    if is_client {
        // What the next program has of its own entry.
        mailbox.head = pids::own(thread).signal_fds.load(Acquire);
        // Of what gives more than the caller has, the personality's descriptor is replaced.
        room::with_room_for(u64::from(FD_BASE + FD_COUNT), ask)?;
    } else {
        ask()?;
    }
    if !core::ptr::eq(claim.handover, &raw const mailbox.handover) {
        *claim.handover = mailbox.handover;
    }
    Ok(())
}

/// Closes the images of an exec that did not happen.
pub fn close_images(handover: &Handover) {
    close(handover.exe.fd);
    if handover.has_interp == 1 {
        close(handover.interp.fd);
    }
}

fn close(fd: i32) {
    if fd >= 0 {
        unsafe { syscall1(__NR_close, fd as u64) };
    }
}

/// A search of `PATH` executes name after name until one is there: those that are not need no plan.
fn is_there(thread: &Thread, path: &CStr) -> Result<()> {
    match open_program(thread, path) {
        Ok(Some(fd)) => close(fd as i32),
        Err(errno @ (Errno::ENOENT | Errno::ENOTDIR)) => return Err(errno),
        // The monitor's to judge.
        _ => {}
    }
    Ok(())
}

/// By a plan that the monitor made before. `None`: there is none that fits.
fn prepare_known(thread: &Thread, handover: &mut Handover, path: &CStr) -> Option<()> {
    let mut room = MaybeUninit::uninit();
    let plan = tables().plan(path.to_bytes(), &mut room)?;
    if plan.links != commons().links.load(Acquire) {
        return None;
    }
    let (exe, mut privileges) = open(thread, path, &plan.exe_id, &plan.exe_copy)?;
    let Some(interp) = open_interp(thread, plan) else {
        close(exe);
        return None;
    };
    privileges = FilePrivileges {
        uid: privileges.uid,
        gid: privileges.gid,
        mode: privileges.mode,
        ..plan.privileges
    };
    handover.kind = 1;
    handover.privileges = privileges;
    handover.exec_stack = plan.exec_stack;
    handover.has_interp = u32::from(interp.is_some());
    let stubs = |copy: &CopyName| u32::from(is_plain(thread) && copy[0] != 0);
    put(&mut handover.exe, &plan.exe, exe, stubs(&plan.exe_copy));
    let interp_fd = interp.unwrap_or(-1);
    let interp_stubs = stubs(&plan.interp_copy);
    put(&mut handover.interp, &plan.interp, interp_fd, interp_stubs);
    let found = CStr::from_bytes_until_nul(&plan.path).ok()?.to_bytes();
    handover.path[..found.len()].copy_from_slice(found);
    handover.path_len = found.len() as u32;
    handover.exe_file = [plan.exe_id.dev, plan.exe_id.ino];
    handover.front_count = 0;
    let name = path.to_bytes().rsplit(|&byte| byte == b'/').next()?;
    let name = &name[..name.len().min(handover.comm.len() - 1)];
    handover.comm = [0; 16];
    handover.comm[..name.len()].copy_from_slice(name);
    Some(())
}

/// The used part of an image, but for the last segments, which a copy alone has.
fn put(to: &mut Image, from: &Image<SEGMENTS>, fd: i32, without: u32) {
    let count = (from.count as usize).min(from.segments.len()) - without as usize;
    to.segments[..count].copy_from_slice(&from.segments[..count]);
    (to.fd, to.is_dyn, to.entry) = (fd, from.is_dyn, from.entry);
    (to.phdr, to.phnum, to.count) = (from.phdr, from.phnum, from.count - without);
    (to.span, to.align) = (from.span, from.align);
}

/// The interpreter's descriptor: `None` if it is not what it was, `Some(None)` if there is none.
fn open_interp(thread: &Thread, plan: &KnownPlan) -> Option<Option<i32>> {
    let path = CStr::from_bytes_until_nul(&plan.interp_path).ok()?;
    if path.is_empty() {
        return Some(None);
    }
    open(thread, path, &plan.interp_id, &plan.interp_copy).map(|(fd, _)| Some(fd))
}

/// Opens a file, if it is still the same, or its copy. Its owner and mode come along.
fn open(
    thread: &Thread,
    path: &CStr,
    id: &FileId,
    copy: &CopyName,
) -> Option<(i32, FilePrivileges)> {
    let fd = open_program(thread, path).ok().flatten()?;
    let Some(privileges) = program(thread, fd, id) else {
        close(fd as i32);
        return None;
    };
    let copy = CStr::from_bytes_until_nul(copy).ok()?;
    if copy.is_empty() || is_plain(thread) {
        return Some((fd as i32, privileges));
    }
    close(fd as i32);
    let fd = open_copy(thread, copy, 0).ok()?;
    Some((fd as i32, privileges))
}
