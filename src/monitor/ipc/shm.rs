//! Shared memory (shmget(2), shmop(2), shmctl(2), ipc/shm.c).
//!
//! A segment is a file in memory that cannot grow or shrink. A guest that attaches it gets a
//! descriptor, maps that and closes it; from then on the kernel alone knows who has it: `shm_nattch`
//! is counted in the maps of the zone's processes, so that it is right after any fork, exec and end.
//! A removed segment lives as long as somebody has it attached.

use super::super::descriptors::own_path;
use super::super::guests;
use super::super::notify::{Call, Listener};
use super::super::zone::Zone;
use super::ids::{Caller, Object, Perm, Registry};
use super::record::Record;
use super::watch::Watched;
use super::{int, now};
use crate::ids::{HostPid, ZonePid};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use picozone_personality::capabilities::Power;
use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};

const PAGE: u64 = 4096;
/// `shmmax` and `shmall`, in bytes and pages, unless the zone's root says otherwise.
const MAX: u64 = u64::MAX - (1 << 24);
/// `shmmni`.
const COUNT_MAX: usize = 4096;
/// The kernel's flags in the mode: removed, locked.
const SHM_DEST: u32 = 0o1000;
const SHM_LOCKED: u32 = 0o2000;

/// A file in memory as `/proc/PID/maps` names it: device and inode.
type Inode = (u64, u64);

/// The segments of a zone.
pub(super) struct Segments {
    pub(super) all: Registry<Segment>,
    /// `shmmax`, in bytes.
    pub(super) size_max: u64,
    /// `shmall`.
    pub(super) pages_max: u64,
    pages: u64,
    /// How many are removed, but not gone yet.
    removed: usize,
}

impl Default for Segments {
    fn default() -> Self {
        Segments {
            all: Registry::new(COUNT_MAX),
            size_max: MAX,
            pages_max: MAX,
            pages: 0,
            removed: 0,
        }
    }
}

pub(super) struct Segment {
    size: u64,
    /// Made when somebody attaches it first.
    memory: Option<(OwnedFd, Inode)>,
    atime: i64,
    dtime: i64,
    ctime: i64,
    creator: ZonePid,
    last: ZonePid,
}

const fn pages(size: u64) -> u64 {
    size.div_ceil(PAGE)
}

impl Segments {
    pub(super) fn serve(
        &mut self,
        zone: &Zone,
        listener: &Listener,
        call: Call,
        caller: &Caller,
        args: [u64; 8],
    ) -> Result<i64, i32> {
        let put = |bytes: &[u8]| zone.shared.write_bytes(call.tid, bytes);
        match i64::try_from(args[0]).unwrap_or(0) {
            libc::SYS_shmget => self.get(caller, args[1], args[2], int(args[3])),
            libc::SYS_shmat => {
                let (fd, size) = self.attach(caller, int(args[1]), int(args[2]))?;
                put(&size.to_ne_bytes());
                listener.add(call, fd.as_fd(), true).map(i64::from)
            }
            libc::SYS_shmdt => {
                let ranges = self.detach(caller, args[1])?;
                let bytes: Vec<u8> = ranges
                    .iter()
                    .flatten()
                    .flat_map(|word| word.to_ne_bytes())
                    .collect();
                put(&bytes);
                i64::try_from(ranges.len()).map_err(|_| libc::EINVAL)
            }
            libc::SYS_shmctl => {
                let given = || zone.shared.read_text_bytes(call.tid, 112);
                let (value, bytes) =
                    self.control(zone, caller, int(args[1]), int(args[2]), given)?;
                put(&bytes);
                Ok(value)
            }
            _ => Err(libc::ENOSYS),
        }
    }

    fn get(&mut self, caller: &Caller, key: u64, size: u64, flags: i32) -> Result<i64, i32> {
        let is_huge = flags & libc::SHM_HUGETLB != 0;
        let may_be_huge = caller.has(Power::Lock) || caller.is_member(0);
        let (total, most) = (self.pages, [self.size_max, self.pages_max]);
        let id = self.all.get(
            caller,
            int(key).cast_unsigned(),
            flags.cast_unsigned(),
            |segment| {
                if size <= segment.size {
                    Ok(())
                } else {
                    Err(libc::EINVAL)
                }
            },
            |_| {
                match must_fit(size, total, flags, most) {
                    Err(libc::ENOMEM) if is_huge && !may_be_huge => return Err(libc::EPERM),
                    other => other?,
                }
                Ok(Segment {
                    size,
                    memory: None,
                    atime: 0,
                    dtime: 0,
                    ctime: now(),
                    creator: caller.pid,
                    last: ZonePid(0),
                })
            },
        )?;
        self.pages = self.all.all().map(|(_, it)| pages(it.of.size)).sum();
        Ok(id)
    }

