//! The filter against the table's meaning, in an interpreter.
#![expect(
    clippy::cast_possible_truncation,
    reason = "words are taken apart as the kernel does"
)]

use picozone_syscalls::filter::{self, Insn, program};
use picozone_syscalls::meaning::{ARCH, Call, Verdict, X32, verdict};
use picozone_syscalls::{FilterLayout, ROWS, nr};
use proptest::prelude::*;

fn layout() -> FilterLayout {
    FilterLayout {
        trap: filter::TRAP,
        personality: 0x6600_0000_0000..0x6600_0010_0000,
        judge: 0x6600_0000_00f2,
        hows: 0x6601_0000_1000..0x6601_0000_5000,
        empty: 0x6601_0000_0200,
        sources: 0x6601_0000_0400..0x6601_0000_0800,
        messages: 0x6601_0000_0800..0x6601_0000_0c00,
        tables: 0x6601_0000_0000..0x6601_0400_0000,
        names: 0x6601_0001_0000..0x6601_0021_0000,
        fd_base: 1024,
        fd_count: 40,
        fd_personality: 1024,
        fd_tables: 1025,
        fd_parents: 1056,
        doorbell: 0x5a0f,
    }
}

/// Runs the program as the kernel's classic BPF would.
fn run(code: &[Insn], call: &Call) -> Verdict {
    verdict_and_steps(code, call).0
}

/// The same, and how many instructions that took.
fn verdict_and_steps(code: &[Insn], call: &Call) -> (Verdict, usize) {
    let word = |at: u32| -> u32 {
        let half = |value: u64, at: u32| {
            if at & 4 == 0 {
                value as u32
            } else {
                (value >> 32) as u32
            }
        };
        match at {
            0 => call.nr,
            4 => call.arch,
            8 | 12 => half(call.ip, at - 8),
            _ => half(call.args[(at as usize - 16) / 8], at),
        }
    };
    let (mut pc, mut a, mut steps) = (0usize, 0u32, 0);
    loop {
        let insn = code[pc];
        pc += 1;
        steps += 1;
        let holds = match insn.code {
            filter::LOAD => {
                a = word(insn.k);
                continue;
            }
            filter::AND => {
                a &= insn.k;
                continue;
            }
            filter::JUMP => {
                pc += insn.k as usize;
                continue;
            }
            filter::RETURN => {
                let verdict = match insn.k & 0xffff_0000 {
                    filter::ALLOW => Verdict::Allow,
                    filter::TRAP | filter::TRACE => Verdict::Trap,
                    filter::NOTIFY => Verdict::Notify,
                    filter::KILL => Verdict::Kill,
                    _ => Verdict::Errno(insn.k as u16),
                };
                return (verdict, steps);
            }
            filter::JEQ => a == insn.k,
            filter::JGE => a >= insn.k,
            filter::JSET => a & insn.k != 0,
            other => panic!("operation {other:#x}"),
        };
        pc += usize::from(if holds { insn.jt } else { insn.jf });
    }
}

/// Not more instructions than so many decide on calls that are made all the time.
#[test]
fn frequent_calls_are_decided_soon() {
    let layout = layout();
    let code = program(&layout);
    let is_soon = |nr: u32, args: [u64; 6], ip: u64, most: usize| {
        let arch = ARCH;
        let (verdict, steps) = verdict_and_steps(&code, &Call { nr, arch, ip, args });
        assert_eq!(verdict, Verdict::Allow, "{nr}");
        assert!(steps <= most, "{nr}: {steps}");
    };
    let (ours, guests) = (layout.personality.start, 0x1000);
    let how = layout.hows.start;
    is_soon(nr::close, [3, 0, 0, 0, 0, 0], guests, 14);
    is_soon(nr::dup, [3, 0, 0, 0, 0, 0], guests, 14);
    is_soon(nr::lseek, [3, 4096, 0, 0, 0, 0], guests, 14);
    is_soon(nr::lseek, [3, 0, 1, 0, 0, 0], guests, 19);
    is_soon(nr::fcntl, [3, 3, 0, 0, 0, 0], guests, 19);
    is_soon(nr::mmap, [0, 4096, 3, 0x22, u64::MAX, 0], guests, 16);
    is_soon(nr::fstat, [3, 0x2000, 0, 0, 0, 0], ours, 17);
    is_soon(nr::rt_sigprocmask, [2, ours, 0, 8, 0, 0], ours, 17);
    is_soon(nr::openat2, [3, 0x2000, how, 24, 0, 0], ours, 27);
}

