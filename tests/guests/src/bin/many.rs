//! Many at once: threads, forks from several threads, children of large programs; and what all threads of
//! a process do together.

use picozone_guests::children::{End, exit, pipe, wait};
use picozone_guests::{call, child, libc_result, out, sections, see, signed};
use std::cell::UnsafeCell;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Barrier, mpsc};

fn main() {
    sections(&[
        ("thousand", thousand),
        ("forks", forks),
        ("large", large),
        ("full", full),
        ("contexts", contexts),
        ("shared_mutexes", shared_mutexes),
        ("owner_died", owner_died),
        ("identities", identities),
    ]);
}

fn pid() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::getpid() }
}

/// A thousand threads at once: each has an id of its own, takes a signal, and sees the same process.
fn thousand() {
    const COUNT: usize = 1000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    extern "C" fn take(_: i32) {
        TAKEN.fetch_add(1, SeqCst);
    }
    // SAFETY: the handler counts.
    unsafe { libc::signal(libc::SIGUSR1, take as *const () as usize) };
    let all = Arc::new(Barrier::new(COUNT + 1));
    let (send, receive) = mpsc::channel();
    let threads: Vec<_> = (0..COUNT)
        .map(|_| {
            let (all, send) = (Arc::clone(&all), send.clone());
            let body = move || {
                let tid = call(libc::SYS_gettid, &[]);
                send.send((tid, pid())).expect("somebody listens");
                all.wait();
                // SAFETY: sends to the thread itself.
                let raised = unsafe { libc::raise(libc::SIGUSR1) };
                all.wait();
                raised
            };
            let thread = std::thread::Builder::new().stack_size(1 << 17);
            thread.spawn(body).expect("there is room")
        })
        .collect();
    let told: Vec<_> = (0..COUNT)
        .map(|_| receive.recv().expect("each tells"))
        .collect();
    let mut ids: Vec<_> = told.iter().map(|told| told.0.expect("always")).collect();
    ids.sort_unstable();
    ids.dedup();
    see("ids", (ids.len(), told.iter().all(|told| told.1 == pid())));
    let listed = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    see("listed", listed.expect("it is there"));
    let text = std::fs::read_to_string("/proc/self/status").expect("it is there");
    see(
        "told",
        text.lines().find(|line| line.starts_with("Threads:")),
    );
    all.wait();
    all.wait();
    let raised: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().expect("it ends"))
        .collect();
    see(
        "signals",
        (raised.iter().all(|raised| *raised == 0), TAKEN.load(SeqCst)),
    );
}

/// Threads that all fork, wait and execute at once.
fn forks() {
    let threads: Vec<_> = (0..8)
        .map(|number| {
            std::thread::spawn(move || {
                (0..25)
                    .filter(|round| {
                        let status = (number * 25 + round) % 251;
                        child(move || status).wait() == Ok(End::Exited(status))
                    })
                    .count()
            })
        })
        .collect();
    let right: usize = threads
        .into_iter()
        .map(|thread| thread.join().expect("it ends"))
        .sum();
    see("forks", right);
    // A tree of them, each of which waits for its own.
    fn tree(depth: i32) -> i32 {
        if depth == 0 {
            return 1;
        }
        let children = [0, 1, 2].map(|_| child(|| exit(tree(depth - 1).min(200))));
        let sum: i32 = children
            .iter()
            .map(|child| match child.wait() {
                Ok(End::Exited(count)) => count,
                _ => 1000,
            })
            .sum();
        sum
    }
    see("leaves", tree(4));
    see("nobody is left", wait(-1, libc::WNOHANG));
}

