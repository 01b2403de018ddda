//! The `struct msghdr`s that guests may give to sendmsg(2).
//!
//! A message names its destination in memory that no filter sees, and a unix datagram socket takes
//! the path of any socket of the host there. So the filter admits none but those of the read-only
//! tables: without a name, or with one of a length that no unix socket accepts. What they point at,
//! the guest's to write, lies at fixed places of its own: a *slot* is room for one message, and has
//! an approved form for each combination of name and control data. What a message does not need of
//! its slot is filled with parts that are empty, and with a control message that nobody reads.

use crate::layout::MESSAGES_BASE;
use core::ops::Range;

/// How many messages the threads of a process send at once.
pub const SLOTS: usize = 64;
/// The last of them have room for as many parts as the kernel takes (`UIO_MAXIOV`).
pub const LARGE: Range<usize> = SLOTS - 4..SLOTS;
/// Parts of a message in a slot, and in a large one.
pub const PARTS: [usize; 2] = [16, 1024];
/// Bytes of a slot's control data: more than the kernel takes of descriptors.
pub const CONTROL_ROOM: usize = 1536;
/// Bytes of a slot's name.
pub const NAME_ROOM: usize = 128;
/// Bytes from one slot to the next: control data, name, parts; the many parts of a large one lie
/// behind all slots.
const STRIDE: usize = 2048;
/// `struct iovec`.
const PART_SIZE: usize = 16;
/// Bytes that all of it takes.
pub const AREA_SIZE: u64 =
    (SLOTS * STRIDE + (LARGE.end - LARGE.start) * PARTS[1] * PART_SIZE) as u64;
/// How many forms there are.
pub const COUNT: usize = SLOTS * FORMS;
const FORMS: usize = 4;

const _: () = assert!(CONTROL_ROOM + NAME_ROOM + PARTS[0] * PART_SIZE <= STRIDE);

/// An approved `struct msghdr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Approved(pub [u64; 7]);

/// Where the control data of a slot lies.
#[must_use]
pub const fn control_at(slot: usize) -> u64 {
    MESSAGES_BASE + (slot * STRIDE) as u64
}

/// Where its name lies.
#[must_use]
pub const fn name_at(slot: usize) -> u64 {
    control_at(slot) + CONTROL_ROOM as u64
}

/// Whether it has room for many parts.
#[must_use]
pub const fn is_large(slot: usize) -> bool {
    slot >= LARGE.start
}

/// How many parts it has.
#[must_use]
pub const fn parts(slot: usize) -> usize {
    PARTS[is_large(slot) as usize]
}

/// Where its parts lie.
#[must_use]
pub const fn parts_at(slot: usize) -> u64 {
    if is_large(slot) {
        let many = (slot - LARGE.start) * PARTS[1] * PART_SIZE;
        control_at(SLOTS) + many as u64
    } else {
        name_at(slot) + NAME_ROOM as u64
    }
}

/// Index of a slot's form.
#[must_use]
pub const fn index(slot: usize, has_name: bool, has_control: bool) -> usize {
    slot * FORMS + has_name as usize * 2 + has_control as usize
}

/// The form of that index.
#[must_use]
pub const fn approved(index: usize) -> Approved {
    let (slot, has_name, has_control) = (index / FORMS, index & 2 != 0, index & 1 != 0);
    let (name, name_len) = if has_name {
        (name_at(slot), NAME_ROOM as u64)
    } else {
        (0, 0)
    };
    let (control, control_len) = if has_control {
        (control_at(slot), CONTROL_ROOM as u64)
    } else {
        (0, 0)
    };
    let (iov, count) = (parts_at(slot), parts(slot) as u64);
    Approved([name, name_len, iov, count, control, control_len, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_names_a_unix_socket_and_no_rooms_overlap() {
        // sizeof(struct sockaddr_un) is 110.
        let mut rooms = Vec::new();
        for index in 0..COUNT {
            let Approved([name, name_len, iov, count, control, control_len, flags]) =
                approved(index);
            assert!(
                (name, name_len) == (0, 0) || name != 0 && name_len == 128,
                "{index}"
            );
            assert_eq!(flags, 0);
            if index % FORMS == FORMS - 1 {
                rooms.extend([(name, name_len), (iov, count * 16), (control, control_len)]);
            }
        }
        rooms.sort_unstable();
        assert_eq!(rooms.len(), 3 * SLOTS);
        assert_eq!(rooms.first().map(|room| room.0), Some(MESSAGES_BASE));
        for pair in rooms.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:x?}");
        }
        let last = rooms.last().expect("there are rooms");
        assert!(last.0 + last.1 <= MESSAGES_BASE + AREA_SIZE);
        assert_eq!(index(5, true, false), 22);
    }
}
