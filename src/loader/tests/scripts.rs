//! First lines of scripts, and scripts run by scripts.

use std::os::unix::ffi::OsStrExt;

use proptest::prelude::*;

use super::Fate::Same;
use super::native::{Native, execute};
use super::sample::Sample;
use super::{Bin, assert_fate, assert_same_as_native, plan};
use crate::loader::{LoadError, SCRIPTS_MAX};

#[test]
fn chains_of_scripts_end_as_with_the_kernel() {
    let bin = Bin::new();
    bin.put("0", &Sample::fixed().bytes());
    for depth in 1..=SCRIPTS_MAX + 2 {
        let line = format!(
            "#!{} x{depth} y \n",
            bin.path(&(depth - 1).to_string()).display()
        );
        let path = bin.put(&depth.to_string(), line.as_bytes());
        let expected = (depth > SCRIPTS_MAX).then_some(LoadError::ELOOP);
        assert_fate("chain", &path, expected, &Same);
        assert!(expected.is_some() || plan(&path).unwrap().front.len() == 2 * depth + 1);
    }
    let looped = bin.path("looped");
    bin.put("looped", format!("#!{}\n", looped.display()).as_bytes());
    assert_fate("loop", &looped, Some(LoadError::ELOOP), &Same);
}

/// Whatever the kernel says about a first line, the same is said here.
fn assert_script(bin: &Bin, name: &str, line: &[u8]) {
    let path = bin.put(name, line);
    let ours = plan(&path);
    match (execute(&path), ours) {
        (Native::Refused(errno), Err(error)) => assert_eq!(LoadError(errno), error, "{line:?}"),
        (Native::Started(native), Ok(plan)) => assert_same_as_native(&path, &plan, &native),
        (native, ours) => panic!("{:?}: {native:?} {ours:?}", String::from_utf8_lossy(line)),
    }
}

#[test]
fn first_lines_are_split_as_by_the_kernel() {
    let bin = Bin::new();
    let program = bin.put("0", &Sample::fixed().bytes());
    let program = program.as_os_str().as_bytes();
    let long = |len: usize, end: &[u8]| {
        let mut line = [b"#!", program, b" "].concat();
        line.resize(len, b'a');
        line.extend(end);
        line
    };
    let padded = |len: usize| {
        let mut line = b"#!".to_vec();
        line.resize(len - program.len(), b' ');
        line.extend(program);
        line
    };
    let mut lines: Vec<Vec<u8>> = [
        b"#!".as_slice(),
        b"#!\n",
        b"#! \t \n",
        b"#! ",
        b"#",
        b"# !\n",
        b"#!\0\n",
        b"\n#!",
        b"#!/\n",
        b"#!/nonexistent\n",
        b"#!/nonexistent x",
    ]
    .map(<[u8]>::to_vec)
    .into();
    for (before, after) in [
        ("", ""),
        ("", "\n"),
        (" ", " \n"),
        ("\t", "\t \n"),
        ("", " a"),
        ("", " a \t"),
        ("", " a \n"),
        ("", " a b  c\n"),
        ("", "\0\n"),
        ("", "\0x\n"),
        ("", " a\0b\n"),
        ("", " \0\n"),
        ("", " \0"),
        ("", "\r\n"),
        ("", "  -x\t-y \nz"),
    ] {
        lines.push([b"#!", before.as_bytes(), program, after.as_bytes()].concat());
    }
    for len in 250..260 {
        lines.push(long(len, b""));
        lines.push(long(len, b"\n"));
        lines.push(long(len, b" \n"));
        lines.push(padded(len));
        lines.push([padded(len), b"\n".to_vec()].concat());
        lines.push([padded(len), b" ".to_vec()].concat());
        lines.push([b"#!".to_vec(), vec![b' '; len]].concat());
    }
    for (i, line) in lines.iter().enumerate() {
        assert_script(&bin, &format!("s{i}"), line);
    }
}

proptest! {
    #[test]
    fn random_first_lines_are_split_as_by_the_kernel(
        parts in prop::collection::vec(0usize..8, 0..9),
        fill in prop::sample::select(vec![1usize, 2, 200, 240]),
    ) {
        let bin = Bin::new();
        let program = bin.put("0", &Sample::fixed().bytes());
        let long = vec![b' '; fill];
        let words: [&[u8]; 8] =
            [b" ", b"\t", b"\0", b"\n", b"a", program.as_os_str().as_bytes(), &long, b"#!"];
        let mut line = b"#!".to_vec();
        line.extend(parts.iter().flat_map(|&part| words[part]));
        assert_script(&bin, "s", &line);
    }
}
