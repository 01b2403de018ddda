//! Whole zones: a distribution unpacked from a tarball without root, and its package manager.
//!
//! The distribution is made of the host's own packages, so that nothing is fetched; it takes a host
//! with dpkg, and root to read all of them.

use crate::harness::{self, Home, LIMIT, Role, am_root, in_each_role, program, run, skip};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

in_each_role!(
    a_tarball_becomes_a_zone,
    packages_come_and_go,
    creation_resumes
);

/// What every Debian has, and what the tests use.
const SEEDS: [&str; 4] = ["apt", "passwd", "adduser", "login"];

/// What a test can do without of the host's packages: most of their bytes.
const LEFT_OUT: [&str; 5] = [
    "/usr/share/doc",
    "/usr/share/man",
    "/usr/share/locale",
    "/usr/share/zoneinfo",
    "/usr/lib/x86_64-linux-gnu/perl/",
];

/// One paragraph of dpkg's status.
struct Package<'s> {
    name: &'s str,
    text: &'s str,
}

impl<'s> Package<'s> {
    fn field(&self, name: &str) -> &'s str {
        let mut lines = self.text.lines();
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or("")
    }

    /// Names in a list of relations; of alternatives all.
    fn names(&self, field: &str) -> impl Iterator<Item = Vec<&'s str>> {
        let bare = |name: &'s str| name.trim().split([' ', ':', '(']).next().unwrap_or("");
        self.field(field).split(',').map(move |one| {
            one.split('|')
                .map(bare)
                .filter(|name| !name.is_empty())
                .collect()
        })
    }
}

/// The packages of the host that a small system is made of.
fn chosen(status: &str) -> Vec<Package<'_>> {
    let all: Vec<Package<'_>> = status
        .split("\n\n")
        .filter(|text| text.contains("\nStatus: install ok installed"))
        .filter_map(|text| {
            let name = text
                .trim_start()
                .strip_prefix("Package: ")?
                .lines()
                .next()?;
            Some(Package {
                name,
                text: text.trim(),
            })
        })
        .collect();
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, package) in all.iter().enumerate() {
        for name in package.names("Provides").flatten() {
            by_name.entry(name).or_insert(at);
        }
    }
    by_name.extend(
        all.iter()
            .enumerate()
            .map(|(at, package)| (package.name, at)),
    );
    let is_seed = |package: &Package<'_>| {
        package.field("Essential") == "yes" || SEEDS.contains(&package.name)
    };
    let mut wanted: Vec<usize> = (0..all.len()).filter(|&at| is_seed(&all[at])).collect();
    let mut found = BTreeSet::new();
    while let Some(at) = wanted.pop() {
        if found.insert(at) {
            let needs = ["Depends", "Pre-Depends"].map(|field| all[at].names(field));
            let needs = needs.into_iter().flatten();
            wanted
                .extend(needs.filter_map(|names| names.iter().find_map(|name| by_name.get(name))));
        }
    }
    let mut at = 0;
    let mut all = all;
    all.retain(|_| (found.contains(&at), at += 1).0);
    all
}

/// A tarball of a small Debian, made once for all tests of a run; `None` says why not.
fn distribution(home: &Home) -> Option<PathBuf> {
    const WHAT: &str = "a whole zone";
    if !am_root() {
        skip(WHAT, "only root reads all of the host's packages");
        return None;
    }
    for needed in ["dpkg-deb", "apt-get", "tar"] {
        program(WHAT, needed)?;
    }
    let path = home.place().dir().join("distribution.tar");
    home.place().once("distribution", || make(&path));
    Some(path)
}

