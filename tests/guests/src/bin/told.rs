//! Who is told to have sent what: by descriptors of signals and of events, queues, sockets, locks.

use picozone_guests::children::{End, Pipe, exit, kill, pipe, wait};
use picozone_guests::signals::{Act, HITS, count, handle, mask, none, only};
use picozone_guests::{
    Errno, Result, call, child, close, from, libc_result, out, sections, see, signed,
};
use std::ptr::{null, null_mut};

fn main() {
    sections(&[
        ("descriptors", descriptors),
        ("inherited", inherited),
        ("interrupted", interrupted),
        ("numbers_again", numbers_again),
        ("threads", threads),
        ("executed", executed),
        ("after_exec", after_exec),
        ("notices", notices),
        ("events", events),
        ("peers", peers),
        ("locks", locks),
        ("terminal", terminal),
        ("waits", waits),
        ("deaths", deaths),
        ("after_death_set", after_death_set),
    ]);
}

fn pid() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::getpid() }
}

fn user() -> u32 {
    // SAFETY: takes nothing.
    unsafe { libc::getuid() }
}

const KINDS: [i32; 3] = [libc::SIGUSR1, libc::SIGUSR2, libc::SIGCHLD];

/// A descriptor of these signals, which are blocked.
fn signalfd(signals: &[i32], flags: i32) -> u64 {
    let set = only(signals);
    mask(libc::SIG_BLOCK, &set).expect("a mask");
    let flags = signed(flags);
    call(libc::SYS_signalfd4, &[u64::MAX, from(&set), 8, flags]).expect("a descriptor")
}

/// Signal, code, whether `sender` has sent it and is this user, status, value.
type Told = (u32, i32, bool, bool, i32, i32);

fn told(block: &[u32; 32], sender: i32) -> Told {
    (
        block[0],
        block[2].cast_signed(),
        block[3] == sender.unsigned_abs(),
        block[4] == user(),
        block[10].cast_signed(),
        block[11].cast_signed(),
    )
}

fn take(fd: u64, sender: i32) -> Result<Told> {
    let mut block = [0_u32; 32];
    let got = call(libc::SYS_read, &[fd, out(&mut block), 128])?;
    assert_eq!(got, 128, "one block");
    Ok(told(&block, sender))
}

fn queue(to: i32, signal: i32, value: i32) -> Result<i64> {
    let value = libc::sigval {
        sival_ptr: usize::try_from(value).unwrap_or(0) as *mut libc::c_void,
    };
    // SAFETY: the value is not looked at.
    libc_result(unsafe { libc::sigqueue(to, signal, value) })
}

