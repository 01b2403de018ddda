//! The control socket: what the command line asks of a running zone.

use super::injecting::inject;
use super::net::unix::take_no_rights;
use super::procfs::View;
use super::programs::{Event, Program};
use super::tracing::follow;
use super::zone::Zone;
use super::{guests, paths};
use crate::control::{Exec, Reply, Request, Running, Stat, Status, Word};
use crate::ids::HostPid;
use crate::zone::channel::Channel;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{SockFlag, accept4};
use nix::unistd::Pid;
use picozone_personality::mailbox::Request as Doorbell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, UNIX_EPOCH};

/// Accepts connections, each served by a thread of its own.
pub fn serve(zone: &Arc<Zone>, listener: &OwnedFd, halt: &crossbeam::channel::Sender<Duration>) {
    while let Ok(fd) = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
        // SAFETY: accept4 has just made this descriptor for us.
        let channel = Arc::new(Channel::accepted(unsafe { OwnedFd::from_raw_fd(fd) }));
        let own = nix::unistd::geteuid().as_raw();
        if !channel.peer_uid().is_ok_and(|uid| uid == 0 || uid == own) {
            continue;
        }
        let (zone, halt) = (Arc::clone(zone), halt.clone());
        std::thread::spawn(move || connection(&zone, &channel, &halt));
    }
}

fn connection(
    zone: &Arc<Zone>,
    channel: &Arc<Channel>,
    halt: &crossbeam::channel::Sender<Duration>,
) {
    while let Ok(Some((request, fds))) = channel.receive::<Request>() {
        let reply = match request {
            Request::Status => Reply::Status(Status {
                monitor_pid: std::process::id().cast_signed(),
                init_pid: zone.init_pid().0.cast_signed(),
                processes: guests::all(&zone.shared, zone.init_pid()).len(),
                booted_at: zone
                    .booted
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |since| since.as_secs()),
            }),
            Request::Exec(exec) => return program(zone, channel, &exec, fds),
            Request::Trace(how) => return follow(zone, channel, how, fds),
            Request::Inject { rules } => return inject(zone, channel, &rules),
            Request::Signal { .. } | Request::Untrace | Request::Uninject => Reply::Error {
                message: "nothing to do it to; start a program or a trace on this connection first"
                    .into(),
            },
            Request::Ports => Reply::Ports {
                ports: zone.net.ports(),
            },
            Request::Publish(publish) => done(zone.net.publish(publish)),
            Request::Unpublish(publish) => done(zone.net.unpublish(&publish)),
            Request::Halt { grace_ms } => {
                let _ = halt.send(Duration::from_millis(grace_ms));
                Reply::Ok
            }
            Request::Stat => Reply::Stat(stat(zone)),
            Request::Report => done(zone.refusals.save(&zone.run_dir)),
            Request::Users => Reply::Users { users: users(zone) },
            Request::Process { host_pid } => Reply::Process {
                zone_pid: guests::to_zone(&zone.shared, HostPid(host_pid)).map(|pid| pid.0),
            },
        };
        if channel.send(&reply, &[]).is_err() {
            return;
        }
    }
}

fn done(result: crate::error::Result<()>) -> Reply {
    match result {
        Ok(()) => Reply::Ok,
        Err(error) => Reply::Error {
            message: format!("{error}; {}", error.remedy()),
        },
    }
}

fn stat(zone: &Zone) -> Stat {
    let name = |nr: usize| {
        let row = u32::try_from(nr).ok().and_then(picozone_syscalls::row);
        row.map_or_else(|| format!("call {nr}"), |row| row.name.to_owned())
    };
    let calls = |counters: &[std::sync::atomic::AtomicU64]| {
        counters
            .iter()
            .enumerate()
            .map(|(nr, count)| (name(nr), count.load(Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect()
    };
    let commons = zone.shared.commons();
    let requests = Doorbell::ALL.iter().map(|request| {
        (
            request.name().to_owned(),
            zone.counters[*request as usize].load(Relaxed),
        )
    });
    Stat {
        requests: requests.filter(|(_, count)| *count > 0).collect(),
        entered: calls(&commons.entered),
        refused: zone.refusals.by_call(),
    }
}

fn users(zone: &Zone) -> Vec<Running> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for (process, _) in guests::all(&zone.shared, zone.init_pid()) {
        let [_, effective, ..] = zone.credentials(process).uid;
        *counts.entry(effective).or_default() += 1;
    }
    let rows = counts.into_iter();
    rows.map(|(uid, processes)| Running { uid, processes })
        .collect()
}

fn read_file(zone: &Zone, path: &str) -> String {
    let mut text = String::with_capacity(4096);
    if let Ok(fd) = paths::open_in_zone(zone, path.as_bytes(), libc::O_RDONLY) {
        let _ = File::from(fd).take(1 << 20).read_to_string(&mut text);
    }
    text
}

/// Uid, gid and groups of a user of the zone.
fn user(zone: &Zone, name: Option<&str>) -> Result<(u32, u32, Vec<u32>), String> {
    let name = name.unwrap_or("root");
    let passwd = read_file(zone, "/etc/passwd");
    let found = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name) || fields.get(2) == Some(&name));
    let (login, uid, gid) = match found {
        Some(fields) => (
            fields[0].to_owned(),
            fields.get(2).and_then(|f| f.parse().ok()).unwrap_or(0),
            fields.get(3).and_then(|f| f.parse().ok()).unwrap_or(0),
        ),
        None if name == "root" => ("root".to_owned(), 0, 0),
        None => match name.parse() {
            Ok(number) => (name.to_owned(), number, number),
            Err(_) => {
                return Err(format!(
                    "the zone has no user {name}; its /etc/passwd lists them"
                ));
            }
        },
    };
    let groups = read_file(zone, "/etc/group")
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .filter(|fields| {
            fields
                .get(3)
                .is_some_and(|members| members.split(',').any(|member| member == login))
        })
        .filter_map(|fields| fields.get(2)?.parse().ok())
        .filter(|&group| zone.shared.tables().gids.has(group))
        .collect();
    let tables = zone.shared.tables();
    if !tables.uids.has(uid) || !tables.gids.has(gid) {
        return Err(format!(
            "the zone's map has no user {uid} of group {gid}; `zone config {} get users` shows it",
            zone.name
        ));
    }
    Ok((uid, gid, groups))
}

