//! With real sockets, at 127.x only. Each test has a zone number of its own, and so addresses.

use super::plan::Family;
use super::state::{EPHEMERAL, chosen_ip};
use super::*;
use nix::sys::socket::sockopt::{Ipv6V6Only, ReuseAddr, ReusePort};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket as make};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

/// What was told to the guests.
#[derive(Clone)]
struct Told(Arc<Mutex<Vec<Option<Row>>>>, usize);

impl Rows for Told {
    fn capacity(&self) -> usize {
        self.1
    }

    fn write(&self, slot: usize, row: Option<&Row>) {
        let mut rows = self.0.lock().expect("no panic");
        let length = rows.len().max(slot + 1);
        rows.resize(length, None);
        rows[slot] = row.copied();
    }
}

impl Told {
    fn rows(&self) -> Vec<Row> {
        self.0
            .lock()
            .expect("no panic")
            .iter()
            .flatten()
            .copied()
            .collect()
    }
}

struct Zone {
    inet: Inet,
    told: Told,
    _home: tempfile::TempDir,
}

fn zone(number: u16) -> Zone {
    let home = tempfile::tempdir().expect("a directory");
    let (inet, told) = in_home(number, home.path());
    Zone {
        inet,
        told,
        _home: home,
    }
}

fn in_home(number: u16, home: &Path) -> (Inet, Told) {
    let run_dir = home.join(format!("zones/zone{number}/run"));
    std::fs::create_dir_all(&run_dir).expect("made");
    let told = Told(Arc::default(), if number == 65_008 { 4 } else { 1024 });
    let inet = Inet::new(number, Box::new(told.clone()), &run_dir);
    // As for an ordinary user, whoever runs the tests.
    inet.lock().first_port = 1024;
    (inet, told)
}

fn bytes(text: &str) -> Vec<u8> {
    match text.parse().expect("an address") {
        SocketAddr::V4(v4) => plan::write(v4, &[2, 0])[..16].to_vec(),
        SocketAddr::V6(v6) => {
            let family = 10u16.to_ne_bytes();
            [
                &family[..],
                &v6.port().to_be_bytes(),
                &[0; 4],
                &v6.ip().octets(),
                &[0; 4],
            ]
            .concat()
        }
    }
}

/// A guest's socket: what kind follows from the address that it is to be bound to.
fn socket(zone: &str, kind: SockType) -> OwnedFd {
    let family = if zone.starts_with('[') {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    };
    make(family, kind, SockFlag::SOCK_CLOEXEC, None).expect("a socket")
}

fn bind(inet: &Inet, zone: &str) -> Result<OwnedFd, Errno> {
    let socket = socket(zone, SockType::Stream);
    inet.bind(socket.as_fd(), &bytes(zone)).map(|()| socket)
}

/// A server as most are: `SO_REUSEADDR`, so that it can be restarted at once.
fn bind_server(inet: &Inet, zone: &str) -> Result<OwnedFd, Errno> {
    let socket = socket(zone, SockType::Stream);
    setsockopt(&socket, ReuseAddr, &true).expect("set");
    inet.bind(socket.as_fd(), &bytes(zone)).map(|()| socket)
}

fn bind_v6_only(inet: &Inet, zone: &str) -> Result<OwnedFd, Errno> {
    let socket = socket(zone, SockType::Stream);
    setsockopt(&socket, Ipv6V6Only, &true).expect("set");
    inet.bind(socket.as_fd(), &bytes(zone)).map(|()| socket)
}

fn bind_udp(inet: &Inet, zone: &str) -> Result<OwnedFd, Errno> {
    let socket = socket(zone, SockType::Datagram);
    inet.bind(socket.as_fd(), &bytes(zone)).map(|()| socket)
}

/// The kernel's lists may lack a socket that is there.
#[test]
fn what_one_look_misses_is_kept() {
    let Zone { inet, told, .. } = zone(65_033);
    let _datagrams = bind_udp(&inet, "127.0.0.2:5353").expect("bound");
    let _server = listen(bind_server(&inet, "127.0.0.1:8080").expect("bound"));
    let _ = inet.ports();
    assert!(!inet.lock().sweep(&Snapshot::default()));
    assert_eq!(told.rows().len(), 2);
}

