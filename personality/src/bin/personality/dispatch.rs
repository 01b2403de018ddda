//! From a trapped call to the function that serves it.

use crate::arch::RESTART;
use crate::file::File;
use crate::monitor::commons;
use crate::thread::{Thread, me};
use crate::{
    Errno, Result, capabilities, clients, clocks, exec, file, filters, identity, ipc, itself, keys,
    landlock, library, namespaces, native, others, path, pidfd, process, recording, refusals, room,
    signal, signalfd, socket, watched, withheld,
};
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use picozone_syscalls::{Class, ROWS, nr, row};

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

/// The same after [`crate::arch::wait`]. A signal that the guest blocks and the kernel must not
/// ends no call of the guest, nor does one that is none of its own.
pub fn checked_or_restart(result: i64) -> Result<u64> {
    let is_blocked = || {
        let thread = me();
        let has_come = thread.held_pending != 0 || thread.is_unseen;
        has_come && thread.pending.is_none() && thread.held_free() == 0
    };
    match checked(result) {
        Err(Errno::EINTR) if is_blocked() => Err(RESTART_ERRNO),
        _ if result == RESTART => Err(RESTART_ERRNO),
        other => other,
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
    if native::is_one(thread, nr, a) {
        return Some(native::result_of(thread, nr, &a));
    }
    Some(result_of(thread, nr, &a))
}

/// Serves a call whose registers are all that it needs.
pub fn result_of(thread: &mut Thread, nr: u32, a: &[u64; 6]) -> i64 {
    watched::serve(thread, nr, a, served)
}

/// The same of one that nobody watches, or who does has begun to.
pub fn served(thread: &mut Thread, nr: u32, a: &[u64; 6]) -> i64 {
    let mut result = match nr {
        // Native, but for processes that have made a signalfd.
        __NR_read | __NR_readv => signalfd::read(thread, nr, *a),
        _ if thread.process().is_client && clients::is_forwarded(nr, *a) => {
            clients::forward(thread, nr, *a)
        }
        _ => serve(thread, nr, a),
    };
    if result == Err(Errno::EMFILE) && room::make(thread) {
        result = serve(thread, nr, a);
    }
    if let Some(soft) = thread.soft_limit {
        thread.soft_limit = None;
        room::lower(soft);
    }
    match result {
        Ok(value) => value as i64,
        Err(errno) if errno == RESTART_ERRNO => RESTART,
        Err(errno) => {
            if thread.is_refused.take() {
                recording::refused(thread);
                refusals::report(thread, nr, *a);
            }
            errno.to_ret()
        }
    }
}

/// Refuses by the table's row, and has it counted.
#[cold]
pub fn refuse(nr: u32) -> Result<u64> {
    refusals::mark();
    Err(match row(nr).map(|row| row.class) {
        Some(Class::Refused(errno, _)) => errno,
        Some(Class::Guarded(_) | Class::Split(..)) => Errno::EINVAL,
        _ => Errno::ENOSYS,
    })
}

const AT_CWD: u64 = AT_FDCWD as u64;

/// Makes `serve` and the list of what it serves from the same arms.
macro_rules! handlers {
    (|$thread:ident, $nr:ident, $a:ident| { $($($name:ident)|+ => $serve:expr),* $(,)? }) => {
        fn serve($thread: &mut Thread, $nr: u32, $a: &[u64; 6]) -> Result<u64> {
            match $nr {
                $($(nr::$name)|+ => $serve,)*
                _ => refuse($nr),
            }
        }

        const HANDLED: &[u32] = &[$($(nr::$name),+),*];
    };
}

handlers! {
    |thread, nr, a| {
        // Identity.
        getpid => Ok(u64::from(thread.process().zone_pid)),
        gettid => Ok(u64::from(thread.zone_tid())),
        getppid => Ok(process::getppid()),
        getpgrp => process::group_of(thread, __NR_getpgid, 0),
        getpgid | getsid => process::group_of(thread, nr, a[0]),
        setpgid => process::setpgid(a[0], a[1]),
        setsid => process::setsid(),
        set_tid_address => identity::set_tid_address(thread, a[0]),
        getuid => Ok(u64::from(thread.credentials.uid[0])),
        geteuid => Ok(u64::from(thread.credentials.uid[1])),
        getgid => Ok(u64::from(thread.credentials.gid[0])),
        getegid => Ok(u64::from(thread.credentials.gid[1])),
        getresuid => identity::get_three(thread.credentials.uid, [a[0], a[1], a[2]]),
        getresgid => identity::get_three(thread.credentials.gid, [a[0], a[1], a[2]]),
        setuid | setgid | setreuid | setregid | setresuid
        | setresgid | setfsuid | setfsgid => {
            identity::set_id(thread, nr, a[0], a[1], a[2])
        },
        getgroups => identity::getgroups(thread, a[0], a[1]),
        setgroups => identity::setgroups(thread, a[0], a[1]),
        capget => capabilities::get(thread, a[0], a[1]),
        capset => capabilities::set(thread, a[0], a[1]),
        uname => identity::uname(a[0]),
        personality => identity::persona(a[0]),
        sethostname => identity::set_name(thread, 0, a[0], a[1]),
        setdomainname => identity::set_name(thread, 1, a[0], a[1]),
        seccomp => filters::seccomp(thread, a[0], a[1], a[2]),
        prctl => identity::prctl(thread, a[0], [a[1], a[2], a[3], a[4]]),
        getrlimit => match a[1] {
            0 => Err(Errno::EFAULT),
            to => others::prlimit(thread, 0, a[0], 0, to),
        },
        setrlimit => match a[1] {
            0 => Err(Errno::EFAULT),
            from => others::prlimit(thread, 0, a[0], from, 0),
        },
        prlimit64 => others::prlimit(thread, a[0], a[1], a[2], a[3]),
        getpriority | setpriority | ioprio_get | ioprio_set => others::priority(thread, nr, *a),
        sched_getaffinity
        | sched_setaffinity
        | sched_getparam
        | sched_setparam
        | sched_getscheduler
        | sched_setscheduler
        | sched_getattr
        | sched_setattr
        | sched_rr_get_interval => others::scheduled(thread, nr, *a),
        get_robust_list | migrate_pages | move_pages | process_vm_readv | process_vm_writev => {
            others::memory_of(thread, nr, *a)
        },
        kcmp => others::kcmp(thread, *a),

        // Process descriptors.
        pidfd_open => pidfd::open(thread, a[0], a[1]),
        pidfd_send_signal => pidfd::send_signal(thread, a[0], a[1], a[2], a[3]),
        pidfd_getfd => pidfd::getfd(thread, a[0], a[1], a[2]),
        process_mrelease => Err(Errno::EBADF),

        // Processes.
        clone => process::clone(thread, a[0], a[1], a[2], a[3], a[4]),
        clone3 => process::clone3(thread, a[0], a[1]),
        fork => process::fork_plain(thread),
        vfork => process::vfork(thread),
        exit => process::exit(thread, a[0]),
        wait4 => process::wait4(thread, a[0], a[1], a[2], a[3]),
        waitid => process::waitid(thread, a[0], a[1], a[2], a[3], a[4]),
        kill => process::kill(a[0], a[1]),
        tgkill => process::tgkill(thread, a[0], a[1], a[2]),
        tkill => process::tkill(thread, a[0], a[1]),
        rt_sigqueueinfo => process::queue(thread, a[0], None, a[1], a[2]),
        rt_tgsigqueueinfo => process::queue(thread, a[0], Some(a[1]), a[2], a[3]),
        ptrace => crate::ptrace::ptrace(thread, a[0], a[1], a[2], a[3]),
        execve => exec::execveat(thread, AT_CWD, a[0], a[1], a[2], 0),
        execveat => exec::execveat(thread, a[0], a[1], a[2], a[3], a[4]),

        // Signals.
        rt_sigaction => signal::sigaction(thread, a[0], a[1], a[2], a[3]),
        rt_sigprocmask => signal::sigprocmask(thread, a[0], a[1], a[2], a[3]),
        sigaltstack => signal::sigaltstack(thread, a[0], a[1]),
        rt_sigsuspend => signal::sigsuspend(thread, a[0], a[1]),
        rt_sigtimedwait => signal::sigtimedwait(thread, a[0], a[1], a[2], a[3]),
        rt_sigpending => signal::sigpending(thread, a[0], a[1]),
        signalfd | signalfd4 => signalfd::create(thread, nr, *a),
        ppoll | epoll_pwait | epoll_pwait2 | pselect6 | io_pgetevents => {
            signal::wait_with_mask(thread, nr, *a)
        },

        // Paths.
        open => path::open(thread, AT_CWD, a[0], a[1], a[2]),
        creat => path::open(
            thread,
            AT_CWD,
            a[0],
            u64::from(O_CREAT | O_WRONLY | O_TRUNC),
            a[1],
        ),
        openat => path::open(thread, a[0], a[1], a[2], a[3]),
        openat2 => path::openat2(thread, a[0], a[1], a[2], a[3]),
        chdir => path::chdir(thread, a[0]),
        chroot => path::chroot(thread, a[0]),
        fchdir => path::fchdir(thread, a[0]),
        getcwd => path::getcwd(thread, a[0], a[1]),
        readlink => path::readlink(thread, AT_CWD, a[0], a[1], a[2]),
        readlinkat => path::readlink(thread, a[0], a[1], a[2], a[3]),
        mkdir => path::make(thread, __NR_mkdirat, AT_CWD, a[0], a[1], 0),
        mkdirat => path::make(thread, nr, a[0], a[1], a[2], 0),
        mknod => path::make(thread, __NR_mknodat, AT_CWD, a[0], a[1], a[2]),
        mknodat => path::make(thread, nr, a[0], a[1], a[2], a[3]),
        unlink => path::unlink(thread, AT_CWD, a[0], 0),
        rmdir => path::unlink(thread, AT_CWD, a[0], u64::from(AT_REMOVEDIR)),
        unlinkat => path::unlink(thread, a[0], a[1], a[2]),
        rename => path::rename(thread, AT_CWD, a[0], AT_CWD, a[1], 0),
        renameat => path::rename(thread, a[0], a[1], a[2], a[3], 0),
        renameat2 => path::rename(thread, a[0], a[1], a[2], a[3], a[4]),
        link => path::link(thread, AT_CWD, a[0], AT_CWD, a[1], 0),
        linkat => path::link(thread, a[0], a[1], a[2], a[3], a[4]),
        symlink => path::symlink(thread, a[0], AT_CWD, a[1]),
        symlinkat => path::symlink(thread, a[0], a[1], a[2]),
        truncate => path::truncate(thread, a[0], a[1]),
        statfs => path::statfs(thread, a[0], a[1]),
        mount => path::mount(thread, [a[0], a[1], a[2], a[3], a[4]]),
        umount2 => path::umount(thread, a[0], a[1]),
        open_tree | fspick => path::open_tree(thread, nr, a[0], a[1], a[2]),

        // Memory: of rewritten linkers only.
        mmap => library::mmap(thread, *a),
        munmap => library::munmap(thread, a[0], a[1]),
        // Nothing that a guest knows of lies there.
        mbind => Err(Errno::EFAULT),

        // Files.
        stat => file::stat(thread, AT_CWD, a[0], a[1], 0),
        lstat => file::stat(thread, AT_CWD, a[0], a[1], u64::from(AT_SYMLINK_NOFOLLOW)),
        fstat => file::fstat(thread, a[0], a[1]),
        newfstatat => file::stat(thread, a[0], a[1], a[2], a[3]),
        statx => file::statx(thread, a[0], a[1], a[2], a[3], a[4]),
        access => file::access(thread, AT_CWD, a[0], a[1], 0),
        faccessat => file::access(thread, a[0], a[1], a[2], 0),
        faccessat2 => file::access(thread, a[0], a[1], a[2], a[3]),
        file_getattr => file::getattr(thread, a[0], a[1], [a[2], a[3], a[4]]),
        file_setattr => file::setattr(thread, a[0], a[1], [a[2], a[3], a[4]]),
        lseek => file::seek(thread, a[0], a[1], a[2]),
        getdents => file::getdents(a[0], a[1], a[2]),
        getdents64 => file::getdents64(a[0], a[1], a[2]),
        fstatfs => path::fstatfs(thread, a[0], a[1]),
        chmod => file::chmod(thread, AT_CWD, a[0], a[1], 0),
        fchmod => file::fchmod(thread, a[0], a[1]),
        fchmodat => file::chmod(thread, a[0], a[1], a[2], 0),
        fchmodat2 => file::chmod(thread, a[0], a[1], a[2], a[3]),
        chown => file::chown(thread, AT_CWD, a[0], a[1], a[2], 0),
        lchown => file::chown(
            thread,
            AT_CWD,
            a[0],
            a[1],
            a[2],
            u64::from(AT_SYMLINK_NOFOLLOW),
        ),
        fchown => file::fchown(thread, a[0], a[1], a[2]),
        fchownat => file::chown(thread, a[0], a[1], a[2], a[3], a[4]),
        utimensat => file::utimensat(thread, a[0], a[1], a[2], a[3]),
        utimes => file::utimes(thread, AT_CWD, a[0], a[1], 1000),
        futimesat => file::utimes(thread, a[0], a[1], a[2], 1000),
        utime => file::utime(thread, a[0], a[1]),
        setxattr => file::setxattr(thread, File::Path(a[0]), a[1], a[2], a[3], a[4]),
        lsetxattr => file::setxattr(thread, File::Link(a[0]), a[1], a[2], a[3], a[4]),
        fsetxattr => file::setxattr(thread, File::Descriptor(a[0]), a[1], a[2], a[3], a[4]),
        getxattr => file::getxattr(thread, File::Path(a[0]), a[1], a[2], a[3]),
        lgetxattr => file::getxattr(thread, File::Link(a[0]), a[1], a[2], a[3]),
        fgetxattr => file::getxattr(thread, File::Descriptor(a[0]), a[1], a[2], a[3]),
        listxattr => file::listxattr(thread, File::Path(a[0]), a[1], a[2]),
        llistxattr => file::listxattr(thread, File::Link(a[0]), a[1], a[2]),
        flistxattr => file::listxattr(thread, File::Descriptor(a[0]), a[1], a[2]),
        removexattr => file::removexattr(thread, File::Path(a[0]), a[1]),
        lremovexattr => file::removexattr(thread, File::Link(a[0]), a[1]),
        fremovexattr => file::removexattr(thread, File::Descriptor(a[0]), a[1]),
        setxattrat => file::setxattrat(thread, *a),
        getxattrat => file::getxattrat(thread, *a),
        listxattrat => file::listxattrat(thread, *a),
        removexattrat => file::removexattrat(thread, *a),
        name_to_handle_at => file::name_to_handle(thread, a[0], a[1], a[2], a[3], a[4]),
        open_by_handle_at => file::open_by_handle(thread, a[0], a[1], a[2]),
        inotify_add_watch => file::watch(thread, a[0], a[1], a[2]),
        ioctl => file::ioctl(thread, a[0], a[1], a[2]),
        fcntl => file::fcntl(thread, a[0], a[1], a[2]),
        close_range => file::close_range(thread, a[0], a[1], a[2]),
        close => Err(Errno::EBADF),
        dup | dup2 | dup3 => signalfd::duplicate(thread, nr, *a),

        // Sockets.
        socket => socket::unix::socket(thread, nr, a[0], a[1], a[2]),
        socketpair => socket::unix::socketpair(nr, a[0], a[1], a[2]),
        getsockopt => socket::options::get(thread, nr, [a[0], a[1], a[2], a[3], a[4]]),
        setsockopt => socket::options::set(thread, nr, [a[0], a[1], a[2], a[3], a[4]]),
        bind => socket::bind(thread, a[0], a[1], a[2]),
        connect => socket::connect(thread, a[0], a[1], a[2]),
        listen => socket::listen(thread, a[0], a[1]),
        accept => socket::accept(thread, a[0], a[1], a[2], 0),
        accept4 => socket::accept(thread, a[0], a[1], a[2], a[3]),
        getsockname | getpeername => socket::name(thread, nr, a[0], a[1], a[2]),
        sendto => socket::sendto(thread, *a),
        recvfrom => socket::recvfrom(thread, *a),
        sendmsg => socket::sendmsg(thread, a[0], a[1], a[2]),
        recvmsg => socket::recvmsg(thread, a[0], a[1], a[2]),
        sendmmsg | recvmmsg => socket::many(thread, nr, *a),

        // IPC.
        shmget => ipc::shmget(thread, a[0], a[1], a[2]),
        shmat => ipc::shmat(thread, a[0], a[1], a[2]),
        shmdt => ipc::shmdt(thread, a[0]),
        shmctl => ipc::shmctl(thread, a[0], a[1], a[2]),
        semget => ipc::semget(thread, a[0], a[1], a[2]),
        semop => ipc::semtimedop(thread, a[0], a[1], a[2], 0),
        semtimedop => ipc::semtimedop(thread, a[0], a[1], a[2], a[3]),
        semctl => ipc::semctl(thread, a[0], a[1], a[2], a[3]),
        msgget => ipc::msgget(thread, a[0], a[1]),
        msgsnd => ipc::msgsnd(thread, a[0], a[1], a[2], a[3]),
        msgrcv => ipc::msgrcv(thread, a[0], a[1], a[2], a[3], a[4]),
        msgctl => ipc::msgctl(thread, a[0], a[1], a[2]),
        mq_open => ipc::mq_open(thread, a[0], a[1], a[2], a[3]),
        mq_unlink => ipc::mq_unlink(thread, a[0]),
        mq_notify => ipc::mq_notify(thread, a[0], a[1]),
        add_key => keys::add(thread, a[0], a[1], a[2], a[3], a[4]),
        request_key => keys::request(thread, a[0], a[1], a[2], a[3]),
        keyctl => keys::control(thread, a[0], [a[1], a[2], a[3], a[4]]),

        // The caller itself.
        clock_gettime | clock_getres | clock_nanosleep => {
            itself::clock(thread, nr, *a)
        },
        clock_settime => clocks::settime(thread, nr, a[0], a[1]),
        clock_adjtime => clocks::adjust(thread, nr, a[0], a[1]),
        adjtimex => clocks::adjust(thread, nr, 0, a[0]),
        settimeofday => clocks::settimeofday(thread, a[0], a[1]),
        timerfd_create => itself::timerfd_create(thread, a[0], a[1]),
        arch_prctl => itself::gs_base(thread, a[0], a[1]),
        timer_create => itself::timer_create(thread, a[0], a[1], a[2]),
        mlock | mlock2 | mlockall => itself::lock(thread, nr, *a),
        munlockall => itself::unlock_all(thread),
        landlock_create_ruleset => landlock::create_ruleset(thread, a[0], a[1], a[2]),
        landlock_restrict_self => landlock::restrict_self(thread, a[0], a[1]),
        unshare => namespaces::unshare(thread, a[0]),
        setns => namespaces::setns(thread, a[0], a[1]),
        syslog => itself::syslog(thread, a[0], a[1], a[2]),
        vhangup => itself::vhangup(thread),
        ustat => itself::ustat(a[0], a[1]),
        process_madvise => others::advise(thread, *a),

        // What belongs to the host.
        acct => withheld::account(thread, nr, a[0]),
        swapon | swapoff => withheld::swap(thread, nr, a[0], a[1]),
        reboot => withheld::reboot(thread, nr, [a[0], a[1], a[2], a[3]]),
        pivot_root => withheld::pivot_root(thread, nr, a[0], a[1]),
        quotactl => withheld::quota(thread, a[0], a[1]),
        quotactl_fd => withheld::quota_of(thread, a[0], a[1]),
        bpf => withheld::bpf(nr, a[0], a[1], a[2]),
        perf_event_open => withheld::perf_event(nr, a[0], a[4]),
        lsm_set_self_attr => withheld::set_self_attribute(a[1], a[2], a[3]),
        statmount => path::statmount(thread, [a[0], a[1], a[2], a[3]]),
        listmount => path::listmount(thread, [a[0], a[1], a[2], a[3]]),
        fsopen => path::fsopen(thread, a[0], a[1]),
        fsconfig => path::fsconfig(thread, [a[0], a[1], a[2], a[3], a[4]]),
        fsmount => path::fsmount(thread, a[0], a[1], a[2]),
        move_mount => path::move_mount(thread, *a),
        mount_setattr => path::mount_setattr(thread, nr, *a),
        open_tree_attr => path::open_tree_attr(thread, nr, *a),

        // As the kernel tells those without CAP_SYS_PTRACE.
        userfaultfd => itself::userfaultfd(thread, a[0]),
    }
}

const fn is_handled(nr: u32) -> bool {
    let mut i = 0;
    while i < HANDLED.len() {
        if HANDLED[i] == nr {
            return true;
        }
        i += 1;
    }
    false
}

// The table and the arms above agree: nothing that the filter sends here is forgotten, and nothing
// is served that the table calls native. What it refuses may have a function that looks at the
// arguments. rt_sigreturn and exec's kin are served before.
const _: () = {
    let mut i = 0;
    while i < ROWS.len() {
        let row = &ROWS[i];
        let is_served_before = row.nr == nr::rt_sigreturn;
        assert!(
            !row.needs_handler() || is_handled(row.nr) || is_served_before,
            "a call that the table has translated has no handler"
        );
        assert!(
            !is_handled(row.nr) || !matches!(row.class, Class::Native),
            "a call has a handler that the filter never lets come to it"
        );
        i += 1;
    }
};
