//! Files that are looked at while they are made: from the first moment on they are their maker's, with
//! the mode that was asked for, to whoever looks.
//!
//! Several processes of one user race in rounds. What each sees is counted; every look must find either
//! nothing or the whole truth.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "plain calls on memory that all processes share"
)]

use picozone_guests::children::{Child, End};
use picozone_guests::{child, name, sections, see};
use std::ffi::CString;
use std::fs;
use std::mem::{MaybeUninit, size_of};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

fn main() {
    // Modes are to be what is asked for.
    unsafe { libc::umask(0) };
    sections(&[
        ("shared_directories", shared_directories),
        ("nested_directories", nested_directories),
        ("looks", looks),
        ("opened", opened),
        ("made_again", made_again),
        ("renamed_over", renamed_over),
        ("crowd", crowd),
        ("killed", killed),
    ]);
}

/// How many processes race.
const PROCESSES: usize = 4;

/// What they share.
struct Shared {
    barrier: libc::pthread_barrier_t,
    /// Looks or operations that went wrong.
    wrong: AtomicU32,
    /// What the first of them saw.
    first: AtomicU32,
    /// Some of them have ended.
    is_over: AtomicU32,
}

impl Shared {
    fn new(count: usize) -> &'static Shared {
        let room = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Shared>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(room, libc::MAP_FAILED);
        let shared = room.cast::<Shared>();
        let mut how = MaybeUninit::uninit();
        let count = u32::try_from(count).expect("few");
        unsafe { libc::pthread_barrierattr_init(how.as_mut_ptr()) };
        unsafe {
            libc::pthread_barrierattr_setpshared(how.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED)
        };
        let barrier = unsafe { &raw mut (*shared).barrier };
        let made = unsafe { libc::pthread_barrier_init(barrier, how.as_ptr(), count) };
        assert_eq!(made, 0);
        unsafe { &*shared }
    }

    /// Waits for all others.
    fn meet(&self) {
        unsafe { libc::pthread_barrier_wait((&raw const self.barrier).cast_mut()) };
    }

    /// Counts what is not as it should be.
    fn must(&self, is_right: bool, what: u32) {
        if !is_right {
            self.wrong.fetch_add(1, SeqCst);
            let _ = self.first.compare_exchange(0, what, SeqCst, SeqCst);
        }
    }

    fn tell(&self, what: &str) {
        let (wrong, first) = (self.wrong.load(SeqCst), self.first.load(SeqCst));
        see(what, format!("{wrong} wrong, first {first:o}"));
    }
}

/// Runs `body` in that many processes at once, by their number, and waits for all.
fn race(count: usize, body: impl Fn(&Shared, usize)) -> &'static Shared {
    let shared = Shared::new(count);
    let all: Vec<Child> = (0..count)
        .map(|number| {
            child(|| {
                body(shared, number);
                0
            })
        })
        .collect();
    for one in all {
        assert_eq!(one.wait(), Ok(End::Exited(0)));
    }
    shared
}

fn errno() -> u32 {
    std::io::Error::last_os_error()
        .raw_os_error()
        .map_or(0, i32::unsigned_abs)
}

fn mkdir(path: &CString, mode: u32) -> u32 {
    match unsafe { libc::mkdir(path.as_ptr(), mode) } {
        0 => 0,
        _ => errno(),
    }
}

/// Makes an empty file.
fn creat(path: &CString, flags: i32, mode: u32) -> u32 {
    let flags = libc::O_WRONLY | libc::O_CREAT | flags;
    let fd = unsafe { libc::open(path.as_ptr(), flags, mode) };
    if fd < 0 {
        return errno();
    }
    unsafe { libc::close(fd) };
    0
}

/// lstat(2).
fn look(path: &CString) -> Option<libc::stat> {
    let mut st = MaybeUninit::uninit();
    let got = unsafe { libc::lstat(path.as_ptr(), st.as_mut_ptr()) };
    (got == 0).then(|| unsafe { st.assume_init() })
}

/// Lets others go on, of whom something is awaited.
fn rest() {
    unsafe { libc::sched_yield() };
}

