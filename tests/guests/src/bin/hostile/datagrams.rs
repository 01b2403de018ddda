//! Datagram sockets of AF_UNIX: a message names any path of the host, if one could only be sent.

use super::{TABLES, attempt, both, inside, ptr, raw};
use picozone_personality::messages::{COUNT, index, name_at, parts_at};
use picozone_personality::tables::Tables;
use std::mem::offset_of;

/// The path as a `struct sockaddr_un`, filled up with zeros.
fn address(path: &str) -> [u8; 128] {
    let mut address = [0u8; 128];
    address[0] = 1;
    for (to, from) in address.iter_mut().skip(2).zip(path.bytes()) {
        *to = from;
    }
    address
}

fn datagram() -> u64 {
    raw(libc::SYS_socket, [1, 2, 0, 0, 0, 0]) as u64
}

/// Tries to send to a datagram socket of the host, by its path there. That nothing arrives is looked at
/// outside.
pub fn attempts(socket: &str) {
    let name = address(socket);
    let at = name.as_ptr() as u64;
    let exact = 3 + socket.len() as u64;
    let part = [at, 1u64];
    let message = |length: u64| [at, length, ptr(&part), 1, 0, 0, 0];
    for length in [exact, 110, 128] {
        let fd = datagram();
        both(
            &format!("connect of a datagram socket by {length} bytes"),
            libc::SYS_connect,
            [fd, at, length, 0, 0, 0],
        );
        both(
            &format!("sendto of a datagram by {length} bytes"),
            libc::SYS_sendto,
            [fd, at, 1, 0, at, length],
        );
        let message = message(length);
        both(
            &format!("sendmsg of a datagram by {length} bytes"),
            libc::SYS_sendmsg,
            [fd, ptr(&message), 0, 0, 0, 0],
        );
        let many = [message.as_slice(), &[0]].concat();
        both(
            &format!("sendmmsg of a datagram by {length} bytes"),
            libc::SYS_sendmmsg,
            [fd, ptr(&many), 1, 0, 0, 0],
        );
    }
    let fd = datagram();
    let approved = TABLES + offset_of!(Tables, messages) as u64;
    // The rooms of slots are ours to fill: each form that has a name, and what lies between forms.
    for slot in [0, 63] {
        let form = approved + 64 * index(slot, true, false) as u64;
        attempt(&format!("an approved message of slot {slot}"), || {
            unsafe { (name_at(slot) as *mut [u8; 128]).write(name) };
            unsafe { (parts_at(slot) as *mut [u64; 2]).write(part) };
            inside(libc::SYS_sendmsg, [fd, form, 0, 0, 0, 0])
        });
        for off in [8, 16, 24, 32, 40, 48, 56, 1] {
            attempt(&format!("what begins {off} bytes into it"), || {
                unsafe { (name_at(slot) as *mut [u8; 128]).write(name) };
                inside(libc::SYS_sendmsg, [fd, form + off, 0, 0, 0, 0])
            });
        }
    }
    for (name, place) in [
        ("before the forms", approved - 64),
        ("behind the forms", approved + 64 * COUNT as u64),
        ("of another region", approved ^ 1 << 32),
    ] {
        attempt(&format!("a message {name}"), || {
            inside(libc::SYS_sendmsg, [fd, place, 0, 0, 0, 0])
        });
    }
    attempt("a form of our own choice", || {
        let message = message(exact);
        let to = approved as *mut [u64; 7];
        unsafe { to.write(message) };
        inside(libc::SYS_sendmsg, [fd, approved, 0, 0, 0, 0])
    });
    attempt("a writable page in place of the forms", || {
        let page = approved & !0xfff;
        inside(libc::SYS_mprotect, [page, 4096, 3, 0, 0, 0])
    });
    attempt("a hand-over by the host's path", || {
        inside(libc::SYS_sendto, [1028, at, 8, 0, at, exact])
    });
}