    /// A description of the segment's memory that allows what the flags ask for, and its size.
    fn attach(&mut self, caller: &Caller, id: i32, flags: i32) -> Result<(OwnedFd, u64), i32> {
        let Object { perm, of: segment } = self.all.find(id)?;
        let is_read_only = flags & libc::SHM_RDONLY != 0;
        let mut wanted = if is_read_only { 0o4 } else { 0o6 };
        if flags & libc::SHM_EXEC != 0 {
            wanted |= 0o1;
        }
        perm.permit(caller, wanted)?;
        if segment.memory.is_none() {
            segment.memory = Some(memory(perm, segment.size)?);
        }
        let (memory, _) = segment.memory.as_ref().ok_or(libc::ENOMEM)?;
        let opened = OpenOptions::new()
            .read(true)
            .write(!is_read_only)
            .open(own_path(memory))
            .map_err(super::super::files::errno)?;
        segment.atime = now();
        segment.last = caller.pid;
        Ok((opened.into(), segment.size))
    }

    /// The ranges to be unmapped: start and length.
    fn detach(&mut self, caller: &Caller, address: u64) -> Result<Vec<[u64; 2]>, i32> {
        let maps = maps(HostPid(caller.tid));
        // What begins at the address is named by its place in the file, too (ksys_shmdt).
        let is_at = |map: &Map| map.start >= address && map.start - address == map.offset;
        let mut known = self.all.all_mut().filter_map(|(_, object)| {
            let inode = object.of.memory.as_ref()?.1;
            Some((inode, &mut object.of))
        });
        for first in maps.iter().filter(|map| is_at(map)) {
            let Some((inode, segment)) = known.find(|(inode, _)| *inode == first.inode) else {
                continue;
            };
            segment.dtime = now();
            segment.last = caller.pid;
            let of_it = maps.iter().filter(|map| {
                map.inode == inode && is_at(map) && map.start - address < pages(segment.size) * PAGE
            });
            return Ok(of_it.map(|map| [map.start, map.end - map.start]).collect());
        }
        Err(libc::EINVAL)
    }

    fn control(
        &mut self,
        zone: &Zone,
        caller: &Caller,
        id: i32,
        op: i32,
        given: impl FnOnce() -> Vec<u8>,
    ) -> Result<(i64, Vec<u8>), i32> {
        const SHM_STAT: i32 = 13;
        const SHM_INFO: i32 = 14;
        const SHM_STAT_ANY: i32 = 15;
        if id < 0 || op < 0 {
            return Err(libc::EINVAL);
        }
        match op {
            libc::IPC_INFO => {
                let count = u64::try_from(self.all.max).unwrap_or(u64::MAX);
                let (size, pages) = (self.size_max, self.pages_max);
                let limits = [size, 1, count, count, pages, 0, 0, 0, 0];
                Ok((self.all.highest(), Record::default().u64s(limits).bytes()))
            }
            SHM_INFO => {
                let count = u64::try_from(self.all.count()).unwrap_or(0);
                let resident: u64 = self.all.all().map(|(_, it)| it.of.resident()).sum();
                let words = [count, self.pages, resident / PAGE, 0, 0, 0];
                Ok((self.all.highest(), Record::default().u64s(words).bytes()))
            }
            libc::IPC_STAT | SHM_STAT | SHM_STAT_ANY => {
                let (id, object) = if op == libc::IPC_STAT {
                    (0, self.all.find(id)?)
                } else {
                    self.all.at(id)?
                };
                if op != SHM_STAT_ANY {
                    object.perm.permit(caller, 0o444)?;
                }
                let count = object.of.inode().map_or(0, |inode| {
                    attachments(zone, HashSet::from([inode])).count(inode)
                });
                Ok((i64::from(id), object.of.record(&object.perm, count)))
            }
            libc::IPC_SET => {
                let object = self.all.find(id)?;
                object.perm.own(caller)?;
                object.perm.set(&given())?;
                object.of.ctime = now();
                Ok((0, Vec::new()))
            }
            libc::IPC_RMID => {
                let object = self.all.find(id)?;
                object.perm.own(caller)?;
                // Nobody finds it by its key any more; it goes when nobody has it attached.
                object.perm.key = libc::IPC_PRIVATE.cast_unsigned();
                if object.perm.mode & SHM_DEST == 0 {
                    object.perm.mode |= SHM_DEST;
                    self.removed += 1;
                }
                Ok((0, Vec::new()))
            }
            libc::SHM_LOCK | libc::SHM_UNLOCK => {
                let object = self.all.find(id)?;
                if !caller.has(Power::Lock) {
                    object.perm.belong_to(caller)?;
                }
                // Only the flag: memory of a zone is not held in the host's memory by this.
                object.perm.mode &= !SHM_LOCKED;
                if op == libc::SHM_LOCK {
                    object.perm.mode |= SHM_LOCKED;
                }
                Ok((0, Vec::new()))
            }
            _ => Err(libc::EINVAL),
        }
    }

