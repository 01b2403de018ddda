//! Paths of the mounts that the monitor serves: what a guest gets that opens, looks at or reads one.
//!
//! [`procfs`] and [`devfs`] say what a path is; here it becomes a descriptor, attributes or a text.
//! A path that leads out of these mounts, through a link of theirs, is given back to the guest
//! ([`Answer::Elsewhere`]), which goes on by its own rights.
//!
//! Nothing here waits for anybody: content is a snapshot or a file of the host's `/proc`, and what a
//! link leads to is opened without blocking.
//!
//! Neighbours: [`super::view`] tells what there is, [`super::terminals`] keeps the zone's terminals.

use super::descriptors::{open_path, own_path};
use super::files::{errno, low_int};
use super::owners::{Owner, identify};
use super::procfs::skeleton::Skeleton;
use super::procfs::{self, Attr, Credentials, Node, Object, Stated, View, content_name};
use super::rights::User;
use super::zone::Zone;
use super::{attributes, devfs, files, settings, view};
use crate::ids::HostPid;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};
use picozone_fsmap::{LINKS_MAX, Last, MountRow, Mounts};
use picozone_personality::capabilities::Power;
use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What became of a request.
#[derive(Debug)]
pub enum Answer<T> {
    /// It is done.
    Done(T),
    /// The path leads to this absolute zone path.
    Elsewhere(Vec<u8>),
}

/// The trees.
pub struct Served {
    proc: Skeleton,
    dev: Skeleton,
}

impl Served {
    /// Opens the directories of the trees in `run_dir` (`zones/NAME/run`).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(run_dir: &Path) -> Result<Self, i32> {
        Ok(Self {
            proc: Skeleton::open(&run_dir.join("proc"))?,
            dev: Skeleton::open(&run_dir.join("dev"))?,
        })
    }

    /// What the personality must know of the directories.
    pub fn placeholders(
        &self,
    ) -> impl Iterator<Item = picozone_personality::tables::Placeholder> + '_ {
        let all = self.proc.placeholders().iter();
        all.chain(self.dev.placeholders()).copied()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tree {
    Proc,
    Dev,
}

impl Tree {
    /// The tree of a row, of which there may be several.
    fn of(zone: &Zone, row: &MountRow) -> Option<Self> {
        let is_first = |other: &&MountRow| other.fd == row.fd && !other.is_added();
        match zone.rows().iter().find(is_first)?.prefix() {
            b"/proc" => Some(Self::Proc),
            b"/dev" => Some(Self::Dev),
            _ => None,
        }
    }

    fn lookup(self, zone: &Zone, caller: HostPid, path: &[u8], last: Last) -> Result<Node, i32> {
        match self {
            Self::Proc => procfs::lookup(zone, caller, path, last),
            Self::Dev => devfs::lookup(zone, caller, path, last),
        }
    }

    fn stat(self, zone: &Zone, caller: HostPid, path: &[u8], last: Last) -> Result<Stated, i32> {
        match self {
            Self::Proc => procfs::stat(zone, caller, path, last),
            Self::Dev => devfs::stat(zone, path, last),
        }
    }

    fn skeleton(self, zone: &Zone) -> &Skeleton {
        match self {
            Self::Proc => &zone.served.proc,
            Self::Dev => &zone.served.dev,
        }
    }

    /// A file with this content, named after what is at a path in it, free of links as the kernel tells it.
    fn content(
        self,
        zone: &Zone,
        caller: HostPid,
        path: &[u8],
        content: &[u8],
        flags: OFlag,
    ) -> Result<OwnedFd, i32> {
        let name = match self {
            Self::Proc => {
                let path = procfs::canonical(zone, caller, path);
                let of = procfs::owner_on_host(zone, &path);
                content_name(&[b"/proc/", &path[..]].concat(), of)
            }
            Self::Dev => content_name(&[b"/dev/", path].concat(), None),
        };
        memfd(&name, content, flags)
    }

