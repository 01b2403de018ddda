//! Files: opening, changes of the name space, directories, links, stats, bad arguments.

use picozone_guests::signals::{Act, handle};
use picozone_guests::{
    CWD, Errno, NOWHERE, Result, call, close, from, out, sections, see, signed, text, work,
};
use std::ffi::{CStr, CString};
use std::path::Path;

fn main() {
    // Beyond a limit of file size is an error, not a death.
    handle(libc::SIGXFSZ, Act::Ignore, 0).expect("ignored");
    sections(&[
        ("opens", opens),
        ("creates", creates),
        ("names", names),
        ("renames", renames),
        ("links", links),
        ("symlinks", symlinks),
        ("directories", directories),
        ("relative", relative),
        ("stats", stats),
        ("access", access),
        ("sizes", sizes),
        ("modes", modes),
        ("times", times),
        ("locks", locks),
        ("owners", owners),
        ("long_names", long_names),
        ("bad_addresses", bad_addresses),
        ("bad_descriptors", bad_descriptors),
        ("listing", listing),
        ("special", special),
        ("mappings", mappings),
        ("descriptors", descriptors),
        ("crossed", crossed),
    ]);
}

const RDONLY: i32 = libc::O_RDONLY;
const WRONLY: i32 = libc::O_WRONLY;
const RDWR: i32 = libc::O_RDWR;
const CREAT: i32 = libc::O_CREAT;
const DIRECTORY: i32 = libc::O_DIRECTORY;

fn open_at(dir: u64, name: &CStr, flags: i32, mode: u64) -> Result<u64> {
    call(libc::SYS_openat, &[dir, text(name), signed(flags), mode])
}

fn open(name: &CStr, flags: i32) -> Result<u64> {
    open_at(CWD, name, flags, 0o644)
}

/// Whether it opens, without its number.
fn opens_so(name: &CStr, flags: i32) -> Result<()> {
    open(name, flags).map(close)
}

fn write(name: &CStr, bytes: &[u8]) {
    let fd = open(name, WRONLY | CREAT | libc::O_TRUNC).expect("it can be made");
    let written = call(
        libc::SYS_write,
        &[fd, bytes.as_ptr() as u64, bytes.len() as u64],
    );
    assert_eq!(written, Ok(bytes.len() as u64));
    close(fd);
}

fn read(name: &CStr) -> Result<String> {
    let fd = open(name, RDONLY)?;
    let mut bytes = [0_u8; 4096];
    let count = call(libc::SYS_read, &[fd, out(&mut bytes), 4096]);
    close(fd);
    let count = usize::try_from(count?).expect("a length");
    Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
}

fn mkdir(name: &CStr) -> Result<u64> {
    call(libc::SYS_mkdir, &[text(name), 0o755])
}

fn unlink(name: &CStr) -> Result<u64> {
    call(libc::SYS_unlink, &[text(name)])
}

fn rmdir(name: &CStr) -> Result<u64> {
    call(libc::SYS_rmdir, &[text(name)])
}

fn symlink(target: &CStr, name: &CStr) -> Result<u64> {
    call(libc::SYS_symlink, &[text(target), text(name)])
}

/// An empty directory of the section's own, as the working directory.
fn fresh(name: &CStr) {
    std::env::set_current_dir(work()).expect("it is there");
    mkdir(name).expect("a directory");
    call(libc::SYS_chdir, &[text(name)]).expect("it is there");
}

/// Kind, mode, links, owner, size.
fn stat(name: &CStr) -> Result<(u32, u64, u32, u32, i64)> {
    stat_at(CWD, name, 0)
}

fn stat_at(dir: u64, name: &CStr, flags: i32) -> Result<(u32, u64, u32, u32, i64)> {
    // SAFETY: zeros are a valid block.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    call(
        libc::SYS_newfstatat,
        &[dir, text(name), out(&mut found), signed(flags)],
    )?;
    Ok(shown(&found))
}

fn shown(found: &libc::stat) -> (u32, u64, u32, u32, i64) {
    let is_dir = found.st_mode & libc::S_IFMT == libc::S_IFDIR;
    // How many links and bytes a directory has is the file system's affair.
    let (links, size) = if is_dir {
        (0, 0)
    } else {
        (found.st_nlink, found.st_size)
    };
    (found.st_mode, links, found.st_uid, found.st_gid, size)
}

fn opens() {
    fresh(c"opens");
    write(c"file", b"hello");
    mkdir(c"dir").expect("a directory");
    symlink(c"file", c"link").expect("a link");
    symlink(c"dir", c"dirlink").expect("a link");
    symlink(c"nowhere", c"dangling").expect("a link");
    symlink(c"loop", c"loop").expect("a link");
    let long = CString::new(vec![b'x'; 256]).expect("no NUL");
    let names: [&CStr; 22] = [
        c"file",
        c"file/",
        c"file/.",
        c"file/..",
        c"dir",
        c"dir/",
        c"dir/.",
        c"dir//..//file",
        c"link",
        c"link/",
        c"dirlink",
        c"dirlink/",
        c"dirlink/../file",
        c"dangling",
        c"dangling/",
        c"loop",
        c"loop/x",
        c"none",
        c"none/",
        c"none/x",
        c"",
        &long,
    ];
    let path = libc::O_PATH;
    let nofollow = libc::O_NOFOLLOW;
    for name in names {
        for flags in [
            RDONLY,
            WRONLY,
            RDWR,
            RDONLY | DIRECTORY,
            RDONLY | nofollow,
            path,
            path | nofollow,
            path | DIRECTORY,
            RDONLY | nofollow | DIRECTORY,
            WRONLY | libc::O_APPEND,
            RDONLY | libc::O_NONBLOCK,
        ] {
            see(
                "open",
                (
                    &name.to_string_lossy()[..name.count_bytes().min(20)],
                    flags,
                    opens_so(name, flags),
                ),
            );
        }
    }
    for name in [
        c"/",
        c"/..",
        c"/../..",
        c"/.",
        c"//",
        c"/etc/../etc/passwd",
        c"/usr",
        c"/bin",
        c"/bin/sh",
        c"/bin/",
        c"/proc",
        c"/dev/null",
        c"/tmp/.",
    ] {
        see(
            "absolute",
            (
                name,
                opens_so(name, RDONLY),
                opens_so(name, path | nofollow),
                opens_so(name, RDONLY | nofollow),
                opens_so(name, RDONLY | DIRECTORY),
            ),
        );
    }
    for flags in [
        3,
        RDONLY | libc::O_TRUNC,
        path | CREAT,
        path | RDWR,
        libc::O_TMPFILE,
        RDWR | libc::O_TMPFILE,
        DIRECTORY | CREAT,
    ] {
        see(
            "odd flags",
            (flags, opens_so(c"dir", flags), opens_so(c"file", flags)),
        );
    }
    write(c"file", b"hello");
    see(
        "O_TRUNC",
        (
            opens_so(c"file", WRONLY | libc::O_TRUNC),
            stat(c"file").map(|s| s.4),
        ),
    );
    let fd = open(c"file", RDWR | libc::O_APPEND | libc::O_CLOEXEC).expect("it is there");
    see(
        "F_GETFL",
        call(libc::SYS_fcntl, &[fd, 3]).map(|flags| flags & !0o100_000),
    );
    see("F_GETFD", call(libc::SYS_fcntl, &[fd, 1]));
    close(fd);
    let fd = call(libc::SYS_open, &[text(c"file"), 0]).expect("it opens");
    see("the lowest number", fd);
    close(fd);
    see("openat2", {
        let how = [0_u64, 0, 0];
        call(libc::SYS_openat2, &[CWD, text(c"file"), from(&how), 24]).map(close)
    });
    see(
        "openat2 of a bad size",
        call(
            libc::SYS_openat2,
            &[CWD, text(c"file"), from(&[0_u64; 3]), 8],
        ),
    );
    see(
        "openat2 of bad flags",
        call(
            libc::SYS_openat2,
            &[CWD, text(c"file"), from(&[1_u64 << 40, 0, 0]), 24],
        ),
    );
}

