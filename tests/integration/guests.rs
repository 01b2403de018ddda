//! The guest programs of `tests/guests` do in a zone what they do natively, section by section.

use crate::harness::{self, Account, Home, Same, Zone, in_each_role};
use std::fs;

in_each_role!(
    attributes,
    by_an_ordinary_user,
    calls,
    closed,
    cores,
    credentials,
    crowds,
    depths,
    detached,
    drawn,
    edges,
    files,
    filters,
    firsts,
    followed,
    ipc,
    keys,
    lists,
    makers,
    many,
    midway,
    mounts,
    opened,
    options,
    others,
    permissions,
    powers,
    precedence,
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
    threads,
    told,
    tracees,
    withheld,
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
            "nodes",
            "watches",
            "owners",
            "numbers",
            "terminals",
        ],
    );
}

/// Natively it takes root to become another user.
fn closed(home: &Home) {
    if !harness::am_root() {
        return harness::skip("closed", "only root can be other users natively");
    }
    // Memory of other processes is nobody's to copy where users are kept apart.
    let looks = if harness::are_all_strict() {
        harness::skip("copying memory of a process of the same user", STRICT);
        "looks_only"
    } else {
        "looks"
    };
    sections(home, "closed", &[looks, "queues"]);
}

/// Natively it takes root to make sets of semaphores as large as a zone's root may.
fn firsts(home: &Home) {
    if !harness::am_root() {
        return harness::skip("firsts", "root has other rights natively");
    }
    let all = [
        "paths",
        "processes",
        "sockets",
        "things",
        "served",
        "own",
        "sets",
        "tracing",
    ];
    // Where a tracer delivers the calls, guests have none.
    let count = all.len() - usize::from(harness::are_all_traced("firsts, tracing"));
    sections(home, "firsts", &all[..count]);
}

/// Natively it takes root to be told what is wrong with what only root may ask for.
fn withheld(home: &Home) {
    if !harness::am_root() {
        return harness::skip("withheld", "only root is told anything natively");
    }
    let all = [
        "administration",
        "quotas",
        "trees",
        "listed",
        "attributes",
        "advice",
        "setting",
        "others",
    ];
    sections(home, "withheld", &all);
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
            "shared_directories",
            "file_capabilities",
        ],
    );
}

/// Why something is left out where all zones are strict.
const STRICT: &str = "it is refused to users of strict zones";

const FILES: &[&str] = &[
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
    "crossed",
];

const DEPTHS: &[&str] = &[
    "up", "paths", "links", "changes", "working", "moved", "gone", "resolved",
];

/// Natively it takes root to be another user, or to have another root directory.
fn depths(home: &Home) {
    let zone = home.boot("depths");
    compare(&zone, "depths", DEPTHS);
    if harness::am_root() {
        compare(&zone, "depths", &["rooted", "rights"]);
    }
}

fn crowds(home: &Home) {
    let all = ["few_parts", "many_parts", "datagrams", "limits"];
    sections(home, "crowds", &all);
}

/// Where the host has core files lie beside what ended.
fn cores(home: &Home) {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if pattern.trim() != "core" {
        return harness::skip("core files", "the host's core_pattern is not `core`");
    }
    let all = ["limits", "not_dumpable", "kinds", "threads", "elsewhere"];
    if harness::am_root() {
        return sections(home, "cores", &all);
    }
    harness::skip("whose core files are", "the zone's root has all of them");
    sections(home, "cores", &all[..2]);
}

/// Who makes something is an ordinary user on both sides: what is root's needs no record.
fn makers(home: &Home) {
    let user = || Account::ordinary().unwrap_or_else(Account::own);
    let all = [
        "shared_directories",
        "nested_directories",
        "looks",
        "opened",
        "made_again",
        "renamed_over",
        "crowd",
        "killed",
    ];
    compare_by(&home.boot("makers"), user, "makers", &all);
}

const MANY: &[&str] = &[
    "thousand",
    "forks",
    "large",
    "full",
    "contexts",
    "shared_mutexes",
    "owner_died",
];

fn many(home: &Home) {
    let zone = home.boot("many");
    compare(&zone, "many", MANY);
    // Natively it takes root to be other users.
    if harness::am_root() {
        compare(&zone, "many", &["identities"]);
    }
}

pub const TOLD: &[&str] = &[
    "descriptors",
    "inherited",
    "interrupted",
    "numbers_again",
    "threads",
    "executed",
    "notices",
    "events",
    "peers",
    "locks",
    "terminal",
    "waits",
    "deaths",
];

fn told(home: &Home) {
    sections(home, "told", TOLD);
}

/// Where a tracer delivers the calls, guests have none.
fn midway(home: &Home) {
    if !harness::are_all_traced("midway") {
        sections(
            home,
            "midway",
            &[
                "attached",
                "seized",
                "signalled",
                "looked_at",
                "stepped",
                "of_threads",
            ],
        );
    }
}

