//! Calls that name other processes: process descriptors, clone3, priorities, limits, memory.

use picozone_guests::children::{End, Pipe, kill, pipe};
use picozone_guests::{Child, NOWHERE, Result, call, child, from, out, sections, see, signed};

fn main() {
    sections(&[
        ("descriptors", descriptors),
        ("thread_numbers", thread_numbers),
        ("clone3", clone3),
        ("chosen", chosen),
        ("spaces", spaces),
        ("priorities", priorities),
        ("scheduling", scheduling),
        ("limits", limits),
        ("memory", memory),
        ("users", users),
        ("owners", owners),
        ("timers", timers),
    ]);
}

/// A child that waits until it is told to end.
fn waiting(held: &Pipe) -> Child {
    child(|| {
        held.hear();
        7
    })
}

fn id(child: Child) -> u64 {
    signed(child.0)
}

fn own() -> u64 {
    u64::from(std::process::id())
}

fn ready(fd: u64) -> i16 {
    let mut poll = libc::pollfd {
        fd: i32::try_from(fd).expect("a descriptor"),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one entry.
    unsafe { libc::poll(&raw mut poll, 1, 0) };
    poll.revents
}

fn descriptors() {
    let held = pipe().expect("a pipe");
    let one = waiting(&held);
    see(
        "bad",
        (
            call(libc::SYS_pidfd_open, &[0, 0]),
            call(libc::SYS_pidfd_open, &[signed(-1), 0]),
            call(libc::SYS_pidfd_open, &[id(one), 1]),
            call(libc::SYS_pidfd_open, &[4_194_305, 0]),
        ),
    );
    let fd = call(libc::SYS_pidfd_open, &[id(one), 0]).expect("a descriptor");
    see("closed by an exec", call(libc::SYS_fcntl, &[fd, 1]));
    see("not ended", ready(fd));
    see("asked", call(libc::SYS_pidfd_send_signal, &[fd, 0, 0, 0]));
    see(
        "bad signals",
        (
            call(libc::SYS_pidfd_send_signal, &[fd, 65, 0, 0]),
            call(libc::SYS_pidfd_send_signal, &[fd, 0, 0, 64]),
            call(libc::SYS_pidfd_send_signal, &[0, 0, 0, 0]),
            call(libc::SYS_pidfd_send_signal, &[fd, 0, NOWHERE, 0]),
        ),
    );
    let mut information = [0_u32; 32];
    information[0] = 10;
    see(
        "another's",
        call(
            libc::SYS_pidfd_send_signal,
            &[fd, 10, from(&information), 0],
        ),
    );
    let mut info = [0_u32; 32];
    see(
        "not yet",
        (
            call(libc::SYS_waitid, &[3, fd, out(&mut info), 4 | 1, 0]),
            info[4],
        ),
    );
    see(
        "no such",
        (
            call(libc::SYS_pidfd_getfd, &[fd, 900, 0]),
            call(libc::SYS_pidfd_getfd, &[fd, 0, 1]),
            call(libc::SYS_pidfd_getfd, &[0, 0, 0]),
        ),
    );
    let taken = call(
        libc::SYS_pidfd_getfd,
        &[
            fd,
            u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&held.write)).unwrap_or(0),
            0,
        ],
    );
    see("a descriptor of its", taken.is_ok());
    if let Ok(taken) = taken {
        see(
            "is the same",
            call(libc::SYS_write, &[taken, c"x".as_ptr() as u64, 1]),
        );
    }
    see(
        "waited for",
        call(libc::SYS_waitid, &[3, fd, out(&mut info), 4, 0]),
    );
    see(
        "which",
        (info[0], info[2], info[4] == one.0.unsigned_abs(), info[6]),
    );
    see(
        "gone",
        (
            call(libc::SYS_pidfd_send_signal, &[fd, 0, 0, 0]),
            call(libc::SYS_waitid, &[3, fd, out(&mut info), 4, 0]),
            call(libc::SYS_pidfd_open, &[id(one), 0]),
        ),
    );
    see("ended", ready(fd));
    let zombie = child(|| 0);
    see(
        "wait for a zombie",
        call(
            libc::SYS_waitid,
            &[1, id(zombie), out(&mut info), 4 | 0x0100_0000, 0],
        ),
    );
    see(
        "of a zombie",
        call(libc::SYS_pidfd_open, &[id(zombie), 0]).is_ok(),
    );
    see("end", zombie.wait());
    let own = call(libc::SYS_pidfd_open, &[own(), 0]).expect("a descriptor");
    see(
        "ourselves",
        call(libc::SYS_pidfd_send_signal, &[own, 0, 0, 0]),
    );
    see(
        "none of ours",
        call(libc::SYS_waitid, &[3, own, out(&mut info), 4, 0]),
    );
}

