//! openat2(2): what its ways to resolve let through.

use picozone_guests::{CWD, NOWHERE, Result, call, from, sections, see, signed, text};
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::symlink;

fn main() {
    sections(&[
        ("arguments", arguments),
        ("ways", ways),
        ("makes", makes),
        ("served", served),
    ]);
}

const NO_XDEV: u64 = 1;
const NO_MAGICLINKS: u64 = 2;
const NO_SYMLINKS: u64 = 4;
const BENEATH: u64 = 8;
const IN_ROOT: u64 = 16;
const CACHED: u64 = 32;

fn openat2(dirfd: u64, path: &str, how: &[u64], size: usize) -> Result<u64> {
    let path = CString::new(path).expect("no NUL");
    let size = u64::try_from(size).expect("it fits");
    call(
        libc::SYS_openat2,
        &[dirfd, text(&path), how.as_ptr() as u64, size],
    )
}

/// The content of a file that is opened so, or whether it is a directory.
fn content(dirfd: u64, path: &str, resolve: u64) -> Result<String> {
    let fd = openat2(dirfd, path, &[0, 0, resolve], 24)?;
    let mut buffer = [0u8; 32];
    let got = call(libc::SYS_read, &[fd, buffer.as_mut_ptr() as u64, 32]);
    call(libc::SYS_close, &[fd]).expect("it is open");
    let length = usize::try_from(got?).expect("it fits");
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn tree() -> u64 {
    fs::create_dir_all("r/d/e").expect("made");
    fs::write("r/file", "inside").expect("made");
    fs::write("r/d/file", "deep").expect("made");
    fs::write("file", "outside").expect("made");
    symlink("/file", "r/absolute").expect("made");
    symlink("../../file", "r/d/up").expect("made");
    symlink("d/file", "r/link").expect("made");
    symlink("d", "r/to_d").expect("made");
    symlink("..", "r/d/e/dots").expect("made");
    symlink("none", "r/dangling").expect("made");
    symlink("loop", "r/loop").expect("made");
    let flags = signed(libc::O_PATH | libc::O_DIRECTORY);
    call(libc::SYS_openat, &[CWD, text(c"r"), flags, 0]).expect("opened")
}

fn arguments() {
    tree();
    let open = |how: &[u64], size: usize| openat2(CWD, "file", how, size).is_ok();
    let refused = |how: &[u64], size: usize| openat2(CWD, "file", how, size).err();
    see("plain", open(&[0, 0, 0], 24));
    see("longer", open(&[0, 0, 0, 0], 32));
    see("newer", refused(&[0, 0, 0, 1], 32));
    see("short", refused(&[0, 0, 0], 23));
    see("huge", refused(&[0, 0, 0], 5000));
    see("flags", refused(&[1 << 40, 0, 0], 24));
    see("mode", refused(&[0, 0o600, 0], 24));
    see(
        "mode bits",
        refused(&[u64::from(libc::O_CREAT.unsigned_abs()), 0o10_000, 0], 24),
    );
    see("ways", refused(&[0, 0, 64], 24));
    see("both", refused(&[0, 0, BENEATH | IN_ROOT], 24));
    let path = u64::from(libc::O_PATH.unsigned_abs());
    see("O_PATH to write", refused(&[path | 1, 0, 0], 24));
    let cut = u64::from(libc::O_TRUNC.unsigned_abs()) | 1;
    see("cached", refused(&[cut, 0, CACHED], 24));
    see("no path", openat2(CWD, "", &[0, 0, 0], 24).err());
    see(
        "no descriptor",
        openat2(9999, "file", &[0, 0, BENEATH], 24).err(),
    );
    let how = [0u64; 3];
    see(
        "nowhere",
        call(libc::SYS_openat2, &[CWD, NOWHERE, from(&how), 24]).err(),
    );
    see(
        "how nowhere",
        call(libc::SYS_openat2, &[CWD, text(c"file"), NOWHERE, 24]).err(),
    );
}

fn ways() {
    let fd = tree();
    for resolve in [
        0,
        NO_MAGICLINKS,
        NO_SYMLINKS,
        BENEATH,
        IN_ROOT,
        BENEATH | NO_SYMLINKS,
        IN_ROOT | NO_SYMLINKS,
        BENEATH | NO_MAGICLINKS,
    ] {
        see("resolve", resolve);
        for path in [
            "file",
            "d/file",
            "../file",
            "d/../file",
            "d/../../file",
            "link",
            "to_d/file",
            "absolute",
            "d/up",
            "d/e/dots/file",
            "d/e/dots/../file",
            "dangling",
            "none",
            "loop",
            "file/",
            "file/x",
            "d/none/x",
            "./file",
            "d//file",
        ] {
            see(path, content(fd, path, resolve));
        }
    }
    for resolve in [IN_ROOT, BENEATH, IN_ROOT | NO_SYMLINKS] {
        for path in [
            "/file",
            "/d/file",
            "/../file",
            "/",
            "//d/../../../file",
            "/absolute",
        ] {
            see(path, content(fd, path, resolve));
        }
    }
    see("within a mount", content(fd, "d/file", NO_XDEV));
    see("up in it", content(fd, "../file", NO_XDEV));
    let proc = openat2(CWD, "/proc/self/status", &[0, 0, NO_XDEV], 24);
    see("into another", proc.err());
    for path in ["/proc/self/exe", "/proc/self/fd/1", "/proc/self/cwd/file"] {
        see(path, openat2(CWD, path, &[0, 0, NO_MAGICLINKS], 24).err());
    }
}

fn makes() {
    let fd = tree();
    let create = u64::from((libc::O_CREAT | libc::O_WRONLY).unsigned_abs());
    for (path, resolve) in [
        ("new", BENEATH),
        ("d/new", IN_ROOT),
        ("/rooted", IN_ROOT),
        ("../out", BENEATH),
        ("../in", IN_ROOT),
        ("dangling", NO_SYMLINKS),
        ("dangling", BENEATH),
        ("d/up", IN_ROOT),
        ("d", BENEATH),
    ] {
        let made = openat2(fd, path, &[create, 0o640, resolve], 24);
        see(path, made.map(drop));
    }
    let exclusive = create | u64::from(libc::O_EXCL.unsigned_abs());
    see(
        "there",
        openat2(fd, "file", &[exclusive, 0o600, BENEATH], 24).err(),
    );
    see(
        "a link",
        openat2(fd, "loop", &[exclusive, 0o600, BENEATH], 24).err(),
    );
}

/// Links of `/proc` and `/dev`, magic and others, at the end of a path and on the way.
fn served() {
    let here = tree();
    // Numbers that no process has open, and that are the same on both sides.
    for (number, path) in [(900, c"r"), (901, c"r/file")] {
        let fd = call(libc::SYS_openat, &[CWD, text(path), 0, 0]).expect("opened");
        call(libc::SYS_dup2, &[fd, number]).expect("a copy");
    }
    let own = format!("/proc/{}", std::process::id());
    let kind = |dirfd: u64, path: &str, flags: i32, resolve: u64| {
        let flags = u64::from(flags.unsigned_abs());
        let fd = openat2(dirfd, path, &[flags, 0, resolve], 24)?;
        // SAFETY: zeros are a valid stat.
        let mut data: libc::stat = unsafe { std::mem::zeroed() };
        call(libc::SYS_fstat, &[fd, &raw mut data as u64]).expect("it is open");
        call(libc::SYS_close, &[fd]).expect("it is open");
        Ok::<_, picozone_guests::Errno>(data.st_mode & libc::S_IFMT)
    };
    let ways = [
        NO_XDEV,
        NO_MAGICLINKS,
        NO_SYMLINKS,
        BENEATH,
        IN_ROOT,
        NO_XDEV | NO_MAGICLINKS,
        BENEATH | NO_MAGICLINKS,
        IN_ROOT | NO_SYMLINKS,
    ];
    for resolve in ways {
        see("resolve", resolve);
        for path in [
            "/proc/self",
            "/proc/self/",
            "/proc/self/status",
            "/proc/self/fd/900",
            "/proc/self/fd/900/file",
            "/proc/self/fd/901",
            "/proc/self/fd/../status",
            "/proc/self/cwd",
            "/proc/self/cwd/.",
            "/proc/self/root/etc",
            "/proc/self/exe",
            "/proc/thread-self/status",
            "/proc/mounts",
            "/dev/stdin",
            "/dev/fd",
            "/dev/fd/901",
        ] {
            see(
                path,
                [0, libc::O_PATH].map(|flags| kind(CWD, path, flags, resolve)),
            );
        }
        for (base, paths) in [
            (
                "/proc",
                &["self/status", "self/fd/901", "self/cwd", "mounts"][..],
            ),
            (
                &own,
                &[
                    "fd/900",
                    "fd/901",
                    "cwd/.",
                    "exe",
                    "../self/status",
                    "status",
                ],
            ),
            ("/proc/self/fd", &["900/file", "901", "../status", ".."]),
            ("/dev", &["fd", "fd/901", "stdin", "null"]),
        ] {
            let base_fd = openat2(CWD, base, &[0, 0, 0], 24).expect("opened");
            for path in paths {
                see(path, kind(base_fd, path, 0, resolve));
            }
            call(libc::SYS_close, &[base_fd]).expect("it is open");
        }
        see("in a tree", kind(here, "d/up", 0, resolve));
    }
}