fn listen(socket: OwnedFd) -> TcpListener {
    nix::sys::socket::listen(
        &socket,
        nix::sys::socket::Backlog::new(16).expect("a number"),
    )
    .expect("listening");
    TcpListener::from(socket)
}

/// Where a socket really is.
fn name(socket: &impl AsFd) -> SocketAddrV4 {
    let name = socket
        .as_fd()
        .try_clone_to_owned()
        .map(UdpSocket::from)
        .expect("a copy")
        .local_addr()
        .expect("a name");
    match name {
        SocketAddr::V4(v4) => v4,
        SocketAddr::V6(v6) => {
            SocketAddrV4::new(v6.ip().to_ipv4_mapped().expect("v4-mapped"), v6.port())
        }
    }
}

/// Whether what listens at `at` answers with the peer's own words.
fn answers(listener: &TcpListener, at: SocketAddrV4) -> bool {
    let Ok(mut client) = TcpStream::connect(at) else {
        return false;
    };
    client.write_all(b"hello").expect("written");
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut got = [0; 5];
    stream.read_exact(&mut got).expect("read");
    &got == b"hello"
}

/// What is closed may stay for a moment: other tests of this process start programs, which hold every
/// descriptor until they execute.
pub(in crate::monitor::net) fn eventually(look: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !look() {
        assert!(start.elapsed().as_secs() < 10, "it does not come");
        std::thread::yield_now();
    }
}

/// A port that is free at this address for now.
fn free_port(ip: Ipv4Addr) -> u16 {
    name(&TcpListener::bind((ip, 0)).expect("bound")).port()
}

fn tcp(host: SocketAddrV4, zone_port: u16) -> Publish {
    Publish {
        host_address: *host.ip(),
        host_port: host.port(),
        zone_port,
        protocol: Protocol::Tcp,
    }
}

#[test]
fn a_port_has_its_number_on_the_host_and_goes_with_its_socket() {
    let zone = zone(65_001);
    let socket = bind_server(&zone.inet, "0.0.0.0:8080").expect("bound");
    let place = SocketAddrV4::new(address::host_v4(65_001), 8080);
    assert_eq!(name(&socket), place);
    let told = Row {
        protocol: Protocol::Tcp,
        covers: Covers::ANY_V4,
        zone_ip: Ipv4Addr::UNSPECIFIED,
        zone_port: 8080,
        host: place,
    };
    assert_eq!(zone.told.rows(), [told]);
    assert_eq!(zone.inet.ports(), [], "it does not listen yet");
    assert_eq!(zone.told.rows(), [told], "but it is bound");
    let listener = listen(socket);
    assert!(answers(&listener, place));
    let port = Port {
        protocol: Protocol::Tcp,
        zone_address: address::zone_v4(65_001).into(),
        zone_port: 8080,
        host_address: *place.ip(),
        host_port: 8080,
        published: Vec::new(),
    };
    assert_eq!(zone.inet.ports(), [port]);
    drop(listener);
    eventually(|| zone.inet.ports().is_empty());
    assert_eq!(zone.told.rows(), []);
    // Connections linger at the place; with SO_REUSEADDR that is no obstacle.
    let again = bind_server(&zone.inet, "0.0.0.0:8080").expect("bound");
    assert_eq!(name(&again), place);
}

#[test]
fn low_ports_and_taken_ones_get_substitutes() {
    let zone = zone(65_002);
    let public = address::host_v4(65_002);
    assert_eq!(
        name(&bind(&zone.inet, "[::]:80").expect("bound")),
        SocketAddrV4::new(public, 20_080)
    );
    let _stranger = TcpListener::bind((public, 8080)).expect("bound");
    let socket = bind(&zone.inet, "0.0.0.0:8080").expect("bound");
    assert_eq!(name(&socket), SocketAddrV4::new(public, 28_080));
    // The number of a substitute is a port like any other.
    let other = bind(&zone.inet, "0.0.0.0:28080").expect("bound");
    assert_eq!(name(&other), SocketAddrV4::new(public, 48_080));
    assert!(Inet::is_privileged(&bytes("[::]:80")) && !Inet::is_privileged(&bytes("[::]:8080")));
}

