//! Patterns of names: `?` is one character and `*` any number of them, both of one component; `**` goes
//! over components too.

use picozone_personality::injection::piece;

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(Vec<Piece>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Byte(u8),
    /// `?`
    One,
    /// `?` where there are no components
    Any,
    /// `*`
    Some,
    /// `**`
    All,
}

impl Glob {
    /// A pattern of this text.
    pub(super) fn new(text: &str) -> Self {
        let mut pieces = Vec::new();
        for byte in text.bytes() {
            match (byte, pieces.last()) {
                (b'*', Some(Piece::Some | Piece::All)) => {
                    pieces.pop();
                    pieces.push(Piece::All);
                }
                (b'*', _) => pieces.push(Piece::Some),
                (b'?', _) => pieces.push(Piece::One),
                (byte, _) => pieces.push(Piece::Byte(byte)),
            }
        }
        Self(pieces)
    }

    /// A pattern of what has no components: `*` and `?` stand for anything.
    pub(super) fn of_any(text: &str) -> Self {
        let of_any = |piece| match piece {
            Piece::One => Piece::Any,
            Piece::Some => Piece::All,
            other => other,
        };
        Self(Self::new(text).0.into_iter().map(of_any).collect())
    }

    /// What has this text in it.
    pub(super) fn part(text: &str) -> Self {
        let inside = text.bytes().map(Piece::Byte);
        let all = || std::iter::once(Piece::All);
        Self(all().chain(inside).chain(all()).collect())
    }

    /// The text itself, whatever stands in it.
    pub(super) fn exact(text: &str) -> Self {
        Self(text.bytes().map(Piece::Byte).collect())
    }

    /// The pattern as [`piece`]s.
    pub(super) fn pieces(&self) -> impl Iterator<Item = u16> {
        self.0.iter().map(|piece| match piece {
            Piece::Byte(byte) => u16::from(*byte),
            // Of what has components, and what has none before a call is made, this is the same.
            Piece::One | Piece::Any => piece::ONE,
            Piece::Some => piece::SOME,
            Piece::All => piece::ALL,
        })
    }

    /// Whether all of a text is so.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        // Which beginnings of the pattern match what was seen: no way takes longer than both lengths
        // multiplied.
        let mut now = vec![false; self.0.len() + 1];
        now[0] = true;
        self.skip(&mut now);
        for &byte in text {
            let mut next = vec![false; self.0.len() + 1];
            for (at, piece) in self.0.iter().enumerate().filter(|(at, _)| now[*at]) {
                match piece {
                    Piece::Byte(wanted) => next[at + 1] |= *wanted == byte,
                    Piece::One => next[at + 1] |= byte != b'/',
                    Piece::Any => next[at + 1] = true,
                    Piece::Some => next[at] |= byte != b'/',
                    Piece::All => next[at] = true,
                }
            }
            self.skip(&mut next);
            now = next;
        }
        now[self.0.len()]
    }

    /// `*` may stand for nothing.
    fn skip(&self, now: &mut [bool]) {
        for (at, piece) in self.0.iter().enumerate() {
            if now[at] && matches!(piece, Piece::Some | Piece::All) {
                now[at + 1] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn stars_and_components() {
        for (pattern, text, is) in [
            ("/etc/**", "/etc/apache2/ports.conf", true),
            ("/etc/**", "/etc", false),
            ("/etc/*", "/etc/passwd", true),
            ("/etc/*", "/etc/apache2/ports.conf", false),
            ("**/*.conf", "/etc/apache2/ports.conf", true),
            ("*.conf", "ports.conf", true),
            ("?", "/", false),
            ("a?c", "abc", true),
            ("", "", true),
            ("", "a", false),
            ("**", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
        ] {
            assert_eq!(
                Glob::new(pattern).matches(text.as_bytes()),
                is,
                "{pattern} {text}"
            );
        }
        assert!(Glob::exact("a*").matches(b"a*") && !Glob::exact("a*").matches(b"ab"));
        for (pattern, text, is) in [
            ("a*c", "a/b/c", true),
            ("a?c", "a/c", true),
            ("a?c", "a", false),
        ] {
            assert_eq!(
                Glob::of_any(pattern).matches(text.as_bytes()),
                is,
                "{pattern} {text}"
            );
        }
        assert!(Glob::part("*").matches(b"a*b") && !Glob::part("*").matches(b"ab"));
        assert!(Glob::part("").matches(b"") && Glob::part("b").matches(b"a/b/c"));
        // No pattern takes for ever.
        let long = [b'a'; 4096];
        assert!(!Glob::new(&"*a".repeat(200)).matches(&[&long[..], b"b"].concat()));
    }
}
