//! Zones under strain: guests killed at any moment, a monitor that stops, boots cut short, births
//! and boots without number, limits reached. Nothing is lost and nothing is left behind.
//!
//! What chance decides is printed as a seed, and so is what was held before and after. With
//! `PICOZONE_TEST_FULL` in the environment the long counts are run: ten thousand births, a thousand
//! boots; docs/PROGRAMS.md has the figures of such a run.

use crate::harness::{self, Home, LIMIT, Same, Zone, confined, eventually, in_each_role};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use picozone_personality::commons::{Commons, Process, ZONE_PID_LIMIT, state};
use std::collections::BTreeSet;
use std::fs;
use std::mem::{offset_of, size_of};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

in_each_role!(
    guests_are_killed_anywhere,
    the_monitor_is_stopped,
    boots_are_killed_anywhere,
    busy_monitors_are_killed_anywhere,
    births_leave_nothing,
    boots_and_halts_leave_nothing,
    a_table_full_of_the_dead,
    limits_of_one_process,
    one_zone_is_exhausted,
    an_idle_zone_is_small,
);
confined!(guests_are_killed_anywhere, the_monitor_is_stopped);

/// One count for every run, another where there is time.
fn rounds(short: u64, full: u64) -> u64 {
    if std::env::var_os("PICOZONE_TEST_FULL").is_some() {
        full
    } else {
        short
    }
}

/// A seed that is printed, so that a failure tells it.
fn seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = u64::from(since.expect("the clock is right").subsec_nanos()) | 1;
    println!("seed {seed}");
    seed
}

/// Numbers that a seed determines (xorshift).
fn below(chance: &mut u64, end: u64) -> u64 {
    *chance ^= *chance << 13;
    *chance ^= *chance >> 7;
    *chance ^= *chance << 17;
    *chance % end
}

/// Puts a guest program into the directory /srv of a zone.
fn put(zone: &Zone<'_>, guest: &str) {
    harness::copy_program(&harness::guest(guest), &zone.root().join("srv/guest"));
}

/// What a running zone's monitor and guardian hold.
#[derive(Debug)]
struct Held {
    descriptors: usize,
    threads: usize,
    /// Anonymous memory in KiB.
    memory: u64,
    /// Of the guardian: descriptors, and anonymous memory in KiB.
    guardian: (usize, u64),
    /// Files in the zone's `run`.
    files: usize,
    /// Entries of the table of processes that stand for a living one.
    entries: usize,
    processes: u64,
}

impl Held {
    fn now(zone: &Zone<'_>) -> Self {
        let monitor = zone.monitor();
        let guardian = parent(monitor).expect("it lives");
        let run = zone.root().with_file_name("run");
        // Whoever lists /proc removes what stands there for processes that are gone.
        zone.sh("ls /proc >/dev/null");
        let row = zone.home().listed(zone.name()).expect("it is listed");
        Self {
            descriptors: count(monitor, "fd"),
            threads: count(monitor, "task"),
            memory: anonymous_memory(monitor),
            guardian: (count(guardian, "fd"), anonymous_memory(guardian)),
            files: files(&run).0.len(),
            entries: Table::of(monitor).live(),
            processes: row["processes"].as_u64().expect("it runs"),
        }
    }

    /// The same once every thread of the monitor has served something: each has memory of its own
    /// from then on, and some begin with their first work.
    fn warm(zone: &Zone<'_>) -> Self {
        zone.sh(
            "for i in $(seq 24); do (cat /proc/*/status /proc/*/maps /etc/passwd; ls /dev | wc -l; sleep 0; /bin/true) & done >/dev/null 2>&1; wait",
        );
        Self::now(zone)
    }

