//! Follows threads from stop to stop.

use super::attach;
use super::blocks::Blocks;
use super::clock::Clock;
use super::memory::Process;
use super::start;
use super::status::comm;
use super::thread::Thread;
use crate::error::{Doing, Result};
use crate::ids::HostPid;
use crate::ptrace::{Resume, Stop, What, go_on, place, poll};
use crate::stacks::{Registers, Stacks};
use crate::terminal::{Ended, Signals, ended};
use crate::trace::stack::Stack;
use crate::trace::{Call, Entry, Start};
use nix::sys::ptrace;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use picozone_syscalls::{errno_of, nr};
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::AsFd;

/// Stops that are served before signals to us are looked for.
const STOPS_MAX: usize = 64;

/// Traces processes of the host. To be used by the thread that made it, as the kernel wants it.
pub(crate) struct Tracer {
    threads: HashMap<HostPid, Thread>,
    clock: Clock,
    /// The program that we have started, if any.
    program: Option<HostPid>,
    has_executed: bool,
    ended: Option<Ended>,
    /// Everybody is to go on without us.
    is_leaving: bool,
    calls: u64,
    /// Looks whence calls are made, if that is wanted.
    stacks: Option<Stacks>,
    /// Why nothing can be written any more.
    failure: Option<io::Error>,
    children: SignalFd,
}

/// What became of a trace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traced {
    /// Calls that were recorded.
    pub(crate) calls: u64,
    /// What became of the program that was started; none if it runs on, or none was.
    pub(crate) ended: Option<Ended>,
}

impl Tracer {
    /// Takes hold of a process, by the number of any of its threads.
    ///
    /// # Errors
    /// There is none, or it cannot be traced: the reason with its remedy.
    pub(crate) fn attach(pid: HostPid) -> Result<Self> {
        let mut tracer = Self::new()?;
        for tid in attach::all_threads(pid)? {
            tracer.threads.insert(tid, Thread::new(tid));
        }
        Ok(tracer)
    }

    /// Starts a program, with this mask of signals.
    ///
    /// # Errors
    /// There is none of that name, or nobody may trace here.
    pub(crate) fn start(command: &[OsString], mask: SigSet) -> Result<Self> {
        let mut tracer = Self::new()?;
        let pid = start::program(command, mask)?;
        let mut thread = Thread::new(pid);
        thread.is_to_execute = true;
        tracer.threads.insert(pid, thread);
        tracer.program = Some(pid);
        Ok(tracer)
    }

    fn new() -> Result<Self> {
        // Each stop of a tracee raises this one, if its default has not been changed by our parent.
        // SAFETY: no handler is set.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
        let set: SigSet = [Signal::SIGCHLD].into_iter().collect();
        set.thread_block().doing("block", "signals")?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let children = SignalFd::with_flags(&set, flags);
        Ok(Self {
            threads: HashMap::new(),
            clock: Clock::start(),
            program: None,
            has_executed: false,
            ended: None,
            is_leaving: false,
            calls: 0,
            stacks: None,
            failure: None,
            children: children.doing("open", "a descriptor of signals")?,
        })
    }

    /// Tells of each call whence it was made.
    pub(crate) fn look_at_stacks(&mut self) {
        self.stacks = Some(Stacks::default());
    }

    /// The name of a process that is traced.
    #[must_use]
    pub(crate) fn name(&self) -> String {
        let first = self.threads.values().next().map(Thread::process);
        first.map_or_else(String::new, comm)
    }

    /// Follows until all have ended or the user wants no more, and writes what they call. A signal to us ends
    /// the trace; where we have started a program, only the second one does: of the first it gets
    /// SIGTERM and SIGHUP from us, and the others from the terminal.
    ///
    /// # Errors
    /// Those of `to`. What was traced goes on.
    pub(crate) fn follow(mut self, signals: &Signals, to: impl Write) -> io::Result<Traced> {
        let start = Start {
            zone: String::new(),
            time: self.clock.began(),
        };
        let mut blocks = Blocks::begin(to, &start)?;
        let mut was_asked = false;
        while !self.threads.is_empty() {
            let Some(signal) = self.serve_some(signals, &mut blocks)? else {
                continue;
            };
            match self.program.filter(|_| !was_asked) {
                Some(program) => pass_on(program, signal),
                None if !self.is_leaving => self.leave(),
                // Somebody does not stop. The kernel lets all go when we end.
                None => break,
            }
            was_asked = true;
        }
        match self.failure.take() {
            Some(error) => return Err(error),
            None => blocks.end()?,
        }
        Ok(Traced {
            calls: self.calls,
            ended: self.ended,
        })
    }

    /// Serves the stops that have come, and waits for more, or for a signal to us, where there are none.
    fn serve_some(
        &mut self,
        signals: &Signals,
        blocks: &mut Blocks<impl Write>,
    ) -> io::Result<Option<Signal>> {
        // Stops that come from here on raise it anew.
        while let Ok(Some(_)) = self.children.read_signal() {}
        for _ in 0..STOPS_MAX {
            match poll() {
                Ok(Some((pid, stop))) => self.serve(pid, stop, blocks),
                Ok(None) if self.threads.is_empty() => return Ok(None),
                Ok(None) => {
                    let flushed = blocks.flush();
                    self.note(flushed);
                    return signals.wait(self.children.as_fd());
                }
                Err(_) => {
                    // Nobody is traced any more.
                    self.threads.clear();
                    return Ok(None);
                }
            }
        }
        Ok(signals.waiting())
    }

