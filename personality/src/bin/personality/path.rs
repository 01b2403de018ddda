//! Paths: confined opens in the process, and changes of the name space.
//!
//! Every open is `openat2(descriptor, rest, how)` with an approved `how` that confines the walk
//! beneath the descriptor. What the kernel cannot finish there (EXDEV: a mount point, an absolute
//! link, a `..` over the top; EAGAIN: a rename on the host during a walk with `..`) is resolved
//! component by component, each step confined in the same way.

use crate::arch::{syscall1, syscall2, syscall3, syscall4, syscall5};
use crate::dispatch::checked;
use crate::memory::{self, PathRoom};
use crate::monitor::tables;
use crate::thread::Thread;
use crate::{Errno, Result, file};
use core::ffi::CStr;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use picozone_fsmap::{Error, Last, MountRow, Mounts, PathBuf, Resolved, Tree, resolve};
use picozone_personality::layout::FD_BASE;
use picozone_personality::mailbox::Request;
use picozone_personality::tables::{HOWS_MAX, how_slot};

const BENEATH: u64 = (RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS) as u64;
const PATH_FLAGS: u64 = (O_PATH | O_CLOEXEC) as u64;
const NOFOLLOW: u64 = O_NOFOLLOW as u64;
const AT_CWD: i32 = AT_FDCWD;
/// How often a resolved path is tried again when the tree changes meanwhile.
const TRIES: usize = 8;

/// The zone's mounts.
pub fn mount_rows() -> &'static [MountRow] {
    tables()
        .mounts
        .get(..tables().mount_count as usize)
        .unwrap_or(&[])
}

fn mounts() -> Mounts<'static> {
    Mounts(mount_rows())
}

/// The approved way to open, vetted by the monitor where it is new.
fn how(thread: &Thread, flags: u64, mode: u64) -> Result<u64> {
    for _ in 0..2 {
        let mut at = how_slot(flags, mode, BENEATH);
        for _ in 0..HOWS_MAX {
            let slot = &tables().hows[at];
            let resolve = slot.resolve.load(Relaxed);
            if resolve != BENEATH {
                break;
            }
            if slot.flags.load(Relaxed) == flags && slot.mode.load(Relaxed) == mode {
                return Ok(core::ptr::from_ref(slot) as u64);
            }
            at = (at + 1) % HOWS_MAX;
        }
        thread.ask(Request::How, &[flags, mode, BENEATH])?;
    }
    Err(Errno::ENFILE)
}

fn openat2_raw(dirfd: u64, path: u64, how: u64) -> Result<u64> {
    checked(unsafe { syscall4(__NR_openat2, dirfd, path, how, 24) })
}

/// Opens `rest` beneath a mount. Apart, so that the fast way has no buffer on its stack.
#[cold]
#[inline(never)]
fn open_in_mount(mount: usize, rest: &[u8], how: u64) -> Result<u64> {
    let row = mount_rows().get(mount).ok_or(Errno::ENOENT)?;
    let mut path = PathBuf::new();
    mounts()
        .beneath(mount, rest, &mut path)
        .map_err(from_error)?;
    openat2_raw(row.fd as u64, path.as_c_str().as_ptr() as u64, how)
}

fn from_error(error: Error) -> Errno {
    Errno::from_raw(error.0)
}

/// The kernel as fsmap's tree: each step is confined beneath a mount.
struct Kernel<'a>(&'a Thread);

