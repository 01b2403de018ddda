//! From `zone create` to `zone delete`, and what each command says when that cannot be.

use crate::harness::{Home, LIMIT, confined, eventually, in_each_role};
use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;

in_each_role!(
    a_zone_lives_and_goes,
    the_state_already_reached_is_no_error,
    files_last_over_a_restart,
    login_passes_on_status_and_outputs,
    a_program_that_cannot_run,
    programs_are_started_by_any_bytes,
    a_one_shot_zone_leaves_nothing,
    a_one_shot_run_keeps_a_zone_that_ran,
    names_that_do_not_exist,
    names_that_cannot_be,
    two_boots_at_once,
    a_port_that_the_host_uses,
    a_publication_comes_and_goes,
    a_configuration_that_cannot_be_read,
    delete_takes_a_running_zone_by_force_only,
    halt_ends_processes_that_ignore_sigterm,
);
confined!(
    a_zone_lives_and_goes,
    a_one_shot_zone_leaves_nothing,
    a_publication_comes_and_goes,
);

fn a_zone_lives_and_goes(home: &Home) {
    let zone = home.create("web1");
    assert_eq!(home.state("web1"), "installed");
    home.zone(&["boot", "web1"]).ok();
    let row = home.listed("web1").expect("listed");
    assert_eq!(row["state"], "running");
    assert_eq!(row["hostname"], "web1");
    assert!(row["error"].is_null());
    assert!(home.zone(&["list"]).ok().contains("web1"));
    assert_eq!(
        zone.sh("hostname; id -un; echo $PWD"),
        "web1\nroot\n/root\n"
    );
    home.zone(&["doctor"]).ok();
    home.zone(&["halt", "web1"]).ok();
    assert_eq!(home.state("web1"), "installed");
    home.zone(&["delete", "web1"]).ok();
    assert_eq!(home.listed("web1"), None);
    assert!(!home.dir().join("zones/web1").exists());
}

fn the_state_already_reached_is_no_error(home: &Home) {
    home.boot("z");
    home.zone(&["create", "z"]).ok();
    home.zone(&["boot", "z"]).ok();
    home.zone(&["halt", "z"]).ok();
    home.zone(&["halt", "z"]).ok();
    assert_eq!(home.state("z"), "installed");
}

fn files_last_over_a_restart(home: &Home) {
    let zone = home.boot("z");
    zone.sh("echo kept >/srv/file && chown www-data:www-data /srv/file && chmod 640 /srv/file");
    home.zone(&["halt", "z"]).ok();
    home.zone(&["boot", "z"]).ok();
    assert_eq!(
        zone.sh("cat /srv/file; stat -c '%U %G %a' /srv/file"),
        "kept\nwww-data www-data 640\n"
    );
}

