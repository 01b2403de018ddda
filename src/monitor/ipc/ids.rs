//! Keys, ids and permissions, the same for all kinds of objects (ipc/util.c).

use super::record::Record;
use crate::ids::ZonePid;
use picozone_personality::capabilities::{Capabilities, Power};

/// How many objects of a kind the form of an id allows (`IPCMNI`).
const SLOTS_MAX: usize = 32768;
const RIGHTS: u32 = 0o777;

/// Who asks.
pub(super) struct Caller {
    /// Its thread on the host.
    pub(super) tid: u32,
    /// Its process.
    pub(super) pid: ZonePid,
    /// Effective user; where it asks for a queue, that of the file system.
    pub(super) uid: u32,
    /// Effective group.
    pub(super) gid: u32,
    /// File system group, by which membership goes.
    pub(super) fsgid: u32,
    /// Supplementary groups.
    pub(super) groups: Vec<u32>,
    /// Capabilities in the zone.
    pub(super) capabilities: Capabilities,
}

impl Caller {
    pub(super) const fn has(&self, power: Power) -> bool {
        self.capabilities.has(power)
    }
    pub(super) fn is_member(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.contains(&gid)
    }
}

/// `struct ipc_perm`.
#[derive(Clone, Debug)]
pub(super) struct Perm {
    pub(super) key: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) cuid: u32,
    pub(super) cgid: u32,
    /// Rights, and flags of the kind of object.
    pub(super) mode: u32,
    seq: u16,
}

impl Perm {
    /// Whether the caller has the rights that `wanted` names in any of its three digits.
    ///
    /// # Errors
    /// EACCES.
    pub(super) fn permit(&self, caller: &Caller, wanted: u32) -> Result<(), i32> {
        let wanted = (wanted >> 6 | wanted >> 3 | wanted) & 7;
        let granted = if caller.uid == self.cuid || caller.uid == self.uid {
            self.mode >> 6
        } else if caller.is_member(self.cgid) || caller.is_member(self.gid) {
            self.mode >> 3
        } else {
            self.mode
        };
        if wanted & !granted & 7 == 0 || caller.has(Power::IpcOwner) {
            Ok(())
        } else {
            Err(libc::EACCES)
        }
    }

    /// Whether the caller may change or remove the object.
    ///
    /// # Errors
    /// EPERM.
    pub(super) fn own(&self, caller: &Caller) -> Result<(), i32> {
        if caller.has(Power::Administer) {
            Ok(())
        } else {
            self.belong_to(caller)
        }
    }

    /// As [`own`](Self::own), whatever the caller may do.
    ///
    /// # Errors
    /// EPERM.
    pub(super) fn belong_to(&self, caller: &Caller) -> Result<(), i32> {
        if caller.uid == self.cuid || caller.uid == self.uid {
            Ok(())
        } else {
            Err(libc::EPERM)
        }
    }

    /// `IPC_SET`: owner and rights from a `struct ipc64_perm`.
    ///
    /// # Errors
    /// EINVAL.
    pub(super) fn set(&mut self, from: &[u8]) -> Result<(), i32> {
        let word = |at: usize| {
            let bytes = from.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_ne_bytes).ok_or(libc::EINVAL)
        };
        let (uid, gid, mode) = (word(4)?, word(8)?, word(20)?);
        if uid == u32::MAX || gid == u32::MAX {
            return Err(libc::EINVAL);
        }
        self.uid = uid;
        self.gid = gid;
        self.mode = self.mode & !RIGHTS | mode & RIGHTS;
        Ok(())
    }

    /// `struct ipc64_perm`.
    pub(super) fn record(&self) -> Record {
        Record::default()
            .u32s([self.key, self.uid, self.gid, self.cuid, self.cgid])
            .u32s([self.mode, u32::from(self.seq), 0])
            .u64s([0, 0])
    }
}

/// An object with its owner.
pub(super) struct Object<T> {
    pub(super) perm: Perm,
    pub(super) of: T,
}

/// The objects of one kind.
pub(super) struct Registry<T> {
    slots: Vec<Option<Object<T>>>,
    /// How many there may be.
    pub(super) max: usize,
    /// The id that the next object is to get, if it is free (`/proc/sys/kernel/*_next_id`).
    pub(super) next: Option<i32>,
    count: usize,
    last: Option<usize>,
    seq: u16,
}

