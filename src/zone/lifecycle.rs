//! From one state to the next: what `create`, `boot`, `halt`, `delete` and `publish` do.
//!
//! Each takes the zone's lock first, then looks at what really is; to ask for the state already
//! reached succeeds.

use super::lock::Lock;
use super::state::{Lasting, Observed, State};
use super::{Name, Zone, channel::Channel, claim, liveness, registry, runner, setup};
use crate::config::{Bind, Config, Cow, Limits, Mount, Origin, Profile, Trap, Users};
use crate::control::{Publish, Reply, Request};
use crate::engine;
use crate::error::{Doing, Error, Result};
use crate::home::Home;
use crate::monitor::mounting::cover;
use crate::{doctor, tree};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How much longer than its processes' grace period a monitor has to end.
const MONITOR_GRACE: Duration = Duration::from_secs(5);
/// How often the kernel is asked whether a monitor that is ending has ended.
const POLL: Duration = Duration::from_millis(5);
/// How often a boot takes another address when somebody else was faster.
const ADDRESS_TRIES: usize = 16;

/// Whether a command changed anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T = ()> {
    /// It did.
    Done(T),
    /// The zone was in the wanted state before.
    AlreadySo,
}

/// What the user wants of a new zone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Host name; the zone's name if missing.
    pub hostname: Option<String>,
    /// An unpacked distribution to use in place.
    pub root: Option<PathBuf>,
    /// What to make a whole tree from.
    pub origin: Option<Origin>,
    /// Whether its programs are rewritten; they are if missing.
    pub rewrite: Option<bool>,
    /// How calls reach its personality.
    pub trap: Trap,
    /// See [`Config::profile`].
    pub profile: Profile,
    /// Whether its programs' last calls are kept.
    pub flight: bool,
    /// Users and groups of the host.
    pub users: Users,
    /// What it may use up.
    pub limits: Limits,
    /// Directories of the host.
    pub binds: Vec<Bind>,
    /// Directories of the host that it changes for itself.
    pub cows: Vec<Cow>,
    /// Published ports.
    pub publications: Vec<Publish>,
}

impl Wanted {
    fn config(&self, name: &Name, number: u16) -> Config {
        Config {
            number,
            hostname: self.hostname.clone().unwrap_or_else(|| name.to_string()),
            root: self.root.clone(),
            origin: self.origin.clone(),
            rewrite: self.rewrite.unwrap_or(true),
            trap: self.trap,
            profile: self.profile,
            flight: self.flight,
            users: self.users.clone(),
            limits: self.limits.clone(),
            binds: self.binds.clone(),
            mounts: self.cows.iter().cloned().map(Mount::Cow).collect(),
            publications: self.publications.clone(),
        }
    }

    /// Whether a zone of this configuration is what is wanted.
    fn is_met_by(&self, name: &Name, config: &Config) -> bool {
        *self == Self::default() || self.config(name, config.number) == *config
    }
}

/// Creates a zone; completes one whose creation was interrupted.
///
/// # Errors
/// The zone exists with another configuration, or the files cannot be made. A zone that was made
/// by this call is removed again then.
pub fn create(home: &Home, name: &Name, wanted: &Wanted) -> Result<Outcome<tree::Report>> {
    let dir = home.zones().join(name);
    let lock = loop {
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).doing("make the directory", dir.display());
            }
            _ => {}
        }
        match Lock::take(&dir) {
            // Another command deleted the zone between the two.
            Err(Error::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                // Goes only if it is empty, as where the disk had no room for the lock.
                let _ = fs::remove_dir(&dir);
                return Err(error);
            }
            Ok(lock) => break lock,
        }
    };
    let zone = Zone::open(home, name, "create")?;
    setup::end_rest(&zone)?;
    let found = zone.observe()?;
    if found.state.has_files() {
        if wanted.is_met_by(name, &zone.config()?) {
            return Ok(Outcome::AlreadySo);
        }
        return Err(Error::refused(
            "create",
            format_args!("zone {name}"),
            "it exists, with another configuration",
            format_args!(
                "look at {}, or delete the zone first with `zone delete {name}`",
                zone.config_path().display()
            ),
        ));
    }
    let is_new = !zone.config_path().exists();
    let made = make(home, &zone, wanted);
    if made.is_err() && is_new {
        // Nothing was there before, so nothing stays; the first error is the one to tell.
        let _ = remove_all(&zone);
    }
    drop(lock);
    made.map(Outcome::Done)
}