fn creates() {
    fresh(c"creates");
    let exclusive = WRONLY | CREAT | libc::O_EXCL;
    symlink(c"target", c"dangling").expect("a link");
    symlink(c"dir/deep", c"deep").expect("a link");
    mkdir(c"dir").expect("a directory");
    for (name, flags) in [
        (c"one", WRONLY | CREAT),
        (c"one", exclusive),
        (c"two", exclusive),
        (c"two", WRONLY | CREAT | libc::O_TRUNC),
        (c"dangling", exclusive),
        (c"dangling", WRONLY | CREAT),
        (c"target", exclusive),
        (c"deep", RDWR | CREAT),
        (c"three/", WRONLY | CREAT),
        (c"dir", WRONLY | CREAT),
        (c"dir", exclusive),
        (c"dir/", exclusive),
        (c"dir/.", WRONLY | CREAT),
        (c"one/x", WRONLY | CREAT),
        (c"none/x", WRONLY | CREAT),
        (c"", WRONLY | CREAT),
        (c".", WRONLY | CREAT),
        (c"..", exclusive),
        (c"/", WRONLY | CREAT),
        (c"nf", WRONLY | CREAT | libc::O_NOFOLLOW),
        (c"dangling", WRONLY | CREAT | libc::O_NOFOLLOW),
    ] {
        see("create", (name, flags, opens_so(name, flags)));
    }
    for mask in [0_u64, 0o22, 0o77, 0o777] {
        let _ = call(libc::SYS_umask, &[mask]);
        for mode in [0o777, 0o666, 0o600, 0o4755, 0o2755, 0o1777, 0o7777] {
            let made = open_at(CWD, c"masked", exclusive, mode).map(close);
            see(
                "mode",
                (
                    mask,
                    mode,
                    made,
                    stat(c"masked").map(|s| s.0),
                    unlink(c"masked"),
                ),
            );
        }
        let made = call(libc::SYS_mkdir, &[text(c"masked"), 0o1777]);
        see(
            "mkdir",
            (mask, made, stat(c"masked").map(|s| s.0), rmdir(c"masked")),
        );
    }
    let _ = call(libc::SYS_umask, &[0o22]);
    see(
        "creat",
        call(libc::SYS_creat, &[text(c"old"), 0o640]).map(close),
    );
    see("a mode without right", {
        let fd = open_at(CWD, c"locked", RDWR | CREAT, 0);
        let written = fd.and_then(|fd| call(libc::SYS_write, &[fd, text(c"abc"), 3]));
        fd.map(close).and(written)
    });
    see("a temporary file", {
        let fd = open(c".", RDWR | libc::O_TMPFILE);
        fd.and_then(|fd| {
            let written = call(libc::SYS_write, &[fd, text(c"abc"), 3]);
            close(fd);
            written
        })
    });
    // Each gets the inode of the one before, at once.
    for mode in [0, 0o640, 0, 0o604].into_iter().cycle().take(40) {
        let fd = open_at(CWD, c".", RDWR | libc::O_TMPFILE, mode);
        // SAFETY: all zero is a valid `struct stat`.
        let mut found = unsafe { std::mem::zeroed::<libc::stat>() };
        let told = fd.and_then(|fd| call(libc::SYS_fstat, &[fd, out(&mut found)]));
        let _ = fd.map(close);
        see(
            "mode of a temporary file",
            (mode, told, found.st_mode, found.st_uid),
        );
    }
    listed(c".");
}

fn names() {
    fresh(c"names");
    write(c"file", b"x");
    mkdir(c"dir").expect("a directory");
    mkdir(c"full").expect("a directory");
    write(c"full/file", b"x");
    symlink(c"dir", c"link").expect("a link");
    symlink(c"none", c"dangling").expect("a link");
    let odd = [
        c"",
        c".",
        c"..",
        c"/",
        c"//",
        c"dir/.",
        c"dir/..",
        c"none/none",
        c"file/x",
        c"link/.",
        c"/..",
        c"/usr",
        c"/etc",
        c"/proc",
        c"/dev/null",
    ];
    for name in odd {
        see("mkdir", (name, mkdir(name)));
        // Natively these are the host's own.
        let is_foreign = [c"/usr", c"/etc", c"/proc", c"/dev/null"].contains(&name);
        if !is_foreign {
            see("rmdir", (name, rmdir(name)));
            see("unlink", (name, unlink(name)));
        }
        see("symlink", (name, symlink(c"x", name)));
        see(
            "link",
            (name, call(libc::SYS_link, &[text(c"file"), text(name)])),
        );
        see(
            "mknod",
            (name, call(libc::SYS_mknod, &[text(name), 0o100_644, 0])),
        );
    }
    for name in [c"dir", c"file", c"link", c"dangling", c"full", c"none"] {
        see("mkdir", (name, mkdir(name)));
    }
    for name in [c"new/", c"new2//", c"dangling/", c"file/", c"link/"] {
        see("mkdir with a slash", (name, mkdir(name)));
    }
    for name in [
        c"full",
        c"file",
        c"link",
        c"link/",
        c"dangling",
        c"new/",
        c"new2",
    ] {
        see("rmdir", (name, rmdir(name)));
    }
    for name in [
        c"full",
        c"full/",
        c"file/",
        c"link/",
        c"link",
        c"dangling",
        c"file",
        c"dir",
    ] {
        see("unlink", (name, unlink(name)));
    }
    see(
        "unlinkat flags",
        call(libc::SYS_unlinkat, &[CWD, text(c"dir"), 1]),
    );
    see(
        "unlinkat rmdir",
        call(libc::SYS_unlinkat, &[CWD, text(c"dir"), 0x200]),
    );
    listed(c".");
}

fn renames() {
    fresh(c"renames");
    let all: [&CStr; 8] = [
        c"a",
        c"b",
        c"dir",
        c"full",
        c"empty",
        c"link",
        c"dangling",
        c"none",
    ];
    for flags in [0, libc::RENAME_NOREPLACE, libc::RENAME_EXCHANGE, 64] {
        for old in all {
            for new in all {
                write(c"a", b"a");
                write(c"b", b"b");
                for dir in [c"dir", c"full", c"empty"] {
                    let _ = mkdir(dir);
                }
                write(c"full/x", b"x");
                let _ = symlink(c"a", c"link");
                let _ = symlink(c"nowhere", c"dangling");
                let result = call(
                    libc::SYS_renameat2,
                    &[CWD, text(old), CWD, text(new), u64::from(flags)],
                );
                see("rename", (flags, old, new, result));
                let here = std::env::current_dir().expect("it is there");
                for entry in std::fs::read_dir(&here).expect("a directory").flatten() {
                    let _ = std::fs::remove_dir_all(entry.path())
                        .or_else(|_| std::fs::remove_file(entry.path()));
                }
            }
        }
    }
    write(c"a", b"a");
    mkdir(c"dir").expect("a directory");
    mkdir(c"dir/sub").expect("a directory");
    for (old, new) in [
        (c"a/", c"b"),
        (c"a", c"b/"),
        (c"dir/", c"dir2/"),
        (c"dir2", c"dir2/sub/x"),
        (c"dir2", c"dir2"),
        (c"a", c"dir2/sub/a"),
        (c"dir2/.", c"x"),
        (c".", c"x"),
        (c"..", c"x"),
        (c"a", c"."),
        (c"", c"x"),
        (c"a", c""),
        (c"/", c"x"),
        (c"dir2/sub/a", c"/"),
        (c"dir2/sub/a", c"none/x"),
        (c"dir2/sub/a", c"dir2/sub/a"),
        (c"dir2/sub/a/", c"y"),
    ] {
        see(
            "rename",
            (old, new, call(libc::SYS_rename, &[text(old), text(new)])),
        );
    }
    listed(c".");
}

