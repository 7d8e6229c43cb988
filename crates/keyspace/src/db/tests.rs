//! The view: reading, writing, expiry, accounting, watches.

use proptest::prelude::*;

use super::*;
use crate::value::{Str, Value, WrongType};
use crate::{DbSet, Encoding, StrBuf, Watch};

/// A keyspace with a way to act on one key at a time.
struct World {
    keyspace: Keyspace,
    limits: EncodingLimits,
    now: UnixMillis,
    policy: ExpiryPolicy,
}

impl World {
    fn new() -> Self {
        World {
            keyspace: Keyspace::new(3, 42),
            limits: EncodingLimits::default(),
            now: UnixMillis(1_000_000),
            policy: ExpiryPolicy::Delete,
        }
    }

    fn with<R>(&self, key: &str, act: impl FnOnce(&mut Db<'_>, &Key<'_>) -> R) -> R {
        self.with_in(DbIndex(0), key, act)
    }

    fn with_in<R>(
        &self,
        db: DbIndex,
        key: &str,
        act: impl FnOnce(&mut Db<'_>, &Key<'_>) -> R,
    ) -> R {
        let key = self.keyspace.key(key.as_bytes());
        let mut locked = Locked::from(self.keyspace.try_lock(key.slot).unwrap());
        let mut db = Db::new(&self.keyspace, &mut locked, db, self.now, self.policy, &self.limits);
        act(&mut db, &key)
    }

    fn set(&self, key: &str, value: &str, expiry: SetExpiry) {
        self.with(key, |db, key| db.set_string(key, value.as_bytes(), expiry));
    }

    fn get(&self, key: &str) -> Option<String> {
        self.with(key, |db, key| {
            let value = db.string(key).unwrap()?;
            Some(String::from_utf8(value.to_vec()).unwrap())
        })
    }

    fn remove(&self, key: &str) -> bool {
        self.with(key, |db, key| db.remove(key))
    }

    fn memory(&self) -> u64 {
        self.keyspace.memory_used()
    }
}

fn at(millis: i64) -> SetExpiry {
    SetExpiry::At(UnixMillis(millis))
}

#[test]
fn strings_are_set_read_and_removed() {
    let world = World::new();
    let long = "x".repeat(5000);
    for value in ["", "a", "12", "-12", "012", "hello", &long, &"y".repeat(1024)] {
        world.set("key", value, SetExpiry::Clear);
        assert_eq!(world.get("key").as_deref(), Some(value));
        assert_eq!(world.keyspace.dbsize(DbIndex(0)), 1);
    }
    world.with("n", |db, key| db.set_integer(key, -3, SetExpiry::Clear));
    assert_eq!(world.get("n").as_deref(), Some("-3"));
    world.with("n", |db, key| {
        assert!(matches!(db.string(key), Ok(Some(Str::Int(-3)))));
        assert_eq!(db.object_info(key).unwrap().encoding, Encoding::Int);
    });
    assert!(world.remove("key") && world.remove("n") && !world.remove("n"));
    assert_eq!((world.memory(), world.keyspace.dbsize(DbIndex(0))), (0, 0));
    assert_eq!(world.keyspace.used_slots(DbIndex(0)).count(), 0);
}

#[test]
fn edits_work_in_place_whatever_the_length() {
    let world = World::new();
    let append = |text: &str| {
        world.with("k", |db, key| {
            db.string_edit(key, |bytes| {
                bytes.extend_from_slice(text.as_bytes());
                bytes.len()
            })
        })
    };
    assert_eq!(append("12"), Ok(2));
    world.with("k", |db, key| db.set_expires_at(key, Some(UnixMillis(2_000_000))));
    assert_eq!(append("x"), Ok(3));
    assert_eq!(append(&"y".repeat(2000)), Ok(2003));
    assert_eq!(append("z"), Ok(2004));
    assert_eq!(world.get("k").unwrap(), format!("12x{}z", "y".repeat(2000)));
    world.with("k", |db, key| {
        assert_eq!(db.expires_at(key), Some(Some(UnixMillis(2_000_000))), "the expiry is kept");
        db.string_edit(key, |bytes| bytes.truncate(3)).unwrap();
        db.set_expires_at(key, None);
    });
    assert_eq!(world.get("k").as_deref(), Some("12x"));
    assert!(world.remove("k"));
    assert_eq!(world.memory(), 0);
}

