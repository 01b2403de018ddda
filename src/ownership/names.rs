//! Names of extended attributes, in the zone and on the host.
//!
//! `user.*` are the host's own. What only the zone's root may set, `trusted.*` and `security.*`, is
//! kept as `user.picozone.*`: it moves with the file, and means nothing to the host. No guest reaches
//! those by that name.

use picozone_personality::mailbox::xattr::is_kept;
use std::ffi::CString;

const KEPT: &[u8] = b"user.picozone.";

/// The host's name of an attribute; `None` for those that no zone has.
#[must_use]
pub fn to_host(name: &[u8]) -> Option<CString> {
    let host = if is_kept(name) {
        [KEPT, name].concat()
    } else if name.starts_with(b"user.") && !name.starts_with(KEPT) {
        name.to_vec()
    } else {
        return None;
    };
    CString::new(host).ok()
}

/// The zone's name of an attribute; `None` for those that it does not see.
#[must_use]
pub fn to_zone(name: &[u8]) -> Option<&[u8]> {
    match name.strip_prefix(KEPT) {
        Some(kept) => Some(kept),
        None if name.starts_with(b"user.") => Some(name),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_the_zone_is_reached_by_no_other_name() {
        for name in ["trusted.a", "security.capability", "user.a"] {
            let host = to_host(name.as_bytes()).expect("zones have it");
            assert!(host.as_bytes().starts_with(b"user."), "{name}");
            assert_eq!(to_zone(host.as_bytes()), Some(name.as_bytes()));
        }
        for name in [
            "user.picozone.trusted.a",
            "system.posix_acl_access",
            "other",
            "",
        ] {
            assert_eq!(to_host(name.as_bytes()), None, "{name}");
        }
        assert_eq!(to_zone(b"security.selinux"), None);
    }
}
