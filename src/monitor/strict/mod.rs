//! The strict profile: users of a zone are kept apart from one another whatever a guest does.
//!
//! Processes of the zone's root are trusted with all of the zone, as natively. Every other process is a
//! *client* ([`picozone_personality::clients`]). Here is known who is one, by what no client can change: its
//! filter makes it say so with every request ([`Call::is_client`]), and its mailboxes and its entry of the
//! commons are the monitor's to give. What it wants of names, users and other processes is done by
//! [`clerks`], with the users that its entry says.

mod births;
mod clerks;
mod executions;
mod jobs;

use super::descriptors::pair;
use super::guests;
use super::net::unix;
use super::notify::{Call, Listener};
use super::procfs::{Credentials, View, leader_of};
use super::zone::Zone;
use crate::ids::{HostPid, ZonePid};
use births::Births;
use clerks::Clerks;
use executions::Executions;
pub use executions::Images;
use hashbrown::HashMap;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::SockType;
use picozone_personality::capabilities::Power;
use picozone_personality::clients::enter;
use picozone_personality::layout::{COMMONS_SIZE, FD_BOXES, FD_COMMONS, FD_NAMES};
use picozone_personality::mailbox::{Handover, Request};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a client may ask for itself; all else its clerk does.
const OWN: &[Request] = &[
    Request::Ping,
    Request::FdPath,
    Request::StatOpened,
    Request::Renew,
    Request::Exec,
    Request::Bind,
    Request::ConnectUnix,
    Request::UnixName,
    Request::PeerPort,
    Request::Process,
    Request::PeerCred,
    Request::SendUnix,
    Request::Pose,
    Request::Posed,
    Request::Shm,
    Request::Sem,
    Request::Msg,
    Request::EndWait,
    Request::Netlink,
    Request::Queue,
    Request::Library,
    Request::Refused,
    Request::Messenger,
    Request::Recorded,
    Request::Listens,
    Request::Settle,
    Request::Mark,
    Request::Key,
    Request::Notice,
    Request::Enter,
    Request::Birth,
    Request::Born,
    Request::Forward,
];

/// How many processes are looked through for those that ended.
const SWEEP_AFTER: usize = 64;

/// The mailboxes of one client's process.
pub struct Boxes(OwnedFd);

impl Boxes {
    /// The file, laid out as the commons' is.
    #[must_use]
    pub fn file(&self) -> &OwnedFd {
        &self.0
    }
}

/// What belongs to one process.
#[derive(Clone)]
struct Client {
    boxes: Arc<Boxes>,
    /// Our end of its socket for descriptors that only name a file.
    names: Arc<OwnedFd>,
}

/// The clients of a zone.
pub struct Strict {
    /// The commons, opened read-only; none in a zone of the standard profile.
    commons: Option<OwnedFd>,
    /// By host pid.
    clients: Mutex<HashMap<u32, Client>>,
    /// Host pids of threads' processes.
    leaders: Mutex<HashMap<u32, u32>>,
    births: Births,
    executions: Executions,
    clerks: Clerks,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Strict {
    /// `commons` is what clients map; none where the zone has no such profile.
    #[must_use]
    pub fn new(commons: Option<OwnedFd>) -> Strict {
        Strict {
            commons,
            clients: Mutex::default(),
            leaders: Mutex::default(),
            births: Births::default(),
            executions: Executions::default(),
            clerks: Clerks::new(),
        }
    }

    /// Whether the zone has the profile.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.commons.is_some()
    }

    /// Whether a request is to be served: of a client only those that are its own to make, by a thread
    /// that is known.
    ///
    /// # Errors
    /// EPERM.
    pub fn admit(&self, zone: &Zone, call: Call) -> Result<(), i32> {
        if !call.is_client {
            // The number may have been a client's.
            if lock(&self.leaders).remove(&call.tid).is_some() {
                zone.shared.leave_boxes(call.tid);
            }
            return Ok(());
        }
        let request = Request::from_number(call.request).ok_or(libc::ENOSYS)?;
        let is_known = || lock(&self.leaders).contains_key(&call.tid);
        if OWN.contains(&request) && (request == Request::Enter || is_known()) {
            Ok(())
        } else {
            Err(libc::EPERM)
        }
    }

