//! `DEBUG`: looking inside, for tests and for those who search a fault.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use slotward_commands::{Arg, CmdError, Command, Digest, Group, digest_slot, digest_value};
use slotward_keyspace::{Db, DbIndex};
use slotward_rdb::{RdbError, ReadLimits};
use slotward_resp::Protocol;
use slotward_types::Slot;

use super::{ADMIN, row};
use crate::call::{Handler, Later, NodeCall, NodeCommand, Outcome};

/// Rows of the family.
pub(crate) const COMMANDS: &[NodeCommand] = &[NodeCommand::new(
    Command {
        args: &[Arg::string("subcommand"), Arg::string("arg").optional().multiple()],
        ..row("debug", -2, ADMIN, Group::Server, "1.0.0", "Looks inside, for tests.")
    },
    Handler::Later(debug),
)];

const NOT_ALLOWED: &str = "ERR DEBUG command not allowed. If the enable-debug-command option is \
    set to \"local\", you can run it from a local connection, otherwise you need to set this \
    option in the configuration file, and then restart the server.";

fn debug<'a>(call: &'a mut NodeCall<'_>) -> Later<'a> {
    Box::pin(async move {
        if !call.is_allowed(call.live.settings.enable_debug_command) {
            return Err(CmdError::text(NOT_ALLOWED));
        }
        let argc = call.argv.len();
        match (call.text(1).to_ascii_lowercase().as_str(), argc) {
            ("sleep", 3) => sleep(call).await,
            ("object", 3) => object(call).await,
            ("digest", 2) => digest(call).await,
            ("digest-value", _) => digest_values(call).await,
            ("set-active-expire", 3) => {
                let on = call.int(2)? != 0;
                call.node.active_expiry.store(on, Ordering::Relaxed);
                call.reply.ok();
                Ok(())
            }
            // What Redis has these for does not exist here: nodes that hold one element, a cron, a
            // reply buffer of a fixed size. Its test suite asks for them.
            ("quicklist-packed-threshold" | "pause-cron", 3) | ("replybuffer", 4) => {
                call.reply.ok();
                Ok(())
            }
            ("protocol", 3) => protocol(call),
            ("reload", _) => reload(call).await,
            ("help", 2) => {
                super::help(
                    call,
                    "DEBUG",
                    &[
                        "SLEEP <seconds>",
                        "OBJECT <key>",
                        "DIGEST",
                        "DIGEST-VALUE <key> [<key> ...]",
                        "SET-ACTIVE-EXPIRE 0|1",
                        "RELOAD",
                        "PROTOCOL string|integer|double|null|array|set|map|attrib|push|verbatim|\
                         true|false|bignum",
                    ],
                );
                Ok(())
            }
            _ => Err(CmdError::Other(
                format!(
                    "ERR unknown subcommand or wrong number of arguments for '{}'. Try DEBUG HELP.",
                    call.text(1)
                )
                .into(),
            )),
        }
    })
}

/// Nobody executes anything meanwhile, as when the process hangs.
async fn sleep(call: &mut NodeCall<'_>) -> Outcome {
    const LONGEST: f64 = 24.0 * 3600.0;
    let seconds = slotward_commands::parse_double(call.arg(2))
        .filter(|seconds| (0.0..=LONGEST).contains(seconds))
        .ok_or(CmdError::NotAFloat)?;
    let pause = Duration::from_secs_f64(seconds);
    if call.held.is_some() {
        std::thread::sleep(pause);
    } else {
        call.node.barrier.run(|| std::thread::sleep(pause)).await;
    }
    call.reply.ok();
    Ok(())
}

async fn object(call: &mut NodeCall<'_>) -> Outcome {
    let bytes = call.arg(2).to_vec();
    let key = call.node.keyspace.key(&bytes);
    let db = call.conn.db;
    let info = call.in_slot(key.slot, db, |view, _| view.object_info(&key)).await;
    let info = info.ok_or(CmdError::text("ERR no such key"))?;
    call.reply.simple(&format!(
        "Value at:0x0 refcount:{} encoding:{} serializedlength:{} lru:0 lru_seconds_idle:{}",
        info.refcount,
        info.encoding.name(),
        info.serialized_bytes,
        info.idle_seconds
    ));
    Ok(())
}

async fn digest(call: &mut NodeCall<'_>) -> Outcome {
    let mut sum = Digest::default();
    for db in (0..call.node.keyspace.databases()).map(DbIndex) {
        let mut next = Some(Slot::ZERO);
        while let Some(slot) = next.and_then(|from| call.node.keyspace.next_used_slot(db, from)) {
            sum.mix(call.in_slot(slot, db, |view, _| digest_slot(view, slot)).await);
            next = Slot::new(u64::from(slot.get()) + 1).ok();
        }
    }
    call.reply.simple(&sum.to_string());
    Ok(())
}

