//! What whole programs cost in a zone beside what they cost natively: requests to the monitor, entries
//! by SIGSYS, calls of the kernel. Such counts are the same on every machine, as times are not.

use crate::apache::{ask, connect};
use crate::harness::{self, Home, LIMIT, Zone, in_each_role, program, run};
use crate::rewrite::{boot, is_possible};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::process::Stdio;

in_each_role!(
    a_python_start_asks_nobody,
    make_asks_nobody,
    a_read_of_a_signalfd_asks_nobody,
    who_lists_files_asks_for_few,
    who_lists_attributes_asks_once,
    what_the_zone_cannot_change_has_no_labels_from_it,
    who_has_gone_everywhere_leaves_room_for_others,
    what_lies_below_a_layer_is_reached_without_asking,
    programs_cost_few_more_calls_of_the_kernel,
    a_warm_request_of_nginx_costs_what_it_does_natively,
);

/// What `zone stat` has counted, by name.
pub fn counted(zone: &Zone, what: &str) -> BTreeMap<String, u64> {
    let stat = zone.home().json(&["stat", zone.name(), "--json"]);
    let rows = stat[what].as_array().expect("an array").iter();
    rows.map(|row| {
        let name = row[0].as_str().expect("a name").to_owned();
        (name, row[1].as_u64().expect("a number"))
    })
    .collect()
}

/// Requests and entries by SIGSYS of a script, without those of a shell that does nothing.
fn cost(zone: &Zone, script: &str) -> [u64; 2] {
    let sums = || ["requests", "entered"].map(|what| counted(zone, what).values().sum::<u64>());
    let of = |script: &str| {
        let before = sums();
        zone.sh(script);
        let after = sums();
        [after[0] - before[0], after[1] - before[1]]
    };
    let (nothing, all) = (of(":"), of(script));
    [0, 1].map(|at| all[at].saturating_sub(nothing[at]))
}

/// As soon as copies are made and names are known, which happens in the background.
fn costs_at_most(zone: &Zone, script: &str, most: [u64; 2]) {
    let mut last = [u64::MAX; 2];
    harness::eventually(&format!("at most {most:?}: {script}"), || {
        last = cost(zone, script);
        (last[0] <= most[0] && last[1] <= most[1]).then_some(())
    });
}

fn a_python_start_asks_nobody(home: &Home) {
    if program("the cost of python", "python3").is_none() || !is_possible() {
        return;
    }
    let zone = boot(home, "python");
    // Newer ones look for `/proc/sys/vm/overcommit_memory`, which the monitor shows.
    let starts = "for i in 1 2 3 4; do python3 -c pass; done";
    let is_new = zone.sh("python3 -c 'import sys; print(sys.version_info >= (3, 13))'");
    let looks = if is_new == "True\n" { 4 } else { 0 };
    // The shell's vfork for each.
    costs_at_most(&zone, starts, [looks, 8]);
}

fn make_asks_nobody(home: &Home) {
    let is_here = ["make", "gcc"].map(|name| program("the cost of make", name).is_some());
    if is_here.contains(&false) || !is_possible() {
        return;
    }
    let zone = boot(home, "make");
    zone.sh(
        "mkdir /srv/m && cd /srv/m && for f in 1 2 3 4; do echo \"int f$f;\" >$f.c; done
         echo 'all: 1.o 2.o 3.o 4.o' >Makefile",
    );
    // The births of processes by vfork(2) and clone3(2), and make's waiting.
    let script = "cd /srv/m && rm -f *.o && make -s -j2";
    costs_at_most(&zone, script, [2, 40]);
}

