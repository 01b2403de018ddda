//! Sockets in zones: the same program natively and in a zone, and two zones that talk.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Zones of a home of their own, which end with it.
struct Home {
    directory: TempDir,
    zones: Vec<&'static str>,
}

impl Home {
    fn with(zones: &[&'static str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let home = Self {
            directory,
            zones: zones.to_vec(),
        };
        for zone in zones {
            home.zone(&["create", zone]);
            home.zone(&["boot", zone]);
            for guest in ["unix.py", "inet.py"] {
                let to = home.root(zone).join("tmp").join(guest);
                std::fs::copy(source(guest), to).expect("copied");
            }
        }
        home
    }

    fn root(&self, zone: &str) -> PathBuf {
        self.directory.path().join("zones").join(zone).join("root")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zone"));
        command
            .args(arguments)
            .env("PICOZONE_HOME", self.directory.path())
            .stdin(Stdio::null());
        command
    }

    fn zone(&self, arguments: &[&str]) -> String {
        said(self.command(arguments))
    }

    fn start(&self, arguments: &[&str]) -> (Child, BufReader<impl Read + use<>>) {
        let mut child = self
            .command(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let output = child.stdout.take().expect("piped");
        (child, BufReader::new(output))
    }

    /// The last two numbers of a zone's address.
    fn low(&self, zone: &str) -> [u8; 2] {
        let list = self.zone(&["list", "--json"]);
        let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
        let rows = list.as_array().expect("rows");
        let row = rows.iter().find(|row| row["name"] == zone).expect("a row");
        let address: Ipv4Addr = row["address"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .expect("an address");
        let [_, _, x, y] = address.octets();
        [x, y]
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for zone in &self.zones {
            let _ = self.command(&["halt", zone]).output();
        }
    }
}

fn source(guest: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/guests")
        .join(guest)
}

fn said(mut command: Command) -> String {
    let output = command.output().expect("run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn unix_sockets_are_as_natively() {
    let home = Home::with(&["unix"]);
    let here = tempfile::tempdir().expect("a directory");
    let mut native = Command::new("python3");
    native.arg(source("unix.py")).current_dir(here.path());
    let script = "umask 022; mkdir /tmp/here; cd /tmp/here; exec python3 /tmp/unix.py";
    let zone = home.zone(&["login", "unix", "--", "sh", "-c", script]);
    assert_eq!(zone, said(native));
}

#[test]
fn two_zones_talk_and_nobody_outside_is_the_loopback() {
    let home = Home::with(&["one", "two"]);
    let python = ["--", "python3", "/tmp/inet.py"];
    let serve = [&["login", "one"][..], &python, &["serve"]].concat();
    let (mut server, mut output) = home.start(&serve);
    let mut line = String::new();
    output.read_line(&mut line).expect("read");
    assert_eq!(line, "ready\n");
    let [one, two] = ["one", "two"].map(|zone| home.low(zone));
    let text = |[x, y]: [u8; 2]| format!("{x}.{y}");
    for (zone, own) in [("one", one), ("two", two)] {
        let (to, from) = (text(one), text(own));
        let ask = [&["login", zone][..], &python, &["ask", &to, &from]].concat();
        assert_eq!(home.zone(&ask), "asked\n", "from zone {zone}");
    }

    let ports = home.zone(&["ports", "one", "--json"]);
    let ports: serde_json::Value = serde_json::from_str(&ports).expect("JSON");
    let ports = ports.as_array().expect("rows");
    assert_eq!(ports.len(), 5);
    let inside = format!("10.111.{}", text(one));
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

    server.kill().expect("ended");
    server.wait().expect("ended");
}
