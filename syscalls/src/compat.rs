//! The compatibility page, printed from the table.

use crate::{Class, ROWS, Row, Space};
use std::fmt::Write;
use std::string::String;
use std::vec::Vec;

/// The page, as Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# System calls\n\nPrinted from the table in `syscalls/src/table.rs`; a test keeps it fresh.\n\n\
         *native*: the kernel serves it, untouched.\n*checked*: the kernel serves the forms that need no translation, the personality the others.\n\
         *translated*: the personality serves it, with the monitor where trust is needed.\n*refused*: with an errno, counted, and shown by `zone doctor NAME`.\n\n\
         The last column names what the zone has of its own among a call's arguments and its result.\n\n\
         | number | call | treatment | errno | reason | of the zone |\n|---|---|---|---|---|---|\n",
    );
    for row in &ROWS {
        let (treatment, errno, reason) = match row.class {
            Class::Native => ("native", "", ""),
            Class::Guarded(_) | Class::Split(..) => ("checked", "", ""),
            Class::Emulated(_) => ("translated", "", ""),
            Class::Refused(errno, reason) => ("refused", errno.name().unwrap_or(""), reason),
        };
        writeln!(
            page,
            "| {} | {} | {treatment} | {errno} | {reason} | {} |",
            row.nr,
            row.name,
            spaces(row)
        )
        .expect("writing to a string never fails");
    }
    page
}

/// The name spaces that a call touches, each once.
fn spaces(row: &Row) -> String {
    let mut names: Vec<&str> = Vec::new();
    let kinds = row.args.iter().map(|arg| arg.kind.space());
    for space in kinds.chain([row.result.space()]) {
        let name = match space {
            Space::Pids => "pids",
            Space::Users => "users",
            Space::Ports => "addresses",
            Space::Paths => "paths",
            Space::Names => "names",
            Space::Ipc => "IPC",
            Space::None => continue,
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}
