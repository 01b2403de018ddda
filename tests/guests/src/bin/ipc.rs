//! System V IPC and POSIX queues: keys, rights, what outlives whom, blocking and its ends.
//!
//! Natively it runs in the host's name space: keys are made of the process number, and every object
//! is removed in the end.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "the kernel's interface mixes widths and signs"
)]

use libc::{
    IPC_CREAT, IPC_EXCL, IPC_PRIVATE, IPC_RMID, IPC_SET, IPC_STAT, SHM_EXEC, SHM_RDONLY, SHM_REMAP,
    SHM_RND, SYS_shmat, SYS_shmctl, SYS_shmdt, SYS_shmget,
};
use picozone_guests::children::{Child, End, pipe};
use picozone_guests::signals::{Act, CODE, HITS, SENDER, count, handle, note};
use picozone_guests::{Errno, NOWHERE, Result, call, child, from, out, sections, see, signed};

fn main() {
    sections(&[
        ("shm", shm),
        ("shm_places", shm_places),
        ("shm_ends", shm_ends),
        ("shm_rights", shm_rights),
        ("sem", sem),
        ("sem_waits", sem_waits),
        ("sem_undo", sem_undo),
        ("msg", msg),
        ("msg_waits", msg_waits),
        ("posix", posix),
    ]);
}

const PAGE: u64 = 4096;

/// A key that no other run has at the same time.
fn key(number: u32) -> u64 {
    u64::from(0x7000_0000 + std::process::id() * 8 + number)
}

fn int(value: i32) -> u64 {
    signed(value)
}

/// Reads or writes a byte of this process' memory.
fn peek(at: u64) -> u8 {
    // SAFETY: the caller has mapped it.
    unsafe { (at as *const u8).read_volatile() }
}

fn poke(at: u64, value: u8) {
    // SAFETY: the caller has mapped it to write.
    unsafe { (at as *mut u8).write_volatile(value) };
}

/// The effective user of this process for good.
fn become_user(uid: u64) {
    for (nr, arguments) in [
        (libc::SYS_setgroups, [0, 0, 0]),
        (libc::SYS_setresgid, [uid; 3]),
        (libc::SYS_setresuid, [uid; 3]),
    ] {
        call(nr, &arguments).expect("we were root");
    }
}

fn shmget(key: u64, size: u64, flags: i32) -> Result<u64> {
    call(SYS_shmget, &[key, size, int(flags)])
}

fn shmat(id: u64, at: u64, flags: i32) -> Result<u64> {
    call(SYS_shmat, &[id, at, int(flags)])
}

fn shmdt(at: u64) -> Result<u64> {
    call(SYS_shmdt, &[at])
}

fn shm_status(id: u64) -> Result<libc::shmid_ds> {
    // SAFETY: all zero is a value of it.
    let mut status: libc::shmid_ds = unsafe { std::mem::zeroed() };
    call(SYS_shmctl, &[id, IPC_STAT as u64, out(&mut status)])?;
    Ok(status)
}

fn attached(id: u64) -> Result<u64> {
    shm_status(id).map(|status| status.shm_nattch)
}

fn shmctl(id: u64, op: i32) -> Result<u64> {
    call(SYS_shmctl, &[id, int(op), 0])
}

