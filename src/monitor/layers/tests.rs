//! Layers by themselves: what becomes of stand-ins, after a crash, and when the host changes things.

use super::diff::{self, Kind};
use super::*;
use crate::config::{Config, Cow, Mount, Trap, Users};
use picozone_personality::origins::Origin;
use std::cell::RefCell;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};

/// A directory of the host, and one of a zone.
struct Host {
    directory: tempfile::TempDir,
    told: RefCell<Vec<Record>>,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let below = directory.path().join("below");
        fs::create_dir_all(below.join("d/inner")).expect("made");
        fs::write(below.join("d/one"), "one").expect("made");
        fs::write(below.join("d/inner/two"), "two").expect("made");
        fs::write(below.join("file"), "file").expect("made");
        fs::hard_link(below.join("file"), below.join("d/other")).expect("made");
        symlink("one", below.join("d/link")).expect("made");
        fs::create_dir(directory.path().join("zone")).expect("made");
        Self {
            directory,
            told: RefCell::default(),
        }
    }

    fn below(&self, path: &str) -> PathBuf {
        self.directory.path().join("below").join(path)
    }

    fn cow(&self) -> Cow {
        Cow {
            host: self.below(""),
            zone: "/tree".into(),
        }
    }

    fn zone(&self) -> PathBuf {
        self.directory.path().join("zone")
    }

    fn open(&self) -> Layer {
        let [uid, gid] = [
            nix::unistd::geteuid().as_raw(),
            nix::unistd::getegid().as_raw(),
        ];
        let ids = [uid, gid].map(IdMap::usual);
        let layer = Layer::open(&self.zone(), &self.cow(), ids).expect("laid");
        layer.renew().expect("renewed");
        layer
    }

    fn here(&self, path: &str) -> PathBuf {
        top(&self.zone(), Path::new("/tree")).join(path)
    }

    fn raise_as(&self, layer: &Layer, path: &str, how: How) -> bool {
        let tell = |record: &Record| self.told.borrow_mut().push(*record);
        let (front, name) = split(path.as_bytes());
        let directory = layer.directory_at(front, &tell).expect("a directory");
        match find(&directory, name).expect("it is there") {
            Some(found) => layer
                .raise(&directory, name, &found, how, &tell)
                .expect("raised"),
            None => false,
        }
    }

    fn raise(&self, layer: &Layer, path: &str) {
        assert!(self.raise_as(layer, path, How::Whole));
    }

    fn changes(&self) -> Vec<String> {
        let config = Config {
            number: 1,
            hostname: "a".to_owned(),
            root: None,
            origin: None,
            rewrite: true,
            trap: Trap::Signal,
            profile: crate::config::Profile::Standard,
            flight: false,
            users: Users::default(),
            limits: crate::config::Limits::default(),
            binds: vec![],
            mounts: vec![Mount::Cow(self.cow())],
            publications: vec![],
        };
        let changes = diff::changes(&config, &self.zone()).expect("compared");
        let line = |change: &diff::Change| {
            format!("{} {}", change.kind.letter() as char, change.path.display())
        };
        changes.iter().map(line).collect()
    }
}

#[test]
fn a_file_becomes_a_copy_with_all_that_goes_with_it() {
    let host = Host::new();
    fs::set_permissions(host.below("d/one"), fs::Permissions::from_mode(0o4751)).expect("ours");
    let layer = host.open();
    let stand_in = host.here("d/one");
    host.raise(&layer, "d/one");
    let (was, is) = (
        fs::metadata(host.below("d/one")).expect("there"),
        fs::metadata(&stand_in).expect("there"),
    );
    assert_eq!(fs::read(&stand_in).expect("a file"), b"one");
    assert_eq!(
        (is.mtime(), is.mtime_nsec(), is.mode() & 0o7777),
        (was.mtime(), was.mtime_nsec(), 0o751)
    );
    let told = host.told.borrow();
    let record = told.last().expect("it was told");
    let origin = Origin {
        dev: was.dev(),
        ino: was.ino(),
        links: 0,
    };
    assert_eq!((record.id.ino, record.origin), (is.ino(), origin));
    // The set-id bit is the zone's affair.
    let owner = record.owner.expect("the host's file does not say it");
    assert_eq!(owner.mode & 0o7777, 0o4751);
    assert!(
        !host.raise_as(&layer, "d/one", How::Whole),
        "it is none any more"
    );
    assert_eq!(layer.records().expect("read").last(), Some(record));
}

