//! Arguments as data: numbers, lists of flags, and bytes.

use super::entry::{Call, Part};
use super::show::Argument;
use picozone_syscalls::Kind;
use serde_json::{Value, json};

/// What an argument says, as data; none of what is only known as text, or not in full.
#[must_use]
pub fn of(call: &Call, i: usize, argument: &Argument, has_ended: bool) -> Option<Value> {
    if argument.kind.is_flags() {
        let names = argument.text.split('|').filter(|name| *name != "0");
        return Some(names.collect());
    }
    let word = argument.word;
    let next = call.args.get(i + 1).copied().unwrap_or(0);
    let result = u64::try_from(call.result).ok().filter(|_| has_ended);
    match argument.kind {
        Kind::DirFd if int(word) == -100 => None,
        Kind::Fd
        | Kind::DirFd
        | Kind::Int
        | Kind::TimeoutMs
        | Kind::IpcId
        | Kind::Tgid
        | Kind::Tid
        | Kind::Pgid
        | Kind::PidOrPgrp
        | Kind::Who => Some(int(word).into()),
        Kind::Uid | Kind::Gid => Some(match int(word) {
            -1 => (-1).into(),
            id => id.cast_unsigned().into(),
        }),
        Kind::Size | Kind::Count => Some(word.into()),
        Kind::Offset => Some(word.cast_signed().into()),
        Kind::Path | Kind::Text | Kind::IpcName => {
            let text = recorded(call, word)?.strip_suffix(b"\0")?;
            Some(bytes(text))
        }
        Kind::Buf => bytes_of(call, word, next),
        Kind::BufOut => bytes_of(call, word, result?),
        Kind::PathOut => {
            let length = usize::try_from(result?).ok()?;
            let path = recorded(call, word)?.get(..length)?;
            Some(bytes(path.strip_suffix(b"\0").unwrap_or(path)))
        }
        _ => None,
    }
}

/// So many bytes at an address, if all were recorded.
fn bytes_of(call: &Call, at: u64, length: u64) -> Option<Value> {
    let length = usize::try_from(length).ok()?;
    recorded(call, at)?.get(..length).map(bytes)
}

/// What lay at an address.
fn recorded(call: &Call, at: u64) -> Option<&[u8]> {
    call.parts.iter().find_map(|part| match part {
        Part::Memory { address, bytes } if *address == at => Some(bytes.as_slice()),
        _ => None,
    })
}

/// The low half, as a call takes an `int`.
fn int(word: u64) -> i32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// Bytes as text, or where they are none in base64.
#[must_use]
pub fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "base64": base64(bytes) }),
    }
}

/// RFC 4648.
pub(super) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let [a, b, c] = group.map(usize::from);
        let letters = [
            a >> 2,
            (a & 3) << 4 | b >> 4,
            (b & 15) << 2 | c >> 6,
            c & 63,
        ];
        for (i, letter) in letters.into_iter().enumerate() {
            let letter = if i <= chunk.len() {
                LETTERS[letter]
            } else {
                b'='
            };
            text.push(letter.into());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::entry::tests::sample;
    use crate::trace::show;
    use picozone_syscalls::nr;

    fn values(call: &Call) -> Vec<Option<Value>> {
        let all = show::arguments(call, true);
        let each = all.iter().enumerate();
        each.map(|(i, arg)| of(call, i, arg, true)).collect()
    }

    #[test]
    fn numbers_are_numbers_and_texts_are_whole() {
        let some = |value: Value| Some(value);
        let flags = json!(["O_RDONLY", "O_CLOEXEC"]);
        assert_eq!(
            values(&sample()),
            [None, some("/etc/passwd".into()), some(flags)]
        );
        let chown = Call {
            nr: nr::fchown,
            args: [3, 0xffff_ffff, 33, 0, 0, 0],
            ..sample()
        };
        assert_eq!(
            values(&chown),
            [some(3.into()), some((-1).into()), some(33.into())]
        );
        let mut cut = sample();
        cut.parts[0] = Part::Memory {
            address: 0x7000,
            bytes: b"/etc/pass".to_vec(),
        };
        assert_eq!(values(&cut)[1], None);
        let read = |length: i64| Call {
            nr: nr::read,
            args: [3, 0x100, 4096, 0, 0, 0],
            result: length,
            parts: vec![Part::Memory {
                address: 0x100,
                bytes: b"ab\xff".to_vec(),
            }],
            ..sample()
        };
        assert_eq!(values(&read(2))[1], some("ab".into()));
        assert_eq!(values(&read(3))[1], some(json!({ "base64": "YWL/" })));
        assert_eq!(values(&read(4))[1], None);
        assert_eq!(values(&read(-9))[1], None);
    }

    #[test]
    fn what_is_no_text_is_base64() {
        assert_eq!(bytes(b"/usr/bin/env"), "/usr/bin/env");
        for (from, to) in [
            (&b"\xff"[..], "/w=="),
            (b"\xff\xfe", "//4="),
            (b"\xff\xfe\xfd", "//79"),
        ] {
            assert_eq!(bytes(from), json!({ "base64": to }));
        }
    }
}
