//! With real sockets, in a directory that stands for the zone's root.

use super::name::family;
use super::*;
use crate::monitor::net::inet::eventually;
use nix::fcntl::{OpenHow, ResolveFlag, openat2};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, getsockname, listen, recv, send, socket,
};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use tempfile::TempDir;

const WHO: Credentials = Credentials {
    pid: 7,
    uid: 33,
    gid: 34,
};

/// A zone with a root, and a caller in `root/place`.
struct Zone {
    unix: Unix,
    home: TempDir,
    root: OwnedFd,
    is_read_only: bool,
    /// Not the owner of any socket.
    is_other: bool,
    /// What is put in the place of what was just bound, by who is faster than the monitor.
    meddler: Option<PathBuf>,
}

fn zone(number: u16) -> Zone {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::create_dir_all(home.path().join("root/place")).expect("made");
    let unix = Unix::new(number, home.path()).expect("made");
    let root = std::fs::File::open(home.path().join("root")).expect("there");
    Zone {
        unix,
        root: root.into(),
        home,
        is_read_only: false,
        is_other: false,
        meddler: None,
    }
}

impl Caller for Zone {
    fn open(&self, path: &[u8], flags: i32) -> Result<OwnedFd, Errno> {
        let path = match path {
            [b'/', ..] => path.to_vec(),
            relative => [b"/place/", relative].concat(),
        };
        let how = OpenHow::new()
            .flags(OFlag::from_bits_retain(flags | libc::O_CLOEXEC))
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.root, &path[..], how)
    }
    fn may_write(&self, _: &OwnedFd) -> bool {
        !self.is_read_only
    }
    fn umask(&self) -> u32 {
        for entry in std::fs::read_dir(self.home.path().join("sockets")).expect("there") {
            if let Some(outside) = &self.meddler {
                let place = entry.expect("read").path();
                std::fs::remove_file(&place).expect("removed");
                symlink(outside, place).expect("made");
            }
        }
        0o027
    }
    fn may_connect(&self, inode: &OwnedFd) -> bool {
        nix::sys::stat::fstat(inode).is_ok_and(|data| data.st_mode & 0o020 != 0 || !self.is_other)
    }
    fn made(&self, _: &OwnedFd, inode: &OwnedFd, mode: u32) {
        let data = nix::sys::stat::fstat(inode).expect("there");
        assert_eq!((data.st_mode & 0o777, mode), (0o750, 0o750));
    }
    fn credentials(&self) -> Credentials {
        WHO
    }
    fn credentials_of(&self, _: u32) -> Credentials {
        Credentials::UNKNOWN
    }
}

impl Zone {
    fn bind(&self, socket: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
        self.unix.bind(self, socket, &bytes(name))
    }
    fn connect(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        let socket = stream();
        self.unix.connect(self, &socket, &bytes(name))?;
        Ok(socket)
    }
    fn listener(&self, name: &[u8], backlog: i32) -> OwnedFd {
        let socket = stream();
        self.bind(&socket, name).expect("bound");
        listen(&socket, Backlog::new(backlog).expect("a number")).expect("listening");
        socket
    }
    /// What getsockname(2) says in the zone.
    fn name(&self, socket: &OwnedFd) -> Vec<u8> {
        let name: UnixAddr = getsockname(socket.as_raw_fd()).expect("a name");
        let host = match (name.as_abstract(), name.path()) {
            (Some(name), _) => [b"\0", name].concat(),
            (_, Some(path)) => [path.as_os_str().as_encoded_bytes(), b"\0"].concat(),
            (None, None) => Vec::new(),
        };
        self.unix.zone_name(&bytes(&host))[FAMILY..].to_vec()
    }
}

fn bytes(name: &[u8]) -> Vec<u8> {
    [&family()[..], name].concat()
}

fn stream() -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Unix, SockType::Stream, flags, None).expect("a socket")
}

fn datagram() -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Unix, SockType::Datagram, flags, None).expect("a socket")
}

fn accept(listener: &OwnedFd) -> OwnedFd {
    UnixListener::from(listener.try_clone().expect("a copy"))
        .accept()
        .expect("a connection")
        .0
        .into()
}

