//! The guest programs of `tests/guests` do in a zone what they do natively, section by section.

use crate::harness::{self, Home, Same, Zone, in_each_role};
use std::fs;

in_each_role!(
    attributes,
    calls,
    credentials,
    edges,
    files,
    ipc,
    keys,
    mounts,
    others,
    permissions,
    powers,
    processes,
    quick,
    rarities,
    resolves,
    roots,
    rules,
    senders,
    settings,
    signals,
    storms,
    threads
);

/// Natively it takes root to have some attributes.
fn attributes(home: &Home) {
    if !harness::am_root() {
        return harness::skip("attributes", "only root has all attributes natively");
    }
    sections(
        home,
        "attributes",
        &[
            "extended",
            "extended_by_users",
            "special",
            "watches",
            "owners",
        ],
    );
}

/// Natively it takes root to be other users.
fn credentials(home: &Home) {
    if !harness::am_root() {
        return harness::skip("credentials", "only root has capabilities natively");
    }
    sections(
        home,
        "credentials",
        &[
            "users",
            "groups",
            "sets",
            "kept",
            "bounds",
            "secure_bits",
            "rights",
            "set_id_programs",
            "file_capabilities",
        ],
    );
}

fn files(home: &Home) {
    sections(
        home,
        "files",
        &[
            "opens",
            "creates",
            "names",
            "renames",
            "links",
            "symlinks",
            "directories",
            "relative",
            "stats",
            "access",
            "sizes",
            "modes",
            "times",
            "locks",
            "owners",
            "long_names",
            "bad_addresses",
            "bad_descriptors",
            "listing",
            "special",
            "mappings",
            "descriptors",
        ],
    );
}

/// Natively it takes root to be other users.
fn rules(home: &Home) {
    if !harness::am_root() {
        return harness::skip("rules", "only root can be other users natively");
    }
    let all = [
        "renewed",
        "moved",
        "linked",
        "nameless",
        "truncated",
        "through_descriptors",
        "temporary",
        "busy",
        "program_name",
        "marks",
        "deep",
        "file_attributes",
    ];
    sections(home, "rules", &all);
}

fn edges(home: &Home) {
    let all = [
        "old_listing",
        "made_directories",
        "owners",
        "only_names",
        "told",
        "memory_files",
        "tasks",
        "name_spaces",
        "space",
        "execs",
        "quiet",
        "obsolete",
        "copies",
        "times_of_packets",
    ];
    sections(home, "edges", &all);
}

fn ipc(home: &Home) {
    sections(
        home,
        "ipc",
        &[
            "shm",
            "shm_places",
            "shm_ends",
            "shm_rights",
            "sem",
            "sem_waits",
            "sem_undo",
            "msg",
            "msg_waits",
            "posix",
        ],
    );
}

fn keys(home: &Home) {
    // SAFETY: asks for the number of a keyring.
    let has_keys = unsafe { libc::syscall(libc::SYS_keyctl, 0, -4, 0) } >= 0;
    if !has_keys {
        return harness::skip("keys", "the host lets nobody have keyrings");
    }
    let all = [
        "special",
        "added",
        "links",
        "found",
        "read",
        "ends",
        "attributes",
        "sessions",
        "inherited",
        "others",
        "quota",
    ];
    // Natively it takes root to be other users.
    let count = if harness::am_root() { 11 } else { 9 };
    sections(home, "keys", &all[..count]);
}

/// Natively it takes root to mount.
fn mounts(home: &Home) {
    let can = || {
        std::process::Command::new("unshare")
            .args(["-m", "true"])
            .status()
    };
    if !harness::am_root() || !can().is_ok_and(|status| status.success()) {
        return harness::skip("mounts", "only root can mount natively");
    }
    sections(
        home,
        "mounts",
        &[
            "errors",
            "temporary",
            "read_only",
            "binds",
            "stacks",
            "moves",
            "taken",
            "served",
            "flags",
            "users",
        ],
    );
}

/// Natively it takes root to be other users.
fn permissions(home: &Home) {
    if !harness::am_root() {
        return harness::skip("permissions", "only root can be other users natively");
    }
    sections(
        home,
        "permissions",
        &[
            "search",
            "created",
            "set_group",
            "changes",
            "sticky",
            "real_users",
        ],
    );
}

/// Natively it takes root.
fn powers(home: &Home) {
    if !harness::am_root() {
        return harness::skip("powers", "only root makes devices natively");
    }
    let all = [
        "devices",
        "known_devices",
        "nice",
        "policies",
        "attributes",
        "handles",
    ];
    sections(home, "powers", &all);
}

