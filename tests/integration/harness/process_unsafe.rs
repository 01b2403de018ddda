//! What a child does between fork(2) and execve(2): it takes its role.

#![expect(
    clippy::cast_possible_truncation,
    reason = "constants of the kernel's headers in the types of seccomp(2)"
)]

use super::role::Role;
use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the command run in `role`; `account` is the user and the group of an ordinary user if we
/// are root.
pub fn take_role(command: &mut Command, role: Role, account: Option<(u32, u32)>) {
    let enter = move || {
        // SAFETY: umask(2) takes no pointer.
        unsafe { libc::umask(0o022) };
        // Who started the tests in the background of a script has them ignored.
        for ignored in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
            // SAFETY: the default action is no handler of ours.
            unsafe { libc::signal(ignored, libc::SIG_DFL) };
        }
        if let Some((uid, gid)) = account {
            // SAFETY: no group is read from the null pointer.
            check(unsafe { libc::setgroups(0, std::ptr::null()) })?;
            // SAFETY: setresgid(2) takes no pointer.
            check(unsafe { libc::setresgid(gid, gid, gid) })?;
            // SAFETY: setresuid(2) takes no pointer.
            check(unsafe { libc::setresuid(uid, uid, uid) })?;
        }
        if role == Role::Confined {
            confine()?;
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls only and allocates nothing, so that it may run in the
    // forked child of a process with threads.
    unsafe { command.pre_exec(enter) };
}

/// Lets the command lead a session whose terminal is its standard input.
pub fn lead_session(command: &mut Command) {
    let lead = || {
        // SAFETY: setsid(2) takes nothing.
        check(unsafe { libc::setsid() }.min(0))?;
        // SAFETY: this command of ioctl(2) takes a number.
        check(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) })
    };
    // SAFETY: the closure makes system calls only and allocates nothing, so that it may run in the
    // forked child of a process with threads.
    unsafe { command.pre_exec(lead) };
}

/// Sets the size of a terminal.
pub fn set_window(terminal: &File, size: &nix::pty::Winsize) {
    // SAFETY: `size` lives until the call returns.
    let set = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, size) };
    check(set).expect("it is a terminal");
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
/// Every `CLONE_NEW*` that clone(2) takes.
const NAMESPACES: u32 = 0x7e02_0000;

const fn row(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// `EPERM` for unshare(2), setns(2), ptrace(2) and new name spaces of clone(2); `ENOSYS` for
/// clone3(2), whose flags a filter cannot see.
fn confine() -> io::Result<()> {
    let rows = [
        row(LOAD, offset_of!(libc::seccomp_data, nr) as u32, 0, 0),
        row(EQUAL, libc::SYS_unshare as u32, 7, 0),
        row(EQUAL, libc::SYS_setns as u32, 6, 0),
        row(EQUAL, libc::SYS_ptrace as u32, 5, 0),
        row(EQUAL, libc::SYS_clone3 as u32, 5, 0),
        row(EQUAL, libc::SYS_clone as u32, 0, 2),
        row(LOAD, offset_of!(libc::seccomp_data, args) as u32, 0, 0),
        row(ANY_BIT, NAMESPACES, 1, 0),
        row(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        row(RETURN, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0, 0),
        row(RETURN, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: rows.len() as u16,
        filter: rows.as_ptr().cast_mut(),
    };
    // SAFETY: this operation of prctl(2) takes no pointer.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    // SAFETY: `program` and the rows that it points to live until the call has returned.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) })
}
