//! A call as strace(1) prints it: `openat(AT_FDCWD, "/etc/passwd", O_RDONLY) = 3`.
//!
//! Pure over [`Memory`], so that it works on a stopped process, on a ring of records, and in tests.
//! Follows the table's kinds; what a kind does not tell is printed as a number or an address.

mod commands;
mod constants;
mod fields;
mod messages;
mod names;
mod pointees;
mod sockaddr;
mod structures;
mod text;

pub use messages::{BUFFERS_MAX, CONTROL_MAX, MESSAGES_MAX, MMSGHDR, MSGHDR};
pub use pointees::{Pointed, pointed};
pub use sockaddr::write as write_socket_address;
pub use structures::{filled, fixed_bytes, shown_bytes, shows_both};

use crate::kind::{Arg, Direction, Kind, Outcome};
use crate::{Class, Errno, Row, nr, row};
use core::fmt::{Result, Write};
use messages::Bound;
use structures::Place;

/// The memory of a traced process.
pub trait Memory {
    /// Copies bytes from an address; how many could be read, from the start of `to`.
    fn read(&self, address: u64, to: &mut [u8]) -> usize;

    /// The same of a text: what follows its NUL is of no interest.
    fn read_text(&self, address: u64, to: &mut [u8]) -> usize {
        self.read(address, to)
    }

    /// The same as it was when the call had ended, of what calls read and write.
    fn read_after(&self, address: u64, to: &mut [u8]) -> usize {
        self.read(address, to)
    }

    /// Prints what something of a zone's is on the host, behind ` -> `; nothing where that is not
    /// known, or the same.
    ///
    /// # Errors
    /// Those of `out`.
    fn host(&self, _of: Own, _out: &mut impl Write) -> Result {
        Ok(())
    }

    /// Prints what a descriptor stands for, behind its number: `</etc/passwd>`; nothing where that is not
    /// known. `is_new`: the call has made it.
    ///
    /// # Errors
    /// Those of `out`.
    fn descriptor(&self, _fd: i32, _is_new: bool, _out: &mut impl Write) -> Result {
        Ok(())
    }
}

/// What a zone may call otherwise than the host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// The path at this address.
    Path(u64),
    /// This process, thread or group.
    Pid(u32),
    /// The call's socket address.
    Address,
}

/// Longest string of bytes that is printed, as strace's `-s`.
const STRING_MAX: usize = 32;
/// Most elements of a list that are printed.
const LIST_MAX: usize = 32;

/// Prints a call. `result` is the kernel's result word, or `None` before the call has ended: what it
/// is to fill is printed as an address then, as after a failure.
///
/// # Errors
/// Those of `out`.
pub fn decode(
    nr: u32,
    args: [u64; 6],
    result: Option<i64>,
    memory: &impl Memory,
    out: &mut impl Write,
) -> Result {
    let Some(row) = row(nr) else {
        write!(out, "syscall_{nr:#x}(")?;
        for (i, arg) in args.iter().enumerate() {
            write!(out, "{}{arg:#x}", if i == 0 { "" } else { ", " })?;
        }
        out.write_str(")")?;
        return outcome(Outcome::Int, result, memory, out);
    };
    write!(out, "{}(", row.name)?;
    let mut printer = Printer::of(row, args, result, memory, out);
    for (i, arg) in row.args.iter().enumerate() {
        if printer.is_left_out(arg.kind, i) {
            break;
        }
        if i > 0 {
            printer.out.write_str(", ")?;
        }
        printer.argument(i, arg.kind)?;
    }
    out.write_str(")")?;
    match result {
        Some(word) if !is_error(word) => {
            if commands::result(nr, &args, word, out)? {
                return Ok(());
            }
            outcome(row.result, result, memory, out)?;
            structures::after(nr, &args, word, memory, out)
        }
        _ => outcome(row.result, result, memory, out),
    }
}

/// Prints one argument as [`decode`] does. Whether the call has it.
///
/// # Errors
/// Those of `out`.
pub fn decode_argument(
    (nr, i): (u32, usize),
    args: [u64; 6],
    result: Option<i64>,
    memory: &impl Memory,
    out: &mut impl Write,
) -> core::result::Result<bool, core::fmt::Error> {
    let Some(row) = row(nr) else {
        return Ok(false);
    };
    let mut printer = Printer::of(row, args, result, memory, out);
    match row.args.get(i) {
        Some(arg) if !printer.is_left_out(arg.kind, i) => {
            printer.argument(i, arg.kind).map(|()| true)
        }
        _ => Ok(false),
    }
}

