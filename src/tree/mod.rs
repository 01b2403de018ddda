//! The files of a zone.
//!
//! A sparse zone has a private tree (`etc`, `var`, `home`, ...) and shares the host's `/usr`
//! read-only; a whole one has all of a distribution, from a tarball or packages, or uses one that is
//! unpacked already, in place. Where something
//! is mounted, the tree holds a placeholder ([`within::PLACEHOLDER`]).
//!
//! Nothing here runs in a zone, and nothing of a zone runs while this works on its tree. The host
//! owner of every file is the user who makes the zone; other owners are in the ownership store
//! ([`crate::ownership`]).

mod accounts;
mod archive;
#[path = "attributes_unsafe.rs"]
mod attributes;
mod copy;
pub mod debian;
mod files;
mod import;
mod logins;
mod mounts;
mod owners;
mod pack;
mod remove;
mod sparse;
mod unpack;
pub mod within;

pub use copy::Report;
pub use files::random_hex;
pub use import::exported;
pub use logins::make_record;
pub use mounts::{Kind, MountSpec, check, mounts};
pub use pack::{Packed, pack};
pub use remove::{remove, set_mode};

use crate::config::{Config, Origin};
use crate::error::{Doing, Error, Result};
use crate::zone::liveness;
use copy::{Copier, Extent};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use within::{Full, Within};

/// Directories of a sparse zone that are its own: path, group, mode.
const DIRS: [(&str, u32, u32); 23] = [
    ("etc", 0, 0o755),
    ("home", 0, 0o755),
    ("media", 0, 0o755),
    ("mnt", 0, 0o755),
    ("opt", 0, 0o755),
    ("root", 0, 0o700),
    ("run", 0, 0o755),
    ("run/lock", 0, 0o1777),
    ("srv", 0, 0o755),
    ("tmp", 0, 0o1777),
    ("var", 0, 0o755),
    ("var/backups", 0, 0o755),
    ("var/cache", 0, 0o755),
    ("var/lib", 0, 0o755),
    ("var/lib/misc", 0, 0o755),
    ("var/local", 50, 0o2775),
    ("var/log", 0, 0o755),
    ("var/mail", 8, 0o2775),
    ("var/opt", 0, 0o755),
    ("var/spool", 0, 0o755),
    ("var/tmp", 0, 0o1777),
    ("var/www", 0, 0o755),
    ("var/www/html", 0, 0o755),
];

/// What the host's packages expect to find below `/var`.
const VAR: [(&str, Extent); 6] = [
    (
        "var/cache",
        Extent {
            depth: 3,
            has_files: false,
            is_secret: copy::is_big_name,
        },
    ),
    (
        "var/lib",
        Extent {
            depth: 3,
            has_files: false,
            is_secret: copy::is_big_name,
        },
    ),
    (
        "var/lib/apache2",
        Extent {
            depth: 5,
            has_files: true,
            is_secret: copy::is_big_name,
        },
    ),
    (
        "var/log",
        Extent {
            depth: 2,
            has_files: false,
            is_secret: copy::is_big_name,
        },
    ),
    (
        "var/spool",
        Extent {
            depth: 3,
            has_files: false,
            is_secret: copy::is_big_name,
        },
    ),
    (
        "var/www",
        Extent {
            depth: 6,
            has_files: true,
            is_secret: copy::is_big_name,
        },
    ),
];

/// Makes the tree of a zone from the host's files below `from` (`/`).
///
/// # Errors
/// The file system refuses something; the tree is incomplete then.
pub fn create(config: &Config, zone_dir: &Path, from: &Path) -> Result<Report> {
    let report = match (&config.root, &config.origin) {
        (Some(root), _) => {
            owners::clear(zone_dir)?;
            adopt(config, zone_dir, root, from)?;
            Report::default()
        }
        (None, Some(Origin::Export(tarball))) => create_exported(config, tarball, zone_dir, from)?,
        (None, Some(origin)) => create_whole(config, origin, zone_dir, from)?,
        (None, None) => create_sparse(config, zone_dir, from)?,
    };
    place(config, zone_dir)?;
    Ok(report)
}

fn create_sparse(config: &Config, zone_dir: &Path, from: &Path) -> Result<Report> {
    let root = make_root(zone_dir)?;
    set_mode(&root, 0o755)?;
    let mut copier = Copier::new(from, &root);
    for (path, gid, mode) in DIRS {
        copier.dir(path, 0, gid, mode)?;
    }
    for (path, target) in [
        ("var/run", "/run"),
        ("var/lock", "/run/lock"),
        ("run/shm", "/dev/shm"),
        ("etc/mtab", "/proc/self/mounts"),
    ] {
        copier.link(path, target)?;
    }
    for (path, target) in mounts::links(from) {
        copier.link(&path, &target)?;
    }
    let everything = Extent {
        depth: 32,
        has_files: true,
        is_secret: copy::is_secret_of_etc,
    };
    copier.tree(Path::new("etc"), everything)?;
    for (path, extent) in VAR {
        copier.tree(Path::new(path), extent)?;
    }
    // Whose programs the shared /usr holds, for dpkg-query.
    for path in ["var/lib/dpkg/status", "var/lib/dpkg/arch"].map(Path::new) {
        if let Ok(found) = fs::symlink_metadata(from.join(path))
            && found.is_file()
            && root.join(path).parent().is_some_and(Path::is_dir)
        {
            copier.copy_file(path, &found)?;
        }
    }
    own_files(config, &mut copier, from)?;
    let Copier { report, owners, .. } = copier;
    owners::add(zone_dir, &root, &owners)?;
    Ok(report)
}

