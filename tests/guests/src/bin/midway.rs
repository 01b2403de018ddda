//! Where a tracer finds who is stopped in the midst of calls: in its program, with all that belongs to the stop.

use picozone_guests::children::{Child, End, kill};
use picozone_guests::{call, child, out, sections, see};
use std::fs;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

fn main() {
    sections(&[
        ("attached", attached),
        ("seized", seized),
        ("signalled", signalled),
        ("looked_at", looked_at),
        ("stepped", stepped),
        ("of_threads", of_threads),
        ("waiting", waiting),
    ]);
}

/// What a child tells its parent meanwhile.
#[derive(Default)]
struct Told {
    rounds: AtomicU64,
    wrong: AtomicU64,
    handled: AtomicU64,
}

/// Memory that children share.
fn told() -> &'static Told {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a place of the kernel's choice.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, kind, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    // SAFETY: it is zeroed, and stays.
    unsafe { &*at.cast::<Told>() }
}

/// One kind of calls, and whether they were right.
type Kind = fn() -> bool;

const KINDS: [Kind; 9] = [
    stat, missing, open, identity, mask, directory, link, socket, mode,
];

fn stat() -> bool {
    fs::metadata("/usr/bin/env").is_ok_and(|data| data.len() > 0)
}

fn missing() -> bool {
    fs::metadata("/usr/bin/none-such").is_err()
}

fn open() -> bool {
    fs::File::open("/usr/bin/env").is_ok()
}

fn identity() -> bool {
    // SAFETY: takes nothing.
    call(libc::SYS_getppid, &[]) == Ok(unsafe { libc::getppid() }.unsigned_abs().into())
}

fn mask() -> bool {
    let mut old = [0_u64; 1];
    let how = libc::SIG_BLOCK.unsigned_abs().into();
    let told = call(libc::SYS_rt_sigprocmask, &[how, 0, out(&mut old), 8]);
    told == Ok(0) && old[0] == 0
}

fn directory() -> bool {
    std::env::current_dir().is_ok()
}

fn link() -> bool {
    fs::read_link("/proc/self/exe").is_ok()
}

fn socket() -> bool {
    std::net::UdpSocket::bind("127.0.0.1:0").is_ok_and(|socket| socket.local_addr().is_ok())
}

fn mode() -> bool {
    call(libc::SYS_fchmod, &[u64::from(u32::MAX), 0o600]).is_err()
}

/// A child that makes calls of one kind, over and over, and ends after a minute if it is let.
fn busy(told: &'static Told, kind: Kind) -> Child {
    let busy = child(|| {
        // SAFETY: takes a number.
        unsafe { libc::alarm(60) };
        loop {
            round(told, kind);
        }
    });
    goes_on(told);
    busy
}

fn round(told: &Told, kind: Kind) {
    told.wrong.fetch_add(u64::from(!kind()), Relaxed);
    told.rounds.fetch_add(1, Relaxed);
}

/// Waits until a child has made some calls more.
fn goes_on(told: &Told) {
    let wanted = told.rounds.load(Relaxed) + 3;
    while told.rounds.load(Relaxed) < wanted {
        std::thread::yield_now();
    }
}

fn trace(request: u32, id: i32, a: u64, b: u64) -> bool {
    let id = u64::from(id.unsigned_abs());
    call(libc::SYS_ptrace, &[request.into(), id, a, b]).is_ok()
}

fn wait(id: i32) -> (bool, i32) {
    let mut status = 0;
    // SAFETY: room for a status.
    let got = unsafe { libc::waitpid(id, &raw mut status, libc::__WALL) };
    (got == id, status)
}

/// Whether a tracee stands in its program, as its parent may see that.
fn is_in_program(process: i32, id: i32) -> bool {
    const RIP: usize = 16;
    let mut registers = [0_u64; 27];
    let is_told = trace(libc::PTRACE_GETREGS, id, 0, out(&mut registers));
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
    is_told && maps.lines().any(|line| is_of(line, registers[RIP]))
}

