//! `/proc` and `/dev` of a zone: what a path there is, and how a guest gets it.
//!
//! Only what is listed exists. A directory is a real one in the skeleton (`run/proc`, `run/dev`), so
//! that reading it and working in it need no help; its entries are placeholders, which lead every
//! other path call back here.

use super::descriptors::{open_path, own_path};
use super::files::errno;
use super::guests;
use super::zone::Zone;
use crate::ids::{HostPid, ZonePid};
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

/// What a path turns out to be.
enum Node {
    /// A directory with these entries.
    Directory(Vec<String>),
    /// A text of ours.
    Text(Vec<u8>),
    /// A file of the host, shown as it is.
    Host(PathBuf),
    /// A device of the host.
    Device(PathBuf),
    /// A symbolic link with this text.
    Link(String),
    /// A descriptor of a guest (`fd/N`, `cwd`, `root`), by its host link.
    Magic(HostPid, String),
}

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const HOST_FILES: [&str; 8] = [
    "meminfo",
    "cpuinfo",
    "stat",
    "uptime",
    "loadavg",
    "version",
    "filesystems",
    "vmstat",
];
const PROCESS_FILES: [&str; 14] = [
    "cmdline",
    "comm",
    "environ",
    "stat",
    "status",
    "statm",
    "maps",
    "limits",
    "mounts",
    "mountinfo",
    "cgroup",
    "oom_score_adj",
    "auxv",
    "io",
];

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}

fn find(zone: &Zone, caller: HostPid, path: &[u8]) -> Result<Node, i32> {
    let text = std::str::from_utf8(path).map_err(|_| libc::ENOENT)?;
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    match parts.as_slice() {
        ["dev", rest @ ..] => device(zone, rest),
        ["proc", rest @ ..] => process_path(zone, caller, rest),
        _ => Err(libc::ENOENT),
    }
}

fn device(zone: &Zone, rest: &[&str]) -> Result<Node, i32> {
    let ptys = || {
        zone.ptys
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
    };
    match rest {
        [] => {
            let mut all = names(&DEVICES);
            all.extend(names(&[
                "ptmx", "pts", "fd", "stdin", "stdout", "stderr", "shm",
            ]));
            Ok(Node::Directory(all))
        }
        [name] if DEVICES.contains(name) => Ok(Node::Device(Path::new("/dev").join(name))),
        ["ptmx"] | ["pts", "ptmx"] => Ok(Node::Device("/dev/ptmx".into())),
        ["pts"] => Ok(Node::Directory(ptys())),
        ["pts", number] if ptys().iter().any(|pty| pty == number) => {
            Ok(Node::Device(Path::new("/dev/pts").join(number)))
        }
        ["fd"] => Ok(Node::Link("/proc/self/fd".into())),
        ["fd", ..] => Err(libc::ENOENT),
        ["stdin"] => Ok(Node::Link("/proc/self/fd/0".into())),
        ["stdout"] => Ok(Node::Link("/proc/self/fd/1".into())),
        ["stderr"] => Ok(Node::Link("/proc/self/fd/2".into())),
        _ => Err(libc::ENOENT),
    }
}

/// The process of a thread.
fn leader(thread: HostPid) -> Option<HostPid> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())
        .map(HostPid)
}

fn process_path(zone: &Zone, caller: HostPid, rest: &[&str]) -> Result<Node, i32> {
    let processes = || guests::all(&zone.shared, zone.init_pid());
    match rest {
        [] => {
            let mut all = names(&HOST_FILES);
            all.extend(names(&[
                "self",
                "thread-self",
                "mounts",
                "net",
                "sys",
                "cmdline",
                "devices",
            ]));
            all.extend(processes().iter().map(|(pid, _)| pid.to_string()));
            Ok(Node::Directory(all))
        }
        ["self"] => {
            let leader = leader(caller).ok_or(libc::ENOENT)?;
            Ok(Node::Link(
                guests::to_zone(&zone.shared, leader)
                    .ok_or(libc::ENOENT)?
                    .to_string(),
            ))
        }
        ["self" | "thread-self", rest @ ..] => {
            let leader = leader(caller).ok_or(libc::ENOENT)?;
            of_process(zone, leader, rest)
        }
        ["mounts"] => Ok(Node::Link("self/mounts".into())),
        ["net"] => Ok(Node::Directory(names(&[
            "dev", "tcp", "tcp6", "udp", "udp6", "unix",
        ]))),
        ["net", "tcp" | "tcp6" | "udp" | "udp6" | "unix" | "dev"] => Ok(Node::Text(Vec::new())),
        ["cmdline" | "devices"] => Ok(Node::Text(b"\n".to_vec())),
        [name] if HOST_FILES.contains(name) => Ok(Node::Host(Path::new("/proc").join(name))),
        ["sys", rest @ ..] => system(zone, rest),
        [number, rest @ ..] => {
            let number: u32 = number.parse().map_err(|_| libc::ENOENT)?;
            let host = guests::to_host(&zone.shared, zone.init_pid(), ZonePid(number))
                .ok_or(libc::ENOENT)?;
            of_process(zone, host, rest)
        }
    }
}

