//! Mounts by descriptor: fsopen(2), fsconfig(2), fsmount(2), fspick(2), open_tree(2), move_mount(2) and
//! mount_setattr(2).
//!
//! A detached mount is a row at a place of its own ([`DIRECTORY`]), and moves from there as any other.
//! Its descriptor names what it shows. Of a bind that is the very directory, so a descriptor of it is
//! known by how it was opened ([`MARK`]), which hardly any other is, and by there being such a mount.

use super::change::{change_flags, relocate};
use super::context::{Context, Phase, store};
use super::new::{bind, new, refusal};
use super::rows::{put, row_of, settle};
use super::umount::{any_link, is_written, take_away};
use super::{
    ST_RDONLY, Served, Spot, State, Wanted, lies_in, must_be_normal, open_row, spot, stat_of,
    target_of, top,
};
use crate::ids::HostPid;
use crate::monitor::files::{errno, low_int};
use crate::monitor::notify::{Call, Listener};
use crate::monitor::zone::Zone;
use picozone_fsmap::MountRow;
use picozone_personality::detached::{
    DIRECTORY, TIMES, changed, command, is_detached, is_top, is_within, operation,
};
use picozone_personality::mailbox::TEXT_MAX;
use std::os::fd::AsFd;

/// How a descriptor of a detached mount is open.
const MARK: i32 = libc::O_PATH | libc::O_NOFOLLOW;
/// From so many on those are taken away that nobody has a descriptor of.
const KEPT: usize = 8;
/// So many orders back a mount was made a moment ago.
const RECENT: u32 = 8;

/// Serves [`Request::Detached`](picozone_personality::mailbox::Request::Detached). `path` is the first
/// text.
///
/// # Errors
/// As the calls.
pub fn serve(
    zone: &Zone,
    listener: &Listener,
    call: Call,
    args: [u64; 8],
    path: &[u8],
) -> Result<i64, i32> {
    let caller = HostPid(call.tid);
    let [what, first, second, third, ..] = args;
    let give = |context: &Context| {
        let fd = context.make()?;
        listener.add(call, fd.as_fd(), first != 0).map(i64::from)
    };
    let other = || {
        let mut bytes = zone.shared.read_bytes(call.tid, TEXT_MAX);
        let end = bytes.iter().position(|&byte| byte == 0);
        bytes.truncate(end.unwrap_or(0));
        bytes
    };
    match what {
        operation::OPEN => return give(&Context::new(path)),
        operation::CONFIGURE => {
            let command = u32::try_from(second).map_err(|_| libc::EINVAL)?;
            return configure(zone, caller, low_int(first), command, path, &other());
        }
        operation::MOUNT => {}
        _ => must_be_normal(path)?,
    }
    let spots = match what {
        operation::CLONE => spot(zone, caller, path)?,
        operation::MOVE => target_of(zone, caller, path)?,
        _ => Spot::plain(path),
    };
    let mut state = zone.mounting.state();
    let result = match what {
        operation::PICK => {
            let picked = pick(zone, &state, path);
            drop(state);
            return give(&picked?);
        }
        operation::MOUNT => mount(zone, caller, &mut state, low_int(first), second),
        operation::CLONE => clone(zone, &mut state, spots, first != 0),
        operation::MOVE => move_to(zone, &mut state, &other(), spots, first != 0),
        operation::SET => set(zone, &state, path, [first, second], third != 0),
        _ => Err(libc::EINVAL),
    };
    settle(zone, &state);
    result
}

