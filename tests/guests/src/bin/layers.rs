//! Changes of a tree: natively it is a plain one, in a zone a copy-on-write mount over such a one.
//!
//! The section `plant` makes the tree, in the working directory; each other section begins with a
//! tree that nothing has changed.

use picozone_guests::children::End;
use picozone_guests::{CWD, Errno, Result, call, child, libc_result, sections, see, text};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

fn main() {
    sections(&[
        ("plant", plant),
        ("looks", looks),
        ("opens", opens),
        ("names", names),
        ("renames", renames),
        ("removals", removals),
        ("attributes", attributes),
        ("links", links),
        ("listings", listings),
        ("moved", moved),
        ("descriptors", descriptors),
        ("mappings", mappings),
        ("holes", holes),
        ("together", together),
        ("watches", watches),
        ("random", random),
    ]);
}

fn plant() {
    for directory in ["d/sub/deep", "d/empty", "e/a/b/c", "full", "sticky"] {
        fs::create_dir_all(directory).expect("made");
    }
    for (path, content) in [
        ("file", "a file at the top\n"),
        ("d/one", "one\n"),
        ("d/two", "two, which is longer\n"),
        ("d/nothing", ""),
        ("d/sub/three", "three\n"),
        ("d/sub/deep/four", "four\n"),
        ("e/a/x", "x\n"),
        ("e/a/b/y", "y\n"),
        ("e/a/b/c/z", "z\n"),
        ("tool", "#!/bin/sh\necho a tool\n"),
        ("secret", "for its owner\n"),
        ("e/pair", "of two names\n"),
    ] {
        fs::write(path, content).expect("made");
    }
    for number in 0..300 {
        fs::write(format!("full/{number:03}"), format!("{number}\n")).expect("made");
    }
    let mut large = File::create("large").expect("made");
    large.write_all(&vec![b'l'; 200_000]).expect("written");
    large.seek(SeekFrom::Start(4 << 20)).expect("moved");
    large.write_all(b"the end").expect("written");
    for (link, target) in [
        ("to_file", "file"),
        ("to_dir", "d"),
        ("d/up", "../file"),
        ("d/sub/across", "../../e/a/x"),
        ("dangling", "nowhere"),
        ("loop", "loop"),
    ] {
        symlink(target, link).expect("made");
    }
    fs::hard_link("d/one", "d/same").expect("made");
    fs::hard_link("d/one", "e/same_too").expect("made");
    fs::hard_link("e/pair", "d/pair").expect("made");
    for (path, mode) in [
        ("tool", 0o755),
        ("secret", 0o600),
        ("sticky", 0o1777),
        ("d/two", 0o444),
    ] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
    }
    set_times("d/one", 1_000_000_001, 2);
    set_times("d/sub", 1_000_000_003, 4);
}

fn set_times(path: &str, seconds: i64, nanoseconds: i64) {
    let time = [seconds, nanoseconds, seconds, nanoseconds];
    let path = CString::new(path).expect("no NUL");
    let times = std::ptr::from_ref(&time) as u64;
    call(libc::SYS_utimensat, &[CWD, text(&path), times, 0]).expect("set");
}

