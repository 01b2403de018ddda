//! What a zone mounts itself: mount(2) and umount2(2).
//!
//! Every such mount is another name for what the zone could reach before: a directory or file of its
//! trees (bind), a directory of the store that its guests have as a descriptor (temporary file
//! systems), or `/proc` and `/dev` or a part of these. So it needs no rule of the wall, and none is
//! changed by it. The other side of that: that it is read-only, or that nothing may be executed there,
//! is kept by the personality and by the monitor, not by the kernel, as everything among the zone's own
//! users is.
//!
//! [`rows`] keeps the table, [`cover`] makes room for a mount in the directory above; [`new`],
//! [`change`] and [`umount`](mod@umount) are what is asked for, [`detached`](mod@detached) and
//! [`context`] by descriptors. Lock order: [`Mounting`]'s lock is held
//! while rows are written; nothing else is locked meanwhile.

mod change;
mod context;
pub mod cover;
mod detached;
mod lines;
mod new;
mod rows;
mod umount;

use super::paths;
use super::served::{self, Named};
use super::zone::Zone;
use crate::error::Result as Made;
use crate::ids::HostPid;
use cover::{Cover, Store};
use picozone_fsmap::{MountRow, Mounts, is_normal};
use picozone_personality::layout::FD_MOUNT0;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use detached::{clone_of, serve as detached};
pub use lines::lines;
pub use umount::umount;

/// `ST_VALID`.
const ST_VALID: u32 = 0x20;
/// `ST_RDONLY`, as `MS_RDONLY`.
const ST_RDONLY: u32 = 1;
/// `ST_NOEXEC`, as `MS_NOEXEC`.
const ST_NOEXEC: u32 = 8;
/// `MS_NOSYMFOLLOW`, which has no name in libc yet, and its `ST_*`.
const NOSYMFOLLOW: [u64; 2] = [256, 0x2000];
/// Propagation, of which mount(2) says nothing else.
const CHANGES: u64 = libc::MS_SHARED | libc::MS_PRIVATE | libc::MS_SLAVE | libc::MS_UNBINDABLE;

/// A mount that the zone has made.
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
    /// What a detached mount shows once it has a place, of the monitor's trees: no descriptor of that can
    /// be had that only names it.
    stands_for: Option<MountRow>,
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
    /// What of them the monitor serves.
    pub served: Served,
}

/// What source and target of a mount are in the monitor's trees.
#[derive(Default)]
pub struct Served {
    source: Option<Origin>,
    /// Whether that is a directory.
    target: Option<bool>,
}

/// A part of the monitor's trees that is bound.
struct Origin {
    place: Place,
    is_directory: bool,
    is_of_process: bool,
}

/// A place in a tree of the zone.
#[derive(Clone)]
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
    let target = target_of(zone, caller, wanted.target)?;
    let source = match is_from_path && flags & CHANGES == 0 {
        true => spot(zone, caller, wanted.source)?,
        false => Spot::plain(wanted.source),
    };
    let wanted = &Wanted {
        target: &target.path,
        source: &source.path,
        served: Served {
            source: source.served,
            target: target.served.map(|origin| origin.is_directory),
        },
        fstype: wanted.fstype,
        data: wanted.data,
        flags,
    };
    let mut state = zone.mounting.state();
    let is = |flag: u64| flags & flag != 0;
    let result = if is(libc::MS_REMOUNT) {
        change::remount(zone, &mut state, wanted)
    } else if is(libc::MS_BIND) {
        new::bind(zone, &mut state, wanted)
    } else if is(CHANGES) {
        // There is one table of mounts only, so nothing is ever propagated.
        top(zone, wanted.target).map(drop)
    } else if is(libc::MS_MOVE) {
        change::relocate(zone, &mut state, wanted)
    } else {
        new::new(zone, caller, &mut state, wanted)
    };
    rows::settle(zone, &state);
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

/// A path that a guest has named, free of links.
struct Spot {
    path: Vec<u8>,
    served: Option<Origin>,
}

impl Spot {
    fn plain(path: &[u8]) -> Self {
        Self {
            path: path.to_vec(),
            served: None,
        }
    }
}

/// Follows the links of the monitor's trees, which the guest has left as they are. Before the lock is
/// taken: what the trees hold may need it.
fn spot(zone: &Zone, caller: HostPid, path: &[u8]) -> Result<Spot, i32> {
    must_be_normal(path)?;
    match served::named(zone, caller, path)? {
        Named::Served {
            row,
            rel,
            is_directory,
            is_of_process,
        } => {
            let place = Place {
                index: usize::MAX,
                row: *row,
                rel,
            };
            Ok(Spot {
                path: place.path(),
                served: Some(Origin {
                    place,
                    is_directory,
                    is_of_process,
                }),
            })
        }
        Named::Elsewhere(found) if found == path => Ok(Spot::plain(path)),
        Named::Elsewhere(found) => {
            let (_, path) = paths::open_resolved(zone, b"", b"/", &found, libc::O_PATH)?;
            must_be_normal(&path)?;
            Ok(Spot::plain(&path))
        }
    }
}

/// The same of a place where something is to be mounted.
///
/// # Errors
/// EPERM for what is a process': it has several names, and goes with it.
fn target_of(zone: &Zone, caller: HostPid, path: &[u8]) -> Result<Spot, i32> {
    let spot = spot(zone, caller, path)?;
    let is_of_process = |origin: &Origin| origin.is_of_process && !origin.place.rel.is_empty();
    if spot.served.as_ref().is_some_and(is_of_process) {
        return Err(libc::EPERM);
    }
    Ok(spot)
}

impl Place {
    /// The zone path.
    fn path(&self) -> Vec<u8> {
        match &self.rel[..] {
            b"" if self.row.prefix().is_empty() => b"/".to_vec(),
            b"" => self.row.prefix().to_vec(),
            rel => [self.row.prefix(), b"/", rel].concat(),
        }
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

/// Whether a path is another one or lies beneath it.
fn lies_in(path: &[u8], other: &[u8]) -> bool {
    path.strip_prefix(other)
        .is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
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
