//! Messages with the credentials of another (`SCM_CREDENTIALS`).
//!
//! The zone's root may send those of any process and user of its zone, and anybody his real, effective and
//! saved ids. The kernel takes from who is not the host's root no process but the sender's own, and all of
//! a zone are one user to it. So each such message is sent by a *herald*, a process of ours that is forked
//! for it and ends at once: the kernel tells its number with the message, whoever reads that and whenever,
//! and what it stands for is known here. No guest can send with that number, which stays the herald's as
//! long as nobody waits for it.
//!
//! Of heralds the last [`HERALDS_MAX`] are kept so; who reads a message of an older one is told nobody.

use super::messengers::receive;
use super::{Credentials, Unix, is_unix};
use nix::errno::Errno;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pipe};
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

/// How many heralds' numbers stay taken.
const HERALDS_MAX: usize = 256;
/// `struct cmsghdr`.
const HEADER: usize = 16;

/// What heralds stood for, the oldest first.
#[derive(Default)]
pub(super) struct Poses(Mutex<VecDeque<(Pid, Credentials)>>);

impl Unix {
    /// Sends what `letter` holds from a guest's socket with these credentials, without waiting. `forget` is
    /// told the number of the process that does so before it can be asked for. Gives how many bytes were
    /// sent.
    ///
    /// # Errors
    /// ENOTSOCK, EINVAL: no unix socket. Those of sendmsg(2) and fork(2).
    pub fn pose(
        &self,
        socket: &OwnedFd,
        letter: &OwnedFd,
        claim: Credentials,
        forget: impl Fn(u32),
    ) -> Result<i64, Errno> {
        if !is_unix(socket.as_fd())? {
            return Err(Errno::EINVAL);
        }
        let (bytes, rights) = receive(letter)?;
        let rights: Vec<RawFd> = rights.iter().map(AsRawFd::as_raw_fd).collect();
        // Held until it is known whose number that is: who reads the message asks here.
        let mut poses = self.poses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if poses.len() >= HERALDS_MAX
            && let Some((oldest, _)) = poses.pop_front()
        {
            let _ = waitpid(oldest, None);
        }
        let (herald, answer) = send_by_herald(socket, &bytes, &rights)?;
        forget(herald.as_raw().unsigned_abs());
        poses.push_back((herald, claim));
        let mut told = [0; 8];
        File::from(answer)
            .read_exact(&mut told)
            .map_err(|_| Errno::EIO)?;
        match i64::from_ne_bytes(told) {
            sent @ 0.. => Ok(sent),
            failed => Err(Errno::from_raw(i32::try_from(-failed).unwrap_or(libc::EIO))),
        }
    }

    /// What the process of this number stood for.
    pub fn posed(&self, host: u32) -> Credentials {
        let poses = self.poses.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = poses
            .iter()
            .find(|(herald, _)| herald.as_raw().unsigned_abs() == host);
        found.map_or(Credentials::UNKNOWN, |(_, claim)| *claim)
    }
}

/// Forks a process that sends a message with its own credentials; what comes out of the pipe is what
/// sendmsg(2) gives, or a negated errno.
fn send_by_herald(
    socket: &OwnedFd,
    bytes: &[u8],
    rights: &[RawFd],
) -> Result<(Pid, OwnedFd), Errno> {
    // struct ucred, of which the process is not known yet.
    // SAFETY: takes nothing and cannot fail.
    let uid = unsafe { libc::getuid() };
    // SAFETY: likewise.
    let gid = unsafe { libc::getgid() };
    let ids: Vec<u8> = [0, uid, gid].map(u32::to_ne_bytes).concat();
    let mut control = control(libc::SCM_CREDENTIALS, &ids);
    if !rights.is_empty() {
        let rights: Vec<u8> = rights.iter().flat_map(|fd| fd.to_ne_bytes()).collect();
        control.extend(self::control(libc::SCM_RIGHTS, &rights));
    }
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: all zero is a valid header.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = control.len();
    let (reader, writer) = pipe()?;
    let (socket, answer) = (socket.as_raw_fd(), writer.as_raw_fd());
    // SAFETY: the child allocates nothing, takes no lock and returns nowhere.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok((child, reader)),
        ForkResult::Child => {
            // SAFETY: takes nothing and cannot fail.
            let own = unsafe { libc::getpid() };
            for (to, from) in control.iter_mut().skip(HEADER).zip(own.to_ne_bytes()) {
                *to = from;
            }
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: what the header points at outlives the call.
            let sent = unsafe { libc::sendmsg(socket, &raw const message, flags) };
            let told = match i64::try_from(sent) {
                Ok(sent @ 0..) => sent,
                _ => -i64::from(Errno::last_raw()),
            };
            // SAFETY: the eight bytes outlive the call.
            unsafe { libc::write(answer, (&raw const told).cast(), 8) };
            // SAFETY: ends the process without running what the monitor registered.
            unsafe { libc::_exit(0) }
        }
    }
}

/// A control message, filled up to where the next one begins.
fn control(kind: i32, data: &[u8]) -> Vec<u8> {
    let length = HEADER + data.len();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(libc::SOL_SOCKET.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(data);
    bytes.resize(length.next_multiple_of(8), 0);
    bytes
}
