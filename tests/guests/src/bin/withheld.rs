//! Calls that belong to the host's administrator: what is wrong with their arguments is told as to the
//! host's root, and what asks for nothing new succeeds. Nothing here would change the host natively.

use picozone_guests::{
    CWD, NOWHERE, Result, at, call, close, from, name, out, sections, see, signed, text,
};
use std::fs;
use std::os::unix::fs::symlink;

fn main() {
    sections(&[
        ("administration", administration),
        ("quotas", quotas),
        ("trees", trees),
        ("listed", listed),
        ("attributes", attributes),
        ("advice", advice),
        ("setting", setting),
        ("others", others),
    ]);
}

/// Paths that lead nowhere, or to something that is of no use.
fn paths() -> Vec<(&'static str, std::ffi::CString)> {
    fs::write("file", "nothing").expect("a file");
    fs::create_dir_all("directory").expect("a directory");
    let _ = symlink("loop", "loop");
    let mut all = vec![
        ("too long", name(&"a".repeat(4096))),
        ("long", name(&"a".repeat(256))),
    ];
    for path in [
        "",
        "missing",
        "file/x",
        "loop",
        "directory",
        "file",
        "/dev/null",
    ] {
        all.push((path, name(path)));
    }
    all
}

fn administration() {
    for (which, path) in paths() {
        let path = text(&path);
        if which != "file" {
            see("acct", (which, call(libc::SYS_acct, &[path])));
        }
        see("swapon", (which, call(libc::SYS_swapon, &[path, 0])));
        see("swapoff", (which, call(libc::SYS_swapoff, &[path])));
        see("root", (which, call(libc::SYS_pivot_root, &[path, path])));
    }
    for nr in [
        libc::SYS_acct,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_pivot_root,
    ] {
        see("nowhere", (nr, call(nr, &[NOWHERE, 0])));
    }
    see("swap flags", call(libc::SYS_swapon, &[NOWHERE, 1 << 19]));
    const MAGIC: u64 = 0xfee1_dead;
    const MAGIC2: u64 = 672_274_793;
    for args in [
        [0, 0, 0, 0],
        [MAGIC, 0, 0, 0],
        [0, MAGIC2, 0, 0],
        [MAGIC, MAGIC2, 0x1234, 0],
        [MAGIC, MAGIC2, 0xa1b2_c3d4, NOWHERE],
    ] {
        see("reboot", call(libc::SYS_reboot, &args));
    }
}

fn quotas() {
    const SYNC: u64 = 0x80_0001;
    const ON: u64 = 0x80_0002;
    const GET_FORMAT: u64 = 0x80_0004;
    let mut room = [0_u8; 128];
    let paths = paths();
    for command in [SYNC, ON, GET_FORMAT, 0x80_0007, 0x5807, 0x99_9999] {
        for kind in [0, 1, 2, 3, 200] {
            let command = command << 8 | kind;
            for (which, path) in &paths {
                let args = [command, text(path), 0, out(&mut room)];
                see("path", (command, which, call(libc::SYS_quotactl, &args)));
            }
            let none = call(libc::SYS_quotactl, &[command, 0, 0, out(&mut room)]);
            see("none", (command, none));
        }
    }
    let fd = at(libc::SYS_openat, "file", &[0]).expect("a file");
    for command in [SYNC, ON, GET_FORMAT, 0x99_9999] {
        for kind in [0, 1, 2, 3] {
            let args = |fd| [fd, command << 8 | kind, 0, NOWHERE];
            let of = call(libc::SYS_quotactl_fd, &args(fd));
            see(
                "of",
                (command, kind, of, call(libc::SYS_quotactl_fd, &args(999))),
            );
        }
    }
}

