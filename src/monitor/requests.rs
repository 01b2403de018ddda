//! The host interface: what each request of a guest does. Arguments are copied once.

use super::descriptors::{CWD, open_path, own_path};
use super::notify::{Call, Listener};
use super::zone::Zone;
use super::{files, special};
use crate::ids::HostPid;
use crate::loader::{self, Files, LoadError, Opened};
use picozone_fsmap::{Error as PathError, Last, Mounts, PathBuf, Tree, resolve};
use picozone_personality::mailbox::{Handover, Request};
use picozone_personality::net::LEN_MAX;
use picozone_personality::tables::{HOW_INVALID, HOWS_MAX, how_slot};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::Ordering::{Relaxed, Release};

/// Serves requests until no guest is left.
pub fn serve(zone: &Zone, listener: &Listener) {
    while let Some(call) = listener.receive() {
        let result = answer(zone, listener, call);
        listener.answer(call, result);
    }
}

fn answer(zone: &Zone, listener: &Listener, call: Call) -> Result<i64, i32> {
    let request = Request::from_number(call.request).ok_or(libc::ENOSYS)?;
    zone.counters[request as usize].fetch_add(1, Relaxed);
    let shared = &zone.shared;
    let caller = HostPid(call.tid);
    let args = shared.read_args(call.tid);
    let text = || shared.read_text(call.tid);
    let put = |bytes: &[u8]| {
        shared.write_bytes(call.tid, bytes);
        i64::try_from(bytes.len()).map_err(|_| libc::EIO)
    };
    match request {
        Request::Ping => {
            // A guest asks that way for room in the hand-over socket.
            let mut table = zone
                .handed
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            super::start::drain(zone, &mut table);
            Ok(0)
        }
        Request::How => vet(zone, args[0], args[1], args[2]),
        Request::Open => {
            let flags = args[1] as i32;
            let fd = special::open(zone, caller, &text(), flags)?;
            listener
                .add(call, fd.as_fd(), flags & libc::O_CLOEXEC != 0)
                .map(i64::from)
        }
        Request::Stat => put(&special::stat(zone, caller, &text(), args[1] & 0x100 != 0)?),
        Request::Readlink => put(&special::readlink(zone, caller, &text())?),
        Request::FdPath => put(&files::path_of(zone, caller, args[0])?),
        Request::Exec => exec(zone, listener, call, &text(), args[0] as i32),
        Request::Chmod => files::chmod(zone, caller, args[0], args[1]),
        Request::Chown => files::chown(zone, caller, args[0], args[1], args[2], args[3] == 1),
        Request::Utimens => {
            files::utimens(zone, caller, args[0], [args[1], args[2], args[3], args[4]])
        }
        Request::Bind | Request::ConnectUnix | Request::SendUnix => {
            let socket = handed(zone, args[1])?;
            let address = address(zone, call.tid, args[0])?;
            match request {
                Request::Bind => zone.net.bind(zone, caller, &socket, &address),
                Request::ConnectUnix => zone.net.connect_unix(zone, caller, &socket, &address),
                _ => {
                    let length = usize::try_from(args[2]).map_err(|_| libc::EMSGSIZE)?;
                    let datagram = shared.read_text_bytes(call.tid, length);
                    zone.net
                        .send_unix(zone, caller, &socket, &address, &datagram)
                }
            }
        }
        Request::UnixName => put(&zone.net.unix_name(&address(zone, call.tid, args[0])?)),
        Request::PeerPort => {
            let address = address(zone, call.tid, args[0])?;
            put(&zone.net.peer_port(args[1], &address)?)
        }
        Request::PeerCred => {
            let socket = handed(zone, args[1])?;
            put(&zone.net.peer_credentials(zone, caller, &socket)?)
        }
        Request::SetName => set_name(zone, args[0], args[1], &text()),
        Request::Init if call.tid == zone.init_pid().0 => {
            zone.programs.report(args[0], args[1], args[2]);
            Ok(0)
        }
        Request::Process => group_of(zone, args[0], args[1]),
        Request::Init | Request::Prune | Request::Xattr | Request::Mknod => Err(libc::EPERM),
    }
}

/// Approves a way to open: only confined ones, without set-id bits.
fn vet(zone: &Zone, flags: u64, mode: u64, resolve: u64) -> Result<i64, i32> {
    const BENEATH: u64 = 0x08 | 0x02;
    if resolve != BENEATH || mode & !0o777 != 0 || flags > u64::from(u32::MAX) {
        return Err(libc::EINVAL);
    }
    static WRITER: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _writer = WRITER
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut at = how_slot(flags, mode, resolve);
    for _ in 0..HOWS_MAX / 2 {
        let slot = &zone.shared.tables().hows[at];
        if slot.resolve.load(Relaxed) == HOW_INVALID {
            slot.flags.store(flags, Relaxed);
            slot.mode.store(mode, Relaxed);
            slot.resolve.store(resolve, Release);
            return i64::try_from(at).map_err(|_| libc::EINVAL);
        }
        if slot.flags.load(Relaxed) == flags && slot.mode.load(Relaxed) == mode {
            return i64::try_from(at).map_err(|_| libc::EINVAL);
        }
        at = (at + 1) % HOWS_MAX;
    }
    Err(libc::ENFILE)
}

