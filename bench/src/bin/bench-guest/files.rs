//! Operations on files.

use super::{check, walls};
use std::ffi::CStr;
use std::sync::OnceLock;

const FILE: &CStr = c"/etc/passwd";
/// A path of four components, on every Debian.
const DEEP: &CStr = c"/usr/share/common-licenses/GPL-3";
const MISSING: &CStr = c"/usr/lib/x86_64-linux-gnu/no-such-file";
/// A link on every Linux.
const LINK: &CStr = c"/etc/mtab";
const ROOM: usize = 4096;

pub(super) fn open_close() {
    // SAFETY: the path ends with a NUL.
    let fd = unsafe { libc::open(FILE.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    let fd = check(fd.into(), "open");
    // SAFETY: just opened.
    unsafe { libc::close(fd) };
}

/// The same beneath a descriptor of the root directory, as a monitor would allow it.
pub(super) fn open_beneath_close() {
    static ROOT: OnceLock<i32> = OnceLock::new();
    let root = *ROOT.get_or_init(walls::root);
    // SAFETY: zeroes are a description that asks for nothing.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (libc::O_RDONLY | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS;
    let path = c"etc/passwd".as_ptr();
    let size = size_of::<libc::open_how>();
    // SAFETY: a path that ends with a NUL, and a description of that size.
    let fd = unsafe { libc::syscall(libc::SYS_openat2, root, path, &raw const how, size) };
    let fd = check(fd, "openat2");
    // SAFETY: just opened.
    unsafe { libc::close(fd) };
}

fn stat_of(path: &CStr) -> i32 {
    let mut data = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: a path that ends with a NUL, and room for the result.
    unsafe { libc::stat(path.as_ptr(), data.as_mut_ptr()) }
}

pub(super) fn stat() {
    check(stat_of(DEEP).into(), "stat");
}

pub(super) fn stat_missing() {
    check(i64::from(-1 - stat_of(MISSING)), "a file that is missing");
}

pub(super) fn access() {
    // SAFETY: the path ends with a NUL.
    check(
        unsafe { libc::access(FILE.as_ptr(), libc::R_OK) }.into(),
        "access",
    );
}

pub(super) fn readlink() {
    let mut text = [0u8; ROOM];
    // SAFETY: the path ends with a NUL, and there is as much room.
    let length = unsafe { libc::readlink(LINK.as_ptr(), text.as_mut_ptr().cast(), ROOM) };
    check(length as i64, "readlink");
}

pub(super) fn getcwd() {
    let mut text = [0u8; ROOM];
    // SAFETY: there is as much room.
    let path = unsafe { libc::getcwd(text.as_mut_ptr().cast(), ROOM) };
    check(i64::from(!path.is_null()) - 1, "getcwd");
}

pub(super) fn chdir() {
    // SAFETY: the path ends with a NUL.
    check(unsafe { libc::chdir(c"/usr/lib".as_ptr()) }.into(), "chdir");
}

pub(super) fn fstat() {
    let mut data = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: room for the result.
    check(unsafe { libc::fstat(0, data.as_mut_ptr()) }.into(), "fstat");
}

pub(super) fn dup_close() {
    // SAFETY: takes a number.
    let fd = check(unsafe { libc::dup(0) }.into(), "dup");
    // SAFETY: just made.
    unsafe { libc::close(fd) };
}

pub(super) fn fcntl() {
    // SAFETY: takes numbers.
    check(unsafe { libc::fcntl(0, libc::F_GETFL) }.into(), "fcntl");
}

pub(super) fn mkdir_rmdir() {
    let name = c"bench-directory";
    // SAFETY: the path ends with a NUL.
    check(unsafe { libc::mkdir(name.as_ptr(), 0o755) }.into(), "mkdir");
    // SAFETY: as above.
    check(unsafe { libc::rmdir(name.as_ptr()) }.into(), "rmdir");
}

pub(super) fn create_unlink() {
    let name = c"bench-file";
    // SAFETY: the path ends with a NUL.
    let fd = check(unsafe { libc::creat(name.as_ptr(), 0o644) }.into(), "creat");
    // SAFETY: just opened.
    unsafe { libc::close(fd) };
    // SAFETY: as above.
    check(unsafe { libc::unlink(name.as_ptr()) }.into(), "unlink");
}
