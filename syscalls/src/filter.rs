//! The seccomp program: a tree over the numbers, balanced by how often they are called, and constant verdicts
//! for native calls.

pub use crate::bpf::*;
pub use crate::form::FilterLayout;
use crate::meaning::{ARCH, REGION, REPORTED_END};
use crate::{Class, Form, ROWS, Test, nr};
use std::vec::Vec;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// What stands at the end of a branch of the tree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaf {
    Return(u32),
    /// A row's own code, by index.
    Code(usize),
}

/// The filter for a layout.
#[must_use]
pub fn program(layout: &FilterLayout) -> Vec<Insn> {
    let mut code = Code {
        out: Vec::new(),
        layout,
        leaves: Vec::new(),
    };
    code.put(LOAD, 0, 0, data::ARCH);
    code.put(JEQ, 1, 0, ARCH);
    code.put(RETURN, 0, 0, KILL);
    code.put(LOAD, 0, 0, 0);
    let doorbell_leaf = ROWS.len();
    let mut ranges: Vec<(u32, Leaf)> = Vec::new();
    let mut add = |from: u32, leaf: Leaf| {
        if ranges.last().is_none_or(|last| last.1 != leaf) {
            ranges.push((from, leaf));
        }
    };
    let unknown = Leaf::Return(ERRNO | ENOSYS);
    let reported = Leaf::Code(doorbell_leaf + 1);
    let mut next = 0;
    for (index, row) in ROWS.iter().enumerate() {
        if row.nr > next {
            add(next, reported);
        }
        next = row.nr + 1;
        add(
            row.nr,
            if matches!(row.class, Class::Native) {
                Leaf::Return(ALLOW)
            } else {
                Leaf::Code(same_class(index))
            },
        );
    }
    add(next, reported);
    add(REPORTED_END, unknown);
    add(layout.doorbell, Leaf::Code(doorbell_leaf));
    add(layout.doorbell + 1, unknown);
    let frequent: Vec<usize> = FREQUENT.iter().filter_map(|nr| index_of(*nr)).collect();
    let weights = ranges.iter().map(|range| weight(range.1, &frequent));
    let weights: Vec<u32> = weights.collect();
    code.tree(&ranges, &weights);
    code.leaf_codes(doorbell_leaf);
    code.out
}

fn index_nr(index: usize) -> u32 {
    ROWS.get(index).map_or(u32::MAX, |row| row.nr)
}

/// The first row that is treated as this one is, so that their code is shared.
fn same_class(index: usize) -> usize {
    let same = |a: &Class, b: &Class| match (a, b) {
        (Class::Guarded(x), Class::Guarded(y)) | (Class::Emulated(x), Class::Emulated(y)) => {
            std::ptr::eq(*x, *y) || (x.is_empty() && y.is_empty())
        }
        (Class::Refused(x, _), Class::Refused(y, _)) => x == y,
        _ => false,
    };
    ROWS.iter()
        .position(|row| {
            ROWS.get(index)
                .is_some_and(|other| same(&row.class, &other.class))
        })
        .unwrap_or(index)
}

/// Calls that programs make most of those for which the filter runs.
const FREQUENT: [u32; 17] = [
    nr::close,
    nr::fstat,
    nr::lseek,
    nr::mmap,
    nr::mprotect,
    nr::munmap,
    nr::rt_sigaction,
    nr::rt_sigprocmask,
    nr::ioctl,
    nr::dup,
    nr::fcntl,
    nr::newfstatat,
    nr::openat2,
    nr::accept4,
    nr::sendmsg,
    nr::recvmsg,
    nr::setsockopt,
];

/// How near to the root of the tree a leaf is to be. For what is native the kernel keeps the verdict by
/// number (`seccomp_cache_prepare`, kernel/seccomp.c) and runs no filter.
fn weight(leaf: Leaf, frequent: &[usize]) -> u32 {
    match leaf {
        Leaf::Return(_) => 1,
        Leaf::Code(index) if frequent.contains(&index) => 256,
        Leaf::Code(_) => 4,
    }
}

