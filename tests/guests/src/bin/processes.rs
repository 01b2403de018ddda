//! Processes: numbers, waiting, groups, sessions, signals to groups, orphans.

use picozone_guests::children::{End, kill, pipe, wait};
use picozone_guests::{Child, Errno, Result, call, child, libc_result, out, sections, see};

fn main() {
    sections(&[
        ("numbers", numbers),
        ("waits", waits),
        ("waitid", waitid),
        ("groups", groups),
        ("group_signals", group_signals),
        ("sessions", sessions),
        ("orphans", orphans),
        ("strangers", strangers),
        ("subreaper", subreaper),
        ("pidfd", pidfd),
        ("names", names),
    ]);
}

macro_rules! plain {
    ($($name:ident($($argument:ident),*);)*) => { $(
        fn $name($($argument: i32),*) -> Result<i32> {
            // SAFETY: takes numbers.
            let result = unsafe { libc::$name($($argument),*) };
            libc_result(result).map(|_| result)
        }
    )* };
}
plain! {
    getpid();
    getppid();
    getpgrp();
    setsid();
    getpgid(pid);
    getsid(pid);
    setpgid(pid, group);
}

fn numbers() {
    let own = getpid().expect("a pid");
    let told = pipe().expect("a pipe");
    let born = child(|| {
        told.send(getpid().unwrap_or(0));
        told.send(getppid().unwrap_or(0));
        0
    });
    see(
        "the child's view",
        (told.receive() == born.0, told.receive() == own),
    );
    see("end", born.wait());
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let one = child(|| 0);
        seen.insert(one.0);
        let _ = one.wait();
    }
    see("no number is used twice in a row", seen.len());
    see("a reaped one is gone", kill(born.0, 0));
    let zombie = child(|| 0);
    let mut info = [0_u32; 32];
    see(
        "WNOWAIT",
        call(
            libc::SYS_waitid,
            &[
                1,
                u64::from(zombie.0.unsigned_abs()),
                out(&mut info),
                4 | 0x0100_0000,
                0,
            ],
        ),
    );
    see(
        "a zombie can be signalled",
        (kill(zombie.0, 0), kill(zombie.0, libc::SIGTERM)),
    );
    see("and waited for", (zombie.wait(), zombie.wait()));
}

fn waits() {
    see("none", wait(-1, 0));
    see(
        "not a child",
        (
            wait(getppid().unwrap_or(1), 0),
            wait(getpid().unwrap_or(1), 0),
            wait(1_234_567, 0),
        ),
    );
    see("bad options", call(libc::SYS_wait4, &[u64::MAX, 0, 64, 0]));
    let held = pipe().expect("a pipe");
    let one = child(|| {
        held.hear();
        5
    });
    see("WNOHANG", wait(-1, libc::WNOHANG));
    held.tell();
    see("any", wait(-1, 0).map(|(pid, end)| (pid == one.0, end)));
    for status in [0, 1, 255, 256 + 7] {
        see("exit", child(move || status).wait());
    }
    for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGABRT] {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        see(
            "signal",
            child(move || {
                // SAFETY: the limit lives until the call returns.
                unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
                kill(getpid().unwrap_or(0), signal).map_or(1, |()| 2)
            })
            .wait(),
        );
    }
    let first = child(|| 1);
    let second = child(|| 2);
    see("by number", (second.wait(), first.wait()));
    let mut usage = [0_u64; 18];
    let one = child(|| 3);
    let mut status = 0_i32;
    see(
        "usage",
        call(
            libc::SYS_wait4,
            &[
                u64::from(one.0.unsigned_abs()),
                out(&mut status),
                0,
                out(&mut usage),
            ],
        )
        .is_ok(),
    );
    let one = child(|| 3);
    see(
        "bad address",
        call(libc::SYS_wait4, &[u64::from(one.0.unsigned_abs()), 8, 0, 0]),
    );
    see("reaped all the same", one.wait());
}

fn waitid() {
    let mut info = [0_u32; 32];
    let mut ask = |which: u64, id: i32, options: u64| {
        info = [0; 32];
        let result = call(
            libc::SYS_waitid,
            &[
                which,
                u64::from(id.unsigned_abs()),
                out(&mut info),
                options,
                0,
            ],
        );
        // Signal, code and status.
        (result, info[0], info[2], info[6])
    };
    see("none", ask(0, 0, 4));
    let one = child(|| 9);
    see("by number", ask(1, one.0, 4));
    let one = child(|| {
        let _ = kill(getpid().unwrap_or(0), libc::SIGSTOP);
        3
    });
    see("stopped", ask(1, one.0, 2));
    see("still there", ask(1, one.0, 4 | 1));
    see("go on", one.signal(libc::SIGCONT));
    see("ended", ask(0, 0, 4));
    let one = child(|| kill(getpid().unwrap_or(0), libc::SIGKILL).map_or(1, |()| 2));
    see("killed, by group", ask(2, 0, 4));
    see("gone", one.wait());
    see(
        "bad",
        (
            ask(7, 0, 4),
            ask(1, 0, 4),
            ask(1, 1, 0),
            ask(1, 1, 0x8000_0000),
        ),
    );
    see("not a child", ask(1, 1_234_567, 4));
}

