//! Guests that live briefly: killed wherever they are, born by the thousand, never waited for.
//!
//! Arguments choose what happens; what is printed does not depend on chance. Natively it does the
//! same, but for `full`, which aims at the zone's table of processes.

use picozone_guests::children::{End, exit, kill, wait};
use picozone_guests::{Errno, child, libc_result, see};
use picozone_personality::commons::{Commons, ZONE_PID_LIMIT, state};
use picozone_personality::layout::{COMMONS_BASE, PID_LIMIT};
use std::ffi::CStr;
use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const LEAF: &str = "leaf";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().expect("a number");
    match words[..] {
        [LEAF] => {}
        ["killed", seed, rounds] => killed(Chance(number(seed) | 1), number(rounds)),
        ["storm", count] => storm(number(count)),
        ["unreaped"] => unreaped(),
        ["full"] => full(),
        ["hungry"] => hungry(),
        _ => panic!("what is {words:?}?"),
    }
}

/// Numbers that a seed determines (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A semaphore whose value must be 0 again whenever all who used it are gone.
struct Semaphore(i32);

impl Semaphore {
    fn new() -> Self {
        // SAFETY: semget(2) takes numbers.
        let id = unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o600) };
        libc_result(id).expect("a semaphore");
        Self(id)
    }

    fn change(&self, by: i16) -> picozone_guests::Result<i64> {
        let sem_flg = i16::try_from(libc::SEM_UNDO | libc::IPC_NOWAIT).expect("small flags");
        let mut operation = libc::sembuf {
            sem_num: 0,
            sem_op: by,
            sem_flg,
        };
        // SAFETY: one operation, which lives until the call returns.
        libc_result(unsafe { libc::semop(self.0, &raw mut operation, 1) })
    }

    fn value(&self) -> picozone_guests::Result<i64> {
        // SAFETY: GETVAL takes numbers.
        libc_result(unsafe { libc::semctl(self.0, 0, libc::GETVAL) })
    }
}

impl Drop for Semaphore {
    fn drop(&mut self) {
        // SAFETY: IPC_RMID takes numbers.
        unsafe { libc::semctl(self.0, 0, libc::IPC_RMID) };
    }
}

/// Families of processes, each killed as a whole at a moment of chance.
fn killed(mut chance: Chance, rounds: u64) {
    // SAFETY: takes numbers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    let semaphore = Semaphore::new();
    for round in 0..rounds {
        let mut of_child = Chance(chance.below(u64::MAX) | 1);
        let family = child(|| {
            // SAFETY: takes numbers.
            unsafe { libc::setpgid(0, 0) };
            loop {
                live(&mut of_child, &semaphore);
            }
        });
        // SAFETY: takes numbers; one of both calls comes first.
        unsafe { libc::setpgid(family.0, family.0) };
        std::thread::sleep(Duration::from_micros(chance.below(7000)));
        kill(-family.0, libc::SIGKILL).expect("the family is there");
        let mut dead = 0;
        while wait(-1, 0).is_ok() {
            dead += 1;
        }
        assert!(dead > 0, "round {round}: nobody died");
        assert_eq!(kill(-family.0, 0), Err(Errno::ESRCH), "round {round}");
        assert_eq!(semaphore.value(), Ok(0), "round {round}");
        assert!(leaf(), "round {round}: no program starts any more");
    }
    see("rounds", rounds);
}

/// Runs this program as one that does nothing.
fn leaf() -> bool {
    let own = std::env::current_exe().expect("its name");
    Command::new(own)
        .arg(LEAF)
        .status()
        .is_ok_and(|s| s.success())
}

/// Forks a child that executes this program, without vfork(2).
fn forked_leaf() -> bool {
    let status = child(|| i32::from(!leaf_in_place())).wait();
    status == Ok(End::Exited(0))
}

fn leaf_in_place() -> bool {
    let argv = [c"guest".as_ptr(), c"leaf".as_ptr(), std::ptr::null()];
    // SAFETY: the strings and the list end as execv(3) asks.
    unsafe { libc::execv(c"/proc/self/exe".as_ptr(), argv.as_ptr()) };
    false
}

