//! Programs and interpreters with one thing changed, executed here and by the kernel.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use goblin::elf::program_header::{PF_R, PF_W, PF_X, PT_GNU_STACK, PT_INTERP, PT_NULL};
use picozone_personality::mailbox::SEGMENTS_MAX;

use super::Fate::{self, Killed, Runs, Same};
use super::sample::{Phdr, Sample, load};
use super::{Bin, assert_fate};
use crate::loader::{HEAD_BYTES, LoadError, parse};

/// Changes of a good program, what they give here, and natively.
fn changes() -> Vec<(&'static str, Sample, Option<LoadError>, Fate)> {
    let fixed = |change: fn(&mut Sample)| Sample::fixed().but(change);
    let dynamic = |change: fn(&mut Sample)| Sample::dynamic().but(change);
    let stack = |flags| Phdr {
        kind: PT_GNU_STACK,
        ..load(flags, 0, 0, 0, 0)
    };
    let enoexec = Some(LoadError::ENOEXEC);
    let einval = Some(LoadError::EINVAL);
    let enomem = Some(LoadError::ENOMEM);
    vec![
        ("fixed", Sample::fixed(), None, Same),
        ("dynamic", Sample::dynamic(), None, Same),
        ("empty", fixed(|s| s.size = 0), enoexec, Same),
        ("magic-only", fixed(|s| s.size = 4), enoexec, Same),
        ("header-cut", fixed(|s| s.size = 63), enoexec, Same),
        ("phdrs-cut", fixed(|s| s.size = 64 + 60), enoexec, Same),
        ("phdrs-beyond", fixed(|s| s.phoff = 1 << 40), enoexec, Same),
        (
            "phdrs-overflow",
            fixed(|s| s.phoff = u64::MAX),
            enoexec,
            Same,
        ),
        ("class-32", fixed(|s| s.class = 1), enoexec, Runs),
        (
            "big-endian-mark",
            fixed(|s| s.patches.push((5, vec![2]))),
            None,
            Same,
        ),
        (
            "version-0",
            fixed(|s| s.patches.push((6, vec![0; 10]))),
            None,
            Same,
        ),
        ("i386", fixed(|s| s.machine = 3), enoexec, Same),
        ("aarch64", fixed(|s| s.machine = 183), enoexec, Same),
        ("object", fixed(|s| s.kind = 1), enoexec, Same),
        ("core", fixed(|s| s.kind = 4), enoexec, Same),
        ("phentsize-32", fixed(|s| s.phentsize = 32), enoexec, Same),
        ("phnum-0", fixed(|s| s.phnum = Some(0)), enoexec, Same),
        (
            "phnum-1171",
            fixed(|s| (s.phnum, s.size) = (Some(1171), 0x20000)),
            enoexec,
            Same,
        ),
        (
            "phnum-1170",
            fixed(|s| (s.phnum, s.size) = (Some(1170), 0x20000)),
            None,
            Same,
        ),
        (
            "no-load",
            fixed(|s| s.phdrs.iter_mut().for_each(|p| p.kind = PT_NULL)),
            einval,
            Runs,
        ),
        (
            "dyn-no-load",
            dynamic(|s| s.phdrs.iter_mut().for_each(|p| p.kind = PT_NULL)),
            einval,
            Runs,
        ),
        (
            "interp-1-byte",
            fixed(|s| {
                s.phdrs.insert(
                    0,
                    Phdr {
                        kind: PT_INTERP,
                        ..load(PF_R, 0x600, 0, 1, 1)
                    },
                )
            }),
            enoexec,
            Same,
        ),
        (
            "interp-4097-bytes",
            fixed(|s| {
                s.phdrs.insert(
                    0,
                    Phdr {
                        kind: PT_INTERP,
                        ..load(PF_R, 0x600, 0, 4097, 1)
                    },
                )
            }),
            enoexec,
            Same,
        ),
        (
            "interp-beyond",
            fixed(|s| {
                s.phdrs.insert(
                    0,
                    Phdr {
                        kind: PT_INTERP,
                        ..load(PF_R, 0x1600, 0, 9, 9)
                    },
                )
            }),
            Some(LoadError::EIO),
            Same,
        ),
        (
            "interp-no-nul",
            fixed(|s| {
                s.phdrs.insert(
                    0,
                    Phdr {
                        kind: PT_INTERP,
                        ..load(PF_R, 0, 0, 4, 4)
                    },
                )
            }),
            enoexec,
            Same,
        ),
        (
            "interp-empty",
            Sample::fixed().with_interp(b"\0x"),
            Some(LoadError::EACCES),
            Same,
        ),
        (
            "interp-missing",
            Sample::fixed().with_interp(b"/nonexistent/ld.so"),
            Some(LoadError::ENOENT),
            Same,
        ),
        (
            "interp-directory",
            Sample::fixed().with_interp(b"/"),
            Some(LoadError::EACCES),
            Same,
        ),
        (
            "filesz-above-memsz",
            fixed(|s| s.phdrs[1].memsz = 1),
            einval,
            Killed,
        ),
        (
            "misaligned",
            fixed(|s| s.phdrs[1].offset = 8),
            einval,
            Killed,
        ),
        (
            "misaligned-no-file",
            fixed(|s| (s.phdrs[1].offset, s.phdrs[1].filesz) = (8, 0)),
            None,
            Same,
        ),
        (
            "empty-segment",
            fixed(|s| s.phdrs.push(load(PF_R, 5, 0x40_9000, 0, 0))),
            None,
            Same,
        ),
        (
            "offset-overflow",
            fixed(|s| s.phdrs[1].offset = !0xfff),
            einval,
            Killed,
        ),
        (
            "beyond-task",
            fixed(|s| s.phdrs[1].vaddr = 0x7fff_ffff_f000),
            einval,
            Killed,
        ),
        (
            "end-beyond-task",
            fixed(|s| s.phdrs[1].memsz = 0x7fff_ffff_f000),
            einval,
            Killed,
        ),
        (
            "end-overflow",
            fixed(|s| s.phdrs[1].memsz = u64::MAX),
            einval,
            Killed,
        ),
        (
            "dyn-huge",
            dynamic(|s| s.phdrs[1].memsz = 0x7000_0000_0000),
            enomem,
            Killed,
        ),
        (
            "align-odd",
            dynamic(|s| s.phdrs[1].align = 12345),
            None,
            Same,
        ),
        (
            "align-2m",
            dynamic(|s| s.phdrs[0].align = 1 << 21),
            None,
            Same,
        ),
        ("entry-beyond", fixed(|s| s.entry = 1 << 60), einval, Killed),
        ("unsorted", fixed(|s| s.phdrs.swap(0, 1)), None, Same),
        (
            "shared-page",
            fixed(|s| s.phdrs[1].vaddr = 0x40_0000),
            None,
            Same,
        ),
        (
            "shared-page-unsorted",
            fixed(|s| {
                s.phdrs[0].vaddr += 0x1000;
                s.entry += 0x1000;
                s.phdrs[1].vaddr = 0x40_0000;
                s.phdrs.swap(0, 1);
            }),
            None,
            Same,
        ),
        (
            "overlap-backwards",
            fixed(|s| {
                s.phdrs[1].vaddr = 0x3f_f000;
            }),
            einval,
            Runs,
        ),
        (
            "region-start",
            fixed(|s| s.phdrs[1].vaddr = 0x6600_0000_0000),
            enomem,
            Runs,
        ),
        (
            "region-end",
            fixed(|s| s.phdrs[1].vaddr = 0x66ff_ffff_f000),
            enomem,
            Runs,
        ),
        (
            "region-beyond",
            fixed(|s| s.phdrs[1].vaddr = 0x6700_0000_0000),
            None,
            Same,
        ),
        (
            "region-before",
            fixed(|s| s.phdrs[1].vaddr = 0x65ff_ffff_e000),
            None,
            Same,
        ),
        (
            "bss-beyond-file",
            fixed(|s| (s.phdrs[1].offset, s.phdrs[1].filesz) = (0x1000, 8)),
            Some(LoadError::EFAULT),
            Killed,
        ),
        (
            "read-only-bss",
            fixed(|s| s.phdrs[1].flags = PF_R),
            None,
            Same,
        ),
        (
            "stack-rwx",
            Sample::fixed().but(|s| s.phdrs.push(stack(PF_R | PF_W | PF_X))),
            None,
            Same,
        ),
        (
            "stack-rw",
            Sample::fixed().but(|s| s.phdrs.push(stack(PF_R | PF_W))),
            None,
            Same,
        ),
        (
            "stack-twice",
            Sample::fixed().but(|s| s.phdrs.extend([stack(PF_X), stack(PF_R)])),
            None,
            Same,
        ),
        (
            "phdrs-unmapped",
            fixed(|s| {
                s.phdrs[0] = load(PF_R | PF_X, 0x1000, 0x40_1000, 0x100, 0x100);
                s.phdrs[1] = s.phdrs[0];
                s.phdrs[1].vaddr += 0x1000;
                s.size = 0x1800;
            }),
            None,
            Same,
        ),
        (
            "too-many",
            Sample::fixed().but(|s| {
                s.phdrs.extend(
                    (0..SEGMENTS_MAX as u64 - 1)
                        .map(|i| load(PF_R, 0, 0x50_0000 + i * 0x1000, 16, 16)),
                )
            }),
            enoexec,
            Runs,
        ),
        (
            "just-enough",
            Sample::fixed().but(|s| {
                s.phdrs.extend(
                    (0..SEGMENTS_MAX as u64 - 2)
                        .map(|i| load(PF_R, 0, 0x50_0000 + i * 0x1000, 16, 16)),
                )
            }),
            None,
            Same,
        ),
    ]
}

