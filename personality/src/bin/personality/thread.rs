//! A thread's block: identity, signal state, credentials.
//!
//! One aligned region a thread: the block at its bottom, the personality's stack above it. The
//! blocks of process and handlers lie in the region of the thread that began them; threads share
//! both, and a process made with `CLONE_SIGHAND` alone shares the handlers.

use crate::arch::jump::MAY_JUMP;
use crate::arch::{Context, Info, Stack, syscall1, syscall3, syscall6};
use crate::file::Gone;
use crate::identity::Credentials;
use crate::injecting::Remade;
use crate::path::{Parents, Searched};
use crate::recording::Record;
use crate::signal::Action;
use core::cell::{Cell, UnsafeCell};
use core::ops::{Index, IndexMut};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use linux_raw_sys::general::{__NR_gettid, __NR_mmap, __NR_munmap, __NR_sigaltstack};
use picozone_personality::layout::PERSONALITY_BASE;

/// Size and alignment of a thread's region, in bytes.
pub const REGION_SIZE: usize = 256 * 1024;
/// Room for the block at the bottom of a region.
const BLOCKS_SIZE: usize = 56 * 1024;
/// Room for as many paths as a call ever holds, of the greatest length.
const ROOMS_SIZE: usize = 10 * picozone_fsmap::PATH_MAX;

/// The region of a process' first thread.
#[repr(C, align(262144))]
pub struct Region([u8; REGION_SIZE]);
pub static mut MAIN_REGION: Region = Region([0; REGION_SIZE]);

/// What the threads of a process share.
#[repr(C)]
pub struct Process {
    /// Threads that use this block.
    pub users: AtomicU32,
    /// Zone pid.
    pub zone_pid: u32,
    /// Host pid.
    pub host_pid: u32,
    /// `PR_SET_DUMPABLE`, `PR_SET_KEEPCAPS`: virtual.
    pub dumpable: u32,
    /// The soft limit of core files, where the kernel has 0 since the process is not dumpable.
    pub core_limit: Option<u64>,
    pub keepcaps: u32,
    /// How many seccomp filters its threads have put on: [`crate::filters`].
    pub filters: AtomicU32,
    /// How many of these all threads have at least, and [`crate::filters::NO_NEW_PRIVS`].
    pub filters_of_all: AtomicU32,
    /// Whether set_tid_address(2) was called since the exec.
    pub has_told_id: bool,
    /// [`SHARES_DIRECTORIES`](picozone_personality::mailbox::SHARES_DIRECTORIES),
    /// [`IS_RESTRICTED`](picozone_personality::mailbox::IS_RESTRICTED).
    pub kept: AtomicU32,
    /// Number of its root directory: [`crate::path::root`].
    pub root: u32,
    /// Whether its users are held apart by the second filter: [`crate::clients`].
    pub is_client: bool,
    /// Whether it makes calls for others: [`crate::clerk`].
    pub is_clerk: bool,
    /// Whether it traces: stops of its tracees are judged before the guest learns of them.
    pub is_tracer: bool,
    pub exe_len: u32,
    pub exe: [u8; 1024],
    /// Directories at hand.
    pub parents: Parents,
    /// Rows of owners whose files are gone.
    pub gone: Gone,
}

/// What those share that share handlers of signals.
#[repr(C)]
pub struct Handlers {
    lock: AtomicU32,
    /// Threads that use this block.
    pub users: AtomicU32,
    /// Signals whose action below is known; others still have what exec left.
    pub known: u64,
    pub actions: Actions,
}

/// Actions by signal. They lie behind the thread's paths: whoever forks or executes needs the rest of
/// this block, but not them.
pub struct Actions(*mut [Action; 65]);

impl Index<usize> for Actions {
    type Output = Action;
    fn index(&self, signal: usize) -> &Action {
        unsafe { &(&*self.0)[signal] }
    }
}

impl IndexMut<usize> for Actions {
    fn index_mut(&mut self, signal: usize) -> &mut Action {
        unsafe { &mut (&mut *self.0)[signal] }
    }
}

/// A signal that arrived while the personality ran.
#[derive(Clone, Copy)]
pub struct Pending {
    pub signal: u32,
    pub info: Info,
}

