//! What a clerk is told: a client's call, read once and checked against the table's kinds.

use super::super::descriptors::{CWD, open_path, own_path};
use super::super::zone::Zone;
use super::super::{files, ipc};
use crate::ids::{HostPid, ZonePid};
use picozone_personality::clients::{Done, JOB_HEAD, Job, NOWHERE};
use picozone_personality::layout::is_reserved;
use picozone_syscalls::forward::{self, DATA_MAX, Role};
use picozone_syscalls::{Kind, Row, nr, row};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

/// Options of prctl(2) about what stands in the entry of the process: `PR_SET_DUMPABLE`, `PR_SET_KEEPCAPS`,
/// `PR_CAPBSET_DROP`, `PR_SET_SECUREBITS`, `PR_SET_NO_NEW_PRIVS`, `PR_CAP_AMBIENT`.
const OF_ENTRY: [u64; 6] = [4, 8, 24, 28, 38, 47];

/// An address that nothing can be mapped at.
const NO_ADDRESS: u64 = 1;

/// `F_SETOWN`.
const SETOWN: u64 = 8;

/// A call to be made.
pub struct Wanted {
    pub job: Box<Job>,
    pub descriptors: Vec<OwnedFd>,
    /// Where the directory lies that paths are relative to; empty where none is.
    pub from: Vec<u8>,
    /// Signals that the guest blocks; none where the kernel's own mask is the guest's.
    pub mask: Option<u64>,
}

impl Wanted {
    /// Reads what a client wants from its mailbox.
    ///
    /// # Errors
    /// ENOSYS: no clerk makes such a call. EFAULT: what it says to lie in the mailbox does not. EBADF.
    pub fn read(
        zone: &Zone,
        tid: u32,
        leader: HostPid,
        process: ZonePid,
        object: impl FnOnce(u64) -> Result<OwnedFd, i32>,
    ) -> Result<Wanted, i32> {
        let [head, words @ .., cookie] = zone.shared.read_args(tid);
        let number = u32::try_from(head & 0xffff_ffff).map_err(|_| libc::ENOSYS)?;
        let used = usize::try_from(head >> 32).map_err(|_| libc::EFAULT)?;
        let row = wanted(number, &words).ok_or(libc::ENOSYS)?;
        if used > DATA_MAX {
            return Err(libc::EFAULT);
        }
        let data = zone.shared.read_data(tid, used);
        // SAFETY: all zero is a valid `Job`.
        let mut job: Box<Job> = Box::new(unsafe { std::mem::zeroed() });
        job.nr = number;
        job.zone_pid = process.0;
        job.host_pid = leader.0;
        job.length = u32::try_from(used).map_err(|_| libc::EFAULT)?;
        job.data[..used].copy_from_slice(&data);
        if row.args.iter().any(|arg| arg.kind == Kind::Mode) {
            job.umask = ipc::umask(tid);
        }
        let mut descriptors = Vec::new();
        let mut from = Vec::new();
        let is_relative = is_relative(row, &words, &data);
        // Of openat2(2) an absolute path may have to lie in the same mount (`RESOLVE_NO_XDEV`).
        if is_relative || number == nr::openat2 {
            job.has_cwd = 1;
            let cwd = open_path(HostPid(tid), CWD)?;
            if is_relative {
                from = path_of(zone, &cwd).unwrap_or_default();
            }
            descriptors.push(cwd);
        }
        let about = forward::object(row, &words);
        let mut object = Some(object);
        for index in 0..row.args.len() {
            let word = words[index];
            job.args[index] = match forward::role(row, index) {
                Role::Value => word,
                Role::Directory if files::low_int(word) == libc::AT_FDCWD => word,
                Role::Directory | Role::Object => {
                    let found = match object.take_if(|_| about == Some(index)) {
                        Some(object) => object(cookie)?,
                        None => {
                            let directory = match directory_of(tid, word) {
                                Ok(directory) => directory,
                                // A path that is none is told first.
                                Err(_) if words.get(index + 1) == Some(&NOWHERE) => {
                                    job.args[index] = u64::MAX;
                                    continue;
                                }
                                // In front of an absolute path it may be anything.
                                Err(_) if is_absolute(index + 1, &words, &data) => {
                                    job.args[index] = word;
                                    continue;
                                }
                                Err(errno) => return Err(errno),
                            };
                            from = path_of(zone, &directory).unwrap_or_default();
                            directory
                        }
                    };
                    job.descriptors |= 1 << index;
                    descriptors.push(found);
                    0
                }
                _ if word == 0 => 0,
                _ if word == NOWHERE => NO_ADDRESS,
                Role::Text => {
                    let at = place(word, used)?;
                    if !data[at..].contains(&0) {
                        return Err(libc::EFAULT);
                    }
                    job.places |= 1 << index;
                    at as u64
                }
                Role::In(length) | Role::Out(length) => {
                    let at = place(word, used)?;
                    if used - at < length.of(&words) {
                        return Err(libc::EFAULT);
                    }
                    job.places |= 1 << index;
                    at as u64
                }
            };
        }
        Ok(Wanted {
            job,
            descriptors,
            from,
            mask: Some(zone.shared.read_head(tid)).filter(|&mask| mask != u64::MAX),
        })
    }

