//! The resolver over several mounts. The oracle is the kernel's walk of one tree that holds the same
//! things in place; what the monitor serves, and what is asked of a tree, is shown in memory.
#![expect(clippy::unwrap_used, reason = "a test's own set-up fails loudly")]

mod common;

use common::kernel_unsafe::{identity, open_in_root};
use common::memory::{Entry, Memory};
use common::random::{Make, build, make, wild};
use common::{Kernel, path_of};
use picozone_fsmap::{Bounds, Error, Last, MountRow, Mounts, PathBuf, kind, resolve};
use proptest::prelude::*;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf as HostPath;

/// Where trees are mounted: in the root, in a directory of the root, and in another mount.
const POINTS: [&str; 3] = ["b", "c/a", "b/d"];

/// The trees of a zone apart, and all in one.
struct Zone {
    _dir: tempfile::TempDir,
    merged: HostPath,
    rows: Vec<MountRow>,
}

impl Zone {
    /// `makes` fills the root and then the mounts.
    fn new(makes: &[Vec<Make>; 1 + POINTS.len()]) -> Zone {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().canonicalize().unwrap();
        let merged = host.join("merged");
        let root = host.join("tree0");
        let mut trees = vec![(String::new(), root.clone())];
        for (number, point) in POINTS.iter().enumerate() {
            trees.push((
                format!("/{point}"),
                host.join(format!("tree{}", number + 1)),
            ));
        }
        for (point, tree) in &trees {
            fs::create_dir_all(tree).unwrap();
            fs::create_dir_all(format!("{}{point}", merged.display())).unwrap();
        }
        // Whoever gets out finds these.
        fs::write(host.join("a"), "outside").unwrap();
        fs::create_dir(host.join("d")).unwrap();

        let mut rows = Vec::new();
        for (point, tree) in &trees {
            let zone = if point.is_empty() { "/" } else { point };
            let mut row = MountRow::new(zone.as_bytes(), tree.as_os_str().as_bytes()).unwrap();
            if !point.is_empty() {
                let placeholder = placeholder(&trees, point);
                (row.placeholder_dev, row.placeholder_ino) = (placeholder.dev(), placeholder.ino());
            }
            rows.push(row);
        }
        Mounts::arrange(&mut rows).unwrap();
        for ((point, tree), makes) in trees.iter().zip(makes) {
            // What is in the way of a mount was refused, since a link stands there.
            let made = build(tree, makes);
            let place = HostPath::from(format!("{}{point}", merged.display()));
            assert_eq!(build(&place, &made).len(), made.len());
        }
        Zone {
            _dir: dir,
            merged,
            rows,
        }
    }

    /// Compares with the kernel's walk of the merged tree: the errno, or the place.
    fn compare(&self, path: &str, last: Last) {
        let mut kernel = Kernel::new(&self.rows);
        let mut at = PathBuf::new();
        let mounts = Mounts(&self.rows);
        let ours = resolve(
            &mounts,
            &mut kernel,
            &Bounds::default(),
            &mut at,
            path.as_bytes(),
            last,
        );
        assert_eq!(kernel.opened, kernel.closed);
        let nofollow = if last == Last::NoFollow {
            libc::O_NOFOLLOW
        } else {
            0
        };
        let top = fs::File::open(&self.merged).unwrap().into();
        let theirs = open_in_root(&top, &CString::new(path).unwrap(), libc::O_PATH | nofollow);
        match (ours, theirs) {
            (Ok(found), Ok(node)) => {
                assert!(found.exists, "{path}");
                let place = path_of(&node).unwrap();
                let place = place
                    .strip_prefix(self.merged.as_os_str().as_bytes())
                    .unwrap();
                let place = if place.is_empty() { b"/" } else { place };
                assert_eq!(
                    at.as_bytes().escape_ascii().to_string(),
                    place.escape_ascii().to_string(),
                    "{path}"
                );
                // The mount and the rest name the same thing: what it is shows that.
                let rest = &at.as_bytes()[found.rel..];
                let rest = PathBuf::from_bytes(if rest.is_empty() { b"." } else { rest }).unwrap();
                let there = kernel
                    .open(found.mount, &rest, libc::O_PATH | libc::O_NOFOLLOW)
                    .unwrap();
                assert_eq!(identity(&there).2, identity(&node).2, "{path}");
                self.reverse(&there, &at);
            }
            (Ok(found), Err(error)) => {
                assert_eq!((found.exists, error), (false, Error::ENOENT), "{path}");
            }
            // A loop that grows with each turn: the buffer is full before the links are counted.
            (Err(Error::ENAMETOOLONG), Err(Error::ELOOP)) => {}
            (Err(ours), Err(theirs)) => assert_eq!(ours, theirs, "{path}"),
            (Err(error), Ok(_)) => panic!("{path}: {error:?}, but the kernel finds it"),
        }
    }

