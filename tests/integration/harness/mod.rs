//! Homes with zones of their own, programs with a time limit, and the roles they run in.
//!
//! Key types are [`Home`], a `PICOZONE_HOME` whose zones go with it, and [`Zone`], one of them.
//! Deliberately absent are fixed sleeps: [`eventually`] asks until the answer is yes.

mod account;
mod home;
mod place;
mod process;
mod process_unsafe;
mod role;
mod same;
mod screen;

pub use account::Account;
pub use home::{Home, Zone};
pub use place::Place;
use process::shell_status;
pub use process::{Output, Running, run, start};
pub use role::{Role, am_root};
pub use same::{Same, native};
pub use screen::Screen;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where programs are looked for, natively and in zones: what `zone login` gives to root.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long one command may take on a machine that is busy with other tests.
pub const LIMIT: Duration = Duration::from_secs(240);

/// Makes one test of each function for root and one for an ordinary user.
macro_rules! in_each_role {
    ($($body:ident),* $(,)?) => {
        mod as_root { $(
            #[test]
            fn $body() {
                $crate::harness::Role::Root.run(stringify!($body), super::$body);
            }
        )* }
        mod as_user { $(
            #[test]
            fn $body() {
                $crate::harness::Role::User.run(stringify!($body), super::$body);
            }
        )* }
    };
}
pub(crate) use in_each_role;

/// Makes one test of each function for an ordinary user without user namespaces and ptrace(2).
macro_rules! confined {
    ($($body:ident),* $(,)?) => {
        mod confined { $(
            #[test]
            fn $body() {
                $crate::harness::Role::Confined.run(stringify!($body), super::$body);
            }
        )* }
    };
}
pub(crate) use confined;

/// Says why something is not tested here, past the capture of the test runner.
pub fn skip(what: &str, reason: &str) {
    let line = format!("SKIPPED {what}: {reason}\n");
    // A test must not fail for want of a standard error.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Finds a program where zones find it, too; without it the test is skipped.
pub fn program(what: &str, name: &str) -> Option<PathBuf> {
    let found = PATH
        .split(':')
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.exists());
    if found.is_none() {
        skip(what, &format!("this machine has no {name}"));
    }
    found
}

/// A program of `tests/guests`, which is built with all else of the workspace.
///
/// # Panics
/// If it is not there.
pub fn guest(name: &str) -> PathBuf {
    let zone = Path::new(env!("CARGO_BIN_EXE_zone"));
    let path = zone.with_file_name(name);
    assert!(
        path.exists(),
        "{name} is missing: cargo build -p picozone-guests"
    );
    path
}

/// Copies a program.
///
/// Never by ourselves: what another test forks meanwhile would have the copy open for writing until
/// its execve(2), and whoever runs the copy in that moment gets ETXTBSY.
#[track_caller]
pub fn copy_program(from: &Path, to: &Path) {
    let mut cp = std::process::Command::new("cp");
    run(cp.args([from, to]), LIMIT).ok();
}

/// A program of `tests/guests` that is text.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/guests")
        .join(name)
}

/// Does the same in several zones at once.
///
/// # Panics
/// It failed in one of them.
pub fn at_once(zones: &[Zone<'_>], body: impl Fn(&Zone<'_>) + Sync) {
    std::thread::scope(|scope| {
        let body = &body;
        for zone in zones {
            scope.spawn(move || body(zone));
        }
    });
}

/// Asks until the answer is there, for things that happen a moment later.
///
/// # Panics
/// When it does not come in [`LIMIT`].
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "never so: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether all zones of this run have their calls delivered by a tracer; what cannot be so there is
/// skipped.
pub fn are_all_traced(what: &str) -> bool {
    let are = std::env::var("PICOZONE_TEST_TRAP").is_ok_and(|how| how == "ptrace");
    if are {
        skip(what, "a tracer delivers the calls");
    }
    are
}

/// Whether all zones of this run keep their users apart whatever code they run (`--profile strict`).
pub fn are_all_strict() -> bool {
    std::env::var("PICOZONE_TEST_PROFILE").is_ok_and(|profile| profile == "strict")
}