/// A socket address in field `b`.
fn address(zone: &Zone, tid: u32, length: u64) -> Result<Vec<u8>, i32> {
    let length = usize::try_from(length).map_err(|_| libc::EINVAL)?;
    Ok(zone.shared.read_bytes(tid, length.min(LEN_MAX)))
}

fn handed(zone: &Zone, cookie: u64) -> Result<OwnedFd, i32> {
    let mut table = zone
        .handed
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    super::start::drain(zone, &mut table);
    table.remove(&cookie).ok_or(libc::EBADF)
}

fn set_name(zone: &Zone, which: u64, length: u64, name: &[u8]) -> Result<i64, i32> {
    let length = usize::try_from(length).map_err(|_| libc::EINVAL)?;
    let name = name.get(..length.min(name.len())).unwrap_or(name);
    // SAFETY: names are bytes that readers copy whole; a torn read shows a mix of two names.
    let tables = unsafe { zone.shared.tables_mut() };
    let field = if which == 0 {
        &mut tables.hostname
    } else {
        &mut tables.domainname
    };
    field.fill(0);
    field
        .get_mut(..name.len())
        .ok_or(libc::EINVAL)?
        .copy_from_slice(name);
    Ok(0)
}

/// getpgid and getsid of another process of the zone.
fn group_of(zone: &Zone, nr: u64, pid: u64) -> Result<i64, i32> {
    let number = u32::try_from(pid).map_err(|_| libc::ESRCH)?;
    let host = super::guests::to_host(&zone.shared, zone.init_pid(), crate::ids::ZonePid(number))
        .ok_or(libc::ESRCH)?;
    let pid = i32::try_from(host.0).map_err(|_| libc::ESRCH)?;
    // SAFETY: both take and return numbers only.
    let group = if nr == 121 {
        unsafe { libc::getpgid(pid) }
    } else {
        unsafe { libc::getsid(pid) }
    };
    let group = u32::try_from(group).map_err(|_| libc::ESRCH)?;
    super::guests::to_zone(&zone.shared, HostPid(group))
        .map(|zone| i64::from(zone.0))
        .ok_or(libc::ESRCH)
}

/// The monitor's own confined view of the zone's trees.
struct Trees<'a>(&'a Zone);

fn openat2(directory: &OwnedFd, path: &std::ffi::CStr, flags: i32) -> Result<OwnedFd, i32> {
    let how = [u64::from(flags.unsigned_abs()), 0u64, 0x08 | 0x02];
    // SAFETY: path and structure are ours.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            directory.as_raw_fd(),
            path.as_ptr(),
            how.as_ptr(),
            24,
        )
    };
    if fd < 0 {
        return Err(std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO));
    }
    let fd = i32::try_from(fd).map_err(|_| libc::EMFILE)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn path_error(errno: i32) -> PathError {
    PathError(u16::try_from(errno).unwrap_or(5))
}

impl Tree for Trees<'_> {
    type Node = OwnedFd;
    fn open_path(&mut self, mount: usize, rel: &PathBuf) -> Result<OwnedFd, PathError> {
        let mount = self.0.mounts.get(mount).ok_or(PathError::ENOENT)?;
        let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        openat2(&mount.directory, rel.as_c_str(), flags).map_err(path_error)
    }
    fn readlink(&mut self, node: &OwnedFd, to: &mut [u8]) -> Result<usize, PathError> {
        // SAFETY: the buffer is ours, of that length.
        let got = unsafe {
            libc::readlinkat(
                node.as_raw_fd(),
                c"".as_ptr(),
                to.as_mut_ptr().cast(),
                to.len(),
            )
        };
        usize::try_from(got).map_err(|_| match std::io::Error::last_os_error().raw_os_error() {
            Some(libc::ENOENT) => PathError::EINVAL,
            other => path_error(other.unwrap_or(libc::EIO)),
        })
    }
    fn is_dir(&mut self, node: &OwnedFd) -> Result<bool, PathError> {
        let file = File::from(node.try_clone().map_err(|_| path_error(libc::EMFILE))?);
        file.metadata()
            .map(|data| data.is_dir())
            .map_err(|_| path_error(libc::EIO))
    }
    fn close(&mut self, node: OwnedFd) {
        drop(node);
    }
}

/// Opens an absolute zone path; its resolved form too.
fn open_resolved(
    zone: &Zone,
    at: &[u8],
    path: &[u8],
    flags: i32,
) -> Result<(OwnedFd, Vec<u8>), i32> {
    let mut buffer = PathBuf::new();
    buffer.set(at).map_err(|error| i32::from(error.0))?;
    let mounts = Mounts(zone.rows());
    let found = resolve(&mounts, &mut Trees(zone), &mut buffer, path, Last::Follow)
        .map_err(|error| i32::from(error.0))?;
    if found.is_monitor {
        return Err(libc::EACCES);
    }
    if !found.exists {
        return Err(libc::ENOENT);
    }
    let rest = buffer.as_bytes().get(found.rel..).unwrap_or(b"");
    let name = std::ffi::CString::new(if rest.is_empty() { b"." } else { rest })
        .map_err(|_| libc::ENOENT)?;
    let mount = zone.mounts.get(found.mount).ok_or(libc::ENOENT)?;
    let fd = openat2(
        &mount.directory,
        &name,
        flags | libc::O_CLOEXEC | libc::O_NOFOLLOW,
    )?;
    Ok((fd, buffer.as_bytes().to_vec()))
}

