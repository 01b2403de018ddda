//! From nothing to a serving monitor.

use super::copies::Copies;
use super::handles::Handles;
use super::injecting::Injecting;
use super::keys::Keys;
use super::layers::{self, Layers};
use super::mounting::{Mounting, cover};
use super::mounts::{self, Mount};
use super::net::Net;
use super::net::inet::rows::SharedRows;
use super::notify::Listener;
use super::owners::Owners;
use super::programs::Programs;
use super::quota::Quota;
use super::reached::{self, Reached};
use super::refusals::Refusals;
use super::served::Served;
use super::settings::{self, Settings};
use super::shared::Shared;
use super::strict::Strict;
use super::terminals::Terminals;
use super::tracing::Tracing;
use super::used::Used;
use super::watches::Silent;
use super::zone::Zone;
use super::{control, ipc, requests, threads};
use crate::config::{Config, IdKind, Limits, Profile, Trap};
use crate::engine::{Boot, end, tracer};
use crate::error::{Doing, Error, Result};
use crate::tree::{self, Kind};
use crate::wall::{descriptors, rules, seccomp};
use crate::zone::{channel, claim, liveness::Alive};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, signal, sigprocmask};
use nix::sys::socket::sockopt::{PassCred, ReceiveTimeout};
use nix::sys::socket::{MsgFlags, SockType, setsockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::{ForkResult, Pid, fork};
use picozone_personality::mailbox::Handover;
use picozone_personality::spawn::FD_SPAWN;
use picozone_personality::tables::TABLES_SIZE;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

/// Threads that serve guests.
const SERVERS: usize = 3;
/// Threads that copy files into the layers of copy-on-write mounts.
const COPIERS: usize = 2;

fn pair(kind: SockType) -> Result<(OwnedFd, OwnedFd)> {
    super::descriptors::pair(kind).doing("make", "a socket pair")
}

/// Runs the monitor; `ready` is told once the zone is up. Returns when the zone has been halted.
///
/// # Errors
/// Whatever keeps the zone from coming up.
pub fn run(boot: &Boot, ready: impl FnOnce()) -> Result<()> {
    let run_dir = boot.zone_dir.join("run");
    let alive = Alive::take(&run_dir)?;
    let (halt, halted) = crossbeam::channel::unbounded();
    halt_by_signal(halt.clone()).doing("take", "signals")?;
    let _claim = claim::take(boot.number)
        .doing("claim", "the zone's address")?
        .ok_or(Error::AddressClaimed {
            number: boot.number,
        })?;
    let shared = Shared::make()?;
    let root = boot.config.root_dir(&boot.zone_dir);
    cover::restore(&boot.zone_dir, &root)?;
    let layers = Layers::open(&boot.config, &boot.zone_dir)?;
    let (mounts, rows) = mounts::open(boot, &layers)?;
    let mounting = Mounting::open(&boot.zone_dir)?;
    let served = Served::open(&run_dir)
        .map_err(std::io::Error::from_raw_os_error)
        .doing("make /proc and /dev in", run_dir.display())?;
    let copies = Copies::open(&boot.zone_dir, &run_dir, boot.config.rewrite)?;
    {
        // SAFETY: no guest and no other thread exists yet.
        let tables = unsafe { shared.tables_mut() };
        tables.host_uid = nix::unistd::geteuid().as_raw();
        let protected = &tables.protected;
        for (name, word) in settings::protections(protected) {
            word.store(host_protects(name), Ordering::Relaxed);
        }
        // What others own there may be anything.
        let is_shared = u32::from(!boot.config.binds.is_empty());
        protected.foreign_links.store(is_shared, Ordering::Relaxed);
        protected.foreign_files.store(is_shared, Ordering::Relaxed);
        tables.jumps = u32::from(copies.is_on());
        tables.strict = u32::from(boot.config.profile == Profile::Strict);
        tables.process_limit = boot.config.limits.processes.unwrap_or(0);
        tables.host_gid = nix::unistd::getegid().as_raw();
        let users = &boot.config.users;
        tables.uids = users.map(IdKind::User, tables.host_uid);
        tables.gids = users.map(IdKind::Group, tables.host_gid);
        let host = nix::sys::utsname::uname().doing("ask for", "the system's name")?;
        let shown = [
            host.sysname(),
            boot.config.hostname.as_ref(),
            host.release(),
            host.version(),
            host.machine(),
            "(none)".as_ref(),
        ];
        for (to, name) in tables.uname.iter_mut().zip(shown) {
            let length = name.len().min(to.len() - 1);
            to[..length].copy_from_slice(&name.as_bytes()[..length]);
        }
        let net = picozone_personality::net::ZoneNet::new(boot.number);
        tables.net = net;
        for (to, from) in tables.sources.iter_mut().zip(net.sources()) {
            to.0 = from;
        }
        for (index, to) in tables.messages.iter_mut().enumerate() {
            *to = picozone_personality::messages::approved(index);
        }
        for (to, from) in tables.placeholders.iter_mut().zip(served.placeholders()) {
            *to = from;
        }
        tables.mounts[..rows.len()].copy_from_slice(&rows);
        tables.mount_count = u32::try_from(rows.len()).unwrap_or(0);
        tables.held_read_only = mounts::held_read_only(&rows).into();
        tables.layers = u32::from(!layers.is_empty());
    }
    shared.commons().next_pid.store(2, Ordering::Relaxed);
    shared.commons().pid_end.store(2, Ordering::Relaxed);
    let owners = Owners::open(&boot.zone_dir, &shared)?;
    layers.fill(&shared, &owners)?;
    if let Some((id, owner)) = tree::make_record(&root) {
        owners.set_for_now(&shared, id, owner);
    }
    let (spawn_ours, spawn_theirs) = pair(SockType::SeqPacket)?;
    // Not a datagram socket: with one, a guest could send to any path of the host.
    let (hand_ours, hand_theirs) = pair(SockType::SeqPacket)?;
    if boot.config.profile == Profile::Strict {
        setsockopt(&hand_ours, PassCred, &true).doing("prepare", "the hand-over socket")?;
    }
    let (listener, init) = start_init(
        boot,
        &shared,
        &mounts,
        &copies,
        [&spawn_theirs, &hand_theirs],
    )?;
    drop((spawn_theirs, hand_theirs));
    have_room_for_descriptors();
    // Of a file that is opened to be written as it is looked at, see `running::is_written`.
    // SAFETY: nothing is done by a handler.
    unsafe { signal(Signal::SIGIO, SigHandler::SigIgn) }.doing("ignore", "SIGIO")?;
    let tables = shared.tables();
    let rows = SharedRows {
        rows: &tables.ports,
        count: &tables.port_count,
    };
    let net = Net::new(
        boot.number,
        Box::new(rows),
        &run_dir,
        &boot.config.publications,
    )?;
    let mut tracing = Tracing::default();
    if boot.config.flight {
        tracing.fly(&shared);
    }
    let read_only = match boot.config.profile {
        Profile::Standard => None,
        Profile::Strict => Some(shared.commons_read_only()?),
    };
    let zone = Arc::new(Zone {
        name: boot.name.clone(),
        run_dir: run_dir.clone(),
        shared,
        used: Used::default(),
        reached: Reached::open()?,
        mounts,
        layers,
        mounting,
        init: init.cast_unsigned().into(),
        programs: Programs::new(spawn_ours),
        net,
        owners,
        terminals: Terminals::default(),
        served,
        keys: Keys::default(),
        settings: Settings::default(),
        silent: Silent::default(),
        ipc: ipc::Ipc::make().doing("make", "an epoll instance")?,
        handed: std::sync::Mutex::default(),
        hand: hand_ours,
        copies,
        has_leases: false.into(),
        names: super::names::Names::open(),
        handles: Handles::default(),
        counters: std::array::from_fn(|_| 0.into()),
        refusals: Refusals::default(),
        strict: Strict::new(read_only),
        tracing,
        injecting: Injecting::default(),
        booted: SystemTime::now(),
    });
    zone.net.show(Arc::downgrade(&zone));
    let listener = Arc::new(Listener::new(listener));
    if let Some(quota) = Quota::of(&boot.zone_dir, &boot.config)? {
        quota.begin(&zone)?;
        let zone = Arc::clone(&zone);
        std::thread::spawn(move || quota.attend(&zone));
    }
    reached::begin(&zone)?;
    for _ in 0..SERVERS {
        let (zone, listener) = (Arc::clone(&zone), Arc::clone(&listener));
        std::thread::spawn(move || requests::serve(&zone, &listener));
    }
    {
        let zone = Arc::clone(&zone);
        std::thread::spawn(move || ipc::attend(&zone));
    }
    {
        let zone = Arc::clone(&zone);
        std::thread::spawn(move || zone.names.attend(&zone));
    }
    if !zone.layers.is_empty() {
        for _ in 0..COPIERS {
            let (zone, listener) = (Arc::clone(&zone), Arc::clone(&listener));
            std::thread::spawn(move || layers::attend(&zone, &listener));
        }
    }
    if !zone.programs.wait_ready() {
        end_all(init, Duration::ZERO);
        return Err(Error::refused(
            "boot",
            &boot.name,
            "its init does not come up",
            "look into run/log in the zone's directory",
        ));
    }
    zone.copies.make_first(&zone);
    let socket = channel::listen(&run_dir).doing("make", "the control socket")?;
    static IS_HALTING: AtomicBool = AtomicBool::new(false);
    let (ended, name) = (halt.clone(), boot.name.clone());
    std::thread::spawn(move || {
        // Init's end is the zone's end.
        let end = nix::sys::wait::waitpid(Pid::from_raw(init), None);
        if !IS_HALTING.load(Ordering::Relaxed) {
            eprintln!("zone {name}: its init ended ({end:?}), and so does the zone");
        }
        let _ = ended.send(Duration::ZERO);
    });
    {
        let zone = Arc::clone(&zone);
        std::thread::spawn(move || control::serve(&zone, &socket, &halt));
    }
    ready();
    let grace = halted.recv().unwrap_or_default();
    IS_HALTING.store(true, Ordering::Relaxed);
    alive.mark_halting();
    end_all(init, grace);
    zone.tracing.end(&zone.shared);
    zone.net.end();
    if let Err(error) = zone.refusals.save(&run_dir) {
        eprintln!("zone {}: {error}", boot.name);
    }
    // What the zone has mounted goes with it.
    if let Err(error) = cover::restore(&boot.zone_dir, &root) {
        eprintln!("zone {}: {error}", boot.name);
    }
    alive.end();
    Ok(())
}

/// One of the host's `fs.protected_*` (proc_sys_fs(5)).
fn host_protects(name: &str) -> u32 {
    let text = std::fs::read_to_string(format!("/proc/sys/fs/{name}"));
    text.ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// The monitor holds a descriptor of each piece of shared memory; its guests have their own limit.
fn have_room_for_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Failing costs room only.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Ends every process of the zone, init last.
fn end_all(init: i32, grace: Duration) {
    end::descendants_of(init.cast_unsigned(), grace);
    let _ = kill(Pid::from_raw(init), Signal::SIGKILL);
}

/// The signals that end a daemon halt the zone; so the guardian's death does.
fn halt_by_signal(halt: crossbeam::channel::Sender<Duration>) -> std::io::Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    // Every thread that is made from here on inherits this.
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), None)?;
    threads::begin("signals", move || {
        if signals.wait().is_ok() {
            let _ = halt.send(Duration::ZERO);
        }
    })
}

