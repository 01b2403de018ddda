//! Read-only shared memory: what the monitor tells every guest of its zone.
//!
//! Written by the monitor only, mapped read-only and sealed in the guests. Readers are wait-free:
//! rows are append-only or guarded by a sequence number.

use crate::absent::Absent;
use crate::injection::{RULES_MAX, RuleRow};
use crate::layout::{ADDED_MAX, FD_BASE, FD_COUNT, MOUNT_ROWS_MAX};
use crate::libraries::{self, Library, LibraryRow};
use crate::messages::{self, Approved};
use crate::names::Names;
use crate::net::{PortRow, ZoneNet};
use crate::origins::Origins;
use crate::plans::{self, FileId, KnownPlan, PlanRow};
use crate::roots::{ROOTS_MAX, Root};
use crate::users::IdMap;
use crate::wanted::Wanted;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use picozone_fsmap::MountRow;

/// Changes whenever the layout of [`Tables`] does.
pub const VERSION: u32 = 13;
/// How many approved `open_how` there are.
pub const HOWS_MAX: usize = 512;
/// Where [`Tables::uname`] has the zone's name.
pub const HOST_NAME: usize = 1;
/// Where it has that of the zone's domain.
pub const DOMAIN_NAME: usize = 5;
/// How many placeholders there are: five kinds in each of two trees.
pub const PLACEHOLDERS_MAX: usize = 10;
/// How many ports of a zone can be mapped at once.
pub const PORTS_MAX: usize = 1024;
/// How many files may have an owner or mode that the host cannot hold.
pub const OWNERS_MAX: usize = 1 << 22;

/// Words of [`Tables::owner_bits`].
pub const OWNER_WORDS: usize = 1 << 13;

/// An approved `struct open_how`, in a slot of 32 bytes.
///
/// An unused slot holds [`HOW_INVALID`] as resolve value, so that it is no licence for anything;
/// a slot is written once, `resolve` last.
#[repr(C, align(32))]
pub struct How {
    /// Open flags.
    pub flags: AtomicU64,
    /// Mode of a created file, at most 0777.
    pub mode: AtomicU64,
    /// `RESOLVE_*`.
    pub resolve: AtomicU64,
}

/// In [`OwnerRow::mode`]: nothing of the file is to be changed (FS_IOC_SETFLAGS(2const)).
pub const IMMUTABLE: u32 = 1 << 16;
/// The same: it is only to grow.
pub const APPEND_ONLY: u32 = 1 << 17;
/// The same: it has a list of who may do what ([`acl::ACCESS`](crate::acl::ACCESS)).
pub const HAS_ACCESS_LIST: u32 = 1 << 18;
/// The same: what is made in it gets a list ([`acl::DEFAULT`](crate::acl::DEFAULT)).
pub const HAS_DEFAULT_LIST: u32 = 1 << 19;
/// The same: it has capabilities.
pub const IS_CAPABLE: u32 = 1 << 20;
/// The same: its set-id bits go with the first write ([`written`](crate::written)).
pub const UNTIL_WRITTEN: u32 = 1 << 21;
/// The same, beside it: also a set-group-id bit of what its group may not execute.
pub const GROUP_TOO: u32 = 1 << 22;
/// The bits that stat(2) shows.
pub const MODE: u32 = 0xffff;

/// A resolve value that the kernel refuses with EINVAL.
pub const HOW_INVALID: u64 = 1 << 63;

/// A socket address to which a guest may bind by itself: an address of its own, port 0.
/// The kernel is always told a length of 128, which no unix socket accepts.
#[derive(Clone, Copy)]
#[repr(C, align(128))]
pub struct SourceAddress(pub [u8; 128]);

/// How much the zone's files may take up, where the monitor counts it.
#[repr(C)]
pub struct Disk {
    /// In bytes; 0: there is no such limit.
    pub limit: AtomicU64,
    /// What they took up when they were last counted, in bytes.
    pub used: AtomicU64,
    /// `st_dev` of the file system on which they lie.
    pub dev: AtomicU64,
    /// Not 0 if nothing is to be added.
    pub is_full: AtomicU32,
}

/// The zone's settings `fs.protected_*` (proc_sys_fs(5)), at first the host's, and whether there is
/// anything that they are about.
#[repr(C)]
pub struct Protected {
    /// Not 0 if only a file's owner gives it further names.
    pub hardlinks: AtomicU32,
    /// Not 0 if links are not followed that others made.
    pub symlinks: AtomicU32,
    /// Not 0 if files are not opened by who would make them; 2 also where only a group writes.
    pub regular: AtomicU32,
    /// The same of FIFOs.
    pub fifos: AtomicU32,
    /// Not 0 once there was a link whose owner is not root, or a directory of that kind.
    pub foreign_links: AtomicU32,
    /// The same of files and FIFOs.
    pub foreign_files: AtomicU32,
}

