//! Supplementary groups of a thread: few in its block, many in memory of their own.

use crate::arch::{syscall2, syscall6};
use crate::{Errno, Result, memory};
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use picozone_personality::commons::{FEW_GROUPS, GROUPS_MAX};

/// The groups, in ascending order as the kernel keeps them.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Groups {
    count: u32,
    few: [u32; FEW_GROUPS],
    /// A mapping with room for [`GROUPS_MAX`], this thread's alone; 0 where few suffice.
    many: u64,
    /// Tells these from others.
    hash: u64,
}

const MANY_SIZE: u64 = 4 * GROUPS_MAX as u64;

impl Groups {
    pub const NONE: Groups = Groups {
        count: 0,
        few: [0; FEW_GROUPS],
        many: 0,
        hash: 0,
    };

    pub fn as_slice(&self) -> &[u32] {
        let count = self.count as usize;
        if self.many == 0 {
            self.few.get(..count).unwrap_or(&[])
        } else {
            unsafe { core::slice::from_raw_parts(self.many as *const u32, count) }
        }
    }

    #[inline]
    pub fn contains(&self, group: u32) -> bool {
        self.as_slice().contains(&group)
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Takes others in their place: `fill` fills that many.
    fn set(&mut self, count: usize, fill: impl FnOnce(&mut [u32]) -> Result<()>) -> Result<()> {
        let mut new = Groups {
            count: count as u32,
            ..Groups::NONE
        };
        let list = if count > FEW_GROUPS {
            let args = [0, MANY_SIZE, 3, 0x22, u64::MAX, 0];
            new.many = crate::dispatch::checked(unsafe { syscall6(__NR_mmap, args) })
                .map_err(|_| Errno::ENOMEM)?;
            unsafe { core::slice::from_raw_parts_mut(new.many as *mut u32, count) }
        } else {
            &mut new.few[..count]
        };
        let result = fill(list);
        list.sort_unstable();
        new.hash = list.iter().fold(count as u64, |hash, &group| {
            (hash ^ u64::from(group))
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
        });
        if result.is_ok() {
            core::mem::swap(self, &mut new);
        }
        new.free();
        result
    }

    /// A list of the guest's.
    pub fn read(count: usize, list: u64) -> Result<Groups> {
        let mut groups = Groups::NONE;
        groups.set(count, |to| {
            let bytes = size_of_val(to);
            let to = unsafe { core::slice::from_raw_parts_mut(to.as_mut_ptr().cast(), bytes) };
            memory::read_bytes(list, to)
        })?;
        if groups.contains(u32::MAX) {
            groups.free();
            return Err(Errno::EINVAL);
        }
        Ok(groups)
    }

    /// A list that is known: without memory for many, none.
    pub fn of(list: &[u32]) -> Groups {
        let mut groups = Groups::NONE;
        let _ = groups.set(list.len(), |to| {
            to.copy_from_slice(list);
            Ok(())
        });
        groups
    }

    /// A list from the commons.
    pub fn load(list: &[AtomicU32]) -> Groups {
        let mut groups = Groups::NONE;
        let _ = groups.set(list.len(), |to| {
            for (to, from) in to.iter_mut().zip(list) {
                *to = from.load(Relaxed);
            }
            Ok(())
        });
        groups
    }

    /// Those of a thread that another made, and that shares its memory.
    pub fn inherited(&self) -> Groups {
        if self.many == 0 {
            *self
        } else {
            Groups::of(self.as_slice())
        }
    }

    /// Gives the memory back.
    pub fn free(&mut self) {
        if self.many != 0 {
            unsafe { syscall2(__NR_munmap, self.many, MANY_SIZE) };
            *self = Groups::NONE;
        }
    }
}
