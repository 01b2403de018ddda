//! execve(2): from a path to the plan by which the personality maps the program.

use super::copies::{Copy, Found, Role};
use super::descriptors::{CWD, open_path, own_path, reopen};
use super::files;
use super::notify::{Call, Listener};
use super::owners;
use super::paths::open_resolved;
use super::plans;
use super::rights::{EXECUTE, READ, User};
use super::roots;
use super::running;
use super::served::{self, Answer, Rights};
use super::strict::Images;
use super::xattrs;
use super::zone::Zone;
use crate::ids::HostPid;
use crate::loader::{self, Files, LoadError, Opened};
use picozone_fsmap::LINKS_MAX;
use picozone_personality::capabilities::FilePrivileges;
use picozone_personality::mailbox::{Handover, Image};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};

/// The files of an exec, from the caller's place.
struct Executables<'a> {
    zone: &'a Zone,
    caller: HostPid,
    /// The caller's root directory; empty for the zone's.
    root: Vec<u8>,
    directory: i32,
    /// What is executed, where that is beneath a descriptor: the path from there, and by which name.
    beneath: Option<(&'a [u8], &'a [u8])>,
    user: User,
    /// Whether the user may read all files that were opened.
    reads_all: bool,
}

impl Files for Executables<'_> {
    type File = File;

    fn open_exec(&mut self, path: &[u8]) -> Result<Opened<File>, LoadError> {
        let path = match self.beneath {
            Some((beneath, name)) if name == path => beneath,
            _ => path,
        };
        let own = self.own_descriptor(path);
        let (fd, resolved) = if let Some(number) = own {
            let own = open_path(self.caller, number).map_err(LoadError)?;
            let host = std::fs::read_link(own_path(&own)).map_err(|_| LoadError::ENOENT)?;
            let zone_path = self
                .zone
                .to_zone_path(host.as_os_str().as_bytes())
                .unwrap_or_else(|| host.as_os_str().as_bytes().to_vec());
            // A FIFO or a leased file must not make the monitor wait.
            let file = reopen(&own, libc::O_RDONLY | libc::O_NONBLOCK);
            let file = file.map_err(|errno| match errno {
                libc::ENXIO => LoadError::EACCES,
                errno => LoadError(errno),
            })?;
            (OwnedFd::from(file), zone_path)
        } else {
            let at = if path.first() == Some(&b'/') {
                Vec::new()
            } else {
                files::path_of(
                    self.zone,
                    self.caller,
                    i64::from(self.directory).cast_unsigned(),
                )
                .map_err(LoadError)?
            };
            self.open_anywhere(at.clone(), path)
                .map_err(|errno| match errno {
                    // A socket, or a device, which nobody executes.
                    libc::ENXIO => LoadError::EACCES,
                    errno => LoadError(self.refusal(&at, path, errno)),
                })?
        };
        if own.is_none() {
            let walked = self.user.may_walk(self.zone, &resolved, b"");
            walked.map_err(LoadError)?;
        }
        let file = File::from(fd);
        self.reads_all = self.reads_all && self.user.permits(self.zone, &file, READ);
        let data = file
            .metadata()
            .map_err(|error| LoadError(files::errno(error)))?;
        let is_barred = !super::mounting::may_execute(self.zone, &resolved);
        if is_barred || !data.is_file() || !self.user.permits(self.zone, &file, EXECUTE) {
            return Err(LoadError::EACCES);
        }
        if running::is_written(&file) {
            return Err(LoadError::ETXTBSY);
        }
        let mut head = vec![0; loader::HEAD_BYTES];
        let mut length = 0;
        while length < head.len() {
            match file.read_at(&mut head[length..], length as u64) {
                Ok(0) => break,
                Ok(got) => length += got,
                Err(error) => return Err(LoadError(files::errno(error))),
            }
        }
        head.truncate(length);
        Ok(Opened {
            file,
            head,
            size: data.size(),
            path: resolved,
        })
    }

    fn read_at(&mut self, file: &File, offset: u64, buf: &mut [u8]) -> Result<usize, LoadError> {
        file.read_at(buf, offset)
            .map_err(|error| LoadError(files::errno(error)))
    }
}