fn make(path: &Path) {
    let status = fs::read_to_string("/var/lib/dpkg/status").expect("the host has dpkg");
    let packages = chosen(&status);
    let work = tempfile::tempdir().expect("a directory");
    let (mut list, mut kept) = (BTreeSet::new(), String::new());
    for package in &packages {
        let _ = write!(kept, "{}\n\n", package.text);
        let names = [package.name.to_owned(), format!("{}:amd64", package.name)];
        for name in names {
            let info = format!("/var/lib/dpkg/info/{name}");
            let Ok(files) = fs::read_to_string(format!("{info}.list")) else {
                continue;
            };
            list.extend(files.lines().map(str::to_owned));
            let ends = [
                "list", "md5sums", "preinst", "postinst", "prerm", "postrm", "triggers",
            ];
            list.extend(ends.map(|end| format!("{info}.{end}")));
        }
    }
    // Links by which packages' files are found, and what their scripts have made.
    for made in [
        "/bin",
        "/sbin",
        "/lib",
        "/lib64",
        "/etc/passwd",
        "/etc/group",
        "/etc/shadow",
    ] {
        list.insert(made.to_owned());
    }
    for dir in [
        "/etc/pam.d",
        "/etc/alternatives",
        "/usr/share/perl",
        "/var/lib/dpkg/info/format",
    ] {
        list.insert(dir.to_owned());
    }
    let is_wanted = |path: &&String| {
        let is_there = fs::symlink_metadata(path).is_ok();
        is_there && path.len() > 2 && !LEFT_OUT.iter().any(|dir| path.starts_with(dir))
    };
    // By their own names: a tarball's entries do not lead through links that come before.
    let real = |path: &String| -> Option<PathBuf> {
        let path = Path::new(path);
        let parent = path.parent()?.canonicalize().ok()?;
        Some(parent.join(path.file_name()?))
    };
    let real: BTreeSet<PathBuf> = list.iter().filter(is_wanted).filter_map(real).collect();
    let line = |path: &PathBuf| format!(".{}\n", path.display());
    let text: String = real.iter().map(line).collect();
    fs::write(work.path().join("list"), text).expect("written");
    fs::create_dir_all(work.path().join("top/var/lib/dpkg")).expect("made");
    fs::write(work.path().join("top/var/lib/dpkg/status"), kept).expect("written");
    let tar = |arguments: &[&str]| {
        let mut command = Command::new("tar");
        command
            .arg("-f")
            .arg(path)
            .args(arguments)
            .current_dir(work.path());
        run(&mut command, LIMIT).ok();
    };
    tar(&[
        "-c",
        "--no-recursion",
        "-C",
        "/",
        "-T",
        &work.path().join("list").to_string_lossy(),
    ]);
    // What there is to hold besides: an owner without a name, a device, a FIFO, attributes.
    let extra = work.path().join("extra");
    fs::create_dir_all(extra.join("srv/sub")).expect("made");
    let script = "cd srv; echo x >file; ln file second; ln -s file link; chown 4711:4712 file
        chmod 6751 file; chown -h 33 link; mkfifo -m 604 fifo; mknod -m 660 disk b 7 9
        chown 0:6 disk; setfattr -n user.colour -v blue sub; chmod 3771 sub; chown 99:98 sub
        touch -d @1000000000 file sub";
    let mut command = Command::new("sh");
    command.args(["-ec", script]).current_dir(&extra);
    run(&mut command, LIMIT).ok();
    tar(&["-r", "-C", "top", "var/lib/dpkg/status"]);
    tar(&["-r", "--format=posix", "--xattrs", "-C", "extra", "./srv"]);
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("ours");
}