#[test]
fn a_set_decides_over_the_expiry() {
    let world = World::new();
    for (why, first, second, want) in [
        ("cleared", at(2_000_000), SetExpiry::Clear, None),
        ("kept", at(2_000_000), SetExpiry::Keep, Some(2_000_000)),
        ("none to keep", SetExpiry::Clear, SetExpiry::Keep, None),
        ("replaced", at(2_000_000), at(3_000_000), Some(3_000_000)),
        ("given", SetExpiry::Clear, at(3_000_000), Some(3_000_000)),
    ] {
        world.set("k", "v", first);
        world.set("k", "w", second);
        let have = world.with("k", |db, key| db.expires_at(key));
        assert_eq!(have, Some(want.map(UnixMillis)), "{why}");
        assert_eq!(world.keyspace.volatile_keys(DbIndex(0)), u64::from(want.is_some()), "{why}");
        world.remove("k");
        assert_eq!(world.keyspace.volatile_keys(DbIndex(0)), 0, "{why}");
    }
}

#[test]
fn an_expired_key_is_treated_by_policy() {
    for (policy, visible, removed) in [
        (ExpiryPolicy::Delete, false, true),
        (ExpiryPolicy::Hide, false, false),
        (ExpiryPolicy::Ignore, true, false),
    ] {
        let mut world = World::new();
        world.set("k", "v", at(1_000_000));
        assert!(world.get("k").is_some(), "not yet: it ends after that millisecond");
        world.now = UnixMillis(1_000_001);
        world.policy = policy;
        world.with("k", |db, key| {
            assert_eq!(db.exists(key), visible, "{policy:?}");
            assert_eq!(db.value(key).is_some(), visible, "{policy:?}");
            assert_eq!(db.expires_at(key).is_some(), visible, "{policy:?}");
            assert_eq!(db.random_in_slot(key.slot, 1).is_some(), visible, "{policy:?}");
            assert_eq!(db.values(&[*key, *key]).iter().flatten().count(), 2 * usize::from(visible));
            let expired = db.take_expired();
            assert_eq!(expired.len(), usize::from(removed), "{policy:?}");
            assert!(expired.iter().all(|(db, name)| *db == DbIndex(0) && &**name == b"k"));
            assert_eq!(db.slot_len(key.slot), usize::from(!removed), "{policy:?}");
            assert_eq!(db.lookups(), if visible { (5, 0) } else { (0, 5) });
        });
    }
}

#[test]
fn writing_over_an_expired_key_begins_anew() {
    for policy in [ExpiryPolicy::Delete, ExpiryPolicy::Hide] {
        let mut world = World::new();
        world.policy = policy;
        world.set("k", "v", at(1_000_000));
        world.now = UnixMillis(1_000_001);
        world.with("k", |db, key| db.list_or_new(key).map(drop)).unwrap();
        assert_eq!(world.keyspace.dbsize(DbIndex(0)), 1, "{policy:?}");
        world.with("k", |db, key| assert_eq!(db.expires_at(key), Some(None), "{policy:?}"));
        world.set("k", "v", at(1_000_000));
        world.with("k", |db, key| db.string_edit(key, |bytes| bytes.push(b'n'))).unwrap();
        assert_eq!(world.get("k").as_deref(), Some("n"), "{policy:?}");
    }
    let mut world = World::new();
    world.set("k", "v", at(1_000_000));
    world.now = UnixMillis(1_000_001);
    world.with("k", |db, key| {
        db.set_string(key, b"w", SetExpiry::Keep);
        assert_eq!(db.expires_at(key), Some(None), "there was nothing to keep");
        assert_eq!(db.take_expired().len(), 1);
    });
}

