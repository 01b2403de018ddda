//! What a zone mounts itself: temporary file systems, binds, /proc; read-only, moved, taken away.
//!
//! Natively it runs in a name space of mounts of its own; in a zone nothing else than its mounts is
//! changed.

use picozone_guests::children::End;
use picozone_guests::{
    Errno, Mounted, NOWHERE, Result, call, child, mounted, sections, see, text, work,
};
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

fn main() {
    // Zones refuse it, and have a table of their own.
    let _ = call(libc::SYS_unshare, &[0x2_0000]);
    mount("", "/", "", libc::MS_REC | libc::MS_PRIVATE, "").expect("nothing is propagated");
    sections(&[
        ("errors", errors),
        ("temporary", temporary),
        ("read_only", read_only),
        ("binds", binds),
        ("stacks", stacks),
        ("moves", moves),
        ("taken", taken),
        ("served", served),
        ("devices", devices),
        ("parts", parts),
        ("covered", covered),
        ("jails", jails),
        ("flags", flags),
        ("users", users),
        ("trees", trees),
    ]);
}

fn mount(source: &str, target: &str, fstype: &str, flags: u64, data: &str) -> Result<u64> {
    let texts = [source, target, fstype, data].map(|text| CString::new(text).expect("no NUL"));
    let [source, target, fstype, data] = texts.each_ref().map(|string| text(string));
    call(libc::SYS_mount, &[source, target, fstype, flags, data])
}

fn umount(target: &str, flags: u64) -> Result<u64> {
    let target = CString::new(target).expect("no NUL");
    call(libc::SYS_umount2, &[text(&target), flags])
}

fn errno<T>(result: std::io::Result<T>) -> Result<()> {
    let number = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    result.map(drop).map_err(number)
}

/// Lines of mountinfo(5) below the working directory: root, mount point, options and type.
fn lines() -> Vec<String> {
    let shown = |line: Mounted| format!("{} {} {}", line.point, line.options, line.kind);
    mounted().into_iter().map(shown).collect()
}

/// Mount points, what they show of their file systems, and whether that may be changed.
fn placed() -> Vec<(String, String, bool)> {
    let shown = |line: Mounted| (line.point, line.root, line.options.starts_with("rw"));
    mounted().into_iter().map(shown).collect()
}

fn names(path: &str) -> Result<Vec<String>> {
    let number = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    let entries = fs::read_dir(path).map_err(number)?;
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = entries.flatten().map(name).collect();
    names.sort();
    Ok(names)
}

fn tree() {
    for path in ["d/sub", "e", "f"] {
        fs::create_dir_all(path).expect("made");
    }
    fs::write("d/file", "in d").expect("made");
    fs::write("e/under", "covered").expect("made");
    fs::write("plain", "a file").expect("made");
    symlink("e", "link").expect("made");
}

fn errors() {
    tree();
    see("no such target", mount("x", "none", "tmpfs", 0, ""));
    see("a file", mount("x", "plain", "tmpfs", 0, ""));
    see("below a file", mount("x", "plain/x", "tmpfs", 0, ""));
    see("no such type", mount("/", "e", "nothing", 0, ""));
    see("no type", mount("x", "e", "", 0, ""));
    see("an option", mount("x", "e", "tmpfs", 0, "nothing=1"));
    see("MS_NOUSER", mount("x", "e", "tmpfs", 1 << 31, ""));
    let nowhere = |args: &[u64]| call(libc::SYS_mount, args);
    let (e, tmpfs) = (c"e", c"tmpfs");
    see("target", nowhere(&[text(e), NOWHERE, text(tmpfs), 0, 0]));
    see("type", nowhere(&[text(e), text(e), NOWHERE, 0, 0]));
    see("source", nowhere(&[NOWHERE, text(e), text(tmpfs), 0, 0]));
    see("long", mount("x", &"x/".repeat(2100), "tmpfs", 0, ""));
    see("bind of nothing", mount("none", "e", "", libc::MS_BIND, ""));
    see("bind of no name", mount("", "e", "", libc::MS_BIND, ""));
    see("bind on a file", mount("d", "plain", "", libc::MS_BIND, ""));
    see("bind of a file", mount("plain", "d", "", libc::MS_BIND, ""));
    see("move of none", mount("d", "e", "", libc::MS_MOVE, ""));
    see(
        "remount of none",
        mount("x", "e", "tmpfs", libc::MS_REMOUNT, ""),
    );
    let change = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY;
    see("remount of a bind", mount("x", "e", "", change, ""));
    see("private", mount("x", "e", "", libc::MS_PRIVATE, ""));
    see("umount none", umount("none", 0));
    see("umount no mount", umount("e", 0));
    see("umount flags", umount("e", 16));
    see("umount nowhere", call(libc::SYS_umount2, &[NOWHERE, 0]));
    see("umount expire", umount("e", 4 | 2));
    see("lines", lines());
}

