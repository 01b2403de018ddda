//! Where things lie in a guest: addresses and reserved descriptors.
//!
//! All of it lies between 0x6600_0000_0000 and 0x6700_0000_0000, so that the seccomp filter can
//! judge an address by its high word alone. A hard `RLIMIT_AS` keeps the kernel from placing
//! anything there by itself. Below lies what AddressSanitizer maps at fixed places: its shadow to
//! 0x1000_7fff_8000, its heap from 0x5000_0000_0000 or 0x6000_0000_0000, of 4 TiB.

/// Start of the personality's image (`--image-base` of its link).
pub const PERSONALITY_BASE: u64 = 0x6600_0000_0000;
/// Room for the personality's image, text and data, in bytes.
pub const PERSONALITY_SIZE: u64 = 0x18_0000;
/// Where in its data messages to be sent are put together ([`crate::messages`]; `.messages` in its
/// linker script).
pub const MESSAGES_BASE: u64 = PERSONALITY_BASE + 0x14_0000;
/// Behind the instruction by which calls are made only to be judged by a guest's own seccomp filters
/// (`.judge` in its linker script).
pub const JUDGE_END: u64 = PERSONALITY_BASE + 0xf2;
/// Where rewritten call sites enter the personality (`.entry` in its linker script).
pub const JUMP_ENTRY: u64 = PERSONALITY_BASE + 0x100;
/// Start of the read-only tables.
pub const TABLES_BASE: u64 = 0x6601_0000_0000;
/// Start of the commons, which every guest of the zone may write.
pub const COMMONS_BASE: u64 = 0x6602_0000_0000;
/// Start of the mailboxes; the one of the thread with host id `t` lies at `t * MAILBOX_STRIDE`. They
/// are the rest of the commons' file: every mapping costs each fork and exec.
pub const MAILBOXES_BASE: u64 = COMMONS_BASE + MAILBOXES_OFFSET;
/// Where the mailboxes begin in that file.
pub const MAILBOXES_OFFSET: u64 = 1 << 32;
/// Length of that file, in bytes.
pub const COMMONS_SIZE: u64 = MAILBOXES_OFFSET + PID_LIMIT as u64 * crate::mailbox::MAILBOX_STRIDE;
/// First address beyond all of the above.
pub const REGION_END: u64 = 0x6700_0000_0000;

/// The hard `RLIMIT_AS` of guests, in bytes, where the host's is not lower: the kernel places nothing
/// in our region by itself, since more than this lies above it. AddressSanitizer takes 20 TiB.
pub const ADDRESS_SPACE: u64 = 22 << 40;

/// Highest host thread id for which there is a mailbox, plus one (the kernel's `PID_MAX_LIMIT`).
pub const PID_LIMIT: u32 = 1 << 22;
/// What a zone adds to the host id of a thread that is not a leader (above any host id).
pub const THREAD_BIAS: u32 = 1 << 22;

/// First reserved descriptor. The default soft limit of descriptors lies just below it.
pub const FD_BASE: u32 = 1024;
/// How many descriptors are reserved; all of them are always open.
pub const FD_COUNT: u32 = 48;

/// Whether a descriptor is a reserved one.
#[must_use]
pub const fn is_reserved(fd: u32) -> bool {
    fd >= FD_BASE && fd < FD_BASE + FD_COUNT
}

/// The personality's sealed memfd, executed by every exec.
pub const FD_PERSONALITY: u32 = FD_BASE;
/// The tables, opened read-only.
pub const FD_TABLES: u32 = FD_BASE + 1;
/// The commons, and behind them the mailboxes.
pub const FD_COMMONS: u32 = FD_BASE + 2;
/// A datagram socket to the monitor, over which a guest hands it a descriptor.
pub const FD_HAND: u32 = FD_BASE + 3;
/// The directory of rewritten copies of programs and libraries.
pub const FD_COPIES: u32 = FD_BASE + 4;
/// The mailboxes of a client's process, see [`crate::clients`].
pub const FD_BOXES: u32 = FD_BASE + 5;
/// A socket by which a client is handed descriptors that only name a file.
pub const FD_NAMES: u32 = FD_BASE + 6;
/// The zone's mounts, `O_PATH`: first where it makes temporary file systems, then those of its
/// configuration.
pub const FD_MOUNT0: u32 = FD_BASE + 8;
/// How many mounts a zone can have.
pub const MOUNTS_MAX: usize = (FD_PARENTS - FD_MOUNT0) as usize;
/// Directories that the process itself keeps at hand. Who but itself would suffer from others there?
/// So they are the only ones that it may replace.
pub const FD_PARENTS: u32 = FD_BASE + 32;
/// How many of these there are.
pub const PARENTS_MAX: u32 = 16;
/// Rows of the mount table: mounts, and aliases of directories in them.
pub const MOUNT_ROWS_MAX: usize = MOUNTS_MAX + 16;
/// How many mounts a zone can make itself.
pub const ADDED_MAX: usize = 64;

/// `st_mode` on the host of the directories that stand for those of `/proc` and `/dev`: no other
/// directory of a zone should have it. One that does costs a question to the monitor, nothing more.
pub const DIRECTORY_MODE: u32 = 0o041_755;

/// Where the links lead, on the host, that stand for a zone's mount points and for what the monitor
/// serves: nowhere, and away from where they are, so that a confined walk into one fails with EXDEV.
pub const PLACEHOLDER: &str = "/.zone-mount";

/// The signal mask (`SigBlk`) of a thread inside the personality: everything but SIGBUS, SIGSEGV and
/// SIGSYS, by which it finds bad addresses of the guest and serves calls.
pub const OWN_MASK: u64 = !(1 << 6 | 1 << 10 | 1 << 30);

/// The private system call number by which the personality asks the monitor.
///
/// No kernel knows it; the filter turns it into a notification.
pub const NR_DOORBELL: u32 = 0x5a0f;

/// The regions lie apart, the tables in the 4 GiB for which the filter has a test of its own.
const _: () = {
    const FILTERED: u64 = 1 << 32;
    assert!(PERSONALITY_BASE + PERSONALITY_SIZE <= TABLES_BASE);
    assert!(MESSAGES_BASE + crate::messages::AREA_SIZE <= PERSONALITY_BASE + PERSONALITY_SIZE);
    assert!(TABLES_BASE == PERSONALITY_BASE + FILTERED && crate::tables::TABLES_SIZE <= FILTERED);
    assert!(COMMONS_BASE == TABLES_BASE + FILTERED);
    assert!(size_of::<crate::commons::Commons>() as u64 <= MAILBOXES_OFFSET);
    assert!(COMMONS_BASE + COMMONS_SIZE <= REGION_END);
    // Where the kernel begins to place, from above: randomised within a terabyte.
    assert!(REGION_END + ADDRESS_SPACE <= 0x7fff_0000_0000 - (1 << 40));
    // The filter's forms of long ranges.
    assert!(PERSONALITY_BASE == 0x6600_0000_0000 && REGION_END == PERSONALITY_BASE + (1 << 40));
};