/// The leaf of a call.
fn index_of(nr: u32) -> Option<usize> {
    let index = ROWS.iter().position(|row| row.nr == nr)?;
    Some(same_class(index))
}

/// Where a range is divided so that both parts weigh about the same: neither is empty.
fn middle(weights: &[u32]) -> usize {
    let whole: u32 = weights.iter().sum();
    let mut left = 0;
    let mut best = (u32::MAX, 1);
    for (index, weight) in weights.iter().enumerate().take(weights.len() - 1) {
        left += weight;
        best = best.min((left.abs_diff(whole - left), index + 1));
    }
    best.1
}

/// Instructions of a tree over ranges of these weights.
fn tree_len(weights: &[u32]) -> usize {
    if weights.len() < 2 {
        return weights.len();
    }
    let (left, right) = weights.split_at(middle(weights));
    let left = tree_len(left);
    1 + usize::from(left > NEAR) + left + tree_len(right)
}

/// How far a conditional jump leads.
const NEAR: usize = u8::MAX as usize;

struct Code<'a> {
    out: Vec<Insn>,
    layout: &'a FilterLayout,
    /// Jumps to be aimed at a leaf's code.
    leaves: Vec<(usize, usize)>,
}

/// Where a test's jump leads: on, or to the next alternative.
#[derive(Clone, Copy)]
enum To {
    Ok,
    Fail,
    On,
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "halves of words, and distances that are asserted"
)]
impl Code<'_> {
    fn put(&mut self, code: u16, jt: u8, jf: u8, k: u32) {
        self.out.push(Insn::new(code, jt, jf, k));
    }

    /// A jump to be aimed later.
    fn jump(&mut self) -> usize {
        self.put(JUMP, 0, 0, 0);
        self.out.len() - 1
    }

    fn aim(&mut self, jump: usize) {
        let distance = self.out.len() - jump - 1;
        if let Some(insn) = self.out.get_mut(jump) {
            insn.k = distance as u32;
        }
    }

    fn tree(&mut self, ranges: &[(u32, Leaf)], weights: &[u32]) {
        match ranges {
            [] => {}
            [(_, Leaf::Return(value))] => self.put(RETURN, 0, 0, *value),
            [(_, Leaf::Code(index))] => {
                let jump = self.jump();
                self.leaves.push((jump, *index));
            }
            _ => {
                let middle = middle(weights);
                let (left, right) = ranges.split_at(middle);
                let (left_weights, right_weights) = weights.split_at(middle);
                let bound = right.first().map_or(0, |range| range.0);
                let far = tree_len(left_weights);
                if far <= NEAR {
                    self.put(JGE, far as u8, 0, bound);
                } else {
                    self.put(JGE, 0, 1, bound);
                    self.put(JUMP, 0, 0, far as u32);
                }
                self.tree(left, left_weights);
                self.tree(right, right_weights);
            }
        }
    }

    fn leaf_codes(&mut self, doorbell: usize) {
        let mut done: Vec<usize> = Vec::new();
        for (_, index) in self.leaves.clone() {
            if done.contains(&index) {
                continue;
            }
            done.push(index);
            let waiting: Vec<usize> = self
                .leaves
                .iter()
                .filter(|leaf| leaf.1 == index)
                .map(|leaf| leaf.0)
                .collect();
            for jump in waiting {
                self.aim(jump);
            }
            if index == doorbell {
                self.unless_ours(ERRNO | ENOSYS);
                self.put(RETURN, 0, 0, NOTIFY);
                continue;
            }
            if index > doorbell {
                self.unless_ours(self.layout.trap);
                self.put(RETURN, 0, 0, ERRNO | ENOSYS);
                continue;
            }
            match ROWS.get(index).map(|row| row.class) {
                Some(Class::Guarded(form)) => {
                    self.form(form);
                    self.unless_ours(self.layout.trap);
                    self.put(RETURN, 0, 0, ERRNO | EPERM);
                }
                Some(Class::Split(direct, own)) => {
                    self.form(direct);
                    self.unless_ours(self.layout.trap);
                    self.form(own);
                    self.put(RETURN, 0, 0, ERRNO | EPERM);
                }
                Some(Class::Emulated(form)) => {
                    self.unless_ours(self.layout.trap);
                    if !self.layout.is_refused(index_nr(index)) {
                        self.form(form);
                    }
                    self.put(RETURN, 0, 0, ERRNO | EPERM);
                }
                Some(Class::Refused(errno, _)) => {
                    self.unless_ours(self.layout.trap);
                    self.put(RETURN, 0, 0, ERRNO | u32::from(errno.raw()));
                }
                Some(Class::Native) | None => self.put(RETURN, 0, 0, ALLOW),
            }
        }
    }

    /// Returns `value` if the caller is not the personality, and that there is nothing to be said
    /// against it to who only asks.
    fn unless_ours(&mut self, value: u32) {
        let range = &self.layout.personality;
        let (start, end, high) = (
            range.start as u32,
            range.end as u32,
            (range.start >> 32) as u32,
        );
        self.put(LOAD, 0, 0, data::POINTER + 4);
        self.put(JEQ, 0, 3 + u8::from(start > 0), high);
        self.put(LOAD, 0, 0, data::POINTER);
        if start > 0 {
            self.put(JGE, 0, 2, start);
        }
        self.put(JEQ, 2, 0, self.layout.judge as u32);
        self.put(JGE, 0, 2, end);
        self.put(RETURN, 0, 0, value);
        self.put(RETURN, 0, 0, ERRNO | JUDGED);
    }

    /// Returns ALLOW if the form holds, else goes on behind.
    fn form(&mut self, form: Form) {
        for tests in form {
            let mut fails = Vec::new();
            for test in *tests {
                self.test(test);
                fails.push(self.jump());
                // The jump to the next alternative is skipped by what passes.
            }
            self.put(RETURN, 0, 0, ALLOW);
            for fail in fails {
                self.aim(fail);
            }
        }
    }

    /// Code whose last instructions skip exactly the one behind it (a jump) where the test passes.
    fn test(&mut self, test: &Test) {
        let mut local: Vec<(u16, u32, To, To)> = Vec::new();
        let low = |i: u8| data::ARGS + 8 * u32::from(i);
        let high = |i: u8| low(i) + 4;
        let load = |at: u32, local: &mut Vec<_>| local.push((LOAD, at, To::On, To::On));
        let region = (self.layout.personality.start >> 32) as u32;
        let slots = |i: u8,
                     range: &std::ops::Range<u64>,
                     step: u32,
                     local: &mut Vec<(u16, u32, To, To)>| {
            local.push((LOAD, high(i), To::On, To::On));
            local.push((JEQ, (range.start >> 32) as u32, To::On, To::Fail));
            local.push((LOAD, low(i), To::On, To::On));
            local.push((JGE, range.start as u32, To::On, To::Fail));
            local.push((JGE, range.end as u32, To::Fail, To::On));
            local.push((JSET, step - 1, To::Fail, To::Ok));
        };
        let exact = |i: u8, value: u64, local: &mut Vec<(u16, u32, To, To)>| {
            local.push((LOAD, high(i), To::On, To::On));
            local.push((JEQ, (value >> 32) as u32, To::On, To::Fail));
            local.push((LOAD, low(i), To::On, To::On));
            local.push((JEQ, value as u32, To::Ok, To::Fail));
        };
        match *test {
            Test::FdFree(i) => {
                load(low(i), &mut local);
                local.push((JGE, self.layout.fd_base, To::On, To::Ok));
                local.push((
                    JGE,
                    self.layout.fd_base + self.layout.fd_count,
                    To::Ok,
                    To::Fail,
                ));
            }
            Test::FdPersonality(i) => {
                load(low(i), &mut local);
                local.push((JEQ, self.layout.fd_personality, To::Ok, To::Fail));
            }
            Test::FdTables(i) => {
                load(low(i), &mut local);
                local.push((JEQ, self.layout.fd_tables, To::Ok, To::Fail));
            }
            Test::FdParents(i) => {
                load(low(i), &mut local);
                local.push((JGE, self.layout.fd_parents, To::On, To::Fail));
                local.push((
                    JGE,
                    self.layout.fd_base + self.layout.fd_count,
                    To::Fail,
                    To::Ok,
                ));
            }
            Test::EqLow(i, value) => {
                load(low(i), &mut local);
                local.push((JEQ, value, To::Ok, To::Fail));
            }
            Test::OneOf(i, values) | Test::OneOfMasked(i, _, values) => {
                load(low(i), &mut local);
                if let Test::OneOfMasked(_, mask, _) = *test {
                    local.push((AND, mask, To::On, To::On));
                }
                for value in values {
                    local.push((JEQ, *value, To::Ok, To::On));
                }
                local.push((JUMP, 0, To::Fail, To::Fail));
            }
            Test::Clear(i, mask) => {
                load(low(i), &mut local);
                local.push((JSET, mask, To::Fail, To::Ok));
            }
            Test::Masked(i, mask, value) => {
                load(low(i), &mut local);
                local.push((AND, mask, To::On, To::On));
                local.push((JEQ, value, To::Ok, To::Fail));
            }
            Test::HighZero(i) => {
                load(high(i), &mut local);
                local.push((JEQ, 0, To::Ok, To::Fail));
            }
            Test::Null(i) => exact(i, 0, &mut local),
            Test::NotNull(i) => {
                load(low(i), &mut local);
                local.push((JEQ, 0, To::On, To::Ok));
                load(high(i), &mut local);
                local.push((JEQ, 0, To::Fail, To::Ok));
            }
            Test::Empty(i) => exact(i, self.layout.empty, &mut local),
            Test::TablesBase(i) => exact(i, self.layout.tables.start, &mut local),
            Test::How(i) => slots(i, &self.layout.hows, 32, &mut local),
            Test::Name(i) => slots(i, &self.layout.names, 64, &mut local),
            Test::Source(i) => slots(i, &self.layout.sources, 128, &mut local),
            Test::Message(i) => slots(i, &self.layout.messages, 64, &mut local),
            Test::Outside(i) => {
                load(high(i), &mut local);
                local.push((JGE, region - 0x100, To::On, To::Ok));
                local.push((JGE, region + REGION, To::Ok, To::Fail));
            }
            Test::Above(i) => {
                load(high(i), &mut local);
                local.push((JGE, region + REGION, To::Ok, To::Fail));
            }
            Test::Shared(i) => {
                load(high(i), &mut local);
                local.push((JGE, region + 2, To::On, To::Fail));
                local.push((JGE, region + REGION, To::Fail, To::Ok));
            }
            Test::InPersonality(i) => {
                load(high(i), &mut local);
                local.push((JEQ, region, To::Ok, To::Fail));
            }
            Test::Short(i) => {
                load(high(i), &mut local);
                local.push((JGE, 0x100, To::Fail, To::Ok));
            }
            Test::HighBelow(i, bound) => {
                load(high(i), &mut local);
                local.push((JGE, bound, To::Fail, To::Ok));
            }
            Test::AboveFds(i) => {
                load(low(i), &mut local);
                local.push((
                    JGE,
                    self.layout.fd_base + self.layout.fd_count,
                    To::Ok,
                    To::Fail,
                ));
            }
            Test::BelowFds(i) => {
                load(low(i), &mut local);
                local.push((JGE, self.layout.fd_base, To::Fail, To::Ok));
            }
        }
        let count = local.len();
        for (index, (code, k, jt, jf)) in local.into_iter().enumerate() {
            let left = u8::try_from(count - index - 1).expect("a test is short");
            let distance = |to: To| match to {
                To::On => 0,
                To::Fail => left,
                To::Ok => left + 1,
            };
            match code {
                LOAD | AND => self.put(code, 0, 0, k),
                JUMP => self.put(JUMP, 0, 0, u32::from(distance(jt))),
                _ => self.put(code, distance(jt), distance(jf), k),
            }
        }
    }
}
