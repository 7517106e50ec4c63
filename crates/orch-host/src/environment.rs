//! The environment of an agent: an allow-list, not the daemon's own.
//!
//! The daemon may hold tokens, database addresses and whatever else its user has exported; an
//! agent gets what a program needs to find its way, what its kind needs to reach its provider,
//! and what the configuration gives it by name. `SSH_AUTH_SOCK` is not among it: with it an agent
//! could push and log in as the user, and orch lands work itself. Who wants that says
//! `env = { SSH_AUTH_SOCK = "$SSH_AUTH_SOCK" }`.
//!
//! This part must not know about runs. The caller adds orch's own `ORCH_…` variables after it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::adapter::{Adapter, Invocation};

/// What every agent takes over from the daemon: exact names, or the beginning of a name and `*`.
const COMMON: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TMPDIR",
    "TZ",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_DIRS",
    "XDG_CONFIG_HOME",
    "XDG_DATA_DIRS",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    // Who commits; some agents do not read the user's git configuration.
    "GIT_AUTHOR_NAME",
    "GIT_AUTHOR_EMAIL",
    "GIT_COMMITTER_NAME",
    "GIT_COMMITTER_EMAIL",
    // The way to the provider.
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
];

/// What every agent gets: its output is a file that no terminal shows.
const FIXED: &[(&str, &str)] = &[("TERM", "dumb"), ("NO_COLOR", "1")];

/// Names the configuration may not set, and why. A `*` stands for the rest of the name.
const DENIED: &[(&str, &str)] = &[
    ("LD_PRELOAD", "it would load code into every program"),
    ("LD_LIBRARY_PATH", "it would load code into every program"),
    ("LD_AUDIT", "it would load code into every program"),
    ("DYLD_*", "it would load code into every program"),
    (
        "GIT_*",
        "it would change what git does; only GIT_AUTHOR_… and GIT_COMMITTER_… may be set",
    ),
    ("ORCH_*", "these are orch's own"),
];

/// Exceptions from [`DENIED`].
const ALLOWED: &[&str] = &["GIT_AUTHOR_*", "GIT_COMMITTER_*"];

/// Why an environment cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// The system has no variable of this name.
    #[error("`env`: {name:?} is no name of a variable: it is empty or contains '=' or NUL")]
    BadName {
        /// What was given.
        name: String,
    },
    /// A name orch does not let the configuration set.
    #[error("`env`: {name} may not be set: {why}")]
    Denied {
        /// The name.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// A NUL cannot travel through the environment.
    #[error("`env`: the value of {name} contains a NUL byte")]
    Nul {
        /// The name.
        name: String,
    },
    /// The variable referred to is not set.
    #[error("`env`: {name} = \"${reference}\", but {reference} is not set where orch was started")]
    Missing {
        /// The name.
        name: String,
        /// The variable it refers to.
        reference: String,
    },
    /// A value that begins like a reference and is none.
    #[error(
        "`env`: the value of {name} begins with '$' and is no reference: write \"$NAME\" for the \
         whole value of a variable, or \"$$…\" for a value that begins with '$'"
    )]
    BadReference {
        /// The name.
        name: String,
    },
    /// A value that is not UTF-8. It is refused rather than silently left out.
    #[error(
        "the variable {name} of orch's own environment is not UTF-8; set it in the agent's `env`"
    )]
    NotUtf8 {
        /// The name.
        name: String,
    },
}

/// Makes the environment of an agent: what is inherited from `parent`, over it what its kind
/// needs, over that what the configuration sets. Sorted by name, each name once.
///
/// A configured value that is `$NAME` as a whole is the daemon's variable of that name; `$$…` is a
/// literal `$…`; a `$` further on means nothing.
///
/// # Errors
/// A configured name or value is not acceptable, or an inherited value is not UTF-8.
pub fn allow_list(
    adapter: &Adapter,
    invocation: &Invocation,
    configured: &BTreeMap<String, String>,
    parent: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, EnvError> {
    let parent: BTreeMap<OsString, OsString> = parent.into_iter().collect();
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &parent {
        if let Some(name) = name.to_str().filter(|name| is_inherited(adapter, name))
            && !configured.contains_key(name)
        {
            variables.insert(name.to_owned(), utf8(name, value)?);
        }
    }
    variables.extend(
        FIXED
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned())),
    );
    variables.extend(invocation.env.iter().cloned());
    for (name, value) in configured {
        check(name, value)?;
        variables.insert(name.clone(), resolve(name, value, &parent)?);
    }
    Ok(variables.into_iter().collect())
}

