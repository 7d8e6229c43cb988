//! A node as its clients see it: real sockets, the whole path of a command.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use slotward_config::{CommandLine, Config, Sources, load, parse_command_line};
use slotward_resp::{Value, decode_value, encode_command};

/// A node on a Unix socket of its own; ends with the test.
struct Server {
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(options: &[&str]) -> Server {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir();
        let path = folder.join(format!("slotward-{}-{number}.sock", std::process::id()));
        let mut arguments: Vec<String> = ["--port", "0", "--io-threads", "2", "--dir"]
            .into_iter()
            .chain([folder.to_str().expect("a path in UTF-8"), "--unixsocket"])
            .chain([path.to_str().expect("a path in UTF-8")])
            .chain(options.iter().copied())
            .map(str::to_owned)
            .collect();
        arguments.extend(["--enable-debug-command".to_owned(), "yes".to_owned()]);
        let Ok(CommandLine::Start { directives, .. }) = parse_command_line(&arguments) else {
            panic!("the options are good")
        };
        let sources = Sources {
            file: None,
            stdin: None,
            environment: &[],
            directives: &directives,
            read: &mut |path| Err(format!("no file is read, not even {path}")),
        };
        let config = load(Config::new(), sources).expect("the options are good");
        let thread = std::thread::spawn(|| {
            slotward_server::run(config, "").expect("the node runs and ends in order");
        });
        let server = Server { path, thread: Some(thread) };
        drop(server.connect());
        server
    }

    fn connect(&self) -> Client {
        // The socket is there as soon as the node listens, which takes a moment.
        let stream = loop {
            match UnixStream::connect(&self.path) {
                Ok(stream) => break stream,
                Err(_) => std::thread::yield_now(),
            }
        };
        Client { stream, received: Vec::new() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut client = self.connect();
        // Where no password is set, this is an error that changes nothing.
        client.call(&["AUTH", "secret"]);
        client.send(&["SHUTDOWN", "NOSAVE"]);
        let ended = self.thread.take().expect("it is joined once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the node ended in disorder");
        std::fs::remove_file(&self.path).ok();
    }
}

struct Client {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Client {
    fn send(&mut self, words: &[&str]) {
        let mut out = Vec::new();
        encode_command(&mut out, words.iter().map(|word| word.as_bytes()));
        self.send_raw(&out);
    }

    fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the node listens");
    }

    fn reply(&mut self) -> Value {
        loop {
            if let Some((value, len)) = decode_value(&self.received).expect("the node speaks RESP")
            {
                self.received.drain(..len);
                return value;
            }
            let mut buffer = [0; 64 << 10];
            let read = self.stream.read(&mut buffer).expect("the connection holds");
            assert!(read > 0, "the node closed the connection; left: {:?}", self.received);
            self.received.extend_from_slice(&buffer[..read]);
        }
    }

    fn call(&mut self, words: &[&str]) -> Value {
        self.send(words);
        self.reply()
    }

    /// The reply as text: what tests compare with.
    fn text(&mut self, words: &[&str]) -> String {
        show(&self.call(words))
    }

    fn closed_after(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.received);
        self.stream.read_to_end(&mut rest).expect("the connection ends in order");
        rest
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Simple(text) => text.clone(),
        Value::Error(text) => format!("-{text}"),
        Value::Integer(number) => number.to_string(),
        Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Null => "nil".to_owned(),
        Value::Array(items) | Value::Set(items) | Value::Push(items) => {
            format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" "))
        }
        other => format!("{other:?}"),
    }
}

fn check(client: &mut Client, dialogue: &[(&str, &str)]) {
    for (command, want) in dialogue {
        let words: Vec<&str> = command.split(' ').collect();
        assert_eq!(client.text(&words), *want, "{command}");
    }
}

#[test]
fn the_plain_things_work() {
    let server = Server::start(&[]);
    check(
        &mut server.connect(),
        &[
            ("PING", "PONG"),
            ("PING hi", "hi"),
            ("PING a b", "-ERR wrong number of arguments for 'ping' command"),
            ("ECHO hi", "hi"),
            ("SET a 1", "OK"),
            ("INCR a", "2"),
            ("GET a", "2"),
            ("DBSIZE", "1"),
            ("SELECT 1", "OK"),
            ("GET a", "nil"),
            ("SET b 1", "OK"),
            ("SWAPDB 0 1", "OK"),
            ("KEYS *", "[a]"),
            ("FLUSHDB", "OK"),
            ("SELECT 0", "OK"),
            ("KEYS *", "[b]"),
            ("RANDOMKEY", "b"),
            ("FLUSHALL ASYNC", "OK"),
            ("DBSIZE", "0"),
            ("RANDOMKEY", "nil"),
            ("SELECT 16", "-ERR DB index is out of range"),
            ("SELECT x", "-ERR value is not an integer or out of range"),
            ("NOSUCH a b", "-ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' "),
            ("CLIENT NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP."),
            ("CLIENT SETNAME me", "OK"),
            ("CLIENT GETNAME", "me"),
            ("CLUSTER INFO", "-ERR This instance has cluster support disabled"),
            (
                "BGSAVE",
                "-ERR Nothing is kept on disk yet: snapshots and append-only files are not available",
            ),
            ("CONFIG SET maxmemory 1mb", "OK"),
            ("CONFIG GET maxmemory", "[maxmemory 1048576]"),
            ("RESET", "RESET"),
            ("CLIENT GETNAME", "nil"),
        ],
    );
}