    /// What the kernel calls the place on the host is the zone path that led there.
    fn reverse(&self, there: &std::os::fd::OwnedFd, zone: &PathBuf) {
        let mut back = PathBuf::new();
        assert!(Mounts(&self.rows).to_zone(&path_of(there).unwrap(), &mut back));
        assert_eq!(back, *zone);
    }
}

/// Puts the link that stands for a mount into the directory above, in whichever tree that is.
fn placeholder(trees: &[(String, HostPath)], point: &str) -> fs::Metadata {
    let holds = |(other, _): &&(String, HostPath)| {
        point.len() > other.len() && point.starts_with(&format!("{other}/"))
    };
    let (above, tree) = trees
        .iter()
        .filter(holds)
        .max_by_key(|(other, _)| other.len())
        .unwrap();
    let link = tree.join(point[above.len()..].trim_start_matches('/'));
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    symlink("/.placeholder", &link).unwrap();
    fs::symlink_metadata(&link).unwrap()
}

fn makes() -> impl Strategy<Value = [Vec<Make>; 1 + POINTS.len()]> {
    let some = || prop::collection::vec(make(), 1..20);
    [some(), some(), some(), some()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn walks_as_the_kernel_does_in_one_tree(makes in makes(), paths in prop::collection::vec(wild(), 30)) {
        let zone = Zone::new(&makes);
        for path in &paths {
            for last in [Last::Follow, Last::NoFollow] {
                zone.compare(path, last);
                zone.compare(&format!("/b/{path}"), last);
                zone.compare(&format!("b/d/../{path}/"), last);
            }
        }
    }

    /// Every zone path has one host path, and leads back; every other host path has none.
    #[test]
    fn zone_and_host_paths_translate_both_ways(names in prop::collection::vec("[a-d]{1,2}", 0..6)) {
        let mut rows = reversible();
        Mounts::arrange(&mut rows).unwrap();
        let mounts = Mounts(&rows);
        let zone = format!("/{}", names.join("/"));
        let (mount, rest) = mounts.find(zone.as_bytes());
        let mut host = rows[mount].host().to_vec();
        if !rest.is_empty() {
            host.push(b'/');
            host.extend(rest);
        }
        let mut back = PathBuf::new();
        prop_assert!(mounts.to_zone(&host, &mut back));
        prop_assert_eq!(back.as_bytes(), zone.as_bytes());

        let outside = format!("/host{zone}");
        prop_assert!(!mounts.to_zone(outside.as_bytes(), &mut back));
        prop_assert!(!mounts.to_zone(b"/zones/z/rootless", &mut back));
    }
}

/// Mounts whose directories on the host lie apart from each other.
fn reversible() -> Vec<MountRow> {
    [
        ("/", "/zones/z/root"),
        ("/a", "/srv/one"),
        ("/a/b", "/srv/two"),
        ("/c/d", "/srv/three/deep"),
        ("/dd", "/usr"),
    ]
    .map(|(zone, host)| MountRow::new(zone.as_bytes(), host.as_bytes()).unwrap())
    .into()
}

/// A zone as they are: a shared /usr with the links into it, and the monitor's /proc.
fn usual() -> Vec<MountRow> {
    let row = |zone: &str, host: &str| MountRow::new(zone.as_bytes(), host.as_bytes()).unwrap();
    let usr = row("/usr", "/usr");
    let mut proc = row("/proc", "/run/proc");
    proc.kind = kind::MONITOR;
    let bin = MountRow::alias(b"/bin", &usr, b"bin").unwrap();
    let mut rows = vec![row("/", "/zones/z/root"), usr, bin, proc];
    Mounts::arrange(&mut rows).unwrap();
    rows
}

fn number(rows: &[MountRow], zone: &str) -> usize {
    let prefix = zone.trim_end_matches('/').as_bytes();
    rows.iter().position(|row| row.prefix() == prefix).unwrap()
}

#[test]
fn links_lead_from_mount_to_mount() {
    let rows = usual();
    let (root, usr) = (number(&rows, "/"), number(&rows, "/usr"));
    let link = |to: &str| Entry::Link(to.into());
    let mut tree = Memory::new(
        &rows,
        &[
            (root, ".", Entry::Dir),
            (root, "etc", Entry::Dir),
            (root, "etc/alternatives", Entry::Dir),
            (root, "etc/alternatives/vi", link("/usr/bin/vim")),
            (root, "bin", link("usr/bin")),
            (root, "usr", link("/.placeholder")),
            (root, "proc", link("/.placeholder")),
            (root, "home", link("/usr/../etc")),
            (usr, ".", Entry::Dir),
            (usr, "bin", Entry::Dir),
            (usr, "bin/vi", link("/etc/alternatives/vi")),
            (usr, "bin/vim", Entry::File),
            (usr, "up", link("../../../etc")),
            (usr, "self", link("/proc/self/exe")),
            (usr, "secret", Entry::Fails(13)),
        ],
    );
    let found = |path: &str| Ok::<String, Error>(path.to_owned());
    assert_eq!(tree.path("/usr/bin/vi"), found("/usr/bin/vim"));
    assert_eq!(tree.path("/bin/vi"), found("/usr/bin/vim"));
    assert_eq!(tree.path("/bin"), found("/usr/bin"));
    assert_eq!(tree.path("/usr/up"), found("/etc"));
    assert_eq!(tree.path("/home"), found("/etc"));
    assert_eq!(tree.path("/usr/bin/../.."), found("/"));
    assert_eq!(tree.path("/usr/secret"), Err(Error::EACCES));
    assert_eq!(tree.path("/usr/bin/vim/"), Err(Error::ENOTDIR));
    assert_eq!(tree.path("/usr/gone/x"), Err(Error::ENOENT));
    // A placeholder is never looked at, whatever it is.
    assert_eq!(tree.path("/usr"), found("/usr"));
    let names_opened = |tree: &Memory<'_>| {
        tree.asked
            .iter()
            .any(|(mount, rel)| *mount == root && rel == b"usr")
    };
    assert!(!names_opened(&tree));
}