/// Mounts by descriptor.
fn trees() {
    let paths = paths();
    let none = name("no such");
    let tmpfs = name("tmpfs");
    for (name, flags) in [(text(&none), 0), (NOWHERE, 0), (text(&tmpfs), 2)] {
        see("open", call(libc::SYS_fsopen, &[name, flags]));
    }
    let file = at(libc::SYS_openat, "file", &[0]).expect("a file");
    for fd in [file, 999, signed(-1)] {
        for command in 0..10 {
            for (key, value, extra) in [
                (0, 0, 0),
                (text(&none), 0, 0),
                (text(&none), text(&none), 0),
            ] {
                let args = [fd, command, key, value, extra];
                let done = call(libc::SYS_fsconfig, &args);
                see("config", (fd == file, command, key == 0, value == 0, done));
            }
        }
        for (flags, attributes) in [(0, 0), (2, 0), (1, 1 << 30), (1, 0x30), (1, 0x21)] {
            let done = call(libc::SYS_fsmount, &[fd, flags, attributes]);
            see("mount", (fd == file, flags, attributes, done));
        }
    }
    for (which, path) in &paths {
        let path = text(path);
        for flags in [0, 4, 0x1000, 0x300] {
            let there = text(&paths[6].1);
            let from = call(libc::SYS_move_mount, &[CWD, path, CWD, there, flags]);
            let to = call(libc::SYS_move_mount, &[CWD, there, CWD, path, flags]);
            see("move", (which, flags, from, to));
        }
        let moved = [
            call(libc::SYS_move_mount, &[999, path, CWD, path, 0]),
            call(libc::SYS_move_mount, &[CWD, path, 999, path, 0]),
        ];
        see("moved at", (which, moved));
        for attributes in [
            [0_u64, 0, 0, 0],
            [1, 0, 0, 0],
            [0x20, 0, 0, 0],
            [0x20, 0x70, 0, 0],
            [1 << 30, 0, 0, 0],
            [0, 0, 1 << 18, 0],
            [0, 0, 3 << 18, 0],
            [0, 0, 7, 0],
            [1, 0, 0, 9],
        ] {
            let set = |flags, size| {
                let args = [CWD, path, flags, from(&attributes), size];
                call(libc::SYS_mount_setattr, &args)
            };
            see(
                "set",
                (which, attributes, set(0, 32), set(0x100, 32), set(0x10, 32)),
            );
            see("size", (set(0, 24), set(0, 5000)));
        }
        see("pick", (which, call(libc::SYS_fspick, &[CWD, path, 0])));
    }
    let set = [CWD, text(&tmpfs), 0, NOWHERE, 32];
    see("set nowhere", call(libc::SYS_mount_setattr, &set));
}

const STATMOUNT: i64 = 457;
const LISTMOUNT: i64 = 458;

/// `struct mnt_id_req`.
fn request(id: u64, what: u64) -> [u64; 4] {
    [24, id, what, 0]
}

/// The texts that stand behind the fixed part, by the half words that say where they are.
fn text_at(told: &[u8], half: usize) -> String {
    let word: [u8; 4] = told[half * 4..half * 4 + 4].try_into().expect("four bytes");
    let text = &told[512 + u32::from_ne_bytes(word) as usize..];
    let end = text.iter().position(|&byte| byte == 0).expect("an end");
    String::from_utf8_lossy(&text[..end]).into_owned()
}

fn word(told: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(told[at * 8..at * 8 + 8].try_into().expect("eight bytes"))
}

/// What `statx` says of the mount that a path lies in.
fn mount_of(path: &str) -> u64 {
    const UNIQUE: u64 = 0x4000;
    let mut found = [0_u64; 32];
    let got = at(libc::SYS_statx, path, &[0, UNIQUE, out(&mut found)]);
    see("statx", (path, got, found[0] & UNIQUE));
    found[18]
}

fn counted(result: Result<u64>) -> usize {
    usize::try_from(result.unwrap_or(0)).expect("a count")
}

