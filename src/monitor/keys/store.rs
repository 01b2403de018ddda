//! All keys of a zone: making them, linking them, and taking away what nobody reaches any more.
//!
//! A key lives as long as a keyring holds it. Keyrings also live as long as a thread, a process, a
//! session or a user has them; that is looked up by [`Store::collect`], from time to time.

use super::key::{
    ALL, Caller, Key, Kind, LINK, POSSESSOR, Payload, READ, SETATTR, Serial, USER, VIEW,
};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

/// Most keys of a zone, and most bytes of all of them, whatever its quotas say.
const KEYS_MAX: usize = 16384;
const BYTES_MAX: usize = 32 << 20;
/// What a link counts (`KEYQUOTA_LINK_BYTES`).
const LINK_BYTES: usize = 8;
/// How deep keyrings are searched (`KEYRING_SEARCH_MAX_DEPTH`).
pub(super) const DEPTH_MAX: usize = 6;

/// `/proc/sys/kernel/keys`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) keys: usize,
    pub(super) bytes: usize,
    pub(super) root_keys: usize,
    pub(super) root_bytes: usize,
    /// How long a persistent keyring lasts that nobody asks for, in seconds.
    pub(super) persistent: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            keys: 200,
            bytes: 20_000,
            root_keys: 1_000_000,
            root_bytes: 25_000_000,
            persistent: 3 * 24 * 3600,
        }
    }
}

/// What a user's keys take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) keys: usize,
    pub(super) bytes: usize,
}

/// The keyring of a thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThreadRing {
    pub(super) serial: Serial,
    /// When the thread was born, in ticks: another one may get its id.
    birth: u64,
    /// The life of its process, which an exec ends: [`Caller::life`].
    pub(super) life: u32,
}

#[derive(Default)]
pub(super) struct Store {
    pub(super) keys: HashMap<Serial, Key>,
    pub(super) usage: HashMap<u32, Usage>,
    bytes: usize,
    pub(super) limits: Limits,
    /// The keyring of a user, and that of its sessions.
    pub(super) of_users: HashMap<u32, [Serial; 2]>,
    pub(super) persistent: HashMap<u32, Serial>,
    /// Keyrings of threads by host id.
    pub(super) of_threads: HashMap<u32, ThreadRing>,
    lives: u32,
    random: RandomState,
    made: u64,
}

impl Store {
    /// A key.
    ///
    /// # Errors
    /// ENOKEY.
    pub(super) fn get(&self, serial: Serial) -> Result<&Key, i32> {
        self.keys.get(&serial).ok_or(libc::ENOKEY)
    }

    /// The same, to be changed.
    ///
    /// # Errors
    /// ENOKEY.
    pub(super) fn get_mut(&mut self, serial: Serial) -> Result<&mut Key, i32> {
        self.keys.get_mut(&serial).ok_or(libc::ENOKEY)
    }

    fn serial(&mut self) -> Serial {
        loop {
            self.made += 1;
            let random = self.random.hash_one(self.made);
            let serial = i32::try_from(random >> 33).unwrap_or(0);
            if serial > 2 && !self.keys.contains_key(&serial) {
                return serial;
            }
        }
    }

    /// Counts bytes against the quota of a user.
    ///
    /// # Errors
    /// EDQUOT.
    pub(super) fn reserve(&mut self, uid: u32, keys: usize, bytes: usize) -> Result<(), i32> {
        let (keys_max, bytes_max) = if uid == 0 {
            (self.limits.root_keys, self.limits.root_bytes)
        } else {
            (self.limits.keys, self.limits.bytes)
        };
        let used = self.usage.get(&uid).copied().unwrap_or_default();
        let is_too_much = used.keys + keys > keys_max
            || used.bytes + bytes > bytes_max
            || self.keys.len() + keys > KEYS_MAX
            || self.bytes + bytes > BYTES_MAX;
        if is_too_much {
            return Err(libc::EDQUOT);
        }
        let used = self.usage.entry(uid).or_default();
        used.keys += keys;
        used.bytes += bytes;
        self.bytes += bytes;
        Ok(())
    }

    fn release(&mut self, uid: u32, keys: usize, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        if let Some(used) = self.usage.get_mut(&uid) {
            used.keys = used.keys.saturating_sub(keys);
            used.bytes = used.bytes.saturating_sub(bytes);
            if used.keys == 0 {
                self.usage.remove(&uid);
            }
        }
    }

