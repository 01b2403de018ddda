//! As whom a zone runs on the host, and what follows from that for its files.
//!
//! Zones of an ordinary user run as that user. A zone of the host's root runs as root without
//! capabilities, or, where it has a map of users, as the user whom the map has for the zone's root:
//! guardian, monitor, guests and files. So the kernel keeps it from the host's root and from zones with
//! other maps.
//!
//! What root believes of the zone stays root's: its configuration and its state. They lie beside the rest
//! in a directory of root's where that user may make files and remove its own only.
//!
//! Who changes a map changes the owner of the zone's files, at the next boot. That begins anew after any
//! crash: what tells is the owner of the zone's tree, which is changed last.

use super::{Name, Zone};
use crate::config::Config;
use crate::error::{Doing, Error, Result};
use crate::home::Home;
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::prctl;
use nix::sys::stat::{FileStat, Mode, fstatat};
use nix::unistd::{Gid, Uid, fchownat, setgroups, setresgid, setresuid};
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

/// A user and a group of the host.
pub type Ids = (u32, u32);

/// The host's root.
const ROOT: Ids = (0, 0);
/// The zone's tree in its directory.
const TREE: &str = "root";
/// What stays root's there.
const ROOTS: [&CStr; 3] = [c"zone.toml", c"state", c"lock"];

/// As whom the zone runs, if not as who boots it.
///
/// # Errors
/// We are root, and the map says nobody for that, or the zone's tree is not its own.
pub fn of(name: &Name, config: &Config) -> Result<Option<Ids>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let refuse = |cause: &str, remedy: &str| {
        let remedy = format!("{remedy}, or do without, by `zone config {name} set users.map=`");
        Error::refused(
            "map the users of",
            format_args!("zone {name}"),
            cause,
            remedy,
        )
    };
    let runner = config.users.runner();
    let runner = runner.map_err(|cause| refuse(&cause, "set users.map=0:100000:65536,0:0-0"))?;
    if runner.is_some() && config.root.is_some() {
        return Err(refuse(
            "its tree is used in place, and would have to be given to another user of the host",
            "make it from a tarball of the tree",
        ));
    }
    Ok(runner)
}

/// Makes this process the zone's on the host.
///
/// # Errors
/// The kernel refuses it.
pub fn take_on(ids: Ids) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(ids.0), Gid::from_raw(ids.1));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    // Else /proc would show it as root's, to itself too.
    prctl::set_dumpable(true)
}

/// Gives the files of a zone that is about to boot to whom it runs as.
///
/// # Errors
/// The file system refuses something, or that user cannot get to the zone's directory.
pub fn give(home: &Home, zone: &Zone, runner: Option<Ids>) -> Result<()> {
    let (dir, tree) = (zone.dir(), zone.dir().join(TREE));
    // A tree that is used in place is not there.
    if !nix::unistd::geteuid().is_root() || !tree.exists() {
        return Ok(());
    }
    let now = fs::metadata(&tree).doing("look at", tree.display())?.uid();
    if runner.is_none() && now == ROOT.0 {
        return Ok(());
    }
    let (to, mode) = match runner {
        Some(ids) => (ids, 0o1770),
        None => (ROOT, 0o700),
    };
    if runner.is_some() {
        open_way(home, dir, to)?;
    }
    lchown(dir, Some(ROOT.0), Some(to.1)).doing("give away", dir.display())?;
    fs::set_permissions(dir, fs::Permissions::from_mode(mode)).doing("open", dir.display())?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut giver = Giver {
        from: [ROOT.0, now],
        to,
        names: HashMap::new(),
    };
    Dir::open(dir, flags, Mode::empty())
        .and_then(|mut top| {
            let mut names = names_in(&mut top)?;
            names.retain(|name| !ROOTS.contains(&name.as_c_str()));
            names.sort_by_key(|name| name.to_bytes() == TREE.as_bytes());
            giver.all(&top, names)
        })
        .doing("give away the files in", dir.display())
}

/// Lets others pass to the zones' directories, which are closed themselves.
fn open_way(home: &Home, dir: &Path, to: Ids) -> Result<()> {
    for passed in [home.dir(), &home.zones()] {
        let mode = fs::metadata(passed)
            .doing("look at", passed.display())?
            .mode();
        let wanted = fs::Permissions::from_mode(mode & 0o777 | 0o011);
        fs::set_permissions(passed, wanted).doing("let others pass", passed.display())?;
    }
    for above in dir.ancestors().skip(1) {
        let found = fs::metadata(above).doing("look at", above.display())?;
        if found.mode() & 0o001 == 0 {
            return Err(Error::refused(
                "run the zone as",
                format_args!("user {} of the host", to.0),
                format_args!("nobody but its owner gets through {}", above.display()),
                "let others pass there (chmod o+x), or set PICOZONE_HOME to another directory",
            ));
        }
    }
    Ok(())
}

/// Gives files from the zone's users of the host to another.
struct Giver {
    from: [u32; 2],
    to: Ids,
    /// How many names were found of files that have several.
    names: HashMap<(u64, u64), u64>,
}

impl Giver {
    /// What these names in a directory stand for, with all that is below; directories themselves last.
    fn all(&mut self, dir: &Dir, names: Vec<CString>) -> nix::Result<()> {
        for name in names {
            let found = fstatat(dir, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if found.st_mode & libc::S_IFMT == libc::S_IFDIR {
                let flags =
                    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let mut below = Dir::from_fd(openat(dir, name.as_c_str(), flags, Mode::empty())?)?;
                let names = names_in(&mut below)?;
                self.all(&below, names)?;
            }
            self.one(dir, &name, &found)?;
        }
        Ok(())
    }

    fn one(&mut self, dir: impl AsFd, name: &CStr, found: &FileStat) -> nix::Result<()> {
        let is_directory = found.st_mode & libc::S_IFMT == libc::S_IFDIR;
        if !is_directory && found.st_nlink > 1 {
            // What has a name elsewhere is not the zone's alone, as in a directory shared with it.
            let names = self.names.entry((found.st_dev, found.st_ino)).or_insert(0);
            *names += 1;
            if *names < found.st_nlink {
                return Ok(());
            }
        }
        if (found.st_uid, found.st_gid) == self.to || !self.from.contains(&found.st_uid) {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(self.to.0), Gid::from_raw(self.to.1));
        fchownat(
            dir,
            name,
            Some(uid),
            Some(gid),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )
    }
}

/// What is in a directory.
fn names_in(dir: &mut Dir) -> nix::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in dir.iter() {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}
