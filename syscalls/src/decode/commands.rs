//! Calls that do several things: what their arguments are depends on which.

use super::constants::{self, Names};
use super::fields::{self, Layout};
use super::{Memory, Printer, int, names, pointees, structures};
use crate::kind::Kind;
use crate::nr;
use core::fmt::Write;

const F_GETFD: u64 = 1;
const F_SETFD: u64 = 2;
const F_GETFL: u64 = 3;
const F_SETFL: u64 = 4;
const F_GETLK: u64 = 5;
const F_SETLK: u64 = 6;
const F_SETLKW: u64 = 7;
const F_SETOWN: u64 = 8;
const F_GETOWN: u64 = 9;
const F_SETSIG: u64 = 10;
const F_GETSIG: u64 = 11;
const F_SETOWN_EX: u64 = 15;
const F_GETOWN_EX: u64 = 16;
const F_OFD_GETLK: u64 = 36;
const F_OFD_SETLK: u64 = 37;
const F_OFD_SETLKW: u64 = 38;
const F_GETLEASE: u64 = 1025;
const F_GETPIPE_SZ: u64 = 1032;
const F_ADD_SEALS: u64 = 1033;
const F_GET_SEALS: u64 = 1034;

/// Where `d_reclen` lies in an entry of a directory.
const RECORD_LENGTH: u64 = 16;

/// What of futex(2) takes which arguments, without the flags of its commands.
const FUTEX_COMMAND: u64 = 0x7f;
const FUTEX_WAIT: u64 = 0;
const FUTEX_WAKE: u64 = 1;
const FUTEX_REQUEUE: u64 = 3;
const FUTEX_LOCK_PI: u64 = 6;
const FUTEX_UNLOCK_PI: u64 = 7;
const FUTEX_TRYLOCK_PI: u64 = 8;
const FUTEX_WAIT_BITSET: u64 = 9;
const FUTEX_WAKE_BITSET: u64 = 10;

/// `MREMAP_FIXED` and `MREMAP_DONTUNMAP`: there is a new address.
const MREMAP_PLACED: u64 = 6;
const EPOLL_CTL_DEL: i32 = 2;

/// Whether a command of fcntl(2) fills what its argument points at.
pub(super) fn is_filled(command: u64) -> bool {
    matches!(command, F_GETLK | F_OFD_GETLK | F_GETOWN_EX)
}

/// What a command of fcntl(2) points at.
pub(super) fn flock(nr: u32, command: u64) -> Option<&'static Layout> {
    match command {
        _ if nr != nr::fcntl => None,
        F_SETLK | F_SETLKW | F_OFD_SETLK | F_OFD_SETLKW => Some(&fields::FLOCK),
        F_GETLK | F_OFD_GETLK => Some(&fields::FLOCK_OUT),
        F_SETOWN_EX | F_GETOWN_EX => Some(&fields::OWNER),
        _ => None,
    }
}

/// Whether a command takes no such argument.
pub(super) fn is_left_out(nr: u32, i: usize, args: &[u64; 6]) -> bool {
    let [_, second, ..] = *args;
    match nr {
        nr::fcntl => {
            i == 2
                && matches!(
                    second,
                    F_GETFD
                        | F_GETFL
                        | F_GETOWN
                        | F_GETSIG
                        | F_GETLEASE
                        | F_GETPIPE_SZ
                        | F_GET_SEALS
                )
        }
        nr::futex => {
            let last = match second & FUTEX_COMMAND {
                FUTEX_WAKE => 2,
                FUTEX_WAIT => 3,
                FUTEX_LOCK_PI => 3,
                FUTEX_UNLOCK_PI | FUTEX_TRYLOCK_PI => 1,
                FUTEX_REQUEUE => 4,
                _ => 5,
            };
            i > last
        }
        nr::membarrier => i == 2 && second & 0xffff_ffff == 0,
        nr::mremap => i == 4 && args[3] & MREMAP_PLACED == 0,
        _ => pointees::is_left_out(nr, i, args),
    }
}

