//! Two unmodified apaches of Debian on port 80, each in a zone of its own.

use crate::harness::{self, Home, LIMIT, Zone, confined, eventually, in_each_role, run};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;

in_each_role!(
    two_with_mpm_event,
    two_with_mpm_prefork,
    a_warm_request_asks_nobody,
    cgi_and_piped_logs_through_graceful_restarts
);
confined!(two_with_mpm_event);

fn two_with_mpm_event(home: &Home) {
    two(home, "event");
}

fn two_with_mpm_prefork(home: &Home) {
    two(home, "prefork");
}

/// Everything that the page of the project promises of the two.
fn two(home: &Home, mpm: &str) {
    if !is_here() {
        return;
    }
    let [web1, web2] = ["web1", "web2"].map(|name| home.boot(name));
    for zone in [&web1, &web2] {
        configure(zone, mpm);
    }
    for zone in [&web1, &web2] {
        zone.sh("apachectl start");
    }
    // From the host, at the zone's address; as root at port 80 itself.
    for zone in [&web1, &web2] {
        let at = zone.reached_at(80);
        assert_eq!(curl(home, &at), page(zone));
        if home.role() == harness::Role::Root {
            assert!(at.ends_with(":80"), "{at}");
        }
        let modules = zone.sh("apachectl -M 2>/dev/null");
        assert!(modules.contains(&format!("mpm_{mpm}_module")), "{modules}");
    }
    // From inside: itself at its loopback and its address, the other at its address.
    let (own, other) = (web1.address(), web2.address());
    for (address, zone) in [
        ("127.0.0.1", &web1),
        ("localhost", &web1),
        ("[::1]", &web1),
        (own.as_str(), &web1),
        (other.as_str(), &web2),
    ] {
        let output = web1.run(&["curl", "-sS", "-m", "20", &format!("http://{address}/")]);
        assert_eq!(output.ok(), page(zone), "{address}");
    }
    published(home, &web2);
    who_runs(&web1);
    logs(home, &web1, &web2);
    lives_on(home, &web1);
    for zone in [&web1, &web2] {
        home.zone(&["halt", zone.name()]).ok();
        home.zone(&["delete", zone.name()]).ok();
    }
}

fn published(home: &Home, zone: &Zone<'_>) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    home.zone(&["publish", zone.name(), &format!("{port}:80")])
        .ok();
    assert_eq!(curl(home, &format!("127.0.0.1:{port}")), page(zone));
}

/// The parent believes that it is root, its workers that they are www-data, all by zone pids.
fn who_runs(zone: &Zone<'_>) {
    let parent = zone.sh("cat /run/apache2/apache2.pid").trim().to_owned();
    assert!(
        parent.parse::<u32>().is_ok_and(|pid| pid < 10_000),
        "{parent}"
    );
    assert_eq!(zone.sh(&format!("ps -o user= -p {parent}")).trim(), "root");
    let workers = zone.sh(&format!("ps -o user= --ppid {parent}"));
    assert!(workers.lines().count() >= 2, "{workers}");
    assert!(
        workers.lines().all(|user| user.trim() == "www-data"),
        "{workers}"
    );
    let all = zone.sh("ps -e -o comm=");
    assert!(
        !all.contains("integration"),
        "the host's processes show: {all}"
    );
}

/// An access shows the address that it came from, in the zone's terms.
fn logs(home: &Home, web1: &Zone<'_>, web2: &Zone<'_>) {
    for address in ["127.0.0.1", web2.address().as_str()] {
        web1.sh(&format!(
            "curl -sS -m 20 -o /dev/null http://{address}/probe-from-web1"
        ));
    }
    let url = format!("{}/probe-from-host", web2.reached_at(80));
    curl(home, &url);
    let seen = |zone: &Zone<'_>, probe: &str| {
        eventually("the access is logged", || {
            let log = zone.sh("cat /var/log/apache2/*access.log");
            let line = log.lines().find(|line| line.contains(probe))?;
            Some(line.split(' ').find(|word| word.contains('.'))?.to_owned())
        })
    };
    assert_eq!(seen(web1, "probe-from-web1"), "127.0.0.1");
    assert_eq!(seen(web2, "probe-from-web1"), web1.address());
    assert_eq!(seen(web2, "probe-from-host"), "10.111.0.1");
}

/// The pid file and apachectl's signals: graceful, restart, stop, start.
fn lives_on(home: &Home, zone: &Zone<'_>) {
    let pid = zone.sh("cat /run/apache2/apache2.pid");
    for verb in ["graceful", "restart"] {
        zone.sh(&format!(
            "echo {verb} >/var/www/html/verb; apachectl {verb}"
        ));
        eventually("the new generation answers", || {
            let url = format!("http://{}/verb", zone.reached_at(80));
            let got = run(
                home.host("curl".as_ref()).args(["-s", "-m", "20", &url]),
                LIMIT,
            );
            (got.stdout == format!("{verb}\n")).then_some(())
        });
        assert_eq!(zone.sh("cat /run/apache2/apache2.pid"), pid, "{verb}");
    }
    zone.sh("apachectl stop");
    eventually("it has ended", || {
        let output = zone.run(&[
            "sh",
            "-c",
            "pgrep apache2 || test -e /run/apache2/apache2.pid",
        ]);
        (output.status != 0).then_some(())
    });
    assert_eq!(
        home.zone(&["ports", zone.name(), "--json"]).ok().trim(),
        "[]"
    );
    let errors = zone.sh("cat /var/log/apache2/error.log");
    assert!(errors.contains("caught SIGTERM, shutting down"), "{errors}");
    zone.sh("apachectl start");
    assert_eq!(curl(home, &zone.reached_at(80)), page(zone));
    zone.sh("apachectl stop");
}