/// Unchanged files of a copy-on-write mount, and what the zone has made of others: once their directory has
/// been gone into, looks, reads and searches are the guest's own affair.
fn what_lies_below_a_layer_is_reached_without_asking(home: &Home) {
    if !is_possible() {
        return;
    }
    let below = home.place().work();
    for number in 0..20 {
        let directory = below.join(format!("d{}", number % 3));
        fs::create_dir_all(&directory).expect("made");
        fs::write(directory.join(format!("f{number}")), "text").expect("written");
    }
    let tree = format!("{}:/tree", below.display());
    home.create_with("below", &["--rewrite", "on", "--cow", &tree]);
    let zone = home.started("below");
    zone.sh("echo more >>/tree/d0/f0");
    costs_at_most(
        &zone,
        "cd /tree; for f in d0/f3 d1/f1 d2/f2 d0/f0 d1/missing; do
            [ -r $f ] && [ -s $f ] && read word <$f; done; cd d1; [ -e f1 ] && [ -e ../d2/f5 ]",
        [0, 0],
    );
}

/// PostgreSQL is told by one who holds a lock that it is free.
fn a_read_of_a_signalfd_asks_nobody(home: &Home) {
    let zone = home.boot("signals");
    zone.sh("mkdir /srv/told");
    let there = zone.root().join("srv/told/guest");
    harness::copy_program(&harness::guest("told"), &there);
    let asked = || {
        zone.sh("cd /srv/told && ./guest descriptors");
        counted(&zone, "requests").remove("Process").unwrap_or(0)
    };
    let before = asked();
    assert_eq!(asked(), before);
}

/// The host's files have no labels from the zone, and nobody is asked for them.
fn who_lists_files_asks_for_few(home: &Home) {
    if !is_possible() {
        return;
    }
    let zone = boot(home, "lists");
    let directory = "/usr/share/zoneinfo";
    let count = |kind: &str| {
        let text = zone.sh(&format!("find {directory} {kind} | wc -l"));
        text.trim().parse::<u64>().expect("a number")
    };
    let all = count("");
    if all < 500 {
        return harness::skip("the cost of lists", "the host has no time zones");
    }
    let few = all / 20;
    costs_at_most(&zone, &format!("find {directory} -size +9k"), [few, 8]);
    let list = format!("ls -lR {directory}");
    costs_at_most(&zone, &list, [few, 8]);
}

/// Files without attributes are known to have none, until they have one.
fn who_lists_attributes_asks_once(home: &Home) {
    if !is_possible() || program("the cost of attributes", "python3").is_none() {
        return;
    }
    let zone = boot(home, "attributes");
    let list = "cd /srv/l; python3 -c \"
import os
for entry in sorted(os.listdir()):
    names = os.listxattr(entry, follow_symlinks=False)
    if names: print(entry, *names)\"";
    zone.sh("mkdir /srv/l; cd /srv/l; for i in $(seq 200); do : >f$i; ln -s f1 l$i; done");
    assert_eq!(zone.sh(list), "");
    // A start of python may ask once.
    costs_at_most(&zone, list, [1, 8]);
    zone.sh("python3 -c \"
import os, struct
os.setxattr('/srv/l/f7', 'user.a', b'')
os.setxattr('/srv/l/l7', 'trusted.b', b'', follow_symlinks=False)
entry = lambda *words: struct.pack('<HHI', *words)
none = 2**32 - 1
users = entry(1, 7, none) + entry(2, 4, 7) + entry(4, 5, none) + entry(16, 5, none) + entry(32, 5, none)
os.setxattr('/srv/l/f8', 'system.posix_acl_access', struct.pack('<I', 2) + users)\"");
    let has = "f7 user.a\nf8 system.posix_acl_access\nl7 trusted.b\n";
    assert_eq!(zone.sh(list), has);
    costs_at_most(&zone, list, [4, 8]);
    assert_eq!(zone.sh(list), has);
    zone.sh("python3 -c \"
import os
os.removexattr('/srv/l/f7', 'user.a')
os.removexattr('/srv/l/l7', 'trusted.b', follow_symlinks=False)
os.removexattr('/srv/l/f8', 'system.posix_acl_access')\"");
    assert_eq!(zone.sh(list), "");
    costs_at_most(&zone, list, [1, 8]);
}

