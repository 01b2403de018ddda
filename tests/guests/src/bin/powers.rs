//! What only who has a power of root's may do: device nodes, and priorities.

use picozone_guests::{
    CWD, Result, call, child, from, libc_result, name, out, sections, see, signed, text,
};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

fn main() {
    sections(&[
        ("devices", devices),
        ("known_devices", known_devices),
        ("nice", nice),
        ("policies", policies),
        ("attributes", attributes),
        ("handles", handles),
    ]);
}

const USER: u64 = 1234;

fn mknod(path: &str, mode: u32, device: u64) -> Result<u64> {
    let path = name(path);
    call(libc::SYS_mknodat, &[CWD, text(&path), mode.into(), device])
}

fn as_user(body: impl FnOnce()) {
    child(|| {
        call(libc::SYS_setgroups, &[0, 0]).expect("root may");
        call(libc::SYS_setresgid, &[USER, USER, USER]).expect("root may");
        call(libc::SYS_setresuid, &[USER, USER, USER]).expect("root may");
        body();
        0
    })
    .wait()
    .expect("it ends");
}

/// What there is to see of a node.
fn look(path: &str) {
    let found = fs::symlink_metadata(path);
    see(
        path,
        found
            .map(|data| {
                let type_and_mode = format!("{:o}", data.mode());
                (
                    type_and_mode,
                    data.rdev(),
                    data.size(),
                    data.uid(),
                    data.gid(),
                    data.nlink(),
                )
            })
            .map_err(|error| error.raw_os_error()),
    );
    let path = name(path);
    let mut x = [0u32; 64];
    call(
        libc::SYS_statx,
        &[CWD, text(&path), 0x100, 0x7ff, out(&mut x)],
    )
    .ok();
    // stx_rdev_major, stx_rdev_minor.
    see("statx", (x[32], x[33]));
}

fn open(path: &str, flags: i32) -> Result<()> {
    let path = name(path);
    let fd = call(libc::SYS_openat, &[CWD, text(&path), signed(flags), 0])?;
    call(libc::SYS_close, &[fd]).map(drop)
}

fn devices() {
    // SAFETY: umask(2) takes a number.
    unsafe { libc::umask(0o022) };
    // Numbers that no driver has.
    let numbers = [0x1_0203, 0xfff_ffff, 0xffff_ffff, 0];
    for (at, number) in numbers.into_iter().enumerate() {
        for (kind, mode) in [("character", libc::S_IFCHR), ("block", libc::S_IFBLK)] {
            let path = format!("{kind}{at}");
            see("mknod", mknod(&path, mode | 0o666, number));
            look(&path);
        }
    }
    see("again", mknod("block0", libc::S_IFBLK | 0o600, 1));
    see("a directory", mknod("dir", libc::S_IFDIR | 0o700, 0));
    see("nothing", mknod("nothing", 0o170_000, 0));
    let mut names: Vec<(String, bool, bool)> = fs::read_dir(".")
        .expect("it is there")
        .map(|entry| {
            let entry = entry.expect("it is there");
            let kind = entry.file_type().expect("it is known");
            let is_device = (kind.is_char_device(), kind.is_block_device());
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, is_device.0, is_device.1)
        })
        .collect();
    names.sort();
    see("listed", names);
    see(
        "chmod",
        call(libc::SYS_fchmodat, &[CWD, text(c"block0"), 0o4640]),
    );
    look("block0");
    see(
        "chown",
        call(libc::SYS_fchownat, &[CWD, text(c"block0"), 5, 6, 0]),
    );
    look("block0");
    see("rename", fs::rename("block0", "moved").is_ok());
    look("moved");
    see("link", fs::hard_link("moved", "linked").is_ok());
    look("linked");
    for path in ["moved", "character0"] {
        for flags in [libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR | libc::O_TRUNC] {
            see("open", open(path, flags));
        }
        see("name only", open(path, libc::O_PATH));
        see(
            "exclusively",
            open(path, libc::O_CREAT | libc::O_EXCL | libc::O_RDWR),
        );
        see(
            "a directory",
            open(path, libc::O_RDONLY | libc::O_DIRECTORY),
        );
    }
    call(libc::SYS_fchmodat, &[CWD, text(c"."), 0o777]).expect("root may");
    as_user(|| {
        see("open", open("moved", libc::O_RDONLY));
        see("access", call(libc::SYS_access, &[text(c"moved"), 4]));
        see("mknod", mknod("theirs", libc::S_IFCHR | 0o666, 0x103));
        see("a gap", mknod("gap", libc::S_IFCHR | 0o666, 0));
        look("gap");
        see("unlink", fs::remove_file("gap").is_ok());
    });
    for path in ["moved", "linked"] {
        see("unlink", fs::remove_file(path).is_ok());
    }
    // What has its number afterwards is no device.
    fs::write("plain", "x").expect("written");
    look("plain");
    for kind in ["character", "block"] {
        for at in 0..4 {
            let _ = fs::remove_file(format!("{kind}{at}"));
        }
    }
}