#[test]
fn every_number_from_both_sides() {
    let traced = FilterLayout {
        trap: filter::TRACE,
        ..layout()
    };
    for layout in [layout(), traced] {
        every_number(&layout);
    }
}

fn every_number(layout: &FilterLayout) {
    let code = program(layout);
    assert!(code.len() < 4096, "{} instructions", code.len());
    for nr in (0..600).chain([layout.doorbell, X32, X32 | 1, X32 | 39, u32::MAX]) {
        for ip in [
            0x1000,
            layout.personality.start,
            layout.judge,
            layout.personality.end - 1,
            layout.personality.end,
        ] {
            for arch in [ARCH, 0x4000_0003] {
                let call = Call {
                    nr,
                    arch,
                    ip,
                    args: [0; 6],
                };
                assert_eq!(run(&code, &call), verdict(layout, &call), "{call:x?}");
            }
        }
    }
}

/// Who traces a thread that stops for its calls decides whether the kernel makes them.
#[test]
fn nobody_traces_where_calls_stop_for_a_tracer() {
    let traced = FilterLayout {
        trap: filter::TRACE,
        ..layout()
    };
    let code = program(&traced);
    for op in [0, 16, 24, 0x4200, 0x4206] {
        let call = Call {
            nr: nr::ptrace,
            arch: ARCH,
            ip: traced.personality.start + 0x100,
            args: [op, 5, 0, 0x80, 0, 0],
        };
        assert_eq!(run(&code, &call), Verdict::Errno(1), "{op:#x}");
        assert_eq!(run(&program(&layout()), &call), Verdict::Allow, "{op:#x}");
    }
}

/// A native call must reach its verdict by the number alone, so that the kernel caches it.
#[test]
fn native_verdicts_are_constant() {
    let code = program(&layout());
    for row in ROWS
        .iter()
        .filter(|row| matches!(row.class, picozone_syscalls::Class::Native))
    {
        let mut pc = 4;
        let steps = loop {
            let insn = code[pc];
            pc += 1;
            match insn.code {
                filter::JUMP => pc += insn.k as usize,
                filter::JGE => pc += usize::from(if row.nr >= insn.k { insn.jt } else { insn.jf }),
                filter::RETURN => break insn.k,
                other => panic!("{} loads something: {other:#x}", row.name),
            }
        };
        assert_eq!(steps, filter::ALLOW, "{}", row.name);
    }
}

#[test]
fn numbers_are_libcs() {
    macro_rules! same { ($($name:ident)*) => { $(
        let row = picozone_syscalls::row(u32::try_from(libc::$name).unwrap()).expect(stringify!($name));
        assert_eq!(format!("SYS_{}", row.name), stringify!($name));
    )* } }
    same! { SYS_read SYS_open SYS_mmap SYS_rt_sigreturn SYS_ioctl SYS_clone SYS_execve SYS_wait4 SYS_kill SYS_uname SYS_semget SYS_fcntl
    SYS_getdents64 SYS_openat SYS_newfstatat SYS_unlinkat SYS_renameat2 SYS_seccomp SYS_getrandom SYS_memfd_create SYS_bpf SYS_execveat
    SYS_statx SYS_rseq SYS_pidfd_open SYS_clone3 SYS_close_range SYS_openat2 SYS_faccessat2 SYS_epoll_pwait2 SYS_mseal }
    assert!(ROWS.len() > 370);
}

#[test]
fn numbers_are_the_kernels() {
    let header = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";
    let Ok(text) = std::fs::read_to_string(header) else {
        eprintln!("skipped: {header} is not installed");
        return;
    };
    let mut highest = 0;
    let mut known = 0;
    for line in text.lines() {
        let mut words = line.split_whitespace().skip(1);
        let (Some(name), Some(nr)) = (words.next(), words.next()) else {
            continue;
        };
        let (Some(name), Ok(nr)) = (name.strip_prefix("__NR_"), nr.parse::<u32>()) else {
            continue;
        };
        let row = picozone_syscalls::row(nr).unwrap_or_else(|| panic!("{name} has no row"));
        assert_eq!(row.name, name);
        (highest, known) = (highest.max(nr), known + 1);
    }
    // An older header lacks the newest calls.
    let ours = ROWS.iter().filter(|row| row.nr <= highest).count();
    assert!(known > 330);
    assert_eq!(ours, known);
}

#[test]
fn the_compatibility_page_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/COMPATIBILITY.md");
    let page = picozone_syscalls::compat::page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        page,
        "run the tests with UPDATE_DOCS=1"
    );
}

