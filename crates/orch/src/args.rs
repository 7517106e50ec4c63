//! What can be typed. Only names, help and shapes; what it means is in `commands`.
//!
//! The arguments of a command are put together only when it is the one that was typed (`defer`).
//! What is said of a struct of arguments is a plain comment: clap would take a doc comment for
//! the help of the command, in place of the one beside its name.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::{duration, exit, ids};

/// The command line of orch.
#[derive(Debug, Parser)]
#[command(
    name = "orch",
    version,
    about = "Run a team of coding agents in parallel on a git repository",
    long_about = "Run a team of coding agents in parallel on a git repository.\n\n\
        Queue tasks; orch starts the right agent for each in a worktree of its own, keeps every \
        byte of its output, records how it ended, retries, lands the work and starts what \
        depended on it.",
    after_help = "Start with:\n  \
        orch init                                  set up this repository\n  \
        orch agent add coder --adapter claude      add an agent\n  \
        orch task add \"Fix the login test\"         queue work\n  \
        orch run --all                             have it done, and watch\n\n\
        'orch demo' shows all of it in a throw-away project.",
    after_long_help = exit::HELP,
    max_term_width = 100,
    propagate_version = false,
    disable_help_subcommand = true,
)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What holds for every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Answer in JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing but ids
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Work on the project in DIR instead of here
    #[arg(
        short = 'C',
        long = "project",
        value_name = "DIR",
        global = true,
        env = "ORCH_PROJECT_DIR",
        hide_env_values = true
    )]
    pub project: Option<PathBuf>,
    /// When to use colour: auto, always or never
    #[arg(long, value_name = "WHEN", global = true, value_enum, default_value_t)]
    #[arg(hide_default_value = true, hide_possible_values = true)]
    pub color: ColorChoice,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Command {
    /// Set up the repository here for orch
    #[command(after_help = "Example:\n  orch init --name shop")]
    Init(Init),
    /// Add, change and list agents
    #[command(subcommand)]
    Agent(Agent),
    /// Add, change, judge and list tasks
    #[command(subcommand)]
    Task(Task),
    /// Have tasks done and watch until they are
    #[command(
        after_help = "Examples:\n  orch run tsk_7m3k\n  orch run --all --max-agents 8\n\n\
        Where a daemon serves the project it does the work; otherwise this command does.\n\
        Ends with 1 if a task failed or cannot go on without you, and with 0 if all are done or\n\
        wait in review."
    )]
    Run(Run),
    /// Serve the project until told to stop
    #[command(
        after_help = "Examples:\n  orch serve\n  orch serve --once --log-format json\n\n\
        The first SIGTERM or Ctrl-C lets running agents end, a second one stops them; their work\n\
        is kept and goes on with the next start."
    )]
    Serve(Serve),
    /// List runs, newest first
    #[command(after_help = "Example:\n  orch runs --task tsk_7m3k")]
    Runs(Runs),
    /// Show a task or a run in full
    #[command(after_help = "Example:\n  orch show run_4kx9")]
    Show(Show),
    /// Read what agents did and said
    #[command(after_help = "Examples:\n  \
        orch logs --follow\n  \
        orch logs tsk_7m3k --since 1h\n  \
        orch logs run_4kx9 --raw > transcript.jsonl")]
    Logs(Logs),
    /// Show the project at a glance
    #[command(after_help = "Example:\n  orch status --watch")]
    Status(Status),
    /// Say why a task is not moving and who acts next
    #[command(after_help = "Example:\n  orch why tsk_7m3k")]
    Why(Why),
    /// List what happened, oldest first
    #[command(after_help = "Example:\n  orch events --follow --json")]
    Events(Events),
    /// Get back work that orch removed
    #[command(subcommand)]
    Rescue(Rescue),
    /// Read and change orch.toml
    #[command(subcommand)]
    Config(Config),
    /// Say what here would weaken a promise, and how to mend it
    #[command(after_help = "Example:\n  orch doctor --deep\n\n\
        Ends with 1 if there is a problem. A warning is not one.")]
    Doctor(Doctor),
    /// Print a unit that keeps a daemon for this project running
    #[command(subcommand)]
    Service(Service),
    /// Show what orch does with scripted agents in a throw-away project
    #[command(
        after_help = "Needs git, no key and no network; takes seconds. Ends with 1 if \
        records, logs and the\nagents' own ledger do not agree."
    )]
    Demo(Demo),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  \
        orch completions bash > ~/.local/share/bash-completion/completions/orch")]
    Completions(Completions),
}