fn descriptors() {
    let fd = signalfd(&KINDS, libc::SFD_NONBLOCK);
    see("nothing", take(fd, 0));
    see("kill", (kill(pid(), libc::SIGUSR1), take(fd, pid())));
    see("queue", (queue(pid(), libc::SIGUSR2, 7), take(fd, pid())));
    let sends = child(|| {
        let parent = parent();
        i32::from(kill(parent, libc::SIGUSR1).is_err())
            + i32::from(queue(parent, libc::SIGUSR2, 9).is_err())
    });
    see("sender", sends.wait());
    // All three at once, as by number.
    let mut blocks = [[0_u32; 32]; 4];
    let got = call(libc::SYS_read, &[fd, out(&mut blocks), 512]);
    see("together", got);
    for block in &blocks[..3] {
        see("one", told(block, sends.0));
    }
    let ends = child(|| 4);
    let mut poll = [fd | 1 << 32];
    see("poll", call(libc::SYS_poll, &[out(&mut poll), 1, u64::MAX]));
    see("child", (take(fd, ends.0), ends.wait()));
    let epoll = call(libc::SYS_epoll_create1, &[0]).expect("a descriptor");
    let event = [1_u32, 0, 0];
    call(libc::SYS_epoll_ctl, &[epoll, 1, fd, from(&event)]).expect("it can be added");
    kill(pid(), libc::SIGUSR1).expect("it is us");
    let mut events = [0_u32; 3];
    see(
        "epoll",
        call(
            libc::SYS_epoll_wait,
            &[epoll, out(&mut events), 1, u64::MAX],
        ),
    );
    // In parts.
    let mut block = [0_u32; 32];
    let start = block.as_mut_ptr() as u64;
    let parts = [[start, 64], [start + 64, 0], [start + 64, 64]];
    let got = call(libc::SYS_readv, &[fd, from(&parts), 3]);
    see("in parts", (got, told(&block, pid())));
    see(
        "too little room",
        call(libc::SYS_read, &[fd, out(&mut block), 127]),
    );
    kill(pid(), libc::SIGUSR1).expect("it is us");
    see("nowhere", call(libc::SYS_read, &[fd, 8, 128]));
    for (name, made) in [
        ("dup", call(libc::SYS_dup, &[fd])),
        ("dup2", call(libc::SYS_dup2, &[fd, 70])),
        (
            "dup3",
            call(libc::SYS_dup3, &[fd, 71, signed(libc::O_CLOEXEC)]),
        ),
        ("F_DUPFD", call(libc::SYS_fcntl, &[fd, 0, 30])),
        ("F_DUPFD_CLOEXEC", call(libc::SYS_fcntl, &[fd, 1030, 80])),
    ] {
        let made = made.expect("there is room");
        kill(pid(), libc::SIGUSR2).expect("it is us");
        see(name, take(made, pid()));
        close(made);
    }
    let set = only(&[libc::SIGUSR2]);
    kill(pid(), libc::SIGUSR1).expect("it is us");
    see(
        "another set",
        call(libc::SYS_signalfd4, &[fd, from(&set), 8, 0]).map(|same| same == fd),
    );
    see("of that", take(fd, 0));
    see(
        "no descriptor",
        call(libc::SYS_signalfd4, &[0, from(&set), 8, 0]),
    );
    see(
        "bad size",
        call(libc::SYS_signalfd4, &[u64::MAX, from(&set), 4, 0]),
    );
    see(
        "bad flags",
        call(libc::SYS_signalfd4, &[u64::MAX, from(&set), 8, 1]),
    );
    see("bad address", call(libc::SYS_signalfd, &[u64::MAX, 8, 8]));
}

fn parent() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::getppid() }
}

/// Who reads takes signals of its own, by a descriptor of its parent's too.
fn inherited() {
    let fd = signalfd(&KINDS, 0);
    let reads = child(|| {
        kill(pid(), libc::SIGUSR1).expect("it is us");
        let told = take(fd, pid());
        i32::from(told != Ok((10, 0, true, true, 0, 0)))
    });
    see("a child's", reads.wait());
    let ends = only(&[libc::SIGCHLD]);
    see("its end", take(fd, reads.0));
    // SAFETY: the set lives until the call returns.
    see("once", unsafe {
        libc::sigtimedwait(
            &raw const ends,
            null_mut(),
            &libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
        )
    });
}

/// A read that waits is ended or begun again by a handler.
fn interrupted() {
    for (name, flags) in [("ended", 0), ("begun again", libc::SA_RESTART)] {
        let ready = pipe().expect("a pipe");
        let done = pipe().expect("a pipe");
        let waits = child(|| {
            handle(libc::SIGALRM, Act::Plain(count), flags).expect("a handler");
            let fd = signalfd(&[libc::SIGUSR1], 0);
            ready.tell();
            let told = take(fd, parent());
            see(name, (told, HITS.load(std::sync::atomic::Ordering::SeqCst)));
            done.tell();
            0
        });
        ready.hear();
        asleep(waits.0);
        waits.signal(libc::SIGALRM).expect("it is there");
        if flags != 0 {
            asleep_again(waits.0);
            waits.signal(libc::SIGUSR1).expect("it is there");
        }
        see("child", waits.wait());
        drop(done);
    }
}

fn state(pid: i32) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit(") ")
        .next()
        .unwrap_or_default()
        .chars()
        .take(1)
        .collect()
}

/// Until a process sleeps, as it does in what it was told to do next.
fn asleep(pid: i32) {
    while state(pid) != "S" {
        std::thread::yield_now();
    }
}

/// Until nothing is pending any more, and it sleeps.
fn asleep_again(pid: i32) {
    let is_pending = || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = text
            .lines()
            .find(|line| line.starts_with("ShdPnd:"))
            .map(str::to_owned);
        !line.is_none_or(|line| line.ends_with("0000000000000000"))
    };
    while is_pending() {
        std::thread::yield_now();
    }
    asleep(pid);
}