fn temporary() {
    tree();
    see("mount", mount("some", "e", "tmpfs", 0, "mode=750,size=1m"));
    let root = fs::metadata("e").expect("it is there");
    see("mode", root.mode());
    see("owner", (root.uid(), root.gid()));
    see("empty", names("e"));
    fs::create_dir("e/in").expect("made");
    fs::write("e/in/file", "text").expect("made");
    see("through a link", fs::read_to_string("link/in/file").ok());
    see("dots", fs::read_to_string("e/in/../../d/file").ok());
    see("up", fs::read_to_string("e/../plain").ok());
    let open = File::open("e/in/file").expect("it is there");
    see("busy", umount("e", 0));
    drop(open);
    see("rename out", errno(fs::rename("e/in/file", "d/out")));
    see("link out", errno(fs::hard_link("e/in/file", "d/out")));
    see("rmdir", errno(fs::remove_dir("e")));
    see("rename", errno(fs::rename("e", "g")));
    see("unlink", errno(fs::remove_file("e")));
    std::env::set_current_dir("e/in").expect("there");
    let cwd = std::env::current_dir().expect("it has a name");
    see("cwd", cwd.strip_prefix(work()).ok());
    see("relative", fs::read_to_string("../in/file").ok());
    see("relative", fs::read_to_string("../../plain").ok());
    std::env::set_current_dir(work()).expect("there");
    see("lines", lines());
    see("umount", umount("e", 0));
    see("under", names("e"));
    see("lines", lines());
}

fn read_only() {
    tree();
    see("mount", mount("some", "e", "tmpfs", 0, ""));
    fs::create_dir("e/dir").expect("made");
    fs::write("e/file", "text").expect("made");
    let writer = OpenOptions::new()
        .write(true)
        .open("e/file")
        .expect("it is");
    let change = libc::MS_REMOUNT | libc::MS_RDONLY;
    see("written", mount("some", "e", "tmpfs", change, ""));
    drop(writer);
    see("remount", mount("some", "e", "tmpfs", change, ""));
    refused();
    std::env::set_current_dir("e").expect("there");
    see("make here", errno(File::create("new")));
    see(
        "change here",
        errno(OpenOptions::new().write(true).open("file")),
    );
    std::env::set_current_dir(work()).expect("there");
    see("lines", lines());
    see("again", mount("some", "e", "tmpfs", libc::MS_REMOUNT, ""));
    see("write", errno(fs::write("e/file", "new")));
    see("umount", umount("e", 0));
    see("mount", mount("e", "e", "", libc::MS_BIND, ""));
    let change = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY;
    see("remount", mount("", "e", "", change, ""));
    see("write", errno(fs::write("e/under", "new")));
    see("make", errno(fs::create_dir("e/new")));
    see("read", fs::read_to_string("e/under").ok());
    see("lines", lines());
    see("umount", umount("e", 0));
    see("write", errno(fs::write("e/under", "new")));
}

