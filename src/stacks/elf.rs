//! What of an ELF file is needed to unwind and to name: read in pieces, since files are large, and
//! believed in nothing.

use crate::trace::stack::Symbol;
use goblin::container::{Container, Ctx, Endian};
use goblin::elf::header::header64::Header;
use goblin::elf::header::{EM_X86_64, header64};
use goblin::elf::program_header::{PF_X, PT_GNU_EH_FRAME, PT_LOAD, PT_NOTE, ProgramHeader};
use goblin::elf::section_header::{SHT_DYNSYM, SHT_SYMTAB, SectionHeader};
use goblin::elf::sym::{STT_FUNC, STT_GNU_IFUNC, Symtab};
use nix::fcntl::OFlag;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// The files of this host: 64 bits, little-endian.
const CTX: Ctx = Ctx {
    container: Container::Big,
    le: Endian::Little,
};
/// Longest piece that is read.
const PIECE_MAX: u64 = 64 << 20;
/// Length of `struct elf64_phdr` and `struct elf64_shdr`.
const PROGRAM_HEADER: u64 = 56;
const SECTION_HEADER: u64 = 64;
/// Length of a symbol.
const SYMBOL: usize = 24;
/// Type of the note that holds the build id.
const NT_GNU_BUILD_ID: u32 = 3;
/// Longest build id.
const BUILD_ID_MAX: usize = 64;

/// Bytes of a file, and the address that its headers give them.
pub(super) struct Piece {
    pub(super) address: u64,
    pub(super) bytes: Vec<u8>,
}

/// A file that can be unwound.
pub(super) struct Image {
    segments: Vec<ProgramHeader>,
    pub(super) build_id: Vec<u8>,
    /// The sorted table of what is in `.eh_frame`, and that.
    pub(super) eh_frame: Option<(Piece, Piece)>,
}

/// An open file with its headers.
struct Elf {
    file: File,
    header: Header,
    segments: Vec<ProgramHeader>,
}

impl Elf {
    /// Opens it, if it is a file of this host's kind.
    fn open(path: &Path) -> Option<Self> {
        let file = open(path)?;
        let front = piece(&file, 0, header64::SIZEOF_EHDR as u64)?;
        let header = Header::parse(&front).ok()?;
        let is_known = header.e_ident.starts_with(b"\x7fELF\x02\x01")
            && header.e_machine == EM_X86_64
            && u64::from(header.e_phentsize) == PROGRAM_HEADER;
        let count = u64::from(header.e_phnum);
        let bytes = piece(&file, header.e_phoff, count * PROGRAM_HEADER).filter(|_| is_known)?;
        let segments = ProgramHeader::parse(&bytes, 0, header.e_phnum.into(), CTX).ok()?;
        Some(Self {
            file,
            header,
            segments,
        })
    }

    /// The bytes of a segment.
    fn segment(&self, segment: &ProgramHeader) -> Option<Piece> {
        Some(Piece {
            address: segment.p_vaddr,
            bytes: piece(&self.file, segment.p_offset, segment.p_filesz)?,
        })
    }

    fn of_type(&self, kind: u32) -> impl Iterator<Item = &ProgramHeader> {
        self.segments
            .iter()
            .filter(move |segment| segment.p_type == kind)
    }

    fn build_id(&self) -> Vec<u8> {
        let notes = self.of_type(PT_NOTE).filter(|note| note.p_filesz < 4096);
        let mut notes = notes.filter_map(|note| self.segment(note));
        notes
            .find_map(|notes| build_id(&notes.bytes))
            .unwrap_or_default()
    }

    /// `.eh_frame_hdr` has a segment of its own, and says where `.eh_frame` begins: it is read up to the
    /// end of its segment, since nobody says where it ends.
    fn eh_frame(&self) -> Option<(Piece, Piece)> {
        let header = self.segment(self.of_type(PT_GNU_EH_FRAME).next()?)?;
        let address = unwind_table(&header)?;
        let within = |segment: &&ProgramHeader| {
            let into = address.checked_sub(segment.p_vaddr);
            into.is_some_and(|into| into < segment.p_filesz)
        };
        let segment = self.of_type(PT_LOAD).find(within)?;
        let into = address - segment.p_vaddr;
        let from = segment.p_offset.checked_add(into)?;
        let bytes = piece(&self.file, from, segment.p_filesz - into)?;
        Some((header, Piece { address, bytes }))
    }

