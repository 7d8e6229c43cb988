//! What a command about the node is given, and the table of all commands with their handlers.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use slotward_commands::{
    Arity, CmdError, Command, CommandId, Effects, Flags, Found, KeyShape, Registry, Run,
};
use slotward_keyspace::{Db, DbIndex, Locked};
use slotward_resp::{Args, Reply};
use slotward_types::{Slot, UnixMillis};

use crate::connection::Conn;
use crate::live::Live;
use crate::node::Node;
use crate::view::RoleWord;
use crate::worker::Worker;

/// The outcome of a handler; on an error, what it had written is taken back.
pub(crate) type Outcome = Result<(), CmdError>;

/// A handler's future: it stays on its worker.
pub(crate) type Later<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// How a command about the node is run.
#[derive(Clone, Copy)]
pub(crate) enum Handler {
    /// It answers at once, between other commands.
    Now(fn(&mut NodeCall<'_>) -> Outcome),
    /// It runs inside the worker barrier: nobody executes anything meanwhile. It must be quick.
    Whole(fn(&mut NodeCall<'_>) -> Outcome),
    /// It may wait. Inside a transaction it runs with all slots held, and must not.
    Later(for<'a> fn(&'a mut NodeCall<'_>) -> Later<'a>),
}

/// One command about the node: its row and its handler.
pub(crate) struct NodeCommand {
    /// All that the system knows of it. The rows of `subcommands` are added to it.
    pub(crate) row: Command,
    /// What runs it; `None` for a container, which needs a subcommand.
    pub(crate) run: Option<Handler>,
    /// Its second words.
    pub(crate) subcommands: &'static [NodeCommand],
}

impl NodeCommand {
    /// A command without subcommands.
    pub(crate) const fn new(row: Command, run: Handler) -> Self {
        NodeCommand { row, run: Some(run), subcommands: &[] }
    }

    /// A command that needs a second word.
    pub(crate) const fn container(row: Command, subcommands: &'static [NodeCommand]) -> Self {
        NodeCommand { row, run: None, subcommands }
    }
}

/// One execution of a command about the node.
pub(crate) struct NodeCall<'c> {
    /// The arguments, the command's name first; their number fits its arity.
    pub(crate) argv: Args<'c>,
    /// The connection that asks.
    pub(crate) conn: &'c mut Conn,
    /// The node.
    pub(crate) node: &'c Arc<Node>,
    /// The worker that the connection belongs to.
    pub(crate) worker: &'c Rc<Worker>,
    /// The settings of this moment.
    pub(crate) live: &'c Live,
    /// Where the reply is written.
    pub(crate) reply: &'c mut Reply,
    /// What changed, if it is to be propagated.
    pub(crate) effects: &'c mut Effects,
    /// The time of the call.
    pub(crate) now: UnixMillis,
    /// Role and epoch of the call.
    pub(crate) word: RoleWord,
    /// Inside a transaction: the slots it holds (all of them, if one of its commands is not about
    /// single keys).
    pub(crate) held: Option<&'c mut Locked<'static>>,
}

impl NodeCall<'_> {
    /// The argument at `index`, which the arity or a check of `argv.len()` has made sure of.
    pub(crate) fn arg(&self, index: usize) -> &[u8] {
        &self.argv[index]
    }

    /// The argument at `index` as text; bytes that are none are shown as replacement characters.
    pub(crate) fn text(&self, index: usize) -> String {
        String::from_utf8_lossy(&self.argv[index]).into_owned()
    }

    /// Whether the argument at `index` is this word, whatever its case.
    pub(crate) fn is_word(&self, index: usize, word: &str) -> bool {
        self.argv.get(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// The argument at `index` as an integer.
    pub(crate) fn int(&self, index: usize) -> Result<i64, CmdError> {
        slotward_commands::parse_integer(&self.argv[index]).ok_or(CmdError::NotAnInteger)
    }

    /// Whether a setting of `no`, `yes`, `local` allows this connection something.
    pub(crate) fn is_allowed(&self, setting: &str) -> bool {
        let address = &self.conn.client.address;
        let is_local = self.conn.client.is(crate::client::mark::UNIX)
            || address.starts_with("127.")
            || address.starts_with("[::1]");
        setting == "yes" || (setting == "local" && is_local)
    }

    /// Works in one slot of a database, once the slot is free.
    pub(crate) async fn in_slot<R>(
        &mut self,
        slot: Slot,
        db: DbIndex,
        work: impl FnOnce(&mut Db<'_>, &mut Self) -> R,
    ) -> R {
        let (node, now, live) = (self.node.clone(), self.now, self.live);
        let limits = &live.data.limits;
        // A transaction holds its slots, and is inside the barrier, already.
        if let Some(locked) = self.held.take() {
            let policy = node.expiry_policy();
            let mut view = Db::new(node.keyspace, locked, db, now, policy, limits);
            let result = work(&mut view, self);
            node.propagate_expired(&mut view);
            drop(view);
            self.held = Some(locked);
            return result;
        }
        let worker = self.worker.clone();
        let (_inside, guard) = worker.lock(slot).await;
        let mut locked = Locked::from(guard);
        let policy = node.expiry_policy();
        let mut view = Db::new(node.keyspace, &mut locked, db, now, policy, limits);
        let result = work(&mut view, self);
        node.propagate_expired(&mut view);
        result
    }
}

/// Who runs a command.
#[derive(Clone, Copy)]
pub(crate) enum Exec {
    /// A handler of the data commands.
    Data(fn(&mut slotward_commands::Call<'_>) -> Outcome),
    /// One of ours.
    Node(Handler),
    /// Nobody: a second word is missing.
    Container,
}

impl Exec {
    /// Whether it needs more than the slots of its keys.
    pub(crate) fn is_about_more_than_keys(&self) -> bool {
        matches!(self, Exec::Node(Handler::Whole(_) | Handler::Later(_)))
    }
}

/// What the shell needs of a command with every execution, in one place.
#[derive(Clone, Copy)]
pub(crate) struct Hot {
    /// Who runs it.
    pub(crate) exec: Exec,
    /// Its properties.
    pub(crate) flags: Flags,
    /// How many arguments it takes.
    pub(crate) arity: Arity,
    /// Where its keys are.
    pub(crate) shape: KeyShape,
    /// Where the member is that it looks for in a collection, to be fetched before; 0 if nowhere.
    pub(crate) member: u16,
}

/// All commands of the node.
pub(crate) struct CommandTable {
    registry: Registry,
    hot: Vec<Hot>,
}

impl CommandTable {
    /// The data commands and those of the node.
    ///
    /// # Panics
    /// If rows and handlers do not fit each other.
    pub(crate) fn new() -> CommandTable {
        let families = crate::commands::all();
        // Rows live as long as the process; there is one table.
        let rows: Vec<&'static Command> =
            families.iter().flat_map(|family| family.iter()).map(with_subcommands).collect();
        let registry = Registry::new(rows);
        let hot = registry
            .ids()
            .map(|id| {
                let row = registry.command(id);
                let exec = match row.run {
                    Run::Data(run) => Exec::Data(run),
                    Run::Container => Exec::Container,
                    Run::Node => node_handler(&families, registry.full_name(id))
                        .map_or(Exec::Container, Exec::Node),
                };
                let flags = registry.flags(id);
                let member = registry.member_index(id).unwrap_or(0);
                Hot { exec, flags, arity: row.arity, shape: registry.key_shape(id), member }
            })
            .collect();
        CommandTable { registry, hot }
    }

    /// The rows.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What is needed of a command with every execution.
    #[inline]
    pub(crate) fn hot(&self, id: CommandId) -> &Hot {
        &self.hot[id.index()]
    }

    /// The command that these words name.
    #[inline]
    pub(crate) fn find(&self, argv: Args<'_>) -> Found {
        self.registry.find(argv)
    }
}

fn with_subcommands(command: &'static NodeCommand) -> &'static Command {
    if command.subcommands.is_empty() {
        return &command.row;
    }
    let subcommands: Vec<Command> = command.subcommands.iter().map(|sub| sub.row).collect();
    Box::leak(Box::new(Command { subcommands: subcommands.leak(), ..command.row }))
}

fn node_handler(families: &[&'static [NodeCommand]], name: &str) -> Option<Handler> {
    let (top, second) = match name.split_once('|') {
        Some((top, second)) => (top, Some(second)),
        None => (name, None),
    };
    let command = families
        .iter()
        .flat_map(|family| family.iter())
        .find(|command| command.row.name == top)
        .unwrap_or_else(|| panic!("{name} has a row and no handler"));
    match second {
        None => command.run,
        Some(second) => command.subcommands.iter().find(|sub| sub.row.name == second)?.run,
    }
}