#[test]
fn a_directory_keeps_its_times_when_something_in_it_is_raised() {
    let host = Host::new();
    let layer = host.open();
    host.raise(&layer, "d/inner/two");
    for path in ["", "d", "d/inner"] {
        let time = |path: PathBuf| {
            fs::metadata(path)
                .expect("there")
                .modified()
                .expect("known")
        };
        assert_eq!(time(host.here(path)), time(host.below(path)), "{path}");
    }
}

#[test]
fn holes_stay_and_an_empty_copy_has_no_content() {
    let host = Host::new();
    let large = fs::File::create(host.below("large")).expect("made");
    large.write_all_at(b"start", 0).expect("written");
    large.write_all_at(b"end", 8 << 20).expect("written");
    let layer = host.open();
    host.raise(&layer, "large");
    let here = fs::metadata(host.here("large")).expect("there");
    assert_eq!(here.size(), (8 << 20) + 3);
    assert!(here.blocks() * 512 < 1 << 20, "{} blocks", here.blocks());
    assert!(host.raise_as(&layer, "d/one", How::Empty));
    assert_eq!(fs::metadata(host.here("d/one")).expect("there").size(), 0);
}

#[test]
fn names_of_one_file_stay_names_of_one_file() {
    let host = Host::new();
    let layer = host.open();
    assert!(!host.raise_as(&layer, "file", How::IfLinked));
    host.raise(&layer, "d/other");
    fs::write(host.here("d/other"), "changed").expect("written");
    assert!(host.raise_as(&layer, "file", How::IfLinked));
    assert_eq!(fs::read(host.here("file")).expect("a file"), b"changed");
    let links = fs::metadata(host.here("file")).expect("there").nlink();
    let shown = |record: &Record| record.origin.count(links);
    assert_eq!(host.told.borrow().last().map(shown), Some(2));
    assert!(layer.has_linked());
}

#[test]
fn nothing_is_lost_whenever_the_monitor_ends() {
    let host = Host::new();
    {
        let layer = host.open();
        // As if it had ended right before the exchange.
        let (ready, _) = layer.unfold(b"d", &|_| {}).expect("unfolded");
        assert!(status_at(&layer.work, &ready).is_ok());
        // And right after it.
        host.raise(&layer, "file");
        symlink(
            "left",
            directory(&host.zone(), Path::new("/tree")).join("work/99"),
        )
        .expect("made");
        // And within a record of the journal.
        let journal = directory(&host.zone(), Path::new("/tree")).join("journal");
        let mut bytes = fs::read(&journal).expect("there");
        bytes.extend([1; 33]);
        fs::write(&journal, bytes).expect("written");
    }
    let layer = host.open();
    let work = directory(&host.zone(), Path::new("/tree")).join("work");
    assert_eq!(fs::read_dir(work).expect("there").count(), 0);
    assert_eq!(fs::read(host.here("file")).expect("a file"), b"file");
    host.raise(&layer, "d/inner/two");
    assert_eq!(fs::read(host.here("d/inner/two")).expect("a file"), b"two");
    let whole = layer.records().expect("read").len();
    assert_eq!(
        whole, 6,
        "the top, d in vain, file, d, d/inner, d/inner/two"
    );
}

#[test]
fn what_the_host_changes_is_seen_after_a_boot_unless_the_zone_has_changed_it() {
    let host = Host::new();
    {
        let layer = host.open();
        host.raise(&layer, "d/one");
        assert!(layer.directory_at(b"d/inner", &|_| {}).is_some());
        fs::remove_file(host.here("d/other")).expect("removed");
        fs::write(host.here("d/new"), "the zone's").expect("written");
    }
    fs::write(host.below("d/new"), "the host's").expect("written");
    fs::write(host.below("d/more"), "more").expect("written");
    fs::create_dir(host.below("d/directory")).expect("made");
    fs::remove_file(host.below("d/inner/two")).expect("removed");
    fs::remove_file(host.below("d/link")).expect("removed");
    symlink("more", host.below("d/link")).expect("made");
    fs::remove_file(host.below("d/one")).expect("removed");
    let layer = host.open();
    let d = layer.directory_at(b"d", &|_| {}).expect("there");
    let is_stand_in = |name: &str| matches!(find(&d, OsStr::new(name)), Ok(Some(_)));
    assert!(is_stand_in("more") && is_stand_in("directory"));
    assert!(!host.here("d/other").exists());
    assert_eq!(fs::read(host.here("d/new")).expect("a file"), b"the zone's");
    assert_eq!(fs::read(host.here("d/one")).expect("a file"), b"one");
    assert_eq!(
        fs::read_link(host.here("d/link")).expect("a link"),
        Path::new("more")
    );
    assert_eq!(
        fs::read_dir(host.here("d/inner")).expect("there").count(),
        0
    );
    // And the same again changes nothing.
    drop(layer);
    let before = host.changes();
    host.open();
    assert_eq!(host.changes(), before);
}