    /// The functions of a table of symbols.
    fn functions(&self, kind: u32) -> Option<Vec<Function>> {
        let count = u64::from(self.header.e_shnum);
        let bytes = piece(&self.file, self.header.e_shoff, count * SECTION_HEADER)?;
        let sections =
            SectionHeader::parse_from(&bytes, 0, self.header.e_shnum.into(), CTX).ok()?;
        let table = sections.iter().find(|section| section.sh_type == kind)?;
        let names = sections.get(usize::try_from(table.sh_link).ok()?)?;
        let read = |of: &SectionHeader| piece(&self.file, of.sh_offset, of.sh_size);
        let (symbols, names) = (read(table)?, read(names)?);
        let symbols = Symtab::parse(&symbols, 0, symbols.len() / SYMBOL, CTX).ok()?;
        let name_at = |at: usize| {
            let rest = names.get(at..)?;
            let name = rest.split(|&byte| byte == 0).next()?;
            Some(String::from_utf8_lossy(name).into())
        };
        let functions = symbols.iter().filter_map(|symbol| {
            let is_function = matches!(symbol.st_type(), STT_FUNC | STT_GNU_IFUNC);
            let is_there = is_function && symbol.st_shndx != 0;
            is_there.then_some(Function {
                address: symbol.st_value,
                size: symbol.st_size,
                name: name_at(symbol.st_name)?,
            })
        });
        Some(functions.collect())
    }
}

/// Bytes of a file from a place on, so many or as there are.
pub(super) fn bytes_at(path: &Path, from: u64, length: usize) -> Option<Vec<u8>> {
    let file = open(path)?;
    let mut bytes = vec![0; length];
    let got = file.read_at(&mut bytes, from).ok()?;
    bytes.truncate(got);
    Some(bytes)
}

/// Opens what is a file: what is none must neither block nor be told of.
fn open(path: &Path) -> Option<File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
        .ok()?;
    file.metadata().is_ok_and(|of| of.is_file()).then_some(file)
}

/// Bytes of a file, if they are there and not too many.
fn piece(file: &File, from: u64, length: u64) -> Option<Vec<u8>> {
    let length = usize::try_from(length)
        .ok()
        .filter(|_| length <= PIECE_MAX)?;
    // Memory is only taken for what the file has.
    let end = from.checked_add(length as u64)?;
    file.metadata().ok().filter(|of| end <= of.len())?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, from).ok()?;
    Some(bytes)
}

/// Where `.eh_frame_hdr` says that `.eh_frame` is (LSB, 10.6.2), in the one form that linkers write.
fn unwind_table(header: &Piece) -> Option<u64> {
    /// `DW_EH_PE_pcrel | DW_EH_PE_sdata4`.
    const RELATIVE: u8 = 0x1b;
    let [1, RELATIVE, _, _, a, b, c, d, ..] = header.bytes[..] else {
        return None;
    };
    let distance = i32::from_le_bytes([a, b, c, d]);
    header
        .address
        .checked_add(4)?
        .checked_add_signed(distance.into())
}

/// The build id among notes: name and content of each are padded to four bytes.
fn build_id(mut notes: &[u8]) -> Option<Vec<u8>> {
    fn number(from: &[u8], at: usize) -> Option<usize> {
        let bytes = from.get(at..)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    }
    loop {
        let (name, length) = (number(notes, 0)?, number(notes, 4)?);
        let kind = number(notes, 8)?;
        let start = name.checked_next_multiple_of(4)?.checked_add(12)?;
        let content = notes.get(start..)?.get(..length)?;
        let is_id = kind == NT_GNU_BUILD_ID as usize && notes.get(12..16)? == b"GNU\0";
        if is_id && length <= BUILD_ID_MAX {
            return Some(content.to_vec());
        }
        notes = notes
            .get(start..)?
            .get(length.checked_next_multiple_of(4)?..)?;
    }
}

impl Image {
    /// Opens a file; none if it is no program's, or another than the one that is mapped.
    pub(super) fn open(path: &Path, inode: u64) -> Option<Self> {
        let elf = Elf::open(path)?;
        let is_same = elf.file.metadata().is_ok_and(|of| of.ino() == inode);
        is_same.then(|| Self {
            build_id: elf.build_id(),
            eh_frame: elf.eh_frame(),
            segments: elf.segments,
        })
    }

    /// How many bytes of it are kept.
    pub(super) fn size(&self) -> usize {
        let size = |(a, b): &(Piece, Piece)| a.bytes.len() + b.bytes.len();
        self.eh_frame.as_ref().map_or(0, size)
    }

