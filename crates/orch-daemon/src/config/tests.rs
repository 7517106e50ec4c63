//! The configuration as its users see it: files in, answers and messages out.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use orch_core::id::AgentName;
use orch_core::task::{OnLost, ReviewMode, WorkspaceMode};

use super::*;
use crate::project::Project;

const ADAPTERS: &[&str] = &["claude", "codex", "shell"];

fn project(text: &str) -> (tempfile::TempDir, Project) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("orch.toml"), text).unwrap();
    let project = Project::at(directory.path()).unwrap();
    (directory, project)
}

fn loaded_from(text: &str) -> Loaded {
    let (_directory, project) = project(text);
    load(&project, ADAPTERS).unwrap()
}

fn messages(text: impl AsRef<[u8]>) -> String {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("orch.toml"), text).unwrap();
    let project = Project::at(directory.path()).unwrap();
    match load(&project, ADAPTERS) {
        Ok(_) => "loads".to_owned(),
        Err(error) => {
            assert_eq!(error.code(), "config", "{error}");
            error.to_string()
        }
    }
}

fn name(text: &str) -> AgentName {
    text.parse().unwrap()
}

fn text_of(project: &Project) -> String {
    fs::read_to_string(&project.config).unwrap()
}

fn claude() -> AgentFields {
    AgentFields {
        adapter: Some("claude".to_owned()),
        ..AgentFields::default()
    }
}

#[test]
fn an_empty_file_means_the_defaults() {
    let (directory, project) = project("");
    let loaded = load(&project, ADAPTERS).unwrap();
    assert_eq!(loaded.core, orch_core::config::Config::default());
    assert_eq!(loaded.limits, RunLimits::default());
    let root = directory.path().file_name().unwrap().to_string_lossy();
    assert_eq!(loaded.name, root);
    assert_eq!(loaded.target, None);
}

#[test]
fn the_schema_names_the_defaults_that_are_in_force() {
    let mut text = String::new();
    for section in schema::SECTIONS {
        text.push_str(&format!("[{}]\n", section.name));
        for key in section.keys {
            if let Some(default) = key.default {
                text.push_str(&format!("{} = {default}\n", key.name));
            }
        }
    }
    let (written, empty) = (loaded_from(&text), loaded_from(""));
    assert_eq!(written.core, empty.core);
    assert_eq!(written.limits, empty.limits);
}

#[test]
fn everything_that_is_written_is_read() {
    let loaded = loaded_from(
        r#"
        [project]
        name = "Bücher & more"
        target = "release/1.0"
        max_agents = 7
        [defaults]
        workspace = "shared"
        review = "auto"
        max_attempts = 5
        timeout = "none"
        stall_timeout = "15m"
        on_lost = "ask"
        [retry]
        base = "200ms"
        max = "1h30m"
        [limits]
        output = "64MiB"
        stop_grace = "1s"
        leak_grace = "0s"
        [limits.adapters]
        claude = 2
        [agents.zed]
        adapter = "shell"
        command = "make"
        [agents."a.1"]
        adapter = "claude"
        model = "opus"
        role = "reviewer"
        labels = ["rust", "sql", "rust"]
        system_prompt = """
        Be
        brief."""
        permission = "edits"
        max_turns = 50
        max_parallel = 3
        env = { LANG = "C", ANTHROPIC_API_KEY = "$KEY" }
        args = ["--verbose", ""]
        enabled = false
        "#,
    );
    assert_eq!(loaded.name, "Bücher & more");
    assert_eq!(loaded.target.as_deref(), Some("release/1.0"));
    assert_eq!(loaded.core.max_agents, 7);
    assert_eq!(loaded.core.adapter_caps["claude"], 2);
    let defaults = &loaded.core.defaults;
    assert_eq!(defaults.workspace, WorkspaceMode::Shared);
    assert_eq!(defaults.review, ReviewMode::Auto);
    assert_eq!(defaults.on_lost, OnLost::Ask);
    assert_eq!(
        (defaults.timeout_ms, defaults.stall_ms),
        (None, Some(900_000))
    );
    assert_eq!(loaded.core.backoff.base_ms, 200);
    assert_eq!(loaded.core.backoff.max_ms, 5_400_000);
    assert_eq!(loaded.limits.output_bytes, 64 << 20);
    assert_eq!(loaded.limits.leak_grace_ms, 0);
    let order: Vec<&str> = loaded.core.agents.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(order, ["zed", "a.1"], "the order of the file");
    let agent = loaded.agent(&name("a.1")).unwrap();
    assert_eq!(agent.labels.len(), 2);
    assert_eq!(agent.max_turns, Some(50));
    assert_eq!(agent.args, ["--verbose", ""]);
    assert_eq!(agent.env["ANTHROPIC_API_KEY"], "$KEY");
    let settings = agent.settings();
    assert_eq!(
        settings.permission,
        Some(orch_host::adapter::Permission::Edits)
    );
    assert_eq!(settings.env, agent.env);
    assert!(!loaded.core.agents[1].enabled);
    assert_eq!(loaded.core.agents[1].max_parallel, 3);
}