fn known_devices() {
    for (path, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 9)] {
        see("mknod", mknod(path, libc::S_IFCHR | 0o666, 0x100 | minor));
        look(path);
        let mut bytes = [1u8; 4];
        let read =
            fs::File::open(path).and_then(|mut file| std::io::Read::read(&mut file, &mut bytes));
        see("read", read.map_err(|error| error.raw_os_error()));
        if minor < 9 {
            see("read", bytes);
        }
        let written = fs::write(path, "x").map_err(|error| error.raw_os_error());
        see("write", written);
        as_user(|| see("by a user", open(path, libc::O_RDWR)));
        fs::remove_file(path).expect("removed");
    }
}

fn get_nice(which: u32, who: u64) -> Result<u64> {
    call(libc::SYS_getpriority, &[which.into(), who]).map(|value| 20u64.wrapping_sub(value))
}

fn set_nice(which: u32, who: u64, nice: i32) -> Result<u64> {
    call(libc::SYS_setpriority, &[which.into(), who, signed(nice)])
}

/// Fields priority, nice, rt_priority and policy of `/proc/PID/stat`.
fn fields(pid: &str) -> Vec<String> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
    let rest: Vec<&str> = line
        .rsplit(')')
        .next()
        .expect("it is one")
        .split_whitespace()
        .collect();
    [18, 19, 40, 41]
        .map(|field| rest[field - 3].to_owned())
        .to_vec()
}

fn in_child(body: impl FnOnce()) {
    child(|| {
        body();
        0
    })
    .wait()
    .expect("it ends");
}

fn nice() {
    in_child(|| {
        for nice in [-5, 3, -20, -30, 0, 25, 1] {
            see("set", (nice, set_nice(libc::PRIO_PROCESS, 0, nice)));
            see("get", get_nice(libc::PRIO_PROCESS, 0));
            see("shown", fields("self"));
        }
        see("nice", set_nice(libc::PRIO_PROCESS, 0, -7));
        in_child(|| see("inherited", get_nice(libc::PRIO_PROCESS, 0)));
        std::thread::spawn(|| see("inherited", get_nice(libc::PRIO_PROCESS, 0)))
            .join()
            .expect("it ends");
        let other = child(|| {
            // SAFETY: pause(2) takes nothing.
            unsafe { libc::pause() }
        });
        let pid = signed(other.0);
        see("of another", get_nice(libc::PRIO_PROCESS, pid));
        see("set", set_nice(libc::PRIO_PROCESS, pid, -9));
        see("get", get_nice(libc::PRIO_PROCESS, pid));
        see("shown", fields(&other.0.to_string()));
        see("group", call(libc::SYS_setpgid, &[pid, pid]));
        see("set", set_nice(libc::PRIO_PGRP, pid, -11));
        see("get", get_nice(libc::PRIO_PGRP, pid));
        see("get", get_nice(libc::PRIO_PROCESS, pid));
        see("real", set_nice(libc::PRIO_PROCESS, pid, 4));
        see("get", get_nice(libc::PRIO_PROCESS, pid));
        as_user(|| {
            see("of root's", set_nice(libc::PRIO_PROCESS, pid, 5));
            see("lower", set_nice(libc::PRIO_PROCESS, 0, -8));
            see("higher", set_nice(libc::PRIO_PROCESS, 0, 2));
            see("back", set_nice(libc::PRIO_PROCESS, 0, 1));
            see("get", get_nice(libc::PRIO_PROCESS, 0));
        });
        other.signal(libc::SIGKILL).expect("it is there");
        other.wait().expect("it ends");
    });
}

