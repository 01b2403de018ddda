//! System V IPC: keys, rights, what outlives whom, blocking and its ends.
//!
//! Natively it runs in the host's name space: keys are made of the process number, and every object
//! is removed in the end.
#![expect(
    clippy::cast_sign_loss,
    reason = "the kernel's interface mixes widths and signs"
)]

use libc::{
    IPC_CREAT, IPC_EXCL, IPC_PRIVATE, IPC_RMID, IPC_SET, IPC_STAT, SHM_EXEC, SHM_RDONLY, SHM_REMAP,
    SHM_RND, SYS_shmat, SYS_shmctl, SYS_shmdt, SYS_shmget,
};
use picozone_guests::children::{End, pipe};
use picozone_guests::{Errno, NOWHERE, Result, call, child, from, out, sections, see, signed};

fn main() {
    sections(&[
        ("shm", shm),
        ("shm_places", shm_places),
        ("shm_ends", shm_ends),
        ("shm_rights", shm_rights),
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
    let _ = End::Continued;
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
