//! Contexts of file systems: what fsopen(2) and fspick(2) give, and fsconfig(2) changes.
//!
//! A context is a file in memory that holds its own state, so that it goes wherever its descriptor goes
//! and ends with the last one. A guest may write there what it likes, or make such a file itself: what
//! is read is judged like anything else that a guest asks for, and all that it can say is what mount(2)
//! would be told.

use super::new::options;
use crate::ids::HostPid;
use crate::monitor::descriptors::{open_path, own_path};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};
use picozone_personality::detached::command;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

/// What the state begins with.
const MAGIC: &[u8] = b"picozone context 1";
/// Its name in memory, and how the kernel tells that.
const NAME: &std::ffi::CStr = c"fscontext";
const LINK: &[u8] = b"/memfd:fscontext (deleted)";
/// Most bytes of a state, and of the options in it (as mount(2) takes them).
const STATE_MAX: u64 = 16384;
const OPTIONS_MAX: usize = 4096;
/// What is between the parts of a state, none of which holds it.
const NUL: u8 = 0;

/// What a context is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// To be told of a new file system.
    Creating = 0,
    /// To be mounted.
    Created = 1,
    /// To be told what is to change.
    Changing = 2,
    /// As `Changing`, once it is told something.
    Mounted = 3,
    /// Nothing any more.
    Failed = 4,
}

impl Phase {
    fn from_number(number: u64) -> Option<Phase> {
        use Phase::{Changing, Created, Creating, Failed, Mounted};
        let all = [Creating, Created, Changing, Mounted, Failed];
        all.into_iter().find(|phase| *phase as u64 == number)
    }
}

/// The state of a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) phase: Phase,
    /// Type of the file system.
    pub(super) fstype: Vec<u8>,
    /// Where it comes from, once that was said.
    pub(super) source: Option<Vec<u8>>,
    /// `MS_*` that were set.
    pub(super) set: u64,
    /// `MS_*` that were taken away.
    pub(super) cleared: u64,
    /// The mount that is changed, by the order of its row; 0 for one of the zone's configuration.
    pub(super) order: u32,
    /// Options, as mount(2) takes them.
    pub(super) data: Vec<u8>,
}

impl Context {
    /// Of a new file system.
    pub(super) fn new(fstype: &[u8]) -> Context {
        Context {
            phase: Phase::Creating,
            fstype: fstype.to_vec(),
            source: None,
            set: 0,
            cleared: 0,
            order: 0,
            data: Vec::new(),
        }
    }

    /// Of one that is mounted.
    pub(super) fn of_mounted(order: u32, fstype: &[u8]) -> Context {
        Context {
            phase: Phase::Changing,
            order,
            ..Context::new(fstype)
        }
    }

    /// Takes a parameter.
    ///
    /// # Errors
    /// EBUSY: it is not the time. EINVAL: the file system does not know it, or it was said before.
    pub(super) fn take(&mut self, what: u32, key: &[u8], value: &[u8]) -> Result<(), i32> {
        if !matches!(self.phase, Phase::Creating | Phase::Changing) {
            return Err(libc::EBUSY);
        }
        let sets = match key {
            b"ro" => Some((libc::MS_RDONLY, true)),
            b"rw" => Some((libc::MS_RDONLY, false)),
            b"sync" => Some((libc::MS_SYNCHRONOUS, true)),
            b"async" => Some((libc::MS_SYNCHRONOUS, false)),
            b"dirsync" | b"lazytime" | b"mand" => Some((0, true)),
            b"nolazytime" | b"nomand" => Some((0, false)),
            _ => None,
        };
        if let Some((flag, is_set)) = sets {
            (self.set, self.cleared) = if is_set {
                (self.set | flag, self.cleared & !flag)
            } else {
                (self.set & !flag, self.cleared | flag)
            };
            return Ok(());
        }
        let is_text = what == command::SET_STRING;
        if !is_text && what != command::SET_FLAG {
            return Err(libc::EINVAL);
        }
        if key == b"source" {
            if !is_text || self.source.is_some() {
                return Err(libc::EINVAL);
            }
            self.source = Some(value.to_vec());
            return Ok(());
        }
        let option = if is_text {
            [key, b"=", value].concat()
        } else {
            key.to_vec()
        };
        // The options of others are looked at by nobody: they are not mounted.
        match &self.fstype[..] {
            b"tmpfs" | b"devtmpfs" => {
                if option.contains(&b',') || key.contains(&b'=') {
                    return Err(libc::EINVAL);
                }
                options(&option)?;
            }
            b"ramfs" if key == b"mode" => {
                options(&option)?;
            }
            b"proc" if !matches!(key, b"hidepid" | b"gid" | b"subset" | b"pidns") => {
                return Err(libc::EINVAL);
            }
            _ => return Ok(()),
        }
        if self.data.len() + option.len() >= OPTIONS_MAX {
            return Err(libc::EINVAL);
        }
        if !self.data.is_empty() {
            self.data.push(b',');
        }
        self.data.extend_from_slice(&option);
        Ok(())
    }

    /// Forgets what was said, once it is done.
    pub(super) fn settle(&mut self, order: u32) {
        let fstype = std::mem::take(&mut self.fstype);
        *self = Context {
            phase: Phase::Mounted,
            ..Context::of_mounted(order, &fstype)
        };
    }

    fn to_bytes(&self) -> Vec<u8> {
        let numbers = [
            self.phase as u64,
            self.set,
            self.cleared,
            u64::from(self.order),
            u64::from(self.source.is_some()),
        ]
        .map(|number| number.to_string());
        let mut parts: Vec<&[u8]> = vec![MAGIC];
        parts.extend(numbers.iter().map(String::as_bytes));
        parts.extend([
            &self.fstype[..],
            self.source.as_deref().unwrap_or_default(),
            &self.data,
        ]);
        parts.join(&NUL)
    }

