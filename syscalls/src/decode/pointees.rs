//! What an argument stands for that a command chooses: ioctl(2), prctl(2), arch_prctl(2), fcntl(2), and the
//! controls of System V IPC.
//!
//! [`of`] says it for the recorder, which copies what is pointed at when it is valid, and for the
//! decoder, which prints it: there is one list.

use super::constants::Names;
use super::fields::{self, Layout};
use super::names::{self, CAPABILITY};
use super::structures::Bytes;
use super::{Memory, Printer, constants, int, text};
use crate::kind::Kind;
use crate::nr;
use core::fmt::Write;

/// What an argument is.
#[derive(Clone, Copy)]
pub(super) enum Pointee {
    /// Points at a number of 32 bits.
    Int,
    /// Points at a signal.
    Signal,
    /// Points at an address.
    Address,
    /// Points at a structure.
    Fields(&'static Layout),
    /// Points at `struct termios` of the kernel.
    Termios,
    /// Points at a text, so long at most.
    Text(usize),
    /// Is a number.
    Number,
    /// Is a number with a sign.
    Signed,
    /// Is one of these.
    Named(Names),
    /// Is a signal.
    ASignal,
    /// Is not there.
    None,
}

use Pointee::{
    ASignal, Address, Fields, Int, Named, None as Nothing, Number, Signal, Signed, Text,
};

/// Bytes of `struct termios`.
const TERMIOS: usize = 36;
/// Bytes of a thread's name.
const COMM: usize = 16;
/// Longest name of a mapping.
const MAPPING: usize = 80;

impl Pointee {
    /// How many bytes of what it points at are shown; of a text, at most. 0: it points at nothing.
    const fn size(self) -> usize {
        match self {
            Int | Signal => 4,
            Address => 8,
            Fields(layout) => layout.size,
            Pointee::Termios => TERMIOS,
            Text(most) => most,
            Number | Signed | Named(_) | ASignal | Nothing => 0,
        }
    }
}

/// What a command has copied for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointed {
    /// How many bytes, or of a text how many at most.
    pub size: usize,
    /// Whether the call fills it.
    pub is_out: bool,
    /// Whether it ends with a NUL.
    pub is_text: bool,
}

/// What the argument of that number points at, if that is shown.
#[must_use]
pub fn pointed(nr: u32, i: usize, args: &[u64; 6]) -> Option<Pointed> {
    let (pointee, is_out) = of(nr, i, args)?;
    let size = pointee.size();
    (size != 0).then_some(Pointed {
        size,
        is_out,
        is_text: matches!(pointee, Text(_)),
    })
}

/// What an argument is, and whether the call fills what it points at. `None`: nothing is known of it.
pub(super) fn of(nr: u32, i: usize, args: &[u64; 6]) -> Option<(Pointee, bool)> {
    let [first, second, third, ..] = args.map(|word| word & 0xffff_ffff);
    match (nr, i) {
        (nr::fcntl, 2) => super::commands::flock(nr, second)
            .map(|layout| (Fields(layout), super::commands::is_filled(second))),
        (nr::ioctl, 2) => ioctl(second),
        (nr::prctl, 1..) => prctl(first, second, i),
        (nr::arch_prctl, 1) => matches!(first, 0x1003 | 0x1004).then_some((Address, true)),
        (nr::semctl, 3) => control(third, &fields::SEMID),
        (nr::msgctl, 2) => control(second, &fields::MSQID),
        (nr::shmctl, 2) => control(second, &fields::SHMID),
        _ => None,
    }
}

/// `IPC_STAT`, which fills a structure.
fn control(command: u64, layout: &'static Layout) -> Option<(Pointee, bool)> {
    const IPC_STAT: u64 = 2;
    (command == IPC_STAT).then_some((Fields(layout), true))
}

fn ioctl(request: u64) -> Option<(Pointee, bool)> {
    Some(match request {
        // FIONREAD, TIOCOUTQ, TIOCGPGRP, TIOCGSID, TIOCGPTN, TIOCGPTLCK, TIOCGEXCL
        0x541b | 0x5411 | 0x540f | 0x5429 | 0x8004_5430 | 0x8004_5439 | 0x8004_5440 => (Int, true),
        // FIONBIO, FIOASYNC, TIOCSPGRP, TIOCSPTLCK, TIOCPKT
        0x5421 | 0x5452 | 0x5410 | 0x4004_5431 | 0x5420 => (Int, false),
        0x5413 => (Fields(&fields::WINSIZE), true),
        0x5414 => (Fields(&fields::WINSIZE), false),
        0x5401 => (Pointee::Termios, true),
        0x5402..=0x5404 => (Pointee::Termios, false),
        0x540a => (Named(names::TCXONC), false),
        0x540b => (Named(names::TCFLSH), false),
        // TCSBRK, TCSBRKP, TIOCSCTTY
        0x5409 | 0x5425 | 0x540e => (Signed, false),
        // FIONCLEX, FIOCLEX, TIOCNOTTY, TIOCEXCL, TIOCNXCL
        0x5450 | 0x5451 | 0x5422 | 0x540c | 0x540d => (Nothing, false),
        0x8913 => (Fields(&fields::IFREQ_FLAGS), true),
        0x8915 | 0x8919 | 0x891b => (Fields(&fields::IFREQ_ADDRESS), true),
        0x8921 => (Fields(&fields::IFREQ_MTU), true),
        0x8933 => (Fields(&fields::IFREQ_INDEX), true),
        _ => return None,
    })
}

