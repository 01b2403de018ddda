//! POSIX message queues (mq_overview(7)).
//!
//! A queue is the kernel's, but without a name in the host's name space: the monitor makes it under a
//! name that it removes at once, and keeps a descriptor by the zone's name. A guest that opens it gets
//! a description of its own, with which everything else is between it and the kernel. When the zone
//! ends, its queues do.

use super::super::descriptors::own_path;
use super::ids::Caller;
use crate::ownership::Owner;
use picozone_personality::capabilities::Power;
use std::collections::HashMap;
use std::ffi::CString;
use std::fs::OpenOptions;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// `queues_max`, unless the zone's root says otherwise.
const COUNT_MAX: usize = 256;
const NAME_MAX: usize = 255;

/// The queues of a zone that have names.
pub(super) struct Queues {
    /// By name, without the slash.
    named: HashMap<Vec<u8>, Queue>,
    /// `queues_max`.
    pub(super) max: usize,
}

impl Default for Queues {
    fn default() -> Self {
        Queues {
            named: HashMap::new(),
            max: COUNT_MAX,
        }
    }
}

struct Queue {
    fd: OwnedFd,
    uid: u32,
    gid: u32,
    mode: u32,
}

/// How a queue is to be opened.
pub(super) struct Opening {
    pub(super) flags: i32,
    /// Permission bits of a new one, the umask applied.
    pub(super) mode: u32,
    /// `mq_flags`, `mq_maxmsg`, `mq_msgsize`, `mq_curmsgs` of a new one.
    pub(super) attributes: Option<[i64; 4]>,
}

impl Queues {
    /// A description of a queue, which is made if need be.
    ///
    /// # Errors
    /// As of mq_open(2).
    pub(super) fn open(
        &mut self,
        caller: &Caller,
        name: &[u8],
        how: &Opening,
    ) -> Result<(OwnedFd, Owner), i32> {
        check(name)?;
        let has = |flag: i32| how.flags & flag != 0;
        let access = how.flags & libc::O_ACCMODE;
        if let Some(queue) = self.named.get(name) {
            if has(libc::O_CREAT) && has(libc::O_EXCL) {
                return Err(libc::EEXIST);
            }
            let wanted = match access {
                libc::O_RDONLY => 0o4,
                libc::O_WRONLY => 0o2,
                libc::O_RDWR => 0o6,
                _ => return Err(libc::EINVAL),
            };
            queue.permit(caller, wanted)?;
            return Ok((queue.description(how.flags)?, queue.owner()));
        }
        if !has(libc::O_CREAT) {
            return Err(libc::ENOENT);
        }
        if self.named.len() >= self.max {
            return Err(libc::ENOSPC);
        }
        let queue = Queue {
            fd: make(how.attributes)?,
            uid: caller.uid,
            gid: caller.fsgid,
            mode: how.mode & 0o777,
        };
        let opened = (queue.description(how.flags)?, queue.owner());
        self.named.insert(name.to_vec(), queue);
        Ok(opened)
    }

    /// Removes a name. Who has the queue open keeps it.
    ///
    /// # Errors
    /// As of mq_unlink(2). EPERM: it is another user's, and the names lie in a sticky directory.
    pub(super) fn unlink(&mut self, caller: &Caller, name: &[u8]) -> Result<(), i32> {
        check(name)?;
        let queue = self.named.get(name).ok_or(libc::ENOENT)?;
        // The directory is the zone's root's.
        let is_own = caller.uid == queue.uid || caller.uid == 0;
        if !is_own && !caller.has(Power::Owner) {
            return Err(libc::EPERM);
        }
        self.named.remove(name);
        Ok(())
    }
}

impl Queue {
    /// What fstat(2) tells of it.
    fn owner(&self) -> Owner {
        Owner {
            uid: self.uid,
            gid: self.gid,
            mode: libc::S_IFREG | self.mode,
            rdev: 0,
        }
    }

    fn permit(&self, caller: &Caller, wanted: u32) -> Result<(), i32> {
        let granted = if caller.uid == self.uid {
            self.mode >> 6
        } else if caller.is_member(self.gid) {
            self.mode >> 3
        } else {
            self.mode
        };
        let is_read = wanted == 0o4 && caller.has(Power::Search);
        if wanted & !granted == 0 || is_read || caller.has(Power::Override) {
            Ok(())
        } else {
            Err(libc::EACCES)
        }
    }

