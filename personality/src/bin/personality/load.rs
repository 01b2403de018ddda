//! The start of a process: take over the wall's objects, map the guest's images, enter.

use crate::arch::{self, syscall1, syscall2, syscall3, syscall5, syscall6};
use crate::monitor::{commons, tables};
use crate::thread::{self, Thread, me};
use crate::{Errno, clients, die, handover, identity, init, pids, ptrace, recording, room, signal};
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::auxvec::*;
use linux_raw_sys::general::*;
use linux_raw_sys::prctl::{PR_SET_MM, PR_SET_NAME, PR_SET_PDEATHSIG};
use picozone_personality::layout::*;
use picozone_personality::mailbox::{AWAITED, Handover, Image, SHARES_DIRECTORIES, Segment};
use picozone_personality::tables::TABLES_SIZE;

const PAGE: u64 = 4096;
const PR_SET_MM_MAP: u64 = 14;
const NR_MSEAL: u32 = 462;

fn page_down(at: u64) -> u64 {
    at & !(PAGE - 1)
}
fn page_up(at: u64) -> u64 {
    (at + PAGE - 1) & !(PAGE - 1)
}

/// Maps one of the zone's objects at its place, for good where it is `kept`. False if it may not be mapped
/// so.
fn map_shared(base: u64, size: u64, fd: u32, prot: u64, kept: bool) -> bool {
    let flags = u64::from(MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_NORESERVE);
    let at = unsafe { syscall6(__NR_mmap, [base, size, prot, flags, u64::from(fd), 0]) };
    if at == Errno::EACCES.to_ret() {
        return false;
    }
    if at as u64 != base {
        die("picozone: the zone's tables cannot be mapped\n");
    }
    if kept {
        unsafe { syscall3(NR_MSEAL, base, size, 0) };
    }
    true
}

/// Called by `_start` on the first thread's region, with the kernel's stack.
pub extern "C" fn start(stack: u64) -> ! {
    let read_only = u64::from(PROT_READ);
    let read_write = u64::from(PROT_READ | PROT_WRITE);
    map_shared(TABLES_BASE, TABLES_SIZE, FD_TABLES, read_only, true);
    let is_kept = tables().strict == 0;
    // Who becomes a client sees them otherwise.
    let is_client = !map_shared(COMMONS_BASE, COMMONS_SIZE, FD_COMMONS, read_write, is_kept);
    if is_client {
        clients::map();
    }

    // Both at once: the hole between them only makes it answer ENOMEM.
    let length = COMMONS_BASE + COMMONS_SIZE - TABLES_BASE;
    unsafe { syscall3(__NR_madvise, TABLES_BASE, length, u64::from(MADV_DONTDUMP)) };

    let thread = me();
    let blocks = (&raw mut thread.own_process, &raw mut thread.own_handlers);
    thread.join(blocks.0, blocks.1);
    thread.is_leader = true;
    thread.altstack.flags = SS_DISABLE as i32;
    thread.host_tid = unsafe { syscall1(__NR_gettid, 0) } as u32;
    let process = thread.process();
    process.host_pid = thread.host_tid;
    process.is_client = is_client;
    thread.take_stack();
    // The word first: a tracer takes it away where it finds the region.
    thread.jumps = thread::at_first();
    thread.take_jumps();
    if is_client {
        clients::executed();
    }
    let handover = handover::find(thread.host_tid);
    let kind = core::mem::replace(&mut handover.kind, 0);
    match kind {
        1 => {}
        2 => init::run(thread),
        _ => die("picozone: this program is started by zones only\n"),
    }
    process.zone_pid = pids::told(handover.zone_pid, process.host_pid);
    let is_secure = become_program(thread, handover);
    process.root = pids::own(thread).root.load(Relaxed);
    signal::take_over();
    seal_self();
    enter(thread, stack, handover, is_secure)
}