/// What cannot be done to a read-only file system.
fn refused() {
    let open = |options: &mut OpenOptions| errno(options.open("e/file"));
    see("read", open(OpenOptions::new().read(true)));
    see("write", open(OpenOptions::new().write(true)));
    see("append", open(OpenOptions::new().append(true)));
    see("cut", open(OpenOptions::new().write(true).truncate(true)));
    see(
        "create there",
        open(OpenOptions::new().read(true).custom_flags(libc::O_CREAT)),
    );
    see("create", errno(File::create("e/new")));
    see("mkdir", errno(fs::create_dir("e/new")));
    see("mkdir there", errno(fs::create_dir("e/dir")));
    see("rmdir", errno(fs::remove_dir("e/dir")));
    see("unlink", errno(fs::remove_file("e/file")));
    see("unlink none", errno(fs::remove_file("e/none")));
    see("rename", errno(fs::rename("e/file", "e/other")));
    see("link", errno(fs::hard_link("e/file", "e/other")));
    see("symlink", errno(symlink("file", "e/other")));
    see("socket", errno(UnixListener::bind("e/socket")));
    let mode = fs::Permissions::from_mode(0o600);
    see("chmod", errno(fs::set_permissions("e/file", mode)));
    see(
        "chown",
        errno(std::os::unix::fs::chown("e/file", Some(1), None)),
    );
    let file = File::open("e/file").expect("it is there");
    see("times", errno(file.set_modified(std::time::UNIX_EPOCH)));
    let name = CString::new("e/file").expect("no NUL");
    for mode in [4, 2, 6] {
        see("access", call(libc::SYS_access, &[text(&name), mode]));
    }
    see("truncate", call(libc::SYS_truncate, &[text(&name), 1]));
    let (name, value) = (c"user.a", c"x");
    let at = text(c"e/file");
    see(
        "xattr",
        call(libc::SYS_setxattr, &[at, text(name), text(value), 1, 0]),
    );
}

fn binds() {
    tree();
    see("mount", mount("d", "e", "", libc::MS_BIND, ""));
    see("names", names("e"));
    see("read", fs::read_to_string("e/file").ok());
    fs::write("e/new", "by e").expect("made");
    see("both", fs::read_to_string("d/new").ok());
    see("dots", fs::read_to_string("e/../plain").ok());
    see("umount", umount("e", 0));
    see("names", names("e"));
    fs::write("other", "another file").expect("made");
    see("a file", mount("other", "plain", "", libc::MS_BIND, ""));
    see("read", fs::read_to_string("plain").ok());
    see("umount", umount("plain", 0));
    see("read", fs::read_to_string("plain").ok());
    see("inner", mount("some", "d/sub", "tmpfs", 0, ""));
    fs::write("d/sub/deep", "deep").expect("made");
    see(
        "recursive",
        mount("d", "e", "", libc::MS_BIND | libc::MS_REC, ""),
    );
    see("read", fs::read_to_string("e/sub/deep").ok());
    see("lines", lines());
    see("umount", umount("e", 0));
    see("lazily", umount("e", 2));
    see("lines", lines());
    see("read", fs::read_to_string("d/sub/deep").ok());
    see("umount", umount("d/sub", 0));
    see("itself", mount("d", "d", "", libc::MS_BIND, ""));
    see("read", fs::read_to_string("d/file").ok());
    see("umount", umount("d", 0));
}

/// One over the other.
fn stacks() {
    tree();
    for number in 0..3 {
        mount("some", "e", "tmpfs", 0, "").expect("mounted");
        fs::write("e/number", number.to_string()).expect("made");
        fs::create_dir("e/in").expect("made");
    }
    mount("some", "e/in", "tmpfs", 0, "").expect("mounted");
    fs::write("e/in/it", "it").expect("made");
    see("busy", umount("e", 0));
    mount("some", "e", "tmpfs", 0, "").expect("mounted");
    see("hidden", names("e"));
    see("umount", umount("e", 0));
    see("there again", fs::read_to_string("e/in/it").ok());
    see("umount", umount("e/in", 0));
    for _ in 0..4 {
        see("number", fs::read_to_string("e/number").ok());
        see("umount", umount("e", 0));
    }
    see("names", names("e"));
    // The directory above goes out of the way of another mount, and comes back.
    mount("d", "e", "", libc::MS_BIND, "").expect("mounted");
    mount("some", "d", "tmpfs", 0, "").expect("mounted");
    see("covered", names("d"));
    see("still there", names("e"));
    see("umount", umount("d", 0));
    see("write", errno(fs::write("e/again", "x")));
    see("there", names("d"));
    see("umount", umount("e", 0));
}

fn moves() {
    tree();
    mount("some", "e", "tmpfs", 0, "").expect("mounted");
    fs::create_dir("e/in").expect("made");
    mount("more", "e/in", "tmpfs", 0, "").expect("mounted");
    fs::write("e/in/it", "it").expect("made");
    see("into itself", mount("e", "e/in", "", libc::MS_MOVE, ""));
    see("move", mount("e", "f", "", libc::MS_MOVE, ""));
    see("lines", lines());
    see("old", names("e"));
    see("new", fs::read_to_string("f/in/it").ok());
    see("on a file", mount("f", "plain", "", libc::MS_MOVE, ""));
    see("no mount", mount("d/sub", "e", "", libc::MS_MOVE, ""));
    see("umount", umount("f/in", 0));
    see("umount", umount("f", 0));
    see("new", names("f"));
}

