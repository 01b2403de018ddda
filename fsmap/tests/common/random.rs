//! Random trees, and paths through them.

use proptest::prelude::*;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// What a random tree is made of; made in order, what cannot be made is left out.
#[derive(Clone, Debug)]
pub enum Make {
    Dir(String),
    File(String),
    Link(String, String),
}

/// Few names, so that paths meet what was made.
pub fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c", "d"])
}

pub fn place() -> impl Strategy<Value = String> {
    prop::collection::vec(name(), 1..4).prop_map(|names| names.join("/"))
}

/// A path as a program may give it: many `..`, doubled slashes, a slash at the end.
pub fn wild() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        8 => name().prop_map(str::to_owned),
        4 => Just("..".to_owned()),
        1 => Just(".".to_owned()),
        1 => Just(String::new()),
        1 => Just("x".repeat(255)),
        1 => Just("x".repeat(256)),
        1 => Just("...".to_owned()),
    ];
    (
        any::<bool>(),
        prop::collection::vec(part, 1..8),
        prop::sample::select(vec!["", "", "/", "//", "/."]),
    )
        .prop_map(|(is_absolute, parts, end)| {
            let text = format!(
                "{}{}{end}",
                if is_absolute { "/" } else { "" },
                parts.join("/")
            );
            if text.is_empty() {
                ".".to_owned()
            } else {
                text
            }
        })
}

pub fn make() -> impl Strategy<Value = Make> {
    prop_oneof![
        3 => place().prop_map(Make::Dir),
        2 => place().prop_map(Make::File),
        4 => (place(), wild()).prop_map(|(at, to)| Make::Link(at, to)),
    ]
}

/// What cannot be made is left out; what was made. A part of the path that is a link is not followed:
/// it may lead out of the tree, where a test makes nothing.
pub fn build(root: &Path, makes: &[Make]) -> Vec<Make> {
    let is_made = |make: &&Make| {
        let made = match make {
            Make::Dir(at) => plain(root, at).and_then(fs::create_dir_all),
            Make::File(at) => plain(root, at).and_then(|path| fs::write(path, at)),
            Make::Link(at, to) => plain(root, at).and_then(|path| symlink(to, path)),
        };
        made.is_ok()
    };
    makes.iter().filter(is_made).cloned().collect()
}

/// The path of `at` under `root`.
///
/// # Errors
///
/// `ELOOP` where a part of it, the last one too, is a link.
fn plain(root: &Path, at: &str) -> io::Result<std::path::PathBuf> {
    let mut path = root.to_owned();
    for part in at.split('/') {
        path.push(part);
        if path.is_symlink() {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
    }
    Ok(path)
}
