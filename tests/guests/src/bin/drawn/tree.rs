//! The files that calls are made on, and what the calls have changed of them.

use crate::lot::Lot;
use picozone_guests::{CWD, at, call, from, name, out, signed, text};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Where all cases begin, two below where the guest was started: so `..` is the tree's, too.
const TOP: &str = "t";
const BELOW: &str = "t/w";
/// The times that all files have in the beginning, in seconds.
const LONG_AGO: i64 = 1_000_000_000;

pub(crate) const DIRECTORIES: [&str; 4] = ["da", "db", "dc", "dd"];
pub(crate) const NAMES: [&str; 12] = ["f", "g", "h", "l", "ld", "ln", "s", "e", "p", "k", "c", "n"];

const MODES: [u64; 18] = [
    0o644, 0o600, 0o666, 0o777, 0o755, 0, 0o640, 0o664, 0o4755, 0o2755, 0o6711, 0o2644, 0o1777,
    0o070, 0o007, 0o111, 0o444, 0o222,
];
const DIRECTORY_MODES: [u64; 16] = [
    0o755, 0o777, 0o777, 0o1777, 0o1777, 0o2775, 0o3777, 0o711, 0o700, 0o750, 0o770, 0, 0o555,
    0o733, 0o744, 0o2755,
];
const OWNERS: [(u64, u64); 8] = [
    (0, 0),
    (1000, 1000),
    (1000, 1000),
    (1000, 2000),
    (1001, 1001),
    (1001, 2000),
    (0, 2000),
    (3000, 3000),
];

/// Descriptors that all cases have, from this number on.
pub(crate) const FIRST_FD: u64 = 40;
const OPEN: [(&str, i32); 9] = [
    (".", libc::O_RDONLY),
    ("da", libc::O_RDONLY),
    ("db", libc::O_PATH),
    ("f", libc::O_RDONLY),
    ("g", libc::O_RDWR),
    ("h", libc::O_WRONLY | libc::O_APPEND),
    ("f", libc::O_PATH),
    ("l", libc::O_PATH | libc::O_NOFOLLOW),
    ("p", libc::O_PATH),
];
/// Beyond those: an inotify(7), a pipe, a socket, a removed file and a removed directory.
pub(crate) const INOTIFY_FD: u64 = FIRST_FD + OPEN.len() as u64;
pub(crate) const FDS: u64 = OPEN.len() as u64 + 5;

/// What is told of one file.
#[derive(Clone, PartialEq, Eq)]
struct Entry {
    text: String,
    ctime: (i64, i64),
    mtime: (i64, i64),
}

pub(crate) struct Planted {
    before: BTreeMap<String, Entry>,
}

/// Begins: directories above are open to everybody.
pub(crate) fn start() {
    call(libc::SYS_umask, &[0]).expect("it never fails");
    // One for all: the kernel takes long to end one.
    let watches = call(libc::SYS_inotify_init1, &[0]).expect("there are few");
    call(libc::SYS_dup2, &[watches, INOTIFY_FD]).expect("both are valid");
    call(libc::SYS_close, &[watches]).expect("it is open");
    let work = picozone_guests::work();
    let mut permissions = fs::metadata(work).expect("it is there").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o777);
    fs::set_permissions(work, permissions).expect("ours");
}

fn set_flags(path: &str, flags: u32) {
    let Ok(fd) = at(
        libc::SYS_openat,
        path,
        &[signed(libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOFOLLOW)],
    ) else {
        return;
    };
    let flags = u64::from(flags);
    // Files of some kinds have none.
    let _ = call(libc::SYS_ioctl, &[fd, 0x4008_6602, from(&flags)]);
    call(libc::SYS_close, &[fd]).expect("it is open");
}