#[test]
fn every_wrong_file_is_answered_with_place_and_remedy() {
    let table = [
        (
            "[project]\nmax_agent = 4",
            "orch.toml:2:1: unknown key 'max_agent'; did you mean 'max_agents'?",
        ),
        (
            "[project]\ncolour = 4",
            "orch.toml:2:1: unknown key 'colour'; expected one of name, target, max_agents",
        ),
        (
            "[projct]",
            "orch.toml:1:2: unknown section 'projct'; did you mean 'project'?",
        ),
        (
            "include = \"orch.toml\"",
            "orch.toml:1:1: unknown section 'include'; expected one of project, defaults, retry, limits, cleanup, prompt, agents, adapters, prices",
        ),
        (
            "project = 1",
            "orch.toml:1:1: project is 1; expected a table",
        ),
        (
            "[[agents]]\nname = \"a\"",
            "orch.toml:1:3: agents is a list of tables; expected a table for each agent, like [agents.claude]",
        ),
        (
            "[project]\nmax_agents = 0",
            "orch.toml:2:14: max_agents is 0; expected a whole number from 1 to 1000",
        ),
        (
            "[project]\nmax_agents = 100000",
            "orch.toml:2:14: max_agents is 100000; expected a whole number from 1 to 1000",
        ),
        (
            "[project]\nmax_agents = \"4\"",
            "orch.toml:2:14: max_agents is \"4\"; expected a whole number from 1 to 1000",
        ),
        (
            "[project]\nmax_agents = 4.0",
            "orch.toml:2:14: max_agents is 4.0; expected a whole number from 1 to 1000",
        ),
        (
            "[project]\nmax_agents = [1]",
            "orch.toml:2:14: max_agents is a list; expected a whole number from 1 to 1000",
        ),
        (
            "[defaults]\nmax_attempts = -1",
            "orch.toml:2:16: max_attempts is -1; expected a whole number from 1 to 100",
        ),
        (
            "[defaults]\nmax_attempts = 1000000000",
            "orch.toml:2:16: max_attempts is 1000000000; expected a whole number from 1 to 100",
        ),
        (
            "[defaults]\ntimeout = \"0s\"",
            "orch.toml:2:11: timeout is \"0s\"; expected a duration from 100ms to 30d like \"90s\" or \"1h30m\", or \"none\"",
        ),
        (
            "[defaults]\ntimeout = -1",
            "orch.toml:2:11: timeout is -1; expected a duration from 100ms to 30d like \"90s\" or \"1h30m\", or \"none\"",
        ),
        (
            "[defaults]\ntimeout = 1e12",
            "orch.toml:2:11: timeout is 1000000000000.0; expected a duration from 100ms to 30d like \"90s\" or \"1h30m\", or \"none\"",
        ),
        (
            "[defaults]\ntimeout = \"5 parsecs\"",
            "orch.toml:2:11: timeout is \"5 parsecs\"; expected a duration from 100ms to 30d like \"90s\" or \"1h30m\", or \"none\"",
        ),
        (
            "[retry]\nbase = \"none\"",
            "orch.toml:2:8: base is \"none\"; expected a duration from 100ms to 30d like \"90s\" or \"1h30m\"",
        ),
        (
            "[retry]\nbase = \"1h\"",
            "orch.toml:2:8: retry.max is 10m, less than retry.base, which is 1h; expected max to be at least base",
        ),
        (
            "[retry]\nbase = \"2s\"\nmax = \"1s\"",
            "orch.toml:3:7: retry.max is 1s, less than retry.base, which is 2s; expected max to be at least base",
        ),
        (
            "[limits]\noutput = \"64MB\"",
            "orch.toml:2:10: output is \"64MB\"; expected a size from 4KiB to 1TiB like \"64MiB\"",
        ),
        (
            "[limits.adapters]\nclade = 2",
            "orch.toml:2:1: unknown adapter 'clade'; did you mean 'claude'?",
        ),
        (
            "[limits.adapters]\nclaude = 0",
            "orch.toml:2:10: claude is 0; expected a whole number from 1 to 1000",
        ),
        (
            "[defaults]\nworkspace = \"worktre\"",
            "orch.toml:2:13: workspace is \"worktre\"; did you mean 'worktree'?",
        ),
        (
            "[defaults]\nreview = \"never\"",
            "orch.toml:2:10: review is \"never\"; expected one of \"manual\", \"auto\"",
        ),
        (
            "[project]\nname = \"  \"",
            "orch.toml:2:8: name is empty; expected a line of text, at most 128 bytes",
        ),
        (
            "[project]\nname = \"a\\u202Eb\"",
            "orch.toml:2:8: name contains the character U+202E, which a name may not; expected a line of text, at most 128 bytes",
        ),
        (
            "[project]\ntarget = \"--force\"",
            "orch.toml:2:10: target is \"--force\"; expected the name of a branch, like \"main\"",
        ),
        (
            "[project]\ntarget = \"a\\u001b[2Jb\"",
            "orch.toml:2:10: target is \"a\\u{1b}[2Jb\"; expected the name of a branch, like \"main\"",
        ),
        (
            "[agents.a]\nmodel = \"x\"",
            "orch.toml:1:9: agent 'a' has no adapter; expected adapter = one of \"claude\", \"codex\", \"shell\"",
        ),
        (
            "[agents.a]\nadapter = \"shell\"",
            "orch.toml:1:9: agent 'a': adapter 'shell' needs a `command`",
        ),
        (
            "[agents.a]\nadapter = \"claud\"",
            "orch.toml:2:11: adapter is \"claud\"; did you mean 'claude'?",
        ),
        (
            "[agents.a]\nadapter = \"claude\"\ncommand = \"\\u0000\"",
            "orch.toml:3:11: command contains a NUL byte; expected text, at most 65536 bytes",
        ),
        (
            "[agents.a]\nadapter = \"claude\"\nenabled = \"yes\"",
            "orch.toml:3:11: enabled is \"yes\"; expected true or false",
        ),
        (
            "[agents.a]\nadapter = \"claude\"\nlabels = \"rust\"",
            "orch.toml:3:10: labels is \"rust\"; expected a list of at most 32 words of at most 64 bytes, like [\"rust\"]",
        ),
        (
            "[agents.a]\nadapter = \"claude\"\nlabels = [1, \"a b\"]",
            "orch.toml:3:11: labels has 1 in it; expected a list of at most 32 words of at most 64 bytes, like [\"rust\"]\norch.toml:3:14: \"a b\" in labels contains the character U+0020, which a name may not; expected a list of at most 32 words of at most 64 bytes, like [\"rust\"]",
        ),
        (
            "[agents.a]\nadapter = \"claude\"\npermission = \"edit\"",
            "orch.toml:3:14: permission is \"edit\"; did you mean 'edits'?",
        ),
        (
            "[agents.a]\nadapter = \"shell\"\ncommand = \"make\"\nmodel = \"opus\"",
            "orch.toml:4:1: agent 'a': adapter 'shell' has no setting `model`",
        ),
        (
            "[agents.a]\nadapter = \"claude\"\nmodel = \"--help\"",
            "orch.toml:3:1: agent 'a': `model` is '--help', which its program would take for an option",
        ),
        (
            "[agents.\"a b\"]\nadapter = \"claude\"",
            "orch.toml:1:9: 'a b' is not an agent name: use 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter or digit",
        ),
        (
            "[agents.a]\nadapter = \"claude\"\nenv = { LD_PRELOAD = \"x\" }",
            "orch.toml:3:9: `env`: LD_PRELOAD may not be set: it would load code into every program",
        ),
        (
            "[agents.a]\nadapter = \"claude\"\n[agents.a.env]\n\"A=B\" = \"x\"",
            "orch.toml:4:1: 'A=B' is not the name of a variable; expected letters, digits and _, not beginning with a digit",
        ),
        (
            "[agents.a]\nadapter = \"claude\"\nenv = { A = 1 }",
            "orch.toml:3:9: A is 1; expected text in quotes",
        ),
        (
            "[agents.a]\nadapter = \"claude\"\nenv = { API_KEY = \"sk\" }",
            "orch.toml:3:9: API_KEY looks like a secret, and this file belongs in git; expected a reference to your environment: API_KEY = \"$API_KEY\"",
        ),
        (
            "[project]\nname = \"a\"\nname = \"b\"",
            "orch.toml:3:1: duplicate key",
        ),
        ("[project]\n[project]", "orch.toml:2:2: duplicate key"),
        ("[project\n", "orch.toml:1:9: unclosed table, expected `]`"),
        (
            "[project]\nname = x",
            "orch.toml:2:8: string values must be quoted, expected literal string",
        ),
        (
            "[project]\nname = \"x",
            "orch.toml:2:10: invalid basic string, expected `\"`",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(messages(text), expected, "{text}");
    }
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let text = "[agents.a]\nadaptor = \"claude\"\n[project]\nmax_agents = 0\nnam = \"x\"\n";
    assert_eq!(
        messages(text),
        "orch.toml:2:1: unknown key 'adaptor'; did you mean 'adapter'?\n\
         orch.toml:4:14: max_agents is 0; expected a whole number from 1 to 1000\n\
         orch.toml:5:1: unknown key 'nam'; did you mean 'name'?"
    );
}

#[test]
fn thousands_of_problems_are_counted_and_not_printed() {
    // As many as fit: an answer that took a look at the whole file for each would not come.
    let text: String = (0..50_000).map(|n| format!("x{n} = 1\n")).collect();
    let message = messages(&text);
    assert_eq!(message.lines().count(), 21);
    assert!(message.ends_with("and 49980 more"), "{message}");
}

#[test]
fn no_depth_is_too_much() {
    for deep in [
        format!("x = {}", "[".repeat(200_000)),
        format!("x = {}", "{a=".repeat(200_000)),
        format!("{}a = 1", "a.".repeat(200_000)),
        format!("[{}a]", "a.".repeat(200_000)),
    ] {
        assert!(messages(&deep).starts_with("orch.toml:1:"));
    }
}

#[test]
fn bytes_that_are_not_text_are_named() {
    assert_eq!(
        messages(b"[project]\nname = \"\xff\""),
        "orch.toml:2:9: a byte that is not text; expected UTF-8"
    );
    assert_eq!(
        messages(b"\xff\xfe[\0"),
        "orch.toml:1:1: the file is UTF-16; expected UTF-8"
    );
    assert_eq!(messages("\u{feff}[project]\nmax_agents = 2"), "loads");
    assert_eq!(
        messages("\u{feff}[project]\nnam = 2"),
        "orch.toml:2:1: unknown key 'nam'; did you mean 'name'?"
    );
}

#[test]
fn what_is_not_a_regular_file_is_refused_without_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let project = Project::at(directory.path()).unwrap();
    assert_eq!(
        load(&project, ADAPTERS).unwrap_err().code(),
        "not_initialised"
    );
    fs::create_dir(&project.config).unwrap();
    assert_eq!(load(&project, ADAPTERS).unwrap_err().code(), "not_allowed");
    fs::remove_dir(&project.config).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &project.config,
        rustix::fs::FileType::Fifo,
        mode,
        0,
    )
    .unwrap();
    assert_eq!(load(&project, ADAPTERS).unwrap_err().code(), "not_allowed");
    fs::remove_file(&project.config).unwrap();
    fs::write(&project.config, "#".repeat((1 << 20) + 1)).unwrap();
    let error = load(&project, ADAPTERS).unwrap_err();
    assert!(
        error.to_string().ends_with("is larger than 1 MiB"),
        "{error}"
    );
}

