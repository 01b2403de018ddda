//! What clients execute.
//!
//! A program that gives more than who executes it has (set-id bits, capabilities), or that this one may
//! not read, is given to nobody before it runs: neither its users, nor its files. That it runs, and not
//! whoever wanted it to, the kernel says: the process executes a file of the personality that was made for
//! that once (`/proc/PID/exe`), and there is nothing of it in memory that was there before.

use super::super::notify::{Call, Listener};
use super::super::procfs::{Credentials, View};
use super::super::zone::Zone;
use super::lock;
use crate::ids::{HostPid, ZonePid};
use hashbrown::HashMap;
use nix::sys::stat::{fstat, stat};
use picozone_personality::layout::FD_PERSONALITY;
use picozone_personality::mailbox::Handover;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;

/// The files of a program.
pub struct Images {
    /// The program itself.
    pub exe: File,
    /// Its interpreter.
    pub interp: Option<File>,
}

struct Execution {
    /// Inode of the personality's file.
    personality: u64,
    handover: Box<Handover>,
    images: Images,
}

/// The executions under way of what is withheld, by the process' host pid.
#[derive(Default)]
pub struct Executions(Mutex<HashMap<u32, Execution>>);

impl Executions {
    /// Notes what a process is about to execute. What it is told of it gives nothing if it is withheld.
    pub fn begin(
        &self,
        zone: &Zone,
        listener: &Listener,
        call: Call,
        (leader, process): (HostPid, ZonePid),
        handover: &mut Handover,
        images: Option<Images>,
    ) -> Result<(), i32> {
        lock(&self.0).remove(&leader.0);
        // How its own descriptors are read: nobody else looks at that.
        let entry = zone.shared.commons().processes.get(process.0 as usize);
        if let Some(entry) = entry {
            let watched = zone.shared.read_head(call.tid);
            entry.signal_fds.store(watched, Relaxed);
        }
        let Some(images) = images else {
            return become_program(zone, process, handover, false);
        };
        // What may not be executed at all is refused while there is somebody to be told.
        users_then(&zone.credentials(process), handover)?;
        let personality = zone
            .shared
            .another_personality()
            .map_err(|_| libc::ENOMEM)?;
        let inode = fstat(&personality).map_err(|errno| errno as i32)?.st_ino;
        listener.replace(call, personality.as_fd(), FD_PERSONALITY)?;
        let execution = Execution {
            personality: inode,
            handover: Box::new(*handover),
            images,
        };
        handover.privileges.without_privileges();
        let mut executions = lock(&self.0);
        executions.insert(leader.0, execution);
        Ok(())
    }

    /// A process says that it has executed what it prepared.
    pub fn settle(
        &self,
        zone: &Zone,
        listener: &Listener,
        call: Call,
        leader: HostPid,
        handover: &mut Handover,
    ) -> Result<(), i32> {
        let Some(execution) = lock(&self.0).remove(&leader.0) else {
            return Ok(());
        };
        let exe = stat(format!("/proc/{leader}/exe").as_str()).map_err(|errno| errno as i32)?;
        if exe.st_ino != execution.personality {
            return Err(libc::EPERM);
        }
        let process = zone.to_zone(leader).ok_or(libc::ESRCH)?;
        let told = *handover;
        *handover = *execution.handover;
        // What a process keeps over an exec, whatever it executes.
        (handover.mask, handover.ignored) = (told.mask, told.ignored);
        (handover.soft_limit, handover.zone_pid) = (told.soft_limit, process.0);
        become_program(zone, process, handover, true)?;
        handover.exe.fd = listener.add(call, execution.images.exe.as_fd(), false)?;
        if let Some(file) = &execution.images.interp {
            handover.interp.fd = listener.add(call, file.as_fd(), false)?;
        }
        Ok(())
    }
}

/// Notes in a process' entry what it executes, and what users it has then. Others do not look into what
/// `is_withheld`, nor into who has users of a program's.
fn become_program(
    zone: &Zone,
    number: ZonePid,
    handover: &Handover,
    is_withheld: bool,
) -> Result<(), i32> {
    let before = zone.credentials(number);
    let users = users_then(&before, handover)?;
    let commons = zone.shared.commons();
    let entry = commons
        .processes
        .get(number.0 as usize)
        .ok_or(libc::ESRCH)?;
    entry.store_capabilities(&users.capabilities);
    for (to, from) in [(&entry.uid, users.uid), (&entry.gid, users.gid)] {
        for (to, from) in to.iter().zip(from) {
            to.store(from, Relaxed);
        }
    }
    let privileges = &handover.privileges;
    let is_unreadable = is_withheld && privileges.mode == 0 && privileges.has_capabilities == 0;
    let is_closed = is_unreadable || is_other(&before, &users);
    entry.is_closed.store(u32::from(is_closed), Relaxed);
    entry.is_locked.store(0, Relaxed);
    entry.lay_keys_down();
    let length = (handover.path_len as usize).min(handover.path.len());
    let path = &handover.path[..length];
    entry
        .program
        .note(&commons.running, path, handover.exe_file);
    Ok(())
}

/// The users that a process has once it executes a program.
///
/// # Errors
/// EPERM: the program asks for what it cannot have.
fn users_then(before: &Credentials, handover: &Handover) -> Result<Credentials, i32> {
    let mut users = before.clone();
    let (own, groups) = (before.gid[3], &before.groups);
    let is_member = |gid: u32| gid == own || groups.contains(&gid);
    users
        .capabilities
        .execute(
            &mut users.uid,
            &mut users.gid,
            &handover.privileges,
            is_member,
        )
        .map_err(|errno| i32::from(errno.raw()))?;
    Ok(users)
}

/// Whether a program has other users than who started it, or may more (`begin_new_exec` and `commit_creds`
/// in the kernel).
fn is_other(before: &Credentials, users: &Credentials) -> bool {
    let ids = |users: &Credentials| [users.uid, users.gid];
    let differ = ids(users).iter().any(|ids| ids[0] != ids[1]);
    let changed = ids(users)
        .iter()
        .zip(ids(before))
        .any(|(now, before)| now[1] != before[1] || now[3] != before[3]);
    let gained = users.capabilities.permitted & !before.capabilities.permitted != 0;
    differ || changed || gained
}
