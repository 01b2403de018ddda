//! Call sites: which instructions become a jump.
//!
//! Three forms. *By number*: the `mov $nr,%eax` ahead of the `syscall` becomes the jump, and what lies
//! between the two is repeated in the stub. All of the original but that first instruction stays in
//! place, so that code which jumps into the middle does what it did. *By neighbours*: the `syscall`
//! itself and the instructions behind it become the jump, if nothing can jump to those; or, *by
//! predecessors*, those ahead of it and itself, which suits a `syscall` that is the end of a short
//! loop. Jumps are looked for in all functions of the file; a function that jumps by a table may jump
//! anywhere in itself.

use super::stub::{Branch, JUMP, Stubs, jump};
use super::{Code, Counts, Patch};
use iced_x86::{
    Code as Op, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory,
    InstructionInfoOptions, OpAccess, Register,
};
use std::ops::Range;

/// How many instructions ahead of a `syscall` its number is looked for.
const REACH: usize = 14;
/// What overwritten bytes that nothing executes are filled with: int3.
const FILL: u8 = 0xcc;

/// A function's instructions, one behind the other without a gap.
struct Function {
    instructions: Vec<Instruction>,
    has_jump_table: bool,
}

/// Looks through `code` and appends to the rest.
pub(super) fn rewrite(
    code: &Code<'_>,
    functions: &[Range<u64>],
    is_wanted: &impl Fn(u32) -> bool,
    stubs: &mut Stubs,
    patches: &mut Vec<Patch>,
    counts: &mut Counts,
) {
    let mut targets: Vec<u64> = functions.iter().map(|range| range.start).collect();
    let mut calling = Vec::new();
    for range in apart(code, functions) {
        let function = decode(code, range, functions, &mut targets);
        calling.extend(function.filter(|f| f.instructions.iter().any(is_syscall)));
    }
    targets.sort_unstable();
    targets.dedup();
    for function in &calling {
        let mut search = Search {
            code,
            function,
            targets: &targets,
            stubs,
            free_from: 0,
        };
        for at in 0..function.instructions.len() {
            if !is_syscall(&function.instructions[at]) {
                continue;
            }
            counts.all += 1;
            let number = number(&function.instructions[..at]);
            if number.is_some_and(|(number, _)| !is_wanted(number)) {
                counts.native += 1;
            } else if let Some(patch) = number.and_then(|(_, from)| search.by_number(from, at)) {
                counts.by_number += 1;
                patches.push(patch);
            } else if let Some(patch) = search
                .by_neighbours(at)
                .or_else(|| search.by_predecessors(at))
            {
                counts.by_neighbours += 1;
                patches.push(patch);
            } else {
                counts.left += 1;
            }
        }
    }
}

/// The functions that lie in `code`; those that overlap (by a second entry, say) become one.
fn apart(code: &Code<'_>, functions: &[Range<u64>]) -> Vec<Range<u64>> {
    let end = code.address + code.bytes.len() as u64;
    let mut apart: Vec<Range<u64>> = Vec::new();
    let within = |range: &&Range<u64>| range.start >= code.address && range.end <= end;
    for range in functions.iter().filter(within) {
        match apart.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => apart.push(range.clone()),
        }
    }
    apart
}

fn is_syscall(instruction: &Instruction) -> bool {
    instruction.code() == Op::Syscall
}

/// Decodes a function and notes where its branches lead. `None` if it is not code up to its end, or
/// if one of `functions` begins or ends within an instruction of it.
fn decode(
    code: &Code<'_>,
    range: Range<u64>,
    functions: &[Range<u64>],
    targets: &mut Vec<u64>,
) -> Option<Function> {
    let from = usize::try_from(range.start - code.address).ok()?;
    let to = usize::try_from(range.end - code.address).ok()?;
    let bytes = code.bytes.get(from..to)?;
    let mut function = Function {
        instructions: Vec::new(),
        has_jump_table: false,
    };
    let decoder = Decoder::with_ip(64, bytes, range.start, DecoderOptions::NONE);
    for instruction in decoder {
        if instruction.is_invalid() {
            return None;
        }
        if instruction.near_branch_target() != 0 {
            targets.push(instruction.near_branch_target());
        }
        function.has_jump_table |= instruction.flow_control() == FlowControl::IndirectBranch;
        function.instructions.push(instruction);
    }
    if functions
        .binary_search_by_key(&range.end, |part| part.start)
        .is_err()
    {
        let behind = behind(code, &function);
        function.instructions.extend(behind);
    }
    let is_between = |address: &u64| {
        *address == range.end
            || function
                .instructions
                .binary_search_by_key(address, Instruction::ip)
                .is_ok()
    };
    let first = functions.partition_point(|part| part.start < range.start);
    functions[first..]
        .iter()
        .take_while(|part| part.start < range.end)
        .all(|part| is_between(&part.start) && is_between(&part.end))
        .then_some(function)
}

/// The `syscall` that a function's last instruction goes on to. libc ends the description of its
/// clone3(2) ahead of that, since in the child it does not hold.
fn behind(code: &Code<'_>, function: &Function) -> Option<Instruction> {
    let last = function.instructions.last()?;
    if !matches!(last.code(), Op::Mov_r32_imm32 | Op::Mov_rm32_imm32) {
        return None;
    }
    let from = usize::try_from(last.next_ip() - code.address).ok()?;
    let bytes = code.bytes.get(from..)?;
    let next = Decoder::with_ip(64, bytes, last.next_ip(), DecoderOptions::NONE).decode();
    is_syscall(&next).then_some(next)
}

