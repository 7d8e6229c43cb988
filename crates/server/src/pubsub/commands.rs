//! `SUBSCRIBE` and its relatives, `PUBLISH`, `PUBSUB`.

use std::sync::Arc;

use slotward_commands::{Access, Arg, Begin, CmdError, Command, Find, Flags, Group, Keys};
use slotward_keyspace::DbIndex;
use slotward_resp::OwnedArgs;
use slotward_types::{glob_match, slot_of};

use super::Scope;
use crate::call::{Handler, NodeCall, NodeCommand, Outcome};
use crate::commands::{ANYTIME, container, help, row};

const SUBSCRIBES: Flags = ANYTIME
    .and(Flags::PUBSUB)
    .and(Flags::NOSCRIPT)
    .and(Flags::DENYOOM)
    .and(Flags::WHILE_SUBSCRIBED);
const UNSUBSCRIBES: Flags =
    ANYTIME.and(Flags::PUBSUB).and(Flags::NOSCRIPT).and(Flags::WHILE_SUBSCRIBED);
const PUBLISHES: Flags = ANYTIME.and(Flags::PUBSUB).and(Flags::FAST).and(Flags::MAY_REPLICATE);
const ASKS: Flags = ANYTIME.and(Flags::PUBSUB);

const CHANNELS: &[Arg] = &[Arg::string("channel").multiple()];
const CHANNELS_OR_NONE: &[Arg] = &[Arg::string("channel").optional().multiple()];
const SHARD_CHANNELS: &[Arg] = &[Arg::string("shardchannel").multiple()];
const SHARD_CHANNELS_OR_NONE: &[Arg] = &[Arg::string("shardchannel").optional().multiple()];
const PATTERN: &[Arg] = &[Arg::pattern("pattern").optional()];

const fn shard_channels(last: i16) -> Keys {
    Keys {
        begin: Begin::Index(1),
        find: Find::Range { last, step: 1, limit: 0 },
        access: Access::NOT_KEY,
    }
}

const fn of(
    name: &'static str,
    arity: i16,
    flags: Flags,
    since: &'static str,
    summary: &'static str,
    complexity: &'static str,
    args: &'static [Arg],
) -> Command {
    Command { args, complexity, ..row(name, arity, flags, Group::PubSub, since, summary) }
}