    fn description(&self, flags: i32) -> Result<OwnedFd, i32> {
        let access = flags & libc::O_ACCMODE;
        OpenOptions::new()
            .read(access != libc::O_WRONLY)
            .write(access != libc::O_RDONLY)
            .custom_flags(flags & libc::O_NONBLOCK)
            .open(own_path(&self.fd))
            .map(OwnedFd::from)
            .map_err(super::super::files::errno)
    }
}

/// Names are those of files in one directory.
fn check(name: &[u8]) -> Result<(), i32> {
    match name {
        [] => Err(libc::ENOENT),
        b"." | b".." => Err(libc::EACCES),
        _ if name.contains(&b'/') => Err(libc::EACCES),
        _ if name.len() > NAME_MAX => Err(libc::ENAMETOOLONG),
        _ => Ok(()),
    }
}

/// A queue without a name.
fn make(attributes: Option<[i64; 4]>) -> Result<OwnedFd, i32> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Relaxed);
    let name = format!("/picozone-{}-{number}", std::process::id());
    let name = CString::new(name).map_err(|_| libc::EINVAL)?;
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
    let given = attributes.map(|[flags, count, size, current]| {
        // SAFETY: all zero is a value of it.
        let mut given: libc::mq_attr = unsafe { std::mem::zeroed() };
        given.mq_flags = flags;
        given.mq_maxmsg = count;
        given.mq_msgsize = size;
        given.mq_curmsgs = current;
        given
    });
    let pointer = given.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: name and attributes outlive the call.
    let fd = unsafe { libc::mq_open(name.as_ptr(), flags, 0o600, pointer) };
    let fd = nix::errno::Errno::result(fd).map_err(|errno| errno as i32)?;
    // SAFETY: the name outlives the call.
    unsafe { libc::mq_unlink(name.as_ptr()) };
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ZonePid;
    use picozone_personality::capabilities::Capabilities;

    #[test]
    fn queues_have_no_name_on_the_host_and_each_opening_its_own_rights() {
        let caller = |uid| Caller {
            tid: 1,
            pid: ZonePid(1),
            uid,
            gid: uid,
            fsgid: uid,
            groups: Vec::new(),
            capabilities: Capabilities::of_user(uid),
        };
        let mut queues = Queues::default();
        let how = |flags| Opening {
            flags,
            mode: 0o640,
            attributes: Some([0, 1, 8, 0]),
        };
        let create = how(libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY);
        let open = |queues: &mut Queues, uid, how: &Opening| {
            let (opened, owner) = queues.open(&caller(uid), b"q", how)?;
            let told = (owner.uid, owner.gid, owner.mode);
            assert_eq!(told, (7, 7, libc::S_IFREG | 0o640));
            Ok::<_, i32>(opened)
        };
        let writer = match open(&mut queues, 7, &create) {
            Err(errno @ (libc::EMFILE | libc::ENOSPC)) => {
                println!("skipped: the host allows no more queues (errno {errno})");
                return;
            }
            other => other.expect("made"),
        };
        assert_eq!(open(&mut queues, 7, &create).err(), Some(libc::EEXIST));
        let read = how(libc::O_RDONLY);
        assert_eq!(open(&mut queues, 8, &read).err(), Some(libc::EACCES));
        let reader = open(&mut queues, 7, &read).expect("ours");
        assert_eq!(queues.unlink(&caller(8), b"q"), Err(libc::EPERM));
        assert_eq!(queues.unlink(&caller(7), b"q"), Ok(()));
        assert_eq!(open(&mut queues, 7, &read).err(), Some(libc::ENOENT));
        use std::os::fd::AsRawFd;
        let mut text = [0i8; 8];
        // SAFETY: one byte of the text.
        let sent = unsafe { libc::mq_send(writer.as_raw_fd(), text.as_ptr(), 1, 3) };
        let mut priority = 0;
        // SAFETY: all of the text.
        let got = unsafe {
            let room = text.as_mut_ptr();
            libc::mq_receive(reader.as_raw_fd(), room, 8, &raw mut priority)
        };
        assert_eq!((sent, got, priority), (0, 1, 3));
        // SAFETY: one byte of the text.
        let sent = unsafe { libc::mq_send(reader.as_raw_fd(), text.as_ptr(), 1, 3) };
        assert_eq!(sent, -1);
    }

    #[test]
    fn names() {
        assert_eq!(check(b"a"), Ok(()));
        assert_eq!(check(b""), Err(libc::ENOENT));
        assert_eq!(check(b"a/b"), Err(libc::EACCES));
        assert_eq!(check(&[b'a'; 256]), Err(libc::ENAMETOOLONG));
    }
}