/// Opens an absolute zone path in the zone's trees.
///
/// # Errors
/// Those of path resolution and of open(2).
pub fn open_in_zone(zone: &Zone, path: &[u8], flags: i32) -> Result<OwnedFd, i32> {
    open_resolved(zone, b"/", path, flags).map(|(fd, _)| fd)
}

/// The same from a directory of the zone.
///
/// # Errors
/// As of [`open_in_zone`].
pub fn open_at(zone: &Zone, at: &[u8], path: &[u8], flags: i32) -> Result<OwnedFd, i32> {
    open_resolved(zone, at, path, flags).map(|(fd, _)| fd)
}

/// The files of an exec, from the caller's place.
struct Executables<'a> {
    zone: &'a Zone,
    caller: HostPid,
    directory: i32,
}

impl Files for Executables<'_> {
    type File = File;

    fn open_exec(&mut self, path: &[u8]) -> Result<Opened<File>, LoadError> {
        let (fd, resolved) = if let Some(number) = own_descriptor(path) {
            let own = open_path(self.caller, number).map_err(LoadError)?;
            let host = std::fs::read_link(own_path(&own)).map_err(|_| LoadError::ENOENT)?;
            let zone_path = self
                .zone
                .to_zone_path(host.as_os_str().as_bytes())
                .unwrap_or_else(|| host.as_os_str().as_bytes().to_vec());
            let file =
                File::open(own_path(&own)).map_err(|error| LoadError(files::errno(error)))?;
            (OwnedFd::from(file), zone_path)
        } else {
            let at = if path.first() == Some(&b'/') {
                b"/".to_vec()
            } else {
                files::path_of(self.zone, self.caller, self.directory as u64).map_err(LoadError)?
            };
            open_resolved(self.zone, &at, path, libc::O_RDONLY | libc::O_NONBLOCK)
                .map_err(LoadError)?
        };
        let file = File::from(fd);
        let data = file
            .metadata()
            .map_err(|error| LoadError(files::errno(error)))?;
        if !data.is_file() || !self.may_execute(&file, data.mode()) {
            return Err(LoadError::EACCES);
        }
        let mut head = vec![0; loader::HEAD_BYTES];
        let mut length = 0;
        while length < head.len() {
            match file.read_at(&mut head[length..], length as u64) {
                Ok(0) => break,
                Ok(got) => length += got,
                Err(error) => return Err(LoadError(files::errno(error))),
            }
        }
        head.truncate(length);
        Ok(Opened {
            file,
            head,
            size: data.size(),
            path: resolved,
        })
    }

    fn read_at(&mut self, file: &File, offset: u64, buf: &mut [u8]) -> Result<usize, LoadError> {
        file.read_at(buf, offset)
            .map_err(|error| LoadError(files::errno(error)))
    }
}

impl Executables<'_> {
    fn may_execute(&self, file: &File, mode: u32) -> bool {
        let known = super::owners::identify(file)
            .ok()
            .and_then(|(id, _)| self.zone.owners.get(&self.zone.shared, id));
        known.map_or(mode, |owner| owner.mode) & 0o111 != 0
    }
}

fn own_descriptor(path: &[u8]) -> Option<i32> {
    let rest = path
        .strip_prefix(b"/proc/self/fd/")
        .or_else(|| path.strip_prefix(b"/dev/fd/"))?;
    std::str::from_utf8(rest).ok()?.parse().ok()
}

/// Prepares an exec: the plan goes to the handover area, the images to the guest.
fn exec(
    zone: &Zone,
    listener: &Listener,
    call: Call,
    path: &[u8],
    directory: i32,
) -> Result<i64, i32> {
    let caller = HostPid(call.tid);
    let name = if path.is_empty() && directory != CWD {
        format!("/dev/fd/{directory}").into_bytes()
    } else {
        path.to_vec()
    };
    let mut executables = Executables {
        zone,
        caller,
        directory,
    };
    let mut plan = loader::prepare(&mut executables, &name).map_err(|error| error.0)?;
    plan.exe.1.fd = listener.add(call, plan.exe.0.as_fd(), false)?;
    if let Some((file, image)) = &mut plan.interp {
        image.fd = listener.add(call, file.as_fd(), false)?;
    }
    // SAFETY: all zero is a valid `Handover`.
    let mut handover: Box<Handover> = Box::new(unsafe { std::mem::zeroed() });
    plan.write(&mut handover).map_err(|error| error.0)?;
    zone.shared.write_handover(call.tid, &handover);
    Ok(0)
}
