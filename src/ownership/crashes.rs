//! Whatever ends the monitor or the power, and in the midst of whichever write: each file has the owner
//! and the attributes of one moment, and that is no earlier than what was promised.
//!
//! A workload runs over a disk that writes down what is done to it. From every prefix of that a disk is
//! made, as it is after a kill (all of it, the last write in part) and as it may be after a power cut
//! (of what was not synced any part, at sectors' boundaries). There the store is opened as a boot does.

use super::kept::Change;
use super::*;
use redb::{Database, StorageBackend};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

const SECTOR: usize = 512;
/// The store's file and those of the journal.
const STORE: usize = 0;
const JOURNAL: [(usize, &str); 2] = [(1, "owners.journal.0"), (2, "owners.journal.1")];

type Files = [Vec<u8>; 3];

#[derive(Clone, Debug)]
enum Op {
    Write(usize, usize, Vec<u8>),
    Length(usize, usize),
    Sync(usize),
    /// Of the workload's changes so many were promised to outlive a kill.
    Said(usize),
    /// The same for the end of power.
    Kept(usize),
}

impl Op {
    const fn file(&self) -> Option<usize> {
        match self {
            Self::Write(file, ..) | Self::Length(file, _) | Self::Sync(file) => Some(*file),
            Self::Said(_) | Self::Kept(_) => None,
        }
    }

    fn apply(&self, files: &mut Files) {
        match self {
            Self::Write(file, at, bytes) => {
                let file = &mut files[*file];
                let end = at + bytes.len();
                file.resize(file.len().max(end), 0);
                file[*at..end].copy_from_slice(bytes);
            }
            Self::Length(file, length) => files[*file].resize(*length, 0),
            Self::Sync(_) | Self::Said(_) | Self::Kept(_) => {}
        }
    }

    /// The first bytes only.
    fn torn(&self, length: usize) -> Self {
        match self {
            Self::Write(file, at, bytes) => {
                Self::Write(*file, *at, bytes[..length.min(bytes.len())].to_vec())
            }
            other => other.clone(),
        }
    }
}

#[derive(Debug, Default)]
struct Recorded {
    files: Files,
    ops: Vec<Op>,
    /// Whoever has an earlier number was killed, and writes no more.
    lives: usize,
}

impl Recorded {
    fn add(&mut self, op: Op) {
        op.apply(&mut self.files);
        self.ops.push(op);
    }
}

/// A disk as one process has it.
#[derive(Clone, Debug)]
struct Disk {
    recorded: Arc<Mutex<Recorded>>,
    life: usize,
}