    /// Makes a key that no keyring holds yet.
    ///
    /// # Errors
    /// EDQUOT.
    pub(super) fn make(
        &mut self,
        [uid, gid]: [u32; 2],
        kind: Kind,
        description: &[u8],
        rights: u32,
        payload: Payload,
    ) -> Result<Serial, i32> {
        let data = match &payload {
            Payload::Data(data) => data.len(),
            Payload::Links(_) | Payload::Negative(_) => 0,
        };
        let bytes = description.len() + 1 + data;
        self.reserve(uid, 1, bytes)?;
        let serial = self.serial();
        let key = Key {
            kind,
            description: description.to_vec(),
            uid,
            gid,
            rights,
            payload,
            expiry: None,
            is_revoked: false,
            is_of_user: false,
            is_restricted: false,
            bytes,
            holders: 0,
        };
        self.keys.insert(serial, key);
        Ok(serial)
    }

    /// Makes a keyring.
    ///
    /// # Errors
    /// EDQUOT.
    pub(super) fn make_ring(
        &mut self,
        ids: [u32; 2],
        name: &[u8],
        rights: u32,
    ) -> Result<Serial, i32> {
        self.make(ids, Kind::Ring, name, rights, Payload::Links(Vec::new()))
    }

    /// Replaces what a key holds.
    ///
    /// # Errors
    /// EDQUOT.
    pub(super) fn fill(&mut self, serial: Serial, data: Vec<u8>) -> Result<(), i32> {
        let key = self.get(serial)?;
        let (uid, before) = (key.uid, key.bytes);
        let bytes = key.description.len() + 1 + data.len();
        self.reserve(uid, 0, bytes.saturating_sub(before))?;
        self.release(uid, 0, before.saturating_sub(bytes));
        let key = self.get_mut(serial)?;
        (key.payload, key.bytes, key.expiry) = (Payload::Data(data), bytes, None);
        Ok(())
    }

    /// Gives a key to another user.
    ///
    /// # Errors
    /// EDQUOT.
    pub(super) fn give(&mut self, serial: Serial, uid: u32) -> Result<(), i32> {
        let key = self.get(serial)?;
        let (before, bytes) = (key.uid, key.bytes);
        if before != uid {
            self.release(before, 1, bytes);
            if let Err(errno) = self.reserve(uid, 1, bytes) {
                // What it had before it can have again.
                let _ = self.reserve(before, 1, bytes);
                return Err(errno);
            }
            self.get_mut(serial)?.uid = uid;
        }
        Ok(())
    }

    /// A key of a keyring by type and description.
    pub(super) fn held(&self, ring: Serial, kind: Kind, description: &[u8]) -> Option<Serial> {
        let links = self.keys.get(&ring)?.links().ok()?;
        let is_it = |serial: &&Serial| {
            self.keys
                .get(*serial)
                .is_some_and(|key| key.kind == kind && key.description == description)
        };
        links.iter().find(is_it).copied()
    }

    /// Links a key to a keyring, in place of one of the same type and description.
    ///
    /// # Errors
    /// ENOTDIR, EKEYREVOKED, EDEADLK, ELOOP, EPERM, EDQUOT.
    pub(super) fn link(&mut self, ring: Serial, serial: Serial) -> Result<(), i32> {
        let to = self.get(ring)?;
        to.links()?;
        if to.is_revoked {
            return Err(libc::EKEYREVOKED);
        }
        if to.is_restricted {
            return Err(libc::EPERM);
        }
        let key = self.get(serial)?;
        if key.kind == Kind::Ring {
            self.must_not_reach(serial, ring)?;
        }
        match self.held(ring, key.kind, &key.description.clone()) {
            Some(other) if other == serial => Ok(()),
            Some(other) => {
                self.replace(ring, other, serial)?;
                self.dropped(other);
                Ok(())
            }
            None => {
                let uid = self.get(ring)?.uid;
                self.reserve(uid, 0, LINK_BYTES)?;
                let to = self.get_mut(ring)?;
                to.bytes += LINK_BYTES;
                if let Payload::Links(links) = &mut to.payload {
                    links.push(serial);
                }
                self.get_mut(serial)?.holders += 1;
                Ok(())
            }
        }
    }

    fn replace(&mut self, ring: Serial, other: Serial, serial: Serial) -> Result<(), i32> {
        if let Payload::Links(links) = &mut self.get_mut(ring)?.payload {
            for link in links.iter_mut().filter(|link| **link == other) {
                *link = serial;
            }
        }
        self.get_mut(serial)?.holders += 1;
        Ok(())
    }