fn system(zone: &Zone, rest: &[&str]) -> Result<Node, i32> {
    let host = |path: &str| Ok(Node::Host(Path::new("/proc/sys").join(path)));
    match rest {
        [] => Ok(Node::Directory(names(&["kernel", "fs", "vm", "net"]))),
        ["kernel"] => Ok(Node::Directory(names(&[
            "hostname",
            "ostype",
            "osrelease",
            "version",
            "pid_max",
            "ngroups_max",
            "cap_last_cap",
            "random",
        ]))),
        ["kernel", "hostname"] => {
            let name = &zone.shared.tables().hostname;
            let length = name.iter().position(|&b| b == 0).unwrap_or(name.len());
            Ok(Node::Text([&name[..length], b"\n"].concat()))
        }
        ["kernel", "pid_max"] => Ok(Node::Text(b"32768\n".to_vec())),
        ["kernel", "random"] => Ok(Node::Directory(names(&["uuid", "boot_id"]))),
        [
            "kernel",
            name @ ("ostype" | "osrelease" | "version" | "ngroups_max" | "cap_last_cap"
            | "overflowuid" | "overflowgid"),
        ] => host(&format!("kernel/{name}")),
        ["kernel", "random", name @ ("uuid" | "boot_id")] => host(&format!("kernel/random/{name}")),
        ["fs"] => Ok(Node::Directory(names(&[
            "file-max",
            "nr_open",
            "pipe-max-size",
        ]))),
        ["fs", name @ ("file-max" | "nr_open" | "pipe-max-size")] => host(&format!("fs/{name}")),
        ["vm"] => Ok(Node::Directory(names(&[
            "overcommit_memory",
            "max_map_count",
            "swappiness",
        ]))),
        [
            "vm",
            name @ ("overcommit_memory" | "max_map_count" | "swappiness"),
        ] => host(&format!("vm/{name}")),
        ["net"] => Ok(Node::Directory(names(&["core"]))),
        ["net", "core"] => Ok(Node::Directory(names(&["somaxconn"]))),
        ["net", "core", "somaxconn"] => host("net/core/somaxconn"),
        _ => Err(libc::ENOENT),
    }
}

fn of_process(zone: &Zone, host: HostPid, rest: &[&str]) -> Result<Node, i32> {
    let base = PathBuf::from(format!("/proc/{host}"));
    match rest {
        [] => {
            let mut all = names(&PROCESS_FILES);
            all.extend(names(&["fd", "cwd", "root", "exe", "task"]));
            Ok(Node::Directory(all))
        }
        ["fd"] => {
            let reserved = picozone_personality::layout::FD_BASE
                ..picozone_personality::layout::FD_BASE + picozone_personality::layout::FD_COUNT;
            let entries = std::fs::read_dir(base.join("fd")).map_err(|_| libc::ENOENT)?;
            Ok(Node::Directory(
                entries
                    .flatten()
                    .filter_map(|entry| entry.file_name().into_string().ok())
                    .filter(|name| {
                        name.parse()
                            .is_ok_and(|number: u32| !reserved.contains(&number))
                    })
                    .collect(),
            ))
        }
        ["fd", number] => {
            let number: u32 = number.parse().map_err(|_| libc::ENOENT)?;
            let reserved = picozone_personality::layout::FD_BASE
                ..picozone_personality::layout::FD_BASE + picozone_personality::layout::FD_COUNT;
            if reserved.contains(&number)
                || std::fs::read_link(base.join(format!("fd/{number}"))).is_err()
            {
                return Err(libc::ENOENT);
            }
            Ok(Node::Magic(host, format!("fd/{number}")))
        }
        ["cwd"] => Ok(Node::Magic(host, "cwd".into())),
        ["root"] => Ok(Node::Link("/".into())),
        ["exe"] => exe(zone, host).map(Node::Link),
        ["task"] => Ok(Node::Directory(vec![
            guests::to_zone(&zone.shared, host)
                .ok_or(libc::ENOENT)?
                .to_string(),
        ])),
        ["task", _, rest @ ..] => of_process(zone, host, rest),
        ["mounts"] => Ok(Node::Text(mounts_text(zone))),
        ["mountinfo"] => Ok(Node::Text(mountinfo_text(zone))),
        ["cgroup"] => Ok(Node::Text(b"0::/\n".to_vec())),
        ["stat"] => stat_text(zone, host).map(Node::Text),
        ["status"] => status_text(zone, host).map(Node::Text),
        ["maps"] => maps_text(zone, host).map(Node::Text),
        [name @ ("cmdline" | "comm" | "environ" | "statm" | "limits" | "auxv" | "io")] => {
            std::fs::read(base.join(name))
                .map(Node::Text)
                .map_err(|_| libc::ENOENT)
        }
        ["oom_score_adj"] => Ok(Node::Text(b"0\n".to_vec())),
        _ => Err(libc::ENOENT),
    }
}

