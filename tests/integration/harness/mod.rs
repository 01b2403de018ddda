//! Surroundings of the tests.
//!
//! - [`Job`]: a program with its input, directory and time limit; it runs natively, or in a zone.
//! - [`Zone`]: a booted zone that is halted and deleted when dropped, after a panic too. It is a
//!   test's own, or shared by the tests of one module and mode until the run ends.
//! - [`Mode`]: who runs the command line.
//! - [`in_zones!`], [`in_own_zones!`]: a body becomes one test a mode. [`same!`]: a job becomes
//!   one test a mode, which holds that it does in a zone what it does natively.
//!
//! What cannot run here is skipped with a line on the standard error that libtest does not hold
//! back.

mod base;
mod job;
mod mode;
mod same;
mod zone;

pub(crate) use self::{
    job::{Job, guest, sh},
    mode::Mode,
    same::same,
    zone::Zone,
};

use std::io::Write;

/// Says why `what` does not run here.
pub(crate) fn skip(what: &str, reason: &str) {
    // Not by `eprintln`, which libtest captures.
    let _ = writeln!(std::io::stderr(), "SKIPPED {what}: {reason}");
}

/// Runs each body in each mode, in a zone shared with the module's other tests.
///
/// `in_zones! { fn name(zone) { ... } }` makes the tests `name::root`, `name::user` and
/// `name::confined`.
macro_rules! in_zones {
    ($($(#[$meta:meta])* fn $name:ident($zone:ident) $body:block)*) => { $(
        each_mode! { $(#[$meta])* $name, |mode| {
            let zone = $crate::harness::Zone::shared(module_path!(), mode);
            let $zone: &$crate::harness::Zone = &zone;
            $body
        } }
    )* };
}

/// As [`in_zones!`], with a zone of its own for each test.
macro_rules! in_own_zones {
    ($($(#[$meta:meta])* fn $name:ident($zone:ident) $body:block)*) => { $(
        each_mode! { $(#[$meta])* $name, |mode| {
            let zone = $crate::harness::Zone::own(mode);
            let $zone: &$crate::harness::Zone = &zone;
            $body
        } }
    )* };
}

/// Each `name = JOB;` becomes a test a mode: the job must do in a zone what it does natively.
macro_rules! same {
    ($($(#[$meta:meta])* $name:ident = $job:expr;)*) => { $(
        each_mode! { $(#[$meta])* $name, |mode| {
            $crate::harness::same(module_path!(), stringify!($name), mode, &$job);
        } }
    )* };
}

/// Makes one test a mode of a body that gets the mode.
macro_rules! each_mode {
    ($(#[$meta:meta])* $name:ident, |$mode:ident| $body:block) => {
        $(#[$meta])*
        fn $name($mode: $crate::harness::Mode) $body

        mod $name {
            fn run(mode: $crate::harness::Mode) {
                if mode.is_there(module_path!()) {
                    super::$name(mode);
                }
            }
            #[test]
            fn root() {
                run($crate::harness::Mode::Root);
            }
            #[test]
            fn user() {
                run($crate::harness::Mode::User);
            }
            #[test]
            fn confined() {
                run($crate::harness::Mode::Confined);
            }
        }
    };
}
