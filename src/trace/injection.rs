//! `--inject`: a rule by which calls fail, wait or do less, from its text.
//!
//! `CALLS(CONDITION):ACTION:ACTION..`, as `openat(path ~ "*.conf"):error=ENOSPC:when=3`. Names and
//! meanings of the actions are those of strace(1) where it has them.

use super::filter::{Filter, has_class};
use picozone_personality::injection::{Rule, acts};
use picozone_syscalls::{Errno, Kind, ROWS, Row, may_be_native, nr, row};
use std::fmt;
use std::str::FromStr;

/// Longest wait, in nanoseconds.
const WAIT_MAX: u64 = 3600 * 1_000_000_000;

/// A rule, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injection {
    /// As it was given.
    pub text: String,
    /// As guests have it.
    pub rule: Rule,
}

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake(String);

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Mistake {
    fn from(what: String) -> Self {
        Self(what)
    }
}

impl From<&str> for Mistake {
    fn from(what: &str) -> Self {
        Self(what.to_owned())
    }
}

impl Injection {
    /// Which of its calls the kernel answers in some of their forms, so that guests obey the rule only
    /// if their calls are brought to the personality.
    pub fn native(&self) -> impl Iterator<Item = &'static Row> {
        let is_native = |row: &&Row| self.rule.has_call(row.nr) && may_be_native(row.nr);
        ROWS.iter().filter(is_native)
    }
}

impl FromStr for Injection {
    type Err = Mistake;

    fn from_str(text: &str) -> Result<Self, Mistake> {
        let mut rule = Rule {
            first: 1,
            last: u64::MAX,
            step: 1,
            chance: 1 << 32,
            ..Rule::NONE
        };
        let end = text.find(['(', ':']).unwrap_or(text.len());
        let (calls, mut rest) = text.split_at(end);
        for name in calls.split(',') {
            add_calls(&mut rule, name.trim())?;
        }
        if rest.starts_with('(') {
            let end = end_of_condition(rest).ok_or("\")\" is missing behind the condition")?;
            let condition = &rest[1..end];
            let filter: Filter = condition
                .parse()
                .map_err(|mistake| format!("in the condition: {mistake}"))?;
            filter.put_into(&mut rule).map_err(|why| {
                format!("the condition \"{condition}\" cannot be one here: {why}")
            })?;
            rest = rest[end + 1..].trim_start();
        }
        let Some(actions) = rest.strip_prefix(':') else {
            return Err("what is to be done is missing, as in openat:error=ENOSPC".into());
        };
        let mut seen = Vec::new();
        for action in actions.split(':') {
            let (name, value) = action.split_once('=').unwrap_or((action, ""));
            let (name, value) = (name.trim(), value.trim());
            if seen.contains(&name) {
                return Err(format!("{name} is said twice").into());
            }
            seen.push(name);
            put(&mut rule, name, value)?;
        }
        check(&rule, &seen)?;
        Ok(Self {
            text: text.to_owned(),
            rule,
        })
    }
}

/// Where the parenthesis closes that a text begins with.
fn end_of_condition(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_usize, None);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some(_), '\\') => {
                chars.next();
            }
            (Some(end), _) if c == end => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn add_calls(rule: &mut Rule, name: &str) -> Result<(), Mistake> {
    let before = rule.calls;
    for row in &ROWS {
        let is_meant = match name.strip_prefix('%') {
            Some(class) => {
                has_class(class, row).ok_or_else(|| format!("there is no class {name}"))?
            }
            None => row.name == name,
        };
        // What the kernel makes for itself, and the way back from a handler.
        let is_hidden = matches!(row.nr, nr::rt_sigreturn | nr::restart_syscall);
        if is_meant && is_hidden && row.name == name {
            return Err(format!("{name} cannot be injected: no program calls it itself").into());
        }
        if is_meant && !is_hidden {
            rule.add_call(row.nr);
        }
    }
    if name.is_empty() {
        return Err("a rule begins with calls, as openat or %file".into());
    }
    if rule.calls == before && !ROWS.iter().any(|row| row.name == name) && !name.starts_with('%') {
        return Err(format!("there is no call {name}").into());
    }
    Ok(())
}

