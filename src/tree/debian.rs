//! A minimal Debian: the packages that every system has, and apt, as the host's apt finds them.
//!
//! The host's apt-get fetches the packages with a state of its own in the home's cache, so that
//! neither root nor a change of the host is needed; which archive, keys and proxy is the host's
//! configuration. Here they are unpacked as they are; [`FINISH`] sets them up, in the zone.

use super::archive::Bytes;
use super::unpack::Unpacker;
use super::within::Within;
use crate::error::{Doing, Error, Result};
use crate::zone::address;
use crate::zone::lock::Lock;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The shell script that sets the unpacked packages up when the zone runs for the first time.
pub const FINISH: &str = "set -e
dpkg --force-depends --install /var/cache/apt/archives/*.deb </dev/null
rm -f /var/cache/apt/archives/*.deb
";

/// Which packages: apt and what no system of Debian is without. The last one says that /bin is
/// /usr/bin, without programs that make it so.
const PACKAGES: &str = "?and(?origin(Debian),?or(?essential,?priority(required),?exact-name(apt),?exact-name(usr-is-merged)))";

/// Makes a tree of packages that are not set up yet.
pub(super) fn unpack(zone_dir: &Path, root: &Path) -> Result<Unpacker> {
    let apt = Apt::new(zone_dir)?;
    let files = apt.fetch()?;
    let mut unpacker = Unpacker::new(root)?;
    if (files.iter()).any(|path| is_of(path, "usr-is-merged")) {
        merge_usr(root)?;
    }
    let archives = root.join("var/cache/apt/archives");
    fs::create_dir_all(&archives).doing("make the directory", archives.display())?;
    // Copies: what the zone writes must not reach the cache. Made first, while no package's link
    // can lead elsewhere.
    for path in &files {
        if let Some(name) = path.file_name() {
            fs::copy(path, archives.join(name)).doing("copy", path.display())?;
        }
    }
    for path in &files {
        let mut program = Command::new("dpkg-deb");
        program.arg("--fsys-tarfile").arg(path).stdin(Stdio::null());
        Bytes::of_program(&mut program)
            .and_then(|bytes| bytes.each(|entry, content| unpacker.place(entry, content)))
            .doing("unpack", path.display())?;
    }
    let within = Within::open(root).doing("open", root.display())?;
    for (path, content) in apt.files(&within)? {
        let in_root = format_args!("{path} in {}", root.display());
        within
            .make_dir(Path::new(path).parent().unwrap_or(Path::new("/")))
            .and_then(|()| within.replace(Path::new(path), content.as_bytes(), 0o644))
            .doing("write", in_root)?;
    }
    Ok(unpacker)
}

/// Whether a file is the package of that name.
fn is_of(path: &Path, name: &str) -> bool {
    let file = path.file_name().and_then(OsStr::to_str).unwrap_or("");
    file.split('_').next() == Some(name)
}

/// Makes the links that packages are unpacked through where /bin is /usr/bin.
fn merge_usr(root: &Path) -> Result<()> {
    for name in ["bin", "sbin", "lib", "lib64"] {
        let dir = root.join("usr").join(name);
        fs::create_dir_all(&dir).doing("make the directory", dir.display())?;
        let link = root.join(name);
        symlink(Path::new("usr").join(name), &link).doing("make the link", link.display())?;
    }
    Ok(())
}

/// The host's apt with a state of its own.
struct Apt {
    dir: PathBuf,
    /// Commands that share the state wait for each other.
    _lock: Lock,
}

impl Apt {
    fn new(zone_dir: &Path) -> Result<Self> {
        let home = zone_dir.ancestors().nth(2).unwrap_or(zone_dir);
        let dir = home.join("cache/debian");
        for below in ["lists/partial", "archives/partial", "dpkg"] {
            let below = dir.join(below);
            fs::create_dir_all(&below).doing("make the directory", below.display())?;
        }
        let lock = Lock::take(&dir)?;
        let apt = Self { dir, _lock: lock };
        let architecture = apt.output(Command::new("dpkg").arg("--print-architecture"))?;
        let config = configuration(&apt.dir, architecture.trim());
        for (name, content) in [("apt.conf", config.as_str()), ("dpkg/status", "")] {
            let path = apt.dir.join(name);
            fs::write(&path, content).doing("write", path.display())?;
        }
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(self.dir.join("apt.conf"));
        command.env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    /// Standard output of a program that succeeds.
    fn output(&self, command: &mut Command) -> Result<String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let refuse = |cause: &dyn std::fmt::Display| {
            Error::refused(
                "get the packages of Debian by",
                &name,
                cause,
                "see that apt-get and dpkg work on this host (`apt-get update`), or give a tarball to --root",
            )
        };
        let output = command.output().map_err(|error| refuse(&error))?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(refuse(&errors.trim()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Fetches the packages; their files, in the order in which apt would install them.
    fn fetch(&self) -> Result<Vec<PathBuf>> {
        // Another archive of the host may be out of reach: what is missing shows up in the next step.
        let updated = self.output(self.command("apt-get").arg("update"));
        let install = |how: &[&str]| {
            let mut command = self.command("apt-get");
            self.output(command.args(how).args(["install", PACKAGES]))
        };
        let plan = match (install(&["--simulate"]), updated) {
            (Err(_), Err(error)) => return Err(error),
            (plan, _) => plan?,
        };
        install(&["--yes", "--download-only"])?;
        self.output(self.command("apt-get").arg("autoclean"))?;
        let archives = self.dir.join("archives");
        let files = plan.lines().filter_map(file_name);
        let files: Vec<PathBuf> = files.map(|name| archives.join(name)).collect();
        match files.iter().find(|path| !path.exists()) {
            None if !files.is_empty() => Ok(files),
            missing => Err(Error::refused(
                "get",
                missing.map_or("the packages of Debian".into(), |path| {
                    path.to_string_lossy()
                }),
                "apt-get has not fetched it",
                "see what `apt-get update` says on this host, or give a tarball to --root",
            )),
        }
    }

    /// Files that the new system needs before it can be set up, and its part of apt's configuration.
    fn files(&self, within: &Within) -> Result<Vec<(&'static str, String)>> {
        let mut files = vec![("/var/lib/dpkg/status", String::new())];
        for (path, master) in [
            ("/etc/passwd", "/usr/share/base-passwd/passwd.master"),
            ("/etc/group", "/usr/share/base-passwd/group.master"),
        ] {
            let content = within.read(Path::new(master)).doing("read", master)?;
            files.push((path, String::from_utf8_lossy(&content).into_owned()));
        }
        const FORM: &str = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
        let which = ["Created-By: Packages", "Origin: Debian"];
        let mut targets = self.command("apt-get");
        targets.args(["indextargets", "--format", FORM]).args(which);
        files.push((
            "/etc/apt/sources.list.d/debian.sources",
            sources(&self.output(&mut targets)?),
        ));
        let settings = self.output(self.command("apt-config").arg("dump"))?;
        let proxies = proxies(&settings);
        if !proxies.is_empty() {
            files.push(("/etc/apt/apt.conf.d/00proxy", proxies));
        }
        Ok(files)
    }
}

/// The configuration that comes after the host's.
fn configuration(dir: &Path, architecture: &str) -> String {
    let dir = dir.display();
    format!(
        r#"Dir::State "{dir}";
Dir::State::lists "{dir}/lists";
Dir::State::status "{dir}/dpkg/status";
Dir::State::extended_states "{dir}/extended_states";
Dir::Cache "{dir}";
Dir::Cache::archives "{dir}/archives";
Dir::Log "{dir}/log";
#clear APT::Architectures;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "root";
APT::Keep-Downloaded-Packages "true";
Acquire::Languages "none";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"#
    )
}

/// The file of a package that a simulated installation names: "Inst NAME (VERSION ... [ARCH])".
fn file_name(line: &str) -> Option<String> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
    let (version, rest) = rest.strip_prefix('(')?.split_once(' ')?;
    let (_, architecture) = rest.split_once('[')?;
    let (architecture, _) = architecture.split_once(']')?;
    let quoted = |text: &str| text.replace('_', "%5f").replace(':', "%3a");
    let name = name.split(':').next().unwrap_or(name);
    Some(format!(
        "{}_{}_{architecture}.deb",
        quoted(name),
        quoted(version)
    ))
}

/// `sources.list(5)` of lines "URI SUITE COMPONENT".
fn sources(targets: &str) -> String {
    let mut found: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for line in targets.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [uri, suite, component] = words[..] {
            let components = found.entry((uri, suite)).or_default();
            if !components.contains(&component) {
                components.push(component);
            }
        }
    }
    let mut text = String::new();
    for ((uri, suite), components) in found {
        // A write to a String cannot fail.
        let _ = writeln!(
            text,
            "Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: {}\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
            components.join(" ")
        );
    }
    text
}

/// The proxies of apt's settings as a zone reaches them: one on the host's loopback is at the
/// host's address. Those with a password are left out, since everybody in the zone reads the file.
fn proxies(settings: &str) -> String {
    let mut text = String::new();
    for line in settings.lines() {
        let is_proxy = ["Acquire::http::Proxy ", "Acquire::https::Proxy "]
            .iter()
            .any(|key| line.starts_with(key));
        if is_proxy && !line.contains('@') {
            let host = format!("//{}", address::HOST);
            let line = line
                .replace("//127.0.0.1", &host)
                .replace("//localhost", &host);
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_would_install_lies_in_files() {
        assert_eq!(
            file_name("Inst login (1:4.13+dfsg1-1 Debian:12/stable [amd64]) []").as_deref(),
            Some("login_1%3a4.13+dfsg1-1_amd64.deb")
        );
        assert_eq!(
            file_name("Inst libc6:amd64 (2.36-9 Debian:12/stable, X [amd64])").as_deref(),
            Some("libc6_2.36-9_amd64.deb")
        );
        assert_eq!(file_name("Conf login (1:4.13 Debian [amd64])"), None);
    }

    #[test]
    fn a_source_has_its_components_once() {
        let text =
            sources("http://a/ s main\nhttp://a/ s main\nhttp://a/ s contrib\nhttp://b/ t main\n");
        assert_eq!(text.matches("Types: deb").count(), 2);
        assert!(
            text.contains("Suites: s\nComponents: main contrib\n"),
            "{text}"
        );
    }

    #[test]
    fn a_proxy_on_the_host_is_reached_at_its_address() {
        let text = proxies(
            "Acquire::http::Proxy \"http://127.0.0.1:3142\";\nAcquire::https::Proxy \"http://u:p@x\";\nAcquire::Languages \"none\";\n",
        );
        assert_eq!(
            text,
            format!("Acquire::http::Proxy \"http://{}:3142\";\n", address::HOST)
        );
    }
}
