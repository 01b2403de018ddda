//! Root directories of one's own: chroot(2), and what it changes.

use picozone_guests::children::End;
use picozone_guests::{CWD, NOWHERE, Result, call, child, sections, see, signed, text, work};
use std::ffi::{CStr, CString};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

fn main() {
    sections(&[
        ("errors", errors),
        ("walks", walks),
        ("outside", outside),
        ("inherited", inherited),
        ("programs", programs),
        ("sockets", sockets),
        ("users", users),
    ]);
}

fn chroot(path: &str) -> Result<u64> {
    let path = CString::new(path).expect("no NUL");
    call(libc::SYS_chroot, &[text(&path)])
}

fn chdir(path: &str) -> Result<u64> {
    let path = CString::new(path).expect("no NUL");
    call(libc::SYS_chdir, &[text(&path)])
}

/// The file's content, or the errno of the open.
fn content(path: &str) -> Result<String> {
    let path = CString::new(path).expect("no NUL");
    let fd = call(libc::SYS_openat, &[CWD, text(&path), 0, 0])?;
    let mut buffer = [0u8; 64];
    let got = call(libc::SYS_read, &[fd, buffer.as_mut_ptr() as u64, 64]);
    call(libc::SYS_close, &[fd]).expect("it is open");
    let length = usize::try_from(got?).expect("it fits");
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// getcwd(2), without the path of the test's own directory.
fn cwd() -> Result<String> {
    let mut buffer = [0u8; 4096];
    let got = call(libc::SYS_getcwd, &[buffer.as_mut_ptr() as u64, 4096])?;
    let length = usize::try_from(got).expect("it fits") - 1;
    let path = String::from_utf8_lossy(&buffer[..length]).into_owned();
    Ok(path.replace(work().to_str().expect("text"), "WORK"))
}

/// Runs a section's part in a child, since there is no way back.
fn apart(body: impl FnOnce()) {
    let end = child(|| {
        body();
        0
    })
    .wait();
    assert_eq!(end, Ok(End::Exited(0)));
}

/// A tree to be a root, with links in and out.
fn tree() {
    fs::create_dir_all("r/d/e").expect("made");
    fs::write("r/file", "inside").expect("made");
    fs::write("r/d/file", "deep").expect("made");
    fs::write("file", "outside").expect("made");
    symlink("/file", "r/d/absolute").expect("made");
    symlink("../../../../file", "r/d/up").expect("made");
    symlink("/d", "r/to_d").expect("made");
    symlink("/none", "r/dangling").expect("made");
    symlink("..", "r/d/e/dots").expect("made");
}

fn errors() {
    tree();
    see("empty", chroot(""));
    see("missing", chroot("none"));
    see("a file", chroot("file"));
    see("below a file", chroot("file/x"));
    see("nowhere", call(libc::SYS_chroot, &[NOWHERE]));
    see("a long name", chroot(&"x".repeat(256)));
    see("a long path", chroot(&"x/".repeat(2100)));
    symlink("loop", "loop").expect("made");
    see("a loop", chroot("loop"));
    see("still there", content("file"));
}

fn walks() {
    tree();
    apart(|| {
        see("chroot", chroot("r"));
        see("cwd", cwd());
        see("chdir", chdir("/"));
        see("cwd", cwd());
        for path in [
            "/file",
            "file",
            "/../file",
            "../../file",
            "/d/../../../file",
            "/d/absolute",
            "/d/up",
            "/to_d/file",
            "to_d/file",
            "/d/e/dots/file",
            "/dangling",
            "//file",
            "/./d/file",
            "/file/",
            "/r/file",
            "/etc/passwd",
            "/proc/self/exe",
            "/proc/self/fd/1",
        ] {
            see(path, content(path));
        }
        see("chdir", chdir("/d/e"));
        see("cwd", cwd());
        see("file", content("../../../file"));
        see(
            "make",
            fs::create_dir("/made").map_err(|error| error.raw_os_error()),
        );
        see("write", fs::write("/dangling", "now").is_ok());
        see("rename", fs::rename("/made", "/d/moved").is_ok());
        see("link", fs::hard_link("/file", "/d/linked").is_ok());
        see("linked", content("/d/linked"));
        see("target", fs::read_link("/to_d").ok());
        let mode = fs::Permissions::from_mode(0o600);
        see("mode", fs::set_permissions("/d/linked", mode).is_ok());
        see("absolute", fs::canonicalize("/d/e/dots/absolute").ok());
        see("deeper", chroot("/d"));
        see("cwd", cwd());
        see("file", content("/file"));
        see("up", content("/up"));
        see("remove", fs::remove_dir("/moved").is_ok());
    });
    see("made there", fs::read_to_string("r/none").ok());
}

/// A directory outside the root stays open, and leads out.
fn outside() {
    tree();
    let path = CString::new(work().to_str().expect("text")).expect("no NUL");
    let flags = signed(libc::O_PATH | libc::O_DIRECTORY);
    let fd = call(libc::SYS_openat, &[CWD, text(&path), flags, 0]).expect("opened");
    apart(|| {
        see("chroot", chroot("r"));
        see("cwd", cwd());
        see("relative", content("file"));
        see("in the root", content("r/../file"));
        see("absolute link", content("r/d/absolute"));
        see("in the root", content("r/d/up"));
        let at = |path: &CStr| call(libc::SYS_openat, &[fd, text(path), 0, 0]).is_ok();
        see("by descriptor", at(c"file"));
        see("chdir", chdir("/d"));
        see("fchdir", call(libc::SYS_fchdir, &[fd]));
        see("cwd", cwd());
        see("out again", chroot("."));
        see("file", content("/file"));
    });
}

fn inherited() {
    tree();
    apart(|| {
        see("chroot", chroot("r"));
        apart(|| see("child", content("/file")));
        apart(|| {
            apart(|| see("grandchild", content("/file")));
            see("chroot", chroot("/d"));
            see("its own", content("/file"));
        });
        see("the parent's", content("/file"));
        let thread = std::thread::spawn(|| see("chroot", chroot("/d")));
        thread.join().expect("it ends");
        see("the thread's too", content("/file"));
    });
}

/// What a program finds that is executed there.
fn programs() {
    tree();
    fs::create_dir_all("r/bin").expect("made");
    fs::copy("/bin/busybox", "r/bin/busybox").map_or_else(|_| (), drop);
    fs::write("r/bin/script", "#!/bin/busybox sh\necho script in $PWD\n").expect("made");
    fs::write("r/bin/wrong", "#!/usr/bin/env sh\necho not here\n").expect("made");
    for name in ["script", "wrong"] {
        let path = Path::new("r/bin").join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
    }
    if !Path::new("r/bin/busybox").exists() {
        return;
    }
    apart(|| {
        see("chroot", chroot("r"));
        see("chdir", chdir("/d"));
        let run = |program: &str, arguments: &[&str]| {
            let mut command = std::process::Command::new(program);
            let output = command.args(arguments).env_clear().output();
            output.map_or_else(
                |error| format!("errno {:?}", error.raw_os_error()),
                |output| String::from_utf8_lossy(&output.stdout).into_owned(),
            )
        };
        let shell = ["sh", "-c", "pwd; cat /file /d/file; ls /"];
        see("busybox", run("/bin/busybox", &shell));
        see("again", run("/bin/busybox", &["pwd"]));
        see("relative", run("../bin/busybox", &["pwd"]));
        see("script", run("/bin/script", &[]));
        see("wrong", run("/bin/wrong", &[]));
        see("outside", run("/usr/bin/env", &[]));
    });
}

fn sockets() {
    tree();
    let listener = UnixListener::bind("r/d/socket").expect("bound");
    apart(|| {
        see("chroot", chroot("r"));
        see("connect", UnixStream::connect("/d/socket").is_ok());
        see(
            "through a link",
            UnixStream::connect("/to_d/socket").is_ok(),
        );
        let other = UnixListener::bind("/other").expect("bound");
        see("name", other.local_addr().ok());
        see("connect", UnixStream::connect("/other").is_ok());
    });
    see("made there", Path::new("r/other").exists());
    drop(listener);
}

fn users() {
    tree();
    fs::create_dir("closed").expect("made");
    fs::set_permissions("closed", fs::Permissions::from_mode(0o700)).expect("ours");
    apart(|| {
        call(libc::SYS_setresuid, &[1000, 1000, 1000]).expect("we are root");
        see("closed", chroot("closed"));
        see("open", chroot("r"));
        see("missing", chroot("none"));
    });
}
