//! The memory that a zone's monitor and guests share.

use super::strict::Boxes;
use crate::error::{Doing, Result};
use hashbrown::HashMap;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use picozone_personality::commons::Commons;
use picozone_personality::layout::{COMMONS_SIZE, MAILBOXES_OFFSET, PID_LIMIT};
use picozone_personality::mailbox::{Handover, MAILBOX_STRIDE, Mailbox, TEXT_MAX};
use picozone_personality::tables::{HOW_INVALID, TABLES_SIZE, Tables, VERSION};
use picozone_personality::trace::{RING_SIZE, Rings};
use picozone_syscalls::forward::DATA_MAX;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// One region: its descriptor and our mapping of it, which lasts as long as the process.
struct Region {
    fd: OwnedFd,
    base: *mut u8,
}

impl Region {
    fn make(name: &str, size: u64) -> Result<Region> {
        let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)
            .doing("make", name)?;
        File::from(fd.try_clone().doing("copy", name)?)
            .set_len(size)
            .doing("size", name)?;
        let length = usize::try_from(size).expect("regions fit the address space");
        // SAFETY: a fresh mapping at a place of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                fd.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error()).doing("map", name);
        }
        Ok(Region {
            fd,
            base: base.cast(),
        })
    }
    fn seal(&self, seals: SealFlag, name: &str) -> Result<()> {
        fcntl(&self.fd, FcntlArg::F_ADD_SEALS(seals))
            .doing("seal", name)
            .map(drop)
    }
}

/// A file of the personality that nobody can change.
fn make_personality() -> Result<OwnedFd> {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    const WHAT: &str = "the personality";
    let flags = MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC;
    let mut file = File::from(memfd_create("picozone", flags).doing("make", WHAT)?);
    file.write_all(crate::PERSONALITY).doing("write", WHAT)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o755))
        .doing("chmod", WHAT)?;
    let all = SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(all)).doing("seal", WHAT)?;
    Ok(OwnedFd::from(file))
}

fn mailbox_offset(host_tid: u32) -> u64 {
    MAILBOXES_OFFSET + u64::from(host_tid) * MAILBOX_STRIDE
}

/// The mailbox of one thread of a client.
struct Kept {
    at: *mut Mailbox,
    /// Where it lies.
    _boxes: Arc<Boxes>,
}

// SAFETY: as for `Shared`.
unsafe impl Send for Kept {}
// SAFETY: as for `Shared`.
unsafe impl Sync for Kept {}

impl Kept {
    const LENGTH: usize = size_of::<Mailbox>().next_multiple_of(4096);

    fn map(boxes: &Arc<Boxes>, host_tid: u32) -> std::result::Result<Kept, i32> {
        let offset = i64::try_from(mailbox_offset(host_tid)).map_err(|_| libc::EINVAL)?;
        // SAFETY: a fresh mapping at a place of the kernel's choice.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                Self::LENGTH,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                boxes.file().as_raw_fd(),
                offset,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(libc::ENOMEM);
        }
        Ok(Kept {
            at: at.cast(),
            _boxes: Arc::clone(boxes),
        })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody has its place any more.
        unsafe { libc::munmap(self.at.cast(), Self::LENGTH) };
    }
}

/// Where a mailbox lies, as long as this is held.
struct Place {
    at: *mut Mailbox,
    _kept: Option<Arc<Kept>>,
}

/// The shared memory of one zone.
pub struct Shared {
    personality: OwnedFd,
    tables: Region,
    tables_read_only: OwnedFd,
    /// The mailboxes are its end.
    commons: Region,
    /// Those of clients, by thread.
    boxes: RwLock<HashMap<u32, Arc<Kept>>>,
    has_boxes: AtomicBool,
}

// SAFETY: the regions are shared memory by nature; all access goes through atomics or through
// copies of bytes that guests may change at any time.
unsafe impl Send for Shared {}
// SAFETY: as for `Send`.
unsafe impl Sync for Shared {}

