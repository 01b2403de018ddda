//! Messages to be sent: sendmsg(2) takes none but the approved forms of slots, in which they are put
//! together ([`picozone_personality::messages`]).
//!
//! The slots are the process' own memory, shared by those who share that. A thread keeps its slot as
//! long as the call waits, unless many do: then it gives it up until there is room for the message. One
//! that finds none free tries again after a millisecond.

use super::{Message, SOL_SOCKET, name_len};
use crate::arch::{self, syscall2, syscall3, syscall6};
use crate::dispatch::{RESTART_ERRNO, checked, checked_or_restart};
use crate::monitor::tables;
use crate::thread::Thread;
use crate::{Errno, Result, memory, signal};
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use linux_raw_sys::general::*;
use picozone_personality::layout::MESSAGES_BASE;
use picozone_personality::messages::{self, CONTROL_ROOM, LARGE, NAME_ROOM, PARTS};
use picozone_personality::net::LEN_MAX;

/// `struct cmsghdr`.
pub const HEADER: usize = 16;
/// A level of control messages that is nobody's.
const NOBODY: u32 = 0x7fff_ffff;
const ENOBUFS: Errno = Errno::from_raw(105);

const _: () = assert!(NAME_ROOM == LEN_MAX);

/// All slots; where they lie is the linker script's.
#[used]
#[unsafe(link_section = ".messages")]
static mut AREA: [u8; messages::AREA_SIZE as usize] = [0; messages::AREA_SIZE as usize];

/// One bit for each slot that is taken.
static TAKEN: AtomicU64 = AtomicU64::new(0);
const LARGE_ONES: u64 = !0 << LARGE.start;

/// Before a fork: looks where the child will look, whose page is then there already.
pub fn be_forked() {
    core::hint::black_box(TAKEN.load(Relaxed));
}

/// In the child of a fork: what other threads had taken is free.
pub fn begin_process() {
    if TAKEN.load(Relaxed) != 0 {
        TAKEN.store(0, Relaxed);
    }
}

/// A slot that this thread has taken.
pub struct Slot {
    number: usize,
    has_name: bool,
    control_len: usize,
}

impl Drop for Slot {
    fn drop(&mut self) {
        TAKEN.fetch_and(!(1 << self.number), Release);
    }
}

impl Slot {
    /// Takes a slot for a message of so many parts.
    pub fn take(parts: u64) -> Slot {
        let fitting = if parts > PARTS[0] as u64 {
            LARGE_ONES
        } else {
            !LARGE_ONES
        };
        loop {
            let taken = TAKEN.load(Acquire);
            let free = !taken & fitting;
            if free == 0 {
                let time = [0u64, 1_000_000];
                unsafe { syscall2(__NR_nanosleep, time.as_ptr() as u64, 0) };
                continue;
            }
            let number = free.trailing_zeros() as usize;
            let bit = 1 << number;
            if TAKEN.fetch_or(bit, AcqRel) & bit == 0 {
                return Slot {
                    number,
                    has_name: false,
                    control_len: 0,
                };
            }
        }
    }

    fn control_room(&mut self) -> &mut [u8; CONTROL_ROOM] {
        debug_assert!(messages::control_at(self.number) >= MESSAGES_BASE);
        unsafe { &mut *(messages::control_at(self.number) as *mut _) }
    }

    /// The control data.
    pub fn control(&mut self) -> &mut [u8] {
        let length = self.control_len;
        &mut self.control_room()[..length]
    }

    /// Keeps so many bytes of it.
    pub fn cut_control(&mut self, length: usize) {
        self.control_len = length.min(self.control_len);
    }

    /// Whether few like it are free, so that no thread is to wait with it.
    fn is_scarce(&self) -> bool {
        let fitting = if messages::is_large(self.number) {
            LARGE_ONES
        } else {
            !LARGE_ONES
        };
        let taken = TAKEN.load(Relaxed) & fitting;
        2 * taken.count_ones() >= fitting.count_ones()
    }

