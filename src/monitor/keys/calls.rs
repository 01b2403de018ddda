//! add_key(2), request_key(2) and the operations of keyctl(2) (security/keys/keyctl.c).

use super::key::{
    ALL, Caller, Key, Kind, LINK, POSSESSOR, Payload, READ, SEARCH, SETATTR, Serial, USER, VIEW,
    WRITE,
};
use super::search::{BOTH, CREATE, For, PARTIAL, PLAIN, Ref, Wanted};
use super::store::Store;
use picozone_personality::capabilities::Power;
use std::time::{Duration, Instant};

/// Longest payload of the types that a zone has.
const DATA_MAX: usize = 32767;
/// Longest payload of keyctl_update(3).
const UPDATE_MAX: usize = 4096;
/// How long a key stays that nobody could make, in seconds (`key_negative_timeout`).
const NEGATIVE: u64 = 60;

impl Store {
    /// add_key(2).
    ///
    /// # Errors
    /// As add_key(2).
    pub(super) fn add(
        &mut self,
        who: &mut Caller,
        kind: Option<Kind>,
        description: &[u8],
        data: Vec<u8>,
        ring: Serial,
    ) -> Result<Serial, i32> {
        let ring = self.find(who, ring, CREATE, For::Rights(WRITE))?;
        let kind = kind.ok_or(libc::ENODEV)?;
        self.get(ring.serial)?.links()?;
        let is_good = match kind {
            Kind::Ring => data.is_empty(),
            Kind::User => (1..=DATA_MAX).contains(&data.len()),
            Kind::Logon => {
                let colon = description.iter().position(|&byte| byte == b':');
                (1..=DATA_MAX).contains(&data.len()) && colon.is_some_and(|at| at > 0)
            }
        };
        if description.is_empty() || !is_good {
            return Err(libc::EINVAL);
        }
        let usable = |store: &Self, serial: &Serial| {
            let key = store.keys.get(serial);
            key.is_some_and(|key| !key.is_revoked)
        };
        if kind != Kind::Ring
            && let Some(held) = self.held(ring.serial, kind, description)
            && usable(self, &held)
        {
            let key = self.get(held)?;
            key.permit(who, ring.is_possessed, WRITE)?;
            self.fill(held, data)?;
            return Ok(held);
        }
        let payload = match kind {
            Kind::Ring => Payload::Links(Vec::new()),
            Kind::User | Kind::Logon => Payload::Data(data),
        };
        let ids = [who.uid, who.gid];
        let made = self.make(ids, kind, description, kind.usual_rights(), payload)?;
        let linked = self.link(ring.serial, made);
        linked.inspect_err(|_| self.remove(made))?;
        Ok(made)
    }

    /// request_key(2). Nobody makes keys on request in a zone: what is not there is remembered as such
    /// for a while, as where `/sbin/request-key` knows nothing.
    ///
    /// # Errors
    /// As request_key(2).
    pub(super) fn request(
        &mut self,
        who: &mut Caller,
        kind: Option<Kind>,
        description: &[u8],
        has_information: bool,
        ring: Serial,
    ) -> Result<Serial, i32> {
        let to = self.destination(who, ring)?;
        let kind = kind.ok_or(libc::ENOKEY)?;
        match self.search_own(who, &Wanted::Described(kind, description)) {
            Ok(found) => return self.link_found(who, found, to),
            Err(libc::EAGAIN | libc::EKEYEXPIRED) if has_information => {}
            Err(libc::EAGAIN) => return Err(libc::ENOKEY),
            Err(errno) => return Err(errno),
        }
        let to = match to {
            Some(to) => to.serial,
            None => self.default_ring(who)?,
        };
        let ids = [who.uid, who.gid];
        let rights = kind.usual_rights();
        let made = self.make(
            ids,
            kind,
            description,
            rights,
            Payload::Negative(libc::ENOKEY),
        )?;
        let linked = self.link(to, made);
        linked.inspect_err(|_| self.remove(made))?;
        self.get_mut(made)?.expiry = Instant::now().checked_add(Duration::from_secs(NEGATIVE));
        Err(libc::ENOKEY)
    }

