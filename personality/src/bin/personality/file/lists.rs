//! Access control lists: which files have one, and whether it lets somebody do something.
//!
//! The monitor keeps them, the ownership table says who has one. Attributes of a file carry that along in
//! a field of theirs that means nothing, and that guests never see ([`Lists`]).

use super::owners::Owner;
use crate::memory;
use crate::thread::Thread;
use crate::{Result, identity::Credentials};
use linux_raw_sys::general::stat;
use picozone_personality::acl::{self, Kind};
use picozone_personality::mailbox::Request;
use picozone_personality::tables::{HAS_ACCESS_LIST, HAS_DEFAULT_LIST};

/// In [`stat::__pad0`]: the row of the ownership table, and which lists there are; 0 if there is none.
#[derive(Clone, Copy)]
pub(super) struct Lists(u32);

const ACCESS: u32 = 1 << 31;
const DEFAULT: u32 = 1 << 30;

impl Lists {
    pub(super) fn of(owner: &Owner) -> Lists {
        let has = |mark, bit| if owner.marks & mark == 0 { 0 } else { bit };
        match has(HAS_ACCESS_LIST, ACCESS) | has(HAS_DEFAULT_LIST, DEFAULT) {
            0 => Lists(0),
            lists => Lists(lists | owner.row),
        }
    }

    pub(super) fn put(self, st: &mut stat) {
        st.__pad0 = self.0;
    }

    fn row(self) -> u64 {
        u64::from(self.0 & !(ACCESS | DEFAULT))
    }
}

/// Whether a file has a list.
pub(super) fn has(st: &stat, kind: Kind) -> bool {
    let bit = match kind {
        Kind::Access => ACCESS,
        Kind::Default => DEFAULT,
    };
    st.__pad0 & bit != 0
}

/// Where the monitor finds the list that what is made in a directory gets.
pub fn default_list(st: &stat) -> Option<u64> {
    has(st, Kind::Default).then(|| Lists(st.__pad0).row())
}

/// Whether a file's list permits `want` to who does not own it; nothing if its mode alone says so.
#[inline]
pub(super) fn permits(thread: &Thread, st: &stat, want: u32) -> Option<bool> {
    // The kernel asks no list where the group's class has nothing.
    if st.__pad0 & ACCESS == 0 || st.st_mode & 0o070 == 0 {
        return None;
    }
    by_list(thread, st, want)
}

#[cold]
#[inline(never)]
fn by_list(thread: &Thread, st: &stat, want: u32) -> Option<bool> {
    let length = thread.ask(Request::List, &[Lists(st.__pad0).row()]).ok()?;
    let list = thread.mailbox().b.get(..length as usize)?;
    let who: &Credentials = &thread.credentials;
    let (is_user, is_member) = (|id| id == who.uid[3], |gid| who.is_member(gid));
    let owns_group = is_member(st.st_gid);
    Some(acl::permits(list, want, is_user, owns_group, is_member))
}

/// Gives a guest attributes.
pub(super) fn write(to: u64, st: &mut stat) -> Result<()> {
    st.__pad0 = 0;
    memory::write(to, st)
}
