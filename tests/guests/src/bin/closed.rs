//! Who may look into a process of its own user that is not dumpable, and whose a message queue is.

use picozone_guests::children::{End, exit};
use picozone_guests::{Child, Result, call, child, out, sections, see};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::fs::MetadataExt;

const USER: u32 = 33;

fn main() {
    sections(&[
        ("looks", || looks_at(true)),
        ("looks_only", || looks_at(false)),
        ("queues", queues),
    ]);
}

fn become_user() {
    let user = u64::from(USER);
    call(libc::SYS_setgroups, &[0, 0]).expect("we are root");
    call(libc::SYS_setresgid, &[user; 3]).expect("we are root");
    call(libc::SYS_setresuid, &[user; 3]).expect("we are root");
}

fn pipe() -> (File, File) {
    let mut ends = [0; 2];
    call(libc::SYS_pipe2, &[out(&mut ends), 0]).expect("there is room");
    // SAFETY: the kernel has just made both descriptors for us.
    let [reader, writer] = ends.map(|fd| unsafe { File::from_raw_fd(fd) });
    (reader, writer)
}

/// What a process of the same user finds out of another one.
fn look_at(of: Child, copies: bool) {
    let top = format!("/proc/{}", of.0);
    for name in ["environ", "maps", "mem", "auxv", "status"] {
        let opened = File::open(format!("{top}/{name}"));
        see(name, opened.map(drop).map_err(|error| error.raw_os_error()));
    }
    for name in ["exe", "cwd", "root", "fd/0"] {
        let read = fs::read_link(format!("{top}/{name}"));
        see(name, read.map(drop).map_err(|error| error.raw_os_error()));
    }
    let listed = fs::read_dir(format!("{top}/fd"));
    see("fd", listed.map(drop).map_err(|error| error.raw_os_error()));
    for name in ["", "environ", "status", "fd", "task", "exe"] {
        let owner = fs::symlink_metadata(format!("{top}/{name}"));
        let owner = owner.map(|data| (data.uid(), data.gid()));
        see(
            &format!("owner of {name}"),
            owner.map_err(|error| error.raw_os_error()),
        );
    }
    let pid = u64::from(of.0.unsigned_abs());
    let mut byte = 0u8;
    let local = [out(&mut byte), 1];
    let remote = [std::ptr::from_ref(&USER) as u64, 1];
    let args = [pid, local.as_ptr() as u64, 1, remote.as_ptr() as u64, 1, 0];
    if copies {
        see("copied", call(libc::SYS_process_vm_readv, &args));
    }
    see("signalled", call(libc::SYS_kill, &[pid, 0]));
}

fn seen_by_user(of: Child, copies: bool) {
    let looker = child(|| {
        become_user();
        look_at(of, copies);
        0
    });
    see("looker", looker.wait() == Ok(End::Exited(0)));
}

/// Of one that has become another user, that says that it may be looked into, and that takes it back.
/// Where users are kept apart its memory is not to be copied.
fn looks_at(copies: bool) {
    let (mut told, tell) = pipe();
    let (wait, mut go) = pipe();
    let target = child(|| {
        let (mut tell, mut wait) = (tell, wait);
        become_user();
        for dumpable in [None, Some(1), Some(0)] {
            if let Some(value) = dumpable {
                let set = call(libc::SYS_prctl, &[4, value, 0, 0, 0]);
                set.expect("it is the own process");
            }
            let mut byte = [0];
            if tell.write_all(&byte).is_err() || wait.read_exact(&mut byte).is_err() {
                exit(1);
            }
        }
        0
    });
    for state in ["changed", "open", "closed"] {
        told.read_exact(&mut [0]).expect("it lives");
        see("state", state);
        seen_by_user(target, copies);
        // A child begins as its parent is.
        go.write_all(&[0]).expect("it lives");
    }
    see("target", target.wait());
}

fn opened(name: &CString, flags: i32, mode: u64) -> Result<File> {
    let flags = u64::from(flags.unsigned_abs());
    let args = [name.as_ptr() as u64, flags, mode, 0];
    let fd = call(libc::SYS_mq_open, &args)?;
    let fd = i32::try_from(fd).expect("a descriptor");
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { File::from_raw_fd(fd) })
}

fn queues() {
    // SAFETY: takes nothing.
    let name = format!("picozone-closed-{}", unsafe { libc::getpid() });
    let name = CString::new(name).expect("no NUL in it");
    call(libc::SYS_umask, &[0o27]).expect("it cannot fail");
    let look = |what: &str, queue: &Result<File>| {
        let data = queue
            .as_ref()
            .map(|file| file.metadata().expect("it is open"));
        let told = data.map(|data| (data.uid(), data.gid(), format!("{:o}", data.mode())));
        see(what, told);
    };
    let maker = child(|| {
        become_user();
        let made = opened(&name, libc::O_CREAT | libc::O_EXCL | libc::O_RDWR, 0o666);
        look("made", &made);
        0
    });
    see("maker", maker.wait());
    look("root's", &opened(&name, libc::O_RDONLY, 0));
    see(
        "unlinked",
        call(libc::SYS_mq_unlink, &[name.as_ptr() as u64]),
    );
}