#[test]
fn types_are_told_apart() {
    let world = World::new();
    world.set("s", "v", SetExpiry::Clear);
    world.with("s", |db, key| {
        assert_eq!(db.list(key).err(), Some(WrongType));
        assert_eq!(db.hash_mut(key).err(), Some(WrongType));
        assert_eq!(db.zset_or_new(key).err(), Some(WrongType));
        assert!(db.set(&db.key(b"s").clone()).is_err());
    });
    world.with("l", |db, key| {
        assert!(db.list_mut(key).unwrap().is_none());
        let limits = db.limits();
        db.list_or_new(key).unwrap().push_back(b"a", limits);
        assert_eq!(db.list(key).unwrap().unwrap().len(), 1);
        assert_eq!(db.string(key).err(), Some(WrongType));
        assert_eq!(db.string_edit(key, |_| ()).err(), Some(WrongType));
        assert!(!db.remove_if_empty(key));
        assert_eq!(db.value(key).unwrap().type_name(), "list");
        db.list_mut(key).unwrap().unwrap().pop_front();
        assert!(db.remove_if_empty(key));
        assert!(!db.exists(key));
    });
}

#[test]
fn memory_follows_collections_as_they_are_changed() {
    let world = World::new();
    let fill = |db: &mut Db<'_>, key: &Key<'_>, count: u32| {
        let limits = db.limits();
        let set = db.set_or_new(key).unwrap();
        (0..count).for_each(|number| {
            set.insert(format!("member {number}").as_bytes(), limits);
        });
    };
    world.with("big", |db, key| fill(db, key, 10));
    let small = world.memory();
    world.with("big", |db, key| fill(db, key, 5000));
    assert!(world.memory() > small + 5000 * 11, "members are counted");
    world.with("big", |db, key| {
        let info = db.object_info(key).unwrap();
        assert!(world.memory() >= info.memory_bytes as u64);
    });
    assert!(world.remove("big"));
    assert_eq!(world.memory(), 0);
    assert_eq!(world.keyspace.take_garbage().len(), 1, "large values are left to others");
    assert_eq!(world.keyspace.take_garbage().len(), 0);
}

#[test]
fn values_are_taken_and_put_back() {
    let world = World::new();
    world.with("l", |db, key| {
        let limits = db.limits();
        db.list_or_new(key).unwrap().push_back(b"a", limits);
        db.set_expires_at(key, Some(UnixMillis(2_000_000)));
        let (value, at) = db.take(key).unwrap();
        assert_eq!(at, Some(UnixMillis(2_000_000)));
        assert!(db.take(key).is_none());
        db.insert(key, value, at);
        assert_eq!(db.list(key).unwrap().unwrap().len(), 1);
        assert_eq!(db.expires_at(key), Some(at));
        db.insert(key, Value::String(StrBuf::from_bytes(b"7")), None);
        assert_eq!(db.string(key).unwrap().unwrap().as_int(), Some(7));
        assert_eq!(db.expires_at(key), Some(None));
    });
}

#[test]
fn databases_are_apart_and_swap() {
    let world = World::new();
    let (zero, two) = (DbIndex(0), DbIndex(2));
    world.set("a", "in zero", SetExpiry::Clear);
    world.with_in(two, "b", |db, key| db.set_string(key, b"in two", at(5_000_000)));
    let counts = |db| (world.keyspace.dbsize(db), world.keyspace.volatile_keys(db));
    assert_eq!((counts(zero), counts(two)), ((1, 0), (1, 1)));
    let memory = world.memory();
    world.keyspace.swap_dbs(zero, two, world.now);
    assert_eq!((counts(zero), counts(two)), ((1, 1), (1, 0)));
    assert_eq!(world.get("a"), None);
    assert_eq!(world.get("b").as_deref(), Some("in two"));
    assert_eq!(
        world.keyspace.used_slots(zero).collect::<Vec<_>>(),
        [world.keyspace.key(b"b").slot]
    );
    world.keyspace.swap_dbs(two, DbIndex(1), world.now);
    world.keyspace.swap_dbs(DbIndex(1), DbIndex(1), world.now);
    assert_eq!(world.memory(), memory);
    assert!(!world.keyspace.flush(DbSet::One(DbIndex(1))).is_empty());
    assert_eq!((counts(zero).0, counts(DbIndex(1)).0), (1, 0));
    assert!(!world.keyspace.flush(DbSet::All).is_empty());
    assert!(world.keyspace.flush(DbSet::All).is_empty());
    assert_eq!((world.memory(), world.get("b")), (0, None));
}

