//! A program to run in a zone, as `zone login` and `zone run` describe it.

use crate::control::{Exec, Word};
use crate::error::{Doing, Error, Result};
use crate::terminal::{Ended, Signals, converse};
use crate::tree::within::Within;
use crate::zone::Zone;
use crate::zone::channel::Channel;
use clap::builder::{OsStringValueParser, TypedValueParser};
use picozone_syscalls::{ROWS, may_be_native};
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
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
    directory: Option<OsString>,
    /// Set a variable of the environment
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = OsStringValueParser::new().try_map(variable))]
    env: Vec<(OsString, OsString)>,
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

fn variable(text: OsString) -> Result<(OsString, OsString), String> {
    let bytes = text.as_bytes();
    match bytes.iter().position(|&byte| byte == b'=') {
        Some(at) if at > 0 && !bytes.contains(&0) => {
            let part = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
            Ok((part(&bytes[..at]), part(&bytes[at + 1..])))
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
        command: Vec<OsString>,
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
            vec![account.shell.as_str().into(), "-l".into()]
        } else {
            command.into_iter().map(Word::from).collect()
        };
        let exec = Exec {
            argv,
            env: environment(&account, has_terminal, self.env, |name| {
                std::env::var_os(name)
            }),
            cwd: self.directory.map_or_else(|| home.into(), Word::from),
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
    set: Vec<(OsString, OsString)>,
    ours: impl Fn(&str) -> Option<OsString>,
) -> Vec<Word> {
    let path = match account.uid {
        0 => "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        _ => "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games",
    };
    let mut variables: Vec<(OsString, OsString)> = vec![
        ("PATH".into(), path.into()),
        ("HOME".into(), account.home.clone().into()),
        ("USER".into(), account.name.clone().into()),
        ("LOGNAME".into(), account.name.clone().into()),
        ("SHELL".into(), account.shell.clone().into()),
        (
            "LANG".into(),
            ours("LANG").unwrap_or_else(|| "C.UTF-8".into()),
        ),
    ];
    if has_terminal {
        let term = ours("TERM").unwrap_or_else(|| "dumb".into());
        variables.push(("TERM".into(), term));
    }
    for (name, value) in set {
        variables.retain(|(other, _)| *other != name);
        variables.push((name, value));
    }
    variables
        .into_iter()
        .map(|(name, value)| [name.as_bytes(), value.as_bytes()].join(&b'='))
        .map(|entry| OsString::from_vec(entry).into())
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
            "TERM" => Some("xterm".into()),
            "SECRET" => Some("secret".into()),
            _ => None,
        };
        let set = vec![("LANG".into(), "de_DE".into())];
        let result = environment(&account, true, set, ours);
        let has = |entry: &str| result.contains(&Word::from(entry));
        assert!(has("HOME=/root") && has("TERM=xterm"));
        assert!(has("LANG=de_DE") && !has("LANG=C.UTF-8"));
        assert!(!has("SECRET=secret"));
        let variable = |text: &str| variable(text.into());
        assert!(variable("A=b=c").is_ok() && variable("=x").is_err() && variable("A").is_err());
    }
}