/// What has the number of a closed one is read as ever.
fn numbers_again() {
    let mut like = [0_u32; 32];
    (like[0], like[2], like[3], like[4]) = (10, 0, 77, 78);
    // SAFETY: a plain array of words.
    let bytes: [u8; 128] = unsafe { std::mem::transmute(like) };
    std::fs::write("like", bytes).expect("a file");
    let fd = signalfd(&KINDS, 0);
    close(fd);
    let path = c"like";
    let flags = signed(libc::O_RDONLY);
    let file = call(libc::SYS_open, &[path.as_ptr() as u64, flags]).expect("it is there");
    let mut block = [0_u32; 32];
    let got = call(libc::SYS_read, &[file, out(&mut block), 128]);
    see("a file", (file == fd, got, block == like));
    let copy = call(libc::SYS_dup, &[file]).expect("there is room");
    see(
        "its end",
        call(libc::SYS_read, &[copy, out(&mut block), 128]),
    );
    close(file);
    close(copy);
    let event = call(libc::SYS_eventfd2, &[3, 0]).expect("a descriptor");
    let mut value = 0_u64;
    see(
        "a counter",
        (
            event == fd,
            call(libc::SYS_read, &[event, out(&mut value), 8]),
            value,
        ),
    );
    close(event);
}

/// Every thread reads what is sent to it or to the process, whoever made the descriptor.
fn threads() {
    mask(libc::SIG_BLOCK, &only(&KINDS)).expect("a mask");
    let (send, receive) = std::sync::mpsc::channel::<u64>();
    let before = std::thread::spawn(move || {
        let fd = receive.recv().expect("it is sent");
        // SAFETY: sends to the thread itself.
        unsafe { libc::raise(libc::SIGUSR1) };
        take(fd, pid())
    });
    let maker = std::thread::spawn(|| signalfd(&KINDS, 0));
    let fd = maker.join().expect("it ends");
    send.send(fd).expect("it waits");
    see("an older thread", before.join().expect("it ends"));
    kill(pid(), libc::SIGUSR2).expect("it is us");
    see("the first", take(fd, pid()));
}

/// Over an exec too.
fn executed() {
    let fd = signalfd(&KINDS, 0);
    let runs = child(|| {
        let guest = c"./guest";
        let section = c"after_exec";
        let words = [guest.as_ptr(), section.as_ptr(), null()];
        let number = std::ffi::CString::new(format!("FD={fd}")).expect("no NUL");
        let environment = [number.as_ptr(), null()];
        // SAFETY: the lists end as execve(2) asks.
        unsafe { libc::execve(guest.as_ptr(), words.as_ptr(), environment.as_ptr()) };
        1
    });
    see("executed", runs.wait());
}

fn after_exec() {
    let Some(fd) = std::env::var("FD").ok().and_then(|text| text.parse().ok()) else {
        return;
    };
    kill(pid(), libc::SIGUSR1).expect("it is us");
    see("afterwards", take(fd, pid()));
}

/// `struct sigevent` with a function, as `<signal.h>` has it.
#[repr(C)]
struct Event {
    value: usize,
    signal: i32,
    kind: i32,
    function: extern "C" fn(usize),
    attributes: usize,
    rest: [u64; 4],
}

unsafe extern "C" {
    fn mq_open(name: *const libc::c_char, flags: i32, ...) -> i32;
    fn mq_notify(queue: i32, event: *const Event) -> i32;
    fn mq_send(queue: i32, text: *const u8, length: usize, priority: u32) -> i32;
    fn mq_unlink(name: *const libc::c_char) -> i32;
}

static TOLD: std::sync::OnceLock<std::sync::mpsc::Sender<(usize, bool)>> =
    std::sync::OnceLock::new();

extern "C" fn on_message(value: usize) {
    // SAFETY: takes nothing.
    let is_leader = unsafe { libc::gettid() } == pid();
    if let Some(told) = TOLD.get() {
        let _ = told.send((value, is_leader));
    }
}