#[test]
fn a_loaded_keyspace_takes_the_place() {
    let world = World::new();
    world.set("old", "1", SetExpiry::Clear);
    world.set("both", "1", SetExpiry::Clear);
    let loaded = World { keyspace: world.keyspace.new_alike(), ..World::new() };
    loaded.set("both", "2", at(900_000));
    loaded.with_in(DbIndex(2), "new", |db, key| db.set_string(key, b"2", SetExpiry::Clear));
    let memory = loaded.memory();
    let watches = ["old", "both", "absent"].map(|name| {
        let key = world.keyspace.key(name.as_bytes());
        world.keyspace.watch(&world.keyspace.try_lock(key.slot).unwrap(), DbIndex(0), &key)
    });
    assert!(!world.keyspace.replace(&loaded.keyspace).is_empty());
    assert_eq!(watches.map(|watch| watch.is_dirty()), [true, true, false]);
    assert_eq!((world.memory(), loaded.memory()), (memory, 0));
    let mut due = Vec::new();
    world.keyspace.slots_due(world.now, Slot::ZERO, 9, &mut due);
    assert_eq!(due, [world.keyspace.key(b"both").slot]);
    assert_eq!(world.get("old"), None);
    world.with_in(DbIndex(2), "new", |db, key| assert!(db.exists(key)));
    assert_eq!(loaded.keyspace.dbsize(DbIndex(2)), 0);
}

#[test]
fn watches_see_changes_of_their_key_only() {
    type Act = fn(&mut Db<'_>, &Key<'_>);
    let rows: [(&str, Act, bool); 10] = [
        ("set", |db, key| db.set_string(key, b"v", SetExpiry::Keep), true),
        ("read", |db, key| assert!(db.value(key).is_some()), false),
        ("removed", |db, key| assert!(db.remove(key)), true),
        ("edited", |db, key| db.string_edit(key, |_| ()).unwrap(), true),
        ("expiry set", |db, key| assert!(db.set_expires_at(key, Some(UnixMillis(9 << 40)))), true),
        (
            "another",
            |db, key| db.set_string(&Key { bytes: b"{k}2", ..*key }, b"", SetExpiry::Clear),
            false,
        ),
        (
            "another database",
            |db, key| {
                db.select(DbIndex(1));
                db.set_string(key, b"v", SetExpiry::Clear);
            },
            false,
        ),
        (
            "made",
            |db, key| {
                db.remove(key);
                db.set_or_new(key).unwrap();
            },
            true,
        ),
        ("of another type", |db, key| drop(db.list_mut(key)), false),
        (
            "expired",
            |db, key| {
                db.set_expires_at(key, Some(UnixMillis(1)));
                db.take_expired();
                assert!(!db.exists(key));
            },
            true,
        ),
    ];
    for (why, act, dirty) in rows {
        let world = World::new();
        world.set("k", "v", SetExpiry::Clear);
        let key = world.keyspace.key(b"k");
        let guard = world.keyspace.try_lock(key.slot).unwrap();
        let watch = world.keyspace.watch(&guard, DbIndex(0), &key);
        let ended = world.keyspace.watch(&guard, DbIndex(0), &key);
        drop((guard, ended));
        world.with("k", act);
        assert_eq!(watch.is_dirty(), dirty, "{why}");
    }
    let world = World::new();
    let key = world.keyspace.key(b"s");
    world.with("s", |db, key| drop(db.set_or_new(key)));
    let watch = world.keyspace.watch(&world.keyspace.try_lock(key.slot).unwrap(), DbIndex(0), &key);
    world.with("s", |db, key| {
        db.set_mut(key).unwrap().unwrap();
        db.unchanged();
    });
    assert!(!watch.is_dirty(), "lent, but said to be unchanged");
    world.with("s", |db, key| drop(db.set_mut(key)));
    assert!(watch.is_dirty());
}

