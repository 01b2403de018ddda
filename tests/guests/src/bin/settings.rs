//! Settings of `/proc/sys` that a zone has of its own.
//!
//! Natively in name spaces of the guest's own, so that nobody else's are changed.

use picozone_guests::{Result, call, child, from, out, sections, see};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};

fn main() {
    // UTS and IPC.
    let _ = call(libc::SYS_unshare, &[0x0c00_0000]);
    sections(&[
        ("names", names),
        ("messages", messages),
        ("semaphores", semaphores),
        ("memory", memory),
        ("numbers", numbers),
        ("users", users),
    ]);
}

const KERNEL: &str = "/proc/sys/kernel";

fn put(name: &str, value: &str) -> std::result::Result<(), Option<i32>> {
    let written = fs::write(format!("{KERNEL}/{name}"), value);
    written.map_err(|error| error.raw_os_error())
}

fn get(name: &str) -> String {
    let shown = fs::read_to_string(format!("{KERNEL}/{name}")).unwrap_or_default();
    shown.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// Host and domain name as uname(2) tells them.
fn told() -> [String; 2] {
    let mut names = [[0_u8; 65]; 6];
    call(libc::SYS_uname, &[out(&mut names)]).expect("they are there");
    [1, 5].map(|at| {
        let name = names[at].split(|byte| *byte == 0).next();
        String::from_utf8_lossy(name.unwrap_or_default()).into_owned()
    })
}

fn names() {
    see("domain", put("domainname", "example.org\n"));
    for name in ["one\n", "two", "three\nmore\n", &"x".repeat(100)] {
        see("written", (put("hostname", name), told(), get("hostname")));
    }
    let mut file = File::create(format!("{KERNEL}/hostname")).expect("it is there");
    see("open", told());
    see(
        "while it is open",
        (file.write_all(b"four").is_ok(), told()),
    );
    drop(file);
    see("closed", (told(), get("hostname")));
    let set = call(libc::SYS_sethostname, &[b"five".as_ptr() as u64, 4]);
    see("set", (set, get("hostname"), get("domainname")));
    let other = child(|| i32::from(put("hostname", "six").is_err()));
    see("by another", (other.wait(), told()));
}

fn queue() -> Result<u64> {
    call(libc::SYS_msgget, &[0, 0o600])
}

fn remove(queue: u64) {
    call(libc::SYS_msgctl, &[queue, 0, 0]).expect("it is ours");
}

fn messages() {
    let first = queue().expect("a queue");
    let message = [1_u64; 40];
    let send = |to: u64, size: u64| call(libc::SYS_msgsnd, &[to, from(&message), size, 0o4000]);
    see("longest", (put("msgmax", "100\n"), get("msgmax")));
    see("fits", (send(first, 100), send(first, 101)));
    see("no number", get("msgmax") == "100");
    see("of all", (put("msgmnb", "150"), get("msgmnb")));
    let second = queue().expect("a queue");
    see("full", (send(second, 100), send(second, 100)));
    see("the old one", send(first, 100));
    see("how many", (put("msgmni", "3"), get("msgmni")));
    let third = queue();
    see("enough", (third.is_ok(), queue()));
    for made in [first, second, third.unwrap_or(first)] {
        remove(made);
    }
    see("again", queue().map(remove));
}

fn semaphores() {
    see("limits", (put("sem", "10 25 5 3\n"), get("sem")));
    let set = |count: u64| call(libc::SYS_semget, &[0, count, 0o600]);
    let first = set(10).expect("a set");
    see("too large", set(11));
    let second = set(10).expect("a set");
    see("too many in all", set(6));
    let third = set(5).expect("a set");
    see("too many", set(1).is_err());
    let nothing = [0_u64; 8];
    let operate = |count: u64| call(libc::SYS_semop, &[first, from(&nothing), count]);
    see("operations", (operate(5), operate(6)));
    for made in [first, second, third] {
        call(libc::SYS_semctl, &[made, 0, 0, 0]).expect("it is ours");
    }
}

fn memory() {
    let make = |size: u64| call(libc::SYS_shmget, &[0, size, 0o600]);
    see("largest", (put("shmmax", "8192"), get("shmmax")));
    see("too large", make(8193));
    see("pages", (put("shmall", "3"), get("shmall")));
    let first = make(8192).expect("a segment");
    see("no pages", make(8192));
    see("how many", (put("shmmni", "1"), get("shmmni")));
    see("no more", make(1));
    call(libc::SYS_shmctl, &[first, 0, 0]).expect("it is ours");
    see("again", make(1).is_ok());
}

fn numbers() {
    see("usual", get("msg_next_id"));
    for (name, get_call, arguments, remove) in [
        (
            "msg_next_id",
            libc::SYS_msgget,
            [0, 0o600, 0],
            libc::SYS_msgctl,
        ),
        (
            "sem_next_id",
            libc::SYS_semget,
            [0, 1, 0o600],
            libc::SYS_semctl,
        ),
        (
            "shm_next_id",
            libc::SYS_shmget,
            [0, 4096, 0o600],
            libc::SYS_shmctl,
        ),
    ] {
        see(name, (put(name, "70005"), get(name)));
        let made = call(get_call, &arguments);
        see("made", made);
        see("used", get(name));
        let asked = put(name, "70005\n");
        let next = call(get_call, &arguments);
        see("taken", (asked, next));
        see("none", get(name));
        for id in [made, next].into_iter().flatten() {
            // IPC_RMID, which is 0; semctl(2) has a number before it.
            call(remove, &[id, 0, 0]).expect("it is ours");
        }
    }
}

fn users() {
    let other = child(|| {
        for nr in [libc::SYS_setgid, libc::SYS_setuid] {
            call(nr, &[4321]).expect("we are root");
        }
        see("write", put("msgmax", "50"));
        see("read", get("msgmax") != "50");
        0
    });
    see("end", other.wait());
    let mut text = String::new();
    let mut file = File::open(format!("{KERNEL}/hostname")).expect("it is there");
    see("only to be read", file.write_all(b"x").is_err());
    see("read", file.read_to_string(&mut text).is_ok());
    // Root may open what cannot be written.
    let opened = OpenOptions::new().write(true).open("/proc/cpuinfo");
    let written = opened.map(|mut file| file.write_all(b"x").is_err());
    see("what nobody writes", written.ok());
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(format!("{KERNEL}/hostname"));
    see("made", made.map(drop).map_err(|error| error.raw_os_error()));
}
