//! Applying a master's stream: the same commands, without the gates that clients pass.

use std::rc::Rc;
use std::task::Waker;

use slotward_commands::{Call, Command, EventClass, Fieldsets, Found, KeyShape};
use slotward_keyspace::{Db, DbIndex, ExpiryPolicy, Key, Locked};
use slotward_resp::Args;
use slotward_types::{Slot, UnixMillis, slot_of};

use crate::blocking;
use crate::call::{Exec, Handler, NodeCall, Outcome};
use crate::client::Client;
use crate::clock;
use crate::connection::Conn;
use crate::execute::try_lock_all;
use crate::live::Live;
use crate::pubsub;
use crate::tracking;
use crate::worker::{Lent, Worker};

/// Applies commands of a master's stream: what has arrived at one time.
pub(crate) struct Applier<'w> {
    worker: &'w Rc<Worker>,
    live: std::sync::Arc<Live>,
    lent: Lent,
    now: UnixMillis,
}

/// What a unit of commands needs before it can run.
struct Needs {
    slots: Vec<Slot>,
    /// Whether one of the commands is about the whole keyspace.
    whole: bool,
}

impl<'w> Applier<'w> {
    /// With the settings and the time of this moment.
    pub(crate) fn new(worker: &'w Rc<Worker>) -> Self {
        let live = worker.node.live.load_full();
        Applier { worker, live, lent: worker.lend(), now: clock::unix_now() }
    }

    /// Runs commands as one, all slots of their keys held. `after` is called while they are still
    /// held: what it appends to the log stands where the effects took place.
    pub(crate) async fn apply(&mut self, commands: &[(DbIndex, Args<'_>)], after: impl FnOnce()) {
        if let [(db, argv)] = commands
            && let Some(key) = self.only_key(*argv)
        {
            let (_inside, guard) = self.worker.lock(key.slot).await;
            let mut locked = Locked::from(guard);
            self.run(*db, *argv, Some(key), &mut locked);
            self.serve_waiting(&mut locked);
            return after();
        }
        let needs = self.needs(commands);
        let node = &self.worker.node;
        if needs.whole {
            let mut after = Some(after);
            node.barrier
                .run_when(|| {
                    let mut locked = try_lock_all(node.keyspace, &needs.slots)?;
                    self.run_all(commands, &mut locked);
                    after.take().map(|after| after())
                })
                .await;
            return;
        }
        let _several = match needs.slots.len() {
            0 | 1 => None,
            _ => Some(node.barrier.several().read().await),
        };
        let (_inside, mut locked) = self.worker.lock_all(&needs.slots).await;
        self.run_all(commands, &mut locked);
        after();
    }

    /// The key of a data command that always has exactly one.
    fn only_key<'a>(&self, argv: Args<'a>) -> Option<Key<'a>> {
        let node = &self.worker.node;
        let Found::Command(id) = node.commands.find(argv) else { return None };
        let hot = node.commands.hot(id);
        match (hot.exec, hot.shape) {
            (Exec::Data(_), KeyShape::One(index)) => {
                argv.get(usize::from(index)).map(|bytes| node.keyspace.key(bytes))
            }
            _ => None,
        }
    }