fn thread_numbers() {
    let (told, held) = (pipe().expect("a pipe"), pipe().expect("a pipe"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let tid = call(libc::SYS_gettid, &[]).unwrap_or(0);
            told.send(i32::try_from(tid).unwrap_or(0));
            held.hear();
        });
        let tid = signed(told.receive());
        see("no process", call(libc::SYS_pidfd_open, &[tid, 0]).is_err());
        see(
            "a thread",
            call(
                libc::SYS_pidfd_open,
                &[tid, u64::from(libc::O_EXCL.unsigned_abs())],
            )
            .is_ok(),
        );
        see("its nice value", call(libc::SYS_getpriority, &[0, tid]));
        see("its policy", call(libc::SYS_sched_getscheduler, &[tid]));
        let mut set = [0_u64; 16];
        see(
            "its processors",
            call(libc::SYS_sched_getaffinity, &[tid, 128, out(&mut set)]),
        );
        see(
            "the same",
            call(libc::SYS_sched_setaffinity, &[tid, 128, from(&set)]),
        );
        see(
            "nicer",
            (
                call(libc::SYS_setpriority, &[0, tid, 5]),
                call(libc::SYS_getpriority, &[0, tid]),
                call(libc::SYS_getpriority, &[0, 0]),
            ),
        );
        held.tell();
    });
}

/// clone3(2) like fork(2), with these of `struct clone_args`.
fn cloned(flags: u64, pidfd: u64, signal: u64) -> Result<u64> {
    let args = [flags, pidfd, 0, 0, signal, 0, 0, 0, 0, 0, 0];
    call(libc::SYS_clone3, &[from(&args), 88])
}

extern "C" fn handler(_: i32) {}

fn clone3() {
    let args = [0_u64; 20];
    see(
        "sizes",
        (
            call(libc::SYS_clone3, &[from(&args), 0]),
            call(libc::SYS_clone3, &[from(&args), 63]),
            call(libc::SYS_clone3, &[from(&args), 5000]),
            call(libc::SYS_clone3, &[NOWHERE, 88]),
        ),
    );
    let much = [1_u64; 20];
    see(
        "from the future",
        call(libc::SYS_clone3, &[from(&much), 160]),
    );
    see(
        "bad",
        (
            cloned(17, 0, 0),
            cloned(1 << 40, 0, 17),
            cloned(0, 0, 65),
            cloned(0x0001_0000, 0, 0),
            cloned(0x800, 0, 0),
            cloned(0x0002_0200, 0, 17),
            cloned((1 << 32) | 0x900, 0, 17),
        ),
    );
    let mut fd = 0_u32;
    let place = out(&mut fd);
    match cloned(0x1000, place, 17) {
        Ok(0) => picozone_guests::children::exit(3),
        Ok(pid) => {
            let mut info = [0_u32; 32];
            let result = call(libc::SYS_waitid, &[3, u64::from(fd), out(&mut info), 4, 0]);
            see(
                "by descriptor",
                (result, info[2], u64::from(info[4]) == pid, info[6]),
            );
        }
        Err(errno) => see("by descriptor", errno),
    }
    // SAFETY: the handler does nothing.
    unsafe { libc::signal(libc::SIGUSR1, handler as *const () as usize) };
    // SAFETY: as above; ignored signals stay ignored.
    unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
    for flags in [0, 1 << 32] {
        match cloned(flags, 0, 17) {
            Ok(0) => {
                let own = i32::try_from(call(libc::SYS_getpid, &[]).unwrap_or(0)).unwrap_or(0);
                let _ = kill(own, libc::SIGUSR2);
                let _ = kill(own, libc::SIGUSR1);
                picozone_guests::children::exit(4)
            }
            Ok(pid) => {
                let end: Result<End> = Child(i32::try_from(pid).unwrap_or(0)).wait();
                see("handlers", (flags, end));
            }
            Err(errno) => see("handlers", errno),
        }
    }
}