/// Checks a configured variable as far as that is possible without the daemon's environment.
///
/// # Errors
/// What is wrong with it.
pub fn check(name: &str, value: &str) -> Result<(), EnvError> {
    let owned = || name.to_owned();
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(EnvError::BadName { name: owned() });
    }
    if let Some(why) = denied(name) {
        return Err(EnvError::Denied { name: owned(), why });
    }
    if value.contains('\0') {
        return Err(EnvError::Nul { name: owned() });
    }
    match value.strip_prefix('$') {
        Some(rest) if !rest.starts_with('$') && !is_name(rest) => {
            Err(EnvError::BadReference { name: owned() })
        }
        // orch's own token and addresses are not handed out under another name either.
        Some(rest) if rest.starts_with("ORCH_") => Err(EnvError::Denied {
            name: format!("{name} = \"{value}\""),
            why: "ORCH_… are orch's own",
        }),
        _ => Ok(()),
    }
}

/// The configured variables whose references lead nowhere, each with the name it refers to.
/// `is_set` says whether the environment that is looked into has a variable.
pub fn unset(
    configured: &BTreeMap<String, String>,
    is_set: impl Fn(&str) -> bool,
) -> Vec<(&str, &str)> {
    let references = configured
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), reference(value)?)));
    references.filter(|(_, name)| !is_set(name)).collect()
}

/// What a value refers to, if it is a reference.
fn reference(value: &str) -> Option<&str> {
    let name = value.strip_prefix('$')?;
    (!name.starts_with('$')).then_some(name)
}

fn denied(name: &str) -> Option<&'static str> {
    if ALLOWED.iter().any(|pattern| matches(pattern, name)) {
        return None;
    }
    DENIED
        .iter()
        .find(|(pattern, _)| matches(pattern, name))
        .map(|(_, why)| *why)
}

/// Whether every agent takes this variable over, whatever its kind.
#[must_use]
pub fn is_common(name: &str) -> bool {
    COMMON.iter().any(|pattern| matches(pattern, name))
}

/// Whether agents of this kind take this variable over without being given it by name.
#[must_use]
pub fn is_inherited(adapter: &Adapter, name: &str) -> bool {
    let mut patterns = COMMON.iter().chain(adapter.inherits);
    patterns.any(|pattern| matches(pattern, name)) && !adapter.never_inherits.contains(&name)
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

fn resolve(
    name: &str,
    value: &str,
    parent: &BTreeMap<OsString, OsString>,
) -> Result<String, EnvError> {
    let Some(reference) = reference(value) else {
        // Of `$$…` one is said, and of anything else all.
        let literal = value.strip_prefix('$').unwrap_or(value);
        return Ok(literal.to_owned());
    };
    match parent.get(&OsString::from(reference)) {
        Some(value) => utf8(reference, value),
        None => Err(EnvError::Missing {
            name: name.to_owned(),
            reference: reference.to_owned(),
        }),
    }
}

/// Whether `text` can be a reference: the names a shell can set.
fn is_name(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().all(is_word)
        && text
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit())
}

