//! Structures as strace(1) shows them: `{st_mode=S_IFREG|0644, st_size=1647, ...}`.

use super::fields::{self, Layout};
use super::{Memory, constants, names};
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
    /// One that is shown field by field
    Fields(&'static Layout),
    /// Two of these
    Two(&'static Layout),
    /// `struct epoll_event`, as many as the result says
    EpollEvents,
    /// `struct epoll_event`
    EpollEvent,
    /// `struct pollfd`, as many as an argument says
    Pollfds,
    /// `fd_set`
    Fds,
    /// A set of processors
    Processors,
    /// `siginfo_t`
    Siginfo,
    /// `struct sched_param`
    Priority,
    /// A position in a file
    Position,
    /// The value of a socket's option
    Option,
    /// `struct sembuf`, as many as an argument says
    Semaphores,
    /// `struct msgbuf`, whose text is as long as an argument or the result says
    Message,
    /// `struct sigevent`
    Sigevent,
    /// The sets of capget(2)
    Capabilities,
    /// A number that is left there
    Number,
    /// Entries of a directory, of which the decoder looks at the lengths only
    Entries,
}

/// Most elements of a list that are shown.
const LIST_MAX: usize = 32;
/// Most bytes of a set.
const SET_MAX: usize = 128;
/// Longest value of an option that is shown.
const OPTION_MAX: usize = 32;
/// Most bytes of a message's text: one more than are shown.
const MESSAGE_MAX: usize = 33;
/// Most bytes of a directory's entries.
const ENTRIES_MAX: usize = 8192;
/// Length of a name in `struct utsname`.
const NAME: usize = 65;
/// The longest of all.
const LONGEST: usize = 12 * LIST_MAX;

impl Structure {
    const fn of(nr: u32, kind: Kind) -> Option<Self> {
        const fn fields(layout: &'static Layout) -> Option<Structure> {
            Some(Structure::Fields(layout))
        }
        match kind {
            Kind::StatOut if nr == nr::statx => Some(Self::Statx),
            Kind::StatOut => Some(Self::Stat),
            Kind::SigsetIn if matches!(nr, nr::pselect6 | nr::io_pgetevents) => None,
            Kind::SigsetIn | Kind::SigsetOut => Some(Self::Sigset),
            Kind::UtsnameOut => Some(Self::Utsname),
            Kind::UidOut | Kind::GidOut => Some(Self::Id),
            Kind::Gids | Kind::GidsOut => Some(Self::Groups),
            Kind::StatfsOut => fields(&fields::STATFS),
            Kind::CloneArgs => fields(&fields::CLONE_ARGS),
            Kind::Siginfo | Kind::SiginfoOut => Some(Self::Siginfo),
            Kind::Sigevent => Some(Self::Sigevent),
            Kind::Capabilities => fields(&fields::CAP_HEADER),
            Kind::DirentsOut => Some(Self::Entries),
            Kind::TimeIn | Kind::TimeOut | Kind::TimeInOut => match nr {
                nr::setitimer | nr::getitimer => fields(&fields::ITIMERVAL),
                nr::timer_settime
                | nr::timer_gettime
                | nr::timerfd_settime
                | nr::timerfd_gettime => fields(&fields::ITIMERSPEC),
                nr::utimensat => Some(Self::Two(&fields::TIMESPEC)),
                nr::utimes | nr::futimesat => Some(Self::Two(&fields::TIMEVAL)),
                nr::utime => fields(&fields::UTIMBUF),
                nr::select | nr::gettimeofday | nr::settimeofday => fields(&fields::TIMEVAL),
                nr::nanosleep | nr::clock_nanosleep if matches!(kind, Kind::TimeOut) => None,
                nr::time => None,
                _ => fields(&fields::TIMESPEC),
            },
            Kind::StructIn | Kind::StructOut | Kind::StructInOut => match nr {
                nr::rt_sigaction => Some(Self::Sigaction),
                nr::prlimit64 | nr::getrlimit | nr::setrlimit => Some(Self::Rlimit),
                nr::getrusage | nr::wait4 | nr::waitid => fields(&fields::RUSAGE),
                nr::times => fields(&fields::TMS),
                nr::sysinfo => fields(&fields::SYSINFO),
                nr::sigaltstack => fields(&fields::STACK),
                nr::openat2 => fields(&fields::HOW),
                nr::sched_setattr | nr::sched_getattr => fields(&fields::SCHED_ATTR),
                nr::sched_setparam | nr::sched_getparam | nr::sched_setscheduler => {
                    Some(Self::Priority)
                }
                nr::sched_setaffinity | nr::sched_getaffinity => Some(Self::Processors),
                nr::epoll_ctl => Some(Self::EpollEvent),
                nr::epoll_wait | nr::epoll_pwait | nr::epoll_pwait2 => Some(Self::EpollEvents),
                nr::poll | nr::ppoll => Some(Self::Pollfds),
                nr::select | nr::pselect6 => Some(Self::Fds),
                nr::sendfile | nr::splice | nr::copy_file_range => Some(Self::Position),
                nr::setsockopt | nr::getsockopt => Some(Self::Option),
                nr::semop | nr::semtimedop => Some(Self::Semaphores),
                nr::msgsnd | nr::msgrcv => Some(Self::Message),
                nr::capget | nr::capset => Some(Self::Capabilities),
                nr::timer_create | nr::getcpu => Some(Self::Number),
                nr::mq_open | nr::mq_getsetattr => fields(&fields::MQ_ATTR),
                _ => None,
            },
            _ => None,
        }
    }

    /// Its bytes, if they are always as many.
    const fn fixed_size(self) -> Option<usize> {
        Some(match self {
            Self::Stat => 56,
            Self::Statx | Self::Siginfo => 48,
            Self::Sigset | Self::Position => 8,
            Self::Sigaction => 32,
            Self::Rlimit => 16,
            Self::Utsname => 2 * NAME,
            Self::Id | Self::Priority | Self::Number => 4,
            Self::Fields(layout) => layout.size,
            Self::Two(layout) => 2 * layout.size,
            Self::EpollEvent => 12,
            Self::Sigevent | Self::Capabilities => 24,
            _ => return None,
        })
    }

    /// Bytes of the argument with this number; `filled`: what the result, or another word behind an address,
    /// says of its length.
    fn size(self, i: usize, args: &[u64; 6], filled: usize) -> usize {
        let word = |i: usize| {
            let word = args.get(i).copied().unwrap_or(0);
            usize::try_from(word).unwrap_or(usize::MAX)
        };
        match self {
            Self::Groups if i == 0 => 0,
            Self::Groups => 4 * filled.min(LIST_MAX),
            Self::EpollEvents => 12 * filled.min(LIST_MAX),
            Self::Pollfds => 8 * word(i + 1).min(LIST_MAX),
            Self::Fds => word(0).div_ceil(64).saturating_mul(8).min(SET_MAX),
            Self::Processors => filled.min(SET_MAX),
            Self::Option => filled.min(OPTION_MAX),
            Self::Semaphores => 6 * word(i + 1).min(LIST_MAX),
            Self::Message => 8 + filled.min(MESSAGE_MAX),
            Self::Entries => filled.min(ENTRIES_MAX),
            fixed => fixed.fixed_size().unwrap_or(0),
        }
    }
}

/// How many bytes of what such an argument of a call points at are shown, where that is always the same.
#[must_use]
pub const fn fixed_bytes(nr: u32, kind: Kind) -> Option<usize> {
    match Structure::of(nr, kind) {
        Some(structure) => structure.fixed_size(),
        None => None,
    }
}

/// How long the list, set or value is that an argument points at, as another argument or the result says it;
/// `behind` reads 32 bits at an address.
pub fn filled(
    (nr, i, kind): (u32, usize, Kind),
    args: &[u64; 6],
    result: i64,
    behind: impl Fn(u64) -> Option<u32>,
) -> usize {
    let word = |i: usize| args.get(i).copied().unwrap_or(0);
    let filled = match (nr, kind) {
        (_, Kind::Gids) => word(i.wrapping_sub(1)),
        (nr::sched_setaffinity, _) => word(1),
        (nr::setsockopt, _) => word(4),
        (nr::msgsnd, _) => word(2),
        (nr::getsockopt, _) => behind(word(4)).unwrap_or(0).into(),
        _ => result.unsigned_abs(),
    };
    usize::try_from(filled).unwrap_or(usize::MAX)
}

/// How many bytes of what an argument points at are shown; of a list, at most. 0: only its address is.
#[must_use]
pub fn shown_bytes((nr, i, kind): (u32, usize, Kind), args: &[u64; 6], filled: usize) -> usize {
    match Structure::of(nr, kind) {
        Some(structure) => structure.size(i, args, filled),
        None => 0,
    }
}

/// Whether what a call reads and writes is shown as it was before and after.
#[must_use]
pub const fn shows_both(nr: u32) -> bool {
    matches!(
        nr,
        nr::poll | nr::ppoll | nr::select | nr::pselect6 | nr::sendfile
    )
}

/// Which argument of which call is printed.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) nr: u32,
    pub(super) i: usize,
    pub(super) kind: Kind,
}

