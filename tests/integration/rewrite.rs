//! Zones whose programs are rewritten: system calls enter the personality by a jump.

use crate::counts::{self, counted};
use crate::harness::{self, Home, LIMIT, Zone, in_each_role};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

in_each_role!(
    calls_enter_by_a_jump,
    the_first_program_enters_by_a_jump,
    forks_and_execs_enter_by_a_jump,
    threads_enter_by_a_jump,
    a_program_sees_its_own_files,
    a_library_goes_with_its_stubs,
    copies_are_made_of_what_no_zone_can_write,
    registers_and_flags_are_kept,
    warm_operations_cost_few_calls_of_the_kernel,
);

/// Whether the host offers what the entry needs; says so if not.
pub fn is_possible() -> bool {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has_it = cpus.split_whitespace().any(|flag| flag == "fsgsbase");
    if !has_it {
        eprintln!("skipped: the processor or the kernel has no FSGSBASE");
    }
    has_it
}

pub fn boot<'a>(home: &'a Home, name: &str) -> Zone<'a> {
    let zone = home.create_with(name, &["--rewrite", "on"]);
    home.zone(&["boot", name]).ok();
    zone
}

/// The kernel enters the personality, and the personality asks the monitor, as often for many rounds
/// of some lines of Python as for one.
fn many_cost_what_one_costs(home: &Home, name: &str, round: &str, many: u32) {
    if !is_possible() {
        return;
    }
    let zone = boot(home, name);
    let sums = || ["entered", "requests"].map(|what| counted(&zone, what).values().sum::<u64>());
    let cost = |count: u32| {
        let script = format!("import os\nfor i in range({count}):\n{round}");
        let before = sums();
        zone.run(&["python3", "-c", &script]).ok();
        let after = sums();
        [after[0] - before[0], after[1] - before[1]]
    };
    // As soon as the copies are made, which happens in the background.
    harness::eventually("many rounds cost what one costs", || {
        (cost(1) == cost(many)).then_some(())
    });
}

fn calls_enter_by_a_jump(home: &Home) {
    let round = " os.getppid(); os.stat('/usr/bin/env'); os.close(os.open('/usr', 0)); os.access('/usr', 4)";
    many_cost_what_one_costs(home, "fast", round, 1000);
}

/// A server that is started right after the first boot ever would else come by SIGSYS to its end.
fn the_first_program_enters_by_a_jump(home: &Home) {
    if !is_possible() || harness::program("the first program", "python3").is_none() {
        return;
    }
    // Not the copies of all tests.
    fs::remove_file(home.dir().join("cache")).expect("a link");
    let zone = boot(home, "first");
    let script = "import os\nfor i in range(1000): os.stat('/usr'), os.getppid()";
    zone.run(&["python3", "-c", script]).ok();
    let entered = counted(&zone, "entered");
    assert!(entered.values().sum::<u64>() < 100, "{entered:?}");
}

fn forks_and_execs_enter_by_a_jump(home: &Home) {
    let round = " if os.fork() == 0: os.execv('/bin/true', ['true'])\n assert os.wait()[1] == 0";
    many_cost_what_one_costs(home, "births", round, 50);
}

fn threads_enter_by_a_jump(home: &Home) {
    let round = " import threading\n t = threading.Thread(target=int); t.start(); t.join()";
    many_cost_what_one_costs(home, "threads", round, 50);
}

/// Copies do not show.
fn a_program_sees_its_own_files(home: &Home) {
    let zone = boot(home, "own");
    let maps = zone.sh("cat /proc/self/maps");
    assert!(maps.contains(" /usr/"), "{maps}");
    assert!(!maps.contains("rewritten"), "{maps}");
    assert_eq!(zone.sh("readlink /proc/self/exe"), "/usr/bin/readlink\n");
    zone.sh("sleep 1000 >/dev/null & test \"$(readlink /proc/$!/exe)\" = /usr/bin/sleep; kill $!");
}

/// Loading a library and unloading it leaves nothing.
fn a_library_goes_with_its_stubs(home: &Home) {
    let zone = boot(home, "dl");
    let script = "
import ctypes, _ctypes
def maps(): return len(open('/proc/self/maps').readlines())
def once(): _ctypes.dlclose(ctypes.CDLL('libresolv.so.2')._handle)
once(); before = maps()
for i in range(50): once()
print(maps() - before < 10)";
    assert_eq!(zone.run(&["python3", "-c", script]).ok(), "True\n");
}

/// A program in the zone's own tree stays as it is, and runs.
fn copies_are_made_of_what_no_zone_can_write(home: &Home) {
    if !is_possible() {
        return;
    }
    let zone = boot(home, "copies");
    let has_copy = |path: &Path| {
        let inode = fs::metadata(path).expect("it is there").ino();
        let copies = fs::read_dir(home.dir().join("cache/rewritten")).expect("the copies");
        let mut names = copies.flatten().map(|copy| copy.file_name());
        let part = format!("-{inode:x}-");
        names.any(|name| name.to_string_lossy().contains(&part))
    };
    harness::eventually("a copy is made", || {
        zone.sh("uname >/dev/null");
        has_copy(Path::new("/bin/uname")).then_some(())
    });
    zone.sh("cp /bin/uname /srv/own");
    // What was just written becomes known only after some seconds.
    harness::eventually("the program is known", || {
        let asked = || counted(&zone, "requests")["Exec"];
        let before = asked();
        zone.sh("/srv/own; :");
        (asked() - before <= 1).then_some(())
    });
    assert_eq!(zone.sh("/srv/own; exec /srv/own"), "Linux\nLinux\n");
    assert!(!has_copy(&zone.root().join("srv/own")));
}

