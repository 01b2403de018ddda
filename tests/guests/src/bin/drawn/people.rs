//! Who makes a call.

use crate::lot::Lot;
use picozone_guests::{call, from};

pub(crate) const KEEP: u64 = u32::MAX as u64;
/// Capabilities that matter for files, processes and users.
const CAPABILITIES: [u32; 13] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 21, 27, 31];

/// Users, groups and capabilities of a caller.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    uids: [u64; 3],
    gids: [u64; 3],
    fsuid: Option<u64>,
    groups: Vec<u32>,
    /// The effective set, where it is not what the users give.
    effective: Option<u64>,
}

/// `struct __user_cap_header_struct`, version 3, of the caller.
pub(crate) const HEADER: [u32; 2] = [0x2008_0522, 0];

impl Person {
    pub(crate) fn draw(lot: &mut Lot) -> Self {
        let user = lot.pick(&[1000, 1000, 1001]);
        let group = lot.pick(&[1000, 1001, 2000]);
        let groups = lot
            .pick(&[&[][..], &[2000], &[1000, 2000, 1001], &[0]])
            .to_vec();
        let mut person = Self {
            uids: [user; 3],
            gids: [group; 3],
            fsuid: None,
            groups,
            effective: None,
        };
        match lot.below(12) {
            0 | 1 => (person.uids, person.gids) = ([0; 3], [0; 3]),
            // Root without a right.
            2 => (person.uids, person.effective) = ([0; 3], Some(0)),
            // A user with one right.
            3 | 4 => person.effective = Some(1 << lot.pick(&CAPABILITIES)),
            5 => {
                person.effective = Some(
                    CAPABILITIES
                        .iter()
                        .fold(0, |all, _| all | 1 << lot.pick(&CAPABILITIES)),
                )
            }
            // A set-id program, of either kind.
            6 => person.uids = [user, 0, 0],
            7 => person.uids = [0, user, 0],
            8 => (person.uids, person.fsuid) = ([0; 3], Some(user)),
            _ => {}
        }
        person
    }

    /// Whether the kernel would let it change the host.
    pub(crate) fn is_user(&self) -> bool {
        self.uids[1] != 0 && self.effective.is_none()
    }

    /// The caller becomes it.
    pub(crate) fn become_it(&self) {
        let groups = self.groups.as_ptr() as u64;
        call(libc::SYS_setgroups, &[self.groups.len() as u64, groups]).expect("root may");
        call(libc::SYS_setresgid, &self.gids).expect("root may");
        if self.effective.is_some() {
            call(libc::SYS_prctl, &[libc::PR_SET_KEEPCAPS as u64, 1]).expect("root may");
        }
        call(libc::SYS_setresuid, &self.uids).expect("root may");
        if let Some(effective) = self.effective {
            let (low, high) = ((effective & KEEP) as u32, (effective >> 32) as u32);
            let sets = [low, low, 0, high, high, 0];
            call(libc::SYS_capset, &[from(&HEADER), from(&sets)]).expect("it has them");
        }
        if let Some(user) = self.fsuid {
            call(libc::SYS_setfsuid, &[user]).expect("root may");
        }
    }
}
