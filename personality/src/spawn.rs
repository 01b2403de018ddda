//! What the monitor asks of zone init: to start a program.

/// The socket on which init takes requests. It is closed by exec, so that no other guest holds it.
pub const FD_SPAWN: u32 = 1023;
/// Longest request, in bytes.
pub const SPAWN_MAX: usize = 64 * 1024;
/// Room for the strings of a request.
pub const TEXT_MAX: usize = SPAWN_MAX - 4096 - 128;
/// Most supplementary groups of a program that is started from outside the zone.
pub const GROUPS_MAX: usize = 1024;

/// One request; the packet carries the program's descriptors 0, 1 and 2.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Spawn {
    /// Comes back in the answer.
    pub cookie: u64,
    /// Zone user to start as.
    pub uid: u32,
    /// Zone group to start as.
    pub gid: u32,
    /// How many of `groups` are used.
    pub group_count: u32,
    /// Supplementary groups.
    pub groups: [u32; GROUPS_MAX],
    /// 1 if `tty_fd` becomes the controlling terminal.
    pub is_tty: u32,
    /// Which of 0, 1 and 2 is the terminal.
    pub tty_fd: u32,
    /// 1 if it is no program but a clerk, whose socket the first descriptor is.
    pub is_clerk: u32,
    /// How many arguments.
    pub arg_count: u32,
    /// How many environment strings.
    pub env_count: u32,
    /// Native calls that the program's are to come to the personality for all that, one bit each.
    pub trapped: [u64; 8],
    /// Bytes used of `text`.
    pub text_len: u32,
    /// Working directory, program, arguments, environment, each NUL-terminated. Last: a packet ends where
    /// they do.
    pub text: [u8; TEXT_MAX],
}

impl Spawn {
    /// How many bytes of it are a packet.
    #[must_use]
    pub const fn length(&self) -> usize {
        let used = self.text_len as usize;
        let used = if used < TEXT_MAX { used } else { TEXT_MAX };
        core::mem::offset_of!(Spawn, text) + used
    }
}

const _: () = assert!(size_of::<Spawn>() <= SPAWN_MAX);
