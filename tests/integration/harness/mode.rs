//! Who runs the command line.

use super::base::Base;
use super::skip;
use nix::unistd::{Gid, Uid, User, getegid, geteuid};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

/// The account that stands for an ordinary user where we are root.
const ACCOUNT: &str = "picozone-test";

/// Who runs the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// Root, with all that a host gives it.
    Root,
    /// An ordinary user: ourselves, or a system account where we are root.
    User,
    /// The same where user namespaces and ptrace(2) are forbidden.
    Confined,
}

impl Mode {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Root, Self::User, Self::Confined];

    /// The name of the mode, and of the directory of its zones.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::User => "user",
            Self::Confined => "confined",
        }
    }

    /// Whether the mode can be had here; if not, says so for the test `what`.
    pub(crate) fn is_there(self, what: &str) -> bool {
        let reason = match self {
            Self::Root if geteuid().is_root() => return true,
            Self::Root => "we are not root".to_owned(),
            Self::User | Self::Confined => match ordinary() {
                Ok(_) => return true,
                Err(reason) => reason.clone(),
            },
        };
        skip(&format!("{what} as {}", self.name()), &reason);
        false
    }

    /// The ids of the mode.
    pub(crate) fn ids(self) -> (Uid, Gid) {
        match self {
            Self::Root => (geteuid(), getegid()),
            Self::User | Self::Confined => *ordinary().as_ref().expect("asked by is_there"),
        }
    }

    /// A command that runs `argv` as the mode, with an empty environment.
    pub(crate) fn command(self, argv: &[OsString]) -> Command {
        let mut command = match self {
            Self::Root | Self::User => Command::new(&argv[0]),
            Self::Confined => {
                let mut command = Command::new(Base::get().guest("confine"));
                command.arg(&argv[0]);
                command
            }
        };
        command.args(&argv[1..]).env_clear();
        if geteuid().is_root() && self != Self::Root {
            let (uid, gid) = self.ids();
            // The library clears the supplementary groups then.
            command.uid(uid.as_raw()).gid(gid.as_raw());
        }
        command
    }
}

/// The ids of the ordinary user, or why there is none.
fn ordinary() -> &'static Result<(Uid, Gid), String> {
    static FOUND: OnceLock<Result<(Uid, Gid), String>> = OnceLock::new();
    FOUND.get_or_init(|| {
        if !geteuid().is_root() {
            return Ok((geteuid(), getegid()));
        }
        if let Some(ids) = account() {
            return Ok(ids);
        }
        let made = Command::new("useradd")
            .args(["--system", "--user-group", "--no-create-home"])
            .args(["--shell", "/usr/sbin/nologin", ACCOUNT])
            .output();
        // Another run of the tests may have been first.
        account().ok_or_else(|| match made {
            Ok(output) => format!(
                "useradd {ACCOUNT}: {}",
                String::from_utf8_lossy(&output.stderr).trim_end()
            ),
            Err(error) => format!("useradd {ACCOUNT}: {error}"),
        })
    })
}

fn account() -> Option<(Uid, Gid)> {
    let user = User::from_name(ACCOUNT).ok().flatten()?;
    Some((user.uid, user.gid))
}