fn receive(socket: &OwnedFd) -> Vec<u8> {
    let mut buffer = [0; 64];
    let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).expect("a datagram");
    buffer[..length].to_vec()
}

#[test]
fn paths_are_relative_to_the_caller_and_named_in_its_words() {
    let zone = zone(64_001);
    let listener = zone.listener(b"sock\0rubbish", 4);
    assert_eq!(zone.name(&listener), b"sock\0");
    let inode = zone.home.path().join("root/place/sock");
    let data = std::fs::metadata(&inode).expect("there");
    assert_eq!(data.mode() & 0o777, 0o750, "by the umask");
    for name in [&b"sock"[..], b"./sock", b"/place/sock", b"../place/sock"] {
        drop(zone.connect(name).expect("connected"));
        drop(accept(&listener));
    }
    assert_eq!(zone.bind(&stream(), b"/place/sock"), Err(Errno::EADDRINUSE));
    assert_eq!(zone.bind(&stream(), b"."), Err(Errno::EADDRINUSE));
    assert_eq!(zone.bind(&stream(), b"a/b"), Err(Errno::ENOENT));
    assert_eq!(zone.bind(&stream(), b"a/"), Err(Errno::ENOENT));
    assert_eq!(zone.bind(&stream(), &[b'x'; 109]), Err(Errno::EINVAL));
    assert_eq!(zone.connect(b"nothing").err(), Some(Errno::ENOENT));
    drop(listener);
    eventually(|| zone.connect(b"sock").err() == Some(Errno::ECONNREFUSED));
    // The longest name, although our own path is longer.
    let long = [b'x'; 108];
    let socket = stream();
    zone.bind(&socket, &long).expect("bound");
    assert_eq!(zone.name(&socket)[..108], long);
}

#[test]
fn the_same_name_in_two_directories_is_two_names() {
    let zone = zone(64_002);
    let (one, two) = (stream(), stream());
    zone.bind(&one, b"/one").expect("bound");
    zone.bind(&two, b"one").expect("bound");
    assert_eq!(zone.name(&one), b"/one\0");
    assert_eq!(zone.name(&two), b"one\0");
}

#[test]
fn no_link_leads_out() {
    let zone = zone(64_003);
    let outside = zone.home.path().join("outside");
    let _host = UnixListener::bind(&outside).expect("bound");
    let link = zone.home.path().join("root/place/link");
    symlink(&outside, &link).expect("made");
    assert_eq!(zone.connect(b"link").err(), Some(Errno::ENOENT));
    assert_eq!(zone.bind(&stream(), b"link"), Err(Errno::EADDRINUSE));
}

#[test]
fn what_replaces_a_socket_keeps_its_mode() {
    let mut zone = zone(64_013);
    let outside = zone.home.path().join("outside");
    std::fs::write(&outside, "").expect("made");
    let mode = || std::fs::metadata(&outside).expect("there").mode() & 0o777;
    let before = mode();
    assert_ne!(before, 0o750);
    zone.meddler = Some(outside.clone());
    zone.bind(&stream(), b"sock").expect("bound");
    assert_eq!(mode(), before);
    // By the link it would have been changed.
    let link = zone.home.path().join("root/place/sock");
    assert!(link.is_symlink());
    let by_name = std::fs::Permissions::from_mode(0o750);
    std::fs::set_permissions(link, by_name).expect("ours");
    assert_eq!(mode(), 0o750);
}

#[test]
fn sockets_of_another_zone_are_not_reached() {
    let (one, two) = (zone(64_014), zone(64_015));
    let _listener = one.listener(b"sock", 4);
    let made = one.home.path().join("root/place/sock");
    let seen = two.home.path().join("root/place/sock");
    std::fs::hard_link(&made, &seen).expect("linked");
    assert_eq!(two.connect(b"sock").err(), Some(Errno::ECONNREFUSED));
    let to = bytes(b"sock");
    let refused = two.unix.messenger(&two, &datagram(), &to).err();
    assert_eq!(refused, Some(Errno::ECONNREFUSED));
    drop(one.connect(b"sock").expect("its own"));
    let hosts = two.home.path().join("root/place/hosts");
    let _host = UnixListener::bind(hosts).expect("bound");
    for _ in 0..2 {
        drop(two.connect(b"hosts").expect("the host's"));
    }
    std::fs::write(two.home.path().join("root/place/file"), "").expect("made");
    assert_eq!(two.connect(b"file").err(), Some(Errno::ECONNREFUSED));
}

