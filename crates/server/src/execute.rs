//! Executing commands: gates, routing, locks, the handler, its effects.
//!
//! Everything here runs between two awaits of a connection's task. What cannot be done at once
//! (a slot is taken, several slots are needed, a command waits by its nature) is handed back as a
//! [`Wait`], and the connection does it with an await in the right places (`aside`).
//!
//! **Invariant:** role and ownership are looked at under the lock of the slot; effects are appended
//! to the log before that lock is given up.

use std::rc::Rc;
use std::sync::Arc;

use slotward_commands::{
    Call, CmdError, CommandId, Effects, EventClass, Flags, Found, KeyShape, Removal, take_removals,
};
use slotward_keyspace::{Db, DbIndex, Key, Keyspace, Locked, Notes};
use slotward_resp::{Args, OwnedArgs, Reply, Span};
use slotward_types::Slot;

use crate::admission::{OUT_OF_MEMORY, View};
use crate::call::{Exec, Handler, Hot, NodeCall, Outcome};
use crate::clock::{self, Ticks};
use crate::connection::{Conn, Replies};
use crate::eviction;
use crate::node::Node;
use crate::pause::Paused;
use crate::pubsub;
use crate::tracking;
use crate::worker::{Scratch, Worker};

/// Commands of one connection whose memory is fetched together before they are executed.
pub(crate) const GROUP: usize = 16;

/// A command that has been found in the input and looked up; its arguments lie in the buffers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prepared {
    found: Found,
    /// Its arguments' spans: from, to.
    spans: (u32, u32),
    /// Index of the first byte after it.
    end: usize,
    key: Option<PreparedKey>,
    slots: Slots,
    /// See [`Hot::member`].
    member: u16,
}

/// What was worked out of a key before its command's turn came.
#[derive(Debug, Clone, Copy)]
struct PreparedKey {
    index: u32,
    slot: Slot,
    hash: u64,
}

/// The slots of a command's keys.
#[derive(Debug, Clone, Copy)]
enum Slots {
    None,
    One(Slot),
    /// Several: a range of the scratch's `slots`, ascending.
    Many(u32, u32),
}

impl Prepared {
    /// A command whose arguments are these spans of the scratch, before it is looked up.
    pub(crate) fn at(from: usize, to: usize, end: usize) -> Prepared {
        Prepared {
            found: Found::Unknown,
            spans: (from as u32, to as u32),
            end,
            key: None,
            slots: Slots::None,
            member: 0,
        }
    }

    /// Index of the first span after its own.
    pub(crate) fn spans_end(&self) -> usize {
        self.spans.1 as usize
    }

    /// Index of the first byte after it.
    pub(crate) fn end(&self) -> usize {
        self.end
    }

    /// Whether it looks for a member of a collection, in the one that the other command looks into.
    /// (Different keys of one hash would only fetch in vain.)
    #[inline]
    fn looks_into_same_as(&self, other: &Prepared) -> bool {
        match (self.key, other.key) {
            (Some(key), Some(other)) => self.member != 0 && key.hash == other.hash,
            _ => false,
        }
    }

    /// Its arguments.
    #[inline]
    pub(crate) fn argv<'a>(&self, buffer: &'a [u8], spans: &'a [Span]) -> Args<'a> {
        Args::new(buffer, &spans[self.spans.0 as usize..self.spans.1 as usize])
    }
}

impl PreparedKey {
    fn of(key: &Key<'_>, index: usize) -> PreparedKey {
        PreparedKey { index: index as u32, slot: key.slot, hash: key.hash }
    }

    #[inline]
    fn key<'a>(&self, argv: Args<'a>) -> Key<'a> {
        let bytes = argv.get(self.index as usize).expect("the index was an argument's");
        Key { bytes, slot: self.slot, hash: self.hash }
    }
}

