//! Rows of the table that a zone adds, and the room that is made for what they show.

use super::cover::{Cover, In};
use super::{Added, State, Wanted, is_dir, open_place, open_row, place, stat_of};
use crate::monitor::mounts::{held_read_only, is_shown_by};
use crate::monitor::zone::Zone;
use picozone_fsmap::{MountRow, Mounts};
use picozone_personality::detached::{is_detached, is_top};
use picozone_personality::layout::{ADDED_MAX, FD_MOUNT0};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering::{AcqRel, Release};

/// Writes a row into its place. Readers do not wait: the place is unused meanwhile.
pub(super) fn put(zone: &Zone, slot: usize, row: &MountRow) {
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
    zone.reached.note_mounts();
}

pub(super) fn row_of(zone: &Zone, added: &Added) -> MountRow {
    let tables = zone.shared.tables();
    let first = tables.mount_count as usize;
    *tables
        .mounts
        .get(first + added.slot)
        .unwrap_or(&MountRow::EMPTY)
}

/// What depends on all rows together: second names, whether anything is read-only. What guests
/// remember of paths is not right any more.
pub(super) fn settle(zone: &Zone, state: &State) {
    for added in &state.added {
        let row = row_of(zone, added);
        let is_other = |other: &MountRow| other.order != row.order && !is_detached(other);
        let is_second = row.is_monitor() || is_shown_by(zone.rows(), &row, is_other);
        if row.is_second != u16::from(is_second) {
            let is_second = u16::from(is_second);
            put(zone, added.slot, &MountRow { is_second, ..row });
        }
    }
    let held = held_read_only(zone.rows());
    zone.shared.tables().held_read_only.store(held, Release);
    let commons = zone.shared.commons();
    commons.links.fetch_add(1, AcqRel);
    commons.moves.fetch_add(1, AcqRel);
    commons.rights.fetch_add(1, AcqRel);
}

/// Takes a place in the table for a new row.
pub(super) fn free_slot(state: &State) -> Result<usize, i32> {
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
    if place.row.is_monitor() {
        // Nothing is looked at there, so nothing is in the way.
        return Ok(None);
    }
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
pub(super) fn give_back(zone: &Zone, state: &State, target: &[u8], cover: &Cover) {
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
pub(super) fn add(
    zone: &Zone,
    state: &mut State,
    target: &[u8],
    mut row: MountRow,
    mut added: Added,
) -> Result<(), i32> {
    added.slot = free_slot(state)?;
    if !is_top(target) {
        added.cover = make_room(zone, state, target, &mut row)?;
    }
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
pub(super) fn must_fit(zone: &Zone, wanted: &Wanted<'_>, is_directory: bool) -> Result<(), i32> {
    let target = wanted.target;
    if is_top(target) {
        // A place of its own, where nothing was before.
        return Ok(());
    }
    if target == b"/" {
        // A zone cannot be taken away from under its processes.
        return Err(libc::EBUSY);
    }
    let is_there = match wanted.served.target {
        Some(is_there) => is_there,
        None => is_dir(&open_place(zone, &place(zone, target)?)?)?,
    };
    if is_there == is_directory {
        Ok(())
    } else {
        Err(libc::ENOTDIR)
    }
}

pub(super) fn plain(source: &[u8], fstype: &'static str) -> Added {
    Added {
        slot: 0,
        source: source.to_vec(),
        fstype,
        root: b"/".to_vec(),
        cover: None,
        temporary: None,
        stands_for: None,
        is_expired: false,
    }
}

pub(super) fn rename(row: &mut MountRow, target: &[u8]) -> Result<(), i32> {
    let new = MountRow::added(target, row, b"", row.order).map_err(|error| i32::from(error.0))?;
    (row.prefix, row.prefix_len) = (new.prefix, new.prefix_len);
    (row.placeholder_dev, row.placeholder_ino) = (0, 0);
    Ok(())
}
