//! What `/proc` tells of a thread.

use crate::ids::{HostPid, ZonePid};
use std::fs;

/// The numbers of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    /// The thread.
    pub(super) host_tid: HostPid,
    /// Its process.
    pub(super) host_pid: HostPid,
    /// The same, as they themselves know them.
    pub(super) tid: ZonePid,
    pub(super) pid: ZonePid,
}

/// Lines of `/proc/PID/status`.
pub(super) struct Status(String);

impl Status {
    /// Of a thread; none if there is no such thread.
    pub(super) fn of(tid: HostPid) -> Option<Self> {
        let bytes = fs::read(format!("/proc/{tid}/status")).ok()?;
        Some(Self(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The words behind a key.
    fn words(&self, key: &str) -> impl Iterator<Item = &str> {
        let line = self.0.lines().find_map(|line| {
            let (name, words) = line.split_once(':')?;
            (name == key).then_some(words)
        });
        line.unwrap_or("").split_ascii_whitespace()
    }

    pub(super) fn number(&self, key: &str) -> Option<u32> {
        self.words(key).next()?.parse().ok()
    }

    /// Whether it has ended, and nobody has asked for its status yet.
    pub(super) fn is_zombie(&self) -> bool {
        matches!(self.words("State").next(), Some("Z" | "X"))
    }

    /// In the innermost of the pid name spaces that know it, whose number stands last.
    fn own(&self, key: &str) -> Option<ZonePid> {
        self.words(key).last()?.parse().ok().map(ZonePid)
    }
}

impl Numbers {
    /// Of a thread; none if it is gone.
    pub(super) fn of(host_tid: HostPid) -> Option<Self> {
        let status = Status::of(host_tid)?;
        Some(Self {
            host_tid,
            host_pid: HostPid(status.number("Tgid")?),
            tid: status.own("NSpid")?,
            pid: status.own("NStgid")?,
        })
    }
}

/// The process of a thread or process of the host; none if there is no such.
#[must_use]
pub(crate) fn leader_of(tid: HostPid) -> Option<HostPid> {
    Status::of(tid)?.number("Tgid").map(HostPid)
}

/// A thread's name; empty where it is gone.
pub(super) fn comm(tid: HostPid) -> String {
    let bytes = fs::read(format!("/proc/{tid}/comm")).unwrap_or_default();
    String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_innermost_name_space() {
        let text =
            "Name:\ta: b\nState:\tZ (zombie)\nTgid:\t70\nNStgid:\t70\t1\nNSpid:\t71\t9\nVmLck:\n";
        let status = Status(text.into());
        assert_eq!(status.number("Tgid"), Some(70));
        assert_eq!(status.own("NStgid"), Some(ZonePid(1)));
        assert_eq!(status.own("NSpid"), Some(ZonePid(9)));
        assert_eq!(
            (status.number("VmLck"), status.number("Gone")),
            (None, None)
        );
        assert!(status.is_zombie());
    }

    #[test]
    fn we_are_there() {
        let own = HostPid(std::process::id());
        assert_eq!(leader_of(own), Some(own));
        let numbers = Numbers::of(own).expect("we run");
        assert_eq!(numbers.host_pid, own);
        assert_eq!(numbers.tid, numbers.pid);
        assert!(!comm(own).is_empty());
        assert_eq!(leader_of(HostPid(u32::MAX)), None);
    }
}
