//! What rewritten call sites must keep, and what a warm operation costs in calls of the kernel.

use picozone_guests::{sections, see};
use std::arch::asm;
use std::ffi::CStr;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};

fn main() {
    sections(&[
        ("kept", kept),
        ("foreign_gs", foreign_gs),
        ("itself", itself),
        ("born", born),
        ("operations", operations),
    ]);
}

/// Carry, parity, adjust, zero, sign, direction, overflow.
const FLAGS: u64 = 0xcd5;

/// What is left of registers, flags and the room below rsp after getppid(2), which enters at the
/// load of its number or, if that comes from elsewhere, at the instruction itself.
macro_rules! left_by {
    ($load:literal, $flags:expr) => {{
        let (flags, kept): (u64, u64);
        // SAFETY: rbx and rbp are restored; what is below rsp is nobody's where the stack may be
        // used; the direction is forward again at the end.
        unsafe {
            asm!(
                "push rbx", "push rbp",
                "mov rbx, 3", "mov rbp, 5",
                "mov qword ptr [rsp - 16], 7", "mov qword ptr [rsp - 128], 11",
                "push rsi", "popfq",
                $load,
                "syscall",
                "mov rdi, [rsp - 16]", "mov rsi, [rsp - 128]",
                "pushfq", "pop rdx", "cld",
                "cmp rdi, 7", "jne 5f", "cmp rsi, 11", "jne 5f",
                "cmp rbx, 3", "jne 5f", "cmp rbp, 5", "jne 5f",
                "cmp r8, 13", "jne 5f", "cmp r9, 17", "jne 5f", "cmp r10, 19", "jne 5f",
                "cmp r12, 23", "jne 5f", "cmp r13, 29", "jne 5f", "cmp r14, 31", "jne 5f",
                "cmp r15, 37", "jne 5f",
                "mov r8d, 1",
                "5: pop rbp", "pop rbx",
                inlateout("rsi") $flags => _, inlateout("r8") 13u64 => kept,
                in("r9") 17u64, in("r10") 19u64, in("r12") 23u64, in("r13") 29u64,
                in("r14") 31u64, in("r15") 37u64,
                out("rax") _, out("rcx") _, out("r11") _, out("rdi") _, out("rdx") flags,
            );
        }
        (flags & FLAGS, kept)
    }};
}

#[inline(never)]
fn by_number(flags: u64) -> (u64, u64) {
    left_by!("mov eax, 110", flags)
}

#[inline(never)]
fn by_neighbours(flags: u64) -> (u64, u64) {
    left_by!(
        "xor edx, edx; mov dl, 110; mov eax, edx; push rsi; popfq",
        flags
    )
}

fn kept() {
    for shift in 0..12 {
        let one = (1 << shift) & FLAGS;
        for flags in [one, FLAGS & !one] {
            // The bit that is always set and the one that lets interrupts in.
            see("by number", by_number(flags | 0x202));
            see("by neighbours", by_neighbours(flags | 0x202));
        }
    }
}

/// The base of gs.
fn gs() -> u64 {
    let base;
    // SAFETY: reads one register; the tests that run this have looked for FSGSBASE.
    unsafe { asm!("rdgsbase {}", out(reg) base, options(nomem, nostack, preserves_flags)) };
    base
}

fn set_gs(base: u64) {
    // SAFETY: as above; nothing else in the thread uses gs.
    unsafe { asm!("wrgsbase {}", in(reg) base, options(nomem, nostack, preserves_flags)) };
}

/// A thread that uses gs itself.
fn foreign_gs() {
    let end = std::thread::spawn(|| {
        let memory = vec![0u8; 1 << 20];
        // SAFETY: takes nothing.
        let parent = unsafe { libc::getppid() };
        for base in [memory.as_ptr() as u64, 8, 0] {
            set_gs(base);
            // SAFETY: takes nothing.
            see("the same parent", unsafe { libc::getppid() } == parent);
            see("a file", std::fs::metadata("/etc/passwd").is_ok());
            see("still set", gs() == base);
        }
        see("memory is left alone", memory.iter().all(|byte| *byte == 0));
    })
    .join();
    see("end", end.is_ok());
}

/// The program's own text, in memory by its map and in its file.
fn itself() {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let own = std::fs::read_link("/proc/self/exe").expect("a name");
    let name = own.to_str().expect("text");
    let lines: Vec<&str> = maps.lines().filter(|line| line.ends_with(name)).collect();
    let inode = format!(" {} ", std::fs::metadata(&own).expect("the file").ino());
    let is_same = lines.iter().all(|line| line.contains(&inode));
    see("its mappings", (lines.len(), is_same));
    let text = lines
        .iter()
        .find(|line| line.contains(" r-xp "))
        .expect("text");
    // Two addresses, then `r-xp` in two parts.
    let fields: Vec<&str> = text.split([' ', '-']).collect();
    let number = |at: usize| usize::from_str_radix(fields[at], 16).expect("a number");
    let (from, to, offset) = (number(0), number(1), number(4));
    // SAFETY: the map says that it can be read.
    let memory = unsafe { std::slice::from_raw_parts(from as *const u8, to - from) };
    let file = std::fs::read(&own).expect("the file");
    let pairs = memory.iter().zip(&file[offset..]);
    let unlike = pairs.filter(|(memory, file)| memory != file).count();
    // Call sites are changed in memory alone.
    see("nearly the same", unlike < file.len() / 1000);
}