// `orch doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// Read the whole database, too; may take long
    #[arg(long)]
    pub deep: bool,
}

/// `orch service`
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Service {
    /// Print the unit for this project with its paths
    #[command(after_help = "Examples:\n  \
        orch service print > ~/.config/systemd/user/orch.service\n  \
        orch service print --launchd > ~/Library/LaunchAgents/orch.plist")]
    Print(ServicePrint),
}

// `orch service print`
#[derive(Debug, Args)]
pub struct ServicePrint {
    /// A unit of a user's systemd; what is printed on Linux
    #[arg(long, conflicts_with = "launchd")]
    pub systemd: bool,
    /// A property list for launchd; what is printed on macOS
    #[arg(long)]
    pub launchd: bool,
}

/// `orch rescue`
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Rescue {
    /// List what is kept, oldest first: commits that no branch leads to, and removed files
    #[command(
        after_help = "The work of a task that still exists is on the task's branch; \
        'orch show TASK' names it."
    )]
    List,
    /// Show what is in it: commits and files
    #[command(after_help = "Example:\n  orch rescue show tsk_7m3k8p2q4r5t.1")]
    Show(RescueId),
    /// Give it back: commits as a branch, files as a directory; nothing is overwritten
    #[command(after_help = "Examples:\n  \
        orch rescue restore tsk_7m3k8p2q4r5t.1 --branch login-fix\n  \
        orch rescue restore tsk_7m3k8p2q4r5t.t1 --to ../old-worktree")]
    Restore(RescueRestore),
    /// Give it up for good
    Drop(RescueIds),
    /// Give up for good what is older than cleanup.keep of orch.toml
    #[command(after_help = "Example:\n  orch rescue prune --older-than 3d")]
    Prune(RescuePrune),
}

// Something that is kept, by its id.
#[derive(Debug, Args)]
pub struct RescueId {
    /// Its id, as 'orch rescue list' shows it
    #[arg(value_name = "ID")]
    pub id: String,
}

// Things that are kept, by their ids.
#[derive(Debug, Args)]
pub struct RescueIds {
    /// Their ids, as 'orch rescue list' shows them
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
}

// `orch rescue restore`
#[derive(Debug, Args)]
pub struct RescueRestore {
    /// Its id, as 'orch rescue list' shows it
    #[arg(value_name = "ID")]
    pub id: String,
    /// The branch to make of commits; rescued/ID unless given
    #[arg(long, value_name = "NAME", conflicts_with = "to")]
    pub branch: Option<String>,
    /// Where to put files; .orch/restored/ID unless given
    #[arg(long, value_name = "PATH")]
    pub to: Option<PathBuf>,
}

// `orch rescue prune`
#[derive(Debug, Args)]
pub struct RescuePrune {
    /// Give up what is older than this instead
    #[arg(long, value_name = "TIME", value_parser = duration::milliseconds)]
    pub older_than: Option<u64>,
}

// `orch init`
#[derive(Debug, Args)]
pub struct Init {
    /// The name of the project; the directory's unless given
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The branch that finished work lands on; the one checked out unless given
    #[arg(long, value_name = "BRANCH")]
    pub target: Option<String>,
}

