//! Finding keys: by number, by special names, by description (security/keys/process_keys.c, keyring.c).

use super::key::{Caller, Key, Kind, LINK, SEARCH, Serial};
use super::store::{DEPTH_MAX, Store};
use std::collections::HashSet;
use std::time::Instant;

/// A key as somebody refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ref {
    pub(super) serial: Serial,
    /// Whether it was found in the keyrings of who refers to it.
    pub(super) is_possessed: bool,
}

/// What a key is looked up for.
#[derive(Clone, Copy)]
pub(super) enum For {
    /// What needs these rights.
    Rights(u32),
    /// What looks at rights itself.
    Later,
    /// Being taken out of a keyring, which no key prevents.
    Unlink,
}

/// How a lookup goes.
#[derive(Clone, Copy, Default)]
pub(super) struct How {
    /// A special keyring that is not there is made.
    pub(super) creates: bool,
    /// Keys are found that could not be made.
    pub(super) partial: bool,
}

/// As [`How`].
pub(super) const CREATE: How = How {
    creates: true,
    partial: false,
};
pub(super) const PARTIAL: How = How {
    creates: false,
    partial: true,
};
pub(super) const BOTH: How = How {
    creates: true,
    partial: true,
};
pub(super) const PLAIN: How = How {
    creates: false,
    partial: false,
};

/// Which keys a search is for.
pub(super) enum Wanted<'a> {
    Described(Kind, &'a [u8]),
    This(Serial),
}

impl Wanted<'_> {
    fn is_it(&self, serial: Serial, key: &Key) -> bool {
        match self {
            Wanted::Described(kind, text) => key.kind == *kind && key.description == *text,
            Wanted::This(wanted) => serial == *wanted,
        }
    }
    /// Whether what cannot be used is passed by.
    fn checks(&self) -> bool {
        matches!(self, Wanted::Described(..))
    }
}

impl Store {
    /// A key by its number or by a special one (`KEY_SPEC_*`), for what needs `rights`.
    ///
    /// # Errors
    /// EINVAL, ENOKEY, EKEYREVOKED, EKEYEXPIRED, EACCES, EDQUOT.
    pub(super) fn find(
        &mut self,
        who: &mut Caller,
        id: Serial,
        how: How,
        wanted: For,
    ) -> Result<Ref, i32> {
        let special = |serial| Ref {
            serial,
            is_possessed: true,
        };
        let found = match id {
            -1 if who.thread == 0 && !how.creates => return Err(libc::ENOKEY),
            -1 => special(self.install_thread(who)?),
            -2 if who.process == 0 && !how.creates => return Err(libc::ENOKEY),
            -2 => special(self.install_process(who)?),
            -3 => special(self.session(who, how.creates)?),
            -4 => special(self.of_user(who.real)?[0]),
            -5 => special(self.of_user(who.real)?[1]),
            // No key is ever being made for somebody else here.
            -7 | -8 => return Err(libc::ENOKEY),
            1.. => {
                self.get(id)?;
                Ref {
                    serial: id,
                    is_possessed: self.possesses(who, id),
                }
            }
            _ => return Err(libc::EINVAL),
        };
        let key = self.get(found.serial)?;
        if let For::Rights(rights) = wanted {
            if !how.partial {
                key.made()?;
            }
            key.validate(Instant::now())?;
            key.permit(who, found.is_possessed, rights)?;
        }
        Ok(found)
    }

    /// The session keyring, which there is from the first look at it on: the user's, unless one of the
    /// caller's own is wanted.
    fn session(&mut self, who: &mut Caller, creates: bool) -> Result<Serial, i32> {
        let has_users = |store: &Self, serial| store.get(serial).is_ok_and(|key| key.is_of_user);
        if !self.keys.contains_key(&who.session) {
            let [_, users] = self.of_user(who.real)?;
            who.session = users;
        }
        if creates && has_users(self, who.session) {
            return self.join(who, None);
        }
        Ok(who.session)
    }

    /// The keyrings that make up what a caller possesses, in the order of searching.
    fn rings(&self, who: &Caller) -> impl Iterator<Item = Serial> + use<> {
        let session = match self.keys.get(&who.session) {
            Some(_) => who.session,
            None => self.of_users.get(&who.real).map_or(0, |rings| rings[1]),
        };
        let all = [who.thread, who.process, session];
        let there = all.map(|serial| self.keys.contains_key(&serial).then_some(serial));
        there.into_iter().flatten()
    }