/// Makes the empty directory of a tree, without what an interrupted creation has left.
fn make_root(zone_dir: &Path) -> Result<PathBuf> {
    let root = zone_dir.join("root");
    remove(&root)?;
    remove(&zone_dir.join("cow"))?;
    owners::clear(zone_dir)?;
    fs::create_dir(&root).doing("make the directory", root.display())?;
    Ok(root)
}

/// Makes the tree of a zone that shares the host's `/usr` as another one was exported.
fn create_exported(
    config: &Config,
    tarball: &Path,
    zone_dir: &Path,
    from: &Path,
) -> Result<Report> {
    let root = make_root(zone_dir)?;
    set_mode(&root, 0o755)?;
    let (entries, bytes) = import::unpack(config, zone_dir, &root, tarball)?;
    complete(config, &root, from)?;
    Ok(Report {
        entries,
        bytes,
        ..Report::default()
    })
}

/// Makes a tree that shares nothing with the host.
fn create_whole(config: &Config, origin: &Origin, zone_dir: &Path, from: &Path) -> Result<Report> {
    let root = make_root(zone_dir)?;
    let (entries, bytes) = match origin {
        Origin::Debian => {
            let unpacker = debian::unpack(zone_dir, &root)?;
            let told = (unpacker.entries, unpacker.bytes);
            unpacker.finish_all(zone_dir)?;
            told
        }
        Origin::Tarball(path) | Origin::Export(path) => {
            import::unpack(config, zone_dir, &root, path)?
        }
    };
    let report = Report {
        entries,
        bytes,
        ..Report::default()
    };
    if !["usr", "bin", "sbin"]
        .iter()
        .any(|dir| root.join(dir).is_dir())
    {
        return Err(Error::refused(
            "use",
            root.display(),
            "what was unpacked has neither usr nor bin at its top",
            "give --root the tarball of a whole distribution",
        ));
    }
    adopt(config, zone_dir, &root, from)?;
    Ok(report)
}

/// Writes what each zone has of its own.
fn own_files(config: &Config, copier: &mut Copier<'_>, from: &Path) -> Result<()> {
    let read = |path: &str| fs::read_to_string(from.join(path)).unwrap_or_default();
    let today = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs() / 86400);
    let has_bash = from.join("usr/bin/bash").exists() || from.join("bin/bash").exists();
    let accounts = accounts::make(&read("etc/passwd"), &read("etc/group"), has_bash, today);
    let utmp = group_id(&accounts.group, "utmp");
    let id = format!("{}\n", random_hex());
    let rows: [(&str, &str, u32, u32); 13] = [
        ("etc/passwd", &accounts.passwd, 0, 0o644),
        ("etc/group", &accounts.group, 0, 0o644),
        ("etc/shadow", &accounts.shadow, accounts.shadow_gid, 0o640),
        ("etc/gshadow", &accounts.gshadow, accounts.shadow_gid, 0o640),
        ("etc/hostname", &format!("{}\n", config.hostname), 0, 0o644),
        ("etc/hosts", &files::hosts(config), 0, 0o644),
        ("etc/machine-id", &id, 0, 0o444),
        ("etc/resolv.conf", &files::resolv_conf(from), 0, 0o644),
        (
            "etc/nsswitch.conf",
            &files::nsswitch(&read("etc/nsswitch.conf")),
            0,
            0o644,
        ),
        (
            "etc/fstab",
            "# The mounts of a zone are in its configuration on the host.\n",
            0,
            0o644,
        ),
        ("var/log/wtmp", "", utmp, 0o664),
        ("var/log/btmp", "", utmp, 0o660),
        ("var/log/lastlog", "", utmp, 0o664),
    ];
    for (path, content, gid, mode) in rows {
        copier.file(path, content.as_bytes(), gid, mode)?;
    }
    if from.join("usr/bin/sudo").exists() {
        // The host's says who may do what on the host, and is a secret there.
        copier.file("etc/sudoers", files::SUDOERS.as_bytes(), 0, 0o440)?;
    }
    for (path, sample) in [
        ("root/.bashrc", "usr/share/base-files/dot.bashrc"),
        ("root/.profile", "usr/share/base-files/dot.profile"),
    ] {
        let content = read(sample);
        if !content.is_empty() {
            copier.file(path, content.as_bytes(), 0, 0o644)?;
        }
    }
    Ok(())
}

fn group_id(groups: &str, name: &str) -> u32 {
    let line = groups
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(":x:"));
    line.and_then(|rest| rest.split(':').next()?.parse().ok())
        .unwrap_or(0)
}

