//! Calls that a *client* has made for it: a process of a strict zone whose users are not the zone's root.
//! What of their arguments has to go along follows from the table's kinds.

use crate::{Kind, Row, nr};

/// Longest structures and data that go along with a call, in bytes: two paths and a structure.
pub const DATA_MAX: usize = 12 * 1024;

/// How many bytes an argument points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many.
    Fixed(usize),
    /// As many as the argument of this index says.
    Argument(usize),
    /// So many for each of what the argument of this index counts.
    Each(usize, usize),
}

/// What has to go along for an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The word itself.
    Value,
    /// The directory that paths are relative to: its descriptor, or `AT_FDCWD`.
    Directory,
    /// A descriptor of what the call is about.
    Object,
    /// A text, NUL-terminated.
    Text,
    /// Bytes to be read.
    In(Length),
    /// Room to be filled.
    Out(Length),
}

/// Calls about paths, users and signals, which are others' to decide than the caller's own memory.
const FORWARDED: &[u32] = &[
    nr::open,
    nr::stat,
    nr::lstat,
    nr::access,
    nr::kill,
    nr::truncate,
    nr::chdir,
    nr::rename,
    nr::mkdir,
    nr::rmdir,
    nr::creat,
    nr::link,
    nr::unlink,
    nr::symlink,
    nr::readlink,
    nr::chmod,
    nr::fchmod,
    nr::chown,
    nr::fchown,
    nr::lchown,
    nr::setuid,
    nr::setgid,
    nr::setreuid,
    nr::setregid,
    nr::setgroups,
    nr::setresuid,
    nr::setresgid,
    nr::setfsuid,
    nr::setfsgid,
    nr::capset,
    nr::rt_sigqueueinfo,
    nr::utime,
    nr::mknod,
    nr::statfs,
    nr::chroot,
    nr::setxattr,
    nr::lsetxattr,
    nr::fsetxattr,
    nr::getxattr,
    nr::lgetxattr,
    nr::fgetxattr,
    nr::listxattr,
    nr::llistxattr,
    nr::flistxattr,
    nr::removexattr,
    nr::lremovexattr,
    nr::fremovexattr,
    nr::tkill,
    nr::tgkill,
    nr::utimes,
    nr::inotify_add_watch,
    nr::openat,
    nr::mkdirat,
    nr::mknodat,
    nr::fchownat,
    nr::futimesat,
    nr::newfstatat,
    nr::unlinkat,
    nr::renameat,
    nr::linkat,
    nr::symlinkat,
    nr::readlinkat,
    nr::fchmodat,
    nr::faccessat,
    nr::utimensat,
    nr::rt_tgsigqueueinfo,
    nr::renameat2,
    nr::statx,
    nr::pidfd_send_signal,
    nr::openat2,
    nr::faccessat2,
    nr::fchmodat2,
    nr::umount2,
    nr::listxattrat,
    nr::removexattrat,
];

/// Whether a client has a call made for it.
#[must_use]
pub const fn is_forwarded(number: u32) -> bool {
    number < 512 && BITS[number as usize / 64] >> (number % 64) & 1 != 0
}

/// One bit for each number.
static BITS: [u64; 8] = {
    let mut bits = [0; 8];
    let mut i = 0;
    while i < FORWARDED.len() {
        bits[FORWARDED[i] as usize / 64] |= 1 << (FORWARDED[i] % 64);
        i += 1;
    }
    bits
};

/// What has to go along for an argument of such a call.
#[must_use]
pub fn role(row: &Row, index: usize) -> Role {
    /// `struct stat`, `struct statx`, `struct statfs`, `siginfo_t`, and what capset(2) reads.
    const STAT: usize = 144;
    const STATX: usize = 256;
    const STATFS: usize = 120;
    const SIGINFO: usize = 128;
    const CAPABILITIES: usize = 24;
    let Some(argument) = row.args.get(index) else {
        return Role::Value;
    };
    // Lengths stand behind what they are of.
    let behind = Length::Argument(index + 1);
    match argument.kind {
        Kind::DirFd => Role::Directory,
        Kind::Fd => Role::Object,
        Kind::Path | Kind::Text => Role::Text,
        Kind::Buf => Role::In(behind),
        Kind::PathOut | Kind::BufOut => Role::Out(behind),
        Kind::StatOut if row.nr == nr::statx => Role::Out(Length::Fixed(STATX)),
        Kind::StatOut => Role::Out(Length::Fixed(STAT)),
        Kind::StatfsOut => Role::Out(Length::Fixed(STATFS)),
        // `struct utimbuf`, else two `struct timeval` or `struct timespec`.
        Kind::TimeIn if row.nr == nr::utime => Role::In(Length::Fixed(16)),
        Kind::TimeIn => Role::In(Length::Fixed(32)),
        Kind::Siginfo => Role::In(Length::Fixed(SIGINFO)),
        Kind::Capabilities => Role::In(Length::Fixed(8)),
        Kind::Gids => Role::In(Length::Each(4, index - 1)),
        Kind::StructIn if row.nr == nr::capset => Role::In(Length::Fixed(CAPABILITIES)),
        Kind::StructIn => Role::In(behind),
        _ => Role::Value,
    }
}

impl Length {
    /// In bytes, by the call's arguments.
    #[must_use]
    pub fn of(self, arguments: &[u64; 6]) -> usize {
        let argument = |index: usize| {
            let word = arguments.get(index).copied().unwrap_or(0);
            usize::try_from(word).unwrap_or(usize::MAX)
        };
        match self {
            Self::Fixed(length) => length,
            Self::Argument(index) => argument(index),
            Self::Each(size, index) => argument(index).saturating_mul(size),
        }
    }
}

/// Which argument is the descriptor that a call is about, if any: of times that in the place of a directory,
/// where no path is given.
#[must_use]
pub fn object(row: &Row, arguments: &[u64; 6]) -> Option<usize> {
    let [directory, path, ..] = arguments;
    let may_lack_path = matches!(row.nr, nr::utimensat | nr::futimesat);
    // `AT_FDCWD` is no descriptor.
    if may_lack_path && *path == 0 && *directory <= 0x7fff_ffff {
        return Some(0);
    }
    (0..row.args.len()).find(|&index| role(row, index) == Role::Object)
}
