//! Unmodified programs that must do in a zone what they do natively: output, errors, exit status
//! and files.

use crate::harness::{Home, LIMIT, Same, confined, copy_program, in_each_role, program, run};
use std::process::Command;

in_each_role!(
    busybox,
    dash,
    bash_pipelines_and_documents,
    bash_job_control,
    coreutils_on_files,
    coreutils_on_text,
    find_and_tar,
    perl,
    python_files_and_processes,
    python_threads_and_loops,
    python_multiprocessing,
    gcc_builds_and_runs,
    git_from_init_to_clone,
    curl_over_the_loopback,
    a_static_go_program,
);

confined!(dash, gcc_builds_and_runs, python_multiprocessing);

/// Checks scripts of sh in a fresh zone, each in a directory of its own.
fn check(home: &Home, needs: &[&str], scripts: &[&str]) {
    if needs
        .iter()
        .any(|name| program(&format!("what needs {name}"), name).is_none())
    {
        return;
    }
    let zone = home.boot("z");
    for script in scripts {
        Same::new(&zone).check(script);
    }
}

fn busybox(home: &Home) {
    check(
        home,
        &["busybox"],
        &[
            "busybox sh -c 'for i in 1 2 3; do echo $((i * i)); done | busybox sort -rn'",
            "busybox mkdir -p a/b && busybox touch a/b/c && busybox ln -s b a/l && busybox ls -R a
             busybox cp -r a d; busybox rm -r a; busybox find . | busybox sort",
            "busybox seq 1 5000 | busybox gzip -n | tee x.gz | busybox gunzip | busybox md5sum",
            "busybox seq 100 | busybox awk '{s += $1} END {print s}'; busybox vi --no-such; echo $?",
            "echo text | busybox sed s/t/T/g; busybox expr 6 \\* 7; busybox false || echo $?",
            "busybox tar cf - -C /etc passwd hostname 2>&1 | busybox tar tf -",
            "busybox ls /no/such; busybox cat /no/such; echo $?",
        ],
    );
}

fn dash(home: &Home) {
    check(
        home,
        &["dash"],
        &[
            "dash -c 'set -- a b c; echo $# $*; shift; echo \"$@\"; exit 9'",
            "dash -c 'trap \"echo bye\" EXIT; trap \"echo usr1\" USR1; kill -USR1 $$; (exit 4); echo $?'",
            "dash -c 'x=$(echo sub; exit 3); echo $? $x; cat <<END\nhere $x\nEND\n'",
            "dash -c 'sleep 0 & wait $!; echo $?; (kill -9 $$) ; echo not reached'; echo $?",
            "dash -c 'exec 3>file; echo three >&3; exec 3>&-; cat <file; echo gone >&3'",
            "dash -c 'no-such-command; echo $?; /etc/passwd; echo $?; ./none; echo $?'",
            "printf '#!/bin/dash\\necho script $0 $1\\n' >s; chmod +x s; ./s arg; PATH=. s other",
            "dash -c 'umask; umask 077; echo >f; umask 022; echo >g; test -w f && cd / && pwd'",
            "dash -c 'ulimit -n 64; ulimit -n; read a b </etc/hostname; echo $?; times >/dev/null'",
            "mkfifo p; (cat p; echo read) & echo through >p; wait; test -p p && rm p",
        ],
    );
}