#[test]
fn addresses_in_use_as_the_zone_sees_them() {
    // Natively: the first, the second, and whether they coexist.
    type Bind = fn(&Inet, &str) -> Result<OwnedFd, Errno>;
    let plain: Bind = bind;
    let only: Bind = bind_v6_only;
    for (first, at_first, second, at_second, coexist) in [
        (plain, "0.0.0.0:7000", plain, "0.0.0.0:7000", false),
        (plain, "0.0.0.0:7001", plain, "127.0.0.1:7001", false),
        (plain, "127.0.0.1:7002", plain, "0.0.0.0:7002", false),
        (plain, "0.0.0.0:7003", plain, "10.111.253.236:7003", false),
        (plain, "127.0.0.1:7004", plain, "10.111.253.236:7004", true),
        (plain, "127.0.0.1:7005", plain, "127.0.0.2:7005", true),
        (plain, "127.0.0.1:7006", plain, "127.0.0.1:7006", false),
        (plain, "0.0.0.0:7007", plain, "[::]:7007", false),
        (plain, "[::]:7008", plain, "0.0.0.0:7008", false),
        (plain, "0.0.0.0:7009", only, "[::]:7009", true),
        (only, "[::]:7010", plain, "[::]:7010", false),
        (plain, "[::1]:7011", plain, "127.0.0.1:7011", true),
        (plain, "[::1]:7012", only, "[::]:7012", false),
        (plain, "[::1]:7013", plain, "[::]:7013", false),
        (
            plain,
            "[::ffff:127.0.0.1]:7014",
            plain,
            "127.0.0.1:7014",
            false,
        ),
        (plain, "[::1]:7015", plain, "[fd6f::fdec]:7015", true),
        (
            plain,
            "0.0.0.0:7016",
            bind_udp as Bind,
            "0.0.0.0:7016",
            true,
        ),
        (
            bind_udp as Bind,
            "[::]:7017",
            bind_udp as Bind,
            "127.0.0.1:7017",
            false,
        ),
    ] {
        let zone = zone(65_003);
        let _first = first(&zone.inet, at_first).expect("bound");
        match second(&zone.inet, at_second) {
            Ok(_) => assert!(coexist, "{at_first} and {at_second}"),
            Err(errno) => assert!(
                !coexist && errno == Errno::EADDRINUSE,
                "{at_first} and {at_second}: {errno}"
            ),
        }
    }
}

#[test]
fn connections_that_are_over_are_in_the_way_of_their_own_zone_only() {
    const NUMBER: u16 = 65_014;
    let before = zone(NUMBER);
    before.inet.lock().began -= std::time::Duration::from_secs(1);
    // What closes its connection first, without SO_REUSEADDR, keeps its port for a minute.
    let port = free_port(address::host_loopback_v4(NUMBER));
    let [loopback, any] = ["127.0.0.1", "0.0.0.0"].map(|ip| format!("{ip}:{port}"));
    let listener = listen(bind(&before.inet, &loopback).expect("bound"));
    let host = name(&listener);
    let client = TcpStream::connect(host).expect("connected");
    drop((listener.accept().expect("a connection"), listener));
    drop(client);
    for wanted in [&loopback, &any] {
        eventually(|| bind_server(&before.inet, wanted).err() == Some(Errno::EADDRINUSE));
    }
    drop(before);
    // It is booted again, or its number is given to another.
    for wanted in [&loopback, &any] {
        let after = zone(NUMBER);
        let server = bind_server(&after.inet, wanted).expect("bound");
        assert_ne!(name(&server), host);
    }
}

