//! `zone doctor NAME`: what programs of a zone called for in vain, by whom, and why.

use crate::harness::{Home, in_each_role, program};
use serde_json::Value;

in_each_role!(refusals_are_told_with_their_callers);

/// bpf(2) twice, a number that is no call's yet, one that never will be, a packet socket, a lock on a
/// keyboard, a file system of the kernel's.
const CALLS: &str = "
    syscall(321, 5, 0, 0) for 1..2;
    print \"bpf \", $! + 0, \"\\n\";
    syscall(511); print \"511 \", $! + 0, \"\\n\";
    syscall(100000); print \"100000 \", $! + 0, \"\\n\";
    syscall(41, 17, 3, 0); print \"socket \", $! + 0, \"\\n\";
    syscall(16, 0, 0x4b4a, 0); print \"ioctl \", $! + 0, \"\\n\";
    my ($none, $at, $type) = (\"none\", \"/mnt\", \"sysfs\");
    syscall(165, $none, $at, $type, 0, 0); print \"mount \", $! + 0, \"\\n\";
";

fn refusals_are_told_with_their_callers(home: &Home) {
    if program("the report of refused calls", "perl").is_none() {
        return;
    }
    let zone = home.create("z");
    let stderr = home.zone(&["doctor", "z"]).fails(125);
    assert!(stderr.contains("zone boot z"), "{stderr}");
    home.zone(&["boot", "z"]).ok();
    assert_eq!(
        home.json(&["doctor", "z", "--json"])["refused"],
        Value::Array(Vec::new())
    );
    assert_eq!(
        home.zone(&["doctor", "z"]).ok(),
        "zone z: no call was refused\n"
    );
    assert_eq!(
        zone.run(&["perl", "-e", CALLS]).ok(),
        "bpf 1\n511 38\n100000 38\nsocket 1\nioctl 25\nmount 1\n"
    );
    // The name of the thread, and the program that the process executes.
    zone.sh(
        "cp $(readlink -f $(command -v perl)) /srv/other; /srv/other -e 'syscall(321, 5, 0, 0)'",
    );
    let running = home.json(&["doctor", "z", "--json"]);
    assert_eq!(running["zone"], "z");
    let rows = running["refused"].as_array().expect("an array");
    let wanted = [
        ("bpf(0x5)", 2, "perl", "belongs to the host's administrator"),
        (
            "bpf(0x5)",
            1,
            "other",
            "belongs to the host's administrator",
        ),
        ("call 511", 1, "perl", "no call has this number yet"),
        (
            "socket(AF_PACKET, SOCK_RAW, 0)",
            1,
            "perl",
            "not offered in this form",
        ),
        ("ioctl(0x4b4a)", 1, "perl", "not offered in this form"),
        (
            "mount(sysfs)",
            1,
            "perl",
            "file systems of the kernel are the host's",
        ),
    ];
    for (call, count, caller, reason) in wanted {
        let is_it = |row: &&Value| row["call"] == call && row["caller"] == caller;
        let row = rows.iter().find(is_it);
        let row = row.unwrap_or_else(|| panic!("no {call} by {caller}: {rows:#?}"));
        assert_eq!(
            (&row["count"], &row["reason"]),
            (&count.into(), &reason.into())
        );
        let program = row["program"].as_str().expect("a path");
        assert!(
            program.starts_with('/') && program.contains(caller),
            "{program}"
        );
    }
    assert_eq!(rows.len(), wanted.len(), "{rows:#?}");
    let shown = home.zone(&["doctor", "z"]).ok();
    let first = shown.lines().nth(1).expect("a row");
    for part in ["bpf(0x5)", "2", "perl", "administrator"] {
        assert!(first.contains(part), "{shown}");
    }
    let counted = home.json(&["stat", "z", "--json"]);
    let counted = counted["refused"].as_array().expect("an array");
    assert!(
        counted.contains(&serde_json::json!(["bpf", 3])),
        "{counted:?}"
    );
    home.zone(&["halt", "z"]).ok();
    assert_eq!(home.json(&["doctor", "z", "--json"]), running);
    // A run begins with an empty report.
    home.zone(&["boot", "z"]).ok();
    assert_eq!(
        home.zone(&["doctor", "z"]).ok(),
        "zone z: no call was refused\n"
    );
}
