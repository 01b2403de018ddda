//! A program to run in a zone, as `zone login` and `zone run` describe it.

use crate::control::Exec;
use crate::error::{Doing, Error, Result};
use crate::terminal::{Ended, Signals, converse};
use crate::tree::within::Within;
use crate::zone::Zone;
use crate::zone::channel::Channel;
use picozone_syscalls::{ROWS, may_be_native};
use std::io::IsTerminal;
use std::path::Path;

/// How a program is run; options of both commands.
#[derive(clap::Args)]
#[group(id = "program-options")]
pub(super) struct Options {
    /// User of the zone to run as, by name or number
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Directory of the zone to start in; the user's home if missing
    #[arg(short = 'w', long = "workdir", value_name = "DIR")]
    directory: Option<String>,
    /// Set a variable of the environment
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Keep standard input connected; it always is, and the flag is there for people used to it
    #[arg(short, long)]
    interactive: bool,
    /// Give the program a terminal even if we have none
    #[arg(short, long)]
    tty: bool,
    /// Which of the program's calls traces and injected faults see
    #[arg(long, value_enum, default_value_t = Level::Translated)]
    level: Level,
    /// Numbers of native calls that are to come to the personality.
    #[arg(skip)]
    trapped: Vec<u32>,
}

/// Which calls come to the personality.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Level {
    /// Those that zones translate
    Translated,
    /// All of them, the kernel's own too, each of which takes some microseconds more then
    All,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("a variable is NAME=VALUE".to_owned()),
    }
}

/// A line of the zone's `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    name: String,
    uid: u32,
    home: String,
    shell: String,
}

impl Options {
    /// With native calls, by number, that are to come to the personality.
    pub(super) fn with_trapped(self, trapped: Vec<u32>) -> Self {
        Self { trapped, ..self }
    }

    /// Runs `command`, or the user's login shell where it is empty, in a running zone, whose monitor
    /// `channel` leads to.
    pub(super) fn run(
        self,
        zone: &Zone,
        channel: Channel,
        command: Vec<String>,
        signals: &Signals,
    ) -> Result<Ended> {
        let root = zone.config()?.root_dir(zone.dir());
        let within = Within::open(&root).doing("open", root.display())?;
        // A zone may do without the file; root can log in then.
        let passwd = within.read(Path::new("/etc/passwd")).unwrap_or_default();
        let account = find(
            &String::from_utf8_lossy(&passwd),
            self.user.as_deref().unwrap_or("root"),
        )
        .ok_or_else(|| {
            Error::refused(
                "log in to",
                format_args!(
                    "zone {} as {}",
                    zone.name(),
                    self.user.as_deref().unwrap_or("root")
                ),
                "the zone has no such user",
                format_args!(
                    "`zone login {} -- cat /etc/passwd` shows the users",
                    zone.name()
                ),
            )
        })?;
        let is_home_there = within.exists(Path::new(&account.home)).unwrap_or(true);
        let home = if is_home_there {
            account.home.as_str()
        } else {
            "/"
        };
        let has_terminal = self.tty || std::io::stdin().is_terminal();
        let argv = if command.is_empty() {
            vec![account.shell.clone(), "-l".to_owned()]
        } else {
            command
        };
        let exec = Exec {
            argv,
            env: environment(&account, has_terminal, self.env, |name| {
                std::env::var(name).ok()
            }),
            cwd: self.directory.unwrap_or_else(|| home.to_owned()),
            user: self.user,
            is_tty: has_terminal,
            trapped: match self.level {
                Level::Translated => self.trapped,
                Level::All => {
                    let all = ROWS.iter().map(|row| row.nr);
                    all.filter(|nr| may_be_native(*nr)).collect()
                }
            },
        };
        converse(zone, channel, exec, self.tty, signals)
    }
}

/// Finds an account by name or number; a number need not have one.
fn find(passwd: &str, user: &str) -> Option<Account> {
    let number = user.parse::<u32>().ok();
    let accounts = passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, _, _, home, shell] = fields[..] else {
            return None;
        };
        let or = |text: &str, other: &str| {
            if text.is_empty() {
                other.to_owned()
            } else {
                text.to_owned()
            }
        };
        Some(Account {
            name: name.to_owned(),
            uid: uid.parse().ok()?,
            home: or(home, "/"),
            shell: or(shell, "/bin/sh"),
        })
    });
    let matches = |account: &Account| account.name == user || Some(account.uid) == number;
    accounts.into_iter().find(matches).or_else(|| {
        let (name, uid, home) = match (user, number) {
            ("root", _) | (_, Some(0)) => ("root", 0, "/root"),
            (_, Some(uid)) => (user, uid, "/"),
            (_, None) => return None,
        };
        Some(Account {
            name: name.to_owned(),
            uid,
            home: home.to_owned(),
            shell: "/bin/sh".to_owned(),
        })
    })
}

/// The environment that login(1) gives: nothing of ours but the terminal and the language.
fn environment(
    account: &Account,
    has_terminal: bool,
    set: Vec<(String, String)>,
    ours: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let path = match account.uid {
        0 => "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        _ => "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games",
    };
    let mut variables = vec![
        ("PATH".to_owned(), path.to_owned()),
        ("HOME".to_owned(), account.home.clone()),
        ("USER".to_owned(), account.name.clone()),
        ("LOGNAME".to_owned(), account.name.clone()),
        ("SHELL".to_owned(), account.shell.clone()),
        (
            "LANG".to_owned(),
            ours("LANG").unwrap_or_else(|| "C.UTF-8".to_owned()),
        ),
    ];
    if has_terminal {
        variables.push((
            "TERM".to_owned(),
            ours("TERM").unwrap_or_else(|| "dumb".to_owned()),
        ));
    }
    for (name, value) in set {
        variables.retain(|(other, _)| *other != name);
        variables.push((name, value));
    }
    variables
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\nbad\nx:x:7:7:::\n";

    #[test]
    fn accounts_by_name_and_number() {
        assert_eq!(
            find(PASSWD, "www-data").map(|a| a.home),
            Some("/var/www".to_owned())
        );
        assert_eq!(
            find(PASSWD, "33").map(|a| a.name),
            Some("www-data".to_owned())
        );
        assert_eq!(
            find(PASSWD, "x").map(|a| (a.home, a.shell)),
            Some(("/".to_owned(), "/bin/sh".to_owned()))
        );
        assert_eq!(find(PASSWD, "4711").map(|a| a.uid), Some(4711));
        assert_eq!(find(PASSWD, "alice"), None);
        assert_eq!(find("", "root").map(|a| a.home), Some("/root".to_owned()));
    }

    #[test]
    fn the_environment_is_the_accounts() {
        let account = find(PASSWD, "root").expect("there");
        let ours = |name: &str| match name {
            "TERM" => Some("xterm".to_owned()),
            "SECRET" => Some("secret".to_owned()),
            _ => None,
        };
        let set = vec![("LANG".to_owned(), "de_DE".to_owned())];
        let result = environment(&account, true, set, ours);
        assert!(
            result.contains(&"HOME=/root".to_owned()) && result.contains(&"TERM=xterm".to_owned())
        );
        assert!(
            result.contains(&"LANG=de_DE".to_owned())
                && !result.contains(&"LANG=C.UTF-8".to_owned())
        );
        assert!(!result.iter().any(|row| row.contains("secret")));
        assert!(variable("A=b=c").is_ok() && variable("=x").is_err() && variable("A").is_err());
    }
}
