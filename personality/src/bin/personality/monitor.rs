//! The doorbell: asking the monitor.

use crate::arch::syscall2;
use crate::dispatch::checked;
use crate::thread::Thread;
use crate::{Errno, Result};
use picozone_personality::clients::CLIENT;
use picozone_personality::commons::Commons;
use picozone_personality::layout::{COMMONS_BASE, MAILBOXES_BASE, NR_DOORBELL, TABLES_BASE};
use picozone_personality::mailbox::{MAILBOX_STRIDE, Mailbox, Request, TEXT_MAX};
use picozone_personality::tables::Tables;

/// The zone's tables.
pub fn tables() -> &'static Tables {
    unsafe { &*(TABLES_BASE as *const Tables) }
}

/// What the guests of the zone share.
pub fn commons() -> &'static Commons {
    unsafe { &*(COMMONS_BASE as *const Commons) }
}

/// The mailbox of a thread, by its host id.
pub fn mailbox_of(host_tid: u32) -> &'static mut Mailbox {
    unsafe { &mut *((MAILBOXES_BASE + u64::from(host_tid) * MAILBOX_STRIDE) as *mut Mailbox) }
}

impl Thread {
    pub fn mailbox(&self) -> &'static mut Mailbox {
        mailbox_of(self.host_tid)
    }
    /// Asks the monitor. A zone without its monitor ends.
    pub fn ask(&self, request: Request, args: &[u64]) -> Result<u64> {
        let mailbox = self.mailbox();
        for (to, from) in mailbox.args.iter_mut().zip(args) {
            *to = *from;
        }
        if self.beside.get() != 0 && args.len() < mailbox.args.len() {
            mailbox.args[7] = self.beside.get() - 1;
        }
        let whose = u64::from(self.process().is_client) * u64::from(CLIENT);
        let ring = || unsafe { syscall2(NR_DOORBELL, u64::from(request as u32), whose) };
        let mut result = ring();
        if result == -4 && self.came_by_jump() && self.boundary != 0 {
            // A signal arrived before the monitor looked; it was noted, and now all are blocked.
            result = ring();
        }
        if result == -38
            && request != Request::Ping
            && unsafe { syscall2(NR_DOORBELL, 0, whose) } != 0
        {
            crate::die("");
        }
        checked(result)
    }
    /// Puts a text into field `a`, for the next request.
    pub fn put_text(&self, text: &[u8]) -> Result<()> {
        if text.len() >= TEXT_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let a = &mut self.mailbox().a;
        a[..text.len()].copy_from_slice(text);
        a[text.len()] = 0;
        Ok(())
    }
    /// Asks the monitor about a text.
    pub fn ask_about(&self, request: Request, text: &[u8], args: &[u64]) -> Result<u64> {
        self.put_text(text)?;
        self.ask(request, args)
    }
}
