//! A zone made of the test process and children of it, against the host's `/proc`.

mod dev;
mod parsers;
mod process;
mod sockets;
mod tree;

use super::{Credentials, Errno, Mount, Node, Protocol, Stated, View, lookup, stat};
use crate::ids::{HostPid, ZonePid};
use picozone_fsmap::Last;
use picozone_personality::net::ZoneNet;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

/// The zone: the test process is its init.
pub(super) struct Fake {
    processes: Mutex<BTreeMap<u32, u32>>,
    users: BTreeMap<u32, Credentials>,
    hidden_descriptors: Range<u32>,
    hidden_addresses: Range<u64>,
    /// A host path and what the zone calls it.
    shared: Vec<(String, &'static str)>,
    ptys: Vec<u32>,
    translate_socket: fn(SocketAddr, SocketAddr) -> Option<(SocketAddr, SocketAddr)>,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            processes: Mutex::new(BTreeMap::from([(1, std::process::id())])),
            users: BTreeMap::new(),
            hidden_descriptors: 1024..1056,
            hidden_addresses: 0x6000_0000_0000..0x6300_0000_0000,
            shared: vec![("/usr".to_owned(), "/usr")],
            ptys: Vec::new(),
            translate_socket: |local, peer| Some((local, peer)),
        }
    }
}

impl Fake {
    fn add(&self, zone: u32, host: u32) {
        self.processes.lock().expect("no panic").insert(zone, host);
    }
    fn remove(&self, zone: u32) {
        self.processes.lock().expect("no panic").remove(&zone);
    }
}

impl View for Fake {
    fn setting(&self, path: &str) -> Vec<u8> {
        match path {
            "sys/kernel/hostname" => b"web1\n".to_vec(),
            _ => b"0\n".to_vec(),
        }
    }
    fn processes(&self) -> Vec<(ZonePid, HostPid)> {
        let processes = self.processes.lock().expect("no panic");
        processes
            .iter()
            .map(|(&zone, &host)| (ZonePid(zone), HostPid(host)))
            .collect()
    }
    fn to_zone(&self, host: HostPid) -> Option<ZonePid> {
        self.processes()
            .into_iter()
            .find(|(_, other)| *other == host)
            .map(|(zone, _)| zone)
    }
    fn to_host(&self, zone: ZonePid) -> Option<HostPid> {
        self.processes
            .lock()
            .expect("no panic")
            .get(&zone.0)
            .copied()
            .map(HostPid)
    }
    fn credentials(&self, zone: ZonePid) -> Credentials {
        let root = || Credentials {
            capabilities: picozone_personality::capabilities::Capabilities::ROOT,
            ..Credentials::default()
        };
        self.users.get(&zone.0).cloned().unwrap_or_else(root)
    }
    fn to_zone_path(&self, host: &[u8]) -> Option<Vec<u8>> {
        self.shared.iter().find_map(|(from, to)| {
            let rest = host.strip_prefix(from.as_bytes())?;
            Some([to.as_bytes(), rest].concat())
        })
    }
    fn mounts(&self) -> Vec<Mount> {
        let mount = |path: &[u8], fstype: &str, device| Mount {
            path: path.to_vec(),
            fstype: fstype.to_owned(),
            source: "zone".to_owned(),
            options: "rw,nosuid".to_owned(),
            device,
            id: 20 + path.len(),
            root: b"/".to_vec(),
        };
        vec![
            mount(b"/", "ext4", libc::makedev(8, 1)),
            mount(b"/proc", "proc", libc::makedev(0, 20)),
            mount(b"/dev", "devtmpfs", libc::makedev(0, 21)),
            mount(b"/dev/shm", "tmpfs", libc::makedev(0, 22)),
            mount(b"/srv/with blank", "ext4", libc::makedev(8, 1)),
        ]
    }
    fn hostname(&self) -> Vec<u8> {
        b"web1".to_vec()
    }
    fn exe(&self, _: HostPid) -> Option<Vec<u8>> {
        Some(b"/usr/bin/program".to_vec())
    }
    fn booted_at(&self) -> u64 {
        1_700_000_000_000_000_000
    }
    fn ptys(&self) -> Vec<u32> {
        self.ptys.clone()
    }
    fn hidden_descriptors(&self) -> Range<u32> {
        self.hidden_descriptors.clone()
    }
    fn hidden_addresses(&self) -> Range<u64> {
        self.hidden_addresses.clone()
    }
    fn net(&self) -> ZoneNet {
        ZoneNet::new(1)
    }
    fn socket_to_zone(
        &self,
        _: Protocol,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Option<(SocketAddr, SocketAddr)> {
        (self.translate_socket)(local, peer)
    }
}

/// A child that lives until it is dropped.
struct Guest(Child);

impl Guest {
    /// A `cat` that waits for input. It has answered once, so that the dynamic linker is done with it:
    /// a parent goes on while its child's exec is still under way.
    fn start() -> Self {
        let mut child = Command::new("cat")
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cat starts");
        child
            .stdin
            .as_mut()
            .expect("a pipe")
            .write_all(b"?")
            .expect("cat lives");
        child
            .stdout
            .as_mut()
            .expect("a pipe")
            .read_exact(&mut [0])
            .expect("cat answers");
        let stat = format!("/proc/{}/stat", child.id());
        // Its figures stand still once it waits again.
        while !std::fs::read_to_string(&stat)
            .expect("cat lives")
            .contains(") S ")
        {
            std::thread::yield_now();
        }
        Self(child)
    }
    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn caller() -> HostPid {
    HostPid(u32::try_from(nix::unistd::gettid().as_raw()).expect("a thread id"))
}

fn open(view: &dyn View, path: &str) -> Result<Node, Errno> {
    lookup(view, caller(), path.as_bytes(), Last::Follow)
}

/// The content of a file, whichever way it is served.
fn read(view: &dyn View, path: &str) -> Result<Vec<u8>, Errno> {
    match open(view, path)? {
        Node::Bytes(content) | Node::Setting(_, content) => Ok(content),
        Node::Host(file) => {
            let mut content = Vec::new();
            let file = file.open(nix::fcntl::OFlag::O_RDONLY)?;
            match std::fs::File::from(file).read_to_end(&mut content) {
                Ok(_) => Ok(content),
                Err(error) => Err(error.raw_os_error().expect("an errno")),
            }
        }
        other => panic!("{path} is no file: {other:?}"),
    }
}

fn text(view: &dyn View, path: &str) -> String {
    let content = read(view, path).unwrap_or_else(|errno| panic!("{path}: errno {errno}"));
    String::from_utf8(content).expect("text")
}

fn readlink(view: &dyn View, path: &str) -> Result<String, Errno> {
    match lookup(view, caller(), path.as_bytes(), Last::NoFollow)? {
        Node::Link(text) => Ok(String::from_utf8(text).expect("text")),
        other => panic!("{path} is no link: {other:?}"),
    }
}

fn names(view: &dyn View, path: &str) -> Vec<String> {
    match open(view, path) {
        Ok(Node::Dir { entries, .. }) => entries
            .into_iter()
            .map(|entry| String::from_utf8(entry.name).expect("text"))
            .collect(),
        other => panic!("{path} is no directory: {other:?}"),
    }
}

fn attr(view: &dyn View, path: &str) -> Result<super::Attr, Errno> {
    match stat(view, caller(), path.as_bytes(), Last::NoFollow)? {
        Stated::Attr(attr) => Ok(attr),
        other => panic!("{path} leads elsewhere: {other:?}"),
    }
}

fn errno<T: std::fmt::Debug>(result: Result<T, Errno>) -> Errno {
    result.expect_err("it fails")
}
