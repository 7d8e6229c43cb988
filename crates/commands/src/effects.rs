//! What a call changed, and what replicas and subscribers are to hear of it.

use slotward_keyspace::{Db, DbIndex, ExpiredFields};
use slotward_resp::OwnedArgs;

use crate::blocking::WaitFor;
use crate::settings::deletion;

/// The effects of one call. A call that says nothing here changed nothing.
#[derive(Debug, Default)]
pub struct Effects {
    wanted: EventClass,
    changes: u64,
    rewritten: Option<Vec<OwnedArgs>>,
    events: Vec<Event>,
    waits: Option<Box<WaitFor>>,
    /// Nobody hears what is propagated instead of commands.
    unheard: bool,
}

/// A keyspace event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its class, which decides who wants it.
    pub class: EventClass,
    /// Its name.
    pub name: &'static str,
    /// The database of the key.
    pub db: DbIndex,
    /// The key.
    pub key: Box<[u8]>,
}

impl Effects {
    /// Effects of which only events of the `wanted` classes are kept.
    pub fn new(wanted: EventClass) -> Effects {
        Effects { wanted, ..Effects::default() }
    }

    /// From now on events of these classes are kept.
    #[inline]
    pub fn set_wanted(&mut self, wanted: EventClass) {
        self.wanted = wanted;
    }

    /// Forgets everything, for the next call.
    #[inline]
    pub fn clear(&mut self) {
        self.changes = 0;
        self.rewritten = None;
        self.events.clear();
        self.waits = None;
        self.unheard = false;
    }

    /// Says whether anybody hears what is propagated until [`Effects::clear`]; if not, it need not be
    /// written down.
    #[inline]
    pub fn set_heard(&mut self, heard: bool) {
        self.unheard = !heard;
    }

    /// Whether anybody hears what is propagated.
    #[inline]
    pub fn is_heard(&self) -> bool {
        !self.unheard
    }

    /// The call found nothing and is to be repeated when it may: see [`WaitFor`].
    pub fn wait_for(&mut self, what: WaitFor) {
        self.waits = Some(Box::new(what));
    }

    /// What the call waits for, if it does.
    #[inline]
    pub fn take_wait(&mut self) -> Option<Box<WaitFor>> {
        self.waits.take()
    }

    /// `count` things changed (Redis's `dirty`); unless [`Effects::propagate`] is called too, the
    /// command is propagated as it was received.
    #[inline]
    pub fn changed(&mut self, count: u64) {
        self.changes += count;
    }

    /// This command is propagated instead of the one received. Several calls propagate several
    /// commands, as one transaction.
    pub fn propagate<'a>(&mut self, args: impl IntoIterator<Item = &'a [u8]>) {
        let rewritten = self.rewritten.get_or_insert_default();
        if !self.unheard {
            rewritten.push(args.into_iter().collect());
        }
    }

    /// Nothing is propagated, whatever changed, unless [`Effects::propagate`] follows.
    pub fn propagate_nothing(&mut self) {
        self.rewritten.get_or_insert_default();
    }

    /// A keyspace event happened. Costs nothing while nobody wants its class.
    #[inline]
    pub fn notify(&mut self, class: EventClass, name: &'static str, db: DbIndex, key: &[u8]) {
        if self.wanted.intersects(class) {
            self.events.push(Event { class, name, db, key: key.into() });
        }
    }

    /// How many things changed.
    #[inline]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// What is propagated instead of the command received, if anything was said about it.
    #[inline]
    pub fn rewritten(&self) -> Option<&[OwnedArgs]> {
        self.rewritten.as_deref()
    }

    /// The events, in order.
    #[inline]
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}

/// Keys or fields that were removed because their time had come.
#[derive(Debug, Clone)]
pub struct Removal {
    /// The database.
    pub db: DbIndex,
    /// What replicas are to be told.
    pub command: OwnedArgs,
    events: &'static [(EventClass, &'static str)],
}

impl Removal {
    /// The key.
    pub fn key(&self) -> &[u8] {
        self.command.as_args().get(1).expect("it names the key")
    }

    /// What happened to it.
    pub fn events(&self) -> &'static [(EventClass, &'static str)] {
        self.events
    }
}

/// What was removed because its time had come since this was last asked; `lazy` as
/// [`LazyFree::expire`]. It goes before the command's own effect.
#[inline]
pub fn take_removals(db: &mut Db<'_>, lazy: bool) -> Vec<Removal> {
    if db.has_removed() { take_some_removals(db, lazy) } else { Vec::new() }
}

#[cold]
fn take_some_removals(db: &mut Db<'_>, lazy: bool) -> Vec<Removal> {
    const KEY: &[(EventClass, &str)] = &[(EventClass::EXPIRED, "expired")];
    const FIELDS: &[(EventClass, &str)] = &[(EventClass::HASH, "hexpired")];
    const ALL_FIELDS: &[(EventClass, &str)] =
        &[(EventClass::HASH, "hexpired"), (EventClass::GENERIC, "del")];
    let keys = db.take_expired();
    let fields = db.take_expired_fields();
    let of_key = |(db, key): (DbIndex, Box<[u8]>)| {
        let command = [deletion(lazy), &key].into_iter().collect();
        Removal { db, command, events: KEY }
    };
    let of_fields = |expired: ExpiredFields| {
        let head = [b"HDEL".as_slice(), &expired.key];
        let fields = expired.fields.iter().map(|field| &**field);
        let command = head.into_iter().chain(fields).collect();
        let events = if expired.emptied { ALL_FIELDS } else { FIELDS };
        Removal { db: expired.db, command, events }
    };
    keys.into_iter().map(of_key).chain(fields.into_iter().map(of_fields)).collect()
}

