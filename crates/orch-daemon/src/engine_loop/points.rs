//! Where the daemon can be made to die around a commit, by what the commit is about.

use orch_core::engine::{Effect, Input};
use orch_host::failpoint::{self, Point};

/// What a transaction is about. One can be about several things.
enum About {
    Request,
    Start,
    Running,
    End,
    Landing,
}

/// Everything is stepped and nothing is committed.
pub(super) fn committing(inputs: &[Input], effects: &[Effect]) {
    for about in abouts(inputs, effects) {
        failpoint::hit(match about {
            About::Request => Point::RequestCommitting,
            About::Start => Point::StartCommitting,
            About::Running => Point::RunningCommitting,
            About::End => Point::EndCommitting,
            About::Landing => Point::LandingCommitting,
        });
    }
}

/// Everything is committed, nobody was told and nothing was performed.
pub(super) fn committed(inputs: &[Input], effects: &[Effect]) {
    for about in abouts(inputs, effects) {
        failpoint::hit(match about {
            About::Request => Point::RequestCommitted,
            About::Start => Point::StartCommitted,
            About::Running => Point::RunningCommitted,
            About::End => Point::EndCommitted,
            About::Landing => Point::LandingCommitted,
        });
    }
}

fn abouts(inputs: &[Input], effects: &[Effect]) -> impl Iterator<Item = About> {
    let inputs = inputs.iter().filter_map(|input| match input {
        Input::Request(_) => Some(About::Request),
        Input::Spawned { .. } => Some(About::Running),
        Input::Ended { .. } => Some(About::End),
        Input::Landed { .. } => Some(About::Landing),
        _ => None,
    });
    let starts = effects.iter().filter_map(|effect| match effect {
        Effect::Start { .. } => Some(About::Start),
        _ => None,
    });
    inputs.chain(starts)
}
