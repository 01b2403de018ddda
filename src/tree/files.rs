//! Files that each zone has of its own: host name, hosts, resolver, machine id.

use crate::config::Config;
use crate::zone::address;
use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// `/etc/hosts` of a zone.
pub(super) fn hosts(config: &Config) -> String {
    let (v4, v6) = (
        address::zone_v4(config.number),
        address::zone_v6(config.number),
    );
    let name = &config.hostname;
    let short = name.split('.').next().unwrap_or(name);
    let names = if short == name {
        name.clone()
    } else {
        format!("{name} {short}")
    };
    format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{v4}\t{names}\n{v6}\t{names}\n{}\thost\n{}\thost\n",
        address::HOST,
        address::HOST_V6,
    )
}

/// `/etc/hosts` after the zone's number has changed; other lines stay as they are.
pub(super) fn renumbered(hosts: &str, old: u16, new: u16) -> String {
    let pairs = [
        (
            address::zone_v4(old).to_string(),
            address::zone_v4(new).to_string(),
        ),
        (
            address::zone_v6(old).to_string(),
            address::zone_v6(new).to_string(),
        ),
    ];
    let mut text = String::new();
    for line in hosts.lines() {
        let first = line.split_whitespace().next().unwrap_or("");
        let line = match pairs.iter().find(|(old, _)| old == first) {
            Some((old, new)) => line.replacen(old.as_str(), new, 1),
            None => line.to_owned(),
        };
        // A write to a String cannot fail.
        let _ = writeln!(text, "{line}");
    }
    text
}

/// The host's resolver configuration as a zone can use it: a name server on the host's loopback is
/// at the host's address. systemd's stub listens on an address that zones do not reach, so that
/// the servers behind it are named.
pub(super) fn resolv_conf(from: &Path) -> String {
    let read = |path: &str| std::fs::read_to_string(from.join(path)).unwrap_or_default();
    let mut text = read("etc/resolv.conf");
    if text
        .lines()
        .any(|line| line.trim() == "nameserver 127.0.0.53")
    {
        let behind = read("run/systemd/resolve/resolv.conf");
        if !behind.is_empty() {
            text = behind;
        }
    }
    let mut result = String::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let is_loopback = words.next() == Some("nameserver")
            && words
                .next()
                .is_some_and(|server| server.starts_with("127.") || server == "::1");
        let _ = match is_loopback {
            true => writeln!(result, "nameserver {}", address::HOST),
            false => writeln!(result, "{line}"),
        };
    }
    result
}

/// `/etc/sudoers` as distributions have it: the zone's root, and the members of a group for that.
pub(super) const SUDOERS: &str = "\
Defaults env_reset
Defaults secure_path=\"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"
root ALL=(ALL:ALL) ALL
%sudo ALL=(ALL:ALL) ALL
%wheel ALL=(ALL:ALL) ALL
@includedir /etc/sudoers.d
";

/// `/etc/nsswitch.conf` without the modules that ask a daemon of the host.
pub(super) fn nsswitch(text: &str) -> String {
    const DROPPED: [&str; 6] = [
        "systemd",
        "resolve",
        "mymachines",
        "myhostname",
        "mdns4_minimal",
        "mdns4",
    ];
    let mut result = String::new();
    for line in text.lines() {
        let Some((database, modules)) = line.split_once(':').filter(|_| !line.starts_with('#'))
        else {
            let _ = writeln!(result, "{line}");
            continue;
        };
        let mut kept: Vec<&str> = Vec::new();
        let mut is_dropped = false;
        for word in modules.split_whitespace() {
            if word.starts_with('#') {
                break;
            }
            // An action, as [NOTFOUND=return], belongs to the module before it.
            if !word.starts_with('[') {
                is_dropped = DROPPED.contains(&word);
            }
            if !is_dropped {
                kept.push(word);
            }
        }
        if kept.is_empty() {
            kept.push("files");
        }
        let _ = writeln!(result, "{:<15} {}", format!("{database}:"), kept.join(" "));
    }
    if result.is_empty() {
        result.push_str("passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n");
    }
    result
}

/// Thirty-two random hexadecimal digits, as in `machine-id(5)`.
///
/// # Panics
/// The host has no `/dev/urandom`.
#[must_use]
pub fn random_hex() -> String {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .expect("every Linux has /dev/urandom");
    format!("{:032x}", u128::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            number: 1,
            hostname: "web1.lan".to_owned(),
            root: None,
            origin: None,
            rewrite: false,
            trap: crate::config::Trap::Signal,
            profile: crate::config::Profile::Standard,
            flight: false,
            users: crate::config::Users::default(),
            limits: crate::config::Limits::default(),
            binds: vec![],
            mounts: vec![],
            publications: vec![],
        }
    }

    #[test]
    fn hosts_name_the_zone_and_the_host() {
        let text = hosts(&config());
        assert!(text.contains("10.111.0.2\tweb1.lan web1\n"), "{text}");
        assert!(text.contains("10.111.0.1\thost\n"));
        let moved = renumbered(&format!("{text}10.111.0.20 other\n"), 1, 6);
        assert!(moved.contains("10.111.0.7\tweb1.lan web1\n"), "{moved}");
        assert!(moved.contains("fd6f::7\tweb1.lan web1\n"));
        assert!(moved.contains("10.111.0.20 other\n"));
        assert_eq!(
            renumbered(&moved, 6, 1),
            format!("{text}10.111.0.20 other\n")
        );
    }

    #[test]
    fn resolvers_on_the_loopback_are_the_hosts() {
        let temporary = tempfile::tempdir().expect("a directory");
        let from = temporary.path();
        std::fs::create_dir(from.join("etc")).expect("made");
        assert_eq!(resolv_conf(from), "");
        std::fs::write(
            from.join("etc/resolv.conf"),
            "search lan\nnameserver 127.0.0.1\nnameserver 9.9.9.9\n",
        )
        .expect("written");
        assert_eq!(
            resolv_conf(from),
            "search lan\nnameserver 10.111.0.1\nnameserver 9.9.9.9\n"
        );
        std::fs::write(from.join("etc/resolv.conf"), "nameserver 127.0.0.53\n").expect("written");
        std::fs::create_dir_all(from.join("run/systemd/resolve")).expect("made");
        std::fs::write(
            from.join("run/systemd/resolve/resolv.conf"),
            "nameserver 10.0.0.1\n",
        )
        .expect("written");
        assert_eq!(resolv_conf(from), "nameserver 10.0.0.1\n");
    }

    #[test]
    fn name_services_ask_no_daemon() {
        let text = nsswitch(
            "# c\npasswd: files systemd\nhosts: files resolve [!UNAVAIL=return] dns\nshadow: systemd\n",
        );
        assert_eq!(
            text,
            "# c\npasswd:         files\nhosts:          files dns\nshadow:         files\n"
        );
        assert!(nsswitch("").contains("hosts: files dns"));
    }

    #[test]
    fn random_ids_differ() {
        assert_eq!(random_hex().len(), 32);
        assert_ne!(random_hex(), random_hex());
    }
}
