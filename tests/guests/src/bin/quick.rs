//! Attributes of what is looked at again and again: whatever is remembered of the way there, every
//! change shows at once.
//!
//! Each path is looked at several times before a change and once after it. What others do at the same
//! time is counted, and must be one of two states.

use picozone_guests::children::pipe;
use picozone_guests::{CWD, Errno, Result, call, child, name, out, sections, see, signed, text};
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

fn main() {
    sections(&[
        ("renames", renames),
        ("removals", removals),
        ("links", links),
        ("working_directories", working_directories),
        ("told_by_others", told_by_others),
        ("children", children),
        ("exchanged_meanwhile", exchanged_meanwhile),
        ("replaced_meanwhile", replaced_meanwhile),
        ("descriptors", descriptors),
        ("names", names),
        ("served", served),
        ("texts", texts),
    ]);
}

/// Kind and size of what a path names.
fn look_at(dirfd: u64, path: &str, flags: i32) -> Result<(u32, i64)> {
    // SAFETY: zeros are a valid stat.
    let mut st: libc::stat = unsafe { std::mem::zeroed() };
    let path = name(path);
    let arguments = [dirfd, text(&path), out(&mut st), signed(flags)];
    call(libc::SYS_newfstatat, &arguments)?;
    let is_sized = st.st_mode & libc::S_IFMT != libc::S_IFDIR;
    let size = if is_sized { st.st_size } else { 0 };
    Ok((st.st_mode & libc::S_IFMT, size))
}

fn look(path: &str) -> Result<(u32, i64)> {
    look_at(CWD, path, 0)
}

/// Looks so often that whatever is remembered of a path is.
fn warm(path: &str) -> Result<(u32, i64)> {
    for _ in 0..5 {
        let _ = look(path);
    }
    look(path)
}

/// The size of what a path leads to, opened by it; of a directory 0.
fn open(path: &str, flags: i32) -> Result<i64> {
    let path = name(path);
    let fd = call(libc::SYS_openat, &[CWD, text(&path), signed(flags)])?;
    let found = look_at(fd, "", libc::AT_EMPTY_PATH);
    call(libc::SYS_close, &[fd])?;
    found.map(|(_, size)| size)
}

/// The same by an absolute path.
fn absolute(path: &str) -> String {
    let work = picozone_guests::work();
    work.join(path).to_str().expect("text").to_owned()
}

/// A directory with a file of that size.
fn make(directory: &str, size: usize) {
    fs::create_dir(directory).expect("made");
    fs::write(format!("{directory}/file"), vec![b'x'; size]).expect("made");
}

/// Sees a file by all its paths.
fn see_file(what: &str, path: &str) {
    let whole = absolute(path);
    see(what, [look(path), look(&whole)]);
    see(what, [open(path, 0), open(&whole, 0)]);
    see(what, open(&whole, libc::O_NOFOLLOW | libc::O_PATH));
    let path = name(path);
    let mut room = [0u8; 16];
    let access = call(libc::SYS_faccessat, &[CWD, text(&path), 4]);
    let length = call(
        libc::SYS_readlinkat,
        &[CWD, text(&path), out(&mut room), 16],
    );
    see(what, (access, length));
}

fn warm_file(path: &str) {
    let _ = (warm(path), warm(&absolute(path)));
    for _ in 0..20 {
        let _ = open(&absolute(path), 0);
    }
    see_file("before", path);
}

