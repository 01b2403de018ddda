//! Keyrings: add_key(2), request_key(2), keyctl(2).

use picozone_guests::{
    Child, Errno, NOWHERE, Result, call, child, from, libc_result, out, sections, see, signed, text,
};
use std::ffi::CStr;

fn main() {
    sections(&[
        ("special", special),
        ("added", added),
        ("links", links),
        ("found", found),
        ("read", read),
        ("ends", ends),
        ("attributes", attributes),
        ("sessions", sessions),
        ("inherited", inherited),
        ("after_exec", after_exec),
        ("others", others),
        ("quota", quota),
    ]);
}

const THREAD: i32 = -1;
const PROCESS: i32 = -2;
const SESSION: i32 = -3;
const USER: i32 = -4;
const USER_SESSION: i32 = -5;

fn add(kind: &CStr, description: &CStr, data: &[u8], ring: i32) -> Result<i32> {
    let data_at = if data.is_empty() {
        0
    } else {
        data.as_ptr() as u64
    };
    let arguments = [
        text(kind),
        text(description),
        data_at,
        data.len() as u64,
        signed(ring),
    ];
    call(libc::SYS_add_key, &arguments).map(serial)
}

fn serial(value: u64) -> i32 {
    i32::try_from(value).unwrap_or(0)
}

fn control(operation: u64, arguments: &[u64]) -> Result<u64> {
    let mut all = [operation, 0, 0, 0, 0];
    all[1..=arguments.len()].copy_from_slice(arguments);
    call(libc::SYS_keyctl, &all)
}

/// An operation on a key that gives no number of a key.
fn on(operation: u64, key: i32, rest: &[u64]) -> Result<u64> {
    control(operation, &[&[signed(key)], rest].concat())
}

fn request(kind: &CStr, description: &CStr, information: Option<&CStr>, to: i32) -> Result<i32> {
    let arguments = [
        text(kind),
        text(description),
        information.map_or(0, text),
        signed(to),
    ];
    call(libc::SYS_request_key, &arguments).map(serial)
}

fn ring(id: i32, creates: u64) -> Result<i32> {
    on(0, id, &[creates]).map(serial)
}

fn link(key: i32, to: i32) -> Result<u64> {
    on(8, key, &[signed(to)])
}

fn unlink(key: i32, of: i32) -> Result<u64> {
    on(9, key, &[signed(of)])
}

/// What a key is described as, without its number.
fn described(key: i32) -> Result<String> {
    let mut room = [0_u8; 256];
    let length = on(6, key, &[out(&mut room), 256])?;
    let length = usize::try_from(length).unwrap_or(0);
    let shown = String::from_utf8_lossy(&room[..length]).into_owned();
    // type;uid;gid;rights;description
    let fields: Vec<&str> = shown.splitn(5, ';').collect();
    Ok([fields[0], fields[3], fields[4]].join(";"))
}

fn content(key: i32) -> Result<Vec<u8>> {
    let mut room = vec![0_u8; 40_000];
    let length = on(11, key, &[out(&mut room[0]), 40_000])?;
    room.truncate(usize::try_from(length).unwrap_or(0));
    Ok(room)
}

/// How many keys a keyring holds.
fn count(ring: i32) -> Result<usize> {
    content(ring).map(|keys| keys.len() / 4)
}

/// A session keyring of one's own, so that nothing is left to others.
fn fresh() -> i32 {
    control(1, &[0]).map(serial).expect("a session")
}

