//! The zone's own `passwd`, `group`, `shadow` and `gshadow`.
//!
//! The host's system accounts exist in the zone too, since the shared `/usr` expects them; its
//! people do not, and no password of the host is ever known there.

use std::collections::BTreeSet;
use std::fmt::Write;

/// First id of people; below it are system accounts (`/etc/login.defs`, UID_MIN).
const FIRST_PERSON: u32 = 1000;
/// `nobody` and `nogroup`.
const NOBODY: u32 = 65534;

/// Account files of a zone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Accounts {
    pub(super) passwd: String,
    pub(super) group: String,
    pub(super) shadow: String,
    pub(super) gshadow: String,
    /// Gid of the group `shadow`, which may read the two shadow files; root's where it is missing.
    pub(super) shadow_gid: u32,
}

/// Makes the zone's accounts from the host's `passwd` and `group`; `days` is today since 1970.
pub(super) fn make(passwd: &str, group: &str, has_bash: bool, days: u64) -> Accounts {
    let mut accounts = Accounts {
        passwd: String::new(),
        group: String::new(),
        shadow: String::new(),
        gshadow: String::new(),
        shadow_gid: 0,
    };
    let mut names = BTreeSet::new();
    let shell = if has_bash { "/bin/bash" } else { "/bin/sh" };
    let root = format!("root:x:0:0:root:/root:{shell}");
    for line in std::iter::once(root.as_str()).chain(passwd.lines()) {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, comment, home, shell] = fields[..] else {
            continue;
        };
        if !is_system(name, uid) || gid.parse::<u32>().is_err() || !names.insert(name) {
            continue;
        }
        // A write to a String cannot fail.
        let _ = writeln!(
            accounts.passwd,
            "{name}:x:{uid}:{gid}:{comment}:{home}:{shell}"
        );
        let _ = writeln!(accounts.shadow, "{name}:*:{days}:0:99999:7:::");
    }
    let mut groups = BTreeSet::new();
    for line in std::iter::once("root:x:0:").chain(group.lines()) {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, members] = fields[..] else {
            continue;
        };
        if !is_system(name, gid) || !groups.insert(name) {
            continue;
        }
        if name == "shadow" {
            accounts.shadow_gid = gid.parse().unwrap_or(0);
        }
        let members: Vec<&str> = members
            .split(',')
            .filter(|member| names.contains(member))
            .collect();
        let members = members.join(",");
        let _ = writeln!(accounts.group, "{name}:x:{gid}:{members}");
        let _ = writeln!(accounts.gshadow, "{name}:*::{members}");
    }
    accounts
}

/// Whether an account is one of the system, not of a person (nor a directive, as `+::::::`).
fn is_system(name: &str, id: &str) -> bool {
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    is_name
        && id
            .parse::<u32>()
            .is_ok_and(|id| id < FIRST_PERSON || id == NOBODY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:secret:0:0:root:/root:/bin/zsh\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\nalice:x:1000:1000:Alice:/home/alice:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n+::::::\nbroken\n";
    const GROUP: &str =
        "root:x:0:\nadm:x:4:alice,www-data\nshadow:x:42:\nalice:x:1000:\nnogroup:x:65534:\n";

    #[test]
    fn system_accounts_stay_people_and_passwords_do_not() {
        let accounts = make(PASSWD, GROUP, true, 20000);
        assert_eq!(
            accounts.passwd,
            "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        );
        assert_eq!(
            accounts.group,
            "root:x:0:\nadm:x:4:www-data\nshadow:x:42:\nnogroup:x:65534:\n"
        );
        assert!(
            accounts
                .shadow
                .starts_with("root:*:20000:0:99999:7:::\nwww-data:*:")
        );
        assert!(accounts.gshadow.contains("adm:*::www-data\n"));
        assert_eq!(accounts.shadow_gid, 42);
        let all = format!("{accounts:?}");
        assert!(!all.contains("alice") && !all.contains("secret"));
    }

    #[test]
    fn without_host_files_there_is_root() {
        let accounts = make("", "", false, 1);
        assert_eq!(accounts.passwd, "root:x:0:0:root:/root:/bin/sh\n");
        assert_eq!(accounts.group, "root:x:0:\n");
    }
}
