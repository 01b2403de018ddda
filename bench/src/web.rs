//! Servers of their own kind each: nginx, a program of Go's runtime, one of the JVM's; and
//! PostgreSQL by its own benchmark.

use crate::Result;
use crate::limited::{number, output};
use crate::measure::{Goal, Measure, Unit};
use crate::report::Report;
use crate::services::{Server, ab, apart, compare, daemon, free_port, wait_for, wait_in_zone};
use crate::side::{Side, find, has};
use crate::turns::Rounds;
use crate::zone::Zone;
use std::path::Path;
use std::process::{Command, Stdio};

/// What answers any path with a short page.
struct Kind {
    name: &'static str,
    /// Programs of the host.
    needs: &'static [&'static str],
    /// Makes it in a directory.
    make: &'static str,
    /// Runs it there, at `$BIND` and `$PORT`.
    run: &'static str,
    /// Whether it has one thread.
    is_single: bool,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "nginx keep-alive",
        needs: &["nginx"],
        make: "mkdir -p html && echo page >html/bench.html",
        run: r#"user=; [ "$(id -u)" = 0 ] && user='user root;'
            printf '%s\n' "$user daemon off; worker_processes 1; pid $PWD/pid; error_log /dev/null;" \
                'events { }' 'http { access_log off;' \
                "client_body_temp_path $PWD/a; proxy_temp_path $PWD/b; fastcgi_temp_path $PWD/c;" \
                "uwsgi_temp_path $PWD/d; scgi_temp_path $PWD/e; keepalive_requests 1000000;" \
                "server { listen $BIND:$PORT; root $PWD/html; } }" >conf
            exec nginx -p "$PWD" -c "$PWD/conf" -e /dev/null"#,
        is_single: true,
    },
    Kind {
        name: "Go web server, keep-alive",
        needs: &["go"],
        make: r#"printf '%s\n' 'package main' 'import ("net/http"; "os")' \
            'func page(w http.ResponseWriter, r *http.Request) { w.Write([]byte("a page\n")) }' \
            'func main() { http.ListenAndServe(os.Getenv("BIND") + ":" + os.Getenv("PORT"), http.HandlerFunc(page)) }' \
            >server.go && CGO_ENABLED=0 GO111MODULE=off GOCACHE="$PWD/cache" go build -o server server.go &&
            rm -r cache"#,
        run: "exec ./server",
        is_single: false,
    },
    Kind {
        name: "JVM web server, keep-alive",
        needs: &["java", "javac"],
        make: r#"printf '%s\n' 'import com.sun.net.httpserver.HttpServer; import java.net.InetSocketAddress;' \
            'class Server { public static void main(String[] a) throws Exception {' \
            '  var at = new InetSocketAddress(System.getenv("BIND"), Integer.parseInt(System.getenv("PORT")));' \
            '  var server = HttpServer.create(at, 0); byte[] page = "a page\n".getBytes();' \
            '  server.setExecutor(java.util.concurrent.Executors.newFixedThreadPool(8));' \
            '  server.createContext("/", e -> { e.sendResponseHeaders(200, page.length);' \
            '    e.getResponseBody().write(page); e.close(); }); server.start(); } }' >Server.java &&
            javac Server.java"#,
        run: "exec java -Dsun.net.httpserver.nodelay=true -cp . Server",
        is_single: false,
    },
];

/// Rates of each, as far as the host has it.
pub(crate) fn run(only: &str, rounds: Rounds, zone: &Zone, report: &mut Report) {
    for (kind, port) in KINDS.iter().zip(8001..) {
        if !kind.name.contains(only) {
            continue;
        }
        if let Some(missing) = kind.needs.iter().chain(&["ab"]).find(|name| !has(name)) {
            eprintln!("skipped: there is no {missing} on this host");
        } else if let Err(error) = one(kind, port, rounds, zone, report) {
            eprintln!("{}: {error}", kind.name);
        }
    }
}

