//! Calls on objects of System V IPC and queues of POSIX, by others than have made them.

use crate::lot::Lot;
use crate::people::Person;
use picozone_guests::{NOWHERE, Result, call, child, from, name, out, text};

const STAT: u64 = 2;
const SET: u64 = 1;
const REMOVE: u64 = 0;
const SHM_LOCK: u64 = 11;
const SHM_UNLOCK: u64 = 12;
const NOWAIT: u64 = 0o4000;

/// `struct ipc64_perm`, which all `*id_ds` begin with, and room for the rest.
#[derive(Clone, Copy)]
#[repr(C)]
struct Status {
    key: i32,
    ids: [u32; 4],
    mode: u32,
    rest: [u64; 20],
}

const EMPTY: Status = Status {
    key: 0,
    ids: [0; 4],
    mode: 0,
    rest: [0; 20],
};

struct Kind {
    name: &'static str,
    get: i64,
    control: i64,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "shm",
        get: libc::SYS_shmget,
        control: libc::SYS_shmctl,
    },
    Kind {
        name: "sem",
        get: libc::SYS_semget,
        control: libc::SYS_semctl,
    },
    Kind {
        name: "msg",
        get: libc::SYS_msgget,
        control: libc::SYS_msgctl,
    },
];

impl Kind {
    /// As the kind's call takes it.
    fn get(&self, key: u64, flags: u64) -> Result<u64> {
        match self.name {
            "shm" => call(self.get, &[key, 4096, flags]),
            "sem" => call(self.get, &[key, 2, flags]),
            _ => call(self.get, &[key, flags]),
        }
    }

    fn control(&self, id: u64, command: u64, to: u64) -> Result<u64> {
        match self.name {
            "sem" => call(self.control, &[id, 0, command, to]),
            _ => call(self.control, &[id, command, to]),
        }
    }
}

/// Somebody makes an object, others use it, and root tells what it has become.
pub(crate) fn round(seed: u64, lot: &mut Lot) {
    if lot.chance(20) {
        return queue(seed, lot);
    }
    let kind = &KINDS[lot.below(KINDS.len())];
    // Nobody else has this key.
    let key = 0x6000_0000 | u64::from(std::process::id()) << 4;
    let (maker, mode) = (
        Person::draw(lot),
        lot.pick(&[0o666, 0o600, 0o640, 0o606, 0o060, 0o006, 0, 0o222, 0o444]),
    );
    println!("{seed} {} {mode:o} by {maker:?}", kind.name);
    let ended = child(|| {
        maker.become_it();
        println!("  made {:?}", kind.get(key, 0o3000 | mode).map(drop));
        0
    });
    ended.wait().expect("it ends");
    let id = kind.get(key, 0).expect("root may");
    for nth in 0..4 {
        let (caller, mut lot) = (Person::draw(lot), Lot::new(lot.next()));
        let ended = child(|| {
            caller.become_it();
            let (what, told) = match lot.below(3) {
                0 => controlled(&mut lot, kind, id),
                1 => found(&mut lot, kind, key),
                _ => used(&mut lot, kind, id),
            };
            println!("{seed}.{nth} {caller:?}: {what} = {told}");
            0
        });
        ended.wait().expect("it ends");
        let mut status = EMPTY;
        let told = kind.control(id, STAT, out(&mut status)).map(drop);
        println!("  {told:?} {:?} {:o}", status.ids, status.mode);
    }
    let _ = kind.control(id, REMOVE, 0);
}

fn controlled(lot: &mut Lot, kind: &Kind, id: u64) -> (String, String) {
    let mut status = EMPTY;
    status.ids[0] = lot.pick(&[0, 1000, 1001, u32::MAX]);
    status.ids[1] = lot.pick(&[0, 1000, 2000, u32::MAX]);
    status.mode = lot.pick(&[0o666, 0o600, 0o7777, 0]);
    // A message queue's size stays within what anybody may ask for.
    status.rest[7] = 100;
    let command = match kind.name {
        "shm" => lot.pick(&[STAT, SET, SET, REMOVE, 99, SHM_LOCK, SHM_UNLOCK]),
        _ => lot.pick(&[STAT, SET, SET, REMOVE, 99]),
    };
    let wanted = format!("{:?} {:o}", &status.ids[..2], status.mode);
    let to = if lot.chance(5) {
        NOWHERE
    } else {
        out(&mut status)
    };
    let result = kind.control(id, command, to);
    let what = format!("control {command} {wanted} {}", to == NOWHERE);
    (what, format!("{result:?}"))
}

