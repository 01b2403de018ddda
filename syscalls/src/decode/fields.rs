//! Structures that are shown field by field, in the words of strace(1).

use super::{constants, names, structures};
use crate::kind::Kind;
use core::fmt::{Result, Write};
use structures::Bytes;

/// A structure.
pub(super) struct Layout {
    /// Bytes that are looked at.
    pub(super) size: usize,
    fields: &'static [Field],
    /// What stands behind the last field.
    end: &'static str,
}

/// A field: its name, where it lies, and what it is.
struct Field(&'static str, usize, As);

/// What a field is.
#[derive(Clone, Copy)]
enum As {
    /// 64 bits with a sign.
    Int,
    /// 32 bits with a sign.
    Half,
    /// 64 bits.
    Size,
    /// 32 bits.
    Count,
    /// 16 bits with a sign.
    Quarter,
    /// 64 bits, hexadecimal.
    Hex,
    /// An address.
    Address,
    /// Seconds and nanoseconds.
    Timespec,
    /// Seconds and microseconds.
    Timeval,
    /// 32 bits with names.
    Named(constants::Names),
    /// A signal, 32 bits.
    Signal,
    /// Three words.
    Loads,
    /// Two halves.
    FileSystem,
    /// 64 bits of a kind.
    Kind(Kind),
    /// 64 bits of a kind, and nothing where they are 0.
    KindIfAny(Kind),
    /// An address, and nothing where it is 0.
    AddressIfAny,
    /// 16 bits with names.
    NamedShort(constants::Names),
    /// 16 bits.
    Short,
    /// Mode bits, 32 bits.
    Mode,
    /// `struct ipc64_perm`
    Permissions,
    /// A name of so many bytes at most.
    Name(usize),
    /// `struct sockaddr_in`
    Address4,
    /// `union sigval`, and nothing where it is 0
    SignalValue,
}

impl Layout {
    pub(super) fn print(&self, bytes: &Bytes<'_>, out: &mut impl Write) -> Result {
        let mut before = "{";
        for Field(name, at, field) in self.fields {
            if field.is_left_out(bytes.word(*at)) {
                continue;
            }
            write!(out, "{before}{name}=")?;
            field.print(bytes, *at, out)?;
            before = ", ";
        }
        out.write_str(self.end)
    }
}

impl As {
    fn is_left_out(self, word: u64) -> bool {
        let is_if_any = matches!(
            self,
            Self::KindIfAny(_) | Self::AddressIfAny | Self::SignalValue
        );
        word == 0 && is_if_any
    }

    fn print(self, bytes: &Bytes<'_>, at: usize, out: &mut impl Write) -> Result {
        let (word, half) = (bytes.word(at), bytes.half(at));
        match self {
            Self::Int => write!(out, "{}", word.cast_signed()),
            Self::Half => write!(out, "{}", half.cast_signed()),
            Self::Size => write!(out, "{word}"),
            Self::Count => write!(out, "{half}"),
            Self::Quarter => write!(out, "{}", bytes.quarter(at).cast_signed()),
            Self::Hex if word == 0 => out.write_str("0"),
            Self::Address | Self::AddressIfAny if word == 0 => out.write_str("NULL"),
            Self::Hex | Self::Address | Self::AddressIfAny => {
                write!(out, "{word:#x}")
            }
            Self::Timespec => TIMESPEC.print(&bytes.from(at), out),
            Self::Timeval => TIMEVAL.print(&bytes.from(at), out),
            Self::Named(names) => names.write(half.into(), out),
            Self::Signal => constants::write(Kind::Signal, half.into(), out),
            Self::Loads => {
                let loads = [at, at + 8, at + 16].map(|at| bytes.word(at));
                write!(out, "[{}, {}, {}]", loads[0], loads[1], loads[2])
            }
            Self::FileSystem => {
                let [a, b] = [half, bytes.half(at + 4)];
                write!(out, "{{val=[{a:#x}, {b:#x}]}}")
            }
            Self::NamedShort(names) => names.write(bytes.quarter(at).into(), out),
            Self::Mode => structures::octal(half.into(), out),
            Self::Short => write!(out, "{}", bytes.quarter(at)),
            Self::Permissions => PERMISSIONS.print(&bytes.from(at), out),
            Self::Name(most) => {
                let name = bytes.0.get(at..at + most).unwrap_or(&[]);
                let name = name.split(|byte| *byte == 0).next().unwrap_or(name);
                super::text::own(name, out)
            }
            Self::Address4 => {
                let address = bytes.0.get(at..at + 16).unwrap_or(&[]);
                super::sockaddr::write(address, out)
            }
            Self::SignalValue => {
                let number = half.cast_signed();
                write!(out, "{{sival_int={number}, sival_ptr=")?;
                Self::Address.print(bytes, at, out)?;
                out.write_str("}")
            }
            Self::Kind(Kind::Mode) | Self::KindIfAny(Kind::Mode) => structures::octal(word, out),
            Self::Kind(kind) | Self::KindIfAny(kind) => constants::write(kind, word, out),
        }
    }
}

/// `struct timespec`
pub(super) const TIMESPEC: Layout = Layout {
    size: 16,
    fields: &[Field("tv_sec", 0, As::Int), Field("tv_nsec", 8, As::Int)],
    end: "}",
};
/// `struct timeval`
pub(super) const TIMEVAL: Layout = Layout {
    size: 16,
    fields: &[Field("tv_sec", 0, As::Int), Field("tv_usec", 8, As::Int)],
    end: "}",
};
/// `struct itimerspec`
pub(super) const ITIMERSPEC: Layout = Layout {
    size: 32,
    fields: &[
        Field("it_interval", 0, As::Timespec),
        Field("it_value", 16, As::Timespec),
    ],
    end: "}",
};
/// `struct itimerval`
pub(super) const ITIMERVAL: Layout = Layout {
    size: 32,
    fields: &[
        Field("it_interval", 0, As::Timeval),
        Field("it_value", 16, As::Timeval),
    ],
    end: "}",
};
/// `struct utimbuf`
pub(super) const UTIMBUF: Layout = Layout {
    size: 16,
    fields: &[Field("actime", 0, As::Int), Field("modtime", 8, As::Int)],
    end: "}",
};
/// `struct rusage`
pub(super) const RUSAGE: Layout = Layout {
    size: 32,
    fields: &[
        Field("ru_utime", 0, As::Timeval),
        Field("ru_stime", 16, As::Timeval),
    ],
    end: ", ...}",
};
/// `struct tms`
pub(super) const TMS: Layout = Layout {
    size: 32,
    fields: &[
        Field("tms_utime", 0, As::Int),
        Field("tms_stime", 8, As::Int),
        Field("tms_cutime", 16, As::Int),
        Field("tms_cstime", 24, As::Int),
    ],
    end: "}",
};
/// `struct sysinfo`
pub(super) const SYSINFO: Layout = Layout {
    size: 112,
    fields: &[
        Field("uptime", 0, As::Int),
        Field("loads", 8, As::Loads),
        Field("totalram", 32, As::Size),
        Field("freeram", 40, As::Size),
        Field("sharedram", 48, As::Size),
        Field("bufferram", 56, As::Size),
        Field("totalswap", 64, As::Size),
        Field("freeswap", 72, As::Size),
        Field("procs", 80, As::Quarter),
        Field("totalhigh", 88, As::Size),
        Field("freehigh", 96, As::Size),
        Field("mem_unit", 104, As::Count),
    ],
    end: "}",
};
/// `stack_t`
pub(super) const STACK: Layout = Layout {
    size: 24,
    fields: &[
        Field("ss_sp", 0, As::Address),
        Field("ss_flags", 8, As::Named(constants::SIGNAL_STACK)),
        Field("ss_size", 16, As::Size),
    ],
    end: "}",
};
/// `struct flock`
pub(super) const FLOCK: Layout = Layout {
    size: 32,
    fields: &[
        Field("l_type", 0, As::Named(constants::LOCK_TYPE)),
        Field("l_whence", 2, As::Named(constants::WHENCE_SHORT)),
        Field("l_start", 8, As::Int),
        Field("l_len", 16, As::Int),
    ],
    end: "}",
};
/// The same where the kernel says who holds it.
pub(super) const FLOCK_OUT: Layout = Layout {
    size: 32,
    fields: &[
        Field("l_type", 0, As::Named(constants::LOCK_TYPE)),
        Field("l_whence", 2, As::Named(constants::WHENCE_SHORT)),
        Field("l_start", 8, As::Int),
        Field("l_len", 16, As::Int),
        Field("l_pid", 24, As::Half),
    ],
    end: "}",
};
/// `struct f_owner_ex`
pub(super) const OWNER: Layout = Layout {
    size: 8,
    fields: &[
        Field("type", 0, As::Named(constants::OWNER_TYPE)),
        Field("pid", 4, As::Half),
    ],
    end: "}",
};
/// `struct open_how`
pub(super) const HOW: Layout = Layout {
    size: 24,
    fields: &[
        Field("flags", 0, As::Kind(Kind::OpenFlags)),
        Field("mode", 8, As::KindIfAny(Kind::Mode)),
        Field("resolve", 16, As::Named(constants::RESOLVE)),
    ],
    end: "}",
};
/// `struct clone_args`
pub(super) const CLONE_ARGS: Layout = Layout {
    size: 64,
    fields: &[
        Field("flags", 0, As::Kind(Kind::CloneFlags)),
        Field("pidfd", 8, As::AddressIfAny),
        Field("child_tid", 16, As::AddressIfAny),
        Field("parent_tid", 24, As::AddressIfAny),
        Field("exit_signal", 32, As::Signal),
        Field("stack", 40, As::Address),
        Field("stack_size", 48, As::Hex),
        Field("tls", 56, As::AddressIfAny),
    ],
    end: "}",
};
/// `struct sched_attr`
pub(super) const SCHED_ATTR: Layout = Layout {
    size: 48,
    fields: &[
        Field("size", 0, As::Count),
        Field("sched_policy", 4, As::Named(constants::POLICY)),
        Field("sched_flags", 8, As::Hex),
        Field("sched_nice", 16, As::Half),
        Field("sched_priority", 20, As::Count),
        Field("sched_runtime", 24, As::Size),
        Field("sched_deadline", 32, As::Size),
        Field("sched_period", 40, As::Size),
    ],
    end: "}",
};
/// `siginfo_t` of a child's change.
pub(super) const SIGINFO_CHILD: Layout = Layout {
    size: 48,
    fields: &[
        Field("si_signo", 0, As::Signal),
        Field("si_code", 8, As::Named(constants::CHILD_CODE)),
        Field("si_pid", 16, As::Half),
        Field("si_uid", 20, As::Count),
        Field("si_status", 24, As::Half),
        Field("si_utime", 32, As::Int),
        Field("si_stime", 40, As::Int),
    ],
    end: "}",
};
/// The same of one that a signal has ended or stopped.
pub(super) const SIGINFO_CHILD_SIGNAL: Layout = Layout {
    size: 48,
    fields: &[
        Field("si_signo", 0, As::Signal),
        Field("si_code", 8, As::Named(constants::CHILD_CODE)),
        Field("si_pid", 16, As::Half),
        Field("si_uid", 20, As::Count),
        Field("si_status", 24, As::Signal),
        Field("si_utime", 32, As::Int),
        Field("si_stime", 40, As::Int),
    ],
    end: "}",
};
/// `siginfo_t` of what a process has sent.
pub(super) const SIGINFO_SENT: Layout = Layout {
    size: 48,
    fields: &[
        Field("si_signo", 0, As::Signal),
        Field("si_code", 8, As::Named(constants::SIGNAL_CODE)),
        Field("si_pid", 16, As::Half),
        Field("si_uid", 20, As::Count),
    ],
    end: "}",
};
/// `siginfo_t` of what a process has sent with a word.
pub(super) const SIGINFO_QUEUED: Layout = Layout {
    size: 48,
    fields: &[
        Field("si_signo", 0, As::Signal),
        Field("si_code", 8, As::Named(constants::SIGNAL_CODE)),
        Field("si_pid", 16, As::Half),
        Field("si_uid", 20, As::Count),
        Field("si_int", 24, As::Half),
        Field("si_ptr", 24, As::Address),
    ],
    end: "}",
};
/// `struct epoll_event`
pub(super) const EPOLL_EVENT: Layout = Layout {
    size: 12,
    fields: &[Field("events", 0, As::Named(constants::EPOLL_EVENTS))],
    end: "",
};
/// `struct statfs`
pub(super) const STATFS: Layout = Layout {
    size: 88,
    fields: &[
        Field("f_type", 0, As::Named(constants::FILE_SYSTEM)),
        Field("f_bsize", 8, As::Size),
        Field("f_blocks", 16, As::Size),
        Field("f_bfree", 24, As::Size),
        Field("f_bavail", 32, As::Size),
        Field("f_files", 40, As::Size),
        Field("f_ffree", 48, As::Size),
        Field("f_fsid", 56, As::FileSystem),
        Field("f_namelen", 64, As::Size),
        Field("f_frsize", 72, As::Size),
        Field("f_flags", 80, As::Named(constants::MOUNT_STATE)),
    ],
    end: "}",
};
/// `struct ipc64_perm`
pub(super) const PERMISSIONS: Layout = Layout {
    size: 48,
    fields: &[
        Field("uid", 4, As::Count),
        Field("gid", 8, As::Count),
        Field("mode", 20, As::Mode),
        Field("key", 0, As::Half),
        Field("cuid", 12, As::Count),
        Field("cgid", 16, As::Count),
    ],
    end: "}",
};
/// `struct semid64_ds`
pub(super) const SEMID: Layout = Layout {
    size: 104,
    fields: &[
        Field("sem_perm", 0, As::Permissions),
        Field("sem_otime", 48, As::Size),
        Field("sem_ctime", 64, As::Size),
        Field("sem_nsems", 80, As::Size),
    ],
    end: "}",
};
/// `struct msqid64_ds`
pub(super) const MSQID: Layout = Layout {
    size: 120,
    fields: &[
        Field("msg_perm", 0, As::Permissions),
        Field("msg_stime", 48, As::Size),
        Field("msg_rtime", 56, As::Size),
        Field("msg_ctime", 64, As::Size),
        Field("msg_qnum", 80, As::Size),
        Field("msg_qbytes", 88, As::Size),
        Field("msg_lspid", 96, As::Half),
        Field("msg_lrpid", 100, As::Half),
    ],
    end: "}",
};
/// `struct shmid64_ds`
pub(super) const SHMID: Layout = Layout {
    size: 112,
    fields: &[
        Field("shm_perm", 0, As::Permissions),
        Field("shm_segsz", 48, As::Size),
        Field("shm_cpid", 80, As::Half),
        Field("shm_lpid", 84, As::Half),
        Field("shm_nattch", 88, As::Size),
        Field("shm_atime", 56, As::Size),
        Field("shm_dtime", 64, As::Size),
        Field("shm_ctime", 72, As::Size),
    ],
    end: "}",
};
/// `struct sembuf`
pub(super) const SEMBUF: Layout = Layout {
    size: 6,
    fields: &[
        Field("sem_num", 0, As::Short),
        Field("sem_op", 2, As::Quarter),
        Field("sem_flg", 4, As::NamedShort(names::SEM_FLAGS)),
    ],
    end: "}",
};
/// `struct winsize`
pub(super) const WINSIZE: Layout = Layout {
    size: 8,
    fields: &[
        Field("ws_row", 0, As::Short),
        Field("ws_col", 2, As::Short),
        Field("ws_xpixel", 4, As::Short),
        Field("ws_ypixel", 6, As::Short),
    ],
    end: "}",
};
/// `struct ifreq`, of which `ifr_flags` is meant.
pub(super) const IFREQ_FLAGS: Layout = Layout {
    size: 40,
    fields: &[
        Field("ifr_name", 0, As::Name(16)),
        Field("ifr_flags", 16, As::Named(names::INTERFACE)),
    ],
    end: "}",
};
/// `struct ifreq`, of which `ifr_addr` is meant.
pub(super) const IFREQ_ADDRESS: Layout = Layout {
    size: 40,
    fields: &[
        Field("ifr_name", 0, As::Name(16)),
        Field("ifr_addr", 16, As::Address4),
    ],
    end: "}",
};
/// `struct ifreq`, of which `ifr_mtu` is meant.
pub(super) const IFREQ_MTU: Layout = Layout {
    size: 40,
    fields: &[
        Field("ifr_name", 0, As::Name(16)),
        Field("ifr_mtu", 16, As::Half),
    ],
    end: "}",
};
/// `struct ifreq`, of which `ifr_ifindex` is meant.
pub(super) const IFREQ_INDEX: Layout = Layout {
    size: 40,
    fields: &[
        Field("ifr_name", 0, As::Name(16)),
        Field("ifr_ifindex", 16, As::Half),
    ],
    end: "}",
};
/// `struct sigevent`
pub(super) const SIGEVENT: Layout = Layout {
    size: 24,
    fields: &[
        Field("sigev_value", 0, As::SignalValue),
        Field("sigev_signo", 8, As::Signal),
        Field("sigev_notify", 12, As::Named(names::SIGEV)),
    ],
    end: "}",
};
/// The same where a thread is named.
pub(super) const SIGEVENT_THREAD: Layout = Layout {
    size: 24,
    fields: &[
        Field("sigev_value", 0, As::SignalValue),
        Field("sigev_signo", 8, As::Signal),
        Field("sigev_notify", 12, As::Named(names::SIGEV)),
        Field("sigev_notify_thread_id", 16, As::Half),
    ],
    end: "}",
};
/// `struct __user_cap_header_struct`
pub(super) const CAP_HEADER: Layout = Layout {
    size: 8,
    fields: &[
        Field("version", 0, As::Named(names::CAP_VERSION)),
        Field("pid", 4, As::Half),
    ],
    end: "}",
};
/// `struct mq_attr`
pub(super) const MQ_ATTR: Layout = Layout {
    size: 32,
    fields: &[
        Field("mq_flags", 0, As::Named(names::MQ)),
        Field("mq_maxmsg", 8, As::Int),
        Field("mq_msgsize", 16, As::Int),
        Field("mq_curmsgs", 24, As::Int),
    ],
    end: "}",
};
