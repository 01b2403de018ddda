//! Access control lists of a zone's files.
//!
//! They are kept in the ownership store, without what the mode says. A mark beside the mode tells guests
//! which files have one; who must be judged by it asks for it, and judges itself
//! ([`acl`](picozone_personality::acl)).

use super::descriptors::set_mode;
use super::files::{Target, renew};
use super::owners::{self, FileId, Found, Owner};
use super::zone::Zone;
use crate::ownership::mode_on_host;
use picozone_personality::acl::{self, Kind};
use picozone_personality::tables::{HAS_ACCESS_LIST, HAS_DEFAULT_LIST};
use std::os::fd::OwnedFd;

const fn mark_of(kind: Kind) -> u32 {
    match kind {
        Kind::Access => HAS_ACCESS_LIST,
        Kind::Default => HAS_DEFAULT_LIST,
    }
}

fn is_directory(owner: Owner) -> bool {
    owner.mode & libc::S_IFMT == libc::S_IFDIR
}

/// A list as it is kept, if a file has one.
fn kept(zone: &Zone, id: FileId, kind: Kind) -> Option<Vec<u8>> {
    let marks = zone.owners.marks(&zone.shared, id);
    if marks & mark_of(kind) == 0 {
        return None;
    }
    zone.owners.kept.get(id, kind.name()).ok()
}

/// A list as the zone sees it, if a file has one.
pub(super) fn get(zone: &Zone, id: FileId, kind: Kind) -> Option<Vec<u8>> {
    let mut value = kept(zone, id, kind)?;
    if kind == Kind::Access {
        let owner = zone.owners.get(&zone.shared, id, || 0)?;
        acl::put_mode(&mut value, owner.mode);
    }
    Some(value)
}

/// The names of the lists that a file has.
pub(super) fn names(zone: &Zone, id: FileId) -> Vec<Vec<u8>> {
    let marks = zone.owners.marks(&zone.shared, id);
    let mut both = vec![Kind::Access, Kind::Default];
    both.retain(|kind| marks & mark_of(*kind) != 0);
    both.into_iter().map(|kind| kind.name().to_vec()).collect()
}

/// Sets a list, or takes it away; `clears` if a set-group-id bit does not stay, whose mode is changed.
///
/// # Errors
/// EINVAL: it is none. EACCES: what is no directory has no default list. ENOSPC: there are too many.
pub(super) fn set(
    zone: &Zone,
    target: &Target,
    kind: Kind,
    value: &[u8],
    clears: bool,
) -> Result<i64, i32> {
    let Target::File(file) = target else {
        return Err(libc::EOPNOTSUPP);
    };
    let tables = zone.shared.tables();
    let is_list = acl::parse(value, |id| tables.uids.has(id), |id| tables.gids.has(id));
    let is_list = is_list.map_err(|errno| i32::from(errno.raw()))?;
    if is_list && !acl::is_valid(value) {
        return Err(libc::EINVAL);
    }
    let found = owners::found(zone, file)?;
    let mut owner = found.owner;
    match (kind, owner.mode & libc::S_IFMT) {
        (_, libc::S_IFLNK) => return Err(libc::EOPNOTSUPP),
        (Kind::Default, kind) if kind != libc::S_IFDIR => {
            return if is_list { Err(libc::EACCES) } else { Ok(0) };
        }
        _ => {}
    }
    let has_one = zone.owners.marks(&zone.shared, found.id) & mark_of(kind) != 0;
    if !is_list && !has_one {
        // Nothing goes, and nobody is told of it.
        return Ok(0);
    }
    if is_list && kind == Kind::Access {
        owner.mode = owner.mode & !0o777 | acl::mode_of(value);
        if clears {
            owner.mode &= !libc::S_ISGID;
        }
        put_mode(file, &found, owner)?;
    }
    let is_kept = is_list && !(kind == Kind::Access && acl::is_plain(value));
    keep(zone, &found, owner, kind, is_kept.then_some(value))?;
    renew(file, found.host.uid, found.host.gid);
    Ok(0)
}