/// `orch agent`
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Agent {
    /// Add an agent
    #[command(after_help = "Examples:\n  \
        orch agent add coder --adapter claude --model sonnet\n  \
        orch agent add tests --adapter shell --command 'make test' --label tests\n  \
        orch agent add fast --adapter claude --env ANTHROPIC_API_KEY --mcp tools.json\n\n\
        'orch agent adapters' lists the kinds of agents and what each can do.")]
    Add(Box<AgentAdd>),
    /// List agents and what they do
    List,
    /// List the kinds of agents and what each can do and tell
    #[command(after_help = "'not run here' means that only its documentation was read.")]
    Adapters,
    /// Have an agent do a tiny real task in a throw-away repository, and say what works
    #[command(after_help = "Example:\n  orch agent test coder\n\n\
        It costs a few tokens. Ends with 0 if all works, 1 if something does not, 5 if its program\n\
        is not there, and 7 if a limit stopped it.")]
    Test(AgentTest),
    /// Agree to files of the repository that agents' programs read by themselves
    #[command(
        after_help = "Examples:\n  orch agent trust --list\n  orch agent trust\n\n\
        Such files can run code: settings with hooks, MCP servers, plugins. No agent is started on\n\
        one whose content nobody has agreed to. A changed file must be agreed to again."
    )]
    Trust(AgentTrust),
    /// Show one agent
    Show(AgentName),
    /// Change an agent
    #[command(after_help = "Example:\n  orch agent edit coder --model opus --max-parallel 2")]
    Edit(Box<AgentEdit>),
    /// Remove an agent
    Remove(AgentName),
    /// Give an agent work again
    Enable(AgentName),
    /// Give an agent no more work
    Disable(AgentName),
}

// An agent by its name.
#[derive(Debug, Args)]
pub struct AgentName {
    /// The agent
    #[arg(value_name = "NAME")]
    pub name: String,
}

// `orch agent trust`
#[derive(Debug, Args)]
pub struct AgentTrust {
    /// Only list them
    #[arg(long, conflicts_with = "yes")]
    pub list: bool,
    /// Agree without being asked
    #[arg(short, long)]
    pub yes: bool,
}

// `orch agent test`
#[derive(Debug, Args)]
pub struct AgentTest {
    /// The agent
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Longest the tiny task may take
    #[arg(long, value_name = "TIME", value_parser = duration::milliseconds, default_value = "5m")]
    pub timeout: u64,
}

// `orch agent add`
#[derive(Debug, Args)]
pub struct AgentAdd {
    /// Its name: letters, digits, '.', '_' and '-'
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What kind of agent it is
    #[arg(long, value_name = "KIND", help = kinds())]
    pub adapter: String,
    #[command(flatten)]
    pub settings: AgentSettings,
    /// Add it without giving it work yet
    #[arg(long)]
    pub disabled: bool,
}

// `orch agent edit`
#[derive(Debug, Args)]
pub struct AgentEdit {
    /// The agent
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What kind of agent it is
    #[arg(long, value_name = "KIND", help = kinds())]
    pub adapter: Option<String>,
    #[command(flatten)]
    pub settings: AgentSettings,
}

// What can be said about an agent.
#[derive(Debug, Clone, Default, Args)]
pub struct AgentSettings {
    /// The command to run, for the shell adapter, or in place of the adapter's own
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true)]
    pub command: Option<String>,
    /// The model it asks for
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// What it is for: told to it, and counts as a label
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
    /// What it is told before every task
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub system_prompt: Option<String>,
    /// What it may do without asking: ask, edits or full
    #[arg(long, value_name = "MODE")]
    pub permission: Option<String>,
    /// How hard it is to think, in the words of its own program
    #[arg(long, value_name = "EFFORT")]
    pub effort: Option<String>,
    /// A file of MCP servers for it: {"mcpServers": {…}}; '' takes it away
    #[arg(long, value_name = "FILE")]
    pub mcp: Option<String>,
    /// What a success must have left behind: nothing, changes or commit
    #[arg(long, value_name = "WHAT")]
    pub require: Option<String>,
    /// Whether a later run of a task goes on with the session of the one before
    #[arg(long, value_name = "BOOL")]
    pub resume: Option<bool>,
    /// Turns it may take in a run
    #[arg(long, value_name = "N")]
    pub max_turns: Option<u32>,
    /// What it can do; tasks with labels go to agents that have them
    #[arg(short, long = "label", value_name = "LABEL", value_delimiter = ',')]
    pub labels: Vec<String>,
    /// Runs it may have at once
    #[arg(long, value_name = "N")]
    pub max_parallel: Option<u32>,
    /// A variable for its environment; KEY alone, or $NAME as the value, takes yours at start
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = variable)]
    pub env: Vec<(String, String)>,
    /// A further argument for its command
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true)]
    pub args: Vec<String>,
}

