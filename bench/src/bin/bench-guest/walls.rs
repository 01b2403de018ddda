//! What any zone has around it, without a zone: a seccomp filter, and the kernel's rules on files.
//!
//! A call under the least of it is what the kernel alone takes; no zone can be below that.

use super::check;

/// One instruction: allow. Any filter costs at least that; the kernel keeps such a verdict by number.
pub(super) const ALLOW: libc::sock_filter = libc::sock_filter {
    code: 0x06,
    jt: 0,
    jf: 0,
    k: libc::SECCOMP_RET_ALLOW,
};

/// Whether a word of the first argument is zero; allowed whatever it is. No verdict that looks at an
/// argument can be kept by the kernel: the filter runs at each call.
pub(super) const LOOKS: [libc::sock_filter; 3] = [
    libc::sock_filter {
        code: 0x20,
        jt: 0,
        jf: 0,
        k: 16,
    },
    libc::sock_filter {
        code: 0x15,
        jt: 0,
        jf: 0,
        k: 0,
    },
    ALLOW,
];

/// Puts a filter on this process.
pub(super) fn filter(program: &mut [libc::sock_filter]) {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("it is short"),
        filter: program.as_mut_ptr(),
    };
    give_up_privileges();
    // SAFETY: the program and its instructions outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    check(result, "seccomp");
}

fn give_up_privileges() {
    // SAFETY: takes numbers.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    check(result.into(), "PR_SET_NO_NEW_PRIVS");
}

/// `struct landlock_ruleset_attr` of its first version (linux/landlock.h).
#[repr(C)]
struct Ruleset {
    handled: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    parent: i32,
}

/// `LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR`.
const READ: u64 = 1 << 2 | 1 << 3;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const PATH_BENEATH: u32 = 1;

/// Has the kernel ask its rules at each open: one rule, on the root directory.
pub(super) fn landlock() {
    give_up_privileges();
    let ruleset = Ruleset { handled: READ };
    let size = size_of::<Ruleset>();
    // SAFETY: a ruleset of that size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const ruleset,
            size,
            0,
        )
    };
    let rules = check(result, "landlock_create_ruleset");
    let rule = Beneath {
        allowed: READ,
        parent: root(),
    };
    // SAFETY: a rule of that kind.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            rules,
            PATH_BENEATH,
            &raw const rule,
            0,
        )
    };
    check(result, "landlock_add_rule");
    // SAFETY: takes numbers.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules, 0) };
    check(result, "landlock_restrict_self");
}

/// A descriptor of the root directory.
pub(super) fn root() -> i32 {
    // SAFETY: the path ends with a NUL.
    let fd = unsafe { libc::open(c"/".as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
    check(fd.into(), "open")
}
