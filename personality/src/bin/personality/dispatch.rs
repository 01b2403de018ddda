//! From a trapped call to the function that serves it.

use crate::arch::{RESTART, syscall6};
use crate::monitor::commons;
use crate::thread::Thread;
use crate::{Errno, Result, exec, file, identity, path, process, signal, socket};
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use picozone_syscalls::{Class, row};

/// Stands for [`RESTART`] in a result.
pub const RESTART_ERRNO: Errno = Errno::from_raw(512);

/// The kernel's result word as a result.
pub fn checked(result: i64) -> Result<u64> {
    if (-4095..0).contains(&result) {
        Err(Errno::from_raw(-result as u16))
    } else {
        Ok(result as u64)
    }
}

/// The same after [`crate::arch::wait`].
pub fn checked_or_restart(result: i64) -> Result<u64> {
    if result == RESTART {
        Err(RESTART_ERRNO)
    } else {
        checked(result)
    }
}

/// Serves call `nr` with the registers of the thread's frame. `None`: the frame itself was replaced.
pub fn call(thread: &mut Thread, nr: u32) -> Option<i64> {
    let regs = unsafe { &(*thread.context).regs };
    let a = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
    if let Some(counter) = commons().entered.get(nr as usize) {
        counter.fetch_add(1, Relaxed);
    }
    if nr == __NR_rt_sigreturn {
        return signal::sigreturn(thread);
    }
    Some(match serve(thread, nr, a) {
        Ok(value) => value as i64,
        Err(errno) if errno == RESTART_ERRNO => RESTART,
        Err(errno) => errno.to_ret(),
    })
}

/// Refuses by the table's row, and counts it.
pub fn refuse(nr: u32) -> Result<u64> {
    if let Some(counter) = commons().refused.get(nr as usize) {
        counter.fetch_add(1, Relaxed);
    }
    Err(match row(nr).map(|row| row.class) {
        Some(Class::Refused(errno, _)) => errno,
        Some(Class::Guarded(_) | Class::Split(..)) => Errno::EINVAL,
        _ => Errno::ENOSYS,
    })
}

const AT_CWD: u64 = AT_FDCWD as u64;

