//! The memory of a traced process, and what the decoder has looked at there.

use crate::ids::HostPid;
use crate::trace::{Call, Part};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use picozone_personality::trace::flags;
use picozone_syscalls::{Direction, Memory, decode_argument, row, shows_both};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::IoSliceMut;

/// Most that is kept of what one call points at.
const KEPT_MAX: usize = 64 * 1024;
/// A page: what lies in one can be read, or cannot, as a whole.
const PAGE: usize = 4096;

/// The memory of a process.
pub(super) struct Process(pub(super) HostPid);

impl Memory for Process {
    fn read(&self, address: u64, to: &mut [u8]) -> usize {
        let Ok(mut base) = usize::try_from(address) else {
            return 0;
        };
        let mut left = to.len();
        let mut pages = Vec::new();
        while left != 0 {
            let len = left.min(PAGE - base % PAGE);
            pages.push(RemoteIoVec { base, len });
            left -= len;
            match base.checked_add(len) {
                Some(next) => base = next,
                None => break,
            }
        }
        let pid = Pid::from_raw(self.0.0.cast_signed());
        process_vm_readv(pid, &mut [IoSliceMut::new(to)], &pages).unwrap_or(0)
    }
}

/// Notes what is read.
struct Noted<'a, M> {
    memory: &'a M,
    parts: RefCell<Vec<Part>>,
    left: Cell<usize>,
    is_cut: Cell<bool>,
    /// What was read last of the same argument, and how much.
    last: Cell<Option<(u64, usize)>>,
    /// What is read is shown beside what lay there before.
    is_beside: Cell<bool>,
}

impl<M: Memory> Noted<'_, M> {
    /// Bytes of this address: in place of what lay there before the call, or behind the piece of the same
    /// thing that was read right before.
    fn note(&self, at: u64, new: &[u8]) {
        if new.is_empty() {
            return;
        }
        if new.len() > self.left.get() {
            self.is_cut.set(true);
            return;
        }
        self.left.set(self.left.get() - new.len());
        let last = self.last.replace(Some((at, new.len())));
        let follows = |(before, length): (u64, usize)| {
            before.checked_add(length as u64) == Some(at) && new.len() <= length
        };
        let mut parts = self.parts.borrow_mut();
        let same = memories(&mut parts).find(|(address, _)| *address == at);
        if let Some((_, bytes)) = same.filter(|_| !self.is_beside.get()) {
            bytes.splice(..new.len().min(bytes.len()), new.iter().copied());
            return;
        }
        let end = |address: u64, bytes: &[u8]| address.checked_add(bytes.len() as u64);
        if last.is_some_and(follows)
            && !self.is_beside.get()
            && let Some((_, bytes)) =
                memories(&mut parts).find(|(of, bytes)| end(*of, bytes) == Some(at))
        {
            bytes.extend(new);
            return;
        }
        parts.push(Part::Memory {
            address: at,
            bytes: new.to_vec(),
        });
    }
}

fn memories(parts: &mut [Part]) -> impl Iterator<Item = (u64, &mut Vec<u8>)> {
    parts.iter_mut().filter_map(|part| match part {
        Part::Memory { address, bytes } => Some((*address, bytes)),
        _ => None,
    })
}

impl<M: Memory> Memory for Noted<'_, M> {
    fn read(&self, address: u64, to: &mut [u8]) -> usize {
        let got = self.memory.read(address, to);
        self.note(address, to.get(..got).unwrap_or(&[]));
        got
    }

    fn read_text(&self, address: u64, to: &mut [u8]) -> usize {
        let got = self.memory.read(address, to);
        let bytes = to.get(..got).unwrap_or(&[]);
        let text = bytes.split_inclusive(|&byte| byte == 0).next();
        self.note(address, text.unwrap_or(&[]));
        got
    }
}

/// A text that nobody wants.
struct Nobody;

impl fmt::Write for Nobody {
    fn write_str(&mut self, _text: &str) -> fmt::Result {
        Ok(())
    }
}

/// Adds to a call what its arguments point at, which is what the decoder looks at: before the call what it
/// is given, after it (`result`) what it has filled.
pub(super) fn capture(call: &mut Call, result: Option<i64>, memory: &impl Memory) {
    let Some(row) = row(call.nr) else { return };
    let kept: usize = call.parts.iter().map(size).sum();
    let noted = Noted {
        memory,
        parts: RefCell::new(std::mem::take(&mut call.parts)),
        left: Cell::new(KEPT_MAX.saturating_sub(kept)),
        is_cut: Cell::new(false),
        last: Cell::new(None),
        is_beside: Cell::new(false),
    };
    for (i, arg) in row.args.iter().enumerate() {
        let is_wanted = match arg.kind.direction() {
            Direction::In => result.is_none(),
            Direction::Out => result.is_some(),
            Direction::InOut => true,
        };
        if is_wanted {
            noted.last.set(None);
            let is_read_again = result.is_some() && arg.kind.direction() == Direction::InOut;
            noted.is_beside.set(is_read_again && shows_both(call.nr));
            // Nobody is a writer that never fails.
            let _ = decode_argument((call.nr, i), call.args, result, &noted, &mut Nobody);
        }
    }
    if noted.is_cut.get() {
        call.flags |= flags::CUT;
    }
    call.parts = noted.parts.into_inner();
}

