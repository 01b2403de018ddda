//! The one table of system calls, and what is derived from it.
//!
//! [`table::ROWS`] declares every x86_64 call once: number, name, class. The seccomp program, the
//! dispatch's refusals and the compatibility page follow from it; there is no second list.
//! Deliberately absent: any I/O, and how a call is intercepted.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;

mod class;
mod errno;
mod form;
mod table;

#[cfg(feature = "std")]
pub mod compat;
#[cfg(feature = "std")]
pub mod filter;
#[cfg(feature = "std")]
pub mod meaning;

pub use class::{Class, Row};
pub use errno::Errno;
pub use form::{FilterLayout, Form, Test};
pub use table::ROWS;

/// The row of a number.
#[must_use]
pub fn row(nr: u32) -> Option<&'static Row> {
    ROWS.binary_search_by_key(&nr, |row| row.nr)
        .ok()
        .and_then(|at| ROWS.get(at))
}

const _: () = {
    let mut i = 1;
    while i < ROWS.len() {
        assert!(
            ROWS[i - 1].nr < ROWS[i].nr,
            "the table is sorted and without doubles"
        );
        i += 1;
    }
};