fn is_own(st: &libc::stat) -> bool {
    let (uid, gid) = (unsafe { libc::geteuid() }, unsafe { libc::getegid() });
    (st.st_uid, st.st_gid) == (uid, gid)
}

const ROUNDS: usize = 300;
const EEXIST: u32 = libc::EEXIST.unsigned_abs();

/// All at once: makes a directory, unless another one has, and a file in it.
fn make_within(shared: &Shared, directory: &CString, file: &CString) {
    shared.meet();
    let made = mkdir(directory, 0o700);
    shared.must(matches!(made, 0 | EEXIST), made);
    let made = creat(file, libc::O_EXCL, 0o600);
    shared.must(made == 0, 0o1000 | made);
}

/// All make one directory, and then a file in it, as parallel workers of PostgreSQL do.
fn shared_directories() {
    let shared = race(PROCESSES, |shared, number| {
        for round in 0..ROUNDS {
            let directory = name(&format!("d{round}"));
            make_within(shared, &directory, &name(&format!("d{round}/f{number}")));
            let is_there = look(&directory).is_some_and(|st| is_own(&st));
            shared.must(is_there, 0o2000);
        }
    });
    shared.tell("directories");
    for round in 0..ROUNDS {
        fs::remove_dir_all(format!("d{round}")).expect("all of it is there");
    }
}

/// All make one way, as `mkdir -p` does.
fn nested_directories() {
    let shared = race(PROCESSES, |shared, number| {
        for round in 0..ROUNDS / 4 {
            let parts = ["", "/a", "/a/b", "/a/b/c"];
            shared.meet();
            for part in parts {
                let made = mkdir(&name(&format!("n{round}{part}")), 0o755);
                shared.must(matches!(made, 0 | EEXIST), made);
            }
            let file = format!("n{round}/a/b/c/f{number}");
            let made = creat(&name(&file), libc::O_EXCL, 0o644);
            shared.must(made == 0, 0o1000 | made);
        }
    });
    shared.tell("ways");
    for round in 0..ROUNDS / 4 {
        fs::remove_dir_all(format!("n{round}")).expect("all of it is there");
    }
}

/// Kinds and modes of what is made; the host's file can hold few of these.
const MADE: [(u32, u32); 10] = [
    (libc::S_IFREG, 0o644),
    (libc::S_IFREG, 0o600),
    (libc::S_IFREG, 0o400),
    (libc::S_IFREG, 0o000),
    (libc::S_IFREG, 0o4755),
    (libc::S_IFDIR, 0o755),
    (libc::S_IFDIR, 0o1777),
    (libc::S_IFDIR, 0o000),
    (libc::S_IFIFO, 0o620),
    (libc::S_IFLNK, 0o777),
];

fn make(path: &CString, kind: u32, mode: u32) -> u32 {
    let made = match kind {
        libc::S_IFDIR => return mkdir(path, mode),
        libc::S_IFREG => return creat(path, libc::O_EXCL, mode),
        libc::S_IFLNK => unsafe { libc::symlink(c"nowhere".as_ptr(), path.as_ptr()) },
        _ => unsafe { libc::mknod(path.as_ptr(), kind | mode, 0) },
    };
    if made == 0 { 0 } else { errno() }
}

/// One makes something, the others look at it until it is there.
fn looks() {
    let shared = race(PROCESSES, |shared, number| {
        for round in 0..ROUNDS {
            let (kind, mode) = MADE[round % MADE.len()];
            let path = name(&format!("l{round}"));
            shared.meet();
            if number == 0 {
                let made = make(&path, kind, mode);
                shared.must(made == 0, made);
                continue;
            }
            let st = loop {
                if let Some(st) = look(&path) {
                    break st;
                }
                rest();
            };
            shared.must(is_own(&st), 0o2000 | st.st_uid);
            shared.must(st.st_mode == kind | mode, st.st_mode);
        }
    });
    shared.tell("looks");
}

