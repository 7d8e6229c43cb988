//! Logs cut, torn, flipped and with files missing: what was synced comes back, or the start says why
//! not.

use super::*;
use crate::testing::TempDir;

fn entry(index: u64, payload: &[u8]) -> Record {
    Record { kind: Kind::Entry, index, payload: payload.to_vec() }
}

fn reopen(dir: &TempDir) -> Result<Vec<Record>, WalError> {
    Wal::open(dir.path()).map(|(_, records)| records)
}

#[test]
fn records_come_back_in_order() {
    let dir = TempDir::new();
    let (mut wal, records) = Wal::open(dir.path()).unwrap();
    assert_eq!(records, []);
    let vote = Record { kind: Kind::Vote, index: 0, payload: b"v".to_vec() };
    wal.append(&[entry(1, b"a"), vote.clone()]).unwrap();
    wal.sync().unwrap();
    wal.append(&[entry(2, b"")]).unwrap();
    wal.sync().unwrap();
    drop(wal);
    assert_eq!(reopen(&dir).unwrap(), [entry(1, b"a"), vote, entry(2, b"")]);
}

#[test]
fn a_write_torn_at_any_byte_costs_only_what_was_not_synced() {
    let dir = TempDir::new();
    let (mut wal, _) = Wal::open(dir.path()).unwrap();
    wal.append(&[entry(1, b"kept")]).unwrap();
    wal.sync().unwrap();
    let synced = wal.bytes;
    wal.append(&[entry(2, b"torn"), entry(3, b"too")]).unwrap();
    drop(wal);
    let path = segment_path(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    for len in synced as usize..whole.len() {
        let torn = TempDir::new();
        fs::write(segment_path(torn.path(), 1), &whole[..len]).unwrap();
        let records = reopen(&torn).unwrap();
        assert_eq!(records[0], entry(1, b"kept"), "cut at {len}");
        assert_eq!(reopen(&torn).unwrap(), records, "cut once, clean from then on");
    }
    // Within one unsynced batch a later sector may reach the disk and an earlier one not.
    let mut holed = whole.clone();
    holed[synced as usize + 26] ^= 1;
    fs::write(&path, &holed).unwrap();
    assert_eq!(reopen(&dir).unwrap(), [entry(1, b"kept")], "a hole in what was not synced");
}

#[test]
fn damage_to_what_was_synced_stops_the_start() {
    let dir = TempDir::new();
    let (mut wal, _) = Wal::open(dir.path()).unwrap();
    for index in 1..4 {
        wal.append(&[entry(index, b"abc")]).unwrap();
        wal.sync().unwrap();
    }
    drop(wal);
    let path = segment_path(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    let second = SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES + 3;
    for byte in second..second + RECORD_HEADER_BYTES + 3 {
        let mut damaged = whole.clone();
        damaged[byte] ^= 0x40;
        fs::write(&path, &damaged).unwrap();
        let offset = match reopen(&dir) {
            Err(WalError::Damaged { offset, .. }) => offset,
            other => panic!("byte {byte}: {other:?}"),
        };
        assert_eq!(offset, second as u64, "byte {byte}");
    }
}

#[test]
fn purged_segments_go_and_leave_the_vote_behind() {
    let dir = TempDir::new();
    let (mut wal, _) = Wal::open(dir.path()).unwrap();
    let vote = Record { kind: Kind::Vote, index: 0, payload: b"v".to_vec() };
    wal.append(std::slice::from_ref(&vote)).unwrap();
    let big = vec![7; SEGMENT_BYTES as usize];
    for index in 1..4 {
        wal.append(&[entry(index, &big)]).unwrap();
        wal.sync().unwrap();
    }
    wal.append(&[Record { kind: Kind::Purge, index: 2, payload: b"p".to_vec() }]).unwrap();
    wal.sync().unwrap();
    wal.delete_purged().unwrap();
    drop(wal);
    let records = reopen(&dir).unwrap();
    assert_eq!(records.iter().filter(|r| r.kind == Kind::Entry).count(), 1, "3 is kept");
    assert!(records.contains(&vote));
    fs::remove_file(segment_path(dir.path(), 4)).unwrap();
    fs::write(segment_path(dir.path(), 6), segment_header(6)).unwrap();
    assert!(matches!(reopen(&dir), Err(WalError::Missing { .. })));
}

#[test]
fn a_segment_without_a_whole_header_is_begun_again() {
    let dir = TempDir::new();
    let (mut wal, _) = Wal::open(dir.path()).unwrap();
    let vote = Record { kind: Kind::Vote, index: 0, payload: b"v".to_vec() };
    wal.append(std::slice::from_ref(&vote)).unwrap();
    wal.sync().unwrap();
    drop(wal);
    fs::write(segment_path(dir.path(), 2), b"SWR").unwrap();
    assert_eq!(reopen(&dir).unwrap(), std::slice::from_ref(&vote));
    assert_eq!(reopen(&dir).unwrap(), [vote.clone(), vote], "carried over to the new one");
}

#[test]
fn a_failed_write_poisons_the_log() {
    let dir = TempDir::new();
    let (mut wal, _) = Wal::open(dir.path()).unwrap();
    wal.file = OpenOptions::new().append(true).open("/dev/full").unwrap();
    assert!(wal.append(&[entry(1, b"a")]).is_err());
    wal.file = OpenOptions::new().append(true).open(segment_path(dir.path(), 1)).unwrap();
    assert!(wal.append(&[entry(1, b"a")]).is_err(), "nobody retries it");
    assert!(wal.sync().is_err());
}

/// A log whose last batch was written and not synced; how long it was when it was last synced, and
/// all records.
fn log_with_a_tail(dir: &TempDir) -> (Vec<u8>, usize, Vec<Record>) {
    let (mut wal, _) = Wal::open(dir.path()).unwrap();
    let vote = |n: u8| Record { kind: Kind::Vote, index: 0, payload: vec![n; 9] };
    let truncate = Record { kind: Kind::Truncate, index: 4, payload: Vec::new() };
    let synced = [vote(1), entry(1, b"one"), entry(2, b""), entry(4, b"four"), truncate, vote(2)];
    for batch in synced.chunks(2) {
        wal.append(batch).unwrap();
        wal.sync().unwrap();
    }
    let len = wal.bytes as usize;
    let tail = [entry(4, b"again"), Record { kind: Kind::Committed, ..vote(3) }, entry(5, b"five")];
    wal.append(&tail).unwrap();
    let all = [&synced[..], &tail].concat();
    (fs::read(segment_path(dir.path(), 1)).unwrap(), len, all)
}

fn records_of(bytes: &[u8]) -> Result<Vec<Record>, WalError> {
    let dir = TempDir::new();
    fs::write(segment_path(dir.path(), 1), bytes).unwrap();
    let records = reopen(&dir)?;
    let again = reopen(&dir)?;
    // The segment that is begun after a torn one repeats what it has to.
    assert_eq!(again[..records.len()], records, "what was read is read again");
    assert!(again[records.len()..].iter().all(|record| records.contains(record)));
    Ok(records)
}

#[test]
fn a_log_cut_anywhere_gives_the_whole_records_before_the_cut() {
    let dir = TempDir::new();
    let (whole, synced, all) = log_with_a_tail(&dir);
    let mut ends = Vec::new();
    let mut at = SEGMENT_HEADER_BYTES;
    for record in &all {
        at += RECORD_HEADER_BYTES + record.payload.len();
        ends.push(at);
    }
    assert_eq!(at, whole.len());
    for cut in 0..whole.len() {
        let kept = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(records_of(&whole[..cut]).unwrap(), all[..kept], "cut at {cut}");
        if cut >= synced {
            assert!(kept >= 6, "nothing that was synced is lost, cut at {cut}");
        }
        // A file may have grown before its content came: zeros in the place of what was not written.
        let mut zeros = whole.clone();
        zeros[cut.max(synced)..].fill(0);
        let kept = ends.iter().filter(|end| **end <= cut.max(synced)).count();
        assert_eq!(records_of(&zeros).unwrap(), all[..kept], "zeros from {cut}");
    }
}

#[test]
fn a_byte_flipped_in_the_tail_costs_the_tail_and_anywhere_before_it_the_start() {
    let dir = TempDir::new();
    let (whole, synced, all) = log_with_a_tail(&dir);
    for byte in SEGMENT_HEADER_BYTES..whole.len() {
        let mut damaged = whole.clone();
        damaged[byte] ^= 0x81;
        match records_of(&damaged) {
            Ok(records) => {
                assert!(byte >= synced, "byte {byte} was synced");
                assert!(records.len() >= 6, "byte {byte}");
                assert_eq!(records, all[..records.len()], "byte {byte}");
            }
            Err(WalError::Damaged { offset, path }) => {
                assert!(byte < synced, "byte {byte} was never synced");
                assert!(offset <= byte as u64 && path.ends_with("log-0000000000000001"));
            }
            Err(other) => panic!("byte {byte}: {other}"),
        }
    }
    for byte in 0..SEGMENT_HEADER_BYTES {
        let mut damaged = whole.clone();
        damaged[byte] ^= 1;
        assert!(matches!(records_of(&damaged), Err(WalError::NotASegment { .. })), "byte {byte}");
    }
}

#[test]
fn after_a_stop_in_order_damage_to_the_last_entry_is_noticed_too() {
    let dir = TempDir::new();
    let (mut wal, _) = Wal::open(dir.path()).unwrap();
    wal.append(&[Record { kind: Kind::Vote, index: 0, payload: b"v".to_vec() }]).unwrap();
    wal.append(&[entry(1, b"last")]).unwrap();
    wal.sync().unwrap();
    let end = wal.bytes as usize;
    wal.finish().unwrap();
    drop(wal);
    let whole = fs::read(segment_path(dir.path(), 1)).unwrap();
    for byte in SEGMENT_HEADER_BYTES..end {
        let mut damaged = whole.clone();
        damaged[byte] ^= 2;
        assert!(matches!(records_of(&damaged), Err(WalError::Damaged { .. })), "byte {byte}");
    }
}

/// Three segments, the second of which is complete and the third just begun.
fn three_segments(dir: &TempDir) -> Vec<Record> {
    let (mut wal, _) = Wal::open(dir.path()).unwrap();
    wal.append(&[Record { kind: Kind::Vote, index: 0, payload: b"v".to_vec() }]).unwrap();
    let big = vec![7; SEGMENT_BYTES as usize];
    for index in 1..4 {
        wal.append(&[entry(index, if index < 3 { &big } else { b"small" })]).unwrap();
        wal.sync().unwrap();
    }
    drop(wal);
    assert!(segment_path(dir.path(), 3).exists() && !segment_path(dir.path(), 4).exists());
    reopen(dir).unwrap()
}

#[test]
fn a_lost_segment_is_noticed_wherever_it_was() {
    let dir = TempDir::new();
    three_segments(&dir);
    for (lost, named) in [(2, 2), (3, 3)] {
        let path = segment_path(dir.path(), lost);
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        match reopen(&dir) {
            Err(WalError::Missing { path }) => assert_eq!(path, segment_path(dir.path(), named)),
            other => panic!("{lost}: {:?}", other.map(|records| records.len())),
        }
        fs::write(&path, &bytes).unwrap();
    }
    // The first may have been purged: the entries tell (see the log's own tests).
    fs::remove_file(segment_path(dir.path(), 1)).unwrap();
    assert_eq!(reopen(&dir).unwrap().iter().filter(|r| r.kind == Kind::Entry).count(), 2);
}

#[test]
fn a_crash_between_two_segments_loses_nothing() {
    let dir = TempDir::new();
    let all = three_segments(&dir);
    let (second, third) = (segment_path(dir.path(), 2), segment_path(dir.path(), 3));
    let (sealed, begun) = (fs::read(&second).unwrap(), fs::read(&third).unwrap());
    // The next one is there, and the record that says so is cut short, or zeros.
    for cut in 0..RECORD_HEADER_BYTES {
        let end = sealed.len() - RECORD_HEADER_BYTES + cut;
        fs::write(&second, &sealed[..end]).unwrap();
        assert!(reopen(&dir).unwrap() == all, "cut at {cut}");
        let mut zeros = sealed.clone();
        zeros[end..].fill(0);
        fs::write(&second, &zeros).unwrap();
        assert!(reopen(&dir).unwrap() == all, "zeros from {cut}");
    }
    // One byte of what was on disk before that: no torn seal.
    let mut damaged = sealed.clone();
    let last = sealed.len() - RECORD_HEADER_BYTES - 1;
    damaged[last] ^= 1;
    fs::write(&second, &damaged).unwrap();
    assert!(matches!(reopen(&dir), Err(WalError::Damaged { .. })));
    fs::write(&second, &sealed[..sealed.len() - RECORD_HEADER_BYTES]).unwrap();
    // The next one is there in part only: the crash came before anything was written behind it.
    let first_entries: Vec<&Record> = all.iter().filter(|r| r.index < 3).collect();
    let whole = SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES + 1;
    for cut in 0..=whole {
        fs::write(&third, &begun[..cut]).unwrap();
        let records = reopen(&dir).unwrap();
        assert!(first_entries.iter().all(|record| records.contains(record)), "cut at {cut}");
        assert_eq!(records.iter().filter(|r| r.kind == Kind::Entry).count(), 2, "cut at {cut}");
        for number in 4.. {
            let Ok(()) = fs::remove_file(segment_path(dir.path(), number)) else { break };
        }
    }
}