fn a_tarball_becomes_a_zone(home: &Home) {
    let Some(tarball) = distribution(home) else {
        return;
    };
    let packed = home.dir().join("packed.tar.gz");
    let pack = format!("gzip -1 <{} >{}", tarball.display(), packed.display());
    run(Command::new("sh").args(["-c", &pack]), LIMIT).ok();
    home.create_with("whole", &["--root", &packed.to_string_lossy()]);
    let zone = home.started("whole");
    let look = "cd /srv; stat -c '%u:%g %a %F %h %n' file second link fifo disk sub
        stat -c '%t:%T %Y %n' disk file sub; getfattr -n user.colour --only-values sub";
    let look = if program("attributes", "getfattr").is_some() {
        // It is not among the packages of the zone.
        look.split("; getfattr").next().expect("a part")
    } else {
        look
    };
    let wanted = "4711:4712 6751 regular file 2 file
4711:4712 6751 regular file 2 second
33:0 777 symbolic link 1 link
0:0 604 fifo 1 fifo
0:6 660 block special file 1 disk
99:98 3771 directory 2 sub
";
    let told = zone.sh(look);
    assert!(told.starts_with(wanted), "{told}");
    assert!(told.contains("7:9 "), "{told}");
    assert_eq!(told.matches("1000000000").count(), 2, "{told}");
    assert_eq!(
        zone.sh("stat -c '%a %U' /usr/bin/passwd /usr/bin/su"),
        "4755 root\n4755 root\n"
    );
    assert_eq!(zone.sh("stat -c '%a %G' /etc/shadow"), "640 shadow\n");
    // What is exported is what was there, also where nothing of the first zone is left.
    let exported = home.dir().join("exported.tar");
    home.zone(&["export", "whole", &exported.to_string_lossy()])
        .fails(125);
    home.zone(&["halt", "whole"]).ok();
    home.zone(&["export", "whole", &exported.to_string_lossy()])
        .ok();
    home.create_with("again", &["--root", &exported.to_string_lossy()]);
    let other = home.started("again");
    let zone = home.started("whole");
    assert_eq!(other.sh(look), told);
    let all = "find / -path /proc -prune -o -path /dev -prune -o -printf '%p %u %g %#m %y %n %l\\n' | \
        grep -v '^/\\(run\\|tmp\\|var/tmp\\)' | sort";
    let (there, here) = (other.sh(all), zone.sh(all));
    assert!(here.lines().count() > 2000, "{here}");
    let differing = there
        .lines()
        .zip(here.lines())
        .find(|(there, here)| there != here);
    assert_eq!((differing, there.len()), (None, here.len()));
    // It is the zone's: nothing of the host's own.
    zone.sh("rm /usr/bin/pwd; echo changed >/usr/bin/true");
    assert!(Path::new("/usr/bin/pwd").exists());
    let cause = home
        .zone(&["create", "bad", "--root", "/etc/hostname"])
        .fails(125);
    assert!(cause.contains("/etc/hostname"), "{cause}");
    assert!(home.listed("bad").is_none());
}

/// A package whose scripts make a user and give files to it.
fn build_package(dir: &Path) {
    let top = dir.join("hello");
    for (path, content, mode) in [
        (
            "DEBIAN/control",
            "Package: pz-hello\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDepends: adduser\nDescription: says hello\n",
            0o644,
        ),
        (
            "DEBIAN/postinst",
            "#!/bin/sh -e\nadduser --system --group --home /var/lib/hello hello\ninstall -d -o hello -g hello -m 2750 /var/lib/hello/data\nchown root:hello /usr/bin/hello-id\nchmod 2755 /usr/bin/hello-id\n",
            0o755,
        ),
        (
            "DEBIAN/postrm",
            "#!/bin/sh -e\nif [ \"$1\" = purge ]; then rm -rf /var/lib/hello; deluser --system hello; fi\n",
            0o755,
        ),
        ("DEBIAN/conffiles", "/etc/hello.conf\n", 0o644),
        ("etc/hello.conf", "greeting=hello\n", 0o640),
        ("usr/bin/hello-id", "#!/bin/sh\nid -un\n", 0o755),
    ] {
        let path = top.join(path);
        fs::create_dir_all(path.parent().expect("it has")).expect("made");
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode))
            .expect("ours");
    }
    let script = "dpkg-deb --root-owner-group -Zgzip -b hello pz-hello_1.0_all.deb >/dev/null
        { cat hello/DEBIAN/control
          echo Filename: ./pz-hello_1.0_all.deb
          echo Size: $(stat -c %s pz-hello_1.0_all.deb)
          echo SHA256: $(sha256sum pz-hello_1.0_all.deb | cut -d' ' -f1); } >Packages
        rm -r hello";
    run(
        Command::new("sh").args(["-ec", script]).current_dir(dir),
        LIMIT,
    )
    .ok();
}

