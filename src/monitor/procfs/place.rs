//! From a path of `/proc` to what it names.

use super::net::{self, NetRow};
use super::node::inode_of;
use super::process::{self, ProcessRow};
use super::subject::{number, zone_process_of, zone_thread};
use super::system::{self, SystemRow};
use super::{Attr, Entry, Errno, HostFile, Kind, Node, Stated, Subject, View, links};
use crate::ids::{HostPid, ZonePid};
use crate::monitor::rights::{EXECUTE, READ, WRITE};
use picozone_fsmap::Last;
use picozone_personality::capabilities::Power;
use picozone_personality::layout::THREAD_BIAS;

/// What `path` (relative to `/proc`) is, ready to be opened, listed or read as a link.
///
/// `caller` is the thread that asks: `self` is its process, and its users decide what it may see.
///
/// # Errors
/// ENOENT for all that the zone has not; ENOTDIR; EACCES where the caller's users may not look into
/// the process; ESRCH if the process died meanwhile; EMFILE.
pub fn lookup(view: &dyn View, caller: HostPid, path: &[u8], last: Last) -> Result<Node, Errno> {
    match walk(view, caller, path, last)? {
        Walked::Here(place) => place.open(view, caller, last),
        Walked::Elsewhere(path) => Ok(Node::Elsewhere(path)),
    }
}

/// The attributes of `path` (relative to `/proc`); needs no right to look into a process, except to
/// pass one of its magic links or its directory of descriptors.
///
/// # Errors
/// As [`lookup`].
pub fn stat(view: &dyn View, caller: HostPid, path: &[u8], last: Last) -> Result<Stated, Errno> {
    match walk(view, caller, path, last)? {
        Walked::Here(place) => place.stat(view, caller, last),
        Walked::Elsewhere(path) => Ok(Stated::Elsewhere(path)),
    }
}

enum Walked {
    Here(Place),
    Elsewhere(Vec<u8>),
}

struct Place {
    /// The path by numbers, without links: what the inode number is made of.
    path: Vec<u8>,
    what: What,
}

enum What {
    Top,
    SystemDir,
    System(&'static SystemRow),
    /// A plain link of the top directory, with its text.
    Link(Vec<u8>),
    Process(Subject, Part),
}

/// A file of a process or thread.
#[derive(Clone, Copy)]
enum Part {
    Top,
    File(&'static ProcessRow),
    Cwd,
    Root,
    Exe,
    Descriptors,
    Descriptor(u32),
    DescriptorInfos,
    DescriptorInfo(u32),
    Tasks,
    Namespaces,
    Namespace(&'static str),
    Net,
    NetFile(&'static NetRow),
}

/// The path (relative to `/proc`) by numbers, without links of the top directory.
#[must_use]
pub fn canonical(view: &dyn View, caller: HostPid, path: &[u8]) -> Vec<u8> {
    let mut names = names_of(path);
    match follow_top_link(view, caller, &mut names) {
        Ok(()) => names.join(&b'/'),
        Err(_) => path.to_vec(),
    }
}

/// The process or thread on the host that a path, free of links, lies in the directory of.
pub fn owner_on_host(view: &dyn View, path: &[u8]) -> Option<HostPid> {
    let mut names = path.split(|&byte| byte == b'/');
    let of_thread = |thread: u32| thread.checked_sub(THREAD_BIAS).map(HostPid);
    let process = names.next().and_then(number)?;
    let host = of_thread(process).or_else(|| view.to_host(ZonePid(process)));
    if names.next() != Some(b"task") {
        return host;
    }
    match names.next().and_then(number)? {
        leader if leader == process => host,
        // libc names threads by their numbers on the host.
        thread => Some(of_thread(thread).unwrap_or(HostPid(thread))),
    }
}

fn names_of(path: &[u8]) -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name.to_vec()),
        }
    }
    names
}

fn follow_top_link(
    view: &dyn View,
    caller: HostPid,
    names: &mut Vec<Vec<u8>>,
) -> Result<(), Errno> {
    let target = names.first().and_then(|name| top_link(view, caller, name));
    let Some(target) = target.transpose()? else {
        return Ok(());
    };
    let target = match target.strip_prefix(b"self/") {
        Some(rest) => [
            &caller_process(view, caller)?.0.to_string().into_bytes(),
            &b"/"[..],
            rest,
        ]
        .concat(),
        None => target,
    };
    names.splice(..1, target.split(|&byte| byte == b'/').map(<[u8]>::to_vec));
    Ok(())
}

