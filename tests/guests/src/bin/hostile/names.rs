//! Names that the kernel may be given by their address, and directories at hand.

use super::*;
use picozone_personality::names::{Missed, NAMES_MAX, Names, Slot};
use picozone_personality::tables::Tables;
use std::mem::offset_of;

const SLOTS: u64 = TABLES + (offset_of!(Tables, names) + offset_of!(Names, slots)) as u64;
const SLOT_SIZE: u64 = size_of::<Slot>() as u64;
const MISSED: u64 = COMMONS + offset_of!(Commons, missed) as u64;
/// How many names they hold, behind a count.
const MISSED_SLOTS: u64 = size_of::<Missed>() as u64 / SLOT_SIZE - 1;
const NOFOLLOW: u64 = libc::AT_SYMLINK_NOFOLLOW as u64;
const EMPTY_PATH: u64 = libc::AT_EMPTY_PATH as u64;
/// First of the reserved descriptors that a guest may replace.
const FD_PARENTS: u64 = picozone_personality::layout::FD_PARENTS as u64;

/// The text in a slot, up to its NUL.
fn text_at(slot: u64) -> Vec<u8> {
    let bytes = unsafe { (slot as *const [u8; SLOT_SIZE as usize]).read_volatile() };
    bytes.into_iter().take_while(|&byte| byte != 0).collect()
}

/// Where a name stands that was looked for.
fn slot_of(name: &[u8]) -> u64 {
    let mut slots = (0..NAMES_MAX as u64).map(|at| SLOTS + at * SLOT_SIZE);
    slots.find(|&slot| text_at(slot) == name).unwrap_or(0)
}

