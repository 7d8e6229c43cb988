//! `LCS`: the longest common subsequence of two strings.

use slotward_resp::Reply;

use crate::call::Call;
use crate::error::CmdError;

#[derive(Debug, Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    match_len_min: usize,
}

/// One run of equal bytes: last and first index in each string.
struct Match {
    a: (usize, usize),
    b: (usize, usize),
}

pub(crate) fn lcs(call: &mut Call<'_>) -> Result<(), CmdError> {
    let a = operand(call, 1)?;
    let b = operand(call, 2)?;
    let options = options(call)?;
    if options.len && options.idx {
        return Err(CmdError::text(
            "ERR If you want both the length and indexes, please just use IDX.",
        ));
    }
    if options.len {
        call.reply.integer(i64::from(length(&a, &b)));
        return Ok(());
    }
    let bytes = (a.len() as u128 + 1) * (b.len() as u128 + 1) * size_of::<u32>() as u128;
    if bytes > call.settings.string_bytes_max as u128 {
        return Err(CmdError::text(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    let table = Lengths::new(&a, &b);
    let (common, matches) = table.walk(&a, &b);
    if options.idx {
        reply_matches(call.reply, &matches, common.len(), &options);
    } else {
        call.reply.bulk(&common);
    }
    Ok(())
}

fn operand(call: &mut Call<'_>, index: usize) -> Result<Vec<u8>, CmdError> {
    let key = call.key(index);
    match call.db.string(&key) {
        Ok(value) => Ok(value.map_or_else(Vec::new, |value| value.to_vec())),
        Err(_) => Err(CmdError::text("ERR The specified keys must contain string values")),
    }
}

fn options(call: &Call<'_>) -> Result<Options, CmdError> {
    let mut options = Options::default();
    let mut index = 3;
    while index < call.argv.len() {
        if call.is_word(index, "LEN") {
            options.len = true;
        } else if call.is_word(index, "IDX") {
            options.idx = true;
        } else if call.is_word(index, "WITHMATCHLEN") {
            options.with_match_len = true;
        } else if call.is_word(index, "MINMATCHLEN") && index + 1 < call.argv.len() {
            options.match_len_min = usize::try_from(call.int(index + 1)?).unwrap_or(0);
            index += 1;
        } else {
            return Err(CmdError::Syntax);
        }
        index += 1;
    }
    Ok(options)
}

/// The length alone needs only one row of the table.
fn length(a: &[u8], b: &[u8]) -> u32 {
    let mut row = vec![0u32; b.len() + 1];
    for &byte in a {
        let mut diagonal = 0;
        for (j, &other) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if byte == other { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

/// `[i][j]`: the length for the first `i` bytes of one string and the first `j` of the other.
struct Lengths {
    cells: Vec<u32>,
    width: usize,
}

impl Lengths {
    fn new(a: &[u8], b: &[u8]) -> Lengths {
        let width = b.len() + 1;
        let mut cells = vec![0u32; (a.len() + 1) * width];
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                cells[i * width + j] = if a[i - 1] == b[j - 1] {
                    cells[(i - 1) * width + j - 1] + 1
                } else {
                    cells[(i - 1) * width + j].max(cells[i * width + j - 1])
                };
            }
        }
        Lengths { cells, width }
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * self.width + j]
    }

    /// The subsequence, and its runs from the last to the first.
    fn walk(&self, a: &[u8], b: &[u8]) -> (Vec<u8>, Vec<Match>) {
        let (mut i, mut j) = (a.len(), b.len());
        let mut common = Vec::with_capacity(self.at(i, j) as usize);
        let mut matches: Vec<Match> = Vec::new();
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                i -= 1;
                j -= 1;
                common.push(a[i]);
                match matches.last_mut() {
                    Some(run) if run.a.0 == i + 1 && run.b.0 == j + 1 => {
                        run.a.0 = i;
                        run.b.0 = j;
                    }
                    _ => matches.push(Match { a: (i, i), b: (j, j) }),
                }
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        common.reverse();
        (common, matches)
    }
}

fn reply_matches(reply: &mut Reply, matches: &[Match], len: usize, options: &Options) {
    let run_len = |run: &Match| run.a.1 - run.a.0 + 1;
    let shown: Vec<_> =
        matches.iter().filter(|run| run_len(run) >= options.match_len_min).collect();
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(shown.len());
    for run in shown {
        reply.array(2 + usize::from(options.with_match_len));
        for (first, last) in [run.a, run.b] {
            reply.array(2);
            reply.integer(first as i64);
            reply.integer(last as i64);
        }
        if options.with_match_len {
            reply.integer(run_len(run) as i64);
        }
    }
    reply.bulk(b"len");
    reply.integer(len as i64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn one_row_gives_the_length_of_the_whole_table(
            a in prop::collection::vec(0u8..4, 0..30),
            b in prop::collection::vec(0u8..4, 0..30),
        ) {
            let (common, matches) = Lengths::new(&a, &b).walk(&a, &b);
            prop_assert_eq!(length(&a, &b) as usize, common.len());
            let in_runs: usize = matches.iter().map(|run| run.a.1 - run.a.0 + 1).sum();
            prop_assert_eq!(in_runs, common.len());
        }
    }
}