/// Labels that another zone's root has set on files that this one cannot change are none of its own, and it
/// need not ask.
fn what_the_zone_cannot_change_has_no_labels_from_it(home: &Home) {
    if !is_possible() || program("labels of files", "getfattr").is_none() {
        return;
    }
    let shared = home.place().work();
    for directory in ["ro", "rw"] {
        let directory = shared.join(directory);
        fs::create_dir(&directory).expect("made");
        for number in 0..200 {
            fs::write(directory.join(format!("f{number}")), "text").expect("written");
            symlink("f0", directory.join(format!("l{number}"))).expect("made");
        }
        if let Some((uid, gid)) = home.role().account() {
            chown(&directory, Some(uid), Some(gid)).expect("we are root");
            chown(directory.join("f0"), Some(uid), Some(gid)).expect("we are root");
        }
    }
    let mount = |host: &str, at: &str, access: &str| {
        format!("{}:{at}:{access}", shared.join(host).display())
    };
    let (ro, rw) = (mount("ro", "/ro", "rw"), mount("rw", "/rw", "rw"));
    let other = home.create_with("other", &["--bind", &ro, "--bind", &rw]);
    drop(other);
    let other = home.started("other");
    other.sh("setfattr -n security.label -v other /ro/f0; setfattr -n user.plain -v seen /ro/f0");

    let ro = mount("ro", "/ro", "ro");
    let options = ["--rewrite", "on", "--bind", &ro, "--bind", &rw];
    drop(home.create_with("labels", &options));
    let zone = home.started("labels");
    let before = counted(&zone, "requests");
    // What ls(1) asked of each file until coreutils 9.6.
    zone.sh("for i in 1 2; do getfattr -h -n security.selinux /ro/*; done >/dev/null 2>&1 || true");
    let after = counted(&zone, "requests");
    assert_eq!(after.get("Xattr"), before.get("Xattr"), "{after:?}");
    let labels = |path: &str| zone.sh(&format!("getfattr -d -m - {path} 2>/dev/null || true"));
    let label = |path: &str| {
        let script =
            format!("cd / && getfattr --only-values -n security.label .{path} 2>&1 || true");
        zone.sh(&script)
    };
    // Whether it is asked for the first time or not.
    for _ in 0..2 {
        assert!(label("/ro/f0").contains("No such attribute"));
        let all = labels("/ro/f0");
        assert!(
            all.contains("user.plain") && !all.contains("security.label"),
            "{all}"
        );
    }
    zone.sh("setfattr -n security.label -v own /rw/f0");
    assert_eq!(label("/rw/f0"), "own");
    assert!(labels("/rw/f0").contains("security.label"));
}

/// More directories than the monitor has places to watch them: what is looked for later is at hand all the
/// same, if not at once.
fn who_has_gone_everywhere_leaves_room_for_others(home: &Home) {
    const MANY: usize = 6000;
    if !is_possible() {
        return;
    }
    let shared = home.place().work();
    for number in 0..MANY {
        let directory = shared.join(format!("all/{number}"));
        fs::create_dir_all(&directory).expect("made");
        fs::write(directory.join("file"), "text").expect("written");
    }
    let bind = format!("{}:/all:ro", shared.join("all").display());
    drop(home.create_with("crowded", &["--rewrite", "on", "--bind", &bind]));
    let zone = home.started("crowded");
    // Twice, since a directory is at hand from the second look on.
    let look = |what: &str| {
        zone.sh(&format!(
            "for d in {what}; do [ -s $d/file ] && [ -s $d/file ] || exit 1; done"
        ));
    };
    look("/all/*");
    let watched = || counted(&zone, "requests").get("Watched").copied();
    let before = watched();
    let few = (0..200).map(|n| format!("/all/{}", n * 29 % MANY));
    let few = few.collect::<Vec<_>>().join(" ");
    harness::eventually("what is looked for is watched", || {
        look(&few);
        (watched() > before.map(|count| count + 100)).then_some(())
    });
    // And stays so, but for some that share their places with too many others.
    harness::eventually("what is looked for stays watched", || {
        let before = watched();
        look(&few);
        (watched() < before.map(|count| count + 20)).then_some(())
    });
}