/// Takes what guests have handed over.
pub fn drain(zone: &Zone, table: &mut hashbrown::HashMap<u64, OwnedFd>) {
    loop {
        let mut cookie = [0u8; 8];
        let mut space = nix::cmsg_space!([i32; 4], nix::sys::socket::UnixCredentials);
        let mut parts = [IoSliceMut::new(&mut cookie)];
        let mut sender = None;
        let flags =
            nix::sys::socket::MsgFlags::MSG_DONTWAIT | nix::sys::socket::MsgFlags::MSG_CMSG_CLOEXEC;
        let Ok(message) = nix::sys::socket::recvmsg::<()>(
            zone.hand.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            flags,
        ) else {
            return;
        };
        if message.bytes == 0 {
            // The zone has ended.
            return;
        }
        let mut received = Vec::new();
        if let Ok(controls) = message.cmsgs() {
            for control in controls {
                if let nix::sys::socket::ControlMessageOwned::ScmCredentials(told) = control {
                    sender = Some(told.pid());
                } else if let nix::sys::socket::ControlMessageOwned::ScmRights(fds) = control {
                    // SAFETY: the kernel has just given us these descriptors.
                    received.extend(
                        fds.into_iter()
                            .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                    );
                }
            }
        }
        if table.len() > 1024 {
            // Nobody asks for these any more.
            table.clear();
        }
        // Where users are kept apart, nobody speaks for another's thread.
        let is_senders = |pid: i32| {
            let thread = u64::from_ne_bytes(cookie) & 0xffff_ffff;
            Path::new(&format!("/proc/{pid}/task/{thread}")).exists()
        };
        let may = !zone.strict.is_on() || sender.is_some_and(is_senders);
        if may && let Some(fd) = received.pop() {
            table.insert(u64::from_ne_bytes(cookie), fd);
        }
    }
}