/// clone3(2) of a child with these ids, of the innermost name space of processes first, which ends with 5 if it
/// has the id that is `expected`.
fn with_ids(flags: u64, ids: &[i32], count: u64, expected: u64) -> Result<End> {
    let args = [flags, 0, 0, 0, 17, 0, 0, 0, ids.as_ptr() as u64, count, 0];
    match call(libc::SYS_clone3, &[from(&args), 88])? {
        0 => {
            let is_so = call(libc::SYS_getpid, &[]) == Ok(expected);
            picozone_guests::children::exit(if is_so { 5 } else { 6 })
        }
        pid => Child(i32::try_from(pid).unwrap_or(0)).wait(),
    }
}

fn chosen() {
    let many = [0_i32; 33];
    see(
        "counts",
        (
            with_ids(0, &many, 33, 0),
            with_ids(0, &many, 32, 0),
            with_ids(0, &many, 0, 0),
            with_ids(0, &[-1, 0], 2, 0),
        ),
    );
    let nowhere = [0, 0, 0, 0, 17, 0, 0, 0, NOWHERE, 1, 0];
    see("nowhere", call(libc::SYS_clone3, &[from(&nowhere), 88]));
    let absent = [0, 0, 0, 0, 17, 0, 0, 0, 0, 1, 0];
    see("absent", call(libc::SYS_clone3, &[from(&absent), 88]));
    const NEW: u64 = 0x2000_0000;
    see(
        "impossible",
        (
            with_ids(0, &[0], 1, 0),
            with_ids(0, &[-1], 1, 0),
            with_ids(0, &[i32::MAX], 1, 0),
            with_ids(NEW, &[-1], 1, 0),
            with_ids(NEW, &[7], 1, 0),
            with_ids(NEW, &[1, 0], 2, 0),
        ),
    );
    see(
        "taken",
        (
            with_ids(0, &[1], 1, 0),
            with_ids(0, &[i32::try_from(own()).unwrap_or(0)], 1, 0),
        ),
    );
    // A number that is free now: a child's that was waited for. Others may take it meanwhile, natively.
    let again = (0..20).find_map(|_| {
        let held = pipe().ok()?;
        let one = waiting(&held);
        let number = one.0;
        held.tell();
        one.wait().ok()?;
        with_ids(0, &[number], 1, signed(number)).ok()
    });
    see("again", again);
    let held = pipe().expect("a pipe");
    let one = waiting(&held);
    see("in use", with_ids(0, &[one.0], 1, id(one)));
    held.tell();
    see("its end", one.wait());
}

