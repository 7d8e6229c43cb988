//! The row that is a command.

use crate::arg::Arg;
use crate::call::Call;
use crate::error::CmdError;
use crate::keys::{Access, Keys};

/// One command, or one subcommand of a container: everything the system knows of it.
///
/// Rows are written as `Command { name: "strlen", …, ..Command::BLANK }`.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    /// In lower case; a subcommand's own word (`encoding`, not `object|encoding`).
    pub name: &'static str,
    /// How many arguments it takes; a subcommand's count includes both words.
    pub arity: Arity,
    /// What may be done with it, when and where.
    pub flags: Flags,
    /// Its family.
    pub group: Group,
    /// ACL categories beyond those that follow from the flags and the group, without `@`; one with
    /// a leading `-` is taken away.
    pub categories: &'static [&'static str],
    /// Where its keys stand among the arguments.
    pub keys: &'static [Keys],
    /// What its arguments are called, for people and completion.
    pub args: &'static [Arg],
    /// The version of Redis that first had it.
    pub since: &'static str,
    /// One sentence for people.
    pub summary: &'static str,
    /// How its cost grows.
    pub complexity: &'static str,
    /// Since when and by what it is replaced, if it is.
    pub deprecated: Option<Deprecated>,
    /// What changed in which version.
    pub history: &'static [(&'static str, &'static str)],
    /// Hints to clients and proxies, in Redis's notation (`request_policy:multi_shard`).
    pub tips: &'static [&'static str],
    /// The second words it knows, if it is a container.
    pub subcommands: &'static [Command],
    /// Who runs it.
    pub run: Run,
    /// A dialogue that is documentation and test: lines `> COMMAND`, then the reply as `redis-cli`
    /// prints it without a terminal's decoration.
    pub script: &'static str,
}

impl Command {
    /// A row with nothing in it, for the fields that a row leaves out.
    pub const BLANK: Command = Command {
        name: "",
        arity: Arity::Exactly(1),
        flags: Flags::NONE,
        group: Group::Generic,
        categories: &[],
        keys: &[],
        args: &[],
        since: "",
        summary: "",
        complexity: "O(1)",
        deprecated: None,
        history: &[],
        tips: &[],
        subcommands: &[],
        run: Run::Container,
        script: "",
    };

    /// Whether it may change data.
    #[inline]
    pub const fn is_write(&self) -> bool {
        self.flags.has(Flags::WRITE)
    }

    /// Whether any key may be written by it, by its key specifications.
    pub fn writes_a_key(&self) -> bool {
        self.keys
            .iter()
            .any(|keys| !keys.access.has(Access::RO) && !keys.access.has(Access::NOT_KEY))
    }

    /// Its ACL categories in Redis's order, without `@`.
    pub fn acl_categories(&self) -> Vec<&'static str> {
        let container = matches!(self.run, Run::Container);
        let flag = |flag, name| self.flags.has(flag).then_some(name);
        let mut found: Vec<&'static str> = [
            flag(Flags::WRITE, "write"),
            flag(Flags::READ, "read"),
            if container { None } else { self.group.acl_category() },
            flag(Flags::ADMIN, "admin"),
            flag(Flags::ADMIN, "dangerous"),
            flag(Flags::PUBSUB, "pubsub"),
            flag(Flags::BLOCKING, "blocking"),
            Some(if self.flags.has(Flags::FAST) { "fast" } else { "slow" }),
        ]
        .into_iter()
        .flatten()
        .chain(self.categories.iter().copied())
        .collect();
        found.sort_by_key(|name| CATEGORIES.iter().position(|known| known == name));
        found.dedup();
        let is_taken =
            |name: &str| self.categories.iter().any(|other| other.strip_prefix('-') == Some(name));
        found.retain(|name| !name.starts_with('-') && !is_taken(name));
        found
    }
}

/// All ACL categories, in the order Redis lists them.
const CATEGORIES: &[&str] = &[
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "array",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// How many arguments a command takes, its name included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// This many.
    Exactly(u16),
    /// This many or more.
    AtLeast(u16),
}

impl Arity {
    /// Whether a command of `argc` arguments is complete.
    #[inline]
    pub const fn admits(self, argc: usize) -> bool {
        match self {
            Arity::Exactly(count) => argc == count as usize,
            Arity::AtLeast(count) => argc >= count as usize,
        }
    }

    /// Redis's notation: negative means "at least".
    pub const fn as_redis(self) -> i64 {
        match self {
            Arity::Exactly(count) => count as i64,
            Arity::AtLeast(count) => -(count as i64),
        }
    }

    /// The smallest admitted number.
    pub const fn min(self) -> usize {
        match self {
            Arity::Exactly(count) | Arity::AtLeast(count) => count as usize,
        }
    }
}

/// A set of properties of a command; gates and clients read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:expr, $text:expr;)*) => {
        impl Flags {
            $($(#[$doc])* pub const $name: Flags = Flags(1 << $bit);)*

            /// The names that `COMMAND INFO` gives, in its order.
            const NAMED: &'static [(Flags, &'static str)] = &[$((Flags::$name, $text)),*];
        }
    };
}