/// Where a program lies in the zone, searched as execvp does.
fn search(zone: &Zone, exec: &Exec) -> Option<Vec<u8>> {
    let name = exec.argv.first()?.as_bytes();
    if name.contains(&b'/') {
        return Some(name.to_vec());
    }
    let path = exec
        .env
        .iter()
        .find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="))
        .unwrap_or(b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    path.split(|&byte| byte == b':')
        .map(|directory| [directory, name].join(&b'/'))
        .find(|path| {
            paths::open_in_zone(zone, path, libc::O_PATH).is_ok_and(|fd| {
                use std::os::unix::fs::MetadataExt;
                File::from(fd)
                    .metadata()
                    .is_ok_and(|data| data.is_file() && data.mode() & 0o111 != 0)
            })
        })
}

/// Starts a program, whose other end is told what becomes of it by whoever hears that from init.
fn program(zone: &Arc<Zone>, channel: &Arc<Channel>, exec: &Exec, fds: Vec<OwnedFd>) {
    let refuse = |errno: i32, message: String| {
        let _ = channel.send(&Reply::NotStarted { errno, message }, &[]);
    };
    let [stdin, stdout, stderr] = match <[OwnedFd; 3]>::try_from(fds) {
        Ok(fds) => fds,
        Err(_) => return refuse(libc::EINVAL, "the request carries no descriptors".into()),
    };
    for fd in [&stdin, &stdout, &stderr] {
        if let Err(errno) = take_no_rights(fd.as_fd()) {
            tracing::debug!("a guest can be passed descriptors by what it was handed: {errno}");
        }
    }
    let user = match user(zone, exec.user.as_deref()) {
        Ok(user) => user,
        Err(message) => return refuse(libc::EINVAL, message),
    };
    let Some(path) = search(zone, exec) else {
        let name = exec.argv.first().map_or(&b""[..], Word::as_bytes);
        let name = String::from_utf8_lossy(name);
        let message = format!("there is no program {name} in the zone");
        return refuse(libc::ENOENT, message);
    };
    if exec.is_tty {
        for fd in [&stdin, &stdout, &stderr] {
            let path = super::descriptors::own_path(fd);
            super::files::take_terminal(zone, &path, user.0);
        }
    }
    let program = Program {
        argv: exec.argv.clone(),
        env: exec.env.clone(),
        path,
        cwd: exec.cwd.clone(),
        user,
        tty: exec.is_tty.then_some(0),
        trapped: exec.trapped.clone(),
    };
    let started = Arc::new(AtomicU32::new(0));
    let told = {
        let (channel, started) = (Arc::clone(channel), Arc::clone(&started));
        Box::new(move |event| tell(&channel, &started, event))
    };
    let fds = [&stdin, &stdout, &stderr].map(AsFd::as_fd);
    if let Err(errno) = zone.programs.start(&program, fds, told) {
        let why = std::io::Error::from_raw_os_error(errno);
        return refuse(errno, format!("the zone's init does not take it: {why}"));
    }
    drop((stdin, stdout, stderr));
    let send = |signal: i32| {
        let pid = crate::ids::ZonePid(started.load(Acquire));
        let host = guests::to_host(&zone.shared, zone.init_pid(), pid);
        if let (Some(host), Ok(signal)) = (host, Signal::try_from(signal)) {
            let _ = kill(Pid::from_raw(-host.0.cast_signed()), signal);
        }
    };
    while let Ok(Some((request, _))) = channel.receive::<Request>() {
        if let Request::Signal { signal } = request {
            send(signal);
        }
    }
    // Harmless where the program has ended; the terminal's end otherwise.
    send(libc::SIGHUP);
}

/// Tells a program's other end what has become of it. `started` is its number in the zone from then on.
fn tell(channel: &Channel, started: &AtomicU32, event: Event) {
    let (reply, is_over) = match event {
        Event::Started(0) => {
            let message = "the zone cannot make another process".into();
            let errno = libc::EAGAIN;
            (Reply::NotStarted { errno, message }, true)
        }
        Event::Started(zone_pid) => {
            started.store(zone_pid, Release);
            (Reply::Started { zone_pid }, false)
        }
        Event::Ended(wait_status) => (Reply::Exited { wait_status }, true),
    };
    // Who is gone learns nothing.
    let _ = channel.send(&reply, &[]);
    if is_over {
        channel.close();
    }
}
