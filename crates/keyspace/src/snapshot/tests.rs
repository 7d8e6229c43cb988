//! Whatever happens, a snapshot gets what was there at its beginning, each key once.

use std::collections::BTreeMap;

use proptest::prelude::*;
use slotward_types::UnixMillis;

use super::*;
use crate::{Db, DbSet, Detached, EncodingLimits, ExpiryPolicy, Locked, SetExpiry, ValueRef};

const DATABASES: u16 = 3;
const NOW: UnixMillis = UnixMillis(1000);

/// What a database is expected to hold: a number at each key, as a string or as a list's length.
type Contents = BTreeMap<(DbIndex, Vec<u8>), (u64, Option<UnixMillis>)>;

#[derive(Default)]
struct Collected(Mutex<Contents>);

impl SnapshotSink for Collected {
    fn group(&self, db: DbIndex, entries: &mut dyn Iterator<Item = EntryRef<'_>>) {
        for entry in entries {
            let number = match entry.value {
                ValueRef::String(string) => string.as_int().unwrap() as u64,
                ValueRef::List(list) => list.len() as u64,
                other => panic!("nobody put a {other:?}"),
            };
            let twice = self.0.lock().insert((db, entry.key.into()), (number, entry.expires_at));
            assert!(twice.is_none(), "{db:?} {:?} came twice", entry.key);
        }
    }
}

struct Walked {
    id: SnapshotId,
    cursor: WalkCursor,
    sink: Arc<Collected>,
    want: Contents,
}

struct World {
    keyspace: Keyspace,
    limits: EncodingLimits,
    model: Contents,
    running: Vec<Walked>,
    detached: Vec<Detached>,
}

#[derive(Debug, Clone)]
enum Step {
    Put(DbIndex, u16, u32),
    Push(DbIndex, u16),
    Edit(DbIndex, u16),
    Expire(DbIndex, u16, i64),
    Remove(DbIndex, u16),
    Fill(DbIndex, u16, u16),
    Clear(DbIndex, u16, u16),
    Begin,
    Walk(usize, usize),
    Abandon(usize),
    Flush(DbSet),
    Swap(DbIndex, DbIndex),
    DropDetached,
}

/// Most keys share one slot, so that its table splits and merges; the others are spread.
fn name(number: u16) -> Vec<u8> {
    if number.is_multiple_of(8) { format!("{number}") } else { format!("{{tag}}{number}") }
        .into_bytes()
}

impl World {
    fn new() -> Self {
        World {
            keyspace: Keyspace::new(DATABASES, 99),
            limits: EncodingLimits::default(),
            model: Contents::new(),
            running: Vec::new(),
            detached: Vec::new(),
        }
    }

    fn with<R>(
        &self,
        index: DbIndex,
        name: &[u8],
        act: impl FnOnce(&mut Db<'_>, &crate::Key<'_>) -> R,
    ) -> R {
        let key = self.keyspace.key(name);
        let mut locked = Locked::from(self.keyspace.try_lock(key.slot).unwrap());
        let mut db =
            Db::new(&self.keyspace, &mut locked, index, NOW, ExpiryPolicy::Ignore, &self.limits);
        act(&mut db, &key)
    }

    fn put(&mut self, db: DbIndex, number: u16, value: u32) {
        let text = value.to_string();
        let at = value.is_multiple_of(3).then_some(UnixMillis(i64::from(value)));
        let expiry = at.map_or(SetExpiry::Clear, SetExpiry::At);
        self.with(db, &name(number), |db, key| db.set_string(key, text.as_bytes(), expiry));
        self.model.insert((db, name(number)), (u64::from(value), at));
    }

    fn remove(&mut self, db: DbIndex, number: u16) {
        let removed = self.with(db, &name(number), |db, key| db.remove(key));
        assert_eq!(removed, self.model.remove(&(db, name(number))).is_some());
    }

    fn push(&mut self, index: DbIndex, number: u16) {
        let pushed = self.with(index, &name(number), |db, key| {
            let limits = db.limits();
            let Ok(list) = db.list_or_new(key) else { return None };
            list.push_back(b"element", limits);
            Some((list.len() as u64, db.expires_at(key).unwrap()))
        });
        if let Some(state) = pushed {
            self.model.insert((index, name(number)), state);
        }
    }

