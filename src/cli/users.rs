//! `zone users`.

use super::print;
use crate::config::IdKind;
use crate::control::{Reply, Request, Running};
use crate::error::{Doing, Result};
use crate::home::Home;
use crate::tree::within::Within;
use crate::zone::{Name, Zone, runner};
use serde::Serialize;
use std::path::Path;

/// Show the users of a zone: who runs in it, and their ids on the host
#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of the zone
    #[arg(value_parser = super::name)]
    name: Name,
    /// Show JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Shown {
    /// Ranges of the map of users and of groups, as they are configured.
    uids: Vec<String>,
    gids: Vec<String>,
    /// Who every other user of the host is in the zone.
    squash: u32,
    /// The user of the host who runs the zone, as the kernel sees all its programs.
    host_uid: u32,
    users: Vec<User>,
}

#[derive(Serialize)]
struct User {
    name: Option<String>,
    uid: u32,
    /// By the map.
    host_uid: Option<u32>,
    processes: usize,
}

impl Args {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        let zone = Zone::open(home, &self.name, "show the users of")?;
        let config = zone.config()?;
        let is_up = zone.observe()?.state.is_up();
        let running = match is_up {
            true => ask(&zone)?,
            false => Vec::new(),
        };
        let root = config.root_dir(zone.dir());
        let within = Within::open(&root).doing("open", root.display())?;
        let passwd = within.read(Path::new("/etc/passwd")).unwrap_or_default();
        let passwd = String::from_utf8_lossy(&passwd);
        let own = match runner::of(&self.name, &config)? {
            Some((uid, _)) => uid,
            None => nix::unistd::geteuid().as_raw(),
        };
        let map = config.users.map(IdKind::User, own);
        let is_mapped = map.is_closed == 1;
        let texts = |kind| config.users.ranges(kind).map(ToString::to_string).collect();
        let shown = Shown {
            uids: texts(IdKind::User),
            gids: texts(IdKind::Group),
            squash: map.other,
            host_uid: own,
            users: running
                .iter()
                .map(|row| User {
                    name: name_of(&passwd, row.uid),
                    uid: row.uid,
                    host_uid: map.to_host(row.uid).filter(|_| is_mapped),
                    processes: row.processes,
                })
                .collect(),
        };
        if self.json {
            print::json(&shown);
        } else {
            print_all(&self.name, &shown, is_up);
        }
        Ok(0)
    }
}

fn ask(zone: &Zone) -> Result<Vec<Running>> {
    match zone.ask("show the users of", &Request::Users)? {
        Reply::Users { users } => Ok(users),
        other => Err(super::ports::unexpected(zone, &other)),
    }
}

fn name_of(passwd: &str, uid: u32) -> Option<String> {
    let mut lines = passwd.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        let name = fields.next()?;
        let found = fields.nth(1)?.parse::<u32>().ok()?;
        (found == uid).then(|| name.to_owned())
    })
}

fn print_all(name: &Name, shown: &Shown, is_up: bool) {
    let map = |kind: &str, ranges: &[String]| match ranges {
        [] => format!("{kind} have no map"),
        ranges => format!("{kind} {}, others {}", ranges.join(", "), shown.squash),
    };
    print::text(&format!(
        "zone {name}: {}; {}; to the kernel all are user {}\n",
        map("users", &shown.uids),
        map("groups", &shown.gids),
        shown.host_uid
    ));
    if !is_up {
        return;
    }
    let titles = ["USER", "UID", "MAPPED TO", "PROCESSES"].map(str::to_owned);
    let lines = shown.users.iter().map(|user| {
        [
            user.name.clone().unwrap_or_else(|| "-".to_owned()),
            user.uid.to_string(),
            user.host_uid
                .map_or_else(|| "-".to_owned(), |id| id.to_string()),
            user.processes.to_string(),
        ]
    });
    print::table(&std::iter::once(titles).chain(lines).collect::<Vec<_>>());
}