/// Queues that call a function (`SIGEV_THREAD`), or send a signal.
fn notices() {
    let (send, receive) = std::sync::mpsc::channel();
    TOLD.set(send).expect("once");
    let name = c"/told";
    // Flags, messages, their size: few, since a user has little room for queues.
    let few = [0_i64, 2, 64, 0, 0, 0, 0, 0];
    let flags = libc::O_CREAT | libc::O_RDWR;
    // SAFETY: name and attributes live until the call returns.
    let queue = unsafe { mq_open(name.as_ptr(), flags, 0o600, few.as_ptr()) };
    see("queue", queue > 2);
    let event = |value: usize| Event {
        value,
        signal: 0,
        kind: 2,
        function: on_message,
        attributes: 0,
        rest: [0; 4],
    };
    let notify = |event: Option<&Event>| {
        let event = event.map_or(null(), std::ptr::from_ref);
        // SAFETY: the event lives until the call returns.
        libc_result(unsafe { mq_notify(queue, event) })
    };
    // SAFETY: one byte.
    let send = || libc_result(unsafe { mq_send(queue, c"x".as_ptr().cast(), 1, 0) });
    let mut room = [0_u8; 64];
    let mut empty = || {
        call(
            libc::SYS_mq_timedreceive,
            &[signed(queue), out(&mut room), 64, 0, 0],
        )
    };
    for value in [5, 6] {
        see("asked", notify(Some(&event(value))));
        see("twice", notify(Some(&event(9))));
        see("sent", send());
        see("called", receive.recv());
        see("taken", empty());
    }
    see("another process", {
        notify(Some(&event(7))).expect("nobody has");
        let busy = child(|| i32::from(notify(Some(&event(8))) != Err(Errno::EBUSY)));
        busy.wait()
    });
    see(
        "sent by another",
        (
            child(|| i32::from(send().is_err())).wait(),
            receive.recv(),
            empty(),
        ),
    );
    see("asked", notify(Some(&event(10))));
    see("given up", notify(None));
    see(
        "nobody is told",
        (send(), receive.try_recv().is_err(), empty()),
    );
    // Whose process ends is told no more, and others may.
    let ends = child(|| i32::from(notify(Some(&event(11))).is_err()));
    see(
        "ended",
        (
            ends.wait(),
            notify(Some(&event(12))),
            send(),
            receive.recv(),
            empty(),
        ),
    );
    see(
        "bad address",
        call(libc::SYS_mq_notify, &[signed(queue), 8]),
    );
    let odd = [0_u64, 9 << 32, 0, 0, 0, 0, 0, 0];
    see(
        "bad kind",
        call(libc::SYS_mq_notify, &[signed(queue), from(&odd)]),
    );
    let thread = [from(&room), 2 << 32, 0, 0, 0, 0, 0, 0];
    see(
        "no socket",
        call(libc::SYS_mq_notify, &[signed(queue), from(&thread)]).is_err(),
    );
    see("no queue", call(libc::SYS_mq_notify, &[0, 0]));
    // SAFETY: the name lives until the call returns.
    see("unlink", unsafe { mq_unlink(name.as_ptr()) });
}

/// Events of a descriptor by a signal of one's choice, which tells the descriptor.
fn events() {
    mask(libc::SIG_BLOCK, &only(&[libc::SIGUSR1, libc::SIGIO])).expect("a mask");
    let mut ends = [0_i32; 2];
    // SAFETY: room for two descriptors.
    unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, ends.as_mut_ptr()) };
    let [one, other] = ends.map(signed);
    let fcntl = |command: u64, argument: u64| call(libc::SYS_fcntl, &[one, command, argument]);
    let flags = signed(libc::O_ASYNC | libc::O_NONBLOCK);
    see("owner", (fcntl(8, signed(pid())), fcntl(4, flags)));
    for signal in [0, libc::SIGUSR1] {
        see("signal", fcntl(10, signed(signal)));
        call(libc::SYS_write, &[other, c"x".as_ptr() as u64, 1]).expect("there is room");
        // SAFETY: zeros are a valid block.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let set = only(&[libc::SIGUSR1, libc::SIGIO]);
        // SAFETY: set and block live until the call returns.
        let got = unsafe { libc::sigwaitinfo(&raw const set, &raw mut info) };
        // Band and descriptor.
        // SAFETY: the block is 128 bytes of words.
        let words: [u64; 4] = unsafe { std::ptr::read(std::ptr::from_ref(&info).cast()) };
        let by = if signal == 0 {
            (0, false)
        } else {
            (words[2] & 1, words[3] & 0xffff_ffff == one)
        };
        see("event", (got, info.si_code, by));
    }
    // A child is told, and its parent is not.
    let ready = pipe().expect("a pipe");
    let told = child(|| {
        ready.tell();
        let set = only(&[libc::SIGUSR1]);
        // SAFETY: the set lives until the call returns.
        i32::from(unsafe { libc::sigwaitinfo(&raw const set, null_mut()) } != libc::SIGUSR1)
    });
    ready.hear();
    see("a child", fcntl(8, signed(told.0)));
    call(libc::SYS_write, &[other, c"x".as_ptr() as u64, 1]).expect("there is room");
    see("told", (told.wait(), picozone_guests::signals::pending()));
}