fn bash_pipelines_and_documents(home: &Home) {
    let Some(_) = program("bash", "bash") else {
        return;
    };
    let zone = home.boot("z");
    for script in [
        "seq 1 20000 | grep 7 | sort -r | head -5 | tail -1 | tee out | wc -c",
        "set -o pipefail; false | true; echo $?; true | (exit 3) | true; echo $? ${PIPESTATUS[*]}",
        "cat <<'A' <(echo substitution) - <<<string | cat -n\n$not expanded\nA\n",
        "diff <(printf 'a\\nb\\n') <(printf 'a\\nc\\n'); echo $?",
        "coproc cat; echo there >&${COPROC[1]}; read -r x <&${COPROC[0]}; echo $x; kill $COPROC_PID; wait $COPROC_PID; echo $?",
        "declare -A m=([a]=1 [b]=2); for k in a b; do echo $k=${m[$k]}; done; mapfile -t l < <(seq 3); echo ${#l[@]}",
        "exec > >(tr a-z A-Z); echo loud; exec >&-; wait",
        "shopt -s globstar nullglob; mkdir -p x/y; touch x/1 x/y/2; echo **/*; echo none*",
        "for i in {1..40}; do (echo $i >f$i) & done; wait; cat f* | sort -n | md5sum",
        "f() { local i; for ((i = 0; i < 300; i++)); do x=$(echo $i); done; echo $x; }; f",
        "exec {fd}<>file; echo data >&$fd; cat file; cat /dev/fd/$fd; echo /dev/fd/$fd | tr 0-9 N",
        "printf '%s\\n' $BASHPID $$ | uniq | wc -l; (printf '%s\\n' $BASHPID $$ | uniq | wc -l)",
    ] {
        Same::new(&zone).shell("bash").check(script);
    }
}

fn bash_job_control(home: &Home) {
    let Some(_) = program("bash", "bash") else {
        return;
    };
    let zone = home.boot("z");
    for script in [
        "set -m; sleep 1000 & kill -STOP %1; wait -n 2>/dev/null; jobs | sed 's/[0-9]\\+ //'; kill -CONT %1; kill %1; wait %1; echo $?",
        "(kill -STOP $BASHPID; echo continued) & until grep -q 'State:.T' /proc/$!/status; do :; done; kill -CONT $!; wait $!; echo $?",
        "set -m; sleep 1000 | sleep 1000 & kill -TERM -- -$(jobs -p); wait %1 2>/dev/null; echo $?",
        "sleep 1000 & p=$!; kill -KILL $p; wait $p 2>/dev/null; echo $?; kill -0 $p 2>/dev/null; echo $?",
        // Long enough for bash to wait first: whether it tells that the job is done depends on that.
        "trap 'echo child' CHLD; set -m; sleep 0.5 & wait; trap - CHLD; disown -a; jobs",
        "timeout -s INT 0.2 sleep 1000; echo $?; timeout 0.2 sh -c 'trap \"echo term; exit 3\" TERM; while :; do sleep 0.05; done' 2>/dev/null; echo $?",
        "setsid bash -c 'test $(ps -o sid= -p $$) = $$ && echo leads'; nohup true </dev/null; echo $?",
        "exec 2>/dev/null; for s in HUP INT QUIT TERM USR1 ALRM PIPE; do bash -c \"ulimit -c 0; kill -$s \\$\\$\"; echo $s $?; done",
        "exec 2>/dev/null; (trap '' TERM; sleep 1000 & echo $! >p; wait) & until test -s p; do :; done; kill $!; kill -9 $(cat p); wait $! 2>/dev/null; echo $?; rm p",
    ] {
        Same::new(&zone).shell("bash").check(script);
    }
}

