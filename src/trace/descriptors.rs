//! What descriptors stand for, as the calls tell that made them: files by their paths, sockets by their
//! addresses.
//!
//! That can only be told of processes all of whose calls are recorded: of others it is not seen when a
//! descriptor is closed and its number used again. Such a process is known by its native calls. What it
//! has inherited from one that is not followed so has no name.

use super::calls::Event;
use super::entry::{Call, Part};
use super::show::{self, Argument};
use super::value;
use crate::ids::ZonePid;
use picozone_syscalls::{Class, Kind, Outcome, nr, row};
use std::collections::HashMap;

/// Most descriptors that are known of all processes together.
const KNOWN_MAX: usize = 1 << 20;

/// The descriptors of all processes of a trace.
#[derive(Default)]
pub struct Descriptors {
    tables: HashMap<usize, Table>,
    /// Which table a process has: those of clone(2) with `CLONE_FILES` share one.
    of: HashMap<ZonePid, usize>,
    next: usize,
    known: usize,
    /// What the last call has changed: a descriptor, and what it stood for until then.
    before: Option<(i32, Option<String>)>,
}

/// Those of a process.
#[derive(Clone, Default)]
struct Table {
    names: HashMap<i32, Name>,
    /// The working directory.
    directory: Option<String>,
}

#[derive(Clone)]
struct Name {
    text: String,
    /// Whether an exec closes it.
    ends_at_exec: bool,
}

impl Descriptors {
    /// What a descriptor stands for in the text of a call that was the last to be told of: one that it was
    /// given, as that was before, or one that it has made.
    #[must_use]
    pub fn name_in(&self, call: &Call, fd: i32, is_new: bool) -> Option<String> {
        let before = self
            .before
            .as_ref()
            .filter(|(known, _)| *known == fd && !is_new);
        match before {
            Some((_, name)) => name.clone(),
            None => self.name(call.pid, fd).map(str::to_owned),
        }
    }

    /// What a descriptor of a process stands for.
    #[must_use]
    pub fn name(&self, pid: ZonePid, fd: i32) -> Option<&str> {
        let table = self.tables.get(self.of.get(&pid)?)?;
        table.names.get(&fd).map(|name| name.text.as_str())
    }

    /// Learns what a call has made of them. To be told of each event in turn.
    pub fn take(&mut self, event: &Event) {
        let Event::Call { call, has_ended } = event else {
            return;
        };
        if is_native(call) && !self.of.contains_key(&call.pid) {
            self.begin(call.pid);
        }
        self.before = None;
        let Some(&number) = self.of.get(&call.pid) else {
            return;
        };
        if let nr::close | nr::bind | nr::connect | nr::dup2 | nr::dup3 = call.nr {
            let [first, second, ..] = call.args;
            let is_copied = matches!(call.nr, nr::dup2 | nr::dup3);
            let fd = int(if is_copied { second } else { first });
            self.before = Some((fd, self.name(call.pid, fd).map(str::to_owned)));
        }
        if !has_ended || show::errno(call, true).is_some() {
            return;
        }
        match call.nr {
            nr::clone | nr::clone3 | nr::fork | nr::vfork => self.fork(call, number),
            nr::execve | nr::execveat => self
                .table(number)
                .names
                .retain(|_, name| !name.ends_at_exec),
            _ => self.change(call, number),
        }
    }

    fn begin(&mut self, pid: ZonePid) -> usize {
        self.next += 1;
        self.of.insert(pid, self.next);
        self.next
    }

    fn table(&mut self, number: usize) -> &mut Table {
        self.tables.entry(number).or_default()
    }

    fn fork(&mut self, call: &Call, number: usize) {
        const CLONE_FILES: u64 = 0x400;
        const CLONE_THREAD: u64 = 0x1_0000;
        let child = call.parts.iter().find_map(|part| match part {
            Part::HostPid { zone, .. } if i64::from(zone.0) == call.result => Some(*zone),
            _ => None,
        });
        let [flags, ..] = call.args;
        let Some(child) = child.filter(|_| call.nr != nr::clone || flags & CLONE_THREAD == 0)
        else {
            return;
        };
        // It may have told something before its parent returned from the call that made it.
        if call.nr == nr::clone && flags & CLONE_FILES != 0 {
            self.of.insert(child, number);
            return;
        }
        let copy = self.table(number).clone();
        self.known = self.known.saturating_add(copy.names.len());
        if self.known > KNOWN_MAX {
            return;
        }
        let of_child = match self.of.get(&child) {
            Some(&known) => known,
            None => self.begin(child),
        };
        let table = self.table(of_child);
        for (fd, name) in copy.names {
            table.names.entry(fd).or_insert(name);
        }
        table.directory = table.directory.take().or(copy.directory);
    }