fn is_directory(file: &OwnedFd) -> bool {
    let data = nix::sys::stat::fstat(file);
    data.is_ok_and(|data| data.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

impl Executables<'_> {
    /// Why a path cannot be opened, `errno` being what is wrong with it: a directory on the way that the
    /// user may not search is said first.
    fn refusal(&self, at: &[u8], path: &[u8], errno: i32) -> i32 {
        let ends = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/');
        for on_the_way in ends.map(|(end, _)| &path[..end.max(1)]) {
            match open_resolved(self.zone, &self.root, at, on_the_way, libc::O_PATH) {
                Ok((directory, _)) if !is_directory(&directory) => break,
                Ok((directory, resolved)) => {
                    let walked = self.user.may_walk(self.zone, &resolved, b"");
                    let may = self.user.permits(self.zone, &directory, EXECUTE);
                    if walked == Err(libc::EACCES) || !may {
                        return libc::EACCES;
                    }
                }
                Err(_) => break,
            }
        }
        errno
    }

    /// Opens a path, through links of the monitor's mounts too.
    fn open_anywhere(&self, at: Vec<u8>, path: &[u8]) -> Result<(OwnedFd, Vec<u8>), i32> {
        const FLAGS: i32 = libc::O_RDONLY | libc::O_NONBLOCK;
        let (mut root, mut at, mut path) = (&self.root[..], at, path.to_vec());
        for _ in 0..=LINKS_MAX {
            let refused = match open_resolved(self.zone, root, &at, &path, FLAGS) {
                Err(libc::EACCES) => libc::EACCES,
                other => return other,
            };
            let served = super::paths::served(self.zone, root, &at, &path).ok_or(refused)?;
            match served::open(self.zone, self.caller, &served, FLAGS, Rights::Asked)? {
                Answer::Elsewhere(next) => {
                    (root, at, path) = (b"", b"/".to_vec(), next);
                }
                Answer::Done(fd) => {
                    let host = std::fs::read_link(own_path(&fd)).map_err(files::errno)?;
                    let zone_path = self.zone.to_zone_path(host.as_os_str().as_bytes());
                    return Ok((fd, zone_path.unwrap_or(served)));
                }
            }
        }
        Err(libc::ELOOP)
    }

    /// The number of a descriptor that a path names; the second kind is also what a program without a
    /// name is executed by, in any root directory.
    fn own_descriptor(&self, path: &[u8]) -> Option<i32> {
        let rest = match path.strip_prefix(b"/dev/fd/") {
            Some(rest) => rest,
            None if self.root.is_empty() => path.strip_prefix(b"/proc/self/fd/")?,
            None => return None,
        };
        std::str::from_utf8(rest).ok()?.parse().ok()
    }
}

/// What a program's file gives to who executes it.
fn privileges_of(zone: &Zone, file: &File) -> Result<FilePrivileges, i32> {
    let found = owners::found(zone, file)?;
    let tables = zone.shared.tables();
    let is_somebodys = found.is_kept
        || tables.uids.has_host(found.host.uid) && tables.gids.has_host(found.host.gid);
    // As the kernel: who is not in the map gives nothing by set-id bits.
    let ignored = if is_somebodys {
        0
    } else {
        libc::S_ISUID | libc::S_ISGID
    };
    let owner = found.owner;
    let mut privileges = FilePrivileges {
        uid: owner.uid,
        gid: owner.gid,
        mode: owner.mode & !ignored,
        ..FilePrivileges::default()
    };
    if let Some(value) = xattrs::capabilities_of(zone, file) {
        // As the kernel: what is no such value keeps the program from being executed.
        let set = privileges.set_capabilities(&value);
        set.map_err(|errno| i32::from(errno.raw()))?;
    }
    Ok(privileges)
}

/// Prepares an exec: the plan goes to the handover area, the images to the guest.
///
/// # Errors
/// Those of [`loader::prepare`].
pub fn prepare(
    zone: &Zone,
    listener: &Listener,
    call: Call,
    path: &[u8],
    args: [u64; 8],
) -> Result<i64, i32> {
    let directory = files::low_int(args[0]);
    let caller = HostPid(call.tid);
    // As alloc_bprm of the kernel's fs/exec.c has it: an interpreter finds a script by that name.
    let is_relative = directory != CWD && path.first() != Some(&b'/');
    let name = match path {
        [] if is_relative => format!("/dev/fd/{directory}").into_bytes(),
        _ if is_relative => [format!("/dev/fd/{directory}/").as_bytes(), path].concat(),
        _ => path.to_vec(),
    };
    let asked = plans::Asked::now(zone);
    let mut executables = Executables {
        zone,
        caller,
        root: roots::of_caller(zone, caller),
        directory,
        beneath: (is_relative && !path.is_empty()).then_some((path, &name)),
        user: match call.is_client {
            true => User::known(&zone.strict.users(zone, call.tid)?),
            false => User::of(zone, call.tid, args),
        },
        reads_all: true,
    };
    let mut plan = loader::prepare(&mut executables, &name).map_err(|error| error.0)?;
    // A traced program's files are mapped as they are: its tracer is to see each call.
    let is_plain = args[6] != 0;
    let mut may_keep = !is_plain;
    let mut copy_of = |file: &File, image: &mut Image, role: Role| {
        if is_plain {
            return None;
        }
        let found = zone.copies.of(zone, file, asked, role);
        may_keep &= !matches!(found, Found::Later);
        let copy = found.copy()?;
        copy.extend(image).then_some(copy)
    };
    let exe_copy = copy_of(&plan.exe.0, &mut plan.exe.1, Role::Plain);
    let interp = plan.interp.as_mut();
    let interp_copy = interp.and_then(|(file, image)| copy_of(file, image, Role::Linker));
    let copies = [exe_copy.as_ref(), interp_copy.as_ref()];
    let privileges = privileges_of(zone, &plan.exe.0)?;
    if may_keep && !call.is_client && executables.root.is_empty() {
        plans::keep(zone, asked, &name, (&plan, privileges), copies);
    }
    // What gives more than its caller has, or what that may not read, a client gets once it is that program.
    let is_withheld = call.is_client && (privileges.gives() || !executables.reads_all);
    if is_withheld {
        plan.exe.1.fd = -1;
        if let Some((_, image)) = &mut plan.interp {
            image.fd = -1;
        }
    } else {
        let [exe, interp] = copies.map(|copy| copy.map(|copy| copy.file.as_fd()));
        plan.exe.1.fd = listener.add(call, exe.unwrap_or(plan.exe.0.as_fd()), false)?;
        if let Some((file, image)) = &mut plan.interp {
            image.fd = listener.add(call, interp.unwrap_or(file.as_fd()), false)?;
        }
    }
    // SAFETY: all zero is a valid `Handover`.
    let mut handover: Box<Handover> = Box::new(unsafe { std::mem::zeroed() });
    plan.write(&mut handover).map_err(|error| error.0)?;
    handover.privileges = privileges;
    let data = plan.exe.0.metadata().map_err(files::errno)?;
    handover.exe_file = [data.dev(), data.ino()];
    // As the kernel does: of a script, the script's own name.
    let comm = name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let room = handover.comm.len() - 1;
    for (to, from) in handover.comm.iter_mut().take(room).zip(comm) {
        *to = *from;
    }
    if call.is_client {
        let file_of = |copy: Option<Copy>, file: File| copy.map_or(file, |copy| copy.file);
        let images = is_withheld.then(|| {
            let interp = plan.interp.map(|(file, _)| file_of(interp_copy, file));
            Images {
                exe: file_of(exe_copy, plan.exe.0),
                interp,
            }
        });
        zone.strict
            .will_execute(zone, listener, call, &mut handover, images)?;
    }
    zone.shared.write_handover(call.tid, &handover);
    Ok(0)
}
