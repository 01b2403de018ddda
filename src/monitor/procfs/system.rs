//! The files of `/proc` that belong to no process.

use super::{Entry, Errno, HostFile, Kind, Node, View, inode_of, locks, net};
use crate::ids::HostPid;
use crate::monitor::ipc::Kind as Ipc;
use picozone_personality::commons::ZONE_PID_LIMIT;
use std::io;
use std::path::Path;

/// One file.
pub(super) struct SystemRow {
    /// Its path, relative to `/proc`.
    path: &'static str,
    /// Permission bits: what programs see, not what they may do.
    pub(super) mode: u32,
    source: Source,
}

enum Source {
    /// The host's file as it is; absent where the host has none.
    Host,
    /// The same in every zone.
    Text(&'static str),
    /// The first lines of the host's file: a table without rows.
    Header(usize),
    /// Made for the zone.
    Made(fn(&dyn View) -> Result<Vec<u8>, Errno>),
    /// The zone's own, which its root may write.
    Setting,
    /// Made for who asks.
    MadeFor(fn(&dyn View, HostPid) -> Vec<u8>),
}

const fn row(path: &'static str, source: Source) -> SystemRow {
    SystemRow {
        path,
        mode: 0o444,
        source,
    }
}

const fn host(path: &'static str) -> SystemRow {
    row(path, Source::Host)
}

/// A setting that Linux lets root change. Zones refuse that: the setting is the host's.
const fn setting(path: &'static str) -> SystemRow {
    SystemRow {
        mode: 0o644,
        ..host(path)
    }
}

const fn fixed_setting(path: &'static str, text: &'static str) -> SystemRow {
    SystemRow {
        mode: 0o644,
        ..row(path, Source::Text(text))
    }
}

/// A setting that the zone has of its own ([`crate::monitor::settings`]).
const fn own_setting(path: &'static str) -> SystemRow {
    SystemRow {
        mode: 0o644,
        ..row(path, Source::Setting)
    }
}

/// What root writes to have memory put in order: nothing that a zone can tell comes of it.
const fn hint(path: &'static str) -> SystemRow {
    SystemRow {
        mode: 0o200,
        ..row(path, Source::Setting)
    }
}

static ROWS: &[SystemRow] = &[
    host("buddyinfo"),
    row("cgroups", Source::Header(1)),
    row("cmdline", Source::Text("\n")),
    host("config.gz"),
    host("cpuinfo"),
    host("crypto"),
    host("devices"),
    row("diskstats", Source::Text("")),
    row(
        "execdomains",
        Source::Text("0-0\tLinux           \t[kernel]\n"),
    ),
    row("filesystems", Source::Made(filesystems)),
    host("interrupts"),
    host("loadavg"),
    row("key-users", Source::Made(|view| Ok(view.key_users()))),
    row("keys", Source::MadeFor(|view, asking| view.keys(asking))),
    row("locks", Source::Made(locks::all)),
    host("meminfo"),
    row("modules", Source::Text("")),
    row("partitions", Source::Header(2)),
    host("softirqs"),
    host("pressure/cpu"),
    host("pressure/io"),
    host("pressure/memory"),
    host("stat"),
    row("swaps", Source::Header(1)),
    setting("sys/fs/aio-max-nr"),
    host("sys/fs/aio-nr"),
    host("sys/fs/dentry-state"),
    setting("sys/fs/dir-notify-enable"),
    setting("sys/fs/epoll/max_user_watches"),
    setting("sys/fs/file-max"),
    host("sys/fs/file-nr"),
    host("sys/fs/inode-nr"),
    host("sys/fs/inode-state"),
    setting("sys/fs/inotify/max_queued_events"),
    setting("sys/fs/inotify/max_user_instances"),
    setting("sys/fs/inotify/max_user_watches"),
    setting("sys/fs/lease-break-time"),
    setting("sys/fs/leases-enable"),
    setting("sys/fs/mount-max"),
    setting("sys/fs/mqueue/msg_default"),
    setting("sys/fs/mqueue/msg_max"),
    setting("sys/fs/mqueue/msgsize_default"),
    setting("sys/fs/mqueue/msgsize_max"),
    own_setting("sys/fs/mqueue/queues_max"),
    setting("sys/fs/nr_open"),
    setting("sys/fs/overflowgid"),
    setting("sys/fs/overflowuid"),
    setting("sys/fs/pipe-max-size"),
    setting("sys/fs/pipe-user-pages-hard"),
    setting("sys/fs/pipe-user-pages-soft"),
    own_setting("sys/fs/protected_fifos"),
    own_setting("sys/fs/protected_hardlinks"),
    own_setting("sys/fs/protected_regular"),
    own_setting("sys/fs/protected_symlinks"),
    fixed_setting("sys/fs/suid_dumpable", "0\n"),
    host("sys/crypto/fips_enabled"),
    host("sys/kernel/arch"),
    fixed_setting("sys/kernel/auto_msgmni", "0\n"),
    fixed_setting("sys/kernel/cad_pid", "1\n"),
    host("sys/kernel/cap_last_cap"),
    fixed_setting("sys/kernel/core_pattern", "core\n"),
    setting("sys/kernel/core_pipe_limit"),
    fixed_setting("sys/kernel/core_uses_pid", "0\n"),
    setting("sys/kernel/ctrl-alt-del"),
    setting("sys/kernel/dmesg_restrict"),
    own_setting("sys/kernel/domainname"),
    own_setting("sys/kernel/hostname"),
    setting("sys/kernel/hung_task_timeout_secs"),
    fixed_setting("sys/kernel/keys/gc_delay", "0\n"),
    own_setting("sys/kernel/keys/maxbytes"),
    own_setting("sys/kernel/keys/maxkeys"),
    own_setting("sys/kernel/keys/persistent_keyring_expiry"),
    own_setting("sys/kernel/keys/root_maxbytes"),
    own_setting("sys/kernel/keys/root_maxkeys"),
    setting("sys/kernel/kptr_restrict"),
    setting("sys/kernel/max_lock_depth"),
    own_setting("sys/kernel/msg_next_id"),
    own_setting("sys/kernel/msgmax"),
    own_setting("sys/kernel/msgmnb"),
    own_setting("sys/kernel/msgmni"),
    host("sys/kernel/ngroups_max"),
    setting("sys/kernel/nmi_watchdog"),
    own_setting("sys/kernel/ns_last_pid"),
    setting("sys/kernel/numa_balancing"),
    host("sys/kernel/osrelease"),
    host("sys/kernel/ostype"),
    setting("sys/kernel/overflowgid"),
    setting("sys/kernel/overflowuid"),
    setting("sys/kernel/panic"),
    setting("sys/kernel/panic_on_oops"),
    setting("sys/kernel/panic_on_warn"),
    setting("sys/kernel/perf_cpu_time_max_percent"),
    setting("sys/kernel/perf_event_max_contexts_per_stack"),
    setting("sys/kernel/perf_event_max_sample_rate"),
    setting("sys/kernel/perf_event_max_stack"),
    setting("sys/kernel/perf_event_mlock_kb"),
    setting("sys/kernel/perf_event_paranoid"),
    SystemRow {
        mode: 0o644,
        ..row(
            "sys/kernel/pid_max",
            Source::Made(|_| Ok(line(ZONE_PID_LIMIT.to_string()))),
        )
    },
    setting("sys/kernel/print-fatal-signals"),
    setting("sys/kernel/printk"),
    setting("sys/kernel/printk_delay"),
    setting("sys/kernel/printk_devkmsg"),
    setting("sys/kernel/printk_ratelimit"),
    setting("sys/kernel/printk_ratelimit_burst"),
    setting("sys/kernel/pty/max"),
    row(
        "sys/kernel/pty/nr",
        Source::Made(|view| Ok(line(view.ptys().len().to_string()))),
    ),
    row("sys/kernel/random/boot_id", Source::Made(boot_id)),
    host("sys/kernel/random/entropy_avail"),
    host("sys/kernel/random/poolsize"),
    host("sys/kernel/random/urandom_min_reseed_secs"),
    host("sys/kernel/random/uuid"),
    host("sys/kernel/random/write_wakeup_threshold"),
    setting("sys/kernel/randomize_va_space"),
    setting("sys/kernel/sched_autogroup_enabled"),
    setting("sys/kernel/sched_cfs_bandwidth_slice_us"),
    setting("sys/kernel/sched_deadline_period_max_us"),
    setting("sys/kernel/sched_deadline_period_min_us"),
    setting("sys/kernel/sched_rr_timeslice_ms"),
    setting("sys/kernel/sched_rt_period_us"),
    setting("sys/kernel/sched_rt_runtime_us"),
    host("sys/kernel/seccomp/actions_avail"),
    setting("sys/kernel/seccomp/actions_logged"),
    own_setting("sys/kernel/sem"),
    own_setting("sys/kernel/sem_next_id"),
    own_setting("sys/kernel/shm_next_id"),
    fixed_setting("sys/kernel/shm_rmid_forced", "0\n"),
    own_setting("sys/kernel/shmall"),
    own_setting("sys/kernel/shmmax"),
    own_setting("sys/kernel/shmmni"),
    setting("sys/kernel/soft_watchdog"),
    setting("sys/kernel/softlockup_panic"),
    setting("sys/kernel/sysctl_writes_strict"),
    fixed_setting("sys/kernel/tainted", "0\n"),
    setting("sys/kernel/task_delayacct"),
    setting("sys/kernel/threads-max"),
    setting("sys/kernel/timer_migration"),
    fixed_setting("sys/kernel/unprivileged_bpf_disabled", "2\n"),
    host("sys/kernel/version"),
    setting("sys/kernel/watchdog"),
    setting("sys/kernel/watchdog_thresh"),
    setting("sys/kernel/yama/ptrace_scope"),
    setting("sys/net/core/busy_poll"),
    setting("sys/net/core/busy_read"),
    setting("sys/net/core/default_qdisc"),
    setting("sys/net/core/dev_weight"),
    setting("sys/net/core/max_skb_frags"),
    setting("sys/net/core/message_burst"),
    setting("sys/net/core/message_cost"),
    setting("sys/net/core/netdev_budget"),
    setting("sys/net/core/netdev_budget_usecs"),
    setting("sys/net/core/netdev_max_backlog"),
    setting("sys/net/core/optmem_max"),
    setting("sys/net/core/rmem_default"),
    setting("sys/net/core/rmem_max"),
    setting("sys/net/core/somaxconn"),
    setting("sys/net/core/tstamp_allow_data"),
    setting("sys/net/core/warnings"),
    setting("sys/net/core/wmem_default"),
    setting("sys/net/core/wmem_max"),
    fixed_setting("sys/net/ipv4/conf/all/forwarding", "0\n"),
    fixed_setting("sys/net/ipv4/conf/default/forwarding", "0\n"),
    fixed_setting("sys/net/ipv4/conf/eth0/forwarding", "0\n"),
    fixed_setting("sys/net/ipv4/conf/lo/forwarding", "0\n"),
    setting("sys/net/ipv4/ip_default_ttl"),
    fixed_setting("sys/net/ipv4/ip_forward", "0\n"),
    setting("sys/net/ipv4/ip_local_port_range"),
    setting("sys/net/ipv4/ip_local_reserved_ports"),
    fixed_setting("sys/net/ipv4/ip_nonlocal_bind", "0\n"),
    fixed_setting("sys/net/ipv4/ip_unprivileged_port_start", "0\n"),
    fixed_setting("sys/net/ipv4/ping_group_range", "1\t0\n"),
    host("sys/net/ipv4/tcp_allowed_congestion_control"),
    host("sys/net/ipv4/tcp_available_congestion_control"),
    setting("sys/net/ipv4/tcp_congestion_control"),
    setting("sys/net/ipv4/tcp_fastopen"),
    setting("sys/net/ipv4/tcp_fin_timeout"),
    setting("sys/net/ipv4/tcp_keepalive_intvl"),
    setting("sys/net/ipv4/tcp_keepalive_probes"),
    setting("sys/net/ipv4/tcp_keepalive_time"),
    setting("sys/net/ipv4/tcp_max_syn_backlog"),
    setting("sys/net/ipv4/tcp_max_tw_buckets"),
    setting("sys/net/ipv4/tcp_mem"),
    setting("sys/net/ipv4/tcp_recovery"),
    setting("sys/net/ipv4/tcp_rmem"),
    setting("sys/net/ipv4/tcp_sack"),
    setting("sys/net/ipv4/tcp_syn_retries"),
    setting("sys/net/ipv4/tcp_synack_retries"),
    setting("sys/net/ipv4/tcp_syncookies"),
    setting("sys/net/ipv4/tcp_timestamps"),
    setting("sys/net/ipv4/tcp_tw_reuse"),
    setting("sys/net/ipv4/tcp_window_scaling"),
    setting("sys/net/ipv4/tcp_wmem"),
    setting("sys/net/ipv4/udp_mem"),
    setting("sys/net/ipv6/auto_flowlabels"),
    setting("sys/net/ipv6/bindv6only"),
    fixed_setting("sys/net/ipv6/conf/all/disable_ipv6", "0\n"),
    fixed_setting("sys/net/ipv6/conf/all/forwarding", "0\n"),
    fixed_setting("sys/net/ipv6/conf/default/disable_ipv6", "0\n"),
    fixed_setting("sys/net/ipv6/conf/default/forwarding", "0\n"),
    fixed_setting("sys/net/ipv6/conf/eth0/disable_ipv6", "0\n"),
    fixed_setting("sys/net/ipv6/conf/eth0/forwarding", "0\n"),
    fixed_setting("sys/net/ipv6/conf/lo/disable_ipv6", "0\n"),
    fixed_setting("sys/net/ipv6/conf/lo/forwarding", "0\n"),
    setting("sys/net/ipv6/ip6frag_time"),
    fixed_setting("sys/net/ipv6/ip_nonlocal_bind", "0\n"),
    setting("sys/net/unix/max_dgram_qlen"),
    fixed_setting("sys/user/max_cgroup_namespaces", "0\n"),
    setting("sys/user/max_inotify_instances"),
    setting("sys/user/max_inotify_watches"),
    fixed_setting("sys/user/max_ipc_namespaces", "0\n"),
    fixed_setting("sys/user/max_mnt_namespaces", "0\n"),
    fixed_setting("sys/user/max_net_namespaces", "0\n"),
    fixed_setting("sys/user/max_pid_namespaces", "0\n"),
    fixed_setting("sys/user/max_time_namespaces", "0\n"),
    fixed_setting("sys/user/max_user_namespaces", "0\n"),
    fixed_setting("sys/user/max_uts_namespaces", "0\n"),
    setting("sys/vm/admin_reserve_kbytes"),
    hint("sys/vm/compact_memory"),
    setting("sys/vm/compact_unevictable_allowed"),
    setting("sys/vm/compaction_proactiveness"),
    setting("sys/vm/dirty_background_bytes"),
    setting("sys/vm/dirty_background_ratio"),
    setting("sys/vm/dirty_bytes"),
    setting("sys/vm/dirty_expire_centisecs"),
    setting("sys/vm/dirty_ratio"),
    setting("sys/vm/dirty_writeback_centisecs"),
    setting("sys/vm/dirtytime_expire_seconds"),
    hint("sys/vm/drop_caches"),
    setting("sys/vm/extfrag_threshold"),
    setting("sys/vm/hugetlb_shm_group"),
    setting("sys/vm/laptop_mode"),
    setting("sys/vm/legacy_va_layout"),
    setting("sys/vm/lowmem_reserve_ratio"),
    setting("sys/vm/max_map_count"),
    setting("sys/vm/memfd_noexec"),
    setting("sys/vm/min_free_kbytes"),
    setting("sys/vm/min_slab_ratio"),
    setting("sys/vm/min_unmapped_ratio"),
    setting("sys/vm/mmap_min_addr"),
    setting("sys/vm/nr_hugepages"),
    setting("sys/vm/nr_hugepages_mempolicy"),
    setting("sys/vm/nr_overcommit_hugepages"),
    setting("sys/vm/numa_stat"),
    setting("sys/vm/oom_dump_tasks"),
    setting("sys/vm/oom_kill_allocating_task"),
    setting("sys/vm/overcommit_kbytes"),
    setting("sys/vm/overcommit_memory"),
    setting("sys/vm/overcommit_ratio"),
    setting("sys/vm/page-cluster"),
    setting("sys/vm/page_lock_unfairness"),
    setting("sys/vm/panic_on_oom"),
    setting("sys/vm/percpu_pagelist_high_fraction"),
    setting("sys/vm/stat_interval"),
    setting("sys/vm/swappiness"),
    fixed_setting("sys/vm/unprivileged_userfaultfd", "0\n"),
    setting("sys/vm/user_reserve_kbytes"),
    setting("sys/vm/vfs_cache_pressure"),
    setting("sys/vm/watermark_boost_factor"),
    setting("sys/vm/watermark_scale_factor"),
    setting("sys/vm/zone_reclaim_mode"),
    row(
        "sysvipc/msg",
        Source::Made(|view| ipc_table(view, Ipc::Msg)),
    ),
    row(
        "sysvipc/sem",
        Source::Made(|view| ipc_table(view, Ipc::Sem)),
    ),
    row(
        "sysvipc/shm",
        Source::Made(|view| ipc_table(view, Ipc::Shm)),
    ),
    host("tty/drivers"),
    host("uptime"),
    host("version"),
    host("vmstat"),
    host("zoneinfo"),
];

/// File systems that a zone may be told of: those that its mounts can show.
const FILESYSTEMS: [&str; 16] = [
    "btrfs", "devpts", "devtmpfs", "erofs", "ext2", "ext3", "ext4", "overlay", "pipefs", "proc",
    "ramfs", "sockfs", "squashfs", "tmpfs", "vfat", "xfs",
];

/// The row of a file that this host has.
pub(super) fn find(path: &[u8]) -> Option<&'static SystemRow> {
    ROWS.iter()
        .find(|row| row.path.as_bytes() == path)
        .filter(|row| exists(row))
}