#[test]
fn what_the_monitor_serves_is_only_text() {
    let rows = usual();
    let usr = number(&rows, "/usr");
    let entries = [
        (usr, ".", Entry::Dir),
        (usr, "self", Entry::Link(b"/proc/self/exe".into())),
    ];
    let mut tree = Memory::new(&rows, &entries);
    for (path, leads_to) in [
        ("/proc", "/proc"),
        ("/proc/1/fd/../../self", "/proc/self"),
        ("/usr/../proc//1", "/proc/1"),
        ("/usr/self", "/proc/self/exe"),
        ("/proc/../proc/x/", "/proc/x"),
    ] {
        let (at, found) = tree.walk("/", path.as_bytes(), Last::Follow).unwrap();
        assert_eq!(
            (at.as_str(), found.is_monitor, found.exists),
            (leads_to, true, true),
            "{path}"
        );
    }
    let proc = number(&rows, "/proc");
    // Looked at is only what `..` leads up from.
    let asked = tree.asked.iter().filter(|(mount, _)| *mount == proc);
    let asked: Vec<_> = asked.map(|(_, rel)| rel.as_slice()).collect();
    assert_eq!(asked, [b"1/fd"]);
    // The cwd of a relative path may be served too, and left.
    let (at, found) = tree
        .walk("/proc/self", b"../../usr/self", Last::NoFollow)
        .unwrap();
    assert_eq!((at.as_str(), found.is_monitor), ("/usr/self", false));
}