    /// The bytes of the job.
    pub fn bytes(&self) -> &[u8] {
        let length = JOB_HEAD + self.job.length as usize;
        // SAFETY: `Job` is plain data; the length is at most its own.
        unsafe { std::slice::from_raw_parts((&raw const *self.job).cast::<u8>(), length) }
    }
}

/// The row of a call that a clerk makes.
fn wanted(number: u32, words: &[u64; 6]) -> Option<&'static Row> {
    let is_about_entry = number == nr::prctl && OF_ENTRY.contains(&words[0]);
    // Who wants a file cut opens it, which is looked at once more.
    let is_made = forward::is_forwarded(number) && number != nr::truncate;
    let is_about_owner = number == nr::fcntl && words[1] == SETOWN;
    if is_made || is_about_entry || is_about_owner {
        row(number)
    } else {
        None
    }
}

/// Where a word says that something lies.
fn place(word: u64, used: usize) -> Result<usize, i32> {
    usize::try_from(word - 1)
        .ok()
        .filter(|&at| at <= used)
        .ok_or(libc::EFAULT)
}

/// Whether a path is relative to the working directory, or may be.
fn is_relative(row: &Row, words: &[u64; 6], data: &[u8]) -> bool {
    let is_path = |index: &usize| row.args[*index].kind == Kind::Path && words[*index] != 0;
    let mut paths = (0..row.args.len()).filter(is_path);
    paths.any(|index| !is_absolute(index, words, data))
}

fn is_absolute(index: usize, words: &[u64; 6], data: &[u8]) -> bool {
    let at = words.get(index).and_then(|word| word.checked_sub(1));
    let at = at.and_then(|at| usize::try_from(at).ok());
    at.and_then(|at| data.get(at)) == Some(&b'/')
}

/// The directory that a descriptor of a client's is; none of those that its personality needs.
fn directory_of(tid: u32, word: u64) -> Result<OwnedFd, i32> {
    let number = files::low_int(word);
    if is_reserved(number.cast_unsigned()) {
        return Err(libc::EBADF);
    }
    open_path(HostPid(tid), number)
}

/// The zone path of what a descriptor stands for, if it has one.
pub fn path_of(zone: &Zone, fd: &OwnedFd) -> Option<Vec<u8>> {
    let host = std::fs::read_link(own_path(fd)).ok()?;
    zone.to_zone_path(host.as_os_str().as_bytes())
}

/// What a clerk has answered.
pub struct Answered {
    pub value: i64,
    pub gives: u64,
    pub data: Vec<u8>,
}

impl Answered {
    /// Reads it; `None`: it is no answer.
    pub fn read(bytes: &[u8]) -> Option<Answered> {
        let value = i64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?);
        let gives = u64::from_ne_bytes(bytes.get(8..16)?.try_into().ok()?);
        Some(Answered {
            value,
            gives,
            data: bytes.get(size_of::<Done>()..)?.to_vec(),
        })
    }
}

/// Room for any answer.
pub const ANSWER_MAX: usize = size_of::<Done>() + DATA_MAX;