    /// Lets removed segments go that nobody has attached, and watches who still has one.
    pub(super) fn settle(&mut self, zone: &Zone, watched: &mut Watched) {
        if self.removed == 0 {
            return;
        }
        let removed = self
            .all
            .all()
            .filter(|(_, it)| it.perm.mode & SHM_DEST != 0);
        let removed: Vec<(i32, Option<Inode>)> =
            removed.map(|(id, it)| (id, it.of.inode())).collect();
        let inodes = removed.iter().filter_map(|(_, inode)| *inode).collect();
        let found = attachments(zone, inodes);
        for (id, inode) in removed {
            if inode.is_none_or(|inode| found.count(inode) == 0) {
                self.all.remove(id);
                self.removed -= 1;
            }
        }
        self.pages = self.all.all().map(|(_, it)| pages(it.of.size)).sum();
        for holder in found.holders {
            zone.ipc.bell.watch(watched, holder);
        }
    }

    /// Rows of `/proc/sysvipc/shm`.
    pub(super) fn table(&mut self, zone: &Zone) -> Vec<u8> {
        let inodes = self.all.all().filter_map(|(_, it)| it.of.inode()).collect();
        let found = attachments(zone, inodes);
        let row = |(id, object): (i32, &Object<Segment>)| {
            let (perm, it) = (&object.perm, &object.of);
            let count = it.inode().map_or(0, |inode| found.count(inode));
            format!(
                "{:10} {id:10}  {:4o} {:21} {:5} {:5}  {count:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10} {:21} {:21}\n",
                perm.key.cast_signed(),
                perm.mode,
                it.size,
                it.creator.0,
                it.last.0,
                perm.uid,
                perm.gid,
                perm.cuid,
                perm.cgid,
                it.atime,
                it.dtime,
                it.ctime,
                it.resident(),
                0,
            )
        };
        self.all.all().map(row).collect::<String>().into_bytes()
    }
}

impl Segment {
    fn inode(&self) -> Option<Inode> {
        self.memory.as_ref().map(|(_, inode)| *inode)
    }

    /// Bytes of it that are in memory.
    fn resident(&self) -> u64 {
        let data = self
            .memory
            .as_ref()
            .map(|(fd, _)| nix::sys::stat::fstat(fd));
        let blocks = data.and_then(Result::ok).map_or(0, |data| data.st_blocks);
        u64::try_from(blocks).unwrap_or(0) * 512
    }

    /// `struct shmid64_ds`.
    fn record(&self, perm: &Perm, attached: u64) -> Vec<u8> {
        perm.record()
            .u64s([self.size])
            .i64s([self.atime, self.dtime, self.ctime])
            .u32s([self.creator.0, self.last.0])
            .u64s([attached, 0, 0])
            .bytes()
    }
}

/// The limits of a new segment (newseg): bytes of one, pages of all.
fn must_fit(size: u64, total: u64, flags: i32, [one, all]: [u64; 2]) -> Result<(), i32> {
    if size == 0 || size > one {
        return Err(libc::EINVAL);
    }
    let needed = pages(size);
    if total.checked_add(needed).is_none_or(|sum| sum > all) {
        return Err(libc::ENOSPC);
    }
    if flags & libc::SHM_HUGETLB != 0 || i64::try_from(needed * PAGE).is_err() {
        // There are no huge pages for zones.
        return Err(libc::ENOMEM);
    }
    let has_room = |host: nix::sys::sysinfo::SysInfo| {
        let there = host.ram_total().saturating_add(host.swap_total());
        needed * PAGE <= there
    };
    let is_reserved = flags & libc::SHM_NORESERVE == 0;
    if is_reserved && !nix::sys::sysinfo::sysinfo().is_ok_and(has_room) {
        return Err(libc::ENOMEM);
    }
    Ok(())
}

