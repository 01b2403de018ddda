//! Threads: small stacks, cancellation, robust and priority-inheriting mutexes, vfork, ids.

use picozone_guests::children::{End, kill, wait};
use picozone_guests::signals::{Act, HITS, count, handle, mask, only};
use picozone_guests::{
    Result, call, child, children::exit, from, libc_result, out, sections, see, signed, text,
};
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::mem::{MaybeUninit, zeroed};
use std::os::unix::thread::JoinHandleExt;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::thread::JoinHandle;

fn main() {
    sections(&[
        ("ids", ids),
        ("named", named),
        ("stacks", stacks),
        ("signals", signals),
        ("cancel", cancel),
        ("mutexes", mutexes),
        ("vfork", vfork),
        ("spawn", spawn),
        ("fork_in_thread", fork_in_thread),
        ("exec_in_thread", exec_in_thread),
        ("exit_group", exit_group),
        ("many", many),
        ("shared_handlers", shared_handlers),
        ("growing_stack", growing_stack),
    ]);
}

fn pid() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::getpid() }
}

fn tid() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::gettid() }
}

/// In processes whose numbers are those that the next threads have on the host of a zone: a signal comes to
/// the thread that it was sent to.
fn named() {
    for _ in 0..10 {
        let probe = std::thread::spawn(std::thread::park);
        let number = number_in_libc(&probe);
        probe.thread().unpark();
        probe.join().expect("it ends");
        see("signals of threads", signals_with_number(number + 40));
    }
}

/// What libc takes for the number of a thread, which it puts into the name of its clock.
fn number_in_libc<T>(thread: &JoinHandle<T>) -> i32 {
    let mut clock = 0;
    // SAFETY: the thread was not joined yet.
    let result = unsafe { libc::pthread_getcpuclockid(thread.as_pthread_t(), &raw mut clock) };
    assert_eq!(result, 0, "the clock of a thread");
    !(clock >> 3)
}

/// Has a child with this number, or any where that is not to be had, send a signal to each of its threads
/// until they are beyond the number.
fn signals_with_number(number: i32) -> Result<End> {
    let chosen = [number];
    let mut arguments = [0u64; 11];
    arguments[4] = signed(libc::SIGCHLD);
    arguments[8] = from(&chosen);
    arguments[9] = 1;
    let sizes = from(&arguments);
    let made = call(libc::SYS_clone3, &[sizes, size_of_val(&arguments) as u64])
        .or_else(|_| call(libc::SYS_clone, &[signed(libc::SIGCHLD), 0, 0, 0, 0]))?;
    if made != 0 {
        return wait(i32::try_from(made).unwrap_or(0), 0).map(|row| row.1);
    }
    let signal = only(&[libc::SIGUSR1]);
    let is_blocked = mask(libc::SIG_BLOCK, &signal).is_ok();
    for _ in 0..400 {
        let thread = std::thread::spawn(move || {
            let limit = libc::timespec {
                tv_sec: 20,
                tv_nsec: 0,
            };
            call(
                libc::SYS_rt_sigtimedwait,
                &[from(&signal), 0, from(&limit), 8],
            )
        });
        let named = number_in_libc(&thread);
        // SAFETY: the thread was not joined yet.
        let sent = unsafe { libc::pthread_kill(thread.as_pthread_t(), libc::SIGUSR1) };
        let came = thread.join().expect("it ends");
        if !is_blocked || sent != 0 || came != Ok(libc::SIGUSR1 as u64) {
            exit(1);
        }
        if named > number {
            break;
        }
    }
    exit(0)
}

/// Starts a thread with a stack of this size.
fn start(
    stack: usize,
    body: extern "C" fn(*mut c_void) -> *mut c_void,
    argument: *mut c_void,
) -> libc::pthread_t {
    let mut attributes = MaybeUninit::uninit();
    let mut thread = 0;
    // SAFETY: the function fills the attributes.
    unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) };
    // SAFETY: filled above.
    let result = unsafe { libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), stack) };
    assert_eq!(result, 0, "a stack of {stack}");
    // SAFETY: the body fits what it is given.
    let result =
        unsafe { libc::pthread_create(&raw mut thread, attributes.as_ptr(), body, argument) };
    assert_eq!(result, 0, "a thread");
    thread
}

