//! Who is traced by a thread that is not its process' first, threads whose ids were of processes, and what
//! tracers see of calls.

use picozone_guests::children::{End, kill, pipe};
use picozone_guests::{Errno, Result, call, child, close, out, sections, see, signed};
use std::fs::File;
use std::os::fd::AsRawFd;

fn main() {
    sections(&[
        ("by_a_thread", by_a_thread),
        ("by_many", by_many),
        ("senders", senders),
        ("reused", reused),
        ("bad_pointers", bad_pointers),
        ("twice_waited", twice_waited),
        ("meanwhile", meanwhile),
        ("fatal", fatal),
    ]);
}

/// The stops of a child that raises SIGTRAP over and over, and how it ends: wait statuses, and the
/// origin of the signal where it stopped.
fn stops() -> Vec<(bool, i32, i32)> {
    let traced = child(|| {
        // SAFETY: PTRACE_TRACEME takes nothing else.
        unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
        loop {
            // SAFETY: takes a number.
            unsafe { libc::raise(libc::SIGTRAP) };
        }
    });
    let mut seen = Vec::new();
    let wait = |seen: &mut Vec<_>| {
        let mut status = 0;
        // SAFETY: room for a status.
        let got = unsafe { libc::waitpid(traced.0, &raw mut status, 0) };
        seen.push((got == traced.0, status, origin(traced.0)));
    };
    for _ in 0..5 {
        wait(&mut seen);
        // SAFETY: goes on without a signal.
        unsafe { libc::ptrace(libc::PTRACE_CONT, traced.0, 0, 0) };
    }
    let _ = kill(traced.0, libc::SIGKILL);
    loop {
        wait(&mut seen);
        let (is_it, status, _) = seen.pop().expect("one was seen");
        if !is_it || !libc::WIFSTOPPED(status) {
            seen.push((is_it, status, 0));
            return seen;
        }
    }
}

/// The `si_code` of the signal that a tracee has stopped for; 0 if it has not.
fn origin(traced: i32) -> i32 {
    let (request, mut info) = (u64::from(libc::PTRACE_GETSIGINFO), [0_i32; 32]);
    let pid = u64::from(traced.unsigned_abs());
    let _ = call(libc::SYS_ptrace, &[request, pid, 0, out(&mut info)]);
    info[2]
}

fn in_a_thread() -> Vec<(bool, i32, i32)> {
    std::thread::spawn(stops).join().expect("no panic")
}

fn by_a_thread() {
    for _ in 0..30 {
        see("stops", in_a_thread());
    }
}

/// Each sees its own.
fn by_many() {
    let threads: Vec<_> = (0..4)
        .map(|_| std::thread::spawn(|| (0..5).map(|_| stops()).collect()))
        .collect();
    for thread in threads {
        let all: Vec<_> = thread.join().expect("no panic");
        see("stops", all);
    }
}

/// Who sent what a tracee stops for: it itself, where the kernel says so of a call's end and of its own.
fn senders() {
    let traced = child(|| {
        // SAFETY: PTRACE_TRACEME takes nothing else.
        unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
        // SAFETY: takes a number.
        unsafe { libc::raise(libc::SIGSTOP) };
        // A call that the kernel answers by itself.
        let _ = call(libc::SYS_sched_yield, &[]);
        0
    });
    let pid = u64::from(traced.0.unsigned_abs());
    // SAFETY: takes nothing.
    let user = unsafe { libc::getuid() };
    let mut is_first = true;
    loop {
        let (mut status, mut info) = (0, [0_u32; 32]);
        // SAFETY: room for a status.
        let got = unsafe { libc::waitpid(traced.0, &raw mut status, 0) };
        if got != traced.0 || !libc::WIFSTOPPED(status) {
            see("end", (got == traced.0, status));
            return;
        }
        let getsiginfo = u64::from(libc::PTRACE_GETSIGINFO);
        let told = call(libc::SYS_ptrace, &[getsiginfo, pid, 0, out(&mut info)]);
        // The calls that end a process are libc's.
        if status >> 8 != libc::SIGTRAP | 0x80 || is_first {
            let is_its = u64::from(info[4]) == pid && info[5] == user;
            see("stop", (status >> 8, told, info[0], info[2], is_its));
        }
        is_first = status >> 8 == libc::SIGSTOP;
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACEEXIT;
        // SAFETY: takes flags.
        unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, traced.0, 0, options) };
        // SAFETY: goes on without a signal.
        unsafe { libc::ptrace(libc::PTRACE_SYSCALL, traced.0, 0, 0) };
    }
}

