//! Names of constants, for the kinds that have them.

use crate::kind::Kind;
use crate::nr;
use core::fmt::{Result, Write};

/// Prints a word of a kind that has names; what has none is left as a number.
pub(super) fn write(kind: Kind, word: u64, out: &mut impl Write) -> Result {
    // All of these are `int` in the calls.
    let word = word & 0xffff_ffff;
    match kind {
        Kind::OpenFlags => {
            let mode = match word & 3 {
                0 => "O_RDONLY",
                1 => "O_WRONLY",
                2 => "O_RDWR",
                _ => "O_ACCMODE",
            };
            out.write_str(mode)?;
            flags(OPEN, word & !3, true, out)
        }
        Kind::AtFlags => zero_or_flags(AT, word, "0", out),
        Kind::AccessMode => zero_or_flags(ACCESS, word, "F_OK", out),
        Kind::Prot => zero_or_flags(PROT, word, "PROT_NONE", out),
        Kind::WaitOptions => zero_or_flags(WAIT, word, "0", out),
        Kind::SocketFlags => zero_or_flags(SOCKET_FLAGS, word, "0", out),
        Kind::MapFlags => {
            match word & 0xf {
                1 => out.write_str("MAP_SHARED")?,
                2 => out.write_str("MAP_PRIVATE")?,
                3 => out.write_str("MAP_SHARED_VALIDATE")?,
                other => write!(out, "{other:#x}")?,
            }
            flags(MAP, word & !0xf, true, out)
        }
        Kind::CloneFlags => {
            let (bits, signal) = (word & !0xff, word & 0xff);
            if bits != 0 {
                flags(CLONE, bits, false, out)?;
            }
            match (bits, signal) {
                (0, 0) => out.write_str("0"),
                (_, 0) => Ok(()),
                (bits, signal) => {
                    out.write_str(if bits == 0 { "" } else { "|" })?;
                    one(SIGNALS, signal, out)
                }
            }
        }
        Kind::SocketType => {
            const TYPE: u64 = 0xf;
            one(SOCKET_TYPES, word & TYPE, out)?;
            flags(SOCKET_FLAGS, word & !TYPE, true, out)
        }
        Kind::SocketDomain => one(DOMAINS, word, out),
        Kind::FcntlCommand => one(FCNTL, word, out),
        Kind::EpollOp => one(EPOLL, word, out),
        Kind::Clock => one(CLOCKS, word, out),
        Kind::SigHow => one(SIG_HOW, word, out),
        Kind::Resource => one(RESOURCES, word, out),
        Kind::StatxMask => zero_or_flags(STATX, word, "0", out),
        Kind::RenameFlags => zero_or_flags(RENAME, word, "0", out),
        Kind::XattrFlags => zero_or_flags(XATTR, word, "0", out),
        Kind::PriorityOf => one(PRIORITY_OF, word, out),
        Kind::Signal if (32..65).contains(&word) => match word - 32 {
            0 => out.write_str("SIGRTMIN"),
            above => write!(out, "SIGRT_{above}"),
        },
        Kind::Signal if word == 0 => out.write_str("0"),
        Kind::Signal => one(SIGNALS, word, out),
        _ => write!(out, "{word:#x}"),
    }
}

/// A signal as it stands in a set: without `SIG`.
pub(super) fn signal(number: u64, out: &mut impl Write) -> Result {
    match number {
        32 => out.write_str("RTMIN"),
        33.. => write!(out, "RT_{}", number - 32),
        _ => {
            let known = SIGNALS.iter().find(|(value, _)| *value == number);
            let name = known.and_then(|(_, name)| name.strip_prefix("SIG"));
            match name {
                Some(name) => out.write_str(name),
                None => write!(out, "{number}"),
            }
        }
    }
}

/// `AT_*` of the calls that have some of their own.
pub(super) fn at_flags(nr: u32, word: u64, out: &mut impl Write) -> Result {
    const AT_EACCESS: u64 = 0x200;
    const AT_STATX_SYNC_TYPE: u64 = 0x6000;
    let word = word & 0xffff_ffff;
    match nr {
        nr::statx => {
            out.write_str(match word & AT_STATX_SYNC_TYPE {
                0 => "AT_STATX_SYNC_AS_STAT",
                0x2000 => "AT_STATX_FORCE_SYNC",
                0x4000 => "AT_STATX_DONT_SYNC",
                _ => "AT_STATX_FORCE_SYNC|AT_STATX_DONT_SYNC",
            })?;
            flags(AT, word & !AT_STATX_SYNC_TYPE, true, out)
        }
        nr::faccessat2 if word & AT_EACCESS != 0 => {
            flags(AT, word & 0x100, false, out)?;
            out.write_str(if word & 0x100 == 0 { "" } else { "|" })?;
            out.write_str("AT_EACCESS")?;
            flags(AT, word & !(AT_EACCESS | 0x100), true, out)
        }
        _ => write(Kind::AtFlags, word, out),
    }
}

