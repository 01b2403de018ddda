//! Faults of the host: killed processes of ours and full disks.
//!
//! Whatever dies, nothing of the zone may be left running, `zone list` must tell what is so, and
//! the zone must boot again.

use crate::harness::{Home, LIMIT, Zone, am_root, confined, eventually, in_each_role, run, skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

in_each_role!(
    the_monitor_is_killed,
    the_monitor_is_killed_while_files_are_made,
    the_guardian_is_killed,
    both_are_killed,
    the_command_line_is_killed_in_login,
    a_disk_that_is_full,
);
confined!(the_monitor_is_killed, both_are_killed);

fn the_monitor_is_killed(home: &Home) {
    dies(home, &|monitor, _| vec![monitor]);
}

fn the_guardian_is_killed(home: &Home) {
    dies(home, &|_, guardian| vec![guardian]);
}

fn both_are_killed(home: &Home) {
    dies(home, &|monitor, guardian| vec![guardian, monitor]);
}

/// Who makes files for the zone's users and is killed meanwhile leaves nothing that gives anybody a right: what
/// has no owner yet is empty, the zone's root's, and has no set-id bits.
fn the_monitor_is_killed_while_files_are_made(home: &Home) {
    const MAKERS: usize = 3;
    let zone = home.boot("z");
    zone.sh("mkdir /srv/made; chgrp 77 /srv/made; chmod 2777 /srv/made");
    for round in 0..3 {
        let makers = [(); MAKERS].map(|()| {
            let script = format!(
                "cd /srv/made; i=0; while :; do i=$((i + 1)); n={round}-$$-$i
                     echo text >f$n; mkdir d$n; mkfifo p$n; ln -s f$n l$n; done"
            );
            home.start(&["login", "z", "-u", "www-data", "--", "sh", "-c", &script])
        });
        let made = zone.root().join("srv/made");
        let prefix = format!("l{round}-");
        eventually("each maker has made some", || {
            let names = fs::read_dir(&made).ok()?.flatten();
            let names = names.map(|entry| entry.file_name().into_string().expect("text"));
            let makers: HashSet<String> = names
                .filter(|name| name.starts_with(&prefix))
                .filter_map(|name| name.rsplit_once('-').map(|(maker, _)| maker.to_owned()))
                .collect();
            (makers.len() == MAKERS).then_some(())
        });
        kill(Pid::from_raw(zone.monitor()), Signal::SIGKILL).expect("it lives");
        for maker in makers {
            maker.wait(LIMIT);
        }
        home.zone(&["boot", "z"]).ok();
        let find = |what: &str| zone.sh(&format!("find /srv/made -mindepth 1 {what}"));
        // Each may have been at one.
        let unowned = find("! -user www-data");
        assert!(unowned.lines().count() <= MAKERS * (round + 1), "{unowned}");
        assert_eq!(find("! -user www-data ! -user 0"), "");
        assert_eq!(find("! -user www-data ! -type l ! -empty ! -type p"), "");
        assert_eq!(find("! -user www-data -perm /6000"), "");
        // What is his is as he has made it: of the directory's group, whose bit directories hand on.
        assert_eq!(find("-user www-data ! -group 77"), "");
        assert_eq!(find("-user www-data -type d ! -perm 2755"), "");
        assert_eq!(find("-user www-data ! -type d ! -type l ! -perm 644"), "");
    }
    home.zone(&["halt", "z"]).ok();
    home.zone(&["check", "z"]).ok();
}

/// Kills processes of a busy zone and looks at what is left.
fn dies(home: &Home, victims: &dyn Fn(i32, i32) -> Vec<i32>) {
    let zone = home.boot("z");
    zone.sh("echo kept >/srv/file");
    // What lies behind mounts of the zone's own comes back.
    zone.sh(
        "mkdir -p /srv/point/in; echo behind >/srv/point/in/file; mount -t tmpfs x /srv/point/in
             echo in >/srv/point/in/file; mount --bind /srv/point /srv/point",
    );
    // Daemons of every kind: ignoring signals, in sessions of their own, with children; one has a name
    // that is no text.
    zone.sh("for i in 1 2 3; do
           setsid sh -c 'trap \"\" TERM HUP INT; sleep 100000 & wait' >/dev/null 2>&1 </dev/null &
         done
         until [ $(pgrep -c sleep) = 3 ]; do :; done
         name=$(printf '/srv/\\344)\\377'); cp $(command -v sleep) $name
         setsid $name 100000 >/dev/null 2>&1 </dev/null &
         until [ $(readlink /proc/$!/exe) = $name ]; do :; done");
    let login = home.start(&["login", "z", "--", "sleep", "100000"]);
    let processes = eventually("the program of the login runs", || {
        let found = descendants(guardian_of(&zone));
        // Monitor and init, three daemons with a child each and one without, and the login's.
        (found.len() > 2 + 7).then_some(found)
    });
    let monitor = zone.monitor();
    let guardian = guardian_of(&zone);
    for pid in victims(monitor, guardian) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it lives");
    }
    eventually("every process of the zone is gone", || {
        let left = processes.iter().filter(|pid| lives(**pid)).count();
        (left == 0 && !lives(guardian)).then_some(())
    });
    // The monitor may still have told how the program ended.
    let login = login.wait(LIMIT);
    assert!([125, 128 + 9].contains(&login.status), "{login:?}");
    let state = home.state("z");
    assert!(["down", "installed"].contains(&state.as_str()), "{state}");
    let stderr = home.zone(&["login", "z", "--", "true"]).fails(125);
    assert!(stderr.contains("zone boot z"), "{stderr}");
    home.zone(&["boot", "z"]).ok();
    assert_eq!(home.state("z"), "running");
    assert_eq!(
        zone.sh("cat /srv/file /srv/point/in/file; pgrep -c sleep || true"),
        "kept\nbehind\n0\n"
    );
    home.zone(&["halt", "z"]).ok();
    home.zone(&["delete", "z"]).ok();
}

fn the_command_line_is_killed_in_login(home: &Home) {
    let zone = home.boot("z");
    let script = "echo $$ >/srv/pid; exec sleep 100000";
    let login = home.start(&["login", "z", "--", "sh", "-c", script]);
    eventually("the program runs", || {
        let output = zone.run(&["sh", "-c", "test -s /srv/pid && pgrep -x sleep"]);
        (output.status == 0).then_some(())
    });
    drop(login);
    assert_eq!(home.state("z"), "running");
    assert_eq!(zone.sh("echo up"), "up\n");
    home.zone(&["halt", "--timeout", "0", "z"]).ok();
    assert_eq!(home.state("z"), "installed");
}

fn a_disk_that_is_full(home: &Home) {
    let what = "a full disk";
    if !am_root() {
        return skip(what, "only root can mount a small file system");
    }
    let disk = match Disk::mount(home.dir(), home.role().account()) {
        Ok(disk) => disk,
        Err(error) => return skip(what, &error),
    };
    let on_disk = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        run(command.env("PICOZONE_HOME", &disk.dir), LIMIT)
    };
    on_disk(&["create", "early"]).ok();
    on_disk(&["boot", "early"]).ok();
    // Everything but the last few pages.
    let ballast = disk.dir.join("ballast");
    let mut fill = Command::new("dd");
    fill.args([
        "if=/dev/zero",
        "bs=4k",
        &format!("of={}", ballast.display()),
    ]);
    assert_ne!(run(&mut fill, LIMIT).status, 0, "the disk is not full");
    let stderr = on_disk(&["create", "late"]).fails(125);
    assert!(stderr.contains("No space left"), "{stderr}");
    assert!(stderr.contains("free some space"), "{stderr}");
    let listed = on_disk(&["list"]).ok();
    assert!(
        !listed.contains("late") && listed.contains("running"),
        "{listed}"
    );
    let output = on_disk(&["login", "early", "--", "cp", "/etc/services", "/srv"]);
    assert_ne!(output.status, 0, "{output:?}");
    assert!(output.stderr.contains("No space left"), "{output:?}");
    on_disk(&["halt", "early"]).ok();
    let booted = on_disk(&["boot", "early"]);
    assert!(
        booted.status == 0 || booted.stderr.contains("No space left"),
        "{booted:?}"
    );
    std::fs::remove_file(&ballast).expect("it is ours");
    on_disk(&["create", "late"]).ok();
    on_disk(&["boot", "early"]).ok();
    on_disk(&["login", "early", "--", "cp", "/etc/services", "/srv"]).ok();
    on_disk(&["delete", "--force", "early"]).ok();
    on_disk(&["delete", "late"]).ok();
}

