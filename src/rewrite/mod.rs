//! From the bytes of a program or library to a copy whose system calls enter the personality by a
//! jump, where that can be proven to change nothing else.
//!
//! [`analyse`] finds call sites ([`sites`]) in the decoded instructions of functions ([`functions`])
//! and gives each a *stub* ([`stub`]) in a *tail*, which is to be mapped behind the image; the site
//! becomes a jump to its stub. [`Rewritten::apply`] makes the copy. Bytes outside the sites stay.
//!
//! A function is what a symbol, an `.eh_frame` entry or Go's table of functions says it is, decoded
//! from its start to exactly its end. A search for the bytes of an instruction decides nothing. What
//! is not proven keeps its `syscall` instruction and so enters by SIGSYS.
//!
//! Deliberately absent: where copies are kept and who may see them (the monitor's), call frame
//! information for stubs, and ways to find functions of stripped files that have no such table.

mod functions;
mod sites;
mod stub;
#[cfg(test)]
mod tests;

use goblin::elf::program_header::{PF_W, PF_X, PT_LOAD};
use goblin::elf::{Elf, header};

/// Bytes of a page.
const PAGE: u64 = 4096;
/// Most bytes of code that are looked at.
const CODE_MAX: usize = 48 << 20;

/// A call site: what becomes of some bytes of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Where in the file.
    pub offset: usize,
    /// The address of that, before any bias.
    pub address: u64,
    /// What stands there instead.
    pub bytes: Vec<u8>,
    /// Where in the tail its stub begins.
    pub stub: usize,
}

/// What became of the `syscall` instructions of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All in functions that could be decoded.
    pub all: usize,
    /// Those of a number that needs no jump.
    pub native: usize,
    /// Rewritten at the instruction that loads the number.
    pub by_number: usize,
    /// Rewritten at the `syscall` and what follows it.
    pub by_neighbours: usize,
    /// Left to SIGSYS.
    pub left: usize,
}

/// How to rewrite one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// Sites in ascending order; they do not overlap.
    pub patches: Vec<Patch>,
    /// The stubs: whole pages.
    pub tail: Vec<u8>,
    /// Address of the tail, before the bias of a position-independent image: the first page behind
    /// its segments.
    pub tail_address: u64,
    /// For reports and tests.
    pub counts: Counts,
}

/// Code of the file, as it will be mapped.
struct Code<'a> {
    address: u64,
    offset: usize,
    bytes: &'a [u8],
}

/// Finds the call sites of an x86-64 ELF program or library, the numbers of whose calls `is_wanted`
/// accepts, and makes stubs that jump to `entry`.
///
/// `None`: no such file, or no site in it.
#[must_use]
pub fn analyse(file: &[u8], entry: u64, is_wanted: impl Fn(u32) -> bool) -> Option<Rewritten> {
    let elf = Elf::parse(file).ok()?;
    if elf.header.e_machine != header::EM_X86_64 || !elf.is_64 || !elf.little_endian {
        return None;
    }
    let loads = || elf.program_headers.iter().filter(|p| p.p_type == PT_LOAD);
    // A linker takes the first page of a library for its base.
    if elf.header.e_type == header::ET_DYN && loads().next()?.p_vaddr >= PAGE {
        return None;
    }
    let mut end = 0u64;
    let mut codes = Vec::new();
    for load in loads() {
        end = end.max(load.p_vaddr.checked_add(load.p_memsz)?);
        if load.p_flags & PF_X != 0 && load.p_flags & PF_W == 0 {
            let offset = usize::try_from(load.p_offset).ok()?;
            let size = usize::try_from(load.p_filesz).ok()?;
            let bytes = file.get(offset..offset.checked_add(size)?)?;
            codes.push(Code {
                address: load.p_vaddr,
                offset,
                bytes,
            });
        }
    }
    if codes.iter().map(|code| code.bytes.len()).sum::<usize>() > CODE_MAX {
        return None;
    }
    let tail_address = end.checked_next_multiple_of(PAGE)?;
    let found = functions::find(&elf, file);
    let mut stubs = stub::Stubs::new(tail_address, entry);
    let (mut patches, mut counts) = (Vec::new(), Counts::default());
    for code in &codes {
        sites::rewrite(
            code,
            &found,
            &is_wanted,
            &mut stubs,
            &mut patches,
            &mut counts,
        );
    }
    if patches.is_empty() {
        return None;
    }
    patches.sort_by_key(|patch| patch.offset);
    Some(Rewritten {
        patches,
        tail: stubs.into_tail(),
        tail_address,
        counts,
    })
}

impl Rewritten {
    /// The copy: the file with its sites changed, then the tail. Also the tail's offset in it, in
    /// bytes, a multiple of the page size.
    #[must_use]
    pub fn apply(&self, file: &[u8]) -> (Vec<u8>, u64) {
        let mut copy = file.to_vec();
        for patch in &self.patches {
            let end = patch.offset + patch.bytes.len();
            if let Some(to) = copy.get_mut(patch.offset..end) {
                to.copy_from_slice(&patch.bytes);
            }
        }
        let page = usize::try_from(PAGE).unwrap_or(usize::MAX);
        copy.resize(copy.len().next_multiple_of(page), 0);
        let at = copy.len() as u64;
        copy.extend_from_slice(&self.tail);
        (copy, at)
    }
}
