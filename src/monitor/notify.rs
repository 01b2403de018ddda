//! The listener of the seccomp filter: requests in, answers out.

use nix::errno::Errno;
use picozone_personality::clients::CLIENT;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `struct seccomp_notif`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Notification {
    id: u64,
    pid: u32,
    flags: u32,
    nr: i32,
    arch: u32,
    instruction_pointer: u64,
    args: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Response {
    id: u64,
    val: i64,
    error: i32,
    flags: u32,
}

/// `struct seccomp_notif_addfd`.
#[repr(C)]
struct AddDescriptor {
    id: u64,
    flags: u32,
    source: u32,
    target: u32,
    target_flags: u32,
}

const IOC_RECV: libc::c_ulong = 0xc050_2100;
const IOC_SEND: libc::c_ulong = 0xc018_2101;
const IOC_ADDFD: libc::c_ulong = 0x4018_2103;
const IOC_ID_VALID: libc::c_ulong = 0x4008_2102;
/// `SECCOMP_ADDFD_FLAG_SETFD`.
const SETFD: u32 = 1;
const IOC_SET_FLAGS: libc::c_ulong = 0x4008_2104;
const SYNC_WAKE_UP: u64 = 1;

/// The listener.
pub struct Listener {
    fd: OwnedFd,
    /// Whose turn it is to receive: the kernel wakes all who wait to.
    turn: Mutex<()>,
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    id: u64,
    /// The caller's thread id on the host, as the kernel says.
    pub tid: u32,
    /// Number of the request.
    pub request: u64,
    /// Whether the caller's filter has it say that it is a client: see [`super::strict`].
    pub is_client: bool,
    /// What follows.
    pub words: [u64; 3],
}

impl Listener {
    /// Takes the descriptor of an installed filter.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Listener {
        let turn = Mutex::new(());
        let listener = Listener { fd, turn };
        // SAFETY: this ioctl takes a number. Older kernels refuse it, which only costs speed.
        unsafe { libc::ioctl(listener.fd.as_raw_fd(), IOC_SET_FLAGS, SYNC_WAKE_UP) };
        listener
    }

    /// The turn to [`receive`](Self::receive), which others wait for.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a request. `None` when no guest is left.
    #[must_use]
    pub fn receive(&self) -> Option<Call> {
        loop {
            let mut notification = Notification::default();
            // SAFETY: the structure is the kernel's, zeroed as it asks for.
            let result =
                unsafe { libc::ioctl(self.fd.as_raw_fd(), IOC_RECV, &raw mut notification) };
            match Errno::result(result) {
                Ok(_) => {
                    return Some(Call {
                        id: notification.id,
                        tid: notification.pid,
                        request: notification.args[0],
                        is_client: notification.args[1] == u64::from(CLIENT),
                        words: [
                            notification.args[2],
                            notification.args[3],
                            notification.args[4],
                        ],
                    });
                }
                Err(Errno::EINTR) => {}
                Err(Errno::ENOENT) => {
                    let mut poll = libc::pollfd {
                        fd: self.fd.as_raw_fd(),
                        events: libc::POLLIN,
                        revents: 0,
                    };
                    // SAFETY: one valid entry.
                    unsafe { libc::poll(&raw mut poll, 1, -1) };
                    if poll.revents & libc::POLLHUP != 0 {
                        return None;
                    }
                }
                Err(_) => return None,
            }
        }
    }

    /// Answers. A caller that is gone is no failure.
    pub fn answer(&self, call: Call, result: Result<i64, i32>) {
        let (val, error) = match result {
            Ok(value) => (value, 0),
            Err(errno) => (0, -errno),
        };
        let response = Response {
            id: call.id,
            val,
            error,
            flags: 0,
        };
        // SAFETY: the structure is the kernel's.
        unsafe { libc::ioctl(self.fd.as_raw_fd(), IOC_SEND, &raw const response) };
    }

    /// Installs a descriptor in the caller, who still waits; its number there.
    ///
    /// # Errors
    /// EMFILE in the guest, ENOENT if it is gone.
    pub fn add(&self, call: Call, fd: BorrowedFd<'_>, is_cloexec: bool) -> Result<i32, i32> {
        let source = u32::try_from(fd.as_raw_fd()).map_err(|_| libc::EBADF)?;
        let target_flags = if is_cloexec {
            libc::O_CLOEXEC.unsigned_abs()
        } else {
            0
        };
        self.install(&AddDescriptor {
            id: call.id,
            flags: 0,
            source,
            target: 0,
            target_flags,
        })
    }

    /// Puts a descriptor in the place of another of the caller's, who still waits. It stays over an exec.
    ///
    /// # Errors
    /// EBADF where its limit of descriptors is not above that number; ENOENT if it is
    /// gone.
    pub fn replace(&self, call: Call, fd: BorrowedFd<'_>, target: u32) -> Result<i32, i32> {
        let source = u32::try_from(fd.as_raw_fd()).map_err(|_| libc::EBADF)?;
        self.install(&AddDescriptor {
            id: call.id,
            flags: SETFD,
            source,
            target,
            target_flags: 0,
        })
    }

    /// The same; exec may close it.
    ///
    /// # Errors
    /// As [`replace`](Self::replace).
    pub fn exchange(
        &self,
        call: Call,
        fd: BorrowedFd<'_>,
        target: u32,
        is_cloexec: bool,
    ) -> Result<i32, i32> {
        let source = u32::try_from(fd.as_raw_fd()).map_err(|_| libc::EBADF)?;
        let cloexec = libc::O_CLOEXEC.unsigned_abs();
        self.install(&AddDescriptor {
            id: call.id,
            flags: SETFD,
            source,
            target,
            target_flags: if is_cloexec { cloexec } else { 0 },
        })
    }

    fn install(&self, add: &AddDescriptor) -> Result<i32, i32> {
        // SAFETY: the structure is the kernel's.
        let result =
            unsafe { libc::ioctl(self.fd.as_raw_fd(), IOC_ADDFD, std::ptr::from_ref(add)) };
        Errno::result(result).map_err(|errno| errno as i32)
    }

    /// Whether a caller still waits for its answer.
    #[must_use]
    pub fn is_waiting(&self, call: Call) -> bool {
        // SAFETY: the ioctl reads a number.
        unsafe { libc::ioctl(self.fd.as_raw_fd(), IOC_ID_VALID, &raw const call.id) == 0 }
    }
}
