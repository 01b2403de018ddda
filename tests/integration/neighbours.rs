//! Two zones at once: neither sees the other, reaches it but by address, or disturbs it.

use crate::escape::assert_all_refused;
use crate::harness::{self, Home, LIMIT, Running, Zone, eventually, in_each_role};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;

in_each_role!(
    the_same_names_are_two_things,
    no_descriptor_passes_between_zones,
    no_descriptor_passes_over_what_two_zones_are_handed,
    the_hosts_sockets_are_reached_where_they_are_shown,
    sockets_that_are_replaced_lead_nowhere,
    names_are_looked_up_by_each_zones_own_files,
);

/// A program of `tests/guests` that runs in a zone until it is told to go on.
struct Waiting<'a> {
    zone: &'a Zone<'a>,
    guest: Running,
}

impl<'a> Waiting<'a> {
    fn start(zone: &'a Zone<'a>, script: &str, words: &str) -> Self {
        let to = zone.root().join("srv").join(script);
        fs::copy(harness::script(script), to).expect("copied");
        let line = format!("mkfifo /srv/go && exec python3 /srv/{script} {words} >/srv/log 2>&1");
        let guest = harness::start(&mut zone.command(&["sh", "-c", &line]));
        let waiting = Self { zone, guest };
        eventually("the guest is ready", || {
            let said = waiting.said();
            assert!(said.is_empty() || said.starts_with("ready"), "{said}");
            (said == "ready\n").then_some(())
        });
        waiting
    }

    fn said(&self) -> String {
        fs::read_to_string(self.zone.root().join("srv/log")).unwrap_or_default()
    }

    /// Lets it go on; what it says then.
    #[track_caller]
    fn end(self) -> String {
        let Self { zone, guest } = self;
        fs::write(zone.root().join("srv/go"), "\n").expect("it waits");
        let status = guest.wait(LIMIT).status;
        let said = fs::read_to_string(zone.root().join("srv/log")).expect("it is there");
        assert_eq!(status, 0, "{said}");
        said.strip_prefix("ready\n").unwrap_or_default().to_owned()
    }
}

fn has_python() -> bool {
    harness::program("neighbours", "python3").is_some()
}

fn the_same_names_are_two_things(home: &Home) {
    if !has_python() {
        return;
    }
    let zones = ["one", "two"].map(|name| home.boot(name));
    let both: Vec<_> = zones
        .iter()
        .zip(["zone-one", "zone-two"])
        .map(|(zone, own)| Waiting::start(zone, "same_names.py", own))
        .collect();
    for waiting in both {
        assert_eq!(waiting.end(), "undisturbed\n");
    }
}

/// Runs a body with a home and a directory that its user owns: of the home's file system, where sockets
/// are bound out of the zones' reach, and of another one.
fn in_each_place(home: &Home, body: impl Fn(&Home, &Path)) {
    let near = home.place().work();
    owned(home, &near);
    body(home, &near);
    let device = |path: &Path| fs::metadata(path).map(|data| data.dev()).ok();
    let memory = Path::new("/dev/shm");
    let far = home.place().work();
    if device(memory).is_none() || device(memory) == device(&far) {
        return harness::skip("sockets of other file systems", "there is one only");
    }
    owned(home, &far);
    body(&home.another_in(memory), &far);
}

fn owned(home: &Home, path: &Path) {
    if let Some((uid, gid)) = home.role().account() {
        chown(path, Some(uid), Some(gid)).expect("we are root");
    }
}

fn booted_with<'a>(home: &'a Home, name: &str, place: &Path) -> Zone<'a> {
    let bind = format!("{}:/shared:rw", place.display());
    drop(home.create_with(name, &["--bind", &bind]));
    home.started(name)
}

fn no_descriptor_passes_between_zones(home: &Home) {
    if !has_python() {
        return;
    }
    in_each_place(home, |home, place| {
        let [one, two] = ["one", "two"].map(|name| booted_with(home, name, place));
        let server = Waiting::start(&one, "rights.py", "serve /shared");
        let script = two.root().join("srv/rights.py");
        fs::copy(harness::script("rights.py"), script).expect("copied");
        let ask = ["python3", "/srv/rights.py", "ask", "/shared"];
        // A socket that was moved into the directory is the same one, a link leads nowhere.
        let is_moved = !place.join("moved").is_symlink();
        let moved = if is_moved { "ECONNREFUSED" } else { "ENOENT" };
        assert_eq!(
            two.run(&ask).ok(),
            format!(
                "stream ECONNREFUSED ENOTCONN\n\
                 packets ECONNREFUSED ENOTCONN\n\
                 datagrams ECONNREFUSED ENOTCONN ECONNREFUSED ECONNREFUSED\n\
                 moved {moved} ENOTCONN\n"
            )
        );
        assert_eq!(
            one.run(&ask).ok(),
            "stream done done\npackets done done\ndatagrams done done done done\nmoved done done\n"
        );
        assert_eq!(
            server.end(),
            "stream 1\npackets 1\ndatagrams 2\nmoved 1\n",
            "what came is the own zone's"
        );
    });
}