/// Forks zone init behind the wall; the listener of its filter, and its pid.
fn start_init(
    boot: &Boot,
    shared: &Shared,
    mounts: &[Mount],
    copies: &Copies,
    sockets: [&OwnedFd; 2],
) -> Result<(OwnedFd, i32)> {
    let (ours, theirs) = pair(SockType::SeqPacket)?;
    // SAFETY: this process has a single thread here but for the store's and the one that waits for
    // signals, which have begun and hold no lock that the child takes.
    match unsafe { fork() }.doing("fork", "zone init")? {
        ForkResult::Parent { child } => {
            drop(theirs);
            if boot.config.trap == Trap::Ptrace {
                tracer::start(child)?;
                nix::sys::socket::send(ours.as_raw_fd(), b"on", MsgFlags::empty())
                    .doing("start", "zone init")?;
            }
            let listener = receive_listener(&ours).ok_or_else(|| {
                let log = boot.zone_dir.join("run/log");
                Error::refused(
                    "build the wall of",
                    &boot.name,
                    "a step failed",
                    format!(
                        "{} tells which; `zone doctor` tells what the host lacks",
                        log.display()
                    ),
                )
            })?;
            // SAFETY: all zero is a valid `Handover`.
            let mut handover: Box<Handover> = Box::new(unsafe { std::mem::zeroed() });
            handover.kind = 2;
            shared.write_handover(child.as_raw().cast_unsigned(), &handover);
            nix::sys::socket::send(ours.as_raw_fd(), b"go", nix::sys::socket::MsgFlags::empty())
                .doing("start", "zone init")?;
            Ok((listener, child.as_raw()))
        }
        ForkResult::Child => {
            let failed = become_init(shared, mounts, copies, sockets, &theirs, &boot.config);
            eprintln!("zone init: {failed}");
            // SAFETY: nothing of this process is to run any more.
            unsafe { libc::_exit(1) }
        }
    }
}