/// Takes the users that the exec's file gives. Whether the program is to be careful.
#[inline(never)]
#[unsafe(link_section = ".text.warm")]
fn become_program(thread: &mut Thread, handover: &Handover) -> bool {
    /// PER_CLEAR_ON_SETID (include/linux/personality.h).
    const CLEARED: u32 = 0x74_0000;
    let process = thread.process();
    thread.credentials = pids::load_credentials(process.zone_pid);
    thread.credentials.groups = pids::load_groups(process.zone_pid);
    let mut privileges = handover.privileges;
    process.kept = handover.kept.into();
    // Of a client's file the monitor has judged.
    let shares = handover.kept & SHARES_DIRECTORIES != 0 && !process.is_client;
    privileges.is_watched = u32::from(handover.is_awaited == AWAITED || shares);
    // What may not be executed was refused before.
    let old = thread.credentials;
    let is_secure = thread.credentials.execute(&privileges).unwrap_or(false);
    // An exec begins with memory that nobody has locked.
    pids::own(thread).is_locked.store(0, Relaxed);
    pids::own(thread).lay_keys_down();
    process.filters = thread.credentials.capabilities.filters.into();
    let own = &thread.credentials;
    let is_dumpable = if process.is_client {
        // The monitor has seen to all of it before.
        pids::own(thread).is_closed.load(Relaxed) == 0
    } else {
        own.uid[0] == own.uid[1] && own.gid[0] == own.gid[1]
    };
    identity::set_dumpable(thread, u32::from(is_dumpable));
    identity::changed(thread, &old);
    if is_secure {
        let persona = unsafe { syscall1(__NR_personality, u64::from(u32::MAX)) } as u32;
        unsafe {
            syscall1(__NR_personality, u64::from(persona & !CLEARED));
            syscall2(__NR_prctl, u64::from(PR_SET_PDEATHSIG), 0);
        }
    }
    is_secure
}

/// Seals the personality's own mappings against unmapping and remapping.
fn seal_self() {
    unsafe extern "C" {
        static __image_start: u8;
        static __image_end: u8;
        static __data_start: u8;
        static __data_end: u8;
    }
    let ends = [
        (&raw const __image_start, &raw const __image_end),
        (&raw const __data_start, &raw const __data_end),
    ];
    for (from, to) in ends {
        let from = page_down(from as u64);
        let sealed = unsafe { syscall3(NR_MSEAL, from, page_up(to as u64) - from, 0) };
        // ENOSYS: Linux before 6.10; the filter guards the range too.
        if sealed < 0 && sealed != -38 {
            die("picozone: the personality cannot be sealed\n");
        }
    }
}

/// Where an image came to lie.
struct Mapped {
    bias: u64,
    end: u64,
}