/// The memory of a segment, zeroed, of a size that nobody can change.
fn memory(perm: &Perm, size: u64) -> Result<(OwnedFd, Inode), i32> {
    let name = format!("SYSV{:08x}", perm.key);
    let made = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let fd = memfd_create(name.as_str(), made).map_err(|_| libc::ENOMEM)?;
    let file = File::from(fd);
    file.set_len(pages(size) * PAGE).map_err(|_| libc::ENOMEM)?;
    let fixed = SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(fixed)).map_err(|errno| errno as i32)?;
    let data = nix::sys::stat::fstat(&file).map_err(|errno| errno as i32)?;
    Ok((file.into(), (data.st_dev, data.st_ino)))
}

/// A mapping of a process.
#[derive(Debug, PartialEq, Eq)]
struct Map {
    start: u64,
    end: u64,
    offset: u64,
    inode: Inode,
}

fn maps(host: HostPid) -> Vec<Map> {
    let text = crate::proc_text::read(format!("/proc/{host}/maps")).unwrap_or_default();
    text.lines().filter_map(parse).collect()
}

/// A line of `/proc/PID/maps` (proc_pid_maps(5)).
fn parse(line: &str) -> Option<Map> {
    let mut fields = line.split_ascii_whitespace();
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = fields.next()?.split_once('-')?;
    let offset = fields.nth(1)?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    Some(Map {
        start: hex(start)?,
        end: hex(end)?,
        offset: hex(offset)?,
        inode: (
            libc::makedev(number(major)?, number(minor)?),
            fields.next()?.parse().ok()?,
        ),
    })
}

/// Who has which segments attached.
struct Attachments {
    counts: HashMap<Inode, u64>,
    holders: Vec<HostPid>,
}

impl Attachments {
    fn count(&self, inode: Inode) -> u64 {
        self.counts.get(&inode).copied().unwrap_or(0)
    }
}

fn attachments(zone: &Zone, inodes: HashSet<Inode>) -> Attachments {
    let mut found = Attachments {
        counts: HashMap::new(),
        holders: Vec::new(),
    };
    if inodes.is_empty() {
        return found;
    }
    for (_, host) in guests::all(&zone.shared, zone.init_pid()) {
        let mut has_one = false;
        for map in maps(host).iter().filter(|map| inodes.contains(&map.inode)) {
            *found.counts.entry(map.inode).or_default() += 1;
            has_one = true;
        }
        if has_one {
            found.holders.push(host);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use picozone_personality::capabilities::Capabilities;

    #[test]
    fn lines_of_maps() {
        let line =
            "7f0000001000-7f0000003000 rw-s 00001000 00:01 2058 /memfd:SYSV00000000 (deleted)";
        let map = Map {
            start: 0x7f00_0000_1000,
            end: 0x7f00_0000_3000,
            offset: 0x1000,
            inode: (1, 2058),
        };
        assert_eq!(parse(line), Some(map));
        assert_eq!(parse(""), None);
        assert_eq!(parse("1000-2000 r--p 0 00:00"), None);
    }

    #[test]
    fn sizes_are_limited() {
        assert_eq!(must_fit(0, 0, 0, [MAX; 2]), Err(libc::EINVAL));
        assert_eq!(must_fit(u64::MAX, 0, 0, [MAX; 2]), Err(libc::EINVAL));
        assert_eq!(must_fit(1, MAX, 0, [MAX; 2]), Err(libc::ENOSPC));
        assert_eq!(must_fit(1 << 62, 0, 0, [MAX; 2]), Err(libc::ENOMEM));
        assert_eq!(must_fit(1, 0, 0, [MAX; 2]), Ok(()));
    }

    #[test]
    fn memory_keeps_its_size() {
        let perm = Registry::new(1);
        let mut perm: Registry<()> = perm;
        let caller = Caller {
            tid: 1,
            pid: ZonePid(1),
            uid: 0,
            gid: 0,
            fsgid: 0,
            groups: Vec::new(),
            capabilities: Capabilities::of_user(0),
        };
        let id = perm.get(&caller, 0, 0, |()| Ok(()), |_| Ok(()));
        let id = i32::try_from(id.expect("made")).expect("small");
        let (fd, inode) = memory(&perm.find(id).expect("there").perm, 5000).expect("memory");
        let data = nix::sys::stat::fstat(&fd).expect("there");
        assert_eq!((data.st_size, (data.st_dev, data.st_ino)), (8192, inode));
        assert!(nix::unistd::ftruncate(&fd, 0).is_err());
        assert!(nix::unistd::ftruncate(&fd, 1 << 20).is_err());
    }
}