fn special() {
    fresh();
    for id in [THREAD, PROCESS] {
        see("not yet", (id, ring(id, 0)));
        let made = ring(id, 1);
        see("made", (id, made.is_ok()));
        see("the same", (id, ring(id, 0) == made));
        see("described", described(id));
    }
    for id in [SESSION, USER, USER_SESSION] {
        see("there", (id, ring(id, 0).is_ok()));
    }
    see("session", described(SESSION));
    for id in [-6, -7, -8, -9, 0, i32::MIN, i32::MAX] {
        see("none", (id, ring(id, 1)));
    }
    see("in the session's", count(USER_SESSION).is_ok_and(|n| n > 0));
    for wanted in [-1, 0, 3, 1, 2, 4, 5, 6, 7, 8, 9] {
        see("default", (wanted, on(14, wanted, &[])));
    }
    see("no operation", control(99, &[0]));
    see("capabilities", control(31, &[0, 0]).is_ok());
    see("assume", (on(16, 0, &[]), on(16, -1, &[]), on(16, 5, &[])));
    see(
        "instantiate",
        (
            on(12, 5, &[0, 0, 0]),
            on(13, 5, &[1, 0]),
            on(19, 5, &[1, 0, 0]),
            on(19, 5, &[1, 512, 0]),
        ),
    );
}

fn added() {
    fresh();
    let one = add(c"user", c"one", b"abc", SESSION);
    see("one", one.is_ok());
    let one = one.unwrap_or(0);
    see("described", described(one));
    see("again", add(c"user", c"one", b"other", SESSION) == Ok(one));
    see("content", content(one));
    let logon = add(c"logon", c"a:b", b"secret", SESSION).unwrap_or(0);
    see("logon", (described(logon), content(logon)));
    let inner = add(c"keyring", c"inner", b"", SESSION).unwrap_or(0);
    see("keyring", (described(inner), content(inner)));
    let other = add(c"keyring", c"inner", b"", SESSION);
    see("another", other.is_ok_and(|other| other != inner));
    // The first one has lost its only link, and is collected at some later time.
    let inner = other.unwrap_or(0);
    see("count", count(SESSION));
    for (kind, name, data) in [
        (c"user", c"", &b"x"[..]),
        (c"user", c"none", b""),
        (c"logon", c"plain", b"x"),
        (c"logon", c":x", b"x"),
        (c"keyring", c"full", b"x"),
        (c"keyring", c".own", b""),
        (c"user", c".own", b"x"),
        (c".kind", c"x", b"x"),
        (c"", c"x", b"x"),
        (c"no such", c"x", b"x"),
        (c"a name of a type that is far too long", c"x", b"x"),
    ] {
        see("made", (name, data, add(kind, name, data, SESSION).is_ok()));
        see("how", add(kind, name, data, SESSION).err());
    }
    for length in [4095, 4096, 4097, 32_767, 32_768] {
        let data = vec![7; length];
        let made = add(c"user", c"long", &data, SESSION);
        see("long", (length, made.err()));
        if let Ok(made) = made {
            see("all of it", content(made).map(|shown| shown == data));
        }
    }
    let bad = |arguments: &[u64]| call(libc::SYS_add_key, arguments);
    let (user, name, session) = (text(c"user"), text(c"n"), signed(SESSION));
    see("type nowhere", bad(&[NOWHERE, name, name, 1, session]));
    see("name nowhere", bad(&[user, NOWHERE, name, 1, session]));
    see("data nowhere", bad(&[user, name, NOWHERE, 1, session]));
    see("too much", bad(&[user, name, name, 1 << 20, session]));
    see("no ring", add(c"user", c"x", b"x", one));
    see("nowhere", add(c"user", c"x", b"x", i32::MAX));
    see("update", on(2, one, &[from(b"new"), 3]));
    see("updated", content(one));
    see("to nothing", on(2, one, &[from(b"new"), 0]));
    see("a keyring", on(2, inner, &[from(b"new"), 3]));
    see("too long", on(2, one, &[from(b"new"), 4097]));
}

