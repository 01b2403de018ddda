//! Requests to the monitor: the whole host interface, and the page that carries arguments.
//!
//! A guest fills its thread's [`Mailbox`], then makes the system call
//! [`NR_DOORBELL`](crate::layout::NR_DOORBELL) with the request's number as first argument. The
//! kernel tells the monitor the caller's true thread id; the monitor copies the mailbox once and
//! answers with a value or a negated errno, and perhaps with bytes in [`Mailbox::b`] or with a
//! descriptor installed in the guest.

use crate::capabilities::FilePrivileges;

/// Bytes from one mailbox to the next.
pub const MAILBOX_STRIDE: u64 = 16384;
/// Length of the two text fields, terminating NUL included (the kernel's `PATH_MAX`).
pub const TEXT_MAX: usize = 4096;

/// What a netlink socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum NetlinkKind {
    /// It gets no answers.
    Silent = 0,
    /// `NETLINK_ROUTE`: dumps of interfaces and routes.
    Route = 1,
    /// `NETLINK_SOCK_DIAG`: dumps of sockets.
    Diag = 2,
}

impl NetlinkKind {
    /// The one of this number; of another, [`Silent`](Self::Silent).
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Route,
            2 => Self::Diag,
            _ => Self::Silent,
        }
    }
}

/// `SO_PRIORITY` (which has no meaning for them) of a unix `SOCK_SEQPACKET` socket that stands for a
/// netlink socket.
pub const NETLINK: u32 = 6;

/// Most bytes of a value of [`Request::Recorded`].
pub const RECORDED_MAX: usize = 16;

/// What [`Request::Open`], [`Request::Stat`] and [`Request::Readlink`] answer where the path leads out
/// of the monitor's mounts through a link of theirs: this plus the length of the absolute zone path
/// that `b` receives. The guest resolves it anew, by its own rights, as a link like any other.
pub const ELSEWHERE: u64 = 1 << 32;

/// What [`Request::Sem`] and [`Request::Msg`] answer where the operation cannot be done yet: the thread
/// waits by futex(2) until [`Mailbox::wait`] is no longer 0, then asks for [`Request::EndWait`].
pub const WAIT: u64 = 1 << 33;

/// [`Request::Stat`] answers 0 for what a magic link leads to, which is no node of these mounts.
pub const ONLY_NODES: u64 = 1;

/// [`Request::Chmod`] leaves the host's file alone where it has the mode already.
pub const CHMOD_QUIET: u64 = 1;
/// By which the next request about a file knows it again, while its thread has it open by the same number;
/// 0 says nothing. Where one file's is told for another's, the request is about the first.
#[must_use]
pub const fn file_word(dev: u64, ino: u64) -> u64 {
    // Inode numbers leave the highest bits free.
    ino ^ dev.rotate_left(44)
}

/// The set-id bits that [`Request::Chmod`] or [`Request::Made`] gives go with the first write.
pub const UNTIL_WRITTEN: u64 = 2;
/// The same, also that of a group that may not execute.
pub const UNTIL_WRITTEN_BY_OTHERS: u64 = 2 | 4;
/// [`Request::Chown`] takes the set-group-id bit away even where the group may not execute.
pub const CHOWN_CLEARS_SET_GID: u64 = 2;

/// Operations of [`Request::Xattr`].
pub mod xattr {
    /// args = .., length, flags of setxattr(2); b = value. Of an access control list the flags are none or
    /// [`CLEARS_SET_GID`].
    pub const SET: u64 = 0;
    /// b receives the value. The value of the request is its length.
    pub const GET: u64 = 1;
    /// args = .., 1 if `trusted.*` is listed too; b receives the names. The value is their length.
    pub const LIST: u64 = 2;
    /// Takes it away.
    pub const REMOVE: u64 = 3;
    /// Takes its capabilities away, since it is to be written.
    pub const DROP_CAPABILITIES: u64 = 4;
    /// A change of the mode takes a set-group-id bit away.
    pub const CLEARS_SET_GID: i32 = 4;

