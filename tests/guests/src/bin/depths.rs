//! Directories whose paths are longer than any path may be: what begins there and goes up, and what is
//! named on the way.

use picozone_guests::{CWD, Result, call, child, close, name, sections, see, signed, text};
use std::os::unix::fs::MetadataExt;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if let [_, mode, top] = &words[..]
        && mode == "outside"
    {
        return outside(top);
    }
    sections(&[
        ("up", up),
        ("paths", paths),
        ("links", links),
        ("changes", changes),
        ("working", working),
        ("moved", moved),
        ("gone", gone),
        ("resolved", resolved),
        ("rooted", rooted),
        ("rights", rights),
    ]);
}

/// How deep: 40 names of 200 characters are 8,000 bytes.
const DEPTH: usize = 40;
const USER: u64 = 1234;

fn at(nr: i64, fd: u64, path: &str, rest: &[u64]) -> Result<u64> {
    let path = name(path);
    let mut all = vec![fd, text(&path)];
    all.extend(rest);
    call(nr, &all)
}

fn open(fd: u64, path: &str, flags: i32) -> Result<u64> {
    at(libc::SYS_openat, fd, path, &[signed(flags), 0o644])
}

fn directory(fd: u64, path: &str) -> u64 {
    open(fd, path, libc::O_PATH | libc::O_DIRECTORY).expect("a directory")
}

/// The name at a depth.
fn step(depth: usize) -> String {
    format!("{depth:03}{}", "d".repeat(197))
}

/// Makes the tree below a name, one directory in the other; the deepest.
fn make(top: &str) -> u64 {
    at(libc::SYS_mkdirat, CWD, top, &[0o755]).expect("made");
    let mut here = directory(CWD, top);
    for depth in 0..DEPTH {
        at(libc::SYS_mkdirat, here, &step(depth), &[0o755]).expect("made");
        let next = directory(here, &step(depth));
        close(here);
        here = next;
    }
    here
}

/// What a descriptor or a path from it is, as far as it is the same everywhere.
fn stat(fd: u64, path: &str) -> Result<(u64, u32, u64, u64)> {
    // SAFETY: all zero is a valid structure.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    let to = std::ptr::from_mut(&mut found) as u64;
    at(libc::SYS_newfstatat, fd, path, &[to, signed(flags)])?;
    Ok((
        found.st_ino,
        found.st_mode,
        found.st_size.cast_unsigned(),
        found.st_uid.into(),
    ))
}

fn inode(fd: u64, path: &str) -> Result<u64> {
    stat(fd, path).map(|found| found.0)
}

/// The same without the inode.
fn shape(fd: u64, path: &str) -> Result<String> {
    stat(fd, path).map(|(_, mode, _, uid)| format!("{mode:o} {uid}"))
}

/// Goes all the way up, step by step and in larger ones, and compares with the way down.
fn up() {
    let deepest = make("up");
    let mut way = vec![inode(CWD, "up").expect("there")];
    let mut here = directory(CWD, "up");
    for depth in 0..DEPTH {
        let next = directory(here, &step(depth));
        close(here);
        way.push(inode(next, "").expect("there"));
        here = next;
    }
    close(here);
    let mut here = directory(deepest, ".");
    for depth in (0..DEPTH).rev() {
        let above = open(here, "..", libc::O_RDONLY | libc::O_DIRECTORY);
        let above = above.expect("there is one above");
        assert_eq!(inode(above, ""), Ok(way[depth]), "{depth}");
        assert_eq!(inode(here, ".."), Ok(way[depth]), "{depth}");
        close(here);
        here = above;
    }
    see("all the way", inode(here, "") == inode(CWD, "up"));
    close(here);
    for count in [2, 3, 7, 39, 40] {
        let path = vec![".."; count].join("/");
        let found = inode(deepest, &path);
        see("steps at once", (count, found == Ok(way[DEPTH - count])));
        let slashed = inode(deepest, &format!(".//{path}/.//"));
        see("the same", slashed == found);
    }
    let past = vec![".."; DEPTH + 1].join("/");
    see("past it", inode(deepest, &past) == inode(CWD, "."));
    let top = vec![".."; 200].join("/");
    see("to the top", inode(deepest, &top) == inode(CWD, "/"));
    close(deepest);
}

