//! Copy-on-write mounts: a zone changes what it sees of a directory of the host, and nothing of that.

use crate::escape;
use crate::harness::{self, Account, Home, LIMIT, Zone, confined, in_each_role, run};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

in_each_role!(
    changes_are_the_zones_own,
    attempts_below_are_refused,
    no_file_is_lost_with_the_monitor,
    a_zone_is_exported_with_what_it_has_changed,
    a_package_is_installed_over_the_hosts
);
confined!(changes_are_the_zones_own, attempts_below_are_refused);

const SECTIONS: [&str; 15] = [
    "looks",
    "opens",
    "names",
    "renames",
    "removals",
    "attributes",
    "links",
    "listings",
    "moved",
    "descriptors",
    "mappings",
    "holes",
    "together",
    "watches",
    "random",
];

/// Those that write to files that forbid it: the tree is the zone's root's.
const OF_ROOT: &[&str] = &["looks", "opens", "attributes", "random"];

/// A tree that the guest program has planted, which belongs to the user of the role.
fn planted(home: &Home) -> PathBuf {
    let directory = home.place().work();
    let guest = directory.join("guest");
    harness::copy_program(&harness::guest("layers"), &guest);
    let mut command = harness::native(&Account::own(), "sh", "umask 22; ./guest plant");
    run(command.current_dir(&directory), LIMIT).ok();
    if let Some((uid, gid)) = home.role().account() {
        let mut left = vec![directory.clone()];
        while let Some(path) = left.pop() {
            let found = fs::symlink_metadata(&path).expect("it is there");
            lchown(&path, Some(uid), Some(gid)).expect("we are root");
            if found.is_dir() {
                left.extend(
                    fs::read_dir(&path)
                        .expect("ours")
                        .flatten()
                        .map(|it| it.path()),
                );
            }
        }
    }
    directory
}

/// Everything of a tree of the host that is not to change.
fn state(top: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut left = vec![top.to_owned()];
    while let Some(path) = left.pop() {
        let it = fs::symlink_metadata(&path).expect("it is there");
        if it.is_dir() {
            left.extend(
                fs::read_dir(&path)
                    .expect("ours")
                    .flatten()
                    .map(|it| it.path()),
            );
        }
        let numbers = (
            it.ino(),
            it.mode(),
            it.uid(),
            it.gid(),
            it.nlink(),
            it.size(),
        );
        let times = (it.mtime(), it.mtime_nsec(), it.ctime(), it.ctime_nsec());
        all.insert(path, format!("{numbers:?} {times:?}"));
    }
    all
}

fn zone_over<'h>(home: &'h Home, name: &str, below: &Path) -> Zone<'h> {
    let mount = format!("{}:/tree", below.display());
    let zone = home.create_with(name, &["--cow", &mount]);
    home.zone(&["boot", name]).ok();
    zone
}

/// What a program finds is what it finds in a plain tree; the host's is as it was.
fn changes_are_the_zones_own(home: &Home) {
    for section in SECTIONS {
        if !harness::am_root() && OF_ROOT.contains(&section) {
            harness::skip(section, "only root may write to all files natively");
            continue;
        }
        let (below, plain) = (planted(home), planted(home));
        let before = state(&below);
        let script = format!("umask 22; ./guest {section}");
        let natively = run(
            harness::native(&Account::own(), "sh", &script).current_dir(&plain),
            LIMIT,
        );
        let zone = zone_over(home, section, &below);
        let mut command = home.command(&["login", section, "--workdir", "/tree", "--"]);
        let in_zone = run(command.args(["sh", "-c", &script]), LIMIT);
        assert_eq!(natively.status, 0, "{section}: {natively:?}");
        let mut lines = natively.stdout.lines().zip(in_zone.stdout.lines());
        if let Some((natively, in_zone)) = lines.find(|(one, other)| one != other) {
            panic!("{section}: natively {natively:?}, in the zone {in_zone:?}");
        }
        assert!(natively == in_zone, "{section}: {in_zone:?}");
        assert_eq!(state(&below), before, "{section}");
        // What the zone has made of it is still there after another boot.
        let list = "find . -printf '%P %y %m %s %l\\n' | sort; find . -type f | sort | xargs cksum";
        let find = || {
            zone.run(&["sh", "-c", &format!("cd /tree && {{ {list}; }}")])
                .ok()
        };
        let found = find();
        home.zone(&["halt", section]).ok();
        home.zone(&["boot", section]).ok();
        assert_eq!(find(), found, "{section}");
        home.zone(&["delete", "--force", section]).ok();
    }
}

