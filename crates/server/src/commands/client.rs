//! `CLIENT`: the connections, seen and ended from any of them.

use slotward_commands::{Arg, CmdError, Command, CommandId, Flags, Group};
use slotward_types::Millis;

use super::{ADMIN, ANYTIME, NODE, container, row};
use crate::blocking::{self, Force};
use crate::call::{Handler, NodeCall, NodeCommand, Outcome};
use crate::client::{Client, mark};
use crate::clock;
use crate::connection::Replies;
use crate::pause::Paused;
use crate::tracking;

const fn sub(
    name: &'static str,
    arity: i16,
    flags: Flags,
    since: &'static str,
    summary: &'static str,
    args: &'static [Arg],
) -> Command {
    Command { args, ..row(name, arity, flags, Group::Connection, since, summary) }
}

const ON_OFF: &[Arg] = &[Arg::one_of("enabled", &[Arg::word("on", "ON"), Arg::word("off", "OFF")])];

const TRACKING: &[Arg] = &[
    Arg::one_of("status", &[Arg::word("on", "ON"), Arg::word("off", "OFF")]),
    Arg::integer("client-id").token("REDIRECT").optional(),
    Arg::string("prefix").token("PREFIX").optional().multiple(),
    Arg::word("bcast", "BCAST").optional(),
    Arg::word("optin", "OPTIN").optional(),
    Arg::word("optout", "OPTOUT").optional(),
    Arg::word("noloop", "NOLOOP").optional(),
];

/// Rows of the family.
pub(crate) const COMMANDS: &[NodeCommand] = &[NodeCommand::container(
    container("client", Group::Connection, "2.4.0", "Commands about connections."),
    &[
        NodeCommand::new(
            sub("id", 2, NODE, "5.0.0", "Tells the connection's number.", &[]),
            Handler::Now(id),
        ),
        NodeCommand::new(
            sub("getname", 2, NODE, "2.6.9", "Tells the connection's name.", &[]),
            Handler::Now(getname),
        ),
        NodeCommand::new(
            sub("setname", 3, NODE, "2.6.9", "Names the connection.", &[Arg::string("name")]),
            Handler::Now(setname),
        ),
        NodeCommand::new(
            sub(
                "setinfo",
                4,
                NODE,
                "7.2.0",
                "Tells the client library's name or version.",
                &[Arg::string("attr"), Arg::string("value")],
            ),
            Handler::Now(setinfo),
        ),
        NodeCommand::new(
            sub("info", 2, NODE, "6.2.0", "Describes this connection.", &[]),
            Handler::Now(info),
        ),
        NodeCommand::new(
            sub(
                "list",
                -2,
                ADMIN,
                "2.4.0",
                "Describes the connections.",
                &[
                    Arg::string("client-type").token("TYPE").optional(),
                    Arg::integer("client-id").token("ID").optional().multiple(),
                ],
            ),
            Handler::Now(list),
        ),
        NodeCommand::new(
            sub(
                "kill",
                -3,
                ADMIN,
                "2.4.0",
                "Ends connections.",
                &[Arg::string("filter").multiple()],
            ),
            Handler::Now(kill),
        ),
        NodeCommand::new(
            sub(
                "reply",
                3,
                NODE,
                "3.2.0",
                "Chooses whether commands are answered.",
                &[Arg::one_of(
                    "action",
                    &[Arg::word("on", "ON"), Arg::word("off", "OFF"), Arg::word("skip", "SKIP")],
                )],
            ),
            Handler::Now(reply),
        ),
        NodeCommand::new(
            sub("no-evict", 3, ADMIN, "7.0.0", "Spares the connection from eviction.", ON_OFF),
            Handler::Now(no_evict),
        ),
        NodeCommand::new(
            sub("no-touch", 3, NODE, "7.2.0", "Reads leave no trace on keys.", ON_OFF),
            Handler::Now(no_touch),
        ),
        NodeCommand::new(
            sub(
                "pause",
                -3,
                ADMIN,
                "3.0.0",
                "Makes commands wait for a while.",
                &[
                    Arg::integer("timeout"),
                    Arg::one_of("mode", &[Arg::word("write", "WRITE"), Arg::word("all", "ALL")])
                        .optional(),
                ],
            ),
            Handler::Whole(pause),
        ),
        NodeCommand::new(
            sub("unpause", 2, ADMIN, "6.2.0", "Ends a pause.", &[]),
            Handler::Now(unpause),
        ),
        NodeCommand::new(
            sub(
                "unblock",
                -3,
                ADMIN,
                "5.0.0",
                "Wakes a client from a blocking command.",
                &[Arg::integer("client-id"), Arg::string("how").optional()],
            ),
            Handler::Now(unblock),
        ),
        NodeCommand::new(
            sub("getredir", 2, NODE, "6.0.0", "Tells where invalidations are sent.", &[]),
            Handler::Now(tracking::getredir),
        ),
        NodeCommand::new(
            sub("trackinginfo", 2, NODE, "6.2.0", "Tells what is tracked.", &[]),
            Handler::Now(tracking::trackinginfo),
        ),
        NodeCommand::new(
            sub(
                "tracking",
                -3,
                NODE,
                "6.0.0",
                "Tells the client of changes of keys that it keeps copies of.",
                TRACKING,
            ),
            Handler::Now(tracking::tracking),
        ),
        NodeCommand::new(
            sub(
                "caching",
                3,
                NODE,
                "6.0.0",
                "Says whether the next command's keys are tracked.",
                &[Arg::one_of("mode", &[Arg::word("yes", "YES"), Arg::word("no", "NO")])],
            ),
            Handler::Now(tracking::caching),
        ),
        NodeCommand::new(
            sub("help", 2, ANYTIME, "5.0.0", "Lists the subcommands.", &[]),
            Handler::Now(help),
        ),
    ],
)];

