//! A tarball, as a sequence of [`Entry`]s: whatever packs it, with the owners, times and attributes
//! that it tells.
//!
//! Headers are decoded by the `tar` crate; the extensions of pax and GNU tar are read here: the crate's
//! own reader of pax records ends them at a newline, and the value of an attribute may hold one.

use super::sparse::{Records, Sparse};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tar::{EntryType, Header};

/// Length of a header, and what contents are padded to, in bytes.
const BLOCK: u64 = 512;
/// Longest extension of an entry (names, attributes), in bytes.
const EXTENSION_MAX: u64 = 1 << 20;
/// How pax names extended attributes.
const XATTR: &[u8] = b"SCHILY.xattr.";
/// How it names what a file with holes is.
const SPARSE: &[u8] = b"GNU.sparse.";

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    /// A symbolic link to there.
    Symlink(Vec<u8>),
    /// Another name of the entry of this name.
    Link(Vec<u8>),
    Fifo,
    /// A device node: its `S_IFMT` and its number.
    Device(u32, u64),
}

/// One entry, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// 07777.
    pub(super) mode: u32,
    /// Seconds and nanoseconds since 1970.
    pub(super) mtime: (i64, i64),
    /// Extended attributes: name and value.
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Of a file with holes, what its content is.
    pub(super) sparse: Option<Sparse>,
}

/// The bytes of a tarball, unpacked by a program of the host where it is packed.
pub(super) struct Bytes {
    from: Box<dyn Read>,
    /// The program, and what it is called.
    unpacker: Option<(Child, String)>,
}

impl Bytes {
    /// Opens a tarball, plain or packed by gzip, xz, zstd, bzip2 or lz4.
    pub(super) fn of_file(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut start = [0; 6];
        let mut length = 0;
        while let Some(rest) = start.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match file.read(rest)? {
                0 => break,
                count => length += count,
            }
        }
        file.rewind()?;
        let program = match &start[..length] {
            [0x1f, 0x8b, ..] => "gzip",
            [0xfd, b'7', b'z', b'X', b'Z', ..] => "xz",
            [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
            [b'B', b'Z', b'h', ..] => "bzip2",
            [0x04, 0x22, 0x4d, 0x18, ..] => "lz4",
            _ => {
                let (from, unpacker) = (Box::new(file), None);
                return Ok(Self { from, unpacker });
            }
        };
        Self::of_program(Command::new(program).arg("-dc").stdin(file))
    }

