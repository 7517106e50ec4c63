//! Who waits for whom, and what becomes of those who wait in vain.

use orch_core::request::{Refusal, Request, TaskEdit};
use orch_core::task::Dependency;
use orch_core::{TaskId, request};

use crate::bench::{Bench, after, ends, error, needs, new};

fn depend(bench: &mut Bench, task: &TaskId, on: Vec<Dependency>) -> Result<(), Refusal> {
    let edit = Box::new(TaskEdit {
        dependencies: Some(on),
        ..TaskEdit::default()
    });
    let request = Request::Edit {
        task: task.clone(),
        edit,
    };
    match bench.step(orch_core::engine::Input::Request(request)) {
        Ok(_) => Ok(()),
        Err(orch_core::engine::StepError::Refused(refusal)) => Err(refusal),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_chain_of_200_runs_one_after_the_other() {
    let mut bench = Bench::new();
    let mut chain = vec![bench.add(new("0"))];
    for index in 1..200 {
        let before = chain[index - 1].clone();
        chain.push(bench.add(after(&index.to_string(), &[&before])));
    }
    for (index, id) in chain.iter().enumerate() {
        assert_eq!(bench.plan(), [index.to_string()]);
        bench.succeed(id);
        assert_eq!(bench.status(id), "done");
    }
    assert!(bench.plan().is_empty());
}

#[test]
fn a_fan_of_2000_is_released_by_one_end_and_gathered_by_one_task() {
    let mut bench = Bench::new();
    bench.config.max_agents = 1_000;
    let root = bench.add(new("root"));
    let fan: Vec<TaskId> = (0..2_000)
        .map(|index| bench.add(after(&index.to_string(), &[&root])))
        .collect();
    let last = bench.add(after("last", &fan.iter().collect::<Vec<_>>()));
    assert_eq!(bench.plan(), ["root"]);
    assert_eq!(bench.task(&last).unmet, 2_000);
    bench.succeed(&root);
    assert_eq!(bench.plan().len(), 1_000);
    fan[..1_000].iter().for_each(|id| bench.succeed(id));
    assert_eq!(bench.plan().len(), 1_000);
    fan[1_000..].iter().for_each(|id| bench.succeed(id));
    assert_eq!(bench.plan(), ["last"]);
}

#[test]
fn a_diamond_with_a_failing_arm_waits_for_a_person_and_goes_on_after_a_retry() {
    let mut bench = Bench::new();
    let top = bench.add(new("top"));
    let good = bench.add(after("good", &[&top]));
    let bad = bench.add(request::NewTask {
        max_attempts: Some(1),
        ..after("bad", &[&top])
    });
    let bottom = bench.add(after("bottom", &[&good, &bad]));
    bench.plan();
    bench.succeed(&top);
    assert_eq!(bench.plan(), ["good", "bad"]);
    bench.end(&bad, error());
    assert_eq!(bench.status(&bad), "failed");
    assert_eq!(bench.code(&bottom), "dependency_failed");
    bench.succeed(&good);
    assert!(bench.plan().is_empty());
    let message = bench.why(&bottom).message;
    assert!(message.contains(bad.as_str()), "{message}");

    bench.ask(Request::Retry { task: bad.clone() });
    assert_eq!(bench.plan(), ["bad"]);
    assert_eq!(bench.code(&bottom), "dependency");
    bench.succeed(&bad);
    assert_eq!(bench.plan(), ["bottom"]);
}

#[test]
fn success_alone_starts_nothing_before_it_has_landed() {
    let mut bench = Bench::new();
    let first = bench.add(new("first"));
    bench.add(after("second", &[&first]));
    bench.plan();
    bench.end(&first, crate::bench::success());
    assert_eq!(bench.status(&first), "review");
    assert!(bench.plan().is_empty());
    bench.ask(Request::Approve {
        task: first.clone(),
    });
    assert!(bench.plan().is_empty());
    bench.land(&first);
    assert_eq!(bench.plan(), ["second"]);
}

#[test]
fn after_any_waits_for_the_end_however_it_comes() {
    let mut bench = Bench::new();
    let first = bench.add(request::NewTask {
        max_attempts: Some(1),
        ..new("first")
    });
    let second = bench.add(request::NewTask {
        dependencies: vec![ends(&first)],
        ..new("second")
    });
    bench.plan();
    bench.end(&first, error());
    assert_eq!(bench.task(&second).unmet, 0);
    // It is taken back while nobody has begun: the first is on its way again.
    bench.ask(Request::Retry {
        task: first.clone(),
    });
    assert_eq!(bench.task(&second).unmet, 1);
    bench.ask(Request::Cancel { task: first });
    assert_eq!(bench.plan(), ["second"]);
}

#[test]
fn a_cycle_is_refused_with_its_path() {
    let mut bench = Bench::new();
    let a = bench.add(new("a"));
    let b = bench.add(after("b", &[&a]));
    let c = bench.add(after("c", &[&b]));
    let refusal = depend(&mut bench, &a, vec![needs(&c)]).unwrap_err();
    assert_eq!(refusal, Refusal::Cycle(vec![a.clone(), c, b, a.clone()]));
    let refusal = depend(&mut bench, &a, vec![needs(&a)]).unwrap_err();
    assert_eq!(refusal, Refusal::Cycle(vec![a.clone(), a.clone()]));
    assert_eq!(bench.task(&a).unmet, 0);
    assert_eq!(bench.plan(), ["a"]);
}

#[test]
fn a_dependency_given_twice_is_one_dependency() {
    let mut bench = Bench::new();
    let first = bench.add(new("first"));
    let second = bench.add(after("second", &[&first, &first]));
    assert_eq!(bench.task(&second).unmet, 1);
    depend(
        &mut bench,
        &second,
        vec![needs(&first), ends(&first), needs(&first)],
    )
    .unwrap();
    assert_eq!(bench.task(&second).unmet, 2);
    bench.plan();
    bench.succeed(&first);
    assert_eq!(bench.plan(), ["second"]);
}

#[test]
fn cancelling_a_running_dependency_strands_those_who_need_it_and_says_so() {
    let mut bench = Bench::new();
    let first = bench.add(new("first"));
    let second = bench.add(after("second", &[&first]));
    bench.plan();
    bench.ask(Request::Cancel {
        task: first.clone(),
    });
    assert_eq!(
        (bench.status(&first), bench.code(&first)),
        ("in_progress", "stopping")
    );
    assert_eq!(bench.code(&second), "dependency");
    bench.end(&first, error());
    assert_eq!(bench.status(&first), "cancelled");
    assert_eq!(bench.code(&second), "dependency_failed");
    assert!(bench.plan().is_empty());
}

#[test]
fn what_others_wait_for_cannot_be_deleted() {
    let mut bench = Bench::new();
    let first = bench.add(new("first"));
    let second = bench.add(after("second", &[&first]));
    let delete = |task: &TaskId| Request::Delete { task: task.clone() };
    let needed = Refusal::Needed {
        task: first.clone(),
        needed_by: second.clone(),
    };
    assert_eq!(bench.refusal(delete(&first)), needed);
    bench.ask(delete(&second));
    bench.ask(delete(&first));
    assert_eq!(bench.refusal(delete(&first)), Refusal::NoSuchTask(first));
}

#[test]
fn a_task_at_work_or_landing_cannot_be_deleted() {
    let mut bench = Bench::new();
    let task = bench.add(new("a"));
    bench.plan();
    let delete = Request::Delete { task: task.clone() };
    let is_busy = |refusal| matches!(refusal, Refusal::Busy { .. });
    assert!(is_busy(bench.refusal(delete.clone())));
    bench.end(&task, crate::bench::success());
    bench.ask(Request::Approve { task: task.clone() });
    assert!(is_busy(bench.refusal(delete.clone())));
    bench.land(&task);
    bench.ask(delete);
    assert!(matches!(
        bench.effects.last(),
        Some(orch_core::engine::Effect::Discard { runs, .. }) if runs.len() == 1
    ));
}