fn packages_come_and_go(home: &Home) {
    let Some(tarball) = distribution(home) else {
        return;
    };
    let repository = home.place().work();
    build_package(&repository);
    let bind = format!("{}:/srv/repository", repository.display());
    home.create_with(
        "apt",
        &["--root", &tarball.to_string_lossy(), "--bind", &bind],
    );
    let zone = home.started("apt");
    zone.sh("rm -rf /etc/apt/sources.list* /etc/apt/apt.conf.d/*
        echo 'deb [trusted=yes] file:/srv/repository ./' >/etc/apt/sources.list
        export DEBIAN_FRONTEND=noninteractive
        apt-get -q update && apt-get -qy install pz-hello >/srv/log 2>&1 || { cat /srv/log; exit 1; }");
    let look = "stat -c '%U:%G %a %n' /var/lib/hello/data /usr/bin/hello-id /etc/hello.conf
        dpkg-query -W -f '${Status}' pz-hello; id -gn hello";
    let wanted = "hello:hello 2750 /var/lib/hello/data
root:hello 2755 /usr/bin/hello-id
root:root 640 /etc/hello.conf
install ok installedhello
";
    assert_eq!(zone.sh(look), wanted);
    assert_eq!(zone.sh("dpkg --audit"), "");
    home.zone(&["halt", "apt"]).ok();
    home.zone(&["boot", "apt"]).ok();
    assert_eq!(zone.sh(look), wanted, "after a boot");
    zone.sh("apt-get -qy remove pz-hello >/srv/log 2>&1 || { cat /srv/log; exit 1; }");
    assert_eq!(
        zone.sh("cat /etc/hello.conf; ls /usr/bin/hello-id 2>&1 | wc -l; test -e /usr/bin/hello-id || id -un hello"),
        "greeting=hello\n1\nhello\n"
    );
    zone.sh(
        "dpkg -i /srv/repository/pz-hello_1.0_all.deb >/srv/log 2>&1 || { cat /srv/log; exit 1; }",
    );
    assert_eq!(zone.sh(look), wanted, "by dpkg");
    zone.sh("dpkg --purge pz-hello >/srv/log 2>&1 || { cat /srv/log; exit 1; }");
    zone.run(&["id", "hello"]).fails(1);
    assert_eq!(
        zone.sh("ls -d /var/lib/hello /etc/hello.conf 2>/dev/null | wc -l"),
        "0\n"
    );
}

/// A creation that is killed in the midst leaves an incomplete zone, which the same command completes.
fn creation_resumes(home: &Home) {
    let Some(tarball) = distribution(home) else {
        return;
    };
    let arguments = ["create", "slow", "--root", &tarball.to_string_lossy()].map(str::to_owned);
    let root = home.dir().join("zones/slow/root/usr/bin");
    let running = home.start(&arguments);
    harness::eventually("it unpacks", || root.exists().then_some(()));
    // Kills it.
    drop(running);
    if home.state("slow") == "incomplete" {
        let told = home.zone(&["boot", "slow"]).fails(125);
        assert!(told.contains("incomplete"), "{told}");
    }
    home.zone(&["create", "slow"]).ok();
    assert_eq!(home.state("slow"), "installed");
    let zone = home.started("slow");
    assert_eq!(zone.sh("stat -c %a /usr/bin/passwd"), "4755\n");
    if home.role() == Role::User {
        home.zone(&["delete", "--force", "slow"]).ok();
    }
}