fn walk(view: &dyn View, caller: HostPid, path: &[u8], last: Last) -> Result<Walked, Errno> {
    let mut names = names_of(path);
    let must_be_dir = path.ends_with(b"/") || path.ends_with(b"/.");
    let last = if must_be_dir { Last::Follow } else { last };
    let Some(first) = names.first() else {
        return Ok(Walked::Here(Place {
            path: Vec::new(),
            what: What::Top,
        }));
    };
    if names.len() == 1
        && last == Last::NoFollow
        && let Some(target) = top_link(view, caller, first)
    {
        return Ok(Walked::Here(Place {
            path: names.concat(),
            what: What::Link(target?),
        }));
    }
    follow_top_link(view, caller, &mut names)?;
    let joined = names.join(&b'/');
    let Some(pid) = number(&names[0]) else {
        return system_place(joined, must_be_dir).map(Walked::Here);
    };
    let subject = Subject::find(view, ZonePid(pid))?;
    let step = process_place(view, subject, &names[1..])?;
    let rest = &names[names.len() - step.left..];
    if rest.is_empty() && !(must_be_dir && step.part.is_link()) {
        if must_be_dir && !step.part.is_dir() {
            return Err(libc::ENOTDIR);
        }
        return Ok(Walked::Here(Place {
            path: joined,
            what: What::Process(step.subject, step.part),
        }));
    }
    if !step.part.is_link() {
        return Err(libc::ENOTDIR);
    }
    // The path goes on behind a magic link: by its text, in the zone.
    let mut text = link_text(view, caller, &step.subject, step.part)?;
    if text.first() != Some(&b'/') {
        return Err(libc::ENOTDIR);
    }
    for name in rest {
        text.push(b'/');
        text.extend_from_slice(name);
    }
    if must_be_dir {
        text.push(b'/');
    }
    Ok(Walked::Elsewhere(text))
}

fn caller_process(view: &dyn View, caller: HostPid) -> Result<ZonePid, Errno> {
    zone_process_of(view, caller)
}

/// The text of a link of the top directory.
fn top_link(view: &dyn View, caller: HostPid, name: &[u8]) -> Option<Result<Vec<u8>, Errno>> {
    Some(match name {
        b"self" => caller_process(view, caller).map(|process| process.to_string().into_bytes()),
        b"thread-self" => caller_process(view, caller).and_then(|process| {
            let leader = view.to_host(process).ok_or(libc::ENOENT)?;
            let thread = zone_thread(process, leader, caller);
            Ok(format!("{process}/task/{thread}").into_bytes())
        }),
        b"mounts" => Ok(b"self/mounts".to_vec()),
        b"net" => Ok(b"self/net".to_vec()),
        _ => return None,
    })
}

/// Links of the top directory.
const TOP_LINKS: [&str; 4] = ["mounts", "net", "self", "thread-self"];

fn system_place(path: Vec<u8>, must_be_dir: bool) -> Result<Place, Errno> {
    if system::is_dir(&path) {
        return Ok(Place {
            path,
            what: What::SystemDir,
        });
    }
    match system::find(&path) {
        Some(_) if must_be_dir => Err(libc::ENOTDIR),
        Some(row) => Ok(Place {
            path,
            what: What::System(row),
        }),
        None if system::passes_file(&path) => Err(libc::ENOTDIR),
        None => Err(libc::ENOENT),
    }
}

/// How far a path leads in a process' directory.
struct Step {
    subject: Subject,
    part: Part,
    /// How many names are left.
    left: usize,
}

