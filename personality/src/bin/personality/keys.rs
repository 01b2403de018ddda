//! Keyrings: add_key(2), request_key(2), keyctl(2). The monitor has the keys; which keyrings a process has
//! stands in its entry in the commons.

use crate::arch::{syscall1, syscall2, syscall3};
use crate::dispatch::checked;
use crate::memory::PathRoom;
use crate::socket;
use crate::thread::Thread;
use crate::{Errno, Result, memory};
use linux_raw_sys::general::*;
use picozone_personality::mailbox::{Request, TEXT_MAX, key};

/// Longest payload that is looked at, and longest one that any type has.
const PAYLOAD_MAX: u64 = (1 << 20) - 1;
const DATA_MAX: u64 = 32767;
/// Longest payload of `KEYCTL_UPDATE`.
const UPDATE_MAX: u64 = 4096;
/// Room for the name of a type, with its NUL.
const TYPE_MAX: usize = 32;
/// Numbers from here on are no errnos of programs (`MAX_ERRNO`; ERESTARTSYS and its like).
const ERRNO_MAX: u64 = 4095;
const RESTARTS: [u64; 5] = [512, 513, 514, 516, 517];
/// What `KEYCTL_CAPABILITIES` tells: itself, persistent keyrings, invalidation, restriction and moving.
const CAPABILITIES: [u8; 2] = [0x01 | 0x02 | 0x20 | 0x40 | 0x80, 0];

impl Thread {
    /// Asks about keys: the operation, and up to four arguments.
    fn ask_keys(&self, operation: u64, args: &[u64]) -> Result<u64> {
        let (uid, gid) = (self.credentials.uid, self.credentials.gid);
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let mut all = [0; 8];
        all[0] = operation;
        for (to, from) in all[1..6].iter_mut().zip(args) {
            *to = *from;
        }
        all[6] = pair(uid[3], gid[3]);
        all[7] = pair(self.process().zone_pid, uid[0]);
        self.ask(Request::Key, &all)
    }
}

/// The number of a type that a guest names. EPERM for those of the kernel's own.
fn type_of(name: u64) -> Result<u64> {
    let mut room = PathRoom::new();
    let name = match room.read(name) {
        Err(Errno::ENAMETOOLONG) => return Err(Errno::EINVAL),
        other => other?.to_bytes(),
    };
    match name {
        [] => Err(Errno::EINVAL),
        _ if name.len() >= TYPE_MAX => Err(Errno::EINVAL),
        [b'.', ..] => Err(Errno::EPERM),
        b"keyring" => Ok(key::RING),
        b"user" => Ok(key::USER),
        b"logon" => Ok(key::LOGON),
        _ => Ok(0),
    }
}

/// Puts a description into the mailbox. Its first byte; 0 if it is empty.
fn describe(thread: &Thread, description: u64) -> Result<u8> {
    let mut room = PathRoom::new();
    let text = match room.read(description) {
        Err(Errno::ENAMETOOLONG) => return Err(Errno::EINVAL),
        other => other?.to_bytes(),
    };
    thread.put_text(text)?;
    Ok(text.first().copied().unwrap_or(0))
}

/// Puts a payload where the monitor finds it: the cookie of a file, or 0 for the mailbox.
fn put_payload(thread: &Thread, payload: u64, length: u64) -> Result<u64> {
    if length <= TEXT_MAX as u64 {
        let b = &mut thread.mailbox().b;
        memory::read_bytes(payload, &mut b[..length as usize])?;
        return Ok(0);
    }
    let name = c"key".as_ptr() as u64;
    let close_on_exec = 1;
    let fd = checked(unsafe { syscall2(__NR_memfd_create, name, close_on_exec) })?;
    let handed =
        checked(unsafe { syscall3(__NR_write, fd, payload, length) }).and_then(|written| {
            if written == length {
                socket::hand_over(thread, fd)
            } else {
                Err(Errno::EFAULT)
            }
        });
    unsafe { syscall1(__NR_close, fd) };
    handed
}

/// add_key(2).
#[inline(never)]
pub fn add(
    thread: &Thread,
    kind: u64,
    description: u64,
    payload: u64,
    length: u64,
    ring: u64,
) -> Result<u64> {
    if length > PAYLOAD_MAX {
        return Err(Errno::EINVAL);
    }
    let kind = type_of(kind)?;
    thread.put_text(b"")?;
    let is_kernels = description != 0 && describe(thread, description)? == b'.';
    if is_kernels && kind == key::RING {
        return Err(Errno::EPERM);
    }
    let cookie = if length == 0 || length > DATA_MAX {
        // Too long for any type.
        0
    } else {
        put_payload(thread, payload, length)?
    };
    thread.ask_keys(key::ADD, &[kind, ring, length, cookie])
}