    fn destination(&mut self, who: &mut Caller, ring: Serial) -> Result<Option<Ref>, i32> {
        match ring {
            0 => Ok(None),
            ring => self.find(who, ring, CREATE, For::Rights(WRITE)).map(Some),
        }
    }

    /// Where a requested key goes (construct_get_dest_keyring()).
    fn default_ring(&mut self, who: &mut Caller) -> Result<Serial, i32> {
        let [user, users_session] = self.of_user(who.real)?;
        let session = match self.keys.contains_key(&who.session) {
            true => who.session,
            false => users_session,
        };
        let ring = match who.default {
            4 => user,
            5 => users_session,
            0 | 1 | 7 if who.thread != 0 => return Ok(who.thread),
            0..=2 | 7 if who.process != 0 => who.process,
            _ => session,
        };
        let is_possessed = self.search_own(who, &Wanted::This(ring)).is_ok() || ring == session;
        self.get(ring)?.permit(who, is_possessed, WRITE)?;
        Ok(ring)
    }

    /// `KEYCTL_UPDATE`.
    pub(super) fn update(
        &mut self,
        who: &mut Caller,
        id: Serial,
        data: Vec<u8>,
    ) -> Result<i64, i32> {
        if data.len() > UPDATE_MAX {
            return Err(libc::EINVAL);
        }
        let found = self.find(who, id, PLAIN, For::Rights(WRITE))?;
        match self.get(found.serial)?.kind {
            Kind::Ring => Err(libc::EOPNOTSUPP),
            Kind::User | Kind::Logon if data.is_empty() => Err(libc::EINVAL),
            Kind::User | Kind::Logon => self.fill(found.serial, data).map(|()| 0),
        }
    }

    /// `KEYCTL_REVOKE`.
    pub(super) fn revoke(&mut self, who: &mut Caller, id: Serial) -> Result<i64, i32> {
        let found = match self.find(who, id, PLAIN, For::Rights(WRITE)) {
            Err(libc::EACCES) => self.find(who, id, PLAIN, For::Rights(SETATTR))?,
            other => other?,
        };
        let serial = found.serial;
        match self.get(serial)?.kind {
            Kind::Ring => self.clear(serial)?,
            Kind::User | Kind::Logon => self.fill(serial, Vec::new())?,
        }
        self.get_mut(serial)?.is_revoked = true;
        Ok(0)
    }

    /// `KEYCTL_CHOWN`.
    pub(super) fn chown(
        &mut self,
        who: &mut Caller,
        id: Serial,
        [uid, gid]: [u32; 2],
    ) -> Result<i64, i32> {
        const SAME: u32 = u32::MAX;
        if [uid, gid] == [SAME; 2] {
            return Ok(0);
        }
        let found = self.find(who, id, BOTH, For::Rights(SETATTR))?;
        let key = self.get(found.serial)?;
        let is_others = uid != SAME && uid != key.uid;
        let is_strange = gid != SAME && gid != key.gid && !who.is_member(gid);
        if (is_others || is_strange) && !who.has(Power::Administer) {
            return Err(libc::EACCES);
        }
        if uid != SAME {
            self.give(found.serial, uid)?;
        }
        if gid != SAME {
            self.get_mut(found.serial)?.gid = gid;
        }
        Ok(0)
    }

    /// `KEYCTL_SETPERM`.
    pub(super) fn permit(&mut self, who: &mut Caller, id: Serial, rights: u32) -> Result<i64, i32> {
        if rights & !(ALL * 0x0101_0101) != 0 {
            return Err(libc::EINVAL);
        }
        let found = self.find(who, id, BOTH, For::Rights(SETATTR))?;
        let is_administrator = who.has(Power::Administer);
        let key = self.get_mut(found.serial)?;
        if key.uid != who.uid && !is_administrator {
            return Err(libc::EACCES);
        }
        key.rights = rights;
        Ok(0)
    }

