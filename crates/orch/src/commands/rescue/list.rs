//! `orch rescue list`

use jiff::Timestamp;
use orch_api::types::Rescue;

use super::amount;
use crate::context::Context;
use crate::error::Result;
use crate::exit::Ending;
use crate::table::{Cell, Table};
use crate::view;

/// Lists what is kept.
pub fn run(context: &Context) -> Result<Ending> {
    let printer = &context.printer;
    let kept = context.client()?.rescues()?;
    if printer.is_json() {
        printer.json(&kept)?;
    } else if printer.is_quiet() {
        kept.iter().try_for_each(|it| printer.line(&it.id))?;
    } else if kept.is_empty() {
        printer.talk("Nothing was removed that could be brought back.")?;
        printer.hint("the work of a task that exists is on its branch: 'orch show TASK'")?;
    } else {
        printer.table(&table(&kept, Timestamp::now()))?;
    }
    Ok(Ending::Done)
}

fn table(kept: &[Rescue], now: Timestamp) -> Table {
    let headings = ["ID", "WHAT", "RUN", "AGE", "LEFT", "HOLDS", "WHY"];
    let mut table = Table::new(&headings).giving_way("WHY");
    for it in kept {
        table.row(vec![
            Cell::new(&it.id),
            it.kind.as_str().into(),
            view::optional(it.run.as_deref()),
            match &it.at {
                Some(at) => view::age(at, now).into(),
                None => "unknown".into(),
            },
            left(it, now).into(),
            amount(it).into(),
            view::optional(it.why.as_deref()),
        ]);
    }
    table
}

/// How long it will be kept.
fn left(kept: &Rescue, now: Timestamp) -> String {
    let Some(end) = &kept.expires_at else {
        return "for ever".to_owned();
    };
    let Ok(end) = end.parse::<Timestamp>() else {
        return String::new();
    };
    let left = end.as_millisecond().saturating_sub(now.as_millisecond());
    match u64::try_from(left) {
        Ok(left) if left > 0 => crate::duration::shown(left - left % unit(left)),
        _ => "over".to_owned(),
    }
}

/// What a time is cut to: days if there are some, else hours, else minutes, else seconds.
const fn unit(milliseconds: u64) -> u64 {
    match milliseconds {
        86_400_000.. => 86_400_000,
        3_600_000.. => 3_600_000,
        60_000.. => 60_000,
        1_000.. => 1_000,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(at: Option<&str>, end: Option<&str>) -> Rescue {
        Rescue {
            id: "tsk_1.1".to_owned(),
            kind: "commits".to_owned(),
            task: Some("tsk_1".to_owned()),
            run: None,
            why: Some("the branch of a deleted task".to_owned()),
            at: at.map(str::to_owned),
            expires_at: end.map(str::to_owned),
            reference: None,
            commit: None,
            commits: Some(2),
            path: None,
            bytes: None,
            files: None,
        }
    }

    #[test]
    fn what_is_left_of_a_lifetime_is_said_and_nothing_is_made_up() {
        let now: Timestamp = "2026-01-10T00:00:00Z".parse().unwrap();
        let of = |end| left(&kept(None, end), now);
        assert_eq!(of(Some("2026-01-23T12:00:00Z")), "13d");
        assert_eq!(of(Some("2026-01-10T00:00:05Z")), "5s");
        assert_eq!(of(Some("2026-01-09T00:00:00Z")), "over");
        assert_eq!(of(None), "for ever");
        let text = table(&[kept(None, None)], now).separated();
        assert!(
            text.contains("unknown") && text.contains("2 commits"),
            "{text}"
        );
    }
}