fn taken() {
    tree();
    mount("some", "e", "tmpfs", 0, "").expect("mounted");
    see("expire", umount("e", 4));
    see("again", umount("e", 4));
    see("gone", umount("e", 4));
    mount("some", "e", "tmpfs", 0, "").expect("mounted");
    fs::write("e/file", "kept open").expect("made");
    let open = File::open("e/file").expect("it is there");
    see("busy", umount("e", 0));
    see("lazily", umount("e", 2));
    see("names", names("e"));
    see("open", std::io::read_to_string(open).ok());
    mount("some", "e", "tmpfs", 0, "").expect("mounted");
    see("no link", umount("link", 8));
    see("a link", umount("link", 0));
    see("lines", lines());
}

fn served() {
    tree();
    see("proc", mount("proc", "e", "proc", 0, ""));
    let own = format!("e/{}/comm", std::process::id());
    see("comm", fs::read_to_string(own).ok());
    see("self", fs::read_link("e/self").is_ok());
    see("type", lines());
    see("again", mount("proc", "e", "proc", 0, ""));
    see("umount", umount("e", 0));
    fs::create_dir_all("f/proc").expect("made");
    see("bind", mount("/proc", "f/proc", "", libc::MS_BIND, ""));
    let end = child(|| {
        let root = CString::new("f").expect("no NUL");
        call(libc::SYS_chroot, &[text(&root)]).expect("we are root");
        see("in a root", fs::read_to_string("/proc/self/comm").ok());
        see(
            "mounts",
            fs::read_to_string("/proc/self/mounts").is_ok_and(|text| text.contains(" /proc proc ")),
        );
        0
    })
    .wait();
    see("end", end == Ok(End::Exited(0)));
    see("umount", umount("f/proc", 0));
    see("umount", umount("e", 0));
    see("names", names("e"));
}

/// Devices of `/dev` on files, and in a root of programs.
fn devices() {
    tree();
    fs::create_dir_all("root/dev").expect("made");
    for (name, number) in [
        ("null", 3),
        ("zero", 5),
        ("full", 7),
        ("random", 8),
        ("urandom", 9),
    ] {
        let (source, target) = (format!("/dev/{name}"), format!("root/dev/{name}"));
        fs::write(&target, "under").expect("made");
        see("bind", mount(&source, &target, "", libc::MS_BIND, ""));
        let data = fs::metadata(&target).expect("there");
        see("a device", data.rdev() == libc::makedev(1, number));
        see("mode", data.mode());
        let link = fs::symlink_metadata(&target).expect("there");
        see("no link", (link.mode(), link.ino() == data.ino()));
    }
    see(
        "on a directory",
        mount("/dev/null", "e", "", libc::MS_BIND, ""),
    );
    see(
        "a directory on it",
        mount("d", "root/dev/null", "", libc::MS_BIND, ""),
    );
    see(
        "of a directory",
        mount("/dev/pts", "plain", "", libc::MS_BIND, ""),
    );
    see("none", mount("/dev/none", "plain", "", libc::MS_BIND, ""));
    see(
        "below it",
        mount("/dev/null/x", "plain", "", libc::MS_BIND, ""),
    );
    let end = child(|| {
        let root = CString::new("root").expect("no NUL");
        call(libc::SYS_chroot, &[text(&root)]).expect("we are root");
        std::env::set_current_dir("/").expect("there");
        see("null", fs::read("/dev/null").map(|bytes| bytes.len()).ok());
        see("into it", errno(fs::write("/dev/null", "gone")));
        see("relative", errno(fs::write("dev/null", "gone")));
        see("full", errno(fs::write("dev/full", "more")));
        let mut zeros = [1u8; 8];
        let file = File::open("/dev/zero").expect("it is there");
        see(
            "zeros",
            std::io::Read::read(&mut &file, &mut zeros).map_err(|_| ()),
        );
        see("they are", zeros);
        see("with a slash", errno(File::open("/dev/null/")));
        see("with a dot", errno(File::open("/dev/null/.")));
        see("as a directory", names("dev/null"));
        see("made", errno(File::create_new("/dev/null")));
        see("unlink", errno(fs::remove_file("/dev/null")));
        see("rename", errno(fs::rename("/dev/null", "/dev/other")));
        see("over it", errno(fs::rename("/dev/zero", "/dev/null")));
        see("names", names("/dev"));
        0
    })
    .wait();
    see("end", end == Ok(End::Exited(0)));
    see("placed", placed());
    let read_only = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY;
    see("read-only", mount("", "root/dev/null", "", read_only, ""));
    see("a device there", errno(fs::write("root/dev/null", "gone")));
    see("placed", placed());
    see(
        "again",
        mount("root/dev/null", "plain", "", libc::MS_BIND, ""),
    );
    see("into it", errno(fs::write("plain", "gone")));
    see(
        "moved",
        mount("root/dev/null", "other", "", libc::MS_MOVE, ""),
    );
    fs::write("other", "under").expect("made");
    see(
        "moved",
        mount("root/dev/null", "other", "", libc::MS_MOVE, ""),
    );
    see("there", fs::read("other").map(|bytes| bytes.len()).ok());
    see("under", fs::read_to_string("root/dev/null").ok());
    for name in [
        "other",
        "plain",
        "root/dev/zero",
        "root/dev/full",
        "root/dev/random",
    ] {
        see("umount", umount(name, 0));
        see("under", fs::read_to_string(name).ok());
    }
    see("lazily", umount("root/dev/urandom", 2));
    see("placed", placed());
}