async fn digest_values(call: &mut NodeCall<'_>) -> Outcome {
    let keys: Vec<Vec<u8>> = call.argv.from(2).iter().map(<[u8]>::to_vec).collect();
    call.reply.array(keys.len());
    for bytes in keys {
        let key = call.node.keyspace.key(&bytes);
        let db = call.conn.db;
        let digest = call
            .in_slot(key.slot, db, |view, _| {
                let expires_at = view.expires_at(&key).flatten();
                view.value(&key).map_or(Digest::default(), |value| digest_value(value, expires_at))
            })
            .await;
        call.reply.simple(&digest.to_string());
    }
    Ok(())
}

/// Writes every entry in the form of a dump and reads it back, a slot at a time. There is no file
/// between, so the options about files mean nothing.
async fn reload(call: &mut NodeCall<'_>) -> Outcome {
    for index in 2..call.argv.len() {
        let word = call.text(index).to_ascii_uppercase();
        if !["MERGE", "NOFLUSH", "NOSAVE"].contains(&word.as_str()) {
            return Err(CmdError::text(
                "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
            ));
        }
    }
    for db in (0..call.node.keyspace.databases()).map(DbIndex) {
        let mut next = Some(Slot::ZERO);
        while let Some(slot) = next.and_then(|from| call.node.keyspace.next_used_slot(db, from)) {
            let reloaded = call.in_slot(slot, db, |view, _| reload_slot(view, slot)).await;
            if let Err(error) = reloaded {
                let text = format!("ERR Error trying to load the RDB dump: {error}");
                return Err(CmdError::Other(text.into()));
            }
            next = Slot::new(u64::from(slot.get()) + 1).ok();
        }
    }
    call.reply.ok();
    Ok(())
}

fn reload_slot(view: &mut Db<'_>, slot: Slot) -> Result<(), RdbError> {
    let (mut dumps, mut cursor) = (BTreeMap::new(), 0);
    loop {
        cursor = view.scan_slot(slot, cursor, &mut |entry| {
            let payload = slotward_rdb::dump(&entry.value, true);
            dumps.insert(entry.key.to_vec(), (payload, entry.expires_at));
        });
        if cursor == 0 {
            break;
        }
    }
    let limits = view.limits();
    for (key, (payload, expires_at)) in dumps {
        let value = slotward_rdb::restore(&payload, limits, ReadLimits::default())?;
        view.insert(&view.key(&key), value, expires_at);
    }
    Ok(())
}

/// A reply of every kind there is, for those who write clients.
fn protocol(call: &mut NodeCall<'_>) -> Outcome {
    let kind = call.text(2).to_ascii_lowercase();
    let is_resp3 = call.reply.protocol() == Protocol::Resp3;
    let reply = &mut *call.reply;
    match kind.as_str() {
        "string" => reply.bulk(b"Hello World"),
        "integer" => reply.integer(12345),
        // Not pi: the number clients are tested with.
        "double" => reply.double(3141.0 / 1000.0),
        "null" => reply.null(),
        "array" => {
            reply.array(3);
            (0..3).for_each(|number| reply.integer(number));
        }
        "set" => {
            reply.set(3);
            (0..3).for_each(|number| reply.integer(number));
        }
        "map" => {
            reply.map(3);
            for number in 0..3 {
                reply.integer(number);
                reply.boolean(number == 1);
            }
        }
        "attrib" => {
            if is_resp3 {
                reply.raw(b"|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n");
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        "push" => {
            if !is_resp3 {
                return Err(CmdError::text("ERR RESP2 is not supported by this command"));
            }
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.integer(42);
            // The message is out of band: the command itself is still to be answered.
            reply.bulk(b"Some real reply following the push reply");
        }
        "verbatim" => reply.verbatim("txt", b"This is a verbatim\nstring"),
        "true" => reply.boolean(true),
        "false" => reply.boolean(false),
        "bignum" => {
            const NUMBER: &[u8] = b"1234567999999999999999999999999999999";
            if is_resp3 {
                reply.raw(b"(");
                reply.raw(NUMBER);
                reply.raw(b"\r\n");
            } else {
                reply.bulk(NUMBER);
            }
        }
        _ => {
            return Err(CmdError::text(
                "ERR Wrong protocol type name. Please use one of the following: string|integer|double|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}