/// One thread.
#[repr(C)]
pub struct Thread {
    pub process: *mut Process,
    pub handlers: *mut Handlers,
    /// The frame of the call being served, or null: see [`Thread::came_by_jump`].
    pub context: *mut Context,
    /// [`MAY_JUMP`] if the thread may enter by a jump.
    pub jumps: i64,
    /// Not 0 if a thread that came by a jump must not leave by one: [`crate::arch::jump`].
    pub boundary: u32,
    /// Whether the kernel is being asked the last thing of a call that came by a jump:
    /// [`crate::arch::jump::brief_and_last`].
    pub is_last: bool,
    /// Whether the call being served is one of those that zones do not offer: [`crate::refusals`].
    pub is_refused: Cell<bool>,
    /// The mask before a signal was noted in a call that came by a jump.
    pub noted_mask: Option<u64>,
    pub host_tid: u32,
    pub is_leader: bool,
    /// How many bytes of `paths` are taken.
    pub rooms: u32,
    /// A child that shares memory is to begin without handlers (`CLONE_CLEAR_SIGHAND`).
    pub clears_handlers: bool,
    /// Signals that the guest blocks but the kernel must not.
    pub held: u64,
    /// Of those, the ones that arrived.
    pub held_pending: u64,
    /// What came with them, by [`crate::signal::held_index`].
    pub held_info: [Info; 3],
    /// The mask under which a handler runs if the call being served replaced it and a signal ended
    /// that.
    pub wait_mask: Option<u64>,
    pub pending: Option<Pending>,
    /// A signal that is none of the guest's has come since its call has begun to wait.
    pub is_unseen: bool,
    /// The library being mapped: [`crate::library`].
    pub mapping: Option<crate::library::Mapping>,
    /// Number of the call being served.
    pub call: u32,
    /// The record of it, where the zone is traced.
    pub record: Record,
    /// The soft limit of descriptors, where [`crate::room`] was made for the call being served.
    pub soft_limit: Option<u64>,
    /// One more than a descriptor of the directory of the file that requests are about; 0: none is needed.
    pub beside: Cell<u64>,
    /// The guest's alternate stack.
    pub altstack: Stack,
    pub credentials: Credentials,
    /// Absolute paths are the zone's, whatever root directory the process has.
    pub is_unrooted: bool,
    /// What is known of search permission.
    pub searched: Searched,
    /// The frame by which a child that shares memory leaves for the guest; 0 if that came by a jump.
    pub child_frame: u64,
    /// The guest's mask in such a child.
    pub child_mask: u64,
    /// Zone pid of the process that is being made, in the maker and in what is made: for a tracer,
    /// which may see the child before either has told the commons.
    pub making: u32,
    /// Where a child that shares memory puts its zone id in place of the host's; 0: nowhere.
    pub tid_places: [u64; 2],
    /// By which the monitor knows the client that is being born.
    pub token: u64,
    /// Number of the thread's birth, and in its maker of the last one.
    pub birth: u32,
    /// What the maker of a [`namesake`](crate::namesake) has decided; 0: nothing yet.
    pub fate: AtomicU32,
    /// Whether a new thread's gs is to point at its region: not where its maker's points elsewhere.
    pub takes_jumps: bool,
    /// What calls do not go to the guest's handler of SIGSYS where it wants them to: those of instructions in
    /// this range, by its start and length (prctl(2), `PR_SET_SYSCALL_USER_DISPATCH`).
    pub dispatched_but: Option<[u64; 2]>,
    /// The number that the next child is to have; 0: any.
    pub chosen_number: u32,
    /// Whether the parent waits in vfork(2), so that nobody could see a stop to its end.
    pub is_vfork: bool,
    /// Whether the exec is to begin with `PTRACE_TRACEME`.
    pub is_traced_from_exec: bool,
    /// The handlers' block, where this thread began with handlers of its own. Before the long one: what
    /// a fork writes lies in the region's first page.
    pub own_handlers: Handlers,
    /// The process' block, where this thread began a process.
    pub own_process: Process,
    /// What was found of a call that is made again, where rules make calls fail.
    pub remade: Remade,
    /// Room for paths. Here, since few calls need what lies behind: each page costs every fork a fault.
    paths: Rooms,
    /// What [`Handlers::actions`] of `own_handlers` leads to.
    own_actions: [Action; 65],
}

const _: () = assert!(size_of::<Thread>() <= BLOCKS_SIZE);

/// See [`Thread::take_room`].
#[repr(C, align(16))]
struct Rooms(UnsafeCell<[u8; ROOMS_SIZE]>);

/// The running thread's block.
#[inline(always)]
pub fn me() -> &'static mut Thread {
    let sp: usize;
    unsafe {
        core::arch::asm!("mov {}, rsp", out(reg) sp, options(nomem, nostack, preserves_flags));
        &mut *((sp & !(REGION_SIZE - 1)) as *mut Thread)
    }
}