fn join(thread: libc::pthread_t) -> usize {
    let mut value = null_mut();
    // SAFETY: the thread is joined once.
    let result = unsafe { libc::pthread_join(thread, &raw mut value) };
    assert_eq!(result, 0, "join");
    value as usize
}

fn ids() {
    see("the first thread", tid() == pid());
    let (other, own) = std::thread::spawn(|| (tid(), pid()))
        .join()
        .expect("it ends");
    see("another", (other != pid(), own == pid(), other > 0));
    see("pthread_getaffinity_np", affinity());
    see(
        "in a thread",
        std::thread::spawn(affinity).join().expect("it ends"),
    );
    see("tgkill of a thread", {
        std::thread::spawn(|| {
            let (pid, tid) = (pid().unsigned_abs(), tid().unsigned_abs());
            call(libc::SYS_tgkill, &[pid.into(), tid.into(), 0])
        })
        .join()
        .expect("it ends")
    });
    see(
        "tkill of a thread",
        std::thread::spawn(|| call(libc::SYS_tkill, &[tid().unsigned_abs().into(), 0]))
            .join()
            .expect("it ends"),
    );
}

/// libc names the thread by the number that the kernel wrote into its control block.
fn affinity() -> i32 {
    // SAFETY: zeros are a valid set.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: takes nothing.
    let own = unsafe { libc::pthread_self() };
    // SAFETY: the set lives until the call returns.
    unsafe { libc::pthread_getaffinity_np(own, size_of_val(&set), &raw mut set) }
}

fn stacks() {
    extern "C" fn body(_: *mut c_void) -> *mut c_void {
        for _ in 0..100 {
            let _ = call(libc::SYS_getpid, &[]);
        }
        let mut found = [0_u64; 18];
        let result = call(libc::SYS_stat, &[text(c"/etc/passwd"), out(&mut found)]);
        usize::from(result.is_ok() && tid() > 0 && tid() != pid()) as *mut c_void
    }
    see("16 KiB", join(start(16 * 1024, body, null_mut())));
}

fn signals() {
    static READY: AtomicI32 = AtomicI32::new(0);
    static DONE: AtomicI32 = AtomicI32::new(0);
    extern "C" fn on(signal: i32) {
        count(signal);
        DONE.store(tid(), SeqCst);
    }
    extern "C" fn body(_: *mut c_void) -> *mut c_void {
        READY.store(tid(), SeqCst);
        while DONE.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
        null_mut()
    }
    handle(libc::SIGUSR2, Act::Plain(on), 0).expect("a handler");
    let thread = start(65536, body, null_mut());
    while READY.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    // SAFETY: the thread has not been joined.
    let result = unsafe { libc::pthread_kill(thread, libc::SIGUSR2) };
    join(thread);
    see("pthread_kill", result);
    see("who got it", DONE.load(SeqCst) == READY.load(SeqCst));
    HITS.store(0, SeqCst);
    // SAFETY: takes a number.
    see("raise", unsafe { libc::raise(libc::SIGUSR2) });
    see("at once", (HITS.load(SeqCst), DONE.load(SeqCst) == tid()));
    see(
        "raise in a thread",
        std::thread::spawn(|| {
            // SAFETY: takes a number.
            let result = unsafe { libc::raise(libc::SIGUSR2) };
            (result, DONE.load(SeqCst) == tid())
        })
        .join()
        .expect("it ends"),
    );
}

fn cancel() {
    unsafe extern "C" {
        fn pthread_cancel(thread: libc::pthread_t) -> i32;
    }
    extern "C" fn body(_: *mut c_void) -> *mut c_void {
        loop {
            // SAFETY: takes nothing.
            unsafe { libc::pause() };
        }
    }
    let thread = start(65536, body, null_mut());
    // SAFETY: the thread holds nothing.
    let result = unsafe { pthread_cancel(thread) };
    // PTHREAD_CANCELED is -1.
    see("cancel", (result, join(thread) == usize::MAX));
}

