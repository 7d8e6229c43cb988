//! Keys drawn from a slot, for those who choose which to evict.

use slotward_types::{Slot, UnixMillis};

use super::Db;
use crate::entry::{Entry, EntryView, VOLATILE};
use crate::table::{Thin, home_of};

/// Homes looked at in search of keys that expire, before the slot is given up.
const HOMES_MAX: usize = 128;

/// A key that was drawn.
#[derive(Debug, Clone, Copy)]
pub struct Sampled<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Seconds since its last use, or last change, as the rule in force has it.
    pub idle_seconds: u32,
    /// Its counter of uses, if the rule in force counts.
    pub count: u8,
    /// When it ends, if it does.
    pub expires_at: Option<UnixMillis>,
}

impl Db<'_> {
    /// Shows up to `wanted` keys of the slot that stand together at a place which the random number
    /// chooses; with `volatile`, only such as have an expiry. Returns how many. Due keys are shown
    /// too.
    pub fn sample(
        &mut self,
        slot: Slot,
        random: u64,
        wanted: usize,
        volatile: bool,
        visit: &mut dyn FnMut(Sampled<'_>),
    ) -> usize {
        self.settle();
        let Some(table) = self.table_at(self.index, slot).filter(|table| table.homes() > 0) else {
            return 0;
        };
        let homes = table.homes();
        let first = home_of(homes, random);
        let mut shown = 0;
        for step in 0..homes.min(HOMES_MAX as u32) {
            let home = (first + step) % homes;
            let eligible = |raw: &u64| !volatile || raw & VOLATILE != 0;
            let count = table.raws(home).filter(eligible).count();
            // Not always the first of a chain.
            let skipped = if step == 0 { (random >> 32) as usize % count.max(1) } else { 0 };
            for raw in table.raws(home).filter(eligible).skip(skipped) {
                // SAFETY: the entry is in a table whose slot is held.
                let entry: EntryView<'_> = unsafe { <Entry as Thin>::view(raw) };
                visit(Sampled {
                    key: entry.key(),
                    idle_seconds: self.clock.idle_seconds(entry.access()),
                    count: self.clock.count(entry.access()),
                    expires_at: entry.expires_at(),
                });
                shown += 1;
                if shown == wanted {
                    return shown;
                }
            }
        }
        shown
    }
}