/// The names of an argument's values.
pub(super) fn names(nr: u32, i: usize, args: &[u64; 6]) -> Option<Names> {
    let [_, second, ..] = *args;
    match (nr, i) {
        (nr::setsockopt | nr::getsockopt, 2) => names::options(second & 0xffff_ffff),
        (nr::socket | nr::socketpair, 2) => names::protocols(args[0] & 0xffff_ffff),
        _ => names::of(nr, i),
    }
}

/// Prints an argument whose meaning another one decides, or that chooses. Whether it is one.
pub(super) fn argument<M: Memory, W: Write>(
    i: usize,
    printer: &mut Printer<'_, M, W>,
    word: u64,
) -> core::result::Result<bool, core::fmt::Error> {
    let nr = printer.nr;
    let [_, second, ..] = printer.args;
    if let Some(names) = names(nr, i, &printer.args) {
        return names.write(word, printer.out).map(|()| true);
    }
    match (nr, i) {
        (nr::epoll_ctl, 3) if int(second) == EPOLL_CTL_DEL => printer.address(word).map(|()| true),
        (nr::fcntl, 2) => fcntl(printer, second & 0xffff_ffff, word),
        (nr::futex, 3) => match second & FUTEX_COMMAND {
            FUTEX_REQUEUE..
                if !matches!(
                    second & FUTEX_COMMAND,
                    FUTEX_LOCK_PI | FUTEX_WAIT_BITSET | FUTEX_WAKE_BITSET
                ) =>
            {
                write!(printer.out, "{word}").map(|()| true)
            }
            _ => Ok(false),
        },
        (nr::futex, 5)
            if matches!(
                second & FUTEX_COMMAND,
                FUTEX_WAIT_BITSET | FUTEX_WAKE_BITSET
            ) =>
        {
            let word = word & 0xffff_ffff;
            match word {
                0xffff_ffff => printer.out.write_str("FUTEX_BITSET_MATCH_ANY"),
                word => write!(printer.out, "{word:#x}"),
            }
            .map(|()| true)
        }
        (nr::rseq, 1 | 3) => write!(printer.out, "{:#x}", word & 0xffff_ffff).map(|()| true),
        (nr::pselect6 | nr::io_pgetevents, 5) => set_and_size(printer, word),
        (nr::semget | nr::shmget, 2) | (nr::msgget, 1) => {
            names::IPC_GET.before(word & !0o777, printer.out)?;
            structures::octal(word & 0o777, printer.out).map(|()| true)
        }
        (nr::semget | nr::shmget | nr::msgget, 0) if word & 0xffff_ffff == 0 => {
            printer.out.write_str("IPC_PRIVATE").map(|()| true)
        }
        (nr::getdents | nr::getdents64, 1) => entries(printer, word),
        (nr::msgsnd | nr::msgrcv, 1) => message(printer, word),
        _ => pointees::print(i, printer, word),
    }
}

fn fcntl<M: Memory, W: Write>(
    printer: &mut Printer<'_, M, W>,
    command: u64,
    word: u64,
) -> core::result::Result<bool, core::fmt::Error> {
    let out = &mut *printer.out;
    match command {
        F_SETFD => constants::FD_FLAGS.write(word, out),
        F_ADD_SEALS => constants::SEALS.write(word, out),
        F_SETFL => constants::write(Kind::OpenFlags, word, out),
        F_SETSIG => constants::write(Kind::Signal, word, out),
        F_SETOWN => write!(out, "{}", int(word)),
        0 | 1030 | 1024 | 1026 | 1031 => write!(out, "{}", int(word)),
        _ => return pointees::print(2, printer, word),
    }
    .map(|()| true)
}

