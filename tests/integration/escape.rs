//! A guest with machine code of its own choice does not leave its zone.
//!
//! The attempts are in `tests/guests/src/bin/hostile.rs`; here is what they aim at: a process and a
//! socket of the same user of the host, and a file of that user that the zone sees read-only.

use crate::harness::{self, Home, confined, in_each_role};
use crate::rewrite;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Stdio;

in_each_role!(
    attempts_are_refused,
    attempts_are_refused_where_programs_are_rewritten,
    forms_that_pass_do_no_harm,
    set_id_bits_stay_in_the_zone,
    what_is_handed_in_stays_the_hosts,
    another_zone_is_out_of_reach,
    a_directory_that_left_the_zone_leads_nowhere,
    init_outlives_its_guests,
    objects_of_another_zone_do_not_exist
);
confined!(attempts_are_refused);

/// What is not to change of a file.
fn state(path: &Path) -> (u32, u32, u32, i64, i64, u64, Vec<u8>) {
    let data = fs::metadata(path).expect("it is there");
    let (mtime, mtime_ns) = (data.mtime(), data.mtime_nsec());
    let content = fs::read(path).expect("we may read it");
    (
        data.mode(),
        data.uid(),
        data.gid(),
        mtime,
        mtime_ns,
        data.size(),
        content,
    )
}

fn attempts_are_refused(home: &Home) {
    let owned = |path: &Path| {
        if let Some((uid, gid)) = home.role().account() {
            chown(path, Some(uid), Some(gid)).expect("we are root");
        }
    };
    let shared = home.place().work();
    let victim = shared.join("file");
    fs::write(&victim, "not to be changed").expect("a file");
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o640)).expect("it is ours");
    owned(&shared);
    owned(&victim);
    let bind = format!("{}:/victim:ro", shared.display());
    let zone = home.create_with("cage", &["--bind", &bind]);
    home.zone(&["boot", "cage"]).ok();

    let socket = home.dir().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let datagrams = home.dir().join("socket.datagrams");
    let receiver = std::os::unix::net::UnixDatagram::bind(&datagrams).expect("a socket");
    for socket in [&socket, &datagrams] {
        fs::set_permissions(socket, fs::Permissions::from_mode(0o777)).expect("it is ours");
    }
    let mut other = home
        .host(Path::new("/bin/sleep"))
        .arg("1000")
        .stdout(Stdio::null())
        .spawn()
        .expect("sleep");
    let before = state(&victim);
    harness::copy_program(&harness::guest("hostile"), &zone.root().join("hostile"));
    let pid = other.id().to_string();
    let socket = socket.to_str().expect("text");
    let output = zone.run(&["/hostile", &pid, socket]);
    let is_alive = other.try_wait().is_ok_and(|status| status.is_none());
    let _ = other.kill();
    let _ = other.wait();

    assert_all_refused(&output);
    assert!(output.stdout.contains("refused a doorbell full of garbage"));
    assert!(output.stdout.lines().count() > 340);
    assert!(is_alive, "a process of the host was ended");
    assert_eq!(state(&victim), before);
    listener.set_nonblocking(true).expect("a socket");
    assert!(
        listener.accept().is_err(),
        "a socket of the host was reached"
    );
    receiver.set_nonblocking(true).expect("a socket");
    assert!(
        receiver.recv(&mut [0; 8]).is_err(),
        "a datagram socket of the host was reached"
    );
    // The monitor serves on.
    assert_eq!(zone.sh("cat /proc/uptime >/dev/null; echo well"), "well\n");
}

/// What the filter lets through as it is, by a guest that means it ill.
fn forms_that_pass_do_no_harm(home: &Home) {
    let mut other = home
        .host(Path::new("/bin/sleep"))
        .arg("1000")
        .stdout(Stdio::null())
        .spawn()
        .expect("sleep");
    let zone = home.boot("cage");
    harness::copy_program(
        &harness::guest("hostile_forms"),
        &zone.root().join("hostile"),
    );
    let output = zone.run(&["/hostile", &other.id().to_string()]);
    let _ = other.kill();
    let _ = other.wait();
    assert_all_refused(&output);
    assert!(output.stdout.lines().count() > 400);
    assert_eq!(zone.sh("cat /proc/uptime >/dev/null; echo well"), "well\n");
}

