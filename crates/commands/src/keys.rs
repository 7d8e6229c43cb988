//! Where the keys stand among a command's arguments, and what is done to them.

use slotward_resp::Args;

/// A group of keys: where it begins, how the keys follow each other, how they are used.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    /// Where the group begins.
    pub begin: Begin,
    /// How the keys are found from there.
    pub find: Find,
    /// What is done to them.
    pub access: Access,
}

/// Where a group of keys begins.
#[derive(Debug, Clone, Copy)]
pub enum Begin {
    /// At this index of the arguments (0 is the command's name).
    Index(u16),
    /// After this word, which is looked for from an index on (a negative one counts from the end
    /// and looks towards the start).
    Keyword {
        /// The word, compared without regard to case.
        word: &'static str,
        /// Where the search starts.
        from: i16,
    },
    /// Nowhere that a client could work out, nor we before the command runs.
    Unknown,
    /// Where this function says; clients are told that it is unknown. It calls back with the index
    /// of every key, and returns whether the arguments made sense.
    Computed(fn(Args<'_>, &mut dyn FnMut(usize)) -> bool),
}

/// How the keys of a group follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Find {
    /// From the beginning to `last`, every `step`th argument.
    Range {
        /// Distance of the last one from the first; negative ones count from the end of the
        /// arguments, -1 being the last.
        last: i16,
        /// Distance of two neighbours.
        step: u16,
        /// With `last` -1: 0 and 1 mean all, 2 the first half of what remains, and so on.
        limit: u16,
    },
    /// As many as an argument says.
    KeyNum {
        /// Distance of the number from the beginning.
        number: u16,
        /// Distance of the first key from the beginning.
        first: u16,
        /// Distance of two neighbours.
        step: u16,
    },
    /// Not in any way a client could work out.
    Unknown,
}

/// What a command does to a key: one of `RO`, `RW`, `OW`, `RM` for the value's container, and what
/// it does to the user's data in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access(u16);

impl Access {
    /// Only reads the value or facts about it.
    pub const RO: Access = Access(1);
    /// Reads and changes the value.
    pub const RW: Access = Access(1 << 1);
    /// Replaces the value without regard to what it was.
    pub const OW: Access = Access(1 << 2);
    /// Removes the key.
    pub const RM: Access = Access(1 << 3);
    /// Returns, copies or uses the user's data.
    pub const ACCESS: Access = Access(1 << 4);
    /// Changes data depending on or in place of what was there.
    pub const UPDATE: Access = Access(1 << 5);
    /// Adds data and changes none that is there.
    pub const INSERT: Access = Access(1 << 6);
    /// Removes data.
    pub const DELETE: Access = Access(1 << 7);
    /// Is no key, though it is routed like one (a shard channel).
    pub const NOT_KEY: Access = Access(1 << 8);
    /// There may be more keys than the specification finds.
    pub const INCOMPLETE: Access = Access(1 << 9);
    /// Depends on other arguments.
    pub const VARIABLE: Access = Access(1 << 10);

    /// Returns data: `GET`.
    pub const READ: Access = Access::RO.and(Access::ACCESS);
    /// Reads facts only: `STRLEN`, `EXISTS`, `TTL`.
    pub const PEEK: Access = Access::RO;
    /// Sets a value whatever was there: `MSET`, the target of `…STORE`.
    pub const OVERWRITE: Access = Access::OW.and(Access::UPDATE);
    /// Changes the value and returns some of it: `INCR`, `GETSET`.
    pub const READ_UPDATE: Access = Access::RW.and(Access::ACCESS).and(Access::UPDATE);
    /// Changes the value: `HSET`, `EXPIRE`.
    pub const CHANGE: Access = Access::RW.and(Access::UPDATE);
    /// Adds to the value: `LPUSH`, `SADD`.
    pub const ADD: Access = Access::RW.and(Access::INSERT);
    /// Takes from the value: `HDEL`, `SREM`.
    pub const TRIM: Access = Access::RW.and(Access::DELETE);
    /// Takes from the value and returns it: `LPOP`.
    pub const POP: Access = Access::RW.and(Access::ACCESS).and(Access::DELETE);
    /// Removes the key: `DEL`.
    pub const REMOVE: Access = Access::RM.and(Access::DELETE);

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: Access) -> Access {
        Access(self.0 | other.0)
    }

    /// Whether all of `other` are in the set.
    pub const fn has(self, other: Access) -> bool {
        self.0 & other.0 == other.0
    }

    /// The set without what is in `other`.
    #[must_use]
    pub const fn without(self, other: Access) -> Access {
        Access(self.0 & !other.0)
    }