#[test]
fn links_that_the_monitor_serves_are_looked_at_where_magic_ones_matter() {
    let rows = usual();
    let proc = number(&rows, "/proc");
    let link = |text: &[u8]| Entry::Link(text.into());
    let entries = [
        (proc, "self", link(b"7")),
        (proc, "mounts", link(b"self/mounts")),
        (proc, "loop", link(b"/proc/loop")),
        (proc, "7/cwd", link(b"")),
    ];
    let mut tree = Memory::new(&rows, &entries);
    let bounds = |error| Bounds {
        magic: Some(error),
        ..Bounds::default()
    };
    for (path, last, leads_to) in [
        ("/proc/self/status", Last::Follow, Ok("/proc/7/status")),
        ("/proc/self", Last::NoFollow, Ok("/proc/self")),
        ("/proc/self/", Last::NoFollow, Ok("/proc/7")),
        ("/proc/self/../x", Last::Follow, Ok("/proc/x")),
        ("/proc/mounts", Last::Follow, Ok("/proc/7/mounts")),
        ("/proc/loop", Last::Follow, Err(Error::ELOOP)),
        ("/proc/self/cwd", Last::NoFollow, Ok("/proc/7/cwd")),
        ("/proc/self/cwd", Last::Follow, Err(Error::EXDEV)),
        ("/proc/self/cwd/..", Last::NoFollow, Err(Error::EXDEV)),
    ] {
        let walked = tree.walk_within(&bounds(Error::EXDEV), "/", path.as_bytes(), last);
        let at = walked.map(|(at, _)| at);
        assert_eq!(at, leads_to.map(str::to_owned), "{path}");
    }
    let up = tree.walk_within(&Bounds::default(), "/", b"/proc/7/cwd/..", Last::Follow);
    assert_eq!(up.map(|(at, _)| at), Ok("/".to_owned()));
    let path = b"/proc/7/cwd";
    let walked = tree.walk_within(&bounds(Error::ELOOP), "/", path, Last::Follow);
    assert_eq!(walked.err(), Some(Error::ELOOP));
    let no_links = Bounds {
        has_no_links: true,
        ..bounds(Error::EXDEV)
    };
    let walked = tree.walk_within(&no_links, "/", b"/proc/self/status", Last::Follow);
    assert_eq!(walked.err(), Some(Error::ELOOP));
}

#[test]
fn each_name_is_opened_once() {
    let rows = usual();
    let usr = number(&rows, "/usr");
    let entries = [
        (usr, "lib", Entry::Dir),
        (usr, "lib/x", Entry::Dir),
        (usr, "lib/x/y", Entry::File),
    ];
    let mut tree = Memory::new(&rows, &entries);
    assert_eq!(tree.path("/usr/lib/./x//y"), Ok("/usr/lib/x/y".to_owned()));
    let names: Vec<_> = tree.asked.iter().map(|(_, rel)| rel.as_slice()).collect();
    assert_eq!(names, [&b"lib"[..], b"lib/x", b"lib/x/y"]);
    // What the next step walks into the kernel judges; only before the `.` it is asked.
    assert_eq!(tree.is_dir_calls, 1);
}

#[test]
fn a_point_that_is_reached_by_many_ways_is_one() {
    let zone = Zone::new(&[
        vec![
            Make::Link("a".into(), "/b".into()),
            Make::Link("d".into(), "c/a".into()),
        ],
        vec![
            Make::Dir("a/b".into()),
            Make::Link("c".into(), "../c".into()),
        ],
        vec![
            Make::Link("a".into(), "../../b/d".into()),
            Make::File("b".into()),
        ],
        vec![
            Make::Link("a".into(), "/d/b".into()),
            Make::Link("b".into(), "..".into()),
        ],
    ]);
    for path in [
        "a",
        "b",
        "a/a/b",
        "d",
        "d/a",
        "d/b",
        "d/a/a",
        "d/a/b/c",
        "b/d/..",
        "b/d/b",
        "c/a/..",
        "b/c/a/a/b/a",
        "b/d/../../c/a/../../b/d/a",
        "/b/d/.",
        "/c/a/../..",
        "c/a/gone",
        "c/a/b/",
        "c/a/b/x",
    ] {
        for last in [Last::Follow, Last::NoFollow] {
            zone.compare(path, last);
        }
    }
}

