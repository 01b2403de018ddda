//! The line of `/proc/PID/stat` (proc_pid_stat(5)).

use super::status::{is_traced_from_outside, zone_number};
use super::{Errno, Subject, View, maps};
use crate::ids::HostPid;
use std::ops::RangeInclusive;

/// The line, taken apart. Fields are counted from 1, as in the manual.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::monitor) struct StatLine {
    pid: String,
    /// The name: any bytes, parentheses and line breaks included.
    comm: Vec<u8>,
    /// Field 3 and those behind it.
    rest: Vec<String>,
}

/// Number of the terminal, major and minor.
const TTY_NR: usize = 7;

impl StatLine {
    /// Takes a line apart; `None` if it is none.
    pub(in crate::monitor) fn parse(line: &[u8]) -> Option<Self> {
        let open = line.iter().position(|&byte| byte == b'(')?;
        // The name may hold parentheses; nothing behind it does.
        let close = line.iter().rposition(|&byte| byte == b')')?;
        let comm = line.get(open + 1..close)?.to_vec();
        let pid = std::str::from_utf8(&line[..open]).ok()?.trim().to_owned();
        let rest = std::str::from_utf8(&line[close + 1..]).ok()?;
        let rest: Vec<_> = rest.split_ascii_whitespace().map(str::to_owned).collect();
        (rest.len() >= 22).then_some(Self { pid, comm, rest })
    }

    /// The line again.
    pub(super) fn print(&self) -> Vec<u8> {
        let rest = self.rest.join(" ");
        [
            self.pid.as_bytes(),
            b" (",
            &self.comm,
            b") ",
            rest.as_bytes(),
            b"\n",
        ]
        .concat()
    }

    fn field(&mut self, number: usize) -> Option<&mut String> {
        self.rest.get_mut(number - 3)
    }

    /// A field by its number in the manual, from 3.
    pub(in crate::monitor) fn get(&self, number: usize) -> Option<&str> {
        self.rest.get(number.checked_sub(3)?).map(String::as_str)
    }

    /// The pseudo terminal that controls the process, by its number under `/dev/pts`.
    pub(in crate::monitor) fn pty(&self) -> Option<u32> {
        let device: u64 = self.get(TTY_NR)?.parse().ok()?;
        // The kernel's new_encode_dev(): 12 bits of major number, 20 of minor number in two parts.
        let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
        match major {
            // UNIX98_PTY_SLAVE_MAJOR, eight of them.
            136..=143 => u32::try_from((major - 136) << 20 | minor).ok(),
            _ => None,
        }
    }

    fn translate(&mut self, view: &dyn View, subject: &Subject) {
        self.pid = subject.thread.to_string();
        let is_ours = self
            .pty()
            .is_some_and(|number| view.ptys().contains(&number));
        // Parent, group, session, the terminal's foreground group.
        for number in [4, 5, 6, 8] {
            let Some(field) = self.field(number) else {
                continue;
            };
            *field = match (number, field.as_str()) {
                (8, _) if !is_ours => "-1".to_owned(),
                (_, "-1") => "-1".to_owned(),
                (_, host) => zone_number(view, host).to_string(),
            };
        }
        if !is_ours && let Some(field) = self.field(TTY_NR) {
            "0".clone_into(field);
        }
        self.show_priorities(view, subject);
        let hidden = maps::hidden_bytes(view, subject);
        if let Some(field) = self.field(23)
            && let Ok(size) = field.parse::<u64>()
        {
            *field = size.saturating_sub(hidden).to_string();
        }
    }

    /// What is recorded of priorities: fields priority, nice, rt_priority, policy.
    fn show_priorities(&mut self, view: &dyn View, subject: &Subject) {
        let Some(row) = view.scheduling(subject.thread_on_host()) else {
            return;
        };
        let mut put = |number: usize, value: i64| {
            if let Some(field) = self.field(number) {
                *field = value.to_string();
            }
        };
        if let Some(nice) = row.nice() {
            put(18, i64::from(nice) + 20);
            put(19, i64::from(nice));
        }
        if let Some(policy) = row.policy().filter(|policy| policy.priority > 0) {
            put(18, -1 - i64::from(policy.priority));
            put(40, i64::from(policy.priority));
            put(41, i64::from(policy.policy));
        }
    }

    /// Hides addresses, as the kernel does from who may not ptrace the process.
    fn censor(&mut self) {
        const ADDRESSES: [RangeInclusive<usize>; 2] = [28..=30, 45..=52];
        for number in ADDRESSES.into_iter().flatten() {
            if let Some(field) = self.field(number) {
                "0".clone_into(field);
            }
        }
        for number in [26, 27] {
            if let Some(field) = self.field(number).filter(|field| *field != "0") {
                "1".clone_into(field);
            }
        }
    }
}

/// The content of `stat` for a process or thread.
///
/// # Errors
/// As [`Subject::read`].
pub(super) fn stat(view: &dyn View, caller: HostPid, subject: &Subject) -> Result<Vec<u8>, Errno> {
    let mut line = StatLine::parse(&subject.read("stat")?).ok_or(libc::ESRCH)?;
    line.translate(view, subject);
    if subject.is_asking(view, caller)
        && let Some(state) = line.field(3).filter(|state| *state == "S")
    {
        "R".clone_into(state);
    }
    if let Some(state) = line.field(3).filter(|state| *state == "t")
        && is_traced_from_outside(view, &subject.read("status")?)
    {
        "T".clone_into(state);
    }
    if !subject.may_be_inspected(view, caller) {
        line.censor();
    }
    Ok(line.print())
}