    /// Host pid of the process of a client's thread.
    fn leader(&self, tid: u32) -> Option<HostPid> {
        lock(&self.leaders).get(&tid).copied().map(HostPid)
    }

    /// Number of the process of a client's thread.
    fn process(&self, zone: &Zone, tid: u32) -> Result<ZonePid, i32> {
        let leader = self.leader(tid).ok_or(libc::EPERM)?;
        zone.to_zone(leader).ok_or(libc::ESRCH)
    }

    /// The users of a client's thread, as its entry has them.
    ///
    /// # Errors
    /// EPERM, ESRCH: it has none.
    pub fn users(&self, zone: &Zone, tid: u32) -> Result<Credentials, i32> {
        self.process(zone, tid)
            .map(|process| zone.credentials(process))
    }

    /// Whether a caller may send credentials, as unix(7) has it; who is no client, its personality has
    /// asked.
    ///
    /// # Errors
    /// EPERM.
    pub fn must_be_own(
        &self,
        zone: &Zone,
        call: Call,
        claim: unix::Credentials,
    ) -> Result<(), i32> {
        if !call.is_client {
            return Ok(());
        }
        let process = self.process(zone, call.tid)?;
        let users = zone.credentials(process);
        let has = |power| users.capabilities.has(power);
        let may = (claim.pid == process.0 || has(Power::Administer))
            && (users.uid[..3].contains(&claim.uid) || has(Power::SetUid))
            && (users.gid[..3].contains(&claim.gid) || has(Power::SetGid));
        if may { Ok(()) } else { Err(libc::EPERM) }
    }

    /// The thread that a clerk works for; itself, if it is none.
    #[must_use]
    pub fn on_behalf_of(&self, tid: u32) -> u32 {
        self.clerks.client_of(tid).unwrap_or(tid)
    }

    /// Serves what only this profile has.
    ///
    /// # Errors
    /// EPERM for what is not so; out of memory or descriptors.
    pub fn serve(&self, zone: &Zone, listener: &Listener, call: Call) -> Result<i64, i32> {
        let args = zone.shared.read_args(call.tid);
        match Request::from_number(call.request) {
            Some(Request::Enter) => self.enter(zone, listener, call),
            Some(Request::Birth) => {
                let parent = self.process(zone, call.tid)?;
                let leader = self.leader(call.tid).ok_or(libc::EPERM)?;
                self.births.begin(zone, call.tid, parent, leader)
            }
            Some(Request::Born) => {
                let leader = self.leader(call.tid).ok_or(libc::EPERM)?;
                self.births.told(zone, leader, args[0], args[1])
            }
            _ => Err(libc::EPERM),
        }
    }

    /// Has a clerk make a call.
    pub fn forward(&self, zone: &Arc<Zone>, listener: &Arc<Listener>, call: Call) {
        self.clerks.defer(zone, listener, call);
    }

    /// Prepares what a client is about to execute; `images` are its files, where it is not to have them
    /// before.
    ///
    /// # Errors
    /// ESRCH: it has no entry. EPERM: its capabilities do not let it. Out of memory or descriptors.
    pub fn will_execute(
        &self,
        zone: &Zone,
        listener: &Listener,
        call: Call,
        handover: &mut Handover,
        images: Option<Images>,
    ) -> Result<(), i32> {
        let leader = self.leader(call.tid).ok_or(libc::EPERM)?;
        let process = self.process(zone, call.tid)?;
        self.executions
            .begin(zone, listener, call, (leader, process), handover, images)
    }

