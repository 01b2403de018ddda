//! Calls on files: their arguments, and what they give.

use crate::lot::Lot;
use crate::people::{KEEP, Person};
use crate::rows::{Arg, By, Gives, ROWS};
use crate::tree::{self, FDS, FIRST_FD};
use picozone_guests::{CWD, NOWHERE, Result, call, child, from, out, text};

use Arg::{
    Address, Attribute, AttributeAt, AttributeName, Bits, Dir, Fd, FileFd, How, Id, MicroTimes,
    Mode, Nothing, One, OpenPath, Out, Path, SecondTimes, Size, Text, Times, Word,
};

/// What statx(2) tells in any case: not the times of changes, nor the mount.
const ALWAYS: u64 = 0x73f;
const FAR_FD: u64 = 9999;
const BUFFER: usize = 8192;

/// A call that is about to be made.
pub(crate) struct Case {
    person: Person,
    text: String,
    nr: i64,
    arguments: Vec<u64>,
    gives: Gives,
    /// What the arguments point at.
    kept: Vec<Vec<u8>>,
    buffer: Box<[u8; BUFFER]>,
}

/// Draws a caller, a call and its arguments.
pub(crate) fn draw(lot: &mut Lot) -> Case {
    let mut person = Person::draw(lot);
    let row = &ROWS[lot.below(ROWS.len())];
    while row.4 == By::Users && !person.is_user() {
        person = Person::draw(lot);
    }
    let mut case = Case {
        person,
        text: String::new(),
        nr: row.1,
        arguments: Vec::new(),
        gives: row.3,
        kept: Vec::new(),
        buffer: Box::new([0; BUFFER]),
    };
    for arg in row.2 {
        case.argue(lot, *arg);
    }
    case.text = format!("{}({})", row.0, case.text);
    case
}

/// A path of any kind.
fn path(lot: &mut Lot) -> Vec<u8> {
    const BEFORE: [&str; 10] = [
        "./",
        "../w/",
        "da/../",
        "ld/",
        "f/",
        "ln/",
        "none/",
        "da//",
        "/proc/self/cwd/",
        "l/",
    ];
    const WHOLE: [&str; 10] = [
        "", ".", "..", "./", "da/.", "da/..", "da/s/..", "../w", "da", "db/",
    ];
    if lot.chance(8) {
        return lot.pick(&WHOLE).into();
    }
    if lot.chance(4) {
        let length = lot.pick(&[254, 255, 256, 4094, 4095, 4096, 5000]);
        let mut path = lot.pick(&["da/", "./", ""]).as_bytes().to_vec();
        let fill = if length > 300 { lot.pick(b"/n") } else { b'n' };
        path.resize(length, fill);
        return path;
    }
    let mut path = String::new();
    if lot.chance(20) {
        path += lot.pick(&BEFORE);
    }
    if lot.chance(60) {
        path += lot.pick(&tree::DIRECTORIES);
        path.push('/');
    }
    path += if lot.chance(22) {
        lot.pick(&["none", "new"])
    } else {
        lot.pick(&tree::NAMES)
    };
    if lot.chance(12) {
        path += lot.pick(&["/", "/.", "/..", "/x", "//", "/none"]);
    }
    path.into()
}

/// As long texts are told by their beginning and their length.
fn shown(bytes: &[u8]) -> String {
    if bytes.len() > 60 {
        return format!(
            "{:?}..{}",
            String::from_utf8_lossy(&bytes[..12]),
            bytes.len()
        );
    }
    format!("\"{}\"", bytes.escape_ascii())
}

impl Case {
    fn push(&mut self, value: u64, shown: &str) {
        if !self.arguments.is_empty() {
            self.text += ", ";
        }
        self.text += shown;
        self.arguments.push(value);
    }

    /// A pointer to bytes; seldom to none.
    fn point(&mut self, lot: &mut Lot, bytes: Vec<u8>, shown: &str) {
        if lot.chance(2) {
            return self.push(0, "NULL");
        }
        if lot.chance(2) {
            return self.push(NOWHERE, "nowhere");
        }
        self.push(bytes.as_ptr() as u64, shown);
        self.kept.push(bytes);
    }

