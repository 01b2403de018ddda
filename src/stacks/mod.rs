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
use std::path::Path;
use std::sync::Arc;

/// Most files that are remembered, and most processes.
const KNOWN_MAX: usize = 1024;
/// Most bytes of files that are kept.
const KEPT_MAX: usize = 256 << 20;

/// Unwinds the stacks of processes.
#[derive(Default)]
pub(crate) struct Stacks {
    images: HashMap<(Arc<Path>, u64), Option<Arc<Image>>>,
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
                    path: mapping.path.to_vec(),
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

    /// The file of a mapping, if it can be read.
    fn image(&mut self, mapping: &Mapping) -> Option<Arc<Image>> {
        let key = (Arc::clone(&mapping.file), mapping.inode);
        if let Some(image) = self.images.get(&key) {
            return image.clone();
        }
        let image = Image::open(&key.0, key.1).map(Arc::new);
        let size = image.as_ref().map_or(0, |image| image.size());
        self.kept += size;
        if self.images.len() >= KNOWN_MAX || self.kept > KEPT_MAX {
            self.images.clear();
            // Mappings hold them too.
            self.maps.clear();
            self.kept = size;
        }
        self.images.insert(key, image.clone());
        image
    }

    /// What is mapped there may be something else from now on.
    pub(crate) fn forget(&mut self, pid: HostPid) {
        self.maps.remove(&pid);
    }
}

impl Process<'_> {
    /// What is mapped at an address that a program executes, and its file, if that can be read.
    fn find(&mut self, address: u64) -> Option<(Mapping, Option<Arc<Image>>)> {
        let maps = self.maps(address)?;
        let (mapping, opened) = maps.find(address)?;
        let mapping = mapping.clone();
        if let Some(image) = opened {
            return Some((mapping, image.clone()));
        }
        let image = self.stacks.image(&mapping);
        if let Some((_, opened)) = self.maps(address)?.find(address) {
            *opened = Some(image.clone());
        }
        Some((mapping, image))
    }

    /// Where the program goes on behind a call whose site was rewritten, if an address is in the stub of
    /// one: the stack is as it is there.
    fn site_of_stub(&mut self, address: u64) -> Option<u64> {
        let (mapping, image) = self.find(address)?;
        if let Some(known) = self.maps(address)?.site(address) {
            return known;
        }
        let is_stub = mapping.own_address(address, Some(&*image?)).is_none();
        let place = mapping.place(address)?;
        let stub = is_stub.then(|| elf::bytes_at(&mapping.file, place, stubs::LENGTH));
        let site = stub.flatten().and_then(|stub| stubs::site(&stub, address));
        self.maps(address)?.remember_site(address, site);
        site
    }

    /// What the process has mapped; read anew where that is old, or lacks an address, once for each stack:
    /// an address that is nowhere stays there.
    fn maps(&mut self, address: u64) -> Option<&mut Maps> {
        let all = &mut self.stacks.maps;
        let is_known = all.get_mut(&self.pid).is_some_and(|maps| {
            !maps.is_old() && (maps.find(address).is_some() || maps.is_nowhere(address))
        });
        if !is_known && !std::mem::replace(&mut self.is_fresh, true) {
            if all.len() >= KNOWN_MAX {
                all.clear();
            }
            let mut read = Maps::of(self.pid)?;
            read.note_nowhere(address, all.remove(&self.pid));
            all.insert(self.pid, read);
        }
        all.get_mut(&self.pid)
    }
}