/// A file system of 24 MB.
struct Disk {
    dir: std::path::PathBuf,
}

impl Disk {
    fn mount(below: &Path, account: Option<(u32, u32)>) -> Result<Self, String> {
        let dir = below.join("disk");
        std::fs::create_dir(&dir).expect("a directory");
        let (uid, gid) = account.unwrap_or((0, 0));
        let options = format!("size=24m,mode=700,uid={uid},gid={gid}");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &options, "none"])
            .arg(&dir);
        let output = run(&mut mount, LIMIT);
        if output.status != 0 {
            return Err(format!("cannot mount: {}", output.stderr));
        }
        Ok(Self { dir })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What still runs there after a failure is on nobody's way once the mount is detached.
        let _ = Command::new("umount").arg("--lazy").arg(&self.dir).status();
    }
}

fn guardian_of(zone: &Zone<'_>) -> i32 {
    parent(zone.monitor()).expect("it lives")
}

fn lives(pid: i32) -> bool {
    state_and_parent(pid).is_some_and(|(state, _)| state != 'Z')
}

fn parent(pid: i32) -> Option<i32> {
    state_and_parent(pid).map(|(_, parent)| parent)
}

/// See proc_pid_stat(5); the name before them may hold anything.
fn state_and_parent(pid: i32) -> Option<(char, i32)> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// All living processes below one.
pub fn descendants(of: i32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc")
        .expect("it can be read")
        .flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let rows: Vec<(i32, i32)> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![of];
    let mut next = 0;
    while let Some(&above) = found.get(next) {
        found.extend(rows.iter().filter(|row| row.1 == above).map(|row| row.0));
        next += 1;
    }
    found.split_off(1)
}