#[test]
fn what_is_read_only_stays_so() {
    let zone = Zone {
        is_read_only: true,
        ..zone(64_004)
    };
    assert_eq!(zone.bind(&stream(), b"sock"), Err(Errno::EROFS));
}

#[test]
fn the_mode_decides_who_connects() {
    let mut zone = zone(64_011);
    let _listener = zone.listener(b"sock", 4);
    zone.is_other = true;
    assert_eq!(zone.connect(b"sock").err(), Some(Errno::EACCES));
}

#[test]
fn a_full_backlog_is_not_waited_for() {
    let zone = zone(64_005);
    let listener = zone.listener(b"sock", 0);
    let _first = zone.connect(b"sock").expect("connected");
    let second = stream();
    let attempt = || zone.unix.connect(&zone, &second, &bytes(b"sock"));
    assert_eq!(attempt(), Err(Errno::EAGAIN));
    let flags = fcntl(&second, FcntlArg::F_GETFL).expect("read");
    assert_eq!(flags & libc::O_NONBLOCK, 0, "the guest's own flags");
    drop(accept(&listener));
    assert_eq!(attempt(), Ok(()));
}

#[test]
fn a_guest_that_turns_waiting_on_is_not_waited_for() {
    let zone = zone(64_012);
    let _listener = zone.listener(b"sock", 0);
    let _first = zone.connect(b"sock").expect("connected");
    let second = stream();
    let path = zone.home.path().join("root/place/sock");
    let target = UnixAddr::new(&path).expect("short");
    // What a guest does to the flags at the worst moment.
    let attempt = || {
        let flags = OFlag::from_bits_retain(fcntl(&second, FcntlArg::F_GETFL)?);
        fcntl(&second, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
        connect(second.as_raw_fd(), &target)
    };
    for _ in 0..3 {
        assert_eq!(without_waiting(&second, attempt), Err(Errno::EAGAIN));
    }
    // Nothing strikes afterwards.
    let (read, _write) = std::io::pipe().expect("a pipe");
    let mut fds = [nix::poll::PollFd::new(
        read.as_fd(),
        nix::poll::PollFlags::POLLIN,
    )];
    assert_eq!(nix::poll::poll(&mut fds, 20u8), Ok(0));
}

#[test]
fn abstract_names_are_the_zones_own() {
    let (one, two) = (zone(64_006), zone(64_007));
    let first = one.listener(b"\0name", 4);
    assert_eq!(two.connect(b"\0name").err(), Some(Errno::ECONNREFUSED));
    let second = two.listener(b"\0name", 4);
    assert_eq!(one.name(&first), b"\0name");
    assert_eq!(two.name(&second), b"\0name");
    let _client = two.connect(b"\0name").expect("connected");
    drop(accept(&second));
    let (host, unnamed) = (stream(), stream());
    bind(
        host.as_raw_fd(),
        &UnixAddr::new_abstract(b"picozone-test-host").expect("short"),
    )
    .expect("bound");
    assert_eq!(one.name(&host), b"", "none of the zone's");
    one.bind(&unnamed, b"").expect("bound");
    assert_eq!(one.name(&unnamed).len(), 6);
}

#[test]
fn the_one_who_asked_is_at_the_other_end() {
    let zone = zone(64_008);
    let listener = zone.listener(b"sock", 4);
    let client = zone.connect(b"sock").expect("connected");
    let accepted = accept(&listener);
    assert_eq!(zone.unix.peer(&zone, &accepted), Ok(WHO));
    // Also when it is gone.
    drop(client);
    assert_eq!(zone.unix.peer(&zone, &accepted), Ok(WHO));
    let alone = zone.unix.peer(&zone, &stream()).expect("an answer");
    assert_eq!((alone.pid, alone.uid), (0, u32::MAX));
}

#[test]
fn datagrams_by_connection_and_without() {
    let zone = zone(64_009);
    let receiver = datagram();
    zone.bind(&receiver, b"/dev/log").expect("bound");
    assert_eq!(zone.name(&receiver), b"/dev/log\0");
    let sender = datagram();
    zone.unix
        .connect(&zone, &sender, &bytes(b"/dev/log"))
        .expect("connected");
    for text in ["one", "two"] {
        send(sender.as_raw_fd(), text.as_bytes(), MsgFlags::empty()).expect("sent");
    }
    assert_eq!(receive(&receiver), b"one");
    assert_eq!(receive(&receiver), b"two");
    // By a messenger, which has the sender's name.
    let post = |sender: &OwnedFd, text: &[u8]| {
        let messenger = zone.unix.messenger(&zone, sender, &bytes(b"/dev/log"))?;
        send(messenger.as_raw_fd(), text, MsgFlags::empty())
    };
    let lone = datagram();
    assert_eq!(post(&lone, b"lone"), Ok(4));
    assert_eq!(received(&zone, &receiver), (b"lone".to_vec(), Vec::new()));
    zone.bind(&lone, b"\0its name").expect("bound");
    for text in [b"1", b"2"] {
        assert_eq!(post(&lone, text), Ok(1));
        let (got, name) = received(&zone, &receiver);
        assert_eq!((&got[..], &name[..]), (&text[..], &b"\0its name"[..]));
    }
    // A restart binds the name anew.
    drop(receiver);
    assert_eq!(post(&lone, b"x"), Err(Errno::ECONNREFUSED));
    let receiver = datagram();
    zone.bind(&receiver, b"/dev/log").expect("bound");
    assert_eq!(post(&lone, b"new"), Ok(3));
    assert_eq!(receive(&receiver), b"new");
}

/// What arrived, and the name of who sent it in the zone.
fn received(zone: &Zone, socket: &OwnedFd) -> (Vec<u8>, Vec<u8>) {
    use std::os::linux::net::SocketAddrExt;
    let socket = std::os::unix::net::UnixDatagram::from(socket.try_clone().expect("a copy"));
    let mut buffer = [0; 64];
    let (length, from) = socket.recv_from(&mut buffer).expect("a datagram");
    let name = from.as_abstract_name().map_or(Vec::new(), |name| {
        zone.unix.zone_name(&bytes(&[&[0], name].concat()))[FAMILY..].to_vec()
    });
    (buffer[..length].to_vec(), name)
}

#[test]
fn who_hears_one_peer_hears_its_own_socket() {
    let zone = zone(64_010);
    let [server, client] = [b"server", b"client"].map(|name| {
        let socket = datagram();
        zone.bind(&socket, name).expect("bound");
        socket
    });
    zone.unix
        .connect(&zone, &client, &bytes(b"server"))
        .expect("connected");
    let to = bytes(b"client");
    let refused = zone.unix.messenger(&zone, &server, &to).err();
    assert_eq!(refused, Some(Errno::EPERM));
    let letter = |text: &[u8]| {
        let flags = SockFlag::SOCK_CLOEXEC;
        let pair =
            nix::sys::socket::socketpair(AddressFamily::Unix, SockType::Datagram, None, flags);
        let (ours, theirs) = pair.expect("a pair");
        send(ours.as_raw_fd(), text, MsgFlags::empty()).expect("sent");
        theirs
    };
    let long = vec![7; 100_000];
    for text in [&b"answer"[..], &long] {
        zone.unix
            .send(&zone, &server, &letter(text), &to)
            .expect("sent");
        let mut buffer = vec![0; 200_000];
        let length = recv(client.as_raw_fd(), &mut buffer, MsgFlags::empty()).expect("received");
        assert!(buffer[..length] == *text);
    }
    let other = zone.unix.send(&zone, &datagram(), &letter(b"x"), &to);
    assert_eq!(other, Err(Errno::EPERM));
}
