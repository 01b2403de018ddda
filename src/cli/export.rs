//! `zone export`.

use crate::error::{Doing, Error, Result};
use crate::home::Home;
use crate::terminal;
use crate::zone::{Name, export};
use std::fs::{self, File};
use std::io::{BufWriter, IsTerminal};
use std::path::PathBuf;

/// Pack a zone into a tarball, with owners, modes, devices and attributes as the zone has them
///
/// `zone create --import TARBALL` makes the same zone of it, and `--root TARBALL` another one with its
/// tree. The tarball holds what is the zone's own, and its configuration as .picozone.toml: not the
/// directories of the host that it shows, nor, unless it was made with --debian or --root, /usr. What the
/// zone has changed in copy-on-write mounts is there as in layers of container images. The zone must not
/// run.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Name of the zone
    #[arg(value_parser = super::name)]
    name: Name,
    /// The tarball to make; standard output if missing, as for a program that packs it tighter
    file: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        let packed = match &self.file {
            None if std::io::stdout().is_terminal() => {
                return Err(Error::refused(
                    "export",
                    format_args!("zone {}", self.name),
                    "standard output is a terminal",
                    "name a file, or direct the output to one",
                ));
            }
            None => export::export(home, &self.name, BufWriter::new(std::io::stdout().lock()))?,
            Some(path) => {
                let file = File::create_new(path).doing("make", path.display())?;
                let packed = export::export(home, &self.name, BufWriter::new(&file));
                if packed.is_err() {
                    // A part of a tarball is none; the first error is the one to tell.
                    let _ = fs::remove_file(path);
                }
                file.sync_all().doing("write", path.display())?;
                packed?
            }
        };
        if packed.sockets > 0 {
            terminal::tell(&format!("zone: {} sockets were left out", packed.sockets));
        }
        if packed.left_out > 0 {
            terminal::tell(&format!(
                "zone: {} files of the host were left out, which the zone cannot read",
                packed.left_out
            ));
        }
        Ok(0)
    }
}