/// `O_*` of calls that open no file: there is no access mode.
pub(super) fn descriptor_flags(word: u64, out: &mut impl Write) -> Result {
    zero_or_flags(OPEN, word & 0xffff_ffff, "0", out)
}

/// Flags of `struct sigaction`.
pub(super) fn sigaction_flags(word: u64, out: &mut impl Write) -> Result {
    zero_or_flags(SIGACTION, word, "0", out)
}

fn one(table: &[(u64, &str)], word: u64, out: &mut impl Write) -> Result {
    match table.iter().find(|(value, _)| *value == word) {
        Some((_, name)) => out.write_str(name),
        None => write!(out, "{word:#x}"),
    }
}

fn zero_or_flags(table: &[(u64, &str)], word: u64, zero: &str, out: &mut impl Write) -> Result {
    if word == 0 {
        out.write_str(zero)
    } else {
        flags(table, word, false, out)
    }
}

/// Names joined by `|`; `follows` if something stands before them.
fn flags(table: &[(u64, &str)], mut word: u64, mut follows: bool, out: &mut impl Write) -> Result {
    for (value, name) in table {
        if *value != 0 && word & value == *value {
            write!(out, "{}{name}", if follows { "|" } else { "" })?;
            follows = true;
            word &= !value;
        }
    }
    if word != 0 {
        write!(out, "{}{word:#x}", if follows { "|" } else { "" })?;
    }
    Ok(())
}