impl Tree for Kernel<'_> {
    type Node = u64;
    fn open_path(&mut self, mount: usize, rel: &PathBuf) -> core::result::Result<u64, Error> {
        let how = how(self.0, PATH_FLAGS | NOFOLLOW, 0).map_err(to_error)?;
        let fd = mount_rows().get(mount).ok_or(Error::ENOENT)?.fd as u64;
        for _ in 0..TRIES {
            match openat2_raw(fd, rel.as_c_str().as_ptr() as u64, how) {
                Err(Errno::EAGAIN) => {}
                other => return other.map_err(to_error),
            }
        }
        Err(Error::ENOENT)
    }
    fn readlink(&mut self, node: &u64, to: &mut [u8]) -> core::result::Result<usize, Error> {
        let empty = tables().empty.as_ptr() as u64;
        let got = unsafe {
            syscall4(
                __NR_readlinkat,
                *node,
                empty,
                to.as_mut_ptr() as u64,
                to.len() as u64,
            )
        };
        match checked(got) {
            Ok(length) => Ok(length as usize),
            // readlinkat answers ENOENT for an empty name on what is no link.
            Err(Errno::ENOENT) => Err(Error::EINVAL),
            Err(errno) => Err(to_error(errno)),
        }
    }
    fn is_dir(&mut self, node: &u64) -> core::result::Result<bool, Error> {
        let st = file::stat_of(*node).map_err(to_error)?;
        Ok(st.st_mode & 0o170_000 == 0o040_000)
    }
    fn close(&mut self, node: u64) {
        close(node);
    }
}

fn to_error(errno: Errno) -> Error {
    Error(errno.to_ret().unsigned_abs() as u16)
}

fn close(fd: u64) {
    unsafe { syscall1(__NR_close, fd) };
}

/// The zone path of a directory descriptor; relative walks over mounts begin there.
fn zone_path_of(thread: &Thread, dirfd: u64, to: &mut PathBuf) -> Result<()> {
    if dirfd as i32 == AT_CWD {
        let mut host = [0u8; 4096];
        let length =
            checked(unsafe { syscall2(__NR_getcwd, host.as_mut_ptr() as u64, 4096) })? as usize;
        let host = host.get(..length.saturating_sub(1)).unwrap_or(b"");
        return if mounts().to_zone(host, to) {
            Ok(())
        } else {
            Err(Errno::ENOENT)
        };
    }
    let length = thread.ask(Request::FdPath, &[dirfd])? as usize;
    let text = thread.mailbox().b.get(..length).ok_or(Errno::EIO)?;
    to.set(text).map_err(from_error)?;
    Ok(())
}

/// `/proc/self/exe` names the guest's program, not ours.
pub fn own_exe<'p>(thread: &Thread, path: &'p CStr) -> &'p CStr {
    if path.to_bytes() == b"/proc/self/exe"
        && let Ok(exe) = CStr::from_bytes_until_nul(&thread.process().exe)
    {
        return exe;
    }
    path
}

/// Opens what [`Mounts::find`] left of `path` beneath the mount. No copy where the kernel can be
/// given the guest's text itself: an alias mostly stands for a link by the same name.
fn open_found(path: &CStr, mount: usize, rest: &[u8], how: u64) -> Result<u64> {
    let row = mount_rows().get(mount).ok_or(Errno::ENOENT)?;
    let text = path.to_bytes();
    let before = text.len() - rest.len();
    let sub = row.sub();
    if !rest.is_empty() {
        let front = text
            .get(..before)
            .and_then(|front| front.strip_suffix(b"/"));
        if sub.is_empty() {
            return openat2_raw(row.fd as u64, rest.as_ptr() as u64, how);
        }
        if front.is_some_and(|front| front.strip_suffix(sub).is_some_and(|more| more == b"/")) {
            let start = before - 1 - sub.len();
            let name = text.get(start..).unwrap_or(rest);
            return openat2_raw(row.fd as u64, name.as_ptr() as u64, how);
        }
    }
    open_in_mount(mount, rest, how)
}

/// Where a path leads that the kernel could not finish.
fn walk(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    last: Last,
    at: &mut PathBuf,
) -> Result<Resolved> {
    if path.to_bytes().first() == Some(&b'/') {
        at.set(b"/").map_err(from_error)?;
    } else {
        zone_path_of(thread, dirfd, at)?;
    }
    resolve(&mounts(), &mut Kernel(thread), at, path.to_bytes(), last).map_err(from_error)
}

/// The result of an open.
enum Opened {
    Descriptor(u64),
    /// The monitor's: the resolved zone path is the text of the next request.
    Monitor,
}