/// The four calls by a directory and the address of a name.
fn calls(fd: u64, name: u64, flags: u64) -> [(&'static str, i64, [u64; 6]); 4] {
    let room = (&raw mut ROOM) as u64;
    [
        (
            "newfstatat",
            libc::SYS_newfstatat,
            [fd, name, room, flags, 0, 0],
        ),
        ("statx", libc::SYS_statx, [fd, name, flags, 0x7ff, room, 0]),
        (
            "faccessat2",
            libc::SYS_faccessat2,
            [fd, name, 0, flags, 0, 0],
        ),
        (
            "readlinkat",
            libc::SYS_readlinkat,
            [fd, name, room, 64, 0, 0],
        ),
    ]
}

static mut ROOM: [u64; 64] = [0; 64];

pub(super) fn names() {
    // A link, so that all four calls can succeed.
    let _ = std::fs::remove_file("/vetted-link");
    std::os::unix::fs::symlink("/etc/passwd", "/vetted-link").expect("a link");
    for _ in 0..4 {
        let _ = std::fs::symlink_metadata("/vetted-link");
    }
    let slot = slot_of(b"vetted-link");
    std::env::set_current_dir("/").expect("it is there");
    let cwd = libc::AT_FDCWD as u64;
    for (name, nr, args) in calls(cwd, slot, NOFOLLOW) {
        if inside(nr, args) < 0 {
            println!("BROKEN control {name} of a vetted name");
        }
    }
    // The filter sees addresses, never what is there.
    for path in [c"vetted-link", c"../../../../etc/passwd", c"/etc/passwd"] {
        let own = path.as_ptr() as u64;
        for fd in [cwd].into_iter().chain(FDS) {
            for (name, nr, args) in calls(fd, own, NOFOLLOW) {
                attempt(&format!("{name} of {path:?} at {fd}, inside"), || {
                    inside(nr, args)
                });
            }
        }
    }
    let odd = [
        ("in the midst of a name", slot + 1, NOFOLLOW),
        ("in its second word", slot + 8, NOFOLLOW),
        ("ahead of the names", SLOTS - SLOT_SIZE, NOFOLLOW),
        (
            "behind the names",
            SLOTS + NAMES_MAX as u64 * SLOT_SIZE,
            NOFOLLOW,
        ),
    ];
    for (what, at, flags) in odd {
        for (name, nr, args) in calls(cwd, at, flags) {
            attempt(&format!("{name} {what}"), || inside(nr, args));
        }
    }
    for flags in [0, EMPTY_PATH, NOFOLLOW | EMPTY_PATH, NOFOLLOW | 0x800] {
        // A link is read, not followed, without any flag.
        for (name, nr, args) in calls(cwd, slot, flags).into_iter().take(3) {
            attempt(&format!("{name} of a name with {flags:#x}"), || {
                inside(nr, args)
            });
        }
    }
    attempt("names that lead elsewhere", || {
        for text in [
            &b".."[..],
            b".",
            b"/",
            b"../..",
            b"a/../..",
            b"/etc/passwd",
            b"..\0..",
            &[b'.'; 64],
        ] {
            for at in 0..MISSED_SLOTS {
                write_missed(at * SLOT_SIZE, text);
            }
            asked(Request::Names, &[], b"");
        }
        verdict()
    });
    attempt("names that change while they are looked at", || {
        let writer = unsafe { libc::fork() };
        if writer == 0 {
            loop {
                for text in [
                    &b"..abcdef"[..],
                    b"..\0\0\0\0\0\0",
                    b"ab/../..",
                    b"abcdefgh",
                ] {
                    for at in 0..8 {
                        write_missed(at * SLOT_SIZE, text);
                    }
                }
            }
        }
        for _ in 0..3000 {
            asked(Request::Names, &[], b"");
        }
        unsafe { libc::kill(writer, libc::SIGKILL) };
        unsafe { libc::waitpid(writer, std::ptr::null_mut(), 0) };
        verdict()
    });
    parents();
}

/// Writes where guests note what they missed, whose first word is a count.
fn write_missed(at: u64, text: &[u8]) {
    let to = MISSED + SLOT_SIZE + at;
    for (index, byte) in text.iter().enumerate() {
        unsafe { ((to + index as u64) as *mut u8).write_volatile(*byte) };
    }
}

/// Whether every name that is vetted now is a single component that stays where it is.
fn verdict() -> i64 {
    let is_bad = |at: u64| {
        let text = text_at(SLOTS + at * SLOT_SIZE);
        text.contains(&b'/') || text == b".." || text.len() as u64 >= SLOT_SIZE
    };
    if (0..NAMES_MAX as u64).any(is_bad) {
        0
    } else {
        -1
    }
}

/// A guest replaces what it has at hand, and nothing else of what is reserved.
fn parents() {
    for fd in FDS.start..FD_PARENTS {
        attempt(&format!("a directory at hand in place of {fd}"), || {
            let most = libc::rlimit {
                rlim_cur: 4096,
                rlim_max: 4096,
            };
            unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const most) };
            inside(libc::SYS_dup3, [0, fd, 0, 0, 0, 0])
        });
    }
    for flags in [libc::O_CLOEXEC as u64, 1] {
        let args = [0, FD_PARENTS, flags, 0, 0, 0];
        both("one that an exec closes", libc::SYS_dup3, args);
    }
    let past = [0, FDS.end - 1, 0, 0, 0, 0];
    attempt("one by dup2", || inside(libc::SYS_dup2, past));
    attempt("closing one", || {
        inside(libc::SYS_close, [FD_PARENTS, 0, 0, 0, 0, 0])
    });
    attempt("closing all", || {
        inside(libc::SYS_close_range, [FD_PARENTS, FDS.end, 0, 0, 0, 0])
    });
    // Directories that are watched for a guest are those of its mounts, and not many.
    for row in [0, 1, 2, 3, 4, 63, 64, 1000, u64::MAX] {
        for path in [
            &b"../../etc/\0"[..],
            b"lib/../../../../\0",
            b"no-such-directory/\0",
        ] {
            attempt(&format!("watching {path:?} of mount {row}"), || {
                asked(Request::Watched, &[row], path)
            });
        }
    }
}