#[test]
fn a_link_is_read_and_not_edited() {
    let directory = tempfile::tempdir().unwrap();
    let real = directory.path().join("real.toml");
    fs::write(&real, "[project]\nname = \"x\"\n").unwrap();
    symlink(&real, directory.path().join("orch.toml")).unwrap();
    let project = Project::at(directory.path()).unwrap();
    assert_eq!(load(&project, ADAPTERS).unwrap().name, "x");
    let error = set(&project, "project.name", "y", ADAPTERS).unwrap_err();
    assert_eq!(error.code(), "not_allowed");
    assert!(error.to_string().contains("a symbolic link"), "{error}");
    assert_eq!(
        fs::read_to_string(&real).unwrap(),
        "[project]\nname = \"x\"\n"
    );
}

const COMMENTED: &str = r#"# Ours.

[project]   # the project
name = "x"  # its name
# target = "main"

# About alpha.
[agents.alpha]
adapter = "claude"   # why claude
model="opus"

# A rule for all that follow.

# About beta.
[agents.beta]
adapter = "shell"
command = 'make'

# The end.
"#;

#[test]
fn changes_keep_comments_order_and_spacing() {
    let (_directory, project) = project(COMMENTED);
    let edit = AgentFields {
        model: Some("haiku".to_owned()),
        max_turns: Some(9),
        ..AgentFields::default()
    };
    edit_agent(&project, &name("alpha"), &edit, ADAPTERS).unwrap();
    set(&project, "project.max_agents", "2", ADAPTERS).unwrap();
    set(&project, "retry.base", "1s", ADAPTERS).unwrap();
    let expected = COMMENTED
        .replace("model=\"opus\"\n", "model=\"haiku\"\nmax_turns = 9\n")
        .replace("# its name\n", "# its name\nmax_agents = 2\n")
        + "\n[retry]\nbase = \"1s\"\n";
    assert_eq!(text_of(&project), expected);
}

