//! Structures as strace(1) shows them: `{st_mode=S_IFREG|0644, st_size=1647, ...}`.

use super::{Memory, constants};
use crate::kind::Kind;
use crate::nr;
use core::fmt::{Result, Write};

/// What a structure is, where that is known.
#[derive(Clone, Copy)]
enum Structure {
    /// `struct stat`
    Stat,
    /// `struct statx`
    Statx,
    /// The kernel's `sigset_t`
    Sigset,
    /// The kernel's `struct sigaction`
    Sigaction,
    /// `struct rlimit`
    Rlimit,
    /// `struct utsname`
    Utsname,
    /// A user or group
    Id,
    /// Groups, as many as an argument or the result says
    Groups,
}

/// Most groups that are shown.
const GROUPS_MAX: usize = 32;
/// Length of a name in `struct utsname`.
const NAME: usize = 65;

impl Structure {
    const fn of(nr: u32, kind: Kind) -> Option<Self> {
        Some(match (kind, nr) {
            (Kind::StatOut, nr::statx) => Self::Statx,
            (Kind::StatOut, _) => Self::Stat,
            (Kind::SigsetIn | Kind::SigsetOut, _) => Self::Sigset,
            (Kind::StructIn | Kind::StructOut, nr::rt_sigaction) => Self::Sigaction,
            (Kind::StructIn | Kind::StructOut, nr::prlimit64 | nr::getrlimit | nr::setrlimit) => {
                Self::Rlimit
            }
            (Kind::UtsnameOut, _) => Self::Utsname,
            (Kind::UidOut | Kind::GidOut, _) => Self::Id,
            (Kind::Gids | Kind::GidsOut, _) => Self::Groups,
            _ => return None,
        })
    }

    const fn size(self) -> usize {
        match self {
            Self::Stat => 56,
            Self::Statx => 48,
            Self::Sigset => 8,
            Self::Sigaction => 32,
            Self::Rlimit => 16,
            Self::Utsname => 2 * NAME,
            Self::Id => 4,
            Self::Groups => 4 * GROUPS_MAX,
        }
    }
}

/// How many bytes of what an argument points at are shown; of a list, at most. 0: only its address is.
#[must_use]
pub const fn shown_bytes(nr: u32, kind: Kind) -> usize {
    match Structure::of(nr, kind) {
        Some(structure) => structure.size(),
        None => 0,
    }
}

/// Prints what lies at an address, a list of this many elements. Whether that is known and could be read.
///
/// # Errors
/// Those of `out`.
pub(super) fn write(
    (nr, kind): (u32, Kind),
    (address, count): (u64, usize),
    memory: &impl Memory,
    out: &mut impl Write,
) -> core::result::Result<bool, core::fmt::Error> {
    let Some(structure) = Structure::of(nr, kind).filter(|_| address != 0) else {
        return Ok(false);
    };
    let mut bytes = [0; 2 * NAME];
    let is_list = matches!(structure, Structure::Groups);
    let size = if is_list {
        4 * count.min(GROUPS_MAX)
    } else {
        structure.size()
    };
    let Some(bytes) = bytes.get_mut(..size) else {
        return Ok(false);
    };
    if memory.read(address, bytes) != size {
        return Ok(false);
    }
    print(structure, &Bytes(bytes), count, out)?;
    Ok(true)
}

/// A structure's bytes.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn half(&self, at: usize) -> u32 {
        let bytes = self.0.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    fn word(&self, at: usize) -> u64 {
        let bytes = self.0.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }
}

fn print(structure: Structure, bytes: &Bytes, count: usize, out: &mut impl Write) -> Result {
    match structure {
        Structure::Stat => {
            out.write_str("{st_mode=")?;
            let mode = bytes.half(24);
            file_mode(mode, out)?;
            if is_device(mode.into()) {
                out.write_str(", st_rdev=")?;
                device(bytes.word(40), out)?;
                return out.write_str(", ...}");
            }
            write!(out, ", st_size={}, ...}}", bytes.word(48).cast_signed())
        }
        Structure::Statx => {
            out.write_str("{stx_mask=")?;
            constants::write(Kind::StatxMask, bytes.half(0).into(), out)?;
            match bytes.word(8) {
                0 => out.write_str(", stx_attributes=0")?,
                attributes => write!(out, ", stx_attributes={attributes:#x}")?,
            }
            out.write_str(", stx_mode=")?;
            file_mode(bytes.half(28) & 0xffff, out)?;
            write!(out, ", stx_size={}, ...}}", bytes.word(40))
        }
        Structure::Sigset => sigset(bytes.word(0), out),
        Structure::Sigaction => sigaction(bytes, out),
        Structure::Rlimit => {
            out.write_str("{rlim_cur=")?;
            limit(bytes.word(0), out)?;
            out.write_str(", rlim_max=")?;
            limit(bytes.word(8), out)?;
            out.write_str("}")
        }
        Structure::Utsname => {
            let name = |at: usize| {
                let field = bytes.0.get(at..at + NAME).unwrap_or(&[]);
                field.split(|byte| *byte == 0).next().unwrap_or(field)
            };
            out.write_str("{sysname=")?;
            super::text::own(name(0), out)?;
            out.write_str(", nodename=")?;
            super::text::own(name(NAME), out)?;
            out.write_str(", ...}")
        }
        Structure::Id => write!(out, "[{}]", bytes.half(0)),
        Structure::Groups => {
            out.write_str("[")?;
            for i in 0..count.min(GROUPS_MAX) {
                let comma = if i == 0 { "" } else { ", " };
                write!(out, "{comma}{}", bytes.half(4 * i))?;
            }
            out.write_str(if count > GROUPS_MAX { ", ...]" } else { "]" })
        }
    }
}