    fn possesses(&self, who: &Caller, serial: Serial) -> bool {
        let wanted = Wanted::This(serial);
        self.rings(who)
            .any(|ring| self.search(who, ring, true, &wanted).is_ok())
    }

    /// All keys that a caller possesses.
    pub(super) fn possessed(&self, who: &Caller) -> HashSet<Serial> {
        let may_search = |serial: &Serial| {
            let key = self.keys.get(serial);
            key.is_some_and(|key| key.permit(who, true, SEARCH).is_ok())
        };
        let mut level: Vec<Serial> = self.rings(who).filter(may_search).collect();
        let mut all: HashSet<Serial> = level.iter().copied().collect();
        for _ in 0..=DEPTH_MAX {
            let links = level
                .iter()
                .filter_map(|ring| self.get(*ring).ok()?.links().ok());
            let found = links.flatten().filter(|serial| may_search(serial));
            level = found
                .filter(|serial| all.insert(**serial))
                .copied()
                .collect();
        }
        all
    }

    /// Searches the caller's keyrings.
    ///
    /// # Errors
    /// EAGAIN if there is none; ENOKEY if it could not be made; why what there is cannot be used.
    pub(super) fn search_own(&self, who: &Caller, wanted: &Wanted<'_>) -> Result<Ref, i32> {
        let (mut none, mut other) = (None, libc::EAGAIN);
        for ring in self.rings(who) {
            match self.search(who, ring, true, wanted) {
                Ok(found) => return Ok(found),
                Err(libc::ENOKEY) => none = Some(libc::ENOKEY),
                Err(libc::EAGAIN) => none = none.or(Some(libc::EAGAIN)),
                Err(errno) => other = errno,
            }
        }
        Err(none.unwrap_or(other))
    }

    /// Searches a keyring and what it holds.
    ///
    /// # Errors
    /// As [`Store::search_own`]; ENOTDIR, EACCES.
    pub(super) fn search(
        &self,
        who: &Caller,
        ring: Serial,
        is_possessed: bool,
        wanted: &Wanted<'_>,
    ) -> Result<Ref, i32> {
        let now = Instant::now();
        let root = self.get(ring)?;
        root.links()?;
        root.permit(who, is_possessed, SEARCH)?;
        let mut result = libc::EAGAIN;
        let mut judge = |serial: Serial, key: &Key| -> Option<Ref> {
            if !wanted.is_it(serial, key) {
                return None;
            }
            let usable = || {
                if wanted.checks() {
                    key.validate(now)?;
                }
                key.permit(who, is_possessed, SEARCH)?;
                if wanted.checks() {
                    key.made()?;
                }
                Ok(())
            };
            match usable() {
                Ok(()) => Some(Ref {
                    serial,
                    is_possessed,
                }),
                Err(errno) => {
                    result = errno;
                    None
                }
            }
        };
        if let Some(found) = judge(ring, root) {
            return Ok(found);
        }
        let mut open = vec![(ring, 0)];
        // Each keyring once: many may hold the same ones.
        let mut seen = HashSet::from([ring]);
        while let Some((ring, depth)) = open.pop() {
            let Some(links) = self.keys.get(&ring).and_then(|key| key.links().ok()) else {
                continue;
            };
            for serial in links {
                let Some(key) = self.keys.get(serial) else {
                    continue;
                };
                if let Some(found) = judge(*serial, key) {
                    return Ok(found);
                }
                let may_pass = key.permit(who, is_possessed, SEARCH).is_ok();
                let is_ring = key.kind == Kind::Ring && !key.is_revoked;
                if is_ring && may_pass && depth < DEPTH_MAX && seen.insert(*serial) {
                    open.push((*serial, depth + 1));
                }
            }
        }
        Err(result)
    }

    /// Links what was found to a keyring that the caller may write.
    ///
    /// # Errors
    /// EACCES, and those of [`Store::link`].
    pub(super) fn link_found(
        &mut self,
        who: &Caller,
        found: Ref,
        to: Option<Ref>,
    ) -> Result<Serial, i32> {
        if let Some(to) = to {
            self.get(found.serial)?
                .permit(who, found.is_possessed, LINK)?;
            self.link(to.serial, found.serial)?;
        }
        Ok(found.serial)
    }
}