fn groups() {
    let own = getpid().expect("a pid");
    let told = pipe().expect("a pipe");
    let go = pipe().expect("a pipe");
    let one = child(|| {
        told.send(i32::from(setpgid(0, 0).is_ok() && getpgrp() == getpid()));
        go.hear();
        0
    });
    see("one's own group", told.receive());
    see(
        "seen by the parent",
        getpgid(one.0).map(|group| group == one.0),
    );
    let two = child(|| {
        go.hear();
        0
    });
    see("a child into it", setpgid(two.0, one.0));
    see("is there", getpgid(two.0).map(|group| group == one.0));
    see(
        "into our own",
        (
            setpgid(two.0, getpgrp().unwrap_or(0)),
            getpgid(two.0) == getpgrp(),
        ),
    );
    see("none such", setpgid(two.0, 1_234_567));
    see(
        "nobody",
        (setpgid(1_234_567, 0), getpgid(1_234_567), getsid(1_234_567)),
    );
    see("negative", (setpgid(0, -1), getpgid(-1), setpgid(-5, 0)));
    see("of our parent", setpgid(getppid().unwrap_or(1), 0));
    go.tell();
    go.tell();
    see("ends", (one.wait(), two.wait()));
    see(
        "ourselves",
        (getpgid(0) == getpgid(own), getsid(0) == getsid(own)),
    );
}

fn group_signals() {
    let told = pipe().expect("a pipe");
    let leader = child(|| {
        let _ = setpgid(0, 0);
        let more: Vec<Child> = (0..3)
            .map(|_| {
                child(|| {
                    told.tell();
                    loop {
                        // SAFETY: takes nothing.
                        unsafe { libc::pause() };
                    }
                })
            })
            .collect();
        told.tell();
        let ends: Vec<Result<End>> = more.iter().map(|one| one.wait()).collect();
        i32::from(
            ends.iter()
                .all(|end| *end == Ok(End::Killed(libc::SIGTERM))),
        )
    });
    for _ in 0..4 {
        told.hear();
    }
    see("kill a group", kill(-leader.0, libc::SIGTERM));
    see(
        "the leader",
        matches!(
            leader.wait(),
            Ok(End::Killed(libc::SIGTERM) | End::Exited(1))
        ),
    );
    see("the group is gone", eventually_gone(-leader.0));
    see("no such group", kill(-1_234_567, 0));
    see("our own group", kill(0, 0));
    let one = child(|| {
        let _ = setpgid(0, 0);
        kill(0, libc::SIGUSR1).map_or(1, |()| 2)
    });
    see("of itself by 0", one.wait());
    let one = child(|| {
        let _ = setpgid(0, 0);
        kill(-getpid().unwrap_or(0), libc::SIGUSR1).map_or(1, |()| 2)
    });
    see("of itself by number", one.wait());
}

fn eventually_gone(target: i32) -> Result<()> {
    loop {
        match kill(target, 0) {
            Ok(()) => std::thread::yield_now(),
            other => return other,
        }
    }
}

fn sessions() {
    let end = child(|| {
        let own = getpid();
        let made = setsid();
        let same = made == own && getsid(0) == own && getpgrp() == own;
        // A leader of a group cannot make another session.
        i32::from(same) + 2 * i32::from(setsid() == Err(Errno::EPERM))
    })
    .wait();
    see("setsid", end);
    let held = pipe().expect("a pipe");
    let told = pipe().expect("a pipe");
    let one = child(|| {
        let _ = setsid();
        told.tell();
        held.hear();
        0
    });
    told.hear();
    see(
        "seen by the parent",
        getsid(one.0).map(|session| session == one.0),
    );
    see("into another session", setpgid(one.0, 0));
    held.tell();
    see("end", one.wait());
    // SAFETY: takes a number and an address.
    see(
        "no terminal",
        std::fs::File::open("/dev/tty")
            .map(drop)
            .map_err(|error| error.raw_os_error()),
    );
}