/// Whether a line of `maps` is of a place that can be executed and has an address.
fn is_of(line: &str, address: u64) -> bool {
    let mut words = line.split_ascii_whitespace();
    let place = words.next().and_then(|place| place.split_once('-'));
    let is_program = words.next().is_some_and(|rights| rights.contains('x'));
    let number = |text| u64::from_str_radix(text, 16).unwrap_or(0);
    is_program && place.is_some_and(|(from, to)| (number(from)..number(to)).contains(&address))
}

/// What a tracee stopped for: number and origin of the signal.
fn reason(id: i32) -> (i32, i32) {
    let mut info = [0_i32; 32];
    trace(libc::PTRACE_GETSIGINFO, id, 0, out(&mut info));
    (info[0], info[2])
}

fn end(busy: Child) {
    let _ = kill(busy.0, libc::SIGKILL);
    while let Ok(End::Stopped(_)) = busy.wait() {}
}

fn attached() {
    for kind in KINDS {
        let told = told();
        let busy = busy(told, kind);
        for _ in 0..2 {
            see("attached", trace(libc::PTRACE_ATTACH, busy.0, 0, 0));
            see("stops", wait(busy.0));
            see("stands in its program", is_in_program(busy.0, busy.0));
            see("for", reason(busy.0).0);
            see("left", trace(libc::PTRACE_DETACH, busy.0, 0, 0));
            goes_on(told);
        }
        end(busy);
        see("wrong", told.wrong.load(Relaxed));
    }
}

fn seized() {
    for kind in KINDS {
        let told = told();
        let busy = busy(told, kind);
        see("seized", trace(libc::PTRACE_SEIZE, busy.0, 0, 0));
        for _ in 0..2 {
            see("interrupted", trace(libc::PTRACE_INTERRUPT, busy.0, 0, 0));
            see("stops", wait(busy.0));
            see("stands in its program", is_in_program(busy.0, busy.0));
            see("for", reason(busy.0));
            see("goes on", trace(libc::PTRACE_CONT, busy.0, 0, 0));
            goes_on(told);
        }
        end(busy);
        see("wrong", told.wrong.load(Relaxed));
    }
}

/// Where the handler counts.
static HERE: std::sync::OnceLock<&'static Told> = std::sync::OnceLock::new();

extern "C" fn handle(_: i32, info: &libc::siginfo_t, _: usize) {
    let told = HERE.get().expect("it is set");
    // SAFETY: it is of a signal that was queued.
    let value = unsafe { info.si_value() }.sival_ptr as u64;
    // SAFETY: the same.
    let sender = unsafe { info.si_pid() };
    // SAFETY: takes nothing.
    let is_right = value == told.handled.load(Relaxed) && sender == unsafe { libc::getppid() };
    told.wrong.fetch_add(u64::from(!is_right), Relaxed);
    told.handled.fetch_add(1, Relaxed);
}

/// A signal reaches its handler as it was sent.
fn signalled() {
    for kind in KINDS {
        let told = told();
        HERE.set(told).unwrap_or_default();
        let told = HERE.get().expect("it is set");
        told.handled.store(0, Relaxed);
        // SAFETY: nothing blocked, no handler.
        let mut wanted: libc::sigaction = unsafe { std::mem::zeroed() };
        wanted.sa_sigaction = handle as *const () as usize;
        wanted.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        // SAFETY: the structure is whole.
        unsafe { libc::sigaction(libc::SIGUSR1, &raw const wanted, std::ptr::null_mut()) };
        let busy = busy(told, kind);
        see("seized", trace(libc::PTRACE_SEIZE, busy.0, 0, 0));
        for value in 0..3_u64 {
            let value = libc::sigval {
                sival_ptr: value as *mut libc::c_void,
            };
            // SAFETY: takes numbers.
            see("sent", unsafe {
                libc::sigqueue(busy.0, libc::SIGUSR1, value)
            });
            see("stops", wait(busy.0));
            see("stands in its program", is_in_program(busy.0, busy.0));
            see("for", reason(busy.0));
            let signal = libc::SIGUSR1.unsigned_abs().into();
            see("goes on", trace(libc::PTRACE_CONT, busy.0, 0, signal));
            goes_on(told);
        }
        end(busy);
        see("handled", told.handled.load(Relaxed));
        see("wrong", told.wrong.load(Relaxed));
    }
}

