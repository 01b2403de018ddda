use super::*;

const ALL_ROOT: Ids = [0; 4];
const USER: Ids = [1000; 4];
const NET_RAW: u64 = 1 << 13;

fn user() -> Capabilities {
    Capabilities::NONE
}

fn set_uid(caps: &mut Capabilities, old: Ids, new: Ids) {
    caps.after_set_uid(old, new);
}

#[test]
fn who_ceases_to_be_root_loses_all() {
    let mut caps = Capabilities::ROOT;
    set_uid(&mut caps, ALL_ROOT, [0, 1000, 0, 1000]);
    assert_eq!((caps.effective, caps.permitted), (0, ROOT));
    set_uid(&mut caps, [0, 1000, 0, 1000], ALL_ROOT);
    assert_eq!(caps.effective, ROOT);
    set_uid(&mut caps, ALL_ROOT, USER);
    assert_eq!((caps.effective, caps.permitted), (0, 0));
}

#[test]
fn kept_are_the_permitted_ones() {
    let mut caps = Capabilities::ROOT;
    assert_eq!(caps.set_keeps(2), Err(Errno::EINVAL));
    assert_eq!((caps.set_keeps(1), caps.keeps()), (Ok(0), 1));
    set_uid(&mut caps, ALL_ROOT, USER);
    assert_eq!((caps.effective, caps.permitted), (0, ROOT));
    let file = FilePrivileges::default();
    let (mut uid, mut gid) = (USER, USER);
    assert_eq!(caps.execute(&mut uid, &mut gid, &file, |_| true), Ok(false));
    assert_eq!((caps.permitted, caps.keeps()), (0, 0));
}

#[test]
fn those_of_files_go_with_the_file_system_user() {
    let mut caps = Capabilities::ROOT;
    caps.after_set_fsuid(0, 1000);
    assert!(!caps.has(Power::Override) && caps.has(Power::Kill));
    caps.after_set_fsuid(1000, 0);
    assert_eq!(caps, Capabilities::ROOT);
}

#[test]
fn nothing_is_raised_that_is_not_permitted() {
    let mut caps = Capabilities::ROOT;
    assert_eq!(caps.set(NET_RAW, NET_RAW, NET_RAW), Ok(()));
    assert_eq!(caps.set(NET_RAW, NET_RAW | 1, 0), Err(Errno::EPERM));
    assert_eq!(caps.set(1, NET_RAW, 0), Err(Errno::EPERM));
    // Without CAP_SETPCAP only what is permitted or inheritable already.
    assert_eq!(caps.set(0, 0, 1), Err(Errno::EPERM));
    assert_eq!(caps.set(0, 0, NET_RAW), Ok(()));
}

#[test]
fn ambient_ones_are_permitted_and_inheritable() {
    let mut caps = Capabilities::ROOT;
    assert_eq!(caps.ambient(2, [13, 0, 0]), Err(Errno::EPERM));
    caps.set(ROOT, ROOT, NET_RAW).expect("root may");
    assert_eq!(caps.ambient(2, [41, 0, 0]), Err(Errno::EINVAL));
    assert_eq!(caps.ambient(5, [13, 0, 0]), Err(Errno::EINVAL));
    assert_eq!(caps.ambient(4, [1, 0, 0]), Err(Errno::EINVAL));
    assert_eq!(caps.ambient(2, [13, 0, 0]), Ok(0));
    assert_eq!(caps.ambient(1, [13, 0, 0]), Ok(1));
    caps.set_keeps(1).expect("not locked");
    // They go where permitted ones are kept, too.
    let mut gone = caps;
    set_uid(&mut gone, ALL_ROOT, USER);
    assert_eq!(gone.ambient, 0);
    caps.set(ROOT, ROOT, 0).expect("root may");
    assert_eq!(caps.ambient, 0);
}

#[test]
fn locks_hold() {
    let mut caps = Capabilities::ROOT;
    assert_eq!(caps.set_secure(1 << 12), Err(Errno::EPERM));
    assert_eq!(caps.set_secure(1 | 1 << 1), Ok(0));
    assert_eq!(caps.set_secure(1 << 1), Err(Errno::EPERM));
    assert_eq!(caps.set_secure(1), Err(Errno::EPERM));
    assert_eq!(caps.set_secure(0b11_0011), Ok(0));
    assert_eq!(caps.set_keeps(0), Err(Errno::EPERM));
    let mut caps = user();
    assert_eq!(caps.set_secure(0), Err(Errno::EPERM));
    assert_eq!(caps.set_secure(1 << 8), Ok(0));
    assert_eq!(caps.set_secure(0), Ok(0));
}

#[test]
fn a_set_user_id_program_of_root_has_everything() {
    let file = FilePrivileges {
        mode: 0o104_755,
        ..FilePrivileges::default()
    };
    let (mut caps, mut uid, mut gid) = (user(), USER, USER);
    assert_eq!(caps.execute(&mut uid, &mut gid, &file, |_| true), Ok(true));
    assert_eq!((uid, gid), ([1000, 0, 0, 0], USER));
    assert_eq!((caps.effective, caps.permitted), (ROOT, ROOT));

    let (mut caps, mut uid) = (user(), USER);
    caps.no_new_privs = 1;
    assert_eq!(caps.execute(&mut uid, &mut gid, &file, |_| true), Ok(false));
    assert_eq!((uid, caps.permitted), (USER, 0));

    let (mut caps, mut uid) = (user(), USER);
    let watched = FilePrivileges {
        is_watched: 1,
        ..file
    };
    assert_eq!(
        caps.execute(&mut uid, &mut gid, &watched, |_| true),
        Ok(true)
    );
    assert_eq!((uid, caps.permitted), (USER, 0));
}

#[test]
fn a_file_gives_what_the_bounding_set_leaves() {
    let mut file = FilePrivileges::default();
    let value = [
        0x0200_0001u32.to_le_bytes(),
        0x2000u32.to_le_bytes(),
        [0; 4],
        [0; 4],
        [0; 4],
    ]
    .concat();
    assert_eq!(file.set_capabilities(&value), Ok(()));
    assert_eq!(file.permitted, NET_RAW);
    let (mut caps, mut uid, mut gid) = (user(), USER, USER);
    assert_eq!(caps.execute(&mut uid, &mut gid, &file, |_| true), Ok(true));
    assert_eq!((caps.effective, caps.permitted), (NET_RAW, NET_RAW));

    let mut caps = Capabilities {
        bounding: 0,
        ..user()
    };
    let before = caps;
    assert_eq!(
        caps.execute(&mut uid, &mut gid, &file, |_| true),
        Err(Errno::EPERM)
    );
    assert_eq!((caps, uid), (before, USER));

    for bad in [&value[..19], &value[..16], &[0u8; 20][..], &[][..]] {
        assert_eq!(file.set_capabilities(bad), Err(Errno::EINVAL));
    }
}

#[test]
fn root_without_its_privilege_is_a_user() {
    let mut caps = Capabilities::ROOT;
    assert_eq!(caps.set_secure(1), Ok(0));
    let (mut uid, mut gid) = (ALL_ROOT, ALL_ROOT);
    let file = FilePrivileges::default();
    assert_eq!(caps.execute(&mut uid, &mut gid, &file, |_| true), Ok(false));
    assert_eq!((caps.effective, caps.permitted), (0, 0));
}
