//! One key: what it is, whose it is, and who may do what with it (security/keys/permission.c).

use picozone_personality::capabilities::{Capabilities, Power};
use std::time::Instant;

/// The number of a key; 0 is none.
pub(super) type Serial = i32;

/// Types of keys that a zone has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyring.
    Ring,
    /// Bytes that programs keep.
    User,
    /// The same, which programs cannot read back.
    Logon,
}

impl Kind {
    /// The type behind a number of [`picozone_personality::mailbox::key`].
    pub(super) fn of(number: u64) -> Option<Kind> {
        use picozone_personality::mailbox::key;
        match number {
            key::RING => Some(Kind::Ring),
            key::USER => Some(Kind::User),
            key::LOGON => Some(Kind::Logon),
            _ => None,
        }
    }
    pub(super) const fn name(self) -> &'static str {
        match self {
            Kind::Ring => "keyring",
            Kind::User => "user",
            Kind::Logon => "logon",
        }
    }
    pub(super) fn is_readable(self) -> bool {
        self != Kind::Logon
    }
    /// What a new key of the type permits unless its maker says otherwise.
    pub(super) fn usual_rights(self) -> u32 {
        let own = VIEW | SEARCH | LINK | SETATTR | WRITE;
        let read = if self.is_readable() { READ } else { 0 };
        (own | read) << POSSESSOR | VIEW << USER
    }
}

/// See the attributes.
pub(super) const VIEW: u32 = 0x01;
/// Read the payload.
pub(super) const READ: u32 = 0x02;
/// Change the payload, or the links of a keyring.
pub(super) const WRITE: u32 = 0x04;
/// Be found.
pub(super) const SEARCH: u32 = 0x08;
/// Be linked.
pub(super) const LINK: u32 = 0x10;
/// Change the attributes.
pub(super) const SETATTR: u32 = 0x20;
/// All of them.
pub(super) const ALL: u32 = 0x3f;
/// Where the rights of who possesses a key stand.
pub(super) const POSSESSOR: u32 = 24;
/// Where those of its owner stand; those of the group and of others follow downwards.
pub(super) const USER: u32 = 16;
const GROUP: u32 = 8;

/// What a key holds.
#[derive(Debug)]
pub(super) enum Payload {
    Data(Vec<u8>),
    /// The keys of a keyring.
    Links(Vec<Serial>),
    /// Nobody could make the key: this errno.
    Negative(i32),
}

#[derive(Debug)]
pub(super) struct Key {
    pub(super) kind: Kind,
    pub(super) description: Vec<u8>,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) rights: u32,
    pub(super) payload: Payload,
    pub(super) expiry: Option<Instant>,
    pub(super) is_revoked: bool,
    /// Whether it is the kernel's own keyring of a user.
    pub(super) is_of_user: bool,
    /// Whether nothing may be linked to it.
    pub(super) is_restricted: bool,
    /// What it counts against its owner's quota, in bytes.
    pub(super) bytes: usize,
    /// How many keyrings hold it.
    pub(super) holders: usize,
}

impl Key {
    /// The keys of a keyring.
    ///
    /// # Errors
    /// ENOTDIR.
    pub(super) fn links(&self) -> Result<&Vec<Serial>, i32> {
        match &self.payload {
            Payload::Links(links) => Ok(links),
            Payload::Data(_) | Payload::Negative(_) => Err(libc::ENOTDIR),
        }
    }

    /// Whether it can be used.
    ///
    /// # Errors
    /// EKEYREVOKED, EKEYEXPIRED.
    pub(super) fn validate(&self, now: Instant) -> Result<(), i32> {
        if self.is_revoked {
            Err(libc::EKEYREVOKED)
        } else if self.expiry.is_some_and(|expiry| expiry <= now) {
            Err(libc::EKEYEXPIRED)
        } else {
            Ok(())
        }
    }

    /// The errno of a key that nobody could make.
    ///
    /// # Errors
    /// That.
    pub(super) fn made(&self) -> Result<(), i32> {
        match self.payload {
            Payload::Negative(errno) => Err(errno),
            Payload::Data(_) | Payload::Links(_) => Ok(()),
        }
    }

    /// Whether the caller has these rights.
    ///
    /// # Errors
    /// EACCES.
    pub(super) fn permit(&self, who: &Caller, is_possessed: bool, rights: u32) -> Result<(), i32> {
        let mut granted = if self.uid == who.uid {
            self.rights >> USER
        } else if self.rights >> GROUP & ALL != 0 && who.is_member(self.gid) {
            self.rights >> GROUP
        } else {
            self.rights
        };
        if is_possessed {
            granted |= self.rights >> POSSESSOR;
        }
        if granted & rights == rights {
            Ok(())
        } else {
            Err(libc::EACCES)
        }
    }

    /// What `/proc/keys` says of the payload, and describe of the key.
    pub(super) fn text(&self) -> Vec<u8> {
        let about = match &self.payload {
            Payload::Links(links) if links.is_empty() => ": empty".to_owned(),
            Payload::Links(links) => format!(": {}", links.len()),
            Payload::Data(data) if self.kind == Kind::User => format!(": {}", data.len()),
            Payload::Data(_) | Payload::Negative(_) => String::new(),
        };
        [&self.description, about.as_bytes()].concat()
    }
}

/// Who asks, and its keyrings.
#[derive(Debug)]
pub(super) struct Caller {
    /// Its thread on the host.
    pub(super) tid: u32,
    /// File system user and group, by which rights go.
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The real user, whose keyrings are the user's.
    pub(super) real: u32,
    pub(super) groups: Vec<u32>,
    pub(super) capabilities: Capabilities,
    /// Number of what its process is between two execs, once a thread of it has a keyring.
    pub(super) life: u32,
    pub(super) thread: Serial,
    pub(super) process: Serial,
    pub(super) session: Serial,
    /// `KEY_REQKEY_DEFL_*`.
    pub(super) default: i32,
}

impl Caller {
    pub(super) const fn has(&self, power: Power) -> bool {
        self.capabilities.has(power)
    }
    pub(super) fn is_member(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}
