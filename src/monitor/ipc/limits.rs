//! The limits of a zone's objects, which are the kernel's defaults but for what must fit a mailbox.

use super::{msg, sem};

/// What a file of `/proc/sys/kernel` shows.
#[must_use]
pub fn limit(name: &str) -> String {
    let [text, queue, count] = msg::LIMITS;
    match name {
        "msgmax" => format!("{text}\n"),
        "msgmnb" => format!("{queue}\n"),
        "msgmni" => format!("{count}\n"),
        "sem" => sem::limits(),
        _ => String::new(),
    }
}
