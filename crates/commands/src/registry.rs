//! All commands of a node, found by name, and what follows from a row when it is used.

use slotward_resp::Args;

use crate::arg::{Arg, ArgKind};
use crate::command::{Command, Flags, Run};
use crate::error::CmdError;
use crate::keys::{Access, Begin, Find, Keys};

/// A command's number in its registry: dense, so that tables of handlers and statistics are arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u16);

impl CommandId {
    /// To index with.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a command's words name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// This command. A container stands for itself when its second word is missing.
    Command(CommandId),
    /// No command.
    Unknown,
    /// This container, but none of its subcommands.
    UnknownSubcommand(CommandId),
}

/// How a command's keys are found, simplest way first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyShape {
    /// It has none.
    None,
    /// One, always at this index.
    One(u16),
    /// From `first` to `last` (negative: from the end), every `step`th argument.
    Range {
        /// Index of the first.
        first: u16,
        /// Index of the last; -1 is the last argument.
        last: i16,
        /// Distance of neighbours.
        step: u16,
    },
    /// By going through the specifications.
    Dynamic,
}

/// Arguments that do not hold the keys which the command's specification says they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ERR Invalid arguments specified for command")]
pub struct KeysError;

#[derive(Debug)]
struct Row {
    command: &'static Command,
    full_name: Box<str>,
    shape: KeyShape,
    subcommands: Vec<CommandId>,
}

/// All rows of a node. Built once.
#[derive(Debug)]
pub struct Registry {
    rows: Vec<Row>,
    top: Vec<CommandId>,
    /// Open addressing by [`Folded::hash`]; a power of two, at most a quarter full.
    places: Vec<Option<Place>>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    folded: Folded,
    id: CommandId,
}

/// A name as two words in lower case: all of it, for names of up to 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Folded {
    low: u64,
    high: u64,
    len: u8,
}

/// The longest name that [`Folded`] holds wholly.
const FOLDED_BYTES_MAX: usize = 16;

/// Eight bytes with the capital letters among them in lower case.
#[inline]
fn lower(eight: u64) -> u64 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Each byte's high bit, without carries between bytes: at least `A`, and beyond `Z`.
    let seven = eight & !HIGH;
    let from_a = seven + LOW * (0x80 - b'A' as u64);
    let beyond_z = seven + LOW * (0x80 - b'Z' as u64 - 1);
    let capital = from_a & !beyond_z & !eight & HIGH;
    eight | capital >> 2
}

impl Folded {
    #[inline]
    fn new(name: &[u8]) -> Folded {
        let len = name.len();
        let (low, high) = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
                (Some(first), Some(last)) => {
                    (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into())
                }
                _ => match name {
                    [] => (0, 0),
                    _ => {
                        let byte = |at: usize| u64::from(name[at]);
                        (byte(0) | byte(len / 2) << 8, byte(len - 1))
                    }
                },
            },
        };
        Folded { low: lower(low), high: lower(high), len: len.min(255) as u8 }
    }

    #[inline]
    fn hash(self) -> usize {
        let mixed = (self.low ^ self.high.rotate_left(29) ^ u64::from(self.len))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40) as usize
    }
}

impl Registry {
    /// The data commands and `node_rows`, those of the node itself.
    ///
    /// # Panics
    /// If two commands share a name: rows are our own, so that is our mistake.
    pub fn new(node_rows: impl IntoIterator<Item = &'static Command>) -> Registry {
        let mut registry = Registry { rows: Vec::new(), top: Vec::new(), places: Vec::new() };
        for command in crate::all().chain(node_rows) {
            let id = registry.add(command, command.name.into());
            registry.top.push(id);
            for subcommand in command.subcommands {
                let name = format!("{}|{}", command.name, subcommand.name);
                let sub_id = registry.add(subcommand, name.into());
                registry.rows[id.index()].subcommands.push(sub_id);
            }
        }
        registry.places = vec![None; (registry.top.len() * 4).next_power_of_two()];
        for at in 0..registry.top.len() {
            registry.index(registry.top[at]);
        }
        registry
    }

