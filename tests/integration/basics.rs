//! A zone of every mode answers at all; the harness does what it says.

use crate::harness::{Job, Mode, guest, sh};
use std::time::Duration;

in_zones! {
    fn a_program_runs(zone) {
        let output = zone.run(["sh", "-c", "id -u; echo $$; echo oops >&2; exit 7"]);
        assert_eq!(output.status, 7, "{output}");
        let lines: Vec<&str> = output.text().lines().collect();
        assert_eq!(lines[0], "0", "{output}");
        let pid: u32 = lines[1].parse().expect("a pid");
        assert!(pid > 1 && pid < 10_000, "not of the zone's numbering: {output}");
        assert_eq!(output.stderr, b"oops\n", "{output}");
    }

    fn a_run_is_bounded(zone) {
        let output = sh("echo begun; exec sleep 1000")
            .limit(Duration::from_millis(500))
            .try_within(zone);
        let expired = output.expect_err("it must not end by itself");
        assert_eq!(expired.text(), "begun\n", "{expired}");
    }

    fn input_reaches_the_program(zone) {
        let output = Job::new(["cat"]).input("one\ntwo\n").within(zone);
        assert_eq!(output.text(), "one\ntwo\n", "{output}");
    }
}

in_own_zones! {
    fn a_zone_of_its_own_halts_and_boots(zone) {
        zone.run(["sh", "-c", "echo kept > /root/file"]).succeeded();
        zone.cli(["halt", "NAME", "--timeout", "0"]).succeeded();
        zone.cli(["boot", "NAME"]).succeeded();
        assert_eq!(zone.run(["cat", "/root/file"]).text(), "kept\n");
    }
}

same! {
    the_same_shell = sh("echo a b | tr ' ' '\\n' > f; cat f; pwd; exit 3").files().needs("tr");
    the_same_guest = guest("confine");
}

#[test]
fn modes_differ() {
    if Mode::Confined.is_there("modes_differ") {
        let confined = Job::new(["unshare", "--user", "true"]).as_cli(Mode::Confined);
        assert_ne!(confined.status, 0, "{confined}");
        assert_eq!(Job::new(["true"]).as_cli(Mode::Confined).status, 0);
    }
}
