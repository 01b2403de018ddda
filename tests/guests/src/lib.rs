//! What the guest programs of the tests share.
//!
//! A guest prints what it observes, one `name: value` a line, and nothing that differs from run to
//! run; the tests compare that with what it prints natively. A guest has sections: with names as
//! arguments it runs those, else all.
//!
//! [`call`] and [`libc_result`] speak to the kernel as directly as a program can; errnos are shown
//! by name. [`attempts`] is what hostile guests share. [`child`] forks. [`escape`] leaves a signal handler as siglongjmp(3) does.

pub mod attempts;
pub mod children;
pub mod escape;
mod mounted;
pub mod signals;

pub use children::{Child, child};
pub use mounted::{Mounted, mounted};
pub use nix::errno::Errno;

use std::ffi::{CStr, CString};
use std::fmt::Debug;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What a call gave.
pub type Result<T, E = Errno> = std::result::Result<T, E>;

static WORK: OnceLock<PathBuf> = OnceLock::new();

/// The directory in which the guest was started.
pub fn work() -> &'static Path {
    WORK.get().expect("sections() has set it")
}

/// Runs the sections that the arguments name, or all of them.
///
/// # Panics
/// The working directory is not one that a test has made for the guest, by copying it there as
/// `guest`: sections leave files behind, and natively the host's root runs them.
pub fn sections(all: &[(&str, fn())]) {
    let work = std::env::current_dir().expect("it is there");
    assert!(
        work.join("guest").is_file(),
        "run this in an empty directory, as a copy named guest"
    );
    WORK.set(work).expect("the first and only time");
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for name in &wanted {
        assert!(all.iter().any(|row| row.0 == name), "no section {name}");
    }
    for (name, section) in all {
        if wanted.is_empty() || wanted.iter().any(|other| other == name) {
            see("section", name);
            section();
        }
    }
}

/// Prints an observation.
///
/// Written at once: a fork must not carry a buffer along.
pub fn see(name: &str, value: impl Debug) {
    let line = format!("{name}: {value:?}\n");
    std::io::stdout()
        .write_all(line.as_bytes())
        .expect("output can be written");
    std::io::stdout().flush().expect("output can be written");
}

/// Makes a system call by the instruction itself, so that no library stands between.
///
/// It is as safe as its arguments are: guests pass bad ones on purpose, but never one that makes
/// the kernel write into memory that is in use.
///
/// # Errors
/// What the kernel says.
pub fn call(nr: i64, arguments: &[u64]) -> Result<u64> {
    let mut a = [0; 6];
    a[..arguments.len()].copy_from_slice(arguments);
    let result: i64;
    // SAFETY: the kernel keeps all registers but rax, rcx and r11; what the call does to memory
    // is the caller's choice, see above.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") nr => result,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    match u64::try_from(result) {
        Ok(value) => Ok(value),
        Err(_) => {
            let errno = i32::try_from(-result).unwrap_or(0);
            // Addresses in the upper half are no failures.
            if errno == 0 || errno > 4095 {
                Ok(result.cast_unsigned())
            } else {
                Err(Errno::from_raw(errno))
            }
        }
    }
}

/// The same for the library's functions that return -1 and set errno.
///
/// # Errors
/// The thread's errno if `result` is -1.
pub fn libc_result(result: impl Into<i64>) -> Result<i64> {
    match result.into() {
        -1 => Err(Errno::last()),
        value => Ok(value),
    }
}

/// The address of a string, as an argument.
#[must_use]
pub fn text(string: &CStr) -> u64 {
    string.as_ptr() as u64
}

/// The address of something that a call fills.
pub fn out<T>(place: &mut T) -> u64 {
    std::ptr::from_mut(place) as u64
}

/// The address of something that a call reads.
pub fn from<T>(place: &T) -> u64 {
    std::ptr::from_ref(place) as u64
}

/// A negative argument, such as `AT_FDCWD`.
#[must_use]
pub fn signed(value: i32) -> u64 {
    i64::from(value).cast_unsigned()
}

/// `AT_FDCWD`.
pub const CWD: u64 = (libc::AT_FDCWD as i64).cast_unsigned();

/// An address that nobody can read: the first page.
pub const NOWHERE: u64 = 8;

/// A path as the kernel takes it.
pub fn name(path: &str) -> CString {
    CString::new(path).expect("no NUL")
}

/// A call whose first two arguments are a directory, here the working one, and a path.
pub fn at(nr: i64, path: &str, rest: &[u64]) -> Result<u64> {
    let path = name(path);
    let mut all = vec![CWD, text(&path)];
    all.extend(rest);
    call(nr, &all)
}

/// Closes a descriptor.
pub fn close(fd: u64) {
    call(libc::SYS_close, &[fd]).expect("it is open");
}
