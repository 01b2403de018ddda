//! Absolute links: chains of them, what is wrong with them, and paths that are asked whether they are
//! links.

use picozone_guests::{Result, call, out, sections, see, signed, text, work};
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::symlink;

fn main() {
    sections(&[
        ("chains", chains),
        ("ends", ends),
        ("made", made),
        ("asked", asked),
    ]);
}

/// A path in the directory where this runs.
fn here(name: &str) -> String {
    format!("{}/{name}", work().display())
}

/// An errno, or the content of a file that is opened by its path.
fn content(path: &str, flags: i32) -> Result<String> {
    let path = CString::new(path).expect("no NUL");
    let fd = call(libc::SYS_open, &[text(&path), signed(flags), 0o644])?;
    let mut buffer = [0u8; 32];
    let got = call(libc::SYS_read, &[fd, out(&mut buffer), 32]);
    call(libc::SYS_close, &[fd]).expect("it is open");
    let length = usize::try_from(got?).expect("it fits");
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn chains() {
    fs::write("file", "content").expect("written");
    let mut before = here("file");
    for number in 0..45 {
        let name = here(&format!("l{number}"));
        symlink(&before, &name).expect("linked");
        let path = CString::new(name.as_str()).expect("no NUL");
        let mut room = [0u64; 18];
        let found = call(libc::SYS_stat, &[text(&path), out(&mut room)]);
        see("chain", (number, content(&name, 0), found, room[6]));
        before = name;
    }
    symlink(here("round"), "about").expect("linked");
    symlink(here("about"), "round").expect("linked");
    see("round", content(&here("round"), 0));
}

fn ends() {
    fs::create_dir_all("dir/deep").expect("made");
    fs::write("file", "content").expect("written");
    fs::write("dir/file", "inner").expect("written");
    for (name, target) in [
        ("plain", here("file")),
        ("slash", here("file/")),
        ("doubled", format!("/{}", here("file"))),
        ("dots", here("dir/../file")),
        ("dot", here("./file")),
        ("directory", here("dir")),
        ("relative", "file".to_owned()),
        ("none", here("no-such-file")),
        ("nowhere", here("no-such/file")),
        ("not", here("file/below")),
        ("top", "/usr".to_owned()),
        ("root", "/".to_owned()),
        ("over", "/../etc/passwd".to_owned()),
        ("null", "/dev/null".to_owned()),
        ("proc", "/proc/self/comm".to_owned()),
        ("long", format!("/{}", "x".repeat(256))),
        ("longest", format!("/{}", "x/".repeat(2047))),
    ] {
        symlink(target, name).expect("linked");
        for path in [here(name), here(&format!("{name}/")), name.to_owned()] {
            let is_to_etc = name == "over";
            let found = content(&path, 0).map(|text| if is_to_etc { String::new() } else { text });
            see("end", (name, path.starts_with('/'), found));
            let named = content(&path, libc::O_NOFOLLOW).map(drop);
            see("named", (name, named, content(&path, libc::O_DIRECTORY)));
        }
        let below = here(&format!("{name}/file"));
        see("below", (name, content(&below, 0).map(drop)));
    }
}

fn made() {
    symlink(here("new"), "to-new").expect("linked");
    symlink(here("to-new"), "to-link").expect("linked");
    symlink(here("no/new"), "to-nothing").expect("linked");
    let exclusive = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
    see("exclusive", content(&here("to-new"), exclusive));
    let makes = libc::O_CREAT | libc::O_RDWR;
    see("made", content(&here("to-link"), makes));
    see("there", fs::metadata("new").is_ok());
    see("not made", content(&here("to-nothing"), makes));
    fs::write("new", "text").expect("written");
    let cuts = libc::O_TRUNC | libc::O_RDWR;
    see("cut", content(&here("to-link"), cuts));
    see("length", fs::metadata("new").map(|found| found.len()).ok());
    let written = fs::write(here("to-link"), "other");
    see("written", (written.is_ok(), fs::read_to_string("new").ok()));
    fs::remove_file("new").expect("removed");
    see("gone", content(&here("to-link"), 0));
}

fn asked() {
    fs::create_dir("dir").expect("made");
    fs::write("file", "").expect("written");
    let work = here("");
    for path in [
        "/",
        "//",
        "/usr",
        "/usr/",
        "//usr",
        "/usr/.",
        "/usr/lib",
        "/usr/lib/",
        "/proc",
        "/proc/self/status",
        "/dev",
        "/dev/null",
        "/etc",
        "/etc/passwd",
        "/no-such",
        "/usr/no-such",
        "/etc/passwd/below",
        "",
        ".",
        "dir",
        "file",
        "file/",
        "no-such",
        "dir/no-such",
        &work,
    ] {
        let path = CString::new(path).expect("no NUL");
        // The last is quick.
        for _ in 0..3 {
            let mut to = [0u8; 64];
            let got = call(libc::SYS_readlink, &[text(&path), out(&mut to), 64]);
            let shown = if path.as_bytes() == work.as_bytes() {
                c"work"
            } else {
                &*path
            };
            see("asked", (shown, got));
        }
    }
}
