//! A node without a network, for the scripts of rows: parses, locks, runs, collects the stream that
//! a replica would get.

use std::fmt::Write as _;

use slotward_keyspace::{Db, DbIndex, DbSet, ExpiryPolicy, Keyspace, Locked};
use slotward_resp::{
    Args, CommandDecoder, Decoded, Limits, OwnedArgs, Protocol, Reply, Value, decode_value,
};
use slotward_types::UnixMillis;

use crate::call::Call;
use crate::command::{Flags, Run};
use crate::digest::{Digest, digest_slot};
use crate::effects::{Effects, Event, EventClass, take_removals};
use crate::error::CmdError;
use crate::hash::import::Fieldsets;
use crate::random::Random;
use crate::registry::{CommandId, Found, Registry};
use crate::settings::DataSettings;

/// One node in memory.
pub(crate) struct Node {
    keyspace: Keyspace,
    registry: Registry,
    pub(crate) settings: DataSettings,
    pub(crate) now: UnixMillis,
    random: Random,
    pub(crate) policy: ExpiryPolicy,
    pub(crate) protocol: Protocol,
    db: DbIndex,
    fieldsets: Fieldsets,
    /// What a replica would have received.
    pub(crate) stream: Vec<(DbIndex, OwnedArgs)>,
    /// The keyspace events so far.
    pub(crate) events: Vec<Event>,
}

impl Node {
    /// A master.
    pub(crate) fn new(seed: u64, now: i64) -> Node {
        let notify = EventClass::ALL.and(EventClass::KEY_MISS);
        Node {
            keyspace: Keyspace::new(16, seed),
            registry: Registry::new([]),
            settings: DataSettings { notify, ..DataSettings::default() },
            now: UnixMillis(now),
            random: Random::new(seed),
            policy: ExpiryPolicy::Delete,
            protocol: Protocol::Resp2,
            db: DbIndex(0),
            fieldsets: Fieldsets::default(),
            stream: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Runs a line as a client would type it and shows the reply as `redis-cli` would, but bare:
    /// strings without quotes, integers without `(integer)`.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let mut buffer = format!("{line}\r\n").into_bytes();
        let mut spans = Vec::new();
        let decoded =
            CommandDecoder::default().decode(&mut buffer, 0, &mut spans, &Limits::default());
        assert!(matches!(decoded, Ok(Decoded::Command { .. })), "{line:?} is no command");
        self.run_args(Args::new(&buffer, &spans))
    }

    /// Runs a command of these words.
    pub(crate) fn run_args(&mut self, argv: Args<'_>) -> String {
        let mut reply = Reply::new(Vec::new(), self.protocol);
        if let Err(error) = self.execute(argv, &mut reply) {
            reply.truncate(0);
            reply.error(&error.to_string());
        }
        let (value, len) = decode_value(reply.as_bytes())
            .expect("replies are valid")
            .expect("replies are complete");
        assert_eq!(len, reply.len(), "{argv:?} replied more than once");
        shown(&value, 0)
    }

    fn execute(&mut self, argv: Args<'_>, reply: &mut Reply) -> Result<(), CmdError> {
        let found = self.registry.find(argv);
        let Found::Command(id) = found else { return Err(self.registry.unknown_text(found, argv)) };
        let command = self.registry.command(id);
        if !command.arity.admits(argv.len()) {
            return Err(self.registry.arity_text(id));
        }
        let Run::Data(run) = command.run else { panic!("{} is no data command", command.name) };
        let mut locked = lock_keys(&self.keyspace, &self.registry, id, argv);
        let mut effects = Effects::new(self.settings.notify);
        let db = Db::new(
            &self.keyspace,
            &mut locked,
            self.db,
            self.now,
            self.policy,
            &self.settings.limits,
        );
        let mut keys = Vec::new();
        let _ = self.registry.keys_of(id, argv, &mut keys);
        let first_key =
            keys.first().map(|index| self.keyspace.key(argv.get(*index).expect("found")));
        let mut call = Call {
            argv,
            db,
            reply,
            random: &mut self.random,
            settings: &self.settings,
            effects: &mut effects,
            fieldsets: &mut self.fieldsets,
            first_key,
        };
        let result = run(&mut call);
        let expired: Vec<(DbIndex, OwnedArgs)> = take_removals(&mut call.db, false)
            .into_iter()
            .map(|removal| (removal.db, removal.command))
            .collect();
        assert_eq!(call.db.index(), self.db, "a handler leaves the database selected that it met");
        drop(call);
        drop(locked);
        let is_write = command.is_write() || command.flags.has(Flags::MAY_REPLICATE);
        self.collect(argv, is_write, &expired, &effects, result.is_err());
        result
    }

    fn collect(
        &mut self,
        argv: Args<'_>,
        is_write: bool,
        expired: &[(DbIndex, OwnedArgs)],
        effects: &Effects,
        failed: bool,
    ) {
        self.stream.extend_from_slice(expired);
        assert!(effects.changes() == 0 || is_write, "{argv:?} changed data but is no write");
        assert!(!failed || effects.changes() == 0, "{argv:?} failed after it changed data");
        match effects.rewritten() {
            Some(commands) => self.stream.extend(commands.iter().map(|c| (self.db, c.clone()))),
            None if effects.changes() > 0 => self.stream.push((self.db, argv.into())),
            None => {}
        }
        self.events.extend_from_slice(effects.events());
    }

    /// A replica that has applied this node's stream at another time with another seed.
    pub(crate) fn replica(&self) -> Node {
        let mut replica = Node::new(0x5eed, self.now.0 + 777_777);
        replica.policy = ExpiryPolicy::Ignore;
        for (db, command) in &self.stream {
            replica.db = *db;
            let reply = replica.run_args(command.as_args());
            assert!(!reply.starts_with("(error)"), "the replica refused {command:?}: {reply}");
        }
        replica
    }

    /// The digest of all keys that are alive at `now`.
    pub(crate) fn digest(&self, now: UnixMillis) -> Digest {
        let mut digest = Digest::default();
        for index in 0..16 {
            for slot in self.keyspace.used_slots(DbIndex(index)).collect::<Vec<_>>() {
                let mut locked = Locked::from(self.keyspace.lock_blocking(slot));
                let limits = &self.settings.limits;
                let policy = ExpiryPolicy::Hide;
                let mut db =
                    Db::new(&self.keyspace, &mut locked, DbIndex(index), now, policy, limits);
                digest.mix(digest_slot(&mut db, slot));
            }
        }
        digest
    }

    /// The stream in readable form.
    pub(crate) fn stream_text(&self) -> Vec<String> {
        let word = |arg: &[u8]| arg.escape_ascii().to_string();
        let text = |args: &OwnedArgs| args.as_args().iter().map(word).collect::<Vec<_>>().join(" ");
        self.stream.iter().map(|(_, args)| text(args)).collect()
    }

    /// Forgets all data.
    pub(crate) fn flush(&mut self) {
        let _ = self.keyspace.flush(DbSet::All);
        self.stream.clear();
        self.events.clear();
    }
}

/// Holds the slots of the command's keys.
fn lock_keys<'k>(
    keyspace: &'k Keyspace,
    registry: &Registry,
    id: CommandId,
    argv: Args<'_>,
) -> Locked<'k> {
    let mut keys = Vec::new();
    // Arguments that hold no keys get no locks; the handler has to refuse them first.
    let _ = registry.keys_of(id, argv, &mut keys);
    let mut slots: Vec<_> = keys.iter().map(|index| keyspace.key(&argv[*index]).slot).collect();
    slots.sort_unstable();
    slots.dedup();
    let mut locked = Locked::new();
    slots.into_iter().for_each(|slot| locked.push(keyspace.lock_blocking(slot)));
    locked
}