fn renames() {
    make("one", 1);
    make("two", 2);
    warm_file("one/file");
    fs::rename("one", "three").expect("renamed");
    see_file("renamed away", "one/file");
    see_file("under its new name", "three/file");
    fs::rename("two", "one").expect("renamed");
    see_file("another in its place", "one/file");
    fs::create_dir("outer").expect("made");
    fs::rename("three", "outer/inner").expect("renamed");
    warm_file("outer/inner/file");
    fs::rename("outer", "other").expect("renamed");
    see_file("the one above renamed", "outer/inner/file");
    see_file("the same", "other/inner/file");
    // Of directories that are not empty only one can be exchanged for another.
    let (a, b) = (name("one"), name("other/inner"));
    warm_file("one/file");
    let exchange = u64::from(libc::RENAME_EXCHANGE);
    see(
        "exchange",
        call(
            libc::SYS_renameat2,
            &[CWD, text(&a), CWD, text(&b), exchange],
        ),
    );
    see_file("exchanged", "one/file");
    see_file("exchanged", "other/inner/file");
    fs::write("one/more", "more").expect("made");
    warm_file("one/more");
    fs::rename("one/file", "one/more").expect("renamed");
    see_file("a file over it", "one/more");
    see_file("no file any more", "one/file");
}

fn removals() {
    make("one", 1);
    warm_file("one/file");
    fs::remove_file("one/file").expect("removed");
    see_file("removed", "one/file");
    fs::write("one/file", "another").expect("made");
    see_file("made again", "one/file");
    for round in 0..3 {
        fs::remove_dir_all("one").expect("removed");
        see_file("its directory removed", "one/file");
        make("one", round + 2);
        see_file("both made again", "one/file");
        warm_file("one/file");
    }
    fs::remove_dir_all("one").expect("removed");
    fs::write("one", "a file").expect("made");
    see_file("below a file", "one/file");
}

fn links() {
    make("one", 1);
    make("two", 2);
    symlink("one", "way").expect("a link");
    warm_file("way/file");
    symlink("two", "new").expect("a link");
    fs::rename("new", "way").expect("renamed");
    see_file("the way leads elsewhere", "way/file");
    fs::remove_file("way").expect("removed");
    see_file("no way", "way/file");
    fs::rename("two", "way").expect("renamed");
    warm_file("way/file");
    fs::rename("way", "two").expect("renamed");
    symlink("one", "way").expect("a link");
    see_file("a link in its place", "way/file");
    // The end of the path.
    symlink("file", "one/end").expect("a link");
    warm_file("one/end");
    see(
        "the link",
        look_at(CWD, "one/end", libc::AT_SYMLINK_NOFOLLOW),
    );
    fs::remove_file("one/end").expect("removed");
    fs::write("one/end", "no link any more").expect("made");
    see_file("a file", "one/end");
    fs::remove_file("one/end").expect("removed");
    symlink("/no/such", "one/end").expect("a link");
    see_file("to nowhere", "one/end");
    see(
        "the link",
        look_at(CWD, "one/end", libc::AT_SYMLINK_NOFOLLOW),
    );
}

fn working_directories() {
    for (directory, size) in [("a", 1), ("b", 2)] {
        fs::create_dir(directory).expect("made");
        make(&format!("{directory}/sub"), size);
    }
    let enter = |path: &str| std::env::set_current_dir(path).expect("it is there");
    enter("a");
    see("in a", warm("sub/file"));
    enter("../b");
    see("in b", look("sub/file"));
    see("in b", warm("sub/file"));
    enter("../a");
    see("in a again", look("sub/file"));
    fs::rename("../a", "../c").expect("renamed");
    see("in c", warm("sub/file"));
    // Threads share it.
    std::thread::spawn(|| std::env::set_current_dir("../b").expect("it is there"))
        .join()
        .expect("it ends");
    see("in b by another thread", look("sub/file"));
    enter("..");
    see("by a name with dots", warm("b/./sub/../sub/file"));
    see("by doubled slashes", warm("b//sub///file"));
    see("above", warm("b/../c/sub/file"));
    see("with a slash behind", warm("b/sub/file/"));
    see("a directory with one", warm("b/sub/"));
    see("a dot", warm("b/sub/."));
    see("two dots", warm("b/sub/.."));
}