fn links() {
    fresh(c"links");
    write(c"file", b"content");
    mkdir(c"dir").expect("a directory");
    symlink(c"file", c"link").expect("a link");
    for (old, new) in [
        (c"file", c"hard"),
        (c"file", c"hard"),
        (c"dir", c"harddir"),
        (c"link", c"hardlink"),
        (c"none", c"x"),
        (c"file/", c"x"),
        (c"file", c"x/"),
        (c"file", c"dir"),
        (c"file", c"dir/x"),
        (c"file", c"none/x"),
        (c"", c"x"),
        (c"/", c"x"),
    ] {
        see(
            "link",
            (old, new, call(libc::SYS_link, &[text(old), text(new)])),
        );
    }
    see(
        "linkat follow",
        call(
            libc::SYS_linkat,
            &[CWD, text(c"link"), CWD, text(c"followed"), 0x400],
        ),
    );
    see(
        "linkat flags",
        call(
            libc::SYS_linkat,
            &[CWD, text(c"link"), CWD, text(c"flags"), 1],
        ),
    );
    see(
        "count",
        (
            stat(c"file").map(|s| s.1),
            stat(c"hard").map(|s| s.1),
            read(c"followed"),
        ),
    );
    write(c"hard", b"changed");
    see("same file", read(c"file"));
    see(
        "gone",
        (unlink(c"file"), read(c"hard"), stat(c"hard").map(|s| s.1)),
    );
    let fd = open(c"hard", RDONLY).expect("it is there");
    for name in [c"hard", c"followed", c"dir/x"] {
        unlink(name).expect("it is there");
    }
    // SAFETY: zeros are a valid block.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    see(
        "fstat of a removed file",
        (
            call(libc::SYS_fstat, &[fd, out(&mut found)]),
            found.st_nlink,
            found.st_size,
        ),
    );
    close(fd);
    listed(c".");
}

fn symlinks() {
    fresh(c"symlinks");
    write(c"file", b"content");
    mkdir(c"dir").expect("a directory");
    write(c"dir/inner", b"inner");
    let here = CString::new(
        std::env::current_dir()
            .expect("it is there")
            .into_os_string()
            .into_encoded_bytes(),
    )
    .expect("no NUL");
    let absolute = CString::new(format!("{}/file", here.to_string_lossy())).expect("no NUL");
    let targets: [(&CStr, &CStr); 14] = [
        (c"file", c"plain"),
        (&absolute, c"absolute"),
        (c"dir", c"todir"),
        (c"dir/", c"toslash"),
        (c"../symlinks/file", c"up"),
        (c".", c"dot"),
        (c"dot/dot/dot/file", c"dots"),
        (c"/", c"root"),
        (c"loop2", c"loop1"),
        (c"loop1", c"loop2"),
        (c"none", c"dangling"),
        (c"todir/inner", c"through"),
        (c"root/etc/passwd", c"passwd"),
        (c"/../../../../etc/passwd", c"over"),
    ];
    for (target, name) in targets {
        see("symlink", (name, symlink(target, name)));
    }
    for (_, name) in targets {
        let mut to = [0_u8; 256];
        let length = call(libc::SYS_readlink, &[text(name), out(&mut to), 256]);
        let is_stable = name != c"absolute";
        see(
            "readlink",
            (name, if is_stable { length } else { length.map(|_| 1) }),
        );
        see("open", (name, opens_so(name, RDONLY)));
        see(
            "lstat",
            (
                name,
                stat_at(CWD, name, libc::AT_SYMLINK_NOFOLLOW).map(|s| s.0),
            ),
        );
        see("stat", (name, stat(name).map(|s| s.0)));
        see(
            "chdir",
            (
                name,
                call(libc::SYS_chdir, &[text(name)]),
                call(libc::SYS_chdir, &[text(&here)]),
            ),
        );
    }
    let mut previous = CString::new("file").expect("no NUL");
    for depth in 1..=42 {
        let name = CString::new(format!("n{depth}")).expect("no NUL");
        symlink(&previous, &name).expect("a link");
        if depth > 38 {
            see(
                "depth",
                (depth, opens_so(&name, RDONLY), stat(&name).map(|s| s.4)),
            );
        }
        previous = name;
    }
    let mut short = [b'-'; 8];
    see(
        "readlink to little room",
        (
            call(libc::SYS_readlink, &[text(c"over"), out(&mut short), 4]),
            short,
        ),
    );
    see(
        "readlink to none",
        call(libc::SYS_readlink, &[text(c"over"), out(&mut short), 0]),
    );
    for name in [c"file", c"dir", c"none", c"file/x", c"", c"plain/"] {
        see(
            "readlink",
            (
                name,
                call(libc::SYS_readlink, &[text(name), out(&mut short), 8]),
            ),
        );
    }
    see(
        "symlink over",
        (
            symlink(c"x", c"file"),
            symlink(c"x", c"dangling"),
            symlink(c"", c"empty"),
        ),
    );
    let long = CString::new(vec![b'y'; 4096]).expect("no NUL");
    see(
        "a long target",
        (
            symlink(&long, c"long"),
            symlink(&CString::new(vec![b'y'; 4095]).expect("no NUL"), c"longest"),
        ),
    );
}

fn directories() {
    fresh(c"directories");
    let home = std::env::current_dir().expect("it is there");
    let getcwd = || {
        std::env::current_dir()
            .map(|now| {
                now.strip_prefix(&home)
                    .map_or(now.clone(), |below| below.to_owned())
            })
            .map_err(|error| error.raw_os_error())
    };
    mkdir(c"a").expect("a directory");
    mkdir(c"a/b").expect("a directory");
    write(c"file", b"x");
    symlink(c"a/b", c"link").expect("a link");
    for name in [
        c"a",
        c"b",
        c"..",
        c"..",
        c"link",
        c"..",
        c"..",
        c"none",
        c"file",
        c"",
        c"a/./b/../b",
        c"/../",
        c"/usr/bin",
        c"/bin",
        c"..",
        c"/proc/self",
        c"/dev",
        c"/tmp",
    ] {
        see("chdir", (name, call(libc::SYS_chdir, &[text(name)])));
        let now = getcwd();
        see(
            "getcwd",
            if name == c"/proc/self" {
                now.map(|_| "a number".into())
            } else {
                now
            },
        );
    }
    std::env::set_current_dir(&home).expect("it is there");
    let dir = open(c"a", RDONLY | DIRECTORY).expect("it is there");
    let file = open(c"file", RDONLY).expect("it is there");
    let path = open(c"a/b", libc::O_PATH).expect("it is there");
    for fd in [dir, file, path, 999] {
        see("fchdir", (call(libc::SYS_fchdir, &[fd]), getcwd()));
        std::env::set_current_dir(&home).expect("it is there");
    }
    let mut room = [b'-'; 4096];
    see(
        "getcwd to little room",
        call(libc::SYS_getcwd, &[out(&mut room), 3]),
    );
    see(
        "getcwd to none",
        call(libc::SYS_getcwd, &[out(&mut room), 0]),
    );
    call(libc::SYS_chdir, &[text(c"/usr")]).expect("it is there");
    see(
        "getcwd's result",
        (call(libc::SYS_getcwd, &[out(&mut room), 5]), &room[..5]),
    );
    std::env::set_current_dir(&home).expect("it is there");
    mkdir(c"gone").expect("a directory");
    call(libc::SYS_chdir, &[text(c"gone")]).expect("it is there");
    see(
        "remove the working directory",
        call(libc::SYS_rmdir, &[text(c"../gone")]),
    );
    see(
        "in it",
        (
            getcwd(),
            opens_so(c".", RDONLY),
            opens_so(c"x", WRONLY | CREAT),
            mkdir(c"x"),
            stat(c".").map(|s| s.0),
        ),
    );
    see("out of it", call(libc::SYS_chdir, &[text(c"..")]));
    std::env::set_current_dir(&home).expect("it is there");
    see("moved away", {
        call(libc::SYS_chdir, &[text(c"a/b")]).expect("it is there");
        let moved = call(libc::SYS_rename, &[text(c"../../a"), text(c"../../z")]);
        (
            moved,
            getcwd(),
            call(libc::SYS_chdir, &[text(c"../..")]),
            getcwd(),
        )
    });
}

