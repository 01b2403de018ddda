//! Capabilities of the zone's threads (capabilities(7)), as data: the kernel's rules, on numbers.
//!
//! Within a zone they say who may do what; for the boundary of a zone they mean nothing. The rules are
//! those of the kernel's security/commoncap.c.

use core::ops::RangeInclusive;
use picozone_syscalls::Errno;

/// What the zone's root is given: all but `CAP_SYS_RESOURCE`. Limits are the host's, and programs that
/// believe in it complain where a limit holds.
pub const ROOT: u64 = ALL & !(1 << 24);
/// Every capability that there is.
pub const ALL: u64 = 0x1ff_ffff_ffff;
/// The numbers of capabilities.
pub const NUMBERS: RangeInclusive<u64> = 0..=40;
/// What goes with the file-system user (`CAP_FS_SET`).
const OF_FILES: u64 = 0b1_1111 | 1 << 9 | 1 << 27 | 1 << 32;

/// What a thread needs to be allowed something, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// CAP_CHOWN.
    Chown = 0,
    /// CAP_DAC_OVERRIDE.
    Override = 1,
    /// CAP_DAC_READ_SEARCH.
    Search = 2,
    /// CAP_FOWNER.
    Owner = 3,
    /// CAP_FSETID.
    KeepSetId = 4,
    /// CAP_KILL.
    Kill = 5,
    /// CAP_SETGID.
    SetGid = 6,
    /// CAP_SETUID.
    SetUid = 7,
    /// CAP_SETPCAP.
    SetCapabilities = 8,
    /// CAP_LINUX_IMMUTABLE.
    Immutable = 9,
    /// CAP_NET_BIND_SERVICE.
    BindService = 10,
    /// CAP_NET_ADMIN.
    Network = 12,
    /// CAP_IPC_LOCK.
    Lock = 14,
    /// CAP_IPC_OWNER.
    IpcOwner = 15,
    /// CAP_SYS_CHROOT.
    Chroot = 18,
    /// CAP_SYS_PTRACE.
    Trace = 19,
    /// CAP_SYS_PACCT.
    Account = 20,
    /// CAP_SYS_ADMIN.
    Administer = 21,
    /// CAP_SYS_BOOT.
    Boot = 22,
    /// CAP_SYS_NICE.
    Nice = 23,
    /// CAP_SYS_TIME.
    SetTime = 25,
    /// CAP_SYS_TTY_CONFIG.
    ConfigureTerminals = 26,
    /// CAP_MKNOD.
    MakeDevice = 27,
    /// CAP_LEASE.
    Lease = 28,
    /// CAP_SETFCAP.
    SetFileCapabilities = 31,
    /// CAP_SYSLOG.
    Log = 34,
    /// CAP_WAKE_ALARM.
    WakeMachine = 35,
    /// CAP_CHECKPOINT_RESTORE.
    Restore = 40,
}

/// Bits of [`Capabilities::secure`] (prctl(2), `PR_SET_SECUREBITS`).
mod secure {
    pub(super) const NOROOT: u32 = 1;
    pub(super) const NO_SETUID_FIXUP: u32 = 1 << 2;
    pub(super) const KEEP_CAPS: u32 = 1 << 4;
    pub(super) const NO_AMBIENT: u32 = 1 << 6;
    /// Each bit is followed by its lock.
    pub(super) const LOCKS: u32 = 0b1010_1010_1010;
    pub(super) const ALL: u32 = LOCKS | LOCKS >> 1;
    /// What programs ask of themselves, with its locks: anybody may change it.
    pub(super) const UNPRIVILEGED: u32 = 0b1111 << 8;
}

/// `PR_CAP_AMBIENT_IS_SET`, `_RAISE`, `_LOWER`, `_CLEAR_ALL`.
const AMBIENT_IS_SET: u64 = 1;
const AMBIENT_RAISE: u64 = 2;
const AMBIENT_LOWER: u64 = 3;
const AMBIENT_CLEAR: u64 = 4;

/// [`Capabilities::filters`] of a thread in seccomp(2)'s strict mode.
pub const STRICT: u32 = u32::MAX;

