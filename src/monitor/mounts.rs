//! The mount list of a booting zone: what is configured, and the rows that guests see.

use super::layers::Layers;
use super::mounting::cover;
use crate::engine::Boot;
use crate::error::{Doing, Error, Result};
use crate::tree::{self, Kind, MountSpec};
use picozone_fsmap::{MountRow, Mounts, access, kind, mount_id};
use picozone_personality::layout::{FD_MOUNT0, MOUNT_ROWS_MAX, MOUNTS_MAX};
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Type of temporary file systems (statfs(2)).
pub const TMPFS: u64 = 0x0102_1994;
/// Type of `/sys`.
pub const SYSFS: u64 = 0x6265_6572;

/// One mount: what is configured, and the directory itself.
pub struct Mount {
    /// What it shows.
    pub spec: MountSpec,
    /// `O_PATH` descriptor of the host directory.
    pub directory: OwnedFd,
}

/// Position of a row's mount in the list of mounts: descriptors are given out in that order.
#[must_use]
pub fn number(row: &MountRow) -> usize {
    usize::try_from(row.fd.wrapping_sub(FD_MOUNT0.cast_signed())).unwrap_or(usize::MAX)
}

/// Opens all mounts of a zone, and lays out their rows: aliases for the links of the zone's root
/// that lead into another mount (`/bin` -> `usr/bin`), so that these links need no walk.
///
/// # Errors
/// A directory cannot be opened, or is too deep for a row.
pub fn open(boot: &Boot, layers: &Layers) -> Result<(Vec<Mount>, Vec<MountRow>)> {
    let (mut mounts, mut rows) = (Vec::new(), Vec::new());
    let specs = tree::mounts(&boot.config, &boot.zone_dir);
    if specs.len() >= MOUNTS_MAX {
        return Err(Error::refused(
            "boot",
            &boot.name,
            format_args!(
                "it has {} mounts, and {} is the most",
                specs.len(),
                MOUNTS_MAX - 1
            ),
            "take binds out of its configuration",
        ));
    }
    let root = specs
        .last()
        .map(|spec| spec.host_path.clone())
        .unwrap_or_default();
    // Where the mount points lie that we have made.
    let [sys, top] = ["/sys", "/"].map(Path::new);
    let places = [(sys, boot.zone_dir.join("run/sys")), (top, root.clone())];
    // Guests have it as a descriptor, but no row shows it.
    let store = MountSpec {
        zone_path: Path::new("").into(),
        host_path: cover::make(&boot.zone_dir)?,
        kind: Kind::Tree,
        read_only: false,
    };
    mounts.push(Mount {
        directory: open_directory(&store.host_path)?,
        spec: store,
    });
    for (index, spec) in (1..).zip(specs) {
        let directory = open_directory(&spec.host_path)?;
        rows.push(row(&spec, index, &places)?);
        mounts.push(Mount { spec, directory });
    }
    mark_foreign(&mut rows);
    let aliases = aliases(&rows, &root, layers);
    rows.extend(aliases);
    Mounts::arrange(&mut rows).map_err(|fault| {
        Error::refused(
            "boot",
            &boot.name,
            fault,
            "look at the binds in its configuration",
        )
    })?;
    mark_second(&mut rows);
    Ok((mounts, rows))
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(path)
        .map(OwnedFd::from)
        .doing("open", path.display())
}

fn row(spec: &MountSpec, index: usize, places: &[(&Path, PathBuf)]) -> Result<MountRow> {
    let host = spec
        .host_path
        .canonicalize()
        .doing("resolve", spec.host_path.display())?;
    let mut row = MountRow::new(
        spec.zone_path.as_os_str().as_bytes(),
        host.as_os_str().as_bytes(),
    )
    .map_err(|_| {
        Error::refused(
            "mount",
            format_args!("{} at {}", host.display(), spec.zone_path.display()),
            "its path is too long",
            "choose a shorter one",
        )
    })?;
    row.kind = match spec.kind {
        Kind::Tree => kind::TREE,
        Kind::Monitor => kind::MONITOR,
        Kind::Below => kind::BELOW,
    };
    if spec.kind == Kind::Below {
        row.flags = mount_id(row.prefix());
    }
    row.magic = match spec.zone_path.to_str() {
        Some("/dev/shm") => TMPFS,
        Some("/sys") => SYSFS,
        _ => row.magic,
    };
    row.read_only = if spec.read_only { access::READ_ONLY } else { 0 };
    row.fd = FD_MOUNT0
        .saturating_add(u32::try_from(index).unwrap_or(u32::MAX))
        .cast_signed();
    let data = std::fs::metadata(&host).doing("look at", host.display())?;
    (row.root_dev, row.root_ino) = (data.dev(), data.ino());
    let place = places.iter().find_map(|(zone, host)| {
        let rest = spec.zone_path.strip_prefix(zone).ok()?;
        (!rest.as_os_str().is_empty()).then(|| host.join(rest))
    });
    if spec.kind != Kind::Below
        && let Some(Ok(data)) = place.map(std::fs::symlink_metadata)
        && data.is_symlink()
    {
        (row.placeholder_dev, row.placeholder_ino) = (data.dev(), data.ino());
    }
    Ok(row)
}