fn shm() {
    let create = IPC_CREAT | 0o640;
    see("no such key", shmget(key(0), 1, 0));
    see("no size", shmget(key(0), 0, create));
    see("too large", shmget(key(0), u64::MAX, create));
    see("larger than memory", shmget(key(0), 1 << 50, create));
    let id = shmget(key(0), 10_000, create).expect("made");
    see("found", shmget(key(0), 0, 0) == Ok(id));
    see("exclusively", shmget(key(0), 1, create | IPC_EXCL));
    see("larger than it is", shmget(key(0), 10_001, 0));
    see("as large", shmget(key(0), 10_000, 0) == Ok(id));
    let status = shm_status(id).expect("there");
    see(
        "status",
        (
            status.shm_segsz,
            status.shm_perm.mode,
            status.shm_nattch,
            (status.shm_perm.uid, status.shm_perm.cgid),
            u64::from(status.shm_perm.__key as u32) == key(0),
            status.shm_cpid as u32 == std::process::id(),
            (status.shm_lpid, status.shm_atime, status.shm_dtime),
            status.shm_ctime > 0,
        ),
    );
    let one = shmat(id, 0, 0).expect("attached");
    let two = shmat(id, 0, SHM_RDONLY).expect("attached");
    poke(one + 9_999, 7);
    see("shared", (peek(two + 9_999), peek(two), peek(two + 12_287)));
    see("attached", attached(id));
    let status = shm_status(id).expect("there");
    see("last", status.shm_lpid as u32 == std::process::id());
    see("since", (status.shm_atime > 0, status.shm_dtime));
    let writer = child(|| {
        poke(two, 1);
        0
    });
    see("write where reading is allowed", writer.wait());
    let allow = call(libc::SYS_mprotect, &[two, PAGE, 3]);
    see("more rights for it", allow.is_ok());
    see("detached", (shmdt(one), shmdt(two), attached(id)));
    see("detached again", (shmdt(one), shmdt(0), shmdt(1)));
    see("content stays", shmat(id, 0, 0).map(|at| peek(at + 9_999)));
    see("bad operation", (shmctl(id, 99), shmctl(id, -1)));
    see(
        "bad ids",
        (shmctl(int(-1), IPC_STAT), shmctl(1 << 30, IPC_STAT)),
    );
    for op in [IPC_STAT, IPC_SET] {
        see("bad address", call(SYS_shmctl, &[id, op as u64, NOWHERE]));
    }
    let mut status = shm_status(id).expect("there");
    status.shm_perm.mode = 0o7604;
    status.shm_perm.uid = 12;
    let set = call(SYS_shmctl, &[id, IPC_SET as u64, from(&status)]);
    let status = shm_status(id).expect("there");
    see("set", (set, status.shm_perm.mode, status.shm_perm.uid));
    let [lock, unlock] = [11, 12];
    see(
        "lock",
        (shmctl(id, lock), shm_status(id).map(|s| s.shm_perm.mode)),
    );
    see(
        "unlock",
        (shmctl(id, unlock), shm_status(id).map(|s| s.shm_perm.mode)),
    );
    see("removed", (shmctl(id, IPC_RMID), attached(id)));
    let status = shm_status(id).expect("there");
    see(
        "while attached",
        (status.shm_perm.mode, status.shm_perm.__key),
    );
    see("by its key", shmget(key(0), 1, 0));
    let again = shmat(id, 0, 0);
    see("attached once more", (again.is_ok(), attached(id)));
    see("detached twice", shmdt(again.unwrap_or(0)));
    let private = [(); 2].map(|()| shmget(IPC_PRIVATE as u64, 1, 0o600).expect("made"));
    see("private ones differ", private[0] != private[1]);
    see(
        "removed",
        private.map(|id| (shmctl(id, IPC_RMID), shmctl(id, IPC_RMID), shmat(id, 0, 0))),
    );
}

fn shm_places() {
    let id = shmget(IPC_PRIVATE as u64, 3 * PAGE, 0o600).expect("made");
    let room = call(libc::SYS_mmap, &[0, 8 * PAGE, 3, 0x22, u64::MAX, 0]).expect("memory");
    let shown = |found: Result<u64>| found.map(|at| at.wrapping_sub(room));
    see("unaligned", shown(shmat(id, room + 5, 0)));
    see("taken", shown(shmat(id, room, 0)));
    see("taken, rounded", shown(shmat(id, room + PAGE + 5, SHM_RND)));
    see("nowhere, instead", shown(shmat(id, 0, SHM_REMAP)));
    see(
        "rounded to nowhere, instead",
        shown(shmat(id, 5, SHM_REMAP | SHM_RND)),
    );
    see("instead", shown(shmat(id, room + PAGE, SHM_REMAP)));
    see(
        "instead, rounded",
        shown(shmat(id, room + 4 * PAGE + 9, SHM_REMAP | SHM_RND)),
    );
    see("beyond memory", shown(shmat(id, 0x7fff_ffff_f000, 0)));
    see("attached", attached(id));
    poke(room + PAGE, 5);
    see("both", peek(room + 4 * PAGE));
    // A hole, and something else in it: only what is the segment's goes.
    let fixed = libc::MAP_FIXED as u64 | 0x22;
    let other = call(
        libc::SYS_mmap,
        &[room + 2 * PAGE, PAGE, 3, fixed, u64::MAX, 0],
    );
    see("other memory", shown(other));
    see("attached in parts", attached(id));
    see("in the middle", shmdt(room + 3 * PAGE));
    see("detached", shmdt(room + PAGE));
    see("left", attached(id));
    poke(room + 2 * PAGE, 5);
    see("to execute", shmat(id, 0, SHM_EXEC).is_ok());
    see("bad id", shown(shmat(int(-1), 0, 0)));
    see("unaligned first", shown(shmat(int(-1), 5, 0)));
    see("removed", shmctl(id, IPC_RMID));
}

