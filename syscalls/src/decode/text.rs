//! Strings of a traced process, escaped and cut as strace(1) does.

use super::Memory;
use core::fmt::{Result, Write};

pub(super) const PATH_MAX: usize = 4096;

/// A string that ends with a NUL; its address where it cannot be read.
pub(super) fn string(
    memory: &impl Memory,
    address: u64,
    max: usize,
    out: &mut impl Write,
) -> Result {
    if address == 0 {
        return out.write_str("NULL");
    }
    let mut text = Quoted::new(out);
    let mut done = 0;
    while done < max {
        let mut chunk = [0; 64];
        let wanted = chunk.len().min(max - done);
        let at = address.wrapping_add(done as u64);
        let got = memory.read_text(at, chunk.get_mut(..wanted).unwrap_or(&mut []));
        if got == 0 && done == 0 {
            return write!(text.out, "{address:#x}");
        }
        let bytes = chunk.get(..got).unwrap_or(&[]);
        if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
            text.put(
                bytes.get(..end).unwrap_or(&[]),
                bytes.get(end..).unwrap_or(&[]),
            )?;
            return text.end("");
        }
        text.put(bytes, &[])?;
        done += got;
        if got < wanted {
            // It runs into memory that is not there.
            return text.end("...");
        }
    }
    let mut next = [0];
    let is_whole = memory.read(address.wrapping_add(done as u64), &mut next) == 1 && next == [0];
    text.end(if is_whole { "" } else { "..." })
}

/// As many bytes as `length` says, `max` of them printed.
pub(super) fn bytes(
    memory: &impl Memory,
    address: u64,
    length: u64,
    max: usize,
    out: &mut impl Write,
) -> Result {
    let mut chunk = [0; 64];
    let wanted = usize::try_from(length).unwrap_or(usize::MAX).min(max);
    let got = memory.read(address, chunk.get_mut(..wanted.min(64)).unwrap_or(&mut []));
    if got == 0 && wanted > 0 {
        return write!(out, "{address:#x}");
    }
    let mut text = Quoted::new(out);
    text.put(chunk.get(..got).unwrap_or(&[]), &[])?;
    text.end(if length > got as u64 { "..." } else { "" })
}

/// A path that a call has written, with or without its NUL.
pub(super) fn path_out(
    memory: &impl Memory,
    address: u64,
    length: u64,
    out: &mut impl Write,
) -> Result {
    let mut text = Quoted::new(out);
    let mut done = 0;
    while done < length {
        let mut chunk = [0; 64];
        let wanted = usize::try_from(length - done).unwrap_or(64).min(64);
        let room = chunk.get_mut(..wanted).unwrap_or(&mut []);
        let got = memory.read(address.wrapping_add(done), room);
        if got == 0 && done == 0 {
            return write!(text.out, "{address:#x}");
        }
        let bytes = chunk.get(..got).unwrap_or(&[]);
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(got);
        text.put(bytes.get(..end).unwrap_or(&[]), &[])?;
        if end < wanted {
            break;
        }
        done += got as u64;
    }
    text.end("")
}

/// All of these bytes.
pub(super) fn own(bytes: &[u8], out: &mut impl Write) -> Result {
    let mut text = Quoted::new(out);
    text.put(bytes, &[])?;
    text.end("")
}

/// What is put here comes out in quotes.
struct Quoted<'w, W> {
    out: &'w mut W,
    is_open: bool,
}

impl<'w, W: Write> Quoted<'w, W> {
    fn new(out: &'w mut W) -> Self {
        Quoted {
            out,
            is_open: false,
        }
    }

    fn open(&mut self) -> Result {
        if !self.is_open {
            self.is_open = true;
            self.out.write_str("\"")?;
        }
        Ok(())
    }

    /// `after`: what follows the bytes, since a digit behind an octal escape needs all three digits.
    fn put(&mut self, bytes: &[u8], after: &[u8]) -> Result {
        self.open()?;
        for (i, &byte) in bytes.iter().enumerate() {
            let next = bytes.get(i + 1).or(after.first());
            match byte {
                b'"' => self.out.write_str("\\\"")?,
                b'\\' => self.out.write_str("\\\\")?,
                b'\n' => self.out.write_str("\\n")?,
                b'\t' => self.out.write_str("\\t")?,
                b'\r' => self.out.write_str("\\r")?,
                0x0b => self.out.write_str("\\v")?,
                0x0c => self.out.write_str("\\f")?,
                b' '..=b'~' => self.out.write_char(char::from(byte))?,
                byte if next.is_some_and(u8::is_ascii_digit) => write!(self.out, "\\{byte:03o}")?,
                byte => write!(self.out, "\\{byte:o}")?,
            }
        }
        Ok(())
    }

    fn end(mut self, more: &str) -> Result {
        self.open()?;
        write!(self.out, "\"{more}")
    }
}
