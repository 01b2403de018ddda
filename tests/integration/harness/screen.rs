//! A program at a terminal of its own: what it shows is waited for, what a user would do is typed.

use super::{LIMIT, process_unsafe, shell_status};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// The program, its terminal, and all that it has shown; it is killed when dropped.
pub struct Screen {
    child: Child,
    terminal: File,
    shown: Vec<u8>,
    /// How much of that was waited for.
    seen: usize,
    what: String,
}

/// Rows and columns.
fn window(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

impl Screen {
    /// Starts a program as the leader of a session at a terminal of 24 rows and 80 columns.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let what = format!("{command:?}");
        let pty = openpty(&window(24, 80), None).expect("a terminal");
        // What other tests start meanwhile must not have it.
        for end in [&pty.master, &pty.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("it is open");
        }
        let near = || Stdio::from(pty.slave.try_clone().expect("a descriptor"));
        command.stdin(near()).stdout(near()).stderr(near());
        command.env("TERM", "xterm");
        process_unsafe::lead_session(command);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
        // The command keeps its own copies of the near end: the last program must be the last one.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self {
            child,
            terminal: File::from(pty.master),
            shown: Vec::new(),
            seen: 0,
            what,
        }
    }

    /// Types a text; `\r` is the key for the end of a line, `\x03` is Ctrl-C.
    pub fn keys(&mut self, text: &str) {
        self.terminal
            .write_all(text.as_bytes())
            .expect("the terminal takes it");
    }

    /// Waits until the program shows `text`, behind what was waited for before.
    ///
    /// # Panics
    /// It does not come in [`LIMIT`], or the program ends first.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let rest = self.shown.get(self.seen..).unwrap_or_default();
            let mut places = rest.windows(text.len());
            if let Some(at) = places.position(|place| place == text.as_bytes()) {
                self.seen += at + text.len();
                return;
            }
            assert!(
                self.read(deadline),
                "{text:?} does not come from {}; shown since: {:?}",
                self.what,
                String::from_utf8_lossy(self.shown.get(self.seen..).unwrap_or_default())
            );
        }
    }

    /// Types a text and waits for what is shown then.
    #[track_caller]
    pub fn ask(&mut self, keys: &str, text: &str) {
        self.keys(keys);
        self.wait_for(text);
    }

    /// Changes the size of the terminal.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        process_unsafe::set_window(&self.terminal, &window(rows, columns));
    }

    /// Waits for the end of the program; the status as a shell would tell it.
    ///
    /// # Panics
    /// It does not end in [`LIMIT`].
    #[track_caller]
    pub fn end(mut self) -> i32 {
        let deadline = Instant::now() + LIMIT;
        while self.read(deadline) {}
        assert!(
            Instant::now() < deadline,
            "{} does not end; shown since: {:?}",
            self.what,
            String::from_utf8_lossy(self.shown.get(self.seen..).unwrap_or_default())
        );
        let ended = super::eventually("the program has ended", || {
            self.child.try_wait().expect("it is our child")
        });
        shell_status(ended)
    }

    /// Reads more; false at the end of all output, or of the time.
    fn read(&mut self, deadline: Instant) -> bool {
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            let mut wanted = [PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX);
            if poll(&mut wanted, timeout) == Ok(0) {
                return false;
            }
            let mut chunk = [0; 4096];
            match self.terminal.read(&mut chunk) {
                Ok(count) => {
                    self.shown.extend_from_slice(&chunk[..count]);
                    return count > 0;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // Nobody has the near end any more.
                Err(_) => return false,
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