/// A zone in which the guest program is one that it cannot write, and whose copy is there.
fn boot_with_jumps<'a>(home: &'a Home, name: &str) -> Zone<'a> {
    let shared = home.place().work();
    harness::copy_program(&harness::guest("jumps"), &shared.join("jumps"));
    let bind = format!("{}:/shared:ro", shared.display());
    let zone = home.create_with(name, &["--rewrite", "on", "--bind", &bind]);
    home.zone(&["boot", name]).ok();
    zone.sh("mkdir /srv/w; touch /srv/w/guest");
    harness::eventually("the guest has a copy", || {
        let entered = || counted(&zone, "entered").values().sum::<u64>();
        let before = entered();
        zone.sh("cd /srv/w && /shared/jumps kept >/dev/null");
        // Two hundred calls, and the start of two programs.
        (entered() - before < 150).then_some(())
    });
    zone
}

/// What the kernel keeps over a call, the jump keeps.
fn registers_and_flags_are_kept(home: &Home) {
    if !is_possible() {
        return;
    }
    let zone = boot_with_jumps(home, "kept");
    let directory = home.place().work();
    fs::write(directory.join("guest"), "").expect("a file");
    for section in ["kept", "foreign_gs", "itself", "born"] {
        let mut natively = home.host(&harness::guest("jumps"));
        let natively = harness::run(natively.arg(section).current_dir(&directory), LIMIT).ok();
        let in_zone = zone.sh(&format!("cd /srv/w && /shared/jumps {section}"));
        assert_eq!(in_zone, natively, "{section}");
    }
}

/// What each operation of the guest is for the kernel, once it is warm.
const COSTS: [(&str, &[&str]); 25] = [
    ("open, close", &["openat2", "close"]),
    ("open, close of what is shared", &["openat2", "close"]),
    ("stat", &["newfstatat"]),
    ("stat of what is shared", &["newfstatat"]),
    ("stat of what is missing", &["newfstatat"]),
    ("lstat of a link", &["newfstatat"]),
    ("access", &["newfstatat"]),
    ("readlink", &["readlinkat"]),
    ("readlink of what is none", &["readlinkat"]),
    ("readlink of a mount's top", &[]),
    (
        "open, close by an absolute link",
        // Not beneath the mount, the link, its text, what it leads to.
        &[
            "openat2",
            "openat2",
            "readlinkat",
            "close",
            "openat2",
            "close",
        ],
    ),
    ("getcwd", &["getcwd"]),
    ("uname", &[]),
    ("an attribute that is not there", &["newfstatat"]),
    ("a list that no file has", &["newfstatat"]),
    (
        "a signal to itself",
        &["kill", "---", "rt_sigreturn", "rt_sigreturn"],
    ),
    ("fstat", &["fstat"]),
    ("dup, close", &["dup", "close"]),
    ("fcntl", &["fcntl"]),
    ("sigaction", &["rt_sigaction"]),
    ("sigprocmask", &["rt_sigprocmask"]),
    ("getpid, getuid, gettid", &[]),
    ("kill of nobody", &["kill"]),
    ("unlink of what is missing", &["unlinkat"]),
    // It is not there, and its directory might give it a group.
    (
        "make, close, unlink",
        &["openat2", "fstat", "openat2", "close", "unlinkat"],
    ),
];

/// The host's strace sees the personality's own calls, and no signal.
fn warm_operations_cost_few_calls_of_the_kernel(home: &Home) {
    let what = "what operations cost";
    if !is_possible() || harness::are_all_traced(what) {
        return;
    }
    let zone = boot_with_jumps(home, "costs");
    let Some(calls) = counts::traced(home, "costs", what, || {
        zone.sh("cd /srv/w && /shared/jumps operations");
    }) else {
        return;
    };
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut current = None;
    for line in calls.lines() {
        let Some((pid, call)) = line.split_once(' ') else {
            continue;
        };
        let call = call.trim_start();
        if let Some(name) = call.strip_prefix("write(-1, \"") {
            let name = name.split('"').next().expect("a name");
            found.insert(name, Vec::new());
            current = Some((pid, name));
        } else if let Some((of, name)) = current
            && of == pid
        {
            let call = call.split(['(', ' ']).next().expect("a name");
            found.entry(name).or_default().push(call);
        }
    }
    for (name, expected) in COSTS {
        assert_eq!(
            found.get(name).map(Vec::as_slice),
            Some(expected),
            "{name}: {calls}"
        );
    }
}
