//! The commands of a sentinel: one row each, and those that are not about masters.

use std::sync::atomic::Ordering;

use slotward_cluster::Seen;
use slotward_failover::FailoverRequest;
use slotward_resp::{Args, Protocol, Reply};
use slotward_types::{UnixMillis, slot_of};

use super::sentinel;
use super::server::Server;
use super::session::Session;
use crate::control::View;

/// The version of Redis that clients are to take us for.
const REDIS_VERSION: &str = "7.2.4";
const SLOTWARD_VERSION: &str = env!("CARGO_PKG_VERSION");

/// One command being executed.
pub(crate) struct Call<'a> {
    /// What all connections share.
    pub(crate) server: &'a Server,
    /// The connection.
    pub(crate) session: &'a mut Session,
    /// What the sentinel knows.
    pub(crate) view: &'a View,
    /// Name and arguments.
    pub(crate) args: Args<'a>,
    /// Where the reply goes.
    pub(crate) reply: &'a mut Reply,
    /// What is to be done after it.
    pub(crate) then: Then,
}

/// What a command asks of its connection's task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Only to send the reply.
    Nothing,
    /// To close the connection.
    Close,
    /// To ask for a failover.
    FailOver(FailoverRequest),
    /// To have the silent sentinels leave the group.
    ForgetSilent,
    /// To end the process in order.
    Stop,
}

/// What a handler answers when it refuses: the whole error, prefix included.
pub(crate) type Handled = Result<(), String>;
type Handler = fn(&mut Call<'_>) -> Handled;

/// A command or a subcommand.
pub(crate) struct Row {
    /// Its name in lower case.
    pub(crate) name: &'static str,
    /// As in `COMMAND`: how many arguments with the name, or the least of them, negated.
    pub(crate) arity: i64,
    /// The flags that `COMMAND` shows.
    flags: &'static [&'static str],
    /// What it does.
    run: Handler,
    /// What it has below it.
    below: &'static [Row],
}

impl Row {
    /// A subcommand.
    pub(crate) const fn sub(name: &'static str, arity: i64, run: Handler) -> Row {
        Row { name, arity, flags: ADMIN, run, below: &[] }
    }
}

const ADMIN: &[&str] = &["admin", "sentinel", "loading", "stale"];
const FAST: &[&str] = &["sentinel", "loading", "stale", "fast"];
const OPEN: &[&str] = &["sentinel", "loading", "stale", "fast", "no_auth"];
const PUBSUB: &[&str] = &["pubsub", "sentinel", "loading", "stale"];

const fn row(
    name: &'static str,
    arity: i64,
    flags: &'static [&'static str],
    run: Handler,
    below: &'static [Row],
) -> Row {
    Row { name, arity, flags, run, below }
}

/// Every command.
static COMMANDS: &[Row] = &[
    row("auth", -2, OPEN, auth, &[]),
    row("client", -2, FAST, container, CLIENT),
    row("cluster", -2, FAST, container, CLUSTER),
    row("command", -1, FAST, command, COMMAND),
    row("hello", -1, OPEN, hello, &[]),
    row("info", -1, FAST, info, &[]),
    row("ping", -1, FAST, ping, &[]),
    row("psubscribe", -2, PUBSUB, psubscribe, &[]),
    row("punsubscribe", -1, PUBSUB, punsubscribe, &[]),
    row("quit", -1, OPEN, quit, &[]),
    row("reset", 1, OPEN, reset, &[]),
    row("role", 1, FAST, role, &[]),
    row("sentinel", -2, ADMIN, container, sentinel::SUBCOMMANDS),
    row("shutdown", -1, ADMIN, shutdown, &[]),
    row("subscribe", -2, PUBSUB, subscribe, &[]),
    row("unsubscribe", -1, PUBSUB, unsubscribe, &[]),
];

static CLIENT: &[Row] = &[
    Row::sub("getname", 2, |call| {
        match call.session.name.as_str() {
            "" => call.reply.null(),
            name => call.reply.bulk(name.as_bytes()),
        }
        Ok(())
    }),
    Row::sub("id", 2, |call| {
        call.reply.integer(call.session.id as i64);
        Ok(())
    }),
    Row::sub("info", 2, |call| {
        let line = client_line(call);
        call.reply.verbatim("txt", line.as_bytes());
        Ok(())
    }),
    Row::sub("setinfo", 4, client_setinfo),
    Row::sub("setname", 3, client_setname),
];