/// The kernel's ids of threads that were just made.
fn next_ids() -> Vec<i32> {
    const BIAS: i32 = 1 << 22;
    const AT_ONCE: usize = 50;
    // SAFETY: takes nothing.
    let spawn = |_| std::thread::spawn(|| unsafe { libc::gettid() });
    let threads: Vec<_> = (0..AT_ONCE).map(spawn).collect();
    let ids = threads.into_iter().map(|id| id.join().expect("no panic"));
    ids.map(|id| id % BIAS).collect()
}

/// Threads that have the ids of processes that are gone are told apart from them.
fn reused() {
    const CHILDREN: i32 = 1500;
    const ROUND: usize = 1 << 15;
    let first = next_ids()[0];
    for _ in 0..CHILDREN {
        let _ = child(|| 0).wait();
    }
    let most = std::fs::read_to_string("/proc/sys/kernel/pid_max").expect("it is there");
    // Elsewhere it would take long until an id comes again.
    if most.trim().parse().is_ok_and(|most: usize| most <= ROUND) {
        let near = first - 256..first + CHILDREN / 2;
        let mut made = 0;
        while made < ROUND {
            let ids = next_ids();
            if ids.iter().any(|id| near.contains(id)) {
                break;
            }
            made += ids.len();
        }
    }
    let traced = child(|| {
        // SAFETY: PTRACE_TRACEME takes nothing else.
        unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
        // SAFETY: takes a number.
        unsafe { libc::raise(libc::SIGSTOP) };
        for _ in 0..700 {
            std::thread::spawn(|| ()).join().expect("no panic");
        }
        0
    });
    let id = traced.0;
    see("first stop", wait(id) == (id, libc::SIGSTOP << 8 | 0x7f));
    let options = libc::PTRACE_O_TRACECLONE;
    // SAFETY: takes flags.
    unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, id, 0, options) };
    let (mut seen, mut wrong) = (0, 0);
    go_on(id);
    loop {
        let (found, status) = wait(id);
        if status >> 16 != libc::PTRACE_EVENT_CLONE {
            see("end", (found == id, status));
            break;
        }
        seen += 1;
        wrong += i32::from(!follow_thread(id));
    }
    see("threads, wrong ones", (seen, wrong));
}

fn wait(id: i32) -> (i32, i32) {
    let mut status = 0;
    // SAFETY: room for a status.
    let found = unsafe { libc::waitpid(id, &raw mut status, libc::__WALL) };
    (found, status)
}

fn go_on(id: i32) {
    // SAFETY: goes on without a signal.
    unsafe { libc::ptrace(libc::PTRACE_CONT, id, 0, 0) };
}

/// From the event that tells of a thread on, which ends without a further one.
fn follow_thread(process: i32) -> bool {
    let mut id = 0_u64;
    // SAFETY: room for the message.
    unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, process, 0, &raw mut id) };
    let id = i32::try_from(id).unwrap_or(0);
    let stops = wait(id) == (id, libc::SIGSTOP << 8 | 0x7f);
    go_on(id);
    go_on(process);
    stops && wait(id) == (id, 0)
}

/// A call that is given a bad pointer says so, and is no stop for a signal.
fn bad_pointers() {
    for how in [libc::PTRACE_CONT, libc::PTRACE_SYSCALL] {
        // SAFETY: takes a name and flags.
        let file = unsafe { libc::memfd_create(c"empty".as_ptr(), 0) };
        let (protection, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a place of the kernel's choice.
        let behind = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, kind, file, 0) };
        let traced = child(|| {
            // SAFETY: PTRACE_TRACEME takes nothing else.
            unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
            // SAFETY: takes a number.
            unsafe { libc::raise(libc::SIGSTOP) };
            let at = [0, 8, 1 << 62, behind as u64];
            let bad = at.iter().flat_map(|&at| {
                [
                    call(libc::SYS_chdir, &[at]),
                    call(libc::SYS_uname, &[at]),
                    call(libc::SYS_capget, &[at, 0]),
                ]
            });
            let count: i32 = bad.map(|told| i32::from(told == Err(Errno::EFAULT))).sum();
            // Who is traced cannot be once more.
            let again = call(libc::SYS_ptrace, &[u64::from(libc::PTRACE_TRACEME)]);
            count + i32::from(again == Err(Errno::EPERM))
        });
        let (mut signals, mut calls) = (Vec::new(), 0);
        loop {
            let mut status = 0;
            // SAFETY: room for a status.
            unsafe { libc::waitpid(traced.0, &raw mut status, 0) };
            if !libc::WIFSTOPPED(status) {
                see("bad pointers", (status, signals, calls));
                break;
            }
            if libc::WSTOPSIG(status) == libc::SIGTRAP | 0x80 {
                calls += 1;
            } else {
                signals.push(libc::WSTOPSIG(status));
            }
            let options = libc::PTRACE_O_TRACESYSGOOD;
            // SAFETY: takes flags.
            unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, traced.0, 0, options) };
            // SAFETY: goes on without a signal.
            unsafe { libc::ptrace(how, traced.0, 0, 0) };
        }
    }
}