impl Thread {
    pub fn process(&self) -> &'static mut Process {
        unsafe { &mut *self.process }
    }
    pub fn handlers(&self) -> &'static mut Handlers {
        unsafe { &mut *self.handlers }
    }
    /// Makes this thread one of those that use `process` and `handlers`.
    pub fn join(&mut self, process: *mut Process, handlers: *mut Handlers) {
        self.own_handlers.actions.0 = &raw mut self.own_actions;
        self.process = process;
        self.handlers = handlers;
        self.process().users.fetch_add(1, Ordering::Relaxed);
        self.handlers().users.fetch_add(1, Ordering::Relaxed);
    }
    /// Begins a process with a copy of what the thread used before: only this thread uses it.
    pub fn begin_process(&mut self) {
        let (process, handlers) = (&raw mut self.own_process, &raw mut self.own_handlers);
        // Another thread may just have been about to replace one.
        let is_alone = self.process().users.load(Ordering::Acquire) == 1;
        if !core::ptr::eq(self.process, process) {
            unsafe { core::ptr::copy_nonoverlapping(self.process, process, 1) };
        }
        if !is_alone {
            self.own_process.parents.forget();
        }
        if !core::ptr::eq(self.handlers, handlers) {
            self.own_handlers.known = self.handlers().known;
            self.own_actions = unsafe { *self.handlers().actions.0 };
        }
        self.own_process.users = AtomicU32::new(0);
        self.own_handlers.users = AtomicU32::new(0);
        self.own_handlers.lock = AtomicU32::new(0);
        self.join(process, handlers);
    }
    /// Takes leave of both blocks. Whether no other thread needs this thread's region.
    pub fn leave(&self) -> bool {
        self.process().users.fetch_sub(1, Ordering::AcqRel);
        self.handlers().users.fetch_sub(1, Ordering::AcqRel);
        self.region() != &raw const MAIN_REGION as u64
            && self.own_process.users.load(Ordering::Acquire) == 0
            && self.own_handlers.users.load(Ordering::Acquire) == 0
    }
    /// Whether a seccomp filter of the guest's own may be on the thread.
    #[inline(always)]
    pub fn is_filtered(&self) -> bool {
        self.process().filters.load(Ordering::Relaxed) != 0
    }
    pub fn region(&self) -> u64 {
        core::ptr::from_ref(self) as u64
    }
    /// The top of the stack.
    pub fn stack_top(&self) -> u64 {
        self.region() + REGION_SIZE as u64
    }
    /// The guest's mask, all of it. Where the guest came by a jump, the kernel has it, and nobody
    /// may ask for it here.
    pub fn mask(&self) -> u64 {
        match unsafe { self.context.as_ref() } {
            Some(context) => context.mask | self.held,
            None => 0,
        }
    }
    /// Which signals of [`crate::signal::HELD`] the guest blocks, after a wait under another mask
    /// too.
    pub fn held_now(&self) -> u64 {
        self.wait_mask
            .map_or(self.held, |mask| mask & crate::signal::HELD)
    }
    /// Which kept signals the guest is to get now.
    pub fn held_free(&self) -> u64 {
        self.held_pending & !self.held_now()
    }
    /// Whether the call being served, if any, has no frame of the kernel.
    pub fn came_by_jump(&self) -> bool {
        self.context.is_null()
    }
    /// Zone id of the thread.
    pub fn zone_tid(&self) -> u32 {
        if self.is_leader {
            self.process().zone_pid
        } else {
            self.host_tid + picozone_personality::layout::THREAD_BIAS
        }
    }
    /// Takes room for a path. Rooms are left in the opposite order. Gives its place, and where the
    /// rooms ended before.
    pub fn take_room(&mut self, size: u32) -> (*mut u8, u32) {
        let before = self.rooms;
        self.rooms += size;
        if self.rooms as usize > ROOMS_SIZE {
            crate::die("picozone: a call holds too many paths\n");
        }
        let start = self.paths.0.get().cast::<u8>();
        (unsafe { start.add(before as usize) }, before)
    }
    /// What the kernel must hold as this thread's signal stack.
    pub fn real_stack(&self) -> Stack {
        Stack {
            sp: self.region() + BLOCKS_SIZE as u64,
            flags: 0,
            pad: 0,
            size: (REGION_SIZE - BLOCKS_SIZE) as u64,
        }
    }
    /// In a thread just made, whose block says who made it.
    pub fn learn_tid(&mut self) {
        let parent = self.host_tid;
        // That of the parent's call is not ours.
        self.record.leave();
        self.host_tid = unsafe { syscall1(__NR_gettid, 0) } as u32;
        crate::monitor::commons().inherit_scheduling(self.host_tid, parent, self.birth);
    }
    /// Makes the region this thread's signal stack. Must run on the thread itself.
    pub fn take_stack(&self) {
        let stack = self.real_stack();
        unsafe { syscall3(__NR_sigaltstack, &raw const stack as u64, 0, 0) };
    }
    /// Has rewritten call sites find this region. Must run on the thread itself.
    pub fn take_jumps(&self) {
        if has_jumps() {
            unsafe { crate::arch::jump::set_region(self.region()) };
        }
    }
    /// What [`Thread::jumps`] is to be in a child of this thread: it may jump, if no tracer comes to
    /// see its calls too.
    pub fn jumps_of_child(&self) -> i64 {
        if self.jumps == MAY_JUMP || crate::ptrace::has_children_traced(self.host_tid) {
            self.jumps
        } else {
            at_first()
        }
    }
}