fn links() {
    let session = fresh();
    let make = |name: &CStr, ring: i32| add(c"keyring", name, b"", ring).unwrap_or(0);
    let (a, b) = (make(c"a", SESSION), make(c"b", SESSION));
    let key = add(c"user", c"k", b"1", a).unwrap_or(0);
    see("into b", (link(key, b), count(b)));
    see("again", (link(key, b), count(b)));
    see("ring in ring", link(b, a));
    see("a loop", (link(a, b), link(a, a), link(session, a)));
    see("no ring", link(a, key));
    see("not there", unlink(b, b));
    see("out of a", (unlink(key, a), count(a), content(key)));
    see("twice", unlink(key, a));
    let other = add(c"user", c"k", b"2", a).unwrap_or(0);
    see("in its place", (link(other, b), count(b)));
    let moved = |flags: u64| on(30, other, &[signed(a), signed(session), flags]);
    see("moved", (moved(0), count(a)));
    see("moved again", moved(0));
    see("no such way", moved(2));
    link(other, a).expect("linked");
    see("only if there is none", moved(1));
    see("cleared", (on(7, b, &[]), count(b)));
    see("no ring to clear", on(7, other, &[]));
    see("restricted", (on(29, b, &[0, 0]), link(other, b)));
    see("twice restricted", on(29, b, &[0, 0]));
    let mut below = a;
    for depth in 0..8 {
        below = make(c"deeper", below);
        let deep = add(c"user", c"deep", b"x", below);
        see("possessed", (depth, deep.is_ok()));
    }
}

fn found() {
    fresh();
    let a = add(c"keyring", c"a", b"", SESSION).unwrap_or(0);
    let key = add(c"user", c"k", b"1", a).unwrap_or(0);
    see("by request", request(c"user", c"k", None, 0) == Ok(key));
    see("another type", request(c"logon", c"k", None, 0));
    see("no type", request(c"no such", c"k", None, 0));
    see("the kernel's", request(c".no", c"k", None, 0));
    let search = |of: i32, kind: &CStr, name: &CStr, to: i32| {
        on(10, of, &[text(kind), text(name), signed(to)]).map(serial)
    };
    see("searched", search(SESSION, c"user", c"k", 0) == Ok(key));
    see("itself", search(a, c"keyring", c"a", 0) == Ok(a));
    see("elsewhere", search(PROCESS, c"user", c"k", 0));
    see("nothing", search(SESSION, c"user", c"none", 0));
    see("no ring", search(key, c"user", c"k", 0));
    see("no such type", search(SESSION, c"none", c"k", 0));
    see(
        "linked",
        (
            search(SESSION, c"user", c"k", PROCESS) == Ok(key),
            count(PROCESS),
        ),
    );
    see(
        "and by request",
        request(c"user", c"k", None, THREAD) == Ok(key),
    );
    see("there", count(THREAD));
    // The kernel asks a program to make what is missing, where there is one.
    let missing = request(c"user", c"missing", Some(c"please"), PROCESS);
    see(
        "missing",
        matches!(missing, Err(Errno::ENOKEY | Errno::ENOENT)),
    );
    let keys = content(PROCESS).unwrap_or_default();
    let other = keys
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| i32::from_ne_bytes(*word));
    for negative in other.filter(|other| *other != key) {
        see("negative", (content(negative), described(negative)));
        see(
            "instead",
            add(c"user", c"missing", b"now", PROCESS) == Ok(negative),
        );
        see("now", content(negative));
    }
    let nowhere = call(libc::SYS_request_key, &[NOWHERE, text(c"k"), 0, 0]);
    let named = call(libc::SYS_request_key, &[text(c"user"), 0, 0, 0]);
    see("addresses", (nowhere, named));
}

fn read() {
    fresh();
    let key = add(c"user", c"k", b"12345", SESSION).unwrap_or(0);
    let mut room = [0_u8; 8];
    see("length", on(11, key, &[0, 0]));
    see("short", (on(11, key, &[out(&mut room), 3]), room));
    see("fits", (on(11, key, &[out(&mut room), 5]), room));
    see("nowhere", on(11, key, &[NOWHERE, 8]));
    see("none", on(11, i32::MAX, &[out(&mut room), 8]));
    see("describe", on(6, key, &[0, 0]).is_ok());
    see("security", on(17, key, &[out(&mut room), 8]).is_ok());
    let keys = std::fs::read_to_string("/proc/keys").unwrap_or_default();
    let own = format!("{key:08x} ");
    let line = keys.lines().find(|line| line.starts_with(&own));
    let fields: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
    see("listed", fields.get(7..));
    see("flags", fields.get(1));
    see("rights", fields.get(4));
    let users = std::fs::read_to_string("/proc/key-users").unwrap_or_default();
    see("counted", !users.is_empty());
}