/// A thread's sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Capabilities {
    /// What it may have.
    pub permitted: u64,
    /// What it has.
    pub effective: u64,
    /// What it passes on to programs that have them in their file.
    pub inheritable: u64,
    /// What it and its children can ever get from a program.
    pub bounding: u64,
    /// What it passes on to any program.
    pub ambient: u64,
    /// `PR_SET_SECUREBITS`.
    pub secure: u32,
    /// `PR_SET_NO_NEW_PRIVS`: 1 once it is set.
    pub no_new_privs: u32,
    /// How many seccomp filters it has put on itself; [`STRICT`] for the strict mode.
    pub filters: u32,
}

/// What a program's file has to give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FilePrivileges {
    /// Owner of the file; counts where its mode has the set-user-id bit.
    pub uid: u32,
    /// Group of the file; counts where its mode has the set-group-id bit, and execution for the group.
    pub gid: u32,
    /// Mode of the file.
    pub mode: u32,
    /// 1 if the capabilities become effective.
    pub is_effective: u32,
    /// Permitted capabilities of the file.
    pub permitted: u64,
    /// Inheritable capabilities of the file.
    pub inheritable: u64,
    /// 1 if the file has capabilities at all.
    pub has_capabilities: u32,
    /// 1 if who executes it is traced by one that may not have it all, or another process has its
    /// working and root directory (`CLONE_FS`).
    pub is_watched: u32,
}

/// Users and groups: real, effective, saved, file system.
pub type Ids = [u32; 4];

impl FilePrivileges {
    /// Whether it may give anything to who executes it.
    #[must_use]
    pub const fn gives(&self) -> bool {
        self.mode & 0o6000 != 0 || self.has_capabilities != 0
    }

    /// Gives nothing to who executes it: no set-id bits, no capabilities.
    pub const fn without_privileges(&mut self) {
        self.mode &= 0o1777;
        (self.is_effective, self.has_capabilities) = (0, 0);
        (self.permitted, self.inheritable) = (0, 0);
    }

    /// The capabilities in the value of `security.capability` (`struct vfs_cap_data`).
    ///
    /// # Errors
    /// EINVAL for what is none.
    pub fn set_capabilities(&mut self, value: &[u8]) -> Result<(), Errno> {
        const EFFECTIVE: u32 = 1;
        let mut words = [0u32; 6];
        let (chunks, rest) = value.as_chunks::<4>();
        if !rest.is_empty() || chunks.len() > words.len() {
            return Err(Errno::EINVAL);
        }
        for (word, bytes) in words.iter_mut().zip(chunks) {
            *word = u32::from_le_bytes(*bytes);
        }
        let [magic, first, second, third, fourth, root] = words;
        let pair = |low: u32, high: u32| (u64::from(low) | u64::from(high) << 32) & ALL;
        (self.permitted, self.inheritable) = match (magic >> 24, chunks.len()) {
            (1, 3) => (pair(first, 0), pair(second, 0)),
            // The last word of the third form names the root of a user name space: ours is 0.
            (2, 5) | (3, 6) if root == 0 => (pair(first, third), pair(second, fourth)),
            (3, 6) => return Ok(()),
            _ => return Err(Errno::EINVAL),
        };
        self.is_effective = magic & EFFECTIVE;
        self.has_capabilities = 1;
        Ok(())
    }
}

impl Capabilities {
    /// Those of the zone's root, and of its init.
    pub const ROOT: Capabilities = Capabilities {
        permitted: ROOT,
        effective: ROOT,
        ..Capabilities::NONE
    };
    /// Those of other users.
    pub const NONE: Capabilities = Capabilities {
        permitted: 0,
        effective: 0,
        inheritable: 0,
        bounding: ROOT,
        ambient: 0,
        secure: 0,
        no_new_privs: 0,
        filters: 0,
    };

    /// Those of a user as who a program is started.
    #[must_use]
    pub const fn of_user(uid: u32) -> Capabilities {
        if uid == 0 {
            Capabilities::ROOT
        } else {
            Capabilities::NONE
        }
    }

    /// Whether a power is effective.
    #[must_use]
    #[inline]
    pub const fn has(&self, power: Power) -> bool {
        self.effective >> power as u32 & 1 == 1
    }

    const fn is(&self, bit: u32) -> bool {
        self.secure & bit != 0
    }

