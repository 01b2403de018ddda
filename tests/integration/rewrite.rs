//! Zones whose programs are rewritten: system calls enter the personality by a jump.

use crate::harness::{self, Home, Zone, in_each_role};
use std::collections::BTreeMap;
use std::fs;

in_each_role!(
    calls_enter_by_a_jump,
    a_program_sees_its_own_files,
    a_library_goes_with_its_stubs,
    copies_are_made_of_what_no_zone_can_write,
);

/// Whether the host offers what the entry needs; says so if not.
fn is_possible() -> bool {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has_it = cpus.split_whitespace().any(|flag| flag == "fsgsbase");
    if !has_it {
        eprintln!("skipped: the processor or the kernel has no FSGSBASE");
    }
    has_it
}

fn boot<'a>(home: &'a Home, name: &str) -> Zone<'a> {
    let zone = home.create_with(name, &["--rewrite"]);
    home.zone(&["boot", name]).ok();
    zone
}

/// What `zone stat` has counted, by name.
fn counted(zone: &Zone, what: &str) -> BTreeMap<String, u64> {
    let stat = zone.home().json(&["stat", zone.name(), "--json"]);
    let rows = stat[what].as_array().expect("an array").iter();
    rows.map(|row| {
        let name = row[0].as_str().expect("a name").to_owned();
        (name, row[1].as_u64().expect("a number"))
    })
    .collect()
}

/// The kernel enters the personality, and the personality asks the monitor, as often for many calls
/// as for one.
fn calls_enter_by_a_jump(home: &Home) {
    if !is_possible() {
        return;
    }
    let zone = boot(home, "fast");
    let run = |count: u32| {
        zone.run(&[
            "python3",
            "-c",
            &format!(
                "import os\nfor i in range({count}):\n os.getppid(); os.stat('/usr/bin/env'); os.close(os.open('/usr', 0)); os.access('/usr', 4)"
            ),
        ])
        .ok();
    };
    let sums = || ["entered", "requests"].map(|what| counted(&zone, what).values().sum::<u64>());
    for _ in 0..3 {
        run(1);
    }
    let [entered, asked] = sums();
    run(1);
    let [entered_by_one, asked_by_one] = sums();
    run(1000);
    let [entered_by_many, asked_by_many] = sums();
    assert_eq!(entered_by_many - entered_by_one, entered_by_one - entered);
    assert_eq!(asked_by_many - asked_by_one, asked_by_one - asked);
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
    let copies = || fs::read_dir(home.dir().join("cache/rewritten")).map_or(0, Iterator::count);
    harness::eventually("a copy is made", || {
        zone.sh("ls / >/dev/null");
        (copies() > 0).then_some(())
    });
    zone.sh("cp /bin/uname /srv/own");
    // What was just written becomes known only after some seconds.
    harness::eventually("the program is known", || {
        let asked = || counted(&zone, "requests")["Exec"];
        let before = asked();
        zone.sh("/srv/own; :");
        (asked() - before <= 1).then_some(())
    });
    let before = copies();
    assert_eq!(zone.sh("/srv/own; exec /srv/own"), "Linux\nLinux\n");
    assert_eq!(copies(), before);
}
