//! A guest that tries to change what lies below a copy-on-write mount, or to read there what it may
//! not, with machine code of its own choice.
//!
//! `hostile_layers MOUNT`: below lie `file`, `d/one` and, of another user, `d/secret`.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "registers are words"
)]

use picozone_fsmap::{PathBuf, StandIn, mount_id};
use picozone_guests::attempts::{asked, attempt, both, inside, ptr, raw};
use picozone_personality::layout::TABLES_BASE;
use picozone_personality::mailbox::{Request, raise};
use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;

/// Descriptors of the zone's mounts; which of them is the tree below, a guest can try.
const MOUNTS: std::ops::Range<u64> = 1032..1056;
const REFUSED: i64 = -1;

/// The reserved descriptor of the tree below.
fn below(mount: &str) -> u64 {
    // Has the personality open something by name only, so that there is such a way.
    fs::symlink_metadata(format!("{mount}/file")).expect("it is there");
    let name = CString::new("d/secret").expect("text");
    // Through the layer there is no such path: there `d` is a stand-in, or a directory of them.
    let mut mounts = MOUNTS;
    mounts
        .rfind(|fd| {
            let mut status = [0u64; 18];
            let way = how();
            let opened = inside(
                libc::SYS_openat2,
                [*fd, name.as_ptr() as u64, way, 24, 0, 0],
            );
            let is_file = opened >= 0
                && inside(
                    libc::SYS_fstat,
                    [opened as u64, status.as_mut_ptr() as u64, 0, 0, 0, 0],
                ) == 0
                && status[3] as u32 & libc::S_IFMT == libc::S_IFREG;
            inside(libc::SYS_close, [opened as u64, 0, 0, 0, 0, 0]);
            is_file
        })
        .expect("the tree below has a descriptor")
}

/// An approved way to open by name only, as the personality has it.
fn how() -> u64 {
    let wanted = [
        u64::from((libc::O_PATH | libc::O_CLOEXEC | libc::O_NOFOLLOW).unsigned_abs()),
        0,
        0x08 | 0x02,
    ];
    let hows =
        TABLES_BASE + std::mem::offset_of!(picozone_personality::tables::Tables, hows) as u64;
    for slot in 0..picozone_personality::tables::HOWS_MAX as u64 {
        let at = hows + 32 * slot;
        // SAFETY: the tables are mapped for reading.
        if unsafe { (at as *const [u64; 3]).read_volatile() } == wanted {
            return at;
        }
    }
    panic!("the personality opens by name only");
}

fn names(below: u64) {
    let text = |name: &str| CString::new(name).expect("text");
    for name in ["file", "d/one", "new", "d/new", "d"] {
        let name = text(name);
        let name = ptr(&name.as_bytes_with_nul()[0]);
        let own = text("/own");
        let own = ptr(&own.as_bytes_with_nul()[0]);
        for (what, nr, args) in [
            ("mkdirat", libc::SYS_mkdirat, [below, name, 0o755, 0, 0, 0]),
            (
                "mknodat",
                libc::SYS_mknodat,
                [below, name, 0o100_644, 0, 0, 0],
            ),
            ("unlinkat", libc::SYS_unlinkat, [below, name, 0, 0, 0, 0]),
            ("rmdir", libc::SYS_unlinkat, [below, name, 0x200, 0, 0, 0]),
            (
                "symlinkat",
                libc::SYS_symlinkat,
                [own, below, name, 0, 0, 0],
            ),
            (
                "rename away",
                libc::SYS_renameat2,
                [below, name, 1034, own + 1, 0, 0],
            ),
            (
                "rename there",
                libc::SYS_renameat2,
                [1034, own + 1, below, name, 0, 0],
            ),
            (
                "linkat",
                libc::SYS_linkat,
                [below, name, below, own + 1, 0, 0],
            ),
            (
                "linkat away",
                libc::SYS_linkat,
                [below, name, 1034, own + 1, 0, 0],
            ),
        ] {
            both(&format!("{what} below"), nr, args);
        }
    }
}

fn files(mount: &str) {
    // What is open for reading is below itself.
    let file = fs::File::open(format!("{mount}/d/one")).expect("it can be read");
    let fd = file.as_raw_fd().unsigned_abs().into();
    for (what, nr, args) in [
        ("ftruncate", libc::SYS_ftruncate, [fd, 0, 0, 0, 0, 0]),
        ("fallocate", libc::SYS_fallocate, [fd, 0, 0, 64, 0, 0]),
        ("write", libc::SYS_write, [fd, ptr(&0u64), 1, 0, 0, 0]),
        ("a shared mapping", libc::SYS_mmap, [0, 4096, 3, 1, fd, 0]),
    ] {
        both(&format!("{what} below"), nr, args);
    }
    for (what, nr, args) in [
        ("fchmod", libc::SYS_fchmod, [fd, 0o777, 0, 0, 0, 0]),
        ("fchown", libc::SYS_fchown, [fd, 1, 1, 0, 0, 0]),
        (
            "fsetxattr",
            libc::SYS_fsetxattr,
            [fd, ptr(b"user.a\0"), ptr(b"v"), 1, 0, 0],
        ),
    ] {
        attempt(&format!("{what} below, inside"), || inside(nr, args));
    }
    for (what, request) in [
        ("mode", Request::Chmod),
        ("owner", Request::Chown),
        ("times", Request::Utimens),
    ] {
        attempt(&format!("{what} of a file below, by the doorbell"), || {
            asked(request, &[fd, 0o777, 0, 0, 0], b"")
        });
    }
}

