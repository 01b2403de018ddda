//! Whence calls are made: the stacks of threads, by the call frame information of the files that are
//! mapped, and the names of functions.
//!
//! [`Stacks`] unwinds: registers and memory of a thread that stands still come in, return addresses with
//! the files that they are in go out. [`Symbols`] finds names for them, when they are shown. Files and
//! stacks may be anybody's: whatever their bytes are, both end, and no arithmetic overflows.
//!
//! Deliberately absent are inlined functions and lines (there is no debug information where programs
//! run), demangling, and code that is in no file.

mod elf;
mod maps;
mod stubs;
mod symbols;
mod unwind;

pub(crate) use symbols::Symbols;
pub(crate) use unwind::Registers;

use crate::ids::HostPid;
use crate::trace::stack::{Frame, Module, Stack};
use elf::Image;
use maps::{Mapping, Maps};
use picozone_syscalls::Memory;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Most files that are remembered, and most processes.
const KNOWN_MAX: usize = 1024;
/// Most bytes of files that are kept.
const KEPT_MAX: usize = 256 << 20;

/// Unwinds the stacks of processes.
#[derive(Default)]
pub(crate) struct Stacks {
    images: HashMap<(PathBuf, u64), Option<Arc<Image>>>,
    /// How many bytes of them are kept.
    kept: usize,
    maps: HashMap<HostPid, Maps>,
    context: unwind::Context,
}

/// A process whose stacks are looked at.
struct Process<'a> {
    pid: HostPid,
    stacks: &'a mut Stacks,
    is_fresh: bool,
}

impl Stacks {
    /// The stack of a thread of a process.
    pub(crate) fn of(&mut self, pid: HostPid, registers: Registers, memory: &impl Memory) -> Stack {
        let mut context = std::mem::take(&mut self.context);
        let mut process = Process {
            pid,
            stacks: self,
            is_fresh: false,
        };
        let mut stack = Stack::default();
        context.unwind(registers, &mut process, memory, |address, place| {
            let module = place.map(|(mapping, image)| {
                let module = Module {
                    path: mapping.path.clone(),
                    build_id: image.map_or_else(Vec::new, |image| image.build_id.clone()),
                };
                let known = stack.modules.iter().position(|known| *known == module);
                known.unwrap_or_else(|| {
                    stack.modules.push(module);
                    stack.modules.len() - 1
                })
            });
            let offset = place.and_then(|(mapping, image)| mapping.own_address(address, image));
            stack.frames.push(Frame {
                address,
                module: module.and_then(|number| u32::try_from(number).ok()),
                offset: offset.unwrap_or(0),
                symbol: None,
            });
        });
        self.context = context;
        stack
    }

    /// What is mapped there may be something else from now on.
    pub(crate) fn forget(&mut self, pid: HostPid) {
        self.maps.remove(&pid);
    }
}

impl Process<'_> {
    /// What is mapped at an address that a program executes, and its file, if that can be read.
    fn find(&mut self, address: u64) -> Option<(Mapping, Option<Arc<Image>>)> {
        let mapping = self.mapping(address)?;
        let key = (mapping.file(self.pid), mapping.inode);
        if let Some(image) = self.stacks.images.get(&key) {
            return Some((mapping, image.clone()));
        }
        let image = Image::open(&key.0, key.1).map(Arc::new);
        let stacks = &mut self.stacks;
        stacks.kept += image.as_ref().map_or(0, |image| image.size());
        if stacks.images.len() >= KNOWN_MAX || stacks.kept > KEPT_MAX {
            stacks.images.clear();
            stacks.kept = image.as_ref().map_or(0, |image| image.size());
        }
        stacks.images.insert(key, image.clone());
        Some((mapping, image))
    }

    /// Where the program goes on behind a call whose site was rewritten, if an address is in the stub of
    /// one: the stack is as it is there.
    fn site_of_stub(&mut self, address: u64) -> Option<u64> {
        let (mapping, image) = self.find(address)?;
        mapping
            .own_address(address, Some(&*image?))
            .is_none()
            .then_some(())?;
        let place = mapping.place(address)?;
        let stub = elf::bytes_at(&mapping.file(self.pid), place, stubs::LENGTH)?;
        stubs::site(&stub, address)
    }

    fn mapping(&mut self, address: u64) -> Option<Mapping> {
        let maps = &mut self.stacks.maps;
        let known = maps.get(&self.pid).filter(|maps| !maps.is_old());
        if let Some(found) = known.and_then(|maps| maps.find(address)) {
            return Some(found.clone());
        }
        // Once for each stack: an address that is nowhere stays there.
        if std::mem::replace(&mut self.is_fresh, true) {
            return None;
        }
        if maps.len() >= KNOWN_MAX {
            maps.clear();
        }
        let read = Maps::of(self.pid)?;
        let found = read.find(address).cloned();
        maps.insert(self.pid, read);
        found
    }
}