/// A mutex that threads share by address.
struct Mutex(UnsafeCell<libc::pthread_mutex_t>);
// SAFETY: a pthread mutex is made for that.
unsafe impl Sync for Mutex {}

impl Mutex {
    fn new(protocol: i32, robust: i32, kind: i32) -> &'static Self {
        // SAFETY: zeros are a valid mutex.
        let mutex: &Self = Box::leak(Box::new(Self(UnsafeCell::new(unsafe { zeroed() }))));
        let mut attributes = MaybeUninit::uninit();
        let at = attributes.as_mut_ptr();
        // SAFETY: the function fills the attributes.
        unsafe { libc::pthread_mutexattr_init(at) };
        // SAFETY: filled above.
        unsafe { libc::pthread_mutexattr_setprotocol(at, protocol) };
        // SAFETY: filled above.
        unsafe { libc::pthread_mutexattr_setrobust(at, robust) };
        // SAFETY: filled above.
        unsafe { libc::pthread_mutexattr_settype(at, kind) };
        // SAFETY: nobody uses the mutex yet.
        let result = unsafe { libc::pthread_mutex_init(mutex.0.get(), at) };
        see("pthread_mutex_init", result);
        mutex
    }
    fn lock(&self) -> i32 {
        // SAFETY: the mutex is valid for ever.
        unsafe { libc::pthread_mutex_lock(self.0.get()) }
    }
    fn unlock(&self) -> i32 {
        // SAFETY: the mutex is valid for ever.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) }
    }
}

fn mutexes() {
    const NONE: i32 = libc::PTHREAD_PRIO_NONE;
    const INHERIT: i32 = libc::PTHREAD_PRIO_INHERIT;
    const ROBUST: i32 = libc::PTHREAD_MUTEX_ROBUST;
    const STALLED: i32 = libc::PTHREAD_MUTEX_STALLED;
    for (name, protocol, kind) in [
        ("robust", NONE, libc::PTHREAD_MUTEX_NORMAL),
        ("robust, checked", NONE, libc::PTHREAD_MUTEX_ERRORCHECK),
        ("robust, inheriting", INHERIT, libc::PTHREAD_MUTEX_NORMAL),
        (
            "robust, inheriting, checked",
            INHERIT,
            libc::PTHREAD_MUTEX_ERRORCHECK,
        ),
    ] {
        let mutex = Mutex::new(protocol, ROBUST, kind);
        let first = std::thread::spawn(|| mutex.lock()).join().expect("it ends");
        see(name, (first, mutex.lock() == libc::EOWNERDEAD));
    }
    static SUM: AtomicI32 = AtomicI32::new(0);
    for (name, protocol) in [("plain", NONE), ("inheriting", INHERIT)] {
        let mutex = Mutex::new(protocol, STALLED, libc::PTHREAD_MUTEX_NORMAL);
        SUM.store(0, SeqCst);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    for _ in 0..5000 {
                        mutex.lock();
                        // Not atomic on purpose: the mutex guards it.
                        SUM.store(SUM.load(SeqCst) + 1, SeqCst);
                        mutex.unlock();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("it ends");
        }
        see(name, SUM.load(SeqCst));
    }
    let mutex = Mutex::new(INHERIT, STALLED, libc::PTHREAD_MUTEX_ERRORCHECK);
    see("twice", (mutex.lock(), mutex.lock() == libc::EDEADLK));
    see(
        "by another",
        std::thread::spawn(|| mutex.unlock() == libc::EPERM)
            .join()
            .expect("it ends"),
    );
    see("unlock", mutex.unlock());
}