/// The number that the last instructions ahead of a `syscall` load, and which of them does.
fn number(before: &[Instruction]) -> Option<(u32, usize)> {
    let mut infos = InstructionInfoFactory::new();
    for (at, instruction) in before.iter().enumerate().rev().take(REACH) {
        match instruction.code() {
            Op::Mov_r32_imm32 | Op::Mov_rm32_imm32
                if instruction.op0_register() == Register::EAX =>
            {
                return Some((instruction.immediate32(), at));
            }
            Op::Mov_rm64_imm32 if instruction.op0_register() == Register::RAX => {
                let number = u32::try_from(instruction.immediate32to64()).ok()?;
                return Some((number, at));
            }
            Op::Xor_r32_rm32 | Op::Xor_rm32_r32
                if instruction.op0_register() == Register::EAX
                    && instruction.op1_register() == Register::EAX =>
            {
                return Some((0, at));
            }
            _ => {}
        }
        let options = InstructionInfoOptions::NO_MEMORY_USAGE;
        let used = infos.info_options(instruction, options).used_registers();
        let sets_number = used.iter().any(|register| {
            register.register().full_register() == Register::RAX
                && !matches!(register.access(), OpAccess::Read | OpAccess::CondRead)
        });
        if sets_number || instruction.flow_control() != FlowControl::Next {
            return None;
        }
    }
    None
}

/// Whether an instruction does the same elsewhere.
fn is_movable(instruction: &Instruction) -> bool {
    instruction.flow_control() == FlowControl::Next && !instruction.is_ip_rel_memory_operand()
}

/// A branch that can be written with a distance of 32 bits.
fn branch(instruction: &Instruction) -> Option<Branch> {
    let condition = if instruction.is_jcc_short_or_near() {
        // `ConditionCode` counts from 1 in the order of the opcodes.
        u8::try_from(instruction.condition_code() as u32)
            .ok()?
            .checked_sub(1)
    } else if instruction.is_jmp_short_or_near() {
        None
    } else {
        return None;
    };
    Some(Branch {
        condition,
        target: instruction.near_branch_target(),
    })
}

struct Search<'a, 'b> {
    code: &'a Code<'a>,
    function: &'a Function,
    targets: &'a [u64],
    stubs: &'b mut Stubs,
    /// Instructions from this one on are untouched.
    free_from: usize,
}

impl Search<'_, '_> {
    fn offset(&self, address: u64) -> Option<usize> {
        usize::try_from(address.checked_sub(self.code.address)?).ok()
    }

    fn bytes(&self, from: u64, to: u64) -> Option<&[u8]> {
        self.code.bytes.get(self.offset(from)?..self.offset(to)?)
    }

    /// The first instruction in a run that became one jump.
    fn patch(&self, address: u64, length: usize, stub: (usize, u64)) -> Option<Patch> {
        let mut bytes = jump(address, stub.1)?.to_vec();
        bytes.resize(length, FILL);
        Some(Patch {
            offset: self.code.offset + self.offset(address)?,
            address,
            bytes,
            stub: stub.0,
        })
    }

    /// Rewrites the instruction `from`, which loads the number for the `syscall` at `at`.
    fn by_number(&mut self, from: usize, at: usize) -> Option<Patch> {
        let instructions = &self.function.instructions;
        let (load, call) = (&instructions[from], &instructions[at]);
        let is_free = from >= self.free_from && load.len() >= JUMP;
        if !is_free || !instructions[from..at].iter().all(is_movable) {
            return None;
        }
        let moved = self.bytes(load.ip(), call.ip())?.to_vec();
        let stub = self.stubs.before(&moved, call.next_ip())?;
        let patch = self.patch(load.ip(), load.len(), stub)?;
        self.free_from = at + 1;
        Some(patch)
    }

    /// Rewrites the `syscall` at `at` and the instructions behind it.
    fn by_neighbours(&mut self, at: usize) -> Option<Patch> {
        let instructions = &self.function.instructions;
        let call = &instructions[at];
        if at < self.free_from || self.function.has_jump_table {
            return None;
        }
        let mut last = at;
        let mut ending = None;
        while instructions[last].next_ip() - call.ip() < JUMP as u64 {
            last += 1;
            let next = instructions.get(last)?;
            if self.targets.binary_search(&next.ip()).is_ok() {
                return None;
            }
            if !is_movable(next) {
                ending = Some(branch(next)?);
                break;
            }
        }
        let end = instructions[last].next_ip();
        if end - call.ip() < JUMP as u64 {
            return None;
        }
        let moved_end = if ending.is_some() {
            instructions[last].ip()
        } else {
            end
        };
        let moved = self.bytes(call.next_ip(), moved_end)?.to_vec();
        let stub = self.stubs.around(&[], &moved, ending, end)?;
        let length = usize::try_from(end - call.ip()).ok()?;
        let patch = self.patch(call.ip(), length, stub)?;
        self.free_from = last + 1;
        Some(patch)
    }

    /// Rewrites the `syscall` at `at` and the instructions ahead of it. Where the first of them is
    /// jumped to, that leads to the jump.
    fn by_predecessors(&mut self, at: usize) -> Option<Patch> {
        let instructions = &self.function.instructions;
        let end = instructions[at].next_ip();
        if self.function.has_jump_table {
            return None;
        }
        let mut first = at;
        while end - instructions[first].ip() < JUMP as u64 {
            let is_target = self
                .targets
                .binary_search(&instructions[first].ip())
                .is_ok();
            let before = first.checked_sub(1)?;
            if is_target || before < self.free_from || !is_movable(&instructions[before]) {
                return None;
            }
            first = before;
        }
        let start = instructions[first].ip();
        let moved = self.bytes(start, instructions[at].ip())?.to_vec();
        let stub = self.stubs.around(&moved, &[], None, end)?;
        let patch = self.patch(start, usize::try_from(end - start).ok()?, stub)?;
        self.free_from = at + 1;
        Some(patch)
    }
}