    fn serve(&mut self, pid: Pid, stop: Stop, blocks: &mut Blocks<impl Write>) {
        let tid = HostPid(pid.as_raw().unsigned_abs());
        let mut told = None;
        let (how, signal) = match stop {
            Stop::Call => {
                let now = self.clock.now();
                if let Ok(at) = place(pid) {
                    let enters = matches!(at.what, What::Enters { .. });
                    let stack = enters.then(|| self.stack(pid, tid)).flatten();
                    told = self.thread(tid).stops(at, now, &Process(tid), stack);
                }
                (Resume::ToCall, 0)
            }
            Stop::Event(
                libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK,
            ) => {
                if let Some(child) = number_of(pid) {
                    self.thread(tid).has_made(child);
                    self.thread(child);
                }
                (Resume::ToCall, 0)
            }
            Stop::Event(libc::PTRACE_EVENT_EXEC) => {
                self.executes(pid, tid, blocks);
                (Resume::ToCall, 0)
            }
            Stop::Event(_) | Stop::Trap => {
                self.thread(tid);
                (Resume::ToCall, 0)
            }
            Stop::Group => (Resume::Stopped, 0),
            Stop::Signal(signal) => (Resume::ToCall, signal),
            Stop::Ended(status) => {
                self.tell_left(tid, blocks);
                if self.program == Some(tid) && self.ended.is_none() {
                    self.ended = Some(ended(status));
                }
                return;
            }
        };
        if let Some(call) = told {
            let process = self.thread(tid).process();
            self.note_mapping(&call, process);
            self.tell(call, blocks);
        }
        if self.is_leaving {
            self.tell_left(tid, blocks);
            go_on(pid, Resume::Untraced, signal);
        } else {
            go_on(pid, how, signal);
        }
    }

    /// A thread that has stopped. Who was made may do so before its maker does.
    fn thread(&mut self, tid: HostPid) -> &mut Thread {
        self.threads.entry(tid).or_insert_with(|| Thread::new(tid))
    }

    /// A thread has executed a program: it has its process' number now, and the others are gone.
    fn executes(&mut self, pid: Pid, leader: HostPid, blocks: &mut Blocks<impl Write>) {
        if let Some(stacks) = &mut self.stacks {
            stacks.forget(leader);
        }
        let was = number_of(pid).and_then(|was| self.threads.remove(&was));
        let others = self.threads.iter();
        let gone = others.filter(|(_, thread)| thread.process() == leader);
        let gone: Vec<HostPid> = gone.map(|(tid, _)| *tid).collect();
        for tid in gone {
            self.tell_left(tid, blocks);
        }
        let mut thread = was.unwrap_or_else(|| Thread::new(leader));
        thread.executes();
        self.threads.insert(leader, thread);
    }

    /// Whence a thread makes a call.
    fn stack(&mut self, pid: Pid, tid: HostPid) -> Option<Stack> {
        let process = self.thread(tid).process();
        let stacks = self.stacks.as_mut()?;
        let registers = ptrace::getregs(pid).ok()?;
        Some(stacks.of(process, Registers::from(&registers), &Process(tid)))
    }

    /// A call may have put something else where a program's files were.
    fn note_mapping(&mut self, call: &Call, process: HostPid) {
        const PROT_EXEC: u64 = 4;
        let [_, _, prot, ..] = call.args;
        let is_new = matches!(call.nr, nr::munmap | nr::mremap)
            || matches!(call.nr, nr::mmap | nr::mprotect) && prot & PROT_EXEC != 0;
        if let Some(stacks) = self.stacks.as_mut().filter(|_| is_new) {
            stacks.forget(process);
        }
    }

    /// A thread is followed no more.
    fn tell_left(&mut self, tid: HostPid, blocks: &mut Blocks<impl Write>) {
        let thread = self.threads.remove(&tid);
        for call in thread.into_iter().flat_map(Thread::left) {
            self.tell(call, blocks);
        }
    }

    fn tell(&mut self, call: Call, blocks: &mut Blocks<impl Write>) {
        if self.program == Some(call.host_tid)
            && call.nr == nr::execve
            && !std::mem::replace(&mut self.has_executed, true)
            && let Some(errno) = errno_of(call.result)
        {
            self.ended = Some(Ended::NotStarted(errno.raw().into()));
        }
        self.calls += 1;
        let written = blocks.put(&Entry::Call(call));
        self.note(written);
    }

    /// Where nothing can be written, there is no more to follow.
    fn note(&mut self, written: io::Result<()>) {
        if let Err(error) = written
            && self.failure.is_none()
        {
            self.failure = Some(error);
            self.leave();
        }
    }

    /// Has everybody stop, to be let go.
    fn leave(&mut self) {
        self.is_leaving = true;
        for tid in self.threads.keys() {
            // One that ends tells so.
            let _ = ptrace::interrupt(Pid::from_raw(tid.0.cast_signed()));
        }
    }
}

/// The number of which an event's stop tells.
fn number_of(pid: Pid) -> Option<HostPid> {
    let number = ptrace::getevent(pid).ok()?;
    u32::try_from(number).ok().map(HostPid)
}

fn pass_on(program: HostPid, signal: Signal) {
    if matches!(signal, Signal::SIGTERM | Signal::SIGHUP) {
        // It may have ended in this moment.
        let _ = kill(Pid::from_raw(program.0.cast_signed()), signal);
    }
}
