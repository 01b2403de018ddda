//! In a zone of the strict profile users are kept apart whatever code they run.
//!
//! The attempts are in `tests/guests/src/bin/hostile_users.rs`; here is what they aim at. That they would
//! succeed is shown where they may: in a zone of the standard profile.

use crate::escape::assert_all_refused;
use crate::guests;
use crate::harness::{self, Home, Output, Zone, confined, in_each_role};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

in_each_role!(
    users_are_kept_apart,
    in_the_standard_profile_they_are_not,
    users_have_their_own_rights,
    programs_of_users_see_no_difference,
    set_id_programs_give_their_rights,
    what_is_said_of_oneself_holds,
    what_may_not_be_read_can_be_executed,
    ways_are_looked_at_where_they_begin,
    a_waiting_call_ends_by_a_signal,
    many_processes_and_threads,
);
confined!(users_are_kept_apart);

const STRICT: [&str; 2] = ["--profile", "strict"];

fn strict<'h>(home: &'h Home, name: &str) -> Zone<'h> {
    let zone = home.create_with(name, &STRICT);
    home.zone(&["boot", name]).ok();
    zone
}

/// Runs a script as a user of the zone.
fn by(zone: &Zone<'_>, user: &str, script: &str) -> Output {
    let home = zone.home();
    home.zone(&["login", zone.name(), "-u", user, "--", "sh", "-c", script])
}

/// A process of the zone's root that only waits, and its number.
struct Victim(Child, String);