/// What is mounted.
fn listed() {
    const ROOT: u64 = u64::MAX;
    const UNUSED: u64 = 1 << 47;
    let mut told = [0_u8; 4096];
    let told_at = out(&mut told);
    for (id, what) in [(0, 2), (1, 2), (1 << 31, 2), (UNUSED, 2)] {
        let all = request(id, what);
        let one = call(STATMOUNT, &[from(&all), told_at, 4096, 0]);
        let list = call(LISTMOUNT, &[from(&request(id, 0)), told_at, 8, 0]);
        see("no such", (id, one, list));
    }
    for size in [0, 1, 23, 4097] {
        let mut all = request(UNUSED, 2);
        all[0] = size;
        let one = call(STATMOUNT, &[from(&all), told_at, 4096, 0]);
        see(
            "size",
            (size, one, call(LISTMOUNT, &[from(&all), told_at, 8, 0])),
        );
    }
    let mut spare = request(UNUSED, 2);
    spare[0] |= 1 << 32;
    see("spare", call(STATMOUNT, &[from(&spare), told_at, 4096, 0]));
    let all = request(ROOT, 0);
    see("flags", call(STATMOUNT, &[from(&all), told_at, 4096, 1]));
    see("list flags", call(LISTMOUNT, &[from(&all), told_at, 8, 2]));
    see("nowhere", call(STATMOUNT, &[NOWHERE, told_at, 4096, 0]));
    see("list nowhere", call(LISTMOUNT, &[NOWHERE, told_at, 8, 0]));
    see("to nowhere", call(LISTMOUNT, &[from(&all), NOWHERE, 8, 0]));
    see("none", call(LISTMOUNT, &[from(&all), told_at, 0, 0]));
    see(
        "too many",
        call(LISTMOUNT, &[from(&all), told_at, 1_000_001, 0]),
    );
    see(
        "last",
        call(LISTMOUNT, &[from(&request(ROOT, 5)), told_at, 8, 0]),
    );

    let root = mount_of("/");
    let proc = mount_of("/proc");
    see("apart", root != proc);
    let mut ids = [0_u64; 256];
    let count = counted(call(LISTMOUNT, &[from(&all), out(&mut ids), 256, 0]));
    let ids = &ids[..count];
    see("in order", ids.is_sorted());
    see("there", (ids.contains(&root), ids.contains(&proc)));
    let mut back = [0_u64; 256];
    let count = counted(call(LISTMOUNT, &[from(&all), out(&mut back), 256, 1]));
    see("back", back[..count].iter().rev().eq(ids));
    let rest = call(
        LISTMOUNT,
        &[from(&request(ROOT, ids[0])), out(&mut back), 256, 0],
    );
    see("rest", counted(rest) == ids.len() - 1);
    let below = call(
        LISTMOUNT,
        &[from(&request(proc, 0)), out(&mut back), 256, 0],
    );
    see("below", below.is_ok());

    for what in [1, 2, 3, 4, 8, 0x10, 0x20, 0x38, 0x3b] {
        told.fill(0xaa);
        let got = call(STATMOUNT, &[from(&request(proc, what)), told_at, 4096, 0]);
        see("told", (what, got, word(&told, 1) == what));
        if what & 2 != 0 {
            see("ids", (word(&told, 5) == proc, word(&told, 6) > 1 << 31));
        }
        if what & 1 != 0 {
            see("magic", word(&told, 3));
        }
        if what == 0x3b {
            // Type, root and mount point.
            see("texts", [9, 26, 27].map(|half| text_at(&told, half)));
            let size = word(&told, 0) & 0xffff_ffff;
            let exact = call(STATMOUNT, &[from(&request(proc, what)), told_at, size, 0]);
            let short = call(
                STATMOUNT,
                &[from(&request(proc, what)), told_at, size - 1, 0],
            );
            see("sizes", (exact, short));
        }
    }
    let fixed = |what, size| call(STATMOUNT, &[from(&request(proc, what)), told_at, size, 0]);
    see(
        "short",
        [
            fixed(2, 512),
            fixed(2, 16),
            fixed(2, 0),
            fixed(8, 512),
            fixed(8, 16),
        ],
    );
    see(
        "told nowhere",
        call(STATMOUNT, &[from(&request(proc, 2)), NOWHERE, 512, 0]),
    );
}

const SETXATTRAT: i64 = 463;
const GETXATTRAT: i64 = 464;
const LISTXATTRAT: i64 = 465;
const REMOVEXATTRAT: i64 = 466;