fn login_passes_on_status_and_outputs(home: &Home) {
    let zone = home.boot("z");
    let output = zone.run(&["sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );
    assert_eq!(output.status, 42);
    assert_eq!(zone.run(&["sh", "-c", "kill -TERM $$"]).status, 128 + 15);
    assert_eq!(zone.run(&["sh", "-c", "kill -KILL $$"]).status, 128 + 9);
    let as_daemon = home.zone(&["login", "z", "--user", "daemon", "--", "id", "-un"]);
    assert_eq!(as_daemon.ok(), "daemon\n");
    let arguments = ["login", "z", "-w", "/var", "-e", "A=b c", "--", "sh", "-c"];
    let output = home.zone(&[&arguments[..], &["pwd; echo $A"]].concat());
    assert_eq!(output.ok(), "/var\nb c\n");
    let stderr = home
        .zone(&["login", "z", "--user", "nobody-such", "--", "id"])
        .fails(125);
    assert!(stderr.contains("no such user"), "{stderr}");
}

fn a_program_that_cannot_run(home: &Home) {
    let zone = home.boot("z");
    let stderr = zone.run(&["no-such-program"]).fails(127);
    assert!(stderr.contains("no-such-program"), "{stderr}");
    let stderr = zone.run(&["/no/such/program"]).fails(127);
    assert!(stderr.contains("/no/such/program"), "{stderr}");
    let stderr = zone.run(&["/etc/passwd"]).fails(126);
    assert!(stderr.contains("/etc/passwd"), "{stderr}");
    let stderr = zone.run(&["/etc"]).fails(126);
    assert!(stderr.contains("/etc"), "{stderr}");
    zone.sh("echo no program >/root/text && chmod 755 /root/text");
    let stderr = zone.run(&["/root/text"]).fails(126);
    assert!(stderr.contains("/root/text"), "{stderr}");
    home.zone(&["run", "scratch", "--", "no-such-program"])
        .fails(127);
    assert_eq!(home.listed("scratch"), None);
}

fn a_one_shot_zone_leaves_nothing(home: &Home) {
    let script = "hostname; id -u; echo $$; ps ax | grep -c sh; exit 7";
    let output = home.zone(&["run", "scratch", "--", "sh", "-c", script]);
    assert_eq!(output.status, 7, "{output:?}");
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[..2], ["scratch", "0"], "{output:?}");
    let pid: i32 = lines[2].parse().expect("a pid");
    assert!((2..100).contains(&pid), "{output:?}");
    assert_eq!(home.zone(&["list", "--json"]).ok().trim(), "[]");
    home.zone(&["run", "--", "true"]).ok();
    home.zone(&["run", "--", "false"]).fails(1);
    assert_eq!(home.zone(&["list", "--json"]).ok().trim(), "[]");
}

fn a_one_shot_run_keeps_a_zone_that_ran(home: &Home) {
    home.create("z");
    home.zone(&["run", "z", "--", "true"]).ok();
    assert_eq!(home.state("z"), "installed");
    home.zone(&["boot", "z"]).ok();
    home.zone(&["run", "z", "--", "touch", "/srv/a"]).ok();
    assert_eq!(home.state("z"), "running");
    home.zone(&["run", "--rm", "z", "--", "true"]).fails(125);
    assert_eq!(home.state("z"), "running");
    home.zone(&["halt", "z"]).ok();
    home.zone(&["run", "--rm", "z", "--", "test", "-e", "/srv/a"])
        .ok();
    assert_eq!(home.listed("z"), None);
}

fn names_that_do_not_exist(home: &Home) {
    for arguments in [
        &["boot", "ghost"][..],
        &["halt", "ghost"],
        &["login", "ghost", "--", "true"],
        &["delete", "ghost"],
        &["ports", "ghost"],
        &["stat", "ghost"],
        &["publish", "ghost", "18080:80"],
    ] {
        let stderr = home.zone(arguments).fails(125);
        assert!(stderr.contains("no such zone"), "{arguments:?}: {stderr}");
        // Nobody who deletes a zone wants one.
        let is_to_be = arguments[0] != "delete";
        assert_eq!(
            stderr.contains("zone create ghost"),
            is_to_be,
            "{arguments:?}: {stderr}"
        );
    }
    assert_eq!(home.zone(&["list", "--json"]).ok().trim(), "[]");
}

fn names_that_cannot_be(home: &Home) {
    let long = "x".repeat(65);
    for name in [
        "", ".", "..", "a/b", "-a", "A", "ä", "a b", ".hidden", &long,
    ] {
        for verb in ["create", "boot", "delete"] {
            let output = home.zone(&[verb, "--", name]);
            assert_eq!(output.status, 125, "{verb} {name:?}: {output:?}");
            assert!(
                !output.stderr.contains("panicked"),
                "{verb} {name:?}: {output:?}"
            );
        }
    }
    assert_eq!(home.zone(&["list", "--json"]).ok().trim(), "[]");
    home.zone(&["create", &"x".repeat(64)]).ok();
}

fn two_boots_at_once(home: &Home) {
    let zone = home.create("z");
    let boots: Vec<_> = (0..4).map(|_| home.start(&["boot", "z"])).collect();
    for boot in boots {
        boot.wait(LIMIT).ok();
    }
    assert_eq!(zone.sh("echo up"), "up\n");
    let others = ["a", "b", "c"].map(|name| home.start(&["run", name, "--", "hostname"]));
    for (run, name) in others.into_iter().zip(["a\n", "b\n", "c\n"]) {
        assert_eq!(run.wait(LIMIT).ok(), name);
    }
}

fn a_port_that_the_host_uses(home: &Home) {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let zone = home.boot("z");
    let wish = format!("{port}:80");
    let stderr = home.zone(&["publish", "z", &wish]).fails(125);
    assert!(stderr.contains(&port.to_string()), "{stderr}");
    let config = home.dir().join("zones/z/zone.toml");
    let text = std::fs::read_to_string(&config).expect("it is there");
    assert!(!text.contains(&port.to_string()), "{text}");
    assert_eq!(zone.sh("echo up"), "up\n");
    // A zone that wants it from the start says so at boot.
    home.create_with("y", &["--publish", &wish]);
    let stderr = home.zone(&["boot", "y"]).fails(125);
    assert!(stderr.contains(&port.to_string()), "{stderr}");
    assert!(stderr.contains("choose another port"), "{stderr}");
    assert_eq!(home.state("y"), "installed");
    drop(taken);
    home.zone(&["boot", "y"]).ok();
}

fn a_publication_comes_and_goes(home: &Home) {
    let zone = home.boot("z");
    let server = "import socket
s = socket.create_server(('', 80))
print('ready', flush=True)
while True:
    c, a = s.accept()
    c.sendall(b'hello from the zone')
    c.close()";
    zone.sh(&format!("cat >/root/server.py <<'END'\n{server}\nEND\n"));
    zone.sh("python3 /root/server.py >/root/out 2>&1 </dev/null & until grep -q ready /root/out; do :; done");
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let wish = format!("{port}:80");
    home.zone(&["publish", "z", &wish]).ok();
    home.zone(&["publish", "z", &wish]).ok();
    let read = |address: String| -> Option<String> {
        let mut stream = std::net::TcpStream::connect(address).ok()?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stream, &mut text).ok()?;
        Some(text)
    };
    let at_host = format!("127.0.0.1:{port}");
    assert_eq!(
        read(at_host.clone()).as_deref(),
        Some("hello from the zone")
    );
    assert_eq!(
        read(zone.reached_at(80)).as_deref(),
        Some("hello from the zone")
    );
    let ports = home.zone(&["ports"]).ok();
    assert!(ports.contains(&port.to_string()), "{ports}");
    home.zone(&["publish", "--remove", "z", &wish]).ok();
    eventually("the port is closed", || {
        read(at_host.clone()).is_none().then_some(())
    });
    assert_eq!(
        read(zone.reached_at(80)).as_deref(),
        Some("hello from the zone")
    );
}