#[test]
fn an_agent_is_added_at_the_end_and_can_be_removed_again() {
    let (_directory, project) = project(COMMENTED);
    let fields = AgentFields {
        labels: Some(vec!["rust".to_owned(), "sql".to_owned()]),
        env: [("ANTHROPIC_API_KEY".to_owned(), Some("$KEY".to_owned()))].into(),
        ..claude()
    };
    let loaded = add_agent(&project, &name("c.1"), &fields, ADAPTERS).unwrap();
    assert_eq!(loaded.agents.len(), 3);
    assert_eq!(
        text_of(&project),
        COMMENTED.to_owned()
            + "\n[agents.\"c.1\"]\nadapter = \"claude\"\nlabels = [\"rust\", \"sql\"]\n\
               env = { ANTHROPIC_API_KEY = \"$KEY\" }\n"
    );
    assert_eq!(load(&project, ADAPTERS).unwrap(), loaded);
    let error = add_agent(&project, &name("c.1"), &fields, ADAPTERS).unwrap_err();
    assert_eq!(error.code(), "conflict");
    remove_agent(&project, &name("c.1"), ADAPTERS).unwrap();
    assert_eq!(text_of(&project), COMMENTED);
}

#[test]
fn only_the_comment_of_a_removed_agent_goes_with_it() {
    let (_directory, project) = project(COMMENTED);
    remove_agent(&project, &name("beta"), ADAPTERS).unwrap();
    let text = text_of(&project);
    assert!(text.contains("# A rule for all that follow."), "{text}");
    assert!(text.contains("# The end."), "{text}");
    assert!(!text.contains("beta"), "{text}");
    remove_agent(&project, &name("alpha"), ADAPTERS).unwrap();
    let text = text_of(&project);
    assert!(text.contains("# target = \"main\""), "{text}");
    assert!(!text.contains("alpha"), "{text}");
}