    fn prefix(self) -> &'static [u8] {
        match self {
            Self::Proc => b"/proc",
            Self::Dev => b"/dev",
        }
    }
}

/// Where a zone path leads in the trees.
struct Way {
    tree: Tree,
    /// The path in the tree.
    path: Vec<u8>,
    /// Of the row: what stands between its top and the path.
    rest: Vec<u8>,
    row: MountRow,
}

impl Way {
    fn of(zone: &Zone, path: &[u8]) -> Option<Self> {
        let (row, rest) = Mounts(zone.rows()).find(path);
        let row = *zone.rows().get(row).filter(|row| row.is_monitor())?;
        let tree = Tree::of(zone, &row)?;
        // A part of a tree may be mounted elsewhere, a file too, which has nothing beneath it.
        let goes_on = path.ends_with(b"/") || !rest.is_empty();
        let beneath = match (row.sub(), goes_on) {
            (b"", _) => rest.to_vec(),
            (sub, false) => sub.to_vec(),
            (sub, true) => [sub, b"/", rest].concat(),
        };
        Some(Self {
            tree,
            path: beneath,
            rest: rest.to_vec(),
            row,
        })
    }

    /// Whether it is the top of a mount.
    fn is_top(&self) -> bool {
        self.rest.iter().all(|byte| *byte == b'/')
    }

    /// What is mounted is no link.
    fn last(&self, last: Last) -> Last {
        if self.is_top() { Last::Follow } else { last }
    }
}

/// One step along a path.
enum Step<T> {
    Done(T),
    Elsewhere(Vec<u8>),
}

/// Follows links as long as they stay in the trees.
fn follow<T>(
    zone: &Zone,
    path: &[u8],
    step: impl Fn(&Way) -> Result<Step<T>, i32>,
) -> Result<Answer<T>, i32> {
    let mut path = path.to_vec();
    for _ in 0..=LINKS_MAX {
        let Some(way) = Way::of(zone, &path) else {
            return Ok(Answer::Elsewhere(path));
        };
        match step(&way)? {
            Step::Done(found) => return Ok(Answer::Done(found)),
            Step::Elsewhere(next) => path = next,
        }
    }
    Err(libc::ELOOP)
}

/// Whether a thread is asked for the rights of files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// It is.
    Asked,
    /// It has `CAP_DAC_OVERRIDE`.
    Overridden,
}

