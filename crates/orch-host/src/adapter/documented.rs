//! Agents that orch has no adapter for and that can be used all the same. Only their documentation
//! was read; none of them was run.

/// An agent known from its documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Documented {
    /// What its program is called.
    pub name: &'static str,
    /// How orch can start it, in one sentence.
    pub how: &'static str,
}

/// Agents known from their documentation only, by name.
pub const DOCUMENTED: &[Documented] = &[
    Documented {
        name: "amp",
        how: "with an adapter of your own: `amp -x --stream-json` prints JSON lines; see docs/own-adapters.md",
    },
    Documented {
        name: "antigravity",
        how: "with an adapter of your own: `agy -p --output-format stream-json` prints JSON lines; see docs/own-adapters.md",
    },
    Documented {
        name: "goose",
        how: "--adapter acp --command 'goose acp'",
    },
    Documented {
        name: "grok",
        how: "--adapter acp --command 'grok agent stdio'",
    },
];