fn serve(thread: &mut Thread, nr: u32, a: [u64; 6]) -> Result<u64> {
    match nr {
        // Identity.
        __NR_getpid => Ok(u64::from(thread.process().zone_pid)),
        __NR_gettid => Ok(u64::from(thread.zone_tid())),
        __NR_getppid => Ok(process::getppid()),
        __NR_getpgrp => process::group_of(thread, __NR_getpgid, 0),
        __NR_getpgid | __NR_getsid => process::group_of(thread, nr, a[0]),
        __NR_setpgid => process::setpgid(a[0], a[1]),
        __NR_setsid => process::setsid(),
        __NR_set_tid_address => identity::set_tid_address(a[0]),
        __NR_getuid => Ok(u64::from(thread.credentials.uid[0])),
        __NR_geteuid => Ok(u64::from(thread.credentials.uid[1])),
        __NR_getgid => Ok(u64::from(thread.credentials.gid[0])),
        __NR_getegid => Ok(u64::from(thread.credentials.gid[1])),
        __NR_getresuid => identity::get_three(thread.credentials.uid, [a[0], a[1], a[2]]),
        __NR_getresgid => identity::get_three(thread.credentials.gid, [a[0], a[1], a[2]]),
        __NR_setuid | __NR_setgid | __NR_setreuid | __NR_setregid | __NR_setresuid
        | __NR_setresgid | __NR_setfsuid | __NR_setfsgid => {
            identity::set_id(thread, nr, a[0], a[1], a[2])
        }
        __NR_getgroups => identity::getgroups(thread, a[0], a[1]),
        __NR_setgroups => identity::setgroups(thread, a[0], a[1]),
        __NR_capget => identity::capget(thread, a[0], a[1]),
        __NR_capset => identity::capset(thread, a[0], a[1]),
        __NR_uname => identity::uname(a[0]),
        __NR_sethostname => identity::set_name(thread, 0, a[0], a[1]),
        __NR_setdomainname => identity::set_name(thread, 1, a[0], a[1]),
        __NR_prctl => identity::prctl(thread, a[0], [a[1], a[2], a[3], a[4]]),
        __NR_prlimit64 => identity::prlimit(thread, a[0], a[1], a[2], a[3]),
        __NR_getpriority
        | __NR_setpriority
        | __NR_sched_getaffinity
        | __NR_sched_setaffinity
        | __NR_sched_getparam
        | __NR_sched_setparam
        | __NR_sched_getscheduler
        | __NR_sched_setscheduler
        | __NR_sched_getattr
        | __NR_sched_setattr
        | __NR_sched_rr_get_interval => identity::scheduling(thread, nr, a),

        // Processes.
        __NR_clone => process::clone(thread, a[0], a[1], a[2], a[3], a[4]),
        __NR_fork => process::fork_plain(thread),
        __NR_vfork => process::vfork(thread),
        __NR_exit => process::exit(thread, a[0]),
        __NR_wait4 => process::wait4(thread, a[0], a[1], a[2], a[3]),
        __NR_waitid => process::waitid(thread, a[0], a[1], a[2], a[3], a[4]),
        __NR_kill => process::kill(a[0], a[1]),
        __NR_tgkill => process::tgkill(thread, a[0], a[1], a[2]),
        __NR_tkill => process::tkill(thread, a[0], a[1]),
        __NR_rt_sigqueueinfo => process::queue(thread, a[0], None, a[1], a[2]),
        __NR_rt_tgsigqueueinfo => process::queue(thread, a[0], Some(a[1]), a[2], a[3]),
        __NR_execve => exec::execveat(thread, AT_CWD, a[0], a[1], a[2], 0),
        __NR_execveat => exec::execveat(thread, a[0], a[1], a[2], a[3], a[4]),

        // Signals.
        __NR_rt_sigaction => signal::sigaction(thread, a[0], a[1], a[2], a[3]),
        __NR_rt_sigprocmask => signal::sigprocmask(thread, a[0], a[1], a[2], a[3]),
        __NR_sigaltstack => signal::sigaltstack(thread, a[0], a[1]),
        __NR_rt_sigsuspend => signal::sigsuspend(thread, a[0], a[1]),
        __NR_rt_sigtimedwait => signal::sigtimedwait(thread, a[0], a[1], a[2], a[3]),
        __NR_rt_sigpending => signal::sigpending(thread, a[0], a[1]),
        __NR_ppoll => {
            let mask = optional_mask(a[3])?;
            signal::with_mask(thread, mask, |m| (nr, [a[0], a[1], a[2], m, a[4], 0]))
        }
        __NR_epoll_pwait | __NR_epoll_pwait2 => {
            let mask = optional_mask(a[4])?;
            signal::with_mask(thread, mask, |m| (nr, [a[0], a[1], a[2], a[3], m, a[5]]))
        }
        __NR_pselect6 => {
            let [pointer, size] = if a[5] == 0 {
                [0, 8]
            } else {
                crate::memory::read::<[u64; 2]>(a[5])?
            };
            let mask = optional_mask(pointer)?;
            let mut pair = [0, size];
            let address = pair.as_mut_ptr() as u64;
            signal::with_mask(thread, mask, |m| {
                unsafe { (address as *mut u64).write_volatile(m) };
                (nr, [a[0], a[1], a[2], a[3], a[4], address])
            })
        }

        // Paths.
        __NR_open => path::open(thread, AT_CWD, a[0], a[1], a[2]),
        __NR_creat => path::open(
            thread,
            AT_CWD,
            a[0],
            u64::from(O_CREAT | O_WRONLY | O_TRUNC),
            a[1],
        ),
        __NR_openat => path::open(thread, a[0], a[1], a[2], a[3]),
        __NR_openat2 => path::openat2(thread, a[0], a[1], a[2], a[3]),
        __NR_chdir => path::chdir(thread, a[0]),
        __NR_fchdir => checked(unsafe { syscall6(nr, a) }),
        __NR_getcwd => path::getcwd(thread, a[0], a[1]),
        __NR_readlink => path::readlink(thread, AT_CWD, a[0], a[1], a[2]),
        __NR_readlinkat => path::readlink(thread, a[0], a[1], a[2], a[3]),
        __NR_mkdir => path::make(thread, __NR_mkdirat, AT_CWD, a[0], a[1], 0),
        __NR_mkdirat => path::make(thread, nr, a[0], a[1], a[2], 0),
        __NR_mknod => path::make(thread, __NR_mknodat, AT_CWD, a[0], a[1], a[2]),
        __NR_mknodat => path::make(thread, nr, a[0], a[1], a[2], a[3]),
        __NR_unlink => path::unlink(thread, AT_CWD, a[0], 0),
        __NR_rmdir => path::unlink(thread, AT_CWD, a[0], u64::from(AT_REMOVEDIR)),
        __NR_unlinkat => path::unlink(thread, a[0], a[1], a[2]),
        __NR_rename => path::rename(thread, AT_CWD, a[0], AT_CWD, a[1], 0),
        __NR_renameat => path::rename(thread, a[0], a[1], a[2], a[3], 0),
        __NR_renameat2 => path::rename(thread, a[0], a[1], a[2], a[3], a[4]),
        __NR_link => path::link(thread, AT_CWD, a[0], AT_CWD, a[1], 0),
        __NR_linkat => path::link(thread, a[0], a[1], a[2], a[3], a[4]),
        __NR_symlink => path::symlink(thread, a[0], AT_CWD, a[1]),
        __NR_symlinkat => path::symlink(thread, a[0], a[1], a[2]),
        __NR_truncate => path::truncate(thread, a[0], a[1]),
        __NR_statfs => path::statfs(thread, a[0], a[1]),

        // Files.
        __NR_stat => file::stat(thread, AT_CWD, a[0], a[1], 0),
        __NR_lstat => file::stat(thread, AT_CWD, a[0], a[1], u64::from(AT_SYMLINK_NOFOLLOW)),
        __NR_fstat => file::fstat(thread, a[0], a[1]),
        __NR_newfstatat => file::stat(thread, a[0], a[1], a[2], a[3]),
        __NR_statx => file::statx(thread, a[0], a[1], a[2], a[3], a[4]),
        __NR_access => file::access(thread, AT_CWD, a[0], a[1], 0),
        __NR_faccessat => file::access(thread, a[0], a[1], a[2], 0),
        __NR_faccessat2 => file::access(thread, a[0], a[1], a[2], a[3]),
        __NR_getdents64 => file::getdents64(a[0], a[1], a[2]),
        __NR_fstatfs => checked(unsafe { syscall6(nr, a) }),
        __NR_chmod => file::chmod(thread, AT_CWD, a[0], a[1], 0),
        __NR_fchmod => file::fchmod(thread, a[0], a[1]),
        __NR_fchmodat => file::chmod(thread, a[0], a[1], a[2], 0),
        __NR_fchmodat2 => file::chmod(thread, a[0], a[1], a[2], a[3]),
        __NR_chown => file::chown(thread, AT_CWD, a[0], a[1], a[2], 0),
        __NR_lchown => file::chown(
            thread,
            AT_CWD,
            a[0],
            a[1],
            a[2],
            u64::from(AT_SYMLINK_NOFOLLOW),
        ),
        __NR_fchown => file::fchown(thread, a[0], a[1], a[2]),
        __NR_fchownat => file::chown(thread, a[0], a[1], a[2], a[3], a[4]),
        __NR_utimensat => file::utimensat(thread, a[0], a[1], a[2], a[3]),
        __NR_utimes => file::utimes(thread, AT_CWD, a[0], a[1], 1000),
        __NR_futimesat => file::utimes(thread, a[0], a[1], a[2], 1000),
        __NR_utime => file::utime(thread, a[0], a[1]),
        __NR_setxattr | __NR_lsetxattr | __NR_getxattr | __NR_lgetxattr | __NR_listxattr
        | __NR_llistxattr | __NR_removexattr | __NR_lremovexattr | __NR_fsetxattr
        | __NR_fgetxattr | __NR_flistxattr | __NR_fremovexattr => file::xattr(nr),
        __NR_ioctl => file::ioctl(a[0], a[1], a[2]),
        __NR_fcntl => file::fcntl(a[0], a[1], a[2]),
        __NR_close_range => file::close_range(a[0], a[1], a[2]),
        __NR_close | __NR_dup | __NR_dup2 | __NR_dup3 => Err(Errno::EBADF),

        // Sockets.
        __NR_socket => socket::unix::socket(nr, a[0], a[1]),
        __NR_socketpair => socket::unix::socketpair(nr, a[0], a[1], a[3]),
        __NR_getsockopt => socket::unix::getsockopt(thread, nr, [a[0], a[1], a[2], a[3], a[4]]),
        __NR_bind => socket::bind(thread, a[0], a[1], a[2]),
        __NR_connect => socket::connect(thread, a[0], a[1], a[2]),
        __NR_listen => socket::listen(thread, a[0], a[1]),
        __NR_accept => socket::accept(thread, a[0], a[1], a[2], 0),
        __NR_accept4 => socket::accept(thread, a[0], a[1], a[2], a[3]),
        __NR_getsockname | __NR_getpeername => socket::name(thread, nr, a[0], a[1], a[2]),
        __NR_sendto => socket::sendto(thread, a),
        __NR_recvfrom => socket::recvfrom(thread, a),
        __NR_sendmsg => socket::sendmsg(thread, a[0], a[1], a[2]),
        __NR_recvmsg => socket::recvmsg(thread, a[0], a[1], a[2]),
        __NR_sendmmsg | __NR_recvmmsg => socket::many(thread, nr, a[0], a[1], a[2], a[3]),
        __NR_timer_create => checked(unsafe { syscall6(nr, a) }),
        _ => refuse(nr),
    }
}

fn optional_mask(pointer: u64) -> Result<Option<u64>> {
    if pointer == 0 {
        Ok(None)
    } else {
        crate::memory::read::<u64>(pointer).map(Some)
    }
}