#[test]
fn fields_can_be_taken_away_and_variables_one_by_one() {
    let (_directory, project) = project(
        "[agents.a]\nadapter = \"claude\"\nmodel = \"opus\"\nargs = [\"-x\"]\nenv = { A = \"1\", B = \"2\" }\n",
    );
    let edit = AgentFields {
        model: Some(String::new()),
        args: Some(Vec::new()),
        env: [
            ("A".to_owned(), None),
            ("C".to_owned(), Some("3".to_owned())),
        ]
        .into(),
        ..AgentFields::default()
    };
    let loaded = edit_agent(&project, &name("a"), &edit, ADAPTERS).unwrap();
    let agent = &loaded.agents[0];
    assert_eq!((agent.model.as_deref(), agent.args.len()), (None, 0));
    let names: Vec<&String> = agent.env.keys().collect();
    assert_eq!(names, ["B", "C"]);
    let needed = AgentFields {
        adapter: Some(String::new()),
        ..AgentFields::default()
    };
    let before = text_of(&project);
    let error = edit_agent(&project, &name("a"), &needed, ADAPTERS).unwrap_err();
    assert!(error.to_string().contains("has no adapter"), "{error}");
    assert_eq!(text_of(&project), before);
}

#[test]
fn every_way_to_write_tables_can_be_edited() {
    let ways = [
        "agents = { a = { adapter = \"claude\" } }\nlimits = { output = \"1MiB\" }\n",
        "agents.a.adapter = \"claude\"\nlimits.output = \"1MiB\"\n",
        "[agents]\na = { adapter = \"claude\" }\n[limits]\n",
        "[agents.a]\nadapter = \"claude\"\n[agents.a.env]\nX = \"1\"\n[limits.adapters]\ncodex = 1\n",
        "[agents.a.env]\nX = \"1\"\n[agents.a]\nadapter = \"claude\"",
    ];
    for way in ways {
        let (_directory, project) = project(way);
        let set = |key, value| set(&project, key, value, ADAPTERS).unwrap();
        add_agent(&project, &name("b"), &claude(), ADAPTERS).unwrap();
        set("agents.a.env.LANG", "C");
        set("agents.a.max_parallel", "2");
        set("limits.adapters.claude", "3");
        set("limits.leak_grace", "5s");
        let loaded = set("agents.b.labels", "x, y");
        let [a, b] = loaded.agents.as_slice() else {
            panic!("{way}: {:?}", loaded.agents);
        };
        assert_eq!((a.max_parallel, a.env["LANG"].clone()), (2, "C".to_owned()));
        assert_eq!(b.labels.len(), 2);
        assert_eq!(loaded.core.adapter_caps["claude"], 3);
        assert_eq!(loaded.limits.leak_grace_ms, 5_000);
        remove_agent(&project, &name("a"), ADAPTERS).unwrap();
        assert_eq!(agents(&project, ADAPTERS).unwrap().len(), 1, "{way}");
    }
}