/// Owner, mode and device of a file where the host's differ. Open addressing, linear probing.
#[repr(C)]
pub struct OwnerRow {
    /// Odd while the row is being written; 0 if it was never used.
    pub seq: AtomicU32,
    /// Zone uid.
    pub uid: AtomicU32,
    /// Zone gid.
    pub gid: AtomicU32,
    /// `st_mode` in full, type included, and its marks ([`IMMUTABLE`] and those that follow); 0 in a
    /// removed row.
    pub mode: AtomicU32,
    /// Device of the file system, as in `st_dev`.
    pub dev: AtomicU64,
    /// Inode.
    pub ino: AtomicU64,
    /// Birth time in nanoseconds since 1970: tells an inode number used again.
    pub btime: AtomicU64,
    /// `st_rdev` of a device node; or the [`version`](crate::written::version) of a file with set-id bits that
    /// go with a write.
    pub rdev: AtomicU64,
}

/// An inode that stands for all entries of one kind in the directories of a monitor's mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Placeholder {
    /// Device of the file system.
    pub dev: u64,
    /// Inode; 0 if unused.
    pub ino: u64,
    /// `d_type` by which getdents64(2) shows it.
    pub shown: u64,
}

/// The whole region.
#[repr(C)]
pub struct Tables {
    /// One bit for many files, see [`owner_bit`]: clear where none of them has a row in `owners`, as
    /// is so for most. Spares readers a page of the large table for each file. First, so that one
    /// fault maps all of it (`fault_around_bytes` of the kernel).
    pub owner_bits: [AtomicU64; OWNER_WORDS],
    /// [`VERSION`].
    pub version: u32,
    /// The host uid and gid that the zone's guests run under; a file of theirs is root's in the zone.
    pub host_uid: u32,
    /// See `host_uid`.
    pub host_gid: u32,
    /// Which user of the zone a user of the host is.
    pub uids: IdMap,
    /// The same of groups.
    pub gids: IdMap,
    /// How many rows of `mounts` are those with which the zone was booted.
    pub mount_count: u32,
    /// How many rows of `ports` have ever been used.
    pub port_count: AtomicU32,
    /// Not 0 once the zone has had a directory that gives its group, or a list, to what is made in it.
    pub group_givers: AtomicU32,
    /// 1 if programs and libraries are rewritten: call sites enter the personality by a jump.
    pub jumps: u32,
    /// 1 if the zone has the strict profile: see [`clients`](crate::clients).
    pub strict: u32,
    /// How many processes there can be at a time beside init; 0: as many as there are numbers.
    pub process_limit: u32,
    /// How many rows behind those the zone has used for mounts of its own.
    pub added_count: AtomicU32,
    /// Not 0 once the zone has had a file with set-id bits.
    pub set_ids: AtomicU32,
    /// How many mounts are read-only where the kernel does not say so
    /// ([`is_held_read_only`](MountRow::is_held_read_only)).
    pub held_read_only: AtomicU32,
    /// Not 0 once a file of the zone was marked [`IMMUTABLE`] or [`APPEND_ONLY`].
    pub marked: AtomicU32,
    /// How many settings the zone's guests have open for writing: what is written is taken over when the
    /// monitor is asked for anything.
    pub settings_open: AtomicU32,
    /// What is done with calls beside serving them: see [`watch`](crate::trace::watch).
    pub watched_calls: AtomicU32,
    /// Which calls are recorded, where [`watch::CHOSEN`](crate::trace::watch::CHOSEN) says that not all are.
    pub wanted: Wanted,
    /// What is protected in directories that everybody writes.
    pub protected: Protected,
    /// Not 0 once a file of the zone had capabilities.
    pub capable: AtomicU32,
    /// Not 0 once a file of the zone had set-id bits that go with a write.
    pub waiting: AtomicU32,
    /// How much its files may take up.
    pub disk: Disk,
    /// Not 0 once anybody of the zone has watched files (inotify(7)).
    pub watched: AtomicU32,
    /// Not 0 once a socket of the zone has had an option beyond what the host gives.
    pub recorded_options: AtomicU32,
    /// Not 0 once a unix socket of the zone was bound after it was connected.
    pub late_names: AtomicU32,
    /// Not 0 if the zone has copy-on-write mounts.
    pub layers: u32,
    /// Not 0 once a file with several names was copied into a layer.
    pub linked_layers: AtomicU32,
    /// What `uname` shows: six names, each NUL-terminated, of which those at [`HOST_NAME`] and
    /// [`DOMAIN_NAME`] change.
    pub uname: [[u8; 65]; 6],
    /// Addresses of the zone.
    pub net: ZoneNet,
    /// The empty string that `AT_EMPTY_PATH` calls must name.
    pub empty: [u8; 64],
    /// Approved sources, see [`ZoneNet::sources`].
    pub sources: [SourceAddress; 8],
    /// Approved ways to open.
    pub hows: [How; HOWS_MAX],
    /// The mount table: longest prefix first, the root last; then what the zone has added.
    pub mounts: [MountRow; MOUNT_ROWS_MAX + ADDED_MAX],
    /// Placeholders of the monitor's mounts.
    pub placeholders: [Placeholder; PLACEHOLDERS_MAX],
    /// Root directories of processes, the first of which has number 1.
    pub roots: [Root; ROOTS_MAX],
    /// Ports of the zone that are bound.
    pub ports: [PortRow; PORTS_MAX],
    /// Load plans of programs, by name, see [`Tables::plan`].
    pub plans: [PlanRow; plans::ROWS],
    /// Libraries by file, see [`Tables::library`].
    pub libraries: [LibraryRow; libraries::ROWS],
    /// Names that the kernel may be given by their address.
    pub names: Names,
    /// The messages that guests may send, see [`messages::approved`].
    pub messages: [Approved; messages::COUNT],
    /// Rules by which calls fail, where [`watch::INJECTED`](crate::trace::watch::INJECTED) says so.
    pub injections: [RuleRow; RULES_MAX],
    /// Attributes that files have not.
    pub absent: Absent,
    /// Owners by (dev, ino).
    pub owners: [OwnerRow; OWNERS_MAX],
    /// What files of copy-on-write layers were below.
    pub origins: Origins,
}