fn size(part: &Part) -> usize {
    match part {
        Part::Memory { bytes, .. } => bytes.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::entry::tests::sample;
    use crate::trace::show;
    use picozone_syscalls::nr;

    /// Memory of two pages, behind which there is nothing.
    struct Pages(Vec<u8>);

    const BASE: u64 = 0x10_0000;

    impl Memory for Pages {
        fn read(&self, address: u64, to: &mut [u8]) -> usize {
            let start = usize::try_from(address.wrapping_sub(BASE)).unwrap_or(usize::MAX);
            let rest = self.0.get(start..).unwrap_or(&[]);
            let length = rest.len().min(to.len());
            to[..length].copy_from_slice(&rest[..length]);
            length
        }
    }

    fn call(nr: u32, args: &[u64]) -> Call {
        let mut call = Call {
            nr,
            parts: Vec::new(),
            ..sample()
        };
        call.args = [0; 6];
        call.args[..args.len()].copy_from_slice(args);
        call
    }

    #[test]
    fn what_is_shown_is_kept_and_no_more() {
        let long = format!("/{}", "long/".repeat(40));
        let mut bytes = long.clone().into_bytes();
        bytes.extend(b"\0secret");
        let mut open = call(nr::openat, &[0xffff_ff9c, BASE, 0]);
        capture(&mut open, None, &Pages(bytes));
        let kept = format!("{long}\0").into_bytes();
        let expected = Part::Memory {
            address: BASE,
            bytes: kept,
        };
        assert_eq!(open.parts, [expected]);
        assert_eq!(show::paths(&open).collect::<Vec<_>>(), [long.as_bytes()]);
    }

    #[test]
    fn lists_of_texts_are_kept() {
        let mut bytes = Vec::new();
        for word in [BASE + 32, BASE + 36, 0, 0] {
            bytes.extend(u64::to_ne_bytes(word));
        }
        bytes.extend(b"cat\0-n\0");
        let mut exec = call(nr::execve, &[BASE + 32, BASE, BASE + 16]);
        capture(&mut exec, None, &Pages(bytes));
        exec.result = 0;
        let text = show::call(&exec, true);
        assert!(
            text.starts_with("execve(\"cat\", [\"cat\", \"-n\"], 0x"),
            "{text}"
        );
        assert!(text.ends_with("/* 0 vars */) = 0"), "{text}");
    }

    #[test]
    fn what_a_call_has_filled_is_read_behind_it() {
        let mut read = call(nr::read, &[3, BASE, 4096]);
        let memory = Pages(b"text that was read".to_vec());
        capture(&mut read, None, &memory);
        assert_eq!(read.parts, []);
        read.result = 4;
        capture(&mut read, Some(4), &memory);
        assert_eq!(show::call(&read, true), r#"read(3, "text", 4096) = 4"#);
        // What is not there is told by its address.
        let mut gone = call(nr::chdir, &[5]);
        capture(&mut gone, None, &memory);
        gone.result = -14;
        assert_eq!(
            show::call(&gone, true),
            "chdir(0x5) = -1 EFAULT (Bad address)"
        );
    }

    #[test]
    fn what_was_before_the_call_gives_way() {
        let memory = |length: u32| {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend([2, 0, 0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
            Pages(bytes)
        };
        let mut name = call(nr::getsockname, &[3, BASE + 4, BASE]);
        capture(&mut name, None, &memory(128));
        name.result = 0;
        capture(&mut name, Some(0), &memory(16));
        assert_eq!(
            show::call(&name, true),
            "getsockname(3, 127.0.0.1:80, [16]) = 0"
        );
    }

    #[test]
    fn our_own_memory_can_be_read_up_to_its_end() {
        let bytes = vec![7u8; 3 * PAGE];
        let own = Process(HostPid(std::process::id()));
        let mut to = vec![0; 2 * PAGE + 10];
        assert_eq!(own.read(bytes.as_ptr() as u64 + 1, &mut to), to.len());
        assert!(to.iter().all(|byte| *byte == 7));
        assert_eq!(own.read(0, &mut to), 0);
        assert_eq!(own.read(u64::MAX - 3, &mut to), 0);
    }
}
