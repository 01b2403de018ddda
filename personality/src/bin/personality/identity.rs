//! Who a thread is: users, groups, capabilities, names, limits.

use crate::arch::{syscall1, syscall2};
use crate::dispatch::checked;
use crate::monitor::tables;
use crate::thread::Thread;
use crate::{Errno, Result, memory, pids};
use linux_raw_sys::general::*;
use linux_raw_sys::prctl::*;
use picozone_personality::commons::GROUPS_MAX;
use picozone_personality::layout::ROOT_CAPABILITIES;
use picozone_personality::mailbox::Request;

/// Credentials of a thread in the zone's numbers: real, effective, saved, file system.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Credentials {
    pub uid: [u32; 4],
    pub gid: [u32; 4],
    pub group_count: u32,
    pub groups: [u32; GROUPS_MAX],
}

const NONE: u32 = u32::MAX;

impl Credentials {
    pub const ROOT: Credentials = Credentials {
        uid: [0; 4],
        gid: [0; 4],
        group_count: 0,
        groups: [0; GROUPS_MAX],
    };

    pub fn is_root(&self) -> bool {
        self.uid[1] == 0
    }
    pub fn is_member(&self, gid: u32) -> bool {
        self.gid[3] == gid
            || self
                .groups
                .iter()
                .take(self.group_count as usize)
                .any(|&g| g == gid)
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

/// The set*id family, by call number.
pub fn set_id(thread: &mut Thread, nr: u32, a: u64, b: u64, c: u64) -> Result<u64> {
    let privileged = thread.credentials.is_root();
    let (a, b, c) = (a as u32, b as u32, c as u32);
    let is_user = matches!(
        nr,
        __NR_setuid | __NR_setreuid | __NR_setresuid | __NR_setfsuid
    );
    let ids = if is_user {
        &mut thread.credentials.uid
    } else {
        &mut thread.credentials.gid
    };
    let result = match nr {
        __NR_setuid | __NR_setgid => {
            if a == NONE {
                Err(Errno::EINVAL)
            } else if privileged {
                set_ids(ids, true, [a, a, a])
            } else {
                set_ids(ids, false, [NONE, a, NONE])
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
            if privileged || ids.contains(&a) {
                ids[3] = a;
            }
            Ok(u64::from(old))
        }
    };
    mirror(thread);
    result
}

/// What other processes see of a process is its leader.
fn mirror(thread: &Thread) {
    if thread.is_leader {
        pids::store_credentials(thread.process().zone_pid, &thread.credentials);
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
    let count = u64::from(thread.credentials.group_count);
    let size = size as i32;
    if size < 0 || (size != 0 && (size as u64) < count) {
        return Err(Errno::EINVAL);
    }
    if size != 0 {
        for (i, group) in thread
            .credentials
            .groups
            .iter()
            .take(count as usize)
            .enumerate()
        {
            memory::write(list + 4 * i as u64, group)?;
        }
    }
    Ok(count)
}

/// setgroups(2).
pub fn setgroups(thread: &mut Thread, size: u64, list: u64) -> Result<u64> {
    if !thread.credentials.is_root() {
        return Err(Errno::EPERM);
    }
    if size > GROUPS_MAX as u64 {
        return Err(Errno::EINVAL);
    }
    let mut groups = [0u32; GROUPS_MAX];
    for (i, group) in groups.iter_mut().take(size as usize).enumerate() {
        *group = memory::read(list + 4 * i as u64)?;
    }
    thread.credentials.groups = groups;
    thread.credentials.group_count = size as u32;
    mirror(thread);
    Ok(0)
}

/// capget(2): the zone's root holds [`ROOT_CAPABILITIES`], others none.
pub fn capget(thread: &Thread, header: u64, data: u64) -> Result<u64> {
    let [version, _pid] = memory::read::<[u32; 2]>(header)?;
    let words = match version {
        0x1998_0330 => 1,
        0x2007_1026 | 0x2008_0522 => 2,
        _ => {
            memory::write(header, &0x2008_0522u32)?;
            return if data == 0 { Ok(0) } else { Err(Errno::EINVAL) };
        }
    };
    if data != 0 {
        let (low, high) = if thread.credentials.is_root() {
            (ROOT_CAPABILITIES as u32, (ROOT_CAPABILITIES >> 32) as u32)
        } else {
            (0, 0)
        };
        for (i, word) in [low, high].into_iter().take(words).enumerate() {
            memory::write(data + 12 * i as u64, &[word, word, 0])?;
        }
    }
    Ok(0)
}

/// capset(2): accepted from the zone's root and without effect on the host.
pub fn capset(thread: &Thread, header: u64, data: u64) -> Result<u64> {
    memory::read::<[u32; 2]>(header)?;
    let first = memory::read::<[u32; 3]>(data)?;
    if thread.credentials.is_root() || first == [0; 3] {
        Ok(0)
    } else {
        Err(Errno::EPERM)
    }
}

/// uname(2).
pub fn uname(to: u64) -> Result<u64> {
    let mut names = [[0u8; 65]; 6];
    checked(unsafe { syscall1(__NR_uname, names.as_mut_ptr() as u64) })?;
    names[1] = tables().hostname;
    names[5] = tables().domainname;
    memory::write(to, &names)?;
    Ok(0)
}

/// sethostname(2) (0), setdomainname(2) (1).
pub fn set_name(thread: &Thread, which: u64, name: u64, len: u64) -> Result<u64> {
    if !thread.credentials.is_root() {
        return Err(Errno::EPERM);
    }
    if len > 64 {
        return Err(Errno::EINVAL);
    }
    let mut text = [0u8; 64];
    memory::read_bytes(name, &mut text[..len as usize])?;
    thread.ask_about(Request::SetName, &text[..len as usize], &[which, len])
}

/// prctl(2), for the options that the filter does not let through.
pub fn prctl(thread: &Thread, option: u64, args: [u64; 4]) -> Result<u64> {
    let process = thread.process();
    match option as u32 {
        PR_GET_DUMPABLE => Ok(u64::from(process.dumpable)),
        PR_SET_DUMPABLE if args[0] < 2 => {
            process.dumpable = args[0] as u32;
            Ok(0)
        }
        PR_GET_KEEPCAPS => Ok(u64::from(process.keepcaps)),
        PR_SET_KEEPCAPS if args[0] < 2 => {
            process.keepcaps = args[0] as u32;
            Ok(0)
        }
        PR_GET_NO_NEW_PRIVS | PR_GET_SECCOMP | PR_GET_SECUREBITS => Ok(0),
        PR_SET_NO_NEW_PRIVS if args[0] == 1 => Ok(0),
        PR_CAPBSET_READ => {
            if args[0] <= 40 {
                Ok(ROOT_CAPABILITIES >> args[0] & 1)
            } else {
                Err(Errno::EINVAL)
            }
        }
        PR_CAPBSET_DROP | PR_SET_SECUREBITS => {
            if thread.credentials.is_root() {
                Ok(0)
            } else {
                Err(Errno::EPERM)
            }
        }
        PR_CAP_AMBIENT => Ok(0),
        PR_SET_PTRACER => Ok(0),
        PR_GET_TSC => Err(Errno::EINVAL),
        _ => Err(Errno::EINVAL),
    }
}

/// set_tid_address(2): libc keeps the result for robust and PI futexes, where the kernel compares
/// host ids; so a program's first call, which is libc's, is told the host's id, and so is one with a
/// place in libc's block of the thread. Others are told the zone's.
pub fn set_tid_address(thread: &Thread, address: u64) -> Result<u64> {
    let host = checked(unsafe { syscall2(__NR_set_tid_address, address, 0) })?;
    let process = thread.process();
    let is_libc = !core::mem::replace(&mut process.has_told_id, true)
        || crate::process::is_of_libc(address, crate::arch::thread_pointer());
    Ok(if is_libc {
        host
    } else {
        u64::from(thread.zone_tid())
    })
}
