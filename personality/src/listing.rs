//! The order of the entries of `/proc`, as getdents64(2) lists them.
//!
//! The kernel lists processes and descriptors by number, behind what has a name, and programs such as
//! `ps` show them in that order. The directories on disk that stand for those of `/proc` have an
//! order of their own. Deliberately absent: positions for seekdir(3), which stay those on disk.

/// `struct linux_dirent64`: inode, position, length of the record, type, name.
const LENGTH_AT: usize = 16;
const NAME_AT: usize = 19;

/// Sorts the records of one call, those with a number as name behind the others.
pub fn sort(records: &mut [u8]) {
    let mut at = 0;
    while let Some((length, key)) = record(records, at) {
        let mut place = 0;
        while place < at {
            match record(records, place) {
                Some((length, other)) if other <= key => place += length,
                _ => break,
            }
        }
        if let Some(moved) = records.get_mut(place..at + length) {
            moved.rotate_right(length);
        }
        at += length;
    }
}

/// Length and key of a record: a number plus one, 0 for a name.
fn record(records: &[u8], at: usize) -> Option<(usize, u64)> {
    let rest = records.get(at..)?;
    let length = usize::from(u16::from_ne_bytes([
        *rest.get(LENGTH_AT)?,
        *rest.get(LENGTH_AT + 1)?,
    ]));
    let name = rest.get(NAME_AT..length)?;
    let end = name.iter().position(|&byte| byte == 0)?;
    Some((length, key(name.get(..end)?)))
}

fn key(name: &[u8]) -> u64 {
    let digits = name.iter().map(|byte| byte.wrapping_sub(b'0'));
    if name.is_empty() || name.len() > 10 || digits.clone().any(|digit| digit > 9) {
        return 0;
    }
    1 + digits.fold(0, |number, digit| number * 10 + u64::from(digit))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::{String, ToString as _};
    use std::vec::Vec;

    fn records(names: &[&str]) -> Vec<u8> {
        let mut all = Vec::new();
        for name in names {
            let length = (NAME_AT + name.len() + 1).next_multiple_of(8);
            let start = all.len();
            all.resize(start + length, 0);
            all[start + LENGTH_AT..start + LENGTH_AT + 2]
                .copy_from_slice(&u16::try_from(length).unwrap().to_ne_bytes());
            all[start + NAME_AT..start + NAME_AT + name.len()].copy_from_slice(name.as_bytes());
        }
        all
    }

    fn names(mut records: &[u8]) -> Vec<String> {
        let mut all = Vec::new();
        while let Some((length, _)) = record(records, 0) {
            let name = records[NAME_AT..length].split(|&byte| byte == 0).next();
            all.push(String::from_utf8(name.unwrap().to_vec()).unwrap());
            records = &records[length..];
        }
        all
    }

    #[test]
    fn numbers_come_last_and_in_order() {
        let mut listed = records(&[
            "100000",
            "stat",
            "9",
            ".",
            "a-rather-long-name",
            "10",
            "..",
            "1",
            "77777777777",
        ]);
        sort(&mut listed);
        assert_eq!(
            names(&listed),
            [
                "stat",
                ".",
                "a-rather-long-name",
                "..",
                "77777777777",
                "1",
                "9",
                "10",
                "100000"
            ]
        );
    }

    #[test]
    fn what_is_cut_short_is_left_alone() {
        let whole = records(&["2", "1"]);
        for length in 0..whole.len() {
            let mut cut = whole[..length].to_vec();
            sort(&mut cut);
            assert_eq!(cut.len(), length);
        }
        let mut empty_record = [0; 64];
        sort(&mut empty_record);
        assert_eq!(names(&records(&["3"])), ["3".to_string()]);
    }
}
