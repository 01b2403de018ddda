//! Edges that real programs rarely meet; strace itself is the oracle in `tests/strace.rs`.

use super::{Memory, Own, decode, decode_argument, describe};
use crate::nr;
use std::borrow::ToOwned;
use std::format;
use std::string::String;
use std::vec;
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
fn socket_addresses() {
    let v4 = [2, 0, 0, 80, 127, 111, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
    let args = [3, PAGE, 16, 0, 0, 0];
    assert_eq!(
        print(&v4, nr::bind, args, Some(0)),
        "bind(3, 127.111.0.2:80, 16) = 0"
    );
    // Of what is not there to its end, the address is told.
    assert_eq!(
        print(&v4[..8], nr::bind, args, Some(0)),
        "bind(3, 0x1000, 16) = 0"
    );
    let mut v6 = [0; 32];
    (v6[0], v6[2], v6[3], v6[23]) = (10, 0x1f, 0x90, 1);
    v6[28] = 28;
    let args = [3, PAGE, PAGE + 28, 0, 0, 0];
    assert_eq!(
        print(&v6, nr::accept, args, Some(4)),
        "accept(3, [::1]:8080, [28]) = 4"
    );
    assert_eq!(
        print(&v6, nr::accept, args, Some(-11)),
        "accept(3, 0x1000, [28]) = -1 EAGAIN (Resource temporarily unavailable)"
    );
    let args = |length: u64| [3, PAGE, length, 0, 0, 0];
    let unix = b"\x01\0/run/s\0\0";
    assert_eq!(
        print(unix, nr::connect, args(10), Some(0)),
        r#"connect(3, "/run/s", 10) = 0"#
    );
    let abstracted = b"\x01\0\0a\0";
    assert_eq!(
        print(abstracted, nr::connect, args(5), Some(0)),
        r#"connect(3, @"a\0", 5) = 0"#
    );
    assert_eq!(
        print(b"\0\0", nr::connect, args(2), Some(0)),
        "connect(3, {AF_UNSPEC}, 2) = 0"
    );
}

/// A zone's numbers are the host's plus 1000 here, and its paths lie elsewhere.
struct Elsewhere(Page);

impl Memory for Elsewhere {
    fn read(&self, address: u64, to: &mut [u8]) -> usize {
        self.0.read(address, to)
    }

    fn host(&self, of: Own, out: &mut impl core::fmt::Write) -> core::fmt::Result {
        match of {
            Own::Path(at) => write!(out, " -> zone:{at:#x}"),
            Own::Pid(pid) => write!(out, " -> {}", pid + 1000),
            Own::Address => write!(out, " -> elsewhere"),
        }
    }
}

#[test]
fn what_is_otherwise_on_the_host_is_shown() {
    let show = |memory: &[u8], nr: u32, args: [u64; 6], result: i64| {
        let mut out = String::new();
        let memory = Elsewhere(Page(memory.into()));
        decode(nr, args, Some(result), &memory, &mut out).expect("a string takes all");
        out
    };
    assert_eq!(
        show(b"", nr::kill, [12, 15, 0, 0, 0, 0], 0),
        "kill(12 -> 1012, SIGTERM) = 0"
    );
    // A group by its negative; nobody's own group, and all.
    let kill = |pid: i64| show(b"", nr::kill, [pid.cast_unsigned(), 0, 0, 0, 0, 0], 0);
    assert_eq!(kill(-12), "kill(-12 -> 1012, 0) = 0");
    assert_eq!(kill(-1), "kill(-1, 0) = 0");
    assert_eq!(kill(0), "kill(0, 0) = 0");
    assert_eq!(show(b"", nr::fork, [0; 6], 9), "fork() = 9 -> 1009");
    assert_eq!(
        show(b"/etc\0", nr::chdir, [PAGE, 0, 0, 0, 0, 0], 0),
        r#"chdir("/etc" -> zone:0x1000) = 0"#
    );
    let v4 = [2, 0, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        show(&v4, nr::bind, [3, PAGE, 16, 0, 0, 0], 0),
        "bind(3, 0.0.0.0:80 -> elsewhere, 16) = 0"
    );
}

#[test]
fn arguments_one_by_one() {
    let memory = Page(b"/etc\0".into());
    let args = [0xffff_ff9c, PAGE, 0, 0, 0, 0];
    let mut shown = Vec::new();
    for i in 0..6 {
        let mut out = String::new();
        let has = decode_argument((nr::openat, i), args, Some(3), &memory, &mut out);
        if has.expect("a string takes all") {
            shown.push(out);
        }
    }
    assert_eq!(shown, ["AT_FDCWD", "\"/etc\"", "O_RDONLY"]);
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
        "setsockopt(SOL_SOCKET, SO_ATTACH_FILTER)"
    );
    assert_eq!(
        said(nr::socket, [17, 3, 768, 0, 0, 0]),
        "socket(AF_PACKET, SOCK_RAW, 768)"
    );
    assert_eq!(said(nr::acct, [0x7f00, 0, 0, 0, 0, 0]), "acct");
    assert_eq!(said(511, [0; 6]), "call 511");
}

/// Memory that a call has changed: its bytes before, and after.
struct Changed<'a>(&'a [u8], &'a [u8]);

fn within(bytes: &[u8], address: u64, to: &mut [u8]) -> usize {
    let at = usize::try_from(address.wrapping_sub(PAGE)).unwrap_or(usize::MAX);
    let from = bytes.get(at..).unwrap_or(&[]);
    let length = from.len().min(to.len());
    to[..length].copy_from_slice(&from[..length]);
    length
}