fn shm_ends() {
    let id = shmget(IPC_PRIVATE as u64, PAGE, 0o600).expect("made");
    let at = shmat(id, 0, 0).expect("attached");
    let (ready, go) = (pipe().expect("a pipe"), pipe().expect("a pipe"));
    let heir = child(|| {
        let _ = shmat(id, 0, 0);
        poke(at, 9);
        ready.tell();
        go.hear();
        0
    });
    ready.hear();
    see("inherited", (peek(at), attached(id)));
    heir.signal(libc::SIGKILL).expect("it waits");
    see("killed", (heir.wait(), attached(id)));
    let executes = child(|| {
        let argv = [c"true".as_ptr(), std::ptr::null()];
        // SAFETY: the list ends as execv(3) asks.
        unsafe { libc::execv(c"/bin/true".as_ptr(), argv.as_ptr()) };
        1
    });
    see("executed", (executes.wait(), attached(id)));
    let leaves = child(|| i32::from(shmdt(at).is_err()));
    see("a child detaches", (leaves.wait(), attached(id)));
    let last = child(|| {
        ready.tell();
        go.hear();
        i32::from(peek(at) != 9 || attached(id) != Ok(1))
    });
    ready.hear();
    see("removed", (shmctl(id, IPC_RMID), shmdt(at), attached(id)));
    go.tell();
    see("the last one", last.wait());
    see("gone", (attached(id), shmat(id, 0, 0)));
    see(
        "a signal ends a child",
        matches!(heir.wait(), Err(Errno::ECHILD)),
    );
}

fn shm_rights() {
    let name = key(0);
    let id = shmget(name, PAGE, IPC_CREAT | 0o604).expect("made");
    let stranger = child(|| {
        become_user(33);
        see("asked for less", shmget(name, 0, 0o004) == Ok(id));
        see("asked for all", shmget(name, 0, 0o666));
        see("attach", shmat(id, 0, 0).err());
        see("attach to read", shmat(id, 0, SHM_RDONLY).is_ok());
        see(
            "attach to execute",
            shmat(id, 0, SHM_RDONLY | SHM_EXEC).err(),
        );
        see("status", attached(id));
        let status = shm_status(id).expect("readable");
        see(
            "set",
            call(SYS_shmctl, &[id, IPC_SET as u64, from(&status)]),
        );
        see("remove", shmctl(id, IPC_RMID));
        let own = shmget(IPC_PRIVATE as u64, PAGE, 0).expect("made");
        see(
            "own without rights",
            (shmat(own, 0, 0).err(), shm_status(own).err()),
        );
        see("own removed", shmctl(own, IPC_RMID));
        0
    });
    see("stranger", stranger.wait());
    see("removed", shmctl(id, IPC_RMID));
}

/// Waits until a process sleeps: its state, and no more switches while it is looked at again and again.
fn asleep(process: Child) {
    let path = format!("/proc/{}/status", process.0);
    let look = || {
        let text = std::fs::read_to_string(&path).expect("it lives");
        let line = |name: &str| {
            text.lines()
                .find(|line| line.starts_with(name))
                .map(str::to_owned)
        };
        (line("State:"), line("voluntary_ctxt_switches:"))
    };
    let (mut before, mut same) = (look(), 0);
    while same < 50 {
        // SAFETY: it takes nothing.
        unsafe { libc::sched_yield() };
        let now = look();
        let sleeps = now
            .0
            .as_ref()
            .is_some_and(|state| state.contains("S (sleeping)"));
        same = if sleeps && now == before { same + 1 } else { 0 };
        before = now;
    }
}

type Op = [i16; 3];
const UNDO: i16 = libc::SEM_UNDO as i16;
const NOWAIT: i16 = libc::IPC_NOWAIT as i16;

fn semop(id: u64, ops: &[Op]) -> Result<u64> {
    call(
        libc::SYS_semop,
        &[id, ops.as_ptr() as u64, ops.len() as u64],
    )
}

fn semctl(id: u64, number: u64, op: i32, argument: u64) -> Result<u64> {
    call(libc::SYS_semctl, &[id, number, int(op), argument])
}

fn values(id: u64) -> Result<[u16; 3]> {
    let mut values = [9u16; 3];
    semctl(id, 0, libc::GETALL, out(&mut values)).map(|_| values)
}

/// How many wait for an increase of a semaphore, and for its being zero.
fn waiting(id: u64, number: u64) -> [Result<u64>; 2] {
    [libc::GETNCNT, libc::GETZCNT].map(|op| semctl(id, number, op, 0))
}

