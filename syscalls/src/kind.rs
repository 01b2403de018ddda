//! What an argument or a result means, and which part of a zone it belongs to.

/// A name space that a zone has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Processes, threads, groups, sessions.
    Pids,
    /// Users and groups.
    Users,
    /// Addresses and ports of sockets.
    Ports,
    /// Names and attributes of files.
    Paths,
    /// Host and domain name.
    Names,
    /// Keys and ids of System V IPC, POSIX queues, key rings.
    Ipc,
    /// None: the kernel's own answer is right in every zone.
    None,
}

/// Whether an argument is read or written by the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Valid before the call.
    In,
    /// Valid after a call that succeeded.
    Out,
    /// Read, then written.
    InOut,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident: $space:ident $direction:ident;)*) => {
        /// The kind of an argument.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Kind] = &[$(Kind::$name),*];

            /// The name space that it belongs to.
            #[must_use]
            pub const fn space(self) -> Space {
                match self { $(Kind::$name => Space::$space,)* }
            }

            /// When it is valid.
            #[must_use]
            pub const fn direction(self) -> Direction {
                match self { $(Kind::$name => Direction::$direction,)* }
            }
        }
    };
}

impl Kind {
    /// Whether its word is all that there is of it, or points at what nobody is shown.
    #[must_use]
    pub const fn is_word(self) -> bool {
        matches!(
            self,
            Self::Fd
                | Self::DirFd
                | Self::Size
                | Self::Count
                | Self::Offset
                | Self::MapOffset
                | Self::Int
                | Self::Flags
                | Self::SigHow
                | Self::Resource
                | Self::StatxMask
                | Self::RenameFlags
                | Self::XattrFlags
                | Self::PriorityOf
                | Self::OpenFlags
                | Self::AtFlags
                | Self::AccessMode
                | Self::Mode
                | Self::Device
                | Self::Command
                | Self::FcntlCommand
                | Self::EpollOp
                | Self::Addr
                | Self::Prot
                | Self::MapFlags
                | Self::Tgid
                | Self::Tid
                | Self::Pgid
                | Self::PidOrPgrp
                | Self::Who
                | Self::Signal
                | Self::CloneFlags
                | Self::WaitOptions
                | Self::Uid
                | Self::Gid
                | Self::SocketDomain
                | Self::SocketType
                | Self::SocketFlags
                | Self::Clock
                | Self::TimeoutMs
                | Self::IpcKey
                | Self::IpcId
        )
    }

    /// Whether its words are sets of flags that have names.
    #[must_use]
    pub const fn is_flags(self) -> bool {
        matches!(
            self,
            Self::OpenFlags
                | Self::AtFlags
                | Self::AccessMode
                | Self::Prot
                | Self::MapFlags
                | Self::CloneFlags
                | Self::WaitOptions
                | Self::SocketType
                | Self::SocketFlags
                | Self::StatxMask
                | Self::RenameFlags
                | Self::XattrFlags
        )
    }
}