#[test]
fn line_ends_mark_and_mode_stay_as_they_were() {
    let (_directory, project) = project("\u{feff}[project]\r\nname = \"x\"\r\n");
    fs::set_permissions(&project.config, fs::Permissions::from_mode(0o640)).unwrap();
    add_agent(&project, &name("a"), &claude(), ADAPTERS).unwrap();
    set(&project, "project.max_agents", "2", ADAPTERS).unwrap();
    assert_eq!(
        text_of(&project),
        "\u{feff}[project]\r\nname = \"x\"\r\nmax_agents = 2\r\n\r\n[agents.a]\r\nadapter = \"claude\"\r\n"
    );
    let mode = fs::metadata(&project.config).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn keys_are_set_by_type_and_refused_by_name() {
    let (_directory, project) = project("[agents.claude]\nadapter = \"claude\"\n");
    let message = |key, value| {
        let error = set(&project, key, value, ADAPTERS).unwrap_err();
        (error.code(), error.to_string())
    };
    let table = [
        (
            "project.max_agent",
            "4",
            "not_found",
            "there is no key 'project.max_agent'; did you mean 'project.max_agents'?",
        ),
        (
            "agents.claude.modle",
            "x",
            "not_found",
            "there is no key 'agents.claude.modle'; did you mean 'agents.claude.model'?",
        ),
        (
            "agents.claud.model",
            "x",
            "not_found",
            "there is no agent 'claud'; did you mean 'claude'?",
        ),
        ("nothing", "x", "not_found", "there is no key 'nothing'"),
        (
            "project.max_agents",
            "0",
            "config",
            "project.max_agents is 0; expected a whole number from 1 to 1000",
        ),
        (
            "project.max_agents",
            "many",
            "config",
            "project.max_agents is \"many\"; expected a whole number from 1 to 1000",
        ),
        (
            "retry.base",
            "soon",
            "config",
            "retry.base is \"soon\"; expected a duration from 100ms to 30d like \"90s\" or \"1h30m\"",
        ),
        (
            "agents.claude.enabled",
            "1",
            "config",
            "agents.claude.enabled is \"1\"; expected true or false",
        ),
        (
            "agents.claude.env.GIT_DIR",
            "x",
            "config",
            "`env`: GIT_DIR may not be set: it would change what git does; only GIT_AUTHOR_… and GIT_COMMITTER_… may be set",
        ),
        (
            "limits.adapters.clade",
            "1",
            "config",
            "unknown adapter 'clade'; did you mean 'claude'?",
        ),
    ];
    for (key, value, code, expected) in table {
        assert_eq!(message(key, value), (code, expected.to_owned()));
    }
    set(&project, "agents.claude.args", "[\"-a, b\"]", ADAPTERS).unwrap();
    set(&project, "agents.claude.enabled", "false", ADAPTERS).unwrap();
    let loaded = set(&project, "defaults.timeout", "none", ADAPTERS).unwrap();
    assert_eq!(loaded.agents[0].args, ["-a, b"]);
    assert!(!loaded.agents[0].enabled);
    assert_eq!(loaded.core.defaults.timeout_ms, None);
    let loaded = unset(&project, "defaults.timeout", ADAPTERS).unwrap();
    assert_eq!(loaded.core.defaults.timeout_ms, Some(7_200_000));
    let loaded = set_enabled(&project, &name("claude"), true, ADAPTERS).unwrap();
    assert!(loaded.agents[0].enabled);
}

#[test]
fn a_change_that_would_not_load_leaves_the_file_alone() {
    let (_directory, project) = project("[retry]\nmax = \"20s\"\n");
    let error = set(&project, "retry.base", "30s", ADAPTERS).unwrap_err();
    assert_eq!(error.code(), "config");
    assert_eq!(text_of(&project), "[retry]\nmax = \"20s\"\n");
}

#[test]
fn a_wrong_value_can_be_mended_by_setting_it() {
    let (_directory, project) = project("[project]\nmax_agents = 0\n");
    let loaded = set(&project, "project.max_agents", "3", ADAPTERS).unwrap();
    assert_eq!(loaded.core.max_agents, 3);
}

#[test]
fn settings_show_what_is_in_force_and_where_from() {
    let (_directory, project) = project(
        "[project]\nmax_agents = 9\n[limits.adapters]\nclaude = 2\n\
         [agents.\"c.1\"]\nadapter = \"claude\"\nenv = { LANG = \"C\" }\n",
    );
    let one = |key| {
        let found = get(&project, key, ADAPTERS).unwrap();
        assert_eq!(found.len(), 1, "{key}");
        (found[0].value.clone(), found[0].is_set)
    };
    assert_eq!(one("project.max_agents"), (9.into(), true));
    assert_eq!(one("defaults.timeout"), ("2h".into(), false));
    assert_eq!(one("project.target"), (serde_json::Value::Null, false));
    assert_eq!(one("limits.adapters.claude"), (2.into(), true));
    assert_eq!(one("agents.c.1.adapter"), ("claude".into(), true));
    assert_eq!(one("agents.\"c.1\".env.LANG"), ("C".into(), true));
    assert_eq!(get(&project, "retry", ADAPTERS).unwrap().len(), 2);
    let keys = schema::AGENT.keys.len();
    assert_eq!(get(&project, "agents", ADAPTERS).unwrap().len(), keys);
    assert!(get(&project, "agents.c.1", ADAPTERS).unwrap().len() >= 12);
    let missing = |key| get(&project, key, ADAPTERS).unwrap_err().to_string();
    assert_eq!(
        missing("project.max_agent"),
        "there is no key 'project.max_agent'; did you mean 'project.max_agents'?"
    );
    assert_eq!(
        missing("agents.c.2.model"),
        "there is no agent 'c.2'; did you mean 'c.1'?"
    );
    assert_eq!(
        missing("agents.c.2"),
        "there is no agent 'c.2'; did you mean 'c.1'?"
    );
    let all = settings(&project, ADAPTERS).unwrap();
    for setting in all.iter().filter(|s| s.is_set) {
        let value = setting
            .value
            .as_str()
            .map_or_else(|| setting.value.to_string(), str::to_owned);
        set(&project, &setting.key, &value, ADAPTERS).unwrap();
    }
    assert_eq!(
        settings(&project, ADAPTERS).unwrap(),
        all,
        "what is shown can be set"
    );
}

#[test]
fn init_writes_a_file_that_loads_and_leaves_one_that_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let first = init(directory.path(), Some("my \"project\""), Some("trunk")).unwrap();
    assert!(first.created);
    let loaded = load(&first.project, ADAPTERS).unwrap();
    assert_eq!(loaded.name, "my \"project\"");
    assert_eq!(loaded.target.as_deref(), Some("trunk"));
    assert_eq!(loaded.core, orch_core::config::Config::default());
    first.project.check_state().unwrap();
    let before = text_of(&first.project);
    assert!(!init(directory.path(), Some("other"), None).unwrap().created);
    assert_eq!(text_of(&first.project), before);
    let example = before
        .replace("# [agents", "[agents")
        .replace("# adapter", "adapter");
    let example = example
        .replace("# max_par", "max_par")
        .replace("# env", "env");
    assert_eq!(
        loaded_from(&example).agents.len(),
        1,
        "the example in the comment is right"
    );
}

