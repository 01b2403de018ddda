//! redis-server with redis-cli.

use crate::harness::{self, Home, eventually, in_each_role};

in_each_role!(a_server_its_client_and_what_it_keeps);

fn a_server_its_client_and_what_it_keeps(home: &Home) {
    for name in ["redis-server", "redis-cli"] {
        if harness::program("redis", name).is_none() {
            return;
        }
    }
    let [zone, other] = ["store", "client"].map(|name| home.boot(name));
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
    // A snapshot is written by a forked child.
    zone.sh("redis-cli bgsave");
    eventually("the snapshot is written", || {
        let info = zone.sh("redis-cli info persistence");
        (info.contains("rdb_bgsave_in_progress:0") && info.contains("rdb_last_bgsave_status:ok"))
            .then_some(())
    });
    zone.sh("test -s /srv/redis/dump.rdb && redis-cli shutdown");
    zone.sh(start);
    answers();
    assert_eq!(
        zone.sh("redis-cli llen list; redis-cli get count"),
        "1000\n1\n"
    );
    zone.sh("redis-cli shutdown nosave");
    eventually("it has ended", || {
        (zone.run(&["pgrep", "redis-server"]).status == 1).then_some(())
    });
}
