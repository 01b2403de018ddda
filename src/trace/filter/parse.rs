//! From words to a condition.

use super::class::CLASSES;
use super::glob::Glob;
use super::network::Network;
use super::token::{Token, Word, tokens};
use super::{Expression, Number, Order, Text};
use picozone_syscalls::{Errno, ROWS};

/// Where something is wrong, and what.
type Wrong = (usize, String);

/// How deep parentheses and `not` may be nested.
const DEPTH_MAX: usize = 100;

const FIELDS: &str = "zone, pid, tid, comm, call, path, fd, address, port, arg, text, errno, result, \
                      latency, failed or a class";

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

/// How a text is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Exact,
    Pattern,
    Part,
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
        token.unwrap_or_else(|| Token::end(0))
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
            "port" => self.number(Number::Port),
            "zone" => self.text(Text::Zone),
            "comm" => self.text(Text::Comm),
            "call" => self.text(Text::Call),
            "path" => self.text(Text::Path),
            "address" => self.text(Text::Address),
            "arg" => self.text(Text::Argument(None)),
            "text" => self.text(Text::Line),
            "fd" => self.descriptor(),
            "errno" => self.errno(),
            _ if name.starts_with("arg.") => {
                let wanted = name.trim_start_matches("arg.");
                let mut all = ROWS.iter().flat_map(|row| row.args);
                if !all.any(|arg| arg.name == wanted) {
                    return wrong(format!("no call has an argument {wanted}"));
                }
                self.text(Text::Argument(Some(wanted.to_owned())))
            }
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
        // Of several descriptors or ports none is to be that one.
        Ok(match (field, order) {
            (Number::Fd | Number::Port, Order::Unequal) => {
                Expression::Not(Expression::Number(field, Order::Equal, number).into())
            }
            _ => Expression::Number(field, order, number),
        })
    }

    /// A number of a descriptor, or what it stands for.
    fn descriptor(&mut self) -> Result<Expression, Wrong> {
        let value = self.tokens.get(self.at + 1).map(|token| &token.word);
        let is_text = match self.peek() {
            Word::Sign("~" | "!~") => true,
            Word::Name(name) => name == "has",
            Word::Sign("=" | "!=") => match value {
                Some(Word::Text(_) | Word::Name(_)) => true,
                Some(Word::Number(_, unit)) => !unit.is_empty(),
                _ => false,
            },
            _ => false,
        };
        if is_text {
            self.text(Text::Fd)
        } else {
            self.number(Number::Fd)
        }
    }

    fn text(&mut self, field: Text) -> Result<Expression, Wrong> {
        let sign = self.next();
        let (how, is) = match sign.word {
            Word::Sign("=") => (How::Exact, true),
            Word::Sign("!=") => (How::Exact, false),
            Word::Sign("~") => (How::Pattern, true),
            Word::Sign("!~") => (How::Pattern, false),
            Word::Name(name) if name == "has" => (How::Part, true),
            _ => return Err((sign.column, "=, !=, ~, !~ or has is missing".into())),
        };
        let value = self.next();
        let text = match value.word {
            Word::Text(text) | Word::Name(text) => text,
            Word::Number(..) => value.text,
            _ => return Err((value.column, "a text is missing".into())),
        };
        let is_exact = how == How::Exact;
        if field == Text::Call && is_exact && !is_call(&text) {
            return Err((value.column, format!("there is no call {text}")));
        }
        let network = Network::of(&text).filter(|_| field == Text::Address && is_exact);
        let is_of_components = matches!(field, Text::Path | Text::Fd);
        let of = |glob: Glob| Expression::Text(field.clone(), glob);
        let found = match how {
            How::Exact => network.map_or_else(|| of(Glob::exact(&text)), Expression::Network),
            How::Part => of(Glob::part(&text)),
            // A pattern of a path without a slash is one of its last component.
            How::Pattern if is_of_components && !text.contains('/') => {
                let last = of(Glob::new(&format!("**/{text}")));
                Expression::Or(of(Glob::new(&text)).into(), last.into())
            }
            How::Pattern if is_of_components || field == Text::Comm => of(Glob::new(&text)),
            How::Pattern => of(Glob::of_any(&text)),
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
