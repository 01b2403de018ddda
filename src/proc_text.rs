//! Files of the host's `/proc` in which names stand that processes and files have given themselves.

use std::io;
use std::path::Path;

/// The text of a file of `/proc`. What of it is no UTF-8, which the names of processes and files need not
/// be, is replaced; all that the kernel writes around them is ASCII.
///
/// # Errors
/// As read(2): there is no such process, or it is not to be looked at.
pub fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let bytes = std::fs::read(path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_bytes_leave_the_rest_as_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("stat");
        std::fs::write(&path, b"12 (\xe4)\xff) S 1 12\n").expect("written");
        let text = read(&path).expect("read");
        let behind = text.rfind(')').and_then(|at| text.get(at + 2..));
        assert_eq!(behind, Some("S 1 12\n"));
    }
}
