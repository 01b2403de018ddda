//! The loader against the kernel's own loader, and against hostile bytes.

mod native;
mod programs;
mod random;
mod sample;
mod scripts;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use picozone_personality::mailbox::{Handover, Image};

use self::native::{HostFiles, Native, Page, Stopped, execute};
use super::*;

const AT_PHDR: u64 = 3;
const AT_PHNUM: u64 = 5;
const AT_BASE: u64 = 7;
const AT_ENTRY: u64 = 9;

/// A directory with files to execute.
struct Bin(tempfile::TempDir);

impl Bin {
    fn new() -> Self {
        Bin(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.0.path()).unwrap().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        let _ = fs::remove_file(&path);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

fn plan(path: &Path) -> Result<Plan<fs::File>, LoadError> {
    prepare(&mut HostFiles, path.as_os_str().as_bytes())
}

/// The first program of this name on the search path.
fn find(name: &str) -> Option<PathBuf> {
    let found = std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: no {name} on this host");
    }
    found
}

/// The pages of an image at its bias, mapped in the plan's order.
fn expected_pages(image: &Image, bias: u64, path: &Path) -> BTreeMap<u64, Page> {
    let down = |address: u64| address & !4095;
    let up = |address: u64| (address + 4095) & !4095;
    let mut pages = BTreeMap::new();
    for segment in &image.segments[..image.count as usize] {
        let letter = |bit: i32, letter| {
            if segment.prot & bit.cast_unsigned() == 0 {
                '-'
            } else {
                letter
            }
        };
        let x = letter(libc::PROT_EXEC, 'x');
        let perms = format!(
            "{}{}{x}p",
            letter(libc::PROT_READ, 'r'),
            letter(libc::PROT_WRITE, 'w')
        );
        let start = down(segment.vaddr);
        let file_end = match segment.file_size {
            0 => start,
            size => up(segment.vaddr + size),
        };
        for page in (start..file_end).step_by(4096) {
            let file = Some((down(segment.offset) + page - start, path.to_owned()));
            pages.insert(
                page.wrapping_add(bias),
                Page {
                    perms: perms.clone(),
                    file,
                },
            );
        }
        // What lies beyond the file is readable and writable whatever the header says.
        for page in (file_end..up(segment.vaddr + segment.mem_size)).step_by(4096) {
            let perms = format!("rw{x}p");
            pages.insert(page.wrapping_add(bias), Page { perms, file: None });
        }
    }
    pages
}

fn assert_same_as_native(path: &Path, plan: &Plan<fs::File>, native: &Stopped) {
    let exe = PathBuf::from(OsStr::from_bytes(&plan.path));
    assert_eq!(native.exe(), exe);
    let image = plan.exe.1;
    let bias = native.auxiliary(AT_ENTRY).wrapping_sub(image.entry);
    assert!(image.is_dyn == 1 || bias == 0, "{path:?}");
    assert_eq!(
        native.auxiliary(AT_PHDR),
        image.phdr.wrapping_add(bias),
        "{path:?}"
    );
    assert_eq!(
        native.auxiliary(AT_PHNUM),
        u64::from(image.phnum),
        "{path:?}"
    );
    // Where the first segment is not to lie at a multiple of the alignment, the kernel aligns the bias of what
    // has no interpreter, and the segment of what has one.
    let lies_at = [bias, bias.wrapping_add(image.span[0])].map(|at| at % image.align.min(1 << 21));
    assert!(lies_at.contains(&0), "{path:?}: {lies_at:x?}");
    let mut expected = expected_pages(&image, bias, &exe);
    if let Some((_, interp)) = plan.interp {
        let pages = native.pages();
        let base = native.auxiliary(AT_BASE);
        let name = pages[&(base + interp.span[0])].file.clone().unwrap().1;
        expected.extend(expected_pages(&interp, base, &name));
    } else {
        assert_eq!(native.auxiliary(AT_BASE), 0, "{path:?}");
    }
    assert!(
        native.pages() == expected,
        "{path:?}: {:x?}\n{expected:x?}",
        native.pages()
    );
    assert_eq!(
        native.stack_perms().contains('x'),
        plan.exec_stack,
        "{path:?}"
    );
    let mut arguments = plan.front.clone();
    if arguments.is_empty() {
        arguments.push(path.as_os_str().as_bytes().to_vec());
    }
    arguments.push(b"last".to_vec());
    assert_eq!(native.arguments(), arguments, "{path:?}");
}

/// Dynamic and static programs, with and without an interpreter, and scripts.
#[test]
fn real_programs_are_laid_out_as_by_the_kernel() {
    let mut paths = vec![std::env::current_exe().unwrap()];
    let names = [
        "true", "busybox", "python3", "perl", "go", "gofmt", "gcc", "ldd", "bash", "java",
    ];
    paths.extend(names.iter().filter_map(|name| find(name)));
    let own = plan(&paths[0]).unwrap();
    assert!(own.interp.is_some());
    let Parsed::Elf {
        interp: Some(linker),
        ..
    } = parse(
        &fs::read(&paths[0]).unwrap(),
        fs::metadata(&paths[0]).unwrap().len(),
    )
    .unwrap()
    else {
        panic!("the test program has an interpreter");
    };
    paths.push(PathBuf::from(OsStr::from_bytes(&linker)));
    for path in paths {
        let plan = plan(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let Native::Started(native) = execute(&path) else {
            panic!("{path:?} did not start")
        };
        assert_same_as_native(&path, &plan, &native);
    }
}

/// What happens to a file natively.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// As here: the same errno, or the same layout.
    Same,
    /// The kernel kills, since it notices only when the old program is gone.
    Killed,
    /// The kernel runs it, and we do not.
    Runs,
}

fn assert_fate(name: &str, path: &Path, expected: Option<LoadError>, fate: &Fate) {
    let ours = plan(path);
    assert_eq!(ours.as_ref().err(), expected.as_ref(), "{name}");
    let native = execute(path);
    match (&native, fate) {
        (Native::Refused(errno), Fate::Same) => {
            assert_eq!(Some(LoadError(*errno)), expected, "{name}")
        }
        (Native::Started(native), Fate::Same) => {
            assert_same_as_native(path, &ours.expect(name), native);
        }
        (Native::Killed, Fate::Killed) | (Native::Started(_), Fate::Runs) => assert!(ours.is_err()),
        _ => panic!("{name}: natively {native:?}, expected {fate:?}"),
    }
}

#[test]
fn a_plan_fills_the_handover_or_leaves_it() {
    // SAFETY: the handover area is plain numbers, for which zeros are valid.
    let mut handover: Box<Handover> = Box::new(unsafe { std::mem::zeroed() });
    let mut plan = Plan {
        exe: (
            (),
            Image {
                fd: 7,
                ..elf::NO_IMAGE
            },
        ),
        interp: None,
        interp_path: Vec::new(),
        path: vec![b'p'; 1024],
        front: vec![b"/bin/sh".to_vec(), b"".to_vec(), b"script".to_vec()],
        exec_stack: true,
    };
    assert_eq!(plan.write(&mut handover), Err(LoadError::ENAMETOOLONG));
    plan.path.pop();
    plan.front.push(vec![b'x'; 1024 - 16]);
    assert_eq!(plan.write(&mut handover), Err(LoadError::E2BIG));
    assert_eq!((handover.kind, handover.path[0]), (0, 0));
    plan.front[3].pop();
    handover.front.fill(1);
    plan.write(&mut handover).unwrap();
    assert_eq!(
        (handover.kind, handover.exec_stack, handover.has_interp),
        (1, 1, 0)
    );
    assert_eq!(
        (handover.path_len, handover.path[1022], handover.path[1023]),
        (1023, b'p', 0)
    );
    assert_eq!(
        (handover.front_count, handover.exe.fd, handover.interp.fd),
        (4, 7, -1)
    );
    assert!(handover.front.starts_with(b"/bin/sh\0\0script\0xx"));
    assert_eq!(handover.front[1022..], *b"x\0");
}