    /// EDEADLK if a keyring lies beneath another, or is it; ELOOP if it lies too deep to tell.
    fn must_not_reach(&self, from: Serial, ring: Serial) -> Result<(), i32> {
        let (mut level, mut seen) = (vec![from], HashSet::from([from]));
        for _ in 0..=DEPTH_MAX {
            if level.contains(&ring) {
                return Err(libc::EDEADLK);
            }
            let links = level
                .iter()
                .filter_map(|serial| self.get(*serial).ok()?.links().ok());
            let is_ring = |serial: &&Serial| {
                let key = self.keys.get(serial);
                key.is_some_and(|key| key.kind == Kind::Ring)
            };
            let below = links.flatten().filter(is_ring);
            // Each once, however many hold it.
            level = below
                .filter(|serial| seen.insert(**serial))
                .copied()
                .collect();
        }
        if level.is_empty() {
            Ok(())
        } else {
            Err(libc::ELOOP)
        }
    }

    /// Takes a key out of a keyring.
    ///
    /// # Errors
    /// ENOTDIR, ENOENT.
    pub(super) fn unlink(&mut self, ring: Serial, serial: Serial) -> Result<(), i32> {
        let from = self.get_mut(ring)?;
        let Payload::Links(links) = &mut from.payload else {
            return Err(libc::ENOTDIR);
        };
        let at = links.iter().position(|link| *link == serial);
        links.remove(at.ok_or(libc::ENOENT)?);
        from.bytes = from.bytes.saturating_sub(LINK_BYTES);
        let uid = from.uid;
        self.release(uid, 0, LINK_BYTES);
        self.dropped(serial);
        Ok(())
    }

    /// Takes all keys out of a keyring.
    ///
    /// # Errors
    /// ENOTDIR.
    pub(super) fn clear(&mut self, ring: Serial) -> Result<(), i32> {
        let from = self.get_mut(ring)?;
        let Payload::Links(links) = &mut from.payload else {
            return Err(libc::ENOTDIR);
        };
        let links = std::mem::take(links);
        from.bytes = from.bytes.saturating_sub(LINK_BYTES * links.len());
        let uid = from.uid;
        self.release(uid, 0, LINK_BYTES * links.len());
        for serial in links {
            self.dropped(serial);
        }
        Ok(())
    }

    /// A keyring has let go of a key. What is no keyring is gone with the last one.
    fn dropped(&mut self, serial: Serial) {
        let Some(key) = self.keys.get_mut(&serial) else {
            return;
        };
        key.holders = key.holders.saturating_sub(1);
        if key.holders == 0 && key.kind != Kind::Ring {
            self.remove(serial);
        }
    }

    /// Removes a key that nobody holds.
    pub(super) fn remove(&mut self, serial: Serial) {
        let _ = self.clear(serial);
        if let Some(key) = self.keys.remove(&serial) {
            self.release(key.uid, 1, key.bytes);
        }
    }

    /// Removes a key from wherever it is.
    pub(super) fn invalidate(&mut self, serial: Serial) {
        self.remove_all(&HashSet::from([serial]));
    }

    /// The same of many, by one look at every keyring.
    fn remove_all(&mut self, gone: &HashSet<Serial>) {
        let mut given_back = Vec::new();
        for key in self.keys.values_mut() {
            if let Payload::Links(links) = &mut key.payload {
                let before = links.len();
                links.retain(|link| !gone.contains(link));
                let bytes = LINK_BYTES * (before - links.len());
                key.bytes = key.bytes.saturating_sub(bytes);
                given_back.push((key.uid, bytes));
            }
        }
        for (uid, bytes) in given_back {
            self.release(uid, 0, bytes);
        }
        for serial in gone {
            self.remove(*serial);
        }
    }

    /// Removes the keyrings that nobody has, with what only they hold. `roots` are those that
    /// processes have.
    pub(super) fn collect(&mut self, roots: impl IntoIterator<Item = Serial>) {
        let now = Instant::now();
        let has_expired = |(serial, key): (&Serial, &Key)| {
            let is_over = key.expiry.is_some_and(|expiry| expiry <= now);
            (is_over && key.kind != Kind::Ring).then_some(*serial)
        };
        let expired: HashSet<Serial> = self.keys.iter().filter_map(has_expired).collect();
        if !expired.is_empty() {
            self.remove_all(&expired);
        }
        let over = |serial: &Serial| {
            let key = self.keys.get(serial);
            key.is_none_or(|key| key.expiry.is_some_and(|expiry| expiry <= now))
        };
        self.persistent.retain(|_, serial| !over(serial));
        self.of_threads
            .retain(|tid, ring| birth_of(*tid) == Some(ring.birth));
        let mut open: Vec<Serial> = roots.into_iter().collect();
        open.extend(self.of_users.values().flatten());
        open.extend(self.persistent.values());
        open.extend(self.of_threads.values().map(|ring| ring.serial));
        let mut seen = HashSet::new();
        while let Some(serial) = open.pop() {
            if seen.insert(serial)
                && let Some(Payload::Links(links)) = self.keys.get(&serial).map(|key| &key.payload)
            {
                open.extend(links);
            }
        }
        let unseen = self.keys.keys().filter(|serial| !seen.contains(*serial));
        for serial in unseen.copied().collect::<Vec<_>>() {
            self.remove(serial);
        }
    }

