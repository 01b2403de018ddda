//! Ports and unix sockets of a zone.

use super::zone::Zone;
use crate::control::{Port as Row, Protocol as Shown, Publish};
use nix::errno::Errno;
use picozone_personality::net::{
    AF_INET6, AF_UNIX, Address, LENGTH, Port, Protocol, Scope, ZoneNet,
};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;

/// The network side of a zone.
pub struct Net {
    /// Its addresses.
    pub zone: ZoneNet,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    publications: Vec<Publish>,
    /// Zone names of bound unix sockets, by what the kernel holds.
    names: HashMap<Vec<u8>, Vec<u8>>,
}

fn option(fd: &OwnedFd, level: i32, name: i32) -> Result<i32, i32> {
    let mut value = 0i32;
    let mut length = 4;
    // SAFETY: an int and its length.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    Errno::result(result)
        .map(|_| value)
        .map_err(|errno| errno as i32)
}

fn bind_raw(fd: &OwnedFd, address: &[u8]) -> Result<(), i32> {
    let length = libc::socklen_t::try_from(address.len()).map_err(|_| libc::EINVAL)?;
    // SAFETY: the address is ours, of that length.
    let result = unsafe { libc::bind(fd.as_raw_fd(), address.as_ptr().cast(), length) };
    Errno::result(result)
        .map(drop)
        .map_err(|errno| errno as i32)
}