/// open(2), without the access mode, in the order of strace; a value of several bits stands before its parts.
const OPEN: &[(u64, &str)] = &[
    (0x40, "O_CREAT"),
    (0x80, "O_EXCL"),
    (0x100, "O_NOCTTY"),
    (0x200, "O_TRUNC"),
    (0x400, "O_APPEND"),
    (0x800, "O_NONBLOCK"),
    (0x101000, "O_SYNC"),
    (0x1000, "O_DSYNC"),
    (0x4000, "O_DIRECT"),
    (0x8000, "O_LARGEFILE"),
    (0x20000, "O_NOFOLLOW"),
    (0x40000, "O_NOATIME"),
    (0x80000, "O_CLOEXEC"),
    (0x200000, "O_PATH"),
    (0x410000, "O_TMPFILE"),
    (0x10000, "O_DIRECTORY"),
    (0x2000, "O_ASYNC"),
];
/// `AT_*` flags of paths.
const AT: &[(u64, &str)] = &[
    (0x100, "AT_SYMLINK_NOFOLLOW"),
    (0x200, "AT_REMOVEDIR"),
    (0x400, "AT_SYMLINK_FOLLOW"),
    (0x800, "AT_NO_AUTOMOUNT"),
    (0x1000, "AT_EMPTY_PATH"),
    (0x2000, "AT_STATX_FORCE_SYNC"),
    (0x4000, "AT_STATX_DONT_SYNC"),
    (0x8000, "AT_RECURSIVE"),
];
/// mmap(2).
const PROT: &[(u64, &str)] = &[
    (0x1, "PROT_READ"),
    (0x2, "PROT_WRITE"),
    (0x4, "PROT_EXEC"),
    (0x8, "PROT_SEM"),
    (0x1000000, "PROT_GROWSDOWN"),
    (0x2000000, "PROT_GROWSUP"),
];
/// mmap(2), without the type.
const MAP: &[(u64, &str)] = &[
    (0x10, "MAP_FIXED"),
    (0x20, "MAP_ANONYMOUS"),
    (0x40, "MAP_32BIT"),
    (0x4000, "MAP_NORESERVE"),
    (0x8000, "MAP_POPULATE"),
    (0x10000, "MAP_NONBLOCK"),
    (0x100, "MAP_GROWSDOWN"),
    (0x800, "MAP_DENYWRITE"),
    (0x1000, "MAP_EXECUTABLE"),
    (0x2000, "MAP_LOCKED"),
    (0x20000, "MAP_STACK"),
    (0x40000, "MAP_HUGETLB"),
    (0x80000, "MAP_SYNC"),
    (0x100000, "MAP_FIXED_NOREPLACE"),
];
/// clone(2).
const CLONE: &[(u64, &str)] = &[
    (0x100, "CLONE_VM"),
    (0x200, "CLONE_FS"),
    (0x400, "CLONE_FILES"),
    (0x800, "CLONE_SIGHAND"),
    (0x1000, "CLONE_PIDFD"),
    (0x2000, "CLONE_PTRACE"),
    (0x4000, "CLONE_VFORK"),
    (0x8000, "CLONE_PARENT"),
    (0x10000, "CLONE_THREAD"),
    (0x20000, "CLONE_NEWNS"),
    (0x40000, "CLONE_SYSVSEM"),
    (0x80000, "CLONE_SETTLS"),
    (0x100000, "CLONE_PARENT_SETTID"),
    (0x200000, "CLONE_CHILD_CLEARTID"),
    (0x400000, "CLONE_DETACHED"),
    (0x800000, "CLONE_UNTRACED"),
    (0x1000000, "CLONE_CHILD_SETTID"),
    (0x2000000, "CLONE_NEWCGROUP"),
    (0x4000000, "CLONE_NEWUTS"),
    (0x8000000, "CLONE_NEWIPC"),
    (0x10000000, "CLONE_NEWUSER"),
    (0x20000000, "CLONE_NEWPID"),
    (0x40000000, "CLONE_NEWNET"),
    (0x80000000, "CLONE_IO"),
];
/// wait4(2).
const WAIT: &[(u64, &str)] = &[
    (0x1, "WNOHANG"),
    (0x4, "WEXITED"),
    (0x2, "WSTOPPED"),
    (0x8, "WCONTINUED"),
    (0x1000000, "WNOWAIT"),
    (0x80000000, "__WCLONE"),
    (0x40000000, "__WALL"),
    (0x20000000, "__WNOTHREAD"),
];
/// access(2).
const ACCESS: &[(u64, &str)] = &[(0x4, "R_OK"), (0x2, "W_OK"), (0x1, "X_OK")];
/// socket(2), beside the type.
const SOCKET_FLAGS: &[(u64, &str)] = &[(0x80000, "SOCK_CLOEXEC"), (0x800, "SOCK_NONBLOCK")];
/// socket(2).
const SOCKET_TYPES: &[(u64, &str)] = &[
    (0x1, "SOCK_STREAM"),
    (0x2, "SOCK_DGRAM"),
    (0x3, "SOCK_RAW"),
    (0x4, "SOCK_RDM"),
    (0x5, "SOCK_SEQPACKET"),
    (0x6, "SOCK_DCCP"),
    (0xa, "SOCK_PACKET"),
];
/// socket(2).
const DOMAINS: &[(u64, &str)] = &[
    (0, "AF_UNSPEC"),
    (0x1, "AF_UNIX"),
    (0x2, "AF_INET"),
    (0x3, "AF_AX25"),
    (0x4, "AF_IPX"),
    (0x5, "AF_APPLETALK"),
    (0xa, "AF_INET6"),
    (0x10, "AF_NETLINK"),
    (0x11, "AF_PACKET"),
    (0x1f, "AF_BLUETOOTH"),
    (0x26, "AF_ALG"),
    (0x28, "AF_VSOCK"),
    (0x2c, "AF_XDP"),
];
/// fcntl(2).
const FCNTL: &[(u64, &str)] = &[
    (0, "F_DUPFD"),
    (0x1, "F_GETFD"),
    (0x2, "F_SETFD"),
    (0x3, "F_GETFL"),
    (0x4, "F_SETFL"),
    (0x5, "F_GETLK"),
    (0x6, "F_SETLK"),
    (0x7, "F_SETLKW"),
    (0x8, "F_SETOWN"),
    (0x9, "F_GETOWN"),
    (0xa, "F_SETSIG"),
    (0xb, "F_GETSIG"),
    (0xf, "F_SETOWN_EX"),
    (0x10, "F_GETOWN_EX"),
    (0x24, "F_OFD_GETLK"),
    (0x25, "F_OFD_SETLK"),
    (0x26, "F_OFD_SETLKW"),
    (0x400, "F_SETLEASE"),
    (0x401, "F_GETLEASE"),
    (0x402, "F_NOTIFY"),
    (0x406, "F_DUPFD_CLOEXEC"),
    (0x407, "F_SETPIPE_SZ"),
    (0x408, "F_GETPIPE_SZ"),
    (0x409, "F_ADD_SEALS"),
    (0x40a, "F_GET_SEALS"),
];
/// epoll_ctl(2).
const EPOLL: &[(u64, &str)] = &[
    (0x1, "EPOLL_CTL_ADD"),
    (0x2, "EPOLL_CTL_DEL"),
    (0x3, "EPOLL_CTL_MOD"),
];
/// clock_gettime(2).
const CLOCKS: &[(u64, &str)] = &[
    (0, "CLOCK_REALTIME"),
    (0x1, "CLOCK_MONOTONIC"),
    (0x2, "CLOCK_PROCESS_CPUTIME_ID"),
    (0x3, "CLOCK_THREAD_CPUTIME_ID"),
    (0x4, "CLOCK_MONOTONIC_RAW"),
    (0x5, "CLOCK_REALTIME_COARSE"),
    (0x6, "CLOCK_MONOTONIC_COARSE"),
    (0x7, "CLOCK_BOOTTIME"),
    (0x8, "CLOCK_REALTIME_ALARM"),
    (0x9, "CLOCK_BOOTTIME_ALARM"),
    (0xb, "CLOCK_TAI"),
];
/// signal(7).
const SIGNALS: &[(u64, &str)] = &[
    (0x1, "SIGHUP"),
    (0x2, "SIGINT"),
    (0x3, "SIGQUIT"),
    (0x4, "SIGILL"),
    (0x5, "SIGTRAP"),
    (0x6, "SIGABRT"),
    (0x7, "SIGBUS"),
    (0x8, "SIGFPE"),
    (0x9, "SIGKILL"),
    (0xa, "SIGUSR1"),
    (0xb, "SIGSEGV"),
    (0xc, "SIGUSR2"),
    (0xd, "SIGPIPE"),
    (0xe, "SIGALRM"),
    (0xf, "SIGTERM"),
    (0x10, "SIGSTKFLT"),
    (0x11, "SIGCHLD"),
    (0x12, "SIGCONT"),
    (0x13, "SIGSTOP"),
    (0x14, "SIGTSTP"),
    (0x15, "SIGTTIN"),
    (0x16, "SIGTTOU"),
    (0x17, "SIGURG"),
    (0x18, "SIGXCPU"),
    (0x19, "SIGXFSZ"),
    (0x1a, "SIGVTALRM"),
    (0x1b, "SIGPROF"),
    (0x1c, "SIGWINCH"),
    (0x1d, "SIGIO"),
    (0x1e, "SIGPWR"),
    (0x1f, "SIGSYS"),
];

