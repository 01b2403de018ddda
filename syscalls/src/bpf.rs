//! Words of seccomp programs: instructions of classic BPF, and what a filter returns.

/// `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if the condition holds.
    pub jt: u8,
    /// Instructions to skip if not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

impl Insn {
    /// One instruction.
    #[must_use]
    pub const fn new(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
        Insn { code, jt, jf, k }
    }
}

/// Where a program finds what it judges (`struct seccomp_data`), as operands of [`LOAD`].
pub mod data {
    /// The call's number.
    pub const NUMBER: u32 = 0;
    /// Its architecture.
    pub const ARCH: u32 = 4;
    /// The low half of the instruction pointer; the high one follows.
    pub const POINTER: u32 = 8;
    /// The low half of the first argument, eight bytes before that of the second.
    pub const ARGS: u32 = 16;
}

/// BPF_LD | BPF_W | BPF_ABS.
pub const LOAD: u16 = 0x20;
/// BPF_JMP | BPF_JA.
pub const JUMP: u16 = 0x05;
/// BPF_JMP | BPF_JEQ | BPF_K.
pub const JEQ: u16 = 0x15;
/// BPF_JMP | BPF_JGE | BPF_K.
pub const JGE: u16 = 0x35;
/// BPF_JMP | BPF_JSET | BPF_K.
pub const JSET: u16 = 0x45;
/// BPF_ALU | BPF_AND | BPF_K.
pub const AND: u16 = 0x54;
/// BPF_RET | BPF_K.
pub const RETURN: u16 = 0x06;

/// SECCOMP_RET_ALLOW.
pub const ALLOW: u32 = 0x7fff_0000;
/// SECCOMP_RET_TRAP.
pub const TRAP: u32 = 0x0003_0000;
/// What comes with [`TRAP`] here (`si_errno`): of several filters that trap a call, the last one's word
/// is told, so that what comes without this was trapped by a guest's own filter.
pub const OURS: u32 = 0x5a0f;
/// The errno of a call that is made only to be judged: no filter of the guest's has forbidden it.
pub const JUDGED: u32 = 4094;
/// SECCOMP_RET_ERRNO.
pub const ERRNO: u32 = 0x0005_0000;
/// SECCOMP_RET_USER_NOTIF.
pub const NOTIFY: u32 = 0x7fc0_0000;
/// SECCOMP_RET_KILL_PROCESS.
pub const KILL: u32 = 0x8000_0000;
/// SECCOMP_RET_TRACE.
pub const TRACE: u32 = 0x7ff0_0000;