/// None as well if nothing comes: nobody is to wait for ever for a zone.
fn receive_listener(socket: &OwnedFd) -> Option<OwnedFd> {
    setsockopt(socket, ReceiveTimeout, &TimeVal::minutes(1)).ok()?;
    let mut byte = [0u8; 1];
    let mut space = nix::cmsg_space!([i32; 1]);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let flags = nix::sys::socket::MsgFlags::MSG_CMSG_CLOEXEC;
    let message =
        nix::sys::socket::recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)
            .ok()?;
    let control = message.cmsgs().ok()?.next()?;
    let nix::sys::socket::ControlMessageOwned::ScmRights(fds) = control else {
        return None;
    };
    // SAFETY: the kernel has just given us this descriptor.
    fds.first().map(|&fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// In the child. Returns what failed.
fn become_init(
    shared: &Shared,
    mounts: &[Mount],
    copies: &Copies,
    [spawn, hand]: [&OwnedFd; 2],
    socket: &OwnedFd,
    config: &Config,
) -> String {
    let step = |what: &str, error: &dyn std::fmt::Display| format!("cannot {what}: {error}");
    if config.trap == Trap::Ptrace
        && let Err(error) = be_traced(socket)
    {
        return step("be traced", &error);
    }
    if let Err(error) = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None) {
        return step("block signals", &error);
    }
    // The sockets must survive the shuffle below: first out of the way of the low numbers.
    let (Ok(socket), Ok(spawn)) = (socket.try_clone(), spawn.try_clone()) else {
        return "cannot copy a socket".into();
    };
    let fixed = shared.reserved(hand.as_fd(), copies.directory());
    let reserved = descriptors::Reserved {
        fixed,
        mounts: mounts.iter().map(|mount| mount.directory.as_fd()).collect(),
    };
    if let Err(error) = descriptors::reserve(&reserved) {
        return step("reserve descriptors", &error);
    }
    if let Err(error) = limits() {
        return step("set limits", &error);
    }
    let trees: Vec<(BorrowedFd<'_>, rules::Right)> = mounts
        .iter()
        .map(|mount| {
            let right = if mount.spec.read_only || mount.spec.kind != Kind::Tree {
                rules::Right::Read
            } else {
                rules::Right::Write
            };
            (mount.directory.as_fd(), right)
        })
        .chain([(copies.directory(), rules::Right::Read)])
        .collect();
    let root = mounts
        .last()
        .map(|mount| mount.spec.host_path.clone())
        .unwrap_or_default();
    if let Err(error) = std::env::set_current_dir(&root) {
        return step("enter the zone's root", &error);
    }
    // SAFETY: takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } < 0 {
        return step("give up privileges", &std::io::Error::last_os_error());
    }
    drop_capabilities();
    if let Err(error) = rules::restrict(&trees) {
        return step("restrict by Landlock", &error);
    }
    // exec needs the empty string of the tables at its place.
    let tables_fd = picozone_personality::layout::FD_TABLES.cast_signed();
    let base = picozone_personality::layout::TABLES_BASE as *mut libc::c_void;
    let length = usize::try_from(TABLES_SIZE).unwrap_or(usize::MAX);
    // SAFETY: nothing lies there in this process.
    let at = unsafe {
        libc::mmap(
            base,
            length,
            libc::PROT_READ,
            libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE | libc::MAP_NORESERVE,
            tables_fd,
            0,
        )
    };
    if at != base {
        return step("map the tables", &std::io::Error::last_os_error());
    }
    // A thread without the filter hands the listener over: behind it, sendmsg is not ours any more.
    // Both wait by futex(2), which no filter of zones stops: who spins takes the other's processor.
    static LISTENER: OnceLock<i32> = OnceLock::new();
    static IS_HANDED: OnceLock<bool> = OnceLock::new();
    let far = socket.as_raw_fd();
    let sender = std::thread::Builder::new().spawn(move || {
        let fds = [*LISTENER.wait()];
        let rights = [nix::sys::socket::ControlMessage::ScmRights(&fds)];
        let part = [std::io::IoSlice::new(b"l")];
        let sent = nix::sys::socket::sendmsg::<()>(
            far,
            &part,
            &rights,
            nix::sys::socket::MsgFlags::empty(),
            None,
        );
        let mut word = [0u8; 2];
        let heard = nix::sys::socket::recv(far, &mut word, nix::sys::socket::MsgFlags::empty());
        let _ = IS_HANDED.set(sent.is_ok() && heard == Ok(2));
        loop {
            std::thread::park();
        }
    });
    if let Err(error) = sender {
        return step("start a thread", &error);
    }
    // Descriptor 3 is init's request socket, closed by exec of what init starts.
    let argv = [c"init".as_ptr(), std::ptr::null()];
    let envp: [*const libc::c_char; 1] = [std::ptr::null()];
    let empty = picozone_personality::layout::TABLES_BASE
        + std::mem::offset_of!(picozone_personality::tables::Tables, empty) as u64;
    close_others([spawn.as_raw_fd(), socket.as_raw_fd()]);
    if let Err(error) = limit(&config.limits) {
        return step("set the configured limits", &error);
    }
    let listener = match seccomp::install(config.trap) {
        Ok(listener) => std::mem::ManuallyDrop::new(listener),
        Err(error) => return step("install the filter", &error),
    };
    let _ = LISTENER.set(listener.as_raw_fd());
    if !IS_HANDED.wait() {
        return "cannot hand the listener over".into();
    }
    // From here on only calls that the filter lets through from anybody: dup2 and execveat.
    // SAFETY: takes numbers only.
    unsafe { libc::dup2(spawn.as_raw_fd(), FD_SPAWN.cast_signed()) };
    // SAFETY: the strings and lists end as execveat(2) asks.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            picozone_personality::layout::FD_PERSONALITY,
            empty,
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    step("execute the personality", &std::io::Error::last_os_error())
}

