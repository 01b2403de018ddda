//! Who a thread is: users, groups, names.

use crate::arch::{syscall1, syscall2, syscall4};
use crate::dispatch::checked;
use crate::file::{Power, has};
use crate::groups::Groups;
use crate::monitor::{commons, tables};
use crate::thread::{Thread, me};
use crate::{Errno, Result, clients, file, filters, memory, pids, refusals, user_dispatch};
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use linux_raw_sys::prctl::*;
use picozone_personality::capabilities::{Capabilities, FilePrivileges, Ids};
use picozone_personality::commons::GROUPS_MAX;
use picozone_personality::limits::Limit;
use picozone_personality::mailbox::Request;
use picozone_personality::tables::{DOMAIN_NAME, HOST_NAME};
use picozone_personality::users::IdMap;

/// Credentials of a thread in the zone's numbers: real, effective, saved, file system.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Credentials {
    pub uid: Ids,
    pub gid: Ids,
    pub capabilities: Capabilities,
    pub groups: Groups,
}

const NONE: u32 = u32::MAX;

impl Credentials {
    pub const ROOT: Credentials = Credentials {
        uid: [0; 4],
        gid: [0; 4],
        capabilities: Capabilities::ROOT,
        groups: Groups::NONE,
    };

    /// Those of a user as who a program is started.
    pub fn of_user(uid: u32, gid: u32, groups: &[u32]) -> Credentials {
        Credentials {
            uid: [uid; 4],
            gid: [gid; 4],
            capabilities: Capabilities::of_user(uid),
            groups: Groups::of(groups),
        }
    }
    pub fn is_member(&self, gid: u32) -> bool {
        self.gid[3] == gid || self.groups.contains(gid)
    }
    /// Those of a thread that another makes, and that shares its memory.
    pub fn inherited(&self) -> Credentials {
        Credentials {
            groups: self.groups.inherited(),
            ..*self
        }
    }
    /// Makes them those of a program that is executed. Whether it is to be careful.
    pub fn execute(&mut self, file: &FilePrivileges) -> Result<bool> {
        let (own_group, groups) = (self.gid[3], &self.groups);
        let is_member = |gid: u32| gid == own_group || groups.contains(gid);
        self.capabilities
            .execute(&mut self.uid, &mut self.gid, file, is_member)
    }
    /// Whether all users and groups are the real ones of the other.
    pub fn are_those_of(&self, other: &Credentials) -> bool {
        self.uid[..3].iter().all(|&id| id == other.uid[0])
            && self.gid[..3].iter().all(|&id| id == other.gid[0])
    }
}

/// setreuid/setresuid and kin on one kind of id: `NONE` leaves one as it is.
fn set_ids(ids: &mut [u32; 4], privileged: bool, wanted: [u32; 3]) -> Result<u64> {
    let allowed = |id: u32| id == NONE || privileged || ids[..3].contains(&id);
    if !wanted.iter().all(|&id| allowed(id)) {
        return Err(Errno::EPERM);
    }
    for (id, want) in ids.iter_mut().zip(wanted) {
        if want != NONE {
            *id = want;
        }
    }
    ids[3] = ids[1];
    Ok(0)
}

/// Whether a call can ask for an id: the zone has it, or it stands for no change.
pub fn is_mapped(map: &IdMap, id: u32) -> bool {
    id == NONE || map.has(id)
}

