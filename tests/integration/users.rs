//! A zone has users of its own: accounts, passwords, owners and modes, as the tools of every
//! administrator set them, and they last.

use crate::harness::{Home, Role, Zone, am_root, eventually, in_each_role, program, skip};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};

in_each_role!(
    tools_give_files_away,
    lists_last_and_are_copied,
    what_others_leave_in_tmp_is_no_trap,
    accounts_are_the_zones,
    owners_outlive_the_monitor,
    users_are_mapped,
    zones_of_root_run_as_their_map_says,
    logins_are_recorded_anew_after_each_boot,
    configurations_are_changed,
    stores_are_checked,
    root_keeps_set_ids_over_a_write,
    what_is_mounted_twice_is_as_each_mount_says,
    the_disk_has_a_limit
);

/// Owner, group, mode, type and device of everything below `/srv/work`.
const LOOK: &str =
    "cd /srv/work && find . -printf '%u %g %#m %y %p\\n' | sort; stat -c '%t:%T %n' node";

/// Ends the monitor of a zone without a word, and so the zone.
fn kill_monitor(zone: &Zone<'_>) {
    let monitor = nix::unistd::Pid::from_raw(zone.monitor());
    nix::sys::signal::kill(monitor, nix::sys::signal::Signal::SIGKILL).expect("it runs");
    eventually("the zone is down", || {
        (zone.home().state(zone.name()) == "down").then_some(())
    });
}

/// Halts a zone and boots it again.
fn again(zone: &Zone<'_>) {
    zone.home().zone(&["halt", zone.name()]).ok();
    zone.home().zone(&["boot", zone.name()]).ok();
}