/// Paths that go up and down.
fn paths() {
    let deepest = make("paths");
    let last = step(DEPTH - 1);
    see(
        "back",
        inode(deepest, &format!("../{last}")) == inode(deepest, ""),
    );
    at(libc::SYS_mkdirat, deepest, "in", &[0o700]).expect("made");
    close(open(deepest, "in/file", libc::O_CREAT | libc::O_RDWR).expect("made"));
    for path in [
        "in/..",
        "in/../in",
        "in/../in/file",
        "in/../in/file/",
        "in/../in/file/..",
        "in/../in/.././in/file",
        "in/../none",
        "in/../none/..",
        "in/../none/file",
        "none/..",
        "in/file/..",
        "in/file/../file",
        "../../..",
        "../none",
        "../none/",
        "..none",
        "...",
    ] {
        see(path, shape(deepest, path));
    }
    let long = format!("in/../{}", "n".repeat(256));
    see("too long a name", shape(deepest, &long));
    let long = format!("in/../{}", "./".repeat(2100));
    see("too long a path", shape(deepest, &long));
    let long = format!("in/..{}", "/in/..".repeat(600));
    see("nearly too long", shape(deepest, &long));
    let file = directory(deepest, "in");
    see("from below", shape(file, "../in/file"));
    close(file);
    let file = open(deepest, "in/file", libc::O_RDONLY).expect("there");
    see("from a file", shape(file, ".."));
    close(file);
    see("not open", shape(999, ".."));
    close(deepest);
}

fn link(fd: u64, target: &str, path: &str) {
    let target = name(target);
    let path = name(path);
    call(libc::SYS_symlinkat, &[text(&target), fd, text(&path)]).expect("made");
}

/// Links in the deep and out of it.
fn links() {
    let deepest = make("links");
    at(libc::SYS_mkdirat, deepest, "in", &[0o700]).expect("made");
    close(open(deepest, "in/file", libc::O_CREAT | libc::O_RDWR).expect("made"));
    std::fs::write("target", "t").expect("made");
    let work = std::env::current_dir().expect("it is there");
    let target = work.join("target");
    link(deepest, "in", "relative");
    link(deepest, "../../..", "three");
    link(deepest, "in/../in/file", "file");
    link(deepest, "../none", "dangling");
    link(deepest, "loop", "loop");
    link(deepest, target.to_str().expect("text"), "absolute");
    link(deepest, "/", "top");
    for path in [
        "relative/..",
        "relative/../in/file",
        "relative/../relative/file",
        "three/.",
        "three/..",
        "in/../three/",
        "file",
        "file/",
        "in/../file",
        "dangling/..",
        "loop/..",
        "in/../loop/",
        "absolute/..",
        "top/..",
    ] {
        see(path, shape(deepest, path));
    }
    let read = |path: &str| {
        let fd = open(deepest, path, libc::O_RDONLY)?;
        let mut byte = [0u8; 8];
        let got = call(libc::SYS_read, &[fd, byte.as_mut_ptr() as u64, 8]);
        close(fd);
        got
    };
    see(
        "three",
        inode(deepest, "three/") == inode(deepest, "../../.."),
    );
    for path in [
        "in/../absolute",
        "in/../file",
        "in/../loop",
        "in/../dangling",
    ] {
        see(path, read(path));
    }
    let here = work.strip_prefix("/").expect("absolute").join("target");
    see("by the top", read(&format!("in/../top/{}", here.display())));
    let nofollow = libc::O_RDONLY | libc::O_NOFOLLOW;
    see("not followed", open(deepest, "in/../file", nofollow));
    let only = libc::O_PATH | libc::O_NOFOLLOW;
    see("itself", open(deepest, "in/../file", only).map(close));
    let mut room = [0u8; 64];
    let to = room.as_mut_ptr() as u64;
    see(
        "text",
        at(libc::SYS_readlinkat, deepest, "in/../file", &[to, 64]),
    );
    see("text", String::from_utf8_lossy(&room[..13]));
    see(
        "made",
        open(deepest, "in/../dangling", libc::O_CREAT | libc::O_RDWR).map(close),
    );
    see("there", shape(deepest, "../none"));
    close(deepest);
}