/// Two processes: what one has changed, the other sees as soon as it is told.
fn told_by_others() {
    make("one", 1);
    make("two", 2);
    let (go, done) = (pipe().expect("a pipe"), pipe().expect("a pipe"));
    let other = child(|| {
        while go.hear() {
            let exchange = u64::from(libc::RENAME_EXCHANGE);
            let (one, two) = (name("one"), name("two"));
            let arguments = [CWD, text(&one), CWD, text(&two), exchange];
            if call(libc::SYS_renameat2, &arguments).is_err() {
                return 1;
            }
            done.tell();
        }
        0
    });
    let whole = absolute("one/file");
    let mut wrong = 0;
    for round in 0..300 {
        let size = 1 + round % 2;
        for path in ["one/file", &whole, "one/file", &whole, "one/file", &whole] {
            wrong += i32::from(look(path).map(|(_, size)| size) != Ok(size));
            wrong += i32::from(open(path, 0) != Ok(size));
        }
        go.tell();
        if !done.hear() {
            wrong += 1000;
        }
    }
    see("wrong", wrong);
    other.signal(libc::SIGKILL).expect("it runs");
    see("end", other.wait());
}

/// Children have what their parents had at hand, and each its own from then on.
fn children() {
    make("one", 1);
    make("two", 2);
    for path in ["one/file", "two/file"] {
        let _ = warm(path);
    }
    let first = child(|| {
        see("a child", [look("one/file"), look("two/file")]);
        for number in 0..20 {
            make(&format!("d{number}"), number + 10);
            let _ = warm(&format!("d{number}/file"));
        }
        0
    });
    see("end", first.wait());
    see("the parent", [look("one/file"), look("two/file")]);
    let sizes = || -> Vec<_> {
        (0..20)
            .map(|number| look(&format!("d{number}/file")).map(|(_, size)| size))
            .collect()
    };
    see("what the child has made", sizes());
    let program = std::process::Command::new("/bin/true").status();
    see("a program", program.is_ok_and(|status| status.success()));
    see("all", sizes());
    opened_only();
}

/// Directories in which files are only opened, more of them than are kept.
fn opened_only() {
    for number in 0..24 {
        make(&format!("o{number}"), number + 1);
    }
    let sizes = || -> Vec<_> {
        (0..24)
            .map(|number| open(&absolute(&format!("o{number}/file")), 0))
            .collect()
    };
    for _ in 0..40 {
        let _ = sizes();
    }
    see("opened", sizes());
    fs::rename("o3", "p3").expect("renamed");
    see("one is renamed", sizes());
    fs::rename("o4", "o3").expect("renamed");
    see("another has its name", sizes());
    let made = absolute("o5/made");
    let makes = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
    see("made", [open(&made, makes), open(&made, makes)]);
    see("and opened", open(&made, 0));
    see("with dots", open(&absolute("o5/.."), 0));
    see("with a slash behind", open(&absolute("o5/file/"), 0));
}

/// Two directories change places while threads look into them: each look finds one or the other.
fn exchanged_meanwhile() {
    make("one", 1);
    make("two", 2);
    let is_over = AtomicBool::new(false);
    let whole = absolute("one/file");
    let (found, exchanged) = std::thread::scope(|scope| {
        let lookers: Vec<_> = ["one/file", &whole, "two/file"]
            .map(|path| {
                let is_over = &is_over;
                scope.spawn(move || {
                    let mut wrong = 0;
                    while !is_over.load(SeqCst) {
                        let size = look(path).map(|(_, size)| size);
                        wrong += i32::from(!matches!(size, Ok(1 | 2)));
                        let size = open(path, libc::O_NONBLOCK);
                        wrong += i32::from(!matches!(size, Ok(1 | 2)));
                    }
                    wrong
                })
            })
            .into_iter()
            .collect();
        let mut wrong = 0;
        for round in 0..2000 {
            let (one, two) = (name("one"), name("two"));
            let exchange = u64::from(libc::RENAME_EXCHANGE);
            call(
                libc::SYS_renameat2,
                &[CWD, text(&one), CWD, text(&two), exchange],
            )
            .expect("exchanged");
            let expected = Ok(1 + (round + 1) % 2);
            for path in ["one/file", &whole] {
                wrong += i32::from(look(path).map(|(_, size)| size) != expected);
                wrong += i32::from(open(path, libc::O_NONBLOCK) != expected);
            }
        }
        is_over.store(true, SeqCst);
        let found: Vec<i32> = lookers
            .into_iter()
            .map(|looker| looker.join().expect("it ends"))
            .collect();
        (found, wrong)
    });
    see("wrong looks", found);
    see("wrong looks of who exchanges", exchanged);
}