#[test]
fn a_transaction_is_one() {
    let server = Server::start(&[]);
    let (mut one, mut two) = (server.connect(), server.connect());
    check(
        &mut one,
        &[
            ("EXEC", "-ERR EXEC without MULTI"),
            ("DISCARD", "-ERR DISCARD without MULTI"),
            ("MULTI", "OK"),
            ("MULTI", "-ERR MULTI calls can not be nested"),
            ("WATCH a", "-ERR WATCH inside MULTI is not allowed"),
            ("SET a 1", "QUEUED"),
            ("LPUSH a 1", "QUEUED"),
            ("MSET b 2 c 3", "QUEUED"),
            ("SELECT 1", "QUEUED"),
            ("DBSIZE", "QUEUED"),
            ("PING", "QUEUED"),
            (
                "EXEC",
                "[OK -WRONGTYPE Operation against a key holding the wrong kind of value OK OK 0 \
                 PONG]",
            ),
            ("SELECT 0", "OK"),
            ("MGET a b c", "[1 2 3]"),
            ("MULTI", "OK"),
            ("NOSUCH", "-ERR unknown command 'NOSUCH', with args beginning with: "),
            ("SET a 9", "QUEUED"),
            ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
            ("GET a", "1"),
            ("MULTI", "OK"),
            ("SET a 9", "QUEUED"),
            ("DISCARD", "OK"),
            ("GET a", "1"),
            ("WATCH a b", "OK"),
        ],
    );
    // What changes a watched key: another's write, a flush, but not a read.
    check(&mut two, &[("GET a", "1"), ("SET b 5", "OK")]);
    check(&mut one, &[("MULTI", "OK"), ("SET a 7", "QUEUED"), ("EXEC", "nil"), ("GET a", "1")]);
    check(&mut one, &[("WATCH a", "OK"), ("UNWATCH", "OK")]);
    check(&mut two, &[("SET a 5", "OK")]);
    check(&mut one, &[("MULTI", "OK"), ("SET a 7", "QUEUED"), ("EXEC", "[OK]")]);
    check(&mut one, &[("WATCH a", "OK")]);
    check(&mut two, &[("FLUSHALL", "OK")]);
    check(&mut one, &[("MULTI", "OK"), ("SET a 7", "QUEUED"), ("EXEC", "nil")]);
    // Commands about the whole keyspace are part of it.
    check(
        &mut one,
        &[
            ("MULTI", "OK"),
            ("SET x 1", "QUEUED"),
            ("KEYS *", "QUEUED"),
            ("FLUSHALL", "QUEUED"),
            ("KEYS *", "QUEUED"),
            ("SET y 1", "QUEUED"),
            ("DEBUG SLEEP 0", "QUEUED"),
            ("EXEC", "[OK [x] OK [] OK OK]"),
            ("KEYS *", "[y]"),
        ],
    );
}

#[test]
fn commands_may_come_in_any_pieces() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let mut bytes = Vec::new();
    let long = "x".repeat(300_000);
    for round in 0..20 {
        let key = format!("key{round}");
        encode_command(&mut bytes, [b"SET", key.as_bytes(), b"value"]);
        encode_command(&mut bytes, [b"GET".as_slice(), key.as_bytes()]);
        bytes.extend_from_slice(b"PING \"in line\"\r\n\r\n");
        encode_command(&mut bytes, [b"ECHO".as_slice(), long.as_bytes()]);
    }
    for piece in [1, 7, 1000, 16 << 10, 100_000, bytes.len()] {
        let mut writer = client.stream.try_clone().expect("a second handle");
        std::thread::scope(|scope| {
            // Pieces of one byte for a while, then larger ones, or the test takes too long.
            let (slow, fast) = bytes.split_at(if piece < 1000 { 2000 } else { 0 });
            scope.spawn(move || {
                slow.chunks(piece).for_each(|chunk| writer.write_all(chunk).expect("written"));
                let piece = piece.max(4096);
                fast.chunks(piece).for_each(|chunk| writer.write_all(chunk).expect("written"));
            });
            for round in 0..20 {
                assert_eq!(show(&client.reply()), "OK", "round {round} in pieces of {piece}");
                assert_eq!(show(&client.reply()), "value");
                assert_eq!(show(&client.reply()), "in line");
                assert_eq!(show(&client.reply()), long);
            }
        });
    }
}