fn set_of_three() -> u64 {
    call(libc::SYS_semget, &[IPC_PRIVATE as u64, 3, 0o600]).expect("made")
}

fn sem() {
    let semget =
        |key: u64, count: i32, flags: i32| call(libc::SYS_semget, &[key, int(count), int(flags)]);
    see("no such key", semget(key(1), 1, 0));
    for count in [0, -1, 1 << 30] {
        see("count", semget(key(1), count, IPC_CREAT));
    }
    let id = semget(key(1), 3, IPC_CREAT | 0o600).expect("made");
    see(
        "found",
        [0, 3].map(|count| semget(key(1), count, 0) == Ok(id)),
    );
    see("too many", semget(key(1), 4, 0));
    see("fresh", (values(id), semctl(id, 0, libc::GETPID, 0)));
    see(
        "operations",
        semop(id, &[[0, 2, 0], [1, 5, 0], [0, -1, 0], [2, 0, 0]]),
    );
    see("values", values(id));
    let own = u64::from(std::process::id());
    see(
        "by whom",
        [0, 1, 2].map(|number| semctl(id, number, libc::GETPID, 0) == Ok(own)),
    );
    see(
        "none or all",
        (semop(id, &[[0, 1, 0], [1, -6, NOWAIT]]), values(id)),
    );
    see("not zero", semop(id, &[[1, 0, NOWAIT]]));
    see("too large", semop(id, &[[1, 32767, 0]]));
    see("no such semaphore", semop(id, &[[3, 1, 0]]));
    see("none", semop(id, &[]));
    see(
        "many",
        (semop(id, &[[2, 0, 0]; 500]), semop(id, &[[2, 0, 0]; 501])),
    );
    see("bad address", call(libc::SYS_semop, &[id, NOWHERE, 1]));
    see(
        "bad ids",
        (semop(int(-1), &[[0, 0, 0]]), semop(1 << 30, &[[0, 0, 0]])),
    );
    see(
        "value",
        (
            semctl(id, 2, libc::SETVAL, 7),
            semctl(id, 2, libc::GETVAL, 0),
        ),
    );
    for value in [-1, 32768] {
        see("bad value", semctl(id, 2, libc::SETVAL, int(value)));
    }
    see(
        "bad number",
        [3, -1].map(|number| semctl(id, int(number), libc::GETVAL, 0)),
    );
    let all = [1u16, 2, 32767];
    see("all", (semctl(id, 0, libc::SETALL, from(&all)), values(id)));
    let all = [1u16, 2, 32768];
    see(
        "not all",
        (semctl(id, 0, libc::SETALL, from(&all)), values(id)),
    );
    see(
        "bad addresses",
        [libc::SETALL, libc::GETALL, IPC_STAT, IPC_SET].map(|op| semctl(id, 0, op, NOWHERE)),
    );
    // SAFETY: all zero is a value of it.
    let mut status: libc::semid_ds = unsafe { std::mem::zeroed() };
    see("status", semctl(id, 0, IPC_STAT, out(&mut status)));
    see(
        "fields",
        (
            status.sem_nsems,
            status.sem_perm.mode,
            status.sem_otime > 0,
            status.sem_ctime > 0,
        ),
    );
    status.sem_perm.mode = 0o7000;
    see("set", semctl(id, 0, IPC_SET, from(&status)));
    let stranger = child(|| {
        become_user(33);
        see(
            "stranger",
            (semop(id, &[[0, 1, 0]]), semop(id, &[[2, 0, 0]]), values(id)),
        );
        see(
            "stranger",
            [libc::SETVAL, libc::GETVAL, IPC_RMID].map(|op| semctl(id, 0, op, 0)),
        );
        0
    });
    see("stranger", stranger.wait());
    see(
        "bad operation",
        (semctl(id, 0, 99, 0), semctl(id, 0, -1, 0)),
    );
    see("removed", (semctl(id, 0, IPC_RMID, 0), values(id)));
}