/// Makes configuration and tree of a zone that has no complete one.
fn make(home: &Home, zone: &Zone, wanted: &Wanted) -> Result<tree::Report> {
    let name = zone.name();
    if zone.config_path().exists() {
        zone.set_lasting(Lasting::Incomplete)?;
        if let Ok(config) = zone.config() {
            tree::undo(&config, zone.dir())?;
        }
    }
    let config = {
        let _home_lock = Lock::take(home.dir())?;
        let config = match zone.config() {
            Ok(config) if *wanted == Wanted::default() => config,
            _ => wanted.config(name, registry::free_number(home, name)?),
        };
        config.check().map_err(|cause| {
            Error::refused(
                "create",
                format_args!("zone {name}"),
                cause,
                "see `zone create --help`",
            )
        })?;
        if let Some(root) = &config.root {
            check_root(home, name, root)?;
        }
        tree::check(&config, zone.dir(), home.dir())?;
        config.store(&zone.config_path())?;
        config
    };
    zone.set_lasting(Lasting::Configured)?;
    zone.set_lasting(Lasting::Incomplete)?;
    if config.origin == Some(Origin::Debian) {
        doctor::require(home.dir())?;
    }
    let report = tree::create(&config, zone.dir(), Path::new("/"))?;
    if config.origin == Some(Origin::Debian) {
        setup::run(home, zone, tree::debian::FINISH)?;
    }
    zone.set_lasting(Lasting::Installed)?;
    Ok(report)
}

/// Whether `root` can be the root of a zone, in place.
fn check_root(home: &Home, name: &Name, root: &Path) -> Result<()> {
    let refuse = |cause: &str, remedy: &str| {
        Err(Error::refused(
            "use the root directory",
            root.display(),
            cause,
            remedy,
        ))
    };
    let found = fs::metadata(root).doing("use the root directory", root.display())?;
    if !found.is_dir() {
        return refuse(
            "it is not a directory",
            "unpack a distribution and name its top directory",
        );
    }
    if found.uid() != nix::unistd::geteuid().as_raw() {
        return refuse(
            "it does not belong to you",
            "unpack the distribution as the user who runs the zone",
        );
    }
    if !["usr", "bin", "sbin"]
        .iter()
        .any(|dir| root.join(dir).is_dir())
    {
        return refuse(
            "it has neither usr nor bin",
            "name the top directory of an unpacked distribution",
        );
    }
    if root.starts_with(home.dir()) {
        return refuse(
            "it lies among the zones' own files",
            "move it to another place",
        );
    }
    for other in registry::all(home)? {
        if other.name() == name {
            continue;
        }
        if let Ok(config) = other.config()
            && let Some(used) = config.root
            && (used.starts_with(root) || root.starts_with(&used))
        {
            return refuse(
                &format!("zone {} uses it", other.name()),
                "unpack the distribution once for each zone",
            );
        }
    }
    Ok(())
}

/// Boots a zone and returns when its init runs.
///
/// # Errors
/// The zone is not complete, the host lacks something, or what the monitor said.
pub fn boot(home: &Home, name: &Name) -> Result<Outcome> {
    let zone = Zone::open(home, name, "boot")?;
    let lock = take(&zone, "boot")?;
    let state = settle(&zone)?.state;
    match state {
        State::Running if zone.lasting() == Lasting::Installed => return Ok(Outcome::AlreadySo),
        // It may even run, where its creation was interrupted in the midst.
        State::Running | State::Configured | State::Incomplete => {
            let state = zone.lasting().into();
            return Err(Error::NotInstalled {
                operation: "boot",
                name: name.to_string(),
                state,
            });
        }
        State::Ready | State::ShuttingDown => {
            return Err(Error::refused(
                "boot",
                format_args!("zone {name}"),
                "its monitor lives and does not answer",
                format_args!("end it with `zone halt {name}`, then boot again"),
            ));
        }
        State::Installed | State::Down => {}
    }
    doctor::require(home.dir())?;
    let mut config = zone.config()?;
    start(home, &zone, &mut config)?;
    drop(lock);
    Ok(Outcome::Done(()))
}

/// Boots a zone that does not run and whose lock the caller holds.
pub(super) fn start(home: &Home, zone: &Zone, config: &mut Config) -> Result<()> {
    let runner = runner::of(zone.name(), config)?;
    tree::check(config, zone.dir(), home.dir())?;
    for _ in 0..ADDRESS_TRIES {
        readdress(home, zone, config)?;
        tree::prepare(config, zone.dir())?;
        runner::give(home, zone, runner)?;
        let boot = engine::Boot {
            runner,
            name: zone.name().to_string(),
            zone_dir: zone.dir().to_owned(),
            config: config.clone(),
            number: config.number,
        };
        match engine::boot(boot) {
            Ok(()) => return Ok(()),
            // Another home was faster; the next round sees its claim.
            Err(Error::AddressClaimed { .. }) => forget(zone)?,
            Err(error) => {
                forget(zone)?;
                return Err(error);
            }
        }
    }
    Err(Error::AddressClaimed {
        number: config.number,
    })
}