fn relative() {
    fresh(c"relative");
    mkdir(c"dir").expect("a directory");
    mkdir(c"dir/sub").expect("a directory");
    write(c"dir/file", b"in dir");
    write(c"top", b"top");
    symlink(c"../top", c"dir/up").expect("a link");
    symlink(c"/etc/passwd", c"dir/absolute").expect("a link");
    let file = open(c"dir/file", RDONLY).expect("it is there");
    for flags in [RDONLY | DIRECTORY, libc::O_PATH, libc::O_PATH | DIRECTORY] {
        let dir = open(c"dir", flags).expect("it is there");
        for name in [
            c"file",
            c"./file",
            c"sub/../file",
            c"..",
            c"../top",
            c"up",
            c"absolute",
            c"/etc/passwd",
            c"none",
            c"",
            c"sub/../../dir/file",
        ] {
            see(
                "openat",
                (flags, name, open_at(dir, name, RDONLY, 0).map(close)),
            );
            see(
                "fstatat",
                (
                    name,
                    stat_at(dir, name, 0).map(|s| s.0),
                    stat_at(dir, name, libc::AT_SYMLINK_NOFOLLOW).map(|s| s.0),
                ),
            );
            see(
                "faccessat",
                (
                    name,
                    call(libc::SYS_faccessat, &[dir, text(name), 4]),
                    call(libc::SYS_faccessat2, &[dir, text(name), 4, 0x100]),
                ),
            );
        }
        see(
            "mkdirat",
            call(libc::SYS_mkdirat, &[dir, text(c"new"), 0o755]),
        );
        see(
            "symlinkat",
            call(libc::SYS_symlinkat, &[text(c"new"), dir, text(c"sym")]),
        );
        see(
            "linkat",
            call(
                libc::SYS_linkat,
                &[dir, text(c"file"), CWD, text(c"hard"), 0],
            ),
        );
        see(
            "mknodat",
            call(libc::SYS_mknodat, &[dir, text(c"fifo"), 0o010_644, 0]),
        );
        see(
            "renameat",
            call(
                libc::SYS_renameat,
                &[CWD, text(c"hard"), dir, text(c"../moved")],
            ),
        );
        see(
            "fchmodat",
            call(libc::SYS_fchmodat, &[dir, text(c"file"), 0o600]),
        );
        see(
            "fchmodat2",
            call(libc::SYS_fchmodat2, &[dir, text(c"file"), 0o640, 0]),
        );
        see(
            "fchownat",
            call(
                libc::SYS_fchownat,
                &[dir, text(c"file"), signed(-1), signed(-1), 0],
            ),
        );
        see(
            "utimensat",
            call(libc::SYS_utimensat, &[dir, text(c"file"), 0, 0]),
        );
        let mut to = [0_u8; 16];
        see(
            "readlinkat",
            (
                call(libc::SYS_readlinkat, &[dir, text(c"sym"), out(&mut to), 16]),
                to,
            ),
        );
        for (name, flag) in [(c"new", 0x200), (c"sym", 0), (c"fifo", 0), (c"../moved", 0)] {
            see(
                "unlinkat",
                call(libc::SYS_unlinkat, &[dir, text(name), flag]),
            );
        }
        for nr in [libc::SYS_fstat, libc::SYS_fchdir] {
            let mut found = [0_u64; 18];
            see("of the descriptor", call(nr, &[dir, out(&mut found)]));
        }
        std::env::set_current_dir(work().join("relative")).expect("it is there");
        see(
            "getdents",
            call(libc::SYS_getdents64, &[dir, out(&mut [0_u8; 512]), 512]).map(|_| ()),
        );
        close(dir);
    }
    see(
        "in a file",
        (
            open_at(file, c"x", RDONLY, 0),
            open_at(file, c"", RDONLY, 0),
            open_at(file, c"/etc/passwd", RDONLY, 0).map(close),
        ),
    );
    see(
        "in nothing",
        (
            open_at(999, c"x", RDONLY, 0),
            open_at(signed(-1), c"x", RDONLY, 0),
            open_at(999, c"/etc/passwd", RDONLY, 0).map(close),
        ),
    );
    see(
        "AT_EMPTY_PATH",
        (
            stat_at(file, c"", libc::AT_EMPTY_PATH).map(|s| (s.0, s.4)),
            stat_at(CWD, c"", libc::AT_EMPTY_PATH).map(|s| s.0),
            stat_at(999, c"", libc::AT_EMPTY_PATH),
        ),
    );
    see("empty without it", stat_at(file, c"", 0));
    see("bad flags", stat_at(CWD, c"top", 0x4000_0000));
}

fn stats() {
    fresh(c"stats");
    write(c"file", b"12345");
    mkdir(c"dir").expect("a directory");
    symlink(c"file", c"link").expect("a link");
    for name in [
        c"file",
        c"dir",
        c"link",
        c".",
        c"/",
        c"/usr",
        c"/bin",
        c"/bin/sh",
        c"/dev/null",
        c"/dev/zero",
        c"/tmp",
        c"file/",
        c"dir/",
        c"none",
        c"file/x",
        c"",
    ] {
        see("stat", (name, stat(name)));
        // SAFETY: zeros are a valid block.
        let mut block: libc::statx = unsafe { std::mem::zeroed() };
        let result = call(
            libc::SYS_statx,
            &[CWD, text(name), 0, 0x7ff, out(&mut block)],
        );
        see(
            "statx",
            (
                name,
                result,
                block.stx_mode,
                block.stx_uid,
                block.stx_mask & 0x7ff,
            ),
        );
    }
    let mut found = [0_u64; 18];
    see(
        "lstat",
        (
            call(libc::SYS_lstat, &[text(c"link"), out(&mut found)]),
            found[3] & 0xffff_ffff,
        ),
    );
    // SAFETY: zeros are valid blocks.
    let (mut one, mut two): (libc::stat, libc::stat) = unsafe { std::mem::zeroed() };
    let fd = open(c"file", RDONLY).expect("it is there");
    let _ = call(libc::SYS_fstat, &[fd, out(&mut one)]);
    let _ = call(libc::SYS_stat, &[text(c"link"), out(&mut two)]);
    see(
        "the same file",
        one.st_ino == two.st_ino && one.st_dev == two.st_dev,
    );
    let mut block = [0_u64; 15];
    for name in [c".", c"none", c"/proc", c""] {
        see(
            "statfs",
            (name, call(libc::SYS_statfs, &[text(name), out(&mut block)])),
        );
    }
    see(
        "fstatfs",
        (
            call(libc::SYS_fstatfs, &[fd, out(&mut block)]),
            call(libc::SYS_fstatfs, &[999, out(&mut block)]),
        ),
    );
    see("statx of a descriptor", {
        // SAFETY: zeros are a valid block.
        let mut block: libc::statx = unsafe { std::mem::zeroed() };
        (
            call(
                libc::SYS_statx,
                &[fd, text(c""), 0x1000, 0x7ff, out(&mut block)],
            ),
            block.stx_size,
        )
    });
    see(
        "statx of bad flags",
        call(
            libc::SYS_statx,
            &[CWD, text(c"file"), 0x8000_0000, 0x7ff, out(&mut block)],
        ),
    );
    close(fd);
}