fn found(lot: &mut Lot, kind: &Kind, key: u64) -> (String, String) {
    let flags = lot.pick(&[0, 0o400, 0o200, 0o600, 0o666, 0o3600, 0o1600, 0o040, 0o004]);
    let result = kind.get(key, flags).map(drop);
    (format!("get {flags:o}"), format!("{result:?}"))
}

fn used(lot: &mut Lot, kind: &Kind, id: u64) -> (String, String) {
    let mut room = [1u64, 2, 3, 4];
    let to = out(&mut room);
    match kind.name {
        "shm" => {
            let flags = lot.pick(&[0u64, 0o10000, 0o100_000, 0o40000]);
            let result = call(libc::SYS_shmat, &[id, 0, flags]).map(drop);
            (format!("shmat {flags:o}"), format!("{result:?}"))
        }
        "sem" if lot.chance(50) => {
            // Number, operation and flags of one `struct sembuf`.
            let number = lot.pick(&[0i16, 1, 5]);
            let change = lot.pick(&[1i16, -1, 0, 2]);
            let one = [number, change, 0o4000];
            let result = call(libc::SYS_semop, &[id, from(&one), 1]);
            (format!("semop {number} {change}"), format!("{result:?}"))
        }
        "sem" => {
            let command = lot.pick(&[12u64, 16, 13, 17, 14, 15]);
            let number = lot.pick(&[0u64, 1, 7]);
            let value = if matches!(command, 13 | 17) { to } else { 3 };
            let result = call(libc::SYS_semctl, &[id, number, command, value]);
            (format!("semctl {number} {command}"), format!("{result:?}"))
        }
        _ if lot.chance(50) => {
            let size = lot.pick(&[8u64, 0, 100_000, u64::MAX]);
            let result = call(libc::SYS_msgsnd, &[id, to, size, NOWAIT]);
            (format!("msgsnd {size:#x}"), format!("{result:?}"))
        }
        _ => {
            let which = lot.pick(&[0u64, 1, 9]);
            let result = call(libc::SYS_msgrcv, &[id, to, 16, which, NOWAIT]);
            (format!("msgrcv {which}"), format!("{result:?}"))
        }
    }
}

/// The same of a queue.
fn queue(seed: u64, lot: &mut Lot) {
    let path = name(&format!("drawn{}", std::process::id()));
    let (maker, mode) = (
        Person::draw(lot),
        lot.pick(&[0o666u64, 0o600, 0o640, 0o060, 0o006, 0]),
    );
    println!("{seed} queue {mode:o} by {maker:?}");
    let ended = child(|| {
        maker.become_it();
        // Small: the host keeps count of what all queues of a user may hold.
        let attributes = [0i64, 1, 8, 0, 0, 0, 0, 0];
        let how = [text(&path), 0o302, mode, from(&attributes)];
        let made = call(libc::SYS_mq_open, &how);
        println!("  made {:?}", made.map(drop));
        0
    });
    ended.wait().expect("it ends");
    for nth in 0..4 {
        let (caller, flags) = (Person::draw(lot), lot.pick(&[0u64, 1, 2, 0o102, 0o302, 3]));
        let removes = lot.chance(20);
        let ended = child(|| {
            caller.become_it();
            let result = if removes {
                call(libc::SYS_mq_unlink, &[text(&path)])
            } else {
                call(
                    libc::SYS_mq_open,
                    &[
                        text(&path),
                        flags,
                        0o600,
                        from(&[0i64, 1, 8, 0, 0, 0, 0, 0]),
                    ],
                )
            };
            println!(
                "{seed}.{nth} {caller:?}: {removes} {flags:o} = {:?}",
                result.map(drop)
            );
            0
        });
        ended.wait().expect("it ends");
    }
    let _ = call(libc::SYS_mq_unlink, &[text(&path)]);
}