const SIG_HOW: &[(u64, &str)] = &[(0, "SIG_BLOCK"), (1, "SIG_UNBLOCK"), (2, "SIG_SETMASK")];

/// sigaction(2), in the order of strace.
const SIGACTION: &[(u64, &str)] = &[
    (0x400_0000, "SA_RESTORER"),
    (0x800_0000, "SA_ONSTACK"),
    (0x1000_0000, "SA_RESTART"),
    (0x4000_0000, "SA_NODEFER"),
    (0x8000_0000, "SA_RESETHAND"),
    (0x4, "SA_SIGINFO"),
    (0x1, "SA_NOCLDSTOP"),
    (0x2, "SA_NOCLDWAIT"),
];

/// getrlimit(2)
const RESOURCES: &[(u64, &str)] = &[
    (0, "RLIMIT_CPU"),
    (1, "RLIMIT_FSIZE"),
    (2, "RLIMIT_DATA"),
    (3, "RLIMIT_STACK"),
    (4, "RLIMIT_CORE"),
    (5, "RLIMIT_RSS"),
    (6, "RLIMIT_NPROC"),
    (7, "RLIMIT_NOFILE"),
    (8, "RLIMIT_MEMLOCK"),
    (9, "RLIMIT_AS"),
    (10, "RLIMIT_LOCKS"),
    (11, "RLIMIT_SIGPENDING"),
    (12, "RLIMIT_MSGQUEUE"),
    (13, "RLIMIT_NICE"),
    (14, "RLIMIT_RTPRIO"),
    (15, "RLIMIT_RTTIME"),
];