fn coreutils_on_files(home: &Home) {
    check(
        home,
        &[],
        &[
            "mkdir -p d/e; touch d/f; cp -a d c; mv c d/; ls -1R; rmdir d; echo $?; rm -rv d",
            "ln -s no-where dangling; cat dangling; readlink dangling; ls -L dangling; echo $?; rm dangling",
            "echo x >a; ln a b; stat -c '%h %s %F' a; ln -s a s; stat -c '%F %N' s; stat -Lc '%F' s; realpath --relative-to=. s",
            "touch -d '2001-02-03 04:05:06 UTC' t; TZ=UTC stat -c '%y %Y' t; touch -r t u; test u -nt t; echo $?",
            "install -m 750 -D /etc/services deep/er/hosts; stat -c %a deep/er/hosts; chmod -v u+s,g-x deep/er/hosts",
            "dd if=/dev/zero of=z bs=1k count=100 status=none; truncate -s 5 z; od -c z; fallocate -l 4096 z 2>/dev/null; wc -c <z",
            "for i in 1 2 3; do echo $i >f$i; done; mv -n f1 f2; mv -b f1 f2; ls; cat f2 f2~; cp --backup=numbered f3 f2; ls",
            "split -l 100 -d --additional-suffix=.part - x <<E\n$(seq 1000)\nE\nls | wc -l; cat x*.part | cksum",
            "ln -s loop loop; cat loop; cat loop/x; mkdir m; cat m; cat m/; cat /etc/passwd/; echo $?",
            "mkdir r; chmod 555 r; ls -ld r | cut -c1-10; mkdir -m 1777 t; ls -ld t | cut -c1-10; mknod n p; ls -l n | cut -c1-10",
            "echo one >f; chmod 400 f; echo two >>f; cat f; chown daemon:daemon f; stat -c '%U:%G %u:%g %a' f; chown 0:0 f",
            "mktemp -p . t.XXXXXX | wc -c; mktemp -d -p . d.XXXXXX | wc -c; rm -r t.* d.*; ls -A",
            "touch .h a 'b c'; ls -A --quoting-style=c; ls --zero | tr '\\0' ,; echo; du -s --apparent-size . >/dev/null; sync; echo $?",
            "cp /bin/true t; ./t; echo $?; cp --reflink=auto --sparse=always t u; cmp t u; shred -u u; ls; rm t",
        ],
    );
}

fn coreutils_on_text(home: &Home) {
    check(
        home,
        &[],
        &[
            "seq 1 3000 >n; sort -R --random-source=n n | sort -n | cmp - n; shuf -i 1-100 | sort -n | sum",
            "printf 'b 2\\na 1\\n' | tee f | sort | join - <(sort f) 2>&1 || sort f >g; sort f | join - g | paste - -",
            "seq 20 | pr -3 -t; seq 5 | tac; echo abc | rev; echo hello world | fold -w 5; printf '1\\t2\\n' | expand | unexpand -a",
            "seq 100000 | sha256sum; seq 100000 | sha1sum; seq 100 | b2sum; seq 10 | base64 | base64 -d | md5sum; echo x | base32",
            "env -i A=1 B=2 env; printenv HOME; nice -n 5 nice; id -u; id -un; id -G; groups; whoami; logname 2>/dev/null; arch; uname -s",
            "pwd; pwd -P; dirname /a/b; basename /a/b.c .c; pathchk -p 'a b' ; echo $?; nproc >/dev/null; tty; echo $?; test -t 0; echo $?",
            "date -u -d @86400 +%F; cal 2>/dev/null >/dev/null; factor 1234567890; numfmt --to=iec 123456; expr length hello; seq -s, 5",
            "comm <(echo a) 2>/dev/null; printf 'a\\nb\\n' >1; printf 'b\\nc\\n' >2; comm 1 2; csplit -s 1 /b/; cat xx00; uniq -c 1; nl 2; tr a-c A-C <1",
            "yes | head -c 1000000 | wc -l; yes | head -1; echo ${?}; (sleep 0.01; echo late) | cat; stdbuf -oL echo buffered; tail -n +2 /etc/passwd | head -1",
            "echo out; echo err >&2; cat /no/such; ls /no/such; cat <&-; echo $?; echo full >/dev/full; echo $?; echo >/dev/null; head -c 4 /dev/zero | od -c",
            ": >log; (echo a; sleep 0.01; echo b) >log & tail -f ---disable-inotify -s 0.01 --pid=$! -n +1 log; wait; awk 'BEGIN {while ((\"seq 3\" | getline x) > 0) print x; system(\"exit 3\")}'; sed --version | head -1",
            "seq 1 200 | xargs -P 4 -n 7 echo | tr ' ' '\\n' | sort -n | md5sum; echo a b | xargs -n1 sh -c 'exit 255'; echo $?; printf 'x\\0y' | xargs -0 -I{} echo '<{}>'",
        ],
    );
}