/// One makes files, the others open them for themselves, without and with `O_CREAT`.
fn opened() {
    let shared = race(PROCESSES, |shared, number| {
        for round in 0..ROUNDS {
            let path = name(&format!("o{round}"));
            shared.meet();
            let opened = loop {
                let opened = match number {
                    0 | 1 => creat(&path, 0, 0o600),
                    2 => match unsafe { libc::open(path.as_ptr(), libc::O_RDWR) } {
                        -1 => errno(),
                        fd => {
                            let mut st = MaybeUninit::uninit();
                            unsafe { libc::fstat(fd, st.as_mut_ptr()) };
                            shared.must(is_own(unsafe { st.assume_init_ref() }), 0o2000);
                            unsafe { libc::close(fd) };
                            0
                        }
                    },
                    _ => match unsafe { libc::access(path.as_ptr(), libc::R_OK | libc::W_OK) } {
                        0 => 0,
                        _ => errno(),
                    },
                };
                if opened != libc::ENOENT.unsigned_abs() {
                    break opened;
                }
                rest();
            };
            shared.must(opened == 0, opened);
        }
    });
    shared.tell("opens");
}

/// One name is made and removed again and again.
fn made_again() {
    watched("again", |path| {
        let (made, removed) = (creat(path, libc::O_EXCL, 0o600), unsafe {
            libc::unlink(path.as_ptr())
        });
        made == 0 && removed == 0
    });
}

/// A lock file, or a state that is written anew.
fn renamed_over() {
    watched("renamed", |path| {
        let new = name(&format!("{}.new", path.to_string_lossy()));
        let made = creat(&new, libc::O_EXCL, 0o600);
        made == 0 && unsafe { libc::rename(new.as_ptr(), path.as_ptr()) } == 0
    });
}

/// One changes what has a name, the others look at it all the time.
fn watched(what: &str, change: impl Fn(&CString) -> bool) {
    let path = name(&format!("w-{what}"));
    let shared = race(PROCESSES, |shared, number| {
        shared.meet();
        if number == 0 {
            for _ in 0..ROUNDS {
                shared.must(change(&path), 0o4000);
            }
            shared.is_over.store(1, SeqCst);
        }
        while shared.is_over.load(SeqCst) == 0 {
            if let Some(st) = look(&path) {
                shared.must(is_own(&st), 0o2000 | st.st_uid);
                shared.must(st.st_mode == libc::S_IFREG | 0o600, st.st_mode);
            }
        }
    });
    shared.tell(what);
}

/// More makers at once than there is room for.
fn crowd() {
    const CROWD: usize = 100;
    let shared = race(CROWD, |shared, number| {
        for round in 0..10 {
            let directory = name(&format!("c{round}"));
            make_within(shared, &directory, &name(&format!("c{round}/f{number}")));
        }
    });
    shared.tell("crowd");
}

/// What those that are killed make, in turns.
fn kind_of(number: usize) -> u32 {
    [libc::S_IFREG, libc::S_IFDIR, libc::S_IFIFO, libc::S_IFREG][number % 4]
}

/// Makers that are killed keep nobody waiting for long, whoever made what; and what they have made is
/// theirs, to the last.
fn killed() {
    for round in 0..20 {
        let maker = child(|| {
            for number in 0..100_000 {
                make(&name(&format!("k{round}-{number}")), kind_of(number), 0o600);
            }
            unsafe { libc::pause() };
            0
        });
        let some = name(&format!("k{round}-{}", round * 3));
        while look(&some).is_none() {
            rest();
        }
        assert_eq!(maker.signal(libc::SIGKILL), Ok(()));
        assert_eq!(maker.wait(), Ok(End::Killed(libc::SIGKILL)));
        // Ours are ours, whatever the dead have left.
        let own = name(&format!("k{round}"));
        assert_eq!(creat(&own, libc::O_EXCL, 0o600), 0);
        let st = look(&own).expect("just made");
        assert!(is_own(&st) && st.st_mode == libc::S_IFREG | 0o600);
        for number in 0..100_000usize {
            let path = name(&format!("k{round}-{number}"));
            let Some(st) = look(&path) else {
                break;
            };
            // Also the one that it was at when it was killed.
            assert!(is_own(&st) && st.st_mode == kind_of(number) | 0o600);
            let removed = match kind_of(number) {
                libc::S_IFDIR => unsafe { libc::rmdir(path.as_ptr()) },
                _ => unsafe { libc::unlink(path.as_ptr()) },
            };
            assert_eq!(removed, 0);
        }
    }
    see("killed", "all looked at");
}
