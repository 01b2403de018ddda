//! Messages between the command line and the monitor of a running zone.
//!
//! One JSON document a packet over `SOCK_SEQPACKET`; descriptors ride along by `SCM_RIGHTS`.
//! The monitor serves only peers of its own user and root (`SO_PEERCRED`).

use crate::trace::filter::Bounds;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Longest packet, in bytes.
pub const PACKET_MAX: usize = 64 * 1024;

/// What the command line asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// Is the zone up, and what runs in it?
    Status,
    /// Start a program; the packet carries descriptors 0, 1 and 2 of the program.
    Exec(Exec),
    /// Send a signal to a process that this connection started (its process group with a terminal).
    Signal {
        /// Signal number.
        signal: i32,
    },
    /// The ports that the zone has bound.
    Ports,
    /// Makes a port of the zone reachable at an address of the host.
    Publish(Publish),
    /// Takes a publication back.
    Unpublish(Publish),
    /// End every process (SIGTERM, then SIGKILL after the grace period), then the monitor.
    Halt {
        /// How long processes have to end by themselves, in milliseconds.
        grace_ms: u64,
    },
    /// Counters: round trips by request, refusals by call.
    Stat,
    /// Writes the report of what guests called for in vain into the file of that name.
    Report,
    /// Who runs.
    Users,
    /// Which process of the zone is this one of the host's?
    Process {
        /// Its number on the host.
        host_pid: u32,
    },
    /// Records the calls of the zone's guests, in the form of [`crate::trace::file`], into the
    /// descriptor that the packet carries, until `Untrace`, the end of this connection or the zone's.
    Trace(Trace),
    /// Ends that. What was called until now is recorded.
    Untrace,
    /// Has calls of the zone's guests fail by these rules ([`crate::trace::injection`]), until `Uninject`
    /// or the end of this connection.
    Inject {
        /// The rules, as texts.
        rules: Vec<String>,
    },
    /// Ends that.
    Uninject,
}

/// A program to start in the zone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exec {
    /// Arguments; the first names the program, searched in the `PATH` of `env`.
    pub argv: Vec<Word>,
    /// Environment, `NAME=value`.
    pub env: Vec<Word>,
    /// Working directory in the zone.
    pub cwd: Word,
    /// User of the zone to start as (a name or a number); root if missing.
    pub user: Option<String>,
    /// Whether descriptor 0 is a terminal that becomes the controlling one of a new session.
    pub is_tty: bool,
    /// Numbers of native calls that the program's are to come to the personality for all that.
    pub trapped: Vec<u32>,
}

/// An argument or a path: any bytes but NUL, in JSON a string where they are UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Word {
    /// What is UTF-8.
    Text(String),
    /// What is not.
    Bytes(Vec<u8>),
}

impl Word {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl From<OsString> for Word {
    fn from(word: OsString) -> Self {
        word.into_string()
            .map_or_else(|word| Self::Bytes(word.into_vec()), Self::Text)
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// How calls are to be recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Guests wait for room, and for whoever reads, rather than that a call is missing.
    pub is_lossless: bool,
    /// Whence each call is made is recorded too.
    pub has_stacks: bool,
    /// What was called last, in so many milliseconds, of a zone that keeps it, and no more.
    pub last_ms: Option<u64>,
    /// What has to be recorded, with more or without.
    pub bounds: Bounds,
}

/// A publication of a port.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Publish {
    /// Address of the host, as `127.0.0.1` or `0.0.0.0`.
    pub host_address: std::net::Ipv4Addr,
    /// Port of the host.
    pub host_port: u16,
    /// Port of the zone.
    pub zone_port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What the monitor answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// Done.
    Ok,
    /// Not done, with the reason and the remedy.
    Error {
        /// A sentence for people.
        message: String,
    },
    /// Answer to `Status`.
    Status(Status),
    /// First answer to `Exec`: the process runs.
    Started {
        /// Its zone pid.
        zone_pid: u32,
    },
    /// Only answer to an `Exec` whose program could not be executed.
    NotStarted {
        /// Errno of the attempt, as of `execve(2)`: ENOENT becomes exit status 127, others 126.
        errno: i32,
        /// A sentence for people.
        message: String,
    },
    /// Last answer to `Exec`.
    Exited {
        /// Status as `wait4` reports it.
        wait_status: i32,
    },
    /// Answer to `Ports`.
    Ports {
        /// One row a bound port.
        ports: Vec<Port>,
    },
    /// Answer to `Stat`.
    Stat(Stat),
    /// Answer to `Process`.
    Process {
        /// Its number in the zone; none if it is not the zone's.
        zone_pid: Option<u32>,
    },
    /// Last answer to `Trace`, whose first is `Ok`: all is written.
    Traced(Traced),
    /// Last answer to `Inject`, whose first is `Ok`: what became of each rule.
    Injected {
        /// In the order of the rules.
        rules: Vec<Injected>,
    },
    /// Answer to `Users`.
    Users {
        /// One row a user, in the order of their ids.
        users: Vec<Running>,
    },
}

/// What came of a trace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traced {
    /// Calls that were recorded.
    pub calls: u64,
    /// Calls that were not, since a thread's ring was full or it had none.
    pub dropped: u64,
    /// Calls that were recorded and not written, since writing was too slow.
    pub skipped: u64,
}

/// What became of a rule by which calls fail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injected {
    /// Calls for which its condition held.
    pub met: u64,
    /// Those of them that it was for.
    pub done: u64,
}

/// Processes of one user of a zone.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Running {
    /// The effective uid, in the zone.
    pub uid: u32,
    /// How many processes.
    pub processes: usize,
}

/// State of a running zone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Process id of the monitor on the host.
    pub monitor_pid: i32,
    /// Process id of the zone's init on the host.
    pub init_pid: i32,
    /// How many processes of the zone exist, init included.
    pub processes: usize,
    /// When the zone was booted, seconds since 1970.
    pub booted_at: u64,
}

/// A port that a process of a zone has bound.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Port {
    /// Protocol.
    pub protocol: Protocol,
    /// Address in the zone's terms.
    pub zone_address: std::net::IpAddr,
    /// Port in the zone.
    pub zone_port: u16,
    /// Address on the host.
    pub host_address: std::net::Ipv4Addr,
    /// Port on the host.
    pub host_port: u16,
    /// Where else the host reaches it.
    pub published: Vec<std::net::SocketAddrV4>,
}

/// Name of the file in a zone's `run` that holds its report, a list of [`Refusal`]: of the last time
/// that the monitor was asked, or of the end of the run.
pub const REPORT: &str = "refused.json";

/// What a program called for that zones do not offer.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Refusal {
    /// The call, and which of the things that it does.
    pub call: String,
    /// How often.
    pub count: u64,
    /// Name of the thread that called, as ps(1) shows it.
    pub caller: String,
    /// What its process executed when it first called, in the zone.
    pub program: String,
    /// Why it is refused.
    pub reason: String,
}

/// Counters since the boot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Stat {
    /// Round trips to the monitor by request.
    pub requests: Vec<(String, u64)>,
    /// Calls that entered the personality, by name.
    pub entered: Vec<(String, u64)>,
    /// Refused calls by name.
    pub refused: Vec<(String, u64)>,
}