    /// Nothing more is held than before, after a moment.
    #[track_caller]
    fn is_back(&self, zone: &Zone<'_>) {
        const GROWTH_KIB: u64 = 1536;
        const GUARDIAN_KIB: u64 = 64;
        let mut now = Self::now(zone);
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !(now.descriptors <= self.descriptors
            && now.threads <= self.threads
            && now.entries <= self.entries
            && now.processes <= self.processes
            && now.files <= self.files
            && now.guardian.0 <= self.guardian.0
            && now.guardian.1 <= self.guardian.1 + GUARDIAN_KIB
            && now.memory <= self.memory + GROWTH_KIB)
        {
            assert!(
                std::time::Instant::now() < deadline,
                "more is held: {now:?}, before: {self:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
            now = Self::now(zone);
        }
        println!("before {self:?}\nafter {now:?}");
    }
}

/// Entries of a directory of a process.
fn count(pid: i32, what: &str) -> usize {
    let entries = fs::read_dir(format!("/proc/{pid}/{what}"));
    entries.expect("it runs").count()
}

/// In KiB.
fn anonymous_memory(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let mut lines = status.lines();
    let memory = lines.find_map(|line| line.strip_prefix("RssAnon:"));
    let memory = memory.and_then(|rest| rest.trim().strip_suffix(" kB"));
    memory.expect("it is told").parse().expect("a number")
}

/// A zone's commons, which its monitor holds as a descriptor.
struct Table(fs::File);

impl Table {
    fn of(monitor: i32) -> Self {
        let entries = fs::read_dir(format!("/proc/{monitor}/fd")).expect("it runs");
        let commons = entries.flatten().map(|entry| entry.path()).find(|path| {
            let link = fs::read_link(path).unwrap_or_default();
            link.to_string_lossy().starts_with("/memfd:commons")
        });
        Self(fs::File::open(commons.expect("it holds them")).expect("we may open them"))
    }

    fn word(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        let read = self.0.read_exact_at(&mut bytes, at as u64);
        read.expect("they are as long");
        u32::from_ne_bytes(bytes)
    }

    /// A word of the entry of a number.
    fn of_entry(&self, number: u32, field: usize) -> u32 {
        let at = number as usize * size_of::<Process>() + field;
        self.word(offset_of!(Commons, processes) + at)
    }

    /// How many entries stand for living processes.
    fn live(&self) -> usize {
        let end = self.word(offset_of!(Commons, pid_end)).min(ZONE_PID_LIMIT);
        let states = (1..end).map(|number| self.of_entry(number, offset_of!(Process, state)));
        states.filter(|found| *found == state::LIVE).count()
    }
}

/// See proc_pid_stat(5); the name before them may hold anything.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

/// The processes of the host that were started for a home: command lines, guardians, monitors.
fn ours(home: &Home) -> Vec<i32> {
    let wanted = format!("PICOZONE_HOME={}", home.dir().display());
    processes(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|row| row == wanted.as_bytes())
    })
}

/// The processes of the host that are in a directory of a home: guests.
fn guests(home: &Home) -> Vec<i32> {
    processes(|pid| {
        fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(home.dir()))
    })
}

fn processes(are: impl Fn(i32) -> bool) -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("it can be read").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| are(*pid)).collect()
}

fn guests_are_killed_anywhere(home: &Home) {
    let zone = home.boot("z");
    put(&zone, "mortal");
    let run = |seed: u64, rounds: u64| {
        let (seed, rounds) = (seed.to_string(), rounds.to_string());
        let script = format!("cd /srv && ./guest killed {seed} {rounds}");
        zone.run(&["sh", "-c", &script]).ok()
    };
    run(1, 5);
    let before = Held::warm(&zone);
    let rounds = rounds(100, 3000);
    assert_eq!(run(seed(), rounds), format!("rounds: {rounds}\n"));
    before.is_back(&zone);
    // It is a zone like any other still.
    assert_eq!(
        zone.sh("ls /proc | grep -c '^1$'; cat /proc/1/comm"),
        "1\ninit\n"
    );
    home.zone(&["halt", "z"]).ok();
    assert_eq!(home.state("z"), "installed");
}

