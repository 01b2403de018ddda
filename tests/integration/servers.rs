//! Servers of many processes, as a distribution packages them: each does in a zone, also of an
//! ordinary user, what it is there for, survives what its operators do to it, and ends.

use crate::harness::{Home, Zone, eventually, in_each_role, program};
use std::fs;
use std::path::Path;

in_each_role!(
    nginx_reloads_and_replaces_its_binary,
    postgresql_recovers,
    mariadb_recovers,
    cron_runs_what_it_finds,
    memcached,
    haproxy_before_another_zone,
    rsyslogd_hears_its_zone,
    dnsmasq_answers,
);

/// A fresh zone, if the programs are there.
fn zone_with<'a>(home: &'a Home, needs: &[&str]) -> Option<Zone<'a>> {
    let is_there = |name: &&str| program(&format!("what needs {name}"), name).is_some();
    needs.iter().all(is_there).then(|| home.boot("z"))
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
    let Some(zone) = zone_with(home, &["nginx", "curl"]) else {
        return;
    };
    write(&zone, "/srv/n.conf", NGINX);
    write(&zone, "/srv/www/index.html", "hello");
    // The upgrade executes what it was started as.
    zone.sh("mkdir -p /var/lib/nginx /var/log/nginx; $(command -v nginx) -c /srv/n.conf");
    let get = "curl -sSf localhost/ && curl -sSf 'http://[::1]/' && curl -sSf localhost/up/";
    assert_eq!(until(&zone, get), "hello\nhello\nupstream");
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
        &zone,
        "test -s /run/nginx.pid.oldbin && test -s /run/nginx.pid",
    );
    zone.sh("kill -QUIT $(cat /run/nginx.pid.oldbin)");
    until(&zone, "! test -e /run/nginx.pid.oldbin");
    assert_eq!(zone.sh(get), "hello\nhello\nupstream");
    zone.sh("kill -QUIT $(cat /run/nginx.pid)");
    until(&zone, "! pgrep nginx");
    assert_eq!(
        zone.sh("grep -E 'alert|emerg|crit' /srv/error.log || true"),
        ""
    );
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
    let zone = home.boot("z");
    zone.sh("mkdir -p /srv/pg /run/postgresql; chown postgres /srv/pg /run/postgresql");
    let sql = |command: &str| {
        let script = format!("cd /srv/pg; PATH={}:$PATH; {command}", Path::display(&bin));
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
        "pgbench -i -q -s 1 >/dev/null 2>&1; pgbench -n -c 2 -j 2 -t 20 2>/dev/null | grep -q 40/40",
    );
    // Its children notice, and what was committed is there again.
    sql("kill -9 $(head -1 d/postmaster.pid)");
    until(&zone, "! pgrep postgres");
    sql(start);
    assert_eq!(
        sql("psql -Atc 'select count(*) from pgbench_history'"),
        "40\n"
    );
    sql("pg_ctl -D d -m fast -w -t 60 stop");
    until(&zone, "! pgrep postgres");
    assert_eq!(zone.sh("tail -n +2 /proc/sysvipc/shm"), "");
}

