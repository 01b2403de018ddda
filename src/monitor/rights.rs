//! Rights of files by the zone's own users, where the monitor asks for them itself: of programs that are to
//! be executed, of where sockets are bound and found, and of what clerks have opened for clients.
//!
//! Neighbours: the personality decides of all else (`path/rights.rs`, `file/rights.rs` there).

use super::files;
use super::lists;
use super::owners::{self, Owner};
use super::paths::open_resolved;
use super::procfs::Credentials;
use super::zone::Zone;
use picozone_personality::capabilities::Power;
use picozone_personality::mailbox::TEXT_MAX;
use std::os::fd::AsRawFd;

/// To read a file.
pub const READ: u32 = 4;
/// To write a file, or to change the names in a directory.
pub const WRITE: u32 = 2;
/// To execute a file, or to search a directory.
pub const EXECUTE: u32 = 1;

/// Whose rights count. The guest says it: the rule is the zone's, not its boundary's. Of a client
/// ([`super::strict`]) the monitor knows it.
pub struct User {
    uid: u32,
    gids: Vec<u32>,
    overrides: bool,
    /// Whether the way to a file has to be looked at: the personality of others has done that.
    walks: bool,
}

impl User {
    /// Who asks with these arguments of [`Request::Exec`](picozone_personality::mailbox::Request::Exec).
    #[must_use]
    pub fn of(zone: &Zone, tid: u32, args: [u64; 8]) -> User {
        let word = |value: u64| files::low_int(value).cast_unsigned();
        let count = usize::try_from(args[5]).unwrap_or(0).min(TEXT_MAX / 4);
        let groups = zone.shared.read_bytes(tid, 4 * count);
        let (groups, _) = groups.as_chunks::<4>();
        let further = groups.iter().map(|group| u32::from_ne_bytes(*group));
        User {
            uid: word(args[2]),
            gids: std::iter::once(word(args[3])).chain(further).collect(),
            overrides: args[4] >> Power::Override as u32 & 1 == 1,
            walks: false,
        }
    }

    /// Who asks, as the zone's table of processes has it.
    #[must_use]
    pub fn known(known: &Credentials) -> User {
        let has = |power: Power| known.capabilities.has(power);
        User {
            uid: known.uid[3],
            gids: std::iter::once(known.gid[3])
                .chain(known.groups.iter().copied())
                .collect(),
            overrides: has(Power::Override),
            walks: !has(Power::Override) && !has(Power::Search),
        }
    }

    /// Whether the user has these rights of a file of this owner and mode, of which nobody has a list.
    #[must_use]
    pub fn may(&self, file: Owner, want: u32) -> bool {
        let bits = match self.uid {
            _ if self.overrides && want != EXECUTE => return true,
            // To execute, `CAP_DAC_OVERRIDE` needs at least one of the three.
            _ if self.overrides => file.mode | file.mode >> 3 | file.mode >> 6,
            uid if uid == file.uid => file.mode >> 6,
            _ if self.gids.contains(&file.gid) => file.mode >> 3,
            _ => file.mode,
        };
        bits & want == want
    }

    /// Whether the user has these rights of a file: [`READ`], [`WRITE`], [`EXECUTE`].
    #[must_use]
    pub fn permits(&self, zone: &Zone, file: &impl AsRawFd, want: u32) -> bool {
        let Ok(owners::Found { id, owner, .. }) = owners::found(zone, file) else {
            return false;
        };
        let is_member = |gid: u32| self.gids.contains(&gid);
        let listed = if self.overrides {
            None
        } else {
            lists::permits(zone, id, owner, want, self.uid, is_member)
        };
        listed.unwrap_or_else(|| self.may(owner, want))
    }

    /// Whether the user may search the directories on the way to a file, by its path free of links, from the
    /// directory on whose path is `from`.
    ///
    /// # Errors
    /// EACCES; what opening a directory says.
    pub fn may_walk(&self, zone: &Zone, path: &[u8], from: &[u8]) -> Result<(), i32> {
        if !self.walks {
            return Ok(());
        }
        let from = if is_beneath(path, from) {
            from.len()
        } else {
            0
        };
        let ends = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/');
        for directory in ends.map(|(end, _)| &path[..end.max(1)]) {
            if directory.len() < from {
                continue;
            }
            match open_resolved(zone, b"", b"/", directory, libc::O_PATH) {
                Ok((directory, _)) if self.permits(zone, &directory, EXECUTE) => {}
                // The monitor's own directories ask for rights themselves, as the host's kernel does.
                Err(libc::EACCES) => {}
                Ok(_) => return Err(libc::EACCES),
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

/// Whether a path is that of a directory, or of something in it.
fn is_beneath(path: &[u8], directory: &[u8]) -> bool {
    let rest = path.strip_prefix(directory);
    !directory.is_empty()
        && rest.is_some_and(|rest| rest.is_empty() || directory == b"/" || rest[0] == b'/')
}

#[cfg(test)]
mod tests {
    use super::is_beneath;

    #[test]
    fn names_are_no_prefixes() {
        assert!(is_beneath(b"/srv/a/b", b"/srv/a"));
        assert!(is_beneath(b"/srv/a", b"/srv/a"));
        assert!(is_beneath(b"/srv", b"/"));
        assert!(!is_beneath(b"/srv/ab", b"/srv/a"));
        assert!(!is_beneath(b"/srv", b""));
    }
}
