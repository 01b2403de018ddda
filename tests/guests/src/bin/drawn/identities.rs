//! Calls that change who the caller is, one after the other.

use crate::lot::Lot;
use crate::people::{HEADER, KEEP};
use picozone_guests::{NOWHERE, call, child, from, out, signed};

const IDS: [u64; 10] = [
    0,
    1000,
    1000,
    1001,
    2000,
    KEEP,
    KEEP,
    KEEP - 1,
    65534,
    1 << 32,
];

/// Makes a row of such calls in a child, and tells after each what it is.
pub(crate) fn walk(seed: u64, lot: &mut Lot) {
    let ended = child(|| {
        for nth in 0..12 {
            let (text, nr, arguments) = draw(lot);
            println!("{seed}.{nth} {text} = {:?}", call(nr, &arguments));
            tell();
        }
        0
    });
    println!("{:?}", ended.wait());
}

/// Sets and their like are drawn as words that live on.
fn kept(words: Vec<u32>) -> u64 {
    words.leak().as_ptr() as u64
}

fn draw(lot: &mut Lot) -> (String, i64, Vec<u64>) {
    let mut id = || lot.pick(&IDS);
    let ids = [id(), id(), id()];
    let plain = |name: &str, nr, arguments: &[u64]| {
        (format!("{name}{arguments:x?}"), nr, arguments.to_vec())
    };
    match lot.below(20) {
        0 => plain("setuid", libc::SYS_setuid, &ids[..1]),
        1 => plain("setgid", libc::SYS_setgid, &ids[..1]),
        2 | 3 => plain("setreuid", libc::SYS_setreuid, &ids[..2]),
        4 => plain("setregid", libc::SYS_setregid, &ids[..2]),
        5 | 6 => plain("setresuid", libc::SYS_setresuid, &ids),
        7 => plain("setresgid", libc::SYS_setresgid, &ids),
        8 => plain("setfsuid", libc::SYS_setfsuid, &ids[..1]),
        9 => plain("setfsgid", libc::SYS_setfsgid, &ids[..1]),
        10 => {
            let count = lot.pick(&[0, 1, 3, 5, 65536, 65537, u64::MAX]);
            let groups: Vec<u32> = (0..count.min(5))
                .map(|_| lot.pick(&[0, 5, 2000, 1000, u32::MAX, 7]))
                .collect();
            let text = format!("setgroups {count} {groups:?} ");
            // No more is read than there is: the larger counts are too many, or their end is nowhere.
            let place = if count == 65536 {
                NOWHERE
            } else {
                kept(groups)
            };
            let (nr, arguments) = (libc::SYS_setgroups, [count, place]);
            (text, nr, arguments.to_vec())
        }
        11..=13 => {
            let mut set = || {
                let all = lot.pick(&[u32::MAX, 0, 0xff, 1 << 7, 0xc0, 0x1ff]);
                if lot.chance(30) {
                    all & !(1 << lot.below(10))
                } else {
                    all
                }
            };
            let low = [set(), set(), set()];
            let high = if lot.chance(60) { [0x1ff; 3] } else { [0; 3] };
            let sets = vec![low[0], low[1], low[2], high[0], high[1], high[2]];
            let text = format!("capset {sets:x?} ");
            let mut header = HEADER.to_vec();
            if lot.chance(10) {
                header = lot
                    .pick(&[
                        [0, 0],
                        [0x1998_0330, 0],
                        [0x2007_1026, 0],
                        [0x2008_0522, 1],
                        [0x2008_0522, u32::MAX],
                    ])
                    .to_vec();
            }
            let text = format!("{text}{header:x?} ");
            (text, libc::SYS_capset, vec![kept(header), kept(sets)])
        }
        14 => plain(
            "securebits",
            libc::SYS_prctl,
            &[
                libc::PR_SET_SECUREBITS as u64,
                lot.bits(&[1, 2, 4, 8, 16, 32, 64, 128, 256]),
            ],
        ),
        15 => plain(
            "keepcaps",
            libc::SYS_prctl,
            &[libc::PR_SET_KEEPCAPS as u64, lot.pick(&[0, 1, 1, 2])],
        ),
        16 => {
            let action = lot.pick(&[1, 2, 2, 3, 4, 5]);
            let capability = lot.pick(&[0, 1, 6, 7, 8, 40, 41, 64]);
            plain(
                "ambient",
                libc::SYS_prctl,
                &[
                    libc::PR_CAP_AMBIENT as u64,
                    action,
                    capability,
                    0,
                    lot.pick(&[0, 0, 0, 1]),
                ],
            )
        }
        17 => plain(
            "drop",
            libc::SYS_prctl,
            &[
                libc::PR_CAPBSET_DROP as u64,
                lot.pick(&[0, 6, 7, 13, 41, u64::MAX]),
            ],
        ),
        18 => plain(
            "dumpable",
            libc::SYS_prctl,
            &[libc::PR_SET_DUMPABLE as u64, lot.pick(&[0, 1, 1, 2])],
        ),
        _ => plain(
            "no_new_privs",
            libc::SYS_prctl,
            &[
                libc::PR_SET_NO_NEW_PRIVS as u64,
                lot.pick(&[0, 1, 2]),
                0,
                0,
                0,
            ],
        ),
    }
}

/// Who the caller is by now.
fn tell() {
    let mut ids = [0u32; 6];
    let at = out(&mut ids);
    call(libc::SYS_getresuid, &[at, at + 4, at + 8]).expect("valid");
    call(libc::SYS_getresgid, &[at + 12, at + 16, at + 20]).expect("valid");
    let fs = [libc::SYS_setfsuid, libc::SYS_setfsgid].map(|nr| call(nr, &[KEEP]).expect("valid"));
    let mut groups = [0u32; 32];
    let count = call(libc::SYS_getgroups, &[32, out(&mut groups)]).expect("few");
    let mut sets = [0u32; 6];
    call(libc::SYS_capget, &[from(&HEADER), out(&mut sets)]).expect("valid");
    let flag = |option: i32| call(libc::SYS_prctl, &[signed(option), 0, 0, 0, 0]).expect("valid");
    let of = |option: i32, capability: u64| {
        call(libc::SYS_prctl, &[signed(option), 1, capability, 0, 0])
    };
    let ambient: String = (0..41)
        .filter(|nth| of(libc::PR_CAP_AMBIENT, *nth) == Ok(1))
        .map(|nth| format!(" {nth}"))
        .collect();
    let bounds = (0..41)
        .filter(|nth| call(libc::SYS_prctl, &[libc::PR_CAPBSET_READ as u64, *nth]) == Ok(1))
        .count();
    println!(
        "  {ids:?} {fs:?} {:?} {sets:x?} bits={:x} keep={} dumpable={} none={} ambient={ambient} bounds={bounds}",
        &groups[..usize::try_from(count).expect("small")],
        flag(libc::PR_GET_SECUREBITS),
        flag(libc::PR_GET_KEEPCAPS),
        flag(libc::PR_GET_DUMPABLE),
        flag(libc::PR_GET_NO_NEW_PRIVS),
    );
}
