//! Names of zones.

use crate::error::Error;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// Longest name, in bytes.
pub const LENGTH_MAX: usize = 64;

/// The name of a zone: `[a-z0-9][a-z0-9_.-]{0,63}`, so that it can be a directory and a host name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name that no zone has by intention, for a one-shot zone.
    #[must_use]
    pub fn generated() -> Self {
        Self(format!("run-{}", &crate::tree::random_hex()[..8]))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<Path> for Name {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_start = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let cause = match text
            .chars()
            .find(|&c| !is_start(c) && !matches!(c, '_' | '.' | '-'))
        {
            Some(c) => format!("{c:?} cannot be part of a name"),
            None if text.is_empty() => "it is empty".to_owned(),
            None if text.len() > LENGTH_MAX => format!("it has {} letters", text.len()),
            None if !text.starts_with(is_start) => "it begins with a sign".to_owned(),
            None => return Ok(Self(text.to_owned())),
        };
        Err(Error::refused(
            "use the zone name",
            format_args!("{text:?}"),
            cause,
            "a name has 1 to 64 of a-z 0-9 _ . - and begins with a letter or digit",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_at_the_edges() {
        for fine in ["a", "0", "web1", "a_b.c-d", &"x".repeat(64)] {
            assert_eq!(fine.parse::<Name>().expect("fine").as_str(), fine);
        }
        for wrong in [
            "",
            ".",
            "..",
            "-a",
            "_a",
            "A",
            "a/b",
            "a b",
            "ä",
            "a\n",
            &"x".repeat(65),
        ] {
            let error = wrong.parse::<Name>().expect_err(wrong);
            assert!(error.remedy().contains("a-z 0-9"));
        }
        assert!(Name::generated().as_str().parse::<Name>().is_ok());
    }

    proptest! {
        #[test]
        fn a_name_is_one_plain_component(text in "\\PC{0,70}") {
            if let Ok(name) = text.parse::<Name>() {
                prop_assert!(!name.as_str().contains('/') && name.as_str() != ".." && name.as_str() != ".");
            }
        }
    }
}
