//! Libraries that the dynamic linker maps: the text of the rewritten copy in place of the file's,
//! and its stubs behind the last page.
//!
//! Only calls of a rewritten linker come here, by a jump. Its first mapping of a library, of the
//! whole span, has no address and `MAP_DENYWRITE`; the text follows at a fixed place within. A
//! mapping that looks otherwise is made as it is, and its call sites enter by SIGSYS.

use crate::arch::{syscall1, syscall2, syscall3, syscall6};
use crate::dispatch::{RESTART_ERRNO, checked, refuse};
use crate::file::id_of;
use crate::memory;
use crate::monitor::tables;
use crate::path::open_copy;
use crate::thread::Thread;
use crate::{Errno, Result};
use core::ffi::CStr;
use linux_raw_sys::general::*;
use picozone_personality::libraries::{Library, TAIL_MARK};
use picozone_personality::mailbox::Request;

const PAGE: u64 = 4096;
const FIXED: u64 = (MAP_FIXED | MAP_FIXED_NOREPLACE) as u64;
const FIXED_PRIVATE: u64 = (MAP_FIXED | MAP_PRIVATE) as u64;
const TEXT: u64 = (PROT_READ | PROT_EXEC) as u64;

/// The library that a thread is mapping: where, and what is known of it.
#[derive(Clone, Copy)]
pub struct Mapping {
    base: u64,
    library: Library,
}

fn page_up(length: u64) -> u64 {
    length.wrapping_add(PAGE - 1) & !(PAGE - 1)
}

/// A mapping as it is. What the filter refuses goes the way of all guests.
fn map_plainly(a: [u64; 6]) -> Result<u64> {
    match checked(unsafe { syscall6(__NR_mmap, a) }) {
        Err(Errno::EPERM) => Err(RESTART_ERRNO),
        other => other,
    }
}

/// mmap(2).
pub fn mmap(thread: &mut Thread, a: [u64; 6]) -> Result<u64> {
    if !thread.came_by_jump() {
        return refuse(__NR_mmap);
    }
    let [address, length, prot, flags, fd, offset] = a;
    let is_file = flags & u64::from(MAP_ANONYMOUS | MAP_SHARED) == 0;
    if is_file && flags & u64::from(MAP_DENYWRITE) != 0 {
        if flags & FIXED == 0 && address == 0 && offset == 0 {
            if let Some(library) = known(thread, fd)
                && library.address == page_up(length)
                && let Some(base) = map_whole(thread, &library, a)
            {
                thread.mapping = Some(Mapping { base, library });
                return Ok(base);
            }
        } else if prot == TEXT
            && flags & u64::from(MAP_FIXED) != 0
            && let Some(mapping) = thread.mapping
            && (mapping.base..mapping.base + mapping.library.address).contains(&address)
            && id_of(fd) == Some(mapping.library.id)
        {
            if address.wrapping_sub(mapping.base) == offset {
                // The copy is there already.
                let made = unsafe { syscall3(__NR_mprotect, address, length, prot) };
                return checked(made).map(|_| address);
            }
            let Some(copy) = open(thread, &mapping.library) else {
                return map_plainly(a);
            };
            let mapped = map_plainly([address, length, prot, flags, copy, offset]);
            close(copy);
            return mapped;
        }
    }
    map_plainly(a)
}

/// munmap(2), of the tail with its library.
pub fn munmap(thread: &Thread, address: u64, length: u64) -> Result<u64> {
    if !thread.came_by_jump() {
        return refuse(__NR_munmap);
    }
    match checked(unsafe { syscall2(__NR_munmap, address, length) }) {
        Err(Errno::EPERM) => Err(RESTART_ERRNO),
        Err(errno) => Err(errno),
        Ok(_) => {
            let behind = page_up(address.wrapping_add(length));
            if let Ok([TAIL_MARK, tail]) = memory::read::<[u64; 2]>(behind) {
                unsafe { syscall2(__NR_munmap, behind, tail) };
            }
            Ok(0)
        }
    }
}

/// What is to be mapped in place of a file. The monitor is asked once for each.
fn known(thread: &Thread, fd: u64) -> Option<Library> {
    let id = id_of(fd)?;
    let found = tables().library(&id);
    let library = match found {
        Some(library) => library,
        None => {
            thread.ask(Request::Library, &[fd]).ok()?;
            tables().library(&id)?
        }
    };
    (library.copy[0] != 0).then_some(library)
}

fn open(thread: &Thread, library: &Library) -> Option<u64> {
    let name = CStr::from_bytes_until_nul(&library.copy).ok()?;
    open_copy(thread, name, u64::from(O_CLOEXEC)).ok()
}

fn close(fd: u64) {
    unsafe { syscall1(__NR_close, fd) };
}

/// Maps the copy of a library with room for its tail, and that. `None`: nothing is mapped.
fn map_whole(thread: &Thread, library: &Library, a: [u64; 6]) -> Option<u64> {
    let [_, _, prot, flags, _, _] = a;
    let copy = open(thread, library)?;
    let room = library.address + library.length;
    let base = checked(unsafe { syscall6(__NR_mmap, [0, room, prot, flags, copy, 0]) }).ok();
    let mapped = base.filter(|base| {
        let place = base + library.address;
        let tail = [
            place,
            library.length,
            TEXT,
            FIXED_PRIVATE,
            copy,
            library.offset,
        ];
        let is_mapped = checked(unsafe { syscall6(__NR_mmap, tail) }).is_ok();
        if !is_mapped {
            unsafe { syscall2(__NR_munmap, *base, room) };
        }
        is_mapped
    });
    close(copy);
    mapped
}