static CLUSTER: &[Row] = &[
    Row::sub("info", 2, |call| {
        let text = slotward_cluster::info(&seen(call.view), true);
        call.reply.verbatim("txt", text.as_bytes());
        Ok(())
    }),
    Row::sub("keyslot", 3, |call| {
        call.reply.integer(slot_of(&call.args[2]).get().into());
        Ok(())
    }),
    Row::sub("myid", 2, |call| {
        call.reply.bulk(call.server.me.id.as_bytes());
        Ok(())
    }),
    Row::sub("nodes", 2, |call| {
        let text = slotward_cluster::nodes(&seen(call.view));
        call.reply.verbatim("txt", text.as_bytes());
        Ok(())
    }),
    Row::sub("shards", 2, |call| {
        slotward_cluster::shards(&seen(call.view), call.reply);
        Ok(())
    }),
    Row::sub("slots", 2, |call| {
        slotward_cluster::slots(&seen(call.view), call.reply);
        Ok(())
    }),
];

static COMMAND: &[Row] = &[
    Row::sub("count", 2, |call| {
        call.reply.integer(COMMANDS.len() as i64);
        Ok(())
    }),
    Row::sub("docs", -2, |call| {
        // Nothing is documented here; clients fall back to what they know.
        call.reply.map(0);
        Ok(())
    }),
    Row::sub("info", -2, command_info),
    Row::sub("list", 2, |call| {
        call.reply.array(COMMANDS.len());
        COMMANDS.iter().for_each(|row| call.reply.bulk(row.name.as_bytes()));
        Ok(())
    }),
];

/// Executes one command; whatever happens, there is a reply.
pub(crate) fn execute(call: &mut Call<'_>) {
    let begun = call.reply.len();
    if let Err(error) = admit(call).and_then(|row| (row.run)(call)) {
        call.reply.truncate(begun);
        call.reply.error(&error);
    }
}

/// Finds the command and asks whether it may run now. The order of the questions decides which
/// error a client sees.
fn admit(call: &Call<'_>) -> Result<&'static Row, String> {
    let row = find(COMMANDS, &call.args[0]).ok_or_else(|| unknown_command(call.args))?;
    check_arity(row, row.name, call.args.len())?;
    if !call.session.authenticated && !row.flags.contains(&"no_auth") {
        return Err("NOAUTH Authentication required.".into());
    }
    let allowed = row.flags.contains(&"pubsub") || matches!(row.name, "ping" | "quit" | "reset");
    if call.session.is_subscribed() && call.session.protocol == Protocol::Resp2 && !allowed {
        return Err(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET \
             are allowed in this context",
            row.name
        ));
    }
    Ok(row)
}

/// Runs the subcommand.
fn container(call: &mut Call<'_>) -> Handled {
    let parent = find(COMMANDS, &call.args[0]).expect("it was found before");
    let Some(row) = find(parent.below, &call.args[1]) else {
        return Err(format!(
            "ERR unknown subcommand '{}'. Try {} HELP.",
            printable(&call.args[1], 128),
            parent.name.to_uppercase()
        ));
    };
    check_arity(row, &format!("{}|{}", parent.name, row.name), call.args.len())?;
    (row.run)(call)
}

fn find(rows: &'static [Row], name: &[u8]) -> Option<&'static Row> {
    rows.iter().find(|row| row.name.as_bytes().eq_ignore_ascii_case(name))
}

fn check_arity(row: &Row, name: &str, argc: usize) -> Handled {
    let argc = argc as i64;
    let right = if row.arity < 0 { argc >= -row.arity } else { argc == row.arity };
    if right {
        return Ok(());
    }
    Err(format!("ERR wrong number of arguments for '{name}' command"))
}

fn unknown_command(args: Args<'_>) -> String {
    let mut shown = String::new();
    for arg in args.from(1).iter() {
        if shown.len() >= 128 {
            break;
        }
        shown.push_str(&format!("'{}' ", printable(arg, 128 - shown.len())));
    }
    format!("ERR unknown command '{}', with args beginning with: {shown}", printable(&args[0], 128))
}

/// At most `len` bytes of what a client sent, fit to be shown to it.
pub(crate) fn printable(bytes: &[u8], len: usize) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(len)]).into_owned()
}

