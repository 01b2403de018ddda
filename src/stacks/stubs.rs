//! Stubs of rewritten call sites (`src/rewrite/stub.rs`), of which no call frame information tells.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl};

/// Longest piece of a stub from where its call returns to.
pub(super) const LENGTH: usize = 64;

/// Where a stub leads back to, by its bytes from an address on: the last of its jumps, behind the
/// instructions that were moved there and perhaps a branch.
pub(super) fn site(bytes: &[u8], address: u64) -> Option<u64> {
    let decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
    let mut back = None;
    for instruction in decoder {
        match instruction.flow_control() {
            FlowControl::UnconditionalBranch if instruction.code() == Code::Jmp_rel32_64 => {
                // A branch that is always taken stands before the way back.
                if back.replace(instruction.near_branch_target()).is_some() {
                    break;
                }
            }
            FlowControl::Next | FlowControl::ConditionalBranch if back.is_none() => {}
            // The room behind the stub, or what is none.
            _ => break,
        }
    }
    back
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stubs_lead_back() {
        // cmp rax, -4095; jae +0x10; jmp back.
        let mut stub = vec![0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff];
        stub.extend([0x0f, 0x83, 0x10, 0, 0, 0]);
        stub.extend([0xe9, 0x00, 0xff, 0xff, 0xff]);
        let end = 0x1_0000 + stub.len() as u64;
        stub.extend([0xcc; 8]);
        assert_eq!(site(&stub, 0x1_0000), Some(end - 0x100));
        // jmp elsewhere; jmp back.
        let mut stub = vec![0xe9, 0, 1, 0, 0, 0xe9, 0xf6, 0xfe, 0xff, 0xff];
        assert_eq!(site(&stub, 0x1_0000), Some(0x1_0000 - 0x100));
        stub.truncate(3);
        assert_eq!(site(&stub, 0x1_0000), None);
        assert_eq!(site(&[0xcc], 0x1_0000), None);
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..LENGTH)) {
            let _ = site(&bytes, u64::MAX - 3);
        }
    }
}