fn errno<T>(result: std::io::Result<T>) -> Result<T> {
    result.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

fn path_call(nr: i64, path: &str, rest: &[u64]) -> Result<u64> {
    let path = CString::new(path).expect("no NUL");
    let mut arguments = vec![text(&path)];
    arguments.extend(rest);
    call(nr, &arguments)
}

/// What stays the same wherever a file lies.
fn status(path: impl AsRef<Path>) -> Result<String> {
    let found = errno(fs::symlink_metadata(path))?;
    Ok(shown(&found))
}

fn shown(found: &fs::Metadata) -> String {
    // How many links a directory has is told by no layer, nor how large it is.
    let (links, size) = if found.is_dir() {
        (0, 0)
    } else {
        (found.nlink(), found.size())
    };
    format!("{:o} {links} {size}", found.mode())
}

fn id(path: &str) -> (u64, u64) {
    let found = fs::symlink_metadata(path).expect("it is there");
    (found.dev(), found.ino())
}

/// The whole tree below a directory, but for this program.
fn tree(top: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut left = vec![top.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).expect("a directory").flatten() {
            let path = format!("{directory}/{}", entry.file_name().display());
            if path == "./guest" {
                continue;
            }
            let kind = entry.file_type().expect("it has one");
            let mut line = status(&path).expect("it is there");
            if kind.is_dir() {
                left.push(path.clone());
            } else if kind.is_symlink() {
                line += &format!(" -> {:?}", fs::read_link(&path).expect("a link"));
            } else if kind.is_file() {
                let bytes = fs::read(&path).expect("a file");
                let sum = bytes.iter().fold(7u32, |sum, &byte| {
                    sum.wrapping_mul(31).wrapping_add(u32::from(byte))
                });
                line += &format!(" {sum:x}");
            }
            all.insert(path, line);
        }
    }
    all
}

fn see_tree(top: &str) {
    for (path, line) in tree(top) {
        see(&path, line);
    }
}

fn looks() {
    for path in [
        "file",
        "d",
        "d/one",
        "d/sub/deep/four",
        "d/up",
        "to_dir/two",
        "to_dir/sub/../one",
        "d/sub/across",
        "dangling",
        "loop",
        "loop/x",
        "file/x",
        "file/",
        "d/",
        "d/one/..",
        "missing",
        "missing/x",
        "e/../d/./sub//three",
        "d/empty",
        "secret",
        "sticky",
        "large",
    ] {
        see(
            path,
            (
                status(path),
                errno(fs::metadata(path)).map(|found| shown(&found)),
            ),
        );
        see(path, errno(fs::read(path)).map(|bytes| bytes.len()));
        see(path, errno(fs::read_link(path)));
        for mode in [4u64, 2, 1] {
            see(path, path_call(libc::SYS_access, path, &[mode]));
        }
    }
    let modified = fs::metadata("d/one").expect("it is there");
    see("its time", (modified.mtime(), modified.mtime_nsec()));
    let modified = fs::metadata("d/sub").expect("it is there");
    see(
        "the time of a directory",
        (modified.mtime(), modified.mtime_nsec()),
    );
    see_tree(".");
    let modified = fs::metadata("d/sub").expect("it is there");
    see("its time still", (modified.mtime(), modified.mtime_nsec()));
}

