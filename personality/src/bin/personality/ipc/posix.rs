//! POSIX message queues: the monitor opens and removes them by name.

use super::*;
use crate::arch::syscall2;
use crate::memory::PathRoom;
use crate::socket::netlink;
use picozone_personality::mailbox::notice;

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

/// mq_notify(2). For `SIGEV_THREAD` libc has the kernel send to a netlink socket, of which a guest has a
/// stand-in: a real one takes the notice, and the monitor passes it on.
#[inline(never)]
pub fn mq_notify(thread: &Thread, queue: u64, event: u64) -> Result<u64> {
    let notify = |event: u64| checked(unsafe { syscall2(__NR_mq_notify, queue, event) });
    if event == 0 {
        return notify(0);
    }
    // struct sigevent: value, then signal and kind.
    let mut given = memory::read::<[u64; 8]>(event)?;
    let stand_in = given[1] & 0xffff_ffff;
    if (given[1] >> 32) as u32 != SIGEV_THREAD || !netlink::is_netlink(stand_in) {
        return notify(given.as_ptr() as u64);
    }
    let ask = |operation: u64, socket: u64| {
        let cookie = crate::socket::hand_over(thread, socket)?;
        thread.ask(Request::Notice, &[operation, cookie])
    };
    // What it is to send lies at `value`.
    memory::read_bytes(given[0], &mut [0; 32])?;
    let kernels = ask(notice::MAKE, stand_in)?;
    given[1] = given[1] >> 32 << 32 | kernels;
    let result = notify(given.as_ptr() as u64);
    if result.is_err() {
        let _ = ask(notice::FORGET, kernels);
    }
    unsafe { syscall1(__NR_close, kernels) };
    result
}
