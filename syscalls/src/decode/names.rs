//! Names of what calls choose by a number, where the kind of the argument does not tell: by call and place.

use super::constants::Names;
use crate::nr;

/// The names of an argument's values.
pub(super) fn of(nr: u32, i: usize) -> Option<Names> {
    Some(match (nr, i) {
        (nr::lseek, 2) => WHENCE,
        (nr::madvise, 2) | (nr::process_madvise, 3) => ADVICE,
        (nr::flock, 1) => FLOCK,
        (nr::shutdown, 1) => SHUT,
        (nr::getrandom, 2) => GETRANDOM,
        (nr::epoll_create1, 0) => EPOLL_FLAGS,
        (nr::eventfd2, 1) => EVENTFD,
        (nr::inotify_init1, 0) => INOTIFY,
        (nr::timerfd_create, 1) => TIMERFD,
        (nr::signalfd4, 3) => SIGNALFD,
        (nr::memfd_create, 1) => MEMFD,
        (nr::getitimer | nr::setitimer, 0) => ITIMER,
        (nr::clock_nanosleep | nr::timer_settime | nr::timerfd_settime, 1) => TIMER_FLAGS,
        (nr::arch_prctl, 0) => ARCH_PRCTL,
        (nr::prctl, 0) => PRCTL,
        (nr::futex, 1) => FUTEX,
        (nr::ioctl, 1) => IOCTL,
        (nr::membarrier, 0) => MEMBARRIER,
        (nr::sched_setscheduler, 1)
        | (nr::sched_get_priority_max | nr::sched_get_priority_min, 0) => super::constants::POLICY,
        (nr::msync, 2) => MSYNC,
        (nr::mremap, 3) => MREMAP,
        (nr::sendto | nr::recvfrom, 3)
        | (nr::sendmsg | nr::recvmsg, 2)
        | (nr::sendmmsg | nr::recvmmsg, 3) => MSG,
        (nr::getrusage, 0) => RUSAGE,
        (nr::setsockopt | nr::getsockopt, 1) => LEVEL,
        (nr::waitid, 0) => ID_TYPE,
        (nr::close_range, 2) => CLOSE_RANGE,
        (nr::fadvise64, 3) => FADVISE,
        (nr::splice, 5) | (nr::tee, 3) | (nr::vmsplice, 3) => SPLICE,
        (nr::seccomp, 0) => SECCOMP,
        (nr::ptrace, 0) => PTRACE,
        (nr::fallocate, 1) => FALLOCATE,
        (nr::shmat, 2) => SHMAT,
        (nr::msgsnd, 3) | (nr::msgrcv, 4) => MSG_FLAGS,
        (nr::semctl, 2) => SEMCTL,
        (nr::msgctl, 1) => MSGCTL,
        (nr::shmctl, 1) => SHMCTL,
        (nr::mlockall, 0) => MLOCKALL,
        (nr::mlock2, 2) => MLOCK2,
        (nr::mount, 3) => MOUNT,
        (nr::umount2, 1) => UMOUNT,
        (nr::sync_file_range, 3) => SYNC_FILE_RANGE,
        (nr::inotify_add_watch, 2) => INOTIFY_MASK,
        (nr::ioprio_set | nr::ioprio_get, 0) => IOPRIO_WHO,
        (nr::keyctl, 0) => KEYCTL,
        (nr::kcmp, 2) => KCMP,
        (nr::landlock_create_ruleset, 2) => LANDLOCK,
        _ => return None,
    })
}

/// The names of options of a level.
pub(super) const fn options(level: u64) -> Option<Names> {
    match level {
        1 => Some(SO),
        6 => Some(TCP),
        0 => Some(IP),
        41 => Some(IPV6),
        _ => None,
    }
}

/// The names of a domain's protocols.
pub(super) const fn protocols(domain: u64) -> Option<Names> {
    match domain {
        2 | 10 => Some(IPPROTO),
        16 => Some(NETLINK),
        _ => None,
    }
}

