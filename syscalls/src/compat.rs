//! The compatibility page, printed from the table.

use crate::{Class, ROWS};
use std::fmt::Write;
use std::string::String;

/// The page, as Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# System calls\n\nPrinted from the table in `syscalls/src/table.rs`; a test keeps it fresh.\n\n\
         *native*: the kernel serves it, untouched.\n*checked*: the kernel serves the forms that need no translation, the personality the others.\n\
         *translated*: the personality serves it, with the monitor where trust is needed.\n*refused*: with an errno, counted, and shown by `zone stat NAME`.\n\n\
         | number | call | treatment | errno | reason |\n|---|---|---|---|---|\n",
    );
    for row in ROWS {
        let (treatment, errno, reason) = match row.class {
            Class::Native => ("native", "", ""),
            Class::Guarded(_) | Class::Split(..) => ("checked", "", ""),
            Class::Emulated(_) => ("translated", "", ""),
            Class::Refused(errno, reason) => ("refused", errno.name().unwrap_or(""), reason),
        };
        writeln!(
            page,
            "| {} | {} | {treatment} | {errno} | {reason} |",
            row.nr, row.name
        )
        .expect("writing to a string never fails");
    }
    page
}