/// The same.
fn tracees(home: &Home) {
    if !harness::are_all_traced("tracees") {
        sections(
            home,
            "tracees",
            &[
                "by_a_thread",
                "by_many",
                "senders",
                "reused",
                "bad_pointers",
                "twice_waited",
                "meanwhile",
            ],
        );
    }
}

fn opened(home: &Home) {
    sections(home, "opened", OPENED);
    if harness::am_root() {
        sections(home, "opened", &["rewound_as_another"]);
    }
}

const OPENED: &[&str] = &[
    "of_proc",
    "outlived",
    "rewound",
    "rewound_in_races",
    "links",
    "mounts",
    "locks",
    "slashes",
    "watches",
    "memory",
    "terminals",
];

fn options(home: &Home) {
    sections(home, "options", OPTIONS);
}

const OPTIONS: &[&str] = &["words", "devices", "filters", "ends", "six", "netlink"];

fn files(home: &Home) {
    sections(home, "files", FILES);
}

/// Who is not root may less: on both sides the same.
fn by_an_ordinary_user(home: &Home) {
    if Account::ordinary().is_none() {
        return harness::skip("by_an_ordinary_user", "so are all others without root");
    }
    let but = if harness::are_all_strict() {
        crate::strict::REFUSED
    } else {
        &[]
    };
    by_users_of(&home.boot("z"), but);
}

/// The same in a zone, but for these sections of programs.
pub fn by_users_of(zone: &Zone<'_>, but: &[(&str, &str)]) {
    let user = || Account::ordinary().expect("we are root");
    for (program, sections) in [
        ("calls", CALLS),
        ("depths", DEPTHS),
        ("edges", EDGES),
        ("files", FILES),
        ("ipc", IPC),
        ("many", MANY),
        ("options", OPTIONS),
        ("others", OTHERS),
        ("processes", PROCESSES),
        ("quick", QUICK),
        ("resolves", RESOLVES),
        ("senders", SENDERS),
        ("signals", SIGNALS),
        ("threads", THREADS),
        ("told", TOLD),
    ] {
        let sections: Vec<&str> = sections
            .iter()
            .copied()
            .filter(|section| !but.contains(&(program, section)))
            .collect();
        compare_by(zone, user, program, &sections);
    }
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
        "capabilities_go",
        "wrong_links",
    ];
    sections(home, "rules", &all);
}

const EDGES: &[&str] = &[
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

/// Natively it takes root to be other users.
fn lists(home: &Home) {
    if !harness::am_root() {
        return harness::skip("lists", "only root can be other users natively");
    }
    let all = [
        "set",
        "refused",
        "modes",
        "rights",
        "inherited",
        "kept",
        "strange",
        "uses",
    ];
    sections(home, "lists", &all);
}

fn edges(home: &Home) {
    sections(home, "edges", EDGES);
}

const IPC: &[&str] = &[
    "shm",
    "shm_places",
    "shm_ends",
    "sem_waits",
    "sem_undo",
    "msg_waits",
];

fn filters(home: &Home) {
    let all = [
        "answers",
        "signals",
        "ends",
        "strict",
        "several",
        "arguments",
        "inherited",
        "threads",
        "refused",
        "powers",
    ];
    // The last one natively takes root.
    let count = all.len() - usize::from(!harness::am_root());
    sections(home, "filters", &all[..count]);
}

fn ipc(home: &Home) {
    let zone = home.boot("ipc");
    compare(&zone, "ipc", IPC);
    // Natively it takes root to be other users.
    if harness::am_root() {
        compare(&zone, "ipc", &["shm_rights", "sem", "msg", "posix"]);
    }
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
            "devices",
            "parts",
            "covered",
            "jails",
            "flags",
            "users",
            "trees",
        ],
    );
}

/// Natively it takes root to mount.
fn detached(home: &Home) {
    let can = || {
        std::process::Command::new("unshare")
            .args(["-m", "true"])
            .status()
    };
    if !harness::am_root() || !can().is_ok_and(|status| status.success()) {
        return harness::skip("detached", "only root can mount natively");
    }
    let all = [
        "contexts",
        "parameters",
        "placed",
        "nested",
        "clones",
        "parts",
        "beneath",
        "set",
        "picked",
        "dropped",
        "users",
    ];
    sections(home, "detached", &all);
}

/// Natively it takes root to be other users.
fn drawn(home: &Home) {
    if !harness::am_root() {
        return harness::skip("drawn", "only root can be other users natively");
    }
    let mut all = vec!["identities", "objects"];
    if !harness::are_all_traced("drawn, others") {
        all.push("others");
    }
    // Which of several things that are wrong a clerk's client is told, differs.
    if harness::are_all_strict() {
        harness::skip("drawn, files", "in strict zones other errors come first");
    } else {
        all.push("files");
    }
    sections(home, "drawn", &all);
}

