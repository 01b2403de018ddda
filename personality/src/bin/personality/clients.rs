//! Being a client: a process of a strict zone whose users are not the zone's root.
//!
//! What is here makes no decision: the second filter ([`clients::filter`]) and the monitor do. It keeps a
//! program running under them.

use crate::arch::{syscall1, syscall2, syscall3, syscall5, syscall6};
use crate::dispatch::checked;
use crate::identity::{self, Credentials};
use crate::monitor::{commons, tables};
use crate::thread::Thread;
use crate::{Errno, Result, die, filters, pids, room, socket};
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use linux_raw_sys::general::*;
use linux_raw_sys::ioctl::TIOCSCTTY;
use linux_raw_sys::prctl::*;
use picozone_personality::clients::{self, BY_SOCKET, CLIENT, NOWHERE, TERMINAL, enter};
use picozone_personality::commons::Process;
use picozone_personality::layout::*;
use picozone_personality::mailbox::{Mailbox, Request};
use picozone_syscalls::forward::{self, DATA_MAX, Length, Role};
use picozone_syscalls::{Kind, Row, row};

/// The entry that a client keeps of itself, since that of the commons is not its to change.
static mut OWN: core::mem::MaybeUninit<Process> = core::mem::MaybeUninit::zeroed();
/// Whether [`OWN`] is filled.
static HAS_OWN: AtomicU32 = AtomicU32::new(0);
/// Held from a question to the descriptor that answers it.
static NAMING: AtomicU32 = AtomicU32::new(0);

const MAP: u64 = (MAP_FIXED | MAP_NORESERVE) as u64;
const READ_WRITE: u64 = (PROT_READ | PROT_WRITE) as u64;