fn access() {
    fresh(c"access");
    for mode in [0, 0o111, 0o222, 0o444, 0o755] {
        write(c"file", b"x");
        see("chmod", call(libc::SYS_chmod, &[text(c"file"), mode]));
        for way in [0, 1, 2, 4, 5, 6, 7] {
            see(
                "access",
                (mode, way, call(libc::SYS_access, &[text(c"file"), way])),
            );
        }
        unlink(c"file").expect("it is there");
    }
    for name in [
        c"none",
        c"/etc/passwd",
        c"/bin/sh",
        c"/",
        c"",
        c"/etc/passwd/x",
    ] {
        see(
            "access",
            (
                name,
                call(libc::SYS_access, &[text(name), 4]),
                call(libc::SYS_access, &[text(name), 1]),
            ),
        );
    }
    see(
        "bad",
        (
            call(libc::SYS_access, &[text(c"."), 8]),
            call(libc::SYS_faccessat2, &[CWD, text(c"."), 4, 1]),
        ),
    );
    see(
        "AT_EACCESS",
        call(libc::SYS_faccessat2, &[CWD, text(c"."), 7, 0x200]),
    );
}

fn sizes() {
    fresh(c"sizes");
    write(c"file", b"1234567890");
    mkdir(c"dir").expect("a directory");
    for (name, size) in [
        (c"file", 4_i64),
        (c"file", 8),
        (c"file", -1),
        (c"dir", 0),
        (c"none", 0),
        (c"file/", 0),
        (c"", 0),
    ] {
        see(
            "truncate",
            (
                name,
                size,
                call(libc::SYS_truncate, &[text(name), size.cast_unsigned()]),
                stat(c"file").map(|s| s.4),
            ),
        );
    }
    see("content", read(c"file"));
    let reads = open(c"file", RDONLY).expect("it is there");
    let writes = open(c"file", RDWR).expect("it is there");
    see(
        "ftruncate",
        (
            call(libc::SYS_ftruncate, &[reads, 1]),
            call(libc::SYS_ftruncate, &[writes, 3]),
            call(libc::SYS_ftruncate, &[999, 3]),
        ),
    );
    see(
        "lseek",
        (
            call(libc::SYS_lseek, &[writes, 100, 0]),
            call(libc::SYS_write, &[writes, text(c"x"), 1]),
            stat(c"file").map(|s| s.4),
        ),
    );
    see(
        "fallocate",
        (
            call(libc::SYS_fallocate, &[writes, 0, 0, 4096]),
            stat(c"file").map(|s| s.4),
        ),
    );
    see(
        "pread",
        (
            call(libc::SYS_pread64, &[writes, out(&mut [0_u8; 8]), 8, 98]),
            call(libc::SYS_pwrite64, &[writes, text(c"yy"), 2, 0]),
        ),
    );
    see(
        "fsync",
        (
            call(libc::SYS_fsync, &[writes]),
            call(libc::SYS_fdatasync, &[writes]),
        ),
    );
    see("sendfile", call(libc::SYS_sendfile, &[writes, reads, 0, 2]));
    see(
        "copy_file_range",
        call(libc::SYS_copy_file_range, &[reads, 0, writes, 0, 2, 0]),
    );
    close(reads);
    close(writes);
}

fn modes() {
    fresh(c"modes");
    write(c"file", b"x");
    mkdir(c"dir").expect("a directory");
    symlink(c"file", c"link").expect("a link");
    for mode in [0o600, 0o755, 0o4755, 0o2755, 0o1755, 0o7777, 0o177_777, 0] {
        for name in [c"file", c"dir"] {
            see(
                "chmod",
                (
                    name,
                    mode,
                    call(libc::SYS_chmod, &[text(name), mode]),
                    stat(name).map(|s| s.0),
                ),
            );
        }
    }
    see(
        "through a link",
        (
            call(libc::SYS_chmod, &[text(c"link"), 0o640]),
            stat(c"file").map(|s| s.0),
        ),
    );
    see(
        "none",
        (
            call(libc::SYS_chmod, &[text(c"none"), 0o640]),
            call(libc::SYS_chmod, &[text(c"file/"), 0o640]),
        ),
    );
    let fd = open(c"file", RDONLY).expect("it is there");
    see(
        "fchmod",
        (
            call(libc::SYS_fchmod, &[fd, 0o4711]),
            stat(c"file").map(|s| s.0),
        ),
    );
    close(fd);
    let fd = open(c"file", libc::O_PATH).expect("it is there");
    see("fchmod by O_PATH", call(libc::SYS_fchmod, &[fd, 0o600]));
    close(fd);
    see(
        "fchmodat2",
        (
            call(libc::SYS_fchmodat2, &[CWD, text(c"link"), 0o600, 0x100]),
            stat(c"file").map(|s| s.0),
        ),
    );
    write(c"file", b"y");
    see("after a write", stat(c"file").map(|s| s.0));
    see("setgid directory", {
        let _ = call(libc::SYS_chmod, &[text(c"dir"), 0o2755]);
        (mkdir(c"dir/sub"), stat(c"dir/sub").map(|s| s.0))
    });
}

fn times() {
    fresh(c"times");
    write(c"file", b"x");
    symlink(c"file", c"link").expect("a link");
    let show = |name: &CStr, flags: i32| {
        // SAFETY: zeros are a valid block.
        let mut found: libc::stat = unsafe { std::mem::zeroed() };
        let result = call(
            libc::SYS_newfstatat,
            &[CWD, text(name), out(&mut found), signed(flags)],
        );
        (
            result,
            found.st_atime,
            found.st_atime_nsec,
            found.st_mtime,
            found.st_mtime_nsec,
        )
    };
    let pair = [1_000_000_000_i64, 5, 2_000_000_000, 7];
    see(
        "utimensat",
        (
            call(libc::SYS_utimensat, &[CWD, text(c"file"), from(&pair), 0]),
            show(c"file", 0),
        ),
    );
    see(
        "of a link",
        (
            call(
                libc::SYS_utimensat,
                &[CWD, text(c"link"), from(&pair), 0x100],
            ),
            show(c"link", 0x100),
        ),
    );
    let omit = [0_i64, (1 << 30) - 2, 3, 0];
    see(
        "omitted",
        (
            call(libc::SYS_utimensat, &[CWD, text(c"file"), from(&omit), 0]),
            show(c"file", 0),
        ),
    );
    see(
        "utimes",
        (
            call(
                libc::SYS_utimes,
                &[text(c"file"), from(&[10_i64, 20, 30, 40])],
            ),
            show(c"file", 0),
        ),
    );
    see(
        "utime",
        (
            call(libc::SYS_utime, &[text(c"file"), from(&[50_i64, 60])]),
            show(c"file", 0),
        ),
    );
    see(
        "futimesat",
        (
            call(
                libc::SYS_futimesat,
                &[CWD, text(c"file"), from(&[1_i64, 2, 3, 4])],
            ),
            show(c"file", 0),
        ),
    );
    let fd = open(c"file", RDONLY).expect("it is there");
    see(
        "futimens",
        (
            call(libc::SYS_utimensat, &[fd, 0, from(&pair), 0]),
            show(c"file", 0),
        ),
    );
    close(fd);
    see(
        "bad",
        (
            call(libc::SYS_utimensat, &[CWD, text(c"none"), 0, 0]),
            call(
                libc::SYS_utimensat,
                &[CWD, text(c"file"), from(&[0_i64, -5, 0, 0]), 0],
            ),
            call(
                libc::SYS_utimes,
                &[text(c"file"), from(&[0_i64, 2_000_000, 0, 0])],
            ),
        ),
    );
}

