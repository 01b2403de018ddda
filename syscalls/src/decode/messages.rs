//! Messages and lists of buffers: `{msg_name=.., msg_iov=[{iov_base="..", iov_len=5}], ..}`.

use super::structures::Bytes;
use super::{Memory, STRING_MAX, constants, names, sockaddr, text};
use core::fmt::{Result, Write};

/// Most buffers of a list that are shown.
pub const BUFFERS_MAX: usize = 16;
/// Longest control messages that are shown.
pub const CONTROL_MAX: usize = 128;
/// Bytes of `struct msghdr`.
pub const MSGHDR: usize = 56;
/// Bytes from one message of a list to the next.
pub const MMSGHDR: usize = 64;
/// Most messages of a list that are shown.
pub const MESSAGES_MAX: usize = 4;

/// What a call does with buffers.
#[derive(Clone, Copy)]
pub(super) enum Bound {
    /// All that is in them.
    Full,
    /// So much of what they hold was put there.
    Filled(u64),
}

/// Prints a list of buffers.
pub(super) fn buffers(
    (at, count): (u64, u64),
    bound: Bound,
    memory: &impl Memory,
    out: &mut impl Write,
) -> Result {
    let shown = usize::try_from(count)
        .unwrap_or(usize::MAX)
        .min(BUFFERS_MAX);
    let mut left = match bound {
        Bound::Full => u64::MAX,
        Bound::Filled(length) => length,
    };
    let mut bytes = [0; 16];
    if shown > 0 && memory.read(at, &mut bytes) != bytes.len() {
        return address(at, out);
    }
    out.write_str("[")?;
    for i in 0..shown {
        let place = at.wrapping_add(16 * i as u64);
        out.write_str(if i == 0 { "" } else { ", " })?;
        if memory.read(place, &mut bytes) != bytes.len() {
            return out.write_str("...]");
        }
        let (base, length) = (Bytes(&bytes).word(0), Bytes(&bytes).word(8));
        let filled = length.min(left);
        left -= filled;
        out.write_str("{iov_base=")?;
        if base == 0 {
            out.write_str("NULL")?;
        } else {
            text::bytes(memory, base, filled, STRING_MAX, out)?;
        }
        write!(out, ", iov_len={length}}}")?;
    }
    let is_cut = u64::try_from(shown).is_ok_and(|shown| shown < count);
    out.write_str(if is_cut { ", ...]" } else { "]" })
}

/// Prints a message.
pub(super) fn message(at: u64, bound: Bound, memory: &impl Memory, out: &mut impl Write) -> Result {
    let mut bytes = [0; MSGHDR];
    if at == 0 || memory.read(at, &mut bytes) != MSGHDR {
        return address(at, out);
    }
    let header = Bytes(&bytes);
    let (name, name_length) = (header.word(0), header.half(8));
    out.write_str("{msg_name=")?;
    let mut socket = [0; sockaddr::LEN_MAX];
    let length = usize::try_from(name_length).unwrap_or(0).min(socket.len());
    let socket = socket.get_mut(..length).unwrap_or(&mut []);
    if name != 0 && length != 0 && memory.read(name, socket) == length {
        sockaddr::write(socket, out)?;
        memory.host(super::Own::Address, out)?;
    } else {
        address(name, out)?;
    }
    write!(out, ", msg_namelen={name_length}, msg_iov=")?;
    let count = header.word(24);
    buffers((header.word(16), count), bound, memory, out)?;
    write!(out, ", msg_iovlen={count}")?;
    let (control, control_length) = (header.word(32), header.word(40));
    if control != 0 && control_length != 0 {
        out.write_str(", msg_control=")?;
        controls(control, control_length, memory, out)?;
    }
    write!(out, ", msg_controllen={control_length}, msg_flags=")?;
    names::MESSAGE.write(header.half(48).into(), out)?;
    out.write_str("}")
}

/// Prints control messages.
fn controls(at: u64, length: u64, memory: &impl Memory, out: &mut impl Write) -> Result {
    const HEAD: usize = 16;
    const SOL_SOCKET: u32 = 1;
    const SCM_RIGHTS: u32 = 1;
    const SCM_CREDENTIALS: u32 = 2;
    let mut bytes = [0; CONTROL_MAX];
    let wanted = usize::try_from(length)
        .unwrap_or(usize::MAX)
        .min(CONTROL_MAX);
    let room = bytes.get_mut(..wanted).unwrap_or(&mut []);
    if memory.read(at, room) != wanted {
        return address(at, out);
    }
    let mut rest = bytes.get(..wanted).unwrap_or(&[]);
    let mut before = "[";
    while rest.len() >= HEAD {
        let head = Bytes(rest);
        let (size, level, kind) = (head.word(0), head.half(8), head.half(12));
        let end = usize::try_from(size).unwrap_or(usize::MAX);
        write!(out, "{before}{{cmsg_len={size}, cmsg_level=")?;
        before = ", ";
        names::LEVEL.write(level.into(), out)?;
        out.write_str(", cmsg_type=")?;
        if level == SOL_SOCKET {
            constants::CONTROL.write(kind.into(), out)?;
        } else {
            write!(out, "{kind:#x}")?;
        }
        let data = rest.get(HEAD..end.min(rest.len())).unwrap_or(&[]);
        if end > HEAD {
            out.write_str(", cmsg_data=")?;
            match (level, kind) {
                (SOL_SOCKET, SCM_RIGHTS) => {
                    let (fds, _) = data.as_chunks();
                    for (i, fd) in fds.iter().enumerate() {
                        out.write_str(if i == 0 { "[" } else { ", " })?;
                        write!(out, "{}", i32::from_ne_bytes(*fd))?;
                    }
                    out.write_str(if fds.is_empty() { "[]" } else { "]" })?;
                }
                (SOL_SOCKET, SCM_CREDENTIALS) => {
                    let [pid, uid, gid] = [0, 4, 8].map(|at| Bytes(data).half(at));
                    write!(out, "{{pid={pid}, uid={uid}, gid={gid}}}")?;
                }
                _ => text::own(data.get(..STRING_MAX).unwrap_or(data), out)?,
            }
        }
        out.write_str("}")?;
        match rest.get(end.max(HEAD).next_multiple_of(8)..) {
            Some(next) => rest = next,
            None => break,
        }
    }
    out.write_str(match (before, length > wanted as u64) {
        ("[", _) => "[]",
        (_, true) => ", ...]",
        (_, false) => "]",
    })
}

fn address(word: u64, out: &mut impl Write) -> Result {
    match word {
        0 => out.write_str("NULL"),
        address => write!(out, "{address:#x}"),
    }
}