fn sem_waits() {
    let id = set_of_three();
    let waits = |ops: &'static [Op]| {
        let waiter = child(move || match semop(id, ops) {
            Ok(_) => 0,
            Err(errno) => errno as i32,
        });
        asleep(waiter);
        waiter
    };
    let first = waits(&[[0, -2, 0]]);
    let second = waits(&[[0, -1, 0], [1, -1, 0]]);
    see("waiting", (waiting(id, 0), waiting(id, 1)));
    see("one", semop(id, &[[0, 1, 0]]));
    see(
        "the second waits for another",
        (waiting(id, 0), waiting(id, 1)),
    );
    see("two", semop(id, &[[0, 1, 0]]));
    see("the first", (first.wait(), values(id)));
    see("both", semop(id, &[[1, 1, 0], [0, 3, 0]]));
    see("the second", (second.wait(), values(id)));
    let zero = waits(&[[0, 0, 0]]);
    see("for zero", waiting(id, 0));
    see("zero", semctl(id, 0, libc::SETVAL, 0));
    see("it goes on", (zero.wait(), values(id)));
    let later = waits(&[[0, -1, 0], [1, -1, NOWAIT]]);
    see("the rest cannot wait", semop(id, &[[0, 1, 0]]));
    see("it gives up", (later.wait(), values(id)));
    let killed = waits(&[[2, -1, 0]]);
    killed.signal(libc::SIGKILL).expect("it lives");
    see("killed", (killed.wait(), waiting(id, 2)));
    see("nothing is taken", (semop(id, &[[2, 1, 0]]), values(id)));
    let timeout = |seconds: i64, nanoseconds: i64| {
        let time = [seconds, nanoseconds];
        call(
            libc::SYS_semtimedop,
            &[id, from(&[1i16, -1, 0]), 1, from(&time)],
        )
    };
    see("in time", [timeout(0, 0), timeout(0, 20_000_000)]);
    see(
        "bad times",
        [timeout(-1, 0), timeout(0, 1_000_000_000), timeout(0, -1)],
    );
    handle(libc::SIGALRM, Act::Plain(count), libc::SA_RESTART).expect("handled");
    call(libc::SYS_setitimer, &[0, from(&[0i64, 0, 0, 20_000]), 0]).expect("set");
    see("interrupted", (semop(id, &[[1, -1, 0]]), waiting(id, 1)));
    see("handled", HITS.load(std::sync::atomic::Ordering::Relaxed));
    let removed = [waits(&[[1, -1, 0]]), waits(&[[2, 0, 0]])];
    see("removed", semctl(id, 0, IPC_RMID, 0));
    let gone = End::Exited(Errno::EIDRM as i32);
    see(
        "waiters know",
        removed.map(|waiter| waiter.wait() == Ok(gone)),
    );
}

fn sem_undo() {
    let id = set_of_three();
    see("start", semctl(id, 0, libc::SETVAL, 3));
    let exits = child(|| {
        let done = semop(id, &[[0, -2, UNDO], [1, 4, UNDO], [2, 1, 0]]);
        see("child", (done, values(id)));
        0
    });
    see("undone", (exits.wait(), values(id)));
    see(
        "by whom",
        semctl(id, 0, libc::GETPID, 0) == Ok(exits.0 as u64),
    );
    let killed = child(|| {
        let _ = semop(id, &[[0, -3, UNDO]]);
        raise(libc::SIGKILL)
    });
    see("killed", (killed.wait(), values(id)));
    let keeps = child(|| {
        let _ = semop(id, &[[0, -1, UNDO]]);
        let grandchild = child(|| i32::from(values(id).is_err()));
        see("grandchild", (grandchild.wait(), values(id)));
        let argv = [c"true".as_ptr(), std::ptr::null()];
        // SAFETY: the list ends as execv(3) asks.
        unsafe { libc::execv(c"/bin/true".as_ptr(), argv.as_ptr()) };
        1
    });
    see("after an exec", (keeps.wait(), values(id)));
    let forgets = child(|| {
        let _ = semop(id, &[[0, -1, UNDO], [1, 1, UNDO]]);
        see("set", semctl(id, 0, libc::SETVAL, 5));
        0
    });
    see("nothing to undo", (forgets.wait(), values(id)));
    let below = child(|| {
        let _ = semop(id, &[[2, 5, UNDO]]);
        let _ = semop(id, &[[2, -6, 0]]);
        0
    });
    see("not below zero", (below.wait(), values(id)));
    let takes =
        child(|| i32::from(semop(id, &[[0, -5, UNDO]]).is_err() || raise(libc::SIGSTOP) != 0));
    // SAFETY: it takes numbers and null.
    let _ = unsafe { libc::waitpid(takes.0, std::ptr::null_mut(), libc::WUNTRACED) };
    let waiter = child(|| i32::from(semop(id, &[[0, -4, 0]]).is_err()));
    asleep(waiter);
    takes.signal(libc::SIGKILL).expect("it lives");
    see(
        "a waiter goes on",
        (takes.wait(), waiter.wait(), values(id)),
    );
    see("removed", semctl(id, 0, IPC_RMID, 0));
}