/// Prints what an argument points at. Whether that is known and could be read.
///
/// # Errors
/// Those of `out`.
pub(super) fn write(
    place: Place,
    (args, result): (&[u64; 6], i64),
    memory: &impl Memory,
    out: &mut impl Write,
) -> core::result::Result<bool, core::fmt::Error> {
    let Place { nr, i, kind } = place;
    let address = args.get(i).copied().unwrap_or(0);
    let Some(structure) = Structure::of(nr, kind).filter(|_| address != 0) else {
        return Ok(false);
    };
    let behind = |at: u64| {
        let mut bytes = [0; 4];
        (memory.read(at, &mut bytes) == 4).then(|| u32::from_ne_bytes(bytes))
    };
    let count = filled((nr, i, kind), args, result, behind);
    let mut bytes = [0; LONGEST];
    let size = structure.size(i, args, count);
    let Some(bytes) = bytes.get_mut(..size) else {
        return Ok(false);
    };
    if memory.read(address, bytes) != size {
        return Ok(false);
    }
    let count = match structure {
        Structure::Semaphores => {
            usize::try_from(args.get(i + 1).copied().unwrap_or(0)).unwrap_or(usize::MAX)
        }
        Structure::Pollfds | Structure::Fds => {
            let at = if nr == nr::poll || nr == nr::ppoll {
                i + 1
            } else {
                0
            };
            usize::try_from(args.get(at).copied().unwrap_or(0)).unwrap_or(usize::MAX)
        }
        _ => count,
    };
    print(structure, &Bytes(bytes), (nr, count, args), out)?;
    let mut after = [0; 8];
    if matches!(structure, Structure::Position)
        && nr == nr::sendfile
        && memory.read_after(address, &mut after) == 8
        && after[..] != *bytes
    {
        write!(out, " => [{}]", i64::from_ne_bytes(after))?;
    }
    Ok(true)
}