/// Looks up the commands of a group and fetches what they will touch, stage by stage: while one
/// key's line is on its way from memory, the next one's is asked for.
pub(crate) fn prepare(node: &Node, db: DbIndex, buffer: &[u8], scratch: &mut Scratch) {
    let Scratch { group, spans, slots, keys, .. } = scratch;
    for prepared in group.iter_mut() {
        let argv = prepared.argv(buffer, spans);
        prepared.found = node.commands.find(argv);
        let Found::Command(id) = prepared.found else { continue };
        let hot = node.commands.hot(id);
        prepared.member = hot.member;
        match hot.shape {
            KeyShape::None => {}
            KeyShape::One(index) => {
                if let Some(bytes) = argv.get(index as usize) {
                    let key = node.keyspace.key(bytes);
                    node.keyspace.prefetch_slot(db, &key);
                    prepared.key = Some(PreparedKey::of(&key, index as usize));
                    prepared.slots = Slots::One(key.slot);
                }
            }
            _ => prepare_many(node, db, id, argv, prepared, slots, keys),
        }
    }
    // One alone would wait for its memory here instead of there.
    if group.len() < 2 {
        return;
    }
    let stages: [fn(&Keyspace, DbIndex, &Key<'_>); 2] =
        [Keyspace::prefetch_group, Keyspace::prefetch_entry];
    for prefetch in stages {
        for prepared in group.iter() {
            if let Some(key) = prepared.key {
                prefetch(node.keyspace, db, &key.key(prepared.argv(buffer, spans)));
            }
        }
    }
    let mut rest = group.as_slice();
    while let [first, ..] = rest {
        let run = rest.iter().take_while(|prepared| prepared.looks_into_same_as(first)).count();
        // A member alone gains nothing: its own execution would wait just as long.
        if run > 1 {
            prefetch_members(node, db, buffer, spans, &rest[..run]);
        }
        rest = &rest[run.max(1)..];
    }
}

/// Fetches the members that commands will look for, all in the collection at one key.
fn prefetch_members(
    node: &Node,
    db: DbIndex,
    buffer: &[u8],
    spans: &[Span],
    commands: &[Prepared],
) {
    let mut members = smallvec::SmallVec::<[&[u8]; GROUP]>::new();
    for prepared in commands {
        members.extend(prepared.argv(buffer, spans).get(prepared.member.into()));
    }
    if let Some(key) = commands[0].key {
        let key = key.key(commands[0].argv(buffer, spans));
        node.keyspace.prefetch_members(db, &key, &members);
    }
}

fn prepare_many(
    node: &Node,
    db: DbIndex,
    id: CommandId,
    argv: Args<'_>,
    prepared: &mut Prepared,
    slots: &mut Vec<Slot>,
    indexes: &mut Vec<usize>,
) {
    indexes.clear();
    // Arguments that name no keys as they should: the handler will say what is wrong with them.
    if node.commands.registry().keys_of(id, argv, indexes).is_err() {
        return;
    }
    let start = slots.len();
    let mut fetched = smallvec::SmallVec::<[Key<'_>; 32]>::new();
    for (at, index) in indexes.iter().enumerate() {
        let key = node.keyspace.key(&argv[*index]);
        node.keyspace.prefetch_slot(db, &key);
        if at == 0 {
            prepared.key = Some(PreparedKey::of(&key, *index));
        }
        if fetched.len() < 32 {
            fetched.push(key);
        }
        slots.push(key.slot);
    }
    fetched.iter().for_each(|key| node.keyspace.prefetch_group(db, key));
    fetched.iter().for_each(|key| node.keyspace.prefetch_entry(db, key));
    let first = match slots.get(start) {
        Some(first) => *first,
        None => return,
    };
    if slots[start..].iter().all(|slot| *slot == first) {
        slots.truncate(start);
        prepared.slots = Slots::One(first);
        return;
    }
    slots[start..].sort_unstable();
    let mut kept = start;
    for at in start + 1..slots.len() {
        if slots[at] != slots[kept] {
            kept += 1;
            slots[kept] = slots[at];
        }
    }
    slots.truncate(kept + 1);
    prepared.slots = Slots::Many(start as u32, slots.len() as u32);
}

pub(crate) type DataHandler = fn(&mut Call<'_>) -> Outcome;

/// One execution of a data command.
pub(crate) struct DataCall<'a> {
    /// Its number.
    pub(crate) id: CommandId,
    /// Its properties.
    pub(crate) flags: Flags,
    /// Its handler.
    pub(crate) run: DataHandler,
    /// Its arguments.
    pub(crate) argv: Args<'a>,
    /// Its first key.
    pub(crate) key: Option<Key<'a>>,
    /// Its slot, if all its keys lie in one.
    pub(crate) slot: Option<Slot>,
    /// The client whose command it is.
    pub(crate) actor: u64,
}

/// What a command is executed with.
pub(crate) struct Turn<'t> {
    /// The node.
    pub(crate) node: &'t Arc<Node>,
    /// The worker.
    pub(crate) worker: &'t Rc<Worker>,
    /// The connection.
    pub(crate) conn: &'t mut Conn,
    /// What holds for the batch.
    pub(crate) view: &'t View,
    /// Where replies go.
    pub(crate) reply: &'t mut Reply,
    /// Where effects go.
    pub(crate) effects: &'t mut Effects,
    /// When the last command ended.
    pub(crate) last: &'t mut Ticks,
}

/// What became of a command.
#[derive(Debug)]
pub(crate) enum Flow {
    /// It is done, one way or the other.
    Next,
    /// It has to wait for something first.
    Wait(Wait),
    /// Role, epoch or pause are no longer those of the view; nothing was executed.
    Outdated,
}

/// What a command has to wait for.
#[derive(Debug)]
pub(crate) enum Wait {
    /// Its slot, which somebody else holds.
    Slot(Slot),
    /// Several slots.
    Slots,
    /// It waits by its nature.
    Node(CommandId),
    /// It runs the queued commands of a transaction.
    Exec,
    /// A pause; whether it may write.
    Pause(bool),
}

impl Turn<'_> {
    /// Executes one command as far as that is possible at once.
    #[inline]
    pub(crate) fn run(&mut self, prepared: &Prepared, argv: Args<'_>, slots: &[Slot]) -> Flow {
        let Found::Command(id) = prepared.found else {
            return self.unknown(prepared.found, argv);
        };
        let hot = *self.node.commands.hot(id);
        if !hot.arity.admits(argv.len()) {
            return self.reject(id, &self.node.commands.registry().arity_text(id).to_string());
        }
        if !self.conn.authenticated && !hot.flags.has(Flags::NO_AUTH) {
            return self.reject(id, "NOAUTH Authentication required.");
        }
        if self.conn.listening && !hot.flags.has(Flags::WHILE_SUBSCRIBED) && self.conn.is_confined()
        {
            return self.reject_confined(id);
        }
        self.conn.last_command = id.0;
        if self.conn.transaction.is_some() && !hot.flags.has(Flags::NOT_QUEUED) {
            return self.enqueue(id, &hot, prepared, argv, slots);
        }
        match hot.exec {
            Exec::Data(handler) => self.data(id, &hot, handler, prepared, argv, slots),
            Exec::Node(handler) => {
                if let Err(error) = self.route_all(slots_of(prepared, slots), hot.flags) {
                    return self.reject(id, &error.to_string());
                }
                self.node_command(id, &hot, handler, argv)
            }
            Exec::Container => self.container(id, argv),
        }
    }

    #[inline]
    fn data(
        &mut self,
        id: CommandId,
        hot: &Hot,
        run: DataHandler,
        prepared: &Prepared,
        argv: Args<'_>,
        slots: &[Slot],
    ) -> Flow {
        if let Some(refusal) = self.admission(hot.flags) {
            return self.refuse_routed(id, hot.flags, prepared, refusal);
        }
        if let Some(wait) = Self::waits(self.node.pause.of_data(), hot.flags) {
            return Flow::Wait(wait);
        }
        let key = prepared.key.map(|key| key.key(argv));
        let actor = self.conn.client.id;
        let mut data = DataCall { id, flags: hot.flags, run, argv, key, slot: None, actor };
        match prepared.slots {
            Slots::One(slot) => {
                let Some(guard) = self.node.keyspace.try_lock(slot) else {
                    return Flow::Wait(Wait::Slot(slot));
                };
                data.slot = Some(slot);
                self.data_in_slot(&data, slot, &mut Locked::from(guard))
            }
            Slots::None => {
                self.call(&data, &mut Locked::new());
                Flow::Next
            }
            Slots::Many(from, to) => {
                let slots = &slots[from as usize..to as usize];
                let Ok(_several) = self.node.barrier.several().try_read() else {
                    return Flow::Wait(Wait::Slots);
                };
                let Some(mut locked) = try_lock_all(self.node.keyspace, slots) else {
                    return Flow::Wait(Wait::Slots);
                };
                self.data_in_slots(&data, slots, &mut locked)
            }
        }
    }

    #[cold]
    fn reject_confined(&mut self, id: CommandId) -> Flow {
        let name = self.node.commands.registry().full_name(id);
        let text = format!(
            "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
             RESET are allowed in this context"
        );
        self.reject(id, &text)
    }

    /// Why a command with these flags may not be executed, if it may not. Makes room for those that
    /// need memory: no slot is held here.
    #[inline]
    pub(crate) fn admission(&mut self, flags: Flags) -> Option<&'static str> {
        let refusal = self.view.refusal(flags);
        if refusal.is_none() && self.view.limits_memory && flags.has(Flags::DENYOOM) {
            let has_room = eviction::make_room(self.worker, &self.view.live);
            if self.conn.listening {
                // That keys went comes before the reply of the command that they went for.
                self.hear();
            }
            return (!has_room).then_some(OUT_OF_MEMORY);
        }
        refusal
    }

    /// Refuses a command; but where its key lives is said first: another node may well serve it.
    #[cold]
    fn refuse_routed(
        &mut self,
        id: CommandId,
        flags: Flags,
        prepared: &Prepared,
        refusal: &'static str,
    ) -> Flow {
        // The shard changes its master at this moment: who executes the command is known shortly.
        if self.node.pause.is_held() {
            return Flow::Wait(Wait::Pause(true));
        }
        if let Slots::One(slot) = prepared.slots
            && let Err(error) = self.route(slot, flags)
        {
            return self.reject(id, &error.to_string());
        }
        self.reject(id, refusal)
    }

    /// Executes a data command whose one slot is held.
    #[inline]
    fn data_in_slot(
        &mut self,
        data: &DataCall<'_>,
        slot: Slot,
        locked: &mut Locked<'static>,
    ) -> Flow {
        if self.view.is_outdated(self.node) {
            return Flow::Outdated;
        }
        if !self.node.served.contains(slot)
            && let Err(error) = self.route(slot, data.flags)
        {
            return self.reject(data.id, &error.to_string());
        }
        self.call(data, locked);
        Flow::Next
    }

    fn data_in_slots(
        &mut self,
        data: &DataCall<'_>,
        slots: &[Slot],
        locked: &mut Locked<'static>,
    ) -> Flow {
        if self.view.is_outdated(self.node) {
            return Flow::Outdated;
        }
        if let Err(error) = self.route_all(slots, data.flags) {
            return self.reject(data.id, &error.to_string());
        }
        self.call(data, locked);
        Flow::Next
    }

    /// Executes a data command for which everything has been waited for: its slots are `locked`.
    pub(crate) fn resume(
        &mut self,
        prepared: &Prepared,
        argv: Args<'_>,
        slots: &[Slot],
        locked: &mut Locked<'static>,
    ) -> Flow {
        let Found::Command(id) = prepared.found else { return Flow::Next };
        let hot = *self.node.commands.hot(id);
        let Exec::Data(run) = hot.exec else { return Flow::Next };
        if let Some(refusal) = self.view.refusal(hot.flags) {
            return self.refuse_routed(id, hot.flags, prepared, refusal);
        }
        // It may have begun while the slots were waited for.
        if let Some(wait) = Self::waits(self.node.pause.of_data(), hot.flags) {
            return Flow::Wait(wait);
        }
        let key = prepared.key.map(|key| key.key(argv));
        let actor = self.conn.client.id;
        let data = DataCall { id, flags: hot.flags, run, argv, key, slot: None, actor };
        match prepared.slots {
            Slots::One(slot) => {
                self.data_in_slot(&DataCall { slot: Some(slot), ..data }, slot, locked)
            }
            Slots::Many(from, to) => {
                self.data_in_slots(&data, &slots[from as usize..to as usize], locked)
            }
            Slots::None => Flow::Next,
        }
    }

    /// Calls the handler of a data command, appends its effects, counts.
    #[inline]
    fn call(&mut self, data: &DataCall<'_>, locked: &mut Locked<'static>) {
        let start = self.reply.len();
        let outcome = self.call_and_propagate(data, locked);
        if outcome.is_ok()
            && let Some(what) = self.effects.take_wait()
        {
            return self.block(data, *what, start, locked);
        }
        self.settle(data.id, start, outcome, data.argv);
        if self.node.keyspace.has_ready()
            && let Err(missing) = self.serve_waiting(locked)
        {
            self.conn.unserved.extend(missing.ready);
        }
        tracking::flush(self.node);
    }

    /// Calls the handler of a data command and appends its effects.
    #[inline]
    pub(crate) fn call_and_propagate(
        &mut self,
        data: &DataCall<'_>,
        locked: &mut Locked<'static>,
    ) -> Outcome {
        self.effects.clear();
        // Changes only while nobody is inside the barrier, so not before the effects are appended.
        self.effects.set_heard(self.node.replication.wants_writes());
        self.conn.guard(self.view.word);
        let view = self.view;
        let wanted = view.live.data.notify;
        let (outcome, expired, notes, (hits, misses)) = {
            let mut random = self.worker.random.borrow_mut();
            let mut call = Call {
                argv: data.argv,
                db: Db::new(
                    self.node.keyspace,
                    locked,
                    self.conn.db,
                    view.now,
                    view.policy,
                    &view.live.data.limits,
                ),
                reply: &mut *self.reply,
                random: &mut random,
                settings: &view.live.data,
                effects: &mut *self.effects,
                fieldsets: &mut self.conn.fieldsets,
                first_key: data.key,
            };
            call.db.set_actor(data.actor);
            if wanted.intersects(EventClass::NOTED) {
                call.db.note();
            }
            let outcome = (data.run)(&mut call);
            let expired = take_removals(&mut call.db, view.live.data.lazy_free.expire);
            (outcome, expired, call.db.take_notes(), call.db.lookups())
        };
        if self.conn.listening && data.flags.has(Flags::READ) {
            self.remember_read(data);
        }
        if data.flags.has(Flags::READ) {
            self.worker.stats.hits.add(hits.into());
            self.worker.stats.misses.add(misses.into());
        }
        if !wanted.is_none() {
            self.notify(wanted, data, &expired, notes);
        }
        if self.effects.changes() > 0 || self.effects.rewritten().is_some() || !expired.is_empty() {
            self.propagate(data.slot, data.argv, expired);
        }
        outcome
    }

    /// Publishes what happened to keys: those that had run out first, then what was noted on the way,
    /// then what the handler said.
    #[cold]
    fn notify(
        &mut self,
        wanted: EventClass,
        data: &DataCall<'_>,
        expired: &[Removal],
        notes: Notes,
    ) {
        let node = self.node;
        expired.iter().for_each(|removal| pubsub::notify_removal(node, wanted, removal));
        pubsub::notify_notes(node, wanted, notes, data.flags.has(Flags::READ));
        for event in self.effects.events() {
            pubsub::notify(node, wanted, (event.class, event.name), event.db, &event.key);
        }
    }

    /// Appends the effects of the command just executed: keys that had run out first, then what the
    /// handler said, or the command as it came.
    fn propagate(&mut self, slot: Option<Slot>, argv: Args<'_>, removed: Vec<Removal>) {
        let changes = self.effects.changes();
        self.worker.stats.changes.add(changes);
        self.worker.stats.expired.add(removed.len() as u64);
        if !self.node.replication.wants_writes() {
            return;
        }
        let db = self.conn.db;
        if let Some(kept) = &mut self.conn.propagated {
            // Inside a transaction: kept until its end, then appended in one piece.
            kept.extend(removed.into_iter().map(|removal| (removal.db, removal.command)));
            match self.effects.rewritten() {
                Some(commands) => kept.extend(commands.iter().map(|c| (db, c.clone()))),
                None if changes > 0 => kept.push((db, argv.into())),
                None => {}
            }
            return;
        }
        let mut commands: smallvec::SmallVec<[(DbIndex, Args<'_>); 4]> =
            removed.iter().map(|removal| (removal.db, removal.command.as_args())).collect();
        match self.effects.rewritten() {
            Some(rewritten) => commands.extend(rewritten.iter().map(|c| (db, c.as_args()))),
            None if changes > 0 => commands.push((db, argv)),
            None => {}
        }
        if !commands.is_empty() {
            self.conn.last_write = self.node.replication.append(slot, &commands);
        }
    }

    /// Runs one of our own commands that answers at once; hands the others back.
    fn node_command(&mut self, id: CommandId, hot: &Hot, handler: Handler, argv: Args<'_>) -> Flow {
        if let Some(wait) = Self::waits(self.node.pause.now(), hot.flags) {
            return Flow::Wait(wait);
        }
        let refusal = match hot.flags.has(Flags::WRITE) {
            true => self.view.refusal(hot.flags),
            false => self.view.stale_refusal(hot.flags),
        };
        if let Some(refusal) = refusal {
            return self.reject(id, refusal);
        }
        let of_data = hot.flags.has(Flags::READ) || hot.flags.has(Flags::WRITE);
        let may_wait = !matches!(handler, Handler::Now(_));
        if of_data || (may_wait && !hot.flags.has(Flags::STALE)) {
            self.conn.guard(self.view.word);
        }
        match handler {
            Handler::Now(run) => {
                self.node_now(id, run, argv, None);
                if self.conn.exec_asked {
                    self.conn.exec_asked = false;
                    return Flow::Wait(Wait::Exec);
                }
                Flow::Next
            }
            Handler::Whole(_) | Handler::Later(_) => Flow::Wait(Wait::Node(id)),
        }
    }

    /// Runs a handler of ours that does not wait.
    pub(crate) fn node_now(
        &mut self,
        id: CommandId,
        run: fn(&mut NodeCall<'_>) -> Outcome,
        argv: Args<'_>,
        held: Option<&mut Locked<'static>>,
    ) {
        let start = self.reply.len();
        self.effects.clear();
        let outcome = run(&mut self.node_call(argv, held));
        if self.conn.exec_asked {
            // Its reply is yet to come.
            return;
        }
        self.settle_node(id, start, outcome, argv);
    }

    /// What a handler of ours is given.
    pub(crate) fn node_call<'c>(
        &'c mut self,
        argv: Args<'c>,
        held: Option<&'c mut Locked<'static>>,
    ) -> NodeCall<'c> {
        NodeCall {
            argv,
            conn: &mut *self.conn,
            node: self.node,
            worker: self.worker,
            live: &self.view.live,
            reply: &mut *self.reply,
            effects: &mut *self.effects,
            now: self.view.now,
            word: self.view.word,
            held,
        }
    }

    /// Appends the effects of a command of ours and counts it.
    pub(crate) fn settle_node(
        &mut self,
        id: CommandId,
        start: usize,
        outcome: Outcome,
        argv: Args<'_>,
    ) {
        if outcome.is_ok() && (self.effects.changes() > 0 || self.effects.rewritten().is_some()) {
            self.propagate(None, argv, Vec::new());
        }
        self.settle(id, start, outcome, argv);
        tracking::flush(self.node);
    }

    fn waits(paused: Paused, flags: Flags) -> Option<Wait> {
        match paused {
            Paused::Nothing => None,
            Paused::Writes if !flags.has(Flags::WRITE) && !flags.has(Flags::MAY_REPLICATE) => None,
            _ => Some(Wait::Pause(flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE))),
        }
    }

    /// Whether a slot that is not simply served may be used all the same, and if not, the error.
    #[cold]
    fn route(&self, slot: Slot, flags: Flags) -> Result<(), CmdError> {
        let settings = &self.view.live.settings;
        if !settings.cluster_enabled {
            return Ok(());
        }
        let map = self.node.slot_map.load();
        let of_shard_channel = flags.has(Flags::PUBSUB);
        let replica_reads = of_shard_channel
            || (self.conn.readonly && flags.has(Flags::READ) && !flags.has(Flags::WRITE));
        let full_coverage = settings.cluster_require_full_coverage
            && !(of_shard_channel && settings.cluster_allow_pubsubshard_when_down);
        match map.route(slot, replica_reads, full_coverage) {
            slotward_cluster::Route::Serve => Ok(()),
            refusal => {
                let refusal = refusal.seen_at(self.conn.told_host.as_deref());
                Err(CmdError::Other(refusal.to_string().into()))
            }
        }
    }

    /// The same for the slots of a command with several keys.
    fn route_all(&self, slots: &[Slot], flags: Flags) -> Result<(), CmdError> {
        match slots {
            [] => Ok(()),
            [slot] if self.node.served.contains(*slot) => Ok(()),
            [slot] => self.route(*slot, flags),
            _ if self.view.live.settings.cluster_enabled => {
                Err(CmdError::text(slotward_cluster::CROSS_SLOT))
            }
            _ => Ok(()),
        }
    }

    /// The routing of queued commands, under the locks of their slots.
    pub(crate) fn route_held(&self, slots: &[Slot], writes: bool) -> Result<(), CmdError> {
        self.route_all(slots, if writes { Flags::WRITE } else { Flags::READ })
    }

    /// Queues a command of a transaction, after the tests that it would have to pass now.
    fn enqueue(
        &mut self,
        id: CommandId,
        hot: &Hot,
        prepared: &Prepared,
        argv: Args<'_>,
        slots: &[Slot],
    ) -> Flow {
        if matches!(hot.exec, Exec::Container) {
            return self.container(id, argv);
        }
        if hot.flags.has(Flags::NO_MULTI) {
            let text = "ERR Command not allowed inside a transaction";
            return self.reject(id, text);
        }
        let is_data = matches!(hot.exec, Exec::Data(_));
        let routed = match prepared.slots {
            Slots::None => Ok(()),
            Slots::One(slot) => self.route_all(&[slot], hot.flags),
            Slots::Many(from, to) => self.route_all(&slots[from as usize..to as usize], hot.flags),
        };
        if let Err(error) = routed {
            return self.reject(id, &error.to_string());
        }
        if (is_data || hot.flags.has(Flags::WRITE))
            && let Some(refusal) = self.admission(hot.flags)
        {
            return self.reject(id, refusal);
        }
        let transaction = self.conn.transaction.as_mut().expect("MULTI was said");
        transaction.queue(id, OwnedArgs::from(argv));
        let start = self.reply.len();
        self.reply.simple("QUEUED");
        self.hush(start);
        Flow::Next
    }

    #[cold]
    fn unknown(&mut self, found: Found, argv: Args<'_>) -> Flow {
        let text = self.node.commands.registry().unknown_text(found, argv).to_string();
        self.refuse(&text)
    }

    #[cold]
    fn container(&mut self, id: CommandId, argv: Args<'_>) -> Flow {
        if argv.len() < 2 {
            return self.reject(id, &self.node.commands.registry().arity_text(id).to_string());
        }
        self.unknown(Found::UnknownSubcommand(id), argv)
    }

    /// A command that is known is refused before it was executed.
    #[cold]
    pub(crate) fn reject(&mut self, id: CommandId, text: &str) -> Flow {
        self.worker.stats.command(id.index()).rejected.add(1);
        self.refuse(text)
    }

    #[cold]
    fn refuse(&mut self, text: &str) -> Flow {
        if let Some(transaction) = &mut self.conn.transaction {
            transaction.spoil();
        }
        let start = self.reply.len();
        self.worker.stats.on_error(text);
        self.reply.error(text);
        self.hush(start);
        Flow::Next
    }

    /// Ends a command: its error reply, its statistics, the slow log.
    #[inline]
    pub(crate) fn settle(&mut self, id: CommandId, start: usize, outcome: Outcome, argv: Args<'_>) {
        let stats = &self.worker.stats;
        let counters = stats.command(id.index());
        if let Err(error) = outcome {
            self.reply.truncate(start);
            let text = error.to_string();
            stats.on_error(&text);
            counters.failed.add(1);
            self.reply.error(&text);
        }
        stats.commands.add(1);
        counters.calls.add(1);
        let now = Ticks::now();
        let ticks = now.since(*self.last);
        counters.ticks.add(ticks);
        *self.last = now;
        if self.view.live.slow_ticks.is_some_and(|slow| ticks >= slow) {
            self.on_slow(id, ticks, argv);
        }
        self.hush(start);
    }

    #[cold]
    fn on_slow(&mut self, id: CommandId, ticks: u64, argv: Args<'_>) {
        if self.node.commands.hot(id).flags.has(Flags::SKIP_SLOWLOG) {
            return;
        }
        let name = self.conn.client.names.lock().name.clone();
        let entries_max = self.view.live.settings.slowlog_max_len;
        self.node.slow_log.enter(
            usize::try_from(entries_max).unwrap_or(usize::MAX),
            self.view.now.0 / 1000,
            clock::ticks_to_micros(ticks),
            argv,
            &self.conn.client.address,
            &name,
        );
    }

    /// Puts behind the replies what is published for the connection, if something is.
    #[cold]
    pub(crate) fn hear(&mut self) {
        pubsub::hand_on(self.worker);
        if self.conn.mailbox.has_mail() {
            self.conn.mailbox.move_to(self.reply.buffer_mut());
        }
    }

    /// A command of a connection that listens is over.
    #[cold]
    pub(crate) fn after_listener(&mut self) {
        if let Some(tracked) = &mut self.conn.tracked {
            tracked.after_command(self.conn.transaction.is_some());
        }
        self.conn.pushed = false;
        self.hear();
    }

    /// Takes back a reply that the client does not want (`CLIENT REPLY OFF|SKIP`).
    #[inline]
    pub(crate) fn hush(&mut self, start: usize) {
        if self.conn.replies != Replies::On {
            self.hush_cold(start);
        }
    }

    #[cold]
    fn hush_cold(&mut self, start: usize) {
        let start = if std::mem::take(&mut self.conn.pushed) { self.reply.len() } else { start };
        match self.conn.replies {
            Replies::On => {}
            Replies::Off => self.reply.truncate(start),
            // `CLIENT REPLY SKIP` itself is not answered, nor is the command after it.
            Replies::SkipNext => {
                self.reply.truncate(start);
                self.conn.replies = Replies::Skip;
            }
            Replies::Skip => {
                self.reply.truncate(start);
                self.conn.replies = Replies::On;
            }
        }
    }

    /// Runs one queued command of a transaction whose slots are all held.
    pub(crate) fn run_queued(
        &mut self,
        id: CommandId,
        argv: Args<'_>,
        locked: &mut Locked<'static>,
    ) {
        let hot = *self.node.commands.hot(id);
        let start = self.reply.len();
        match hot.exec {
            Exec::Data(run) => {
                let actor = self.conn.client.id;
                let data =
                    DataCall { id, flags: hot.flags, run, argv, key: None, slot: None, actor };
                let outcome = self.call_and_propagate(&data, locked);
                self.settle_quietly(id, start, outcome, argv);
            }
            Exec::Node(Handler::Now(run) | Handler::Whole(run)) => {
                self.effects.clear();
                let outcome = run(&mut self.node_call(argv, Some(locked)));
                self.settle_queued_node(id, start, outcome, argv);
            }
            Exec::Node(Handler::Later(run)) => {
                self.effects.clear();
                let outcome = {
                    let mut call = self.node_call(argv, Some(locked));
                    crate::aside::at_once(run(&mut call))
                };
                self.settle_queued_node(id, start, outcome, argv);
            }
            Exec::Container => unreachable!("a container is not queued"),
        }
    }

    fn settle_queued_node(
        &mut self,
        id: CommandId,
        start: usize,
        outcome: Outcome,
        argv: Args<'_>,
    ) {
        if outcome.is_ok() && (self.effects.changes() > 0 || self.effects.rewritten().is_some()) {
            self.propagate(None, argv, Vec::new());
        }
        self.settle_quietly(id, start, outcome, argv);
    }

    /// Like [`Turn::settle`]; the reply is part of `EXEC`'s and stays.
    fn settle_quietly(&mut self, id: CommandId, start: usize, outcome: Outcome, argv: Args<'_>) {
        let replies = std::mem::replace(&mut self.conn.replies, Replies::On);
        self.settle(id, start, outcome, argv);
        self.conn.replies = replies;
    }
}

/// Locks all these slots (ascending) if none is taken.
pub(crate) fn try_lock_all(keyspace: &'static Keyspace, slots: &[Slot]) -> Option<Locked<'static>> {
    let mut locked = Locked::new();
    for slot in slots {
        locked.push(keyspace.try_lock(*slot)?);
    }
    Some(locked)
}

/// The slots of a prepared command, in ascending order.
pub(crate) fn slots_of<'a>(prepared: &'a Prepared, slots: &'a [Slot]) -> &'a [Slot] {
    match &prepared.slots {
        Slots::None => &[],
        Slots::One(slot) => std::slice::from_ref(slot),
        Slots::Many(from, to) => &slots[*from as usize..*to as usize],
    }
}