fn vfork() {
    for (program, way) in [
        (c"/bin/true", "true"),
        (c"/bin/false", "false"),
        (c"/nowhere", "nobody"),
    ] {
        let argv = [program.as_ptr(), std::ptr::null()];
        #[expect(deprecated, reason = "vfork is what is tested")]
        // SAFETY: the child makes calls only.
        let made = unsafe { libc::vfork() };
        if made == 0 {
            // SAFETY: both lists end with a null.
            unsafe { libc::execv(program.as_ptr(), argv.as_ptr()) };
            exit(77);
        }
        see(way, wait(made, 0).map(|(found, end)| (found == made, end)));
    }
    static SHARED: AtomicI32 = AtomicI32::new(0);
    #[expect(deprecated, reason = "vfork is what is tested")]
    // SAFETY: the child makes calls only.
    let made = unsafe { libc::vfork() };
    if made == 0 {
        SHARED.store(pid(), SeqCst);
        exit(5);
    }
    see("shares memory, waits", SHARED.load(SeqCst) == made);
    see("end", wait(made, 0).map(|row| row.1));
}

fn spawn() {
    let status = |program: &str, argument: &str| {
        std::process::Command::new(program)
            .arg(argument)
            .status()
            .map(|status| status.code())
            .map_err(|error| error.raw_os_error())
    };
    see("true", status("true", "x"));
    see("sh", status("/bin/sh", "/nowhere"));
    see("nobody", status("/nowhere", ""));
    see("a directory", status("/etc", ""));
    see("no right", status("/etc/passwd", ""));
    let output = std::process::Command::new("sh")
        .args(["-c", "echo out; exit 3"])
        .output()
        .expect("sh");
    see("output", (output.status.code(), output.stdout));
    let mut made = 0;
    let argv = [c"true".as_ptr().cast_mut(), null_mut()];
    // SAFETY: the lists end with a null.
    let result = unsafe {
        libc::posix_spawn(
            &raw mut made,
            c"/bin/true".as_ptr(),
            std::ptr::null(),
            std::ptr::null(),
            argv.as_ptr(),
            argv[1..].as_ptr(),
        )
    };
    see(
        "posix_spawn",
        (result, wait(made, 0).map(|row| (row.0 == made, row.1))),
    );
}

fn fork_in_thread() {
    let end = std::thread::spawn(|| {
        let mine = tid();
        let end = child(|| i32::from(tid() == pid() && tid() != mine)).wait();
        (end, tid() == mine)
    })
    .join()
    .expect("it ends");
    see("fork in a thread", end);
    see(
        "a child's threads",
        child(|| {
            let other = std::thread::spawn(tid).join().unwrap_or(0);
            i32::from(other != pid())
        })
        .wait(),
    );
}

fn exec_in_thread() {
    see(
        "exec in a thread",
        child(|| {
            let _ = std::thread::spawn(|| {
                let before = pid();
                let argv = [text(c"sh"), text(c"-c"), text(c"test $$ = $0"), 0];
                let number = std::ffi::CString::new(before.to_string()).expect("no NUL");
                let argv = [argv[0], argv[1], argv[2], text(&number), 0];
                let _ = call(
                    libc::SYS_execve,
                    &[text(c"/bin/sh"), argv.as_ptr() as u64, 0],
                );
            })
            .join();
            9
        })
        .wait(),
    );
}

fn exit_group() {
    see(
        "exit of a process with threads",
        child(|| {
            for _ in 0..3 {
                std::thread::spawn(|| {
                    loop {
                        std::thread::park();
                    }
                });
            }
            6
        })
        .wait(),
    );
    see("a killed one", {
        let many = child(|| {
            for _ in 0..3 {
                std::thread::spawn(|| {
                    loop {
                        std::thread::yield_now();
                    }
                });
            }
            loop {
                std::thread::park();
            }
        });
        let killed = kill(many.0, libc::SIGKILL);
        (killed, many.wait())
    });
    see(
        "the first thread ends first",
        child(|| {
            std::thread::spawn(|| {
                let mut seconds = 0_u64;
                let _ = call(libc::SYS_time, &[out(&mut seconds)]);
                exit(4)
            });
            let _ = call(libc::SYS_exit, &[2]);
            1
        })
        .wait(),
    );
    see(
        "nothing is left",
        libc_result(wait(-1, libc::WNOHANG).map_or(-1, |row| row.0)),
    );
    see(
        "kinds of end",
        [End::from(0), End::from(9), End::from(0x137f)],
    );
}