/// Rows that a zone adds stand before what was there, whatever their order in the list.
#[test]
fn added_rows_hide_what_was_mounted_before() {
    let root = MountRow::new(b"/", b"/host/root").unwrap();
    let usr = MountRow::new(b"/usr", b"/host/usr").unwrap();
    let temporary = MountRow::new(b"/", b"/host/temporary").unwrap();
    let add = |at: &str, of: &MountRow, sub: &str, order| {
        MountRow::added(at.as_bytes(), of, sub.as_bytes(), order).unwrap()
    };
    let mut rows = [
        usr,
        root,
        add("/mnt", &temporary, "2", 5),
        MountRow::EMPTY,
        add("/mnt/in", &root, "srv/data", 4),
        add("/usr", &temporary, "1", 6),
        add("/mnt/later", &usr, "share", 7),
    ];
    let found = |rows: &[MountRow], path: &str| {
        let (mount, rest) = Mounts(rows).find(path.as_bytes());
        (mount, String::from_utf8_lossy(rest).into_owned())
    };
    let at = |mount: usize, rest: &str| (mount, rest.to_owned());
    assert_eq!(found(&rows, "/usr/bin/x"), at(5, "bin/x"));
    assert_eq!(found(&rows, "/mnt/in/x"), at(2, "in/x"));
    assert_eq!(found(&rows, "/mnt/later"), at(6, ""));
    assert_eq!(found(&rows, "/srv"), at(1, "srv"));
    assert_eq!(Mounts(&rows).top(b"/mnt/in"), None);
    assert_eq!(Mounts(&rows).top(b"/usr"), Some(5));
    assert!(Mounts(&rows).is_held(b"/mnt/later"));
    let mut name = PathBuf::new();
    Mounts(&rows).beneath(6, b"doc", &mut name).unwrap();
    assert_eq!(name.as_bytes(), b"share/doc");
    assert_eq!(rows[6].host(), b"/host/usr/share");
    // A directory with two names is told by the first, while there is one.
    rows[6].is_second = 1;
    let told = |rows: &[MountRow]| {
        let mut zone = PathBuf::new();
        Mounts(rows)
            .to_zone(b"/host/usr/share/doc", &mut zone)
            .then(|| String::from_utf8_lossy(zone.as_bytes()).into_owned())
    };
    assert_eq!(told(&rows).as_deref(), Some("/usr/share/doc"));
    let from = |root: &str| told_from(&rows, "/host/usr/share/doc", root);
    assert_eq!(from("/mnt"), "/mnt/later/doc");
    assert_eq!(from("/mnt/later"), "/mnt/later/doc");
    assert_eq!(from("/mnt/la"), "/usr/share/doc");
    rows[0] = MountRow::EMPTY;
    assert_eq!(told(&rows).as_deref(), Some("/mnt/later/doc"));
    rows[6].relocate(&temporary, b"3/below").unwrap();
    assert_eq!(rows[6].host(), b"/host/temporary/3/below");
    assert_eq!(rows[6].sub(), b"3/below");
}

fn told_from(rows: &[MountRow], host: &str, root: &str) -> String {
    let mut zone = PathBuf::new();
    let is_told = Mounts(rows).to_zone_from(host.as_bytes(), root.as_bytes(), &mut zone);
    assert_eq!(is_told, !zone.is_empty(), "{host}");
    String::from_utf8_lossy(zone.as_bytes()).into_owned()
}

/// What the monitor serves has the names that a root directory holds, as a whole and in parts.
#[test]
fn parts_of_the_monitors_are_told_by_where_they_are_seen() {
    let mut served = MountRow::new(b"/proc", b"/run/proc").unwrap();
    served.kind = kind::MONITOR;
    let root = MountRow::new(b"/", b"/host").unwrap();
    let add = |prefix: &str, sub: &str, order| {
        let row = MountRow::added(prefix.as_bytes(), &served, sub.as_bytes(), order);
        MountRow {
            is_second: 1,
            ..row.unwrap()
        }
    };
    let rows = [
        served,
        root,
        add("/jail/proc", "", 1),
        add("/jail/k", "sys/kernel", 2),
        add("/other/k", "sys/kernel", 3),
    ];
    for (host, from, wanted) in [
        ("/run/proc/,1,fd", "", "/proc/1/fd"),
        ("/run/proc/,1,fd", "/jail", "/jail/proc/1/fd"),
        ("/run/proc/,1,fd/3", "/jail", "/jail/proc/1/fd/3"),
        ("/run/proc/,", "/jail", "/jail/proc"),
        ("/run/proc/,sys,kernel", "/jail", "/jail/proc/sys/kernel"),
        ("/run/proc/,sys,kernel", "/jail/k", "/jail/k"),
        ("/run/proc/,sys,kernel,random", "/other", "/other/k/random"),
        ("/run/proc/,sys,kernelx", "/jail", "/jail/proc/sys/kernelx"),
        ("/run/proc/,sys", "/other", "/proc/sys"),
        ("/run/proc/,sys,kernel", "/other", "/other/k"),
        ("/run/proc/nothing", "/jail", ""),
        ("/host/jail/x", "/jail", "/jail/x"),
        ("/host/x", "/jail", "/x"),
    ] {
        assert_eq!(told_from(&rows, host, from), wanted, "{host} from {from}");
    }
}
