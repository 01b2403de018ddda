//! As whom the command line is run.

use super::{Home, Place, are_all_traced, skip};
use std::process::Command;
use std::sync::OnceLock;

/// The system user that stands for an ordinary user where the tests run as root.
const ACCOUNT: &str = "picozone-test";

/// As whom the command line is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// As root.
    Root,
    /// As an ordinary user: ourselves, or [`ACCOUNT`] if we are root.
    User,
    /// As an ordinary user whom the kernel grants no name spaces and no ptrace(2).
    Confined,
}

impl Role {
    /// Runs a test body with a home of its own.
    pub fn run(self, what: &str, body: impl FnOnce(&Home)) {
        if self == Self::Root && !am_root() {
            skip(&format!("{what} as root"), "the tests do not run as root");
            return;
        }
        if self == Self::Confined && are_all_traced(&format!("{what} without ptrace(2)")) {
            return;
        }
        body(&Home::new(self, Place::get()));
    }

    /// User and group to become, if we are not what the role wants.
    pub fn account(self) -> Option<(u32, u32)> {
        (self != Self::Root && am_root()).then(account)
    }
}

/// Whether the tests run as root.
pub fn am_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// User and group number of [`ACCOUNT`], which is made if it is missing.
fn account() -> (u32, u32) {
    static FOUND: OnceLock<(u32, u32)> = OnceLock::new();
    let find = || {
        let user = nix::unistd::User::from_name(ACCOUNT).expect("the accounts can be read");
        user.map(|user| (user.uid.as_raw(), user.gid.as_raw()))
    };
    *FOUND.get_or_init(|| {
        find().unwrap_or_else(|| {
            // It may fail as other tests make the account at this moment; then it is there.
            let _ = Command::new("useradd")
                .args(["--system", "--user-group", "--no-create-home"])
                .args(["--shell", "/usr/sbin/nologin", ACCOUNT])
                .status();
            find().expect("useradd has made the account")
        })
    })
}
