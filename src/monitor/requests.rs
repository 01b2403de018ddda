//! The host interface: what each request of a guest does. Arguments are copied once.

use super::net::unix::Credentials;
use super::notify::{Call, Listener};
use super::served::{self, Answer, Rights};
use super::zone::Zone;
use super::{
    deep, exec, files, guests, ipc, keys, leases, lists, made, marks, mounting, processes, renewed,
    roots, running, settings, strict, watches, xattrs,
};
use crate::ids::HostPid;
use picozone_fsmap::Last;
use picozone_personality::mailbox::{
    ELSEWHERE, NetlinkKind, ONLY_NODES, RECORDED_MAX, Request, TEXT_MAX, handle, key, notice, xattr,
};
use picozone_personality::net::LEN_MAX;
use picozone_personality::tables::{DOMAIN_NAME, HOST_NAME, HOW_INVALID, HOWS_MAX, how_slot};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};

/// Serves requests until no guest is left.
pub fn serve(zone: &Arc<Zone>, listener: &Arc<Listener>) {
    let mut turn = listener.turn();
    while let Some(call) = listener.receive() {
        // What may take long leaves the next request to another thread, who has to be woken for it.
        let kept = is_brief(call.request).then_some(turn);
        serve_one(zone, listener, call);
        turn = kept.unwrap_or_else(|| listener.turn());
    }
}

/// Whether a request is a few calls of the kernel that wait for nobody, of those that programs make often.
fn is_brief(request: u64) -> bool {
    Request::from_number(request).is_some_and(|request| {
        matches!(
            request,
            Request::Chmod
                | Request::Chown
                | Request::Utimens
                | Request::Made
                | Request::Make
                | Request::Xattr
                | Request::List
                | Request::Names
                | Request::Watched
                | Request::Init
        )
    })
}

fn serve_one(zone: &Arc<Zone>, listener: &Arc<Listener>, mut call: Call) {
    call.is_client &= zone.strict.is_on();
    if zone.strict.is_on()
        && let Err(errno) = zone.strict.admit(zone, call)
    {
        listener.answer(call, Err(errno));
        return;
    }
    zone.used.note(&zone.shared, call.tid);
    if call.is_client && call.request == u64::from(Request::Forward as u32) {
        zone.counters[Request::Forward as usize].fetch_add(1, Relaxed);
        zone.strict.forward(zone, listener, call);
    } else if call.request == u64::from(Request::Raise as u32) && !zone.layers.is_empty() {
        zone.counters[Request::Raise as usize].fetch_add(1, Relaxed);
        zone.layers.defer(call);
    } else {
        let result = answer(zone, listener, call);
        listener.answer(call, result);
    }
}

