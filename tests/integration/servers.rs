//! Servers of many processes, as a distribution packages them: each does in a zone, also of an
//! ordinary user, what it is there for, survives what its operators do to it, and ends.
//!
//! Each runs in two zones at once, with the same ports, names and files, under load.

use crate::harness::{Home, Zone, at_once, eventually, in_each_role, program};
use std::fs;
use std::path::Path;

in_each_role!(
    nginx_reloads_and_replaces_its_binary,
    postgresql_recovers,
    mariadb_recovers,
    cron_runs_what_it_finds,
    memcached,
    haproxy_before_the_other_zone,
    rsyslogd_hears_its_zone,
    dnsmasq_answers,
);

/// Does the same in two fresh zones at once, if the programs are there.
fn in_two(home: &Home, needs: &[&str], body: impl Fn(&Zone<'_>) + Sync) {
    if are_there(needs) {
        at_once(&["one", "two"].map(|name| home.boot(name)), body);
    }
}

fn are_there(needs: &[&str]) -> bool {
    let is_there = |name: &&str| program(&format!("what needs {name}"), name).is_some();
    needs.iter().all(is_there)
}

/// What ab(1) says of requests to a server of the zone of which none may fail.
fn load(zone: &Zone<'_>, options: &str, url: &str) {
    let said = zone.sh(&format!("ab -q {options} {url}"));
    let none_failed = said.lines().any(|line| line == "Failed requests:        0");
    assert!(none_failed && !said.contains("Non-2xx"), "{said}");
}

/// Writes a file of the zone.
fn write(zone: &Zone<'_>, path: &str, text: &str) {
    zone.sh(&format!("mkdir -p {}", parent(path)));
    let script = format!("cat >{path} <<'END'\n{text}\nEND");
    zone.sh(&script);
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').expect("it is absolute").0
}

/// Waits until a script of the zone succeeds, and gives its output.
#[track_caller]
fn until(zone: &Zone<'_>, script: &str) -> String {
    eventually(script, || {
        let output = zone.run(&["sh", "-c", script]);
        (output.status == 0).then_some(output.stdout)
    })
}

const NGINX: &str =
    "user www-data; worker_processes 2; pid /run/nginx.pid; error_log /srv/error.log;
events { worker_connections 64; }
http {
  access_log off; root /srv/www;
  server { listen 80; listen [::]:80; location /up/ { proxy_pass http://127.0.0.1:8081/; } }
  server { listen 8081; location / { return 200 upstream; } }
}";

fn nginx_reloads_and_replaces_its_binary(home: &Home) {
    in_two(home, &["nginx", "curl", "ab"], nginx);
}

fn nginx(zone: &Zone<'_>) {
    write(zone, "/srv/n.conf", NGINX);
    write(zone, "/srv/www/index.html", "hello");
    // The upgrade executes what it was started as.
    zone.sh("mkdir -p /var/lib/nginx /var/log/nginx; $(command -v nginx) -c /srv/n.conf");
    let get = "curl -sSf localhost/ && curl -sSf 'http://[::1]/' && curl -sSf localhost/up/";
    assert_eq!(until(zone, get), "hello\nhello\nupstream");
    // While it reloads and changes its binary, and from both sides of its port.
    std::thread::scope(|scope| {
        scope.spawn(|| load(zone, "-n 3000 -c 4", "http://127.0.0.1/"));
        scope.spawn(|| load(zone, "-n 1000 -c 2", "'http://[::1]/up/'"));
        operate_nginx(zone);
    });
    assert_eq!(zone.sh(get), "hello\nhello\nupstream");
    zone.sh("kill -QUIT $(cat /run/nginx.pid)");
    until(zone, "! pgrep nginx");
    assert_eq!(
        zone.sh("grep -E 'alert|emerg|crit' /srv/error.log || true"),
        ""
    );
}

fn operate_nginx(zone: &Zone<'_>) {
    let workers = "pgrep -u www-data nginx | sort";
    let first = zone.sh(workers);
    assert_eq!(first.lines().count(), 2);
    zone.sh("nginx -c /srv/n.conf -s reload 2>/dev/null");
    eventually("other workers serve", || {
        let now = zone.sh(workers);
        let are_new = now.lines().all(|pid| !first.lines().any(|old| old == pid));
        (now.lines().count() == 2 && are_new).then_some(())
    });
    zone.sh("kill -USR2 $(cat /run/nginx.pid)");
    until(
        zone,
        "test -s /run/nginx.pid.oldbin && test -s /run/nginx.pid",
    );
    zone.sh("kill -QUIT $(cat /run/nginx.pid.oldbin)");
    until(zone, "! test -e /run/nginx.pid.oldbin");
}

fn postgresql_recovers(home: &Home) {
    let Ok(versions) = fs::read_dir("/usr/lib/postgresql") else {
        program("PostgreSQL", "postgres");
        return;
    };
    let mut programs = versions.flatten().map(|entry| entry.path().join("bin"));
    let Some(bin) = programs.find(|bin| bin.join("initdb").exists()) else {
        return;
    };
    in_two(home, &["pgbench"], |zone| postgresql(zone, &bin));
}

fn postgresql(zone: &Zone<'_>, bin: &Path) {
    zone.sh("mkdir -p /srv/pg /run/postgresql; chown postgres /srv/pg /run/postgresql");
    let sql = |command: &str| {
        let script = format!("cd /srv/pg; PATH={}:$PATH; {command}", bin.display());
        zone.run(&["su", "postgres", "-s", "/bin/sh", "-c", &script])
            .ok()
    };
    sql("initdb -D d -A trust -N >/dev/null");
    let start = "pg_ctl -D d -l log -w -t 60 start >/dev/null 2>&1 || { cat log; false; }";
    sql(start);
    assert_eq!(
        sql("psql -Atc 'select 6 * 7'; psql -h 127.0.0.1 -Atc 'show port'"),
        "42\n5432\n"
    );
    sql(
        "pgbench -i -q -s 1 >/dev/null 2>&1; pgbench -n -c 4 -j 2 -t 50 2>/dev/null | grep -q 200/200",
    );
    // Workers make one directory of their own at the same time.
    for _ in 0..10 {
        let workers = "set min_parallel_table_scan_size = 0; set max_parallel_maintenance_workers = 4; \
                       set maintenance_work_mem = '256MB'";
        let index = "create index i on pgbench_accounts (abalance, aid); drop index i";
        sql(&format!(
            "psql -qv ON_ERROR_STOP=1 -c \"{workers}; {index}\" 2>&1"
        ));
    }
    // Its children notice, and what was committed is there again.
    sql("kill -9 $(head -1 d/postmaster.pid)");
    until(zone, "! pgrep postgres");
    sql(start);
    assert_eq!(
        sql("psql -Atc 'select count(*) from pgbench_history'"),
        "200\n"
    );
    sql("pg_ctl -D d -m fast -w -t 60 stop");
    until(zone, "! pgrep postgres");
    assert_eq!(zone.sh("tail -n +2 /proc/sysvipc/shm"), "");
}

fn mariadb_recovers(home: &Home) {
    let needs = ["mariadbd", "mariadb-install-db", "mariadb-slap"];
    in_two(home, &needs, mariadb);
}

fn mariadb(zone: &Zone<'_>) {
    zone.sh("mkdir -p /srv/my /run/mysqld; chown mysql /srv/my /run/mysqld
             mariadb-install-db --no-defaults --user=mysql --datadir=/srv/my \
             --auth-root-authentication-method=normal --skip-test-db >/srv/log 2>&1 || { cat /srv/log; false; }");
    let start = || {
        zone.sh(
            "mariadbd --no-defaults --user=mysql --datadir=/srv/my --socket=/run/mysqld/s \
                 </dev/null >>/srv/log 2>&1 & echo $! >/srv/pid",
        );
        until(
            zone,
            "mariadb-admin --no-defaults -S /run/mysqld/s ping 2>/dev/null",
        );
    };
    let sql = |text: &str| {
        zone.run(&[
            "mariadb",
            "--no-defaults",
            "-S",
            "/run/mysqld/s",
            "-NBe",
            text,
        ])
        .ok()
    };
    start();
    sql(
        "create database d; use d; create table t(a int primary key) engine=innodb; insert into t select seq from seq_1_to_1000",
    );
    let port = zone.sh("mariadb --no-defaults -h 127.0.0.1 -NBe 'select @@port'");
    assert_eq!(port, "3306\n");
    zone.sh(
        "mariadb-slap --no-defaults -h 127.0.0.1 --silent --auto-generate-sql \
         --auto-generate-sql-load-type=mixed --concurrency=4 --number-of-queries=400",
    );
    zone.sh("kill -9 $(cat /srv/pid)");
    until(zone, "! pgrep mariadbd");
    start();
    assert_eq!(sql("select count(*), sum(a) from d.t"), "1000\t500500\n");
    zone.sh("mariadb-admin --no-defaults -S /run/mysqld/s shutdown");
    until(zone, "! pgrep mariadbd");
}

fn cron_runs_what_it_finds(home: &Home) {
    in_two(home, &["cron", "crontab"], cron);
}

fn cron(zone: &Zone<'_>) {
    zone.sh("mkdir -p /var/spool/cron/crontabs; rm -f /etc/cron.d/* /run/crond.reboot");
    zone.sh(
        "echo '@reboot echo $((6 * 7)) $LOGNAME $(cat /etc/hostname) >/srv/ran' | crontab -; cron",
    );
    let ran = until(zone, "test -s /srv/ran && cat /srv/ran");
    assert_eq!(ran, format!("42 root {}\n", zone.name()));
    zone.sh("pkill -x cron");
}

fn memcached(home: &Home) {
    in_two(home, &["memcached", "python3"], |zone| {
        zone.sh("memcached -d -u nobody -l 127.0.0.1");
        until(zone, "bash -c '</dev/tcp/127.0.0.1/11211' 2>/dev/null");
        write(zone, "/srv/load.py", MEMCACHED_LOAD);
        assert_eq!(zone.sh("python3 /srv/load.py"), "4000\n");
        zone.sh("pkill memcached");
        until(zone, "! pgrep memcached");
    });
}

/// Eight clients at once, each with values of its own and of this zone's.
const MEMCACHED_LOAD: &str = r#"import socket, threading
name, done = open('/etc/hostname').read().strip(), []
def client(number):
    file = socket.create_connection(('127.0.0.1', 11211)).makefile('rwb')
    def ask(text, lines):
        file.write(text.encode()); file.flush()
        return b''.join(file.readline() for _ in range(lines)).decode()
    for i in range(500):
        key, value = f'k{number}.{i % 50}', f'{name}.{i}'
        assert ask(f'set {key} 0 0 {len(value)}\r\n{value}\r\n', 1) == 'STORED\r\n'
        assert ask(f'get {key}\r\n', 3) == f'VALUE {key} 0 {len(value)}\r\n{value}\r\nEND\r\n'
        done.append(i)
clients = [threading.Thread(target=client, args=(n,)) for n in range(8)]
for c in clients: c.start()
for c in clients: c.join()
print(len(done))"#;

fn haproxy_before_the_other_zone(home: &Home) {
    if !are_there(&["haproxy", "curl", "python3", "ab"]) {
        return;
    }
    let zones = ["one", "two"].map(|name| home.boot(name));
    at_once(&zones, |zone| {
        write(zone, "/srv/www/index.html", zone.name());
        zone.sh(
            "cd /srv/www; python3 -m http.server 8080 </dev/null >/dev/null 2>&1 & echo $! >/srv/web",
        );
        until(zone, "curl -sSf localhost:8080/");
    });
    at_once(&zones, |zone| {
        let other = zones.iter().find(|other| other.name() != zone.name());
        let other = other.expect("there are two");
        let conf = format!(
            "global\n  daemon\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\nlisten f\n  bind :80\n  server s {}:8080",
            other.address()
        );
        write(zone, "/srv/haproxy.cfg", &conf);
        zone.sh("haproxy -f /srv/haproxy.cfg -p /srv/pid");
        let page = format!("{}\n", other.name());
        assert_eq!(until(zone, "curl -sSf localhost/"), page);
        load(zone, "-n 300 -c 4", "http://127.0.0.1/");
        assert_eq!(zone.sh("curl -sSf localhost/"), page);
        zone.sh("kill $(cat /srv/pid)");
        until(zone, "! pgrep haproxy");
    });
    at_once(&zones, |zone| drop(zone.sh("kill $(cat /srv/web)")));
}

fn rsyslogd_hears_its_zone(home: &Home) {
    in_two(home, &["rsyslogd", "logger"], rsyslogd);
}

fn rsyslogd(zone: &Zone<'_>) {
    let conf = "module(load=\"imuxsock\")\n*.* action(type=\"omfile\" file=\"/srv/syslog\")";
    write(zone, "/srv/r.conf", conf);
    zone.sh("rsyslogd -f /srv/r.conf -i /run/rsyslogd.pid");
    // Without the socket, logger says so and succeeds all the same.
    until(zone, "test -S /dev/log");
    let name = zone.name();
    zone.sh(&format!("seq -f 'hello of {name} %g' 1000 | logger -t me"));
    until(zone, "grep -q 'me: hello of .* 1000$' /srv/syslog");
    assert_eq!(
        zone.sh(&format!(
            "grep -c 'me: hello of {name} ' /srv/syslog; grep 'me: ' /srv/syslog | grep -vc ' of {name} ' || true"
        )),
        "1000\n0\n"
    );
    zone.sh("kill $(cat /run/rsyslogd.pid)");
    until(zone, "! pgrep rsyslogd");
}

fn dnsmasq_answers(home: &Home) {
    in_two(home, &["dnsmasq", "python3"], |zone| {
        let address: std::net::Ipv4Addr = zone.address().parse().expect("an address");
        let [.., last] = address.octets();
        let conf = format!(
            "no-resolv\nno-hosts\naddress=/web.test/10.9.8.{last}\npid-file=/run/dnsmasq.pid"
        );
        write(zone, "/srv/d.conf", &conf);
        zone.sh("dnsmasq -C /srv/d.conf --log-facility=/srv/log");
        write(zone, "/srv/ask.py", QUESTIONS);
        let answers = until(zone, "python3 /srv/ask.py 2>/dev/null");
        assert_eq!(answers, format!("2000 0a0908{last:02x}\n"));
        zone.sh("kill $(cat /run/dnsmasq.pid)");
        until(zone, "! pgrep dnsmasq");
    });
}

/// Eight clients at once, by datagrams and by connections; what all were answered.
const QUESTIONS: &str = r#"import socket, threading
asked = bytes.fromhex('0007010000010000000000000377656204746573740000010001')
answers = []
def client(kind):
    for _ in range(250):
        with socket.socket(socket.AF_INET, kind) as s:
            s.settimeout(20)
            s.connect(('127.0.0.1', 53))
            length = len(asked).to_bytes(2, 'big') if kind == socket.SOCK_STREAM else b''
            s.send(length + asked)
            answers.append(s.recv(512)[-4:])
clients = [threading.Thread(target=client, args=(socket.SOCK_STREAM if n == 0 else socket.SOCK_DGRAM,)) for n in range(8)]
for c in clients: c.start()
for c in clients: c.join()
print(len(answers), *{answer.hex() for answer in answers})"#;
