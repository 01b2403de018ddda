//! Whence a call was made: the return addresses on a thread's stack, innermost first.

use super::entry::{Unknown, put_bytes, put_length, take_bytes, take_u32, take_u64};
use super::show::visible;
use std::fmt;
use std::sync::Arc;

/// The stack of a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stack {
    /// The files that its frames are in.
    pub modules: Vec<Module>,
    /// Its frames.
    pub frames: Vec<Frame>,
}

/// A file that is mapped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Module {
    /// Its path, as the kernel has it.
    pub path: Vec<u8>,
    /// What its linker has made of its content (`.note.gnu.build-id`); empty: nothing.
    pub build_id: Vec<u8>,
}

/// A place in a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its address in the process: that of the next instruction, behind a call.
    pub address: u64,
    /// Which of the modules has it; none if no file does.
    pub module: Option<u32>,
    /// The address that it has in that file's own terms: those of its symbols.
    pub offset: u64,
    /// The function, if whoever shows it has looked for it: files hold none.
    pub symbol: Option<Symbol>,
}

/// A function, and how far in it a place is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// As the file has it.
    pub name: Arc<str>,
    /// In bytes from its start.
    pub offset: u64,
}

/// In place of a module's number: none.
const NO_MODULE: u32 = u32::MAX;

impl Stack {
    /// The module of a frame.
    #[must_use]
    pub fn module_of(&self, frame: &Frame) -> Option<&Module> {
        let number = usize::try_from(frame.module?).ok()?;
        self.modules.get(number)
    }

    /// Its frames as strace(1) shows them: `/usr/lib/libc.so.6(__open+0x12) [0xf7c3d]`.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.frames.iter().map(|frame| self.line(frame))
    }

    fn line(&self, frame: &Frame) -> String {
        let Some(module) = self.module_of(frame) else {
            return format!("() [{:#x}]", frame.address);
        };
        let (path, offset) = (visible(&module.path), frame.offset);
        match &frame.symbol {
            Some(symbol) => format!("{path}({symbol}) [{offset:#x}]"),
            None => format!("{path}() [{offset:#x}]"),
        }
    }

    pub(super) fn put(&self, to: &mut Vec<u8>) {
        put_length(to, self.modules.len());
        for module in &self.modules {
            put_bytes(to, &module.path);
            put_bytes(to, &module.build_id);
        }
        put_length(to, self.frames.len());
        for frame in &self.frames {
            to.extend(frame.address.to_le_bytes());
            to.extend(frame.module.unwrap_or(NO_MODULE).to_le_bytes());
            to.extend(frame.offset.to_le_bytes());
        }
    }

    pub(super) fn take(from: &mut &[u8]) -> Result<Self, Unknown> {
        let modules = take_u32(from)?;
        let mut stack = Self::default();
        for _ in 0..modules {
            stack.modules.push(Module {
                path: take_bytes(from)?,
                build_id: take_bytes(from)?,
            });
        }
        let frames = take_u32(from)?;
        for _ in 0..frames {
            let address = take_u64(from)?;
            let module = Some(take_u32(from)?).filter(|number| *number != NO_MODULE);
            stack.frames.push(Frame {
                address,
                module,
                offset: take_u64(from)?,
                symbol: None,
            });
        }
        Ok(stack)
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}", visible(self.name.as_bytes()), self.offset)
    }
}

/// A build id as its tools write it.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Stack {
        let frame = |address: u64, module, offset| Frame {
            address,
            module,
            offset,
            symbol: None,
        };
        Stack {
            modules: vec![Module {
                path: b"/usr/lib/libc.so.6".to_vec(),
                build_id: vec![0x0a, 0xbc],
            }],
            frames: vec![
                frame(0x7f00_0000_1012, Some(0), 0x1012),
                frame(0x1000, None, 0),
            ],
        }
    }

    #[test]
    fn frames_are_shown_as_strace_does() {
        let mut stack = sample();
        let lines = |stack: &Stack| stack.lines().collect::<Vec<_>>();
        assert_eq!(
            lines(&stack),
            ["/usr/lib/libc.so.6() [0x1012]", "() [0x1000]"]
        );
        stack.frames[0].symbol = Some(Symbol {
            name: "open\n64".into(),
            offset: 18,
        });
        // A module that is not there.
        stack.frames[1].module = Some(7);
        assert_eq!(
            lines(&stack),
            ["/usr/lib/libc.so.6(open\\n64+0x12) [0x1012]", "() [0x1000]"]
        );
        assert_eq!(hex(&stack.modules[0].build_id), "0abc");
    }
}
