//! Nothing that was said is lost, wherever the writer was stopped.

use super::kept::Change;
use super::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn row(number: u64) -> (FileId, Owner) {
    let id = FileId {
        dev: 1,
        ino: number % 7,
        btime: 5,
    };
    let owner = Owner {
        uid: u32::try_from(number).expect("small"),
        gid: u32::MAX - 1,
        mode: libc::S_IFCHR | 0o6755,
        rdev: number << 33,
    };
    (id, owner)
}

fn owners(said: &[Said]) -> Vec<(FileId, Owner)> {
    said.iter().filter_map(Said::owner).collect()
}

fn set(rows: &[(FileId, Owner)]) -> Vec<Said> {
    let said = rows.iter().map(|&(id, owner)| Said::Owner(id, owner));
    said.collect()
}

fn journal_of(dir: &Path) -> Vec<(FileId, Owner)> {
    owners(&Journal::open(dir, 0).expect("open").1)
}

#[test]
fn a_journal_cut_anywhere_has_all_whole_records_before() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path();
    let (mut journal, left) = Journal::open(dir, 0).expect("open");
    assert_eq!(left, []);
    let rows: Vec<_> = (0..5).map(row).collect();
    for &(id, owner) in &rows {
        journal.add(&Said::Owner(id, owner)).expect("added");
    }
    let path = dir.join("owners.journal.0");
    let bytes = fs::read(&path).expect("read");
    for length in (0..=bytes.len()).rev() {
        fs::write(&path, &bytes[..length]).expect("written");
        assert_eq!(journal_of(dir), rows[..length / 64], "{length}");
    }
    // A block that the disk has lost reads as zeros.
    let mut lost = bytes.clone();
    lost[128..192].fill(0);
    fs::write(&path, &lost).expect("written");
    assert_eq!(journal_of(dir), rows[..2]);
}

#[test]
fn a_journal_cut_in_an_attribute_has_all_before() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path();
    let (mut journal, _) = Journal::open(dir, 0).expect("open");
    let change = |length: Option<usize>| Change {
        id: row(1).0,
        name: b"system.posix_acl_access".to_vec(),
        value: length.map(|length| vec![7; length]),
    };
    let (id, owner) = row(2);
    let changes = [
        change(Some(41)),
        change(Some(0)),
        change(None),
        change(Some(200)),
    ];
    for change in &changes {
        let said = Said::Attribute(change.clone());
        journal.add(&said).expect("added");
        journal.add(&Said::Owner(id, owner)).expect("added");
    }
    let path = dir.join("owners.journal.0");
    let bytes = fs::read(&path).expect("read");
    let mut ends = Vec::new();
    for length in (0..=bytes.len()).rev() {
        fs::write(&path, &bytes[..length]).expect("written");
        let left = Journal::open(dir, 0).expect("open").1;
        let attributes: Vec<_> = left.iter().filter_map(Said::attribute).cloned().collect();
        assert_eq!(attributes, changes[..attributes.len()], "{length}");
        let rows = owners(&left);
        assert_eq!(rows, vec![row(2); rows.len()]);
        let whole = left.len();
        if ends.last() != Some(&whole) {
            ends.push(whole);
        }
    }
    assert_eq!(ends, (0..=8).rev().collect::<Vec<_>>());
    let mut torn = bytes.clone();
    torn[64] ^= 1;
    fs::write(&path, &torn).expect("written");
    assert_eq!(Journal::open(dir, 0).expect("open").1, []);
}

#[test]
fn the_files_of_a_journal_take_turns_and_their_order_is_kept() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path();
    let (mut journal, _) = Journal::open(dir, 0).expect("open");
    let add = |journal: &mut Journal, number| {
        let (id, owner) = row(number);
        journal.add(&Said::Owner(id, owner)).expect("added");
    };
    let after = |last| owners(&Journal::open(dir, last).expect("open").1);
    add(&mut journal, 1);
    let first = journal.turn();
    add(&mut journal, 2);
    assert_eq!(after(0), [row(1), row(2)]);
    assert_eq!(after(1), [row(2)]);
    journal.forget(first).expect("emptied");
    let second = journal.turn();
    add(&mut journal, 3);
    // The newer record is in the file that is read first.
    assert_eq!(after(1), [row(2), row(3)]);
    assert_eq!(after(0), [], "what came before is lost");
    journal.forget(second).expect("emptied");
    assert_eq!(after(2), [row(3)]);
    let (mut again, _) = Journal::open(dir, 2).expect("open");
    add(&mut again, 4);
    assert_eq!(after(2), [row(3), row(4)]);
}