/// Text without the bytes that cannot be.
pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn seen(view: &View) -> Seen<'_> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Seen {
        topology: &view.topology,
        viewer: None,
        health: &view.health,
        now: UnixMillis(now.map_or(0, |now| now.as_millis() as i64)),
    }
}

fn ping(call: &mut Call<'_>) -> Handled {
    let message = call.args.get(1);
    if call.args.len() > 2 {
        return Err("ERR wrong number of arguments for 'ping' command".into());
    }
    if call.session.is_subscribed() && call.session.protocol == Protocol::Resp2 {
        call.reply.array(2);
        call.reply.bulk(b"pong");
        call.reply.bulk(message.unwrap_or_default());
    } else {
        match message {
            Some(message) => call.reply.bulk(message),
            None => call.reply.simple("PONG"),
        }
    }
    Ok(())
}

fn auth(call: &mut Call<'_>) -> Handled {
    let (user, password) = match call.args.len() {
        2 => (&b"default"[..], &call.args[1]),
        3 => (&call.args[1], &call.args[2]),
        _ => return Err("ERR syntax error".into()),
    };
    if call.args.len() == 2 && call.server.requirepass.is_none() {
        return Err("ERR AUTH <password> called without any password configured for the default \
                    user. Are you sure your configuration is correct?"
            .into());
    }
    log_in(call.server, call.session, user, password)?;
    call.reply.ok();
    Ok(())
}

fn log_in(server: &Server, session: &mut Session, user: &[u8], password: &[u8]) -> Handled {
    let right = match &server.requirepass {
        Some(wanted) => same(wanted.as_bytes(), password),
        None => true,
    };
    if user != b"default" || !right {
        return Err("WRONGPASS invalid username-password pair or user is disabled.".into());
    }
    session.authenticated = true;
    Ok(())
}

/// Compares in a time that does not tell how much was right.
fn same(wanted: &[u8], given: &[u8]) -> bool {
    let differences = wanted.iter().zip(given).fold(0, |all, (a, b)| all | (a ^ b));
    wanted.len() == given.len() && differences == 0
}

fn hello(call: &mut Call<'_>) -> Handled {
    let mut args = call.args.from(1).iter();
    let mut protocol = call.session.protocol;
    if let Some(version) = args.next() {
        protocol = match version {
            b"2" => Protocol::Resp2,
            b"3" => Protocol::Resp3,
            _ if text(version).is_some_and(|version| version.parse::<i64>().is_ok()) => {
                return Err("NOPROTO unsupported protocol version".into());
            }
            _ => return Err("ERR Protocol version is not an integer or out of range".into()),
        };
    }
    let mut name = None;
    while let Some(option) = args.next() {
        let syntax = || format!("ERR Syntax error in HELLO option '{}'", printable(option, 128));
        if option.eq_ignore_ascii_case(b"auth") {
            let user = args.next().ok_or_else(syntax)?;
            let password = args.next().ok_or_else(syntax)?;
            log_in(call.server, call.session, user, password)?;
        } else if option.eq_ignore_ascii_case(b"setname") {
            name = Some(client_name(args.next().ok_or_else(syntax)?)?);
        } else {
            return Err(syntax());
        }
    }
    if !call.session.authenticated {
        return Err(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise \
                    the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the \
                    client and select the RESP protocol version at the same time"
                .into(),
        );
    }
    if let Some(name) = name {
        call.session.name = name;
    }
    call.session.protocol = protocol;
    call.reply.set_protocol(protocol);
    call.reply.map(6);
    call.reply.bulk(b"server");
    call.reply.bulk(b"redis");
    call.reply.bulk(b"version");
    call.reply.bulk(REDIS_VERSION.as_bytes());
    call.reply.bulk(b"proto");
    call.reply.integer(if protocol == Protocol::Resp3 { 3 } else { 2 });
    call.reply.bulk(b"id");
    call.reply.integer(call.session.id as i64);
    call.reply.bulk(b"mode");
    call.reply.bulk(b"sentinel");
    call.reply.bulk(b"modules");
    call.reply.array(0);
    Ok(())
}