/// The zone path of a process' program: what is mapped where its code starts.
fn exe(zone: &Zone, host: HostPid) -> Result<String, i32> {
    let fields = stat_fields(host)?;
    let start: u64 = fields
        .get(25)
        .and_then(|field| field.parse().ok())
        .ok_or(libc::ENOENT)?;
    let maps = std::fs::read_to_string(format!("/proc/{host}/maps")).map_err(|_| libc::ENOENT)?;
    for line in maps.lines() {
        let Some((from, to)) = line
            .split(' ')
            .next()
            .and_then(|range| range.split_once('-'))
        else {
            continue;
        };
        let bounds = u64::from_str_radix(from, 16)
            .ok()
            .zip(u64::from_str_radix(to, 16).ok());
        if bounds.is_some_and(|(from, to)| (from..to).contains(&start))
            && let Some(path) = line.find('/').and_then(|at| line.get(at..))
        {
            let path = zone.to_zone_path(path.as_bytes()).ok_or(libc::ENOENT)?;
            return String::from_utf8(path).map_err(|_| libc::ENOENT);
        }
    }
    Err(libc::ENOENT)
}

/// The fields of `/proc/PID/stat` (proc(5)); the name, in parentheses, is field 1.
fn stat_fields(host: HostPid) -> Result<Vec<String>, i32> {
    let text = std::fs::read_to_string(format!("/proc/{host}/stat")).map_err(|_| libc::ENOENT)?;
    let (open, close) = text.find('(').zip(text.rfind(')')).ok_or(libc::ENOENT)?;
    let mut fields = vec![
        text[..open].trim().to_owned(),
        text[open..=close].to_owned(),
    ];
    fields.extend(text[close + 1..].split_whitespace().map(str::to_owned));
    Ok(fields)
}

fn zone_number(zone: &Zone, host: &str) -> String {
    host.parse()
        .ok()
        .and_then(|host| guests::to_zone(&zone.shared, HostPid(host)))
        .map_or_else(|| "0".to_owned(), |pid| pid.to_string())
}

fn stat_text(zone: &Zone, host: HostPid) -> Result<Vec<u8>, i32> {
    let mut fields = stat_fields(host)?;
    for at in [0, 3, 4, 5] {
        if let Some(field) = fields.get_mut(at) {
            *field = zone_number(zone, field);
        }
    }
    if let Some(field) = fields.get_mut(7)
        && field != "-1"
    {
        *field = zone_number(zone, field);
    }
    Ok((fields.join(" ") + "\n").into_bytes())
}

fn status_text(zone: &Zone, host: HostPid) -> Result<Vec<u8>, i32> {
    let text = std::fs::read_to_string(format!("/proc/{host}/status")).map_err(|_| libc::ENOENT)?;
    let pid = guests::to_zone(&zone.shared, host).ok_or(libc::ENOENT)?;
    let process = &zone.shared.commons().processes[pid.0 as usize];
    let four = |ids: &[std::sync::atomic::AtomicU32; 4]| {
        ids.iter()
            .map(|id| id.load(Relaxed).to_string())
            .collect::<Vec<_>>()
            .join("\t")
    };
    let is_root = process.uid[1].load(Relaxed) == 0;
    let mut out = String::new();
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        let new = match name {
            "Tgid" | "Pid" | "PPid" => zone_number(zone, value),
            "TracerPid" | "NoNewPrivs" | "Seccomp" | "Seccomp_filters" => "0".to_owned(),
            "Uid" => four(&process.uid),
            "Gid" => four(&process.gid),
            "Groups" => {
                let count = process.group_count.load(Relaxed) as usize;
                process
                    .groups
                    .iter()
                    .take(count)
                    .map(|id| id.load(Relaxed).to_string() + " ")
                    .collect()
            }
            "NStgid" | "NSpid" | "NSpgid" | "NSsid" => zone_number(zone, value),
            "CapPrm" | "CapEff" | "CapBnd" => if is_root {
                "000001ffffffffff"
            } else {
                "0000000000000000"
            }
            .to_owned(),
            _ => value.to_owned(),
        };
        out += &format!("{name}:\t{new}\n");
    }
    Ok(out.into_bytes())
}