    fn needs(&self, commands: &[(DbIndex, Args<'_>)]) -> Needs {
        let table = &self.worker.node.commands;
        let (mut needs, mut indexes) = (Needs { slots: Vec::new(), whole: false }, Vec::new());
        for (_, argv) in commands {
            let Found::Command(id) = table.find(*argv) else { continue };
            indexes.clear();
            if table.registry().keys_of(id, *argv, &mut indexes).is_ok() {
                needs.slots.extend(indexes.iter().map(|index| slot_of(&argv[*index])));
            }
            let whole = Exec::is_about_more_than_keys;
            needs.whole |= whole(&table.hot(id).exec);
        }
        needs.slots.sort_unstable();
        needs.slots.dedup();
        needs
    }

    fn run_all(&mut self, commands: &[(DbIndex, Args<'_>)], locked: &mut Locked<'static>) {
        commands.iter().for_each(|(db, argv)| self.run(*db, *argv, None, locked));
        self.serve_waiting(locked);
    }

    /// Readers may wait on a replica too (`XREAD`).
    fn serve_waiting(&self, locked: &mut Locked<'static>) {
        if self.worker.node.keyspace.has_ready() {
            // Nobody who only reads needs more than the slot of its key: nothing is missing.
            drop(blocking::serve(self.worker, locked));
        }
    }

    fn run(
        &mut self,
        db: DbIndex,
        argv: Args<'_>,
        first_key: Option<Key<'_>>,
        locked: &mut Locked<'static>,
    ) {
        let node = &self.worker.node;
        let Found::Command(id) = node.commands.find(argv) else {
            tracing::warn!(command = ?argv, "the master sent a command that is not known here");
            return;
        };
        let hot = *node.commands.hot(id);
        let row: &'static Command = node.commands.registry().command(id);
        if !hot.arity.admits(argv.len()) {
            tracing::warn!(command = row.name, "the master sent a command of a wrong length");
            return;
        }
        let outcome = match hot.exec {
            Exec::Data(handler) => self.data(handler, db, argv, first_key, locked),
            Exec::Node(Handler::Whole(run) | Handler::Now(run)) => self.node(run, db, argv, locked),
            Exec::Node(Handler::Later(_)) | Exec::Container => Ok(()),
        };
        if let Err(error) = outcome {
            // The master executed it, so this copy may differ from its own from here on.
            tracing::error!(command = row.name, %error, "a command of the master failed here");
        }
        self.worker.stats.command(id.index()).calls.add(1);
        self.worker.stats.commands.add(1);
        self.lent.reply.truncate(0);
        self.lent.effects.clear();
        tracking::flush(node);
    }

    fn data(
        &mut self,
        handler: fn(&mut Call<'_>) -> Outcome,
        db: DbIndex,
        argv: Args<'_>,
        first_key: Option<Key<'_>>,
        locked: &mut Locked<'static>,
    ) -> Outcome {
        let mut random = self.worker.random.borrow_mut();
        let lent = &mut *self.lent;
        // A master sends hashes, not what they were made from.
        let mut fieldsets = Fieldsets::default();
        lent.effects.set_wanted(self.live.data.notify);
        let mut call = Call {
            argv,
            db: Db::new(
                self.worker.node.keyspace,
                locked,
                db,
                self.now,
                ExpiryPolicy::Ignore,
                &self.live.data.limits,
            ),
            reply: &mut lent.reply,
            random: &mut random,
            settings: &self.live.data,
            effects: &mut lent.effects,
            fieldsets: &mut fieldsets,
            first_key,
        };
        let wanted = self.live.data.notify;
        if wanted.intersects(EventClass::NOTED) {
            call.db.note();
        }
        let outcome = handler(&mut call);
        let notes = call.db.take_notes();
        drop(call);
        let node = &self.worker.node;
        pubsub::notify_notes(node, wanted, notes, false);
        for event in lent.effects.events() {
            pubsub::notify(node, wanted, (event.class, event.name), event.db, &event.key);
        }
        outcome
    }

    fn node(
        &mut self,
        run: fn(&mut NodeCall<'_>) -> Outcome,
        db: DbIndex,
        argv: Args<'_>,
        locked: &mut Locked<'static>,
    ) -> Outcome {
        let mut conn = Conn::new(Client::of_the_master(), true, Waker::noop().clone());
        conn.db = db;
        let lent = &mut *self.lent;
        run(&mut NodeCall {
            argv,
            conn: &mut conn,
            node: &self.worker.node,
            worker: self.worker,
            live: &self.live,
            reply: &mut lent.reply,
            effects: &mut lent.effects,
            now: self.now,
            word: self.worker.node.role.load(),
            held: Some(locked),
        })
    }
}
