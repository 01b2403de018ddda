//! redis-server with redis-cli and redis-benchmark, in two zones at once.

use crate::harness::{self, Home, Zone, at_once, eventually, in_each_role};

in_each_role!(a_server_its_client_and_what_it_keeps);

fn a_server_its_client_and_what_it_keeps(home: &Home) {
    for name in ["redis-server", "redis-cli", "redis-benchmark"] {
        if harness::program("redis", name).is_none() {
            return;
        }
    }
    let [one, two, client] = ["one", "two", "client"].map(|name| home.boot(name));
    at_once(&[one, two], |zone| store(zone, &client));
}

fn store(zone: &Zone<'_>, other: &Zone<'_>) {
    let start = "mkdir -p /srv/redis && redis-server --port 6379 --bind 0.0.0.0 --protected-mode no \
                 --dir /srv/redis --daemonize yes --appendonly yes --unixsocket /run/redis.sock \
                 --save '' --logfile /srv/redis/log";
    let answers = || {
        eventually("the server answers", || {
            (zone.run(&["redis-cli", "ping"]).stdout == "PONG\n").then_some(())
        });
    };
    zone.sh(start);
    answers();
    assert_eq!(
        zone.sh("redis-cli set key value; redis-cli get key"),
        "OK\nvalue\n"
    );
    assert_eq!(zone.sh("redis-cli -s /run/redis.sock get key"), "value\n");
    let address = zone.address();
    assert_eq!(
        other.sh(&format!("redis-cli -h {address} incr count")),
        "1\n"
    );
    let pushed =
        zone.sh("seq 1 1000 | sed 's/^/rpush list /' | redis-cli | tail -1; redis-cli llen list");
    assert_eq!(pushed, "1000\n1000\n");
    // A snapshot and the file of all changes are written by forked children, under load.
    let load = "redis-benchmark -q --csv -n 3000 -c 10 -r 500 -t set,get,lpush,incr -h 127.0.0.1";
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(zone.sh(load).lines().count(), 5));
        for (command, done) in [
            (
                "bgsave",
                ["rdb_bgsave_in_progress:0", "rdb_last_bgsave_status:ok"],
            ),
            (
                "bgrewriteaof",
                ["aof_rewrite_in_progress:0", "aof_last_bgrewrite_status:ok"],
            ),
        ] {
            zone.sh(&format!("redis-cli {command}"));
            eventually(command, || {
                let info = zone.sh("redis-cli info persistence");
                let is_done = done.iter().all(|line| info.contains(line));
                (is_done && info.contains("aof_rewrite_scheduled:0")).then_some(())
            });
        }
    });
    let keys = zone.sh("redis-cli dbsize");
    zone.sh("test -s /srv/redis/dump.rdb && redis-cli shutdown");
    zone.sh(start);
    answers();
    assert_eq!(
        zone.sh("redis-cli llen list; redis-cli get count; redis-cli dbsize"),
        format!("1000\n1\n{keys}")
    );
    zone.sh("redis-cli shutdown nosave");
    eventually("it has ended", || {
        (zone.run(&["pgrep", "redis-server"]).status == 1).then_some(())
    });
}
