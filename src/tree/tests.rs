//! Trees made from a small host of our own.

use super::*;
use crate::config::{Access, Bind};
use crate::ownership::Store;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

struct Host {
    _temporary: tempfile::TempDir,
    from: PathBuf,
    zone_dir: PathBuf,
    config: Config,
}

fn host() -> Host {
    let temporary = tempfile::tempdir().expect("a directory");
    let base = temporary.path().canonicalize().expect("it exists");
    let (from, zone_dir) = (base.join("host"), base.join("home/zones/web1"));
    fs::create_dir_all(&zone_dir).expect("made");
    for dir in [
        "etc/apache2/mods",
        "etc/ssl/private",
        "etc/sudoers.d",
        "var/log/apache2",
        "var/lib/docker/x",
        "var/www/html",
        "usr/bin",
    ] {
        fs::create_dir_all(from.join(dir)).expect("made");
    }
    for (path, content, mode) in [
        ("etc/apache2/apache2.conf", "Listen 80\n", 0o644),
        ("etc/apache2/server.key", "k", 0o644),
        (
            "etc/apache2/own.pem",
            "x\n-----BEGIN RSA PRIVATE KEY-----\n",
            0o644,
        ),
        ("etc/shadow", "root:hash", 0o644),
        ("etc/shadow-", "root:hash", 0o644),
        ("etc/private.conf", "secret", 0o600),
        ("etc/group-readable", "secret", 0o640),
        ("etc/ssl/private/a.pem", "secret", 0o644),
        ("etc/sudoers.d/all", "ALL NOPASSWD", 0o644),
        ("etc/machine-id", "0123\n", 0o444),
        ("etc/readonly.conf", "x\n", 0o444),
        ("etc/suid", "x\n", 0o4755),
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\n",
            0o644,
        ),
        ("etc/group", "root:x:0:\nshadow:x:42:\nutmp:x:43:\n", 0o644),
        ("var/log/apache2/access.log", "GET /", 0o644),
        ("var/www/html/index.html", "hello\n", 0o644),
        ("var/lib/docker/x/y", "z", 0o644),
    ] {
        fs::write(from.join(path), content).expect("written");
        set_mode(&from.join(path), mode).expect("set");
    }
    fs::write(from.join("etc/big"), vec![b'x'; (4 << 20) + 1]).expect("written");
    symlink("usr/bin", from.join("bin")).expect("linked");
    symlink("../mods", from.join("etc/apache2/mods/link")).expect("linked");
    let config = Config {
        number: 1,
        hostname: "web1".to_owned(),
        root: None,
        origin: None,
        rewrite: false,
        trap: crate::config::Trap::Signal,
        profile: crate::config::Profile::Standard,
        flight: false,
        users: crate::config::Users::default(),
        limits: crate::config::Limits::default(),
        binds: vec![],
        mounts: vec![],
        publications: vec![],
    };
    Host {
        _temporary: temporary,
        from,
        zone_dir,
        config,
    }
}

