//! More threads that wait in sendmsg(2) than there is room for at once: nobody else is held up, and all
//! of what they send arrives in order.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "the kernel's answers are what is looked at"
)]

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::mpsc;
use std::time::Duration;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("few_parts") => crowd(80, 2),
        Some("many_parts") => crowd(8, 40),
        Some("datagrams") => datagrams(),
        Some("limits") => limits(),
        other => panic!("no section {other:?}"),
    }
}

/// sendmsg(2) of parts, with a descriptor if there is one.
fn send(socket: &impl AsRawFd, parts: &[&[u8]], right: Option<i32>) -> isize {
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    // struct cmsghdr: length, SOL_SOCKET and SCM_RIGHTS, the descriptor.
    let control = right.map(|right| [20, 1 | 1 << 32, u64::from(right.unsigned_abs())]);
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = slices.as_mut_ptr().cast();
    message.msg_iovlen = slices.len();
    if let Some(control) = &control {
        message.msg_control = control.as_ptr().cast_mut().cast();
        message.msg_controllen = 24;
    }
    unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) }
}

/// Threads that each wait for a stream to take half a megabyte.
fn crowd(count: usize, parts: usize) {
    const LENGTH: usize = 1 << 19;
    let pairs: Vec<_> = (0..count)
        .map(|_| UnixStream::pair().expect("a pair"))
        .collect();
    let (started, starts) = mpsc::channel();
    std::thread::scope(|scope| {
        let senders: Vec<_> = pairs
            .iter()
            .enumerate()
            .map(|(number, (from, _))| {
                let started = started.clone();
                scope.spawn(move || {
                    let bytes: Vec<u8> = (0..LENGTH).map(|at| byte(number, at)).collect();
                    let parts: Vec<&[u8]> = bytes.chunks(LENGTH.div_ceil(parts)).collect();
                    started.send(()).expect("heard");
                    send(from, &parts, Some(2))
                })
            })
            .collect();
        for _ in 0..count {
            starts.recv().expect("it started");
        }
        // The first bytes are there: each is in the midst of its call, which has no room for the rest.
        for (_, to) in &pairs {
            let mut wanted = libc::pollfd {
                fd: to.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            assert_eq!(unsafe { libc::poll(&raw mut wanted, 1, -1) }, 1);
        }
        let (from, mut to) = UnixStream::pair().expect("a pair");
        println!("beside them {}", send(&from, &[b"one", b"two"], Some(2)));
        let mut seen = [0; 6];
        to.read_exact(&mut seen).expect("it was sent");
        println!("{}", String::from_utf8_lossy(&seen));
        for (number, (_, to)) in pairs.iter().enumerate() {
            let mut seen = vec![0; LENGTH];
            (&*to).read_exact(&mut seen).expect("all of it");
            assert!(
                seen.iter()
                    .enumerate()
                    .all(|(at, seen)| *seen == byte(number, at))
            );
        }
        let sent: Vec<isize> = senders
            .into_iter()
            .map(|sender| sender.join().expect("it ended"))
            .collect();
        println!("{sent:?}");
    });
}

fn byte(number: usize, at: usize) -> u8 {
    u8::try_from((number + at / 7) % 251).expect("small")
}

/// Threads that each wait for a full queue of datagrams.
fn datagrams() {
    const COUNT: usize = 70;
    let pairs: Vec<_> = (0..COUNT)
        .map(|_| UnixDatagram::pair().expect("a pair"))
        .collect();
    let filled: Vec<usize> = pairs
        .iter()
        .map(|(from, _)| {
            from.set_nonblocking(true).expect("set");
            let count = std::iter::from_fn(|| from.send(b"x").ok()).count();
            from.set_nonblocking(false).expect("set");
            count
        })
        .collect();
    assert!(filled.iter().all(|count| *count == filled[0]));
    std::thread::scope(|scope| {
        let senders: Vec<_> = pairs
            .iter()
            .map(|(from, _)| scope.spawn(|| send(from, &[b"la", b"st"], Some(2))))
            .collect();
        let (from, to) = UnixDatagram::pair().expect("a pair");
        println!("beside them {}", send(&from, &[b"one", b"two"], None));
        println!("{}", to.recv(&mut [0; 10]).expect("it was sent"));
        for (_, to) in &pairs {
            let mut seen = [0; 10];
            let last = loop {
                let length = to.recv(&mut seen).expect("one more");
                if length != 1 {
                    break String::from_utf8_lossy(&seen[..length]).into_owned();
                }
            };
            assert_eq!(last, "last");
        }
        for sender in senders {
            assert_eq!(sender.join().expect("it ended"), 4);
        }
    });
}

/// Limits of time and signals end the wait of each.
fn limits() {
    const COUNT: usize = 50;
    let pairs: Vec<_> = (0..COUNT)
        .map(|_| UnixDatagram::pair().expect("a pair"))
        .collect();
    std::thread::scope(|scope| {
        let senders: Vec<_> = pairs
            .iter()
            .map(|(from, _)| {
                from.set_write_timeout(Some(Duration::from_millis(300)))
                    .expect("set");
                scope.spawn(|| {
                    loop {
                        if send(from, &[b"a", b"b"], None) < 0 {
                            let error = std::io::Error::last_os_error();
                            return error.raw_os_error();
                        }
                    }
                })
            })
            .collect();
        for sender in senders {
            assert_eq!(sender.join().expect("it ended"), Some(libc::EAGAIN));
        }
        println!("all gave up");
    });
}
