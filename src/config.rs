//! A zone's configuration: `zone.toml`.
//!
//! Written atomically, read strictly: an unknown key is an error, since a misspelt restriction
//! that is silently ignored would be none.

mod keys;
mod limits;
mod users;

pub use limits::{Limits, Size};
pub use users::{IdKind, IdRange, Users};

use crate::control::{Protocol, Publish};
use crate::error::{Doing, Error, Result};
use crate::zone::atomic;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// How many binds a zone can have; the mount table of a guest holds 24 rows, some of them ours.
pub const BINDS_MAX: usize = 12;

/// What is configured for a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Number of the zone's address, see [`crate::zone::address`]; unique among a user's zones.
    pub number: u16,
    /// Host name as the zone's programs see it.
    pub hostname: String,
    /// An unpacked distribution that is the zone's root, in place; else the zone has a tree of
    /// its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// What a tree of its own was made from; without it, it shares the host's `/usr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Whether programs and libraries are rewritten, so that their system calls enter the
    /// personality by a jump; they are unless this says `false`.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub rewrite: bool,
    /// How calls that need translation reach the personality.
    #[serde(default, skip_serializing_if = "Trap::is_signal")]
    pub trap: Trap,
    /// How far its users are kept apart from one another.
    #[serde(default, skip_serializing_if = "Profile::is_standard")]
    pub profile: Profile,
    /// Whether its programs' last calls are kept at any time: the flight recorder.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flight: bool,
    /// The zone's users as ids of the host.
    #[serde(default, skip_serializing_if = "Users::is_usual")]
    pub users: Users,
    /// What it may use up.
    #[serde(default, skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
    /// Directories of the host that the zone sees.
    #[serde(default, rename = "bind", skip_serializing_if = "Vec::is_empty")]
    pub binds: Vec<Bind>,
    /// Mounts of other kinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Ports of the zone that the host reaches at addresses of its own.
    #[serde(default, rename = "publish", skip_serializing_if = "Vec::is_empty")]
    pub publications: Vec<Publish>,
}

/// What the whole tree of a zone is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The packages of a minimal Debian, fetched by the host's apt.
    Debian,
    /// A tarball of a distribution.
    Tarball(PathBuf),
    /// One that `zone export` made of a zone that shares the host's `/usr`.
    Export(PathBuf),
}

/// How a call that the personality is to serve gets there, where its site is not rewritten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Trap {
    /// By SIGSYS from the kernel
    #[default]
    Signal,
    /// By a tracer: slower, and no other tracer can be used in the zone
    Ptrace,
}

impl Trap {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
    fn is_signal(&self) -> bool {
        *self == Self::Signal
    }
}

/// How far users of a zone are kept apart from one another; the zone itself is closed either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// As programs expect; code that attacks the personality in its own process can pass for another user
    #[default]
    Standard,
    /// Whatever code does; calls of other users than root that name files or processes are slower
    Strict,
}

impl Profile {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
    fn is_standard(&self) -> bool {
        *self == Self::Standard
    }
}

const fn yes() -> bool {
    true
}

const fn is_yes(value: &bool) -> bool {
    *value
}

/// A directory of the host within the zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// The directory of the host, absolute and without symbolic links.
    pub host: PathBuf,
    /// Where the zone sees it, absolute.
    pub zone: PathBuf,
    /// Whether the zone may change it.
    #[serde(default)]
    pub access: Access,
}

/// A mount that is no bind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Mount {
    /// A directory of the host that the zone changes for itself: what it changes lies in a layer of
    /// its own.
    Cow(Cow),
}

/// A copy-on-write mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cow {
    /// The directory of the host below, absolute and without symbolic links; never changed.
    pub host: PathBuf,
    /// Where the zone sees it, absolute.
    pub zone: PathBuf,
}

/// What a zone may do with a bind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Look only.
    #[default]
    ReadOnly,
    /// Change it.
    ReadWrite,
}