/// A stop that was only looked at is there to be waited for.
fn looked_at() {
    for kind in KINDS {
        let told = told();
        let busy = busy(told, kind);
        see("attached", trace(libc::PTRACE_ATTACH, busy.0, 0, 0));
        let mut info = [0_i32; 32];
        for options in [libc::WNOWAIT, libc::WNOWAIT, 0, libc::WNOHANG] {
            info.fill(0);
            let options = (options | libc::WSTOPPED | libc::__WALL).unsigned_abs();
            let id = u64::from(busy.0.unsigned_abs());
            let words = [
                u64::from(libc::P_PID),
                id,
                out(&mut info),
                options.into(),
                0,
            ];
            let told = call(libc::SYS_waitid, &words);
            let is_it = info[4] == busy.0;
            see("looked at", (told, info[0], info[2], is_it, info[6]));
        }
        see("stands in its program", is_in_program(busy.0, busy.0));
        see("goes on", trace(libc::PTRACE_CONT, busy.0, 0, 0));
        goes_on(told);
        end(busy);
        see("wrong", told.wrong.load(Relaxed));
    }
}

/// Steps from there on.
fn stepped() {
    for kind in KINDS {
        let told = told();
        let busy = busy(told, kind);
        see("attached", trace(libc::PTRACE_ATTACH, busy.0, 0, 0));
        see("stops", wait(busy.0));
        let mut out_of_it = 0;
        for _ in 0..100 {
            trace(libc::PTRACE_SINGLESTEP, busy.0, 0, 0);
            let is_step = wait(busy.0) == (true, libc::SIGTRAP << 8 | 0x7f);
            out_of_it += i32::from(!is_step || !is_in_program(busy.0, busy.0));
        }
        see("out of it", out_of_it);
        see("goes on", trace(libc::PTRACE_CONT, busy.0, 0, 0));
        goes_on(told);
        end(busy);
        see("wrong", told.wrong.load(Relaxed));
    }
}

/// All threads, one after the other, while those that are stopped stay so.
fn of_threads() {
    let told = told();
    let busy = child(|| {
        // SAFETY: takes a number.
        unsafe { libc::alarm(60) };
        let threads = KINDS.map(|kind| {
            std::thread::spawn(move || {
                loop {
                    round(told, kind);
                }
            })
        });
        for thread in threads {
            let _ = thread.join();
        }
        0
    });
    let tasks = || {
        let all = fs::read_dir(format!("/proc/{}/task", busy.0)).expect("it is there");
        let names = all.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter_map(|name| name.parse().ok())
    };
    while tasks().count() < KINDS.len() + 1 {
        std::thread::yield_now();
    }
    // The first waits for the others.
    let threads: Vec<i32> = tasks().filter(|id| *id != busy.0).collect();
    see("threads", threads.len());
    for _ in 0..2 {
        for id in &threads {
            see("attached", trace(libc::PTRACE_ATTACH, *id, 0, 0));
            see("stops", wait(*id));
            see("stands in its program", is_in_program(busy.0, *id));
        }
        for id in &threads {
            see("left", trace(libc::PTRACE_DETACH, *id, 0, 0));
        }
        goes_on(told);
    }
    end(busy);
    see("wrong", told.wrong.load(Relaxed));
}