fn find_and_tar(home: &Home) {
    check(
        home,
        &["find", "tar"],
        &[
            "mkdir -p a/b/c; touch a/1 a/b/2; ln -s ../1 a/b/l; find a -mindepth 1 -printf '%y %d %P %l\\n' | sort; find a -type f -exec basename {} \\; | sort",
            "mkdir d; for i in $(seq 300); do : >d/$i; done; find d -type f | wc -l; find d -name '1*' -delete; find d | wc -l; find d -newer d/2 -o -empty | sort | head -3",
            "find /etc/no-such; echo $?; find /usr/share/zoneinfo -maxdepth 1 -type d | sort | head; find . -perm /222 -user root",
            "mkdir -p s/t; echo x >s/f; chmod 600 s/f; ln s/f s/h; ln -s f s/l; mkfifo s/p; tar cf a.tar --sort=name --mtime=@0 s; tar tvf a.tar --numeric-owner; mkdir o; tar xpf a.tar -C o; ls -R o; cmp s/f o/s/f; rm a.tar",
            "mkdir s; seq 50000 >s/n; tar czf - s | tar xzf - -O | cksum; tar cJf a.xz s 2>/dev/null && tar tJf a.xz; rm -f a.xz; tar xf none; echo $?",
            "tar cf - -C /usr/share/zoneinfo Europe | tar tf - | sort | md5sum; tar cf - -C /usr/share zoneinfo | tar xf - && du -s --apparent-size zoneinfo/Europe >/dev/null; find zoneinfo -type f | sort | xargs cat | md5sum; rm -r zoneinfo",
            "mkdir d; echo 1 >d/own; chown daemon:mail d/own; tar cf - d | (mkdir e; cd e; tar xpf -); stat -c '%U %G' e/d/own; rm -r d e",
        ],
    );
}

fn perl(home: &Home) {
    check(
        home,
        &["perl"],
        &[
            "perl -e 'print join(\",\", map { $_ * 2 } grep { $_ % 2 } 1 .. 9), \"\\n\"; exit 5'; echo $?",
            "perl -MPOSIX -e '$SIG{USR1} = sub { print \"got\\n\" }; kill USR1 => $$; my $p = fork // die; if (!$p) { POSIX::_exit(7) } waitpid $p, 0; print $? >> 8, \"\\n\"'",
            "perl -e 'open my $f, \">\", \"file\" or die; print $f \"text\\n\"; close $f; print -s \"file\", \"\\n\"; rename \"file\", \"other\"; opendir D, \".\"; print sort grep { !/^\\./ } readdir D; print \"\\n\"; open X, \"none\" or print \"$!\\n\"'",
            "perl -MSocket -e 'socketpair A, B, AF_UNIX, SOCK_STREAM, 0; if (!fork) { syswrite B, \"over\\n\"; exit } sysread A, $x, 9; print $x; wait'",
            "perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 1, LocalAddr => \"127.0.0.1\") or die \"$!\"; if (!fork) { $c = IO::Socket::INET->new(PeerAddr => \"127.0.0.1\", PeerPort => $s->sockport) or die; print $c \"line\\n\"; exit } $c = $s->accept; print scalar <$c>; print $c->peerhost, \"\\n\"; wait'",
            "perl -e '$SIG{ALRM} = sub { die \"alarm\\n\" }; eval { alarm 1; select undef, undef, undef, 20 }; print $@; $0 = \"renamed\"; print `echo backtick`; system \"exit 3\"; print $? >> 8, \"\\n\"'",
            "seq 1000 | perl -ne '$s += $_; END { print \"$s\\n\" }'; perl -pi -e 's/a/b/' none; echo $?; echo aaa >f; perl -pi.bak -e 's/a/b/g' f; cat f f.bak",
        ],
    );
}

/// A script of Python in the directory where it runs.
fn python(home: &Home, scripts: &[&str]) {
    let Some(_) = program("python", "python3") else {
        return;
    };
    let zone = home.boot("z");
    for script in scripts {
        Same::new(&zone).check(&format!("python3 - <<'END'\n{script}\nEND\n"));
    }
}

