//! Users, groups and capabilities of threads, and what becomes of them.

use picozone_guests::{
    CWD, Result, call, child, from, libc_result, name, out, sections, see, signed, text,
};
use std::ffi::CStr;

fn main() {
    sections(&[
        ("users", users),
        ("groups", groups),
        ("sets", sets),
        ("kept", kept),
        ("bounds", bounds),
        ("secure_bits", secure_bits),
        ("rights", rights),
        ("set_id_programs", set_id_programs),
        ("file_capabilities", file_capabilities),
        ("shared_directories", shared_directories),
        ("show", show),
        ("sharing_still", || become_program("./root", c"show")),
        ("pass_on", || execute("./root", || {})),
        // What `#!` puts in front.
        ("./script", || {}),
    ]);
}

const USER: u64 = 1234;
const KEEP: u64 = u32::MAX as u64;
/// CAP_SYS_RESOURCE, which not every host's root has.
const NOT_COMPARED: u64 = 1 << 24;

const CHOWN: u64 = 0;
const KILL: u64 = 5;
const SETGID: u64 = 6;
const SETUID: u64 = 7;
const SETPCAP: u64 = 8;
const BIND: u64 = 10;

fn prctl(option: i32, args: &[u64]) -> Result<u64> {
    let mut all = vec![signed(option)];
    all.extend_from_slice(args);
    all.resize(5, 0);
    call(libc::SYS_prctl, &all)
}

fn capget(pid: i32) -> Result<[u64; 3]> {
    let mut header = [0x2008_0522u32, pid.cast_unsigned()];
    let mut rows = [[0u32; 3]; 2];
    call(libc::SYS_capget, &[out(&mut header), out(&mut rows)])?;
    let [low, high] = rows;
    Ok([0, 1, 2].map(|set| (u64::from(low[set]) | u64::from(high[set]) << 32) & !NOT_COMPARED))
}

/// Effective, permitted, inheritable.
fn capset(sets: [u64; 3]) -> Result<u64> {
    let mut header = [0x2008_0522u32, 0];
    let half = |by: u32| sets.map(|set| u32::try_from(set >> by & 0xffff_ffff).expect("masked"));
    let rows = [half(0), half(32)];
    call(libc::SYS_capset, &[out(&mut header), from(&rows)])
}

fn three(number: i64) -> [u32; 3] {
    let mut ids = [0u32; 3];
    let [a, b, c] = &mut ids;
    call(number, &[out(a), out(b), out(c)]).expect("the addresses are good");
    ids
}

/// All that there is to see of the calling process.
fn show() {
    see("uid", three(libc::SYS_getresuid));
    see("gid", three(libc::SYS_getresgid));
    see("sets", capget(0));
    for option in [libc::PR_GET_KEEPCAPS, libc::PR_GET_SECUREBITS] {
        see("bits", prctl(option, &[]));
    }
    see("no new privileges", prctl(libc::PR_GET_NO_NEW_PRIVS, &[]));
    see("dumpable", prctl(libc::PR_GET_DUMPABLE, &[]));
    // SAFETY: it takes a number.
    let secure = unsafe { libc::getauxval(libc::AT_SECURE) };
    see("secure", secure);
    let status = std::fs::read_to_string("/proc/self/status").expect("it is there");
    for line in status.lines() {
        let Some((key, value)) = line.split_once(":\t") else {
            continue;
        };
        match key {
            "Uid" | "Gid" | "Groups" | "NoNewPrivs" => see(key, value.trim()),
            _ if key.starts_with("Cap") => {
                let set = u64::from_str_radix(value, 16).expect("hexadecimal");
                see(key, set & !NOT_COMPARED);
            }
            _ => {}
        }
    }
}

fn in_child(body: impl FnOnce()) {
    child(|| {
        body();
        0
    })
    .wait()
    .expect("it ends");
}