fn opens() {
    use libc::*;
    let try_open = |path: &str, flags: i32| {
        let opened = path_call(SYS_open, path, &[u64::from(flags.unsigned_abs()), 0o644]);
        opened.map(|fd| {
            let mut byte = [0u8; 4];
            let got = call(SYS_read, &[fd, byte.as_mut_ptr() as u64, 4]);
            let put = call(SYS_write, &[fd, byte.as_ptr() as u64, 1]);
            let _ = call(SYS_close, &[fd]);
            (got, put)
        })
    };
    let paths = [
        "file",
        "d/one",
        "d/nothing",
        "to_file",
        "d/up",
        "dangling",
        "loop",
        "d",
        "to_dir",
        "new",
        "d/new",
        "missing/new",
        "file/new",
        "file/",
        "d/two",
        "d/empty/..",
        "d/sub/across",
    ];
    for flags in [
        O_RDONLY,
        O_RDONLY | O_NOFOLLOW,
        O_RDONLY | O_DIRECTORY,
        O_DIRECTORY | O_NOFOLLOW,
        O_PATH,
        O_PATH | O_NOFOLLOW,
        O_WRONLY | O_NOFOLLOW,
        O_CREAT | O_EXCL | O_RDWR,
        O_CREAT | O_RDONLY,
        O_WRONLY,
        O_RDWR | O_APPEND,
        O_CREAT | O_RDWR,
        O_WRONLY | O_TRUNC,
        O_CREAT | O_TRUNC | O_RDWR,
    ] {
        for path in paths {
            see(&format!("{path} {flags:#x}"), try_open(path, flags));
        }
    }
    see_tree(".");
    for (path, length) in [
        ("file", 3),
        ("tool", 0),
        ("large", 100),
        ("d", 0),
        ("missing", 0),
    ] {
        see(path, path_call(SYS_truncate, path, &[length]));
    }
    see("cut", fs::read("file").map(|bytes| bytes.len()).ok());
    let temporary = OpenOptions::new()
        .write(true)
        .custom_flags(O_TMPFILE)
        .open("d/sub")
        .expect("a file without a name");
    let from = CString::new(format!("/proc/self/fd/{}", temporary.as_raw_fd())).expect("no NUL");
    let to = CString::new("d/sub/named").expect("no NUL");
    let flags = u64::from(AT_SYMLINK_FOLLOW.unsigned_abs());
    see(
        "named",
        call(SYS_linkat, &[CWD, text(&from), CWD, text(&to), flags]),
    );
    // A file that nobody has changed, by a descriptor.
    let open = File::open("e/a/x").expect("open");
    let from = CString::new(format!("/proc/self/fd/{}", open.as_raw_fd())).expect("no NUL");
    let to = CString::new("d/sub/linked").expect("no NUL");
    see(
        "linked",
        call(SYS_linkat, &[CWD, text(&from), CWD, text(&to), flags]),
    );
    see("same", id("d/sub/linked") == id("e/a/x"));
    see_tree("d");
}

fn names() {
    for path in [
        "d", "file", "d/one", "to_dir", "dangling", "new", "d/new", "file/new", "d/empty",
    ] {
        see(path, path_call(libc::SYS_mkdir, path, &[0o750]));
        see(
            path,
            path_call(
                libc::SYS_mknod,
                path,
                &[u64::from(libc::S_IFIFO) | 0o640, 0],
            ),
        );
        see(path, errno(symlink("target", path)));
        see(path, errno(fs::hard_link("file", path)));
        see(path, errno(fs::hard_link(path, format!("{path}_linked"))));
    }
    see_tree(".");
}

fn rename(from: &str, to: &str, flags: u64) -> Result<u64> {
    let (from, to) = (
        CString::new(from).expect("text"),
        CString::new(to).expect("text"),
    );
    call(
        libc::SYS_renameat2,
        &[CWD, text(&from), CWD, text(&to), flags],
    )
}

fn renames() {
    for (from, to, flags) in [
        ("file", "moved", 0),
        ("moved", "d/one", 0),
        ("d/two", "d/sub", 0),
        ("d/sub", "d/two", 0),
        ("d/sub", "d/sub/inner", 0),
        ("e/a", "d/empty", 0),
        ("d/sub", "d/empty", 0),
        ("d/empty", "renamed", 0),
        ("renamed/b", "b", 0),
        ("b/c", "d", 0),
        ("tool", "secret", libc::RENAME_NOREPLACE),
        ("tool", "secret", libc::RENAME_EXCHANGE),
        ("tool", "full", libc::RENAME_EXCHANGE),
        ("missing", "file", 0),
        ("to_dir", "d", 0),
        ("to_dir", "d/nothing", 0),
        ("large", "large", 0),
        ("d/same", "e/same_too", 0),
        ("d/.", "x", 0),
        ("d/", "directory/", 0),
        ("sticky/", "sticky2", 0),
        ("large/", "x", 0),
    ] {
        see(
            &format!("{from} to {to} {flags}"),
            rename(from, to, flags.into()),
        );
    }
    see_tree(".");
}