fn python_files_and_processes(home: &Home) {
    python(
        home,
        &[
            "import subprocess, sys\nr = subprocess.run(['sh', '-c', 'cat; echo err >&2; exit 3'], input=b'in', capture_output=True)\nprint(r)\nprint(subprocess.check_output('echo $((6*7))', shell=True))\ntry: subprocess.run(['none'])\nexcept FileNotFoundError as e: print(e)\np = subprocess.Popen(['sleep', '1000']); p.kill(); print(p.wait())\ntry: subprocess.run(['sleep', '1000'], timeout=0.1)\nexcept subprocess.TimeoutExpired: print('timeout')\nprint(subprocess.run(['sh', '-c', 'echo $0; pwd'], cwd='/usr', start_new_session=True, close_fds=True, capture_output=True).stdout)",
            "import os, tempfile, shutil, pathlib\np = pathlib.Path('d/e'); p.mkdir(parents=True); (p / 'f').write_text('text'); os.symlink('f', 'd/e/l'); os.link('d/e/f', 'd/h')\nprint(sorted(str(x) for x in pathlib.Path('d').rglob('*')), os.stat('d/h').st_nlink)\nwith tempfile.TemporaryDirectory() as t: open(t + '/x', 'w').close(); print(os.listdir(t))\nshutil.copytree('d', 'c', symlinks=True); shutil.make_archive('a', 'tar', 'c'); os.remove('a.tar'); shutil.rmtree('d')\nfor call in (lambda: open('none'), lambda: os.rmdir('c'), lambda: os.mkdir('c'), lambda: os.open('c', os.O_WRONLY), lambda: os.kill(999999, 0)):\n    try: call()\n    except OSError as e: print(e)",
            "import mmap, os, fcntl, struct\nf = open('m', 'w+b'); f.truncate(8192); m = mmap.mmap(f.fileno(), 0); m[0:4] = b'mmap'\npid = os.fork()\nif pid == 0:\n    m[4:9] = b'child'; os._exit(0)\nos.waitpid(pid, 0); print(m[:9]); m.close()\nfcntl.flock(f, fcntl.LOCK_EX); fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)\nr, w = os.pipe(); pid = os.fork()\nif pid == 0:\n    g = open('m', 'r+b')\n    try: fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB)\n    except OSError as e: os.write(w, str(e).encode())\n    os._exit(0)\nos.waitpid(pid, 0); print(os.read(r, 99)); print(os.sendfile(w, f.fileno(), 0, 9), os.read(r, 9))",
            "import signal, os, time\nhits = []\nsignal.signal(signal.SIGALRM, lambda s, f: hits.append(s)); signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)\nwhile len(hits) < 5: time.sleep(1)\nsignal.setitimer(signal.ITIMER_REAL, 0); print(hits[:5])\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]); os.kill(os.getpid(), signal.SIGUSR1); print(signal.sigpending()); print(signal.sigwait([signal.SIGUSR1]))\npid = os.fork()\nif pid == 0: os.abort()\nprint(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))",
            "import sqlite3\nc = sqlite3.connect('db'); c.execute('create table t(a)'); c.executemany('insert into t values (?)', [(i,) for i in range(1000)]); c.commit(); print(c.execute('select sum(a), count(*) from t').fetchone()); c.execute('pragma journal_mode=wal'); c.execute('delete from t where a > 10'); c.commit(); print(c.execute('select count(*) from t').fetchone())\nc.close()\nimport os; print(sorted(os.listdir('.'))); os.remove('db')",
            "import os, pwd, grp, socket, platform, resource, getpass\nprint(pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(0).gr_name, getpass.getuser(), os.getgroups(), os.getresuid())\nprint(platform.system(), platform.machine(), os.cpu_count() == len(os.sched_getaffinity(0)), resource.getrlimit(resource.RLIMIT_CORE)[0] in (0, -1), os.umask(0o22))\npid = os.fork()\nif pid == 0:\n    os.setgroups([4]); os.setgid(33); os.setuid(33); print(os.getresuid(), os.getresgid(), os.getgroups(), flush=True)\n    try: os.setuid(0)\n    except OSError as e: print(e, flush=True)\n    os._exit(0)\nprint(os.waitpid(pid, 0)[1])",
        ],
    );
}

