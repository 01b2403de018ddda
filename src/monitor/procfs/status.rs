//! `/proc/PID/status` (proc_pid_status(5)).

use super::{Errno, Subject, View, maps};
use crate::ids::HostPid;
use picozone_personality::capabilities::STRICT;
use picozone_personality::layout::OWN_MASK;

/// What may differ from the personality's mask: SIGKILL and SIGSTOP are in none, and the kernel adds
/// SIGSYS while its handler runs.
const VARYING: u64 = 1 << 8 | 1 << 18 | 1 << 30;

/// The zone's number for the text of a host's one; 0 for what is outside, as the kernel says of
/// processes outside a pid name space.
pub(super) fn zone_number(view: &dyn View, host: &str) -> u32 {
    host.parse()
        .ok()
        .and_then(|host| view.to_zone(HostPid(host)))
        .map_or(0, |zone| zone.0)
}

/// The content of `status` for a process or thread.
///
/// # Errors
/// As [`Subject::read`].
pub(super) fn status(
    view: &dyn View,
    caller: HostPid,
    subject: &Subject,
) -> Result<Vec<u8>, Errno> {
    let host = subject.read("status")?;
    let users = view.credentials(subject.process);
    let capabilities = users.capabilities;
    let set = |set: u64| format!("{set:016x}");
    let hidden_kb = maps::hidden_bytes(view, subject) / 1024;
    let four = |ids: [u32; 4]| ids.map(|id| id.to_string()).join("\t");
    let mut size = 0;
    let mut out = Vec::with_capacity(host.len());
    for line in host.split_inclusive(|&byte| byte == b'\n') {
        let Some((key, value)) = std::str::from_utf8(line)
            .ok()
            .and_then(|line| line.split_once(':'))
        else {
            // The name may be any bytes.
            out.extend_from_slice(line);
            continue;
        };
        let value = value.trim();
        let value = match key {
            "State" if value.starts_with('S') && subject.is_asking(view, caller) => {
                "R (running)".to_owned()
            }
            "State" if value.starts_with('t') && is_traced_from_outside(view, &host) => {
                "T (stopped)".to_owned()
            }
            // What the monitor sees of a thread that waits for its answer is not the guest's mask.
            "SigBlk"
                if u64::from_str_radix(value, 16)
                    .is_ok_and(|mask| mask | VARYING == OWN_MASK | VARYING) =>
            {
                format!("{:016x}", 0)
            }
            "Tgid" | "NStgid" => subject.process.to_string(),
            "Pid" | "NSpid" => subject.thread.to_string(),
            "PPid" | "TracerPid" | "NSpgid" | "NSsid" => {
                // Where pid name spaces are nested, the first number is the one of the /proc that
                // is read, and so the monitor's.
                let own = value.split_ascii_whitespace().next().unwrap_or(value);
                zone_number(view, own).to_string()
            }
            "Uid" => four(users.uid),
            "Gid" => four(users.gid),
            "Groups" => {
                users
                    .groups
                    .iter()
                    .map(u32::to_string)
                    .collect::<Vec<_>>()
                    .join(" ")
                    + " "
            }
            "CapInh" => set(capabilities.inheritable),
            "CapPrm" => set(capabilities.permitted),
            "CapEff" => set(capabilities.effective),
            "CapBnd" => set(capabilities.bounding),
            "CapAmb" => set(capabilities.ambient),
            "NoNewPrivs" => capabilities.no_new_privs.to_string(),
            // The wall is none of the zone's business.
            "Seccomp" => match capabilities.filters {
                0 => 0,
                STRICT => 1,
                _ => 2,
            }
            .to_string(),
            "Seccomp_filters" if capabilities.filters == STRICT => "0".to_owned(),
            "Seccomp_filters" => capabilities.filters.to_string(),
            "VmPeak" | "VmSize" => {
                size = kilobytes(value).saturating_sub(hidden_kb);
                format!("{size:>8} kB")
            }
            // Behind VmSize.
            "VmLck" if view.is_locked(subject.process) => format!("{size:>8} kB"),
            _ => {
                out.extend_from_slice(line);
                continue;
            }
        };
        out.extend_from_slice(format!("{key}:\t{value}\n").as_bytes());
    }
    Ok(out)
}

fn kilobytes(value: &str) -> u64 {
    let number = value.strip_suffix(" kB").and_then(|kb| kb.parse().ok());
    number.unwrap_or(0)
}

/// Whether who traces a process, by its `status` of the host, is nobody in the zone: the zone sees no
/// tracer then, and so a stop like any other.
pub(super) fn is_traced_from_outside(view: &dyn View, status: &[u8]) -> bool {
    let mut lines = status.split(|&byte| byte == b'\n');
    let tracer = lines.find_map(|line| line.strip_prefix(b"TracerPid:\t"));
    tracer
        .and_then(|number| std::str::from_utf8(number).ok())
        .is_some_and(|number| zone_number(view, number.trim()) == 0)
}
