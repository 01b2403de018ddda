//! From the bytes of a program to the plan by which the personality maps it.
//!
//! [`parse`] judges one file, [`prepare`] follows `#!` and `PT_INTERP` from file to file, and
//! [`Plan::write`] lays the outcome into the mailbox's handover area. Files come in through the
//! [`Files`] trait; nothing here opens one, so that all of it is tested and fuzzed without a zone.
//!
//! The rules are those of Linux, `fs/binfmt_elf.c`, `fs/binfmt_script.c` and `fs/exec.c`; where the
//! kernel only notices a bad file after the old program is gone, and then kills it with `SIGSEGV`,
//! the errno that the kernel drops is returned here, while there is still somebody to tell.
//!
//! Deliberately absent: the choice of addresses for position-independent images (the personality's),
//! permission and type of files (the implementor of [`Files`]), `binfmt_misc`, 32-bit and x32
//! programs, set-user-id bits.

mod elf;
mod script;
#[cfg(test)]
mod tests;

use std::fmt;

use picozone_personality::mailbox::{Handover, Image};

pub use elf::{NO_IMAGE, parse_interpreter};

/// How many scripts can follow one another before the program (`exec_binprm` in `fs/exec.c`).
pub const SCRIPTS_MAX: usize = 5;
/// How much of a file [`Files::open_exec`] best returns: it holds the program headers of any usual
/// file, so that nothing more is read.
pub const HEAD_BYTES: usize = 4096;
/// Value of [`Handover::kind`] for a program.
const KIND_PROGRAM: u32 = 1;

/// Why a file cannot be executed: the errno that `execve` returns, positive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LoadError(pub i32);

impl LoadError {
    /// Front arguments beyond the handover area.
    pub const E2BIG: Self = Self(libc::E2BIG);
    /// Not a regular file, or not executable; an empty interpreter name.
    pub const EACCES: Self = Self(libc::EACCES);
    /// A page that must be cleared lies beyond the end of the file.
    pub const EFAULT: Self = Self(libc::EFAULT);
    /// A segment that cannot be mapped.
    pub const EINVAL: Self = Self(libc::EINVAL);
    /// The file ends before what its headers point at.
    pub const EIO: Self = Self(libc::EIO);
    /// The interpreter of an ELF program is not a usable ELF file.
    pub const ELIBBAD: Self = Self(libc::ELIBBAD);
    /// More than [`SCRIPTS_MAX`] scripts in a row.
    pub const ELOOP: Self = Self(libc::ELOOP);
    /// The resolved path does not fit the handover area.
    pub const ENAMETOOLONG: Self = Self(libc::ENAMETOOLONG);
    /// No such file, the interpreter included.
    pub const ENOENT: Self = Self(libc::ENOENT);
    /// Not a format that is known here.
    pub const ENOEXEC: Self = Self(libc::ENOEXEC);
    /// Addresses that no program can have, or that are ours.
    pub const ENOMEM: Self = Self(libc::ENOMEM);
    /// It is open to be written.
    pub const ETXTBSY: Self = Self(libc::ETXTBSY);
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl fmt::Debug for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoadError({self})")
    }
}

impl std::error::Error for LoadError {}

/// A file as [`parse`] sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "short-lived, and nearly always the large one"
)]
pub enum Parsed {
    /// A program.
    Elf {
        /// How to map it; `fd` is -1.
        image: Image,
        /// Path of the program interpreter (`PT_INTERP`), without the NUL.
        interp: Option<Vec<u8>>,
        /// Whether the stack is to be executable. As in Linux since 5.8 on x86-64, only a
        /// `PT_GNU_STACK` with `PF_X` asks for it; a missing one does not.
        exec_stack: bool,
    },
    /// A file that starts with `#!`.
    Script {
        /// Path of the interpreter as written; may be empty, which no open accepts.
        interpreter: Vec<u8>,
        /// The rest of the line, if any: one argument, blanks inside included.
        argument: Option<Vec<u8>>,
    },
}

/// Judges a file from `head`, its first bytes (all of them, or at least its headers and the name
/// of its interpreter), and its size in bytes.
///
/// # Errors
/// `ENOEXEC`: neither a script nor an x86-64 program, or a malformed one. `EIO`: the interpreter's
/// name lies beyond the file or beyond `head`. `EINVAL`, `EFAULT`: a segment that cannot be mapped.
/// `ENOMEM`: a program at addresses that belong to the personality, or a huge one.
pub fn parse(head: &[u8], file_size: u64) -> Result<Parsed, LoadError> {
    parse_view(&mut View::of(head, file_size))
}