impl Disk {
    fn of(files: Files) -> Self {
        let recorded = Recorded {
            files,
            ..Recorded::default()
        };
        Self {
            recorded: Arc::new(Mutex::new(recorded)),
            life: 0,
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Recorded) -> T) -> T {
        act(&mut self.recorded.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, op: Op) {
        self.with(|recorded| {
            if recorded.lives == self.life {
                recorded.add(op);
            }
        });
    }

    /// The disk of the process that comes after a kill.
    fn next_life(&self) -> Self {
        let life = self.life + 1;
        self.with(|recorded| recorded.lives = life);
        let recorded = Arc::clone(&self.recorded);
        Self { recorded, life }
    }

    fn open_store(&self) -> Store {
        let database = Database::builder().create_with_backend(self.clone());
        Store::over(database.expect("it opens"))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, std::io::Error> {
        Ok(self.with(|recorded| recorded.files[STORE].len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        let at = usize::try_from(offset).expect("small");
        self.with(|recorded| {
            let found = recorded.files[STORE].get(at..at + out.len());
            let found = found.ok_or(std::io::Error::from(std::io::ErrorKind::UnexpectedEof))?;
            out.copy_from_slice(found);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.add(Op::Length(STORE, usize::try_from(len).expect("small")));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.add(Op::Sync(STORE));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        let at = usize::try_from(offset).expect("small");
        self.add(Op::Write(STORE, at, data.to_vec()));
        Ok(())
    }
}

/// A small generator: the same numbers in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % limit
    }
}

/// What is to be known of all files.
type State = (
    BTreeMap<FileId, Owner>,
    BTreeMap<(FileId, Vec<u8>), Vec<u8>>,
);

fn anything(numbers: &mut Numbers, births: &mut [u64]) -> Said {
    let ino = numbers.below(births.len());
    if numbers.below(8) == 0 {
        births[ino] += 1;
    }
    let id = FileId {
        dev: 7,
        ino: ino as u64,
        btime: births[ino],
    };
    let any = u32::try_from(numbers.below(1 << 16)).expect("16 bits");
    match numbers.below(5) {
        0 => Said::Attribute(Change {
            id,
            name: b"trusted.a".to_vec(),
            value: (any & 3 != 0).then(|| any.to_le_bytes().repeat(numbers.below(60))),
        }),
        of_five => Said::Owner(
            id,
            Owner {
                uid: any,
                gid: !any,
                mode: if of_five == 1 {
                    libc::S_IFCHR
                } else {
                    libc::S_IFREG
                } | any & 0o777,
                rdev: if of_five == 1 { any.into() } else { 0 },
            },
        ),
    }
}

fn apply(said: &Said, (rows, attributes): &mut State) {
    let (Said::Owner(id, _) | Said::Attribute(Change { id, .. })) = said;
    let is_other = |other: &FileId| other.ino == id.ino && other.btime != id.btime;
    match said {
        Said::Owner(id, owner) => {
            if rows.insert(*id, *owner).is_none() {
                rows.retain(|other, _| !is_other(other));
                attributes.retain(|(other, _), _| !is_other(other));
            }
        }
        Said::Attribute(change) => {
            attributes.retain(|(other, _), _| !is_other(other));
            let key = (*id, change.name.clone());
            match &change.value {
                Some(value) => drop(attributes.insert(key, value.clone())),
                None => drop(attributes.remove(&key)),
            }
        }
    }
}

/// Opens store and journal and brings the one up to the other, as a boot does.
fn recover(disk: &Disk, dir: &Path) -> (Store, Journal) {
    let store = disk.open_store();
    let (mut journal, left) = Journal::open(dir, store.last().expect("read")).expect("open");
    store
        .set_up_to(Some(journal.last()), &left)
        .expect("written");
    for full in [journal.turn(), journal.turn()] {
        journal.forget(full).expect("emptied");
    }
    (store, journal)
}

fn state_of(store: &Store) -> State {
    let rows = store.rows().expect("read").into_iter().collect();
    let attributes = store.attributes(&[]).expect("read");
    let attributes = attributes.into_iter().map(|change| {
        let value = change.value.expect("it is there");
        ((change.id, change.name), value)
    });
    (rows, attributes.collect())
}

/// The workload's disk, and what it said one after the other.
struct Run {
    /// What was there at first: a store gets its name when it is whole.
    base: Files,
    disk: Disk,
    dir: tempfile::TempDir,
    said: Vec<Said>,
    numbers: Numbers,
    births: [u64; 6],
}

impl Run {
    /// Writes down what a call did to the journal's files.
    fn look(&self) {
        for (file, name) in JOURNAL {
            let now = fs::read(self.dir.path().join(name)).unwrap_or_default();
            let before = self.disk.with(|recorded| recorded.files[file].clone());
            if now.len() < before.len() {
                self.disk.add(Op::Length(file, now.len()));
            }
            let same = before.len().min(now.len());
            assert_eq!(before[..same], now[..same], "a journal only grows");
            if now.len() > same {
                self.disk.add(Op::Write(file, same, now[same..].to_vec()));
            }
        }
    }

    fn say(&mut self, journal: &mut Journal, count: usize, batch: &mut Vec<Said>) {
        for _ in 0..count {
            let said = anything(&mut self.numbers, &mut self.births);
            journal.add(&said).expect("added");
            self.look();
            self.said.push(said.clone());
            batch.push(said);
            self.disk.add(Op::Said(self.said.len()));
        }
    }

    /// One process: some rounds of what the owners' thread does, and changes at all times.
    fn live(&mut self, rounds: usize) {
        let (store, mut journal) = recover(&self.disk, self.dir.path());
        self.disk.add(Op::Kept(self.said.len()));
        self.look();
        let mut batch = Vec::new();
        for _ in 0..rounds {
            let count = 2 + self.numbers.below(12);
            self.say(&mut journal, count, &mut batch);
            let said = std::mem::take(&mut batch);
            let (last, kept, full) = (journal.last(), self.said.len(), journal.turn());
            self.say(&mut journal, 2, &mut batch);
            store.set_up_to(Some(last), &said).expect("written");
            self.disk.add(Op::Kept(kept));
            self.say(&mut journal, 1, &mut batch);
            journal.forget(full).expect("emptied");
            self.look();
        }
        self.say(&mut journal, 3, &mut batch);
        self.disk = self.disk.next_life();
    }
}

fn workload() -> Run {
    let made = Disk::of(Files::default());
    drop(made.open_store());
    let base = made.with(|recorded| recorded.files.clone());
    let mut run = Run {
        disk: Disk::of(base.clone()),
        base,
        dir: tempfile::tempdir().expect("a directory"),
        said: Vec::new(),
        numbers: Numbers(0x9e37_79b9_7f4a_7c15),
        births: [1; 6],
    };
    run.live(3);
    run.live(2);
    run
}

/// Opens the store over these files, and gives which moments of the workload it can be.
fn moments(files: Files, dir: &Path, states: &[State]) -> BTreeSet<usize> {
    for (file, name) in JOURNAL {
        fs::write(dir.join(name), &files[file]).expect("written");
    }
    let (store, _) = recover(&Disk::of(files), dir);
    let found = state_of(&store);
    let same = states
        .iter()
        .enumerate()
        .filter(|(_, state)| **state == found);
    same.map(|(moment, _)| moment).collect()
}

/// Shows every prefix: what is promised to outlive a kill and the end of power, what was done.
fn each_prefix(ops: &[Op], mut show: impl FnMut(usize, usize, &[Op])) {
    let (mut said, mut kept) = (0, 0);
    for (at, op) in ops.iter().enumerate() {
        match op {
            Op::Said(count) => said = *count,
            Op::Kept(count) => kept = *count,
            _ => show(said, kept, &ops[..=at]),
        }
    }
}

fn states_of(run: &Run) -> Vec<State> {
    let mut states = vec![State::default()];
    for said in &run.said {
        let mut state = states.last().cloned().unwrap_or_default();
        apply(said, &mut state);
        states.push(state);
    }
    states
}

#[test]
fn a_kill_at_any_write_takes_nothing_that_was_said() {
    let run = workload();
    let (states, ops) = (
        states_of(&run),
        run.disk.with(|recorded| recorded.ops.clone()),
    );
    let scratch = tempfile::tempdir().expect("a directory");
    let mut files = run.base.clone();
    each_prefix(&ops, |said, _, ops| {
        let last = ops.last().expect("one at least");
        if let Op::Write(file, _, bytes) = last {
            // A record at every word, a page of the store somewhere.
            let step = if *file == STORE { SECTOR * 3 + 17 } else { 8 };
            for length in (0..bytes.len()).step_by(step) {
                let mut torn = files.clone();
                last.torn(length).apply(&mut torn);
                let found = moments(torn, scratch.path(), &states);
                assert!(
                    found.contains(&said),
                    "{said} not in {found:?}, torn at {length}"
                );
            }
        }
        last.apply(&mut files);
        let found = moments(files.clone(), scratch.path(), &states);
        let is_right = found.contains(&said) || found.contains(&(said + 1));
        assert!(is_right, "{said} not in {found:?}");
    });
}

#[test]
fn a_power_cut_at_any_write_leaves_one_moment_no_older_than_the_last_commit() {
    let run = workload();
    let (states, ops) = (
        states_of(&run),
        run.disk.with(|recorded| recorded.ops.clone()),
    );
    let scratch = tempfile::tempdir().expect("a directory");
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    each_prefix(&ops, |said, kept, ops| {
        let mut synced = [None; 3];
        for (at, op) in ops.iter().enumerate() {
            if let Op::Sync(file) = op {
                synced[*file] = Some(at);
            }
        }
        for way in 0..5 {
            let mut files = run.base.clone();
            for (at, op) in ops.iter().enumerate() {
                let Some(file) = op.file() else { continue };
                if Some(at) <= synced[file] {
                    op.apply(&mut files);
                    continue;
                }
                // Nothing of it; all but one in four; half of it; the tail only, each third in part.
                let (is_there, is_torn) = match way {
                    0 => (false, false),
                    1 => (numbers.below(4) != 0, false),
                    2 => (numbers.below(2) == 0, false),
                    3 => (ops.len() - at < 4, false),
                    _ => (true, numbers.below(3) == 0),
                };
                match op {
                    Op::Write(file, at, bytes) if is_torn => {
                        // Sectors reach the disk in any order.
                        for sector in 0..bytes.len().div_ceil(SECTOR) {
                            let range = sector * SECTOR..bytes.len().min((sector + 1) * SECTOR);
                            if numbers.below(2) == 0 {
                                let part = bytes[range.clone()].to_vec();
                                Op::Write(*file, at + range.start, part).apply(&mut files);
                            }
                        }
                    }
                    op if is_there => op.apply(&mut files),
                    _ => {}
                }
            }
            let found = moments(files, scratch.path(), &states);
            let is_right = found
                .iter()
                .any(|moment| (kept..=said + 1).contains(moment));
            assert!(is_right, "{kept}..={said} has none of {found:?}, way {way}");
        }
    });
}
