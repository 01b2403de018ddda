//! What a zone sees where.

use super::within::PLACEHOLDER;
use crate::config::{Access, Config};
use crate::error::{Doing, Error, Result};
use crate::monitor::layers;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Directories of the host that a sparse zone shares, or that are links into `/usr`.
const SHARED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// What a zone sees of the host's `/sys`: processors, memory and clocks, which `/proc` tells of too. Beside it
/// `/sys` has nothing.
const SYSTEM: &str = "/sys/devices/system";

/// What else `/sys` has: directories in which programs find nothing.
const SYS: [&str; 7] = ["", "class", "dev", "dev/block", "devices", "fs", "kernel"];

/// Who serves a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory of the host, served by the kernel.
    Tree,
    /// A directory of the host that is seen only where a copy-on-write layer over it has nothing.
    Below,
    /// The monitor; the host's directory is the skeleton that it fills.
    Monitor,
}

/// One row of a zone's mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountSpec {
    /// Where the zone sees it, absolute and without links.
    pub zone_path: PathBuf,
    /// The directory of the host.
    pub host_path: PathBuf,
    /// Who serves it.
    pub kind: Kind,
    /// Whether the zone may only look.
    pub read_only: bool,
}

/// The mount table of a zone: longest prefix first, the root last.
#[must_use]
pub fn mounts(config: &Config, zone_dir: &Path) -> Vec<MountSpec> {
    let row = |zone_path: &str, host_path: PathBuf, kind, read_only| MountSpec {
        zone_path: zone_path.into(),
        host_path,
        kind,
        read_only,
    };
    let run = zone_dir.join("run");
    let mut rows = vec![
        row("/", config.root_dir(zone_dir), Kind::Tree, false),
        row("/proc", run.join("proc"), Kind::Monitor, false),
        row("/dev", run.join("dev"), Kind::Monitor, false),
        row("/dev/shm", run.join("shm"), Kind::Tree, false),
        row("/sys", run.join("sys"), Kind::Tree, true),
    ];
    if Path::new(SYSTEM).is_dir() {
        rows.push(row(SYSTEM, SYSTEM.into(), Kind::Tree, true));
    }
    if config.is_sparse() {
        rows.push(row("/usr", real("/usr".into()), Kind::Tree, true));
        for name in SHARED {
            // On a host without merged /usr these are directories of their own.
            let path = format!("/{name}");
            if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
                rows.push(row(&path, path.clone().into(), Kind::Tree, true));
            }
        }
    }
    for cow in config.cows() {
        // In place of what a sparse zone shares there.
        rows.retain(|row| row.zone_path != cow.zone);
        for (host_path, kind) in [
            (layers::top(zone_dir, &cow.zone), Kind::Tree),
            (cow.host.clone(), Kind::Below),
        ] {
            rows.push(MountSpec {
                zone_path: cow.zone.clone(),
                host_path,
                kind,
                read_only: kind == Kind::Below,
            });
        }
    }
    rows.extend(config.binds.iter().map(|bind| MountSpec {
        zone_path: bind.zone.clone(),
        host_path: bind.host.clone(),
        kind: Kind::Tree,
        read_only: bind.access == Access::ReadOnly,
    }));
    rows.sort_by_key(|row| std::cmp::Reverse(row.zone_path.components().count()));
    rows
}

/// Fills the directory that is a zone's `/sys`.
///
/// # Errors
/// The file system refuses.
pub(super) fn make_sys(run_dir: &Path) -> Result<()> {
    let sys = run_dir.join("sys");
    for dir in SYS {
        let dir = sys.join(dir);
        fs::create_dir_all(&dir).doing("make the directory", dir.display())?;
        super::set_mode(&dir, 0o755)?;
    }
    if Path::new(SYSTEM).is_dir() {
        let place = run_dir.join(&SYSTEM[1..]);
        symlink(PLACEHOLDER, &place).doing("make the mount point", place.display())?;
    }
    Ok(())
}

/// A path without links, or as it is where that cannot be found out.
fn real(path: PathBuf) -> PathBuf {
    path.canonicalize().unwrap_or(path)
}

/// Links of the host's root directory into `/usr`, as a sparse zone has them too.
pub(super) fn links(from: &Path) -> Vec<(String, String)> {
    let target = |name: &str| {
        fs::read_link(from.join(name))
            .ok()?
            .into_os_string()
            .into_string()
            .ok()
    };
    SHARED
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), target(name)?)))
        .collect()
}

/// Mount points that lie in the zone's own tree, outer ones first.
pub(super) fn placeholders(config: &Config, zone_dir: &Path) -> Vec<PathBuf> {
    let rows = mounts(config, zone_dir);
    let is_private = |path: &Path| {
        // The rows are sorted, so that the first one that holds the path is the innermost.
        let holder = rows
            .iter()
            .find(|row| row.zone_path != path && path.starts_with(&row.zone_path));
        holder.is_some_and(|row| row.zone_path == Path::new("/"))
    };
    let seen = rows.iter().rev().filter(|row| row.kind != Kind::Below);
    let paths = seen.map(|row| row.zone_path.clone());
    paths
        .filter(|path| path != Path::new("/") && is_private(path))
        .collect()
}

/// Whether everything that is to be mounted is there, and nothing of it opens the zones' own
/// directory (with trees, control sockets and stores of all zones) to a zone.
///
/// # Errors
/// Names the directory of the host.
pub fn check(config: &Config, zone_dir: &Path, home: &Path) -> Result<()> {
    for row in mounts(config, zone_dir) {
        // Ours by construction; a bind of the same directory is not.
        let own = ["root", "run/shm", "run/sys"].map(|dir| zone_dir.join(dir));
        let is_own = own.contains(&row.host_path)
            && config.binds.iter().all(|bind| bind.zone != row.zone_path);
        let is_layer = row.host_path == layers::top(zone_dir, &row.zone_path)
            && config.cows().any(|cow| cow.zone == row.zone_path);
        if is_own || is_layer || row.kind == Kind::Monitor {
            continue;
        }
        let refuse = |cause: &str, remedy: &str| {
            Err(Error::refused(
                "mount",
                format_args!(
                    "{} at {} of the zone",
                    row.host_path.display(),
                    row.zone_path.display()
                ),
                cause,
                remedy,
            ))
        };
        let host_path = real(row.host_path.clone());
        if host_path != row.host_path {
            return refuse(
                "it leads through a symbolic link now",
                "name the directory itself in the zone's zone.toml",
            );
        }
        if !host_path.is_dir() {
            return refuse(
                "there is no such directory on the host",
                "make it, or take it out of the zone's zone.toml",
            );
        }
        if home.starts_with(&host_path) || host_path.starts_with(home) {
            return refuse(
                "the zones' own files would be seen in the zone",
                "bind a directory that does not hold them, or set PICOZONE_HOME to another place",
            );
        }
    }
    Ok(())
}