/// The entry of the client itself.
#[cold]
#[inline(never)]
pub fn own(from: &'static Process) -> &'static Process {
    let own = (&raw mut OWN).cast::<Process>();
    if HAS_OWN.swap(1, Relaxed) == 0 {
        unsafe { core::ptr::copy_nonoverlapping(from, own, 1) };
    }
    unsafe { &*own }
}

/// Whether users are those of a client.
pub fn are_clients(thread: &Thread) -> bool {
    tables().strict == 1 && !thread.credentials.uid.contains(&0)
}

/// Has a process be a client from now on, if it is to be one and no other thread of it is at work in the
/// personality: one that has several becomes one when it executes a program.
#[cold]
#[inline(never)]
pub fn become_one(thread: &mut Thread) {
    let process = thread.process();
    if process.is_client
        || process.is_clerk
        || !are_clients(thread)
        || process.users.load(Acquire) != 1
    {
        return;
    }
    process.parents.turn_off();
    if ask_to_enter(enter::BECOME, [0; 2]).is_err() {
        die("picozone: a process cannot become a client\n");
    }
    process.is_client = true;
    map();
    // The copy is made while there is one thread.
    pids::own(thread);
    let (steps, count) = clients::filter(tables().empty.as_ptr() as u64);
    if filters::install(&steps[..count], 0) != 0 {
        die("picozone: the filter of clients cannot be installed\n");
    }
}

/// Maps what the reserved descriptors stand for now.
pub fn map() {
    let private = u64::from(MAP_PRIVATE) | MAP;
    let shared = u64::from(MAP_SHARED) | MAP;
    let boxes = COMMONS_SIZE - MAILBOXES_OFFSET;
    let rows = [
        [
            COMMONS_BASE,
            MAILBOXES_OFFSET,
            READ_WRITE,
            private,
            u64::from(FD_COMMONS),
            0,
        ],
        [
            MAILBOXES_BASE,
            boxes,
            READ_WRITE,
            shared,
            u64::from(FD_BOXES),
            MAILBOXES_OFFSET,
        ],
    ];
    for row in rows {
        if unsafe { syscall6(__NR_mmap, row) } as u64 != row[0] {
            die("picozone: a client's memory cannot be mapped\n");
        }
    }
}

fn ring(how: u64, [first, second]: [u64; 2]) -> Result<u64> {
    let is_client = u64::from(how != enter::BECOME) * u64::from(CLIENT);
    let request = Request::Enter as u64;
    loop {
        let answer = unsafe { syscall5(NR_DOORBELL, request, is_client, how, first, second) };
        match checked(answer) {
            // A signal came before the monitor looked; it was noted, and now all are blocked.
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// The descriptors that the monitor puts in place have numbers above the usual limit.
fn ask_to_enter(how: u64, what: [u64; 2]) -> Result<u64> {
    const TRIES: usize = 64;
    let ask = || room::with_room_for(u64::from(FD_BASE + FD_COUNT), || ring(how, what));
    for _ in 1..TRIES {
        match ask() {
            // Another process has just set the limit.
            Err(Errno::EBADF) => {}
            other => return other,
        }
    }
    ask()
}

/// A client's first step in its own life.
#[cold]
#[inline(never)]
pub fn born(zone_pid: u32, token: u64) {
    NAMING.store(0, Relaxed);
    if ask_to_enter(enter::BORN, [u64::from(zone_pid), token]).is_err() {
        die("picozone: a client is not known\n");
    }
    map();
}

/// The same where it shares its parent's memory, mailboxes included.
#[cold]
#[inline(never)]
pub fn born_within(zone_pid: u32, token: u64) {
    if ring(enter::BORN_WITHIN, [u64::from(zone_pid), token]).is_err() {
        die("picozone: a client is not known\n");
    }
}

/// A thread's first step.
#[cold]
#[inline(never)]
pub fn thread_born() {
    if ring(enter::THREAD, [0; 2]).is_err() {
        die("picozone: a client's thread is not known\n");
    }
}

/// A client's first step in a program that it has executed: from here on its mailboxes are out of the reach
/// of whoever it was before.
#[cold]
#[inline(never)]
pub fn executed() {
    if ask_to_enter(enter::EXECUTED, [0; 2]).is_err() {
        die("picozone: a client is not known\n");
    }
    map();
}

/// A number for a child, and the token by which the monitor knows it.
#[cold]
#[inline(never)]
pub fn birth(thread: &mut Thread) -> Result<u32> {
    let zone_pid = thread.ask(Request::Birth, &[])?;
    thread.token = thread.mailbox().head;
    Ok(zone_pid as u32)
}

/// Whether a call of a client is made by a clerk.
#[cold]
#[inline(never)]
pub fn is_forwarded(nr: u32, args: [u64; 6]) -> bool {
    // What stands in its entry, by which others and its next program are judged.
    let is_about_entry = || {
        matches!(
            args[0] as u32,
            PR_SET_KEEPCAPS
                | PR_SET_SECUREBITS
                | PR_CAPBSET_DROP
                | PR_CAP_AMBIENT
                | PR_SET_NO_NEW_PRIVS
                | PR_SET_DUMPABLE
        )
    };
    match nr {
        __NR_prctl => is_about_entry(),
        __NR_fcntl => matches!(args[1] as u32, F_SETOWN | F_SETOWN_EX),
        __NR_ioctl => crate::file::SET_OWNER.contains(&args[1]),
        // Of a descriptor of its own, by itself.
        __NR_newfstatat => !is_of_descriptor(args[0], args[1], args[3]),
        __NR_statx => !is_of_descriptor(args[0], args[1], args[2]),
        __NR_readlinkat | __NR_faccessat2 => true,
        _ => forward::is_forwarded(nr),
    }
}

fn is_of_descriptor(fd: u64, path: u64, flags: u64) -> bool {
    fd as i32 != AT_FDCWD
        && flags & u64::from(AT_EMPTY_PATH) != 0
        && (path == 0 || crate::memory::read::<u8>(path) == Ok(0))
}

/// Longest value of an attribute (`XATTR_SIZE_MAX`).
const VALUE_MAX: usize = 65536;

/// Room for what arguments point at: the mailbox from its first text on.
struct Data {
    start: u64,
    used: usize,
}

impl Data {
    fn of(mailbox: &mut Mailbox) -> Data {
        Data {
            start: (&raw mut mailbox.a) as u64,
            used: 0,
        }
    }
    /// Takes room for so many bytes. The word that stands for it, and its address.
    ///
    /// # Errors
    /// E2BIG: there is not as much.
    fn take(&mut self, length: usize) -> Result<(u64, u64)> {
        let at = self.used.next_multiple_of(8);
        if length > DATA_MAX - at.min(DATA_MAX) {
            return Err(Errno::E2BIG);
        }
        self.used = at + length;
        Ok((at as u64 + 1, self.start + at as u64))
    }
    fn text(&mut self, from: u64) -> Result<u64> {
        const PATH_MAX: usize = 4096;
        let (word, at) = self.take(PATH_MAX.min(DATA_MAX - self.used.next_multiple_of(8)))?;
        let room = self.start + DATA_MAX as u64 - at;
        let Some(length) = crate::arch::string_in(at, PATH_MAX.min(room as usize), from) else {
            return Ok(NOWHERE);
        };
        if length >= PATH_MAX.min(room as usize) {
            return Err(Errno::ENAMETOOLONG);
        }
        self.used = word as usize - 1 + length + 1;
        Ok(word)
    }
}

/// Whether a number is that of the process' first thread, in the zone's terms or libc's.
fn is_leader(thread: &Thread, id: u32) -> bool {
    let process = thread.process();
    id == process.zone_pid || id == process.host_pid
}

/// Has a clerk make a call, and puts what it fills in where the caller wants it.
#[cold]
#[inline(never)]
pub fn forward(thread: &mut Thread, nr: u32, args: [u64; 6]) -> Result<u64> {
    if nr == __NR_truncate {
        return truncate(thread, args);
    }
    let (nr, args) = for_others(thread, nr, args)?;
    let Some(row) = row(nr) else {
        return Err(Errno::ENOSYS);
    };
    let (words, used) = pack(thread, row, args)?;
    let mut all = [0u64; 8];
    all[0] = u64::from(nr) | (used as u64) << 32;
    all[1..7].copy_from_slice(&words);
    if let Some(index) = forward::object(row, &args) {
        all[7] = socket::hand_over(thread, args[index])?;
    }
    let names = may_name(row, args);
    if names {
        lock();
    }
    // Which signals end a call that waits: where it came by a jump the kernel has the guest's mask.
    thread.mailbox().head = if thread.came_by_jump() {
        u64::MAX
    } else {
        thread.mask()
    };
    let result = match thread.ask(Request::Forward, &all) {
        Err(Errno::ECANCELED) => Err(Errno::EINTR),
        Ok(value) if value & BY_SOCKET != 0 => take_name(value),
        other => other,
    };
    if names {
        NAMING.store(0, Release);
    }
    let mut value = result?;
    if value & TERMINAL != 0 {
        value &= !TERMINAL;
        // As the kernel does for a session leader without a terminal.
        if open_flags(row, args) & O_NOCTTY == 0 {
            unsafe { syscall3(__NR_ioctl, value, u64::from(TIOCSCTTY), 0) };
        }
    }
    unpack(thread, row, args, words, value)?;
    after(thread, nr, args, value)
}

/// truncate(2), by a descriptor: of what was opened it is sure which file it is.
fn truncate(thread: &mut Thread, [path, length, ..]: [u64; 6]) -> Result<u64> {
    if (length as i64) < 0 {
        return Err(Errno::EINVAL);
    }
    let flags = u64::from(O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_LARGEFILE);
    let opened = forward(thread, __NR_open, [path, flags, 0, 0, 0, 0]);
    let fd = match opened {
        // A FIFO that nobody reads.
        Err(Errno::ENXIO) => return Err(Errno::EINVAL),
        other => other?,
    };
    let cut = checked(unsafe { syscall2(__NR_ftruncate, fd, length) });
    unsafe { syscall1(__NR_close, fd) };
    cut
}

/// What names the caller's own group does so by its number.
fn for_others(thread: &Thread, mut nr: u32, mut args: [u64; 6]) -> Result<(u32, [u64; 6])> {
    if nr == __NR_kill && args[0] as i32 == 0 {
        let group = crate::process::group_of(thread, __NR_getpgid, 0)?;
        args[0] = group.wrapping_neg();
    }
    if nr == __NR_fcntl && args[1] as u32 == F_SETOWN_EX {
        // What only names a file has no owner, whatever else is wrong.
        let flags = checked(unsafe { syscall3(__NR_fcntl, args[0], u64::from(F_GETFL), 0) })?;
        if flags as u32 & O_PATH != 0 {
            return Err(Errno::EBADF);
        }
        let [kind, id] = crate::memory::read::<[u32; 2]>(args[2])?;
        args[2] = match kind {
            F_OWNER_PID => u64::from(id),
            F_OWNER_PGRP => u64::from(id).wrapping_neg(),
            // The only thread, or the first: its process will do.
            F_OWNER_TID if is_leader(thread, id) => u64::from(thread.process().zone_pid),
            _ => return Err(Errno::EINVAL),
        };
        args[1] = u64::from(F_SETOWN);
    }
    if nr == __NR_ioctl {
        let id = crate::memory::read::<i32>(args[2]);
        match crate::file::kind_of(args[0]) {
            None => return Err(Errno::EBADF),
            Some(S_IFSOCK) => {}
            Some(_) => return Err(Errno::ENOTTY),
        }
        (nr, args[1], args[2]) = (__NR_fcntl, u64::from(F_SETOWN), id? as u64);
    }
    Ok((nr, args))
}

/// The flags of a call that opens.
fn open_flags(row: &Row, args: [u64; 6]) -> u32 {
    match row.nr {
        __NR_open => args[1] as u32,
        __NR_openat => args[2] as u32,
        __NR_openat2 => crate::memory::read::<u32>(args[2]).unwrap_or(O_NOCTTY),
        _ => 0,
    }
}

/// Whether a descriptor that only names a file may be the answer.
fn may_name(row: &Row, args: [u64; 6]) -> bool {
    match row.nr {
        __NR_chdir | __NR_openat2 => true,
        _ => open_flags(row, args) & O_PATH != 0,
    }
}

fn lock() {
    while NAMING.swap(1, Acquire) != 0 {
        unsafe { syscall1(__NR_sched_yield, 0) };
    }
}

fn is_link(row: &Row) -> bool {
    matches!(row.nr, __NR_readlink | __NR_readlinkat)
}

fn pack(thread: &Thread, row: &Row, args: [u64; 6]) -> Result<([u64; 6], usize)> {
    let mut data = Data::of(thread.mailbox());
    let mut words = args;
    for index in 0..row.args.len() {
        let from = args[index];
        words[index] = match forward::role(row, index) {
            // A length may have been cut already.
            Role::Value | Role::Directory | Role::Object => continue,
            _ if from == 0 => 0,
            Role::Text => data.text(from)?,
            Role::In(length) => match (length.of(&args), data.take(length.of(&args))) {
                (length, Ok((word, at))) if crate::arch::copy(at, from, length) => word,
                // Larger than what any file system of ours keeps of it.
                (..=VALUE_MAX, Err(_)) if row.args[index].kind == Kind::Buf => {
                    return Err(Errno::ENOSPC);
                }
                // Other sizes are wrong themselves, which is said before the data are looked at.
                _ => NOWHERE,
            },
            // An `int`, which no buffer may have.
            Role::Out(Length::Argument(of)) if args[of] as i32 <= 0 && is_link(row) => NOWHERE,
            Role::Out(wanted) => {
                let room = DATA_MAX - data.used.next_multiple_of(8).min(DATA_MAX);
                let length = wanted.of(&args).min(room);
                if let Length::Argument(of) = wanted {
                    words[of] = length as u64;
                }
                data.take(length)?.0
            }
        };
    }
    Ok((words, data.used))
}

fn unpack(thread: &Thread, row: &Row, args: [u64; 6], words: [u64; 6], value: u64) -> Result<()> {
    let start = (&raw const thread.mailbox().a) as u64;
    for index in 0..row.args.len() {
        let Role::Out(length) = forward::role(row, index) else {
            continue;
        };
        if args[index] == 0 || matches!(words[index], 0 | NOWHERE) {
            continue;
        }
        let length = match length {
            // The result says how much came.
            Length::Argument(_) => (value as usize).min(length.of(&words)),
            other => other.of(&args),
        };
        if !crate::arch::copy(args[index], start + words[index] - 1, length) {
            return Err(Errno::EFAULT);
        }
    }
    Ok(())
}

/// Takes a descriptor that only names a file.
fn take_name(value: u64) -> Result<u64> {
    /// `MSG_CMSG_CLOEXEC`.
    const CLOEXEC: u64 = 0x4000_0000;
    let flags = if value & u64::from(O_CLOEXEC) != 0 {
        CLOEXEC
    } else {
        0
    };
    let (mut word, mut fds) = (0u64, [0; 1]);
    let part = [&raw mut word as u64, 8];
    let (got, count) = socket::receive(u64::from(FD_NAMES), part, &mut fds, flags);
    checked(got)?;
    if count == 0 {
        return Err(Errno::EMFILE);
    }
    Ok(fds[0])
}

/// What the process itself has to do then.
fn after(thread: &mut Thread, nr: u32, args: [u64; 6], value: u64) -> Result<u64> {
    match nr {
        __NR_prctl if args[0] as u32 == PR_SET_DUMPABLE => {
            identity::set_dumpable(thread, args[1] as u32);
            Ok(value)
        }
        __NR_chdir => {
            let moved = checked(unsafe { syscall1(__NR_fchdir, value) });
            unsafe { syscall1(__NR_close, value) };
            moved
        }
        __NR_setuid | __NR_setgid | __NR_setreuid | __NR_setregid | __NR_setgroups
        | __NR_setresuid | __NR_setresgid | __NR_setfsuid | __NR_setfsgid | __NR_capset
        | __NR_prctl => {
            let number = thread.process().zone_pid;
            let old = thread.credentials;
            thread.credentials = Credentials {
                groups: pids::load_groups(number),
                ..pids::load_credentials(number)
            };
            // Of its filters only itself knows.
            thread.credentials.capabilities.filters = old.capabilities.filters;
            identity::changed(thread, &old);
            let mut groups = old.groups;
            groups.free();
            Ok(value)
        }
        __NR_chroot => {
            let number = thread.process().zone_pid as usize;
            if let Some(row) = commons().processes.get(number) {
                thread.process().root = row.root.load(Relaxed);
            }
            Ok(value)
        }
        _ => Ok(value),
    }
}

/// Sends the thread a signal: who it is only a clerk may signal.
#[cold]
#[inline(never)]
pub fn send_to_self(thread: &Thread, signal: u32) {
    let process = u64::from(thread.process().zone_pid);
    let own = u64::from(thread.zone_tid());
    let call = [u64::from(__NR_tgkill), process, own, u64::from(signal)];
    // That it waits for nothing.
    thread.mailbox().head = 0;
    let _ = thread.ask(Request::Forward, &call);
}