fn tools_give_files_away(home: &Home) {
    let zone = home.boot("tools");
    zone.sh("
        groupadd staffx && useradd -m joe && useradd -m ann
        mkdir -p /srv/work/tree/a && cd /srv/work
        echo x >tree/a/file && ln -s file tree/a/link && ln tree/a/file tree/a/second
        chown -R joe:staffx tree && chown -h ann tree/a/link
        chmod 2750 tree/a && chmod 4711 tree/a/file
        install -o joe -g staffx -m 6755 /bin/true installed
        install -d -o ann -g ann -m 1770 sticky
        mkfifo -m 620 fifo && chown ann fifo
        mknod -m 640 node c 7 5 && chown joe node");
    if program("capabilities", "setcap").is_some() {
        zone.sh("cd /srv/work && install /bin/true capable && setcap cap_net_raw+ep capable");
        assert!(
            zone.sh("getcap /srv/work/capable")
                .contains("cap_net_raw=ep")
        );
    }
    let before = zone.sh(LOOK);
    for row in [
        "joe staffx 02750 d ./tree/a\n",
        "joe staffx 04711 f ./tree/a/file\n",
        "joe staffx 04711 f ./tree/a/second\n",
        "ann staffx 0777 l ./tree/a/link\n",
        "joe staffx 06755 f ./installed\n",
        "ann ann 01770 d ./sticky\n",
        "ann root 0620 p ./fifo\n",
        "joe root 0640 c ./node\n",
        "7:5 node\n",
    ] {
        assert!(before.contains(row), "{row} in {before}");
    }
    again(&zone);
    assert_eq!(zone.sh(LOOK), before, "after a boot");
    if program("capabilities", "getcap").is_some() {
        assert!(
            zone.sh("getcap /srv/work/capable")
                .contains("cap_net_raw=ep")
        );
    }
    assert_eq!(zone.sh("find /srv/work -user joe | wc -l"), "6\n");
    assert_eq!(zone.sh("find /srv/work -perm -4000 | wc -l"), "3\n");
    let copies = [
        ("cp", "cp -a work copy"),
        (
            "tar",
            "tar -cf tar work && mkdir out && tar -C out -xpf tar --same-owner && mv out/work copy",
        ),
        ("rsync", "rsync -aH --devices --specials work/ copy"),
    ];
    for (name, copy) in copies {
        if program("copies of owners", name).is_some() {
            zone.sh(&format!("cd /srv && {copy} && mv work old && mv copy work"));
            assert_eq!(zone.sh(LOOK), before, "{name}");
            zone.sh("rm -rf /srv/out /srv/work && mv /srv/old /srv/work");
        }
    }
    assert_eq!(zone.sh(LOOK), before);
}

/// The lists of everything below `/srv/work`, as getfacl(1) tells them.
const LISTS: &str = "cd /srv/work && find . | sort | xargs getfacl -np";

fn lists_last_and_are_copied(home: &Home) {
    for name in ["setfacl", "getfacl"] {
        if program("access control lists", name).is_none() {
            return;
        }
    }
    let zone = home.boot("lists");
    zone.sh("
        groupadd staffx && useradd -m joe && useradd -m ann
        mkdir -p /srv/work/dir && cd /srv/work && umask 077 && chmod o= dir
        setfacl -m u:joe:rwx,d:u:joe:rw,d:g:staffx:r,d:m::rwx dir
        echo secret >dir/file && mkdir dir/below && touch dir/below/file
        echo mine >own && setfacl -m u:ann:r own && mkfifo fifo && setfacl -m g:staffx:rw fifo");
    let before = zone.sh(LISTS);
    for row in [
        "# file: ./dir\n# owner: 0\n# group: 0\nuser::rwx\nuser:",
        "default:mask::rwx\n",
        "# file: ./dir/file\n",
        "mask::rw-\n",
    ] {
        assert!(before.contains(row), "{row} in {before}");
    }
    assert_eq!(
        zone.sh("cd /srv/work && stat -c %a dir/file dir/below fifo"),
        "660\n770\n660\n"
    );
    let reads = |user: &str, path: &str| {
        let command = format!("cat /srv/work/{path} >/dev/null 2>&1 && echo yes || echo no");
        zone.sh(&format!("su {user} -c '{command}'")).trim() == "yes"
    };
    for _ in 0..2 {
        assert_eq!(zone.sh(LISTS), before);
        assert!(reads("joe", "dir/file") && !reads("ann", "dir/file"));
        assert!(!reads("joe", "own") && reads("ann", "own"));
        again(&zone);
    }
    zone.sh("chmod g= /srv/work/own");
    assert!(!reads("ann", "own"), "the mask");
    zone.sh("chmod g=r /srv/work/own");
    let copies = [
        ("cp", "cp -a work copy"),
        (
            "tar",
            "tar --acls -cf tar work && mkdir out && tar --acls -C out -xpf tar && mv out/work copy",
        ),
        ("rsync", "rsync -aA --specials work/ copy"),
    ];
    let before = zone.sh(LISTS);
    for (name, copy) in copies {
        if program("copies of lists", name).is_some() {
            zone.sh(&format!("cd /srv && {copy} && mv work old && mv copy work"));
            assert_eq!(zone.sh(LISTS), before, "{name}");
            zone.sh("rm -rf /srv/out /srv/work && mv /srv/old /srv/work");
        }
    }
    // A monitor that is killed has forgotten nothing.
    zone.sh("setfacl -m u:joe:w /srv/work/own && rm -rf /srv/work/dir");
    let before = zone.sh(LISTS);
    kill_monitor(&zone);
    home.zone(&["boot", "lists"]).ok();
    assert_eq!(zone.sh(LISTS), before);
    zone.sh("setfacl -Rb /srv/work && setfacl -Rk /srv/work");
    assert!(!zone.sh(LISTS).contains("mask"));
    home.zone(&["halt", "lists"]).ok();
    home.zone(&["check", "lists", "--repair"]).ok();
    home.zone(&["boot", "lists"]).ok();
    assert!(!zone.sh(LISTS).contains("mask"));
}

/// `fs.protected_*` are the host's for all zones natively, so only a zone may try them.
fn what_others_leave_in_tmp_is_no_trap(home: &Home) {
    let zone = home.boot("tmp");
    zone.sh("
        useradd joe && useradd ann && cd /srv
        echo text >target && chmod 666 target && mkdir -m 1777 tmp && ln -s target own
        ln -s ../target tmp/roots && ln -s tmp/link outside && mkdir -m 1770 group && chgrp joe group
        su joe -c 'cd /srv/tmp && ln -s ../target link && ln -s link second && ln -s . here &&
            echo mine >file && mkfifo fifo && chmod 666 file fifo'
        su joe -c 'cd /srv/group && echo mine >file && chmod 666 file'");
    // Who may do what: root, joe, ann.
    let may = |command: &str| -> String {
        let ask = |user: &str| {
            let asked = format!("su {user} -s /bin/sh -c 'cd /srv/tmp && {command}' 2>&1");
            let told = zone.sh(&format!("{asked} || echo REFUSED"));
            if told.contains("REFUSED") {
                "no "
            } else {
                "yes "
            }
        };
        ["root", "joe", "ann"].map(ask).concat()
    };
    let set = |name: &str, value: u32| {
        zone.sh(&format!("echo {value} >/proc/sys/fs/protected_{name}"));
        let told = zone.sh(&format!("cat /proc/sys/fs/protected_{name}"));
        assert_eq!(told, format!("{value}\n"));
    };
    for name in ["symlinks", "regular", "fifos", "hardlinks"] {
        set(name, 0);
    }
    let all = "yes yes yes ";
    let opens = "timeout 5 sh -c \"exec 3<>fifo\"";
    let free = [
        "cat link",
        "cat ../outside",
        "echo mine >file",
        "ln ../target $(id -un)-hard",
        opens,
    ];
    for command in free {
        assert_eq!(may(command), all, "{command}");
    }
    set("symlinks", 1);
    for (command, wanted) in [
        ("cat link", "no yes no "),
        ("cat second", "no yes no "),
        ("cat ../outside", "no yes no "),
        ("stat -L link", "no yes no "),
        ("chmod 666 link", "no no no "),
        ("truncate -s 0 link", "no yes no "),
        ("readlink link", all),
        ("stat link", all),
        ("cat here/file", all),
        ("cat roots", all),
        ("cat ../own", all),
    ] {
        assert_eq!(may(command), wanted, "{command}");
    }
    set("symlinks", 0);
    set("regular", 1);
    for (command, wanted) in [
        ("echo theirs >file", "no yes no "),
        ("echo theirs >>file", "no yes no "),
        ("dd if=/dev/null of=file conv=nocreat,notrunc", all),
        ("cat file", all),
        ("echo new >$(id -un); rm $(id -un)", all),
        ("echo theirs >../group/file", "yes yes no "),
        (opens, all),
    ] {
        assert_eq!(may(command), wanted, "{command}");
    }
    set("regular", 2);
    assert_eq!(may("echo theirs >../group/file"), "no yes no ");
    set("regular", 0);
    set("fifos", 1);
    assert_eq!(may(opens), "no yes no ");
}

/// Asks su(1) for a user by a password; as an ordinary user, whom PAM asks for one.
const SU: &str = "import os, pty, sys
user, password = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    os.setgid(65534); os.setuid(65534)
    os.execvp('su', ['su', user, '-c', 'id -un'])
told = b''
while b'assword:' not in told:
    told += os.read(terminal, 100)
os.write(terminal, password.encode() + b'\\n')
try:
    while (more := os.read(terminal, 100)):
        told += more
except OSError:
    pass
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(told.decode().split()[-1] if status == 0 else 'refused')
";

fn accounts_are_the_zones(home: &Home) {
    if program("accounts", "python3").is_none() {
        return;
    }
    let (one, two) = (home.boot("one"), home.boot("two"));
    for (zone, secret) in [(&one, "first"), (&two, "second")] {
        std::fs::write(zone.root().join("srv/su.py"), SU).expect("the tree is ours");
        zone.sh(&format!(
            "useradd -m joe && printf 'joe:{secret}\\nroot:root-{secret}\\n' | chpasswd"
        ));
    }
    one.sh("useradd -m only");
    let su = |zone: &Zone<'_>, user: &str, password: &str| {
        zone.sh(&format!("python3 /srv/su.py {user} {password}"))
    };
    for _ in 0..2 {
        for (zone, own, other) in [(&one, "first", "second"), (&two, "second", "first")] {
            assert_eq!(su(zone, "joe", own), "joe\n");
            assert_eq!(su(zone, "root", &format!("root-{own}")), "root\n");
            assert_eq!(su(zone, "joe", other), "refused\n");
            assert_eq!(su(zone, "root", &format!("root-{other}")), "refused\n");
        }
        assert_eq!(one.sh("id -un only"), "only\n");
        two.run(&["id", "only"]).fails(1);
        again(&one);
        again(&two);
    }
    if program("sudo", "sudo").is_some() {
        let sudo = "echo second | su joe -c \"sudo -S -p '' id -un\"";
        two.run(&["sh", "-c", sudo]).fails(1);
        two.sh("groupadd -fr sudo && usermod -aG sudo joe");
        assert_eq!(two.sh(sudo), "root\n");
        two.sh("gpasswd -d joe sudo");
        one.sh(
            "mkdir -p /etc/sudoers.d; echo 'joe ALL=(only) NOPASSWD: /usr/bin/id' >/etc/sudoers
            chmod 440 /etc/sudoers",
        );
        assert_eq!(one.sh("su joe -c 'sudo -u only id -un'"), "only\n");
        one.run(&["su", "joe", "-c", "sudo -n id"]).fails(1);
        two.run(&["su", "joe", "-c", "sudo -n -u joe id"]).fails(1);
    }
    if program("logrotate", "logrotate").is_some() {
        one.sh("mkdir /var/log/app && echo line >/var/log/app/log && chown -R joe:joe /var/log/app
            printf '/var/log/app/log {\\nrotate 2\\ncreate 0640 joe only\\nsu joe only\\n}\\n' >/srv/rotate
            logrotate -f -s /srv/state /srv/rotate");
        assert_eq!(
            one.sh("stat -c '%U %G %a' /var/log/app/log /var/log/app/log.1"),
            "joe only 640\njoe joe 644\n"
        );
    }
    if program("ssh-keygen", "ssh-keygen").is_some() {
        one.sh("su joe -c 'ssh-keygen -qt ed25519 -N \"\" -f ~/.ssh/id'");
        assert_eq!(
            one.sh("stat -c '%U %a' /home/joe/.ssh /home/joe/.ssh/id"),
            "joe 700\njoe 600\n"
        );
    }
}

/// The file for it is root's and its group's, and empty.
fn logins_are_recorded_anew_after_each_boot(home: &Home) {
    let zone = home.boot("logins");
    for _ in 0..2 {
        let record = zone.sh("stat -c '%U:%G %a %s' /run/utmp");
        assert_eq!(record, "root:utmp 664 0\n");
        zone.sh("echo somebody >>/run/utmp");
        again(&zone);
    }
    zone.sh("sed -i /^utmp:/d /etc/group");
    again(&zone);
    zone.run(&["test", "-e", "/run/utmp"]).fails(1);
}

/// Whenever the monitor is killed, what was said of a file before is what a boot finds.
fn owners_outlive_the_monitor(home: &Home) {
    let zone = home.boot("killed");
    for round in 0..4 {
        zone.sh("rm -rf /srv/files; mkdir /srv/files");
        // Each number is told only when its file has been given away, so that it must last; a call
        // that the dying monitor does not answer fails.
        let script = "set -e; for i in $(seq 2000); do : >/srv/files/$i; chown $i:$i /srv/files/$i
            chmod 4751 /srv/files/$i; echo $i >>/srv/last; done";
        let mut running = Some(home.start(&["login", "killed", "--", "sh", "-c", script]));
        let last = zone.root().join("srv/last");
        // The last line may be a part of one.
        let told = || {
            let text = std::fs::read_to_string(&last).unwrap_or_default();
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            whole
                .lines()
                .last()
                .map_or(0, |line| line.parse().expect("a number"))
        };
        let reached = |wanted: u32| (told() >= wanted).then_some(());
        eventually("files are given away", || reached(20 + 37 * round));
        kill_monitor(&zone);
        drop(running.take());
        let number = told();
        home.zone(&["boot", "killed"]).ok();
        let told = zone.sh("cd /srv/files; stat -c '%n %u %g %a' $(seq $(tail -n1 /srv/last))");
        let wanted: String = (1..=number)
            .map(|i| format!("{i} {i} {i} 4751\n"))
            .collect();
        assert_eq!(told, wanted, "round {round}");
        std::fs::remove_file(&last).expect("it is there");
    }
}

/// A directory of the host with one file of each owner.
fn share(home: &Home, owners: &[u32]) -> std::path::PathBuf {
    let share = home.place().work();
    for &owner in owners {
        let file = share.join(owner.to_string());
        std::fs::write(&file, "").expect("written");
        lchown(&file, Some(owner), Some(owner)).expect("we are root");
    }
    std::fs::set_permissions(&share, std::fs::Permissions::from_mode(0o755)).expect("ours");
    share
}

fn users_are_mapped(home: &Home) {
    if !am_root() {
        return skip("mapped users", "only root gives files to others");
    }
    let owners = [0, 33, 2500, 100_000, 100_033, 100_999, 101_000, 200_033];
    let share = share(home, &owners);
    let bind = format!("{}:/srv/share", share.display());
    for (name, changes) in [
        (
            "one",
            &[
                "users.map=0:100000:1000,5000:2000-2999",
                "users.squash=4242",
            ][..],
        ),
        ("two", &["users.map=0:200000:1000"]),
    ] {
        home.create_with(name, &["--bind", &bind]);
        home.zone(&[&["config", name, "set"], changes].concat())
            .ok();
    }
    let (one, two) = (home.started("one"), home.started("two"));
    let look = "cd /srv/share; stat -c '%n %u %g' $(ls | sort -n)";
    assert_eq!(
        one.sh(look),
        "0 4242 4242\n33 4242 4242\n2500 5000 5000\n100000 0 0\n100033 33 33\n100999 999 999\n101000 4242 4242\n200033 4242 4242\n"
    );
    assert_eq!(
        two.sh(look),
        "0 65534 65534\n33 65534 65534\n2500 65534 65534\n100000 65534 65534\n100033 65534 65534\n100999 65534 65534\n101000 65534 65534\n200033 33 33\n"
    );
    assert_eq!(
        one.sh("cat /proc/self/uid_map /proc/self/gid_map"),
        "         0     100000       1000\n".repeat(2)
    );
    // Ids that the map has not do not exist; what the zone makes is its own.
    assert_eq!(
        one.sh("touch /srv/own; chown 999:999 /srv/own; stat -c %u:%g /srv/own /etc"),
        "999:999\n0:0\n"
    );
    for wrong in ["chown 1000 /srv/own", "chgrp 4294967294 /srv/own"] {
        let told = one.run(&["sh", "-c", wrong]).fails(1);
        assert!(told.contains("Invalid argument"), "{told}");
    }
    if program("set*id", "python3").is_some() {
        let script = "import os
for call, ids in [(os.setuid, [1000]), (os.setgid, [1000]), (os.setresuid, [0, 0, 1000]), (os.setgroups, [[5, 1000]])]:
    try: call(*ids); print('done')
    except OSError as error: print(error.errno)
os.setgroups([5, 999]); os.setresgid(999, 33, 999); os.setresuid(5000, 33, 5000); print(os.getresuid())";
        assert_eq!(
            one.run(&["python3", "-c", script]).ok(),
            "22\n22\n22\n22\n(5000, 33, 5000)\n"
        );
    }
    let told = home
        .zone(&["login", "one", "-u", "1000", "--", "id"])
        .fails(126);
    assert!(told.contains("the zone's map has no user 1000"), "{told}");
    let sleeper = home.start(&["login", "one", "-u", "33", "--", "sleep", "1000"]);
    let row = eventually("the sleeper runs", || {
        let told = home.json(&["users", "one", "--json"]);
        let rows = told["users"].as_array().expect("an array").clone();
        rows.into_iter().find(|row| row["uid"] == 33)
    });
    assert_eq!(
        (row["host_uid"].as_u64(), row["processes"].as_u64()),
        (Some(100_033), Some(1))
    );
    let told = home.zone(&["users", "one"]).ok();
    assert!(
        told.contains("users 0:100000:1000, 5000:2000-2999, others 4242"),
        "{told}"
    );
    let told = home
        .zone(&["config", "one", "set", "users.map=0:100000:999"])
        .fails(125);
    assert!(told.contains("halt it first"), "{told}");
    drop(sleeper);
    home.zone(&["halt", "one"]).ok();
    let told = home
        .zone(&["config", "one", "set", "users.map=0:100000:999"])
        .fails(125);
    assert!(
        told.contains("belong to users whom the map has not"),
        "{told}"
    );
    home.zone(&["config", "one", "set", "users.map=0:300000:1000"])
        .ok();
    let one = home.started("one");
    assert_eq!(one.sh("stat -c %u:%g /srv/own"), "999:999\n");
    assert_eq!(one.sh("stat -c %u /srv/share/100033"), "4242\n");
}

/// User and group of a process of the host, and its capabilities.
fn status_of(pid: i32) -> (String, String, String) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let of = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.expect("there")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    (of("Uid:"), of("Gid:"), of("CapPrm:"))
}

/// What files of a zone belong to on the host, but for those of its monitor's run.
fn owners_on_host(zone: &Zone<'_>) -> Vec<(u32, u32)> {
    fn below(dir: &std::path::Path, found: &mut std::collections::BTreeSet<(u32, u32)>) {
        for entry in std::fs::read_dir(dir).expect("ours").flatten() {
            let data = entry.metadata().expect("there");
            found.insert((data.uid(), data.gid()));
            if data.is_dir() {
                below(&entry.path(), found);
            }
        }
    }
    let mut found = std::collections::BTreeSet::new();
    below(&zone.root(), &mut found);
    found.into_iter().collect()
}

/// A zone of the host's root that has a map runs as whom the map has for its root.
fn zones_of_root_run_as_their_map_says(home: &Home) {
    if home.role() != Role::Root {
        return skip("zones of root", "this is not root");
    }
    home.create("mapped");
    let set = |map: &str| home.zone(&["config", "mapped", "set", &format!("users.map={map}")]);
    for wrong in ["1:100000:1000", "0:0:1000", "33:33"] {
        let told = set(wrong).fails(125);
        assert!(told.contains("ids that its map has for its root"), "{told}");
    }
    let zone = home.started("mapped");
    zone.sh("useradd joe && echo text >/srv/file && ln /srv/file /srv/second && chown joe:joe /srv/file && chmod 4750 /srv/file");
    home.zone(&["halt", "mapped"]).ok();
    assert_eq!(owners_on_host(&zone), [(0, 0)]);
    for base in [100_000, 300_000] {
        set(&format!("0:{base}:65536,0:0-0")).ok();
        let zone = home.started("mapped");
        let sleeper = home.start(&["login", "mapped", "-u", "joe", "--", "sleep", "1000"]);
        eventually("the sleeper runs", || {
            let found = zone.sh("ps -eo args | grep -c '^sleep 1000'");
            (found.trim() == "1").then_some(())
        });
        let four = format!("{base} {base} {base} {base}");
        let of_monitor = status_of(zone.monitor());
        assert_eq!(of_monitor, (four.clone(), four.clone(), "0".repeat(16)));
        let children = format!("/proc/{0}/task/{0}/children", zone.monitor());
        let init = std::fs::read_to_string(children).expect("it runs");
        let init = init.split_whitespace().next().expect("it has init");
        assert_eq!(status_of(init.parse().expect("a number")), of_monitor);
        assert_eq!(owners_on_host(&zone), [(base, base)]);
        let look = "id -u; stat -c '%U:%G %a %h' /srv/file /srv/second /etc/passwd; cat /srv/file";
        assert_eq!(
            zone.sh(look),
            "0\njoe:joe 4750 2\njoe:joe 4750 2\nroot:root 644 1\ntext\n"
        );
        zone.sh("su joe -c 'cat /srv/file; ! touch /etc/passwd 2>&1'; cp -a /srv/file /srv/copy; echo more >>/etc/hosts; mkdir -p /srv/d; chown joe /srv/d; su joe -c 'touch /srv/d/own'; touch /dev/shm/x /tmp/x /run/x");
        assert_eq!(zone.sh("stat -c %U /srv/d/own /srv/copy"), "joe\njoe\n");
        drop(sleeper);
        home.zone(&["halt", "mapped"]).ok();
        assert_eq!(owners_on_host(&zone), [(base, base)]);
    }
    home.zone(&["config", "mapped", "set", "users.map="]).ok();
    let zone = home.started("mapped");
    assert_eq!(status_of(zone.monitor()).0, "0 0 0 0");
    assert_eq!(owners_on_host(&zone), [(0, 0)]);
    assert_eq!(zone.sh("stat -c %U /srv/d/own /srv/copy"), "joe\njoe\n");
}

fn configurations_are_changed(home: &Home) {
    home.create("config");
    let config = |arguments: &[&str]| home.zone(&[&["config", "config"], arguments].concat());
    assert_eq!(config(&["get", "hostname"]).ok(), "config\n");
    config(&["set", "hostname=other.name"]).ok();
    assert!(
        config(&["show"])
            .ok()
            .contains("hostname = \"other.name\"\n")
    );
    assert!(
        config(&["set", "hostname=other.name"])
            .ok()
            .contains("already")
    );
    // What is set is shown where nothing is asked for.
    assert_eq!(config(&[]).ok(), config(&["show"]).ok());
    let told = config(&["set", "limits.processes=3"]).fails(125);
    assert!(
        told.contains("zone config: limits.processes is below 8\n"),
        "{told}"
    );
    for wrong in [
        "hostname=-",
        "number=5",
        "root=/usr",
        "no.such=1",
        "users.map=1:2:x",
    ] {
        let (key, _) = wrong.split_once('=').expect("it has");
        let told = config(&["set", wrong]).fails(125);
        assert!(told.contains(key) && told.contains("remedy"), "{told}");
    }
    let told = config(&["get", "users.map"]).fails(125);
    assert!(told.contains("it is not set"), "{told}");
    let zone = home.started("config");
    assert_eq!(zone.sh("hostname"), "other.name\n");
    assert!(
        config(&["set", "hostname=third"])
            .ok()
            .contains("next boot")
    );
    assert_eq!(zone.sh("hostname"), "other.name\n");
    again(&zone);
    assert_eq!(zone.sh("hostname"), "third\n");
    let told = home.zone(&["users", "config"]).ok();
    assert!(told.contains("no map") && told.contains("root"), "{told}");
}

fn stores_are_checked(home: &Home) {
    let zone = home.boot("checked");
    zone.sh("mkdir /srv/many && cd /srv/many && touch $(seq 100) && chown 33 *; mknod node c 1 3");
    let told = home.zone(&["check", "checked"]).fails(125);
    assert!(told.contains("it runs"), "{told}");
    home.zone(&["halt", "checked"]).ok();
    let before = home.json(&["check", "checked", "--json"]);
    let count = |report: &serde_json::Value, key: &str| report[key].as_u64().expect("a number");
    assert_eq!(
        (count(&before, "wrong"), count(&before, "stale")),
        (0, 0),
        "{before}"
    );
    assert!(count(&before, "rows") > 100 && count(&before, "files") > count(&before, "rows"));
    for number in 1..=60 {
        std::fs::remove_file(zone.root().join(format!("srv/many/{number}"))).expect("there");
    }
    assert_eq!(
        count(&home.json(&["check", "checked", "--json"]), "stale"),
        60
    );
    assert!(
        home.zone(&["check", "checked", "--repair"])
            .ok()
            .contains("mended")
    );
    let after = home.json(&["check", "checked", "--json"]);
    assert_eq!(count(&after, "rows"), count(&before, "rows") - 60);
    assert_eq!(count(&after, "stale"), 0);
    let zone = home.started("checked");
    assert_eq!(
        zone.sh("cd /srv/many; stat -c '%u %F' 61 node"),
        "33 regular empty file\n0 character special file\n"
    );
}

/// Who may keep set-id bits does so over its own writes; those of others take them.
fn root_keeps_set_ids_over_a_write(home: &Home) {
    let zone = home.boot("bits");
    let told = zone.sh("cd /srv && cp /bin/true p && chown www-data p && \
         as() { setpriv --reuid www-data --regid www-data --init-groups \"$@\"; }
         as chmod 4755 p && stat -c %a p
         echo x >>p && stat -c %a p
         truncate -s 5 p && stat -c %a p
         as sh -c 'echo x >>p'; stat -c %a p");
    assert_eq!(told, "4755\n4755\n4755\n755\n");
    // As long as somebody else has the file open to write it, that may come later: then they go.
    let told = zone.sh("cd /srv && mkfifo -m 666 go gone; \
         setpriv --reuid www-data --regid www-data --clear-groups sh -c \
           'chmod 4755 p; exec 3>>p; echo >gone; read line <go; echo x >&3' & \
         read line <gone; echo x >>p; echo >go; wait; stat -c %a p");
    assert_eq!(told, "755\n");
}

/// One directory of the host, by a mount to change it and by one to look at it, in any order and depth.
fn what_is_mounted_twice_is_as_each_mount_says(home: &Home) {
    let share = home.place().work();
    let below = share.join("d");
    std::fs::create_dir(&below).expect("ours");
    for file in ["f", "d/g"] {
        std::fs::write(share.join(file), "text\n").expect("ours");
    }
    if let Some((uid, gid)) = home.role().account() {
        for path in [&share, &below, &share.join("f"), &below.join("g")] {
            lchown(path, Some(uid), Some(gid)).expect("we are root");
        }
    }
    let bind = |host: &std::path::Path, at: &str| format!("{}:/srv/{at}", host.display());
    // Where it is to be looked at, where changed, and a file there by both names.
    let layouts = [
        (
            "first",
            [bind(&share, "a"), bind(&share, "b:rw")],
            "a/f",
            "b/f",
        ),
        (
            "last",
            [bind(&share, "b"), bind(&share, "a:rw")],
            "b/f",
            "a/f",
        ),
        (
            "above",
            [bind(&share, "a"), bind(&below, "b:rw")],
            "a/d/g",
            "b/g",
        ),
        (
            "below",
            [bind(&below, "a"), bind(&share, "b:rw")],
            "a/g",
            "b/d/g",
        ),
    ];
    for (name, [one, two], looked, changed) in layouts {
        home.create_with(name, &["--bind", &one, "--bind", &two]);
        let zone = home.started(name);
        let changes = |file: &str| {
            let each = "echo x >>F; truncate -s 5 F; chmod 640 F; chown 33 F; touch F; touch -d @5 F; \
                        setfattr -n user.a -v b F; setfattr -n trusted.a -v b F; ln F F2; mv F F3; \
                        mv F3 F; : >F4; rm F4; mkdir F5; rmdir F5; test -w F";
            each.replace('F', file)
                .split("; ")
                .map(
                    |each| match zone.run(&["sh", "-c", &format!("cd /srv; {each}")]) {
                        done if done.status == 0 => 'y',
                        done if done.stderr.contains("Read-only") || each.starts_with("test") => {
                            '-'
                        }
                        // What has not been made cannot be removed or moved back.
                        done if done.stderr.contains("No such file") => '-',
                        done => panic!("{name} {file} {each}: {done:?}"),
                    },
                )
                .collect::<String>()
        };
        let refused = changes(looked);
        assert!(!refused.contains('y'), "{name}: {refused}");
        assert_eq!(changes(changed), "y".repeat(16), "{name}");
        let look = |file: &str| {
            zone.sh(&format!(
                "cd /srv; stat -c '%u %a %s %Y' {file}; cat {file}"
            ))
        };
        assert_eq!(look(looked), "33 640 5 5\ntext\n", "{name}");
        assert_eq!(look(changed), look(looked), "{name}");
        let told = zone.sh(&format!(
            "cd /srv; getfattr -m trusted --only-values {looked}"
        ));
        assert_eq!(told, "b", "{name}");
        zone.sh(&format!(
            "cd /srv; rm {changed}2; cd $(dirname {changed}); touch new; rm new"
        ));
        home.zone(&["halt", name]).ok();
    }
}

/// A zone at its limit makes nothing more, and goes on once there is room again.
fn the_disk_has_a_limit(home: &Home) {
    let zone = home.create("full");
    home.zone(&["config", "full", "set", "limits.disk=64M"])
        .ok();
    home.zone(&["boot", "full"]).ok();
    let kilobytes = |what: &str| -> u64 {
        let told = zone.sh(&format!("df -k --output={what} /srv | tail -1"));
        told.trim().parse().expect("a number")
    };
    assert_eq!(kilobytes("size"), 64 << 10);
    assert!(kilobytes("avail") > 0);
    // What is written takes longer than counting, or this would be no limit at all.
    let told = zone.run(&[
        "sh",
        "-c",
        "cd /srv; echo kept >kept; n=0; while [ $n -lt 2000 ] && \
         dd if=/dev/zero of=f$n bs=1M count=1 conv=fsync 2>told; do n=$((n+1)); done; echo $n; \
         cat told; mkdir d; ln -s x l; echo more >>kept; cat kept; : >kept",
    ]);
    let count: u64 = told
        .stdout
        .lines()
        .next()
        .and_then(|n| n.parse().ok())
        .expect("a number");
    assert!((20..2000).contains(&count), "{}", told.stdout);
    let said = format!("{}{}", told.stdout, told.stderr);
    assert!(said.matches("quota exceeded").count() >= 3, "{said}");
    assert!(
        told.stdout.contains("kept\n") && !told.stdout.contains("more"),
        "{said}"
    );
    assert_eq!(kilobytes("avail"), 0);
    zone.sh("rm /srv/f*");
    eventually("there is room again", || {
        (zone.run(&["sh", "-c", "echo x >/srv/new"]).status == 0).then_some(())
    });
    assert!(kilobytes("avail") > 0);
}
