//! Where the zone's filter finds what it compares with: the layout of all shared memory, in the filter's
//! terms.

use crate::layout::{
    FD_BASE, FD_COUNT, FD_PARENTS, FD_PERSONALITY, FD_TABLES, JUDGE_END, NR_DOORBELL,
    PERSONALITY_BASE, PERSONALITY_SIZE, TABLES_BASE,
};
use crate::messages::{Approved, COUNT};
use crate::names::{NAMES_MAX, Names, Slot};
use crate::tables::{HOWS_MAX, How, SourceAddress, TABLES_SIZE, Tables};
use core::mem::{offset_of, size_of};
use picozone_syscalls::FilterLayout;

/// The layout, with what becomes of calls that the personality is to serve.
#[must_use]
pub const fn layout(trap: u32) -> FilterLayout {
    const fn at(offset: usize) -> u64 {
        TABLES_BASE + offset as u64
    }
    let hows = at(offset_of!(Tables, hows));
    let names = at(offset_of!(Tables, names) + offset_of!(Names, slots));
    let sources = at(offset_of!(Tables, sources));
    let messages = at(offset_of!(Tables, messages));
    FilterLayout {
        personality: PERSONALITY_BASE..PERSONALITY_BASE + PERSONALITY_SIZE,
        judge: JUDGE_END,
        hows: hows..hows + (HOWS_MAX * size_of::<How>()) as u64,
        empty: at(offset_of!(Tables, empty)),
        sources: sources..sources + (8 * size_of::<SourceAddress>()) as u64,
        messages: messages..messages + (COUNT * size_of::<Approved>()) as u64,
        tables: TABLES_BASE..TABLES_BASE + TABLES_SIZE,
        names: names..names + (NAMES_MAX * size_of::<Slot>()) as u64,
        fd_base: FD_BASE,
        fd_count: FD_COUNT,
        fd_personality: FD_PERSONALITY,
        fd_tables: FD_TABLES,
        fd_parents: FD_PARENTS,
        doorbell: NR_DOORBELL,
        trap,
    }
}