/// A directory becomes a link to another, and back, while threads look through it.
fn replaced_meanwhile() {
    make("real", 1);
    make("other", 2);
    symlink("other", "link").expect("a link");
    let is_over = AtomicBool::new(false);
    let wrong: i32 = std::thread::scope(|scope| {
        let lookers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut wrong = 0;
                    while !is_over.load(SeqCst) {
                        let found = look("real/file").map(|(_, size)| size);
                        wrong += i32::from(!matches!(found, Ok(1 | 2)));
                        let link = look_at(CWD, "real", libc::AT_SYMLINK_NOFOLLOW);
                        let kind = link.map(|(kind, _)| kind);
                        wrong += i32::from(!matches!(kind, Ok(libc::S_IFLNK | libc::S_IFDIR)));
                    }
                    wrong
                })
            })
            .collect();
        for _ in 0..2000 {
            let (real, link) = (name("real"), name("link"));
            let exchange = u64::from(libc::RENAME_EXCHANGE);
            call(
                libc::SYS_renameat2,
                &[CWD, text(&real), CWD, text(&link), exchange],
            )
            .expect("exchanged");
        }
        is_over.store(true, SeqCst);
        lookers
            .into_iter()
            .map(|looker| looker.join().expect("it ends"))
            .sum()
    });
    see("wrong", wrong);
}

/// Whatever is kept at hand, the guest's descriptors are its own.
fn descriptors() {
    for number in 0..12 {
        make(&format!("d{number}"), number + 1);
    }
    let sizes = || -> Vec<_> {
        (0..12)
            .map(|number| warm(&format!("d{number}/file")).map(|(_, size)| size))
            .collect()
    };
    let lowest = || {
        // SAFETY: takes a number.
        let fd = unsafe { libc::dup(0) };
        // SAFETY: just made.
        unsafe { libc::close(fd) };
        fd
    };
    let before = lowest();
    see("sizes", sizes());
    see("the lowest number", lowest() == before);
    let limit = libc::rlimit {
        rlim_cur: 20,
        rlim_max: 20_000,
    };
    // SAFETY: a limit of ours.
    let limited = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    see("limited", limited);
    see("sizes", sizes());
    // SAFETY: zeros are a valid limit.
    let mut now: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: room for a limit.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut now) };
    see("the limit", now.rlim_cur);
    call(libc::SYS_close_range, &[3, u64::from(u32::MAX), 0]).expect("closed");
    see("sizes", sizes());
    // A table of the thread's own.
    let thread = std::thread::spawn(move || {
        let unshare = 2;
        let done = call(libc::SYS_close_range, &[3, u64::from(u32::MAX), unshare]);
        (done, look("d0/file"), warm("d11/file"))
    });
    see("a thread", thread.join().expect("it ends"));
    let thread = std::thread::spawn(move || {
        let done = call(
            libc::SYS_unshare,
            &[u64::from(libc::CLONE_FILES.unsigned_abs())],
        );
        (done, look("d1/file"), warm("d10/file"))
    });
    see("another thread", thread.join().expect("it ends"));
    see("sizes", sizes());
    let directory = name("d7");
    let fd = call(libc::SYS_openat, &[CWD, text(&directory), 0]).expect("opened");
    for _ in 0..4 {
        see("beneath a descriptor", look_at(fd, "file", 0));
        see("missing there", look_at(fd, "none", 0));
    }
    fs::rename("d7", "e7").expect("renamed");
    see("beneath it still", look_at(fd, "file", 0));
    see("a number that is not open", look_at(999, "file", 0));
    see("no directory", look_at(0, "file", 0).is_err());
}