    fn edit(&mut self, index: DbIndex, number: u16) {
        let edited = self.with(index, &name(number), |db, key| {
            db.string_edit(key, |bytes| {
                bytes.truncate(4);
                bytes.insert(0, b'1');
                String::from_utf8(bytes.clone()).unwrap().parse::<u64>().unwrap()
            })
        });
        if let Ok(value) = edited {
            self.model.entry((index, name(number))).or_default().0 = value;
        }
    }

    fn expire(&mut self, index: DbIndex, number: u16, at: i64) {
        let at = (at % 2 == 0).then_some(UnixMillis(at));
        let set = self.with(index, &name(number), |db, key| db.set_expires_at(key, at));
        match self.model.get_mut(&(index, name(number))) {
            Some(state) => state.1 = at,
            None => assert!(!set),
        }
    }

    fn begin(&mut self) {
        let sink = Arc::new(Collected::default());
        let id = self.keyspace.begin_snapshot(sink.clone());
        let want = self.model.clone();
        self.running.push(Walked { id, cursor: WalkCursor::default(), sink, want });
    }

    fn walk(&mut self, which: usize, budget: usize) {
        let Some(index) = which.checked_rem(self.running.len()) else { return };
        let walked = &mut self.running[index];
        if self.keyspace.walk_snapshot(walked.id, &mut walked.cursor, budget) {
            let done = self.running.swap_remove(index);
            self.keyspace.end_snapshot(done.id);
            assert_eq!(*done.sink.0.lock(), done.want);
        }
    }

    fn flush(&mut self, dbs: DbSet) {
        self.detached.push(self.keyspace.flush(dbs));
        self.model.retain(|(db, _), _| dbs != DbSet::All && dbs != DbSet::One(*db));
    }

    fn swap(&mut self, a: DbIndex, b: DbIndex) {
        self.keyspace.swap_dbs(a, b, UnixMillis(0));
        let renamed = |db| {
            if db == a {
                b
            } else if db == b {
                a
            } else {
                db
            }
        };
        let model = std::mem::take(&mut self.model);
        self.model = model.into_iter().map(|((db, key), v)| ((renamed(db), key), v)).collect();
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Put(db, key, value) => self.put(db, key, value),
            Step::Push(db, key) => self.push(db, key),
            Step::Edit(db, key) => self.edit(db, key),
            Step::Expire(db, key, at) => self.expire(db, key, at),
            Step::Remove(db, key) => self.remove(db, key),
            Step::Fill(db, from, count) => {
                (from..from + count).for_each(|key| self.put(db, key, u32::from(count)));
            }
            Step::Clear(db, from, count) => {
                (from..from + count).for_each(|key| self.remove(db, key));
            }
            // More at once than this would not fit the numbers of the test.
            Step::Begin if self.running.len() < 6 => self.begin(),
            Step::Begin => {}
            Step::Walk(which, budget) => self.walk(which, budget),
            Step::Abandon(which) => {
                if let Some(index) = which.checked_rem(self.running.len()) {
                    self.keyspace.end_snapshot(self.running.swap_remove(index).id);
                }
            }
            Step::Flush(dbs) => self.flush(dbs),
            Step::Swap(a, b) => self.swap(a, b),
            Step::DropDetached => self.detached.clear(),
        }
    }

    fn finish(mut self) {
        while !self.running.is_empty() {
            self.walk(0, 7);
        }
        let state = self.keyspace.snapshots.state.read();
        assert!(state.handed.is_empty(), "nobody needs what was flushed any more");
        drop(state);
        let total: u64 = (0..DATABASES).map(|db| self.keyspace.dbsize(DbIndex(db))).sum();
        assert_eq!(total, self.model.len() as u64);
        drop(self.keyspace.flush(DbSet::All));
        assert_eq!(self.keyspace.memory_used(), 0);
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let db = || prop_oneof![4 => Just(DbIndex(0)), 1 => (0..DATABASES).prop_map(DbIndex)];
    let key = || 0..400u16;
    let step = prop_oneof![
        8 => (db(), key(), any::<u32>()).prop_map(|(db, key, value)| Step::Put(db, key, value)),
        2 => (db(), key()).prop_map(|(db, key)| Step::Push(db, key)),
        2 => (db(), key()).prop_map(|(db, key)| Step::Edit(db, key)),
        2 => (db(), key(), 0..9000i64).prop_map(|(db, key, at)| Step::Expire(db, key, at)),
        6 => (db(), key()).prop_map(|(db, key)| Step::Remove(db, key)),
        4 => (db(), key(), 0..150u16).prop_map(|(db, from, count)| Step::Fill(db, from, count)),
        4 => (db(), key(), 0..250u16).prop_map(|(db, from, count)| Step::Clear(db, from, count)),
        4 => Just(Step::Begin),
        8 => (any::<usize>(), 1..60usize).prop_map(|(which, budget)| Step::Walk(which, budget)),
        1 => any::<usize>().prop_map(Step::Abandon),
        1 => db().prop_map(|db| Step::Flush(DbSet::One(db))),
        1 => Just(Step::Flush(DbSet::All)),
        1 => (db(), db()).prop_map(|(a, b)| Step::Swap(a, b)),
        1 => Just(Step::DropDetached),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 192 }))]

    #[test]
    fn a_snapshot_is_the_state_at_its_beginning(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }
}

