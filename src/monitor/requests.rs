//! The host interface: what each request of a guest does. Arguments are copied once.

use super::descriptors::{CWD, open_path, own_path};
use super::files;
use super::notify::{Call, Listener};
use super::paths::open_resolved;
use super::served::{self, Answer};
use super::zone::Zone;
use crate::ids::HostPid;
use crate::loader::{self, Files, LoadError, Opened};
use picozone_fsmap::{LINKS_MAX, Last};
use picozone_personality::mailbox::{ELSEWHERE, Handover, Request, TEXT_MAX};
use picozone_personality::net::LEN_MAX;
use picozone_personality::tables::{HOW_INVALID, HOWS_MAX, how_slot};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::Ordering::{Relaxed, Release};

/// Serves requests until no guest is left.
pub fn serve(zone: &Zone, listener: &Listener) {
    while let Some(call) = listener.receive() {
        zone.used.note(&zone.shared, call.tid);
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
            let flags = files::low_int(args[1]);
            match served::open(zone, caller, &text(), flags)? {
                Answer::Done(fd) => listener
                    .add(call, fd.as_fd(), flags & libc::O_CLOEXEC != 0)
                    .map(i64::from),
                Answer::Elsewhere(path) => elsewhere(zone, call.tid, &path),
            }
        }
        Request::Stat => {
            let last = if args[1] & libc::AT_SYMLINK_NOFOLLOW as u64 != 0 {
                Last::NoFollow
            } else {
                Last::Follow
            };
            match served::stat(zone, caller, &text(), last)? {
                Answer::Done(found) => put(&found),
                Answer::Elsewhere(path) => elsewhere(zone, call.tid, &path),
            }
        }
        Request::Readlink => match served::readlink(zone, caller, &text())? {
            Answer::Done(target) => put(&target),
            Answer::Elsewhere(path) => elsewhere(zone, call.tid, &path),
        },
        Request::FdPath => put(&files::path_of(zone, caller, args[0])?),
        Request::Exec => exec(zone, listener, call, &text(), files::low_int(args[0])),
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
        Request::Init => Err(libc::EPERM),
    }
}

/// Sends the guest on to another path.
fn elsewhere(zone: &Zone, tid: u32, path: &[u8]) -> Result<i64, i32> {
    if path.len() >= TEXT_MAX {
        return Err(libc::ENAMETOOLONG);
    }
    zone.shared.write_bytes(tid, path);
    i64::try_from(ELSEWHERE | path.len() as u64).map_err(|_| libc::EIO)
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
    let pid = Some(nix::unistd::Pid::from_raw(pid));
    let group = if nr == 121 {
        nix::unistd::getpgid(pid)
    } else {
        nix::unistd::getsid(pid)
    };
    let group = group.map_err(|_| libc::ESRCH)?.as_raw().cast_unsigned();
    super::guests::to_zone(&zone.shared, HostPid(group))
        .map(|zone| i64::from(zone.0))
        .ok_or(libc::ESRCH)
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
                files::path_of(
                    self.zone,
                    self.caller,
                    i64::from(self.directory).cast_unsigned(),
                )
                .map_err(LoadError)?
            };
            self.open_anywhere(at, path).map_err(LoadError)?
        };
        let file = File::from(fd);
        let data = file
            .metadata()
            .map_err(|error| LoadError(files::errno(error)))?;
        if !data.is_file() || !self.may_execute(&file, &data) {
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
    /// Opens a path, through links of the monitor's mounts too.
    fn open_anywhere(&self, at: Vec<u8>, path: &[u8]) -> Result<(OwnedFd, Vec<u8>), i32> {
        const FLAGS: i32 = libc::O_RDONLY | libc::O_NONBLOCK;
        let (mut at, mut path) = (at, path.to_vec());
        for _ in 0..=LINKS_MAX {
            let refused = match open_resolved(self.zone, &at, &path, FLAGS) {
                Err(libc::EACCES) => libc::EACCES,
                other => return other,
            };
            let served = super::paths::served(self.zone, &at, &path).ok_or(refused)?;
            match served::open(self.zone, self.caller, &served, FLAGS)? {
                Answer::Elsewhere(next) => (at, path) = (b"/".to_vec(), next),
                Answer::Done(fd) => {
                    let host = std::fs::read_link(own_path(&fd)).map_err(files::errno)?;
                    let zone_path = self.zone.to_zone_path(host.as_os_str().as_bytes());
                    return Ok((fd, zone_path.unwrap_or(served)));
                }
            }
        }
        Err(libc::ELOOP)
    }

    fn may_execute(&self, file: &File, data: &std::fs::Metadata) -> bool {
        let shared = &self.zone.shared;
        if !shared.tables().may_have_owner(data.dev(), data.ino()) {
            return data.mode() & 0o111 != 0;
        }
        let known = super::owners::identify(file)
            .ok()
            .and_then(|(id, _)| self.zone.owners.get(shared, id));
        known.map_or(data.mode(), |owner| owner.mode) & 0o111 != 0
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
    // As the kernel does: of a script, the script's own name.
    let comm = name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let room = handover.comm.len() - 1;
    for (to, from) in handover.comm.iter_mut().take(room).zip(comm) {
        *to = *from;
    }
    zone.shared.write_handover(call.tid, &handover);
    Ok(0)
}