/// Names of all lengths.
fn names() {
    fs::create_dir("d").expect("made");
    for length in [1, 7, 8, 9, 62, 63, 64, 65, 255] {
        let path = format!("d/{}", "n".repeat(length));
        see("missing", warm(&path));
        fs::write(&path, "x").expect("made");
        see("there", warm(&path));
    }
    see("too long", warm(&format!("d/{}", "n".repeat(256))));
    for odd in ["...", "..a", ".a", " ", "\u{fffd}", "a\nb"] {
        let path = format!("d/{odd}");
        fs::write(&path, odd).expect("made");
        see(odd, warm(&path));
    }
    for number in 0..2000 {
        let path = format!("d/missing{number}");
        if look(&path) != Err(Errno::ENOENT) {
            see("wrong", number);
        }
    }
}

/// What is no plain directory of a file system.
fn served() {
    let kind = |path: &str, flags| look_at(CWD, path, flags).map(|(kind, _)| kind);
    for _ in 0..4 {
        for path in ["/", "/proc", "/usr", "/dev", "/proc/self", "/dev/null"] {
            let nofollow = libc::AT_SYMLINK_NOFOLLOW;
            see(path, [kind(path, 0), kind(path, nofollow)]);
        }
        see("missing", kind("/proc/self/no-such", 0));
    }
    for directory in ["/", "/proc", "/proc/self", "/dev"] {
        std::env::set_current_dir(directory).expect("it is there");
        for path in ["proc", "usr", "self", "null", "stat", "no-such"] {
            let _ = warm(path);
            see(path, kind(path, 0));
            let path = name(path);
            let mut room = [0u8; 16];
            let arguments = [CWD, text(&path), out(&mut room), 16];
            let length = call(libc::SYS_readlinkat, &arguments);
            see("a link", length.is_ok());
        }
    }
}

/// Paths at the end of what can be read, however they lie in its words.
fn texts() {
    const PAGE: usize = 4096;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: new memory, where there is room.
    let pages = unsafe { libc::mmap(std::ptr::null_mut(), 3 * PAGE, protection, flags, -1, 0) };
    call(
        libc::SYS_munmap,
        &[pages as u64 + 2 * PAGE as u64, PAGE as u64],
    )
    .expect("unmapped");
    // SAFETY: just mapped, nobody else's, and never unmapped.
    let pages = unsafe { std::slice::from_raw_parts_mut(pages.cast::<u8>(), 2 * PAGE) };
    let stat_at = |pages: &[u8], at: usize| {
        // SAFETY: zeros are a valid stat.
        let mut st: libc::stat = unsafe { std::mem::zeroed() };
        let path = pages.as_ptr() as u64 + at as u64;
        call(libc::SYS_stat, &[path, out(&mut st)]).map(|_| st.st_size.unsigned_abs())
    };
    for (end, what) in [(2 * PAGE, "where memory ends"), (PAGE + 16, "on two pages")] {
        for length in 1..40 {
            let file = "n".repeat(length);
            fs::write(&file, &file).expect("written");
            for behind in 0..17 {
                pages.fill(b'n');
                let start = end - behind - length - 1;
                pages[end - behind - 1] = 0;
                assert_eq!(
                    stat_at(pages, start),
                    Ok(length as u64),
                    "{what} {length} {behind}"
                );
            }
            pages.fill(b'n');
            if end == pages.len() {
                let found = stat_at(pages, end - length);
                assert_eq!(found, Err(Errno::EFAULT), "{length}");
            }
        }
        see(what, "each is found");
    }
    // As long as a path may be, and longer by up to a word.
    pages.fill(b'/');
    for length in (PAGE - 9..PAGE + 9).chain([2 * PAGE]) {
        if let Some(end) = pages.get_mut(length) {
            *end = 0;
        }
        let found = (0..9).map(|at| stat_at(pages, at).map(|_| ()));
        see(
            &format!("slashes up to {length}"),
            found.collect::<Vec<_>>(),
        );
        pages.fill(b'/');
    }
}