/// What says that a user and the group have lists of their own.
pub(crate) fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(rights.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// An access control list with a user and a group.
pub(crate) fn a_list(lot: &mut Lot) -> Vec<u8> {
    let mut rights = || u16::try_from(lot.below(8)).expect("small");
    let (user, group) = (rights(), rights());
    list(&[
        (1, rights(), u32::MAX),
        (2, user, 1000),
        (4, rights(), u32::MAX),
        (8, group, 2000),
        (16, rights(), u32::MAX),
        (32, rights(), u32::MAX),
    ])
}

/// `VFS_CAP_REVISION_2`, effective, with capabilities of the lower word.
pub(crate) fn capabilities(permitted: u32) -> Vec<u8> {
    [0x0200_0001, permitted, 0, 0, 0]
        .iter()
        .flat_map(|word: &u32| word.to_le_bytes())
        .collect()
}

fn set_attribute(path: &str, attribute: &str, value: &[u8]) {
    let (path, attribute) = (name(path), name(attribute));
    let value = [
        text(&path),
        text(&attribute),
        value.as_ptr() as u64,
        value.len() as u64,
        0,
    ];
    // Files of some kinds have none.
    let _ = call(libc::SYS_lsetxattr, &value);
}

fn dress(lot: &mut Lot, path: &str, modes: &[u64]) {
    let (uid, gid) = lot.pick(&OWNERS);
    let nofollow = signed(libc::AT_SYMLINK_NOFOLLOW);
    at(libc::SYS_fchownat, path, &[uid, gid, nofollow]).expect("root may");
    let is_link = fs::symlink_metadata(path).expect("made").is_symlink();
    if !is_link {
        at(libc::SYS_fchmodat, path, &[lot.pick(modes)]).expect("root may");
    }
    let is_directory = modes.len() == DIRECTORY_MODES.len();
    match lot.below(14) {
        0 => set_attribute(path, "system.posix_acl_access", &a_list(lot)),
        1 if is_directory => set_attribute(path, "system.posix_acl_default", &a_list(lot)),
        // In a zone, what is open to be written has none from then on.
        2 if !path.ends_with(['g', 'h']) => {
            set_attribute(path, "security.capability", &capabilities(0x2000));
        }
        3 => set_attribute(path, "user.a", b"value"),
        4 => set_attribute(path, "trusted.t", b"value"),
        _ => {}
    }
    // So that no look changes the time of access.
    let long_ago = [0, libc::UTIME_NOW, LONG_AGO, 0];
    at(libc::SYS_utimensat, path, &[from(&long_ago), nofollow]).expect("root may");
    if !is_link && lot.chance(4) {
        set_flags(path, lot.pick(&[0x10, 0x20]));
    }
}

fn fill(lot: &mut Lot, directory: &str, all: bool) {
    for entry in NAMES {
        if !all && !lot.chance(55) {
            continue;
        }
        let path = format!("{directory}/{entry}");
        let made = match entry {
            "l" => std::os::unix::fs::symlink(lot.pick(&["f", "g", "../f", "h/"]), &path).is_ok(),
            "ld" => std::os::unix::fs::symlink(lot.pick(&["s", "../da", ".", "s/"]), &path).is_ok(),
            "ln" => std::os::unix::fs::symlink(lot.pick(&["none", "ln", "da/none", "f/x"]), &path)
                .is_ok(),
            "s" => fs::create_dir(&path)
                .and_then(|()| fs::write(format!("{path}/x"), "x"))
                .is_ok(),
            "e" => fs::create_dir(&path).is_ok(),
            "p" => make(&path, libc::S_IFIFO, 0),
            "k" => make(&path, libc::S_IFSOCK, 0),
            "c" => make(&path, libc::S_IFCHR, 0x103),
            "n" => fs::hard_link(format!("{directory}/f"), &path).is_ok(),
            _ => fs::write(&path, "text").is_ok(),
        };
        if made && entry != "n" {
            let modes: &[u64] = if matches!(entry, "s" | "e") {
                &DIRECTORY_MODES
            } else {
                &MODES
            };
            dress(lot, &path, modes);
        }
    }
}

fn make(path: &str, kind: u32, device: u64) -> bool {
    at(libc::SYS_mknodat, path, &[u64::from(kind | 0o600), device]).is_ok()
}

/// Removes the tree, also what cannot be changed.
pub(crate) fn clear() {
    std::env::set_current_dir(picozone_guests::work()).expect("it is there");
    if fs::symlink_metadata(TOP).is_ok() {
        walk(TOP, &mut |path| set_flags(path, 0));
        fs::remove_dir_all(TOP).expect("root may");
    }
}

/// Makes a new tree in the place of the former, and goes there.
pub(crate) fn plant(lot: &mut Lot) -> Planted {
    clear();
    fs::create_dir_all(BELOW).expect("made");
    std::env::set_current_dir(BELOW).expect("made");
    fill(lot, ".", true);
    for directory in DIRECTORIES {
        fs::create_dir(directory).expect("made");
        fill(lot, directory, false);
        dress(lot, directory, &DIRECTORY_MODES);
    }
    dress(lot, ".", &[0o755, 0o777, 0o1777, 0o777]);
    set_flags(".", 0);
    open_all();
    // A look changes times of access.
    look();
    Planted { before: look() }
}

fn open_all() {
    fn keep(nth: u64, fd: u64) {
        call(libc::SYS_dup2, &[fd, FIRST_FD + nth]).expect("both are valid");
        call(libc::SYS_close, &[fd]).expect("it is open");
    }
    let none: CString = name("gone");
    for (nth, (path, flags)) in (0..).zip(OPEN) {
        match at(libc::SYS_openat, path, &[signed(flags)]) {
            Ok(fd) => keep(nth, fd),
            // What is immutable cannot be opened so.
            Err(_) => drop(call(libc::SYS_close, &[FIRST_FD + nth])),
        }
    }
    let nth = OPEN.len() as u64;
    let mut ends = [0i32; 2];
    call(libc::SYS_pipe2, &[out(&mut ends), 0]).expect("there are few");
    keep(nth + 1, signed(ends[0]));
    call(libc::SYS_close, &[signed(ends[1])]).expect("it is open");
    keep(
        nth + 2,
        call(libc::SYS_socket, &[1, 1, 0]).expect("there are few"),
    );
    std::env::set_current_dir("..").expect("it is there");
    keep(
        nth + 3,
        at(
            libc::SYS_openat,
            "gone",
            &[signed(libc::O_CREAT | libc::O_RDWR), 0o666],
        )
        .expect("made"),
    );
    call(libc::SYS_unlinkat, &[CWD, text(&none), 0]).expect("made");
    at(libc::SYS_mkdirat, "gone", &[0o777]).expect("made");
    keep(nth + 4, at(libc::SYS_openat, "gone", &[0]).expect("made"));
    call(libc::SYS_unlinkat, &[CWD, text(&none), 0x200]).expect("made");
    std::env::set_current_dir("w").expect("it is there");
}

fn walk(path: &str, see: &mut impl FnMut(&str)) {
    see(path);
    if !fs::symlink_metadata(path).is_ok_and(|data| data.is_dir()) {
        return;
    }
    let mut names: Vec<String> = fs::read_dir(path)
        .expect("root may")
        .map(|entry| {
            entry
                .expect("it is read")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    for name in names {
        walk(&format!("{path}/{name}"), see);
    }
}

fn time(seconds: i64) -> String {
    if seconds < 1_500_000_000 {
        seconds.to_string()
    } else if seconds < 2_000_000_000 {
        "now".into()
    } else {
        "later".into()
    }
}

/// All that is told of a file but by its ctime and what a mount is.
fn attributes(path: &str) -> String {
    let path = name(path);
    let mut names = vec![0u8; 4096];
    let size = call(
        libc::SYS_llistxattr,
        &[text(&path), names.as_mut_ptr() as u64, 4096],
    );
    let Ok(size) = size else {
        return format!(" {size:?}");
    };
    let mut told: Vec<String> = names[..usize::try_from(size).expect("small")]
        .split_inclusive(|byte| *byte == 0)
        .map(|bytes| {
            let attribute = std::ffi::CStr::from_bytes_with_nul(bytes).expect("it ends");
            let mut value = [0u8; 128];
            let size = call(
                libc::SYS_lgetxattr,
                &[text(&path), text(attribute), value.as_mut_ptr() as u64, 128],
            );
            let value = size.map(|size| {
                value[..usize::try_from(size).expect("small")]
                    .escape_ascii()
                    .to_string()
            });
            format!(" {}={value:?}", attribute.to_string_lossy())
        })
        .collect();
    told.sort();
    told.concat()
}

fn flags(path: &str, data: &fs::Metadata) -> String {
    if !data.is_file() && !data.is_dir() {
        return String::new();
    }
    let Ok(fd) = at(libc::SYS_openat, path, &[signed(libc::O_RDONLY)]) else {
        return " closed".into();
    };
    let mut flags = 0u64;
    let result = call(libc::SYS_ioctl, &[fd, 0x8008_6601, out(&mut flags)]);
    call(libc::SYS_close, &[fd]).expect("it is open");
    match result {
        Ok(_) => format!(" {:x}", flags & 0x30),
        Err(errno) => format!(" {errno:?}"),
    }
}

fn look() -> BTreeMap<String, Entry> {
    let mut all = BTreeMap::new();
    walk("..", &mut |path| {
        let data = fs::symlink_metadata(path).expect("it is listed");
        let mut text = format!(
            "{:o} {}:{} links={} size={} rdev={:x} atime={} mtime={}",
            data.mode(),
            data.uid(),
            data.gid(),
            data.nlink(),
            if data.is_dir() { 0 } else { data.size() },
            data.rdev(),
            time(data.atime()),
            time(data.mtime()),
        );
        if data.is_symlink() {
            let target = fs::read_link(path).expect("it is one");
            write!(text, " -> {}", target.display()).expect("memory");
        }
        text += &flags(path, &data);
        text += &attributes(path);
        let entry = Entry {
            text,
            ctime: (data.ctime(), data.ctime_nsec()),
            mtime: (data.mtime(), data.mtime_nsec()),
        };
        let shown = if path.len() > 60 {
            format!("{}~{}", &path[..20], path.len())
        } else {
            path.to_owned()
        };
        all.insert(shown, entry);
    });
    all
}

impl Planted {
    /// Prints what is another than at the last look.
    pub(crate) fn tell_changes(&mut self) {
        let now = look();
        for path in self.before.keys() {
            if !now.contains_key(path) {
                println!("  {path} is gone");
            }
        }
        for (path, entry) in &now {
            match self.before.get(path) {
                None => println!("  {path} is new: {}", entry.text),
                Some(before) if before != entry => {
                    let changed = if before.ctime == entry.ctime {
                        ""
                    } else {
                        " ctime"
                    };
                    let written = if before.mtime == entry.mtime {
                        ""
                    } else {
                        " mtime"
                    };
                    let text = if before.text == entry.text {
                        ""
                    } else {
                        &entry.text
                    };
                    println!("  {path}:{changed}{written} {text}");
                }
                Some(_) => {}
            }
        }
        self.before = now;
    }
}
