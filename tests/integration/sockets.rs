//! Sockets in zones: the same program natively and in a zone, and two zones that talk.

use crate::harness::{self, Home, LIMIT, Same, Zone, eventually, in_each_role, run};
use std::io::Read;
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

in_each_role!(
    unix_sockets_are_as_natively,
    unix_datagrams_are_as_natively,
    credentials_are_roots_to_choose,
    what_is_wrong_is_told_in_the_kernels_order,
    unix_datagrams_stay_in_their_zone,
    the_edges_of_what_is_bound_are_as_natively,
    what_shares_a_port_is_as_natively,
    what_the_host_does_not_give_is_recorded,
    two_zones_talk_and_nobody_outside_is_the_loopback,
    interfaces_are_the_zones,
    control_data_is_as_natively,
    who_listens_unbound_is_reached,
);

fn unix_sockets_are_as_natively(home: &Home) {
    is_as_natively(home, "unix.py");
}

fn unix_datagrams_are_as_natively(home: &Home) {
    is_as_natively(home, "unix_datagrams.py");
}

fn what_is_wrong_is_told_in_the_kernels_order(home: &Home) {
    is_as_natively(home, "orders.py");
}

/// As to root natively, which the user of the host is not.
fn credentials_are_roots_to_choose(home: &Home) {
    let script = "unix_credentials.py";
    if home.role() == harness::Role::Root {
        return is_as_natively(home, script);
    }
    if harness::program("sockets", "python3").is_none() {
        return;
    }
    let zone = home.boot("unix");
    put(&zone, script);
    let seen = zone.sh(&format!("cd /tmp; exec python3 /tmp/{script}"));
    assert_eq!(seen, "credentials\n");
}

fn the_edges_of_what_is_bound_are_as_natively(home: &Home) {
    is_as_natively(home, "inet_edges.py");
}

fn what_shares_a_port_is_as_natively(home: &Home) {
    is_as_natively(home, "inet_pairs.py");
}

/// As to root natively, which the user of the host is not.
fn what_the_host_does_not_give_is_recorded(home: &Home) {
    if harness::program("sockets", "python3").is_none() {
        return;
    }
    let zone = home.boot("recorded");
    let program = r#"
import fcntl, os, socket, struct
SNDBUFFORCE, RCVBUFFORCE, MARK, CONGESTION = 32, 33, 36, 13
one, other = socket.socket(), socket.socket()
before = other.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
for force, name in [(SNDBUFFORCE, socket.SO_SNDBUF), (RCVBUFFORCE, socket.SO_RCVBUF)]:
    one.setsockopt(socket.SOL_SOCKET, force, 500_000_000)
    assert one.getsockopt(socket.SOL_SOCKET, name) == 1_000_000_000
    one.setsockopt(socket.SOL_SOCKET, name, 10_000)
    assert one.getsockopt(socket.SOL_SOCKET, name) == 20_000
    one.setsockopt(socket.SOL_SOCKET, force, 30_000)
    assert one.getsockopt(socket.SOL_SOCKET, name) == 60_000
assert other.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == before
one.setsockopt(socket.SOL_SOCKET, MARK, 7)
assert one.getsockopt(socket.SOL_SOCKET, MARK) == 7 and other.getsockopt(socket.SOL_SOCKET, MARK) == 0
for way in open("/proc/sys/net/ipv4/tcp_allowed_congestion_control").read().split() + ["cubic"]:
    one.setsockopt(socket.IPPROTO_TCP, CONGESTION, way.encode())
    told = one.getsockopt(socket.IPPROTO_TCP, CONGESTION, 16)
    assert told.rstrip(b"\0").decode() == way, told
# What would change nothing of an interface is done.
UP, request = 1, lambda flags: struct.pack("16sH22x", b"lo", flags)
fcntl.ioctl(one, 0x8914, request(UP))
for change in [request(0), struct.pack("16sH22x", b"eth0", 0)]:
    try:
        fcntl.ioctl(one, 0x8914, change)
        assert False
    except PermissionError:
        pass
events = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15)
events.bind((0, 1))
events.setblocking(False)
try:
    events.recv(100)
    assert False