/// fsconfig(2).
fn configure(
    zone: &Zone,
    caller: HostPid,
    fd: i32,
    what: u32,
    key: &[u8],
    value: &[u8],
) -> Result<i64, i32> {
    // So no two threads change one context at once.
    let state = zone.mounting.state();
    let (mut context, mut file) = Context::open(caller, fd)?;
    if context.phase == Phase::Mounted {
        context.phase = Phase::Changing;
    }
    let result = match (what, context.phase) {
        (command::CREATE | command::CREATE_EXCLUSIVE, Phase::Creating) => {
            let source = context.source.as_deref().unwrap_or_default();
            match &context.fstype[..] {
                b"tmpfs" | b"ramfs" | b"proc" | b"devtmpfs" => {
                    context.phase = Phase::Created;
                    Ok(())
                }
                other => {
                    let errno = refusal(zone, caller, other, source);
                    context.phase = Phase::Failed;
                    Err(errno)
                }
            }
        }
        (command::RECONFIGURE, Phase::Changing) => {
            let done = reconfigure(zone, &state, &context);
            if done.is_ok() {
                context.settle(context.order);
            } else {
                context.phase = Phase::Failed;
            }
            settle(zone, &state);
            done
        }
        (command::CREATE | command::CREATE_EXCLUSIVE | command::RECONFIGURE, _) => Err(libc::EBUSY),
        _ => context.take(what, key, value),
    };
    store(&mut file, &context)?;
    result.map(|()| 0)
}

/// Gives what is mounted the flags that were asked for.
fn reconfigure(zone: &Zone, state: &State, context: &Context) -> Result<(), i32> {
    let turns_read_only = context.set & libc::MS_RDONLY != 0;
    let Some(row) = row_in_order(zone, state, context.order) else {
        // The zone's configuration says how these are mounted.
        return match context.order == 0 && turns_read_only {
            true => Err(libc::EPERM),
            false => Ok(()),
        };
    };
    let flags = if turns_read_only {
        row.flags | ST_RDONLY
    } else if context.cleared & libc::MS_RDONLY != 0 {
        row.flags & !ST_RDONLY
    } else {
        row.flags
    };
    change(zone, state, &row, flags)
}

fn row_in_order(zone: &Zone, state: &State, order: u32) -> Option<MountRow> {
    let mut rows = state.added.iter().map(|added| row_of(zone, added));
    rows.find(|row| row.order == order)
}

/// Gives a mount other flags, if nobody writes where nothing is to be written.
fn change(zone: &Zone, state: &State, row: &MountRow, flags: u32) -> Result<(), i32> {
    let turns_read_only = flags & !row.flags & ST_RDONLY != 0;
    if turns_read_only && is_written(zone, row.host()) {
        return Err(libc::EBUSY);
    }
    change_flags(zone, state, row, flags)
}

/// fspick(2): a context to change what is mounted at a path.
fn pick(zone: &Zone, state: &State, path: &[u8]) -> Result<Context, i32> {
    let row = *zone.rows().get(top(zone, path)?).ok_or(libc::EINVAL)?;
    let mut all = state.added.iter();
    let fstype = all
        .find(|added| row_of(zone, added).order == row.order)
        .map_or("", |added| added.fstype);
    Ok(Context::of_mounted(row.order, fstype.as_bytes()))
}

fn place_of(number: u32) -> Vec<u8> {
    [DIRECTORY, b"/", number.to_string().as_bytes()].concat()
}

/// fsmount(2): mounts what a context has made, nowhere.
fn mount(
    zone: &Zone,
    caller: HostPid,
    state: &mut State,
    fd: i32,
    attributes: u64,
) -> Result<i64, i32> {
    let (mut context, mut file) = Context::open(caller, fd)?;
    match context.phase {
        Phase::Created => {}
        Phase::Creating | Phase::Failed => return Err(libc::EINVAL),
        Phase::Changing | Phase::Mounted => return Err(libc::EBUSY),
    }
    clear(zone, state);
    let number = state.next_order;
    let wanted = Wanted {
        target: &place_of(number),
        source: context.source.as_deref().unwrap_or_default(),
        fstype: &context.fstype,
        data: &context.data,
        flags: context.set,
        served: Served::default(),
    };
    new(zone, caller, state, &wanted)?;
    if let Some(row) = row_in_order(zone, state, number) {
        let flags = changed(row.flags, attributes & !TIMES, 0);
        change_flags(zone, state, &row, changed(flags, attributes & TIMES, TIMES))?;
    }
    context.settle(number);
    store(&mut file, &context)?;
    Ok(i64::from(number))
}