#[inline]
fn open_confined(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    flags: u64,
    mode: u64,
) -> Result<Opened> {
    let how = how(thread, flags, mode)?;
    let text = path.to_bytes();
    let first = if text.first() == Some(&b'/') {
        let (mount, rest) = mounts().find(text);
        let row = mount_rows().get(mount).ok_or(Errno::ENOENT)?;
        if row.is_monitor() {
            Err(Errno::EXDEV)
        } else {
            open_found(path, mount, rest, how)
        }
    } else {
        openat2_raw(dirfd, path.as_ptr() as u64, how)
    };
    match first {
        Err(Errno::EXDEV | Errno::EAGAIN) => {}
        // Not followed: perhaps it is a mount point's placeholder.
        Err(Errno::ELOOP | Errno::ENOTDIR) if flags & NOFOLLOW != 0 => {}
        Ok(fd)
            if flags & (NOFOLLOW | u64::from(O_PATH)) == NOFOLLOW | u64::from(O_PATH)
                && is_placeholder(fd) =>
        {
            close(fd)
        }
        other => return other.map(Opened::Descriptor),
    }
    open_walked(thread, dirfd, path, (flags, mode))
}

/// The long way: component by component.
#[cold]
#[inline(never)]
fn open_walked(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    (flags, mode): (u64, u64),
) -> Result<Opened> {
    let exclusive = u64::from(O_CREAT | O_EXCL);
    let last = if flags & NOFOLLOW != 0 || flags & exclusive == exclusive {
        Last::NoFollow
    } else {
        Last::Follow
    };
    let mut at = PathBuf::new();
    for _ in 0..TRIES {
        at.truncate(0);
        let found = walk(thread, dirfd, path, last, &mut at)?;
        if found.is_monitor {
            thread.put_text(at.as_bytes())?;
            return Ok(Opened::Monitor);
        }
        if !found.exists && flags & u64::from(O_CREAT) == 0 {
            return Err(Errno::ENOENT);
        }
        let rest = at.as_bytes().get(found.rel..).unwrap_or(b"");
        let directory = if found.must_be_dir && flags & u64::from(O_CREAT) == 0 {
            u64::from(O_DIRECTORY)
        } else {
            0
        };
        let how = how(thread, flags | directory, mode)?;
        match open_in_mount(found.mount, rest, how) {
            Err(Errno::EXDEV | Errno::EAGAIN) => {}
            other => return other.map(Opened::Descriptor),
        }
    }
    Err(Errno::ENOENT)
}

fn is_placeholder(fd: u64) -> bool {
    let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
    if unsafe { syscall2(__NR_fstat, fd, &raw mut st as u64) } < 0
        || st.st_mode & 0o170_000 != 0o120_000
    {
        return false;
    }
    mounts().is_placeholder(st.st_dev, st.st_ino).is_some()
}

/// An `O_PATH` descriptor of what a path names, or the monitor's path.
pub enum Reach {
    Node(u64),
    /// The path is the text of the next request.
    Monitor,
}

/// Reaches a path for a call on its attributes.
pub fn reach(thread: &Thread, dirfd: u64, path: &CStr, is_nofollow: bool) -> Result<Reach> {
    let flags = PATH_FLAGS | if is_nofollow { NOFOLLOW } else { 0 };
    let path = if is_nofollow {
        path
    } else {
        own_exe(thread, path)
    };
    Ok(match open_confined(thread, dirfd, path, flags, 0)? {
        Opened::Descriptor(fd) => Reach::Node(fd),
        Opened::Monitor => Reach::Monitor,
    })
}