fn removals() {
    for path in [
        "d", "file", "d/one", "d/empty", "to_dir", "d/sub/", "missing", "d/one/x", "e/.",
    ] {
        see(path, path_call(libc::SYS_rmdir, path, &[]));
    }
    for path in [
        "d", "d/", "file", "d/two", "to_dir", "missing", "d/sub", "tool/", "d/same",
    ] {
        see(path, path_call(libc::SYS_unlink, path, &[]));
    }
    see_tree(".");
    for path in ["e", "full", "d/sub"] {
        see(path, errno(fs::remove_dir_all(path)));
        see(path, status(path));
    }
    // What comes in their place is empty, and shows nothing of what was there.
    for path in ["full", "e", "d/sub"] {
        see(path, errno(fs::create_dir(path)));
        see(path, fs::read_dir(path).map(Iterator::count).ok());
        see(path, errno(fs::write(format!("{path}/three"), "new")));
    }
    see("file again", errno(fs::write("file", "again")));
    see_tree(".");
}

fn attributes() {
    let mut before = BTreeMap::new();
    let paths = [
        "file", "d/one", "d/sub", "d/empty", "d", "full/007", "to_file", "d/two",
    ];
    for path in paths {
        before.insert(path, id(path));
    }
    for (path, mode) in [
        ("file", 0o640),
        ("d/sub", 0o711),
        ("d", 0o700),
        ("d/sub/three", 0o400),
    ] {
        see(path, path_call(libc::SYS_chmod, path, &[mode]));
        see(path, status(path));
    }
    for path in ["d/empty", "full/007", "d/one"] {
        set_times(path, 1_100_000_000, 5);
        let found = fs::metadata(path).expect("it is there");
        see(path, (found.mtime(), found.mtime_nsec(), found.atime()));
    }
    let (name, value) = (CString::new("user.test").expect("text"), *b"value");
    for path in ["d/two", "tool", "d/sub", "e/a"] {
        let rest = [text(&name), value.as_ptr() as u64, 5, 0];
        see(path, path_call(libc::SYS_setxattr, path, &rest));
        let mut got = [0u8; 16];
        let rest = [text(&name), got.as_mut_ptr() as u64, 16];
        see(path, path_call(libc::SYS_getxattr, path, &rest));
        see("value", &got[..5]);
        see(path, path_call(libc::SYS_removexattr, path, &[text(&name)]));
        see(path, path_call(libc::SYS_removexattr, path, &[text(&name)]));
    }
    let owner = fs::metadata("large").expect("it is there").uid();
    see(
        "owner",
        path_call(libc::SYS_chown, "large", &[owner.into(), u64::MAX]),
    );
    // By a descriptor of a file that is open for reading only.
    let open = File::open("e/a/x").expect("open");
    see(
        "by descriptor",
        errno(open.set_permissions(fs::Permissions::from_mode(0o604))),
    );
    see("by descriptor", status("e/a/x"));
    for path in paths {
        see(path, id(path) == before[path]);
    }
    see_tree(".");
}

fn links() {
    // Before any file of more names is changed.
    see("added", append("e/pair", "and more\n"));
    for path in ["d/pair", "e/pair"] {
        see(path, (status(path), fs::read_to_string(path).ok()));
    }
    see("the same", id("d/pair") == id("e/pair"));
    let paths = ["d/one", "d/same", "e/same_too"];
    let one = id("d/one");
    for path in paths {
        see(path, (status(path), id(path) == one));
    }
    see("written", errno(fs::write("d/same", "by another name\n")));
    for path in paths {
        see(
            path,
            (status(path), id(path) == one, fs::read_to_string(path).ok()),
        );
    }
    see("linked", errno(fs::hard_link("e/same_too", "e/four")));
    for path in paths {
        see(path, (status(path), id(path) == one));
    }
    see("removed", errno(fs::remove_file("e/four")));
    see("removed", errno(fs::remove_file("d/one")));
    for path in paths {
        see(path, status(path));
    }
    let file = id("file");
    see("linked", errno(fs::hard_link("file", "d/also")));
    see(
        "the same",
        (id("file") == file, id("d/also") == file, status("file")),
    );
    see_tree(".");
}