/// Natively it takes root to be other users.
fn permissions(home: &Home) {
    if !harness::am_root() {
        return harness::skip("permissions", "only root can be other users natively");
    }
    let all = [
        "search",
        "created",
        "set_group",
        "changes",
        "sticky",
        "real_users",
        "written",
        "given_up",
        "given_away",
        "bound",
        "pipes",
        "from_within",
        "from_descriptors",
    ];
    let mut count = all.len();
    if harness::are_all_strict() {
        count -= 2;
        harness::skip(
            "permissions, from_within and from_descriptors",
            "clerks go there by path",
        );
    }
    sections(home, "permissions", &all[..count]);
}

/// Natively it takes root.
fn precedence(home: &Home) {
    if !harness::am_root() {
        return harness::skip("precedence", "only root can be other users natively");
    }
    sections(home, "precedence", &["of_root", "of_a_user", "pairs"]);
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
    let count = all.len() - usize::from(harness::are_all_strict());
    if count < all.len() {
        harness::skip("powers, handles", STRICT);
    }
    sections(home, "powers", &all[..count]);
}

const CALLS: &[&str] = &[
    "messages", "clocks", "timers", "own", "old", "memory", "landlock",
];

fn calls(home: &Home) {
    sections(home, "calls", CALLS);
}

const OTHERS: &[&str] = &[
    "descriptors",
    "thread_numbers",
    "clone3",
    "chosen",
    "spaces",
    "priorities",
    "scheduling",
    "limits",
    "memory",
    "users",
    "owners",
    "timers",
];

fn others(home: &Home) {
    sections(home, "others", OTHERS);
}

const PROCESSES: &[&str] = &[
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
    "names",
];

fn processes(home: &Home) {
    sections(home, "processes", PROCESSES);
}

fn rarities(home: &Home) {
    let all = [
        "shared",
        "clocks",
        "setting",
        "told",
        "born",
        "pages",
        "dispatch",
        "base",
        "scanned",
        "polled",
        "cleared",
        "immutable",
        "locked",
        "by_root",
        "spaces",
        "log",
    ];
    // Natively users may lock little memory, and hang nothing up.
    let count = if harness::am_root() { 16 } else { 12 };
    sections(home, "rarities", &all[..count]);
}

const QUICK: &[&str] = &[
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

fn quick(home: &Home) {
    sections(home, "quick", QUICK);
}

const RESOLVES: &[&str] = &["arguments", "ways", "makes", "served"];

fn followed(home: &Home) {
    sections(home, "followed", &["chains", "ends", "made", "asked"]);
}

fn resolves(home: &Home) {
    sections(home, "resolves", RESOLVES);
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

const SENDERS: &[&str] = &["written", "children", "codes", "chosen", "queues"];

fn senders(home: &Home) {
    sections(home, "senders", SENDERS);
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

pub const SIGNALS: &[&str] = &[
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
    "registers",
];

fn signals(home: &Home) {
    sections(home, "signals", SIGNALS);
}

fn storms(home: &Home) {
    let most = ["queue", "children", "masks", "faults", "flood", "waits"];
    // A signal every tenth of a millisecond leaves a tracer no time for calls that take as long.
    let long = if harness::are_all_traced("calls begun again in the densest storms") {
        ["restarts_slowly", "programs_slowly"]
    } else {
        ["restarts", "programs"]
    };
    sections(home, "storms", &[&most[..], &long].concat());
}

const THREADS: &[&str] = &[
    "ids",
    "named",
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
];

fn threads(home: &Home) {
    sections(home, "threads", THREADS);
}

fn sections(home: &Home, program: &str, sections: &[&str]) {
    compare(&home.boot(program), program, sections);
}

/// Each section in an empty directory of its own, on both sides.
pub fn compare(zone: &Zone<'_>, program: &str, sections: &[&str]) {
    compare_by(zone, Account::own, program, sections);
}

/// The same where native calls come to the personality too.
pub fn compare_with_all_calls(zone: &Zone<'_>, program: &str, sections: &[&str]) {
    let same = || Same::new(zone).with_all_calls();
    compare_in(same, program, sections);
}

fn compare_by(zone: &Zone<'_>, user: fn() -> Account, program: &str, sections: &[&str]) {
    compare_in(|| Same::by(zone, user()), program, sections);
}

fn compare_in<'a>(same: impl Fn() -> Same<'a>, program: &str, sections: &[&str]) {
    let guest = harness::guest(program);
    for section in sections {
        let same = same().but(&["guest"]);
        for directory in [same.work().to_owned(), same.work_in_zone()] {
            harness::copy_program(&guest, &directory.join("guest"));
        }
        let output = same.check(&format!("./guest {section}"));
        assert_eq!(output.status, 0, "{program} {section}: {output:?}");
    }
}