/// The errno that a result word says.
#[must_use]
pub fn errno_of(result: i64) -> Option<Errno> {
    let raw = u16::try_from(result.unsigned_abs()).ok()?;
    is_error(result).then(|| Errno::from_raw(raw))
}

/// Prints what a call was to do, by numbers that mean the same in every process: its name, and of a call
/// that does several things which one: `fcntl(F_NOTIFY)`.
///
/// # Errors
/// Those of `out`.
pub fn describe(nr: u32, args: [u64; 6], out: &mut impl Write) -> Result {
    let Some(row) = row(nr) else {
        return write!(out, "call {nr}");
    };
    out.write_str(row.name)?;
    let takes_numbers = matches!(row.class, Class::Guarded(_) | Class::Split(..));
    let mut before = "(";
    for (i, (arg, word)) in row.args.iter().zip(args).enumerate() {
        let is_number = arg.kind == Kind::Int && takes_numbers || arg.kind == Kind::Command;
        let names = commands::names(nr, i, &args).filter(|_| is_number);
        if let Some(names) = names {
            out.write_str(before)?;
            names.write(word, out)?;
            before = ", ";
            continue;
        }
        match arg.kind {
            Kind::Command
            | Kind::FcntlCommand
            | Kind::SocketDomain
            | Kind::SocketType
            | Kind::CloneFlags => {
                out.write_str(before)?;
                constants::write(arg.kind, word, out)?;
            }
            Kind::Int if takes_numbers => write!(out, "{before}{}", int(word))?,
            _ => continue,
        }
        before = ", ";
    }
    out.write_str(if before == "(" { "" } else { ")" })
}

/// Why a call that zones do not offer is refused.
#[must_use]
pub fn refusal(nr: u32) -> &'static str {
    match row(nr).map(|row| row.class) {
        Some(Class::Refused(_, reason)) => reason,
        Some(_) => "not offered in this form",
        None => "no call has this number yet",
    }
}

const fn is_error(word: i64) -> bool {
    word < 0 && word >= -4095
}

fn outcome(
    kind: Outcome,
    result: Option<i64>,
    memory: &impl Memory,
    out: &mut impl Write,
) -> Result {
    let Some(word) = result else { return Ok(()) };
    if is_error(word) {
        let errno = Errno::from_raw(u16::try_from(word.unsigned_abs()).unwrap_or(0));
        return match errno.name() {
            Some(name) => write!(out, " = -1 {name} ({})", errno.message()),
            None => write!(out, " = -1 (errno {})", word.unsigned_abs()),
        };
    }
    match kind {
        Outcome::Never => out.write_str(" = ?"),
        Outcome::Signal => {
            write!(out, " = {word} (")?;
            constants::write(Kind::Signal, word.unsigned_abs(), out)?;
            out.write_str(")")
        }
        Outcome::Addr => write!(out, " = {word:#x}"),
        Outcome::Mode => {
            out.write_str(" = ")?;
            structures::octal(word.unsigned_abs(), out)
        }
        Outcome::Fd => {
            write!(out, " = {word}")?;
            memory.descriptor(int(word.cast_unsigned()), true, out)
        }
        Outcome::Tgid | Outcome::Tid | Outcome::Pgid => {
            write!(out, " = {word}")?;
            own_pid(word, memory, out)
        }
        _ => write!(out, " = {word}"),
    }
}

/// What a process, thread or group (or the negative of one) is on the host.
fn own_pid(number: i64, memory: &impl Memory, out: &mut impl Write) -> Result {
    match u32::try_from(number.unsigned_abs()) {
        Ok(pid) if pid != 0 && number != -1 => memory.host(Own::Pid(pid), out),
        _ => Ok(()),
    }
}

struct Printer<'a, M, W> {
    nr: u32,
    args: [u64; 6],
    row: &'static [Arg],
    /// Of a call that succeeded.
    result: Option<i64>,
    memory: &'a M,
    out: &'a mut W,
}