    fn text(&mut self, lot: &mut Lot, mut bytes: Vec<u8>) {
        let shown = shown(&bytes);
        bytes.push(0);
        self.point(lot, bytes, &shown);
    }

    fn words(&mut self, lot: &mut Lot, words: &[i64]) {
        let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.point(lot, bytes, &format!("{words:?}"));
    }

    fn hex(&mut self, value: u64) {
        self.push(value, &format!("{value:#x}"));
    }

    fn number(&mut self, value: u64) {
        self.push(value, &value.cast_signed().to_string());
    }

    fn fd(&mut self, lot: &mut Lot) {
        let fd = match lot.below(20) {
            0 => u64::MAX,
            1 => FAR_FD,
            _ => FIRST_FD + lot.next() % FDS,
        };
        self.number(fd);
    }

    fn attribute_name(&mut self, lot: &mut Lot) -> &'static str {
        const NAMES: [&str; 16] = [
            "user.a",
            "user.a",
            "user.b",
            "trusted.t",
            "trusted.u",
            "security.capability",
            "security.capability",
            "security.other",
            "system.posix_acl_access",
            "system.posix_acl_access",
            "system.posix_acl_default",
            "system.none",
            "user.",
            "",
            "none",
            "user",
        ];
        if lot.chance(4) {
            let long = format!("user.{}", "n".repeat(lot.pick(&[250, 251, 300])));
            self.text(lot, long.into());
            return "";
        }
        let picked = lot.pick(&NAMES);
        self.text(lot, picked.into());
        picked
    }

    fn value(&mut self, lot: &mut Lot, of: &str) -> Vec<u8> {
        if lot.chance(12) {
            return vec![b'v'; lot.pick(&[0, 1, 4, 20, 3000, 65536, 65537])];
        }
        match of {
            "security.capability" => tree::capabilities(lot.pick(&[1, 0x2000, 0x1ff])),
            "system.posix_acl_access" | "system.posix_acl_default" => match lot.below(8) {
                0 => tree::list(&[]),
                1 | 2 => tree::list(&[(1, 6, u32::MAX), (4, 4, u32::MAX), (32, 0, u32::MAX)]),
                // Without a mask, out of order, twice.
                3 => tree::list(&[
                    (1, 6, u32::MAX),
                    (2, 7, 1000),
                    (4, 4, u32::MAX),
                    (32, 0, u32::MAX),
                ]),
                4 => tree::list(&[(4, 6, u32::MAX), (1, 4, u32::MAX), (32, 0, u32::MAX)]),
                5 => tree::list(&[(1, 15, u32::MAX), (4, 4, u32::MAX), (32, 0, u32::MAX)]),
                _ => tree::a_list(lot),
            },
            _ => b"some value".to_vec(),
        }
    }

    fn argue(&mut self, lot: &mut Lot, arg: Arg) {
        match arg {
            Dir if lot.chance(70) => self.push(CWD, "AT_FDCWD"),
            Dir | Fd => self.fd(lot),
            FileFd => {
                let fd = FIRST_FD + lot.below(9) as u64;
                self.number(fd);
            }
            OpenPath if lot.chance(15) => {
                let fd = FIRST_FD + lot.below(9) as u64;
                self.text(lot, format!("/proc/self/fd/{fd}").into());
            }
            Path | OpenPath => {
                let path = path(lot);
                self.text(lot, path);
            }
            Text if lot.chance(10) => {
                let length = lot.pick(&[0, 4094, 4095, 4096]);
                self.text(lot, vec![b'n'; length]);
            }
            Text => {
                let path = path(lot);
                self.text(lot, path);
            }
            Mode => {
                let mode = lot.pick(&[
                    0o644, 0o755, 0o777, 0, 0o4755, 0o2755, 0o6777, 0o1777, 0o2644, 0o100_600,
                    0o17_777, 0o600, 0o40_700, 0o64,
                ]);
                self.push(mode, &format!("{mode:#o}"));
            }
            Id => {
                let id = lot.pick(&[
                    0,
                    1000,
                    1000,
                    1001,
                    2000,
                    3000,
                    KEEP,
                    KEEP,
                    u64::MAX,
                    65534,
                    1 << 32,
                    KEEP - 1,
                ]);
                self.number(id);
            }
            One(values) => self.hex(lot.pick(values)),
            Bits(bits) => {
                let mut all = lot.bits(bits);
                if lot.chance(4) {
                    all |= 1 << lot.below(32);
                }
                // A FIFO must not make anybody wait.
                if bits.len() == 13 {
                    all |= 0x800;
                }
                self.hex(all);
            }
            Times => {
                let mut one = || {
                    (
                        lot.pick(&[0, 7, 1_000_000, -5]),
                        lot.pick(&[
                            0,
                            0,
                            0x3fff_fffe,
                            0x3fff_ffff,
                            999_999_999,
                            1_000_000_000,
                            -1,
                        ]),
                    )
                };
                let (first, second) = (one(), one());
                self.times(lot, &[first.0, first.1, second.0, second.1]);
            }
            MicroTimes => {
                let mut one = || {
                    (
                        lot.pick(&[0, 7, 1_000_000]),
                        lot.pick(&[0, 0, 999_999, 1_000_000, -1]),
                    )
                };
                let (first, second) = (one(), one());
                self.times(lot, &[first.0, first.1, second.0, second.1]);
            }
            SecondTimes => self.times(lot, &[5, 7_000_000]),
            Out if lot.chance(4) => self.push(NOWHERE, "nowhere"),
            Out => {
                let buffer = self.buffer.as_mut_ptr() as u64;
                self.push(buffer, "buffer");
            }
            Size => {
                let size = lot.pick(&[BUFFER as u64, BUFFER as u64, 1000, 4, 1, 0, u64::MAX]);
                self.number(size);
            }
            Attribute => {
                let of = self.attribute_name(lot);
                let value = self.value(lot, of);
                let size = value.len() as u64;
                let shown = shown(&value);
                self.point(lot, value, &shown);
                self.number(size);
            }
            AttributeName => drop(self.attribute_name(lot)),
            AttributeAt => {
                let of = self.attribute_name(lot);
                let value = self.value(lot, of);
                let flags = lot.bits(&[1, 2]);
                let words = [value.as_ptr() as u64, value.len() as u64 | flags << 32];
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                let shown = format!("{{{}, {}, {flags}}}", shown(&value), value.len());
                self.kept.push(value);
                self.point(lot, bytes, &shown);
                self.number(lot.pick(&[16, 16, 16, 15, 0, 5000]));
            }
            Word(words) => {
                let word = lot.pick(words).cast_signed();
                self.words(lot, &[word]);
            }
            How => {
                let flags = lot.bits(&[
                    0x1, 0x2, 0x40, 0x80, 0x200, 0x400, 0x1_0000, 0x2_0000, 0x20_0000, 0x41_0000,
                ]) | 0x800;
                let mode = if flags & 0x40_0040 == 0 && lot.chance(90) {
                    0
                } else {
                    lot.pick(&[0o644, 0o6777, 0o10_644])
                };
                let resolve = lot.bits(&[1, 2, 4, 8, 16, 32, 64]);
                let words = [flags, mode, resolve].map(u64::cast_signed);
                self.words(lot, &words);
                self.number(lot.pick(&[24, 24, 24, 23, 0, 5000]));
            }
            Address => {
                // In a zone the monitor goes there, from the zone's root.
                let mut path = std::iter::repeat_with(|| path(lot))
                    .find(|path| {
                        !path.starts_with(b"/") && !path.ends_with(b"/") && !path.ends_with(b"..")
                    })
                    .expect("without an end");
                path.truncate(108);
                let mut address = 1u16.to_le_bytes().to_vec();
                address.extend(&path);
                let size = address.len() as u64 + u64::from(path.len() < 108);
                address.resize(120, 0);
                let shown = shown(&path);
                self.point(lot, address, &shown);
                let size = if lot.chance(6) {
                    lot.pick(&[0, 1, 2, 200, u64::MAX])
                } else {
                    size
                };
                self.number(size);
            }
            Nothing => self.words(lot, &[0]),
        }
    }

    fn times(&mut self, lot: &mut Lot, words: &[i64]) {
        if lot.chance(20) {
            return self.push(0, "NULL");
        }
        self.words(lot, words);
    }

    /// Makes the call in a child, and prints what it gave.
    pub(crate) fn make(mut self, nth: &str) {
        println!("{nth} {:?} {}", self.person, self.text);
        let ended = child(|| {
            self.person.become_it();
            let result = call(self.nr, &self.arguments);
            match result {
                Err(errno) => println!("  {errno:?}"),
                Ok(value) => self.tell(value),
            }
            0
        });
        let ended = ended.wait().expect("it ends");
        if ended != picozone_guests::children::End::Exited(0) {
            println!("  {ended:?}");
        }
    }

    fn word(&self, at: usize) -> u64 {
        let bytes = self.buffer[at..at + 8].try_into().expect("eight");
        u64::from_le_bytes(bytes)
    }

    fn half(&self, at: usize) -> u64 {
        self.word(at) & u64::from(u32::MAX)
    }

    fn tell(&mut self, value: u64) {
        match self.gives {
            Gives::Number => println!("  = {value}"),
            Gives::Flags => println!("  = {value} {:x}", self.word(0) & 0x30),
            Gives::NewFd => tell_fd(value),
            Gives::Bytes => {
                let count = usize::try_from(value).expect("small").min(BUFFER);
                if self.buffer.starts_with(b"/") {
                    // Where the guest was started is not the same on both sides.
                    return println!("  = a place");
                }
                println!("  = {value} {}", shown(&self.buffer[..count]));
            }
            Gives::Names => {
                let count = usize::try_from(value).expect("small").min(BUFFER);
                let mut names: Vec<_> = self.buffer[..count]
                    .split(|byte| *byte == 0)
                    .map(shown)
                    .collect();
                names.sort();
                println!("  = {value} {names:?}");
            }
            Gives::Stat => println!(
                "  = {:o} {}:{} links={} rdev={:x}",
                self.half(24),
                self.half(28),
                self.half(32),
                self.word(16),
                self.word(40)
            ),
            Gives::Statx => println!(
                "  = mask={:x} {:o} {}:{} links={} attributes={:x}/{:x} rdev={}:{}",
                self.half(0) & ALWAYS,
                self.half(28) & 0xffff,
                self.half(20),
                self.half(24),
                self.half(16),
                self.word(8),
                self.word(56),
                self.half(128),
                self.half(132),
            ),
            Gives::Place => {
                let mut here = [0u8; 4096];
                let size = call(libc::SYS_getcwd, &[out(&mut here), 4096]);
                // Where the guest was started is not the same on both sides.
                println!(
                    "  = {value} {:?}",
                    size.map(|size| {
                        let size = usize::try_from(size).expect("small");
                        let here = String::from_utf8_lossy(&here[..size]).into_owned();
                        here.rsplit_once("/t/").map(|(_, below)| below.to_owned())
                    })
                );
                println!(
                    "  .. {:?}",
                    call(libc::SYS_access, &[text(c"../w/da/f"), 0])
                );
            }
        }
    }
}

/// What a new descriptor is, and may.
fn tell_fd(fd: u64) {
    // SAFETY: all zero is a valid `struct stat`.
    let mut found = unsafe { std::mem::zeroed::<libc::stat>() };
    let told = call(libc::SYS_fstat, &[fd, out(&mut found)]);
    let flags = call(libc::SYS_fcntl, &[fd, 3, 0]);
    // That it would not have followed a link is not told of what the monitor has made.
    let flags = flags.map(|flags| flags & !0x2_0000);
    if found.st_mode & libc::S_IFMT == libc::S_IFCHR {
        // In a zone it is that of its own `/dev`.
        return println!("  = a device");
    }
    println!(
        "  = {told:?} {:o} {}:{} flags={:x?}",
        found.st_mode, found.st_uid, found.st_gid, flags
    );
    let mut byte = *b"y";
    let written: Result<u64> = call(libc::SYS_write, &[fd, from(&byte), 1]);
    let read = call(libc::SYS_read, &[fd, out(&mut byte), 1]);
    println!(
        "  written {written:?} read {read:?} closed {:?}",
        call(libc::SYS_close, &[fd])
    );
}