#[test]
fn numbers_start_over_while_snapshots_run() {
    let mut world = World::new();
    (0..100).for_each(|key| world.put(DbIndex(0), key, 1));
    world.begin();
    for round in 0..3 * u32::from(NUMBER_MAX) {
        world.put(DbIndex(0), (round % 100) as u16, round);
        world.begin();
        world.walk(0, 3);
        if world.running.len() > 5 {
            let last = world.running.pop().unwrap();
            world.keyspace.end_snapshot(last.id);
        }
    }
    world.finish();
}

#[test]
fn an_ended_snapshot_gets_nothing_more() {
    let mut world = World::new();
    world.put(DbIndex(0), 1, 1);
    world.begin();
    let mut ended = world.running.pop().unwrap();
    world.keyspace.end_snapshot(ended.id);
    world.put(DbIndex(0), 1, 2);
    assert!(world.keyspace.walk_snapshot(ended.id, &mut ended.cursor, 100));
    assert!(ended.sink.0.lock().is_empty());
}

/// The walk and the writers on threads of their own: everything at once, on the same slots.
#[test]
fn walks_beside_writers_see_one_state() {
    let mut world = World::new();
    (0..400).for_each(|key| world.put(DbIndex(0), key, 6));
    for _ in 0..if cfg!(miri) { 1 } else { 20 } {
        world.begin();
        let Walked { id, mut cursor, sink, want } = world.running.pop().unwrap();
        let (keyspace, limits) = (&world.keyspace, &world.limits);
        std::thread::scope(|scope| {
            for writer in 0..3u16 {
                scope.spawn(move || {
                    for round in 0..400u16 {
                        let name = name(round * 7 % 400);
                        let key = keyspace.key(&name);
                        let mut locked = Locked::from(keyspace.lock_blocking(key.slot));
                        let policy = ExpiryPolicy::Ignore;
                        let mut db =
                            Db::new(keyspace, &mut locked, DbIndex(0), NOW, policy, limits);
                        match (round + writer) % 3 {
                            0 => drop(db.remove(&key)),
                            _ => db.set_integer(&key, i64::from(round), SetExpiry::Keep),
                        }
                    }
                });
            }
            while !keyspace.walk_snapshot(id, &mut cursor, 5) {}
        });
        world.keyspace.end_snapshot(id);
        assert_eq!(*sink.0.lock(), want);
        // The writers left something else behind: begin the next round from what is known.
        drop(world.keyspace.flush(DbSet::All));
        world.model.clear();
        (0..400).for_each(|key| world.put(DbIndex(0), key, 6));
    }
}