/// `orch task`
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Task {
    /// Add a task
    #[command(after_help = "Examples:\n  \
        orch task add \"Fix the login test\" -d \"It fails on Mondays.\" -p 1\n  \
        orch task add \"Write the docs\" --file brief.md --agent writer --timeout 30m\n  \
        id=$(orch task add \"Migrate\" -q); orch task add \"Deploy\" --depends-on $id")]
    Add(Box<TaskAdd>),
    /// List tasks, newest first
    #[command(after_help = "Example:\n  orch task list --status failed,review")]
    List(TaskList),
    /// Show a task in full
    Show(TaskId),
    /// Print what an agent would be told about a task now, word for word
    #[command(after_help = "Example:\n  orch task prompt tsk_7m3k > prompt.txt")]
    Prompt(TaskPrompt),
    /// Change a task that is waiting
    #[command(after_help = "Example:\n  orch task edit tsk_7m3k -p 1 --timeout 2h")]
    Edit(Box<TaskEdit>),
    /// Give a task to an agent and no other
    #[command(after_help = "Examples:\n  \
        orch task assign tsk_7m3k coder\n  orch task assign tsk_7m3k --any")]
    Assign(TaskAssign),
    /// Stop a task for good
    Cancel(TaskIds),
    /// Give a task that failed or was cancelled a fresh set of attempts
    Retry(TaskIds),
    /// Find the work of a task good and land it
    Approve(TaskIds),
    /// Send the work of a task back with your words
    #[command(after_help = "Example:\n  orch task reject tsk_7m3k -r \"The tests do not run.\"")]
    Reject(TaskReject),
    /// Send a task that ended, or is in review, back to its agent with a message
    #[command(after_help = "The agent goes on with its session where it can; \
        then it still knows what it did.\n\n\
        Example:\n  orch task resume tsk_7m3k -m \"Document it, too.\"")]
    Resume(TaskResume),
    /// Forget a task; 'orch rescue' can bring its work back for a while
    Delete(TaskIds),
}

// A task by its id.
#[derive(Debug, Args)]
pub struct TaskId {
    /// The task: its id, or the beginning of it
    #[arg(value_name = "TASK", value_parser = ids::task)]
    pub task: String,
}

// `orch task prompt`
#[derive(Debug, Args)]
pub struct TaskPrompt {
    /// The task: its id, or the beginning of it
    #[arg(value_name = "TASK", value_parser = ids::task)]
    pub task: String,
    /// The agent that is told; the one that would take it unless given
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
}

// Tasks by their ids.
#[derive(Debug, Args)]
pub struct TaskIds {
    /// The tasks: their ids, or the beginnings of them
    #[arg(value_name = "TASK", value_parser = ids::task, required = true)]
    pub tasks: Vec<String>,
}

