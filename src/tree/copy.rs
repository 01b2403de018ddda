//! Copies of the host's files into a zone's tree: what every user of the host may read, and no
//! secrets.

use super::owners::Owner;
use crate::error::{Doing, Result};
use crate::ownership::mode_on_host;
use serde::Serialize;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

/// Largest file that is copied, in bytes.
const FILE_MAX: u64 = 4 << 20;
/// Most bytes that are copied into one zone.
const TOTAL_MAX: u64 = 64 << 20;
/// Most entries that are made in one zone.
const ENTRIES_MAX: usize = 20_000;
/// Ids from here on are the host's people, who are unknown in a zone.
const FIRST_PERSON: u32 = 1000;

/// What the creation of a tree did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Files, directories and links made.
    pub entries: usize,
    /// Bytes copied.
    pub bytes: u64,
    /// Files left out because not everybody on the host may read them.
    pub unreadable: usize,
    /// Files left out because they are or may hold a secret.
    pub secrets: usize,
    /// Files left out because they are too big, or too many.
    pub big: usize,
}

/// Copies from one tree to another and keeps the account.
#[derive(Debug)]
pub(super) struct Copier<'a> {
    from: &'a Path,
    to: &'a Path,
    pub(super) report: Report,
    pub(super) owners: Vec<Owner>,
}

/// How much of a directory is copied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// How many levels of directories, the first included.
    pub(super) depth: usize,
    /// Whether files are copied, or directories and links only.
    pub(super) has_files: bool,
    /// Which paths are left out.
    pub(super) is_secret: fn(&Path) -> bool,
}

impl<'a> Copier<'a> {
    pub(super) fn new(from: &'a Path, to: &'a Path) -> Self {
        Self {
            from,
            to,
            report: Report::default(),
            owners: Vec::new(),
        }
    }

    /// Makes a directory with an owner and a mode; one that is there already gets the mode.
    pub(super) fn dir(&mut self, path: &str, uid: u32, gid: u32, mode: u32) -> Result<()> {
        let at = self.to.join(path);
        match fs::create_dir(&at) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).doing("make the directory", at.display());
            }
            _ => {}
        }
        self.report.entries += 1;
        super::set_mode(&at, mode_on_host(mode, true))?;
        self.own(Path::new(path), uid, gid, mode, true);
        Ok(())
    }

    /// Makes a file with an owner and a mode.
    pub(super) fn file(&mut self, path: &str, content: &[u8], gid: u32, mode: u32) -> Result<()> {
        let at = self.to.join(path);
        write(&at, content, mode_on_host(mode, false)).doing("write", at.display())?;
        self.report.entries += 1;
        self.report.bytes += content.len() as u64;
        self.own(Path::new(path), 0, gid, mode, false);
        Ok(())
    }

    /// Makes a symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &str) -> Result<()> {
        let at = self.to.join(path);
        self.report.entries += 1;
        symlink(target, &at).doing("make the link", at.display())
    }

    /// Copies the directory `path` of the host, if it is one that everybody may read.
    pub(super) fn tree(&mut self, path: &Path, extent: Extent) -> Result<()> {
        let from = self.from.join(path);
        match fs::symlink_metadata(&from) {
            Ok(found) if found.is_dir() => self.copy_dir(path, &found, extent),
            Ok(_) => Ok(()),
            Err(_) => {
                self.report.unreadable += 1;
                Ok(())
            }
        }
    }

    fn copy_dir(&mut self, path: &Path, found: &Metadata, extent: Extent) -> Result<()> {
        let to = self.to.join(path);
        match fs::create_dir(&to) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).doing("make the directory", to.display());
            }
            _ => {}
        }
        super::set_mode(&to, mode_on_host(found.mode(), true))?;
        self.report.entries += 1;
        self.own(path, found.uid(), found.gid(), found.mode(), true);
        if found.mode() & 0o005 != 0o005 || extent.depth == 0 {
            return Ok(());
        }
        let below = Extent {
            depth: extent.depth - 1,
            ..extent
        };
        let Ok(entries) = fs::read_dir(self.from.join(path)) else {
            self.report.unreadable += 1;
            return Ok(());
        };
        // A host's file that vanishes meanwhile is none of the zone's.
        for entry in entries.flatten() {
            let path = path.join(entry.file_name());
            let Ok(found) = entry.metadata() else {
                continue;
            };
            if (extent.is_secret)(&path) {
                self.report.secrets += 1;
            } else if self.report.entries >= ENTRIES_MAX {
                self.report.big += 1;
            } else if found.is_symlink() {
                self.copy_link(&path)?;
            } else if found.is_dir() && below.depth > 0 {
                self.copy_dir(&path, &found, below)?;
            } else if found.is_file() && extent.has_files {
                self.copy_file(&path, &found)?;
            }
        }
        Ok(())
    }

    fn copy_link(&mut self, path: &Path) -> Result<()> {
        let Ok(target) = fs::read_link(self.from.join(path)) else {
            return Ok(());
        };
        let to = self.to.join(path);
        self.report.entries += 1;
        match symlink(&target, &to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.doing("make the link", to.display()),
        }
    }

    /// Copies one file that everybody on the host may read.
    pub(super) fn copy_file(&mut self, path: &Path, found: &Metadata) -> Result<()> {
        if found.mode() & 0o004 == 0 {
            self.report.unreadable += 1;
            return Ok(());
        }
        if found.len() > FILE_MAX || self.report.bytes + found.len() > TOTAL_MAX {
            self.report.big += 1;
            return Ok(());
        }
        let Ok(content) = read(&self.from.join(path)) else {
            self.report.unreadable += 1;
            return Ok(());
        };
        if holds_key(&content) {
            self.report.secrets += 1;
            return Ok(());
        }
        let to = self.to.join(path);
        let written = write(&to, &content, mode_on_host(found.mode(), false));
        // Caches of what a file holds know it by its time, as Python's of its modules do.
        written
            .and_then(|file| file.set_modified(found.modified()?))
            .doing("write", to.display())?;
        self.report.entries += 1;
        self.report.bytes += content.len() as u64;
        self.own(path, found.uid(), found.gid(), found.mode(), false);
        Ok(())
    }

    /// Records an owner or mode that the host's file does not show.
    fn own(&mut self, path: &Path, uid: u32, gid: u32, mode: u32, is_directory: bool) {
        let system = |id: u32| if id < FIRST_PERSON { id } else { 0 };
        let (uid, gid, mode) = (system(uid), system(gid), mode & 0o7777);
        if (uid, gid) != (0, 0) || mode != mode_on_host(mode, is_directory) {
            self.owners.push(Owner {
                path: Path::new("/").join(path),
                uid,
                gid,
                mode,
            });
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let mut content = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut content)?;
    Ok(content)
}

fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<File> {
    let mut file: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

/// Whether a file holds a private key in a text form.
fn holds_key(content: &[u8]) -> bool {
    const MARK: &[u8] = b"PRIVATE KEY-----";
    content.windows(MARK.len()).any(|window| window == MARK)
}

/// Whether a path below `/etc` may hold a secret, or is made anew for each zone. A name is enough:
/// files that not everybody may read are left out anyway.
pub(super) fn is_secret_of_etc(path: &Path) -> bool {
    const PATHS: [&str; 24] = [
        "etc/passwd",
        "etc/group",
        "etc/shadow",
        "etc/gshadow",
        "etc/passwd-",
        "etc/group-",
        "etc/shadow-",
        "etc/gshadow-",
        "etc/subuid",
        "etc/subgid",
        "etc/subuid-",
        "etc/subgid-",
        "etc/hostname",
        "etc/hosts",
        "etc/machine-id",
        "etc/resolv.conf",
        "etc/mtab",
        "etc/nsswitch.conf",
        "etc/fstab",
        "etc/crypttab",
        "etc/.pwd.lock",
        "etc/ld.so.cache~",
        "etc/NetworkManager/system-connections",
        "etc/wireguard",
    ];
    const NAMES: [&str; 6] = [
        ".netrc",
        "netrc",
        "npmrc",
        "pip.conf",
        ".git-credentials",
        "krb5.keytab",
    ];
    const ENDS: [&str; 7] = [
        ".key", ".keytab", ".p12", ".pfx", ".jks", ".kdbx", "-secrets",
    ];
    let Some(text) = path.to_str() else {
        return false;
    };
    let name = text.rsplit('/').next().unwrap_or(text);
    PATHS.contains(&text)
        || NAMES.contains(&name)
        || ENDS.iter().any(|end| name.ends_with(end))
        || text.starts_with("etc/sudoers")
        || text.starts_with("etc/ssl/private/")
        || name.starts_with("ssh_host_")
}

/// Whether a directory below `/var` belongs to a program that keeps other machines' files there.
pub(super) fn is_big_name(path: &Path) -> bool {
    const NAMES: [&str; 15] = [
        "docker",
        "containerd",
        "containers",
        "machines",
        "lxc",
        "lxd",
        "lxcfs",
        "libvirt",
        "snapd",
        "flatpak",
        "kubelet",
        "picozone",
        "rancher",
        "portables",
        "private",
    ];
    let is_var = path.starts_with("var");
    is_var
        && path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| NAMES.contains(&name))
}