/// What the kernel's openat ignores must not reach openat2, which refuses it.
fn normal_flags(flags: u64, mode: u64) -> (u64, u64) {
    const KNOWN: u64 = 0o37_777_703 | O_PATH as u64 | 0o20_200_000;
    let mut flags = (flags & 0xffff_ffff & KNOWN) | u64::from(O_LARGEFILE);
    if flags & u64::from(O_PATH) != 0 {
        flags &= u64::from(O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    let makes =
        flags & u64::from(O_CREAT) != 0 || flags & u64::from(O_TMPFILE) == u64::from(O_TMPFILE);
    (flags, if makes { mode & 0o777 } else { 0 })
}

/// open(2), openat(2), creat(2).
pub fn open(thread: &mut Thread, dirfd: u64, pathname: u64, flags: u64, mode: u64) -> Result<u64> {
    let mut room = PathRoom::new();
    let guest = room.read(pathname)?;
    if guest.is_empty() {
        return Err(Errno::ENOENT);
    }
    let path = own_exe(thread, guest);
    let (flags, mode) = normal_flags(flags, mode);
    // A file of a user who is not root: learn whether this call makes it.
    let is_root = thread.credentials.uid[3] == 0 && thread.credentials.gid[3] == 0;
    let makes = flags & u64::from(O_CREAT) != 0 && !is_root;
    // Nothing is cut before the zone's own rules have allowed to write.
    let asked = match (makes, is_root) {
        (true, _) => flags & !u64::from(O_CREAT | O_TRUNC | O_EXCL),
        (false, true) => flags,
        (false, false) => flags & !u64::from(O_TRUNC),
    };
    let mut made = false;
    let opened = match open_confined(thread, dirfd, path, asked, if makes { 0 } else { mode }) {
        Ok(Opened::Descriptor(fd)) if makes && flags & u64::from(O_EXCL) != 0 => {
            close(fd);
            return Err(Errno::EEXIST);
        }
        Ok(Opened::Descriptor(fd)) if !is_root => {
            if let Err(errno) = may_open(thread, fd, flags) {
                close(fd);
                return Err(errno);
            }
            if flags & u64::from(O_TRUNC) != 0 && flags & 3 != 0 {
                unsafe { syscall2(__NR_ftruncate, fd, 0) };
            }
            Opened::Descriptor(fd)
        }
        Err(Errno::ENOENT) if makes => {
            made = true;
            let parent = parent(thread, dirfd, path)?;
            may_change(thread, parent.fd)?;
            open_confined(thread, dirfd, path, flags, mode)?
        }
        other => other?,
    };
    match opened {
        Opened::Descriptor(fd) => {
            if made {
                file::own_new(thread, fd);
            }
            Ok(fd)
        }
        Opened::Monitor => thread.ask(Request::Open, &[AT_CWD as u64, flags, mode]),
    }
}

/// openat2(2): the guest's own resolve flags are not supported yet, plain opens are.
pub fn openat2(thread: &mut Thread, dirfd: u64, pathname: u64, how: u64, size: u64) -> Result<u64> {
    if size < 24 {
        return Err(Errno::EINVAL);
    }
    let [flags, mode, resolve] = memory::read::<[u64; 3]>(how)?;
    if resolve != 0 {
        return Err(Errno::ENOSYS);
    }
    open(thread, dirfd, pathname, flags, mode)
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
    let fd = match open_confined(thread, AT_CWD as u64, path, flags, 0)? {
        Opened::Descriptor(fd) => fd,
        Opened::Monitor => thread.ask(Request::Open, &[AT_CWD as u64, flags, 0])?,
    };
    let result = file::stat_of(fd).and_then(|st| {
        if file::permits(thread, thread.credentials.uid[3], &st, 1) {
            checked(unsafe { syscall1(__NR_fchdir, fd) })
        } else {
            Err(Errno::EACCES)
        }
    });
    close(fd);
    result
}

/// getcwd(2).
pub fn getcwd(thread: &Thread, to: u64, size: u64) -> Result<u64> {
    let mut zone = PathBuf::new();
    zone_path_of(thread, AT_CWD as u64, &mut zone)?;
    let text = zone.as_bytes();
    let text = if text.is_empty() { b"/" } else { text };
    if (text.len() as u64) >= size {
        return Err(Errno::ERANGE);
    }
    memory::write_bytes(to, text)?;
    memory::write(to + text.len() as u64, &0u8)?;
    Ok(text.len() as u64 + 1)
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
    if path.to_bytes() == b"/proc/self/exe" {
        let exe = &process.exe[..process.exe_len as usize];
        let n = exe.len().min(size);
        memory::write_bytes(to, &exe[..n])?;
        return Ok(n as u64);
    }
    let empty = tables().empty.as_ptr() as u64;
    let read = |fd: u64| {
        let mut buffer = [0u8; 4096];
        let got = match checked(unsafe {
            syscall4(__NR_readlinkat, fd, empty, buffer.as_mut_ptr() as u64, 4096)
        }) {
            Err(Errno::ENOENT) => Err(Errno::EINVAL),
            other => other,
        }? as usize;
        let n = got.min(size);
        memory::write_bytes(to, &buffer[..n])?;
        Ok(n as u64)
    };
    if path.is_empty() {
        return if dirfd as i32 == AT_CWD {
            Err(Errno::ENOENT)
        } else {
            read(dirfd)
        };
    }
    match reach(thread, dirfd, path, true)? {
        Reach::Node(fd) => {
            let result = read(fd);
            close(fd);
            result
        }
        Reach::Monitor => {
            let got = thread.ask(Request::Readlink, &[AT_CWD as u64])? as usize;
            let n = got.min(size);
            memory::write_bytes(to, thread.mailbox().b.get(..n).ok_or(Errno::EIO)?)?;
            Ok(n as u64)
        }
    }
}

/// The parent directory of a path, and the last name.
struct Parent {
    fd: u64,
    is_ours: bool,
    /// The last component; with its slashes behind it where the kernel is to judge them.
    name: [u8; 260],
}

impl Drop for Parent {
    fn drop(&mut self) {
        if self.is_ours {
            close(self.fd);
        }
    }
}

impl Parent {
    fn name(&self) -> u64 {
        self.name.as_ptr() as u64
    }
}

fn parent(thread: &Thread, dirfd: u64, path: &CStr) -> Result<Parent> {
    let bytes = path.to_bytes();
    if bytes.is_empty() {
        return Err(Errno::ENOENT);
    }
    let end = bytes.iter().rposition(|&b| b != b'/').map_or(0, |i| i + 1);
    if end == 0 {
        return Err(Errno::EBUSY);
    }
    let start = bytes[..end]
        .iter()
        .rposition(|&b| b == b'/')
        .map_or(0, |i| i + 1);
    let last = &bytes[start..end];
    if last.len() > 255 {
        return Err(Errno::ENAMETOOLONG);
    }
    if bytes[0] == b'/' && mounts().is_held(&bytes[..end]) {
        return Err(Errno::EBUSY);
    }
    let mut name = [0u8; 260];
    name[..last.len()].copy_from_slice(last);
    if end < bytes.len() {
        name[last.len()] = b'/';
    }
    if start == 0 {
        return Ok(Parent {
            fd: dirfd,
            is_ours: false,
            name,
        });
    }
    let mut room = PathRoom::new();
    let directory = room.set(&bytes[..start])?;
    match open_confined(
        thread,
        dirfd,
        directory,
        PATH_FLAGS | u64::from(O_DIRECTORY),
        0,
    )? {
        Opened::Descriptor(fd) => Ok(Parent {
            fd,
            is_ours: true,
            name,
        }),
        Opened::Monitor => Err(Errno::EACCES),
    }
}

/// Whether the thread may have a file open in this way, by the zone's own users.
fn may_open(thread: &Thread, fd: u64, flags: u64) -> Result<()> {
    let uid = thread.credentials.uid[3];
    if uid == 0 || flags & u64::from(O_PATH) != 0 {
        return Ok(());
    }
    let reads_or_writes = match flags & 3 {
        0 => 4,
        1 => 2,
        _ => 6,
    };
    let cuts = if flags & u64::from(O_TRUNC) != 0 {
        2
    } else {
        0
    };
    if file::permits(thread, uid, &file::stat_of(fd)?, reads_or_writes | cuts) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

/// Whether the thread may change entries of a directory, by the zone's own users.
fn may_change(thread: &Thread, directory: u64) -> Result<()> {
    if thread.credentials.uid[3] == 0 {
        return Ok(());
    }
    may_change_as_user(thread, directory, None)
}

/// As [`may_change`], for an entry that is to go: from a sticky directory only its owner and the
/// directory's take it.
fn may_remove(thread: &Thread, parent: &Parent) -> Result<()> {
    if thread.credentials.uid[3] == 0 {
        return Ok(());
    }
    may_change_as_user(thread, parent.fd, Some(parent))
}

#[cold]
fn may_change_as_user(thread: &Thread, directory: u64, goes: Option<&Parent>) -> Result<()> {
    const STICKY: u32 = 0o1000;
    let uid = thread.credentials.uid[3];
    let st = if directory as i32 == AT_CWD {
        let flags = PATH_FLAGS | u64::from(O_DIRECTORY);
        match open_confined(thread, directory, c".", flags, 0)? {
            Opened::Descriptor(fd) => {
                let st = file::stat_of(fd);
                close(fd);
                st?
            }
            Opened::Monitor => return Err(Errno::EACCES),
        }
    } else {
        file::stat_of(directory)?
    };
    if !file::permits(thread, uid, &st, 3) {
        return Err(Errno::EACCES);
    }
    if let Some(parent) = goes
        && st.st_mode & STICKY != 0
        && st.st_uid != uid
    {
        let name = CStr::from_bytes_until_nul(&parent.name).map_err(|_| Errno::ENAMETOOLONG)?;
        // What is not there, or is no zone's file, the call itself judges.
        if let Ok(Opened::Descriptor(fd)) =
            open_confined(thread, directory, name, PATH_FLAGS | NOFOLLOW, 0)
        {
            let st = file::stat_of(fd);
            close(fd);
            if st?.st_uid != uid {
                return Err(Errno::EPERM);
            }
        }
    }
    Ok(())
}

/// mkdir and mknod with their `at` forms.
pub fn make(
    thread: &mut Thread,
    nr: u32,
    dirfd: u64,
    pathname: u64,
    mode: u64,
    device: u64,
) -> Result<u64> {
    let mut room = PathRoom::new();
    let parent = parent(thread, dirfd, room.read(pathname)?)?;
    may_change(thread, parent.fd)?;
    let result = if nr == __NR_mkdirat {
        checked(unsafe { syscall3(nr, parent.fd, parent.name(), mode & 0o1777) })
    } else {
        match mode & 0o170_000 {
            0 | 0o100_000 | 0o010_000 | 0o140_000 => {
                checked(unsafe { syscall4(nr, parent.fd, parent.name(), mode & !0o6000, 0) })
            }
            0o020_000 | 0o060_000 if thread.credentials.is_root() => {
                let _ = device;
                Err(Errno::EPERM)
            }
            0o020_000 | 0o060_000 => Err(Errno::EPERM),
            _ => Err(Errno::EINVAL),
        }
    }?;
    if thread.credentials.uid[3] != 0 || thread.credentials.gid[3] != 0 {
        let flags = PATH_FLAGS | NOFOLLOW;
        if let Ok(fd) =
            how(thread, flags, 0).and_then(|how| openat2_raw(parent.fd, parent.name(), how))
        {
            file::own_new(thread, fd);
            close(fd);
        }
    }
    Ok(result)
}

/// unlink(2), rmdir(2), unlinkat(2).
pub fn unlink(thread: &mut Thread, dirfd: u64, pathname: u64, flags: u64) -> Result<u64> {
    let mut room = PathRoom::new();
    let parent = parent(thread, dirfd, room.read(pathname)?)?;
    may_remove(thread, &parent)?;
    checked(unsafe { syscall3(__NR_unlinkat, parent.fd, parent.name(), flags) })
}

/// rename(2), renameat(2), renameat2(2).
pub fn rename(
    thread: &mut Thread,
    from_dir: u64,
    from: u64,
    to_dir: u64,
    to: u64,
    flags: u64,
) -> Result<u64> {
    let mut room = PathRoom::new();
    let from = parent(thread, from_dir, room.read(from)?)?;
    let to = parent(thread, to_dir, room.read(to)?)?;
    may_remove(thread, &from)?;
    may_remove(thread, &to)?;
    checked(unsafe {
        syscall5(
            __NR_renameat2,
            from.fd,
            from.name(),
            to.fd,
            to.name(),
            flags,
        )
    })
}

/// link(2), linkat(2).
pub fn link(
    thread: &mut Thread,
    from_dir: u64,
    from: u64,
    to_dir: u64,
    to: u64,
    flags: u64,
) -> Result<u64> {
    let (mut room, mut other) = (PathRoom::new(), PathRoom::new());
    let path = room.read(from)?;
    let to = parent(thread, to_dir, other.read(to)?)?;
    may_change(thread, to.fd)?;
    let by_descriptor = if path.is_empty() && flags & u64::from(AT_EMPTY_PATH) != 0 {
        Some(from_dir)
    } else {
        own_descriptor(path)
    };
    if let Some(fd) = by_descriptor {
        let empty = tables().empty.as_ptr() as u64;
        return checked(unsafe {
            syscall5(
                __NR_linkat,
                fd,
                empty,
                to.fd,
                to.name(),
                u64::from(AT_EMPTY_PATH),
            )
        });
    }
    if flags & u64::from(AT_SYMLINK_FOLLOW) != 0 {
        let mut at = PathBuf::new();
        let found = walk(thread, from_dir, path, Last::Follow, &mut at)?;
        if found.is_monitor {
            return Err(Errno::EXDEV);
        }
        let from = parent(thread, AT_CWD as u64, at.as_c_str())?;
        return checked(unsafe {
            syscall5(__NR_linkat, from.fd, from.name(), to.fd, to.name(), 0)
        });
    }
    let from = parent(thread, from_dir, path)?;
    checked(unsafe { syscall5(__NR_linkat, from.fd, from.name(), to.fd, to.name(), 0) })
}

/// `/proc/self/fd/N`, by which libc links an `O_TMPFILE` and changes the mode of an `O_PATH`.
pub fn own_descriptor(path: &CStr) -> Option<u64> {
    let digits = path.to_bytes().strip_prefix(b"/proc/self/fd/")?;
    if digits.is_empty() {
        return None;
    }
    let mut fd = 0u64;
    for &digit in digits {
        fd = fd
            .checked_mul(10)?
            .checked_add(u64::from(digit.wrapping_sub(b'0')))
            .filter(|_| digit.is_ascii_digit())?;
    }
    (fd < u64::from(FD_BASE)).then_some(fd)
}

/// symlink(2), symlinkat(2).
pub fn symlink(thread: &mut Thread, target: u64, dirfd: u64, pathname: u64) -> Result<u64> {
    let (mut room, mut other) = (PathRoom::new(), PathRoom::new());
    let target = room.read(target)?;
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    let parent = parent(thread, dirfd, other.read(pathname)?)?;
    may_change(thread, parent.fd)?;
    checked(unsafe {
        syscall3(
            __NR_symlinkat,
            target.as_ptr() as u64,
            parent.fd,
            parent.name(),
        )
    })
}

/// truncate(2).
pub fn truncate(thread: &mut Thread, pathname: u64, length: u64) -> Result<u64> {
    let fd = open(
        thread,
        AT_CWD as u64,
        pathname,
        u64::from(O_WRONLY | O_CLOEXEC | O_NONBLOCK),
        0,
    )?;
    let result = checked(unsafe { syscall2(__NR_ftruncate, fd, length) });
    close(fd);
    result
}

/// statfs(2).
pub fn statfs(thread: &mut Thread, pathname: u64, to: u64) -> Result<u64> {
    let mut room = PathRoom::new();
    let path = room.read(pathname)?;
    match reach(thread, AT_CWD as u64, path, false)? {
        Reach::Node(fd) => {
            let result = checked(unsafe { syscall2(__NR_fstatfs, fd, to) });
            close(fd);
            result
        }
        Reach::Monitor => {
            // struct statfs of proc: type, block size, then nothing.
            let mut words = [0u64; 15];
            words[0] = 0x9fa0;
            words[1] = 4096;
            words[8] = 255;
            memory::write(to, &words)?;
            Ok(0)
        }
    }
}
