//! The files of a process and of a thread.

use super::{Entry, Errno, Kind, Subject, View, maps, mounts, stat_line, status};
use crate::ids::HostPid;

/// One file.
pub(super) struct ProcessRow {
    /// Its name.
    pub(super) name: &'static str,
    /// Permission bits.
    pub(super) mode: u32,
    /// Whether it needs the right to look into the process.
    pub(super) is_private: bool,
    /// Where it is.
    place: PlaceOf,
    /// The host's file is handed over as it is, under this name. Never for a file whose content
    /// depends on who reads it.
    pub(super) pass: Option<&'static str>,
    /// Makes the content for the caller.
    pub(super) make: Make,
}

type Make = fn(&dyn View, HostPid, &Subject) -> Result<Vec<u8>, Errno>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum PlaceOf {
    Both,
    Process,
    Task,
}

/// A row whose content is made by `make`.
const fn made(name: &'static str, make: Make) -> ProcessRow {
    ProcessRow {
        name,
        mode: 0o444,
        is_private: false,
        place: PlaceOf::Both,
        pass: None,
        make,
    }
}

/// A row that hands the host's file over.
const fn passed(name: &'static str, mode: u32) -> ProcessRow {
    ProcessRow {
        mode,
        pass: Some(name),
        ..made(name, |_, _, _| Err(libc::EIO))
    }
}

/// The row, for who may look into the process only.
const fn private(row: ProcessRow, mode: u32) -> ProcessRow {
    ProcessRow {
        mode,
        is_private: true,
        ..row
    }
}

/// The row, in one place only.
const fn only(place: PlaceOf, row: ProcessRow) -> ProcessRow {
    ProcessRow { place, ..row }
}

/// A text that is the same for every process.
macro_rules! text {
    ($text:literal) => {
        |_, _, _| Ok($text.to_vec())
    };
}

/// The host's text, where it holds nothing to be translated.
macro_rules! same {
    ($name:literal) => {
        made($name, |_, _, subject| subject.read($name))
    };
}

/// Sorted by name. `loginuid` and `sessionid` are missing as from a kernel without audit: PAM takes a
/// login whose record it cannot write for a failed one.
static ROWS: &[ProcessRow] = &[
    private(made("auxv", auxv), 0o400),
    made("cgroup", text!(b"0::/\n")),
    only(PlaceOf::Task, made("children", children)),
    passed("cmdline", 0o444),
    passed("comm", 0o644),
    only(PlaceOf::Process, passed("coredump_filter", 0o644)),
    made("cpuset", text!(b"/\n")),
    private(same!("environ"), 0o400),
    made("gid_map", |view, _, _| {
        let [_, gids] = view.id_maps();
        Ok(gids)
    }),
    private(same!("io"), 0o400),
    same!("limits"),
    private(
        made("maps", |view, _, subject| maps::maps(view, subject)),
        0o444,
    ),
    private(passed("mem", 0o600), 0o600),
    made("mountinfo", |view, _, subject| {
        Ok(mounts::mountinfo(view, subject))
    }),
    made("mounts", |view, _, subject| {
        Ok(mounts::mounts(view, subject))
    }),
    only(
        PlaceOf::Process,
        made("mountstats", |view, _, subject| {
            Ok(mounts::mountstats(view, subject))
        }),
    ),
    same!("oom_score"),
    passed("oom_score_adj", 0o644),
    private(passed("pagemap", 0o400), 0o400),
    private(same!("personality"), 0o400),
    made("projid_map", text!(b"         0          0 4294967295\n")),
    made("sched", sched),
    same!("schedstat"),
    made("setgroups", text!(b"allow\n")),
    private(
        made("smaps", |view, _, subject| maps::smaps(view, subject)),
        0o444,
    ),
    private(
        made("smaps_rollup", |view, _, subject| {
            maps::smaps_rollup(view, subject)
        }),
        0o444,
    ),
    made("stat", stat_line::stat),
    made("statm", |view, _, subject| statm(view, subject)),
    made("status", status::status),
    only(
        PlaceOf::Process,
        made(
            "timens_offsets",
            text!(b"monotonic           0         0\nboottime            0         0\n"),
        ),
    ),
    only(PlaceOf::Process, passed("timerslack_ns", 0o666)),
    made("uid_map", |view, _, _| {
        let [uids, _] = view.id_maps();
        Ok(uids)
    }),
    same!("wchan"),
];