    /// After setuid(2), setreuid(2), setresuid(2).
    pub fn after_set_uid(&mut self, old: Ids, new: Ids) {
        if self.is(secure::NO_SETUID_FIXUP) {
            return;
        }
        let was_root = old[..3].contains(&0);
        if was_root && !new[..3].contains(&0) {
            if !self.is(secure::KEEP_CAPS) {
                self.permitted = 0;
                self.effective = 0;
            }
            self.ambient = 0;
        }
        match (old[1], new[1]) {
            (0, 0) => {}
            (0, _) => self.effective = 0,
            (_, 0) => self.effective = self.permitted,
            _ => {}
        }
    }

    /// After setfsuid(2).
    pub fn after_set_fsuid(&mut self, old: u32, new: u32) {
        if self.is(secure::NO_SETUID_FIXUP) {
            return;
        }
        match (old, new) {
            (0, 0) => {}
            (0, _) => self.effective &= !OF_FILES,
            (_, 0) => self.effective |= self.permitted & OF_FILES,
            _ => {}
        }
    }

    /// Effective capabilities by which access(2) judges for a real user.
    #[must_use]
    pub const fn of_real_user(&self, uid: u32) -> u64 {
        match (self.is(secure::NO_SETUID_FIXUP), uid) {
            (true, _) => self.effective,
            (false, 0) => self.permitted,
            (false, _) => 0,
        }
    }

    /// capset(2).
    ///
    /// # Errors
    /// EPERM.
    pub fn set(&mut self, effective: u64, permitted: u64, inheritable: u64) -> Result<(), Errno> {
        let [effective, permitted, inheritable] =
            [effective, permitted, inheritable].map(|set| set & ALL);
        let is_within = |set: u64, limit: u64| set & !limit == 0;
        let may_inherit = is_within(inheritable, self.inheritable | self.bounding)
            && (self.has(Power::SetCapabilities)
                || is_within(inheritable, self.inheritable | self.permitted));
        if !may_inherit || !is_within(permitted, self.permitted) || !is_within(effective, permitted)
        {
            return Err(Errno::EPERM);
        }
        (self.effective, self.permitted, self.inheritable) = (effective, permitted, inheritable);
        self.ambient &= permitted & inheritable;
        Ok(())
    }

    /// `PR_CAPBSET_READ`.
    ///
    /// # Errors
    /// EINVAL for a number that is none.
    pub fn bounds(&self, number: u64) -> Result<u64, Errno> {
        bit(number).map(|bit| u64::from(self.bounding & bit != 0))
    }

    /// `PR_CAPBSET_DROP`.
    ///
    /// # Errors
    /// EPERM without `CAP_SETPCAP`; EINVAL for a number that is none.
    pub fn drop_bound(&mut self, number: u64) -> Result<u64, Errno> {
        if !self.has(Power::SetCapabilities) {
            return Err(Errno::EPERM);
        }
        self.bounding &= !bit(number)?;
        Ok(0)
    }

    /// `PR_CAP_AMBIENT`.
    ///
    /// # Errors
    /// EINVAL; EPERM for what is not permitted and inheritable.
    pub fn ambient(&mut self, operation: u64, rest: [u64; 3]) -> Result<u64, Errno> {
        let [number, unused, unused_too] = rest;
        if unused | unused_too != 0 || (operation == AMBIENT_CLEAR && number != 0) {
            return Err(Errno::EINVAL);
        }
        if operation == AMBIENT_CLEAR {
            self.ambient = 0;
            return Ok(0);
        }
        let bit = bit(number)?;
        match operation {
            AMBIENT_IS_SET => return Ok(u64::from(self.ambient & bit != 0)),
            AMBIENT_RAISE
                if self.permitted & self.inheritable & bit == 0 || self.is(secure::NO_AMBIENT) =>
            {
                return Err(Errno::EPERM);
            }
            AMBIENT_RAISE => self.ambient |= bit,
            AMBIENT_LOWER => self.ambient &= !bit,
            _ => return Err(Errno::EINVAL),
        }
        Ok(0)
    }