fn calls(home: &Home) {
    let all = [
        "messages", "clocks", "timers", "own", "old", "memory", "landlock",
    ];
    sections(home, "calls", &all);
}

fn others(home: &Home) {
    sections(
        home,
        "others",
        &[
            "descriptors",
            "thread_numbers",
            "clone3",
            "priorities",
            "scheduling",
            "limits",
            "memory",
            "users",
            "owners",
            "timers",
        ],
    );
}

fn processes(home: &Home) {
    sections(
        home,
        "processes",
        &[
            "numbers",
            "waits",
            "waitid",
            "groups",
            "group_signals",
            "sessions",
            "orphans",
            "strangers",
            "subreaper",
            "pidfd",
        ],
    );
}

fn rarities(home: &Home) {
    let all = [
        "shared", "clocks", "setting", "told", "born", "pages", "locked", "by_root", "spaces",
        "log",
    ];
    // Natively users may lock little memory, and hang nothing up.
    let count = if harness::am_root() { 10 } else { 6 };
    sections(home, "rarities", &all[..count]);
}

fn quick(home: &Home) {
    let all = [
        "renames",
        "removals",
        "links",
        "working_directories",
        "told_by_others",
        "children",
        "exchanged_meanwhile",
        "replaced_meanwhile",
        "descriptors",
        "names",
        "served",
    ];
    sections(home, "quick", &all);
}

fn resolves(home: &Home) {
    sections(home, "resolves", &["arguments", "ways", "makes"]);
}

/// Natively it takes root to have another root directory.
fn roots(home: &Home) {
    if !harness::am_root() {
        return harness::skip("roots", "only root can call chroot(2) natively");
    }
    sections(
        home,
        "roots",
        &[
            "errors",
            "walks",
            "outside",
            "inherited",
            "programs",
            "sockets",
            "users",
        ],
    );
}

fn senders(home: &Home) {
    let all = ["written", "children", "codes", "queues"];
    sections(home, "senders", &all);
}

/// Natively it takes root, and name spaces of its own, to change settings and not the host's.
fn settings(home: &Home) {
    let can = || {
        std::process::Command::new("unshare")
            .args(["-ui", "true"])
            .status()
    };
    if !harness::am_root() || !can().is_ok_and(|status| status.success()) {
        return harness::skip("settings", "only root has name spaces of its own natively");
    }
    let all = [
        "numbers",
        "names",
        "messages",
        "semaphores",
        "memory",
        "users",
    ];
    // Kernels that cannot restore processes have no numbers to be asked for.
    let has_numbers = fs::exists("/proc/sys/kernel/msg_next_id").unwrap_or(false);
    // First: what the others set is little, and stays in the zone.
    sections(home, "settings", &all[usize::from(!has_numbers)..]);
}

fn signals(home: &Home) {
    sections(
        home,
        "signals",
        &[
            "masks",
            "sigsys",
            "interrupted",
            "restarted",
            "escapes",
            "waits_with_masks",
            "stacks",
            "information",
            "faults",
            "kinds",
            "exec",
            "inherited",
            "timed_wait",
            "default_actions",
            "no_room",
        ],
    );
}

fn storms(home: &Home) {
    // A signal every tenth of a millisecond leaves no time for calls that take as long.
    let long = ["restarts", "programs"];
    let most = ["queue", "children", "masks", "faults", "waits"];
    let all = [&most[..], &long[..]].concat();
    let are_traced = harness::are_all_traced("calls begun again in storms");
    sections(home, "storms", if are_traced { &most } else { &all });
}

fn threads(home: &Home) {
    sections(
        home,
        "threads",
        &[
            "ids",
            "stacks",
            "signals",
            "cancel",
            "mutexes",
            "vfork",
            "spawn",
            "fork_in_thread",
            "exec_in_thread",
            "exit_group",
            "many",
            "shared_handlers",
            "growing_stack",
        ],
    );
}

fn sections(home: &Home, program: &str, sections: &[&str]) {
    compare(&home.boot(program), program, sections);
}

/// Each section in an empty directory of its own, on both sides.
pub fn compare(zone: &Zone<'_>, program: &str, sections: &[&str]) {
    let guest = harness::guest(program);
    for section in sections {
        let same = Same::new(zone).but(&["guest"]);
        for directory in [same.work().to_owned(), same.work_in_zone()] {
            fs::copy(&guest, directory.join("guest")).expect("the guest can be copied");
        }
        let output = same.check(&format!("./guest {section}"));
        assert_eq!(output.status, 0, "{program} {section}: {output:?}");
    }
}
