//! Options that `CAP_NET_ADMIN` sets beyond what the host gives. The monitor keeps them by socket; they are
//! told, and nothing more: a buffer is as large as the host allows, a mark marks nothing.

use super::hand_over;
use crate::Result;
use crate::monitor::tables;
use crate::thread::Thread;
use core::sync::atomic::Ordering::Relaxed;
use picozone_personality::mailbox::{RECORDED_MAX, Request, recorded};

/// What is kept of an option.
pub struct Value {
    bytes: [u8; RECORDED_MAX],
    length: usize,
}

impl Value {
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    pub fn as_word(&self) -> u32 {
        let word = self.as_bytes().first_chunk();
        word.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }
}

fn ask(thread: &Thread, fd: u64, key: u64, operation: u64, value: &[u8]) -> Result<u64> {
    let cookie = hand_over(thread, fd)?;
    thread.mailbox().b[..value.len()].copy_from_slice(value);
    let args = [key, cookie, operation, value.len() as u64];
    thread.ask(Request::Recorded, &args)
}

/// The option of this level and number, if one is kept.
pub fn tell(thread: &Thread, fd: u64, level: u64, name: u64) -> Result<Option<Value>> {
    if tables().recorded_options.load(Relaxed) == 0 {
        return Ok(None);
    }
    let length = ask(thread, fd, level << 32 | name, recorded::TELL, &[])?;
    let length = usize::try_from(length).unwrap_or(0).min(RECORDED_MAX);
    let mut bytes = [0; RECORDED_MAX];
    bytes[..length].copy_from_slice(&thread.mailbox().b[..length]);
    Ok((length != 0).then_some(Value { bytes, length }))
}

/// Keeps one, of at most [`RECORDED_MAX`] bytes.
pub fn keep(thread: &Thread, fd: u64, level: u64, name: u64, value: &[u8]) -> Result<()> {
    ask(thread, fd, level << 32 | name, recorded::KEEP, value).map(drop)
}

/// It is the kernel's again.
pub fn forget(thread: &Thread, fd: u64, level: u64, name: u64) -> Result<()> {
    if tables().recorded_options.load(Relaxed) == 0 {
        return Ok(());
    }
    ask(thread, fd, level << 32 | name, recorded::FORGET, &[]).map(drop)
}
