//! System V IPC and names of POSIX queues: the monitor has the objects and performs the operations,
//! see [`Request`].

use crate::arch::{self, syscall1, syscall2, syscall6};
use crate::dispatch::checked;
use crate::thread::Thread;
use crate::{Errno, Result, memory};
use linux_raw_sys::general::*;
use picozone_personality::mailbox::{Request, TEXT_MAX};
use picozone_syscalls::nr;

mod msg;
mod posix;
mod sem;
mod shm;
mod wait;
pub use msg::{msgctl, msgget, msgrcv, msgsnd};
pub use posix::{mq_notify, mq_open, mq_unlink};
pub use sem::{semctl, semget, semtimedop};
pub use shm::{shmat, shmctl, shmdt, shmget};

const IPC_SET: u64 = 1;
const IPC_STAT: u64 = 2;
const IPC_INFO: u64 = 3;

impl Thread {
    /// Asks about an object: the call's number, and up to five arguments.
    fn ask_ipc(&self, request: Request, nr: u32, args: &[u64]) -> Result<u64> {
        let (uid, gid) = (self.credentials.uid, self.credentials.gid);
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let mut all = [0; 8];
        all[0] = u64::from(nr);
        for (to, from) in all[1..6].iter_mut().zip(args) {
            *to = *from;
        }
        // Queues have names in a file system.
        let is_queues = matches!(nr, __NR_mq_open | __NR_mq_unlink);
        all[6] = pair(uid[if is_queues { 3 } else { 1 }], gid[1]);
        all[7] = pair(self.process().zone_pid, gid[3]);
        self.ask(request, &all)
    }

    /// Copies bytes of the guest into the mailbox, from field `a` on.
    fn take(&self, from: u64, length: usize) -> Result<()> {
        let room = length.min(2 * TEXT_MAX);
        let to = &raw mut self.mailbox().a;
        if arch::copy(to as u64, from, room) {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// Copies a result that begins at the mailbox' field `head` to the guest.
    fn fetch_whole(&self, to: u64, length: usize) -> Result<()> {
        let room = length.min(8 + 2 * TEXT_MAX);
        let from = &raw const self.mailbox().head;
        if arch::copy(to, from as u64, room) {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// Copies what the monitor put into the mailbox to the guest.
    fn fetch(&self, to: u64, length: usize) -> Result<()> {
        let b = &self.mailbox().b;
        memory::write_bytes(to, b.get(..length).unwrap_or(b))
    }
}
