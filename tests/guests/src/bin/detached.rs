//! Mounts by descriptor: contexts, mounts that lie nowhere, and where they are put.
//!
//! Natively it runs in a name space of mounts of its own; in a zone nothing else than its mounts is
//! changed.

use picozone_guests::children::End;
use picozone_guests::{
    CWD, Mounted, NOWHERE, Result, at, call, child, close, mounted, name, out, sections, see,
    signed, text,
};
use std::fs;
use std::path::Path;

const OPEN_TREE: i64 = 428;
const MOVE_MOUNT: i64 = 429;
const FSOPEN: i64 = 430;
const FSCONFIG: i64 = 431;
const FSMOUNT: i64 = 432;
const FSPICK: i64 = 433;
const MOUNT_SETATTR: i64 = 442;
const OPEN_TREE_ATTR: i64 = 467;
/// `AT_EMPTY_PATH`, `MOVE_MOUNT_F_EMPTY_PATH`, `MOVE_MOUNT_T_EMPTY_PATH`, `MOVE_MOUNT_BENEATH`.
const EMPTY: u64 = 0x1000;
const FROM_EMPTY: u64 = 4;
const TO_EMPTY: u64 = 0x40;
const BENEATH: u64 = 0x200;
const CLONE: u64 = 1;
const RECURSIVE: u64 = 0x8000;
const CREATE: u64 = 6;
const RECONFIGURE: u64 = 7;

fn main() {
    // Zones refuse it, and have a table of their own.
    let _ = call(libc::SYS_unshare, &[0x2_0000]);
    let root = name("/");
    let private = libc::MS_REC | libc::MS_PRIVATE;
    let done = call(libc::SYS_mount, &[0, text(&root), 0, private, 0]);
    done.expect("nothing is propagated");
    for path in ["a", "b", "c/sub"] {
        fs::create_dir_all(path).expect("made");
    }
    fs::write("c/file", "in c").expect("made");
    fs::write("plain", "a file").expect("made");
    sections(&[
        ("contexts", contexts),
        ("parameters", parameters),
        ("placed", placed),
        ("nested", nested),
        ("clones", clones),
        ("parts", parts),
        ("beneath", beneath),
        ("set", set),
        ("picked", picked),
        ("dropped", dropped),
        ("users", users),
    ]);
}

fn fsopen(kind: &str, flags: u64) -> Result<u64> {
    call(FSOPEN, &[text(&name(kind)), flags])
}

fn configure(fd: u64, command: u64, key: &str, value: Option<&str>) -> Result<u64> {
    let (key, value) = (name(key), value.map(name));
    let value = value.as_ref().map_or(0, |value| text(value));
    call(FSCONFIG, &[fd, command, text(&key), value, 0])
}

fn command(fd: u64, command: u64) -> Result<u64> {
    call(FSCONFIG, &[fd, command, 0, 0, 0])
}

/// A temporary file system that lies nowhere.
fn temporary(source: &str) -> u64 {
    let fd = fsopen("tmpfs", 1).expect("a context");
    configure(fd, 1, "source", Some(source)).expect("a source");
    command(fd, CREATE).expect("made");
    let mounted = call(FSMOUNT, &[fd, 1, 0]).expect("mounted");
    close(fd);
    mounted
}

fn move_to(from: (u64, &str), to: (u64, &str), flags: u64) -> Result<u64> {
    let (source, target) = (name(from.1), name(to.1));
    call(
        MOVE_MOUNT,
        &[from.0, text(&source), to.0, text(&target), flags],
    )
}

fn umount(path: &str) -> Result<u64> {
    call(libc::SYS_umount2, &[text(&name(path)), 0])
}

fn exists(directory: u64, path: &str) -> Result<u64> {
    call(libc::SYS_faccessat, &[directory, text(&name(path)), 0])
}

fn touch(directory: u64, path: &str) -> Result<u64> {
    let flags = u64::from((libc::O_CREAT | libc::O_WRONLY).cast_unsigned());
    let fd = call(
        libc::SYS_openat,
        &[directory, text(&name(path)), flags, 0o644],
    )?;
    close(fd);
    Ok(0)
}

fn mkdir(directory: u64, path: &str) -> Result<u64> {
    call(libc::SYS_mkdirat, &[directory, text(&name(path)), 0o755])
}

