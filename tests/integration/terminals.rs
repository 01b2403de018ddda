//! Programs at a terminal: job control, the terminal's size, editors, pagers, terminals in terminals.
//!
//! Each test types what a user would, and waits for what is shown: nothing waits for time.

use crate::harness::{Home, Screen, Zone, in_each_role, program};
use std::fs;

in_each_role!(
    keys_stop_and_end_jobs,
    jobs_in_the_background_do_not_read,
    a_session_ends_with_its_terminal,
    sizes_follow_the_terminal,
    a_run_has_its_terminal,
    a_terminal_by_script,
    a_terminal_by_su,
    vim_edits,
    less_pages,
    top_shows_the_zone_and_kills,
    tmux_detaches_and_comes_back,
);

const PROMPT: &str = "ready> ";
/// What `/srv/say` shows when it has started; as typed it would be another text.
const UP: &str = "up-42\r\n";

/// A shell at a terminal, with a prompt that is easily told from what is typed, and the program `/srv/say`,
/// which repeats what it reads.
fn shell(home: &Home, zone: &Zone<'_>) -> Screen {
    zone.sh("printf '#!/bin/sh\necho up-$((40+2))\nexec cat\n' >/srv/say; chmod 755 /srv/say");
    let login = ["login", zone.name(), "--"];
    let shell = ["bash", "--norc", "--noprofile", "-i"];
    let mut screen = Screen::start(&mut home.command(&[&login[..], &shell].concat()));
    screen.keys("PS1=rea; PS1+='dy> '; ulimit -c 0\r");
    screen.wait_for(PROMPT);
    screen
}

/// Ctrl-Z, Ctrl-C and Ctrl-\ reach the foreground; `jobs`, `fg`, `bg` and `kill` know of them.
fn keys_stop_and_end_jobs(home: &Home) {
    let zone = home.boot("z");
    let mut screen = shell(home, &zone);
    screen.ask("/srv/say\r", UP);
    screen.ask("one\r", "one\r\none\r\n");
    screen.ask("\x1a", "Stopped");
    screen.wait_for(PROMPT);
    screen.ask("jobs\r", "Stopped                 /srv/say");
    screen.wait_for(PROMPT);
    // A key that stops would be the shell's until it has handed the terminal over; a line waits.
    screen.ask("fg\r", "/srv/say\r\n");
    screen.ask("two\r", "two\r\ntwo\r\n");
    screen.ask("\x1a", "Stopped");
    screen.wait_for(PROMPT);
    screen.ask(
        "bg; wait %1; kill -9 %1; wait; echo end-$((40+2))\r",
        "end-42",
    );
    screen.wait_for(PROMPT);
    screen.ask("/srv/say | cat\r", UP);
    screen.ask("three\r", "three\r\nthree\r\n");
    screen.ask("\x03", PROMPT);
    screen.ask("echo status-$?\r", "status-130");
    screen.wait_for(PROMPT);
    screen.ask("/srv/say\r", UP);
    screen.ask("four\r", "four\r\nfour\r\n");
    screen.ask("\x1c", "Quit");
    screen.wait_for(PROMPT);
    screen.ask("/srv/say\r", UP);
    screen.ask("\x04", PROMPT);
    screen.ask("exit 5\r", "exit\r\n");
    assert_eq!(screen.end(), 5);
}

/// Who reads or sets the terminal from the background is stopped.
fn jobs_in_the_background_do_not_read(home: &Home) {
    let zone = home.boot("z");
    let mut screen = shell(home, &zone);
    screen.keys("set -b\r");
    screen.wait_for(PROMPT);
    let programs = [
        "cat",
        "stty -echo echo",
        // A group that puts itself into the foreground, as a shell that starts does.
        "perl -MPOSIX -e 'tcsetpgrp(0, getpgrp())'",
    ];
    for program in programs {
        screen.ask(&format!("{program} &\r"), "Stopped");
        // bash leaves only when it knows that nothing is stopped any more.
        let end =
            "kill -9 %%; while jobs %% >/dev/null 2>&1; do sleep 0.01; done; echo end-$((40+2))\r";
        screen.ask(end, "end-42");
        screen.wait_for(PROMPT);
    }
    screen.keys("exit\r");
    assert_eq!(screen.end(), 0);
}

/// A program that leads a session at a terminal, and its children, are told of its end.
fn a_session_ends_with_its_terminal(home: &Home) {
    let zone = home.boot("z");
    let mut screen = shell(home, &zone);
    screen.ask(
        "(trap 'echo hung up >/srv/told; exit' HUP; echo sub''shell; while :; do sleep 0.01; done)\r",
        "subshell",
    );
    drop(screen);
    crate::harness::eventually("the program is told", || {
        let told = fs::read_to_string(zone.root().join("srv/told")).unwrap_or_default();
        (told == "hung up\n").then_some(())
    });
}

/// `SIGWINCH` and the size.
fn sizes_follow_the_terminal(home: &Home) {
    let zone = home.boot("z");
    let script = "trap 'stty size' WINCH; stty size; while :; do sleep 0.01; done";
    let mut screen = Screen::start(&mut zone.command(&["sh", "-c", script]));
    screen.wait_for("24 80\r\n");
    screen.resize(40, 132);
    screen.wait_for("40 132\r\n");
    screen.resize(10, 20);
    screen.wait_for("10 20\r\n");
    screen.keys("\x03");
    assert_eq!(screen.end(), 130);
}

/// `zone run` too; its zone is gone with the program.
fn a_run_has_its_terminal(home: &Home) {
    let script = "test -t 0 && test -t 2 && stty size; read word; echo got $word; exit 9";
    let mut screen = Screen::start(&mut home.command(&["run", "z", "--", "sh", "-c", script]));
    screen.wait_for("24 80\r\n");
    screen.ask("abc\r", "got abc");
    assert_eq!(screen.end(), 9);
    home.zone(&["login", "z", "--", "true"]).fails(125);
}