// `orch task add`
#[derive(Debug, Args)]
pub struct TaskAdd {
    /// What it is about, in one line
    #[arg(value_name = "TITLE")]
    pub title: String,
    /// What the agent is to do; '-' reads it from standard input
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    #[arg(conflicts_with = "file")]
    pub description: Option<String>,
    /// Read what the agent is to do from a file
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How urgent: 1 (now) to 4 (whenever); 3 unless given
    #[arg(short, long, value_name = "1..4", value_parser = clap::value_parser!(u8).range(1..=4))]
    pub priority: Option<u8>,
    /// The agent that must do it
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// What it is about; only agents that have all of its labels take it
    #[arg(short, long = "label", value_name = "LABEL", value_delimiter = ',')]
    pub labels: Vec<String>,
    /// Tasks that must be done first
    #[arg(long, value_name = "TASK", value_delimiter = ',', value_parser = ids::task)]
    pub depends_on: Vec<String>,
    /// Tasks that must have ended first, well or not
    #[arg(long, value_name = "TASK", value_delimiter = ',', value_parser = ids::task)]
    pub after_any: Vec<String>,
    /// Paths of the repository it is expected to touch, from its top
    #[arg(long, value_name = "GLOB")]
    pub scope: Vec<String>,
    /// Where its agent works
    #[arg(long, value_name = "WHERE", value_enum)]
    pub workspace: Option<Workspace>,
    /// Who says that the work is good
    #[arg(long, value_name = "HOW", value_enum)]
    pub review: Option<Review>,
    /// What to do when nobody can know how a run ended
    #[arg(long, value_name = "HOW", value_enum)]
    pub on_lost: Option<OnLost>,
    /// What a success must have left behind
    #[arg(long, value_name = "WHAT", value_enum)]
    pub require: Option<Require>,
    /// Attempts it may have
    #[arg(long, value_name = "N")]
    pub max_attempts: Option<u32>,
    /// Longest a run may take: 90s, 30m, 2h, 1h30m
    #[arg(long, value_name = "TIME", value_parser = duration::milliseconds)]
    #[arg(allow_hyphen_values = true)]
    pub timeout: Option<u64>,
    /// Longest a run may say nothing
    #[arg(long, value_name = "TIME", value_parser = duration::milliseconds)]
    #[arg(allow_hyphen_values = true)]
    pub stall_timeout: Option<u64>,
    /// A file the agent is told of
    #[arg(long = "attach", value_name = "FILE")]
    pub attachments: Vec<PathBuf>,
}

/// Where an agent works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workspace {
    /// In a git worktree of the task's own
    Worktree,
    /// In your checkout, together with everybody else
    Shared,
}

/// Who says that work is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Review {
    /// You, with 'orch task approve'
    Manual,
    /// Success is approval
    Auto,
}

/// What to do when a run is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnLost {
    /// Try again
    Retry,
    /// Ask you
    Ask,
}

/// What a success must have left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Require {
    /// The agent's word is enough
    Nothing,
    /// A changed file, whoever committed it
    Changes,
    /// A commit of the agent's own
    Commit,
}

// `orch task list`
#[derive(Debug, Args)]
pub struct TaskList {
    /// Only tasks that stand like this
    #[arg(short, long, value_name = "STATUS", value_delimiter = ',', value_enum)]
    pub status: Vec<TaskStatus>,
    /// Only tasks with this label
    #[arg(short, long, value_name = "LABEL")]
    pub label: Option<String>,
    /// Only tasks that ask for this agent
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// At most so many, 0 for all; 100 on a terminal and 1000 elsewhere, unless given
    #[arg(short = 'n', long, value_name = "N")]
    pub limit: Option<u32>,
}

/// How a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum TaskStatus {
    /// Waits for its turn
    Todo,
    /// An agent works on it
    InProgress,
    /// Waits for its next attempt
    Retrying,
    /// The work is done and waits for approval or landing
    Review,
    /// Done
    Done,
    /// No attempt is left
    Failed,
    /// Not wanted any more
    Cancelled,
}

// `orch task edit`
#[derive(Debug, Args)]
pub struct TaskEdit {
    /// The task: its id, or the beginning of it
    #[arg(value_name = "TASK", value_parser = ids::task)]
    pub task: String,
    /// What it is about, in one line; only before its first run
    #[arg(long, value_name = "TITLE", allow_hyphen_values = true)]
    pub title: Option<String>,
    /// What the agent is to do; '-' reads it from standard input
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    #[arg(conflicts_with = "file")]
    pub description: Option<String>,
    /// Read what the agent is to do from a file
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How urgent: 1 (now) to 4 (whenever)
    #[arg(short, long, value_name = "1..4", value_parser = clap::value_parser!(u8).range(1..=4))]
    pub priority: Option<u8>,
    /// The agent that must do it
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// What it is about; replaces all labels, '' takes them away
    #[arg(short, long = "label", value_name = "LABEL", value_delimiter = ',')]
    pub labels: Option<Vec<String>>,
    /// Tasks that must be done first; replaces all it waits for
    #[arg(long, value_name = "TASK", value_delimiter = ',', value_parser = ids::task)]
    pub depends_on: Option<Vec<String>>,
    /// Tasks that must have ended first; replaces all it waits for
    #[arg(long, value_name = "TASK", value_delimiter = ',', value_parser = ids::task)]
    pub after_any: Option<Vec<String>>,
    /// Wait for no other task any more
    #[arg(long, conflicts_with_all = ["depends_on", "after_any"])]
    pub no_dependencies: bool,
    /// Attempts it may have
    #[arg(long, value_name = "N")]
    pub max_attempts: Option<u32>,
    /// Longest a run may take: 90s, 30m, 2h, 1h30m
    #[arg(long, value_name = "TIME", value_parser = duration::milliseconds)]
    #[arg(allow_hyphen_values = true)]
    pub timeout: Option<u64>,
    /// What a success must have left behind
    #[arg(long, value_name = "WHAT", value_enum)]
    pub require: Option<RequireInstead>,
}