/// Changes by such paths.
fn changes() {
    let deepest = make("changes");
    let mkdir = |path: &str| at(libc::SYS_mkdirat, deepest, path, &[0o755]);
    see("made", mkdir("../beside"));
    see("made again", mkdir("../beside"));
    see("made", mkdir("../beside/../more"));
    see("no dots", mkdir("../beside/.."));
    see("no dot", mkdir("../beside/."));
    let makes = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
    see("file", open(deepest, "../beside/file", makes).map(close));
    see("file again", open(deepest, "../beside/file", makes));
    see(
        "mode",
        at(libc::SYS_fchmodat, deepest, "../beside/file", &[0o640]),
    );
    see("is", shape(deepest, "../beside/file"));
    see(
        "access",
        at(libc::SYS_faccessat, deepest, "../beside/file", &[4]),
    );
    let times = [1u64, 0, 2, 0];
    let times = [times.as_ptr() as u64, 0];
    see(
        "times",
        at(libc::SYS_utimensat, deepest, "../beside/file", &times),
    );
    let owner = [signed(-1), signed(-1), 0];
    see(
        "owner",
        at(libc::SYS_fchownat, deepest, "../beside/file", &owner),
    );
    let rename = |from: &str, to: &str| {
        let (from, to) = (name(from), name(to));
        call(
            libc::SYS_renameat2,
            &[deepest, text(&from), deepest, text(&to), 0],
        )
    };
    see("renamed", rename("../beside/file", "file"));
    see("back", rename("file", "../more/../more/file"));
    see("into itself", rename("..", "../more/x"));
    let (from, to) = (name("../more/file"), name("../linked"));
    let linked = call(
        libc::SYS_linkat,
        &[deepest, text(&from), deepest, text(&to), 0],
    );
    see("linked", linked);
    let to = name("../again");
    let follow = [deepest, text(&from), deepest, text(&to), 0x400];
    see(
        "linked by what it leads to",
        call(libc::SYS_linkat, &follow),
    );
    see(
        "fifo",
        at(libc::SYS_mknodat, deepest, "../fifo", &[0o010_644, 0]),
    );
    see("is", shape(deepest, "../fifo"));
    let temporary = open(deepest, "../more", libc::O_TMPFILE | libc::O_RDWR);
    see("without a name", temporary.map(close));
    for path in [
        "../linked",
        "../again",
        "../more/file",
        "../fifo",
        "../none",
    ] {
        see(path, at(libc::SYS_unlinkat, deepest, path, &[0]));
    }
    let rmdir = |path: &str| at(libc::SYS_unlinkat, deepest, path, &[0x200]);
    for path in [
        "../more",
        "../beside",
        "../beside/..",
        "..",
        "../.",
        "../../..",
    ] {
        see(path, rmdir(path));
    }
    close(deepest);
    // As rm -r does it.
    let mut here = make("removed");
    for depth in (0..DEPTH).rev() {
        let above = open(
            here,
            "..",
            libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW,
        );
        let above = above.expect("there is one above");
        close(here);
        at(libc::SYS_unlinkat, above, &step(depth), &[0x200]).expect("it is empty");
        here = above;
    }
    close(here);
    see("removed", at(libc::SYS_unlinkat, CWD, "removed", &[0x200]));
}

/// A working directory in the deep is left as any.
fn working() {
    let deepest = make("working");
    let done = child(|| {
        see("there", call(libc::SYS_fchdir, &[deepest]));
        let mut room = vec![0u8; 20_000];
        let to = room.as_mut_ptr() as u64;
        see("where", call(libc::SYS_getcwd, &[to, 20_000]));
        see("..", shape(CWD, ".."));
        see(".. of it", inode(CWD, "..") == inode(deepest, ".."));
        for _ in 0..DEPTH {
            let up = name("..");
            call(libc::SYS_chdir, &[text(&up)]).expect("up");
        }
        let here = std::fs::metadata(".").expect("there").ino();
        let top = inode(deepest, &vec![".."; DEPTH].join("/"));
        see("up", top == Ok(here));
        let path = std::env::current_dir().expect("it has a path");
        see("path", path.file_name().map(std::ffi::OsStr::to_owned));
        0
    });
    see("child", done.wait());
    close(deepest);
}

/// A directory above is another one after a move.
fn moved() {
    let deepest = make("moved");
    at(libc::SYS_mkdirat, CWD, "other", &[0o755]).expect("made");
    let middle = {
        let mut here = directory(CWD, "moved");
        for depth in 0..DEPTH / 2 {
            let next = directory(here, &step(depth));
            close(here);
            here = next;
        }
        here
    };
    let (from, to) = (name(&step(DEPTH / 2)), name("other/short"));
    let rename = call(
        libc::SYS_renameat2,
        &[middle, text(&from), CWD, text(&to), 0],
    );
    see("moved", rename);
    // From the deepest 19 names are below it.
    let up = |count: usize| vec![".."; count].join("/");
    let below = DEPTH - DEPTH / 2 - 1;
    see(
        "it",
        inode(deepest, &up(below)) == inode(CWD, "other/short"),
    );
    see(
        "above",
        inode(deepest, &up(below + 1)) == inode(CWD, "other"),
    );
    see("not there", inode(middle, &step(DEPTH / 2)));
    see(
        "the middle's",
        inode(middle, &up(DEPTH / 2)) == inode(CWD, "moved"),
    );
    close(middle);
    close(deepest);
}

