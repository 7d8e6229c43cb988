//! `MULTI`, `EXEC`, `WATCH`: queued commands that run as one.
//!
//! **Invariant:** while a transaction runs, it holds the slots of all its commands and of all
//! watched keys; what it propagates is one contiguous piece of the log.

use slotward_commands::{CmdError, CommandId, Flags};
use slotward_keyspace::{Db, DbIndex, Locked};
use slotward_resp::OwnedArgs;
use slotward_types::Slot;

use crate::admission::View;
use crate::client::mark;
use crate::clock;
use crate::connection::{Batch, End, Watched};
use crate::execute::try_lock_all;
use crate::node::Node;
use crate::tracking;

/// What has been queued since `MULTI`.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    queue: Vec<(CommandId, OwnedArgs)>,
    spoiled: bool,
}

impl Transaction {
    /// Queues a command.
    pub(crate) fn queue(&mut self, id: CommandId, args: OwnedArgs) {
        // The rest of a transaction that cannot succeed need not be kept.
        if !self.spoiled {
            self.queue.push((id, args));
        }
    }

    /// A command could not be queued: `EXEC` will refuse.
    pub(crate) fn spoil(&mut self) {
        self.spoiled = true;
        self.queue = Vec::new();
    }

    /// How many commands are queued.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";

/// What a transaction needs before it can run.
struct Needs {
    /// The slots of its keys, ascending: what the cluster must have given to this node.
    routed: Vec<Slot>,
    /// These and the slots of the watched keys, ascending: what is held.
    slots: Vec<Slot>,
    /// Whether one of its commands is about more than its keys.
    whole: bool,
    /// Properties of all its commands together, as far as they decide whether it may run.
    flags: Flags,
    /// Properties that each of its commands has.
    common: Flags,
}

/// Runs the queued commands.
pub(crate) async fn exec(batch: &mut Batch<'_>) -> Result<(), End> {
    let transaction = batch.conn.transaction.take().unwrap_or_default();
    let watched = std::mem::take(&mut batch.conn.watched);
    batch.conn.end_transaction();
    if transaction.spoiled {
        refuse(batch, ABORTED);
        return Ok(());
    }
    let node = batch.worker.node.clone();
    let needs = needs(&node, &transaction, &watched);
    let writes = needs.flags.has(Flags::WRITE) || needs.flags.has(Flags::MAY_REPLICATE);
    loop {
        batch.conn.client.mark(mark::BLOCKED, true);
        node.pause.wait_if(writes).await;
        batch.conn.client.mark(mark::BLOCKED, false);
        if batch.view.limits_memory && needs.flags.has(Flags::WRITE) {
            let worker = batch.worker;
            let _inside = worker.participant.enter();
            if let Some(text) = batch.turn().admission(needs.flags) {
                refuse(batch, &because_of(text));
                return Ok(());
            }
        }
        if attempt(batch, &transaction, &watched, &needs, writes).await? {
            return Ok(());
        }
    }
}

/// Waits for what the transaction needs and runs it. False if a pause has begun meanwhile: nothing
/// was executed.
async fn attempt(
    batch: &mut Batch<'_>,
    transaction: &Transaction,
    watched: &[Watched],
    needs: &Needs,
    writes: bool,
) -> Result<bool, End> {
    let node = batch.worker.node.clone();
    if needs.whole {
        let all: Vec<Slot> = Slot::all().collect();
        batch.renew()?;
        let has_run = node
            .barrier
            .run_when(|| {
                if node.pause.stops(writes) {
                    return Some(false);
                }
                let mut locked = try_lock_all(node.keyspace, &all)?;
                run(batch, transaction, watched, needs, &mut locked);
                Some(true)
            })
            .await;
        batch.renew()?;
        return Ok(has_run);
    }
    let worker = batch.worker;
    let _several = match needs.slots.len() {
        0 | 1 => None,
        _ => Some(node.barrier.several().read().await),
    };
    let (_inside, mut locked) = worker.lock_all(&needs.slots).await;
    batch.renew()?;
    // It begins in the barrier, so not from here on.
    if node.pause.stops(writes) {
        return Ok(false);
    }
    run(batch, transaction, watched, needs, &mut locked);
    Ok(true)
}

fn refuse(batch: &mut Batch<'_>, text: &str) {
    batch.worker.stats.on_error(text);
    batch.scratch.reply.error(text);
}

fn because_of(refusal: &str) -> String {
    format!("EXECABORT Transaction discarded because of: {refusal}")
}

fn needs(node: &Node, transaction: &Transaction, watched: &[Watched]) -> Needs {
    let registry = node.commands.registry();
    let mut needs = Needs {
        routed: Vec::new(),
        slots: Vec::new(),
        whole: false,
        flags: Flags::NONE,
        common: Flags::STALE,
    };
    let mut indexes = Vec::new();
    for (id, args) in &transaction.queue {
        let argv = args.as_args();
        indexes.clear();
        // Arguments that name no keys as they should make the command fail when its turn comes.
        if registry.keys_of(*id, argv, &mut indexes).is_ok() {
            let slots = indexes.iter().map(|index| slotward_types::slot_of(&argv[*index]));
            needs.routed.extend(slots);
        }
        let hot = node.commands.hot(*id);
        needs.flags = needs.flags.and(hot.flags);
        if !hot.flags.has(Flags::STALE) {
            needs.common = Flags::NONE;
        }
        needs.whole |= hot.exec.is_about_more_than_keys();
    }
    let watched = watched.iter().map(|watched| slotward_types::slot_of(&watched.key));
    needs.slots = needs.routed.iter().copied().chain(watched).collect();
    for slots in [&mut needs.routed, &mut needs.slots] {
        slots.sort_unstable();
        slots.dedup();
    }
    needs
}

/// Runs a transaction whose slots are all held.
fn run(
    batch: &mut Batch<'_>,
    transaction: &Transaction,
    watched: &[Watched],
    needs: &Needs,
    locked: &mut Locked<'static>,
) {
    if batch.view.is_outdated(&batch.worker.node) {
        // The role changed while the slots were waited for, or a pause has ended. What was executed
        // before, in the old role, may not be answered in the new one.
        let word = batch.view.word;
        if word.is_managed() && batch.worker.node.role.load() != word {
            batch.conn.client.kill();
            return;
        }
        batch.view = View::new(&batch.worker.node);
    }
    notice_expired(batch, watched, locked);
    let mut turn = batch.turn();
    if watched.iter().any(|watched| watched.watch.is_dirty()) {
        turn.reply.null_array();
        return;
    }
    let is_write = needs.flags.has(Flags::WRITE);
    let touches_data = is_write || needs.flags.has(Flags::READ);
    let refusal = match touches_data {
        true => turn.view.refusal(needs.flags),
        false => turn.view.stale_refusal(needs.common),
    };
    let refused = refusal
        .map(because_of)
        .or_else(|| turn.route_held(&needs.routed, is_write).err().map(|error| error.to_string()));
    if let Some(text) = refused {
        turn.worker.stats.on_error(&text);
        turn.reply.error(&text);
        return;
    }
    turn.reply.array(transaction.len());
    turn.conn.propagated = Some(Vec::new());
    for (id, args) in &transaction.queue {
        turn.run_queued(*id, args.as_args(), locked);
    }
    let propagated = turn.conn.propagated.take().expect("it was set before the first command");
    if !propagated.is_empty() {
        let commands: Vec<(DbIndex, _)> =
            propagated.iter().map(|(db, args)| (*db, args.as_args())).collect();
        let slot = if needs.slots.len() == 1 && !needs.whole { Some(needs.slots[0]) } else { None };
        turn.conn.last_write = turn.node.replication.append(slot, &commands);
    }
    tracking::flush(turn.node);
    if turn.node.keyspace.has_ready() {
        // It may have taken long.
        batch.view.now = clock::unix_now();
        if let Err(missing) = batch.turn().serve_waiting(locked) {
            batch.conn.unserved.extend(missing.ready);
        }
    }
}

/// A watched key whose time came meanwhile has changed: looking at it makes its watch notice.
fn notice_expired(batch: &Batch<'_>, watched: &[Watched], locked: &mut Locked<'static>) {
    if watched.is_empty() {
        return;
    }
    let view = &batch.view;
    let node = &batch.worker.node;
    let limits = &view.live.data.limits;
    let mut db = Db::new(node.keyspace, locked, DbIndex(0), view.now, view.policy, limits);
    for watched in watched {
        db.select(watched.db);
        let key = db.key(&watched.key);
        db.exists(&key);
    }
    node.propagate_expired(&mut db);
}

/// `EXEC` and `DISCARD` need a transaction.
pub(crate) fn without_multi(command: &str) -> CmdError {
    CmdError::Other(format!("ERR {command} without MULTI").into())
}
