//! From `zone create` to `zone delete`.

use crate::harness::{Home, confined, in_each_role};

in_each_role!(a_zone_lives_and_goes);
confined!(a_zone_lives_and_goes);

fn a_zone_lives_and_goes(home: &Home) {
    let zone = home.create("web1");
    assert_eq!(home.state("web1"), "installed");
    home.zone(&["boot", "web1"]).ok();
    assert_eq!(home.state("web1"), "running");
    assert_eq!(
        zone.sh("hostname; id -un; echo $PWD"),
        "web1\nroot\n/root\n"
    );
    assert_eq!(zone.run(&["sh", "-c", "exit 3"]).status, 3);
    home.zone(&["halt", "web1"]).ok();
    assert_eq!(home.state("web1"), "installed");
    home.zone(&["delete", "web1"]).ok();
    assert_eq!(home.listed("web1"), None);
}