fn a_configuration_that_cannot_be_read(home: &Home) {
    home.create("z");
    home.create("other");
    let path = home.dir().join("zones/z/zone.toml");
    let good = std::fs::read(&path).expect("it is there");
    std::fs::write(&path, "number = \"many").expect("it can be written");
    let stderr = home.zone(&["boot", "z"]).fails(125);
    assert!(stderr.contains("zone.toml"), "{stderr}");
    let listed = home.zone(&["list"]);
    assert!(listed.stdout.contains("other"), "{listed:?}");
    assert!(listed.stdout.contains('z'), "{listed:?}");
    let row = home.listed("z").expect("it is listed all the same");
    assert!(row["error"].is_string(), "{row}");
    std::fs::write(&path, good).expect("it can be written");
    home.zone(&["boot", "z"]).ok();
}

fn delete_takes_a_running_zone_by_force_only(home: &Home) {
    let zone = home.boot("z");
    let stderr = home.zone(&["delete", "z"]).fails(125);
    assert!(stderr.contains("zone halt z"), "{stderr}");
    assert_eq!(zone.sh("echo up"), "up\n");
    home.zone(&["delete", "--force", "z"]).ok();
    assert_eq!(home.listed("z"), None);
}

fn halt_ends_processes_that_ignore_sigterm(home: &Home) {
    let zone = home.boot("z");
    let script =
        "trap '' TERM; (while :; do sleep 1000; done) >/dev/null 2>&1 </dev/null & echo on";
    assert_eq!(zone.sh(script), "on\n");
    home.zone(&["halt", "--timeout", "0", "z"]).ok();
    assert_eq!(home.state("z"), "installed");
}

/// Arguments, variables, directories and names of programs are bytes, as execve(2) has them.
fn programs_are_started_by_any_bytes(home: &Home) {
    let zone = home.boot("z");
    zone.sh("d=$(printf '/srv/\\377'); mkdir $d; ln -s /usr/bin/printf $d/p");
    let name = OsStr::from_bytes(b"/srv/\xff");
    let variable = OsStr::from_bytes(b"VALUE=\xfe");
    let login = ["login", "z", "--env"].map(OsStr::new);
    let start = |command: &[&OsStr]| {
        let options = [variable, "--workdir".as_ref(), name, "--".as_ref()];
        let words = [&login[..], &options, command].concat();
        let output = home.command(&words).output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let word = OsStr::from_bytes(b"\xe4 =");
    let shown = start(&["./p".as_ref(), "[%s]".as_ref(), word]);
    assert_eq!(shown, b"[\xe4 =]");
    let shown = start(&["sh", "-c", "printf %s $VALUE:$PWD"].map(OsStr::new));
    assert_eq!(shown, b"\xfe:/srv/\xff");
    let missing = [&login[..1], &["z", "--"].map(OsStr::new), &[word]].concat();
    home.zone(&missing).fails(127);
}
