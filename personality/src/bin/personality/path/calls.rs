//! The calls that open, read or measure what a path names.

use super::deep;
use super::layer::has_layers;
use super::made::{New, What};
use super::mounting::{must_be_writable, show};
use super::names::{Purpose, followed, parent};
use super::parents;
use super::protected::may_reopen;
use super::quick::{Named, named, named_already};
use super::reach::{
    Opened, Reach, Told, ask_served, open_anywhere, open_confined, open_served, reach, reach_again,
};
use super::rights::{may_change, may_make, may_open};
use super::root::{InZone, root, shown};
use super::search::goes_anywhere;
use super::walk::{is_monitors, is_served_link, row_at, served_path_of, walk, zone_path_of};
use super::{
    AT_CWD, NOFOLLOW, PATH_FLAGS, Room, close, is_exclusive, mount_rows, mounts, own_exe, quota,
    read_link, text_of,
};
use crate::arch::{syscall1, syscall2, syscall4};
use crate::dispatch::checked;
use crate::file::{APPEND_ONLY, IMMUTABLE, Power, is_reserved};
use crate::memory::{self, PathRoom};
use crate::monitor::{commons, tables};
use crate::thread::Thread;
use crate::{Errno, Result, file};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use picozone_fsmap::{LINKS_MAX, Last, MountRow, PathBuf};
use picozone_personality::layout::{DIRECTORY_MODE, PLACEHOLDER};
use picozone_personality::limits::Limit;
use picozone_personality::mailbox::{IS_RESTRICTED, Request};
use picozone_personality::running;
use picozone_personality::tables::UNTIL_WRITTEN;

/// The open flags that the kernel knows (include/linux/fcntl.h, `VALID_OPEN_FLAGS`).
pub(super) const OPEN_FLAGS: u64 = 0o37_777_703 | O_PATH as u64 | 0o20_200_000;
/// The whole of `O_TMPFILE`.
pub(super) const TEMPORARY: u64 = O_TMPFILE as u64;