flags! {
    /// May change data; refused by replicas and by a node that may not write.
    WRITE = 0, "write";
    /// Reads data and changes none.
    READ = 1, "readonly";
    /// May need more memory; refused when memory is used up.
    DENYOOM = 2, "denyoom";
    /// For operators.
    ADMIN = 3, "admin";
    /// About publish and subscribe.
    PUBSUB = 4, "pubsub";
    /// Not allowed in scripts.
    NOSCRIPT = 5, "noscript";
    /// May make the client wait.
    BLOCKING = 6, "blocking";
    /// Allowed while a data set is loaded.
    LOADING = 7, "loading";
    /// Allowed on a replica that lost its master and must not serve stale data.
    STALE = 8, "stale";
    /// Not shown to `MONITOR`.
    SKIP_MONITOR = 9, "skip_monitor";
    /// Not in the slow log.
    SKIP_SLOWLOG = 10, "skip_slowlog";
    /// Works on an importing slot without `ASKING`.
    ASKING = 11, "asking";
    /// Constant or logarithmic time; never delays others.
    FAST = 12, "fast";
    /// Allowed before authentication.
    NO_AUTH = 13, "no_auth";
    /// May cause replication although it is no write (`PUBLISH`, scripts).
    MAY_REPLICATE = 14, "may_replicate";
    /// Its key specifications may find no key at all.
    NO_MANDATORY_KEYS = 15, "no_mandatory_keys";
    /// Allowed while a script has run for too long.
    ALLOW_BUSY = 16, "allow_busy";
    /// Not allowed while a replica loads a new data set beside the old one.
    NO_ASYNC_LOADING = 17, "no_async_loading";
    /// Not allowed in a transaction.
    NO_MULTI = 18, "no_multi";
    /// The keys cannot all be told from fixed places.
    MOVABLEKEYS = 19, "movablekeys";
    /// Touches keys that its arguments do not name.
    TOUCHES_ARBITRARY_KEYS = 20, "touches-arbitrary-keys";
    /// Belongs to an extension.
    MODULE = 21, "module";
}

impl Flags {
    /// No property.
    pub const NONE: Flags = Flags(0);
    /// Allowed on connections of any state of the data: `LOADING` and `STALE`.
    pub const ANYTIME: Flags = Flags::LOADING.and(Flags::STALE);
    /// Runs what a transaction has queued (`EXEC`). Has no name on the wire.
    pub const RUNS_QUEUE: Flags = Flags(1 << 29);
    /// Runs even in RESP2's subscribed mode. Has no name on the wire.
    pub const WHILE_SUBSCRIBED: Flags = Flags(1 << 30);
    /// Acts at once inside `MULTI` instead of being queued (`EXEC`, `DISCARD`, `WATCH`, `QUIT`…).
    /// Has no name on the wire.
    pub const NOT_QUEUED: Flags = Flags(1 << 31);

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// What is in both sets.
    #[must_use]
    pub const fn common(self, other: Flags) -> Flags {
        Flags(self.0 & other.0)
    }

    /// The set without what is in `other`.
    #[must_use]
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// Whether all of `other` are in the set.
    #[inline]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names on the wire, in `COMMAND INFO`'s order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Flags::NAMED.iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| *name)
    }
}

/// The family of a command: chapter of the documentation and ACL category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    PubSub,
    Transactions,
    Connection,
    Server,
    Scripting,
    HyperLogLog,
    Cluster,
    Sentinel,
    Geo,
    Stream,
    Bitmap,
    Array,
    VectorSet,
}

impl Group {
    /// Its name in `COMMAND DOCS`.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Hash => "hash",
            Group::PubSub => "pubsub",
            Group::Transactions => "transactions",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Scripting => "scripting",
            Group::HyperLogLog => "hyperloglog",
            Group::Cluster => "cluster",
            Group::Sentinel => "sentinel",
            Group::Geo => "geo",
            Group::Stream => "stream",
            Group::Bitmap => "bitmap",
            Group::Array => "array",
            Group::VectorSet => "vector_set",
        }
    }

    const fn acl_category(self) -> Option<&'static str> {
        match self {
            Group::Generic => Some("keyspace"),
            Group::SortedSet => Some("sortedset"),
            Group::Transactions => Some("transaction"),
            Group::Server | Group::Cluster | Group::Sentinel | Group::VectorSet => None,
            other => Some(other.name()),
        }
    }
}

/// That a command has been replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deprecated {
    /// The version of Redis that said so first.
    pub since: &'static str,
    /// What to use instead, in a few words.
    pub replaced_by: &'static str,
}

/// Who runs a command.
#[derive(Clone, Copy)]
pub enum Run {
    /// A handler of this crate.
    Data(fn(&mut Call<'_>) -> Result<(), CmdError>),
    /// The server, which keeps its handlers by [`crate::CommandId`].
    Node,
    /// Nobody: a subcommand has to follow.
    Container,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Run::Data(_) => "Data",
            Run::Node => "Node",
            Run::Container => "Container",
        })
    }
}
