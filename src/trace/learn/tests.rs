use super::*;
use crate::ids::HostPid;
use crate::trace::entry::tests::sample;

fn learned(calls: &[Call], on_host: &[&str]) -> String {
    let is_on_host = |path: &Path| on_host.iter().any(|known| Path::new(known) == path);
    let mut learn = Learn::new(&is_on_host);
    let mut text = Vec::new();
    for call in calls {
        let event = Event::Call {
            call: call.clone(),
            has_ended: true,
        };
        learn.event(&event, &mut text).expect("taken");
    }
    learn.end(Some(0), &mut text).expect("written");
    String::from_utf8(text).expect("text")
}

fn opens(zone: &str, host: &str, flags: u64, result: i64) -> Call {
    Call {
        args: [0xffff_ff9c, 0x7000, flags, 0, 0, 0],
        result,
        parts: vec![
            Part::Memory {
                address: 0x7000,
                bytes: [zone.as_bytes(), b"\0"].concat(),
            },
            Part::HostPath {
                of: 0x7000,
                path: host.as_bytes().to_vec(),
            },
        ],
        ..sample()
    }
}

fn binds(fd: u64, address: [u8; 4], port: u16) -> Call {
    let [high, low] = port.to_be_bytes();
    let mut bytes = vec![2, 0, high, low];
    bytes.extend(address);
    bytes.resize(16, 0);
    Call {
        nr: nr::bind,
        args: [fd, 0x100, 16, 0, 0, 0],
        result: 0,
        parts: vec![Part::Memory {
            address: 0x100,
            bytes,
        }],
        ..sample()
    }
}

#[test]
fn what_was_used_is_proposed_and_no_more() {
    let listens = Call {
        nr: nr::listen,
        args: [3, 128, 0, 0, 0, 0],
        result: 0,
        parts: Vec::new(),
        ..sample()
    };
    let becomes = Call {
        nr: nr::setresuid,
        args: [33, 33, 0xffff_ffff, 0, 0, 0],
        result: 0,
        parts: Vec::new(),
        ..sample()
    };
    let refused = Call {
        nr: nr::io_uring_setup,
        result: -38,
        ..sample()
    };
    let forks = Call {
        nr: nr::fork,
        result: 9,
        parts: vec![Part::HostPid {
            zone: ZonePid(9),
            host: HostPid(5000),
        }],
        ..sample()
    };
    let text = learned(
        &[
            opens("/usr/bin/env", "/usr/bin/env", 0, 3),
            opens("/src/app/a.c", "/home/me/src/app/a.c", 0, 3),
            opens("/src/app/b.o", "/home/me/src/app/b.o", 0o1101, 4),
            opens("/var/log/app", "web1:var/log/app", 0o1101, 5),
            opens("/opt/jre/lib/a", "web1:opt/jre/lib/a", 0, -2),
            opens("/opt/none", "web1:opt/none", 0, -2),
            binds(3, [0, 0, 0, 0], 8080),
            listens,
            binds(4, [0, 0, 0, 0], 53),
            binds(5, [127, 0, 0, 1], 9000),
            binds(6, [0, 0, 0, 0], 40000),
            becomes,
            refused,
            forks,
        ],
        &["/opt/jre", "/opt/jre/lib", "/opt/jre/lib/a"],
    );
    let table: toml::Table =
        toml::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(
        table["users"]["map"].to_string(),
        r#"["0:100000", "33:100033"]"#
    );
    let binds: Vec<String> = table["bind"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|bind| format!("{} {} {}", bind["host"], bind["zone"], bind["access"]))
        .collect();
    assert_eq!(
        binds,
        [
            r#""/home/me/src/app" "/src/app" "read-write""#,
            r#""/opt/jre" "/opt/jre" "read-only""#,
        ]
    );
    let ports: Vec<String> = table["publish"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|publish| format!("{} {}", publish["zone_port"], publish["protocol"]))
        .collect();
    assert_eq!(ports, [r#"8080 "tcp""#, r#"53 "udp""#]);
    assert_eq!(table["limits"]["descriptors"].as_integer(), Some(1024));
    assert_eq!(table["limits"]["processes"].as_integer(), Some(64));
    // It is what a zone can have.
    let whole = format!("number = 1\nhostname = \"x\"\n{text}");
    let config: crate::config::Config = toml::from_str(&whole).expect("a configuration");
    config.check().expect("one that can be used");
    for line in [
        "# zone create NAME --bind /home/me/src/app:/src/app:rw --bind /opt/jre:/opt/jre --publish 8080:8080 --publish 53:53/udp",
        "# seen: 2 processes at a time, 1 threads in all, 6 descriptors of files",
        "# zone config NAME set limits.descriptors=1024 limits.processes=64",
        "# written: /var/log",
        "# looked for and not there: /opt/jre/lib/a /opt/none",
        "# not offered by zones: io_uring_setup, 1 times",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}: {text}");
    }
}

#[test]
fn a_name_of_a_guest_is_no_line_of_the_proposal() {
    let text = learned(
        &[
            opens("/x\n[users]\nmap = []", "/home/me/x", 0, 3),
            opens("/d/\"a", "/h/e\"/\"a", 0, 3),
            opens("/../../etc/shadow", "/etc/shadow", 0, 3),
        ],
        &[],
    );
    let table: toml::Table =
        toml::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let binds = table["bind"].as_array().expect("a list");
    assert_eq!(binds.len(), 1);
    assert_eq!(binds[0]["host"].as_str(), Some("/h/e\""));
}