/// A thread that is made without a library: its registers are its maker's, its end wakes who waits.
fn born() {
    const FLAGS: u64 = (libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM
        | libc::CLONE_PARENT_SETTID
        | libc::CLONE_CHILD_CLEARTID) as u64;
    for round in 0..20 {
        let mut stack = vec![0u64; 4096];
        let id = AtomicI32::new(-1);
        let kept = AtomicU64::new(0);
        let top = stack.as_mut_ptr_range().end as u64 & !15;
        let result: i64;
        // SAFETY: the child has a stack of its own, writes one word, and ends; both outlive it, since
        // the kernel clears `id` when it has ended.
        unsafe {
            asm!(
                "push rbx", "push rbp",
                "mov rbx, 3", "mov rbp, 5",
                "mov eax, 56",
                "syscall",
                "test rax, rax", "jnz 5f",
                "cmp rbx, 3", "jne 4f", "cmp rbp, 5", "jne 4f",
                "cmp r12, 23", "jne 4f", "cmp r13, 29", "jne 4f", "cmp r14, 31", "jne 4f",
                "cmp rdi, r9", "jne 4f",
                "mov qword ptr [r15], 1",
                "4: xor edi, edi", "mov eax, 60",
                "syscall",
                "ud2",
                "5: pop rbp", "pop rbx",
                inlateout("rax") 0u64 => result, in("rdi") FLAGS, in("rsi") top,
                in("rdx") id.as_ptr(), in("r10") id.as_ptr(), in("r8") 0u64, in("r9") FLAGS,
                in("r12") 23u64, in("r13") 29u64, in("r14") 31u64, in("r15") kept.as_ptr(),
                lateout("rcx") _, lateout("r11") _,
            );
        }
        while id.load(SeqCst) != 0 {
            std::thread::yield_now();
        }
        see("born", (round, result > 0, kept.load(SeqCst)));
    }
}

/// Shows whoever looks at this process' calls what comes next.
fn mark(name: &str) {
    let nowhere = picozone_guests::signed(-1);
    let address = name.as_ptr() as u64;
    let _ = picozone_guests::call(libc::SYS_write, &[nowhere, address, name.len() as u64]);
}

const FILE: &CStr = c"/etc/passwd";
const SHARED: &CStr = c"/usr/lib/os-release";
const MISSING: &CStr = c"/usr/lib/no-such-file";
const LINK: &CStr = c"link";

extern "C" fn nothing(_: i32) {}

/// Each several times, so that the last is warm.
fn operations() {
    let _ = std::os::unix::fs::symlink("/etc/passwd", "link");
    for _ in 0..4 {
        once();
    }
    mark("end");
}

#[expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "one call after the other, each with names and room of its own"
)]
fn once() {
    let mut data = std::mem::MaybeUninit::<libc::stat>::uninit();
    let data = data.as_mut_ptr();
    let mut text = [0u8; 4096];
    let room = text.as_mut_ptr().cast();
    // SAFETY: names end with a NUL, and what is written to has room.
    unsafe {
        mark("open, close");
        libc::close(libc::open(FILE.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC));
        mark("open, close of what is shared");
        libc::close(libc::open(
            SHARED.as_ptr(),
            libc::O_RDONLY | libc::O_CLOEXEC,
        ));
        mark("stat");
        libc::stat(FILE.as_ptr(), data);
        mark("stat of what is shared");
        libc::stat(SHARED.as_ptr(), data);
        mark("stat of what is missing");
        libc::stat(MISSING.as_ptr(), data);
        mark("lstat of a link");
        libc::lstat(LINK.as_ptr(), data);
        mark("access");
        libc::access(FILE.as_ptr(), libc::R_OK);
        mark("readlink");
        libc::readlink(LINK.as_ptr(), room, text.len());
        mark("readlink of what is none");
        libc::readlink(FILE.as_ptr(), room, text.len());
        mark("readlink of a mount's top");
        libc::readlink(c"/usr".as_ptr(), room, text.len());
        mark("open, close by an absolute link");
        libc::close(libc::open(
            c"/srv/w/link".as_ptr(),
            libc::O_RDONLY | libc::O_CLOEXEC,
        ));
        mark("getcwd");
        libc::getcwd(room, text.len());
        mark("uname");
        libc::uname(room.cast());
        mark("an attribute that is not there");
        libc::lgetxattr(
            SHARED.as_ptr(),
            c"security.selinux".as_ptr(),
            room.cast(),
            16,
        );
        mark("a list that no file has");
        let list = c"system.posix_acl_access";
        libc::getxattr(SHARED.as_ptr(), list.as_ptr(), room.cast(), 16);
        mark("fstat");
        libc::fstat(0, data);
        mark("dup, close");
        libc::close(libc::dup(0));
        mark("fcntl");
        libc::fcntl(0, libc::F_GETFL);
        mark("sigaction");
        libc::signal(libc::SIGUSR1, nothing as *const () as usize);
        mark("a signal to itself");
        libc::kill(libc::getpid(), libc::SIGUSR1);
        mark("sigprocmask");
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        mark("getpid, getuid, gettid");
        libc::getpid();
        libc::getuid();
        libc::syscall(libc::SYS_gettid);
        mark("kill of nobody");
        libc::kill(libc::getpid(), 0);
        mark("unlink of what is missing");
        libc::unlink(c"no-such-file".as_ptr());
        mark("make, close, unlink");
        let made = c"/srv/w/made".as_ptr();
        libc::close(libc::open(made, libc::O_WRONLY | libc::O_CREAT, 0o600));
        libc::unlink(made);
    }
}
