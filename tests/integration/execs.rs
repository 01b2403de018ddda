//! Execs of programs that the zone has executed before: they ask the monitor nothing, and notice
//! whatever has changed since.

use crate::harness::{self, Home, Zone, eventually, in_each_role};
use std::fs;
use std::path::Path;

in_each_role!(
    a_known_program_starts_without_the_monitor,
    a_known_program_that_changes_is_looked_at_anew,
    rights_to_a_known_program_are_each_users_own,
    any_thread_may_execute_a_known_program,
);

/// Execs that asked the monitor, so far.
fn asked(zone: &Zone) -> u64 {
    let stat = zone.home().json(&["stat", zone.name(), "--json"]);
    let rows = stat["requests"].as_array().expect("an array");
    let row = rows.iter().find(|row| row[0] == "Exec");
    row.map_or(0, |row| row[1].as_u64().expect("a number"))
}

/// Runs a script until all its execs are of known programs, but for the one of the shell: what was
/// just written becomes known only after some seconds.
fn warm(zone: &Zone, script: &str) -> String {
    eventually("its programs are known", || {
        let before = asked(zone);
        let said = zone.sh(script);
        let now = asked(zone);
        assert_ne!(now, 0, "the first execs of a zone are counted");
        // `zone login` enters sh as a path of its own.
        (now - before <= 1).then_some(said)
    })
}

fn a_known_program_starts_without_the_monitor(home: &Home) {
    let zone = home.boot("z");
    let script = |count: u32| {
        format!("i=0; while [ $i -lt {count} ]; do /usr/bin/env true; i=$((i + 1)); done")
    };
    warm(&zone, &script(1));
    let before = asked(&zone);
    zone.sh(&script(1));
    let of_one = asked(&zone) - before;
    zone.sh(&script(100));
    let of_many = asked(&zone) - before - of_one;
    assert_eq!(of_one, of_many, "execs that asked the monitor");
}

/// Makes copies of a program in a directory of the zone.
fn copies(zone: &Zone, program: &str, names: &[&str]) {
    zone.sh(&format!(
        "mkdir -p /srv/p && cd /srv/p && for name in {}; do cp {program} $name; done",
        names.join(" ")
    ));
}

fn a_known_program_that_changes_is_looked_at_anew(home: &Home) {
    let zone = home.boot("z");
    let names = ["over", "rename", "gone", "mode", "host", "dir", "script"];
    copies(&zone, "/bin/true", &names);
    zone.sh(
        "cd /srv && mkdir one two && cp /bin/readlink one && ln one/readlink two && ln -s one at",
    );
    let all = names.map(|name| format!("/srv/p/{name} &&")).concat();
    let at = || zone.sh("/srv/at/readlink /proc/self/exe");
    warm(&zone, &format!("{all} /srv/at/readlink /proc/self/exe"));

    // In place, by another name, by none, by its mode.
    let status = |name: &str| {
        zone.run(&["sh", "-c", &format!("/srv/p/{name}; exit $?")])
            .status
    };
    zone.sh("cat /bin/false >/srv/p/over");
    assert_eq!(status("over"), 1);
    zone.sh("cp /bin/false /srv/p/new && mv /srv/p/new /srv/p/rename");
    assert_eq!(status("rename"), 1);
    zone.sh("rm /srv/p/gone");
    assert_eq!(status("gone"), 127);
    zone.sh("chmod a-x /srv/p/mode");
    assert_eq!(status("mode"), 126);
    zone.sh("rm /srv/p/dir && mkdir /srv/p/dir");
    assert_eq!(status("dir"), 126);
    zone.sh("printf '#!/bin/sh\nexit 7\n' >/srv/p/script");
    assert_eq!(status("script"), 7);
    // By the host's administrator.
    fs::copy("/bin/false", zone.root().join("srv/p/host")).expect("it is the user's");
    assert_eq!(status("host"), 1);

    // The same file along another way.
    assert_eq!(at(), "/srv/one/readlink\n");
    zone.sh("ln -sfn two /srv/at");
    assert_eq!(at(), "/srv/two/readlink\n");
    zone.sh("mv /srv/two /srv/three && ln -sfn three /srv/at");
    assert_eq!(at(), "/srv/three/readlink\n");
}

fn rights_to_a_known_program_are_each_users_own(home: &Home) {
    if harness::program("execs", "python3").is_none() {
        return;
    }
    let zone = home.boot("z");
    let names = ["all", "group", "owner"];
    copies(&zone, "/bin/true", &names);
    zone.sh("cd /srv/p && chown 0:33 group && chmod 755 all && chmod 750 group && chmod 700 owner");
    let program = "import os, subprocess, sys\n\
         user, group, *others = map(int, sys.argv[1:])\n\
         os.setgroups(others); os.setgid(group); os.setuid(user)\n\
         for name in 'all', 'group', 'owner':\n\
        \x20   try: subprocess.run(['/srv/p/' + name], check=True)\n\
        \x20   except PermissionError: continue\n\
        \x20   print(name)\n";
    fs::write(zone.root().join("tmp/as.py"), program).expect("it is the user's");
    let script = |who: &str| format!("python3 /tmp/as.py {who}");
    warm(&zone, &script("0 0"));
    for _ in 0..2 {
        for (who, may) in [
            ("5 5", "all\n"),
            ("5 33", "all\ngroup\n"),
            ("5 5 7 33", "all\ngroup\n"),
            ("5 5 7", "all\n"),
            ("0 5", "all\ngroup\nowner\n"),
        ] {
            assert_eq!(zone.sh(&script(who)), may, "as {who}");
        }
    }
}

fn any_thread_may_execute_a_known_program(home: &Home) {
    if harness::program("execs", "python3").is_none() {
        return;
    }
    let zone = home.boot("z");
    let guest = Path::new("tmp/exec.py");
    let program = "import os, threading, time\n\
         others = [threading.Thread(target=time.sleep, args=(1000,), daemon=True) for _ in range(3)]\n\
         for other in others: other.start()\n\
         before = os.getpid()\n\
         execute = lambda: os.execv('/bin/sh', ['sh', '-c', f'test $$ = {before} && ls /proc/$$/task | wc -l'])\n\
         threading.Thread(target=execute).start()\n\
         time.sleep(1000)\n";
    fs::write(zone.root().join(guest), program).expect("it is the user's");
    let script = "/bin/sh -c : && exec python3 /tmp/exec.py";
    for _ in 0..3 {
        assert_eq!(warm(&zone, script), "1\n");
    }
}
