//! Mounts by descriptor, asked for as no personality would: of what a zone cannot reach, to where it may
//! not mount, by contexts that nobody but the guest made.

use super::*;
use picozone_personality::detached::{DIRECTORY, command, operation};

/// Asks for an operation; `b` is the second text.
fn ask(args: &[u64], a: &str, b: &[u8]) -> i64 {
    let tid = inside(libc::SYS_gettid, [0; 6]) as u64;
    let at = MAILBOXES + tid * MAILBOX_STRIDE + std::mem::offset_of!(Mailbox, b) as u64;
    for (byte, to) in b.iter().chain(&[0]).zip(at..) {
        unsafe { (to as *mut u8).write_volatile(*byte) };
    }
    asked(Request::Detached, args, format!("{a}\0").as_bytes())
}

fn place_of(number: i64) -> String {
    format!("{}/{number}", String::from_utf8_lossy(DIRECTORY))
}

/// A file in memory that says it is a context.
fn forged(parts: &[&str]) -> u64 {
    let text = [&["picozone context 1"], parts].concat().join("\0");
    let fd = unsafe { libc::memfd_create(c"fscontext".as_ptr(), 0) };
    unsafe { libc::write(fd, text.as_ptr().cast(), text.len()) };
    fd as u64
}

/// `socket` lies in a directory of the host.
pub(super) fn attempts(socket: &str) {
    let (host, name) = socket.rsplit_once('/').unwrap_or(("/", ""));
    let _ = std::fs::create_dir_all("/caught/in");
    for source in [
        host.to_owned(),
        format!("/{UP}{host}"),
        format!("/usr/{UP}{host}"),
        UP.to_owned(),
        String::new(),
    ] {
        for recursive in [0, 1] {
            attempt(&format!("a detached bind of {source}"), || {
                let number = ask(&[operation::CLONE, recursive], &source, b"");
                let is_seen = |name: &str| {
                    std::fs::symlink_metadata(format!("{}/{name}", place_of(number))).is_ok()
                };
                if number >= 0 && (is_seen("zones") || is_seen(name)) {
                    0
                } else {
                    -1
                }
            });
        }
    }
    let own = place_of(ask(&[operation::CLONE, 0], "/caught", b""));
    for target in no_places(host).into_iter().chain([own.clone()]) {
        for beneath in [0, 1] {
            attempt(&format!("a detached mount at {target}"), || {
                ask(&[operation::MOVE, beneath], &target, own.as_bytes())
            });
        }
    }
    for source in ["/", "/usr", "/victim", UP, "", "/caught/in"] {
        attempt(&format!("{source} put elsewhere"), || {
            ask(&[operation::MOVE, 0], "/caught", source.as_bytes())
        });
    }
    // What is only to be looked at stays so, whatever its mount is said to be.
    attempt("a writable mount of what is read-only", || {
        ask(&[operation::SET, 0, 1, 1], "/victim", b"")
    });
    attempt("a writable detached bind of what is read-only", || {
        let number = ask(&[operation::CLONE, 0], "/victim", b"");
        ask(&[operation::SET, 0, 1, 1], &place_of(number), b"");
        let file = CString::new(format!("{}/file", place_of(number))).expect("no NUL");
        let at = file.as_ptr() as u64;
        let opened = raw(libc::SYS_open, [at, 1, 0, 0, 0, 0]);
        let modes = raw(libc::SYS_chmod, [at, 0o666, 0, 0, 0, 0]);
        opened.max(modes)
    });
    contexts();
}

fn contexts() {
    let created = |kind: &str| forged(&["1", "0", "0", "0", "1", kind, "x", "mode=777"]);
    for kind in ["ext4", "overlay", "fuse", "sysfs", "none such", ""] {
        attempt(&format!("a forged context of {kind}"), || {
            ask(&[operation::MOUNT, created(kind), 0], "", b"")
        });
    }
    for parts in [
        &[][..],
        &["9", "0", "0", "0", "0", "tmpfs", "", ""],
        &["1", "-1", "x", "0", "0", "tmpfs", "", ""],
        &["1", "0", "0", "99999999999999999999", "0", "tmpfs", "", ""],
        &["1"],
        &["4", "0", "0", "0", "0", "tmpfs", "", ""],
        &["1", "0", "0", "0", "0", "tmpfs", "", "mode=x"],
    ] {
        attempt("a forged context that says nothing", || {
            ask(&[operation::MOUNT, forged(parts), 0], "", b"")
        });
    }
    // Of a mount that there is not, or that the zone's configuration has.
    attempt("a forged context that changes what is read-only", || {
        let fd = forged(&["2", "0", "1", "0", "0", "", "", ""]);
        let of = CString::new("/victim/file").expect("no NUL");
        ask(
            &[operation::CONFIGURE, fd, u64::from(command::RECONFIGURE)],
            "",
            b"",
        );
        raw(libc::SYS_open, [of.as_ptr() as u64, 1, 0, 0, 0, 0])
    });
    let file = std::fs::File::open("/usr/bin/env").expect("a file of the host");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&file) as u64;
    for other in [fd, 0, FD_TABLES, FD_PERSONALITY, 4000, u64::MAX] {
        attempt(&format!("descriptor {other} as a context"), || {
            let what = u64::from(command::SET_FLAG);
            ask(&[operation::CONFIGURE, other, what], "ro", b"")
        });
    }
    // Another file under the number while the monitor looks at it.
    attempt("a context that is another file meanwhile", || {
        const PLACE: i32 = 300;
        let context = created("tmpfs") as i32;
        let swapping = std::thread::spawn(move || {
            for _ in 0..20_000 {
                unsafe { libc::dup2(context, PLACE) };
                unsafe { libc::dup2(fd as i32, PLACE) };
            }
        });
        let what = u64::from(command::SET_FLAG);
        for _ in 0..200 {
            ask(&[operation::CONFIGURE, PLACE as u64, what], "ro", b"");
        }
        let _ = swapping.join();
        -1
    });
}
