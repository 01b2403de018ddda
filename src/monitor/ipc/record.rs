//! The kernel's structures as bytes.

/// A structure that is being written, field by field.
#[derive(Default)]
pub(super) struct Record(Vec<u8>);

impl Record {
    pub(super) fn u32s<const N: usize>(mut self, words: [u32; N]) -> Record {
        self.0
            .extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        self
    }
    pub(super) fn i64s<const N: usize>(self, words: [i64; N]) -> Record {
        self.u64s(words.map(i64::cast_unsigned))
    }
    pub(super) fn u64s<const N: usize>(mut self, words: [u64; N]) -> Record {
        self.0
            .extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        self
    }
    pub(super) fn bytes(self) -> Vec<u8> {
        self.0
    }
}