    fn add(&mut self, command: &'static Command, full_name: Box<str>) -> CommandId {
        let id = CommandId(u16::try_from(self.rows.len()).expect("there are few commands"));
        let shape = key_shape(command);
        self.rows.push(Row { command, full_name, shape, subcommands: Vec::new() });
        id
    }

    fn index(&mut self, id: CommandId) {
        let name = self.rows[id.index()].command.name.as_bytes();
        assert!(self.top_level(name).is_none(), "two commands are called {}", self.full_name(id));
        let folded = Folded::new(name);
        let mask = self.places.len() - 1;
        let mut at = folded.hash() & mask;
        while self.places[at].is_some() {
            at = (at + 1) & mask;
        }
        self.places[at] = Some(Place { folded, id });
    }

    /// The command that these words name.
    #[inline]
    pub fn find(&self, argv: Args<'_>) -> Found {
        let Some(id) = argv.get(0).and_then(|name| self.top_level(name)) else {
            return Found::Unknown;
        };
        let row = &self.rows[id.index()];
        if row.subcommands.is_empty() {
            return Found::Command(id);
        }
        match argv.get(1) {
            None => Found::Command(id),
            Some(word) => match self.subcommand(id, word) {
                Some(sub_id) => Found::Command(sub_id),
                None => Found::UnknownSubcommand(id),
            },
        }
    }

    #[inline]
    fn top_level(&self, name: &[u8]) -> Option<CommandId> {
        let folded = Folded::new(name);
        let mask = self.places.len() - 1;
        let mut at = folded.hash() & mask;
        while let Some(place) = self.places[at] {
            if place.folded == folded
                && (name.len() <= FOLDED_BYTES_MAX || self.is_called(place.id, name))
            {
                return Some(place.id);
            }
            at = (at + 1) & mask;
        }
        None
    }

    fn is_called(&self, id: CommandId, name: &[u8]) -> bool {
        self.rows[id.index()].command.name.as_bytes().eq_ignore_ascii_case(name)
    }

    fn subcommand(&self, container: CommandId, word: &[u8]) -> Option<CommandId> {
        let ids = &self.rows[container.index()].subcommands;
        ids.iter().copied().find(|id| self.is_called(*id, word))
    }

    /// The command called `name`, in any case; a subcommand as `container|word`.
    pub fn by_name(&self, name: &[u8]) -> Option<CommandId> {
        match memchr::memchr(b'|', name) {
            None => self.top_level(name),
            Some(bar) => self.subcommand(self.top_level(&name[..bar])?, &name[bar + 1..]),
        }
    }