/// The calls of the kernel in a zone while `f` runs, as the host's strace sees them; `None` if it can
/// see nothing, which is said.
pub fn traced(home: &Home, zone: &str, what: &str, f: impl FnOnce()) -> Option<String> {
    let strace = program(what, "strace")?;
    let row = home.listed(zone).expect("it is listed");
    let monitor = row["monitor_pid"].as_i64().expect("it runs");
    let children = fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children"));
    let init = children
        .expect("the kernel tells children")
        .trim()
        .to_owned();
    let (calls, said) = (home.dir().join("calls"), home.dir().join("said"));
    let mut tracer = home
        .host(&strace)
        .args(["-f", "-p", &init, "-o"])
        .arg(&calls)
        .stderr(Stdio::from(fs::File::create(&said).expect("a file")))
        .spawn()
        .expect("strace");
    let is_attached = harness::eventually("strace has attached itself or cannot", || {
        let said = fs::read_to_string(&said).unwrap_or_default();
        match tracer.try_wait() {
            Ok(None) => said.contains("attached").then_some(true),
            _ => Some(false),
        }
    });
    if !is_attached {
        harness::skip(what, "the host lets nobody trace");
        return None;
    }
    f();
    let pid = i32::try_from(tracer.id()).expect("a pid");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
    tracer.wait().expect("it ends");
    Some(fs::read_to_string(&calls).expect("what strace has seen"))
}

/// How many calls a trace has.
fn number_of_calls(trace: &str) -> usize {
    let is_call = |line: &&str| line.contains('(') && !line.contains(" resumed>");
    trace.lines().filter(is_call).count()
}

/// An exec costs some sixty calls more than natively, a program that looks up names few for each.
fn programs_cost_few_more_calls_of_the_kernel(home: &Home) {
    let what = "calls of whole programs";
    let Some(strace) = program(what, "strace") else {
        return;
    };
    if !is_possible() {
        return;
    }
    let zone = boot(home, "calls");
    const SOURCE: &str = "#include <stdio.h>\nint main(void) { return puts(\"x\"); }\n";
    let source = home.place().work().join("source.c");
    fs::write(&source, SOURCE).expect("written");
    fs::write(zone.root().join("srv/source.c"), SOURCE).expect("written");
    let compile = format!("gcc -fsyntax-only {}", source.display());
    for (needed, native, guest, percent, births) in [
        ("true", "true", "true", 100, 1),
        ("python3", "python3 -c pass", "python3 -c pass", 120, 1),
        (
            "find",
            "find /usr/share/zoneinfo",
            "find /usr/share/zoneinfo",
            105,
            1,
        ),
        ("gcc", &compile, "gcc -fsyntax-only /srv/source.c", 150, 2),
    ] {
        if program(what, needed).is_none() {
            continue;
        }
        let out = home.dir().join("native");
        let mut command = home.host(&strace);
        let words = native.split(' ');
        run(command.args(["-f", "-o"]).arg(&out).args(words), LIMIT).ok();
        let natively = number_of_calls(&fs::read_to_string(&out).expect("a trace"));
        let most = natively * percent / 100 + 90 * births;
        // As soon as names are known and copies made.
        harness::eventually(
            &format!("{guest}: at most {most} calls, {natively} natively"),
            || {
                let words: Vec<&str> = guest.split(' ').collect();
                let calls = traced(home, "calls", what, || {
                    zone.run(&words).ok();
                });
                calls
                    .is_none_or(|calls| number_of_calls(&calls) <= most)
                    .then_some(())
            },
        );
    }
}