#[test]
fn flushed_and_swapped_databases_dirty_the_keys_they_had() {
    let world = World::new();
    world.set("k", "v", SetExpiry::Clear);
    let watch = |name: &str| {
        let key = world.keyspace.key(name.as_bytes());
        world.keyspace.watch(&world.keyspace.try_lock(key.slot).unwrap(), DbIndex(0), &key)
    };
    let (had, absent) = (watch("k"), watch("other"));
    drop(world.keyspace.flush(DbSet::One(DbIndex(1))));
    assert!(!had.is_dirty(), "another database");
    world.keyspace.swap_dbs(DbIndex(0), DbIndex(1), world.now);
    assert!(had.is_dirty() && !absent.is_dirty());
    let comes_back = watch("k");
    world.keyspace.swap_dbs(DbIndex(0), DbIndex(1), world.now);
    assert!(comes_back.is_dirty(), "it exists in the database that came");
    let flushed = watch("k");
    drop(world.keyspace.flush(DbSet::All));
    assert!(flushed.is_dirty() && !absent.is_dirty());
}

#[test]
fn due_keys_are_found_by_slot_in_all_databases() {
    let mut world = World::new();
    for number in 0..100 {
        world.set(&format!("{{tag}}{number}"), "v", at(2_000_000 + number));
    }
    world.set("{tag}stays", "v", SetExpiry::Clear);
    world.with_in(DbIndex(2), "{tag}x", |db, key| db.set_string(key, b"v", at(2_000_010)));
    let slot = world.keyspace.key(b"{tag}").slot;
    let due = |now| {
        let mut slots = Vec::new();
        world.keyspace.slots_due(UnixMillis(now), Slot::new(16_383).unwrap(), 5, &mut slots);
        slots
    };
    assert_eq!((due(2_000_000), due(2_000_001)), (vec![], vec![slot]));
    world.now = UnixMillis(2_000_050);
    let mut removed = 0;
    world.with("{tag}", |db, _| {
        // A few at a time; keys set meanwhile are not forgotten.
        removed += db.expire_due(slot, 10);
        assert!(removed < 50);
        db.set_string(&db.key(b"{tag}later"), b"v", SetExpiry::At(UnixMillis(2_000_040)));
    });
    for _ in 0..100 {
        removed += world.with("{tag}", |db, _| {
            let count = db.expire_due(slot, 10);
            assert_eq!(db.take_expired().len(), count);
            count
        });
    }
    assert_eq!(removed, 52, "fifty, one in another database, one that came later");
    let mut slots = Vec::new();
    world.keyspace.slots_due(world.now, Slot::ZERO, 5, &mut slots);
    assert!(slots.is_empty());
    world.keyspace.slots_due(UnixMillis(2_000_051), Slot::ZERO, 5, &mut slots);
    assert_eq!(slots, [slot]);
    world.policy = ExpiryPolicy::Hide;
    world.now = UnixMillis(3_000_000);
    assert_eq!(world.with("{tag}", |db, _| db.expire_due(slot, 1000)), 0);
}

