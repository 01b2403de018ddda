//! Properties of what takes the kernel's texts apart.

use super::*;
use crate::monitor::procfs::{StatLine, links, locks, maps, number, sockets};
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_stat_line_survives_any_name(
        pid in 1u32..4_194_304,
        comm in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'('), Just(b')'), Just(b' '), Just(b'\n')], 0..64),
        fields in proptest::collection::vec("-?[0-9]{1,20}", 49),
    ) {
        let tail = fields.join(" ");
        let line = [format!("{pid} (").as_bytes(), &comm, format!(") S {tail}\n").as_bytes()].concat();
        let parsed = StatLine::parse(&line).expect("it is one");
        prop_assert_eq!(parsed.get(3), Some("S"));
        prop_assert_eq!(parsed.get(4), Some(fields[0].as_str()));
        prop_assert_eq!(parsed.get(52), Some(fields[48].as_str()));
        prop_assert_eq!(parsed.print(), line);
    }

    #[test]
    fn nothing_panics_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "[-0-9a-fA-F:> .]{0,120}") {
        let view = Fake::default();
        let _ = StatLine::parse(&bytes);
        let _ = number(&bytes);
        let _ = sockets::Row::parse(&String::from_utf8_lossy(&bytes));
        let _ = sockets::Row::parse(&text);
        let _ = locks::translate(&view, &text);
        let _ = links::to_zone_text(&view, &bytes);
        let _ = maps::filter(&view, &bytes);
        let _ = maps::filter(&view, text.as_bytes());
    }

    #[test]
    fn a_mapping_is_hidden_exactly_if_it_begins_in_the_range(page in 0x5fff_fff0u64..0x6300_0010) {
        let view = Fake::default();
        let from = page << 16;
        let line = format!("{from:08x}-{:08x} rw-s 00000000 00:01 1024                       /memfd:x (deleted)\n", from + 4096);
        let is_shown = !maps::filter(&view, line.as_bytes()).is_empty();
        prop_assert_eq!(is_shown, !view.hidden_addresses().contains(&from));
    }

    #[test]
    fn any_path_gives_an_answer(path in "(self|1|thread-self|sys|net|fd|fdinfo|task|ns|cwd|root|exe|kernel|stat|[.]{1,2}|[0-9]{1,3}|/){0,8}(/[a-z0-9]{0,6}){0,3}") {
        let view = Fake::default();
        for last in [Last::Follow, Last::NoFollow] {
            let _ = lookup(&view, caller(), path.as_bytes(), last);
            let _ = stat(&view, caller(), path.as_bytes(), last);
            let _ = crate::monitor::devfs::lookup(&view, caller(), path.as_bytes(), last);
        }
    }
}

#[test]
fn numbers_are_what_the_kernel_takes_for_one() {
    assert_eq!(number(b"0"), Some(0));
    assert_eq!(number(b"123"), Some(123));
    for bad in [&b""[..], b"01", b"+1", b"-1", b"1 ", b"4294967296", b"\xff"] {
        assert_eq!(number(bad), None);
    }
}

#[test]
fn a_lock_of_a_stranger_is_no_lock() {
    let view = Fake::default();
    let own = std::process::id();
    let lock = format!("POSIX  ADVISORY  WRITE {own} 08:01:1234 0 EOF");
    assert_eq!(
        locks::translate(&view, &lock).as_deref(),
        Some("POSIX  ADVISORY  WRITE 1 08:01:1234 0 EOF")
    );
    let lock = format!("-> FLOCK  ADVISORY  READ {own} 08:01:1234 0 EOF");
    assert_eq!(
        locks::translate(&view, &lock).as_deref(),
        Some("-> FLOCK  ADVISORY  READ  1 08:01:1234 0 EOF")
    );
    assert_eq!(
        locks::translate(&view, "POSIX  ADVISORY  WRITE 2 08:01:1234 0 EOF"),
        None
    );
}