/// The name spaces of a process, by a descriptor of it: `PIDFD_GET_CGROUP_NAMESPACE` and its kin.
fn spaces() {
    const NAMES: [&str; 10] = [
        "cgroup",
        "ipc",
        "mnt",
        "net",
        "pid",
        "pid_for_children",
        "time",
        "time_for_children",
        "user",
        "uts",
    ];
    let held = pipe().expect("a pipe");
    let one = waiting(&held);
    let fd = call(libc::SYS_pidfd_open, &[id(one), 0]).expect("a descriptor");
    for (name, command) in NAMES.into_iter().zip(0xff01_u64..) {
        let space = call(libc::SYS_ioctl, &[fd, command, 0]);
        let shown = |path: String| std::fs::read_link(path).ok();
        let is_its = space.map(|space| {
            shown(format!("/proc/self/fd/{space}")) == shown(format!("/proc/{}/ns/{name}", one.0))
        });
        see(name, is_its);
        if let Ok(space) = space {
            see("closed by an exec", call(libc::SYS_fcntl, &[space, 1]));
            let _ = call(libc::SYS_close, &[space]);
        }
    }
    see("an argument", call(libc::SYS_ioctl, &[fd, 0xff01, 1]));
    see(
        "no such",
        (
            call(libc::SYS_ioctl, &[fd, 0xff00, 0]),
            call(libc::SYS_ioctl, &[signed(-1), 0xff01, 0]),
            call(libc::SYS_ioctl, &[from_descriptor(&held), 0xff01, 0]),
        ),
    );
    held.tell();
    see("its end", one.wait());
    see("of none", call(libc::SYS_ioctl, &[fd, 0xff05, 0]));
}

fn from_descriptor(pipe: &Pipe) -> u64 {
    let fd = std::os::fd::AsRawFd::as_raw_fd(&pipe.write);
    u64::try_from(fd).unwrap_or(0)
}

fn priorities() {
    let held = pipe().expect("a pipe");
    let one = waiting(&held);
    see(
        "bad",
        (
            call(libc::SYS_getpriority, &[3, 0]),
            call(libc::SYS_getpriority, &[signed(-1), 0]),
            call(libc::SYS_setpriority, &[3, 0, 0]),
            call(libc::SYS_setpriority, &[0, 4_194_305, 0]),
            call(libc::SYS_setpriority, &[1, 4_194_305, 0]),
            call(libc::SYS_getpriority, &[2, 54_321]),
        ),
    );
    see("as ours", call(libc::SYS_getpriority, &[0, id(one)]));
    see(
        "nicer",
        (
            call(libc::SYS_setpriority, &[0, id(one), 7]),
            call(libc::SYS_getpriority, &[0, id(one)]),
            call(libc::SYS_setpriority, &[0, id(one), 100]),
            call(libc::SYS_getpriority, &[0, id(one)]),
        ),
    );
    let two = child(|| {
        // SAFETY: takes numbers.
        unsafe { libc::setpgid(0, 0) };
        let set = call(libc::SYS_setpriority, &[1, 0, 3]);
        let got = (
            call(libc::SYS_getpriority, &[1, 0]),
            call(libc::SYS_getpriority, &[1, own()]),
        );
        see("a group", (set, got));
        0
    });
    see("end", two.wait());
    see("a user", call(libc::SYS_getpriority, &[2, 0]).is_ok());
    see(
        "I/O",
        (
            call(libc::SYS_ioprio_get, &[0, 0]),
            call(libc::SYS_ioprio_get, &[1, 4_194_305]),
            call(libc::SYS_ioprio_set, &[1, id(one), 0x4005]),
            call(libc::SYS_ioprio_get, &[1, id(one)]),
            call(libc::SYS_ioprio_set, &[1, 0, 0x4003]),
            call(libc::SYS_ioprio_get, &[1, 0]),
            call(libc::SYS_ioprio_set, &[1, 0, 0xf000]),
        ),
    );
    held.tell();
    see("end", one.wait());
}

