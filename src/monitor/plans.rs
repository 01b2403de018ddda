//! Load plans kept for the guests, so that the next exec of the same program asks nobody.

use super::copies::Copy;
use super::zone::Zone;
use crate::loader::Plan;
use picozone_personality::capabilities::FilePrivileges;
use picozone_personality::plans::{COPY_MAX, FileId, KnownPlan, NAME_MAX, Name, WAYS, way};
use std::fs::File;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Acquire;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds that a file must have been unchanged. A change made later then shows in its times, whose
/// steps are some milliseconds and on some file systems whole seconds.
const QUIET_SECONDS: i64 = 3;

/// One writer at a time.
static WRITER: Mutex<()> = Mutex::new(());

/// When a plan was asked for: only what was so before it was made is certain.
#[derive(Clone, Copy)]
pub struct Asked {
    links: u32,
    seconds: i64,
}

impl Asked {
    /// To be called before anything is looked up.
    pub fn now(zone: &Zone) -> Asked {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Asked {
            links: zone.shared.commons().links.load(Acquire),
            seconds: i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(0),
        }
    }
}

/// Keeps a plan, if it may be: of an absolute name, of files that are quiet, of no script.
///
/// `copies` are those of the program and its interpreter, whose images the plan already has; the
/// plan's files are the originals.
pub fn keep(
    zone: &Zone,
    asked: Asked,
    name: &[u8],
    (plan, privileges): (&Plan<File>, FilePrivileges),
    copies: [Option<&Copy>; 2],
) {
    let _ = try_keep(zone, asked, name, (plan, privileges), copies);
}

fn try_keep(
    zone: &Zone,
    asked: Asked,
    name: &[u8],
    (plan, privileges): (&Plan<File>, FilePrivileges),
    copies: [Option<&Copy>; 2],
) -> Option<()> {
    let is_absolute = name.first() == Some(&b'/');
    if !plan.front.is_empty() || !is_absolute || is_monitors(zone, name) {
        return None;
    }
    let interp_id = match &plan.interp {
        Some((file, _)) => identify(file, asked)?,
        None => FileId::default(),
    };
    let [exe_copy, interp_copy] = copies.map(|copy| copy.map_or([0; COPY_MAX], |copy| copy.name));
    let known = KnownPlan {
        name: text(name)?,
        path: text(&plan.path)?,
        interp_path: text(&plan.interp_path)?,
        exe_id: identify(&plan.exe.0, asked)?,
        interp_id,
        exe_copy,
        interp_copy,
        links: asked.links,
        exec_stack: u32::from(plan.exec_stack),
        privileges,
        exe: plan.exe.1.with_room()?,
        interp: plan
            .interp
            .as_ref()
            .map_or(&crate::loader::NO_IMAGE, |(_, image)| image)
            .with_room()?,
    };
    put(zone, name, &known);
    Some(())
}

/// Replaces the name's own row, or else the one that was written least often.
fn put(zone: &Zone, name: &[u8], known: &KnownPlan) {
    let _writer = WRITER
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let rows = &zone.shared.tables().plans;
    let ways = || (0..WAYS).filter_map(|number| rows.get(way(name, number)));
    let own = ways().find(|row| row.is_named(name));
    if let Some(row) = own.or_else(|| ways().min_by_key(|row| row.writes())) {
        row.set(known);
    }
}

/// The personality opens nothing there.
fn is_monitors(zone: &Zone, name: &[u8]) -> bool {
    let rows = zone.rows();
    let (row, _) = picozone_fsmap::Mounts(rows).find(name);
    rows.get(row)
        .is_none_or(picozone_fsmap::MountRow::is_monitor)
}

/// `None` where the file changed too lately.
pub(super) fn identify(file: &File, asked: Asked) -> Option<FileId> {
    let data = nix::sys::stat::fstat(file).ok()?;
    (data.st_ctime <= asked.seconds - QUIET_SECONDS).then(|| id_of(&data))
}

/// What tells a file's content.
pub(super) fn id_of(data: &nix::sys::stat::FileStat) -> FileId {
    FileId {
        dev: data.st_dev,
        ino: data.st_ino,
        size: data.st_size,
        seconds: data.st_ctime,
        nanoseconds: data.st_ctime_nsec,
    }
}

fn text(from: &[u8]) -> Option<Name> {
    let mut name = [0; NAME_MAX];
    name.get_mut(..from.len())
        .filter(|_| from.len() < NAME_MAX)?
        .copy_from_slice(from);
    Some(name)
}