/// Files and directories of `/proc`, and what links of it lead to.
fn parts() {
    tree();
    see(
        "a directory",
        mount("/proc/sys/kernel", "e", "", libc::MS_BIND, ""),
    );
    see("read", fs::read_to_string("e/ostype").ok());
    see("none", fs::read_to_string("e/none").ok());
    see("up", fs::read_to_string("e/../plain").ok());
    see("within", mount("e/random", "f", "", libc::MS_BIND, ""));
    see("read", fs::read_to_string("f/uuid").is_ok());
    see("umount", umount("f", 0));
    see("umount", umount("e", 0));
    see("covered", names("e"));
    see(
        "a file",
        mount("/proc/sys/kernel/ostype", "plain", "", libc::MS_BIND, ""),
    );
    see("read", fs::read_to_string("plain").ok());
    see("umount", umount("plain", 0));
    see(
        "of itself",
        mount("/proc/self/comm", "plain", "", libc::MS_BIND, ""),
    );
    see("read", fs::read_to_string("plain").ok());
    let number = format!("/{}/comm", std::process::id());
    let is_own = |line: Mounted| line.root == number;
    see(
        "its root",
        mounted().into_iter().map(is_own).collect::<Vec<_>>(),
    );
    see("umount", umount("plain", 0));
    // By descriptors, of what only names it too.
    let name = CString::new("d").expect("no NUL");
    let fd = call(
        libc::SYS_open,
        &[text(&name), libc::O_PATH.cast_unsigned().into(), 0],
    )
    .expect("open");
    let link = format!("/proc/self/fd/{fd}");
    see("by a descriptor", mount(&link, "e", "", libc::MS_BIND, ""));
    see("read", fs::read_to_string("e/file").ok());
    see("umount", umount("e", 0));
    see(
        "below it",
        mount(&format!("{link}/sub"), "e", "", libc::MS_BIND, ""),
    );
    see("umount", umount("e", 0));
    see("onto it", mount("f", &link, "", libc::MS_BIND, ""));
    see("names", names("d"));
    see("umount", umount("d", 0));
    picozone_guests::close(fd);
    let mut pipe = [0i32; 2];
    call(libc::SYS_pipe, &[pipe.as_mut_ptr() as u64]).expect("a pipe");
    let link = format!("/proc/self/fd/{}", pipe[0]);
    see("a pipe", mount(&link, "plain", "", libc::MS_BIND, ""));
    see(
        "its directory",
        mount("/proc/self/cwd", "f", "", libc::MS_BIND, ""),
    );
    see("read", fs::read_to_string("f/plain").ok());
    see("umount", umount("f", 0));
    see("placed", placed());
}