    /// Whether an attribute of this name is one of those that only the zone's root sets.
    #[must_use]
    pub fn is_kept(name: &[u8]) -> bool {
        name.starts_with(b"trusted.") || name.starts_with(b"security.")
    }
}

/// Operations of [`Request::Recorded`].
pub mod recorded {
    /// Tells what is kept.
    pub const TELL: u64 = 0;
    /// Keeps a value.
    pub const KEEP: u64 = 1;
    /// Keeps it no more.
    pub const FORGET: u64 = 2;
}

/// Operations of [`Request::Notice`].
pub mod notice {
    /// Makes the socket; the value is its descriptor. The handed-over socket is the one to tell.
    pub const MAKE: u64 = 0;
    /// Nothing will come to the handed-over socket, which was made so.
    pub const FORGET: u64 = 1;
}

/// Words of [`Request::Make`].
pub mod make {
    /// In place of a umask: the monitor asks the kernel.
    pub const UNKNOWN_UMASK: u32 = u32::MAX;
    /// In place of flags of open(2): no descriptor is wanted.
    pub const NOT_OPENED: u32 = u32::MAX;
}

/// Operations of [`Request::Raise`].
pub mod raise {
    /// A file with its content, a directory with stand-ins for what it holds.
    pub const WHOLE: u64 = 0;
    /// A file without its content, which is to be cut.
    pub const EMPTY: u64 = 1;
    /// The file only if another of its names was raised before. The value is 1 then.
    pub const IF_LINKED: u64 = 2;
    /// What a descriptor is one of.
    pub const DESCRIPTOR: u64 = 3;
}

/// Operations of [`Request::Handle`].
pub mod handle {
    /// Remembers that the handle is that of the descriptor's file.
    pub const REMEMBER: u64 = 0;
    /// Tells where the file of a handle was.
    pub const FIND: u64 = 1;
}

/// Operations of [`Request::Key`]: those of keyctl(2) by their own numbers, and two more. Types of keys:
/// what is none of a zone's is 0.
pub mod key {
    /// The type `keyring`.
    pub const RING: u64 = 1;
    /// The type `user`.
    pub const USER: u64 = 2;
    /// The type `logon`.
    pub const LOGON: u64 = 3;
    /// add_key(2): args = .., type, keyring, length, cookie of a file that holds the payload, or 0 if b
    /// does; a = description.
    pub const ADD: u64 = 1 << 32;
    /// request_key(2): args = .., type, keyring, 1 if there is information to make it by; a =
    /// description.
    pub const REQUEST: u64 = ADD + 1;
    /// `KEYCTL_GET_KEYRING_ID`.
    pub const GET_KEYRING_ID: u64 = 0;
    /// `KEYCTL_JOIN_SESSION_KEYRING`: args = .., 1 if there is a name; a = name.
    pub const JOIN_SESSION_KEYRING: u64 = 1;
    /// `KEYCTL_UPDATE`: args = .., key, unused, length, cookie; b as for [`ADD`].
    pub const UPDATE: u64 = 2;
    /// `KEYCTL_REVOKE`.
    pub const REVOKE: u64 = 3;
    /// `KEYCTL_CHOWN`.
    pub const CHOWN: u64 = 4;
    /// `KEYCTL_SETPERM`.
    pub const SETPERM: u64 = 5;
    /// `KEYCTL_DESCRIBE`: from `head` on the text.
    pub const DESCRIBE: u64 = 6;
    /// `KEYCTL_CLEAR`.
    pub const CLEAR: u64 = 7;
    /// `KEYCTL_LINK`.
    pub const LINK: u64 = 8;
    /// `KEYCTL_UNLINK`.
    pub const UNLINK: u64 = 9;
    /// `KEYCTL_SEARCH`: args = .., keyring, type, destination; a = description.
    pub const SEARCH: u64 = 10;
    /// `KEYCTL_READ`: args = .., key, offset; b receives what stands there. The value is the length of
    /// all.
    pub const READ: u64 = 11;
    /// `KEYCTL_INSTANTIATE`, which is only for who was asked to make a key.
    pub const INSTANTIATE: u64 = 12;
    /// `KEYCTL_NEGATE`, likewise.
    pub const NEGATE: u64 = 13;
    /// `KEYCTL_SET_REQKEY_KEYRING`.
    pub const SET_REQKEY_KEYRING: u64 = 14;
    /// `KEYCTL_SET_TIMEOUT`.
    pub const SET_TIMEOUT: u64 = 15;
    /// `KEYCTL_ASSUME_AUTHORITY`.
    pub const ASSUME_AUTHORITY: u64 = 16;
    /// `KEYCTL_GET_SECURITY`.
    pub const GET_SECURITY: u64 = 17;
    /// `KEYCTL_SESSION_TO_PARENT`.
    pub const SESSION_TO_PARENT: u64 = 18;
    /// `KEYCTL_REJECT`, as [`INSTANTIATE`].
    pub const REJECT: u64 = 19;
    /// `KEYCTL_INSTANTIATE_IOV`, likewise.
    pub const INSTANTIATE_IOV: u64 = 20;
    /// `KEYCTL_INVALIDATE`.
    pub const INVALIDATE: u64 = 21;
    /// `KEYCTL_GET_PERSISTENT`.
    pub const GET_PERSISTENT: u64 = 22;
    /// `KEYCTL_RESTRICT_KEYRING`: args = .., keyring, 1 if there is a type.
    pub const RESTRICT_KEYRING: u64 = 29;
    /// `KEYCTL_MOVE`.
    pub const MOVE: u64 = 30;
    /// `KEYCTL_CAPABILITIES`, which the personality answers.
    pub const CAPABILITIES: u64 = 31;
}

macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident = $nr:literal;)*) => {
        /// What a guest may ask of the monitor.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Request { $($(#[$doc])* $name = $nr,)* }

        impl Request {
            /// Every request, in the order of the numbers.
            pub const ALL: &[Request] = &[$(Request::$name,)*];

            /// One more than the highest number: not every number below it is a request's.
            pub const NUMBERS: usize = {
                let [.., last] = Request::ALL else { panic!("there are requests") };
                *last as usize + 1
            };

            /// The request with this number.
            #[must_use]
            pub const fn from_number(nr: u64) -> Option<Request> {
                match nr { $($nr => Some(Request::$name),)* _ => None }
            }

            /// Its name, for counters and traces.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Request::$name => stringify!($name),)* }
            }
        }
    };
}

requests! {
    /// Nothing; measures a round trip.
    Ping = 0;
    /// Vets an `open_how`: args = flags, mode, resolve. The value is the slot's index.
    How = 1;
    /// Opens a path of a monitor mount (`/proc`, `/dev`), or one that only the monitor may open:
    /// args = directory descriptor, flags, mode, 1 if the thread has `CAP_DAC_OVERRIDE`; a = path. The
    /// value is the new descriptor.
    Open = 2;
    /// Attributes of a path of a monitor mount: args = directory descriptor, flags, perhaps
    /// [`ONLY_NODES`]; a = path; b receives a `struct statx`. The value is its length.
    Stat = 3;
    /// Target of a symbolic link of a monitor mount: args = directory descriptor; a = path;
    /// b receives the target, in the zone's terms. The value is its length.
    Readlink = 4;
    /// Zone path of a descriptor: args = descriptor or `AT_FDCWD`; b receives the path. The value
    /// is its length.
    FdPath = 5;
    /// Prepares an exec: args = directory descriptor, flags, file-system user and group, effective
    /// capabilities, count of further groups; a = path; b = those groups, of 32 bits, as many as it has
    /// room for. The handover area receives the load plan.
    Exec = 6;
    /// Mode of a file: args = descriptor, mode, and perhaps [`CHMOD_QUIET`] and
    /// [`UNTIL_WRITTEN`]; the last but one is its [`file_word`], or 0.
    Chmod = 7;
    /// Owner of a file: args = descriptor, uid, gid (-1 leaves one as it is), and perhaps
    /// [`CHOWN_CLEARS_SET_GID`]; the last but one as for `Chmod`.
    Chown = 8;
    /// Times of a file: args = descriptor, then four words (atime and mtime as `struct timespec`); the last
    /// but one as for `Chmod`.
    Utimens = 9;
    /// Binds a socket handed over by [`FD_HAND`](crate::layout::FD_HAND): args = address length,
    /// cookie; b = address.
    Bind = 10;
    /// Connects a handed-over unix socket: args as for `Bind`.
    ConnectUnix = 11;
    /// Zone name of a unix socket address: args = address length; b = address both ways. The value
    /// is the new length.
    UnixName = 12;
    /// Where another zone's (or the host's) address and port live on the host: args = family,
    /// protocol; b = address both ways.
    PeerPort = 13;
    /// Sets the zone's host name (args 0 = 0) or domain name (1): args 1 = length; a = name.
    SetName = 14;
    /// A call about another process or thread of the zone (`getpgid`, `pidfd_open`, `setpriority`,
    /// `sched_*`, `prlimit64`, ...): args = number of the call, then its arguments in the zone's
    /// terms; b = its structure, in or out.
    Process = 15;
    /// Tells the monitor that init has finished its part of a boot, or that a process that init
    /// started ended: args = event, cookie, status.
    Init = 16;
    /// Who is at the other end of a handed-over unix socket: args = unused, cookie; b receives
    /// `struct ucred` in the zone's numbers.
    PeerCred = 17;
    /// Sends one datagram from a handed-over unix socket: args = address length, cookie, cookie of a
    /// second socket from which the datagram is to be read; b = address.
    SendUnix = 18;
    /// Shared memory: args = number of the call, its arguments in order but for addresses, then
    /// effective user and group, process and file system group, two in a word; a = `struct shmid_ds`.
    /// b receives what the call fills in; of shmat the size, the value being a descriptor; of shmdt
    /// the ranges to unmap (start, length), the value being how many.
    Shm = 19;
    /// Semaphores: args as for `Shm`, and the value of SETVAL (of SETALL 0 to ask how many there
    /// are); from a on: `struct sembuf`s, values or `struct semid_ds`. From `head` on the call's
    /// result. The value may be [`WAIT`].
    Sem = 20;
    /// Message queues: args as for `Shm`, and the type of a message to send; from a on: its text, or
    /// `struct msqid_ds`. From `head` on the type and the text, or the call's result. The value may
    /// be [`WAIT`].
    Msg = 21;
    /// Ends a wait: args = the errno that is given if nothing came of it. Else the result.
    EndWait = 22;
    /// Makes a socket that stands for one of netlink: args = zone pid that asks for it,
    /// `SOCK_CLOEXEC | SOCK_NONBLOCK`, a [`NetlinkKind`]. The value is the new descriptor.
    Netlink = 23;
    /// Extended attribute of a file: args = descriptor, operation (see [`xattr`]), ..; a = name.
    Xattr = 24;
    /// Adds a watch to an inotify(7) descriptor that was handed over: args = descriptor of what is
    /// to be watched, cookie, mask. The value is the watch.
    Watch = 25;
    /// POSIX message queues: args = number of mq_open or mq_unlink, flags, mode, 1 if there are
    /// attributes; users as for `Shm`; a = name; b = `struct mq_attr`. The value of mq_open is the new
    /// descriptor.
    Queue = 26;
    /// What is to be mapped in place of a library: args = descriptor. A row of the tables says it.
    Library = 27;
    /// Reports a call that zones do not offer: args = its number and arguments.
    Refused = 28;
    /// The number of a root directory: args = its descriptor.
    Root = 30;
    /// Mounts: args = `MS_*`; a = mount point, free of links; b = source (of binds and moves free of links
    /// too), type and options, each NUL-terminated.
    Mount = 31;
    /// Takes a mount away: args = `MNT_*`; a = mount point, free of links.
    Umount = 32;
    /// Sets a lease on a file that was handed over: args = unused, cookie, `F_RDLCK` or `F_WRLCK`.
    Lease = 36;
    /// Handles of files: args = descriptor, operation (see [`handle`]), length; b = type (32 bits) and
    /// bytes of the handle. For [`handle::FIND`] b receives the zone path, the value being its length.
    Handle = 37;
    /// Makes a socket that is connected to an address, to send for a handed-over unix datagram socket,
    /// whose name it shows: args as for `Bind`. The value is the new descriptor.
    Messenger = 41;
    /// An option of a handed-over socket that is more than the host gives: args = level (high word) and
    /// option, cookie, operation (see [`recorded`]), length; b = value both ways. The value of the
    /// request is the length of what is kept, 0 if nothing is.
    Recorded = 42;
    /// A handed-over TCP socket listens now: args = the port that it had before, cookie.
    Listens = 43;
    /// Length of a file: args = descriptor, length, 1 if set-id bits stay.
    Truncate = 45;
    /// ETXTBSY if a process of the zone executes a file: args = descriptor, hash of the name by which it
    /// is to be written (see [`running`](crate::running)).
    Running = 46;
    /// Flags of a file (`FS_*_FL`): args = descriptor, flags, which of them are to be set so. The value is
    /// those that the host's file had.
    Mark = 47;
    /// Keys: args = operation (see [`key`]), its arguments, then in the last two words file system user
    /// and group, process and real user.
    Key = 48;
    /// A socket of netlink(7) by which a POSIX queue tells of a message (`SIGEV_THREAD`): what comes there
    /// goes on to a handed-over socket that stands for one. args = operation (see [`notice`]), cookie.
    Notice = 49;
    /// Vets the names in [`Commons::missed`](crate::commons::Commons::missed).
    Names = 53;
    /// Asks to be told of changes on the way to a directory: args = its mount's row; a = its path
    /// beneath that, free of links. A row of the tables says that it is so.
    Watched = 54;
    /// The access list of a file: args = its row of the ownership table. b receives it, the value being its
    /// length.
    List = 57;
    /// Makes of a stand-in in a copy-on-write layer what it stands for: args = descriptor of the
    /// directory, operation (see [`raise`]); a = name. For [`raise::DESCRIPTOR`] the first is that of
    /// a file below, and the value a descriptor of what stands for it in the layer now.
    Raise = 58;
    /// What is to be said of a file just made: args = descriptor, uid, gid, mode that was asked for, and
    /// one more than the row of its directory in the ownership table, if that has a default list, else 0;
    /// and perhaps [`UNTIL_WRITTEN`].
    Made = 80;
    /// Attributes of a file of `/proc` that is open: args = descriptor; b receives a `struct statx`, as of
    /// its path, also when the process is gone. The value is its length.
    StatOpened = 120;
    /// A process is a client from now on, or is a new one. There is no mailbox yet: the doorbell's third
    /// argument says how (see [`enter`](crate::clients::enter)), two more what.
    Enter = 130;
    /// A number for a client that is about to be born. `head` receives the token by which it is known.
    Birth = 131;
    /// A client has been born: args = zone pid, host pid.
    Born = 132;
    /// Has a clerk make a call: args = number (low word) and bytes of data (high word), its arguments,
    /// cookie of what it is about; from `a` on: what they point at, the arguments being one more than
    /// places there, or 0.
    Forward = 133;
    /// Makes a file of which the zone has something to say, and says it: args = directory descriptor or
    /// `AT_FDCWD`, type and mode (low word) and umask (high word), uid and gid likewise, one more than the
    /// row of the directory in the ownership table if that has a default list, perhaps [`UNTIL_WRITTEN`]
    /// (low word) and flags of open(2) (high word), one more than the descriptor that is to be replaced,
    /// device; a = name; b = what a link leads to. See [`make`]. The value is a descriptor, if one is wanted.
    Make = 140;
    /// Set-id bits that wait for a write stay, since who keeps them is about to write, if nobody has the
    /// file open to write it: args = descriptor.
    KeepSetIds = 141;
    /// Sends a message from a handed-over unix socket, with the credentials of another: args = process,
    /// cookie, cookie of a second socket from which the message is to be read, user, group. The value is
    /// how many bytes were sent.
    Pose = 142;
    /// Whose credentials came with a message: args = host pid that the kernel told; b receives
    /// `struct ucred` in the zone's numbers.
    Posed = 143;
    /// A handed-over socket that was bound to a wildcard is about to be connected, and shows the address
    /// that the kernel would have chosen: args = which ([`Covers`](crate::net::Covers), 0 for the wildcard),
    /// its port on the host, cookie.
    Settle = 144;
    /// Makes the content of an open file of `/proc` anew, and puts it in the place of its descriptor: args =
    /// descriptor. Of a process that is gone, it is one that cannot be read: ESRCH.
    Renew = 145;
    /// Mounts by descriptor: args = operation (see [`operation`](crate::detached::operation)), ..; what is
    /// in a and b it says too.
    Detached = 150;
    /// The directory above one whose path on the host is too long to be told: args = descriptor or
    /// `AT_FDCWD`. The value is its descriptor. EXDEV: the path can be told.
    Above = 151;
}

