//! Where ports of other zones lie, as far as this zone has asked: the way back. What comes from there
//! shows to guests as the other zone's address and port.

use super::plan::Row;
use super::rows::Rows;

/// How many slots of a shared table are for such rows, at most.
const SLOTS_MAX: usize = 16;

/// The rows, by slot; the oldest goes first.
#[derive(Default)]
pub(super) struct Remote {
    rows: Vec<Row>,
    next: usize,
}

impl Remote {
    /// How many of the first slots are for them.
    pub(super) fn slots(table: &dyn Rows) -> usize {
        SLOTS_MAX.min(table.capacity() / 64)
    }

    /// Tells the guests of a row.
    pub(super) fn tell(&mut self, table: &dyn Rows, row: Row) {
        let slots = Self::slots(table);
        let is_of_place = |known: &Row| known.protocol == row.protocol && known.host == row.host;
        let slot = match self.rows.iter().position(is_of_place) {
            Some(slot) if self.rows.get(slot) == Some(&row) => return,
            Some(slot) => slot,
            None if self.rows.len() < slots => self.rows.len(),
            None => {
                self.next = (self.next + 1) % slots.max(1);
                self.next
            }
        };
        if slot >= slots {
            return;
        }
        match self.rows.get_mut(slot) {
            Some(place) => *place = row,
            None => self.rows.push(row),
        }
        table.write(slot, Some(&row));
    }
}
