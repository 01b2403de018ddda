//! The report of what guests called for and zones do not offer.
//!
//! Guests report each such call themselves ([`Request::Refused`]); who calls is the kernel's word.
//! A guest that reports what it likes, or nothing, spoils its own zone's report and nothing else.
//!
//! [`Request::Refused`]: picozone_personality::mailbox::Request::Refused

use super::procfs::View;
use super::zone::Zone;
use crate::control::{REPORT, Refusal};
use crate::error::{Doing, Result};
use crate::ids::HostPid;
use crate::zone::atomic;
use picozone_syscalls::{describe, refusal};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most rows; what comes later is counted by call only.
const ROWS_MAX: usize = 1024;
/// Most bytes of a name that a guest has chosen.
const NAME_MAX: usize = 256;

/// The report: program and count by call and name of the caller.
#[derive(Default)]
pub struct Refusals(Mutex<HashMap<(String, String), Row>>);

struct Row {
    program: String,
    reason: &'static str,
    count: u64,
}

impl Refusals {
    /// Counts a call of a guest.
    pub fn note(&self, zone: &Zone, caller: HostPid, nr: u32, args: [u64; 6]) {
        let mut call = String::new();
        // A write to a String cannot fail.
        let _ = describe(nr, args, &mut call);
        self.note_as(zone, caller, call, refusal(nr));
    }

    /// Counts what the monitor itself refuses.
    pub fn note_as(&self, zone: &Zone, caller: HostPid, call: String, reason: &'static str) {
        let name = std::fs::read(format!("/proc/{caller}/comm")).unwrap_or_default();
        let name = shown(name.trim_ascii_end());
        let program = || View::exe(zone, caller).map_or_else(String::new, |path| shown(&path));
        self.count(call, name, reason, program);
    }

    fn count(
        &self,
        call: String,
        caller: String,
        reason: &'static str,
        program: impl FnOnce() -> String,
    ) {
        let mut rows = self.rows();
        let is_full = rows.len() >= ROWS_MAX;
        let mut key = (call, caller);
        if is_full && !rows.contains_key(&key) {
            let name = key.0.split('(').next().unwrap_or_default();
            key = (name.to_owned(), "others".to_owned());
        }
        let row = rows.entry(key).or_insert_with(|| Row {
            program: if is_full { String::new() } else { program() },
            reason,
            count: 0,
        });
        row.count += 1;
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<(String, String), Row>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often by call, in the order of their names.
    #[must_use]
    pub fn by_call(&self) -> Vec<(String, u64)> {
        let mut calls: BTreeMap<String, u64> = BTreeMap::new();
        for ((call, _), row) in self.rows().iter() {
            let name = call.split('(').next().unwrap_or_default();
            *calls.entry(name.to_owned()).or_default() += row.count;
        }
        calls.into_iter().collect()
    }

    /// The report, most frequent first.
    #[must_use]
    pub fn report(&self) -> Vec<Refusal> {
        let rows = self.rows();
        let mut report: Vec<_> = rows
            .iter()
            .map(|((call, caller), row)| Refusal {
                call: call.clone(),
                count: row.count,
                caller: caller.clone(),
                program: row.program.clone(),
                reason: row.reason.to_owned(),
            })
            .collect();
        report.sort_by(|a, b| (b.count, &a.call, &a.caller).cmp(&(a.count, &b.call, &b.caller)));
        report
    }

    /// Writes it into [`REPORT`].
    ///
    /// # Errors
    /// The file system refuses.
    pub fn save(&self, run_dir: &Path) -> Result<()> {
        let path = run_dir.join(REPORT);
        let text = serde_json::to_vec(&self.report())
            .map_err(std::io::Error::from)
            .doing("write", path.display())?;
        atomic::write(&path, &text, 0o600)
    }
}

/// A guest's name as text that moves no cursor.
fn shown(name: &[u8]) -> String {
    let name = name.get(..NAME_MAX).unwrap_or(name);
    let text = String::from_utf8_lossy(name);
    let clean = text.chars().map(|c| if c.is_control() { '?' } else { c });
    clean.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_ordered_and_limited() {
        let refusals = Refusals::default();
        let count = |call: &str, caller: &str| {
            let program = || format!("/usr/bin/{caller}");
            refusals.count(call.to_owned(), caller.to_owned(), "why", program);
        };
        count("bpf(0x5)", "a");
        count("ioctl(0x1)", "b");
        count("ioctl(0x1)", "b");
        count("ioctl(0x2)", "b");
        let first = Refusal {
            call: "ioctl(0x1)".to_owned(),
            count: 2,
            caller: "b".to_owned(),
            program: "/usr/bin/b".to_owned(),
            reason: "why".to_owned(),
        };
        assert_eq!(refusals.report().first(), Some(&first));
        let by_call = [("bpf".to_owned(), 1), ("ioctl".to_owned(), 3)];
        assert_eq!(refusals.by_call(), by_call);
        for number in 0..2 * ROWS_MAX {
            count(&format!("fcntl({number:#x})"), "c");
        }
        let report = refusals.report();
        assert!(report.len() <= ROWS_MAX + 2, "{}", report.len());
        let sum: u64 = report.iter().map(|row| row.count).sum();
        assert_eq!(sum, 4 + 2 * ROWS_MAX as u64);
    }

    #[test]
    fn names_of_guests_are_shown_as_one_line() {
        assert_eq!(shown(b"a\x1b[2J\n"), "a?[2J?");
        assert_eq!(shown(&[b'x'; 1000]).len(), NAME_MAX);
    }

    #[test]
    fn what_is_saved_can_be_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let refusals = Refusals::default();
        refusals.count("bpf".into(), "a".into(), "why", String::new);
        refusals.save(dir.path()).expect("saved");
        let text = std::fs::read(dir.path().join(REPORT)).expect("it is there");
        let read: Vec<Refusal> = serde_json::from_slice(&text).expect("a report");
        assert_eq!(read, refusals.report());
    }
}