/// statx(2); what is of several bits stands before its parts.
const STATX: &[(u64, &str)] = &[
    (0xfff, "STATX_ALL"),
    (0x7ff, "STATX_BASIC_STATS"),
    (0x1, "STATX_TYPE"),
    (0x2, "STATX_MODE"),
    (0x4, "STATX_NLINK"),
    (0x8, "STATX_UID"),
    (0x10, "STATX_GID"),
    (0x20, "STATX_ATIME"),
    (0x40, "STATX_MTIME"),
    (0x80, "STATX_CTIME"),
    (0x100, "STATX_INO"),
    (0x200, "STATX_SIZE"),
    (0x400, "STATX_BLOCKS"),
    (0x800, "STATX_BTIME"),
    (0x1000, "STATX_MNT_ID"),
    (0x2000, "STATX_DIOALIGN"),
];

/// renameat2(2)
const RENAME: &[(u64, &str)] = &[
    (1, "RENAME_NOREPLACE"),
    (2, "RENAME_EXCHANGE"),
    (4, "RENAME_WHITEOUT"),
];

/// setxattr(2)
const XATTR: &[(u64, &str)] = &[(1, "XATTR_CREATE"), (2, "XATTR_REPLACE")];

/// getpriority(2)
const PRIORITY_OF: &[(u64, &str)] = &[(0, "PRIO_PROCESS"), (1, "PRIO_PGRP"), (2, "PRIO_USER")];

/// Names of a word's values, or of its bits.
#[derive(Clone, Copy)]
pub(super) struct Names {
    table: &'static [(u64, &'static str)],
    are_flags: bool,
    /// What of the word is meant.
    mask: u64,
}

impl Names {
    pub(super) const fn one(table: &'static [(u64, &'static str)]) -> Self {
        Self {
            table,
            are_flags: false,
            mask: 0xffff_ffff,
        }
    }

    pub(super) const fn flags(table: &'static [(u64, &'static str)]) -> Self {
        Self {
            table,
            are_flags: true,
            mask: 0xffff_ffff,
        }
    }

    /// The same where a field is 16 bits.
    pub(super) const fn short(self) -> Self {
        Self {
            mask: 0xffff,
            ..self
        }
    }

    /// Flags in front of something else; nothing where there are none.
    pub(super) fn before(self, word: u64, out: &mut impl Write) -> Result {
        match word & self.mask {
            0 => Ok(()),
            word => {
                self.write(word, out)?;
                out.write_str("|")
            }
        }
    }

    pub(super) fn write(self, word: u64, out: &mut impl Write) -> Result {
        let word = word & self.mask;
        if self.are_flags {
            zero_or_flags(self.table, word, "0", out)
        } else {
            one(self.table, word, out)
        }
    }
}

/// `struct flock`
pub(super) const LOCK_TYPE: Names =
    Names::one(&[(0, "F_RDLCK"), (1, "F_WRLCK"), (2, "F_UNLCK")]).short();
/// Of `l_whence`.
pub(super) const WHENCE_SHORT: Names =
    Names::one(&[(0, "SEEK_SET"), (1, "SEEK_CUR"), (2, "SEEK_END")]).short();
/// `struct f_owner_ex`
pub(super) const OWNER_TYPE: Names =
    Names::one(&[(0, "F_OWNER_TID"), (1, "F_OWNER_PID"), (2, "F_OWNER_PGRP")]);