/// Whether the operation takes four numbers, all of which are looked at.
const fn takes_all(operation: u64) -> bool {
    // PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_SET_THP_DISABLE, PR_GET_THP_DISABLE
    matches!(operation, 38 | 39 | 41 | 42)
}

fn prctl(operation: u64, second: u64, i: usize) -> Option<(Pointee, bool)> {
    const PR_CAP_AMBIENT: u64 = 47;
    const PR_SET_PTRACER: u64 = 0x5961_6d61;
    const PR_SET_VMA: u64 = 0x5356_4d41;
    if takes_all(operation) {
        return Some((Number, false));
    }
    let known: &[Pointee] = match operation {
        // PR_SET_PDEATHSIG, PR_GET_PDEATHSIG
        1 => &[ASignal],
        2 => &[Signal],
        // PR_GET_DUMPABLE, PR_GET_KEEPCAPS, PR_GET_TIMING, PR_GET_SECCOMP, PR_GET_SECUREBITS,
        // PR_GET_TIMERSLACK
        3 | 7 | 13 | 21 | 27 | 30 => &[],
        4 => &[Named(names::DUMPABLE)],
        // PR_SET_KEEPCAPS, PR_SET_TIMERSLACK, PR_SET_CHILD_SUBREAPER
        8 | 29 | 36 => &[Number],
        // PR_SET_NAME, PR_GET_NAME
        15 | 16 => &[Text(COMM)],
        // PR_CAPBSET_READ, PR_CAPBSET_DROP
        23 | 24 => &[Named(CAPABILITY)],
        // PR_GET_TSC, PR_GET_CHILD_SUBREAPER
        25 | 37 => &[Int],
        28 => &[Named(names::SECUREBITS)],
        // PR_GET_TID_ADDRESS
        40 => &[Address],
        PR_SET_PTRACER => &[Signed],
        PR_CAP_AMBIENT => &[Named(names::AMBIENT), Named(CAPABILITY), Number, Number],
        52 => &[Named(names::SPECULATION)],
        PR_SET_VMA if second == 0 => &[Named(names::VMA), Pointee::Signed, Number, Text(MAPPING)],
        _ => return None,
    };
    // The address of a mapping is told as one.
    if operation == PR_SET_VMA && i == 2 {
        return None;
    }
    let is_out = matches!(operation, 2 | 16 | 25 | 37 | 40);
    Some((known.get(i - 1).copied().unwrap_or(Nothing), is_out))
}

/// Whether a command takes no such argument.
pub(super) fn is_left_out(nr: u32, i: usize, args: &[u64; 6]) -> bool {
    matches!(of(nr, i, args), Some((Nothing, _)))
}

/// Prints an argument that a command decides about. Whether it is one.
pub(super) fn print<M: Memory, W: Write>(
    i: usize,
    printer: &mut Printer<'_, M, W>,
    word: u64,
) -> core::result::Result<bool, core::fmt::Error> {
    let Some((pointee, is_out)) = of(printer.nr, i, &printer.args) else {
        return Ok(false);
    };
    let size = pointee.size();
    if size == 0 {
        let out = &mut *printer.out;
        match pointee {
            Number => write!(out, "{word}"),
            Signed => write!(out, "{}", int(word)),
            Named(names) => names.write(word, out),
            ASignal => constants::write(Kind::Signal, word, out),
            _ => return Ok(false),
        }?;
        return Ok(true);
    }
    if is_out && printer.result.is_none() {
        return printer.address(word).map(|()| true);
    }
    if let Text(most) = pointee {
        return text::string(printer.memory, word, most - 1, printer.out).map(|()| true);
    }
    let mut bytes = [0; 128];
    let wanted = bytes.get_mut(..size).unwrap_or(&mut []);
    if word == 0 || printer.memory.read(word, wanted) != size {
        return printer.address(word).map(|()| true);
    }
    let (bytes, out) = (Bytes(wanted), &mut *printer.out);
    match pointee {
        Int => write!(out, "[{}]", bytes.half(0).cast_signed()),
        Signal => {
            out.write_str("[")?;
            match bytes.half(0) {
                0 => out.write_str("0")?,
                signal => constants::write(Kind::Signal, signal.into(), out)?,
            }
            out.write_str("]")
        }
        Address => match bytes.word(0) {
            0 => out.write_str("[NULL]"),
            address => write!(out, "[{address:#x}]"),
        },
        Pointee::Termios => termios(&bytes, out),
        Fields(layout) => layout.print(&bytes, out),
        _ => return Ok(false),
    }
    .map(|()| true)
}

fn termios(bytes: &Bytes<'_>, out: &mut impl Write) -> core::fmt::Result {
    let [input, output, control, local] = [0, 4, 8, 12].map(|at| u64::from(bytes.half(at)));
    out.write_str("{c_iflag=")?;
    names::C_IFLAG.write(input, out)?;
    out.write_str(", c_oflag=")?;
    for (name, shift, mask) in [
        ("NL", 8, 1),
        ("CR", 9, 3),
        ("TAB", 11, 3),
        ("BS", 13, 1),
        ("VT", 14, 1),
        ("FF", 15, 1),
    ] {
        write!(out, "{name}{}|", output >> shift & mask)?;
    }
    names::C_OFLAG.write(output & 0xff, out)?;
    out.write_str(", c_cflag=")?;
    names::SPEED.write(control & 0x100f, out)?;
    write!(out, "|CS{}", 5 + (control >> 4 & 3))?;
    let rest = control & !0x103f;
    if rest != 0 {
        out.write_str("|")?;
        names::C_CFLAG.write(rest, out)?;
    }
    out.write_str(", c_lflag=")?;
    names::C_LFLAG.write(local, out)?;
    out.write_str(", ...}")
}
