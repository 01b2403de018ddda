//! Small ELF files, made field by field.

use goblin::elf::header::{EM_X86_64, ET_DYN, ET_EXEC};
use goblin::elf::program_header::{PF_R, PF_W, PF_X, PT_INTERP, PT_LOAD};

/// `mov eax, 60; xor edi, edi; syscall`: `exit(0)`.
const CODE: [u8; 9] = [0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];
/// Where the code lies in the file; the program headers come before it.
const CODE_AT: u16 = 0x780;
/// Bytes of the file, all of which the first segment maps.
const SIZE: usize = 0x800;

/// One program header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phdr {
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) offset: u64,
    pub(super) vaddr: u64,
    pub(super) filesz: u64,
    pub(super) memsz: u64,
    pub(super) align: u64,
}

/// A file, before it is bytes.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) class: u8,
    pub(super) kind: u16,
    pub(super) machine: u16,
    pub(super) entry: u64,
    pub(super) phoff: u64,
    pub(super) phentsize: u16,
    pub(super) phnum: Option<u16>,
    pub(super) phdrs: Vec<Phdr>,
    pub(super) patches: Vec<(usize, Vec<u8>)>,
    pub(super) size: usize,
}

impl Sample {
    /// A program at fixed addresses that exits with 0.
    pub(super) fn fixed() -> Self {
        Self::at(ET_EXEC, 0x40_0000)
    }

    /// A position-independent program that exits with 0.
    pub(super) fn dynamic() -> Self {
        Self::at(ET_DYN, 0)
    }

    fn at(kind: u16, base: u64) -> Self {
        let size = SIZE as u64;
        let text = load(PF_R | PF_X, 0, base, size, size);
        let data = load(PF_R | PF_W, 0, base + 0x2000, size, 0x1800);
        Sample {
            class: 2,
            kind,
            machine: EM_X86_64,
            entry: base + u64::from(CODE_AT),
            phoff: 64,
            phentsize: 56,
            phnum: None,
            phdrs: vec![text, data],
            patches: vec![(CODE_AT.into(), CODE.to_vec())],
            size: SIZE,
        }
    }

    /// The same with an interpreter.
    pub(super) fn with_interp(mut self, path: &[u8]) -> Self {
        let at = 0x600u16;
        let mut name = path.to_vec();
        name.push(0);
        let len = name.len() as u64;
        let header = Phdr {
            kind: PT_INTERP,
            memsz: 0,
            ..load(PF_R, at.into(), 0, len, 0)
        };
        self.phdrs.insert(0, header);
        self.patches.push((at.into(), name));
        self
    }

    /// The same after a change.
    pub(super) fn but(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The file.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut file = vec![0; SIZE.max(self.size)];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &[0x7f, b'E', b'L', b'F', self.class, 1, 1]);
        put(16, &self.kind.to_le_bytes());
        put(18, &self.machine.to_le_bytes());
        put(20, &1u32.to_le_bytes());
        put(24, &self.entry.to_le_bytes());
        put(32, &self.phoff.to_le_bytes());
        put(52, &64u16.to_le_bytes());
        put(54, &self.phentsize.to_le_bytes());
        let phnum = self.phnum.unwrap_or(self.phdrs.len().try_into().unwrap());
        put(56, &phnum.to_le_bytes());
        for (i, phdr) in self.phdrs.iter().enumerate() {
            let at = 64 + i * 56;
            put(at, &phdr.kind.to_le_bytes());
            put(at + 4, &phdr.flags.to_le_bytes());
            let words = [
                phdr.offset,
                phdr.vaddr,
                phdr.vaddr,
                phdr.filesz,
                phdr.memsz,
                phdr.align,
            ];
            for (j, word) in words.iter().enumerate() {
                put(at + 8 + j * 8, &word.to_le_bytes());
            }
        }
        for (at, bytes) in &self.patches {
            put(*at, bytes);
        }
        file.truncate(self.size);
        file
    }
}

/// A `PT_LOAD`.
pub(super) fn load(flags: u32, offset: u64, vaddr: u64, filesz: u64, memsz: u64) -> Phdr {
    Phdr {
        kind: PT_LOAD,
        flags,
        offset,
        vaddr,
        filesz,
        memsz,
        align: 0x1000,
    }
}
