//! What starts next, and with whom.

use orch_core::config::Agent;
use orch_core::request::{NewTask, Request};

use crate::bench::{Bench, after, agent, name, new, priority, specialist};

fn labelled(title: &str, labels: &[&str]) -> NewTask {
    NewTask {
        labels: labels.iter().map(|label| (*label).into()).collect(),
        ..new(title)
    }
}

fn named(title: &str, agent: &str) -> NewTask {
    NewTask {
        agent: Some(name(agent)),
        ..new(title)
    }
}

fn pairs(started: &[(String, String)]) -> Vec<(&str, &str)> {
    started
        .iter()
        .map(|(task, agent)| (task.as_str(), agent.as_str()))
        .collect()
}

#[test]
fn the_urgent_go_first_and_the_oldest_among_equals() {
    let mut bench = Bench::new();
    for (title, number) in [("a", 3), ("b", 1), ("c", 4), ("d", 1), ("e", 3)] {
        bench.add(NewTask {
            priority: priority(number),
            ..new(title)
        });
    }
    bench.config.max_agents = 2;
    assert_eq!(bench.plan(), ["b", "d"]);
    bench.config.max_agents = 5;
    assert_eq!(bench.plan(), ["a", "e", "c"]);
}

#[test]
fn blocked_tasks_take_no_slot_from_ready_ones() {
    let mut bench = Bench::new();
    bench.config.max_agents = 1;
    let first = bench.add(NewTask {
        priority: priority(4),
        ..new("first")
    });
    for index in 0..5 {
        bench.add(NewTask {
            priority: priority(1),
            ..after(&format!("blocked {index}"), &[&first])
        });
    }
    assert_eq!(bench.plan(), ["first"]);
}

#[test]
fn a_busy_agent_holds_up_its_own_tasks_and_nobody_elses() {
    let one = |text: &str| Agent {
        max_parallel: 1,
        ..agent(text)
    };
    let mut bench = Bench::with_agents([one("ann"), one("bob")]);
    for index in 0..3 {
        bench.add(NewTask {
            priority: priority(1),
            ..named(&format!("for ann {index}"), "ann")
        });
    }
    let waiting = bench.add(named("for bob", "bob"));
    assert_eq!(
        pairs(&bench.plan_with_agents()),
        [("for ann 0", "ann"), ("for bob", "bob")]
    );
    assert_eq!(bench.code(&waiting), "agent");
    let ids: Vec<_> = bench.live().into_iter().map(|run| run.task).collect();
    assert_eq!(ids.len(), 2);
}

#[test]
fn caps_of_project_agent_and_adapter_hold() {
    let two = |text: &str, adapter: &str| Agent {
        max_parallel: 2,
        adapter: adapter.into(),
        ..agent(text)
    };
    let mut bench = Bench::with_agents([two("ann", "claude"), two("bob", "codex")]);
    let tasks: Vec<_> = (0..9)
        .map(|index| bench.add(new(&index.to_string())))
        .collect();
    bench.config.adapter_caps.insert("claude".into(), 1);
    assert_eq!(
        pairs(&bench.plan_with_agents()),
        [("0", "ann"), ("1", "bob"), ("2", "bob")]
    );
    assert_eq!(bench.code(&tasks[3]), "agent_busy");
    bench.config.adapter_caps.clear();
    bench.config.max_agents = 3;
    assert!(bench.plan().is_empty());
    assert_eq!(bench.code(&tasks[3]), "slot");
    bench.config.max_agents = 4;
    assert_eq!(pairs(&bench.plan_with_agents()), [("3", "ann")]);
}

#[test]
fn a_lowered_cap_stops_no_run_and_starts_none() {
    let mut bench = Bench::new();
    let tasks: Vec<_> = (0..4)
        .map(|index| bench.add(new(&index.to_string())))
        .collect();
    bench.config.max_agents = 3;
    assert_eq!(bench.plan().len(), 3);
    bench.config.max_agents = 1;
    assert!(bench.plan().is_empty());
    bench.succeed(&tasks[0]);
    bench.succeed(&tasks[1]);
    assert!(bench.plan().is_empty());
    bench.succeed(&tasks[2]);
    assert_eq!(bench.plan(), ["3"]);
}

