//! What a zone mounts itself: mount(2) and umount2(2).
//!
//! Every such mount is another name for what the zone could reach before: a directory or file of its
//! trees (bind), a directory of the store that its guests have as a descriptor (temporary file
//! systems), or `/proc` and `/dev`. So it needs no rule of the wall, and none is changed by it. The
//! other side of that: that it is read-only, or that nothing may be executed there, is kept by the
//! personality and by the monitor, not by the kernel, as everything among the zone's own users is.
//!
//! [`cover`] makes room for a mount in the directory above. Lock order: [`Mounting`]'s lock is held
//! while rows are written; nothing else is locked meanwhile.

pub mod cover;
mod lines;

use super::guests;
use super::mounts::TMPFS;
use super::owners::{Owner, identify};
use super::paths;
use super::roots;
use super::zone::Zone;
use crate::error::Result as Made;
use crate::ids::HostPid;
use cover::{Cover, In, Store};
use picozone_fsmap::{MountRow, Mounts, is_normal};
use picozone_personality::layout::{ADDED_MAX, FD_MOUNT0};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering::{AcqRel, Release};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use lines::lines;

/// `PROC_SUPER_MAGIC`.
const PROC: u64 = 0x9fa0;
/// `ST_VALID`.
const ST_VALID: u32 = 0x20;
/// `ST_RDONLY`, as `MS_RDONLY`.
const ST_RDONLY: u32 = 1;
/// `ST_NOEXEC`, as `MS_NOEXEC`.
const ST_NOEXEC: u32 = 8;
/// `MS_NOSYMFOLLOW`, which has no name in libc yet, and its `ST_*`.
const NOSYMFOLLOW: [u64; 2] = [256, 0x2000];
/// What mount(2) and statfs(2) say of times of access.
const ATIME: u64 =
    libc::MS_NOATIME | libc::MS_NODIRATIME | libc::MS_RELATIME | libc::MS_STRICTATIME;
const ST_ATIME: u32 = 1024 | 2048 | 4096;
/// Propagation, of which mount(2) says nothing else.
const CHANGES: u64 = libc::MS_SHARED | libc::MS_PRIVATE | libc::MS_SLAVE | libc::MS_UNBINDABLE;

/// A mount that the zone has made.
#[derive(Debug)]
struct Added {
    /// Its place in the table.
    slot: usize,
    source: Vec<u8>,
    fstype: &'static str,
    /// Of a bind: what it shows of the other mount.
    root: Vec<u8>,
    cover: Option<Cover>,
    /// The directory of a temporary file system, if it is the last mount of it.
    temporary: Option<String>,
    /// `MNT_EXPIRE` found it idle.
    is_expired: bool,
}

struct State {
    next_order: u32,
    next_number: u64,
    added: Vec<Added>,
}

/// The mounts that a zone has made.
pub struct Mounting {
    store: Store,
    state: Mutex<State>,
}

/// What a guest asks for.
pub struct Wanted<'a> {
    /// The mount point, as a zone path free of links.
    pub target: &'a [u8],
    /// Of binds and moves such a path too; else as the guest said it.
    pub source: &'a [u8],
    /// Type of the file system.
    pub fstype: &'a [u8],
    /// Its options.
    pub data: &'a [u8],
    /// `MS_*`.
    pub flags: u64,
}

/// A place in a tree of the zone.
struct Place {
    row: MountRow,
    index: usize,
    rel: Vec<u8>,
}

