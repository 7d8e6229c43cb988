//! Commands that cannot be done at once: the connection is set aside, its worker serves others.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use slotward_commands::CommandId;
use slotward_keyspace::Locked;
use slotward_types::Slot;

use crate::admission::View;
use crate::barrier::Inside;
use crate::call::{Exec, Handler, Later, Outcome};
use crate::client::mark;
use crate::connection::{Batch, End};
use crate::execute::{Flow, Wait, slots_of};
use crate::pause::Paused;
use crate::stream::Stream;
use crate::transaction;

/// Waits for what the command at `index` of the group needs, and does it. False if the command is
/// to be tried once more.
pub(crate) async fn wait(
    batch: &mut Batch<'_>,
    stream: &Stream,
    buffer: &[u8],
    index: usize,
    wait: Wait,
) -> Result<bool, End> {
    match wait {
        Wait::Slot(slot) => {
            let (inside, guard) = batch.worker.lock(slot).await;
            resume(batch, buffer, index, inside, Locked::from(guard))
        }
        Wait::Slots => {
            let worker = batch.worker;
            let _several = worker.node.barrier.several().read().await;
            let prepared = batch.scratch.group[index];
            let slots: Vec<Slot> = slots_of(&prepared, &batch.scratch.slots).to_vec();
            let (inside, locked) = worker.lock_all(&slots).await;
            resume(batch, buffer, index, inside, locked)
        }
        Wait::Pause(writes) => {
            batch.flush(stream).await?;
            batch.conn.client.mark(mark::BLOCKED, true);
            batch.worker.node.pause.wait(writes).await;
            batch.conn.client.mark(mark::BLOCKED, false);
            batch.renew()?;
            Ok(false)
        }
        Wait::Exec => {
            if batch.worker.node.pause.of_data() != Paused::Nothing {
                batch.flush(stream).await?;
            }
            transaction::exec(batch).await?;
            Ok(true)
        }
        Wait::Node(id) => {
            // It may take long; what was asked before it is answered now.
            batch.flush(stream).await?;
            batch.renew()?;
            node_command(batch, buffer, index, id).await;
            // It may have changed anything (`SWAPDB`).
            let keyspace = batch.worker.node.keyspace;
            if keyspace.has_ready() {
                batch.conn.unserved = keyspace.ready_slots();
            }
            batch.renew()?;
            Ok(true)
        }
    }
}

fn resume(
    batch: &mut Batch<'_>,
    buffer: &[u8],
    index: usize,
    _inside: Inside<'_>,
    mut locked: Locked<'static>,
) -> Result<bool, End> {
    batch.renew()?;
    let prepared = batch.scratch.group[index];
    let spans = std::mem::take(&mut batch.scratch.spans);
    let slots = std::mem::take(&mut batch.scratch.slots);
    let flow = batch.turn().resume(&prepared, prepared.argv(buffer, &spans), &slots, &mut locked);
    batch.scratch.spans = spans;
    batch.scratch.slots = slots;
    Ok(matches!(flow, Flow::Next))
}

async fn node_command(batch: &mut Batch<'_>, buffer: &[u8], index: usize, id: CommandId) {
    let node = batch.worker.node.clone();
    let prepared = batch.scratch.group[index];
    let spans = std::mem::take(&mut batch.scratch.spans);
    let argv = prepared.argv(buffer, &spans);
    let Exec::Node(handler) = node.commands.hot(id).exec else {
        unreachable!("only commands of the node wait by their nature")
    };
    batch.scratch.effects.clear();
    let start = batch.scratch.reply.len();
    match handler {
        Handler::Now(run) => batch.turn().node_now(id, run, argv, None),
        Handler::Whole(run) => {
            let mut turn = batch.turn();
            node.barrier
                .run(|| {
                    // The role may have changed while the barrier was waited for.
                    let flags = node.commands.hot(id).flags;
                    if turn.node.role.load() != turn.view.word
                        && let Some(refusal) = View::new(&node).refusal(flags)
                    {
                        turn.reject(id, refusal);
                        return;
                    }
                    let outcome = run(&mut turn.node_call(argv, None));
                    turn.settle_node(id, start, outcome, argv);
                })
                .await;
        }
        Handler::Later(run) => {
            let mut turn = batch.turn();
            let outcome = run(&mut turn.node_call(argv, None)).await;
            turn.settle(id, start, outcome, argv);
        }
    }
    batch.scratch.spans = spans;
}

/// The outcome of a handler that has nothing to wait for, since all slots are held.
pub(crate) fn at_once(mut later: Later<'_>) -> Outcome {
    match Pin::new(&mut later).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(slotward_commands::CmdError::text(
            "ERR This command would have to wait, which it cannot inside a transaction",
        )),
    }
}
