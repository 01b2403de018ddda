//! execve: with a plan in hand, the kernel executes the personality afresh.

use crate::arch::{syscall1, syscall2, syscall5, syscall6};
use crate::dispatch::checked;
use crate::identity::Credentials;
use crate::memory::PathRoom;
use crate::monitor::tables;
use crate::path::{self, Reach};
use crate::signal::{BLOCK_ALL, block_all, set_kernel_mask, unblock};
use crate::thread::{Thread, me};
use crate::{Errno, Result, clients, file, filters, handover, identity, memory, pids, plan};
use core::ffi::CStr;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use picozone_personality::layout::FD_PERSONALITY;
use picozone_personality::mailbox::Handover;

/// Longest list of arguments that fits `#!`'s rebuilt vector: the kernel's own limit bounds it.
const VECTOR_MAX: usize = 1 << 20;

/// `AT_EXECVE_CHECK`, not in linux_raw_sys.
const CHECK: u64 = 0x10000;

/// execve(2), execveat(2).
pub fn execveat(
    thread: &mut Thread,
    dirfd: u64,
    path: u64,
    argv: u64,
    envp: u64,
    flags: u64,
) -> Result<u64> {
    let flags = u64::from(flags as u32);
    if flags & !(u64::from(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) | CHECK) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut room = PathRoom::new();
    let path = room.read(path)?;
    if path.is_empty() && flags & u64::from(AT_EMPTY_PATH) == 0 {
        return Err(Errno::ENOENT);
    }
    let text = crate::path::own_exe(thread, path);
    execute(thread, dirfd, text, argv, envp, flags)
}

/// Returns only if the exec did not happen.
fn execute(
    thread: &mut Thread,
    dirfd: u64,
    path: &CStr,
    argv: u64,
    envp: u64,
    flags: u64,
) -> Result<u64> {
    if flags & u64::from(AT_SYMLINK_NOFOLLOW) != 0 && is_link(thread, dirfd, path) {
        return Err(Errno::ELOOP);
    }
    if flags & CHECK != 0 {
        return check(thread, [dirfd, argv, envp, flags & !CHECK], path);
    }
    // A signal that came by now is served first: its handler may execute too.
    let mask = block_all(thread)?;
    let result = execute_blocked(thread, [dirfd, argv, envp, flags], path, mask);
    unblock(thread, mask);
    result
}

/// Whether the thread may execute a file, of whatever content: nothing is executed.
#[cold]
#[inline(never)]
fn check(thread: &mut Thread, [dirfd, argv, envp, flags]: [u64; 4], path: &CStr) -> Result<u64> {
    if thread.process().is_client {
        // The descriptors that a plan comes with are not the client's.
        return Err(Errno::EINVAL);
    }
    let mask = block_all(thread)?;
    let mut claim = handover::claim(thread.process().host_pid);
    let planned = plan::prepare(thread, &mut claim, dirfd, path, flags);
    if planned.is_ok() {
        plan::close_images(claim.handover);
    }
    drop(claim);
    unblock(thread, mask);
    match planned {
        // What the file itself would need is not looked at.
        Err(Errno::ENOEXEC | Errno::ELIBBAD) => {}
        other => other?,
    }
    for vector in [argv, envp] {
        if vector != 0 {
            memory::read::<u64>(vector)?;
        }
    }
    Ok(0)
}

fn execute_blocked(
    thread: &mut Thread,
    [dirfd, argv, envp, flags]: [u64; 4],
    path: &CStr,
    mask: u64,
) -> Result<u64> {
    let inherited = (filters::count(thread), filters::no_new_privs(thread));
    let mut claim = handover::claim(thread.process().host_pid);
    plan::prepare(thread, &mut claim, dirfd, path, flags)?;
    if claim.handover.front_count != 0 && is_found_by_closing(dirfd, path) {
        plan::close_images(claim.handover);
        return Err(Errno::ENOENT);
    }
    // What was put on all threads is the new program's own.
    let own = &mut thread.credentials.capabilities;
    (own.filters, own.no_new_privs) = inherited;
    let mut after = thread.credentials;
    if let Err(errno) = after.execute(&claim.handover.privileges) {
        plan::close_images(claim.handover);
        return Err(errno);
    }
    name_program(claim.handover, dirfd, path);
    claim.handover.mask = mask | thread.held;
    claim.handover.is_awaited = 0;
    claim.handover.kept = thread.process().kept.load(Relaxed);
    claim.handover.soft_limit = thread.soft_limit.map_or(0, |soft| soft.saturating_add(1));
    claim.handover.is_plain = u32::from(plan::is_plain(thread));
    claim.handover.ignored = crate::signal::held_ignored(thread) as u32;
    let number = thread.process().zone_pid;
    claim.handover.zone_pid = number;
    let leader = (!thread.is_leader).then(|| Credentials {
        groups: pids::load_groups(number),
        ..pids::load_credentials(number)
    });
    pids::store_credentials(number, &thread.credentials);
    crate::ptrace::before_exec(thread)?;
    let result = run(claim.handover, argv, envp);
    // Still here: the kernel refused (E2BIG, ENOMEM). The images are not needed.
    plan::close_images(claim.handover);
    if let Some(mut leader) = leader {
        pids::store_credentials(number, &leader);
        leader.groups.free();
    }
    result
}

