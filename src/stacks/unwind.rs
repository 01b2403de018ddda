//! From a frame to its caller's, by `.eh_frame`, or where a file has none, by the frame pointer.

use super::Process;
use super::elf::Image;
use super::maps::Mapping;
use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, EhFrameOffset, Encoding, EndianSlice,
    EvaluationResult, Expression, LittleEndian, Location, Register, RegisterRule, UnwindContext,
    UnwindExpression, UnwindSection, Value,
};
use picozone_syscalls::Memory;
use std::sync::Arc;

/// Most frames of a stack.
const FRAMES_MAX: usize = 128;
/// Longest description of a frame, in bytes.
const RULES_MAX: usize = 64 * 1024;
/// Most operations of an expression: some can be written that never end.
const OPERATIONS_MAX: u32 = 1000;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// The registers of a thread by their numbers in DWARF (System V ABI, AMD64, 3.38), of which the last is the
/// return address: the instruction pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Registers([u64; 17]);

const FRAME_POINTER: usize = 6;
const STACK_POINTER: usize = 7;
const RETURN_ADDRESS: usize = 16;

impl From<&libc::user_regs_struct> for Registers {
    fn from(of: &libc::user_regs_struct) -> Self {
        Self([
            of.rax, of.rdx, of.rcx, of.rbx, of.rsi, of.rdi, of.rbp, of.rsp, of.r8, of.r9, of.r10,
            of.r11, of.r12, of.r13, of.r14, of.r15, of.rip,
        ])
    }
}

impl From<[u64; 17]> for Registers {
    fn from(words: [u64; 17]) -> Self {
        Self(words)
    }
}

impl Registers {
    pub(crate) fn stack_pointer(&self) -> u64 {
        self.0[STACK_POINTER]
    }

    fn get(&self, register: Register) -> Option<u64> {
        self.0.get(usize::from(register.0)).copied()
    }

    fn ip(&self) -> u64 {
        self.0[RETURN_ADDRESS]
    }
}

/// Room for the rules of a frame, which is large.
#[derive(Default)]
pub(super) struct Context(Option<Box<UnwindContext<usize>>>);

/// What is known of a caller.
enum Step {
    /// Its registers; whether it was interrupted where it is, rather than that it made a call.
    Caller(Registers, bool),
    /// There is none.
    End,
}

impl Context {
    /// Tells each frame's address, and what is mapped there.
    pub(super) fn unwind(
        &mut self,
        mut registers: Registers,
        process: &mut Process<'_>,
        memory: &impl Memory,
        mut tell: impl FnMut(u64, Option<(&Mapping, Option<&Image>)>),
    ) {
        if let Some(site) = process.site_of_stub(registers.ip()) {
            registers.0[RETURN_ADDRESS] = site;
        }
        // The instruction of the system call is what it has just executed.
        let mut is_behind_call = true;
        for _ in 0..FRAMES_MAX {
            let at = registers.ip().wrapping_sub(u64::from(is_behind_call));
            let place = process.find(at);
            let place = place.as_ref().map(|(mapping, image)| (mapping, image));
            tell(
                registers.ip(),
                place.map(|(mapping, image)| (mapping, image.as_deref())),
            );
            let step = place.and_then(|(mapping, image)| {
                let image: &Arc<Image> = image.as_ref()?;
                let address = mapping.own_address(at, Some(image))?;
                self.step(image, address, &registers, memory)
            });
            let step = step.or_else(|| {
                let caller = by_frame_pointer(&registers, memory)?;
                // The register may hold anything.
                process.find(caller.ip().wrapping_sub(1))?;
                Some(Step::Caller(caller, false))
            });
            match step {
                Some(Step::Caller(caller, is_interrupted))
                    if caller.ip() != 0 && caller != registers =>
                {
                    registers = caller;
                    is_behind_call = !is_interrupted;
                }
                _ => return,
            }
        }
    }