fn locks() {
    fresh(c"locks");
    write(c"file", b"x");
    let fd = open(c"file", RDWR).expect("it is there");
    // struct flock: type, whence; start; length; pid.
    let mut lock = [1_i64, 0, 0, 0];
    see("F_SETLK", call(libc::SYS_fcntl, &[fd, 6, from(&lock)]));
    let own = std::process::id();
    let end = picozone_guests::child(|| {
        let held = [1_i64, 0, 0, 0];
        let mut asked = held;
        see(
            "F_SETLK in a child",
            call(libc::SYS_fcntl, &[fd, 6, from(&held)]),
        );
        see(
            "F_GETLK",
            (
                call(libc::SYS_fcntl, &[fd, 5, out(&mut asked)]),
                asked[0] & 0xffff,
                asked[3] & 0xffff_ffff == i64::from(own),
            ),
        );
        see("flock", call(libc::SYS_flock, &[fd, 6]));
        0
    })
    .wait();
    see("end", end);
    lock[0] = 2;
    see("unlock", call(libc::SYS_fcntl, &[fd, 6, from(&lock)]));
    see(
        "OFD",
        call(libc::SYS_fcntl, &[fd, 37, from(&[1_i64, 0, 0, 0])]),
    );
    see(
        "flock",
        (
            call(libc::SYS_flock, &[fd, 2]),
            call(libc::SYS_flock, &[fd, 8]),
            call(libc::SYS_flock, &[999, 8]),
        ),
    );
    close(fd);
}

/// Who gets a descriptor's signals.
fn owners() {
    let mut pair = [0_i32; 2];
    call(libc::SYS_socketpair, &[1, 1, 0, out(&mut pair)]).expect("a pair");
    let fd = signed(pair[0]);
    let fcntl = |command: u64, argument: u64| call(libc::SYS_fcntl, &[fd, command, argument]);
    let own = u64::from(std::process::id());
    let group = call(libc::SYS_getpgrp, &[]).expect("it has one");
    see("F_GETOWN of none", fcntl(9, 0));
    see("F_SETOWN", (fcntl(8, own), fcntl(9, 0) == Ok(own)));
    let mut owner = [7_u32; 2];
    see(
        "F_GETOWN_EX",
        (
            fcntl(16, out(&mut owner)),
            owner[0],
            u64::from(owner[1]) == own,
        ),
    );
    see("F_SETOWN of a group", fcntl(8, group.wrapping_neg()));
    see(
        "its F_GETOWN_EX",
        (
            fcntl(16, out(&mut owner)),
            owner[0],
            u64::from(owner[1]) == group,
        ),
    );
    see("F_SETOWN of nobody", fcntl(8, 0x3f_ffff));
    see("F_SETOWN of no group", fcntl(8, signed(i32::MIN)));
    see(
        "F_SETOWN_EX of a strange sort",
        fcntl(15, from(&[3_u32, 1])),
    );
    see("F_SETOWN_EX at no address", fcntl(15, NOWHERE));
    see("F_SETSIG", (fcntl(10, 10), fcntl(11, 0), fcntl(10, 99)));
    for (name, command, is_thread) in [("F_SETOWN", 8, false), ("F_SETOWN_EX", 15, true)] {
        let end = picozone_guests::child(|| {
            let own = std::process::id();
            let thread = [0, own];
            let named = if is_thread {
                from(&thread)
            } else {
                u64::from(own)
            };
            fcntl(command, named).expect("its own");
            call(libc::SYS_fcntl, &[fd, 4, 0o20000]).expect("O_ASYNC");
            call(libc::SYS_write, &[signed(pair[1]), text(c"x"), 1]).expect("it takes it");
            0
        })
        .wait();
        see(name, end);
    }
}

fn long_names() {
    fresh(c"long");
    let name = |length: usize| CString::new(vec![b'n'; length]).expect("no NUL");
    for length in [254, 255, 256, 4095, 4096, 5000] {
        see("open", (length, opens_so(&name(length), RDWR | CREAT)));
        see("mkdir", (length, mkdir(&name(length))));
        see("stat", (length, stat(&name(length)).map(|s| s.0)));
    }
    let dots = |count: usize| CString::new("./".repeat(count) + "x").expect("no NUL");
    for count in [2000, 2046, 2047, 2048, 3000] {
        see(
            "a long path",
            (
                count,
                opens_so(&dots(count), RDWR | CREAT),
                stat(&dots(count)).map(|s| s.0),
            ),
        );
    }
    let component = name(200);
    let mut depth = 0;
    // A zone does not walk `..` out of directories beyond PATH_MAX: docs/ARCHITECTURE.md.
    while depth < 18 && mkdir(&component).is_ok() {
        call(libc::SYS_chdir, &[text(&component)]).expect("it is there");
        depth += 1;
    }
    see("near PATH_MAX", depth);
    let mut room = [0_u8; 8192];
    see(
        "getcwd there",
        call(libc::SYS_getcwd, &[out(&mut room), 8192]).map(|_| ()),
    );
    see(
        "open there",
        (
            opens_so(c"file", RDWR | CREAT),
            stat(c"file").map(|s| s.0),
            opens_so(c"../..", RDONLY),
        ),
    );
    for _ in 0..depth {
        call(libc::SYS_chdir, &[text(c"..")]).expect("it is there");
    }
    see("back", opens_so(&component, RDONLY));
}

