//! A tarball that may be one of `zone export`: its first entry then is the zone's configuration, and what
//! lies at a copy-on-write mount goes into the layer there, with what it says is gone.

use super::archive::{Bytes, Entry, Kind};
use super::pack::{CONFIG, GONE, OPAQUE};
use super::unpack::{Unpacker, plain};
use crate::config::{Config, IdKind};
use crate::error::{Doing, Error, Result};
use crate::monitor::layers::{self, Layer};
use std::io::{self, Read};
use std::path::Path;

/// The configuration in a tarball, if it is one of `zone export`.
///
/// # Errors
/// The file cannot be read.
pub fn exported(path: &Path) -> Result<Option<Config>> {
    let mut found = None;
    let read = Bytes::of_file(path).doing("open", path.display())?;
    let first = read.each(|entry, content| {
        found = config_of(entry, content)?;
        // The others are of no interest.
        Err(io::ErrorKind::Interrupted.into())
    });
    match first {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(found),
        other => other.doing("read", path.display()).map(|()| found),
    }
}

fn config_of(entry: &Entry, content: &mut dyn Read) -> io::Result<Option<Config>> {
    const LENGTH_MAX: u64 = 1 << 20;
    if plain(&entry.name)? != CONFIG || entry.kind != Kind::File {
        return Ok(None);
    }
    let mut text = String::new();
    content.take(LENGTH_MAX).read_to_string(&mut text)?;
    let config = toml::from_str(&text);
    config.map(Some).map_err(|error| {
        let cause = format!("its configuration is none: {}", error.message());
        io::Error::new(io::ErrorKind::InvalidData, cause)
    })
}

/// Unpacks a tarball into a tree, and into the layers of its zone if it is one of `zone export`; how many
/// entries and bytes.
pub(super) fn unpack(
    config: &Config,
    zone_dir: &Path,
    root: &Path,
    tarball: &Path,
) -> Result<(usize, u64)> {
    let is_exported = exported(tarball)?;
    if let Some(exported) = &is_exported
        && exported.is_sparse() != config.is_sparse()
    {
        return Err(Error::refused(
            "use",
            tarball.display(),
            "it holds a zone that shares the host's /usr, and is no distribution without that",
            "make that zone of it with `zone create NAME --import`",
        ));
    }
    let mut own = Unpacker::new(root)?;
    let mut over = Vec::new();
    for cow in config.cows().filter(|_| is_exported.is_some()) {
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        let ids = [
            config.users.map(IdKind::User, uid.as_raw()),
            config.users.map(IdKind::Group, gid.as_raw()),
        ];
        let layer = Layer::open(zone_dir, cow, ids)?;
        let at = cow.zone.as_os_str().as_encoded_bytes();
        over.push(Over {
            at: plain(at).doing("lay over", cow.zone.display())?,
            layer,
            unpacker: Unpacker::new(&layers::top(zone_dir, &cow.zone))?,
        });
    }
    let mut is_first = true;
    let mut place = |entry: &Entry, content: &mut dyn Read| {
        if std::mem::take(&mut is_first) && config_of(entry, content)?.is_some() {
            return Ok(());
        }
        let path = plain(&entry.name)?;
        let found = over
            .iter_mut()
            .find_map(|over| Some((over.rest(&path)?, over)));
        match found {
            Some((rest, over)) => over.place(rest, entry, content),
            None => own.place(entry, content),
        }
    };
    Bytes::of_file(tarball)
        .and_then(|bytes| bytes.each(&mut place))
        .doing("unpack", tarball.display())?;
    let mut report = (own.entries, own.bytes);
    own.finish_all(zone_dir)?;
    for over in over {
        report.0 += over.unpacker.entries;
        report.1 += over.unpacker.bytes;
        over.unpacker.finish_all(zone_dir)?;
    }
    Ok(report)
}

/// A layer that is filled.
struct Over {
    /// Where its mount lies, without slashes around.
    at: Vec<u8>,
    layer: Layer,
    unpacker: Unpacker,
}

impl Over {
    /// The rest of a path that lies in it.
    fn rest<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        match path.strip_prefix(&self.at[..])? {
            [b'/', rest @ ..] => Some(rest),
            [] => Some(b""),
            _ => None,
        }
    }

    fn place(&mut self, path: &[u8], entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        let slash = path.iter().rposition(|&byte| byte == b'/');
        let (front, name) = slash.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
        if name == OPAQUE {
            return Ok(self.layer.clear(front)?);
        }
        if let Some(gone) = name.strip_prefix(GONE) {
            return Ok(self.layer.remove(front, gone)?);
        }
        if entry.kind == Kind::Directory {
            // What lies below shows through it.
            let _ = self.layer.directory_at(path, &|_| {});
        }
        let mut entry = Entry {
            name: path.to_vec(),
            ..entry.clone()
        };
        if let Kind::Link(to) = &mut entry.kind {
            let rest = self.rest(&plain(to)?).map(<[u8]>::to_vec);
            *to = rest.ok_or(io::ErrorKind::CrossesDevices)?;
        }
        self.unpacker.place(&entry, content)
    }
}