fn the_monitor_is_stopped(home: &Home) {
    let zone = home.boot("z");
    let monitor = Pid::from_raw(zone.monitor());
    let mut chance = seed();
    let rounds = rounds(20, 500);
    // Every round asks the monitor: `/proc` is its, and so is the way to a program never run before.
    let script = "i=0; while [ -e /srv/on ]; do
          read name </proc/self/comm && [ $name = sh ] || exit 1
          cp /bin/true /srv/true && /srv/true || exit 2
          i=$((i+1))
        done; [ $i -gt 0 ] && echo well";
    zone.sh("touch /srv/on");
    let login = home.start(&["login", "z", "--", "sh", "-c", script]);
    eventually("it runs", || {
        zone.root().join("srv/true").exists().then_some(())
    });
    for _ in 0..rounds {
        kill(monitor, Signal::SIGSTOP).expect("it lives");
        std::thread::sleep(Duration::from_millis(below(&mut chance, 10)));
        kill(monitor, Signal::SIGCONT).expect("it lives");
        std::thread::sleep(Duration::from_micros(below(&mut chance, 5000)));
    }
    // A guest that waits for it can be killed all the same.
    let before = Held::warm(&zone);
    let victim = home.start(&[
        "login",
        "z",
        "--",
        "sh",
        "-c",
        "while read x </proc/uptime; do :; done",
    ]);
    let pid = eventually("the other one runs", || {
        let found = zone.sh("pgrep -f '[/]proc/uptime' || true");
        found.lines().next().map(str::to_owned)
    });
    let number = pid.parse().expect("a pid");
    let host = Table::of(zone.monitor()).of_entry(number, offset_of!(Process, host));
    let host = host.cast_signed();
    kill(monitor, Signal::SIGSTOP).expect("it lives");
    kill(Pid::from_raw(host), Signal::SIGKILL).expect("it lives");
    eventually("it is dead though the monitor is stopped", || {
        let stat = fs::read_to_string(format!("/proc/{host}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
    kill(monitor, Signal::SIGCONT).expect("it lives");
    assert_eq!(victim.wait(LIMIT).status, 128 + 9);
    fs::remove_file(zone.root().join("srv/on")).expect("it is ours");
    let output = login.wait(LIMIT);
    assert_eq!(
        (output.status, output.stdout.as_str()),
        (0, "well\n"),
        "{output:?}"
    );
    before.is_back(&zone);
}

fn boots_are_killed_anywhere(home: &Home) {
    home.create("z");
    let mut chance = seed();
    for round in 0..rounds(12, 300) {
        let boot = home.start(&["boot", "z"]);
        std::thread::sleep(Duration::from_micros(below(&mut chance, 60_000)));
        let found = ours(home);
        // The command line, the guardian or the monitor, whoever is there by now.
        let choice = below(&mut chance, found.len().max(1) as u64);
        if let Some((_, &victim)) = (0..).zip(&found).find(|(at, _)| *at == choice) {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(victim), Signal::SIGKILL);
        }
        let output = boot.wait(LIMIT);
        let state = home.state("z");
        println!(
            "round {round}: {found:?}, status {}, then {state}",
            output.status
        );
        eventually("a state that lasts", || {
            let state = home.state("z");
            match state.as_str() {
                "running" => home.zone(&["halt", "--timeout", "0", "z"]).status == 0,
                "installed" | "down" => ours(home).is_empty(),
                _ => false,
            }
            .then_some(())
        });
    }
    home.zone(&["boot", "z"]).ok();
    assert_eq!(home.zone(&["login", "z", "--", "echo", "up"]).ok(), "up\n");
}

/// Guests in the midst of anything lose their monitor or its guardian.
fn busy_monitors_are_killed_anywhere(home: &Home) {
    let zone = home.create("z");
    put(&zone, "mortal");
    let mut chance = seed();
    for round in 0..rounds(6, 200) {
        home.zone(&["boot", "z"]).ok();
        let script = format!("cd /srv && exec ./guest killed {} 1000000", round + 1);
        let login = home.start(&["login", "z", "--", "sh", "-c", &script]);
        std::thread::sleep(Duration::from_micros(below(&mut chance, 150_000)));
        let monitor = zone.monitor();
        let guardian = parent(monitor).expect("it lives");
        let victim = [monitor, guardian][usize::from(below(&mut chance, 2) == 1)];
        println!("round {round}: {victim} of {monitor} and {guardian}");
        kill(Pid::from_raw(victim), Signal::SIGKILL).expect("it lives");
        assert_ne!(login.wait(LIMIT).status, 0, "round {round}");
        eventually("nobody is left", || {
            (ours(home).is_empty() && guests(home).is_empty()).then_some(())
        });
        let state = home.state("z");
        assert!(["down", "installed"].contains(&state.as_str()), "{state}");
    }
    home.zone(&["boot", "z"]).ok();
    assert_eq!(zone.sh("cd /srv && ./guest storm 20"), "births: 20\n");
}

fn births_leave_nothing(home: &Home) {
    let zone = home.boot("z");
    put(&zone, "mortal");
    let storm = |births: u64| zone.sh(&format!("cd /srv && ./guest storm {births}"));
    storm(50);
    let before = Held::warm(&zone);
    // Each command has its time.
    for _ in 0..rounds(1, 10) {
        assert_eq!(storm(1000), "births: 1000\n");
    }
    before.is_back(&zone);
    assert_eq!(zone.sh("cd /srv && ./guest unreaped"), "unreaped: 50\n");
}

fn boots_and_halts_leave_nothing(home: &Home) {
    let zone = home.create("z");
    let cycle = || {
        home.zone(&["boot", "z"]).ok();
        assert_eq!(zone.sh("echo up"), "up\n");
        home.zone(&["halt", "--timeout", "0", "z"]).ok();
    };
    cycle();
    let (files, bytes) = files(home.dir());
    for _ in 0..rounds(12, 1000) {
        cycle();
    }
    assert_eq!(home.state("z"), "installed");
    eventually("all processes are gone", || {
        ours(home).is_empty().then_some(())
    });
    let (files_now, bytes_now) = self::files(home.dir());
    println!(
        "before {} files of {bytes} bytes, after {} of {bytes_now}",
        files.len(),
        files_now.len()
    );
    let new: Vec<_> = files_now.difference(&files).collect();
    assert!(new.is_empty(), "left behind: {new:?}");
    assert!(
        bytes_now <= bytes + 4096,
        "{bytes_now} bytes, before {bytes}"
    );
}

/// Everything below a directory, and the bytes of all files. Without the links to rewritten programs:
/// how many a run has depends on which copies were there in time.
fn files(dir: &Path) -> (BTreeSet<PathBuf>, u64) {
    let (mut found, mut bytes) = (BTreeSet::new(), 0);
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let kind = entry.file_type().expect("it is told");
            if kind.is_dir() && entry.file_name() == "rewritten" {
                continue;
            } else if kind.is_dir() {
                left.push(entry.path());
            } else if kind.is_file() {
                bytes += entry.metadata().map_or(0, |data| data.len());
            }
            found.insert(entry.path());
        }
    }
    (found, bytes)
}

fn a_table_full_of_the_dead(home: &Home) {
    let zone = home.boot("z");
    put(&zone, "mortal");
    assert_eq!(zone.sh("cd /srv && ./guest full"), "births: 10\n");
    assert_eq!(zone.sh("echo up"), "up\n");
    let row = home.listed("z").expect("it is listed");
    assert_eq!(row["processes"], 1);
}

fn limits_of_one_process(home: &Home) {
    let zone = home.boot("z");
    let sections = [
        "descriptors",
        "descriptors_of_the_default",
        "beyond_the_limit",
        "address_space",
        "file_size",
    ];
    for section in sections {
        let same = Same::new(&zone).but(&["guest"]);
        for directory in [same.work().to_owned(), same.work_in_zone()] {
            harness::copy_program(&harness::guest("exhausted"), &directory.join("guest"));
        }
        let output = same.check(&format!("./guest {section}"));
        assert_eq!(output.status, 0, "{section}: {output:?}");
    }
}

fn one_zone_is_exhausted(home: &Home) {
    let (zone, other) = (home.boot("z"), home.boot("other"));
    put(&zone, "mortal");
    let before = Held::warm(&zone);
    let login = home.start(&[
        "login",
        "z",
        "--",
        "sh",
        "-c",
        "cd /srv && exec ./guest hungry >out",
    ]);
    eventually("it has taken all", || {
        let said = fs::read_to_string(zone.root().join("srv/out")).unwrap_or_default();
        said.contains("full: 200 children").then_some(())
    });
    // Where the host counts processes by user, this is no more than a user may have.
    for zone in [&zone, &other] {
        let seen = zone.sh("ls /proc/self/fd | wc -l; (sleep 0; echo forked); cat /etc/hostname");
        assert!(
            seen.contains("forked") && seen.contains(zone.name()),
            "{seen}"
        );
    }
    let fork = "ulimit -p 1; /bin/true; echo $?";
    let forks = zone.run(&["sh", "-c", fork]);
    // The host's root has no such limit.
    let is_limited = home.role() != harness::Role::Root;
    assert_eq!(
        forks.stderr.contains("Cannot fork"),
        is_limited,
        "{forks:?}"
    );
    assert_eq!(other.sh("/bin/true; echo $?"), "0\n");
    drop(login);
    before.is_back(&zone);
}

fn an_idle_zone_is_small(home: &Home) {
    /// Memory that no other zone shares, of mappings that are no program's or library's.
    const LIMIT_KIB: u64 = 2048;
    let zone = home.boot("z");
    // Who looks must not make it larger.
    for _ in 0..3 {
        zone.home().listed("z");
    }
    let monitor = zone.monitor();
    let maps = fs::read_to_string(format!("/proc/{monitor}/smaps")).expect("it runs");
    let (mut sum, mut is_counted) = (0, false);
    for line in maps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.first().is_some_and(|word| word.contains('-')) {
            is_counted = words
                .get(5)
                .is_none_or(|name| !name.starts_with('/') || name.starts_with("/memfd:"));
        } else if is_counted && line.starts_with("Private_") {
            sum += words[1].parse::<u64>().expect("a number");
        }
    }
    assert!(sum > 0 && sum <= LIMIT_KIB, "{sum} KiB:\n{maps}");
}
