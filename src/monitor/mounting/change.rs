//! Changes of what is mounted: its flags, its place.

use super::new::{options, st_flags};
use super::rows::{add, give_back, must_fit, put, rename, row_of};
use super::umount::is_written;
use super::{ST_RDONLY, State, Wanted, is_dir, lies_in, top};
use crate::monitor::mounts::TMPFS;
use crate::monitor::paths;
use crate::monitor::zone::Zone;
use picozone_fsmap::MountRow;

/// What mount(2) and statfs(2) say of times of access.
const ATIME: u64 =
    libc::MS_NOATIME | libc::MS_NODIRATIME | libc::MS_RELATIME | libc::MS_STRICTATIME;
const ST_ATIME: u32 = 1024 | 2048 | 4096;

/// `MS_REMOUNT`: flags and options of what is mounted at the very target.
pub(super) fn remount(zone: &Zone, state: &mut State, wanted: &Wanted<'_>) -> Result<(), i32> {
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
pub(super) fn change_flags(
    zone: &Zone,
    state: &State,
    row: &MountRow,
    flags: u32,
) -> Result<(), i32> {
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
pub(super) fn relocate(zone: &Zone, state: &mut State, wanted: &Wanted<'_>) -> Result<(), i32> {
    let at = top(zone, wanted.source)?;
    let row = *zone.rows().get(at).ok_or(libc::EINVAL)?;
    let mut all = state.added.iter();
    let index = all
        .position(|added| row.is_added() && row_of(zone, added).order == row.order)
        .ok_or(libc::EINVAL)?;
    if lies_in(wanted.target, wanted.source) {
        return Err(libc::ELOOP);
    }
    let is_directory = match &wanted.served.source {
        Some(origin) => origin.is_directory,
        // Of parts of the trees stand-ins are moved.
        None if row.is_monitor() => true,
        None => is_dir(&paths::open_beneath(
            zone,
            at,
            b"",
            libc::O_PATH | libc::O_NOFOLLOW,
        )?)?,
    };
    must_fit(zone, wanted, is_directory).map_err(|errno| match errno {
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
    if let Some(real) = added.stands_for.take() {
        let MountRow {
            flags, read_only, ..
        } = row;
        new = MountRow {
            flags,
            read_only,
            ..real
        };
        if let Some(name) = added.temporary.take() {
            zone.mounting.store.remove_temporary(&name);
        }
    }
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