/// Rows of the family.
pub(crate) const COMMANDS: &[NodeCommand] = &[
    NodeCommand::new(
        of(
            "subscribe",
            -2,
            SUBSCRIBES,
            "2.0.0",
            "Listens to messages on channels.",
            "O(N) in the number of channels",
            CHANNELS,
        ),
        Handler::Now(subscribe),
    ),
    NodeCommand::new(
        of(
            "unsubscribe",
            -1,
            UNSUBSCRIBES,
            "2.0.0",
            "Stops listening to channels, or to all of them.",
            "O(N) in the number of channels",
            CHANNELS_OR_NONE,
        ),
        Handler::Now(unsubscribe),
    ),
    NodeCommand::new(
        of(
            "psubscribe",
            -2,
            SUBSCRIBES,
            "2.0.0",
            "Listens to messages on all channels whose names match patterns.",
            "O(N) in the number of patterns",
            &[Arg::pattern("pattern").multiple()],
        ),
        Handler::Now(psubscribe),
    ),
    NodeCommand::new(
        of(
            "punsubscribe",
            -1,
            UNSUBSCRIBES,
            "2.0.0",
            "Stops listening to patterns, or to all of them.",
            "O(N) in the number of patterns",
            &[Arg::pattern("pattern").optional().multiple()],
        ),
        Handler::Now(punsubscribe),
    ),
    NodeCommand::new(
        Command {
            keys: &[shard_channels(-1)],
            ..of(
                "ssubscribe",
                -2,
                SUBSCRIBES,
                "7.0.0",
                "Listens to messages on shard channels.",
                "O(N) in the number of shard channels",
                SHARD_CHANNELS,
            )
        },
        Handler::Now(ssubscribe),
    ),
    NodeCommand::new(
        Command {
            keys: &[shard_channels(-1)],
            ..of(
                "sunsubscribe",
                -1,
                UNSUBSCRIBES,
                "7.0.0",
                "Stops listening to shard channels, or to all of them.",
                "O(N) in the number of shard channels",
                SHARD_CHANNELS_OR_NONE,
            )
        },
        Handler::Now(sunsubscribe),
    ),
    NodeCommand::new(
        of(
            "publish",
            3,
            PUBLISHES,
            "2.0.0",
            "Sends a message to those who listen to a channel.",
            "O(N+M) in the number of listeners and of patterns that anybody listens to",
            &[Arg::string("channel"), Arg::string("message")],
        ),
        Handler::Now(publish),
    ),
    NodeCommand::new(
        Command {
            keys: &[shard_channels(0)],
            ..of(
                "spublish",
                3,
                PUBLISHES,
                "7.0.0",
                "Sends a message to those who listen to a shard channel.",
                "O(N) in the number of listeners",
                &[Arg::string("shardchannel"), Arg::string("message")],
            )
        },
        Handler::Now(spublish),
    ),
    NodeCommand::container(
        container("pubsub", Group::PubSub, "2.8.0", "Commands about channels and subscriptions."),
        &[
            NodeCommand::new(
                of(
                    "channels",
                    -2,
                    ASKS,
                    "2.8.0",
                    "Lists the channels that somebody listens to.",
                    "O(N) in the number of channels",
                    PATTERN,
                ),
                Handler::Now(channels),
            ),
            NodeCommand::new(
                of(
                    "numpat",
                    2,
                    ASKS,
                    "2.8.0",
                    "Counts the patterns that somebody listens to.",
                    "O(1)",
                    &[],
                ),
                Handler::Now(numpat),
            ),
            NodeCommand::new(
                of(
                    "numsub",
                    -2,
                    ASKS,
                    "2.8.0",
                    "Counts those who listen to channels.",
                    "O(N) in the number of channels",
                    CHANNELS_OR_NONE,
                ),
                Handler::Now(numsub),
            ),
            NodeCommand::new(
                of(
                    "shardchannels",
                    -2,
                    ASKS,
                    "7.0.0",
                    "Lists the shard channels that somebody listens to.",
                    "O(N) in the number of shard channels",
                    PATTERN,
                ),
                Handler::Now(shardchannels),
            ),
            NodeCommand::new(
                of(
                    "shardnumsub",
                    -2,
                    ASKS,
                    "7.0.0",
                    "Counts those who listen to shard channels.",
                    "O(N) in the number of shard channels",
                    SHARD_CHANNELS_OR_NONE,
                ),
                Handler::Now(shardnumsub),
            ),
            NodeCommand::new(
                row("help", 2, ANYTIME, Group::PubSub, "6.2.0", "Lists the subcommands."),
                Handler::Now(helps),
            ),
        ],
    ),
];

/// Tells how many subscriptions the connection has, with those of which this is one.
fn confirm(call: &mut NodeCall<'_>, word: &[u8], scope: Scope, name: Option<&[u8]>) {
    let mailbox = &call.conn.mailbox;
    let count = match scope {
        Scope::Shard => mailbox.subscribed(scope),
        _ => mailbox.subscribed(Scope::Channel) + mailbox.subscribed(Scope::Pattern),
    };
    // Also to a client that wants no replies: it is none.
    call.conn.pushed = true;
    call.reply.push(3);
    call.reply.bulk(word);
    call.reply.bulk_or_null(name);
    call.reply.integer(count as i64);
}

fn begin(call: &mut NodeCall<'_>, scope: Scope) -> Outcome {
    let argv = call.argv;
    for name in argv.from(1).iter() {
        call.conn.subscribe(call.worker, scope, name);
        confirm(call, scope.subscribed(), scope, Some(name));
    }
    Ok(())
}

fn end(call: &mut NodeCall<'_>, scope: Scope) -> Outcome {
    let argv = call.argv;
    let mut names: Vec<Arc<[u8]>> = argv.from(1).iter().map(Arc::from).collect();
    if argv.len() == 1 {
        names = call.conn.mailbox.names(scope);
        if names.is_empty() {
            confirm(call, scope.unsubscribed(), scope, None);
        }
    }
    for name in names {
        call.conn.unsubscribe(call.worker, scope, &name);
        confirm(call, scope.unsubscribed(), scope, Some(&name));
    }
    Ok(())
}

fn subscribe(call: &mut NodeCall<'_>) -> Outcome {
    begin(call, Scope::Channel)
}

fn unsubscribe(call: &mut NodeCall<'_>) -> Outcome {
    end(call, Scope::Channel)
}

fn psubscribe(call: &mut NodeCall<'_>) -> Outcome {
    begin(call, Scope::Pattern)
}

