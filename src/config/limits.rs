//! What a zone may use up: `[limits]` in `zone.toml`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What is configured of a zone's limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// What the file systems of its files hold at most. The zone boots only where that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Size>,
    /// Descriptors that programs start with; they may raise it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptors: Option<u64>,
    /// How long a file can be made by writing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_size: Option<Size>,
    /// How many processes there can be at a time beside init: the zone's programs make no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    /// How much memory of its own each process can have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
}

/// The least that programs and the zone's init can start with; init has a descriptor right below that.
const LEAST: [u64; 3] = [1024, 4096, 4 << 20];
/// The fewest processes by which a zone can be of use.
const FEWEST: u32 = 8;

impl Limits {
    /// Whether there are none.
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Those of each process, by the names of their keys.
    #[must_use]
    pub fn of_processes(&self) -> [(&'static str, Option<u64>); 3] {
        let bytes = |size: Option<Size>| size.map(|size| size.0);
        [
            ("descriptors", self.descriptors),
            ("file_size", bytes(self.file_size)),
            ("memory", bytes(self.memory)),
        ]
    }

    /// Says what is wrong with them, if anything is.
    ///
    /// # Errors
    /// A sentence that names the limit.
    pub(super) fn check(&self) -> Result<(), String> {
        for ((name, limit), least) in self.of_processes().into_iter().zip(LEAST) {
            if limit.is_some_and(|limit| limit < least || i64::try_from(limit).is_err()) {
                return Err(format!("limits.{name} is below {least}, or too large"));
            }
        }
        if self.processes.is_some_and(|most| most < FEWEST) {
            return Err(format!("limits.processes is below {FEWEST}"));
        }
        Ok(())
    }
}

/// A number of bytes, as 512M, 10G or 1T.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub u64);

/// Letters, and the powers of two that they stand for.
const UNITS: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit = UNITS.iter().find(|(letter, _)| text.ends_with(*letter));
        let (number, power) = match unit {
            Some((letter, power)) => (text.strip_suffix(*letter).unwrap_or(text), *power),
            None => (text, 0),
        };
        let number: u64 = number
            .parse()
            .map_err(|_| format!("{text:?} is not a size, as 512M, 10G or 1T"))?;
        let bytes = number.checked_mul(1 << power);
        Ok(Self(bytes.ok_or_else(|| format!("{text} is too much"))?))
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_whole = |power: u32| self.0 != 0 && self.0.trailing_zeros() >= power;
        match UNITS.iter().find(|(_, power)| is_whole(*power)) {
            Some((letter, power)) => write!(to, "{}{letter}", self.0 >> power),
            None => write!(to, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_below_what_starts() {
        let of = |descriptors: u64| Limits {
            descriptors: Some(descriptors),
            ..Limits::default()
        };
        assert!(Limits::default().check().is_ok() && of(1024).check().is_ok());
        for wrong in [of(0), of(1023), of(u64::MAX)] {
            let said = wrong.check().expect_err("it is wrong");
            assert!(said.starts_with("limits.descriptors"), "{said}");
        }
        let few = Limits {
            processes: Some(7),
            ..Limits::default()
        };
        let said = few.check().expect_err("it is wrong");
        assert_eq!(said, "limits.processes is below 8");
    }

    #[test]
    fn sizes_are_read_and_told() {
        for (text, bytes, told) in [
            ("512M", 512 << 20, "512M"),
            ("10G", 10 << 30, "10G"),
            ("1024G", 1 << 40, "1T"),
            ("1000", 1000, "1000"),
            ("0", 0, "0"),
        ] {
            let size: Size = text.parse().expect(text);
            assert_eq!(
                (size.0, size.to_string()),
                (bytes, told.to_owned()),
                "{text}"
            );
        }
        for text in ["", "G", "ten", "1GG", "-1", "1.5G", "99999999T"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