fn one(kind: &Kind, port: u64, rounds: Rounds, zone: &Zone, report: &mut Report) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let at = directory.path().display();
    let in_zone = format!("served-{port}");
    let there = zone.root().join("srv").join(&in_zone);
    let make = format!("cd {at} && {} && cp -r . {}", kind.make, there.display());
    output(Command::new("sh").args(["-c", &make]))?;
    let outside = free_port()?;
    let apart = if kind.is_single { apart() } else { None };
    let alone = apart.as_ref().map_or("", |apart| &apart.server);
    let script = |at: &str, bind: &str, port: u64| {
        let run = kind.run;
        format!("{alone} cd {at} && export BIND={bind} PORT={port} && {run}")
    };
    let native = script(&at.to_string(), "127.0.0.1", u64::from(outside));
    let _native = start(daemon("sh").args(["-c", &native]))?;
    let guest = script(&format!("/srv/{in_zone}"), "0.0.0.0", port);
    let _guest = start(&mut zone.command(&["sh", "-c", &guest]))?;
    let (outside, inside) = (format!("127.0.0.1:{outside}"), wait_in_zone(zone, port)?);
    wait_for(&outside)?;
    compare(
        kind.name,
        0.97,
        rounds,
        report,
        [&outside, &inside],
        |place| {
            let client = apart.as_ref().map(|apart| &*apart.client);
            ab(client, place, &["-k", "-n", "40000", "-c", "8"])
        },
    );
    Ok(())
}

fn start(command: &mut Command) -> Result<Server> {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
    Ok(Server(quiet.stderr(Stdio::null()).spawn()?))
}

/// Transactions in a second that pgbench(1) reports, over a unix socket, on each side.
pub(crate) fn pgbench(only: &str, rounds: Rounds, sides: &[Side<'_>], report: &mut Report) {
    let name = "pgbench";
    if !name.contains(only) {
        return;
    }
    let Some(programs) = find_postgresql() else {
        eprintln!("skipped: there is no PostgreSQL on this host");
        return;
    };
    let environment = format!(
        r#"PATH={}:$PATH; as=; [ "$(id -u)" = 0 ] && as='runuser -u postgres --'"#,
        programs.display()
    );
    // The side's own directory need not be open to the server's user.
    let start = format!(
        r#"{environment}; d=$(mktemp -d) && chmod 711 $d && echo $d >postgresql && cd $d &&
        if [ -n "$as" ]; then chown postgres $d; fi &&
        {{ $as initdb -D $d/data --no-sync -U bench &&
          $as pg_ctl -D $d/data -l $d/log -w -o "-k $d -h '' -c fsync=off" start &&
          $as pgbench -h $d -U bench -i -q -s 1 postgres; }} >/dev/null 2>$d/said || {{ cat $d/said >&2; exit 1; }}"#
    );
    let load = format!(
        r#"{environment}; d=$(cat postgresql) && cd $d &&
        $as pgbench -h $d -U bench -n -c 4 -T 2 postgres | sed -n 's/^tps = \([0-9.]*\).*/\1/p'"#
    );
    let end = format!(
        r#"{environment}; d=$(cat postgresql) && cd $d && $as pg_ctl -D $d/data -m immediate -w stop; cd / && rm -r $d"#
    );
    let mut measure = Measure::new(name, Unit::PerSecond, Goal::Ratio(0.97));
    for side in sides {
        measure.prepare(side.name(), || {
            side.shell(&start)?;
            number(&mut side.script(&load)).map(drop)
        });
    }
    for _ in rounds.turns() {
        for side in sides {
            measure.take(side.name(), || number(&mut side.script(&load)));
        }
    }
    for side in sides {
        // Where none was started none is ended.
        let _ = side.shell(&end);
    }
    report.add(measure);
}

/// Where the server's own programs are, which Debian has in no directory of `PATH`.
fn find_postgresql() -> Option<std::path::PathBuf> {
    if let Some(initdb) = find("initdb") {
        return initdb.parent().map(Path::to_owned);
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found = versions.flatten().map(|entry| entry.path().join("bin"));
    found.find(|programs| programs.join("initdb").exists())
}