/// Set in the answer to `pidfd_send_signal`, beside the zone pid, where the descriptor is a process'
/// directory of `/proc`.
pub const PIDFD_DIRECTORY: u64 = 1 << 32;

/// One thread's page of arguments and results. All of it is written by guests.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Mailbox {
    /// Numbers, by request. Of one about a file whose path on the host is too long to be told, the last is
    /// a descriptor of the file's directory.
    pub args: [u64; 8],
    /// 0 as long as the thread is to wait, see [`WAIT`].
    pub wait: u32,
    /// Unused.
    pub pad: [u32; 13],
    /// The type of a message, in front of its text.
    pub head: u64,
    /// A path or a name, NUL-terminated.
    pub a: [u8; TEXT_MAX],
    /// A second text, or bytes out.
    pub b: [u8; TEXT_MAX],
    /// What an exec hands to the program that starts afresh.
    pub handover: Handover,
}

/// How many `PT_LOAD` segments a load plan can have.
pub const SEGMENTS_MAX: usize = 24;

/// One segment to map, as in the program header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Segment {
    /// Address, before the bias of a position-independent image is added; not page-aligned.
    pub vaddr: u64,
    /// Offset in the file of `vaddr`.
    pub offset: u64,
    /// Bytes from the file.
    pub file_size: u64,
    /// Bytes in memory; what is beyond `file_size` is zero.
    pub mem_size: u64,
    /// `PROT_READ | PROT_WRITE | PROT_EXEC`.
    pub prot: u32,
    /// Unused.
    pub pad: u32,
}