    /// Copies control data of the guest in, as far as the kernel looks at it. EINVAL: it would see a
    /// message that is not whole; ENOBUFS: more than there is room for.
    pub fn read_control(&mut self, from: u64, length: u64) -> Result<()> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > CONTROL_ROOM {
            return Err(ENOBUFS);
        }
        let room = &mut self.control_room()[..length];
        memory::read_bytes(from, room)?;
        let mut at = 0;
        while length.saturating_sub(at) >= HEADER {
            let size = room[at..]
                .first_chunk()
                .copied()
                .map_or(0, u64::from_ne_bytes);
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            if !(HEADER..=length - at).contains(&size) {
                return Err(Errno::EINVAL);
            }
            at += size;
            let next = at.next_multiple_of(8);
            if next > CONTROL_ROOM - HEADER {
                break;
            }
            at = next;
        }
        self.control_len = at;
        Ok(())
    }

    /// Adds a control message, given as words. False if there is no room for it.
    pub fn add_control(&mut self, words: &[u64]) -> bool {
        let at = self.control_len;
        let room = self.control_room().get_mut(at..at + 8 * words.len());
        let Some(room) = room else { return false };
        for (to, from) in room.as_chunks_mut().0.iter_mut().zip(words) {
            *to = from.to_ne_bytes();
        }
        self.control_len += 8 * words.len();
        true
    }

    /// Gives the message a destination, of the length that no unix socket accepts.
    pub fn set_name(&mut self, name: &[u8; LEN_MAX]) {
        unsafe { *(messages::name_at(self.number) as *mut [u8; LEN_MAX]) = *name };
        self.has_name = true;
    }

    /// Copies the guest's `struct iovec`s in. EMSGSIZE: there are too many.
    pub fn read_parts(&mut self, from: u64, count: u64) -> Result<()> {
        let room = messages::parts(self.number);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > room {
            return Err(Errno::EMSGSIZE);
        }
        let at = messages::parts_at(self.number) as *mut [u64; 2];
        let parts = unsafe { core::slice::from_raw_parts_mut(at, room) };
        let (given, rest) = parts.split_at_mut(count);
        let bytes =
            unsafe { core::slice::from_raw_parts_mut(given.as_mut_ptr().cast(), 16 * count) };
        memory::read_bytes(from, bytes)?;
        rest.fill([0; 2]);
        Ok(())
    }

    /// One part of our own.
    pub fn set_part(&mut self, part: [u64; 2]) {
        let at = messages::parts_at(self.number) as *mut [u64; 2];
        let parts = unsafe { core::slice::from_raw_parts_mut(at, messages::parts(self.number)) };
        parts.fill([0; 2]);
        parts[0] = part;
    }

    /// Takes bytes off the front of the message; gives how many are left.
    fn skip(&mut self, mut count: u64) -> u64 {
        let at = messages::parts_at(self.number) as *mut [u64; 2];
        let parts = unsafe { core::slice::from_raw_parts_mut(at, messages::parts(self.number)) };
        let mut left = 0u64;
        for [from, length] in parts {
            let gone = count.min(*length);
            (*from, *length) = (from.wrapping_add(gone), *length - gone);
            count -= gone;
            left = left.saturating_add(*length);
        }
        left
    }

    /// The approved form: the control data is filled up to its full length.
    fn form(&mut self) -> u64 {
        let at = self.control_len;
        let has_control = at != 0;
        if has_control && at + HEADER <= CONTROL_ROOM {
            let rest = &mut self.control_room()[at..];
            let size = rest.len() as u64;
            rest[..8].copy_from_slice(&size.to_ne_bytes());
            rest[8..HEADER].copy_from_slice(&u64::from(NOBODY).to_ne_bytes());
        }
        let index = messages::index(self.number, self.has_name, has_control);
        core::ptr::from_ref(&tables().messages[index]) as u64
    }

    /// Sends without waiting.
    pub fn send_now(self, fd: u64) -> i64 {
        self.send_now_with(fd, 0)
    }

    fn send_now_with(mut self, fd: u64, flags: u64) -> i64 {
        let form = self.form();
        unsafe { syscall3(__NR_sendmsg, fd, form, flags | u64::from(MSG_DONTWAIT)) }
    }

    /// Sends.
    pub fn send(mut self, thread: &Thread, fd: u64, flags: u64) -> Result<u64> {
        let args = [fd, self.form(), flags, 0, 0, 0];
        let mask = thread.mask() & !signal::HELD;
        checked_or_restart(arch::wait(__NR_sendmsg, args, mask))
    }
}

const MSG_DONTWAIT: u32 = 0x40;

/// Sends one part without control data, for which no slot is needed.
pub fn send_part(
    thread: &Thread,
    fd: u64,
    [from, length]: [u64; 2],
    flags: u64,
    name: Option<&[u8; LEN_MAX]>,
) -> Result<u64> {
    let (to, to_len) = name.map_or((0, 0), |name| (name.as_ptr() as u64, LEN_MAX as u64));
    let args = [fd, from, length, flags, to, to_len];
    let mask = thread.mask() & !signal::HELD;
    checked_or_restart(arch::wait(__NR_sendto, args, mask))
}

/// Whether a descriptor has `O_NONBLOCK`.
pub fn is_nonblocking(fd: u64) -> Result<bool> {
    let flags = checked(unsafe { syscall3(__NR_fcntl, fd, u64::from(F_GETFL), 0) })?;
    Ok(flags & u64::from(O_NONBLOCK) != 0)
}

