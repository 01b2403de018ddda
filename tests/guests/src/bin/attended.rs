//! A process of three threads that does a round of calls for each line that it reads: each thread asks
//! for a file that is not there, and the process runs a program.

use std::io::{Write, stdin, stdout};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// A round's number, and whom to tell that it is done.
type Round = (usize, Sender<()>);

fn main() {
    let threads: Vec<Sender<Round>> = (1..=2).map(follower).collect();
    for (round, line) in stdin().lines().enumerate() {
        line.expect("it is text");
        ask("leader", round);
        for thread in &threads {
            let (tell, told) = channel();
            thread.send((round, tell)).expect("it listens");
            told.recv().expect("it has asked");
        }
        let status = Command::new("/bin/true").status().expect("it runs");
        writeln!(stdout(), "round {round}: {status}").expect("somebody reads");
    }
}

fn follower(number: usize) -> Sender<Round> {
    let (send, rounds) = channel::<Round>();
    thread::spawn(move || {
        for (round, done) in rounds {
            ask(&format!("follower-{number}"), round);
            done.send(()).expect("the leader waits");
        }
    });
    send
}

fn ask(who: &str, round: usize) {
    assert!(!Path::new(&format!("/none/{who}-{round}")).exists());
}
