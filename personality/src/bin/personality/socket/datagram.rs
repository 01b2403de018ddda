//! Receiving from a unix datagram socket: who sent a datagram rides along with it as a descriptor
//! ([`picozone_personality::card`]), which is taken out here.

use super::unix::{credentials_of, to_address};
use super::{Address, Message};
use crate::arch::{self, syscall1, syscall4};
use crate::dispatch::checked_or_restart;
use crate::thread::Thread;
use crate::{Result, memory, pids, signal};
use linux_raw_sys::general::*;
use picozone_personality::card::{CARD_SIZE, Card, Sender};

const SOL_SOCKET: u32 = 1;
const SCM_RIGHTS: u32 = 1;
const SCM_CREDENTIALS: u32 = 2;
const MSG_CTRUNC: u64 = 8;
/// `struct cmsghdr`.
const HEADER: usize = 16;
/// Bytes of control data: what a datagram of a zone brings at most, and more.
const ROOM: usize = 1280;

/// Control data, aligned as its headers are.
#[repr(align(8))]
struct Control([u8; ROOM]);

/// Who sent, as a card told it.
struct From {
    zone: Option<u32>,
    address: Address,
}

/// recvfrom(2) with an address.
pub(super) fn recvfrom(thread: &Thread, a: [u64; 6]) -> Result<u64> {
    let iov = [a[1], a[2]];
    let mut message = Message {
        iov: iov.as_ptr() as u64,
        iov_len: 1,
        ..Message::default()
    };
    let mut control = Control([0; ROOM]);
    let (got, from) = receive(thread, a[0], &mut message, &mut control, a[3])?;
    // All but the card is not asked for.
    give(&control, &message, from.as_ref(), 0, 0)?;
    address_of(from).write(a[4], a[5])?;
    Ok(got)
}

/// recvmsg(2) of the message at `place`, which is `guest`.
pub(super) fn recvmsg(
    thread: &Thread,
    fd: u64,
    place: u64,
    guest: &Message,
    flags: u64,
) -> Result<u64> {
    let mut message = *guest;
    let mut control = Control([0; ROOM]);
    let (got, from) = receive(thread, fd, &mut message, &mut control, flags)?;
    let room = if guest.control == 0 {
        0
    } else {
        usize::try_from(guest.control_len).unwrap_or(usize::MAX)
    };
    let given = give(&control, &message, from.as_ref(), guest.control, room)?;
    let address = address_of(from);
    let mut told = *guest;
    if guest.name != 0 {
        let room = usize::try_from((guest.name_len as u32).cast_signed()).unwrap_or(0);
        memory::write_bytes(guest.name, &address.as_bytes()[..address.len.min(room)])?;
        told.name_len = guest.name_len & !0xffff_ffff | address.len as u64;
    }
    told.control_len = given.length as u64;
    let is_cut = u64::from(given.is_cut) * MSG_CTRUNC;
    told.flags = message.flags & !MSG_CTRUNC | is_cut;
    memory::write(place, &told)?;
    Ok(got)
}

fn address_of(from: Option<From>) -> Address {
    from.map_or(Address::EMPTY, |from| from.address)
}

/// Receives into the guest's buffers and our control data, and takes the card out.
fn receive(
    thread: &Thread,
    fd: u64,
    message: &mut Message,
    control: &mut Control,
    flags: u64,
) -> Result<(u64, Option<From>)> {
    (message.name, message.name_len) = (0, 0);
    message.control = control.0.as_mut_ptr() as u64;
    message.control_len = ROOM as u64;
    let args = [fd, core::ptr::from_mut(message) as u64, flags, 0, 0, 0];
    let mask = thread.mask() & !signal::HELD;
    let got = checked_or_restart(arch::wait(__NR_recvmsg, args, mask))?;
    message.control_len = message.control_len.min(ROOM as u64);
    let from = messages(control, message).find_map(|(kind, data)| {
        let card = (kind == (SOL_SOCKET, SCM_RIGHTS))
            .then(|| data.first_chunk())
            .flatten()?;
        read_card(u32::from_ne_bytes(*card))
    });
    Ok((got, from))
}

