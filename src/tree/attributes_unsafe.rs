//! Extended attributes of what is in a tree. A link at the end of a path is not followed.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Sets an attribute.
///
/// # Errors
/// Those of lsetxattr(2).
pub(super) fn set(path: &Path, name: &CStr, value: &[u8]) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: path, name and value live until the call returns, and the length is the value's.
    let result = unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Names of all attributes.
///
/// # Errors
/// Those of llistxattr(2).
pub(super) fn list(path: &Path) -> io::Result<Vec<CString>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut names = vec![0; 65536];
    // SAFETY: the path lives until the call returns, and the length is the buffer's.
    let got = unsafe {
        libc::llistxattr(
            path.as_ptr(),
            names.as_mut_ptr().cast::<libc::c_char>(),
            names.len(),
        )
    };
    let length = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    let names = names[..length].split(|&byte: &u8| byte == 0);
    let names = names.filter(|name| !name.is_empty());
    Ok(names.filter_map(|name| CString::new(name).ok()).collect())
}

/// The value of an attribute.
///
/// # Errors
/// Those of lgetxattr(2).
pub(super) fn get(path: &Path, name: &CStr) -> io::Result<Vec<u8>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut value = vec![0u8; 65536];
    // SAFETY: path and name live until the call returns, and the length is the buffer's.
    let got = unsafe {
        libc::lgetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    let length = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    value.truncate(length);
    Ok(value)
}
