//! The one table of system calls, and what is derived from it.
//!
//! [`ROWS`] declares every x86_64 call once: number, name, arguments with their kinds, result,
//! class. The seccomp program, the dispatch, the decoder and the compatibility page follow from it;
//! there is no second list.
//! Deliberately absent: any I/O, and how a call is intercepted.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;

pub mod bpf;
mod class;
mod decode;
mod entry;
mod errno;
mod form;
pub mod forward;
mod kind;
mod table;

#[cfg(feature = "std")]
pub mod compat;
#[cfg(feature = "std")]
pub mod filter;
pub mod meaning;

pub use class::{Class, Row};
pub use decode::{
    BUFFERS_MAX, CONTROL_MAX, MESSAGES_MAX, MMSGHDR, MSGHDR, Memory, Own, Pointed, decode,
    decode_argument, describe, errno_of, filled, fixed_bytes, pointed, refusal, shown_bytes,
    shows_both, write_socket_address,
};
pub use entry::{enters_by_jump, may_be_native, served_by_jump};
pub use errno::Errno;
pub use form::{FilterLayout, Form, Test};
pub use kind::{Arg, Direction, Kind, Outcome, Space};
pub use table::{ROWS, nr};

/// The row of a number.
#[must_use]
pub fn row(nr: u32) -> Option<&'static Row> {
    ROWS.get(usize::from(*PLACES.get(nr as usize)?))
}

/// Numbers below this may have a row.
pub const NUMBERS: usize = 512;

/// Where each number's row is; beyond the last row where there is none.
static PLACES: [u16; NUMBERS] = {
    let mut places = [u16::MAX; NUMBERS];
    let mut i = 0u16;
    while (i as usize) < ROWS.len() {
        places[ROWS[i as usize].nr as usize] = i;
        i += 1;
    }
    places
};

const _: () = {
    let mut i = 0;
    while i < ROWS.len() {
        let row = &ROWS[i];
        assert!(
            i == 0 || ROWS[i - 1].nr < row.nr,
            "the table is sorted and without doubles"
        );
        assert!(row.args.len() <= 6, "a call has six arguments at most");
        assert!(
            !(matches!(row.class, Class::Native) && row.is_zoned()),
            "a call that passes untouched holds nothing that a zone has of its own"
        );
        i += 1;
    }
};
