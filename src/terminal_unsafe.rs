//! Window sizes of terminals, which nix leaves to `ioctl`.

use nix::pty::Winsize;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

nix::ioctl_read_bad!(get_window_size, libc::TIOCGWINSZ, Winsize);
nix::ioctl_write_ptr_bad!(set_window_size, libc::TIOCSWINSZ, Winsize);

/// The window size of a terminal.
pub(super) fn window_size(terminal: BorrowedFd<'_>) -> io::Result<Winsize> {
    let mut size = Winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel writes one Winsize there, and it lives until the call returns.
    unsafe { get_window_size(terminal.as_raw_fd(), &raw mut size) }?;
    Ok(size)
}

/// Sets the window size of a terminal.
pub(super) fn resize(terminal: BorrowedFd<'_>, size: &Winsize) -> io::Result<()> {
    // SAFETY: the kernel reads one Winsize, which lives until the call returns.
    unsafe { set_window_size(terminal.as_raw_fd(), std::ptr::from_ref(size)) }?;
    Ok(())
}