/// Executes a copy of this program in a child, to be looked at.
fn execute(path: &str, before: impl FnOnce()) {
    in_child(|| {
        before();
        become_program(path, c"show");
    });
}
fn become_program(path: &str, section: &CStr) {
    let path = name(path);
    let argv = [path.as_ptr(), section.as_ptr(), std::ptr::null()];
    see(
        "execve",
        // SAFETY: the strings and the vector are there, and end as they must.
        libc_result(unsafe { libc::execv(path.as_ptr(), argv.as_ptr()) }),
    );
}

fn become_user() {
    call(libc::SYS_setgroups, &[0, 0]).expect("root may");
    call(libc::SYS_setresgid, &[USER, USER, USER]).expect("root may");
    call(libc::SYS_setresuid, &[USER, USER, USER]).expect("root may");
}

fn users() {
    let calls = [
        ("setuid", libc::SYS_setuid, [5, 0, 0]),
        ("setuid", libc::SYS_setuid, [3, 0, 0]),
        ("setuid", libc::SYS_setuid, [KEEP, 0, 0]),
        ("setreuid", libc::SYS_setreuid, [4, KEEP, 0]),
        ("setreuid", libc::SYS_setreuid, [KEEP, 3, 0]),
        ("setreuid", libc::SYS_setreuid, [9, KEEP, 0]),
        ("setresuid", libc::SYS_setresuid, [KEEP, 5, KEEP]),
        ("setresuid", libc::SYS_setresuid, [9, KEEP, KEEP]),
        ("setgid", libc::SYS_setgid, [5, 0, 0]),
        ("setgid", libc::SYS_setgid, [4, 0, 0]),
        ("setregid", libc::SYS_setregid, [5, 3, 0]),
        ("setresgid", libc::SYS_setresgid, [4, 5, 3]),
        ("setfsuid", libc::SYS_setfsuid, [4, 0, 0]),
        ("setfsuid", libc::SYS_setfsuid, [KEEP, 0, 0]),
        ("setfsuid", libc::SYS_setfsuid, [9, 0, 0]),
        ("setfsgid", libc::SYS_setfsgid, [3, 0, 0]),
        ("setfsgid", libc::SYS_setfsgid, [KEEP, 0, 0]),
    ];
    for (text, number, args) in calls {
        in_child(|| {
            call(libc::SYS_setresgid, &[3, 4, 5]).expect("root may");
            call(libc::SYS_setresuid, &[3, 4, 5]).expect("root may");
            see(text, (args, call(number, &args)));
            show();
        });
    }
    for (text, number) in [
        ("setuid", libc::SYS_setuid),
        ("setfsuid", libc::SYS_setfsuid),
    ] {
        in_child(|| {
            see(text, call(number, &[USER]));
            show();
            see("back", call(number, &[0]));
            show();
        });
    }
}

fn set_groups(list: &[u32]) -> Result<u64> {
    call(
        libc::SYS_setgroups,
        &[list.len() as u64, list.as_ptr() as u64],
    )
}

fn get_groups(room: usize) -> Result<Vec<u32>> {
    let mut list = vec![0u32; room];
    let count = call(
        libc::SYS_getgroups,
        &[room as u64, list.as_mut_ptr() as u64],
    )?;
    if room > 0 {
        list.truncate(usize::try_from(count).expect("it fits"));
    } else {
        list.push(u32::try_from(count).expect("it fits"));
    }
    Ok(list)
}