fn exists(row: &SystemRow) -> bool {
    match row.source {
        Source::Host => Path::new("/proc").join(row.path).exists(),
        _ => true,
    }
}

/// Whether files lie beneath this path.
pub(super) fn is_dir(path: &[u8]) -> bool {
    ROWS.iter()
        .any(|row| beneath(row, path).is_some_and(|rest| !rest.is_empty()))
}

/// Whether the path goes on behind a file.
pub(super) fn passes_file(path: &[u8]) -> bool {
    ROWS.iter().any(|row| {
        path.strip_prefix(row.path.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&b'/'))
    })
}

/// The row's path relative to a directory; the top directory's path is empty.
fn beneath<'a>(row: &'a SystemRow, dir: &[u8]) -> Option<&'a [u8]> {
    let path = row.path.as_bytes();
    if dir.is_empty() {
        Some(path)
    } else {
        path.strip_prefix(dir)?.strip_prefix(b"/")
    }
}

/// What a directory holds.
pub(super) fn entries(dir: &[u8]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for row in ROWS {
        let Some(rest) = beneath(row, dir) else {
            continue;
        };
        let slash = rest.iter().position(|&byte| byte == b'/');
        let (name, kind) = match slash {
            Some(slash) => (&rest[..slash], Kind::Dir),
            None => (rest, Kind::File),
        };
        if (kind == Kind::Dir || exists(row)) && !entries.iter().any(|entry| entry.name == name) {
            entries.push(Entry {
                name: name.to_vec(),
                kind,
            });
        }
    }
    entries
}

