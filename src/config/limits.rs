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
}

impl Limits {
    /// Whether there are none.
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
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
            Some((letter, power)) => (text.trim_end_matches(*letter), *power),
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
