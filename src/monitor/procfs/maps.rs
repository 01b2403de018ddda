//! Memory of a process: `maps`, `smaps`, `smaps_rollup`, without what is the personality's.

use super::{Errno, Subject, View, links};
use std::ops::Range;

/// `/proc/PID/maps` (proc_pid_maps(5)).
///
/// # Errors
/// As [`Subject::read`].
pub(super) fn maps(view: &dyn View, subject: &Subject) -> Result<Vec<u8>, Errno> {
    Ok(filter(view, &subject.read("maps")?))
}

/// `/proc/PID/smaps` (proc_pid_smaps(5)).
///
/// # Errors
/// As [`Subject::read`].
pub(super) fn smaps(view: &dyn View, subject: &Subject) -> Result<Vec<u8>, Errno> {
    Ok(filter(view, &subject.read("smaps")?))
}

/// `/proc/PID/smaps_rollup`: the sums over what [`smaps`] shows.
///
/// # Errors
/// As [`Subject::read`].
pub(super) fn smaps_rollup(view: &dyn View, subject: &Subject) -> Result<Vec<u8>, Errno> {
    let pattern = subject.read("smaps_rollup")?;
    let all = filter(view, &subject.read("smaps")?);
    let mut out = Vec::new();
    for line in pattern.split_inclusive(|&byte| byte == b'\n') {
        match amount(line) {
            Some((key, _)) => {
                let sum: u64 = lines(&all)
                    .filter_map(amount)
                    .filter(|(other, _)| *other == key)
                    .map(|(_, kb)| kb)
                    .sum();
                let key = String::from_utf8_lossy(key) + ":";
                out.extend_from_slice(format!("{key:<16}{sum:>8} kB\n").as_bytes());
            }
            None => out.extend_from_slice(line),
        }
    }
    Ok(out)
}

/// How many bytes of a process' address space are hidden; 0 if that cannot be found out.
pub(super) fn hidden_bytes(view: &dyn View, subject: &Subject) -> u64 {
    let hidden = view.hidden_addresses();
    let Ok(maps) = subject.read("maps") else {
        return 0;
    };
    let of_hidden = lines(&maps).filter_map(|line| {
        let range = range(line)?;
        let is_hidden = hidden.contains(&range.start) || is_tail(view, line);
        is_hidden.then_some(range.end - range.start)
    });
    of_hidden.sum()
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&byte| byte == b'\n')
}

/// `Key:   N kB`.
fn amount(line: &[u8]) -> Option<(&[u8], u64)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (key, rest) = line.split_at(colon);
    let number = std::str::from_utf8(&rest[1..])
        .ok()?
        .trim()
        .strip_suffix(" kB")?;
    Some((key, number.trim().parse().ok()?))
}

/// The range of a line that begins a mapping; the lines with its figures begin with a capital.
fn range(line: &[u8]) -> Option<Range<u64>> {
    let end = line.iter().position(|&byte| byte == b' ')?;
    let (from, to) = std::str::from_utf8(&line[..end]).ok()?.split_once('-')?;
    let range = u64::from_str_radix(from, 16).ok()?..u64::from_str_radix(to, 16).ok()?;
    (range.start <= range.end).then_some(range)
}

/// Drops what is hidden and translates names.
pub(super) fn filter(view: &dyn View, text: &[u8]) -> Vec<u8> {
    let hidden = view.hidden_addresses();
    let mut out = Vec::with_capacity(text.len());
    let mut is_hidden = false;
    for line in lines(text) {
        if let Some(range) = range(line) {
            is_hidden = hidden.contains(&range.start) || is_tail(view, line);
            if !is_hidden {
                translate(view, line, &mut out);
            }
        } else if !is_hidden {
            out.extend_from_slice(line);
        }
    }
    out
}

/// One mapping: five fields, then blanks and the name, if it has one.
struct Mapping<'a> {
    /// Addresses, permissions, offset, device, inode.
    fields: [&'a [u8]; 5],
    /// The fields and the blanks that follow.
    head: &'a [u8],
    name: &'a [u8],
}

fn parse(line: &[u8]) -> Mapping<'_> {
    let mut fields = [&b""[..]; 5];
    let mut at = 0;
    for field in &mut fields {
        at += line[at..].iter().take_while(|&&byte| byte == b' ').count();
        let rest = &line[at..];
        let is_end = |byte: &u8| b" \n".contains(byte);
        *field = &rest[..rest.iter().position(is_end).unwrap_or(rest.len())];
        at += field.len();
    }
    let name_at = at + line[at..].iter().take_while(|&&byte| byte == b' ').count();
    let (head, rest) = line.split_at(name_at);
    let name = rest.strip_suffix(b"\n").unwrap_or(rest);
    Mapping { fields, head, name }
}

/// Whether a line is of the stubs of a rewritten copy, which lie behind what the original has.
fn is_tail(view: &dyn View, line: &[u8]) -> bool {
    let mapping = parse(line);
    let offset = std::str::from_utf8(mapping.fields[2])
        .ok()
        .and_then(|text| u64::from_str_radix(text, 16).ok());
    view.original(mapping.name).is_some_and(|original| {
        let size = u64::try_from(original.id.size).unwrap_or(u64::MAX);
        offset.is_some_and(|offset| offset >= size)
    })
}

fn translate(view: &dyn View, line: &[u8], out: &mut Vec<u8>) {
    let mapping = parse(line);
    if mapping.name.first() != Some(&b'/') {
        out.extend_from_slice(line);
        return;
    }
    if let Some(original) = view.original(mapping.name) {
        // Where the kernel begins a name (fs/proc/task_mmu.c).
        const COLUMN: usize = 73;
        let [addresses, permissions, offset, ..] = mapping.fields;
        let (device, inode) = (original.id.dev, original.id.ino);
        let (major, minor) = (libc::major(device), libc::minor(device));
        let rest = format!("{major:02x}:{minor:02x} {inode} ");
        let mut head = [addresses, permissions, offset, rest.as_bytes()].join(&b' ');
        head.resize(head.len().max(COLUMN), b' ');
        out.extend_from_slice(&head);
        out.extend_from_slice(&original.path);
    } else if let Some(name) = links::to_zone_text(view, mapping.name) {
        out.extend_from_slice(mapping.head);
        out.extend_from_slice(&name);
    } else {
        out.extend_from_slice(mapping.head.trim_ascii_end());
    }
    out.push(b'\n');
}