    /// The keyring of a user and that of its sessions.
    ///
    /// # Errors
    /// EDQUOT.
    pub(super) fn of_user(&mut self, uid: u32) -> Result<[Serial; 2], i32> {
        if let Some(rings) = self.of_users.get(&uid) {
            return Ok(*rings);
        }
        let rights = (ALL & !SETATTR) << POSSESSOR | ALL << USER;
        let ids = [uid, u32::MAX];
        let ring = self.make_ring(ids, format!("_uid.{uid}").as_bytes(), rights)?;
        let name = format!("_uid_ses.{uid}");
        let session = self.make_ring(ids, name.as_bytes(), rights);
        let session = session.inspect_err(|_| self.remove(ring))?;
        for serial in [ring, session] {
            self.get_mut(serial)?.is_of_user = true;
        }
        self.link(session, ring)?;
        self.of_users.insert(uid, [ring, session]);
        Ok([ring, session])
    }

    /// Makes the keyring of a thread or process.
    ///
    /// # Errors
    /// EDQUOT.
    pub(super) fn own_ring(&mut self, who: &Caller, name: &[u8]) -> Result<Serial, i32> {
        self.make_ring([who.uid, who.gid], name, ALL << POSSESSOR | VIEW << USER)
    }

    /// Makes the caller's thread a keyring.
    ///
    /// # Errors
    /// EDQUOT.
    pub(super) fn install_thread(&mut self, who: &mut Caller) -> Result<Serial, i32> {
        if who.thread == 0 {
            let serial = self.own_ring(who, b"_tid")?;
            who.thread = serial;
            if who.life == 0 {
                self.lives = self.lives.wrapping_add(1).max(1);
                who.life = self.lives;
            }
            let (birth, life) = (birth_of(who.tid).unwrap_or(0), who.life);
            let ring = ThreadRing {
                serial,
                birth,
                life,
            };
            self.of_threads.insert(who.tid, ring);
        }
        Ok(who.thread)
    }

    /// The keyring of a thread in a life of its process; 0 if it has none.
    pub(super) fn of_thread(&self, tid: u32, life: u32) -> Serial {
        let ring = self
            .of_threads
            .get(&tid)
            .filter(|ring| ring.life == life && birth_of(tid) == Some(ring.birth));
        ring.map_or(0, |ring| ring.serial)
    }

    /// Makes the caller's process a keyring.
    ///
    /// # Errors
    /// EDQUOT.
    pub(super) fn install_process(&mut self, who: &mut Caller) -> Result<Serial, i32> {
        if who.process == 0 {
            who.process = self.own_ring(who, b"_pid")?;
        }
        Ok(who.process)
    }

    /// Gives the caller another session keyring: the one of that name, or a fresh one. 0 if it has that
    /// one already.
    ///
    /// # Errors
    /// EDQUOT.
    pub(super) fn join(&mut self, who: &mut Caller, name: Option<&[u8]>) -> Result<Serial, i32> {
        let ids = [who.uid, who.gid];
        let usual = ALL << POSSESSOR | (VIEW | READ) << USER;
        let ring = match name {
            None => self.make_ring(ids, b"_ses", usual)?,
            Some(name) => match self.ring_named(who, name) {
                Some(found) if found == who.session => return Ok(0),
                Some(found) => found,
                None => self.make_ring(ids, name, usual | LINK << USER)?,
            },
        };
        who.session = ring;
        Ok(ring)
    }

    /// A keyring of that name that the caller may search.
    fn ring_named(&self, who: &Caller, name: &[u8]) -> Option<Serial> {
        let is_it = |key: &Key| {
            key.kind == Kind::Ring
                && key.description == name
                && !key.is_revoked
                && key.permit(who, false, super::key::SEARCH).is_ok()
        };
        let found = self.keys.iter().find(|(_, key)| is_it(key));
        found.map(|(serial, _)| *serial)
    }
}

/// When a thread of the host was born, in ticks (`/proc/PID/stat`, field 22).
pub(super) fn birth_of(tid: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{tid}/stat")).ok()?;
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}
