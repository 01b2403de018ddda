//! What of a zone the host reaches where it was published, and whom a zone can ping.

use crate::harness::{self, Home, LIMIT, Same, Zone, eventually, in_each_role, run};
use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

in_each_role!(
    publications_are_reached,
    datagrams_are_published_before_they_are_bound,
    taken_places_are_told,
    pings_are_as_natively,
    pings_are_answered_where_the_host_lets_users,
    sockets_are_told_by_netlink,
);

fn has_python() -> bool {
    harness::program("reached", "python3").is_some()
}

/// A place of the host that was free just now.
fn place(is_udp: bool) -> SocketAddr {
    const ANYWHERE: &str = "127.88.3.1:0";
    let place = if is_udp {
        UdpSocket::bind(ANYWHERE).and_then(|socket| socket.local_addr())
    } else {
        TcpListener::bind(ANYWHERE).and_then(|socket| socket.local_addr())
    };
    place.expect("bound")
}

/// A server in a zone that answers with the address of who asks.
fn serve(zone: &Zone<'_>, number: u32, program: &str) -> harness::Running {
    let log = zone.root().join(format!("srv/log{number}"));
    let script = format!("exec python3 -c \"{program}\" >/srv/log{number} 2>&1");
    let server = harness::start(&mut zone.command(&["sh", "-c", &script]));
    eventually("the server is there", || {
        let said = fs::read_to_string(&log).unwrap_or_default();
        assert!(said.is_empty() || said == "ready\n", "{said}");
        (said == "ready\n").then_some(())
    });
    server
}

fn tcp(address: &str, port: u16) -> String {
    let family = if address.contains(':') {
        "AF_INET6"
    } else {
        "AF_INET"
    };
    format!(
        "
import socket
one = socket.socket(socket.{family})
if one.family == socket.AF_INET6:
    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
one.bind(('{address}', {port}))
one.listen()
print('ready', flush=True)
while True:
    peer, address = one.accept()
    peer.sendall(address[0].encode())
    peer.close()"
    )
}

#[track_caller]
fn ask(place: SocketAddr) -> String {
    let mut said = String::new();
    let mut stream = TcpStream::connect(place).expect("connected");
    stream.read_to_string(&mut said).expect("read");
    said
}