fn quit(call: &mut Call<'_>) -> Handled {
    call.reply.ok();
    call.then = Then::Close;
    Ok(())
}

fn reset(call: &mut Call<'_>) -> Handled {
    call.session.reset(call.server.requirepass.is_none());
    call.reply.set_protocol(Protocol::Resp2);
    call.reply.simple("RESET");
    Ok(())
}

fn shutdown(call: &mut Call<'_>) -> Handled {
    for option in call.args.from(1).iter() {
        // There is nothing to save and nobody to wait for: the options change nothing.
        let known = [&b"nosave"[..], b"save", b"now", b"force", b"abort"];
        if !known.iter().any(|known| known.eq_ignore_ascii_case(option)) {
            return Err("ERR syntax error".into());
        }
        if option.eq_ignore_ascii_case(b"abort") {
            return Err("ERR No shutdown in progress.".into());
        }
    }
    call.then = Then::Stop;
    Ok(())
}

fn role(call: &mut Call<'_>) -> Handled {
    call.reply.array(2);
    call.reply.bulk(b"sentinel");
    call.reply.array(call.view.topology.shards.len());
    for shard in call.view.topology.shards.values() {
        call.reply.bulk(shard.name.as_bytes());
    }
    Ok(())
}

fn client_setname(call: &mut Call<'_>) -> Handled {
    call.session.name = client_name(&call.args[2])?;
    call.reply.ok();
    Ok(())
}

fn client_name(name: &[u8]) -> Result<String, String> {
    if !name.iter().all(u8::is_ascii_graphic) {
        return Err(
            "ERR Client names cannot contain spaces, newlines or special characters.".into()
        );
    }
    Ok(printable(name, name.len()))
}

fn client_setinfo(call: &mut Call<'_>) -> Handled {
    let (attribute, value) = (&call.args[2], &call.args[3]);
    let place = if attribute.eq_ignore_ascii_case(b"lib-name") {
        &mut call.session.library
    } else if attribute.eq_ignore_ascii_case(b"lib-ver") {
        &mut call.session.library_version
    } else {
        let shown = printable(attribute, 128);
        return Err(format!("ERR Unrecognized option '{shown}'"));
    };
    if !value.iter().all(u8::is_ascii_graphic) {
        let attribute = printable(attribute, 128).to_lowercase();
        return Err(format!(
            "ERR {attribute} cannot contain spaces, newlines or special characters."
        ));
    }
    *place = printable(value, value.len());
    call.reply.ok();
    Ok(())
}

fn client_line(call: &Call<'_>) -> String {
    let session = &*call.session;
    format!(
        "id={} addr={} name={} sub={} psub={} resp={} lib-name={} lib-ver={} cmd=client|info\n",
        session.id,
        session.address,
        session.name,
        session.channels.len(),
        session.patterns.len(),
        if session.protocol == Protocol::Resp3 { 3 } else { 2 },
        session.library,
        session.library_version,
    )
}

fn subscribe(call: &mut Call<'_>) -> Handled {
    for channel in call.args.from(1).iter() {
        call.session.channels.insert(channel.to_vec());
        confirm(call, b"subscribe", Some(channel));
    }
    Ok(())
}

fn psubscribe(call: &mut Call<'_>) -> Handled {
    for pattern in call.args.from(1).iter() {
        call.session.patterns.insert(pattern.to_vec());
        confirm(call, b"psubscribe", Some(pattern));
    }
    Ok(())
}

fn unsubscribe(call: &mut Call<'_>) -> Handled {
    let named: Vec<Vec<u8>> = match call.args.len() {
        1 => call.session.channels.iter().cloned().collect(),
        _ => call.args.from(1).iter().map(<[u8]>::to_vec).collect(),
    };
    for channel in &named {
        call.session.channels.remove(channel);
        confirm(call, b"unsubscribe", Some(channel));
    }
    if named.is_empty() {
        confirm(call, b"unsubscribe", None);
    }
    Ok(())
}