fn maps_text(zone: &Zone, host: HostPid) -> Result<Vec<u8>, i32> {
    use picozone_personality::layout::{PERSONALITY_BASE, REGION_END};
    let text = std::fs::read_to_string(format!("/proc/{host}/maps")).map_err(|_| libc::ENOENT)?;
    let mut out = String::new();
    for line in text.lines() {
        let from = line
            .split('-')
            .next()
            .and_then(|from| u64::from_str_radix(from, 16).ok())
            .unwrap_or(0);
        if (PERSONALITY_BASE..REGION_END).contains(&from) {
            continue;
        }
        match line.find('/').map(|at| line.split_at(at)) {
            Some((start, path)) => {
                let shown = zone
                    .to_zone_path(path.as_bytes())
                    .and_then(|path| String::from_utf8(path).ok());
                out += start;
                out += &shown.unwrap_or_default();
            }
            None => out += line,
        }
        out.push('\n');
    }
    Ok(out.into_bytes())
}

fn mount_lines(zone: &Zone) -> impl Iterator<Item = (String, &'static str, &'static str)> {
    zone.mounts.iter().rev().map(|mount| {
        let path = mount.spec.zone_path.display().to_string();
        let kind = match path.as_str() {
            "/proc" => "proc",
            "/dev" => "devtmpfs",
            _ => "ext4",
        };
        (path, kind, if mount.spec.read_only { "ro" } else { "rw" })
    })
}

fn mounts_text(zone: &Zone) -> Vec<u8> {
    mount_lines(zone)
        .map(|(path, kind, options)| format!("zone {path} {kind} {options} 0 0\n"))
        .collect::<String>()
        .into_bytes()
}

fn mountinfo_text(zone: &Zone) -> Vec<u8> {
    mount_lines(zone)
        .enumerate()
        .map(|(at, (path, kind, options))| {
            format!(
                "{} {} 0:{} / {path} {options} - {kind} zone {options}\n",
                at + 20,
                19,
                at + 20
            )
        })
        .collect::<String>()
        .into_bytes()
}

/// A link's text.
pub fn readlink(zone: &Zone, caller: HostPid, path: &[u8]) -> Result<Vec<u8>, i32> {
    match find(zone, caller, path)? {
        Node::Link(text) => Ok(text.into_bytes()),
        Node::Magic(host, name) => {
            let target =
                std::fs::read_link(format!("/proc/{host}/{name}")).map_err(|_| libc::ENOENT)?;
            let bytes = target.as_os_str().as_bytes();
            if bytes.first() == Some(&b'/') && !bytes.starts_with(b"/dev/") {
                return zone.to_zone_path(bytes).ok_or(libc::ENOENT);
            }
            Ok(bytes.to_vec())
        }
        _ => Err(libc::EINVAL),
    }
}

fn follow(zone: &Zone, caller: HostPid, path: &[u8], is_nofollow: bool) -> Result<Node, i32> {
    let mut path = path.to_vec();
    for _ in 0..8 {
        match find(zone, caller, &path) {
            Ok(Node::Link(text)) if !is_nofollow => {
                path = if text.starts_with('/') {
                    text.into_bytes()
                } else {
                    let cut = path.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
                    [&path[..cut], text.as_bytes()].concat()
                };
            }
            Err(libc::ENOENT) => {
                // A link on the way: /dev/fd/N.
                let Some(rest) = path.strip_prefix(b"/dev/fd/") else {
                    return Err(libc::ENOENT);
                };
                path = [b"/proc/self/fd/".as_slice(), rest].concat();
            }
            other => return other,
        }
    }
    Err(libc::ELOOP)
}