/// Machine code in a guest changes nothing below, and learns nothing that its zone may not read.
fn attempts_below_are_refused(home: &Home) {
    let below = home.place().work();
    fs::create_dir(below.join("d")).expect("made");
    for (path, content) in [
        ("file", "file"),
        ("d/one", "one"),
        ("d/secret", "not to be read"),
    ] {
        fs::write(below.join(path), content).expect("made");
    }
    std::os::unix::fs::symlink("/etc", below.join("d/out")).expect("made");
    if let Some((uid, gid)) = home.role().account() {
        for path in ["", "d", "file", "d/one"] {
            lchown(below.join(path), Some(uid), Some(gid)).expect("we are root");
        }
    }
    // Its owner is nobody's in the zone; as an ordinary user the tests cannot give it away.
    let secret = below.join("d/secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).expect("ours");
    if harness::am_root() {
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("ours");
        lchown(&secret, Some(54321), Some(54321)).expect("we are root");
    }
    let before = state(&below);
    let zone = zone_over(home, "cage", &below);
    harness::copy_program(
        &harness::guest("hostile_layers"),
        &zone.root().join("hostile"),
    );
    let output = zone.run(&["/hostile", "/tree"]);
    escape::assert_all_refused(&output);
    assert!(output.stdout.lines().count() > 120, "{output:?}");
    assert_eq!(state(&below), before);
    assert_eq!(zone.sh("cat /tree/d/one"), "one");
}

/// A monitor that is killed while files are raised loses none of them.
fn no_file_is_lost_with_the_monitor(home: &Home) {
    const FILES: usize = 60;
    const SIZE: usize = 1 << 20;
    let below = home.place().work();
    let content: Vec<u8> = (0..SIZE)
        .map(|at| b"0123456789abcdef"[at * at % 16])
        .collect();
    for number in 0..FILES {
        fs::write(below.join(format!("{number:02}")), &content).expect("made");
    }
    let before = state(&below);
    let zone = zone_over(home, "killed", &below);
    let layers = home.dir().join("zones/killed/cow");
    let layer = fs::read_dir(layers)
        .expect("made")
        .flatten()
        .next()
        .expect("one");
    let tree = layer.path().join("tree");
    let raised = || {
        let entries = fs::read_dir(&tree).expect("there").flatten();
        let is_file = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_file());
        entries.filter(is_file).count()
    };
    for round in 1..=4 {
        let writer = harness::start(&mut zone.command(&[
            "sh",
            "-c",
            "for file in /tree/*; do printf x >>$file; done",
        ]));
        let wanted = FILES * round / 5;
        harness::eventually("files are raised", || (raised() >= wanted).then_some(()));
        let monitor = nix::unistd::Pid::from_raw(zone.monitor());
        nix::sys::signal::kill(monitor, nix::sys::signal::Signal::SIGKILL).expect("it runs");
        drop(writer);
        harness::eventually("the zone is down", || {
            (home.state("killed") == "down").then_some(())
        });
        home.zone(&["boot", "killed"]).ok();
        let lengths = zone.sh("cat /tree/* | tr -d x | cksum; ls /tree | wc -l");
        let whole = zone.sh("cat /tree/00 | tr -d x | cksum");
        assert!(lengths.ends_with(&format!("{FILES}\n")), "{lengths}");
        let total = FILES * SIZE;
        assert!(lengths.contains(&format!(" {total}\n")), "{lengths}");
        assert!(whole.contains(&format!(" {SIZE}\n")), "{whole}");
    }
    assert_eq!(state(&below), before);
}