/// Prints what a call has left of descriptors and time, behind its result: `([{fd=3, revents=POLLIN}])`.
///
/// # Errors
/// Those of `out`.
pub(super) fn after(
    nr: u32,
    args: &[u64; 6],
    result: i64,
    memory: &impl Memory,
    out: &mut impl Write,
) -> Result {
    let [first, second, third, fourth, fifth, _] = *args;
    let timeout = match nr {
        nr::poll => 0,
        nr::ppoll => third,
        nr::select | nr::pselect6 => fifth,
        _ => return Ok(()),
    };
    if result == 0 {
        return out.write_str(" (Timeout)");
    }
    let read = |at: u64, size: usize, bytes: &mut [u8; LONGEST]| {
        let bytes = bytes.get_mut(..size).unwrap_or(&mut []);
        at != 0 && size != 0 && memory.read_after(at, bytes) == size
    };
    let mut bytes = [0; LONGEST];
    let mut before = " (";
    if matches!(nr, nr::poll | nr::ppoll) {
        let count = usize::try_from(second).unwrap_or(usize::MAX);
        let size = 8 * count.min(LIST_MAX);
        if !read(first, size, &mut bytes) {
            return Ok(());
        }
        out.write_str(before)?;
        before = ", ";
        pollfds(
            &Bytes(bytes.get(..size).unwrap_or(&[])),
            count,
            Some(()),
            out,
        )?;
    } else {
        let nfds = usize::try_from(first).unwrap_or(usize::MAX);
        let size = nfds.div_ceil(64).saturating_mul(8).min(SET_MAX);
        for (name, at) in [("in", second), ("out", third), ("except", fourth)] {
            if read(at, size, &mut bytes) {
                let set = Bytes(bytes.get(..size).unwrap_or(&[]));
                if set.0.iter().all(|byte| *byte == 0) {
                    continue;
                }
                write!(out, "{before}{name} ")?;
                before = ", ";
                bits(&set, nfds, out)?;
            }
        }
    }
    let time = if nr == nr::select {
        &fields::TIMEVAL
    } else {
        &fields::TIMESPEC
    };
    if read(timeout, time.size, &mut bytes) {
        write!(out, "{before}left ")?;
        before = ", ";
        time.print(&Bytes(bytes.get(..time.size).unwrap_or(&[])), out)?;
    }
    out.write_str(if before == ", " { ")" } else { "" })
}