/// In a root directory of programs is what is bound there, and `..` does not lead out of it.
fn jails() {
    tree();
    jail(
        &[("/proc", "proc"), ("/dev", "dev"), ("d", "d")],
        &["/", "/proc", "/proc/sys/kernel", "/dev", "/d/sub"],
    );
    jail(
        &[("/proc/sys/kernel", "kernel"), ("/proc", "x/proc")],
        &["/x/proc/sys/net"],
    );
    jail(
        &[("/proc/sys/kernel", "kernel")],
        &["/kernel", "/kernel/random"],
    );
}

/// What a program finds there, and from these directories.
fn jail(binds: &[(&str, &str)], paths: &[&str]) {
    let place = |path: &str| format!("jail/{path}");
    for (from, to) in binds {
        fs::create_dir_all(place(to)).expect("made");
        mount(from, &place(to), "", libc::MS_BIND, "").expect("mounted");
    }
    fs::write("jail/plain", "within").expect("made");
    let end = child(|| {
        let root = CString::new("jail").expect("no NUL");
        call(libc::SYS_chroot, &[text(&root)]).expect("we are root");
        for path in paths {
            std::env::set_current_dir(path).expect("there");
            see("cwd", std::env::current_dir().ok());
            let up = "../".repeat(path.matches('/').count());
            see("up", names(&up));
            let plain = up + "plain";
            see("read", fs::read_to_string(&plain).ok());
            let here = File::open(".").expect("there");
            let fd = u64::from(here.as_raw_fd().cast_unsigned());
            let name = CString::new(plain).expect("no NUL");
            let opened = call(libc::SYS_openat, &[fd, text(&name), 0]);
            see(
                "by a descriptor",
                opened.map(picozone_guests::close).is_ok(),
            );
        }
        for (_, to) in binds {
            let path = CString::new(format!("/{to}")).expect("no NUL");
            let mut words = [0u64; 15];
            let to = words.as_mut_ptr() as u64;
            let got = call(libc::SYS_statfs, &[text(&path), to]);
            // PROC_SUPER_MAGIC.
            see("proc", got.map(|_| words[0] == 0x9fa0));
        }
        0
    })
    .wait();
    see("end", end == Ok(End::Exited(0)));
    for (_, to) in binds {
        see("umount", umount(&place(to), 0));
    }
    fs::remove_dir_all("jail").expect("removed");
}

/// Something over what lies in `/proc` and `/dev`.
fn covered() {
    tree();
    fs::write("d/kept", "ours").expect("made");
    see(
        "a file",
        mount("d/file", "/proc/sys/kernel/ostype", "", libc::MS_BIND, ""),
    );
    see("read", fs::read_to_string("/proc/sys/kernel/ostype").ok());
    std::env::set_current_dir("/proc/sys/kernel").expect("there");
    see("relative", fs::read_to_string("ostype").ok());
    std::env::set_current_dir(work()).expect("there");
    see(
        "on a directory",
        mount("plain", "/proc/sys/kernel", "", libc::MS_BIND, ""),
    );
    see("umount", umount("/proc/sys/kernel/ostype", 0));
    see("read", fs::read_to_string("/proc/sys/kernel/ostype").ok());
    see(
        "a directory",
        mount("some", "/proc/sys/kernel", "tmpfs", libc::MS_RDONLY, ""),
    );
    see("names", names("/proc/sys/kernel"));
    see("made", errno(File::create("/proc/sys/kernel/x")));
    see("umount", umount("/proc/sys/kernel", 0));
    see(
        "masked",
        mount("/dev/null", "/proc/version", "", libc::MS_BIND, ""),
    );
    see(
        "read",
        fs::read("/proc/version").map(|bytes| bytes.len()).ok(),
    );
    see("umount", umount("/proc/version", 0));
    see(
        "a device",
        mount("d/file", "/dev/full", "", libc::MS_BIND, ""),
    );
    see("read", fs::read_to_string("/dev/full").ok());
    see("umount", umount("/dev/full", 0));
    see("full", errno(fs::write("/dev/full", "more")));
    see("none", mount("d/file", "/dev/none", "", libc::MS_BIND, ""));
}