fn groups() {
    let many: Vec<u32> = (0..100).map(|number| 5000 - number).collect();
    in_child(|| {
        see("few", set_groups(&[7, 3, 5, 3]));
        see("sorted", get_groups(8));
        see("count", get_groups(0));
        see("no room", get_groups(3));
        see("bad size", call(libc::SYS_getgroups, &[signed(-1), 0]));
        see("bad place", call(libc::SYS_getgroups, &[8, 8]));
        see("bad group", set_groups(&[7, u32::MAX]));
        see("bad list", call(libc::SYS_setgroups, &[65536, 8]));
        see("too many", call(libc::SYS_setgroups, &[65537, 8]));
        see("negative", call(libc::SYS_setgroups, &[signed(-1), 8]));
        see("as before", get_groups(8));
        see("many", set_groups(&many));
        see("sorted", get_groups(200));
        in_child(|| see("inherited", get_groups(200)));
        execute("./guest", || {});
        let all: Vec<u32> = (0..65536).collect();
        see("all", set_groups(&all));
        see("all", get_groups(65536).map(|list| list == all));
        std::thread::spawn(|| see("of a thread", get_groups(0)))
            .join()
            .expect("it ends");
        see("few again", set_groups(&[9]));
        see("few again", get_groups(200));
    });
    // Rights go with each of them.
    std::fs::write("theirs", "x").expect("written");
    call(libc::SYS_fchmodat, &[CWD, text(c"theirs"), 0o040]).expect("root may");
    call(libc::SYS_fchownat, &[CWD, text(c"theirs"), 0, 4950, 0]).expect("root may");
    for list in [&many[..], &many[..30]] {
        in_child(|| {
            set_groups(list).expect("root may");
            call(libc::SYS_setresuid, &[USER, USER, USER]).expect("root may");
            see("may read", call(libc::SYS_access, &[text(c"theirs"), 4]));
            see("opens", std::fs::File::open("theirs").is_ok());
            see("not any more", set_groups(&[]));
        });
    }
    std::fs::remove_file("theirs").expect("removed");
}

fn sets() {
    show();
    for version in [0x1998_0330u32, 0x2007_1026, 0x2008_0522, 1, 0] {
        let mut header = [version, 0];
        let mut rows = [[u32::MAX; 3]; 2];
        let result = call(libc::SYS_capget, &[out(&mut header), out(&mut rows)]);
        rows[0][0] &= !(1 << 24);
        rows[0][1] &= !(1 << 24);
        see("get", (result, header, rows));
        let mut header = [version, 0];
        see(
            "question",
            (call(libc::SYS_capget, &[out(&mut header), 0]), header),
        );
        let mut header = [version, 0];
        see(
            "set nowhere",
            (call(libc::SYS_capset, &[out(&mut header), 8]), header),
        );
    }
    see("nowhere", call(libc::SYS_capget, &[8, 8]));
    see("negative", capget(-1));
    see("nobody", capget(0x3f_fff0));
    see(
        "parent",
        capget(std::os::unix::process::parent_id().cast_signed()).is_ok(),
    );
    let mut header = [0x2008_0522u32, std::os::unix::process::parent_id()];
    let rows = [[0u32; 3]; 2];
    see(
        "of others",
        call(libc::SYS_capset, &[out(&mut header), from(&rows)]),
    );
    in_child(|| {
        let some = 1 << KILL | 1 << BIND;
        see("fewer", capset([some, some, some]));
        see("now", capget(0));
        see("more permitted", capset([some, some | 1, some]));
        see("more effective", capset([some | 1, some, some]));
        see("more inheritable", capset([some, some, some | 1]));
        see("less effective", capset([1 << KILL, some, some]));
        see("again", capset([some, some, 0]));
        see("now", capget(0));
    });
    let other = child(|| {
        become_user();
        // SAFETY: pause(2) takes nothing.
        unsafe { libc::pause() }
    });
    // It becomes one sooner or later.
    while capget(other.0).is_ok_and(|sets| sets[1] != 0) {
        std::thread::yield_now();
    }
    see("of a child", capget(other.0));
    other.signal(libc::SIGKILL).expect("it is there");
    other.wait().expect("it ends");
}