/// What is gone still has a directory above it.
fn gone() {
    let deepest = make("gone");
    at(libc::SYS_mkdirat, deepest, "last", &[0o755]).expect("made");
    let last = directory(deepest, "last");
    see("removed", at(libc::SYS_unlinkat, deepest, "last", &[0x200]));
    see("itself", inode(last, ".").is_ok());
    see("above", inode(last, "..") == inode(deepest, ""));
    see("made", at(libc::SYS_mkdirat, last, "x", &[0o755]));
    see("beside", at(libc::SYS_mkdirat, last, "../x", &[0o755]));
    close(last);
    close(deepest);
}

/// openat2(2) from there.
fn resolved() {
    let deepest = make("resolved");
    at(libc::SYS_mkdirat, deepest, "in", &[0o700]).expect("made");
    close(open(deepest, "in/file", libc::O_CREAT | libc::O_RDWR).expect("made"));
    link(deepest, "in/file", "link");
    link(deepest, "../..", "out");
    link(deepest, "/", "top");
    let open2 = |path: &str, resolve: u64| {
        let how = [libc::O_PATH as u64, 0, resolve];
        let args = [how.as_ptr() as u64, 24];
        at(libc::SYS_openat2, deepest, path, &args).map(close)
    };
    // None, RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, both, RESOLVE_IN_ROOT, with the second.
    for resolve in [0, 8, 4, 12, 16, 20] {
        for path in [
            "in/file", "link", "out", "top", "..", "in/..", "in/../..", "../..", "/", "none",
        ] {
            see(path, (resolve, open2(path, resolve)));
        }
    }
    close(deepest);
}

/// A root directory bounds them too.
fn rooted() {
    let deepest = make("rooted");
    let done = child(|| {
        let root = name("rooted");
        see("chroot", call(libc::SYS_chroot, &[text(&root)]));
        see(
            "top",
            inode(deepest, &vec![".."; DEPTH].join("/")) == inode(CWD, "/"),
        );
        see(
            "past",
            inode(deepest, &vec![".."; DEPTH + 3].join("/")) == inode(CWD, "/"),
        );
        see(
            "in",
            inode(deepest, &format!("../{}", step(DEPTH - 1))) == inode(deepest, ""),
        );
        0
    });
    see("child", done.wait());
    close(deepest);
}

/// Makes a tree, and when told so goes up from its end: what is above by then is told.
fn outside(top: &str) {
    let deepest = make(top);
    see("above", shape(deepest, ".."));
    let mut word = [0u8; 1];
    call(libc::SYS_read, &[0, word.as_mut_ptr() as u64, 1]).expect("told");
    for count in [1, 2, 20, DEPTH - 1, DEPTH, DEPTH + 1, DEPTH + 5] {
        let path = vec![".."; count].join("/");
        let how = libc::O_PATH | libc::O_DIRECTORY;
        see("above", (count, open(deepest, &path, how).map(close)));
    }
}

/// Who may not search a directory goes up no further.
fn rights() {
    let deepest = make("rights");
    let as_user = |what: &dyn Fn()| {
        let done = child(|| {
            call(libc::SYS_setgroups, &[0, 0]).expect("root may");
            call(libc::SYS_setresgid, &[USER, USER, USER]).expect("root may");
            call(libc::SYS_setresuid, &[USER, USER, USER]).expect("root may");
            what();
            0
        });
        see("child", done.wait());
    };
    at(libc::SYS_mkdirat, deepest, "in", &[0o755]).expect("made");
    as_user(&|| {
        see("..", shape(deepest, ".."));
        see("down", shape(deepest, "in/."));
        see("and up", shape(deepest, "in/../in"));
        see("made", at(libc::SYS_mkdirat, deepest, "../mine", &[0o755]));
    });
    see("closed", at(libc::SYS_fchmodat, deepest, "in", &[0o700]));
    see("closed", at(libc::SYS_fchmodat, deepest, "..", &[0o700]));
    as_user(&|| {
        see("..", shape(deepest, ".."));
        see("../..", shape(deepest, "../.."));
        see("opened", open(deepest, "..", libc::O_RDONLY));
        see("down", shape(deepest, "in/."));
        see("and up", shape(deepest, "in/../in"));
    });
    see("opened", at(libc::SYS_fchmodat, deepest, "..", &[0o733]));
    as_user(&|| {
        see("made", at(libc::SYS_mkdirat, deepest, "../mine", &[0o755]));
        see("listed", open(deepest, "..", libc::O_RDONLY));
        see(
            "not theirs",
            at(libc::SYS_unlinkat, deepest, "../../x", &[0]),
        );
    });
    see("whose", shape(deepest, "../mine"));
    close(deepest);
}