fn id(call: &mut NodeCall<'_>) -> Outcome {
    call.reply.integer(call.conn.client.id as i64);
    Ok(())
}

fn getname(call: &mut NodeCall<'_>) -> Outcome {
    let name = call.conn.client.names.lock().name.clone();
    call.reply.bulk_or_null((!name.is_empty()).then_some(name.as_bytes()));
    Ok(())
}

/// A name that can stand in `CLIENT LIST`.
pub(super) fn valid_name(bytes: &[u8]) -> Result<String, CmdError> {
    printable(bytes).ok_or(CmdError::text(
        "ERR Client names cannot contain spaces, newlines or special characters.",
    ))
}

fn printable(bytes: &[u8]) -> Option<String> {
    let valid = bytes.iter().all(|byte| (b'!'..=b'~').contains(byte));
    valid.then(|| String::from_utf8_lossy(bytes).into_owned())
}

fn setname(call: &mut NodeCall<'_>) -> Outcome {
    call.conn.client.names.lock().name = valid_name(call.arg(2))?;
    call.reply.ok();
    Ok(())
}

fn setinfo(call: &mut NodeCall<'_>) -> Outcome {
    let attribute = call.text(2).to_ascii_lowercase();
    if !matches!(attribute.as_str(), "lib-name" | "lib-ver") {
        return Err(CmdError::Other(format!("ERR Unrecognized option '{}'", call.text(2)).into()));
    }
    let value = printable(call.arg(3)).ok_or_else(|| {
        CmdError::Other(
            format!("ERR {attribute} cannot contain spaces, newlines or special characters.")
                .into(),
        )
    })?;
    let mut names = call.conn.client.names.lock();
    if attribute == "lib-name" {
        names.lib_name = value;
    } else {
        names.lib_version = value;
    }
    drop(names);
    call.reply.ok();
    Ok(())
}

fn describe(call: &NodeCall<'_>, client: &Client) -> String {
    use std::sync::atomic::Ordering;
    if client.id == call.conn.client.id {
        // Others see what the last batch left; itself, a client sees as it is.
        client.last_active.store(call.now.0, Ordering::Relaxed);
        client.db.store(call.conn.db.0, Ordering::Relaxed);
        client.last_command.store(call.conn.last_command, Ordering::Relaxed);
    }
    let last = client.last_command.load(Ordering::Relaxed);
    let command = if last == u16::MAX {
        "NULL"
    } else {
        call.node.commands.registry().full_name(CommandId(last))
    };
    client.describe(call.now, command)
}