fn utf8(name: &str, value: &OsString) -> Result<String, EnvError> {
    value
        .to_str()
        .map(str::to_owned)
        .ok_or_else(|| EnvError::NotUtf8 {
            name: name.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::adapter::{AgentSettings, Occasion, find};

    fn made(
        adapter: &str,
        configured: &[(&str, &str)],
        parent: &[(&str, &str)],
    ) -> Result<Vec<(String, String)>, EnvError> {
        let adapter = find(adapter).unwrap();
        let settings = AgentSettings {
            command: Some("true".into()),
            ..AgentSettings::default()
        };
        let invocation = adapter.start(&settings, &Occasion::example()).unwrap();
        let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        let configured = configured.iter().map(own).collect();
        let parent = parent
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        allow_list(adapter, &invocation, &configured, parent)
    }

    fn shown(variables: &[(String, String)]) -> String {
        let lines: Vec<String> = variables
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        lines.join("\n")
    }

    const PARENT: &[(&str, &str)] = &[
        ("PATH", "/bin"),
        ("HOME", "/home/dev"),
        ("LC_ALL", "C"),
        ("TERM", "xterm"),
        ("https_proxy", "http://proxy:1"),
        ("SSH_AUTH_SOCK", "/agent"),
        ("DATABASE_URL", "postgres://"),
        ("ORCH_TOKEN", "secret"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("ANTHROPIC_API_KEY", "key"),
        ("CLAUDE_CONFIG_DIR", "/c"),
        ("CLAUDE_CODE_SSE_PORT", "1"),
        ("CLAUDECODE", "1"),
        ("LD_PRELOAD", "/x.so"),
        ("GIT_DIR", "/elsewhere"),
        ("GIT_AUTHOR_NAME", "Dev"),
        ("PATHOLOGICAL", "no"),
    ];

    #[test]
    fn a_shell_agent_gets_exactly_this() {
        assert_eq!(
            shown(&made("shell", &[], PARENT).unwrap()),
            "GIT_AUTHOR_NAME=Dev\nHOME=/home/dev\nLC_ALL=C\nNO_COLOR=1\nPATH=/bin\nTERM=dumb\n\
             https_proxy=http://proxy:1"
        );
    }

    #[test]
    fn claude_gets_its_own_variables_as_well() {
        assert_eq!(
            shown(&made("claude", &[], PARENT).unwrap()),
            "ANTHROPIC_API_KEY=key\nCLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD=1\n\
             CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1\nCLAUDE_CONFIG_DIR=/c\n\
             DISABLE_AUTOUPDATER=1\nDISABLE_TELEMETRY=1\nGIT_AUTHOR_NAME=Dev\nHOME=/home/dev\n\
             LC_ALL=C\nNO_COLOR=1\nPATH=/bin\nTERM=dumb\nhttps_proxy=http://proxy:1"
        );
    }

    #[test]
    fn the_configuration_sets_and_refers() {
        let configured = [
            ("SOCK", "$SSH_AUTH_SOCK"),
            ("PRICE", "$$5"),
            ("PATTERN", "a$b"),
            ("TERM", "xterm"),
            ("GIT_COMMITTER_EMAIL", "a@b"),
            ("EMPTY", ""),
        ];
        assert_eq!(
            shown(&made("shell", &configured, &[("SSH_AUTH_SOCK", "/agent")]).unwrap()),
            "EMPTY=\nGIT_COMMITTER_EMAIL=a@b\nNO_COLOR=1\nPATTERN=a$b\nPRICE=$5\nSOCK=/agent\nTERM=xterm"
        );
    }

    #[test]
    fn what_is_refused_is_named() {
        let cases = [
            (("", "x"), "\"\""),
            (("A=B", "x"), "\"A=B\""),
            (("A\0", "x"), "A\\0"),
            (("A", "x\0"), "value of A"),
            (("LD_PRELOAD", "x"), "LD_PRELOAD"),
            (("LD_LIBRARY_PATH", "x"), "LD_LIBRARY_PATH"),
            (("DYLD_INSERT_LIBRARIES", "x"), "DYLD_INSERT_LIBRARIES"),
            (("GIT_DIR", "x"), "GIT_DIR"),
            (("GIT_CONFIG_COUNT", "1"), "GIT_CONFIG_COUNT"),
            (("ORCH_TOKEN", "x"), "ORCH_TOKEN"),
            (("MINE", "$ORCH_TOKEN"), "$ORCH_TOKEN"),
            (("KEY", "$NOT_THERE"), "NOT_THERE is not set"),
            (("KEY", "$HOME/bin"), "value of KEY"),
            (("KEY", "${HOME}"), "value of KEY"),
            (("KEY", "$"), "value of KEY"),
        ];
        for (variable, said) in cases {
            let error = made("shell", &[variable], PARENT).unwrap_err().to_string();
            assert!(error.contains(said), "{variable:?}: {error}");
        }
    }

    #[test]
    fn a_value_that_is_not_utf8_is_never_dropped_in_silence() {
        let adapter = find("shell").unwrap();
        let invocation = Invocation {
            argv: Vec::new(),
            env: Vec::new(),
            files: Vec::new(),
            prompt_on_stdin: true,
            preamble: None,
            stop_signal: crate::supervise::StopSignal::default(),
        };
        let broken = || OsString::from_vec(vec![0xff]);
        let with = |name: &str, configured: &[(&str, &str)]| {
            let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
            let configured = configured.iter().map(own).collect();
            allow_list(
                adapter,
                &invocation,
                &configured,
                [(OsString::from(name), broken())],
            )
        };
        let not_utf8 = |name: &str| Err(EnvError::NotUtf8 { name: name.into() });
        assert_eq!(with("PATH", &[]), not_utf8("PATH"));
        assert_eq!(with("SECRET", &[("KEY", "$SECRET")]), not_utf8("SECRET"));
        assert!(with("PATH", &[("PATH", "/bin")]).is_ok());
        assert!(with("SECRET", &[]).is_ok());
    }

    #[test]
    fn references_that_lead_nowhere_are_named() {
        let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        let configured = [
            ("A", "$HERE"),
            ("B", "$GONE"),
            ("C", "$$GONE"),
            ("D", "GONE"),
            ("E", ""),
        ];
        let configured = configured.iter().map(own).collect();
        let found = unset(&configured, |name| name == "HERE");
        assert_eq!(found, [("B", "GONE")]);
    }
}
