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

fn journal_of(dir: &Path) -> Vec<(FileId, Owner)> {
    Journal::open(dir).expect("open").1.rows
}

#[test]
fn a_journal_cut_anywhere_has_all_whole_records_before() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path();
    let (mut journal, left) = Journal::open(dir).expect("open");
    assert_eq!(left, Left::default());
    let rows: Vec<_> = (0..5).map(row).collect();
    for &(id, owner) in &rows {
        journal.add(id, owner).expect("added");
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
    let (mut journal, _) = Journal::open(dir).expect("open");
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
        journal.add_attribute(change).expect("added");
        journal.add(id, owner).expect("added");
    }
    let path = dir.join("owners.journal.0");
    let bytes = fs::read(&path).expect("read");
    let mut ends = Vec::new();
    for length in (0..=bytes.len()).rev() {
        fs::write(&path, &bytes[..length]).expect("written");
        let left = Journal::open(dir).expect("open").1;
        assert_eq!(
            left.attributes,
            changes[..left.attributes.len()],
            "{length}"
        );
        assert_eq!(left.rows, vec![row(2); left.rows.len()]);
        let whole = left.attributes.len() + left.rows.len();
        if ends.last() != Some(&whole) {
            ends.push(whole);
        }
    }
    assert_eq!(ends, (0..=8).rev().collect::<Vec<_>>());
    let mut torn = bytes.clone();
    torn[64] ^= 1;
    fs::write(&path, &torn).expect("written");
    assert_eq!(Journal::open(dir).expect("open").1, Left::default());
}

#[test]
fn the_files_of_a_journal_take_turns_and_their_order_is_kept() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path();
    let (mut journal, _) = Journal::open(dir).expect("open");
    let add = |journal: &mut Journal, number| {
        let (id, owner) = row(number);
        journal.add(id, owner).expect("added");
    };
    add(&mut journal, 1);
    let first = journal.turn();
    add(&mut journal, 2);
    assert_eq!(journal_of(dir), [row(1), row(2)]);
    journal.forget(first).expect("emptied");
    let second = journal.turn();
    add(&mut journal, 3);
    // The newer record is in the file that is read first.
    assert_eq!(journal_of(dir), [row(2), row(3)]);
    journal.forget(second).expect("emptied");
    assert_eq!(journal_of(dir), [row(3)]);
    let (mut again, _) = Journal::open(dir).expect("open");
    add(&mut again, 4);
    assert_eq!(journal_of(dir), [row(3), row(4)]);
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
    store.set(&[row(1), row(2)], &[]).expect("written");
    assert!(Store::open(temporary.path()).is_err(), "it is open");
    drop(store);
    assert_eq!(rows(), BTreeMap::from([row(1), row(2)]));
    let mut store = Store::open(temporary.path()).expect("open");
    store.remove(&[row(1).0, row(3).0]).expect("written");
    drop(store);
    assert_eq!(rows(), BTreeMap::from([row(2)]));
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
    store.set(&rows, &[]).expect("written");
    drop(store);
    let (mut journal, _) = Journal::open(&zone_dir).expect("open");
    journal
        .add(id("."), owner(libc::S_IFDIR | 0o700))
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
    let both = [kept(row(3).0), kept(id("a"))];
    store.set(&[], &both).expect("written");
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
