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

/// A word of a structure that a guest gave; 0 beyond its end.
pub(super) fn word_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
    word.map_or(0, u64::from_ne_bytes)
}