/// su(1) makes one too, and hands on what is typed, the size, and how its program ends.
fn a_terminal_by_su(home: &Home) {
    if program("su(1)", "su").is_none() {
        return;
    }
    let zone = home.boot("z");
    let script = "trap 'stty size' WINCH; tty; id -un; stty size; echo up-$((40+2))
                  until read word; do :; done; echo got $word; kill -INT $$";
    let su = ["su", "-P", "nobody", "-s", "/bin/sh", "-c", script];
    let mut screen = Screen::start(&mut zone.command(&su));
    screen.wait_for("/dev/pts/");
    screen.wait_for("nobody\r\n");
    screen.wait_for("24 80\r\n");
    screen.wait_for("up-42");
    screen.resize(30, 100);
    screen.wait_for("30 100\r\n");
    screen.ask("abc\r", "got abc");
    assert_eq!(screen.end(), 130);
}

/// script(1) makes a terminal of the zone's own.
fn a_terminal_by_script(home: &Home) {
    if program("script(1)", "script").is_none() {
        return;
    }
    let zone = home.boot("z");
    let mut screen = Screen::start(&mut zone.command(&[
        "script",
        "-qec",
        "tty; stty size; read word; echo got $word; exit 7",
        "/srv/typescript",
    ]));
    screen.wait_for("/dev/pts/");
    screen.wait_for("24 80\r\n");
    screen.ask("abc\r", "got abc");
    assert_eq!(screen.end(), 7);
    let kept = fs::read_to_string(zone.root().join("srv/typescript")).expect("a file");
    assert!(kept.contains("got abc"), "{kept}");
}

fn vim_edits(home: &Home) {
    if program("vim", "vim").is_none() {
        return;
    }
    let zone = home.boot("z");
    let mut screen =
        Screen::start(&mut zone.command(&["vim", "-u", "NONE", "-N", "-n", "/srv/text"]));
    screen.wait_for("[New]");
    screen.ask("ihello\rworld\x1b", "world");
    // A shell from within, and back.
    screen.ask(":!echo from-$((6*7))\r", "from-42");
    screen.keys("\r:1s/hello/bye/\r:wq\r");
    assert_eq!(screen.end(), 0);
    let text = fs::read_to_string(zone.root().join("srv/text")).expect("a file");
    assert_eq!(text, "bye\nworld\n");
}

fn less_pages(home: &Home) {
    if program("less", "less").is_none() {
        return;
    }
    let zone = home.boot("z");
    zone.sh("seq 5000 >/srv/numbers");
    let mut screen = Screen::start(&mut zone.command(&["less", "/srv/numbers"]));
    screen.wait_for("/srv/numbers");
    screen.ask("G", "5000");
    screen.ask("?^4321$\r", "4321");
    screen.keys("q");
    assert_eq!(screen.end(), 0);
}

/// The processes of the zone only, at the size of the terminal; what is typed kills one of them.
fn top_shows_the_zone_and_kills(home: &Home) {
    if program("top", "top").is_none() {
        return;
    }
    let zone = home.boot("z");
    let pid = zone.sh("sleep 100000 >/dev/null 2>&1 & echo $!");
    let pid = pid.trim();
    let mut screen = Screen::start(&mut zone.command(&["top", "-d", "3600", "-p", pid]));
    screen.wait_for("Tasks:");
    screen.wait_for("   1 ");
    screen.wait_for("sleep");
    screen.resize(30, 100);
    // The signal of that must not come while it asks.
    screen.wait_for("Tasks:");
    // What it reads at once it takes for one key.
    screen.ask("k", &format!("default pid = {pid}]"));
    screen.ask("\r", "Send pid");
    screen.ask("9", "9");
    screen.keys("\r");
    zone.sh(&format!("while kill -0 {pid} 2>/dev/null; do :; done"));
    screen.keys("q");
    assert_eq!(screen.end(), 0);
    let listed = "top -b -n 1 >/srv/seen; awk '$1 ~ /^[0-9]+$/ {print $NF}' /srv/seen | sort";
    assert_eq!(zone.sh(listed), "init\nsh\ntop\n");
}

/// A server that goes on without a terminal, and two terminals that come to it one after the other.
fn tmux_detaches_and_comes_back(home: &Home) {
    if program("tmux", "tmux").is_none() {
        return;
    }
    let zone = home.boot("z");
    // What is typed quickly is no paste.
    zone.sh("echo 'set -g assume-paste-time 0' >/srv/tmux.conf");
    let tmux = ["tmux", "-f", "/srv/tmux.conf", "-L", "t"];
    let new = ["new", "-s", "s", "PS1='in> ' exec sh"];
    let mut screen = Screen::start(&mut zone.command(&[&tmux[..], &new].concat()));
    screen.wait_for("in> ");
    screen.ask("echo first-$((40+2))\r", "first-42");
    screen.ask("\x02d", "[detached");
    assert_eq!(screen.end(), 0);
    assert_eq!(
        zone.sh("tmux -L t list-sessions -F '#{session_name} #{session_attached}'"),
        "s 0\n"
    );
    let mut screen = Screen::start(&mut zone.command(&[&tmux[..], &["attach"]].concat()));
    screen.wait_for("first-42");
    screen.ask("echo second-$((40+2))\r", "second-42");
    screen.resize(30, 100);
    // The server passes the size on when it comes to it.
    let until = "until test \"$(stty size)\" = '29 100'; do :; done; echo sized-$((40+2))\r";
    screen.ask(until, "sized-42");
    screen.ask("exit\r", "[exited]");
    assert_eq!(screen.end(), 0);
}