fn set_policy(pid: u64, policy: i32, priority: u32) -> Result<u64> {
    call(
        libc::SYS_sched_setscheduler,
        &[pid, signed(policy), from(&priority)],
    )
}

fn look_at(pid: u64) {
    see("policy", call(libc::SYS_sched_getscheduler, &[pid]));
    let mut priority = 77u32;
    see(
        "parameter",
        (
            call(libc::SYS_sched_getparam, &[pid, out(&mut priority)]),
            priority,
        ),
    );
    let mut interval = [7u64; 2];
    let result = call(libc::SYS_sched_rr_get_interval, &[pid, out(&mut interval)]);
    // That of ordinary threads depends on the machine.
    see(
        "interval",
        (
            result,
            priority > 0 && interval == [0, 0],
            interval == [0, 100_000_000],
        ),
    );
}

fn policies() {
    let reset = 0x4000_0000;
    let all = [
        (libc::SCHED_FIFO, 1),
        (libc::SCHED_RR, 99),
        (libc::SCHED_FIFO | reset, 50),
        (libc::SCHED_OTHER, 0),
        (libc::SCHED_BATCH, 0),
        (libc::SCHED_IDLE, 0),
        (libc::SCHED_OTHER, 1),
        (libc::SCHED_RR, 0),
        (libc::SCHED_RR, 100),
        (6, 0),
        (99, 0),
    ];
    for (policy, priority) in all {
        in_child(|| {
            see("set", ((policy, priority), set_policy(0, policy, priority)));
            look_at(0);
            see("shown", fields("self"));
            for priority in [0u32, 7, 100] {
                let set = call(libc::SYS_sched_setparam, &[0, from(&priority)]);
                see("parameter", (priority, set));
            }
            look_at(0);
            in_child(|| look_at(0));
        });
        let other = child(|| {
            // SAFETY: pause(2) takes nothing.
            unsafe { libc::pause() }
        });
        let pid = signed(other.0);
        see("of another", set_policy(pid, policy, priority));
        look_at(pid);
        for priority in [0u32, 7, 100] {
            let set = call(libc::SYS_sched_setparam, &[pid, from(&priority)]);
            see("parameter", (priority, set));
        }
        look_at(pid);
        see("ordinary", set_policy(pid, 0, 0));
        look_at(pid);
        as_user(|| see("by a user", set_policy(pid, libc::SCHED_RR, 1)));
        other.signal(libc::SIGKILL).expect("it is there");
        other.wait().expect("it ends");
    }
    as_user(|| {
        see("by a user", set_policy(0, libc::SCHED_RR, 1));
        look_at(0);
    });
    in_child(|| {
        see("given", set_policy(0, libc::SCHED_FIFO, 5));
        as_user(|| {
            for priority in [7u32, 3, 5] {
                let set = call(libc::SYS_sched_setparam, &[0, from(&priority)]);
                see("kept by a user", (priority, set));
            }
        });
    });
    see("libc", libc_result(0));
}

/// `struct file_handle`: how many bytes, type, bytes.
type Handle = [u32; 34];

fn handle_of(path: &str, room: u32, flags: i32) -> (Result<u64>, Handle) {
    let path = name(path);
    let mut handle = [0u32; 34];
    handle[0] = room;
    let mut mount = 0u64;
    let all = [
        CWD,
        text(&path),
        out(&mut handle),
        out(&mut mount),
        signed(flags),
    ];
    (call(libc::SYS_name_to_handle_at, &all), handle)
}

