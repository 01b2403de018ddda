//! Programs that people use: the same output, exit status and files in a zone as natively.
//!
//! Each is skipped, with a line that says so, where the machine has no such program.

use crate::harness::sh;

same! {
    busybox = sh(
        "busybox sh -c 'for i in 3 1 2; do echo $i; done | busybox sort > sorted; busybox md5sum sorted'
         busybox mkdir -p a/b; busybox cp sorted a/b; busybox find a; busybox wc -c a/b/sorted
         busybox sh -c 'exit 9'"
    ).needs("busybox").files();

    dash = sh(
        "dash -c 'set -e; f() { local x=$1; echo \"f $x\"; }; f one; (cd / && pwd); umask 027; : > made
         trap \"echo trapped\" EXIT USR1; kill -USR1 $$; x=$(echo sub; exit 3) || echo \"$x $?\"
         echo a | { read y; echo \"read $y\"; }; sleep 100 & kill $!; wait $! || echo \"waited $?\"; exit 4'"
    ).needs("dash").files();

    bash_pipelines = sh(
        r#"bash -c 'set -o pipefail; seq 1000 | grep 7 | tail -n 3 | tr 7 x; false | true; echo "${PIPESTATUS[@]} $?"
        diff <(echo a; echo b) <(echo a; echo c); echo "diff $?"
        coproc cat; echo through >&"${COPROC[1]}"; read -r -u "${COPROC[0]}" line; echo "$line"; exec {COPROC[1]}>&-
        declare -A map=([k]=v); echo "${map[k]} ${BASH_VERSINFO[0]}"; ( exec -a name bash -c "echo \$0" )
        yes | head -n 2; echo "${PIPESTATUS[0]}"; kill -TERM $$'"#
    ).needs("bash");

    bash_here_documents = sh(
        "bash <<'END'
cat <<EOF > doc
sum $((6 * 7)) in $(basename \"$PWD\" | tr -d 0-9)
EOF
cat doc; cat <<< 'a here string' | rev
while read -r a b; do echo \"$b $a\"; done <<-EOF
\tone two
\tthree four
\tEOF
head -c 200000 /dev/zero | tr '\\0' z > big; cat <<EOF | wc -c
$(cat big)
EOF
END"
    ).needs("bash").files();

    bash_jobs = sh(
        "bash -c 'set -m; sleep 100 & jobs -r | wc -l; kill %1; wait %1; echo $?; jobs
         (kill -STOP $BASHPID; echo went on) & while ! jobs -s | grep -q Stopped; do :; done; fg > /dev/null; echo end'"
    ).needs("bash");

    coreutils = sh(
        "seq 20 > n; head -n 3 n; tail -n 2 n; sort -rn n | head -n 1; cut -c1 n | uniq -c; wc n; paste -sd+ n
         cp -a n m; cp -r /etc/skel sk 2>/dev/null; mkdir -p d/e; mv m d/e/; ln n h; ln -s n s; ln -sf d/e/m s
         touch -d @1000000000 t; stat -c '%n %s %F %a %Y' n t d; chmod 4751 t; stat -c %a t; ls -1F
         realpath --relative-to=. s; readlink s; basename /a/b; dirname /a/b; du -b n | cut -f1; df . > /dev/null
         od -c n | head -n 2; split -l 7 n part.; cat part.*|cmp - n; shuf -n 20 n | sort -n | cmp - n; tee x < n > /dev/null
         md5sum n; sha256sum n; base64 n | base64 -d | cmp - n; printf '%05d %s\\n' 42 str; expr 6 \\* 7; test -L s; echo $?
         date -u -d @0 +%F; env -i A=b env; nohup true 2>&1; nice -n 0 true; timeout 0.05 sleep 100; echo $?; id -u
         truncate -s 100 tr; dd if=/dev/zero of=dd bs=10 count=3 2>/dev/null; install -m 640 n inst; rm -r d; rmdir nothing 2>/dev/null
         echo $?; mktemp -d tmp.XXXX | wc -c; sync; tac n | head -n 1; nproc > /dev/null; uname -s; tty; whoami; false"
    ).files_but("tmp.*").needs("sha256sum");

    find = sh(
        "mkdir -p a/b/c; touch a/1 a/b/2 a/b/c/3; ln -s ../1 a/b/l; find . | sort; find . -type l -printf '%p -> %l\\n'
         find a -name '[0-9]' -newer a -print0 | sort -z | tr '\\0' ' '; find -L a -type f | sort; find a -depth | sort -r
         find a -type f -exec sh -c 'echo \"$1:$#\"' x {} \\; | sort; find a -type f -exec echo {} + | wc -w
         find /usr/share/doc -maxdepth 1 -type d | wc -l; find a -perm -u+r -size -1 | sort; find none; echo $?; find a -delete; ls -A"
    ).needs("find").files();

    tar = sh(
        "mkdir -p src/sub; seq 5000 > src/numbers; echo x > src/sub/x; ln -s numbers src/link; ln src/numbers src/hard
         chmod 640 src/sub/x; chmod 2755 src/sub; touch -d @1234567890 src/sub/x src/numbers; mkfifo src/fifo
         tar cf a.tar src; tar tf a.tar | sort; mkdir out; tar xpf a.tar -C out; diff -r --no-dereference src/sub out/src/sub; echo $?
         stat -c '%n %a %h %F %Y' out/src/numbers out/src/sub/x out/src/sub out/src/link out/src/fifo
         tar czf a.tgz src && tar xzOf a.tgz src/sub/x; tar cf - src | tar xf - -C out --strip-components=1; ls out
         tar xf none.tar 2>/dev/null; echo $?; rm a.tar a.tgz src/fifo out/fifo out/src/fifo"
    ).needs("tar").files();

    perl = sh(
        r#"perl -e 'use strict; use Fcntl qw(:flock SEEK_SET); use POSIX ":sys_wait_h";
        my $pid = fork; if (!$pid) { exit 7 } waitpid($pid, 0); print "child ", $? >> 8, "\n";
        $SIG{ALRM} = sub { die "alarm\n" }; eval { alarm 1; select undef, undef, undef, 30; }; print "got $@";
        open my $f, "+>", "data" or die; print $f "b\na\n"; flock($f, LOCK_EX) or die; seek $f, 0, SEEK_SET; print sort <$f>;
        print join(",", map { (stat "data")[$_] } 2, 4, 5, 7), "\n"; print `echo from shell`; print $?, "\n";
        pipe my $r, my $w; if (!fork) { close $r; print $w "through\n"; exit } close $w; print <$r>; wait;
        opendir my $d, "." or die; print join(" ", sort grep !/^\./, readdir $d), "\n"; local $SIG{USR1} = sub { print "usr1\n" }; kill USR1 => $$;
        print "$0 ", -e "/proc/self/exe" ? 1 : 0, "\n"; unlink("none") or print $! + 0, "\n"; exec "sh", "-c", "exit 5"'"#
    ).needs("perl").files();

    python_processes = sh(PYTHON_PROCESSES).needs("python3");
    python_threads = sh(PYTHON_THREADS).needs("python3");
    python_asyncio = sh(PYTHON_ASYNCIO).needs("python3");

    gcc = sh(
        "cat > main.c <<'END'
#include <stdio.h>
#include <math.h>
#include \"other.h\"
int main(int n, char **v) { printf(\"%d %.3f %s\\n\", other(n), sqrt(2), v[1]); return 42; }
END
        echo 'int other(int);' > other.h; echo '#include \"other.h\"
int other(int x) { return x * 21; }' > other.c
        gcc -O1 -Wall -c main.c other.c && ar rc libo.a other.o && gcc main.o -L. -lo -lm -o prog && ./prog argument; echo $?
        gcc -static main.c other.c -lm -o static && ./static static; echo $?; gcc -pipe -shared -fPIC other.c -o libs.so
        gcc main.c -L. -l:libs.so -Wl,-rpath,'$ORIGIN' -lm -o dyn && ./dyn origin; echo 'int main( {' > bad.c; gcc bad.c 2>/dev/null; echo $?
        rm -f *.o libo.a"
    ).needs("gcc").files();

    git = sh(
        "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_PAGER=cat
         export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z' GIT_CONFIG_NOSYSTEM=1
         git init -q -b main repo && cd repo && seq 100 > file && mkdir d && echo x > d/x && ln -s file l && chmod +x d/x
         git add . && git commit -q -m first && git checkout -q -b side && echo more >> file && git commit -qam second
         git checkout -q main && git merge -q --no-edit side && git log --format='%H %s' && git status --porcelain && cd ..
         git clone -q repo copy && git -C copy log -1 --format=%H && git -C copy diff HEAD~1 --stat && git clone -q --bare repo bare
         cd copy && echo y > d/x && git commit -qam third && git push -q ../bare HEAD:main && git -C ../bare log -1 --format=%s main
         git gc -q && git fsck --no-progress; echo $?; git tag -m t t && git stash list; git rev-parse none 2>/dev/null; echo $?"
    ).needs("git").files_but(".git*");

    curl = sh(CURL).needs("curl").needs("python3");

    redis = sh(
        "redis-server --port 0 --unixsocket $PWD/sock --save '' --daemonize no --dir . --logfile log & server=$!
         until redis-cli -s sock ping 2>/dev/null | grep -q PONG; do :; done
         r='redis-cli -s sock'; $r set k v; $r get k; $r incr n; $r lpush l a b c; $r lrange l 0 -1; $r hset h f 1; $r hgetall h
         $r eval 'return redis.call(\"get\", KEYS[1])' 1 k; seq 1000 | sed 's/.*/SET key& &/' | $r --pipe | tail -n 1; $r dbsize
         $r save; $r shutdown nosave; wait $server; echo $?; ls"
    ).needs("redis-server").needs("redis-cli");

    redis_over_tcp = sh(
        "redis-server --port 16379 --bind 127.0.0.1 --save '' --dir . --logfile log & server=$!
         until redis-cli -p 16379 ping 2>/dev/null | grep -q PONG; do kill -0 $server || break; done
         redis-cli -p 16379 set k v; redis-cli -p 16379 get k; redis-cli -p 16379 client list | grep -o 'addr=127.0.0.1' | head -n 1
         redis-cli -p 16379 shutdown nosave; wait $server; echo $?"
    ).needs("redis-server").needs("redis-cli");

    go = sh(
        "export GOCACHE=$PWD/cache GOPATH=$PWD/path GO111MODULE=off GOFLAGS= CGO_ENABLED=0 HOME=$PWD
         cat > main.go <<'END'
package main

import (
	\"fmt\"
	\"net\"
	\"os\"
	\"os/exec\"
	\"os/signal\"
	\"sync\"
	\"syscall\"
	\"time\"
)

func main() {
	var all sync.WaitGroup
	var lock sync.Mutex
	sum := 0
	for i := 0; i < 200; i++ {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			data, _ := os.ReadFile(\"main.go\")
			lock.Lock()
			sum += i * len(data) / len(data)
			lock.Unlock()
		}(i)
	}
	all.Wait()
	fmt.Println(sum)
	out, err := exec.Command(\"sh\", \"-c\", \"echo child; exit 3\").Output()
	fmt.Printf(\"%s%v\\n\", out, err)
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	fmt.Println(<-caught)
	listener, err := net.Listen(\"tcp\", \"127.0.0.1:0\")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go func() {
		c, _ := listener.Accept()
		fmt.Fprintf(c, \"hello %v\", c.RemoteAddr().(*net.TCPAddr).IP)
		c.Close()
	}()
	c, err := net.DialTimeout(\"tcp\", listener.Addr().String(), 10*time.Second)
	buffer := make([]byte, 100)
	n, _ := c.Read(buffer)
	fmt.Println(string(buffer[:n]), err)
	spin := time.Now()
	for time.Since(spin) < 30*time.Millisecond {
	}
	os.Exit(6)
}
END
         go build -o prog main.go && ./prog; echo $?; file prog 2>/dev/null | grep -c 'statically linked'; rm -rf cache path prog"
    ).needs("go").files_but("prog").slow();
}

const PYTHON_PROCESSES: &str = r#"python3 - <<'END'
import os, signal, subprocess, sys, tempfile, multiprocessing
print(subprocess.run(["sh", "-c", "cat; exit 3"], input=b"in", capture_output=True))
print(subprocess.run("echo $0 | tr a-z A-Z", shell=True, capture_output=True, text=True).stdout)
p = subprocess.Popen(["sleep", "100"], start_new_session=True); os.killpg(p.pid, signal.SIGTERM); print(p.wait())
try: subprocess.run(["sleep", "100"], timeout=0.05)
except subprocess.TimeoutExpired as e: print(type(e).__name__)
try: subprocess.run(["/nowhere"])
except OSError as e: print(e)
r, w = os.pipe(); pid = os.fork()
if pid == 0: os.write(w, b"child"); os._exit(5)
os.close(w); print(os.read(r, 10), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
with multiprocessing.get_context("fork").Pool(3) as pool: print(pool.map(abs, range(-5, 0)))
with tempfile.TemporaryDirectory() as d: open(d + "/f", "w").write("x"); print(os.listdir(d))
signal.signal(signal.SIGUSR1, lambda s, f: print("signal", s)); os.kill(os.getpid(), signal.SIGUSR1)
print(os.getuid(), os.path.realpath(sys.executable) == os.path.realpath("/proc/self/exe"), os.uname().sysname)
pid, fd = os.forkpty() if hasattr(os, "forkpty") and os.path.exists("/dev/ptmx") else (None, None)
if pid == 0: os.execlp("sh", "sh", "-c", "tty > /dev/null && echo terminal")
if pid: print(os.read(fd, 100), os.waitpid(pid, 0)[1])
END"#;

const PYTHON_THREADS: &str = r#"python3 - <<'END'
import threading, queue, concurrent.futures as f, os, time, socket
q = queue.Queue(); out = []
def work():
    while (n := q.get()) is not None: out.append(n * n)
ts = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in ts]; [q.put(n) for n in range(200)]; [q.put(None) for _ in ts]; [t.join() for t in ts]
print(sum(out), threading.get_native_id() == os.getpid())
with f.ThreadPoolExecutor(4) as e: print(sum(e.map(lambda n: len(open("/etc/passwd").read()) * 0 + n, range(100))))
c = threading.Condition(); state = []
def waiter():
    with c: c.wait_for(lambda: state, 20); print("woken")
t = threading.Thread(target=waiter); t.start()
with c: state.append(1); c.notify_all()
t.join(); b = threading.Barrier(3); ts = [threading.Thread(target=b.wait) for _ in range(3)]; [t.start() for t in ts]; [t.join() for t in ts]
s = socket.socketpair(); threading.Thread(target=lambda: s[0].sendall(b"x" * 100000) or s[0].close()).start()
n = 0
while d := s[1].recv(4096): n += len(d)
print(n)
pid = os.fork()
if pid == 0: os._exit(threading.active_count())
print(os.waitpid(pid, 0)[1])
END"#;

const PYTHON_ASYNCIO: &str = r#"python3 - <<'END'
import asyncio, os, signal
async def main():
    async def serve(r, w):
        w.write((await r.readline()).upper()); await w.drain(); w.close()
    server = await asyncio.start_server(serve, "127.0.0.1", 0); port = server.sockets[0].getsockname()[1]
    async def ask(n):
        r, w = await asyncio.open_connection("127.0.0.1", port); w.write(b"hello %d\n" % n); d = await r.read(); w.close(); return d
    print(await asyncio.gather(*map(ask, range(10))))
    unix = await asyncio.start_unix_server(serve, "sock"); r, w = await asyncio.open_unix_connection("sock"); w.write(b"unix\n"); print(await r.read()); w.close()
    p = await asyncio.create_subprocess_exec("sh", "-c", "cat; exit 4", stdin=-1, stdout=-1); print(await p.communicate(b"data"), p.returncode)
    ps = await asyncio.gather(*[asyncio.create_subprocess_exec("sh", "-c", f"exit {n}") for n in range(10)]); print([await p.wait() for p in ps])
    e = asyncio.Event(); asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, e.set); os.kill(os.getpid(), signal.SIGUSR1); await e.wait()
    try: await asyncio.wait_for(asyncio.sleep(100), 0.02)
    except asyncio.TimeoutError: print("timeout")
    print(await asyncio.to_thread(os.getppid) == os.getppid()); server.close(); unix.close()
asyncio.run(main()); print(os.listdir("."))
END"#;

/// A server of the zone's own, then curl over IPv4, by name, over IPv6 and over a unix socket.
const CURL: &str = r#"cat > server.py <<'END'
import http.server, socket, socketserver, sys, threading
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        code = 404 if self.path == "/none" else 200
        body = (f"{self.command} {self.path} from {self.client_address[0] if self.client_address else 'unix'}\n" * (20000 if self.path == "/big" else 1)).encode()
        self.send_response_only(code); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])); self.send_response_only(201); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body[::-1])
    def log_message(self, *a): pass
    def address_string(self): return "x"
class S6(http.server.ThreadingHTTPServer): address_family = socket.AF_INET6
class SU(socketserver.ThreadingUnixStreamServer):
    def get_request(self): c, a = super().get_request(); return c, ("unix", 0)
servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), H), S6(("::1", 0), H), SU("sock", H)]
for s in servers: threading.Thread(target=s.serve_forever, daemon=True).start()
open("ports.new", "w").write(" ".join(str(s.server_address[1]) for s in servers[:2])); import os; os.rename("ports.new", "ports")
sys.stdin.read()
END
mkfifo stop; python3 server.py < stop & exec 9> stop; until [ -s ports ]; do :; done; read -r p4 p6 < ports
curl -sS --noproxy '*' http://127.0.0.1:$p4/one; curl -sS --noproxy '*' http://localhost:$p4/name
curl -sS --noproxy '*' -g "http://[::1]:$p6/six"; curl -sS --unix-socket sock http://x/unix
curl -sS --noproxy '*' -o big http://127.0.0.1:$p4/big; wc -c < big; curl -sS --noproxy '*' -d 'post data' -w ' %{http_code}\n' http://127.0.0.1:$p4/p
curl -sS --noproxy '*' -f http://127.0.0.1:$p4/none 2>/dev/null; echo "status $?"; curl -sS --noproxy '*' http://127.0.0.1:1/ 2>/dev/null; echo "status $?"
curl -sS file://$PWD/server.py | md5sum; curl -sS http://none.invalid/ 2>/dev/null; echo "status $?"; exec 9>&-; wait; echo "server $?""#;