fn append(path: &str, text: &str) -> Result<()> {
    let mut file = errno(OpenOptions::new().append(true).open(path))?;
    errno(file.write_all(text.as_bytes()))
}

/// `d_ino` and `d_type` of each name, as readdir(3) gives them.
fn entries(path: &str) -> BTreeMap<String, (u64, u8)> {
    let directory = File::open(path).expect("a directory");
    let fd = directory.as_raw_fd().cast_unsigned().into();
    let mut all = BTreeMap::new();
    // Small, so that there are many calls.
    let mut buffer = [0u64; 64];
    loop {
        let to = buffer.as_mut_ptr() as u64;
        let got = call(libc::SYS_getdents64, &[fd, to, 512]).expect("entries");
        if got == 0 {
            return all;
        }
        // SAFETY: the buffer is as large.
        let bytes = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), 512) };
        let mut rest = &bytes[..usize::try_from(got).expect("small")];
        while !rest.is_empty() {
            let ino = u64::from_ne_bytes(rest[..8].try_into().expect("eight"));
            let length = usize::from(u16::from_ne_bytes(rest[16..18].try_into().expect("two")));
            let name = rest[19..length]
                .split(|&byte| byte == 0)
                .next()
                .expect("a name");
            let name = String::from_utf8_lossy(name).into_owned();
            assert!(
                all.insert(name, (ino, rest[18])).is_none(),
                "a name comes twice"
            );
            rest = &rest[length..];
        }
    }
}

fn listings() {
    let look = || {
        for directory in [".", "d", "d/sub", "full", "e/a", "d/empty"] {
            let all = entries(directory);
            for (name, (ino, kind)) in &all {
                let found = fs::symlink_metadata(format!("{directory}/{name}")).expect("there");
                let is_same = name == "." || name == ".." || found.ino() == *ino;
                if name != "guest" {
                    see(&format!("{directory}/{name}"), (kind, is_same));
                }
            }
        }
    };
    look();
    fs::write("d/one", "changed").expect("written");
    fs::write("full/100", "changed").expect("written");
    fs::write("full/new", "new").expect("written");
    fs::remove_file("full/101").expect("removed");
    fs::create_dir("d/sub/made").expect("made");
    look();
}

fn moved() {
    let number = id("d/sub");
    see("moved", rename("d", "dd", 0));
    see("moved", rename("dd/sub", "e/a/sub", 0));
    see("the same", id("e/a/sub") == number);
    for path in [
        "dd/one",
        "e/a/sub/three",
        "e/a/sub/deep/four",
        "dd/up",
        "e/a/sub/across",
    ] {
        see(path, errno(fs::read_to_string(path)));
    }
    see(
        "written",
        errno(fs::write("e/a/sub/deep/four", "changed\n")),
    );
    see(
        "mode",
        path_call(libc::SYS_chmod, "e/a/sub/three", &[0o600]),
    );
    see("removed", errno(fs::remove_file("dd/nothing")));
    see("working", errno(std::env::set_current_dir("e/a/sub/deep")));
    see("up", errno(fs::read_to_string("../three")));
    see("further", errno(fs::read_to_string("../../x")));
    see("moved", rename("../../../../dd", "../../b/back", 0));
    see("found", errno(fs::read_to_string("../../b/back/two")));
    see("top", errno(std::env::set_current_dir("../../../..")));
    see_tree(".");
    see("all", errno(fs::remove_dir_all("e")));
    see_tree(".");
}