/// Of servers for IPv4 and for IPv6 alone, published before they bind and after.
fn publications_are_reached(home: &Home) {
    if !has_python() {
        return;
    }
    let places: Vec<_> = (0..4).map(|_| place(false)).collect();
    let first: Vec<String> = [80, 81]
        .iter()
        .zip(&places)
        .map(|(port, place)| format!("{place}:{port}"))
        .collect();
    drop(home.create_with("web", &["--publish", &first[0], "--publish", &first[1]]));
    let zone = home.started("web");
    let _servers: Vec<_> = [("0.0.0.0", 80), ("::", 81), ("0.0.0.0", 82), ("::", 83)]
        .iter()
        .zip(0..)
        .map(|((address, port), number)| serve(&zone, number, &tcp(address, *port)))
        .collect();
    for (port, place) in [82, 83].iter().zip(&places[2..]) {
        home.zone(&["publish", "web", &format!("{place}:{port}")])
            .ok();
    }
    for place in &places {
        let said = ask(*place);
        let is_host = ["10.111.0.1", "::ffff:10.111.0.1", "fd6f::1"].contains(&said.as_str());
        assert!(is_host, "{place}: {said}");
    }
    let rows = home.json(&["ports", "web", "--json"]);
    let rows = rows.as_array().expect("rows").iter();
    let published = rows.filter(|row| {
        row["published"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    });
    assert_eq!(published.count(), 4);
    home.zone(&["publish", "--remove", "web", &format!("{}:82", places[2])])
        .ok();
    eventually("the relay is gone", || {
        TcpStream::connect(places[2]).err().map(drop)
    });
    // The zone's own address leads there as before.
    let direct =
        "import socket; print(socket.create_connection(('127.0.0.1', 82)).recv(99).decode())";
    assert_eq!(zone.run(&["python3", "-c", direct]).ok(), "127.0.0.1\n");
}

fn datagrams_are_published_before_they_are_bound(home: &Home) {
    if !has_python() {
        return;
    }
    let (early, late) = (place(true), place(true));
    let wish = format!("{early}:53/udp");
    drop(home.create_with("names", &["--publish", &wish]));
    let zone = home.started("names");
    let program = |address: &str, port: u16| {
        format!(
            "
import socket
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(('{address}', {port}))
print('ready', flush=True)
while True:
    data, address = one.recvfrom(100)
    one.sendto(data + b' from ' + address[0].encode(), address)"
        )
    };
    let _servers = [
        serve(&zone, 0, &program("0.0.0.0", 53)),
        serve(&zone, 1, &program("0.0.0.0", 54)),
    ];
    let client = UdpSocket::bind("127.0.0.1:0").expect("bound");
    client.set_read_timeout(Some(LIMIT)).expect("set");
    client.send_to(b"asked", early).expect("sent");
    let mut buffer = [0; 100];
    let (length, from) = client.recv_from(&mut buffer).expect("answered");
    let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert_eq!(from, early);
    assert!(said.starts_with("asked from 10.111.0."), "{said}");
    // Within the zone it is where it was bound.
    let inside = "
import socket
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.settimeout(60)
one.sendto(b'asked', ('127.0.0.1', 53))
print(one.recvfrom(100))";
    let said = zone.run(&["python3", "-c", inside]).ok();
    assert_eq!(said, "(b'asked from 127.0.0.1', ('127.0.0.1', 53))\n");
    // Datagrams are not relayed: what is bound stays where it is.
    let wish = format!("{late}:54/udp");
    let said = home.zone(&["publish", "names", &wish]).fails(125);
    assert!(
        said.contains("datagrams are not relayed") && said.contains("start the program again"),
        "{said}"
    );
}

fn taken_places_are_told(home: &Home) {
    drop(home.create("web"));
    drop(home.started("web"));
    let taken = TcpListener::bind("127.88.3.1:0").expect("bound");
    let at = taken.local_addr().expect("a name");
    let said = home
        .zone(&["publish", "web", &format!("{at}:80")])
        .fails(125);
    assert!(
        said.contains("another program of the host uses that port")
            && said.contains("choose another port of the host"),
        "{said}"
    );
    drop(taken);
    home.zone(&["publish", "web", &format!("{at}:80")]).ok();
    // The other way: it is kept for the zone.
    assert!(TcpListener::bind(at).is_err());
    let said = home
        .zone(&["publish", "web", &format!("{at}:81")])
        .fails(125);
    assert!(said.contains("want the same port of the host"), "{said}");
    // Of what the host does not have.
    let said = home
        .zone(&["publish", "web", "192.0.2.1:8080:80"])
        .fails(125);
    assert!(said.contains("the host has no such address"), "{said}");
    home.zone(&["publish", "--remove", "web", &format!("{at}:80")])
        .ok();
    eventually("the place is free", || TcpListener::bind(at).ok().map(drop));
}

fn pings_are_as_natively(home: &Home) {
    if !has_python() {
        return;
    }
    let zone = home.boot("ping");
    let same = Same::new(&zone);
    for directory in [same.work().to_owned(), same.work_in_zone()] {
        fs::copy(harness::script("ping.py"), directory.join("ping.py")).expect("copied");
    }
    let seen = same.check("exec python3 ping.py");
    assert_eq!((seen.status, &seen.stderr[..]), (0, ""));
}

/// In a name space of its own, so that the host's setting stays. It has an address that is outside for zones, too.
fn pings_are_answered_where_the_host_lets_users(home: &Home) {
    if !has_python() {
        return;
    }
    let (Some(unshare), true) = (
        harness::program("ping", "unshare"),
        home.role() == harness::Role::Root,
    ) else {
        return harness::skip("ping", "only root has network name spaces of its own");
    };
    let zone = home.create("ping");
    fs::copy(harness::script("ping.py"), zone.root().join("srv/ping.py")).expect("copied");
    let address = zone.address();
    let program = home.place().zone();
    let program = program.display();
    let script = harness::script("ping.py");
    let script = script.display();
    // A zone goes to the outside as the host does; here both ends are the host's.
    let outside = "
import socket
for kind in [socket.SOCK_STREAM, socket.SOCK_DGRAM]:
    one = socket.socket(socket.AF_INET, kind)
    if kind == socket.SOCK_DGRAM:
        one.connect((\"192.0.2.1\", 9))
        print(one.getsockname()[0], one.getpeername())
    else:
        try:
            one.connect((\"192.0.2.1\", 9))
        except ConnectionRefusedError:
            print(\"asked\")
";
    let all = format!(
        "ip link set lo up || exit 77
         echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range || exit 77
         ip address add 192.0.2.1/32 dev lo || exit 77
         python3 {script}; echo --
         {program} boot ping >/dev/null && {program} login ping -- python3 /srv/ping.py {address} 10.111.0.1
         echo --; {program} login ping -- python3 -c '{outside}'
         {program} halt ping >/dev/null"
    );
    let output = run(home.host(&unshare).args(["-n", "sh", "-c", &all]), LIMIT);
    if output.status == 77 {
        return harness::skip("ping", "the setting cannot be changed");
    }
    let said = output.ok();
    let parts: Vec<&str> = said.split("--\n").collect();
    let [native, guest, outside] = parts[..] else {
        panic!("{said}");
    };
    assert_eq!(
        native.matches("True, 7, b'anybody there?'").count(),
        4,
        "{said}"
    );
    assert!(guest.starts_with(native), "{said}");
    for address in [&address[..], "10.111.0.1"] {
        let line = format!("(True, 7, b'anybody there?', '{address}')");
        assert_eq!(guest.matches(&line).count(), 2, "{said}");
    }
    assert_eq!(outside, "asked\n192.0.2.1 ('192.0.2.1', 9)\n");
}

/// As `ss` asks.
fn sockets_are_told_by_netlink(home: &Home) {
    if !has_python() {
        return;
    }
    if harness::program("sockets", "ss").is_none() {
        return;
    }
    let [zone, other] = ["one", "two"].map(|name| home.boot(name));
    let program = "
import socket, sys
kept = []
for family, kind, address, port, only in [
    (2, 1, '0.0.0.0', 80, 0), (10, 1, '::1', 80, 0), (2, 2, '127.0.0.1', 80, 0),
    (10, 1, '::', 81, 0), (10, 1, '::', 82, 1)]:
    one = socket.socket(family, kind)
    if family == 10:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    one.bind((address, port))
    if kind == 1:
        one.listen(7)
    kept.append(one)
client = socket.create_connection(('127.0.0.1', 80))
kept.append(kept[0].accept())
for name in ['/srv/named', '\\0abstract']:
    one = socket.socket(socket.AF_UNIX)
    one.bind(name)
    one.listen()
    kept.append(one)
pair = socket.socketpair()
print('ready', flush=True)
client.recv(1)";
    let _servers = [&zone, &other].map(|zone| serve(zone, 0, program));
    let seen = zone.run(&["ss", "-Htuanp"]);
    assert_eq!(seen.stderr, "");
    let lines: Vec<Vec<&str>> = seen
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let ends = |state: &str| {
        let mut found: Vec<String> = lines
            .iter()
            .filter(|line| line[1] == state)
            .map(|line| format!("{} {}", line[0], line[4]))
            .collect();
        found.sort();
        found
    };
    let listening = ["tcp *:81", "tcp 0.0.0.0:80", "tcp [::1]:80", "tcp [::]:82"];
    assert_eq!(ends("LISTEN"), listening, "{}", seen.stdout);
    assert_eq!(ends("UNCONN"), ["udp 127.0.0.1:80"], "{}", seen.stdout);
    assert_eq!(ends("ESTAB").len(), 2, "{}", seen.stdout);
    assert_eq!(
        seen.stdout.matches("\"python3\"").count(),
        7,
        "{}",
        seen.stdout
    );
    let seen = zone.run(&["ss", "-Hxl"]);
    assert_eq!(seen.stderr, "");
    for name in ["/srv/named", "@abstract"] {
        assert_eq!(seen.stdout.matches(name).count(), 1, "{}", seen.stdout);
    }
    let seen = zone.run(&["ss", "-Hx", "state", "connected"]);
    assert_eq!(seen.stdout.matches("u_str").count(), 2, "{}", seen.stdout);
    assert!(zone.run(&["ss", "-Hwa"]).ok().is_empty());
}