fn process_place(view: &dyn View, subject: Subject, names: &[Vec<u8>]) -> Result<Step, Errno> {
    let Some((first, rest)) = names.split_first() else {
        return Ok(Step {
            subject,
            part: Part::Top,
            left: 0,
        });
    };
    let (part, left) = match first.as_slice() {
        b"cwd" => (Part::Cwd, rest.len()),
        b"root" => (Part::Root, rest.len()),
        b"exe" => (Part::Exe, rest.len()),
        b"task" if !subject.is_task => {
            let Some((tid, beneath)) = rest.split_first() else {
                return Ok(Step {
                    subject,
                    part: Part::Tasks,
                    left: 0,
                });
            };
            let task = subject.task(ZonePid(number(tid).ok_or(libc::ENOENT)?))?;
            return process_place(view, task, beneath);
        }
        b"fd" | b"fdinfo" => {
            let is_info = first == b"fdinfo";
            match rest.split_first() {
                None => (
                    if is_info {
                        Part::DescriptorInfos
                    } else {
                        Part::Descriptors
                    },
                    0,
                ),
                Some((fd, beneath)) => {
                    let fd = number(fd)
                        .filter(|fd| !view.hidden_descriptors().contains(fd))
                        .ok_or(libc::ENOENT)?;
                    let part = if is_info {
                        Part::DescriptorInfo(fd)
                    } else {
                        Part::Descriptor(fd)
                    };
                    (part, beneath.len())
                }
            }
        }
        b"ns" => match rest.split_first() {
            None => (Part::Namespaces, 0),
            Some((name, beneath)) => {
                let name = links::NAMESPACES
                    .iter()
                    .find(|known| known.as_bytes() == name);
                (Part::Namespace(name.ok_or(libc::ENOENT)?), beneath.len())
            }
        },
        b"net" => match rest.split_first() {
            None => (Part::Net, 0),
            Some((name, beneath)) => (
                Part::NetFile(net::find(name).ok_or(libc::ENOENT)?),
                beneath.len(),
            ),
        },
        name => {
            let row = process::find(name, subject.is_task).ok_or(libc::ENOENT)?;
            (Part::File(row), rest.len())
        }
    };
    Ok(Step {
        subject,
        part,
        left,
    })
}

/// The text of a magic link, after a check that the caller may read it.
fn link_text(
    view: &dyn View,
    caller: HostPid,
    subject: &Subject,
    part: Part,
) -> Result<Vec<u8>, Errno> {
    if !subject.may_be_inspected(view, caller) {
        return Err(libc::EACCES);
    }
    match part {
        Part::Cwd => links::translate(view, subject.readlink("cwd")?),
        // A zombie has no root any more; the text of the host's is none of the zone's business.
        Part::Root => subject.readlink("root").map(|_| {
            let root = view.root(subject.process);
            if root.is_empty() { b"/".to_vec() } else { root }
        }),
        Part::Exe => {
            subject.readlink("exe")?;
            view.exe(subject.host).ok_or(libc::ENOENT)
        }
        Part::Descriptor(fd) => links::translate(view, subject.readlink(&format!("fd/{fd}"))?),
        Part::Namespace(name) => {
            // A zombie has none any more.
            subject.readlink(&format!("ns/{name}"))?;
            Ok(links::namespace(view, name))
        }
        _ => Err(libc::EINVAL),
    }
}

impl Part {
    fn is_link(self) -> bool {
        matches!(
            self,
            Self::Cwd | Self::Root | Self::Exe | Self::Descriptor(_) | Self::Namespace(_)
        )
    }
    fn is_dir(self) -> bool {
        matches!(
            self,
            Self::Top
                | Self::Descriptors
                | Self::DescriptorInfos
                | Self::Tasks
                | Self::Namespaces
                | Self::Net
        )
    }
}

impl Place {
    fn open(self, view: &dyn View, caller: HostPid, last: Last) -> Result<Node, Errno> {
        match self.what {
            What::Top => Ok(Node::Dir {
                path: self.path,
                entries: top_entries(view),
            }),
            What::SystemDir => {
                let entries = system::entries(&self.path);
                Ok(Node::Dir {
                    path: self.path,
                    entries,
                })
            }
            What::System(row) => system::open(view, caller, row),
            What::Link(text) => Ok(Node::Link(text)),
            What::Process(subject, part) => open_part(view, caller, self.path, subject, part, last),
        }
    }

    fn stat(self, view: &dyn View, caller: HostPid, last: Last) -> Result<Stated, Errno> {
        let (mut ino, mut nlink, mut size) = (inode_of("proc", &self.path), 1, 0);
        let (mode, uid, gid) = match self.what {
            What::Top => {
                ino = ROOT_INODE;
                (libc::S_IFDIR | 0o555, 0, 0)
            }
            What::SystemDir => (libc::S_IFDIR | 0o555, 0, 0),
            What::System(row) => (libc::S_IFREG | row.mode, 0, 0),
            What::Link(text) => {
                // Those whose text is the same for all tell its length.
                if text.starts_with(b"self/") {
                    size = text.len() as u64;
                }
                (libc::S_IFLNK | 0o777, 0, 0)
            }
            What::Process(subject, part) => {
                if let (Part::Namespace(name), Last::Follow) = (part, last) {
                    link_text(view, caller, &subject, part)?;
                    return Ok(Stated::Attr(namespace_attr(view, name)));
                }
                if part.is_link() && last == Last::Follow {
                    return Ok(
                        match open_part(view, caller, Vec::new(), subject, part, last)? {
                            Node::Object(object) => Stated::Object(object),
                            Node::Elsewhere(path) => Stated::Elsewhere(path),
                            _ => return Err(libc::ENOENT),
                        },
                    );
                }
                if let Part::Tasks = part {
                    nlink += 1 + subject.threads()?.len() as u64;
                }
                let mode = part_mode(view, caller, &subject, part)?;
                // Files of `net` are the name space's.
                let (uid, gid) = match part {
                    Part::NetFile(_) => (0, 0),
                    _ => owner_of(view, &subject, mode),
                };
                (mode, uid, gid)
            }
        };
        // One link only: programs that count a directory's links then do not trust the number. But
        // of the directory of threads they do, and the kernel keeps it right.
        Ok(Stated::Attr(Attr {
            mode,
            uid,
            gid,
            nlink,
            size,
            ino,
            rdev: 0,
        }))
    }
}