/// What a descriptor says if it is a card.
fn read_card(fd: u32) -> Option<From> {
    let mut bytes = [0; CARD_SIZE];
    let to = bytes.as_mut_ptr() as u64;
    let read = unsafe { syscall4(__NR_pread64, u64::from(fd), to, CARD_SIZE as u64, 0) };
    if read != CARD_SIZE as i64 {
        return None;
    }
    let card = Card::decode(&bytes)?;
    let zone = match card.sender {
        Sender::Zone(pid) => Some(pid),
        Sender::Host(pid) => pids::to_zone(pid),
    };
    Some(From {
        zone,
        address: to_address(card.address),
    })
}

/// Level and type of each control message, and its data.
fn messages<'c>(
    control: &'c Control,
    message: &Message,
) -> impl Iterator<Item = ((u32, u32), &'c [u8])> {
    let bytes = control.0.get(..message.control_len as usize);
    let mut rest = bytes.unwrap_or_default();
    core::iter::from_fn(move || {
        let header = rest.first_chunk::<HEADER>()?;
        let word = |at: usize| {
            header[at..]
                .first_chunk()
                .copied()
                .map_or(0, u64::from_ne_bytes)
        };
        let (length, kind) = (usize::try_from(word(0)).ok()?, word(8));
        let data = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(8)..).unwrap_or_default();
        Some(((kind as u32, (kind >> 32) as u32), data))
    })
}

/// What the guest got of control data.
struct Given {
    length: usize,
    is_cut: bool,
}

/// Gives the guest its control data without the card, in `room` bytes at `to`; descriptors for which
/// there is no room are closed, as the kernel does.
fn give(
    control: &Control,
    message: &Message,
    from: Option<&From>,
    to: u64,
    room: usize,
) -> Result<Given> {
    let mut given = Given {
        length: 0,
        is_cut: message.flags & MSG_CTRUNC != 0,
    };
    let mut has_card = from.is_some();
    for (kind, data) in messages(control, message) {
        let left = room.saturating_sub(given.length);
        let mut ucred = [0; 12];
        let data = match kind {
            (SOL_SOCKET, SCM_RIGHTS) => {
                let mut fds = data;
                if core::mem::replace(&mut has_card, false) {
                    close(&fds[..4]);
                    fds = &fds[4..];
                }
                if fds.is_empty() {
                    continue;
                }
                let fitting = left.saturating_sub(HEADER) & !3;
                let (fds, others) = fds.split_at(fitting.min(fds.len()));
                close(others);
                given.is_cut |= !others.is_empty();
                if fds.is_empty() {
                    continue;
                }
                fds
            }
            (SOL_SOCKET, SCM_CREDENTIALS) => {
                let host = data.first_chunk().copied().map_or(0, u32::from_ne_bytes);
                let zone = from.map_or_else(|| pids::to_zone(host), |from| from.zone);
                let words = credentials_of(zone).map(u32::to_ne_bytes);
                ucred.copy_from_slice(words.as_flattened());
                &ucred[..]
            }
            _ => data,
        };
        if left < HEADER + data.len() {
            given.is_cut = true;
            continue;
        }
        let place = to.wrapping_add(given.length as u64);
        let header = [
            (HEADER + data.len()) as u64,
            u64::from(kind.0) | u64::from(kind.1) << 32,
        ];
        memory::write(place, &header)?;
        memory::write_bytes(place.wrapping_add(HEADER as u64), data)?;
        given.length += (HEADER + data.len()).next_multiple_of(8).min(left);
    }
    Ok(given)
}

/// Closes descriptors, four bytes each.
fn close(fds: &[u8]) {
    for fd in fds.as_chunks().0 {
        let fd = u32::from_ne_bytes(*fd);
        unsafe { syscall1(__NR_close, u64::from(fd)) };
    }
}