    /// By what a file says of an address in its own terms.
    fn step(
        &mut self,
        image: &Image,
        address: u64,
        registers: &Registers,
        memory: &impl Memory,
    ) -> Option<Step> {
        let (header, frames) = image.eh_frame.as_ref()?;
        let bases = BaseAddresses::default()
            .set_eh_frame_hdr(header.address)
            .set_eh_frame(frames.address);
        let header = EhFrameHdr::new(&header.bytes, LittleEndian);
        let header = header.parse(&bases, 8).ok()?;
        let mut section = EhFrame::new(&frames.bytes, LittleEndian);
        section.set_address_size(8);
        // What the table says may lie before what it is of: `fde_for_address` would subtract all the same.
        let found = header.table()?.lookup(address, &bases).ok()?;
        let start = header.eh_frame_ptr().direct().ok()?;
        let offset = found.direct().ok()?.checked_sub(start)?;
        let offset = EhFrameOffset(usize::try_from(offset).ok()?);
        let fde = section.fde_from_offset(&bases, offset, EhFrame::cie_from_offset);
        let longest = |fde: &gimli::FrameDescriptionEntry<Slice<'_>>| {
            fde.entry_len().max(fde.cie().entry_len())
        };
        // No function has so many rules: they would be somebody's who wants us to be busy.
        let fde = fde
            .ok()
            .filter(|fde| fde.contains(address) && longest(fde) <= RULES_MAX)?;
        let context = self.0.get_or_insert_default();
        let row = fde.unwind_info_for_address(&section, &bases, context, address);
        let row = row.ok()?;
        let frame = Frame {
            section,
            encoding: fde.cie().encoding(),
            registers,
            memory,
        };
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                registers.get(*register)?.wrapping_add_signed(*offset)
            }
            CfaRule::Expression(expression) => frame.value_of(expression, None)?,
        };
        let mut caller = *registers;
        caller.0[STACK_POINTER] = cfa;
        let mut has_caller = false;
        for (register, rule) in row.registers() {
            let Some(value) = frame.value(rule, cfa) else {
                continue;
            };
            has_caller |= usize::from(register.0) == RETURN_ADDRESS;
            if let Some(place) = caller.0.get_mut(usize::from(register.0)) {
                *place = value;
            }
        }
        Some(match has_caller {
            true => Step::Caller(caller, fde.is_signal_trampoline()),
            false => Step::End,
        })
    }
}

/// A frame whose caller is looked for.
struct Frame<'a, M> {
    section: EhFrame<Slice<'a>>,
    encoding: Encoding,
    registers: &'a Registers,
    memory: &'a M,
}