/// The set*id family, by call number. Rare, so that it is not to lie within what every call runs.
#[inline(never)]
pub fn set_id(thread: &mut Thread, nr: u32, a: u64, b: u64, c: u64) -> Result<u64> {
    let old = thread.credentials;
    let (a, b, c) = (a as u32, b as u32, c as u32);
    let is_user = matches!(
        nr,
        __NR_setuid | __NR_setreuid | __NR_setresuid | __NR_setfsuid
    );
    let (ids, power) = if is_user {
        (&mut thread.credentials.uid, Power::SetUid)
    } else {
        (&mut thread.credentials.gid, Power::SetGid)
    };
    let privileged = old.capabilities.has(power);
    let map = if is_user {
        &tables().uids
    } else {
        &tables().gids
    };
    // How many of the arguments the call has.
    let count = match nr {
        __NR_setresuid | __NR_setresgid => 3,
        __NR_setreuid | __NR_setregid => 2,
        _ => 1,
    };
    let are_mapped = [a, b, c][..count].iter().all(|&id| is_mapped(map, id));
    let result = match nr {
        // What changes nothing tells the old value.
        __NR_setfsuid | __NR_setfsgid if !are_mapped => return Ok(u64::from(ids[3])),
        _ if !are_mapped => return Err(Errno::EINVAL),
        __NR_setuid | __NR_setgid => {
            if a == NONE {
                Err(Errno::EINVAL)
            } else if privileged {
                set_ids(ids, true, [a, a, a])
            } else if a == ids[0] || a == ids[2] {
                set_ids(ids, true, [NONE, a, NONE])
            } else {
                Err(Errno::EPERM)
            }
        }
        __NR_setreuid | __NR_setregid => {
            let saved = if a != NONE || (b != NONE && b != ids[0]) {
                if b == NONE { ids[1] } else { b }
            } else {
                NONE
            };
            let is_own =
                (a == NONE || a == ids[0] || a == ids[1]) && (b == NONE || ids[..3].contains(&b));
            if privileged || is_own {
                set_ids(ids, true, [a, b, saved])
            } else {
                Err(Errno::EPERM)
            }
        }
        __NR_setresuid | __NR_setresgid => set_ids(ids, privileged, [a, b, c]),
        _ => {
            // setfsuid and setfsgid return the old value, whatever happens.
            let old = ids[3];
            if a != NONE && (privileged || ids.contains(&a)) {
                ids[3] = a;
            }
            Ok(u64::from(old))
        }
    };
    let new = &mut thread.credentials;
    match nr {
        __NR_setuid | __NR_setreuid | __NR_setresuid => {
            new.capabilities.after_set_uid(old.uid, new.uid);
        }
        __NR_setfsuid => new.capabilities.after_set_fsuid(old.uid[3], new.uid[3]),
        _ => {}
    }
    changed(thread, &old);
    clients::become_one(thread);
    result
}

/// Sets `PR_SET_DUMPABLE`, which is not the kernel's: that would close the process to the monitor. Who is
/// not dumpable leaves no core file.
#[inline(never)]
pub fn set_dumpable(thread: &Thread, value: u32) {
    let process = thread.process();
    process.dumpable = value;
    close_to_others(thread, value);
    match (value, process.core_limit) {
        (0, None) => process.core_limit = core_limit(Some(0)),
        (1, Some(soft)) => {
            core_limit(Some(soft));
            process.core_limit = None;
        }
        _ => {}
    }
}

/// Has others see it in the entry of the process.
fn close_to_others(thread: &Thread, dumpable: u32) {
    pids::own(thread)
        .is_closed
        .store(u32::from(dumpable == 0), Relaxed);
}

/// Gives the kernel back the limit of core files, for the program that is to be executed.
#[cold]
#[inline(never)]
pub fn leave_cores(thread: &Thread) {
    core_limit(thread.process().core_limit.take());
}

/// The soft limit of core files that the kernel has, and had before it was set to `soft`.
#[cold]
#[inline(never)]
fn core_limit(soft: Option<u64>) -> Option<u64> {
    let soft = soft?;
    let native = |new: u64, old: u64| unsafe {
        syscall4(__NR_prlimit64, 0, u64::from(RLIMIT_CORE), new, old)
    };
    let mut limit = Limit::default();
    checked(native(0, &raw mut limit as u64)).ok()?;
    let before = core::mem::replace(&mut limit.cur, soft.min(limit.max));
    checked(native(&raw const limit as u64, 0)).ok()?;
    Some(before)
}

