//! Rights, quotas and lifetimes of keys.

use super::key::{Caller, Kind, POSSESSOR, Serial};
use super::store::Store;
use picozone_personality::capabilities::Capabilities;

const SESSION: Serial = -3;
const THREAD: Serial = -1;

fn caller(uid: u32) -> Caller {
    Caller {
        tid: std::process::id(),
        uid,
        gid: uid,
        real: uid,
        groups: Vec::new(),
        capabilities: Capabilities::of_user(uid),
        life: 0,
        thread: 0,
        process: 0,
        session: 0,
        default: 0,
    }
}

fn add(store: &mut Store, who: &mut Caller, name: &[u8], ring: Serial) -> Result<Serial, i32> {
    store.add(who, Some(Kind::User), name, vec![1; 10], ring)
}

#[test]
fn what_nobody_reaches_is_removed() {
    let (mut store, mut who) = (Store::default(), caller(5));
    store.join(&mut who, None).expect("a session");
    let ring = store.add(&mut who, Some(Kind::Ring), b"r", Vec::new(), SESSION);
    let key = add(&mut store, &mut who, b"k", ring.expect("made")).expect("made");
    store.collect([who.session]);
    assert!(store.get(key).is_ok());
    store.collect([]);
    assert_eq!(store.get(key).err(), Some(libc::ENOKEY));
    // What is left are the keyrings of no user: none was asked for.
    assert!(store.keys.is_empty());
    assert!(store.usage.is_empty());
}

#[test]
fn a_quota_counts_keys_and_bytes_and_gives_them_back() {
    let (mut store, mut who) = (Store::default(), caller(5));
    store.limits.keys = 5;
    store.join(&mut who, None).expect("a session");
    let names: Vec<String> = (0..5).map(|number| number.to_string()).collect();
    let mut made = names
        .iter()
        .map(|name| add(&mut store, &mut who, name.as_bytes(), SESSION));
    assert!(made.by_ref().take(4).all(|made| made.is_ok()));
    assert_eq!(made.next(), Some(Err(libc::EDQUOT)));
    drop(made);
    store.clear(who.session).expect("a keyring");
    assert!(add(&mut store, &mut who, b"again", SESSION).is_ok());
    store.limits.bytes = 60;
    let large = store.add(&mut who, Some(Kind::User), b"large", vec![1; 100], SESSION);
    assert_eq!(large, Err(libc::EDQUOT));
}

#[test]
fn a_thread_s_keyring_ends_with_the_life_of_its_process() {
    let (mut store, mut who) = (Store::default(), caller(5));
    add(&mut store, &mut who, b"k", THREAD).expect("made");
    assert_eq!(store.of_thread(who.tid, who.life), who.thread);
    assert_eq!(store.of_thread(who.tid, who.life + 1), 0);
    assert_eq!(store.of_thread(who.tid, 0), 0);
}

#[test]
fn others_need_rights() {
    let (mut store, mut who, mut other) = (Store::default(), caller(5), caller(6));
    store.join(&mut who, None).expect("a session");
    let key = add(&mut store, &mut who, b"k", SESSION).expect("made");
    assert_eq!(store.read(&mut other, key), Err(libc::EACCES));
    assert_eq!(store.describe(&mut other, key), Err(libc::EACCES));
    store
        .permit(&mut who, key, 0x3f << POSSESSOR | 0x03)
        .expect("it is ours");
    assert_eq!(store.read(&mut other, key), Ok(vec![1; 10]));
    assert_eq!(store.update(&mut other, key, vec![2]), Err(libc::EACCES));
    assert_eq!(store.chown(&mut who, key, [6, 6]), Err(libc::EACCES));
}

#[test]
fn keyrings_make_no_loops() {
    let (mut store, mut who) = (Store::default(), caller(0));
    store.join(&mut who, None).expect("a session");
    let mut ring = |store: &mut Store, name: &[u8], to: Serial| {
        let made = store.add(&mut who, Some(Kind::Ring), name, Vec::new(), to);
        made.expect("made")
    };
    let a = ring(&mut store, b"a", SESSION);
    let b = ring(&mut store, b"b", a);
    let c = ring(&mut store, b"c", b);
    assert_eq!(store.link(c, a), Err(libc::EDEADLK));
    assert_eq!(store.link(a, a), Err(libc::EDEADLK));
    assert_eq!(store.link(a, c), Ok(()));
    store.invalidate(b);
    assert_eq!(store.link(c, a), Err(libc::EDEADLK));
    store.unlink(a, c).expect("linked above");
    assert_eq!(store.link(c, a), Ok(()));
}