/// The low half, as a call takes an `int`: what stands above does not count.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the kernel looks at the low half"
)]
const fn int(word: u64) -> i32 {
    (word as u32).cast_signed()
}

impl<'a, M: Memory, W: Write> Printer<'a, M, W> {
    fn of(
        row: &'static Row,
        args: [u64; 6],
        result: Option<i64>,
        memory: &'a M,
        out: &'a mut W,
    ) -> Self {
        Self {
            nr: row.nr,
            args,
            row: row.args,
            result: result.filter(|word| !is_error(*word)),
            memory,
            out,
        }
    }

    fn word(&self, i: usize) -> u64 {
        self.args.get(i).copied().unwrap_or(0)
    }

    /// The mode of an open that makes no file is not there, nor the device of what is none.
    fn is_left_out(&self, kind: Kind, i: usize) -> bool {
        const O_CREAT: u64 = 0o100;
        const O_TMPFILE: u64 = 0o20_000_000;
        let before = self.row.get(i.wrapping_sub(1)).map(|arg| arg.kind);
        if before == Some(Kind::Mode) && kind == Kind::Device {
            return !structures::is_device(self.word(i.wrapping_sub(1)));
        }
        before == Some(Kind::OpenFlags)
            && kind == Kind::Mode
            && self.word(i.wrapping_sub(1)) & (O_CREAT | O_TMPFILE) == 0
            || commands::is_left_out(self.nr, i, &self.args)
    }

    fn argument(&mut self, i: usize, kind: Kind) -> Result {
        let word = self.word(i);
        if kind.direction() == Direction::Out && self.result.is_none() {
            return self.address(word);
        }
        if commands::argument(i, self, word)? {
            return Ok(());
        }
        match kind {
            Kind::DirFd if int(word) == -100 => self.out.write_str("AT_FDCWD"),
            Kind::Fd | Kind::DirFd => {
                self.number(kind, word)?;
                self.memory.descriptor(int(word), false, self.out)
            }
            Kind::Int | Kind::TimeoutMs | Kind::IpcId | Kind::Uid | Kind::Gid => {
                self.number(kind, word)
            }
            Kind::Tgid | Kind::Tid | Kind::Pgid | Kind::PidOrPgrp | Kind::Who => {
                self.number(kind, word)?;
                own_pid(int(word).into(), self.memory, self.out)
            }
            Kind::Size | Kind::Count => write!(self.out, "{word}"),
            Kind::Offset => write!(self.out, "{}", word.cast_signed()),
            Kind::Mode if self.makes_node() => {
                structures::file_mode(int(word).cast_unsigned(), self.out)
            }
            Kind::Device if self.makes_node() => structures::device(word, self.out),
            Kind::AtFlags => constants::at_flags(self.nr, word, self.out),
            Kind::OpenFlags if matches!(self.nr, nr::dup3 | nr::pipe2) => {
                constants::descriptor_flags(word, self.out)
            }
            Kind::Mode => structures::octal(word & 0xffff_ffff, self.out),
            Kind::Device | Kind::Command | Kind::IpcKey | Kind::Argument => {
                write!(self.out, "{word:#x}")
            }
            Kind::Flags | Kind::MapOffset => match word {
                0 => self.out.write_str("0"),
                flags => write!(self.out, "{flags:#x}"),
            },
            Kind::OpenFlags
            | Kind::AccessMode
            | Kind::Prot
            | Kind::MapFlags
            | Kind::CloneFlags
            | Kind::WaitOptions
            | Kind::SocketType
            | Kind::SocketFlags
            | Kind::SocketDomain
            | Kind::FcntlCommand
            | Kind::EpollOp
            | Kind::Clock
            | Kind::SigHow
            | Kind::Resource
            | Kind::StatxMask
            | Kind::RenameFlags
            | Kind::XattrFlags
            | Kind::PriorityOf
            | Kind::Signal => constants::write(kind, word, self.out),
            Kind::Path => {
                text::string(self.memory, word, text::PATH_MAX, self.out)?;
                self.memory.host(Own::Path(word), self.out)
            }
            Kind::Text | Kind::IpcName => text::string(self.memory, word, text::PATH_MAX, self.out),
            Kind::SockAddr => self.socket_address(word, self.word(i + 1)),
            Kind::SockAddrOut => {
                let length = self.read_int(self.word(i + 1)).map_or(0, i32::unsigned_abs);
                self.socket_address(word, length.into())
            }
            Kind::SizeInOut => match self.read_int(word) {
                Some(size) => write!(self.out, "[{size}]"),
                None => self.address(word),
            },
            Kind::Buf => self.bytes(word, self.word(i + 1)),
            Kind::BufOut => {
                let length = self.result.map_or(0, i64::unsigned_abs);
                self.bytes(word, length)
            }
            Kind::PathOut => match self.result {
                // getcwd(2) counts the NUL, readlink(2) writes none.
                Some(length) => {
                    let length = length.unsigned_abs();
                    text::path_out(self.memory, word, length, self.out)
                }
                None => self.address(word),
            },
            Kind::Strings => self.strings(i, word),
            Kind::FdPairOut => self.pair(word),
            Kind::WstatusOut => self.status(word),
            Kind::StatOut
            | Kind::StructIn
            | Kind::StructOut
            | Kind::SigsetIn
            | Kind::SigsetOut
            | Kind::UidOut
            | Kind::GidOut
            | Kind::Gids
            | Kind::GidsOut
            | Kind::UtsnameOut
            | Kind::StatfsOut
            | Kind::StructInOut
            | Kind::Siginfo
            | Kind::SiginfoOut
            | Kind::Sigevent
            | Kind::Capabilities
            | Kind::CloneArgs
            | Kind::TimeIn
            | Kind::TimeOut
            | Kind::TimeInOut => self.structure(i, kind, word),
            Kind::Iovec => self.buffers(word, self.word(i + 1), Bound::Full),
            Kind::IovecOut => {
                let length = self.result.map_or(0, i64::unsigned_abs);
                self.buffers(word, self.word(i + 1), Bound::Filled(length))
            }
            Kind::Msghdr | Kind::MsghdrOut => self.messages(kind, word),
            Kind::HostName => self.bytes(word, self.word(i + 1)),
            Kind::Addr | Kind::DirentsOut | Kind::TidOut | Kind::IpcStat => self.address(word),
        }
    }