#[test]
fn the_difference_is_what_the_zone_did() {
    let host = Host::new();
    assert_eq!(host.changes(), [""; 0]);
    let layer = host.open();
    assert!(layer.directory_at(b"d/inner", &|_| {}).is_some());
    assert_eq!(host.changes(), [""; 0], "to look changes nothing");
    host.raise(&layer, "d/one");
    fs::remove_file(host.here("d/link")).expect("removed");
    fs::rename(host.here("d/inner"), host.here("moved")).expect("moved");
    fs::create_dir(host.here("made")).expect("made");
    fs::write(host.here("made/a"), "a").expect("written");
    fs::set_permissions(host.here("d"), fs::Permissions::from_mode(0o700)).expect("ours");
    let expected = [
        "C /tree/d",
        "D /tree/d/inner",
        "D /tree/d/link",
        "C /tree/d/one",
        "A /tree/made",
        "A /tree/made/a",
        "A /tree/moved",
        "A /tree/moved/two",
    ];
    assert_eq!(host.changes(), expected);
    assert_eq!(Kind::Added.letter(), b'A');
    // What the host has removed itself, the zone did not.
    fs::remove_file(host.below("d/link")).expect("removed");
    assert!(!host.changes().contains(&"D /tree/d/link".to_owned()));
}

#[test]
fn a_directory_in_the_place_of_another_has_what_that_one_had_gone() {
    let host = Host::new();
    let layer = host.open();
    assert!(layer.directory_at(b"d/inner", &|_| {}).is_some());
    fs::remove_dir_all(host.here("d")).expect("removed");
    for name in ["d", "d/new", "d/one"] {
        fs::create_dir(host.here(name)).expect("made");
    }
    symlink("one", host.here("d/link")).expect("made");
    let expected = [
        "C /tree/d",
        "D /tree/d/inner",
        "A /tree/d/new",
        "C /tree/d/one",
        "D /tree/d/other",
    ];
    assert_eq!(host.changes(), expected);
}

#[test]
fn a_directory_of_many_names_is_unfolded() {
    let host = Host::new();
    for number in 0..3000 {
        fs::write(host.below(&format!("d/{number}")), "").expect("made");
    }
    let layer = host.open();
    assert!(layer.directory_at(b"d", &|_| {}).is_some());
    assert_eq!(fs::read_dir(host.here("d")).expect("there").count(), 3004);
    let node = |name: &str| {
        fs::symlink_metadata(host.here("d").join(name))
            .expect("there")
            .ino()
    };
    assert_eq!(node("1"), node("2"), "they are names of one link");
}

#[test]
fn who_unfolds_a_directory_too_late_leaves_the_note_on_it() {
    let host = Host::new();
    let layer = host.open();
    let top = layer.directory_at(b"", &|_| {}).expect("the top");
    let name = OsStr::new("d");
    let found = find(&top, name).expect("there").expect("a stand-in");
    let ready = [(); 2].map(|()| layer.unfold(b"d", &|_| {}).expect("unfolded"));
    let put = ready.map(|(ready, note)| layer.put(&top, name, &found, &ready, Some(&note)));
    assert_eq!(put, [Ok(true), Ok(false)]);
    assert_eq!(host.changes(), [""; 0]);
    fs::write(host.below("d/new"), "new").expect("ours");
    drop(layer);
    host.open();
    let shown = fs::symlink_metadata(host.here("d/new"));
    assert!(shown.is_ok(), "what the host adds is not taken over");
}
