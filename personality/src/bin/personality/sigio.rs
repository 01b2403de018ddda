//! Who is told of a descriptor's events: F_SETOWN and its kin, and timers that tell one thread.
//!
//! The kernel keeps an owner in the host's terms and asks Landlock before it sends to one, so that no
//! process outside of the zone is reached.

use crate::arch::{syscall2, syscall3, syscall6};
use crate::dispatch::checked;
use crate::process::outside_is_esrch;
use crate::thread::Thread;
use crate::{Errno, Result, memory, others, pids};
use linux_raw_sys::general::*;
use picozone_personality::layout::THREAD_BIAS;

/// `struct f_owner_ex`: F_OWNER_TID, F_OWNER_PID or F_OWNER_PGRP, and the number.
type Owner = [i32; 2];

/// F_SETOWN, F_GETOWN, F_SETOWN_EX, F_GETOWN_EX.
pub fn owner(thread: &Thread, fd: u64, command: u32, argument: u64) -> Result<u64> {
    let native = |owner: &mut Owner, command: u32| {
        checked(unsafe {
            syscall3(
                __NR_fcntl,
                fd,
                u64::from(command),
                owner.as_mut_ptr() as u64,
            )
        })
    };
    let mut owner = Owner::default();
    match command {
        F_SETOWN => {
            let number = argument as i32;
            if number == i32::MIN {
                return Err(Errno::EINVAL);
            }
            let kind = if number < 0 {
                F_OWNER_PGRP
            } else {
                F_OWNER_PID
            };
            owner = to_host(thread, [kind as i32, number.abs()])?;
            native(&mut owner, F_SETOWN_EX)
        }
        F_SETOWN_EX => {
            owner = to_host(thread, memory::read(argument)?)?;
            native(&mut owner, F_SETOWN_EX)
        }
        _ => {
            native(&mut owner, F_GETOWN_EX)?;
            let [kind, number] = to_zone(owner);
            if command == F_GETOWN_EX {
                return memory::write(argument, &[kind, number]).map(|()| 0);
            }
            let is_group = kind == F_OWNER_PGRP as i32;
            Ok(i64::from(if is_group { -number } else { number }) as u64)
        }
    }
}

/// Zone init, which has no handlers: as of a name space of its own, signals that would end it are
/// dropped. So the host's init stands for it, whom Landlock keeps out of reach.
const INIT: i32 = 1;

fn to_host(thread: &Thread, [kind, number]: Owner) -> Result<Owner> {
    let host = match (kind as u32, number) {
        (F_OWNER_TID | F_OWNER_PID | F_OWNER_PGRP, INIT) => INIT as u32,
        (F_OWNER_TID | F_OWNER_PID | F_OWNER_PGRP, 0) => 0,
        (F_OWNER_TID | F_OWNER_PID, 1..) => {
            let host = pids::thread_to_host(others::named(thread, number as u32))?;
            // Any number beyond the zone's pids has the form of a thread's; whom Landlock keeps out
            // of reach does not exist.
            if number as u32 >= THREAD_BIAS {
                outside_is_esrch(unsafe { syscall2(__NR_tkill, u64::from(host), 0) })?;
            }
            host
        }
        (F_OWNER_PGRP, 1..) => pids::group_to_host(number as u32)?,
        (F_OWNER_TID | F_OWNER_PID | F_OWNER_PGRP, _) => return Err(Errno::ESRCH),
        _ => return Err(Errno::EINVAL),
    };
    Ok([kind, host as i32])
}

fn to_zone([kind, host]: Owner) -> Owner {
    let zone = match pids::to_zone_or_0(host) {
        0 if host == INIT => INIT as u32,
        0 if host > 0 && kind == F_OWNER_TID as i32 => host as u32 + THREAD_BIAS,
        zone => zone,
    };
    [kind, zone as i32]
}

/// timer_create(2): a thread that is told is named in the host's terms.
pub fn timer_create(thread: &Thread, clock: u64, event: u64, timer: u64) -> Result<u64> {
    // struct sigevent: value, signal, kind, thread.
    let mut given: [u64; 8];
    let mut native = [clock, event, timer, 0, 0, 0];
    if event != 0 {
        given = memory::read(event)?;
        let kind = (given[1] >> 32) as u32;
        if kind & SIGEV_THREAD_ID != 0 {
            let named = others::named(thread, given[2] as u32);
            let host = pids::thread_to_host(named).map_err(|_| Errno::EINVAL)?;
            given[2] = given[2] >> 32 << 32 | u64::from(host);
        }
        native[1] = given.as_ptr() as u64;
    }
    checked(unsafe { syscall6(__NR_timer_create, native) })
}