    /// What a program writes to its standard output.
    pub(super) fn of_program(command: &mut Command) -> io::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("cannot start {name}: {error}"))
        })?;
        let output = child.stdout.take().expect("it was asked for");
        Ok(Self {
            from: Box::new(output),
            unpacker: Some((child, name)),
        })
    }

    /// Reads every entry, with its content.
    ///
    /// # Errors
    /// What `place` says; `InvalidData` where this is no tarball, or not a whole one.
    pub(super) fn each(
        mut self,
        mut place: impl FnMut(&Entry, &mut dyn Read) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut extensions = Extensions::default();
        while let Some(header) = next_header(&mut self.from)? {
            let sparse = match header.entry_type() {
                EntryType::GNUSparse => Some(Sparse::of_header(&header, &mut self.from)?),
                _ => None,
            };
            let size = extensions.size_of(&header)?;
            let padded = size.checked_next_multiple_of(BLOCK);
            let padded = padded.ok_or_else(|| invalid("an entry in it is too long"))?;
            let mut whole = (&mut self.from).take(padded);
            let mut content = whole.by_ref().take(size);
            if !extensions.take(&header, &mut content)? {
                let found = std::mem::take(&mut extensions).entry(&header, sparse, &mut content)?;
                place(&found, &mut content)?;
            }
            io::copy(&mut whole, &mut io::sink())?;
            if whole.limit() > padded - size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        // What follows the end of the archive; an unpacker that nobody reads from would fail.
        io::copy(&mut self.from, &mut io::sink())?;
        if let Some((child, name)) = &mut self.unpacker
            && !child.wait()?.success()
        {
            return Err(invalid(&format!("{name} fails on it")));
        }
        Ok(())
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.unpacker {
            // It has ended already unless reading was given up.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The header of the next entry; none at the end, which is a block of zeroes or that of the file.
fn next_header(from: &mut dyn Read) -> io::Result<Option<Header>> {
    let mut block = Vec::new();
    match from.take(BLOCK).read_to_end(&mut block)? {
        0 => return Ok(None),
        _ if block.iter().all(|&byte| byte == 0) => return Ok(None),
        512 => {}
        _ => return Err(io::ErrorKind::UnexpectedEof.into()),
    }
    let header = Header::from_byte_slice(&block);
    let bytes = block.iter().enumerate();
    // Its own checksum counts as spaces.
    let sum = bytes.map(|(at, &byte)| match at {
        148..156 => u32::from(b' '),
        _ => u32::from(byte),
    });
    if header.cksum().ok() != Some(sum.sum()) {
        return Err(invalid("a header in it is malformed"));
    }
    Ok(Some(header.clone()))
}

pub(super) fn invalid(cause: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}

/// What stands before an entry about it.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    ids: (Option<u64>, Option<u64>),
    mtime: Option<(i64, i64)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Of a content that is longer than a header can say, in bytes.
    size: Option<u64>,
    sparse: Records,
}

impl Extensions {
    /// Takes what an entry says about the next one; whether it was of that kind.
    fn take(&mut self, header: &Header, content: &mut io::Take<impl Read>) -> io::Result<bool> {
        match header.entry_type() {
            EntryType::GNULongName => self.name = Some(text(content)?),
            EntryType::GNULongLink => self.link = Some(text(content)?),
            EntryType::XHeader => self.pax(&read(content)?)?,
            // What holds for all entries, as a comment of git's.
            EntryType::XGlobalHeader => drop(read(content)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Length of what follows a header, in bytes.
    fn size_of(&self, header: &Header) -> io::Result<u64> {
        match (header.entry_type(), self.size) {
            // An extension's is its own, not that of the entry which it is about.
            (EntryType::GNULongName | EntryType::GNULongLink, _)
            | (EntryType::XHeader | EntryType::XGlobalHeader, _)
            | (_, None) => header.entry_size(),
            (_, Some(size)) => Ok(size),
        }
    }

    /// Records of pax: "LENGTH KEY=VALUE\n", the length that of all of it.
    fn pax(&mut self, mut records: &[u8]) -> io::Result<()> {
        let malformed = || invalid("a pax header in it is malformed");
        while !records.is_empty() {
            let space = records.iter().position(|&byte| byte == b' ');
            let space = space.ok_or_else(malformed)?;
            let length = number(&records[..space]).ok_or_else(malformed)?;
            let length = usize::try_from(length).map_err(|_| malformed())?;
            let record = records.get(space + 1..length).ok_or_else(malformed)?;
            let record = record.strip_suffix(b"\n").ok_or_else(malformed)?;
            let equals = record.iter().position(|&byte| byte == b'=');
            let equals = equals.ok_or_else(malformed)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"uid" => self.ids.0 = Some(number(value).ok_or_else(malformed)?),
                b"gid" => self.ids.1 = Some(number(value).ok_or_else(malformed)?),
                b"mtime" => self.mtime = Some(time(value).ok_or_else(malformed)?),
                b"size" => self.size = Some(number(value).ok_or_else(malformed)?),
                _ => {
                    if let Some(name) = key.strip_prefix(XATTR) {
                        self.xattrs.push((name.to_vec(), value.to_vec()));
                    } else if let Some(key) = key.strip_prefix(SPARSE) {
                        self.sparse.take(key, value)?;
                    }
                }
            }
            records = &records[length..];
        }
        Ok(())
    }

    /// An entry of which all that stands before it has been taken; `sparse` is what its header says of
    /// holes.
    fn entry(
        mut self,
        header: &Header,
        mut sparse: Option<Sparse>,
        content: &mut io::Take<impl Read>,
    ) -> io::Result<Entry> {
        let name = self.sparse.name.take().or(self.name);
        let name = name.unwrap_or_else(|| header.path_bytes().to_vec());
        let link = self
            .link
            .or_else(|| Some(header.link_name_bytes()?.to_vec()));
        let to = |what| link.ok_or_else(|| invalid(&format!("a {what} in it leads nowhere")));
        let device = |kind| -> io::Result<Kind> {
            let major = header.device_major()?.unwrap_or(0);
            let minor = header.device_minor()?.unwrap_or(0);
            Ok(Kind::Device(kind, libc::makedev(major, minor)))
        };
        let kind = match header.entry_type() {
            EntryType::Directory => Kind::Directory,
            // Of old, a directory was a file whose name ends so.
            EntryType::Regular if name.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
            EntryType::Symlink => Kind::Symlink(to("symbolic link")?),
            EntryType::Link => Kind::Link(to("link")?),
            EntryType::Fifo => Kind::Fifo,
            EntryType::Char => device(libc::S_IFCHR)?,
            EntryType::Block => device(libc::S_IFBLK)?,
            other => {
                let byte = char::from(other.as_byte());
                return Err(invalid(&format!("an entry of the kind {byte:?} is in it")));
            }
        };
        let id = |pax: Option<u64>, header: io::Result<u64>| -> io::Result<u32> {
            let id = pax.map_or(header, Ok)?;
            u32::try_from(id).map_err(|_| invalid("an owner in it is no number of 32 bits"))
        };
        if self.sparse.is_any {
            sparse = Some(self.sparse.pieces(content)?);
        }
        if let Some(sparse) = &sparse {
            sparse.check(content.limit())?;
        }
        // The crate takes a time before 1970, as GNU tar writes it, for a number without a sign.
        let seconds = header.mtime()?.cast_signed();
        Ok(Entry {
            name,
            kind,
            uid: id(self.ids.0, header.uid())?,
            gid: id(self.ids.1, header.gid())?,
            mode: header.mode()? & 0o7777,
            mtime: self.mtime.unwrap_or((seconds, 0)),
            xattrs: self.xattrs,
            sparse,
        })
    }
}

/// The content of an extension.
fn read(entry: &mut io::Take<impl Read>) -> io::Result<Vec<u8>> {
    if entry.limit() > EXTENSION_MAX {
        return Err(invalid("an extension of an entry in it is too long"));
    }
    let mut content = Vec::new();
    entry.read_to_end(&mut content)?;
    Ok(content)
}

/// The content of an extension that ends with a NUL.
fn text(entry: &mut io::Take<impl Read>) -> io::Result<Vec<u8>> {
    let mut text = read(entry)?;
    if text.last() == Some(&0) {
        text.pop();
    }
    Ok(text)
}

pub(super) fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds with a fraction, which counts back where there is a sign before it.
fn time(text: &[u8]) -> Option<(i64, i64)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds = whole.parse::<i64>().ok()?;
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0, |sum, digit| {
        sum * 10 + i64::from(digit.wrapping_sub(b'0'))
    });
    match nanoseconds {
        0 => Some((seconds, 0)),
        1..1_000_000_000 if whole.starts_with('-') => {
            Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds))
        }
        1..1_000_000_000 => Some((seconds, nanoseconds)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_values_may_hold_anything() {
        let mut found = Extensions::default();
        let value = b"a\nb=c \0";
        let record = [b"00 SCHILY.xattr.security.capability=" as &[u8], value].concat();
        assert_eq!(record.len() + 1, 44);
        let record = [
            b"44" as &[u8],
            &record[2..],
            b"\n",
            b"20 mtime=12.000000001\n",
        ]
        .concat();
        assert!(found.pax(&record).is_err(), "the second length is wrong");
        let record = [&record[..44], b"22 mtime=12.000000001\n"].concat();
        let mut found = Extensions::default();
        found.pax(&record).expect("well formed");
        assert_eq!(found.mtime, Some((12, 1)));
        assert_eq!(
            found.xattrs,
            [(b"security.capability".to_vec(), value.to_vec())]
        );
        for wrong in [
            &b"x"[..],
            b"5 a=b",
            b"99 a=b\n",
            b"6 a b\n",
            b"0 a=b\n",
            b"3 \n",
        ] {
            assert!(Extensions::default().pax(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn times_are_seconds_with_a_fraction() {
        assert_eq!(time(b"5"), Some((5, 0)));
        assert_eq!(time(b"5.25"), Some((5, 250_000_000)));
        assert_eq!(time(b"5.12345678999"), Some((5, 123_456_789)));
        assert_eq!(time(b"-5"), Some((-5, 0)));
        assert_eq!(time(b"-0.25"), Some((-1, 750_000_000)));
        assert_eq!(time(b"-5.25"), Some((-6, 750_000_000)));
        assert_eq!(time(b"5.x"), None);
        assert_eq!(time(b""), None);
    }
}
