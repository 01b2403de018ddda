//! Calls that few programs make, each with the arguments that it must refuse.

use picozone_guests::{call, from, libc_result, out, sections, see};

fn main() {
    sections(&[("messages", messages)]);
}

/// recvmmsg(2) with a time-out.
fn messages() {
    let mut pair = [0; 2];
    // SAFETY: `pair` has room for the two descriptors.
    let made =
        unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0, pair.as_mut_ptr()) };
    libc_result(made).expect("a pair");
    let [a, b] = pair.map(|fd| u64::try_from(fd).expect("a descriptor"));
    let mut byte = 0_u8;
    let part = [out(&mut byte), 1];
    // struct mmsghdr: name, length of the name, parts, count, control, its length, flags, length.
    let message = [0, 0, from(&part), 1, 0, 0, 0, 0];
    let mut messages = [message; 3];
    let mut receive = |time: u64| {
        let call = call(libc::SYS_recvmmsg, &[b, out(&mut messages), 3, 0, time]);
        (call, messages.map(|message| message[7]))
    };
    for (name, time) in [
        ("negative", [-1_i64, 0]),
        ("too many nanoseconds", [0, 1_000_000_000]),
    ] {
        see(name, receive(from(&time)).0);
    }
    see("bad address", receive(8).0);
    let send = || call(libc::SYS_write, &[a, from(&byte), 1]).expect("sent");
    send();
    // The time is looked at after a message.
    let mut time = [0_i64; 2];
    see("no time", receive(out(&mut time)));
    for _ in 0..3 {
        send();
    }
    let mut time = [1000_i64, 5];
    see("time enough", receive(out(&mut time)));
    see("left", (990..=1000).contains(&time[0]));
}