fn bad_addresses() {
    fresh(c"addresses");
    write(c"file", b"x");
    let fd = open(c"file", RDWR).expect("it is there");
    let top = 0xffff_ffff_ffff_f000_u64;
    for bad in [0, NOWHERE, 0x7fff_ffff_f000, top, 1 << 63] {
        for nr in [
            libc::SYS_open,
            libc::SYS_creat,
            libc::SYS_mkdir,
            libc::SYS_rmdir,
            libc::SYS_unlink,
            libc::SYS_chdir,
            libc::SYS_chmod,
            libc::SYS_truncate,
            libc::SYS_access,
            libc::SYS_mknod,
            libc::SYS_lchown,
            libc::SYS_chown,
        ] {
            see("a bad path", (nr, call(nr, &[bad, 0, 0])));
        }
        for nr in [
            libc::SYS_openat,
            libc::SYS_mkdirat,
            libc::SYS_unlinkat,
            libc::SYS_faccessat,
            libc::SYS_fchmodat,
            libc::SYS_mknodat,
        ] {
            see("a bad path", (nr, call(nr, &[CWD, bad, 0, 0])));
        }
        for nr in [libc::SYS_rename, libc::SYS_link, libc::SYS_symlink] {
            see(
                "bad paths",
                (
                    nr,
                    call(nr, &[bad, text(c"x")]),
                    call(nr, &[text(c"file"), bad]),
                ),
            );
        }
        let mut room = [0_u8; 512];
        see(
            "stat",
            (
                call(libc::SYS_stat, &[bad, out(&mut room)]),
                call(libc::SYS_stat, &[text(c"file"), bad]),
                call(libc::SYS_fstat, &[fd, bad]),
            ),
        );
        see(
            "newfstatat",
            (
                call(libc::SYS_newfstatat, &[CWD, bad, out(&mut room), 0]),
                call(libc::SYS_newfstatat, &[CWD, text(c"file"), bad, 0]),
            ),
        );
        see(
            "readlink",
            (
                call(libc::SYS_readlink, &[bad, out(&mut room), 8]),
                call(libc::SYS_readlink, &[text(c"/bin"), bad, 8]),
            ),
        );
        see("getcwd", call(libc::SYS_getcwd, &[bad, 4096]));
        see(
            "read and write",
            (
                call(libc::SYS_read, &[fd, bad, 1]),
                call(libc::SYS_pwrite64, &[fd, bad, 1, 0]),
            ),
        );
        see(
            "openat2",
            call(libc::SYS_openat2, &[CWD, text(c"file"), bad, 24]),
        );
        see(
            "statx",
            call(libc::SYS_statx, &[CWD, text(c"file"), 0, 0x7ff, bad]),
        );
        if bad != 0 {
            see(
                "utimensat",
                call(libc::SYS_utimensat, &[CWD, text(c"file"), bad, 0]),
            );
            see("pipe", call(libc::SYS_pipe, &[bad]));
            see("uname", call(libc::SYS_uname, &[bad]));
            see(
                "execve",
                (
                    call(libc::SYS_execve, &[bad, 0, 0]),
                    call(libc::SYS_execve, &[text(c"/bin/true"), bad, 0]),
                    call(libc::SYS_execve, &[text(c"/bin/true"), 0, bad]),
                ),
            );
        }
    }
    // A path that ends where memory ends.
    // SAFETY: a fresh mapping.
    let two = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            8192,
            3,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    } as u64;
    call(libc::SYS_munmap, &[two + 4096, 4096]).expect("it is ours");
    // SAFETY: the first page is ours.
    unsafe { std::ptr::copy_nonoverlapping(c"file".as_ptr(), (two + 4096 - 5) as *mut _, 5) };
    see(
        "a path at the end of memory",
        call(libc::SYS_access, &[two + 4096 - 5, 0]),
    );
    // SAFETY: the first page is ours.
    unsafe { std::ptr::copy_nonoverlapping(c"file".as_ptr(), (two + 4096 - 4) as *mut _, 4) };
    see(
        "one without its end",
        call(libc::SYS_access, &[two + 4096 - 4, 0]),
    );
    see(
        "a block across the end",
        call(libc::SYS_stat, &[text(c"file"), two + 4096 - 100]),
    );
    close(fd);
}

fn bad_descriptors() {
    for fd in [999_u64, u64::MAX, 1 << 32, 0x7fff_ffff, 1 << 20] {
        let mut room = [0_u8; 512];
        see("fstat", call(libc::SYS_fstat, &[fd, out(&mut room)]));
        see(
            "read",
            call(libc::SYS_read, &[fd, out(&mut room), 0]).map_or_else(Some, |_| None),
        );
        see(
            "close",
            if fd == 1 << 32 {
                Err(Errno::EBADF)
            } else {
                call(libc::SYS_close, &[fd])
            },
        );
        see(
            "dup",
            if fd == 1 << 32 {
                Err(Errno::EBADF)
            } else {
                call(libc::SYS_dup, &[fd])
            },
        );
        see(
            "fchdir",
            if fd == 1 << 32 {
                Err(Errno::ENOTDIR)
            } else {
                call(libc::SYS_fchdir, &[fd])
            },
        );
        see(
            "fcntl",
            if fd == 1 << 32 {
                Ok(0)
            } else {
                call(libc::SYS_fcntl, &[fd, 1])
            },
        );
        see(
            "openat",
            if fd == 1 << 32 {
                Err(Errno::ENOTDIR)
            } else {
                call(libc::SYS_openat, &[fd, text(c"x"), 0])
            },
        );
        see(
            "ioctl",
            if fd == 1 << 32 {
                Ok(0)
            } else {
                call(libc::SYS_ioctl, &[fd, 0x5401, out(&mut room)])
            },
        );
    }
}

/// Names, kinds and modes of a directory's entries.
fn listed(name: &CStr) {
    let mut rows: Vec<String> = std::fs::read_dir(name.to_str().expect("text"))
        .expect("a directory")
        .flatten()
        .map(|entry| {
            format!(
                "{:?} {:?}",
                entry.file_name(),
                entry
                    .file_type()
                    .map(|kind| (kind.is_dir(), kind.is_symlink()))
            )
        })
        .collect();
    rows.sort();
    see("listed", rows);
}

fn listing() {
    fresh(c"listing");
    for number in 0..300 {
        write(&CString::new(format!("file{number}")).expect("no NUL"), b"");
    }
    mkdir(c"dir").expect("a directory");
    symlink(c"x", c"link").expect("a link");
    listed(c".");
    let dir = open(c".", RDONLY | DIRECTORY).expect("it is there");
    let mut bytes = 0;
    let mut room = [0_u8; 512];
    let mut calls = 0;
    while let Ok(count @ 1..) = call(libc::SYS_getdents64, &[dir, out(&mut room), 512]) {
        bytes += count;
        calls += 1;
    }
    see("by small steps", (bytes > 5000, calls > 10));
    see("from the start", call(libc::SYS_lseek, &[dir, 0, 0]));
    see(
        "again",
        call(libc::SYS_getdents64, &[dir, out(&mut room), 512]).is_ok(),
    );
    see(
        "too small",
        call(libc::SYS_getdents64, &[dir, out(&mut room), 10]),
    );
    see(
        "read of a directory",
        call(libc::SYS_read, &[dir, out(&mut room), 10]),
    );
    close(dir);
    let root = std::fs::read_dir("/")
        .expect("the root")
        .flatten()
        .filter(|entry| {
            ["usr", "etc", "tmp", "proc", "dev", "var", "bin"]
                .contains(&entry.file_name().to_str().unwrap_or(""))
        })
        .count();
    see("the root", root);
}

