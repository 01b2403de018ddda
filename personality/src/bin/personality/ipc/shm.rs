//! Shared memory: attaching is mapping a descriptor that the monitor gives.

use super::*;

const SHM_RDONLY: u64 = 0o10000;
const SHM_RND: u64 = 0o20000;
const SHM_REMAP: u64 = 0o40000;
const SHM_EXEC: u64 = 0o100_000;
const PAGE: u64 = 4096;
/// `struct shmid64_ds`.
const STATUS_SIZE: usize = 112;

/// shmget(2).
pub fn shmget(thread: &Thread, key: u64, size: u64, flags: u64) -> Result<u64> {
    thread.ask_ipc(Request::Shm, nr::shmget, &[key, size, flags])
}

/// shmat(2).
pub fn shmat(thread: &Thread, id: u64, address: u64, flags: u64) -> Result<u64> {
    let is_remap = flags & SHM_REMAP != 0;
    let mut at = address;
    if !at.is_multiple_of(PAGE) {
        if flags & SHM_RND == 0 {
            return Err(Errno::EINVAL);
        }
        at -= at % PAGE;
        // What was rounded down to nothing cannot be replaced.
        if at == 0 && is_remap {
            return Err(Errno::EINVAL);
        }
    }
    if at == 0 && is_remap {
        return Err(Errno::EINVAL);
    }
    let fd = thread.ask_ipc(Request::Shm, nr::shmat, &[id, flags])?;
    let mut size = [0; 8];
    size.copy_from_slice(&thread.mailbox().b[..8]);
    let length = u64::from_ne_bytes(size).next_multiple_of(PAGE);
    let mut prot = PROT_READ;
    if flags & SHM_RDONLY == 0 {
        prot |= PROT_WRITE;
    }
    if flags & SHM_EXEC != 0 {
        prot |= PROT_EXEC;
    }
    let place = match (at, is_remap) {
        (0, _) => 0,
        (_, true) => MAP_FIXED,
        (_, false) => MAP_FIXED_NOREPLACE,
    };
    let map_flags = u64::from(MAP_SHARED | place);
    let mapped = unsafe { syscall6(__NR_mmap, [at, length, u64::from(prot), map_flags, fd, 0]) };
    unsafe { syscall1(__NR_close, fd) };
    checked(mapped).map_err(|errno| match errno {
        // Taken, or not a place for guests.
        Errno::EEXIST | Errno::EPERM => Errno::EINVAL,
        other => other,
    })
}

/// shmdt(2).
pub fn shmdt(thread: &Thread, address: u64) -> Result<u64> {
    if !address.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    let count = thread.ask_ipc(Request::Shm, nr::shmdt, &[address])?;
    for range in thread
        .mailbox()
        .b
        .as_chunks::<16>()
        .0
        .iter()
        .take(count as usize)
    {
        let (words, _) = range.as_chunks::<8>();
        if let [start, length] = words {
            let [start, length] = [start, length].map(|word| u64::from_ne_bytes(*word));
            unsafe { syscall2(__NR_munmap, start, length) };
        }
    }
    Ok(0)
}

/// shmctl(2).
pub fn shmctl(thread: &Thread, id: u64, op: u64, buffer: u64) -> Result<u64> {
    const SHM_STAT: u64 = 13;
    const SHM_INFO: u64 = 14;
    const SHM_STAT_ANY: u64 = 15;
    if op as u32 == IPC_SET as u32 {
        memory::read_bytes(buffer, &mut thread.mailbox().a[..STATUS_SIZE])?;
    }
    let value = thread.ask_ipc(Request::Shm, nr::shmctl, &[id, op])?;
    let length = match u64::from(op as u32) {
        IPC_STAT | SHM_STAT | SHM_STAT_ANY => STATUS_SIZE,
        // `struct shminfo64`, `struct shm_info`.
        IPC_INFO => 72,
        SHM_INFO => 48,
        _ => return Ok(value),
    };
    thread.fetch(buffer, length)?;
    Ok(value)
}