/// Whether programs of the zone are rewritten.
pub fn has_jumps() -> bool {
    crate::monitor::tables().jumps == 1
}

/// [`Thread::jumps`] of a thread that nobody traces.
pub fn at_first() -> i64 {
    if has_jumps() { MAY_JUMP } else { 0 }
}

impl Handlers {
    /// The blocks live in shared regions: the guard borrows nothing.
    pub fn lock(&self) -> Guard {
        while self
            .lock
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            core::hint::spin_loop();
        }
        Guard(&raw const self.lock)
    }
}

/// Holds [`Handlers::lock`]; signals are blocked meanwhile, so the holder cannot be interrupted.
pub struct Guard(*const AtomicU32);
impl Drop for Guard {
    fn drop(&mut self) {
        unsafe { (*self.0).store(0, Ordering::Release) };
    }
}

/// Where regions are put, one behind the other: far from where the kernel puts mappings, so that
/// none stands in the way of a stack that grows down (`MAP_GROWSDOWN`).
const REGIONS: core::ops::Range<u64> =
    PERSONALITY_BASE - 0x200_0000_0000..PERSONALITY_BASE - 0x100_0000_0000;
/// Where in there the next one is put.
static NEXT_REGION: AtomicU64 = AtomicU64::new(0);
/// Regions that no thread uses any more, for the next ones to come: pages that are there cost no
/// fault. 0 where there is none.
static SPARE: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

/// A place for a region that is about to be left.
pub fn spare_place() -> Option<&'static AtomicU64> {
    SPARE
        .iter()
        .find(|place| place.load(Ordering::Relaxed) == 0)
}

/// A region that was used before, as a fresh one: its stack and rooms hold nothing that is looked at.
fn spare() -> Option<&'static mut Thread> {
    let taken = SPARE.iter().find_map(|place| {
        let is_there = place.load(Ordering::Relaxed) != 0;
        let region = if is_there {
            place.swap(0, Ordering::Acquire)
        } else {
            0
        };
        (region != 0).then_some(region)
    })?;
    let thread = taken as *mut Thread;
    let used = core::mem::offset_of!(Thread, paths);
    unsafe { thread.cast::<u8>().write_bytes(0, used) };
    Some(unsafe { &mut *thread })
}

/// A fresh region: zeroed where it matters, aligned.
pub fn allocate() -> Option<&'static mut Thread> {
    if let Some(thread) = spare() {
        return Some(thread);
    }
    let size = REGION_SIZE as u64;
    unsafe {
        let place = REGIONS.start + NEXT_REGION.fetch_add(size, Ordering::Relaxed);
        if place + size >= REGIONS.end {
            NEXT_REGION.store(0, Ordering::Relaxed);
        }
        let at = syscall6(__NR_mmap, [place, size, 3, 0x22 | 0x4000, u64::MAX, 0]);
        if at as u64 == place {
            return Some(&mut *(place as *mut Thread));
        }
        // The place is taken: anywhere, with room to align.
        syscall3(__NR_munmap, u64::try_from(at).ok()?, size, 0);
        let at = syscall6(__NR_mmap, [0, 2 * size, 3, 0x22 | 0x4000, u64::MAX, 0]);
        let at = u64::try_from(at).ok()?;
        let aligned = (at + size - 1) & !(size - 1);
        if aligned > at {
            syscall3(__NR_munmap, at, aligned - at, 0);
        }
        let end = at + 2 * size;
        if aligned + size < end {
            syscall3(__NR_munmap, aligned + size, end - aligned - size, 0);
        }
        Some(&mut *(aligned as *mut Thread))
    }
}

/// Gives a region back that no thread runs on.
pub fn free(thread: &mut Thread) {
    thread.credentials.groups.free();
    let place = spare_place();
    let region = thread.region();
    let exchange =
        |place: &AtomicU64| place.compare_exchange(0, region, Ordering::Release, Ordering::Relaxed);
    if place.is_some_and(|place| exchange(place).is_ok()) {
        return;
    }
    unsafe { syscall3(__NR_munmap, thread.region(), REGION_SIZE as u64, 0) };
}