fn pollfds(bytes: &Bytes<'_>, count: usize, after: Option<()>, out: &mut impl Write) -> Result {
    out.write_str("[")?;
    let mut comma = "";
    for at in (0..count.min(LIST_MAX)).map(|i| 8 * i) {
        let fd = bytes.half(at).cast_signed();
        let (name, events) = match after {
            None => ("events", bytes.quarter(at + 4)),
            Some(()) => ("revents", bytes.quarter(at + 6)),
        };
        if after.is_some() && events == 0 {
            continue;
        }
        write!(out, "{comma}{{fd={fd}")?;
        comma = ", ";
        if fd >= 0 || after.is_some() {
            write!(out, ", {name}=")?;
            constants::POLL_EVENTS.write(events.into(), out)?;
        }
        out.write_str("}")?;
    }
    out.write_str(if count > LIST_MAX { ", ...]" } else { "]" })
}

/// The numbers of the bits that are set.
fn bits(bytes: &Bytes<'_>, count: usize, out: &mut impl Write) -> Result {
    out.write_str("[")?;
    let mut space = "";
    for i in 0..count.min(8 * bytes.0.len()) {
        if bytes
            .0
            .get(i / 8)
            .is_some_and(|byte| byte >> (i % 8) & 1 != 0)
        {
            write!(out, "{space}{i}")?;
            space = " ";
        }
    }
    out.write_str("]")
}

fn epoll_event(bytes: &Bytes<'_>, out: &mut impl Write) -> Result {
    fields::EPOLL_EVENT.print(bytes, out)?;
    let (half, word) = (bytes.half(4), bytes.word(4));
    write!(out, ", data={{u32={half}, u64={word}}}}}")
}

fn siginfo(bytes: &Bytes<'_>, out: &mut impl Write) -> Result {
    const SIGCHLD: u32 = 17;
    const CLD_EXITED: u32 = 1;
    const SI_QUEUE: u32 = 0xffff_ffff;
    let layout = match (bytes.half(0), bytes.half(8)) {
        (0, _) => return out.write_str("{}"),
        (SIGCHLD, CLD_EXITED) => &fields::SIGINFO_CHILD,
        (SIGCHLD, 2..=6) => &fields::SIGINFO_CHILD_SIGNAL,
        (_, SI_QUEUE) => &fields::SIGINFO_QUEUED,
        _ => &fields::SIGINFO_SENT,
    };
    layout.print(bytes, out)
}

/// The value of a socket's option: a number, or bytes.
fn option(bytes: &Bytes<'_>, count: usize, args: &[u64; 6], out: &mut impl Write) -> Result {
    const SOL_SOCKET: u64 = 1;
    const SO_LINGER: u64 = 13;
    const SO_PEERCRED: u64 = 17;
    let [_, level, name, ..] = *args;
    match (level & 0xffff_ffff, name & 0xffff_ffff, bytes.0.len()) {
        (SOL_SOCKET, SO_LINGER, 8) => {
            let (on, time) = (bytes.half(0), bytes.half(4));
            write!(out, "{{l_onoff={on}, l_linger={time}}}")
        }
        (SOL_SOCKET, SO_PEERCRED, 12) => {
            let [pid, uid, gid] = [0, 4, 8].map(|at| bytes.half(at));
            write!(out, "{{pid={pid}, uid={uid}, gid={gid}}}")
        }
        (_, _, 4) => write!(out, "[{}]", bytes.half(0).cast_signed()),
        _ => {
            super::text::own(bytes.0, out)?;
            out.write_str(if count > bytes.0.len() { "..." } else { "" })
        }
    }
}

