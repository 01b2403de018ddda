//! Every rewritten site of real files, decoded back.

use super::{Rewritten, analyse};
use iced_x86::{Code, Decoder, DecoderOptions, Instruction};
use picozone_personality::layout::JUMP_ENTRY;
use picozone_syscalls::{enters_by_jump, nr};

fn rewritten(path: &str) -> Option<(Vec<u8>, Rewritten)> {
    let file = std::fs::read(path).ok()?;
    let found = analyse(&file, JUMP_ENTRY, enters_by_jump)?;
    eprintln!("{path}: {:?}", found.counts);
    Some((file, found))
}

fn decode(bytes: &[u8], ip: u64) -> Vec<Instruction> {
    Decoder::with_ip(64, bytes, ip, DecoderOptions::NONE)
        .into_iter()
        .collect()
}

/// Judges one file; it must have sites.
fn check(path: &str) -> Option<Rewritten> {
    let (file, found) = rewritten(path)?;
    let (copy, tail_at) = found.apply(&file);
    assert_eq!(tail_at % 4096, 0);
    assert_eq!(found.tail_address % 4096, 0);
    assert_eq!(
        copy[usize::try_from(tail_at).expect("it fits")..],
        found.tail[..]
    );
    // Outside the sites nothing is changed, and sites do not overlap.
    let mut end = 0;
    for patch in &found.patches {
        assert!(end <= patch.offset, "sites overlap at {:#x}", patch.address);
        assert_eq!(copy[end..patch.offset], file[end..patch.offset]);
        end = patch.offset + patch.bytes.len();
    }
    assert_eq!(copy[end..file.len()], file[end..]);
    for patch in &found.patches {
        check_site(&file, &found, patch);
    }
    Some(found)
}

fn check_site(file: &[u8], found: &Rewritten, patch: &super::Patch) {
    let place = format!("the site at {:#x}", patch.address);
    let jump = decode(&patch.bytes, patch.address)[0];
    assert_eq!(jump.code(), Code::Jmp_rel32_64, "{place}");
    assert_eq!(
        jump.near_branch_target(),
        found.tail_address + patch.stub as u64
    );
    // What stood there: whole instructions, the same as in the stub.
    let length = patch.bytes.len();
    let before = decode(&file[patch.offset..patch.offset + 64], patch.address);
    let whole: usize = before
        .iter()
        .map(Instruction::len)
        .scan(0, |sum, len| {
            *sum += len;
            Some(*sum)
        })
        .find(|sum| *sum >= length)
        .expect("instructions");
    assert_eq!(whole, length, "{place} takes half an instruction");
    // Moved instructions are not relative to their place: the first that is, is the stub's own.
    let stub = decode(&found.tail[patch.stub..], jump.near_branch_target());
    let lea = stub
        .iter()
        .position(|i| i.code() == Code::Lea_r64_m && i.is_ip_rel_memory_operand())
        .expect("a return address");
    let back = stub[lea].memory_displacement64();
    assert_eq!(stub[lea + 1].immediate64(), JUMP_ENTRY, "{place}");
    assert_eq!(stub[lea + 2].code(), Code::Jmp_rm64, "{place}");
    let call = before
        .iter()
        .position(|i| i.code() == Code::Syscall)
        .expect("a call");
    // `==` of instructions leaves their places out.
    assert_eq!(before[..call], stub[..lea], "{place}");
    if before[call].ip() < patch.address + length as u64 {
        assert_eq!(
            (stub[lea + 3].code(), stub[lea + 3].next_ip()),
            (Code::Syscall, back),
            "{place}"
        );
        let mut at = lea + 4;
        for original in before
            .iter()
            .skip(call + 1)
            .take_while(|i| i.ip() < patch.address + length as u64)
        {
            let copy = &stub[at];
            assert_eq!(original.mnemonic(), copy.mnemonic(), "{place}");
            assert_eq!(
                original.near_branch_target(),
                copy.near_branch_target(),
                "{place}"
            );
            if original.near_branch_target() == 0 {
                assert_eq!(original, copy, "{place}");
            }
            at += 1;
        }
        assert_eq!(stub[at].code(), Code::Jmp_rel32_64);
        assert_eq!(stub[at].near_branch_target(), patch.address + length as u64);
    } else {
        assert_eq!((call, before[call].next_ip()), (lea, back), "{place}");
        let number = before[0].immediate32();
        assert!(enters_by_jump(number), "{place} is of call {number}");
    }
}

#[test]
fn libc_and_its_loader_are_rewritten_nearly_whole() {
    for path in [
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib64/ld-linux-x86-64.so.2",
    ] {
        let Some(found) = check(path) else {
            eprintln!("skipped: no {path}");
            continue;
        };
        let counts = found.counts;
        assert!(counts.by_number >= 10, "{counts:?}");
        assert!(counts.left * 20 < counts.all, "{counts:?}");
    }
}

#[test]
fn a_stripped_static_program_is_rewritten() {
    let Some(found) = check("/bin/busybox") else {
        eprintln!("skipped: no /bin/busybox, or it is not static");
        return;
    };
    assert!(
        found.counts.left * 20 < found.counts.all,
        "{:?}",
        found.counts
    );
}

#[test]
fn a_program_of_go_is_rewritten() {
    let dir = tempfile::tempdir().expect("a directory");
    let source = dir.path().join("main.go");
    std::fs::write(
        &source,
        "package main\nimport \"os\"\nfunc main() { os.Getpid() }\n",
    )
    .expect("written");
    for flags in ["", "-s -w"] {
        let built = std::process::Command::new("go")
            .args(["build", "-ldflags", flags, "-o", "main", "main.go"])
            .current_dir(dir.path())
            .env("GOCACHE", dir.path())
            .env("CGO_ENABLED", "0")
            .env("HOME", dir.path())
            .status();
        if !built.is_ok_and(|status| status.success()) {
            eprintln!("skipped: go cannot build");
            return;
        }
        let program = dir.path().join("main");
        let found = check(program.to_str().expect("text")).expect("sites");
        assert!(
            found.counts.by_neighbours > 0,
            "the generic site is one: {:?}",
            found.counts
        );
    }
}

#[test]
fn what_is_no_program_is_left_alone() {
    let wanted = |_| true;
    for file in [&b""[..], b"\x7fELF", &[0; 4096]] {
        assert_eq!(analyse(file, JUMP_ENTRY, wanted), None);
    }
    let mut libc = std::fs::read("/proc/self/exe").expect("our own file");
    libc.truncate(5000);
    assert_eq!(analyse(&libc, JUMP_ENTRY, wanted), None);
}

#[test]
fn the_calls_that_enter_by_jump() {
    for number in [
        nr::getpid,
        nr::openat,
        nr::newfstatat,
        nr::rt_sigprocmask,
        nr::clone,
        nr::execve,
    ] {
        assert!(enters_by_jump(number));
    }
    for number in [nr::read, nr::mmap, nr::vfork, nr::rt_sigsuspend, 0x5a0f] {
        assert!(!enters_by_jump(number));
    }
}