/// Something that guests do, of which a kill may find them in the midst.
fn live(chance: &mut Chance, semaphore: &Semaphore) {
    let name = format!("file-{}", std::process::id());
    match chance.below(10) {
        0 => {
            let _ = fs::read("/etc/passwd");
            let _ = fs::write(&name, "something");
            let _ = fs::rename(&name, format!("{name}-later"));
            let _ = fs::remove_file(format!("{name}-later"));
        }
        1 => drop(child(|| 0).wait()),
        2 => drop(forked_leaf()),
        3 => drop(leaf()),
        4 => drop(std::thread::spawn(|| fs::metadata("/")).join()),
        5 => drop(fs::read("/proc/self/stat")),
        6 => {
            // By a path and without a file left: the monitor holds both sockets meanwhile.
            if let Ok(listener) = UnixListener::bind(&name) {
                let _ = UnixStream::connect(&name);
                drop(listener);
            }
            let _ = fs::remove_file(&name);
        }
        7 => {
            let _ = semaphore.change(1);
            let _ = semaphore.change(-1);
        }
        8 => {
            let _ = fs::create_dir(&name);
            let _ = fs::remove_dir(&name);
        }
        _ => {
            // One who is to be an orphan.
            child(|| {
                child(|| exit(i32::from(!forked_leaf())));
                0
            });
        }
    }
}

/// Births by every way, one after the other.
fn storm(count: u64) {
    for number in 0..count {
        let is_well = match number % 4 {
            0 => leaf(),
            1 | 2 => child(|| 0).wait() == Ok(End::Exited(0)),
            _ => forked_leaf(),
        };
        assert!(is_well, "birth {number}");
    }
    see("births", count);
}

/// Children that the kernel reaps by itself are gone like others.
fn unreaped() {
    // SAFETY: takes numbers.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    for number in 0..50 {
        let gone = child(|| 0);
        // It returns once there are no children left.
        assert_eq!(wait(-1, 0), Err(Errno::ECHILD), "{number}");
        // Which the kernel says of a child that is dead before its number is free (EXIT_DEAD in
        // wait_consider_task(), kernel/exit.c).
        let begun = std::time::Instant::now();
        while gone.signal(0).is_ok() && begun.elapsed().as_secs() < 30 {
            std::thread::yield_now();
        }
        assert_eq!(gone.signal(0), Err(Errno::ESRCH), "{number}");
    }
    see("unreaped", 50);
}

/// Every number of the zone's table belongs to a process that ended without anybody noticing.
fn full() {
    // SAFETY: a zone's guests have it mapped there, to read and write.
    let commons = unsafe { &*(COMMONS_BASE as *const Commons) };
    let own = [1, std::process::id(), std::os::unix::process::parent_id()];
    for number in (1..ZONE_PID_LIMIT).filter(|number| !own.contains(number)) {
        // Far above what a host gives out.
        let host = PID_LIMIT - 1 - number;
        let entry = &commons.processes[number as usize];
        entry.host.store(host, Relaxed);
        entry.state.store(state::LIVE, Relaxed);
        commons.by_host[host as usize].store(number, Relaxed);
    }
    commons.next_pid.store(ZONE_PID_LIMIT - 5, Relaxed);
    for _ in 0..10 {
        assert_eq!(child(|| 0).wait(), Ok(End::Exited(0)));
    }
    see("births", 10);
}

/// Takes all that its limits allow, then says so and stays until it is ended.
fn hungry() {
    let mut kept = Vec::new();
    let open = |path: &CStr| {
        // SAFETY: a string that ends.
        libc_result(unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) })
    };
    let limits = [
        (libc::RLIMIT_AS, 512 << 20),
        (libc::RLIMIT_NOFILE, 300),
        (libc::RLIMIT_FSIZE, 1 << 20),
    ];
    for (resource, limit) in limits {
        let limit = libc::rlimit {
            rlim_cur: limit,
            rlim_max: limit,
        };
        // SAFETY: a structure that lives until the call returns.
        let result = unsafe { libc::setrlimit(resource, &raw const limit) };
        assert_eq!(libc_result(result), Ok(0));
    }
    let children: Vec<_> = (0..200)
        .map(|_| {
            child(|| {
                // SAFETY: takes nothing.
                unsafe { libc::pause() };
                0
            })
        })
        .collect();
    let mut memory = Vec::new();
    loop {
        let mut piece: Vec<u8> = Vec::new();
        if piece.try_reserve_exact(8 << 20).is_err() {
            break;
        }
        piece.resize(16, 1);
        memory.push(piece);
    }
    while let Ok(fd) = open(c"/dev/null") {
        kept.push(fd);
    }
    let line = format!("full: {} children\n", children.len());
    let _ = std::io::stdout().write_all(line.as_bytes());
    // SAFETY: takes nothing.
    unsafe { libc::pause() };
    for child in children {
        let _ = child.signal(libc::SIGKILL);
    }
}