/// Clears what a failed boot has left, unless its monitor lives.
fn forget(zone: &Zone) -> Result<()> {
    let run_dir = zone.run_dir();
    let monitor = liveness::monitor(&run_dir).doing("look at", run_dir.display())?;
    if let Some(pid) = monitor {
        end(zone, pid, Duration::ZERO)?;
    }
    liveness::clear(&run_dir);
    Ok(())
}

/// Gives the zone another address if somebody else on this host runs under its own.
fn readdress(home: &Home, zone: &Zone, config: &mut Config) -> Result<()> {
    use super::address::{host_v4, zone_v4};
    let old = config.number;
    if claim::is_free(old).doing("claim", host_v4(old))? {
        return Ok(());
    }
    let _home_lock = Lock::take(home.dir())?;
    config.number = registry::free_number(home, zone.name())?;
    config.store(&zone.config_path())?;
    tree::renumber(&config.root_dir(zone.dir()), old, config.number)?;
    tracing::warn!(
        "address {} of zone {} is in use on this host by a zone of somebody else: it takes {} ({} on the host) from now on",
        zone_v4(old),
        zone.name(),
        zone_v4(config.number),
        host_v4(config.number),
    );
    Ok(())
}

/// Halts a zone: its processes get SIGTERM, and after `grace` SIGKILL.
///
/// # Errors
/// The monitor cannot be ended.
pub fn halt(home: &Home, name: &Name, grace: Duration) -> Result<Outcome> {
    let zone = Zone::open(home, name, "halt")?;
    let _lock = take(&zone, "halt")?;
    halt_locked(&zone, grace)
}

pub(super) fn halt_locked(zone: &Zone, grace: Duration) -> Result<Outcome> {
    let found = zone.observe()?;
    let outcome = match found.monitor {
        Some(pid) => {
            end(zone, pid, grace)?;
            Outcome::Done(())
        }
        None if found.state == State::Down => Outcome::Done(()),
        None => Outcome::AlreadySo,
    };
    liveness::clear(&zone.run_dir());
    Ok(outcome)
}

/// Ends the monitor `pid`, and with it everything of the zone.
fn end(zone: &Zone, pid: Pid, grace: Duration) -> Result<()> {
    let run_dir = zone.run_dir();
    let patience = grace + MONITOR_GRACE;
    let deadline = Instant::now() + patience;
    if let Ok(channel) = Channel::connect(&run_dir, patience) {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        // The answer says that it has begun or is done; the end of the connection that it is over.
        if channel.send(&Request::Halt { grace_ms }, &[]).is_ok() {
            while Instant::now() < deadline && matches!(channel.receive::<Reply>(), Ok(Some(_))) {}
            if wait_for_end(&run_dir, deadline)? {
                return Ok(());
            }
        }
    }
    // It does not answer. The lock's holder is this process now: it cannot be a stranger.
    if liveness::monitor(&run_dir).doing("look at", run_dir.display())? == Some(pid) {
        tracing::warn!(
            "the monitor of zone {} (process {pid}) does not answer and is killed",
            zone.name()
        );
        match kill(pid, Signal::SIGKILL) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(errno) => {
                return Err(errno).doing(
                    "kill",
                    format_args!("the monitor of zone {} (process {pid})", zone.name()),
                );
            }
        }
    }
    if wait_for_end(&run_dir, Instant::now() + MONITOR_GRACE)? {
        return Ok(());
    }
    Err(Error::refused(
        "halt",
        format_args!("zone {}", zone.name()),
        format_args!("its monitor (process {pid}) does not end even by SIGKILL"),
        "look at that process with `ps`: it waits in the kernel, as for a dead disk",
    ))
}

