//! Stubs: what a rewritten call site jumps to.
//!
//! A stub hands the personality's entry its return address in rcx. Right before that address stands
//! a `syscall` instruction, the site's own or one in the stub: whoever looks at a guest that is in or
//! returns from a call sees what the kernel would show, and a call is made the slow way, or again, by
//! going two bytes back. r11 holds the entry's address. Both registers are the kernel's to change.

use picozone_personality::libraries::TAIL_MARK;

/// Stubs begin at multiples of this.
const ALIGN: usize = 16;
/// What fills the room between them: int3.
const FILL: u8 = 0xcc;
/// Length of a jump to anywhere within 2 GiB.
pub(super) const JUMP: usize = 5;
/// The instruction itself.
const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// A branch that is the last of the instructions moved into a stub.
#[derive(Clone, Copy)]
pub(super) struct Branch {
    /// Condition, as in the low bits of the opcode; `None`: always.
    pub(super) condition: Option<u8>,
    /// Where it leads.
    pub(super) target: u64,
}

/// The tail in the making.
pub(super) struct Stubs {
    address: u64,
    entry: u64,
    bytes: Vec<u8>,
}

/// The distance from the end of an instruction.
fn distance(from: u64, to: u64) -> Option<[u8; 4]> {
    let distance = to.cast_signed().checked_sub(from.cast_signed())?;
    i32::try_from(distance).ok().map(i32::to_le_bytes)
}

/// A jump that stands at `from`; `None` if it is too far.
pub(super) fn jump(from: u64, to: u64) -> Option<[u8; JUMP]> {
    let [a, b, c, d] = distance(from.checked_add(JUMP as u64)?, to)?;
    Some([0xe9, a, b, c, d])
}

impl Stubs {
    pub(super) fn new(address: u64, entry: u64) -> Stubs {
        Stubs {
            address,
            entry,
            // The mark by which a tail is found in memory; its length is filled in at the end.
            bytes: [TAIL_MARK, 0].map(u64::to_le_bytes).concat(),
        }
    }

    /// Address of the next byte.
    fn here(&self) -> u64 {
        self.address + self.bytes.len() as u64
    }

    /// Makes a stub at an aligned place, or none at all; gives its offset and address.
    fn make(&mut self, fill: impl FnOnce(&mut Stubs) -> Option<()>) -> Option<(usize, u64)> {
        let before = self.bytes.len();
        self.bytes.resize(before.next_multiple_of(ALIGN), FILL);
        let (offset, address) = (self.bytes.len(), self.here());
        if fill(self).is_none() {
            self.bytes.truncate(before);
            return None;
        }
        Some((offset, address))
    }

    /// `lea rcx, [back]; mov r11, entry; jmp r11`.
    fn enter(&mut self, back: u64) -> Option<()> {
        let to = distance(self.here() + 7, back)?;
        self.bytes.extend([0x48, 0x8d, 0x0d]);
        self.bytes.extend(to);
        self.bytes.extend([0x49, 0xbb]);
        self.bytes.extend(self.entry.to_le_bytes());
        self.bytes.extend([0x41, 0xff, 0xe3]);
        Some(())
    }

    /// The stub of a site whose own `syscall` stays: the instructions before that, then in, and back
    /// behind it.
    pub(super) fn before(&mut self, moved: &[u8], back: u64) -> Option<(usize, u64)> {
        self.make(|stubs| {
            stubs.bytes.extend(moved);
            stubs.enter(back)
        })
    }

    /// The stub of a site that is overwritten: the instructions `before` it, in, and then those that
    /// followed.
    pub(super) fn around(
        &mut self,
        before: &[u8],
        moved: &[u8],
        branch: Option<Branch>,
        back: u64,
    ) -> Option<(usize, u64)> {
        /// `mov r11, entry; jmp r11; syscall`.
        const REST: u64 = 15;
        self.make(|stubs| {
            stubs.bytes.extend(before);
            let behind = stubs.here() + 7 + REST;
            stubs.enter(behind)?;
            stubs.bytes.extend(SYSCALL);
            stubs.bytes.extend(moved);
            if let Some(Branch { condition, target }) = branch {
                if let Some(condition) = condition {
                    stubs.bytes.extend([0x0f, 0x80 | condition]);
                } else {
                    stubs.bytes.push(0xe9);
                }
                let to = distance(stubs.here() + 4, target)?;
                stubs.bytes.extend(to);
            }
            let to = jump(stubs.here(), back)?;
            stubs.bytes.extend(to);
            Some(())
        })
    }

    /// Whole pages.
    pub(super) fn into_tail(mut self) -> Vec<u8> {
        let page = usize::try_from(super::PAGE).unwrap_or(usize::MAX);
        self.bytes
            .resize(self.bytes.len().next_multiple_of(page), FILL);
        let length = (self.bytes.len() as u64).to_le_bytes();
        if let Some(to) = self.bytes.get_mut(8..16) {
            to.copy_from_slice(&length);
        }
        self.bytes
    }
}
