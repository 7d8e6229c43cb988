//! What a node does by itself: removes keys whose time has come, closes idle connections, samples
//! its rates.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use slotward_keyspace::{Db, DbIndex, ExpiryPolicy, Locked};
use slotward_types::Slot;

use crate::blocking;
use crate::clock;
use crate::eviction;
use crate::node::Node;
use crate::worker::Worker;

/// Between two looks for keys whose time has come, and two samples of the rates.
const PERIOD: Duration = Duration::from_millis(100);
/// At a stretch, before other connections of the worker have a turn.
const STRETCH: Duration = Duration::from_micros(500);
/// Of each period, per unit of `active-expire-effort`.
const BUDGET_PER_EFFORT: Duration = Duration::from_micros(2500);
/// Keys looked at in one slot before its lock is given up.
const KEYS_PER_LOCK: usize = 64;
/// Slots asked for at once.
const SLOTS_PER_LOOK: usize = 128;

/// Runs the node's timers, on one of its workers.
pub(crate) async fn run(worker: Rc<Worker>) {
    let mut ticker = tokio::time::interval(PERIOD);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut from = Slot::ZERO;
    let mut ticks = 0u64;
    loop {
        ticker.tick().await;
        ticks += 1;
        let node = &worker.node;
        node.stats.sample(clock::unix_now().0);
        let garbage = node.keyspace.take_garbage();
        if !garbage.is_empty() {
            node.garbage.drop_all_later(garbage);
        }
        let limited = node.live.load().settings.maxmemory > 0;
        if limited || ticks.is_multiple_of(10) {
            node.measure_memory();
        }
        if ticks.is_multiple_of(10) {
            close_idle(&worker);
            check_mailboxes(node);
        }
        // Whoever makes a key ready serves those who wait for it; a master that could not write
        // then does it now, as does anybody who should have and did not.
        if node.keyspace.has_ready() {
            blocking::serve_aside(&worker, node.keyspace.ready_slots()).await;
        }
        // Only a master removes keys: its replicas hear of it from the log.
        let word = node.role.load();
        if node.active_expiry.load(Ordering::Relaxed)
            && node.expiry_policy() == ExpiryPolicy::Delete
            && node.role.holds_lease(word)
        {
            expire(&worker, &mut from).await;
            if limited {
                // What the last command that needed memory left for later.
                let _inside = worker.participant.enter();
                eviction::make_room(&worker, &node.live.load());
            }
        }
    }
}

/// Removes due keys, for as long as the budget of this period allows.
async fn expire(worker: &Rc<Worker>, from: &mut Slot) {
    let effort = worker.node.live.load().settings.active_expire_effort;
    let budget = BUDGET_PER_EFFORT * effort;
    let mut spent = Duration::ZERO;
    let mut due = Vec::new();
    while spent < budget {
        let begun = Instant::now();
        due.clear();
        let now = clock::unix_now();
        worker.node.keyspace.slots_due(now, *from, SLOTS_PER_LOOK, &mut due);
        let mut removed = 0;
        for slot in &due {
            removed += expire_slot(worker, *slot);
            *from = Slot::new(u64::from(slot.get()) + 1).unwrap_or(Slot::ZERO);
            if begun.elapsed() > STRETCH {
                break;
            }
        }
        spent += begun.elapsed();
        // Slots that are busy, or whose hints were too early, are for the next period.
        if removed == 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Removes due keys of one slot, if nobody else holds it.
fn expire_slot(worker: &Rc<Worker>, slot: Slot) -> usize {
    let node = &worker.node;
    let _inside = worker.participant.enter();
    let Some(guard) = node.keyspace.try_lock(slot) else { return 0 };
    let mut locked = Locked::from(guard);
    if node.expiry_policy() != ExpiryPolicy::Delete {
        return 0;
    }
    let live = node.live.load();
    let mut db = Db::new(
        node.keyspace,
        &mut locked,
        DbIndex(0),
        clock::unix_now(),
        ExpiryPolicy::Delete,
        &live.data.limits,
    );
    db.expire_due(slot, KEYS_PER_LOCK);
    let removed = node.propagate_expired(&mut db);
    worker.stats.expired.add(removed as u64);
    removed
}

/// Ends connections that have been silent for longer than `timeout`.
fn close_idle(worker: &Rc<Worker>) {
    use crate::client::mark;
    let timeout = worker.node.live.load().settings.timeout;
    if timeout == 0 {
        return;
    }
    let oldest = clock::unix_now().0 - i64::try_from(timeout).unwrap_or(i64::MAX / 2000) * 1000;
    for client in worker.node.clients.all() {
        let exempt = [mark::REPLICA, mark::MASTER, mark::BLOCKED, mark::SUBSCRIBED]
            .into_iter()
            .any(|exempt| client.is(exempt));
        if !exempt && client.last_active.load(Ordering::Relaxed) < oldest {
            tracing::debug!(client = client.id, "closing an idle connection");
            client.kill();
        }
    }
}

/// Ends subscribers that have not read for too long what was published for them.
fn check_mailboxes(node: &Arc<Node>) {
    if !node.pubsub.has_subscribers() && !node.tracking.is_used() {
        return;
    }
    for worker in 0..node.worker_count() {
        node.spawn_on(worker, |worker| async move {
            let limit = worker.node.live.load().settings.client_output_buffer_limit.pubsub;
            worker.local.borrow().check(&limit);
        });
    }
}
