//! File locks: `/proc/locks`, and the `lock:` lines of `fdinfo` (proc_locks(5)).

use super::{Errno, Subject, View};
use crate::ids::HostPid;
use std::collections::HashSet;

/// The locks that processes of the zone hold or wait for, numbered anew.
///
/// # Errors
/// What the kernel says of the host's file.
pub(super) fn all(view: &dyn View) -> Result<Vec<u8>, Errno> {
    let host = super::system::read("/proc/locks")?;
    let mut out = String::new();
    let (mut last_host, mut number) = (String::new(), 0);
    let mut of_descriptions = None;
    for line in String::from_utf8_lossy(&host).lines() {
        let Some((host_number, lock)) = line.split_once(':') else {
            continue;
        };
        if lock.contains(NOBODY) {
            let known = of_descriptions.get_or_insert_with(|| descriptions(view));
            if !known.contains(&words(lock)) {
                continue;
            }
        }
        let Some(lock) = translate(view, lock.trim()) else {
            continue;
        };
        // A lock and those that wait for it carry the same number.
        if last_host != host_number {
            number += 1;
            host_number.clone_into(&mut last_host);
        }
        out += &format!("{number}: {lock}\n");
    }
    Ok(out.into_bytes())
}

/// In place of an owner, of a lock of an open file description.
const NOBODY: &str = " -1 ";

fn words(lock: &str) -> String {
    lock.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The locks of open file descriptions that processes of the zone have: only `fdinfo` tells whose they are.
fn descriptions(view: &dyn View) -> HashSet<String> {
    let mut found = HashSet::new();
    for (process, _) in view.processes() {
        let Ok(subject) = Subject::find(view, process) else {
            continue;
        };
        for fd in subject.numbers("fd").unwrap_or_default() {
            let info = subject.read(&format!("fdinfo/{fd}")).unwrap_or_default();
            for line in String::from_utf8_lossy(&info).lines() {
                if let Some(lock) = line.strip_prefix("lock:")
                    && lock.contains(NOBODY)
                    && let Some((_, lock)) = lock.split_once(": ")
                {
                    found.insert(words(lock));
                }
            }
        }
    }
    found
}

/// A lock in the zone's terms: the fields behind the number. `None` if its owner is not the zone's;
/// a lock of an open file description has none (-1): in `fdinfo` it is the description's own.
pub(super) fn translate(view: &dyn View, lock: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut fields = lock.split_whitespace();
    // In fdinfo the number is still there.
    let mut field = fields.next()?;
    if field.ends_with(':') {
        out.push(field.to_owned());
        field = fields.next()?;
    }
    if field == "->" {
        out.push(field.to_owned());
        field = fields.next()?;
    }
    out.push(format!("{field:<6}"));
    out.push(format!("{:<9}", fields.next()?));
    out.push(format!("{:<5}", fields.next()?));
    let owner = fields.next()?;
    out.push(match owner {
        "-1" => owner.to_owned(),
        owner => view.to_zone(HostPid(owner.parse().ok()?))?.to_string(),
    });
    out.extend(fields.map(str::to_owned));
    Some(out.join(" "))
}