/// Opens a path for a guest.
///
/// # Errors
/// As open(2). ELOOP also for a link that is opened itself (`O_PATH | O_NOFOLLOW`): the guest then opens what
/// stands for it in its directory.
pub fn open(
    zone: &Zone,
    caller: HostPid,
    path: &[u8],
    flags: i32,
    rights: Rights,
) -> Result<Answer<OwnedFd>, i32> {
    let only_names = OFlag::from_bits_retain(flags).contains(OFlag::O_PATH);
    let flags = without_path(OFlag::from_bits_retain(flags));
    let is_exclusive = flags.contains(OFlag::O_CREAT | OFlag::O_EXCL);
    let last = if is_exclusive || flags.contains(OFlag::O_NOFOLLOW) {
        Last::NoFollow
    } else {
        Last::Follow
    };
    if flags.contains(OFlag::O_TMPFILE) {
        return Err(libc::EOPNOTSUPP);
    }
    follow(zone, path, |way| {
        let (tree, rest, last) = (way.tree, &way.path[..], way.last(last));
        let node = tree.lookup(zone, caller, rest, last)?;
        if is_exclusive && !matches!(node, Node::Elsewhere(_)) {
            return Err(libc::EEXIST);
        }
        let is_dir = matches!(
            node,
            Node::Dir { .. } | Node::Object(_) | Node::Elsewhere(_)
        );
        if flags.contains(OFlag::O_DIRECTORY) && !is_dir {
            return Err(libc::ENOTDIR);
        }
        let is_other = matches!(node, Node::Elsewhere(_) | Node::Object(_) | Node::Link(_));
        if flags.contains(OFlag::O_DIRECT) && !is_other && !only_names {
            return Err(libc::EINVAL);
        }
        let opened = match node {
            Node::Elsewhere(path) => return Ok(Step::Elsewhere(path)),
            Node::Dir { path, entries } => {
                if is_write(flags) || flags.contains(OFlag::O_CREAT) {
                    return Err(libc::EISDIR);
                }
                tree.skeleton(zone).dir(&path, &entries)?
            }
            Node::Link(_) => return Err(libc::ELOOP),
            Node::Bytes(content) => {
                must_override(rights, flags)?;
                tree.content(zone, caller, rest, &content, flags)?
            }
            Node::Setting(path, content) => {
                if is_write(flags) {
                    let users = users(zone, caller)?;
                    if users.uid[1] != 0 || !users.capabilities.has(Power::Administer) {
                        return Err(libc::EACCES);
                    }
                    settings::open(zone, path, flags)?
                } else {
                    tree.content(zone, caller, rest, &content, flags)?
                }
            }
            // Nothing can be read there either, so that nothing needs to be.
            Node::Host(file)
                if flags & OFlag::O_ACCMODE == OFlag::O_WRONLY
                    && !file.is_writable()
                    && !file.is_namespace() =>
            {
                must_override(rights, flags)?;
                tree.content(zone, caller, rest, b"", flags)?
            }
            Node::Host(file) => file.open(flags)?,
            Node::Device(path) => {
                must_permit(zone, caller, &tree.stat(zone, caller, rest, last)?, flags)?;
                device(zone, &path, flags)?
            }
            Node::Ptmx => terminal(zone, caller, flags)?,
            // Who makes it changes its mode by that; as with devices, that is not kept.
            Node::Socket if only_names => open_device(Path::new("/dev/null"), OFlag::O_RDONLY)?,
            Node::Socket => return Err(libc::ENXIO),
            Node::Object(object) => return open_object(zone, caller, &object, flags),
        };
        Ok(Step::Done(opened))
    })
}

/// What a path of the trees leads to in the end where that is nothing of theirs: an object that a process has
/// open, or a path of the zone.
///
/// # Errors
/// EACCES for what is the trees' own. As open(2).
pub fn beyond(zone: &Zone, caller: HostPid, path: &[u8]) -> Result<Answer<OwnedFd>, i32> {
    follow(zone, path, |way| {
        match way.tree.lookup(zone, caller, &way.path, Last::Follow)? {
            Node::Elsewhere(path) => Ok(Step::Elsewhere(path)),
            Node::Object(object) => Ok(Step::Done(object.pinned)),
            _ => Err(libc::EACCES),
        }
    })
}

/// What a path names that is mounted elsewhere, or has something mounted on it.
pub enum Named {
    /// What the monitor serves.
    Served {
        /// The mount that the path lies in.
        row: Box<MountRow>,
        /// The path beneath its top, free of links.
        rel: Vec<u8>,
        /// Whether it is one.
        is_directory: bool,
        /// Whether it is in the directory of a process of `/proc`.
        is_of_process: bool,
    },
    /// A zone path, which may have links.
    Elsewhere(Vec<u8>),
}