#[test]
fn init_refuses_what_could_not_be_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let error = init(directory.path(), Some("a\u{202e}b"), None).unwrap_err();
    assert_eq!(error.code(), "config");
    assert!(!directory.path().join(".orch").exists());
    let error = init(directory.path(), None, Some("-x")).unwrap_err();
    assert!(error.to_string().starts_with("target is \"-x\""), "{error}");
}

#[test]
fn fifty_at_once_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let created = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..50)
            .map(|number| {
                scope.spawn(move || {
                    let made = init(root, Some("x"), None).unwrap();
                    let agent = name(&format!("agent-{number}"));
                    add_agent(&made.project, &agent, &claude(), ADAPTERS).unwrap();
                    made.created
                })
            })
            .collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.filter(|created| *created).count()
    });
    assert_eq!(created, 1, "one of them wrote the first file");
    let project = Project::find(root).unwrap();
    assert_eq!(agents(&project, ADAPTERS).unwrap().len(), 50);
    assert!(!project.state.join("orch.toml.new").exists());
}

#[test]
fn the_stamp_changes_with_the_file() {
    let (_directory, project) = project("");
    let before = load(&project, ADAPTERS).unwrap().source_stamp;
    assert_eq!(stamp(&project).unwrap(), before);
    let after = set(&project, "project.name", "x", ADAPTERS)
        .unwrap()
        .source_stamp;
    assert_ne!(after, before);
    assert_eq!(stamp(&project).unwrap(), after);
}

/// The page for users.
const PAGE: &str = include_str!("../../../../docs/configuration.md");

fn table_of(section: &schema::Section) -> String {
    let adapters: Vec<&str> = orch_host::adapter::all().iter().map(|a| a.name).collect();
    let mut table = "| key | value | default | |\n| --- | --- | --- | --- |\n".to_owned();
    for key in section.keys {
        let default = key
            .default
            .map_or_else(String::new, |text| format!("`{text}`"));
        let expected = key.kind.expected(&adapters);
        let row = format!(
            "| `{}` | {expected} | {default} | {} |\n",
            key.name, key.about
        );
        table.push_str(&row);
    }
    table
}