impl Config {
    /// Reads `zone.toml`.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, or holds a key or value that is not known.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).doing("read the configuration", path.display())?;
        let config: Self =
            toml::from_str(&text).map_err(|error| bad(path, error.to_string().trim_end()))?;
        config.check().map_err(|cause| bad(path, cause))?;
        Ok(config)
    }

    /// Writes `zone.toml` atomically.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn store(&self, path: &Path) -> Result<()> {
        atomic::write(path, self.to_toml().as_bytes(), 0o600)
    }

    /// What `zone.toml` holds.
    ///
    /// # Panics
    /// Never: every configuration can be written as TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration is a table")
    }

    /// The copy-on-write mounts.
    pub fn cows(&self) -> impl Iterator<Item = &Cow> {
        self.mounts.iter().map(|Mount::Cow(cow)| cow)
    }

    /// The directory that is the zone's root, for a zone that lies in `zone_dir`.
    #[must_use]
    pub fn root_dir(&self, zone_dir: &Path) -> PathBuf {
        self.root.clone().unwrap_or_else(|| zone_dir.join("root"))
    }

    /// Whether the zone shares the host's `/usr`.
    #[must_use]
    pub fn is_sparse(&self) -> bool {
        let is_shared = matches!(self.origin, None | Some(Origin::Export(_)));
        self.root.is_none() && is_shared
    }

    /// Says what is wrong with the values, if anything is.
    ///
    /// # Errors
    /// A sentence that names the value.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=crate::zone::address::NUMBER_MAX).contains(&self.number) {
            return Err(format!(
                "number {} is not in 1..={}",
                self.number,
                crate::zone::address::NUMBER_MAX
            ));
        }
        check_hostname(&self.hostname)?;
        if let Some(root) = &self.root
            && !root.is_absolute()
        {
            return Err(format!("root {} is not an absolute path", root.display()));
        }
        self.users.check()?;
        if self.profile == Profile::Strict && self.trap == Trap::Ptrace {
            // A tracer is asked after all filters, where the second one has refused the call.
            return Err(
                "a zone of the strict profile has no calls delivered by ptrace: set trap or profile"
                    .to_owned(),
            );
        }
        self.limits.check()?;
        if self.root.is_some() && self.origin.is_some() {
            return Err("a tree that is used in place has no origin".to_owned());
        }
        // A copy-on-write mount is two directories.
        let used = self.binds.len() + 2 * self.mounts.len();
        if used > BINDS_MAX {
            return Err(format!(
                "{} binds and {} copy-on-write mounts are more than a zone can have: \
                 {BINDS_MAX} binds, or half as many of the others",
                self.binds.len(),
                self.mounts.len(),
            ));
        }
        for bind in &self.binds {
            bind.check()?;
        }
        for cow in self.cows() {
            cow.check()?;
        }
        let binds = self.binds.iter().map(|bind| &bind.zone);
        let points: Vec<_> = binds.chain(self.cows().map(|cow| &cow.zone)).collect();
        for (index, point) in points.iter().enumerate() {
            if points[..index].contains(point) {
                return Err(format!("two mounts lie at {}", point.display()));
            }
        }
        for cow in self.cows() {
            // Mount points are made in the zone's own tree.
            let inner = points.iter().find(|point| {
                **point != &cow.zone
                    && (point.starts_with(&cow.zone) || cow.zone.starts_with(point))
            });
            if let Some(inner) = inner {
                return Err(format!(
                    "{} and the copy-on-write mount {} lie in one another",
                    inner.display(),
                    cow.zone.display()
                ));
            }
        }
        for (index, publish) in self.publications.iter().enumerate() {
            if publish.host_port == 0 || publish.zone_port == 0 {
                return Err(format!("publish {}: port 0 is none", show(publish)));
            }
            let is_same = |other: &&Publish| {
                (other.host_address, other.host_port, other.protocol)
                    == (publish.host_address, publish.host_port, publish.protocol)
            };
            if let Some(other) = self.publications[..index].iter().find(is_same) {
                return Err(format!(
                    "publish {} and {} want the same port of the host",
                    show(other),
                    show(publish)
                ));
            }
        }
        Ok(())
    }
}

