//! Debian's sshd in two zones, each with clients in the other, by the zones' own ports 22: as the zone's
//! root and as a user, with a terminal, and held in a root directory of its own (chroot(2)).

use crate::harness::{Home, Zone, at_once, eventually, in_each_role, program};

in_each_role!(between_zones);

const NEEDS: [&str; 7] = [
    "sshd",
    "ssh",
    "ssh-keygen",
    "scp",
    "sftp",
    "rsync",
    "useradd",
];

/// No password is known, but none is needed to be let in by a key.
const ACCOUNTS: &str = "
    usermod -p '*' root
    groupadd jailed
    useradd -m -s /bin/sh -p '*' joe
    useradd -m -s /bin/sh -p '*' -G jailed jim";

const CONFIG: &str = "
PermitRootLogin yes
UsePAM yes
Subsystem sftp /usr/lib/openssh/sftp-server
Match Group jailed
  ChrootDirectory /srv/jail
  ForceCommand internal-sftp
";

const CLIENT: &str = "Host *
  IdentityFile ~/.ssh/id
  StrictHostKeyChecking no
  LogLevel ERROR
";

fn between_zones(home: &Home) {
    if NEEDS.iter().any(|name| program("ssh", name).is_none()) {
        return;
    }
    // Each has the other one's key.
    let zones = ["one", "two"].map(|name| home.boot(name));
    at_once(&zones, |zone| {
        zone.sh(ACCOUNTS);
        zone.sh(&format!(
            "mkdir -pm 700 /root/.ssh; ssh-keygen -qt ed25519 -N '' -f /root/.ssh/id; \
             printf '%s' '{CLIENT}' >/root/.ssh/config"
        ));
    });
    let keys = zones
        .each_ref()
        .map(|zone| zone.sh("cat /root/.ssh/id.pub"));
    at_once(&zones, |zone| {
        let key = if zone.name() == "one" {
            &keys[1]
        } else {
            &keys[0]
        };
        zone.sh(&format!(
            "echo '{key}' >/root/.ssh/authorized_keys; {} \
             mkdir -p /run/sshd /srv/jail/up; chown jim /srv/jail/up; echo jailed >/srv/jail/file; \
             printf '%s' '{CONFIG}' >/srv/sshd_config; ssh-keygen -A >/dev/null; \
             $(command -v sshd) -f /srv/sshd_config -E /srv/log",
            copies("/root/.ssh")
        ));
    });
    let addresses = zones.each_ref().map(Zone::address);
    at_once(&zones, |zone| {
        let address = if zone.name() == "one" {
            &addresses[1]
        } else {
            &addresses[0]
        };
        for user in ["root", "joe"] {
            sessions(zone, user, &format!("{user}@{address}"));
        }
        in_jail(zone, &format!("jim@{address}"));
    });
    at_once(&zones, |zone| {
        assert_eq!(zone.sh("cat /srv/jail/up/it"), "one\n");
        zone.sh("pkill sshd");
        eventually("sshd ends", || {
            (zone.run(&["pgrep", "sshd"]).status != 0).then_some(())
        });
    });
}

/// The other accounts have root's keys too.
fn copies(of: &str) -> String {
    format!("for u in joe jim; do cp -r {of} /home/$u/; chown -R $u: /home/$u/.ssh; done;")
}

fn run_as(client: &Zone<'_>, user: &str, script: &str) -> String {
    let script = format!("cd; exec 2>&1; {script}");
    client
        .run(&["su", user, "-s", "/bin/sh", "-c", &script])
        .ok()
}

fn sessions(client: &Zone<'_>, user: &str, to: &str) {
    let run = |script: &str| run_as(client, user, script);
    let home = run("pwd");
    assert_eq!(
        run(&format!(
            "ssh {to} 'id -un; pwd; echo $SSH_CONNECTION | cut -d\" \" -f3-'"
        )),
        format!(
            "{user}\n{home}{} 22\n",
            to.split_once('@').expect("it names both").1
        )
    );
    let tty = run(&format!("ssh -tt {to} 'tty; exit 7' </dev/null || echo $?"));
    assert!(tty.starts_with("/dev/pts/"), "{tty}");
    assert!(tty.ends_with("\n7\n"), "{tty}");
    // Debian 13 keeps no such record.
    if run("grep -c utmpxname \"$(command -v who)\" || true") != "0\n" {
        let who = run(&format!("ssh -tt {to} who </dev/null"));
        let name = to.split_once('@').expect("it names both").0;
        assert!(who.starts_with(name) && who.contains("pts/"), "{who}");
    }
    run("mkdir -p d/e; echo one >d/a; ln -sf a d/l; head -c 300000 /dev/urandom >d/e/big");
    assert_eq!(
        run(&format!(
            "scp -qr d {to}:copy && scp -qr {to}:copy back && diff -r d back && ssh {to} cat copy/l"
        )),
        "one\n"
    );
    run(&format!(
        "printf 'put d/e/big got\\nget got sent\\n' | sftp -q -b - {to} && cmp d/e/big sent"
    ));
    assert_eq!(
        run(&format!(
            "rsync -a --delete d/ {to}:r && rsync -ai d/ {to}:r && ssh {to} readlink r/l \
             && rsync -a {to}:r/ fetched && diff -r d fetched && echo same"
        )),
        "a\nsame\n"
    );
}

/// Only files of the root directory that sshd gives, and no shell.
fn in_jail(client: &Zone<'_>, to: &str) {
    let batch = "ls\\npwd\\nget file\\ncd ../../..\\nput d/a up/it\\n-get /etc/passwd none\\n";
    let told = run_as(
        client,
        "jim",
        &format!(
            "mkdir d; echo one >d/a; printf '{batch}' | sftp -q -b - {to}; cat file; test -e none || echo no"
        ),
    );
    for part in [
        "file  up",
        "directory: /\n",
        "jailed\n",
        "not found.",
        "\nno\n",
    ] {
        assert!(told.contains(part), "{part:?} is missing: {told}");
    }
    let told = run_as(client, "jim", &format!("ssh {to} id || true"));
    assert_eq!(told, "This service allows sftp connections only.\n");
}