/// Says by which name the program is executed (`bprm->filename` in the kernel's fs/exec.c), where that
/// is not its path and there is room.
fn name_program(handover: &mut Handover, dirfd: u64, path: &CStr) {
    handover.name_len = 0;
    let used = (handover.path_len as usize).min(handover.path.len());
    let path = path.to_bytes();
    let (front, room) = handover.path.split_at_mut(used);
    if front == path {
        return;
    }
    let mut number = [0; 10];
    let is_relative = dirfd as i32 != AT_FDCWD && path.first() != Some(&b'/');
    let parts = if is_relative {
        let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
        [b"/dev/fd/", decimal(dirfd as u32, &mut number), slash, path]
    } else {
        [b"", b"", b"", path]
    };
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let Some([nul, name @ ..]) = room.get_mut(..length + 2) else {
        return;
    };
    *nul = 0;
    let mut at = 0;
    for part in parts {
        name[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    name[at] = 0;
    handover.name_len = length as u32;
}

/// A number's digits.
#[unsafe(link_section = ".text.rare")]
#[inline(never)]
pub fn decimal(mut number: u32, to: &mut [u8; 10]) -> &[u8] {
    let mut at = to.len();
    loop {
        at -= 1;
        to[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &to[at..];
        }
    }
}

fn is_link(thread: &mut Thread, dirfd: u64, path: &CStr) -> bool {
    if thread.process().is_client {
        let mut byte = 0u8;
        let to = &raw mut byte as u64;
        let args = [dirfd, path.as_ptr() as u64, to, 1, 0, 0];
        return clients::forward(thread, __NR_readlinkat, args).is_ok();
    }
    let zone = &mut None;
    match path::reach(thread, dirfd, path, true, zone) {
        Ok(Reach::Node(fd)) => {
            let is_link = file::kind_of(fd) == Some(S_IFLNK);
            unsafe { syscall1(__NR_close, fd) };
            is_link
        }
        _ => false,
    }
}

/// Whether a script's interpreter would look for it by a descriptor that exec closes
/// (`BINPRM_FLAGS_PATH_INACCESSIBLE` in the kernel's fs/exec.c).
fn is_found_by_closing(dirfd: u64, path: &CStr) -> bool {
    if dirfd as i32 == AT_FDCWD || path.to_bytes().first() == Some(&b'/') {
        return false;
    }
    let flags = unsafe { syscall2(__NR_fcntl, dirfd, u64::from(F_GETFD)) };
    flags >= 0 && flags as u32 & FD_CLOEXEC != 0
}

fn run(handover: &Handover, argv: u64, envp: u64) -> Result<u64> {
    let front = handover.front_count as usize;
    if front == 0 {
        return go(argv, envp);
    }
    // `#!`: interpreter, argument and script replace the guest's first argument.
    let count = count(argv)?;
    let size = ((front + count + 1) * 8) as u64;
    let vector = checked(unsafe { syscall6(__NR_mmap, [0, size, 3, 0x22, u64::MAX, 0]) })?;
    let mut text = handover.front.as_ptr() as u64;
    for i in 0..front {
        unsafe { ((vector + 8 * i as u64) as *mut u64).write(text) };
        let mut byte = unsafe { (text as *const u8).read() };
        while byte != 0 {
            text += 1;
            byte = unsafe { (text as *const u8).read() };
        }
        text += 1;
    }
    let mut at = vector + 8 * front as u64;
    let mut result = Ok(0);
    for i in 1..count.max(1) {
        match memory::read::<u64>(argv + 8 * i as u64) {
            Ok(pointer) => unsafe { (at as *mut u64).write(pointer) },
            Err(errno) => result = Err(errno),
        }
        at += 8;
    }
    unsafe { (at as *mut u64).write(0) };
    if result.is_ok() {
        result = go(vector, envp);
    }
    unsafe { syscall2(__NR_munmap, vector, size) };
    result
}

fn count(argv: u64) -> Result<usize> {
    if argv == 0 {
        return Ok(0);
    }
    for i in 0..VECTOR_MAX {
        if memory::read::<u64>(argv + 8 * i as u64)? == 0 {
            return Ok(i);
        }
    }
    Err(Errno::E2BIG)
}

fn go(argv: u64, envp: u64) -> Result<u64> {
    let empty = tables().empty.as_ptr() as u64;
    // A message of another personality would end the process as long as it has no handlers.
    set_kernel_mask(BLOCK_ALL | 1 << (SIGSYS - 1), 0);
    let had_no_cores = me().process().core_limit.is_some();
    if had_no_cores {
        identity::leave_cores(me());
    }
    let result = checked(unsafe {
        syscall5(
            __NR_execveat,
            u64::from(FD_PERSONALITY),
            empty,
            argv,
            envp,
            u64::from(AT_EMPTY_PATH),
        )
    });
    set_kernel_mask(BLOCK_ALL, 0);
    if had_no_cores {
        identity::set_dumpable(me(), 0);
    }
    result
}

/// The first exec of a process that init forked: nothing of a guest exists yet.
#[cold]
#[inline(never)]
pub fn first(thread: &mut Thread, path: &[u8], argv: u64, envp: u64, mask: u64) -> Result<u64> {
    let mut context = unsafe { core::mem::zeroed::<crate::arch::Context>() };
    context.mask = mask;
    thread.context = &raw mut context;
    let mut room = PathRoom::new();
    let path = room.set(path)?;
    execute(thread, AT_FDCWD as u64, path, argv, envp, 0)
}