fn kept() {
    see("more than one", prctl(libc::PR_SET_KEEPCAPS, &[2]));
    in_child(|| {
        see("keep", prctl(libc::PR_SET_KEEPCAPS, &[1]));
        become_user();
        show();
        see("raised", capset([1 << KILL, 1 << KILL, 1 << KILL]));
        let raise = signed(libc::PR_CAP_AMBIENT_RAISE);
        see("ambient", prctl(libc::PR_CAP_AMBIENT, &[raise, KILL]));
        see("ambient", prctl(libc::PR_CAP_AMBIENT, &[raise, BIND]));
        see("ambient", prctl(libc::PR_CAP_AMBIENT, &[raise, 99]));
        see("ambient", prctl(libc::PR_CAP_AMBIENT, &[raise, KILL, 1]));
        let is_set = signed(libc::PR_CAP_AMBIENT_IS_SET);
        see("is set", prctl(libc::PR_CAP_AMBIENT, &[is_set, KILL]));
        see("is set", prctl(libc::PR_CAP_AMBIENT, &[is_set, BIND]));
        show();
        execute("./guest", || {});
        let lower = signed(libc::PR_CAP_AMBIENT_LOWER);
        see("lower", prctl(libc::PR_CAP_AMBIENT, &[lower, KILL]));
        execute("./guest", || {});
        let clear = signed(libc::PR_CAP_AMBIENT_CLEAR_ALL);
        see("clear", prctl(libc::PR_CAP_AMBIENT, &[clear, 1]));
        see("clear", prctl(libc::PR_CAP_AMBIENT, &[clear]));
    });
}

fn bounds() {
    for number in [CHOWN, 40, 41, 63, u64::MAX] {
        see("read", prctl(libc::PR_CAPBSET_READ, &[number]));
    }
    in_child(|| {
        see("drop", prctl(libc::PR_CAPBSET_DROP, &[CHOWN]));
        see("drop", prctl(libc::PR_CAPBSET_DROP, &[64]));
        see("read", prctl(libc::PR_CAPBSET_READ, &[CHOWN]));
        show();
        execute("./guest", || {});
        let all = capget(0).expect("own");
        let rest = all[1] & !(1 << SETPCAP);
        see("no more", capset([rest, rest, 0]));
        see("drop", prctl(libc::PR_CAPBSET_DROP, &[KILL]));
        see("drop", prctl(libc::PR_CAPBSET_DROP, &[64]));
    });
}

fn secure_bits() {
    for bits in [1, 1 << 12, u64::MAX, 1 << 32] {
        in_child(|| see("set", prctl(libc::PR_SET_SECUREBITS, &[bits])));
    }
    in_child(|| {
        see("no root", prctl(libc::PR_SET_SECUREBITS, &[0b11]));
        see("locked", prctl(libc::PR_SET_SECUREBITS, &[0]));
        execute("./guest", || {});
    });
    in_child(|| {
        see("no fix", prctl(libc::PR_SET_SECUREBITS, &[1 << 2]));
        see("user", call(libc::SYS_setresuid, &[USER, USER, USER]));
        show();
    });
    in_child(|| {
        see("lock", prctl(libc::PR_SET_SECUREBITS, &[1 << 5]));
        see("keep", prctl(libc::PR_SET_KEEPCAPS, &[1]));
        see(
            "no ambient",
            prctl(libc::PR_SET_SECUREBITS, &[1 << 5 | 1 << 6]),
        );
        let all = capget(0).expect("own");
        see("inherit", capset([all[0], all[1], 1 << KILL]));
        let raise = signed(libc::PR_CAP_AMBIENT_RAISE);
        see("raise", prctl(libc::PR_CAP_AMBIENT, &[raise, KILL]));
        become_user();
        see("of a user", prctl(libc::PR_SET_SECUREBITS, &[0]));
    });
    for args in [[0, 0, 0, 0], [1, 1, 0, 0], [1, 0, 0, 1], [2, 0, 0, 0]] {
        see("bad", prctl(libc::PR_SET_NO_NEW_PRIVS, &args));
    }
    see("bad", prctl(libc::PR_GET_NO_NEW_PRIVS, &[1]));
}

