//! The report of a trace in a browser, as people use it.

use crate::harness::{Home, LIMIT, Role, program, run};
use picozone::ids::{HostPid, ZonePid};
use picozone::trace::file::{BLOCK_MAX, block, front};
use picozone::trace::{Call, Entry, Part, Start};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// `PICOZONE_TEST_FULL` makes them a million.
fn count() -> u64 {
    match std::env::var_os("PICOZONE_TEST_FULL") {
        Some(_) => 1_000_000,
        None => 100_000,
    }
}

#[test]
fn a_large_trace_is_searched_and_zoomed() {
    Role::User.run("a_large_trace_is_searched_and_zoomed", body);
}

/// What a user does, and what the page then shows.
const HANDS: &str = r##"<script>
(() => {
  const said = [], page = document.body.dataset;
  const $ = (id) => document.getElementById(id);
  const say = (what, value) => said.push(`${what}=${value}`);
  const change = (id, event) => $(id).dispatchEvent(new Event(event));
  say("all", page.matches);
  $("failed").checked = true;
  change("failed", "change");
  say("failed", page.matches);
  $("search").value = 'etc "no such" -access';
  $("search").form.requestSubmit();
  say("found", page.matches);
  say("row", document.querySelector("#list div").textContent);
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "n" }));
  say("chosen", $("call").textContent);
  for (let i = 0; i < 30; i++) {
    $("timeline").dispatchEvent(new WheelEvent("wheel", { deltaY: -300, cancelable: true }));
  }
  setTimeout(() => {
    const state = new URLSearchParams(location.hash.slice(1));
    say("zoomed", state.get("to") - state.get("from") < 1e6);
    say("painted", page.rectangles > 0);
    $("reset").click();
    say("reset", page.matches);
    const end = document.createElement("pre");
    end.id = "said";
    end.textContent = said.join("\n");
    document.body.append(end);
  }, 500);
})();
</script>"##;

fn body(home: &Home) {
    let Some(chromium) = program("the report in a browser", "chromium") else {
        return;
    };
    let (trace, page) = (home.dir().join("big.zt"), home.dir().join("big.html"));
    write(&trace, count());
    let text = trace.to_str().expect("text");
    let html = home.zone(&["trace", "read", text, "--format", "html"]).ok();
    let bytes = u64::try_from(html.len()).expect("a length");
    assert!(bytes < 100_000 + 20 * count(), "{bytes} bytes");
    fs::write(&page, html + HANDS).expect("written");
    let profile = home.dir().join("profile");
    let mut command = home.host(&chromium);
    command.env("HOME", home.dir()).args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--window-size=1200,800",
        // Time goes on when nothing is left to do.
        "--virtual-time-budget=10000",
        "--dump-dom",
    ]);
    command.arg(format!("--user-data-dir={}", profile.display()));
    command.arg(format!("file://{}", page.display()));
    let output = run(&mut command, LIMIT);
    let shown = output.stdout;
    let said = shown.split("<pre id=\"said\">").nth(1);
    let said = said.unwrap_or_else(|| panic!("the page did not work: {}", output.stderr));
    let said = said.split("</pre>").next().unwrap_or_default();
    let all = count();
    let call = |time: &str, pid: u32, file: u32| {
        let call = format!("openat(AT_FDCWD, \"/etc/f{file}\", O_RDONLY)");
        let end = "= -1 ENOENT (No such file or directory) &lt;2 µs&gt;";
        format!("   {time}  [{pid} sh] {call} {end}")
    };
    let expected = [
        format!("all={all}"),
        format!("failed={}", all / 5),
        format!("found={}", all / 20),
        format!("row={}", call("0.000000", 1, 0)),
        format!("chosen={}", call("0.000050", 6, 5)),
        "zoomed=true".into(),
        "painted=true".into(),
        format!("reset={all}"),
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}

/// A trace of so many calls by twenty processes, each 10 us after the one before: a fifth fails, a half
/// is about `/etc`, and a half asks by access(2).
fn write(to: &Path, count: u64) {
    let start = Start {
        zone: "z".into(),
        time: 1_000_000_000,
    };
    let mut file = File::create(to).expect("a file");
    file.write_all(&front(&start)).expect("written");
    let mut content = Vec::new();
    for i in 0..count {
        let pid = u32::try_from(1 + i % 20).expect("small");
        let directory = if i % 4 < 2 { "etc" } else { "srv" };
        let is_access = i / 20 % 2 == 1;
        let path = format!("/{directory}/f{}\0", i % 1000);
        let (nr, args) = if is_access {
            (picozone_syscalls::nr::access, [0x7000, 4, 0, 0, 0, 0])
        } else {
            (
                picozone_syscalls::nr::openat,
                [0xffff_ff9c, 0x7000, 0, 0, 0, 0],
            )
        };
        Entry::Call(Call {
            nr,
            flags: 0,
            pid: ZonePid(pid),
            tid: ZonePid(pid),
            host_tid: HostPid(pid + 1000),
            comm: "sh".into(),
            time: start.time + i * 10_000,
            duration: 2000,
            args,
            result: if i % 5 == 0 { -2 } else { 3 },
            parts: vec![Part::Memory {
                address: 0x7000,
                bytes: path.into_bytes(),
            }],
        })
        .put(&mut content);
        if content.len() > BLOCK_MAX / 2 {
            file.write_all(&block(&content)).expect("written");
            content.clear();
        }
    }
    Entry::End { skipped: 0 }.put(&mut content);
    file.write_all(&block(&content)).expect("written");
}