/// What the kernel's openat ignores must not reach openat2, which refuses it.
fn normal_flags(flags: u64, mode: u64) -> (u64, u64) {
    let mut flags = (flags & OPEN_FLAGS) | u64::from(O_LARGEFILE);
    if flags & u64::from(O_PATH) != 0 {
        flags &= u64::from(O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    let makes = flags & u64::from(O_CREAT) != 0 || flags & TEMPORARY == TEMPORARY;
    (flags, if makes { mode & 0o777 } else { 0 })
}

/// open(2), openat(2), creat(2).
pub fn open(thread: &mut Thread, dirfd: u64, pathname: u64, flags: u64, mode: u64) -> Result<u64> {
    must_be_consistent(normal_flags(flags, mode).0)?;
    let mut room = PathRoom::new();
    let guest = room.read(pathname)?;
    if guest.is_empty() {
        return Err(Errno::ENOENT);
    }
    let path = if flags & NOFOLLOW == 0 {
        own_exe(thread, guest)
    } else {
        guest
    };
    open_path(thread, dirfd, path, flags, mode)
}

/// The same for a path of our own that is there.
pub fn open_text(thread: &mut Thread, path: &CStr, flags: u64) -> Result<u64> {
    open_path(thread, AT_CWD as u64, path, flags, 0)
}

/// EINVAL for what no open can be: one that makes a directory, a nameless file that is not written.
pub(super) fn must_be_consistent(flags: u64) -> Result<()> {
    let makes_directory = u64::from(O_CREAT | O_DIRECTORY);
    let is_wrong = flags & makes_directory == makes_directory
        || (flags & TEMPORARY == TEMPORARY && flags & 3 == 0);
    if is_wrong { Err(Errno::EINVAL) } else { Ok(()) }
}

/// The same for a path that was read.
pub(super) fn open_path(
    thread: &mut Thread,
    dirfd: u64,
    path: &CStr,
    flags: u64,
    asked: u64,
) -> Result<u64> {
    let (flags, mode) = normal_flags(flags, asked);
    let is_temporary = flags & TEMPORARY == TEMPORARY;
    let makes = flags & u64::from(O_CREAT) != 0 || is_temporary;
    must_be_consistent(flags)?;
    must_be_writable(thread, dirfd, path, flags)?;
    let writes = flags & u64::from(O_WRONLY | O_RDWR | O_TRUNC) != 0;
    if writes && !is_exclusive(flags) {
        must_not_run(thread, dirfd, path, flags)?;
    }
    if file::has_marks() {
        must_not_be_marked(thread, dirfd, path, flags)?;
    }
    may_reopen(thread, dirfd, path, flags)?;
    if quota::is_full() && (writes || makes) {
        quota::must_have_room(thread, dirfd, path, flags)?;
    }
    if writes && tables().waiting.load(Relaxed) != 0 && file::has(thread, Power::KeepSetId) {
        keep_set_ids(thread, dirfd, path, flags);
    }
    let is_root = file::has(thread, Power::Override) && file::has(thread, Power::Owner);
    // Most is the zone's root's, and what it makes needs no further word.
    let is_plain = is_root
        && thread.credentials.uid[3] == 0
        && thread.credentials.gid[3] == 0
        && asked & 0o7600 == 0o600
        && tables().group_givers.load(Relaxed) == 0;
    let mut zone = None;
    let result = match (makes && !is_plain, is_root) {
        (false, true) => open_confined(thread, dirfd, path, flags, mode, &mut zone),
        (false, false) => open_judged(thread, dirfd, path, flags, &mut zone),
        (true, _) if is_temporary => make_temporary(thread, dirfd, path, (flags, asked), &mut zone),
        (true, _) => open_or_make(thread, dirfd, path, (flags, asked), &mut zone),
    };
    match result {
        Ok(Opened::Descriptor(fd)) => {
            if writes && tables().capable.load(Relaxed) != 0 {
                file::drop_capabilities(thread, fd);
            }
            const LISTS: u64 = O_DIRECTORY as u64;
            let is_listed = flags & (LISTS | u64::from(O_PATH)) == LISTS && !is_temporary;
            if is_listed && dirfd as i32 == AT_CWD {
                parents::note(thread, path.to_bytes());
            }
            Ok(fd)
        }
        Ok(Opened::Monitor) => open_served(thread, flags, mode, &mut zone),
        // The host user does not own what others share with the zone.
        Err(Errno::EPERM) if flags & u64::from(O_NOATIME) != 0 && is_root => {
            open_path(thread, dirfd, path, flags & !u64::from(O_NOATIME), asked)
        }
        Err(Errno::ENXIO) => open_device(thread, dirfd, path, flags),
        Err(Errno::EACCES) if flags & 3 != 0 || makes => Err(if_on_read_only(thread, dirfd, path)),
        Err(errno) => Err(errno),
    }
}

/// ETXTBSY for a program that runs in the zone.
#[inline]
fn must_not_run(thread: &Thread, dirfd: u64, path: &CStr, flags: u64) -> Result<()> {
    let hash = running::hash(path.to_bytes());
    if commons().running.may_run(hash) {
        look_whether_runs(thread, dirfd, path, flags, hash)
    } else {
        Ok(())
    }
}

#[cold]
#[inline(never)]
fn look_whether_runs(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    flags: u64,
    hash: u32,
) -> Result<()> {
    let look = PATH_FLAGS | flags & u64::from(O_NOFOLLOW | O_DIRECTORY);
    // What is wrong with it the open itself says.
    let Ok(fd) = open_anywhere(thread, dirfd, path, look, 0, &mut None) else {
        return Ok(());
    };
    let is_asked = file::stat_of(fd)
        .is_ok_and(|st| st.st_mode & S_IFMT == S_IFREG && file::permits(thread, &st, 2));
    let result = if is_asked {
        thread
            .ask(Request::Running, &[fd, u64::from(hash)])
            .map(drop)
    } else {
        Ok(())
    };
    close(fd);
    result
}

/// Has set-id bits stay over what is to be written by who keeps them. What is wrong with the path the open
/// itself says.
#[cold]
#[inline(never)]
fn keep_set_ids(thread: &Thread, dirfd: u64, path: &CStr, flags: u64) {
    let look = PATH_FLAGS | flags & u64::from(O_NOFOLLOW | O_DIRECTORY);
    if let Ok(fd) = open_anywhere(thread, dirfd, path, look, 0, &mut None) {
        if file::marks_of(fd) & UNTIL_WRITTEN != 0 {
            let _ = thread.ask(Request::KeepSetIds, &[fd]);
        }
        close(fd);
    }
}

/// EPERM where a mark is against an open (`may_open` in the kernel's fs/namei.c).
#[cold]
#[inline(never)]
fn must_not_be_marked(thread: &Thread, dirfd: u64, path: &CStr, flags: u64) -> Result<()> {
    let look = PATH_FLAGS | flags & u64::from(O_NOFOLLOW | O_DIRECTORY);
    let has = |flag: u32| flags & u64::from(flag) != 0;
    match open_anywhere(thread, dirfd, path, look, 0, &mut None) {
        // That it is there is said first.
        Ok(fd) if has(O_CREAT) && has(O_EXCL) => close(fd),
        Ok(fd) => {
            let (marks, kind) = (file::marks_of(fd), file::kind_of(fd));
            close(fd);
            if kind == Some(S_IFDIR) {
                // Nobody writes a directory, but by making a file there.
                let is_refused = flags & TEMPORARY == TEMPORARY && marks & IMMUTABLE != 0;
                return if is_refused {
                    Err(Errno::EPERM)
                } else {
                    Ok(())
                };
            }
            let writes = flags & u64::from(O_ACCMODE) != 0;
            let is_refused = marks & IMMUTABLE != 0 && (writes || has(O_TRUNC))
                || marks & APPEND_ONLY != 0 && (writes && !has(O_APPEND) || has(O_TRUNC));
            if is_refused && !has(O_PATH) {
                return Err(Errno::EPERM);
            }
        }
        Err(Errno::ENOENT) if has(O_CREAT) => {
            if let Ok(parent) = parent(thread, dirfd, path, Purpose::Make) {
                file::must_not_have(parent.fd, IMMUTABLE)?;
            }
        }
        // The open itself says what is wrong.
        Err(_) => {}
    }
    Ok(())
}

/// The zone's own entries of `/dev` behind device nodes that it made, by number.
const DEVICES: [(u64, &CStr); 7] = [
    (0x103, c"/dev/null"),
    (0x105, c"/dev/zero"),
    (0x107, c"/dev/full"),
    (0x108, c"/dev/random"),
    (0x109, c"/dev/urandom"),
    (0x500, c"/dev/tty"),
    (0x502, c"/dev/ptmx"),
];

/// Opens a device node of the zone's. What the host gave ENXIO for may also be a socket, or a FIFO that
/// nobody reads.
#[cold]
#[inline(never)]
fn open_device(thread: &mut Thread, dirfd: u64, path: &CStr, flags: u64) -> Result<u64> {
    let look = PATH_FLAGS | flags & u64::from(O_NOFOLLOW);
    let fd = open_anywhere(thread, dirfd, path, look, 0, &mut None)?;
    let st = file::stat_of(fd);
    let may = st.and_then(|st| may_open(thread, fd, flags).map(|()| st));
    close(fd);
    let st = may?;
    let known = DEVICES.iter().find(|device| device.0 == st.st_rdev);
    match known {
        Some((_, path)) if st.st_mode & 0o170_000 == S_IFCHR => {
            let kept = flags & u64::from(O_ACCMODE | O_NONBLOCK | O_APPEND | O_NOCTTY | O_CLOEXEC);
            open_anywhere(thread, AT_CWD as u64, path, kept, 0, &mut None)
        }
        _ => Err(Errno::ENXIO),
    }
}

/// Opens what is there, by the rules of the zone's users: nothing is cut before they allow to write.
#[inline(never)]
fn open_judged(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    flags: u64,
    zone: &mut Room,
) -> Result<Opened> {
    let opens = flags & !u64::from(O_CREAT | O_TRUNC | O_EXCL);
    must_not_be_noticed(thread, dirfd, path, flags)?;
    let opened = open_confined(thread, dirfd, path, opens, 0, zone)?;
    let cuts = flags & u64::from(O_TRUNC) != 0;
    if let Opened::Descriptor(fd) = opened {
        let makes_or_cuts = flags & u64::from(O_CREAT | O_TRUNC) != 0;
        let judged = if makes_or_cuts && file::kind_of(fd) == Some(S_IFDIR) {
            Err(Errno::EISDIR)
        } else {
            may_open(thread, fd, flags)
        };
        if let Err(errno) = judged {
            close(fd);
            return Err(errno);
        }
        if cuts && flags & 3 != 0 {
            unsafe { syscall2(__NR_ftruncate, fd, 0) };
        } else if cuts {
            // A descriptor that only reads cuts nothing, but the opening of one does.
            close(fd);
            return open_confined(thread, dirfd, path, opens | u64::from(O_TRUNC), 0, zone);
        }
    }
    Ok(opened)
}

/// Judges before it is opened what tells others that it is, and may wait for them: a FIFO. What was never
/// the zone's to change the kernel judges.
#[inline(never)]
fn must_not_be_noticed(thread: &Thread, dirfd: u64, path: &CStr, flags: u64) -> Result<()> {
    let is_foreign = root(thread).is_empty()
        && path.to_bytes().first() == Some(&b'/')
        && row_at(path.to_bytes()).is_some_and(MountRow::is_foreign);
    let may_all = file::has(thread, Power::Override);
    if flags & u64::from(O_PATH | O_DIRECTORY) != 0 || is_foreign || may_all {
        return Ok(());
    }
    if matches!(kind_named(thread, dirfd, path), Some(S_IFREG | S_IFDIR)) {
        return Ok(());
    }
    let look = PATH_FLAGS | flags & u64::from(O_NOFOLLOW);
    // What is wrong with the path the open itself says.
    let opened = open_confined(thread, dirfd, path, look, 0, &mut None);
    let Ok(Opened::Descriptor(fd)) = opened else {
        return Ok(());
    };
    let judged = match file::kind_of(fd) {
        Some(S_IFIFO) => may_open(thread, fd, flags),
        _ => Ok(()),
    };
    close(fd);
    judged
}

/// What kind of file a path names (`S_IFMT`), be it a link, if the quick way leads there.
fn kind_named(thread: &Thread, dirfd: u64, path: &CStr) -> Option<u32> {
    let named = named_already(thread, dirfd, path).ok()??;
    let mut st = MaybeUninit::<stat>::uninit();
    let to = st.as_mut_ptr() as u64;
    let nofollow = u64::from(AT_SYMLINK_NOFOLLOW);
    let got = unsafe { syscall4(__NR_newfstatat, named.fd(), named.name(), to, nofollow) };
    if got < 0 || !named.is_same() {
        return None;
    }
    Some(unsafe { st.assume_init_ref() }.st_mode & S_IFMT)
}

/// How often what is made or removed meanwhile is looked for again.
const TRIES: usize = 16;

/// Opens or makes a file of which the zone has something to say: whether this call makes it must be
/// known.
#[cold]
#[inline(never)]
fn open_or_make(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    (flags, mode): (u64, u64),
    zone: &mut Room,
) -> Result<Opened> {
    let exclusive = u64::from(O_EXCL);
    if path.to_bytes().last() == Some(&b'/') {
        if flags & exclusive != 0 && path.to_bytes().iter().all(|&byte| byte == b'/') {
            return Err(Errno::EEXIST);
        }
        // No file is made by such a name; what may be wrong on the way is said first.
        return Err(match parent(thread, dirfd, path, Purpose::Make) {
            Ok(parent) if parent.is_dots() && flags & exclusive != 0 => Errno::EEXIST,
            Ok(_) | Err(Errno::EEXIST) => Errno::EISDIR,
            Err(errno) => errno,
        });
    }
    for _ in 0..TRIES {
        if flags & exclusive == 0 {
            match open_judged(thread, dirfd, path, flags, zone) {
                Err(Errno::ENOENT) => {}
                Err(Errno::ENOTDIR) if links_to_directory(thread, dirfd, path) => {
                    return Err(Errno::EISDIR);
                }
                other => return other,
            }
        }
        match make_file(thread, dirfd, path, (flags | exclusive, mode), zone) {
            Err(Errno::EEXIST) if flags & exclusive == 0 => {}
            other => return other,
        }
        // A link that leads nowhere yet: the file is made where it leads.
        let mut at = PathBuf::new();
        let found = walk(thread, dirfd, path, Last::Follow, &mut at);
        if let Err(errno) = found
            && deep::is_for(errno, path)
            && let Ok(Some(end)) = followed(thread, dirfd, path)
            && let Ok(name) = CStr::from_bytes_until_nul(&end.name)
        {
            match make_file(thread, end.fd, name, (flags | exclusive, mode), zone) {
                Err(Errno::EEXIST) => {}
                other => return other,
            }
        }
        if let Ok(found) = found
            && !found.exists
        {
            if found.must_be_dir {
                return Err(Errno::EISDIR);
            }
            let way = (flags | exclusive, mode);
            let _in_zone = InZone::enter(thread);
            match make_file(thread, AT_CWD as u64, at.as_c_str(), way, zone) {
                Err(Errno::EEXIST) => {}
                other => return other,
            }
        }
    }
    Err(Errno::ENOENT)
}

/// Whether a path names a link whose text ends in a slash.
#[cold]
#[inline(never)]
fn links_to_directory(thread: &Thread, dirfd: u64, path: &CStr) -> bool {
    let link = PATH_FLAGS | NOFOLLOW;
    let Ok(fd) = open_anywhere(thread, dirfd, path, link, 0, &mut None) else {
        return false;
    };
    let mut room = PathRoom::new();
    let all = room.all();
    let length = read_link(fd, all).unwrap_or(0);
    close(fd);
    all.get(..length).is_some_and(|text| text.ends_with(b"/"))
}

/// Makes a file that is not there.
fn make_file(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    (flags, mode): (u64, u64),
    zone: &mut Room,
) -> Result<Opened> {
    let mut parent = parent(thread, dirfd, path, Purpose::Make)?;
    let new = New::within(thread, parent.fd, 0o100_000 | mode as u32 & 0o7777)?;
    may_make(thread, &parent)?;
    let _making = new.begin(thread);
    if !new.is_plain()
        && let Some(made) = new.make(thread, &mut parent, What::Opened(flags))
    {
        return made.map(Opened::Descriptor);
    }
    // The file gets the lowest number that is free.
    drop(parent);
    open_confined(thread, dirfd, path, flags, new.host_mode(), zone)
}

/// Makes a file without a name (`O_TMPFILE`).
#[cold]
#[inline(never)]
fn make_temporary(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    (flags, mode): (u64, u64),
    zone: &mut Room,
) -> Result<Opened> {
    let flags_there = PATH_FLAGS | u64::from(O_DIRECTORY);
    let directory = open_anywhere(thread, dirfd, path, flags_there, 0, &mut None)?;
    let new = may_change(thread, directory)
        .and_then(|()| New::within(thread, directory, 0o100_000 | mode as u32 & 0o7777));
    close(directory);
    let new = new?;
    let opened = open_confined(thread, dirfd, path, flags, new.host_mode(), zone)?;
    if let Opened::Descriptor(fd) = opened {
        new.finish(thread, fd);
    }
    Ok(opened)
}

/// What a refused write means: Landlock says EACCES where a read-only file system would have refused.
#[cold]
#[inline(never)]
fn if_on_read_only(thread: &Thread, dirfd: u64, path: &CStr) -> Errno {
    let mut at = PathBuf::new();
    match walk(thread, dirfd, path, Last::Follow, &mut at) {
        Ok(found)
            if mount_rows()
                .get(found.mount)
                .is_some_and(|row| row.read_only != 0) =>
        {
            Errno::EROFS
        }
        _ => Errno::EACCES,
    }
}

/// chdir(2).
pub fn chdir(thread: &mut Thread, pathname: u64) -> Result<u64> {
    let mut room = PathRoom::new();
    let path = room.read(pathname)?;
    chdir_to(thread, path)
}

/// chdir to a path of our own.
pub fn chdir_bytes(thread: &mut Thread, path: &[u8]) -> Result<u64> {
    let mut room = PathRoom::new();
    let path = room.set(path)?;
    chdir_to(thread, path)
}

fn chdir_to(thread: &mut Thread, path: &CStr) -> Result<u64> {
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let flags = PATH_FLAGS | u64::from(O_DIRECTORY);
    let mut zone = None;
    let fd = open_anywhere(thread, AT_CWD as u64, path, flags, 0, &mut zone)?;
    let result = fchdir(thread, fd);
    close(fd);
    result
}

const UNREACHABLE: &[u8] = b"(unreachable)";

/// fchdir(2).
pub fn fchdir(thread: &Thread, fd: u64) -> Result<u64> {
    if !goes_anywhere(thread) && !thread.process().is_client {
        let mut st = MaybeUninit::uninit();
        let st = file::stat_in_zone(thread, fd, &mut st)?;
        if st.st_mode & S_IFMT == S_IFDIR && !file::permits(thread, st, 1) {
            return Err(Errno::EACCES);
        }
    }
    let result = checked(unsafe { syscall1(__NR_fchdir, fd) });
    thread.process().parents.note_chdir();
    result
}

/// getcwd(2).
pub fn getcwd(thread: &Thread, to: u64, size: u64) -> Result<u64> {
    let mut room = PathRoom::new();
    if root(thread).is_empty()
        && let Some(text) = cwd_in_tree(&mut room)
    {
        if text.len() as u64 > size {
            return Err(Errno::ERANGE);
        }
        memory::write_bytes(to, text)?;
        return Ok(text.len() as u64);
    }
    getcwd_from_root(thread, to, size)
}

/// The working directory with its NUL, where it lies in a tree of the host whose path is no shorter
/// than the zone's: that is put over it.
fn cwd_in_tree(room: &mut PathRoom) -> Option<&[u8]> {
    let bytes = room.all();
    let length = checked(unsafe { syscall2(__NR_getcwd, bytes.as_mut_ptr() as u64, 4096) });
    let length = length.ok()? as usize;
    let mounts = mounts();
    let (row, rest) = mounts.find_host(bytes.get(..length.checked_sub(1)?)?)?;
    if row.is_monitor() {
        return None;
    }
    let (prefix, rest) = (row.prefix(), rest.len());
    if rest == 0 {
        let top = if prefix.is_empty() { b"/" } else { prefix };
        bytes.get_mut(..top.len())?.copy_from_slice(top);
        *bytes.get_mut(top.len())? = 0;
        return bytes.get(..=top.len());
    }
    let slash = length.checked_sub(rest + 2)?;
    let start = slash.checked_sub(prefix.len())?;
    bytes.get_mut(start..slash)?.copy_from_slice(prefix);
    bytes.get(start..length)
}

fn getcwd_from_root(thread: &Thread, to: u64, size: u64) -> Result<u64> {
    let mut zone = PathBuf::new();
    zone_path_of(thread, AT_CWD as u64, &mut zone)?;
    // What the root directory does not hold is marked (getcwd(2)).
    let (mark, text) = match shown(thread, zone.as_bytes()) {
        Some(text) => (&b""[..], text),
        None => (UNREACHABLE, zone.as_bytes()),
    };
    let length = mark.len() + text.len();
    if (length as u64) >= size {
        return Err(Errno::ERANGE);
    }
    memory::write_bytes(to, mark)?;
    memory::write_bytes(to + mark.len() as u64, text)?;
    memory::write(to + length as u64, &0u8)?;
    Ok(length as u64 + 1)
}

/// readlink(2), readlinkat(2).
pub fn readlink(thread: &mut Thread, dirfd: u64, pathname: u64, to: u64, size: u64) -> Result<u64> {
    if size as i32 <= 0 {
        return Err(Errno::EINVAL);
    }
    let size = (size as i32 as usize).min(4096);
    let mut room = PathRoom::new();
    let path = room.read(pathname)?;
    let process = thread.process();
    let is_own = path.to_bytes() == b"/proc/self/exe" && !process.is_clerk;
    if is_own && root(thread).is_empty() {
        let exe = &process.exe[..process.exe_len as usize];
        let n = exe.len().min(size);
        memory::write_bytes(to, &exe[..n])?;
        return Ok(n as u64);
    }
    let read = |fd: u64| {
        let mut buffer = [0u8; 4096];
        let got = match read_link(fd, &mut buffer) {
            Err(Errno::ENOENT) if fd != dirfd => Err(Errno::EINVAL),
            other => other,
        }?;
        let n = got.min(size);
        memory::write_bytes(to, &buffer[..n])?;
        Ok(n as u64)
    };
    if path.is_empty() {
        return if dirfd as i32 == AT_CWD {
            Err(Errno::ENOENT)
        } else {
            read_opened(thread, dirfd, to, size).unwrap_or_else(|| read(dirfd))
        };
    }
    if is_top(thread, path) {
        return Err(Errno::EINVAL);
    }
    // What a link of a copy-on-write layer stands for is no link.
    if !has_layers()
        && let Some(named) = named(thread, dirfd, path)?
        && let Some(done) = readlink_named(thread, &named, to, size)
    {
        return done;
    }
    let mut zone = None;
    let mut found = reach(thread, dirfd, path, true, &mut zone)?;
    for _ in 0..LINKS_MAX {
        match found {
            Reach::Node(fd) => {
                let result = read(fd);
                close(fd);
                return result;
            }
            Reach::Monitor => match ask_served(thread, Request::Readlink, &mut zone, 0, 0)? {
                Told::Answer(length) => return write_told(thread, length, to, size),
                Told::Elsewhere => found = reach_again(thread, true, &mut zone)?,
            },
        }
    }
    Err(Errno::ELOOP)
}

/// Gives a guest the link's text that the monitor has told.
fn write_told(thread: &Thread, length: u64, to: u64, size: usize) -> Result<u64> {
    let text = thread.mailbox().b.get(..length as usize);
    let text = text.ok_or(Errno::EIO)?;
    let text = shown(thread, text).unwrap_or(text);
    let n = text.len().min(size);
    memory::write_bytes(to, &text[..n])?;
    Ok(n as u64)
}

/// readlinkat(2) of a descriptor that is of a link of the monitor's.
#[cold]
#[inline(never)]
fn read_opened(thread: &Thread, fd: u64, to: u64, size: usize) -> Option<Result<u64>> {
    if is_reserved(fd) {
        return None;
    }
    let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
    checked(unsafe { syscall2(__NR_fstat, fd, &raw mut st as u64) }).ok()?;
    if !is_served_link(st.st_mode, st.st_dev, st.st_ino) {
        return None;
    }
    let mut zone = served_path_of(thread, fd);
    zone.as_ref()?;
    Some(
        match ask_served(thread, Request::Readlink, &mut zone, 0, 0) {
            Ok(Told::Answer(length)) => write_told(thread, length, to, size),
            Ok(Told::Elsewhere) => Err(Errno::ENOENT),
            Err(errno) => Err(errno),
        },
    )
}

/// Whether a path is by its text that of a mount's top, for the zone's root.
fn is_top(thread: &Thread, path: &CStr) -> bool {
    let text = path.to_bytes();
    let is_absolute = text.first() == Some(&b'/');
    is_absolute && root(thread).is_empty() && goes_anywhere(thread) && mounts().top(text).is_some()
}

/// The same by the quick way.
fn readlink_named(thread: &Thread, named: &Named, to: u64, size: usize) -> Option<Result<u64>> {
    let mut buffer = core::mem::MaybeUninit::<[u8; 4096]>::uninit();
    let (fd, name, room) = (named.fd(), named.name(), buffer.as_mut_ptr() as u64);
    let got = checked(unsafe { syscall4(__NR_readlinkat, fd, name, room, 4096) });
    if !named.is_same() {
        return None;
    }
    let length = match got {
        Ok(length) => length as usize,
        // Also of what is no link: programs ask so of each directory on a path.
        Err(errno @ (Errno::ENOENT | Errno::EINVAL)) if named.is_kernels(thread) => {
            return Some(Err(errno));
        }
        Err(_) => return None,
    };
    let text = unsafe { core::slice::from_raw_parts(room as *const u8, length) };
    if text == PLACEHOLDER.as_bytes() {
        return None;
    }
    let n = length.min(size);
    Some(memory::write_bytes(to, &text[..n]).map(|()| n as u64))
}

/// truncate(2). The monitor does it, by name: who watches the file is to see no open.
pub fn truncate(thread: &mut Thread, pathname: u64, length: u64) -> Result<u64> {
    if (length as i64) < 0 {
        return Err(Errno::EINVAL);
    }
    let mut room = PathRoom::new();
    let path = own_exe(thread, room.read(pathname)?);
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    must_be_writable(thread, AT_CWD as u64, path, u64::from(O_WRONLY))?;
    must_not_run(thread, AT_CWD as u64, path, 0)?;
    let fd = open_anywhere(thread, AT_CWD as u64, path, PATH_FLAGS, 0, &mut None)?;
    let result = truncate_node(thread, fd, length);
    close(fd);
    match result {
        // What is no file of a directory, or may be leased, or must not grow that far.
        Err(Errno::EAGAIN) => truncate_opened(thread, path, length),
        other => other,
    }
}

fn truncate_node(thread: &Thread, fd: u64, length: u64) -> Result<u64> {
    let st = file::stat_of(fd)?;
    match st.st_mode & S_IFMT {
        S_IFREG => {}
        S_IFDIR => return Err(Errno::EISDIR),
        _ => return Err(Errno::EINVAL),
    }
    file::must_not_have(fd, IMMUTABLE)?;
    may_open(thread, fd, u64::from(O_WRONLY | O_TRUNC))?;
    file::must_not_have(fd, APPEND_ONLY)?;
    if length > st.st_size as u64 && length > file_size_limit() {
        return Err(Errno::EAGAIN);
    }
    if thread.process().kept.load(Relaxed) & IS_RESTRICTED != 0 {
        // The monitor's rules are not the caller's.
        return Err(Errno::EAGAIN);
    }
    let keeps = u64::from(file::has(thread, Power::KeepSetId));
    match thread.ask(Request::Truncate, &[fd, length, keeps]) {
        // Also what has a path on the host that is too long for the monitor.
        Err(Errno::EINVAL | Errno::ENAMETOOLONG) => Err(Errno::EAGAIN),
        // To be copied first.
        Err(Errno::EROFS) if has_layers() => Err(Errno::EAGAIN),
        other => other,
    }
}

/// The soft `RLIMIT_FSIZE`, beyond which the kernel sends SIGXFSZ.
fn file_size_limit() -> u64 {
    let mut limit = Limit::default();
    let to = &raw mut limit as u64;
    unsafe { syscall4(__NR_prlimit64, 0, u64::from(RLIMIT_FSIZE), 0, to) };
    limit.cur
}

fn truncate_opened(thread: &mut Thread, path: &CStr, length: u64) -> Result<u64> {
    let flags = u64::from(O_WRONLY | O_CLOEXEC | O_NONBLOCK);
    let fd = open_path(thread, AT_CWD as u64, path, flags, 0)?;
    let result = checked(unsafe { syscall2(__NR_ftruncate, fd, length) });
    close(fd);
    result
}

/// statfs(2).
pub fn statfs(thread: &mut Thread, pathname: u64, to: u64) -> Result<u64> {
    let mut room = PathRoom::new();
    let path = own_exe(thread, room.read(pathname)?);
    let mut zone = None;
    let fd = open_anywhere(thread, AT_CWD as u64, path, PATH_FLAGS, 0, &mut zone)?;
    let result = write_served(fd, text_of(&zone), to).unwrap_or_else(|| {
        checked(unsafe { syscall2(__NR_fstatfs, fd, to) })
            .and_then(|_| quota::show_limit(fd, to))
            .and_then(|()| show(thread, AT_CWD as u64, path, to))
    });
    close(fd);
    result
}

/// What statfs(2) tells of a node of the monitor's mounts, found by this zone path.
pub(super) fn write_served(fd: u64, zone: &[u8], to: u64) -> Option<Result<u64>> {
    let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
    let got = unsafe { syscall2(__NR_fstat, fd, &raw mut st as u64) };
    // A link of the monitor's may have led to a directory of the zone.
    let is_dir = st.st_mode & 0o170_000 == 0o040_000;
    if got < 0 || !is_monitors(zone) || (is_dir && st.st_mode != DIRECTORY_MODE) {
        return None;
    }
    Some(memory::write(to, &system_of(magic_of(zone))).map(|()| 0))
}

/// The type of the file system at a path that the monitor serves.
#[cold]
#[inline(never)]
fn magic_of(zone: &[u8]) -> u64 {
    const DEVPTS: u64 = 0x1cd1;
    const TMPFS: u64 = 0x0102_1994;
    let (mut tree, mut inner) = (zone, zone.strip_prefix(b"/dev/").unwrap_or(b""));
    // A tree may be mounted elsewhere, and parts of it.
    if let Some(row) = row_at(zone).filter(|row| row.is_added()) {
        let mut rows = mount_rows().iter();
        let first = rows.find(|other| other.fd == row.fd && !other.is_added());
        tree = first.map_or(tree, MountRow::prefix);
        inner = match row.sub() {
            b"" => zone.get(row.prefix().len() + 1..).unwrap_or(b""),
            sub => sub,
        };
    }
    if tree.starts_with(b"/proc") {
        PROC
    } else if inner.starts_with(b"pts") {
        DEVPTS
    } else {
        TMPFS
    }
}

/// `PROC_SUPER_MAGIC`.
pub(super) const PROC: u64 = 0x9fa0;

/// `struct statfs` of a file system that takes no room: type, block size, then nothing but the longest
/// name.
pub(super) fn system_of(magic: u64) -> [u64; 15] {
    let mut words = [0u64; 15];
    (words[0], words[1], words[8]) = (magic, 4096, 255);
    words
}