impl<T> Registry<T> {
    /// At most `max` objects.
    pub(super) const fn new(max: usize) -> Registry<T> {
        Registry {
            slots: Vec::new(),
            max,
            next: None,
            count: 0,
            last: None,
            seq: 0,
        }
    }

    fn slot(id: i32) -> (usize, u16) {
        let id = usize::try_from(id).unwrap_or(usize::MAX);
        let seq = u16::try_from(id / SLOTS_MAX).unwrap_or(u16::MAX);
        (id % SLOTS_MAX, seq)
    }

    fn id_of(slot: usize, perm: &Perm) -> i32 {
        (i32::from(perm.seq) << 15) + i32::try_from(slot).unwrap_or(0)
    }

    /// The three `*get` calls: the id of the object with that key, or of a new one.
    ///
    /// # Errors
    /// ENOENT, EEXIST, EACCES, ENOSPC; those of `check` (an object is there, but does not fit what
    /// was asked for) and `make`.
    pub(super) fn get(
        &mut self,
        caller: &Caller,
        key: u32,
        flags: u32,
        check: impl FnOnce(&T) -> Result<(), i32>,
        make: impl FnOnce(&Self) -> Result<T, i32>,
    ) -> Result<i64, i32> {
        let has = |flag: i32| flags & flag.cast_unsigned() != 0;
        if key != libc::IPC_PRIVATE.cast_unsigned() {
            let found = self.all().find(|(_, object)| object.perm.key == key);
            if let Some((id, object)) = found {
                if has(libc::IPC_CREAT) && has(libc::IPC_EXCL) {
                    return Err(libc::EEXIST);
                }
                check(&object.of)?;
                object.perm.permit(caller, flags)?;
                return Ok(i64::from(id));
            }
            if !has(libc::IPC_CREAT) {
                return Err(libc::ENOENT);
            }
        }
        let of = make(self)?;
        if self.count >= self.max {
            return Err(libc::ENOSPC);
        }
        let wanted = self.next.take().map(Self::slot);
        let from = wanted.map_or(0, |(slot, _)| slot);
        let is_free = |slot: &usize| self.slots.get(*slot).is_none_or(Option::is_none);
        let slot = (from..SLOTS_MAX).find(is_free).ok_or(libc::ENOSPC)?;
        let end = self.slots.len().max(slot + 1);
        self.slots.resize_with(end, || None);
        let seq = match wanted {
            Some((_, seq)) => seq,
            None => {
                // A number is not given out again soon: as soon as slots repeat, the sequence goes on.
                if self.last.is_some_and(|last| slot <= last) {
                    self.seq = self.seq.wrapping_add(1);
                }
                self.last = Some(slot);
                self.seq
            }
        };
        self.count += 1;
        let perm = Perm {
            key,
            uid: caller.uid,
            gid: caller.gid,
            cuid: caller.uid,
            cgid: caller.gid,
            mode: flags & RIGHTS,
            seq,
        };
        let id = Self::id_of(slot, &perm);
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(Object { perm, of });
        }
        Ok(i64::from(id))
    }

    /// An object by its id.
    ///
    /// # Errors
    /// EINVAL.
    pub(super) fn find(&mut self, id: i32) -> Result<&mut Object<T>, i32> {
        let (slot, seq) = Self::slot(id);
        let found = self.slots.get_mut(slot).and_then(Option::as_mut);
        let is_it = |object: &&mut Object<T>| object.perm.seq == seq && id >= 0;
        found.filter(is_it).ok_or(libc::EINVAL)
    }

    /// An object by its place in the table (`SHM_STAT` and its like), and its id.
    ///
    /// # Errors
    /// EINVAL.
    pub(super) fn at(&mut self, index: i32) -> Result<(i32, &mut Object<T>), i32> {
        let (slot, _) = Self::slot(index);
        let found = self.slots.get_mut(slot).and_then(Option::as_mut);
        let object = found.ok_or(libc::EINVAL)?;
        Ok((Self::id_of(slot, &object.perm), object))
    }

    /// Removes an object that was found.
    pub(super) fn remove(&mut self, id: i32) -> Option<Object<T>> {
        let removed = self.slots.get_mut(Self::slot(id).0)?.take();
        self.count -= usize::from(removed.is_some());
        removed
    }

    /// How many there are.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// The highest place in use; 0 if there is none.
    pub(super) fn highest(&self) -> i64 {
        let found = self.slots.iter().rposition(Option::is_some);
        i64::try_from(found.unwrap_or(0)).unwrap_or(0)
    }

    /// Every object with its id.
    pub(super) fn all(&self) -> impl Iterator<Item = (i32, &Object<T>)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(slot, place)| {
            let object = place.as_ref()?;
            Some((Self::id_of(slot, &object.perm), object))
        })
    }

    /// The same, to be changed.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = (i32, &mut Object<T>)> {
        let slots = self.slots.iter_mut().enumerate();
        slots.filter_map(|(slot, place)| {
            let object = place.as_mut()?;
            Some((Self::id_of(slot, &object.perm), object))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(uid: u32) -> Caller {
        Caller {
            tid: 1,
            pid: ZonePid(1),
            uid,
            gid: uid,
            fsgid: uid,
            groups: vec![50],
            capabilities: Capabilities::of_user(uid),
        }
    }

    fn get(registry: &mut Registry<u8>, uid: u32, key: u32, flags: u32) -> Result<i64, i32> {
        registry.get(&caller(uid), key, flags, |_| Ok(()), |_| Ok(0))
    }

    const CREATE: u32 = libc::IPC_CREAT.cast_unsigned();

    #[test]
    fn a_removed_id_is_not_given_out_at_once() {
        let mut registry = Registry::new(2);
        let one = get(&mut registry, 0, 0, 0).expect("made");
        let one = i32::try_from(one).expect("small");
        assert!(registry.remove(one).is_some());
        assert_eq!(registry.find(one).err(), Some(libc::EINVAL));
        let two = get(&mut registry, 0, 0, 0).expect("made");
        assert_ne!(i64::from(one), two);
        assert!(get(&mut registry, 0, 0, 0).is_ok());
        assert_eq!(get(&mut registry, 0, 0, 0), Err(libc::ENOSPC));
    }

    #[test]
    fn an_id_can_be_asked_for() {
        let mut registry = Registry::new(9);
        registry.next = Some(70_005);
        assert_eq!(get(&mut registry, 0, 0, 0), Ok(70_005));
        assert_eq!(registry.next, None);
        assert_eq!(get(&mut registry, 0, 0, 0), Ok(0));
        registry.next = Some(70_005);
        assert_eq!(get(&mut registry, 0, 0, 0), Ok(70_006));
        registry.next = Some(i32::MAX);
        assert_eq!(get(&mut registry, 0, 0, 0), Ok(i64::from(i32::MAX)));
        registry.next = Some(i32::MAX);
        assert_eq!(get(&mut registry, 0, 0, 0), Err(libc::ENOSPC));
        assert_eq!(get(&mut registry, 0, 0, 0), Ok(1));
    }

    #[test]
    fn keys_find_objects_by_the_rights_asked_for() {
        let mut registry = Registry::new(9);
        assert_eq!(get(&mut registry, 1, 7, 0), Err(libc::ENOENT));
        let id = get(&mut registry, 1, 7, CREATE | 0o640);
        assert_eq!(get(&mut registry, 1, 7, CREATE | 0o600), id);
        let exclusive = CREATE | libc::IPC_EXCL.cast_unsigned();
        assert_eq!(get(&mut registry, 1, 7, exclusive), Err(libc::EEXIST));
        assert_eq!(get(&mut registry, 2, 7, 0), id);
        assert_eq!(get(&mut registry, 2, 7, 0o400), Err(libc::EACCES));
        assert_eq!(get(&mut registry, 0, 7, 0o777), id);
        let id = i32::try_from(id.expect("made")).expect("small");
        registry.find(id).expect("there").perm.gid = 50;
        assert!(get(&mut registry, 2, 7, 0o400).is_ok());
        assert_eq!(get(&mut registry, 2, 7, 0o600), Err(libc::EACCES));
    }
}
