//! `zone create`.

use super::print;
use crate::config::{Bind, Cow, Limits, Origin, Profile, Trap, Users};
use crate::control::Publish;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::tree;
use crate::zone::lifecycle::{self, Outcome, Wanted};
use crate::zone::{Name, Zone, address};
use std::path::{Path, PathBuf};

/// Create a zone
///
/// A zone has files of its own (/etc, /var, /home, /root, /tmp, /run, /srv, ...) and shares the
/// host's /usr read-only, unless --root or --debian give it another. Its /etc is a copy of what everybody on the host may read, with accounts,
/// keys and machine id of its own.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of the zone: 1 to 64 of a-z 0-9 _ . - beginning with a letter or digit
    #[arg(value_parser = super::name)]
    name: Name,
    #[command(flatten)]
    options: Options,
}

/// What a new zone is like; shared with `zone run`.
#[derive(clap::Args)]
#[group(id = "zone-options")]
pub(super) struct Options {
    /// Use this unpacked distribution as the zone's root, in place, or unpack this tarball of one
    ///
    /// A directory must be yours. It is closed to other users (mode 0700), gets what it lacks
    /// (/etc/hosts, placeholders of /proc and /dev), and stays when the zone is deleted.
    /// A tarball, plain or packed, becomes a tree of the zone's own, with the owners, modes, links,
    /// attributes and devices that it tells.
    #[arg(long, value_name = "DIR|TARBALL")]
    root: Option<PathBuf>,
    /// Make the zone that `zone export` has packed into this tarball, with its configuration
    ///
    /// Directories of the host that it shows must be there. The first entry of the tarball says which these
    /// are: look at it where you do not know from whom it is (`tar -xOf TARBALL .picozone.toml`).
    #[arg(long, value_name = "TARBALL", conflicts_with_all = ["root", "debian"])]
    import: Option<PathBuf>,
    /// Make the zone a minimal Debian of its own, with apt
    ///
    /// The host's apt fetches the packages from where it is configured to, without root and
    /// without a change of the host.
    #[arg(long, conflicts_with = "root")]
    debian: bool,
    /// Whether to rewrite programs and libraries, so that their system calls need no signal
    ///
    /// Copies of what the zone cannot write are made in the directory of zones. On if missing.
    #[arg(long, value_name = "on|off", value_parser = switch)]
    rewrite: Option<bool>,
    /// How system calls that need translation are delivered, where their site is not rewritten
    #[arg(long, value_name = "HOW", default_value = "signal")]
    trap: Trap,
    /// How far the zone's users are kept apart from one another
    #[arg(long, value_name = "HOW", default_value = "standard")]
    profile: Profile,
    /// Keep the last calls of the zone's programs at any time, for `zone trace NAME --last 10s`
    #[arg(long)]
    flight: bool,
    /// Show a directory of the host in the zone, read-only unless :rw is given
    #[arg(long, value_name = "HOST:ZONE[:ro|rw]")]
    bind: Vec<Bind>,
    /// Show a directory of the host that the zone changes for itself: the host's own is never touched
    ///
    /// What the zone changes lies in a layer of its own, which `zone diff` shows. With /usr a zone
    /// can install packages over the host's.
    #[arg(long, value_name = "HOST[:ZONE]")]
    cow: Vec<Cow>,
    /// Make a port of the zone reachable at a port of the host, on 127.0.0.1 unless ADDR is given
    #[arg(long, value_name = "[ADDR:]HPORT:ZPORT[/tcp|udp]", value_parser = super::publication)]
    publish: Vec<Publish>,
    /// Host name in the zone, instead of the zone's name
    #[arg(long, value_name = "NAME", value_parser = hostname)]
    hostname: Option<String>,
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("say on or off".to_owned()),
    }
}

fn hostname(text: &str) -> Result<String, String> {
    crate::config::check_hostname(text).map(|()| text.to_owned())
}

impl Options {
    pub(super) fn wanted(mut self) -> Result<Wanted> {
        if let Some(path) = self.import.take() {
            return self.imported(&path);
        }
        let (mut root, mut origin) = (None, self.debian.then_some(Origin::Debian));
        if let Some(path) = self.root {
            let path = path.canonicalize().map_err(|error| {
                Error::refused(
                    "use the root",
                    path.display(),
                    error,
                    "name the top directory of an unpacked distribution, or a tarball of one",
                )
            })?;
            match path.is_file() {
                true => origin = Some(Origin::Tarball(path)),
                false => root = Some(path),
            }
        }
        Ok(Wanted {
            hostname: self.hostname,
            root,
            origin,
            rewrite: self.rewrite,
            trap: self.trap,
            profile: self.profile,
            flight: self.flight,
            users: Users::default(),
            limits: Limits::default(),
            binds: self.bind,
            cows: self.cow,
            publications: self.publish,
        })
    }

    /// What an exported zone was like, and what else is said.
    fn imported(self, path: &Path) -> Result<Wanted> {
        let refuse = |cause: &dyn std::fmt::Display| {
            let remedy = "name a tarball of `zone export`; --root takes those of distributions";
            Error::refused("import", path.display(), cause, remedy)
        };
        let path = path.canonicalize().map_err(|error| refuse(&error))?;
        let config = tree::exported(&path)?.ok_or_else(|| refuse(&"it has no configuration"))?;
        let cows = config.cows().cloned().chain(self.cow).collect();
        Ok(Wanted {
            hostname: self.hostname.or(Some(config.hostname.clone())),
            root: None,
            origin: Some(match config.is_sparse() {
                true => Origin::Export(path),
                false => Origin::Tarball(path),
            }),
            rewrite: self.rewrite.or(Some(config.rewrite)),
            trap: match self.trap {
                Trap::Signal => config.trap,
                other @ Trap::Ptrace => other,
            },
            profile: match self.profile {
                Profile::Standard => config.profile,
                other @ Profile::Strict => other,
            },
            flight: self.flight || config.flight,
            users: config.users,
            limits: config.limits,
            binds: config.binds.into_iter().chain(self.bind).collect(),
            cows,
            publications: config
                .publications
                .into_iter()
                .chain(self.publish)
                .collect(),
        })
    }
}

impl Args {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        let outcome = lifecycle::create(home, &self.name, &self.options.wanted()?)?;
        let config = Zone::open(home, &self.name, "create")?.config()?;
        let (inside, outside) = (
            address::zone_v4(config.number),
            address::host_v4(config.number),
        );
        let done = match outcome {
            Outcome::Done(report) => {
                tracing::info!(?report, "tree made");
                "created"
            }
            Outcome::AlreadySo => "exists already",
        };
        print::text(&format!(
            "zone {} {done}: address {inside}, on the host {outside}\n",
            self.name
        ));
        Ok(0)
    }
}
