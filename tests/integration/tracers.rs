//! gdb and strace in a zone show what they show natively.

use crate::harness::{Home, Same, are_all_traced, in_each_role, program};
use std::fs;

in_each_role!(gdb, strace);

const PROGRAM: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
static int sum;
__attribute__((noinline)) int inner(int x) { sum += x; return sum; }
__attribute__((noinline)) int outer(int x) { return inner(x) + 1; }
static void *thread(void *argument) { outer(5); return argument; }
int main(void) {
    pthread_t id;
    int status;
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