/// How to map one ELF image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Image<const SEGMENTS: usize = SEGMENTS_MAX> {
    /// The descriptor that the monitor installed in the guest; closed once the image is mapped.
    pub fd: i32,
    /// 1 if the image is position independent (`ET_DYN`).
    pub is_dyn: u32,
    /// Entry point, before the bias.
    pub entry: u64,
    /// Address of the program headers in memory, before the bias; 0 if they are not mapped.
    pub phdr: u64,
    /// Number of program headers.
    pub phnum: u32,
    /// How many of `segments` are used.
    pub count: u32,
    /// Lowest page and first byte beyond the highest page, before the bias.
    pub span: [u64; 2],
    /// Largest alignment of a segment (a power of two, at least the page size).
    pub align: u64,
    /// The segments, in ascending order.
    pub segments: [Segment; SEGMENTS],
}

impl<const SEGMENTS: usize> Image<SEGMENTS> {
    /// The same image with room for another number of segments, if that is enough.
    #[must_use]
    pub fn with_room<const OTHER: usize>(&self) -> Option<Image<OTHER>> {
        let used = self.segments.get(..self.count as usize)?;
        let mut segments = [Segment::default(); OTHER];
        segments.get_mut(..used.len())?.copy_from_slice(used);
        Some(Image {
            fd: self.fd,
            is_dyn: self.is_dyn,
            entry: self.entry,
            phdr: self.phdr,
            phnum: self.phnum,
            count: self.count,
            span: self.span,
            align: self.align,
            segments,
        })
    }
}