#[test]
fn sharing_a_port_is_for_the_zone_alone() {
    let zone = zone(65_004);
    let shared = |at: &str| {
        let socket = socket(at, SockType::Stream);
        setsockopt(&socket, ReusePort, &true).expect("set");
        zone.inet.bind(socket.as_fd(), &bytes(at)).map(|()| socket)
    };
    let one = shared("0.0.0.0:7000").expect("bound");
    let two = shared("0.0.0.0:7000").expect("shared");
    assert_eq!(name(&one), name(&two));
    let three = shared("127.0.0.1:7000").expect("shared, as natively");
    assert_ne!(name(&one), name(&three));
    assert_eq!(zone.told.rows().len(), 2);

    // Whether those that have the place are still there makes no difference.
    drop((one, two));
    let again = shared("0.0.0.0:7000").expect("bound");
    assert_eq!(
        name(&again),
        SocketAddrV4::new(address::host_v4(65_004), 7000)
    );
    assert_eq!(zone.told.rows().len(), 2);
    assert_eq!(
        bind(&zone.inet, "0.0.0.0:7000").err(),
        Some(Errno::EADDRINUSE)
    );

    let stranger = socket("0.0.0.0:0", SockType::Stream);
    setsockopt(&stranger, ReusePort, &true).expect("set");
    let taken = SocketAddrV4::new(address::host_v4(65_004), 7001);
    nix::sys::socket::bind(
        stranger.as_raw_fd(),
        &nix::sys::socket::SockaddrIn::from(taken),
    )
    .expect("bound");
    let _stranger = listen(stranger);
    assert_ne!(name(&shared("0.0.0.0:7001").expect("elsewhere")), taken);
}

#[test]
fn the_host_chooses_where_the_guest_does_not() {
    let zone = zone(65_005);
    let socket = bind(&zone.inet, "127.0.0.1:0").expect("bound");
    assert_eq!(*name(&socket).ip(), address::host_loopback_v4(65_005));
    assert_eq!(zone.told.rows()[0].zone_port, name(&socket).port());
    let udp = bind_udp(&zone.inet, "[::1]:0").expect("bound");
    assert_eq!(*name(&udp).ip(), address::host_loopback_v6(65_005));
    let plan = Plan::of(65_005, Family::Dual, &bytes("[::]:0")).expect("a plan");
    assert_eq!(chosen_ip(Protocol::Udp, &plan), Ipv4Addr::UNSPECIFIED);
    assert_eq!(chosen_ip(Protocol::Tcp, &plan), address::host_v4(65_005));
}

#[test]
fn a_number_that_the_zone_has_elsewhere_is_not_chosen() {
    let zone = zone(65_006);
    let _substituted = bind(&zone.inet, "0.0.0.0:80").expect("bound");
    let state = zone.inet.lock();
    let plan = Plan::of(65_006, Family::V4, &bytes("127.0.0.1:0")).expect("a plan");
    assert_eq!(state.zone_port(Protocol::Tcp, &plan, 80), EPHEMERAL);
    assert_eq!(state.zone_port(Protocol::Tcp, &plan, 81), 81);
    assert_eq!(state.zone_port(Protocol::Udp, &plan, 80), 80);
}

#[test]
fn bad_sockets_and_failed_binds() {
    let zone = zone(65_007);
    let (unix, _) = std::os::unix::net::UnixStream::pair().expect("a pair");
    assert_eq!(
        zone.inet.bind(unix.as_fd(), &bytes("0.0.0.0:80")),
        Err(Errno::EOPNOTSUPP)
    );
    let socket = bind(&zone.inet, "0.0.0.0:7000").expect("bound");
    assert_eq!(
        zone.inet.bind(socket.as_fd(), &bytes("0.0.0.0:7001")),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        bind(&zone.inet, "10.111.0.1:7000").err(),
        Some(Errno::EADDRNOTAVAIL)
    );
    // What the guest set is there for its next try.
    let _six = bind_v6_only(&zone.inet, "[::]:7002").expect("bound");
    let second = self::socket("[::]:7002", SockType::Stream);
    setsockopt(&second, Ipv6V6Only, &true).expect("set");
    assert_eq!(
        zone.inet.bind(second.as_fd(), &bytes("[::]:7002")),
        Err(Errno::EADDRINUSE)
    );
    assert!(nix::sys::socket::getsockopt(&second, Ipv6V6Only).expect("read"));
}

