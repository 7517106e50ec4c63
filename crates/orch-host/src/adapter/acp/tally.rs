//! What an agent used, from the places where agents say it.
//!
//! The protocol has a place for a session's cost and none yet for tokens that all agents agree
//! on. What cannot be told for this run alone is left out.

use orch_core::run::Usage;

use crate::adapter::json::Fields;

/// Largest token count that is believed: what a database holds.
const TOKENS: u64 = i64::MAX as u64;
/// Largest cost that is believed, US dollars.
const COST_USD: f64 = 1e9;
/// The agent whose answer tells the tokens of its last call only.
const LAST_CALL_ONLY: &str = "OpenCode";

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The session's cost when the prompt was sent.
    cost_before: Option<f64>,
    cost: Option<f64>,
    /// The sum of what single calls of the model used.
    calls: Option<Usage>,
    /// Whether a call was told of that cannot be added.
    unsound: bool,
}

impl Tally {
    /// Takes note of a `usage_update`; `in_turn` if it came after the prompt.
    pub(super) fn update(&mut self, update: &Fields<'_>, in_turn: bool) {
        let Some(cost) = update.object("cost") else {
            return;
        };
        let amount = cost.read::<f64>("amount");
        let amount = amount.filter(|amount| (0.0..=COST_USD).contains(amount));
        if cost.text("currency").as_deref() != Some("USD") || amount.is_none() {
            return;
        }
        match in_turn {
            true => self.cost = amount,
            false => self.cost_before = amount,
        }
    }

    /// Takes note of what a message chunk says about the call it belongs to; whether it does.
    pub(super) fn chunk(&mut self, update: &Fields<'_>) -> bool {
        let meta = update.object("_meta");
        let Some(usage) = meta.and_then(|meta| meta.object("usage")) else {
            return false;
        };
        let call = tokens(&usage);
        self.calls = match (self.calls.take(), call) {
            (None, call) => Some(call),
            (Some(sum), call) => add(sum, call),
        };
        self.unsound |= self.calls.is_none();
        true
    }

    /// What the run used, with what the answer to the prompt says.
    pub(super) fn total(&self, answer: &Fields<'_>, agent: &str, loaded: bool) -> Usage {
        let by_answer = answer.object("usage").filter(|_| agent != LAST_CALL_ONLY);
        let tokens = by_answer
            .map(|usage| tokens(&usage))
            .or_else(|| quota(answer))
            .or_else(|| self.calls.filter(|_| !self.unsound))
            .unwrap_or_default();
        Usage {
            cost_usd: self.cost_of_run(loaded),
            ..tokens
        }
    }

    /// The cost is the session's; what it was before is known of a new one.
    fn cost_of_run(&self, loaded: bool) -> Option<f64> {
        let before = match (self.cost_before, loaded) {
            (Some(before), _) => before,
            (None, false) => 0.0,
            (None, true) => return None,
        };
        // An agent that knows no price for its model says 0.
        self.cost
            .map(|cost| cost - before)
            .filter(|cost| *cost > 0.0)
    }
}

/// Tokens by the names of the protocol's draft, which does not say what contains what: some agents
/// count what was cached as input and what was thought as output, others beside these. The total
/// tells.
fn tokens(usage: &Fields<'_>) -> Usage {
    let number = |name: &str| u128::from(count(usage, name).unwrap_or(0));
    let cached = number("cachedReadTokens") + number("cachedWriteTokens");
    let thought = number("thoughtTokens");
    let beside = number("totalTokens").checked_sub(number("inputTokens") + number("outputTokens"));
    let layouts = [(true, false), (true, true), (false, false), (false, true)];
    let sum = |(cache, thoughts): (bool, bool)| {
        u128::from(cache) * cached + u128::from(thoughts) * thought
    };
    let fitting = layouts
        .into_iter()
        .find(|layout| beside == Some(sum(*layout)));
    let (cache_beside, thoughts_beside) = fitting.unwrap_or((true, false));
    let input = number("inputTokens").checked_sub(u128::from(!cache_beside) * cached);
    let output = number("outputTokens") + u128::from(thoughts_beside) * thought;
    Usage {
        input_tokens: count(usage, "inputTokens").and(believed(input)),
        output_tokens: count(usage, "outputTokens").and(believed(Some(output))),
        cache_read_tokens: count(usage, "cachedReadTokens"),
        cache_write_tokens: count(usage, "cachedWriteTokens"),
        cost_usd: None,
    }
}

fn believed(count: Option<u128>) -> Option<u64> {
    let count = count.and_then(|count| u64::try_from(count).ok());
    count.filter(|count| *count <= TOKENS)
}

/// Gemini's own place for them. What was cached is in the input and not told apart.
fn quota(answer: &Fields<'_>) -> Option<Usage> {
    let quota = answer.object("_meta")?.object("quota")?;
    let counts = quota.object("token_count")?;
    Some(Usage {
        input_tokens: count(&counts, "input_tokens"),
        output_tokens: count(&counts, "output_tokens"),
        ..Usage::default()
    })
}

fn count(fields: &Fields<'_>, name: &str) -> Option<u64> {
    fields.read(name).filter(|count| *count <= TOKENS)
}