/// What a sparse zone has of its own, and what it has changed of the host's, makes the same zone again.
fn a_zone_is_exported_with_what_it_has_changed(home: &Home) {
    let below = home.place().work();
    for path in [
        "d/one",
        "d/two",
        "emptied/inner",
        "moved/in/deep",
        "gone/file",
        "kept",
    ] {
        let path = below.join(path);
        fs::create_dir_all(path.parent().expect("it has")).expect("made");
        fs::write(&path, path.file_name().expect("it has").as_encoded_bytes()).expect("made");
    }
    fs::hard_link(below.join("d/one"), below.join("d/other")).expect("made");
    let before = state(&below);
    let zone = zone_over(home, "first", &below);
    zone.sh("set -e; cd /tree
        echo more >>d/one; chown 33:34 d/two; rm -r gone; chmod 2775 d; chown :50 d
        rm -r emptied; mkdir emptied; echo new >emptied/fresh
        mv moved renamed; echo x >renamed/in/beside
        mknod null c 1 3; mkfifo -m 604 fifo; ln -s kept link; cp /bin/true tool; chmod 4755 tool
        ln tool again; mkdir -p deep/er; touch -d @1000000000 deep/er/old
        cd /srv; install -o 33 -g 34 -m 6751 /dev/null file; mkdir -m 3771 sub; chown 99:98 sub
        useradd somebody; echo set >/etc/of-its-own");
    let look = "find /tree /srv /etc/of-its-own -printf '%p %y %u %g %#m %l\\n' | sort
        cd /tree; find . -type f | sort | xargs cksum; stat -c '%t:%T' null
        stat -c '%Y' deep/er/old; stat -c %h tool; id -u somebody; ls -l /bin/sh /usr/bin/env";
    let (told, diff) = (zone.sh(look), home.zone(&["diff", "first"]).ok());
    let exported = home.dir().join("exported.tar");
    let tarball = exported.to_string_lossy().into_owned();
    home.zone(&["halt", "first"]).ok();
    home.zone(&["export", "first", &tarball]).ok();
    home.zone(&["delete", "first"]).ok();
    let cause = home
        .zone(&["create", "other", "--root", &tarball])
        .fails(125);
    assert!(cause.contains("--import"), "{cause}");
    home.create_with("second", &["--import", &tarball]);
    let zone = home.started("second");
    assert_eq!(zone.sh(look), told);
    assert_eq!(home.zone(&["diff", "second"]).ok(), diff);
    // What the host has, is seen through what the zone has not changed.
    fs::write(below.join("kept"), "changed").expect("written");
    assert_eq!(zone.sh("cat /tree/kept"), "changed");
    fs::write(below.join("kept"), "kept").expect("written");
    let paths = |state: BTreeMap<PathBuf, String>| state.into_keys().collect::<Vec<_>>();
    assert_eq!(paths(state(&below)), paths(before));
}

/// A sparse zone installs a package over the host's /usr, and says what that has changed.
fn a_package_is_installed_over_the_hosts(home: &Home) {
    let needed = ["dpkg", "dpkg-deb"];
    if needed
        .iter()
        .any(|name| harness::program("packages over /usr", name).is_none())
    {
        return;
    }
    let zone = home.create_with("packages", &["--cow", "/usr", "--cow", "/var/lib/dpkg"]);
    home.zone(&["boot", "packages"]).ok();
    assert_eq!(
        home.json(&["diff", "packages", "--json"]),
        serde_json::json!([])
    );
    zone.sh(
        "mkdir -p /tmp/p/DEBIAN /tmp/p/usr/bin /tmp/p/usr/share/doc/layered && cd /tmp/p
         printf 'Package: layered\\nVersion: 1.0\\nArchitecture: all\\nMaintainer: a <a@b>\\nDescription: one\\n' >DEBIAN/control
         printf '#!/bin/sh\\necho from the layer\\n' >usr/bin/layered
         printf '#!/bin/sh\\nset -e\\nchmod 4755 /usr/bin/layered\\n' >DEBIAN/postinst
         chmod 755 usr/bin/layered DEBIAN/postinst
         echo text >usr/share/doc/layered/copyright
         dpkg-deb --root-owner-group -b . ../layered.deb >/dev/null
         dpkg -i ../layered.deb >/dev/null",
    );
    assert_eq!(
        zone.sh("layered; stat -c %a /usr/bin/layered"),
        "from the layer\n4755\n"
    );
    assert_eq!(
        zone.sh("dpkg-query -W -f '${Status}' layered"),
        "install ok installed"
    );
    assert!(!Path::new("/usr/bin/layered").exists());
    let changed = home.zone(&["diff", "packages"]).ok();
    for line in [
        "A /usr/bin/layered",
        "A /usr/share/doc/layered",
        "A /usr/share/doc/layered/copyright",
        "C /var/lib/dpkg/status",
        "A /var/lib/dpkg/info/layered.list",
    ] {
        assert!(
            changed.lines().any(|found| found == line),
            "{line} is not in {changed}"
        );
    }
    zone.sh("dpkg --purge layered >/dev/null");
    assert_eq!(zone.run(&["which", "layered"]).status, 1);
    // One of the host's own programs goes, and is still there outside.
    zone.sh("rm /usr/bin/dpkg-deb");
    let changed = home.zone(&["diff", "packages"]).ok();
    assert!(
        changed.lines().any(|found| found == "D /usr/bin/dpkg-deb"),
        "{changed}"
    );
    assert!(!changed.contains("layered"), "{changed}");
    assert!(Path::new("/usr/bin/dpkg-deb").exists());
}