/// What a path of the trees names, with links followed: of theirs by itself, of what a magic link leads
/// to by its path.
///
/// # Errors
/// As stat(2); EINVAL for what has no path.
pub fn named(zone: &Zone, caller: HostPid, path: &[u8]) -> Result<Named, i32> {
    let found = follow(zone, path, |way| {
        Ok(
            match way.tree.stat(zone, caller, &way.path, Last::Follow)? {
                Stated::Elsewhere(path) => Step::Elsewhere(path),
                Stated::Object(object) if object.text.first() == Some(&b'/') => {
                    if let Some(path) = served_text(zone, &object) {
                        Step::Elsewhere(path)
                    } else {
                        let host = std::fs::read_link(own_path(&object.pinned)).map_err(errno)?;
                        let path = zone.to_zone_path(host.as_os_str().as_bytes());
                        Step::Done(Named::Elsewhere(path.ok_or(libc::EINVAL)?))
                    }
                }
                Stated::Object(_) => return Err(libc::EINVAL),
                Stated::Attr(attr) => {
                    let rest = match (way.tree, way.row.sub()) {
                        (Tree::Proc, b"") => procfs::canonical(zone, caller, &way.rest),
                        _ => way.rest.clone(),
                    };
                    let names = rest.split(|byte| *byte == b'/');
                    let names: Vec<_> = names.filter(|name| !matches!(*name, b"" | b".")).collect();
                    let rel = names.join(&b'/');
                    let first = if way.row.sub().is_empty() {
                        &rel
                    } else {
                        way.row.sub()
                    };
                    Step::Done(Named::Served {
                        is_directory: attr.mode & libc::S_IFMT == libc::S_IFDIR,
                        is_of_process: matches!(way.tree, Tree::Proc)
                            && first.first().is_some_and(u8::is_ascii_digit),
                        row: Box::new(way.row),
                        rel,
                    })
                }
            },
        )
    })?;
    Ok(match found {
        Answer::Done(named) => named,
        Answer::Elsewhere(path) => Named::Elsewhere(path),
    })
}

/// Attributes of a path, as the bytes of a `struct statx`; if they are wanted of nodes only, none of
/// what a magic link leads to.
///
/// # Errors
/// As stat(2).
pub fn stat(
    zone: &Zone,
    caller: HostPid,
    path: &[u8],
    last: Last,
    only_nodes: bool,
) -> Result<Answer<Vec<u8>>, i32> {
    follow(zone, path, |way| {
        Ok(
            match way.tree.stat(zone, caller, &way.path, way.last(last))? {
                Stated::Elsewhere(path) => Step::Elsewhere(path),
                Stated::Object(object) => match served_text(zone, &object) {
                    Some(path) => Step::Elsewhere(path),
                    None if only_nodes => Step::Done(Vec::new()),
                    None => Step::Done(attributes::of_file(zone, &object.pinned)?),
                },
                Stated::Attr(attr) => {
                    Step::Done(of_node(zone, way.tree, &way.path, &attr, way.is_top()))
                }
            },
        )
    })
}

/// Attributes of a file of `/proc` that a guest has open, as the bytes of a `struct statx`: those of its
/// path, by which programs tell whether it is the file that they looked at.
///
/// # Errors
/// ENOENT for what is none.
pub fn stat_opened(zone: &Zone, caller: HostPid, fd: u64) -> Result<Vec<u8>, i32> {
    let file = open_path(caller, low_int(fd))?;
    let host = std::fs::read_link(own_path(&file)).map_err(errno)?;
    let text = procfs::to_zone_text(zone, host.as_os_str().as_bytes()).ok_or(libc::ENOENT)?;
    let rest = text.strip_prefix(b"/proc/").ok_or(libc::ENOENT)?;
    let (_, mode) = identify(&file)?;
    let attr = procfs::stat_opened(zone, caller, rest, mode);
    Ok(of_node(zone, Tree::Proc, rest, &attr, rest.is_empty()))
}

/// What a file of `/proc` says now: the one of this path, of this process or thread if it is one of those, for
/// a caller who may open it for reading.
///
/// # Errors
/// ESRCH: the process is gone. EINVAL: no such content is to be had at the path any more. As open(2).
pub fn content_now(
    zone: &Zone,
    caller: HostPid,
    path: &[u8],
    of: Option<HostPid>,
    flags: OFlag,
) -> Result<OwnedFd, i32> {
    let rest = path.strip_prefix(b"/proc/").ok_or(libc::EINVAL)?;
    let way = Way::of(zone, path).ok_or(libc::EINVAL)?;
    // Something else may be mounted there by now.
    if way.tree != Tree::Proc || way.path != rest {
        return Err(libc::EINVAL);
    }
    let found = procfs::lookup(zone, caller, rest, Last::NoFollow);
    // The number may be another's; whose it is when the content is there, that one's it is.
    if of.is_some() && procfs::owner_on_host(zone, rest) != of {
        return Err(libc::ESRCH);
    }
    match found {
        Ok(Node::Bytes(content) | Node::Setting(_, content)) => {
            way.tree.content(zone, caller, rest, &content, flags)
        }
        // Of a thread that is gone.
        Err(libc::ENOENT) if of.is_some() => Err(libc::ESRCH),
        Err(errno) => Err(errno),
        Ok(_) => Err(libc::EINVAL),
    }
}