/// Waits until a socket takes something, as long as `SO_SNDTIMEO` lets it. EAGAIN: it was too long.
fn wait_for_room(thread: &Thread, fd: u64) -> Result<()> {
    const SO_SNDTIMEO: u64 = 21;
    const POLLOUT: u64 = 4;
    // struct timeval; zeros are no limit.
    let mut limit = [0u64; 2];
    let mut length = 16u32;
    let (to, room) = (limit.as_mut_ptr() as u64, &raw mut length as u64);
    let args = [fd, SOL_SOCKET, SO_SNDTIMEO, to, room, 0];
    checked(unsafe { syscall6(__NR_getsockopt, args) })?;
    let limit_ms = match limit {
        [0, 0] => -1,
        [seconds, micros] => i64::try_from(seconds.saturating_mul(1000) + micros.div_ceil(1000))
            .map_or(-1, |limit| limit.min(i64::from(i32::MAX))),
    };
    // struct pollfd.
    let wanted = fd & 0xffff_ffff | POLLOUT << 32;
    let args = [
        &raw const wanted as u64,
        1,
        limit_ms.cast_unsigned(),
        0,
        0,
        0,
    ];
    match arch::wait(__NR_poll, args, thread.mask() & !signal::HELD) {
        0 => Err(Errno::EAGAIN),
        result if result > 0 => Ok(()),
        _ => Err(RESTART_ERRNO),
    }
}

/// A message of the guest, of which the kernel has seen nothing yet.
pub struct Outgoing {
    message: Message,
}

impl Outgoing {
    /// Copies it in. EFAULT; EINVAL: a name of negative length; EMSGSIZE: too many parts.
    pub fn read(from: u64) -> Result<Outgoing> {
        let mut message = memory::read::<Message>(from)?;
        message.name_len = name_len(&message)?;
        if message.iov_len > PARTS[1] as u64 {
            return Err(Errno::EMSGSIZE);
        }
        Ok(Outgoing { message })
    }

    /// One that is a single part.
    pub fn of_part(part: &[u64; 2]) -> Outgoing {
        Outgoing {
            message: Message {
                iov: part.as_ptr() as u64,
                iov_len: 1,
                ..Message::default()
            },
        }
    }

    /// The name, if there is one, and its length.
    pub fn name(&self) -> Option<(u64, u64)> {
        let Message { name, name_len, .. } = self.message;
        (name != 0 && name_len != 0).then_some((name, name_len))
    }

    /// Whether it has control data.
    pub fn has_control(&self) -> bool {
        self.message.control_len != 0
    }

    /// Its control data alone.
    pub fn control(&self) -> Result<Slot> {
        let mut slot = Slot::take(0);
        if self.has_control() {
            slot.read_control(self.message.control, self.message.control_len)?;
        }
        Ok(slot)
    }

    /// Sends it. `judge` sees and changes its control data, where it has such; `own` is a control
    /// message of ours.
    pub fn send(
        &self,
        thread: &Thread,
        fd: u64,
        flags: u64,
        name: Option<&[u8; LEN_MAX]>,
        own: &[u64],
        judge: impl Fn(&mut Slot) -> Result<()>,
    ) -> Result<u64> {
        let Message { iov, iov_len, .. } = self.message;
        if !self.has_control() && own.is_empty() && iov_len <= 1 {
            let part = match iov_len {
                0 => [0; 2],
                _ => memory::read::<[u64; 2]>(iov)?,
            };
            return send_part(thread, fd, part, flags, name);
        }
        let slot = self.put_together(name, own, &judge)?;
        if slot.is_scarce() && flags & u64::from(MSG_DONTWAIT) == 0 && !is_nonblocking(fd)? {
            drop(slot);
            return self.send_in_turns(thread, fd, flags, name, own, &judge);
        }
        slot.send(thread, fd, flags)
    }

    /// Sends it without waiting as long as it has a slot, and waits without one. A stream may take it
    /// in pieces.
    #[inline(never)]
    fn send_in_turns(
        &self,
        thread: &Thread,
        fd: u64,
        flags: u64,
        name: Option<&[u8; LEN_MAX]>,
        own: &[u64],
        judge: &dyn Fn(&mut Slot) -> Result<()>,
    ) -> Result<u64> {
        let mut done = 0;
        loop {
            let mut slot = self.put_together(name, own, judge)?;
            if done != 0 {
                // It went with the first piece.
                slot.cut_control(0);
            }
            let left = slot.skip(done);
            let outcome = match checked(slot.send_now_with(fd, flags)) {
                Ok(sent) if sent < left && sent != 0 => {
                    done += sent;
                    continue;
                }
                Ok(sent) => return Ok(done + sent),
                Err(Errno::EAGAIN) => wait_for_room(thread, fd),
                Err(errno) => Err(errno),
            };
            match outcome {
                Ok(()) => {}
                Err(_) if done != 0 => return Ok(done),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Puts it in a slot.
    pub fn put_together(
        &self,
        name: Option<&[u8; LEN_MAX]>,
        own: &[u64],
        judge: impl Fn(&mut Slot) -> Result<()>,
    ) -> Result<Slot> {
        let Message { iov, iov_len, .. } = self.message;
        let mut slot = Slot::take(iov_len);
        if self.has_control() {
            slot.read_control(self.message.control, self.message.control_len)?;
            judge(&mut slot)?;
        }
        slot.add_control(own);
        if let Some(name) = name {
            slot.set_name(name);
        }
        slot.read_parts(iov, iov_len)?;
        Ok(slot)
    }
}