fn python_threads_and_loops(home: &Home) {
    python(
        home,
        &[
            "import threading, queue\nq = queue.Queue(); out = []; lock = threading.Lock()\ndef work():\n    while (i := q.get()) is not None:\n        with lock: out.append(i * i)\nts = [threading.Thread(target=work) for _ in range(8)]\n[t.start() for t in ts]; [q.put(i) for i in range(2000)]; [q.put(None) for _ in ts]; [t.join() for t in ts]\nprint(sum(out), threading.active_count(), len({t.native_id for t in ts}) == 8)\nimport os; print(threading.get_native_id() == os.getpid())",
            "import threading, subprocess\nresults = [None] * 16\ndef work(i): results[i] = subprocess.check_output(['echo', str(i)])\nts = [threading.Thread(target=work, args=(i,)) for i in range(16)]\n[t.start() for t in ts]; [t.join() for t in ts]; print(results)",
            "import asyncio\nasync def handle(r, w):\n    w.write((await r.readline()).upper()); await w.drain(); w.close()\nasync def client(port, i):\n    r, w = await asyncio.open_connection('127.0.0.1', port); w.write(b'line %d\\n' % i); data = await r.read(); w.close(); return data\nasync def main():\n    s = await asyncio.start_server(handle, '127.0.0.1', 0); port = s.sockets[0].getsockname()[1]\n    print(await asyncio.gather(*[client(port, i) for i in range(20)]))\n    p = await asyncio.create_subprocess_exec('sh', '-c', 'cat; exit 4', stdin=-1, stdout=-1); print(await p.communicate(b'through'), p.returncode)\n    s = await asyncio.start_unix_server(handle, 'socket'); r, w = await asyncio.open_unix_connection('socket'); w.write(b'unix\\n'); print(await r.read()); s.close()\n    try: await asyncio.wait_for(asyncio.sleep(100), 0.01)\n    except asyncio.TimeoutError: print('timeout')\nasyncio.run(main())\nimport os; os.path.exists('socket') and os.remove('socket')",
            "import socket, threading, select\na, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET); a.send(b'one'); a.send(b'two'); print(b.recv(9), b.recv(9))\nf = open('/etc/hostname'); socket.send_fds(a, [b'fd'], [f.fileno()]); m, fds, _, _ = socket.recv_fds(b, 9, 1); print(m, len(fds))\ns = socket.create_server(('127.0.0.1', 0)); c = socket.create_connection(s.getsockname()); d, peer = s.accept(); print(peer == c.getsockname(), d.getsockname() == s.getsockname())\nu = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', 0)); v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); v.sendto(b'datagram', u.getsockname()); data, who = u.recvfrom(99); u.sendto(data.upper(), who); print(v.recv(99), who[0])\nt = socket.socket(); t.settimeout(5)\ntry: t.connect(('127.0.0.1', 1))\nexcept OSError as e: print(e)\ntry: socket.create_server(s.getsockname())\nexcept OSError as e: print(e.errno)\np = select.epoll(); p.register(d, select.EPOLLIN); c.send(b'x'); print(p.poll(5) == [(d.fileno(), select.EPOLLIN)])",
            "import selectors, os, time\nr, w = os.pipe(); os.set_blocking(r, False)\ntry: os.read(r, 1)\nexcept BlockingIOError as e: print(e)\ns = selectors.DefaultSelector(); s.register(r, selectors.EVENT_READ); print(s.select(0.01)); os.write(w, b'x'); print(len(s.select(1)))\nprint(time.monotonic() > 0, time.clock_gettime(time.CLOCK_BOOTTIME) > 0, os.eventfd(3) > 0, len(os.urandom(8)), os.memfd_create('m') > 0)",
        ],
    );
}