    /// The address of what stands at a place in the file and is executed. Mappings are of whole pages, so
    /// they have more than the segment.
    pub(super) fn address_of(&self, place: u64) -> Option<u64> {
        const PAGE: u64 = 4096;
        let segments = self.segments.iter();
        let mut executed =
            segments.filter(|segment| segment.p_type == PT_LOAD && segment.p_flags & PF_X != 0);
        executed.find_map(|segment| {
            let start = segment.p_offset - segment.p_offset % PAGE;
            let end = segment.p_offset.checked_add(segment.p_filesz)?;
            let end = end.checked_next_multiple_of(PAGE)?;
            (start..end).contains(&place).then_some(())?;
            Some(
                place
                    .wrapping_sub(segment.p_offset)
                    .wrapping_add(segment.p_vaddr),
            )
        })
    }
}

/// A function of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Function {
    address: u64,
    /// 0: nobody knows.
    size: u64,
    name: Arc<str>,
}

/// The functions of a file, by address.
pub(super) struct Functions(Vec<Function>);

impl Functions {
    /// Of a file with this build id, and of the one with what was stripped from it, if that is
    /// installed.
    pub(super) fn of(path: &Path, build_id: &[u8]) -> Option<Self> {
        let elf = Elf::open(path).filter(|elf| elf.build_id() == build_id)?;
        let all = elf.functions(SHT_SYMTAB);
        let all = all.or_else(|| stripped(build_id)?.functions(SHT_SYMTAB));
        let all = all.or_else(|| elf.functions(SHT_DYNSYM))?;
        Some(Self::new(all))
    }

    fn new(mut all: Vec<Function>) -> Self {
        // Of several names of one place the plainest: open64 rather than __libc_open64.
        let underscores = |name: &str| name.len() - name.trim_start_matches('_').len();
        all.sort_by(|a, b| {
            let key = |of: &Function| (of.address, underscores(&of.name), of.name.len());
            (key(a), &a.name).cmp(&(key(b), &b.name))
        });
        all.dedup_by_key(|function| function.address);
        Self(all)
    }

    /// The function that an address is in.
    pub(super) fn find(&self, address: u64) -> Option<Symbol> {
        let behind = self
            .0
            .partition_point(|function| function.address <= address);
        let function = self.0.get(behind.checked_sub(1)?)?;
        let offset = address - function.address;
        (function.size == 0 || offset < function.size).then(|| Symbol {
            name: Arc::clone(&function.name),
            offset,
        })
    }
}

/// The file with what was stripped from a program, where distributions put it.
fn stripped(build_id: &[u8]) -> Option<Elf> {
    let (first, rest) = build_id.split_first()?;
    let rest = crate::trace::stack::hex(rest);
    let path = format!("/usr/lib/debug/.build-id/{first:02x}/{rest}.debug");
    Elf::open(Path::new(&path)).filter(|elf| elf.build_id() == build_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn note(name: &[u8], kind: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [name.len(), content.len(), kind as usize] {
            bytes.extend(u32::try_from(number).expect("short").to_le_bytes());
        }
        for piece in [name, content] {
            bytes.extend(piece);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn a_build_id_is_found_among_notes() {
        let mut notes = note(b"GNU\0", 1, &[1, 2, 3]);
        notes.extend(note(b"Other\0", 3, &[4]));
        assert_eq!(build_id(&notes), None);
        notes.extend(note(b"GNU\0", 3, &[5, 6]));
        assert_eq!(build_id(&notes), Some(vec![5, 6]));
    }

    #[test]
    fn our_own_program_has_functions_and_frames() {
        let path = std::env::current_exe().expect("we run");
        let inode = fs::metadata(&path).expect("it is there").ino();
        let image = Image::open(&path, inode).expect("it is a program");
        assert!(image.eh_frame.is_some());
        assert!(Image::open(&path, inode + 1).is_none());
        let functions = Functions::of(&path, &image.build_id).expect("it has symbols");
        let some = functions.0[functions.0.len() / 2].clone();
        let found = functions.find(some.address + some.size / 2);
        assert_eq!(found.expect("it is there").name, some.name);
        assert!(functions.find(0).is_none());
        assert!(Image::open(Path::new("/dev/zero"), 0).is_none());
    }

    proptest! {
        #[test]
        fn any_notes_end(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = build_id(&bytes);
        }

        /// A program of which some bytes are anything.
        #[test]
        fn a_damaged_file_is_read_or_not(
            changes in proptest::collection::vec((0usize..600, any::<u8>()), 1..20),
        ) {
            let mut bytes = fs::read("/bin/true").expect("there is one");
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("damaged");
            fs::write(&path, bytes).expect("written");
            let inode = fs::metadata(&path).expect("it is there").ino();
            let _ = Image::open(&path, inode).map(|image| image.address_of(0x1234));
            let _ = Functions::of(&path, &[]).map(|functions| functions.find(0x1234));
        }
    }
}