#[test]
fn a_sparse_tree_has_what_services_need_and_no_secrets() {
    let Host {
        from,
        zone_dir,
        config,
        _temporary,
    } = host();
    let report = create(&config, &zone_dir, &from).expect("made");
    let root = zone_dir.join("root");
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    assert_eq!(
        read("etc/apache2/apache2.conf").as_deref(),
        Some("Listen 80\n")
    );
    assert_eq!(read("var/www/html/index.html").as_deref(), Some("hello\n"));
    assert_eq!(read("etc/hostname").as_deref(), Some("web1\n"));
    assert_eq!(
        read("etc/passwd").as_deref(),
        Some("root:x:0:0:root:/root:/bin/sh\n")
    );
    assert!(read("etc/shadow").is_some_and(|text| !text.contains("hash")));
    assert!(read("etc/machine-id").is_some_and(|text| text.len() == 33));
    for gone in [
        "etc/apache2/server.key",
        "etc/apache2/own.pem",
        "etc/shadow-",
        "etc/private.conf",
        "etc/group-readable",
        "etc/ssl/private/a.pem",
        "etc/sudoers.d",
        "etc/big",
        "var/log/apache2/access.log",
        "var/lib/docker",
    ] {
        assert!(!root.join(gone).exists(), "{gone}");
    }
    assert!(root.join("var/log/apache2").is_dir());
    let modified = |at: &Path| fs::metadata(at).and_then(|found| found.modified());
    let copied = "etc/readonly.conf";
    assert_eq!(
        modified(&root.join(copied)).expect("there"),
        modified(&from.join(copied)).expect("there")
    );
    assert_eq!(
        fs::read_link(root.join("bin")).expect("a link"),
        Path::new("usr/bin")
    );
    assert_eq!(
        fs::read_link(root.join("etc/apache2/mods/link")).expect("a link"),
        Path::new("../mods")
    );
    for mount in ["usr", "proc", "dev"] {
        assert_eq!(
            fs::read_link(root.join(mount)).expect("a link"),
            Path::new(within::PLACEHOLDER)
        );
    }
    let mode = |path: &str| {
        fs::metadata(root.join(path))
            .expect("there")
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!(
        (mode("tmp"), mode("var/tmp"), mode("run/lock")),
        (0o1777, 0o1777, 0o1777)
    );
    // The host's file has no set-uid bit, and its owner can write it; the store has the truth.
    assert_eq!(
        (mode("etc/suid"), mode("etc/readonly.conf")),
        (0o755, 0o644)
    );
    let rows = Store::open(&zone_dir).and_then(|store| store.rows());
    let rows = rows.expect("read");
    let within = Within::open(&root).expect("open");
    let wanted = |path: &str| {
        let (id, _) = within.identify(Path::new(path)).expect("there");
        let mut found = rows.iter().filter(|(other, _)| *other == id);
        found.next().map(|(_, row)| (row.gid, row.mode & 0o7777))
    };
    assert_eq!(wanted("/etc/suid"), Some((0, 0o4755)));
    assert_eq!(wanted("/etc/readonly.conf"), Some((0, 0o444)));
    assert_eq!(wanted("/etc/shadow"), Some((42, 0o640)));
    assert_eq!(wanted("/var/mail"), Some((8, 0o2775)));
    assert_eq!(wanted("/tmp"), None);
    assert_eq!(report.big, 1);
    assert!(report.secrets >= 6 && report.unreadable >= 2, "{report:?}");
}

#[test]
fn an_interrupted_creation_is_made_anew() {
    let Host {
        from,
        zone_dir,
        config,
        _temporary,
    } = host();
    create(&config, &zone_dir, &from).expect("made");
    fs::write(zone_dir.join("root/etc/stale"), "").expect("written");
    create(&config, &zone_dir, &from).expect("made again");
    assert!(!zone_dir.join("root/etc/stale").exists());
}

#[test]
fn the_hosts_own_tree_is_made_fast_and_small() {
    let Host {
        zone_dir,
        config,
        _temporary,
        ..
    } = host();
    let report = create(&config, &zone_dir, Path::new("/")).expect("made");
    assert!(report.bytes < 100 << 20, "{report:?}");
    assert!(zone_dir.join("root/etc/passwd").is_file());
    let rows = mounts(&config, &zone_dir);
    assert_eq!(
        rows.last().map(|row| row.zone_path.as_path()),
        Some(Path::new("/"))
    );
    assert!(
        rows.iter()
            .any(|row| row.zone_path == Path::new("/dev/shm"))
    );
    // No mount stands behind one that holds it.
    for (at, row) in rows.iter().enumerate() {
        let behind = &rows[at + 1..];
        assert!(
            !behind
                .iter()
                .any(|other| other.zone_path.starts_with(&row.zone_path)),
            "{row:?}"
        );
    }
    let usr = rows
        .iter()
        .find(|row| row.zone_path == Path::new("/usr"))
        .expect("there");
    assert!(usr.read_only && usr.kind == Kind::Tree);
}

#[test]
fn binds_get_placeholders_where_the_directory_is_the_zones_own() {
    let Host {
        from,
        zone_dir,
        mut config,
        _temporary,
    } = host();
    let bind = |zone: &str| Bind {
        host: from.join("etc"),
        zone: zone.into(),
        access: Access::ReadWrite,
    };
    config.binds = vec![
        bind("/srv/a/b"),
        bind("/srv/a/b/c"),
        bind("/usr/local/x"),
        bind("/data"),
    ];
    create(&config, &zone_dir, &from).expect("made");
    let root = zone_dir.join("root");
    for (path, is_there) in [("srv/a/b", true), ("data", true), ("usr", true)] {
        assert_eq!(root.join(path).is_symlink(), is_there, "{path}");
    }
    // The zone cannot make one of them a link to elsewhere in between, nor we follow it.
    fs::remove_file(root.join("data")).expect("removed");
    symlink("/etc", root.join("data")).expect("linked");
    assert!(prepare(&config, &zone_dir).is_err());
    fs::remove_file(root.join("data")).expect("removed");
    prepare(&config, &zone_dir).expect("ready");
    assert!(zone_dir.join("run/shm").is_dir());
}

#[test]
fn what_would_open_the_zones_home_is_not_mounted() {
    let Host {
        from,
        zone_dir,
        mut config,
        _temporary,
    } = host();
    let home = zone_dir
        .parent()
        .and_then(Path::parent)
        .expect("it has")
        .to_owned();
    let mut bind = |host: &Path| {
        config.binds = vec![Bind {
            host: host.to_owned(),
            zone: "/data".into(),
            access: Access::ReadOnly,
        }];
        check(&config, &zone_dir, &home)
    };
    assert!(bind(&from.join("etc")).is_ok());
    assert!(bind(&home).is_err());
    assert!(bind(home.parent().expect("it has")).is_err());
    assert!(bind(&home.join("zones/other")).is_err());
    assert!(bind(&from.join("missing")).is_err());
    symlink("etc", from.join("link")).expect("linked");
    assert!(bind(&from.join("link")).is_err());
}

#[test]
fn a_distribution_is_adopted_and_given_back() {
    let Host {
        from,
        zone_dir,
        mut config,
        _temporary,
    } = host();
    let root = from.clone();
    fs::create_dir_all(root.join("dev/pts")).expect("made");
    config.root = Some(root.clone());
    create(&config, &zone_dir, Path::new("/")).expect("adopted");
    assert_eq!(
        fs::read_link(root.join("dev")).expect("a link"),
        Path::new(within::PLACEHOLDER)
    );
    assert!(root.join("usr/bin").is_dir() && root.join("dev.unpacked/pts").is_dir());
    assert_eq!(
        fs::read_to_string(root.join("etc/hostname")).expect("read"),
        "web1\n"
    );
    assert_eq!(
        fs::read_to_string(root.join("etc/passwd"))
            .expect("read")
            .lines()
            .count(),
        2
    );
    undo(&config, &zone_dir).expect("given back");
    assert!(root.join("dev/pts").is_dir() && root.join("proc").is_dir());
}

#[test]
fn lists_go_with_an_exported_tree() {
    use crate::ownership::kept::Change;
    use crate::ownership::{FileId, Owner, Said, identify};
    use picozone_personality::acl;
    use picozone_personality::tables::{HAS_ACCESS_LIST, HAS_DEFAULT_LIST};
    let Host {
        zone_dir,
        mut config,
        _temporary,
        ..
    } = host();
    let (tree, other) = (zone_dir.join("tree"), zone_dir.join("other"));
    for dir in [&tree, &other.join("root")] {
        fs::create_dir_all(dir).expect("made");
    }
    fs::write(tree.join("file"), "").expect("written");
    // user::rw- user:7:rwx group::--- mask::rw- other::---, without what the mode says.
    let list = b"\x02\0\0\0\x01\0\0\0\xff\xff\xff\xff\x02\0\x07\0\x07\0\0\0\x04\0\0\0\xff\xff\xff\xff\x10\0\0\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
    let id = |path: &Path| {
        let file = fs::File::open(path).expect("open");
        identify(&file).expect("known").0
    };
    let kept = |id: FileId, name: &[u8], value: &[u8]| Change {
        id,
        name: name.to_vec(),
        value: Some(value.to_vec()),
    };
    let row = |mode| Owner {
        uid: 5,
        gid: 6,
        mode,
        rdev: 0,
    };
    let mut default = list.to_vec();
    acl::put_mode(&mut default, 0o750);
    let (file, top) = (id(&tree.join("file")), id(&tree));
    let rows = [
        (file, row(libc::S_IFREG | 0o660 | HAS_ACCESS_LIST)),
        (top, row(libc::S_IFDIR | 0o755 | HAS_DEFAULT_LIST)),
    ];
    let attributes = [
        kept(file, acl::ACCESS, list),
        kept(top, acl::DEFAULT, &default),
    ];
    let store = Store::open(&zone_dir).expect("open");
    let rows = rows.map(|(id, owner)| Said::Owner(id, owner));
    let said = rows.into_iter().chain(attributes.map(Said::Attribute));
    store.set(&said.collect::<Vec<_>>()).expect("written");
    drop(store);
    config.root = Some(tree);
    let tarball = zone_dir.join("packed.tar");
    let packed = pack::pack(
        &config,
        &zone_dir,
        fs::File::create(&tarball).expect("made"),
    );
    assert_eq!(packed.expect("packed").entries, 2);
    let unpacked = import::unpack(&config, &other, &other.join("root"), &tarball);
    assert_eq!(unpacked.expect("unpacked").0, 2);
    let store = Store::open(&other).expect("open");
    let (file, top) = (id(&other.join("root/file")), id(&other.join("root")));
    let mut found = store.attributes(&[]).expect("read");
    found.sort_by(|one, two| one.name.cmp(&two.name));
    let mut whole = list.to_vec();
    acl::put_mode(&mut whole, 0o660);
    let wanted = [
        kept(file, acl::ACCESS, &whole),
        kept(top, acl::DEFAULT, &default),
    ];
    assert_eq!(found, wanted);
    let rows: std::collections::HashMap<_, _> = store.rows().expect("read").into_iter().collect();
    assert_eq!(rows[&file].mode, libc::S_IFREG | 0o660 | HAS_ACCESS_LIST);
    assert_eq!(rows[&top].mode, libc::S_IFDIR | 0o755 | HAS_DEFAULT_LIST);
}

#[test]
fn files_with_holes_come_whole_from_each_form_of_tarball() {
    use std::os::unix::fs::{FileExt, MetadataExt};
    const PIECE: usize = 4096;
    let Host {
        from,
        zone_dir,
        mut config,
        _temporary,
    } = host();
    config.root = Some(from.clone());
    // As many pieces as need blocks of their own behind the header, a hole at the end, one alone, none.
    for (name, pieces, size) in [
        ("many", 40, 10 << 20),
        ("one", 1, 4 << 20),
        ("hole", 0, 1 << 20),
        ("full", 1, PIECE as u64),
    ] {
        let file = fs::File::create(from.join("var").join(name)).expect("made");
        file.set_len(size).expect("set");
        for piece in 0..pieces {
            let content = vec![b'a' + u8::try_from(piece % 26).expect("small"); PIECE];
            file.write_all_at(&content, piece * 200_704)
                .expect("written");
        }
        let early = std::time::UNIX_EPOCH - std::time::Duration::from_millis(1750);
        file.set_modified(early).expect("set");
    }
    for format in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let tarball = zone_dir.join("sparse.tar");
        let made = std::process::Command::new("tar")
            .args(format)
            .args(["--sparse", "--hole-detection=raw", "-C"])
            .arg(&from)
            .arg("-cf")
            .arg(&tarball)
            .arg("var")
            .status();
        assert!(made.expect("it runs").success());
        assert!(fs::metadata(&tarball).expect("there").len() < 1 << 20);
        let root = zone_dir.join(format.concat());
        fs::create_dir_all(&root).expect("made");
        import::unpack(&config, &zone_dir, &root, &tarball).expect("unpacked");
        for name in ["many", "one", "hole", "full"] {
            let (was, is) = (from.join("var").join(name), root.join("var").join(name));
            assert_eq!(fs::read(&was).expect("read"), fs::read(&is).expect("read"));
            let [was, is] = [was, is].map(|path| fs::metadata(path).expect("there"));
            assert!(
                is.blocks() <= was.blocks(),
                "{name} of {format:?} has no holes"
            );
            let whole = is.mtime();
            assert_eq!(whole, -2, "{name} of {format:?}");
        }
    }
}
