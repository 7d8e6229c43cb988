//! The command table, and the handlers of the commands that work on data.
//!
//! One [`Command`] row is all that the system knows of a command: from it follow lookup, arity,
//! routing by key, what a replica or a full node refuses, `COMMAND` and its relatives, and the test
//! that runs its script. Handlers of this crate are functions of a [`Call`]: arguments, the slots
//! that are locked for them, the time, a seed; they do no I/O and never wait. Rows of commands about
//! the node itself (`INFO`, `CLUSTER`…) come from the server, which gives them to
//! [`Registry::new`]; [`Run::Node`] says so.
//!
//! **Invariant:** nobody outside a row asks which command this is by name; policy is a flag.

mod arg;
mod array;
mod bitfield;
mod bitmap;
mod blocking;
mod call;
mod command;
mod digest;
mod dump;
mod effects;
mod error;
mod expire;
mod generic;
mod geo;
mod hash;
mod hash_ttl;
mod hyperloglog;
mod introspect;
mod keys;
mod lcs;
mod list;
mod number;
mod random;
#[cfg(test)]
mod random_tests;
mod registry;
mod sample;
mod scan;
mod set;
mod settings;
mod sort;
mod stream;
mod string;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod vector;
mod zset;

pub use arg::{Arg, ArgKind};
pub use blocking::WaitFor;
pub use call::Call;
pub use command::{Arity, Command, Deprecated, Flags, Group, Run};
pub use digest::{Digest, digest_slot, digest_value};
pub use effects::{Effects, Event, EventClass, Removal, take_removals};
pub use error::CmdError;
pub use hash::import::Fieldsets;
pub use introspect::{
    command_count, command_docs, command_getkeys, command_getkeysandflags, command_info,
    command_list, help, usage,
};
pub use keys::{Access, Begin, Find, Keys};
pub use number::{Decimal, format_decimal, parse_double, parse_integer};
pub use random::Random;
pub use registry::{CommandId, Found, KeyShape, KeysError, Registry};
pub use settings::{DataSettings, LazyFree, deletion};

/// All data commands, family by family.
pub fn all() -> impl Iterator<Item = &'static Command> {
    [
        string::COMMANDS,
        string::compare::COMMANDS,
        string::counter::COMMANDS,
        string::many::COMMANDS,
        bitmap::COMMANDS,
        bitfield::COMMANDS,
        hyperloglog::COMMANDS,
        geo::COMMANDS,
        generic::COMMANDS,
        expire::COMMANDS,
        dump::COMMANDS,
        sort::COMMANDS,
        hash::COMMANDS,
        hash::import::COMMANDS,
        hash_ttl::COMMANDS,
        list::COMMANDS,
        list::blocking::COMMANDS,
        list::several::COMMANDS,
        set::COMMANDS,
        set::card::COMMANDS,
        zset::COMMANDS,
        zset::blocking::COMMANDS,
        stream::COMMANDS,
        stream::GROUP_COMMANDS,
        array::COMMANDS,
        vector::COMMANDS,
    ]
    .into_iter()
    .flatten()
}