/// After a change of credentials: what other processes see of a process is its leader; and who has
/// become another is not to be looked into by those from before (`commit_creds` in the kernel's
/// kernel/cred.c).
pub fn changed(thread: &Thread, old: &Credentials) {
    let new = &thread.credentials;
    let is_more = new.capabilities.permitted & !old.capabilities.permitted != 0;
    let is_other = |new: &Ids, old: &Ids| new[1] != old[1] || new[3] != old[3];
    if is_other(&new.uid, &old.uid) || is_other(&new.gid, &old.gid) || is_more {
        set_dumpable(thread, 0);
        unsafe { syscall2(__NR_prctl, u64::from(PR_SET_PDEATHSIG), 0) };
    }
    if thread.is_leader {
        pids::store_credentials(thread.process().zone_pid, new);
    }
    let keeps = |who: &Credentials| who.capabilities.has(Power::KeepSetId);
    if keeps(old) && !keeps(new) && tables().set_ids.load(Relaxed) != 0 {
        file::let_set_ids_go(thread);
    }
}

/// getresuid(2), getresgid(2).
pub fn get_three(ids: [u32; 4], to: [u64; 3]) -> Result<u64> {
    for (id, address) in ids.iter().zip(to) {
        memory::write(address, id)?;
    }
    Ok(0)
}

/// getgroups(2).
pub fn getgroups(thread: &Thread, size: u64, list: u64) -> Result<u64> {
    let groups = thread.credentials.groups.as_slice();
    let size = size as i32;
    if size < 0 || (size != 0 && (size as usize) < groups.len()) {
        return Err(Errno::EINVAL);
    }
    if size != 0 {
        let bytes = size_of_val(groups);
        let bytes = unsafe { core::slice::from_raw_parts(groups.as_ptr().cast(), bytes) };
        memory::write_bytes(list, bytes)?;
    }
    Ok(groups.len() as u64)
}

/// setgroups(2).
pub fn setgroups(thread: &mut Thread, size: u64, list: u64) -> Result<u64> {
    if !has(thread, Power::SetGid) {
        return Err(Errno::EPERM);
    }
    let size = size as u32 as usize;
    if size > GROUPS_MAX {
        return Err(Errno::EINVAL);
    }
    let mut new = Groups::read(size, list)?;
    if !new.as_slice().iter().all(|&id| tables().gids.has(id)) {
        new.free();
        return Err(Errno::EINVAL);
    }
    core::mem::replace(&mut thread.credentials.groups, new).free();
    let same = thread.credentials;
    changed(thread, &same);
    Ok(0)
}

/// uname(2).
pub fn uname(to: u64) -> Result<u64> {
    settle(me());
    let known = &tables().uname;
    if commons().has_personas.load(Relaxed) == 0 {
        memory::write(to, known)?;
        return Ok(0);
    }
    let mut names = [[0u8; 65]; 6];
    checked(unsafe { syscall1(__NR_uname, names.as_mut_ptr() as u64) })?;
    for at in [HOST_NAME, DOMAIN_NAME] {
        names[at] = known[at];
    }
    memory::write(to, &names)?;
    Ok(0)
}

/// personality(2), which may change what uname(2) tells.
pub fn persona(persona: u64) -> Result<u64> {
    const PLAIN: u64 = 0x4_0000 | 0x40_0000;
    if persona as u32 as u64 & !PLAIN != 0 {
        commons().has_personas.store(1, Relaxed);
    }
    checked(unsafe { syscall1(__NR_personality, persona) })
}

/// Has the monitor take over what was written to the files of settings, if any is open.
#[inline]
pub fn settle(thread: &Thread) {
    if tables().settings_open.load(Relaxed) != 0 {
        let _ = thread.ask(Request::Ping, &[]);
    }
}