impl<M: Memory> Frame<'_, M> {
    /// What a register was in the caller, if that is known and another value.
    fn value(&self, rule: &RegisterRule<usize>, cfa: u64) -> Option<u64> {
        match rule {
            RegisterRule::Offset(offset) => read(self.memory, cfa.wrapping_add_signed(*offset)),
            RegisterRule::ValOffset(offset) => Some(cfa.wrapping_add_signed(*offset)),
            RegisterRule::Register(other) => self.registers.get(*other),
            RegisterRule::Expression(expression) => {
                read(self.memory, self.value_of(expression, Some(cfa))?)
            }
            RegisterRule::ValExpression(expression) => self.value_of(expression, Some(cfa)),
            RegisterRule::Constant(value) => Some(*value),
            _ => None,
        }
    }

    fn value_of(&self, expression: &UnwindExpression<usize>, cfa: Option<u64>) -> Option<u64> {
        let expression: Expression<Slice<'_>> = expression.get(&self.section).ok()?;
        let mut evaluation = expression.evaluation(self.encoding);
        evaluation.set_max_iterations(OPERATIONS_MAX);
        if let Some(cfa) = cfa {
            evaluation.set_initial_value(cfa);
        }
        let mut result = evaluation.evaluate().ok()?;
        loop {
            result = match result {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister { register, .. } => {
                    let value = self.registers.get(register)?;
                    evaluation
                        .resume_with_register(Value::Generic(value))
                        .ok()?
                }
                EvaluationResult::RequiresMemory {
                    address, size: 8, ..
                } => {
                    let value = read(self.memory, address)?;
                    evaluation.resume_with_memory(Value::Generic(value)).ok()?
                }
                _ => return None,
            };
        }
        match evaluation.as_result() {
            [piece] => match piece.location {
                Location::Address { address } => Some(address),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The caller of a function that keeps the frame pointer.
fn by_frame_pointer(registers: &Registers, memory: &impl Memory) -> Option<Registers> {
    let pointer = registers.0[FRAME_POINTER];
    if pointer < registers.0[STACK_POINTER] {
        return None;
    }
    let mut caller = *registers;
    caller.0[FRAME_POINTER] = read(memory, pointer)?;
    caller.0[RETURN_ADDRESS] = read(memory, pointer.checked_add(8)?)?;
    caller.0[STACK_POINTER] = pointer.checked_add(16)?;
    Some(caller)
}

fn read(memory: &impl Memory, address: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    (memory.read(address, &mut bytes) == 8).then(|| u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::Stacks;
    use super::*;
    use crate::ids::HostPid;
    use proptest::prelude::*;
    use std::os::unix::fs::MetadataExt;

    /// Memory whose words are anybody's, by a seed.
    struct Anything(u64);

    impl Memory for Anything {
        fn read(&self, address: u64, to: &mut [u8]) -> usize {
            let mut word = address ^ self.0;
            for byte in &mut *to {
                word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                *byte = word.to_be_bytes()[0];
            }
            // Some of it leads back into our own program.
            if word.is_multiple_of(3) && to.len() == 8 {
                let ours = self.0.wrapping_add(word % 4096);
                to.copy_from_slice(&ours.to_ne_bytes());
            }
            to.len()
        }
    }

    fn here() -> u64 {
        here as *const () as u64
    }

    /// Our own program, of which some bytes of the call frame information are anything.
    fn damaged(changes: &[(usize, u8)], has_header: bool) -> (Image, u64) {
        let path = std::env::current_exe().expect("we run");
        let inode = std::fs::metadata(&path).expect("it is there").ino();
        let mut image = Image::open(&path, inode).expect("a program");
        let (header, frames) = image.eh_frame.as_mut().expect("it has some");
        let address = header.address;
        let bytes = if has_header { header } else { frames };
        let length = bytes.bytes.len();
        for (at, byte) in changes {
            bytes.bytes[at % length.min(1 << 16)] = *byte;
        }
        (image, address)
    }

    #[test]
    fn a_table_may_lie_before_what_it_is_of() {
        let (mut image, address) = damaged(&[], true);
        let (header, _) = image.eh_frame.as_mut().expect("it has some");
        header.bytes[4..8].copy_from_slice(&i32::MAX.to_le_bytes());
        let registers = Registers::from([0; 17]);
        let step = Context::default().step(&image, address, &registers, &Anything(0));
        assert!(step.is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_stack_ends(words in any::<[u64; 16]>(), into in 0u64..4096, seed in any::<u64>()) {
            let ip = here() + into;
            let mut all = [ip; 17];
            all[..16].copy_from_slice(&words);
            for memory in [Anything(seed), Anything(ip)] {
                let own = HostPid(std::process::id());
                let stack = Stacks::default().of(own, Registers::from(all), &memory);
                prop_assert!((1..=FRAMES_MAX).contains(&stack.frames.len()));
                prop_assert_eq!(stack.frames[0].address, ip);
            }
        }

        #[test]
        fn any_frame_information_ends(
            changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..200),
            words in any::<[u64; 17]>(), has_header in any::<bool>(), before in 0u64..1 << 20,
        ) {
            let (image, address) = damaged(&changes, has_header);
            let mut context = Context::default();
            for step in 0..64 {
                // What stands before and behind the table: functions, and nothing.
                let at = address.wrapping_sub(before).wrapping_add(step * 64);
                let _ = context.step(&image, at, &Registers::from(words), &Anything(at));
            }
        }
    }
}
