//! Programs and their interpreters, as `load_elf_binary` in `fs/binfmt_elf.c` judges them.
//!
//! Stricter than the kernel, on purpose: the class byte of the identification must say 64 bits
//! (the kernel ignores it, and a file that lies about it is no program of any compiler), at most
//! [`SEGMENTS_MAX`] segments, segments that share pages stand in ascending order, an `ET_EXEC`
//! stays out of the personality's region.

use goblin::elf::header::{EI_CLASS, EI_DATA, ELFCLASS64, ELFDATA2LSB, ELFMAG, EM_X86_64};
use goblin::elf::header::{ET_DYN, ET_EXEC};
use goblin::elf::program_header::{PF_R, PF_W, PF_X, PT_GNU_STACK, PT_INTERP, PT_LOAD};
use goblin::elf::{Elf, Header};
use goblin::elf64::header::SIZEOF_EHDR;
use goblin::elf64::program_header::{ProgramHeader, SIZEOF_PHDR};
use picozone_personality::layout::{PERSONALITY_BASE, REGION_END};
use picozone_personality::mailbox::{Image, SEGMENTS_MAX, Segment};

use super::{LoadError, Parsed, View};

/// Bytes of a page.
const PAGE: u64 = 4096;
/// First address that no program can have, with four levels of page tables (`TASK_SIZE_MAX` in
/// `arch/x86/include/asm/page_64.h`).
const TASK_SIZE: u64 = 0x7fff_ffff_f000;
/// Where the kernel places position-independent programs before randomising (`ELF_ET_DYN_BASE` in
/// `arch/x86/include/asm/elf.h`).
const DYN_BASE: u64 = TASK_SIZE / 3 * 2;
/// Room for a position-independent image: from that base to the personality's region, in bytes.
const DYN_ROOM: u64 = PERSONALITY_BASE - DYN_BASE;
/// Bytes of all program headers together (`load_elf_phdrs`).
const PHDRS_BYTES_MAX: usize = 65536;
/// Longest name of an interpreter, NUL included.
const PATH_MAX: u64 = 4096;

/// An image that maps nothing.
pub const NO_IMAGE: Image = Image {
    fd: -1,
    is_dyn: 0,
    entry: 0,
    phdr: 0,
    phnum: 0,
    count: 0,
    span: [0; 2],
    align: PAGE,
    segments: [NO_SEGMENT; SEGMENTS_MAX],
};

const NO_SEGMENT: Segment = Segment {
    vaddr: 0,
    offset: 0,
    file_size: 0,
    mem_size: 0,
    prot: 0,
    pad: 0,
};

/// Who asks for an image, since the kernel's errnos differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A program that starts by itself.
    Alone,
    /// A program that its interpreter starts.
    Interpreted,
    /// An interpreter.
    Interpreter,
}

impl Role {
    /// The size and place checks give `-EINVAL` in `load_elf_binary`, `-ENOMEM` in
    /// `load_elf_interp`.
    fn overflow(self) -> LoadError {
        match self {
            Role::Alone | Role::Interpreted => LoadError::EINVAL,
            Role::Interpreter => LoadError::ENOMEM,
        }
    }

    /// What a file of another shape gives.
    fn unknown(self) -> LoadError {
        match self {
            Role::Alone | Role::Interpreted => LoadError::ENOEXEC,
            Role::Interpreter => LoadError::ELIBBAD,
        }
    }
}

/// Judges a program; the errors are those of [`super::parse`].
pub(super) fn parse(view: &mut View<'_>) -> Result<Parsed, LoadError> {
    // The kernel looks at a buffer padded with NULs, so a header may be cut off where it is zero.
    let mut first = [0; SIZEOF_EHDR];
    let known = view.known();
    let len = known.len().min(SIZEOF_EHDR);
    first[..len].copy_from_slice(&known[..len]);

    let header = header(first).ok_or(LoadError::ENOEXEC)?;
    let phdrs = program_headers(view, &header).ok_or(LoadError::ENOEXEC)?;
    let interp = interpreter_path(view, &phdrs)?;
    // The last one counts.
    let stack = phdrs.iter().rfind(|phdr| phdr.p_type == PT_GNU_STACK);
    let exec_stack = stack.is_some_and(|phdr| phdr.p_flags & PF_X != 0);
    let role = if interp.is_some() {
        Role::Interpreted
    } else {
        Role::Alone
    };
    let image = image(&header, &phdrs, view.size, role)?;
    Ok(Parsed::Elf {
        image,
        interp,
        exec_stack,
    })
}

/// Judges the interpreter of a program from `head`, its first bytes (at least all of its headers),
/// and its size in bytes. The image's `fd` is -1.
///
/// # Errors
/// `EIO`: shorter than an ELF header. `ELIBBAD`: not an ELF program of this machine, or malformed.
/// `EINVAL`, `EFAULT`, `ENOMEM`: segments that cannot be mapped, as for programs.
pub fn parse_interpreter(head: &[u8], file_size: u64) -> Result<Image, LoadError> {
    parse_interpreter_view(&mut View::of(head, file_size))
}