    const fn makes_node(&self) -> bool {
        matches!(self.nr, nr::mknod | nr::mknodat)
    }

    fn number(&mut self, kind: Kind, word: u64) -> Result {
        match (kind, int(word)) {
            (Kind::Uid | Kind::Gid, number) if number != -1 => {
                write!(self.out, "{}", number.cast_unsigned())
            }
            (_, number) => write!(self.out, "{number}"),
        }
    }

    fn address(&mut self, word: u64) -> Result {
        match word {
            0 => self.out.write_str("NULL"),
            address => write!(self.out, "{address:#x}"),
        }
    }

    fn structure(&mut self, i: usize, kind: Kind, word: u64) -> Result {
        let nr = self.nr;
        let place = Place { nr, i, kind };
        let result = self.result.unwrap_or(0);
        if structures::write(place, (&self.args, result), self.memory, self.out)? {
            return Ok(());
        }
        self.address(word)
    }

    fn buffers(&mut self, at: u64, count: u64, bound: Bound) -> Result {
        match at {
            0 => self.address(0),
            at => messages::buffers((at, count), bound, self.memory, self.out),
        }
    }

    fn messages(&mut self, kind: Kind, at: u64) -> Result {
        let result = self.result.map_or(0, i64::unsigned_abs);
        if !matches!(self.nr, nr::sendmmsg | nr::recvmmsg) {
            let bound = match kind {
                Kind::MsghdrOut => Bound::Filled(result),
                _ => Bound::Full,
            };
            return messages::message(at, bound, self.memory, self.out);
        }
        let count = match kind {
            Kind::MsghdrOut => result,
            _ => self.word(2),
        };
        if at == 0 || self.read_word(at).is_none() {
            return self.address(at);
        }
        let mut comma = "[";
        for i in 0..count.min(MESSAGES_MAX as u64) {
            let at = at.wrapping_add(i * MMSGHDR as u64);
            let length = self.read_int(at.wrapping_add(MSGHDR as u64));
            let length = length.filter(|_| self.result.is_some_and(|sent| sent.unsigned_abs() > i));
            let bound = match (kind, length) {
                (Kind::MsghdrOut, Some(length)) => Bound::Filled(length.unsigned_abs().into()),
                _ => Bound::Full,
            };
            write!(self.out, "{comma}{{msg_hdr=")?;
            comma = ", ";
            messages::message(at, bound, self.memory, self.out)?;
            if let Some(length) = length {
                write!(self.out, ", msg_len={length}")?;
            }
            self.out.write_str("}")?;
        }
        self.out
            .write_str(match (count, count > MESSAGES_MAX as u64) {
                (0, _) => "[]",
                (_, true) => ", ...]",
                (_, false) => "]",
            })
    }