    /// `PR_SET_SECUREBITS`.
    ///
    /// # Errors
    /// EPERM for what is locked, unknown, or needs `CAP_SETPCAP`.
    pub fn set_secure(&mut self, bits: u64) -> Result<u64, Errno> {
        let new = u32::try_from(bits).map_err(|_| Errno::EPERM)?;
        let changed = self.secure ^ new;
        let locks = self.secure & secure::LOCKS;
        let is_unprivileged = changed != 0 && changed & !secure::UNPRIVILEGED == 0;
        if locks >> 1 & changed != 0
            || locks & !new != 0
            || new & !secure::ALL != 0
            || !(is_unprivileged || self.has(Power::SetCapabilities))
        {
            return Err(Errno::EPERM);
        }
        self.secure = new;
        Ok(0)
    }

    /// `PR_GET_KEEPCAPS`.
    #[must_use]
    pub fn keeps(&self) -> u64 {
        u64::from(self.is(secure::KEEP_CAPS))
    }

    /// `PR_SET_KEEPCAPS`.
    ///
    /// # Errors
    /// EINVAL; EPERM where it is locked.
    pub fn set_keeps(&mut self, keeps: u64) -> Result<u64, Errno> {
        if keeps > 1 {
            return Err(Errno::EINVAL);
        }
        if self.is(secure::KEEP_CAPS << 1) {
            return Err(Errno::EPERM);
        }
        self.secure &= !secure::KEEP_CAPS;
        if keeps == 1 {
            self.secure |= secure::KEEP_CAPS;
        }
        Ok(0)
    }

    /// Makes users, groups and sets those of a program that is executed; `is_member` tells the groups
    /// of who executes it. Whether it is to be careful about who started it (`AT_SECURE`).
    ///
    /// # Errors
    /// EPERM where the file asks for what the thread cannot have.
    pub fn execute(
        &mut self,
        uid: &mut Ids,
        gid: &mut Ids,
        file: &FilePrivileges,
        is_member: impl Fn(u32) -> bool,
    ) -> Result<bool, Errno> {
        const SET_UID: u32 = 0o4000;
        const SET_GID: u32 = 0o2010;
        let old = *self;
        let (old_uid, old_gid) = (*uid, *gid);
        let is_free = self.no_new_privs == 0;
        if is_free && file.mode & SET_UID != 0 {
            uid[1] = file.uid;
        }
        if is_free && file.mode & SET_GID == SET_GID {
            gid[1] = file.gid;
        }
        let has_caps = file.has_capabilities == 1;
        let mut is_effective = has_caps && file.is_effective == 1;
        self.permitted = 0;
        if has_caps {
            self.permitted = self.bounding & file.permitted | self.inheritable & file.inheritable;
            if is_effective && file.permitted & !self.permitted != 0 {
                *self = old;
                (*uid, *gid) = (old_uid, old_gid);
                return Err(Errno::EPERM);
            }
        }
        let is_real_root = uid[0] == 0;
        let is_root = uid[1] == 0;
        let has_both = has_caps && is_root && !is_real_root;
        if !self.is(secure::NOROOT) && !has_both {
            if is_root || is_real_root {
                self.permitted = self.bounding | self.inheritable;
            }
            is_effective |= is_root;
        }
        let is_set_id = uid[1] != old_uid[1] || !is_member(gid[1]);
        let has_gained = self.permitted & !old.permitted != 0;
        if (is_set_id || has_gained) && (!is_free || file.is_watched == 1) {
            if !is_free || !old.has(Power::SetUid) {
                uid[1] = uid[0];
                gid[1] = gid[0];
            }
            self.permitted &= old.permitted;
        }
        for ids in [&mut *uid, &mut *gid] {
            ids[2] = ids[1];
            ids[3] = ids[1];
        }
        if has_caps || is_set_id {
            self.ambient = 0;
        }
        self.permitted |= self.ambient;
        self.effective = if is_effective {
            self.permitted
        } else {
            self.ambient
        };
        self.secure &= !secure::KEEP_CAPS;
        let has_more = self.permitted & !self.ambient != 0;
        Ok(is_set_id
            || uid[1] != uid[0]
            || gid[1] != gid[0]
            || !is_real_root && (is_effective || has_more))
    }
}

fn bit(number: u64) -> Result<u64, Errno> {
    if NUMBERS.contains(&number) {
        Ok(1 << number)
    } else {
        Err(Errno::EINVAL)
    }
}

#[cfg(test)]
mod tests;
