//! The record of who is logged in (utmp(5)).
//!
//! Whoever logs somebody in writes there, and makes no such file: on a machine of its own
//! systemd-tmpfiles(8) does, at each boot.

use super::group_id;
use super::within::Within;
use crate::ownership::{FileId, Owner};
use std::path::Path;

const RECORD: &str = "/run/utmp";
/// Whose it is, beside root: programs of terminals write there by set-group-id helpers.
const GROUP: &str = "utmp";

/// Makes an empty record in the tree of a zone that boots, by who runs it; which file that is, and its owner
/// in the zone. `None` where the zone has no group for it, or `/run` is no directory of the tree.
#[must_use]
pub fn make_record(root: &Path) -> Option<(FileId, Owner)> {
    let within = Within::open(root).ok()?;
    let groups = String::from_utf8(within.read(Path::new("/etc/group")).ok()?).ok()?;
    let gid = group_id(&groups, GROUP);
    if gid == 0 {
        return None;
    }
    let record = Path::new(RECORD);
    let mode = 0o664;
    within.replace(record, b"", mode).ok()?;
    let (id, found) = within.identify(record).ok()?;
    let owner = Owner {
        uid: 0,
        gid,
        mode: found & libc::S_IFMT | mode,
        rdev: 0,
    };
    Some((id, owner))
}