/// Requests on a connection, and new connections, that need no round trip to the monitor; in a strict zone
/// none but those by which the worker, a user, has its calls about files made for it.
fn a_warm_request_asks_nobody(home: &Home) {
    if !is_here() {
        return;
    }
    let zone = home.boot("web");
    configure(&zone, "event");
    zone.sh("echo 'MaxKeepAliveRequests 0' >>/etc/apache2/apache2.conf; apachectl start");
    let at = zone.reached_at(80);
    let kept = "GET / HTTP/1.1\r\nHost: web\r\n\r\n";
    let closed = "GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";
    let mut stream = connect(&at);
    assert_eq!(ask(&mut stream, kept), b"this is web\n");
    // Every thread of a fresh worker has its first request once.
    for _ in 0..200 {
        ask(&mut stream, kept);
        ask(&mut connect(&at), closed);
    }
    let before = requests(home);
    for _ in 0..500 {
        ask(&mut stream, kept);
    }
    let after = requests(home);
    assert_eq!(before, after, "requests on a connection ask the monitor");
    for _ in 0..500 {
        ask(&mut connect(&at), closed);
    }
    let last = requests(home);
    assert_eq!(after, last, "new connections ask the monitor");
}

/// Scripts and loggers are processes of the server; none of them loses a request where it begins
/// anew under load.
fn cgi_and_piped_logs_through_graceful_restarts(home: &Home) {
    const REQUESTS: u64 = 1500;
    if !is_here() || harness::program("apache", "ab").is_none() {
        return;
    }
    let zone = home.boot("web");
    configure(&zone, "event");
    zone.sh(r#"a2enmod -q cgid >/dev/null
         mkdir -p /srv/cgi
         cat >/srv/cgi/who <<'END'
#!/bin/sh
printf 'Content-Type: text/plain\n\n'
id -un
cat
END
         chmod 755 /srv/cgi/who
         cat >/etc/apache2/conf-enabled/test.conf <<'END'
ScriptAlias /cgi/ /srv/cgi/
<Directory /srv/cgi>
Require all granted
</Directory>
GlobalLog "|$/bin/cat >>/var/log/apache2/piped.log" "%U"
END
         apachectl start"#);
    let at = zone.reached_at(80);
    // The process that starts scripts may come after the first page.
    eventually("a script answers", || {
        let mut post = home.host("curl".as_ref());
        let url = format!("http://{at}/cgi/who");
        post.args(["-sS", "-m", "20", "-d", "a body", &url]);
        (run(&mut post, LIMIT).stdout == "www-data\na body").then_some(())
    });
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut ab = home.host("ab".as_ref());
            let url = format!("http://{at}/probe");
            ab.args(["-q", "-n", &REQUESTS.to_string(), "-c", "4", &url]);
            run(&mut ab, LIMIT).ok()
        });
        for _ in 0..3 {
            zone.sh("apachectl graceful");
        }
        let output = load.join().expect("ab ran");
        let complete = format!("Complete requests:      {REQUESTS}");
        assert!(output.contains(&complete), "{output}");
        assert!(output.contains("Failed requests:        0"), "{output}");
    });
    zone.sh("apachectl graceful-stop");
    eventually("the loggers have written all and ended", || {
        let script = "pgrep apache2 || grep -c /probe /var/log/apache2/piped.log";
        let lines: u64 = zone.run(&["sh", "-c", script]).stdout.trim().parse().ok()?;
        (lines == REQUESTS).then_some(())
    });
}

/// What the monitor was asked by guests, by kind; `zone stat` itself is none of them.
fn requests(home: &Home) -> BTreeMap<String, u64> {
    let stat = home.json(&["stat", "web", "--json"]);
    let rows = stat["requests"].as_array().expect("an array").iter();
    let all = rows.map(|row| {
        let name = row[0].as_str().expect("a name").to_owned();
        (name, row[1].as_u64().expect("a number"))
    });
    let is_counted = |name: &str| !(harness::are_all_strict() && name == "Forward");
    all.filter(|(name, _)| is_counted(name)).collect()
}

/// A connection to a server of HTTP.
pub fn connect(at: &str) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(at).expect("it listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    BufReader::new(stream)
}

/// Has a request answered with success; the body of the answer.
pub fn ask(stream: &mut BufReader<TcpStream>, request: &str) -> Vec<u8> {
    stream
        .get_mut()
        .write_all(request.as_bytes())
        .expect("sent");
    let mut length = 0;
    for number in 0.. {
        let mut line = String::new();
        stream.read_line(&mut line).expect("a header");
        if number == 0 {
            assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().expect("a number");
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("the body");
    body
}

fn is_here() -> bool {
    harness::program("apache", "apache2").is_some() && harness::program("apache", "curl").is_some()
}

fn page(zone: &Zone<'_>) -> String {
    format!("this is {}\n", zone.name())
}

/// What an administrator does: content, the server's name, the MPM; `Listen 80` stays.
fn configure(zone: &Zone<'_>, mpm: &str) {
    let name = zone.name();
    zone.sh(&format!(
        "echo 'this is {name}' >/var/www/html/index.html
         echo 'ServerName {name}' >>/etc/apache2/apache2.conf
         a2dismod -q -f mpm_event mpm_prefork mpm_worker && a2enmod -q mpm_{mpm}
         grep -q '^Listen 80$' /etc/apache2/ports.conf"
    ));
}

/// A page as a program of the host gets it.
#[track_caller]
fn curl(home: &Home, at: &str) -> String {
    let mut command: Command = home.host("curl".as_ref());
    command.args(["-sS", "-m", "20", &format!("http://{at}")]);
    run(&mut command, LIMIT).ok()
}