/// Text of a link.
///
/// # Errors
/// As readlink(2).
pub fn readlink(zone: &Zone, caller: HostPid, path: &[u8]) -> Result<Answer<Vec<u8>>, i32> {
    follow(zone, path, |way| {
        let (tree, rest, last) = (way.tree, &way.path[..], way.last(Last::NoFollow));
        // What is no link needs no right to be told so.
        let found = tree.stat(zone, caller, rest, last)?;
        if matches!(found, Stated::Attr(attr) if attr.mode & libc::S_IFMT != libc::S_IFLNK) {
            return Err(libc::EINVAL);
        }
        match tree.lookup(zone, caller, rest, last)? {
            Node::Link(text) => Ok(Step::Done(text)),
            Node::Elsewhere(path) => Ok(Step::Elsewhere(path)),
            _ => Err(libc::EINVAL),
        }
    })
}

fn of_node(zone: &Zone, tree: Tree, rest: &[u8], attr: &Attr, is_top: bool) -> Vec<u8> {
    if attr.mode & libc::S_IFMT == libc::S_IFCHR
        && let Some(device) = host_device(zone, rest)
        && let Ok(found) = attributes::of_device(&device, attr, is_top)
    {
        return found;
    }
    let dev = view::device_of(Path::new(std::ffi::OsStr::from_bytes(tree.prefix())));
    attributes::of_node(attr, dev, is_top, zone.booted)
}

/// The host's device behind a path of `/dev`, to be looked at only: what fstat(2) says of it natively
/// must be said of the path too, since ttyname(3) compares.
fn host_device(zone: &Zone, rest: &[u8]) -> Option<OwnedFd> {
    let path = Path::new("/dev").join(std::ffi::OsStr::from_bytes(rest));
    if let Some(number) = terminal_number(path.as_os_str().as_bytes()) {
        return zone.terminals.pin(number);
    }
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)
        .map(OwnedFd::from)
        .ok()
}

/// `O_PATH` asks for less than reading does, but no such descriptor can be installed in a guest
/// (`SECCOMP_IOCTL_NOTIF_ADDFD` takes none): it gets one for reading.
fn without_path(flags: OFlag) -> OFlag {
    if flags.contains(OFlag::O_PATH) {
        let kept = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        (flags & kept) | OFlag::O_NONBLOCK
    } else {
        flags
    }
}

fn is_write(flags: OFlag) -> bool {
    flags & OFlag::O_ACCMODE != OFlag::O_RDONLY
}

/// What cannot be written may be opened for writing by who is not asked for rights, as natively: the
/// write fails then.
fn must_override(rights: Rights, flags: OFlag) -> Result<(), i32> {
    if is_write(flags) && rights == Rights::Asked {
        return Err(libc::EACCES);
    }
    Ok(())
}

/// The host's mode of a file in memory with content of a zone path.
pub const CONTENT_MODE: u32 = libc::S_IFREG | 0o444;

/// A sealed file in memory with this content and this name.
fn memfd(name: &CStr, content: &[u8], flags: OFlag) -> Result<OwnedFd, i32> {
    let made = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let fd = memfd_create(name, made).map_err(|errno| errno as i32)?;
    let mut file = File::from(fd);
    file.write_all(content).map_err(errno)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::all())).map_err(|errno| errno as i32)?;
    let kept = flags & OFlag::O_NONBLOCK;
    // A description of its own; whatever it is open for, nothing can be written.
    let access = flags & OFlag::O_ACCMODE;
    let opened = OpenOptions::new()
        .read(access != OFlag::O_WRONLY)
        .write(access != OFlag::O_RDONLY)
        .custom_flags(kept.bits())
        .open(own_path(&file))
        .map_err(errno)?;
    fchmod(&file, Mode::from_bits_retain(CONTENT_MODE & 0o777)).map_err(|errno| errno as i32)?;
    Ok(opened.into())
}