except BlockingIOError:
    pass
os.setuid(33)
for option in [(socket.SOL_SOCKET, SNDBUFFORCE, 1 << 20), (socket.SOL_SOCKET, MARK, 1)]:
    try:
        one.setsockopt(*option)
        assert False
    except PermissionError:
        pass
print("recorded")
"#;
    assert_eq!(zone.run(&["python3", "-c", program]).ok(), "recorded\n");
}

/// Neither another zone's socket nor the host's is reached, by any name.
fn unix_datagrams_stay_in_their_zone(home: &Home) {
    if harness::program("sockets", "python3").is_none() {
        return;
    }
    let [one, two] = ["one", "two"].map(|name| home.boot(name));
    let name = format!("picozone-test.{}.{:?}", std::process::id(), home.role());
    let by_name = SocketAddr::from_abstract_name(&name).expect("a name");
    let hosts = [
        UnixDatagram::bind_addr(&by_name).expect("bound"),
        UnixDatagram::bind(home.dir().join("host")).expect("bound"),
    ];
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(home.dir().join("host"), everybody).expect("it is ours");
    let bind = "
import socket
made = [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
for one, name in zip(made, ['\\0only', '/tmp/only']):
    one.bind(name)
print('ready', flush=True)
print(made[0].recv(100), made[1].recv(100))";
    let log = one.root().join("tmp/log");
    let script = format!("exec python3 -c \"{bind}\" >/tmp/log");
    let _server = harness::start(&mut one.command(&["sh", "-c", &script]));
    eventually("the sockets are there", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        (text == "ready\n").then_some(())
    });
    let low = one.address().replacen("10.111.", "", 1);
    let path = home.dir().join("host");
    let tries = format!(
        "
import socket
names = ['\\0only', '/tmp/only', '\\0{name}', '{}', '\\0picozone.{low}/only', '/../../one/root/tmp/only']
one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
two = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
two.bind('/tmp/mine')
for name in names:
    for call in [lambda: one.sendto(b'x', name), lambda: two.sendto(b'x', name), lambda: two.connect(name),
                 lambda: two.sendmsg([b'x'], [], 0, name)]:
        try:
            call()
            print('reached', name)
        except OSError as error:
            assert error.errno in (2, 111), error
    # Connected to nobody: it goes nowhere, or is refused.
    try:
        two.send(b'x')
    except OSError:
        pass",
        path.display()
    );
    assert_eq!(two.run(&["python3", "-c", &tries]).ok(), "");
    for host in hosts {
        host.set_nonblocking(true).expect("set");
        let got = host.recv(&mut [0; 10]).map_err(|error| error.kind());
        assert_eq!(got, Err(std::io::ErrorKind::WouldBlock));
    }
    assert_eq!(
        std::fs::read_to_string(&log).expect("it is there"),
        "ready\n"
    );
}

/// A script says the same in an empty directory of the host and of a zone.
#[track_caller]
fn is_as_natively(home: &Home, script: &str) {
    let Some(python) = harness::program("sockets", "python3") else {
        return;
    };
    let zone = home.boot("unix");
    put(&zone, script);
    let here = home.dir().join("here");
    run(home.host("/bin/mkdir".as_ref()).arg(&here), LIMIT).ok();

    let guest = home.place().dir().join(script);
    std::fs::copy(harness::script(script), &guest).expect("copied");
    let native = run(home.host(&python).arg(guest).current_dir(here), LIMIT).ok();
    let seen = zone.sh(&format!(
        "umask 022; mkdir /tmp/here; cd /tmp/here; exec python3 /tmp/{script}"
    ));
    assert_eq!(seen, native);
}

/// Not natively: there the port would be open to other machines.
fn who_listens_unbound_is_reached(home: &Home) {
    if harness::program("sockets", "python3").is_none() {
        return;
    }
    let zone = home.boot("unbound");
    let program = r#"
import socket
for family, anywhere, here in [(socket.AF_INET, "0.0.0.0", "127.0.0.1"), (socket.AF_INET6, "::", "::1")]:
    server = socket.socket(family)
    server.listen()
    address, port = server.getsockname()[:2]
    assert address == anywhere and port >= 1024, (address, port)
    with socket.create_connection((here, port)) as client:
        with server.accept()[0] as peer:
            assert peer.getsockname()[:2] == (here, port), peer
            assert client.getpeername()[:2] == (here, port), client
    server.close()
print("reached")
"#;
    assert_eq!(zone.run(&["python3", "-c", program]).ok(), "reached\n");
}