fn scheduling() {
    let held = pipe().expect("a pipe");
    let one = waiting(&held);
    let mut zero = 0_u32;
    see(
        "policies",
        (
            call(libc::SYS_sched_getscheduler, &[id(one)]),
            call(libc::SYS_sched_setscheduler, &[id(one), 3, from(&zero)]),
            call(libc::SYS_sched_getscheduler, &[id(one)]),
            call(libc::SYS_sched_setscheduler, &[id(one), 99, from(&zero)]),
            call(libc::SYS_sched_setscheduler, &[id(one), 0, 0]),
            call(libc::SYS_sched_setscheduler, &[4_194_305, 0, from(&zero)]),
            call(libc::SYS_sched_setscheduler, &[signed(-1), 0, from(&zero)]),
        ),
    );
    let one_priority = 1_u32;
    see(
        "parameters",
        (
            call(libc::SYS_sched_getparam, &[id(one), out(&mut zero)]),
            call(libc::SYS_sched_setparam, &[id(one), from(&one_priority)]),
            call(libc::SYS_sched_setparam, &[id(one), from(&zero)]),
            call(libc::SYS_sched_getparam, &[id(one), 0]),
            call(libc::SYS_sched_getparam, &[4_194_305, out(&mut zero)]),
        ),
    );
    let mut attr = [0_u32; 14];
    see(
        "attributes",
        (
            call(libc::SYS_sched_getattr, &[id(one), out(&mut attr), 56, 0]),
            attr[1],
        ),
    );
    attr[1] = 0;
    attr[4] = 4;
    see(
        "set",
        (
            call(libc::SYS_sched_setattr, &[id(one), from(&attr), 0]),
            call(libc::SYS_getpriority, &[0, id(one)]),
        ),
    );
    see(
        "bad ones",
        (
            call(libc::SYS_sched_getattr, &[id(one), out(&mut attr), 8, 0]),
            call(libc::SYS_sched_getattr, &[id(one), 0, 56, 0]),
            call(libc::SYS_sched_setattr, &[id(one), 0, 0]),
            call(libc::SYS_sched_setattr, &[id(one), from(&attr), 1]),
        ),
    );
    held.tell();
    see("end", one.wait());
}

fn limits() {
    let mut limit = [0_u64; 2];
    let get = |resource: u64| {
        let mut limit = [0_u64; 2];
        call(libc::SYS_getrlimit, &[resource, out(&mut limit)]).map(|_| limit)
    };
    let set = |resource: u64, limit: [u64; 2]| call(libc::SYS_setrlimit, &[resource, from(&limit)]);
    see("the address space", (get(9), set(9, [u64::MAX; 2]), get(9)));
    see(
        "less",
        (set(9, [1 << 36, u64::MAX]), get(9), set(9, [u64::MAX; 2])),
    );
    see("lowered", (set(7, [100, 200]), get(7), set(7, [6, 5])));
    see(
        "addresses",
        (
            call(libc::SYS_getrlimit, &[7, 0]),
            call(libc::SYS_setrlimit, &[7, NOWHERE]),
            get(16),
            call(libc::SYS_prlimit64, &[0, 7, 0, 0]),
        ),
    );
    let inherited = child(|| {
        see("inherited", get(7));
        see("another user", call(libc::SYS_setuid, &[1234]));
        see(
            "not raised",
            (
                set(7, [100, 201]),
                set(7, [100, 150]),
                set(7, [1, 151]),
                get(7),
            ),
        );
        0
    });
    see("end", inherited.wait());
    let held = pipe().expect("a pipe");
    let one = waiting(&held);
    let new = [100_u64, 200];
    see(
        "of another",
        (
            call(libc::SYS_prlimit64, &[id(one), 7, from(&new), 0]),
            call(libc::SYS_prlimit64, &[id(one), 7, 0, out(&mut limit)]),
            limit,
        ),
    );
    let bad = [300_u64, 200];
    see(
        "bad",
        (
            call(libc::SYS_prlimit64, &[id(one), 7, from(&bad), 0]),
            call(libc::SYS_prlimit64, &[id(one), 16, 0, out(&mut limit)]),
            call(libc::SYS_prlimit64, &[id(one), 7, NOWHERE, 0]),
        ),
    );
    held.tell();
    see("end", one.wait());
}

