//! Web servers by runtimes that make code as they run, or make their calls without libc: two zones
//! serve the same port at once, under load, with as many threads or processes as they like.

use crate::harness::{Home, LIMIT, Zone, eventually, in_each_role, program, run};
use std::fs;
use std::path::Path;
use std::process::Command;

in_each_role!(node, a_virtual_machine_of_java, go);

const NODE: &str = "
const http = require('http'), cluster = require('cluster');
if (cluster.isPrimary) {
  for (let i = 0; i < 2; i++) cluster.fork();
  process.on('SIGTERM', () => { for (const w of Object.values(cluster.workers)) w.kill(); });
} else http.createServer((q, r) => r.end(process.env.WHO + '\\n')).listen(8080);
";

const JAVA: &str = r#"
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;

public class Serve {
    public static void main(String[] args) throws Exception {
        byte[] page = (System.getenv("WHO") + "\n").getBytes();
        HttpServer server = HttpServer.create(new InetSocketAddress(8080), 64);
        server.createContext("/", exchange -> {
            System.gc();
            exchange.sendResponseHeaders(200, page.length);
            try (var body = exchange.getResponseBody()) { body.write(page); }
        });
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.start();
    }
}
"#;

const GO: &str = r#"package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, os.Getenv("WHO"))
	})
	panic(http.ListenAndServe(":8080", nil))
}
"#;

fn node(home: &Home) {
    if ["node", "ab"]
        .iter()
        .any(|name| program("node", name).is_none())
    {
        return;
    }
    serve(home, &["/usr/bin/env node /srv/serve.js", "2000"], |dir| {
        fs::write(dir.join("serve.js"), NODE).expect("it can be written");
    });
}

fn a_virtual_machine_of_java(home: &Home) {
    let needs = ["java", "javac", "ab"];
    if needs.iter().any(|name| program("Java", name).is_none()) {
        return;
    }
    // The program is compiled as it starts: that is a test too.
    serve(home, &["java /srv/Serve.java", "200"], |dir| {
        fs::write(dir.join("Serve.java"), JAVA).expect("it can be written");
    });
}

fn go(home: &Home) {
    if ["go", "ab"]
        .iter()
        .any(|name| program("Go", name).is_none())
    {
        return;
    }
    serve(home, &["/srv/serve", "5000"], |dir| {
        fs::write(dir.join("serve.go"), GO).expect("it can be written");
        let cache = dir.join("cache");
        let mut build = Command::new("go");
        build
            .args(["build", "-o", "serve", "serve.go"])
            .current_dir(dir);
        build.env("GOCACHE", &cache).env("GO111MODULE", "off");
        build.env("CGO_ENABLED", "0");
        run(&mut build, LIMIT).ok();
        fs::remove_dir_all(&cache).expect("go has made it");
    });
}

/// Starts a server in two zones, asks both at once for many pages, and ends them.
fn serve(home: &Home, [command, requests]: &[&str; 2], prepare: impl Fn(&Path)) {
    let made = tempfile::tempdir().expect("a directory");
    prepare(made.path());
    let zones = ["one", "two"].map(|name| home.boot(name));
    for zone in &zones {
        for entry in fs::read_dir(made.path()).expect("it is there").flatten() {
            let to = zone.root().join("srv").join(entry.file_name());
            fs::copy(entry.path(), &to).expect("it can be copied");
        }
        let who = zone.name();
        zone.sh(&format!(
            "WHO={who} {command} >/tmp/log 2>&1 </dev/null & echo $! >/tmp/pid"
        ));
    }
    for zone in &zones {
        eventually("the server answers", || {
            let url = format!("http://{}/", at(zone)?);
            let mut curl = home.host("curl".as_ref());
            curl.args(["-s", "-m", "20", &url]);
            (run(&mut curl, LIMIT).stdout == format!("{}\n", zone.name())).then_some(())
        });
    }
    std::thread::scope(|scope| {
        for zone in &zones {
            scope.spawn(|| {
                let url = format!("http://{}/", at(zone).expect("it is bound"));
                let mut ab = home.host("ab".as_ref());
                ab.args(["-q", "-k", "-n", requests, "-c", "8", &url]);
                let output = run(&mut ab, LIMIT).ok();
                let has = |line: &str| output.lines().any(|is| is.trim_end() == line);
                assert!(has("Failed requests:        0"), "{output}");
                assert!(!output.contains("Non-2xx"), "{output}");
            });
        }
    });
    for zone in &zones {
        zone.sh("kill $(cat /tmp/pid)");
        eventually("the server has ended", || {
            let ports = zone.home().json(&["ports", zone.name(), "--json"]);
            ports.as_array().is_some_and(Vec::is_empty).then_some(())
        });
    }
}

/// Where the server is reached from the host, once it is bound.
fn at(zone: &Zone<'_>) -> Option<String> {
    let ports = zone.home().json(&["ports", zone.name(), "--json"]);
    ports
        .as_array()
        .is_some_and(|ports| !ports.is_empty())
        .then(|| zone.reached_at(8080))
}