fn orphans() {
    let told = pipe().expect("a pipe");
    let go = pipe().expect("a pipe");
    let middle = child(|| {
        let parent = getpid();
        child(|| {
            go.hear();
            while getppid() == parent {
                std::thread::yield_now();
            }
            told.send(i32::from(getppid() != parent && getppid().unwrap_or(0) > 0));
            0
        });
        0
    });
    see("the middle", middle.wait());
    go.tell();
    see("another parent", told.receive());
    see("not ours", wait(-1, 0));
}

fn strangers() {
    for pid in [i32::MAX, 4_194_305, i32::MIN, i32::MIN + 1] {
        see("kill", (pid, kill(pid, 0)));
    }
    see("getpriority", call(libc::SYS_getpriority, &[0, 4_194_305]));
    see(
        "sched_getscheduler",
        call(libc::SYS_sched_getscheduler, &[4_194_305]),
    );
    let mut set = [0_u64; 16];
    see(
        "sched_getaffinity",
        call(
            libc::SYS_sched_getaffinity,
            &[4_194_305, 128, out(&mut set)],
        ),
    );
    see(
        "of ourselves",
        call(libc::SYS_sched_getaffinity, &[0, 128, out(&mut set)]),
    );
    let mut limit = [0_u64; 2];
    see(
        "prlimit",
        call(libc::SYS_prlimit64, &[4_194_305, 7, 0, out(&mut limit)]),
    );
}

fn subreaper() {
    see("made", call(libc::SYS_prctl, &[36, 1, 0, 0, 0]));
    let mut flag = 0_u32;
    see(
        "is one",
        (call(libc::SYS_prctl, &[37, out(&mut flag), 0, 0, 0]), flag),
    );
    let told = pipe().expect("a pipe");
    let middle = child(|| {
        let grandchild = child(|| 7);
        told.send(grandchild.0);
        0
    });
    let grandchild = told.receive();
    see("the middle", middle.wait());
    see(
        "the orphan",
        wait(-1, 0).map(|(pid, end)| (pid == grandchild, end)),
    );
    see("no more", call(libc::SYS_prctl, &[36, 0, 0, 0, 0]));
}

fn pidfd() {
    let held = pipe().expect("a pipe");
    let one = child(|| {
        held.hear();
        5
    });
    let fd = call(libc::SYS_pidfd_open, &[u64::from(one.0.unsigned_abs()), 0]);
    see(
        "nobody",
        call(libc::SYS_pidfd_open, &[4_194_305, 0]).is_err(),
    );
    if let Ok(fd) = fd {
        see(
            "signal by it",
            call(libc::SYS_pidfd_send_signal, &[fd, 9, 0, 0]),
        );
        see("end", one.wait());
    } else {
        // A documented refusal is as good as the thing itself.
        see("signal by it", Ok::<u64, Errno>(0));
        let _ = one.signal(libc::SIGKILL);
        see("end", one.wait());
    }
}

/// A process may have any bytes for a name, and is one as all others.
fn names() {
    for name in [c"\xe4) Z 1", c"\xff", c")", c"a\nb"] {
        let (named, end) = (pipe().expect("a pipe"), pipe().expect("a pipe"));
        let born = child(|| {
            // SAFETY: the name ends.
            let set = unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
            named.send(set);
            end.receive()
        });
        see("set", named.receive());
        let read = |file: &str| {
            let text = std::fs::read(format!("/proc/{}/{file}", born.0)).unwrap_or_default();
            text.escape_ascii().to_string()
        };
        see("comm", read("comm"));
        let stat = read("stat");
        let stat = stat
            .split_once(' ')
            .and_then(|(_, rest)| rest.rsplit_once(") "));
        see("stat", stat.map(|(name, _)| name));
        see("status", read("status").split("\\n").next());
        see(
            "files",
            (
                read("cmdline"),
                read("limits").is_empty(),
                read("maps").is_empty(),
            ),
        );
        let listed = std::fs::read_dir("/proc").expect("it is there").flatten();
        let mut listed = listed.map(|entry| entry.file_name());
        let number = born.0.to_string();
        see(
            "is listed",
            listed.any(|entry| entry.to_str() == Some(&number)),
        );
        see("group", getpgid(born.0) == getpgrp());
        see("session", getsid(born.0) == getsid(0));
        see("into its own group", setpgid(born.0, born.0));
        see(
            "gets signals",
            (kill(born.0, 0), kill(-born.0, libc::SIGCONT)),
        );
        // SAFETY: takes numbers.
        see(
            "nice",
            libc_result(unsafe { libc::setpriority(libc::PRIO_PROCESS, born.0.unsigned_abs(), 1) }),
        );
        end.send(3);
        see("end", born.wait());
    }
}