fn shown(value: &Value, indent: usize) -> String {
    match value {
        Value::Simple(text) => text.clone(),
        Value::Error(text) => format!("(error) {text}"),
        Value::Integer(number) => number.to_string(),
        Value::Bulk(bytes) if bytes.is_empty() => "\"\"".to_owned(),
        Value::Bulk(bytes) => bytes.escape_ascii().to_string(),
        Value::Null => "(nil)".to_owned(),
        Value::Double(number) => number.to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::Array(items) | Value::Set(items) | Value::Push(items) => shown_list(items, indent),
        Value::Map(pairs) => {
            let items: Vec<Value> =
                pairs.iter().flat_map(|(k, v)| [k.clone(), v.clone()]).collect();
            shown_list(&items, indent)
        }
    }
}

fn shown_list(items: &[Value], indent: usize) -> String {
    if items.is_empty() {
        return "(empty array)".to_owned();
    }
    let width = items.len().to_string().len();
    let mut text = String::new();
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            let _ = write!(text, "\n{:indent$}", "");
        }
        let item = shown(item, indent + width + 2);
        let _ = write!(text, "{:>width$}) {item}", index + 1);
    }
    text
}

/// Runs a row's script and compares every reply, then replays what it propagated on a replica and
/// compares the data. A line `@advance 1500` lets milliseconds pass; `@flush` forgets all data.
///
/// # Errors
/// With the dialogue as it really went, when it is not the script.
pub(crate) fn check_script(name: &str, script: &str) -> Result<(), String> {
    let mut node = Node::new(42, 1_700_000_000_000);
    let mut really = String::new();
    for line in script.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            let _ = writeln!(really, "{line}\n{}", node.run(command));
        } else if let Some(millis) = line.strip_prefix("@advance ") {
            node.now.0 += millis.parse::<i64>().expect("@advance takes milliseconds");
            let _ = writeln!(really, "{line}");
        } else if line == "@flush" {
            node.flush();
            let _ = writeln!(really, "{line}");
        }
    }
    if really != script {
        return Err(format!("{name} went:\n{really}\nthe row says:\n{script}"));
    }
    let replica = node.replica();
    if replica.digest(node.now) != node.digest(node.now) {
        let stream = node.stream_text().join("\n");
        return Err(format!("{name}: the replica differs; it got:\n{stream}"));
    }
    Ok(())
}

/// Runs commands and compares what they propagate.
pub(crate) fn check_stream(why: &str, commands: &[&str], want: &[&str]) {
    let mut node = Node::new(7, 1_700_000_000_000);
    for command in commands {
        node.run(command);
    }
    assert_eq!(node.stream_text(), want, "{why}");
}