fn punsubscribe(call: &mut Call<'_>) -> Handled {
    let named: Vec<Vec<u8>> = match call.args.len() {
        1 => call.session.patterns.iter().cloned().collect(),
        _ => call.args.from(1).iter().map(<[u8]>::to_vec).collect(),
    };
    for pattern in &named {
        call.session.patterns.remove(pattern);
        confirm(call, b"punsubscribe", Some(pattern));
    }
    if named.is_empty() {
        confirm(call, b"punsubscribe", None);
    }
    Ok(())
}

fn confirm(call: &mut Call<'_>, kind: &[u8], what: Option<&[u8]>) {
    call.reply.push(3);
    call.reply.bulk(kind);
    call.reply.bulk_or_null(what);
    call.reply.integer(call.session.subscriptions() as i64);
}

fn command(call: &mut Call<'_>) -> Handled {
    if call.args.len() > 1 {
        return container(call);
    }
    call.reply.array(COMMANDS.len());
    COMMANDS.iter().for_each(|row| describe(row, row.name, call.reply));
    Ok(())
}

fn command_info(call: &mut Call<'_>) -> Handled {
    if call.args.len() == 2 {
        call.reply.array(COMMANDS.len());
        COMMANDS.iter().for_each(|row| describe(row, row.name, call.reply));
        return Ok(());
    }
    let names = call.args.from(2);
    call.reply.array(names.len());
    for name in names.iter() {
        match find(COMMANDS, name) {
            Some(row) => describe(row, row.name, call.reply),
            None => call.reply.null_array(),
        }
    }
    Ok(())
}

fn describe(row: &Row, name: &str, reply: &mut Reply) {
    reply.array(10);
    reply.bulk(name.as_bytes());
    reply.integer(row.arity);
    reply.set(row.flags.len());
    row.flags.iter().for_each(|flag| reply.simple(flag));
    // No keys: first, last, step.
    (0..3).for_each(|_| reply.integer(0));
    // Categories, hints, key specifications.
    reply.set(0);
    reply.array(0);
    reply.array(0);
    reply.array(row.below.len());
    for below in row.below {
        describe(below, &format!("{}|{}", row.name, below.name), reply);
    }
}

type Section = fn(&Call<'_>) -> String;

fn info(call: &mut Call<'_>) -> Handled {
    let sections: [(&str, Section); 3] =
        [("server", info_server), ("clients", info_clients), ("sentinel", sentinel::info)];
    let wanted: Vec<String> =
        call.args.from(1).iter().map(|arg| printable(arg, 64).to_lowercase()).collect();
    let all = wanted.is_empty()
        || wanted.iter().any(|w| matches!(w.as_str(), "all" | "default" | "everything"));
    let texts: Vec<String> = sections
        .iter()
        .filter(|(name, _)| all || wanted.iter().any(|wanted| wanted == name))
        .map(|(_, section)| section(call))
        .collect();
    call.reply.verbatim("txt", texts.join("\r\n").as_bytes());
    Ok(())
}

fn info_server(call: &Call<'_>) -> String {
    let uptime = call.server.started.elapsed().as_secs();
    let fields = [
        ("redis_version", REDIS_VERSION.to_owned()),
        ("slotward_version", SLOTWARD_VERSION.to_owned()),
        ("redis_mode", "sentinel".to_owned()),
        ("os", std::env::consts::OS.to_owned()),
        ("arch_bits", usize::BITS.to_string()),
        ("process_id", std::process::id().to_string()),
        ("run_id", call.server.me.id.clone()),
        ("tcp_port", call.server.port.to_string()),
        ("uptime_in_seconds", uptime.to_string()),
        ("uptime_in_days", (uptime / 86_400).to_string()),
    ];
    section("Server", &fields)
}

fn info_clients(call: &Call<'_>) -> String {
    let clients = call.server.clients.load(Ordering::Relaxed);
    let fields = [
        ("connected_clients", clients.to_string()),
        ("maxclients", call.server.clients_max.to_string()),
    ];
    section("Clients", &fields)
}

/// A section of `INFO`.
pub(crate) fn section(title: &str, fields: &[(&str, String)]) -> String {
    let lines: String = fields.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect();
    format!("# {title}\r\n{lines}")
}
