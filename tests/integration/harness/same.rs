//! The same job natively and in a zone.

use super::base::Base;
use super::job::{Job, Output, standard_environment};
use super::mode::Mode;
use super::skip;
use super::zone::Zone;
use nix::unistd::{getegid, geteuid};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// Lists what a directory holds: path, kind, mode, link target; and what is in its files.
const MANIFEST: &str = "find . -name \"$0\" -prune -o -printf '%P %y %m %l\\n' | sort; \
    find . -name \"$0\" -prune -o -type f -print0 | sort -z | xargs -0 -r sha256sum";

/// Runs `job` natively and in a zone of `mode`, each in a fresh directory of the same path, and
/// panics where they differ in output, exit status or (if asked for) files.
///
/// Natively it runs as we are. Where that is not root, it runs in the zone as a user of the same
/// number.
pub(crate) fn same(module: &'static str, name: &str, mode: Mode, job: &Job) {
    if let Some(missing) = job.needs.iter().find(|program| !is_installed(program)) {
        skip(
            &format!("{module}::{name} as {}", mode.name()),
            &format!("{missing} is not installed"),
        );
        return;
    }
    let zone = Zone::shared(module, mode);
    let dir = Base::get().work();
    fs::create_dir(&dir).expect("a directory");
    make_within(&zone, &dir);

    let mut job = job.clone();
    for (name, value) in standard_environment() {
        job = job.env(name, value);
    }
    job = job.env("HOME", &dir).dir(&dir);
    let in_zone = |job: &Job| match geteuid() {
        uid if uid.is_root() => job.within(&zone),
        uid => job.clone().user(&uid.to_string()).within(&zone),
    };
    let native = job.natively();
    let zoned = in_zone(&job);
    compare("the program", &native, &zoned);
    if let Some(but) = &job.files {
        let script = [OsStr::new("sh"), "-c".as_ref(), MANIFEST.as_ref()];
        let manifest = Job::new(script).arg(but).dir(&dir);
        let native = manifest.natively();
        native.succeeded();
        compare("its files", &native, &manifest.within(&zone));
    }
}

fn make_within(zone: &Zone, dir: &Path) {
    let owner = format!("{}:{}", geteuid(), getegid());
    let script = "umask 022 && mkdir -p \"$0\" && chown \"$1\" \"$0\"";
    Job::new(["sh", "-c", script])
        .arg(dir)
        .arg(owner)
        .within(zone)
        .succeeded();
}

fn compare(what: &str, native: &Output, zoned: &Output) {
    let is_equal = native.status == zoned.status && native.stdout == zoned.stdout;
    assert!(
        is_equal,
        "{what} differs:\n{}natively: {native}\nin the zone: {zoned}",
        difference(native, zoned)
    );
}

/// The lines that differ, as far as their order is the same.
fn difference(native: &Output, zoned: &Output) -> String {
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let (native, zoned) = (text(native), text(zoned));
    let (left, right): (Vec<&str>, Vec<&str>) = (native.lines().collect(), zoned.lines().collect());
    let mut shown = String::new();
    for index in 0..left.len().max(right.len()) {
        let (a, b) = (left.get(index), right.get(index));
        if a != b {
            let show =
                |line: Option<&&str>| line.map_or("(end)".to_owned(), |line| (*line).to_owned());
            shown += &format!(
                "line {}\n  natively    {}\n  in the zone {}\n",
                index + 1,
                show(a),
                show(b)
            );
        }
    }
    shown
}

fn is_installed(program: &str) -> bool {
    let [(_, path), ..] = standard_environment();
    path.split(':')
        .any(|dir| Path::new(dir).join(program).exists())
}