/// The users of whoever asks.
fn users(zone: &Zone, caller: HostPid) -> Result<Credentials, i32> {
    procfs::zone_process_of(zone, caller).map(|process| zone.credentials(process))
}

/// Whether users may open a file of this owner for what the flags say.
fn permits(users: &Credentials, owner: Owner, flags: OFlag) -> bool {
    let want = match flags & OFlag::O_ACCMODE {
        OFlag::O_RDONLY => 0o4,
        OFlag::O_WRONLY => 0o2,
        _ => 0o6,
    };
    let want = want
        | if flags.contains(OFlag::O_TRUNC) {
            0o2
        } else {
            0
        };
    User::known(users).may(owner, want)
}

fn must_permit(zone: &Zone, caller: HostPid, found: &Stated, flags: OFlag) -> Result<(), i32> {
    let Stated::Attr(attr) = found else {
        return Err(libc::ENOENT);
    };
    let owner = Owner {
        uid: attr.uid,
        gid: attr.gid,
        mode: attr.mode,
        rdev: attr.rdev,
    };
    // Nothing is truncated in a device.
    let flags = flags - OFlag::O_TRUNC;
    if permits(&users(zone, caller)?, owner, flags) {
        Ok(())
    } else {
        Err(libc::EACCES)
    }
}

/// Opens a device of the host, a terminal by its pin.
fn device(zone: &Zone, path: &Path, flags: OFlag) -> Result<OwnedFd, i32> {
    let pin = match terminal_number(path.as_os_str().as_bytes()) {
        Some(number) => Some(zone.terminals.pin(number).ok_or(libc::ENOENT)?),
        None => None,
    };
    let path = pin.as_ref().map_or_else(|| path.to_owned(), own_path);
    open_device(&path, flags)
}

fn open_device(path: &Path, flags: OFlag) -> Result<OwnedFd, i32> {
    let access = flags & OFlag::O_ACCMODE;
    let kept = flags & (OFlag::O_NONBLOCK | OFlag::O_APPEND) | OFlag::O_NOCTTY;
    OpenOptions::new()
        .read(access != OFlag::O_WRONLY)
        .write(access != OFlag::O_RDONLY)
        .custom_flags(kept.bits())
        .open(path)
        .map(OwnedFd::from)
        .map_err(errno)
}

/// Opens a new terminal's master, and records the terminal as the caller's.
fn terminal(zone: &Zone, caller: HostPid, flags: OFlag) -> Result<OwnedFd, i32> {
    let master = open_device(Path::new("/dev/ptmx"), flags)?;
    let slave = PathBuf::from(format!("/dev/pts/{}", attributes::terminal_of(&master)?));
    let uid = users(zone, caller).map_or(0, |users| users.uid[3]);
    files::take_terminal(zone, &slave, uid);
    Ok(master)
}

/// The zone path of an object, if it is one of the monitor's trees: then that path is opened.
fn served_text(zone: &Zone, object: &Object) -> Option<Vec<u8>> {
    let found = nix::sys::stat::fstat(&object.pinned).ok()?;
    // A snapshot is no longer what its path says.
    let is_node = [libc::S_IFDIR, libc::S_IFCHR].contains(&(found.st_mode & libc::S_IFMT));
    (is_node && Way::of(zone, &object.text).is_some()).then(|| object.text.clone())
}