    /// The names on the wire.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMED: &[(Access, &str)] = &[
            (Access::RO, "RO"),
            (Access::RW, "RW"),
            (Access::OW, "OW"),
            (Access::RM, "RM"),
            (Access::ACCESS, "access"),
            (Access::UPDATE, "update"),
            (Access::INSERT, "insert"),
            (Access::DELETE, "delete"),
            (Access::NOT_KEY, "not_key"),
            (Access::INCOMPLETE, "incomplete"),
            (Access::VARIABLE, "variable_flags"),
        ];
        NAMED.iter().filter(move |(access, _)| self.has(*access)).map(|(_, name)| *name)
    }
}

impl Keys {
    /// One key at an index.
    pub const fn at(index: u16, access: Access) -> Keys {
        Keys::range(index, 0, 1, access)
    }

    /// Keys from an index to the last argument.
    pub const fn from(index: u16, access: Access) -> Keys {
        Keys::range(index, -1, 1, access)
    }

    /// Keys from an index, every `step`th argument; `last` is a distance, or counts from the end.
    pub const fn range(index: u16, last: i16, step: u16, access: Access) -> Keys {
        Keys { begin: Begin::Index(index), find: Find::Range { last, step, limit: 0 }, access }
    }

    /// Keys that follow their number, which is at an index.
    pub const fn counted(index: u16, access: Access) -> Keys {
        Keys {
            begin: Begin::Index(index),
            find: Find::KeyNum { number: 0, first: 1, step: 1 },
            access,
        }
    }

    /// One key after a word that is looked for from an index on.
    pub const fn after(word: &'static str, from: i16, access: Access) -> Keys {
        Keys {
            begin: Begin::Keyword { word, from },
            find: Find::Range { last: 0, step: 1, limit: 0 },
            access,
        }
    }

    /// Keys after a word, as the first of `limit` equal parts of what remains (`XREAD STREAMS`: 2).
    pub const fn part_after(word: &'static str, from: i16, limit: u16, access: Access) -> Keys {
        Keys {
            begin: Begin::Keyword { word, from },
            find: Find::Range { last: -1, step: 1, limit },
            access,
        }
    }

    /// Keys that no client can work out.
    pub const fn unknown(access: Access) -> Keys {
        Keys { begin: Begin::Unknown, find: Find::Unknown, access }
    }

    /// Keys that `locate` finds and no client can; see [`Begin::Computed`].
    pub const fn computed(
        locate: fn(Args<'_>, &mut dyn FnMut(usize)) -> bool,
        access: Access,
    ) -> Keys {
        Keys { begin: Begin::Computed(locate), find: Find::Unknown, access }
    }

    /// Calls `found` with the index of every key of the group in `argv`. False if the arguments do
    /// not hold what the specification says (a count that is no number or too large).
    pub fn locate(&self, argv: Args<'_>, found: &mut dyn FnMut(usize)) -> bool {
        let argc = argv.len();
        let begin = match self.begin {
            Begin::Index(index) => index as usize,
            Begin::Keyword { word, from } => match keyword(argv, word, from) {
                Some(at) => at + 1,
                None => return true,
            },
            Begin::Unknown => return true,
            Begin::Computed(locate) => return locate(argv, found),
        };
        let (first, last, step) = match self.find {
            Find::Range { last, step, limit } => {
                // Parts that are not equal name no keys as they should.
                if limit > 1 && !argc.saturating_sub(begin).is_multiple_of(limit.into()) {
                    return false;
                }
                let last = match last {
                    0.. => begin + last as usize,
                    -1 if limit > 1 => {
                        (begin + argc.saturating_sub(begin) / limit as usize).saturating_sub(1)
                    }
                    _ => argc.saturating_sub(last.unsigned_abs() as usize),
                };
                (begin, last, step)
            }
            Find::KeyNum { number, first, step } => {
                let at = begin + number as usize;
                let count = argv.get(at).and_then(crate::parse_integer);
                let Some(count @ 0..) = count else { return false };
                let first = begin + first as usize;
                let room = argc.saturating_sub(first).div_ceil(step as usize) as u64;
                if count as u64 > room {
                    return false;
                }
                if count == 0 {
                    return true;
                }
                (first, first + (count as usize - 1) * step as usize, step)
            }
            Find::Unknown => return true,
        };
        if last >= argc {
            return last < first;
        }
        (first..=last).step_by(step as usize).for_each(found);
        true
    }
}

fn keyword(argv: Args<'_>, word: &str, from: i16) -> Option<usize> {
    let is_it = |&index: &usize| argv[index].eq_ignore_ascii_case(word.as_bytes());
    if from >= 0 {
        (from as usize..argv.len()).find(is_it)
    } else {
        let start = argv.len().checked_sub(from.unsigned_abs() as usize)?;
        (1..=start).rev().find(is_it)
    }
}