#[test]
fn a_full_table_makes_room() {
    let zone = zone(65_008);
    let clients: Vec<OwnedFd> = (0..6)
        .map(|_| bind(&zone.inet, "0.0.0.0:0").expect("room is made"))
        .collect();
    assert_eq!(zone.told.rows().len(), 4);
    drop(clients);
    let servers: Vec<OwnedFd> = (0..4)
        .map(|port| bind(&zone.inet, &format!("127.0.0.1:{}", 7000 + port)).expect("the dead go"))
        .collect();
    assert_eq!(
        bind(&zone.inet, "127.0.0.1:7004").err(),
        Some(Errno::ENOBUFS)
    );
    drop(servers);
}

#[test]
fn published_before_the_bind_there_is_nothing_in_between() {
    let zone = zone(65_009);
    let at = SocketAddrV4::new(
        Ipv4Addr::new(127, 111, 250, 1),
        free_port(Ipv4Addr::new(127, 111, 250, 1)),
    );
    zone.inet.publish(tcp(at, 80)).expect("published");
    zone.inet
        .publish(tcp(at, 80))
        .expect("and again, to no effect");
    TcpListener::bind(at).expect_err("it is reserved");
    let listener = listen(bind_server(&zone.inet, "[::]:80").expect("bound"));
    assert_eq!(name(&listener), at);
    assert!(answers(&listener, at));
    let [port] = &zone.inet.ports()[..] else {
        panic!("one port")
    };
    assert_eq!(
        (port.host_address, port.host_port),
        (address::host_v4(65_009), 20_080)
    );
    assert_eq!(port.published, [at]);
    assert!(
        answers(
            &listener,
            SocketAddrV4::new(port.host_address, port.host_port)
        ),
        "by a relay"
    );

    let error = zone
        .inet
        .unpublish(&tcp(at, 80))
        .expect_err("the program is bound there");
    assert!(error.remedy().contains("restart that program"));
    assert!(
        zone.inet.unpublish(&tcp(at, 80)).is_err(),
        "it is no publication any more"
    );
    drop(listener);
    eventually(|| zone.inet.ports().is_empty());
    eventually(|| TcpListener::bind(at).is_ok());
}

#[test]
fn published_after_the_bind_a_relay_serves_until_the_restart() {
    let zone = zone(65_010);
    let at = SocketAddrV4::new(
        Ipv4Addr::new(127, 111, 250, 2),
        free_port(Ipv4Addr::new(127, 111, 250, 2)),
    );
    let listener = listen(bind_server(&zone.inet, "0.0.0.0:7000").expect("bound"));
    zone.inet.publish(tcp(at, 7000)).expect("published");
    assert!(answers(&listener, at));
    assert_eq!(zone.inet.ports()[0].published, [at]);
    drop(listener);
    eventually(|| zone.inet.ports().is_empty());
    TcpListener::bind(at).expect_err("it is reserved again");
    let listener = bind_server(&zone.inet, "0.0.0.0:7000").expect("bound");
    assert_eq!(name(&listener), at);

    let also = SocketAddrV4::new(*at.ip(), free_port(*at.ip()));
    let listener = listen(listener);
    zone.inet.publish(tcp(also, 7000)).expect("a second place");
    assert!(answers(&listener, also));
    zone.inet.unpublish(&tcp(also, 7000)).expect("a relay ends");
    eventually(|| TcpListener::bind(also).is_ok());
}