fn flags() {
    tree();
    let all = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_NOATIME;
    see("mount", mount("some", "e", "tmpfs", all, ""));
    see("lines", lines());
    let shown = |path: &str| {
        let path = CString::new(path).expect("no NUL");
        let mut words = [0u64; 15];
        let to = words.as_mut_ptr() as u64;
        call(libc::SYS_statfs, &[text(&path), to]).map(|_| (words[0], words[10]))
    };
    see("statfs", shown("e"));
    fs::copy("/bin/true", "e/true").expect("copied");
    let run = |path: &str| errno(std::process::Command::new(path).status());
    see("noexec", run("e/true"));
    let some = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_NOSUID;
    see("remount", mount("", "e", "", some, ""));
    see("exec", run("e/true"));
    see("lines", lines());
    see("statfs", shown("e"));
    see("umount", umount("e", 0));
}

fn users() {
    tree();
    let end = child(|| {
        call(libc::SYS_setresuid, &[1000, 1000, 1000]).expect("we are root");
        see("mount", mount("some", "e", "tmpfs", 0, ""));
        see("none", mount("some", "none", "tmpfs", 0, ""));
        see("bind", mount("d", "e", "", libc::MS_BIND, ""));
        see("umount", umount("e", 0));
        see("flags", umount("e", 16));
        0
    })
    .wait();
    see("end", end == Ok(End::Exited(0)));
    see("exists", Path::new("e").exists());
}

/// open_tree(2) without a copy, and what it and fspick(2) refuse; what a read-only mount leaves to be
/// written; kinds of propagation.
fn trees() {
    const OPEN_TREE: i64 = 428;
    const FSPICK: i64 = 433;
    tree();
    let at = |nr: i64, path: &str, flags: u64| picozone_guests::at(nr, path, &[flags]);
    let path_flags = |fd: u64| call(libc::SYS_fcntl, &[fd, 3]).map(|flags| flags & 0x20_0000);
    for (path, flags) in [("d", 0), ("d/file", 0x8_0000), ("", 0x1000), ("d", 0x900)] {
        let fd = at(OPEN_TREE, path, flags);
        let kept = fd.and_then(|fd| call(libc::SYS_fcntl, &[fd, 1]));
        see("opened", (path, fd.is_ok(), kept, fd.map(path_flags)));
        fd.map(picozone_guests::close).expect("it is open");
    }
    for (path, flags) in [
        ("d", 0x8000),
        ("d", 1 << 30),
        ("none", 0),
        ("", 0),
        ("d/file/x", 0),
    ] {
        see("not opened", (path, flags, at(OPEN_TREE, path, flags)));
    }
    for (path, flags) in [("d", 0x10), ("none", 0), ("", 0)] {
        see("not picked", (path, flags, at(FSPICK, path, flags)));
    }
    for nr in [OPEN_TREE, FSPICK] {
        see("no directory", call(nr, &[77, c"d".as_ptr() as u64, 0]));
        see("no path", call(nr, &[77, NOWHERE, 0]));
    }
    let fifo = CString::new("d/fifo").expect("no NUL");
    call(libc::SYS_mknod, &[text(&fifo), 0o010_644, 0]).expect("made");
    mount("d", "e", "", libc::MS_BIND, "").expect("mounted");
    let read_only = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY;
    mount("", "e", "", read_only, "").expect("read-only");
    for path in ["e", "e/file", "e/sub", "e/fifo", "d/file"] {
        see(
            "access",
            (path, picozone_guests::at(libc::SYS_faccessat, path, &[2])),
        );
    }
    let fifo = OpenOptions::new().read(true).write(true).open("e/fifo");
    see("a FIFO there", errno(fifo));
    see(
        "a file there",
        errno(OpenOptions::new().write(true).open("e/file")),
    );
    for flags in [
        libc::MS_SHARED | libc::MS_PRIVATE,
        libc::MS_PRIVATE | libc::MS_NOSUID,
    ] {
        see("two at once", mount("", "e", "", flags, ""));
    }
    umount("e", 0).expect("unmounted");
    mount("/dev", "e", "", libc::MS_BIND, "").expect("mounted");
    mount("", "e", "", read_only, "").expect("read-only");
    let open = |name: &str| OpenOptions::new().read(true).write(true).open(name);
    for name in ["e/null", "e/zero", "e/tty", "e/none"] {
        see("a device there", (name, errno(open(name))));
    }
    see("made there", errno(fs::File::create("e/none")));
    umount("e", 0).expect("unmounted");
}