fn punsubscribe(call: &mut NodeCall<'_>) -> Outcome {
    end(call, Scope::Pattern)
}

fn ssubscribe(call: &mut NodeCall<'_>) -> Outcome {
    begin(call, Scope::Shard)
}

fn sunsubscribe(call: &mut NodeCall<'_>) -> Outcome {
    end(call, Scope::Shard)
}

fn send(call: &mut NodeCall<'_>, scope: Scope) -> Outcome {
    let (node, argv, db) = (call.node, call.argv, call.conn.db);
    let (channel, text) = (&argv[1], &argv[2]);
    let is_cluster = call.live.settings.cluster_enabled;
    let conn = &mut *call.conn;
    conn.published = true;
    // Where the message stands among those of the channel, it stands in the log too: replicas
    // publish it to their own subscribers. In a cluster they get it from here, like all other nodes.
    let receivers = node.pubsub.publish(scope, channel, text, || {
        if is_cluster {
            node.pubsub.links.send(node, scope, channel, text);
        } else if node.replication.wants_writes() {
            log(conn, node, db, argv.into());
        }
    });
    call.reply.integer(receivers as i64);
    Ok(())
}

fn log(
    conn: &mut crate::connection::Conn,
    node: &crate::node::Node,
    db: DbIndex,
    command: OwnedArgs,
) {
    if let Some(kept) = &mut conn.propagated {
        kept.push((db, command));
        return;
    }
    let command = command.as_args();
    let slot = slot_of(&command[1]);
    conn.last_write = node.replication.append(Some(slot), &[(db, command)]);
}

fn publish(call: &mut NodeCall<'_>) -> Outcome {
    send(call, Scope::Channel)
}

fn spublish(call: &mut NodeCall<'_>) -> Outcome {
    send(call, Scope::Shard)
}

/// What another node of the cluster has published: for the subscribers here only.
pub(crate) fn relay(call: &mut NodeCall<'_>, scope: Scope) -> Outcome {
    let (channel, text) = (&call.argv[2], &call.argv[3]);
    let receivers = call.node.pubsub.publish(scope, channel, text, || ());
    call.conn.published = true;
    call.reply.integer(receivers as i64);
    Ok(())
}

fn list(call: &mut NodeCall<'_>, scope: Scope) -> Outcome {
    if call.argv.len() > 3 {
        return Err(wrong_form(call));
    }
    let pattern = call.argv.get(2);
    let mut names = Vec::new();
    call.node.pubsub.each(scope, |name, _| {
        if pattern.is_none_or(|pattern| glob_match(pattern, name)) {
            names.push(Arc::clone(name));
        }
    });
    call.reply.array(names.len());
    names.iter().for_each(|name| call.reply.bulk(name));
    Ok(())
}

fn wrong_form(call: &NodeCall<'_>) -> CmdError {
    CmdError::Other(
        format!(
            "ERR unknown subcommand or wrong number of arguments for '{}'. Try PUBSUB HELP.",
            call.text(1)
        )
        .into(),
    )
}

fn count(call: &mut NodeCall<'_>, scope: Scope) -> Outcome {
    let names = call.argv.from(2);
    call.reply.array(2 * names.len());
    for name in names.iter() {
        call.reply.bulk(name);
        call.reply.integer(call.node.pubsub.subscribers(scope, name) as i64);
    }
    Ok(())
}

fn channels(call: &mut NodeCall<'_>) -> Outcome {
    list(call, Scope::Channel)
}

fn shardchannels(call: &mut NodeCall<'_>) -> Outcome {
    list(call, Scope::Shard)
}

fn numsub(call: &mut NodeCall<'_>) -> Outcome {
    count(call, Scope::Channel)
}

fn shardnumsub(call: &mut NodeCall<'_>) -> Outcome {
    count(call, Scope::Shard)
}

fn numpat(call: &mut NodeCall<'_>) -> Outcome {
    call.reply.integer(call.node.pubsub.count(Scope::Pattern) as i64);
    Ok(())
}

fn helps(call: &mut NodeCall<'_>) -> Outcome {
    help(
        call,
        "PUBSUB",
        &[
            "CHANNELS [<pattern>] | SHARDCHANNELS [<pattern>]",
            "NUMSUB [<channel> ...] | SHARDNUMSUB [<shardchannel> ...]",
            "NUMPAT",
        ],
    );
    Ok(())
}
