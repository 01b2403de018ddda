//! The calls that are drawn, and what their arguments are.

use crate::tree::{FIRST_FD, INOTIFY_FD};
use picozone_guests::NOWHERE;

/// What an argument is.
#[derive(Clone, Copy)]
pub(crate) enum Arg {
    /// A descriptor that paths are relative to.
    Dir,
    Fd,
    /// A descriptor of a file.
    FileFd,
    /// A path, and one that may lead by what is open.
    Path,
    OpenPath,
    /// Any text, as of a link.
    Text,
    Mode,
    Id,
    /// One of these.
    One(&'static [u64]),
    /// Some of these bits, seldom one that means nothing.
    Bits(&'static [u64]),
    /// Two times with nanoseconds, with microseconds, or in seconds.
    Times,
    MicroTimes,
    SecondTimes,
    /// A buffer that the call fills, and its size.
    Out,
    Size,
    /// Name, value and size of an extended attribute.
    Attribute,
    /// Its name.
    AttributeName,
    /// Name, and `struct xattr_args` with its size.
    AttributeAt,
    /// A pointer to one of these words.
    Word(&'static [u64]),
    /// `struct open_how` and its size.
    How,
    /// A unix socket's address and its size.
    Address,
    /// Arguments and environment of a program: none.
    Nothing,
}

use Arg::{
    Address, Attribute, AttributeAt, AttributeName, Bits, Dir, Fd, FileFd, How, Id, MicroTimes,
    Mode, Nothing, One, OpenPath, Out, Path, SecondTimes, Size, Text, Times, Word,
};

/// What is shown of what a call gives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gives {
    Number,
    NewFd,
    /// Text or bytes, as many as the result says.
    Bytes,
    Stat,
    Statx,
    Names,
    Flags,
    Place,
}

/// Who makes it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Anybody,
    /// Not root, who would change the host.
    Users,
}

/// Name, number, arguments, what it gives, and by whom.
pub(crate) struct Row(
    pub(crate) &'static str,
    pub(crate) i64,
    pub(crate) &'static [Arg],
    pub(crate) Gives,
    pub(crate) By,
);

const SETXATTRAT: i64 = 463;
const GETXATTRAT: i64 = 464;
const LISTXATTRAT: i64 = 465;
const REMOVEXATTRAT: i64 = 466;

const OPEN: Arg = Bits(&[
    0x1, 0x2, 0x40, 0x40, 0x80, 0x200, 0x400, 0x1_0000, 0x2_0000, 0x4_0000, 0x20_0000, 0x41_0000,
    0x1000,
]);
const AT: Arg = Bits(&[0x100, 0x1000, 0x400, 0x200, 0x800]);
const AT_PLAIN: Arg = Bits(&[0x100, 0x1000]);
const RENAME: Arg = Bits(&[1, 2, 4]);
const KIND: Arg = One(&[
    0o100_644, 0o100_666, 0o10_644, 0o140_755, 0o20_666, 0o60_600, 0o644, 0o40_755, 0o120_777,
    0o106_755, 0o102_777, 0o170_000, 0o30_000,
]);
const DEVICE: Arg = One(&[0, 0x103, 0x105, 0xfafa]);
const LENGTH: Arg = One(&[0, 1, 2, 100, 4096, u64::MAX, 1 << 50]);
const OK: Arg = Bits(&[1, 2, 4]);

#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    Row("open", libc::SYS_open, &[Path, OPEN, Mode], Gives::NewFd, By::Anybody),
    Row("openat", libc::SYS_openat, &[Dir, Path, OPEN, Mode], Gives::NewFd, By::Anybody),
    Row("openat2", libc::SYS_openat2, &[Dir, Path, How], Gives::NewFd, By::Anybody),
    Row("mkdir", libc::SYS_mkdir, &[Path, Mode], Gives::Number, By::Anybody),
    Row("mkdirat", libc::SYS_mkdirat, &[Dir, Path, Mode], Gives::Number, By::Anybody),
    Row("mknod", libc::SYS_mknod, &[Path, KIND, DEVICE], Gives::Number, By::Anybody),
    Row("mknodat", libc::SYS_mknodat, &[Dir, Path, KIND, DEVICE], Gives::Number, By::Anybody),
    Row("symlink", libc::SYS_symlink, &[Text, Path], Gives::Number, By::Anybody),
    Row("symlinkat", libc::SYS_symlinkat, &[Text, Dir, Path], Gives::Number, By::Anybody),
    Row("link", libc::SYS_link, &[Path, Path], Gives::Number, By::Anybody),
    Row("linkat", libc::SYS_linkat, &[Dir, Path, Dir, Path, Bits(&[0x400, 0x100])], Gives::Number, By::Anybody),
    Row("rename", libc::SYS_rename, &[Path, Path], Gives::Number, By::Anybody),
    Row("renameat", libc::SYS_renameat, &[Dir, Path, Dir, Path], Gives::Number, By::Anybody),
    Row("renameat2", libc::SYS_renameat2, &[Dir, Path, Dir, Path, RENAME], Gives::Number, By::Anybody),
    Row("unlink", libc::SYS_unlink, &[Path], Gives::Number, By::Anybody),
    Row("rmdir", libc::SYS_rmdir, &[Path], Gives::Number, By::Anybody),
    Row("unlinkat", libc::SYS_unlinkat, &[Dir, Path, Bits(&[0x200])], Gives::Number, By::Anybody),
    Row("chmod", libc::SYS_chmod, &[OpenPath, Mode], Gives::Number, By::Anybody),
    Row("fchmod", libc::SYS_fchmod, &[Fd, Mode], Gives::Number, By::Anybody),
    Row("fchmodat", libc::SYS_fchmodat, &[Dir, Path, Mode], Gives::Number, By::Anybody),
    Row("fchmodat2", libc::SYS_fchmodat2, &[Dir, Path, Mode, AT_PLAIN], Gives::Number, By::Anybody),
    Row("chown", libc::SYS_chown, &[OpenPath, Id, Id], Gives::Number, By::Anybody),
    Row("lchown", libc::SYS_lchown, &[Path, Id, Id], Gives::Number, By::Anybody),
    Row("fchown", libc::SYS_fchown, &[Fd, Id, Id], Gives::Number, By::Anybody),
    Row("fchownat", libc::SYS_fchownat, &[Dir, Path, Id, Id, AT_PLAIN], Gives::Number, By::Anybody),
    Row("utimensat", libc::SYS_utimensat, &[Dir, Path, Times, AT_PLAIN], Gives::Number, By::Anybody),
    Row("futimesat", libc::SYS_futimesat, &[Dir, Path, MicroTimes], Gives::Number, By::Anybody),
    Row("utimes", libc::SYS_utimes, &[Path, MicroTimes], Gives::Number, By::Anybody),
    Row("utime", libc::SYS_utime, &[Path, SecondTimes], Gives::Number, By::Anybody),
    Row("truncate", libc::SYS_truncate, &[Path, LENGTH], Gives::Number, By::Anybody),
    Row("access", libc::SYS_access, &[OpenPath, OK], Gives::Number, By::Anybody),
    Row("faccessat", libc::SYS_faccessat, &[Dir, Path, OK], Gives::Number, By::Anybody),
    Row("faccessat2", libc::SYS_faccessat2, &[Dir, Path, OK, AT], Gives::Number, By::Anybody),
    Row("stat", libc::SYS_stat, &[OpenPath, Out], Gives::Stat, By::Anybody),
    Row("lstat", libc::SYS_lstat, &[Path, Out], Gives::Stat, By::Anybody),
    Row("fstat", libc::SYS_fstat, &[Fd, Out], Gives::Stat, By::Anybody),
    Row("newfstatat", libc::SYS_newfstatat, &[Dir, Path, Out, AT], Gives::Stat, By::Anybody),
    Row("statx", libc::SYS_statx, &[Dir, Path, Bits(&[0x100, 0x1000, 0x800, 0x2000, 0x4000, 0x6000]), Bits(&[0x7ff, 0x1000, 0x800, 0x4000, 0x2000, 1 << 31]), Out], Gives::Statx, By::Anybody),
    Row("statfs", libc::SYS_statfs, &[Path, Out], Gives::Number, By::Anybody),
    Row("fstatfs", libc::SYS_fstatfs, &[Fd, Out], Gives::Number, By::Anybody),
    Row("readlink", libc::SYS_readlink, &[Path, Out, Size], Gives::Bytes, By::Anybody),
    Row("readlinkat", libc::SYS_readlinkat, &[Dir, Path, Out, Size], Gives::Bytes, By::Anybody),
    Row("chdir", libc::SYS_chdir, &[Path], Gives::Place, By::Anybody),
    Row("fchdir", libc::SYS_fchdir, &[Fd], Gives::Place, By::Anybody),
    Row("chroot", libc::SYS_chroot, &[Path], Gives::Place, By::Anybody),
    Row("setxattr", libc::SYS_setxattr, &[OpenPath, Attribute, Bits(&[1, 2])], Gives::Number, By::Anybody),
    Row("lsetxattr", libc::SYS_lsetxattr, &[Path, Attribute, Bits(&[1, 2])], Gives::Number, By::Anybody),
    Row("fsetxattr", libc::SYS_fsetxattr, &[FileFd, Attribute, Bits(&[1, 2])], Gives::Number, By::Anybody),
    Row("setxattrat", SETXATTRAT, &[Dir, Path, AT_PLAIN, AttributeAt], Gives::Number, By::Anybody),
    Row("getxattr", libc::SYS_getxattr, &[OpenPath, AttributeName, Out, Size], Gives::Bytes, By::Anybody),
    Row("lgetxattr", libc::SYS_lgetxattr, &[Path, AttributeName, Out, Size], Gives::Bytes, By::Anybody),
    Row("fgetxattr", libc::SYS_fgetxattr, &[FileFd, AttributeName, Out, Size], Gives::Bytes, By::Anybody),
    Row("getxattrat", GETXATTRAT, &[Dir, Path, AT_PLAIN, AttributeAt], Gives::Number, By::Anybody),
    Row("listxattr", libc::SYS_listxattr, &[OpenPath, Out, Size], Gives::Names, By::Anybody),
    Row("llistxattr", libc::SYS_llistxattr, &[Path, Out, Size], Gives::Names, By::Anybody),
    Row("flistxattr", libc::SYS_flistxattr, &[FileFd, Out, Size], Gives::Names, By::Anybody),
    Row("listxattrat", LISTXATTRAT, &[Dir, Path, AT_PLAIN, Out, Size], Gives::Names, By::Anybody),
    Row("removexattr", libc::SYS_removexattr, &[Path, AttributeName], Gives::Number, By::Anybody),
    Row("lremovexattr", libc::SYS_lremovexattr, &[Path, AttributeName], Gives::Number, By::Anybody),
    Row("fremovexattr", libc::SYS_fremovexattr, &[FileFd, AttributeName], Gives::Number, By::Anybody),
    Row("removexattrat", REMOVEXATTRAT, &[Dir, Path, AT_PLAIN, AttributeName], Gives::Number, By::Anybody),
    Row("inotify_add_watch", libc::SYS_inotify_add_watch, &[One(&[INOTIFY_FD, INOTIFY_FD, INOTIFY_FD, FIRST_FD, 9999]), Path, Bits(&[0x2, 0x4, 0xfff, 0x0100_0000, 0x0200_0000, 0x1000_0000, 0x2000_0000, 0x8000_0000])], Gives::Number, By::Anybody),
    Row("execve", libc::SYS_execve, &[Path, Nothing, Nothing], Gives::Number, By::Anybody),
    Row("execveat", libc::SYS_execveat, &[Dir, Path, Nothing, Nothing, Bits(&[0x100, 0x1000, 0x10000])], Gives::Number, By::Anybody),
    Row("bind", libc::SYS_bind, &[One(&[INOTIFY_FD + 2, INOTIFY_FD + 2, FIRST_FD]), Address], Gives::Number, By::Anybody),
    Row("connect", libc::SYS_connect, &[One(&[INOTIFY_FD + 2, INOTIFY_FD + 2, FIRST_FD]), Address], Gives::Number, By::Anybody),
    Row("FS_IOC_GETFLAGS", libc::SYS_ioctl, &[Fd, One(&[0x8008_6601]), Out], Gives::Flags, By::Anybody),
    Row("FS_IOC_SETFLAGS", libc::SYS_ioctl, &[Fd, One(&[0x4008_6602]), Word(&[0x8_0010, 0x8_0020, 0x8_0030, 0x8_0000, 0x8_0040, 0x8_0080])], Gives::Number, By::Anybody),
    Row("F_SETFL", libc::SYS_fcntl, &[Fd, One(&[4]), Bits(&[0x400, 0x800, 0x2000])], Gives::Number, By::Anybody),
    Row("F_SETLEASE", libc::SYS_fcntl, &[Fd, One(&[1024]), One(&[0, 1, 2, 3])], Gives::Number, By::Anybody),
    Row("mount", libc::SYS_mount, &[Path, Path, One(&[0, NOWHERE]), One(&[4096, 0, 32]), One(&[0, NOWHERE])], Gives::Number, By::Users),
    Row("umount2", libc::SYS_umount2, &[Path, Bits(&[1, 2, 4, 8])], Gives::Number, By::Users),
    Row("swapon", libc::SYS_swapon, &[Path, One(&[0])], Gives::Number, By::Users),
    Row("acct", libc::SYS_acct, &[Path], Gives::Number, By::Users),
    Row("pivot_root", libc::SYS_pivot_root, &[Path, Path], Gives::Number, By::Users),
];