/// Children of a program with much memory and several threads that are busy.
fn large() {
    const SIZE: usize = 256 << 20;
    let mut memory = vec![0_u8; SIZE];
    for page in memory.chunks_mut(4096) {
        page[0] = 1;
    }
    static IS_OVER: AtomicU32 = AtomicU32::new(0);
    let threads: Vec<_> = (0..6)
        .map(|_| {
            std::thread::spawn(|| {
                while IS_OVER.load(SeqCst) == 0 {
                    let _ = call(libc::SYS_getppid, &[]);
                    std::thread::sleep(std::time::Duration::from_micros(300));
                }
            })
        })
        .collect();
    let mut sum = 0;
    for number in 0..40 {
        // By posix_spawn(3), which uses vfork.
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", &format!("exit {number}")])
            .status();
        sum += status.ok().and_then(|status| status.code()).unwrap_or(1000);
    }
    see("spawned", sum);
    let forked = child(|| i32::from(memory[SIZE / 2] != 1));
    see("forked", forked.wait());
    IS_OVER.store(1, SeqCst);
    for thread in threads {
        thread.join().expect("it ends");
    }
    see(
        "memory",
        memory.iter().map(|byte| usize::from(*byte)).sum::<usize>() == SIZE / 4096,
    );
}

/// An exec from a thread that is not the leader, with every descriptor in use.
fn full() {
    let runs = child(|| {
        let limit = libc::rlimit {
            rlim_cur: 64,
            rlim_max: 64,
        };
        // SAFETY: the limit lives until the call returns.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        while call(libc::SYS_dup, &[1]).is_ok() {}
        let thread = std::thread::spawn(|| {
            let program = c"/bin/sh";
            let words = [program.as_ptr(), c"-c".as_ptr(), c"exit 7".as_ptr(), null()];
            // SAFETY: the lists end as execve(2) asks.
            unsafe { libc::execve(program.as_ptr(), words.as_ptr(), words[3..].as_ptr()) };
            exit(8)
        });
        thread.join().map_or(9, |()| 10)
    });
    see("all inherited", runs.wait());
    let spawns = child(|| {
        let limit = libc::rlimit {
            rlim_cur: 40,
            rlim_max: 40,
        };
        // SAFETY: the limit lives until the call returns.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        while call(libc::SYS_fcntl, &[1, 1030, 0]).is_ok() {}
        let program = c"/bin/true";
        let words = [program.as_ptr(), null()];
        let mut pid = 0;
        // SAFETY: the lists end as posix_spawn(3) asks.
        let errno = unsafe {
            libc::posix_spawn(
                &raw mut pid,
                program.as_ptr(),
                null(),
                null(),
                words.as_ptr().cast_mut().cast(),
                words[1..].as_ptr().cast_mut().cast(),
            )
        };
        if errno != 0 {
            return errno;
        }
        i32::from(wait(pid, 0).map(|row| row.1) != Ok(End::Exited(0)))
    });
    see("closed by exec", spawns.wait());
}

static STEPS: AtomicI32 = AtomicI32::new(0);
struct Context(UnsafeCell<libc::ucontext_t>);
// SAFETY: one thread uses them.
unsafe impl Sync for Context {}
// SAFETY: zeros are a valid context until it is filled.
static HERE: Context = Context(UnsafeCell::new(unsafe { zeroed() }));
// SAFETY: as above.
static THERE: Context = Context(UnsafeCell::new(unsafe { zeroed() }));

extern "C" fn there() {
    for _ in 0..100 {
        STEPS.fetch_add(1, SeqCst);
        let _ = call(libc::SYS_getppid, &[]);
        // SAFETY: both are filled.
        unsafe { libc::swapcontext(THERE.0.get(), HERE.0.get()) };
    }
}

