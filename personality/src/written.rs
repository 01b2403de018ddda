//! Set-id bits that go with the first write to their file.
//!
//! No write is seen here. So where one of the zone's users gives a file such bits, or opens one that has
//! them for writing, its row of the ownership table has a mark ([`UNTIL_WRITTEN`]) and, in place of a
//! device's number, what the file was then ([`version`]). The bits are gone once it is something else.

use crate::tables::{GROUP_TOO, MODE, UNTIL_WRITTEN};

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const GROUP_EXECUTES: u32 = 0o10;

/// What a write changes of a file: the time of its content, and mostly its length.
#[must_use]
pub const fn version(seconds: u64, nanoseconds: u64, size: u64) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let time = seconds
        .wrapping_mul(1_000_000_000)
        .wrapping_add(nanoseconds);
    time.wrapping_mul(FACTOR) ^ size.rotate_left(32).wrapping_mul(FACTOR)
}

/// The mode that a row stands for, `noted` being its last word and `now` the version of the file; marks
/// stay as they are (`setattr_should_drop_suidgid` in the kernel's fs/attr.c).
#[must_use]
pub const fn mode(mode: u32, noted: u64, now: u64) -> u32 {
    if mode & UNTIL_WRITTEN == 0 || noted == now {
        return mode;
    }
    let is_group_gone = mode & (GROUP_EXECUTES | GROUP_TOO) != 0;
    mode & !(SET_UID | if is_group_gone { SET_GID } else { 0 })
}

/// Whether a mode with its marks has bits that a write takes.
#[must_use]
pub const fn is_waiting(mode: u32) -> bool {
    mode & UNTIL_WRITTEN != 0 && mode & MODE & (SET_UID | SET_GID) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_go_with_a_change() {
        let before = version(1_700_000_000, 5, 10);
        let marked = 0o106_755 | UNTIL_WRITTEN;
        assert_eq!(mode(0o106_755, 0, before), 0o106_755, "no mark");
        assert_eq!(mode(marked, before, before), marked, "not written");
        for now in [
            version(1_700_000_000, 6, 10),
            version(1_700_000_001, 5, 10),
            version(1_700_000_000, 5, 11),
        ] {
            assert_eq!(mode(marked, before, now), 0o100_755 | UNTIL_WRITTEN);
            let locks = 0o106_745 | UNTIL_WRITTEN;
            assert_eq!(mode(locks, before, now), 0o102_745 | UNTIL_WRITTEN);
            assert_eq!(mode(locks | GROUP_TOO, before, now) & MODE, 0o100_745);
        }
        assert!(is_waiting(marked) && !is_waiting(0o106_755));
        assert!(!is_waiting(0o100_755 | UNTIL_WRITTEN));
    }
}