/// The attributes of a file (relative to `/proc`, by numbers) that was opened: natively they stay when its
/// process is gone.
pub fn stat_opened(view: &dyn View, caller: HostPid, path: &[u8], mode: u32) -> Attr {
    match stat(view, caller, path, Last::NoFollow) {
        Ok(Stated::Attr(attr)) => attr,
        _ => Attr {
            mode,
            uid: 0,
            gid: 0,
            nlink: 1,
            size: 0,
            ino: inode_of("proc", path),
            rdev: 0,
        },
    }
}

/// The kernel's `PROC_ROOT_INO`.
const ROOT_INODE: u64 = 1;

/// Attributes of a name space: whoever is in the same sees the same inode.
fn namespace_attr(view: &dyn View, name: &str) -> Attr {
    Attr {
        mode: libc::S_IFREG | 0o444,
        uid: 0,
        gid: 0,
        nlink: 1,
        size: 0,
        ino: links::namespace_inode(view, name),
        rdev: 0,
    }
}

fn top_entries(view: &dyn View) -> Vec<Entry> {
    let mut entries = system::entries(b"");
    entries.extend(TOP_LINKS.iter().map(|name| Entry::new(name, Kind::Link)));
    let mut processes: Vec<_> = view
        .processes()
        .into_iter()
        .map(|(process, _)| process)
        .collect();
    processes.sort_unstable();
    entries.extend(
        processes
            .iter()
            .map(|process| Entry::new(&process.to_string(), Kind::Dir)),
    );
    entries
}

fn part_mode(
    view: &dyn View,
    caller: HostPid,
    subject: &Subject,
    part: Part,
) -> Result<u32, Errno> {
    Ok(match part {
        Part::Top | Part::Tasks | Part::Net | Part::DescriptorInfos => libc::S_IFDIR | 0o555,
        Part::Descriptors => libc::S_IFDIR | 0o500,
        Part::Namespaces => libc::S_IFDIR | 0o511,
        Part::File(row) => libc::S_IFREG | row.mode,
        Part::NetFile(_) => libc::S_IFREG | 0o444,
        Part::Cwd | Part::Root | Part::Exe | Part::Namespace(_) => libc::S_IFLNK | 0o777,
        Part::Descriptor(fd) => {
            must_search(view, caller, subject)?;
            libc::S_IFLNK | links::descriptor_mode(subject, fd)?
        }
        Part::DescriptorInfo(fd) => {
            must_inspect(view, caller, subject)?;
            subject.read(&format!("fdinfo/{fd}"))?;
            libc::S_IFREG | 0o444
        }
    })
}

/// Whose the files of a process are, of this mode (`task_dump_owner` in the kernel's fs/proc/base.c).
fn owner_of(view: &dyn View, subject: &Subject, mode: u32) -> (u32, u32) {
    if mode != libc::S_IFDIR | 0o555 && view.is_closed(subject.process) {
        return (0, 0);
    }
    let users = view.credentials(subject.process);
    (users.uid[1], users.gid[1])
}

/// Whether the caller has these rights of a process' file by owner and mode alone.
fn is_permitted(view: &dyn View, caller: HostPid, subject: &Subject, mode: u32, want: u32) -> bool {
    let Ok(asking) = zone_process_of(view, caller) else {
        return false;
    };
    let users = view.credentials(asking);
    let (uid, gid) = owner_of(view, subject, mode);
    let overrides = users.capabilities.has(Power::Override)
        || want & WRITE == 0 && users.capabilities.has(Power::Search);
    let bits = match users.uid[3] {
        _ if overrides => return true,
        own if own == uid => mode >> 6,
        _ if users.gid[3] == gid || users.groups.contains(&gid) => mode >> 3,
        _ => mode,
    };
    asking == subject.process || bits & want == want
}