const IPPROTO: Names = Names::one(&[
    (0, "IPPROTO_IP"),
    (1, "IPPROTO_ICMP"),
    (6, "IPPROTO_TCP"),
    (17, "IPPROTO_UDP"),
    (58, "IPPROTO_ICMPV6"),
    (132, "IPPROTO_SCTP"),
    (136, "IPPROTO_UDPLITE"),
    (255, "IPPROTO_RAW"),
    (262, "IPPROTO_MPTCP"),
]);
const NETLINK: Names = Names::one(&[
    (0, "NETLINK_ROUTE"),
    (4, "NETLINK_SOCK_DIAG"),
    (9, "NETLINK_AUDIT"),
    (15, "NETLINK_KOBJECT_UEVENT"),
    (16, "NETLINK_GENERIC"),
]);
const WHENCE: Names = Names::one(&[
    (0, "SEEK_SET"),
    (1, "SEEK_CUR"),
    (2, "SEEK_END"),
    (3, "SEEK_DATA"),
    (4, "SEEK_HOLE"),
]);
const ADVICE: Names = Names::one(&[
    (0, "MADV_NORMAL"),
    (1, "MADV_RANDOM"),
    (2, "MADV_SEQUENTIAL"),
    (3, "MADV_WILLNEED"),
    (4, "MADV_DONTNEED"),
    (8, "MADV_FREE"),
    (9, "MADV_REMOVE"),
    (10, "MADV_DONTFORK"),
    (11, "MADV_DOFORK"),
    (12, "MADV_MERGEABLE"),
    (13, "MADV_UNMERGEABLE"),
    (14, "MADV_HUGEPAGE"),
    (15, "MADV_NOHUGEPAGE"),
    (16, "MADV_DONTDUMP"),
    (17, "MADV_DODUMP"),
    (18, "MADV_WIPEONFORK"),
    (19, "MADV_KEEPONFORK"),
    (20, "MADV_COLD"),
    (21, "MADV_PAGEOUT"),
    (22, "MADV_POPULATE_READ"),
    (23, "MADV_POPULATE_WRITE"),
    (25, "MADV_COLLAPSE"),
]);
const FLOCK: Names = Names::flags(&[
    (1, "LOCK_SH"),
    (2, "LOCK_EX"),
    (4, "LOCK_NB"),
    (8, "LOCK_UN"),
]);
const SHUT: Names = Names::one(&[(0, "SHUT_RD"), (1, "SHUT_WR"), (2, "SHUT_RDWR")]);
const GETRANDOM: Names = Names::flags(&[
    (1, "GRND_NONBLOCK"),
    (2, "GRND_RANDOM"),
    (4, "GRND_INSECURE"),
]);
const EPOLL_FLAGS: Names = Names::flags(&[(0x80000, "EPOLL_CLOEXEC")]);
const EVENTFD: Names = Names::flags(&[
    (1, "EFD_SEMAPHORE"),
    (0x80000, "EFD_CLOEXEC"),
    (0x800, "EFD_NONBLOCK"),
]);
const INOTIFY: Names = Names::flags(&[(0x800, "IN_NONBLOCK"), (0x80000, "IN_CLOEXEC")]);
const TIMERFD: Names = Names::flags(&[(0x80000, "TFD_CLOEXEC"), (0x800, "TFD_NONBLOCK")]);
const SIGNALFD: Names = Names::flags(&[(0x80000, "SFD_CLOEXEC"), (0x800, "SFD_NONBLOCK")]);
const MEMFD: Names = Names::flags(&[
    (1, "MFD_CLOEXEC"),
    (2, "MFD_ALLOW_SEALING"),
    (4, "MFD_HUGETLB"),
    (8, "MFD_NOEXEC_SEAL"),
    (16, "MFD_EXEC"),
]);
const ITIMER: Names = Names::one(&[
    (0, "ITIMER_REAL"),
    (1, "ITIMER_VIRTUAL"),
    (2, "ITIMER_PROF"),
]);
const TIMER_FLAGS: Names = Names::flags(&[(1, "TIMER_ABSTIME")]);
const ARCH_PRCTL: Names = Names::one(&[
    (0x1001, "ARCH_SET_GS"),
    (0x1002, "ARCH_SET_FS"),
    (0x1003, "ARCH_GET_FS"),
    (0x1004, "ARCH_GET_GS"),
    (0x1011, "ARCH_GET_CPUID"),
    (0x1012, "ARCH_SET_CPUID"),
    (0x1022, "ARCH_GET_XCOMP_PERM"),
]);
const PRCTL: Names = Names::one(&[
    (1, "PR_SET_PDEATHSIG"),
    (2, "PR_GET_PDEATHSIG"),
    (3, "PR_GET_DUMPABLE"),
    (4, "PR_SET_DUMPABLE"),
    (7, "PR_GET_KEEPCAPS"),
    (8, "PR_SET_KEEPCAPS"),
    (13, "PR_GET_TIMING"),
    (14, "PR_SET_TIMING"),
    (15, "PR_SET_NAME"),
    (16, "PR_GET_NAME"),
    (21, "PR_GET_SECCOMP"),
    (22, "PR_SET_SECCOMP"),
    (23, "PR_CAPBSET_READ"),
    (24, "PR_CAPBSET_DROP"),
    (25, "PR_GET_TSC"),
    (26, "PR_SET_TSC"),
    (27, "PR_GET_SECUREBITS"),
    (28, "PR_SET_SECUREBITS"),
    (29, "PR_SET_TIMERSLACK"),
    (30, "PR_GET_TIMERSLACK"),
    (33, "PR_MCE_KILL"),
    (35, "PR_SET_MM"),
    (36, "PR_SET_CHILD_SUBREAPER"),
    (37, "PR_GET_CHILD_SUBREAPER"),
    (38, "PR_SET_NO_NEW_PRIVS"),
    (39, "PR_GET_NO_NEW_PRIVS"),
    (40, "PR_GET_TID_ADDRESS"),
    (41, "PR_SET_THP_DISABLE"),
    (42, "PR_GET_THP_DISABLE"),
    (47, "PR_CAP_AMBIENT"),
    (52, "PR_GET_SPECULATION_CTRL"),
    (53, "PR_SET_SPECULATION_CTRL"),
    (57, "PR_SET_IO_FLUSHER"),
    (59, "PR_SET_SYSCALL_USER_DISPATCH"),
    (62, "PR_SCHED_CORE"),
    (0x53564d41, "PR_SET_VMA"),
    (0x59616d61, "PR_SET_PTRACER"),
]);
const FUTEX: Names = Names::one(&[
    (0, "FUTEX_WAIT"),
    (1, "FUTEX_WAKE"),
    (3, "FUTEX_REQUEUE"),
    (4, "FUTEX_CMP_REQUEUE"),
    (5, "FUTEX_WAKE_OP"),
    (6, "FUTEX_LOCK_PI"),
    (7, "FUTEX_UNLOCK_PI"),
    (8, "FUTEX_TRYLOCK_PI"),
    (9, "FUTEX_WAIT_BITSET"),
    (10, "FUTEX_WAKE_BITSET"),
    (128, "FUTEX_WAIT_PRIVATE"),
    (129, "FUTEX_WAKE_PRIVATE"),
    (131, "FUTEX_REQUEUE_PRIVATE"),
    (132, "FUTEX_CMP_REQUEUE_PRIVATE"),
    (133, "FUTEX_WAKE_OP_PRIVATE"),
    (134, "FUTEX_LOCK_PI_PRIVATE"),
    (135, "FUTEX_UNLOCK_PI_PRIVATE"),
    (136, "FUTEX_TRYLOCK_PI_PRIVATE"),
    (137, "FUTEX_WAIT_BITSET_PRIVATE"),
    (138, "FUTEX_WAKE_BITSET_PRIVATE"),
    (265, "FUTEX_WAIT_BITSET|FUTEX_CLOCK_REALTIME"),
    (393, "FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME"),
]);
const IOCTL: Names = Names::one(&[
    (0x5401, "TCGETS"),
    (0x5402, "TCSETS"),
    (0x5403, "TCSETSW"),
    (0x5404, "TCSETSF"),
    (0x5409, "TCSBRK"),
    (0x540a, "TCXONC"),
    (0x540b, "TCFLSH"),
    (0x540e, "TIOCSCTTY"),
    (0x540f, "TIOCGPGRP"),
    (0x5410, "TIOCSPGRP"),
    (0x5411, "TIOCOUTQ"),
    (0x5412, "TIOCSTI"),
    (0x5413, "TIOCGWINSZ"),
    (0x5414, "TIOCSWINSZ"),
    (0x541b, "FIONREAD"),
    (0x541c, "TIOCLINUX"),
    (0x5421, "FIONBIO"),
    (0x5422, "TIOCNOTTY"),
    (0x5425, "TCSBRKP"),
    (0x5429, "TIOCGSID"),
    (0x5450, "FIONCLEX"),
    (0x5451, "FIOCLEX"),
    (0x5452, "FIOASYNC"),
    (0x8901, "FIOSETOWN"),
    (0x8903, "FIOGETOWN"),
    (0x8910, "SIOCGIFNAME"),
    (0x8921, "SIOCGIFMTU"),
    (0x8912, "SIOCGIFCONF"),
    (0x8913, "SIOCGIFFLAGS"),
    (0x8915, "SIOCGIFADDR"),
    (0x8927, "SIOCGIFHWADDR"),
    (0x8933, "SIOCGIFINDEX"),
    (0x8946, "SIOCETHTOOL"),
    (0x80045430, "TIOCGPTN"),
    (0x40045431, "TIOCSPTLCK"),
    (0x5441, "TIOCGPTPEER"),
    (0x40049409, "BTRFS_IOC_CLONE or FICLONE"),
    (0x4020940d, "BTRFS_IOC_CLONE_RANGE or FICLONERANGE"),
    (0x80086601, "FS_IOC_GETFLAGS"),
    (0x40086602, "FS_IOC_SETFLAGS"),
    (0xc020660b, "FS_IOC_FIEMAP"),
]);
const MEMBARRIER: Names = Names::one(&[
    (0, "MEMBARRIER_CMD_QUERY"),
    (1, "MEMBARRIER_CMD_GLOBAL"),
    (8, "MEMBARRIER_CMD_PRIVATE_EXPEDITED"),
    (16, "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED"),
]);
const MSYNC: Names = Names::flags(&[(1, "MS_ASYNC"), (2, "MS_INVALIDATE"), (4, "MS_SYNC")]);
const MREMAP: Names = Names::flags(&[
    (1, "MREMAP_MAYMOVE"),
    (2, "MREMAP_FIXED"),
    (4, "MREMAP_DONTUNMAP"),
]);
const MSG: Names = Names::flags(&[
    (0x1, "MSG_OOB"),
    (0x2, "MSG_PEEK"),
    (0x4, "MSG_DONTROUTE"),
    (0x8, "MSG_CTRUNC"),
    (0x20, "MSG_TRUNC"),
    (0x40, "MSG_DONTWAIT"),
    (0x80, "MSG_EOR"),
    (0x100, "MSG_WAITALL"),
    (0x800, "MSG_CONFIRM"),
    (0x2000, "MSG_ERRQUEUE"),
    (0x4000, "MSG_NOSIGNAL"),
    (0x8000, "MSG_MORE"),
    (0x10000, "MSG_WAITFORONE"),
    (0x20000000, "MSG_FASTOPEN"),
    (0x40000000, "MSG_CMSG_CLOEXEC"),
]);
/// Flags that a message comes with.
pub(super) const MESSAGE: Names = MSG;
const RUSAGE: Names = Names::one(&[
    (0, "RUSAGE_SELF"),
    (0xffff_ffff, "RUSAGE_CHILDREN"),
    (1, "RUSAGE_THREAD"),
]);
/// Levels of options of sockets, and of control messages.
pub(super) const LEVEL: Names = Names::one(&[
    (0, "SOL_IP"),
    (1, "SOL_SOCKET"),
    (6, "SOL_TCP"),
    (17, "SOL_UDP"),
    (41, "SOL_IPV6"),
    (263, "SOL_PACKET"),
    (270, "SOL_NETLINK"),
]);
const SO: Names = Names::one(&[
    (1, "SO_DEBUG"),
    (2, "SO_REUSEADDR"),
    (3, "SO_TYPE"),
    (4, "SO_ERROR"),
    (5, "SO_DONTROUTE"),
    (6, "SO_BROADCAST"),
    (7, "SO_SNDBUF"),
    (8, "SO_RCVBUF"),
    (9, "SO_KEEPALIVE"),
    (10, "SO_OOBINLINE"),
    (12, "SO_PRIORITY"),
    (13, "SO_LINGER"),
    (15, "SO_REUSEPORT"),
    (16, "SO_PASSCRED"),
    (17, "SO_PEERCRED"),
    (18, "SO_RCVLOWAT"),
    (19, "SO_SNDLOWAT"),
    (20, "SO_RCVTIMEO_OLD"),
    (21, "SO_SNDTIMEO_OLD"),
    (25, "SO_BINDTODEVICE"),
    (26, "SO_ATTACH_FILTER"),
    (29, "SO_TIMESTAMP_OLD"),
    (30, "SO_ACCEPTCONN"),
    (31, "SO_PEERSEC"),
    (32, "SO_SNDBUFFORCE"),
    (33, "SO_RCVBUFFORCE"),
    (36, "SO_MARK"),
    (38, "SO_PROTOCOL"),
    (39, "SO_DOMAIN"),
    (46, "SO_BUSY_POLL"),
    (59, "SO_PEERGROUPS"),
    (60, "SO_ZEROCOPY"),
]);
const TCP: Names = Names::one(&[
    (1, "TCP_NODELAY"),
    (2, "TCP_MAXSEG"),
    (3, "TCP_CORK"),
    (4, "TCP_KEEPIDLE"),
    (5, "TCP_KEEPINTVL"),
    (6, "TCP_KEEPCNT"),
    (7, "TCP_SYNCNT"),
    (8, "TCP_LINGER2"),
    (9, "TCP_DEFER_ACCEPT"),
    (10, "TCP_WINDOW_CLAMP"),
    (11, "TCP_INFO"),
    (12, "TCP_QUICKACK"),
    (13, "TCP_CONGESTION"),
    (18, "TCP_USER_TIMEOUT"),
    (23, "TCP_FASTOPEN"),
    (30, "TCP_FASTOPEN_CONNECT"),
]);
const IP: Names = Names::one(&[
    (1, "IP_TOS"),
    (2, "IP_TTL"),
    (8, "IP_PKTINFO"),
    (10, "IP_MTU_DISCOVER"),
    (11, "IP_RECVERR"),
    (12, "IP_RECVTTL"),
    (15, "IP_FREEBIND"),
    (24, "IP_BIND_ADDRESS_NO_PORT"),
    (32, "IP_MULTICAST_IF"),
    (33, "IP_MULTICAST_TTL"),
    (34, "IP_MULTICAST_LOOP"),
    (35, "IP_ADD_MEMBERSHIP"),
]);
const IPV6: Names = Names::one(&[
    (16, "IPV6_UNICAST_HOPS"),
    (23, "IPV6_MTU_DISCOVER"),
    (25, "IPV6_RECVERR"),
    (26, "IPV6_V6ONLY"),
    (49, "IPV6_RECVPKTINFO"),
    (67, "IPV6_TCLASS"),
]);
const ID_TYPE: Names = Names::one(&[(0, "P_ALL"), (1, "P_PID"), (2, "P_PGID"), (3, "P_PIDFD")]);
const CLOSE_RANGE: Names = Names::flags(&[(2, "CLOSE_RANGE_UNSHARE"), (4, "CLOSE_RANGE_CLOEXEC")]);
const FADVISE: Names = Names::one(&[
    (0, "POSIX_FADV_NORMAL"),
    (1, "POSIX_FADV_RANDOM"),
    (2, "POSIX_FADV_SEQUENTIAL"),
    (3, "POSIX_FADV_WILLNEED"),
    (4, "POSIX_FADV_DONTNEED"),
    (5, "POSIX_FADV_NOREUSE"),
]);
const SPLICE: Names = Names::flags(&[
    (1, "SPLICE_F_MOVE"),
    (2, "SPLICE_F_NONBLOCK"),
    (4, "SPLICE_F_MORE"),
    (8, "SPLICE_F_GIFT"),
]);
const SECCOMP: Names = Names::one(&[
    (0, "SECCOMP_SET_MODE_STRICT"),
    (1, "SECCOMP_SET_MODE_FILTER"),
    (2, "SECCOMP_GET_ACTION_AVAIL"),
    (3, "SECCOMP_GET_NOTIF_SIZES"),
]);
const PTRACE: Names = Names::one(&[
    (0, "PTRACE_TRACEME"),
    (1, "PTRACE_PEEKTEXT"),
    (2, "PTRACE_PEEKDATA"),
    (3, "PTRACE_PEEKUSER"),
    (4, "PTRACE_POKETEXT"),
    (5, "PTRACE_POKEDATA"),
    (6, "PTRACE_POKEUSER"),
    (7, "PTRACE_CONT"),
    (8, "PTRACE_KILL"),
    (9, "PTRACE_SINGLESTEP"),
    (12, "PTRACE_GETREGS"),
    (13, "PTRACE_SETREGS"),
    (16, "PTRACE_ATTACH"),
    (17, "PTRACE_DETACH"),
    (24, "PTRACE_SYSCALL"),
    (0x4200, "PTRACE_SETOPTIONS"),
    (0x4201, "PTRACE_GETEVENTMSG"),
    (0x4202, "PTRACE_GETSIGINFO"),
    (0x4204, "PTRACE_GETREGSET"),
    (0x4205, "PTRACE_SETREGSET"),
    (0x4206, "PTRACE_SEIZE"),
    (0x4207, "PTRACE_INTERRUPT"),
    (0x4208, "PTRACE_LISTEN"),
    (0x420e, "PTRACE_GET_SYSCALL_INFO"),
]);
const FALLOCATE: Names = Names::flags(&[
    (1, "FALLOC_FL_KEEP_SIZE"),
    (2, "FALLOC_FL_PUNCH_HOLE"),
    (8, "FALLOC_FL_COLLAPSE_RANGE"),
    (16, "FALLOC_FL_ZERO_RANGE"),
]);
/// capabilities(7)
pub(super) const CAPABILITY: Names = Names::one(&[
    (0, "CAP_CHOWN"),
    (1, "CAP_DAC_OVERRIDE"),
    (2, "CAP_DAC_READ_SEARCH"),
    (3, "CAP_FOWNER"),
    (4, "CAP_FSETID"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (8, "CAP_SETPCAP"),
    (9, "CAP_LINUX_IMMUTABLE"),
    (10, "CAP_NET_BIND_SERVICE"),
    (11, "CAP_NET_BROADCAST"),
    (12, "CAP_NET_ADMIN"),
    (13, "CAP_NET_RAW"),
    (14, "CAP_IPC_LOCK"),
    (15, "CAP_IPC_OWNER"),
    (16, "CAP_SYS_MODULE"),
    (17, "CAP_SYS_RAWIO"),
    (18, "CAP_SYS_CHROOT"),
    (19, "CAP_SYS_PTRACE"),
    (20, "CAP_SYS_PACCT"),
    (21, "CAP_SYS_ADMIN"),
    (22, "CAP_SYS_BOOT"),
    (23, "CAP_SYS_NICE"),
    (24, "CAP_SYS_RESOURCE"),
    (25, "CAP_SYS_TIME"),
    (26, "CAP_SYS_TTY_CONFIG"),
    (27, "CAP_MKNOD"),
    (28, "CAP_LEASE"),
    (29, "CAP_AUDIT_WRITE"),
    (30, "CAP_AUDIT_CONTROL"),
    (31, "CAP_SETFCAP"),
    (32, "CAP_MAC_OVERRIDE"),
    (33, "CAP_MAC_ADMIN"),
    (34, "CAP_SYSLOG"),
    (35, "CAP_WAKE_ALARM"),
    (36, "CAP_BLOCK_SUSPEND"),
    (37, "CAP_AUDIT_READ"),
    (38, "CAP_PERFMON"),
    (39, "CAP_BPF"),
    (40, "CAP_CHECKPOINT_RESTORE"),
]);
/// A half of a set of capabilities: the low one.
pub(super) const CAPABILITIES: Names = Names::flags(&[
    (0x1, "1<<CAP_CHOWN"),
    (0x2, "1<<CAP_DAC_OVERRIDE"),
    (0x4, "1<<CAP_DAC_READ_SEARCH"),
    (0x8, "1<<CAP_FOWNER"),
    (0x10, "1<<CAP_FSETID"),
    (0x20, "1<<CAP_KILL"),
    (0x40, "1<<CAP_SETGID"),
    (0x80, "1<<CAP_SETUID"),
    (0x100, "1<<CAP_SETPCAP"),
    (0x200, "1<<CAP_LINUX_IMMUTABLE"),
    (0x400, "1<<CAP_NET_BIND_SERVICE"),
    (0x800, "1<<CAP_NET_BROADCAST"),
    (0x1000, "1<<CAP_NET_ADMIN"),
    (0x2000, "1<<CAP_NET_RAW"),
    (0x4000, "1<<CAP_IPC_LOCK"),
    (0x8000, "1<<CAP_IPC_OWNER"),
    (0x10000, "1<<CAP_SYS_MODULE"),
    (0x20000, "1<<CAP_SYS_RAWIO"),
    (0x40000, "1<<CAP_SYS_CHROOT"),
    (0x80000, "1<<CAP_SYS_PTRACE"),
    (0x100000, "1<<CAP_SYS_PACCT"),
    (0x200000, "1<<CAP_SYS_ADMIN"),
    (0x400000, "1<<CAP_SYS_BOOT"),
    (0x800000, "1<<CAP_SYS_NICE"),
    (0x1000000, "1<<CAP_SYS_RESOURCE"),
    (0x2000000, "1<<CAP_SYS_TIME"),
    (0x4000000, "1<<CAP_SYS_TTY_CONFIG"),
    (0x8000000, "1<<CAP_MKNOD"),
    (0x10000000, "1<<CAP_LEASE"),
    (0x20000000, "1<<CAP_AUDIT_WRITE"),
    (0x40000000, "1<<CAP_AUDIT_CONTROL"),
    (0x80000000, "1<<CAP_SETFCAP"),
]);
/// The high one.
pub(super) const CAPABILITIES_HIGH: Names = Names::flags(&[
    (0x1, "1<<CAP_MAC_OVERRIDE"),
    (0x2, "1<<CAP_MAC_ADMIN"),
    (0x4, "1<<CAP_SYSLOG"),
    (0x8, "1<<CAP_WAKE_ALARM"),
    (0x10, "1<<CAP_BLOCK_SUSPEND"),
    (0x20, "1<<CAP_AUDIT_READ"),
    (0x40, "1<<CAP_PERFMON"),
    (0x80, "1<<CAP_BPF"),
    (0x100, "1<<CAP_CHECKPOINT_RESTORE"),
]);
/// Of `PR_SET_DUMPABLE`.
pub(super) const DUMPABLE: Names = Names::one(&[
    (0, "SUID_DUMP_DISABLE"),
    (1, "SUID_DUMP_USER"),
    (2, "SUID_DUMP_ROOT"),
]);
/// Of `PR_SET_SECUREBITS`.
pub(super) const SECUREBITS: Names = Names::flags(&[
    (1, "SECBIT_NOROOT"),
    (2, "SECBIT_NOROOT_LOCKED"),
    (4, "SECBIT_NO_SETUID_FIXUP"),
    (8, "SECBIT_NO_SETUID_FIXUP_LOCKED"),
    (16, "SECBIT_KEEP_CAPS"),
    (32, "SECBIT_KEEP_CAPS_LOCKED"),
    (64, "SECBIT_NO_CAP_AMBIENT_RAISE"),
    (128, "SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED"),
]);
/// Of `PR_CAP_AMBIENT`.
pub(super) const AMBIENT: Names = Names::one(&[
    (1, "PR_CAP_AMBIENT_IS_SET"),
    (2, "PR_CAP_AMBIENT_RAISE"),
    (3, "PR_CAP_AMBIENT_LOWER"),
    (4, "PR_CAP_AMBIENT_CLEAR_ALL"),
]);
/// Of `PR_GET_SPECULATION_CTRL`.
pub(super) const SPECULATION: Names = Names::one(&[
    (0, "PR_SPEC_STORE_BYPASS"),
    (1, "PR_SPEC_INDIRECT_BRANCH"),
    (2, "PR_SPEC_L1D_FLUSH"),
]);
/// Of `PR_SET_VMA`.
pub(super) const VMA: Names = Names::one(&[(0, "PR_SET_VMA_ANON_NAME")]);
/// Of semget(2), msgget(2) and shmget(2), without the mode.
pub(super) const IPC_GET: Names = Names::flags(&[
    (0o1000, "IPC_CREAT"),
    (0o2000, "IPC_EXCL"),
    (0o4000, "SHM_HUGETLB"),
    (0o10000, "SHM_NORESERVE"),
]);
/// Of semop(2).
pub(super) const SEM_FLAGS: Names =
    Names::flags(&[(0x1000, "SEM_UNDO"), (0x800, "IPC_NOWAIT")]).short();
/// Of the ioctl `TCXONC`.
pub(super) const TCXONC: Names =
    Names::one(&[(0, "TCOOFF"), (1, "TCOON"), (2, "TCIOFF"), (3, "TCION")]);
/// Of the ioctl `TCFLSH`.
pub(super) const TCFLSH: Names = Names::one(&[(0, "TCIFLUSH"), (1, "TCOFLUSH"), (2, "TCIOFLUSH")]);
/// termios(3)
pub(super) const C_IFLAG: Names = Names::flags(&[
    (0x1, "IGNBRK"),
    (0x2, "BRKINT"),
    (0x4, "IGNPAR"),
    (0x8, "PARMRK"),
    (0x10, "INPCK"),
    (0x20, "ISTRIP"),
    (0x40, "INLCR"),
    (0x80, "IGNCR"),
    (0x100, "ICRNL"),
    (0x200, "IUCLC"),
    (0x400, "IXON"),
    (0x800, "IXANY"),
    (0x1000, "IXOFF"),
    (0x2000, "IMAXBEL"),
    (0x4000, "IUTF8"),
]);
/// termios(3), without the delays.
pub(super) const C_OFLAG: Names = Names::flags(&[
    (0x1, "OPOST"),
    (0x2, "OLCUC"),
    (0x4, "ONLCR"),
    (0x8, "OCRNL"),
    (0x10, "ONOCR"),
    (0x20, "ONLRET"),
    (0x40, "OFILL"),
    (0x80, "OFDEL"),
]);
/// Speeds of terminals.
pub(super) const SPEED: Names = Names::one(&[
    (0, "B0"),
    (1, "B50"),
    (2, "B75"),
    (3, "B110"),
    (4, "B134"),
    (5, "B150"),
    (6, "B200"),
    (7, "B300"),
    (8, "B600"),
    (9, "B1200"),
    (10, "B1800"),
    (11, "B2400"),
    (12, "B4800"),
    (13, "B9600"),
    (14, "B19200"),
    (15, "B38400"),
    (0x1001, "B57600"),
    (0x1002, "B115200"),
    (0x1003, "B230400"),
    (0x1004, "B460800"),
    (0x1007, "B921600"),
]);
/// termios(3), without speed and size.
pub(super) const C_CFLAG: Names = Names::flags(&[
    (0x40, "CSTOPB"),
    (0x80, "CREAD"),
    (0x100, "PARENB"),
    (0x200, "PARODD"),
    (0x400, "HUPCL"),
    (0x800, "CLOCAL"),
    (0x4000_0000, "CMSPAR"),
    (0x8000_0000, "CRTSCTS"),
]);
/// termios(3)
pub(super) const C_LFLAG: Names = Names::flags(&[
    (1, "ISIG"),
    (2, "ICANON"),
    (8, "ECHO"),
    (0x10, "ECHOE"),
    (0x20, "ECHOK"),
    (0x40, "ECHONL"),
    (0x80, "NOFLSH"),
    (0x100, "TOSTOP"),
    (0x8000, "IEXTEN"),
    (0x200, "ECHOCTL"),
    (0x400, "ECHOPRT"),
    (0x800, "ECHOKE"),
    (0x1000, "FLUSHO"),
    (0x4000, "PENDIN"),
    (0x1_0000, "EXTPROC"),
]);
/// netdevice(7)
pub(super) const INTERFACE: Names = Names::flags(&[
    (0x1, "IFF_UP"),
    (0x2, "IFF_BROADCAST"),
    (0x4, "IFF_DEBUG"),
    (0x8, "IFF_LOOPBACK"),
    (0x10, "IFF_POINTOPOINT"),
    (0x20, "IFF_NOTRAILERS"),
    (0x40, "IFF_RUNNING"),
    (0x80, "IFF_NOARP"),
    (0x100, "IFF_PROMISC"),
    (0x200, "IFF_ALLMULTI"),
    (0x400, "IFF_MASTER"),
    (0x800, "IFF_SLAVE"),
    (0x1000, "IFF_MULTICAST"),
    (0x2000, "IFF_PORTSEL"),
    (0x4000, "IFF_AUTOMEDIA"),
    (0x8000, "IFF_DYNAMIC"),
])
.short();
/// sigevent(3type)
pub(super) const SIGEV: Names = Names::one(&[
    (0, "SIGEV_SIGNAL"),
    (1, "SIGEV_NONE"),
    (2, "SIGEV_THREAD"),
    (4, "SIGEV_THREAD_ID"),
]);
/// capget(2)
pub(super) const CAP_VERSION: Names = Names::one(&[
    (0x1998_0330, "_LINUX_CAPABILITY_VERSION_1"),
    (0x2007_1026, "_LINUX_CAPABILITY_VERSION_2"),
    (0x2008_0522, "_LINUX_CAPABILITY_VERSION_3"),
]);
const SHMAT: Names = Names::flags(&[
    (0o10000, "SHM_RDONLY"),
    (0o20000, "SHM_RND"),
    (0o40000, "SHM_REMAP"),
    (0o100000, "SHM_EXEC"),
]);
const MSG_FLAGS: Names = Names::flags(&[
    (0o10000, "MSG_NOERROR"),
    (0o20000, "MSG_EXCEPT"),
    (0o40000, "MSG_COPY"),
    (0o4000, "IPC_NOWAIT"),
]);
const SEMCTL: Names = Names::one(&[
    (0, "IPC_RMID"),
    (1, "IPC_SET"),
    (2, "IPC_STAT"),
    (3, "IPC_INFO"),
    (11, "GETPID"),
    (12, "GETVAL"),
    (13, "GETALL"),
    (14, "GETNCNT"),
    (15, "GETZCNT"),
    (16, "SETVAL"),
    (17, "SETALL"),
    (18, "SEM_STAT"),
    (19, "SEM_INFO"),
    (20, "SEM_STAT_ANY"),
]);
const MSGCTL: Names = Names::one(&[
    (0, "IPC_RMID"),
    (1, "IPC_SET"),
    (2, "IPC_STAT"),
    (3, "IPC_INFO"),
    (11, "MSG_STAT"),
    (12, "MSG_INFO"),
    (13, "MSG_STAT_ANY"),
]);
const SHMCTL: Names = Names::one(&[
    (0, "IPC_RMID"),
    (1, "IPC_SET"),
    (2, "IPC_STAT"),
    (3, "IPC_INFO"),
    (11, "SHM_LOCK"),
    (12, "SHM_UNLOCK"),
    (13, "SHM_STAT"),
    (14, "SHM_INFO"),
    (15, "SHM_STAT_ANY"),
]);
const MLOCKALL: Names = Names::flags(&[(1, "MCL_CURRENT"), (2, "MCL_FUTURE"), (4, "MCL_ONFAULT")]);
const MLOCK2: Names = Names::flags(&[(1, "MLOCK_ONFAULT")]);
const UMOUNT: Names = Names::flags(&[
    (1, "MNT_FORCE"),
    (2, "MNT_DETACH"),
    (4, "MNT_EXPIRE"),
    (8, "UMOUNT_NOFOLLOW"),
]);
const SYNC_FILE_RANGE: Names = Names::flags(&[
    (1, "SYNC_FILE_RANGE_WAIT_BEFORE"),
    (2, "SYNC_FILE_RANGE_WRITE"),
    (4, "SYNC_FILE_RANGE_WAIT_AFTER"),
]);
const INOTIFY_MASK: Names = Names::flags(&[
    (0x1, "IN_ACCESS"),
    (0x2, "IN_MODIFY"),
    (0x4, "IN_ATTRIB"),
    (0x8, "IN_CLOSE_WRITE"),
    (0x10, "IN_CLOSE_NOWRITE"),
    (0x20, "IN_OPEN"),
    (0x40, "IN_MOVED_FROM"),
    (0x80, "IN_MOVED_TO"),
    (0x100, "IN_CREATE"),
    (0x200, "IN_DELETE"),
    (0x400, "IN_DELETE_SELF"),
    (0x800, "IN_MOVE_SELF"),
    (0x100_0000, "IN_ONLYDIR"),
    (0x200_0000, "IN_DONT_FOLLOW"),
    (0x400_0000, "IN_EXCL_UNLINK"),
    (0x1000_0000, "IN_MASK_CREATE"),
    (0x2000_0000, "IN_MASK_ADD"),
    (0x4000_0000, "IN_ISDIR"),
    (0x8000_0000, "IN_ONESHOT"),
]);
const IOPRIO_WHO: Names = Names::one(&[
    (1, "IOPRIO_WHO_PROCESS"),
    (2, "IOPRIO_WHO_PGRP"),
    (3, "IOPRIO_WHO_USER"),
]);
const KEYCTL: Names = Names::one(&[
    (0, "KEYCTL_GET_KEYRING_ID"),
    (1, "KEYCTL_JOIN_SESSION_KEYRING"),
    (2, "KEYCTL_UPDATE"),
    (3, "KEYCTL_REVOKE"),
    (4, "KEYCTL_CHOWN"),
    (5, "KEYCTL_SETPERM"),
    (6, "KEYCTL_DESCRIBE"),
    (7, "KEYCTL_CLEAR"),
    (8, "KEYCTL_LINK"),
    (9, "KEYCTL_UNLINK"),
    (10, "KEYCTL_SEARCH"),
    (11, "KEYCTL_READ"),
    (12, "KEYCTL_INSTANTIATE"),
    (13, "KEYCTL_NEGATE"),
    (14, "KEYCTL_SET_REQKEY_KEYRING"),
    (15, "KEYCTL_SET_TIMEOUT"),
    (16, "KEYCTL_ASSUME_AUTHORITY"),
    (17, "KEYCTL_GET_SECURITY"),
    (18, "KEYCTL_SESSION_TO_PARENT"),
    (19, "KEYCTL_REJECT"),
    (20, "KEYCTL_INSTANTIATE_IOV"),
    (21, "KEYCTL_INVALIDATE"),
    (22, "KEYCTL_GET_PERSISTENT"),
]);
const KCMP: Names = Names::one(&[
    (0, "KCMP_FILE"),
    (1, "KCMP_VM"),
    (2, "KCMP_FILES"),
    (3, "KCMP_FS"),
    (4, "KCMP_SIGHAND"),
    (5, "KCMP_IO"),
    (6, "KCMP_SYSVSEM"),
    (7, "KCMP_EPOLL_TFD"),
]);
const LANDLOCK: Names = Names::flags(&[
    (1, "LANDLOCK_CREATE_RULESET_VERSION"),
    (2, "LANDLOCK_CREATE_RULESET_ERRATA"),
]);
/// mq_getattr(3)
pub(super) const MQ: Names = Names::flags(&[(0o4000, "O_NONBLOCK")]);
const MOUNT: Names = Names::flags(&[
    (0xc0ed_0000, "MS_MGC_VAL"),
    (1, "MS_RDONLY"),
    (2, "MS_NOSUID"),
    (4, "MS_NODEV"),
    (8, "MS_NOEXEC"),
    (0x10, "MS_SYNCHRONOUS"),
    (0x20, "MS_REMOUNT"),
    (0x40, "MS_MANDLOCK"),
    (0x80, "MS_DIRSYNC"),
    (0x100, "MS_NOSYMFOLLOW"),
    (0x400, "MS_NOATIME"),
    (0x800, "MS_NODIRATIME"),
    (0x1000, "MS_BIND"),
    (0x2000, "MS_MOVE"),
    (0x4000, "MS_REC"),
    (0x8000, "MS_SILENT"),
    (0x1_0000, "MS_POSIXACL"),
    (0x2_0000, "MS_UNBINDABLE"),
    (0x4_0000, "MS_PRIVATE"),
    (0x8_0000, "MS_SLAVE"),
    (0x10_0000, "MS_SHARED"),
    (0x20_0000, "MS_RELATIME"),
    (0x100_0000, "MS_STRICTATIME"),
    (0x200_0000, "MS_LAZYTIME"),
]);