fn parse_view(view: &mut View<'_>) -> Result<Parsed, LoadError> {
    match script::parse(view.known()) {
        Some(script) => script,
        None => elf::parse(view),
    }
}

/// Reads at an offset of a file, for headers that lie beyond the head; returns the bytes read.
type ReadAt<'a> = &'a mut dyn FnMut(u64, &mut [u8]) -> Result<usize, LoadError>;

/// The bytes of a file: its head, and for what lies further on a way to read it.
///
/// Each byte is read once, so what was checked is what is used.
struct View<'a> {
    head: &'a [u8],
    size: u64,
    read: Option<ReadAt<'a>>,
}

impl<'a> View<'a> {
    fn of(head: &'a [u8], size: u64) -> Self {
        View {
            head,
            size,
            read: None,
        }
    }

    /// The head, without what a caller passed beyond the file's end.
    fn known(&self) -> &'a [u8] {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        &self.head[..self.head.len().min(size)]
    }

    /// `len` bytes at `offset`; `EIO` if the file is shorter (`elf_read` in `fs/binfmt_elf.c`).
    fn bytes(&mut self, offset: u64, len: usize) -> Result<Vec<u8>, LoadError> {
        let end = u64::try_from(len)
            .ok()
            .and_then(|len| offset.checked_add(len));
        if end.is_none_or(|end| end > self.size) {
            return Err(LoadError::EIO);
        }
        if let Ok(start) = usize::try_from(offset)
            && let Some(bytes) = start
                .checked_add(len)
                .and_then(|end| self.head.get(start..end))
        {
            return Ok(bytes.to_vec());
        }
        let read = self.read.as_mut().ok_or(LoadError::EIO)?;
        let mut bytes = vec![0; len];
        if read(offset, &mut bytes)? != len {
            return Err(LoadError::EIO);
        }
        Ok(bytes)
    }
}

/// An executable file, opened.
#[derive(Debug)]
pub struct Opened<F> {
    /// The file.
    pub file: F,
    /// Its first bytes: [`HEAD_BYTES`], or all if it is shorter.
    pub head: Vec<u8>,
    /// Its size in bytes.
    pub size: u64,
    /// Its path in the zone, absolute and free of links.
    pub path: Vec<u8>,
}

/// The zone's files, as an exec sees them.
pub trait Files {
    /// An open file.
    type File;

    /// Opens a file for execution, relative to the caller's working directory.
    ///
    /// # Errors
    /// `ENOENT` and the rest of path resolution; `EACCES` if the file is not regular or the caller
    /// may not execute it.
    fn open_exec(&mut self, path: &[u8]) -> Result<Opened<Self::File>, LoadError>;