/// Both together; `None` if that is more than can be counted.
fn add(a: Usage, b: Usage) -> Option<Usage> {
    let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (Some(a), Some(b)) => a.checked_add(b).filter(|sum| *sum <= TOKENS).map(Some),
        // Not told for one of them, so not known for both.
        _ => Some(None),
    };
    Some(Usage {
        input_tokens: sum(a.input_tokens, b.input_tokens)?,
        output_tokens: sum(a.output_tokens, b.output_tokens)?,
        cache_read_tokens: sum(a.cache_read_tokens, b.cache_read_tokens)?,
        cache_write_tokens: sum(a.cache_write_tokens, b.cache_write_tokens)?,
        cost_usd: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields<'_> {
        serde_json::from_str(text).unwrap()
    }

    fn counts(usage: Usage) -> [Option<u64>; 4] {
        [
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
        ]
    }

    /// Three agents, the same call of a model each: 1111 read, 222 from the cache, 33 into it, 44
    /// written of which 5 thought. (The ones that speak as OpenAI does are not told of the 33.)
    #[test]
    fn the_total_tells_what_contains_what() {
        for (text, expected) in [
            (
                r#"{"inputTokens":1111,"outputTokens":44,"cachedReadTokens":222,"cachedWriteTokens":33,"totalTokens":1410}"#,
                [Some(1111), Some(44), Some(222), Some(33)],
            ),
            (
                r#"{"inputTokens":1144,"outputTokens":39,"totalTokens":1410,"thoughtTokens":5,"cachedReadTokens":222}"#,
                [Some(1144), Some(44), Some(222), None],
            ),
            (
                r#"{"cachedReadTokens":222,"cachedWriteTokens":0,"inputTokens":1366,"outputTokens":44,"thoughtTokens":5,"totalTokens":1410}"#,
                [Some(1144), Some(44), Some(222), Some(0)],
            ),
            (
                r#"{"inputTokens":7,"outputTokens":8,"totalTokens":99}"#,
                [Some(7), Some(8), None, None],
            ),
            (
                r#"{"inputTokens":-1,"outputTokens":1e300,"cachedReadTokens":"x","totalTokens":3}"#,
                [None, None, None, None],
            ),
        ] {
            assert_eq!(counts(tokens(&fields(text))), expected, "{text}");
        }
    }

    #[test]
    fn a_cost_of_a_session_counts_from_where_the_run_began() {
        let cost = |amount: f64| format!(r#"{{"cost":{{"amount":{amount},"currency":"USD"}}}}"#);
        let nothing = fields("{}");
        for (before, during, loaded, expected) in [
            (None, Some(0.5), false, Some(0.5)),
            (None, Some(0.5), true, None),
            (Some(0.25), Some(0.75), true, Some(0.5)),
            (Some(0.75), Some(0.5), true, None),
            (Some(0.25), None, true, None),
            (None, Some(0.0), false, None),
            (None, None, false, None),
        ] {
            let mut tally = Tally::default();
            for (amount, in_turn) in [(before, false), (during, true)] {
                if let Some(amount) = amount {
                    tally.update(&fields(&cost(amount)), in_turn);
                }
            }
            assert_eq!(tally.total(&nothing, "x", loaded).cost_usd, expected);
        }
        let mut tally = Tally::default();
        let euros = r#"{"cost":{"amount":1.0,"currency":"EUR"}}"#;
        tally.update(&fields(euros), true);
        tally.update(&fields(r#"{"cost":{"amount":-1,"currency":"USD"}}"#), true);
        assert_eq!(tally.total(&nothing, "x", false).cost_usd, None);
    }

    #[test]
    fn calls_are_added_where_nothing_else_is_told() {
        let mut tally = Tally::default();
        let call = r#"{"_meta":{"usage":{"inputTokens":10,"outputTokens":2,"totalTokens":12}}}"#;
        assert!(tally.chunk(&fields(call)) && tally.chunk(&fields(call)));
        assert!(!tally.chunk(&fields(r#"{"_meta":{}}"#)));
        let nothing = fields("{}");
        let sum = tally.total(&nothing, "qwen-code", false);
        assert_eq!(counts(sum), [Some(20), Some(4), None, None]);
        let answer = fields(r#"{"usage":{"inputTokens":1,"outputTokens":1}}"#);
        assert_eq!(tally.total(&answer, "x", false).input_tokens, Some(1));
        assert_eq!(
            Tally::default().total(&answer, LAST_CALL_ONLY, false),
            Usage::default()
        );
        let quota =
            fields(r#"{"_meta":{"quota":{"token_count":{"input_tokens":5,"output_tokens":6}}}}"#);
        let counted = Tally::default().total(&quota, "x", false);
        assert_eq!(counts(counted), [Some(5), Some(6), None, None]);
    }

    #[test]
    fn a_sum_beyond_all_bounds_is_not_told() {
        let mut tally = Tally::default();
        let call =
            format!(r#"{{"_meta":{{"usage":{{"inputTokens":{TOKENS},"outputTokens":1}}}}}}"#);
        for _ in 0..3 {
            tally.chunk(&fields(&call));
        }
        assert_eq!(tally.total(&fields("{}"), "x", false), Usage::default());
    }
}