fn shown_flags(fd: u64) -> Result<u64> {
    let mut told = [0_u64; 15];
    call(libc::SYS_fstatfs, &[fd, out(&mut told)])?;
    Ok(told[10] & 0xf)
}

/// Lines of mountinfo(5) below the working directory: mount point, options, type and source.
fn lines() -> Vec<String> {
    let shown = |line: Mounted| {
        // A bind shows what the host has there.
        let (kind, source) = match &line.kind[..] {
            "tmpfs" | "proc" => (&line.kind[..], &line.source[..]),
            _ => ("", ""),
        };
        format!("{} {} {kind} {source}", line.point, line.options)
    };
    mounted().into_iter().map(shown).collect()
}

/// Phases of a context, and what is none.
fn contexts() {
    for (kind, flags) in [
        ("tmpfs", 0),
        ("tmpfs", 1),
        ("proc", 0),
        ("tmpfs", 2),
        ("none such", 0),
        ("", 0),
    ] {
        let fd = fsopen(kind, flags);
        let kept = fd.and_then(|fd| call(libc::SYS_fcntl, &[fd, 1]));
        see("opened", (kind, flags, fd.is_ok(), kept));
        see("errno", fd.map(close));
    }
    see("no text", call(FSOPEN, &[NOWHERE, 0]));
    let fd = fsopen("tmpfs", 0).expect("a context");
    see("too early", call(FSMOUNT, &[fd, 0, 0]));
    see("no change", command(fd, RECONFIGURE));
    see("made", command(fd, CREATE));
    see("made again", command(fd, CREATE));
    see("told late", configure(fd, 1, "source", Some("x")));
    see("flags", call(FSMOUNT, &[fd, 2, 0]));
    see("attributes", call(FSMOUNT, &[fd, 0, 1 << 30]));
    let copy = call(libc::SYS_dup, &[fd]).expect("another one");
    let mounted = call(FSMOUNT, &[copy, 0, 0xc]);
    see("mounted", mounted.is_ok());
    see("mounted again", call(FSMOUNT, &[fd, 0, 0]));
    see("flags of it", mounted.and_then(shown_flags));
    see("made too late", command(fd, CREATE));
    mounted.map(close).expect("it is open");
    for fd in [fd, copy] {
        close(fd);
    }
    let file = at(libc::SYS_openat, "plain", &[0]).expect("a file");
    let only_path = at(libc::SYS_openat, "plain", &[0x20_0000]).expect("a file");
    for (which, fd) in [("file", file), ("path", only_path), ("none", 999)] {
        see("no context", (which, command(fd, CREATE)));
        see("nothing to mount", (which, call(FSMOUNT, &[fd, 0, 0])));
    }
    close(file);
    close(only_path);
}

fn parameters() {
    let fd = fsopen("tmpfs", 1).expect("a context");
    for (what, key, value) in [
        (0, "ro", None),
        (0, "rw", None),
        (0, "none", None),
        (0, "mode", None),
        (1, "mode", Some("750")),
        (1, "mode", Some("nine")),
        (1, "size", Some("1m")),
        (1, "nr_inodes", Some("100")),
        (1, "uid", Some("5")),
        (1, "none", Some("1")),
        (0, "source", None),
        (1, "source", Some("one")),
        (1, "source", Some("two")),
    ] {
        see("parameter", (key, value, configure(fd, what, key, value)));
    }
    let long = "x".repeat(256);
    see("long key", configure(fd, 0, &long, None));
    see("long value", configure(fd, 1, "mode", Some(&long)));
    see("no such command", configure(fd, 77, "ro", None));
    see("nowhere", call(FSCONFIG, &[fd, 0, NOWHERE, 0, 0]));
    see("made", command(fd, CREATE));
    let mounted = call(FSMOUNT, &[fd, 1, 0x21]).expect("mounted");
    close(fd);
    let mut found = [0_u8; 144];
    call(libc::SYS_fstat, &[mounted, out(&mut found)]).expect("it is there");
    let word = |at: usize| u32::from_ne_bytes(found[at..at + 4].try_into().expect("four bytes"));
    see("its top", (format!("{:o}", word(24)), word(28), word(32)));
    see("read-only", mkdir(mounted, "new"));
    see("placed", move_to((mounted, ""), (CWD, "a"), FROM_EMPTY));
    see("lines", lines());
    close(mounted);
    see("taken away", umount("a"));
}