/// EACCES where the caller may not go into the directory of a process' descriptors.
fn must_search(view: &dyn View, caller: HostPid, subject: &Subject) -> Result<(), Errno> {
    let mode = libc::S_IFDIR | 0o500;
    if is_permitted(view, caller, subject, mode, READ | EXECUTE) {
        Ok(())
    } else {
        Err(libc::EACCES)
    }
}

fn must_inspect(view: &dyn View, caller: HostPid, subject: &Subject) -> Result<(), Errno> {
    if subject.may_be_inspected(view, caller) {
        Ok(())
    } else {
        Err(libc::EACCES)
    }
}

fn open_part(
    view: &dyn View,
    caller: HostPid,
    path: Vec<u8>,
    subject: Subject,
    part: Part,
    last: Last,
) -> Result<Node, Errno> {
    if part.is_link() {
        if matches!(part, Part::Descriptor(_)) {
            must_search(view, caller, &subject)?;
        }
        let text = link_text(view, caller, &subject, part)?;
        return match (last, part) {
            (Last::NoFollow, _) => Ok(Node::Link(text)),
            (Last::Follow, Part::Cwd) => links::pin(view, &subject, "cwd").map(Node::Object),
            (Last::Follow, Part::Descriptor(fd)) => {
                links::pin_descriptor(view, &subject, fd).map(Node::Object)
            }
            (Last::Follow, Part::Root | Part::Exe) => Ok(Node::Elsewhere(text)),
            // It tells its kind, and is entered by nobody.
            (Last::Follow, Part::Namespace(name)) => {
                let name = format!("ns/{name}");
                Ok(Node::Host(HostFile::of_process(
                    subject.dir()?,
                    &name,
                    false,
                )))
            }
            (Last::Follow, _) => Err(libc::EACCES),
        };
    }
    let dir = |entries| Ok(Node::Dir { path, entries });
    match part {
        Part::Top => dir(process::entries(subject.is_task)),
        Part::File(row) => {
            if row.is_private {
                must_inspect(view, caller, &subject)?;
                if !is_permitted(view, caller, &subject, row.mode, READ) {
                    return Err(libc::EACCES);
                }
            }
            match row.pass {
                Some(name) => {
                    let is_writable = row.mode & 0o200 != 0
                        && is_permitted(view, caller, &subject, row.mode, WRITE);
                    Ok(Node::Host(HostFile::of_process(
                        subject.dir()?,
                        name,
                        is_writable,
                    )))
                }
                None => (row.make)(view, caller, &subject).map(Node::Bytes),
            }
        }
        Part::Descriptors | Part::DescriptorInfos => {
            if matches!(part, Part::Descriptors) {
                must_search(view, caller, &subject)?;
            } else {
                must_inspect(view, caller, &subject)?;
            }
            let hidden = view.hidden_descriptors();
            let kind = if matches!(part, Part::Descriptors) {
                Kind::Link
            } else {
                Kind::File
            };
            let mut numbers = subject.numbers("fd")?;
            if zone_process_of(view, caller) == Ok(subject.process) {
                // The one by which it is going to list them.
                let is_free = |at: &u32| numbers.binary_search(at).is_err();
                numbers.extend((0..).find(is_free));
                numbers.sort_unstable();
            }
            let shown = numbers.iter().filter(|fd| !hidden.contains(fd));
            dir(shown.map(|fd| Entry::new(&fd.to_string(), kind)).collect())
        }
        Part::DescriptorInfo(fd) => {
            must_inspect(view, caller, &subject)?;
            links::descriptor_info(view, &subject, fd).map(Node::Bytes)
        }
        Part::Tasks => {
            let threads = subject.threads()?;
            dir(threads
                .iter()
                .map(|thread| Entry::new(&thread.to_string(), Kind::Dir))
                .collect())
        }
        Part::Namespaces => {
            must_inspect(view, caller, &subject)?;
            dir(links::NAMESPACES
                .iter()
                .map(|name| Entry::new(name, Kind::Link))
                .collect())
        }
        Part::Net => dir(net::entries()),
        Part::NetFile(row) => net::open(view, row),
        Part::Cwd | Part::Root | Part::Exe | Part::Descriptor(_) | Part::Namespace(_) => {
            Err(libc::EINVAL)
        }
    }
}
