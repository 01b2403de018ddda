//! What a guest has just made: its owner, mode and lists, said in one step, so that nobody sees a part.

use super::files::changeable;
use super::lists::{file_of, inherit_from, put_mode};
use super::owners::{self, Owner, Until};
use super::zone::Zone;
use crate::ids::HostPid;
use crate::ownership::mode_on_host;

/// What [`Request::Made`](picozone_personality::mailbox::Request::Made) asks for.
///
/// # Errors
/// Those of a descriptor that is not of what the zone may change.
pub fn record(
    zone: &Zone,
    caller: HostPid,
    fd: u64,
    ids: [u64; 2],
    asked: u64,
    list: u64,
    how: u64,
) -> Result<i64, i32> {
    let file = changeable(zone, caller, fd)?;
    let [uid, gid] = ids.map(|id| u32::try_from(id).map_err(|_| libc::EINVAL));
    let asked = u32::try_from(asked & 0o7777).unwrap_or(0);
    let found = owners::found(zone, &file)?;
    let kind = found.host.mode & libc::S_IFMT;
    // What the umask has left of it.
    let mode = asked & (found.host.mode & 0o777 | 0o7000);
    let owner = Owner {
        uid: uid?,
        gid: gid?,
        mode: kind | mode,
        rdev: 0,
    };
    if let Some(row) = list.checked_sub(1) {
        let directory = file_of(zone, row)?;
        if inherit_from(zone, directory, &file, &found, owner, asked)? {
            return Ok(0);
        }
    }
    let host = mode_on_host(mode & 0o777, kind == libc::S_IFDIR);
    if kind != libc::S_IFLNK {
        put_mode(&file, &found, owner)?;
    }
    if owner != found.owner || mode != host {
        let until = Until::asked(&file, how);
        zone.owners
            .set_until(&zone.shared, found.id, owner, until)?;
    }
    Ok(0)
}