/// What is made in a mount that lies nowhere is there wherever it is put.
fn placed() {
    let mounted = temporary("placed");
    see(
        "kind",
        call(libc::SYS_fcntl, &[mounted, 3]).map(|flags| flags & 0x20_0003),
    );
    see("not listed", lines());
    see("made", (mkdir(mounted, "sub"), touch(mounted, "sub/file")));
    see("without", move_to((mounted, ""), (CWD, "a"), 0));
    see(
        "to a file",
        move_to((mounted, ""), (CWD, "plain"), FROM_EMPTY),
    );
    see(
        "to nothing",
        move_to((mounted, ""), (CWD, "none"), FROM_EMPTY),
    );
    see(
        "flags",
        move_to((mounted, ""), (CWD, "a"), FROM_EMPTY | 0x1000),
    );
    see("placed", move_to((mounted, ""), (CWD, "a"), FROM_EMPTY));
    see("lines", lines());
    see("there", Path::new("a/sub/file").exists());
    see("busy", umount("a"));
    see("moved on", move_to((CWD, "a"), (CWD, "b"), 0));
    see(
        "by descriptor",
        move_to((mounted, ""), (CWD, "a"), FROM_EMPTY),
    );
    see("lines", lines());
    see("no mount", move_to((CWD, "a/sub"), (CWD, "b"), 0));
    see("no mount", move_to((CWD, "b"), (CWD, "a"), 0));
    see("a loop", move_to((CWD, "a"), (CWD, "a/sub"), 0));
    close(mounted);
    see("taken away", umount("a"));
    see("lines", lines());
}

/// A mount in one that lies nowhere.
fn nested() {
    let (outer, inner) = (temporary("outer"), temporary("inner"));
    see("made", mkdir(outer, "sub"));
    see("nested", move_to((inner, ""), (outer, "sub"), FROM_EMPTY));
    see("made", touch(inner, "within"));
    see("through", exists(outer, "sub/within"));
    see("only the inner", move_to((outer, "sub"), (CWD, "a"), 0));
    see(
        "to itself",
        move_to((outer, ""), (outer, "sub"), FROM_EMPTY).is_err(),
    );
    see("placed", move_to((outer, ""), (CWD, "a"), FROM_EMPTY));
    see("there", Path::new("a/sub/within").exists());
    see("lines", lines());
    close(outer);
    close(inner);
    see("taken away", (umount("a"), umount("a/sub"), umount("a")));
}

/// Copies of what is mounted, of files and directories.
fn clones() {
    let open_tree = |path: &str, flags: u64| at(OPEN_TREE, path, &[flags]);
    let tree = open_tree("c", CLONE).expect("a tree");
    see("kept", call(libc::SYS_fcntl, &[tree, 1]));
    see("in it", (exists(tree, "file"), exists(tree, "none")));
    see("placed", move_to((tree, ""), (CWD, "a"), FROM_EMPTY));
    see("there", fs::read_to_string("a/file").ok());
    close(tree);
    see("lines", lines());
    see("taken away", umount("a"));
    let file = open_tree("plain", CLONE | 0x8_0000).expect("a file");
    see("kept", call(libc::SYS_fcntl, &[file, 1]));
    see(
        "to a directory",
        move_to((file, ""), (CWD, "a"), FROM_EMPTY),
    );
    see("placed", move_to((file, ""), (CWD, "c/file"), FROM_EMPTY));
    see("there", fs::read_to_string("c/file").ok());
    close(file);
    see("taken away", umount("c/file"));
    see("there", fs::read_to_string("c/file").ok());
    let mounted = temporary("inner");
    see("inner", move_to((mounted, ""), (CWD, "c/sub"), FROM_EMPTY));
    see("made", touch(mounted, "within"));
    close(mounted);
    let all = open_tree("c", CLONE | RECURSIVE).expect("a tree");
    see("all", exists(all, "sub/within"));
    see("placed", move_to((all, ""), (CWD, "b"), FROM_EMPTY));
    see("there", Path::new("b/sub/within").exists());
    close(all);
    see(
        "taken away",
        (umount("b/sub"), umount("b"), umount("c/sub")),
    );
    see("empty", open_tree("", CLONE));
    let directory = at(libc::SYS_openat, "c", &[0]).expect("a directory");
    let by_number = call(OPEN_TREE, &[directory, text(&name("")), CLONE | EMPTY]);
    see("by number", by_number.map(close).is_ok());
    see("itself", move_to((directory, ""), (CWD, "a"), FROM_EMPTY));
    see(
        "of none",
        call(OPEN_TREE, &[999, text(&name("")), CLONE | EMPTY]),
    );
    close(directory);
}