pub(super) fn parse_interpreter_view(view: &mut View<'_>) -> Result<Image, LoadError> {
    let first = view.bytes(0, SIZEOF_EHDR)?;
    let first = first.try_into().map_err(|_| LoadError::EIO)?;
    let header = header(first).ok_or(LoadError::ELIBBAD)?;
    let phdrs = program_headers(view, &header).ok_or(LoadError::ELIBBAD)?;
    image(&header, &phdrs, view.size, Role::Interpreter)
}

/// The header, if it is that of a program of this machine.
///
/// "First of all, some simple consistency checks": magic, `e_type`, `elf_check_arch`. The byte
/// order, version and ABI of the identification are not looked at, here or there.
fn header(mut first: [u8; SIZEOF_EHDR]) -> Option<Header> {
    if !first.starts_with(ELFMAG) || first[EI_CLASS] != ELFCLASS64 {
        return None;
    }
    first[EI_DATA] = ELFDATA2LSB;
    let header = Elf::parse_header(&first).ok()?;
    let is_program = matches!(header.e_type, ET_EXEC | ET_DYN) && header.e_machine == EM_X86_64;
    is_program.then_some(header)
}

/// All program headers; none if their number or place is wrong.
///
/// `load_elf_phdrs`: `e_phentsize != sizeof(struct elf_phdr)`, "Sanity check the number of program
/// headers and their total size"; any failure to read them counts as one of format.
fn program_headers(view: &mut View<'_>, header: &Header) -> Option<Vec<ProgramHeader>> {
    let count = usize::from(header.e_phnum);
    let size = count * SIZEOF_PHDR;
    if usize::from(header.e_phentsize) != SIZEOF_PHDR || size == 0 || size > PHDRS_BYTES_MAX {
        return None;
    }
    let bytes = view.bytes(header.e_phoff, size).ok()?;
    Some(ProgramHeader::from_bytes(&bytes, count))
}

/// The name in the first `PT_INTERP`; later ones are not looked at.
fn interpreter_path(
    view: &mut View<'_>,
    phdrs: &[ProgramHeader],
) -> Result<Option<Vec<u8>>, LoadError> {
    let Some(phdr) = phdrs.iter().find(|phdr| phdr.p_type == PT_INTERP) else {
        return Ok(None);
    };
    // "if (elf_ppnt->p_filesz > PATH_MAX || elf_ppnt->p_filesz < 2) goto out_free_ph"
    if !(2..=PATH_MAX).contains(&phdr.p_filesz) {
        return Err(LoadError::ENOEXEC);
    }
    let len = usize::try_from(phdr.p_filesz).map_err(|_| LoadError::ENOEXEC)?;
    let mut name = view.bytes(phdr.p_offset, len)?;
    // "make sure path is NULL terminated"
    if name.last() != Some(&0) {
        return Err(LoadError::ENOEXEC);
    }
    let end = name
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(name.len());
    name.truncate(end);
    Ok(Some(name))
}

/// The load plan of one file.
fn image(
    header: &Header,
    phdrs: &[ProgramHeader],
    file_size: u64,
    role: Role,
) -> Result<Image, LoadError> {
    let is_dyn = header.e_type == ET_DYN;
    let mut image = Image {
        is_dyn: u32::from(is_dyn),
        entry: header.e_entry,
        phdr: phdr_address(header, phdrs),
        phnum: u32::from(header.e_phnum),
        ..NO_IMAGE
    };
    let loads = || phdrs.iter().filter(|phdr| phdr.p_type == PT_LOAD);

    let mut segments = Vec::new();
    let mut span: Option<[u64; 2]> = None;
    for phdr in loads() {
        let end = check_place(phdr, file_size, role)?;
        let [low, high] = span.unwrap_or([u64::MAX, 0]);
        span = Some([low.min(page_start(phdr.p_vaddr)), high.max(page_end(end))]);
        // maximum_alignment: "skip non-power of two alignments as invalid"
        if phdr.p_align.is_power_of_two() {
            image.align = image.align.max(phdr.p_align);
        }
        // A segment without memory maps nothing; it only widens the span.
        if phdr.p_memsz > 0 {
            segments.push(segment(phdr));
        }
    }
    // The kernel refuses an interpreter that maps nothing with -EINVAL. A program that maps nothing
    // starts and faults at once, so nothing is lost by telling it the same.
    image.span = span.ok_or(LoadError::EINVAL)?;
    if segments.len() > SEGMENTS_MAX {
        return Err(role.unknown());
    }
    sort(&mut segments)?;
    for (slot, segment) in image.segments.iter_mut().zip(&segments) {
        *slot = *segment;
        image.count += 1;
    }
    check_room(&image)?;
    // "BAD_ADDR(elf_entry)": the entry of what is started first; a program's own entry is its
    // interpreter's affair.
    if role != Role::Interpreted && image.entry >= TASK_SIZE {
        return Err(LoadError::EINVAL);
    }
    Ok(image)
}