fn answer(zone: &Zone, listener: &Listener, call: Call) -> Result<i64, i32> {
    let request = Request::from_number(call.request).ok_or(libc::ENOSYS)?;
    settings::settle(zone);
    zone.counters[request as usize].fetch_add(1, Relaxed);
    let shared = &zone.shared;
    let caller = HostPid(call.tid);
    // What a clerk asks about `/proc` and `/dev` is for whom it works.
    let asking = || HostPid(zone.strict.on_behalf_of(call.tid));
    let args = strict::own_args(zone, call, shared.read_args(call.tid))?;
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
            let rights = if args[3] == 1 {
                Rights::Overridden
            } else {
                Rights::Asked
            };
            match served::open(zone, asking(), &text(), flags, rights)? {
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
            let only_nodes = args[2] == ONLY_NODES;
            match served::stat(zone, asking(), &text(), last, only_nodes)? {
                Answer::Done(found) => put(&found),
                Answer::Elsewhere(path) => elsewhere(zone, call.tid, &path),
            }
        }
        Request::Readlink => match served::readlink(zone, asking(), &text())? {
            Answer::Done(target) => put(&target),
            Answer::Elsewhere(path) => elsewhere(zone, call.tid, &path),
        },
        Request::Renew => renewed::renew(zone, listener, call, args[0]),
        Request::StatOpened => put(&served::stat_opened(zone, caller, args[0])?),
        Request::FdPath => put(&files::path_of(zone, caller, args[0])?),
        Request::Above => {
            let above = deep::above(zone, caller, args[0])?;
            listener.add(call, above.as_fd(), true).map(i64::from)
        }
        Request::Exec => exec::prepare(zone, listener, call, &text(), args),
        Request::Chmod => files::chmod(zone, caller, [args[0], args[6]], args[1], args[2]),
        Request::Chown => {
            let ids = [args[1], args[2]];
            files::chown(zone, caller, [args[0], args[6]], ids, args[3])
        }
        Request::Utimens => {
            let times = [args[1], args[2], args[3], args[4]];
            files::utimens(zone, caller, [args[0], args[6]], times)
        }
        Request::Mark => {
            let users = if call.is_client {
                Some(zone.strict.users(zone, call.tid)?)
            } else {
                None
            };
            marks::set(zone, caller, args[0], [args[1], args[2]], users.as_ref())
        }
        Request::List => put(&lists::of_row(zone, args[0])?),
        Request::Made => {
            let [fd, uid, gid, mode, list, how, ..] = args;
            made::record(zone, caller, fd, [uid, gid], mode, list, how)
        }
        Request::Make => {
            let target = shared.read_bytes(call.tid, TEXT_MAX);
            let target = target.split(|&byte| byte == 0).next().unwrap_or_default();
            made::make(zone, listener, call, args, &text(), target)
        }
        Request::Running => running::must_not_run(zone, caller, args[0], args[1]),
        Request::Truncate => files::truncate(zone, caller, args[0], args[1], args[2]),
        Request::KeepSetIds => files::keep_set_ids(zone, caller, args[0]),
        Request::Bind | Request::ConnectUnix | Request::Messenger | Request::SendUnix => {
            let socket = handed(zone, call.tid, args[1])?;
            let address = address(zone, call.tid, args[0])?;
            match request {
                Request::Bind => zone.net.bind(zone, caller, &socket, &address),
                Request::ConnectUnix => zone.net.connect_unix(zone, caller, &socket, &address),
                Request::Messenger => {
                    let messenger = zone.net.messenger(zone, caller, &socket, &address)?;
                    listener.add(call, messenger.as_fd(), true).map(i64::from)
                }
                _ => {
                    let letter = handed(zone, call.tid, args[2])?;
                    zone.net
                        .send_unix(zone, caller, [&socket, &letter], &address)
                }
            }
        }
        Request::Recorded => {
            let socket = handed(zone, call.tid, args[1])?;
            let length = usize::try_from(args[3]).map_err(|_| libc::EINVAL)?;
            let value = shared.read_bytes(call.tid, length.min(RECORDED_MAX));
            let kept = zone.net.recorded(&socket, args[0], args[2], &value)?;
            if !kept.is_empty() {
                shared.tables().recorded_options.store(1, Relaxed);
            }
            put(&kept)
        }
        Request::Listens => zone.net.listens(&handed(zone, call.tid, args[1])?, args[0]),
        Request::Settle => zone
            .net
            .settle(&handed(zone, call.tid, args[2])?, args[1], args[0]),
        Request::UnixName => put(&zone.net.unix_name(&address(zone, call.tid, args[0])?)),
        Request::PeerPort => {
            let address = address(zone, call.tid, args[0])?;
            put(&zone.net.peer_port(args[1], &address)?)
        }
        Request::PeerCred => {
            let socket = handed(zone, call.tid, args[1])?;
            put(&zone.net.peer_credentials(zone, caller, &socket)?)
        }
        Request::Pose => {
            let low = |word: u64| u32::try_from(word).map_err(|_| libc::EINVAL);
            let claim = Credentials {
                pid: low(args[0])?,
                uid: low(args[3])?,
                gid: low(args[4])?,
            };
            zone.strict.must_be_own(zone, call, claim)?;
            let socket = handed(zone, call.tid, args[1])?;
            let letter = handed(zone, call.tid, args[2])?;
            zone.net.pose(zone, [&socket, &letter], claim)
        }
        Request::Posed => {
            let host = u32::try_from(args[0]).map_err(|_| libc::EINVAL)?;
            put(&zone.net.posed(host).bytes())
        }
        Request::Netlink => {
            let flags = files::low_int(args[1]);
            let wanted = u32::try_from(args[0]).map_err(|_| libc::EINVAL)?;
            let is_nonblocking = flags & libc::SOCK_NONBLOCK != 0;
            let kind = NetlinkKind::from_number(args[2]);
            let socket = zone.net.netlink_socket(wanted, is_nonblocking, kind)?;
            let is_cloexec = flags & libc::SOCK_CLOEXEC != 0;
            listener
                .add(call, socket.as_fd(), is_cloexec)
                .map(i64::from)
        }
        Request::Notice => {
            let socket = handed(zone, call.tid, args[1])?;
            match args[0] {
                notice::MAKE => {
                    let kernels = zone.net.notice(&socket)?;
                    listener.add(call, kernels.as_fd(), true).map(i64::from)
                }
                notice::FORGET => zone.net.forget_notice(&socket).map(|()| 0),
                _ => Err(libc::EINVAL),
            }
        }
        Request::Xattr => {
            let name = text();
            match args[1] {
                xattr::SET => {
                    let length = usize::try_from(args[2]).map_err(|_| libc::E2BIG)?;
                    let value = shared.read_bytes(call.tid, length);
                    xattrs::set(
                        zone,
                        caller,
                        args[0],
                        &name,
                        &value,
                        files::low_int(args[3]),
                    )
                }
                xattr::GET => put(&xattrs::get(zone, caller, args[0], &name)?),
                xattr::LIST => put(&xattrs::list(zone, caller, args[0], args[2] == 1)?),
                xattr::DROP_CAPABILITIES => xattrs::capabilities_lost(zone, caller, args[0]),
                xattr::REMOVE => xattrs::remove(zone, caller, args[0], &name),
                _ => Err(libc::EINVAL),
            }
        }
        Request::Watch => {
            let watcher = handed(zone, call.tid, args[1])?;
            watches::add(zone, caller, &watcher, args[0], files::low_int(args[2]))
        }
        Request::Handle => {
            let length = usize::try_from(args[2]).map_err(|_| libc::EINVAL)?;
            // A type, and the bytes that the kernel gives at most.
            let handle = shared.read_bytes(call.tid, length.min(4 + 128));
            match args[1] {
                handle::REMEMBER => zone.handles.remember(zone, caller, args[0], handle),
                handle::FIND => put(&zone.handles.find(&handle)?),
                _ => Err(libc::EINVAL),
            }
        }
        Request::Lease => {
            let file = handed(zone, call.tid, args[1])?;
            leases::set(zone, &file, files::low_int(args[2]))
        }
        Request::Library => zone.copies.tell(zone, caller, files::low_int(args[0])),
        Request::Refused => {
            let [nr, args @ .., _] = args;
            let nr = u32::try_from(nr).map_err(|_| libc::EINVAL)?;
            zone.refusals.note(zone, caller, nr, args);
            Ok(0)
        }
        Request::Mount => {
            let bytes = shared.read_bytes(call.tid, TEXT_MAX);
            let mut texts = bytes.split(|&byte| byte == 0);
            let mut next = || texts.next().unwrap_or_default();
            let wanted = mounting::Wanted {
                target: &text(),
                source: next(),
                fstype: next(),
                data: next(),
                flags: args[0],
                served: mounting::Served::default(),
            };
            mounting::mount(zone, caller, &wanted)
        }
        // Of zones with layers it is deferred.
        Request::Raise => Err(libc::EROFS),
        Request::Umount => mounting::umount(zone, caller, &text(), args[0]),
        Request::Detached => mounting::detached(zone, listener, call, args, &text()),
        Request::Root => roots::number(zone, caller, args[0]),
        Request::Names => Ok(zone.names.vet(zone)),
        Request::Watched => zone.names.watch(zone, args[0], &text()),
        Request::SetName => {
            let name = text();
            let length = usize::try_from(args[1]).map_err(|_| libc::EINVAL)?;
            set_name(zone, args[0], name.get(..length).unwrap_or(&name))
        }
        Request::Init if call.tid == zone.init_pid().0 => {
            zone.programs.report(args[0], args[1], args[2]);
            Ok(0)
        }
        Request::Process => processes::serve(zone, listener, call, args),
        Request::Init => Err(libc::EPERM),
        Request::Shm => ipc::serve(zone, listener, call, ipc::Kind::Shm, args),
        Request::Sem => ipc::serve(zone, listener, call, ipc::Kind::Sem, args),
        Request::Msg => ipc::serve(zone, listener, call, ipc::Kind::Msg, args),
        Request::Queue => ipc::serve_queue(zone, listener, call, args),
        Request::Key => {
            // A payload that has no room in the mailbox.
            let has_file = args[4] != 0 && matches!(args[0], key::ADD | key::UPDATE);
            let payload = has_file
                .then(|| handed(zone, call.tid, args[4]))
                .transpose()?;
            keys::serve(zone, call, args, payload.as_ref())
        }
        Request::EndWait => ipc::end_wait(zone, call, args[0]),
        Request::Enter | Request::Birth | Request::Born | Request::Forward => {
            zone.strict.serve(zone, listener, call)
        }
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
    const NO_SYMLINKS: u64 = 0x04;
    if resolve & !NO_SYMLINKS != BENEATH || mode & !0o777 != 0 || flags > u64::from(u32::MAX) {
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
        let is_same = slot.flags.load(Relaxed) == flags && slot.mode.load(Relaxed) == mode;
        if is_same && slot.resolve.load(Relaxed) == resolve {
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

/// A descriptor that a thread has handed over.
pub fn handed(zone: &Zone, tid: u32, cookie: u64) -> Result<OwnedFd, i32> {
    // Its low word is the thread.
    if cookie & 0xffff_ffff != u64::from(tid) {
        return Err(libc::EBADF);
    }
    let mut table = zone
        .handed
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    super::start::drain(zone, &mut table);
    let found = table.remove(&cookie).ok_or(libc::EBADF);
    // A guest that was killed before it asked must not keep its descriptor open here.
    table.retain(|&cookie, _| {
        // Its low word is the thread.
        i32::try_from(cookie & 0xffff_ffff)
            .is_ok_and(|tid| !guests::is_gone(HostPid(tid.cast_unsigned())))
    });
    found
}

/// Sets the zone's host name (0) or domain name.
///
/// # Errors
/// EINVAL: it is too long.
pub fn set_name(zone: &Zone, which: u64, name: &[u8]) -> Result<i64, i32> {
    /// `__NEW_UTS_LEN`.
    const NAME_MAX: usize = 64;
    if name.len() > NAME_MAX {
        return Err(libc::EINVAL);
    }
    // SAFETY: names are bytes that readers copy whole; a torn read shows a mix of two names.
    let tables = unsafe { zone.shared.tables_mut() };
    let at = if which == 0 { HOST_NAME } else { DOMAIN_NAME };
    let field = &mut tables.uname[at];
    field.fill(0);
    field
        .get_mut(..name.len())
        .ok_or(libc::EINVAL)?
        .copy_from_slice(name);
    Ok(0)
}