impl Memory for Changed<'_> {
    fn read(&self, address: u64, to: &mut [u8]) -> usize {
        within(self.0, address, to)
    }
    fn read_after(&self, address: u64, to: &mut [u8]) -> usize {
        within(self.1, address, to)
    }
}

#[test]
fn what_waits_is_told_with_what_it_has_found() {
    let said = |nr: u32, args: [u64; 6], result: i64, before: &[u8], after: &[u8]| {
        let mut out = String::new();
        let memory = Changed(before, after);
        decode(nr, args, Some(result), &memory, &mut out).expect("a string takes all");
        out
    };
    let pollfds = |revents: u8| [3, 0, 0, 0, 1, 0, revents, 0, 4, 0, 0, 0, 4, 0, 0, 0];
    assert_eq!(
        said(
            nr::poll,
            [PAGE, 2, 100, 0, 0, 0],
            1,
            &pollfds(0),
            &pollfds(1)
        ),
        "poll([{fd=3, events=POLLIN}, {fd=4, events=POLLOUT}], 2, 100) = 1 ([{fd=3, revents=POLLIN}])"
    );
    let timed_out = said(
        nr::poll,
        [PAGE, 1, 100, 0, 0, 0],
        0,
        &pollfds(0),
        &pollfds(0),
    );
    assert_eq!(
        timed_out,
        "poll([{fd=3, events=POLLIN}], 1, 100) = 0 (Timeout)"
    );
    let sets = |read: u8, nanoseconds: u8| {
        let mut bytes = [0; 32];
        (bytes[0], bytes[8], bytes[24]) = (read, 16, nanoseconds);
        bytes
    };
    assert_eq!(
        said(
            nr::pselect6,
            [5, PAGE, PAGE + 8, 0, PAGE + 16, 0],
            1,
            &sets(8, 9),
            &sets(0, 5)
        ),
        "pselect6(5, [3], [4], NULL, {tv_sec=0, tv_nsec=9}, NULL) = 1 (out [4], left {tv_sec=0, tv_nsec=5})"
    );
    assert_eq!(
        said(
            nr::sendfile,
            [1, 3, PAGE, 2, 0, 0],
            2,
            &[0; 8],
            &[2, 0, 0, 0, 0, 0, 0, 0]
        ),
        "sendfile(1, 3, [0] => [2], 2) = 2"
    );
}

#[test]
fn what_is_garbled_is_an_address_or_cut() {
    // Whatever lies there, and however long it says that it is.
    for byte in [0, 1, 0x7f, 0x80, 0xff] {
        let bytes = [byte; 4096];
        for row in crate::ROWS {
            for result in [0, 1, 5, i64::MAX] {
                for words in [
                    [PAGE; 6],
                    [u64::MAX; 6],
                    [PAGE, 7, PAGE, 36, PAGE, u64::MAX],
                ] {
                    let text = print(&bytes, row.nr, words, Some(result));
                    assert!(text.starts_with(row.name), "{text}");
                }
            }
        }
    }
}

#[test]
fn what_is_pointed_at_by_commands_is_told_as_far_as_it_can_be_read() {
    let end = PAGE + 4090;
    let mut memory = vec![0xa5; 4096];
    memory[4090..].copy_from_slice(&[1, 0, 0xff, 0xff, 0, 0x10]);
    let semop = |at: u64, count: u64| print(&memory, nr::semop, [7, at, count, 0, 0, 0], Some(0));
    assert_eq!(
        semop(end, 1),
        "semop(7, [{sem_num=1, sem_op=-1, sem_flg=SEM_UNDO}], 1) = 0"
    );
    // One more than there is.
    assert_eq!(semop(end, 2), format!("semop(7, {end:#x}, 2) = 0"));
    for (nr, args) in [
        (nr::semctl, [7, 0, 2, end, 0, 0]),
        (nr::ioctl, [7, 0x5401, end, 0, 0, 0]),
        (nr::ioctl, [7, 0x8915, end, 0, 0, 0]),
        (nr::prctl, [40, end, 0, 0, 0, 0]),
        (nr::msgrcv, [7, end, 100, 0, 0, 0]),
        (nr::capget, [end, end, 0, 0, 0, 0]),
        (nr::timer_create, [0, end, 0, 0, 0, 0]),
    ] {
        let told = print(&memory, nr, args, Some(0));
        assert!(told.contains(&format!("{end:#x}")), "{told}");
    }
}

#[test]
fn entries_of_directories_are_counted() {
    let mut memory = Vec::new();
    for length in [24u16, 32, 24] {
        let start = memory.len();
        memory.resize(start + usize::from(length), 0);
        memory[start + 16..start + 18].copy_from_slice(&length.to_ne_bytes());
    }
    let told = |memory: &[u8], length: i64| {
        let args = [3, PAGE, 32768, 0, 0, 0];
        let told = print(memory, nr::getdents64, args, Some(length));
        told.strip_prefix("getdents64(3, 0x1000")
            .expect("its address")
            .to_owned()
    };
    assert_eq!(told(&memory, 80), " /* 3 entries */, 32768) = 80");
    assert_eq!(told(&memory, 24), " /* 1 entry */, 32768) = 24");
    assert_eq!(told(&memory, 0), " /* 0 entries */, 32768) = 0");
    // What was not recorded, or is none.
    assert_eq!(
        told(&memory, 4000),
        " /* 3 or more entries */, 32768) = 4000"
    );
    assert_eq!(told(&[0; 40], 40), ", 32768) = 40");
    assert_eq!(told(&[], 40), ", 32768) = 40");
}