/// The error of a configuration file that cannot be used.
fn bad(path: &Path, cause: impl fmt::Display) -> Error {
    Error::refused(
        "use the configuration",
        path.display(),
        cause,
        "correct that line of the file, or delete the zone and create it again",
    )
}

/// Whether `name` can be a host name: RFC 1123 with the underscore that many hosts have.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn check_hostname(name: &str) -> Result<(), String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.is_empty() || name.len() > 64 {
        return Err(format!("host name {name:?} does not have 1 to 64 letters"));
    }
    if !name.chars().all(is_fine) || name.starts_with(['-', '.']) || name.ends_with(['-', '.']) {
        return Err(format!(
            "host name {name:?} has something else in it than letters, digits, - and . (inside)"
        ));
    }
    Ok(())
}

/// Whether a directory of the host can be shown at a place of the zone, which is none of `refused`.
fn check_mount(what: &str, host: &Path, zone: &Path, refused: &[&str]) -> Result<(), String> {
    for (side, path) in [("host", host), ("zone", zone)] {
        let is_plain = path
            .components()
            .all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
        if !path.is_absolute() || !is_plain {
            return Err(format!(
                "{what}: the {side}'s path {} is not absolute and plain",
                path.display()
            ));
        }
    }
    if refused.iter().any(|path| zone == Path::new(path)) {
        return Err(format!(
            "{what}: nothing can be put at {} of a zone",
            zone.display()
        ));
    }
    if zone.starts_with("/proc") || zone.starts_with("/dev") {
        return Err(format!(
            "{what}: {} lies in a directory that the zone's monitor serves",
            zone.display()
        ));
    }
    for kernel in ["/proc", "/sys", "/dev"] {
        if host.starts_with(kernel) {
            return Err(format!(
                "{what}: {} of the host would reach past the zone's boundary",
                host.display()
            ));
        }
    }
    if host == Path::new("/") {
        return Err(format!(
            "{what}: the host's whole root would reach past the zone's boundary"
        ));
    }
    Ok(())
}

/// A directory of the host as it is given on the command line.
fn host_directory(what: &str, host: &str) -> Result<PathBuf, String> {
    let host = Path::new(host)
        .canonicalize()
        .map_err(|error| format!("the host's directory {host:?} cannot be used: {error}"))?;
    if !host.is_dir() {
        return Err(format!(
            "{} is not a directory: {what} the directory that holds it",
            host.display()
        ));
    }
    Ok(host)
}

impl Bind {
    fn check(&self) -> Result<(), String> {
        let refused = ["/", "/proc", "/dev", "/usr", "/sys"];
        check_mount("bind", &self.host, &self.zone, &refused)
    }
}

impl Cow {
    fn check(&self) -> Result<(), String> {
        let refused = ["/", "/proc", "/dev", "/sys", "/etc", "/var", "/run"];
        check_mount("cow", &self.host, &self.zone, &refused)
    }
}

impl FromStr for Cow {
    type Err = String;

    /// `HOST[:ZONE]`, at the same place in the zone unless it says otherwise.
    fn from_str(text: &str) -> Result<Self, String> {
        let (host, zone) = text.split_once(':').unwrap_or((text, text));
        if zone.contains(':') {
            return Err("a copy-on-write mount is HOST or HOST:ZONE".to_owned());
        }
        let cow = Self {
            host: host_directory("mount", host)?,
            // Rebuilding it from its components drops doubled and trailing slashes.
            zone: Path::new(zone).components().collect(),
        };
        cow.check()?;
        Ok(cow)
    }
}

impl FromStr for Bind {
    type Err = String;

