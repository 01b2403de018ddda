//! `/proc/keys` and `/proc/key-users` (security/keys/proc.c).

use super::key::{Caller, Payload, VIEW};
use super::store::Store;
use std::time::{Duration, Instant};

/// The keys that a caller may see.
pub(super) fn keys(store: &Store, who: &Caller) -> Vec<u8> {
    let now = Instant::now();
    let possessed = store.possessed(who);
    let mut all: Vec<_> = store.keys.iter().collect();
    all.sort_unstable_by_key(|(serial, _)| **serial);
    let mut out = Vec::new();
    for (serial, key) in all {
        let is_possessed = possessed.contains(serial);
        if key.permit(who, is_possessed, VIEW).is_err() {
            continue;
        }
        let flag = |is_set: bool, letter: char| if is_set { letter } else { '-' };
        let is_negative = matches!(key.payload, Payload::Negative(_));
        let flags: String = [
            flag(true, 'I'),
            flag(key.is_revoked, 'R'),
            '-',
            flag(true, 'Q'),
            '-',
            flag(is_negative, 'N'),
            '-',
        ]
        .iter()
        .collect();
        let lasts = key.expiry.map(|expiry| expiry.checked_duration_since(now));
        let front = format!(
            "{serial:08x} {flags} {:5} {:>4} {:08x} {:5} {:5} {:<9.9} ",
            key.holders.max(1),
            time_left(lasts),
            key.rights,
            key.uid.cast_signed(),
            key.gid.cast_signed(),
            key.kind.name(),
        );
        out.extend_from_slice(front.as_bytes());
        out.extend_from_slice(&key.text());
        out.push(b'\n');
    }
    out
}

/// How long a key lasts, in the kernel's few characters.
fn time_left(lasts: Option<Option<Duration>>) -> String {
    let seconds = match lasts {
        None => return "perm".to_owned(),
        Some(None) => return "expd".to_owned(),
        Some(Some(left)) => left.as_secs(),
    };
    const UNITS: [(u64, char); 5] = [
        (7 * 24 * 3600, 'w'),
        (24 * 3600, 'd'),
        (3600, 'h'),
        (60, 'm'),
        (1, 's'),
    ];
    let unit = UNITS.iter().find(|(size, _)| seconds >= *size);
    unit.map_or_else(
        || "0s".to_owned(),
        |(size, letter)| format!("{}{letter}", seconds / size),
    )
}

/// What the keys of each user take.
pub(super) fn users(store: &Store) -> Vec<u8> {
    let mut all: Vec<_> = store.usage.iter().collect();
    all.sort_unstable_by_key(|(uid, _)| **uid);
    let limits = store.limits;
    let line = |(uid, used): (&u32, &super::store::Usage)| {
        let (keys, bytes) = if *uid == 0 {
            (limits.root_keys, limits.root_bytes)
        } else {
            (limits.keys, limits.bytes)
        };
        let count = used.keys;
        format!(
            "{uid:5}: {count:5} {count}/{count} {count}/{keys} {}/{bytes}\n",
            used.bytes
        )
    };
    all.into_iter().map(line).collect::<String>().into_bytes()
}
