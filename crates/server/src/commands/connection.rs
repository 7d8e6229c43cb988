//! What a connection says about itself: who it is, how it speaks, which database it works in.

use slotward_commands::{Arg, CmdError, Flags, Group};
use slotward_keyspace::DbIndex;
use slotward_resp::Protocol;

use super::{NODE, db_index, row};
use crate::call::{Handler, NodeCall, NodeCommand, Outcome};
use crate::client::mark;
use crate::connection::Replies;

const ALWAYS: Flags = NODE.and(Flags::FAST).and(Flags::NO_AUTH).and(Flags::ALLOW_BUSY);

/// Rows of the family.
pub(crate) const COMMANDS: &[NodeCommand] = &[
    NodeCommand::new(
        slotward_commands::Command {
            args: &[Arg::string("message").optional()],
            ..row(
                "ping",
                -1,
                Flags::FAST.and(Flags::WHILE_SUBSCRIBED),
                Group::Connection,
                "1.0.0",
                "Answers PONG, or the message.",
            )
        },
        Handler::Now(ping),
    ),
    NodeCommand::new(
        slotward_commands::Command {
            args: &[Arg::string("message")],
            ..row(
                "echo",
                2,
                Flags::FAST.and(super::ANYTIME),
                Group::Connection,
                "1.0.0",
                "Answers the message.",
            )
        },
        Handler::Now(echo),
    ),
    NodeCommand::new(
        row(
            "quit",
            -1,
            ALWAYS.and(Flags::NOT_QUEUED).and(Flags::WHILE_SUBSCRIBED),
            Group::Connection,
            "1.0.0",
            "Ends the connection.",
        ),
        Handler::Now(quit),
    ),
    NodeCommand::new(
        row(
            "reset",
            1,
            ALWAYS.and(Flags::NOT_QUEUED).and(Flags::WHILE_SUBSCRIBED),
            Group::Connection,
            "6.2.0",
            "Brings the connection back to how it began.",
        ),
        Handler::Now(reset),
    ),
    NodeCommand::new(
        slotward_commands::Command {
            args: &[Arg::integer("index")],
            ..row(
                "select",
                2,
                Flags::FAST.and(super::ANYTIME),
                Group::Connection,
                "1.0.0",
                "Changes to another database.",
            )
        },
        Handler::Now(select),
    ),
    NodeCommand::new(
        slotward_commands::Command {
            args: &[
                Arg::integer("protover").optional(),
                Arg::block("auth", &[Arg::string("username"), Arg::string("password")])
                    .token("AUTH")
                    .optional(),
                Arg::string("clientname").token("SETNAME").optional(),
            ],
            ..row(
                "hello",
                -1,
                ALWAYS,
                Group::Connection,
                "6.0.0",
                "Chooses the protocol, authenticates, tells what the server is.",
            )
        },
        Handler::Now(hello),
    ),
    NodeCommand::new(
        slotward_commands::Command {
            args: &[Arg::string("username").optional(), Arg::string("password")],
            ..row("auth", -2, ALWAYS, Group::Connection, "1.0.0", "Authenticates the connection.")
        },
        Handler::Now(auth),
    ),
];

fn ping(call: &mut NodeCall<'_>) -> Outcome {
    if call.argv.len() <= 2 && call.conn.is_confined() {
        // Shaped like a message, which is all that the client expects.
        call.reply.array(2);
        call.reply.bulk(b"pong");
        call.reply.bulk(call.argv.get(1).unwrap_or_default());
        return Ok(());
    }
    match call.argv.len() {
        1 => call.reply.simple("PONG"),
        2 => call.reply.bulk(&call.argv[1]),
        _ => return Err(CmdError::WrongArgCount("ping")),
    }
    Ok(())
}

fn echo(call: &mut NodeCall<'_>) -> Outcome {
    call.reply.bulk(&call.argv[1]);
    Ok(())
}

fn quit(call: &mut NodeCall<'_>) -> Outcome {
    call.conn.closing = true;
    call.reply.ok();
    Ok(())
}