fn raise(signal: i32) -> i32 {
    // SAFETY: it takes a number.
    unsafe { libc::raise(signal) }
}

#[repr(C)]
struct Message {
    kind: i64,
    text: [u8; 16],
}

fn msgsnd(id: u64, kind: i64, text: &[u8], flags: i32) -> Result<u64> {
    let mut message = Message {
        kind,
        text: [0; 16],
    };
    message.text[..text.len()].copy_from_slice(text);
    call(
        libc::SYS_msgsnd,
        &[id, from(&message), text.len() as u64, int(flags)],
    )
}

fn msgrcv(id: u64, room: u64, kind: i64, flags: i32) -> Result<(i64, String)> {
    let mut message = Message {
        kind: 0,
        text: [b'.'; 16],
    };
    let kind = kind as u64;
    let length = call(
        libc::SYS_msgrcv,
        &[id, out(&mut message), room, kind, int(flags)],
    )?;
    let text = message.text.iter().take(length as usize + 1);
    Ok((message.kind, text.map(|byte| char::from(*byte)).collect()))
}

fn msgctl(id: u64, op: i32, argument: u64) -> Result<u64> {
    call(libc::SYS_msgctl, &[id, int(op), argument])
}

fn queue() -> u64 {
    call(libc::SYS_msgget, &[IPC_PRIVATE as u64, 0o600]).expect("made")
}

fn msg() {
    let nowait = libc::IPC_NOWAIT;
    let get = |flags: i32| call(libc::SYS_msgget, &[key(2), int(flags)]);
    see("no such key", get(0));
    let id = get(IPC_CREAT | 0o600).expect("made");
    see("found", (get(0) == Ok(id), get(IPC_CREAT | IPC_EXCL)));
    see("empty", msgrcv(id, 16, 0, nowait));
    for (kind, text) in [(3, "three"), (1, "one"), (2, "two"), (3, "more"), (5, "")] {
        see("sent", msgsnd(id, kind, text.as_bytes(), 0));
    }
    // SAFETY: all zero is a value of it.
    let mut status: libc::msqid_ds = unsafe { std::mem::zeroed() };
    see("status", msgctl(id, IPC_STAT, out(&mut status)));
    see(
        "fields",
        (
            status.msg_qnum,
            status.__msg_cbytes,
            status.msg_qbytes,
            status.msg_lrpid,
            status.msg_rtime,
        ),
    );
    see("sender", status.msg_lspid as u32 == std::process::id());
    see(
        "copies",
        [0, 1, 4, 5, -1].map(|at| msgrcv(id, 16, at, nowait | libc::MSG_COPY)),
    );
    see(
        "bad copies",
        [libc::MSG_COPY, libc::MSG_COPY | libc::MSG_EXCEPT | nowait]
            .map(|flags| msgrcv(id, 16, 0, flags)),
    );
    see("by type", msgrcv(id, 16, 2, 0));
    see("too long", msgrcv(id, 3, 3, 0));
    see("cut", msgrcv(id, 3, 3, libc::MSG_NOERROR));
    see("up to", msgrcv(id, 16, -4, 0));
    see("other than", msgrcv(id, 16, 3, libc::MSG_EXCEPT));
    see(
        "none of it",
        [7, -2].map(|kind| msgrcv(id, 16, kind, nowait)),
    );
    see("the last", msgrcv(id, 16, i64::MIN, 0));
    see("bad types", [0, -1].map(|kind| msgsnd(id, kind, b"x", 0)));
    see(
        "bad sizes",
        [8193, u64::MAX].map(|size| call(libc::SYS_msgsnd, &[id, from(&[1u64; 2]), size, 0])),
    );
    see("bad room", msgrcv(id, u64::MAX, 0, nowait));
    see(
        "bad addresses",
        [0, 8].map(|at| call(libc::SYS_msgsnd, &[id, NOWHERE, at, 0])),
    );
    see(
        "bad ids",
        (msgsnd(int(-1), 1, b"", 0), msgrcv(1 << 30, 1, 0, 0)),
    );
    let large = vec![1u64; 1025];
    let send = |flags: i32| {
        call(
            libc::SYS_msgsnd,
            &[id, large.as_ptr() as u64, 8192, int(flags)],
        )
    };
    see("full", [send(0), send(0), send(nowait)]);
    see(
        "no room for a byte",
        (msgsnd(id, 1, b"x", nowait), msgsnd(id, 1, b"", nowait)),
    );
    let mut room = vec![0u64; 1025];
    let receive = call(libc::SYS_msgrcv, &[id, out(&mut room[0]), 8192, 0, 0]);
    see("large", (receive, room == large));
    see(
        "lost to a bad address",
        call(libc::SYS_msgrcv, &[id, NOWHERE, 8192, 0, 0]),
    );
    msgctl(id, IPC_STAT, out(&mut status)).expect("there");
    see("left", (status.msg_qnum, status.__msg_cbytes));
    status.msg_qbytes = 10;
    see(
        "smaller",
        (
            msgctl(id, IPC_SET, from(&status)),
            msgsnd(id, 1, &[1; 11], nowait),
        ),
    );
    status.msg_qbytes = 20_000;
    let stranger = child(|| {
        become_user(33);
        see(
            "stranger",
            (
                msgsnd(id, 1, b"x", 0),
                msgrcv(id, 1, 0, nowait),
                msgctl(id, IPC_RMID, 0),
            ),
        );
        let own = queue();
        // It may ask for less than the limit only.
        see("larger than allowed", msgctl(own, IPC_SET, from(&status)));
        see("own removed", msgctl(own, IPC_RMID, 0));
        0
    });
    see("stranger", stranger.wait());
    see(
        "bad operation",
        (msgctl(id, 99, 0), msgctl(id, IPC_SET, NOWHERE)),
    );
    see("removed", (msgctl(id, IPC_RMID, 0), msgsnd(id, 1, b"", 0)));
}

