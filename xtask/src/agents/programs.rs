//! The agent programs: where they come from, and how a user would set them up.
//!
//! What stands here is what each program's own documentation says to a user who has an endpoint of
//! his own. How orch starts a program is not known here.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// One way to run an agent program.
pub struct Program {
    /// What it is called here, on the command line and in the table.
    pub name: &'static str,
    /// Its package, and the version that is installed.
    pub package: Package,
    /// The adapter that runs it.
    pub adapter: &'static str,
    /// What a user would set up for it.
    pub setup: fn(&Place<'_>) -> Setup,
}

/// A package of the npm registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: &'static str,
    /// The version all expectations were made with.
    pub version: &'static str,
    /// The program that is in it.
    pub program: &'static str,
}

impl Package {
    /// Where the program lies once the package is installed into the folder of its own.
    pub fn program_in(&self, tools: &Path) -> PathBuf {
        let folder = tools.join(self.program);
        folder.join("node_modules/.bin").join(self.program)
    }
}

/// What a set-up depends on.
pub struct Place<'a> {
    /// The base of the provider's API, without a version.
    pub base: &'a str,
    /// Whether the user has logged in to a subscription, where a program knows the difference, and
    /// not set a key.
    pub login: bool,
}

/// What a user does once before orch can run the program.
#[derive(Default)]
pub struct Setup {
    /// Arguments of `orch agent add`.
    pub options: Vec<String>,
    /// Files in the home, by path, with their text.
    pub files: Vec<(&'static str, String)>,
}

/// The variable that holds the key, as it would stand in a user's shell profile, and a key that no
/// provider would take.
pub const KEY: (&str, &str) = ("SCRIPTED_API_KEY", "sk-scripted-0123456789abcdef");
/// How an agent's settings refer to it.
const KEY_REFERENCE: &str = "$SCRIPTED_API_KEY";
/// The model that programs without a list of their own ask for.
const MODEL: &str = "scripted-model";

const CLAUDE: Package = Package {
    name: "@anthropic-ai/claude-code",
    version: "2.1.197",
    program: "claude",
};
const CODEX: Package = Package {
    name: "@openai/codex",
    version: "0.169.0",
    program: "codex",
};
const OPENCODE: Package = Package {
    name: "opencode-ai",
    version: "1.18.33",
    program: "opencode",
};
const GEMINI: Package = Package {
    name: "@google/gemini-cli",
    version: "0.61.0",
    program: "gemini",
};
const QWEN: Package = Package {
    name: "@qwen-code/qwen-code",
    version: "0.15.10",
    program: "qwen",
};
const PI: Package = Package {
    name: "@mariozechner/pi-coding-agent",
    version: "0.73.1",
    program: "pi",
};
const COPILOT: Package = Package {
    name: "@github/copilot",
    version: "1.0.102",
    program: "copilot",
};

/// Every program, in the order of the table.
pub const ALL: &[Program] = &[
    Program {
        name: "claude",
        package: CLAUDE,
        adapter: "claude",
        setup: claude,
    },
    Program {
        name: "codex",
        package: CODEX,
        adapter: "codex",
        setup: codex,
    },
    Program {
        name: "opencode",
        package: OPENCODE,
        adapter: "opencode",
        setup: opencode,
    },
    Program {
        name: "gemini",
        package: GEMINI,
        adapter: "gemini",
        setup: gemini,
    },
    Program {
        name: "qwen",
        package: QWEN,
        adapter: "qwen",
        setup: qwen,
    },
    Program {
        name: "pi",
        package: PI,
        adapter: "pi",
        setup: pi,
    },
    Program {
        name: "copilot",
        package: COPILOT,
        adapter: "copilot",
        setup: copilot,
    },
];

fn words(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// `--env NAME=VALUE` for each.
fn variables(pairs: &[(&str, &str)]) -> Vec<String> {
    let pairs = pairs.iter();
    pairs
        .flat_map(|(name, value)| ["--env".to_owned(), format!("{name}={value}")])
        .collect()
}

/// It repeats failed calls ten times over three minutes unless told otherwise; as root it wants to
/// be told that it is in a sandbox.
fn claude(place: &Place<'_>) -> Setup {
    let mut options = words(&["--model", "claude-sonnet-4-5"]);
    let key = match place.login {
        true => "CLAUDE_CODE_OAUTH_TOKEN",
        false => "ANTHROPIC_API_KEY",
    };
    options.extend(variables(&[
        (key, KEY_REFERENCE),
        ("ANTHROPIC_BASE_URL", place.base),
        ("CLAUDE_CODE_MAX_RETRIES", "1"),
        ("IS_SANDBOX", "1"),
    ]));
    Setup {
        options,
        files: Vec::new(),
    }
}

fn codex(place: &Place<'_>) -> Setup {
    let base = place.base;
    let config = format!(
        "model_provider = \"scripted\"\n\n[analytics]\nenabled = false\n\n\
         [model_providers.scripted]\nname = \"scripted\"\nbase_url = \"{base}/v1\"\n\
         env_key = \"SCRIPTED_API_KEY\"\nwire_api = \"responses\"\n\
         request_max_retries = 1\nstream_max_retries = 1\n"
    );
    let mut options = words(&["--model", MODEL]);
    options.extend(variables(&[("SCRIPTED_API_KEY", KEY_REFERENCE)]));
    Setup {
        options,
        files: vec![(".codex/config.toml", config)],
    }
}

fn opencode(place: &Place<'_>) -> Setup {
    let provider = json!({
        "npm": "@ai-sdk/openai-compatible", "name": "scripted",
        "options": {"baseURL": format!("{}/v1", place.base), "apiKey": "{env:SCRIPTED_API_KEY}"},
        "models": {MODEL: {"name": "scripted"}},
    });
    let config = json!({"autoupdate": false, "provider": {"scripted": provider}});
    let mut options = words(&["--model", "scripted/scripted-model"]);
    options.extend(variables(&[
        ("SCRIPTED_API_KEY", KEY_REFERENCE),
        ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
    ]));
    Setup {
        options,
        files: vec![(".config/opencode/opencode.json", config.to_string())],
    }
}

/// It repeats failed calls ten times over four minutes unless its settings say otherwise.
fn gemini(place: &Place<'_>) -> Setup {
    let settings = json!({
        "general": {"enableAutoUpdate": false, "maxAttempts": 1},
        "privacy": {"usageStatisticsEnabled": false},
        "security": {"auth": {"selectedType": "gemini-api-key"}},
    });
    let mut options = words(&["--model", "gemini-2.5-pro"]);
    options.extend(variables(&[
        ("GEMINI_API_KEY", KEY_REFERENCE),
        ("GOOGLE_GEMINI_BASE_URL", place.base),
    ]));
    Setup {
        options,
        files: vec![(".gemini/settings.json", settings.to_string())],
    }
}

fn qwen(place: &Place<'_>) -> Setup {
    let settings = json!({
        "general": {"disableAutoUpdate": true},
        "privacy": {"usageStatisticsEnabled": false},
        "model": {"generationConfig": {"maxRetries": 1}},
    });
    let mut options = words(&["--model", MODEL]);
    let base = format!("{}/v1", place.base);
    options.extend(variables(&[
        ("OPENAI_API_KEY", KEY_REFERENCE),
        ("OPENAI_BASE_URL", base.as_str()),
    ]));
    Setup {
        options,
        files: vec![(".qwen/settings.json", settings.to_string())],
    }
}

fn pi(place: &Place<'_>) -> Setup {
    let models = json!({"providers": {"scripted": {
        "baseUrl": format!("{}/v1", place.base), "apiKey": "SCRIPTED_API_KEY",
        "api": "openai-completions", "models": [{"id": MODEL}],
    }}});
    let settings = json!({"retry": {"enabled": false}});
    let mut options = words(&["--model", "scripted/scripted-model"]);
    options.extend(variables(&[("SCRIPTED_API_KEY", KEY_REFERENCE)]));
    Setup {
        options,
        files: vec![
            (".pi/agent/models.json", models.to_string()),
            (".pi/agent/settings.json", settings.to_string()),
        ],
    }
}

fn copilot(place: &Place<'_>) -> Setup {
    let mut options = words(&["--model", MODEL]);
    let base = format!("{}/v1", place.base);
    options.extend(variables(&[
        ("COPILOT_PROVIDER_BASE_URL", base.as_str()),
        ("COPILOT_PROVIDER_API_KEY", KEY_REFERENCE),
        ("COPILOT_PROVIDER_TYPE", "openai"),
        ("COPILOT_MODEL", MODEL),
        ("COPILOT_OFFLINE", "true"),
    ]));
    Setup {
        options,
        files: Vec::new(),
    }
}

/// The file of MCP servers that a user would give an agent: one server, which is this program.
pub fn mcp_file(this: &Path) -> Value {
    json!({"mcpServers": {"scripted": {"command": this, "args": ["agents-mcp"]}}})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_program_has_a_name_and_a_folder_of_its_own() {
        let names: BTreeSet<&str> = ALL.iter().map(|program| program.name).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn every_set_up_points_at_the_given_server() {
        for program in ALL {
            let place = Place {
                base: "http://127.0.0.1:9/s/ok@x",
                login: false,
            };
            let setup = (program.setup)(&place);
            let files = setup.files.iter().map(|(_, text)| text);
            let all: Vec<&String> = setup.options.iter().chain(files).collect();
            let named = all.iter().any(|text| text.contains(place.base));
            assert!(named, "{}", program.name);
        }
    }
}
