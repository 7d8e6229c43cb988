//! The commands of replication: who follows whom, and what master and replica say to each other.

use std::rc::Rc;

use slotward_commands::{Arg, Arity, CmdError, Command, Deprecated, Flags, Group, Run};
use slotward_replication::{Replconf, parse_psync};
use slotward_types::{Epoch, UnixMillis};

use crate::blocking;
use crate::call::{Handler, Later, NodeCall, NodeCommand, Outcome};
use crate::connection::Taken;
use crate::node::Node;
use crate::replication::info;
use crate::replication::link::Order;
use crate::replication::session::{self, Request};

const LINK: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::NO_MULTI);

/// The rows.
pub(crate) const COMMANDS: &[NodeCommand] = &[
    NodeCommand::new(
        Command {
            name: "replicaof",
            arity: Arity::Exactly(3),
            flags: Flags::ADMIN
                .and(Flags::STALE)
                .and(Flags::NOSCRIPT)
                .and(Flags::NO_ASYNC_LOADING)
                .and(Flags::NO_MULTI),
            group: Group::Server,
            args: &[Arg::string("host"), Arg::string("port")],
            since: "5.0.0",
            summary: "Makes this server a replica of another, or (NO ONE) a master.",
            run: Run::Node,
            ..Command::BLANK
        },
        Handler::Later(replicaof),
    ),
    NodeCommand::new(
        Command {
            name: "slaveof",
            arity: Arity::Exactly(3),
            flags: Flags::ADMIN
                .and(Flags::STALE)
                .and(Flags::NOSCRIPT)
                .and(Flags::NO_ASYNC_LOADING)
                .and(Flags::NO_MULTI),
            group: Group::Server,
            args: &[Arg::string("host"), Arg::string("port")],
            since: "1.0.0",
            summary: "Makes this server a replica of another, or (NO ONE) a master.",
            deprecated: Some(Deprecated { since: "5.0.0", replaced_by: "`REPLICAOF`" }),
            run: Run::Node,
            ..Command::BLANK
        },
        Handler::Later(replicaof),
    ),
    NodeCommand::new(
        Command {
            name: "role",
            arity: Arity::Exactly(1),
            flags: Flags::NOSCRIPT.and(Flags::ANYTIME).and(Flags::FAST),
            categories: &["admin", "dangerous"],
            group: Group::Server,
            since: "2.8.12",
            summary: "Tells whether this server is a master or a replica, and how its links are.",
            run: Run::Node,
            ..Command::BLANK
        },
        Handler::Now(info::role),
    ),
    NodeCommand::new(
        Command {
            name: "wait",
            arity: Arity::Exactly(3),
            flags: Flags::BLOCKING,
            group: Group::Generic,
            args: &[Arg::integer("numreplicas"), Arg::integer("timeout")],
            since: "3.0.0",
            summary: "Waits until so many replicas have this connection's writes, or a time has passed.",
            categories: &["connection"],
            tips: &["request_policy:all_shards", "response_policy:agg_min"],
            run: Run::Node,
            ..Command::BLANK
        },
        Handler::Now(wait),
    ),
    NodeCommand::new(
        Command {
            name: "replconf",
            arity: Arity::AtLeast(1),
            flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::ANYTIME),
            group: Group::Server,
            since: "3.0.0",
            summary: "What a replica tells its master. Internal.",
            run: Run::Node,
            ..Command::BLANK
        },
        Handler::Now(replconf),
    ),
    NodeCommand::new(
        Command {
            name: "psync",
            arity: Arity::AtLeast(3),
            flags: LINK.and(Flags::NO_ASYNC_LOADING),
            group: Group::Server,
            args: &[Arg::string("replicationid"), Arg::integer("offset")],
            since: "2.8.0",
            summary: "Begins the link of a replica, where it left off if possible. Internal.",
            run: Run::Node,
            ..Command::BLANK
        },
        Handler::Now(psync),
    ),
    NodeCommand::new(
        Command {
            name: "sync",
            arity: Arity::Exactly(1),
            flags: LINK.and(Flags::NO_ASYNC_LOADING),
            group: Group::Server,
            since: "1.0.0",
            summary: "Begins the link of a replica with the whole data set. Internal.",
            run: Run::Node,
            ..Command::BLANK
        },
        Handler::Now(sync),
    ),
];