#[test]
fn of_an_inode_only_the_file_that_has_it_now_is_kept() {
    let temporary = tempfile::tempdir().expect("a directory");
    let store = Store::open(temporary.path()).expect("open");
    let (id, owner) = row(1);
    let attribute = |id| Change {
        id,
        name: b"trusted.a".to_vec(),
        value: Some(b"x".to_vec()),
    };
    let (other, _) = row(2);
    let both = [attribute(id), attribute(other)].map(Said::Attribute);
    let all = [&set(&[(id, owner), row(2)])[..], &both].concat();
    store.set(&all).expect("written");
    // The clock may have been set back.
    let now = FileId {
        btime: id.btime - 1,
        ..id
    };
    store.set(&set(&[(now, owner)])).expect("written");
    let rows: BTreeMap<_, _> = store.rows().expect("read").into_iter().collect();
    assert_eq!(rows, BTreeMap::from([(now, owner), row(2)]));
    let attributes = store.attributes(&[]).expect("read");
    assert_eq!(attributes, [attribute(other)]);
}

#[test]
fn the_store_keeps_sets_and_forgets() {
    let temporary = tempfile::tempdir().expect("a directory");
    let rows = || {
        let mut store = Store::open(temporary.path()).expect("open");
        assert!(store.check().expect("sound"));
        store
            .rows()
            .expect("read")
            .into_iter()
            .collect::<BTreeMap<_, _>>()
    };
    let store = Store::open(temporary.path()).expect("open");
    store.set(&set(&[row(1), row(2)])).expect("written");
    assert!(Store::open(temporary.path()).is_err(), "it is open");
    drop(store);
    assert_eq!(rows(), BTreeMap::from([row(1), row(2)]));
    let mut store = Store::open(temporary.path()).expect("open");
    store.remove(&[row(1).0, row(3).0]).expect("written");
    drop(store);
    assert_eq!(rows(), BTreeMap::from([row(2)]));
}

#[test]
fn a_store_whose_making_was_interrupted_is_made_anew() {
    let temporary = tempfile::tempdir().expect("a directory");
    fs::write(temporary.path().join("owners.redb.new"), "part").expect("written");
    let store = Store::open(temporary.path()).expect("open");
    store.set(&set(&[row(1)])).expect("written");
    assert!(!temporary.path().join("owners.redb.new").exists());
}

/// After a restart of the host a file system may have another device number.
#[test]
fn a_check_binds_rows_anew_whose_device_has_another_number() {
    let temporary = tempfile::tempdir().expect("a directory");
    let (zone_dir, tree) = (temporary.path().join("zone"), temporary.path().join("tree"));
    fs::create_dir(&tree).expect("made");
    fs::create_dir(&zone_dir).expect("made");
    let owner = Owner {
        uid: 1,
        gid: 2,
        mode: libc::S_IFREG | 0o640,
        rdev: 0,
    };
    let mut now = Vec::new();
    for number in 0..20 {
        let path = tree.join(number.to_string());
        fs::write(&path, "").expect("written");
        now.push(
            identify(&fs::File::open(path).expect("open"))
                .expect("known")
                .0,
        );
    }
    let before = |id: &FileId| FileId {
        dev: id.dev + 1,
        ..*id
    };
    let rows: Vec<_> = now.iter().map(|id| (before(id), owner)).collect();
    let store = Store::open(&zone_dir).expect("open");
    store.set(&set(&rows)).expect("written");
    let kept = |id| Change {
        id,
        name: b"trusted.a".to_vec(),
        value: Some(b"x".to_vec()),
    };
    store
        .set(&[Said::Attribute(kept(before(&now[0])))])
        .expect("written");
    drop(store);
    let trees = [tree.clone()];
    let look = |is_repair| check::check(&zone_dir, &trees, is_repair).expect("checked");
    let found = look(false);
    assert_eq!(
        (found.renumbered, found.stale, found.is_copied),
        (21, 0, false)
    );
    assert!(look(true).is_repaired);
    let fine = look(false);
    assert_eq!((fine.rows, fine.renumbered, fine.stale), (20, 0, 0));
    let store = Store::open(&zone_dir).expect("open");
    let rows = store.rows().expect("read");
    assert!(
        rows.iter()
            .all(|(id, row)| now.contains(id) && *row == owner)
    );
    assert_eq!(store.attributes(&[]).expect("read"), [kept(now[0])]);
    drop(store);
    // A copy has other inodes: its owners are lost, those of the original are not to be.
    let copy = temporary.path().join("copy");
    fs::create_dir(&copy).expect("made");
    for number in 0..20 {
        fs::copy(tree.join(number.to_string()), copy.join(number.to_string())).expect("copied");
    }
    let found = check::check(&zone_dir, &[copy], true).expect("checked");
    assert!(found.is_copied && !found.is_repaired);
    assert_eq!(look(false), fine);
}