fn reset(call: &mut NodeCall<'_>) -> Outcome {
    call.conn.end_transaction();
    call.conn.unsubscribe_all(call.worker);
    call.conn.untrack(call.node);
    call.conn.db = DbIndex::default();
    call.conn.readonly = false;
    call.conn.fieldsets.clear();
    call.conn.asking = false;
    call.conn.replies = Replies::On;
    call.conn.authenticated = !call.live.wants_password();
    call.conn.client.mark(mark::READONLY | mark::NO_EVICT | mark::NO_TOUCH, false);
    call.conn.client.names.lock().name.clear();
    call.conn.set_protocol(Protocol::Resp2, call.reply);
    call.reply.simple("RESET");
    Ok(())
}

fn select(call: &mut NodeCall<'_>) -> Outcome {
    let number = slotward_commands::parse_integer(&call.argv[1]).ok_or(CmdError::NotAnInteger)?;
    if call.live.data.is_cluster_of_one_database() && number != 0 {
        return Err(CmdError::text("ERR SELECT is not allowed in cluster mode"));
    }
    call.conn.db = db_index(call, 1)?;
    call.reply.ok();
    Ok(())
}

const WRONG_PASSWORD: CmdError =
    CmdError::text("WRONGPASS invalid username-password pair or user is disabled.");

fn auth(call: &mut NodeCall<'_>) -> Outcome {
    match call.argv.len() {
        2 if !call.live.wants_password() => {
            return Err(CmdError::text(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ));
        }
        2 => check_password(call, b"default", 1)?,
        3 => {
            let user = call.argv[1].to_vec();
            check_password(call, &user, 2)?;
        }
        _ => return Err(CmdError::Syntax),
    }
    call.conn.authenticated = true;
    call.reply.ok();
    Ok(())
}

fn check_password(call: &NodeCall<'_>, user: &[u8], index: usize) -> Outcome {
    let wanted = call.live.settings.requirepass.as_bytes();
    let given = &call.argv[index];
    // Looks at every byte whatever the first difference is, so that time tells nothing about it.
    let differs = wanted.len() != given.len()
        || wanted.iter().zip(given).fold(0, |sum, (a, b)| sum | (a ^ b)) != 0;
    if user != b"default" || (differs && !wanted.is_empty()) { Err(WRONG_PASSWORD) } else { Ok(()) }
}

fn hello(call: &mut NodeCall<'_>) -> Outcome {
    let mut protocol = call.conn.protocol;
    if call.argv.len() > 1 {
        protocol = match slotward_commands::parse_integer(&call.argv[1]) {
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => return Err(CmdError::text("NOPROTO unsupported protocol version")),
            None => {
                return Err(CmdError::text(
                    "ERR Protocol version is not an integer or out of range",
                ));
            }
        };
    }
    let mut authenticated = call.conn.authenticated;
    let mut name = None;
    let mut at = 2;
    while at < call.argv.len() {
        let left = call.argv.len() - at - 1;
        if call.is_word(at, "AUTH") && left >= 2 {
            let user = call.argv[at + 1].to_vec();
            check_password(call, &user, at + 2)?;
            authenticated = true;
            at += 3;
        } else if call.is_word(at, "SETNAME") && left >= 1 {
            name = Some(super::client::valid_name(&call.argv[at + 1])?);
            at += 2;
        } else {
            return Err(CmdError::Other(
                format!("ERR Syntax error in HELLO option '{}'", call.text(at)).into(),
            ));
        }
    }
    if !authenticated {
        return Err(CmdError::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
             HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
             select the RESP protocol version at the same time",
        ));
    }
    call.conn.authenticated = true;
    if let Some(name) = name {
        call.conn.client.names.lock().name = name;
    }
    call.conn.set_protocol(protocol, call.reply);
    write_hello(call);
    Ok(())
}

fn write_hello(call: &mut NodeCall<'_>) {
    let mode = if call.live.settings.cluster_enabled { "cluster" } else { "standalone" };
    let role = if call.node.role.load().is_master() { "master" } else { "replica" };
    let reply = &mut *call.reply;
    reply.map(7);
    for (field, value) in [("server", "redis"), ("version", crate::REDIS_VERSION)] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.integer(if reply.protocol() == Protocol::Resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.integer(call.conn.client.id as i64);
    for (field, value) in [("mode", mode), ("role", role)] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
}
