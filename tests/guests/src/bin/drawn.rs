//! Calls that are drawn by lot: callers, files and arguments of every kind, many that are wrong.
//!
//! What is drawn depends on a seed alone, so that it is the same natively and in a zone.
//! `DRAWN_SEED` is another one than the tests', `DRAWN_ROUNDS` another number of rounds; both are
//! for looking further by hand.

#[path = "drawn/calls.rs"]
mod calls;
#[path = "drawn/identities.rs"]
mod identities;
#[path = "drawn/lot.rs"]
mod lot;
#[path = "drawn/objects.rs"]
mod objects;
#[path = "drawn/others.rs"]
mod others;
#[path = "drawn/people.rs"]
mod people;
#[path = "drawn/rows.rs"]
mod rows;
#[path = "drawn/tree.rs"]
mod tree;

use lot::Lot;
use picozone_guests::sections;

fn main() {
    sections(&[
        ("files", files),
        ("identities", identities),
        ("others", others),
        ("objects", objects),
    ]);
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seeds of the rounds: each round stands for itself.
fn rounds(count: u64) -> impl Iterator<Item = (u64, Lot)> {
    let first = number("DRAWN_SEED").unwrap_or(1);
    let count = number("DRAWN_ROUNDS").unwrap_or(count);
    (first..first + count).map(|seed| (seed, Lot::new(seed)))
}

/// Calls that take files, by anybody.
fn files() {
    tree::start();
    for (seed, mut lot) in rounds(60) {
        let mut planted = tree::plant(&mut lot);
        for nth in 0..4 {
            let case = calls::draw(&mut lot);
            case.make(&format!("{seed}.{nth}"));
            planted.tell_changes();
        }
    }
    tree::clear();
}

/// Calls on other processes.
fn others() {
    for (seed, mut lot) in rounds(20) {
        others::round(seed, &mut lot);
    }
}

/// Calls on objects that are no files.
fn objects() {
    for (seed, mut lot) in rounds(40) {
        objects::round(seed, &mut lot);
    }
}

/// Calls that change who the caller is, and what he may.
fn identities() {
    for (seed, mut lot) in rounds(60) {
        identities::walk(seed, &mut lot);
    }
}