/// What a child waits in, what its parent lets it go on by, and what the child got.
struct Wait {
    name: &'static str,
    wait: fn(&Pipe) -> (bool, i64),
    end: fn(&Pipe, Child),
}

/// What a wait may be on, made before the child.
struct Pipe {
    ends: [i32; 2],
    listener: std::net::TcpListener,
    queue: i32,
    file: fs::File,
}

fn pipe() -> Pipe {
    let mut ends = [0; 2];
    // SAFETY: room for two.
    unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    Pipe {
        ends,
        listener: std::net::TcpListener::bind("127.0.0.1:0").expect("a port"),
        // SAFETY: takes numbers.
        queue: unsafe { libc::msgget(libc::IPC_PRIVATE, 0o600) },
        file: fs::File::create(picozone_guests::work().join("locked")).expect("a file"),
    }
}

fn result(told: i32) -> (bool, i64) {
    (told < 0, if told < 0 { errno() } else { 0 })
}

fn errno() -> i64 {
    std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(0)
        .into()
}

const WAITS: [Wait; 8] = [
    Wait {
        name: "accept",
        wait: |pipe| (pipe.listener.accept().is_err(), 0),
        end: |pipe, _| {
            let at = pipe.listener.local_addr().expect("it has one");
            drop(std::net::TcpStream::connect(at).expect("somebody listens"));
        },
    },
    Wait {
        name: "wait4",
        wait: |pipe| {
            let ends = pipe.ends;
            let grandchild = child(|| {
                let mut byte = [0_u8; 1];
                // SAFETY: room for a byte.
                unsafe { libc::read(ends[0], byte.as_mut_ptr().cast(), 1) };
                3
            });
            let end = grandchild.wait();
            (end.is_err(), i64::from(end == Ok(End::Exited(3))))
        },
        end: write_byte,
    },
    Wait {
        name: "ppoll with a mask",
        wait: |pipe| {
            let mut poll = [libc::pollfd {
                fd: pipe.ends[0],
                events: libc::POLLIN,
                revents: 0,
            }];
            let mask = none();
            // SAFETY: one entry, no time, a mask.
            result(unsafe { libc::ppoll(poll.as_mut_ptr(), 1, std::ptr::null(), &raw const mask) })
        },
        end: write_byte,
    },
    Wait {
        name: "pselect with a mask",
        wait: |pipe| {
            // SAFETY: an empty set.
            let mut set: libc::fd_set = unsafe { std::mem::zeroed() };
            // SAFETY: the number is small.
            unsafe { libc::FD_SET(pipe.ends[0], &raw mut set) };
            let (mask, no) = (none(), std::ptr::null_mut());
            let count = pipe.ends[0] + 1;
            // SAFETY: a set, a mask, no time.
            result(unsafe {
                libc::pselect(
                    count,
                    &raw mut set,
                    no,
                    no,
                    std::ptr::null(),
                    &raw const mask,
                )
            })
        },
        end: write_byte,
    },
    Wait {
        name: "sigsuspend",
        wait: |_| {
            // SAFETY: a handler of one argument.
            unsafe { libc::signal(libc::SIGUSR2, ignore as *const () as usize) };
            let mask = none();
            // SAFETY: a mask.
            result(unsafe { libc::sigsuspend(&raw const mask) })
        },
        end: |_, child| {
            let _ = kill(child.0, libc::SIGUSR2);
        },
    },
    Wait {
        name: "flock",
        wait: |_| {
            let file = fs::File::open(picozone_guests::work().join("locked")).expect("a file");
            let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
            // SAFETY: takes numbers.
            result(unsafe { libc::flock(fd, libc::LOCK_EX) })
        },
        end: |pipe, _| {
            let fd = std::os::fd::AsRawFd::as_raw_fd(&pipe.file);
            // SAFETY: takes numbers.
            unsafe { libc::flock(fd, libc::LOCK_UN) };
        },
    },
    Wait {
        name: "msgrcv",
        wait: |pipe| {
            let mut message = [0_i64; 2];
            let room = message.as_mut_ptr().cast();
            // SAFETY: room for a message of eight bytes.
            let got = unsafe { libc::msgrcv(pipe.queue, room, 8, 0, 0) };
            (got < 0, if got < 0 { errno() } else { message[1] })
        },
        end: |pipe, _| {
            let message = [1_i64, 77];
            // SAFETY: a message of eight bytes.
            unsafe { libc::msgsnd(pipe.queue, message.as_ptr().cast(), 8, 0) };
        },
    },
    Wait {
        name: "recvmsg",
        wait: |pipe| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
            let port = u64::from(socket.local_addr().expect("it has one").port());
            let told = port.to_ne_bytes();
            // SAFETY: eight bytes.
            unsafe { libc::write(pipe.ends[1], told.as_ptr().cast(), 8) };
            let mut bytes = [0; 4];
            let got = socket.recv_from(&mut bytes);
            (got.is_err(), i64::from(bytes[0]))
        },
        end: |pipe, _| {
            let mut told = [0; 8];
            // SAFETY: room for eight bytes.
            unsafe { libc::read(pipe.ends[0], told.as_mut_ptr().cast(), 8) };
            let port = u16::try_from(u64::from_ne_bytes(told)).expect("a port");
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
            socket
                .send_to(&[55], ("127.0.0.1", port))
                .expect("it is sent");
        },
    },
];

