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
const COMPARED: [&str; 57] = [
    "access",
    "brk",
    "chdir",
    "chmod",
    "chown",
    "close",
    "dup2",
    "execve",
    "exit_group",
    "faccessat2",
    "fchdir",
    "fchmodat",
    "fchown",
    "fchownat",
    "fstat",
    "getcwd",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getresgid",
    "getresuid",
    "getrlimit",
    "getuid",
    "link",
    "linkat",
    "lstat",
    "mkdir",
    "mkdirat",
    "mknodat",
    "mmap",
    "mprotect",
    "munmap",
    "newfstatat",
    "openat",
    "pipe2",
    "pread64",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "rename",
    "renameat2",
    "rmdir",
    "rt_sigaction",
    "rt_sigprocmask",
    "setxattr",
    "stat",
    "statx",
    "symlink",
    "symlinkat",
    "truncate",
    "umask",
    "uname",
    "unlink",
    "unlinkat",
    "write",
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
];

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
        .collect()
}

#[test]
fn lines_are_those_of_strace() {
    let mut count = 0;
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
        for (our, their) in ours.iter().zip(&theirs) {
            assert_eq!(our, their, "{script}");
        }
        assert_eq!(ours.len(), theirs.len(), "{script}");
        count += ours.len();
    }
    assert!(count > 600, "{count} calls");
}