fn memory() {
    let held = pipe().expect("a pipe");
    let mut secret = std::hint::black_box([1_u64, 2, 3]);
    let one = waiting(&held);
    std::hint::black_box(&mut secret).fill(0);
    let at = out(&mut secret);
    let here = [at, 24];
    let there = [at, 24];
    see(
        "read",
        call(
            libc::SYS_process_vm_readv,
            &[id(one), from(&here), 1, from(&there), 1, 0],
        ),
    );
    see("what", std::hint::black_box(secret));
    let mut new = [5_u64; 3];
    let here = [out(&mut new), 24];
    see(
        "written",
        call(
            libc::SYS_process_vm_writev,
            &[id(one), from(&here), 1, from(&there), 1, 0],
        ),
    );
    new = [0; 3];
    see(
        "read back",
        (
            call(
                libc::SYS_process_vm_readv,
                &[id(one), from(&here), 1, from(&there), 1, 0],
            ),
            std::hint::black_box(new),
        ),
    );
    see(
        "nobody",
        call(
            libc::SYS_process_vm_readv,
            &[4_194_305, from(&here), 1, from(&there), 1, 0],
        ),
    );
    see(
        "flags",
        call(
            libc::SYS_process_vm_readv,
            &[id(one), from(&here), 1, from(&there), 1, 1],
        ),
    );
    see("no memory of its", {
        let nowhere = [NOWHERE, 24];
        call(
            libc::SYS_process_vm_readv,
            &[id(one), from(&here), 1, from(&nowhere), 1, 0],
        )
    });
    see(
        "the same file",
        call(libc::SYS_kcmp, &[own(), id(one), 0, 1, 1]),
    );
    see(
        "another table",
        call(libc::SYS_kcmp, &[own(), id(one), 2, 0, 0]).is_ok_and(|order| order > 0),
    );
    see(
        "nobody's",
        call(libc::SYS_kcmp, &[own(), 4_194_305, 0, 0, 0]),
    );
    let mut list = [0_u64; 2];
    let (head, length) = (out(&mut list[0]), from(&list[1]));
    see(
        "robust list",
        (
            call(libc::SYS_get_robust_list, &[id(one), head, length]),
            call(libc::SYS_get_robust_list, &[0, head, length]),
            call(libc::SYS_get_robust_list, &[4_194_305, head, length]),
        ),
    );
    held.tell();
    see("end", one.wait());
}

/// What a user may do to processes of root, and to its own.
fn users() {
    let held = pipe().expect("a pipe");
    let one = waiting(&held);
    let user = child(|| {
        see(
            "another user",
            (
                call(libc::SYS_setgid, &[1234]),
                call(libc::SYS_setuid, &[1234]),
            ),
        );
        let zero = 0_u32;
        let mut limit = [0_u64; 2];
        let set = [u64::MAX; 16];
        let room = [out(&mut limit), 8];
        see(
            "of root",
            (
                call(libc::SYS_setpriority, &[0, id(one), 19]),
                call(libc::SYS_getpriority, &[0, id(one)]),
                call(libc::SYS_sched_setscheduler, &[id(one), 0, from(&zero)]),
                call(libc::SYS_sched_setaffinity, &[id(one), 128, from(&set)]),
                call(libc::SYS_prlimit64, &[id(one), 7, 0, out(&mut limit)]),
                call(libc::SYS_ioprio_set, &[1, id(one), 0x6000]),
            ),
        );
        see(
            "its memory",
            call(
                libc::SYS_process_vm_readv,
                &[id(one), from(&room), 1, from(&room), 1, 0],
            ),
        );
        let fd = call(libc::SYS_pidfd_open, &[id(one), 0]);
        see("open", fd.is_ok());
        if let Ok(fd) = fd {
            see(
                "use",
                (
                    call(libc::SYS_pidfd_getfd, &[fd, 1, 0]),
                    call(libc::SYS_pidfd_send_signal, &[fd, 9, 0, 0]),
                ),
            );
        }
        let mine = waiting(&held);
        see(
            "one's own",
            (
                call(libc::SYS_setpriority, &[0, id(mine), 19]),
                call(libc::SYS_setpriority, &[0, id(mine), 18]),
                call(libc::SYS_getpriority, &[0, id(mine)]),
                call(libc::SYS_prlimit64, &[id(mine), 7, 0, out(&mut limit)]),
            ),
        );
        let _ = kill(mine.0, libc::SIGKILL);
        see("its end", mine.wait());
        0
    });
    see("the user", user.wait());
    held.tell();
    see("end", one.wait());
}