/// What is allowed goes by the effective set, and by nothing else.
fn rights() {
    std::fs::write("own", "x").expect("written");
    std::fs::write("theirs", "x").expect("written");
    call(libc::SYS_fchmodat, &[CWD, text(c"theirs"), 0o600]).expect("root may");
    call(libc::SYS_fchownat, &[CWD, text(c"theirs"), USER, USER, 0]).expect("root may");
    let other = child(|| {
        call(libc::SYS_setresuid, &[77, 77, 77]).expect("root may");
        // SAFETY: pause(2) takes nothing.
        unsafe { libc::pause() }
    });
    while std::fs::read_to_string(format!("/proc/{}/status", other.0))
        .is_ok_and(|status| !status.contains("Uid:\t77"))
    {
        std::thread::yield_now();
    }
    let target = signed(other.0);
    for number in [
        None,
        Some(0),
        Some(1),
        Some(2),
        Some(3),
        Some(5),
        Some(6),
        Some(7),
    ] {
        in_child(|| {
            let set = number.map_or(0, |number: u64| 1 << number);
            capset([set, set, 0]).expect("fewer");
            // Root of this name has no other rights.
            call(libc::SYS_setfsuid, &[0]).expect("as before");
            see("with", number);
            see(
                "chown",
                call(libc::SYS_fchownat, &[CWD, text(c"own"), 5, 5, 0]),
            );
            see(
                "back",
                call(libc::SYS_fchownat, &[CWD, text(c"own"), 0, 0, 0]),
            );
            see(
                "chmod",
                call(libc::SYS_fchmodat, &[CWD, text(c"theirs"), 0o600]),
            );
            see("read", std::fs::File::open("theirs").is_ok());
            let both = std::fs::OpenOptions::new().append(true).open("theirs");
            see("write", both.is_ok());
            see("access", call(libc::SYS_access, &[text(c"theirs"), 4]));
            see("kill", call(libc::SYS_kill, &[target, 0]));
            see("setgroups", set_groups(&[1]));
            see("setgid", call(libc::SYS_setresgid, &[3, 3, 3]));
            see("setuid", call(libc::SYS_setresuid, &[3, 3, 3]));
        });
    }
    other.signal(libc::SIGKILL).expect("it is there");
    other.wait().expect("it ends");
    for file in ["own", "theirs"] {
        std::fs::remove_file(file).expect("removed");
    }
}

/// A copy of this program with an owner and a mode.
fn program(path: &str, uid: u64, gid: u64, mode: u64) {
    std::fs::copy("guest", path).expect("copied");
    let path = name(path);
    call(libc::SYS_fchownat, &[CWD, text(&path), uid, gid, 0]).expect("root may");
    call(libc::SYS_fchmodat, &[CWD, text(&path), mode]).expect("root may");
}

fn set_id_programs() {
    call(libc::SYS_fchmodat, &[CWD, text(c"."), 0o755]).expect("root may");
    program("root", 0, 0, 0o4755);
    program("user", 77, 78, 0o6755);
    program("group", 0, 78, 0o2755);
    program("no_execution", 0, 78, 0o2745);
    std::fs::write("script", "#!./root\n").expect("written");
    call(libc::SYS_fchmodat, &[CWD, text(c"script"), 0o6755]).expect("root may");
    for path in ["./root", "./user", "./group", "./no_execution", "./script"] {
        see("program", path);
        execute(path, become_user);
        execute(path, || {});
    }
    execute("./root", || {
        become_user();
        see("forgo", prctl(libc::PR_SET_NO_NEW_PRIVS, &[1]));
        in_child(show);
    });
    execute("./user", || {
        see("real", call(libc::SYS_setresuid, &[USER, 0, 0]));
    });
    for path in ["root", "user", "group", "no_execution", "script"] {
        std::fs::remove_file(path).expect("removed");
    }
}

/// In a child that has its working directory in common with us (`CLONE_FS`).
fn in_sharing_child(body: impl FnOnce()) {
    in_child(|| {
        let flags = u64::from((libc::CLONE_FS | libc::SIGCHLD).cast_unsigned());
        let made = call(libc::SYS_clone, &[flags, 0, 0, 0, 0]).expect("a child");
        if made == 0 {
            body();
            // SAFETY: it only ends the child.
            unsafe { libc::_exit(0) };
        }
        let mut status = 0;
        let ended = call(libc::SYS_wait4, &[made, out(&mut status), 0, 0]);
        see("sharing child", (ended == Ok(made), status));
    });
}

