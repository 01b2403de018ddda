//! The oracle of most tests: what the same program does natively.

use super::{Account, LIMIT, Output, PATH, Zone, run};
use std::collections::VecDeque;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A script that must do the same natively and in a zone, as root or as an ordinary user on both
/// sides.
///
/// It runs in an empty directory of the same name on both sides. Its standard output, standard
/// error and exit status are compared, and afterwards the whole directory: names, types, modes,
/// sizes, links and contents.
pub struct Same<'a> {
    zone: &'a Zone<'a>,
    /// The user on both sides.
    user: Account,
    work: PathBuf,
    shell: &'a str,
    unlike: &'a [&'a str],
    /// Which calls in the zone come to the personality.
    level: &'a str,
}

impl<'a> Same<'a> {
    /// Compares in this zone, by scripts of sh.
    pub fn new(zone: &'a Zone<'a>) -> Self {
        Self::by(zone, Account::own())
    }

    /// As [`Same::new`], by another user than the one who runs the tests.
    pub fn by(zone: &'a Zone<'a>, user: Account) -> Self {
        let work = zone.home().place().work();
        std::os::unix::fs::chown(&work, Some(user.uid), Some(user.gid)).expect("ours");
        user.be_in(zone);
        let script = format!("mkdir -p \"$0\" && chown {}: \"$0\"", user.name);
        zone.run(&[Path::new("sh"), Path::new("-c"), Path::new(&script), &work])
            .ok();
        Self {
            zone,
            user,
            work,
            shell: "sh",
            unlike: &[],
            level: "translated",
        }
    }

    /// Uses another shell.
    pub fn shell(mut self, shell: &'a str) -> Self {
        self.shell = shell;
        self
    }

    /// Has native calls come to the personality too.
    pub fn with_all_calls(mut self) -> Self {
        self.level = "all";
        self
    }

    /// Leaves out what lies below these names of the directory.
    pub fn but(mut self, unlike: &'a [&'a str]) -> Self {
        self.unlike = unlike;
        self
    }

    /// The directory, by its name on both sides.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// The directory of the zone's side, as the host names it.
    pub fn work_in_zone(&self) -> PathBuf {
        let below = self.work.strip_prefix("/").expect("it is absolute");
        self.zone.root().join(below)
    }

    /// Runs the script on both sides, compares, and gives what both did.
    ///
    /// # Panics
    /// They differ.
    #[track_caller]
    pub fn check(&self, script: &str) -> Output {
        let mut command = native(&self.user, self.shell, script);
        let natively = run(command.current_dir(&self.work), LIMIT);
        let mut command = self.login();
        command.args(["--env", "HOME=/nonexistent", "--"]);
        let in_zone = run(command.args([self.shell, "-c", script]), LIMIT);
        if natively != in_zone {
            let [natively, in_zone] = where_they_differ(natively, in_zone);
            panic!(
                "natively, but for the first and last lines that both have, {natively:?}
in the zone {in_zone:?}\ndiffers this script: {script}"
            );
        }
        let list = format!("{} | LC_ALL=C sort", self.find());
        let mut command = native(&self.user, "sh", &list);
        let listed = run(command.current_dir(&self.work), LIMIT).ok();
        let natively_left = describe(&self.work, &listed);
        let mut command = self.login();
        let listed = run(command.args(["--", "sh", "-c", &list]), LIMIT).ok();
        let zone_left = describe(&self.work_in_zone(), &listed);
        let [left, left_in_zone] = without_common_lines([natively_left, zone_left]);
        assert!(
            left == left_in_zone,
            "left natively, but for what both begin and end with:\n{left}
in the zone:\n{left_in_zone}by this script: {script}"
        );
        natively
    }

    /// The command line up to its options, in the zone's directory.
    fn login(&self) -> Command {
        let arguments = ["login", self.zone.name(), "--user", &self.user.name];
        let mut command = self.zone.home().command(&arguments);
        command.arg("--workdir").arg(&self.work);
        command.args(["--env", &format!("PATH={PATH}")]);
        command.args(["--level", self.level]);
        command
    }

    /// Names, types, modes and links, as each side sees them.
    fn find(&self) -> String {
        let mut find = "find .".to_owned();
        for name in self.unlike {
            let _ = write!(find, " -path './{name}' -prune -o");
        }
        find + r" -printf '%P %y %m %l\n'"
    }
}

/// Both without the lines that they begin and end with in common: what is left is short enough to be read
/// where a whole suite has failed.
fn where_they_differ(one: Output, other: Output) -> [Output; 2] {
    let [stdout, other_stdout] = without_common_lines([one.stdout, other.stdout]);
    let [stderr, other_stderr] = without_common_lines([one.stderr, other.stderr]);
    let output = |status, stdout, stderr| Output {
        status,
        stdout,
        stderr,
    };
    [
        output(one.status, stdout, stderr),
        output(other.status, other_stdout, other_stderr),
    ]
}

fn without_common_lines(texts: [String; 2]) -> [String; 2] {
    let mut lines = texts
        .each_ref()
        .map(|text| text.split_inclusive('\n').collect::<VecDeque<_>>());
    let [one, other] = &mut lines;
    while one.front().is_some() && one.front() == other.front() {
        one.pop_front();
        other.pop_front();
    }
    while one.back().is_some() && one.back() == other.back() {
        one.pop_back();
        other.pop_back();
    }
    lines.map(|lines| lines.into_iter().collect())
}

/// The list with the contents of its files, which the host can read on both sides.
fn describe(dir: &Path, listed: &str) -> String {
    let mut text = String::new();
    for line in listed.lines() {
        let mut fields = line.split(' ');
        let (name, kind) = (fields.next().unwrap_or(""), fields.next());
        let mode = fields
            .next()
            .and_then(|mode| u32::from_str_radix(mode, 8).ok());
        let _ = writeln!(text, "{line}");
        // What its owner may not read, the host's file of it lets read: the zone's mode is not its own.
        let is_readable = super::am_root() || mode.is_some_and(|mode| mode & 0o400 != 0);
        if kind == Some("f") && is_readable {
            let bytes = std::fs::read(dir.join(name)).unwrap_or_default();
            let _ = writeln!(text, "  {}", bytes.escape_ascii());
        }
    }
    text
}

/// A script run by the host in the environment that a zone gives to its user.
pub fn native(user: &Account, shell: &str, script: &str) -> Command {
    let mut command = Command::new(shell);
    command.args(["-c", script]).env_clear().env("PATH", PATH);
    command.env("HOME", "/nonexistent").env("LANG", "C.UTF-8");
    command.env("USER", &user.name).env("LOGNAME", &user.name);
    command.env("SHELL", "/bin/bash");
    super::process_unsafe::take_role(&mut command, super::Role::Root, user.change());
    command
}