/// Copies of a device and of a part of `/proc`.
fn parts() {
    let open_tree = |path: &str, flags: u64| at(OPEN_TREE, path, &[flags]);
    let device = open_tree("/dev/zero", CLONE | 0x8_0000).expect("a device");
    see(
        "to a directory",
        move_to((device, ""), (CWD, "a"), FROM_EMPTY),
    );
    see("placed", move_to((device, ""), (CWD, "plain"), FROM_EMPTY));
    close(device);
    let mut bytes = [1];
    let file = fs::File::open("plain").expect("it is there");
    see("read", std::io::Read::read(&mut &file, &mut bytes).ok());
    see("zero", bytes);
    drop(file);
    see("taken away", umount("plain"));
    see(
        "there",
        fs::read_to_string("plain").is_ok_and(|text| !text.is_empty()),
    );
    let directory = open_tree("/proc/sys/kernel", CLONE | RECURSIVE).expect("a directory");
    see("placed", move_to((directory, ""), (CWD, "a"), FROM_EMPTY));
    close(directory);
    see("read", fs::read_to_string("a/ostype").ok());
    see("taken away", umount("a"));
    let all = open_tree("/proc", CLONE | RECURSIVE).expect("a directory");
    see("placed", move_to((all, ""), (CWD, "a"), FROM_EMPTY));
    close(all);
    see("read", fs::read_to_string("a/sys/kernel/ostype").ok());
    see("taken away", umount("a"));
    let unplaced = open_tree("/dev/null", CLONE).expect("a device");
    close(unplaced);
}

/// A mount below another one, which it is seen behind.
fn beneath() {
    let (upper, lower) = (temporary("upper"), temporary("lower"));
    see("made", (touch(upper, "up"), touch(lower, "low")));
    see(
        "no mount",
        move_to((lower, ""), (CWD, "a"), FROM_EMPTY | BENEATH),
    );
    see("placed", move_to((upper, ""), (CWD, "a"), FROM_EMPTY));
    close(upper);
    let place = at(libc::SYS_openat, "a", &[0x22_0000]).expect("a place");
    let flags = FROM_EMPTY | TO_EMPTY | BENEATH;
    see("beneath", move_to((lower, ""), (place, ""), flags));
    close(place);
    close(lower);
    let shown = || (Path::new("a/up").exists(), Path::new("a/low").exists());
    see("above", shown());
    see("taken away", umount("a"));
    see("below", shown());
    see("taken away", umount("a"));
    see("neither", (shown(), lines()));
    fs::write("a/own", "").expect("it is as it was");
    fs::remove_file("a/own").expect("it is there");
}

fn setattr(path: &str, flags: u64, attributes: [u64; 4]) -> Result<u64> {
    at(
        MOUNT_SETATTR,
        path,
        &[flags, picozone_guests::from(&attributes), 32],
    )
}

