//! What a zone looks like from inside: processes, users, names, terminals, and nothing of the host.

use crate::harness::{Home, LIMIT, confined, eventually, in_each_role, run, start};
use std::path::Path;

in_each_role!(
    tools_see_the_zone_only,
    the_machine_is_the_hosts,
    users_of_the_zone,
    a_terminal_of_ones_own,
    secrets_of_the_host_stay_there,
    another_zone_is_out_of_sight,
);
confined!(tools_see_the_zone_only, another_zone_is_out_of_sight);

fn tools_see_the_zone_only(home: &Home) {
    let zone = home.boot("z");
    let own = std::process::id().to_string();
    let listed = zone.sh("ps -eo pid,user,args");
    assert!(listed.lines().count() <= 5, "{listed}");
    assert!(
        listed.lines().skip(1).all(|line| line.contains("root")),
        "{listed}"
    );
    assert!(zone.sh("ps ax").lines().count() <= 5);
    assert!(zone.sh("ps -ef --forest").contains("ps -ef"));
    let top = zone.sh("top -b -n 1");
    assert!(top.contains("Tasks:") && top.contains("top"), "{top}");
    assert!(zone.sh("free -m").contains("Mem:"));
    assert!(zone.sh("uptime").contains("load average"));
    assert_eq!(zone.sh("ps -o pid= -p 1").trim(), "1");
    zone.run(&["kill", "-0", &own]).fails(1);
    zone.run(&["test", "-e", &format!("/proc/{own}")]).fails(1);
    let numbers = zone.sh("ls /proc | grep -c '^[0-9]'");
    assert!(
        numbers.trim().parse::<u32>().is_ok_and(|count| count <= 6),
        "{numbers}"
    );
}

/// Its processors are told as the host tells them, and nobody changes them; its devices are not.
fn the_machine_is_the_hosts(home: &Home) {
    let zone = home.boot("z");
    for script in [
        // The clock changes; of the firmware a zone sees nothing.
        "lscpu | grep -v -e MHz -e '^ *BIOS '",
        "cat /sys/devices/system/cpu/online",
        "cd /sys/devices/system/cpu && ls && pwd -P",
        "find /sys/devices/system/cpu/cpu0/topology -type f | sort | xargs cat",
        "readlink -f /sys/devices/system/cpu",
        "stat -f -c %T /sys /sys/devices/system/cpu",
        "nproc --all",
    ] {
        let natively = run(home.host(Path::new("/bin/sh")).args(["-c", script]), LIMIT);
        assert_eq!(zone.sh(script), natively.ok(), "{script}");
    }
    let found = zone.sh("cd /sys && find . -path ./devices/system -prune -o -print | sort");
    let all = ". ./class ./dev ./dev/block ./devices ./fs ./kernel";
    assert_eq!(found.split_whitespace().collect::<Vec<_>>().join(" "), all);
    assert_eq!(zone.sh("lsblk"), "");
    for refused in [
        "echo 1 >/sys/devices/system/cpu/cpu0/uevent",
        "touch /sys/new",
        "mkdir /sys/devices/system/new",
        "chmod 700 /sys/devices/system/cpu",
        "mount -o remount,rw /sys",
        "mount -o remount,rw /sys/devices/system",
        "umount -l /sys",
    ] {
        let output = zone.run(&["sh", "-c", refused]);
        assert_ne!(output.status, 0, "{refused}: {output:?}");
    }
}