    fn enter(&self, zone: &Zone, listener: &Listener, call: Call) -> Result<i64, i32> {
        let commons = self.commons.as_ref().ok_or(libc::EPERM)?;
        let [how, first, second] = call.words;
        if call.is_client == (how == enter::BECOME) {
            return Err(libc::EPERM);
        }
        let leader = match how {
            enter::BORN | enter::BORN_WITHIN => HostPid(call.tid),
            _ => leader_of(HostPid(call.tid)).map_err(|_| libc::ESRCH)?,
        };
        let client = match how {
            enter::BECOME => {
                listener.replace(call, commons.as_fd(), FD_COMMONS)?;
                Some(new_client(listener, call)?)
            }
            enter::BORN | enter::BORN_WITHIN => {
                let parent = self.births.parent(first, second)?;
                // What fails is asked for again.
                let client = match how {
                    enter::BORN => new_client(listener, call)?,
                    _ => lock(&self.clients)
                        .get(&parent.0)
                        .cloned()
                        .ok_or(libc::EPERM)?,
                };
                self.births.end(zone, leader, first);
                Some(client)
            }
            enter::EXECUTED => Some(new_client(listener, call)?),
            enter::THREAD => {
                if leader.0 != call.tid {
                    zone.shared.commons().strike_out(call.tid, || true);
                }
                None
            }
            _ => return Err(libc::EINVAL),
        };
        // It lies in the mailboxes that it had.
        let handover = match how {
            enter::EXECUTED => zone.shared.read_handover(call.tid),
            _ => None,
        };
        let mut clients = lock(&self.clients);
        if let Some(client) = client {
            clients.insert(leader.0, client);
        }
        let boxes = Arc::clone(&clients.get(&leader.0).ok_or(libc::EPERM)?.boxes);
        let count = clients.len();
        drop(clients);
        zone.shared.take_boxes(call.tid, &boxes)?;
        lock(&self.leaders).insert(call.tid, leader.0);
        if let Some(mut handover) = handover {
            self.executions
                .settle(zone, listener, call, leader, &mut handover)?;
            zone.shared.write_handover(call.tid, &handover);
        }
        if count.is_multiple_of(SWEEP_AFTER) {
            self.sweep(zone);
        }
        Ok(0)
    }

    /// Forgets the threads and processes that are gone.
    fn sweep(&self, zone: &Zone) {
        let is_gone = |tid: u32| guests::is_gone(HostPid(tid));
        lock(&self.clients).retain(|&leader, _| !is_gone(leader));
        lock(&self.leaders).retain(|&tid, _| {
            let stays = !is_gone(tid);
            if !stays {
                zone.shared.leave_boxes(tid);
            }
            stays
        });
    }
}

/// Makes what belongs to a client, and puts it where its personality looks.
fn new_client(listener: &Listener, call: Call) -> Result<Client, i32> {
    let boxes = memfd_create("mailboxes", MFdFlags::MFD_CLOEXEC).map_err(|errno| errno as i32)?;
    let file = File::from(boxes);
    file.set_len(COMMONS_SIZE).map_err(super::files::errno)?;
    let boxes = OwnedFd::from(file);
    let (ours, theirs) = pair(SockType::SeqPacket).map_err(|errno| errno as i32)?;
    listener.replace(call, boxes.as_fd(), FD_BOXES)?;
    listener.replace(call, theirs.as_fd(), FD_NAMES)?;
    Ok(Client {
        boxes: Arc::new(Boxes(boxes)),
        names: Arc::new(ours),
    })
}

/// Arguments of a request as a client may make it: who it is says its entry.
///
/// # Errors
/// EPERM: it has no entry, or may not bind that port.
pub fn own_args(zone: &Zone, call: Call, mut args: [u64; 8]) -> Result<[u64; 8], i32> {
    if !call.is_client {
        return Ok(args);
    }
    let request = Request::from_number(call.request).ok_or(libc::ENOSYS)?;
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let users = || zone.strict.users(zone, call.tid);
    let process = || zone.strict.process(zone, call.tid);
    match request {
        Request::Shm | Request::Sem | Request::Msg | Request::Queue => {
            let users = users()?;
            args[6] = pair(users.uid[1], users.gid[1]);
            args[7] = pair(process()?.0, users.gid[3]);
        }
        Request::Key => {
            let users = users()?;
            args[6] = pair(users.uid[3], users.gid[3]);
            args[7] = pair(process()?.0, users.uid[0]);
        }
        Request::Netlink => args[0] = u64::from(process()?.0),
        Request::Bind => {
            let address = zone.shared.read_bytes(call.tid, 4);
            let family = u16::from_ne_bytes([address[0], address[1]]);
            let port = u16::from_be_bytes([address[2], address[3]]);
            let is_inet = [libc::AF_INET, libc::AF_INET6].contains(&i32::from(family));
            let may = users()?.capabilities.has(Power::BindService);
            if is_inet && (1..1024).contains(&port) && !may {
                return Err(libc::EACCES);
            }
        }
        _ => {}
    }
    Ok(args)
}