/// Marks what shows no directory that another mount lets the zone change, nor lies in one.
fn mark_foreign(rows: &mut [MountRow]) {
    let host = |row: &MountRow| PathBuf::from(OsStr::from_bytes(row.host()));
    let changeable = rows.iter().filter(|row| !row.is_read_only());
    let changeable: Vec<_> = changeable.map(host).collect();
    for row in rows.iter_mut().filter(|row| row.is_read_only()) {
        let own = host(row);
        let meets = |other: &PathBuf| other.starts_with(&own) || own.starts_with(other);
        if !changeable.iter().any(meets) {
            row.read_only = access::FOREIGN;
        }
    }
}

/// Marks what a mount shows read-only and another one lets the zone change: it is told by the name
/// by which it may be changed.
fn mark_second(rows: &mut [MountRow]) {
    let all = rows.to_vec();
    let held = rows.iter_mut().filter(|row| row.is_held_read_only());
    for row in held.filter(|row| !row.is_alias() && !row.is_below()) {
        let has_other = is_shown_by(&all, row, |other| !other.is_read_only());
        row.is_second = u16::from(has_other);
    }
}

/// How many of the rows are read-only where the kernel does not say so.
#[must_use]
pub fn held_read_only(rows: &[MountRow]) -> u32 {
    let held = rows.iter().filter(|row| row.is_held_read_only());
    u32::try_from(held.count()).unwrap_or(u32::MAX)
}

/// Whether what a row shows is found in the zone by another one too, of those for which `is_other`.
#[must_use]
pub fn is_shown_by(
    rows: &[MountRow],
    row: &MountRow,
    is_other: impl Fn(&MountRow) -> bool,
) -> bool {
    let pick = |other: &MountRow| match is_other(other) {
        true => *other,
        false => MountRow::EMPTY,
    };
    let others: Vec<MountRow> = rows.iter().map(pick).collect();
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

/// One row for each link in the zone's root directory that leads straight into another mount.
fn aliases(rows: &[MountRow], root: &Path, layers: &Layers) -> Vec<MountRow> {
    let Ok(entries) = std::fs::read_dir(root) else {
        return Vec::new();
    };
    let alias = |entry: std::fs::DirEntry| {
        let target = std::fs::read_link(entry.path()).ok()?;
        let target = Path::new("/").join(target);
        let zone_path = Path::new("/").join(entry.file_name());
        let of = rows.iter().find(|row| {
            row.prefix_len > 0
                && !row.is_monitor()
                && !row.is_below()
                && target.starts_with(Path::new(OsStr::from_bytes(row.prefix())))
        })?;
        let prefix = Path::new(OsStr::from_bytes(of.prefix()));
        let sub = target.strip_prefix(prefix).ok()?;
        layers.prepare(of.prefix(), sub.as_os_str().as_bytes());
        // The way there must be free of links, or the alias' canonical path would not be.
        let host = Path::new(OsStr::from_bytes(of.host())).join(sub);
        if host.canonicalize().ok()? != host || !host.is_dir() {
            return None;
        }
        MountRow::alias(
            zone_path.as_os_str().as_bytes(),
            of,
            sub.as_os_str().as_bytes(),
        )
        .ok()
    };
    let room = MOUNT_ROWS_MAX - MOUNTS_MAX;
    entries.flatten().filter_map(alias).take(room).collect()
}