fn two_zones_talk_and_nobody_outside_is_the_loopback(home: &Home) {
    if harness::program("sockets", "python3").is_none() {
        return;
    }
    let zones = ["one", "two"].map(|name| home.boot(name));
    for zone in &zones {
        put(zone, "inet.py");
    }
    let serve = "exec python3 /tmp/inet.py serve >/tmp/log";
    let _server = harness::start(&mut zones[0].command(&["sh", "-c", serve]));
    let log = zones[0].root().join("tmp/log");
    let said = eventually("the server listens", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.ends_with("ready\n").then_some(text)
    });
    assert_eq!(said, "ready\n");

    // The last two numbers of their addresses.
    let low = [&zones[0], &zones[1]].map(|zone| {
        let address = zone.address();
        let mut numbers = address.splitn(3, '.');
        numbers.nth(2).expect("an address").to_owned()
    });
    for (zone, own) in zones.iter().zip(&low) {
        let asked = zone.run(&["python3", "/tmp/inet.py", "ask", &low[0], own]);
        assert_eq!(asked.ok(), "asked\n", "from zone {}", zone.name());
    }

    let inside = format!("10.111.{}", low[0]);
    let ports = home.json(&["ports", "one", "--json"]);
    let ports = ports.as_array().expect("rows");
    assert_eq!(ports.len(), 5);
    let web = ports
        .iter()
        .find(|port| port["zone_port"] == 80 && port["zone_address"] == inside.as_str())
        .expect("port 80");
    let place = format!(
        "{}:{}",
        web["host_address"].as_str().expect("an address"),
        web["host_port"]
    );
    let mut seen = String::new();
    let mut stream = TcpStream::connect(place).expect("connected");
    stream.read_to_string(&mut seen).expect("read");
    assert!(seen.starts_with("(('10.111.0.1', "), "{seen}");
}

fn interfaces_are_the_zones(home: &Home) {
    if harness::program("sockets", "python3").is_none() {
        return;
    }
    let zone = home.boot("links");
    put(&zone, "interfaces.py");
    let address = zone.address();
    let low = address.strip_prefix("10.111.").expect("an address");
    let asked = zone.run(&["python3", "/tmp/interfaces.py", low]);
    assert_eq!(asked.ok(), "asked\n");
    // Where the host has it.
    if zone.run(&["sh", "-c", "command -v ip"]).status == 0 {
        let seen =
            zone.sh("ip -o -4 addr show; ip route; ip -6 route; ip route get 9.9.9.9; ip neigh");
        for part in [
            "1: lo    inet 127.0.0.1/8 scope host lo",
            &format!("2: eth0    inet {address}/16 brd 10.111.255.255 scope global eth0"),
            "default via 10.111.0.1 dev eth0",
            &format!("10.111.0.0/16 dev eth0 proto kernel scope link src {address}"),
            "fd6f::/112 dev eth0",
            "9.9.9.9 via 10.111.0.1 dev eth0",
        ] {
            assert!(seen.contains(part), "{part} is not in {seen}");
        }
    }
}

fn control_data_is_as_natively(home: &Home) {
    if harness::program("sockets", "python3").is_none() {
        return;
    }
    let zone = home.boot("control");
    let same = Same::new(&zone);
    for directory in [same.work().to_owned(), same.work_in_zone()] {
        std::fs::copy(harness::script("control.py"), directory.join("control.py")).expect("copied");
    }
    let seen = same.check("exec python3 control.py");
    assert_eq!((seen.status, &seen.stderr[..]), (0, ""));
}

/// Puts a program of `tests/guests` into a zone's `/tmp`.
fn put(zone: &Zone, name: &str) {
    let to = zone.root().join("tmp").join(name);
    std::fs::copy(harness::script(name), to).expect("copied");
}