/// Makes a server of one process that is started by `nginx -p DIRECTORY -c DIRECTORY/conf -e /dev/null`.
fn configuration_of_nginx(directory: &str, listen: &str) -> String {
    format!(
        "mkdir -p {directory}/html && cd {directory} && echo page >html/page && cat >conf <<'END'
         master_process off; pid {directory}/pid; error_log {directory}/errors;
         events {{ }}
         http {{
           access_log off; keepalive_requests 100000;
           client_body_temp_path {directory}/a; proxy_temp_path {directory}/b;
           fastcgi_temp_path {directory}/c; uwsgi_temp_path {directory}/d; scgi_temp_path {directory}/e;
           server {{ listen {listen}; root {directory}/html; }}
         }}\nEND"
    )
}

/// Has a page served some times, between two requests that a trace shows.
fn ask_between_marks(at: &str) {
    const TIMES: usize = 20;
    let mut stream = connect(at);
    let begin = std::iter::once("/page?begin");
    let all = begin.chain(["/page"; TIMES]).chain(["/page?end"]);
    for path in all {
        let request = format!("GET {path} HTTP/1.1\r\nHost: web\r\n\r\n");
        assert_eq!(ask(&mut stream, &request), b"page\n");
    }
}

/// The calls of a trace between the last of those marks.
fn calls_between_marks(trace: &str) -> usize {
    let behind = trace.rsplit_once("GET /page?begin").expect("a mark").1;
    number_of_calls(behind.split_once("GET /page?end").expect("a mark").0)
}

fn a_warm_request_of_nginx_costs_what_it_does_natively(home: &Home) {
    let what = "the cost of nginx";
    if program(what, "nginx").is_none() || !is_possible() || harness::are_all_traced(what) {
        return;
    }
    let zone = boot(home, "nginx");
    let begin = |directory: &str, port: u16| {
        zone.sh(&configuration_of_nginx(directory, &port.to_string()));
        zone.sh(&format!(
            "nginx -p {directory} -c {directory}/conf -e /dev/null"
        ));
        let at = zone.reached_at(port);
        // The first requests take the page's directory to hand.
        ask_between_marks(&at);
        ask_between_marks(&at);
        at
    };
    let at = begin("/srv/n", 8001);
    let sums = || ["requests", "entered"].map(|what| counted(&zone, what).values().sum::<u64>());
    let before = sums();
    ask_between_marks(&at);
    let [requests, entered] = [0, 1].map(|at| sums()[at] - before[at]);
    // The connection is a new one.
    assert!(requests == 0 && entered <= 4, "{requests}, {entered}");
    // The host's strace sees what begins behind it.
    let Some(trace) = traced(home, "nginx", what, || drop(begin("/srv/m", 8002))) else {
        return;
    };
    let in_zone = calls_between_marks(&trace);
    // The same from its start on, natively.
    let directory = home.dir().join("n").display().to_string();
    let [.., high, low] = std::process::id().to_be_bytes();
    let port = if home.role() == harness::Role::Root {
        8003
    } else {
        8004
    };
    let at = format!("127.77.{high}.{low}:{port}");
    let mut make = home.host("sh".as_ref());
    let script = configuration_of_nginx(&directory, &at);
    run(make.args(["-c", &script]), LIMIT).ok();
    let out = format!("{directory}/trace");
    let start = format!(
        "strace -f -o {out} nginx -p {directory} -c {directory}/conf -e /dev/null -g 'daemon off;'"
    );
    let mut start_it = home.host("sh".as_ref());
    let server = harness::start(start_it.args(["-c", &start]));
    let pid = harness::eventually("nginx has begun", || {
        let pid = fs::read_to_string(format!("{directory}/pid")).ok()?;
        pid.trim().parse().ok()
    });
    harness::eventually("nginx listens", || std::net::TcpStream::connect(&at).ok());
    ask_between_marks(&at);
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
    server.wait(LIMIT);
    let trace = fs::read_to_string(out).expect("a trace");
    let natively = calls_between_marks(&trace);
    assert!(in_zone <= natively, "{in_zone}, natively {natively}");
}