/// Extended attributes by directory, path and flags.
fn attributes() {
    const EMPTY: u64 = 0x1000;
    const NOFOLLOW: u64 = 0x100;
    let paths = paths();
    let attribute = name("user.x");
    let attribute = text(&attribute);
    let value = *b"value";
    // struct xattr_args.
    let mut args = [from(&value), 5, 0, 0];
    let set = |path: u64, flags: u64, args: &[u64; 4], size: u64| {
        call(SETXATTRAT, &[CWD, path, flags, attribute, from(args), size])
    };
    let mut room = [0_u8; 64];
    for (which, path) in &paths[..8] {
        let path = text(path);
        see(
            "set",
            (
                which,
                set(path, 0, &args, 16),
                set(path, NOFOLLOW, &args, 16),
            ),
        );
        see(
            "sizes",
            (
                set(path, 0, &args, 15),
                set(path, 0, &args, 32),
                set(path, 0, &args, 4097),
            ),
        );
        see("flags", set(path, 0x20, &args, 16));
        let told = [out(&mut room), 64];
        let got = call(GETXATTRAT, &[CWD, path, 0, attribute, from(&told), 16]);
        see("get", (which, got, &room[..6]));
        let list = call(LISTXATTRAT, &[CWD, path, 0, out(&mut room), 64]);
        see("list", (which, list.is_ok_and(|length| length >= 7)));
    }
    let file = text(&paths[7].1);
    args[1] = 1 << 32 | 5;
    see("create", set(file, 0, &args, 16));
    args[1] = 2 << 32 | 5;
    see("replace", set(file, 0, &args, 16));
    args[1] = 4 << 32 | 5;
    see("no such flag", set(file, 0, &args, 16));
    args[1..].copy_from_slice(&[5, 1, 0]);
    see("more", set(file, 0, &args, 24));
    for (size, flags) in [(0, 0), (1, 0), (5, 0), (64, 1)] {
        let told = [out(&mut room), flags << 32 | size];
        let got = call(GETXATTRAT, &[CWD, file, 0, attribute, from(&told), 16]);
        see("room", (size, flags, got));
    }
    let fd = at(libc::SYS_openat, "file", &[0]).expect("a file");
    let empty = name("");
    let told = [out(&mut room), 64];
    for path in [0, text(&empty)] {
        for flags in [0, EMPTY, EMPTY | NOFOLLOW] {
            let get = [fd, path, flags, attribute, from(&told), 16];
            let list = [fd, path, flags, out(&mut room), 0];
            let listed = call(LISTXATTRAT, &list).map(|length| length >= 7);
            see("of", (path == 0, flags, call(GETXATTRAT, &get), listed));
        }
    }
    let remove = |path, flags| call(REMOVEXATTRAT, &[CWD, path, flags, attribute]);
    see(
        "remove",
        (
            remove(file, 1),
            remove(file, 0),
            remove(file, 0),
            remove(0, 0),
        ),
    );
}

/// Advice about memory of one's own, by a process descriptor.
fn advice() {
    let pid = u64::from(std::process::id());
    let own = call(libc::SYS_pidfd_open, &[pid, 0]).expect("a descriptor");
    let memory = call(libc::SYS_mmap, &[0, 0x4000, 3, 0x22, u64::MAX, 0]).expect("memory");
    let two = [[memory, 0x1000_u64], [memory + 0x2000, 0x2000]];
    let advise = |fd: u64, from: u64, count: u64, advice: u64, flags: u64| -> Result<u64> {
        call(libc::SYS_process_madvise, &[fd, from, count, advice, flags])
    };
    // PIDFD_SELF_THREAD, PIDFD_SELF_THREAD_GROUP; then what is no process.
    for fd in [own, signed(-10_000), signed(-10_001), signed(-1), 0] {
        for advice in [3, 4, 20, 21, 99] {
            see(
                "own",
                (fd == own, advice, advise(fd, from(&two), 2, advice, 0)),
            );
        }
    }
    see("flags", advise(own, from(&two), 2, 20, 1));
    see("nothing", advise(own, from(&two), 0, 20, 0));
    see("many", advise(own, from(&two), 1025, 20, 0));
    see("nowhere", advise(own, NOWHERE, 1, 20, 0));
    let bad = [[memory, 0x1000], [0x1000, 0x1000_u64]];
    see("second", advise(own, from(&bad), 2, 20, 0));
    see("unmapped", advise(own, from(&bad) + 16, 1, 20, 0));
    see(
        "crooked",
        advise(own, from(&[memory + 1, 0x1000]), 1, 20, 0),
    );
    see("endless", advise(own, from(&[memory, 1 << 63]), 1, 20, 0));
}