    fn parse(bytes: &[u8]) -> Option<Context> {
        let mut parts = bytes.split(|&byte| byte == NUL);
        if parts.next()? != MAGIC {
            return None;
        }
        let mut number = || -> Option<u64> {
            let text = std::str::from_utf8(parts.next()?).ok()?;
            text.parse().ok()
        };
        let [phase, set, cleared, order, has_source] =
            [number()?, number()?, number()?, number()?, number()?];
        let [fstype, source, data] = [parts.next()?, parts.next()?, parts.next()?];
        const FLAGS: u64 = libc::MS_RDONLY | libc::MS_SYNCHRONOUS;
        Some(Context {
            phase: Phase::from_number(phase)?,
            fstype: fstype.to_vec(),
            source: (has_source != 0).then(|| source.to_vec()),
            set: set & FLAGS,
            cleared: cleared & FLAGS,
            order: u32::try_from(order).ok()?,
            data: data.to_vec(),
        })
    }

    /// A descriptor that stands for it. It cannot be read, as one of the kernel's that has nothing to
    /// tell cannot.
    ///
    /// # Errors
    /// Out of memory or descriptors.
    pub(super) fn make(&self) -> Result<OwnedFd, i32> {
        let errno = |errno: nix::errno::Errno| errno as i32;
        let memory = memfd_create(NAME, MFdFlags::MFD_CLOEXEC).map_err(errno)?;
        let mut file = File::from(memory);
        store(&mut file, self)?;
        fchmod(&file, Mode::S_IRUSR | Mode::S_IWUSR).map_err(errno)?;
        let opened = OpenOptions::new().write(true).open(own_path(&file));
        opened
            .map(OwnedFd::from)
            .map_err(crate::monitor::files::errno)
    }

    /// The context that a guest's descriptor is one of, and where its state is kept.
    ///
    /// # Errors
    /// EBADF. EINVAL: it is none.
    pub(super) fn open(caller: HostPid, fd: i32) -> Result<(Context, File), i32> {
        // The guest may put something else under the number meanwhile.
        let node = open_path(caller, fd)?;
        let link = std::fs::read_link(own_path(&node)).map_err(|_| libc::EBADF)?;
        let found = nix::sys::stat::fstat(&node).map_err(|errno| errno as i32)?;
        let is_one = std::os::unix::ffi::OsStrExt::as_bytes(link.as_os_str()) == LINK
            && found.st_mode & libc::S_IFMT == libc::S_IFREG
            && found.st_nlink == 0;
        if !is_one {
            return Err(libc::EINVAL);
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(own_path(&node))
            .map_err(|_| libc::EINVAL)?;
        let mut bytes = Vec::new();
        (&file)
            .take(STATE_MAX)
            .read_to_end(&mut bytes)
            .map_err(|_| libc::EINVAL)?;
        let context = Context::parse(&bytes).ok_or(libc::EINVAL)?;
        Ok((context, file))
    }
}

/// Keeps a state in its file.
///
/// # Errors
/// ENOMEM: the file cannot be written.
pub(super) fn store(file: &mut File, context: &Context) -> Result<(), i32> {
    use std::io::Seek;
    let bytes = context.to_bytes();
    let written = file
        .rewind()
        .and_then(|()| file.write_all(&bytes))
        .and_then(|()| file.set_len(bytes.len() as u64));
    written.map_err(|_| libc::ENOMEM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(context: &mut Context, key: &str, value: &str) -> Result<(), i32> {
        context.take(command::SET_STRING, key.as_bytes(), value.as_bytes())
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let mut context = Context::new(b"tmpfs");
        assert_eq!(Context::parse(&context.to_bytes()), Some(context.clone()));
        told(&mut context, "source", "").unwrap();
        told(&mut context, "mode", "700").unwrap();
        context.take(command::SET_FLAG, b"ro", b"").unwrap();
        context.phase = Phase::Created;
        assert_eq!(Context::parse(&context.to_bytes()), Some(context.clone()));
        context.settle(7);
        assert_eq!(Context::parse(&context.to_bytes()), Some(context));
    }

    #[test]
    fn what_is_no_state_is_none() {
        let good = Context::new(b"tmpfs").to_bytes();
        for end in 0..good.len() {
            let _ = Context::parse(&good[..end]);
        }
        for bad in [
            &b""[..],
            b"picozone context 1",
            b"picozone context 1\x009\x000\x000\x000\x000\0a\0b\0c",
        ] {
            assert_eq!(Context::parse(bad), None);
        }
    }

    #[test]
    fn parameters_are_those_of_the_file_system() {
        let mut context = Context::new(b"tmpfs");
        assert_eq!(told(&mut context, "size", "1m"), Ok(()));
        assert_eq!(told(&mut context, "size", "one"), Err(libc::EINVAL));
        assert_eq!(told(&mut context, "none", "1"), Err(libc::EINVAL));
        assert_eq!(told(&mut context, "mode", "755,uid=3"), Err(libc::EINVAL));
        assert_eq!(told(&mut context, "source", "one"), Ok(()));
        assert_eq!(told(&mut context, "source", "two"), Err(libc::EINVAL));
        assert_eq!(
            context.take(command::SET_FLAG, b"mode", b""),
            Err(libc::EINVAL)
        );
        assert_eq!(
            context.take(command::SET_BINARY, b"mode", b""),
            Err(libc::EINVAL)
        );
        assert_eq!(context.data, b"size=1m");
        context.phase = Phase::Created;
        assert_eq!(told(&mut context, "size", "1m"), Err(libc::EBUSY));
    }
}