/// Directories and links that every process and thread has.
const OTHERS: [(&str, Kind); 7] = [
    ("cwd", Kind::Link),
    ("exe", Kind::Link),
    ("fd", Kind::Dir),
    ("fdinfo", Kind::Dir),
    ("net", Kind::Dir),
    ("ns", Kind::Dir),
    ("root", Kind::Link),
];

fn is_in(row: &ProcessRow, is_task: bool) -> bool {
    row.place == PlaceOf::Both || (row.place == PlaceOf::Task) == is_task
}

/// The row of a file.
pub(super) fn find(name: &[u8], is_task: bool) -> Option<&'static ProcessRow> {
    ROWS.iter()
        .find(|row| row.name.as_bytes() == name && is_in(row, is_task))
}

/// What the directory of a process or thread holds.
pub(super) fn entries(is_task: bool) -> Vec<Entry> {
    let files = ROWS
        .iter()
        .filter(|row| is_in(row, is_task))
        .map(|row| Entry::new(row.name, Kind::File));
    let others = OTHERS.iter().map(|&(name, kind)| Entry::new(name, kind));
    let task = (!is_task).then(|| Entry::new("task", Kind::Dir));
    files.chain(others).chain(task).collect()
}

/// The auxiliary vector (getauxval(3)), with the users of the zone.
fn auxv(view: &dyn View, _: HostPid, subject: &Subject) -> Result<Vec<u8>, Errno> {
    let mut vector = subject.read("auxv")?;
    let users = view.credentials(subject.process);
    for pair in vector.as_chunks_mut::<16>().0 {
        let key = u64::from_ne_bytes(*pair.first_chunk().ok_or(libc::ESRCH)?);
        let value = match key {
            libc::AT_UID => users.uid[0],
            libc::AT_EUID => users.uid[1],
            libc::AT_GID => users.gid[0],
            libc::AT_EGID => users.gid[1],
            _ => continue,
        };
        pair[8..].copy_from_slice(&u64::from(value).to_ne_bytes());
    }
    Ok(vector)
}

/// The processes that a thread has forked.
fn children(view: &dyn View, _: HostPid, subject: &Subject) -> Result<Vec<u8>, Errno> {
    let host = subject.read("children")?;
    let children = String::from_utf8_lossy(&host);
    let zone = children
        .split_ascii_whitespace()
        .map(|child| status::zone_number(view, child));
    Ok(zone
        .filter(|&child| child != 0)
        .map(|child| format!("{child} "))
        .collect::<String>()
        .into_bytes())
}

/// Figures of the scheduler; the first line ends in `(PID, #threads: N)`.
fn sched(_: &dyn View, _: HostPid, subject: &Subject) -> Result<Vec<u8>, Errno> {
    let host = subject.read("sched")?;
    let end = host
        .windows(11)
        .position(|part| part == b", #threads:")
        .ok_or(libc::ESRCH)?;
    let begin = host[..end]
        .iter()
        .rposition(|&byte| byte == b'(')
        .ok_or(libc::ESRCH)?;
    let thread = subject.thread.to_string();
    Ok([&host[..=begin], thread.as_bytes(), &host[end..]].concat())
}

/// Sizes in pages; the first one is that of the address space.
fn statm(view: &dyn View, subject: &Subject) -> Result<Vec<u8>, Errno> {
    const PAGE_SIZE: u64 = 4096;
    let host = subject.read("statm")?;
    let text = String::from_utf8_lossy(&host);
    let (size, rest) = text.split_once(' ').ok_or(libc::ESRCH)?;
    let size: u64 = size.parse().map_err(|_| libc::ESRCH)?;
    let size = size.saturating_sub(maps::hidden_bytes(view, subject) / PAGE_SIZE);
    Ok(format!("{size} {rest}").into_bytes())
}