/// sethostname(2) (0), setdomainname(2) (1).
pub fn set_name(thread: &Thread, which: u64, name: u64, len: u64) -> Result<u64> {
    if !has(thread, Power::Administer) {
        return Err(Errno::EPERM);
    }
    if len > 64 {
        return Err(Errno::EINVAL);
    }
    let mut text = [0u8; 64];
    memory::read_bytes(name, &mut text[..len as usize])?;
    thread.ask_about(Request::SetName, &text[..len as usize], &[which, len])
}

/// prctl(2), `PR_SET_PTRACER`: in a zone all may trace each other as far as their users let them. A
/// kernel that knows it knows process 0, which stands for nobody.
fn set_ptracer(pid: u64) -> Result<u64> {
    const ANYBODY: u64 = u64::MAX;
    checked(unsafe { syscall2(__NR_prctl, u64::from(PR_SET_PTRACER), 0) })?;
    if pid == 0 || pid == ANYBODY || pids::to_host(pid as u32).is_ok() {
        Ok(0)
    } else {
        Err(Errno::EINVAL)
    }
}

/// prctl(2), for the options that the filter does not let through.
pub fn prctl(thread: &mut Thread, option: u64, args: [u64; 4]) -> Result<u64> {
    let process = thread.process();
    let old = thread.credentials;
    let capabilities = &mut thread.credentials.capabilities;
    let [first, rest @ ..] = args;
    let is_rest_zero = rest == [0; 3];
    let value = match option as u32 {
        PR_GET_DUMPABLE => return Ok(u64::from(process.dumpable)),
        PR_SET_DUMPABLE if first < 2 => {
            if process.is_clerk {
                // The rest its client does itself.
                close_to_others(thread, first as u32);
            } else {
                set_dumpable(thread, first as u32);
            }
            return Ok(0);
        }
        PR_GET_KEEPCAPS => return Ok(capabilities.keeps()),
        PR_GET_SECUREBITS => return Ok(u64::from(capabilities.secure)),
        PR_CAPBSET_READ => return capabilities.bounds(first),
        PR_GET_NO_NEW_PRIVS if first == 0 && is_rest_zero => {
            return Ok(u64::from(filters::no_new_privs(thread)));
        }
        PR_SET_KEEPCAPS => capabilities.set_keeps(first)?,
        PR_SET_SECUREBITS => capabilities.set_secure(first)?,
        PR_CAPBSET_DROP => capabilities.drop_bound(first)?,
        PR_CAP_AMBIENT => capabilities.ambient(first, rest)?,
        PR_SET_NO_NEW_PRIVS if first == 1 && is_rest_zero => {
            capabilities.no_new_privs = 1;
            0
        }
        PR_GET_SECCOMP => return Ok(filters::mode(thread)),
        PR_SET_SECCOMP => return filters::set_mode(thread, first, rest[0]),
        PR_SET_PTRACER => return set_ptracer(first),
        PR_SET_SYSCALL_USER_DISPATCH => return user_dispatch::set(thread, args),
        _ => return refusals::unsupported(Errno::EINVAL),
    };
    changed(thread, &old);
    Ok(value)
}

/// set_tid_address(2): libc keeps the result for robust and PI futexes, where the kernel compares
/// host ids; so a program's first call, which is libc's, is told the host's id, and so is one of the first
/// thread with a place in libc's block of it. Others are told the zone's: libc has the ids of further
/// threads from clone(2).
pub fn set_tid_address(thread: &Thread, address: u64) -> Result<u64> {
    let host = checked(unsafe { syscall2(__NR_set_tid_address, address, 0) })?;
    let process = thread.process();
    let is_libc = !core::mem::replace(&mut process.has_told_id, true)
        || thread.host_tid == process.host_pid
            && crate::process::is_of_libc(address, crate::arch::thread_pointer());
    Ok(if is_libc {
        host
    } else {
        u64::from(thread.zone_tid())
    })
}