fn info(call: &mut NodeCall<'_>) -> Outcome {
    let line = describe(call, &call.conn.client) + "\n";
    call.reply.verbatim("txt", line.as_bytes());
    Ok(())
}

fn list(call: &mut NodeCall<'_>) -> Outcome {
    let mut clients = call.node.clients.all();
    if call.argv.len() > 2 {
        if call.is_word(2, "TYPE") && call.argv.len() == 4 {
            let kind = client_kind(call, 3)?;
            clients.retain(|client| client.kind() == kind);
        } else if call.is_word(2, "ID") && call.argv.len() > 3 {
            let mut ids = Vec::new();
            for index in 3..call.argv.len() {
                ids.push(call.int(index).map_err(|_| CmdError::text("ERR Invalid client ID"))?);
            }
            clients.retain(|client| ids.contains(&(client.id as i64)));
        } else {
            return Err(CmdError::Syntax);
        }
    }
    let mut text = String::new();
    for client in clients {
        text += &describe(call, &client);
        text.push('\n');
    }
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn client_kind(call: &NodeCall<'_>, index: usize) -> Result<&'static str, CmdError> {
    match call.text(index).to_ascii_lowercase().as_str() {
        "normal" => Ok("normal"),
        "master" => Ok("master"),
        "replica" | "slave" => Ok("replica"),
        "pubsub" => Ok("pubsub"),
        _ => Err(CmdError::Other(format!("ERR Unknown client type '{}'", call.text(index)).into())),
    }
}

/// Which connections `CLIENT KILL` ends: all conditions must hold.
#[derive(Default)]
struct Filter {
    id: Option<i64>,
    kind: Option<&'static str>,
    address: Option<String>,
    local: Option<String>,
    user: Option<String>,
    age_seconds_min: Option<i64>,
    spare_self: bool,
}

impl Filter {
    fn parse(call: &NodeCall<'_>) -> Result<Filter, CmdError> {
        let mut filter = Filter { spare_self: true, ..Filter::default() };
        let mut at = 2;
        while at < call.argv.len() {
            if at + 1 >= call.argv.len() {
                return Err(CmdError::Syntax);
            }
            let value = call.text(at + 1);
            match call.text(at).to_ascii_uppercase().as_str() {
                "ID" => {
                    let id = call.int(at + 1).ok().filter(|id| *id > 0);
                    filter.id =
                        Some(id.ok_or(CmdError::text("ERR client-id should be greater than 0"))?);
                }
                "TYPE" => filter.kind = Some(client_kind(call, at + 1)?),
                "ADDR" => filter.address = Some(value),
                "LADDR" => filter.local = Some(value),
                "USER" => filter.user = Some(value),
                "MAXAGE" => filter.age_seconds_min = Some(call.int(at + 1)?),
                "SKIPME" => match value.to_ascii_lowercase().as_str() {
                    "yes" => filter.spare_self = true,
                    "no" => filter.spare_self = false,
                    _ => return Err(CmdError::Syntax),
                },
                _ => return Err(CmdError::Syntax),
            }
            at += 2;
        }
        if filter.user.as_ref().is_some_and(|user| user != "default") {
            let user = filter.user.unwrap_or_default();
            return Err(CmdError::Other(format!("ERR No such user '{user}'").into()));
        }
        Ok(filter)
    }

    fn matches(&self, call: &NodeCall<'_>, client: &Client) -> bool {
        let age = (call.now.0 - client.since.0) / 1000;
        self.id.is_none_or(|id| client.id as i64 == id)
            && self.kind.is_none_or(|kind| client.kind() == kind)
            && self.address.as_ref().is_none_or(|address| *client.address == **address)
            && self.local.as_ref().is_none_or(|local| *client.local == **local)
            && self.age_seconds_min.is_none_or(|min| age >= min)
            && !(self.spare_self && client.id == call.conn.client.id)
    }
}

fn kill(call: &mut NodeCall<'_>) -> Outcome {
    let old_form = call.argv.len() == 3;
    let filter = if old_form {
        Filter { address: Some(call.text(2)), ..Filter::default() }
    } else {
        Filter::parse(call)?
    };
    let mut victims = call.node.clients.all();
    victims.retain(|client| filter.matches(call, client));
    for client in &victims {
        if client.id == call.conn.client.id {
            // Its own end comes after the reply.
            call.conn.closing = true;
        } else {
            client.kill();
        }
    }
    match (old_form, victims.len()) {
        (true, 0) => return Err(CmdError::text("ERR No such client")),
        (true, _) => call.reply.ok(),
        (false, count) => call.reply.integer(count as i64),
    }
    Ok(())
}

fn reply(call: &mut NodeCall<'_>) -> Outcome {
    if call.is_word(2, "ON") {
        call.conn.replies = Replies::On;
        call.reply.ok();
    } else if call.is_word(2, "OFF") {
        call.conn.replies = Replies::Off;
    } else if call.is_word(2, "SKIP") {
        if call.conn.replies != Replies::Off {
            call.conn.replies = Replies::SkipNext;
        }
    } else {
        return Err(CmdError::Syntax);
    }
    Ok(())
}

fn on_or_off(call: &NodeCall<'_>) -> Result<bool, CmdError> {
    if call.is_word(2, "ON") {
        Ok(true)
    } else if call.is_word(2, "OFF") {
        Ok(false)
    } else {
        Err(CmdError::Syntax)
    }
}

fn no_evict(call: &mut NodeCall<'_>) -> Outcome {
    let on = on_or_off(call)?;
    call.conn.client.mark(mark::NO_EVICT, on);
    call.reply.ok();
    Ok(())
}

fn no_touch(call: &mut NodeCall<'_>) -> Outcome {
    let on = on_or_off(call)?;
    call.conn.client.mark(mark::NO_TOUCH, on);
    call.reply.ok();
    Ok(())
}

fn pause(call: &mut NodeCall<'_>) -> Outcome {
    let timeout = call
        .int(2)
        .ok()
        .and_then(|ms| u64::try_from(ms).ok())
        .ok_or(CmdError::text("ERR timeout is not an integer or out of range"))?;
    let what = match call.argv.len() {
        3 => Paused::Everything,
        4 if call.is_word(3, "ALL") => Paused::Everything,
        4 if call.is_word(3, "WRITE") => Paused::Writes,
        _ => return Err(CmdError::Syntax),
    };
    let until = clock::boot_now().0.saturating_add(timeout);
    call.node.pause.begin(what, Millis(until));
    call.reply.ok();
    Ok(())
}

fn unpause(call: &mut NodeCall<'_>) -> Outcome {
    call.node.pause.end();
    call.reply.ok();
    Ok(())
}

fn unblock(call: &mut NodeCall<'_>) -> Outcome {
    let id = call.int(2)?;
    if call.argv.len() > 4
        || (call.argv.len() == 4 && !call.is_word(3, "TIMEOUT") && !call.is_word(3, "ERROR"))
    {
        return Err(CmdError::text("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
    }
    let is_error = call.argv.len() == 4 && call.is_word(3, "ERROR");
    let force = if is_error { Force::Error } else { Force::Timeout };
    let client = u64::try_from(id).ok().and_then(|id| call.node.clients.get(id));
    let ended = client.is_some_and(|client| blocking::unblock(call.node, &client, force));
    call.reply.integer(i64::from(ended));
    Ok(())
}

fn help(call: &mut NodeCall<'_>) -> Outcome {
    super::help(
        call,
        "CLIENT",
        &[
            "ID | INFO | GETNAME | SETNAME <name> | SETINFO LIB-NAME|LIB-VER <value>",
            "LIST [TYPE normal|master|replica|pubsub] [ID <id> ...]",
            "KILL <addr> | KILL [ID <id>] [TYPE <type>] [ADDR <addr>] [LADDR <addr>] [USER <name>]",
            "    [MAXAGE <seconds>] [SKIPME yes|no]",
            "REPLY ON|OFF|SKIP",
            "PAUSE <milliseconds> [WRITE|ALL] | UNPAUSE",
            "NO-EVICT ON|OFF | NO-TOUCH ON|OFF",
            "UNBLOCK <id> [TIMEOUT|ERROR]",
            "TRACKING ON|OFF [REDIRECT <id>] [BCAST] [PREFIX <prefix> ...] [OPTIN] [OPTOUT] [NOLOOP]",
            "CACHING YES|NO | TRACKINGINFO | GETREDIR",
        ],
    );
    Ok(())
}