fn python_multiprocessing(home: &Home) {
    let Some(_) = program("python", "python3") else {
        return;
    };
    let zone = home.boot("z");
    // Children by spawn import the script, which therefore needs a name.
    let script = "import multiprocessing as mp, os, sys
def square(x): return x * x
def put(q, i): q.put((i, os.getppid() == int(sys.argv[1]) if len(sys.argv) > 1 else True))
if __name__ == '__main__':
    for method in ('fork', 'spawn', 'forkserver'):
        c = mp.get_context(method)
        with c.Pool(4) as p: print(method, p.map(square, range(10)))
        q = c.Queue(); ps = [c.Process(target=put, args=(q, i)) for i in range(3)]
        [p.start() for p in ps]; print(sorted(q.get()[0] for _ in ps)); [p.join() for p in ps]; print([p.exitcode for p in ps])
        v = c.Value('i', 0)
    from multiprocessing import shared_memory
    m = shared_memory.SharedMemory(create=True, size=64); m.buf[:3] = b'abc'
    n = shared_memory.SharedMemory(name=m.name); print(bytes(n.buf[:3])); n.close(); m.close(); m.unlink()
    from concurrent.futures import ProcessPoolExecutor
    with ProcessPoolExecutor(2) as e: print(list(e.map(square, range(5))))
";
    let same = Same::new(&zone).but(&["__pycache__"]);
    same.check(&format!("cat >m.py <<'END'\n{script}END\npython3 m.py"));
}

fn gcc_builds_and_runs(home: &Home) {
    let source = "#include <stdio.h>\n#include <pthread.h>\n#include \"h.h\"\nstatic void *run(void *x) { return (char *)x + 1; }\nint main(int c, char **v) { pthread_t t; void *r; pthread_create(&t, 0, run, (void *)41); pthread_join(t, &r); printf(\"%s %ld %d\\n\", v[0], (long)r, N); return c; }";
    let script = |flags: &str| {
        format!(
            "cat >m.c <<'END'\n{source}\nEND\necho '#define N 7' >h.h; gcc {flags} -pthread -o m m.c && ./m a b; echo $?; rm -f m"
        )
    };
    check(
        home,
        &["gcc"],
        &[
            &script("-O2"),
            &script("-static -O1"),
            &script("-no-pie -g"),
            &script("-static-pie -pipe"),
            // Maps terabytes at fixed places. Leaks are looked for by ptrace(2), which hosts may forbid.
            &format!(
                "export ASAN_OPTIONS=detect_leaks=0; {}",
                script("-fsanitize=address,undefined")
            ),
            "echo 'int main() { return x; }' >bad.c; gcc bad.c; echo $?; gcc none.c; echo $?",
            "echo 'int f(void) { return 5; }' >f.c; gcc -shared -fPIC -o libf.so f.c; echo 'int f(void); int main(void) { return f(); }' >m.c; gcc m.c -L. -lf -Wl,-rpath,. -o m; ./m; echo $?; ar rc l.a; rm m libf.so",
            "printf 'all: a b\\n\\t@echo done\\na b:\\n\\t@echo $@; touch $@\\n' >Makefile; command -v make >/dev/null && make -j2 | sort; make -q 2>/dev/null; rm -f a b",
        ],
    );
}

fn git_from_init_to_clone(home: &Home) {
    let Some(_) = program("git", "git") else {
        return;
    };
    let zone = home.boot("z");
    // Indexes hold inode numbers and times.
    let same = Same::new(&zone).but(&["r/.git", "c/.git", "bare.git", "w/.git"]);
    let dates = "export GIT_AUTHOR_DATE='@0 +0000' GIT_COMMITTER_DATE='@0 +0000' GIT_CONFIG_NOSYSTEM=1 HOME=$PWD";
    same.check(&format!(
        "{dates}; git config --global user.name n; git config --global user.email e@x; git config --global init.defaultBranch main
         git init r && cd r && seq 100 >f && mkdir d && echo x >d/g && ln -s f l && git add -A && git commit -m first | cat; git rev-parse HEAD"
    ));
    same.check(&format!(
        "{dates}; cd r; echo more >>f; git status --short; git diff; git commit -qam second; git log --format='%H %s'; git branch b; git checkout -q b; echo b >f; git commit -qam third; git checkout main; git merge b | cat; git fsck; git gc -q; git count-objects"
    ));
    same.check(&format!(
        "{dates}; git clone -q r c; git -C c log --oneline; git clone -q --bare file://$PWD/r bare.git; git -C c push -q ../bare.git HEAD:refs/heads/x; git -C bare.git for-each-ref; git -C r worktree add -q ../w b 2>&1; git -C c show none; echo $?; git -C c grep -n more; git -C c archive HEAD | tar t"
    ));
}