impl Mounting {
    /// Of a zone that boots.
    ///
    /// # Errors
    /// The store cannot be made.
    pub fn open(zone_dir: &Path) -> Made<Mounting> {
        let store = Store::open(zone_dir)?;
        Ok(Mounting {
            state: Mutex::new(State {
                next_order: 1,
                next_number: store.first_number(),
                added: Vec::new(),
            }),
            store,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves [`Request::Mount`](picozone_personality::mailbox::Request::Mount).
///
/// # Errors
/// As mount(2).
pub fn mount(zone: &Zone, caller: HostPid, wanted: &Wanted<'_>) -> Result<i64, i32> {
    let flags = wanted.flags;
    let is_from_path =
        flags & libc::MS_REMOUNT == 0 && flags & (libc::MS_BIND | libc::MS_MOVE) != 0;
    must_be_normal(wanted.target)?;
    if is_from_path && flags & CHANGES == 0 {
        must_be_normal(wanted.source)?;
    }
    let mut state = zone.mounting.state();
    let is = |flag: u64| flags & flag != 0;
    let result = if is(libc::MS_REMOUNT) {
        remount(zone, &mut state, wanted)
    } else if is(libc::MS_BIND) {
        bind(zone, &mut state, wanted)
    } else if is(CHANGES) {
        // There is one table of mounts only, so nothing is ever propagated.
        top(zone, wanted.target).map(drop)
    } else if is(libc::MS_MOVE) {
        relocate(zone, &mut state, wanted)
    } else {
        new(zone, caller, &mut state, wanted)
    };
    settle(zone, &state);
    result.map(|()| 0)
}

/// Texts come from guests: only normal ones have a place in the table.
fn must_be_normal(path: &[u8]) -> Result<(), i32> {
    if path == b"/" || is_normal(path) {
        Ok(())
    } else {
        Err(libc::EINVAL)
    }
}

/// The row that stands at a path.
fn top(zone: &Zone, path: &[u8]) -> Result<usize, i32> {
    Mounts(zone.rows()).top(path).ok_or(libc::EINVAL)
}

/// Where a path lies, which must be free of links.
fn place(zone: &Zone, path: &[u8]) -> Result<Place, i32> {
    let rows = zone.rows();
    let (index, rest) = Mounts(rows).find_canonical(path);
    let row = rows.get(index).ok_or(libc::ENOENT)?;
    Ok(Place {
        row: *row,
        index,
        rel: rest.to_vec(),
    })
}

/// Opens what lies at a place.
fn open_place(zone: &Zone, place: &Place) -> Result<OwnedFd, i32> {
    paths::open_beneath(
        zone,
        place.index,
        &place.rel,
        libc::O_PATH | libc::O_NOFOLLOW,
    )
}

/// Opens what a row shows.
fn open_row(zone: &Zone, row: &MountRow) -> Result<OwnedFd, i32> {
    let mount = zone.mounts.get(super::mounts::number(row));
    paths::open_sub(mount.ok_or(libc::ENOENT)?, row)
}

fn stat_of(node: &OwnedFd) -> Result<nix::sys::stat::FileStat, i32> {
    nix::sys::stat::fstat(node).map_err(|errno| errno as i32)
}

fn is_dir(node: &OwnedFd) -> Result<bool, i32> {
    let found = stat_of(node)?;
    match found.st_mode & libc::S_IFMT {
        libc::S_IFLNK => Err(libc::EINVAL),
        libc::S_IFDIR => Ok(true),
        _ => Ok(false),
    }
}

/// The flags of a mount as statfs(2) tells them.
fn st_flags(flags: u64) -> u32 {
    const SAME: u64 = libc::MS_RDONLY
        | libc::MS_NOSUID
        | libc::MS_NODEV
        | libc::MS_NOEXEC
        | libc::MS_SYNCHRONOUS
        | libc::MS_NOATIME
        | libc::MS_NODIRATIME;
    const ST_RELATIME: u32 = 4096;
    let mut shown = u32::try_from(flags & SAME).unwrap_or(0) | ST_VALID;
    if flags & (libc::MS_NOATIME | libc::MS_STRICTATIME) == 0 {
        shown |= ST_RELATIME;
    }
    if flags & NOSYMFOLLOW[0] != 0 {
        shown |= u32::try_from(NOSYMFOLLOW[1]).unwrap_or(0);
    }
    shown
}

/// Writes a row into its place. Readers do not wait: the place is unused meanwhile.
fn put(zone: &Zone, slot: usize, row: &MountRow) {
    // SAFETY: the caller holds the lock; guests copy nothing out of a row that is unused.
    let tables = unsafe { zone.shared.tables_mut() };
    let first = tables.mount_count as usize;
    let Some(place) = tables.mounts.get_mut(first + slot) else {
        return;
    };
    std::sync::atomic::fence(AcqRel);
    // SAFETY: the field is ours.
    unsafe { std::ptr::write_volatile(&raw mut place.kind, 0) };
    std::sync::atomic::fence(AcqRel);
    *place = MountRow { kind: 0, ..*row };
    std::sync::atomic::fence(AcqRel);
    // SAFETY: the field is ours.
    unsafe { std::ptr::write_volatile(&raw mut place.kind, row.kind) };
    let used = u32::try_from(slot + 1).unwrap_or(0);
    zone.shared.tables().added_count.fetch_max(used, Release);
}

fn row_of(zone: &Zone, added: &Added) -> MountRow {
    let tables = zone.shared.tables();
    let first = tables.mount_count as usize;
    *tables
        .mounts
        .get(first + added.slot)
        .unwrap_or(&MountRow::EMPTY)
}

/// What depends on all rows together: second names, whether anything is read-only. What guests
/// remember of paths is not right any more.
fn settle(zone: &Zone, state: &State) {
    let mut read_only = 0;
    for added in &state.added {
        let row = row_of(zone, added);
        read_only += row.read_only;
        let is_second = row.is_monitor() || has_other_name(zone.rows(), &row);
        if row.is_second != u32::from(is_second) {
            let is_second = u32::from(is_second);
            put(zone, added.slot, &MountRow { is_second, ..row });
        }
    }
    zone.shared
        .tables()
        .read_only_added
        .store(read_only, Release);
    let commons = zone.shared.commons();
    commons.links.fetch_add(1, AcqRel);
    commons.moves.fetch_add(1, AcqRel);
    commons.rights.fetch_add(1, AcqRel);
}

/// Whether what a row shows is found in the zone by another one too.
fn has_other_name(rows: &[MountRow], row: &MountRow) -> bool {
    let others: Vec<MountRow> = rows
        .iter()
        .map(|other| match other.order == row.order {
            true => MountRow::EMPTY,
            false => *other,
        })
        .collect();
    let mut path = picozone_fsmap::PathBuf::new();
    if !Mounts(&others).to_zone(row.host(), &mut path) {
        return false;
    }
    // By its text the path may lead into what was mounted over that.
    let (index, rest) = Mounts(rows).find(path.as_bytes());
    rows.get(index).is_some_and(|found| {
        let host = [found.host(), if rest.is_empty() { b"" } else { b"/" }, rest].concat();
        host == row.host()
    })
}

/// Takes a place in the table for a new row.
fn free_slot(state: &State) -> Result<usize, i32> {
    (0..ADDED_MAX)
        .find(|slot| state.added.iter().all(|added| added.slot != *slot))
        .ok_or(libc::ENOSPC)
}

/// Makes room at a mount point, and tells the row what it covers. Rows that show what goes out of the
/// way follow it.
fn make_room(
    zone: &Zone,
    state: &mut State,
    target: &[u8],
    row: &mut MountRow,
) -> Result<Option<Cover>, i32> {
    if Mounts(zone.rows()).top(target).is_some() {
        // What stands there has a placeholder already.
        return Ok(None);
    }
    let place = place(zone, target)?;
    let below = zone.mount(place.index).ok_or(libc::ENOENT)?;
    let is_root = |row: &&MountRow| !row.is_added() && row.prefix_len == 0;
    let root = zone.rows().iter().find(is_root).ok_or(libc::ENOENT)?;
    // Mount points are made in the zone's own tree only, not in what it shares with the host.
    let kind = match place.row.fd {
        fd if fd == root.fd => In::Root,
        fd if fd == FD_MOUNT0.cast_signed() => In::Store,
        _ => return Err(libc::EPERM),
    };
    let rel = beneath(&place.row, &place.rel);
    let number = state.next_number;
    state.next_number += 1;
    let cover = zone
        .mounting
        .store
        .cover(&below.directory, kind, &rel, number)
        .map_err(|errno| errno as i32)?;
    (row.placeholder_dev, row.placeholder_ino) =
        (cover.placeholder.st_dev, cover.placeholder.st_ino);
    let from = [place.row.host(), b"/", &place.rel].concat();
    follow(zone, state, &from, cover.kept.as_bytes(), Some(row));
    Ok(Some(cover))
}

/// Undoes [`make_room`].
fn give_back(zone: &Zone, state: &State, target: &[u8], cover: &Cover) {
    let from = zone.mounting.store.path_of(&cover.kept);
    zone.mounting.store.uncover(cover);
    if let Ok(place) = place(zone, target) {
        let from = from.as_os_str().as_bytes();
        relocate_rows(zone, state, from, &place.row, &place.rel);
    }
}

/// The name beneath a row's descriptor.
fn beneath(row: &MountRow, rel: &[u8]) -> Vec<u8> {
    match (row.sub(), rel) {
        (b"", rel) => rel.to_vec(),
        (sub, b"") => sub.to_vec(),
        (sub, rel) => [sub, b"/", rel].concat(),
    }
}

/// Rows that show something at or beneath a host path show it in the store now, under a name there.
fn follow(zone: &Zone, state: &State, from: &[u8], kept: &[u8], new: Option<&mut MountRow>) {
    let store = zone.mounting.store_row();
    relocate_rows(zone, state, from, &store, kept);
    if let Some(row) = new {
        moved(row, from, &store, kept);
    }
}

fn relocate_rows(zone: &Zone, state: &State, from: &[u8], to: &MountRow, name: &[u8]) {
    for added in &state.added {
        let mut row = row_of(zone, added);
        if moved(&mut row, from, to, name) {
            put(zone, added.slot, &row);
        }
    }
}

/// Puts a row that shows something at or beneath `from` to the same beneath `to`/`name`.
fn moved(row: &mut MountRow, from: &[u8], to: &MountRow, name: &[u8]) -> bool {
    if !row.is_added() || row.is_monitor() {
        return false;
    }
    let Some(rest) = row.host().strip_prefix(from) else {
        return false;
    };
    if !rest.is_empty() && rest.first() != Some(&b'/') {
        return false;
    }
    let sub = [name, rest].concat();
    row.relocate(to, &sub).is_ok()
}

/// Adds a mount. `row` has no place yet; what it covers is made room for.
fn add(
    zone: &Zone,
    state: &mut State,
    target: &[u8],
    mut row: MountRow,
    mut added: Added,
) -> Result<(), i32> {
    added.slot = free_slot(state)?;
    added.cover = make_room(zone, state, target, &mut row)?;
    if added.cover.is_none()
        && let Some(below) = Mounts(zone.rows()).top(target)
        && let Some(below) = zone.rows().get(below)
    {
        (row.placeholder_dev, row.placeholder_ino) = (below.placeholder_dev, below.placeholder_ino);
    }
    if let Ok(found) = open_row(zone, &row).and_then(|node| stat_of(&node)) {
        (row.root_dev, row.root_ino) = (found.st_dev, found.st_ino);
    }
    row.order = state.next_order;
    state.next_order += 1;
    put(zone, added.slot, &row);
    state.added.push(added);
    Ok(())
}

/// The mount point must be there, and a directory if what is mounted is one.
fn must_fit(zone: &Zone, target: &[u8], is_directory: bool) -> Result<(), i32> {
    if target == b"/" {
        // A zone cannot be taken away from under its processes.
        return Err(libc::EBUSY);
    }
    let place = place(zone, target)?;
    let is_there = if place.row.is_monitor() {
        place.rel.is_empty()
    } else {
        is_dir(&open_place(zone, &place)?)?
    };
    if is_there == is_directory {
        Ok(())
    } else {
        Err(libc::ENOTDIR)
    }
}

fn plain(source: &[u8], fstype: &'static str) -> Added {
    Added {
        slot: 0,
        source: source.to_vec(),
        fstype,
        root: b"/".to_vec(),
        cover: None,
        temporary: None,
        is_expired: false,
    }
}

/// `MS_BIND`, perhaps with `MS_REC`.
fn bind(zone: &Zone, state: &mut State, wanted: &Wanted<'_>) -> Result<(), i32> {
    let from = place(zone, wanted.source)?;
    let is_directory = if from.row.is_monitor() {
        if !from.rel.is_empty() {
            // Only whole trees of the monitor's have a place in the table.
            return Err(libc::EPERM);
        }
        true
    } else {
        is_dir(&open_place(zone, &from)?)?
    };
    must_fit(zone, wanted.target, is_directory)?;
    // The mounts beneath the source, before anything changes.
    let inner: Vec<(Vec<u8>, MountRow)> = if wanted.flags & libc::MS_REC == 0 {
        Vec::new()
    } else {
        let rows = zone.rows();
        let tops = rows.iter().enumerate().filter_map(|(index, row)| {
            let is_shown = row.is_used() && Mounts(rows).top(row.prefix()) == Some(index);
            let rest = row
                .prefix()
                .strip_prefix(wanted.source.strip_suffix(b"/").unwrap_or(wanted.source))?;
            (is_shown && rest.first() == Some(&b'/')).then(|| (rest.to_vec(), *row))
        });
        let mut tops: Vec<_> = tops.collect();
        tops.sort_by_key(|(rest, _)| rest.len());
        tops
    };
    let first = state.next_order;
    let all = std::iter::once((Vec::new(), from.row, &from.rel[..]))
        .chain(inner.into_iter().map(|(rest, row)| (rest, row, &b""[..])));
    for (rest, row, rel) in all {
        let target = [wanted.target, &rest].concat();
        if let Err(errno) = add_bind(zone, state, &target, &row, rel) {
            // All or nothing.
            for order in (first..state.next_order).rev() {
                take_away(zone, state, order);
            }
            return Err(errno);
        }
    }
    Ok(())
}

fn add_bind(
    zone: &Zone,
    state: &mut State,
    target: &[u8],
    of: &MountRow,
    rel: &[u8],
) -> Result<(), i32> {
    let mut row = MountRow::added(target, of, rel, 1).map_err(|error| i32::from(error.0))?;
    (row.flags, row.magic) = (of.flags, of.magic);
    if !of.is_added() {
        row.flags = st_flags(if of.is_read_only() {
            libc::MS_RDONLY
        } else {
            0
        });
    }
    let (source, fstype) = match state
        .added
        .iter()
        .find(|added| of.is_added() && row_of(zone, added).order == of.order)
    {
        Some(added) => (added.source.clone(), added.fstype),
        None if of.is_monitor() && of.prefix() == b"/proc" => (b"proc".to_vec(), "proc"),
        None if of.is_monitor() => (b"devtmpfs".to_vec(), "devtmpfs"),
        None => (b"zone".to_vec(), ""),
    };
    let mut added = plain(&source, fstype);
    added.root = [b"/", rel].concat();
    // A mount in what is bound finds its placeholder shown here too.
    if let Ok(place) = place(zone, target)
        && !place.rel.is_empty()
        && (place.row.is_monitor() || is_placeholder(zone, &place))
    {
        added.slot = free_slot(state)?;
        row.order = state.next_order;
        state.next_order += 1;
        put(zone, added.slot, &row);
        state.added.push(added);
        return Ok(());
    }
    add(zone, state, target, row, added)
}

fn is_placeholder(zone: &Zone, place: &Place) -> bool {
    open_place(zone, place).is_ok_and(|node| {
        nix::sys::stat::fstat(&node).is_ok_and(|found| {
            found.st_mode & libc::S_IFMT == libc::S_IFLNK
                && Mounts(zone.rows())
                    .is_placeholder(found.st_dev, found.st_ino)
                    .is_some()
        })
    })
}

/// A new file system.
fn new(zone: &Zone, caller: HostPid, state: &mut State, wanted: &Wanted<'_>) -> Result<(), i32> {
    match wanted.fstype {
        b"tmpfs" | b"ramfs" => new_temporary(zone, state, wanted),
        b"proc" => new_served(zone, state, wanted, b"/proc", "proc"),
        b"devtmpfs" => new_served(zone, state, wanted, b"/dev", "devtmpfs"),
        other => Err(refusal(zone, caller, other, wanted.source)),
    }
}

/// Why a file system of the kernel's is not mounted: as the kernel says it to those who name no
/// device, and EPERM, since what it holds would be the host's.
fn refusal(zone: &Zone, caller: HostPid, fstype: &[u8], source: &[u8]) -> i32 {
    let known = std::fs::read("/proc/filesystems").unwrap_or_default();
    let line = known.split(|&byte| byte == b'\n').find_map(|line| {
        let (kind, name) = line.split_at(line.iter().position(|&byte| byte == b'\t')?);
        (name.get(1..) == Some(fstype)).then_some(kind.is_empty())
    });
    let what = format!("mount of {}", fstype.escape_ascii());
    zone.refusals.note_as(
        zone,
        caller,
        what,
        "file systems of the kernel are the host's",
    );
    match line {
        None => libc::ENODEV,
        Some(false) => libc::EPERM,
        Some(true) if source.is_empty() => libc::EINVAL,
        Some(true) => {
            let root = roots::of_caller(zone, caller);
            match paths::open_at(zone, &root, b"", source, libc::O_PATH) {
                // What the monitor serves, among it devices.
                Err(libc::EACCES) => libc::EPERM,
                Err(errno) => errno,
                Ok(_) => libc::ENOTBLK,
            }
        }
    }
}

fn new_served(
    zone: &Zone,
    state: &mut State,
    wanted: &Wanted<'_>,
    of: &[u8],
    fstype: &'static str,
) -> Result<(), i32> {
    must_fit(zone, wanted.target, true)?;
    let rows = zone.rows();
    let is_own = |row: &&MountRow| !row.is_added() && row.prefix() == of;
    let of = *rows.iter().find(is_own).ok_or(libc::ENODEV)?;
    let row = MountRow::added(wanted.target, &of, b"", 1).map_err(|error| i32::from(error.0))?;
    let flags = st_flags(wanted.flags);
    let magic = if fstype == "proc" { PROC } else { TMPFS };
    let row = MountRow {
        flags,
        magic,
        ..row
    };
    add(
        zone,
        state,
        wanted.target,
        row,
        plain(wanted.source, fstype),
    )
}

/// Options of tmpfs(5) that are told apart here; sizes are the host's affair.
struct Options {
    mode: u32,
    uid: u32,
    gid: u32,
}

fn options(data: &[u8]) -> Result<Options, i32> {
    let mut found = Options {
        mode: 0o1777,
        uid: 0,
        gid: 0,
    };
    let text = std::str::from_utf8(data).map_err(|_| libc::EINVAL)?;
    for option in text.split(',').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let number = |radix| u32::from_str_radix(value, radix).map_err(|_| libc::EINVAL);
        match key {
            "mode" => found.mode = number(8)? & 0o7777,
            "uid" => found.uid = number(10)?,
            "gid" => found.gid = number(10)?,
            "size" | "nr_blocks" | "nr_inodes" => {
                let digits = value.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G', '%']);
                digits.parse::<u64>().map_err(|_| libc::EINVAL)?;
            }
            "huge" | "mpol" | "inode32" | "inode64" | "noswap" => {}
            _ => return Err(libc::EINVAL),
        }
    }
    Ok(found)
}

fn new_temporary(zone: &Zone, state: &mut State, wanted: &Wanted<'_>) -> Result<(), i32> {
    let options = options(wanted.data)?;
    must_fit(zone, wanted.target, true)?;
    let store = &zone.mounting.store;
    let number = state.next_number;
    state.next_number += 1;
    let name = store.make_temporary(number).map_err(super::files::errno)?;
    let made = || -> Result<(MountRow, Added), i32> {
        let directory = store
            .open_temporary(&name, options.mode & 0o777 | 0o700)
            .map_err(|errno| errno as i32)?;
        let (id, _) = identify(&directory)?;
        let owner = Owner {
            uid: options.uid,
            gid: options.gid,
            mode: libc::S_IFDIR | options.mode,
            rdev: 0,
        };
        zone.owners.set(&zone.shared, id, owner);
        let of = zone.mounting.store_row();
        let row = MountRow::added(wanted.target, &of, name.as_bytes(), 1)
            .map_err(|error| i32::from(error.0))?;
        let row = MountRow {
            read_only: u32::from(wanted.flags & libc::MS_RDONLY != 0),
            flags: st_flags(wanted.flags),
            magic: TMPFS,
            ..row
        };
        let mut added = plain(wanted.source, "tmpfs");
        added.temporary = Some(name.clone());
        Ok((row, added))
    };
    let result = made().and_then(|(row, added)| add(zone, state, wanted.target, row, added));
    if result.is_err() {
        store.remove_temporary(&name);
    }
    result
}

/// `MS_REMOUNT`: flags and options of what is mounted at the very target.
fn remount(zone: &Zone, state: &mut State, wanted: &Wanted<'_>) -> Result<(), i32> {
    let at = top(zone, wanted.target)?;
    let row = *zone.rows().get(at).ok_or(libc::EINVAL)?;
    if !row.is_added() {
        // The zone's configuration says how these are mounted.
        let is_same = row.is_read_only() == (wanted.flags & libc::MS_RDONLY != 0);
        return if is_same { Ok(()) } else { Err(libc::EPERM) };
    }
    if row.magic == TMPFS && wanted.flags & libc::MS_BIND == 0 {
        options(wanted.data)?;
    }
    let is_read_only = wanted.flags & libc::MS_RDONLY != 0;
    if is_read_only && wanted.flags & libc::MS_BIND == 0 && is_written(zone, row.host()) {
        return Err(libc::EBUSY);
    }
    let mut flags = st_flags(wanted.flags);
    if wanted.flags & ATIME == 0 {
        flags = flags & !ST_ATIME | row.flags & ST_ATIME;
    }
    change_flags(zone, state, &row, flags)
}

/// Gives an added row other flags.
fn change_flags(zone: &Zone, state: &State, row: &MountRow, flags: u32) -> Result<(), i32> {
    let mut all = state.added.iter();
    let added = all.find(|added| row_of(zone, added).order == row.order);
    let slot = added.ok_or(libc::EINVAL)?.slot;
    // What the configuration lets be looked at only stays so.
    let below = zone
        .rows()
        .iter()
        .find(|below| !below.is_added() && !below.is_alias() && below.fd == row.fd);
    let is_fixed = below.is_some_and(|below| below.is_read_only());
    if is_fixed && flags & ST_RDONLY == 0 {
        return Err(libc::EPERM);
    }
    let read_only = flags & ST_RDONLY;
    put(
        zone,
        slot,
        &MountRow {
            flags,
            read_only,
            ..*row
        },
    );
    Ok(())
}

/// `MS_MOVE`.
fn relocate(zone: &Zone, state: &mut State, wanted: &Wanted<'_>) -> Result<(), i32> {
    let at = top(zone, wanted.source)?;
    let row = *zone.rows().get(at).ok_or(libc::EINVAL)?;
    let mut all = state.added.iter();
    let index = all
        .position(|added| row.is_added() && row_of(zone, added).order == row.order)
        .ok_or(libc::EINVAL)?;
    if lies_in(wanted.target, wanted.source) {
        return Err(libc::ELOOP);
    }
    let is_directory = row.is_monitor()
        || is_dir(&paths::open_beneath(
            zone,
            at,
            b"",
            libc::O_PATH | libc::O_NOFOLLOW,
        )?)?;
    must_fit(zone, wanted.target, is_directory).map_err(|errno| match errno {
        libc::ENOTDIR => libc::EINVAL,
        errno => errno,
    })?;
    // With it goes what is mounted in it.
    let mut inner: Vec<u32> = Vec::new();
    for added in &state.added {
        let other = row_of(zone, added);
        if other.order > row.order
            && other.prefix() != wanted.source
            && lies_in(other.prefix(), wanted.source)
        {
            inner.push(other.order);
        }
    }
    let mut added = state.added.remove(index);
    put(zone, added.slot, &MountRow::EMPTY);
    if let Some(cover) = added.cover.take() {
        give_back(zone, state, wanted.source, &cover);
    }
    let mut new = row;
    rename(&mut new, wanted.target)?;
    add(zone, state, wanted.target, new, added)?;
    for order in inner {
        let Some(added) = state
            .added
            .iter()
            .find(|added| row_of(zone, added).order == order)
        else {
            continue;
        };
        let mut row = row_of(zone, added);
        let rest = row
            .prefix()
            .get(wanted.source.len()..)
            .unwrap_or(b"")
            .to_vec();
        rename(&mut row, &[wanted.target, &rest].concat())?;
        row.order = state.next_order;
        put(zone, added.slot, &row);
        state.next_order += 1;
    }
    Ok(())
}

fn rename(row: &mut MountRow, target: &[u8]) -> Result<(), i32> {
    let new = MountRow::added(target, row, b"", row.order).map_err(|error| i32::from(error.0))?;
    (row.prefix, row.prefix_len) = (new.prefix, new.prefix_len);
    (row.placeholder_dev, row.placeholder_ino) = (0, 0);
    Ok(())
}

/// Whether a path is another one or lies beneath it.
fn lies_in(path: &[u8], other: &[u8]) -> bool {
    path.strip_prefix(other)
        .is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
}

/// Serves [`Request::Umount`](picozone_personality::mailbox::Request::Umount): takes away what is
/// mounted at a zone path.
///
/// # Errors
/// As umount2(2).
pub fn umount(zone: &Zone, target: &[u8], flags: u64) -> Result<i64, i32> {
    const MNT_DETACH: u64 = 2;
    const MNT_EXPIRE: u64 = 4;
    let mut state = zone.mounting.state();
    let at = top(zone, target)?;
    let row = *zone.rows().get(at).ok_or(libc::EINVAL)?;
    if !row.is_added() {
        // It belongs to the zone's configuration.
        return Err(libc::EBUSY);
    }
    let is_lazy = flags & MNT_DETACH != 0;
    let mut inner: Vec<u32> = state
        .added
        .iter()
        .map(|added| row_of(zone, added))
        .filter(|other| {
            other.order > row.order && other.prefix() != target && lies_in(other.prefix(), target)
        })
        .map(|other| other.order)
        .collect();
    let is_idle = row.is_monitor() || !is_used(zone, row.host());
    if !is_lazy && (!inner.is_empty() || !is_idle) {
        return Err(libc::EBUSY);
    }
    if flags & MNT_EXPIRE != 0 {
        let mut all = state.added.iter_mut();
        let added = all.find(|added| row_of(zone, added).order == row.order);
        let added = added.ok_or(libc::EINVAL)?;
        if !std::mem::replace(&mut added.is_expired, true) {
            return Err(libc::EAGAIN);
        }
    }
    inner.sort_unstable();
    for order in inner.into_iter().rev().chain([row.order]) {
        take_away(zone, &mut state, order);
    }
    settle(zone, &state);
    Ok(0)
}

fn take_away(zone: &Zone, state: &mut State, order: u32) {
    let mut all = state.added.iter();
    let Some(index) = all.position(|added| row_of(zone, added).order == order) else {
        return;
    };
    let added = state.added.remove(index);
    let row = row_of(zone, &added);
    put(zone, added.slot, &MountRow::EMPTY);
    if let Some(cover) = &added.cover {
        give_back(zone, state, row.prefix(), cover);
    }
    let Some(name) = added.temporary else { return };
    // Binds of it keep it.
    let path = zone.mounting.store.path_of(&name);
    let path = path.as_os_str().as_bytes();
    match state
        .added
        .iter_mut()
        .find(|other| lies_in(row_of(zone, other).host(), path))
    {
        Some(other) if other.temporary.is_none() => other.temporary = Some(name),
        Some(_) => {}
        None => zone.mounting.store.remove_temporary(&name),
    }
}

/// Whether a process of the zone has something open at or beneath a host path, or works there.
fn is_used(zone: &Zone, host: &[u8]) -> bool {
    any_link(zone, |text, _| lies_in(text, host))
}

/// Whether a process has a file open for writing there.
fn is_written(zone: &Zone, host: &[u8]) -> bool {
    any_link(zone, |text, info| {
        lies_in(text, host)
            && info.is_some_and(|info| {
                let text = std::fs::read_to_string(info).unwrap_or_default();
                let mut lines = text.lines();
                let flags = lines.find_map(|line| line.strip_prefix("flags:"));
                let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
                flags.is_some_and(|flags| {
                    flags & libc::O_ACCMODE != libc::O_RDONLY && flags & libc::O_PATH == 0
                })
            })
    })
}

/// Whether a link of a process of the zone is such: its working directory, its descriptors.
fn any_link(zone: &Zone, is_such: impl Fn(&[u8], Option<&Path>) -> bool) -> bool {
    guests::all(&zone.shared, zone.init_pid())
        .into_iter()
        .any(|(_, pid)| {
            let base = Path::new("/proc").join(pid.to_string());
            let is_link = |path: &Path, info: Option<&Path>| {
                std::fs::read_link(path)
                    .is_ok_and(|text| is_such(text.as_os_str().as_bytes(), info))
            };
            let descriptors = std::fs::read_dir(base.join("fd")).into_iter().flatten();
            is_link(&base.join("cwd"), None)
                || descriptors.flatten().any(|entry| {
                    is_link(
                        &entry.path(),
                        Some(&base.join("fdinfo").join(entry.file_name())),
                    )
                })
        })
}

/// Whether programs may be executed at a zone path.
#[must_use]
pub fn may_execute(zone: &Zone, path: &[u8]) -> bool {
    let (at, _) = Mounts(zone.rows()).find(path);
    zone.rows()
        .get(at)
        .is_none_or(|row| row.flags & ST_NOEXEC == 0)
}

impl Mounting {
    /// The store as a row of the table would show it.
    fn store_row(&self) -> MountRow {
        let host = self.store.path_of("");
        let mut row = MountRow::new(b"/", host.as_os_str().as_bytes()).unwrap_or(MountRow::EMPTY);
        row.fd = FD_MOUNT0.cast_signed();
        row
    }
}