fn mariadb_recovers(home: &Home) {
    let Some(zone) = zone_with(home, &["mariadbd", "mariadb-install-db"]) else {
        return;
    };
    zone.sh("mkdir -p /srv/my /run/mysqld; chown mysql /srv/my /run/mysqld
             mariadb-install-db --no-defaults --user=mysql --datadir=/srv/my \
             --auth-root-authentication-method=normal --skip-test-db >/srv/log 2>&1 || { cat /srv/log; false; }");
    let start = || {
        zone.sh(
            "mariadbd --no-defaults --user=mysql --datadir=/srv/my --socket=/run/mysqld/s \
                 </dev/null >>/srv/log 2>&1 & echo $! >/srv/pid",
        );
        until(
            &zone,
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
    zone.sh("kill -9 $(cat /srv/pid)");
    until(&zone, "! pgrep mariadbd");
    start();
    assert_eq!(sql("select count(*), sum(a) from d.t"), "1000\t500500\n");
    zone.sh("mariadb-admin --no-defaults -S /run/mysqld/s shutdown");
    until(&zone, "! pgrep mariadbd");
}

fn cron_runs_what_it_finds(home: &Home) {
    let Some(zone) = zone_with(home, &["cron", "crontab"]) else {
        return;
    };
    zone.sh("mkdir -p /var/spool/cron/crontabs; rm -f /etc/cron.d/* /run/crond.reboot");
    zone.sh("echo '@reboot echo $((6 * 7)) $LOGNAME >/srv/ran' | crontab -; cron");
    assert_eq!(until(&zone, "cat /srv/ran"), "42 root\n");
    zone.sh("pkill -x cron");
}

fn memcached(home: &Home) {
    let Some(zone) = zone_with(home, &["memcached"]) else {
        return;
    };
    zone.sh("memcached -d -u nobody -l 127.0.0.1");
    let ask = "exec 3<>/dev/tcp/127.0.0.1/11211 && printf 'set a 0 0 3\\r\\nabc\\r\\nget a\\r\\nquit\\r\\n' >&3 && tr -d '\\r' <&3";
    let script = format!("bash -c \"{}\" 2>/dev/null", ask.replace('\\', "\\\\"));
    assert_eq!(until(&zone, &script), "STORED\nVALUE a 0 3\nabc\nEND\n");
    zone.sh("pkill memcached");
}

fn haproxy_before_another_zone(home: &Home) {
    let Some(zone) = zone_with(home, &["haproxy", "curl", "python3"]) else {
        return;
    };
    let behind = home.boot("behind");
    write(&behind, "/srv/www/index.html", "behind");
    behind.sh("cd /srv/www; python3 -m http.server 80 </dev/null >/dev/null 2>&1 &");
    until(&behind, "curl -sSf localhost/");
    let conf = format!(
        "global\n  daemon\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\nlisten f\n  bind :80\n  server s {}:80",
        behind.address()
    );
    write(&zone, "/srv/haproxy.cfg", &conf);
    zone.sh("haproxy -q -f /srv/haproxy.cfg -p /srv/pid");
    assert_eq!(until(&zone, "curl -sSf localhost/"), "behind\n");
    let many = "for i in $(seq 30); do curl -sSf localhost/; done | sort | uniq -c | tr -s ' '";
    assert_eq!(zone.sh(many), " 30 behind\n");
    zone.sh("kill $(cat /srv/pid)");
    until(&zone, "! pgrep haproxy");
}

fn rsyslogd_hears_its_zone(home: &Home) {
    let Some(zone) = zone_with(home, &["rsyslogd", "logger"]) else {
        return;
    };
    let conf = "module(load=\"imuxsock\")\n*.* action(type=\"omfile\" file=\"/srv/syslog\")";
    write(&zone, "/srv/r.conf", conf);
    zone.sh("rsyslogd -f /srv/r.conf -i /run/rsyslogd.pid");
    // Without the socket, logger says so and succeeds all the same.
    until(&zone, "test -S /dev/log");
    zone.sh("logger -t me hello");
    assert_eq!(
        until(&zone, "grep -o 'me: hello' /srv/syslog"),
        "me: hello\n"
    );
    zone.sh("kill $(cat /run/rsyslogd.pid)");
    until(&zone, "! pgrep rsyslogd");
}

fn dnsmasq_answers(home: &Home) {
    let Some(zone) = zone_with(home, &["dnsmasq", "python3"]) else {
        return;
    };
    let conf = "no-resolv\nno-hosts\naddress=/web.test/10.9.8.7\npid-file=/run/dnsmasq.pid";
    write(&zone, "/srv/d.conf", conf);
    zone.sh("dnsmasq -C /srv/d.conf --log-facility=/srv/log");
    let ask = "import socket
for kind in socket.SOCK_DGRAM, socket.SOCK_STREAM:
    s = socket.socket(socket.AF_INET, kind)
    s.connect((\"127.0.0.1\", 53))
    asked = bytes.fromhex(\"0007010000010000000000000377656204746573740000010001\")
    length = len(asked).to_bytes(2, \"big\") if kind == socket.SOCK_STREAM else b\"\"
    s.send(length + asked)
    print(*s.recv(512)[-4:])";
    let script = format!("python3 -c '{ask}'");
    assert_eq!(until(&zone, &script), "10 9 8 7\n10 9 8 7\n");
    zone.sh("kill $(cat /run/dnsmasq.pid)");
    until(&zone, "! pgrep dnsmasq");
}
