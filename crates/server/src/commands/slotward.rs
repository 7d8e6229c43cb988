//! `SLOTWARD`: what sentinels that watch this node say to it over its client port.

use slotward_commands::{Arg, CmdError, Command, Group};

use super::{ADMIN, container, row};
use crate::call::{Handler, Later, NodeCall, NodeCommand, Outcome};
use crate::control::{self, Attended};
use crate::pubsub::{Scope, relay};

/// Rows of the family.
pub(crate) const COMMANDS: &[NodeCommand] = &[NodeCommand::container(
    container(
        "slotward",
        Group::Server,
        "1.0.0",
        "What sentinels and other nodes say to a node. Internal.",
    ),
    &[
        NodeCommand::new(
            Command {
                args: &[
                    Arg::string("group"),
                    Arg::string("name"),
                    Arg::string("host"),
                    Arg::string("sentinel").multiple(),
                ],
                ..row(
                    "attend",
                    -6,
                    ADMIN,
                    Group::Server,
                    "1.0.0",
                    "Has a node whose settings name no sentinels attend to these.",
                )
            },
            Handler::Later(attend),
        ),
        NodeCommand::new(
            Command {
                args: &[
                    Arg::string("group"),
                    Arg::string("name"),
                    Arg::string("host"),
                    Arg::string("sentinel").multiple(),
                ],
                ..row(
                    "rejoin",
                    -6,
                    ADMIN,
                    Group::Server,
                    "1.0.0",
                    "As ATTEND, for a node that is not master of data of its own.",
                )
            },
            Handler::Later(attend),
        ),
        NodeCommand::new(
            Command {
                args: &[Arg::string("hello")],
                ..row(
                    "hello",
                    3,
                    ADMIN,
                    Group::Server,
                    "1.0.0",
                    "Tells a sentinel who else watches this node.",
                )
            },
            Handler::Now(hello),
        ),
        NodeCommand::new(
            Command {
                args: &[Arg::string("channel"), Arg::string("message")],
                ..row(
                    "publish",
                    4,
                    ADMIN,
                    Group::Server,
                    "1.0.0",
                    "Sends what another node has published to those who listen here.",
                )
            },
            Handler::Now(publish),
        ),
        NodeCommand::new(
            Command {
                args: &[Arg::string("shardchannel"), Arg::string("message")],
                ..row(
                    "spublish",
                    4,
                    ADMIN,
                    Group::Server,
                    "1.0.0",
                    "As PUBLISH, for a shard channel.",
                )
            },
            Handler::Now(spublish),
        ),
    ],
)];

fn hello(call: &mut NodeCall<'_>) -> Outcome {
    let others = call.node.meeting.hello(&call.text(2)).map_err(refused)?;
    call.reply.array(others.len());
    others.iter().for_each(|text| call.reply.bulk(text.as_bytes()));
    Ok(())
}

fn publish(call: &mut NodeCall<'_>) -> Outcome {
    relay(call, Scope::Channel)
}

fn spublish(call: &mut NodeCall<'_>) -> Outcome {
    relay(call, Scope::Shard)
}

fn attend<'a>(call: &'a mut NodeCall<'_>) -> Later<'a> {
    Box::pin(async move {
        if call.held.is_some() {
            return Err(CmdError::text("ERR SLOTWARD ATTEND is not allowed in transactions"));
        }
        let words: Vec<String> = (2..call.argv.len()).map(|index| call.text(index)).collect();
        let attended = Attended::from_words(&words).map_err(refused)?;
        let rejoins = call.is_word(1, "rejoin");
        control::attend_to(call.node, attended, rejoins).await.map_err(refused)?;
        call.reply.ok();
        Ok(())
    })
}

fn refused(text: String) -> CmdError {
    CmdError::Other(text.into())
}