/// swapcontext(3) between two stacks, under a timer whose handler leaves by swapcontext too.
fn contexts() {
    let mut stack = vec![0_u8; 1 << 16];
    // SAFETY: the context is ours.
    unsafe { libc::getcontext(THERE.0.get()) };
    // SAFETY: nobody else uses it.
    let context = unsafe { &mut *THERE.0.get() };
    context.uc_stack.ss_sp = stack.as_mut_ptr().cast();
    context.uc_stack.ss_size = stack.len();
    context.uc_link = HERE.0.get();
    // SAFETY: the function takes nothing.
    unsafe { libc::makecontext(THERE.0.get(), there, 0) };
    let alarms = picozone_guests::signals::Alarms::every(997);
    picozone_guests::signals::handle(
        libc::SIGALRM,
        picozone_guests::signals::Act::Plain(picozone_guests::signals::count),
        libc::SA_RESTART,
    )
    .expect("a handler");
    for _ in 0..101 {
        // SAFETY: both are filled.
        unsafe { libc::swapcontext(HERE.0.get(), THERE.0.get()) };
        let _ = call(libc::SYS_getpid, &[]);
    }
    drop(alarms);
    see("steps", STEPS.load(SeqCst));
    see(
        "mask",
        picozone_guests::signals::list(
            &picozone_guests::signals::mask(libc::SIG_BLOCK, &picozone_guests::signals::none())
                .expect("a mask"),
        ),
    );
}

/// A mutex in memory that processes share.
struct Shared(*mut libc::pthread_mutex_t);
// SAFETY: a pthread mutex is made for that.
unsafe impl Sync for Shared {}