fn descriptors() {
    let directory = File::open("d").expect("open");
    let fd = directory.as_raw_fd().cast_unsigned().into();
    let at = |nr: i64, path: &str, rest: &[u64]| {
        let path = CString::new(path).expect("no NUL");
        let mut arguments = vec![fd, text(&path)];
        arguments.extend(rest);
        call(nr, &arguments)
    };
    see("made", at(libc::SYS_mkdirat, "made", &[0o700]));
    see("there", at(libc::SYS_mkdirat, "sub", &[0o700]));
    see("unlinked", at(libc::SYS_unlinkat, "two", &[0]));
    see("unlinked", at(libc::SYS_unlinkat, "sub", &[0]));
    see("opened", at(libc::SYS_openat, "sub/three", &[2, 0]).is_ok());
    see("opened", at(libc::SYS_openat, "../file", &[2, 0]).is_ok());
    // The directory moves away from under the descriptor.
    see("moved", rename("d", "away", 0));
    see(
        "opened",
        at(libc::SYS_openat, "sub/deep/four", &[1, 0]).is_ok(),
    );
    see("opened", at(libc::SYS_openat, "nothing", &[1, 0]).is_ok());
    // A file that was open before it was changed, and after it was removed.
    let mut old = File::open("e/a/x").expect("open");
    let mut new = OpenOptions::new()
        .read(true)
        .write(true)
        .open("e/a/x")
        .expect("open");
    see("written", errno(new.write_all(b"y")));
    see("removed", errno(fs::remove_file("e/a/x")));
    let mut content = String::new();
    see("old", errno(old.read_to_string(&mut content)));
    see("new", new.metadata().map(|found| found.len()).ok());
    see_tree(".");
}

fn mappings() {
    let map = |file: &File, prot: i32, flags: i32| {
        // SAFETY: a new mapping.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), 4096, prot, flags, file.as_raw_fd(), 0) };
        assert_ne!(at, libc::MAP_FAILED, "mapped");
        at.cast::<u8>()
    };
    let (read, write) = (libc::PROT_READ, libc::PROT_WRITE);
    let one = OpenOptions::new()
        .read(true)
        .write(true)
        .open("file")
        .expect("open");
    let two = File::open("file").expect("open");
    let first = map(&one, read | write, libc::MAP_SHARED);
    let second = map(&two, read, libc::MAP_SHARED);
    let private = map(&two, read | write, libc::MAP_PRIVATE);
    // SAFETY: the mappings are there, and are a page long.
    let put = |at: *mut u8, byte| unsafe { at.write_volatile(byte) };
    // SAFETY: as above.
    let get = |at: *mut u8| unsafe { at.read_volatile() };
    put(first, b'A');
    see("shared", get(second));
    put(private.wrapping_add(1), b'P');
    let others = get(second.wrapping_add(1));
    see("private", (get(private.wrapping_add(1)), others));
    see("read", fs::read_to_string("file").ok());
    see("written", errno(one.write_all_at(b"B", 2)));
    see("seen", get(second.wrapping_add(2)));
}

fn holes() {
    let blocks = |path: &str| fs::metadata(path).expect("there").blocks() * 512;
    see(
        "before",
        (
            blocks("large") < 1 << 20,
            fs::metadata("large").map(|it| it.len()).ok(),
        ),
    );
    let large = OpenOptions::new().write(true).open("large").expect("open");
    see("written", errno(large.write_all_at(b"x", 5)));
    see(
        "after",
        (
            blocks("large") < 1 << 20,
            fs::metadata("large").map(|it| it.len()).ok(),
        ),
    );
    see_tree(".");
}

fn together() {
    const EACH: usize = 20;
    // All of them raise the same files at once, and lose nothing.
    let children = [0; 6].map(|_| {
        child(|| {
            for round in 0..EACH {
                for path in [
                    "file".to_owned(),
                    format!("full/{round:03}"),
                    "d/same".to_owned(),
                ] {
                    let opened = OpenOptions::new().append(true).open(path);
                    if opened.and_then(|mut file| file.write_all(b"+")).is_err() {
                        return 1;
                    }
                }
                if fs::create_dir_all(format!("d/sub/deep/{round}")).is_err() {
                    return 2;
                }
            }
            0
        })
    });
    for child in children {
        see("ended", child.wait() == Ok(End::Exited(0)));
    }
    see_tree(".");
}