    /// `KEYCTL_DESCRIBE`: the text, with its NUL.
    pub(super) fn describe(&mut self, who: &mut Caller, id: Serial) -> Result<Vec<u8>, i32> {
        let found = self.find(who, id, PARTIAL, For::Rights(VIEW))?;
        let key = self.get(found.serial)?;
        let (uid, gid) = (key.uid.cast_signed(), key.gid.cast_signed());
        let front = format!("{};{uid};{gid};{:08x};", key.kind.name(), key.rights);
        Ok([front.as_bytes(), &key.description, b"\0"].concat())
    }

    /// `KEYCTL_CLEAR`.
    pub(super) fn clear_ring(&mut self, who: &mut Caller, id: Serial) -> Result<i64, i32> {
        let found = self.find(who, id, CREATE, For::Rights(WRITE))?;
        self.clear(found.serial).map(|()| 0)
    }

    /// `KEYCTL_LINK`.
    pub(super) fn link_key(
        &mut self,
        who: &mut Caller,
        id: Serial,
        ring: Serial,
    ) -> Result<i64, i32> {
        let ring = self.find(who, ring, CREATE, For::Rights(WRITE))?;
        let key = self.find(who, id, CREATE, For::Rights(LINK))?;
        self.link(ring.serial, key.serial).map(|()| 0)
    }

    /// `KEYCTL_UNLINK`.
    pub(super) fn unlink_key(
        &mut self,
        who: &mut Caller,
        id: Serial,
        ring: Serial,
    ) -> Result<i64, i32> {
        let ring = self.find(who, ring, PLAIN, For::Rights(WRITE))?;
        let key = self.find(who, id, PARTIAL, For::Unlink)?;
        self.unlink(ring.serial, key.serial).map(|()| 0)
    }

    /// `KEYCTL_MOVE`.
    pub(super) fn move_key(
        &mut self,
        who: &mut Caller,
        id: Serial,
        [from, to]: [Serial; 2],
        flags: u64,
    ) -> Result<i64, i32> {
        const EXCLUSIVE: u64 = 1;
        if flags & !EXCLUSIVE != 0 {
            return Err(libc::EINVAL);
        }
        let key = self.find(who, id, CREATE, For::Rights(LINK))?;
        let from = self.find(who, from, PLAIN, For::Rights(WRITE))?;
        let to = self.find(who, to, CREATE, For::Rights(WRITE))?;
        let (kind, text) = {
            let key = self.get(key.serial)?;
            (key.kind, key.description.clone())
        };
        for ring in [from, to] {
            self.get(ring.serial)?.links()?;
        }
        if from.serial == to.serial {
            return Ok(0);
        }
        if !self.get(from.serial)?.links()?.contains(&key.serial) {
            return Err(libc::ENOENT);
        }
        if flags & EXCLUSIVE != 0 && self.held(to.serial, kind, &text).is_some() {
            return Err(libc::EEXIST);
        }
        self.link(to.serial, key.serial)?;
        self.unlink(from.serial, key.serial).map(|()| 0)
    }

    /// `KEYCTL_SEARCH`.
    pub(super) fn search_ring(
        &mut self,
        who: &mut Caller,
        ring: Serial,
        kind: Option<Kind>,
        description: &[u8],
        to: Serial,
    ) -> Result<i64, i32> {
        let ring = self.find(who, ring, PLAIN, For::Rights(SEARCH))?;
        let to = self.destination(who, to)?;
        let kind = kind.ok_or(libc::ENOKEY)?;
        let wanted = Wanted::Described(kind, description);
        let found = match self.search(who, ring.serial, ring.is_possessed, &wanted) {
            Err(libc::EAGAIN) => return Err(libc::ENOKEY),
            other => other?,
        };
        self.link_found(who, found, to).map(i64::from)
    }