#[test]
#[should_panic(expected = "without being held")]
fn a_slot_that_is_not_held_is_not_touched() {
    World::new().with("a", |db, _| db.exists(&db.key(b"b")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 32 }))]

    /// Whatever happens, the counts are those of what is there.
    #[test]
    fn counts_are_exact(steps in prop::collection::vec((0..40u8, 0..7u8, 0..2000usize), 1..300)) {
        let world = World::new();
        let mut model = std::collections::BTreeMap::new();
        for (key, step, len) in steps {
            let name = format!("{{x}}{key}");
            world.with(&name, |db, key| match step {
                0 => { db.remove(key); model.remove(&name); }
                1 => { db.set_expires_at(key, (len % 2 == 0).then_some(UnixMillis(9_000_000))); }
                2 => {
                    db.set_string(key, &vec![b'v'; len], SetExpiry::Keep);
                    model.insert(name.clone(), len);
                }
                3 => {
                    let _ = db.string_edit(key, |bytes| bytes.resize(len, b'e'));
                    model.insert(name.clone(), len);
                }
                4 => {
                    db.set_string(key, &vec![b'v'; len % 60], at(8_000_000));
                    model.insert(name.clone(), len % 60);
                }
                5 => {
                    db.remove(key);
                    let limits = db.limits();
                    let list = db.list_or_new(key).unwrap();
                    (0..len % 300).for_each(|_| list.push_back(b"element", limits));
                    if db.remove_if_empty(key) { model.remove(&name); } else { model.insert(name.clone(), 0); }
                }
                _ => { let _ = db.exists(key); }
            });
        }
        prop_assert_eq!(world.keyspace.dbsize(DbIndex(0)), model.len() as u64);
        let mut volatile = 0;
        world.with("{x}", |db, key| {
            let mut cursor = 0;
            loop {
                cursor = db.scan_slot(key.slot, cursor, &mut |e| volatile += u64::from(e.expires_at.is_some()));
                if cursor == 0 { break; }
            }
        });
        prop_assert_eq!(world.keyspace.volatile_keys(DbIndex(0)), volatile);
        for name in model.keys() {
            world.remove(name);
        }
        prop_assert_eq!(world.keyspace.memory_used(), 0);
        prop_assert_eq!(world.keyspace.volatile_keys(DbIndex(0)), 0);
    }
}

fn with_fields(world: &World, key: &str, ends: &[(&str, Option<i64>)]) {
    world.with(key, |db, key| {
        let limits = db.limits();
        let hash = db.hash_or_new(key).unwrap();
        for (field, at) in ends {
            hash.insert(field.as_bytes(), b"v", limits);
            hash.set_field_expiry(field.as_bytes(), at.map(UnixMillis));
        }
    });
}

fn fields(world: &World, key: &str) -> Option<usize> {
    world.with(key, |db, key| db.hash(key).unwrap().map(Hash::len))
}

#[test]
fn fields_whose_time_came_are_never_seen() {
    let mut world = World::new();
    let now = world.now.0;
    with_fields(&world, "h", &[("a", Some(now)), ("b", Some(now + 10)), ("c", None)]);
    assert_eq!(fields(&world, "h"), Some(3), "in its last millisecond a field is there");
    world.now.0 += 1;
    world.policy = ExpiryPolicy::Hide;
    assert_eq!(fields(&world, "h"), Some(2), "hidden");
    world.policy = ExpiryPolicy::Ignore;
    assert_eq!(fields(&world, "h"), Some(3), "but still there");
    world.policy = ExpiryPolicy::Delete;
    let expired = world.with("h", |db, key| {
        assert_eq!(db.hash(key).unwrap().unwrap().len(), 2);
        db.take_expired_fields()
    });
    assert_eq!(expired.len(), 1);
    assert_eq!((&*expired[0].fields[0], expired[0].emptied), (&b"a"[..], false));
}

#[test]
fn a_hash_of_which_all_fields_ended_is_gone() {
    let mut world = World::new();
    let now = world.now.0;
    with_fields(&world, "h", &[("a", Some(now)), ("b", Some(now + 1))]);
    world.now.0 += 2;
    for (policy, there) in
        [(ExpiryPolicy::Ignore, true), (ExpiryPolicy::Hide, false), (ExpiryPolicy::Delete, false)]
    {
        world.policy = policy;
        assert_eq!(world.with("h", |db, key| db.exists(key)), there, "{policy:?}");
        assert_eq!(fields(&world, "h").is_some(), there, "{policy:?}");
    }
    assert_eq!(world.keyspace.dbsize(DbIndex(0)), 0);
    assert_eq!(world.memory(), World::new().memory());
}

