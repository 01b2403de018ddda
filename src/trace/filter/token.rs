//! The words of a filter.

/// A word, and where it begins, in characters.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) column: usize,
    pub(super) word: Word,
    /// As it was written.
    pub(super) text: String,
}

impl Token {
    /// What stands behind all words.
    pub(super) fn end(column: usize) -> Self {
        Self {
            column,
            word: Word::End,
            text: String::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word {
    /// Letters, digits and what paths and patterns have: a field, a word of the language, or a text without
    /// quotes.
    Name(String),
    /// `%NAME`.
    Class(String),
    /// In quotes.
    Text(String),
    /// With its unit, if it has one.
    Number(i64, String),
    /// `=`, `!=`, `<`, `<=`, `>`, `>=`, `~`, `!~`, `(`, `)`.
    Sign(&'static str),
    End,
}

/// Longest first, where one begins with another.
const SIGNS: [&str; 11] = ["==", "!=", "<=", ">=", "!~", "=", "<", ">", "~", "(", ")"];

/// All words of a text, an [`Word::End`] behind them.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, (usize, String)> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let column = at;
        let while_in = |from: usize, is: fn(char) -> bool| {
            let length = chars[from..].iter().take_while(|c| is(**c)).count();
            (
                chars[from..from + length].iter().collect::<String>(),
                from + length,
            )
        };
        let is_name = |c: char| c.is_alphanumeric() || "_/.*?-:@".contains(c);
        let word = if c.is_whitespace() {
            at += 1;
            continue;
        } else if c == '"' || c == '\'' {
            let mut inside = String::new();
            loop {
                at += 1;
                match chars.get(at) {
                    None => return Err((column, "the quotes are not closed".into())),
                    Some(&end) if end == c => break,
                    Some('\\') => {
                        at += 1;
                        let escaped = chars.get(at);
                        inside.push(*escaped.ok_or((column, "the quotes are not closed".into()))?);
                    }
                    Some(&other) => inside.push(other),
                }
            }
            at += 1;
            Word::Text(inside)
        } else if c == '%' {
            let (name, end) = while_in(at + 1, is_name);
            at = end;
            Word::Class(name)
        } else if c.is_ascii_digit()
            || c == '-' && chars.get(at + 1).is_some_and(char::is_ascii_digit)
        {
            let (digits, end) = while_in(at + usize::from(c == '-'), |c| c.is_ascii_digit());
            let (unit, end) = while_in(end, is_name);
            at = end;
            let number: Option<i64> = digits.parse().ok();
            let number = number.ok_or((column, "the number is too large".to_owned()))?;
            Word::Number(if c == '-' { -number } else { number }, unit)
        } else if is_name(c) {
            let (name, end) = while_in(at, is_name);
            at = end;
            Word::Name(name)
        } else {
            let rest: String = chars[at..].iter().take(2).collect();
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
            let sign = sign.ok_or_else(|| (column, format!("{c:?} means nothing here")))?;
            at += sign.len();
            Word::Sign(if sign == "==" { "=" } else { sign })
        };
        let text = chars[column..at].iter().collect();
        tokens.push(Token { column, word, text });
    }
    tokens.push(Token::end(chars.len()));
    Ok(tokens)
}