fn replicaof<'a>(call: &'a mut NodeCall<'_>) -> Later<'a> {
    Box::pin(async move {
        if call.live.settings.cluster_enabled {
            return Err(CmdError::text("ERR REPLICAOF not allowed in cluster mode."));
        }
        if call.node.role.load().is_managed() {
            return Err(CmdError::text(
                "ERR REPLICAOF not allowed: the sentinels decide whom this node follows.",
            ));
        }
        let node = call.node.clone();
        if call.is_word(1, "no") && call.is_word(2, "one") {
            follow_nobody(&node).await;
            call.reply.ok();
            return Ok(());
        }
        let port =
            u16::try_from(call.int(2)?).map_err(|_| CmdError::text("ERR Invalid master port"))?;
        if replicate_from(&node, call.text(1), port).await {
            call.reply.ok();
        } else {
            call.reply.simple("OK Already connected to specified master");
        }
        Ok(())
    })
}

/// Makes a node without sentinels follow a master; false if it does already.
pub(crate) async fn replicate_from(node: &Node, host: String, port: u16) -> bool {
    let order = Order { host, port, members: None };
    let replication = &node.replication;
    if replication.link.current().is_some_and(|current| *current == order) {
        return false;
    }
    node.role.set_role(false, Epoch(0));
    blocking::on_role(node);
    replication.begin_following(node, order).await;
    true
}

async fn follow_nobody(node: &Node) {
    if node.replication.is_following() {
        node.replication.end_following(node).await;
        node.role.set_role(true, Epoch(0));
        tracing::info!("this server is a master now");
    }
}

fn wait(call: &mut NodeCall<'_>) -> Outcome {
    let count = usize::try_from(call.int(1)?).map_err(|_| CmdError::NotAnInteger)?;
    let millis = call.int(2)?;
    if millis < 0 {
        return Err(CmdError::text("ERR timeout is negative"));
    }
    let until = call.now.0.checked_add(millis).map(UnixMillis);
    let until = until.ok_or(CmdError::text("ERR timeout is out of range"))?;
    let replication = &call.node.replication;
    if replication.is_following() {
        return Err(CmdError::text(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis \
             4.0 if a replica is configured to be writable (which is not the default) writes \
             to replicas are just local and are not propagated.",
        ));
    }
    // What replicas have acknowledged, they have of this term's master.
    call.conn.guard(call.word);
    let offset = call.conn.last_write;
    let acked = replication.replicas.count_acked(offset);
    // A transaction holds its slots: it asks, but does not wait.
    if acked >= count || call.held.is_some() {
        call.reply.integer(acked as i64);
        return Ok(());
    }
    replication.append_signal(&[b"REPLCONF", b"GETACK", b"*"]);
    blocking::wait_for_replicas(call.conn, offset, count, (millis > 0).then_some(until));
    Ok(())
}

fn replconf(call: &mut NodeCall<'_>) -> Outcome {
    let us = *call.node.replication.us.lock();
    let handshake = call.conn.replica.get_or_insert_default();
    match handshake.peer.on_replconf(call.argv.from(1), us.as_ref()) {
        Replconf::Answer(line) => {
            match line.strip_prefix('-') {
                Some(error) => call.reply.error(error),
                None => call.reply.simple(line.strip_prefix('+').unwrap_or(&line)),
            }
            Ok(())
        }
        // Only links of replicas are acknowledged on; elsewhere it means nothing.
        Replconf::Ack { .. } | Replconf::GetAck => Ok(()),
    }
}

fn psync(call: &mut NodeCall<'_>) -> Outcome {
    let resume = parse_psync(call.arg(1), call.arg(2))
        .map_err(|error| CmdError::Other(error.trim_start_matches('-').to_owned().into()))?;
    become_link(call, Request { resume, psync: true });
    Ok(())
}

fn sync(call: &mut NodeCall<'_>) -> Outcome {
    become_link(call, Request { resume: None, psync: false });
    Ok(())
}

fn become_link(call: &mut NodeCall<'_>, request: Request) {
    call.conn.takeover =
        Some(Box::new(move |taken: Rc<Taken>| Box::pin(session::serve(taken, request))));
}