#[test]
fn publications_that_cannot_be() {
    let zone = zone(65_011);
    let ip = Ipv4Addr::new(127, 111, 250, 3);
    let stranger = TcpListener::bind((ip, 0)).expect("bound");
    let error = zone
        .inet
        .publish(tcp(name(&stranger), 80))
        .expect_err("taken");
    assert!(
        error
            .to_string()
            .contains("another program of the host uses that port"),
        "{error}"
    );
    assert!(
        zone.inet
            .publish(tcp(SocketAddrV4::new(ip, 0), 80))
            .is_err()
    );
    assert!(
        zone.inet
            .publish(tcp(
                SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 8080),
                80
            ))
            .is_err()
    );
    let at = SocketAddrV4::new(ip, free_port(ip));
    zone.inet.publish(tcp(at, 80)).expect("published");
    let error = zone.inet.publish(tcp(at, 81)).expect_err("one port each");
    assert!(
        error.to_string().contains("publishes its port 80 there"),
        "{error}"
    );
    let _udp = bind_udp(&zone.inet, "127.0.0.1:7000").expect("bound");
    let udp = Publish {
        protocol: Protocol::Udp,
        ..tcp(at, 7000)
    };
    zone.inet
        .publish(udp.clone())
        .expect("a loopback socket is not what is published");
    zone.inet.unpublish(&udp).expect("taken back");
    let _udp = bind_udp(&zone.inet, "10.111.253.244:7000").expect("bound");
    let error = zone.inet.publish(udp).expect_err("no relay of datagrams");
    assert!(
        error.to_string().contains("datagrams are not relayed"),
        "{error}"
    );
}

#[test]
fn zones_find_each_other() {
    let home = tempfile::tempdir().expect("a directory");
    let (one, told) = in_home(65_012, home.path());
    let (two, _) = in_home(65_013, home.path());
    let find = |zone: &str| {
        one.peer_port(Protocol::Tcp, &bytes(zone)).map(|host| {
            let (ip, port) = plan::parse(&host).expect("an address");
            assert_eq!(plan::is_sockaddr_in6(&host), zone.starts_with('['));
            SocketAddr::new(ip, port).to_string()
        })
    };
    let natural = Ok("127.111.253.246:80".to_owned());
    assert_eq!(find("10.111.253.246:80"), natural, "nothing is known of it");
    let listener = bind(&two, "[::]:80").expect("bound");
    let mapped = Ok("127.111.253.246:20080".to_owned());
    assert_eq!(find("10.111.253.246:80"), mapped);
    let way_back = Row {
        protocol: Protocol::Tcp,
        covers: Covers::REMOTE,
        zone_ip: address::zone_v4(65_013),
        zone_port: 80,
        host: "127.111.253.246:20080".parse().expect("an address"),
    };
    assert_eq!(told.rows(), [way_back]);
    assert_eq!(find("[fd6f::fdf6]:80"), mapped);
    assert_eq!(find("[::ffff:10.111.253.246]:80"), mapped);
    assert_eq!(
        find("10.111.253.246:20080"),
        Ok("127.112.253.246:20080".into()),
        "that number is unbound there"
    );
    let answer = two.peer_port(Protocol::Udp, &bytes("[fd6f::fdf5]:40000"));
    assert_eq!(
        answer.map(|host| plan::parse(&host).map(|(ip, _)| ip.to_string())),
        Ok(Some("127.112.253.245".into())),
        "to a client that never bound"
    );
    assert_eq!(find("10.111.0.1:631"), Ok("127.0.0.1:631".into()));
    assert_eq!(find("[fd6f::1]:631"), Ok("127.0.0.1:631".into()));
    assert_eq!(find("10.111.253.245:80"), Err(Errno::ECONNREFUSED));
    assert_eq!(find("8.8.8.8:80"), Err(Errno::EINVAL));
    let _own = bind(&one, "0.0.0.0:81").expect("bound");
    assert_eq!(
        find("10.111.253.245:81"),
        Ok("127.111.253.245:20081".into())
    );
    drop(listener);
    eventually(|| two.ports().is_empty());
    let listener = bind(&two, "[fd6f::fdf6]:80").expect("bound");
    assert_eq!(find("10.111.253.246:80"), natural);
    assert_eq!(find("[fd6f::fdf6]:80"), Ok("127.112.253.246:20080".into()));
    drop(listener);
    drop(two);
    assert_eq!(find("10.111.253.246:80"), natural);
    assert!(!home.path().join("zones/zone65013/run/ports.json").exists());
}
