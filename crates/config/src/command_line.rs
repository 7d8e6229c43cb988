//! The command line of `redis-server`: `[file] [-] [--option value…]…`.

use crate::file::{UnbalancedQuotes, split_words};

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// Print the version and end.
    Version,
    /// Print how to use it and end.
    Help,
    /// Start.
    Start {
        /// The configuration file.
        file: Option<String>,
        /// Whether more of it comes on the standard input.
        stdin: bool,
        /// Whether `--sentinel` was among the options.
        sentinel: bool,
        /// The options, each as the words of one line of a file.
        directives: Vec<Vec<String>>,
    },
}

/// Reads the arguments (without the program's name).
///
/// # Errors
/// When quotes inside an option do not close, or a value stands where an option must.
pub fn parse_command_line(arguments: &[String]) -> Result<CommandLine, String> {
    match arguments {
        [only] if only == "-v" || only == "--version" => return Ok(CommandLine::Version),
        [only] if only == "-h" || only == "--help" => return Ok(CommandLine::Help),
        _ => {}
    }
    let (file, options) = match arguments {
        [first, rest @ ..] if !first.starts_with('-') => (Some(first.clone()), rest),
        all => (None, all),
    };
    let mut stdin = false;
    let mut sentinel = false;
    let mut directives: Vec<Vec<String>> = Vec::new();
    // An option has taken its first value: from then on `--` begins the next option.
    let mut complete = true;
    for (index, word) in options.iter().enumerate() {
        let at_an_end = (index == 0 && file.is_none()) || index + 1 == options.len();
        if word == "-" && complete && at_an_end {
            stdin = true;
            continue;
        }
        let Some(option) = word.strip_prefix("--").filter(|_| complete) else {
            let Some(directive) = directives.last_mut() else {
                return Err(format!("'{word}' is neither a file in the first place nor an option"));
            };
            directive.push(word.clone());
            complete = true;
            continue;
        };
        let mut words = split_words(option).map_err(|error: UnbalancedQuotes| error.to_string())?;
        let next_is_option = options.get(index + 1).is_none_or(|next| next.starts_with("--"));
        match words.first().map(|name| name.to_ascii_lowercase()).as_deref() {
            None => return Err(format!("'{word}' names no option")),
            Some("sentinel") if words.len() == 1 && next_is_option => sentinel = true,
            // `--save` without a value switches snapshots off.
            Some("save") if words.len() == 1 && next_is_option => {
                words.push(String::new());
                directives.push(words);
            }
            Some(_) => {
                complete = words.len() > 1;
                directives.push(words);
            }
        }
    }
    Ok(CommandLine::Start { file, stdin, sentinel, directives })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> (Option<String>, bool, bool, Vec<String>) {
        let arguments: Vec<String> = split_words(line).unwrap();
        match parse_command_line(&arguments) {
            Ok(CommandLine::Start { file, stdin, sentinel, directives }) => {
                (file, stdin, sentinel, directives.iter().map(|d| d.join("|")).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_become_directives() {
        for (why, line, file, stdin, sentinel, want) in [
            ("nothing", "", None, false, false, vec![]),
            ("a file", "redis.conf", Some("redis.conf"), false, false, vec![]),
            (
                "file and options",
                "r.conf --port 7000 --save '' --loglevel verbose",
                Some("r.conf"),
                false,
                false,
                vec!["port|7000", "save|", "loglevel|verbose"],
            ),
            (
                "several values",
                "--save 900 1 --port 1",
                None,
                false,
                false,
                vec!["save|900|1", "port|1"],
            ),
            ("in one argument", "'--port 7000'", None, false, false, vec!["port|7000"]),
            (
                "save without a value",
                "--save --port 1",
                None,
                false,
                false,
                vec!["save|", "port|1"],
            ),
            ("save at the end", "--save", None, false, false, vec!["save|"]),
            (
                "the first value may look like an option",
                "--port --loglevel verbose",
                None,
                false,
                false,
                vec!["port|--loglevel|verbose"],
            ),
            ("standard input", "--port 1 -", None, true, false, vec!["port|1"]),
            ("standard input only", "-", None, true, false, vec![]),
            (
                "negative value",
                "--list-max-listpack-size -2",
                None,
                false,
                false,
                vec!["list-max-listpack-size|-2"],
            ),
            ("sentinel", "s.conf --sentinel", Some("s.conf"), false, true, vec![]),
        ] {
            let want = want.into_iter().map(str::to_owned).collect();
            assert_eq!(parse(line), (file.map(str::to_owned), stdin, sentinel, want), "{why}");
        }
    }

    #[test]
    fn version_and_help() {
        assert_eq!(parse_command_line(&["-v".into()]), Ok(CommandLine::Version));
        assert_eq!(parse_command_line(&["--help".into()]), Ok(CommandLine::Help));
        assert!(parse_command_line(&["-x".into()]).is_err());
    }
}
