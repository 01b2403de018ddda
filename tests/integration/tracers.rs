//! gdb and strace in a zone show what they show natively; those of the host show a guest.

use crate::faults::descendants;
use crate::harness::{self, Home, LIMIT, Same, Zone, are_all_traced, in_each_role, program, run};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

in_each_role!(
    gdb,
    gdb_attached,
    strace,
    strace_attached,
    gdb_of_the_host,
    strace_of_the_host
);

const PROGRAM: &str = r#"
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
static int sum;
__attribute__((noinline)) int inner(int x) { sum += x; return sum; }
__attribute__((noinline)) int outer(int x) { return inner(x) + 1; }
static void *thread(void *argument) { outer(5); return argument; }
__attribute__((noinline)) int waits(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    listen(fd, 1);
    write(1, "ready\n", 6);
    return accept(fd, 0, 0) + 1;
}
__attribute__((noinline)) int looks(void) {
    struct stat data;
    char byte;
    read(0, &byte, 1);
    return stat("/usr/lib/os-release", &data);
}
__attribute__((noinline)) int calls(int kind) {
    struct stat data;
    char name[4096];
    write(1, "ready\n", 6);
    for (;;)
        switch (kind) {
        case 1: stat("/usr/lib/os-release", &data); break;
        case 2: getcwd(name, sizeof name); break;
        case 3: close(open("/usr/lib/os-release", O_RDONLY)); break;
        }
}
int main(int argc, char **argv) {
    pthread_t id;
    int status;
    if (argc > 2)
        return calls(atoi(argv[2])) + 1;
    if (argc > 1)
        return strcmp(argv[1], "waits") ? looks() : waits();
    outer(1);
    pthread_create(&id, 0, thread, 0);
    pthread_join(id, 0);
    pid_t child = fork();
    if (child == 0) {
        outer(3);
        execl("/bin/true", "true", (char *)0);
        _exit(7);
    }
    waitpid(child, &status, 0);
    printf("sum %d status %d\n", sum, status);
    return 3;
}
"#;

/// Runs scripts beside the program, built natively so that both sides have the same file.
fn check(home: &Home, tool: &str, scripts: &[&str]) {
    if [tool, "gcc"]
        .iter()
        .any(|name| program(&format!("what {tool} shows"), name).is_none())
        || are_all_traced(&format!("what {tool} shows"))
    {
        return;
    }
    let zone = home.boot("z");
    for script in scripts {
        let same = Same::new(&zone);
        for directory in [same.work().to_owned(), same.work_in_zone()] {
            fs::write(directory.join("p.c"), PROGRAM).expect("it can be written");
        }
        same.check(&format!("gcc -g -O1 -o p p.c -lpthread && {{ {script}; }}"));
    }
}

fn gdb(home: &Home) {
    let run = |commands: &str| {
        format!(
            "gdb -batch -nx {commands} ./p 2>/dev/null </dev/null | grep -E '^(#|Breakpoint|sum|exe)|exited with'
             | sed -E 's/0x[0-9a-f]+/ADDRESS/g; s/process [0-9]+/process N/; / clone3? \\(/d'"
        )
        .replace('\n', " ")
    };
    check(
        home,
        "gdb",
        &[
            &run("-ex 'break inner' -ex run -ex bt -ex c -ex bt -ex delete -ex c"),
            &run("-ex 'break main' -ex run -ex next -ex next -ex next -ex 'print sum' -ex c"),
            &run(
                "-ex 'set follow-fork-mode child' -ex 'break inner if x == 3' -ex run -ex bt -ex c",
            ),
            // Where the first thread is by then is its own affair.
            "gdb -batch -nx -ex 'break inner if x == 5' -ex run -ex 'thread apply all bt' -ex c ./p 2>/dev/null </dev/null
             | grep -oE '^#0 +inner| in (outer|thread|main) '"
                .replace("\n             |", " |")
                .as_str(),
            &run(
                "-ex 'set follow-fork-mode child' -ex 'catch exec' -ex run -ex 'info proc exe' -ex c",
            ),
        ],
    );
}

/// A thread that waits in a call has its frames, though the personality makes the call, and so has one that
/// is about to make it or returns.
fn gdb_attached(home: &Home) {
    check(
        home,
        "gdb",
        &[
            "for kind in 1 2 3; do
               mkfifo f; ./p calls $kind >f & read line <f; rm f
               for round in 1 2 3; do
                   gdb -batch -nx -p $! -ex bt 2>/dev/null </dev/null | grep '^#' | grep -oE '(calls|main) [(]'
               done; kill $!
           done",
            "mkfifo f; ./p waits >f & read line <f; rm f
           gdb -batch -nx -p $! -ex bt -ex 'print outer(20)' -ex bt 2>/dev/null </dev/null
               | grep -oE ' in (waits|main) |^.1 = .*'
           kill $!"
                .replace("\n               |", " |")
                .as_str(),
        ],
    );
}

fn strace(home: &Home) {
    check(
        home,
        "strace",
        &[
            "strace -ff -o out -e trace=execve,openat,read,write,exit,exit_group ./p; echo $?
          cat out.* | sed -E 's/0x[0-9a-f]+/ADDRESS/g; s/[0-9]+ vars/N vars/'
              | grep -v '^---' | sort; rm out.*"
                .replace("\n              |", " |")
                .as_str(),
        ],
    );
}

