//! Hostile bytes: the corpus that the fuzzer starts from, and random changes.

use std::fs;
use std::path::Path;

use picozone_personality::mailbox::{Image, Segment};
use proptest::prelude::*;

use super::native::{Native, execute};
use super::sample::Sample;
use super::{Bin, assert_same_as_native, plan};
use crate::loader::{LoadError, Parsed, parse, parse_interpreter};

/// What every plan promises to the personality, which maps it without looking.
fn assert_sound(image: &Image) {
    assert!(image.align.is_power_of_two() && image.align >= 4096);
    let [low, high] = image.span;
    assert!(low <= high && low % 4096 == 0 && high % 4096 == 0 && high <= 0x7fff_ffff_f000);
    let (used, free) = image.segments.split_at(image.count as usize);
    assert!(free.iter().all(|segment| *segment == Segment::default()));
    assert!(used.is_sorted_by_key(|segment| segment.vaddr));
    for segment in used {
        assert!(segment.vaddr >= low && segment.vaddr + segment.mem_size <= high);
        assert!(segment.mem_size > 0 && segment.file_size <= segment.mem_size && segment.prot < 8);
        assert_eq!(segment.vaddr % 4096, segment.offset % 4096);
        assert!(segment.offset.checked_add(segment.file_size).is_some());
        let apart = segment.vaddr + segment.mem_size <= 0x6600_0000_0000
            || segment.vaddr >= 0x6700_0000_0000;
        assert!(image.is_dyn == 1 || apart);
    }
}

fn assert_sound_bytes(bytes: &[u8], size: u64) {
    if let Ok(Parsed::Elf { image, .. }) = parse(bytes, size) {
        assert_sound(&image);
    }
    if let Ok(image) = parse_interpreter(bytes, size) {
        assert_sound(&image);
    }
}

/// Each file's name starts with what it gives: `ok`, `script` or an errno.
#[test]
fn the_corpus_gives_what_its_names_say() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/loader");
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let bytes = fs::read(entry.path()).unwrap();
        let name = entry.file_name().into_string().unwrap();
        let outcome = match parse(&bytes, bytes.len() as u64) {
            Ok(Parsed::Elf { .. }) => "ok",
            Ok(Parsed::Script { .. }) => "script",
            Err(LoadError::ENOEXEC) => "ENOEXEC",
            Err(LoadError::EINVAL) => "EINVAL",
            Err(LoadError::ENOMEM) => "ENOMEM",
            Err(LoadError::EFAULT) => "EFAULT",
            Err(LoadError::EIO) => "EIO",
            Err(error) => panic!("{name}: {error}"),
        };
        assert!(
            name.starts_with(&format!("{outcome}-")),
            "{name} gives {outcome}"
        );
        assert_sound_bytes(&bytes, bytes.len() as u64);
        count += 1;
    }
    assert!(count > 40, "the corpus has {count} files");
}

/// Positions in the headers of a sample, and what to put there.
fn mutations() -> impl Strategy<Value = Vec<(usize, u64, usize)>> {
    let value = prop_oneof![
        any::<u64>(),
        (0u32..64).prop_map(|bit| 1u64 << bit),
        (0u32..64).prop_map(|bit| (1u64 << bit).wrapping_sub(1)),
        (0u32..64).prop_map(|bit| !0u64 << bit),
        0u64..0x2000,
    ];
    let width = prop_oneof![Just(1usize), Just(2), Just(4), Just(8)];
    prop::collection::vec((0usize..64 + 3 * 56, value, width), 1..4)
}

fn mutate(mut bytes: Vec<u8>, mutations: &[(usize, u64, usize)]) -> Vec<u8> {
    for &(at, value, width) in mutations {
        // Aligned positions hit whole fields.
        let at = at - at % width;
        bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }
    bytes
}

proptest! {
    #[test]
    fn random_changes_never_panic(changes in mutations(), size in 0usize..0x800, dynamic: bool) {
        let sample = if dynamic { Sample::dynamic() } else { Sample::fixed() };
        let bytes = mutate(sample.with_interp(b"/ld.so").bytes(), &changes);
        assert_sound_bytes(&bytes, bytes.len() as u64);
        assert_sound_bytes(&bytes[..size], size as u64);
        assert_sound_bytes(&bytes[..size], bytes.len() as u64);
        assert_sound_bytes(&bytes, size as u64);
    }

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>, size: u64, kind in 0usize..3) {
        let start: &[u8] = [b"".as_slice(), b"#!", b"\x7fELF\x02\x01"][kind];
        let bytes = [start, &bytes].concat();
        assert_sound_bytes(&bytes, size);
    }

    /// The kernel's early refusals are ours, and what it starts is laid out alike here, except for
    /// the documented differences.
    #[test]
    fn random_changes_fare_as_with_the_kernel(changes in mutations(), dynamic: bool) {
        let bin = Bin::new();
        let sample = if dynamic { Sample::dynamic() } else { Sample::fixed() };
        let bytes = mutate(sample.bytes(), &changes);
        let path = bin.put("changed", &bytes);
        let ours = plan(&path);
        match (execute(&path), ours) {
            (Native::Refused(errno), ours) => {
                prop_assert_eq!(ours.err(), Some(LoadError(errno)));
            }
            (Native::Started(native), Ok(plan)) => {
                // Gigabytes of zeros would take long to compare page by page.
                let [low, high] = plan.exe.1.span;
                if high - low < 1 << 28 {
                    assert_same_as_native(&path, &plan, &native);
                }
            }
            (Native::Started(_), Err(error)) => {
                let documented = match error {
                    LoadError::ENOEXEC => bytes[4] != 2,
                    LoadError::EINVAL | LoadError::ENOMEM => true,
                    _ => false,
                };
                prop_assert!(documented, "{}", error);
            }
            // Late failures; some depend on where the kernel placed stack and page 0.
            (Native::Killed, ours) => {
                let documented = bytes[4] != 2 || ours.err() != Some(LoadError::ENOEXEC);
                prop_assert!(documented, "ENOEXEC");
            },
        }
    }
}
