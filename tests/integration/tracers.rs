//! gdb and strace in a zone show what they show natively.

use crate::harness::{Home, Same, are_all_traced, in_each_role, program};
use std::fs;

in_each_role!(gdb, gdb_attached, strace, strace_attached);

const PROGRAM: &str = r#"
#include <pthread.h>
#include <stdio.h>
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
int main(int argc, char **argv) {
    pthread_t id;
    int status;
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
            "gdb -batch -nx {commands} ./p 2>/dev/null </dev/null | grep -E '^(#|Breakpoint|sum)|exited with'
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
        ],
    );
}

/// A thread that waits in a call has its frames, though the personality makes the call.
fn gdb_attached(home: &Home) {
    check(
        home,
        "gdb",
        &["mkfifo f; ./p waits >f & read line <f; rm f
           gdb -batch -nx -p $! -ex bt 2>/dev/null </dev/null | grep -oE ' in (waits|main) '
           kill $!"],
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

/// Calls that came by a jump before are seen.
fn strace_attached(home: &Home) {
    check(
        home,
        "strace",
        &["mkfifo f; ./p looks <f & exec 3>f; rm f; : >said
           strace -o out -e trace=newfstatat,exit_group -p $! 2>said &
           until grep -q attached said; do sleep 0.1; done
           echo >&3; wait; cat out; rm out said"],
    );
}