/// Address of the program headers before the bias, 0 if they are not mapped.
///
/// "Figure out which segment in the file contains the Program Header table, and map to the
/// associated memory address." The last such segment counts; `PT_PHDR` is not looked at.
fn phdr_address(header: &Header, phdrs: &[ProgramHeader]) -> u64 {
    let at = header.e_phoff;
    phdrs
        .iter()
        .filter(|phdr| phdr.p_type == PT_LOAD)
        .rfind(|phdr| {
            at.checked_sub(phdr.p_offset)
                .is_some_and(|into| into < phdr.p_filesz)
        })
        .map_or(0, |phdr| (at - phdr.p_offset).wrapping_add(phdr.p_vaddr))
}

/// Checks that a `PT_LOAD` can be mapped somewhere, and returns the address of its end.
fn check_place(phdr: &ProgramHeader, file_size: u64, role: Role) -> Result<u64, LoadError> {
    // "BAD_ADDR(k) || p_filesz > p_memsz || p_memsz > TASK_SIZE || TASK_SIZE - p_memsz < k"
    if phdr.p_vaddr >= TASK_SIZE
        || phdr.p_filesz > phdr.p_memsz
        || phdr.p_memsz > TASK_SIZE
        || TASK_SIZE - phdr.p_memsz < phdr.p_vaddr
    {
        return Err(role.overflow());
    }
    let end = phdr.p_vaddr + phdr.p_memsz;
    if phdr.p_filesz == 0 {
        // Nothing comes from the file, so its offset does not matter.
        return Ok(end);
    }
    // mmap(2): "EINVAL We don't like addr, length, or offset (e.g., they are too large, or not
    // aligned on a page boundary)."
    let into_page = phdr.p_vaddr % PAGE;
    if phdr.p_offset % PAGE != into_page {
        return Err(LoadError::EINVAL);
    }
    let file_end = phdr
        .p_offset
        .checked_add(phdr.p_filesz)
        .ok_or(LoadError::EINVAL)?;
    if i64::try_from(file_end).is_err() {
        return Err(LoadError::EINVAL);
    }
    // "Zero the end of the last mapped page but ignore any errors if the segment isn't writable":
    // -EFAULT if that page lies beyond the file, since then it cannot be touched.
    let clears = phdr.p_memsz > phdr.p_filesz && phdr.p_flags & PF_W != 0;
    if clears && file_end % PAGE != 0 && page_start(file_end) >= file_size {
        return Err(LoadError::EFAULT);
    }
    Ok(end)
}

fn segment(phdr: &ProgramHeader) -> Segment {
    let prot = [
        (PF_R, libc::PROT_READ),
        (PF_W, libc::PROT_WRITE),
        (PF_X, libc::PROT_EXEC),
    ]
    .into_iter()
    .filter(|(flag, _)| phdr.p_flags & flag != 0)
    .fold(0, |prot, (_, bit)| prot | bit.cast_unsigned());
    Segment {
        vaddr: phdr.p_vaddr,
        // An offset that does not matter is made one that can be aligned down.
        offset: if phdr.p_filesz == 0 {
            phdr.p_vaddr % PAGE
        } else {
            phdr.p_offset
        },
        file_size: phdr.p_filesz,
        mem_size: phdr.p_memsz,
        prot,
        pad: 0,
    }
}

/// Puts segments into ascending order.
///
/// The kernel maps them in the order of the headers and never looks at their addresses, so order
/// matters only where two share a page: the later one wins. Those that would change the winner are
/// refused with `EINVAL`.
fn sort(segments: &mut [Segment]) -> Result<(), LoadError> {
    for (i, late) in segments.iter().enumerate() {
        let shares = |early: &Segment| {
            page_start(late.vaddr) < page_end(early.vaddr + early.mem_size)
                && page_start(early.vaddr) < page_end(late.vaddr + late.mem_size)
        };
        if segments[..i]
            .iter()
            .any(|early| early.vaddr > late.vaddr && shares(early))
        {
            return Err(LoadError::EINVAL);
        }
    }
    segments.sort_by_key(|segment| segment.vaddr);
    Ok(())
}

/// Checks that the whole image fits next to the personality; `ENOMEM` if not.
fn check_room(image: &Image) -> Result<(), LoadError> {
    let [low, high] = image.span;
    let fits = if image.is_dyn == 1 {
        (high - low)
            .checked_add(image.align)
            .is_some_and(|size| size <= DYN_ROOM)
    } else {
        image.segments[..image.count as usize]
            .iter()
            .all(|segment| {
                page_end(segment.vaddr + segment.mem_size) <= PERSONALITY_BASE
                    || page_start(segment.vaddr) >= REGION_END
            })
    };
    if fits { Ok(()) } else { Err(LoadError::ENOMEM) }
}

/// The address rounded down to a page.
fn page_start(address: u64) -> u64 {
    address - address % PAGE
}

/// The address rounded up to a page; addresses here are at most `TASK_SIZE`, which is one.
fn page_end(address: u64) -> u64 {
    address.next_multiple_of(PAGE)
}
