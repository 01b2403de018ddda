//! Conditions as a rule of injection has them: what is known before the call is made.

use super::{Expression, Filter, Number, Order, Text};
use picozone_personality::injection::{self, Rule, Step};

/// Puts a condition together.
struct Steps<'r> {
    rule: &'r mut Rule,
    count: usize,
    pieces: usize,
}

impl Filter {
    /// Makes it the condition of a rule.
    ///
    /// # Errors
    /// It asks for something that is not known before the call is made, or is too long: a sentence that
    /// says so.
    pub fn put_into(&self, rule: &mut Rule) -> Result<(), String> {
        let mut steps = Steps {
            rule,
            count: 0,
            pieces: 0,
        };
        steps.put(&self.0)
    }
}

impl Steps<'_> {
    fn put(&mut self, expression: &Expression) -> Result<(), String> {
        match expression {
            Expression::Or(a, b) => {
                self.put(a)?;
                self.put(b)?;
                self.step(Step::Or)
            }
            Expression::And(a, b) => {
                self.put(a)?;
                self.put(b)?;
                self.step(Step::And)
            }
            Expression::Not(not) => {
                self.put(not)?;
                self.step(Step::Not)
            }
            Expression::Number(
                field @ (Number::Pid | Number::Tid | Number::Fd | Number::Port),
                order,
                than,
            ) => {
                let than = u32::try_from(*than).map_err(|_| "nothing has that number")?;
                let order = order_of(*order);
                self.step(match field {
                    Number::Pid => Step::Pid(order, than),
                    Number::Fd => Step::Fd(order, than),
                    Number::Port => Step::Port(order, than),
                    _ => Step::Tid(order, than),
                })
            }
            Expression::Text(field @ (Text::Path | Text::Comm), glob) => {
                let start = self.pieces;
                for piece in glob.pieces() {
                    if !self.rule.put_piece(self.pieces, piece) {
                        return Err("its patterns are too long".into());
                    }
                    self.pieces += 1;
                }
                let byte = |n: usize| u8::try_from(n).map_err(|_| "its patterns are too long");
                let (start, length) = (byte(start)?, byte(self.pieces - start)?);
                self.step(match *field {
                    Text::Path => Step::Path(start, length),
                    _ => Step::Comm(start, length),
                })
            }
            _ => Err("before a call is made only path, comm, pid, tid, and the numbers of fd and port are known".into()),
        }
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        let place = self.rule.steps.get_mut(self.count);
        *place.ok_or("it has too many parts")? = step.word();
        self.count += 1;
        Ok(())
    }
}

fn order_of(order: Order) -> injection::Order {
    use injection::Order as Of;
    Of(match order {
        Order::Equal => Of::EQUAL,
        Order::Unequal => Of::LESS | Of::MORE,
        Order::Less => Of::LESS,
        Order::AtMost => Of::LESS | Of::EQUAL,
        Order::More => Of::MORE,
        Order::AtLeast => Of::MORE | Of::EQUAL,
    })
}

#[cfg(test)]
mod tests {
    use super::super::glob::Glob;
    use super::*;
    use picozone_personality::injection::{Caller, RULES_MAX};
    use proptest::prelude::*;

    struct Names(&'static [&'static str]);

    impl Caller for Names {
        fn any_path(&mut self, is: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            self.0.iter().any(|path| is(path.as_bytes()))
        }
        fn comm(&mut self, is: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            is(b"apache2")
        }
        fn any_fd(&mut self, is: &mut dyn FnMut(u32) -> bool) -> bool {
            is(3)
        }
        fn any_port(&mut self, is: &mut dyn FnMut(u32) -> bool) -> bool {
            is(80)
        }
        fn pid(&self) -> u32 {
            7
        }
        fn tid(&self) -> u32 {
            9
        }
    }

    #[test]
    fn what_is_known_early_is_asked_early() {
        for (text, holds) in [
            ("path ~ \"/etc/**\"", true),
            ("path = /etc/passwd", true),
            ("path !~ \"*\"", false),
            ("path ~ pass*", true),
            ("path !~ **/*.conf", true),
            ("path = /etc/*", false),
            ("comm = apache2 and pid = 7 and tid = 9", true),
            ("comm ~ a* and (pid > 7 or tid < 9)", false),
            ("not (pid >= 8) and tid <= 9 and pid != 8", true),
            ("fd = 3 and port < 1024 and fd != 4", true),
            ("fd != 3 or port != 80", false),
        ] {
            let filter: Filter = text.parse().expect("a filter");
            let mut rule = Rule::NONE;
            filter.put_into(&mut rule).expect("it is known");
            let is = rule.holds(&mut Names(&["a", "/etc/passwd"]));
            assert_eq!(is, holds, "{text}");
        }
        for text in [
            "failed",
            "pid = 7 or latency > 1ms",
            "errno = ENOENT",
            "call = openat",
            "fd ~ \"*\"",
            "address ~ \"*\"",
        ] {
            let filter: Filter = text.parse().expect("a filter");
            let mistake = filter.put_into(&mut Rule::NONE.clone()).expect_err(text);
            assert!(mistake.contains("before a call"), "{mistake}");
        }
        let long = format!("path = \"{}\"", "x".repeat(300));
        let long: Filter = long.parse().expect("a filter");
        assert!(long.put_into(&mut Rule::NONE.clone()).is_err());
        let many = ["pid = 1"; 40].join(" or ");
        let many: Filter = many.parse().expect("a filter");
        assert!(many.put_into(&mut Rule::NONE.clone()).is_err());
        const { assert!(RULES_MAX < 64) };
    }

    proptest! {
        /// A guest asks a pattern as the command line does.
        #[test]
        fn patterns_are_the_same(pattern in "[ab/*?]{0,12}", text in "[ab/]{0,12}") {
            let glob = Glob::new(&pattern);
            let mut rule = Rule::NONE;
            let mut length = 0;
            // Not from the start, to see that it is found where it lies.
            for piece in [u16::from(b'x')].into_iter().chain(glob.pieces()) {
                prop_assert!(rule.put_piece(length, piece));
                length += 1;
            }
            let of = (1, u8::try_from(length - 1).expect("short"));
            prop_assert_eq!(rule.matches(of, text.as_bytes()), glob.matches(text.as_bytes()));
        }
    }
}
