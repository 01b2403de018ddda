//! Edges that real programs rarely meet; strace itself is the oracle in `tests/strace.rs`.

use super::{Memory, decode, describe};
use crate::nr;
use std::string::String;
use std::vec::Vec;

/// One page at this address; nothing before or behind it.
const PAGE: u64 = 0x1000;

struct Page(Vec<u8>);

impl Memory for Page {
    fn read(&self, address: u64, to: &mut [u8]) -> usize {
        let Some(start) = address.checked_sub(PAGE) else {
            return 0;
        };
        let from = usize::try_from(start).unwrap_or(usize::MAX);
        let bytes = self.0.get(from..).unwrap_or(&[]);
        let length = bytes.len().min(to.len());
        to[..length].copy_from_slice(&bytes[..length]);
        length
    }
}

fn print(memory: &[u8], nr: u32, args: [u64; 6], result: Option<i64>) -> String {
    let mut out = String::new();
    decode(nr, args, result, &Page(memory.into()), &mut out).expect("a string takes all");
    out
}

#[test]
fn paths_flags_and_results() {
    let memory = b"/etc/\"pass\\wd\0";
    let args = [0xffff_ff9c, PAGE, 0o2_000_000, 0o644, 0, 0];
    assert_eq!(
        print(memory, nr::openat, args, Some(3)),
        r#"openat(AT_FDCWD, "/etc/\"pass\\wd", O_RDONLY|O_CLOEXEC) = 3"#
    );
    let args = [5, PAGE, 0o101, 0o644, 0, 0];
    assert_eq!(
        print(memory, nr::openat, args, Some(-2)),
        r#"openat(5, "/etc/\"pass\\wd", O_WRONLY|O_CREAT, 0644) = -1 ENOENT (No such file or directory)"#
    );
    assert_eq!(
        print(b"", nr::exit_group, [7; 6], Some(0)),
        "exit_group(7) = ?"
    );
    assert_eq!(print(b"", nr::getpid, [0; 6], None), "getpid()");
}

#[test]
fn what_stands_above_an_int_does_not_count() {
    let garbage = 0xdead_beef_0000_0000;
    let args = [garbage | 9, garbage | 15, 0, 0, 0, 0];
    assert_eq!(print(b"", nr::kill, args, Some(0)), "kill(9, SIGTERM) = 0");
    let args = [garbage | 0xffff_ffff, garbage | 0xffff_fffe, 0, 0, 0, 0];
    assert_eq!(
        print(b"", nr::setreuid, args, Some(0)),
        "setreuid(-1, 4294967294) = 0"
    );
}

#[test]
fn strings_at_the_end_of_memory() {
    // Without a NUL, up to where nothing is any more.
    assert_eq!(
        print(b"/abc", nr::chdir, [PAGE, 0, 0, 0, 0, 0], None),
        "chdir(\"/abc\"...)"
    );
    assert_eq!(
        print(b"/abc", nr::chdir, [PAGE + 4, 0, 0, 0, 0, 0], None),
        "chdir(0x1004)"
    );
    assert_eq!(print(b"", nr::chdir, [0; 6], None), "chdir(NULL)");
    let long = [b'x'; 40];
    let args = [1, PAGE, 40, 0, 0, 0];
    let expected = std::format!("write(1, \"{}\"..., 40) = 40", "x".repeat(32));
    assert_eq!(print(&long, nr::write, args, Some(40)), expected);
    assert_eq!(
        print(&long, nr::write, [1, PAGE + 100, 3, 0, 0, 0], None),
        "write(1, 0x1064, 3)"
    );
}

#[test]
fn what_is_to_be_filled_is_an_address_until_it_is() {
    let args = [0, PAGE, 10, 0, 0, 0];
    assert_eq!(
        print(b"ab\x001\xff", nr::read, args, Some(5)),
        r#"read(0, "ab\0001\377", 10) = 5"#
    );
    assert_eq!(print(b"ab", nr::read, args, None), "read(0, 0x1000, 10)");
    assert_eq!(
        print(b"ab", nr::read, args, Some(-9)),
        "read(0, 0x1000, 10) = -1 EBADF (Bad file descriptor)"
    );
    let status = [0, 3, 0, 0];
    let args = [0xffff_ffff, PAGE, 1, 0, 0, 0];
    assert_eq!(
        print(&status, nr::wait4, args, Some(77)),
        "wait4(-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 3}], WNOHANG, NULL) = 77"
    );
    assert_eq!(
        print(&[0x8b, 0, 0, 0], nr::wait4, args, Some(77)),
        "wait4(-1, [{WIFSIGNALED(s) && WTERMSIG(s) == SIGSEGV && WCOREDUMP(s)}], WNOHANG, NULL) = 77"
    );
}

#[test]
fn lists_and_unknown_numbers() {
    let mut memory = Vec::new();
    for word in [PAGE + 32, PAGE + 35, 0, 0] {
        memory.extend(word.to_ne_bytes());
    }
    memory.extend(b"ls\0-l\0");
    let args = [PAGE + 32, PAGE, PAGE + 8, 0, 0, 0];
    assert_eq!(
        print(&memory, nr::execve, args, Some(0)),
        r#"execve("ls", ["ls", "-l"], 0x1008 /* 1 var */) = 0"#
    );
    assert_eq!(
        print(b"", 5000, [1, 2, 3, 4, 5, 6], Some(-38)),
        "syscall_0x1388(0x1, 0x2, 0x3, 0x4, 0x5, 0x6) = -1 ENOSYS (Function not implemented)"
    );
}

#[test]
fn every_row_prints_something() {
    for row in crate::ROWS {
        let text = print(b"text\0", row.nr, [PAGE; 6], Some(0));
        assert!(text.starts_with(row.name) && text.contains('='), "{text}");
    }
}

#[test]
fn calls_are_described_by_what_means_the_same_everywhere() {
    let said = |nr: u32, args: [u64; 6]| {
        let mut out = String::new();
        describe(nr, args, &mut out).expect("a string takes all");
        out
    };
    assert_eq!(said(nr::bpf, [5, 0x7f00, 1, 0, 0, 0]), "bpf(0x5)");
    assert_eq!(said(nr::fcntl, [3, 1026, 9, 0, 0, 0]), "fcntl(F_NOTIFY)");
    assert_eq!(
        said(nr::setsockopt, [3, 1, 26, 0x7f00, 8, 0]),
        "setsockopt(1, 26)"
    );
    assert_eq!(
        said(nr::socket, [17, 3, 768, 0, 0, 0]),
        "socket(AF_PACKET, SOCK_RAW, 768)"
    );
    assert_eq!(said(nr::acct, [0x7f00, 0, 0, 0, 0, 0]), "acct");
    assert_eq!(said(511, [0; 6]), "call 511");
}
