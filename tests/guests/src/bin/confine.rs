//! Runs a program where user namespaces and ptrace(2) are forbidden, as in a tight container.
//!
//! `confine CMD ARG...`: takes on a seccomp filter under which unshare(2), setns(2), ptrace(2) and
//! clone(2) with `CLONE_NEWUSER` fail with EPERM and clone3(2) with ENOSYS, makes sure that it
//! holds, and executes the command. Exits with 125 when any of that fails.

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO, sock_filter, sock_fprog,
};
use std::io::{Error, Result};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// `AUDIT_ARCH_X86_64` of linux/audit.h.
const ARCH: u32 = 0xc000_003e;
/// Offsets in `struct seccomp_data`: the number, the architecture, the first argument's low half.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENT: u32 = 16;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else {
        eprintln!("confine: no command");
        return ExitCode::from(125);
    };
    if let Err(error) = confine().and_then(|()| check()) {
        eprintln!("confine: {error}");
        return ExitCode::from(125);
    }
    let error = Command::new(&program).args(words).exec();
    eprintln!("confine: {}: {error}", program.display());
    ExitCode::from(125)
}

/// One instruction; the classes of linux/filter.h fit 16 bits.
fn row(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    let code = u16::try_from(code).expect("an opcode has 16 bits");
    sock_filter { code, jt, jf, k }
}

fn refused(errno: i32) -> u32 {
    SECCOMP_RET_ERRNO | errno.unsigned_abs()
}

fn number(nr: libc::c_long) -> u32 {
    u32::try_from(nr).expect("numbers are small")
}

fn confine() -> Result<()> {
    let load = |offset| row(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset);
    let answer = |verdict| row(BPF_RET | BPF_K, 0, 0, verdict);
    // Goes on with the next row if equal, else skips it.
    let if_is = |value| row(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, value);
    let new_user = libc::CLONE_NEWUSER.unsigned_abs();
    let mut program = vec![
        load(ARCHITECTURE),
        row(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, ARCH),
        answer(refused(libc::EPERM)),
        load(NUMBER),
    ];
    for (nr, errno) in [
        (libc::SYS_unshare, libc::EPERM),
        (libc::SYS_setns, libc::EPERM),
        (libc::SYS_ptrace, libc::EPERM),
        (libc::SYS_clone3, libc::ENOSYS),
    ] {
        program.extend([if_is(number(nr)), answer(refused(errno))]);
    }
    program.extend([
        row(BPF_JMP | BPF_JEQ | BPF_K, 0, 3, number(libc::SYS_clone)),
        load(ARGUMENT),
        row(BPF_JMP | BPF_JSET | BPF_K, 0, 1, new_user),
        answer(refused(libc::EPERM)),
        answer(SECCOMP_RET_ALLOW),
    ]);
    let length = u16::try_from(program.len()).expect("a short program");
    let whole = sock_fprog {
        len: length,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the call takes plain numbers.
    let no_new_privs = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if no_new_privs != 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: `whole` and the rows that it points at live until the call returns.
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const whole,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(Error::last_os_error())
    }
}

/// Tries what is forbidden: a filter that does nothing would make the tests prove nothing.
fn check() -> Result<()> {
    let expect = |name: &str, result: i64| {
        let error = Error::last_os_error();
        if result == -1 && error.raw_os_error() == Some(libc::EPERM) {
            Ok(())
        } else {
            Err(Error::other(format!("{name} is not refused")))
        }
    };
    // SAFETY: the call takes plain numbers.
    let result = unsafe { libc::unshare(libc::CLONE_NEWUSER) };
    expect("unshare", i64::from(result))?;
    // SAFETY: the call takes plain numbers.
    let result = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    expect("ptrace", result)
}