impl Victim {
    fn start(zone: &Zone<'_>) -> Self {
        let mut child = zone
            .command(&["sh", "-c", "echo $$; exec sleep 1000"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("zone login");
        let output = child.stdout.take().expect("a pipe");
        let mut line = String::new();
        let mut reader = BufReader::new(output);
        reader.read_line(&mut line).expect("its number");
        Self(child, line.trim().to_owned())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What root keeps to itself.
fn lay_secrets(zone: &Zone<'_>) {
    zone.sh(
        "mkdir -p /root && chmod 700 /root && cp /bin/true /root/program && \
         echo a secret >/root/secret && chmod 600 /root/secret && touch -d @77 /root/secret",
    );
    let program = harness::guest("hostile_users");
    harness::copy_program(&program, &zone.root().join("hostile_users"));
}

fn attempts(zone: &Zone<'_>, victim: &Victim) -> Output {
    by(zone, "www-data", &format!("/hostile_users {}", victim.1))
}

fn users_are_kept_apart(home: &Home) {
    let zone = strict(home, "cage");
    lay_secrets(&zone);
    let victim = Victim::start(&zone);
    let output = attempts(&zone, &victim);
    assert_all_refused(&output);
    assert!(output.stdout.lines().count() > 150, "{}", output.stdout);
    assert_eq!(
        zone.sh("cat /root/secret; stat -c '%a %U %Y %h' /root/secret; ls /root; ls /tmp"),
        "a secret\n600 root 77 1\nprogram\nsecret\n"
    );
    let pid = &victim.1;
    let status = zone.sh(&format!("grep -E '^(Name|Uid|State)' /proc/{pid}/status"));
    assert!(
        status.contains("sleep") && status.contains("0\t0\t0\t0"),
        "{status}"
    );
    assert!(status.contains("S (sleeping)"), "{status}");
}

/// Or the test above would show nothing.
fn in_the_standard_profile_they_are_not(home: &Home) {
    let zone = home.create_with("open", &["--profile", "standard"]);
    home.zone(&["boot", "open"]).ok();
    lay_secrets(&zone);
    let victim = Victim::start(&zone);
    let output = attempts(&zone, &victim);
    for escaped in [
        "openat2 of root's file to read",
        "newfstatat by a vetted name",
        "mkdirat in root's directory",
        "the commons mapped anywhere",
        "kill at root's process",
    ] {
        let line = format!("ESCAPED {escaped}");
        assert!(
            output.stdout.lines().any(|found| found == line),
            "{line}: {}",
            output.stdout
        );
    }
}

/// What users may and may not is as in the standard profile.
fn users_have_their_own_rights(home: &Home) {
    let script = harness::script("as_a_user.py");
    let run = |profile: &str| {
        let zone = home.create_with(profile, &["--profile", profile]);
        home.zone(&["boot", profile]).ok();
        zone.sh("echo a secret >/root/secret; chmod 700 /root; chmod 600 /root/secret");
        let to = zone.root().join("as_a_user.py");
        fs::copy(&script, &to).expect("the script");
        let output = by(
            &zone,
            "www-data",
            "cd /tmp && HOME=/tmp exec python3 /as_a_user.py",
        );
        output.ok()
    };
    if harness::program("users_have_their_own_rights", "python3").is_none() {
        return;
    }
    let told = run("strict");
    assert_eq!(told, run("standard"));
    assert!(told.lines().count() > 50, "{told}");
}

/// What the guest programs of `tests/guests` do as users they do natively.
fn programs_of_users_see_no_difference(home: &Home) {
    if harness::Account::ordinary().is_none() {
        return harness::skip(
            "programs_of_users_see_no_difference",
            "it takes root to be others",
        );
    }
    guests::by_users_of(&strict(home, "zone"), REFUSED);
}

/// Sections about what users do not have there; and about limits of descriptors that another process sets in
/// the very moment when a child has a higher one, to begin with.
pub const REFUSED: &[(&str, &str)] = &[
    ("calls", "landlock"),
    ("others", "descriptors"),
    ("others", "limits"),
    ("others", "memory"),
    ("others", "spaces"),
    ("others", "users"),
];

/// What a process says of itself holds for what it executes, and for who looks at it.
fn what_is_said_of_oneself_holds(home: &Home) {
    let zone = strict(home, "zone");
    zone.sh("cp /usr/bin/id /srv/id && chmod 4755 /srv/id");
    let told = by(
        &zone,
        "www-data",
        "/srv/id -u; setpriv --no-new-privs /srv/id -u; \
         setpriv --no-new-privs sh -c 'grep NoNewPrivs /proc/self/status; exec /srv/id -u'",
    );
    assert_eq!(
        told.stdout, "0\n33\nNoNewPrivs:\t1\n33\n",
        "{}",
        told.stderr
    );
    // Who has become a user without an exec is closed to others; a program that it executes is not.
    let told = zone.sh(
        "setpriv --reuid 33 --regid 33 --clear-groups sh -c 'sleep 1000 & \
         until readlink /proc/$!/exe | grep -q -e /sleep -e /coreutils; do :; done; \
         cat /proc/$!/environ >/dev/null && readlink /proc/$!/exe; kill $!'",
    );
    assert!(
        told.ends_with("/sleep\n") || told.ends_with("/coreutils\n"),
        "{told}"
    );
    if harness::program("a process that closes itself", "python3").is_none() {
        return;
    }
    let closes = "import ctypes, os, time; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); print(flush=True); time.sleep(1000)";
    let script = format!(
        "mkfifo /tmp/told; python3 -c '{closes}' >/tmp/told & read line </tmp/told; \
         cat /proc/$!/environ; stat -c %U /proc/$!/environ; kill $!"
    );
    let told = by(&zone, "www-data", &script);
    assert_eq!(told.stdout, "root\n", "{}", told.stderr);
    assert!(told.stderr.contains("Permission denied"), "{}", told.stderr);
}

fn set_id_programs_give_their_rights(home: &Home) {
    let zone = strict(home, "zone");
    zone.sh(
        "cp /usr/bin/id /usr/bin/cat /srv/ && chmod 4755 /srv/id && chgrp adm /srv/cat && \
         chmod 2755 /srv/cat && echo for adm >/srv/log && chgrp adm /srv/log && chmod 640 /srv/log && \
         echo 'root:secret' | chpasswd",
    );
    let told = by(
        &zone,
        "www-data",
        "/srv/id -u; /srv/id -ru; cat /srv/log; /srv/cat /srv/log",
    );
    assert_eq!(told.stdout, "0\n33\nfor adm\n", "{}", told.stderr);
    assert!(told.stderr.contains("Permission denied"), "{}", told.stderr);
    // And in what such a program executes.
    let told = by(
        &zone,
        "www-data",
        "echo secret | su root -c 'id -u; cat /etc/shadow | head -1 | cut -c1-5; \
         touch /root/made; kill -0 1 && echo may'; echo wrong | su root -c id; test -e /root/made || echo hidden",
    );
    assert_eq!(told.stdout, "0\nroot:\nmay\nhidden\n", "{}", told.stderr);
    assert_eq!(zone.sh("stat -c %U /root/made"), "root\n");
}

/// And is not to be read on the way.
fn what_may_not_be_read_can_be_executed(home: &Home) {
    let zone = strict(home, "zone");
    zone.sh(
        "cp /usr/bin/id /srv/shown && chmod 711 /srv/shown && mkdir -m 700 /srv/closed && \
         cp /usr/bin/id /srv/closed/id && printf '#!/srv/closed/id\\n' >/srv/script && chmod 755 /srv/script",
    );
    let told = by(
        &zone,
        "www-data",
        "/srv/shown -u; cat /srv/shown | wc -c; /srv/closed/id; /srv/script",
    );
    assert_eq!(told.stdout, "33\n0\n", "{}", told.stderr);
    assert_eq!(
        told.stderr.matches("ermission denied").count(),
        3,
        "{}",
        told.stderr
    );
}

/// Where the way to it goes through what only others may search, a file is opened neither by its name, nor
/// from a directory above; from one below that was opened before, it is.
fn ways_are_looked_at_where_they_begin(home: &Home) {
    let zone = strict(home, "zone");
    zone.sh(
        "mkdir -p /srv/closed/open && echo for all >/srv/closed/open/file && chmod 755 /srv/closed/open && \
         chmod 700 /srv/closed && ln -s /srv/closed/open /srv/link",
    );
    let told = by(
        &zone,
        "www-data",
        "cat /srv/closed/open/file /srv/link/file; cd /srv/closed/open; cd /srv && cat closed/open/file",
    );
    assert_eq!(told.stdout, "");
    assert_eq!(
        told.stderr.matches("ermission denied").count() + told.stderr.matches("can't cd").count(),
        4,
        "{}",
        told.stderr
    );
    let below = "cd /srv/closed/open && exec setpriv --reuid 33 --regid 33 --clear-groups \
                 sh -c 'cat file; ls; cat ../open/file; cat /srv/closed/open/file; :'";
    assert_eq!(zone.sh(below), "for all\nfile\n");
}

fn a_waiting_call_ends_by_a_signal(home: &Home) {
    let zone = strict(home, "zone");
    let told = by(
        &zone,
        "www-data",
        "cd /tmp; mkfifo pipe; timeout -s INT 1 sh -c 'read line <pipe'; echo $?; \
         { echo x >pipe; } & cat pipe; wait",
    );
    assert_eq!(told.stdout, "124\nx\n", "{}", told.stderr);
}

fn many_processes_and_threads(home: &Home) {
    let zone = strict(home, "zone");
    let script = "for i in 1 2 3 4 5 6 7 8; do \
         (for j in 1 2 3 4 5; do echo $i$j >/tmp/f$i && cat /tmp/f$i >/dev/null || echo failed; done) & \
         done; wait; ls /tmp | wc -l; ps -o user= -p $$";
    let told = by(&zone, "www-data", script);
    assert_eq!(told.stdout, "8\nwww-data\n", "{}", told.stderr);
    // Nothing of them is left.
    harness::eventually("only init and what asks are there", || {
        (zone.sh("ls -d /proc/[0-9]* | wc -l").trim().parse() == Ok(4)).then_some(())
    });
}