fn memfd(content: &[u8]) -> Result<OwnedFd, i32> {
    let fd = nix::sys::memfd::memfd_create("proc", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)
        .map_err(|errno| errno as i32)?;
    File::from(fd.try_clone().map_err(errno)?)
        .write_all(content)
        .map_err(errno)?;
    File::open(own_path(&fd)).map(OwnedFd::from).map_err(errno)
}

/// The skeleton's directory for a zone path, filled with these entries.
fn directory(zone: &Zone, path: &[u8], entries: &[String]) -> Result<PathBuf, i32> {
    let relative = std::str::from_utf8(path)
        .map_err(|_| libc::ENOENT)?
        .trim_matches('/');
    let place = zone.run_dir.join(relative);
    std::fs::create_dir_all(&place).map_err(errno)?;
    for entry in std::fs::read_dir(&place).map_err(errno)?.flatten() {
        if !entry
            .file_name()
            .to_str()
            .is_some_and(|name| entries.iter().any(|entry| entry == name))
        {
            let _ = std::fs::remove_file(entry.path())
                .or_else(|_| std::fs::remove_dir_all(entry.path()));
        }
    }
    for name in entries {
        let at = place.join(name);
        let is_directory = name.bytes().all(|b| b.is_ascii_digit()) && relative == "proc"
            || matches!(
                name.as_str(),
                "fd" | "task" | "net" | "sys" | "pts" | "kernel" | "vm" | "fs" | "core" | "random"
            ) && relative != "dev"
            || name == "pts";
        let _ = if is_directory {
            std::fs::create_dir(&at)
        } else {
            std::os::unix::fs::symlink("/.zone-mount", &at)
        };
    }
    Ok(place)
}

/// Opens a path for a guest.
pub fn open(zone: &Zone, caller: HostPid, path: &[u8], flags: i32) -> Result<OwnedFd, i32> {
    let node = follow(zone, caller, path, flags & libc::O_NOFOLLOW != 0)?;
    let wants_directory = flags & libc::O_DIRECTORY != 0;
    let is_path = flags & libc::O_PATH != 0;
    let is_write = matches!(flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR);
    match node {
        Node::Directory(entries) => {
            if is_write {
                return Err(libc::EISDIR);
            }
            let real = match path.strip_prefix(b"/proc/self".as_slice()) {
                Some(rest) => {
                    let leader = leader(caller).ok_or(libc::ENOENT)?;
                    let number = guests::to_zone(&zone.shared, leader)
                        .ok_or(libc::ENOENT)?
                        .to_string();
                    [b"/proc/".as_slice(), number.as_bytes(), rest].concat()
                }
                None => path.to_vec(),
            };
            let place = directory(zone, &real, &entries)?;
            let kept = if is_path { libc::O_PATH } else { 0 };
            OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_DIRECTORY | kept)
                .open(place)
                .map(OwnedFd::from)
                .map_err(errno)
        }
        _ if wants_directory => match node {
            Node::Magic(host, name) => {
                let own = open_path(host, magic_number(&name)?)?;
                if is_path {
                    Ok(own)
                } else {
                    super::descriptors::reopen(&own, libc::O_RDONLY | libc::O_DIRECTORY)
                        .map(OwnedFd::from)
                }
            }
            _ => Err(libc::ENOTDIR),
        },
        Node::Text(content) => {
            if is_write {
                Err(libc::EACCES)
            } else {
                memfd(&content)
            }
        }
        Node::Host(path) => {
            if is_write {
                Err(libc::EACCES)
            } else {
                File::open(path).map(OwnedFd::from).map_err(errno)
            }
        }
        Node::Device(path) => device_open(zone, caller, &path, flags),
        Node::Link(_) => {
            if is_path {
                Err(libc::ELOOP)
            } else {
                Err(libc::ELOOP)
            }
        }
        Node::Magic(host, name) => {
            let own = open_path(host, magic_number(&name)?)?;
            if is_write {
                let path = std::fs::read_link(own_path(&own)).map_err(errno)?;
                let bytes = path.as_os_str().as_bytes();
                let lasts = bytes.first() == Some(&b'/') && !bytes.starts_with(b"/dev/");
                if lasts && !zone.is_writable(bytes) {
                    return Err(libc::EROFS);
                }
            }
            super::descriptors::reopen(&own, flags & !libc::O_PATH).map(OwnedFd::from)
        }
    }
}

fn magic_number(name: &str) -> Result<i32, i32> {
    match name.strip_prefix("fd/") {
        Some(number) => number.parse().map_err(|_| libc::ENOENT),
        None => Ok(libc::AT_FDCWD),
    }
}