fn set() {
    const TIMES: u64 = 0x70;
    let (outer, inner) = (temporary("outer"), temporary("inner"));
    let made = [0xe_u64, 0, 0, 0];
    let args = |fd| [fd, 0, EMPTY, picozone_guests::from(&made), 32];
    let unnamed = name("");
    let mut on_it = args(outer);
    on_it[1] = text(&unnamed);
    see("nowhere yet", call(MOUNT_SETATTR, &on_it));
    see("flags", shown_flags(outer));
    see("made", mkdir(outer, "sub"));
    see("placed", move_to((outer, ""), (CWD, "a"), FROM_EMPTY));
    see("placed", move_to((inner, ""), (CWD, "a/sub"), FROM_EMPTY));
    close(inner);
    close(outer);
    see("lines", lines());
    for (flags, attributes) in [
        (0, [1, 0, 0, 0]),
        (0, [0, 1, 0, 0]),
        (RECURSIVE, [1, 0xe, 0, 0]),
        (RECURSIVE, [0x10, TIMES | 1, 0, 0]),
        (0, [0x20, TIMES, 0, 0]),
        (0, [0x10, 0, 0, 0]),
        (0, [0x80 | 0x20_0000, TIMES, 0, 0]),
    ] {
        see("set", (flags, attributes, setattr("a", flags, attributes)));
        see("lines", lines());
    }
    let file = fs::File::create("a/file").expect("made");
    see("written", setattr("a", 0, [1, 0, 0, 0]));
    drop(file);
    see("not written", setattr("a", 0, [1, 0, 0, 0]));
    see("no mount", setattr("b", 0, [1, 0, 0, 0]));
    let read_only = [1_u64, 0, 0, 0];
    let attributes = picozone_guests::from(&read_only);
    for (path, flags, attributes, size) in [
        ("a/sub", CLONE, attributes, 32),
        ("a", CLONE | RECURSIVE, attributes, 32),
        ("a", CLONE, 0, 0),
        ("a", CLONE, 0, 32),
        ("a", CLONE, NOWHERE, 32),
        ("a", CLONE, attributes, 31),
    ] {
        let fd = at(OPEN_TREE_ATTR, path, &[flags, attributes, size]);
        let new = fd.map(|fd| mkdir(fd, "new"));
        see("with attributes", (path, flags, size, new));
        let _ = fd.map(close);
    }
    see("taken away", (umount("a/sub"), umount("a")));
}

/// A context of what is mounted.
fn picked() {
    let mounted = temporary("picked");
    see("placed", move_to((mounted, ""), (CWD, "a"), FROM_EMPTY));
    close(mounted);
    see("no mount", at(FSPICK, "b", &[0]));
    let fd = at(FSPICK, "a", &[1]).expect("a context");
    see("kept", call(libc::SYS_fcntl, &[fd, 1]));
    see("made", command(fd, CREATE));
    see("mounted", call(FSMOUNT, &[fd, 0, 0]));
    see("read-only", configure(fd, 0, "ro", None));
    see("done", command(fd, RECONFIGURE));
    see("new", mkdir(CWD, "a/new"));
    see("writable", configure(fd, 0, "rw", None));
    see("done", command(fd, RECONFIGURE));
    see("new", mkdir(CWD, "a/new"));
    close(fd);
    see("taken away", umount("a"));
}

/// Many that nobody puts anywhere.
fn dropped() {
    for round in 0..100 {
        let mounted = temporary("dropped");
        touch(mounted, "file").expect("made");
        close(mounted);
        if round % 3 == 0 {
            let tree = at(OPEN_TREE, "c", &[CLONE]).expect("a tree");
            close(tree);
        }
    }
    let kept: Vec<u64> = (0..20).map(|_| temporary("kept")).collect();
    for fd in &kept {
        see("kept", touch(*fd, "file"));
    }
    kept.into_iter().for_each(close);
    see("lines", lines());
}

/// Who is not root may none of it.
fn users() {
    let context = fsopen("tmpfs", 0).expect("a context");
    let mounted = temporary("root's");
    see("made", touch(mounted, "file"));
    let end = child(|| {
        call(libc::SYS_setresuid, &[1000, 1000, 1000]).expect("we are root");
        see("open", fsopen("tmpfs", 0));
        see("make", command(context, CREATE));
        see("mount", call(FSMOUNT, &[context, 0, 0]));
        see("clone", at(OPEN_TREE, "c", &[CLONE]));
        see("pick", at(FSPICK, "/", &[0]));
        see("move", move_to((mounted, ""), (CWD, "a"), FROM_EMPTY));
        see("set", setattr("/", 0, [1, 0, 0, 0]));
        see("look", exists(mounted, "file"));
        see("change", mkdir(mounted, "new"));
        for number in 0..200 {
            let path = name(&format!("/\x7fdetached/{number}"));
            let found = call(libc::SYS_access, &[text(&path), 0]);
            assert!(found.is_err(), "{path:?} leads to what lies nowhere");
        }
        0
    })
    .wait();
    see("end", end == Ok(End::Exited(0)));
    see("of none", move_to((signed(-5), ""), (CWD, "a"), FROM_EMPTY));
    close(context);
    close(mounted);
}