/// Who made the other end of a socket, also once it is gone and only a child has its descriptor.
fn peers() {
    let listener = std::os::unix::net::UnixListener::bind("socket").expect("a socket");
    let (go, end) = (pipe().expect("a pipe"), pipe().expect("a pipe"));
    let connects = child(|| {
        let stream = std::os::unix::net::UnixStream::connect("socket");
        go.hear();
        child(|| {
            end.hear();
            0
        });
        i32::from(stream.is_err())
    });
    let (stream, _) = listener.accept().expect("somebody connects");
    let fd = u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&stream)).expect("a descriptor");
    let peer = |fd: u64, of: i32| {
        let (mut who, mut length) = ([0_u32; 3], 12_u32);
        let asked = call(
            libc::SYS_getsockopt,
            &[fd, 1, 17, out(&mut who), out(&mut length)],
        );
        let is_right = who[0] == of.unsigned_abs() && who[1] == user();
        (asked, is_right, length)
    };
    see("lives", peer(fd, connects.0));
    go.tell();
    see("has ended", (connects.wait(), peer(fd, connects.0)));
    end.tell();
    std::fs::remove_file("socket").expect("it is there");
    // Of a pair it is who made it, whoever has its ends.
    let mut ends = [0_i32; 2];
    let makes = pipe().expect("a pipe");
    // SAFETY: room for two descriptors.
    unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, ends.as_mut_ptr()) };
    let asks = child(|| {
        makes.hear();
        i32::from(peer(signed(ends[0]), parent()) != (Ok(0), true, 12))
    });
    makes.tell();
    see("a pair", (asks.wait(), peer(signed(ends[1]), pid())));
}

/// Who holds a lock.
fn locks() {
    let file = std::fs::File::create("locked").expect("a file");
    let fd = u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&file)).expect("a descriptor");
    let (held, go) = (pipe().expect("a pipe"), pipe().expect("a pipe"));
    let lock = |kind: i32, start: i64| libc::flock {
        l_type: i16::try_from(kind).expect("small"),
        l_whence: 0,
        l_start: start,
        l_len: 1,
        l_pid: 0,
    };
    let holds = child(|| {
        let done = call(libc::SYS_fcntl, &[fd, 6, from(&lock(libc::F_WRLCK, 5))]);
        held.tell();
        go.hear();
        i32::from(done.is_err())
    });
    held.hear();
    for (command, start) in [(5, 5), (5, 6), (36, 5)] {
        let mut found = lock(libc::F_RDLCK, start);
        let asked = call(libc::SYS_fcntl, &[fd, command, out(&mut found)]);
        see(
            "holder",
            (
                command,
                asked,
                found.l_type,
                found.l_pid == holds.0,
                found.l_pid == 0,
            ),
        );
    }
    go.tell();
    see("ended", holds.wait());
}