    /// The row of a command.
    #[inline]
    pub fn command(&self, id: CommandId) -> &'static Command {
        self.rows[id.index()].command
    }

    /// The name of a command, `container|word` for a subcommand.
    pub fn full_name(&self, id: CommandId) -> &str {
        &self.rows[id.index()].full_name
    }

    /// How the command's keys are found.
    #[inline]
    pub fn key_shape(&self, id: CommandId) -> KeyShape {
        self.rows[id.index()].shape
    }

    /// Where the first member or field stands that the command looks for in the collection at its
    /// key, as long as no option stands before it.
    pub fn member_index(&self, id: CommandId) -> Option<u16> {
        let in_one_key = matches!(self.key_shape(id), KeyShape::One(_));
        if in_one_key { first_member(self.command(id).args, &mut 1) } else { None }
    }

    /// A command's properties, with those that follow from its row.
    pub fn flags(&self, id: CommandId) -> Flags {
        let row = &self.rows[id.index()];
        let movable = row
            .command
            .keys
            .iter()
            .any(|keys| keys.access.has(Access::INCOMPLETE) || Span::of(keys).is_none());
        if movable { row.command.flags.and(Flags::MOVABLEKEYS) } else { row.command.flags }
    }

    /// The subcommands of a container.
    pub fn subcommands(&self, id: CommandId) -> &[CommandId] {
        &self.rows[id.index()].subcommands
    }

    /// All commands that are no subcommands.
    pub fn top(&self) -> &[CommandId] {
        &self.top
    }

    /// All commands and subcommands.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = CommandId> + use<> {
        (0..self.rows.len() as u16).map(CommandId)
    }

    /// How many commands and subcommands there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none; there always are.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Appends to `out` the index of every key among `argv`.
    ///
    /// # Errors
    /// When the arguments are not what the command's specification says. The handler will say what
    /// is wrong with them; they name no keys.
    #[inline]
    pub fn keys_of(
        &self,
        id: CommandId,
        argv: Args<'_>,
        out: &mut Vec<usize>,
    ) -> Result<(), KeysError> {
        match self.key_shape(id) {
            KeyShape::None => Ok(()),
            KeyShape::One(index) if (index as usize) < argv.len() => {
                out.push(index as usize);
                Ok(())
            }
            KeyShape::Range { first, last, step } => {
                let last = if last >= 0 {
                    last as usize
                } else {
                    argv.len().saturating_sub(last.unsigned_abs() as usize)
                };
                if last >= argv.len() || last < first as usize {
                    return Err(KeysError);
                }
                out.extend((first as usize..=last).step_by(step as usize));
                Ok(())
            }
            KeyShape::One(_) => Err(KeysError),
            KeyShape::Dynamic => dynamic_keys(self.command(id).keys, argv, out),
        }
    }

    /// What a client is told whose words name no command.
    pub fn unknown_text(&self, found: Found, argv: Args<'_>) -> CmdError {
        let shown = |bytes: &[u8], max: usize| {
            String::from_utf8_lossy(&bytes[..bytes.len().min(max)]).into_owned()
        };
        if let Found::UnknownSubcommand(container) = found {
            return CmdError::Other(
                format!(
                    "ERR unknown subcommand '{}'. Try {} HELP.",
                    argv.get(1).map_or(String::new(), |word| shown(word, 128)),
                    self.command(container).name.to_uppercase(),
                )
                .into(),
            );
        }
        const PREVIEW_BYTES_MAX: usize = 128;
        let mut preview = String::new();
        for arg in argv.from(1).iter() {
            if preview.len() >= PREVIEW_BYTES_MAX {
                break;
            }
            preview.push('\'');
            preview.push_str(&shown(arg, PREVIEW_BYTES_MAX.saturating_sub(preview.len() - 1)));
            preview.push_str("' ");
        }
        let name = argv.get(0).map_or(String::new(), |name| shown(name, 128));
        CmdError::Other(
            format!("ERR unknown command '{name}', with args beginning with: {preview}").into(),
        )
    }

    /// The text of the error that a command of a wrong length gets.
    pub fn arity_text(&self, id: CommandId) -> CmdError {
        CmdError::Other(
            format!("ERR wrong number of arguments for '{}' command", self.full_name(id)).into(),
        )
    }

    /// Whether the command's handler is in this crate.
    pub fn is_data(&self, id: CommandId) -> bool {
        matches!(self.command(id).run, Run::Data(_))
    }

    /// Redis's older description of a command's keys: first, last and step, zeros if there is none.
    pub fn legacy_range(&self, id: CommandId) -> (i64, i64, i64) {
        legacy_range(self.command(id).keys).map_or((0, 0, 0), |span| {
            (i64::from(span.first), i64::from(span.last), i64::from(span.step))
        })
    }
}

/// A specification whose keys stand at fixed places. `last` is an index; negative from the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    first: u16,
    last: i16,
    step: u16,
}

