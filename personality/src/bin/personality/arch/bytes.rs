//! What compiled code calls by name (the core library's "minimum symbol requirements"). What a call of a
//! guest's copies, clears and compares is short, and the string instructions take up to ten nanoseconds
//! to begin.

use core::arch::asm;
use core::ffi::c_void;

/// Up to as many bytes words are quicker.
pub(super) const SHORT: usize = 256;
/// A one in each byte.
pub(super) const ONES: u64 = 0x0101_0101_0101_0101;

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut c_void, from: *const c_void, length: usize) -> *mut c_void {
    unsafe {
        asm!(
            "cmp rcx, {short}",
            "ja 4f",
            "cmp rcx, 8",
            "jb 3f",
            // The last two words, or of less than two the first and the last, may overlap.
            "mov {last}, [rsi + rcx - 8]",
            "cmp rcx, 16",
            "jb 6f",
            "mov {before}, [rsi + rcx - 16]",
            "lea rcx, [rdi + rcx - 16]",
            "2: mov {word}, [rsi]",
            "mov {second}, [rsi + 8]",
            "mov [rdi], {word}",
            "mov [rdi + 8], {second}",
            "add rsi, 16",
            "add rdi, 16",
            "cmp rdi, rcx",
            "jb 2b",
            "mov [rcx], {before}",
            "mov [rcx + 8], {last}",
            "jmp 5f",
            "6: mov {word}, [rsi]",
            "mov [rdi], {word}",
            "mov [rdi + rcx - 8], {last}",
            "jmp 5f",
            "3: jrcxz 5f",
            "movzx {word:e}, byte ptr [rsi]",
            "mov [rdi], {word:l}",
            "inc rsi",
            "inc rdi",
            "dec rcx",
            "jmp 3b",
            "4: rep movsb",
            "5:",
            short = const SHORT,
            word = out(reg) _,
            second = out(reg) _,
            before = out(reg) _,
            last = out(reg) _,
            inout("rcx") length => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack),
        );
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut c_void, byte: i32, length: usize) -> *mut c_void {
    unsafe {
        asm!(
            "cmp rcx, {short}",
            "ja 4f",
            "cmp rcx, 8",
            "jb 3f",
            "lea rcx, [rdi + rcx - 8]",
            "2: mov [rdi], rax",
            "add rdi, 8",
            "cmp rdi, rcx",
            "jb 2b",
            "mov [rcx], rax",
            "jmp 5f",
            "3: jrcxz 5f",
            "mov [rdi], al",
            "inc rdi",
            "dec rcx",
            "jmp 3b",
            "4: rep stosb",
            "5:",
            short = const SHORT,
            in("rax") ONES * u64::from(byte as u8),
            inout("rcx") length => _,
            inout("rdi") to => _,
            options(nostack),
        );
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut c_void, from: *const c_void, length: usize) -> *mut c_void {
    unsafe {
        if (to as usize).wrapping_sub(from as usize) >= length {
            // Also where the end of `to` is the start of `from`: it goes upwards.
            memcpy(to, from, length);
        } else {
            asm!(
                "std", "rep movsb", "cld",
                inout("rdi") to.add(length).sub(1) => _,
                inout("rsi") from.add(length).sub(1) => _,
                inout("rcx") length => _,
            );
        }
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const c_void, b: *const c_void, length: usize) -> i32 {
    let mut at = 0;
    while at + 8 <= length {
        let [x, y] = [a, b].map(|from| unsafe { from.add(at).cast::<u64>().read_unaligned() });
        if x != y {
            return if x.swap_bytes() < y.swap_bytes() {
                -1
            } else {
                1
            };
        }
        at += 8;
    }
    while at < length {
        // Volatile, so that this does not become a call of itself.
        let [x, y] = [a, b].map(|from| unsafe { from.cast::<u8>().add(at).read_volatile() });
        if x != y {
            return i32::from(x) - i32::from(y);
        }
        at += 1;
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const c_void, b: *const c_void, length: usize) -> i32 {
    unsafe { memcmp(a, b, length) }
}