/// What a success must have left behind from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RequireInstead {
    /// The agent's word is enough
    Nothing,
    /// A changed file, whoever committed it
    Changes,
    /// A commit of the agent's own
    Commit,
    /// What the configuration of its agent says
    Agent,
}

// `orch task assign`
#[derive(Debug, Args)]
pub struct TaskAssign {
    /// The task: its id, or the beginning of it
    #[arg(value_name = "TASK", value_parser = ids::task)]
    pub task: String,
    /// The agent that must do it
    #[arg(
        value_name = "AGENT",
        required_unless_present = "any",
        conflicts_with = "any"
    )]
    pub agent: Option<String>,
    /// Let any agent that fits do it
    #[arg(long)]
    pub any: bool,
}

// `orch task reject`
#[derive(Debug, Args)]
pub struct TaskReject {
    /// The task: its id, or the beginning of it
    #[arg(value_name = "TASK", value_parser = ids::task)]
    pub task: String,
    /// What is wrong, for the agent; '-' reads it from standard input
    #[arg(short, long, value_name = "WHY", allow_hyphen_values = true)]
    pub reason: String,
}

// `orch task resume`
#[derive(Debug, Args)]
pub struct TaskResume {
    /// The task: its id, or the beginning of it
    #[arg(value_name = "TASK", value_parser = ids::task)]
    pub task: String,
    /// What the agent is to know; '-' reads it from standard input
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub message: String,
}

// `orch run`
#[derive(Debug, Args)]
pub struct Run {
    /// The tasks: their ids, or the beginnings of them
    #[arg(value_name = "TASK", value_parser = ids::task)]
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub tasks: Vec<String>,
    /// Every task that can be done
    #[arg(long)]
    pub all: bool,
    /// Agents at work at once; as configured unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub max_agents: Option<u32>,
}

// `orch serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// End when nothing can move any more: with 1 if something failed or is stuck
    #[arg(long)]
    pub once: bool,
    /// Also log what the agents say
    #[arg(short, long)]
    pub verbose: bool,
    /// How to log: text on a terminal and json elsewhere, unless given
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
    /// Agents at work at once; as configured unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub max_agents: Option<u32>,
}

/// How `orch serve` logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For programs
    Json,
    /// For people
    Text,
}

// `orch runs`
#[derive(Debug, Args)]
pub struct Runs {
    /// Only runs of this task
    #[arg(long, value_name = "TASK", value_parser = ids::task)]
    pub task: Option<String>,
    /// Only runs by this agent
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// At most so many, 0 for all; 100 on a terminal and 1000 elsewhere, unless given
    #[arg(short = 'n', long, value_name = "N")]
    pub limit: Option<u32>,
}

// `orch show`
#[derive(Debug, Args)]
pub struct Show {
    /// The task or run: its id, or the beginning of it
    #[arg(value_name = "ID", value_parser = ids::either)]
    pub id: ids::Either,
}