#[test]
fn changed_programs_fare_as_with_the_kernel() {
    let bin = Bin::new();
    for (name, sample, expected, fate) in changes() {
        let path = bin.put(name, &sample.bytes());
        assert_fate(name, &path, expected, &fate);
    }
}

#[test]
fn changed_interpreters_fare_as_with_the_kernel() {
    let bin = Bin::new();
    let dynamic = |change: fn(&mut Sample)| Sample::dynamic().but(change).bytes();
    let elibbad = Some(LoadError::ELIBBAD);
    let cases: &[(&str, Vec<u8>, Option<LoadError>, Fate)] = &[
        ("good", dynamic(|_| ()), None, Same),
        (
            "fixed",
            Sample::fixed()
                .but(|s| s.phdrs.iter_mut().for_each(|p| p.vaddr += 0x100_0000))
                .bytes(),
            None,
            Same,
        ),
        ("empty", vec![], Some(LoadError::EIO), Same),
        (
            "short",
            dynamic(|s| s.size = 63),
            Some(LoadError::EIO),
            Same,
        ),
        (
            "script",
            [b"#!/bin/sh\n".as_slice(), &[b' '; 99]].concat(),
            elibbad,
            Same,
        ),
        ("i386", dynamic(|s| s.machine = 3), elibbad, Same),
        ("object", dynamic(|s| s.kind = 1), elibbad, Killed),
        ("phentsize", dynamic(|s| s.phentsize = 1), elibbad, Same),
        ("phnum-0", dynamic(|s| s.phnum = Some(0)), elibbad, Same),
        ("phdrs-cut", dynamic(|s| s.size = 100), elibbad, Same),
        (
            "no-load",
            dynamic(|s| s.phdrs.iter_mut().for_each(|p| p.kind = PT_NULL)),
            Some(LoadError::EINVAL),
            Killed,
        ),
        (
            "misaligned",
            dynamic(|s| s.phdrs[1].offset = 8),
            Some(LoadError::EINVAL),
            Killed,
        ),
        (
            "beyond",
            dynamic(|s| s.phdrs[1].vaddr = 1 << 60),
            Some(LoadError::ENOMEM),
            Killed,
        ),
        (
            "filesz",
            dynamic(|s| s.phdrs[1].memsz = 1),
            Some(LoadError::ENOMEM),
            Killed,
        ),
        (
            "entry",
            dynamic(|s| s.entry = 1 << 60),
            Some(LoadError::EINVAL),
            Killed,
        ),
    ];
    for (name, bytes, expected, fate) in cases {
        let interp = bin.put(&format!("{name}.so"), bytes);
        for program in [Sample::fixed(), Sample::dynamic()] {
            let program = program.with_interp(interp.as_os_str().as_bytes());
            assert_fate(name, &bin.put(name, &program.bytes()), *expected, fate);
        }
    }
    let plain = bin.put("plain.so", b"");
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
    let program = Sample::fixed().with_interp(plain.as_os_str().as_bytes());
    let program = bin.put("plain", &program.bytes());
    assert_fate("not executable", &program, Some(LoadError::EACCES), &Same);
}

/// Headers and interpreter names anywhere in the file (`patchelf` puts them at its end).
#[test]
fn headers_beyond_the_head_are_read() {
    let bin = Bin::new();
    let interp = bin.put("interp.so", &Sample::dynamic().bytes());
    let mut file = Sample::fixed()
        .with_interp(interp.as_os_str().as_bytes())
        .but(|s| s.phoff = 0x9000)
        .bytes();
    let phdrs = file[64..64 + 3 * 56].to_vec();
    file.resize(0x9000, 0);
    file.extend(phdrs);
    assert!(file.len() > HEAD_BYTES);
    assert_fate("far", &bin.put("far", &file), None, &Same);
    assert_eq!(
        parse(&file[..HEAD_BYTES], file.len() as u64),
        Err(LoadError::ENOEXEC)
    );
}

/// Natively the program lands at address 0, if the caller may map that.
#[test]
fn huge_alignments_are_refused() {
    let file = Sample::dynamic()
        .but(|s| s.phdrs[1].align = 1 << 62)
        .bytes();
    assert_eq!(parse(&file, file.len() as u64), Err(LoadError::ENOMEM));
}
