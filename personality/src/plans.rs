//! Load plans that the monitor has made before: an exec by one of them asks nobody.
//!
//! The monitor writes rows, guests read them. A row holds under one condition only, which its reader
//! checks: that the files it speaks of, opened anew by their names, still are the same and unchanged.

use crate::capabilities::FilePrivileges;
use crate::mailbox::Image;
use crate::sequenced::Sequenced;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU64, Ordering};

/// How many plans there are.
pub const ROWS: usize = 256;
/// How many rows a name can have: those from [`first_row`] on.
pub const WAYS: usize = 4;
/// Room for a name, terminating NUL included.
pub const NAME_MAX: usize = 256;

/// A file's content, as fstat(2) tells it from any other: what changes it, or its name, changes
/// `st_ctim`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FileId {
    /// `st_dev`.
    pub dev: u64,
    /// `st_ino`.
    pub ino: u64,
    /// `st_size` in bytes.
    pub size: i64,
    /// `st_ctim.tv_sec`.
    pub seconds: i64,
    /// `st_ctim.tv_nsec`.
    pub nanoseconds: i64,
}

/// A path, NUL-terminated; empty if there is none.
pub type Name = [u8; NAME_MAX];

/// How many segments an image can have that is known: guests copy the plan, on a small stack. Almost
/// all have four or five.
pub const SEGMENTS: usize = 8;

/// Room for the name of a copy in [`FD_COPIES`](crate::layout::FD_COPIES), terminating NUL included.
pub const COPY_MAX: usize = 96;
/// The name of a file's rewritten copy, NUL-terminated; empty if there is none.
pub type CopyName = [u8; COPY_MAX];

/// One plan.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct KnownPlan {
    /// The absolute path by which the program was asked for.
    pub name: Name,
    /// Where that led in the zone, as [`Handover::path`](crate::mailbox::Handover::path).
    pub path: Name,
    /// Where its interpreter lies in the zone; empty if it has none. The program's own name is followed
    /// anew each time, this one is not: libc's is mostly reached through an absolute link, and who
    /// installs another replaces the file too.
    pub interp_path: Name,
    /// The program's file.
    pub exe_id: FileId,
    /// The interpreter's.
    pub interp_id: FileId,
    /// The program's copy, which is mapped in its place.
    pub exe_copy: CopyName,
    /// The interpreter's.
    pub interp_copy: CopyName,
    /// [`Commons::links`](crate::commons::Commons::links) before `path` was found.
    pub links: u32,
    /// As [`Handover::exec_stack`](crate::mailbox::Handover::exec_stack).
    pub exec_stack: u32,
    /// What the program's file gives; owner and mode have no meaning, they are looked at anew.
    pub privileges: FilePrivileges,
    /// The program; `fd` has no meaning.
    pub exe: Image<SEGMENTS>,
    /// The interpreter, if any; `fd` has no meaning.
    pub interp: Image<SEGMENTS>,
}

const WORDS: usize = size_of::<KnownPlan>() / 8;
const _: () = assert!(size_of::<KnownPlan>() == WORDS * 8 && align_of::<KnownPlan>() == 8);

/// A place for a plan.
#[repr(transparent)]
pub struct PlanRow(Sequenced<WORDS>);

/// Where the rows of a name begin (FNV-1a).
#[must_use]
pub const fn first_row(name: &[u8]) -> usize {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < name.len() {
        hash = (hash ^ name[at] as u64).wrapping_mul(0x100_0000_01b3);
        at += 1;
    }
    (hash >> 40) as usize & (ROWS - 1)
}

/// The row of that number among those of a name.
#[must_use]
pub const fn way(name: &[u8], number: usize) -> usize {
    (first_row(name) + number) & (ROWS - 1)
}

impl PlanRow {
    /// How often the row was written.
    #[must_use]
    pub fn writes(&self) -> u32 {
        self.0.writes()
    }

    /// Copies the plan to the caller's place, if it is that of `name`. `None` also while it is being
    /// written.
    pub fn get<'p>(
        &self,
        name: &[u8],
        plan: &'p mut MaybeUninit<KnownPlan>,
    ) -> Option<&'p KnownPlan> {
        // SAFETY: `KnownPlan` is as long and as aligned, and made of integers only.
        let words = unsafe { &mut *plan.as_mut_ptr().cast::<MaybeUninit<[u64; WORDS]>>() };
        let is_his = |words: &_| name.len() < NAME_MAX && is_of(words, name);
        let words = self.0.read_into(is_his, words)?;
        // SAFETY: as above.
        Some(unsafe { &*core::ptr::from_ref(words).cast::<KnownPlan>() })
    }

    /// Whether the plan is that of `name`.
    #[must_use]
    pub fn is_named(&self, name: &[u8]) -> bool {
        self.get(name, &mut MaybeUninit::uninit()).is_some()
    }

    /// Replaces the plan. There must be one writer at a time; names must be zero beyond their end.
    pub fn set(&self, plan: &KnownPlan) {
        // SAFETY: as long, and made of integers only.
        let words = unsafe { core::mem::transmute::<KnownPlan, [u64; WORDS]>(*plan) };
        self.0.write(&words);
    }
}

/// Whether a row's name is this one, as far as one can tell while it may be written.
fn is_of(words: &[AtomicU64; WORDS], name: &[u8]) -> bool {
    // With its NUL: a name that ends with a word is followed by an empty one.
    (0..=name.len() / 8).all(|at| {
        let part = &name[at * 8..name.len().min(at * 8 + 8)];
        let mut bytes = [0; 8];
        bytes[..part.len()].copy_from_slice(part);
        words[at].load(Ordering::Relaxed) == u64::from_ne_bytes(bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &[u8], size: i64) -> KnownPlan {
        // SAFETY: integers only.
        let mut plan = unsafe { core::mem::zeroed::<KnownPlan>() };
        plan.name[..name.len()].copy_from_slice(name);
        plan.exe_id.size = size;
        plan.interp_id.nanoseconds = size;
        plan
    }

    fn row() -> PlanRow {
        // SAFETY: zeroed memory is an unused row.
        unsafe { core::mem::zeroed() }
    }

    #[test]
    fn a_row_answers_to_its_whole_name_only() {
        let row = row();
        for name in [&b"/bin/sh"[..], b"/bin/sh1", b"/usr/bin/python3", b"/"] {
            row.set(&named(name, 7));
            let mut room = MaybeUninit::uninit();
            let plan = row.get(name, &mut room);
            assert_eq!(plan.map(|plan| plan.exe_id.size), Some(7));
            let longer = [name, b"x"].concat();
            assert!(!row.is_named(&longer));
            assert!(!row.is_named(&name[..name.len() - 1]));
        }
        assert_eq!(row.writes(), 4);
        assert!(!row.is_named(&[b'/'; NAME_MAX]));
    }

    #[test]
    fn an_unused_row_answers_to_nothing() {
        assert!(!row().is_named(b""));
        assert!(!row().is_named(b"/bin/sh"));
    }

    #[test]
    fn readers_never_see_half_a_plan() {
        let row = row();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for size in 1..20_000 {
                    row.set(&named(b"/bin/true", size));
                }
            });
            let mut seen = 0;
            while !writer.is_finished() {
                if let Some(plan) = row.get(b"/bin/true", &mut MaybeUninit::uninit()) {
                    assert_eq!(plan.exe_id.size, plan.interp_id.nanoseconds);
                    seen += 1;
                }
            }
            // At least once between two writes, or when all was over.
            assert!(seen > 0 || row.is_named(b"/bin/true"));
        });
    }
}
