//! Forms: which arguments of a call are harmless from anybody, as data.
//!
//! A form is a disjunction of conjunctions of tests on register values. The filter compiles it, a
//! test compares the filter with [`Test::holds`]. Only scalars are judged; what a pointer points at
//! may change.

use crate::bpf::TRACE;
use crate::nr;

/// What the tests compare with.
#[derive(Clone, Debug)]
pub struct FilterLayout {
    /// The personality's image.
    pub personality: core::ops::Range<u64>,
    /// Where in there the personality has a guest's own filters judge a call: behind the instruction.
    /// Nothing that the personality serves is ever made from there.
    pub judge: u64,
    /// The approved `open_how`s, 32 bytes apart.
    pub hows: core::ops::Range<u64>,
    /// Address of the empty string.
    pub empty: u64,
    /// The approved source addresses, 128 bytes apart.
    pub sources: core::ops::Range<u64>,
    /// The approved `struct msghdr`s, 64 bytes apart.
    pub messages: core::ops::Range<u64>,
    /// The read-only tables.
    pub tables: core::ops::Range<u64>,
    /// The vetted names, 64 bytes apart.
    pub names: core::ops::Range<u64>,
    /// First reserved descriptor.
    pub fd_base: u32,
    /// How many are reserved.
    pub fd_count: u32,
    /// The personality's descriptor.
    pub fd_personality: u32,
    /// The tables' descriptor.
    pub fd_tables: u32,
    /// First of the reserved descriptors that the process may replace; the rest are behind it.
    pub fd_parents: u32,
    /// The doorbell's number.
    pub doorbell: u32,
    /// What becomes of a call that the personality is to serve: [`TRAP`](crate::filter::TRAP), or
    /// [`TRACE`](crate::filter::TRACE) where a tracer brings it there.
    pub trap: u32,
}

impl FilterLayout {
    /// Whether nobody may make a call, whatever its row says. A tracer has the last word on calls that
    /// stop for one (`SECCOMP_RET_TRACE`), so that no guest may be one where they do.
    #[must_use]
    pub fn is_refused(&self, number: u32) -> bool {
        /// `SECCOMP_RET_ACTION_FULL`; below stands a word for whoever is told.
        const ACTION: u32 = 0xffff_0000;
        self.trap & ACTION == TRACE && number == nr::ptrace
    }
}

