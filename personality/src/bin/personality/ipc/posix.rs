//! POSIX message queues: the monitor opens and removes them by name.

use super::*;
use crate::memory::PathRoom;

/// mq_open(2).
pub fn mq_open(thread: &Thread, name: u64, flags: u64, mode: u64, attr: u64) -> Result<u64> {
    let mut room = PathRoom::new();
    let name = match attr {
        0 => room.read(name)?,
        at => {
            // All of `struct mq_attr` must be there, but only half of it is used.
            let attributes = memory::read::<[u64; 8]>(at)?;
            let name = room.read(name)?;
            let bytes = thread.mailbox().b.as_chunks_mut::<8>().0;
            for (to, word) in bytes.iter_mut().zip(attributes) {
                *to = word.to_ne_bytes();
            }
            name
        }
    };
    thread.put_text(name.to_bytes())?;
    let has_attributes = u64::from(attr != 0);
    thread.ask_ipc(Request::Queue, nr::mq_open, &[flags, mode, has_attributes])
}

/// mq_unlink(2).
pub fn mq_unlink(thread: &Thread, name: u64) -> Result<u64> {
    let mut room = PathRoom::new();
    thread.put_text(room.read(name)?.to_bytes())?;
    thread.ask_ipc(Request::Queue, nr::mq_unlink, &[])
}