fn write_byte(pipe: &Pipe, _: Child) {
    // SAFETY: one byte.
    unsafe { libc::write(pipe.ends[1], c"x".as_ptr().cast(), 1) };
}

extern "C" fn ignore(_: i32) {}

/// A set of no signals.
fn none() -> libc::sigset_t {
    // SAFETY: it is plain data.
    unsafe { std::mem::zeroed() }
}

/// Stopped while they wait, they are in their program, and get what they waited for.
fn waiting() {
    for Wait {
        name,
        wait: waits,
        end: ends,
    } in WAITS
    {
        let (told, pipe) = (told(), pipe());
        let fd = std::os::fd::AsRawFd::as_raw_fd(&pipe.file);
        // SAFETY: takes numbers.
        unsafe { libc::flock(fd, libc::LOCK_EX) };
        let waiter = child(|| {
            // SAFETY: takes a number.
            unsafe { libc::alarm(60) };
            told.rounds.fetch_add(1, Relaxed);
            let (is_wrong, value) = waits(&pipe);
            told.wrong.store(is_wrong.into(), Relaxed);
            told.handled.store(value.cast_unsigned(), Relaxed);
            0
        });
        let stat = format!("/proc/{}/stat", waiter.0);
        let sleeps = || {
            let text = fs::read_to_string(&stat).unwrap_or_default();
            told.rounds.load(Relaxed) == 1 && text.contains(") S ")
        };
        for _ in 0..3 {
            // For a while: what it does before is over then, even if it had to wait in that.
            let mut looks = 0;
            while looks < 200 {
                looks = if sleeps() { looks + 1 } else { 0 };
                std::thread::yield_now();
            }
            see(name, trace(libc::PTRACE_ATTACH, waiter.0, 0, 0));
            see("stops", wait(waiter.0));
            see("stands in its program", is_in_program(waiter.0, waiter.0));
            see("left", trace(libc::PTRACE_DETACH, waiter.0, 0, 0));
        }
        ends(&pipe, waiter);
        see("ends", waiter.wait());
        let got = told.handled.load(Relaxed);
        see("got", (told.wrong.load(Relaxed), got));
        // SAFETY: takes numbers.
        unsafe { libc::msgctl(pipe.queue, libc::IPC_RMID, std::ptr::null_mut()) };
        for end in pipe.ends {
            // SAFETY: it is ours.
            unsafe { libc::close(end) };
        }
    }
}