impl Shared {
    fn new(protocol: i32, robust: i32) -> Self {
        // SAFETY: a new mapping.
        let at = unsafe {
            libc::mmap(
                null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        let mut attributes = std::mem::MaybeUninit::uninit();
        let with = attributes.as_mut_ptr();
        // SAFETY: the function fills the attributes.
        unsafe { libc::pthread_mutexattr_init(with) };
        // SAFETY: filled above.
        unsafe { libc::pthread_mutexattr_setpshared(with, libc::PTHREAD_PROCESS_SHARED) };
        // SAFETY: filled above.
        unsafe { libc::pthread_mutexattr_setprotocol(with, protocol) };
        // SAFETY: filled above.
        unsafe { libc::pthread_mutexattr_setrobust(with, robust) };
        let mutex = Self(at.cast());
        // SAFETY: nobody uses the mutex yet.
        see("made", unsafe { libc::pthread_mutex_init(mutex.0, with) });
        mutex
    }
    fn lock(&self) -> i32 {
        // SAFETY: the mutex is valid for ever.
        unsafe { libc::pthread_mutex_lock(self.0) }
    }
    fn unlock(&self) -> i32 {
        // SAFETY: the mutex is valid for ever.
        unsafe { libc::pthread_mutex_unlock(self.0) }
    }
    fn try_lock(&self) -> i32 {
        // SAFETY: the mutex is valid for ever.
        unsafe { libc::pthread_mutex_trylock(self.0) }
    }
    fn heal(&self) -> i32 {
        // SAFETY: the mutex is valid for ever.
        unsafe { libc::pthread_mutex_consistent(self.0) }
    }
    /// Behind the mutex.
    fn count(&self) -> *mut u64 {
        self.0.cast::<u64>().wrapping_add(64)
    }
}

const PROTOCOLS: [(&str, i32); 2] = [
    ("plain", libc::PTHREAD_PRIO_NONE),
    ("inheriting", libc::PTHREAD_PRIO_INHERIT),
];

/// Mutexes that several processes fight for.
fn shared_mutexes() {
    for (name, protocol) in PROTOCOLS {
        for robust in [libc::PTHREAD_MUTEX_STALLED, libc::PTHREAD_MUTEX_ROBUST] {
            let mutex = Shared::new(protocol, robust);
            let children = [0; 4].map(|_| {
                child(|| {
                    for _ in 0..2000 {
                        if mutex.lock() != 0 {
                            return 1;
                        }
                        // SAFETY: guarded by the mutex.
                        unsafe { *mutex.count() += 1 };
                        if mutex.unlock() != 0 {
                            return 2;
                        }
                    }
                    0
                })
            });
            let ends = children.map(|child| child.wait());
            // SAFETY: nobody else is left.
            see(name, (robust, ends, unsafe { *mutex.count() }));
        }
    }
}

/// Who holds a robust mutex is killed, alone or as one of several threads; others wait for it.
fn owner_died() {
    for (name, protocol) in PROTOCOLS {
        let mutex = Shared::new(protocol, libc::PTHREAD_MUTEX_ROBUST);
        for way in ["killed", "exits", "executes", "a thread ends"] {
            let held = pipe().expect("a pipe");
            let owner = child(|| {
                let take = || {
                    let _ = mutex.lock();
                    held.tell();
                };
                match way {
                    "a thread ends" => {
                        std::thread::scope(|scope| drop(scope.spawn(|| mutex.lock()).join()));
                        held.tell();
                        loop {
                            // SAFETY: takes nothing.
                            unsafe { libc::pause() };
                        }
                    }
                    "exits" => {
                        take();
                        exit(0)
                    }
                    "executes" => {
                        take();
                        let program = c"/bin/true";
                        let words = [program.as_ptr(), null()];
                        // SAFETY: the lists end as execve(2) asks.
                        unsafe {
                            libc::execve(program.as_ptr(), words.as_ptr(), words[1..].as_ptr())
                        };
                        exit(1)
                    }
                    _ => {
                        take();
                        loop {
                            // SAFETY: takes nothing.
                            unsafe { libc::pause() };
                        }
                    }
                }
            });
            held.hear();
            let waits = child(|| {
                let got = mutex.lock();
                let healed = mutex.heal();
                if (got, healed, mutex.unlock()) == (libc::EOWNERDEAD, 0, 0) {
                    0
                } else {
                    got
                }
            });
            if way == "killed" {
                owner.signal(libc::SIGKILL).expect("it is there");
            }
            see(name, (way, waits.wait()));
            let _ = owner.signal(libc::SIGKILL);
            see("owner", owner.wait().is_ok());
        }
        let owner = child(|| mutex.lock());
        see(
            "once more",
            (
                owner.wait(),
                mutex.try_lock() == libc::EOWNERDEAD,
                mutex.unlock(),
                mutex.lock() == libc::ENOTRECOVERABLE,
            ),
        );
    }
}

/// set*id(2) by libc, which has all threads do it.
fn identities() {
    let changes = child(|| {
        let (all, told) = (Arc::new(Barrier::new(9)), mpsc::channel());
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (all, send) = (Arc::clone(&all), told.0.clone());
                std::thread::spawn(move || {
                    all.wait();
                    all.wait();
                    let ids = |number: i64| {
                        let mut ids = [0_u32; 3];
                        let [a, b, c] = &mut ids;
                        call(number, &[out(a), out(b), out(c)]).expect("room for three");
                        ids
                    };
                    send.send((ids(libc::SYS_getresuid), ids(libc::SYS_getresgid)))
                        .expect("somebody listens");
                })
            })
            .collect();
        all.wait();
        // SAFETY: takes numbers.
        let group = libc_result(unsafe { libc::setresgid(12, 13, 14) });
        // SAFETY: takes numbers.
        let user = libc_result(unsafe { libc::setresuid(33, 34, 35) });
        see("changed", (group, user));
        all.wait();
        let same = (0..8).all(|_| told.1.recv() == Ok(([33, 34, 35], [12, 13, 14])));
        for thread in threads {
            thread.join().expect("it ends");
        }
        i32::from(!same)
    });
    see("in all threads", changes.wait());
    let file = std::fs::File::open("/dev/null").expect("it is there");
    // By the instruction itself, so for one thread alone.
    let alone = child(|| {
        let changed = std::thread::spawn(|| call(libc::SYS_setresuid, &[33, 33, 33]))
            .join()
            .expect("it ends");
        // SAFETY: takes nothing.
        let user = unsafe { libc::getuid() };
        i32::from(changed != Ok(0)) + i32::try_from(user).unwrap_or(9)
    });
    see(
        "in one thread",
        (alone.wait(), signed(file.as_raw_fd()) > 2),
    );
}