/// Of a tree so deep that its paths are not told, which the host takes out of a bind, a guest sees nothing
/// above what it has open.
fn a_directory_that_left_the_zone_leads_nowhere(home: &Home) {
    let shared = home.place().work();
    for name in ["in", "out"] {
        let directory = shared.join(name);
        fs::create_dir(&directory).expect("made");
        if let Some((uid, gid)) = home.role().account() {
            chown(&directory, Some(uid), Some(gid)).expect("we are root");
        }
    }
    let bind = format!("{}:/share:rw", shared.join("in").display());
    let zone = home.create_with("cage", &["--bind", &bind]);
    home.zone(&["boot", "cage"]).ok();
    harness::copy_program(&harness::guest("depths"), &zone.root().join("depths"));
    let mut guest = zone
        .command(&["/depths", "outside", "/share/top"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a command");
    let mut lines = BufReader::new(guest.stdout.take().expect("a pipe")).lines();
    let mut line = || lines.next().map(|line| line.expect("text"));
    assert_eq!(line().as_deref(), Some("above: Ok(\"40755 0\")"));
    fs::rename(shared.join("in/top"), shared.join("out/top")).expect("the host may");
    drop(guest.stdin.take());
    let mut said = 0;
    while let Some(line) = line() {
        assert!(line.ends_with("Err(ENOENT))"), "{line}");
        said += 1;
    }
    assert_eq!(said, 7);
    assert!(guest.wait().expect("our child").success());
}

/// Every attempt of the guest `hostile` was refused, and none ended it.
#[track_caller]
pub fn assert_all_refused(output: &harness::Output) {
    let lines = output.stdout.lines();
    let wrong: Vec<&str> = lines
        .filter(|line| !line.starts_with("refused ") && !is_own_view(line))
        .collect();
    assert_eq!(wrong, ["still runs"], "{}", output.stderr);
}

/// Whether what succeeded changed only where a process of a strict zone has commons and mailboxes mapped:
/// it maps others there when it takes on a user, so the filter keeps neither in place. The memory itself
/// is its zone's as before, and any guest could write it.
fn is_own_view(line: &str) -> bool {
    let verbs = ["munmap of", "mprotect of", "pkey_mprotect of", "mmap over"];
    harness::are_all_strict()
        && verbs.iter().any(|verb| {
            let what = line
                .strip_prefix("ESCAPED ")
                .and_then(|rest| rest.strip_prefix(verb));
            what.is_some_and(|what| {
                what.starts_with(" commons,") || what.starts_with(" mailboxes,")
            })
        })
}

/// The same where the zone's programs are rewritten, and so there are copies to aim at.
fn attempts_are_refused_where_programs_are_rewritten(home: &Home) {
    let zone = home.create_with("cage", &["--rewrite", "on"]);
    home.zone(&["boot", "cage"]).ok();
    harness::copy_program(&harness::guest("hostile"), &zone.root().join("hostile"));
    let own = home.dir().join("zones/cage/run/rewritten");
    if rewrite::is_possible() {
        harness::eventually("the zone has copies", || {
            zone.sh("ls / >/dev/null");
            let mut copies = fs::read_dir(&own).expect("their directory");
            copies.next().map(drop)
        });
    }
    let copies = home.dir().join("cache/rewritten");
    // Others may come meanwhile, and be in the making.
    let states = || {
        let entries = fs::read_dir(&copies).expect("the directory of copies");
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths
            .filter(|path| {
                let name = path.file_name().unwrap_or_default();
                name.to_string_lossy().contains('-')
            })
            .map(|path| (path.clone(), state(&path)))
            .collect::<BTreeMap<_, _>>()
    };
    let before = states();
    let pid = std::process::id().to_string();
    let output = zone.run(&["/hostile", &pid, "/nowhere"]);
    assert_all_refused(&output);
    assert!(before.is_empty() || output.stdout.contains("linkat of a copy"));
    let after = states();
    for (path, state) in &before {
        assert!(after.get(path) == Some(state), "{} changed", path.display());
    }
    assert_eq!(zone.sh("cat /proc/uptime >/dev/null; echo well"), "well\n");
}

fn set_id_bits_stay_in_the_zone(home: &Home) {
    let zone = home.boot("bits");
    let shown = zone.sh(
        "cd /srv && cp /bin/true tool && chown 33:33 tool && chmod 6755 tool && stat -c %a:%u tool
         install -m 4755 /bin/true other && stat -c %a other",
    );
    assert_eq!(shown, "6755:33\n4755\n");
    for name in ["tool", "other"] {
        let mode = fs::metadata(zone.root().join("srv").join(name)).map(|data| data.mode());
        assert_eq!(mode.expect("it is there") & 0o6000, 0, "{name}");
    }
}

/// A descriptor of a file that the zone does not see gives no right to change the file, also where
/// mounts have come and gone.
fn what_is_handed_in_stays_the_hosts(home: &Home) {
    const TRIES: &str = "import os
for name, do in [
    ('fchmod', lambda: os.fchmod(0, 0o777)),
    ('chmod', lambda: os.chmod('/proc/self/fd/0', 0o777)),
    ('fchown', lambda: os.fchown(0, 1, 1)),
    ('utime', lambda: os.utime(0, (1, 1))),
    ('truncate', lambda: os.truncate('/proc/self/fd/0', 1)),
    ('setxattr', lambda: os.setxattr(0, 'user.x', b'x')),
    ('removexattr', lambda: os.removexattr(0, 'user.there')),
]:
    try:
        do()
        print('ESCAPED', name)
    except OSError as error:
        print('refused', name, error.errno)
print('still runs')
";
    if harness::program("what is handed in", "python3").is_none() {
        return;
    }
    let victim = home.place().work().join("file");
    fs::write(&victim, "not to be changed").expect("a file");
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o640)).expect("it is ours");
    if let Some((uid, gid)) = home.role().account() {
        chown(&victim, Some(uid), Some(gid)).expect("we are root");
    }
    let zone = home.boot("cage");
    let state = || {
        (
            state(&victim),
            fs::metadata(&victim).expect("there").ctime(),
        )
    };
    let before = state();
    let try_all = || {
        let mut command = home.host(Path::new("sh"));
        let script = "exec \"$1\" login cage -- python3 -c \"$2\" <\"$0\"";
        command.args(["-c", script]).arg(&victim);
        command.arg(home.place().zone()).arg(TRIES);
        assert_all_refused(&harness::run(&mut command, harness::LIMIT));
        assert_eq!(state(), before);
    };
    try_all();
    zone.sh("mkdir /mnt/a /mnt/b; mount -t tmpfs a /mnt/a; mount -t tmpfs b /mnt/b; umount /mnt/a");
    try_all();
    zone.sh("umount /mnt/b");
    try_all();
    sockets_are_not_named_by_what_is_handed_in(home, &zone);
}