/// Groups of a terminal.
fn terminal() {
    // SAFETY: takes numbers.
    let master = unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY) };
    // SAFETY: takes a number.
    unsafe { libc::grantpt(master) };
    // SAFETY: takes a number.
    unsafe { libc::unlockpt(master) };
    // SAFETY: the name is static.
    let name = unsafe { libc::ptsname(master) };
    let leads = child(|| {
        // SAFETY: takes nothing.
        unsafe { libc::setsid() };
        // SAFETY: the name is libc's, and ends.
        let tty = unsafe { libc::open(name, libc::O_RDWR) };
        let tty = signed(tty);
        let ask = |command: u64| {
            let mut id = 0_i32;
            call(libc::SYS_ioctl, &[tty, command, out(&mut id)]).map(|_| id)
        };
        const GET: u64 = 0x540f;
        const SET: u64 = 0x5410;
        const SESSION: u64 = 0x5429;
        let own = pid();
        see("own", (ask(GET) == Ok(own), ask(SESSION) == Ok(own)));
        let (ready, go) = (pipe().expect("a pipe"), pipe().expect("a pipe"));
        let member = child(|| background(&ready, &go, tty));
        ready.hear();
        let set = |group: i32| call(libc::SYS_ioctl, &[tty, SET, from(&group)]);
        see(
            "another",
            (
                set(member.0),
                ask(GET) == Ok(member.0),
                ask(SESSION) == Ok(own),
            ),
        );
        // Who is in the background and wants to change that is stopped, unless it ignores it.
        handle(libc::SIGTTOU, Act::Ignore, 0).expect("ignored");
        see("back", (set(own), ask(GET) == Ok(own)));
        see(
            "wrong",
            (
                set(-5),
                set(0),
                set(1 << 22 | 5),
                call(libc::SYS_ioctl, &[tty, SET, 8]),
            ),
        );
        see(
            "no terminal",
            call(libc::SYS_ioctl, &[0, SET, from(&own)]).is_err(),
        );
        go.tell();
        let mut status = 0;
        // SAFETY: the status lives until the call returns.
        unsafe { libc::waitpid(member.0, &raw mut status, libc::WUNTRACED) };
        see("background", End::from(status));
        see("go on", (kill(-member.0, libc::SIGKILL), member.wait()));
        0
    });
    see("leader", leads.wait());
    see("from outside", {
        let mut id = 0_i32;
        call(libc::SYS_ioctl, &[signed(master), 0x5429, out(&mut id)]).is_ok()
    });
    mask(libc::SIG_SETMASK, &none()).expect("a mask");
}

fn background(ready: &Pipe, go: &Pipe, tty: u64) -> i32 {
    // SAFETY: takes numbers.
    unsafe { libc::setpgid(0, 0) };
    handle(libc::SIGTTOU, Act::Default, 0).expect("default");
    ready.tell();
    go.hear();
    let own = pid();
    let _ = call(libc::SYS_ioctl, &[tty, 0x5410, from(&own)]);
    exit(9)
}

/// wait4(2) and waitid(2) with every option, of every kind of child.
fn waits() {
    /// `__WNOTHREAD`, `__WALL`, `__WCLONE`.
    const KINDS: [i32; 4] = [0, 0x2000_0000, 0x4000_0000, i32::MIN];
    let fork = |signal: i32| {
        let flags = signed(signal);
        let made = call(libc::SYS_clone, &[flags, 0, 0, 0, 0]).expect("there is room");
        if made == 0 {
            exit(5);
        }
        i32::try_from(made).expect("a pid")
    };
    for signal in [libc::SIGCHLD, libc::SIGUSR1, 0] {
        handle(libc::SIGUSR1, Act::Ignore, 0).expect("ignored");
        for kind in KINDS {
            let child = fork(signal);
            let got = wait(child, kind).map(|row| (row.0 == child, row.1));
            see("kind", (signal, kind, got));
            if got.is_err() {
                see("all", wait(child, 0x4000_0000).map(|row| row.1));
            }
        }
        // From a thread: children of another, unless it wants its own only.
        for kind in [0x4000_0000, 0x4000_0000 | 0x2000_0000] {
            let child = fork(signal);
            let got = std::thread::spawn(move || wait(child, kind).map(|row| row.1)).join();
            let got = got.expect("it ends");
            see("in a thread", (kind, got));
            if got.is_err() {
                see("by its parent", wait(child, 0x4000_0000).map(|row| row.1));
            }
        }
    }
    let asleep = child(|| {
        loop {
            // SAFETY: takes nothing.
            unsafe { libc::pause() };
        }
    });
    let descriptor = call(libc::SYS_pidfd_open, &[signed(asleep.0), 0]).expect("it is there");
    let waitid = |kind: u64, id: u64, options: i32| {
        // SAFETY: zeros are a valid block.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let got = call(
            libc::SYS_waitid,
            &[kind, id, out(&mut info), signed(options), 0],
        );
        // SAFETY: SIGCHLD blocks have these members, and zeros too.
        let sender = unsafe { info.si_pid() };
        // SAFETY: as above.
        let of = unsafe { info.si_uid() };
        // SAFETY: as above.
        let status = unsafe { info.si_status() };
        let is_it = (sender == asleep.0, sender == 0, of == user());
        (got, info.si_signo, info.si_code, is_it, status)
    };
    let own = signed(asleep.0);
    // SAFETY: takes nothing.
    let group = signed(unsafe { libc::getpgrp() });
    for (kind, id) in [(0, 0), (1, own), (2, group), (2, 0), (3, descriptor)] {
        see(
            "nothing yet",
            waitid(kind, id, libc::WEXITED | libc::WNOHANG),
        );
        for (signal, options) in [
            (libc::SIGSTOP, libc::WSTOPPED),
            (libc::SIGCONT, libc::WCONTINUED),
        ] {
            asleep.signal(signal).expect("it is there");
            see("looked", waitid(kind, id, options | libc::WNOWAIT));
            see("taken", waitid(kind, id, options));
            see("once", waitid(kind, id, options | libc::WNOHANG));
        }
    }
    see("no option", waitid(0, 0, libc::WNOHANG));
    see("odd options", waitid(0, 0, libc::WEXITED | 0x40));
    see("odd kind", waitid(9, own, libc::WEXITED));
    see("nobody", waitid(1, 4_194_305, libc::WEXITED));
    see("no descriptor", waitid(3, 0, libc::WEXITED));
    asleep.signal(libc::SIGKILL).expect("it is there");
    see(
        "looked",
        waitid(3, descriptor, libc::WEXITED | libc::WNOWAIT),
    );
    let mut usage = [0_u64; 18];
    let mut status = 0_i32;
    let got = call(
        libc::SYS_wait4,
        &[own, out(&mut status), 0, out(&mut usage)],
    );
    see("taken", (got == Ok(own), status, usage[4] > 0));
    see("gone", waitid(1, own, libc::WEXITED));
}