/// A pointer to a set of signals, and how long it is.
fn set_and_size<M: Memory, W: Write>(
    printer: &mut Printer<'_, M, W>,
    word: u64,
) -> core::result::Result<bool, core::fmt::Error> {
    let (Some(set), Some(size)) = (
        printer.read_word(word),
        printer.read_word(word.wrapping_add(8)),
    ) else {
        return Ok(false);
    };
    printer.out.write_str("{sigmask=")?;
    match printer.read_word(set) {
        Some(signals) if set != 0 => structures::sigset(signals, printer.out)?,
        _ => printer.address(set)?,
    }
    write!(printer.out, ", sigsetsize={size}}}").map(|()| true)
}

/// How many entries of a directory were read: `0x55d2 /* 5 entries */`. Of those of which not all are known,
/// at least so many.
fn entries<M: Memory, W: Write>(
    printer: &mut Printer<'_, M, W>,
    word: u64,
) -> core::result::Result<bool, core::fmt::Error> {
    let Some(length) = printer.result else {
        return Ok(false);
    };
    let (mut at, mut count) = (0, 0u32);
    let length = length.unsigned_abs();
    while at < length {
        let mut size = [0; 2];
        if printer
            .memory
            .read(word.wrapping_add(at + RECORD_LENGTH), &mut size)
            != size.len()
        {
            break;
        }
        let size = u64::from(u16::from_ne_bytes(size));
        if size <= RECORD_LENGTH {
            break;
        }
        at += size;
        count += 1;
    }
    printer.address(word)?;
    match at < length {
        true if count == 0 => Ok(()),
        true => write!(printer.out, " /* {count} or more entries */"),
        false if count == 1 => printer.out.write_str(" /* 1 entry */"),
        false => write!(printer.out, " /* {count} entries */"),
    }
    .map(|()| true)
}

/// `struct msgbuf`: `{mtype=1, mtext="hello"}`.
fn message<M: Memory, W: Write>(
    printer: &mut Printer<'_, M, W>,
    word: u64,
) -> core::result::Result<bool, core::fmt::Error> {
    let length = match (printer.nr, printer.result) {
        (nr::msgrcv, None) => return Ok(false),
        (nr::msgrcv, Some(got)) => got.unsigned_abs(),
        _ => printer.word(2),
    };
    let Some(kind) = printer.read_word(word).filter(|_| word != 0) else {
        return Ok(false);
    };
    write!(printer.out, "{{mtype={}, mtext=", kind.cast_signed())?;
    printer.bytes(word.wrapping_add(8), length)?;
    printer.out.write_str("}").map(|()| true)
}

/// Prints a result that means more than its number. Whether it is one.
pub(super) fn result<W: Write>(
    nr: u32,
    args: &[u64; 6],
    word: i64,
    out: &mut W,
) -> core::result::Result<bool, core::fmt::Error> {
    let [first, second, ..] = *args;
    const PR_GET_DUMPABLE: u64 = 3;
    if (nr, first & 0xffff_ffff) == (nr::prctl, PR_GET_DUMPABLE) {
        write!(out, " = {word} (")?;
        names::DUMPABLE.write(word.unsigned_abs(), out)?;
        return out.write_str(")").map(|()| true);
    }
    let flags = match second & 0xffff_ffff {
        _ if nr != nr::fcntl => return Ok(false),
        F_GETFD if word != 0 => Some((constants::FD_FLAGS, "flags")),
        F_GET_SEALS if word != 0 => Some((constants::SEALS, "seals")),
        F_GETFL => None,
        _ => return Ok(false),
    };
    let word = word.unsigned_abs();
    let prefix = if word == 0 { "" } else { "0x" };
    write!(out, " = {prefix}{word:x} (")?;
    match flags {
        Some((names, what)) => {
            write!(out, "{what} ")?;
            names.write(word, out)?;
        }
        None => {
            out.write_str("flags ")?;
            constants::write(Kind::OpenFlags, word, out)?;
        }
    }
    out.write_str(")").map(|()| true)
}