/// The file itself.
///
/// # Errors
/// What the kernel says of the host's file.
pub(super) fn open(view: &dyn View, asking: HostPid, row: &SystemRow) -> Result<Node, Errno> {
    let path = format!("/proc/{}", row.path);
    match row.source {
        Source::Host => Ok(Node::Host(HostFile::global(path.into()))),
        Source::Text(text) => Ok(Node::Bytes(text.into())),
        Source::Header(lines) => Ok(Node::Bytes(net::header(&path, lines))),
        Source::Made(make) => make(view).map(Node::Bytes),
        Source::Setting => Ok(Node::Setting(row.path, view.setting(row.path))),
        Source::MadeFor(make) => Ok(Node::Bytes(make(view, asking))),
    }
}

/// The content of a file of the host.
///
/// # Errors
/// What the kernel says.
pub(super) fn read(path: &str) -> Result<Vec<u8>, Errno> {
    std::fs::read(path).map_err(|error: io::Error| error.raw_os_error().unwrap_or(libc::EIO))
}

fn line(text: impl Into<Vec<u8>>) -> Vec<u8> {
    let mut text = text.into();
    text.push(b'\n');
    text
}

fn filesystems(_: &dyn View) -> Result<Vec<u8>, Errno> {
    let host = read("/proc/filesystems")?;
    let shown = String::from_utf8_lossy(&host)
        .lines()
        .filter(|line| {
            line.split_ascii_whitespace()
                .next_back()
                .is_some_and(|name| FILESYSTEMS.contains(&name))
        })
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    Ok(shown.into_bytes())
}

/// The header of the host's table, with the zone's rows.
fn ipc_table(view: &dyn View, kind: Ipc) -> Result<Vec<u8>, Errno> {
    let name = match kind {
        Ipc::Shm => "shm",
        Ipc::Sem => "sem",
        Ipc::Msg => "msg",
    };
    let mut text = net::header(&format!("/proc/sysvipc/{name}"), 1);
    text.extend(view.sysvipc(kind));
    Ok(text)
}

/// A number for this boot of this zone, in the form of a version 4 UUID.
fn boot_id(view: &dyn View) -> Result<Vec<u8>, Errno> {
    let host =
        String::from_utf8(read("/proc/sys/kernel/random/boot_id")?).map_err(|_| libc::EIO)?;
    let booted = view.booted_at().to_string();
    let half = |salt: &str| inode_of(&format!("{salt}{host}"), booted.as_bytes());
    // 44 of the 52 bits of each hash: the others are fixed.
    let bits = u128::from(half("first") << 20) << 64 | u128::from(half("second") << 20);
    let hex = format!("{bits:032x}");
    Ok(line(format!(
        "{}-{}-4{}-a{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[1..4],
        &hex[17..20],
        &hex[20..32]
    )))
}