fn put(rule: &mut Rule, name: &str, value: &str) -> Result<(), Mistake> {
    let number = || {
        let hexadecimal = value.strip_prefix("0x");
        let number = match hexadecimal {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => value.parse(),
        };
        number.map_err(|_| format!("{name}={value}: a number is missing"))
    };
    match name {
        "error" => {
            let raw = match value.parse() {
                Ok(raw @ 1..4096_u16) => Some(raw),
                Ok(_) => None,
                Err(_) => (1..4096).find(|&raw| Errno::from_raw(raw).name() == Some(value)),
            };
            let raw = raw.ok_or_else(|| format!("there is no errno {value}"))?;
            rule.acts |= acts::RESULT;
            rule.result = -i64::from(raw);
        }
        "retval" => {
            rule.acts |= acts::RESULT;
            rule.result = i64::try_from(number()?)
                .map_err(|_| format!("retval={value}: that would be an error, see error="))?;
        }
        "delay_enter" => rule.before_ns = duration(name, value)?,
        "delay_exit" => rule.after_ns = duration(name, value)?,
        "signal" => {
            rule.acts |= acts::SIGNAL;
            rule.signal = signal(value).ok_or_else(|| format!("there is no signal {value}"))?;
        }
        "short" => {
            rule.acts |= acts::SHORT;
            rule.short = number()?;
        }
        "when" => (rule.first, rule.last, rule.step) = when(value)?,
        "chance" => rule.chance = chance(value)?,
        "seed" => rule.seed = number()?,
        _ => {
            return Err(format!(
                "there is no {name}=, only error, retval, delay_enter, delay_exit, signal, short, \
                 when, chance and seed"
            )
            .into());
        }
    }
    Ok(())
}

/// `FIRST`, `FIRST+`, `FIRST+STEP`, `FIRST..LAST`, `FIRST..LAST+STEP`: first and last call, and a step.
fn when(value: &str) -> Result<(u64, u64, u64), Mistake> {
    let wrong = || format!("when={value}: it is FIRST[..LAST][+[STEP]], counted from 1");
    let number = |text: &str| text.parse().ok().filter(|&number: &u64| number != 0);
    let (range, step) = match value.split_once('+') {
        Some((range, "")) => (range, 1),
        Some((range, step)) => (range, number(step).ok_or_else(wrong)?),
        None if value.contains("..") => (value, 1),
        None => (value, 0),
    };
    let (first, last) = match range.split_once("..") {
        Some((first, last)) => (first, number(last).ok_or_else(wrong)?),
        None => (range, u64::MAX),
    };
    let first = number(first).ok_or_else(wrong)?;
    Ok((first, last, step))
}

/// `25%`, or `0.25`: of 2^32.
fn chance(value: &str) -> Result<u64, Mistake> {
    let wrong = || format!("chance={value}: it is a percentage (25%) or a number up to 1 (0.25)");
    let (digits, of) = match value.strip_suffix('%') {
        Some(digits) => (digits, 100.0),
        None => (value, 1.0),
    };
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    if !(0.0..=of).contains(&number) {
        return Err(wrong().into());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it lies between 0 and 2^32"
    )]
    let chance = (number / of * 4_294_967_296.0) as u64;
    Ok(chance)
}

/// In nanoseconds; without a unit, in microseconds as strace(1) has it.
fn duration(name: &str, value: &str) -> Result<u64, Mistake> {
    let wrong = || format!("{name}={value}: it is a time up to an hour, as 10ms (ns, us, ms, s)");
    let end = value.find(|c: char| !c.is_ascii_digit());
    let (digits, unit) = value.split_at(end.unwrap_or(value.len()));
    let factor = match unit {
        "ns" => 1,
        "us" | "" => 1000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return Err(wrong().into()),
    };
    let number: Option<u64> = digits.parse().ok();
    let all = number.and_then(|number| number.checked_mul(factor));
    Ok(all.filter(|&all| all <= WAIT_MAX).ok_or_else(wrong)?)
}

/// By name, with or without `SIG`, or by number.
fn signal(value: &str) -> Option<u64> {
    if let Ok(number) = value.parse() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = format!("SIG{}", value.strip_prefix("SIG").unwrap_or(value));
    let signal: nix::sys::signal::Signal = name.parse().ok()?;
    u64::try_from(signal as i32).ok()
}