#[test]
fn labels_find_specialists_and_else_generalists() {
    let mut bench = Bench::with_agents([
        agent("gen"),
        specialist("web", &["web", "css"]),
        Agent {
            role: Some("reviewer".into()),
            ..specialist("rev", &["rust"])
        },
    ]);
    for (title, labels) in [
        ("css", &["css", "web"][..]),
        ("role", &["reviewer"][..]),
        ("unknown", &["haskell"][..]),
        ("both", &["web", "rust"][..]),
    ] {
        bench.add(labelled(title, labels));
    }
    let expected = [
        ("css", "web"),
        ("role", "rev"),
        ("unknown", "gen"),
        ("both", "gen"),
    ];
    assert_eq!(pairs(&bench.plan_with_agents()), expected);
}

#[test]
fn work_is_spread_over_the_least_busy() {
    let mut bench = Bench::with_agents([agent("ann"), agent("bob")]);
    for title in ["1", "2", "3", "4"] {
        bench.add(new(title));
    }
    let expected = [("1", "ann"), ("2", "bob"), ("3", "ann"), ("4", "bob")];
    assert_eq!(pairs(&bench.plan_with_agents()), expected);
}

#[test]
fn a_named_agent_and_no_other() {
    let off = Agent {
        enabled: false,
        ..agent("off")
    };
    let mut bench = Bench::with_agents([agent("ann"), agent("bob"), off]);
    bench.add(named("a", "bob"));
    let disabled = bench.add(named("b", "off"));
    assert_eq!(pairs(&bench.plan_with_agents()), [("a", "bob")]);
    assert_eq!(bench.code(&disabled), "agent_unavailable");
    bench
        .config
        .agents
        .retain(|agent| agent.name.as_str() != "off");
    assert_eq!(bench.code(&disabled), "agent_unavailable");
    let refused = bench.refusal(Request::Add(Box::new(named("c", "nobody"))));
    assert_eq!(refused.to_string(), "there is no agent 'nobody'");
}

#[test]
fn a_retry_is_not_pinned_to_the_agent_that_failed() {
    let mut bench = Bench::with_agents([agent("ann"), agent("bob")]);
    let task = bench.add(new("a"));
    assert_eq!(pairs(&bench.plan_with_agents()), [("a", "ann")]);
    bench.end(&task, crate::bench::error());
    bench.config.agents.remove(0);
    bench.wait(60_000);
    assert_eq!(pairs(&bench.plan_with_agents()), [("a", "bob")]);
}

#[test]
fn without_anybody_the_reason_is_said() {
    let mut bench = Bench::with_agents([]);
    let any = bench.add(new("any"));
    let label = bench.add(labelled("label", &["rust"]));
    assert!(bench.plan().is_empty());
    assert_eq!(bench.code(&any), "no_agent");
    bench.config.agents = vec![specialist("web", &["web"])];
    assert_eq!(bench.code(&label), "no_agent_for_labels");
    assert_eq!(bench.code(&any), "turn");
}

#[test]
fn ten_thousand_queued_tasks_change_nothing_about_the_next_one() {
    let mut bench = Bench::new();
    bench.config.max_agents = 1;
    let first = bench.add(new("first"));
    for index in 0..10_000 {
        bench.add(new(&index.to_string()));
    }
    assert_eq!(bench.plan(), ["first"]);
    let urgent = bench.add(NewTask {
        priority: priority(1),
        ..new("urgent")
    });
    bench.succeed(&first);
    assert_eq!(bench.plan(), ["urgent"]);
    assert_eq!(bench.status(&urgent), "in_progress");
}

#[test]
fn a_plan_for_some_tasks_starts_those_and_no_others() {
    let mut bench = Bench::new();
    let urgent = bench.add(NewTask {
        priority: priority(1),
        ..new("urgent")
    });
    let chosen = bench.add(new("chosen"));
    let blocked = bench.add(after("blocked", &[&urgent]));
    assert_eq!(bench.plan_only(&[&chosen, &blocked]), ["chosen"]);
    assert_eq!(bench.plan_only(&[&chosen, &blocked]), [] as [&str; 0]);
    assert_eq!(bench.plan(), ["urgent"]);
}
