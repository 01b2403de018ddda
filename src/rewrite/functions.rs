//! Where functions begin and end: symbols, `.eh_frame`, and Go's own table.
//!
//! The frame descriptions are found by their program header, so that stripped files have them too
//! (Linux Standard Base Core 5.0, 10.6 "Exception Frames"). Programs of Go have none, but keep a
//! table of their functions when they are stripped (`debug/gosym` in Go's library reads it too).

use goblin::elf::Elf;
use goblin::elf::program_header::PT_GNU_EH_FRAME;
use goblin::elf::sym::STT_FUNC;
use std::ops::Range;

/// `DW_EH_PE_pcrel | DW_EH_PE_sdata4`, which every x86-64 linker writes.
const PCREL_SDATA4: u8 = 0x1b;

/// Address ranges of functions, in ascending order of their starts; they may overlap.
pub(super) fn find(elf: &Elf<'_>, file: &[u8]) -> Vec<Range<u64>> {
    let symbols = elf.syms.iter().chain(elf.dynsyms.iter());
    let mut found: Vec<Range<u64>> = symbols
        .filter(|symbol| symbol.st_type() == STT_FUNC && symbol.st_shndx != 0)
        .filter_map(|symbol| {
            let end = symbol.st_value.checked_add(symbol.st_size)?;
            (symbol.st_size > 0).then_some(symbol.st_value..end)
        })
        .collect();
    // A description that is cut off or strange ends the list, no more.
    let _ = frames(elf, file, &mut found);
    let _ = go_functions(elf, file, &mut found);
    found.sort_by_key(|range| (range.start, range.end));
    found.dedup();
    found
}

/// Bytes of the file at an address.
fn at<'a>(elf: &Elf<'_>, file: &'a [u8], address: u64) -> Option<&'a [u8]> {
    elf.program_headers.iter().find_map(|header| {
        let into = address.checked_sub(header.p_vaddr)?;
        if header.p_type != goblin::elf::program_header::PT_LOAD || into >= header.p_filesz {
            return None;
        }
        let from = usize::try_from(header.p_offset.checked_add(into)?).ok()?;
        let rest = usize::try_from(header.p_filesz - into).ok()?;
        file.get(from..from.checked_add(rest)?)
    })
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let word = bytes.get(offset..offset.checked_add(4)?)?;
    word.try_into().ok().map(u32::from_le_bytes)
}

/// What a pc-relative word at `place` points at.
fn relative(place: u64, word: u32) -> u64 {
    place.wrapping_add_signed(i64::from(word.cast_signed()))
}

/// Address of a section.
fn section_at(elf: &Elf<'_>, name: &str) -> Option<u64> {
    let mut sections = elf.section_headers.iter();
    sections
        .find(|section| elf.shdr_strtab.get_at(section.sh_name) == Some(name))
        .map(|section| section.sh_addr)
}

/// The functions of a program of Go 1.18 or newer: each reaches to the next.
fn go_functions(elf: &Elf<'_>, file: &[u8], found: &mut Vec<Range<u64>>) -> Option<()> {
    /// Of Go 1.18 and 1.20. Two zeroes, the size of the smallest instruction and of pointers follow.
    const MAGICS: [[u8; 8]; 2] = [
        [0xf0, 0xff, 0xff, 0xff, 0, 0, 1, 8],
        [0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8],
    ];
    let table = at(elf, file, section_at(elf, ".gopclntab")?)?;
    if !MAGICS.iter().any(|magic| table.starts_with(magic)) {
        return None;
    }
    let field = |number: usize| {
        let bytes = table.get(8 + 8 * number..16 + 8 * number)?;
        bytes.try_into().ok().map(u64::from_le_bytes)
    };
    let (count, rows) = (field(0)?, usize::try_from(field(7)?).ok()?);
    // Where the program can be moved, the loader fills in the start of its text.
    let text = match field(2)? {
        0 => section_at(elf, ".text")?,
        text => text,
    };
    // Pairs: where a function begins in the text, and what is known of it.
    let entry = |number: u64| {
        let into = usize::try_from(number.checked_mul(8)?).ok()?;
        text.checked_add(word(table, rows.checked_add(into)?)?.into())
    };
    for number in 0..count {
        let range = entry(number)?..entry(number + 1)?;
        if !range.is_empty() {
            found.push(range);
        }
    }
    Some(())
}

/// Address of `.eh_frame`: static programs have its section only.
fn frames_at(elf: &Elf<'_>, file: &[u8]) -> Option<u64> {
    let mut headers = elf.program_headers.iter();
    let Some(index) = headers.find(|header| header.p_type == PT_GNU_EH_FRAME) else {
        return section_at(elf, ".eh_frame");
    };
    let table = at(elf, file, index.p_vaddr)?;
    // Version 1, then how the pointer to `.eh_frame` is written.
    (table.get(..2)? == [1, PCREL_SDATA4])
        .then(|| word(table, 4))?
        .map(|place| relative(index.p_vaddr + 4, place))
}

fn frames(elf: &Elf<'_>, file: &[u8], found: &mut Vec<Range<u64>>) -> Option<()> {
    let start = frames_at(elf, file)?;
    let bytes = at(elf, file, start)?;
    let mut offset = 0;
    loop {
        let length = word(bytes, offset)? as usize;
        // A length of 0 ends the list; of all ones, 64 bits follow, which no linker writes here.
        if length == 0 || length == 0xffff_ffff {
            return None;
        }
        let id_at = offset + 4;
        let id = word(bytes, id_at)? as usize;
        if id != 0 && is_plain(bytes, id_at.checked_sub(id)?)? {
            // What returns from a signal is described from the byte ahead of it on, for those who look
            // for the caller of a call.
            let ahead = u64::from(letters(bytes, id_at.checked_sub(id)?)?.contains(&b'S'));
            let from_at = id_at + 4;
            let from = relative(start.wrapping_add(from_at as u64), word(bytes, from_at)?);
            let size = u64::from(word(bytes, from_at + 4)?);
            if size > ahead
                && let Some(end) = from.checked_add(size)
            {
                found.push(from + ahead..end);
            }
        }
        offset = id_at.checked_add(length)?;
    }
}

/// What the common description at an offset says of itself and its functions' (its augmentation).
fn letters(bytes: &[u8], offset: usize) -> Option<&[u8]> {
    let text = bytes.get(offset.checked_add(9)?..)?;
    let end = text.iter().take(8).position(|&byte| byte == 0)?;
    text.get(..end)
}

/// Whether the common description at an offset says that its functions' places are written as
/// [`PCREL_SDATA4`].
fn is_plain(bytes: &[u8], offset: usize) -> Option<bool> {
    let letters = letters(bytes, offset)?;
    if letters.first() != Some(&b'z') {
        return Some(false);
    }
    // Alignments, return register and length: numbers in 7-bit groups.
    let behind = offset.checked_add(9 + letters.len() + 1)?;
    let mut rest = bytes.get(behind..)?.iter();
    for _ in 0..4 {
        while rest.next()? & 0x80 != 0 {}
    }
    for letter in letters.get(1..)? {
        match letter {
            b'R' => return Some(*rest.next()? == PCREL_SDATA4),
            b'L' => {
                rest.next()?;
            }
            b'P' => match rest.next()? & 0x0f {
                0x03 | 0x0b => drop(rest.nth(3)?),
                0x04 | 0x0c => drop(rest.nth(7)?),
                _ => return Some(false),
            },
            b'S' | b'B' => {}
            _ => return Some(false),
        }
    }
    Some(false)
}