fn curl_over_the_loopback(home: &Home) {
    check(
        home,
        &["curl", "python3"],
        &[
            "mkdir s; seq 100000 >s/big; echo small >s/small; cd s
             python3 -uc 'import http.server as h, functools
s = h.ThreadingHTTPServer((\"127.0.0.1\", 0), h.SimpleHTTPRequestHandler); print(s.server_port, flush=True); s.serve_forever()' >../port 2>../log &
             cd ..; until test -s port; do :; done; at=http://127.0.0.1:$(cat port)
             curl -sS $at/small; curl -sS $at/big | cksum; curl -sS -o got -w '%{http_code} %{size_download} %{remote_ip}\\n' $at/big
             curl -sSf $at/none; echo $?; curl -sS -I $at/small | grep -i length; curl -sS -r 0-3 $at/small | head -c 4; echo
             curl -s --no-progress-meter $at/small $at/small $at/small; curl -sS localhost:$(cat port)/small; kill $!; wait 2>/dev/null; cut -d' ' -f1 log | sort -u; rm log port",
            "curl -sS http://127.0.0.1:1/ 2>&1 | sed 's/after.*//'; curl -sS file:///etc/hostname >/dev/null; echo $?; curl -sS http://no-such.invalid/; echo $?; curl -sS nonsense://x; echo $?",
        ],
    );
}

fn a_static_go_program(home: &Home) {
    let Some(_) = program("a static Go program", "go") else {
        return;
    };
    let zone = home.boot("z");
    let same = Same::new(&zone).but(&["program"]);
    let source = same.work().join("m.go");
    std::fs::write(&source, GO).expect("it can be written");
    let mut go = Command::new("go");
    go.args(["build", "-o", "program", "m.go"])
        .current_dir(same.work());
    let cache = same.work().join("program.cache");
    go.env("CGO_ENABLED", "0")
        .env("GOCACHE", &cache)
        .env("GOFLAGS", "-mod=mod")
        .env("GO111MODULE", "off");
    run(&mut go, LIMIT).ok();
    std::fs::remove_dir_all(&cache).expect("go has made it");
    std::fs::remove_file(&source).expect("it is ours");
    let there = same.work_in_zone().join("program");
    copy_program(&same.work().join("program"), &there);
    if let Some((uid, gid)) = home.role().account() {
        std::os::unix::fs::chown(&there, Some(uid), Some(gid)).expect("we are root");
    }
    same.check("./program one two; echo $?");
}

/// Goroutines, timers, processes, signals, files and sockets by Go's own runtime, without libc.
const GO: &str = r#"package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

func main() {
	fmt.Println(len(os.Args), os.Args[1:], os.Getuid())
	var group sync.WaitGroup
	var lock sync.Mutex
	sum := 0
	for i := 0; i < 1000; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			time.Sleep(time.Microsecond)
			lock.Lock()
			sum += i
			lock.Unlock()
		}(i)
	}
	group.Wait()
	fmt.Println(sum)
	out, err := exec.Command("sh", "-c", "echo child; exit 3").Output()
	fmt.Printf("%q %v\n", out, err)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	fmt.Println(<-signals)
	_, err = os.Open("none")
	fmt.Println(err, os.WriteFile("file", []byte("text\n"), 0o640))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "answer", r.URL.Path)
	}))
	for i := 0; i < 3; i++ {
		response, err := http.Get(fmt.Sprintf("http://%s/%d", listener.Addr(), i))
		if err != nil {
			fmt.Println(err)
			continue
		}
		body, _ := io.ReadAll(response.Body)
		fmt.Print(string(body))
	}
	os.Exit(6)
}
"#;
