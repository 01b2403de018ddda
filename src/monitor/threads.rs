//! Threads that are there when this process forks.
//!
//! A thread that begins holds locks of the standard library for a moment (std's
//! `sys/pal/unix/stack_overflow/thread_info.rs`). In the child of whoever forks in that moment nobody
//! ever gives them back, and no thread can begin: zone init, which begins one, would wait for ever.

use std::io;
use std::sync::mpsc::channel;
use std::thread::Builder;

/// Starts a thread, which has begun on return.
///
/// # Errors
/// As of pthread_create(3).
pub fn begin(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let (runs, hear) = channel::<()>();
    Builder::new().name(name.to_owned()).spawn(move || {
        drop(runs);
        body();
    })?;
    // Nothing is ever sent: the other end goes when the thread runs.
    let _ = hear.recv();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_runs_under_its_name() {
        let (end, wait) = channel::<()>();
        begin("is-begun", move || {
            let _ = wait.recv();
        })
        .expect("started");
        let tasks = std::fs::read_dir("/proc/self/task").expect("listed");
        let names = tasks
            .flatten()
            .filter_map(|task| std::fs::read(task.path().join("comm")).ok());
        assert!(names.into_iter().any(|name| name == b"is-begun\n"));
        drop(end);
    }
}