/// request_key(2).
#[inline(never)]
pub fn request(
    thread: &Thread,
    kind: u64,
    description: u64,
    information: u64,
    ring: u64,
) -> Result<u64> {
    let kind = type_of(kind)?;
    describe(thread, description)?;
    let has_information = information != 0;
    if has_information {
        match PathRoom::new().read(information) {
            Err(Errno::ENAMETOOLONG) => return Err(Errno::EINVAL),
            other => other.map(drop)?,
        }
    }
    let has_information = u64::from(has_information);
    thread.ask_keys(key::REQUEST, &[kind, ring, has_information])
}

/// keyctl(2).
#[inline(never)]
pub fn control(thread: &Thread, operation: u64, args: [u64; 4]) -> Result<u64> {
    let operation = u64::from(operation as u32);
    let [id, second, third, fourth] = args;
    match operation {
        key::JOIN_SESSION_KEYRING => {
            if id == 0 {
                return thread.ask_keys(operation, &[0]);
            }
            if describe(thread, id)? == b'.' {
                return Err(Errno::EPERM);
            }
            thread.ask_keys(operation, &[1])
        }
        key::UPDATE => {
            if third > UPDATE_MAX {
                return Err(Errno::EINVAL);
            }
            if third != 0 {
                put_payload(thread, second, third)?;
            }
            thread.ask_keys(operation, &[id, 0, third])
        }
        key::DESCRIBE => {
            let length = thread.ask_keys(operation, &[id])?;
            if second != 0 && third >= length {
                let from = &raw const thread.mailbox().head;
                if !crate::arch::copy(second, from as u64, length as usize) {
                    return Err(Errno::EFAULT);
                }
            }
            Ok(length)
        }
        key::SEARCH => {
            let kind = type_of(second)?;
            describe(thread, third)?;
            thread.ask_keys(operation, &[id, kind, fourth])
        }
        key::READ => read(thread, id, second, third),
        key::INSTANTIATE | key::INSTANTIATE_IOV => Err(Errno::EPERM),
        key::REJECT if !(1..ERRNO_MAX).contains(&(third & 0xffff_ffff)) => Err(Errno::EINVAL),
        key::REJECT if RESTARTS.contains(&(third & 0xffff_ffff)) => Err(Errno::EINVAL),
        key::NEGATE | key::REJECT => Err(Errno::EPERM),
        key::ASSUME_AUTHORITY => match id as i32 {
            ..0 => Err(Errno::EINVAL),
            0 => Ok(0),
            1.. => Err(Errno::ENOKEY),
        },
        key::GET_SECURITY => {
            thread.ask_keys(operation, &[id])?;
            if second != 0 && third > 0 {
                memory::write(second, &0u8)?;
            }
            Ok(1)
        }
        key::RESTRICT_KEYRING => {
            let has_type = second != 0;
            if has_type {
                type_of(second)?;
            }
            thread.ask_keys(operation, &[id, u64::from(has_type)])
        }
        key::CAPABILITIES => {
            for at in 0..second {
                let byte = CAPABILITIES.get(at as usize).copied().unwrap_or(0);
                memory::write(id.wrapping_add(at), &byte)?;
            }
            Ok(CAPABILITIES.len() as u64)
        }
        _ => thread.ask_keys(operation, &[id, second, third, fourth]),
    }
}

/// `KEYCTL_READ`: by parts, if there is room for all.
fn read(thread: &Thread, id: u64, to: u64, room: u64) -> Result<u64> {
    let length = thread.ask_keys(key::READ, &[id, 0])?;
    let room = if to == 0 { 0 } else { room };
    if room < length {
        return Ok(length);
    }
    let mut from = 0;
    loop {
        let part = (length - from).min(TEXT_MAX as u64);
        let b = &thread.mailbox().b;
        memory::write_bytes(to.wrapping_add(from), &b[..part as usize])?;
        from += part;
        if from >= length {
            return Ok(length);
        }
        thread.ask_keys(key::READ, &[id, from])?;
    }
}