    fn change(&mut self, call: &Call, number: usize) {
        let args = show::arguments(call, true);
        let [first, second, third, ..] = call.args;
        let result = int(call.result.cast_unsigned());
        self.known = self.known.saturating_add(1);
        if self.known > KNOWN_MAX {
            return;
        }
        let table = self.table(number);
        match call.nr {
            nr::close => drop(table.names.remove(&int(first))),
            nr::close_range if third == 0 => {
                let range = first..=second & 0xffff_ffff;
                let is_in = |fd: i32| u64::try_from(fd).is_ok_and(|fd| range.contains(&fd));
                table.names.retain(|fd, _| !is_in(*fd));
            }
            nr::dup => table.copy(int(first), result, false),
            nr::dup2 if first == second => {}
            nr::dup2 => table.copy(int(first), int(second), false),
            nr::dup3 => table.copy(int(first), int(second), third & CLOEXEC != 0),
            nr::fcntl => match second {
                F_DUPFD | F_DUPFD_CLOEXEC => {
                    table.copy(int(first), result, second == F_DUPFD_CLOEXEC);
                }
                F_SETFD => {
                    if let Some(name) = table.names.get_mut(&int(first)) {
                        name.ends_at_exec = third & 1 != 0;
                    }
                }
                _ => {}
            },
            nr::pipe | nr::pipe2 | nr::socketpair => {
                let pair = args.iter().find(|arg| arg.kind == Kind::FdPairOut);
                let text = pair.map_or("", |arg| arg.text.trim_matches(['[', ']']));
                let what = if call.nr == nr::socketpair {
                    "socket pair"
                } else {
                    "pipe"
                };
                for fd in text.split(", ").filter_map(|fd| fd.parse().ok()) {
                    table.put(fd, what.to_owned(), second & CLOEXEC != 0);
                }
            }
            nr::bind | nr::connect => {
                let address = args.iter().find(|arg| arg.kind == Kind::SockAddr);
                if let (Some(address), Some(name)) = (address, table.names.get_mut(&int(first))) {
                    let arrow = if call.nr == nr::bind { "" } else { "->" };
                    name.text = format!("{arrow}{}", address.text);
                }
            }
            nr::chdir => {
                let path = args.first().and_then(|arg| path_of(call, 0, arg));
                table.directory = path.and_then(|path| table.full(None, &path));
            }
            nr::fchdir => {
                table.directory = table.names.get(&int(first)).map(|name| name.text.clone());
            }
            nr::getcwd => {
                let path = args.first().and_then(|arg| path_of(call, 0, arg));
                table.directory = path.or(table.directory.take());
            }
            _ if row(call.nr).is_some_and(|row| row.result == Outcome::Fd) => {
                let text = table.opened(call, &args);
                table.put(result, text, has_cloexec(call, &args));
            }
            _ => {}
        }
    }
}

/// `O_CLOEXEC`, `SOCK_CLOEXEC`, `EPOLL_CLOEXEC` and their like.
const CLOEXEC: u64 = 0o2_000_000;
const F_DUPFD: u64 = 0;
const F_SETFD: u64 = 2;
const F_DUPFD_CLOEXEC: u64 = 1030;

impl Table {
    fn put(&mut self, fd: i32, text: String, ends_at_exec: bool) {
        self.names.insert(fd, Name { text, ends_at_exec });
    }

    fn copy(&mut self, from: i32, to: i32, ends_at_exec: bool) {
        match self.names.get(&from) {
            Some(name) => {
                let text = name.text.clone();
                self.put(to, text, ends_at_exec);
            }
            // What that is called is not known, and what was there is gone.
            None => drop(self.names.remove(&to)),
        }
    }

    /// What a call that gives a descriptor has opened.
    fn opened(&self, call: &Call, args: &[Argument]) -> String {
        let [first, ..] = call.args;
        if let nr::accept | nr::accept4 = call.nr {
            let from = show::peer(call, true).unwrap_or_default();
            let at = self.names.get(&int(first)).map_or("", |name| &name.text);
            return format!("{at}<-{from}");
        }
        let named = args
            .iter()
            .enumerate()
            .find(|(_, arg)| arg.kind == Kind::Path);
        let path = named.and_then(|(i, arg)| path_of(call, i, arg));
        match path {
            Some(path) => {
                let directory = args.first().filter(|arg| arg.kind == Kind::DirFd);
                let directory = directory
                    .map(|arg| int(arg.word))
                    .filter(|fd| *fd != AT_FDCWD);
                self.full(directory, &path).unwrap_or(path)
            }
            None => match call.nr {
                nr::socket => "socket".to_owned(),
                nr => show::name(nr).trim_end_matches(char::is_numeric).to_owned(),
            },
        }
    }

    /// A path from the root, if its beginning is known.
    fn full(&self, directory: Option<i32>, path: &str) -> Option<String> {
        if path.starts_with('/') {
            return Some(path.to_owned());
        }
        let above = match directory {
            Some(fd) => &self.names.get(&fd)?.text,
            None => self.directory.as_ref()?,
        };
        if path == "." || path.is_empty() {
            return Some(above.clone());
        }
        Some(format!("{}/{path}", above.trim_end_matches('/')))
    }
}

const AT_FDCWD: i32 = -100;

fn path_of(call: &Call, i: usize, arg: &Argument) -> Option<String> {
    let path = value::of(call, i, arg, true)?;
    path.as_str().map(|path| show::visible(path.as_bytes()))
}

