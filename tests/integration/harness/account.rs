//! Who does in a zone what they do natively.
//!
//! The oracle runs as whoever runs the tests. For root that is the zone's root; for an ordinary user
//! it is a user of the zone with the same name, numbers and groups, who may as little.

use super::{Role, Zone};
use nix::unistd::{Group, User, getegid, geteuid, getgroups};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// A user of the host, and of zones under the same name and numbers.
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    groups: Vec<u32>,
}

impl Account {
    /// Who runs the tests.
    pub fn own() -> Self {
        let gids = getgroups().expect("our groups");
        Self {
            name: name_of(geteuid().as_raw()),
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
            groups: gids.into_iter().map(nix::unistd::Gid::as_raw).collect(),
        }
    }

    /// An ordinary user who has no other groups; none if the tests themselves run as one.
    pub fn ordinary() -> Option<Self> {
        let (uid, gid) = Role::User.account()?;
        Some(Self {
            name: name_of(uid),
            uid,
            gid,
            groups: Vec::new(),
        })
    }

    /// User and group that a child of ours has to become.
    pub fn change(&self) -> Option<(u32, u32)> {
        (self.uid != geteuid().as_raw()).then_some((self.uid, self.gid))
    }

    /// Makes the account in the zone if it is missing there.
    pub fn be_in(&self, zone: &Zone<'_>) {
        let etc = zone.root().join("etc");
        let Self { name, uid, gid, .. } = self;
        let passwd = etc.join("passwd");
        let mut text = fs::read_to_string(&passwd).expect("a zone has accounts");
        let start = format!("{name}:");
        if text.lines().any(|line| line.starts_with(&start)) {
            return;
        }
        let _ = writeln!(text, "{name}:x:{uid}:{gid}::/nonexistent:/bin/bash");
        fs::write(&passwd, text).expect("the zone's tree is ours");
        self.join_groups(&etc.join("group"));
    }

    fn join_groups(&self, path: &Path) {
        let mut missing = self.groups.clone();
        missing.push(self.gid);
        missing.sort_unstable();
        missing.dedup();
        let mut text = String::new();
        for line in fs::read_to_string(path).expect("groups").lines() {
            let gid = line.split(':').nth(2).and_then(|gid| gid.parse().ok());
            let place = missing.iter().position(|&ours| Some(ours) == gid);
            let comma = if line.ends_with(':') { "" } else { "," };
            let more = place.map_or_else(String::new, |place| {
                missing.remove(place);
                format!("{comma}{}", self.name)
            });
            let _ = writeln!(text, "{line}{more}");
        }
        for gid in missing {
            let group = Group::from_gid(gid.into()).expect("the groups can be read");
            let name = group.map_or_else(|| format!("group{gid}"), |group| group.name);
            let _ = writeln!(text, "{name}:x:{gid}:{}", self.name);
        }
        fs::write(path, text).expect("the zone's tree is ours");
    }
}

fn name_of(uid: u32) -> String {
    let user = User::from_uid(uid.into()).expect("the accounts can be read");
    user.map_or_else(|| format!("user{uid}"), |user| user.name)
}