fn many() {
    let mut sum = 0;
    for _ in 0..20 {
        let threads: Vec<_> = (0..10)
            .map(|_| std::thread::spawn(|| i32::from(tid() != pid())))
            .collect();
        sum += threads
            .into_iter()
            .map(|t| t.join().expect("it ends"))
            .sum::<i32>();
    }
    see("threads", sum);
    let ends: i32 = (0..50)
        .map(|n| match child(move || n).wait() {
            Ok(End::Exited(status)) => status,
            _ => 1000,
        })
        .sum();
    see("processes", ends);
}

/// Processes that share memory, one of them the handlers of signals too.
fn shared_handlers() {
    static NUMBERS: [AtomicI32; 3] = [const { AtomicI32::new(0) }; 3];
    extern "C" fn body(_: *mut c_void) -> i32 {
        for (place, number) in NUMBERS.iter().zip([pid(), tid()]) {
            place.store(number, SeqCst);
        }
        // SAFETY: takes nothing.
        NUMBERS[2].store(unsafe { libc::getppid() }, SeqCst);
        handle(libc::SIGUSR2, Act::Plain(count), libc::SA_RESTART).expect("a handler");
        // SAFETY: takes nothing.
        i32::from(kill(unsafe { libc::getppid() }, libc::SIGUSR2).is_err())
    }
    for (name, flags) in [
        ("handlers shared", libc::CLONE_SIGHAND | libc::CLONE_VM),
        ("memory shared", libc::CLONE_VM),
        ("nothing shared", 0),
    ] {
        handle(libc::SIGUSR2, Act::Ignore, 0).expect("no handler");
        let mut stack = vec![0_u8; 65536];
        let top = stack.as_mut_ptr_range().end;
        // SAFETY: the stack outlives the child, which is waited for.
        let made = unsafe { libc::clone(body, top.cast(), flags | libc::SIGCHLD, null_mut()) };
        let end = wait(made, 0).map(|(found, end)| (found == made, end));
        let (own, parent) = (pid(), NUMBERS[2].swap(0, SeqCst));
        let child = [&NUMBERS[0], &NUMBERS[1]].map(|number| number.swap(0, SeqCst));
        see(name, (end, HITS.swap(0, SeqCst)));
        see("numbers", (child == [made; 2], parent == own, tid() == own));
        see("a signal of its own", kill(own, 0));
    }
}

/// A thread on a stack that the kernel lets grow, below which nothing may come to lie.
fn growing_stack() {
    const PAGE: usize = 4096;
    const STACK: usize = 128 * PAGE;
    const ROOM: usize = STACK + 256 * PAGE;
    extern "C" fn deep(limit: *mut c_void) -> *mut c_void {
        let here = [0_u8; 512];
        let at = std::hint::black_box(&here).as_ptr().cast_mut().cast();
        if at < limit { at } else { deep(limit) }
    }
    let map = |at: usize, length: usize, flags: i32| {
        let flags = (flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).unsigned_abs();
        let [at, length] = [at, length].map(|value| value as u64);
        let at = call(libc::SYS_mmap, &[at, length, 3, flags.into(), u64::MAX, 0]).expect("memory");
        usize::try_from(at).expect("an address")
    };
    let start = map(0, ROOM, 0);
    call(libc::SYS_munmap, &[start as u64, ROOM as u64]).expect("mapped above");
    let top = start + ROOM;
    map(
        top - 8 * PAGE,
        8 * PAGE,
        libc::MAP_FIXED | libc::MAP_GROWSDOWN,
    );
    let bottom = top - STACK;
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: the function fills the attributes.
    unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) };
    // SAFETY: filled above.
    unsafe { libc::pthread_attr_setstack(attributes.as_mut_ptr(), bottom as *mut _, STACK) };
    let mut thread = 0;
    let limit = (bottom + 2 * PAGE) as *mut c_void;
    // SAFETY: the body takes an address.
    let made = unsafe { libc::pthread_create(&raw mut thread, attributes.as_ptr(), deep, limit) };
    see("made", made);
    see("grew", join(thread) < limit as usize);
}