fn has_cloexec(call: &Call, args: &[Argument]) -> bool {
    let flags = args.iter().zip(call.args).find(|(arg, _)| {
        matches!(
            arg.kind,
            Kind::OpenFlags | Kind::SocketType | Kind::SocketFlags | Kind::Flags
        )
    });
    flags.is_some_and(|(_, word)| word & CLOEXEC != 0)
}

fn is_native(call: &Call) -> bool {
    row(call.nr).is_some_and(|row| matches!(row.class, Class::Native))
}

/// The low half, as a call takes an `int`.
fn int(word: u64) -> i32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::entry::tests::sample;

    fn tell(descriptors: &mut Descriptors, nr: u32, args: [u64; 6], result: i64, path: &str) {
        let mut parts = vec![Part::Memory {
            address: 0x7000,
            bytes: [path.as_bytes(), b"\0"].concat(),
        }];
        parts.extend(u32::try_from(result).ok().map(|number| Part::HostPid {
            zone: ZonePid(number),
            host: crate::ids::HostPid(number + 1000),
        }));
        let call = Call {
            nr,
            args,
            result,
            parts,
            ..sample()
        };
        descriptors.take(&Event::Call {
            call,
            has_ended: true,
        });
    }

    fn opens(descriptors: &mut Descriptors, path: &str, flags: u64, fd: i64) {
        let args = [0xffff_ff9c, 0x7000, flags, 0, 0, 0];
        tell(descriptors, nr::openat, args, fd, path);
    }

    #[test]
    fn they_are_what_was_opened_last() {
        let mut of = Descriptors::default();
        let name = |of: &Descriptors, fd| of.name(sample().pid, fd).map(str::to_owned);
        // Not all of its calls are known.
        opens(&mut of, "/etc/a", 0, 3);
        assert_eq!(name(&of, 3), None);
        tell(&mut of, nr::brk, [0; 6], 0, "");
        opens(&mut of, "/etc/a", CLOEXEC, 3);
        assert_eq!(name(&of, 3).as_deref(), Some("/etc/a"));
        tell(&mut of, nr::dup2, [3, 7, 0, 0, 0, 0], 7, "");
        tell(&mut of, nr::close, [3, 0, 0, 0, 0, 0], 0, "");
        assert_eq!(
            (name(&of, 3), name(&of, 7).as_deref()),
            (None, Some("/etc/a"))
        );
        tell(&mut of, nr::chdir, [0x7000, 0, 0, 0, 0, 0], 0, "/srv");
        opens(&mut of, "b", CLOEXEC, 3);
        assert_eq!(name(&of, 3).as_deref(), Some("/srv/b"));
        opens(&mut of, "none", 0, -2);
        tell(&mut of, nr::openat, [3, 0x7000, 0, 0, 0, 0], 4, "c");
        assert_eq!(name(&of, 4).as_deref(), Some("/srv/b/c"));
        tell(&mut of, nr::fork, [0; 6], 9, "");
        assert_eq!(of.name(ZonePid(9), 7), Some("/etc/a"));
        tell(&mut of, nr::execve, [0x7000, 0, 0, 0, 0, 0], 0, "/bin/cat");
        assert_eq!(
            (name(&of, 3), name(&of, 7).as_deref()),
            (None, Some("/etc/a"))
        );
        assert_eq!(of.name(ZonePid(9), 3), Some("/srv/b"));
        tell(&mut of, nr::close_range, [5, u64::MAX, 0, 0, 0, 0], 0, "");
        assert_eq!(
            (name(&of, 7), name(&of, 4).as_deref()),
            (None, Some("/srv/b/c"))
        );
    }

    #[test]
    fn sockets_are_their_addresses() {
        let mut of = Descriptors::default();
        tell(&mut of, nr::brk, [0; 6], 0, "");
        tell(&mut of, nr::socket, [2, 1, 0, 0, 0, 0], 3, "");
        assert_eq!(of.name(sample().pid, 3), Some("socket"));
        let address = "\x02\0\0\x50\x0a\x6f\0\x02\0\0\0\0\0\0\0";
        tell(&mut of, nr::bind, [3, 0x7000, 16, 0, 0, 0], 0, address);
        assert_eq!(of.name(sample().pid, 3), Some("10.111.0.2:80"));
        tell(&mut of, nr::accept4, [3, 0, 0, 0, 0, 0], 4, "");
        assert_eq!(of.name(sample().pid, 4), Some("10.111.0.2:80<-"));
        tell(&mut of, nr::socket, [2, 1, 0, 0, 0, 0], 5, "");
        tell(&mut of, nr::connect, [5, 0x7000, 16, 0, 0, 0], 0, address);
        assert_eq!(of.name(sample().pid, 5), Some("->10.111.0.2:80"));
        tell(&mut of, nr::epoll_create1, [CLOEXEC, 0, 0, 0, 0, 0], 6, "");
        assert_eq!(of.name(sample().pid, 6), Some("epoll_create"));
    }
}
