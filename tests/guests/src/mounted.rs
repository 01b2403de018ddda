//! What is mounted below the working directory, as mountinfo(5) tells.

use crate::work;

/// A line of it.
pub struct Mounted {
    /// The mount point, from the working directory on.
    pub point: String,
    /// What it shows of its file system.
    pub root: String,
    /// Options of the mount.
    pub options: String,
    /// Type of the file system.
    pub kind: String,
    /// Where it comes from.
    pub source: String,
}

/// All of them, in the kernel's order.
///
/// # Panics
/// The table cannot be read.
#[must_use]
pub fn mounted() -> Vec<Mounted> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("it can be read");
    let prefix = format!("{}/", work().display());
    let below = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let point = fields[4].strip_prefix(&prefix)?;
        let dash = fields.iter().position(|field| *field == "-")?;
        Some(Mounted {
            point: point.to_owned(),
            root: fields[3].to_owned(),
            options: fields[5].to_owned(),
            kind: fields[dash + 1].to_owned(),
            source: fields[dash + 2].to_owned(),
        })
    };
    table.lines().filter_map(below).collect()
}