fn users_of_the_zone(home: &Home) {
    let zone = home.boot("z");
    zone.sh(
        "useradd -m -s /bin/sh alice 2>/dev/null || adduser --disabled-password --gecos '' alice",
    );
    let as_alice = |script: &str| {
        let arguments = ["login", "z", "--user", "alice", "--", "sh", "-c", script];
        home.zone(&arguments)
    };
    let output = as_alice("id -un; echo $HOME $PWD; touch file; stat -c %U file");
    assert_eq!(output.ok(), "alice\n/home/alice /home/alice\nalice\n");
    assert_ne!(as_alice("touch /etc/file").status, 0);
    assert_ne!(as_alice("kill -9 1").status, 0);
    assert_ne!(as_alice("chown root file").status, 0);
    zone.sh("echo secret >/srv/secret; chmod 600 /srv/secret; echo mine >/tmp/roots; chmod 666 /tmp/roots");
    for refused in [
        "cat /srv/secret",
        "echo >/srv/secret",
        "cat /etc/shadow",
        ": >/etc/passwd",
        "cd /etc && mkdir new",
        "cd /etc && rm -f hostname",
        "rm -f /tmp/roots",
        "mv /tmp/roots /tmp/other",
        "ln -s x /etc/link",
    ] {
        let output = as_alice(&format!("set -e; {refused}"));
        assert_ne!(output.status, 0, "{refused}: {output:?}");
    }
    assert_eq!(zone.sh("cat /srv/secret; cat /tmp/roots"), "secret\nmine\n");
    let script =
        "echo more >>/tmp/roots; echo a >/tmp/own; mv /tmp/own /tmp/own2; rm /tmp/own2 file";
    as_alice(script).ok();
    zone.sh("kill -0 1");
    // The account is the zone's: no other zone has it, nor does the host.
    let other = home.boot("other");
    other.run(&["id", "alice"]).fails(1);
    let mut host = home.host("id".as_ref());
    assert_ne!(run(host.arg("alice"), LIMIT).status, 0);
}

fn a_terminal_of_ones_own(home: &Home) {
    home.boot("z");
    let script = "test -t 0 && test -t 1 && tty; stty size >/dev/null; echo $?; ps -o tty= -p $$";
    let mut command = home.command(&["login", "z", "--tty", "--", "sh", "-c", script]);
    let output = start(&mut command).wait(LIMIT);
    let lines: Vec<&str> = output.stdout.lines().map(str::trim).collect();
    assert!(lines[0].starts_with("/dev/pts/"), "{output:?}");
    assert_eq!(lines[1], "0", "{output:?}");
    assert!(lines[2].starts_with("pts/"), "{output:?}");
    let interrupt = "trap 'echo interrupted; exit 5' INT; kill -INT 0; echo not reached";
    let mut command = home.command(&["login", "z", "--tty", "--", "sh", "-c", interrupt]);
    let output = start(&mut command).wait(LIMIT);
    assert_eq!(output.status, 5, "{output:?}");
    assert_eq!(output.stdout.trim(), "interrupted");
}

fn secrets_of_the_host_stay_there(home: &Home) {
    let zone = home.boot("z");
    let same = |path: &str| {
        let inside = std::fs::read(zone.root().join(path.trim_start_matches('/')));
        let outside = std::fs::read(path);
        matches!((inside, outside), (Ok(inside), Ok(outside)) if inside == outside && !outside.is_empty())
    };
    for secret in ["/etc/shadow", "/etc/gshadow", "/etc/machine-id"] {
        assert!(!same(secret), "{secret} is the host's");
    }
    let keys = zone.sh("ls /etc/ssh/*_key /root/.ssh /etc/ssl/private/* 2>/dev/null; true");
    assert_eq!(keys, "");
    // The home of zones, by its name on the host, and what lies above a zone's root.
    let dir = home.dir().display().to_string();
    zone.run(&["ls", &dir]).fails(2);
    let above = zone.sh("ls /../../..; cd /; cd ..; pwd");
    assert!(
        above.ends_with("/\n") && !above.contains("zone.toml"),
        "{above}"
    );
    let mounts = zone.sh("cat /proc/self/mounts /proc/self/mountinfo /proc/self/maps");
    assert!(!mounts.contains(&dir), "{mounts}");
    let written = zone.run(&["sh", "-c", "echo >/usr/bin/picozone-must-not-be"]);
    assert_ne!(written.status, 0);
    assert!(!std::path::Path::new("/usr/bin/picozone-must-not-be").exists());
}

fn another_zone_is_out_of_sight(home: &Home) {
    let [one, two] = ["one", "two"].map(|name| home.boot(name));
    one.sh("echo of-one >/tmp/file; sleep 100000 >/dev/null 2>&1 </dev/null &");
    eventually("it sleeps", || {
        (one.run(&["pgrep", "-c", "sleep"]).stdout == "1\n").then_some(())
    });
    assert_eq!(
        two.sh("pgrep -c sleep || test ! -e /tmp/file && echo alone"),
        "0\nalone\n"
    );
    two.sh("kill -9 -1 2>/dev/null; true");
    assert_eq!(
        one.sh("pgrep -c sleep; cat /tmp/file; hostname"),
        "1\nof-one\none\n"
    );
}
