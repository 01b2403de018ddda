//! Name spaces of processes, by the names that the kernel gives them.

/// Entries of `/proc/PID/ns`, in the kernel's order; so do `PIDFD_GET_CGROUP_NAMESPACE` and its kin follow each
/// other (linux/pidfd.h).
pub const NAMESPACES: [&str; 10] = [
    "cgroup",
    "ipc",
    "mnt",
    "net",
    "pid",
    "pid_for_children",
    "time",
    "time_for_children",
    "user",
    "uts",
];
