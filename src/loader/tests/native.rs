//! The oracle: the kernel executes the same file, and stops before its first instruction.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, execv};

use crate::loader::{Files, HEAD_BYTES, LoadError, Opened};

/// The host's files, as the caller may execute them.
pub(super) struct HostFiles;

impl Files for HostFiles {
    type File = File;

    fn open_exec(&mut self, path: &[u8]) -> Result<Opened<File>, LoadError> {
        let path = Path::new(OsStr::from_bytes(path));
        let errno = |error: io::Error| LoadError(error.raw_os_error().unwrap());
        let metadata = fs::metadata(path).map_err(errno)?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
            return Err(LoadError::EACCES);
        }
        let file = File::open(path).map_err(errno)?;
        let mut head = vec![0; HEAD_BYTES];
        let len = file.read_at(&mut head, 0).map_err(errno)?;
        head.truncate(len);
        let path = fs::canonicalize(path)
            .map_err(errno)?
            .as_os_str()
            .as_bytes()
            .to_vec();
        Ok(Opened {
            file,
            head,
            size: metadata.len(),
            path,
        })
    }

    fn read_at(&mut self, file: &File, offset: u64, buf: &mut [u8]) -> Result<usize, LoadError> {
        file.read_at(buf, offset)
            .map_err(|error| LoadError(error.raw_os_error().unwrap()))
    }
}

/// What the kernel made of an `execve`.
#[derive(Debug)]
pub(super) enum Native {
    /// It returned this errno.
    Refused(i32),
    /// It ended the process, since the old program was already gone.
    Killed,
    /// The program stands before its first instruction.
    Started(Stopped),
}

/// A process that stands before its first instruction; it ends with this value.
#[derive(Debug)]
pub(super) struct Stopped(Pid);

/// Executes a file, with its path as only argument plus `last`.
pub(super) fn execute(path: &Path) -> Native {
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    loop {
        let mut command = Command::new(path);
        let arguments = [name.clone(), c"last".to_owned()];
        // `Command` itself would hand a file that the kernel refuses to the shell (execvp(3)).
        let exec = move || {
            ptrace::traceme()?;
            execv(&arguments[0], &arguments)
                .map(|never| match never {})
                .map_err(io::Error::from)
        };
        // SAFETY: between fork and exec this takes no lock but the allocator's, which glibc keeps
        // usable in a forked child.
        unsafe { command.pre_exec(exec) };
        match command.spawn() {
            // A test of another thread forked while the file was still open for writing.
            Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => std::thread::yield_now(),
            Err(error) => return Native::Refused(error.raw_os_error().unwrap()),
            Ok(child) => {
                let pid = Pid::from_raw(child.id().try_into().unwrap());
                return match waitpid(pid, None).unwrap() {
                    WaitStatus::Stopped(_, Signal::SIGTRAP) => Native::Started(Stopped(pid)),
                    WaitStatus::Stopped(..) => {
                        drop(Stopped(pid));
                        Native::Killed
                    }
                    WaitStatus::Signaled(..) => Native::Killed,
                    other => panic!("{other:?}"),
                };
            }
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}

/// One page, as `/proc/PID/maps` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Such as `r-xp`.
    pub(super) perms: String,
    /// Offset and path of what is mapped; none for anonymous memory.
    pub(super) file: Option<(u64, PathBuf)>,
}

impl Stopped {
    /// The arguments.
    pub(super) fn arguments(&self) -> Vec<Vec<u8>> {
        let line = fs::read(format!("/proc/{}/cmdline", self.0)).unwrap();
        line.strip_suffix(&[0])
            .unwrap()
            .split(|&byte| byte == 0)
            .map(<[u8]>::to_vec)
            .collect()
    }

    /// A word of the auxiliary vector.
    pub(super) fn auxiliary(&self, key: u64) -> u64 {
        let vector = fs::read(format!("/proc/{}/auxv", self.0)).unwrap();
        let words: Vec<u64> = (vector.as_chunks().0.iter())
            .map(|bytes| u64::from_le_bytes(*bytes))
            .collect();
        let pairs = words.as_chunks().0;
        let found = pairs.iter().find(|[name, _]| *name == key);
        found.map(|[_, value]| *value).unwrap()
    }

    /// The program that runs, as the kernel names it.
    pub(super) fn exe(&self) -> PathBuf {
        fs::read_link(format!("/proc/{}/exe", self.0)).unwrap()
    }

    /// All pages that belong to a file or to nothing with a name, by address.
    pub(super) fn pages(&self) -> BTreeMap<u64, Page> {
        let mut pages = BTreeMap::new();
        for (start, end, perms, offset, name) in self.lines() {
            if name.starts_with('[') {
                continue;
            }
            for address in (start..end).step_by(4096) {
                let file =
                    (!name.is_empty()).then(|| (offset + address - start, PathBuf::from(&name)));
                pages.insert(
                    address,
                    Page {
                        perms: perms.clone(),
                        file,
                    },
                );
            }
        }
        pages
    }

    /// Permissions of the stack.
    pub(super) fn stack_perms(&self) -> String {
        self.lines()
            .into_iter()
            .find(|line| line.4 == "[stack]")
            .unwrap()
            .2
    }

    fn lines(&self) -> Vec<(u64, u64, String, u64, String)> {
        let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
        fs::read_to_string(format!("/proc/{}/maps", self.0))
            .unwrap()
            .lines()
            .map(|line| {
                let mut fields = line.split_ascii_whitespace();
                let (start, end) = fields.next().unwrap().split_once('-').unwrap();
                let perms = fields.next().unwrap().to_owned();
                let offset = hex(fields.next().unwrap());
                let name = fields.nth(2).unwrap_or_default().to_owned();
                (hex(start), hex(end), perms, offset, name)
            })
            .collect()
    }
}