/// Opens what a magic link leads to.
fn open_object(
    zone: &Zone,
    caller: HostPid,
    object: &Object,
    flags: OFlag,
) -> Result<Step<OwnedFd>, i32> {
    let found = nix::sys::stat::fstat(&object.pinned).map_err(|errno| errno as i32)?;
    let kind = found.st_mode & libc::S_IFMT;
    if flags.contains(OFlag::O_DIRECTORY) && kind != libc::S_IFDIR {
        return Err(libc::ENOTDIR);
    }
    let is_granted = object.grants(flags);
    if (kind == libc::S_IFDIR || !is_granted)
        && let Some(path) = served_text(zone, object)
    {
        return Ok(Step::Elsewhere(path));
    }
    if !is_granted {
        must_permit_anew(zone, caller, object, kind, flags)?;
    }
    object.reopen(flags).map(Step::Done)
}

/// Whether the caller may open an object for more than the descriptor gives that it was found by.
fn must_permit_anew(
    zone: &Zone,
    caller: HostPid,
    object: &Object,
    kind: u32,
    flags: OFlag,
) -> Result<(), i32> {
    let host = std::fs::read_link(own_path(&object.pinned)).map_err(errno)?;
    let host = host.as_os_str().as_bytes();
    if host.first() != Some(&b'/') {
        // The other end of a pipe is as open to its owner; everything else without a path has no
        // owner that is known here.
        return if kind == libc::S_IFIFO {
            Ok(())
        } else {
            Err(libc::EACCES)
        };
    }
    if zone.to_zone_path(host).is_none() {
        return Err(libc::EACCES);
    }
    if (is_write(flags) || flags.contains(OFlag::O_TRUNC)) && !zone.is_writable(host) {
        return Err(libc::EROFS);
    }
    let (id, mode) = identify(&object.pinned)?;
    let owner = zone.owners.get(&zone.shared, id, || 0).unwrap_or(Owner {
        uid: 0,
        gid: 0,
        mode,
        rdev: 0,
    });
    if permits(&users(zone, caller)?, owner, flags) {
        Ok(())
    } else {
        Err(libc::EACCES)
    }
}

/// The number in the path of a terminal.
#[must_use]
pub fn terminal_number(host: &[u8]) -> Option<u32> {
    let number = host.strip_prefix(b"/dev/pts/")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use picozone_personality::capabilities::Capabilities;

    #[test]
    fn users_get_what_the_mode_says() {
        let users = |uid: u32, gid: u32, groups: &[u32]| Credentials {
            uid: [uid; 4],
            gid: [gid; 4],
            groups: groups.to_vec(),
            capabilities: Capabilities::of_user(uid),
        };
        let terminal = Owner {
            uid: 33,
            gid: 5,
            mode: libc::S_IFCHR | 0o620,
            rdev: 0,
        };
        let (read, write) = (OFlag::O_RDONLY, OFlag::O_WRONLY);
        for (who, may_read, may_write) in [
            (users(0, 0, &[]), true, true),
            (users(33, 33, &[]), true, true),
            (users(1000, 5, &[]), false, true),
            (users(1000, 1000, &[5]), false, true),
            (users(1000, 1000, &[]), false, false),
        ] {
            assert_eq!(permits(&who, terminal, read), may_read, "{who:?}");
            assert_eq!(permits(&who, terminal, write), may_write, "{who:?}");
            let both = may_read && may_write;
            assert_eq!(permits(&who, terminal, OFlag::O_RDWR), both, "{who:?}");
            assert_eq!(permits(&who, terminal, read | OFlag::O_TRUNC), both);
        }
    }

    #[test]
    fn content_is_sealed_and_named() {
        let fd = memfd(
            &content_name(b"/proc/7/stat", Some(HostPid(12))),
            b"7 (x)",
            OFlag::O_RDONLY,
        );
        let fd = fd.expect("made");
        let name = std::fs::read_link(own_path(&fd)).expect("a link");
        assert_eq!(name.to_str(), Some("/memfd:zone:12/proc/7/stat (deleted)"));
        let mut file = File::from(fd);
        assert!(file.write_all(b"x").is_err(), "open for reading only");
        let again = OpenOptions::new().write(true).open(own_path(&file));
        let is_refused = match again {
            Ok(mut again) => again.write_all(b"x").is_err(),
            Err(_) => true,
        };
        assert!(is_refused, "sealed");
    }
}
