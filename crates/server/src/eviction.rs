//! Making room: which keys go when `maxmemory` is reached.
//!
//! Some keys are drawn, and the best of them for the policy wait in a small pool with those of
//! earlier draws; the best of the pool goes. So few draws come close to the order of all keys.
//! Before a key goes it is looked at again: one that was used meanwhile stays.
//!
//! Who makes room holds no slot and only tries those of its victims.

use std::time::{Duration, Instant};

use slotward_commands::{EventClass, Random, deletion};
use slotward_config::Settings;
use slotward_keyspace::{AccessRule, Db, DbIndex, ExpiryPolicy, Locked};
use slotward_resp::OwnedArgs;
use slotward_types::{Slot, UnixMillis};

use crate::clock;
use crate::live::Live;
use crate::node::Node;
use crate::pubsub;
use crate::tracking;
use crate::worker::Worker;

/// Candidates kept from earlier draws.
const POOL: usize = 16;
/// Draws that find nothing in a row until it is held for said that nothing can go.
const FRUITLESS_MAX: u32 = 64;
/// Slots asked for at once when only keys that expire may go.
const SLOTS_PER_LOOK: usize = 32;

/// What decides who goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// The longest without use, or without change: whichever the rule in force notes.
    Idle,
    /// The least used.
    Count,
    /// The next to expire.
    Expiry,
    /// Chance.
    Random,
}

/// `maxmemory-policy`.
#[derive(Debug, Clone, Copy)]
struct Policy {
    order: Order,
    /// Only keys that expire may go.
    volatile: bool,
}

impl Policy {
    /// The policy of this name; `None` if no key may go.
    fn named(name: &str) -> Option<Policy> {
        let (whose, order) = name.split_once('-')?;
        let order = match order {
            "lru" | "lrm" => Order::Idle,
            "lfu" => Order::Count,
            "ttl" => Order::Expiry,
            _ => Order::Random,
        };
        Some(Policy { order, volatile: whose == "volatile" })
    }
}

/// What a use of a key shall note under this policy.
pub(crate) fn access_rule(settings: &Settings) -> AccessRule {
    let name = settings.maxmemory_policy;
    if name.ends_with("-lfu") {
        AccessRule::Count {
            log_factor: settings.lfu_log_factor,
            decay_minutes: settings.lfu_decay_time,
        }
    } else if name.ends_with("-lrm") {
        AccessRule::LastChange
    } else {
        AccessRule::LastUse
    }
}

/// A key that may be the next to go.
#[derive(Debug)]
struct Candidate {
    /// The higher, the sooner.
    score: u64,
    db: DbIndex,
    key: Box<[u8]>,
}

/// The best candidates of the draws so far, ascending.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    candidates: Vec<Candidate>,
    /// The order they were drawn for.
    order: Option<Order>,
}

impl Pool {
    fn offer(&mut self, score: u64, db: DbIndex, key: &[u8]) {
        let full = self.candidates.len() >= POOL;
        if full && score <= self.candidates[0].score {
            return;
        }
        if self.candidates.iter().any(|known| known.db == db && *known.key == *key) {
            return;
        }
        if full {
            self.candidates.remove(0);
        }
        let at = self.candidates.partition_point(|known| known.score < score);
        self.candidates.insert(at, Candidate { score, db, key: key.into() });
    }
}