fn read_by(handle: &Handle, flags: i32) -> Result<String> {
    let fd = call(
        libc::SYS_open_by_handle_at,
        &[CWD, from(handle), signed(flags)],
    )?;
    let mut bytes = [0u8; 8];
    let got = call(libc::SYS_read, &[fd, bytes.as_mut_ptr() as u64, 8]);
    call(libc::SYS_close, &[fd])?;
    let length = usize::try_from(got?).expect("it is short");
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

fn handles() {
    fs::write("file", "text").expect("written");
    std::os::unix::fs::symlink("file", "link").expect("made");
    let (result, none) = handle_of("file", 0, 0);
    see("no room", (result, none[0] > 0));
    see("too much", handle_of("file", 129, 0).0);
    see("bad flags", handle_of("file", 128, 0x8000).0);
    see("not there", handle_of("other", 128, 0).0);
    let (result, file) = handle_of("file", 128, 0);
    see("handle", result);
    let (result, link) = handle_of("link", 128, 0);
    see("of a link", (result, link == file));
    let (result, behind) = handle_of("link", 128, libc::AT_SYMLINK_FOLLOW);
    see("of what it leads to", (result, behind == file));
    see("opened", read_by(&file, libc::O_RDONLY));
    see("a link", read_by(&link, libc::O_RDONLY));
    see(
        "a directory",
        read_by(&file, libc::O_RDONLY | libc::O_DIRECTORY),
    );
    as_user(|| {
        see("handle", handle_of("file", 128, 0).0);
        see("opened", read_by(&file, libc::O_RDONLY));
    });
    let mut empty = file;
    empty[0] = 0;
    see("empty", read_by(&empty, libc::O_RDONLY));
    see("nowhere", call(libc::SYS_open_by_handle_at, &[CWD, 8, 0]));
    see(
        "on another file system",
        call(libc::SYS_open_by_handle_at, &[0, from(&file), 0]),
    );
    fs::remove_file("file").expect("removed");
    see("removed", read_by(&file, libc::O_RDONLY));
    fs::remove_file("link").expect("removed");
}

/// Size and policy, flags, nice value and priority, then runtime, deadline and period.
fn attribute(policy: u64, nice: i32, priority: u32, times: [u64; 3]) -> [u64; 6] {
    let nice_and_priority = u64::from(nice.cast_unsigned()) | u64::from(priority) << 32;
    [
        48 | policy << 32,
        0,
        nice_and_priority,
        times[0],
        times[1],
        times[2],
    ]
}

fn attributes() {
    let all = [
        attribute(6, 0, 0, [10_000_000, 30_000_000, 30_000_000]),
        attribute(6, 0, 0, [10_000_000, 30_000_000, 0]),
        attribute(6, 0, 0, [10_000_000, 5_000_000, 0]),
        attribute(6, 0, 0, [0; 3]),
        attribute(1, 0, 5, [0; 3]),
        attribute(2, 0, 100, [0; 3]),
        attribute(0, -5, 0, [0; 3]),
        attribute(3, 5, 0, [0; 3]),
        attribute(0, 0, 1, [0; 3]),
    ];
    for attr in all {
        for is_own in [true, false] {
            let other = child(|| {
                // SAFETY: pause(2) takes nothing.
                unsafe { libc::pause() }
            });
            let look = |pid: u64| {
                see(
                    "set",
                    (attr, call(libc::SYS_sched_setattr, &[pid, from(&attr), 0])),
                );
                let mut found = [0u64; 6];
                let got = call(libc::SYS_sched_getattr, &[pid, out(&mut found), 48, 0]);
                if found[0] >> 32 != 6 {
                    // What ordinary threads get at a time.
                    found[3] = 0;
                }
                see("get", (got, found));
            };
            in_child(|| look(if is_own { 0 } else { signed(other.0) }));
            other.signal(libc::SIGKILL).expect("it is there");
            other.wait().expect("it ends");
        }
    }
}