/// A tracer waits that is told no more than its own users may know.
pub const AWAITED: u32 = 1;
/// A tracer waits that has `CAP_SYS_PTRACE` in the zone.
pub const AWAITED_BY_ROOT: u32 = 2;
/// Bit of [`Handover::kept`]: another process may have its working directory, its root directory and its
/// umask in common with it (`CLONE_FS`).
pub const SHARES_DIRECTORIES: u32 = 1;
/// Bit of [`Handover::kept`]: rules of landlock(7) that it put on itself may hold for it.
pub const IS_RESTRICTED: u32 = 2;

/// What an exec hands over, through the mailbox of the process' leader.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Handover {
    /// 1: a program; 2: zone init (no program); anything else: nothing was prepared.
    pub kind: u32,
    /// 1 if the stack is to be executable (`PT_GNU_STACK` with PF_X; on x86-64 a missing one is not).
    pub exec_stack: u32,
    /// The guest's signal mask, which the start code restores last.
    pub mask: u64,
    /// 1 if there is an interpreter.
    pub has_interp: u32,
    /// Length of `path`.
    pub path_len: u32,
    /// The process' zone pid, which spares it to look for it.
    pub zone_pid: u32,
    /// What the kernel keeps over an exec and only the personality knows: [`SHARES_DIRECTORIES`],
    /// [`IS_RESTRICTED`].
    pub kept: u32,
    /// The program's image.
    pub exe: Image,
    /// The interpreter's image.
    pub interp: Image,
    /// The program's resolved path in the zone (`/proc/self/exe`); behind its NUL the name by which it
    /// was executed (`AT_EXECFN`), if that is another.
    pub path: [u8; 1024],
    /// Length of that name; 0: it is the path.
    pub name_len: u32,
    /// How many arguments `front` holds; they replace the guest's first argument.
    pub front_count: u32,
    /// Signals that the guest ignores though the kernel does not (bit N - 1 for signal N).
    pub ignored: u32,
    /// Not 0 if a tracer waits for the guest's entry: [`AWAITED`] or [`AWAITED_BY_ROOT`]. Set by the
    /// tracer, after the exec.
    pub is_awaited: u32,
    /// 1 if its calls must come by SIGSYS, since it is traced: its files are mapped as they are.
    pub is_plain: u32,
    /// One more than the soft limit of descriptors to go back to, where there had to be room for the
    /// images; else 0.
    pub soft_limit: u64,
    /// `st_dev` and `st_ino` of the program's file.
    pub exe_file: [u64; 2],
    /// What the program's file gives to who executes it.
    pub privileges: FilePrivileges,
    /// Name of the thread (`/proc/PID/comm`): the last name of the path as it was given to execve,
    /// NUL-terminated.
    pub comm: [u8; 16],
    /// `#!`: the arguments to put in front, each NUL-terminated, one after the other. Last, since it
    /// is mostly empty.
    pub front: [u8; 1024],
}

const _: () = assert!(size_of::<Mailbox>() as u64 <= MAILBOX_STRIDE);
/// What the arguments of a client's call point at lies from the first text on.
const _: () = assert!(
    core::mem::offset_of!(Mailbox, a) + picozone_syscalls::forward::DATA_MAX
        <= size_of::<Mailbox>()
);