/// A structure's bytes.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl Bytes<'_> {
    /// Those from there on.
    pub(super) fn from(&self, at: usize) -> Self {
        Self(self.0.get(at..).unwrap_or(&[]))
    }

    pub(super) fn quarter(&self, at: usize) -> u16 {
        let bytes = self.0.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u16::from_ne_bytes(*bytes))
    }

    pub(super) fn half(&self, at: usize) -> u32 {
        let bytes = self.0.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    pub(super) fn word(&self, at: usize) -> u64 {
        let bytes = self.0.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }
}

fn print(
    structure: Structure,
    bytes: &Bytes<'_>,
    (nr, count, args): (u32, usize, &[u64; 6]),
    out: &mut impl Write,
) -> Result {
    match structure {
        Structure::Fields(layout) => layout.print(bytes, out),
        Structure::Two(layout) => {
            out.write_str("[")?;
            for (at, comma) in [(0, ", "), (layout.size, "]")] {
                match bytes.word(at + 8) {
                    0x3fff_ffff if nr == nr::utimensat => out.write_str("UTIME_NOW")?,
                    0x3fff_fffe if nr == nr::utimensat => out.write_str("UTIME_OMIT")?,
                    _ => layout.print(&bytes.from(at), out)?,
                }
                out.write_str(comma)?;
            }
            Ok(())
        }
        Structure::EpollEvent => epoll_event(bytes, out),
        Structure::EpollEvents => {
            out.write_str("[")?;
            for i in 0..count.min(LIST_MAX) {
                out.write_str(if i == 0 { "" } else { ", " })?;
                epoll_event(&bytes.from(12 * i), out)?;
            }
            out.write_str(if count > LIST_MAX { ", ...]" } else { "]" })
        }
        Structure::Pollfds => pollfds(bytes, count, None, out),
        Structure::Fds => bits(bytes, count, out),
        Structure::Processors => bits(bytes, usize::MAX, out),
        Structure::Siginfo => siginfo(bytes, out),
        Structure::Priority => write!(out, "[{}]", bytes.half(0).cast_signed()),
        Structure::Position => write!(out, "[{}]", bytes.word(0).cast_signed()),
        Structure::Option => option(bytes, count, args, out),
        Structure::Semaphores => {
            out.write_str("[")?;
            for i in 0..count.min(LIST_MAX) {
                out.write_str(if i == 0 { "" } else { ", " })?;
                fields::SEMBUF.print(&bytes.from(6 * i), out)?;
            }
            out.write_str(if count > LIST_MAX { ", ...]" } else { "]" })
        }
        Structure::Sigevent => match bytes.half(12) {
            4 => fields::SIGEVENT_THREAD.print(bytes, out),
            _ => fields::SIGEVENT.print(bytes, out),
        },
        Structure::Capabilities => {
            for (i, name) in ["{effective=", ", permitted=", ", inheritable="]
                .into_iter()
                .enumerate()
            {
                out.write_str(name)?;
                capabilities([0, 12].map(|at| bytes.half(at + 4 * i).into()), out)?;
            }
            out.write_str("}")
        }
        Structure::Number => write!(out, "[{}]", bytes.half(0).cast_signed()),
        // Printed where it is known how many there are.
        Structure::Message | Structure::Entries => Ok(()),
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
            for i in 0..count.min(LIST_MAX) {
                let comma = if i == 0 { "" } else { ", " };
                write!(out, "{comma}{}", bytes.half(4 * i))?;
            }
            out.write_str(if count > LIST_MAX { ", ...]" } else { "]" })
        }
    }
}

/// A set of capabilities, in two halves.
fn capabilities([low, high]: [u64; 2], out: &mut impl Write) -> Result {
    match (low, high) {
        (0, 0) => out.write_str("0"),
        (_, 0) => names::CAPABILITIES.write(low, out),
        (0, _) => names::CAPABILITIES_HIGH.write(high, out),
        _ => {
            names::CAPABILITIES.before(low, out)?;
            names::CAPABILITIES_HIGH.write(high, out)
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
pub(super) fn sigset(set: u64, out: &mut impl Write) -> Result {
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
