//! New mounts: binds, temporary file systems, and `/proc` and `/dev` once more.

use super::rows::{add, free_slot, must_fit, plain, put, row_of};
use super::umount::take_away;
use super::{Added, NOSYMFOLLOW, Place, ST_VALID, State, Wanted, is_dir, open_place, place};
use crate::ids::HostPid;
use crate::monitor::mounts::TMPFS;
use crate::monitor::owners::{Owner, identify};
use crate::monitor::zone::Zone;
use crate::monitor::{files, paths, roots};
use picozone_fsmap::{MountRow, Mounts};

/// `PROC_SUPER_MAGIC`.
const PROC: u64 = 0x9fa0;
/// Most bytes of a file system's name in the report of what is not offered.
const FSTYPE_SHOWN: usize = 64;

/// `MS_BIND`, perhaps with `MS_REC`.
pub(super) fn bind(zone: &Zone, state: &mut State, wanted: &Wanted<'_>) -> Result<(), i32> {
    let (from, is_directory) = match &wanted.served.source {
        Some(origin) => (origin.place.clone(), origin.is_directory),
        None => {
            let from = place(zone, wanted.source)?;
            let is_directory = is_dir(&open_place(zone, &from)?)?;
            (from, is_directory)
        }
    };
    must_fit(zone, wanted, is_directory)?;
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
    let is_file = u16::from(!is_directory);
    let top = MountRow {
        is_file,
        ..from.row
    };
    let all = std::iter::once((Vec::new(), top, &from.rel[..]))
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

/// Adds what a row shows, or `rel` beneath it, which is a file where the row says so.
fn add_bind(
    zone: &Zone,
    state: &mut State,
    target: &[u8],
    of: &MountRow,
    rel: &[u8],
) -> Result<(), i32> {
    let mut row = MountRow::added(target, of, rel, 1).map_err(|error| i32::from(error.0))?;
    (row.flags, row.magic, row.is_file) = (of.flags, of.magic, of.is_file);
    if !of.is_added() {
        row.flags = st_flags(if of.is_read_only() {
            libc::MS_RDONLY
        } else {
            0
        });
    }
    let (source, fstype, root) = match state
        .added
        .iter()
        .find(|added| of.is_added() && row_of(zone, added).order == of.order)
    {
        Some(added) => (added.source.clone(), added.fstype, &added.root[..]),
        None if of.is_monitor() && of.prefix() == b"/proc" => (b"proc".to_vec(), "proc", &b"/"[..]),
        None if of.is_monitor() => (b"devtmpfs".to_vec(), "devtmpfs", &b"/"[..]),
        None => (b"zone".to_vec(), "", &b"/"[..]),
    };
    let mut added = plain(&source, fstype);
    added.root = match (root, rel) {
        (b"/", rel) => [b"/", rel].concat(),
        (root, b"") => root.to_vec(),
        (root, rel) => [root, b"/", rel].concat(),
    };
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
pub(super) fn new(
    zone: &Zone,
    caller: HostPid,
    state: &mut State,
    wanted: &Wanted<'_>,
) -> Result<(), i32> {
    match wanted.fstype {
        b"tmpfs" | b"ramfs" => new_temporary(zone, state, wanted),
        b"proc" => new_served(zone, state, wanted, b"/proc", "proc"),
        b"devtmpfs" => new_served(zone, state, wanted, b"/dev", "devtmpfs"),
        other => Err(refusal(zone, caller, other, wanted.source)),
    }
}

/// Why a file system of the kernel's is not mounted: as the kernel says it to those who name no
/// device, and EPERM, since what it holds would be the host's.
pub(super) fn refusal(zone: &Zone, caller: HostPid, fstype: &[u8], source: &[u8]) -> i32 {
    let known = std::fs::read("/proc/filesystems").unwrap_or_default();
    let line = known.split(|&byte| byte == b'\n').find_map(|line| {
        let (kind, name) = line.split_at(line.iter().position(|&byte| byte == b'\t')?);
        (name.get(1..) == Some(fstype)).then_some(kind.is_empty())
    });
    // By the name before the parenthesis such calls are counted where there are too many.
    let shown = fstype.get(..FSTYPE_SHOWN).unwrap_or(fstype);
    let what = format!("mount({})", shown.escape_ascii());
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
    must_fit(zone, wanted, true)?;
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
pub(super) struct Options {
    mode: u32,
    uid: u32,
    gid: u32,
}

pub(super) fn options(data: &[u8]) -> Result<Options, i32> {
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
    must_fit(zone, wanted, true)?;
    let store = &zone.mounting.store;
    let number = state.next_number;
    state.next_number += 1;
    let name = store.make_temporary(number).map_err(files::errno)?;
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
        zone.owners.set(&zone.shared, id, owner)?;
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

/// The flags of a mount as statfs(2) tells them.
pub(super) fn st_flags(flags: u64) -> u32 {
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