    /// `HOST:ZONE[:ro|rw]`, read-only unless it says otherwise.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let (Some(host), Some(zone), mode, None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("a bind is HOST:ZONE or HOST:ZONE:ro or HOST:ZONE:rw".to_owned());
        };
        let access = match mode {
            None | Some("ro") => Access::ReadOnly,
            Some("rw") => Access::ReadWrite,
            Some(other) => return Err(format!("{other:?} is neither ro nor rw")),
        };
        // Rebuilding it from its components drops doubled and trailing slashes.
        let bind = Self {
            host: host_directory("bind", host)?,
            zone: Path::new(zone).components().collect(),
            access,
        };
        bind.check()?;
        Ok(bind)
    }
}

/// Parses `[ADDR:]HPORT:ZPORT[/tcp|udp]`. Without an address the host's own loopback is meant:
/// the network at large is reached by saying `0.0.0.0:` only.
///
/// # Errors
/// A sentence that shows the form.
pub fn parse_publish(text: &str) -> Result<Publish, String> {
    const FORM: &str = "a publication is [ADDRESS:]HOST-PORT:ZONE-PORT[/tcp|/udp], as 8080:80 or 0.0.0.0:53:53/udp";
    let (ports, protocol) = match text.rsplit_once('/') {
        None => (text, Protocol::Tcp),
        Some((ports, "tcp")) => (ports, Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some((_, other)) => return Err(format!("{other:?} is neither tcp nor udp; {FORM}")),
    };
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(format!("{text:?} is not a port (1 to 65535); {FORM}")),
    };
    let parts: Vec<&str> = ports.split(':').collect();
    let (address, host, zone) = match parts[..] {
        [host, zone] => (Ipv4Addr::LOCALHOST, host, zone),
        [address, host, zone] => {
            let address = address
                .parse()
                .map_err(|_| format!("{address:?} is not an IPv4 address; {FORM}"))?;
            (address, host, zone)
        }
        _ => return Err(FORM.to_owned()),
    };
    Ok(Publish {
        host_address: address,
        host_port: port(host)?,
        zone_port: port(zone)?,
        protocol,
    })
}

/// Shows a publication in the form that [`parse_publish`] reads.
#[must_use]
pub fn show(publish: &Publish) -> String {
    let protocol = show_protocol(publish.protocol);
    format!(
        "{}:{}:{}/{protocol}",
        publish.host_address, publish.host_port, publish.zone_port
    )
}