/// What a tracer has waited for is still there for its parent, by its number.
fn twice_waited() {
    let traced = child(|| {
        // SAFETY: PTRACE_TRACEME takes nothing else.
        unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
        // SAFETY: takes a number.
        unsafe { libc::raise(libc::SIGSTOP) };
        let grandchild = child(|| 3);
        match grandchild.wait() {
            Ok(End::Exited(status)) => status,
            _ => 100,
        }
    });
    let wait = |pid: i32| {
        let mut status = 0;
        // SAFETY: room for a status.
        let got = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        (got == pid, status)
    };
    let go_on = |pid: i32| {
        // SAFETY: goes on without a signal.
        unsafe { libc::ptrace(libc::PTRACE_CONT, pid, 0, 0) }
    };
    see("begins", wait(traced.0));
    let options = libc::PTRACE_O_TRACEFORK;
    // SAFETY: takes flags.
    unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, traced.0, 0, options) };
    see("goes on", go_on(traced.0));
    see("forks", wait(traced.0));
    let mut born = 0_u64;
    let (message, pid) = (libc::PTRACE_GETEVENTMSG, traced.0.unsigned_abs());
    let told = call(
        libc::SYS_ptrace,
        &[message.into(), pid.into(), 0, out(&mut born)],
    );
    let born = i32::try_from(born).unwrap_or(0);
    see("whom", (told, born > 0));
    see("is born", wait(born));
    see("goes on", go_on(born));
    see("ends", wait(born));
    see("goes on", go_on(traced.0));
    // That its child is gone may stop it for SIGCHLD.
    let mut end = wait(traced.0);
    if libc::WIFSTOPPED(end.1) {
        see("a signal", (end, go_on(traced.0)));
        end = wait(traced.0);
    }
    see("ends with its child's status", end);
}

/// What a tracer does with SIGCHLD.
#[derive(Clone, Copy, Debug)]
enum News {
    Default,
    Ignored,
    Handled,
}

extern "C" fn nothing(_: i32) {}

impl News {
    fn take(self) {
        let handler = match self {
            Self::Default => libc::SIG_DFL,
            Self::Ignored => libc::SIG_IGN,
            Self::Handled => nothing as *const () as usize,
        };
        // SAFETY: takes a number and a function of one.
        unsafe { libc::signal(libc::SIGCHLD, handler) };
    }
}

/// A way to wait until something can be read, or for long.
type Wait = fn(&File) -> Result<u64>;

/// By whichever of a tracee's stops, only the news of one that is to be seen, and only for a handler, ends
/// what its tracer waits for.
fn meanwhile() {
    const LONG: i32 = 60_000;
    let ways: [(&str, Wait); 5] = [
        ("poll", |file| {
            let mut of = [(libc::POLLIN as u64) << 32 | number(file)];
            call(libc::SYS_poll, &[out(&mut of), 1, signed(-1)])
        }),
        ("poll, long", |file| {
            let mut of = [(libc::POLLIN as u64) << 32 | number(file)];
            call(libc::SYS_poll, &[out(&mut of), 1, signed(LONG)])
        }),
        ("ppoll", |file| {
            let mut of = [(libc::POLLIN as u64) << 32 | number(file)];
            let mut time = [60_u64, 0];
            call(libc::SYS_ppoll, &[out(&mut of), 1, out(&mut time), 0, 8])
        }),
        ("select", |file| {
            let mut set = [1_u64 << number(file)];
            let result = call(libc::SYS_select, &[64, out(&mut set), 0, 0, 0]);
            see("the set", set == [1_u64 << number(file)]);
            result
        }),
        ("epoll_wait", |file| {
            let queue = call(libc::SYS_epoll_create1, &[0])?;
            let mut event = [libc::EPOLLIN as u32, 0, 0];
            call(
                libc::SYS_epoll_ctl,
                &[queue, 1, number(file), out(&mut event)],
            )?;
            let result = call(
                libc::SYS_epoll_wait,
                &[queue, out(&mut event), 1, signed(-1)],
            );
            close(queue);
            result
        }),
    ];
    for news in [News::Default, News::Ignored, News::Handled] {
        for is_seen in [false, true] {
            for (name, wait) in ways {
                see(name, (news, is_seen, waited(news, is_seen, wait)));
            }
        }
    }
}

fn number(file: &File) -> u64 {
    u64::try_from(file.as_raw_fd()).expect("a descriptor")
}