/// Setting the clock, as far as it changes nothing.
fn setting() {
    for minutes in [901_i32, -901] {
        see(
            "zone",
            call(libc::SYS_settimeofday, &[0, from(&[minutes, 0])]),
        );
    }
    see("nothing", call(libc::SYS_settimeofday, &[0, 0]));
    see("zone nowhere", call(libc::SYS_settimeofday, &[0, NOWHERE]));
    const MODES: usize = 0;
    const FREQUENCY: usize = 2;
    const SECONDS: usize = 9;
    const MICROSECONDS: usize = 10;
    const TICK: usize = 11;
    for (modes, at, value) in [
        (0x4000, TICK, 8999),
        (0x4000, TICK, 11001),
        (0x8000, TICK, 0),
        (0x100, MICROSECONDS, 1_000_000),
        (0x100, SECONDS, 1 << 63),
        (0x2, FREQUENCY, i64::MAX as u64),
    ] {
        let mut asked = [0_u64; 26];
        (asked[MODES], asked[at]) = (modes, value);
        if at == SECONDS {
            asked[MICROSECONDS] = u64::MAX;
        }
        let own = call(libc::SYS_adjtimex, &[out(&mut asked)]);
        see(
            "bad",
            (
                modes,
                own,
                call(libc::SYS_clock_adjtime, &[0, out(&mut asked)]),
            ),
        );
    }
    for clock in [8, 9] {
        for flags in [0, 1] {
            let made = call(libc::SYS_timerfd_create, &[clock, flags]);
            see("alarm", (clock, flags, made.map(close).map(|_| ())));
        }
    }
    for clock in [10, 12, 15, signed(-2)] {
        see(
            "no timer",
            (clock, call(libc::SYS_timerfd_create, &[clock, 0])),
        );
    }
}

/// Calls that tell of what zones do not have, and a few that nothing stands against.
fn others() {
    let mut room = [0_u64; 512];
    let huge = 5000;
    see("bpf", call(libc::SYS_bpf, &[1000, out(&mut room), 16]));
    see("bpf size", call(libc::SYS_bpf, &[0, out(&mut room), huge]));
    see("bpf nowhere", call(libc::SYS_bpf, &[0, NOWHERE, 16]));
    let event = |args: &[u64]| call(libc::SYS_perf_event_open, args);
    see(
        "event nowhere",
        event(&[NOWHERE, 0, signed(-1), signed(-1), 0]),
    );
    see(
        "event flags",
        event(&[out(&mut room), 0, signed(-1), signed(-1), 0x10]),
    );
    for size in [1_u64, 63, 4097] {
        room[0] = size << 32;
        see(
            "event size",
            event(&[out(&mut room), 0, signed(-1), signed(-1), 0]),
        );
    }
    // lsm_set_self_attr(2), to which the first 32 bytes are a head.
    for (size, flags) in [(0, 0), (31, 0), (32, 1), (huge, 0)] {
        let set = call(460, &[100, out(&mut room), size, flags]);
        see("attribute", (size, flags, set));
    }
    see("attribute nowhere", call(460, &[100, NOWHERE, 32, 0]));
    let none_there = [1_u64 << 63, 0];
    let first_only = [1_u64, 0];
    for (old, new, bits) in [
        (&first_only, &none_there, 65),
        (&first_only, &none_there, 64),
    ] {
        let args = [0, bits, from(old), from(new)];
        see("nodes", (bits, call(libc::SYS_migrate_pages, &args)));
    }
    let both = [1_u64 << 63 | 1, 0];
    let args = [0, 65, from(&first_only), from(&both)];
    see("nodes", call(libc::SYS_migrate_pages, &args).is_ok());
    let secret = call(libc::SYS_memfd_secret, &[2]);
    see("secret", secret);
    see("home", call(450, &[0, 4096, 0, 1]));
}