/// What cannot be done together, or to such calls.
fn check(rule: &Rule, seen: &[&str]) -> Result<(), Mistake> {
    let has = |name: &str| seen.contains(&name);
    if has("error") && has("retval") {
        return Err("error= and retval= are both the result".into());
    }
    if has("short") && rule.acts & acts::RESULT != 0 {
        return Err(
            "a call that is not made cannot be shorter: short= with error= or retval=".into(),
        );
    }
    if rule.acts == 0 && rule.before_ns == 0 && rule.after_ns == 0 {
        return Err(
            "what is to be done is missing: error, retval, delay_enter, delay_exit, signal or short"
                .into(),
        );
    }
    for row in (0..512).filter(|&nr| rule.has_call(nr)).filter_map(row) {
        if rule.acts & acts::RESULT != 0 && matches!(row.nr, nr::exit | nr::exit_group) {
            return Err(format!("{} has no result: it cannot fail", row.name).into());
        }
        let has_buffer =
            |arg: &picozone_syscalls::Arg| matches!(arg.kind, Kind::Buf | Kind::BufOut);
        let buffer = row.args.iter().position(has_buffer);
        let length = buffer.and_then(|at| row.args.get(at + 1));
        if has("short") && length.is_none_or(|length| length.kind != Kind::Size) {
            return Err(format!("{} has no buffer that could be shorter", row.name).into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        let injection: Result<Injection, _> = text.parse();
        injection
            .unwrap_or_else(|mistake| panic!("{text}: {mistake}"))
            .rule
    }

    #[test]
    fn rules() {
        let one = rule("openat(path~\"*.conf\"):error=ENOSPC:when=3");
        assert!(one.has_call(nr::openat) && !one.has_call(nr::open));
        assert_eq!((one.acts, one.result), (acts::RESULT, -28));
        assert_eq!((one.first, one.last, one.step), (3, u64::MAX, 0));
        // Of the path itself, and of its last component.
        assert!(one.steps[2] != 0 && one.steps[3] == 0);
        let two = rule("read,write : delay_enter=10ms : delay_exit=5 : signal=USR1 : short=7");
        assert!(two.has_call(nr::read) && two.has_call(nr::write));
        assert_eq!((two.before_ns, two.after_ns), (10_000_000, 5000));
        assert_eq!((two.signal, two.short), (10, 7));
        assert_eq!((two.first, two.last, two.step), (1, u64::MAX, 1));
        let three = rule("%net:retval=0x10:chance=25%:seed=9:when=2..8+3");
        assert!(three.has_call(nr::connect) && !three.has_call(nr::openat));
        assert_eq!((three.chance, three.seed, three.result), (1 << 30, 9, 16));
        assert_eq!((three.first, three.last, three.step), (2, 8, 3));
        assert_eq!(rule("fsync:error=5:when=2+").step, 1);
        assert_eq!(rule("fsync:error=5:when=2..4").step, 1);
        assert_eq!(rule("fsync:signal=34").signal, 34);
        let quoted = "openat(path = \"a)b\\\"(\" and (pid = 1 or pid = 2)):error=EIO";
        assert!(rule(quoted).has_call(nr::openat));
        let injection: Injection = "openat,read:error=EIO".parse().expect("a rule");
        let native: Vec<_> = injection.native().map(|row| row.name).collect();
        assert_eq!(native, ["read"]);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, part) in [
            ("", "begins with calls"),
            ("opennat:error=EIO", "no call opennat"),
            ("%nett:error=EIO", "no class %nett"),
            ("openat", "what is to be done"),
            ("openat:", "there is no =,"),
            ("openat:when=3", "what is to be done"),
            ("openat:error=ENOSPACE", "no errno ENOSPACE"),
            ("openat:error=0", "no errno 0"),
            ("openat:error=5:error=6", "twice"),
            ("openat:error=5:retval=6", "both the result"),
            ("openat(path ~ x:error=5", "\")\" is missing"),
            ("openat(paht = x):error=5", "no field paht"),
            ("openat(failed):error=5", "before a call is made"),
            ("openat:error=5:when=0", "counted from 1"),
            ("openat:error=5:when=x", "counted from 1"),
            ("openat:error=5:chance=120%", "percentage"),
            ("openat:delay_enter=2h", "a time"),
            ("openat:delay_enter=99999s", "a time"),
            ("openat:signal=SIGWRONG", "no signal"),
            ("openat:signal=65", "no signal"),
            ("openat:short=5", "no buffer"),
            ("read:short=5:error=5", "cannot be shorter"),
            ("exit_group:error=5", "cannot fail"),
            ("rt_sigreturn:error=5", "no program calls it"),
            ("openat:retval=-5", "a number is missing"),
        ] {
            let mistake = text.parse::<Injection>().expect_err(text).to_string();
            assert!(mistake.contains(part), "{text}: {mistake}");
        }
    }
}