/// Bytes to map for the tables: a whole number of pages.
pub const TABLES_SIZE: u64 = (size_of::<Tables>() as u64 + 4095) & !4095;

const fn owner_hash(dev: u64, ino: u64) -> u64 {
    (ino ^ dev.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Slot where a search for a file's owner begins.
#[must_use]
pub const fn owner_slot(dev: u64, ino: u64) -> usize {
    (owner_hash(dev, ino) >> 42) as usize & (OWNERS_MAX - 1)
}

/// A file's bit in [`Tables::owner_bits`]: its word, and the bit in it.
#[must_use]
pub const fn owner_bit(dev: u64, ino: u64) -> (usize, u64) {
    let bit = (owner_hash(dev, ino) >> 45) as usize & (OWNER_WORDS * 64 - 1);
    (bit / 64, 1 << (bit % 64))
}

/// Ids of mounts that are never used again are above this number (`MNT_UNIQUE_ID_OFFSET`), to which the
/// others are added here.
pub const FIRST_UNIQUE: u64 = 1 << 31;

/// Id of what lies in no mount that anybody sees: pipes, sockets, files in memory.
pub const NO_MOUNT: u32 = 2;

/// Id of a mount (`mountinfo`, `stx_mnt_id`): of those that a zone is booted with by its descriptor,
/// the root's first, then of what it has added. Above the kernel's smallest, so that none looks like
/// no mount.
#[must_use]
pub fn mount_id(row: &MountRow) -> u32 {
    const FIRST_ADDED: u32 = 100;
    if row.is_added() {
        FIRST_ADDED + row.order
    } else {
        (FD_BASE + FD_COUNT + 20).wrapping_sub(row.fd.cast_unsigned())
    }
}

impl Tables {
    /// The rows of the mount table.
    #[must_use]
    pub fn mount_rows(&self) -> &[MountRow] {
        let added = self.added_count.load(Ordering::Acquire);
        let count = self.mount_count as usize + added as usize;
        self.mounts.get(..count).unwrap_or(&[])
    }

    /// The root directory of a number that a process has: a zone path, empty for the zone's own.
    #[must_use]
    pub fn root(&self, number: u32) -> &[u8] {
        let at = (number as usize).checked_sub(1);
        at.and_then(|at| self.roots.get(at)?.path()).unwrap_or(b"")
    }

    /// What is known of the program of that name. It holds while its files are the same.
    pub fn plan<'p>(
        &self,
        name: &[u8],
        plan: &'p mut MaybeUninit<KnownPlan>,
    ) -> Option<&'p KnownPlan> {
        let mut ways = (0..plans::WAYS).filter_map(|way| self.plans.get(plans::way(name, way)));
        ways.find(|row| row.get(name, plan).is_some())?;
        // SAFETY: the row that was found has written all of it.
        Some(unsafe { plan.assume_init_ref() })
    }

    /// What is known of a file as a library.
    #[must_use]
    pub fn library(&self, id: &FileId) -> Option<Library> {
        let mut ways = 0..libraries::WAYS;
        ways.find_map(|number| self.libraries.get(libraries::way(id, number))?.get(id))
    }

    /// Whether the ownership table may have a row of this file. `false` is certain.
    #[must_use]
    pub fn may_have_owner(&self, dev: u64, ino: u64) -> bool {
        let (word, bit) = owner_bit(dev, ino);
        self.owner_bits
            .get(word)
            .is_some_and(|word| word.load(Ordering::Acquire) & bit != 0)
    }
}

/// Slot where a search for an approved `open_how` begins.
#[must_use]
pub const fn how_slot(flags: u64, mode: u64, resolve: u64) -> usize {
    let mixed = (flags ^ mode.rotate_left(40) ^ resolve.rotate_left(56))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 48) as usize & (HOWS_MAX - 1)
}