#[test]
fn a_bad_frame_ends_the_connection_and_nothing_else() {
    let server = Server::start(&["--requirepass", "secret"]);
    let mut good = server.connect();
    check(
        &mut good,
        &[
            ("GET a", "-NOAUTH Authentication required."),
            ("AUTH wrong", "-WRONGPASS invalid username-password pair or user is disabled."),
            ("AUTH secret", "OK"),
        ],
    );
    for (bytes, want) in [
        ("*1\r\n:1\r\n", "-ERR Protocol error: expected '$', got ':'\r\n"),
        ("*100000\r\n", "-ERR Protocol error: unauthenticated multibulk length\r\n"),
        ("*1\r\n$500000000\r\n", "-ERR Protocol error: unauthenticated bulk length\r\n"),
        ("PING \"x\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
        (
            "PING\r\n*1\r\n$-5\r\n",
            "-NOAUTH Authentication required.\r\n-ERR Protocol error: invalid bulk length\r\n",
        ),
        ("QUIT\r\nPING\r\n", "+OK\r\n"),
    ] {
        let mut bad = server.connect();
        bad.send_raw(bytes.as_bytes());
        assert_eq!(String::from_utf8_lossy(&bad.closed_after()), want, "{bytes:?}");
    }
    check(&mut good, &[("SET a 1", "OK")]);
}

#[test]
fn clients_see_and_end_each_other() {
    let server = Server::start(&[]);
    let (mut one, mut two) = (server.connect(), server.connect());
    let id = two.text(&["CLIENT", "ID"]);
    assert!(one.text(&["CLIENT", "LIST", "ID", &id]).starts_with(&format!("id={id} ")));
    assert_eq!(one.text(&["CLIENT", "KILL", "ID", &id]), "1");
    assert_eq!(two.closed_after(), b"");
    check(
        &mut one,
        &[
            ("CLIENT KILL ID 99999", "0"),
            ("CLIENT KILL 1.2.3.4:5", "-ERR No such client"),
            ("CLIENT REPLY SKIP", "never answered"),
        ][..2],
    );
    one.send(&["CLIENT", "REPLY", "SKIP"]);
    one.send(&["SET", "a", "1"]);
    assert_eq!(one.text(&["GET", "a"]), "1", "only the command after SKIP is not answered");
    one.send(&["CLIENT", "REPLY", "OFF"]);
    one.send(&["GET", "a"]);
    assert_eq!(one.text(&["CLIENT", "REPLY", "ON"]), "OK");
}

#[test]
fn a_pause_holds_writes_until_it_is_ended() {
    let server = Server::start(&[]);
    let (mut one, mut two) = (server.connect(), server.connect());
    check(&mut one, &[("CLIENT PAUSE 100000 WRITE", "OK"), ("GET a", "nil")]);
    two.send(&["SET", "a", "1"]);
    check(&mut one, &[("GET a", "nil"), ("CLIENT UNPAUSE", "OK")]);
    assert_eq!(show(&two.reply()), "OK");
}

#[test]
fn a_scan_finds_every_key_once_the_database_stands_still() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for number in 0..3000 {
        client.send(&["SET", &format!("key:{number}"), "v"]);
        client.send(&["SADD", &format!("{{tag}}set:{number}"), "m"]);
    }
    (0..6000).for_each(|_| drop(client.reply()));
    for (count, options, want) in [
        ("10", vec![], 6000),
        ("1000", vec![], 6000),
        ("100", vec!["MATCH", "key:*"], 3000),
        ("1", vec!["TYPE", "set"], 3000),
    ] {
        let (mut cursor, mut found) = ("0".to_owned(), std::collections::BTreeSet::new());
        loop {
            let mut words = vec!["SCAN", cursor.as_str(), "COUNT", count];
            words.extend(&options);
            let Value::Array(parts) = client.call(&words) else { panic!("SCAN replies an array") };
            let keys = parts[1].as_array().expect("a list of keys");
            found.extend(keys.iter().map(show));
            cursor = show(&parts[0]);
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(found.len(), want, "COUNT {count} {options:?}");
    }
    assert_eq!(client.text(&["SCAN", "x"]), "-ERR invalid cursor");
    assert_eq!(client.text(&["SCAN", "0", "COUNT", "0"]), "-ERR syntax error");
}

/// Many writers on one key, many transactions over several: nothing is lost, nobody starves.
#[test]
fn contended_slots_are_handed_on() {
    let server = Server::start(&[]);
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let mut client = server.connect();
            scope.spawn(move || {
                for round in 0..300 {
                    client.send(&["INCR", "hot"]);
                    client.send(&["MULTI"]);
                    client.send(&["INCR", "first"]);
                    client.send(&["INCR", "second"]);
                    client.send(&["EXEC"]);
                    client.send(&["MSET", "hot2", "1", "first2", "2", "other", "3"]);
                    if worker == 0 && round % 50 == 0 {
                        client.send(&["SWAPDB", "1", "2"]);
                        client.reply();
                    }
                    (0..6).for_each(|_| assert!(!matches!(client.reply(), Value::Error(_))));
                }
            });
        }
    });
    check(&mut server.connect(), &[("MGET hot first second", "[2400 2400 2400]")]);
}
