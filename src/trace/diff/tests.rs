use super::*;
use crate::ids::{HostPid, ZonePid};
use crate::trace::entry::tests::sample;
use crate::trace::file::{block, front};
use crate::trace::{Call, Entry, Part};
use picozone_syscalls::nr;

/// A trace of one process that opens these files.
fn trace(pid: u32, paths: &[(&str, i64)]) -> Vec<u8> {
    let start = Start {
        zone: "z".into(),
        time: u64::from(pid) * 1_000_000,
    };
    let mut bytes = front(&start);
    let mut content = Vec::new();
    for (i, (path, result)) in (0..).zip(paths) {
        let call = Call {
            nr: nr::openat,
            pid: ZonePid(pid),
            tid: ZonePid(pid),
            host_tid: HostPid(pid + 1000),
            comm: "cat".into(),
            time: start.time + i * 1000,
            result: *result,
            parts: vec![Part::Memory {
                address: 0x7000,
                bytes: [path.as_bytes(), b"\0"].concat(),
            }],
            ..sample()
        };
        Entry::Call(call).put(&mut content);
    }
    Entry::End { skipped: 0 }.put(&mut content);
    bytes.extend(block(&content));
    bytes
}

fn compared(good: &[u8], bad: &[u8], has_all: bool) -> Difference {
    let options = Options {
        filter: None,
        context: 1,
        has_all,
    };
    let source = |bytes: &[u8]| {
        let bytes = bytes.to_vec();
        move || Ok(Box::new(io::Cursor::new(bytes.clone())) as Box<dyn Read>)
    };
    compare(&source(good), &source(bad), &options).expect("both are traces")
}

#[test]
fn what_differs_from_run_to_run_is_no_difference() {
    let difference = compared(
        &trace(
            7,
            &[("/etc/a", 3), ("/proc/7/maps", 3), ("/tmp/ccAb12Cd.o", 3)],
        ),
        &trace(
            9,
            &[("/etc/a", 3), ("/proc/9/maps", 3), ("/tmp/cc9Xy8Zw.o", 3)],
        ),
        true,
    );
    assert!(difference.is_same, "{}", difference.text);
    assert_eq!(difference.text, "");
    assert_eq!(difference.doubts, [None, None]);
}

#[test]
fn the_first_difference_comes_with_what_is_around() {
    let good = trace(7, &[("/a", 3), ("/b", 3), ("/c", 3), ("/d", 3), ("/e", 3)]);
    let bad = trace(9, &[("/a", 3), ("/b", 3), ("/c", -2), ("/d", 3), ("/f", 3)]);
    let difference = compared(&good, &bad, false);
    assert!(!difference.is_same);
    let expected = "\
first difference: cat (7 and 9), behind 2 of its calls, 0.000002 s after the start
  openat(AT_FDCWD, \"/b\", O_RDONLY|O_CLOEXEC) = 3
- openat(AT_FDCWD, \"/c\", O_RDONLY|O_CLOEXEC) = 3
+ openat(AT_FDCWD, \"/c\", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)
  openat(AT_FDCWD, \"/d\", O_RDONLY|O_CLOEXEC) = 3

    calls  only first  only second  thread
        5           2            2  cat (7 and 9)
        5           2            2  all 1 threads, of which 1 differ

    first    second  call
        0         1  openat ENOENT
        5         4  openat
";
    assert_eq!(difference.text, expected);
    let all = compared(&good, &bad, true).text;
    assert!(
        all.contains("\ndifference: cat (7 and 9), behind 4"),
        "{all}"
    );
    assert!(all.contains("\n+ openat(AT_FDCWD, \"/f\""), "{all}");
}

#[test]
fn what_may_be_missing_is_said() {
    let whole = trace(7, &[("/a", 3)]);
    let mut cut = trace(7, &[("/a", 3)]);
    cut.extend([9, 0, 0]);
    let difference = compared(&whole, &cut, false);
    assert!(difference.is_same);
    let said = difference.doubts[1].as_deref().expect("it is cut");
    assert!(said.starts_with("it ends in the midst"), "{said}");
    let source = || Ok(Box::new(&b"no trace"[..]) as Box<dyn Read>);
    let options = Options {
        filter: None,
        context: 0,
        has_all: false,
    };
    let unread = compare(&source, &source, &options).expect_err("none is");
    assert!(!unread.is_bad);
}