    /// `KEYCTL_READ`: all of it.
    pub(super) fn read(&mut self, who: &mut Caller, id: Serial) -> Result<Vec<u8>, i32> {
        let found = self.find(who, id, PLAIN, For::Later);
        let found = found.map_err(|_| libc::ENOKEY)?;
        let key = self.get(found.serial)?;
        key.made()?;
        if key.permit(who, found.is_possessed, READ).is_err() && !found.is_possessed {
            return Err(libc::EACCES);
        }
        if !key.kind.is_readable() {
            return Err(libc::EOPNOTSUPP);
        }
        key.validate(Instant::now())?;
        Ok(match &key.payload {
            Payload::Data(data) => data.clone(),
            Payload::Links(links) => links.iter().flat_map(|link| link.to_ne_bytes()).collect(),
            Payload::Negative(_) => Vec::new(),
        })
    }

    /// `KEYCTL_SET_REQKEY_KEYRING`.
    pub(super) fn set_default(&mut self, who: &mut Caller, wanted: i32) -> Result<i64, i32> {
        let before = i64::from(who.default);
        match wanted {
            -1 => return Ok(before),
            1 => drop(self.install_thread(who)?),
            2 => drop(self.install_process(who)?),
            0 | 3 | 4 | 5 | 7 => {}
            _ => return Err(libc::EINVAL),
        }
        who.default = wanted;
        Ok(before)
    }

    /// `KEYCTL_SET_TIMEOUT`.
    pub(super) fn expire(&mut self, who: &mut Caller, id: Serial, secs: u64) -> Result<i64, i32> {
        let found = self.find(who, id, BOTH, For::Rights(SETATTR))?;
        let after = |secs| Instant::now().checked_add(Duration::from_secs(secs));
        self.get_mut(found.serial)?.expiry = if secs == 0 { None } else { after(secs) };
        Ok(0)
    }

    /// `KEYCTL_INVALIDATE`.
    pub(super) fn invalidate_key(&mut self, who: &mut Caller, id: Serial) -> Result<i64, i32> {
        let found = self.find(who, id, PLAIN, For::Rights(SEARCH))?;
        self.invalidate(found.serial);
        Ok(0)
    }

    /// `KEYCTL_GET_PERSISTENT`.
    pub(super) fn persist(&mut self, who: &mut Caller, uid: u32, to: Serial) -> Result<i64, i32> {
        let uid = if uid == u32::MAX { who.real } else { uid };
        if uid != who.real && uid != who.uid && !who.has(Power::SetUid) {
            return Err(libc::EPERM);
        }
        let to = self.find(who, to, CREATE, For::Rights(WRITE))?;
        self.get(to.serial)?.links()?;
        let now = Instant::now();
        let is_there = |key: &Key| key.validate(now).is_ok();
        let known = self.persistent.get(&uid).copied();
        let ring = match known.filter(|ring| self.keys.get(ring).is_some_and(is_there)) {
            Some(ring) => ring,
            None => {
                let rights = (ALL & !SETATTR) << POSSESSOR | (VIEW | READ) << USER;
                let name = format!("_persistent.{uid}");
                let ring = self.make_ring([uid, u32::MAX], name.as_bytes(), rights)?;
                self.persistent.insert(uid, ring);
                ring
            }
        };
        self.link(to.serial, ring)?;
        let lasts = Duration::from_secs(self.limits.persistent);
        self.get_mut(ring)?.expiry = now.checked_add(lasts);
        Ok(i64::from(ring))
    }

    /// `KEYCTL_RESTRICT_KEYRING`, of the one kind that needs no certificates: nothing more is linked.
    pub(super) fn restrict(
        &mut self,
        who: &mut Caller,
        id: Serial,
        has_type: bool,
    ) -> Result<i64, i32> {
        let found = self.find(who, id, PLAIN, For::Rights(SETATTR))?;
        if has_type {
            return Err(libc::ENOENT);
        }
        let key = self.get_mut(found.serial)?;
        key.links()?;
        if key.is_restricted {
            return Err(libc::EEXIST);
        }
        key.is_restricted = true;
        Ok(0)
    }
}