kinds! {
    /// A descriptor.
    Fd: None In;
    /// A descriptor of a directory, or `AT_FDCWD`.
    DirFd: Paths In;
    /// Where two descriptors are put.
    FdPairOut: None Out;
    /// A path, NUL-terminated.
    Path: Paths In;
    /// Room for a path.
    PathOut: Paths Out;
    /// Text that is no path of its own, NUL-terminated: an attribute's name, a link's target.
    Text: None In;
    /// A list of texts that ends with a null.
    Strings: None In;
    /// Bytes, as many as the next argument says.
    Buf: None In;
    /// Room for bytes, as much as the next argument says.
    BufOut: None Out;
    /// An array of `struct iovec` to be read.
    Iovec: None In;
    /// An array of `struct iovec` to be filled.
    IovecOut: None Out;
    /// `struct dirent` in a row.
    DirentsOut: Paths Out;
    /// `struct stat` or `struct statx`.
    StatOut: Users Out;
    /// `struct statfs`.
    StatfsOut: Paths Out;
    /// A number of bytes.
    Size: None In;
    /// Where a number of bytes is read and written.
    SizeInOut: None InOut;
    /// A number of things.
    Count: None In;
    /// A position or length in a file, signed, in bytes.
    Offset: None In;
    /// A position in a file, a multiple of the page size.
    MapOffset: None In;
    /// A number, 32 bits, signed.
    Int: None In;
    /// Flags or a choice among constants.
    Flags: None In;
    /// `SIG_BLOCK` and its like.
    SigHow: None In;
    /// `RLIMIT_*`.
    Resource: None In;
    /// `STATX_*`.
    StatxMask: None In;
    /// `RENAME_*`.
    RenameFlags: None In;
    /// `XATTR_*`.
    XattrFlags: None In;
    /// `PRIO_*`.
    PriorityOf: None In;
    /// `O_*`.
    OpenFlags: None In;
    /// `AT_*`.
    AtFlags: None In;
    /// `R_OK`, `W_OK`, `X_OK`, `F_OK`.
    AccessMode: None In;
    /// Mode bits, octal.
    Mode: None In;
    /// A device number.
    Device: None In;
    /// What a multiplexed call does.
    Command: None In;
    /// `F_*` of fcntl(2).
    FcntlCommand: None In;
    /// `EPOLL_CTL_*`.
    EpollOp: None In;
    /// A word whose meaning a command decides.
    Argument: None In;
    /// An address in memory that is the object of the call.
    Addr: None In;
    /// `PROT_*`.
    Prot: None In;
    /// `MAP_*`.
    MapFlags: None In;
    /// A structure to read that holds nothing of a zone.
    StructIn: None In;
    /// Room for a structure that holds nothing of a zone.
    StructOut: None Out;
    /// A structure read and written that holds nothing of a zone.
    StructInOut: None InOut;
    /// A process.
    Tgid: Pids In;
    /// A thread.
    Tid: Pids In;
    /// A process group.
    Pgid: Pids In;
    /// A process, the negative of a group, 0 or -1, as kill(2) and wait4(2) take them.
    PidOrPgrp: Pids In;
    /// A process, group or user, as the argument before it says.
    Who: Pids In;
    /// Where a thread id is stored.
    TidOut: Pids Out;
    /// `siginfo_t`.
    Siginfo: Pids In;
    /// Room for `siginfo_t`.
    SiginfoOut: Pids Out;
    /// `struct sigevent`, which may name a thread.
    Sigevent: Pids In;
    /// `struct clone_args`.
    CloneArgs: Pids In;
    /// Header of capget(2), which names a thread.
    Capabilities: Pids In;
    /// A signal.
    Signal: None In;
    /// A set of signals.
    SigsetIn: None In;
    /// Room for a set of signals.
    SigsetOut: None Out;
    /// `CLONE_*`, with the signal of the end in the low byte.
    CloneFlags: None In;
    /// `WNOHANG` and its like.
    WaitOptions: None In;
    /// Where the status of a child is stored.
    WstatusOut: None Out;
    /// A user; -1 leaves as it is.
    Uid: Users In;
    /// A group of users; -1 leaves as it is.
    Gid: Users In;
    /// Where a user is stored.
    UidOut: Users Out;
    /// Where a group is stored.
    GidOut: Users Out;
    /// An array of groups.
    Gids: Users In;
    /// Room for an array of groups.
    GidsOut: Users Out;
    /// `struct sockaddr`.
    SockAddr: Ports In;
    /// Room for `struct sockaddr`.
    SockAddrOut: Ports Out;
    /// `struct msghdr` or an array of `struct mmsghdr`, to send.
    Msghdr: Ports In;
    /// `struct msghdr` or an array of `struct mmsghdr`, to receive.
    MsghdrOut: Ports Out;
    /// `AF_*`.
    SocketDomain: None In;
    /// `SOCK_*`, with flags.
    SocketType: None In;
    /// `SOCK_CLOEXEC` and `SOCK_NONBLOCK`.
    SocketFlags: None In;
    /// `struct utsname`.
    UtsnameOut: Names Out;
    /// A host or domain name, of a given length.
    HostName: Names In;
    /// `CLOCK_*`.
    Clock: None In;
    /// Milliseconds; -1 is for ever.
    TimeoutMs: None In;
    /// A time to read: `struct timespec`, `timeval` or `itimerspec`.
    TimeIn: None In;
    /// Room for a time.
    TimeOut: None Out;
    /// A time read and written.
    TimeInOut: None InOut;
    /// A key of System V IPC.
    IpcKey: Ipc In;
    /// An id of System V IPC, or a serial number of a key.
    IpcId: Ipc In;
    /// The name of a POSIX message queue.
    IpcName: Ipc In;
    /// Status of a System V object.
    IpcStat: Ipc InOut;
}

/// The kind of a result that is no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 0.
    Zero,
    /// It does not return.
    Never,
    /// A number.
    Int,
    /// Whatever the interrupted call gives.
    Any,
    /// A new descriptor.
    Fd,
    /// Bytes.
    Size,
    /// Things.
    Count,
    /// A position in a file.
    Offset,
    /// An address.
    Addr,
    /// Mode bits.
    Mode,
    /// A signal.
    Signal,
    /// A process, or 0.
    Tgid,
    /// A thread.
    Tid,
    /// A group or session.
    Pgid,
    /// A user.
    Uid,
    /// A group of users.
    Gid,
    /// An id of System V IPC or of a key.
    IpcId,
}

impl Outcome {
    /// The name space that it belongs to.
    #[must_use]
    pub const fn space(self) -> Space {
        match self {
            Outcome::Tgid | Outcome::Tid | Outcome::Pgid => Space::Pids,
            Outcome::Uid | Outcome::Gid => Space::Users,
            Outcome::IpcId => Space::Ipc,
            Outcome::Zero
            | Outcome::Never
            | Outcome::Int
            | Outcome::Any
            | Outcome::Fd
            | Outcome::Size
            | Outcome::Count
            | Outcome::Offset
            | Outcome::Addr
            | Outcome::Mode
            | Outcome::Signal => Space::None,
        }
    }
}

/// One argument.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// Its name, as in the manual.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
}