/// Removes keys until memory is below the limit. False if it is not and no key may go, so that a
/// command which needs memory is refused. When it takes long it is left for later, which is no
/// failure: `maxmemory-eviction-tenacity` says how long.
pub(crate) fn make_room(worker: &Worker, live: &Live) -> bool {
    let (node, settings) = (&worker.node, &live.settings);
    if node.memory_estimate() <= settings.maxmemory {
        return true;
    }
    let Some(policy) = Policy::named(settings.maxmemory_policy) else { return false };
    if node.expiry_policy() != ExpiryPolicy::Delete {
        // Nothing may be removed at the moment, and so nothing will be added.
        return true;
    }
    let mut pool = worker.evictable.borrow_mut();
    let mut random = worker.random.borrow_mut();
    if pool.order != Some(policy.order) {
        *pool = Pool { order: Some(policy.order), ..Pool::default() };
    }
    let begun = Instant::now();
    let patience = patience(settings.maxmemory_eviction_tenacity);
    let mut round = Round { node, live, policy, pool: &mut pool, random: &mut random };
    let mut fruitless = 0;
    while node.memory_estimate() > settings.maxmemory {
        match round.evict_one() {
            Drawn::Gone => {
                worker.stats.evicted.add(1);
                fruitless = 0;
            }
            Drawn::NoneMayGo => return false,
            Drawn::Missed => fruitless += 1,
        }
        if fruitless == FRUITLESS_MAX {
            return false;
        }
        if patience.is_some_and(|patience| begun.elapsed() > patience) {
            return true;
        }
    }
    true
}

/// How long one command may make room. As Redis: half a millisecond at 10, growing by 15 % per
/// unit from there, without end at 100.
fn patience(tenacity: u32) -> Option<Duration> {
    const AT_TEN_US: f64 = 500.0;
    let us = match tenacity {
        0..=10 => AT_TEN_US * f64::from(tenacity) / 10.0,
        11..=99 => AT_TEN_US * 1.15f64.powi(tenacity as i32 - 10),
        _ => return None,
    };
    Some(Duration::from_micros(us as u64))
}

/// What came of an attempt to remove a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drawn {
    /// A key is gone.
    Gone,
    /// The slots that were tried were held, or had no such key any more.
    Missed,
    /// There is no key that may go.
    NoneMayGo,
}

struct Round<'a> {
    node: &'a Node,
    live: &'a Live,
    policy: Policy,
    pool: &'a mut Pool,
    random: &'a mut Random,
}

impl Round<'_> {
    /// Removes one key, if one is found.
    fn evict_one(&mut self) -> Drawn {
        let any = self.draw();
        while let Some(candidate) = self.pool.candidates.pop() {
            if self.evict(&candidate) {
                return Drawn::Gone;
            }
        }
        if any { Drawn::Missed } else { Drawn::NoneMayGo }
    }

    /// Draws keys and offers them to the pool. False if there are none of the kind.
    fn draw(&mut self) -> bool {
        let wanted = match self.policy.order {
            Order::Random => 1,
            _ => self.live.settings.maxmemory_samples as usize,
        };
        let mut seen = 0;
        let keys: u64 = self.dbs().map(|db| self.node.keyspace.dbsize(db)).sum();
        let crowded = 4 * keys / Slot::COUNT as u64 + 2;
        // A slot may be empty by now, or held, or without keys of this kind.
        for _ in 0..8 * wanted + 8 {
            if seen >= wanted {
                break;
            }
            let Some((db, slot)) = self.place() else { return seen > 0 };
            let Some(guard) = self.node.keyspace.try_lock(slot) else { continue };
            let mut locked = Locked::from(guard);
            let (order, pool) = (self.policy.order, &mut *self.pool);
            let random = self.random.next_u64();
            let mut held = view(self.node, self.live, db, &mut locked);
            // Slots are drawn alike, so one with few keys is passed over the more often: every key
            // shall have the same chance.
            let here = held.slot_len(slot) as u64;
            if random % crowded >= here {
                continue;
            }
            seen += held.sample(
                slot,
                random >> 16,
                (wanted - seen).min(here.div_ceil(8) as usize),
                self.policy.volatile,
                &mut |sampled| {
                    let score =
                        score(order, sampled.idle_seconds, sampled.count, sampled.expires_at);
                    pool.offer(score, db, sampled.key);
                },
            );
        }
        true
    }

    fn dbs(&self) -> impl Iterator<Item = DbIndex> + use<> {
        (0..self.node.keyspace.databases()).map(DbIndex)
    }

    /// A database that has keys which may go, and a slot that is likely to have some of them.
    fn place(&mut self) -> Option<(DbIndex, Slot)> {
        let keyspace = self.node.keyspace;
        let volatile = self.policy.volatile;
        let count =
            |db: DbIndex| if volatile { keyspace.volatile_keys(db) } else { keyspace.dbsize(db) };
        let total: u64 = self.dbs().map(count).sum();
        if total == 0 {
            return None;
        }
        let mut nth = self.random.below(total);
        let db = self.dbs().find(|db| {
            let here = count(*db);
            let found = nth < here;
            nth = nth.saturating_sub(here);
            found
        })?;
        let from = Slot::new(self.random.below(Slot::COUNT as u64)).ok()?;
        if volatile {
            let mut slots = Vec::new();
            keyspace.slots_due(UnixMillis(i64::MAX), from, SLOTS_PER_LOOK, &mut slots);
            let index = self.random.below(slots.len().max(1) as u64) as usize;
            return Some((db, *slots.get(index)?));
        }
        keyspace
            .next_used_slot(db, from)
            .or_else(|| keyspace.next_used_slot(db, Slot::ZERO))
            .map(|slot| (db, slot))
    }

    /// Removes a candidate. False if it is not what it was any more.
    fn evict(&mut self, candidate: &Candidate) -> bool {
        let keyspace = self.node.keyspace;
        let key = keyspace.key(&candidate.key);
        let Some(guard) = keyspace.try_lock(key.slot) else { return false };
        let mut locked = Locked::from(guard);
        let order = self.policy.order;
        let mut held = view(self.node, self.live, candidate.db, &mut locked);
        let Some(info) = held.object_info(&key) else {
            // Its time had come: room was made all the same.
            return self.node.propagate_expired(&mut held) > 0;
        };
        let expires_at = held.expires_at(&key).flatten();
        let idle = u32::try_from(info.idle_seconds).unwrap_or(u32::MAX);
        let score = score(order, idle, info.use_count, expires_at);
        if score < candidate.score || (self.policy.volatile && expires_at.is_none()) {
            return false;
        }
        let gone = held.remove(&key);
        if gone && self.node.replication.wants_writes() {
            let command: OwnedArgs =
                [deletion(self.live.data.lazy_free.eviction), key.bytes].into_iter().collect();
            let effect = [(candidate.db, command.as_args())];
            self.node.replication.append(Some(key.slot), &effect);
        }
        if gone {
            let event = (EventClass::EVICTED, "evicted");
            pubsub::notify(self.node, self.live.data.notify, event, candidate.db, key.bytes);
            tracking::flush(self.node);
        }
        gone
    }
}