// `orch logs`
#[derive(Debug, Clone, Args)]
pub struct Logs {
    /// The run, or the task with 'tsk_' before it: its id, or the beginning of it; the newest run
    /// unless given
    #[arg(value_name = "ID", value_parser = ids::run_or_task)]
    pub run: Option<String>,
    /// All runs of this task
    #[arg(long, value_name = "TASK", value_parser = ids::task)]
    #[arg(conflicts_with_all = ["run", "agent"])]
    pub task: Option<String>,
    /// All runs by this agent
    #[arg(long, value_name = "NAME", conflicts_with = "run")]
    pub agent: Option<String>,
    /// Go on with what is still to come
    #[arg(short, long)]
    pub follow: bool,
    /// Only what is not older than this: 30s, 5m, 1h, or a time as 2026-01-31T09:00:00Z
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        conflicts_with = "raw"
    )]
    pub since: Option<String>,
    /// The agent's output byte for byte, as it wrote it
    #[arg(long)]
    pub raw: bool,
    /// What the agent wrote to its standard error, byte for byte
    #[arg(long, conflicts_with_all = ["raw", "since"])]
    pub stderr: bool,
}

// `orch status`
#[derive(Debug, Args)]
pub struct Status {
    /// Show it again whenever something changes
    #[arg(short, long)]
    pub watch: bool,
}

// `orch why`
#[derive(Debug, Args)]
pub struct Why {
    /// The task, or a run of it: its id, or the beginning of it
    #[arg(value_name = "ID", value_parser = ids::either)]
    pub id: ids::Either,
}

// `orch events`
#[derive(Debug, Args)]
pub struct Events {
    /// Go on with what is still to come
    #[arg(short, long)]
    pub follow: bool,
    /// Only what comes after this number
    #[arg(long, value_name = "SEQ")]
    pub after: Option<u64>,
}

/// `orch config`
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Config {
    /// Print a value
    #[command(after_help = "Example:\n  orch config get project.max_agents")]
    Get(ConfigGet),
    /// Change a value; comments and order stay
    #[command(after_help = "Example:\n  orch config set project.max_agents 8")]
    Set(ConfigSet),
    /// Open orch.toml in your editor and check it afterwards
    Edit,
}

// `orch config get`
#[derive(Debug, Args)]
pub struct ConfigGet {
    /// Where it is: names with dots between them; everything unless given
    #[arg(value_name = "KEY")]
    pub key: Option<String>,
}

// `orch config set`
#[derive(Debug, Args)]
pub struct ConfigSet {
    /// Where it is: names with dots between them
    #[arg(value_name = "KEY")]
    pub key: String,
    /// The value; a list is words with commas between them
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    pub value: String,
}

// `orch demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// Leave the project in place and say where it is
    #[arg(long, action = ArgAction::SetTrue)]
    pub keep: bool,
}

// `orch completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: clap_complete::Shell,
}

/// The word by which the interface knows a value.
pub fn word<T: ValueEnum>(value: T) -> String {
    let possible = value.to_possible_value();
    possible.map_or_else(String::new, |value| value.get_name().to_owned())
}

/// The help of `--adapter`.
fn kinds() -> String {
    format!("The kind of agent: {}", orch_daemon::adapters().join(", "))
}

/// A variable and its value. A name alone refers to the caller's variable of that name.
fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        None if !text.is_empty() => Ok((text.to_owned(), format!("${text}"))),
        _ => Err("write it as KEY or KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    /// Every command with the words that lead to it.
    fn all(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
        found.push((path.to_owned(), command.clone()));
        for sub in command.get_subcommands() {
            all(sub, &format!("{path} {}", sub.get_name()), found);
        }
    }

    #[test]
    fn every_help_reads_as_written_by_one_person() {
        let mut root = Cli::command().term_width(100);
        root.build();
        let mut commands = Vec::new();
        all(&root, "orch", &mut commands);
        let text: Vec<String> = commands
            .iter_mut()
            .map(|(path, command)| {
                let mut command = command.clone().term_width(100);
                format!("$ {path} --help\n{}", command.render_long_help())
            })
            .collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn the_short_help_fits_a_screen() {
        let help = Cli::command().term_width(100).render_help().to_string();
        insta::assert_snapshot!(help);
        assert!(help.lines().count() <= 45, "{}", help.lines().count());
    }
}
