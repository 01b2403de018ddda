//! What the kernel says of the same lists, as fs/posix_acl.c has it.

use super::*;
use std::vec::Vec;

/// A list of tags, permissions and ids.
fn list(rows: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut value = VERSION.to_le_bytes().to_vec();
    for &(tag, permissions, id) in rows {
        let entry = Entry {
            tag,
            permissions,
            id,
        };
        value.extend(entry.to_bytes());
    }
    value
}

const USER_7: (u16, u16, u32) = (USER, 6, 7);
const GROUP_8: (u16, u16, u32) = (GROUP, 5, 8);

/// user::rwx, user:7:rw-, group::r--, group:8:r-x, mask::MASK, other::---
fn full(mask: u16) -> Vec<u8> {
    list(&[
        (USER_OBJ, 7, 0),
        USER_7,
        (GROUP_OBJ, 4, 0),
        GROUP_8,
        (MASK, mask, 0),
        (OTHER, 0, 0),
    ])
}

#[test]
fn what_is_no_list_is_refused() {
    let parse = |value: &[u8]| parse(value, |id| id == 7, |id| id == 8);
    assert_eq!(parse(b""), Ok(false));
    assert_eq!(parse(&list(&[])), Ok(false));
    assert_eq!(parse(&full(7)), Ok(true));
    assert_eq!(parse(b"\x02\0\0"), Err(Errno::EINVAL));
    assert_eq!(parse(b"\x01\0\0\0"), Err(Errno::EOPNOTSUPP));
    assert_eq!(parse(&full(7)[..50]), Err(Errno::EINVAL));
    for wrong in [(USER, 6, 8), (GROUP, 6, 7), (USER, 6, NOBODY), (3, 0, 0)] {
        assert_eq!(parse(&list(&[wrong])), Err(Errno::EINVAL), "{wrong:?}");
    }
}

#[test]
fn entries_come_in_their_order_and_once() {
    let (user, group, other) = ((USER_OBJ, 6, 0), (GROUP_OBJ, 4, 0), (OTHER, 0, 0));
    let mask = (MASK, 7, 0);
    for (rows, is_right) in [
        (&[user, group, other][..], true),
        (&[user, group, mask, other], true),
        (&[user, USER_7, USER_7, group, GROUP_8, mask, other], true),
        (&[user, USER_7, group, other], false),
        (&[user, group, GROUP_8, other], false),
        (&[user, group], false),
        (&[group, other], false),
        (&[user, USER_7, other], false),
        (&[user, group, USER_7, mask, other], false),
        (&[user, group, other, other], false),
        (&[user, group, mask, mask, other], false),
        (&[user, user, group, other], false),
        (&[(USER_OBJ, 8, 0), group, other], false),
        (&[], false),
    ] {
        assert_eq!(is_valid(&list(rows)), is_right, "{rows:?}");
    }
}

#[test]
fn the_mode_has_the_mask() {
    assert_eq!(mode_of(&full(6)), 0o760);
    assert!(!is_plain(&full(6)));
    let mut plain = list(&[(USER_OBJ, 6, 0), (GROUP_OBJ, 4, 0), (OTHER, 1, 0)]);
    assert!(is_plain(&plain));
    assert_eq!(mode_of(&plain), 0o641);
    put_mode(&mut plain, 0o4752);
    assert_eq!(mode_of(&plain), 0o752);
    let mut masked = full(6);
    put_mode(&mut masked, 0o614);
    assert_eq!(mode_of(&masked), 0o614);
    assert_eq!(masked.get(20..24), full(6).get(20..24), "the group's entry");
}

#[test]
fn what_is_made_gets_what_both_allow() {
    let mut value = full(6);
    assert_eq!(inherit(&mut value, 0o102_755), 0o102_740);
    assert_eq!(mode_of(&value), 0o740);
}

#[test]
fn the_first_entry_that_applies_decides_and_of_groups_any() {
    let ask = |mask, want, user: u32, owns_group, group: u32| {
        let value = full(mask);
        permits(&value, want, |id| id == user, owns_group, |id| id == group)
    };
    assert!(ask(7, 6, 7, false, 0));
    assert!(!ask(7, 1, 7, false, 8), "a user's entry is the last word");
    assert!(!ask(4, 6, 7, false, 0), "the mask");
    assert!(ask(7, 1, 0, true, 8), "one of the groups gives it");
    assert!(!ask(7, 2, 0, true, 8), "none does");
    assert!(!ask(7, 4, 0, false, 0));
    let open = list(&[(USER_OBJ, 0, 0), (GROUP_OBJ, 0, 0), (OTHER, 7, 0)]);
    let ask = |owns_group| permits(&open, 4, |_| false, owns_group, |_| false);
    assert!(ask(false) && !ask(true), "members are no others");
    assert_eq!(names(&full(7)).collect::<Vec<_>>(), [(true, 7), (false, 8)]);
}