fn view<'d>(node: &Node, live: &'d Live, db: DbIndex, locked: &'d mut Locked<'static>) -> Db<'d> {
    let limits = &live.data.limits;
    Db::new(node.keyspace, locked, db, clock::unix_now(), ExpiryPolicy::Delete, limits)
}

fn score(order: Order, idle_seconds: u32, count: u8, expires_at: Option<UnixMillis>) -> u64 {
    match order {
        Order::Idle => idle_seconds.into(),
        Order::Count => u64::from(u8::MAX - count),
        Order::Expiry => u64::MAX - expires_at.map_or(i64::MAX as u64, |at| at.0.max(0) as u64),
        Order::Random => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_keeps_the_best() {
        let mut pool = Pool::default();
        for score in 0..100u64 {
            // Some order that is neither up nor down.
            let score = score * 37 % 100;
            pool.offer(score, DbIndex(0), &score.to_le_bytes());
            pool.offer(score, DbIndex(0), &score.to_le_bytes());
        }
        let scores: Vec<u64> = pool.candidates.iter().map(|candidate| candidate.score).collect();
        assert_eq!(scores, (84..100).collect::<Vec<_>>());
    }

    #[test]
    fn patience_is_that_of_redis() {
        for (tenacity, us) in [(0, Some(0)), (10, Some(500)), (11, Some(575)), (100, None)] {
            assert_eq!(patience(tenacity), us.map(Duration::from_micros));
        }
    }

    #[test]
    fn policies_by_name() {
        assert!(Policy::named("noeviction").is_none());
        let policy = Policy::named("volatile-lrm").unwrap();
        assert!(policy.volatile && policy.order == Order::Idle);
        assert_eq!(Policy::named("allkeys-random").unwrap().order, Order::Random);
    }
}