/// The name of a protocol, as in `/etc/services`.
#[must_use]
pub fn show_protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example() -> Config {
        Config {
            number: 1,
            hostname: "web1".to_owned(),
            root: None,
            origin: None,
            rewrite: true,
            trap: Trap::Signal,
            profile: Profile::Standard,
            flight: false,
            users: Users::default(),
            limits: crate::config::Limits::default(),
            binds: vec![Bind {
                host: "/srv/a".into(),
                zone: "/srv/b".into(),
                access: Access::ReadWrite,
            }],
            mounts: vec![Mount::Cow(Cow {
                host: "/usr".into(),
                zone: "/usr".into(),
            })],
            publications: vec![parse_publish("8080:80").expect("it parses")],
        }
    }

    #[test]
    fn what_is_stored_is_loaded() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("zone.toml");
        let config = example();
        config.store(&path).expect("stored");
        assert_eq!(Config::load(&path).expect("loaded"), config);
    }

    #[test]
    fn unknown_keys_and_broken_files_are_refused_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("zone.toml");
        for text in [
            "number = 1\nhostname = \"a\"\nreadonly = true\n",
            "number = ",
            "number = 0\nhostname = \"a\"\n",
        ] {
            std::fs::write(&path, text).expect("written");
            let error = Config::load(&path).expect_err("refused");
            assert!(error.to_string().contains("zone.toml"), "{error}");
            assert!(!error.remedy().is_empty());
        }
    }

    #[test]
    fn values_are_shown_and_changed_by_their_keys() {
        let config = example();
        assert_eq!(config.value("hostname").as_deref(), Some("web1"));
        assert_eq!(config.value("users.map"), None);
        let changed = config
            .with("users.map", "0:100000:65536,70000:5")
            .expect("fine");
        assert_eq!(
            changed.value("users.map").as_deref(),
            Some("[\"0:100000:65536\", \"70000:5\"]")
        );
        let changed = changed.with("rewrite", "false").expect("fine");
        assert!(!changed.rewrite);
        let changed = changed.with("users.squash", "33").expect("fine");
        assert_eq!(changed.users.squash, Some(33));
        let back = changed.with("users", "").expect("fine").with("rewrite", "");
        assert_eq!(back.as_ref(), Ok(&config));
        for (key, text) in [
            ("number", "7"),
            ("hostname", ""),
            ("hostname", "-"),
            ("hostname.x", "a"),
            ("users.mapp", "0:1:2"),
            ("users.map", "0:1:2,1:5:9"),
            ("nothing", "1"),
            ("rewrite", "maybe"),
        ] {
            assert!(config.with(key, text).is_err(), "{key}={text}");
        }
    }

    #[test]
    fn publications_in_every_form() {
        let publish = |text| parse_publish(text).map(|p| show(&p));
        assert_eq!(publish("8080:80"), Ok("127.0.0.1:8080:80/tcp".to_owned()));
        assert_eq!(
            publish("0.0.0.0:53:53/udp"),
            Ok("0.0.0.0:53:53/udp".to_owned())
        );
        for wrong in [
            "",
            "80",
            "80:",
            "0:80",
            "80:0",
            "1.2.3:80:80",
            "80:80/sctp",
            "a:b",
            "1:2:3:4",
            "70000:1",
            "::1:80:80",
        ] {
            assert!(publish(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_host_port_is_published_once() {
        let mut config = example();
        config
            .publications
            .push(parse_publish("8080:81").expect("it parses"));
        assert!(config.check().is_err());
        config.publications[1].protocol = Protocol::Udp;
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn binds_in_every_form() {
        let dir = tempfile::tempdir().expect("a directory");
        let host = dir.path().canonicalize().expect("it exists");
        let bind = |rest: &str| format!("{}:{rest}", host.display()).parse::<Bind>();
        assert_eq!(
            bind("/data//x/").expect("fine"),
            Bind {
                host: host.clone(),
                zone: "/data/x".into(),
                access: Access::ReadOnly
            }
        );
        assert_eq!(bind("/data:rw").expect("fine").access, Access::ReadWrite);
        for wrong in [
            "data",
            "/",
            "/proc/x",
            "/dev",
            "/data:rx",
            "/data:rw:x",
            "/a/../b",
        ] {
            assert!(bind(wrong).is_err(), "{wrong}");
        }
        for wrong in [
            "/proc/self:/data",
            "/:/host",
            "/nonexistent-dir:/data",
            "/etc/passwd:/data",
        ] {
            assert!(wrong.parse::<Bind>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn shown_publications_parse_again(a in any::<[u8; 4]>(), host in 1u16.., zone in 1u16.., is_udp: bool) {
            let protocol = if is_udp { Protocol::Udp } else { Protocol::Tcp };
            let publish = Publish { host_address: a.into(), host_port: host, zone_port: zone, protocol };
            prop_assert_eq!(parse_publish(&show(&publish)), Ok(publish));
        }

        #[test]
        fn no_text_breaks_the_parsers(text in ".*") {
            let _ = parse_publish(&text);
            let _ = text.parse::<Bind>();
            let _ = check_hostname(&text);
        }
    }

    #[test]
    fn programs_are_rewritten_unless_it_says_no() {
        let short = "number = 1\nhostname = \"web1\"\n";
        let config: Config = toml::from_str(short).expect("it parses");
        assert!(config.rewrite);
        let text = toml::to_string(&config).expect("it is shown");
        assert!(!text.contains("rewrite"), "{text}");
        let config: Config =
            toml::from_str(&format!("{short}rewrite = false\n")).expect("it parses");
        assert!(!config.rewrite);
        let text = toml::to_string(&config).expect("it is shown");
        assert!(text.contains("rewrite = false"), "{text}");
    }
}
