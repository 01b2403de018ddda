//! `-k`: whence calls are made, of programs of zones and of the host.

use crate::harness::{self, Home, LIMIT, eventually, in_each_role};
use crate::outside::can_start;
use crate::recorded::{calls_of_trace, end};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

in_each_role!(
    stacks_of_the_host_have_names,
    stacks_of_a_zone_have_names,
    what_is_not_asked_for_is_not_there,
);

/// The functions on the stack of the call that asks for a file, and the frames as they are told.
fn stack_of(calls: &[Value], path: &str) -> (Vec<String>, Vec<Value>) {
    let asks = |call: &&Value| {
        let text = call["text"].as_str().expect("a text");
        text.contains(&format!("\"{path}\""))
    };
    let call = calls.iter().find(asks).expect("it asks");
    let frames = call["stack"].as_array().expect("it has a stack").clone();
    let name = |frame: &Value| frame["symbol"].as_str().unwrap_or("?").to_owned();
    (frames.iter().map(name).collect(), frames)
}

/// Whether some names stand in a list in this order, whatever else does.
#[track_caller]
fn assert_order(names: &[String], wanted: &[&str]) {
    let mut rest = names.iter();
    for name in wanted {
        assert!(rest.any(|is| is == name), "{wanted:?} in {names:?}");
    }
}

#[track_caller]
fn assert_stacks(calls: &[Value]) {
    let (plain, frames) = stack_of(calls, "/none/plain");
    // Whoever makes the call stands first.
    assert_eq!(plain[1..3], ["stacked_inner", "stacked_outer"], "{plain:?}");
    let libc = &frames[0];
    assert!(
        libc["module"]
            .as_str()
            .is_some_and(|path| path.contains("libc.so")),
        "{libc}"
    );
    assert!(
        libc["symbol"]
            .as_str()
            .is_some_and(|name| name.contains("access")),
        "{libc}"
    );
    let id = frames[1]["build_id"].as_str();
    assert!(id.is_none_or(|id| id.len() >= 16), "{frames:?}");
    assert!(
        frames[1]["symbol_offset"]
            .as_u64()
            .is_some_and(|offset| offset > 0)
    );
    assert_order(&plain, &["stacked_outer", "main"]);
    // Over the frame that the kernel makes for a handler.
    let (signal, _) = stack_of(calls, "/none/signal");
    assert_order(&signal, &["stacked_inner", "stacked_raising", "main"]);
    let (thread, _) = stack_of(calls, "/none/thread");
    assert_order(&thread, &["stacked_inner", "stacked_outer"]);
    assert!(!thread.contains(&"main".to_owned()), "{thread:?}");
}

fn guest(home: &Home) -> std::path::PathBuf {
    let program = home.dir().join("stacked");
    harness::copy_program(&harness::guest("stacked"), &program);
    program
}

fn stacks_of_the_host_have_names(home: &Home) {
    if !can_start(home, "stacks of the host's programs") {
        return;
    }
    let program = guest(home);
    let file = home.dir().join("out.zt");
    let mut command = home.command(&["trace", "-k", "-o"]);
    command.arg(&file).arg("--").arg(&program);
    harness::run(&mut command, LIMIT).ok();
    let calls = calls_of_trace(home, &file);
    assert_stacks(&calls);
    // As text each stands in lines behind its call.
    let read = [
        "trace",
        "read",
        file.to_str().expect("text"),
        "-e",
        "path = /none/plain",
    ];
    let text = home.zone(&read).ok();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].contains("access(\"/none/plain\", F_OK) = -1 ENOENT"),
        "{text}"
    );
    assert!(
        lines[1].starts_with(" > /") && lines[1].contains("libc.so"),
        "{text}"
    );
    assert!(lines[2].contains("/stacked(stacked_inner+0x"), "{text}");
    let html = [&read[..], &["--format", "html"]].concat();
    assert!(home.zone(&html).ok().contains("(stacked_inner+0x"));
    let perfetto = [&read[..], &["--format", "perfetto"]].concat();
    assert!(home.zone(&perfetto).ok().contains("(stacked_inner+0x"));
    // Of another file than the one that was traced nothing is named.
    fs::remove_file(&program).expect("it is there");
    harness::copy_program(&harness::guest("recorded"), &program);
    let text = home.zone(&read).ok();
    assert!(
        text.contains("/stacked() [0x") && !text.contains("stacked_inner"),
        "{text}"
    );
}

fn stacks_of_a_zone_have_names(home: &Home) {
    let zone = home.boot("z");
    harness::copy_program(&harness::guest("stacked"), &zone.root().join("stacked"));
    let file = home.dir().join("out.zt");
    let out = file.to_str().expect("text");
    let follows = home.start(&["trace", "z", "-k", "-o", out]);
    eventually("the trace begins", || {
        (fs::metadata(&file).ok()?.len() > 12).then_some(())
    });
    let mut command: Command = zone.command(&["/stacked"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    // It lives as long as its input is open; what it has called is written meanwhile.
    eventually("its calls are recorded", || {
        let read = home.zone(&["trace", "read", out, "-e", "path = /none/thread"]);
        read.stdout.contains("/none/thread").then_some(())
    });
    drop(child.stdin.take());
    assert!(child.wait().expect("it is ours").success());
    end(follows);
    assert_stacks(&calls_of_trace(home, Path::new(out)));
}

fn what_is_not_asked_for_is_not_there(home: &Home) {
    let zone = home.boot("z");
    let file = home.dir().join("out.zt");
    let option = format!("--trace={}", file.display());
    home.zone(&["run", "z", &option, "--", "true"]).ok();
    let calls = calls_of_trace(home, &file);
    assert!(!calls.is_empty() && calls.iter().all(|call| call["stack"].is_null()));
    drop(zone);
}