impl Span {
    fn of(keys: &Keys) -> Option<Span> {
        match (keys.begin, keys.find) {
            (Begin::Index(first), Find::Range { last, step, limit: 0 | 1 }) => {
                let last = if last >= 0 { first as i16 + last } else { last };
                Some(Span { first, last, step })
            }
            _ => None,
        }
    }
}

/// The fixed places of all specifications together, as far as they follow each other.
fn legacy_range(keys: &[Keys]) -> Option<Span> {
    let mut spans = keys.iter().filter_map(Span::of);
    let first = spans.next()?;
    Some(spans.fold(first, |all, next| {
        let follows = all.last >= 0 && all.last + 1 == next.first as i16;
        if follows { Span { last: next.last, ..all } } else { all }
    }))
}

/// Where the first argument called member or field stands, if the first of these stands at `at`.
fn first_member(args: &[Arg], at: &mut u16) -> Option<u16> {
    for arg in args.iter().filter(|arg| !arg.optional) {
        if arg.kind == ArgKind::Block {
            if let Some(found) = first_member(arg.args, at) {
                return Some(found);
            }
            continue;
        }
        if arg.token.is_some() || arg.kind == ArgKind::OneOf {
            return None;
        }
        if matches!(arg.name, "member" | "field") {
            return Some(*at);
        }
        *at += 1;
    }
    None
}

fn key_shape(command: &Command) -> KeyShape {
    let keys = command.keys;
    if keys.is_empty() {
        return KeyShape::None;
    }
    let fixed = keys.iter().all(|keys| Span::of(keys).is_some());
    match legacy_range(keys) {
        Some(span) if fixed && all_within(span, keys) => {
            if span.first as i16 == span.last {
                KeyShape::One(span.first)
            } else {
                KeyShape::Range { first: span.first, last: span.last, step: span.step }
            }
        }
        _ => KeyShape::Dynamic,
    }
}

/// Whether one range tells all: one specification, or neighbours of step 1 that were joined.
fn all_within(span: Span, keys: &[Keys]) -> bool {
    let mut spans = keys.iter().filter_map(Span::of);
    keys.len() == 1
        || (spans.clone().all(|part| part.step == 1)
            && spans.next_back().is_some_and(|part| part.last == span.last))
}

fn dynamic_keys(specs: &[Keys], argv: Args<'_>, out: &mut Vec<usize>) -> Result<(), KeysError> {
    let before = out.len();
    for keys in specs {
        if !keys.locate(argv, &mut |index| out.push(index)) {
            out.truncate(before);
            return Err(KeysError);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn members_are_found_where_rows_say() {
        let registry = Registry::new([]);
        for (name, index) in [
            ("hset", Some(2)),
            ("hget", Some(2)),
            ("sadd", Some(2)),
            ("sismember", Some(2)),
            ("zadd", Some(3)),
            ("zscore", Some(2)),
            ("zincrby", Some(3)),
            ("get", None),
            ("hgetall", None),
            ("smove", None),
        ] {
            let id = registry.by_name(name.as_bytes()).expect("there is such a command");
            assert_eq!(registry.member_index(id), index, "{name}");
        }
    }

    #[test]
    fn names_are_found_in_any_case_and_nothing_like_them() {
        let registry = Registry::new([]);
        for id in registry.top() {
            let name = registry.command(*id).name;
            assert_eq!(registry.by_name(name.to_uppercase().as_bytes()), Some(*id), "{name}");
            for at in 0..name.len() {
                let mut other = name.as_bytes().to_vec();
                other[at] ^= 0x20;
                let same = other[at].is_ascii_alphabetic();
                assert_eq!(registry.by_name(&other).is_some(), same, "{other:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn lower_is_lower_case(bytes in any::<[u8; 8]>()) {
            let lowered = lower(u64::from_le_bytes(bytes)).to_le_bytes();
            prop_assert_eq!(lowered.as_slice(), bytes.to_ascii_lowercase());
        }
    }
}