fn watches() {
    let fd = libc_result(
        // SAFETY: takes a number.
        unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) },
    );
    let fd = fd.expect("a watcher").cast_unsigned();
    let path = CString::new("d").expect("text");
    let mask = libc::IN_CREATE | libc::IN_DELETE | libc::IN_CLOSE_WRITE;
    see(
        "watched",
        call(libc::SYS_inotify_add_watch, &[fd, text(&path), mask.into()]),
    );
    fs::write("d/made", "x").expect("written");
    fs::remove_file("d/nothing").expect("removed");
    let mut buffer = [0u64; 512];
    let got = call(libc::SYS_read, &[fd, buffer.as_mut_ptr() as u64, 4096]);
    let got = usize::try_from(got.expect("events")).expect("small");
    // SAFETY: the buffer is as large.
    let mut rest = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), got) };
    while rest.len() >= 16 {
        let word = |at: usize| u32::from_ne_bytes(rest[at..at + 4].try_into().expect("four"));
        let (mask, length) = (word(4), word(12) as usize);
        let name = rest[16..16 + length]
            .split(|&byte| byte == 0)
            .next()
            .expect("a name");
        see("event", (mask, String::from_utf8_lossy(name)));
        rest = &rest[16 + length..];
    }
}

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 20).expect("it fits") % end
    }
}

/// Calls of all kinds on paths of all kinds; what each gives, and the tree now and then.
fn random() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let names = [
        "d", "e", "a", "b", "c", "sub", "deep", "one", "two", "same", "x", "file", "new",
    ];
    let path = |numbers: &mut Numbers| {
        // Mostly something that is there.
        let all: Vec<String> = tree(".").into_keys().collect();
        let mut path = match numbers.below(4) {
            0 => ".".to_owned(),
            _ if all.is_empty() => ".".to_owned(),
            _ => all[numbers.below(all.len())].clone(),
        };
        if numbers.below(3) == 0 {
            path = format!("{path}/{}", names[numbers.below(names.len())]);
        }
        path
    };
    fs::remove_dir_all("full").expect("removed");
    fs::remove_file("large").expect("removed");
    for round in 0..1500 {
        let (one, two) = (path(&mut numbers), path(&mut numbers));
        let what = numbers.below(13);
        let result = match what {
            0 => errno(fs::write(&one, format!("{round}"))),
            1 => errno(OpenOptions::new().append(true).open(&one))
                .and_then(|mut file| errno(file.write_all(b"+"))),
            2 => path_call(libc::SYS_mkdir, &one, &[0o755]).map(drop),
            3 => path_call(libc::SYS_rmdir, &one, &[]).map(drop),
            4 => path_call(libc::SYS_unlink, &one, &[]).map(drop),
            5 | 6 => rename(&one, &two, 0).map(drop),
            7 => rename(&one, &two, libc::RENAME_EXCHANGE.into()).map(drop),
            // Of several mistakes another one may be told first.
            8 if fs::symlink_metadata(&one).is_ok_and(|found| !found.is_dir()) => {
                errno(fs::hard_link(&one, &two))
            }
            9 => errno(symlink(&one, &two)),
            10 if status(&one).is_ok_and(|line| !line.starts_with("12")) => {
                let mode = 0o600 | u64::try_from(numbers.below(0o200)).expect("small");
                path_call(libc::SYS_chmod, &one, &[mode | 0o100]).map(drop)
            }
            11 => path_call(libc::SYS_truncate, &one, &[2]).map(drop),
            _ => errno(fs::read(&one)).map(drop),
        };
        see(&format!("{round}: {what} {one} {two}"), result);
        if round % 100 == 99 {
            see_tree(".");
        }
    }
    see_tree(".");
}
