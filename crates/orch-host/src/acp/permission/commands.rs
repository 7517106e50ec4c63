//! Whether a command only looks at, stages and commits files: what belongs to editing them.
//!
//! What is not understood here is not such a command. Nothing is ever run by these rules; the
//! agent's own shell reads the text, so nothing that a shell could take for more than plain words
//! is accepted.

/// Subcommands of git that change what is committed, with any options.
const CHANGING: [&str; 5] = ["add", "commit", "mv", "rm", "status"];
/// Subcommands that look, with the options below: others of theirs write files or run programs.
const LOOKING: [&str; 3] = ["diff", "log", "show"];
/// Options of [`LOOKING`].
const LOOKING_OPTIONS: [&str; 12] = [
    "--",
    "--cached",
    "--decorate",
    "--graph",
    "--name-only",
    "--name-status",
    "--numstat",
    "--oneline",
    "--shortstat",
    "--staged",
    "--stat",
    "-p",
];

/// Whether a text for a shell is such a command, or several in a row; `cd` into what `inside`
/// accepts may be among them.
pub(super) fn is_git_work(text: &str, inside: &dyn Fn(&str) -> bool) -> bool {
    let is_step = |words: &Vec<String>| match words.as_slice() {
        [cd, directory] if cd == "cd" => inside(directory),
        words => is_git_words(words),
    };
    simple_commands(text).is_some_and(|commands| commands.iter().all(is_step))
}

/// Whether these words are such a command.
pub(super) fn is_git_words(words: &[String]) -> bool {
    let [git, subcommand, arguments @ ..] = words else {
        return false;
    };
    let looks = |argument: &String| {
        let is_count = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        match argument.strip_prefix('-') {
            None => true,
            Some(rest) => is_count(rest) || LOOKING_OPTIONS.contains(&argument.as_str()),
        }
    };
    let subcommand = subcommand.as_str();
    git == "git"
        && (CHANGING.contains(&subcommand)
            || (LOOKING.contains(&subcommand) && arguments.iter().all(looks)))
}

/// The words of each of the commands that `&&` joins; `None` if a shell would do anything else
/// with the text.
fn simple_commands(text: &str) -> Option<Vec<Vec<String>>> {
    let mut commands = vec![Vec::new()];
    let mut rest = text.trim_matches([' ', '\t', '\n']);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("&&") {
            commands.push(Vec::new());
            rest = after.trim_start_matches([' ', '\t', '\n']);
            continue;
        }
        if rest.starts_with('&') {
            return None;
        }
        let (word, after) = word(rest)?;
        commands.last_mut()?.push(word);
        rest = after.trim_start_matches([' ', '\t']);
    }
    let is_whole = commands.iter().all(|words| !words.is_empty());
    is_whole.then_some(commands)
}

/// The word at the head of `text`, without its quotes, and what follows it.
fn word(text: &str) -> Option<(String, &str)> {
    let mut word = String::new();
    let mut rest = text;
    loop {
        let Some(first) = rest.chars().next() else {
            return Some((word, rest));
        };
        rest = match first {
            '\'' => quoted(&rest[1..], '\'', "", &mut word)?,
            '"' => quoted(&rest[1..], '"', "$`\\!", &mut word)?,
            ' ' | '\t' | '&' => return Some((word, rest)),
            plain if plain.is_ascii_alphanumeric() || "_-./:@%+,=".contains(plain) => {
                word.push(plain);
                &rest[1..]
            }
            _ => return None,
        };
    }
}

/// Takes what is quoted; `None` if it holds something that means more than itself.
fn quoted<'a>(text: &'a str, end: char, special: &str, word: &mut String) -> Option<&'a str> {
    let (inner, rest) = text.split_once(end)?;
    if inner.contains(|c| special.contains(c)) {
        return None;
    }
    word.push_str(inner);
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_work(text: &str) -> bool {
        is_git_work(text, &|path| path == "/tree")
    }

    #[test]
    fn staging_and_committing_is_work() {
        for text in [
            "git add -A",
            "git add -A && git commit -m \"fix: it's (done); really > all\"",
            "cd /tree && git status --short",
            "git commit -m 'a $(b) `c` \\'",
            "git add -A &&\n git commit -am x\n",
            "git rm -r 'a b' && git mv x y",
            "git diff --stat HEAD -- src",
            "git log --oneline -5",
        ] {
            assert!(is_work(text), "{text}");
        }
    }

    #[test]
    fn whatever_a_shell_could_make_more_of_is_not() {
        for text in [
            "",
            "git",
            "ls",
            "git push",
            "git -c core.pager=x log",
            "git add -A; reboot",
            "git add -A & reboot",
            "git add -A && ",
            "git add -A || reboot",
            "git add $(reboot)",
            "git add `reboot`",
            "git commit -m \"$(reboot)\"",
            "git commit -m \"a\\\"; reboot\"",
            "git add a > /etc/passwd",
            "git add a | tee b",
            "git add a\nreboot",
            "git add ~/x",
            "git add 'a",
            "cd /etc && git add x",
            "cd /tree /etc && git add x",
            "X=1 git add a",
            "git diff --output=/etc/passwd",
            "git log --ext-diff",
            "git show -O/etc/x",
        ] {
            assert!(!is_work(text), "{text}");
        }
    }
}