fn msg_waits() {
    let id = queue();
    let receives = |room: u64, kind: i64| {
        let receiver = child(move || match msgrcv(id, room, kind, 0) {
            Ok((kind, text)) => (kind as i32) * 16 + text.len() as i32,
            Err(errno) => -(errno as i32) & 255,
        });
        asleep(receiver);
        receiver
    };
    let (any, two, small) = (receives(16, 0), receives(16, 2), receives(1, 2));
    see("sent", msgsnd(id, 3, b"abc", 0));
    see("the first takes it", any.wait());
    see("sent", msgsnd(id, 4, b"abc", 0));
    see("sent", msgsnd(id, 2, b"abcd", 0));
    see("who waits for it", two.wait());
    see("sent", msgsnd(id, 2, b"abcd", 0));
    see("too small", small.wait());
    see(
        "left",
        [4, 2, 0].map(|kind| msgrcv(id, 16, kind, libc::IPC_NOWAIT)),
    );
    let fill = vec![1u64; 1025];
    let fill = || call(libc::SYS_msgsnd, &[id, fill.as_ptr() as u64, 8192, 0]);
    see("full", [fill(), fill()]);
    let sender = child(|| i32::from(msgsnd(id, 9, b"late", 0).is_err()));
    asleep(sender);
    see(
        "room",
        msgrcv(id, 16, 1, libc::MSG_NOERROR).map(|(kind, _)| kind),
    );
    see("sender", sender.wait());
    see("late", msgrcv(id, 16, 9, 0));
    see("full", fill());
    let killed = child(|| i32::from(msgsnd(id, 9, b"never", 0).is_err()));
    asleep(killed);
    killed.signal(libc::SIGKILL).expect("it lives");
    see("killed", killed.wait());
    see(
        "room",
        [(); 2].map(|()| msgrcv(id, 16, 1, libc::MSG_NOERROR).map(|(kind, _)| kind)),
    );
    see("nothing of the dead", msgrcv(id, 16, 0, libc::IPC_NOWAIT));
    handle(libc::SIGALRM, Act::Plain(count), libc::SA_RESTART).expect("handled");
    call(libc::SYS_setitimer, &[0, from(&[0i64, 0, 0, 20_000]), 0]).expect("set");
    see("interrupted", msgrcv(id, 16, 0, 0));
    let removed = receives(16, 0);
    see("removed", (msgctl(id, IPC_RMID, 0), removed.wait()));
}

