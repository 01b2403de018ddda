//! File locks: `/proc/locks`, and the `lock:` lines of `fdinfo` (proc_locks(5)).

use super::{Errno, View};
use crate::ids::HostPid;

/// The locks that processes of the zone hold or wait for, numbered anew.
///
/// # Errors
/// What the kernel says of the host's file.
pub(super) fn all(view: &dyn View) -> Result<Vec<u8>, Errno> {
    let host = super::system::read("/proc/locks")?;
    let mut out = String::new();
    let (mut last_host, mut number) = (String::new(), 0);
    for line in String::from_utf8_lossy(&host).lines() {
        let Some((host_number, lock)) = line.split_once(':') else {
            continue;
        };
        // Whose a lock of an open file description is cannot be told here.
        if lock.contains(" -1 ") {
            continue;
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
