//! What tokens cost, where an agent counts them and does not say what they cost.

use crate::run::Usage;

/// List prices of a model, US dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Price {
    /// Read, not cached.
    pub input: f64,
    /// Written.
    pub output: f64,
    /// Read from the provider's cache; `None` where no price is known.
    pub cache_read: Option<f64>,
    /// Written to the provider's cache; `None` where no price is known.
    pub cache_write: Option<f64>,
}

impl Price {
    /// US dollars for `usage`; `None` where tokens are not known or have no price. Cached tokens
    /// that were not reported count as none: not every agent has them.
    #[must_use]
    pub fn of(&self, usage: &Usage) -> Option<f64> {
        let parts = [
            (usage.input_tokens, Some(self.input)),
            (usage.output_tokens, Some(self.output)),
            (Some(usage.cache_read_tokens.unwrap_or(0)), self.cache_read),
            (
                Some(usage.cache_write_tokens.unwrap_or(0)),
                self.cache_write,
            ),
        ];
        let dollars =
            parts
                .into_iter()
                .try_fold(0.0, |sum, (tokens, price)| match (tokens?, price) {
                    (0, _) => Some(sum),
                    (tokens, price) => Some(sum + millions(tokens) * price?),
                })?;
        dollars.is_finite().then_some(dollars)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an estimate in dollars; 2^52 tokens are more than anybody ever used"
)]
fn millions(tokens: u64) -> f64 {
    tokens as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Price = Price {
        input: 3.0,
        output: 15.0,
        cache_read: Some(0.5),
        cache_write: None,
    };

    fn used(input: Option<u64>, output: Option<u64>) -> Usage {
        Usage {
            input_tokens: input,
            output_tokens: output,
            ..Usage::default()
        }
    }

    #[test]
    fn tokens_cost_what_the_table_says_per_million() {
        let usage = Usage {
            cache_read_tokens: Some(2_000_000),
            ..used(Some(1_000_000), Some(100_000))
        };
        assert_eq!(PRICE.of(&usage), Some(3.0 + 1.5 + 1.0));
        assert_eq!(PRICE.of(&used(Some(0), Some(0))), Some(0.0));
    }

    #[test]
    fn what_is_not_known_or_has_no_price_is_not_guessed() {
        assert_eq!(PRICE.of(&used(None, Some(1))), None);
        assert_eq!(PRICE.of(&used(Some(1), None)), None);
        let written = |tokens| Usage {
            cache_write_tokens: Some(tokens),
            ..used(Some(1), Some(1))
        };
        assert_eq!(PRICE.of(&written(1)), None);
        assert!(PRICE.of(&written(0)).is_some());
    }
}