#[test]
fn ended_fields_are_looked_for() {
    let mut world = World::new();
    let now = world.now.0;
    with_fields(&world, "{t}1", &[("a", Some(now + 5)), ("b", Some(now + 500)), ("c", None)]);
    with_fields(&world, "{t}2", &[("a", Some(now + 7))]);
    with_fields(&world, "{t}3", &[("a", Some(now + 9))]);
    // What becomes of them since must be known too.
    world.with("{t}3", |db, key| db.hash_mut(key).unwrap().unwrap().set_field_expiry(b"a", None));
    let slot = world.keyspace.key(b"{t}1").slot;
    let expire = |world: &World| {
        world.with("{t}1", |db, _| {
            db.expire_due(slot, 100);
            let expired = db.take_expired_fields();
            expired.iter().map(|expired| expired.fields.len()).sum::<usize>()
        })
    };
    assert_eq!(expire(&world), 0);
    assert!(!world.keyspace.slots.is_due(slot, world.now.0));
    world.now.0 += 20;
    assert!(world.keyspace.slots.is_due(slot, world.now.0));
    assert_eq!(expire(&world), 2);
    assert_eq!(world.keyspace.dbsize(DbIndex(0)), 2, "the hash that has become empty is gone");
    assert!(!world.keyspace.slots.is_due(slot, world.now.0));
    world.now.0 += 1000;
    assert!(world.keyspace.slots.is_due(slot, world.now.0), "the next one was noted");
    world.keyspace.swap_dbs(DbIndex(0), DbIndex(1), world.now);
    assert_eq!(expire(&world), 1, "wherever it is by now");
}

/// Watches of `k` in databases 0 and 1, by the number of the database.
fn watches_of_k(world: &World) -> [Watch; 2] {
    let key = world.keyspace.key(b"k");
    let guard = world.keyspace.try_lock(key.slot).unwrap();
    [0, 1].map(|db| world.keyspace.watch(&guard, DbIndex(db), &key))
}

#[test]
fn a_swap_changes_what_is_not_over_on_both_sides() {
    let over = SetExpiry::At(UnixMillis(1_000_000));
    let rows = [
        ("nothing and nothing", [None, None], [false, false]),
        ("it comes to 0 and goes from 1", [None, Some(SetExpiry::Clear)], [true, true]),
        // Seen from 1 it was there when the watch began.
        ("one that is over comes to 0", [None, Some(over)], [false, true]),
        ("both have one", [Some(over), Some(SetExpiry::Clear)], [true, true]),
    ];
    for (why, [zero, one], want) in rows {
        let mut world = World::new();
        for (db, expiry) in [(0, zero), (1, one)] {
            if let Some(expiry) = expiry {
                let set = |db: &mut Db<'_>, key: &Key<'_>| db.set_string(key, b"v", expiry);
                world.with_in(DbIndex(db), "k", set);
            }
        }
        let watches = watches_of_k(&world);
        world.now = UnixMillis(2_000_000);
        world.keyspace.swap_dbs(DbIndex(0), DbIndex(1), world.now);
        assert_eq!(watches.map(|watch| watch.is_dirty()), want, "{why}");
    }
}

#[test]
fn the_end_of_what_came_by_a_swap_when_it_was_over_is_no_change() {
    let mut world = World::new();
    let set = |db: &mut Db<'_>, key: &Key<'_>| db.set_string(key, b"v", at(1_000_000));
    world.with_in(DbIndex(1), "k", set);
    let [watch, _] = watches_of_k(&world);
    world.now = UnixMillis(2_000_000);
    world.keyspace.swap_dbs(DbIndex(0), DbIndex(1), world.now);
    assert_eq!(world.get("k"), None);
    assert!(!watch.is_dirty(), "it was removed, and nobody had seen it");
    world.set("k", "v", SetExpiry::Clear);
    assert!(watch.is_dirty());
}