/// Classes of keyspace events, as `notify-keyspace-events` selects them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventClass(u32);

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident = $bit:expr, $letter:expr;)*) => {
        impl EventClass {
            $($(#[$doc])* pub const $name: EventClass = EventClass(1 << $bit);)*
            const LETTERS: &'static [(EventClass, char)] = &[$((EventClass::$name, $letter)),*];
        }
    };
}

classes! {
    /// Commands about keys of any type (`g`).
    GENERIC = 0, 'g';
    /// Strings (`$`).
    STRING = 1, '$';
    /// Lists (`l`).
    LIST = 2, 'l';
    /// Sets (`s`).
    SET = 3, 's';
    /// Hashes (`h`).
    HASH = 4, 'h';
    /// Sorted sets (`z`).
    ZSET = 5, 'z';
    /// Keys whose time has come (`x`).
    EXPIRED = 6, 'x';
    /// Keys removed for memory (`e`).
    EVICTED = 7, 'e';
    /// Streams (`t`).
    STREAM = 8, 't';
    /// Extensions (`d`).
    MODULE = 9, 'd';
    /// Publish on `__keyspace@…` channels (`K`).
    KEYSPACE = 10, 'K';
    /// Publish on `__keyevent@…` channels (`E`).
    KEYEVENT = 11, 'E';
    /// Reads of keys that are absent (`m`).
    KEY_MISS = 12, 'm';
    /// New keys (`n`).
    NEW = 13, 'n';
    /// Arrays (`a`).
    ARRAY = 14, 'a';
    /// Values replaced by others (`o`).
    OVERWRITTEN = 16, 'o';
    /// Values replaced by others of another type (`c`).
    TYPE_CHANGED = 17, 'c';
}

impl EventClass {
    /// No event.
    pub const NONE: EventClass = EventClass(0);
    /// What is noted where data are looked up and replaced, whatever the command.
    pub const NOTED: EventClass = EventClass::KEY_MISS
        .and(EventClass::NEW)
        .and(EventClass::OVERWRITTEN)
        .and(EventClass::TYPE_CHANGED);
    /// What `A` stands for: every class but misses, new and replaced keys.
    pub const ALL: EventClass = EventClass(0x3ff).and(EventClass::ARRAY);

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: EventClass) -> EventClass {
        EventClass(self.0 | other.0)
    }

    /// Whether the sets share a class.
    #[inline]
    pub const fn intersects(self, other: EventClass) -> bool {
        self.0 & other.0 != 0
    }

    /// The letters that classes have.
    pub fn letters() -> impl Iterator<Item = char> {
        EventClass::LETTERS.iter().map(|(_, letter)| *letter)
    }

    /// Whether it is the empty set.
    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The classes of a setting's letters, or `None` for a letter that means nothing.
    pub fn from_letters(letters: &str) -> Option<EventClass> {
        letters.chars().try_fold(EventClass::NONE, |classes, letter| {
            let class = if letter == 'A' {
                EventClass::ALL
            } else {
                EventClass::LETTERS.iter().find(|(_, known)| *known == letter)?.0
            };
            Some(classes.and(class))
        })
    }

    /// The setting's letters, as `CONFIG GET` shows them.
    pub fn to_letters(self) -> String {
        let all = self.0 & EventClass::ALL.0 == EventClass::ALL.0;
        let single = EventClass::LETTERS.iter().filter(|(class, _)| {
            self.intersects(*class) && !(all && EventClass::ALL.intersects(*class))
        });
        all.then_some('A').into_iter().chain(single.map(|(_, letter)| *letter)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_read_back() {
        for (why, letters, want) in [
            ("nothing", "", ""),
            ("some", "Kg$", "g$K"),
            ("A stands for the common ones", "KEA", "AKE"),
            ("A is found", "g$lshzxetdaE", "AE"),
            ("misses are apart", "AmE", "AEm"),
        ] {
            assert_eq!(EventClass::from_letters(letters).unwrap().to_letters(), want, "{why}");
        }
        assert_eq!(EventClass::from_letters("q"), None);
    }

    #[test]
    fn what_nobody_hears_is_not_written_down() {
        let mut effects = Effects::default();
        for heard in [true, false] {
            effects.clear();
            effects.set_heard(heard);
            effects.propagate([b"DEL".as_slice(), b"k"]);
            let count = effects.rewritten().map(<[OwnedArgs]>::len);
            assert_eq!(count, Some(usize::from(heard)), "it is rewritten either way");
        }
        effects.clear();
        assert!(effects.is_heard(), "the next call is heard unless that is said again");
    }

    #[test]
    fn unwanted_events_are_dropped() {
        let mut effects = Effects::new(EventClass::STRING);
        effects.notify(EventClass::GENERIC, "del", DbIndex(0), b"k");
        effects.notify(EventClass::STRING, "set", DbIndex(0), b"k");
        assert_eq!(effects.events().len(), 1);
    }
}
