//! From words to a condition.

use super::glob::Glob;
use super::token::{Token, Word, tokens};
use super::{CLASSES, Expression, Number, Order, Text};
use picozone_syscalls::{Errno, ROWS};

/// Where something is wrong, and what.
type Wrong = (usize, String);

/// How deep parentheses and `not` may be nested.
const DEPTH_MAX: usize = 100;

const FIELDS: &str = "call, comm, path, pid, tid, errno, result, latency, failed or a class";

/// The condition that a text says.
pub(super) fn parse(text: &str) -> Result<Expression, Wrong> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        depth: 0,
    };
    let expression = parser.or()?;
    match parser.next() {
        Token {
            word: Word::End, ..
        } => Ok(expression),
        token => Err((token.column, "\"and\" or \"or\" is missing".into())),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Word {
        self.tokens
            .get(self.at)
            .map_or(&Word::End, |token| &token.word)
    }

    /// Takes a word; the end again and again.
    fn next(&mut self) -> Token {
        let last = self.tokens.len().saturating_sub(1);
        let token = self.tokens.get(self.at.min(last)).cloned();
        self.at += 1;
        token.unwrap_or(Token {
            column: 0,
            word: Word::End,
        })
    }

    fn is_word(&mut self, word: &str) -> bool {
        let is = matches!(self.peek(), Word::Name(name) if name == word);
        self.at += usize::from(is);
        is
    }

    fn or(&mut self) -> Result<Expression, Wrong> {
        let mut left = self.and()?;
        while self.is_word("or") {
            left = Expression::Or(left.into(), self.and()?.into());
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expression, Wrong> {
        let mut left = self.not()?;
        while self.is_word("and") {
            left = Expression::And(left.into(), self.not()?.into());
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expression, Wrong> {
        let token = self.next();
        let is_nested = |word: &Word| match word {
            Word::Name(name) => name == "not",
            Word::Sign(sign) => *sign == "(",
            _ => false,
        };
        if !is_nested(&token.word) {
            return self.condition(token);
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err((token.column, "it is nested too deep".into()));
        }
        let inside = if token.word == Word::Sign("(") {
            let inside = self.or()?;
            let end = self.next();
            if end.word != Word::Sign(")") {
                return Err((end.column, "\")\" is missing".into()));
            }
            inside
        } else {
            Expression::Not(self.not()?.into())
        };
        self.depth -= 1;
        Ok(inside)
    }

    fn condition(&mut self, token: Token) -> Result<Expression, Wrong> {
        let wrong = |what: String| Err((token.column, what));
        let name = match token.word {
            Word::Class(name) => {
                let found = CLASSES.iter().find(|(known, _)| *known == name);
                return match found {
                    Some((_, class)) => Ok(Expression::Class(*class)),
                    None => {
                        let all = CLASSES.map(|(known, _)| format!("%{known}")).join(", ");
                        wrong(format!("there is no class %{name}, only {all}"))
                    }
                };
            }
            Word::Name(name) => name,
            Word::End => return wrong(format!("a condition is missing: {FIELDS}")),
            _ => return wrong(format!("here a condition begins: {FIELDS}")),
        };
        match name.as_str() {
            "failed" => Ok(Expression::Failed),
            "pid" => self.number(Number::Pid),
            "tid" => self.number(Number::Tid),
            "result" => self.number(Number::Result),
            "latency" => self.number(Number::Latency),
            "comm" => self.text(Text::Comm),
            "call" => self.text(Text::Call),
            "path" => self.text(Text::Path),
            "errno" => self.errno(),
            _ if is_call(&name) => wrong(format!("{name} is a call: call = {name}")),
            _ => wrong(format!("there is no field {name}, only {FIELDS}")),
        }
    }

    fn number(&mut self, field: Number) -> Result<Expression, Wrong> {
        let sign = self.next();
        let order = match sign.word {
            Word::Sign("=") => Order::Equal,
            Word::Sign("!=") => Order::Unequal,
            Word::Sign("<") => Order::Less,
            Word::Sign("<=") => Order::AtMost,
            Word::Sign(">") => Order::More,
            Word::Sign(">=") => Order::AtLeast,
            _ => return Err((sign.column, "=, !=, <, <=, > or >= is missing".into())),
        };
        let value = self.next();
        let Word::Number(number, unit) = value.word else {
            return Err((value.column, "a number is missing".into()));
        };
        let factor = match (field, unit.as_str()) {
            (Number::Latency, "ns") => 1,
            (Number::Latency, "us") => 1000,
            (Number::Latency, "ms") => 1_000_000,
            (Number::Latency, "s") => 1_000_000_000,
            (Number::Latency, _) => {
                return Err((value.column, "a unit is missing: ns, us, ms or s".into()));
            }
            (_, "") => 1,
            _ => return Err((value.column, "this number has no unit".into())),
        };
        let number = number
            .checked_mul(factor)
            .ok_or((value.column, "the number is too large".to_owned()))?;
        Ok(Expression::Number(field, order, number))
    }

    fn text(&mut self, field: Text) -> Result<Expression, Wrong> {
        let sign = self.next();
        let (is_glob, is) = match sign.word {
            Word::Sign("=") => (false, true),
            Word::Sign("!=") => (false, false),
            Word::Sign("~") => (true, true),
            Word::Sign("!~") => (true, false),
            _ => return Err((sign.column, "=, !=, ~ or !~ is missing".into())),
        };
        let value = self.next();
        let text = match value.word {
            Word::Text(text) | Word::Name(text) => text,
            _ => return Err((value.column, "a text is missing".into())),
        };
        if field == Text::Call && !is_glob && !is_call(&text) {
            return Err((value.column, format!("there is no call {text}")));
        }
        let of = |pattern: &str| {
            let glob = if is_glob {
                Glob::new(pattern)
            } else {
                Glob::exact(pattern)
            };
            Expression::Text(field, glob)
        };
        // A pattern of a path without a slash is one of its last component.
        let found = if is_glob && field == Text::Path && !text.contains('/') {
            Expression::Or(of(&text).into(), of(&format!("**/{text}")).into())
        } else {
            of(&text)
        };
        Ok(if is {
            found
        } else {
            Expression::Not(found.into())
        })
    }

    fn errno(&mut self) -> Result<Expression, Wrong> {
        let sign = self.next();
        let is = match sign.word {
            Word::Sign("=") => true,
            Word::Sign("!=") => false,
            _ => return Err((sign.column, "= or != is missing".into())),
        };
        let value = self.next();
        let raw = match &value.word {
            Word::Number(number, unit) if unit.is_empty() => u16::try_from(*number).ok(),
            Word::Name(name) => (1..4096).find(|&raw| Errno::from_raw(raw).name() == Some(name)),
            _ => None,
        };
        match raw {
            Some(raw) => Ok(Expression::Errno(raw, is)),
            None => Err((value.column, "an errno is missing, as ENOENT".into())),
        }
    }
}

fn is_call(name: &str) -> bool {
    ROWS.iter().any(|row| row.name == name)
}