/// Finds room for an image that may lie anywhere. Gives its bias, and whether the first segment
/// lies there already: where it can, all of the room is mapped as that segment is, as execve(2)
/// and ld.so do it.
fn place(image: &Image, first: &Segment) -> (u64, bool) {
    let length = page_up(image.span[1]) - page_down(image.span[0]);
    let slack = image.align.saturating_sub(PAGE);
    let is_placed =
        slack == 0 && first.file_size > 0 && page_down(first.vaddr) == page_down(image.span[0]);
    let args = if is_placed {
        [
            0,
            length,
            u64::from(first.prot),
            u64::from(MAP_PRIVATE),
            image.fd as u64,
            page_down(first.offset),
        ]
    } else {
        let flags = u64::from(MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
        [0, length + slack, 0, flags, u64::MAX, 0]
    };
    let at = unsafe { syscall6(__NR_mmap, args) };
    if at < 0 {
        die("picozone: no room for the program\n");
    }
    let at = at as u64;
    let aligned = (at + slack) & !(image.align.max(PAGE) - 1);
    if aligned > at {
        unsafe { syscall2(__NR_munmap, at, aligned - at) };
    }
    let end = at + length + slack;
    if aligned + length < end {
        unsafe { syscall2(__NR_munmap, aligned + length, end - aligned - length) };
    }
    (aligned.wrapping_sub(page_down(image.span[0])), is_placed)
}

fn map_image(image: &Image) -> Mapped {
    let segments = &image.segments[..(image.count as usize).min(image.segments.len())];
    let (mut bias, mut first_is_placed) = (0, false);
    // Where the mapping of the first segment goes on in place of a hole.
    let mut reached = u64::MAX;
    if image.is_dyn == 1
        && let Some(first) = segments.first()
    {
        (bias, first_is_placed) = place(image, first);
        reached = bias.wrapping_add(page_down(first.vaddr));
    }
    for (number, segment) in segments.iter().enumerate() {
        let address = bias.wrapping_add(segment.vaddr);
        let file_end = address + segment.file_size;
        let prot = u64::from(segment.prot);
        let fixed = u64::from(MAP_PRIVATE | MAP_FIXED);
        if reached < page_down(address) {
            unsafe { syscall3(__NR_mprotect, reached, page_down(address) - reached, 0) };
        }
        if image.is_dyn == 1 {
            reached = page_up(address + segment.mem_size);
        }
        let is_placed = number == 0 && first_is_placed;
        if segment.file_size > 0 && !is_placed {
            let args = [
                page_down(address),
                file_end - page_down(address),
                prot,
                fixed,
                image.fd as u64,
                page_down(segment.offset),
            ];
            if unsafe { syscall6(__NR_mmap, args) } < 0 {
                die("picozone: a segment of the program cannot be mapped\n");
            }
        }
        let memory_end = address + segment.mem_size;
        if memory_end > file_end {
            let mut from = page_down(address);
            if segment.file_size > 0 {
                from = page_up(file_end);
                if segment.prot & PROT_WRITE != 0 {
                    // The kernel clears the rest of the last page of .data; ld.so relies on it.
                    unsafe {
                        core::ptr::write_bytes(file_end as *mut u8, 0, (from - file_end) as usize)
                    };
                }
            }
            if page_up(memory_end) > from {
                let args = [
                    from,
                    page_up(memory_end) - from,
                    // Whatever the segment says of reading and writing (elf_load() in fs/binfmt_elf.c).
                    prot & u64::from(PROT_EXEC) | u64::from(PROT_READ | PROT_WRITE),
                    fixed | u64::from(MAP_ANONYMOUS),
                    u64::MAX,
                    0,
                ];
                if unsafe { syscall6(__NR_mmap, args) } < 0 {
                    die("picozone: no memory for the program\n");
                }
            }
        }
    }
    unsafe { syscall1(__NR_close, image.fd as u64) };
    Mapped {
        bias,
        end: bias.wrapping_add(image.span[1]),
    }
}

/// `struct prctl_mm_map`.
#[repr(C)]
struct MemoryMap {
    code: [u64; 2],
    data: [u64; 2],
    brk: [u64; 2],
    stack: u64,
    args: [u64; 2],
    env: [u64; 2],
    auxv: u64,
    auxv_size: u32,
    exe_fd: u32,
}

fn enter(thread: &mut Thread, stack: u64, handover: &Handover, is_secure: bool) -> ! {
    if handover.is_plain != 0 {
        thread.jumps = 0;
    }
    let exe = map_image(&handover.exe);
    let (entry, base) = if handover.has_interp == 1 {
        let interp = map_image(&handover.interp);
        (interp.bias + handover.interp.entry, interp.bias)
    } else {
        (exe.bias + handover.exe.entry, 0)
    };
    if let Some(soft) = handover.soft_limit.checked_sub(1) {
        room::lower(soft);
    }
    let process = thread.process();
    let len = (handover.path_len as usize).min(process.exe.len() - 1);
    process.exe[..len].copy_from_slice(&handover.path[..len]);
    process.exe_len = len as u32;
    let path = &handover.path[..len];
    let program = &pids::own(thread).program;
    program.note(&commons().running, path, handover.exe_file);
    // With the NUL before it and the one behind.
    let name = len..len + handover.name_len as usize + 2;
    let has_name = handover.name_len != 0 && name.end <= process.exe.len();
    if has_name {
        process.exe[name.clone()].copy_from_slice(&handover.path[name]);
    }

    unsafe {
        let argc = (stack as *const u64).read();
        let argv = stack + 8;
        let envp = argv + 8 * (argc + 1);
        let mut end = envp;
        while (end as *const u64).read() != 0 {
            end += 8;
        }
        let first_env = (envp as *const u64).read();
        let auxv = end + 8;
        let mut at = auxv;
        let mut execfn = 0;
        let credentials = &thread.credentials;
        loop {
            let pair = at as *mut [u64; 2];
            let [key, value] = pair.read();
            let new = match key as u32 {
                AT_NULL => break,
                AT_PHDR => {
                    if handover.exe.phdr == 0 {
                        0
                    } else {
                        exe.bias + handover.exe.phdr
                    }
                }
                AT_PHNUM => u64::from(handover.exe.phnum),
                AT_PHENT => 56,
                AT_ENTRY => exe.bias + handover.exe.entry,
                AT_BASE => base,
                AT_EXECFN => {
                    execfn = value;
                    if has_name {
                        pair.write([key, process.exe[len + 1..].as_ptr() as u64]);
                        at += 16;
                        continue;
                    }
                    let exe = &process.exe[..len];
                    crate::path::shown(thread, exe).unwrap_or(exe).as_ptr() as u64
                }
                AT_UID => u64::from(credentials.uid[0]),
                AT_EUID => u64::from(credentials.uid[1]),
                AT_GID => u64::from(credentials.gid[0]),
                AT_EGID => u64::from(credentials.gid[1]),
                AT_SECURE => u64::from(is_secure),
                _ => value,
            };
            pair.write([key, new]);
            at += 16;
        }
        let first_arg = if argc > 0 {
            (argv as *const u64).read()
        } else {
            execfn
        };
        let env_start = if first_env != 0 { first_env } else { execfn };
        let brk = brk_start(&handover.exe, &exe);
        let map = MemoryMap {
            code: code_range(&handover.exe, exe.bias, PROT_EXEC),
            data: code_range(&handover.exe, exe.bias, PROT_WRITE),
            brk: [brk, brk],
            stack,
            args: [first_arg, env_start],
            env: [env_start, execfn],
            auxv,
            auxv_size: (at + 16 - auxv) as u32,
            exe_fd: u32::MAX,
        };
        syscall5(
            __NR_prctl,
            u64::from(PR_SET_MM),
            PR_SET_MM_MAP,
            &raw const map as u64,
            size_of::<MemoryMap>() as u64,
            0,
        );
        syscall2(
            __NR_prctl,
            u64::from(PR_SET_NAME),
            handover.comm.as_ptr() as u64,
        );

        if recording::is_on() {
            recording::executed(thread);
        }
        signal::ignore_held(thread, u64::from(handover.ignored));
        thread.held = handover.mask & signal::HELD;
        let mask = handover.mask & !signal::HELD;
        signal::set_kernel_mask(mask, 0);
        let is_awaited = handover.is_awaited != 0;
        handover::release(process.host_pid);
        clients::become_one(thread);
        if is_awaited {
            ptrace::enter(thread, entry, stack, mask)
        }
        arch::pz_enter(entry, stack)
    }
}

/// A place for the heap: behind a fixed image, or where the kernel has room for a movable one.
fn brk_start(image: &Image, mapped: &Mapped) -> u64 {
    if image.is_dyn == 0 {
        return page_up(mapped.end);
    }
    // Randomness: the kernel's own choice for the image, spread over 1 TiB. In a fresh process
    // nothing lies there: images come from the top of the address space.
    let spread = (mapped.bias >> 12).wrapping_mul(0x9e37_79b9) & 0xffff_ffff;
    page_up(0x5555_0000_0000 + spread * 256)
}

fn code_range(image: &Image, bias: u64, prot: u32) -> [u64; 2] {
    let of = image.segments.iter().take(image.count as usize);
    let mut range = [0, 0];
    for segment in of.filter(|s| s.prot & prot != 0) {
        let (from, to) = (
            bias + segment.vaddr,
            bias + segment.vaddr + segment.file_size,
        );
        range = if range == [0, 0] {
            [from, to]
        } else {
            [range[0].min(from), range[1].max(to)]
        };
    }
    if range == [0, 0] {
        [bias + image.span[0], bias + image.span[0] + 1]
    } else {
        range
    }
}
