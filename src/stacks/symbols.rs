//! Names of functions for the frames of a trace, from the files of this host.

use super::KNOWN_MAX;
use super::elf::Functions;
use crate::trace::calls::Event;
use crate::trace::entry::Part;
use crate::trace::stack::{Module, Stack};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The functions of the files that a trace names. A file that has become another one since names nothing.
#[derive(Default)]
pub(crate) struct Symbols(HashMap<Module, Option<Functions>>);

impl Symbols {
    /// Finds the functions of what an event tells.
    pub(crate) fn name(&mut self, event: &mut Event) {
        let Event::Call { call, .. } = event else {
            return;
        };
        for part in &mut call.parts {
            if let Part::Stack(stack) = part {
                self.name_stack(stack);
            }
        }
    }

    fn name_stack(&mut self, stack: &mut Stack) {
        let Stack { modules, frames } = stack;
        for frame in frames {
            let number = frame.module.and_then(|number| usize::try_from(number).ok());
            let module = number.and_then(|number| modules.get(number));
            let functions = module.and_then(|module| self.of(module));
            // A call may be the last that its function does: what it returns to is another one then.
            frame.symbol = functions
                .and_then(|functions| functions.find(frame.offset.checked_sub(1)?))
                .map(|mut symbol| {
                    symbol.offset += 1;
                    symbol
                });
        }
    }

    fn of(&mut self, module: &Module) -> Option<&Functions> {
        if !self.0.contains_key(module) {
            if self.0.len() >= KNOWN_MAX {
                self.0.clear();
            }
            let path = Path::new(OsStr::from_bytes(&module.path));
            let functions = Functions::of(path, &module.build_id);
            self.0.insert(module.clone(), functions);
        }
        self.0.get(module)?.as_ref()
    }
}