/// A store of a million files is of some 100 bytes a file, and open within seconds.
#[test]
fn a_million_files_have_room() {
    const COUNT: u64 = 1_000_000;
    let temporary = tempfile::tempdir().expect("a directory");
    let store = Store::open(temporary.path()).expect("open");
    let owner = Owner {
        uid: 33,
        gid: 33,
        mode: libc::S_IFREG | 0o640,
        rdev: 0,
    };
    let id = |ino| FileId {
        dev: 1,
        ino,
        btime: 1 << 60 | ino,
    };
    let begin = std::time::Instant::now();
    for batch in 0..COUNT / 100_000 {
        let rows = batch * 100_000..(batch + 1) * 100_000;
        let rows: Vec<_> = rows.map(|ino| (id(ino), owner)).collect();
        store.set(&set(&rows)).expect("written");
    }
    drop(store);
    let made = begin.elapsed();
    let size = fs::metadata(temporary.path().join("owners.redb"))
        .expect("there")
        .len();
    let begin = std::time::Instant::now();
    let store = Store::open(temporary.path()).expect("open");
    let (mut count, mut sum) = (0, 0);
    store
        .each_row(|id, _| {
            count += 1;
            sum += id.ino;
        })
        .expect("read");
    eprintln!(
        "made in {made:?}, read in {:?}, {} bytes a row",
        begin.elapsed(),
        size / COUNT
    );
    assert_eq!((count, sum), (COUNT, COUNT * (COUNT - 1) / 2));
    assert!(size < 160 * COUNT, "{size}");
}

#[test]
fn modes_on_the_host_let_their_owner_work() {
    assert_eq!(mode_on_host(0o4000, false), 0o600);
    assert_eq!(mode_on_host(0o7555, true), 0o1755);
}

#[test]
fn a_check_finds_rows_that_are_wrong_or_of_nothing_and_mends() {
    let temporary = tempfile::tempdir().expect("a directory");
    let (zone_dir, tree) = (temporary.path().join("zone"), temporary.path().join("tree"));
    fs::create_dir_all(tree.join("a/b")).expect("made");
    fs::create_dir(&zone_dir).expect("made");
    fs::write(tree.join("a/b/file"), "").expect("written");
    std::os::unix::fs::symlink("..", tree.join("a/link")).expect("linked");
    let id = |path: &str| {
        let file = fs::File::open(tree.join(path)).expect("open");
        identify(&file).expect("known").0
    };
    let owner = |mode: u32| Owner {
        uid: 1,
        gid: 2,
        mode,
        rdev: 0,
    };
    let store = Store::open(&zone_dir).expect("open");
    let rows = [
        (id("a"), owner(libc::S_IFDIR | 0o2755)),
        (id("a/b/file"), owner(libc::S_IFDIR | 0o755)),
        (id("a/b"), owner(libc::S_IFBLK | 0o600)),
        row(3),
    ];
    store.set(&set(&rows)).expect("written");
    drop(store);
    let (mut journal, _) = Journal::open(&zone_dir, 0).expect("open");
    journal
        .add(&Said::Owner(id("."), owner(libc::S_IFDIR | 0o700)))
        .expect("added");
    let trees = [tree.clone()];
    let look = |is_repair| check::check(&zone_dir, &trees, is_repair).expect("checked");
    let found = check::Report {
        files: 5,
        rows: 5,
        journaled: 1,
        stale: 1,
        wrong: 2,
        ..check::Report::default()
    };
    assert_eq!(look(false), found);
    assert_eq!(
        look(true),
        check::Report {
            is_repaired: true,
            ..found
        }
    );
    let store = Store::open(&zone_dir).expect("open");
    let kept = |id| Change {
        id,
        name: b"trusted.a".to_vec(),
        value: Some(Vec::new()),
    };
    let both = [kept(row(3).0), kept(id("a"))].map(Said::Attribute);
    store.set(&both).expect("written");
    drop(store);
    assert_eq!(look(true).stale, 1);
    let left = Store::open(&zone_dir).and_then(|store| store.attributes(&[]));
    assert_eq!(left.expect("read"), [kept(id("a"))]);
    let fine = check::Report {
        files: 5,
        rows: 2,
        ..check::Report::default()
    };
    assert_eq!(look(false), fine);
}