fn ends() {
    fresh();
    let make = |name: &CStr| add(c"user", name, b"x", SESSION).unwrap_or(0);
    let (a, b, c) = (make(c"a"), make(c"b"), make(c"c"));
    see("revoked", on(3, a, &[]));
    see("twice", on(3, a, &[]));
    see("read", content(a));
    see("described", described(a));
    see("updated", on(2, a, &[from(b"n"), 1]));
    see("requested", request(c"user", c"a", None, 0));
    let other = make(c"a");
    see("another", (other != a, content(other)));
    see("invalidated", on(21, b, &[]));
    see("gone", described(b));
    see("timed", on(15, c, &[1000]));
    see("still", content(c));
    see("no more", on(15, c, &[0]));
    see("not there", on(15, i32::MAX, &[1]));
    let ring = add(c"keyring", c"r", b"", SESSION).unwrap_or(0);
    add(c"user", c"in it", b"x", ring).expect("made");
    see("a ring", on(3, ring, &[]));
    see("of it", (content(ring), add(c"user", c"x", b"x", ring)));
    see("to a revoked one", link(c, ring));
}

fn attributes() {
    fresh();
    let key = add(c"user", c"k", b"x", SESSION).unwrap_or(0);
    see("usual", described(key));
    let set = |rights: u64| on(5, key, &[rights]);
    see("set", (set(0x3f3f_0000), described(key)));
    see("no rights", set(0xffff_ffff));
    see("only view", (set(0x0103_0000), described(key)));
    see("no more", set(0x3f3f_0000));
    see("written", on(2, key, &[from(b"n"), 1]));
    let other = add(c"user", c"o", b"x", SESSION).unwrap_or(0);
    see("unreadable", (on(5, other, &[0x3d00_0000]), content(other)));
    see("unfound", (on(5, other, &[0x3500_0000]), content(other)));
    let third = add(c"user", c"t", b"x", SESSION).unwrap_or(0);
    see("as it is", on(4, third, &[signed(-1), signed(-1)]));
    see("not there", on(4, i32::MAX, &[0, 0]));
}

fn sessions() {
    let own = fresh();
    see("is it", ring(SESSION, 0) == Ok(own));
    let other = fresh();
    see("another", other != own);
    let name = c"picozone test";
    let named = control(1, &[text(name)]).map(serial).unwrap_or(0);
    see("named", (named > 0, described(named)));
    let done = child(|| {
        fresh();
        // Found by name where its rights let it be.
        let joined = control(1, &[text(name)]).map(serial);
        i32::from(joined == Ok(named))
    });
    see("not by others", done.wait());
    on(5, named, &[0x3f3f_0000]).expect("ours");
    let done = child(|| {
        fresh();
        let joined = control(1, &[text(name)]).map(serial);
        i32::from(joined == Ok(named))
    });
    see("by others", done.wait());
    see("the same", control(1, &[text(name)]));
    see("the kernel's", control(1, &[text(c".own")]));
    see("nowhere", control(1, &[NOWHERE]));
    let given = child(|| {
        fresh();
        let Ok(key) = add(c"user", c"given", b"x", SESSION) else {
            return 1;
        };
        let done = control(18, &[]);
        i32::from(done.is_err() || key <= 0)
    });
    see("to a parent", given.wait());
    see("has it", request(c"user", c"given", None, 0).is_ok());
    see("not the named one", ring(SESSION, 0) != Ok(named));
}

/// What of the keyrings there is, without making any.
fn rings() -> [bool; 3] {
    let has = |name: &CStr| request(c"user", name, None, 0).is_ok();
    [has(c"of thread"), has(c"of process"), has(c"of session")]
}

