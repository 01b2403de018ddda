//! Places of makers, which guests write: who lies there delays others for a while, and no longer.

use super::*;
use picozone_personality::makers::{GRACE_NS, MAKERS_MAX, Makers};
use std::mem::offset_of;
use std::time::{Duration, Instant};

const PLACES: u64 = COMMONS + offset_of!(Commons, makers) as u64;
const WORDS: u64 = size_of::<Makers>() as u64 / 8;

/// Writes all words of the places, the first of which has a bit for each.
fn write_places(word: u64) {
    for at in 0..WORDS {
        let word = if at == 0 { u64::MAX } else { word };
        unsafe { ((PLACES + at * 8) as *mut u64).write_volatile(word) };
    }
}

pub(super) fn makers() {
    let own = inside(libc::SYS_getpid, [0; 6]) as u64;
    for (who, word) in [("one that lives", own), ("everything", u64::MAX)] {
        attempt(&format!("places held by {who}"), || {
            write_places(word);
            make_as_user(2 * MAKERS_MAX)
        });
    }
    attempt("places that change all the time", || {
        let writer = unsafe { libc::fork() };
        if writer == 0 {
            loop {
                for awaited in [0, 1 << 31] {
                    write_places(own | awaited);
                }
            }
        }
        let made = make_as_user(1);
        unsafe { libc::kill(writer, libc::SIGKILL) };
        unsafe { libc::waitpid(writer, std::ptr::null_mut(), 0) };
        made
    });
    write_places(0);
    unsafe { (PLACES as *mut u64).write_volatile(0) };
}

/// Whether a user of the zone is kept from making files, and from looking at those that its root makes.
fn make_as_user(count: usize) -> i64 {
    let began = Instant::now();
    let _ = std::fs::remove_file("/tmp/by-root");
    std::fs::write("/tmp/by-root", "").expect("root makes files");
    let user = unsafe { libc::fork() };
    if user == 0 {
        unsafe { libc::setuid(1000) };
        let is_seen = std::fs::metadata("/tmp/by-root").is_ok();
        let are_made = (0..count).all(|number| {
            let name = format!("/tmp/by-user-{number}");
            std::fs::write(&name, "").is_ok() && std::fs::remove_file(&name).is_ok()
        });
        unsafe { libc::_exit(i32::from(!(is_seen && are_made))) };
    }
    let mut status = 0;
    unsafe { libc::waitpid(user, &raw mut status, 0) };
    // On a busy machine too; each look and each file by itself waits for no longer than the grace.
    let most = Duration::from_nanos(GRACE_NS as u64) * 10;
    if status == 0 && began.elapsed() < most {
        -1
    } else {
        0
    }
}
