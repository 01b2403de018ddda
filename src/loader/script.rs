//! The first line of a script, as `load_script` in `fs/binfmt_script.c` reads it.

use super::{LoadError, Parsed};

/// How much of a file the kernel looks at (`BINPRM_BUF_SIZE` in `uapi/linux/binfmts.h`).
const BUF_SIZE: usize = 256;

/// Splits the first line of a file that starts with `#!`; none for any other file.
///
/// Up to 255 bytes count. A longer line loses the end of its argument, as in the kernel.
///
/// # Errors
/// `ENOEXEC`: no interpreter is named, or its name does not end within the buffer.
pub(super) fn parse(head: &[u8]) -> Option<Result<Parsed, LoadError>> {
    if !head.starts_with(b"#!") {
        return None;
    }
    // "the buffer will have trailing NUL padding when the file size was smaller than the buffer
    // size"; the padding then ends names and arguments just as a NUL in the file does.
    let mut buf = [0; BUF_SIZE];
    let len = head.len().min(BUF_SIZE);
    buf[..len].copy_from_slice(&head[..len]);
    Some(line(&buf))
}

fn line(buf: &[u8; BUF_SIZE]) -> Result<Parsed, LoadError> {
    let mut end = match buf.iter().position(|&byte| byte == b'\n') {
        Some(newline) => newline,
        None => {
            // "We do not want to exec a truncated interpreter path, so either we find a newline
            // (which indicates nothing is truncated), or we find a space/tab/NUL after the
            // interpreter path [...]. Truncating the arguments is fine".
            let name = skip_blanks(buf, 2).ok_or(LoadError::ENOEXEC)?;
            if !buf[name..].iter().any(|&byte| ends_name(byte)) {
                return Err(LoadError::ENOEXEC);
            }
            BUF_SIZE - 1
        }
    };
    // "Trim any trailing spaces/tabs"; the `!` stops this at the latest.
    while is_blank(buf[end - 1]) {
        end -= 1;
    }
    let text = &buf[..end];
    let start = skip_blanks(text, 2).ok_or(LoadError::ENOEXEC)?;
    let name_end = text[start..]
        .iter()
        .position(|&byte| ends_name(byte))
        .map_or(end, |at| start + at);
    // A NUL ends the line for good: what the kernel copies are strings of C.
    let argument = match text.get(name_end) {
        Some(&byte) if byte != 0 => skip_blanks(text, name_end).map(|at| until_nul(&text[at..])),
        _ => None,
    };
    Ok(Parsed::Script {
        interpreter: text[start..name_end].to_vec(),
        argument: argument.map(<[u8]>::to_vec),
    })
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn ends_name(byte: u8) -> bool {
    is_blank(byte) || byte == 0
}

/// Where the first byte from `from` on that is no blank lies.
fn skip_blanks(text: &[u8], from: usize) -> Option<usize> {
    text.get(from..)?
        .iter()
        .position(|&byte| !is_blank(byte))
        .map(|at| from + at)
}

fn until_nul(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == 0).next().unwrap_or_default()
}