const S_IFMT: u32 = 0o170_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFBLK: u32 = 0o060_000;

/// Whether that is the mode of a device.
pub(super) fn is_device(mode: u64) -> bool {
    [S_IFCHR, S_IFBLK]
        .map(u64::from)
        .contains(&(mode & u64::from(S_IFMT)))
}

/// A device's number.
pub(super) fn device(device: u64, out: &mut impl Write) -> Result {
    let (high, low) = (device >> 32 & 0xffff_f000, device >> 12 & 0xfff_ff00);
    let (major, minor) = (high | device >> 8 & 0xfff, low | device & 0xff);
    write!(out, "makedev({major:#x}, {minor:#x})")
}

/// The type of a file, and its mode bits: `S_IFDIR|S_ISVTX|0777`.
pub(super) fn file_mode(mode: u32, out: &mut impl Write) -> Result {
    let kind = match mode & S_IFMT {
        0o140_000 => "S_IFSOCK|",
        0o120_000 => "S_IFLNK|",
        0o100_000 => "S_IFREG|",
        S_IFBLK => "S_IFBLK|",
        0o040_000 => "S_IFDIR|",
        S_IFCHR => "S_IFCHR|",
        0o010_000 => "S_IFIFO|",
        _ => "",
    };
    let rest = if kind.is_empty() {
        mode
    } else {
        mode & !S_IFMT
    };
    out.write_str(kind)?;
    for (bit, name) in [
        (0o4000, "S_ISUID|"),
        (0o2000, "S_ISGID|"),
        (0o1000, "S_ISVTX|"),
    ] {
        if rest & bit != 0 && !kind.is_empty() {
            out.write_str(name)?;
        }
    }
    let bits = if kind.is_empty() {
        rest
    } else {
        rest & !0o7000
    };
    octal(bits.into(), out)
}

/// Mode bits, of three digits at least.
pub(super) fn octal(bits: u64, out: &mut impl Write) -> Result {
    let zero = if bits < 0o10 { "00" } else { "0" };
    write!(out, "{zero}{bits:o}")
}

/// Signals without `SIG`; where most are set, those that are not.
fn sigset(set: u64, out: &mut impl Write) -> Result {
    let is_most = set.count_ones() >= 64 * 2 / 3;
    let (mark, mut rest) = if is_most { ("~[", !set) } else { ("[", set) };
    out.write_str(mark)?;
    let mut space = "";
    while rest != 0 {
        let signal = u64::from(rest.trailing_zeros()) + 1;
        rest &= rest - 1;
        out.write_str(space)?;
        constants::signal(signal, out)?;
        space = " ";
    }
    out.write_str("]")
}

fn sigaction(bytes: &Bytes, out: &mut impl Write) -> Result {
    const SA_RESTORER: u64 = 0x400_0000;
    let (handler, flags) = (bytes.word(0), bytes.word(8));
    out.write_str("{sa_handler=")?;
    match handler {
        0 => out.write_str("SIG_DFL")?,
        1 => out.write_str("SIG_IGN")?,
        u64::MAX => out.write_str("SIG_ERR")?,
        _ => write!(out, "{handler:#x}")?,
    }
    out.write_str(", sa_mask=")?;
    sigset(bytes.word(24), out)?;
    out.write_str(", sa_flags=")?;
    constants::sigaction_flags(flags, out)?;
    if flags & SA_RESTORER != 0 {
        write!(out, ", sa_restorer={:#x}", bytes.word(16))?;
    }
    out.write_str("}")
}

fn limit(limit: u64, out: &mut impl Write) -> Result {
    match limit {
        u64::MAX => out.write_str("RLIM64_INFINITY"),
        limit if limit > 1024 && limit.is_multiple_of(1024) => {
            write!(out, "{}*1024", limit / 1024)
        }
        limit => write!(out, "{limit}"),
    }
}