/// Requests to raise what is none, or from where there are none.
fn requests(mount: &str, below: u64) {
    let open = |path: &str| fs::File::open(path).expect("it can be read");
    let (layer, other) = (open(mount), open("/"));
    let [layer, other] = [&layer, &other].map(|file| file.as_raw_fd().unsigned_abs().into());
    for (what, directory, name) in [
        ("a path", layer, &b"d/one\0"[..]),
        ("a way up", layer, b"../etc\0"),
        ("two dots", layer, b"..\0"),
        ("a dot", layer, b".\0"),
        ("nothing", layer, b"\0"),
        ("what is not there", layer, b"nowhere\0"),
        ("what lies below", below, b"file\0"),
        ("what is open nowhere", 9999, b"file\0"),
    ] {
        for operation in [raise::WHOLE, raise::EMPTY, raise::IF_LINKED, 77] {
            attempt(&format!("to raise {what}, {operation}"), || {
                // That nothing was done is no success.
                asked(Request::Raise, &[directory, operation], name) - 1
            });
        }
    }
    for (what, fd) in [("the layer", layer), ("another", other), ("nothing", 9999)] {
        attempt(&format!("to raise a descriptor of {what}"), || {
            asked(Request::Raise, &[fd, raise::DESCRIPTOR], b"\0")
        });
    }
}

/// A stand-in that says what the guest likes.
fn forged(mount: &str) {
    let id = mount_id(mount.as_bytes());
    let directory = fs::File::open("/srv").expect("it is there");
    let fd = directory.as_raw_fd().unsigned_abs().into();
    let good = |is_directory: bool, directory: &[u8]| {
        let mut text = PathBuf::new();
        let stand_in = StandIn {
            mount: id,
            is_directory,
            directory,
        };
        stand_in.text(&mut text).expect("short");
        text.as_bytes().to_vec()
    };
    let texts = [
        ("of a secret", good(false, b"d"), "secret"),
        ("of a way up", good(true, b"../.."), "etc"),
        ("of a link", good(false, b"d"), "out"),
        ("of a directory through a link", good(true, b"d/out"), "etc"),
        ("of no mount", b"/\x01below/00000000/f/d".to_vec(), "one"),
    ];
    for (what, text, name) in texts {
        let text = CString::new(text).expect("text");
        let name_text = CString::new(name).expect("text");
        let made = inside(
            libc::SYS_symlinkat,
            [text.as_ptr() as u64, fd, name_text.as_ptr() as u64, 0, 0, 0],
        );
        assert_eq!(made, 0, "a link of any text can be made by machine code");
        attempt(&format!("to raise a stand-in {what}"), || {
            asked(
                Request::Raise,
                &[fd, raise::WHOLE],
                name_text.as_bytes_with_nul(),
            ) - 1
        });
        attempt(
            &format!("to read through a stand-in {what}"),
            || match fs::read(format!("/srv/{name}")) {
                Ok(_) => 1,
                Err(_) => REFUSED,
            },
        );
        let _ = inside(
            libc::SYS_unlinkat,
            [fd, name_text.as_ptr() as u64, 0, 0, 0, 0],
        );
    }
    // By the call itself no such link comes to be.
    attempt("symlink(2) of a stand-in", || {
        let text = CString::new(good(false, b"d")).expect("text");
        raw(
            libc::SYS_symlinkat,
            [text.as_ptr() as u64, fd, ptr(b"x\0"), 0, 0, 0],
        )
    });
}

fn main() {
    let mount = std::env::args().nth(1).expect("the mount");
    // What is not unfolded yet shows the tree below by its descriptor.
    let below = below(&mount);
    names(below);
    files(&mount);
    requests(&mount, below);
    forged(&mount);
    attempt("a secret of another user", || {
        match fs::read(format!("{mount}/d/secret")) {
            Ok(_) => 1,
            Err(_) => REFUSED,
        }
    });
    attempt(
        "a secret of another user, to be changed",
        || match fs::OpenOptions::new()
            .append(true)
            .open(format!("{mount}/d/secret"))
        {
            Ok(_) => 1,
            Err(_) => REFUSED,
        },
    );
    println!("still runs");
}