/// open_tree(2) with `OPEN_TREE_CLONE`: a bind, nowhere.
fn clone(zone: &Zone, state: &mut State, of: Spot, is_recursive: bool) -> Result<i64, i32> {
    clear(zone, state);
    let number = state.next_order;
    let wanted = Wanted {
        target: &place_of(number),
        source: &of.path,
        fstype: b"",
        data: b"",
        flags: libc::MS_BIND | if is_recursive { libc::MS_REC } else { 0 },
        served: Served {
            source: of.served,
            target: None,
        },
    };
    bind(zone, state, &wanted)?;
    if let Some(origin) = &wanted.served.source
        && let Err(errno) = stand_in(zone, state, number, origin.is_directory)
    {
        take_away(zone, state, number);
        return Err(errno);
    }
    Ok(i64::from(number))
}

/// Has a descriptor name something else until a part of the monitor's trees has a place.
fn stand_in(zone: &Zone, state: &mut State, order: u32, is_directory: bool) -> Result<(), i32> {
    let number = state.next_number;
    let mut all = state.added.iter_mut();
    let added = all.find(|added| row_of(zone, added).order == order);
    let added = added.ok_or(libc::EINVAL)?;
    let real = row_of(zone, added);
    state.next_number += 1;
    let store = &zone.mounting.store;
    let name = store.make_stand_in(number, is_directory).map_err(errno)?;
    added.temporary = Some(name.clone());
    let of = zone.mounting.store_row();
    let shown = MountRow::added(real.prefix(), &of, name.as_bytes(), order);
    let mut shown = shown.map_err(|error| i32::from(error.0))?;
    let found = open_row(zone, &shown).and_then(|node| stat_of(&node))?;
    (shown.root_dev, shown.root_ino) = (found.st_dev, found.st_ino);
    (shown.flags, shown.read_only) = (real.flags, real.read_only);
    shown.is_file = real.is_file;
    added.stands_for = Some(real);
    let slot = added.slot;
    put(zone, slot, &shown);
    Ok(())
}

/// move_mount(2).
fn move_to(
    zone: &Zone,
    state: &mut State,
    source: &[u8],
    target: Spot,
    is_beneath: bool,
) -> Result<i64, i32> {
    must_be_normal(source)?;
    let (target, served) = (&target.path[..], target.served);
    // Of a detached tree only all is moved; nothing comes onto its top.
    if (is_within(source) && !is_top(source)) || is_top(target) {
        return Err(libc::EINVAL);
    }
    let covered = if is_beneath {
        let at = *zone.rows().get(top(zone, target)?).ok_or(libc::EINVAL)?;
        if !at.is_added() {
            return Err(libc::EINVAL);
        }
        Some(at.order)
    } else {
        None
    };
    let moved = state.next_order;
    let wanted = Wanted {
        target,
        source,
        fstype: b"",
        data: b"",
        flags: libc::MS_MOVE,
        served: Served {
            // The row says it.
            source: None,
            target: served.map(|origin| origin.is_directory),
        },
    };
    relocate(zone, state, &wanted)?;
    if let Some(covered) = covered {
        raise(zone, state, target, covered, moved);
    }
    Ok(0)
}