/// Adds to an unpacked distribution what it lacks to be a zone's root.
fn adopt(config: &Config, zone_dir: &Path, root: &Path, from: &Path) -> Result<()> {
    // Other users of the host must not reach into the zone's tree, where modes are the zone's.
    // Within the zone its root directory can be searched by everybody.
    set_mode(root, 0o700)?;
    let top = owners::Owner {
        path: "/".into(),
        uid: 0,
        gid: 0,
        mode: 0o755,
    };
    owners::add(zone_dir, root, &[top])?;
    complete(config, root, from)
}

/// Adds what is missing in a tree, and what each zone has of its own.
fn complete(config: &Config, root: &Path, from: &Path) -> Result<()> {
    let within = Within::open(root).doing("open", root.display())?;
    let in_root = |path: &str| format!("{path} in {}", root.display());
    for dir in ["/etc", "/root", "/run", "/tmp", "/var/tmp"] {
        if !within
            .exists(Path::new(dir))
            .doing("look at", in_root(dir))?
        {
            within
                .make_dir(Path::new(dir))
                .doing("make the directory", in_root(dir))?;
            if dir.ends_with("tmp") {
                set_mode(&root.join(&dir[1..]), 0o1777)?;
            }
        }
    }
    let id = format!("{}\n", random_hex());
    let hostname = format!("{}\n", config.hostname);
    let rows: [(&str, &str, bool); 5] = [
        ("/etc/hostname", &hostname, true),
        ("/etc/hosts", &files::hosts(config), true),
        ("/etc/machine-id", &id, true),
        ("/etc/resolv.conf", &files::resolv_conf(from), false),
        ("/etc/mtab", "", false),
    ];
    for (path, content, is_own) in rows {
        let is_there = within
            .exists(Path::new(path))
            .doing("look at", in_root(path))?;
        if is_own || (!is_there && !content.is_empty()) {
            within
                .replace(Path::new(path), content.as_bytes(), 0o644)
                .doing("write", in_root(path))?;
        }
    }
    Ok(())
}

/// Makes the placeholders of all mount points that lie in the zone's own tree.
fn place(config: &Config, zone_dir: &Path) -> Result<()> {
    let root = config.root_dir(zone_dir);
    let within = Within::open(&root).doing("open", root.display())?;
    for path in mounts::placeholders(config, zone_dir) {
        // What an unpacked distribution has in /proc and /dev cannot be used, but is kept.
        let is_ours = config.binds.iter().all(|bind| bind.zone != path);
        // So is what a sparse zone has a copy of where it is to see the host's own.
        let is_cow = config.cows().any(|cow| cow.zone == path);
        let full = if is_cow || (is_ours && !config.is_sparse()) {
            Full::SetAside
        } else {
            Full::Refuse
        };
        within.place(&path, full).map_err(|source| {
            let at = root.join(path.strip_prefix("/").unwrap_or(&path));
            Error::refused(
                "mount something at",
                format_args!("{} of the zone", path.display()),
                source,
                format_args!("look at {}: the mount point must be an empty directory below real directories, or missing", at.display()),
            )
        })?;
    }
    Ok(())
}

/// Makes a complete zone ready for a boot: `run/` anew, `/run` swept, placeholders in place.
///
/// # Errors
/// The file system refuses something, or something lies where a mount must be.
pub fn prepare(config: &Config, zone_dir: &Path) -> Result<()> {
    mounts::make_sys(&liveness::fresh(zone_dir)?)?;
    let root = config.root_dir(zone_dir);
    let within = Within::open(&root).doing("open", root.display())?;
    within
        .sweep(Path::new("/run"))
        .doing("clean /run of", root.display())?;
    place(config, zone_dir)
}

/// Takes the placeholders out of a distribution that is used in place; its files stay.
///
/// # Errors
/// The file system refuses something.
pub fn undo(config: &Config, zone_dir: &Path) -> Result<()> {
    let Some(root) = &config.root else {
        return Ok(());
    };
    if !root.is_dir() {
        return Ok(());
    }
    let within = Within::open(root).doing("open", root.display())?;
    for path in mounts::placeholders(config, zone_dir) {
        within.unplace(&path).doing(
            "restore",
            format_args!("{} in {}", path.display(), root.display()),
        )?;
    }
    Ok(())
}

/// Follows a change of the zone's number in its `/etc/hosts`.
///
/// # Errors
/// The file cannot be written. One that cannot be read is left alone.
pub fn renumber(root: &Path, old: u16, new: u16) -> Result<()> {
    let path = Path::new("/etc/hosts");
    let within = Within::open(root).doing("open", root.display())?;
    let Ok(hosts) = within.read(path) else {
        return Ok(());
    };
    let Ok(hosts) = String::from_utf8(hosts) else {
        return Ok(());
    };
    let changed = files::renumbered(&hosts, old, new);
    within
        .replace(path, changed.as_bytes(), 0o644)
        .doing("write /etc/hosts of", root.display())
}

#[cfg(test)]
mod tests;