impl Shared {
    /// Makes the memory: empty tables, no process.
    ///
    /// # Errors
    /// Out of memory or descriptors.
    pub fn make() -> Result<Shared> {
        let personality = make_personality()?;
        let tables = Region::make("tables", TABLES_SIZE)?;
        let commons = Region::make("commons", COMMONS_SIZE)?;
        let fixed = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        tables.seal(fixed | SealFlag::F_SEAL_FUTURE_WRITE, "tables")?;
        commons.seal(fixed, "commons")?;
        let path = format!("/proc/self/fd/{}", tables.fd.as_raw_fd());
        let tables_read_only = OwnedFd::from(File::open(&path).doing("open", "tables")?);
        let shared = Shared {
            personality,
            tables,
            tables_read_only,
            commons,
            boxes: RwLock::default(),
            has_boxes: AtomicBool::new(false),
        };
        for how in &shared.tables().hows {
            how.resolve.store(HOW_INVALID, Ordering::Release);
        }
        // SAFETY: nobody else has the memory yet.
        let header = unsafe { shared.tables_mut() };
        header.version = VERSION;
        Ok(shared)
    }

    /// The tables.
    #[must_use]
    pub fn tables(&self) -> &'static Tables {
        // SAFETY: the region is as large as `Tables`, zeroed memory is a valid value, and the mapping
        // is never undone. What changes in it are atomics.
        unsafe { &*self.tables.base.cast::<Tables>() }
    }

    /// The tables, to be filled before any guest exists, and names later.
    ///
    /// # Safety
    /// No other reference into the plain (not atomic) fields may be in use.
    #[expect(
        clippy::mut_from_ref,
        reason = "the memory is shared with other processes anyway; the caller promises exclusivity"
    )]
    pub unsafe fn tables_mut(&self) -> &mut Tables {
        // SAFETY: see `tables`; exclusivity is the caller's promise.
        unsafe { &mut *self.tables.base.cast::<Tables>() }
    }

    /// The commons.
    #[must_use]
    pub fn commons(&self) -> &Commons {
        // SAFETY: the region is as large as `Commons`, which holds only atomics.
        unsafe { &*self.commons.base.cast::<Commons>() }
    }

    /// The mailbox of a thread; `None` beyond the kernel's highest id.
    fn mailbox(&self, host_tid: u32) -> Option<Place> {
        if host_tid >= PID_LIMIT {
            return None;
        }
        if self.has_boxes.load(Ordering::Acquire) {
            let boxes = self.boxes.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(kept) = boxes.get(&host_tid) {
                return Some(Place {
                    at: kept.at,
                    _kept: Some(Arc::clone(kept)),
                });
            }
        }
        let offset = usize::try_from(mailbox_offset(host_tid)).ok()?;
        // SAFETY: the offset lies within the region.
        let at = unsafe { self.commons.base.add(offset) }.cast();
        Some(Place { at, _kept: None })
    }

    /// From now on a thread's mailbox is one of a client's own.
    ///
    /// # Errors
    /// Out of memory.
    pub fn take_boxes(&self, host_tid: u32, boxes: &Arc<Boxes>) -> std::result::Result<(), i32> {
        let kept = Kept::map(boxes, host_tid)?;
        let mut all = self.boxes.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(host_tid, Arc::new(kept));
        self.has_boxes.store(true, Ordering::Release);
        Ok(())
    }

    /// A thread's mailbox is that of the commons again.
    pub fn leave_boxes(&self, host_tid: u32) {
        let mut all = self.boxes.write().unwrap_or_else(PoisonError::into_inner);
        all.remove(&host_tid);
    }

    /// A descriptor of the commons by which nobody can change them.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn commons_read_only(&self) -> Result<OwnedFd> {
        let path = format!("/proc/self/fd/{}", self.commons.fd.as_raw_fd());
        Ok(OwnedFd::from(File::open(&path).doing("open", "commons")?))
    }

    /// Copies what the arguments of a client's call point at, once.
    #[must_use]
    pub fn read_data(&self, host_tid: u32, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length.min(DATA_MAX)];
        if let Some(mailbox) = self.mailbox(host_tid) {
            // SAFETY: the place lies in the region.
            let from = unsafe { &raw const (*mailbox.at).a }.cast::<u8>();
            // SAFETY: the mailbox has so much room behind that field; any byte is valid.
            unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
        }
        bytes
    }

    /// Writes what was filled in.
    pub fn write_data(&self, host_tid: u32, bytes: &[u8]) {
        let Some(mailbox) = self.mailbox(host_tid) else {
            return;
        };
        let length = bytes.len().min(DATA_MAX);
        // SAFETY: the place lies in the region.
        let to = unsafe { &raw mut (*mailbox.at).a }.cast::<u8>();
        // SAFETY: the mailbox has so much room behind that field; the memory is the guest's to lose.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, length) };
    }

    /// Copies the numbers of a request, once.
    #[must_use]
    pub fn read_args(&self, host_tid: u32) -> [u64; 8] {
        self.mailbox(host_tid).map_or([0; 8], |mailbox| {
            // SAFETY: the place lies in the region.
            let args = unsafe { &raw const (*mailbox.at).args };
            // SAFETY: in bounds; guests may change the bytes meanwhile, any value is valid.
            unsafe { args.read_volatile() }
        })
    }

    /// Copies the word in front of field `a`, once.
    #[must_use]
    pub fn read_head(&self, host_tid: u32) -> u64 {
        self.mailbox(host_tid).map_or(0, |mailbox| {
            // SAFETY: the place lies in the region.
            let head = unsafe { &raw const (*mailbox.at).head };
            // SAFETY: in bounds; any value is valid.
            unsafe { head.read_volatile() }
        })
    }

    /// Copies the text in field `a`, once, up to its NUL.
    #[must_use]
    pub fn read_text(&self, host_tid: u32) -> Vec<u8> {
        let Some(mailbox) = self.mailbox(host_tid) else {
            return Vec::new();
        };
        // SAFETY: the place lies in the region.
        let field = unsafe { &raw const (*mailbox.at).a };
        // SAFETY: at most the field is looked at.
        let length = unsafe { libc::strnlen(field.cast(), TEXT_MAX) };
        let mut text = vec![0; length];
        // SAFETY: in bounds; any byte is valid, and what the guest changes meanwhile may come either
        // way: from here on the copy is the text.
        unsafe { std::ptr::copy_nonoverlapping(field.cast(), text.as_mut_ptr(), length) };
        if let Some(end) = text.iter().position(|&byte| byte == 0) {
            text.truncate(end);
        }
        text
    }

    /// Copies `length` bytes of field `a`, once.
    #[must_use]
    pub fn read_text_bytes(&self, host_tid: u32, length: usize) -> Vec<u8> {
        let Some(mailbox) = self.mailbox(host_tid) else {
            return Vec::new();
        };
        // SAFETY: the place lies in the region.
        let field = unsafe { &raw const (*mailbox.at).a };
        // SAFETY: in bounds; any byte is valid.
        let bytes = unsafe { field.read_volatile() };
        bytes[..length.min(bytes.len())].to_vec()
    }

    /// Copies `length` bytes of field `b`, once.
    #[must_use]
    pub fn read_bytes(&self, host_tid: u32, length: usize) -> Vec<u8> {
        let Some(mailbox) = self.mailbox(host_tid) else {
            return Vec::new();
        };
        // SAFETY: the place lies in the region.
        let field = unsafe { &raw const (*mailbox.at).b };
        // SAFETY: in bounds; any byte is valid.
        let bytes = unsafe { field.read_volatile() };
        bytes[..length.min(bytes.len())].to_vec()
    }

    /// Copies `length` bytes from field `a` on into `b`, once.
    #[must_use]
    pub fn read_both(&self, host_tid: u32, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length.min(2 * TEXT_MAX)];
        if let Some(mailbox) = self.mailbox(host_tid) {
            // SAFETY: the place lies in the region.
            let from = unsafe { &raw const (*mailbox.at).a }.cast::<u8>();
            // SAFETY: at most both fields, which follow each other; any byte is valid.
            unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
        }
        bytes
    }

    /// Writes bytes from the word in front of field `a` on into `b`.
    pub fn write_both(&self, host_tid: u32, bytes: &[u8]) {
        let Some(mailbox) = self.mailbox(host_tid) else {
            return;
        };
        let length = bytes.len().min(size_of::<u64>() + 2 * TEXT_MAX);
        // SAFETY: the place lies in the region.
        let to = unsafe { &raw mut (*mailbox.at).head }.cast::<u8>();
        // SAFETY: at most the three fields, which follow each other; the memory is the guest's to lose.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, length) };
    }

    /// The word by which a thread waits.
    fn with_wait_word(&self, host_tid: u32, with: impl FnOnce(&AtomicU32)) {
        let Some(mailbox) = self.mailbox(host_tid) else {
            return;
        };
        // SAFETY: the place lies in the region.
        let word = unsafe { &raw mut (*mailbox.at).wait };
        // SAFETY: aligned, mapped as long as the place is held, and only used as an atomic here.
        with(unsafe { AtomicU32::from_ptr(word) });
    }

    /// Makes a thread's wait last until [`Shared::wake`].
    pub fn arm(&self, host_tid: u32) {
        self.with_wait_word(host_tid, |word| word.store(0, Ordering::Release));
    }

    /// Ends a thread's wait.
    pub fn wake(&self, host_tid: u32) {
        self.with_wait_word(host_tid, |word| {
            word.store(1, Ordering::Release);
            // SAFETY: futex(2) looks at nothing but the address when it wakes.
            unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
        });
    }

    /// Writes bytes into field `b`.
    pub fn write_bytes(&self, host_tid: u32, bytes: &[u8]) {
        let Some(mailbox) = self.mailbox(host_tid) else {
            return;
        };
        let length = bytes.len().min(TEXT_MAX);
        // SAFETY: the place lies in the region.
        let field = unsafe { &raw mut (*mailbox.at).b };
        // SAFETY: in bounds; the memory is the guest's to lose.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), field.cast(), length) };
    }

    /// Gives the memory of a thread's mailbox back to the system; it reads as zero then.
    pub fn forget(&self, host_tid: u32) {
        self.punch(mailbox_offset(host_tid), MAILBOX_STRIDE);
    }

    /// Copies what a ring of records holds, once: so many bytes from a position on that counts all that
    /// was ever written.
    #[must_use]
    pub fn read_ring(&self, number: usize, from: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length.min(RING_SIZE)];
        let Some(data) = self.commons().trace.data.get(number) else {
            return Vec::new();
        };
        let data = data.0.get().cast::<u8>();
        let at = usize::try_from(from % RING_SIZE as u64).unwrap_or(0);
        let (front, rest) = bytes.split_at_mut(length.min(RING_SIZE - at));
        // SAFETY: `at` lies in the ring.
        let behind = unsafe { data.add(at) };
        // SAFETY: the ring is as long from there; any byte is valid, and what the guest changes
        // meanwhile may come either way: from here on the copy is what it says.
        unsafe { std::ptr::copy_nonoverlapping(behind, front.as_mut_ptr(), front.len()) };
        // SAFETY: as above; what is left is no longer than a ring.
        unsafe { std::ptr::copy_nonoverlapping(data, rest.as_mut_ptr(), rest.len()) };
        bytes
    }

    /// Makes the memory of a ring's bytes present. It is no failure where that cannot be.
    pub fn prepare_ring(&self, number: usize) {
        if let Some(data) = self.commons().trace.data.get(number) {
            let (at, how) = (data.0.get().cast(), libc::MADV_POPULATE_WRITE);
            // SAFETY: the range is mapped for good, and what is in it stays as it is.
            unsafe { libc::madvise(at, RING_SIZE, how) };
        }
    }

    /// Gives the memory of a ring's bytes back to the system.
    pub fn forget_ring(&self, number: usize) {
        let data = std::mem::offset_of!(Commons, trace) + std::mem::offset_of!(Rings, data);
        self.punch((data + number * RING_SIZE) as u64, RING_SIZE as u64);
    }

    /// Tells the thread that waits for room in a ring, if it does, that the ring was read.
    pub fn tell_room(&self, number: usize) {
        let Some(ring) = self.commons().trace.rings.get(number) else {
            return;
        };
        ring.room.fetch_add(1, Ordering::Release);
        if ring.waits.swap(0, Ordering::SeqCst) != 0 {
            // SAFETY: futex(2) looks at nothing but the address when it wakes.
            unsafe { libc::syscall(libc::SYS_futex, ring.room.as_ptr(), libc::FUTEX_WAKE, 1) };
        }
    }

    /// Waits until guests ring for the monitor to read their rings, but not longer than that, and not
    /// if they have since it looked.
    pub fn wait_for_bell(&self, seen: u32, most: Duration) {
        let most = libc::timespec {
            tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: most.subsec_nanos().into(),
        };
        let bell = self.commons().trace.bell.as_ptr();
        // SAFETY: the word is mapped for good, and the time outlives the call.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                bell,
                libc::FUTEX_WAIT,
                seen,
                &raw const most,
            )
        };
    }

    /// Rings for whoever waits so.
    pub fn ring_bell(&self) {
        let bell = &self.commons().trace.bell;
        bell.fetch_add(1, Ordering::Release);
        // SAFETY: futex(2) looks at nothing but the address when it wakes.
        unsafe { libc::syscall(libc::SYS_futex, bell.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
    }

    fn punch(&self, offset: u64, length: u64) {
        let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else {
            return;
        };
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        // Failing costs memory only.
        let _ = fallocate(&self.commons.fd, flags, offset, length);
    }

    /// Blocks of 512 bytes that the commons and the mailboxes hold.
    #[cfg(test)]
    pub fn mailbox_blocks(&self) -> i64 {
        nix::sys::stat::fstat(&self.commons.fd).map_or(0, |data| data.st_blocks)
    }

    /// Copies the handover area of a thread's mailbox, once.
    #[must_use]
    pub fn read_handover(&self, host_tid: u32) -> Option<Box<Handover>> {
        let mailbox = self.mailbox(host_tid)?;
        // SAFETY: the place lies in the region.
        let from = unsafe { &raw const (*mailbox.at).handover };
        let mut copy = Box::<Handover>::new_uninit();
        // SAFETY: both are as long; any bytes are a valid `Handover`.
        unsafe { std::ptr::copy_nonoverlapping(from, copy.as_mut_ptr(), 1) };
        // SAFETY: all of it was just written.
        Some(unsafe { copy.assume_init() })
    }

    /// Another file of the personality, by which an execution of it is told from those before.
    ///
    /// # Errors
    /// Out of memory.
    pub fn another_personality(&self) -> Result<OwnedFd> {
        make_personality()
    }

    /// Writes a handover area to the thread's mailbox: without its tail where that is unused, which
    /// spares every process a page.
    pub fn write_handover(&self, host_tid: u32, handover: &Handover) {
        let Some(mailbox) = self.mailbox(host_tid) else {
            return;
        };
        let length = if handover.front_count == 0 {
            std::mem::offset_of!(Handover, front)
        } else {
            size_of::<Handover>()
        };
        // SAFETY: the place lies in the region.
        let to = unsafe { &raw mut (*mailbox.at).handover };
        let from = std::ptr::from_ref(handover).cast::<u8>();
        // SAFETY: both are as long; the memory is the guest's to lose.
        unsafe { std::ptr::copy_nonoverlapping(from, to.cast(), length) };
    }

    /// The fixed reserved descriptors, in their order; `hand` is the guest's end of that
    /// socket, `copies` the directory of rewritten copies.
    #[must_use]
    pub fn reserved<'a>(
        &'a self,
        hand: BorrowedFd<'a>,
        copies: BorrowedFd<'a>,
    ) -> [BorrowedFd<'a>; 5] {
        [
            self.personality.as_fd(),
            self.tables_read_only.as_fd(),
            self.commons.fd.as_fd(),
            hand,
            copies,
        ]
    }
}