fn device_open(zone: &Zone, caller: HostPid, path: &Path, flags: i32) -> Result<OwnedFd, i32> {
    let mut target = path.to_owned();
    if path == Path::new("/dev/tty") {
        // The caller's controlling terminal, if it is one of the zone's.
        let number: u32 = stat_fields(caller)?
            .get(6)
            .and_then(|field| field.parse().ok())
            .ok_or(libc::ENXIO)?;
        let minor = number & 0xff | number >> 12 & 0xf_ff00;
        let ptys = zone
            .ptys
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if number >> 8 & 0xfff != 136 || !ptys.contains(&minor) {
            return Err(libc::ENXIO);
        }
        target = Path::new("/dev/pts").join(minor.to_string());
    }
    let access = flags & libc::O_ACCMODE;
    let fd = OpenOptions::new()
        .read(access != libc::O_WRONLY)
        .write(access != libc::O_RDONLY)
        .custom_flags(libc::O_NOCTTY | flags & (libc::O_NONBLOCK | libc::O_PATH))
        .open(&target)
        .map_err(errno)?;
    if target == Path::new("/dev/ptmx") {
        let mut number = 0u32;
        // SAFETY: TIOCGPTN writes one int.
        if unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGPTN, &raw mut number) } == 0 {
            zone.ptys
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .insert(number);
        }
    }
    Ok(fd.into())
}

/// Attributes of a path, as the bytes of a `struct statx`.
pub fn stat(zone: &Zone, caller: HostPid, path: &[u8], is_nofollow: bool) -> Result<Vec<u8>, i32> {
    let node = follow(zone, caller, path, is_nofollow)?;
    // SAFETY: all zero is a valid `struct statx`.
    let mut x: libc::statx = unsafe { std::mem::zeroed() };
    let set = |x: &mut libc::statx, mode: u32| x.stx_mode = u16::try_from(mode).unwrap_or(0);
    x.stx_mask = libc::STATX_BASIC_STATS;
    x.stx_nlink = 1;
    x.stx_blksize = 1024;
    x.stx_ino = path.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    match &node {
        Node::Directory(_) => {
            set(&mut x, libc::S_IFDIR | 0o555);
            x.stx_nlink = 2;
            let number = path
                .strip_prefix(b"/proc/")
                .and_then(|rest| std::str::from_utf8(rest).ok())
                .and_then(|rest| rest.split('/').next()?.parse::<usize>().ok());
            if let Some(process) =
                number.and_then(|number| zone.shared.commons().processes.get(number))
            {
                x.stx_uid = process.uid[1].load(Relaxed);
                x.stx_gid = process.gid[1].load(Relaxed);
            }
        }
        Node::Text(_) | Node::Host(_) => set(&mut x, libc::S_IFREG | 0o444),
        Node::Link(_) => set(&mut x, libc::S_IFLNK | 0o777),
        Node::Magic(..) if is_nofollow => set(&mut x, libc::S_IFLNK | 0o700),
        Node::Magic(host, name) => {
            let own = open_path(*host, magic_number(name)?)?;
            return host_statx(&own);
        }
        Node::Device(path) => {
            let own: OwnedFd = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_PATH)
                .open(path)
                .map_err(errno)?
                .into();
            let bytes = host_statx(&own)?;
            return Ok(bytes);
        }
    }
    Ok(bytes_of(&x))
}

fn host_statx(fd: &OwnedFd) -> Result<Vec<u8>, i32> {
    // SAFETY: all zero is a valid `struct statx`.
    let mut x: libc::statx = unsafe { std::mem::zeroed() };
    let empty = CString::default();
    // SAFETY: buffer and path are ours.
    let result = unsafe {
        libc::statx(
            fd.as_fd().as_raw_fd(),
            empty.as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_BASIC_STATS,
            &raw mut x,
        )
    };
    if result < 0 {
        return Err(errno(std::io::Error::last_os_error()));
    }
    // The host's user is the zone's root.
    (x.stx_uid, x.stx_gid) = (
        0,
        if u32::from(x.stx_mode) & libc::S_IFMT == libc::S_IFCHR && x.stx_gid < 1000 {
            x.stx_gid
        } else {
            0
        },
    );
    Ok(bytes_of(&x))
}

fn bytes_of(x: &libc::statx) -> Vec<u8> {
    // SAFETY: plain data of the kernel, all of it initialised.
    unsafe {
        std::slice::from_raw_parts(std::ptr::from_ref(x).cast::<u8>(), size_of::<libc::statx>())
    }
    .to_vec()
}