    fn bytes(&mut self, address: u64, length: u64) -> Result {
        if address == 0 {
            return self.address(0);
        }
        text::bytes(self.memory, address, length, STRING_MAX, self.out)
    }

    fn read_word(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        (self.memory.read(address, &mut bytes) == 8).then(|| u64::from_ne_bytes(bytes))
    }

    fn read_int(&self, address: u64) -> Option<i32> {
        let mut bytes = [0; 4];
        (self.memory.read(address, &mut bytes) == 4).then(|| i32::from_ne_bytes(bytes))
    }

    /// The first list of a call in full, a second one (the environment) by its length.
    fn strings(&mut self, i: usize, list: u64) -> Result {
        if list == 0 || self.read_word(list).is_none() {
            return self.address(list);
        }
        if self.row.iter().take(i).any(|arg| arg.kind == Kind::Strings) {
            let mut count = 0;
            let end = loop {
                match self.read_word(list.wrapping_add(8 * count)) {
                    Some(at) if at != 0 && count < 0x10_0000 => count += 1,
                    end => break end,
                }
            };
            let plural = if count == 1 { "" } else { "s" };
            let is_whole = end == Some(0);
            let more = if is_whole { "" } else { ", unterminated" };
            return write!(self.out, "{list:#x} /* {count} var{plural}{more} */");
        }
        self.out.write_str("[")?;
        for at in 0..=LIST_MAX {
            let Some(pointer) = self
                .read_word(list.wrapping_add(8 * at as u64))
                .filter(|&at| at != 0)
            else {
                break;
            };
            if at > 0 {
                self.out.write_str(", ")?;
            }
            if at == LIST_MAX {
                self.out.write_str("...")?;
                break;
            }
            text::string(self.memory, pointer, STRING_MAX, self.out)?;
        }
        self.out.write_str("]")
    }

    fn socket_address(&mut self, address: u64, length: u64) -> Result {
        let mut bytes = [0; sockaddr::LEN_MAX];
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let wanted = bytes.get_mut(..length).unwrap_or(&mut []);
        let got = self.memory.read(address, wanted);
        if address == 0 || got == 0 || got < length {
            return self.address(address);
        }
        sockaddr::write(bytes.get(..got).unwrap_or(&[]), self.out)?;
        self.memory.host(Own::Address, self.out)
    }

    fn pair(&mut self, address: u64) -> Result {
        match (
            self.read_int(address),
            self.read_int(address.wrapping_add(4)),
        ) {
            (Some(first), Some(second)) => write!(self.out, "[{first}, {second}]"),
            _ => self.address(address),
        }
    }

    /// `WIFEXITED` and its like (wait(2)).
    fn status(&mut self, address: u64) -> Result {
        let waited = self.result.is_some_and(|pid| pid > 0);
        let Some(status) = self.read_int(address).filter(|_| address != 0 && waited) else {
            return self.address(address);
        };
        let (low, high) = (status & 0x7f, status >> 8 & 0xff);
        if low == 0 {
            return write!(self.out, "[{{WIFEXITED(s) && WEXITSTATUS(s) == {high}}}]");
        }
        let (test, value, number) = match status & 0xff {
            0x7f => ("WIFSTOPPED", "WSTOPSIG", high),
            _ => ("WIFSIGNALED", "WTERMSIG", low),
        };
        write!(self.out, "[{{{test}(s) && {value}(s) == ")?;
        constants::write(Kind::Signal, number.unsigned_abs().into(), self.out)?;
        if status & 0x80 != 0 && low != 0x7f {
            self.out.write_str(" && WCOREDUMP(s)")?;
        }
        self.out.write_str("}]")
    }
}

#[cfg(all(test, feature = "std"))]
mod tests;