/// Puts the mount that was at a place, and all in it, before one that was mounted over it.
fn raise(zone: &Zone, state: &mut State, target: &[u8], covered: u32, over: u32) {
    let is_raised =
        |row: &MountRow| (covered..over).contains(&row.order) && lies_in(row.prefix(), target);
    let mut raised: Vec<(u32, usize)> = Vec::new();
    for added in &state.added {
        let row = row_of(zone, added);
        if is_raised(&row) {
            raised.push((row.order, added.slot));
        }
    }
    raised.sort_unstable();
    // Who is the lowest there keeps what was there before.
    let mut cover = None;
    for added in &mut state.added {
        if row_of(zone, added).order == covered {
            cover = added.cover.take();
        }
    }
    for added in &mut state.added {
        if row_of(zone, added).order == over && cover.is_some() {
            added.cover = cover.take();
        }
    }
    for (order, slot) in raised {
        if let Some(row) = row_in_order(zone, state, order) {
            let order = state.next_order;
            put(zone, slot, &MountRow { order, ..row });
            state.next_order += 1;
        }
    }
}

/// mount_setattr(2).
fn set(
    zone: &Zone,
    state: &State,
    path: &[u8],
    [set, clear]: [u64; 2],
    is_recursive: bool,
) -> Result<i64, i32> {
    let at = *zone.rows().get(top(zone, path)?).ok_or(libc::EINVAL)?;
    if !at.is_added() {
        // The zone's configuration says how these are mounted.
        let flags = u32::from(at.is_read_only());
        return match changed(flags, set & 1, clear & 1) == flags {
            true => Ok(0),
            false => Err(libc::EPERM),
        };
    }
    let rows: Vec<MountRow> = state
        .added
        .iter()
        .map(|added| row_of(zone, added))
        .filter(|row| {
            row.order == at.order
                || (is_recursive
                    && row.order > at.order
                    && row.prefix() != path
                    && lies_in(row.prefix(), path))
        })
        .collect();
    let new = |row: &MountRow| changed(row.flags, set, clear);
    // All or nothing.
    for row in &rows {
        if new(row) & !row.flags & ST_RDONLY != 0 && is_written(zone, row.host()) {
            return Err(libc::EBUSY);
        }
    }
    for row in &rows {
        change_flags(zone, state, row, new(row))?;
    }
    Ok(0)
}

/// Where a descriptor is, if it is that of a detached bind.
#[must_use]
pub fn clone_of(zone: &Zone, caller: HostPid, fd: i32, host: &[u8]) -> Option<Vec<u8>> {
    let tops = zone
        .rows()
        .iter()
        .filter(|row| row.is_added() && is_detached(row));
    let row = tops
        .filter(|row| is_top(row.prefix()) && row.host() == host)
        .max_by_key(|row| row.order)?;
    let info = format!("/proc/{caller}/fdinfo/{fd}");
    is_marked(std::path::Path::new(&info)).then(|| row.prefix().to_vec())
}

/// Whether a descriptor is open as those of detached mounts are, by what `/proc` tells of it.
fn is_marked(info: &std::path::Path) -> bool {
    let text = std::fs::read_to_string(info).unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    flags
        .and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok())
        .is_some_and(|flags| flags & MARK == MARK)
}

/// Takes detached mounts away that nobody has a descriptor of any more, if there are many.
fn clear(zone: &Zone, state: &mut State) {
    let tops: Vec<(MountRow, bool)> = state
        .added
        .iter()
        .map(|added| (row_of(zone, added), added.temporary.is_some()))
        .filter(|(row, _)| is_top(row.prefix()))
        .collect();
    if tops.len() < KEPT {
        return;
    }
    for (top, is_temporary) in tops {
        let is_held = any_link(zone, |text, info| {
            // What a process has open in it stays, though nobody can mount it.
            lies_in(text, top.host())
                && (is_temporary || (text == top.host() && info.is_some_and(is_marked)))
        });
        // Whoever has just made it opens it next.
        let is_new = state.next_order.saturating_sub(top.order) < RECENT;
        if is_held || is_new {
            continue;
        }
        let mut all: Vec<u32> = state
            .added
            .iter()
            .map(|added| row_of(zone, added))
            .filter(|row| lies_in(row.prefix(), top.prefix()))
            .map(|row| row.order)
            .collect();
        all.sort_unstable();
        for order in all.into_iter().rev() {
            take_away(zone, state, order);
        }
    }
}
