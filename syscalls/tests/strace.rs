//! The decoder against strace(1): the same programs under both, line by line.
//!
//! Without address randomization both see the same addresses. Skipped, with the reason, where strace
//! or ptrace(2) is not to be had.

use nix::sys::ptrace;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use picozone_syscalls::{Memory, decode, row};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Calls of which the decoder tells as much as strace does, and which tell no number that differs from run
/// to run.
const COMPARED: [&str; 124] = [
    "access",
    "alarm",
    "arch_prctl",
    "brk",
    "capget",
    "capset",
    "chdir",
    "chmod",
    "chown",
    "clock_nanosleep",
    "close",
    "dup2",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "eventfd2",
    "execve",
    "exit_group",
    "faccessat2",
    "fadvise64",
    "fallocate",
    "fchdir",
    "fchmodat",
    "fchown",
    "fchownat",
    "fcntl",
    "flock",
    "fstat",
    "fsync",
    "ftruncate",
    "getcwd",
    "getdents64",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getitimer",
    "getpriority",
    "getresgid",
    "getresuid",
    "getrlimit",
    "getsockopt",
    "getuid",
    "inotify_add_watch",
    "inotify_init1",
    "ioctl",
    "link",
    "linkat",
    "listen",
    "lseek",
    "lstat",
    "madvise",
    "memfd_create",
    "mkdir",
    "mkdirat",
    "mknodat",
    "mlockall",
    "mmap",
    "mount",
    "mprotect",
    "mq_open",
    "msgctl",
    "msgget",
    "msgsnd",
    "munmap",
    "newfstatat",
    "openat",
    "pipe2",
    "poll",
    "ppoll",
    "prctl",
    "pread64",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "readv",
    "recvmsg",
    "rename",
    "renameat2",
    "rmdir",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigtimedwait",
    "sched_getaffinity",
    "sched_getparam",
    "sched_getscheduler",
    "sched_setaffinity",
    "sched_setattr",
    "semctl",
    "semget",
    "semop",
    "semtimedop",
    "sendmsg",
    "set_robust_list",
    "setitimer",
    "setpriority",
    "setsockopt",
    "setxattr",
    "shmctl",
    "shmget",
    "shutdown",
    "sigaltstack",
    "signalfd4",
    "socket",
    "socketpair",
    "stat",
    "statx",
    "symlink",
    "symlinkat",
    "sync_file_range",
    "timer_create",
    "timerfd_create",
    "timerfd_settime",
    "truncate",
    "umask",
    "umount2",
    "uname",
    "unlink",
    "unlinkat",
    "utimensat",
    "write",
    "writev",
];

/// Programs, each as a shell executes it in an empty directory.
const SCRIPTS: &[&str] = &[
    "cd /usr/../tmp; pwd -P; exec cat /etc/hosts /gone",
    "echo some >f; exec ls -ln /dev/null f .",
    "exec ls --time-style=+%s -l --color=always /dev/null /usr",
    "trap : INT TERM; trap '' PIPE; umask 77; mkdir d; exec mknod d/f p",
    "umask 22; : >f; exec ln -s f g",
    "exec mknod /dev/null/x c 1 3",
    "exec mv -n none some",
    "exec chmod 4755 none",
    "exec touch f",
    "exec id -u",
    "exec uname -n",
    "umask 22; : >f; exec find f /dev/null -perm 644",
    "exec python3 -I -S -c 'import os; os.getgroups(); os.mkdir(\"d\"); os.rename(\"d\", \"e\"); os.rmdir(\"e\"); os.chown(\"none\", 1, -1)'",
    WAITS,
    SOCKETS,
    FILES,
    CONTROLS,
    COMMANDS,
    "exec python3 -I -S -c 'import os, time; time.sleep(0.001); os.sched_setaffinity(0, os.sched_getaffinity(0)); os.sched_getparam(0); os.getpriority(0, 0)'",
    "exec python3 -I -S -c 'import signal; signal.setitimer(0, 0.5); signal.getitimer(0); signal.setitimer(0, 0); signal.sigtimedwait([10], 0.001)'",
    "exec python3 -I -S -c 'import signal, os; signal.pthread_sigmask(0, [10]); os.kill(os.getpid(), 10); signal.sigwaitinfo([10]).si_signo'",
];