/// The page with every table as it should be.
fn fresh_page() -> String {
    let named = [(&schema::AGENT, ".NAME"), (&schema::ADAPTER, ".NAME")];
    let sections = schema::SECTIONS.iter().map(|section| (section, ""));
    let mut page = PAGE.to_owned();
    for (section, name) in sections.chain(named) {
        let heading = format!("## `[{}{name}]`\n", section.name);
        let begin = page
            .find(&heading)
            .unwrap_or_else(|| panic!("no {heading}"));
        let begin = begin + page[begin..].find("\n| key |").unwrap() + 1;
        let end = begin + page[begin..].find("\n\n").unwrap() + 1;
        page.replace_range(begin..end, &table_of(section));
    }
    page
}

#[test]
fn the_page_for_users_has_every_key_as_it_is() {
    if fresh_page() != PAGE {
        let fresh = std::env::temp_dir().join("orch.configuration.md");
        fs::write(&fresh, fresh_page()).unwrap();
        let fresh = fresh.display();
        panic!("docs/configuration.md is not up to date; {fresh} is");
    }
}

#[test]
fn every_example_on_the_page_loads() {
    let examples: Vec<&str> = PAGE
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(examples.len() >= 4, "the examples are found");
    for example in examples {
        assert_eq!(messages(example), "loads", "{example}");
    }
}

#[test]
fn a_kind_of_ones_own_is_one_like_any_other() {
    let text = "[agents.a]\nadapter = \"mine\"\n[adapters.mine]\ncommand = [\"x\", \"{prompt}\"]\n\
        prompt = \"arg\"\noutput = \"jsonl\"\nsuccess = \"a.b = ok\"\n\
        [limits.adapters]\nmine = 2\n";
    let (_directory, project) = project(text);
    let loaded = load(&project, ADAPTERS).unwrap();
    let own = loaded.agents[0].own.as_ref().unwrap();
    assert_eq!(own, &loaded.own_adapters[0]);
    let rule = own.success.as_ref().unwrap();
    assert_eq!((rule.path.as_str(), rule.value.as_str()), ("a.b", "ok"));
    assert!(loaded.agents[0].kind().unwrap().has_result_event);
    assert_eq!(loaded.core.adapter_caps["mine"], 2);
    set(&project, "adapters.mine.result", "c", ADAPTERS).unwrap();
    let found = get(&project, "adapters.mine.result", ADAPTERS).unwrap();
    assert_eq!(found[0].value, "c");
    let fields = AgentFields {
        adapter: Some("mine".into()),
        ..AgentFields::default()
    };
    add_agent(&project, &"b".parse().unwrap(), &fields, ADAPTERS).unwrap();
    let (_elsewhere, other) = self::project("[agents.a]\nadapter = \"shell\"\ncommand = \"x\"\n");
    let copied = copy_adapter(&project, &other, "mine", ADAPTERS).unwrap();
    assert_eq!(copied.own_adapters[0].result.as_deref(), Some("c"));
}

#[test]
fn what_is_wrong_with_a_kind_of_ones_own_is_told_at_its_place() {
    let cases = [
        ("[adapters.mine]\n", "names no program"),
        (
            "[adapters.shell]\ncommand = [\"x\"]\n",
            "cannot be the name",
        ),
        (
            "[adapters.mine]\ncommand = [\"x\"]\nresult = \"a\"\n",
            "3:1: adapter 'mine': `result`",
        ),
        (
            "[adapters.mine]\ncommand = [\"x\"]\nprompt = \"file\"\n",
            "{prompt_file}",
        ),
        (
            "[adapters.mine]\ncommand = [\"x\"]\noutput = \"jsonl\"\nsuccess = \"ok\"\n",
            "PATH=VALUE",
        ),
        (
            "[adapters.mine]\ncommand = [\"x\"]\nresults = \"a\"\n",
            "did you mean 'result'",
        ),
        ("adapters = 1\n", "a table"),
        (
            "[adapters.mine]\ncommand = [\"x\"]\n[agents.a]\nadapter = \"mine\"\nmodel = \"m\"\n",
            "no setting `model`",
        ),
    ];
    for (text, said) in cases {
        let told = messages(text);
        assert!(told.contains(said), "{text}: {told}");
    }
}

/// The page that explains how to make one.
const OWN_PAGE: &str = include_str!("../../../../docs/own-adapters.md");

#[test]
fn the_worked_example_loads() {
    let example = OWN_PAGE.split("```toml\n").nth(1).unwrap();
    assert_eq!(messages(example.split("```").next().unwrap()), "loads");
}