fn name_of(fd: &OwnedFd) -> Result<Address, i32> {
    let mut address = Address([0; LENGTH]);
    let mut length = libc::socklen_t::try_from(LENGTH).map_err(|_| libc::EINVAL)?;
    // SAFETY: the buffer is ours, of that length.
    let result = unsafe {
        libc::getsockname(
            fd.as_raw_fd(),
            address.0.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Errno::result(result)
        .map(|_| address)
        .map_err(|errno| errno as i32)
}

impl Net {
    /// The network of the zone with this number.
    #[must_use]
    pub fn new(number: u16, publications: Vec<Publish>) -> Net {
        Net {
            zone: ZoneNet::new(number),
            state: Mutex::new(State {
                publications,
                names: HashMap::new(),
            }),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Binds a handed-over socket to an address in the zone's terms.
    ///
    /// # Errors
    /// EADDRNOTAVAIL for what is not the zone's, EADDRINUSE, EINVAL.
    pub fn bind(&self, zone: &Zone, fd: &OwnedFd, bytes: &[u8]) -> Result<i64, i32> {
        let family = u16::try_from(option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN)?)
            .map_err(|_| libc::EINVAL)?;
        if family == AF_UNIX {
            return self.bind_unix(zone, fd, bytes);
        }
        let mut address = Address([0; LENGTH]);
        address
            .0
            .get_mut(..bytes.len())
            .ok_or(libc::EINVAL)?
            .copy_from_slice(bytes);
        if address.family() != family {
            return Err(libc::EAFNOSUPPORT);
        }
        let is_udp = option(fd, libc::SOL_SOCKET, libc::SO_TYPE)? == libc::SOCK_DGRAM;
        let protocol = if is_udp { Protocol::Udp } else { Protocol::Tcp };
        let scope = match (address.ipv4(), address.ipv6()) {
            (Some([0, 0, 0, 0]), _) => Scope::Any,
            (Some([127, ..]), _) => Scope::Loopback,
            (Some(v4), _) if v4 == self.zone.inside() => Scope::Public,
            (_, Some(v6)) if v6 == [0; 16] => Scope::Any,
            (_, Some(v6)) if Ipv6Addr::from(v6).is_loopback() => Scope::Loopback,
            _ => return Err(libc::EADDRNOTAVAIL),
        };
        if family == AF_INET6 && option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY)? != 0 {
            let off = 0i32;
            // SAFETY: an int.
            unsafe {
                libc::setsockopt(
                    fd.as_raw_fd(),
                    libc::IPPROTO_IPV6,
                    libc::IPV6_V6ONLY,
                    (&raw const off).cast(),
                    4,
                )
            };
        }
        let zone_port = address.port();
        let mut host = if scope == Scope::Loopback {
            self.zone.loopback()
        } else {
            self.zone.public()
        };
        let mut state = self.state();
        self.drop_stale(zone);
        let rows = &zone.shared.tables().ports;
        let known = rows.iter().filter_map(|row| row.read()).find(|row| {
            row.protocol == protocol && row.zone_port == zone_port && row.scope == scope
        });
        let published = state
            .publications
            .iter()
            .find(|p| p.zone_port == zone_port && (p.protocol == Shown::Udp) == is_udp)
            .cloned();
        let mut candidates: Vec<u16> = Vec::new();
        if let Some(row) = known.filter(|_| zone_port != 0) {
            (host, candidates) = (row.host, vec![row.host_port]);
        } else if let Some(publish) = published.filter(|_| scope != Scope::Loopback) {
            (host, candidates) = (publish.host_address.octets(), vec![publish.host_port]);
        } else {
            candidates.push(zone_port);
            if zone_port != 0 {
                let base = if zone_port < 1024 {
                    20000 + zone_port
                } else {
                    zone_port.wrapping_add(20000).max(20000)
                };
                candidates.extend((0..64).map(|step| base.wrapping_add(step * 7).max(1024)));
            }
        }
        let mut last = libc::EADDRINUSE;
        let is_bound = candidates.into_iter().any(|port| {
            let result = bind_raw(fd, &Address::new(family, host, port).0);
            last = result.err().unwrap_or(0);
            last == 0 || (last != libc::EACCES && last != libc::EADDRINUSE)
        });
        if !is_bound || last != 0 {
            return Err(if last == libc::EACCES {
                libc::EADDRINUSE
            } else {
                last
            });
        }
        let host_port = name_of(fd)?.port();
        let zone_port = if zone_port == 0 { host_port } else { zone_port };
        let port = Port {
            protocol,
            scope,
            is_v6: family == AF_INET6,
            zone_port,
            host_port,
            host,
        };
        if !rows.iter().any(|row| row.read() == Some(port)) {
            let free = rows
                .iter()
                .find(|row| row.read().is_none())
                .ok_or(libc::ENOBUFS)?;
            free.write(Some(port));
        }
        drop(state.publications.iter());
        drop(state);
        self.write_ports(zone);
        Ok(0)
    }

    /// Frees rows whose sockets are gone.
    fn drop_stale(&self, zone: &Zone) {
        let bound = bound_ports();
        for row in &zone.shared.tables().ports {
            if let Some(port) = row.read()
                && !bound.contains(&(port.protocol == Protocol::Udp, port.host_port))
            {
                row.write(None);
            }
        }
    }

    fn write_ports(&self, zone: &Zone) {
        let text = serde_json::to_vec(&self.list(zone)).unwrap_or_default();
        if let Err(error) =
            crate::zone::atomic::write(&zone.run_dir.join("ports.json"), &text, 0o600)
        {
            tracing::warn!("{error}");
        }
    }

    /// The ports that the zone has bound.
    #[must_use]
    pub fn ports(&self, zone: &Zone) -> Vec<Row> {
        self.drop_stale(zone);
        self.list(zone)
    }

    fn list(&self, zone: &Zone) -> Vec<Row> {
        let mut rows: Vec<Row> = zone
            .shared
            .tables()
            .ports
            .iter()
            .filter_map(|row| row.read())
            .map(|port| Row {
                protocol: if port.protocol == Protocol::Udp {
                    Shown::Udp
                } else {
                    Shown::Tcp
                },
                zone_address: IpAddr::V4(if port.scope == Scope::Loopback {
                    Ipv4Addr::LOCALHOST
                } else {
                    Ipv4Addr::from(self.zone.inside())
                }),
                zone_port: port.zone_port,
                host_address: Ipv4Addr::from(port.host),
                host_port: port.host_port,
                published: if port.host == self.zone.public() || port.host == self.zone.loopback() {
                    Vec::new()
                } else {
                    vec![SocketAddrV4::new(Ipv4Addr::from(port.host), port.host_port)]
                },
            })
            .collect();
        rows.sort_by_key(|row| (row.zone_port, row.host_port));
        rows
    }

    /// Publishes a port; a relay carries it if the port is bound already.
    ///
    /// # Errors
    /// The host address cannot be bound.
    pub fn publish(&self, zone: &Zone, publish: Publish) -> Result<(), String> {
        if publish.protocol == Shown::Udp {
            self.state().publications.push(publish);
            return Ok(());
        }
        let row = self
            .ports(zone)
            .into_iter()
            .find(|row| row.zone_port == publish.zone_port && row.protocol == Shown::Tcp);
        if let Some(row) = row {
            let listener = std::net::TcpListener::bind((publish.host_address, publish.host_port))
                .map_err(|error| {
                format!(
                    "cannot publish port {} at {}:{}: {error}; choose another port of the host",
                    publish.zone_port, publish.host_address, publish.host_port
                )
            })?;
            let to = SocketAddrV4::new(row.host_address, row.host_port);
            std::thread::spawn(move || relay(&listener, to));
        }
        self.state().publications.push(publish);
        Ok(())
    }

    /// Host address of a port of another zone.
    #[must_use]
    pub fn peer_port(&self, zone: &Zone, address: &Address, is_udp: bool) -> Address {
        let Some([_, _, a, b]) = address.ipv4() else {
            return *address;
        };
        let inside = IpAddr::V4(Ipv4Addr::new(10, 111, a, b));
        let protocol = if is_udp { Shown::Udp } else { Shown::Tcp };
        let zones = zone.run_dir.parent().and_then(Path::parent);
        let found = zones
            .and_then(|zones| std::fs::read_dir(zones).ok())
            .into_iter()
            .flatten()
            .flatten()
            .find_map(|entry| {
                let text = std::fs::read(entry.path().join("run/ports.json")).ok()?;
                let rows: Vec<Row> = serde_json::from_slice(&text).ok()?;
                rows.into_iter().find(|row| {
                    row.zone_address == inside
                        && row.zone_port == address.port()
                        && row.protocol == protocol
                })
            });
        match found {
            Some(row) if row.host_address.is_unspecified() => {
                Address::new(address.family(), [127, 111, a, b], row.host_port)
            }
            Some(row) => Address::new(address.family(), row.host_address.octets(), row.host_port),
            None => Address::new(address.family(), [127, 111, a, b], address.port()),
        }
    }

    /// The host's form of a unix address, and the parent that keeps it valid.
    fn unix_to_host(
        &self,
        zone: &Zone,
        caller_cwd: Option<&Path>,
        bytes: &[u8],
    ) -> Result<(Vec<u8>, Option<OwnedFd>), i32> {
        let path = bytes.get(2..).ok_or(libc::EINVAL)?;
        if path.is_empty() {
            return Ok((bytes.to_vec(), None));
        }
        if path[0] == 0 {
            // Abstract names are the zone's own.
            let mut name = vec![1, 0, 0];
            name.extend(format!("{}.{}/", self.zone.low[0], self.zone.low[1]).bytes());
            name.extend(&path[1..]);
            return if name.len() > 110 {
                Err(libc::EINVAL)
            } else {
                Ok((name, None))
            };
        }
        let length = path.iter().position(|&b| b == 0).unwrap_or(path.len());
        let path = &path[..length];
        let mut full = Vec::new();
        if path[0] != b'/' {
            use std::os::unix::ffi::OsStrExt;
            let host = caller_cwd.ok_or(libc::ENOENT)?;
            full.extend(
                zone.to_zone_path(host.as_os_str().as_bytes())
                    .ok_or(libc::ENOENT)?,
            );
            full.push(b'/');
        }
        full.extend(path);
        let cut = full.iter().rposition(|&b| b == b'/').ok_or(libc::ENOENT)?;
        let (directory, name) = full.split_at(cut);
        let parent = super::paths::open_in_zone(
            zone,
            if directory.is_empty() {
                b"/"
            } else {
                directory
            },
            libc::O_PATH | libc::O_DIRECTORY,
        )?;
        let mut host = vec![1, 0];
        host.extend(format!("/proc/self/fd/{}", parent.as_raw_fd()).bytes());
        host.extend(name);
        host.push(0);
        if host.len() > 110 {
            return Err(libc::ENAMETOOLONG);
        }
        Ok((host, Some(parent)))
    }

    fn bind_unix(&self, zone: &Zone, fd: &OwnedFd, bytes: &[u8]) -> Result<i64, i32> {
        let (host, _parent) = self.unix_to_host(zone, None, bytes)?;
        bind_raw(fd, &host)?;
        if host.len() > 2 {
            let bound = name_of(fd)?;
            let length = bound
                .0
                .iter()
                .skip(3)
                .position(|&b| b == 0)
                .map_or(LENGTH, |at| at + 3);
            self.state()
                .names
                .insert(bound.0[..length].to_vec(), bytes.to_vec());
        }
        Ok(0)
    }

    /// Connects a handed-over unix socket.
    ///
    /// # Errors
    /// ECONNREFUSED, ENOENT, EAGAIN (backlog full).
    pub fn connect_unix(&self, zone: &Zone, fd: &OwnedFd, bytes: &[u8]) -> Result<i64, i32> {
        let (host, _parent) = self.unix_to_host(zone, None, bytes)?;
        let length = libc::socklen_t::try_from(host.len()).map_err(|_| libc::EINVAL)?;
        // SAFETY: the address is ours, of that length.
        let result = unsafe { libc::connect(fd.as_raw_fd(), host.as_ptr().cast(), length) };
        Errno::result(result)
            .map(|_| 0)
            .map_err(|errno| errno as i32)
    }

    /// The zone's name for a unix address that the kernel holds.
    #[must_use]
    pub fn unix_name(&self, bytes: &[u8]) -> Vec<u8> {
        let length = bytes
            .iter()
            .skip(3)
            .position(|&b| b == 0)
            .map_or(bytes.len(), |at| at + 3);
        self.state()
            .names
            .get(&bytes[..length.min(bytes.len())])
            .cloned()
            .unwrap_or_else(|| bytes[..bytes.len().min(2)].to_vec())
    }
}

/// (is UDP, port) of every bound socket of the host on IPv4 or v4-mapped.
fn bound_ports() -> std::collections::HashSet<(bool, u16)> {
    let mut all = std::collections::HashSet::new();
    for (file, is_udp) in [
        ("tcp", false),
        ("tcp6", false),
        ("udp", true),
        ("udp6", true),
    ] {
        let Ok(text) = std::fs::read_to_string(format!("/proc/net/{file}")) else {
            continue;
        };
        for line in text.lines().skip(1) {
            let local = line
                .split_whitespace()
                .nth(1)
                .and_then(|local| local.rsplit_once(':'));
            if let Some(port) = local.and_then(|(_, port)| u16::from_str_radix(port, 16).ok()) {
                all.insert((is_udp, port));
            }
        }
    }
    all
}

/// Carries connections to a port that was bound before it was published.
fn relay(listener: &std::net::TcpListener, to: SocketAddrV4) {
    for from in listener.incoming().flatten() {
        let Ok(onward) = std::net::TcpStream::connect(to) else {
            continue;
        };
        let (Ok(mut a), Ok(mut b)) = (from.try_clone(), onward.try_clone()) else {
            continue;
        };
        let (mut from, mut onward) = (from, onward);
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut a, &mut onward);
            let _ = onward.shutdown(std::net::Shutdown::Write);
        });
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut b, &mut from);
            let _ = from.shutdown(std::net::Shutdown::Write);
        });
    }
}