/// Calls that came by a jump before are seen; those of the linker, which may not be done yet, do not count.
fn strace_attached(home: &Home) {
    check(
        home,
        "strace",
        &["mkfifo f; ./p looks <f & exec 3>f; rm f; : >said
           strace -o out -e trace=newfstatat,exit_group -p $! 2>said &
           until grep -q attached said; do sleep 0.1; done
           echo >&3; wait; grep -v AT_EMPTY_PATH out; rm out said"],
    );
}

/// Forks and executes at each byte that it reads, beside a thread that waits.
const FAMILY: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
static int sum;
__attribute__((noinline)) int inner(int x) { sum += x; return sum; }
__attribute__((noinline)) int outer(int x) { return inner(x) + 1; }
static pthread_barrier_t both;
static void *thread(void *argument) {
    pthread_barrier_wait(&both);
    for (;;)
        pause();
    return argument;
}
int main(void) {
    pthread_t id;
    char byte;
    int status;
    pthread_barrier_init(&both, 0, 2);
    pthread_create(&id, 0, thread, 0);
    pthread_barrier_wait(&both);
    write(1, "ready\n", 6);
    while (read(0, &byte, 1) == 1) {
        outer(2);
        pid_t child = fork();
        if (child == 0) {
            outer(3);
            execl("/bin/true", "true", (char *)0);
            _exit(7);
        }
        waitpid(child, &status, 0);
        printf("sum %d status %d\n", sum, status);
        fflush(stdout);
    }
    return 3;
}
"#;

/// A guest that the host's tools look at: the login, the guest's number on the host, and its program.
struct Watched {
    login: Child,
    output: BufReader<std::process::ChildStdout>,
    /// What it reads from, as the host names it, and our end of that.
    fifo: PathBuf,
    input: Option<File>,
    pid: i32,
    program: PathBuf,
}

impl Watched {
    fn start(zone: &Zone<'_>) -> Self {
        let name = "picozone-watched";
        let source = zone.root().join("srv/watched.c");
        let program = zone.root().join("srv").join(name);
        fs::write(&source, FAMILY).expect("it can be written");
        let mut compile = Command::new("gcc");
        compile.args(["-g", "-O1", "-o"]).arg(&program).arg(&source);
        run(compile.arg("-lpthread"), LIMIT).ok();
        zone.sh("mkfifo /srv/input");
        let fifo = zone.root().join("srv/input");
        let start = format!("exec /srv/{name} </srv/input");
        let mut command = zone.command(&["sh", "-c", &start]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut login = command.spawn().expect("it starts");
        let input = File::options().write(true).open(&fifo).expect("a FIFO");
        let mut output = BufReader::new(login.stdout.take().expect("piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("it is read");
        assert_eq!(line, "ready\n");
        let is_it = |pid: &i32| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.trim_end_matches('\0').ends_with(name)
        };
        let pid = descendants(zone.monitor()).into_iter().find(is_it);
        Self {
            login,
            output,
            fifo,
            input: Some(input),
            pid: pid.expect("it runs"),
            program,
        }
    }

    /// Has the guest go round once.
    fn go(&mut self) {
        let mut input = self.input.as_ref().expect("it is open");
        input.write_all(b"x").expect("it reads");
    }

    /// What the guest says next.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it is read");
        line
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.input.take());
        let _ = self.login.wait();
    }
}

fn is_missing(tool: &str) -> bool {
    let what = format!("what {tool} of the host shows");
    [tool, "gcc"]
        .iter()
        .any(|name| program(&what, name).is_none())
        || are_all_traced(&what)
}

/// Breakpoints, backtraces, threads, and a child that is followed over its exec, which is one of the
/// personality as the host sees it.
fn gdb_of_the_host(home: &Home) {
    if is_missing("gdb") {
        return;
    }
    let zone = home.boot("z");
    let mut watched = Watched::start(&zone);
    let mut gdb = home.host(Path::new("/usr/bin/gdb"));
    gdb.args(["-batch", "-nx"]).arg(&watched.program);
    gdb.args(["-p", &watched.pid.to_string()]);
    let go = format!("shell printf x >{}", watched.fifo.display());
    let commands = [
        // Calls that are not rewritten come to the personality so.
        "handle SIGSYS nostop noprint pass",
        "thread apply all bt",
        "info threads",
        "set follow-fork-mode child",
        "break inner if x == 3",
        // The guest reads that when gdb lets it go on.
        &go,
        "continue",
        "bt",
        "delete",
        "continue",
    ];
    for command in commands {
        gdb.args(["-ex", command]);
    }
    let shown = run(&mut gdb, LIMIT);
    for wanted in [
        "in thread (",
        "in main (",
        "inner (x=",
        "in outer (x=",
        "exited normally",
    ] {
        let is_shown = shown.stdout.contains(wanted);
        assert!(is_shown, "{wanted:?} is missing: {shown:?}");
    }
    assert_eq!(watched.line(), "sum 2 status 0\n");
}

/// The personality's calls, in the host's terms; the guest notices nothing.
fn strace_of_the_host(home: &Home) {
    if is_missing("strace") {
        return;
    }
    let zone = home.boot("z");
    let mut watched = Watched::start(&zone);
    let mut strace = home.host(Path::new("/usr/bin/strace"));
    let log = home.dir().join("strace.log");
    strace.args(["-f", "-o"]).arg(&log);
    strace.args(["-p", &watched.pid.to_string()]);
    let mut strace = strace.stderr(Stdio::null()).spawn().expect("strace");
    let shown = || fs::read_to_string(&log).unwrap_or_default();
    harness::eventually("strace is attached", || {
        shown().contains("read(0").then_some(())
    });
    for sum in [2, 4] {
        watched.go();
        assert_eq!(watched.line(), format!("sum {sum} status 0\n"));
    }
    drop(watched);
    let status = strace.wait().expect("it ends with what it traces");
    assert!(status.success(), "{status}");
    let shown = shown();
    for wanted in [
        "execveat(",
        "wait4(",
        "+++ exited with 0 +++",
        "+++ exited with 3 +++",
    ] {
        assert!(shown.contains(wanted), "{wanted:?} is missing: {shown}");
    }
}
