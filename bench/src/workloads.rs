//! Whole programs: each a shell script that is timed where it runs.

use crate::limited;
use crate::measure::{Goal, Measure, Unit};
use crate::report::Report;
use crate::side::{Side, has};
use crate::turns::Rounds;

/// What is timed is `run`; `prepare` comes once on each side, `before` each time.
struct Workload {
    name: &'static str,
    /// The highest ratio that the project aims at.
    goal: f64,
    needs: &'static str,
    prepare: &'static str,
    before: &'static str,
    run: &'static str,
}

const ARCHIVE: &str = "test -e t.tar || { mkdir -p t && for d in $(seq 20); do mkdir -p t/$d; \
     for f in $(seq 100); do echo $f >t/$d/$f; done; done; tar cf t.tar t; rm -r t; }";
const REPOSITORY: &str = "test -d r || { mkdir r && cd r && git init -q && for f in $(seq 1000); \
     do echo $f >$f; done && git add . && \
     git -c user.name=b -c user.email=b@b commit -q -m b; }";

const WORKLOADS: [Workload; 10] = [
    Workload {
        name: "find /usr/share/doc",
        goal: 1.25,
        needs: "find",
        prepare: "true",
        before: "true",
        run: "find /usr/share/doc >/dev/null",
    },
    Workload {
        name: "find -size",
        goal: 1.5,
        needs: "find",
        prepare: "true",
        before: "true",
        run: "find /usr/share/doc -size +100k >/dev/null",
    },
    Workload {
        name: "ls -lR",
        goal: 1.5,
        needs: "ls",
        prepare: "true",
        before: "true",
        run: "ls -lR /usr/share/doc >/dev/null",
    },
    Workload {
        name: "untar 2,000 files",
        goal: 1.5,
        needs: "tar",
        prepare: ARCHIVE,
        before: "rm -rf t",
        run: "tar xf t.tar",
    },
    Workload {
        name: "rm -r of them",
        goal: 1.5,
        needs: "tar",
        prepare: ARCHIVE,
        before: "rm -rf t; tar xf t.tar",
        run: "rm -r t",
    },
    Workload {
        name: "make -j2 of 31 C files",
        goal: 1.07,
        needs: "gcc",
        prepare: "mkdir -p m && cd m && for f in $(seq 31); do \
             printf '#include <stdio.h>\\nint f%s(void) { return puts(\"%s\"); }\\n' $f $f >$f.c; done; \
             printf 'all: $(patsubst %%.c,%%.o,$(wildcard *.c))\\n' >Makefile",
        before: "rm -f m/*.o",
        run: "make -s -j2 -C m",
    },
    Workload {
        name: "python3 start x 20",
        goal: 1.07,
        needs: "python3",
        prepare: "true",
        before: "true",
        run: "for i in $(seq 20); do /usr/bin/python3 -c pass; done",
    },
    Workload {
        name: "git clone of 1,000 files",
        goal: 1.3,
        needs: "git",
        prepare: REPOSITORY,
        before: "rm -rf c",
        run: "git clone -q r c",
    },
    Workload {
        name: "git status",
        goal: 1.4,
        needs: "git",
        prepare: REPOSITORY,
        before: "true",
        run: "git -C r status --porcelain",
    },
    Workload {
        name: "sqlite, 5,000 unsynced inserts",
        goal: 1.15,
        needs: "python3",
        prepare: "printf '%s\\n' 'import sqlite3' 'd = sqlite3.connect(\"d\", isolation_level=None)' \
             'd.execute(\"pragma synchronous=off\")' 'd.execute(\"create table t (n)\")' \
             'for n in range(5000): d.execute(\"insert into t values (?)\", (n,))' >insert.py",
        before: "rm -f d",
        run: "python3 insert.py",
    },
];

/// Nanoseconds of each on each side, in turns.
pub(crate) fn run(only: &str, rounds: Rounds, sides: &[Side<'_>], report: &mut Report) {
    for workload in WORKLOADS.iter().filter(|w| w.name.contains(only)) {
        if !has(workload.needs) {
            eprintln!("skipped: there is no {} on this host", workload.needs);
            continue;
        }
        let mut measure =
            Measure::new(workload.name, Unit::Nanoseconds, Goal::Ratio(workload.goal));
        let Workload { before, run, .. } = workload;
        let script =
            format!("{before}; s=$(date +%s%N); {run} || exit 1; e=$(date +%s%N); echo $((e - s))");
        let once = |side: &Side<'_>| limited::number(&mut side.script(&script));
        for side in sides {
            measure.prepare(side.name(), || {
                side.shell(workload.prepare)?;
                // Once for nothing: what is cold on each side.
                once(side).map(drop)
            });
        }
        for _ in rounds.turns() {
            for side in sides {
                measure.take(side.name(), || once(side));
            }
        }
        report.add(measure);
    }
}