/// Gives the host's file the mode that it needs where the zone sees this one.
pub(super) fn put_mode(file: &OwnedFd, found: &Found, owner: Owner) -> Result<(), i32> {
    let host = mode_on_host(owner.mode & 0o777, is_directory(owner));
    if found.host.mode & 0o777 == host {
        return Ok(());
    }
    set_mode(file, host).map_err(|errno| errno as i32)
}

/// Keeps a list and what becomes of owner and mode.
fn keep(
    zone: &Zone,
    found: &Found,
    owner: Owner,
    kind: Kind,
    value: Option<&[u8]>,
) -> Result<(), i32> {
    let (id, mark) = (found.id, mark_of(kind));
    let old = zone.owners.marks(&zone.shared, id);
    if let Some(value) = value {
        let mut value = value.to_vec();
        acl::tidy(&mut value);
        let change = zone.owners.kept.set(id, kind.name(), &value, 0)?;
        zone.owners.keep(change)?;
    }
    let new = if value.is_some() {
        old | mark
    } else {
        old & !mark
    };
    if new != old || owner != found.owner {
        zone.owners.mark(&zone.shared, id, owner, new)?;
    }
    if value.is_none()
        && let Ok(change) = zone.owners.kept.remove(id, kind.name())
    {
        zone.owners.keep(change)?;
    }
    Ok(())
}

/// What [`Request::List`](picozone_personality::mailbox::Request::List) asks for.
///
/// # Errors
/// ENODATA: the file has none.
pub fn of_row(zone: &Zone, row: u64) -> Result<Vec<u8>, i32> {
    let id = file_of(zone, row)?;
    get(zone, id, Kind::Access).ok_or(libc::ENODATA)
}

/// Which file has this row of the ownership table.
pub(super) fn file_of(zone: &Zone, row: u64) -> Result<FileId, i32> {
    let row = usize::try_from(row).ok();
    row.and_then(|row| zone.owners.file_of(&zone.shared, row))
        .ok_or(libc::ENODATA)
}

/// Gives a file just made what the default list of its directory says: `mode` is the one that was asked
/// for, `owner` whose it is to be. Whether the directory has such a list.
///
/// # Errors
/// As [`set`].
pub(super) fn inherit_from(
    zone: &Zone,
    directory: FileId,
    file: &OwnedFd,
    found: &Found,
    owner: Owner,
    mode: u32,
) -> Result<bool, i32> {
    let Some(default) = kept(zone, directory, Kind::Default) else {
        return Ok(false);
    };
    let mut own = default.clone();
    let kind = owner.mode & libc::S_IFMT;
    let owner = Owner {
        mode: kind | acl::inherit(&mut own, mode),
        ..owner
    };
    put_mode(file, found, owner)?;
    let own = (!acl::is_plain(&own)).then_some(&own[..]);
    keep(zone, found, owner, Kind::Access, own)?;
    if kind == libc::S_IFDIR {
        let found = Found { owner, ..*found };
        keep(zone, &found, owner, Kind::Default, Some(&default[..]))?;
    }
    Ok(true)
}

/// Whether a file's list lets somebody who does not own it do `want` (4 read, 2 write, 1 search or
/// execute); nothing where its mode alone says so.
pub(super) fn permits(
    zone: &Zone,
    id: FileId,
    owner: Owner,
    want: u32,
    uid: u32,
    is_member: impl Fn(u32) -> bool,
) -> Option<bool> {
    if uid == owner.uid || owner.mode & 0o070 == 0 {
        return None;
    }
    let list = get(zone, id, Kind::Access)?;
    let owns_group = is_member(owner.gid);
    Some(acl::permits(
        &list,
        want,
        |id| id == uid,
        owns_group,
        is_member,
    ))
}