/// One test; the first field is the argument's index.
#[derive(Clone, Copy, Debug)]
pub enum Test {
    /// The low word is not a reserved descriptor.
    FdFree(u8),
    /// The low word is the personality's descriptor.
    FdPersonality(u8),
    /// The low word is the tables' descriptor.
    FdTables(u8),
    /// The low word is a reserved descriptor that the process may replace.
    FdParents(u8),
    /// The low word is this.
    EqLow(u8, u32),
    /// The low word is one of these.
    OneOf(u8, &'static [u32]),
    /// These bits of the low word are clear.
    Clear(u8, u32),
    /// These bits of the low word have this value.
    Masked(u8, u32, u32),
    /// The high word is 0.
    HighZero(u8),
    /// Both words are 0.
    Null(u8),
    /// One of the words is not 0.
    NotNull(u8),
    /// Points at an approved `open_how`.
    How(u8),
    /// Is the address of the empty string.
    Empty(u8),
    /// Points at a vetted name: a single component, and not `..`.
    Name(u8),
    /// Points at an approved source address.
    Source(u8),
    /// Points at an approved `struct msghdr`.
    Message(u8),
    /// The high word lies outside our region, with a terabyte to spare below it.
    Outside(u8),
    /// The high word lies above the region, so that no range from there reaches it.
    Above(u8),
    /// The high word lies in the region, beyond the tables.
    Shared(u8),
    /// Is the start of the tables.
    TablesBase(u8),
    /// The high word is that of the personality's image.
    InPersonality(u8),
    /// The masked low word is one of these.
    OneOfMasked(u8, u32, &'static [u32]),
    /// The high word is below 0x100: less than a terabyte.
    Short(u8),
    /// The high word is below this.
    HighBelow(u8, u32),
    /// The low word lies beyond the reserved descriptors.
    AboveFds(u8),
    /// The low word lies below the reserved descriptors.
    BelowFds(u8),
}

/// A disjunction of conjunctions.
pub type Form = &'static [&'static [Test]];

use Test::{
    Above, AboveFds, BelowFds, Clear, Empty, EqLow, FdFree, FdParents, FdPersonality, FdTables,
    HighBelow, HighZero, How, InPersonality, Masked, Message, Name, NotNull, Null, OneOf,
    OneOfMasked, Outside, Shared, Short, Source, TablesBase,
};

/// Every argument is harmless.
pub(crate) const ANY: Form = &[&[]];
/// None is.
pub(crate) const NEVER: Form = &[];
/// A descriptor that is not reserved.
pub(crate) const FD0: Form = &[&[FdFree(0)]];
/// Two such.
pub(crate) const FD01: Form = &[&[FdFree(0), FdFree(1)]];
/// lseek, but to the beginning, where files of `/proc` are made anew: `SEEK_CUR` and what follows it, or
/// to another place.
pub(crate) const LSEEK: Form = &[&[NotNull(1)], &[OneOf(2, &[1, 2, 3, 4])]];
const F_DUPFD_CLOEXEC: u32 = 1030;
/// fcntl: commands that name no process. Of leases, which make others wait, the question (1025) and
/// giving one up. Of hints on lifetimes (1035 to 1038) only the questions: whose file it is, no filter
/// sees. F_SETSIG (10) chooses a signal; who gets it, see below.
pub(crate) const FCNTL: Form = &[&[
    FdFree(0),
    OneOf(
        1,
        &[
            0,
            1,
            2,
            3,
            4,
            6,
            7,
            10,
            11,
            37,
            38,
            F_DUPFD_CLOEXEC,
            1026,
            1027,
            1028,
            1031,
            1032,
            1033,
            1034,
            1035,
            1037,
            1025,
        ],
    ),
]];
const F_UNLCK: u32 = 2;
/// F_GETLK, F_OFD_GETLK, F_SETOWN_EX and F_GETOWN_EX, which name a process. Landlock bounds who is
/// signalled.
pub(crate) const FCNTL_IDS: Form = &[
    &[FdFree(0), OneOf(1, &[5, 36, 15, 16])],
    &[FdFree(0), EqLow(1, 1024), EqLow(2, F_UNLCK)],
];
/// TIOCGPGRP, TIOCSPGRP, TIOCGSID: the session bounds them. PIDFD_GET_INFO in its first size: no guest
/// has a descriptor of a process outside its zone.
/// FS_IOC_GETFLAGS and FS_IOC_FSGETXATTR: what they tell is not all.
pub(crate) const IOCTL_IDS: Form = &[&[
    FdFree(0),
    OneOf(
        1,
        &[
            0x540f,
            0x5410,
            0x5429,
            0xc040_ff0b,
            0x8008_6601,
            0x801c_581f,
        ],
    ),
]];
/// Not across the reserved descriptors.
pub const CLOSE_RANGE: Form = &[&[AboveFds(0)], &[BelowFds(1)]];
/// ioctl: terminals without process ids, sizes, flags of descriptors, userfaultfd(2).
pub(crate) const IOCTL: Form = &[&[
    FdFree(0),
    OneOf(
        1,
        &[
            0x2,
            0x5401,
            0x5402,
            0x5403,
            0x5404,
            0x5405,
            0x5406,
            0x5407,
            0x5408,
            0x5409,
            0x540a,
            0x540b,
            0x540c,
            0x540d,
            0x540e,
            0x5411,
            0x5413,
            0x5414,
            // TIOCGSOFTCAR, TIOCSSOFTCAR, TIOCSBRK, TIOCCBRK, TIOCGLCKTRMIOS.
            0x5419,
            0x541a,
            0x5427,
            0x5428,
            0x5456,
            0x541b,
            0x5420,
            0x5421,
            0x5422,
            0x5424,
            0x5425,
            0x5450,
            0x5451,
            0x5452,
            0x5460,
            0x8004_5430,
            0x4004_5431,
            0x8004_5439,
            // TIOCGDEV, TIOCGPKT, TIOCGEXCL; SIOCOUTQNSD.
            0x8004_5432,
            0x8004_5438,
            0x8004_5440,
            0x894b,
            // SIOCATMARK; SIOCGSTAMP and SIOCGSTAMPNS in their old and new forms.
            0x8905,
            0x8906,
            0x8907,
            0x8010_8906,
            0x8010_8907,
            0x802c_542a,
            0x402c_542b,
            0x402c_542c,
            0x402c_542d,
            0x4004_9409,
            0x4020_940d,
            0xc020_660b,
            // PAGEMAP_SCAN; EPIOCSPARAMS, EPIOCGPARAMS.
            0xc060_6610,
            0x4008_8a01,
            0x8008_8a02,
            // NS_GET_USERNS, NS_GET_PARENT, NS_GET_NSTYPE, NS_GET_OWNER_UID: nobody enters what they give.
            0xb701,
            0xb702,
            0xb703,
            0xb704,
            0x8004_5200,
            // TFD_IOC_SET_TICKS, FS_IOC_GETVERSION.
            0x4008_5400,
            0x8008_7601,
            0xc018_aa3f,
            0xc020_aa00,
            0x8010_aa01,
            0x8010_aa02,
            0xc028_aa03,
            0xc020_aa04,
            0xc028_aa05,
            0xc018_aa06,
            0xc020_aa07,
            0xc020_aa08,
        ],
    ),
]];
const MAP_FIXED_FLAGS: u32 = 0x10 | 0x10_0000;
/// High words of ranges that are longer than a terabyte, as AddressSanitizer maps them: what begins below
/// LOW and is shorter than LONG ends below our region (which begins at 0x6600), as does what begins below
/// MIDDLE and is shorter than LESS.
const LOW: u32 = 0x2000;
const LONG: u32 = 0x4000;
const MIDDLE: u32 = 0x6100;
const LESS: u32 = 0x500;
/// mmap: outside the region; where the kernel pleases, which replaces nothing; or the tables read-only
/// at their place; or the other shared regions.
pub(crate) const MMAP: Form = &[
    &[Outside(0), Short(1)],
    &[Null(0), Clear(3, MAP_FIXED_FLAGS)],
    &[Above(0)],
    &[HighBelow(0, LOW), HighBelow(1, LONG)],
    &[HighBelow(0, MIDDLE), HighBelow(1, LESS)],
    &[
        TablesBase(0),
        FdTables(4),
        EqLow(2, 1),
        Null(5),
        Masked(3, MAP_FIXED_FLAGS | 3, 0x10_0000 | 1),
    ],
    &[Shared(0), Short(1), Clear(2, 4)],
];
/// A range of addresses outside the region.
pub(crate) const RANGE: Form = &[
    &[Outside(0), Short(1)],
    &[Above(0)],
    &[HighBelow(0, LOW), HighBelow(1, LONG)],
    &[HighBelow(0, MIDDLE), HighBelow(1, LESS)],
    &[Shared(0), Short(1)],
    &[TablesBase(0), Short(1)],
    &[InPersonality(0), Short(1)],
];
/// Both places outside.
pub(crate) const MREMAP: Form = &[
    &[Outside(0), Short(1), Short(2), Outside(4)],
    &[Outside(0), Short(1), Short(2), Clear(3, 2)],
];
/// The same, not even at its own objects.
pub(crate) const OUTSIDE: Form = &[&[Outside(0), Short(1)]];
/// Advice outside the region; inside only what keeps a mapping in children and its content
/// (`MADV_DONTDUMP`). No `MADV_MERGEABLE`: how long a write takes tells what other zones hold. No
/// poisoning. The first are what allocators give.
pub(crate) const MADVISE: Form = &[
    &[Outside(0), Short(1), ADVICE],
    &[Above(0), ADVICE],
    &[HighBelow(0, LOW), HighBelow(1, LONG), ADVICE],
    &[HighBelow(0, MIDDLE), HighBelow(1, LESS), ADVICE],
    &[EqLow(2, 16)],
];
const ADVICE: Test = OneOf(
    2,
    &[
        4, 8, 14, 0, 1, 2, 3, 9, 10, 11, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 102, 103,
    ],
);
/// Clocks of timers that do not wake the machine from its sleep.
pub(crate) const TIMERFD: Form = &[&[Clear(0, 8)]];
/// Clocks of the machine; clocks behind descriptors, of which a zone has none; and those of the calling
/// process and thread, named by no number.
pub(crate) const CLOCK: Form = &[
    &[Clear(0, 0x8000_0000)],
    &[Masked(0, 7, 3)],
    &[OneOf(
        0,
        &[
            0xffff_fff8,
            0xffff_fff9,
            0xffff_fffa,
            0xffff_fffc,
            0xffff_fffd,
            0xffff_fffe,
        ],
    )],
];
/// The same; clocks of threads by number, which the kernel keeps to the caller's process. Others tell of
/// any process.
pub(crate) const CLOCK_IDS: Form = &[
    &[Clear(0, 0x8000_0000)],
    &[Masked(0, 4, 4)],
    &[Masked(0, 7, 3)],
    &[OneOf(0, &[0xffff_fff8, 0xffff_fff9, 0xffff_fffa])],
];
/// What a thread shares with others (CLONE_FILES, _FS, _SYSVSEM, _THREAD, _SIGHAND, _VM): no name spaces.
pub(crate) const UNSHARE: Form = &[&[Clear(0, !0x0005_0f00), HighZero(0)]];
/// The same, but for descriptors and working directory, of which the personality must know.
pub(crate) const UNSHARE_LITTLE: Form = &[&[Clear(0, !0x0005_0900), HighZero(0)]];
/// seccomp: one more filter (`SECCOMP_SET_MODE_FILTER`), which only takes away: the kernel does the least
/// of what several filters say. No listener (`SECCOMP_FILTER_FLAG_NEW_LISTENER`).
pub(crate) const SECCOMP: Form = &[&[EqLow(0, 1), Clear(1, !0x17), HighZero(1)]];
/// No flags, which came with later versions of landlock(7) than guests see.
pub(crate) const LANDLOCK_RESTRICT: Form = &[&[EqLow(1, 0)]];
/// `UFFD_USER_MODE_ONLY`: nobody but the guest's own code waits for such a fault.
pub(crate) const USERFAULTFD: Form = &[&[Masked(0, 1, 1)]];
/// Sockets of the families that zones have. No call that is admitted lets a unix socket name a path.
pub(crate) const SOCKET: Form = &[
    &[OneOf(0, &[2, 10]), OneOfMasked(1, 0xf, &[1, 2])],
    &[EqLow(0, 1), OneOfMasked(1, 0xf, &[1, 2, 3, 5])],
];
/// A message that names nobody, or by an address of a length that no unix socket accepts.
pub(crate) const SENDMSG: Form = &[&[Message(1)]];
/// Options that choose no device and attach no program of bpf(2). Filters of the older kind
/// (`SO_ATTACH_FILTER`, `SO_ATTACH_REUSEPORT_CBPF`) see what their own socket receives.
pub(crate) const SETSOCKOPT: Form = &[
    &[
        EqLow(1, 1),
        OneOf(
            2,
            &[
                2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 26, 27, 29, 34, 35,
                37, 40, 41, 42, 43, 44, 45, 46, 47, 49, 51, 60, 61, 63, 64, 65, 66, 67, 68, 72, 73,
                74, 75, 82,
            ],
        ),
    ],
    &[OneOf(1, &[0, 17])],
    TCP,
];
/// SO_SNDBUF, SO_RCVBUF and TCP_CONGESTION, beside which others may be recorded; and what is set for IPv4
/// beside IPv6.
pub(crate) const SETSOCKOPT_OWN: Form = &[
    &[EqLow(1, 1), OneOf(2, &[7, 8])],
    &[EqLow(1, 6), EqLow(2, 13)],
    &[EqLow(1, 41)],
];
/// The same; SO_TYPE, SO_PROTOCOL and SO_DOMAIN, which are others' where a packet socket
/// stands for a netlink socket; SO_PEERNAME, which is in the host's terms; and IPV6_V6ONLY.
pub(crate) const SOCKET_KIND: Form = &[
    &[EqLow(1, 1), OneOf(2, &[3, 7, 8, 28, 38, 39])],
    &[EqLow(1, 6), EqLow(2, 13)],
    &[EqLow(1, 41), EqLow(2, 26)],
];
/// Options of TCP but TCP_CONGESTION.
const TCP: &[Test] = &[
    EqLow(1, 6),
    OneOf(
        2,
        &[
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,
            26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47,
            48,
        ],
    ),
];
/// Options that tell no process or user.
pub(crate) const GETSOCKOPT: Form = &[
    &[
        EqLow(1, 1),
        OneOf(
            2,
            &[
                2, 4, 5, 6, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 26, 29, 30, 33, 34, 35,
                37, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 55, 56, 57, 60, 61, 63, 64, 65, 66, 67,
                72, 73, 74, 75, 82,
            ],
        ),
    ],
    &[OneOf(1, &[0, 17])],
    // All of IPv6 but IPV6_V6ONLY (26), which the host's sockets do not have once they are bound.
    &[EqLow(1, 41), Clear(2, 0x10)],
    &[EqLow(1, 41), Masked(2, 0x18, 0x10)],
    &[
        EqLow(1, 41),
        OneOf(
            2,
            &[24, 25, 27, 28, 29, 30, 31, 56, 57, 58, 59, 60, 61, 62, 63],
        ),
    ],
    TCP,
];
/// prctl: names, death signals, slack, memory names, traps and events of the thread's own, what the kernel
/// laid on its stack; PR_SET_MM changes only the caller's own map. That nobody may trace it
/// (`PR_SET_PTRACER`).
pub(crate) const PRCTL: Form = &[
    &[OneOf(
        0,
        &[
            1,
            2,
            13,
            14,
            15,
            16,
            25,
            26,
            29,
            30,
            31,
            32,
            33,
            34,
            35,
            36,
            37,
            40,
            41,
            42,
            52,
            53,
            57,
            58,
            65,
            66,
            68,
            77,
            0x5356_4d41,
            0x4155_5856,
        ],
    )],
    &[EqLow(0, 0x5961_6d61), EqLow(1, 0), HighZero(1)],
    // PR_SET_SYSCALL_USER_DISPATCH: off, and on for all but the personality. What it lets pass the filter
    // judges as ever.
    &[EqLow(0, 59), EqLow(1, 0)],
    &[EqLow(0, 59), OneOf(1, &[1, 2]), InPersonality(2)],
];
/// arch_prctl: fs, questions, and whether the thread may use CPUID.
pub const ARCH_PRCTL: Form = &[&[OneOf(
    0,
    &[
        0x1002, 0x1003, 0x1011, 0x1012, 0x1021, 0x1022, 0x1023, 0x3001, 0x3002,
    ],
)]];
/// ioprio_get, ioprio_set: IOPRIO_WHO_PROCESS, only the caller itself.
pub(crate) const IOPRIO: Form = &[&[EqLow(0, 1), EqLow(1, 0)]];
/// pidfd_getfd: both descriptors free. The kernel asks Landlock whose they are.
pub(crate) const PIDFD_GETFD: Form = &[&[FdFree(0), FdFree(1)]];
/// Only the caller itself.
pub(crate) const SELF0: Form = &[&[EqLow(0, 0)]];
/// The same where the process is the second argument.
pub(crate) const SELF1: Form = &[&[EqLow(0, 0), EqLow(1, 0)]];
/// No mask.
pub(crate) const NULL3: Form = &[&[Null(3)]];
/// No mask, no address.
pub(crate) const NULL4: Form = &[&[Null(4)]];
/// No mask.
pub(crate) const NULL5: Form = &[&[Null(5)]];
/// To an address of a length that no unix socket accepts.
pub(crate) const SENDTO: Form = &[&[EqLow(5, 128)]];
/// A length that no unix socket accepts (unix_validate_addr, net/unix/af_unix.c).
pub(crate) const CONNECT: Form = &[&[EqLow(2, 128)]];
/// An own address without a port.
pub(crate) const BIND: Form = &[&[Source(1), EqLow(2, 128)]];
/// personality: the question, and what changes nothing that a zone tells (`PER_LINUX`,
/// `ADDR_NO_RANDOMIZE`).
pub(crate) const PERSONALITY: Form = &[&[OneOf(0, &[0xffff_ffff, 0, 0x4_0000])]];
/// The personality, afresh.
pub(crate) const EXECVEAT: Form = &[&[FdPersonality(0), Empty(1), EqLow(4, 0x1000), HighZero(4)]];
const CLONE_NEW: u32 = 0x7e02_0000 | 0x80;
/// No name spaces (CLONE_NEW*), no tracing.
pub(crate) const CLONE: Form = &[&[Clear(0, CLONE_NEW | 0x2000)]];
/// ptrace: Landlock holds it within the zone, and what a tracee calls is judged after its tracer's
/// last word. Left out: seccomp's filters, syscall user dispatch, arch_prctl of another.
pub(crate) const PTRACE: Form = &[&[OneOf(
    0,
    &[
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 24, 31, 32, 33, 0x4200, 0x4201,
        0x4202, 0x4203, 0x4204, 0x4205, 0x4206, 0x4207, 0x4208, 0x4209, 0x420a, 0x420b, 0x420e,
        0x420f, 0x4212,
    ],
)]];
/// Plain files, pipes and sockets, without set-id bits.
pub(crate) const MKNODAT: Form = &[&[
    Clear(2, 0o6000),
    OneOfMasked(2, 0o170_000, &[0, 0o100_000, 0o010_000, 0o140_000]),
]];
/// By descriptor, or by a vetted name, which is not followed: an approved open that only names
/// (`O_PATH | O_NOFOLLOW`) leads from any descriptor to the same files.
pub(crate) const NEWFSTATAT: Form = &[&[Empty(1)], &[Name(1), EqLow(3, AT_SYMLINK_NOFOLLOW)]];
/// The same; how fresh it must be may be chosen (`AT_STATX_SYNC_TYPE`).
pub(crate) const STATX: Form = &[
    &[Empty(1)],
    &[Name(1), Masked(2, !0x6000, AT_SYMLINK_NOFOLLOW)],
];
/// The same; links are not followed anyway.
pub(crate) const READLINKAT: Form = &[&[Empty(1)], &[Name(1)]];
/// The same.
pub(crate) const FACCESSAT2: Form = &[&[Empty(1)], &[Name(1), EqLow(3, AT_SYMLINK_NOFOLLOW)]];
const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
/// A directory that is kept at hand in place of another.
pub(crate) const DUP3: Form = &[&[FdFree(0), FdParents(1), EqLow(2, 0)]];
/// Not to a table of its own: directories at hand are known by number to all threads.
pub(crate) const CLOSE_RANGE_SHARED: Form =
    &[&[AboveFds(0), Clear(2, 2)], &[BelowFds(1), Clear(2, 2)]];
/// By descriptor only.
pub(crate) const EMPTY1: Form = &[&[Empty(1)]];
/// Hard links by name, or by descriptor.
pub(crate) const LINKAT: Form = &[&[Clear(4, 0x400)]];
/// An approved way.
pub(crate) const OPENAT2: Form = &[&[How(2), EqLow(3, 24), HighZero(3)]];