/// Waits until the tracer has this process, and so all that comes of it. Where the host lets only
/// ancestors trace (Yama), that takes this process' leave.
fn be_traced(socket: &OwnedFd) -> nix::Result<()> {
    // SAFETY: takes numbers only; fails where nobody asks for leave.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY) };
    let mut word = [0u8; 2];
    match nix::sys::socket::recv(socket.as_raw_fd(), &mut word, MsgFlags::empty())? {
        2 => Ok(()),
        _ => Err(nix::errno::Errno::ESRCH),
    }
}

/// Everything but the standard descriptors, the reserved ones and these is closed.
fn close_others(mut keep: [i32; 2]) {
    keep.sort_unstable();
    let mut first = 3;
    for kept in keep
        .into_iter()
        .chain([picozone_personality::layout::FD_BASE.cast_signed()])
    {
        if first < kept {
            // SAFETY: these numbers belong to nobody who still runs here.
            unsafe { libc::syscall(libc::SYS_close_range, first, kept - 1, 0) };
        }
        first = first.max(kept + 1);
    }
}

/// What is configured, for what executes from here on: the monitor of which this is a copy has more. Hard
/// ones hold for the zone's root too, whom nothing below them is refused.
fn limit(configured: &Limits) -> nix::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    /// What threads take of a process' own memory for us.
    const OURS: u64 = 16 << 20;
    let [(_, descriptors), (_, file_size), (_, memory)] = configured.of_processes();
    if let Some(most) = file_size {
        let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE)?;
        setrlimit(Resource::RLIMIT_FSIZE, most.min(hard), most.min(hard))?;
    }
    if let Some(most) = memory {
        let (_, hard) = getrlimit(Resource::RLIMIT_DATA)?;
        let most = most.saturating_add(OURS).min(hard);
        setrlimit(Resource::RLIMIT_DATA, most, most)?;
    }
    if let Some(most) = descriptors {
        // Our own stand above.
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, most.min(hard), hard)?;
    }
    Ok(())
}

/// The kernel places nothing in our region by itself.
fn limits() -> nix::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use picozone_personality::layout::ADDRESS_SPACE;
    let (soft, hard) = getrlimit(Resource::RLIMIT_AS)?;
    setrlimit(
        Resource::RLIMIT_AS,
        soft.min(ADDRESS_SPACE),
        hard.min(ADDRESS_SPACE),
    )
}

/// The zone's root holds no capability of the host.
fn drop_capabilities() {
    for capability in 0..64 {
        // SAFETY: takes numbers only; EINVAL beyond the last one, EPERM without privilege.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    // SAFETY: takes numbers only.
    unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0,
        )
    };
    let header = [0x2008_0522u32, 0];
    let none = [0u32; 6];
    // SAFETY: the structures of capset(2), version 3.
    unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
}