/// Signals at a parent's death (`PR_SET_PDEATHSIG`).
fn deaths() {
    const SET: u64 = 1;
    const GET: u64 = 2;
    let prctl = |option: u64, value: u64| call(libc::SYS_prctl, &[option, value, 0, 0, 0]);
    let set = || {
        let mut now = 0_i32;
        prctl(GET, out(&mut now)).map(|_| now)
    };
    see("none", set());
    see(
        "no signal",
        (prctl(SET, 65), prctl(SET, 64), set(), prctl(SET, 0)),
    );
    let [seen, told] = [pipe(), pipe()].map(|pipe| pipe.expect("a pipe"));
    let dies = child(|| {
        let (ready, own) = (pipe().expect("a pipe"), pid());
        child(|| {
            mask(libc::SIG_BLOCK, &only(&[libc::SIGUSR2])).expect("a mask");
            prctl(SET, signed(libc::SIGUSR2)).expect("a signal");
            see("not inherited", child(|| set().unwrap_or(9)).wait());
            ready.tell();
            // SAFETY: zeros are a valid block.
            let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
            let signals = only(&[libc::SIGUSR2]);
            // SAFETY: set and block live until the call returns.
            let got = unsafe { libc::sigwaitinfo(&raw const signals, &raw mut info) };
            // SAFETY: such a signal has this member.
            let sender = unsafe { info.si_pid() };
            seen.hear();
            see("told", (got, info.si_code, sender == own, set()));
            told.tell();
            0
        });
        ready.hear();
        0
    });
    see("ends", dies.wait());
    seen.tell();
    told.hear();
    // Kept by an exec.
    let keeps = child(|| {
        prctl(SET, signed(libc::SIGUSR2)).expect("a signal");
        let (guest, section) = (c"./guest", c"after_death_set");
        let words = [guest.as_ptr(), section.as_ptr(), null()];
        // SAFETY: the lists end as execve(2) asks.
        unsafe { libc::execve(guest.as_ptr(), words.as_ptr(), words[2..].as_ptr()) };
        1
    });
    see("executed", keeps.wait());
}

fn after_death_set() {
    let mut now = 0_i32;
    let asked = call(libc::SYS_prctl, &[2, out(&mut now), 0, 0, 0]);
    see("over an exec", (asked, now));
}