/// A directory, and a socket, that the zone's program has open: it names no socket of the host by them.
fn sockets_are_not_named_by_what_is_handed_in(home: &Home, zone: &harness::Zone<'_>) {
    const HAND: &str = "import os, sys
os.dup2(os.open(sys.argv[1], os.O_PATH), 0)
os.execv(sys.argv[2], sys.argv[2:])
";
    const TRIES: &str = "import socket
for path in ['/proc/self/fd/5', '/dev/fd/5', '/proc/self/fd/5/socket', '/proc/self/fd/5/../socket', '/proc/self/fd/5/new']:
    for name in ['connect', 'bind']:
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            getattr(one, name)(path)
            print('ESCAPED', name, path)
        except OSError as error:
            print('refused', name, path, error.errno)
    try:
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', path)
        print('ESCAPED sendto', path)
    except OSError as error:
        print('refused sendto', path, error.errno)
print('still runs')
";
    let work = home.place().work();
    let socket = work.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).expect("it is ours");
    for handed in [&work, &socket] {
        let mut command = home.host(Path::new("python3"));
        command.args(["-c", HAND]).arg(handed);
        command.arg(home.place().zone());
        let elsewhere = "exec 5<&0 </dev/null; exec python3 -c \"$0\"";
        command.args(["login", zone.name(), "--", "sh", "-c", elsewhere, TRIES]);
        assert_all_refused(&harness::run(&mut command, harness::LIMIT));
    }
    assert!(!work.join("new").exists());
}

/// What a program does to init of its zone is without effect; machine code ends it, and then the zone has
/// ended, its command line says so, and it boots again.
fn init_outlives_its_guests(home: &Home) {
    let zone = home.boot("cage");
    fs::copy(harness::guest("hostile_init"), zone.root().join("hostile")).expect("the guest");
    let output = zone.run(&["/hostile", "asks"]);
    assert_all_refused(&output);
    // It reaps, and starts programs.
    let zombies = "sh -c '(true &) ; true'; ps -eo stat | grep -c Z";
    harness::eventually("orphans are reaped", || {
        (zone.run(&["sh", "-c", zombies]).stdout == "0\n").then_some(())
    });
    assert!(home.zone(&["list"]).ok().contains("running"));

    zone.run(&["/hostile", "kills"]);
    harness::eventually("the zone has ended", || {
        home.zone(&["list"])
            .ok()
            .contains("installed")
            .then_some(())
    });
    let log = fs::read_to_string(home.dir().join("zones/cage/run/log")).expect("the log");
    assert!(log.contains("its init ended"), "{log}");
    home.zone(&["boot", "cage"]).ok();
    assert_eq!(zone.sh("echo well"), "well\n");
}

fn another_zone_is_out_of_reach(home: &Home) {
    let [one, two] = ["one", "two"].map(|name| home.boot(name));
    one.sh("echo secret >/srv/file; exec sleep 1000 >/dev/null 2>&1 </dev/null &");
    // Neither its processes, nor its files, nor its sockets by name.
    let seen = two.sh("ps ax; ls /srv; ls -d /proc/[0-9]* | wc -l");
    assert!(!seen.contains("sleep") && !seen.contains("file"), "{seen}");
    let pid = one.sh("pgrep sleep");
    let killed = two.run(&["kill", pid.trim()]);
    assert_ne!(killed.status, 0);
    assert_eq!(one.sh("pgrep -c sleep"), "1\n");
}

/// IPC objects with the same keys in two zones and on the host are as many objects.
fn objects_of_another_zone_do_not_exist(home: &Home) {
    const MAKE: &str = "ipcmk -M 4096 -S 2 -Q >/dev/null && ipcs | grep -c ^0x";
    let [one, two] = ["one", "two"].map(|name| home.boot(name));
    for zone in [&one, &two] {
        assert_eq!(zone.sh(MAKE), "3\n");
    }
    let list = "ipcs | sed -n 's/^0x[^ ]* *\\([0-9]*\\).*/\\1/p'";
    let [first, second] = [&one, &two].map(|zone| zone.sh(list));
    // The first object of either has the same number.
    assert_eq!(first, second);
    one.sh("ipcrm --all");
    assert_eq!(one.sh(list), "");
    assert_eq!(two.sh(list), second);
}