    /// Fills `buf` from an offset in bytes and returns how many bytes there were; asked only for
    /// files whose headers lie beyond [`Opened::head`].
    ///
    /// # Errors
    /// What reading says, usually `EIO`.
    fn read_at(
        &mut self,
        file: &Self::File,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<usize, LoadError>;
}

/// What an exec will do.
#[derive(Debug)]
pub struct Plan<F> {
    /// The program.
    pub exe: (F, Image),
    /// The program's interpreter, usually the dynamic linker.
    pub interp: Option<(F, Image)>,
    /// Path of `interp` in the zone; empty if there is none.
    pub interp_path: Vec<u8>,
    /// Path of `exe` in the zone (`/proc/self/exe`).
    pub path: Vec<u8>,
    /// The arguments that replace the guest's first one; empty unless a script was named.
    pub front: Vec<Vec<u8>>,
    /// Whether the stack is to be executable.
    pub exec_stack: bool,
}

/// Prepares an exec of `path`.
///
/// # Errors
/// Those of [`prepare_opened`], and those of opening `path`.
pub fn prepare<F: Files>(files: &mut F, path: &[u8]) -> Result<Plan<F::File>, LoadError> {
    let opened = files.open_exec(path)?;
    prepare_opened(files, opened, path)
}

/// Prepares an exec of a file that is already open, as `execveat` by descriptor needs.
///
/// `name` is what a script's interpreter gets to open it by: the path as the guest gave it, or
/// `/dev/fd/N`, or `/dev/fd/N/PATH` (execveat(2)).
///
/// # Errors
/// Those of [`parse`] and [`Files::open_exec`], for each file in turn; `ELOOP` after
/// [`SCRIPTS_MAX`] scripts; for the interpreter of a program those of [`parse_interpreter`].
pub fn prepare_opened<F: Files>(
    files: &mut F,
    opened: Opened<F::File>,
    name: &[u8],
) -> Result<Plan<F::File>, LoadError> {
    let mut opened = opened;
    let mut front = vec![name.to_vec()];
    let mut scripts = 0;
    loop {
        match with_view(files, &opened, parse_view)? {
            Parsed::Script {
                interpreter,
                argument,
            } => {
                // load_script: "Splice in (1) the interpreter's name for argv[0], (2) (optional)
                // argument to interpreter, (3) filename of shell script (replace argv[0])". The
                // name of the script is already there, as what its own interpreter line called it.
                front.splice(0..0, [interpreter.clone()].into_iter().chain(argument));
                opened = open_interpreter(files, &interpreter)?;
                // exec_binprm: "This allows 4 levels of binfmt rewrites before failing hard", then
                // `if (depth > 5) return -ELOOP`: noticed once the next file is open.
                scripts += 1;
                if scripts > SCRIPTS_MAX {
                    return Err(LoadError::ELOOP);
                }
            }
            Parsed::Elf {
                image,
                interp,
                exec_stack,
            } => {
                let (interp, interp_path) = match interp {
                    Some(path) => {
                        let opened = open_interpreter(files, &path)?;
                        let image = with_view(files, &opened, elf::parse_interpreter_view)?;
                        (Some((opened.file, image)), opened.path)
                    }
                    None => (None, Vec::new()),
                };
                if scripts == 0 {
                    front.clear();
                }
                return Ok(Plan {
                    exe: (opened.file, image),
                    interp,
                    interp_path,
                    path: opened.path,
                    front,
                    exec_stack,
                });
            }
        }
    }
}

/// Opens an interpreter, of a script or of a program.
fn open_interpreter<F: Files>(files: &mut F, path: &[u8]) -> Result<Opened<F::File>, LoadError> {
    // The kernel's own lookup takes the empty name for the working directory, and a directory
    // cannot be executed (`may_open` in `fs/namei.c`).
    if path.is_empty() {
        return Err(LoadError::EACCES);
    }
    files.open_exec(path)
}

fn with_view<F: Files, T>(
    files: &mut F,
    opened: &Opened<F::File>,
    parse: impl FnOnce(&mut View<'_>) -> Result<T, LoadError>,
) -> Result<T, LoadError> {
    let mut read = |offset, buf: &mut [u8]| files.read_at(&opened.file, offset, buf);
    parse(&mut View {
        head: &opened.head,
        size: opened.size,
        read: Some(&mut read),
    })
}

impl<F> Plan<F> {
    /// Writes the plan into the handover area, except what is not the loader's (`mask`, `kept`).
    ///
    /// The images' `fd` are copied as they stand: install the descriptors and set them first.
    ///
    /// # Errors
    /// `ENAMETOOLONG`: the path has more than 1023 bytes. `E2BIG`: the front arguments and their
    /// NULs have more than 1024 bytes. The area is untouched then.
    pub fn write(&self, handover: &mut Handover) -> Result<(), LoadError> {
        let path_room = handover.path.len() - 1;
        let path_len = u32::try_from(self.path.len())
            .ok()
            .filter(|_| self.path.len() <= path_room)
            .ok_or(LoadError::ENAMETOOLONG)?;
        let front: Vec<u8> = self
            .front
            .iter()
            .flat_map(|argument| argument.iter().chain(&[0]))
            .copied()
            .collect();
        let front_count = u32::try_from(self.front.len())
            .ok()
            .filter(|_| front.len() <= handover.front.len())
            .ok_or(LoadError::E2BIG)?;

        handover.kind = KIND_PROGRAM;
        handover.exec_stack = u32::from(self.exec_stack);
        handover.has_interp = u32::from(self.interp.is_some());
        handover.exe = self.exe.1;
        handover.interp = self
            .interp
            .as_ref()
            .map_or(elf::NO_IMAGE, |interp| interp.1);
        fill(&mut handover.path, &self.path);
        handover.path_len = path_len;
        fill(&mut handover.front, &front);
        handover.front_count = front_count;
        Ok(())
    }
}

/// Copies `from` to the start of `to` and clears the rest, so that nothing of an earlier exec stays.
fn fill(to: &mut [u8], from: &[u8]) {
    let (start, rest) = to.split_at_mut(from.len());
    start.copy_from_slice(from);
    rest.fill(0);
}
