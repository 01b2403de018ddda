//! The rights of a guest, for what the monitor reads on its behalf.

/// `struct __user_cap_data_struct` of capget(2), two of them in version 3.
type Sets = [[u32; 3]; 2];

/// `_LINUX_CAPABILITY_VERSION_3`, and the calling thread.
const HEADER: [u32; 2] = [0x2008_0522, 0];

fn get() -> Option<Sets> {
    let mut sets: Sets = [[0; 3]; 2];
    let mut header = HEADER;
    // SAFETY: the structures of capget(2), version 3, which are ours.
    let result = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
    (result == 0).then_some(sets)
}

fn set(sets: &Sets) {
    // SAFETY: the structures of capset(2), version 3; they change this thread only.
    unsafe { libc::syscall(libc::SYS_capset, HEADER.as_ptr(), sets.as_ptr()) };
}

/// The thread's capabilities, to be had again.
struct Kept(Option<Sets>);

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(sets) = &self.0 {
            set(sets);
        }
    }
}

/// Runs `f` without the capabilities of root, as guests run.
pub fn as_guest<T>(f: impl FnOnce() -> T) -> T {
    let sets = get().filter(|[low, high]| low[0] | high[0] != 0);
    let _kept = Kept(sets);
    if let Some(sets) = sets {
        set(&sets.map(|[_, permitted, inheritable]| [0, permitted, inheritable]));
    }
    f()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_come_back() {
        let before = get();
        let within = as_guest(get);
        assert!(within.is_none_or(|[low, high]| low[0] | high[0] == 0));
        assert_eq!(get(), before);
    }
}