/// Whether a process is in this state, as its parent's other children see it.
fn is_in(process: i32, states: &str) -> bool {
    let line = std::fs::read_to_string(format!("/proc/{process}/stat"));
    let line = line.expect("it is there");
    let state = line
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| states.contains(state))
}

/// What a wait gives while a tracee stops where it is seen, or does what is none of its tracer's business.
fn waited(news: News, is_seen: bool, wait_for: Wait) -> Result<u64> {
    let [end, begins, goes, ready] = [(); 4].map(|()| pipe().expect("a pipe"));
    // SAFETY: it takes nothing.
    let tracer = unsafe { libc::getpid() };
    let traced = child(|| {
        // SAFETY: PTRACE_TRACEME takes nothing else.
        unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
        // SAFETY: takes a number.
        unsafe { libc::raise(libc::SIGSTOP) };
        goes.hear();
        for _ in 0..30 {
            let _ = call(libc::SYS_chdir, &[c"/".as_ptr() as u64]);
        }
        if is_seen {
            // SAFETY: takes a number.
            unsafe { libc::raise(libc::SIGUSR1) };
        }
        end.tell();
        0
    });
    see(
        "begins",
        wait(traced.0) == (traced.0, libc::SIGSTOP << 8 | 0x7f),
    );
    news.take();
    let helper = child(|| {
        begins.hear();
        while !is_in(tracer, "S") {}
        goes.tell();
        if is_seen {
            // It stays in that state, since its tracer does not wait for it.
            let mut count = 0;
            while count < 1000 {
                count = if is_in(traced.0, "t") { count + 1 } else { 0 };
            }
            end.tell();
        }
        ready.tell();
        // That it ends would be news, too.
        i32::from(begins.hear())
    });
    go_on(traced.0);
    begins.tell();
    let result = wait_for(&end.read);
    ready.hear();
    News::Default.take();
    let _ = kill(traced.0, libc::SIGKILL);
    let _ = kill(helper.0, libc::SIGKILL);
    let _ = traced.wait();
    let _ = helper.wait();
    result
}

/// What a process ends by is shown once, and what its handler finds no room for besides.
fn fatal() {
    let ways: [(&str, fn()); 7] = [
        ("a bad pointer", || {
            // SAFETY: none: nothing is there, which is what it is for.
            unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
        }),
        ("a privileged instruction", || {
            // SAFETY: none: the instruction is the kernel's.
            unsafe { std::arch::asm!("hlt") };
        }),
        ("no instruction", || {
            // SAFETY: none: there is no such instruction.
            unsafe { std::arch::asm!("ud2") };
        }),
        ("sent, SIGSEGV", || raise(libc::SIGSEGV)),
        ("sent, SIGBUS", || raise(libc::SIGBUS)),
        ("sent, SIGTERM", || raise(libc::SIGTERM)),
        ("no room for a handler", || {
            handle(libc::SIGUSR1);
            let (call, signal) = (libc::SYS_tgkill, libc::SIGUSR1);
            // SAFETY: they take nothing.
            let process = unsafe { libc::getpid() };
            // SAFETY: the same.
            let thread = unsafe { libc::gettid() };
            // SAFETY: none: there is no stack at that place.
            unsafe {
                std::arch::asm!("mov rsp, 4096", "syscall", "ud2", in("rax") call, in("rdi") process,
                    in("rsi") thread, in("rdx") signal, options(noreturn));
            }
        }),
    ];
    for (name, way) in ways {
        let traced = child(|| {
            // SAFETY: PTRACE_TRACEME takes nothing else.
            unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
            for signal in [libc::SIGSEGV, libc::SIGBUS] {
                // SAFETY: those of the language's run time go.
                unsafe { libc::signal(signal, libc::SIG_DFL) };
            }
            way();
            0
        });
        let (mut seen, mut code) = (Vec::new(), None);
        let end = loop {
            let (_, status) = wait(traced.0);
            if !libc::WIFSTOPPED(status) || seen.len() == 9 {
                break status;
            }
            let signal = libc::WSTOPSIG(status);
            seen.push(signal);
            code = code.or(Some(origin(traced.0)));
            // SAFETY: goes on with that signal.
            unsafe { libc::ptrace(libc::PTRACE_CONT, traced.0, 0, signal) };
        };
        see(name, (seen, code, end));
    }
}

/// Has a handler.
fn handle(signal: i32) {
    let handler = raise as *const () as usize;
    // SAFETY: takes a number and a function of one.
    unsafe { libc::signal(signal, handler) };
}

extern "C" fn raise(signal: i32) {
    // SAFETY: takes a number.
    unsafe { libc::raise(signal) };
}