/// sigaltstack(2)
pub(super) const SIGNAL_STACK: Names = Names::flags(&[
    (1, "SS_ONSTACK"),
    (2, "SS_DISABLE"),
    (0x8000_0000, "SS_AUTODISARM"),
]);
/// openat2(2)
pub(super) const RESOLVE: Names = Names::flags(&[
    (1, "RESOLVE_NO_XDEV"),
    (2, "RESOLVE_NO_MAGICLINKS"),
    (4, "RESOLVE_NO_SYMLINKS"),
    (8, "RESOLVE_BENEATH"),
    (16, "RESOLVE_IN_ROOT"),
    (32, "RESOLVE_CACHED"),
]);
/// sched(7)
pub(super) const POLICY: Names = Names::one(&[
    (0, "SCHED_OTHER"),
    (1, "SCHED_FIFO"),
    (2, "SCHED_RR"),
    (3, "SCHED_BATCH"),
    (5, "SCHED_IDLE"),
    (6, "SCHED_DEADLINE"),
    (0x4000_0000, "SCHED_OTHER|SCHED_RESET_ON_FORK"),
]);
/// `si_code` of SIGCHLD.
pub(super) const CHILD_CODE: Names = Names::one(&[
    (1, "CLD_EXITED"),
    (2, "CLD_KILLED"),
    (3, "CLD_DUMPED"),
    (4, "CLD_TRAPPED"),
    (5, "CLD_STOPPED"),
    (6, "CLD_CONTINUED"),
]);
/// `si_code` of what was sent.
pub(super) const SIGNAL_CODE: Names = Names::one(&[
    (0, "SI_USER"),
    (0x80, "SI_KERNEL"),
    (0xffff_ffff, "SI_QUEUE"),
    (0xffff_fffe, "SI_TIMER"),
    (0xffff_fffd, "SI_MESGQ"),
    (0xffff_fffc, "SI_ASYNCIO"),
    (0xffff_fffb, "SI_SIGIO"),
    (0xffff_fffa, "SI_TKILL"),
]);
/// poll(2)
pub(super) const POLL_EVENTS: Names = Names::flags(&[
    (0x1, "POLLIN"),
    (0x2, "POLLPRI"),
    (0x4, "POLLOUT"),
    (0x40, "POLLRDNORM"),
    (0x100, "POLLWRNORM"),
    (0x80, "POLLRDBAND"),
    (0x200, "POLLWRBAND"),
    (0x8, "POLLERR"),
    (0x10, "POLLHUP"),
    (0x20, "POLLNVAL"),
    (0x2000, "POLLRDHUP"),
])
.short();
/// epoll_ctl(2)
pub(super) const EPOLL_EVENTS: Names = Names::flags(&[
    (0x1, "EPOLLIN"),
    (0x2, "EPOLLPRI"),
    (0x4, "EPOLLOUT"),
    (0x40, "EPOLLRDNORM"),
    (0x80, "EPOLLRDBAND"),
    (0x100, "EPOLLWRNORM"),
    (0x200, "EPOLLWRBAND"),
    (0x400, "EPOLLMSG"),
    (0x8, "EPOLLERR"),
    (0x10, "EPOLLHUP"),
    (0x2000, "EPOLLRDHUP"),
    (0x1000_0000, "EPOLLEXCLUSIVE"),
    (0x2000_0000, "EPOLLWAKEUP"),
    (0x4000_0000, "EPOLLONESHOT"),
    (0x8000_0000, "EPOLLET"),
]);
/// statfs(2)
pub(super) const FILE_SYSTEM: Names = Names::one(&[
    (0xef53, "EXT2_SUPER_MAGIC"),
    (0x0102_1994, "TMPFS_MAGIC"),
    (0x9fa0, "PROC_SUPER_MAGIC"),
    (0x5846_5342, "XFS_SB_MAGIC"),
    (0x9123_683e, "BTRFS_SUPER_MAGIC"),
    (0x794c_7630, "OVERLAYFS_SUPER_MAGIC"),
    (0x6265_6572, "SYSFS_MAGIC"),
    (0x1cd1, "DEVPTS_SUPER_MAGIC"),
    (0x6969, "NFS_SUPER_MAGIC"),
]);
/// `f_flags` of statfs(2).
pub(super) const MOUNT_STATE: Names = Names::flags(&[
    (0x20, "ST_VALID"),
    (0x1, "ST_RDONLY"),
    (0x2, "ST_NOSUID"),
    (0x4, "ST_NODEV"),
    (0x8, "ST_NOEXEC"),
    (0x10, "ST_SYNCHRONOUS"),
    (0x40, "ST_MANDLOCK"),
    (0x400, "ST_NOATIME"),
    (0x800, "ST_NODIRATIME"),
    (0x1000, "ST_RELATIME"),
]);
/// `F_SETFD`
pub(super) const FD_FLAGS: Names = Names::flags(&[(1, "FD_CLOEXEC")]);
/// `F_ADD_SEALS`
pub(super) const SEALS: Names = Names::flags(&[
    (1, "F_SEAL_SEAL"),
    (2, "F_SEAL_SHRINK"),
    (4, "F_SEAL_GROW"),
    (8, "F_SEAL_WRITE"),
    (16, "F_SEAL_FUTURE_WRITE"),
]);
/// Control messages of `SOL_SOCKET`.
pub(super) const CONTROL: Names = Names::one(&[
    (1, "SCM_RIGHTS"),
    (2, "SCM_CREDENTIALS"),
    (29, "SO_TIMESTAMP_OLD"),
]);