fn special() {
    fresh(c"special");
    see(
        "mkfifo",
        call(libc::SYS_mknod, &[text(c"fifo"), 0o010_644, 0]),
    );
    see(
        "a socket's node",
        call(libc::SYS_mknod, &[text(c"socket"), 0o140_644, 0]),
    );
    see(
        "a file's node",
        call(libc::SYS_mknod, &[text(c"file"), 0o100_644, 0]),
    );
    see(
        "a directory's node",
        call(libc::SYS_mknod, &[text(c"dir"), 0o040_755, 0]),
    );
    see(
        "kinds",
        [
            stat(c"fifo").map(|s| s.0),
            stat(c"socket").map(|s| s.0),
            stat(c"file").map(|s| s.0),
        ],
    );
    see("open a socket", opens_so(c"socket", RDONLY));
    see(
        "a fifo without waiting",
        (
            opens_so(c"fifo", RDONLY | libc::O_NONBLOCK),
            opens_so(c"fifo", WRONLY | libc::O_NONBLOCK),
        ),
    );
    let end = picozone_guests::child(|| {
        let fd = open(c"fifo", WRONLY).unwrap_or(99);
        i32::from(call(libc::SYS_write, &[fd, text(c"hi"), 2]) != Ok(2))
    });
    see("through a fifo", (read(c"fifo"), end.wait()));
    let mut room = [1_u8; 8];
    let null = open(c"/dev/null", RDWR).expect("it is there");
    see(
        "null",
        (
            call(libc::SYS_write, &[null, text(c"x"), 1]),
            call(libc::SYS_read, &[null, out(&mut room), 8]),
        ),
    );
    close(null);
    let zero = open(c"/dev/zero", RDONLY).expect("it is there");
    see(
        "zero",
        (call(libc::SYS_read, &[zero, out(&mut room), 8]), room),
    );
    close(zero);
    let full = open(c"/dev/full", WRONLY).expect("it is there");
    see("full", call(libc::SYS_write, &[full, text(c"x"), 1]));
    close(full);
    for name in [
        c"/dev/urandom",
        c"/dev/random",
        c"/dev/fd",
        c"/dev/stdin",
        c"/dev/stdout",
        c"/dev/ptmx",
        c"/dev/pts",
        c"/dev/shm",
        c"/dev/tty",
    ] {
        see("device", (name, stat(name).map(|s| s.0 & libc::S_IFMT)));
    }
    see("a descriptor by name", {
        write(c"named", b"by name");
        let fd = open(c"named", RDONLY).expect("it is there");
        let name = CString::new(format!("/proc/self/fd/{fd}")).expect("no NUL");
        let device = CString::new(format!("/dev/fd/{fd}")).expect("no NUL");
        (read(&name), read(&device))
    });
    see(
        "memfd",
        call(libc::SYS_memfd_create, &[text(c"name"), 1]).map(close),
    );
    see("shm", {
        let fd = open(c"/dev/shm/picozone-test-files", RDWR | CREAT);
        let unlinked = unlink(c"/dev/shm/picozone-test-files");
        (fd.map(close), unlinked)
    });
}

fn mappings() {
    fresh(c"mappings");
    write(c"file", &[b'a'; 8192]);
    let fd = open(c"file", RDWR).expect("it is there");
    let map = |protection: u64, flags: u64, fd: u64, offset: u64| {
        call(libc::SYS_mmap, &[0, 4096, protection, flags, fd, offset])
    };
    let shared = map(3, 1, fd, 4096).expect("a mapping");
    let private = map(3, 2, fd, 0).expect("a mapping");
    for at in [shared, private] {
        // SAFETY: the mapping is ours.
        unsafe { (at as *mut u8).write_volatile(b'b') };
    }
    see("msync", call(libc::SYS_msync, &[shared, 4096, 4]));
    let mut byte = 0_u8;
    see(
        "shared",
        (
            call(libc::SYS_pread64, &[fd, out(&mut byte), 1, 4096]),
            byte,
        ),
    );
    see(
        "private",
        (call(libc::SYS_pread64, &[fd, out(&mut byte), 1, 0]), byte),
    );
    close(fd);
    let fd = open(c"file", RDONLY).expect("it is there");
    see("writable of a read-only one", map(3, 1, fd, 0).map(|_| ()));
    see("bad offset", map(1, 2, fd, 1).map(|_| ()));
    see("bad descriptor", map(1, 2, 999, 0).map(|_| ()));
    close(fd);
    let path = open(c"file", libc::O_PATH).expect("it is there");
    see("of O_PATH", map(1, 2, path, 0).map(|_| ()));
}

fn descriptors() {
    fresh(c"descriptors");
    write(c"file", b"0123456789");
    let fd = open(c"file", RDWR).expect("it is there");
    see(
        "dup",
        call(libc::SYS_dup, &[fd]).map(|other| other == fd + 1),
    );
    see(
        "dup2",
        (
            call(libc::SYS_dup2, &[fd, 50]),
            call(libc::SYS_dup2, &[fd, fd]).map(|other| other == fd),
            call(libc::SYS_dup2, &[999, 999]),
        ),
    );
    see(
        "dup3",
        (
            call(libc::SYS_dup3, &[fd, 51, 0x8_0000]),
            call(libc::SYS_dup3, &[fd, fd, 0]),
            call(libc::SYS_fcntl, &[51, 1]),
        ),
    );
    see(
        "F_DUPFD",
        (
            call(libc::SYS_fcntl, &[fd, 0, 60]),
            call(libc::SYS_fcntl, &[fd, 1030, 61]),
        ),
    );
    see(
        "shared offset",
        (
            call(libc::SYS_lseek, &[fd, 5, 0]),
            call(libc::SYS_lseek, &[50, 0, 1]),
        ),
    );
    see(
        "F_SETFL",
        (
            call(libc::SYS_fcntl, &[fd, 4, 0o2000]),
            call(libc::SYS_fcntl, &[50, 3]).map(|flags| flags & 0o2000),
        ),
    );
    see(
        "F_SETFD",
        (
            call(libc::SYS_fcntl, &[fd, 2, 1]),
            call(libc::SYS_fcntl, &[fd, 1]),
            call(libc::SYS_fcntl, &[50, 1]),
        ),
    );
    see(
        "close_range",
        (
            call(libc::SYS_close_range, &[50, 70, 0]),
            call(libc::SYS_fcntl, &[60, 1]),
        ),
    );
    see(
        "a bad close_range",
        (
            call(libc::SYS_close_range, &[5, 4, 0]),
            call(libc::SYS_close_range, &[5, 4, 64]),
        ),
    );
    see(
        "close the rest",
        (
            call(libc::SYS_close_range, &[3, 0xffff_ffff, 0]),
            open(c"file", RDONLY),
        ),
    );
    see(
        "unknown commands",
        (
            call(libc::SYS_fcntl, &[0, 9999, 0]),
            call(libc::SYS_ioctl, &[1, 0x5401, 0]),
        ),
    );
}

/// Changes of names between more directories than are kept at hand, by absolute and relative paths in turns:
/// each is made where it is to be, also while one directory takes the place of another.
fn crossed() {
    const COUNT: usize = 100;
    let directory = |number: usize| {
        let relative = Path::new("crossed").join((number % COUNT).to_string());
        match number % 3 {
            0 => relative,
            _ => work().join(relative),
        }
    };
    for number in 0..COUNT {
        std::fs::create_dir_all(directory(number)).expect("a directory");
    }
    let mut failed = 0;
    for round in 0..12 {
        for number in 0..COUNT {
            let (here, there) = (directory(number), directory(number * 7 + round));
            let (new, moved) = (here.join("new"), there.join("moved"));
            let text = format!("{round} {number}");
            let done = std::fs::write(&new, &text)
                .and_then(|()| std::fs::rename(&new, &moved))
                .and_then(|()| std::fs::hard_link(&moved, here.join("link")))
                .and_then(|()| std::fs::remove_file(&moved))
                .and_then(|()| std::fs::read_to_string(here.join("link")))
                .and_then(|read| std::fs::remove_file(here.join("link")).map(|()| read));
            failed += i32::from(!done.is_ok_and(|read| read == text));
        }
        // One after the other goes by the name of the next.
        let (one, other) = (directory(round), directory(round + 1));
        let done = std::fs::remove_dir(&other)
            .and_then(|()| std::fs::rename(&one, &other))
            .and_then(|()| std::fs::create_dir(&one));
        failed += i32::from(done.is_err());
    }
    let left = |number| std::fs::read_dir(directory(number)).map_or(1000, Iterator::count);
    see(
        "failed, left",
        (failed, (0..COUNT).map(left).sum::<usize>()),
    );
    std::fs::remove_dir_all("crossed").expect("all of it is ours");
}
