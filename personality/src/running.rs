//! Which files are programs that run: those are not to be written (`ETXTBSY`).
//!
//! A process' entry says which file it executes, and under which name. One bit for many names tells
//! whether any program of such a name may run, so that almost every open for writing asks nobody. A
//! program that was renamed since, or is reached by another name, is not found that way.

use crate::commons::{Commons, Process};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64};

/// Words of the bits.
const WORDS: usize = 64;

/// The bits.
#[repr(transparent)]
pub struct Names([AtomicU64; WORDS]);

/// The program of a process.
#[repr(C)]
pub struct Program {
    /// `st_dev` and `st_ino` of its file; 0 if it has none.
    pub file: [AtomicU64; 2],
    /// [`hash`] of its path.
    pub name: AtomicU32,
    /// Unused.
    pub pad: AtomicU32,
}

/// A path's last name, as far as names are told apart.
#[must_use]
pub fn hash(path: &[u8]) -> u32 {
    let name = path.iter().rev().take_while(|&&byte| byte != b'/');
    name.fold(0x811c_9dc5, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// A name's bit.
const fn bit(hash: u32) -> usize {
    (hash ^ hash >> 15) as usize % (64 * WORDS)
}

/// The same within its word.
const fn mask(hash: u32) -> u64 {
    1 << (bit(hash) % 64)
}

impl Names {
    fn word(&self, hash: u32) -> &AtomicU64 {
        &self.0[bit(hash) / 64]
    }

    /// Whether a program of that name may run. `false` is certain.
    #[must_use]
    pub fn may_run(&self, hash: u32) -> bool {
        self.word(hash).load(Acquire) & mask(hash) != 0
    }
}

impl Program {
    /// Notes what a process executes from now on.
    pub fn note(&self, names: &Names, path: &[u8], file: [u64; 2]) {
        let hash = hash(path);
        self.name.store(hash, Relaxed);
        self.file[0].store(file[0], Relaxed);
        self.file[1].store(file[1], Release);
        if !names.may_run(hash) {
            names.word(hash).fetch_or(mask(hash), Release);
        }
    }

    /// A process that is born executes what its parent does.
    pub fn inherit(&self, parent: &Program) {
        self.name.store(parent.name.load(Relaxed), Relaxed);
        for (to, from) in self.file.iter().zip(&parent.file) {
            to.store(from.load(Relaxed), Relaxed);
        }
    }

    fn is(&self, file: [u64; 2]) -> bool {
        self.file[1].load(Acquire) == file[1] && self.file[0].load(Relaxed) == file[0]
    }
}

impl Commons {
    /// Whether a process that `lives` executes a file. Names that none has any more are forgotten.
    pub fn runs(&self, file: [u64; 2], hash: u32, lives: impl Fn(&Process) -> bool) -> bool {
        let word = self.running.word(hash);
        word.fetch_and(!mask(hash), Release);
        let (mut is_named, mut runs) = (false, false);
        for number in self.numbers() {
            let Some((process, _)) = self.entry(number) else {
                continue;
            };
            let program = &process.program;
            is_named |= bit(program.name.load(Relaxed)) == bit(hash);
            runs = runs || program.is(file) && lives(process);
        }
        if is_named {
            word.fetch_or(mask(hash), Release);
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_name_counts() {
        assert_eq!(hash(b"/usr/bin/sh"), hash(b"sh"));
        assert_ne!(hash(b"/usr/bin/sh"), hash(b"/usr/bin/bash"));
        // SAFETY: zeroed memory is what processes find.
        let names = unsafe { core::mem::zeroed::<Names>() };
        // SAFETY: the same.
        let program = unsafe { core::mem::zeroed::<Program>() };
        assert!(!names.may_run(hash(b"sh")));
        program.note(&names, b"/bin/sh", [1, 2]);
        assert!(names.may_run(hash(b"other/sh")) && program.is([1, 2]) && !program.is([2, 1]));
    }
}