/// Whose directories others could change under it gets nothing by a program (`LSM_UNSAFE_SHARE`).
fn shared_directories() {
    call(libc::SYS_fchmodat, &[CWD, text(c"."), 0o755]).expect("root may");
    program("root", 0, 0, 0o4755);
    program("user", 77, 78, 0o6755);
    program("plain", 0, 0, 0o755);
    for path in ["./root", "./user"] {
        see("program", path);
        in_sharing_child(|| {
            become_user();
            become_program(path, c"show");
        });
        in_sharing_child(|| become_program(path, c"show"));
    }
    see("child of a sharing one", ());
    in_sharing_child(|| execute("./root", become_user));
    see("sharing over an exec", ());
    in_sharing_child(|| {
        become_user();
        become_program("./plain", c"sharing_still");
    });
    see("its own again", ());
    in_sharing_child(|| {
        become_user();
        become_program("./plain", c"pass_on");
    });
    see("with a thread", ());
    in_child(|| {
        become_user();
        std::thread::spawn(std::thread::park);
        become_program("./root", c"show");
    });
    for path in ["root", "user", "plain"] {
        std::fs::remove_file(path).expect("removed");
    }
}

fn set_value(path: &CStr, value: &[u8]) -> Result<u64> {
    let name = text(c"security.capability");
    let args = [
        text(path),
        name,
        value.as_ptr() as u64,
        value.len() as u64,
        0,
    ];
    call(libc::SYS_setxattr, &args)
}

/// `struct vfs_cap_data`, the second form.
fn capabilities(flags: u32, permitted: u32, inheritable: u32) -> Vec<u8> {
    [0x0200_0000 | flags, permitted, inheritable, 0, 0]
        .iter()
        .flat_map(|word: &u32| word.to_le_bytes())
        .collect()
}

fn file_capabilities() {
    call(libc::SYS_fchmodat, &[CWD, text(c"."), 0o755]).expect("root may");
    program("program", 0, 0, 0o755);
    let path = c"program";
    let both = (1 << SETGID | 1 << SETUID) as u32;
    see("short", set_value(path, &capabilities(0, 0, 0)[..12]));
    see("empty", set_value(path, &[]));
    see("bad", set_value(path, &[9; 20]));
    for (flags, permitted, inheritable) in [
        (1, both, 0),
        (0, both, 0),
        (1, 0, both),
        (0, both, both),
        (0, 0, 0),
    ] {
        see("value", (flags, permitted, inheritable));
        see(
            "set",
            set_value(path, &capabilities(flags, permitted, inheritable)),
        );
        execute("./program", become_user);
        execute("./program", || {
            prctl(libc::PR_SET_KEEPCAPS, &[1]).expect("no lock");
            become_user();
            capset([0, 1 << SETUID, 1 << SETUID]).expect("permitted");
        });
        execute("./program", || {
            prctl(libc::PR_CAPBSET_DROP, &[SETUID]).expect("root may");
            become_user();
        });
        execute("./program", || {
            prctl(libc::PR_SET_NO_NEW_PRIVS, &[1]).expect("anybody may");
            become_user();
        });
        execute("./program", || {});
    }
    see("set", set_value(path, &capabilities(1, both, 0)));
    in_child(|| {
        become_user();
        see("by a user", set_value(path, &capabilities(1, both, 0)));
    });
    see(
        "chown",
        call(libc::SYS_fchownat, &[CWD, text(path), 5, KEEP, 0]),
    );
    let name = text(c"security.capability");
    see("gone", call(libc::SYS_getxattr, &[text(path), name, 0, 0]));
    std::fs::remove_file("program").expect("removed");
}