fn fill() {
    fresh();
    for (name, ring) in [
        (c"of thread", THREAD),
        (c"of process", PROCESS),
        (c"of session", SESSION),
    ] {
        add(c"user", name, b"x", ring).expect("made");
    }
}

fn inherited() {
    fill();
    see("own", rings());
    let other = std::thread::spawn(rings).join();
    see("a thread's", other.ok());
    let done = child(|| {
        let [thread, process, session] = rings().map(i32::from);
        thread | process << 1 | session << 2
    });
    see("a child's", done.wait());
    see("still", rings());
    let done = child(|| {
        fresh();
        i32::from(rings()[2])
    });
    see("not in another session", done.wait());
    see("but here", rings());
    see("default", on(14, 3, &[]));
    let done = child(|| i32::from(on(14, -1, &[]) == Ok(3)));
    see("default of a child", done.wait());
    let path = [
        c"./guest".as_ptr(),
        c"after_exec".as_ptr(),
        std::ptr::null(),
    ];
    // SAFETY: NUL-terminated texts, ended by a null pointer; returns only if it fails.
    see(
        "exec",
        libc_result(unsafe { libc::execv(path[0], path.as_ptr()) }),
    );
}

fn after_exec() {
    see("after an exec", rings());
    see("default", on(14, -1, &[]));
}

/// As another user; natively only root can become one.
fn as_user(uid: u64, body: impl FnOnce() -> i32) -> Child {
    child(|| {
        if call(libc::SYS_setresuid, &[uid, uid, uid]).is_err() {
            return 100;
        }
        body()
    })
}

fn others() {
    let session = fresh();
    let key = add(c"user", c"k", b"x", SESSION).unwrap_or(0);
    on(5, session, &[0x3f3f_0000]).expect("ours");
    // The session goes along; what the key gives to its owner does not.
    let done = as_user(4321, || {
        see("possessed", content(key));
        see(
            "its own",
            (ring(USER, 0).is_ok(), ring(USER_SESSION, 0).is_ok()),
        );
        see("chown", on(4, key, &[4321, signed(-1)]));
        see("setperm", on(5, key, &[0x3f3f_3f3f]));
        fresh();
        see("no more", (content(key), described(key)));
        see("linked", link(key, SESSION));
        0
    });
    see("end", done.wait());
    see("given", on(4, key, &[4321, 4321]));
    let done = as_user(4321, || {
        fresh();
        see("seen", described(key));
        see("read", content(key));
        0
    });
    see("end", done.wait());
    see("to all", on(5, key, &[0x3f3f_0003]));
    let done = as_user(4322, || {
        fresh();
        see("read", content(key));
        see("written", on(2, key, &[from(b"n"), 1]));
        0
    });
    see("end", done.wait());
    let persistent = |uid: i32| on(22, uid, &[signed(SESSION)]).is_ok();
    see("persistent", (persistent(-1), persistent(4321)));
    let done = as_user(4321, || {
        fresh();
        see("own", on(22, -1, &[signed(SESSION)]).is_ok());
        see("another's", on(22, 0, &[signed(SESSION)]));
        0
    });
    see("end", done.wait());
    let joined = as_user(4321, || {
        see("the same", control(18, &[]));
        fresh();
        see("to a parent of another user", control(18, &[]));
        0
    });
    see("end", joined.wait());
}

/// A user's quota ends it.
fn quota() {
    let done = as_user(4323, || {
        fresh();
        let mut last = Ok(0);
        for number in 0..1000_u32 {
            let name = std::ffi::CString::new(number.to_string()).expect("a name");
            last = add(c"user", &name, b"x", SESSION);
            if last.is_err() {
                break;
            }
        }
        see("at last", last);
        see("cleared", on(7, SESSION, &[]));
        // The kernel takes a moment to notice.
        let again = (0..100_000).find_map(|_| {
            std::thread::yield_now();
            add(c"user", c"again", b"x", SESSION).ok()
        });
        see("again", again.is_some());
        let large = vec![0; 30_000];
        see("too large", add(c"user", c"large", &large, SESSION).err());
        0
    });
    see("end", done.wait());
}
