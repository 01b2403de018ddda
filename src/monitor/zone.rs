//! What the monitor knows of its zone.

use super::copies::Copies;
use super::handles::Handles;
use super::injecting::Injecting;
use super::ipc::Ipc;
use super::keys::Keys;
use super::layers::Layers;
use super::mounting::Mounting;
use super::mounts::{self, Mount};
use super::names::Names;
use super::net::Net;
use super::owners::Owners;
use super::programs::Programs;
use super::reached::Reached;
use super::refusals::Refusals;
use super::served::Served;
use super::settings::Settings;
use super::shared::Shared;
use super::strict::Strict;
use super::terminals::Terminals;
use super::tracing::Tracing;
use super::used::Used;
use super::watches::Silent;
use crate::ids::HostPid;
use picozone_fsmap::{MountRow, Mounts, PathBuf};
use picozone_personality::mailbox::Request;
use std::os::fd::OwnedFd;
use std::path::PathBuf as HostPath;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::SystemTime;

/// A running zone.
pub struct Zone {
    /// Its name.
    pub name: String,
    /// `zones/NAME/run`.
    pub run_dir: HostPath,
    /// Shared memory.
    pub shared: Shared,
    /// Mailboxes in use.
    pub used: Used,
    /// Files that guests' descriptors name.
    pub reached: Reached,
    /// Mounts, by [`mounts::number`].
    pub mounts: Vec<Mount>,
    /// The layers of copy-on-write mounts.
    pub layers: Layers,
    /// What the zone has mounted itself.
    pub mounting: Mounting,
    /// Host pid of zone init; 0 before it runs.
    pub init: AtomicU32,
    /// Programs started on request.
    pub programs: Programs,
    /// Ports.
    pub net: Net,
    /// Owners and modes.
    pub owners: Owners,
    /// Pseudo terminals of the zone.
    pub terminals: Terminals,
    /// `/proc` and `/dev`.
    pub served: Served,
    /// System V IPC.
    pub ipc: Ipc,
    /// Keyrings.
    pub keys: Keys,
    /// Files of `/proc/sys` that guests write.
    pub settings: Settings,
    /// What is watched of which nothing is told.
    pub silent: Silent,
    /// Sockets handed over by guests, by cookie.
    pub handed: Mutex<hashbrown::HashMap<u64, OwnedFd>>,
    /// Our end of the hand-over socket.
    pub hand: OwnedFd,
    /// Rewritten programs and libraries.
    pub copies: Copies,
    /// Whether a guest has ever been given a lease.
    pub has_leases: AtomicBool,
    /// What guests may look up by themselves.
    pub names: Names,
    /// Handles of files.
    pub handles: Handles,
    /// Round trips by the request's number.
    pub counters: [AtomicU64; Request::NUMBERS],
    /// What guests called for in vain.
    pub refusals: Refusals,
    /// Users that are kept apart.
    pub strict: Strict,
    /// Who follows the calls of its guests.
    pub tracing: Tracing,
    /// Which rules make its guests' calls fail.
    pub injecting: Injecting,
    /// When it was booted.
    pub booted: SystemTime,
}

impl Zone {
    /// Host pid of zone init.
    #[must_use]
    pub fn init_pid(&self) -> HostPid {
        HostPid(self.init.load(Ordering::Relaxed))
    }

    /// The mount table.
    #[must_use]
    pub fn rows(&self) -> &[MountRow] {
        self.shared.tables().mount_rows()
    }

    /// The mount of a row of the table.
    #[must_use]
    pub fn mount(&self, row: usize) -> Option<&Mount> {
        self.mounts.get(mounts::number(self.rows().get(row)?))
    }

    /// The zone's name of a host path.
    #[must_use]
    pub fn to_zone_path(&self, host: &[u8]) -> Option<Vec<u8>> {
        if let Some(original) = self.copies.original(host) {
            return Some(original.path);
        }
        let mut zone = PathBuf::new();
        Mounts(self.rows())
            .to_zone(host, &mut zone)
            .then(|| zone.as_bytes().to_vec())
    }

    /// The same for a process with that root directory.
    #[must_use]
    pub fn to_zone_path_from(&self, host: &[u8], root: &[u8]) -> Option<Vec<u8>> {
        if root.is_empty() {
            return self.to_zone_path(host);
        }
        let mut zone = PathBuf::new();
        Mounts(self.rows())
            .to_zone_from(host, root, &mut zone)
            .then(|| zone.as_bytes().to_vec())
    }

    /// Whether a host path lies where the zone may change things.
    #[must_use]
    pub fn is_writable(&self, host: &[u8]) -> bool {
        // What has two names is as the first of them is, which is one to change it by.
        let mounts = Mounts(self.rows());
        let found = mounts.find_host(host);
        found.is_some_and(|(row, _)| row.is_second == 0 && row.read_only == 0 && !row.is_monitor())
    }
}