/// As it would be with `zone login one -- A | zone login two -- B`, had it a socket for a pipe.
fn no_descriptor_passes_over_what_two_zones_are_handed(home: &Home) {
    if !has_python() {
        return;
    }
    let (one, two) = UnixStream::pair().expect("a pair");
    let program = "
import socket, sys
with socket.socket(fileno=0) as pair:
    pair.settimeout(60)
    try:
        socket.send_fds(pair, [b'x'], [2])
        pair.sendall(b'passed')
    except PermissionError:
        pair.sendall(b'refused')
    print(socket.recv_fds(pair, 100, 4)[:2])
";
    let ends = [("one", one), ("two", two)].map(|(name, end)| {
        let zone = home.boot(name);
        let mut command = zone.command(&["python3", "-c", program]);
        command.stdin(Stdio::from(std::os::fd::OwnedFd::from(end)));
        (zone, command)
    });
    let running = ends.map(|(zone, mut command)| {
        let child = command.stdout(Stdio::piped()).spawn().expect("zone login");
        (zone, child)
    });
    for (_zone, child) in running {
        let output = child.wait_with_output().expect("it ended");
        let said = String::from_utf8_lossy(&output.stdout);
        if said == "(b'x', [3])\n" {
            return harness::skip("rights over a pair", "Linux has SO_PASSRIGHTS from 6.16 on");
        }
        assert_eq!(said, "(b'refused', [])\n");
    }
}

fn the_hosts_sockets_are_reached_where_they_are_shown(home: &Home) {
    if !has_python() {
        return;
    }
    in_each_place(home, |home, place| {
        let path = place.join("host");
        let listener = UnixListener::bind(&path).expect("bound");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("ours");
        let zone = booted_with(home, "guest", place);
        let ask = "import socket; one = socket.socket(socket.AF_UNIX); one.connect('/shared/host'); one.sendall(b'x')";
        zone.run(&["python3", "-c", ask]).ok();
        listener.accept().expect("it connected");
        // And the other way.
        let server = Waiting::start(&zone, "rights.py", "serve /shared");
        UnixStream::connect(place.join("stream")).expect("the zone's is reached");
        assert!(server.end().starts_with("stream 0\n"));
    });
}

/// The monitor changes the mode of what it has just bound, which may be something else by then.
fn sockets_that_are_replaced_lead_nowhere(home: &Home) {
    in_each_place(home, |home, place| {
        let outside = home.dir().join("outside");
        fs::write(&outside, "").expect("made");
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o640)).expect("ours");
        owned(home, &outside);
        let zone = booted_with(home, "swap", place);
        fs::copy(
            harness::guest("hostile_sockets"),
            zone.root().join("hostile"),
        )
        .expect("copied");
        let outside_path = outside.to_str().expect("text");
        let output = zone.run(&["/hostile", "/shared", outside_path, "600"]);
        let mode = fs::metadata(&outside).expect("there").mode() & 0o777;
        assert_eq!(mode, 0o640, "{output:?}");
        let (replaced, attempts) = output.stdout.split_once('\n').expect("lines");
        assert!(replaced.starts_with("replaced "), "{output:?}");
        assert_all_refused(&harness::Output {
            stdout: attempts.to_owned(),
            ..output
        });
    });
}

/// One zone asks a server of its own, the other one that of the first by its address.
fn names_are_looked_up_by_each_zones_own_files(home: &Home) {
    if !has_python() {
        return;
    }
    let [one, two] = ["one", "two"].map(|name| home.boot(name));
    let address = one.address();
    for (zone, server, number) in [(&one, "127.0.0.1", 1), (&two, &address[..], 2)] {
        let etc = zone.root().join("etc");
        let write = |name: &str, text: String| fs::write(etc.join(name), text).expect("written");
        write("resolv.conf", format!("nameserver {server}\n"));
        write("nsswitch.conf", "hosts: files dns\n".to_owned());
        write(
            "hosts",
            format!("127.0.0.1 localhost\n192.0.2.{number} mine.example\n"),
        );
    }
    let server = one.root().join("srv/dns.py");
    fs::copy(harness::script("dns.py"), server).expect("copied");
    let _server =
        harness::start(&mut one.command(&["sh", "-c", "exec python3 /srv/dns.py >/srv/log"]));
    eventually("the server is there", || {
        let said = fs::read_to_string(one.root().join("srv/log")).unwrap_or_default();
        (said == "ready\n").then_some(())
    });
    let ask = "
import socket
for name in ['mine.example', 'other.example']:
    print(sorted({row[4][0] for row in socket.getaddrinfo(name, 80, socket.AF_INET)}))";
    for (zone, number) in [(&one, 1), (&two, 2)] {
        let said = zone.run(&["python3", "-c", ask]).ok();
        assert_eq!(said, format!("['192.0.2.{number}']\n['192.0.2.77']\n"));
    }
}