/// Who is told of a descriptor's events.
fn owners() {
    // SAFETY: the handler counts.
    unsafe { libc::signal(libc::SIGUSR1, count as *const () as usize) };
    let mut ends = [0_i32; 2];
    // SAFETY: room for two descriptors.
    unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, ends.as_mut_ptr()) };
    let [one, other] = ends.map(signed);
    let fcntl = |command: u64, argument: u64| call(libc::SYS_fcntl, &[one, command, argument]);
    see("nobody", (fcntl(9, 0), fcntl(11, 0)));
    see(
        "ourselves",
        (fcntl(8, own()), fcntl(9, 0).map(|owner| owner == own())),
    );
    let flags = libc::O_ASYNC | libc::O_NONBLOCK;
    see(
        "told",
        (fcntl(10, 10), fcntl(11, 0), fcntl(4, signed(flags))),
    );
    see(
        "an event",
        call(libc::SYS_write, &[other, c"x".as_ptr() as u64, 1]),
    );
    see("heard", HEARD.load(std::sync::atomic::Ordering::SeqCst));
    see(
        "strangers",
        (
            fcntl(8, 4_194_305),
            fcntl(8, signed(-4_194_305)),
            fcntl(15, from(&[7_i32, 1])),
            fcntl(15, NOWHERE),
            fcntl(16, NOWHERE),
        ),
    );
    // SAFETY: takes nothing.
    let group = unsafe { libc::getpgrp() };
    let mut owner = [0_i32; 2];
    see(
        "a group",
        (
            fcntl(15, from(&[2_i32, group])),
            fcntl(16, out(&mut owner)),
            owner == [2, group],
        ),
    );
    let child = child(|| 0);
    see(
        "a child",
        (
            fcntl(15, from(&[1_i32, child.0])),
            fcntl(16, out(&mut owner)),
            owner == [1, child.0],
        ),
    );
    see("none any more", (child.wait(), fcntl(8, 0), fcntl(9, 0)));
}

static HEARD: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

extern "C" fn count(_: i32) {
    HEARD.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
}

/// Timers that tell one thread.
fn timers() {
    let mut timer = 0_u32;
    let mut event = [0_u32; 16];
    event[2] = 10;
    event[3] = 4;
    let tid = call(libc::SYS_gettid, &[]).unwrap_or(0);
    event[4] = u32::try_from(tid).unwrap_or(0);
    see(
        "our thread",
        call(libc::SYS_timer_create, &[1, from(&event), out(&mut timer)]),
    );
    event[4] = 4_194_305;
    see(
        "a stranger",
        call(libc::SYS_timer_create, &[1, from(&event), out(&mut timer)]),
    );
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let tid = call(libc::SYS_gettid, &[]).unwrap_or(0);
            let mut event = event;
            event[4] = u32::try_from(tid).unwrap_or(0);
            let mut timer = 0_u32;
            see(
                "another thread",
                call(libc::SYS_timer_create, &[1, from(&event), out(&mut timer)]),
            );
        });
    });
    see(
        "addresses",
        (
            call(libc::SYS_timer_create, &[1, NOWHERE, out(&mut timer)]),
            call(libc::SYS_timer_create, &[99, 0, out(&mut timer)]),
            call(libc::SYS_timer_create, &[1, 0, out(&mut timer)]),
        ),
    );
}