const WAITS: &str = "exec python3 -I -S -c '
import os, select
r, w = os.pipe()
p = select.poll()
p.register(r, 3)
p.register(w, 4)
p.poll(5)
select.select([r], [w], [], 0.001)
select.select([r], [], [], 0.001)
os.write(w, b\"text\")
p.poll(5000)
e = select.epoll()
e.register(r, 1)
e.register(w, 4 | 1 << 31)
e.modify(r, 3)
e.poll(1)
e.unregister(w)
e.poll(1)
os.close(w)
os.read(r, 9)
p.poll(5000)
os.eventfd(3, os.EFD_CLOEXEC)
os.memfd_create(\"name\", 1)
'";

const SOCKETS: &str = "exec python3 -I -S -c '
import socket, os, array
a, b = socket.socketpair()
a.setsockopt(1, 7, 4096)
a.getsockopt(1, 3)
a.setsockopt(1, 13, b\"\\1\\0\\0\\0\\2\\0\\0\\0\")
a.sendmsg([b\"one\", b\"two\"])
b.recvmsg(3)
b.recvmsg(100)
a.sendmsg([b\"fds\"], [(1, 1, array.array(\"i\", [1, 2]))])
b.recvmsg(10, 100)
a.sendmsg([b\"x\"], [], socket.MSG_NOSIGNAL)
a.shutdown(1)
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
s.setsockopt(1, 2, 1)
s.setsockopt(6, 1, 1)
s.getsockopt(1, 4)
s.listen(5)
os.writev(1, [b\"one\", b\"two\"])
'";

const FILES: &str = "exec python3 -I -S -c '
import fcntl, os, struct
f = os.open(\"f\", os.O_RDWR | os.O_CREAT)
os.write(f, b\"some text\")
os.lseek(f, 3, 0)
os.lseek(f, 0, 2)
fcntl.fcntl(f, fcntl.F_GETFL)
fcntl.fcntl(f, fcntl.F_SETFL, os.O_APPEND | os.O_NONBLOCK)
fcntl.fcntl(f, fcntl.F_GETFL)
fcntl.fcntl(f, fcntl.F_GETFD)
fcntl.fcntl(f, fcntl.F_SETFD, 0)
fcntl.fcntl(f, fcntl.F_GETFD)
fcntl.fcntl(f, fcntl.F_DUPFD_CLOEXEC, 10)
fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 1)
fcntl.flock(f, fcntl.LOCK_SH)
os.readv(f, [bytearray(4), bytearray(10)])
os.lseek(f, 0, 0)
os.readv(f, [bytearray(4), bytearray(10)])
os.utime(\"f\", ns=(0, 0)) if False else None
os.posix_fadvise(f, 0, 0, 3)
os.ftruncate(f, 3)
os.sendfile(1, f, 0, 2)
'";

/// System V IPC, and calls whose structures a number chooses.
const CONTROLS: &str = "exec python3 -I -S -c '
import ctypes, os, struct
c = ctypes.CDLL(None)
room = ctypes.create_string_buffer(256)
s = c.semget(0, 2, 0o1600)
c.semop(s, struct.pack(\"HhhHhh\", 0, 1, 0, 1, -1, 0x1800), 2)
c.semtimedop(s, struct.pack(\"Hhh\", 0, 1, 0x800), 1, None)
c.semctl(s, 0, 2, room)
c.semctl(s, 0, 16, 5)
c.semctl(s, 0, 0, 0)
c.semctl(s, 0, 2, room)
m = c.msgget(0, 0o3600)
c.msgsnd(m, struct.pack(\"q40s\", 7, b\"text\"), 40, 0o4000)
c.msgsnd(m, struct.pack(\"q4s\", 7, b\"text\"), 4, 0)
c.msgctl(m, 2, room)
c.msgctl(m, 0, 0)
h = c.shmget(0, 4096, 0o600)
c.shmctl(h, 2, room)
c.shmctl(h, 0, 0)
c.syscall(222, 1, struct.pack(\"QiiQ40x\", 7, 10, 0, 0), room)
c.syscall(222, 0, struct.pack(\"QiiQ40x\", 0, 0, 1, 0), room)
c.syscall(222, 0, None, room)
c.syscall(125, struct.pack(\"Ii\", 0x20080522, 0), room)
c.syscall(126, struct.pack(\"Ii\", 0x20080522, 0), bytes(24))
c.syscall(314, 0, struct.pack(\"IIQiIQQQ\", 48, 0, 0, 0, 0, 0, 0, 0), 0)
c.syscall(240, b\"none\", 0o102, 0o600, struct.pack(\"8q\", 0, 0, 100, 0, 0, 0, 0, 0))
c.syscall(254, -1, b\".\", 0x1000102)
c.syscall(277, -1, 0, 0, 2)
c.syscall(151, 4)
c.syscall(165, b\"none\", b\"gone\", b\"tmpfs\", 1, b\"x=1\")
c.syscall(166, b\"gone\", 2)
os.listdir(\".\")
'";

/// What ioctl(2) and prctl(2) point at.
const COMMANDS: &str = "exec python3 -I -S -c '
import array, ctypes, fcntl, os, socket, struct, termios
r, w = os.pipe()
os.write(w, b\"abc\")
fcntl.ioctl(r, termios.FIONREAD, array.array(\"i\", [0]))
fcntl.ioctl(r, termios.FIONBIO, struct.pack(\"i\", 1))
fcntl.ioctl(r, termios.FIOCLEX)
m, t = os.openpty()
fcntl.ioctl(t, termios.TIOCGWINSZ, bytes(8))
fcntl.ioctl(t, termios.TIOCSWINSZ, struct.pack(\"HHHH\", 24, 80, 0, 0))
termios.tcgetattr(t)
termios.tcflush(t, 0)
termios.tcflow(t, 1)
termios.tcsendbreak(t, 1)
s = socket.socket()
for request in 0x8913, 0x8921, 0x8933:
    fcntl.ioctl(s, request, struct.pack(\"16s24x\", b\"lo\"))
c = ctypes.CDLL(None)
room = ctypes.create_string_buffer(256)
word = ctypes.c_ulong
for of in (38, 1), (39,), (4, 1), (3,), (4, 0), (3,), (23, 10), (36, 1), (37, room), (1, 9), (2, room), (1, 0), (2, room), (15, b\"name\"), (16, room), (29, 1000), (30,), (47, 1, 10), (21,), (27,), (28, 1), (7,), (8, 1), (13,), (42,), (40, room), (0x53564d41, 0, 4096, 4096, b\"a name\"):
    rest = [x if isinstance(x, (bytes, ctypes.Array)) else word(x) for x in of[1:]]
    c.prctl(of[0], *(rest + [word(0)] * (4 - len(rest))))
c.syscall(158, 0x1003, room)
c.syscall(158, 0x1004, room)
'";

fn program(tool: &[&str], script: &str, directory: &Path) -> Command {
    let words: Vec<&str> = tool
        .iter()
        .copied()
        .chain(["setarch", "-R", "sh", "-c", script])
        .collect();
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

struct Process(File);

impl Memory for Process {
    fn read(&self, address: u64, to: &mut [u8]) -> usize {
        self.0.read_at(to, address).unwrap_or(0)
    }
}

/// Lines of our own tracer.
fn ours(script: &str, directory: &Path) -> nix::Result<Vec<String>> {
    let mut command = program(&[], script, directory);
    // SAFETY: ptrace(2) takes no lock and allocates nothing.
    unsafe { command.pre_exec(|| ptrace::traceme().map_err(Into::into)) };
    let child = command.spawn().map_err(|_| nix::Error::EPERM)?;
    let pid = Pid::from_raw(child.id().cast_signed());
    waitpid(pid, None)?;
    ptrace::setoptions(pid, ptrace::Options::PTRACE_O_TRACESYSGOOD)?;
    let (mut lines, mut entered) = (Vec::new(), None);
    loop {
        ptrace::syscall(pid, None)?;
        match waitpid(pid, None)? {
            WaitStatus::PtraceSyscall(_) => {}
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => break,
            _ => continue,
        }
        let regs = ptrace::getregs(pid)?;
        let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
        let Ok(file) = File::open(format!("/proc/{pid}/mem")) else {
            return Err(nix::Error::EACCES);
        };
        let nr = u32::try_from(regs.orig_rax).unwrap_or(u32::MAX);
        let is_exec = row(nr).is_some_and(|row| row.name == "execve");
        let mut line = String::new();
        match entered.take() {
            None => {
                // What exec replaces has to be printed before it is gone.
                let _ = decode(nr, args, None, &Process(file), &mut line);
                entered = Some(line.clone());
                if row(nr).is_some_and(|row| row.name == "exit_group") {
                    lines.push(format!("{line} = ?"));
                }
            }
            Some(before) => {
                let result = regs.rax.cast_signed();
                let _ = decode(nr, args, Some(result), &Process(file), &mut line);
                lines.push(if is_exec && result == 0 {
                    format!("{before} = 0")
                } else {
                    line
                });
            }
        }
    }
    Ok(lines)
}

fn theirs(script: &str, work: &Path) -> Option<Vec<String>> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("lines");
    let status = program(&["strace", "-a", "1", "-o", file.to_str()?], script, work)
        .status()
        .ok()?;
    let text = std::fs::read(file).ok()?;
    (status.code() != Some(127) && !text.is_empty()).then(|| {
        String::from_utf8_lossy(&text)
            .lines()
            .map(str::to_owned)
            .collect()
    })
}

/// What both tell, from the last exec on: before it the stacks of the two tracers' children differ.
fn compared(lines: Vec<String>) -> Vec<String> {
    let start = lines
        .iter()
        .position(|line| line.starts_with("execve(\"/usr/bin/sh\""))
        .unwrap_or(0);
    lines
        .into_iter()
        .skip(start + 1)
        .filter(|line| {
            COMPARED
                .iter()
                .any(|name| line.starts_with(&format!("{name}(")))
        })
        .map(|line| timeless(&line))
        .collect()
}

/// A line without times and pids, which are others in each run, and without how long a name might have been
/// before the call, which is not to be known behind it.
fn timeless(line: &str) -> String {
    let mut line = line.to_owned();
    for field in [
        "tv_sec=",
        "tv_nsec=",
        "tv_usec=",
        "si_pid=",
        "msg_namelen=",
        "time=",
        "lspid=",
        "cpid=",
    ] {
        let mut pieces = line.split(field);
        let mut all = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let is_number = |c: char| c.is_ascii_digit();
            let rest = piece.trim_start_matches(is_number);
            let after = rest
                .strip_prefix(" => ")
                .map(|rest| rest.trim_start_matches(is_number));
            all += field;
            all += after.unwrap_or(rest);
        }
        line = all;
    }
    // The kernel numbers objects of System V IPC anew.
    let is_ipc = ["sem", "msg", "shm"]
        .iter()
        .any(|name| line.starts_with(name));
    let is_get = line
        .split('(')
        .next()
        .is_some_and(|name| name.ends_with("get"));
    match (is_ipc, is_get) {
        (true, true) => line.split(" = ").next().unwrap_or_default().to_owned(),
        (true, false) => {
            let (name, rest) = line.split_once('(').unwrap_or((&line, ""));
            format!(
                "{name}({}",
                rest.trim_start_matches(|c: char| c.is_ascii_digit())
            )
        }
        (false, _) => line,
    }
}

#[test]
fn lines_are_those_of_strace() {
    let (mut count, mut different) = (0, Vec::new());
    for script in SCRIPTS {
        // Both find it empty, and of the same name.
        let directory = tempfile::tempdir().expect("a directory");
        let work = directory.path().join("work");
        let empty = || {
            let _ = fs::remove_dir_all(&work);
            fs::create_dir(&work).expect("a directory");
        };
        empty();
        let Some(theirs) = theirs(script, &work) else {
            eprintln!("skipped: strace is not installed, or may not trace here");
            return;
        };
        empty();
        let ours = match ours(script, &work) {
            Ok(ours) => ours,
            Err(errno) => {
                eprintln!("skipped: ptrace(2) says {errno}");
                return;
            }
        };
        let (ours, theirs) = (compared(ours), compared(theirs));
        let pairs = ours.iter().zip(&theirs);
        let differ = pairs.filter(|(our, their)| our != their);
        different.extend(differ.map(|(our, their)| format!("{our}\n{their}\n")));
        assert_eq!(ours.len(), theirs.len(), "{script}");
        count += ours.len();
    }
    assert!(
        different.is_empty(),
        "ours, then theirs:\n{}",
        different.join("\n")
    );
    assert!(count > 600, "{count} calls");
}