fn posix() {
    let name = std::ffi::CString::new(format!("guest-{}", std::process::id())).expect("no NUL");
    let at = name.as_ptr() as u64;
    let open = |at: u64, flags: i32, attributes: u64| {
        call(libc::SYS_mq_open, &[at, int(flags), 0o660, attributes])
    };
    let create = libc::O_CREAT | libc::O_RDWR | libc::O_NONBLOCK;
    // Four numbers count; the rest must be there.
    let attributes = |count: i64, size: i64| [0, count, size, 0, 0, 0, 0, 0];
    see("no such queue", open(at, libc::O_RDWR, 0));
    see("nothing to remove", call(libc::SYS_mq_unlink, &[at]));
    let long = std::ffi::CString::new(vec![b'x'; 256]).expect("no NUL");
    for name in [c"", c".", c"..", c"a/b", c"/a", long.as_c_str()] {
        let at = name.as_ptr() as u64;
        see(
            "bad name",
            (open(at, create, 0), call(libc::SYS_mq_unlink, &[at])),
        );
    }
    see(
        "bad addresses",
        (open(NOWHERE, create, 0), open(at, create, NOWHERE)),
    );
    for [count, size] in [[0, 8], [4, 0], [-1, 8], [4, -1], [i64::MAX, 8]] {
        see(
            "bad attributes",
            open(at, create, from(&attributes(count, size))),
        );
    }
    // SAFETY: it takes a number.
    unsafe { libc::umask(0o027) };
    let queue = open(at, create, from(&attributes(2, 16))).expect("made");
    let mut status = [9i64; 8];
    let status_of = |queue: u64, status: &mut [i64; 8]| {
        call(libc::SYS_mq_getsetattr, &[queue, 0, out(status)]).map(|_| status[..4].to_vec())
    };
    see("attributes", status_of(queue, &mut status));
    see("exclusively", open(at, create | libc::O_EXCL, 0));
    see("bad access", open(at, 3, 0));
    let send = |queue: u64, text: &[u8], priority: u64| {
        call(
            libc::SYS_mq_timedsend,
            &[queue, text.as_ptr() as u64, text.len() as u64, priority, 0],
        )
    };
    let receive = |queue: u64| {
        let (mut text, mut priority) = ([b'.'; 16], 0u32);
        let length = call(
            libc::SYS_mq_timedreceive,
            &[queue, out(&mut text), 16, out(&mut priority), 0],
        )?;
        Ok::<_, Errno>((
            String::from_utf8_lossy(&text[..length as usize]).into_owned(),
            priority,
        ))
    };
    see(
        "sent",
        (
            send(queue, b"low", 1),
            send(queue, b"high", 9),
            send(queue, b"full", 1),
        ),
    );
    see("too long", send(queue, &[0; 17], 1));
    let reader = open(at, libc::O_RDONLY, 0).expect("ours");
    let writer = open(at, libc::O_WRONLY | libc::O_NONBLOCK, 0).expect("ours");
    see("rights", (send(reader, b"", 0), receive(writer)));
    see(
        "flags",
        [reader, writer].map(|queue| status_of(queue, &mut status)),
    );
    see(
        "closed by exec",
        call(libc::SYS_fcntl, &[reader, libc::F_GETFD as u64]),
    );
    see(
        "received",
        [receive(reader), receive(queue), receive(queue)],
    );
    let stranger = child(|| {
        become_user(33);
        see(
            "stranger",
            (
                open(at, libc::O_RDONLY, 0),
                call(libc::SYS_mq_unlink, &[at]),
            ),
        );
        0
    });
    see("stranger", stranger.wait());
    let member = child(|| {
        call(libc::SYS_setresuid, &[33; 3]).expect("we were root");
        see(
            "member",
            [libc::O_RDONLY, libc::O_RDWR].map(|flags| open(at, flags, 0).is_ok()),
        );
        0
    });
    see("member", member.wait());
    let waits = child(|| i32::from(receive(reader) != Ok(("late".into(), 3))));
    asleep(waits);
    see("late", (send(writer, b"late", 3), waits.wait()));
    handle(libc::SIGUSR1, Act::Info(note), libc::SA_RESTART).expect("handled");
    // `struct sigevent`: value, signal, SIGEV_SIGNAL.
    let mut event = [0u64; 8];
    event[1] = libc::SIGUSR1 as u64;
    let notify = |event: &[u64; 8]| call(libc::SYS_mq_notify, &[queue, from(event)]);
    see("to be told", (notify(&event), notify(&event)));
    let sender = child(|| i32::from(send(writer, b"news", 0).is_err()));
    // The notice may interrupt it.
    let end = std::iter::repeat_with(|| sender.wait()).find(|end| *end != Err(Errno::EINTR));
    see("sender", end);
    use std::sync::atomic::Ordering::Relaxed;
    see(
        "told",
        (
            HITS.load(Relaxed),
            CODE.load(Relaxed),
            SENDER.load(Relaxed) == sender.0,
        ),
    );
    see("removed", call(libc::SYS_mq_unlink, &[at]));
    see("by its name", open(at, libc::O_RDWR, 0));
    see(
        "still",
        (receive(queue), send(writer, b"on", 0), receive(reader)),
    );
    see("no queue", (send(0, b"", 0), status_of(1, &mut status)));
}