fn interesting() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0u64..70,
        1000u64..1100,
        Just(u64::MAX),
        (0x6600u64..0x6606, any::<u32>()).prop_map(|(high, low)| high << 32 | u64::from(low)),
        (0x6400u64..0x6a00, any::<u32>()).prop_map(|(high, low)| high << 32 | u64::from(low)),
        (0u64..0x6000).prop_map(|offset| 0x6601_0000_0000 + offset),
        (0u64..0x300).prop_map(|slot| 0x6601_0000_0000 + slot * 32),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn random_calls(at in 0..ROWS.len(), ip in 0..3usize, args in prop::array::uniform6(interesting())) {
        let layout = layout();
        let ip = [0x7000_0000_0000, layout.personality.start + 0x1234, layout.judge][ip];
        let call = Call { nr: ROWS[at].nr, arch: ARCH, ip, args };
        thread_local!(static CODE: Vec<Insn> = program(&self::layout()));
        CODE.with(|code| assert_eq!(run(code, &call), verdict(&layout, &call), "{} {call:x?}", ROWS[at].name));
    }
}

/// A unix datagram socket sends to any path of the host that a message names, and no filter sees that
/// name; an address that goes to the kernel untranslated is the host's. So addresses have a length that
/// no unix socket accepts, and messages are those of the tables.
#[test]
fn no_address_of_a_guests_own() {
    const CONNECT: u32 = 42;
    const SENDTO: u32 = 44;
    const SENDMSG: u32 = 46;
    const BIND: u32 = 49;
    const SENDMMSG: u32 = 307;
    let (layout, code) = (layout(), program(&layout()));
    let judge = |nr, ip, args| {
        let arch = ARCH;
        run(&code, &Call { nr, arch, ip, args })
    };
    let own = layout.personality.start + 0x100;
    for ip in [0x40_0000, own] {
        for length in [16, 110] {
            for (nr, args) in [
                (SENDTO, [3, 0x1000, 1, 0, 0x2000, length]),
                (CONNECT, [3, 0x2000, length, 0, 0, 0]),
                (BIND, [3, 0x2000, length, 0, 0, 0]),
                (BIND, [3, layout.sources.start, length, 0, 0, 0]),
            ] {
                let verdict = judge(nr, ip, args);
                assert_ne!(
                    verdict,
                    Verdict::Allow,
                    "{nr} of {length} bytes from {ip:#x}"
                );
            }
        }
        let forms = &layout.messages;
        for message in [
            0,
            0x1000,
            forms.start - 64,
            forms.start + 8,
            forms.start + 32,
            forms.end,
            forms.start ^ 1 << 32,
            forms.start ^ 1 << 63,
        ] {
            for nr in [SENDMSG, SENDMMSG] {
                let verdict = judge(nr, ip, [3, message, 1, 0, 0, 0]);
                assert_ne!(verdict, Verdict::Allow, "{nr} of {message:#x} from {ip:#x}");
            }
        }
        let verdict = judge(SENDMMSG, ip, [3, forms.start, 1, 0, 0, 0]);
        assert_ne!(verdict, Verdict::Allow, "sendmmsg from {ip:#x}");
    }
    for (nr, args) in [
        (SENDTO, [3, 0x1000, 1, 0, 0x2000, 128]),
        (SENDMSG, [3, layout.messages.start + 64, 0, 0, 0, 0]),
    ] {
        assert_eq!(judge(nr, 0x40_0000, args), Verdict::Trap);
        assert_eq!(judge(nr, own, args), Verdict::Allow);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    /// A range that begins below our region and is admitted ends below it.
    #[test]
    fn admitted_ranges_reach_no_region(high in 0u64..0x6600, low in any::<u32>(), long in 0u64..0x8000, rest in any::<u32>()) {
        let layout = layout();
        let (at, length) = (high << 32 | u64::from(low), long << 32 | u64::from(rest));
        for (name, args) in [
            ("mmap", [at, length, 3, 0x32, 0, 0]),
            ("munmap", [at, length, 0, 0, 0, 0]),
            ("mprotect", [at, length, 3, 0, 0, 0]),
            ("madvise", [at, length, 4, 0, 0, 0]),
        ] {
            let row = ROWS.iter().find(|row| row.name == name).unwrap();
            let call = Call { nr: row.nr, arch: ARCH, ip: 0x7000_0000_0000, args };
            if at != 0 && verdict(&layout, &call) == Verdict::Allow {
                prop_assert!(at.checked_add(length).is_some_and(|end| end <= layout.personality.start), "{name} {at:x} {length:x}");
            }
        }
    }
}