/// Waits until no monitor lives, and says whether that came true.
fn wait_for_end(run_dir: &Path, deadline: Instant) -> Result<bool> {
    loop {
        if liveness::monitor(run_dir)
            .doing("look at", run_dir.display())?
            .is_none()
        {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(POLL);
    }
}

/// Deletes a zone and its files; a running one only with `is_forced`.
///
/// # Errors
/// The zone runs, or a file cannot be removed: then it is incomplete and can be deleted again.
pub fn delete(home: &Home, name: &Name, is_forced: bool) -> Result<()> {
    let zone = Zone::open(home, name, "delete")?;
    let lock = take(&zone, "delete")?;
    let found = zone.observe()?;
    if found.state.is_up() {
        if !is_forced {
            return Err(Error::refused(
                "delete",
                format_args!("zone {name}"),
                format_args!("it is {}", found.state),
                format_args!(
                    "halt it first with `zone halt {name}`, or use `zone delete --force {name}`"
                ),
            ));
        }
        halt_locked(&zone, Duration::ZERO)?;
    }
    remove_all(&zone)?;
    drop(lock);
    Ok(())
}

/// Removes all files of a zone that does not run; the caller holds its lock, whose file goes last.
fn remove_all(zone: &Zone) -> Result<()> {
    // Without the file it is incomplete; to write that word a full disk would have no room.
    tree::remove(&zone.dir().join("state"))?;
    if let Ok(config) = zone.config() {
        cover::restore(zone.dir(), &config.root_dir(zone.dir()))?;
        tree::undo(&config, zone.dir())?;
    }
    let entries = fs::read_dir(zone.dir()).doing("read", zone.dir().display())?;
    for entry in entries {
        let entry = entry.doing("read", zone.dir().display())?;
        if entry.file_name() != "lock" && entry.file_name() != "zone.toml" {
            tree::remove(&entry.path())?;
        }
    }
    tree::remove(zone.dir())
}

/// Adds a publication to the configuration, and to the zone if it runs.
///
/// # Errors
/// The port of the host is taken, by this zone or by somebody else; then nothing is changed.
pub fn publish(home: &Home, name: &Name, publish: &Publish) -> Result<Outcome> {
    change_publications(
        home,
        name,
        "publish a port of",
        |zone, config, is_running| {
            if config.publications.contains(publish) {
                return Ok(Outcome::AlreadySo);
            }
            config.publications.push(publish.clone());
            config.check().map_err(|cause| {
                Error::refused(
                    "publish a port of",
                    format_args!("zone {}", zone.name()),
                    cause,
                    "choose another port of the host",
                )
            })?;
            if is_running {
                zone.ask("publish a port of", &Request::Publish(publish.clone()))?;
            }
            Ok(Outcome::Done(()))
        },
    )
}

/// Takes a publication back, from the configuration and from the zone if it runs.
///
/// # Errors
/// The monitor cannot be reached, or a program is bound at the place itself: then the configuration
/// is changed, and the place stays open until that program is restarted.
pub fn unpublish(home: &Home, name: &Name, publish: &Publish) -> Result<Outcome> {
    change_publications(
        home,
        name,
        "unpublish a port of",
        |zone, config, is_running| {
            let count = config.publications.len();
            config.publications.retain(|other| other != publish);
            if config.publications.len() == count {
                return Ok(Outcome::AlreadySo);
            }
            if is_running {
                config.store(&zone.config_path())?;
                zone.ask("unpublish a port of", &Request::Unpublish(publish.clone()))?;
            }
            Ok(Outcome::Done(()))
        },
    )
}

fn change_publications(
    home: &Home,
    name: &Name,
    operation: &'static str,
    change: impl FnOnce(&Zone, &mut Config, bool) -> Result<Outcome>,
) -> Result<Outcome> {
    let zone = Zone::open(home, name, operation)?;
    let _lock = take(&zone, operation)?;
    let is_running = zone.observe()?.state == State::Running;
    let mut config = zone.config()?;
    let outcome = change(&zone, &mut config, is_running)?;
    if outcome != Outcome::AlreadySo {
        config.store(&zone.config_path())?;
    }
    Ok(outcome)
}

/// Takes the lock of a zone, which may be deleted by the command that holds it.
pub(super) fn take(zone: &Zone, operation: &'static str) -> Result<Lock> {
    match Lock::take(zone.dir()) {
        Err(Error::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Err(Error::UnknownZone {
                operation,
                name: zone.name().to_string(),
                home: zone
                    .dir()
                    .parent()
                    .and_then(Path::parent)
                    .unwrap_or(zone.dir())
                    .to_owned(),
            })
        }
        other => other,
    }
}

/// Waits while the zone is between two states without a command that holds its lock, as after a
/// command line that was killed in the middle.
fn settle(zone: &Zone) -> Result<Observed> {
    let deadline = Instant::now() + MONITOR_GRACE;
    loop {
        let found = zone.observe()?;
        if !matches!(found.state, State::Ready | State::ShuttingDown) || Instant::now() >= deadline
        {
            return Ok(found);
        }
        std::thread::sleep(POLL);
    }
}
